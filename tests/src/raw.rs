//! A peer that speaks the wire protocol by hand, over an ordinary socket, and may break it.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant, SystemTime},
};

use annulus::codec::{
    frame::{HEADER_LEN, Header, Kind, padded},
    handshake::{Handshake, HandshakeError, Hello, Step},
};

use crate::PATIENCE;

/// A connection to a node.
#[derive(Debug)]
pub struct RawPeer {
    socket: TcpStream,
    received: Vec<u8>,
    /// What the node said of itself.
    pub hello: Option<Hello>,
}

/// What an honest node with this name would say of itself.
pub fn hello(name: &str) -> Hello {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Hello {
        cluster: "annulus".into(),
        node: name.into(),
        incarnation: now.as_nanos() as u64,
        workers: 1,
        link: 0,
        endpoints: Vec::new(),
        datagrams: Vec::new(),
        datagram_token: 0,
        max_payload: 1 << 20,
    }
}

/// The bytes of a frame whose header is as given, apart from the two lengths.
pub fn frame(header: Header, extensions: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut header = header;
    header.payload_len = payload.len() as u32;
    header.extension_len = extensions.len() as u16;
    let mut bytes = header.to_wire().to_vec();
    bytes.extend_from_slice(extensions);
    bytes.extend_from_slice(payload);
    bytes.resize(HEADER_LEN + extensions.len() + padded(payload.len()), 0);
    bytes
}

impl RawPeer {
    /// Connects, and says nothing yet.
    pub fn connect(endpoint: &str) -> Self {
        let address = endpoint.strip_prefix("tcp://").unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        RawPeer { socket, received: Vec::new(), hello: None }
    }

    /// Connects, and goes through the handshake.
    pub fn introduced(endpoint: &str, name: &str) -> Self {
        let mut peer = Self::connect(endpoint);
        peer.shake_hands(b"", hello(name)).unwrap();
        peer
    }

    /// Goes through the handshake.
    ///
    /// # Errors
    /// As the node answers; `None` if it closes the connection.
    pub fn shake_hands(
        &mut self,
        secret: &[u8],
        hello: Hello,
    ) -> Result<(), Option<HandshakeError>> {
        let mut handshake = Handshake::dial(secret, [7; 32], hello);
        self.send(&handshake.greeting());
        loop {
            let bytes = self.some_bytes().ok_or(None)?;
            let mut step = handshake.input(&bytes).map_err(Some)?;
            while let Step::Send(bytes) = step {
                self.send(&bytes);
                step = handshake.input(&[]).map_err(Some)?;
            }
            if let Step::Done(hello) = step {
                self.hello = Some(hello);
                self.received = handshake.into_rest();
                return Ok(());
            }
        }
    }

    /// Sends bytes as they are. That the node may have closed the connection shows later.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Some bytes, or `None` at the end of the connection.
    fn some_bytes(&mut self) -> Option<Vec<u8>> {
        let begin = Instant::now();
        let mut bytes = vec![0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => return Some(bytes[..count].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(begin.elapsed() < PATIENCE, "the node is silent");
                }
                Err(_) => return None,
            }
        }
    }

    /// Waits for the end of the connection.
    #[track_caller]
    pub fn is_closed(&mut self) {
        let begin = Instant::now();
        while self.some_bytes().is_some() {
            assert!(begin.elapsed() < PATIENCE, "the connection lives");
        }
    }

    /// The next frame that is no sign of life: its header and its payload.
    ///
    /// # Panics
    /// If the connection ends before.
    #[track_caller]
    pub fn next_frame(&mut self) -> (Header, Vec<u8>) {
        loop {
            if let Some(head) = self.received.first_chunk::<HEADER_LEN>() {
                let header = Header::from_wire(head, 1 << 24).unwrap();
                if self.received.len() >= header.frame_len() {
                    let frame: Vec<u8> = self.received.drain(..header.frame_len()).collect();
                    let start = header.payload_start();
                    if header.kind != Kind::System {
                        let end = start + header.payload_len as usize;
                        return (header, frame[start..end].to_vec());
                    }
                    continue;
                }
            }
            let bytes = self.some_bytes().expect("the connection lives");
            self.received.extend_from_slice(&bytes);
        }
    }
}
