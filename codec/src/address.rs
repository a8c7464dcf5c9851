//! Where an actor is: node, incarnation, slot and generation, in 16 bytes.

use std::fmt;

use crate::{
    hash::{fold32, hash64},
    message::Layout,
};

/// The highest number of workers that a node may have.
pub const MAX_WORKERS: usize = 256;

/// The highest number of actors that a worker may have.
pub const MAX_ACTORS: usize = 1 << 24;

/// A node's number: a hash of its name, never zero. Two nodes of one cluster whose names hash alike
/// refuse each other when they meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The number of the node with this name.
    pub fn from_name(name: &str) -> Self {
        NodeId(fold32(hash64(name.as_bytes())))
    }

    /// As it stands in an address.
    pub const fn from_bits(bits: u32) -> Self {
        NodeId(bits)
    }

    /// The bits of an address.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:08x}", self.0)
    }
}

/// A place for an actor on a node: the worker in the upper 8 bits, an index in the lower 24.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// # Panics
    /// If `worker` is not below [`MAX_WORKERS`], or `index` not below [`MAX_ACTORS`].
    pub const fn new(worker: usize, index: usize) -> Self {
        assert!(worker < MAX_WORKERS && index < MAX_ACTORS);
        Slot((worker as u32) << 24 | index as u32)
    }

    /// As it stands in a header.
    pub const fn from_bits(bits: u32) -> Self {
        Slot(bits)
    }

    /// The bits of a header.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Which worker of the node.
    pub const fn worker(self) -> usize {
        (self.0 >> 24) as usize
    }

    /// Which place on that worker.
    pub const fn index(self) -> usize {
        (self.0 & 0x00ff_ffff) as usize
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.worker(), self.index())
    }
}

/// Where an actor is. It names one life of one actor: once that actor has stopped, or its node has
/// been started again, nothing that is sent there reaches anybody else.
///
/// On the wire: four little-endian 32-bit numbers: node, incarnation, slot, generation.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
// Two whole words, since that is how it is passed on and compared: as four numbers it would be put together from
// parts each time.
pub struct Address {
    /// Node and incarnation.
    home: u64,
    /// Slot and generation.
    place: u64,
}

// SAFETY: two 64-bit numbers; no other type has this tag.
unsafe impl Layout for Address {
    const LAYOUT: u64 = hash64(b"annulus.Address");
    const FLAT: bool = true;
}

impl Address {
    /// Bytes of an address on the wire.
    pub const LEN: usize = 16;

    /// The address of one life of one actor.
    #[inline]
    pub fn new(node: NodeId, incarnation: u32, slot: Slot, generation: u32) -> Self {
        Address { home: join(node.bits(), incarnation), place: join(slot.bits(), generation) }
    }

    /// The node that the actor lives on.
    #[inline]
    pub fn node(self) -> NodeId {
        NodeId::from_bits(self.home as u32)
    }

    /// Which life of the node: the folded start time of its process.
    #[inline]
    pub fn incarnation(self) -> u32 {
        (self.home >> 32) as u32
    }

    /// The actor's place on its node.
    #[inline]
    pub fn slot(self) -> Slot {
        Slot::from_bits(self.place as u32)
    }

    /// Which holder of that place.
    #[inline]
    pub fn generation(self) -> u32 {
        (self.place >> 32) as u32
    }

    /// Slot and generation, in one word.
    #[inline]
    pub(crate) fn place(self) -> u64 {
        self.place
    }

    /// Slot and generation, as they stand in frames.
    pub(crate) fn place_bytes(self) -> [u8; 8] {
        self.place.to_le_bytes()
    }

    /// Whether both have the same slot and generation, on whatever node.
    #[inline]
    pub fn shares_place(self, other: Self) -> bool {
        self.place == other.place
    }

    /// Whether both are in one life of one node.
    #[inline]
    pub fn shares_node(self, other: Self) -> bool {
        self.home == other.home
    }

    /// Whether both are on one worker, in one life of its node.
    #[inline]
    pub fn shares_worker(self, other: Self) -> bool {
        self.shares_node(other) && self.slot().worker() == other.slot().worker()
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.home.to_le_bytes());
        bytes[8..].copy_from_slice(&self.place.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let [home, place] = [0, 1].map(|at| u64::from_le_bytes(bytes.as_chunks().0[at]));
        Address { home, place }
    }
}

/// Two halves of a word, the lower one first.
const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl ArchivedAddress {
    /// The address that was sent.
    pub fn to_address(&self) -> Address {
        Address { home: self.home.to_native(), place: self.place.to_native() }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}@{:08x}/{:?}#{}",
            self.node(),
            self.incarnation(),
            self.slot(),
            self.generation()
        )
    }
}

impl fmt::Debug for ArchivedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_address().fmt(f)
    }
}
