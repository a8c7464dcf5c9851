//! Links: one connection between a worker of this node and a worker of another.
//!
//! Frames wait in the link's outbox; a task sends what is there, as much as there is, and goes on when
//! the kernel has taken it. Another task receives into a chunk and hands whole frames to the worker,
//! where they lie: only a frame that the end of a chunk cuts is moved.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use annulus_codec::{
    address::{NodeId, Slot},
    chunk::{ChunkWriter, Lease},
    frame::{FrameError, FrameReader, HEADER_LEN, Header, Kind, scan},
    message::MessageId,
    outbox::{Destination, Outbox},
};
use annulus_transport::{
    driver::{Detached, MAX_PIECES, Mono, OperationError},
    stream::Stream,
};

use crate::{
    ask_table::AskKey,
    cluster,
    core::{Core, Inbound},
    datagram::SeenBySender,
    delivery::{Origin, Peer},
    planted::{Bug, planted},
    session::Binding,
    tasks::TaskKey,
    timers::sleep,
};

/// The operation of the system frame that is a sign of life. Others are about [watches](crate::watch).
const PING: u64 = 1;

/// Room that is worth a receive, in bytes.
const LEAST_ROOM: usize = 4096;

/// Frames from links that are handled in one turn.
const FRAMES_PER_TURN: usize = 4096;

/// How often a node that shuts down looks whether its links have been closed.
const PARTING_PAUSE: Duration = Duration::from_millis(1);

/// Bytes received over one link that may wait to be handled before its reader pauses.
const MOST_WAITING: usize = 1 << 20;

/// Bytes of a frame that is not whole that have to come in the time of a silence. If fewer do, they are signs of
/// life that are taken for its content: its length is none that anybody meant.
const LEAST_PROGRESS: u64 = 8192;

/// What makes a connection a link.
#[derive(Clone, Debug)]
pub(crate) struct LinkSetup {
    pub(crate) binding: Binding,
    pub(crate) name: String,
    /// Which of the connections that there have been between the two nodes.
    pub(crate) session: u64,
    /// Which of the links between the two nodes.
    pub(crate) index: u32,
    /// The largest payload that the peer takes.
    pub(crate) max_payload: usize,
    /// Where the peer's workers take datagrams, and with what token.
    pub(crate) datagrams: Vec<SocketAddr>,
    pub(crate) datagram_token: u64,
    /// What datagrams from the peer have to carry.
    pub(crate) own_datagram_token: u64,
    /// What arrived behind the handshake.
    pub(crate) rest: Vec<u8>,
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// The peer closed it, or sends no more.
    Closed,
    /// The same, within a frame: this many bytes of it are missing.
    Cut {
        /// How many, as far as is known.
        missing: usize,
    },
    /// The operating system reported an error.
    Broken(OperationError),
    /// The peer sent what is no frame.
    Malformed(FrameError),
    /// Nothing was heard for too long.
    Silent,
    /// A frame has begun, and hardly anything of it comes.
    Stalled,
    /// The peer does not take what waits for it.
    Overflow,
    /// Another link of the session ended, or the node shuts down.
    Dropped,
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkEnd::Closed => write!(f, "the other node closed it"),
            LinkEnd::Cut { missing } => {
                write!(f, "the other node closed it within a frame: {missing} bytes are missing")
            }
            LinkEnd::Broken(error) => error.fmt(f),
            LinkEnd::Malformed(error) => write!(f, "the other node broke the protocol: {error}"),
            LinkEnd::Silent => write!(f, "nothing was heard from the other node for too long"),
            LinkEnd::Stalled => write!(f, "the other node does not go on with a frame"),
            LinkEnd::Overflow => write!(f, "the other node does not take what waits for it"),
            LinkEnd::Dropped => write!(f, "it was dropped"),
        }
    }
}

