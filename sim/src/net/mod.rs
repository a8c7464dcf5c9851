//! The network of a world: streams, datagrams, and what is between hosts.
//!
//! A stream is a pair of pipes, one in each direction. What is sent is under way in its pipe for a
//! while, arrives in order, and waits at the other socket until it is received; both together fill the
//! pipe's window, and then the sender waits. A lost segment is one that comes late, as TCP sends it
//! again. A cut between two hosts holds what is under way until it heals. A socket that is gone answers
//! with a reset, a host that is down with nothing.

mod arrivals;
mod corruption;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use annulus::transport::endpoint::Endpoint;

pub(crate) use crate::address::address_of;
use crate::{
    address::{Family, checked_family, family_of, host_of, is_abstract, is_of, key, specific},
    world::{Event, Operation, Scope, WorkerId},
};

pub(crate) type HostId = usize;
pub(crate) type SocketId = u64;
type PipeId = u64;

/// How long until what met a cut, or a host that is down, is tried again.
const RETRY: (u64, u64) = (20_000_000, 250_000_000);

/// How often a connection is tried before it counts as timed out.
const CONNECT_TRIES: u32 = 60;

/// What happens in the network at a certain time.
#[derive(Debug)]
pub(crate) enum NetEvent {
    /// The first segment of a pipe arrives.
    Arrive(PipeId),
    /// A request to connect arrives.
    Knock(Box<Knock>),
    /// The answer to it arrives.
    Answer(Box<Answer>),
    /// A reset arrives from a socket that is gone.
    Reset(SocketId),
    /// A datagram arrives.
    Datagram(Box<Datagram>),
}

/// A request to connect.
#[derive(Debug)]
pub(crate) struct Knock {
    client: SocketId,
    from: HostId,
    to: HostId,
    at: Endpoint,
    tries: u32,
}

/// The answer to a request to connect.
#[derive(Debug)]
pub(crate) struct Answer {
    client: SocketId,
    answer: Result<Met, i32>,
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    to: HostId,
    port: u16,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// The server's side of a connection, and its pipes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    server: SocketId,
    there: PipeId,
    back: PipeId,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// One direction of a stream.
#[derive(Debug)]
struct Pipe {
    from: SocketId,
    to: SocketId,
    hosts: (HostId, HostId),
    under_way: VecDeque<(u64, Segment)>,
    /// Bytes under way, and those that have arrived and have not been received.
    filled: usize,
    last_arrival: u64,
}

#[derive(Debug)]
enum State {
    Fresh,
    Connecting,
    Connected,
    Failed(i32),
}

#[derive(Debug)]
struct Stream {
    host: HostId,
    family: Family,
    state: State,
    /// The operation that connects it, until it is told how that went.
    connecting: Option<Operation>,
    remote: Option<SocketAddr>,
    outgoing: Option<PipeId>,
    incoming: Option<PipeId>,
    arrived: VecDeque<u8>,
    /// The other side sends no more.
    at_end: bool,
    reset: bool,
    /// Whether somebody has been told of the reset. It is an error once, and then the end.
    told: bool,
    /// This side sends no more.
    shut: bool,
    waiting: Vec<Operation>,
}

impl Stream {
    fn new(host: HostId, family: Family) -> Self {
        Stream {
            host,
            family,
            state: State::Fresh,
            connecting: None,
            remote: None,
            outgoing: None,
            incoming: None,
            arrived: VecDeque::new(),
            at_end: false,
            reset: false,
            told: false,
            shut: false,
            waiting: Vec::new(),
        }
    }

    /// The other side, or the kernel, has reset it.
    fn reset(&mut self) {
        if !self.reset {
            self.reset = true;
            // Over TCP nothing can follow the end of a stream, and nobody is told.
            self.told = self.at_end && self.family == Family::Ip;
        }
    }

    /// Whether a receive has to wait.
    fn has_nothing_to_say(&self) -> bool {
        let is_open = !self.at_end && !self.reset;
        matches!(self.state, State::Connected) && is_open && self.arrived.is_empty()
    }

