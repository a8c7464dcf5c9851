//! A queue of small messages, in two words each.

use std::{cell::Cell, fmt, num::NonZeroU64};

use super::slots::Slots;
use crate::{
    archive::{Archivable, Archived},
    held::{Held, Small},
    message::{Message, MessageId},
};

/// One message, the second half of one, or a mark.
#[derive(Default)]
struct Place {
    /// The identity's bits, or one of those that stand for something else.
    message: Cell<u64>,
    /// What it says; of a mark, the identity's bits.
    word: Cell<u64>,
}

/// What is in a place that has the second word of the message before it.
const SECOND: u64 = 0;

/// How many places a queue has, once it has memory of its own.
const FIRST_PLACES: usize = 4;

/// Stands for a message that is kept elsewhere. Which of these it is, is up to who keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A frame that says no more than its header, told.
    Told,
    /// A frame that says no more than its header, not told.
    Untold,
    /// Anything else.
    Other,
}

impl Mark {
    #[inline(always)]
    const fn bits(self) -> u64 {
        u64::MAX - self as u64
    }

    #[inline(always)]
    fn from_bits(bits: u64) -> Option<Self> {
        [Mark::Told, Mark::Untold, Mark::Other].into_iter().find(|mark| mark.bits() == bits)
    }
}

/// Whether these bits are those of an identity, and do not stand for something else.
const fn is_identity(bits: u64) -> bool {
    bits != SECOND && bits < Mark::Other.bits()
}

/// The identity of a message, if it may wait in a queue.
pub(crate) const fn small_id<M: Message>() -> Option<NonZeroU64> {
    if is_identity(M::ID.bits()) { NonZeroU64::new(M::ID.bits()) } else { None }
}

/// See the [module](super).
// Positions count up without end. A loop that pushes or pops then waits for one addition from one message to the
// next, where it would wait for a whole computation if they were wrapped.
//
// At any time: `head <= granted_end` and `head <= tail <= open_end <= opened_end <= head + capacity`, seen from `head`;
// from `head` to `tail` there are whole messages and marks, at least as many as from `head` to `granted_end`.
#[derive(Default)]
pub struct SmallQueue {
    places: Slots<Place>,
    /// The one place that there is until more are needed.
    only: Place,
    /// The position of the oldest message, and the one behind the last.
    head: Cell<u32>,
    tail: Cell<u32>,
    /// Up to here places may be filled without a look at anything else: as far as it has been opened, or nowhere.
    open_end: Cell<u32>,
    opened_end: Cell<u32>,
    /// As far behind `head` as messages may be popped without a look at anything else.
    granted_end: Cell<u32>,
    /// Second words that have been pushed and popped: places that are no messages by themselves.
    seconds_pushed: Cell<u32>,
    seconds_popped: Cell<u32>,
    /// Messages that have been popped and are not counted.
    uncounted: Cell<u32>,
}

/// What is at the front of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// This message, by itself.
    Alone(MessageId),
    /// A mark for this message.
    Mark(Mark, MessageId),
}

/// What comes out of a queue.
#[derive(Debug)]
pub enum Popped {
    /// A message, by itself.
    Alone(Small),
    /// A mark.
    Mark,
}

