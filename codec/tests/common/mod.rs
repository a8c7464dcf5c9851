//! Messages for the tests, written out by hand: the attributes live in a crate that stands above this
//! one.
#![allow(dead_code, unused_imports, unused_macros)]

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use annulus_codec::{
    address::Slot,
    archive::{Archivable, Archived},
    chunk::{ChunkPool, Lease},
    extension::Extensions,
    frame::{Frame, FrameReader, Header, Kind},
    held::Small,
    message::Message,
    outbox::{Admission, Destination, Outbox, OutboxLimits, Parcel},
    passing::{Envelope, Passing},
    rkyv,
};

/// Makes a message of a type that derives the three traits of rkyv. The name stands for the layout
/// too, so no two types may have the same.
macro_rules! message {
    ($type:ty, $name:literal) => {
        message!($type, $name, flat: false);
    };
    ($type:ty, $name:literal, flat: $flat:literal) => {
        // SAFETY: each type has a tag of its own, and is flat only if its parts are.
        unsafe impl annulus_codec::message::Layout for $type {
            const LAYOUT: u64 = annulus_codec::hash::hash64($name.as_bytes());
            const FLAT: bool = $flat;
        }

        // SAFETY: the identity is made as the contract says.
        unsafe impl annulus_codec::message::Message for $type {
            const NAME: &'static str = $name;
            const ID: annulus_codec::message::MessageId = annulus_codec::message::MessageId::new(
                $name,
                <$type as annulus_codec::message::Layout>::LAYOUT,
            );
            type Reply = ();
            type Passing = annulus_codec::passing::ByArchive;
        }
    };
}
pub(crate) use message;

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
pub(crate) struct Inc(pub u64);
message!(Inc, "test.Inc", flat: true);

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
pub(crate) struct Pair(pub u64, pub u64);
message!(Pair, "test.Pair", flat: true);

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
pub(crate) struct Text(pub String);
message!(Text, "test.Text");

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
pub(crate) struct Blob(pub Vec<u8>);
message!(Blob, "test.Blob");

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv, derive(Debug))]
pub(crate) enum Part {
    Nothing,
    Small(bool, char),
    Large(u128, Option<String>),
}

/// Fields of many sizes and alignments, with gaps between them.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
pub(crate) struct Gaps {
    pub small: u8,
    pub widest: u128,
    pub flag: bool,
    pub parts: Vec<Part>,
    pub either: Result<u8, u64>,
    pub boxed: Box<(u8, u64)>,
    pub map: BTreeMap<u16, String>,
    pub array: [Option<u32>; 3],
    pub letter: Option<char>,
}
message!(Gaps, "test.Gaps");

pub(crate) fn gaps(seed: u8) -> Gaps {
    let part = |n: u8| match n % 3 {
        0 => Part::Nothing,
        1 => Part::Small(n.is_multiple_of(2), 'ä'),
        _ => Part::Large(n.into(), (n.is_multiple_of(2)).then(|| "x".repeat(n.into()))),
    };
    Gaps {
        small: seed,
        widest: u128::from(seed) << 64,
        flag: seed.is_multiple_of(2),
        parts: (0..seed % 9).map(|n| part(n.wrapping_add(seed))).collect(),
        either: if seed < 128 { Ok(seed) } else { Err(9) },
        boxed: Box::new((seed, 7)),
        map: (0..u16::from(seed % 20)).map(|n| (n, "label ".repeat(n.into()))).collect(),
        array: [Some(1), None, Some(seed.into())],
        letter: (seed.is_multiple_of(3)).then_some('z'),
    }
}

pub(crate) const LIMITS: OutboxLimits =
    OutboxLimits { bytes: 1 << 20, max_payload: 1 << 20, by_reference_from: 4096 };

pub(crate) fn header_of<M: Message>(kind: Kind, correlation: u64) -> Header {
    Header::new(kind, Slot::new(1, 2), 3, M::ID, correlation)
}

pub(crate) fn pool() -> ChunkPool {
    ChunkPool::new(64 * 1024, 4, 64 << 20)
}

/// One message in an outbox of its own, as the frame that its receiver gets.
pub(crate) fn frame_of<M: Archivable>(message: &M, extensions: &Extensions) -> Frame {
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
    outbox
        .push_message(header_of::<M>(Kind::Ask, 9), Some(extensions), message, Admission::Always)
        .unwrap();
    frames_of(outbox.pop().unwrap()).remove(0)
}

/// The same, opened.
pub(crate) fn archived_of<M: Archivable>(message: &M) -> Archived<M> {
    Archived::open(frame_of(message, &Extensions::default())).unwrap()
}

/// One message as it goes over the wire.
pub(crate) fn wire_of<M: Archivable>(message: &M, extensions: &Extensions) -> Vec<u8> {
    wire_from(&pool(), message, extensions)
}

pub(crate) fn wire_from<M: Archivable>(
    pool: &ChunkPool,
    message: &M,
    extensions: &Extensions,
) -> Vec<u8> {
    let mut outbox = Outbox::new(Destination::Node, LIMITS, pool.clone());
    outbox
        .push_message(header_of::<M>(Kind::Ask, 9), Some(extensions), message, Admission::Always)
        .unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = outbox.pop_bytes() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

pub(crate) fn frames_of(parcel: Parcel) -> Vec<Frame> {
    match parcel {
        Parcel::Frames(frames) => frames.collect(),
        Parcel::Single(envelope) => panic!("{envelope:?}, not frames"),
    }
}

pub(crate) fn lease_of(bytes: &[u8]) -> Lease {
    let mut chunk = ChunkPool::new(64, 0, 1 << 30).acquire_sized(bytes.len()).unwrap();
    assert!(chunk.append(bytes));
    chunk.take_committed()
}

pub(crate) fn read_foreign(bytes: &[u8]) -> FrameReader {
    FrameReader::foreign(lease_of(bytes), LIMITS.max_payload)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn small<M: Message>(message: &M) -> Small {
    M::Passing::as_small(message).expect("it is a small one")
}

/// Who has been dropped, in order.
pub(crate) type Dropped = Rc<RefCell<Vec<u32>>>;

/// Notes that it is dropped.
pub(crate) struct Noted(pub u32, pub Dropped);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}
