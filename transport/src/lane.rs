//! Lanes: how values get from one worker to another.
//!
//! A lane is a bounded queue with one sender and one receiver. Both sides are wait-free: a call is a
//! handful of instructions, whatever the other side does. A lane wakes nobody up; that is what
//! [`park`](crate::park) is for.
//!
//! # How it works
//!
//! ```text
//!             head (receiver)         tail (sender)
//!               v                       v
//!   | free | free | value | value | value | free | free | free |
//! ```
//!
//! Positions count up for ever and wrap around; a position's slot is its lowest bits. The sender alone
//! moves the tail, the receiver alone moves the head. Each side keeps its own position and the last it
//! has seen of the other, and looks at the other's cache line only when that does not do any more: a
//! busy lane costs less than one miss per value.
//!
//! # Why it is sound
//!
//! All `unsafe` blocks lean on this:
//!
//! - slots from head to tail hold a value and belong to the receiver; all others are empty and belong
//!   to the sender;
//! - a side gives slots away by a `Release` store of its position and gets them by an `Acquire` load of
//!   the other's, so accesses to a slot by both sides never overlap;
//! - there is one [`Sender`] and one [`Receiver`]: neither can be cloned, and what touches slots takes
//!   `&mut self`.

use std::mem::MaybeUninit;

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// A lane that holds at least `capacity` values: the next power of two.
///
/// This is the only call that allocates.
///
/// ```
/// let (mut sender, mut receiver) = annulus_transport::lane::channel(1);
/// assert_eq!(sender.try_send("first"), Ok(()));
/// assert_eq!(sender.try_send("second"), Err("second"));
/// assert_eq!(receiver.try_recv(), Some("first"));
/// assert_eq!(receiver.try_recv(), None);
/// ```
///
/// Each end is the only one of its kind:
///
/// ```compile_fail,E0599
/// let (sender, _receiver) = annulus_transport::lane::channel::<u8>(1);
/// let _another = sender.clone();
/// ```
///
/// # Panics
/// If `capacity` is zero, or so large that the memory cannot be had.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a lane needs room for one value at least");
    let capacity =
        capacity.checked_next_power_of_two().expect("the capacity of a lane fits in memory");
    let lane = Arc::new(Lane {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        tail: Side::new(),
        head: Side::new(),
    });
    let sender = Sender { lane: Arc::clone(&lane), tail: 0, head_seen: 0 };
    let receiver = Receiver { lane, head: 0, tail_seen: 0 };
    (sender, receiver)
}

/// The end of a lane that values go into. See [`channel`].
pub struct Sender<T: Send> {
    lane: Arc<Lane<T>>,
    /// The same as the shared tail.
    tail: usize,
    /// The shared head, as it was when last looked at.
    head_seen: usize,
}

impl<T: Send> Sender<T> {
    /// Puts `value` at the end of the lane.
    ///
    /// A lane without a receiver still takes values until it is full; see [`is_closed`](Self::is_closed).
    ///
    /// # Errors
    /// The value comes back if the lane is full.
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<(), T> {
        let used = self.tail.wrapping_sub(self.head_seen);
        if used == self.lane.slots.len() && self.free() == 0 {
            return Err(value);
        }
        self.lane.slot(self.tail).with_mut(|slot| {
            // SAFETY: the slot at the tail is empty and ours, since the lane is not full. The receiver
            // comes here only after the store below.
            unsafe { (*slot).write(value) };
        });
        self.tail = self.tail.wrapping_add(1);
        // Release: whoever sees the new tail sees the value.
        self.lane.tail.position.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// How many values there is room for. So many calls of [`try_send`](Self::try_send) succeed.
    #[inline]
    pub fn free(&mut self) -> usize {
        // Acquire: what the receiver took out of the slots is out before we write to them again.
        self.head_seen = self.lane.head.position.load(Ordering::Acquire);
        self.lane.slots.len() - self.tail.wrapping_sub(self.head_seen)
    }

    /// Whether the receiver is gone, so that nobody will ever see what is sent.
    pub fn is_closed(&self) -> bool {
        self.lane.head.gone.load(Ordering::Acquire)
    }
}

impl<T: Send> Drop for Sender<T> {
    fn drop(&mut self) {
        // Release: whoever sees the lane closed sees all that was sent.
        self.lane.tail.gone.store(true, Ordering::Release);
    }
}

/// The end of a lane that values come out of. See [`channel`].
pub struct Receiver<T: Send> {
    lane: Arc<Lane<T>>,
    /// The same as the shared head.
    head: usize,
    /// The shared tail, as it was when last looked at.
    tail_seen: usize,
}

impl<T: Send> Receiver<T> {
    /// Looks at the oldest value, which stays in the lane.
    #[inline]
    pub fn peek<R>(&mut self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.has_value().then(|| {
            self.lane.slot(self.head).with(|slot| {
                // SAFETY: the slot at the head holds a value and is ours, since the lane is not empty. The
                // head does not move before this is over.
                look(unsafe { (*slot).assume_init_ref() })
            })
        })
    }