impl SmallQueue {
    /// The messages and marks that wait.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        let seconds = self.seconds_pushed.get().wrapping_sub(self.seconds_popped.get());
        self.places_taken() - seconds
    }

    /// Whether nothing waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.tail.get() == self.head.get()
    }

    /// Whether it has memory besides its own.
    pub fn has_memory(&self) -> bool {
        !self.places.all().is_empty()
    }

    /// Gives back the memory that it has, if nothing waits.
    pub fn free(&self) {
        if self.is_empty() {
            self.close();
            self.places.put(Box::default());
        }
    }

    /// Messages and marks that have been popped, but for those that were [not counted](Self::uncount), modulo 2^32.
    #[inline(always)]
    pub fn popped(&self) -> u32 {
        let others = self.seconds_popped.get().wrapping_add(self.uncounted.get());
        self.head.get().wrapping_sub(others)
    }

    /// One that has been popped is not counted.
    pub fn uncount(&self) {
        self.uncounted.set(self.uncounted.get().wrapping_add(1));
    }

    #[inline(always)]
    fn places_taken(&self) -> u32 {
        self.tail.get().wrapping_sub(self.head.get())
    }

    #[inline(always)]
    fn place(&self, position: u32) -> &Place {
        match self.places.at(position) {
            Some(place) => place,
            None => &self.only,
        }
    }

    fn capacity(&self) -> usize {
        self.places.all().len().max(1)
    }

    fn places_free(&self) -> u32 {
        (self.capacity() - self.places_taken() as usize) as u32
    }

    #[cold]
    #[inline(never)]
    fn grow(&self) {
        let places = (self.capacity() * 2).max(FIRST_PLACES);
        self.places.grow(
            places,
            || (self.head.get(), self.tail.get()),
            |position, to| {
                let from = self.place(position);
                to.message.set(from.message.get());
                to.word.set(from.word.get());
            },
        );
    }

    // --- Pushing ---------------------------------------------------------------------------------

    /// Lets up to so many messages be pushed, as far as there are places for them; but one that takes so many `places`
    /// in any case. Each place counts as a message here, so fewer may be pushed if they take two.
    pub fn open(&self, messages: u32, places: u32) {
        while self.places_free() < places {
            self.grow();
        }
        let open = messages.min(self.places_free()).max(places);
        self.opened_end.set(self.tail.get().wrapping_add(open));
        self.open_end.set(self.opened_end.get());
    }

    /// No more messages may be pushed.
    #[inline(always)]
    pub fn close(&self) {
        self.opened_end.set(self.tail.get());
        self.shut();
    }

    /// No more messages may be pushed for now.
    #[inline(always)]
    pub fn shut(&self) {
        self.open_end.set(self.tail.get());
    }

    /// Lets as many be pushed again as before it was [shut](Self::shut), if these are enough for one that takes so
    /// many places.
    #[inline(always)]
    pub fn reopen(&self, places: u32) -> bool {
        let opens = self.opened_end.get().wrapping_sub(self.tail.get()) >= places;
        if opens {
            self.open_end.set(self.opened_end.get());
        }
        opens
    }

    /// Whether a message of so many places may be pushed now.
    #[inline(always)]
    pub fn is_open(&self, places: u32) -> bool {
        self.open_end.get().wrapping_sub(self.tail.get()) >= places
    }

    /// Puts a message behind the others, if it [may](Self::is_open) be.
    // No function gets the message by reference: it would have to be put together in memory for that.
    #[inline(always)]
    pub fn push(&self, small: Small) -> bool {
        let may = self.is_open(small.places());
        if may {
            self.put(small);
        }
        may
    }

    /// Puts a message behind the others. Afterwards the queue is closed.
    pub fn push_alone(&self, small: Small) {
        self.open(1, small.places());
        self.put(small);
        self.close();
    }

    /// Puts a mark for a message behind the others. Afterwards the queue is closed.
    #[inline]
    pub fn push_mark(&self, mark: Mark, message: MessageId) {
        while self.places_free() == 0 {
            self.grow();
        }
        let tail = self.tail.get();
        let place = self.place(tail);
        place.message.set(mark.bits());
        place.word.set(message.bits());
        self.tail.set(tail.wrapping_add(1));
        self.close();
    }

    /// There are places for it.
    #[inline(always)]
    fn put(&self, small: Small) {
        let tail = self.tail.get();
        let [first, second] = small.words();
        let place = self.place(tail);
        place.message.set(small.bits());
        place.word.set(first);
        if second != 0 {
            let place = self.place(tail.wrapping_add(1));
            place.message.set(SECOND);
            place.word.set(second);
            self.seconds_pushed.set(self.seconds_pushed.get().wrapping_add(1));
        }
        self.tail.set(tail.wrapping_add(small.places()));
    }

    // --- Popping ---------------------------------------------------------------------------------

    /// What is at the front.
    #[inline(always)]
    pub fn front(&self) -> Option<Front> {
        if self.is_empty() {
            return None;
        }
        let place = self.place(self.head.get());
        let bits = place.message.get();
        Some(match Mark::from_bits(bits) {
            None => Front::Alone(MessageId::from_bits(bits)),
            Some(mark) => Front::Mark(mark, MessageId::from_bits(place.word.get())),
        })
    }

    /// Lets up to so many messages be popped, of those that wait. What was granted before counts no more.
    #[inline(always)]
    pub fn grant(&self, messages: u32) {
        let granted = messages.min(self.len());
        self.granted_end.set(self.head.get().wrapping_add(granted));
    }

    /// Messages that may still be popped.
    #[inline(always)]
    pub fn granted(&self) -> u32 {
        self.granted_end.get().wrapping_sub(self.head.get())
    }

    /// Takes the next of the messages that were granted, if it is this one.
    #[inline(always)]
    pub fn pop<M: Archivable>(&self) -> Option<Archived<M>> {
        let head = self.head.get();
        if !const { Archived::<M>::IS_SMALL } || head == self.granted_end.get() {
            return None;
        }
        let place = self.place(head);
        if place.message.get() != M::ID.bits() {
            return None;
        }
        let first = place.word.get();
        let behind = head.wrapping_add(1);
        // Only what says more than one word may have a second.
        let second = if const { Held::<M>::WIDE } { self.second(behind) } else { None };
        let id = const { small_id::<M>() }?;
        let small = Small::from_words(id, [first, second.unwrap_or(0)]);
        let opened = Archived::of_small(&small).ok()?;
        self.head.set(behind);
        if second.is_some() {
            self.pass_second(behind);
            // What is granted is messages.
            self.granted_end.set(self.granted_end.get().wrapping_add(1));
        }
        Some(opened)
    }

    /// Takes the message or the mark at the front, granted or not.
    pub fn pop_front(&self) -> Option<Popped> {
        if self.is_empty() {
            return None;
        }
        let head = self.head.get();
        let (place, behind) = (self.place(head), head.wrapping_add(1));
        let granted = self.granted().saturating_sub(1);
        self.head.set(behind);
        let popped = match NonZeroU64::new(place.message.get()) {
            Some(message) if is_identity(message.get()) => {
                let (first, second) = (place.word.get(), self.second(behind));
                if second.is_some() {
                    self.pass_second(behind);
                }
                Popped::Alone(Small::from_words(message, [first, second.unwrap_or(0)]))
            }
            // Nothing begins with a second word.
            _ => Popped::Mark,
        };
        self.granted_end.set(self.head.get().wrapping_add(granted));
        Some(popped)
    }

    /// Takes the next of those that were granted, if it is this mark for this message. Returns whether it was.
    #[inline(always)]
    pub fn pop_mark(&self, mark: Mark, message: MessageId) -> bool {
        let head = self.head.get();
        if head == self.granted_end.get() {
            return false;
        }
        let place = self.place(head);
        let is_it = place.message.get() == mark.bits() && place.word.get() == message.bits();
        if is_it {
            self.head.set(head.wrapping_add(1));
        }
        is_it
    }

    /// The second word of a message, if it has a place of its own here.
    #[inline(always)]
    fn second(&self, position: u32) -> Option<u64> {
        let place = self.place(position);
        // Behind the last message there is whatever has been there before.
        let is_there = position != self.tail.get() && place.message.get() == SECOND;
        is_there.then(|| place.word.get())
    }

    /// The second word of a message, which is at the front now, has been taken as well.
    #[inline(always)]
    fn pass_second(&self, position: u32) {
        self.seconds_popped.set(self.seconds_popped.get().wrapping_add(1));
        self.head.set(position.wrapping_add(1));
    }
}

