//! The actors of a worker: their slots, their lives, and how they are polled.

use std::{
    any::type_name,
    cell::{Cell, RefCell},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context as TaskContext, Poll},
};

use annulus_codec::{
    address::{Address, Slot},
    directory::{Directory, Pushed},
    frame::Frame,
    held::Small,
    outbox::Admission,
    passing::Envelope,
};

use crate::{
    actor::{Actor, Exit, StopMode},
    cell::{ActorCell, Life, Phase, Signal},
    contain::{OnDrop, discard, panic_text},
    context::{Context, is_live, refuse_expired},
    core::Core,
    delivery::{Delivery, Section, Source},
    error::{Failure, SpawnError},
    mailbox::{Framed, Parked},
    planted::{Bug, planted},
    protocol::Serve,
    reference::ActorRef,
    tasks::{OwnWaker, Runnable},
};

/// See the [module](self).
pub(crate) struct ActorTable {
    worker: usize,
    max: usize,
    cells: Directory<ActorCell>,
    generation: Cell<u32>,
    /// Cells of actors that have ended. When nobody else holds one its memory is used again.
    old: RefCell<Vec<Rc<ActorCell>>>,
    /// Wakers for polls of actors that have none of their own. One is given to the actor only if the
    /// actor keeps it, that is, if its handler is suspended; so handlers that are not cost no waker.
    /// There are as many as polls within each other; the one that was given back last is the first to be used.
    first_spare: Cell<Option<Rc<OwnWaker>>>,
    spares: RefCell<Vec<Rc<OwnWaker>>>,
}

/// How many cells of actors that have ended are kept at most.
const OLD_CELLS: usize = 1024;

/// References to a waker that nobody has kept: the two in [`OwnWaker`].
const UNSHARED: usize = 2;

impl ActorTable {
    pub(crate) fn new(worker: usize, max: usize) -> Self {
        ActorTable {
            worker,
            max,
            cells: Directory::default(),
            generation: Cell::new(0),
            old: RefCell::default(),
            first_spare: Cell::new(None),
            spares: RefCell::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// The messages that wait in all mailboxes, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let mailboxes = self.iter().map(|cell| cell.waiting());
        mailboxes.fold((0, 0), |sum, mailbox| (sum.0 + mailbox.0, sum.1 + mailbox.1))
    }

    fn iter(&self) -> impl Iterator<Item = Rc<ActorCell>> {
        (0..self.cells.slots()).filter_map(|index| self.cells.at(index))
    }

    #[inline]
    fn take_spare(&self) -> Option<Rc<OwnWaker>> {
        self.first_spare.take().or_else(|| self.spares.borrow_mut().pop())
    }

    #[inline]
    fn put_spare(&self, spare: Rc<OwnWaker>) {
        if let Some(other) = self.first_spare.replace(Some(spare)) {
            self.spares.borrow_mut().push(other);
        }
    }

    #[inline]
    pub(crate) fn find(&self, index: usize, generation: u32) -> Option<Rc<ActorCell>> {
        let cell = self.cells.at(index)?;
        let is_it = cell.address.generation() == generation || planted(Bug::StaleActor);
        is_it.then_some(cell)
    }

    #[inline(always)]
    pub(crate) fn look<T>(
        &self,
        index: usize,
        generation: u32,
        look: impl FnOnce(&Rc<ActorCell>) -> T,
    ) -> Option<T> {
        self.find(index, generation).as_ref().map(look)
    }

    pub(crate) fn all(&self) -> Vec<Rc<ActorCell>> {
        self.iter().collect()
    }

    /// The actor of this node with this address, if it is one of this worker's.
    #[inline(always)]
    pub(crate) fn find_at(&self, address: Address) -> Option<Rc<ActorCell>> {
        self.cells.find(address)
    }

    /// Puts a small told message into the mailbox of the actor of this node with this address, if it is one of this
    /// worker's and its mailbox is open.
    #[inline(always)]
    pub(crate) fn push(&self, to: Address, small: Small) -> Pushed {
        self.cells.push(to, small)
    }

    fn insert<A: Actor>(&self, core: &Core) -> Result<Rc<ActorCell>, SpawnError> {
        if self.cells.len() >= self.max {
            return Err(SpawnError::TooManyActors { max: self.max });
        }
        // Never zero: that is nobody's.
        let generation = self.generation.get().wrapping_add(1).max(1);
        self.generation.set(generation);
        let address = core.address(Slot::new(self.worker, self.cells.next_index()), generation);
        let cell = self.put_into_old(ActorCell::new(address, type_name::<A>(), &A::MAILBOX));
        self.cells.insert(address, cell.clone(), |cell| cell.mailbox.queue());
        Ok(cell)
    }

    /// The cell in memory that another one has had before, if there is any.
    fn put_into_old(&self, cell: ActorCell) -> Rc<ActorCell> {
        let mut old = self.old.borrow_mut();
        if let Some(mut place) = old.pop()
            && let Some(last) = Rc::get_mut(&mut place)
        {
            *last = cell;
            return place;
        }
        Rc::new(cell)
    }

    /// Takes out an actor that has ended. Its memory is kept for another one, if that is worth it.
    fn remove(&self, address: Address) -> bool {
        let Some(cell) = self.cells.remove(address) else { return false };
        let mut old = self.old.borrow_mut();
        if old.len() < OLD_CELLS && cell.is_bare() {
            old.push(cell);
        }
        true
    }
}

impl Core {
    /// Starts an actor on this worker. Its `started` runs later in the turn.
    pub(crate) fn spawn<A: Actor>(
        self: &Rc<Self>,
        actor: A,
    ) -> Result<ActorRef<A::Protocol>, SpawnError> {
        if self.ending.get() {
            return Err(SpawnError::ShuttingDown);
        }
        let cell = self.actors.insert::<A>(self)?;
        self.shared.loads[self.worker()].fetch_add(1, Ordering::Relaxed);
        let context = Context::new(self.clone(), cell.clone());
        cell.life.set(Some(Box::pin(live(actor, context))));
        self.push_ready(Runnable::actor(cell.address));
        Ok(ActorRef::new(cell.address))
    }

