//! The driver's side of a world: the operations of workers, from their start to their end.

use std::{path::Path, sync::mpsc::Sender, task::Waker, time::Duration};

use annulus::transport::{
    driver::{
        Cause, Data, Descriptor, Detached, DriverCounters, Fill, MAX_PIECES, Operation as Request,
        OperationError, OperationKey, OperationName, Output, Simulated,
    },
    endpoint::Endpoint,
};

use crate::net::SocketId;

use super::{Event, Operation, Scope, WorkerId, World};

/// An operation of a worker.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) request: Option<Request>,
    /// Bytes of it that have been sent.
    pub(super) sent: usize,
    /// Whether it is in the disk's hands, for which it waits no longer than that.
    pub(super) begun: bool,
    pub(super) results: std::collections::VecDeque<Result<Output, OperationError>>,
    pub(super) waker: Option<Waker>,
}

impl World {
    pub(crate) fn ringer(&self) -> Sender<WorkerId> {
        self.ringer.clone()
    }

    pub(crate) fn ring_sibling(&mut self, worker: WorkerId, number: usize) {
        let state = &mut self.workers[worker];
        let sibling = state.siblings.clone().nth(number).filter(|sibling| *sibling != worker);
        let Some(sibling) = sibling else {
            state.counters.doorbells_failed += 1;
            return;
        };
        if state.alive {
            state.counters.doorbells_rung += 1;
            self.ring(sibling);
        }
    }

    pub(crate) fn counters(&self, worker: WorkerId) -> DriverCounters {
        self.workers[worker].counters
    }

    pub(crate) fn in_flight(&self, worker: WorkerId) -> usize {
        // What has ended and is not yet polled is not in flight.
        self.workers[worker].slots.iter().filter(|(_, slot)| slot.request.is_some()).count()
    }

    pub(crate) fn take_woken(&mut self, worker: WorkerId, woken: &mut Vec<Waker>) {
        let state = &mut self.workers[worker];
        state.counters.enters += 1;
        woken.append(&mut state.woken);
    }

    pub(crate) fn start(
        &mut self,
        worker: WorkerId,
        request: Request,
        deadline: Option<Duration>,
    ) -> OperationKey {
        let receives_on = match &request {
            Request::Receive { socket, into } | Request::ReceiveFrom { socket, into, .. } => {
                number_of(socket).filter(|_| into.room() > 0)
            }
            _ => None,
        };
        let state = &mut self.workers[worker];
        state.generation = state.generation.wrapping_add(1);
        state.counters.operations += 1;
        let generation = state.generation;
        let index = state.slots.insert(Slot {
            generation,
            request: Some(request),
            sent: 0,
            begun: false,
            results: std::collections::VecDeque::new(),
            waker: None,
        });
        let key = OperationKey { index: index as u32, generation };
        let operation = Operation { worker, key };
        if state.alive {
            if !receives_on.is_some_and(|socket| self.net.waits(socket, operation)) {
                let delay = self.kernel_random.time(self.common.faults.operation);
                self.common.schedule(delay, Event::Try(operation));
            }
            if let Some(deadline) = deadline {
                let after = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
                self.common.schedule(after, Event::Deadline(operation));
            }
        }
        key
    }

    fn slot(&mut self, operation: Operation) -> Option<&mut Slot> {
        let slots = &mut self.workers[operation.worker].slots;
        let slot = slots.get_mut(operation.key.index as usize)?;
        (slot.generation == operation.key.generation).then_some(slot)
    }

    /// The next result of an operation. If there is none, `waker` is kept; the one before comes back.
    pub(crate) fn poll(
        &mut self,
        worker: WorkerId,
        key: OperationKey,
        waker: &Waker,
    ) -> (Option<Result<Output, OperationError>>, Option<Waker>) {
        let slot = self.slot(Operation { worker, key }).expect("the key is out of date");
        match slot.results.pop_front() {
            None => (None, slot.waker.replace(waker.clone())),
            Some(result) => {
                let over = slot.request.is_none() && slot.results.is_empty();
                let old = slot.waker.take();
                if over {
                    self.workers[worker].slots.remove(key.index as usize);
                }
                (Some(result), old)
            }
        }
    }

    /// Gives an operation up.
    pub(crate) fn forget(&mut self, worker: WorkerId, key: OperationKey) -> Option<Waker> {
        let operation = Operation { worker, key };
        let slot = self.slot(operation)?;
        let waker = slot.waker.take();
        if let Some(Request::Receive { socket, .. }) = &slot.request
            && let Some(socket) = number_of(socket)
            && self.kernel_random.happens(self.common.faults.lost_receive)
        {
            // The cancel has lost the race: the operation has taken bytes, and nobody gets them.
            let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
            let taken = self.net.receive(&mut scope, socket, 4096, operation, |_| ());
            if taken.is_some_and(|taken| taken.is_ok_and(|bytes| bytes > 0)) {
                scope.mark("a dropped receive took bytes");
            }
        }
        let slot = self.workers[worker].slots.remove(key.index as usize);
        if let Some(request) = &slot.request {
            self.give_up(operation, request);
        }
        waker
    }

