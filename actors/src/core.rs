//! What a worker consists of, and how messages move on it.
//!
//! One [`Core`] belongs to one thread. Actors, references and futures find the core of the worker that
//! runs them through a thread-local handle, which the worker sets for the time of a turn.
//!
//! No borrow of a core's parts is ever held while code of the user runs: handlers, destructors and
//! wakers may all come back in here.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::Waker,
};

use annulus_codec::{
    address::{Address, NodeId, Slot},
    chunk::ChunkPool,
    extension::Extensions,
    frame::{Frame, FrameReader, Header, Kind},
    message::Message,
    outbox::{Admission, Destination, Outbox, PushError},
    passing::{Envelope, Passing},
};
use annulus_transport::{driver::Mono, io::Io, scoped::Scoped};

use crate::{
    actors::ActorTable,
    ask_table::{AskTable, asking_worker},
    broadcast::Audiences,
    cell::ActorCell,
    clock::TurnClock,
    config::Limits,
    contain::wake,
    datagram::Datagrams,
    dead_letters::DeadLetters,
    delivery::{Content, Delivery, Origin, Peer, Section},
    entry::Entry,
    error::{Failure, TellError},
    lanes::Lanes,
    link::{Link, Links},
    message::Msg,
    node::NodeShared,
    planted::{Bug, planted},
    protocol::Accepts,
    reference::ActorRef,
    respond::ReplyTo,
    session::LiveSessions,
    tasks::{Runnable, TaskTable},
    timers::Timers,
    walk::Walk,
    watch::Watches,
};

thread_local! {
    /// The core whose turn it is on this thread.
    static CURRENT: Scoped<Rc<Core>> = const { Scoped::new() };
}

/// Frames that came in over a link and have not been walked yet.
pub(crate) struct Inbound {
    pub(crate) frames: FrameReader,
    pub(crate) link: Rc<Link>,
}

/// See the [module](self).
pub(crate) struct Core {
    worker: usize,
    /// An address on this worker.
    home: Address,
    pub(crate) shared: Arc<NodeShared>,
    pub(crate) io: Io,
    pub(crate) pool: ChunkPool,
    now: Cell<Mono>,
    /// Where messages for this worker are archived, one at a time.
    pub(crate) alone: RefCell<Outbox>,
    pub(crate) audiences: Audiences,
    pub(crate) inbound: RefCell<VecDeque<Inbound>>,
    pub(crate) walk: Walk,
    pub(crate) clock: TurnClock,
    pub(crate) lanes: Lanes,
    pub(crate) links: Links,
    pub(crate) sessions: LiveSessions,
    pub(crate) datagrams: Datagrams,
    pub(crate) actors: ActorTable,
    pub(crate) tasks: TaskTable,
    pub(crate) ready: RefCell<VecDeque<Runnable>>,
    pub(crate) asks: AskTable,
    pub(crate) timers: Timers,
    pub(crate) watches: Watches,
    pub(crate) dead_letters: DeadLetters,
    /// The actor whose handler is being polled; the worker's own address, which is no actor's, if there is none.
    running: Cell<Address>,
    /// The actor or task that is being polled, and the data pointer of the waker that it is polled with.
    pub(crate) polled: Cell<Option<(Runnable, *const ())>>,
    /// Those who wait for room in some queue.
    waiting_for_room: RefCell<Vec<Waker>>,
    /// The most message memory that was taken when one of them began to wait: they may wait for that.
    taken_at_wait: Cell<usize>,
    /// Whether some queue has been emptied a little since they were last woken.
    pub(crate) room_made: Cell<bool>,
    pub(crate) messages_handled: Cell<u64>,
    /// An actor that has ended is being dropped, and all that it owes with it.
    pub(crate) burying: Cell<bool>,
    /// No more actors are started.
    pub(crate) ending: Cell<bool>,
    /// The turn that runs is the last one.
    pub(crate) ended: Cell<bool>,
}

