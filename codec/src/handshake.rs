//! How two nodes get to trust a connection: a state machine of bytes in and bytes out.
//!
//! ```text
//! dialer                                   acceptor
//!   | -- greeting (64 bytes) ----------------> |   magic, versions, nonce
//!   | <--------------- greeting (64 bytes) --- |
//!   | -- introduction: proof, hello ---------> |   checks the proof, then reads the hello
//!   | <--- introduction: proof, hello -------- |   or a refusal
//!   |              frames, both ways           |
//! ```
//!
//! Nothing that a stranger sends is parsed beyond fixed fields: an introduction starts with a proof
//! that its sender knows the cluster's secret, an HMAC-SHA256 over both greetings and the
//! introduction itself, and only when that holds is the hello looked at. The nonces make every proof
//! good for one connection, and the role in it keeps a proof from being sent back to its maker.
//!
//! This proves who speaks at the start of a connection. It does not hide or protect what follows.
//!
//! Greeting, 64 bytes, little-endian:
//!
//! ```text
//! offset  size  field
//!      0     8  "ANNULUS\0"
//!      8     2  highest version spoken
//!     10     2  lowest version spoken
//!     12     4  zero
//!     16     8  features, one bit each; none are defined
//!     24    32  nonce
//!     56     8  zero
//! ```
//!
//! Introduction, 48 bytes and the hello:
//!
//! ```text
//! offset  size  field
//!      0     4  length of the hello in bytes
//!      4     4  1 hello, 2 refusal (then no hello follows, and the next field says why)
//!      8     8  code of the refusal, or zero; a duplicate is 2, with the number of the refusing node in
//!              the upper half
//!     16    32  proof
//!     48     .  hello: an rkyv archive of [`Hello`]
//! ```
//!
//! However long a stranger talks, a handshake keeps little of it: until it has ended, an introduction of
//! the largest size and what came in the last call of [`Handshake::input`]; then no more than
//! [`MAX_REST`], or what came with the end; after an error, nothing more.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use rkyv::{
    rancor::{Error, Failure},
    util::AlignedVec,
    validation::{Validator, archive::ArchiveValidator},
};
use sha2::Sha256;

use crate::{address::NodeId, archive::MAX_DEPTH};

/// The version of the wire protocol that this code speaks, and the only one so far.
pub const VERSION: u16 = 1;

/// Bytes of a greeting.
pub const GREETING_LEN: usize = 64;

/// The longest hello, in bytes.
pub const MAX_HELLO: usize = 64 * 1024;

/// The most bytes that a handshake gathers behind its end, until somebody takes the connection over.
pub const MAX_REST: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"ANNULUS\0";
const INTRODUCTION_LEN: usize = 48;
const KIND_HELLO: u32 = 1;
const KIND_REFUSAL: u32 = 2;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Hello {
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Its name.
    pub node: String,
    /// When its process started, in nanoseconds since the Unix epoch: a later life has a larger one.
    pub incarnation: u64,
    /// How many workers it has.
    pub workers: u32,
    /// Which of the links between the two nodes this connection is to be.
    pub link: u32,
    /// Where it can be dialled, as endpoints are written.
    pub endpoints: Vec<String>,
    /// Where each worker takes datagrams, as `host:port`; empty if it takes none.
    pub datagrams: Vec<String>,
    /// What datagrams to it must carry.
    pub datagram_token: u64,
    /// The largest payload that it takes, in bytes.
    pub max_payload: u32,
}

impl Hello {
    /// Whether another node takes a hello of this length. Who makes one asks here what is wrong with
    /// it: [`Handshake::dial`] and [`Handshake::admit`] do not send it then, but can only say so later.
    ///
    /// # Errors
    /// [`HandshakeError::OwnHelloTooLong`].
    pub fn check(&self) -> Result<(), HandshakeError> {
        archive(self).map(drop)
    }
}