    /// Whether TCP knows the connection no more.
    fn is_over(&self) -> bool {
        self.family == Family::Ip && (self.reset || (self.shut && self.at_end))
    }
}

#[derive(Debug)]
struct Listening {
    host: HostId,
    at: Endpoint,
    backlog: VecDeque<SocketId>,
    room: usize,
    waiting: Vec<Operation>,
}

#[derive(Debug)]
struct Datagrams {
    host: HostId,
    at: SocketAddr,
    arrived: VecDeque<(SocketAddr, Vec<u8>)>,
    filled: usize,
    waiting: Vec<Operation>,
}

#[derive(Debug)]
enum Socket {
    Stream(Stream),
    Listening(Listening),
    Datagrams(Datagrams),
}

impl Socket {
    fn host(&self) -> HostId {
        match self {
            Socket::Stream(stream) => stream.host,
            Socket::Listening(listening) => listening.host,
            Socket::Datagrams(datagrams) => datagrams.host,
        }
    }
}

/// What came of trying an operation: a result, or nothing yet.
pub(crate) type Tried<T> = Option<Result<T, i32>>;

#[derive(Debug, Default)]
pub(crate) struct Net {
    sockets: BTreeMap<SocketId, Socket>,
    pipes: BTreeMap<PipeId, Pipe>,
    listening: BTreeMap<(HostId, Endpoint), SocketId>,
    /// Paths of Unix sockets, and the workers that have bound them. They outlive both.
    paths: BTreeMap<(HostId, PathBuf), WorkerId>,
    bound: BTreeMap<(HostId, u16), SocketId>,
    last_pipe: PipeId,
    last_port: u16,
    /// When the last datagram from one host to another that nothing overtakes arrives.
    last_datagram: BTreeMap<(HostId, HostId), u64>,
    cuts: BTreeSet<(HostId, HostId)>,
    down: BTreeSet<HostId>,
}

impl Net {
    // --- Faults ------------------------------------------------------------------------------------

    /// Lets nothing through from one host to another, until [`join`](Self::join).
    pub(crate) fn cut(&mut self, from: HostId, to: HostId) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn join(&mut self, from: HostId, to: HostId) {
        self.cuts.remove(&(from, to));
    }

    pub(crate) fn join_all(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn set_down(&mut self, host: HostId, down: bool) {
        if down {
            self.down.insert(host);
        } else {
            self.down.remove(&host);
        }
    }

    /// The sockets of a host.
    pub(crate) fn sockets_of(&self, host: HostId) -> Vec<SocketId> {
        let theirs = self.sockets.iter().filter(|(_, socket)| socket.host() == host);
        theirs.map(|(id, _)| *id).collect()
    }

    /// A host loses its power: nobody hears a farewell.
    pub(crate) fn vanish(&mut self, host: HostId) {
        for id in self.sockets_of(host) {
            self.unbind(id);
            if let Some(Socket::Stream(stream)) = self.sockets.remove(&id) {
                self.forget_empty(stream.outgoing);
                self.forget_empty(stream.incoming);
            }
        }
    }

    fn passes(&self, from: HostId, to: HostId) -> bool {
        from == to || !(self.cuts.contains(&(from, to)) || self.down.contains(&to))
    }

    /// Sockets and pipes.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.sockets.len(), self.pipes.len())
    }

    // --- Making sockets ----------------------------------------------------------------------------

    pub(crate) fn stream(&mut self, id: SocketId, host: HostId, to: &Endpoint) -> Result<(), i32> {
        self.sockets.insert(id, Socket::Stream(Stream::new(host, family_of(to)?)));
        Ok(())
    }

    /// `lives` says whether a worker still holds the paths that it has bound.
    pub(crate) fn listen(
        &mut self,
        id: SocketId,
        (host, worker): (HostId, WorkerId),
        at: &Endpoint,
        room: u32,
        lives: impl Fn(WorkerId) -> bool,
    ) -> Result<Endpoint, i32> {
        checked_family(at)?;
        let at = match at {
            Endpoint::Tcp(at) if !is_of(at.ip(), host) => return Err(libc::EADDRNOTAVAIL),
            Endpoint::Tcp(at) if at.port() == 0 => {
                Endpoint::Tcp(SocketAddr::new(at.ip(), self.free_port()))
            }
            other => other.clone(),
        };
        let place = (host, key(&at));
        if self.listening.contains_key(&place) {
            return Err(libc::EADDRINUSE);
        }
        if let Endpoint::Unix(path) = &at
            && !is_abstract(path)
        {
            let path = (host, path.clone());
            if self.paths.get(&path).is_some_and(|holder| lives(*holder)) {
                return Err(libc::EADDRINUSE);
            }
            self.paths.insert(path, worker);
        }
        self.listening.insert(place, id);
        let listening = Listening {
            host,
            at: at.clone(),
            backlog: VecDeque::new(),
            room: room as usize,
            waiting: Vec::new(),
        };
        self.sockets.insert(id, Socket::Listening(listening));
        Ok(at)
    }