/// See the [module](self).
pub(crate) struct Link {
    pub(crate) peer: Peer,
    pub(crate) binding: Binding,
    pub(crate) name: String,
    session: u64,
    index: u32,
    pub(crate) outbox: RefCell<Outbox>,
    pub(crate) datagrams: Vec<SocketAddr>,
    pub(crate) datagram_token: u64,
    pub(crate) own_datagram_token: u64,
    /// Which datagrams of each of the peer's workers have come to this worker. All links of a session
    /// share it: it does not matter which of them is still there.
    pub(crate) datagrams_seen: SeenBySender,
    dirty: Cell<bool>,
    closed: Cell<bool>,
    /// Why the link is about to close: nothing comes in any more, but what has come in is still to be
    /// handled.
    ending: RefCell<Option<LinkEnd>>,
    /// Nothing more will be sent once the outbox is empty.
    parting: Cell<bool>,
    /// Sending has failed: the link only receives what is still to come.
    mute: Cell<bool>,
    /// The asks that end with the link.
    asks: RefCell<Vec<AskKey>>,
    /// Whether the kernel has not taken all of what left the outbox.
    sending: Cell<bool>,
    heard: Cell<Mono>,
    /// Bytes received, and those of them that are whole frames.
    received: Cell<u64>,
    whole: Cell<u64>,
    /// Whether the reader waits until this node has caught up.
    paused: Cell<bool>,
    sent: Cell<Mono>,
    /// Bytes received and not handled yet.
    waiting: Cell<usize>,
    writer: RefCell<Option<Waker>>,
    reader: RefCell<Option<Waker>>,
    /// What is to be read, until all links of the session are there.
    unread: Cell<Option<(Stream, Vec<u8>)>>,
    tasks: RefCell<Vec<TaskKey>>,
}

impl Link {
    /// Whether anything can be sent over it.
    pub(crate) fn sends(&self) -> bool {
        !self.mute.get()
    }

    /// Waits until there is something to send, and takes it; `None` if there will be no more.
    async fn next_pieces(&self) -> Option<Vec<Lease>> {
        poll_fn(|context| {
            let mut outbox = self.outbox.borrow_mut();
            outbox.rewind();
            if outbox.is_empty() && self.parting.get() {
                return Poll::Ready(None);
            }
            if outbox.is_empty() {
                self.writer.replace(Some(context.waker().clone()));
                return Poll::Pending;
            }
            let mut pieces = Vec::with_capacity(8);
            while pieces.len() < MAX_PIECES
                && let Some(piece) = outbox.pop_bytes()
            {
                pieces.push(piece);
            }
            if planted(Bug::DropPiece) && pieces.len() > 1 {
                pieces.pop();
            }
            Poll::Ready(Some(pieces))
        })
        .await
    }

    /// Waits until most of what was received has been handled.
    async fn drained(&self) {
        poll_fn(|context| {
            if self.waiting.get() <= MOST_WAITING {
                return Poll::Ready(());
            }
            self.reader.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn handled(&self, bytes: usize) {
        self.waiting.set(self.waiting.get() - bytes);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} {})", self.name, self.index)
    }
}

/// The links of a worker.
#[derive(Default)]
pub(crate) struct Links {
    links: RefCell<BTreeMap<(NodeId, u32), Rc<Link>>>,
    /// Links with something new to send.
    dirty: RefCell<Vec<Rc<Link>>>,
    /// Which datagrams have come, for each session.
    seen: RefCell<BTreeMap<u64, SeenBySender>>,
}

impl Links {
    /// The link that this worker sends on to a node: the one with the worker's own number. All of one
    /// worker's frames to a node take it, so they stay in order.
    #[inline]
    pub(crate) fn route(&self, node: NodeId, worker: usize) -> Option<Rc<Link>> {
        self.links.borrow().get(&(node, worker as u32)).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.links.borrow().len()
    }

    /// Any link to a peer.
    pub(crate) fn any(&self, peer: Peer) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let (_, link) = links.range((peer.node(), 0)..=(peer.node(), u32::MAX)).next()?;
        (link.peer == peer).then(|| link.clone())
    }

    /// Any link to a node.
    pub(crate) fn any_to(&self, node: NodeId) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        links.range((node, 0)..=(node, u32::MAX)).next().map(|(_, link)| link.clone())
    }

    #[inline]
    pub(crate) fn mark_dirty(&self, link: &Rc<Link>) {
        if !link.dirty.replace(true) {
            self.dirty.borrow_mut().push(link.clone());
        }
    }

    pub(crate) fn all(&self) -> Vec<Rc<Link>> {
        self.links.borrow().values().cloned().collect()
    }

    /// Whether some link has something new to send that its writer has not been told of.
    pub(crate) fn any_dirty(&self) -> bool {
        !self.dirty.borrow().is_empty()
    }

    /// Whether everything for other nodes is in the kernel's hands.
    pub(crate) fn is_flushed(&self) -> bool {
        self.links
            .borrow()
            .values()
            .all(|link| link.outbox.borrow().is_empty() && !link.sending.get())
    }

    /// Nothing is sent over this link any more.
    fn remove(&self, link: &Rc<Link>) {
        let key = (link.peer.node(), link.index);
        let mut links = self.links.borrow_mut();
        if links.get(&key).is_some_and(|known| Rc::ptr_eq(known, link)) {
            links.remove(&key);
        }
    }
}