/// Why a node does not want a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It belongs to another cluster.
    OtherCluster,
    /// The two nodes are connected already; the other connection stays.
    Duplicate {
        /// The node that says so: its number.
        node: NodeId,
    },
    /// Another node with this name, or one whose number is the same, is connected.
    NameTaken,
    /// The node is this very node.
    Itself,
    /// A node with this name has been started after this one.
    Superseded,
    /// It is shutting down, or takes no more connections.
    Unavailable,
    /// A code that this version does not know.
    Other(u64),
}

impl Refusal {
    fn code(self) -> u64 {
        match self {
            Refusal::OtherCluster => 1,
            Refusal::Duplicate { node } => 2 | u64::from(node.bits()) << 32,
            Refusal::NameTaken => 3,
            Refusal::Itself => 4,
            Refusal::Superseded => 5,
            Refusal::Unavailable => 6,
            Refusal::Other(code) => code,
        }
    }

    fn from_code(code: u64) -> Self {
        match code & u64::from(u32::MAX) {
            1 => Refusal::OtherCluster,
            2 => Refusal::Duplicate { node: NodeId::from_bits((code >> 32) as u32) },
            3 => Refusal::NameTaken,
            4 => Refusal::Itself,
            5 => Refusal::Superseded,
            6 => Refusal::Unavailable,
            _ => Refusal::Other(code),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::OtherCluster => write!(f, "it belongs to another cluster"),
            Refusal::Duplicate { .. } => write!(f, "the nodes are connected already"),
            Refusal::NameTaken => write!(f, "another node has this name"),
            Refusal::Itself => write!(f, "the connection leads back to the same node"),
            Refusal::Superseded => write!(f, "a later start of the node is connected"),
            Refusal::Unavailable => write!(f, "it takes no connections now"),
            Refusal::Other(code) => write!(f, "reason {code}"),
        }
    }
}

/// Why a handshake failed. The connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The other side does not speak this protocol.
    NotAnnulus,
    /// The other side speaks none of our versions.
    Version {
        /// Its lowest version.
        lowest: u16,
        /// Its highest version.
        highest: u16,
    },
    /// The other side does not know the cluster's secret.
    BadProof,
    /// The other side's hello is longer than [`MAX_HELLO`].
    HelloTooLong(u32),
    /// This side's hello is longer than [`MAX_HELLO`], so it was not sent: give the node a shorter name,
    /// or fewer endpoints.
    OwnHelloTooLong(usize),
    /// The other side sent more than [`MAX_REST`] bytes before anybody took the connection over.
    RestTooLong,
    /// The introduction is of no known kind, or its hello is no valid archive.
    BadHello,
    /// The other side does not want the connection.
    Refused(Refusal),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::NotAnnulus => write!(f, "the other side does not speak annulus"),
            HandshakeError::Version { lowest, highest } => write!(
                f,
                "the other side speaks versions {lowest} to {highest}, this node {VERSION}"
            ),
            HandshakeError::BadProof => {
                write!(f, "the other side does not know this cluster's secret")
            }
            HandshakeError::HelloTooLong(len) => {
                write!(f, "hello of {len} bytes; the limit is {MAX_HELLO}")
            }
            HandshakeError::OwnHelloTooLong(len) => write!(
                f,
                "this node's hello has {len} bytes; the limit is {MAX_HELLO}: give it a shorter name, or \
                 fewer endpoints"
            ),
            HandshakeError::RestTooLong => {
                write!(f, "more than {MAX_REST} bytes came before the connection was taken over")
            }
            HandshakeError::BadHello => write!(f, "the other side's hello makes no sense"),
            HandshakeError::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Receive more bytes.
    Receive,
    /// Send these bytes, then receive more.
    Send(Vec<u8>),
    /// For the acceptor: look at the hello, then call [`Handshake::admit`] or [`Handshake::refuse`].
    Decide(Hello),
    /// For the dialer: the connection stands.
    Done(Hello),
}

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Dialer,
    Acceptor,
}

#[derive(Debug)]
enum State {
    Greeting,
    Introduction,
    Finished,
    /// There is nothing more to say than this.
    Failed(HandshakeError),
}

