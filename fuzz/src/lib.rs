//! What the fuzz targets share: messages of every shape that may go over the wire, a way to cut an input into
//! pieces, [choices among messages](which), and [ways to walk frames](walks).

// Pointers to pointers are what is tested.
#![allow(clippy::redundant_allocation)]

use std::{collections::BTreeMap, fmt::Write};

use annulus_codec::{
    address::Slot,
    archive::Archivable,
    chunk::{ChunkPool, Lease},
    extension::Extensions,
    frame::{Frame, HEADER_LEN, Header, Kind},
    message::Message,
    outbox::{Admission, Destination, Outbox, OutboxLimits, Parcel},
};
use annulus_macros::{message, wire};
use arbitrary::Arbitrary;

pub mod walks;
pub mod which;

/// Where the attributes find the codec.
pub mod annulus {
    pub use annulus_codec as codec;
}

/// A struct of plain numbers, with gaps between them.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Plain {
    /// A number.
    pub wide: u64,
    /// A number of 16-byte alignment.
    pub widest: u128,
    /// A small number.
    pub narrow: i16,
    /// Not a number.
    pub float: f64,
}

/// A struct of plain values without gaps: its bytes are its archive.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
#[repr(C)]
pub struct Flat {
    /// A number of 16-byte alignment.
    pub widest: u128,
    /// A number.
    pub wide: u64,
    /// Not a number.
    pub float: f64,
    /// A struct of the same kind.
    pub inner: Inner,
    /// Zero or one.
    pub flags: [bool; 3],
    /// A small number.
    pub small: u8,
}

/// A part without gaps.
#[wire(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
#[repr(C)]
pub struct Inner {
    /// No surrogate.
    pub letter: char,
    /// A number.
    pub narrow: i32,
    /// Numbers.
    pub pair: [u16; 2],
}

/// One byte, and the rest of its frame's last block is padding.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Tiny(pub i8);

/// As long as [`Tiny`], and not every byte is valid.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Bit(pub bool);

/// As long as the unit: its archive has no bytes.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Nothing;

/// As many bytes as are copied, at most.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Words(pub u64, pub i64);

/// As long, but not to be put anywhere.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Wide(pub u128);

/// A word and a part of one.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Eleven(pub [u8; 11]);

/// More than one block, and not a whole number of them.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Odd(pub [u8; 37]);

/// One word, and its archive takes a part of another.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Niched(pub Option<char>, pub Light);

/// A gap at the end only, where its archive has one too.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
#[repr(C)]
pub struct Tail {
    /// A number.
    pub wide: u64,
    /// A small number.
    pub small: u8,
}

// The targets are to meet messages of all kinds: their own archives, others without pointers, and others.
const _: () = {
    use annulus_codec::{message::Layout, rkyv::Archive};
    let own = Flat::COPY_OPTIMIZATION.is_enabled();
    assert!(own && !Plain::COPY_OPTIMIZATION.is_enabled() && !Tail::COPY_OPTIMIZATION.is_enabled());
    assert!(Niched::FLAT && size_of::<Niched>() == 8);
    assert!(Flat::FLAT && Tiny::FLAT && Bit::FLAT && Odd::FLAT);
    assert!(<()>::FLAT && Nothing::FLAT);
    assert!(Words::FLAT && Wide::FLAT && Eleven::FLAT);
    assert!(Plain::FLAT && Tail::FLAT && Picky::FLAT);
    assert!(!Text::FLAT && !Shape::FLAT);
};

/// A string, inline or out of line.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Text(pub String);

/// Values of which not every bit pattern is valid.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Picky {
    /// Zero or one.
    pub flag: bool,
    /// No surrogate.
    pub letter: char,
    /// A tag that does not start at zero.
    pub light: Light,
    /// A tag and a value.
    pub maybe: Option<char>,
    /// Two tags.
    pub either: Result<bool, Light>,
}

/// An enum with discriminants of its own.
#[wire(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
#[repr(u8)]
pub enum Light {
    /// Stop.
    Red = 1,
    /// Go.
    Green = 4,
    /// Whatever.
    Blue,
}

/// Sequences of sequences.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Nested {
    /// Bytes of bytes.
    pub rows: Vec<Vec<u8>>,
    /// Strings of strings.
    pub words: Vec<Vec<String>>,
    /// Nothing, or a lot.
    pub more: Option<Vec<Option<String>>>,
}