    /// Whether there is a value at the head.
    #[inline]
    fn has_value(&mut self) -> bool {
        if self.head == self.tail_seen {
            // Acquire: with the new tail we see the values before it.
            self.tail_seen = self.lane.tail.position.load(Ordering::Acquire);
        }
        self.head != self.tail_seen
    }

    /// Takes the oldest value out of the lane.
    #[inline]
    pub fn try_recv(&mut self) -> Option<T> {
        if !self.has_value() {
            return None;
        }
        let value = self.lane.slot(self.head).with_mut(|slot| {
            // SAFETY: the slot at the head holds a value and is ours, since the lane is not empty. The
            // head moves on below, so the value is read once; the sender comes here only after that.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        // Release: whoever sees the new head may write to the slot.
        self.lane.head.position.store(self.head, Ordering::Release);
        Some(value)
    }

    /// How many values are in the lane. It may have grown by the time that the caller looks.
    #[inline]
    pub fn len(&self) -> usize {
        let tail = self.lane.tail.position.load(Ordering::Acquire);
        tail.wrapping_sub(self.head)
    }

    /// Whether the lane is empty.
    ///
    /// It looks at what the sender shares, not at what this side remembers, as the last look before
    /// parking must: see [`park`](crate::park).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the sender is gone, so that nothing more will come. What it has sent is still there: a
    /// closed lane is at its end once [`try_recv`](Self::try_recv) finds nothing.
    pub fn is_closed(&self) -> bool {
        self.lane.tail.gone.load(Ordering::Acquire)
    }
}

impl<T: Send> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.lane.head.gone.store(true, Ordering::Release);
    }
}

/// What both ends share; it goes with the last of them.
struct Lane<T> {
    /// A power of two of them.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Where the next value goes. Written by the sender only.
    tail: Side,
    /// Where the oldest value is. Written by the receiver only.
    head: Side,
}

// SAFETY: each slot belongs to one side at a time (see the module's text), so sharing a lane only moves
// values between threads, which `T: Send` allows. `T: Sync` is not needed: references to values are
// lent by `peek` alone, on the thread of the one receiver.
unsafe impl<T: Send> Sync for Lane<T> {}

impl<T> Lane<T> {
    #[inline]
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Lane<T> {
    fn drop(&mut self) {
        // Relaxed: both ends are gone, and `Arc` has ordered all they did before this.
        let tail = self.tail.position.load(Ordering::Relaxed);
        let mut head = self.head.position.load(Ordering::Relaxed);
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: slots from head to tail hold values, and nobody else is left to take them.
                unsafe { (*slot).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

/// What one end tells the other. Two cache lines, since processors fetch them in pairs: neither end's
/// stores slow down the other end's loads of anything else.
#[repr(align(128))]
struct Side {
    position: AtomicUsize,
    gone: AtomicBool,
}

impl Side {
    fn new() -> Self {
        Side { position: AtomicUsize::new(0), gone: AtomicBool::new(false) }
    }
}

/// The standard cell in the shape of loom's, so that the models can watch every access.
#[cfg(not(loom))]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
        access(self.0.get())
    }

    #[inline(always)]
    fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

// What threads can do to each other is shown by the models in `tests/loom_lane.rs`.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_hands_the_value_back() {
        let (mut sender, mut receiver) = channel(3);
        for value in 0..4 {
            assert_eq!(sender.free(), 4 - value);
            assert_eq!(sender.try_send(value), Ok(()));
        }
        assert_eq!((sender.free(), receiver.len()), (0, 4));
        assert_eq!(sender.try_send(4), Err(4));

        assert_eq!(receiver.try_recv(), Some(0));
        assert_eq!(sender.try_send(4), Ok(()));
        assert_eq!(std::iter::from_fn(|| receiver.try_recv()).count(), 4);
        assert!(receiver.is_empty());
    }

    #[test]
    fn positions_wrap_around() {
        let (mut sender, mut receiver) = channel(2);
        let start = usize::MAX - 2;
        (sender.tail, sender.head_seen) = (start, start);
        (receiver.head, receiver.tail_seen) = (start, start);
        sender.lane.tail.position.store(start, Ordering::Relaxed);
        sender.lane.head.position.store(start, Ordering::Relaxed);

        for value in 0..10 {
            assert_eq!(sender.try_send(value), Ok(()));
            assert_eq!(sender.try_send(value + 100), Ok(()));
            assert_eq!(sender.try_send(0), Err(0));
            assert_eq!(receiver.peek(|seen| *seen), Some(value));
            assert_eq!(receiver.try_recv(), Some(value));
            assert_eq!(receiver.try_recv(), Some(value + 100));
            assert_eq!(receiver.try_recv(), None);
        }
    }

    #[test]
    fn the_rest_of_a_closed_lane_can_be_received() {
        let (mut sender, mut receiver) = channel(2);
        assert!(!receiver.is_closed());
        sender.try_send("last").unwrap();
        drop(sender);
        assert!(receiver.is_closed());
        assert_eq!(receiver.try_recv(), Some("last"));
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    fn leftovers_are_dropped_once_both_ends_are_gone() {
        let witness = std::sync::Arc::new(());
        let (mut sender, receiver) = channel(4);
        sender.try_send(witness.clone()).unwrap();
        sender.try_send(witness.clone()).unwrap();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(std::sync::Arc::strong_count(&witness), 3);
        drop(sender);
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
    }

    #[test]
    fn values_without_a_size_are_counted_too() {
        let (mut sender, mut receiver) = channel(1);
        assert_eq!(sender.try_send(()), Ok(()));
        assert_eq!(sender.try_send(()), Err(()));
        assert_eq!(receiver.try_recv(), Some(()));
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    #[should_panic(expected = "room for one value")]
    fn a_lane_without_room_is_refused() {
        channel::<Box<u8>>(0);
    }

    #[test]
    fn threads_see_every_value_once_and_in_order() {
        const VALUES: usize = if cfg!(miri) { 200 } else { 200_000 };
        let (mut sender, mut receiver) = channel::<Box<usize>>(16);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for value in 0..VALUES {
                    let mut value = Box::new(value);
                    while let Err(back) = sender.try_send(value) {
                        value = back;
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < VALUES {
                match receiver.try_recv() {
                    Some(value) => {
                        assert_eq!(*value, expected);
                        expected += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
        assert_eq!(receiver.try_recv(), None);
        assert!(receiver.is_closed());
    }

    #[test]
    fn both_ends_cross_threads() {
        fn crosses<T: Send>() {}
        crosses::<Sender<std::cell::Cell<u8>>>();
        crosses::<Receiver<std::cell::Cell<u8>>>();
    }
}
