//! Chunks: the memory that frames live in, from the sender's `tell` to the receiver's handler.
//!
//! A chunk is an aligned, pooled, reference-counted buffer. It has at most one [`ChunkWriter`], which
//! appends bytes at its end, and any number of [`Lease`]s, each a range of bytes already written.
//! Committed bytes never change again, so leases stay readable while the writer goes on behind them.
//!
//! Everything here belongs to one thread and counts without atomics. Only a [`SealedChunk`], which is
//! the one and only owner of its chunk, may cross to another thread.
//!
//! This is one of the modules of the crate that use `unsafe`. The invariant that all blocks lean on:
//!
//! - bytes `0..committed` of a chunk are initialised and are never written again while anybody else
//!   owns a part of the chunk;
//! - bytes from `committed` on are touched by the chunk's single writer only.

mod lease;
mod pool;

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    cell::Cell,
    fmt,
    mem::{ManuallyDrop, MaybeUninit, size_of},
    ptr::NonNull,
};

pub(crate) use lease::Cursor;
use lease::Span;
pub use {
    lease::Lease,
    pool::{ChunkPool, DEFAULT_CHUNK_SIZE, Lender, PoolExhausted},
};

/// Every chunk starts at a multiple of this, in bytes: a cache line.
pub const CHUNK_ALIGN: usize = 64;

/// The largest chunk, in bytes. Positions in a chunk fit into 32 bits.
pub const MAX_CHUNK: usize = 1 << 30;

/// What precedes the bytes of a chunk, in the same allocation.
#[repr(C, align(64))]
struct Head {
    /// Writers and leases that own a share of the chunk.
    owners: Cell<u64>,
    /// Bytes that follow the head.
    capacity: usize,
    /// The pool to go back to; `None` while the chunk is sealed, so that no `Rc` crosses threads.
    pool: Cell<Option<ChunkPool>>,
    /// Whose the chunk is, if the pool has it from another thread.
    lender: Cell<Option<Lender>>,
}

const _: () = assert!(size_of::<Head>() == CHUNK_ALIGN);

impl Head {
    /// Before the chunk leaves its thread.
    fn leave_pool(&self) {
        self.lender.set(None);
        if let Some(pool) = self.pool.take() {
            pool.stop_counting(self.capacity);
        }
    }
}

/// Drops one owner of a chunk; the last one sends the chunk back to its pool.
#[inline]
fn release(head: NonNull<Head>) {
    // SAFETY: the caller owned a share (`owners` counted it), so the head is alive.
    let owners = unsafe { &head.as_ref().owners };
    let left = owners.get() - 1;
    owners.set(left);
    if left == 0 {
        send_home(SealedChunk { head, committed: 0, taken: 0 });
    }
}

#[cold]
fn send_home(chunk: SealedChunk) {
    match chunk.head().pool.take() {
        Some(pool) => pool.give_back(chunk),
        None => drop(chunk),
    }
}

/// A chunk with exactly one owner and no ties to a thread. Dropping it frees the memory.
pub struct SealedChunk {
    head: NonNull<Head>,
    committed: usize,
    taken: usize,
}

// SAFETY: a sealed chunk is the only owner of its memory (`seal` and `try_seal` check `owners == 1`)
// and holds no pool handle, so nothing of it is shared with the thread that it leaves.
unsafe impl Send for SealedChunk {}

