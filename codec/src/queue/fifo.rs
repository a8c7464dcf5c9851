//! A queue of whatever is kept elsewhere.

use std::{cell::Cell, fmt};

use super::slots::Slots;

/// A queue of anything, first in, first out. No reference to what is in it is given out.
pub struct Fifo<T> {
    slots: Slots<Cell<Option<T>>>,
    head: Cell<u32>,
    tail: Cell<u32>,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Fifo { slots: Slots::default(), head: Cell::new(0), tail: Cell::new(0) }
    }
}

impl<T> Fifo<T> {
    /// How many wait.
    pub fn len(&self) -> u32 {
        self.tail.get().wrapping_sub(self.head.get())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has memory besides its own.
    pub fn has_memory(&self) -> bool {
        !self.slots.all().is_empty()
    }

    /// Gives back the memory that it has, if none waits.
    pub fn free(&self) {
        if self.is_empty() {
            self.slots.put(Box::default());
        }
    }

    /// Puts one behind the others.
    #[inline(always)]
    pub fn push(&self, value: T) {
        while self.len() as usize == self.slots.all().len() {
            self.grow();
        }
        let tail = self.tail.get();
        self.tail.set(tail.wrapping_add(1));
        self.put(tail, value);
    }

    #[cold]
    #[inline(never)]
    fn grow(&self) {
        let slots = (self.slots.all().len() * 2).max(1);
        self.slots.grow(
            slots,
            || (self.head.get(), self.tail.get()),
            |position, to| {
                to.set(self.take(position));
            },
        );
    }

    /// Puts it into a slot, which is empty.
    #[inline(always)]
    fn put(&self, position: u32, value: T) {
        let before = self.slots.at(position).and_then(|slot| slot.replace(Some(value)));
        debug_assert!(before.is_none());
        // There is nothing to drop, so nobody's code runs.
        std::mem::forget(before);
    }

    #[inline(always)]
    fn take(&self, position: u32) -> Option<T> {
        self.slots.at(position)?.take()
    }

    /// Takes the first.
    #[inline(always)]
    pub fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let head = self.head.get();
        self.head.set(head.wrapping_add(1));
        self.take(head)
    }

    /// Puts others in the place of all but the first `skip`. While `change` runs, the one that it changes is not
    /// here.
    pub fn change(&self, skip: u32, change: impl Fn(T) -> T) {
        for behind in skip..self.len() {
            let position = self.head.get().wrapping_add(behind);
            if let Some(value) = self.take(position) {
                self.put(position, change(value));
            }
        }
    }
}

impl<T> fmt::Debug for Fifo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fifo({} wait)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_a_fifo_wrap_around() {
        let fifo = Fifo::default();
        fifo.head.set(u32::MAX - 5);
        fifo.tail.set(u32::MAX - 5);
        for round in 0..20 {
            (0..7).for_each(|at| fifo.push(round * 7 + at));
            fifo.change(2, |number| number + 1000);
            let popped: Vec<_> = std::iter::from_fn(|| fifo.pop()).collect();
            let expected = (0..7).map(|at| round * 7 + at + if at < 2 { 0 } else { 1000 });
            assert_eq!(popped, expected.collect::<Vec<_>>());
        }
    }
}
