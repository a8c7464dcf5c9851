//! Messages around bytes that somebody else wrote into a chunk: what is made of them is what an outbox
//! would have written, byte for byte as valid, and what cannot be made of them is refused.
#![no_main]

use annulus_codec::{
    address::Slot,
    archive::{Archivable, Archived, WriteError, chunk_to_fill, finish, validate},
    bytes::Bytes,
    chunk::{ChunkPool, ChunkWriter},
    frame::{self, FrameReader, Header},
    outbox::{Destination, Outbox, OutboxLimits, Parcel},
    passing::{ByArchive, Passing},
    rkyv::{Deserialize, api::high::HighDeserializer, rancor::Error, ser::allocator::Arena},
};
use annulus_fuzz::*;
use annulus_macros::message;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

const POOL: usize = 1 << 20;
const LIMITS: OutboxLimits =
    OutboxLimits { bytes: 1 << 20, max_payload: 1 << 16, by_reference_from: 512 };

#[derive(Debug, Arbitrary)]
struct Input {
    /// What the chunk is filled with.
    filled: Vec<u8>,
    /// Bytes that the chunk is asked for, besides those.
    more: u16,
    /// What lay in the chunk before.
    dirt: u8,
    message: Kind,
}

#[derive(Debug, Arbitrary)]
enum Kind {
    Alone,
    Answer(Result<(), String>),
    First { count: u128, name: Option<String> },
    Later { name: String },
    Twice,
    Part { start: u8, len: u8 },
    Without(Plain),
}

/// The bytes and nothing else.
#[message(crate = annulus)]
#[derive(Debug, PartialEq)]
struct Alone(Bytes);

/// The bytes, then fields of all alignments.
#[message(crate = annulus)]
#[derive(Debug, PartialEq)]
struct First {
    bytes: Bytes,
    count: u128,
    small: bool,
    name: Option<String>,
}

/// Something in front of the bytes.
#[message(crate = annulus)]
#[derive(Debug, PartialEq)]
struct Later {
    name: String,
    bytes: Bytes,
}

/// The bytes two times.
#[message(crate = annulus)]
#[derive(Debug, PartialEq)]
struct Twice(Bytes, Bytes);

fuzz_target!(|input: Input| {
    let Input { filled, more, dirt, message } = input;
    let filled = &filled[..filled.len().min(4096)];
    let case = Case { filled, more: more.into(), dirt };
    let own = || Bytes::from(filled.to_vec());
    match message {
        Kind::Alone => assert!(case.run(Alone, Alone(own())).is_ok()),
        Kind::Answer(Ok(())) => {
            let expected: Result<Alone, String> = Ok(Alone(own()));
            assert!(case.run(|bytes| Ok(Alone(bytes)), expected).is_ok());
        }
        Kind::Answer(Err(error)) => {
            let expected: Result<Alone, String> = Err(error.clone());
            case.judge(case.run(|_| Err(error), expected), filled.is_empty());
        }
        Kind::First { count, name } => {
            let make = |bytes| First { bytes, count, small: true, name: name.clone() };
            case.judge(case.run(make, make(own())), true);
        }
        Kind::Later { name } => {
            let make = |bytes| Later { name: name.clone(), bytes };
            // A short string is a part of the root.
            let nothing_in_front = filled.is_empty() || name.len() <= 8;
            case.judge(case.run(make, make(own())), nothing_in_front);
        }
        Kind::Twice => {
            let make = |bytes: Bytes| Twice(bytes.clone(), bytes);
            case.judge(case.run(make, make(own())), true);
        }
        Kind::Part { start, len } => {
            let start = usize::from(start).min(filled.len());
            let len = usize::from(len).min(filled.len() - start);
            let part = |bytes: Bytes| Alone(Bytes::from(bytes[start..][..len].to_vec()));
            case.judge(case.run(part, part(own())), filled.is_empty());
        }
        Kind::Without(message) => {
            let other = message.clone();
            case.judge(case.run_any(|_| message, &other, |_| true), filled.is_empty());
        }
    }
});

struct Case<'a> {
    filled: &'a [u8],
    more: usize,
    dirt: u8,
}

