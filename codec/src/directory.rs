//! Who has which slot of a worker, and the queue that leads there.
//!
//! Whoever is told something on the worker that tells it is found in here, so a look costs no more than a comparison of
//! the address: nothing is counted or marked meanwhile.
//!
//! This is one of the modules of the crate that use `unsafe`. What its blocks lean on: nobody has a reference to an
//! entry for longer than a call, and meanwhile no code of another module runs but the queue's own; and who is in an
//! entry is kept alive by it, and with them their queue.

use std::{cell::UnsafeCell, fmt, mem, ptr::NonNull, rc::Rc};

use crate::{
    address::{Address, MAX_ACTORS},
    held::Small,
    queue::SmallQueue,
};

/// See the [module](self).
pub struct Directory<T> {
    inside: UnsafeCell<Inside<T>>,
}

struct Inside<T> {
    entries: Vec<Entry<T>>,
    /// The vacant entry that is taken next; the others hang on to each other.
    first_vacant: Option<u32>,
    vacant: usize,
}

struct Entry<T> {
    /// Slot and generation of who is here. If nobody is: in the lower half that of no actor which is looked for here, in
    /// the upper half the vacant entry behind this one.
    place: u64,
    /// The queue of who is here; dangling if nobody is.
    queue: NonNull<SmallQueue>,
    owner: Option<Rc<T>>,
}

/// How many slots there is room for at first.
const FIRST_SLOTS: usize = 16;

/// Behind this entry there is no vacant one.
const LAST: u32 = u32::MAX;

impl<T> Entry<T> {
    fn vacant(index: usize, next: Option<u32>) -> Self {
        // Who is looked for here has this index in the slot. This one has another.
        let other = !index as u64 & (MAX_ACTORS as u64 - 1);
        let place = other | u64::from(next.unwrap_or(LAST)) << 32;
        Entry { place, queue: NonNull::dangling(), owner: None }
    }

    /// The vacant entry behind this one.
    fn next(&self) -> Option<u32> {
        Some((self.place >> 32) as u32).filter(|next| *next != LAST)
    }
}

/// What has become of a message that was to be [pushed](Directory::push).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the queue.
    Yes,
    /// The queue is not open for it.
    Closed,
    /// Nobody has this slot and generation.
    Nobody,
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        let inside = Inside { entries: Vec::new(), first_vacant: None, vacant: 0 };
        Directory { inside: UnsafeCell::new(inside) }
    }
}

impl<T> Directory<T> {
    #[inline(always)]
    fn inside(&self) -> &Inside<T> {
        // SAFETY: `change` alone has another reference, and neither does it give it away nor is it called while this one
        // is in use: all methods are done with it when they return, what they call meanwhile is said there, and the
        // directory is not `Sync`.
        unsafe { &*self.inside.get() }
    }

    /// Changes what is inside. `change` calls nothing but methods of vectors, drops no element, and allocates nothing.
    #[inline]
    fn change<R>(&self, change: impl FnOnce(&mut Inside<T>) -> R) -> R {
        // SAFETY: see `inside`: the methods of this module that call this have no reference to anything in there, and
        // what `change` calls is no code that could get one.
        change(unsafe { &mut *self.inside.get() })
    }

    /// How many slots there are, vacant ones as well.
    pub fn slots(&self) -> usize {
        self.inside().entries.len()
    }

    /// How many are in here.
    pub fn len(&self) -> usize {
        let inside = self.inside();
        inside.entries.len() - inside.vacant
    }

    /// Whether nobody is in here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of the slot that is to be taken next.
    pub fn next_index(&self) -> usize {
        let inside = self.inside();
        inside.first_vacant.map_or(inside.entries.len(), |index| index as usize)
    }

    /// Puts somebody into the [next](Self::next_index) slot.
    ///
    /// # Panics
    /// If the address has another slot.
    pub fn insert(
        &self,
        address: Address,
        owner: Rc<T>,
        queue: impl for<'a> FnOnce(&'a T) -> &'a SmallQueue,
    ) {
        let index = self.next_index();
        assert_eq!(address.slot().index(), index, "slots are taken in the order that is said");
        let queue = NonNull::from(queue(&owner));
        let entry = Entry { place: address.place(), queue, owner: Some(owner) };
        while index == self.inside().entries.capacity() {
            self.grow();
        }
        assert_eq!(index, self.next_index(), "neither `queue` nor an allocator takes a slot");
        self.change(|inside| {
            if index == inside.entries.len() {
                return inside.entries.push(entry);
            }
            inside.first_vacant = inside.entries[index].next();
            inside.vacant -= 1;
            // Nobody has been there, so there is nothing to drop.
            mem::forget(mem::replace(&mut inside.entries[index], entry));
        });
    }

    #[cold]
    fn grow(&self) {
        let mut grown = Vec::with_capacity((self.slots() * 2).max(FIRST_SLOTS));
        let old = self.change(|inside| {
            // An allocator is somebody's code, too: there may be more of them by now.
            if grown.capacity() <= inside.entries.len() {
                return grown;
            }
            grown.append(&mut inside.entries);
            mem::replace(&mut inside.entries, grown)
        });
        drop(old);
    }

    /// Takes out who has this slot and generation.
    pub fn remove(&self, address: Address) -> Option<Rc<T>> {
        let index = address.slot().index();
        self.entry(address)?;
        let entry = self.change(|inside| {
            let vacant = Entry::vacant(index, inside.first_vacant.replace(index as u32));
            inside.vacant += 1;
            mem::replace(&mut inside.entries[index], vacant)
        });
        entry.owner
    }

    /// The entry of who has this slot and generation.
    #[inline(always)]
    fn entry(&self, address: Address) -> Option<&Entry<T>> {
        let entry = self.inside().entries.get(address.slot().index())?;
        (entry.place == address.place()).then_some(entry)
    }

    /// Who has the slot with this index now.
    #[inline]
    pub fn at(&self, index: usize) -> Option<Rc<T>> {
        self.inside().entries.get(index)?.owner.clone()
    }

    /// Who has this slot and generation.
    #[inline]
    pub fn find(&self, address: Address) -> Option<Rc<T>> {
        self.entry(address)?.owner.clone()
    }

    /// Puts a message into the queue of who has this slot and generation, if that is open for it.
    #[inline(always)]
    pub fn push(&self, to: Address, small: Small) -> Pushed {
        let Some(entry) = self.entry(to) else { return Pushed::Nobody };
        // SAFETY: somebody is here, since an entry that is vacant is nobody's. The owner lives as long as the entry has
        // a share of it, and nobody gets a mutable reference to what is shared; so the reference to the queue that was
        // made of one to the owner is good until then. The entry is not changed while the queue is pushed to.
        let queue = unsafe { entry.queue.as_ref() };
        if queue.push(small) { Pushed::Yes } else { Pushed::Closed }
    }
}

impl<T> fmt::Debug for Directory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({} of {} slots)", self.len(), self.slots())
    }
}