/// An enum with all forms of variants.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub enum Shape {
    /// No fields.
    Nothing,
    /// A tuple.
    Dot((i32, u8), bool),
    /// Named fields.
    Polygon {
        /// Pairs.
        corners: Vec<(i32, i32)>,
        /// Text.
        name: Option<String>,
    },
    /// A pointer to a pointer, of which there are to be many.
    Boxed(Box<Box<Picky>>),
}

/// Ordered maps and sets.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Maps {
    /// Numbers to text.
    pub labels: BTreeMap<u32, String>,
    /// Text to shapes.
    pub shapes: BTreeMap<String, Shape>,
    /// Just text.
    pub names: std::collections::BTreeSet<String>,
}

/// Arrays, tuples and addresses.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Mixed {
    /// Strings in an array.
    pub array: [String; 3],
    /// A long tuple.
    pub tuple: (u8, u16, u32, u64, bool, char),
    /// Types of the standard library with checks of their own.
    pub address: std::net::SocketAddr,
    /// Nanoseconds below a second.
    pub wait: std::time::Duration,
    /// One or the other.
    pub result: Result<Vec<Light>, Box<Nested>>,
}

/// What an answer often looks like.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Either(pub Result<Mixed, Shape>);

/// Pointers to pointers, nearly as deep as may be.
#[message(crate = annulus)]
#[derive(Debug, Clone, Arbitrary)]
pub struct Deep(pub Eight<Vec<Box<Vec<String>>>>);

/// Eight pointers.
pub type Eight<T> = Four<Four<T>>;

/// Four pointers.
pub type Four<T> = Box<Box<Box<Box<T>>>>;

/// Reads every field of an archive: its `Debug` walks all of it.
pub fn touch(archived: &impl std::fmt::Debug) {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 = text.bytes().fold(self.0, |sum, byte| sum.wrapping_add(byte.into()));
            Ok(())
        }
    }
    let mut count = Count(0);
    write!(count, "{archived:?}").expect("a counter takes everything");
    std::hint::black_box(count.0);
}

/// The archive of a message, as an outbox writes it.
pub fn archive_of<M: Archivable>(message: &M) -> Option<Vec<u8>> {
    let header = Header::new(Kind::Tell, Slot::new(0, 0), 0, M::ID, 0);
    let limits =
        OutboxLimits { bytes: 1 << 20, max_payload: 1 << 16, by_reference_from: usize::MAX };
    let mut outbox = Outbox::new(Destination::Here, limits, ChunkPool::new(4096, 0, 1 << 20));
    outbox.push_message(header, None, message, Admission::Always).ok()?;
    frames_of(outbox.pop()?).first().map(|frame| frame.payload().to_vec())
}

/// The records of these extensions, as an outbox writes them.
pub fn encoded(extensions: &Extensions) -> Vec<u8> {
    let header = Header::new(Kind::Tell, Slot::new(0, 0), 0, <()>::ID, 0);
    let limits = OutboxLimits { bytes: 1 << 20, max_payload: 0, by_reference_from: usize::MAX };
    let mut outbox = Outbox::new(Destination::Node, limits, ChunkPool::new(4096, 0, 1 << 20));
    let pushed = outbox.push_message(header, Some(extensions), &(), Admission::Always);
    pushed.expect("whoever waits for one another are not too many");
    outbox.pop_bytes().expect("it was pushed")[HEADER_LEN..].to_vec()
}

/// The frames of a parcel that this process wrote.
pub fn frames_of(parcel: Parcel) -> Vec<Frame> {
    match parcel {
        Parcel::Frames(frames) => frames.collect(),
        Parcel::Single(envelope) => panic!("{envelope:?}, not frames"),
    }
}

/// A lease on a copy of these bytes, at the start of a chunk.
pub fn lease_of(bytes: &[u8]) -> Lease {
    let pool = ChunkPool::new(64, 0, usize::MAX >> 1);
    let mut chunk =
        pool.acquire_sized(bytes.len().max(1)).expect("the pool is as good as unlimited");
    assert!(chunk.append(bytes));
    chunk.take_committed()
}

/// Cuts `bytes` into pieces as long as the bytes of `lengths` say, over and over.
pub fn pieces<'a>(bytes: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let wanted = lengths.next().map_or(usize::MAX, |len| usize::from(*len).max(1));
        let (piece, later) = rest.split_at(wanted.min(rest.len()));
        rest = later;
        Some(piece)
    })
}