    fn give_up(&mut self, operation: Operation, request: &Request) {
        if let Request::Receive { socket, .. } | Request::ReceiveFrom { socket, .. } = request
            && let Some(socket) = number_of(socket)
        {
            let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
            self.net.give_up(&mut scope, socket, operation);
        }
    }

    /// Cancels all operations of a worker. Returns wakers that nobody will wake.
    pub(crate) fn quiesce(&mut self, worker: WorkerId) -> Vec<Waker> {
        let slots = self.workers[worker].slots.iter();
        let keys: Vec<OperationKey> = slots
            .map(|(index, slot)| (index as u32, slot.generation))
            .map(|(index, generation)| OperationKey { index, generation })
            .collect();
        for key in keys {
            self.end(Operation { worker, key }, Err(Cause::Canceled));
        }
        let state = &mut self.workers[worker];
        if state.alive { Vec::new() } else { std::mem::take(&mut state.woken) }
    }

    /// A worker's driver is gone. Returns what is left of it, to be dropped.
    pub(crate) fn end_worker(&mut self, worker: WorkerId) -> impl Sized + use<> {
        let state = &mut self.workers[worker];
        state.alive = false;
        (std::mem::take(&mut state.slots), std::mem::take(&mut state.woken))
    }

    fn finish(&mut self, operation: Operation, result: Result<Output, OperationError>) {
        let worker = operation.worker;
        let Some(slot) = self.slot(operation) else { return };
        slot.results.push_back(result);
        let waker = slot.waker.take();
        self.common.trace.note(self.common.now, 3, worker as u64);
        self.workers[worker].woken.extend(waker);
        self.wake(worker);
    }

    /// The operation is over with this.
    fn end(&mut self, operation: Operation, outcome: Result<Output, Cause>) {
        let Some(slot) = self.slot(operation) else { return };
        let Some(request) = slot.request.take() else { return };
        let name = request.name();
        if outcome.is_err() {
            self.give_up(operation, &request);
        }
        drop(request);
        // It may have been the last owner of its socket.
        self.hear_closed();
        self.finish(operation, outcome.map_err(|cause| OperationError { operation: name, cause }));
    }

    pub(super) fn time_out(&mut self, operation: Operation) {
        self.end(operation, Err(Cause::TimedOut));
    }

    /// Tries an operation. If it cannot be done yet, it is noted where it waits.
    pub(super) fn attempt(&mut self, operation: Operation) {
        if !self.workers[operation.worker].alive {
            return;
        }
        let Some(slot) = self.slot(operation) else { return };
        let Some(mut request) = slot.request.take() else { return };
        let (mut sent, mut begun) = (slot.sent, slot.begun);
        let outcome = self.perform(operation, &mut request, &mut sent, &mut begun);
        if let Some(slot) = self.slot(operation) {
            slot.sent = sent;
            slot.begun = begun;
            slot.request = Some(request);
        }
        match outcome {
            None => {}
            Some(Ok(Output::Accepted(connection))) => {
                self.finish(operation, Ok(Output::Accepted(connection)));
                // More may have come.
                let delay = self.kernel_random.time(self.common.faults.operation);
                self.common.schedule(delay, Event::Try(operation));
            }
            Some(outcome) => self.end(operation, outcome),
        }
    }

    fn perform(
        &mut self,
        operation: Operation,
        request: &mut Request,
        sent: &mut usize,
        begun: &mut bool,
    ) -> Option<Result<Output, Cause>> {
        let name = request.name();
        let is_disk = matches!(
            name,
            OperationName::Open
                | OperationName::Read
                | OperationName::Write
                | OperationName::Sync
                | OperationName::Length
        );
        if !*begun && name != OperationName::Accept && self.is_short_of_memory() {
            return Some(Err(Cause::Os(libc::ENOMEM)));
        }
        if is_disk {
            if !std::mem::replace(begun, true) {
                self.wait_for_disk(operation);
                return None;
            }
            return Some(self.perform_on_disk(operation.worker, request));
        }
        self.perform_on_net(operation, request, sent)
    }

    fn is_short_of_memory(&mut self) -> bool {
        let short = self.kernel_random.happens(self.common.faults.no_memory);
        if short {
            self.common.marks.hit("no memory for an operation");
        }
        short
    }

