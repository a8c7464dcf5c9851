//! What a worker keeps of one actor, apart from the actor itself, which lives in its future.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Poll, Waker},
};

use annulus_codec::{address::Address, message::MessageId, outbox::Admission};

use crate::{
    actor::{Exit, MailboxLimits, StopMode},
    contain::wake,
    context::{is_live, refuse_expired},
    core::Core,
    delivery::{Delivery, Section},
    error::TellError,
    planted::{Bug, planted},
    tasks::{OwnWaker, TaskKey},
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
    /// Handle the message with this identity: the next frame of the walk, or what the cell holds.
    Message(MessageId),
    /// Run a section that one of its tasks asked for.
    Turn,
    /// End.
    Stop,
}

/// See the [module](self).
pub(crate) struct ActorCell {
    pub(crate) address: Address,
    /// The actor's type, for logs.
    pub(crate) name: &'static str,
    limits: MailboxLimits,
    pub(crate) life: Cell<Option<Life>>,
    pub(crate) phase: Cell<Phase>,
    orders: Cell<Option<StopMode>>,
    /// The message that is to be handled now, if it comes from the mailbox and not from a walk.
    current: Cell<Option<Delivery>>,
    has_current: Cell<bool>,
    mailbox: RefCell<VecDeque<Delivery>>,
    mailbox_bytes: Cell<usize>,
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
    pub(crate) section: RefCell<Section>,
    /// Whether `section` says anything.
    inherits: Cell<bool>,
    /// Made when the actor is suspended for the first time.
    pub(crate) waker: RefCell<Option<OwnWaker>>,
    pub(crate) tasks: RefCell<Vec<TaskKey>>,
    /// The first of its message timers; the others hang on to each other.
    pub(crate) first_alarm: Cell<Option<u32>>,
    joiners: RefCell<Vec<Waker>>,
    exit: Cell<Option<Exit>>,
}

impl ActorCell {
    pub(crate) fn new(address: Address, name: &'static str, limits: MailboxLimits) -> Self {
        ActorCell {
            address,
            name,
            limits,
            life: Cell::new(None),
            phase: Cell::new(Phase::Ready),
            orders: Cell::new(None),
            current: Cell::new(None),
            has_current: Cell::new(false),
            mailbox: RefCell::new(VecDeque::new()),
            mailbox_bytes: Cell::new(0),
            room: Cell::new(room_of(&limits)),
            attention: Cell::new(false),
            closed_to_turns: Cell::new(false),
            turns: Cell::new(0),
            budget: Cell::new(0),
            section: RefCell::default(),
            inherits: Cell::new(false),
            waker: RefCell::new(None),
            tasks: RefCell::default(),
            first_alarm: Cell::new(None),
            joiners: RefCell::default(),
            exit: Cell::new(None),
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
        let before = self.mailbox_bytes.get();
        let bytes = before + delivery.envelope.payload_len();
        self.mailbox_bytes.set(bytes);
        if before < self.limits.bytes && bytes >= self.limits.bytes {
            self.room.set(self.room.get() - BLOCKED);
        }
        self.mailbox.borrow_mut().push_back(delivery);
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
    #[inline]
    pub(crate) fn poll_signal(&self, core: &Core) -> Poll<Signal> {
        if self.attention.get() {
            return self.poll_mailbox(core);
        }
        match core.next_plain(self) {
            Some(message) => Poll::Ready(Signal::Message(message)),
            None => {
                self.phase.set(Phase::Idle);
                Poll::Pending
            }
        }
    }

    fn poll_mailbox(&self, core: &Core) -> Poll<Signal> {
        loop {
            match self.orders.get() {
                Some(StopMode::Stop | StopMode::Kill) => return Poll::Ready(Signal::Stop),
                Some(StopMode::Drain) if !self.has_work() => return Poll::Ready(Signal::Stop),
                _ => {}
            }
            if !self.has_work() {
                self.attention.set(false);
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
            let Some(delivery) = self.dequeue() else { continue };
            if is_live(core, &delivery) {
                let message = delivery.envelope.header().message;
                self.current.set(Some(delivery));
                self.has_current.set(true);
                return Poll::Ready(Signal::Message(message));
            }
            refuse_expired(delivery);
        }
    }

    fn has_work(&self) -> bool {
        self.turns.get() > 0 || !self.mailbox.borrow().is_empty()
    }

    /// What [`Signal::Message`] speaks of, if it is not the next frame of the walk.
    #[inline]
    pub(crate) fn take_current(&self) -> Option<Delivery> {
        if self.has_current.replace(false) { self.current.take() } else { None }
    }

    fn dequeue(&self) -> Option<Delivery> {
        let delivery = self.mailbox.borrow_mut().pop_front()?;
        let before = self.mailbox_bytes.get();
        let bytes = before - delivery.envelope.payload_len();
        self.mailbox_bytes.set(bytes);
        if before >= self.limits.bytes && bytes < self.limits.bytes {
            self.room.set(self.room.get() + BLOCKED);
        }
        self.give_place();
        Some(delivery)
    }

    /// Everything that will not be handled any more.
    pub(crate) fn take_leftovers(&self) -> VecDeque<Delivery> {
        let mut leftovers = std::mem::take(&mut *self.mailbox.borrow_mut());
        leftovers.extend(self.current.take());
        leftovers
    }

    /// Notes the actor's end and wakes those who wait for it.
    pub(crate) fn close(&self, exit: Exit) {
        self.phase.set(Phase::Gone);
        self.exit.set(Some(exit));
        self.joiners.take().into_iter().for_each(wake);
    }

    /// How the actor ended; pending before that.
    pub(crate) fn poll_exit(&self, waker: &Waker) -> Poll<Exit> {
        match self.exit.get() {
            Some(exit) => Poll::Ready(exit),
            None => {
                if !self.joiners.borrow().iter().any(|known| known.will_wake(waker)) {
                    // Cloning a waker may run a user's code: nothing is borrowed meanwhile.
                    let joiner = waker.clone();
                    self.joiners.borrow_mut().push(joiner);
                }
                Poll::Pending
            }
        }
    }

    /// Notes what the handler that starts now inherits.
    #[inline]
    pub(crate) fn enter_section(&self, section: Option<&Section>) {
        if section.is_some() || self.inherits.get() {
            self.inherits.set(section.is_some());
            self.section.replace(section.cloned().unwrap_or_default());
        }
    }
}

impl fmt::Debug for ActorCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({:?})", self.name, self.address, self.phase.get())
    }
}
