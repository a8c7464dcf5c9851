//! What scripts work with: operations by name, and the notes of what came of them.

use std::{
    cell::{Cell, RefCell},
    ffi::CString,
    future::poll_fn,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    task::Poll,
    time::Duration,
};

use annulus::{
    codec::chunk::{ChunkPool, Lease},
    transport::{
        driver::{Cause, Data, Descriptor, Fill, Operation, OperationError, Output},
        endpoint::Endpoint,
        io::Io,
    },
};

use crate::drivers::join;

/// Receives take at most this much at a time.
const ROOM: usize = 16 << 10;

/// A deadline that is never reached.
pub(crate) const LATE: Option<Duration> = Some(Duration::from_secs(15));

/// A deadline that is reached.
pub(crate) const SOON: Option<Duration> = Some(Duration::from_millis(30));

/// The two kinds of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
}

/// Both of them, for scripts that show the same of each.
pub(crate) const KINDS: [Kind; 2] = [Kind::Tcp, Kind::Unix];

/// What an operation came to.
pub(crate) type Outcome = Result<Output, OperationError>;

/// A script's place of work: two workers of one node, a directory, and the notes.
pub(crate) struct Bench {
    pub(crate) io: Io,
    other: Io,
    uses_other: Cell<bool>,
    simulated: bool,
    dir: PathBuf,
    pool: ChunkPool,
    sockets: Cell<usize>,
    notes: RefCell<Vec<String>>,
}

impl Bench {
    pub(crate) fn new(io: Io, other: Io, dir: PathBuf, simulated: bool) -> Self {
        Bench {
            simulated,
            io,
            other,
            uses_other: Cell::new(false),
            dir,
            pool: ChunkPool::new(1 << 16, 4, 1 << 24),
            sockets: Cell::new(0),
            notes: RefCell::default(),
        }
    }

    /// The other worker.
    pub(crate) fn other(&self) -> &Io {
        self.uses_other.set(true);
        &self.other
    }

    pub(crate) fn uses_other(&self) -> bool {
        self.uses_other.get()
    }

    pub(crate) fn pool(&self) -> &ChunkPool {
        &self.pool
    }

    /// The bytes as leases, one for each text.
    pub(crate) fn leases(&self, texts: &[&str]) -> Vec<Lease> {
        let mut chunk = self.pool.acquire().unwrap();
        let lease = |text: &&str| {
            assert!(chunk.append(text.as_bytes()));
            chunk.take_committed()
        };
        texts.iter().map(lease).collect()
    }

    // --- Notes -------------------------------------------------------------------------------------

    /// Notes what came of something.
    pub(crate) fn note(&self, of: &str, what: impl AsRef<str>) {
        self.notes.borrow_mut().push(format!("{of}: {}", what.as_ref()));
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }

