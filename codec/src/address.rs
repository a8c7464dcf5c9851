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
/// On the wire: four little-endian 32-bit numbers, in the order of the fields.
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
pub struct Address {
    node: u32,
    incarnation: u32,
    slot: u32,
    generation: u32,
}

// SAFETY: four 32-bit numbers; no other type has this tag.
unsafe impl Layout for Address {
    const LAYOUT: u64 = hash64(b"annulus.Address");
}

impl Address {
    /// Bytes of an address on the wire.
    pub const LEN: usize = 16;

    /// The address of one life of one actor.
    pub fn new(node: NodeId, incarnation: u32, slot: Slot, generation: u32) -> Self {
        Address { node: node.bits(), incarnation, slot: slot.bits(), generation }
    }

    /// The node that the actor lives on.
    pub fn node(self) -> NodeId {
        NodeId::from_bits(self.node)
    }

    /// Which life of the node: the folded start time of its process.
    pub fn incarnation(self) -> u32 {
        self.incarnation
    }

    /// The actor's place on its node.
    pub fn slot(self) -> Slot {
        Slot::from_bits(self.slot)
    }

    /// Which holder of that place.
    pub fn generation(self) -> u32 {
        self.generation
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.node.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.slot.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Address { node: word(0), incarnation: word(4), slot: word(8), generation: word(12) }
    }
}

impl ArchivedAddress {
    /// The address that was sent.
    pub fn to_address(&self) -> Address {
        Address {
            node: self.node.to_native(),
            incarnation: self.incarnation.to_native(),
            slot: self.slot.to_native(),
            generation: self.generation.to_native(),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}@{:08x}/{:?}#{}",
            self.node(),
            self.incarnation,
            self.slot(),
            self.generation
        )
    }
}

impl fmt::Debug for ArchivedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_address().fmt(f)
    }
}