    /// Gives a message to an actor of this worker: at once if it is idle, into its mailbox if not.
    #[inline]
    pub(crate) fn deliver_to(
        self: &Rc<Self>,
        cell: &Rc<ActorCell>,
        delivery: Delivery,
        section: Option<Section>,
    ) {
        let delivery = Delivery { section, ..delivery };
        self.make_place(cell);
        if cell.admits(delivery.envelope.admission()).is_err() {
            return self.refuse(cell, delivery);
        }
        let jumps = planted(Bug::JumpMailbox) && cell.phase.get() == Phase::Ready;
        if !(cell.waits() || jumps) || self.clock.is_over() {
            let envelope = self.settle_envelope(cell, delivery.envelope);
            cell.enqueue(Parked::other(Delivery { envelope, ..delivery }));
            return self.nudge(cell);
        }
        if is_live(self, &delivery) {
            self.walk.hold_out(cell, delivery);
            self.poll_actor(cell);
            self.clock.ran(self, cell.name);
        } else {
            refuse_expired(delivery);
        }
    }

    /// Puts a plain frame into an actor's mailbox. It is handled later in the turn, or when the actor is
    /// done with what it does.
    #[inline]
    pub(crate) fn park(&self, cell: &ActorCell, frame: Frame) {
        if cell.admits(Admission::Bounded).is_err() {
            return self.refuse(cell, Self::delivery(Envelope::Frame(frame), None));
        }
        cell.enqueue_plain(self.settle(cell, frame));
        self.nudge(cell);
    }

    /// The actor waits within a handler. That may be for long, and what waits in its mailbox is not to hold on
    /// to whole chunks.
    fn suspend(&self, cell: &ActorCell) {
        cell.phase.set(Phase::Suspended);
        cell.settle_mailbox(|frame| self.settle(cell, frame));
    }

    /// The frame as it waits in the mailbox. While a handler is suspended that may be for long, and it is not
    /// to hold on to a whole chunk.
    #[inline(always)]
    pub(crate) fn settle(&self, cell: &ActorCell, frame: Frame) -> Frame {
        if cell.phase.get() != Phase::Suspended {
            return frame;
        }
        self.settle_now(cell, frame)
    }

    #[cold]
    #[inline(never)]
    fn settle_now(&self, cell: &ActorCell, frame: Frame) -> Frame {
        cell.extra().yard.borrow_mut().park(frame, &self.pool)
    }

    /// As [`settle`](Self::settle), for a message in any form.
    #[inline]
    pub(crate) fn settle_envelope(&self, cell: &ActorCell, envelope: Envelope) -> Envelope {
        match envelope {
            Envelope::Frame(frame) => Envelope::Frame(self.settle(cell, frame)),
            other => other,
        }
    }

    /// Lets an actor run whose mailbox is full, if its messages wait for nothing but its turn. Returns
    /// whether it has run.
    pub(crate) fn make_place(self: &Rc<Self>, cell: &Rc<ActorCell>) -> bool {
        let runs = cell.is_full() && cell.phase.get() == Phase::Ready;
        if runs {
            // The message that is to have the place comes before what is left of the walk.
            cell.keep_from_walk();
            self.poll_actor(cell);
            self.clock.ran(self, cell.name);
        }
        runs
    }

    fn refuse(&self, cell: &ActorCell, delivery: Delivery) {
        if cell.is_closed() {
            self.refuse_dead(delivery);
        } else {
            self.refuse_overflow(cell, delivery);
        }
    }

