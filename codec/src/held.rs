//! The bytes of a received message: a share of the chunk that they are in, or, if they are few, a copy.
//!
//! A copy of two words costs less than to count one owner more, and it holds on to no chunk.
//!
//! This is one of the modules of the crate that use `unsafe`. What its blocks lean on: which field of a
//! `Contents` is set follows from the type of the message alone.

use std::{
    fmt,
    marker::PhantomData,
    mem::{ManuallyDrop, MaybeUninit},
    num::NonZeroU64,
    ptr, slice,
};

use crate::{
    archive::{Archivable, with_flat},
    chunk::{ChunkPool, Lease},
    message::MessageId,
    queue::small_id,
};

/// The longest message that is copied, in words and in bytes.
const WORDS: usize = 2;
const MOST: usize = WORDS * size_of::<u64>();

// Both are a pointer and a number for the compiler, so that either passes in two registers, and not through memory.
union Contents {
    lease: ManuallyDrop<Lease>,
    copy: Copied,
}

/// The words of a message, as far as it has bytes for them. The first has the type of a pointer, and is none.
// In this order, since its bytes are read from the start on.
#[derive(Clone, Copy)]
#[repr(C)]
struct Copied {
    first: MaybeUninit<*mut ()>,
    second: MaybeUninit<u64>,
}

const _: () =
    assert!(size_of::<*mut ()>() == size_of::<u64>(), "the first word of a copy is a pointer");
const _: () = assert!(size_of::<Contents>() == MOST);

/// A message of this process that is on its way by itself, without a frame.
// Its words are apart, and are written and read one by one: two words that were written one by one are slow to be
// read as one.
#[derive(Clone, Copy, Debug)]
pub struct Small {
    /// The identity's bits. A message whose identity has bits that mean something else in a
    /// [queue](crate::queue) does not travel like this.
    message: NonZeroU64,
    first: u64,
    second: u64,
}

impl Small {
    /// No message that anybody has.
    pub const NONE: Self = Small { message: NonZeroU64::MAX, first: 0, second: 0 };

    /// Which message.
    #[inline]
    pub fn message(&self) -> MessageId {
        MessageId::from_bits(self.message.get())
    }

    /// The identity's bits.
    #[inline(always)]
    pub(crate) const fn bits(&self) -> u64 {
        self.message.get()
    }

    /// What it says. The second word is zero if the message has but one.
    #[inline(always)]
    pub(crate) const fn words(&self) -> [u64; WORDS] {
        [self.first, self.second]
    }

    /// How many places of a [queue](crate::queue) it takes.
    #[inline(always)]
    pub fn places(&self) -> u32 {
        1 + u32::from(self.second != 0)
    }

    /// The message with these words, which are all those of one with this identity.
    #[inline(always)]
    pub(crate) fn from_words(message: NonZeroU64, [first, second]: [u64; WORDS]) -> Self {
        Small { message, first, second }
    }

    /// The message, if it is one that is copied.
    #[inline(always)]
    pub(crate) fn of<M: Archivable>(message: &M) -> Option<Self> {
        if !const { Held::<M>::COPIED } {
            return None;
        }
        let id = const { small_id::<M>() }?;
        Some(Self::from_words(id, with_flat(message, words_of::<M>)?))
    }
}

/// The bytes of a message's archive, as words.
#[inline(always)]
fn words_of<M: Archivable>(bytes: &[u8]) -> [u64; WORDS] {
    assert!(bytes.len() == size_of::<M::Archived>());
    let mut words = [0; WORDS];
    let (whole, rest) = bytes.as_chunks();
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u64::from_ne_bytes(*bytes);
    }
    if !rest.is_empty() {
        let mut last = [0; size_of::<u64>()];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()] = u64::from_ne_bytes(last);
    }
    words
}

/// See the [module](self).
pub(crate) struct Held<M: Archivable> {
    contents: Contents,
    message: PhantomData<fn() -> M>,
}

impl<M: Archivable> Held<M> {
    /// Whether messages of this type are copied. What is flat has no pointers in it, so it may lie anywhere.
    pub(crate) const COPIED: bool = M::FLAT
        && size_of::<M::Archived>() <= MOST
        && align_of::<M::Archived>() <= align_of::<u64>();

    /// Whether such a copy has bytes in its second word.
    pub(crate) const WIDE: bool = size_of::<M::Archived>() > size_of::<u64>();

    /// Takes over the bytes of one message.
    #[inline(always)]
    pub(crate) fn new(bytes: Lease) -> Self {
        if const { Self::COPIED } {
            return Self::copy_of(&bytes);
        }
        Held { contents: Contents { lease: ManuallyDrop::new(bytes) }, message: PhantomData }
    }

    /// Copies the bytes of one message.
    ///
    /// # Panics
    /// If they are not as many as the message has, or messages of this type are not copied.
    #[inline(always)]
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        Self::of_words(words_of::<M>(bytes))
    }

    #[inline(always)]
    fn of_words(words: [u64; WORDS]) -> Self {
        assert!(const { Self::COPIED });
        let [first, second] = words;
        let first = MaybeUninit::new(ptr::without_provenance_mut(first as usize));
        // A word that has no bytes of the message is not moved about.
        let second =
            if const { Self::WIDE } { MaybeUninit::new(second) } else { MaybeUninit::uninit() };
        Held { contents: Contents { copy: Copied { first, second } }, message: PhantomData }
    }

    /// A message that has come by itself, if it is this one.
    #[inline(always)]
    pub(crate) fn of_small(small: &Small) -> Option<Self> {
        let is_it = const { Self::COPIED && small_id::<M>().is_some() } && small.message() == M::ID;
        is_it.then(|| Self::of_words(small.words()))
    }

    /// The bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        if const { Self::COPIED } {
            // SAFETY: of such messages the copy is set, a message is no longer than the words of a copy, and
            // `of_words` has written those that have bytes of it.
            unsafe {
                slice::from_raw_parts(
                    (&raw const self.contents.copy).cast(),
                    size_of::<M::Archived>(),
                )
            }
        } else {
            self.lease()
        }
    }

    /// The share, of a message that is not copied.
    #[inline(always)]
    fn lease(&self) -> &Lease {
        assert!(const { !Self::COPIED });
        // SAFETY: of such messages the lease is set.
        unsafe { &self.contents.lease }
    }

    /// A share of the bytes.
    pub(crate) fn share(&self) -> Lease {
        if const { Self::COPIED } {
            // In memory of its own, since the words are not in a chunk.
            ChunkPool::new(MOST.next_multiple_of(64), 0, usize::MAX).copy_of(self.bytes())
        } else {
            self.lease().clone()
        }
    }
}

impl<M: Archivable> Clone for Held<M> {
    #[inline]
    fn clone(&self) -> Self {
        if const { Self::COPIED } { Self::copy_of(self.bytes()) } else { Self::new(self.share()) }
    }
}

impl<M: Archivable> Drop for Held<M> {
    #[inline(always)]
    fn drop(&mut self) {
        if const { !Self::COPIED } {
            // SAFETY: of such messages the lease is set; it is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.contents.lease) }
        }
    }
}

impl<M: Archivable> fmt::Debug for Held<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} bytes)", self.bytes().len())
    }
}