impl Core {
    /// Makes a connection that has passed its handshake a link of this worker, which is
    /// [read](Self::read_links) later.
    pub(crate) fn attach_link(self: &Rc<Self>, stream: Detached, setup: LinkSetup) {
        let LinkSetup { binding, name, session, index, max_payload, rest, .. } = setup;
        let peer = binding.peer;
        let mut limits = self.limits().outbox();
        limits.max_payload = limits.max_payload.min(max_payload);
        let link = Rc::new(Link {
            peer,
            binding,
            name,
            session,
            index,
            outbox: RefCell::new(Outbox::new(Destination::Node, limits, self.pool.clone())),
            datagrams: setup.datagrams,
            datagram_token: setup.datagram_token,
            own_datagram_token: setup.own_datagram_token,
            datagrams_seen: self.links.seen.borrow_mut().entry(session).or_default().clone(),
            dirty: Cell::new(false),
            closed: Cell::new(false),
            ending: RefCell::new(None),
            parting: Cell::new(false),
            mute: Cell::new(false),
            asks: RefCell::default(),
            sending: Cell::new(false),
            heard: Cell::new(self.now()),
            received: Cell::new(rest.len() as u64),
            whole: Cell::new(0),
            // It is not read from yet.
            paused: Cell::new(true),
            sent: Cell::new(self.now()),
            waiting: Cell::new(0),
            writer: RefCell::new(None),
            reader: RefCell::new(None),
            unread: Cell::new(None),
            tasks: RefCell::default(),
        });
        if let Some(old) = self.links.links.borrow_mut().insert((peer.node(), index), link.clone())
        {
            // The session that it belonged to has ended; its end is on its way here.
            tracing::debug!(target: "annulus", node = old.name, "an old link is replaced");
            self.push_close(old);
        }
        self.link_begins(binding);
        let stream = Stream::attach(&self.io, stream);
        if planted(Bug::LeakSocket) {
            std::mem::forget(stream.clone());
        }
        link.unread.set(Some((stream.clone(), rest)));
        let tasks = [
            self.spawn_task(write(self.clone(), link.clone(), stream)),
            self.spawn_task(pulse(self.clone(), link.clone())),
        ];
        link.tasks.borrow_mut().extend(tasks);
        tracing::debug!(target: "annulus", node = link.name, index, "link attached");
    }

    /// All links of a session are there: from now on they are read. What comes over one of them can be
    /// answered by all workers.
    pub(crate) fn read_links(self: &Rc<Self>, peer: Peer) {
        for link in self.links.all().into_iter().filter(|link| link.peer == peer) {
            if let Some((stream, rest)) = link.unread.take() {
                let reader = self.spawn_task(read(self.clone(), link.clone(), stream, rest));
                link.tasks.borrow_mut().push(reader);
            }
        }
    }

    fn push_close(self: &Rc<Self>, link: Rc<Link>) {
        let core = self.clone();
        self.spawn_task(async move { core.close_link(&link, LinkEnd::Dropped) });
    }

    /// Ends a link. Nothing is sent or received any more; when what has come in has been handled, its
    /// asks end, and the cluster hears of it and ends the rest of the session.
    pub(crate) fn close_link(self: &Rc<Self>, link: &Rc<Link>, end: LinkEnd) {
        if link.closed.get() || link.ending.borrow().is_some() {
            return;
        }
        self.links.remove(link);
        let unsent = link.outbox.borrow_mut().take_all();
        if planted(Bug::KeepUnsent) {
            std::mem::forget(unsent);
        } else {
            drop(unsent);
        }
        for task in link.tasks.take() {
            drop(self.tasks.remove(task));
        }
        drop(link.unread.take());
        self.room_made.set(true);
        // Those of a later session are not of this link.
        link.asks.replace(self.asks.open_to(link.peer));
        let broken = matches!(end, LinkEnd::Malformed(_));
        link.ending.replace(Some(end));
        if broken || link.waiting.get() == 0 {
            self.finish_link(link);
        }
    }

