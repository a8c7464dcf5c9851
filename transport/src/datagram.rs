//! Datagrams, over UDP.

use std::{io, net::SocketAddr};

use annulus_codec::chunk::ChunkWriter;

use crate::{
    driver::{Data, Descriptor, Fill, Operation, OperationError, Output, PeerAddress},
    io::{Io, mismatch},
};

/// A datagram that came in.
#[derive(Debug)]
pub struct Datagram {
    /// The chunk given, with the datagram committed to it.
    pub chunk: ChunkWriter,
    /// How many of its bytes were kept.
    pub bytes: usize,
    /// Who sent it.
    pub from: PeerAddress,
    /// Whether it was longer than the room for it, and the rest is lost.
    pub truncated: bool,
}

/// A bound datagram socket. Clones share it; it is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct DatagramSocket {
    io: Io,
    socket: Descriptor,
    address: SocketAddr,
}

impl DatagramSocket {
    /// Binds a socket with about `buffer` bytes of room in the kernel each way. Port zero means a
    /// free one.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn bind(io: &Io, at: SocketAddr, buffer: usize) -> io::Result<Self> {
        let (socket, address) = io.datagram_socket(at, buffer)?;
        Ok(DatagramSocket { io: io.clone(), socket, address })
    }

    /// Where it is bound, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Receives one datagram into the free end of a chunk.
    ///
    /// If the future is dropped after it was polled, a datagram that had arrived may be lost with it.
    ///
    /// # Errors
    /// As recvmsg(2); `ENOBUFS` if the chunk is full. The chunk is lost.
    pub async fn receive(&self, into: ChunkWriter) -> Result<Datagram, OperationError> {
        let receive =
            Operation::ReceiveFrom { socket: self.socket.clone(), into: Fill::Chunk(into) };
        match self.io.run(receive, None).await? {
            Output::ReceivedFrom { into, bytes, from, truncated } => Ok(Datagram {
                chunk: into.into_chunk().expect("what was given comes back"),
                bytes,
                from,
                truncated,
            }),
            other => mismatch(&other),
        }
    }

    /// Sends one datagram. It goes whole or not at all; whether it arrives nobody says.
    ///
    /// # Errors
    /// As sendmsg(2): `EMSGSIZE` if it is too long, or in more than
    /// [`MAX_PIECES`](crate::driver::MAX_PIECES) leases.
    pub async fn send_to(&self, to: SocketAddr, data: Data) -> Result<(), OperationError> {
        let socket = self.socket.clone();
        self.io.run(Operation::SendTo { socket, to, data }, None).await?;
        Ok(())
    }
}
