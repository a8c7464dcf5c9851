//! Where chunks come from, and go back to.
//!
//! No block here is `unsafe`, but what the module above leans on is kept here as well: whoever gets a chunk owns it
//! alone, and its bytes count as written as far as they are, or not at all.
#![forbid(unsafe_code)]

use std::{
    cell::{Cell, RefCell},
    fmt,
    mem::ManuallyDrop,
    rc::Rc,
};

use super::{CHUNK_ALIGN, ChunkWriter, Lease, MAX_CHUNK, SealedChunk};

/// The capacity of a pooled chunk, in bytes, unless the pool is told otherwise.
pub const DEFAULT_CHUNK_SIZE: usize = 64 * 1024;

/// The thread that a chunk came from: its number, whatever that means to the caller.
pub type Lender = u32;

/// Memory for a chunk was refused: the pool's limit is reached, or it was more than [`MAX_CHUNK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolExhausted {
    /// Bytes that the pool may hand out at the same time.
    pub limit: usize,
}

impl fmt::Display for PoolExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the worker's message memory ({} bytes) is used up", self.limit)
    }
}

impl std::error::Error for PoolExhausted {}

/// A worker's store of chunks: hands them out, takes them back, and bounds their sum.
///
/// Cloning it gives another handle on the same store.
#[derive(Clone)]
pub struct ChunkPool(Rc<Store>);

struct Store {
    free: RefCell<Vec<SealedChunk>>,
    /// Idle chunks of other threads.
    borrowed: RefCell<Vec<(Lender, SealedChunk)>>,
    chunk_size: usize,
    free_max: usize,
    limit: usize,
    lent: Cell<usize>,
    chunks_lent: Cell<usize>,
}

impl Store {
    fn lend(&self, bytes: usize) {
        self.lent.set(self.lent.get() + bytes);
        self.chunks_lent.set(self.chunks_lent.get() + 1);
    }

    fn take_back(&self, bytes: usize) {
        self.lent.set(self.lent.get() - bytes);
        self.chunks_lent.set(self.chunks_lent.get() - 1);
    }
}

impl ChunkPool {
    /// A pool of chunks of `chunk_size` bytes that lends at most `limit` bytes at the same time and
    /// keeps at most `free_max` chunks for later use.
    ///
    /// # Panics
    /// If `chunk_size` is not a multiple of [`CHUNK_ALIGN`] or is larger than 1 GiB.
    pub fn new(chunk_size: usize, free_max: usize, limit: usize) -> Self {
        assert!(
            chunk_size.is_multiple_of(CHUNK_ALIGN) && chunk_size > 0 && chunk_size <= MAX_CHUNK
        );
        ChunkPool(Rc::new(Store {
            free: RefCell::new(Vec::with_capacity(free_max)),
            borrowed: RefCell::default(),
            chunk_size,
            free_max,
            limit,
            lent: Cell::new(0),
            chunks_lent: Cell::new(0),
        }))
    }

    /// The capacity of this pool's ordinary chunks, in bytes.
    pub fn chunk_size(&self) -> usize {
        self.0.chunk_size
    }

    /// Bytes of all chunks that are out: being written, leased, or both.
    pub fn bytes_lent(&self) -> usize {
        self.0.lent.get()
    }

    /// How many chunks that are.
    pub fn chunks_lent(&self) -> usize {
        self.0.chunks_lent.get()
    }

    /// Chunks at rest in the pool.
    pub fn chunks_free(&self) -> usize {
        self.0.free.borrow().len()
    }

    /// An empty chunk of the pool's size.
    ///
    /// # Errors
    /// If the limit is reached.
    pub fn acquire(&self) -> Result<ChunkWriter, PoolExhausted> {
        self.acquire_sized(self.0.chunk_size)
    }

