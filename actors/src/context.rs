//! What a handler can do besides looking at its message.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use annulus_codec::{
    address::Address,
    archive::{AccessError, Archivable},
    frame::{Frame, Header, Kind},
    held::Small,
    message::Message,
    outbox::{PushError, archive_alone},
    passing::{Envelope, Passing},
    queue::Front,
};
use annulus_transport::driver::Mono;

use crate::{
    actor::{Actor, StopMode},
    cell::{ActorCell, Phase, Place, Signal},
    contain::{discard, wake},
    core::Core,
    delivery::{Content, Delivery, Origin, Source},
    error::{Failure, SpawnError},
    mailbox::{Framed, Parked},
    message::{Later, Msg, Reply, Responder},
    protocol::Accepts,
    reference::ActorRef,
    respond::ReplyTo,
    timers::{Sleep, TimerHandle, sleep},
    walk::Carrier,
};

type Turn<A> = Box<dyn FnOnce(&mut A, &mut Context<A>)>;

/// The shortest time between two ticks of a timer: about the resolution of the timer wheel.
const SHORTEST_PERIOD: Duration = Duration::from_micros(100);

/// There is no such message now.
struct Nothing;

/// Sections that an actor's tasks have asked for.
type Turns<A> = Rc<RefCell<VecDeque<Turn<A>>>>;

/// An actor's view of its worker.
pub struct Context<A: Actor> {
    core: Rc<Core>,
    cell: Rc<ActorCell>,
    /// Who waits for the handler that runs now.
    pub(crate) reply_to: Option<ReplyTo>,
    /// Made with the first task.
    turns: Option<Turns<A>>,
}

impl<A: Actor> Context<A> {
    pub(crate) fn new(core: Rc<Core>, cell: Rc<ActorCell>) -> Self {
        Context { core, cell, reply_to: None, turns: None }
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    pub(crate) fn cell(&self) -> &Rc<ActorCell> {
        &self.cell
    }

    pub(crate) fn address(&self) -> Address {
        self.cell.address
    }

    /// A reference to this actor.
    pub fn me(&self) -> ActorRef<A::Protocol> {
        ActorRef::new(self.cell.address)
    }

    /// Stops this actor after the handler that runs now.
    pub fn stop(&mut self) {
        self.cell.order(StopMode::Stop);
    }

    /// Stops this actor after everything that waits in its mailbox now.
    pub fn drain(&mut self) {
        self.cell.order(StopMode::Drain);
    }

    /// Starts an actor on this worker.
    ///
    /// # Errors
    /// If the worker has too many actors, or the node shuts down.
    pub fn spawn<B: Actor>(&mut self, actor: B) -> Result<ActorRef<B::Protocol>, SpawnError> {
        self.core.spawn(actor)
    }

    /// Waits.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        sleep(duration)
    }

    /// The time of the worker's monotonic clock, as of the start of its turn.
    pub fn now(&self) -> Mono {
        self.core.now()
    }

