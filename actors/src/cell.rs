//! What a worker keeps of one actor, apart from the actor itself, which lives in its future.

use std::{
    cell::{Cell, OnceCell, Ref, RefCell},
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Poll, Waker},
};

use annulus_codec::{
    address::Address,
    frame::{Frame, Kind},
    message::{Message, MessageId},
    outbox::Admission,
    passing::{Envelope, Passing},
    yard::Yard,
};

use crate::{
    actor::{Exit, MailboxLimits, StopMode},
    contain::wake,
    context::{is_live, refuse_expired},
    core::Core,
    delivery::{Delivery, Parked, Section},
    error::TellError,
    planted::{Bug, planted},
    tasks::{OwnWaker, TaskKey},
    walk::Carrier,
};

/// An actor's whole life: its start, one message after the other, its end.
pub(crate) type Life = Pin<Box<dyn Future<Output = Exit>>>;

/// How many messages from its mailbox an actor may handle before others get their turn.
const MESSAGES_PER_TURN: u32 = 64;

/// Taken off the room of a mailbox with too many bytes in it: more than any number of places.
const BLOCKED: i64 = 1 << 60;

/// Taken off the room of an actor that takes no more messages.
const CLOSED: i64 = 1 << 61;

fn room_of(limits: &MailboxLimits) -> i64 {
    let places = limits.messages.saturating_mul(if planted(Bug::EndlessMailbox) { 2 } else { 1 });
    let blocked = if limits.bytes == 0 { BLOCKED } else { 0 };
    i64::try_from(places).unwrap_or(i64::MAX).min(1 << 40) - blocked
}

/// What an actor's future is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In the ready queue.
    Ready,
    /// Waiting for a message, with nothing to do.
    Idle,
    /// Suspended within a handler.
    Suspended,
    /// Being polled.
    Running,
    /// At its end.
    Gone,
}

/// What the actor does next.
#[derive(Debug)]
pub(crate) enum Signal {
    /// Handle the message with this identity, from [where](Place) the cell says.
    Message(MessageId),
    /// Run a section that one of its tasks asked for.
    Turn,
    /// End.
    Stop,
}

/// Where the message is that is to be handled now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the next frame of the walk.
    Walk,
    /// It is at the front of the mailbox.
    Mailbox,
    /// The worker holds it out: the actor has been idle.
    Hand,
    /// The worker holds it out, and it is an ask without a frame.
    Small,
}

impl Place {
    /// Whether the worker holds the message out.
    fn is_hand(self) -> bool {
        matches!(self, Place::Hand | Place::Small)
    }
}

/// See the [module](self).
pub(crate) struct ActorCell {
    pub(crate) address: Address,
    /// The actor's type, for logs.
    pub(crate) name: &'static str,
    limits: &'static MailboxLimits,
    pub(crate) life: Cell<Option<Life>>,
    pub(crate) phase: Cell<Phase>,
    orders: Cell<Option<StopMode>>,
    place: Cell<Place>,
    /// Whether the message that is handled now has been held out. Nothing in the walk goes on from it.
    handed: Cell<bool>,
    mailbox: RefCell<VecDeque<Parked>>,
    mailbox_bytes: Cell<usize>,
    /// How many of those at the front of the mailbox hold on to no whole chunk.
    settled: Cell<usize>,
    /// Messages that would still be taken: the mailbox's places less those that wait in it or are on
    /// their way to it, less [`BLOCKED`] while too many bytes wait, less [`CLOSED`] at the end.
    room: Cell<i64>,
    /// Whether there is more to look at than the frames that are being walked.
    attention: Cell<bool>,
    /// Whether no section runs any more.
    pub(crate) closed_to_turns: Cell<bool>,
    /// Sections that its tasks asked for and that have not run.
    turns: Cell<u32>,
    budget: Cell<u32>,
    /// The first of its message timers; the others hang on to each other.
    pub(crate) first_alarm: Cell<Option<u32>>,
    /// Whether [`Extra::section`] says anything.
    inherits: Cell<bool>,
    extra: OnceCell<Box<Extra>>,
    exit: Cell<Option<Exit>>,
}

