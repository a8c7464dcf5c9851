//! Flat messages, and others, written in the ways that there are: the quick ones and the serialiser.
//! Outcome and stream are the same, whatever lay in the memory before.
#![no_main]

use annulus_codec::{
    address::{Address, NodeId, Slot},
    archive::{Archivable, Archived, finish},
    chunk::ChunkPool,
    frame::{FrameReader, Header, Kind},
    message::{Message, MessageId},
    outbox::{Admission, Destination, Outbox, OutboxLimits, PushError},
    passing::{ByArchive, Passing},
    queue::SmallQueue,
    rkyv::ser::allocator::Arena,
};
use annulus_fuzz::{
    which::{Content, Which},
    *,
};
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
    Ask(Content),
    Tell(Content),
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
            Step::Ask(content) => with_message!(&content, message => pair.ask(message)),
            Step::Tell(content) => with_message!(&content, message => pair.tell(message)),
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
    fn ask<M: Archivable + Clone>(&mut self, message: &M) {
        self.next += 1;
        let header = self.header(Kind::Ask, self.next);
        let quick = self.quick.push_message(header, None, message, Admission::Bounded);
        self.serialise(header, message, quick);
        by_itself(message);
    }

    /// Tells in the quickest way, if there is room where there is nothing to be done to get it.
    fn tell<M: Archivable + Clone>(&mut self, message: &M) {
        let header = self.header(Kind::Tell, 0);
        let to = Address::new(NodeId::from_name("a"), 1, header.slot, header.generation);
        let quick = if <ByArchive as Passing<M>>::append_told(message, to, &mut self.quick) {
            assert!(M::FLAT);
            Ok(())
        } else {
            self.quick.push_message(header, None, message, Admission::Bounded)
        };
        self.serialise(header, message, quick);
    }

    /// What is not for the sender to say is written over.
    fn header(&self, kind: Kind, correlation: u64) -> Header {
        let mut header =
            Header::new(kind, Slot::new(1, 2), 3, MessageId::from_bits(4), correlation);
        header.payload_len = 5;
        header.extension_len = 16;
        header
    }

    fn serialise<M: Archivable + Clone>(
        &mut self,
        header: Header,
        message: &M,
        quick: Result<(), PushError>,
    ) {
        let Header { kind, slot, generation, correlation, .. } = header;
        let own = Header::new(kind, slot, generation, M::ID, correlation);
        let serialised = match self.serialised.is_full() {
            true => Err(PushError::Full),
            false => self.serialised.push_archived(own, serialised(message)),
        };
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
            let opens = Which::ALL.into_iter().any(|which| {
                with_type!(which, M => {
                    Archived::<M>::open(frame.clone()).map(|opened| touch(&*opened)).is_ok()
                })
            });
            assert!(opens, "what we wrote is valid");
        }
        true
    }
}

/// What the serialiser writes.
fn serialised<M: Archivable + Clone>(message: &M) -> Archived<M> {
    let chunk = ChunkPool::new(1 << 16, 0, 1 << 20).acquire().expect("the pool is fresh");
    finish(chunk, &mut Arena::new(), |_| message.clone()).expect("there is room")
}

/// A small message without a frame is what it is in one, and nothing else.
fn by_itself<M: Archivable + Clone>(message: &M) {
    let Some(small) = <ByArchive as Passing<M>>::as_small(message) else {
        return;
    };
    assert!(M::FLAT && small.message() == M::ID);
    let opened = Archived::<M>::of_small(&small).expect("it is this message");
    assert_eq!(opened.clone().bytes(), serialised(message).bytes());
    // It waits in a mailbox as it is, before another one.
    let queue = SmallQueue::default();
    queue.push_alone(small);
    queue.push_alone(small);
    queue.grant(2);
    for _ in 0..2 {
        let popped = queue.pop::<M>().expect("it was put in");
        assert_eq!(popped.bytes(), opened.bytes());
    }
    assert!(queue.is_empty() && queue.len() == 0);
    for which in Which::ALL {
        with_type!(which, N => match Archived::<N>::of_small(&small) {
            Ok(opened) => {
                assert_eq!(N::ID, M::ID);
                touch(&*opened);
            }
            Err(_) => assert_ne!(N::ID, M::ID),
        });
    }
}
