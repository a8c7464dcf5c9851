//! What a worker keeps of one actor, apart from the actor itself, which lives in its future.

use std::{
    cell::{Cell, OnceCell, Ref, RefCell},
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Poll, Waker},
};

use annulus_codec::{
    address::Address,
    frame::Frame,
    message::MessageId,
    outbox::Admission,
    queue::{Front, Mark},
    yard::Yard,
};

use crate::{
    actor::{Exit, MailboxLimits, StopMode},
    contain::wake,
    context::{is_live, refuse_expired},
    core::Core,
    delivery::Section,
    error::TellError,
    mailbox::{Framed, Mailbox, Parked},
    tasks::{OwnWaker, TaskKey},
};

/// An actor's whole life: its start, one message after the other, its end.
pub(crate) type Life = Pin<Box<dyn Future<Output = Exit>>>;

/// How many messages an actor may handle before others get their turn.
const MESSAGES_PER_POLL: u32 = 128;

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
    /// Nothing is said: it is the next one of the batch; or of the walk, if it is one more of those that have just been
    /// handled.
    Next,
    /// It is the next frame of the walk.
    Walk,
    /// It is at the front of the mailbox, and no batch goes on.
    Mailbox,
    /// The worker holds it out: the actor has been idle.
    Hand,
    /// The worker holds it out, and it has waited in the mailbox.
    Waited,
    /// The worker holds it out, and it is an ask without a frame.
    Small,
}

/// What the actor has to look at before it takes the next message. All bits are zero, mostly.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags(u8);

impl Flags {
    /// Orders, or sections of tasks.
    const URGENT: u8 = 1;
    /// The worker holds a message out.
    const HELD_OUT: u8 = 2;
    /// The message that is handled now has been held out: nothing in the walk goes on from it.
    const HANDED: u8 = 4;
    /// The handler that runs, or will take what is held out, inherits something: [`Extra::section`] says what.
    const INHERITS: u8 = 8;
}

