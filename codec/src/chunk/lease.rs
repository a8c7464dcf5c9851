//! Shares of chunks, to be read.

use std::{
    fmt,
    mem::{ManuallyDrop, size_of},
    ops::Deref,
    ptr::NonNull,
};

use super::{Head, MAX_CHUNK, SealedChunk, release};

/// A share of a chunk: a range of committed bytes that stays readable for as long as the lease lives.
///
/// Cloning a lease costs an increment; no bytes move.
pub struct Lease {
    pub(super) head: NonNull<Head>,
    pub(super) span: Span,
}

/// Which bytes of a chunk: where they start in the lower 32 bits, how many in the next 31, and a mark in
/// the highest. In one word, so that a lease passes in two registers.
#[derive(Clone, Copy)]
pub(super) struct Span(u64);

const MARK: u64 = 1 << 63;

const _: () = assert!(MAX_CHUNK < 1 << 31);

impl Span {
    #[inline]
    pub(super) fn new(start: usize, len: usize) -> Self {
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