impl Core {
    pub(crate) fn new(
        worker: usize,
        shared: Arc<NodeShared>,
        io: Io,
        lanes: impl FnOnce(&ChunkPool) -> Lanes,
    ) -> Rc<Self> {
        let limits = shared.limits;
        let pool = ChunkPool::new(limits.chunk_size, limits.free_chunks, limits.message_memory);
        let now = io.now();
        let home = Address::new(shared.id, shared.incarnation_tag, Slot::new(worker, 0), 0);
        Rc::new(Core {
            worker,
            home,
            alone: RefCell::new(Outbox::new(Destination::Here, limits.outbox(), pool.clone())),
            lanes: lanes(&pool),
            pool,
            now: Cell::new(now),
            audiences: Audiences::default(),
            inbound: RefCell::default(),
            walk: Walk::default(),
            clock: TurnClock::new(now),
            links: Links::default(),
            sessions: LiveSessions::default(),
            datagrams: Datagrams::default(),
            actors: ActorTable::new(worker, limits.actors),
            tasks: TaskTable::default(),
            ready: RefCell::default(),
            asks: AskTable::default(),
            timers: Timers::new(now),
            watches: Watches::default(),
            dead_letters: DeadLetters::default(),
            running: Cell::new(home),
            polled: Cell::new(None),
            waiting_for_room: RefCell::default(),
            taken_at_wait: Cell::new(0),
            room_made: Cell::new(false),
            messages_handled: Cell::new(0),
            burying: Cell::new(false),
            ending: Cell::new(false),
            ended: Cell::new(false),
            shared,
            io,
        })
    }

    /// Makes this the thread's current core while `run` runs.
    pub(crate) fn enter<T>(self: &Rc<Self>, run: impl FnOnce() -> T) -> T {
        CURRENT.with(|current| current.lend(self, run))
    }

    /// Looks at the current core, if the thread is a worker.
    #[inline]
    pub(crate) fn try_with<T>(look: impl FnOnce(&Rc<Core>) -> T) -> Option<T> {
        Scoped::with(&CURRENT, look)
    }

    /// Does something on the current core, if the thread is a worker; nothing otherwise.
    #[inline]
    pub(crate) fn with(act: impl FnOnce(&Rc<Core>)) {
        Self::try_with(act);
    }

    /// The current core.
    pub(crate) fn current() -> Option<Rc<Core>> {
        Self::try_with(Rc::clone)
    }

    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// An address on this worker.
    pub(crate) fn home(&self) -> Address {
        self.home
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.shared.entries[self.worker]
    }

    /// The time as of the start of the turn, or of the last message of a long one.
    #[inline]
    pub(crate) fn now(&self) -> Mono {
        self.now.get()
    }

    pub(crate) fn refresh_now(&self) {
        self.now.set(self.io.now());
    }

    pub(crate) fn push_ready(&self, target: Runnable) {
        self.ready.borrow_mut().push_back(target);
    }

    /// Notes whose handler is polled from now on. Returns whose it was.
    #[inline]
    pub(crate) fn set_running(&self, actor: Address) -> Address {
        self.running.replace(actor)
    }

    /// Whether a handler is being polled.
    pub(crate) fn runs_actor(&self) -> bool {
        self.running.get() != self.home
    }

    /// Looks at the actor whose handler is being polled.
    #[inline]
    pub(crate) fn look_at_running<T>(&self, look: impl FnOnce(&Rc<ActorCell>) -> T) -> Option<T> {
        if !self.runs_actor() {
            return None;
        }
        let running = self.running.get();
        self.actors.look(running.slot().index(), running.generation(), look)
    }

    /// The node of an address, if it is not this one.
    #[inline]
    pub(crate) fn peer_of(&self, address: Address) -> Option<Peer> {
        (!self.is_here(address.node())).then(|| self.other_peer_of(address))
    }

    fn other_peer_of(&self, address: Address) -> Peer {
        let node = address.node();
        match self.sessions.with(node) {
            Some(binding) if binding.takes(address) => binding.peer,
            _ => Peer::new(node, address.incarnation()),
        }
    }

    /// An address on this node.
    pub(crate) fn address(&self, slot: Slot, generation: u32) -> Address {
        Address::new(self.shared.id, self.shared.incarnation_tag, slot, generation)
    }

    // --- Sending ---------------------------------------------------------------------------------

