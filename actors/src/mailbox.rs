//! The mailbox: what waits for one actor, in the order in which it was sent.
//!
//! What an actor of the same worker is told goes right in here. What comes from elsewhere does so only if the
//! actor is busy, or if it is a broadcast; otherwise it is handled where it lies.

use std::mem;

use annulus_codec::{
    archive::AccessError,
    frame::{Frame, Kind},
    held::Small,
    message::{Message, MessageId},
    passing::{Envelope, Passing},
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

// A place takes three words. What is told most often needs all of them, and the identity of a message says by what it
// is not that it is one.
const _: () = assert!(size_of::<Parked>() == 3 * size_of::<u64>());

/// What a message counts for at least, in bytes: it has a place in the mailbox.
const LEAST: usize = size_of::<u64>() * 2;

#[inline(always)]
fn beyond_least(bytes: usize) -> usize {
    bytes.saturating_sub(LEAST)
}

impl Parked {
    #[inline(always)]
    pub(crate) fn plain(frame: Frame) -> Self {
        Parked::Framed(Framed::Plain(frame))
    }

    pub(crate) fn other(delivery: Delivery) -> Self {
        Parked::Framed(Framed::Other(Box::new(delivery)))
    }

    /// The bytes that it counts for beyond [`LEAST`].
    #[inline]
    fn bytes_beyond(&self) -> usize {
        match self {
            Parked::Told(_) => 0,
            Parked::Framed(Framed::Plain(frame)) => beyond_least(frame.body_len()),
            Parked::Framed(Framed::Other(delivery)) => {
                beyond_least(delivery.envelope.payload_len())
            }
        }
    }

    pub(crate) fn message(&self) -> MessageId {
        match self {
            Parked::Told(small) => small.message(),
            Parked::Framed(Framed::Plain(frame)) => frame.header().message,
            Parked::Framed(Framed::Other(delivery)) => delivery.envelope.header().message,
        }
    }

    fn frame_mut(&mut self) -> Option<&mut Frame> {
        match self {
            Parked::Told(_) => None,
            Parked::Framed(Framed::Plain(frame)) => Some(frame),
            Parked::Framed(Framed::Other(delivery)) => match &mut delivery.envelope {
                Envelope::Frame(frame) => Some(frame),
                Envelope::Apart(_) | Envelope::Value(_) => None,
            },
        }
    }
}

/// See the [module](self).
///
/// A ring of places: most actors never have more than one message waiting, and need no memory besides for that.
// Positions count up without end. A loop that takes or puts messages then waits for one addition from one message
// to the next, where it would wait for a whole computation if they were wrapped.
pub(crate) struct Mailbox {
    /// The one place that there is until more are needed.
    only: Parked,
    /// The places from then on: as many as a power of two.
    places: Box<[Parked]>,
    /// The position of the oldest message, and the one behind the last.
    head: u32,
    tail: u32,
    /// Up to here messages may be put in without a look at anything else: there are places, and nothing is in the way.
    open_end: u32,
    /// Up to here messages may be taken one after the other without a look at anything else.
    batch_end: u32,
    /// Messages and sections that the actor may still have in this poll.
    budget: u32,
    /// Before this position no message holds on to a whole chunk.
    settled: u32,
    /// How many messages may wait, at most; none once it is closed.
    most: u32,
    /// The bytes of all that wait, beyond the least of each.
    beyond: usize,
    most_bytes: usize,
}

/// More messages than this are never asked for.
const MOST: usize = 1 << 30;

/// What is in a place that is free.
const FREE: Parked = Parked::Told(Small::NONE);

impl Mailbox {
    pub(crate) fn new(limits: &MailboxLimits) -> Self {
        let factor = if planted(Bug::EndlessMailbox) { 2 } else { 1 };
        let most = limits.messages.saturating_mul(factor).min(limits.bytes.div_ceil(LEAST));
        Mailbox {
            only: FREE,
            places: Box::default(),
            head: 0,
            tail: 0,
            open_end: 0,
            batch_end: 0,
            budget: 0,
            settled: 0,
            most: most.min(MOST) as u32,
            beyond: 0,
            most_bytes: limits.bytes,
        }
    }

    /// The messages that wait.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.beyond + LEAST * self.len()
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.tail == self.head
    }

    /// Whether it has memory besides its first place.
    pub(crate) fn has_memory(&self) -> bool {
        !self.places.is_empty()
    }

    /// Whether no bounded message is taken now.
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.most as usize || (self.beyond > 0 && self.bytes() >= self.most_bytes)
    }

    /// No more messages are taken; those that wait stay.
    pub(crate) fn close(&mut self) {
        self.most = 0;
        self.open_end = self.tail;
    }

    /// Puts a small told message behind the others, if that takes no more than to put it there. Returns whether it
    /// did; if not, [`push`](Self::push) may.
    // No other function gets the message: it would have to be put together in memory for that.
    #[inline(always)]
    pub(crate) fn push_told(&mut self, small: Small) -> bool {
        let place = if self.places.is_empty() {
            (self.is_empty() && self.most > 0).then_some(&mut self.only)
        } else {
            if self.tail == self.open_end {
                self.open();
            }
            let last = self.places.len() - 1;
            (self.tail != self.open_end).then(|| &mut self.places[self.tail as usize & last])
        };
        let Some(place) = place else { return false };
        // What is free has nothing to drop.
        mem::forget(mem::replace(place, Parked::Told(small)));
        self.tail = self.tail.wrapping_add(1);
        true
    }

    /// Finds out how many messages may be put in without another look.
    #[inline(never)]
    fn open(&mut self) {
        // Messages of several lengths are counted one by one.
        let more = if self.beyond > 0 {
            0
        } else {
            (self.most as usize).min(self.places.len()).saturating_sub(self.len())
        };
        self.open_end = self.tail.wrapping_add(more as u32);
    }

    /// Puts a message behind the others.
    pub(crate) fn push(&mut self, parked: Parked) {
        self.beyond += parked.bytes_beyond();
        self.push_back(parked);
        self.open();
    }

    /// Puts a frame that says no more than its header behind the others.
    #[inline(always)]
    pub(crate) fn push_plain(&mut self, frame: Frame) {
        self.beyond += beyond_least(frame.body_len());
        self.push_back(Parked::plain(frame));
        self.open_end = self.tail;
    }

    #[inline(always)]
    fn push_back(&mut self, parked: Parked) {
        if self.len() == self.capacity() {
            self.grow();
        }
        let tail = self.tail;
        self.tail = tail.wrapping_add(1);
        // What is free has nothing to drop.
        mem::forget(mem::replace(self.place(tail), parked));
    }

    /// Puts a message before the others, which is a fault.
    pub(crate) fn jump(&mut self, parked: Parked) {
        self.beyond += parked.bytes_beyond();
        if self.len() == self.capacity() {
            self.grow();
        }
        self.head = self.head.wrapping_sub(1);
        self.batch_end = self.head;
        self.open_end = self.tail;
        *self.place(self.head) = parked;
    }

    #[inline(always)]
    fn capacity(&self) -> usize {
        self.places.len().max(1)
    }

    #[inline(always)]
    fn place(&mut self, position: u32) -> &mut Parked {
        if self.places.is_empty() {
            return &mut self.only;
        }
        let last = self.places.len() - 1;
        &mut self.places[position as usize & last]
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let places = (self.capacity() * 2).max(4);
        let mut grown: Box<[Parked]> = (0..places).map(|_| FREE).collect();
        for position in 0..self.capacity() as u32 {
            let position = self.head.wrapping_add(position);
            grown[position as usize & (places - 1)] = mem::replace(self.place(position), FREE);
        }
        self.places = grown;
    }

    #[inline(always)]
    pub(crate) fn front(&mut self) -> Option<&mut Parked> {
        if self.is_empty() { None } else { Some(self.place(self.head)) }
    }

    /// The actor is polled: so many messages and sections it may have at most.
    pub(crate) fn begin_poll(&mut self, most: u32) {
        self.budget = most;
    }

    /// Lets up to so many messages be taken one after the other, if any may be now. What is left of the batch
    /// before counts for this one.
    #[inline(always)]
    pub(crate) fn begin_batch(&mut self, clock: &TurnClock, most: usize) -> bool {
        let left = self.batch_end.wrapping_sub(self.head);
        clock.give_back(left);
        self.budget += left;
        let granted = clock.grant(most.min(self.len()).min(self.budget as usize));
        self.budget -= granted;
        self.batch_end = self.head.wrapping_add(granted);
        granted > 0
    }

    /// Whether the actor may run a section of one of its tasks.
    pub(crate) fn allows_turn(&mut self, clock: &TurnClock) -> bool {
        let allowed = self.budget > 0 && clock.allows();
        self.budget -= u32::from(allowed);
        allowed
    }

    /// There is something else to look at first.
    pub(crate) fn end_batch(&mut self) {
        self.batch_end = self.head;
    }

    #[inline(always)]
    fn advance(&mut self) {
        if self.batch_end == self.head {
            self.batch_end = self.head.wrapping_add(1);
        }
        self.head = self.head.wrapping_add(1);
    }

    #[inline(never)]
    pub(crate) fn pop(&mut self) -> Option<Parked> {
        let parked = mem::replace(self.front()?, FREE);
        self.beyond -= parked.bytes_beyond();
        self.advance();
        Some(parked)
    }

    /// Takes the small told message at the front, if that is what is there; whether it is this one is seen then.
    #[inline(always)]
    pub(crate) fn open_told<M: Message>(&mut self) -> Option<Result<Carrier<M>, AccessError>> {
        let Parked::Told(small) = self.front()? else { return None };
        // It stays where it is, and is not to be dropped.
        let opened = M::Passing::open_small(small);
        self.advance();
        Some(opened)
    }

    /// Takes the frame at the front that says no more than its header, if that is what is there.
    #[inline(always)]
    pub(crate) fn pop_plain(&mut self) -> Option<Frame> {
        let front = self.front()?;
        if !matches!(front, Parked::Framed(Framed::Plain(_))) {
            return None;
        }
        let Parked::Framed(Framed::Plain(frame)) = mem::replace(front, FREE) else { return None };
        self.beyond -= beyond_least(frame.body_len());
        self.advance();
        Some(frame)
    }

    /// Takes the next message of the batch, if it is this one, told and plain.
    #[inline(always)]
    pub(crate) fn pop_told<M: Message>(&mut self) -> Option<Carrier<M>> {
        debug_assert!(self.batch_end.wrapping_sub(self.head) as usize <= self.len());
        if self.head == self.batch_end {
            return None;
        }
        let last = self.places.len().wrapping_sub(1);
        let Some(Parked::Told(small)) = self.places.get(self.head as usize & last) else {
            return self.pop_told_slowly::<M>();
        };
        let told = M::Passing::open_small(small).ok()?;
        self.head = self.head.wrapping_add(1);
        Some(told)
    }

    /// The same, wherever it is and in whatever form.
    #[inline]
    fn pop_told_slowly<M: Message>(&mut self) -> Option<Carrier<M>> {
        match self.front()? {
            Parked::Told(small) => {
                let told = M::Passing::open_small(small).ok()?;
                self.head = self.head.wrapping_add(1);
                Some(told)
            }
            Parked::Framed(Framed::Plain(frame)) => {
                let header = frame.header();
                if header.message != M::ID || header.kind != Kind::Tell {
                    return None;
                }
                // It has been archived as this message, so it opens as this.
                match M::Passing::open_own(self.pop_plain()?) {
                    Ok(told) => Some(told),
                    Err(frame) => M::Passing::open(Envelope::Frame(frame)).ok(),
                }
            }
            Parked::Framed(Framed::Other(_)) => None,
        }
    }

    /// All that wait are settled: each has a place where it may stay.
    pub(crate) fn are_settled(&mut self) {
        self.settled = self.tail;
    }

    /// Gives each frame that has not been settled a place where it may stay.
    pub(crate) fn settle(&mut self, settle: impl Fn(Frame) -> Frame) {
        let settled = self.settled.wrapping_sub(self.head);
        // If that is beyond the end, all that was settled has left.
        let settled = if settled as usize > self.len() { 0 } else { settled };
        for behind in settled..self.len() as u32 {
            if let Some(frame) = self.place(self.head.wrapping_add(behind)).frame_mut() {
                let moved = settle(frame.clone());
                *frame = moved;
            }
        }
        self.are_settled();
    }

    /// Takes everything out that will not be handled any more.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Parked> + use<> {
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
        let mut mailbox = Mailbox::new(&LIMITS);
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
    fn put(mailbox: &mut Mailbox, told: u64) -> bool {
        if mailbox.push_told(number(told)) {
            return true;
        }
        let taken = !mailbox.is_full();
        if taken {
            mailbox.push(Parked::Told(number(told)));
        }
        taken
    }

    fn text(len: usize) -> Parked {
        let header = Header::new(Kind::Tell, Slot::from_bits(0), 0, Text::ID, 0);
        Parked::plain(archive_alone(header, &Text("x".repeat(len)), 1 << 20).unwrap())
    }

    fn pop_number(mailbox: &mut Mailbox) -> Option<u64> {
        let _ = mailbox.begin_batch(&clock(), mailbox.len().min(1));
        mailbox.pop_told::<Number>().map(|told| told.0.to_native())
    }

    #[test]
    fn messages_come_out_in_order_however_many_have_waited() {
        let mut mailbox = mailbox();
        let (mut told, mut taken) = (0, 0);
        // Each number of messages that wait meets each position in the ring.
        for most in 1..=70 {
            while mailbox.len() < most {
                assert!(put(&mut mailbox, told));
                told += 1;
            }
            for _ in 0..most / 2 + 1 {
                assert_eq!(pop_number(&mut mailbox), Some(taken));
                taken += 1;
            }
        }
        while let Some(next) = pop_number(&mut mailbox) {
            assert_eq!(next, taken);
            taken += 1;
        }
        assert_eq!((taken, mailbox.len(), mailbox.bytes()), (told, 0, 0));
    }

    #[test]
    fn positions_wrap_around() {
        let mut mailbox = mailbox();
        let start = u32::MAX - 5;
        (mailbox.head, mailbox.tail, mailbox.settled) = (start, start, start);
        for round in 0..20 {
            for at in 0..7 {
                assert!(put(&mut mailbox, round * 7 + at));
            }
            mailbox.settle(|frame| frame);
            for at in 0..7 {
                assert_eq!(pop_number(&mut mailbox), Some(round * 7 + at));
            }
        }
        assert!(mailbox.is_empty());
    }

    #[test]
    fn a_message_of_another_kind_stays_at_the_front() {
        let mut mailbox = mailbox();
        assert!(put(&mut mailbox, 1));
        mailbox.push(text(10));
        assert!(mailbox.begin_batch(&clock(), mailbox.len()));
        assert!(mailbox.pop_told::<Text>().is_none());
        assert_eq!(pop_number(&mut mailbox), Some(1));
        assert_eq!(pop_number(&mut mailbox), None);
        mailbox.end_batch();
        assert!(mailbox.pop_told::<Text>().is_none());
        assert!(mailbox.begin_batch(&clock(), mailbox.len()));
        let told = mailbox.pop_told::<Text>().unwrap();
        assert_eq!(told.0.as_str(), "x".repeat(10));
        assert_eq!((mailbox.len(), mailbox.bytes()), (0, 0));
    }

    #[test]
    fn a_batch_ends_where_it_was_to_end() {
        let mut mailbox = mailbox();
        (0..5).for_each(|told| assert!(put(&mut mailbox, told)));
        assert!(mailbox.begin_batch(&clock(), 2));
        let taken = std::iter::from_fn(|| mailbox.pop_told::<Number>()).count();
        assert_eq!((taken, mailbox.len()), (2, 3));
        // What is taken otherwise begins none.
        drop(mailbox.pop());
        assert!(mailbox.pop_told::<Number>().is_none());
        assert!(mailbox.begin_batch(&clock(), mailbox.len()));
        let taken = std::iter::from_fn(|| mailbox.pop_told::<Number>()).count();
        assert_eq!((taken, mailbox.len()), (2, 0));
    }

    #[test]
    fn a_batch_is_no_longer_than_what_waits_and_what_the_poll_allows() {
        let (clock, mut mailbox) = (clock(), mailbox());
        assert!(!mailbox.begin_batch(&clock, 1));
        (0..5).for_each(|told| assert!(put(&mut mailbox, told)));
        mailbox.begin_poll(3);
        assert!(mailbox.allows_turn(&clock) && mailbox.begin_batch(&clock, 9));
        let taken = std::iter::from_fn(|| mailbox.pop_told::<Number>()).count();
        assert_eq!((taken, mailbox.len()), (2, 3));
        assert!(!mailbox.begin_batch(&clock, 9) && !mailbox.allows_turn(&clock));
    }

    #[test]
    fn a_batch_that_has_been_ended_is_not_given_back() {
        let (clock, mut mailbox) = (TurnClock::new(Mono::default()), mailbox());
        (0..5).for_each(|told| assert!(put(&mut mailbox, told)));
        clock.give_back(2);
        assert!(mailbox.begin_batch(&clock, 9));
        mailbox.end_batch();
        assert!(!mailbox.begin_batch(&clock, 9));
    }

    #[test]
    fn bytes_and_messages_are_bounded() {
        let mut few = Mailbox::new(&MailboxLimits { messages: 2, bytes: 1 << 20 });
        assert!(put(&mut few, 1) && put(&mut few, 2) && !put(&mut few, 3));
        let mut small = Mailbox::new(&MailboxLimits { messages: 100, bytes: 3 * LEAST });
        let taken = (0..5).filter(|told| put(&mut small, *told)).count();
        assert_eq!((taken, small.bytes()), (3, 3 * LEAST));
        let mut large = Mailbox::new(&MailboxLimits { messages: 100, bytes: 1000 });
        large.push(text(2000));
        assert!(large.is_full() && !put(&mut large, 1));
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
        let mut mailbox = mailbox();
        (0..3).for_each(|_| mailbox.push(text(30)));
        mailbox.settle(settle);
        assert_eq!(count.take(), 3);
        mailbox.push(text(30));
        mailbox.are_settled();
        assert!(put(&mut mailbox, 1));
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
