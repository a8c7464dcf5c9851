//! What is under way between sockets, and what happens when it arrives.

use std::{collections::VecDeque, net::SocketAddr};

use annulus::transport::endpoint::Endpoint;

use crate::{
    address::{Family, address_of, is_abstract, key, specific},
    world::{Event, Scope},
};

use super::{
    Answer, CONNECT_TRIES, Datagram, HostId, Knock, Met, Net, NetEvent, Pipe, PipeId, RETRY,
    Segment, Socket, SocketId, State, Stream,
};

impl Net {
    pub(super) fn push(&mut self, scope: &mut Scope<'_>, pipe: Option<PipeId>, segment: Segment) {
        let Some(id) = pipe else { return };
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        let mut delay = scope.delay(pipe.hosts.0, pipe.hosts.1);
        if scope.chance(|faults| faults.loss, "segment was sent again") {
            delay += scope.between(RETRY.0, RETRY.1);
        }
        pipe.last_arrival = pipe.last_arrival.max(scope.now() + delay);
        let first = pipe.under_way.is_empty();
        pipe.under_way.push_back((pipe.last_arrival, segment));
        if first {
            let wait = pipe.last_arrival - scope.now();
            scope.schedule(wait, Event::Net(NetEvent::Arrive(id)));
        }
    }

    pub(crate) fn happen(&mut self, scope: &mut Scope<'_>, event: NetEvent) {
        match event {
            NetEvent::Arrive(pipe) => self.arrive(scope, pipe),
            NetEvent::Knock(knock) => self.knock(scope, knock),
            NetEvent::Answer(answer) => self.answer(scope, &answer),
            NetEvent::Reset(socket) => {
                if let Some(stream) = self.stream_mut(socket) {
                    stream.reset();
                    scope.ready(&mut stream.waiting);
                }
            }
            NetEvent::Datagram(datagram) => self.datagram(scope, *datagram),
        }
    }

    fn arrive(&mut self, scope: &mut Scope<'_>, id: PipeId) {
        let Some(pipe) = self.pipes.get(&id) else { return };
        let (from, to) = pipe.hosts;
        if !self.passes(from, to) {
            scope.mark("segment met a cut");
            let retry = scope.between(RETRY.0, RETRY.1);
            return scope.schedule(retry, Event::Net(NetEvent::Arrive(id)));
        }
        let now = scope.now();
        while let Some(pipe) = self.pipes.get_mut(&id) {
            match pipe.under_way.front() {
                None => return self.forget_empty(Some(id)),
                Some((at, _)) if *at > now => {
                    let wait = *at - now;
                    return scope.schedule(wait, Event::Net(NetEvent::Arrive(id)));
                }
                Some(_) => {}
            }
            let Some((_, segment)) = pipe.under_way.pop_front() else { return };
            let (receiver, sender) = (pipe.to, pipe.from);
            let Some(Socket::Stream(stream)) = self.sockets.get_mut(&receiver) else {
                // Nobody is there any more.
                if segment != Segment::Reset && !self.is_unix(sender) {
                    scope.mark("segment met no socket");
                    let delay = scope.delay(to, from);
                    scope.schedule(delay, Event::Net(NetEvent::Reset(sender)));
                }
                self.pipes.remove(&id);
                return;
            };
            match segment {
                Segment::Bytes(bytes) => stream.arrived.extend(bytes),
                Segment::End => stream.at_end = true,
                Segment::Reset => stream.reset(),
            }
            scope.ready(&mut stream.waiting);
        }
    }

    fn is_unix(&self, id: SocketId) -> bool {
        let socket = self.sockets.get(&id);
        matches!(socket, Some(Socket::Stream(Stream { family: Family::Unix, .. })))
    }

    fn knock(&mut self, scope: &mut Scope<'_>, mut knock: Box<Knock>) {
        let Knock { client, from, to, ref at, .. } = *knock;
        if self.stream_mut(client).is_none() {
            return;
        }
        let listener = self.listening.get(&(to, key(at))).copied();
        let full = listener.is_some_and(|listener| match self.sockets.get(&listener) {
            Some(Socket::Listening(listening)) => listening.backlog.len() > listening.room,
            _ => false,
        });
        if !self.passes(from, to) || full {
            if knock.tries >= CONNECT_TRIES {
                let answer = Answer { client, answer: Err(libc::ETIMEDOUT) };
                return scope.schedule(0, Event::Net(NetEvent::Answer(Box::new(answer))));
            }
            knock.tries += 1;
            let wait = scope.between(500_000_000, 1_000_000_000);
            return scope.schedule(wait, Event::Net(NetEvent::Knock(knock)));
        }
        let unlucky = scope.chance(|faults| faults.connect_error, "connection was refused");
        let answer = match listener.filter(|_| !unlucky) {
            Some(listener) => Ok(self.meet(scope, client, (from, to), listener, at)),
            None => Err(self.no_listener(to, at)),
        };
        // The way back may be cut: then the client waits until it is not, or gives up.
        let delay = scope.delay(to, from);
        let answer = Answer { client, answer };
        scope.schedule(delay, Event::Net(NetEvent::Answer(Box::new(answer))));
    }

