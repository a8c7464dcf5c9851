//! The bytes of a received message: a share of the chunk that they are in, or, if they are few, a copy.
//!
//! A copy of two words costs less than to count one owner more, and it holds on to no chunk.
//!
//! This is one of the modules of the crate that use `unsafe`. What its blocks lean on: which field of a
//! `Contents` is set follows from the type of the message alone.

use std::{fmt, marker::PhantomData, mem::ManuallyDrop, num::NonZeroU64, slice};

use crate::{
    archive::{Archivable, flat_bytes, is_flat},
    chunk::{ChunkPool, Lease},
    message::MessageId,
};

/// The longest message that is copied, in words and in bytes.
const WORDS: usize = 2;
const MOST: usize = WORDS * size_of::<u64>();

union Contents {
    lease: ManuallyDrop<Lease>,
    copy: [u64; WORDS],
}

/// A message of this process that is on its way by itself, without a frame.
// Its words are apart, and are written and read one by one: two words that were written one by one are slow to be
// read as one.
#[derive(Clone, Copy, Debug)]
pub struct Small {
    /// The identity's bits. A message whose identity has none does not travel like this.
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

    /// The message, if it is one that is copied.
    #[inline(always)]
    pub(crate) fn of<M: Archivable>(message: &M) -> Option<Self> {
        if const { Held::<M>::COPIED } {
            let [first, second] = words_of::<M>(flat_bytes(message));
            let message = const { NonZeroU64::new(M::ID.bits()) };
            message.map(|message| Small { message, first, second })
        } else {
            None
        }
    }
}

/// The bytes of a message, as words.
#[inline(always)]
fn words_of<M>(bytes: &[u8]) -> [u64; WORDS] {
    assert!(bytes.len() == size_of::<M>());
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
    pub(crate) const COPIED: bool =
        is_flat::<M>() && size_of::<M>() <= MOST && align_of::<M::Archived>() <= align_of::<u64>();

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
        Held { contents: Contents { copy: words }, message: PhantomData }
    }

    /// A message that has come by itself, if it is this one.
    #[inline(always)]
    pub(crate) fn of_small(small: &Small) -> Option<Self> {
        let is_it = const { Self::COPIED } && small.message() == M::ID;
        // No more words are read than there are bytes for.
        is_it.then(|| match const { size_of::<M>().div_ceil(size_of::<u64>()) } {
            0 => Self::of_words([0, 0]),
            1 => Self::of_words([small.first, 0]),
            _ => Self::of_words([small.first, small.second]),
        })
    }

    /// The bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        if const { Self::COPIED } {
            // SAFETY: of such messages the copy is set, and a message is no longer than the words of a copy,
            // all of which are initialised.
            unsafe { slice::from_raw_parts((&raw const self.contents.copy).cast(), size_of::<M>()) }
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