/// See the [module](self).
pub(crate) struct ActorCell {
    pub(crate) address: Address,
    /// The actor's type, for logs.
    pub(crate) name: &'static str,
    pub(crate) life: Cell<Option<Life>>,
    pub(crate) phase: Cell<Phase>,
    orders: Cell<Option<StopMode>>,
    place: Cell<Place>,
    flags: Cell<Flags>,
    pub(crate) mailbox: Mailbox,
    /// Whether no section runs any more.
    pub(crate) closed_to_turns: Cell<bool>,
    /// Sections that its tasks asked for and that have not run.
    turns: Cell<u32>,
    /// The first of its message timers; the others hang on to each other.
    pub(crate) first_alarm: Cell<Option<u32>>,
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
            life: Cell::new(None),
            phase: Cell::new(Phase::Ready),
            orders: Cell::new(None),
            place: Cell::new(Place::Next),
            flags: Cell::new(Flags(0)),
            mailbox: Mailbox::new(limits),
            closed_to_turns: Cell::new(false),
            turns: Cell::new(0),
            first_alarm: Cell::new(None),
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
        if self.has(Flags::INHERITS) {
            self.known_extra().map(|extra| extra.section.borrow())
        } else {
            None
        }
    }

    #[inline(always)]
    fn has(&self, flag: u8) -> bool {
        self.flags.get().0 & flag != 0
    }

    #[inline(always)]
    fn set(&self, flag: u8, on: bool) {
        let others = self.flags.get().0 & !flag;
        if on {
            self.flags.set(Flags(others | flag));
            self.mailbox.end_batch();
        } else {
            self.flags.set(Flags(others));
        }
    }

    /// Whether the mailbox takes a message now.
    #[inline]
    pub(crate) fn admits(&self, admission: Admission) -> Result<(), TellError> {
        if self.is_full() { self.admits_beyond(admission) } else { Ok(()) }
    }

    #[cold]
    fn admits_beyond(&self, admission: Admission) -> Result<(), TellError> {
        match admission {
            _ if self.is_closed() => Err(TellError::Dead),
            Admission::Bounded => Err(TellError::Full),
            Admission::Always => Ok(()),
        }
    }

    /// Whether the mailbox takes no bounded message now.
    pub(crate) fn is_full(&self) -> bool {
        self.mailbox.is_full()
    }

    /// The messages that wait in the mailbox, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.mailbox.len(), self.mailbox.bytes())
    }

    /// Whether new messages are refused for good.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.orders.get().is_some() || self.phase.get() == Phase::Gone
    }

    /// Puts a message into the mailbox, which [admits](Self::admits) it.
    #[inline]
    pub(crate) fn enqueue(&self, parked: Parked) {
        self.mailbox.push(parked);
        self.enqueued();
    }

    /// Puts a frame that says no more than its header into the mailbox, which [admits](Self::admits) it.
    #[inline(always)]
    pub(crate) fn enqueue_plain(&self, frame: Frame) {
        self.mailbox.push_framed(Framed::Plain(frame));
        self.enqueued();
    }

    /// Puts a message before all others, which is a fault.
    pub(crate) fn jump(&self, parked: Parked) {
        self.mailbox.jump(parked);
        self.enqueued();
    }

    #[inline(always)]
    fn enqueued(&self) {
        if self.phase.get() == Phase::Suspended {
            // It came settled, and all before it were when the actor was suspended.
            self.mailbox.are_settled();
        }
    }

    /// The worker holds a message out to this actor, which has been idle.
    #[inline]
    pub(crate) fn hold_out(&self, place: Place) {
        self.place.set(place);
        self.set(Flags::HELD_OUT, true);
    }

    /// Whether the actor has nothing to do but take the next message.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        self.phase.get() == Phase::Idle
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
            self.mailbox.close();
        }
        if given.is_none_or(|given| urgency(given) < urgency(mode)) {
            self.orders.set(Some(mode));
        }
        self.set(Flags::URGENT, true);
    }

    /// Whether the actor is to end without another step of its own.
    #[inline]
    pub(crate) fn is_killed(&self) -> bool {
        self.orders.get() == Some(StopMode::Kill)
    }

    pub(crate) fn add_turn(&self) {
        self.turns.set(self.turns.get() + 1);
        self.set(Flags::URGENT, true);
    }

    #[inline]
    pub(crate) fn begin_poll(&self) {
        self.phase.set(Phase::Running);
        self.mailbox.begin_poll(MESSAGES_PER_POLL);
    }

    /// A poll has ended, and the actor has something left to do. What it might still have taken then is for others.
    pub(crate) fn end_poll(&self, core: &Core) {
        self.mailbox.end_poll(&core.clock);
        self.set(Flags::HANDED, false);
    }

    /// The actor is to be polled for what waits in its mailbox, and not to go on with the walk.
    pub(crate) fn keep_from_walk(&self) {
        self.set(Flags::HANDED, true);
    }

    /// What to do next; pending while there is nothing. Only the actor's own future asks.
    // What happens with almost every message stands here, and the rest in `poll_signals`.
    #[inline(always)]
    pub(crate) fn poll_signal(&self, core: &Core) -> Poll<Signal> {
        match self.flags.get().0 {
            0 => {}
            Flags::HELD_OUT => {
                // It has been idle, so there is nothing else to look at.
                self.flags.set(Flags(Flags::HANDED));
                return Poll::Ready(Signal::Message(core.walk.in_hand()));
            }
            Flags::HANDED if !self.has_mail() => return self.idle(),
            _ => return self.poll_signals(core),
        }
        debug_assert_eq!(self.place.get(), Place::Next, "who was told of another one has taken it");
        match self.mailbox.front() {
            Some(Front::Alone(message)) => {
                if self.mailbox.begin_batch(&core.clock, u32::MAX) {
                    return Poll::Ready(Signal::Message(message));
                }
                self.poll_signals(core)
            }
            Some(Front::Mark(..)) => self.poll_signals(core),
            None => match self.next_in_walk(core) {
                Some(message) => Poll::Ready(Signal::Message(message)),
                None => self.idle(),
            },
        }
    }

    #[inline(always)]
    fn next_in_walk(&self, core: &Core) -> Option<MessageId> {
        let next = core.next_plain(self)?;
        self.place.set(Place::Walk);
        Some(next)
    }

    #[inline(always)]
    fn idle(&self) -> Poll<Signal> {
        if let Some(extra) = self.known_extra() {
            // What has waited is done with.
            drop(extra.yard.take());
        }
        self.set(Flags::HANDED, false);
        self.phase.set(Phase::Idle);
        // Who puts something in has to see that the actor waits.
        self.mailbox.shut();
        Poll::Pending
    }

    /// Others have their turn first.
    fn yield_now(&self) -> Poll<Signal> {
        self.phase.set(Phase::Ready);
        Poll::Pending
    }

    /// As [`poll_signal`](Self::poll_signal), if there is more to look at.
    #[inline(never)]
    fn poll_signals(&self, core: &Core) -> Poll<Signal> {
        if self.has(Flags::HELD_OUT) {
            self.set(Flags::HELD_OUT, false);
            self.set(Flags::HANDED, true);
            return Poll::Ready(Signal::Message(core.walk.in_hand()));
        }
        // The handler that has inherited anything has ended.
        self.enter_section(None);
        loop {
            match self.orders.get() {
                Some(StopMode::Stop | StopMode::Kill) => return Poll::Ready(Signal::Stop),
                Some(StopMode::Drain) if !self.has_work() => return Poll::Ready(Signal::Stop),
                _ => {}
            }
            if !self.has_work() {
                let next = if self.has(Flags::HANDED) { None } else { self.next_in_walk(core) };
                return next.map_or_else(|| self.idle(), |next| Poll::Ready(Signal::Message(next)));
            }
            let mailbox = &self.mailbox;
            if self.turns.get() > 0 {
                if !mailbox.allows_turn(&core.clock) {
                    return self.yield_now();
                }
                self.turns.set(self.turns.get() - 1);
                self.set(Flags::URGENT, self.turns.get() > 0 || self.orders.get().is_some());
                return Poll::Ready(Signal::Turn);
            }
            let Some(front) = mailbox.front() else { continue };
            // With flags there is something to look at after each message, and what brings more than itself may set one.
            let other = matches!(front, Front::Mark(Mark::Other, _));
            let alone = other || self.flags.get() != Flags(0);
            if !mailbox.begin_batch(&core.clock, if alone { 1 } else { u32::MAX }) {
                return self.yield_now();
            }
            if alone {
                mailbox.end_batch();
            }
            let (message, place) = match front {
                Front::Alone(message) | Front::Mark(Mark::Told, message) if !alone => {
                    (message, Place::Next)
                }
                Front::Alone(message) | Front::Mark(_, message) => (message, Place::Mailbox),
            };
            if let Some(delivery) = mailbox.pop_other() {
                if !is_live(core, &delivery) {
                    mailbox.uncount();
                    refuse_expired(*delivery);
                    core.room_made.set(true);
                    continue;
                }
                core.walk.hold_out_waited(delivery);
                self.place.set(Place::Waited);
            } else {
                self.place.set(place);
            }
            return Poll::Ready(Signal::Message(message));
        }
    }

    /// Gives each frame in the mailbox that has not been settled a place where it may stay.
    #[inline]
    pub(crate) fn settle_mailbox(&self, settle: impl Fn(Frame) -> Frame) {
        self.mailbox.settle(settle);
    }

    fn has_work(&self) -> bool {
        self.turns.get() > 0 || self.has_mail()
    }

    /// Whether messages wait in the mailbox.
    pub(crate) fn has_mail(&self) -> bool {
        !self.mailbox.is_empty()
    }

    /// Whether it holds no memory but its own. What its mailbox had is given back, if nothing waits.
    pub(crate) fn is_bare(&self) -> bool {
        self.mailbox.free();
        self.extra.get().is_none() && !self.mailbox.has_memory()
    }

    /// Where the message is that [`Signal::Message`] speaks of, as [`take_place`](Self::take_place) will say.
    #[inline(always)]
    pub(crate) fn place(&self) -> Place {
        self.place.get()
    }

    /// Where the message is that [`Signal::Message`] speaks of. It is said once.
    #[inline]
    pub(crate) fn take_place(&self) -> Place {
        self.place.replace(Place::Next)
    }

    /// Whether the actor may go on with the walk as soon as it has handled a message.
    #[inline(always)]
    pub(crate) fn may_walk_on(&self) -> bool {
        self.mailbox.is_empty() && self.flags.get() == Flags(0)
    }

    /// Everything that will not be handled any more.
    pub(crate) fn take_leftovers(&self) -> impl Iterator<Item = Parked> + use<> {
        self.mailbox.take_all()
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
        if section.is_some() || self.has(Flags::INHERITS) {
            self.change_section(section);
        }
    }

    #[inline(never)]
    fn change_section(&self, section: Option<Section>) {
        self.set(Flags::INHERITS, section.is_some());
        self.extra().section.replace(section.unwrap_or_default());
    }
}

impl fmt::Debug for ActorCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({:?})", self.name, self.address, self.phase.get())
    }
}