    /// An empty chunk of at least `capacity` bytes. Chunks that are not of the pool's size are given
    /// back to the allocator after use.
    ///
    /// # Errors
    /// If the limit is reached.
    pub fn acquire_sized(&self, capacity: usize) -> Result<ChunkWriter, PoolExhausted> {
        let exhausted = PoolExhausted { limit: self.0.limit };
        if capacity > MAX_CHUNK {
            return Err(exhausted);
        }
        let capacity = capacity.max(self.0.chunk_size).next_multiple_of(CHUNK_ALIGN);
        if self.0.lent.get().saturating_add(capacity) > self.0.limit {
            return Err(exhausted);
        }
        let pooled =
            if capacity == self.0.chunk_size { self.0.free.borrow_mut().pop() } else { None };
        let chunk = pooled.unwrap_or_else(|| SealedChunk::allocate(capacity));
        let mut writer = self.adopt(chunk);
        writer.committed = 0;
        writer.taken = 0;
        Ok(writer)
    }

    /// An empty chunk of less than the pool's size: it is given back to the allocator after use.
    ///
    /// # Errors
    /// If the limit is reached.
    pub(crate) fn acquire_small(&self, capacity: usize) -> Result<ChunkWriter, PoolExhausted> {
        if self.0.lent.get().saturating_add(capacity) > self.0.limit {
            return Err(PoolExhausted { limit: self.0.limit });
        }
        Ok(self.adopt(SealedChunk::allocate(capacity)))
    }

    /// An empty chunk of `wanted` bytes, or of as many as are left, if those are `needed` at least.
    ///
    /// # Errors
    /// If fewer than `needed` are left.
    pub(crate) fn acquire_between(
        &self,
        needed: usize,
        wanted: usize,
    ) -> Result<ChunkWriter, PoolExhausted> {
        let left = self.0.limit.saturating_sub(self.0.lent.get()).min(MAX_CHUNK);
        // What is left counts in whole cache lines, as chunks do.
        self.acquire_sized(wanted.min(left - left % CHUNK_ALIGN).max(needed))
    }

    /// Takes over a chunk that another thread sealed; all its committed bytes, as one lease. When it is idle it
    /// is to be [given back](Self::pop_borrowed).
    ///
    /// This never fails: the memory is already there. It counts towards the limit from now on.
    pub fn open(&self, chunk: SealedChunk, lender: Lender) -> Lease {
        let mut writer = self.adopt(chunk);
        writer.head().lender.set(Some(lender));
        writer.take_committed()
    }

    /// A lease on a copy of these bytes. As with [`open`](Self::open), this never fails.
    pub(crate) fn copy_of(&self, bytes: &[u8]) -> Lease {
        self.adopt(SealedChunk::copy_of(bytes)).take_committed()
    }

    /// An idle chunk that another thread has lent, and which one. What is not given back stays here.
    pub fn pop_borrowed(&self) -> Option<(Lender, SealedChunk)> {
        self.0.borrowed.borrow_mut().pop()
    }

    /// Puts an idle chunk at rest, or frees it if enough are at rest already.
    pub fn restock(&self, mut chunk: SealedChunk) {
        if let Ok(mut free) = self.0.free.try_borrow_mut()
            && chunk.capacity() == self.0.chunk_size
            && free.len() < self.0.free_max
        {
            chunk.committed = 0;
            chunk.taken = 0;
            free.push(chunk);
        }
    }

    fn adopt(&self, chunk: SealedChunk) -> ChunkWriter {
        let chunk = ManuallyDrop::new(chunk);
        let writer =
            ChunkWriter { head: chunk.head, committed: chunk.committed, taken: chunk.taken };
        let head = writer.head();
        self.0.lend(head.capacity);
        head.owners.set(1);
        head.pool.set(Some(self.clone()));
        writer
    }

    /// A chunk of so many bytes is out, but not this pool's any more.
    pub(super) fn stop_counting(&self, bytes: usize) {
        self.0.take_back(bytes);
    }

    /// Takes in a chunk that is idle now.
    pub(super) fn give_back(self, chunk: SealedChunk) {
        self.0.take_back(chunk.capacity());
        let lender = chunk.head().lender.take();
        if let Some(lender) = lender
            && let Ok(mut borrowed) = self.0.borrowed.try_borrow_mut()
            && chunk.capacity() == self.0.chunk_size
            && borrowed.len() < self.0.free_max
        {
            return borrowed.push((lender, chunk));
        }
        self.restock(chunk);
    }
}

impl fmt::Debug for ChunkPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkPool")
            .field("chunk_size", &self.0.chunk_size)
            .field("bytes_lent", &self.bytes_lent())
            .field("limit", &self.0.limit)
            .finish_non_exhaustive()
    }
}