impl fmt::Debug for SmallQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmallQueue({} wait)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// A message of one place or two.
    fn pair(number: u64) -> Small {
        let id = NonZeroU64::new(<() as Message>::ID.bits()).unwrap();
        Small::from_words(id, [number, number % 3])
    }

    /// A queue whose first position is this one.
    fn queue_at(start: u32) -> SmallQueue {
        let queue = SmallQueue::default();
        for position in [&queue.head, &queue.tail, &queue.granted_end] {
            position.set(start);
        }
        queue.close();
        queue
    }

    fn number_of(popped: Popped) -> u64 {
        match popped {
            Popped::Alone(small) => small.words()[0],
            Popped::Mark => u64::MAX,
        }
    }

    fn numbers(queue: &SmallQueue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop_front().map(number_of)).collect()
    }

    #[test]
    fn positions_of_a_queue_wrap_around() {
        let start = u32::MAX - 5;
        let queue = queue_at(start);
        for round in 0..20 {
            let told: Vec<u64> = (0..7).map(|at| round * 7 + at).collect();
            for number in &told {
                queue.push_alone(pair(*number));
                queue.push_mark(Mark::Other, <() as Message>::ID);
            }
            queue.grant(u32::MAX);
            assert_eq!((queue.len(), queue.granted()), (14, 14));
            let expected: Vec<u64> = told.iter().flat_map(|number| [*number, u64::MAX]).collect();
            assert_eq!(numbers(&queue), expected);
            assert!(queue.is_empty() && queue.granted() == 0);
        }
        assert_eq!(queue.popped().wrapping_sub(start), 20 * 14);
    }

    impl SmallQueue {
        /// Checks what is said of the positions at any time.
        fn assert_in_order(&self) {
            let from_head = |end: &Cell<u32>| end.get().wrapping_sub(self.head.get());
            let (tail, open) = (from_head(&self.tail), from_head(&self.open_end));
            let opened = from_head(&self.opened_end);
            assert!(tail <= open && open <= opened && opened as usize <= self.capacity());
            let bits = |behind| self.place(self.head.get().wrapping_add(behind)).message.get();
            let seconds = (0..tail).filter(|behind| bits(*behind) == SECOND).count();
            assert_eq!(
                (self.len() as usize, tail > 0),
                (tail as usize - seconds, !self.is_empty())
            );
            assert!(self.granted() <= self.len());
            assert!(tail == 0 || bits(0) != SECOND, "nothing begins with a second word");
        }
    }

    proptest! {
        #[test]
        fn positions_wrap_around_whatever_is_done_with_a_queue(
            before in 0..100_u32,
            steps in prop::collection::vec((0..6_u32, 0..9_u32), 0..300),
        ) {
            let start = u32::MAX - before;
            let queue = queue_at(start);
            let (mut waiting, mut granted, mut popped, mut next) = (VecDeque::new(), 0, start, 0);
            for (step, count) in steps {
                next += 1;
                match step {
                    0 => {
                        queue.open(count, 2);
                        queue.shut();
                        prop_assert!(queue.reopen(2) && queue.is_open(2) && !queue.is_open(count.max(2) + 1));
                    }
                    1 => {
                        queue.shut();
                        prop_assert!(!queue.is_open(1));
                        let opens = queue.reopen(2);
                        prop_assert_eq!(opens, queue.is_open(2));
                        for _ in 0..count {
                            if queue.push(pair(next)) {
                                waiting.push_back(next);
                            }
                        }
                    }
                    2 => {
                        queue.push_alone(pair(next));
                        waiting.push_back(next);
                    }
                    3 => {
                        queue.push_mark(Mark::Other, <() as Message>::ID);
                        waiting.push_back(u64::MAX);
                    }
                    4 => {
                        queue.grant(count);
                        granted = count.min(waiting.len() as u32);
                    }
                    _ => for number in (0..count).map_while(|_| waiting.pop_front()) {
                        prop_assert_eq!(queue.pop_front().map(number_of), Some(number));
                        (popped, granted) = (popped.wrapping_add(1), granted.saturating_sub(1));
                    },
                }
                queue.assert_in_order();
                prop_assert_eq!(queue.len() as usize, waiting.len());
                prop_assert_eq!((queue.granted(), queue.popped()), (granted, popped));
            }
            prop_assert_eq!(numbers(&queue), Vec::from(waiting));
        }
    }

    #[test]
    fn a_queue_that_is_opened_takes_what_it_was_opened_for_wherever_it_is() {
        for before in 0..20 {
            let queue = queue_at(u32::MAX - before);
            for number in 0..20 {
                let small = pair(number);
                queue.open(1, small.places());
                assert!(queue.push(small));
                queue.assert_in_order();
            }
            assert_eq!(numbers(&queue), Vec::from_iter(0..20));
        }
    }

    #[test]
    fn bits_that_stand_for_something_else_are_no_identity() {
        for mark in [Mark::Told, Mark::Untold, Mark::Other] {
            assert!(!is_identity(mark.bits()));
            assert_eq!(Mark::from_bits(mark.bits()), Some(mark));
        }
        assert!(!is_identity(SECOND) && is_identity(1) && is_identity(u64::MAX - 3));
        assert_eq!(Mark::from_bits(u64::MAX - 3), None);
    }
}