    /// Sends a message towards an actor, wherever it is. The message stays in the option unless it is
    /// moved to the receiver; the caller drops it.
    #[inline(always)]
    pub(crate) fn send<M: Message>(
        self: &Rc<Self>,
        to: Address,
        kind: Kind,
        correlation: u64,
        extensions: Option<&Extensions>,
        message: &mut Option<M>,
        admission: Admission,
    ) -> Result<(), TellError> {
        if to.shares_worker(self.home) {
            return self.send_here(to, kind, correlation, extensions, message, admission);
        }
        let header = Header::new(kind, to.slot(), to.generation(), M::ID, correlation);
        self.push_towards(to, move |outbox| {
            M::Passing::pack(message, header, extensions, outbox, admission)
        })
    }

    /// Passes a message that came in on to another actor, as it is.
    pub(crate) fn forward<M: Message>(
        self: &Rc<Self>,
        to: Address,
        message: Msg<M>,
    ) -> Result<(), TellError> {
        if to.shares_worker(self.home) {
            return self.forward_here(to, message);
        }
        let header = Header::new(Kind::Tell, to.slot(), to.generation(), M::ID, 0);
        // What is not passed on is dropped here, when no outbox is borrowed.
        let mut message = Some(message);
        self.push_towards(to, |outbox| {
            if outbox.is_full() {
                return Err(PushError::Full);
            }
            let message = message.take().expect("it is pushed once");
            M::Passing::forward(message.into_carrier(), header, outbox)
        })
    }

    /// Pushes something into the outbox that leads to an actor of another worker.
    #[inline(always)]
    fn push_towards(
        &self,
        to: Address,
        push: impl FnOnce(&mut Outbox) -> Result<(), PushError>,
    ) -> Result<(), TellError> {
        let link;
        let outbox = if to.shares_node(self.home) {
            self.lanes.outbox(to.slot().worker()).ok_or(TellError::Dead)?
        } else if self.is_here(to.node()) {
            return Err(TellError::Dead);
        } else {
            link = self.link_to(to)?;
            self.links.mark_dirty(&link);
            &link.outbox
        };
        Ok(push(&mut outbox.borrow_mut())?)
    }

    /// Whether the innermost handler that runs is this actor's.
    #[inline(always)]
    pub(crate) fn runs_now(&self, actor: Address) -> bool {
        // The worker's own address, which stands for nobody, is no actor's, wherever a reference to it comes from.
        actor.shares_place(self.running.get()) && actor.shares_node(self.home) && self.runs_actor()
    }

    /// Sends a message of the node's own actors to each other: it is never refused for want of room.
    pub(crate) fn tell_system<P: Accepts<M, I>, M: Message, I>(
        self: &Rc<Self>,
        to: ActorRef<P>,
        message: M,
    ) -> Result<(), TellError> {
        let mut message = Some(message);
        self.send(to.address(), Kind::Tell, 0, None, &mut message, Admission::Always)
    }

    fn link_to(&self, to: Address) -> Result<Rc<Link>, TellError> {
        match self.links.route(to.node(), self.worker) {
            Some(link) if link.binding.takes(to) && link.sends() => Ok(link),
            Some(link) if link.binding.takes(to) => Err(TellError::Unreachable),
            // The node is there, but in another life or session: nobody from before is.
            Some(_) => Err(TellError::Dead),
            None => Err(TellError::Unreachable),
        }
    }

    // --- Receiving -------------------------------------------------------------------------------

    /// A frame from another node.
    pub(crate) fn dispatch_foreign(self: &Rc<Self>, frame: Frame, origin: Origin) {
        let header = frame.header();
        let worker = match header.kind {
            Kind::Reply | Kind::Failure => asking_worker(header.correlation),
            _ => header.slot.worker(),
        };
        // What a stranger says about the origin counts for nothing.
        let mut extensions = frame.extensions().unwrap_or_default();
        extensions.origin = None;
        if worker != self.worker {
            return self.relay(worker, &frame, extensions, origin);
        }
        let section = Section::from_extensions(extensions, self.now());
        self.dispatch(Envelope::Frame(frame), origin, section);
    }

