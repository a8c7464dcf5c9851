//! The operations in flight, and the memory that the kernel uses for them.
//!
//! A slot owns all that its operation needs. It is lent to the kernel with [`Slots::lend`] and comes
//! back with the last completion that the kernel owes for it ([`Slots::arrived`]); only then can it be
//! changed, handed out or freed. The memory of a freed slot is kept for the next operation.

use std::{collections::VecDeque, os::fd::OwnedFd, ptr::NonNull, task::Waker};

use io_uring::types::Timespec;

use super::{abi, address::Address};
use crate::driver::{MAX_PIECES, Mono, Operation, OperationError, OperationKey, Output};

/// What an operation came to.
pub(super) type Outcome = Result<Output, OperationError>;

/// Structs that the kernel reads or writes while an operation is in flight. They never move.
pub(super) struct Memory {
    pub(super) deadline: Timespec,
    pub(super) address: Address,
    pub(super) pieces: [libc::iovec; MAX_PIECES],
    pub(super) message: libc::msghdr,
    pub(super) statx: libc::statx,
}

/// A [`Memory`] on the heap, made when it is first needed.
///
/// It is held by a raw pointer: a `Box` would claim to be the only way to memory that the kernel
/// writes to.
pub(super) struct Block {
    memory: Option<NonNull<Memory>>,
    lent: bool,
}

impl Block {
    fn new() -> Self {
        Block { memory: None, lent: false }
    }

    /// The memory.
    ///
    /// # Panics
    /// If it is lent to the kernel.
    pub(super) fn memory(&mut self) -> &mut Memory {
        assert!(!self.lent, "the kernel still uses this memory");
        let memory = self.memory.get_or_insert_with(|| {
            // SAFETY: a `Memory` is integers and raw pointers only, for which zeros are valid.
            let memory = unsafe { Box::<Memory>::new_zeroed().assume_init() };
            NonNull::from(Box::leak(memory))
        });
        // SAFETY: it points to the live allocation that this block owns. `&mut self` keeps other
        // Rust code away, and the check above keeps the kernel away.
        unsafe { memory.as_mut() }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.lent {
            // Slots that are lent are leaked whole, so this does not happen. If it did, a leak would
            // be the lesser evil.
            tracing::error!("memory that the kernel still uses is leaked");
            return;
        }
        if let Some(memory) = self.memory {
            // SAFETY: it came from a box, and nobody else frees it. It is not lent: just checked.
            drop(unsafe { Box::from_raw(memory.as_ptr()) });
        }
    }
}

/// One operation.
pub(super) struct Slot {
    generation: u32,
    /// `None` while the slot is free, or the operation is over.
    pub(super) operation: Option<Operation>,
    pub(super) block: Block,
    pub(super) deadline: Option<Mono>,
    /// Bytes that earlier rounds of a send moved.
    pub(super) sent: usize,
    /// The kernel's result for the operation, once it is in.
    pub(super) result: Option<i32>,
    /// The kernel's result for the timeout, once it is in.
    pub(super) timer: Option<i32>,
    /// What the operation came to, until it is polled.
    pub(super) outcome: Option<Outcome>,
    pub(super) waker: Option<Waker>,
    /// Nobody waits for it any more.
    pub(super) orphaned: bool,
    /// Connections that a multishot accept brought.
    pub(super) accepted: VecDeque<OwnedFd>,
    /// A multishot accept is being stopped because enough connections wait.
    pub(super) pausing: bool,
    /// How often a cancel did not find the operation since it was last lent.
    pub(super) misses: u8,
    /// Completions that the kernel owes.
    due: u8,
    live: bool,
}

impl Slot {
    fn new() -> Self {
        Slot {
            generation: 0,
            operation: None,
            block: Block::new(),
            deadline: None,
            sent: 0,
            result: None,
            timer: None,
            outcome: None,
            waker: None,
            orphaned: false,
            accepted: VecDeque::new(),
            pausing: false,
            misses: 0,
            due: 0,
            live: false,
        }
    }

    /// Whether the kernel owes completions.
    pub(super) fn in_kernel(&self) -> bool {
        self.due > 0
    }

    /// Whether the kernel has not completed the operation itself yet. Its deadline may still be due.
    pub(super) fn is_pending(&self) -> bool {
        self.due > 0 && self.result.is_none()
    }

    /// Completions that the kernel owes.
    pub(super) fn completions_due(&self) -> u8 {
        self.due
    }

    /// Whether this is a multishot accept.
    pub(super) fn accepts(&self) -> bool {
        matches!(self.operation, Some(Operation::Accept { .. }))
    }
}

/// All slots of a ring.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_kernel: usize,
}