    /// How long whoever asked still waits for the handler that runs now; `None` if that is not known.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let deadline = self.cell.section()?.deadline?;
        Some(deadline.since(self.core.now()))
    }

    /// Random bytes that nobody can guess.
    pub fn random(&self, out: &mut [u8]) {
        self.core.io.entropy(out);
    }

    /// The number of the worker that this actor lives on.
    pub fn worker(&self) -> usize {
        self.core.worker()
    }

    /// The name of the node that this actor lives on.
    pub fn node_name(&self) -> &str {
        &self.core.shared.name
    }

    /// Sends this actor a message after `delay`.
    ///
    /// # Errors
    /// If the message is too large, or the worker has a million timers of this kind.
    pub fn after<M, I>(&mut self, delay: Duration, message: &M) -> Result<TimerHandle, PushError>
    where
        M: Archivable,
        A::Protocol: Accepts<M, I>,
    {
        self.set_timer(delay, None, message)
    }

    /// Sends this actor a message every `period`, for the first time after one period. A tick that
    /// comes while the one before has not been handled yet is left out. A period below 0.1 ms counts
    /// as 0.1 ms.
    ///
    /// # Errors
    /// If the message is too large, or the worker has a million timers of this kind.
    pub fn every<M, I>(&mut self, period: Duration, message: &M) -> Result<TimerHandle, PushError>
    where
        M: Archivable,
        A::Protocol: Accepts<M, I>,
    {
        let period = period.max(SHORTEST_PERIOD);
        self.set_timer(period, Some(period), message)
    }

    fn set_timer<M: Archivable>(
        &mut self,
        delay: Duration,
        period: Option<Duration>,
        message: &M,
    ) -> Result<TimerHandle, PushError> {
        let Self { core, cell, .. } = self;
        let (slot, generation) = (cell.address.slot(), cell.address.generation());
        let header = Header::new(Kind::Timer, slot, generation, M::ID, 0);
        let frame = archive_alone(header, message, core.limits().max_payload)?;
        let alarm = core.set_alarm(cell.clone(), frame, delay, period);
        let key = alarm.ok_or(PushError::Full)?;
        Ok(TimerHandle { key, worker: self.core.worker() })
    }

    /// Leaves the answer to the ask that is being handled for later. Return the [`Later`] from the
    /// handler, and use the [`Responder`] when the answer is known.
    pub fn defer<M: Message>(&mut self, _: &Msg<M>) -> (Later, Responder<M::Reply>) {
        (Later(()), Responder::new(self.reply_to.take()))
    }

    /// Starts a task of this actor: a future that runs beside the handlers, and is dropped when the
    /// actor ends. It reaches the actor's state through [`Access::with`], between two messages.
    pub fn task<F, T>(&mut self, task: F)
    where
        F: FnOnce(Access<A>) -> T,
        T: Future<Output = ()> + 'static,
    {
        let turns = self.turns.get_or_insert_default().clone();
        let access = Access { cell: self.cell.clone(), turns };
        let key = self.core.spawn_owned(task(access));
        let mut tasks = self.cell.extra().tasks.borrow_mut();
        if tasks.len() == tasks.capacity() {
            // Those that have ended go when the list would grow, so the cost is constant on average.
            tasks.retain(|task| self.core.tasks.contains(*task));
            let living = tasks.len();
            tasks.reserve(living + 1);
        }
        tasks.push(key);
    }

    pub(crate) fn next_signal(&mut self) -> impl Future<Output = Signal> {
        self.reply_to = None;
        let (core, cell) = (&self.core, &self.cell);
        poll_fn(move |_| cell.poll_signal(core))
    }

    /// Takes the message that is to be handled now; or another one of the kind that has just been handled, if
    /// there is one and nothing else comes first.
    //
    // Where it is, and what takes it:
    //
    // - in a batch of the mailbox, by itself: `pop_told`; in a frame: `take_told_frame`;
    // - one more in the walk: `take_next_of_walk`;
    // - held out as an ask without a frame: `take_small`;
    // - anywhere else, or in another form than most messages of its type: `take_message`, which is a function of its own.
    #[inline(always)]
    pub(crate) fn next_message<M: Message>(&mut self) -> Option<Msg<M>> {
        // While a batch goes on there are no flags, and nothing is inherited.
        if let Some(told) = self.cell.mailbox.pop_told::<M>() {
            return Some(Msg::new(told));
        }
        match self.cell.place() {
            Place::Small => self.take_small(),
            Place::Next if !self.cell.mailbox.is_in_batch() => self.take_next_of_walk(),
            Place::Next if !M::Passing::IS_SMALL => match self.take_told_frame::<M>() {
                Some(told) => told.ok(),
                None => self.take_message().ok(),
            },
            _ => self.take_message().ok(),
        }
    }

    /// Takes the next message of the batch, if it is one more of those that have just been handled, in a frame.
    #[inline(always)]
    fn take_told_frame<M: Message>(&mut self) -> Option<Result<Msg<M>, Nothing>> {
        let frame = self.cell.mailbox.pop_told_frame::<M>()?;
        Some(self.open_plain(frame))
    }

    /// Opens a frame of this node.
    #[inline(always)]
    fn open_plain<M: Message>(&mut self, frame: Frame) -> Result<Msg<M>, Nothing> {
        match M::Passing::open_own(frame) {
            Ok(opened) => Ok(Msg::new(opened)),
            Err(frame) => self.opened(M::Passing::open(Envelope::Frame(frame))),
        }
    }

    /// Takes the ask without a frame that the worker holds out.
    #[inline(always)]
    fn take_small<M: Message>(&mut self) -> Option<Msg<M>> {
        self.cell.take_place();
        let opened = M::Passing::open_small(&self.begin_small());
        self.opened(opened).ok()
    }

    #[inline(always)]
    fn opened<M: Message>(
        &mut self,
        opened: Result<Carrier<M>, AccessError>,
    ) -> Result<Msg<M>, Nothing> {
        match opened {
            Ok(carrier) => Ok(Msg::new(carrier)),
            Err(error) => {
                self.refuse_invalid(M::NAME, &error);
                Err(Nothing)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn refuse_invalid(&mut self, message: &'static str, error: &AccessError) {
        self.core.dead_letters.invalid(message, error);
        self.answer_failure(Failure::Invalid);
    }

    /// The next message, wherever it is.
    // No part of the loop of `serve`, so that what comes out of the mailbox is handled without a look at how else
    // it might have come. It returns no option: the caller's would be written here then, and what comes out of the
    // mailbox would have to go through memory, too.
    #[inline(never)]
    fn take_message<M: Message>(&mut self) -> Result<Msg<M>, Nothing> {
        let opened = match self.cell.take_place() {
            Place::Next => return self.take_odd(),
            Place::Walk => {
                self.count_handled();
                // What is told most often, without a look at all of its header.
                if let Some(told) = self.core.walk.take_told_for::<M>(&self.cell) {
                    self.cell.enter_section(None);
                    return Ok(Msg::new(told));
                }
                let (header, opened) = self.core.walk.take_next::<M>().ok_or(Nothing)?;
                self.begin_plain(&header);
                opened
            }
            Place::Mailbox => return self.take_waiting(),
            Place::Small => return self.take_small().ok_or(Nothing),
            Place::Hand => self.begin_in_hand().ok_or(Nothing)?.open::<M>(),
            Place::Waited => self.begin_waited().ok_or(Nothing)?.open::<M>(),
        };
        self.opened(opened)
    }

    /// Takes the next message of the walk, if it is one more of those that have just been handled, and nothing else
    /// comes first.
    #[inline(always)]
    fn take_next_of_walk<M: Message>(&mut self) -> Option<Msg<M>> {
        let (core, cell) = (&self.core, &self.cell);
        if !core.walk.is_walking() || !cell.may_walk_on() || !core.clock.allows() {
            return None;
        }
        let told = core.walk.take_told_for::<M>(cell)?;
        self.count_handled();
        Some(Msg::new(told))
    }

    /// Takes the next message of the batch, if it is one of these in a form that they seldom have.
    fn take_odd<M: Message>(&mut self) -> Result<Msg<M>, Nothing> {
        // A small one may say that it is one of these, and not be.
        let is_false = self.cell.mailbox.front() == Some(Front::Alone(M::ID));
        match self.take_told_frame() {
            Some(told) => told,
            None if is_false => self.take_waiting(),
            None => Err(Nothing),
        }
    }

    /// The message at the front of the mailbox, which brings no more than itself. Each kind takes its own way, so that
    /// it does not have to be put together in one form first.
    #[inline(always)]
    fn take_waiting<M: Message>(&mut self) -> Result<Msg<M>, Nothing> {
        if let Some(frame) = self.cell.mailbox.pop_plain() {
            self.begin_plain(&frame.header());
            return self.open_plain(frame);
        }
        let small = self.cell.mailbox.pop_small().ok_or(Nothing)?;
        self.cell.enter_section(None);
        self.opened(M::Passing::open_small(&small))
    }

    #[inline]
    fn begin_plain(&mut self, header: &Header) {
        self.cell.enter_section(None);
        self.reply_to = ReplyTo::of_plain(header);
    }

    /// The message that the worker holds out.
    fn begin_in_hand(&mut self) -> Option<Content> {
        self.count_handled();
        let (envelope, reply_to) = self.core.walk.take_in_hand()?;
        // What the handler inherits has been noted.
        self.reply_to = reply_to;
        Some(Content::Envelope(envelope))
    }

    /// The message that has waited in the mailbox, and brings more than itself.
    fn begin_waited(&mut self) -> Option<Content> {
        let delivery = self.core.walk.take_waited()?;
        Some(self.begin_delivery(*delivery))
    }

    /// The ask that has no frame. What its handler inherits has been noted.
    #[inline(always)]
    fn begin_small(&mut self) -> Small {
        self.count_handled();
        let (small, correlation) = self.core.walk.small();
        self.reply_to = Some(ReplyTo::new(Origin::Local, correlation));
        small
    }

    /// The message at the front of the mailbox, in whatever form. Those are counted when they have been taken out.
    fn begin_parked(&mut self) -> Option<Content> {
        Some(match self.cell.mailbox.pop()? {
            Parked::Told(small) => {
                self.cell.enter_section(None);
                Content::Small(small)
            }
            Parked::Framed(Framed::Plain(frame)) => {
                self.begin_plain(&frame.header());
                Content::Envelope(Envelope::Frame(frame))
            }
            Parked::Framed(Framed::Other(delivery)) => self.begin_delivery(*delivery),
        })
    }

    fn begin_delivery(&mut self, delivery: Delivery) -> Content {
        self.cell.enter_section(delivery.section);
        self.reply_to = delivery.reply_to;
        Content::Envelope(delivery.envelope)
    }

    /// The message that was to be handled now is none that the actor takes.
    pub(crate) fn refuse_message(&mut self, failure: Failure) {
        let handled = self.core.messages_handled.get();
        let content = match self.cell.take_place() {
            Place::Walk => {
                if let Some((header, _)) = self.core.walk.take_next::<()>() {
                    self.begin_plain(&header);
                }
                None
            }
            Place::Next | Place::Mailbox => self.take_out(Self::begin_parked),
            Place::Waited => self.take_out(Self::begin_waited),
            Place::Small => Some(Content::Small(self.begin_small())),
            Place::Hand => self.begin_in_hand(),
        };
        self.core.messages_handled.set(handled);
        discard("a message", content);
        self.core.room_made.set(true);
        self.answer_failure(failure);
    }

    /// Takes something that was in the mailbox, and is not handled.
    fn take_out(&mut self, take: impl FnOnce(&mut Self) -> Option<Content>) -> Option<Content> {
        let content = take(self)?;
        self.cell.mailbox.uncount();
        Some(content)
    }

    #[inline(always)]
    pub(crate) fn answer<R: Message>(&mut self, reply: Reply<R>) {
        // Told, mostly.
        if self.reply_to.is_none() {
            return;
        }
        let Some(reply_to) = &mut self.reply_to else { return };
        if let Reply::Value(value) = &reply
            && let Some(small) = <R::Passing as Passing<R>>::as_small(value)
            && let Some(correlation) = reply_to.close_here(self.core.worker())
        {
            self.core.answer_small(correlation, small);
        } else {
            reply_to.answer(reply);
        }
        self.reply_to = None;
    }

    fn answer_failure(&mut self, failure: Failure) {
        if let Some(reply_to) = self.reply_to.take() {
            reply_to.fail(failure);
        }
    }

    fn count_handled(&self) {
        self.core.messages_handled.set(self.core.messages_handled.get() + 1);
    }

    /// The actor is about to stop: no section runs any more, and those who wait for one learn it.
    pub(crate) fn close_turns(&mut self) {
        self.cell.enter_section(None);
        self.cell.closed_to_turns.set(true);
        self.drop_turns();
    }

    /// Tasks that wait for their sections learn that there will be none.
    fn drop_turns(&mut self) {
        let turns = self.turns.as_ref().map(|turns| turns.take());
        drop(turns);
    }

    pub(crate) fn run_turn(&mut self, actor: &mut A) {
        self.cell.enter_section(None);
        let turn = self.turns.as_ref().and_then(|turns| turns.borrow_mut().pop_front());
        if let Some(turn) = turn {
            turn(actor, self);
        }
    }
}

/// Whether a message is still wanted now that it is at the front: a cancelled timer's is not, nor that
/// of a watch that is over, nor an ask that its asker has given up.
#[inline]
pub(crate) fn is_live(core: &Core, delivery: &Delivery) -> bool {
    match delivery.source {
        Some(Source::Alarm(alarm)) => return core.accept_alarm(alarm),
        Some(Source::Watch(watch)) => return core.accept_down(watch),
        None => {}
    }
    let expired = delivery
        .section
        .as_ref()
        .and_then(|section| section.deadline)
        .is_some_and(|deadline| core.now() >= deadline);
    !(expired && delivery.reply_to.is_some())
}

impl<A: Actor> Drop for Context<A> {
    fn drop(&mut self) {
        self.drop_turns();
    }
}

impl<A: Actor> fmt::Debug for Context<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?})", self.cell)
    }
}