    pub(crate) fn datagrams(
        &mut self,
        id: SocketId,
        host: HostId,
        at: SocketAddr,
    ) -> Result<SocketAddr, i32> {
        if !is_of(at.ip(), host) {
            return Err(libc::EADDRNOTAVAIL);
        }
        let port = if at.port() == 0 { self.free_port() } else { at.port() };
        if self.bound.contains_key(&(host, port)) {
            return Err(libc::EADDRINUSE);
        }
        self.bound.insert((host, port), id);
        let at = SocketAddr::new(at.ip(), port);
        let datagrams =
            Datagrams { host, at, arrived: VecDeque::new(), filled: 0, waiting: Vec::new() };
        self.sockets.insert(id, Socket::Datagrams(datagrams));
        Ok(at)
    }

    /// Removes a path that a worker has bound. Returns whether it has.
    pub(crate) fn remove_path(&mut self, host: HostId, worker: WorkerId, path: &Path) -> bool {
        let place = (host, path.to_owned());
        if self.paths.get(&place) != Some(&worker) {
            return false;
        }
        self.paths.remove(&place);
        self.listening.remove(&(host, Endpoint::Unix(place.1)));
        true
    }

    fn free_port(&mut self) -> u16 {
        self.last_port = if self.last_port < 20_000 { 20_000 } else { self.last_port + 1 };
        self.last_port
    }

    pub(crate) fn peer_address(&self, id: SocketId) -> Result<SocketAddr, i32> {
        match self.sockets.get(&id) {
            Some(Socket::Stream(stream)) if stream.is_over() => Err(libc::ENOTCONN),
            Some(Socket::Stream(Stream { remote: Some(remote), .. })) => Ok(*remote),
            Some(Socket::Stream(Stream { state: State::Connected, .. })) => Err(libc::EAFNOSUPPORT),
            Some(_) => Err(libc::ENOTCONN),
            None => Err(libc::ENOTSOCK),
        }
    }

    /// What is said of an operation that this socket is not made for: one over IP, a Unix socket, or one
    /// for datagrams. What is no socket is a file.
    fn misused(&self, id: SocketId, [ip, unix, datagrams]: [i32; 3]) -> i32 {
        match self.sockets.get(&id) {
            Some(Socket::Stream(Stream { family: Family::Ip, .. })) => ip,
            Some(Socket::Stream(_)) => unix,
            Some(Socket::Listening(Listening { at: Endpoint::Unix(_), .. })) => unix,
            Some(Socket::Listening(_)) => ip,
            Some(Socket::Datagrams(_)) => datagrams,
            None => libc::ENOTSOCK,
        }
    }