/// What most actors never have.
#[derive(Default)]
pub(crate) struct Extra {
    /// What the handler that runs inherits.
    pub(crate) section: RefCell<Section>,
    /// Made when the actor is suspended for the first time.
    pub(crate) waker: RefCell<Option<Rc<OwnWaker>>>,
    pub(crate) tasks: RefCell<Vec<TaskKey>>,
    /// Where small frames wait while a handler is suspended.
    pub(crate) yard: RefCell<Yard>,
    joiners: RefCell<Vec<Waker>>,
}

impl ActorCell {
    pub(crate) fn new(
        address: Address,
        name: &'static str,
        limits: &'static MailboxLimits,
    ) -> Self {
        ActorCell {
            address,
            name,
            limits,
            life: Cell::new(None),
            phase: Cell::new(Phase::Ready),
            orders: Cell::new(None),
            place: Cell::new(Place::Walk),
            handed: Cell::new(false),
            mailbox: RefCell::new(VecDeque::new()),
            mailbox_bytes: Cell::new(0),
            settled: Cell::new(0),
            room: Cell::new(room_of(limits)),
            attention: Cell::new(false),
            closed_to_turns: Cell::new(false),
            turns: Cell::new(0),
            budget: Cell::new(0),
            first_alarm: Cell::new(None),
            inherits: Cell::new(false),
            extra: OnceCell::new(),
            exit: Cell::new(None),
        }
    }

    /// What most actors never have: made now if there is none.
    pub(crate) fn extra(&self) -> &Extra {
        self.extra.get_or_init(Box::default)
    }

    /// What most actors never have, if this one does.
    #[inline]
    pub(crate) fn known_extra(&self) -> Option<&Extra> {
        self.extra.get().map(|extra| &**extra)
    }

