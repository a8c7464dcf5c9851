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

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    cell::{Cell, RefCell},
    fmt,
    mem::{ManuallyDrop, MaybeUninit, size_of},
    ops::Deref,
    ptr::NonNull,
    rc::Rc,
};

/// Every chunk starts at a multiple of this, in bytes: a cache line.
pub const CHUNK_ALIGN: usize = 64;

/// The capacity of a pooled chunk, in bytes, unless the pool is told otherwise.
pub const DEFAULT_CHUNK_SIZE: usize = 64 * 1024;

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
            pool.0.take_back(self.capacity);
        }
    }
}

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

    fn give_back(self, chunk: SealedChunk) {
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

/// A share of a chunk: a range of committed bytes that stays readable for as long as the lease lives.
///
/// Cloning a lease costs an increment; no bytes move.
pub struct Lease {
    head: NonNull<Head>,
    span: Span,
}

/// Which bytes of a chunk: where they start in the lower 32 bits, how many in the next 31, and a mark in
/// the highest. In one word, so that a lease passes in two registers.
#[derive(Clone, Copy)]
struct Span(u64);

const MARK: u64 = 1 << 63;

const _: () = assert!(MAX_CHUNK < 1 << 31);

impl Span {
    #[inline]
    fn new(start: usize, len: usize) -> Self {
        Span(start as u64 | (len as u64) << 32)
    }

    #[inline]
    fn start(self) -> usize {
        self.0 as u32 as usize
    }

    #[inline]
    fn len(self) -> usize {
        ((self.0 & !MARK) >> 32) as usize
    }
}

impl Lease {
    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: the lease owns a share of the chunk, so the head is alive.
        unsafe { self.head.as_ref() }
    }

    /// The same lease with a mark, whose meaning is up to whoever sets it. It goes along when the lease is
    /// cloned, not when it is sliced.
    pub(crate) fn marked(mut self) -> Self {
        self.span.0 |= MARK;
        self
    }

    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        self.span.0 & MARK != 0
    }

    #[inline]
    fn share(&self, span: Span) -> Lease {
        let owners = &self.head().owners;
        owners.set(owners.get() + 1);
        Lease { head: self.head, span }
    }

    /// A lease on a part of this one.
    ///
    /// # Panics
    /// If the part reaches outside.
    #[inline]
    pub fn slice(&self, start: usize, len: usize) -> Lease {
        assert!(start <= self.len() && len <= self.len() - start, "slice outside of the lease");
        self.share(Span::new(self.span.start() + start, len))
    }

    /// The part of the lease from `start` on, which takes its place.
    ///
    /// # Panics
    /// If the part reaches outside.
    #[inline]
    pub(crate) fn into_slice(mut self, start: usize, len: usize) -> Lease {
        assert!(start <= self.len() && len <= self.len() - start, "slice outside of the lease");
        self.span = Span::new(self.span.start() + start, len);
        self
    }

    /// Bytes of the whole chunk that this lease keeps in memory.
    pub fn bytes_held(&self) -> usize {
        self.head().capacity
    }

    /// Turns the last lease on a chunk into a sealed chunk with just this lease's bytes to read.
    ///
    /// # Errors
    /// The lease comes back if it is not the only owner.
    pub fn try_seal(self) -> Result<SealedChunk, Lease> {
        if self.head().owners.get() != 1 {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        this.head().leave_pool();
        let taken = this.span.start();
        Ok(SealedChunk { head: this.head, committed: taken + this.span.len(), taken })
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: a lease covers committed bytes only: they are initialised, never written again
        // while this share exists, and alive because of it.
        unsafe { bytes_of(self.head, self.span.start(), self.span.len()) }
    }
}

/// Bytes of a chunk.
///
/// # Safety
/// - They have been committed, and the caller owns a share of the chunk for as long as `'a`.
#[inline]
unsafe fn bytes_of<'a>(head: NonNull<Head>, start: usize, len: usize) -> &'a [u8] {
    // SAFETY: committed bytes follow the head in the same allocation, and are initialised.
    unsafe {
        let base = head.as_ptr().cast::<u8>().add(size_of::<Head>());
        std::slice::from_raw_parts(base.add(start), len)
    }
}

/// A share of a chunk that is read from front to back.
// What a lease has in one word stands here as it is needed with every message.
pub(crate) struct Cursor {
    head: NonNull<Head>,
    /// Positions in the chunk: where the share starts, what is read next, and where it ends.
    start: usize,
    at: usize,
    end: usize,
}

impl Cursor {
    #[inline]
    pub(crate) fn new(lease: Lease) -> Self {
        let lease = ManuallyDrop::new(lease);
        let (start, len) = (lease.span.start(), lease.span.len());
        Cursor { head: lease.head, start, at: start, end: start + len }
    }

    /// What has not been read.
    #[inline(always)]
    pub(crate) fn rest(&self) -> &[u8] {
        // SAFETY: this owns a share of the chunk, of the bytes `start..end`, in which `at` lies.
        unsafe { bytes_of(self.head, self.at, self.end - self.at) }
    }

    /// A lease on the `len` bytes that lie `start` bytes behind those that have been read.
    ///
    /// # Panics
    /// If they reach outside.
    #[inline(always)]
    pub(crate) fn lease(&self, start: usize, len: usize) -> Lease {
        let left = self.end - self.at;
        assert!(start <= left && len <= left - start, "a lease outside of its share");
        // SAFETY: this owns a share of the chunk, so the head is alive.
        let owners = unsafe { &self.head.as_ref().owners };
        owners.set(owners.get() + 1);
        Lease { head: self.head, span: Span::new(self.at + start, len) }
    }

    /// Goes on behind the next `count` bytes.
    ///
    /// # Panics
    /// If that is outside.
    #[inline(always)]
    pub(crate) fn skip(&mut self, count: usize) {
        assert!(count <= self.end - self.at, "a step outside of its share");
        self.at += count;
    }

    /// The whole share.
    pub(crate) fn into_lease(self) -> Lease {
        let this = ManuallyDrop::new(self);
        Lease { head: this.head, span: Span::new(this.start, this.end - this.start) }
    }
}

impl Drop for Cursor {
    #[inline]
    fn drop(&mut self) {
        release(self.head);
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor(at {} of {}..{})", self.at, self.start, self.end)
    }
}

impl Clone for Lease {
    #[inline]
    fn clone(&self) -> Self {
        self.share(self.span)
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        release(self.head);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes at {})", self.span.len(), self.span.start())
    }
}