    fn wait_for_disk(&mut self, operation: Operation) {
        let faults = &self.common.faults.disk;
        let mut delay = self.disk_random.time(faults.latency);
        if self.disk_random.happens(faults.stall) {
            self.common.marks.hit("disk stalled");
            delay *= 1000;
        }
        self.common.schedule(delay, Event::Try(operation));
    }

    fn perform_on_net(
        &mut self,
        operation: Operation,
        request: &mut Request,
        sent: &mut usize,
    ) -> Option<Result<Output, Cause>> {
        let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
        let net = &mut self.net;
        let name = request.name();
        let failed = |errno| cause(name, errno);
        match request {
            Request::Accept { listener } => {
                let accepted = net.accept(&mut scope, number_of(listener)?, operation)?;
                let closer = self.closer.clone();
                Some(accepted.map_err(failed).map(|socket| {
                    let detached = Detached::Simulated(Simulated::new(socket, closer));
                    Output::Accepted(Descriptor::new(detached))
                }))
            }
            Request::Connect { socket, to } => {
                let connected = net.connect(&mut scope, number_of(socket)?, to, operation)?;
                Some(connected.map(|()| Output::Connected).map_err(failed))
            }
            Request::Receive { socket, into } => {
                let room = into.room();
                if room == 0 {
                    return Some(Err(Cause::Os(libc::ENOBUFS)));
                }
                let take = |bytes: &[u8]| {
                    let filled = into.fill(bytes);
                    debug_assert!(filled, "no more was received than there is room for");
                };
                let received =
                    net.receive(&mut scope, number_of(socket)?, room, operation, take)?;
                Some(received.map_err(failed).map(|bytes| {
                    let into = std::mem::replace(into, Fill::Bytes(Vec::new()));
                    Output::Received { into, bytes }
                }))
            }
            Request::Send { socket, data } => {
                let socket = number_of(socket)?;
                let whole = data.len();
                loop {
                    // To send nothing fails as well where nothing can be sent.
                    let piece = data.pieces(*sent).next().unwrap_or_default();
                    match net.send(&mut scope, socket, piece, operation)? {
                        Ok(taken) => *sent += taken,
                        Err(errno) => return Some(Err(failed(errno))),
                    }
                    if *sent == whole {
                        return Some(Ok(Output::Sent { bytes: whole }));
                    }
                }
            }
            Request::Shutdown { socket } => {
                let shut = net.shutdown(&mut scope, number_of(socket)?);
                Some(shut.map(|()| Output::ShutDown).map_err(failed))
            }
            _ => self.perform_with_datagrams(operation, request),
        }
    }

    fn perform_with_datagrams(
        &mut self,
        operation: Operation,
        request: &mut Request,
    ) -> Option<Result<Output, Cause>> {
        let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
        let net = &mut self.net;
        match request {
            Request::SendTo { socket, to, data } => {
                if matches!(data, Data::Leases(leases) if leases.len() > MAX_PIECES) {
                    return Some(Err(Cause::Os(libc::EMSGSIZE)));
                }
                let bytes = data.pieces(0).collect::<Vec<_>>().concat();
                let sent = net.send_to(&mut scope, number_of(socket)?, *to, bytes);
                Some(sent.map(|bytes| Output::Sent { bytes }).map_err(Cause::Os))
            }
            Request::ReceiveFrom { socket, into } => {
                let room = into.room();
                if room == 0 {
                    return Some(Err(Cause::Os(libc::ENOBUFS)));
                }
                let received = net.receive_from(number_of(socket)?, operation)?;
                Some(received.map_err(Cause::Os).map(|(from, bytes)| {
                    let kept = bytes.len().min(room);
                    let mut into = std::mem::replace(into, Fill::Bytes(Vec::new()));
                    into.fill(&bytes[..kept]);
                    Output::ReceivedFrom { into, bytes: kept, from, truncated: kept < bytes.len() }
                }))
            }
            _ => None,
        }
    }

