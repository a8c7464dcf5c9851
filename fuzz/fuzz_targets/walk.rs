//! The frames of this process, walked in all ways that there are, against the plain way: frame by frame.
#![no_main]

use annulus_codec::{
    address::{NodeId, Slot},
    archive::{AccessError, Archivable, Archived},
    chunk::ChunkPool,
    extension::Extensions,
    frame::{Frame, FrameReader, Frames, HEADER_LEN, Header, Kind},
    message::{Message, MessageId},
    outbox::{Admission, Destination, Landing, Outbox, OutboxLimits, Parcel},
};
use annulus_fuzz::*;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

const LIMITS: OutboxLimits =
    OutboxLimits { bytes: usize::MAX, max_payload: 4096, by_reference_from: usize::MAX };

#[derive(Debug, Arbitrary)]
struct Input {
    crosses: bool,
    frames: Vec<(To, What)>,
    steps: Vec<Step>,
}

/// Whom a frame is for, and what for. There are few, so that they meet.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct To {
    slot: bool,
    generation: bool,
    kind: u8,
    extended: bool,
}

#[derive(Debug, Arbitrary)]
enum What {
    Flat(Flat),
    Tiny(Tiny),
    Text(Text),
    Plain(Plain),
    Unit,
    /// A header and nothing more, whose code may be a message's identity.
    Header {
        like_a_message: bool,
    },
    /// A frame from a stranger, passed on by the worker that its link belongs to.
    Relayed {
        flat: bool,
        payload: Vec<u8>,
    },
}

#[derive(Debug, Arbitrary)]
enum Step {
    Next,
    Told { slot: bool, generation: bool, which: Which },
    As(Which),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Which {
    Flat,
    Tiny,
    Text,
    Plain,
    Unit,
}

fuzz_target!(|input: Input| {
    let pool = ChunkPool::new(1024, 4, 1 << 22);
    let mut steps = input.steps.iter().cycle();
    let parcels = parcels(&pool, &input);
    for (walked, plain) in parcels.into_iter().zip(self::parcels(&pool, &input)) {
        let mut pair = Pair { walked, plain };
        while pair.walked.peek().is_some() {
            // Only taking frame by frame is sure to come to an end.
            pair.run(steps.next().unwrap_or(&Step::Next));
            pair.run(&Step::Next);
        }
        assert!(pair.plain.next().is_none());
        assert!(pair.walked.take_told::<Flat>(slot_of(true), 1).is_none());
        assert!(pair.walked.take_as::<Flat>().is_none() && pair.walked.next().is_none());
        assert_eq!(pair.walked.into_bytes()[..], pair.plain.into_bytes()[..]);
    }
    assert_eq!(pool.bytes_lent(), 0);
});

/// The same each time.
fn parcels(pool: &ChunkPool, input: &Input) -> Vec<Frames> {
    let to = if input.crosses { Destination::Worker } else { Destination::Here };
    let mut outbox = Outbox::new(to, LIMITS, pool.clone());
    for (correlation, (to, what)) in input.frames.iter().take(32).enumerate() {
        push(&mut outbox, *to, what, correlation as u64);
    }
    let parcels = std::iter::from_fn(|| match input.crosses {
        false => outbox.pop(),
        true => {
            outbox.pop_crossing().map(|crossing| crossing.open(&mut Landing::new(pool.clone()), 0))
        }
    });
    parcels
        .map(|parcel| match parcel {
            Parcel::Frames(frames) => frames,
            Parcel::Single(envelope) => panic!("{envelope:?}, not frames"),
        })
        .collect()
}

fn push(outbox: &mut Outbox, to: To, what: &What, correlation: u64) {
    let kind =
        [Kind::Tell, Kind::Tell, Kind::Ask, Kind::Reply, Kind::Timer][usize::from(to.kind % 5)];
    let code = MessageId::from_bits(7);
    let mut header = Header::new(kind, slot_of(to.slot), to.generation.into(), code, correlation);
    let origin = to.extended.then(|| (NodeId::from_name("a"), 1));
    let extensions = Extensions { origin, ..Extensions::default() };
    match what {
        What::Flat(message) => archive(outbox, header, &extensions, message),
        What::Tiny(message) => archive(outbox, header, &extensions, message),
        What::Text(message) => archive(outbox, header, &extensions, message),
        What::Plain(message) => archive(outbox, header, &extensions, message),
        What::Unit => archive(outbox, header, &extensions, &()),
        What::Header { like_a_message } => {
            header.kind = Kind::Failure;
            header.message = if *like_a_message { Flat::ID } else { code };
            outbox.push_header(header).expect("there is room");
        }
        What::Relayed { flat, payload } => {
            header.message = if *flat { Flat::ID } else { Text::ID };
            if let Some(frame) = foreign(header, payload) {
                outbox.push_relayed(&frame, &extensions).expect("there is room");
            }
        }
    }
}

fn archive<M: Archivable>(
    outbox: &mut Outbox,
    header: Header,
    extensions: &Extensions,
    message: &M,
) {
    let extensions = (!extensions.is_empty()).then_some(extensions);
    // A text may be too large, then it is so each time.
    let _ = outbox.push_message(header, extensions, message, Admission::Always);
}

/// Timers come from no stranger.
fn foreign(mut header: Header, payload: &[u8]) -> Option<Frame> {
    header.payload_len = payload.len() as u32;
    let mut bytes = header.to_wire().to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(header.frame_len(), 0);
    FrameReader::foreign(lease_of(&bytes), LIMITS.max_payload).next_frame().ok().flatten()
}

fn slot_of(which: bool) -> Slot {
    Slot::new(1, which.into())
}

struct Pair {
    walked: Frames,
    plain: Frames,
}

impl Pair {
    fn run(&mut self, step: &Step) {
        match *step {
            Step::Next => self.next(),
            Step::Told { slot, generation, which } => {
                let (slot, generation) = (slot_of(slot), u32::from(generation));
                match which {
                    Which::Flat => self.take_told::<Flat>(slot, generation),
                    Which::Tiny => self.take_told::<Tiny>(slot, generation),
                    Which::Text => self.take_told::<Text>(slot, generation),
                    Which::Plain => self.take_told::<Plain>(slot, generation),
                    Which::Unit => self.take_told::<()>(slot, generation),
                }
            }
            Step::As(Which::Flat) => self.take_as::<Flat>(),
            Step::As(Which::Tiny) => self.take_as::<Tiny>(),
            Step::As(Which::Text) => self.take_as::<Text>(),
            Step::As(Which::Plain) => self.take_as::<Plain>(),
            Step::As(Which::Unit) => self.take_as::<()>(),
        }
    }

