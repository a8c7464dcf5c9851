//! Messages whose bytes are their archive, and others, written in both ways that there are: the quick one
//! and the serialiser. Outcome and stream are the same, whatever lay in the memory before.
#![no_main]

use annulus_codec::{
    address::Slot,
    archive::{Archivable, Archived},
    chunk::ChunkPool,
    extension::Extensions,
    frame::{FrameReader, Header, Kind},
    message::MessageId,
    outbox::{Admission, Destination, Outbox, OutboxLimits},
};
use annulus_fuzz::*;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

/// Few frames fit, so that chunks end in the middle of things.
const CHUNK: usize = 320;

#[derive(Debug, Arbitrary)]
struct Input {
    max_payload: u8,
    bytes: u16,
    dirt: [u8; 2],
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Flat(Flat),
    Tiny(Tiny),
    Odd(Odd),
    Plain(Plain),
    Tail(Tail),
    Unit,
    Text(Text),
    Pop,
    Rewind,
}

fuzz_target!(|input: Input| {
    let limits = OutboxLimits {
        bytes: input.bytes.into(),
        max_payload: input.max_payload.into(),
        by_reference_from: usize::MAX,
    };
    let mut pair = Pair {
        quick: outbox(limits, input.dirt[0]),
        serialised: outbox(limits, input.dirt[1]),
        next: 0,
    };
    for step in input.steps.into_iter().take(64) {
        match step {
            Step::Flat(message) => pair.push(&message),
            Step::Tiny(message) => pair.push(&message),
            Step::Odd(message) => pair.push(&message),
            Step::Plain(message) => pair.push(&message),
            Step::Tail(message) => pair.push(&message),
            Step::Unit => pair.push(&()),
            Step::Text(message) => pair.push(&message),
            Step::Pop => drop(pair.pop(limits.max_payload)),
            Step::Rewind => {
                pair.quick.rewind();
                pair.serialised.rewind();
            }
        }
    }
    while pair.pop(limits.max_payload) {}
});

/// An outbox whose chunks are full of dirt.
fn outbox(limits: OutboxLimits, dirt: u8) -> Outbox {
    let pool = ChunkPool::new(CHUNK, 4, 1 << 20);
    let mut chunks: Vec<_> = (0..4).map(|_| pool.acquire().expect("the pool is fresh")).collect();
    for chunk in &mut chunks {
        assert!(chunk.append(&[dirt; CHUNK]));
    }
    drop(chunks);
    Outbox::new(Destination::Node, limits, pool)
}

struct Pair {
    quick: Outbox,
    serialised: Outbox,
    next: u64,
}

impl Pair {
    fn push<M: Archivable>(&mut self, message: &M) {
        self.next += 1;
        // What is not for the sender to say is written over.
        let mut header =
            Header::new(Kind::Ask, Slot::new(1, 2), 3, MessageId::from_bits(4), self.next);
        header.payload_len = 5;
        header.extension_len = 16;
        let quick = self.quick.push_message(header, None, message, Admission::Bounded);
        // Extensions, if only none, take the long way.
        let none = Extensions::default();
        let serialised =
            self.serialised.push_message(header, Some(&none), message, Admission::Bounded);
        assert_eq!(quick, serialised);
        assert_eq!(self.quick.bytes(), self.serialised.bytes());
    }

    fn pop(&mut self, max_payload: usize) -> bool {
        let (Some(quick), Some(serialised)) = (self.quick.pop_bytes(), self.serialised.pop_bytes())
        else {
            assert!(self.quick.is_empty() && self.serialised.is_empty());
            return false;
        };
        assert_eq!(quick[..], serialised[..]);
        let mut frames = FrameReader::foreign(quick, max_payload);
        while let Some(frame) = frames.next_frame().expect("we wrote it") {
            let opens = Archived::<Flat>::open(frame.clone()).map(|flat| touch(&*flat)).is_ok()
                || Archived::<Tiny>::open(frame.clone()).is_ok()
                || Archived::<Odd>::open(frame.clone()).is_ok()
                || Archived::<Plain>::open(frame.clone()).is_ok()
                || Archived::<Tail>::open(frame.clone()).is_ok()
                || Archived::<()>::open(frame.clone()).is_ok()
                || Archived::<Text>::open(frame).is_ok();
            assert!(opens, "what we wrote is valid");
        }
        true
    }
}