    /// What the handler that runs inherits.
    pub(crate) fn section(&self) -> Option<Ref<'_, Section>> {
        if self.inherits.get() {
            self.known_extra().map(|extra| extra.section.borrow())
        } else {
            None
        }
    }

    /// Keeps a place in the mailbox for a message from this worker.
    #[inline]
    pub(crate) fn keep_place(&self, admission: Admission) -> Result<(), TellError> {
        let room = self.room.get();
        if room <= 0 {
            if self.is_closed() {
                return Err(TellError::Dead);
            }
            if admission == Admission::Bounded {
                return Err(TellError::Full);
            }
        }
        self.room.set(room - 1);
        Ok(())
    }

    /// Keeps up to `most` places more, and returns how many.
    pub(crate) fn keep_places(&self, most: u32) -> u32 {
        let room = self.room.get();
        let kept = room.clamp(0, i64::from(most));
        self.room.set(room - kept);
        kept as u32
    }

    /// Gives back places that have been kept.
    pub(crate) fn give_places(&self, places: u32) {
        self.room.set(self.room.get() + i64::from(places));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.room.get() <= 0
    }

    /// The messages that wait in the mailbox, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.mailbox.borrow().len(), self.mailbox_bytes.get())
    }

    /// Gives back a place: its message has left the mailbox, or has not come.
    #[inline]
    pub(crate) fn give_place(&self) {
        self.room.set(self.room.get() + 1);
    }

    /// Whether new messages are refused for good.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.orders.get().is_some() || self.phase.get() == Phase::Gone
    }

    /// Puts a message into the mailbox, whose place has been kept.
    pub(crate) fn enqueue(&self, delivery: Delivery) {
        self.park(Parked::Other(Box::new(delivery)));
    }

    /// Puts a plain frame into the mailbox, whose place has been kept.
    #[inline]
    pub(crate) fn enqueue_plain(&self, frame: Frame) {
        self.park(Parked::Plain(frame));
    }

    #[inline]
    fn park(&self, parked: Parked) {
        let before = self.mailbox_bytes.get();
        let bytes = before + parked.bytes();
        self.mailbox_bytes.set(bytes);
        if before < self.limits.bytes && bytes >= self.limits.bytes {
            self.room.set(self.room.get() - BLOCKED);
        }
        let mut mailbox = self.mailbox.borrow_mut();
        mailbox.push_back(parked);
        if self.phase.get() == Phase::Suspended {
            // It came settled, and all before it were when the actor was suspended.
            self.settled.set(mailbox.len());
        }
        self.attention.set(true);
    }

    /// The worker holds a message out to this actor, which has been idle.
    pub(crate) fn hold_out(&self) {
        self.place.set(Place::Hand);
        self.attention.set(true);
    }

    /// The worker holds an ask without a frame out to this actor, which has been idle.
    #[inline]
    pub(crate) fn hold_out_small(&self) {
        self.place.set(Place::Small);
        self.attention.set(true);
    }

    /// Whether the actor's own future may go on with the walk.
    #[inline]
    pub(crate) fn may_go_on(&self) -> bool {
        !self.attention.get()
    }

    /// Whether the actor has nothing to do but take the next message.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        self.phase.get() == Phase::Idle && !self.attention.get()
    }

    /// Orders the actor to end. A later order only counts if it is more urgent.
    pub(crate) fn order(&self, mode: StopMode) {
        let urgency = |mode| match mode {
            StopMode::Drain => 0,
            StopMode::Stop => 1,
            StopMode::Kill => 2,
        };
        let given = self.orders.get();
        if given.is_none() {
            self.room.set(self.room.get() - CLOSED);
        }
        if given.is_none_or(|given| urgency(given) < urgency(mode)) {
            self.orders.set(Some(mode));
        }
        self.attention.set(true);
    }

    pub(crate) fn orders(&self) -> Option<StopMode> {
        self.orders.get()
    }

    pub(crate) fn add_turn(&self) {
        self.turns.set(self.turns.get() + 1);
        self.attention.set(true);
    }

    #[inline]
    pub(crate) fn begin_poll(&self) {
        self.phase.set(Phase::Running);
        self.budget.set(MESSAGES_PER_TURN);
    }

    /// What to do next; pending while there is nothing. Only the actor's own future asks.
    #[inline(always)]
    pub(crate) fn poll_signal(&self, core: &Core) -> Poll<Signal> {
        if self.attention.get() {
            let held_out = if self.place.get().is_hand() { core.walk.in_hand() } else { None };
            return match held_out {
                Some(message) => Poll::Ready(Signal::Message(message)),
                None => self.poll_mailbox(core),
            };
        }
        let next = if self.handed.take() { None } else { core.next_plain(self) };
        match next {
            Some(message) => Poll::Ready(Signal::Message(message)),
            None => {
                self.phase.set(Phase::Idle);
                Poll::Pending
            }
        }
    }

    /// Whether the message that is handled now is the last of this poll, but for what waits in the mailbox.
    #[inline]
    pub(crate) fn is_handed(&self) -> bool {
        self.handed.get()
    }

    fn poll_mailbox(&self, core: &Core) -> Poll<Signal> {
        loop {
            match self.orders.get() {
                Some(StopMode::Stop | StopMode::Kill) => return Poll::Ready(Signal::Stop),
                Some(StopMode::Drain) if !self.has_work() => return Poll::Ready(Signal::Stop),
                _ => {}
            }
            if !self.has_work() {
                drop(self.known_extra().map(|extra| extra.yard.take()));
                self.attention.set(false);
                self.handed.set(false);
                self.phase.set(Phase::Idle);
                return Poll::Pending;
            }
            if self.budget.get() == 0 || !core.clock.allows() {
                self.phase.set(Phase::Ready);
                return Poll::Pending;
            }
            self.budget.set(self.budget.get() - 1);
            if self.turns.get() > 0 {
                self.turns.set(self.turns.get() - 1);
                return Poll::Ready(Signal::Turn);
            }
            let expired = match self.mailbox.borrow().front() {
                None => continue,
                Some(Parked::Other(delivery)) if !is_live(core, delivery) => true,
                Some(parked) => {
                    self.place.set(Place::Mailbox);
                    return Poll::Ready(Signal::Message(parked.header().message));
                }
            };
            if expired && let Some(parked) = self.dequeue() {
                refuse_expired(parked.into());
            }
        }
    }

    /// Gives each frame in the mailbox that has not been settled a place where it may stay.
    #[inline]
    pub(crate) fn settle_mailbox(&self, settle: impl Fn(Frame) -> Frame) {
        let mut mailbox = self.mailbox.borrow_mut();
        let settled = self.settled.replace(mailbox.len());
        for parked in mailbox.iter_mut().skip(settled) {
            let frame = match parked {
                Parked::Plain(frame) => frame,
                Parked::Other(delivery) => match &mut delivery.envelope {
                    Envelope::Frame(frame) => frame,
                    Envelope::Apart(_) | Envelope::Value(_) => continue,
                },
            };
            let moved = settle(frame.clone());
            *frame = moved;
        }
    }

    fn has_work(&self) -> bool {
        self.turns.get() > 0 || self.has_mail()
    }

    /// Whether messages wait in the mailbox.
    pub(crate) fn has_mail(&self) -> bool {
        !self.mailbox.borrow().is_empty()
    }

    /// Whether it holds no memory but its own.
    pub(crate) fn is_bare(&self) -> bool {
        self.extra.get().is_none() && self.mailbox.borrow().capacity() == 0
    }

    /// Where the message is that [`Signal::Message`] speaks of.
    #[inline]
    pub(crate) fn take_place(&self) -> Place {
        let place = self.place.replace(Place::Walk);
        self.handed.set(place.is_hand());
        if place.is_hand() {
            // It has been idle, so there is nothing else to look at.
            self.attention.set(false);
        }
        place
    }

    pub(crate) fn dequeue(&self) -> Option<Parked> {
        let parked = self.mailbox.borrow_mut().pop_front()?;
        self.dequeued(parked.bytes());
        Some(parked)
    }

    /// A message with so many bytes has left the mailbox.
    #[inline]
    fn dequeued(&self, bytes: usize) {
        self.settled.set(self.settled.get().saturating_sub(1));
        let before = self.mailbox_bytes.get();
        self.mailbox_bytes.set(before - bytes);
        if before >= self.limits.bytes && before - bytes < self.limits.bytes {
            self.room.set(self.room.get() + BLOCKED);
        }
        self.give_place();
    }

    /// Takes the message at the front of the mailbox, if it is this one, told and plain, and comes next.
    #[inline]
    pub(crate) fn dequeue_told<M: Message>(&self) -> Option<Carrier<M>> {
        if self.orders.get().is_some() || self.turns.get() > 0 || self.budget.get() == 0 {
            return None;
        }
        let mut mailbox = self.mailbox.borrow_mut();
        let Some(Parked::Plain(frame)) = mailbox.front() else { return None };
        let copied = M::Passing::copy_told(frame);
        if copied.is_none() {
            let header = frame.header();
            if header.message != M::ID || header.kind != Kind::Tell {
                return None;
            }
        }
        let Some(Parked::Plain(frame)) = mailbox.pop_front() else { return None };
        drop(mailbox);
        self.budget.set(self.budget.get() - 1);
        self.dequeued(frame.body_len());
        // It has been archived as this message, so it opens as this.
        copied.or_else(|| M::Passing::open(Envelope::Frame(frame)).ok())
    }

    /// Everything that will not be handled any more.
    pub(crate) fn take_leftovers(&self) -> VecDeque<Parked> {
        std::mem::take(&mut *self.mailbox.borrow_mut())
    }

    /// Notes the actor's end and wakes those who wait for it.
    pub(crate) fn close(&self, exit: Exit) {
        self.phase.set(Phase::Gone);
        self.exit.set(Some(exit));
        let joiners = self.known_extra().map(|extra| extra.joiners.take());
        joiners.into_iter().flatten().for_each(wake);
    }

    /// How the actor ended; pending before that.
    pub(crate) fn poll_exit(&self, waker: &Waker) -> Poll<Exit> {
        match self.exit.get() {
            Some(exit) => Poll::Ready(exit),
            None => {
                let joiners = &self.extra().joiners;
                if !joiners.borrow().iter().any(|known| known.will_wake(waker)) {
                    // Cloning a waker may run a user's code: nothing is borrowed meanwhile.
                    let joiner = waker.clone();
                    joiners.borrow_mut().push(joiner);
                }
                Poll::Pending
            }
        }
    }

    /// Notes what the handler that starts now inherits.
    #[inline(always)]
    pub(crate) fn enter_section(&self, section: Option<Section>) {
        if section.is_some() || self.inherits.get() {
            self.change_section(section);
        }
    }

    #[inline(never)]
    fn change_section(&self, section: Option<Section>) {
        self.inherits.set(section.is_some());
        self.extra().section.replace(section.unwrap_or_default());
    }
}

impl fmt::Debug for ActorCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({:?})", self.name, self.address, self.phase.get())
    }
}
