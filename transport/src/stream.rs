//! Streams of bytes, over TCP or a Unix socket.

use std::{io, net::SocketAddr, time::Duration};

use annulus_codec::chunk::{ChunkWriter, Lease};

use crate::{
    driver::{Data, Descriptor, Detached, Fill, Operation, OperationError, OperationName, Output},
    endpoint::Endpoint,
    io::{Accepting, Io, failed, mismatch},
};

/// Connections that the kernel keeps for a listener until they are accepted.
const BACKLOG: u32 = 1024;

/// Waits for streams to come in. A Unix socket's path is removed when it is dropped, if it still is this
/// listener's.
#[derive(Debug)]
pub struct Listener {
    io: Io,
    accepting: Accepting,
    endpoint: Endpoint,
}

impl Listener {
    /// Listens at an endpoint. For TCP, port zero means a free one.
    ///
    /// A Unix socket that nobody listens on any more is replaced, one that somebody listens on never.
    /// While it listens, the file `<path>.lock` is there and locked.
    ///
    /// # Errors
    /// As socket(2), bind(2) and listen(2); `AddrInUse` if somebody listens there.
    pub fn bind(io: &Io, at: &Endpoint) -> io::Result<Self> {
        let (socket, endpoint) = io.listen(at, BACKLOG)?;
        Ok(Listener { io: io.clone(), accepting: io.accept(&socket), endpoint })
    }

    /// Where it listens, with the port that it got.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The next stream. No connection is lost if the future is dropped.
    ///
    /// # Errors
    /// As accept(2). With too many open files, wait a while before the next call.
    pub async fn accept(&mut self) -> Result<Stream, OperationError> {
        let socket = self.accepting.next().await?;
        Ok(Stream { io: self.io.clone(), socket })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Endpoint::Unix(path) = &self.endpoint {
            // There is nothing to do about an error here. The socket is still open: `accepting` has it.
            let _ = self.io.remove_socket(path);
        }
    }
}

/// A connected stream. It is closed when the last clone is dropped.
///
/// Clones are for different tasks: one to receive, one to send. At most one receive and one send at
/// a time: two sends would mix their bytes. A send that is dropped may have sent a part,
/// and a receive that is dropped may have taken bytes with it: the stream is of no more use then.
#[derive(Clone, Debug)]
pub struct Stream {
    io: Io,
    socket: Descriptor,
}

impl Stream {
    /// Connects to an endpoint; gives up after `timeout`.
    ///
    /// # Errors
    /// As socket(2) and connect(2), or [`Cause::TimedOut`](crate::driver::Cause::TimedOut).
    pub async fn connect(
        io: &Io,
        to: &Endpoint,
        timeout: Option<Duration>,
    ) -> Result<Self, OperationError> {
        let socket =
            io.stream_socket(to).map_err(|error| failed(OperationName::Connect, &error))?;
        let connect = Operation::Connect { socket: socket.clone(), to: to.clone() };
        io.run(connect, timeout).await?;
        Ok(Stream { io: io.clone(), socket })
    }

    /// Receives into the free end of a chunk. Gives it back with the number of bytes that were
    /// committed: zero at the end of the stream.
    ///
    /// If the future is dropped after it was polled, bytes that had arrived may be lost with it: the
    /// stream is of no more use.
    ///
    /// # Errors
    /// As recv(2); `ENOBUFS` if the chunk is full. The chunk is lost.
    pub async fn receive(&self, into: ChunkWriter) -> Result<(ChunkWriter, usize), OperationError> {
        let (fill, bytes) = self.fill(Fill::Chunk(into)).await?;
        let chunk = fill.into_chunk().expect("what was given comes back");
        Ok((chunk, bytes))
    }

    /// Receives into the spare capacity of a vector. Gives it back with the number of bytes by which
    /// it grew: zero at the end of the stream.
    ///
    /// If the future is dropped after it was polled, bytes that had arrived may be lost with it: the
    /// stream is of no more use.
    ///
    /// # Errors
    /// As recv(2); `ENOBUFS` if there is no spare capacity. The vector is lost.
    pub async fn read_some(&self, into: Vec<u8>) -> Result<(Vec<u8>, usize), OperationError> {
        let (fill, bytes) = self.fill(Fill::Bytes(into)).await?;
        let vector = fill.into_bytes().expect("what was given comes back");
        Ok((vector, bytes))
    }

    async fn fill(&self, into: Fill) -> Result<(Fill, usize), OperationError> {
        let socket = self.socket.clone();
        let receive = Operation::Receive { socket, into };
        match self.io.run(receive, None).await? {
            Output::Received { into, bytes } => Ok((into, bytes)),
            other => mismatch(&other),
        }
    }

    /// Sends all bytes of the leases, in order. Returns how many that were.
    ///
    /// # Errors
    /// As send(2). Then a part may have been sent: the stream is of no more use.
    pub async fn send(&self, leases: Vec<Lease>) -> Result<usize, OperationError> {
        self.send_data(Data::Leases(leases)).await
    }

    /// Sends all of the bytes. Returns how many that were.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_bytes(&self, bytes: Vec<u8>) -> Result<usize, OperationError> {
        self.send_data(Data::Bytes(bytes)).await
    }

    async fn send_data(&self, data: Data) -> Result<usize, OperationError> {
        let socket = self.socket.clone();
        let send = Operation::Send { socket, data };
        match self.io.run(send, None).await? {
            Output::Sent { bytes } => Ok(bytes),
            other => mismatch(&other),
        }
    }

    /// Ends the sending direction: the other side sees the end of the stream when it has read all.
    ///
    /// # Errors
    /// As shutdown(2).
    pub async fn shutdown(&self) -> Result<(), OperationError> {
        let socket = self.socket.clone();
        self.io.run(Operation::Shutdown { socket }, None).await?;
        Ok(())
    }

    /// Takes the stream off this worker, to be [attached](Self::attach) to another one.
    ///
    /// # Errors
    /// It comes back if there are clones of it, or operations in flight.
    pub fn detach(self) -> Result<Detached, Stream> {
        let Stream { io, socket } = self;
        socket.detach().map_err(|socket| Stream { io, socket })
    }

    /// A stream that was detached from another worker.
    pub fn attach(io: &Io, detached: Detached) -> Self {
        Stream { io: io.clone(), socket: Descriptor::new(detached) }
    }

    /// Who is at the other end of a connection over IP.
    ///
    /// # Errors
    /// As getpeername(2); `EAFNOSUPPORT` for a Unix socket.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        self.io.peer_address(&self.socket)
    }

    /// The socket itself.
    pub fn descriptor(&self) -> &Descriptor {
        &self.socket
    }
}