    fn next(&mut self) {
        let header = self.walked.peek();
        let (walked, plain) = (self.walked.next(), self.plain.next());
        assert_eq!(header, walked.as_ref().map(Frame::header));
        let (Some(walked), Some(plain)) = (walked, plain) else {
            assert!(header.is_none(), "both end at the same place");
            return;
        };
        assert_eq!(walked.header(), plain.header());
        assert_eq!(walked.payload(), plain.payload());
        assert_eq!(walked.trusted(), plain.trusted());
    }

    fn take_told<M: Archivable>(&mut self, slot: Slot, generation: u32)
    where
        M::Archived: std::fmt::Debug,
    {
        let before = self.walked.peek();
        assert_eq!(before, self.plain.peek());
        let Some(told) = self.walked.take_told::<M>(slot, generation) else {
            assert_eq!(self.walked.peek(), before, "nothing is taken");
            let is_it = before.is_some_and(|header| {
                (header.kind, header.message) == (Kind::Tell, M::ID)
                    && (header.slot, header.generation) == (slot, generation)
                    && header.extension_len == 0
            });
            assert!(!is_it || before.is_some_and(|header| header.is_foreign()));
            return;
        };
        let frame = self.plain.next().expect("it was told");
        let header = frame.header();
        assert_eq!((header.kind, header.slot, header.generation), (Kind::Tell, slot, generation));
        assert_eq!(frame.extensions(), Ok(Extensions::default()));
        same(Ok(told), Archived::open(frame));
    }

    fn take_as<M: Archivable>(&mut self)
    where
        M::Archived: std::fmt::Debug,
    {
        let taken = self.walked.take_as::<M>();
        let frame = self.plain.next();
        assert_eq!(taken.is_some(), frame.is_some());
        if let (Some((header, taken)), Some(frame)) = (taken, frame) {
            assert_eq!(header, frame.header());
            assert!(header.frame_len() >= HEADER_LEN);
            same(taken, Archived::open(frame));
        }
    }
}

fn same<M: Archivable>(
    one: Result<Archived<M>, AccessError>,
    other: Result<Archived<M>, AccessError>,
) where
    M::Archived: std::fmt::Debug,
{
    match (one, other) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.payload()[..], other.payload()[..]);
            assert!(one.payload().as_ptr().addr().is_multiple_of(16));
            touch(&*one);
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?}, but {other:?}"),
    }
}