    fn refuse_overflow(&self, cell: &ActorCell, delivery: Delivery) {
        self.dead_letters.overflowed(cell.address, delivery.envelope.header().message);
        if let Some(reply_to) = delivery.reply_to {
            reply_to.fail(Failure::Overloaded);
        }
        discard("a message", delivery.envelope);
    }

    /// Gives an actor the message of one of its timers. The mailbox's limits do not hold for these:
    /// each timer has one message in it at most.
    pub(crate) fn deliver_alarm(self: &Rc<Self>, cell: &Rc<ActorCell>, delivery: Delivery) {
        if cell.is_closed() {
            return;
        }
        cell.enqueue(Parked::other(delivery));
        if cell.phase.get() == Phase::Idle {
            self.poll_actor(cell);
        }
    }

    /// Nobody will handle the message: a dead letter, and a failure for its asker.
    pub(crate) fn refuse_dead(&self, delivery: Delivery) {
        let header = delivery.envelope.header();
        self.dead_letters.to_the_dead(header.slot, header.message);
        if let Some(reply_to) = delivery.reply_to {
            reply_to.fail(Failure::Dead);
        }
        discard("a message", delivery.envelope);
    }

    /// Runs an actor until it has nothing to do, is suspended, or has had its share of the turn.
    pub(crate) fn poll_actor(self: &Rc<Self>, cell: &Rc<ActorCell>) {
        let Some(mut life) = cell.life.take() else {
            return;
        };
        if cell.is_killed() {
            return self.end_actor(cell, Some(life), Exit::Killed);
        }
        cell.begin_poll();
        let (taken, handled) = (cell.mailbox.taken(), self.messages_handled.get());
        let before = self.set_running(cell.address);
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll_life(cell, &mut life)));
        self.set_running(before);
        // What came out of the mailbox is counted here; the rest where it is taken.
        let taken = cell.mailbox.taken().wrapping_sub(taken);
        self.messages_handled.set(self.messages_handled.get() + u64::from(taken));
        if self.messages_handled.get() != handled {
            self.room_made.set(true);
        }
        match polled {
            Ok(Poll::Pending) if cell.is_killed() => {
                self.end_actor(cell, Some(life), Exit::Killed);
            }
            Ok(Poll::Pending) => {
                cell.life.set(Some(life));
                match cell.phase.get() {
                    Phase::Running => {
                        cell.end_poll(self);
                        self.suspend(cell);
                    }
                    Phase::Ready => {
                        cell.end_poll(self);
                        self.push_ready(Runnable::actor(cell.address));
                    }
                    Phase::Idle | Phase::Suspended | Phase::Gone => {}
                }
            }
            Ok(Poll::Ready(exit)) => self.end_actor(cell, Some(life), exit),
            Err(panic) => {
                tracing::error!(
                    target: "annulus",
                    actor = cell.name,
                    address = ?cell.address,
                    panic = panic_text(&panic),
                    "an actor panicked and is stopped"
                );
                self.end_actor(cell, Some(life), Exit::Panicked);
            }
        }
    }

    fn poll_life(&self, cell: &ActorCell, life: &mut Life) -> Poll<Exit> {
        let target = Runnable::actor(cell.address);
        if let Some(extra) = cell.known_extra()
            && let Some(own) = &*extra.waker.borrow()
        {
            own.wake.disarm();
            return self.poll_as(target, own, life.as_mut());
        }
        let own = self
            .actors
            .take_spare()
            .unwrap_or_else(|| Rc::new(OwnWaker::new(target, self.entry())));
        own.wake.retarget(target);
        let polled = self.poll_as(target, &own, life.as_mut());
        if Arc::strong_count(&own.wake) > UNSHARED {
            // Somebody keeps a clone: from now on this is the waker of this actor.
            cell.extra().waker.replace(Some(own));
        } else {
            self.actors.put_spare(own);
        }
        polled
    }

    /// Polls a future of an actor or a task.
    #[inline]
    pub(crate) fn poll_as<T>(
        &self,
        target: Runnable,
        own: &OwnWaker,
        future: Pin<&mut dyn Future<Output = T>>,
    ) -> Poll<T> {
        let outer = self.polled.replace(Some((target, own.waker.data())));
        // However the poll ends.
        let _outer = OnDrop(|| self.polled.set(outer));
        future.poll(&mut TaskContext::from_waker(&own.waker))
    }

    /// An actor's waker has fired, or it has more to do.
    pub(crate) fn resume_actor(self: &Rc<Self>, index: u32, generation: u32) {
        let Some(cell) = self.actors.find(index as usize, generation) else {
            return;
        };
        match cell.phase.get() {
            Phase::Ready | Phase::Suspended => {
                self.poll_actor(&cell);
                self.clock.ran(self, cell.name);
            }
            // A late wake of a future that has ended: there is nothing to do.
            Phase::Idle | Phase::Running | Phase::Gone => {}
        }
    }

    /// Makes an idle actor look at its orders and turns.
    pub(crate) fn nudge(&self, cell: &ActorCell) {
        if cell.phase.get() == Phase::Idle {
            cell.phase.set(Phase::Ready);
            self.push_ready(Runnable::actor(cell.address));
        }
    }

    /// Orders an actor of this worker to end. It does so at its next turn, so that nothing of it is dropped while its
    /// caller runs; new messages are refused from now on. System actors end with their worker only. Returns
    /// whether the actor is there.
    pub(crate) fn order_actor(&self, actor: Address, mode: StopMode) -> bool {
        let index = actor.slot().index();
        let Some(cell) = self.actors.find(index, actor.generation()) else { return false };
        if index < self.shared.system_actors(self.worker()) {
            return true;
        }
        cell.order(mode);
        match cell.phase.get() {
            Phase::Suspended if mode == StopMode::Kill => {
                self.push_ready(Runnable::actor(cell.address));
            }
            _ => self.nudge(&cell),
        }
        true
    }

    /// Ends an actor of this worker at once.
    pub(crate) fn kill_actor(self: &Rc<Self>, cell: &Rc<ActorCell>) {
        cell.order(StopMode::Kill);
        if !matches!(cell.phase.get(), Phase::Running | Phase::Gone) {
            let life = cell.life.take();
            self.end_actor(cell, life, Exit::Killed);
        }
    }

    /// What waits in the mailbox of an actor that has ended is for nobody.
    fn refuse_leftovers(&self, cell: &ActorCell) {
        for parked in cell.take_leftovers() {
            let delivery = match parked {
                Parked::Told(small) => {
                    self.dead_letters.to_the_dead(cell.address.slot(), small.message());
                    continue;
                }
                Parked::Framed(Framed::Plain(frame)) => {
                    Self::delivery(Envelope::Frame(frame), None)
                }
                Parked::Framed(Framed::Other(delivery)) => *delivery,
            };
            if let Some(Source::Watch(watch)) = delivery.source {
                self.watches.dropped(watch);
            }
            self.refuse_dead(delivery);
        }
    }

    fn end_actor(self: &Rc<Self>, cell: &Rc<ActorCell>, life: Option<Life>, exit: Exit) {
        if !self.actors.remove(cell.address) {
            return;
        }
        self.shared.loads[self.worker()].fetch_sub(1, Ordering::Relaxed);
        cell.phase.set(Phase::Gone);
        cell.mailbox.close();
        // Who waits for room in it learns that there will be none.
        self.room_made.set(true);
        // What destructors tell is not told by whoever waits for this actor to be polled.
        let running = self.set_running(self.home());
        let before = self.burying.replace(true);
        // The actor's own destructor runs first: whoever waits for its end finds everything released.
        discard(cell.name, life);
        let tasks = cell.known_extra().map(|extra| extra.tasks.take());
        for task in tasks.into_iter().flatten() {
            discard("a task", self.tasks.remove(task));
        }
        self.burying.set(before);
        self.cancel_alarms_of(cell);
        if cell.has_mail() {
            self.refuse_leftovers(cell);
        }
        drop(cell.known_extra().map(|extra| extra.waker.take()));
        cell.close(exit);
        self.end_watches(cell, exit);
        self.set_running(running);
        tracing::trace!(target: "annulus", actor = cell.name, address = ?cell.address, %exit, "ended");
    }
}