    /// Passes a frame from another node on to the worker that it is for.
    fn relay(
        self: &Rc<Self>,
        worker: usize,
        frame: &Frame,
        mut extensions: Extensions,
        origin: Origin,
    ) {
        let Origin::Link(peer) = origin else {
            // Datagrams go to the right worker by their port; one that does not is a stranger's.
            return self.dead_letters.to_the_dead(frame.header().slot, frame.header().message);
        };
        extensions.origin = Some((peer.node(), peer.tag()));
        // Answers are let through: the asks that they answer bound their number.
        let bounded = matches!(frame.header().kind, Kind::Tell | Kind::Ask);
        let relayed = self.lanes.outbox(worker).map(|outbox| {
            let mut outbox = outbox.borrow_mut();
            if bounded && outbox.is_full() {
                return Err(PushError::Full);
            }
            if planted(Bug::RelayTwice) && bounded && frame.header().correlation.is_multiple_of(64)
            {
                outbox.push_relayed(frame, &extensions)?;
            }
            outbox.push_relayed(frame, &extensions)
        });
        let failure = match relayed {
            Some(Ok(())) => return,
            Some(Err(_)) => Failure::Overloaded,
            None => Failure::Dead,
        };
        if frame.header().kind == Kind::Ask {
            self.send_failure(origin, frame.header().correlation, failure);
        }
        self.dead_letters.to_the_dead(frame.header().slot, frame.header().message);
    }

    pub(crate) fn dispatch(
        self: &Rc<Self>,
        envelope: Envelope,
        origin: Origin,
        section: Option<Section>,
    ) {
        let header = envelope.header();
        match header.kind {
            Kind::Tell => self.deliver(Delivery::new(envelope, None), section),
            Kind::Ask => {
                let reply_to = Some(ReplyTo::new(origin, header.correlation));
                self.deliver(Delivery::new(envelope, reply_to), section);
            }
            Kind::Reply => {
                let answer = Ok(Content::Envelope(envelope));
                self.resolve_ask(header.correlation, origin.peer(), answer);
            }
            Kind::Failure => {
                let error = Failure::from_code(header.message.bits());
                self.resolve_ask(header.correlation, origin.peer(), Err(error));
            }
            // Links handle their own; timers never travel; broadcasts are spread before.
            Kind::System | Kind::Timer | Kind::Broadcast => {}
        }
    }

    /// Gives a message to the actor that its header names.
    #[inline]
    fn deliver(self: &Rc<Self>, delivery: Delivery, section: Option<Section>) {
        let header = delivery.envelope.header();
        match self.actors.find(header.slot.index(), header.generation) {
            Some(cell) => self.deliver_to(&cell, delivery, section),
            None => self.refuse_dead(delivery),
        }
    }

    // --- Waiting for room ------------------------------------------------------------------------

    pub(crate) fn wait_for_room(&self, waker: &Waker) {
        self.taken_at_wait.set(self.taken_at_wait.get().max(self.pool.bytes_lent()));
        if !self.waiting_for_room.borrow().iter().any(|known| known.will_wake(waker)) {
            // Cloning a waker may run a user's code: nothing is borrowed meanwhile.
            let waiter = waker.clone();
            self.waiting_for_room.borrow_mut().push(waiter);
        }
    }

    /// Whether somebody waits for room and there may be some.
    pub(crate) fn owes_room(&self) -> bool {
        let made = self.room_made.get() || self.pool.bytes_lent() < self.taken_at_wait.get();
        made && !self.waiting_for_room.borrow().is_empty()
    }

    /// Wakes those who wait for room, if there may be some.
    pub(crate) fn announce_room(&self) {
        let owed = self.owes_room();
        self.room_made.set(false);
        if owed {
            self.taken_at_wait.set(0);
            self.waiting_for_room.take().into_iter().for_each(wake);
        }
    }

    /// Whether the node with this number is this one.
    #[inline]
    pub(crate) fn is_here(&self, node: NodeId) -> bool {
        node == self.home.node()
    }

    /// The address datagrams to a worker of a peer go to.
    pub(crate) fn datagram_target(&self, peer: Peer, worker: usize) -> Option<(SocketAddr, u64)> {
        let link = self.links.any(peer)?;
        let address = *link.datagrams.get(worker)?;
        Some((address, link.datagram_token))
    }
}
