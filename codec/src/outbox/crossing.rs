//! What crosses from one worker to another: chunks, or few bytes without one.

use std::fmt;

use super::Parcel;
use crate::{
    chunk::{ChunkPool, ChunkWriter, Lease, Lender, SealedChunk},
    frame::{Frames, Header},
    passing::{Apart, Envelope, Value},
};

/// What crosses from one worker to another; [`open`](Self::open) it there.
// It begins with a cache line, and so a small message lies on as few as can be.
#[derive(Debug)]
#[repr(align(64))]
pub struct Crossing(pub(super) Load);

const _: () =
    assert!(size_of::<Crossing>() == 128, "few bytes, and what is before them, fill two lines");

#[derive(Debug)]
pub(super) enum Load {
    /// Whole frames, back to back, and few bytes of them.
    Small(Small),
    /// Whole frames, back to back.
    Frames(SealedChunk),
    /// One large message: its payload is all that there is to read in the chunk.
    Apart(Header, SealedChunk),
    /// A message that passes by value.
    Value(Box<Value>),
}

impl Load {
    pub(super) fn frames(frames: Lease) -> Self {
        Load::Frames(sole(frames))
    }

    pub(super) fn apart(apart: Apart) -> Self {
        Load::Apart(apart.header, sole(apart.payload))
    }
}

/// The lease's bytes in a chunk with a single owner: their own if it can be had, a copy if not.
fn sole(lease: Lease) -> SealedChunk {
    lease.try_seal().unwrap_or_else(|shared| SealedChunk::copy_of(&shared))
}

impl Crossing {
    /// Takes it over on the receiving worker where it lies, if it is small. What is left is to be dropped: its messages
    /// would come twice. `None` for all others, which are to be [opened](Self::open).
    ///
    /// Moved out of the lane before, it would be copied twice, and the second copy waits for the first.
    #[inline]
    pub fn land(&self, landing: &mut Landing) -> Option<Parcel> {
        match &self.0 {
            Load::Small(small) => Some(Parcel::Frames(Frames::new(landing.land(small)))),
            _ => None,
        }
    }

    /// Takes it over on the receiving worker. Its memory counts towards that one's from now on; the sender is
    /// its [lender](ChunkPool::open).
    pub fn open(self, landing: &mut Landing, lender: Lender) -> Parcel {
        let pool = &landing.pool;
        match self.0 {
            Load::Small(small) => Parcel::Frames(Frames::new(landing.land(&small))),
            Load::Frames(chunk) => Parcel::Frames(Frames::new(pool.open(chunk, lender))),
            Load::Apart(header, chunk) => {
                let apart = Apart { header, payload: pool.open(chunk, lender) };
                Parcel::Single(Envelope::Apart(Box::new(apart)))
            }
            Load::Value(value) => Parcel::Single(Envelope::Value(value)),
        }
    }
}

/// How many bytes of frames cross by themselves, and not in a chunk.
pub(super) const SMALL: usize = 112;

/// So many are on its first cache line with what is before them; a frame of one or two numbers has no more.
const FEW: usize = 48;

/// Few bytes of whole frames. A chunk would cost both sides several cache misses more: its head, its first
/// line, and its way back.
#[repr(C)]
pub(super) struct Small {
    len: u8,
    bytes: [u8; SMALL],
}

impl Small {
    pub(super) fn new(frames: &[u8]) -> Option<Self> {
        let mut bytes = [0; SMALL];
        bytes.get_mut(..frames.len())?.copy_from_slice(frames);
        Some(Small { len: frames.len() as u8, bytes })
    }

    /// Puts them into a chunk. `None`, with nothing written, if there is no room.
    #[inline(always)]
    fn land_in(&self, chunk: &mut ChunkWriter) -> Option<Lease> {
        // What landed before has been read, more often than not, and makes room.
        chunk.rewind();
        let len = usize::from(self.len);
        let landed = match self.bytes.first_chunk::<FEW>() {
            Some(few) if len <= FEW => chunk.append_few(few, len),
            _ => chunk.append_few(&self.bytes, len),
        };
        landed.then(|| chunk.take_committed())
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Small({} bytes)", self.len)
    }
}

/// Where a worker puts what crosses without a chunk.
#[derive(Debug)]
pub struct Landing {
    pool: ChunkPool,
    open: Option<ChunkWriter>,
}

impl Landing {
    /// Chunks come from this pool.
    pub fn new(pool: ChunkPool) -> Self {
        Landing { pool, open: None }
    }

    #[inline]
    fn land(&mut self, small: &Small) -> Lease {
        let landed = self.open.as_mut().and_then(|open| small.land_in(open));
        landed.unwrap_or_else(|| self.land_in_fresh(small))
    }

    #[cold]
    fn land_in_fresh(&mut self, small: &Small) -> Lease {
        // Chunks may be smaller than what is copied.
        let fits = self.pool.chunk_size() >= SMALL;
        self.open = fits.then(|| self.pool.acquire().ok()).flatten();
        let landed = self.open.as_mut().and_then(|open| small.land_in(open));
        // It has been sent, so it is received, as chunks are.
        landed.unwrap_or_else(|| self.pool.copy_of(small.bytes()))
    }
}