/// Starts an actor on the worker that calls this.
///
/// # Errors
/// If the worker has too many actors, or the node shuts down.
///
/// # Panics
/// On a thread that is no worker; use [`Node::spawn`](crate::Node::spawn) there.
pub fn spawn<A: Actor>(actor: A) -> Result<ActorRef<A::Protocol>, SpawnError> {
    let core = Core::current().expect("`spawn` is called on a worker");
    core.spawn(actor)
}

/// The whole life of an actor: one future that owns it, allocated once. Handlers are polled inside of
/// it, so a suspended handler needs no memory of its own.
async fn live<A: Actor>(mut actor: A, mut context: Context<A>) -> Exit {
    actor.started(&mut context).await;
    loop {
        match context.next_signal().await {
            Signal::Message(found) => {
                <A::Protocol as Serve<A>>::serve(&mut actor, found, &mut context).await;
            }
            Signal::Turn => context.run_turn(&mut actor),
            Signal::Stop => break,
        }
    }
    context.close_turns();
    actor.stopped(&mut context).await;
    Exit::Stopped
}

/// A future that ends when an actor of this worker has ended.
pub(crate) struct Ended(pub(crate) Rc<ActorCell>);

impl Future for Ended {
    type Output = Exit;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Exit> {
        self.0.poll_exit(context.waker())
    }
}