/// A task's way to its actor's state.
pub struct Access<A: Actor> {
    cell: Rc<ActorCell>,
    turns: Turns<A>,
}

impl<A: Actor> Clone for Access<A> {
    fn clone(&self) -> Self {
        Access { cell: self.cell.clone(), turns: self.turns.clone() }
    }
}

impl<A: Actor> Access<A> {
    /// A reference to the actor.
    pub fn me(&self) -> ActorRef<A::Protocol> {
        ActorRef::new(self.cell.address)
    }

    /// Runs `section` with the actor, between two of its messages, and gives back what it returns.
    /// Sections and handlers never run at the same time: while a handler is suspended this waits.
    ///
    /// # Errors
    /// [`ActorGone`] if the actor ends first.
    pub fn with<T: 'static>(
        &self,
        section: impl FnOnce(&mut A, &mut Context<A>) -> T + 'static,
    ) -> With<T> {
        let slot = Rc::new(Slot { result: RefCell::new(None), waker: RefCell::new(None) });
        let with = With { slot: slot.clone(), here: PhantomData };
        let fill = Fill(slot);
        if self.cell.closed_to_turns.get() || self.cell.phase.get() == Phase::Gone {
            return with;
        }
        self.turns.borrow_mut().push_back(Box::new(move |actor, context| {
            let result = section(actor, context);
            fill.0.result.replace(Some(result));
        }));
        self.cell.add_turn();
        Core::with(|core| core.nudge(&self.cell));
        with
    }
}