    fn stream_mut(&mut self, id: SocketId) -> Option<&mut Stream> {
        match self.sockets.get_mut(&id) {
            Some(Socket::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    // --- Operations --------------------------------------------------------------------------------

    /// Whether an operation that has just begun to receive has to wait. Then it is noted where it waits.
    pub(crate) fn waits(&mut self, id: SocketId, operation: Operation) -> bool {
        let waiting = match self.sockets.get_mut(&id) {
            Some(Socket::Stream(stream)) if stream.has_nothing_to_say() => &mut stream.waiting,
            Some(Socket::Datagrams(socket)) if socket.arrived.is_empty() => &mut socket.waiting,
            _ => return false,
        };
        waiting.push(operation);
        true
    }

    /// A receive is given up. The datagram that it was woken for is for another one.
    pub(crate) fn give_up(&mut self, scope: &mut Scope<'_>, id: SocketId, operation: Operation) {
        match self.sockets.get_mut(&id) {
            Some(Socket::Stream(stream)) => stream.waiting.retain(|other| *other != operation),
            Some(Socket::Datagrams(socket)) => {
                socket.waiting.retain(|other| *other != operation);
                if !socket.arrived.is_empty() {
                    scope.ready_one(&mut socket.waiting);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn connect(
        &mut self,
        scope: &mut Scope<'_>,
        id: SocketId,
        to: &Endpoint,
        operation: Operation,
    ) -> Tried<()> {
        let family = match checked_family(to) {
            Ok(family) => family,
            Err(errno) => return Some(Err(errno)),
        };
        let misused = self.misused(id, [libc::EISCONN, libc::EINVAL, libc::EOPNOTSUPP]);
        let Some(stream) = self.stream_mut(id) else { return Some(Err(misused)) };
        let from = stream.host;
        let mine = stream.connecting == Some(operation);
        match stream.state {
            State::Connected if mine => {
                stream.connecting = None;
                return Some(Ok(()));
            }
            State::Connected => return Some(Err(libc::EISCONN)),
            State::Failed(errno) if mine => {
                // It may be tried again.
                stream.state = State::Fresh;
                stream.connecting = None;
                return Some(Err(errno));
            }
            State::Connecting => {
                stream.connecting = Some(operation);
                stream.waiting.push(operation);
            }
            State::Fresh | State::Failed(_) => {
                match (stream.family, family) {
                    (Family::Ip, Family::Unix) => return Some(Err(libc::EAFNOSUPPORT)),
                    (Family::Unix, Family::Ip) => return Some(Err(libc::EINVAL)),
                    _ => {}
                }
                stream.state = State::Connecting;
                stream.connecting = Some(operation);
                stream.waiting.push(operation);
                let to_host = match to {
                    Endpoint::Tcp(at) | Endpoint::Udp(at) => host_of(at.ip(), from),
                    Endpoint::Unix(_) => from,
                };
                let at = to.clone();
                let knock = Knock { client: id, from, to: to_host, at, tries: 0 };
                let delay = scope.delay(from, to_host);
                scope.schedule(delay, Event::Net(NetEvent::Knock(Box::new(knock))));
            }
        }
        None
    }

    pub(crate) fn accept(
        &mut self,
        scope: &mut Scope<'_>,
        id: SocketId,
        operation: Operation,
    ) -> Tried<SocketId> {
        let misused = self.misused(id, [libc::EINVAL, libc::EINVAL, libc::EOPNOTSUPP]);
        let Some(Socket::Listening(listening)) = self.sockets.get_mut(&id) else {
            return Some(Err(misused));
        };
        if listening.backlog.is_empty() {
            listening.waiting.push(operation);
            return None;
        }
        if scope.chance(|faults| faults.accept_error, "accept failed") {
            return Some(Err(libc::EMFILE));
        }
        listening.backlog.pop_front().map(Ok)
    }

    /// Hands up to `room` bytes to `take`, in one piece or two; none at the end of the stream. Returns
    /// how many.
    pub(crate) fn receive(
        &mut self,
        scope: &mut Scope<'_>,
        id: SocketId,
        room: usize,
        operation: Operation,
        mut take: impl FnMut(&[u8]),
    ) -> Tried<usize> {
        let Some(Socket::Stream(stream @ Stream { state: State::Connected, .. })) =
            self.sockets.get_mut(&id)
        else {
            let misused = self.misused(id, [libc::ENOTCONN, libc::EINVAL, libc::EOPNOTSUPP]);
            return Some(Err(misused));
        };
        if stream.arrived.is_empty() {
            if stream.reset && !std::mem::replace(&mut stream.told, true) {
                return Some(Err(libc::ECONNRESET));
            }
            if stream.at_end || stream.reset {
                return Some(Ok(0));
            }
            stream.waiting.push(operation);
            return None;
        }
        let most = room.min(stream.arrived.len());
        let taken = scope.shorten(most, "receive was short");
        let (front, back) = stream.arrived.as_slices();
        let split = taken.min(front.len());
        take(&front[..split]);
        take(&back[..taken - split]);
        stream.arrived.drain(..taken);
        if let Some(pipe) = stream.incoming
            && let Some(pipe) = self.pipes.get_mut(&pipe)
        {
            pipe.filled -= taken;
            let sender = pipe.from;
            if let Some(sender) = self.stream_mut(sender) {
                scope.ready(&mut sender.waiting);
            }
        }
        Some(Ok(taken))
    }

    /// Sends what there is room for; `None` if there is none.
    pub(crate) fn send(
        &mut self,
        scope: &mut Scope<'_>,
        id: SocketId,
        bytes: &[u8],
        operation: Operation,
    ) -> Tried<usize> {
        let misused = self.misused(id, [libc::EPIPE, libc::ENOTCONN, libc::EDESTADDRREQ]);
        let Some(stream) = self.stream_mut(id) else { return Some(Err(misused)) };
        if stream.reset {
            stream.told = true;
            return Some(Err(libc::ECONNRESET));
        }
        let State::Connected = stream.state else { return Some(Err(libc::ENOTCONN)) };
        let family = stream.family;
        let (Some(pipe), false) = (stream.outgoing, stream.shut) else {
            return Some(Err(libc::EPIPE));
        };
        let Some(pipe) = self.pipes.get_mut(&pipe) else { return Some(Err(libc::EPIPE)) };
        // Within a host nothing is under way: who is gone is known to be.
        if family == Family::Unix && !self.sockets.contains_key(&pipe.to) {
            return Some(Err(libc::EPIPE));
        }
        if bytes.is_empty() {
            return Some(Ok(0));
        }
        let room = scope.faults().window.saturating_sub(pipe.filled);
        if room == 0 {
            scope.mark("window was full");
            stream_waits(&mut self.sockets, id, operation);
            return None;
        }
        let taken = scope.shorten(room.min(bytes.len()), "send was short");
        pipe.filled += taken;
        let hosts = pipe.hosts;
        let id_of_pipe = stream_outgoing(&self.sockets, id);
        let mut segment = bytes[..taken].to_vec();
        if hosts.0 != hosts.1 {
            corruption::strike(scope, &mut segment);
        }
        self.push(scope, id_of_pipe, Segment::Bytes(segment));
        if scope.chance(|faults| faults.reset, "connection was reset") {
            self.push(scope, id_of_pipe, Segment::Reset);
            scope.schedule(0, Event::Net(NetEvent::Reset(id)));
        }
        Some(Ok(taken))
    }

    pub(crate) fn shutdown(&mut self, scope: &mut Scope<'_>, id: SocketId) -> Result<(), i32> {
        if let Some(Socket::Listening(_)) = self.sockets.get(&id) {
            return Ok(());
        }
        let misused = self.misused(id, [libc::ENOTCONN; 3]);
        let Some(stream) = self.stream_mut(id) else { return Err(misused) };
        if stream.is_over() {
            return Err(libc::ENOTCONN);
        }
        match (&stream.state, stream.family) {
            (State::Connected, _) => {}
            (_, Family::Ip) => return Err(libc::ENOTCONN),
            (_, Family::Unix) => return Ok(()),
        }
        if !std::mem::replace(&mut stream.shut, true) {
            let pipe = stream.outgoing;
            self.push(scope, pipe, Segment::End);
        }
        Ok(())
    }

    pub(crate) fn send_to(
        &mut self,
        scope: &mut Scope<'_>,
        id: SocketId,
        to: SocketAddr,
        bytes: Vec<u8>,
    ) -> Result<usize, i32> {
        let misused = self.misused(id, [libc::EOPNOTSUPP, libc::EISCONN, 0]);
        let Some(Socket::Datagrams(socket)) = self.sockets.get(&id) else {
            return Err(misused);
        };
        if to.port() == 0 {
            return Err(libc::EINVAL);
        }
        // Over IPv4 its own header counts as well.
        if bytes.len() > if to.is_ipv4() { 65_507 } else { 65_527 } {
            return Err(libc::EMSGSIZE);
        }
        let (len, from) = (bytes.len(), socket.host);
        let to_host = host_of(to.ip(), from);
        let here = match socket.at.ip() {
            _ if to_host != from => address_of(from),
            ip if ip.is_unspecified() => specific(to.ip()),
            ip => ip,
        };
        let sender = SocketAddr::new(here, socket.at.port());
        if !self.passes(from, to_host) || scope.chance(|faults| faults.loss, "datagram was lost") {
            return Ok(len);
        }
        let datagram = Box::new(Datagram { to: to_host, port: to.port(), from: sender, bytes });
        if scope.chance(|f| f.duplicate, "datagram arrived twice") {
            self.dispatch(scope, from, datagram.clone());
        }
        self.dispatch(scope, from, datagram);
        Ok(len)
    }

    fn dispatch(&mut self, scope: &mut Scope<'_>, from: HostId, mut datagram: Box<Datagram>) {
        if from != datagram.to {
            corruption::strike(scope, &mut datagram.bytes);
        }
        let mut delay = scope.delay(from, datagram.to);
        if scope.chance(|faults| faults.reorder, "datagram was overtaken") {
            delay *= 10;
        } else {
            let last = self.last_datagram.entry((from, datagram.to)).or_default();
            *last = (*last + 1).max(scope.now() + delay);
            delay = *last - scope.now();
        }
        scope.schedule(delay, Event::Net(NetEvent::Datagram(datagram)));
    }

    pub(crate) fn receive_from(
        &mut self,
        id: SocketId,
        operation: Operation,
    ) -> Tried<(SocketAddr, Vec<u8>)> {
        let misused = self.misused(id, [libc::ENOTCONN, libc::EINVAL, 0]);
        let Some(Socket::Datagrams(socket)) = self.sockets.get_mut(&id) else {
            return Some(Err(misused));
        };
        match socket.arrived.pop_front() {
            Some((from, bytes)) => {
                socket.filled -= bytes.len();
                Some(Ok((from, bytes)))
            }
            None => {
                socket.waiting.push(operation);
                None
            }
        }
    }

    /// The last owner of a socket has let go of it.
    pub(crate) fn close(&mut self, scope: &mut Scope<'_>, id: SocketId) {
        self.unbind(id);
        match self.sockets.remove(&id) {
            Some(Socket::Stream(stream)) => {
                // Unread bytes: the other side is told so, and what is under way to it may be lost.
                let mut unread = !stream.arrived.is_empty();
                if stream.family == Family::Unix {
                    unread |= self.has_bytes(stream.incoming);
                }
                if unread {
                    scope.mark("closed with bytes unread");
                    if stream.family == Family::Ip {
                        self.cut_short(scope, stream.outgoing);
                    }
                    self.push(scope, stream.outgoing, Segment::Reset);
                } else if !stream.shut && !stream.reset {
                    self.push(scope, stream.outgoing, Segment::End);
                }
                self.forget_empty(stream.outgoing);
                self.forget_empty(stream.incoming);
            }
            Some(Socket::Listening(listening)) => {
                for waiting in listening.backlog {
                    let pipe = self.stream_mut(waiting).and_then(|stream| stream.outgoing);
                    self.push(scope, pipe, Segment::Reset);
                    self.close(scope, waiting);
                }
            }
            Some(Socket::Datagrams(_)) | None => {}
        }
    }

    /// Whether bytes are under way.
    fn has_bytes(&self, pipe: Option<PipeId>) -> bool {
        let pipe = pipe.and_then(|pipe| self.pipes.get(&pipe));
        let is_bytes = |(_, segment): &(u64, Segment)| matches!(segment, Segment::Bytes(_));
        pipe.is_some_and(|pipe| pipe.under_way.iter().any(is_bytes))
    }

    /// Loses the last segments that are under way, or none.
    fn cut_short(&mut self, scope: &mut Scope<'_>, pipe: Option<PipeId>) {
        if let Some(pipe) = pipe.and_then(|pipe| self.pipes.get_mut(&pipe)) {
            let kept = scope.between(0, pipe.under_way.len() as u64) as usize;
            for (_, segment) in pipe.under_way.drain(kept..) {
                if let Segment::Bytes(bytes) = segment {
                    pipe.filled -= bytes.len();
                }
            }
        }
    }

    /// Forgets a pipe that is empty and has no sender: nothing will come out of it.
    fn forget_empty(&mut self, pipe: Option<PipeId>) {
        let Some(id) = pipe else { return };
        let over = self.pipes.get(&id).is_some_and(|pipe| {
            pipe.under_way.is_empty() && !self.sockets.contains_key(&pipe.from)
        });
        if over {
            self.pipes.remove(&id);
        }
    }

    fn unbind(&mut self, id: SocketId) {
        match self.sockets.get(&id) {
            Some(Socket::Listening(listening)) => {
                // A path may be another listener's by now.
                let place = (listening.host, key(&listening.at));
                if self.listening.get(&place) == Some(&id) {
                    self.listening.remove(&place);
                }
            }
            Some(Socket::Datagrams(datagrams)) => {
                self.bound.remove(&(datagrams.host, datagrams.at.port()));
            }
            Some(Socket::Stream(_)) | None => {}
        }
    }
}

fn stream_waits(sockets: &mut BTreeMap<SocketId, Socket>, id: SocketId, operation: Operation) {
    if let Some(Socket::Stream(stream)) = sockets.get_mut(&id) {
        stream.waiting.push(operation);
    }
}

fn stream_outgoing(sockets: &BTreeMap<SocketId, Socket>, id: SocketId) -> Option<PipeId> {
    match sockets.get(&id) {
        Some(Socket::Stream(stream)) => stream.outgoing,
        _ => None,
    }
}
