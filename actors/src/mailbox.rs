//! The mailbox: what waits for one actor, in the order in which it was sent.
//!
//! What an actor of the same worker is told goes right in here. What comes from elsewhere does so only if the
//! actor is busy, or if it is a broadcast; otherwise it is handled where it lies.

use std::cell::Cell;

use annulus_codec::{
    frame::{Frame, Kind},
    held::Small,
    message::{Message, MessageId},
    passing::{Envelope, Passing},
    queue::{Fifo, Front, Mark, Popped, SmallQueue},
};

use crate::{
    actor::MailboxLimits,
    clock::TurnClock,
    delivery::Delivery,
    planted::{Bug, planted},
    walk::Carrier,
};

/// A message that waits.
#[derive(Debug)]
pub(crate) enum Parked {
    /// A small message of this worker's, told, without a frame.
    Told(Small),
    Framed(Framed),
}

/// A message that is not small.
#[derive(Debug)]
pub(crate) enum Framed {
    /// A frame of this node's that says no more than its header.
    Plain(Frame),
    Other(Box<Delivery>),
}

/// What a message counts for at least, in bytes: it has a place in the mailbox.
const LEAST: usize = size_of::<u64>() * 2;

#[inline(always)]
fn beyond_least(bytes: usize) -> usize {
    bytes.saturating_sub(LEAST)
}

impl Parked {
    pub(crate) fn plain(frame: Frame) -> Self {
        Parked::Framed(Framed::Plain(frame))
    }

    pub(crate) fn other(delivery: Delivery) -> Self {
        Parked::Framed(Framed::Other(Box::new(delivery)))
    }
}

impl Framed {
    /// The bytes that it counts for beyond [`LEAST`].
    #[inline]
    fn bytes_beyond(&self) -> usize {
        beyond_least(match self {
            Framed::Plain(frame) => frame.body_len(),
            Framed::Other(delivery) => delivery.envelope.payload_len(),
        })
    }

    /// What stands for it among the small messages, and which message it is.
    #[inline(always)]
    fn mark(&self) -> (Mark, MessageId) {
        match self {
            Framed::Plain(frame) => {
                let header = frame.header();
                let mark = if header.kind == Kind::Tell { Mark::Told } else { Mark::Untold };
                (mark, header.message)
            }
            Framed::Other(delivery) => (Mark::Other, delivery.envelope.header().message),
        }
    }

    fn map_frame(self, map: impl FnOnce(Frame) -> Frame) -> Self {
        match self {
            Framed::Plain(frame) => Framed::Plain(map(frame)),
            Framed::Other(mut delivery) => {
                delivery.envelope = match delivery.envelope {
                    Envelope::Frame(frame) => Envelope::Frame(map(frame)),
                    envelope => envelope,
                };
                Framed::Other(delivery)
            }
        }
    }
}

/// See the [module](self).
pub(crate) struct Mailbox {
    /// All that wait, in order: small messages, and marks for the others.
    queue: SmallQueue,
    /// Those that have marks.
    framed: Fifo<Framed>,
    /// So many of these, from the front on, hold on to no whole chunk.
    settled: Cell<u32>,
    /// Messages and sections that the actor may still have in this poll.
    budget: Cell<u32>,
    /// How many messages may wait, at most; none once it is closed.
    most: Cell<u32>,
    /// The bytes of all that wait, beyond the least of each.
    beyond: Cell<usize>,
    most_bytes: usize,
}

/// More messages than this are never asked for.
const MOST: usize = 1 << 30;

impl Mailbox {
    pub(crate) fn new(limits: &MailboxLimits) -> Self {
        let factor = if planted(Bug::EndlessMailbox) { 2 } else { 1 };
        let most = limits.messages.saturating_mul(factor).min(limits.bytes.div_ceil(LEAST));
        Mailbox {
            queue: SmallQueue::default(),
            framed: Fifo::default(),
            settled: Cell::new(0),
            budget: Cell::new(0),
            most: Cell::new(most.min(MOST) as u32),
            beyond: Cell::new(0),
            most_bytes: limits.bytes,
        }
    }

    /// The messages that wait.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.queue.len() as usize
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.beyond.get() + LEAST * self.len()
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether it has memory besides its own.
    pub(crate) fn has_memory(&self) -> bool {
        self.queue.has_memory() || self.framed.has_memory()
    }

    /// Gives back that memory, if nothing waits.
    pub(crate) fn free(&self) {
        self.queue.free();
        self.framed.free();
    }