impl<A: Actor> fmt::Debug for Access<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({:?})", self.cell)
    }
}

struct Slot<T> {
    result: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

/// Wakes the task when the section has run, or will never run.
struct Fill<T>(Rc<Slot<T>>);

impl<T> Drop for Fill<T> {
    fn drop(&mut self) {
        if let Some(waker) = self.0.waker.take() {
            wake(waker);
        }
    }
}

/// The actor ended before the section could run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActorGone;

impl fmt::Display for ActorGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the actor has ended")
    }
}

impl std::error::Error for ActorGone {}

/// A section that has been asked for. See [`Access::with`].
pub struct With<T> {
    slot: Rc<Slot<T>>,
    here: PhantomData<Rc<()>>,
}

impl<T> Future for With<T> {
    type Output = Result<T, ActorGone>;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.slot.result.take() {
            return Poll::Ready(Ok(result));
        }
        // Nobody else holds the slot: the section was dropped without being run.
        if Rc::strong_count(&self.slot) == 1 {
            return Poll::Ready(Err(ActorGone));
        }
        self.slot.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl<T> fmt::Debug for With<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "With")
    }
}

/// Tells an asker why nothing came of a message that was not live any more.
pub(crate) fn refuse_expired(delivery: Delivery) {
    if let Some(reply_to) = delivery.reply_to {
        reply_to.fail(Failure::Expired);
    }
    discard("a message", delivery.envelope);
}