    /// Why nobody can be connected to.
    fn no_listener(&self, host: HostId, at: &Endpoint) -> i32 {
        match at {
            Endpoint::Unix(path)
                if !is_abstract(path) && !self.paths.contains_key(&(host, path.clone())) =>
            {
                libc::ENOENT
            }
            _ => libc::ECONNREFUSED,
        }
    }

    /// Makes the server's side of a connection, and both pipes.
    fn meet(
        &mut self,
        scope: &mut Scope<'_>,
        client: SocketId,
        (from, to): (HostId, HostId),
        listener: SocketId,
        at: &Endpoint,
    ) -> Met {
        let server = scope.next_descriptor();
        let there = self.pipe(client, server, (from, to));
        let back = self.pipe(server, client, (to, from));
        let port = self.free_port();
        let (family, remotes) = match at {
            Endpoint::Tcp(at) | Endpoint::Udp(at) => {
                let ip = specific(at.ip());
                let from = if ip.is_loopback() { ip } else { address_of(from) };
                let remotes = (SocketAddr::new(from, port), SocketAddr::new(ip, at.port()));
                (Family::Ip, Some(remotes))
            }
            Endpoint::Unix(_) => (Family::Unix, None),
        };
        let stream = Stream {
            state: State::Connected,
            remote: remotes.map(|(client, _)| client),
            outgoing: Some(back),
            incoming: Some(there),
            ..Stream::new(to, family)
        };
        self.sockets.insert(server, Socket::Stream(stream));
        if let Some(Socket::Listening(listening)) = self.sockets.get_mut(&listener) {
            listening.backlog.push_back(server);
            scope.ready(&mut listening.waiting);
        }
        if let Some(stream) = self.stream_mut(client) {
            stream.remote = remotes.map(|(_, server)| server);
        }
        Met { server, there, back }
    }

    fn pipe(&mut self, from: SocketId, to: SocketId, hosts: (HostId, HostId)) -> PipeId {
        self.last_pipe += 1;
        let pipe = Pipe { from, to, hosts, under_way: VecDeque::new(), filled: 0, last_arrival: 0 };
        self.pipes.insert(self.last_pipe, pipe);
        self.last_pipe
    }

    fn answer(&mut self, scope: &mut Scope<'_>, &Answer { client, answer }: &Answer) {
        let gone = answer.is_ok_and(|met| !self.sockets.contains_key(&met.server));
        if let Some(Met { there, back, .. }) = answer.ok().filter(|_| gone) {
            // The server has vanished meanwhile.
            self.pipes.remove(&there);
            self.pipes.remove(&back);
        }
        let Some(stream) = self.stream_mut(client) else {
            // The client has given up: its side of the connection is closed.
            return self.push(scope, answer.ok().map(|met| met.there), Segment::Reset);
        };
        match answer {
            Ok(_) if gone => stream.state = State::Failed(libc::ECONNRESET),
            Ok(Met { there, back, .. }) => {
                stream.state = State::Connected;
                (stream.outgoing, stream.incoming) = (Some(there), Some(back));
            }
            Err(errno) => stream.state = State::Failed(errno),
        }
        scope.ready(&mut stream.waiting);
    }

    fn datagram(&mut self, scope: &mut Scope<'_>, datagram: Datagram) {
        let Datagram { to, port, from, bytes } = datagram;
        let socket = self.bound.get(&(to, port)).filter(|_| !self.down.contains(&to));
        let socket = socket.and_then(|id| self.sockets.get_mut(id));
        let Some(Socket::Datagrams(socket)) = socket else { return };
        if socket.filled + bytes.len() > scope.faults().datagram_room {
            return scope.mark("datagram found no room");
        }
        socket.filled += bytes.len();
        socket.arrived.push_back((from, bytes));
        scope.ready_one(&mut socket.waiting);
    }
}