    /// Whether no bounded message is taken now.
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        let beyond = self.beyond.get();
        self.queue.len() >= self.most.get() || (beyond > 0 && self.bytes() >= self.most_bytes)
    }

    /// Whether no bounded message is taken although none waits.
    #[inline(always)]
    pub(crate) fn is_closed(&self) -> bool {
        self.most.get() == 0
    }

    /// Messages that have been taken out, but for those that were [not handled](Self::uncount), modulo 2^32.
    #[inline(always)]
    pub(crate) fn taken(&self) -> u32 {
        self.queue.popped()
    }

    /// One that has been taken out is not handled.
    pub(crate) fn uncount(&self) {
        self.queue.uncount();
    }

    // --- Putting messages in ---------------------------------------------------------------------

    /// No more messages are taken; those that wait stay.
    pub(crate) fn close(&self) {
        self.most.set(0);
        self.queue.close();
    }

    /// Nothing is put in before it is [opened](Self::open).
    #[inline(always)]
    pub(crate) fn shut(&self) {
        self.queue.shut();
    }

    /// Finds out how many small messages may be put in without another look. Returns whether one of so many places may
    /// be, which the caller then puts in.
    #[inline(always)]
    pub(crate) fn open(&self, places: u32) -> bool {
        self.queue.reopen(places) || self.open_anew(places)
    }

    #[cold]
    #[inline(never)]
    fn open_anew(&self, places: u32) -> bool {
        let opens = !self.is_full();
        if opens {
            // Messages of several lengths are counted one by one.
            let counted = self.beyond.get() > 0;
            let more = if counted { 1 } else { self.most.get() - self.queue.len() };
            self.queue.open(more, places);
        }
        opens
    }

    /// Where small told messages are put in, if it [is open](Self::open) for them.
    #[inline(always)]
    pub(crate) fn queue(&self) -> &SmallQueue {
        &self.queue
    }

    /// Puts a message behind the others.
    pub(crate) fn push(&self, parked: Parked) {
        match parked {
            Parked::Told(small) => self.queue.push_alone(small),
            Parked::Framed(framed) => self.push_framed(framed),
        }
    }

    /// Puts a message that is not small behind the others.
    #[inline(always)]
    pub(crate) fn push_framed(&self, framed: Framed) {
        self.beyond.set(self.beyond.get() + framed.bytes_beyond());
        let (mark, message) = framed.mark();
        self.framed.push(framed);
        self.queue.push_mark(mark, message);
    }

    /// Puts a message before the others, which is a fault.
    pub(crate) fn jump(&self, parked: Parked) {
        let others: Vec<_> = self.take_all().collect();
        self.push(parked);
        others.into_iter().for_each(|other| self.push(other));
    }

    // --- Taking them out -------------------------------------------------------------------------

    #[inline(always)]
    pub(crate) fn front(&self) -> Option<Front> {
        self.queue.front()
    }

    /// The actor is polled: so many messages and sections it may have at most.
    pub(crate) fn begin_poll(&self, most: u32) {
        self.budget.set(most);
    }

    /// Lets up to so many messages be taken one after the other, if any may be now. What is left of the batch
    /// before counts for this one.
    #[inline(always)]
    pub(crate) fn begin_batch(&self, clock: &TurnClock, most: u32) -> bool {
        let left = self.queue.granted();
        clock.give_back(left);
        let budget = self.budget.get() + left;
        let granted = clock.grant(most.min(self.queue.len()).min(budget));
        self.budget.set(budget - granted);
        self.queue.grant(granted);
        granted > 0
    }

    /// The poll has ended. What might still have been taken is for others.
    pub(crate) fn end_poll(&self, clock: &TurnClock) {
        clock.give_back(self.queue.granted());
        self.end_batch();
    }

    /// Whether messages are left in the batch.
    #[inline(always)]
    pub(crate) fn is_in_batch(&self) -> bool {
        self.queue.granted() > 0
    }

    /// Whether the actor may run a section of one of its tasks.
    pub(crate) fn allows_turn(&self, clock: &TurnClock) -> bool {
        let allowed = self.budget.get() > 0 && clock.allows();
        self.budget.set(self.budget.get() - u32::from(allowed));
        allowed
    }

    /// There is something else to look at first.
    #[inline(always)]
    pub(crate) fn end_batch(&self) {
        self.queue.grant(0);
    }

    /// Takes the message at the front, granted or not.
    pub(crate) fn pop(&self) -> Option<Parked> {
        match self.queue.pop_front()? {
            Popped::Alone(small) => Some(Parked::Told(small)),
            Popped::Mark => Some(Parked::Framed(self.take_framed()?)),
        }
    }

    /// Takes the message at the front, if it brings more than itself.
    #[inline]
    pub(crate) fn pop_other(&self) -> Option<Box<Delivery>> {
        if !matches!(self.front(), Some(Front::Mark(Mark::Other, _))) {
            return None;
        }
        self.queue.pop_front()?;
        match self.take_framed()? {
            Framed::Other(delivery) => Some(delivery),
            Framed::Plain(_) => None,
        }
    }

    /// Takes the small message at the front, if that is what is there.
    pub(crate) fn pop_small(&self) -> Option<Small> {
        if !matches!(self.front(), Some(Front::Alone(_))) {
            return None;
        }
        match self.queue.pop_front()? {
            Popped::Alone(small) => Some(small),
            Popped::Mark => None,
        }
    }

    /// Takes the frame at the front, if that is what is there, and it says no more than its header.
    #[inline(always)]
    pub(crate) fn pop_plain(&self) -> Option<Frame> {
        if !matches!(self.front(), Some(Front::Mark(Mark::Told | Mark::Untold, _))) {
            return None;
        }
        self.queue.pop_front()?;
        self.take_plain()
    }

    #[inline(always)]
    fn take_plain(&self) -> Option<Frame> {
        match self.take_framed()? {
            Framed::Plain(frame) => Some(frame),
            Framed::Other(_) => None,
        }
    }

    /// Takes the message whose mark has just been taken.
    #[inline(always)]
    fn take_framed(&self) -> Option<Framed> {
        let framed = self.framed.pop();
        debug_assert!(framed.is_some(), "each mark stands for one of these");
        let framed = framed?;
        self.beyond.set(self.beyond.get() - framed.bytes_beyond());
        self.settled.set(self.settled.get().saturating_sub(1));
        Some(framed)
    }

    /// Takes the next message of the batch, if it is this one, small and told.
    #[inline(always)]
    pub(crate) fn pop_told<M: Message>(&self) -> Option<Carrier<M>> {
        M::Passing::pop_small(&self.queue)
    }

    /// Takes the next message of the batch, if it is this one, told and in a frame.
    #[inline(always)]
    pub(crate) fn pop_told_frame<M: Message>(&self) -> Option<Frame> {
        if self.queue.pop_mark(Mark::Told, M::ID) { self.take_plain() } else { None }
    }

    /// All that wait are settled: each has a place where it may stay.
    pub(crate) fn are_settled(&self) {
        self.settled.set(self.framed.len());
    }

    /// Gives each frame that has not been settled a place where it may stay.
    pub(crate) fn settle(&self, settle: impl Fn(Frame) -> Frame) {
        self.framed.change(self.settled.get(), |framed| framed.map_frame(&settle));
        self.are_settled();
    }

    /// Takes everything out that will not be handled any more.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Parked> + use<> {
        let mut all = Vec::with_capacity(self.len());
        all.extend(std::iter::from_fn(|| self.pop()));
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use annulus_codec::{address::Slot, frame::Header, outbox::archive_alone};
    use annulus_macros::message;
    use annulus_transport::driver::Mono;

    use super::*;

    #[message(crate = crate)]
    struct Number(u64);

    #[message(crate = crate)]
    struct Text(String);

    const LIMITS: MailboxLimits = MailboxLimits { messages: 100, bytes: 1 << 20 };

    /// A mailbox of an actor that is being polled.
    fn mailbox() -> Mailbox {
        let mailbox = Mailbox::new(&LIMITS);
        mailbox.begin_poll(1 << 20);
        mailbox
    }

    /// A clock that allows many messages.
    fn clock() -> TurnClock {
        let clock = TurnClock::new(Mono::default());
        clock.give_back(1000);
        clock
    }

    fn number(number: u64) -> Small {
        <Number as Message>::Passing::as_small(&Number(number)).unwrap()
    }

    /// Puts a number into a mailbox, as who tells it does.
    fn put(mailbox: &Mailbox, told: u64) -> bool {
        let number = number(told);
        let places = number.places();
        mailbox.queue().push(number) || (mailbox.open(places) && mailbox.queue().push(number))
    }

    fn text(len: usize) -> Parked {
        let header = Header::new(Kind::Tell, Slot::from_bits(0), 0, Text::ID, 0);
        Parked::plain(archive_alone(header, &Text("x".repeat(len)), 1 << 20).unwrap())
    }

    fn pop_number(mailbox: &Mailbox) -> Option<u64> {
        let _ = mailbox.begin_batch(&clock(), 1);
        mailbox.pop_told::<Number>().map(|told| told.0.to_native())
    }

    #[test]
    fn messages_come_out_in_order_however_many_have_waited() {
        let mailbox = mailbox();
        let (mut told, mut taken) = (0, 0);
        // Each number of messages that wait meets each position in the ring.
        for most in 1..=70 {
            while mailbox.len() < most {
                assert!(put(&mailbox, told));
                told += 1;
            }
            for _ in 0..most / 2 + 1 {
                assert_eq!(pop_number(&mailbox), Some(taken));
                taken += 1;
            }
        }
        while let Some(next) = pop_number(&mailbox) {
            assert_eq!(next, taken);
            taken += 1;
        }
        assert_eq!((taken, mailbox.len(), mailbox.bytes()), (told, 0, 0));
    }

    #[test]
    fn a_message_of_another_kind_stays_at_the_front() {
        let mailbox = mailbox();
        assert!(put(&mailbox, 1));
        mailbox.push(text(10));
        assert!(mailbox.begin_batch(&clock(), u32::MAX));
        assert!(mailbox.pop_told_frame::<Text>().is_none());
        assert_eq!(pop_number(&mailbox), Some(1));
        assert_eq!(pop_number(&mailbox), None);
        mailbox.end_batch();
        assert!(mailbox.pop_told_frame::<Text>().is_none());
        assert!(mailbox.begin_batch(&clock(), u32::MAX));
        let told = mailbox.pop_told_frame::<Text>().unwrap();
        assert_eq!(told.header().message, Text::ID);
        assert_eq!((mailbox.len(), mailbox.bytes()), (0, 0));
    }

    #[test]
    fn a_batch_ends_where_it_was_to_end() {
        let mailbox = mailbox();
        (0..5).for_each(|told| assert!(put(&mailbox, told)));
        assert!(mailbox.begin_batch(&clock(), 2));
        let taken = std::iter::from_fn(|| mailbox.pop_told::<Number>()).count();
        assert_eq!((taken, mailbox.len()), (2, 3));
        // What is taken otherwise begins none.
        drop(mailbox.pop());
        assert!(mailbox.pop_told::<Number>().is_none());
        assert!(mailbox.begin_batch(&clock(), u32::MAX));
        let taken = std::iter::from_fn(|| mailbox.pop_told::<Number>()).count();
        assert_eq!((taken, mailbox.len()), (2, 0));
    }

    #[test]
    fn a_batch_is_no_longer_than_what_waits_and_what_the_poll_allows() {
        let (clock, mailbox) = (clock(), mailbox());
        assert!(!mailbox.begin_batch(&clock, 1));
        (0..5).for_each(|told| assert!(put(&mailbox, told)));
        mailbox.begin_poll(3);
        assert!(mailbox.allows_turn(&clock) && mailbox.begin_batch(&clock, 9));
        let taken = std::iter::from_fn(|| mailbox.pop_told::<Number>()).count();
        assert_eq!((taken, mailbox.len()), (2, 3));
        assert!(!mailbox.begin_batch(&clock, 9) && !mailbox.allows_turn(&clock));
    }

    #[test]
    fn a_batch_that_has_been_ended_is_not_given_back() {
        let (clock, mailbox) = (TurnClock::new(Mono::default()), mailbox());
        (0..5).for_each(|told| assert!(put(&mailbox, told)));
        clock.give_back(2);
        assert!(mailbox.begin_batch(&clock, 9));
        mailbox.end_batch();
        assert!(!mailbox.begin_batch(&clock, 9));
    }

    #[test]
    fn bytes_and_messages_are_bounded() {
        let few = Mailbox::new(&MailboxLimits { messages: 2, bytes: 1 << 20 });
        assert!(put(&few, 1) && put(&few, 2) && !put(&few, 3));
        let small = Mailbox::new(&MailboxLimits { messages: 100, bytes: 3 * LEAST });
        let taken = (0..5).filter(|told| put(&small, *told)).count();
        assert_eq!((taken, small.bytes()), (3, 3 * LEAST));
        let large = Mailbox::new(&MailboxLimits { messages: 100, bytes: 1000 });
        large.push(text(2000));
        assert!(large.is_full() && !put(&large, 1));
        assert!(large.bytes() >= 2000);
        drop(large.pop());
        assert!(!large.is_full() && large.bytes() == 0);
        large.close();
        assert!(large.is_full());
    }

    #[test]
    fn only_what_has_not_been_settled_is_settled() {
        let count = std::cell::Cell::new(0);
        let settle = |frame: Frame| {
            count.set(count.get() + 1);
            frame
        };
        let mailbox = mailbox();
        (0..3).for_each(|_| mailbox.push(text(30)));
        mailbox.settle(settle);
        assert_eq!(count.take(), 3);
        mailbox.push(text(30));
        mailbox.are_settled();
        assert!(put(&mailbox, 1));
        mailbox.push(text(30));
        mailbox.settle(settle);
        assert_eq!(count.take(), 1);
        assert_eq!(mailbox.take_all().count(), 6);
        // Positions that were settled are behind what comes now.
        mailbox.push(text(30));
        mailbox.settle(settle);
        assert_eq!(count.take(), 1);
    }
}