impl SealedChunk {
    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(size_of::<Head>() + capacity, CHUNK_ALIGN)
            .expect("capacity is bounded by the pool's limit, far below isize::MAX")
    }

    fn allocate(capacity: usize) -> Self {
        let layout = Self::layout(capacity);
        // SAFETY: the layout has a size above zero, since the head alone takes 64 bytes.
        let Some(head) = NonNull::new(unsafe { alloc(layout) }.cast::<Head>()) else {
            handle_alloc_error(layout)
        };
        let value =
            Head { owners: Cell::new(0), capacity, pool: Cell::new(None), lender: Cell::new(None) };
        // SAFETY: freshly allocated, large enough, and aligned for a head by `layout`.
        unsafe { head.write(value) };
        SealedChunk { head, committed: 0, taken: 0 }
    }

    /// A chunk of its own for a copy of these bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut chunk = Self::allocate(bytes.len().max(1).next_multiple_of(CHUNK_ALIGN));
        let mut writer =
            ManuallyDrop::new(ChunkWriter { head: chunk.head, committed: 0, taken: 0 });
        writer.append(bytes);
        chunk.committed = writer.committed;
        chunk
    }

    fn head(&self) -> &Head {
        // SAFETY: a sealed chunk owns its allocation until it is dropped.
        unsafe { self.head.as_ref() }
    }

    /// Bytes that the chunk can hold.
    pub fn capacity(&self) -> usize {
        self.head().capacity
    }

    /// Bytes that have been written and not yet taken out as a lease.
    pub fn len(&self) -> usize {
        self.committed - self.taken
    }

    /// Whether there is nothing to read in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for SealedChunk {
    fn drop(&mut self) {
        let layout = Self::layout(self.head().capacity);
        // SAFETY: sole owner, allocated by `allocate` with this same layout; the head's only field
        // with a destructor, `pool`, is `None` in a sealed chunk.
        unsafe { dealloc(self.head.as_ptr().cast(), layout) };
    }
}

impl fmt::Debug for SealedChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedChunk({} of {} bytes)", self.len(), self.capacity())
    }
}

/// The single writer of a chunk.
pub struct ChunkWriter {
    head: NonNull<Head>,
    committed: usize,
    taken: usize,
}