impl Case<'_> {
    /// Refusals have a reason.
    fn judge(&self, made: Result<(), WriteError>, possible: bool) {
        match made {
            Ok(()) => assert!(possible, "the bytes are not what the message starts with"),
            Err(WriteError::NoRoom { needed }) => assert!(needed > self.filled.len()),
            Err(WriteError::Unserializable) => assert!(!possible),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn run<M: Archivable + PartialEq + std::fmt::Debug>(
        &self,
        make: impl FnOnce(Bytes) -> M,
        expected: M,
    ) -> Result<(), WriteError>
    where
        M::Archived: Deserialize<M, HighDeserializer<Error>>,
    {
        let same = |archived: &M::Archived| {
            annulus_codec::rkyv::deserialize::<M, Error>(archived).expect("it fits") == expected
        };
        self.run_any(make, &expected, same)
    }

    /// Makes the message, and follows it to another node.
    fn run_any<M: Archivable>(
        &self,
        make: impl FnOnce(Bytes) -> M,
        expected: &M,
        same: impl Fn(&M::Archived) -> bool,
    ) -> Result<(), WriteError> {
        let pool = ChunkPool::new(1024, 2, POOL);
        let chunk = self.fill(&pool);
        let at = chunk.peek().as_ptr();
        let capacity = chunk.capacity();
        let made = finish(chunk, &mut Arena::new(), make);
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                assert_eq!(pool.bytes_lent(), 0);
                if let WriteError::NoRoom { needed } = error {
                    assert!(needed > capacity);
                }
                return Err(error);
            }
        };
        assert!(same(&made));
        let payload = made.payload();
        assert_eq!(payload.as_ptr(), at);
        assert!(payload.starts_with(self.filled), "the bytes stay where they are");
        assert!(validate::<M>(&payload).is_ok());
        // Behind bytes that it did not write itself, an outbox writes the same.
        assert_eq!(archive_of(expected).as_deref(), Some(&payload[..]));
        drop(payload);
        assert!(same(&here(&pool, made.clone())));
        assert!(same(&elsewhere(&pool, made)));
        assert_eq!(pool.bytes_lent(), 0);
        Ok(())
    }

    /// A chunk that somebody else has filled, with dirt behind.
    fn fill(&self, pool: &ChunkPool) -> ChunkWriter {
        let chunk = || chunk_to_fill(pool, self.filled.len() + self.more).expect("there is memory");
        let mut dirty = chunk();
        while dirty.append(&[self.dirt; 64]) {}
        drop(dirty);
        let mut chunk = chunk();
        assert!(chunk.append(self.filled));
        chunk
    }
}

fn header_of<M: Archivable>() -> Header {
    Header::new(frame::Kind::Tell, Slot::new(0, 0), 0, M::ID, 0)
}

/// Passes the message on within its worker.
fn here<M: Archivable>(pool: &ChunkPool, made: Archived<M>) -> Archived<M> {
    let bytes = made.payload();
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool.clone());
    outbox.push_archived(header_of::<M>(), made).expect("there is room");
    match outbox.pop().expect("it was pushed") {
        Parcel::Frames(mut frames) => {
            assert!(bytes.len() < LIMITS.by_reference_from);
            let frame = frames.next().expect("it was pushed");
            assert!(frame.trusted());
            Archived::open(frame).expect("it is an `M`")
        }
        Parcel::Single(envelope) => {
            let opened = <ByArchive as Passing<M>>::open(envelope).expect("it is an `M`");
            assert_eq!(opened.payload().as_ptr(), bytes.as_ptr(), "it is not copied");
            opened
        }
    }
}

/// Follows the message to another node.
fn elsewhere<M: Archivable>(pool: &ChunkPool, made: Archived<M>) -> Archived<M> {
    let mut outbox = Outbox::new(Destination::Node, LIMITS, pool.clone());
    outbox.push_archived(header_of::<M>(), made).expect("there is room");
    let mut stream = Vec::new();
    while let Some(bytes) = outbox.pop_bytes() {
        stream.extend_from_slice(&bytes);
    }
    let mut frames = FrameReader::foreign(lease_of(&stream), LIMITS.max_payload);
    let frame = frames.next_frame().expect("it is well-formed").expect("it is there");
    assert_eq!(frames.remaining(), 0);
    Archived::open(frame).expect("it is valid")
}