    /// Waits until something is so. What wakes nobody is asked for again and again.
    pub(crate) async fn until(&self, mut so: impl FnMut() -> bool) {
        poll_fn(|context| {
            if so() {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Waits until all of a send has arrived of which some has. On the kernel it has then: it is one
    /// segment. The simulator may cut it.
    pub(crate) async fn let_arrive(&self) {
        if self.simulated {
            let at = "127.0.0.1:0".parse().unwrap();
            let (socket, _) = self.io.datagram_socket(at, 4096).unwrap();
            let into = Fill::Bytes(Vec::with_capacity(1));
            let nothing = self.io.run(Operation::ReceiveFrom { socket, into }, SOON).await;
            assert!(nothing.is_err());
        }
    }

    // --- Operations --------------------------------------------------------------------------------

    pub(crate) async fn run(&self, operation: Operation) -> Outcome {
        self.io.run(operation, None).await
    }

    /// Runs an operation and notes what came of it.
    pub(crate) async fn show(&self, of: &str, operation: Operation) {
        let outcome = self.run(operation).await;
        self.note(of, text(&outcome));
    }

    /// Where a listener of this kind may be: a place of its own each time.
    pub(crate) fn place(&self, kind: Kind) -> Endpoint {
        match kind {
            Kind::Tcp => "tcp://127.0.0.1:0".parse().unwrap(),
            Kind::Unix => {
                self.sockets.set(self.sockets.get() + 1);
                Endpoint::Unix(self.path(&format!("socket{}", self.sockets.get())))
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn listener(&self, kind: Kind) -> (Descriptor, Endpoint) {
        self.io.listen(&self.place(kind), 16).unwrap()
    }

    pub(crate) fn socket(&self, to: &Endpoint) -> Descriptor {
        self.io.stream_socket(to).unwrap()
    }

    /// Connects a new socket.
    pub(crate) async fn connect(
        &self,
        to: &Endpoint,
        deadline: Option<Duration>,
    ) -> Result<Descriptor, OperationError> {
        let socket = self.socket(to);
        let connect = Operation::Connect { socket: socket.clone(), to: to.clone() };
        self.io.run(connect, deadline).await.map(|_| socket)
    }

    /// A client and a server that are connected.
    pub(crate) async fn pair(&self, kind: Kind) -> (Descriptor, Descriptor) {
        let (listener, at) = self.listener(kind);
        let mut accepting = self.io.accept(&listener);
        let (client, server) = join(self.connect(&at, LATE), accepting.next()).await;
        if let Endpoint::Unix(path) = &at {
            self.io.remove_socket(path).unwrap();
        }
        (client.unwrap(), server.unwrap())
    }

    pub(crate) async fn send(&self, socket: &Descriptor, bytes: impl Into<Vec<u8>>) -> String {
        let data = Data::Bytes(bytes.into());
        text(&self.run(Operation::Send { socket: socket.clone(), data }).await)
    }

    /// Sends until it fails, and says how.
    pub(crate) async fn send_until_it_fails(&self, socket: &Descriptor) -> String {
        loop {
            let sent = self.send(socket, "more").await;
            if sent.starts_with("Err") {
                return sent;
            }
            let mut again = false;
            self.until(|| std::mem::replace(&mut again, true)).await;
        }
    }

    pub(crate) async fn shut(&self, socket: &Descriptor) -> String {
        text(&self.run(Operation::Shutdown { socket: socket.clone() }).await)
    }

    /// One receive. How many bytes it brings is left to the driver, unless there is but one.
    pub(crate) async fn receive(&self, socket: &Descriptor) -> Result<Vec<u8>, OperationError> {
        let into = Fill::Bytes(Vec::with_capacity(ROOM));
        match self.run(Operation::Receive { socket: socket.clone(), into }).await? {
            Output::Received { into, bytes } => {
                let received = into.into_bytes().unwrap();
                assert_eq!(received.len(), bytes);
                Ok(received)
            }
            other => panic!("a receive brought {other:?}"),
        }
    }

    /// Receives until there are so many bytes, or no more come. Says why, then.
    pub(crate) async fn receive_bytes(
        &self,
        socket: &Descriptor,
        count: usize,
    ) -> (Vec<u8>, String) {
        let mut all = Vec::new();
        while all.len() < count {
            let room = ROOM.min(count - all.len());
            let into = Fill::Bytes(Vec::with_capacity(room));
            match self.run(Operation::Receive { socket: socket.clone(), into }).await {
                Ok(Output::Received { bytes: 0, .. }) => return (all, " and the end".into()),
                Ok(Output::Received { into, .. }) => all.extend(into.into_bytes().unwrap()),
                outcome => return (all, format!(" and {}", text(&outcome))),
            }
        }
        (all, String::new())
    }

    /// As [`receive_bytes`](Self::receive_bytes), in words.
    pub(crate) async fn receive_text(&self, socket: &Descriptor, count: usize) -> String {
        let (bytes, why) = self.receive_bytes(socket, count).await;
        format!("{:?}{why}", String::from_utf8_lossy(&bytes))
    }

    /// Receives all that comes, in words.
    pub(crate) async fn receive_rest(&self, socket: &Descriptor) -> String {
        self.receive_text(socket, usize::MAX).await
    }

    // --- Files -------------------------------------------------------------------------------------

    pub(crate) async fn open_path(&self, path: &Path, flags: i32) -> Outcome {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        self.run(Operation::Open { path, flags, mode: 0o600 }).await
    }

    /// Opens a file of the script's directory, and notes how that went.
    pub(crate) async fn try_open(&self, name: &str, flags: i32) -> Option<Descriptor> {
        let outcome = self.open_path(&self.path(name), flags).await;
        self.note("open", text(&outcome));
        match outcome {
            Ok(Output::Opened(file)) => Some(file),
            _ => None,
        }
    }

    /// A new file to read and write.
    pub(crate) async fn file(&self, name: &str) -> Descriptor {
        self.try_open(name, libc::O_RDWR | libc::O_CREAT).await.unwrap()
    }

    /// One write, in words.
    pub(crate) async fn write(&self, file: &Descriptor, bytes: &str, offset: u64) -> String {
        let data = Data::Bytes(bytes.into());
        text(&self.run(Operation::Write { file: file.clone(), data, offset }).await)
    }

    /// One read into as much room as it is to read, in words.
    pub(crate) async fn read(&self, file: &Descriptor, len: usize, offset: u64) -> String {
        let into = Fill::Bytes(Vec::with_capacity(len));
        text(&self.run(Operation::Read { file: file.clone(), into, len, offset }).await)
    }

    pub(crate) async fn length(&self, file: &Descriptor) -> String {
        text(&self.run(Operation::Length { file: file.clone() }).await)
    }
}

/// What an operation came to, in words.
pub(crate) fn text(outcome: &Outcome) -> String {
    match outcome {
        Ok(Output::Accepted(_)) => "Accepted".into(),
        Ok(Output::Connected) => "Connected".into(),
        Ok(Output::Received { into, bytes }) => format!("Received {bytes} {}", filled(into)),
        Ok(Output::ReceivedFrom { into, bytes, truncated, .. }) => {
            format!("ReceivedFrom {bytes} {}, truncated: {truncated}", filled(into))
        }
        Ok(Output::Sent { bytes }) => format!("Sent {bytes}"),
        Ok(Output::ShutDown) => "ShutDown".into(),
        Ok(Output::Opened(_)) => "Opened".into(),
        Ok(Output::Read { into, bytes }) => format!("Read {bytes} {}", filled(into)),
        Ok(Output::Written { bytes, data }) => format!("Written {bytes} of {}", data.len()),
        Ok(Output::Synced) => "Synced".into(),
        Ok(Output::Length(length)) => format!("Length {length}"),
        Err(error) => format!("Err({:?}, {})", error.operation, cause(error.cause)),
    }
}

/// What is in the memory that came back.
fn filled(into: &Fill) -> String {
    match into {
        Fill::Bytes(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Fill::Chunk(chunk) => format!("{:?}", String::from_utf8_lossy(chunk.peek())),
    }
}

pub(crate) fn cause(cause: Cause) -> String {
    match cause {
        Cause::Os(errno) => name_of(errno),
        other => format!("{other:?}"),
    }
}

/// What a call came to that is no operation.
pub(crate) fn called<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "Ok".into(),
        Err(error) => match error.raw_os_error() {
            Some(errno) => name_of(errno),
            None => format!("{:?}", error.kind()),
        },
    }
}

/// Errors have a name, or a number if a script has not met them before.
fn name_of(errno: i32) -> String {
    let name = match errno {
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EALREADY => "EALREADY",
        libc::EBADF => "EBADF",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EDESTADDRREQ => "EDESTADDRREQ",
        libc::EEXIST => "EEXIST",
        libc::EINVAL => "EINVAL",
        libc::EISCONN => "EISCONN",
        libc::EISDIR => "EISDIR",
        libc::EMSGSIZE => "EMSGSIZE",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ENOBUFS => "ENOBUFS",
        libc::ENOENT => "ENOENT",
        libc::ENOTCONN => "ENOTCONN",
        libc::ENOTDIR => "ENOTDIR",
        libc::ENOTSOCK => "ENOTSOCK",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EPROTOTYPE => "EPROTOTYPE",
        libc::ESPIPE => "ESPIPE",
        _ => return format!("error {errno}"),
    };
    name.into()
}
