//! What a worker keeps of one actor, apart from the actor itself, which lives in its future.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Poll, Waker},
};

use annulus_codec::address::Address;

use crate::{
    actor::{Exit, MailboxLimits, StopMode},
    contain::wake,
    context::refuse_expired,
    delivery::{Delivery, Section},
    planted::{Bug, planted},
    tasks::{OwnWaker, TaskKey},
};

/// An actor's whole life: its start, one message after the other, its end.
pub(crate) type Life = Pin<Box<dyn Future<Output = Exit>>>;

/// How many messages an actor may handle before others get their turn.
const MESSAGES_PER_TURN: u32 = 64;

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
    /// Handle this.
    Message(Delivery),
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
    /// A message for an idle actor: it does not have to pass through the mailbox.
    handed: Cell<Option<Delivery>>,
    mailbox: RefCell<VecDeque<Delivery>>,
    mailbox_bytes: Cell<usize>,
    /// Messages from this worker that are on their way to the mailbox.
    promised: Cell<usize>,
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
            handed: Cell::new(None),
            mailbox: RefCell::new(VecDeque::new()),
            mailbox_bytes: Cell::new(0),
            promised: Cell::new(0),
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

    /// Whether one more message would be taken, besides `promised` that are on their way.
    fn has_room_besides(&self, promised: usize) -> bool {
        let places = self.limits.messages * if planted(Bug::EndlessMailbox) { 2 } else { 1 };
        self.mailbox.borrow().len() + promised < places
            && self.mailbox_bytes.get() < self.limits.bytes
    }

    /// Whether one more message from this worker would be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.has_room_besides(self.promised.get())
    }

    /// A message from this worker is on its way: its place is kept.
    pub(crate) fn promise(&self) {
        self.promised.set(self.promised.get() + 1);
    }

    /// A message from this worker has arrived.
    pub(crate) fn keep_promise(&self) {
        self.promised.set(self.promised.get().saturating_sub(1));
    }

    /// Whether new messages are refused for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.orders.get().is_some() || self.phase.get() == Phase::Gone
    }

    /// Gives an idle actor a message, to be followed by a poll.
    pub(crate) fn hand(&self, delivery: Delivery) {
        debug_assert_eq!(self.phase.get(), Phase::Idle);
        self.handed.set(Some(delivery));
    }

    /// Puts a message into the mailbox.
    ///
    /// # Errors
    /// It comes back if the mailbox is full.
    pub(crate) fn enqueue(&self, delivery: Delivery) -> Result<(), Delivery> {
        if !self.has_room_besides(0) {
            return Err(delivery);
        }
        self.enqueue_always(delivery);
        Ok(())
    }

    pub(crate) fn enqueue_always(&self, delivery: Delivery) {
        self.mailbox_bytes.set(self.mailbox_bytes.get() + delivery.envelope.payload_len());
        self.mailbox.borrow_mut().push_back(delivery);
    }

    /// Orders the actor to end. A later order only counts if it is more urgent.
    pub(crate) fn order(&self, mode: StopMode) {
        let urgency = |mode| match mode {
            StopMode::Drain => 0,
            StopMode::Stop => 1,
            StopMode::Kill => 2,
        };
        if self.orders.get().is_none_or(|given| urgency(given) < urgency(mode)) {
            self.orders.set(Some(mode));
        }
    }

    pub(crate) fn orders(&self) -> Option<StopMode> {
        self.orders.get()
    }

    pub(crate) fn add_turn(&self) {
        self.turns.set(self.turns.get() + 1);
    }

    pub(crate) fn begin_poll(&self) {
        self.phase.set(Phase::Running);
        self.budget.set(MESSAGES_PER_TURN);
    }

    /// What to do next; pending while there is nothing. Only the actor's own future asks.
    pub(crate) fn poll_signal(&self, is_live: impl Fn(&Delivery) -> bool) -> Poll<Signal> {
        loop {
            match self.orders.get() {
                Some(StopMode::Stop | StopMode::Kill) => return Poll::Ready(Signal::Stop),
                Some(StopMode::Drain) if !self.has_work() => return Poll::Ready(Signal::Stop),
                _ => {}
            }
            if self.budget.get() == 0 {
                self.phase.set(if self.has_work() { Phase::Ready } else { Phase::Idle });
                return Poll::Pending;
            }
            self.budget.set(self.budget.get() - 1);
            if self.turns.get() > 0 {
                self.turns.set(self.turns.get() - 1);
                return Poll::Ready(Signal::Turn);
            }
            let Some(delivery) = self.handed.take().or_else(|| self.dequeue()) else {
                self.phase.set(Phase::Idle);
                return Poll::Pending;
            };
            if is_live(&delivery) {
                return Poll::Ready(Signal::Message(delivery));
            }
            refuse_expired(delivery);
        }
    }

    fn has_work(&self) -> bool {
        let handed = self.handed.take();
        let waits = handed.is_some();
        self.handed.set(handed);
        waits || self.turns.get() > 0 || !self.mailbox.borrow().is_empty()
    }

    fn dequeue(&self) -> Option<Delivery> {
        let delivery = self.mailbox.borrow_mut().pop_front()?;
        self.mailbox_bytes.set(self.mailbox_bytes.get() - delivery.envelope.payload_len());
        Some(delivery)
    }

    /// Everything that will not be handled any more.
    pub(crate) fn take_leftovers(&self) -> VecDeque<Delivery> {
        self.mailbox_bytes.set(0);
        let mut leftovers = std::mem::take(&mut *self.mailbox.borrow_mut());
        leftovers.extend(self.handed.take());
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