    fn perform_on_disk(
        &mut self,
        worker: WorkerId,
        request: &mut Request,
    ) -> Result<Output, Cause> {
        let host = self.workers[worker].host;
        let mut scope = Scope { common: &mut self.common, random: &mut self.disk_random };
        let disk = &mut self.hosts[host].disk;
        let files = &mut self.files;
        let find = |descriptor: &Descriptor| {
            let number = number_of(descriptor);
            number.and_then(|number| files.get(&number)).copied().ok_or(libc::EBADF)
        };
        let done = match request {
            Request::Open { path, flags, .. } => disk.open(path.as_bytes(), *flags).map(|file| {
                let number = scope.next_descriptor();
                files.insert(number, file);
                let detached = Detached::Simulated(Simulated::new(number, self.closer.clone()));
                Output::Opened(Descriptor::new(detached))
            }),
            Request::Read { file, into, len, offset } => {
                let room = into.room().min(*len);
                if room == 0 && *len > 0 {
                    return Err(Cause::Os(libc::ENOBUFS));
                }
                check_offset(*offset)?;
                let read = find(file).and_then(|file| disk.read(&mut scope, file, *offset, room));
                read.map(|bytes| {
                    let mut into = std::mem::replace(into, Fill::Bytes(Vec::new()));
                    into.fill(&bytes);
                    Output::Read { into, bytes: bytes.len() }
                })
            }
            Request::Write { file, data, offset } => {
                check_offset(*offset)?;
                let written =
                    find(file).and_then(|file| disk.write(&mut scope, file, *offset, data));
                written.map(|bytes| {
                    let nothing = Data::Bytes(Vec::new());
                    Output::Written { bytes, data: std::mem::replace(data, nothing) }
                })
            }
            Request::Sync { file, .. } => {
                // What is no file is a socket.
                let file = find(file).map_err(|_| libc::EINVAL);
                file.and_then(|file| disk.sync(&mut scope, file)).map(|()| Output::Synced)
            }
            Request::Length { file } => {
                find(file).map_or(Ok(0), |file| disk.length(file)).map(Output::Length)
            }
            _ => Err(libc::EINVAL),
        };
        done.map_err(Cause::Os)
    }

    // --- Sockets -----------------------------------------------------------------------------------

    fn descriptor(&mut self) -> (SocketId, Descriptor) {
        self.common.descriptors += 1;
        let number = self.common.descriptors;
        let detached = Detached::Simulated(Simulated::new(number, self.closer.clone()));
        (number, Descriptor::new(detached))
    }

    pub(crate) fn stream_socket(
        &mut self,
        worker: WorkerId,
        to: &Endpoint,
    ) -> Result<Descriptor, i32> {
        let (id, descriptor) = self.descriptor();
        self.net.stream(id, self.workers[worker].host, to)?;
        Ok(descriptor)
    }

    pub(crate) fn listen(
        &mut self,
        worker: WorkerId,
        at: &Endpoint,
        backlog: u32,
    ) -> Result<(Descriptor, Endpoint), i32> {
        self.hear();
        let (id, descriptor) = self.descriptor();
        let host = self.workers[worker].host;
        let workers = &self.workers;
        let lives = |worker: WorkerId| workers[worker].alive;
        let at = self.net.listen(id, (host, worker), at, backlog, lives)?;
        Ok((descriptor, at))
    }

    /// Removes the path of a Unix socket that this worker has bound. Returns whether it has.
    pub(crate) fn remove_socket(&mut self, worker: WorkerId, path: &Path) -> bool {
        let host = self.workers[worker].host;
        self.net.remove_path(host, worker, path)
    }

    pub(crate) fn datagram_socket(
        &mut self,
        worker: WorkerId,
        at: std::net::SocketAddr,
    ) -> Result<(Descriptor, std::net::SocketAddr), i32> {
        self.hear();
        let (id, descriptor) = self.descriptor();
        let at = self.net.datagrams(id, self.workers[worker].host, at)?;
        Ok((descriptor, at))
    }

    pub(crate) fn peer_address(&self, socket: &Descriptor) -> Result<std::net::SocketAddr, i32> {
        number_of(socket).map_or(Err(libc::EBADF), |id| self.net.peer_address(id))
    }

    /// Sockets, pipes and files that are open.
    pub(crate) fn held(&mut self) -> (usize, usize, usize) {
        self.hear();
        let (sockets, pipes) = self.net.held();
        (sockets, pipes, self.files.len())
    }
}

/// What an error number means for an operation: as on io_uring.
fn cause(name: OperationName, errno: i32) -> Cause {
    use OperationName::{Receive, Send, Shutdown};
    match errno {
        libc::EPIPE | libc::ECONNRESET | libc::ECONNABORTED => Cause::Closed,
        libc::ENOTCONN if matches!(name, Receive | Send | Shutdown) => Cause::Closed,
        errno => Cause::Os(errno),
    }
}

/// Offsets from 2^63 on mean something else.
fn check_offset(offset: u64) -> Result<(), Cause> {
    if offset > i64::MAX as u64 { Err(Cause::Os(libc::EINVAL)) } else { Ok(()) }
}

fn number_of(descriptor: &Descriptor) -> Option<u64> {
    match descriptor.inner() {
        Detached::Simulated(simulated) => Some(simulated.number()),
        Detached::Os(_) => None,
    }
}