/// One side of a handshake. Feed it what arrives with [`input`](Self::input) and do what it says.
pub struct Handshake {
    role: Role,
    secret: Vec<u8>,
    state: State,
    greeting: [u8; GREETING_LEN],
    peer_greeting: [u8; GREETING_LEN],
    /// What the dialer introduces itself with.
    hello: Option<AlignedVec>,
    input: Vec<u8>,
}

impl Handshake {
    /// The side that connects. Send [`greeting`](Self::greeting) first.
    ///
    /// A hello that is too long is never sent: the handshake has failed before it begins, and
    /// [`input`](Self::input) says so.
    pub fn dial(secret: &[u8], nonce: [u8; 32], hello: Hello) -> Self {
        match archive(&hello) {
            Ok(hello) => Self::new(Role::Dialer, secret, nonce, Some(hello)),
            Err(error) => {
                let mut failed = Self::new(Role::Dialer, secret, nonce, None);
                failed.state = State::Failed(error);
                failed
            }
        }
    }

    /// The side that was connected to. It stays silent until the other side has greeted.
    pub fn accept(secret: &[u8], nonce: [u8; 32]) -> Self {
        Self::new(Role::Acceptor, secret, nonce, None)
    }

    fn new(role: Role, secret: &[u8], nonce: [u8; 32], hello: Option<AlignedVec>) -> Self {
        let mut greeting = [0; GREETING_LEN];
        greeting[0..8].copy_from_slice(&MAGIC);
        greeting[8..10].copy_from_slice(&VERSION.to_le_bytes());
        greeting[10..12].copy_from_slice(&VERSION.to_le_bytes());
        greeting[24..56].copy_from_slice(&nonce);
        Handshake {
            role,
            secret: secret.to_vec(),
            state: State::Greeting,
            greeting,
            peer_greeting: [0; GREETING_LEN],
            hello,
            input: Vec::new(),
        }
    }

    /// The first bytes that the dialer sends.
    pub fn greeting(&self) -> [u8; GREETING_LEN] {
        self.greeting
    }