    /// The last step of [`close_link`](Self::close_link).
    fn finish_link(self: &Rc<Self>, link: &Rc<Link>) {
        let Some(end) = link.ending.borrow().clone().filter(|_| !link.closed.replace(true)) else {
            return;
        };
        if !planted(Bug::LeaveAsks) {
            self.fail_asks(link.asks.take());
        }
        if end != LinkEnd::Dropped {
            cluster::report_link_lost(self, &link.name, link.session, link.index, end);
        }
        self.link_ends(link.peer, link.session);
    }

    /// Ends all links of a session on this worker.
    pub(crate) fn drop_peer(self: &Rc<Self>, peer: Peer, session: u64) {
        for link in self.links.all() {
            if link.peer == peer && link.session == session {
                self.close_link(&link, LinkEnd::Dropped);
            }
        }
        self.links.seen.borrow_mut().remove(&session);
        self.session_ends(peer, session);
    }

    /// Says farewell on all links: what waits is sent, then the sending direction ends, and the peers
    /// close the links. Until then what they send is read; a connection closed with bytes unread would
    /// be reset, and what was sent last might be lost with it.
    pub(crate) async fn part_from_peers(self: Rc<Self>) {
        let links = self.links.all();
        for link in &links {
            link.parting.set(true);
            self.links.mark_dirty(link);
        }
        while links.iter().any(|link| !link.closed.get()) {
            sleep(PARTING_PAUSE).await;
        }
    }

    /// Hands frames that came in over links to their receivers, within a budget, and as long as other workers
    /// take what is for them: what waits here holds back who sends it. Returns whether there were any.
    #[inline]
    pub(crate) fn walk_inbound(self: &Rc<Self>) -> bool {
        !self.inbound.borrow().is_empty() && self.walk_waiting()
    }

    fn walk_waiting(self: &Rc<Self>) -> bool {
        let mut budget = FRAMES_PER_TURN;
        let mut any = false;
        let may_go_on = |budget| budget > 0 && !self.clock.is_over() && self.lanes.have_room();
        while may_go_on(budget) {
            let Some(Inbound { mut frames, link }) = self.inbound.borrow_mut().pop_front() else {
                break;
            };
            any = true;
            let bytes = frames.remaining();
            while !link.closed.get() && may_go_on(budget) {
                budget -= 1;
                match frames.next_frame() {
                    Ok(Some(frame)) if frame.header().kind == Kind::System => {
                        self.take_system_frame(&frame.header(), link.peer);
                    }
                    Ok(Some(frame)) => self.dispatch_foreign(frame, Origin::Link(link.peer)),
                    Ok(None) => break,
                    Err(error) => {
                        self.close_link(&link, LinkEnd::Malformed(error));
                        self.finish_link(&link);
                    }
                }
            }
            let left = if link.closed.get() { 0 } else { frames.remaining() };
            link.handled(bytes - left);
            if left > 0 {
                self.inbound.borrow_mut().push_front(Inbound { frames, link });
            } else if link.waiting.get() == 0
                && link.ending.borrow().is_some()
                && !planted(Bug::SilentLoss)
            {
                self.finish_link(&link);
            }
        }
        any
    }

    /// Gets the writers of links with something new to send going. Returns whether there were any.
    #[inline]
    pub(crate) fn flush_links(self: &Rc<Self>) -> bool {
        self.links.any_dirty() && self.flush_dirty_links()
    }

    fn flush_dirty_links(self: &Rc<Self>) -> bool {
        loop {
            let Some(link) = self.links.dirty.borrow_mut().pop() else { return true };
            link.dirty.set(false);
            if let Some(writer) = link.writer.take() {
                writer.wake();
            }
            if link.outbox.borrow().bytes() > self.limits().link_bytes {
                self.close_link(&link, LinkEnd::Overflow);
            }
        }
    }
}

async fn write(core: Rc<Core>, link: Rc<Link>, stream: Stream) {
    while let Some(pieces) = link.next_pieces().await {
        link.sent.set(core.now());
        link.sending.set(true);
        let sent = stream.send(pieces).await;
        link.sending.set(false);
        if let Err(error) = sent {
            // What the peer has sent before is still there to be read: the reader ends the link.
            tracing::debug!(target: "annulus", node = link.name, %error, "sending has failed");
            link.mute.set(true);
            let unsent = link.outbox.borrow_mut().take_all();
            drop(unsent);
            return;
        }
        core.room_made.set(true);
    }
    // If this fails the link has ended, which the reader sees.
    let _ = stream.shutdown().await;
}