impl Slots {
    /// Takes a slot for an operation.
    pub(super) fn insert(&mut self, operation: Operation, deadline: Option<Mono>) -> OperationKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::new());
            u32::try_from(self.slots.len() - 1).expect("memory ends long before 2^32 slots")
        });
        let slot = &mut self.slots[index as usize];
        slot.live = true;
        slot.operation = Some(operation);
        slot.deadline = deadline;
        OperationKey { index, generation: slot.generation }
    }

    /// The slot of an operation; `None` if the key is out of date.
    pub(super) fn get(&mut self, key: OperationKey) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.live && slot.generation == key.generation).then_some(slot)
    }

    /// Notes that the kernel owes `completions` for the slot and may use its memory until they are in.
    pub(super) fn lend(&mut self, key: OperationKey, completions: u8) {
        let slot = self.get(key).expect("only slots in use are lent");
        assert!(slot.due == 0 && completions > 0);
        slot.due = completions;
        slot.result = None;
        slot.timer = None;
        slot.misses = 0;
        slot.block.lent = true;
        self.in_kernel += 1;
    }

    /// Notes that one completion of the slot is in. Returns whether it was the last one.
    pub(super) fn arrived(&mut self, key: OperationKey) -> bool {
        let slot = self.get(key).expect("checked by the caller");
        assert!(slot.due > 0, "more completions than were owed");
        slot.due -= 1;
        if slot.due > 0 {
            return false;
        }
        slot.block.lent = false;
        self.in_kernel -= 1;
        true
    }

    /// Frees a slot. Its waker, if any, comes back: dropping a waker may run user code.
    ///
    /// # Panics
    /// If the kernel still owes completions for it.
    pub(super) fn release(&mut self, key: OperationKey) -> Option<Waker> {
        let slot = self.get(key).expect("only slots in use are released");
        assert!(slot.due == 0, "the kernel still uses this slot");
        slot.live = false;
        slot.generation = abi::next_generation(slot.generation);
        slot.operation = None;
        slot.outcome = None;
        slot.accepted.clear();
        slot.sent = 0;
        slot.orphaned = false;
        slot.pausing = false;
        let waker = slot.waker.take();
        self.free.push(key.index);
        waker
    }

    /// Slots for which the kernel owes completions.
    pub(super) fn in_kernel(&self) -> usize {
        self.in_kernel
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        if self.in_kernel > 0 {
            // The kernel may still write to what these slots own: it can never be freed.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;

    use super::*;

    fn operation() -> Operation {
        Operation::Open { path: CString::default(), flags: 0, mode: 0 }
    }

    #[test]
    fn r10_stale_key_never_hits_another_operation() {
        let mut slots = Slots::default();
        let old = slots.insert(operation(), None);
        slots.release(old);
        let new = slots.insert(operation(), None);
        assert_eq!(new.index, old.index);
        assert!(slots.get(old).is_none());
        assert!(slots.get(new).is_some());
    }

    #[test]
    #[should_panic(expected = "the kernel still uses this slot")]
    fn r72_a_slot_in_the_kernel_is_never_freed() {
        let mut slots = Slots::default();
        let key = slots.insert(operation(), None);
        slots.lend(key, 1);
        slots.release(key);
    }

    #[test]
    #[should_panic(expected = "the kernel still uses this memory")]
    fn r72_memory_in_the_kernel_cannot_be_touched() {
        let mut slots = Slots::default();
        let key = slots.insert(operation(), None);
        slots.lend(key, 1);
        slots.get(key).unwrap().block.memory();
    }

    #[test]
    fn r72_memory_in_the_kernel_is_leaked_rather_than_freed() {
        let mut block = Block::new();
        let memory: *mut Memory = block.memory();
        block.lent = true;
        drop(block);
        // SAFETY: it was leaked, so it is still there, and nobody else uses it.
        drop(unsafe { Box::from_raw(memory) });
    }

    #[test]
    fn memory_stays_where_it_is_while_slots_grow_and_is_used_again() {
        let mut slots = Slots::default();
        let key = slots.insert(operation(), None);
        let before: *mut Memory = slots.get(key).unwrap().block.memory();
        let others: Vec<_> = (0..100).map(|_| slots.insert(operation(), None)).collect();
        assert!(std::ptr::eq(before, slots.get(key).unwrap().block.memory()));
        slots.release(key);
        let key = slots.insert(operation(), None);
        assert!(std::ptr::eq(before, slots.get(key).unwrap().block.memory()));
        assert_eq!(others.len(), 100);
    }

    proptest! {
        #[test]
        fn r16_keys_always_find_their_own_operation(steps in prop::collection::vec(0..100usize, 1..200)) {
            let mut slots = Slots::default();
            let mut live: Vec<(OperationKey, usize)> = Vec::new();
            let mut dead: Vec<OperationKey> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                if step < 60 || live.is_empty() {
                    let key = slots.insert(operation(), None);
                    slots.get(key).unwrap().sent = number;
                    live.push((key, number));
                } else {
                    let (key, _) = live.swap_remove(step % live.len());
                    slots.release(key);
                    dead.push(key);
                }
                for (key, number) in &live {
                    prop_assert_eq!(slots.get(*key).unwrap().sent, *number);
                }
                for key in &dead {
                    prop_assert!(slots.get(*key).is_none());
                }
            }
        }
    }
}