    /// Takes bytes that have arrived; call it again with none after a [`Step::Send`].
    ///
    /// # Errors
    /// If the other side is not to be talked to any further. The handshake is over then: it takes no
    /// more bytes, and says the same every time.
    pub fn input(&mut self, bytes: &[u8]) -> Result<Step, HandshakeError> {
        let step = self.take(bytes);
        if let Err(error) = &step {
            self.state = State::Failed(error.clone());
            self.input = Vec::new();
        }
        step
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Step, HandshakeError> {
        match &self.state {
            State::Greeting => {
                self.input.extend_from_slice(bytes);
                self.read_greeting()
            }
            State::Introduction => {
                self.input.extend_from_slice(bytes);
                self.read_introduction()
            }
            State::Finished if bytes.is_empty() => Ok(Step::Receive),
            State::Finished if self.input.len() + bytes.len() > MAX_REST => {
                Err(HandshakeError::RestTooLong)
            }
            State::Finished => {
                self.input.extend_from_slice(bytes);
                Ok(Step::Receive)
            }
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// For the acceptor: the last bytes to send; frames may follow them at once.
    ///
    /// In place of a hello that is too long this is a refusal, [`Refusal::Unavailable`], and the
    /// handshake has failed.
    pub fn admit(&mut self, hello: &Hello) -> Vec<u8> {
        match archive(hello) {
            Ok(hello) => self.introduce(KIND_HELLO, 0, &hello),
            Err(error) => {
                self.state = State::Failed(error);
                self.refuse(Refusal::Unavailable)
            }
        }
    }

    /// For the acceptor: the last bytes to send before closing.
    pub fn refuse(&mut self, refusal: Refusal) -> Vec<u8> {
        self.introduce(KIND_REFUSAL, refusal.code(), &[])
    }

    /// What arrived behind the handshake: the start of the stream of frames.
    pub fn into_rest(self) -> Vec<u8> {
        self.input
    }

    fn read_greeting(&mut self) -> Result<Step, HandshakeError> {
        let known = self.input.len().min(MAGIC.len());
        if self.input[..known] != MAGIC[..known] {
            return Err(HandshakeError::NotAnnulus);
        }
        let Some(greeting) = self.input.first_chunk::<GREETING_LEN>() else {
            return Ok(Step::Receive);
        };
        self.peer_greeting = *greeting;
        self.input.drain(..GREETING_LEN);
        let word =
            |at: usize| u16::from_le_bytes([self.peer_greeting[at], self.peer_greeting[at + 1]]);
        let (highest, lowest) = (word(8), word(10));
        if !(lowest..=highest).contains(&VERSION) {
            return Err(HandshakeError::Version { lowest, highest });
        }
        self.state = State::Introduction;
        Ok(Step::Send(match self.hello.take() {
            Some(hello) => self.introduce(KIND_HELLO, 0, &hello),
            None => self.greeting.to_vec(),
        }))
    }

    fn read_introduction(&mut self) -> Result<Step, HandshakeError> {
        let Some(head) = self.input.first_chunk::<INTRODUCTION_LEN>() else {
            return Ok(Step::Receive);
        };
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let total = INTRODUCTION_LEN + len as usize;
        if len as usize > MAX_HELLO {
            return Err(HandshakeError::HelloTooLong(len));
        }
        let Some(introduction) = self.input.get(..total) else {
            return Ok(Step::Receive);
        };
        let (fixed, proof) = (&head[..16], &head[16..]);
        let hello = &introduction[INTRODUCTION_LEN..];
        let peer = if self.role == Role::Dialer { Role::Acceptor } else { Role::Dialer };
        self.mac(peer, fixed, hello).verify_slice(proof).map_err(|_| HandshakeError::BadProof)?;
        let kind = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let code = u64::from_le_bytes([
            head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
        ]);
        let step = match (kind, self.role) {
            (KIND_HELLO, Role::Dialer) => Step::Done(parse(hello)?),
            (KIND_HELLO, Role::Acceptor) => Step::Decide(parse(hello)?),
            (KIND_REFUSAL, _) => return Err(HandshakeError::Refused(Refusal::from_code(code))),
            _ => return Err(HandshakeError::BadHello),
        };
        self.input.drain(..total);
        self.state = State::Finished;
        Ok(step)
    }

    fn introduce(&self, kind: u32, code: u64, hello: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(INTRODUCTION_LEN + hello.len());
        out.extend_from_slice(&(hello.len() as u32).to_le_bytes());
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&code.to_le_bytes());
        let proof = self.mac(self.role, &out, hello).finalize().into_bytes();
        out.extend_from_slice(&proof);
        out.extend_from_slice(hello);
        out
    }

    /// The proof of the side that has this role.
    fn mac(&self, role: Role, fixed: &[u8], hello: &[u8]) -> Hmac<Sha256> {
        let (dialer, acceptor) = match self.role {
            Role::Dialer => (&self.greeting, &self.peer_greeting),
            Role::Acceptor => (&self.peer_greeting, &self.greeting),
        };
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of every length");
        mac.update(&[role as u8]);
        mac.update(dialer);
        mac.update(acceptor);
        mac.update(fixed);
        mac.update(hello);
        mac
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret stays out of logs.
        f.debug_struct("Handshake")
            .field("role", &self.role)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The hello as the other side gets it, if it takes one of this length.
fn archive(hello: &Hello) -> Result<AlignedVec, HandshakeError> {
    let bytes = rkyv::to_bytes::<Error>(hello)
        .expect("a hello is plain strings and numbers, written to memory");
    if bytes.len() > MAX_HELLO {
        return Err(HandshakeError::OwnHelloTooLong(bytes.len()));
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Hello, HandshakeError> {
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    let validator = ArchiveValidator::with_max_depth(&aligned, Some(MAX_DEPTH));
    let archived = rkyv::api::access_with_context::<ArchivedHello, _, Failure>(
        &aligned,
        &mut Validator::new(validator, ()),
    )
    .map_err(|Failure| HandshakeError::BadHello)?;
    rkyv::deserialize::<Hello, Error>(archived).map_err(|_| HandshakeError::BadHello)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(node: &str) -> Hello {
        Hello {
            cluster: "test".into(),
            node: node.into(),
            incarnation: 7,
            workers: 2,
            link: 1,
            endpoints: vec!["tcp://127.0.0.1:1".into()],
            datagrams: vec![],
            datagram_token: 3,
            max_payload: 1 << 20,
        }
    }

    /// Runs both sides, passing `step` bytes at a time.
    fn run(
        dialer: &mut Handshake,
        acceptor: &mut Handshake,
        step: usize,
    ) -> Result<(Hello, Hello), HandshakeError> {
        let mut to_acceptor = dialer.greeting().to_vec();
        let mut to_dialer = Vec::new();
        let mut seen = None;
        for _ in 0..10_000 {
            let count = step.min(to_acceptor.len());
            let bytes: Vec<u8> = to_acceptor.drain(..count).collect();
            match acceptor.input(&bytes)? {
                Step::Send(bytes) => to_dialer.extend(bytes),
                Step::Decide(peer) => {
                    to_dialer.extend(acceptor.admit(&hello("acceptor")));
                    seen = Some(peer);
                }
                Step::Receive | Step::Done(_) => {}
            }
            let count = step.min(to_dialer.len());
            let bytes: Vec<u8> = to_dialer.drain(..count).collect();
            match dialer.input(&bytes)? {
                Step::Send(bytes) => to_acceptor.extend(bytes),
                Step::Done(peer) => return Ok((seen.expect("the acceptor decides first"), peer)),
                Step::Receive | Step::Decide(_) => {}
            }
        }
        panic!("the handshake does not end")
    }

    #[test]
    fn p20_both_sides_learn_of_each_other_however_the_bytes_are_cut() {
        for step in [1, 7, 64, 1000] {
            let mut dialer = Handshake::dial(b"secret", [1; 32], hello("dialer"));
            let mut acceptor = Handshake::accept(b"secret", [2; 32]);
            let (dialer_seen, acceptor_seen) = run(&mut dialer, &mut acceptor, step).unwrap();
            assert_eq!((dialer_seen, acceptor_seen), (hello("dialer"), hello("acceptor")));
        }
    }

    #[test]
    fn p19_a_stranger_proves_nothing() {
        let mut dialer = Handshake::dial(b"guess", [1; 32], hello("dialer"));
        let mut acceptor = Handshake::accept(b"secret", [2; 32]);
        assert_eq!(run(&mut dialer, &mut acceptor, 1000), Err(HandshakeError::BadProof));
    }

    #[test]
    fn p19_a_proof_cannot_be_sent_back_to_its_maker() {
        let mut first = Handshake::dial(b"secret", [1; 32], hello("dialer"));
        let Step::Send(introduction) = first.input(&first.greeting()).unwrap() else { panic!() };
        assert!(matches!(first.input(&introduction), Err(HandshakeError::BadProof)));
    }

    #[test]
    fn p16_garbage_is_refused_at_the_first_wrong_byte() {
        let mut acceptor = Handshake::accept(b"secret", [2; 32]);
        assert!(matches!(acceptor.input(b"GET / HT"), Err(HandshakeError::NotAnnulus)));
        let mut acceptor = Handshake::accept(b"secret", [2; 32]);
        let mut greeting = acceptor.greeting();
        greeting[10] = 9;
        greeting[8] = 9;
        assert_eq!(
            acceptor.input(&greeting).map(|_| ()),
            Err(HandshakeError::Version { lowest: 9, highest: 9 })
        );
        let mut acceptor = Handshake::accept(b"secret", [2; 32]);
        acceptor.input(&acceptor.greeting()).unwrap();
        assert!(matches!(
            acceptor.input(&[0xff; INTRODUCTION_LEN]),
            Err(HandshakeError::HelloTooLong(u32::MAX))
        ));
    }

    /// A dialer that has said its hello, and an acceptor that has to decide.
    fn half_way() -> (Handshake, Handshake) {
        let mut dialer = Handshake::dial(b"secret", [1; 32], hello("dialer"));
        let mut acceptor = Handshake::accept(b"secret", [2; 32]);
        let Step::Send(greeting) = acceptor.input(&dialer.greeting()).unwrap() else { panic!() };
        let Step::Send(introduction) = dialer.input(&greeting).unwrap() else { panic!() };
        let Step::Decide(_) = acceptor.input(&introduction).unwrap() else { panic!() };
        (dialer, acceptor)
    }

    /// A hello whose archive has this many bytes.
    fn hello_of(len: usize) -> Hello {
        let around = archive(&hello(&"n".repeat(96))).unwrap().len() - 96;
        let hello = hello(&"n".repeat(len - around));
        assert_eq!(rkyv::to_bytes::<Error>(&hello).unwrap().len(), len);
        hello
    }

    #[test]
    fn a9_what_comes_behind_a_handshake_is_bounded() {
        let (mut dialer, mut acceptor) = half_way();
        // What came together with the end is kept, whatever its length: the caller had it already.
        let mut said = acceptor.admit(&hello("acceptor"));
        said.extend_from_slice(&[7; MAX_REST + 1]);
        assert!(matches!(dialer.input(&said), Ok(Step::Done(_))));
        assert_eq!(dialer.input(&[7]).map(|_| ()), Err(HandshakeError::RestTooLong));
        // What comes in pieces is kept up to the bound.
        for _ in 0..MAX_REST / 1024 {
            assert!(matches!(acceptor.input(&[8; 1024]), Ok(Step::Receive)));
        }
        assert!(matches!(acceptor.input(&[]), Ok(Step::Receive)));
        assert_eq!(acceptor.input.len(), MAX_REST);
        assert_eq!(acceptor.input(&[8]).map(|_| ()), Err(HandshakeError::RestTooLong));
        assert!(acceptor.input.capacity() == 0);
    }

    #[test]
    fn p16_a_failed_handshake_takes_nothing_more() {
        let mut acceptor = Handshake::accept(b"secret", [2; 32]);
        acceptor.input(&acceptor.greeting()).unwrap();
        for said in [0, 0xff, 0] {
            let error = acceptor.input(&[said; 1024]).map(|_| ());
            assert_eq!(error, Err(HandshakeError::BadProof));
        }
        assert!(acceptor.into_rest().is_empty());
    }

    #[test]
    fn a_hello_that_the_other_side_does_not_take_is_not_sent() {
        let longest = hello_of(MAX_HELLO);
        assert_eq!(longest.check(), Ok(()));
        let mut dialer = Handshake::dial(b"secret", [1; 32], longest.clone());
        let mut acceptor = Handshake::accept(b"secret", [2; 32]);
        assert_eq!(run(&mut dialer, &mut acceptor, 1 << 20).unwrap().0, longest);

        let longer = hello_of(MAX_HELLO + 8);
        let too_long = HandshakeError::OwnHelloTooLong(MAX_HELLO + 8);
        assert_eq!(longer.check(), Err(too_long.clone()));
        let mut dialer = Handshake::dial(b"secret", [1; 32], longer.clone());
        assert_eq!(dialer.input(&[]).map(|_| ()), Err(too_long.clone()));
        assert_eq!(dialer.input(&dialer.greeting()).map(|_| ()), Err(too_long.clone()));

        let (mut dialer, mut acceptor) = half_way();
        let refused = HandshakeError::Refused(Refusal::Unavailable);
        assert_eq!(dialer.input(&acceptor.admit(&longer)).map(|_| ()), Err(refused));
        assert_eq!(acceptor.input(&[]).map(|_| ()), Err(too_long));
    }

    #[test]
    fn refusals_say_why() {
        let (mut dialer, mut acceptor) = half_way();
        let refusal = acceptor.refuse(Refusal::Duplicate { node: NodeId::from_bits(9) });
        assert_eq!(
            dialer.input(&refusal).map(|_| ()),
            Err(HandshakeError::Refused(Refusal::Duplicate { node: NodeId::from_bits(9) }))
        );
    }
}
