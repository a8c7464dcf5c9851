//! The slots of a queue, which may become more while others have a reference to the queue.
//!
//! This is one of the modules of the crate that use `unsafe`. What its blocks lean on: the queues of the module
//! above, which alone see these functions, have a reference to a slot for no longer than it takes to read or write
//! it, and meanwhile no code of another module runs.

use std::cell::UnsafeCell;

/// More slots than these are never made: half of all positions.
const MOST_SLOTS: usize = 1 << 31;

/// See the [module](self).
pub(super) struct Slots<S>(UnsafeCell<Box<[S]>>);

impl<S> Default for Slots<S> {
    fn default() -> Self {
        Slots(UnsafeCell::default())
    }
}

impl<S: Default> Slots<S> {
    /// The slots: as many as a power of two, or none. Nobody keeps them for longer than it takes to read or write one.
    #[inline(always)]
    pub(super) fn all(&self) -> &[S] {
        // SAFETY: only `put` puts another slice there, and nobody has the old one then: the queues' functions
        // are done with it when they return, nothing that they call meanwhile is anybody else's but for the
        // functions of `Cell` and of slices, and the type is not `Sync`.
        unsafe { &*self.0.get() }
    }

    /// The slot of a position, if there are any.
    #[inline(always)]
    pub(super) fn at(&self, position: u32) -> Option<&S> {
        let all = self.all();
        // Of none at all, no slot is the last.
        all.get(position as usize & all.len().wrapping_sub(1))
    }

    /// Makes it so many, a power of two. What was in the old ones is moved by position, from the one end to the other.
    pub(super) fn grow(&self, slots: usize, ends: impl Fn() -> (u32, u32), take: impl Fn(u32, &S)) {
        assert!(slots <= MOST_SLOTS, "positions are told apart");
        let grown: Box<[S]> = (0..slots).map(|_| S::default()).collect();
        // An allocator is somebody's code, too: what has become of the queue meanwhile is looked at now.
        if self.all().len() >= slots {
            return;
        }
        let (head, tail) = ends();
        for behind in 0..tail.wrapping_sub(head) {
            let position = head.wrapping_add(behind);
            take(position, &grown[position as usize & (slots - 1)]);
        }
        self.put(grown);
    }

    pub(super) fn put(&self, slots: Box<[S]>) {
        // SAFETY: see `all`. The old slots are moved out, and are dropped when the others are in their place.
        drop(unsafe { self.0.get().replace(slots) });
    }
}
