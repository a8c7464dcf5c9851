//! A peer that speaks the wire protocol by hand, over an ordinary socket, and may break it.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, SystemTime},
};

use annulus::codec::{
    address::Slot,
    frame::{HEADER_LEN, Header, Kind, padded},
    handshake::{Handshake, HandshakeError, Hello, Step},
    message::MessageId,
};

use crate::PATIENCE;

/// A connection to a node.
#[derive(Debug)]
pub struct RawPeer {
    socket: TcpStream,
    received: Vec<u8>,
    /// The other links of the session.
    others: Vec<RawPeer>,
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

/// A sign of life.
pub fn ping() -> Vec<u8> {
    let ping = MessageId::from_bits(1);
    frame(Header::new(Kind::System, Slot::new(0, 0), 0, ping, 0), &[], &[])
}

impl RawPeer {
    /// Connects, and says nothing yet.
    pub fn connect(endpoint: &str) -> Self {
        let address = endpoint.strip_prefix("tcp://").unwrap();
        Self::over(TcpStream::connect(address).unwrap())
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        RawPeer { socket, received: Vec::new(), others: Vec::new(), hello: None }
    }

    /// Takes the next connection of a node that dials, and goes through the handshake.
    ///
    /// # Panics
    /// If none comes, or the node does not want it.
    pub fn accepted(listener: &TcpListener, own: &Hello) -> Self {
        let mut peer = Self::over(listener.accept().unwrap().0);
        let mut handshake = Handshake::accept(b"", [7; 32]);
        let mut step = handshake.input(&[]).unwrap();
        loop {
            let input = match step {
                Step::Receive => peer.some_bytes().expect("the connection lives"),
                Step::Send(bytes) => {
                    peer.send(&bytes);
                    Vec::new()
                }
                Step::Decide(hello) => {
                    peer.hello = Some(hello);
                    peer.send(&handshake.admit(own));
                    peer.received = handshake.into_rest();
                    return peer;
                }
                Step::Done(_) => unreachable!("this side was dialled"),
            };
            step = handshake.input(&input).unwrap();
        }
    }

    /// Shows that it lives until the connection ends. Returns how long that took.
    #[track_caller]
    pub fn pings_until_closed(&mut self) -> Duration {
        let begin = Instant::now();
        loop {
            self.send(&ping());
            if self.bytes_now().is_err() {
                return begin.elapsed();
            }
            assert!(begin.elapsed() < PATIENCE, "the connection lives");
        }
    }

    /// Connects, goes through the handshake, and does so again for each further link: one for each
    /// worker of the node. What is sent goes over the first one.
    pub fn introduced(endpoint: &str, name: &str) -> Self {
        let mut own = hello(name);
        let mut peer = Self::connect(endpoint);
        peer.shake_hands(b"", own.clone()).unwrap();
        let links = peer.hello.as_ref().map_or(1, |hello| hello.workers);
        for link in 1..links {
            own.link = link;
            let mut other = Self::connect(endpoint);
            other.shake_hands(b"", own.clone()).unwrap();
            peer.others.push(other);
        }
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
        loop {
            match self.bytes_now() {
                Ok(bytes) if bytes.is_empty() => {
                    assert!(begin.elapsed() < PATIENCE, "the node is silent");
                }
                Ok(bytes) => return Some(bytes),
                Err(_) => return None,
            }
        }
    }

    /// What has come, and may be nothing.
    fn bytes_now(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 4096];
        match self.socket.read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(bytes[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Waits for the end of the connection.
    #[track_caller]
    pub fn is_closed(&mut self) {
        let begin = Instant::now();
        while self.bytes_now().is_ok() {
            assert!(begin.elapsed() < PATIENCE, "the connection lives");
        }
    }

    /// The next answer, on any of the links: its header and its payload.
    ///
    /// # Panics
    /// If the connection ends before, or none comes.
    #[track_caller]
    pub fn next_answer(&mut self) -> (Header, Vec<u8>) {
        let begin = Instant::now();
        loop {
            for link in std::iter::once(&mut self.received)
                .chain(self.others.iter_mut().map(|other| &mut other.received))
            {
                if let Some(frame) = take_frame(link) {
                    return frame;
                }
            }
            assert!(begin.elapsed() < PATIENCE, "no frame comes");
            let bytes = self.bytes_now().expect("the connection lives");
            self.received.extend_from_slice(&bytes);
            for other in &mut self.others {
                let bytes = other.bytes_now().expect("the connection lives");
                other.received.extend_from_slice(&bytes);
            }
        }
    }
}

/// Takes whole frames off the front, up to the first answer; the node also sends signs of life, and
/// news of other nodes.
fn take_frame(received: &mut Vec<u8>) -> Option<(Header, Vec<u8>)> {
    loop {
        let head = received.first_chunk::<HEADER_LEN>()?;
        let header = Header::from_wire(head, 1 << 24).unwrap();
        if received.len() < header.frame_len() {
            return None;
        }
        let frame: Vec<u8> = received.drain(..header.frame_len()).collect();
        if matches!(header.kind, Kind::Reply | Kind::Failure) {
            let start = header.payload_start();
            let end = start + header.payload_len as usize;
            return Some((header, frame[start..end].to_vec()));
        }
    }
}