async fn read(core: Rc<Core>, link: Rc<Link>, stream: Stream, rest: Vec<u8>) {
    let end = receive_frames(&core, &link, &stream, rest).await;
    core.close_link(&link, end);
}

async fn receive_frames(
    core: &Rc<Core>,
    link: &Rc<Link>,
    stream: &Stream,
    rest: Vec<u8>,
) -> LinkEnd {
    let mut chunk = acquire(core, rest.len()).await;
    chunk.append(&rest);
    drop(rest);
    loop {
        let prefix = match scan(chunk.peek(), core.limits().max_payload) {
            Ok(prefix) => prefix,
            Err(error) => return LinkEnd::Malformed(error),
        };
        if prefix.complete > 0 {
            link.waiting.set(link.waiting.get() + prefix.complete);
            link.whole.set(link.whole.get() + prefix.complete as u64);
            let frames =
                FrameReader::foreign(chunk.take(prefix.complete), core.limits().max_payload);
            core.inbound.borrow_mut().push_back(Inbound { frames, link: link.clone() });
        }
        link.paused.set(true);
        chunk = make_room(core, chunk, prefix.next_frame).await;
        link.drained().await;
        if link.paused.replace(false) {
            link.heard.set(core.now());
        }
        let (filled, bytes) = match stream.receive(chunk).await {
            Ok(received) => received,
            Err(error) => return LinkEnd::Broken(error),
        };
        if bytes == 0 {
            let cut = filled.untaken();
            return if cut == 0 {
                LinkEnd::Closed
            } else {
                LinkEnd::Cut { missing: prefix.next_frame - cut }
            };
        }
        link.heard.set(core.now());
        link.received.set(link.received.get() + bytes as u64);
        chunk = filled;
    }
}

/// Makes sure that the frame at the end of the chunk can be received in one piece. The part of it that
/// is there already is moved if it does not fit behind what came before.
async fn make_room(core: &Rc<Core>, mut chunk: ChunkWriter, next_frame: usize) -> ChunkWriter {
    chunk.rewind();
    let cut = chunk.untaken();
    let missing = next_frame - cut;
    let wanted = if cut == 0 && next_frame <= HEADER_LEN { LEAST_ROOM } else { missing };
    if chunk.spare() >= wanted {
        return chunk;
    }
    let mut fresh = acquire(core, next_frame).await;
    let moved = fresh.append(chunk.peek());
    debug_assert!(moved);
    fresh
}

/// A chunk, as soon as there is memory for one.
async fn acquire(core: &Rc<Core>, capacity: usize) -> ChunkWriter {
    loop {
        match core.pool.acquire_sized(capacity) {
            Ok(chunk) => return chunk,
            // Leases are dropped as messages get handled: nothing is read meanwhile, so the sender
            // feels it.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

/// How far a frame that is not whole has come.
#[derive(Clone, Copy)]
struct Progress {
    received: u64,
    whole: u64,
    at: Mono,
}

impl Progress {
    fn of(link: &Link, at: Mono) -> Self {
        Progress { received: link.received.get(), whole: link.whole.get(), at }
    }

    /// Whether nothing had to come since then, or enough has.
    fn suffices(self, since: Progress) -> bool {
        self.received == self.whole
            || self.whole != since.whole
            || self.received - since.received >= LEAST_PROGRESS
    }
}

/// Shows the peer that this node lives, and ends the link when the peer shows nothing, or shows that it lives
/// where the rest of a frame is to come.
async fn pulse(core: Rc<Core>, link: Rc<Link>) {
    let (beat, silence) = (core.limits().heartbeat, core.limits().silence);
    let mut last = Progress::of(&link, core.now());
    loop {
        sleep(beat).await;
        let now = core.now();
        let progress = Progress::of(&link, now);
        if link.paused.get() || progress.suffices(last) {
            last = progress;
        } else if now.since(last.at) > silence {
            return core.close_link(&link, LinkEnd::Stalled);
        }
        // While the reader pauses, because this node is behind, the peer cannot be heard.
        if now.since(link.heard.get()) > silence && !link.paused.get() {
            return core.close_link(&link, LinkEnd::Silent);
        }
        if now.since(link.sent.get()) >= beat {
            let ping = Header::new(Kind::System, Slot::new(0, 0), 0, MessageId::from_bits(PING), 0);
            // Without memory for 32 bytes there is nothing to show.
            let _ = link.outbox.borrow_mut().push_header(ping);
            core.links.mark_dirty(&link);
        }
    }
}