impl ChunkWriter {
    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: the writer owns a share of the chunk, so the head is alive.
        unsafe { self.head.as_ref() }
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        // SAFETY: the bytes follow the head in the same allocation.
        unsafe { self.head.as_ptr().cast::<u8>().add(size_of::<Head>()) }
    }

    /// Bytes that the chunk can hold.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.head().capacity
    }

    /// Bytes that have been committed, whether taken or not.
    pub fn len(&self) -> usize {
        self.committed
    }

    /// Whether nothing has been committed.
    pub fn is_empty(&self) -> bool {
        self.committed == 0
    }

    /// Bytes that can still be appended.
    #[inline]
    pub fn spare(&self) -> usize {
        self.capacity() - self.committed
    }

    /// Committed bytes that have not been taken yet.
    #[inline]
    pub fn untaken(&self) -> usize {
        self.committed - self.taken
    }

    /// The free end of the chunk, for the kernel or the serialiser to fill. Nothing counts as written
    /// until it is committed.
    #[inline]
    pub fn spare_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        let spare = self.spare();
        // SAFETY: bytes from `committed` on belong to this writer alone, and `&mut self` makes this
        // borrow the only one. Leases cover bytes below `committed` only.
        unsafe { std::slice::from_raw_parts_mut(self.base().add(self.committed).cast(), spare) }
    }

    /// Commits `count` bytes of [`spare_mut`](Self::spare_mut).
    ///
    /// # Safety
    /// - The first `count` bytes of the free end have been initialised, by Rust code or by the kernel.
    ///
    /// # Panics
    /// If `count` is more than what is free.
    #[inline]
    pub unsafe fn commit(&mut self, count: usize) {
        assert!(count <= self.spare(), "committed more bytes than there are");
        self.committed += count;
    }

    /// The next `count` bytes of the free end, which count as written from now on. `None` if they do not fit.
    ///
    /// # Safety
    /// - The caller initialises all of them before anything else is done with the chunk.
    #[inline(always)]
    pub(crate) unsafe fn extend(&mut self, count: usize) -> Option<&mut [MaybeUninit<u8>]> {
        let at = self.committed;
        if count > self.capacity() - at {
            return None;
        }
        self.committed = at + count;
        // SAFETY: these bytes lie within the chunk, and belong to this writer alone: nobody has leased them
        // yet, and `&mut self` makes this borrow the only one.
        Some(unsafe { std::slice::from_raw_parts_mut(self.base().add(at).cast(), count) })
    }

    /// Appends bytes. Returns `false`, with nothing written, if they do not fit.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.spare_mut().get_mut(..bytes.len()) else {
            return false;
        };
        room.write_copy_of_slice(bytes);
        // SAFETY: exactly these bytes were just written.
        unsafe { self.commit(bytes.len()) };
        true
    }

    /// Appends bytes and takes them out again, as a lease. What has been read makes room, if all has. `None`,
    /// with nothing written, if they do not fit.
    pub(crate) fn append_leased(&mut self, bytes: &[u8]) -> Option<Lease> {
        self.rewind();
        self.append(bytes).then(|| self.take_committed())
    }

    /// Appends the first `len` of a few bytes. Returns `false`, with nothing written, if there is no room for all of
    /// them.
    ///
    /// All are copied: that takes a few instructions, and no call. After a sleep the code to call costs more to fetch
    /// than what it does.
    ///
    /// # Panics
    /// If `len` is more than they are.
    #[inline(always)]
    pub(crate) fn append_few<const N: usize>(&mut self, bytes: &[u8; N], len: usize) -> bool {
        assert!(len <= N, "that many bytes are there");
        let Some(room) = self.spare_mut().first_chunk_mut::<N>() else {
            return false;
        };
        room.write_copy_of_slice(bytes);
        // SAFETY: these and more were just written.
        unsafe { self.commit(len) };
        true
    }

    /// A lease on all committed bytes that have not been taken before.
    #[inline]
    pub fn take_committed(&mut self) -> Lease {
        let lease = self.lease(self.taken, self.committed - self.taken);
        self.taken = self.committed;
        lease
    }

    /// A lease on the next `count` committed bytes that have not been taken before.
    ///
    /// # Panics
    /// If fewer are there.
    pub fn take(&mut self, count: usize) -> Lease {
        assert!(count <= self.untaken());
        let lease = self.lease(self.taken, count);
        self.taken += count;
        lease
    }

    /// Gives up the committed bytes that have not been taken.
    pub(crate) fn skip(&mut self) {
        self.taken = self.committed;
        self.rewind();
    }

    /// A lease on everything that has been committed, taken or not.
    pub fn whole(&self) -> Lease {
        self.lease(0, self.committed)
    }

    /// The bytes that have been committed and not taken.
    pub fn peek(&self) -> &[u8] {
        // SAFETY: committed bytes are initialised and do not change.
        unsafe { std::slice::from_raw_parts(self.base().add(self.taken), self.untaken()) }
    }

    /// Starts over at the first byte, if nobody else holds the chunk and everything has been taken.
    /// Returns whether it did.
    #[inline]
    pub fn rewind(&mut self) -> bool {
        let idle = self.head().owners.get() == 1 && self.untaken() == 0;
        if idle {
            self.committed = 0;
            self.taken = 0;
        }
        idle
    }

    #[inline]
    fn lease(&self, start: usize, len: usize) -> Lease {
        let owners = &self.head().owners;
        owners.set(owners.get() + 1);
        Lease { head: self.head, span: Span::new(start, len) }
    }

    /// Gives up the writer for a chunk that may cross to another thread. What has not been taken goes
    /// with it.
    ///
    /// # Errors
    /// The writer comes back if leases on the chunk are still around.
    pub fn seal(self) -> Result<SealedChunk, ChunkWriter> {
        if self.head().owners.get() != 1 {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        this.head().leave_pool();
        Ok(SealedChunk { head: this.head, committed: this.committed, taken: this.taken })
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        release(self.head);
    }
}

impl fmt::Debug for ChunkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkWriter({} of {} bytes)", self.committed, self.capacity())
    }
}
