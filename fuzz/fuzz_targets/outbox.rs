//! An outbox against a model of it: order, bytes that wait, trust, and no memory left behind.
#![no_main]

use std::collections::VecDeque;

use annulus_codec::{
    address::{Address, NodeId, Slot},
    archive::{Archivable, Archived},
    chunk::ChunkPool,
    extension::Extensions,
    frame::{Frame, FrameReader, HEADER_LEN, Header, Kind, scan},
    message::{Message, MessageId},
    outbox::{
        Admission, Destination, Landing, MAX_TARGETS, Outbox, OutboxLimits, Parcel, PushError,
        archive_alone,
    },
    passing::{ByArchive, ByValue, Envelope, Passing},
    yard::Yard,
};
use annulus_fuzz::*;
use annulus_macros::message;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

const CHUNK: usize = 512;
const LIMITS: OutboxLimits =
    OutboxLimits { bytes: 8 << 10, max_payload: 3000, by_reference_from: 200 };

/// More than goes to another node: the nodes of a process's peers have limits of their own.
const MAX_FOREIGN: usize = 4096;

/// Moved, not archived.
#[message(local, crate = annulus)]
#[derive(Debug)]
struct Moved(u64);

#[derive(Debug, Arbitrary)]
struct Input {
    to: u8,
    tight_memory: bool,
    operations: Vec<Operation>,
}

#[derive(Debug, Arbitrary)]
enum Operation {
    Message {
        len: u16,
        fill: u8,
        chain: u8,
        bounded: bool,
    },
    Number(u64),
    Flat {
        number: u64,
        chain: u8,
        bounded: bool,
    },
    Value {
        chain: u8,
        bounded: bool,
    },
    Foreign {
        payload: Vec<u8>,
        chain: u8,
    },
    ForeignText {
        len: u16,
        chain: u8,
    },
    OwnAlone {
        len: u8,
    },
    /// Passes on what was received before, under another header.
    Forward {
        which: u8,
    },
    /// Passes on what was passed on before.
    ForwardAgain {
        which: u8,
    },
    /// Passes a frame on as it is.
    Relay {
        which: u8,
        chain: u8,
    },
    Header(u64),
    Pop,
    Rewind,
    Forget(u8),
    Clear,
    Unit {
        chain: u8,
        bounded: bool,
    },
    /// A text if it has a length, a flat struct if not.
    Broadcast {
        text: Option<u16>,
        targets: u16,
    },
    /// Lets what was received wait.
    Park {
        which: u8,
    },
}

/// What is to come out.
#[derive(Debug, PartialEq)]
struct Expected {
    kind: Kind,
    message: MessageId,
    correlation: u64,
    trusted: bool,
    payload: Vec<u8>,
    extensions: Extensions,
    targets: Vec<(Slot, u32)>,
    value: Option<u64>,
}

struct Model {
    to: Destination,
    pool: ChunkPool,
    far_pool: ChunkPool,
    outbox: Outbox,
    expected: VecDeque<(usize, Expected)>,
    /// Bytes that a node has been sent and that make no whole frame yet.
    stream: Vec<u8>,
    held: Vec<Frame>,
    yard: Yard,
    held_apart: Vec<Archived<Text>>,
    next: u64,
}

fuzz_target!(|input: Input| {
    let to = [Destination::Here, Destination::Worker, Destination::Node][usize::from(input.to % 3)];
    let limit = if input.tight_memory { 6 << 10 } else { 1 << 20 };
    let pool = ChunkPool::new(CHUNK, 2, limit);
    let far_pool = ChunkPool::new(CHUNK, 2, 1 << 20);
    let mut model = Model {
        to,
        outbox: Outbox::new(to, LIMITS, pool.clone()),
        pool: pool.clone(),
        far_pool: far_pool.clone(),
        expected: VecDeque::new(),
        stream: Vec::new(),
        held: Vec::new(),
        yard: Yard::default(),
        held_apart: Vec::new(),
        next: 0,
    };
    for operation in input.operations.into_iter().take(64) {
        model.run(operation);
        model.check();
    }
    while model.pop() {
        model.check();
    }
    assert!(model.expected.is_empty() && model.stream.is_empty());
    assert!(model.outbox.is_empty());
    drop(model);
    assert_eq!((pool.bytes_lent(), far_pool.bytes_lent()), (0, 0));
});

impl Model {
    fn check(&self) {
        let waiting: usize = self.expected.iter().map(|(bytes, _)| bytes).sum();
        assert_eq!(self.outbox.bytes(), waiting - self.stream.len());
        assert_eq!(self.outbox.is_full(), self.outbox.bytes() >= LIMITS.bytes);
        assert_eq!(self.outbox.is_empty(), self.outbox.bytes() == 0);
    }

    fn header(&mut self, kind: Kind, message: MessageId) -> Header {
        self.next += 1;
        Header::new(kind, Slot::new(1, 2), 3, message, self.next)
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Message { len, fill, chain, bounded } => {
                let letter = char::from(b'a' + fill % 26);
                let text = Text(letter.to_string().repeat(usize::from(len % 4000)));
                self.push(&text, &extensions(chain), admission(bounded));
            }
            Operation::Number(number) => {
                let plain = Plain { wide: number, widest: 1, narrow: -1, float: 0.5 };
                self.push(&plain, &Extensions::default(), Admission::Always);
            }
            Operation::Flat { number, chain, bounded } => {
                self.push(&flat(number), &extensions(chain), admission(bounded));
            }
            Operation::Value { chain, bounded } => {
                self.push_value(extensions(chain), admission(bounded))
            }
            Operation::Foreign { payload, chain } => self.receive_foreign(&payload, chain),
            Operation::ForeignText { len, chain } => {
                let text = Text("f".repeat(usize::from(len % 4000)));
                self.receive_foreign(&archive_of(&text).expect("it fits by far"), chain);
            }
            Operation::OwnAlone { len } => {
                let header = self.header(Kind::Tell, Text::ID);
                let text = Text("o".repeat(usize::from(len)));
                let frame = archive_alone(header, &text, 300).expect("it is short");
                self.held.push(frame);
            }
            Operation::Forward { which } => self.forward(which),
            Operation::ForwardAgain { which } => {
                if let Some(text) = pick(&self.held_apart, which) {
                    self.push_archived(text);
                }
            }
            Operation::Relay { which, chain } => self.relay(which, chain),
            Operation::Header(code) => {
                let header = self.header(Kind::Failure, MessageId::from_bits(code));
                let taken = self.outbox.push_header(header);
                self.settle(taken, HEADER_LEN, header, &[], Extensions::default(), true);
            }
            Operation::Pop => drop(self.pop()),
            Operation::Rewind => self.outbox.rewind(),
            Operation::Forget(which) => {
                if !self.held.is_empty() {
                    let which = usize::from(which) % self.held.len();
                    self.held.swap_remove(which);
                }
            }
            // The far end of a stream would wait for the rest of a frame.
            Operation::Clear if self.stream.is_empty() => {
                drop(self.outbox.take_all());
                self.expected.clear();
            }
            Operation::Clear => {}
            Operation::Unit { chain, bounded } => {
                self.push(&(), &extensions(chain), admission(bounded));
            }
            Operation::Broadcast { text: Some(len), targets } => {
                self.broadcast(&Text("b".repeat(usize::from(len % 2900))), targets);
            }
            Operation::Broadcast { text: None, targets } => {
                self.broadcast(&flat(targets.into()), targets);
            }
            Operation::Park { which } => self.park(which),
        }
    }

    fn push<M: Archivable>(&mut self, message: &M, extensions: &Extensions, admission: Admission) {
        let header = self.header(Kind::Ask, MessageId::from_bits(0));
        let full = self.outbox.is_full();
        let before = self.outbox.bytes();
        let taken = self.outbox.push_message(header, some(extensions), message, admission);
        let payload = archive_of(message).expect("it fits by far");
        match taken {
            Ok(()) => {
                assert!(payload.len() <= LIMITS.max_payload);
                let len =
                    HEADER_LEN + extensions.encoded_len() + payload.len().next_multiple_of(16);
                let mut header = header;
                header.message = M::ID;
                self.settle(taken, len, header, &payload, extensions.clone(), true);
            }
            Err(PushError::Full) => assert!(full && admission == Admission::Bounded),
            Err(PushError::TooLarge { max }) => assert!(payload.len() > max),
            Err(PushError::NoMemory(_)) => assert!(self.pool.bytes_lent() > 0),
            Err(other) => panic!("{other:?}"),
        }
        if taken.is_err() {
            assert_eq!(self.outbox.bytes(), before);
        }
    }

    fn broadcast<M: Archivable>(&mut self, message: &M, targets: u16) {
        let header = Header::new(Kind::Tell, Slot::new(0, 0), 0, M::ID, 0);
        let message = archive_alone(header, message, LIMITS.max_payload).expect("it is short");
        let targets = addresses(usize::from(targets) % (MAX_TARGETS + 1));
        if self.to == Destination::Node {
            // Each gets one of its own there.
            for _ in targets.iter().take(3) {
                self.push_archived(Archived::<M>::open(message.clone()).expect("we wrote it"));
            }
            return;
        }
        let full = self.outbox.is_full();
        let taken = self.outbox.push_broadcast(&targets, &message);
        assert_eq!(full, taken == Err(PushError::Full));
        if taken.is_ok() {
            let header = Header::new(Kind::Broadcast, Slot::new(0, 0), 0, M::ID, 0);
            let payload = bytes_of(&message);
            let bytes = HEADER_LEN + (8 * targets.len()).next_multiple_of(16) + payload.len();
            let targets = targets.iter().map(|to| (to.slot(), to.generation())).collect();
            let plain = expect(header, &payload, Extensions::default(), true);
            self.expected.push_back((bytes, Expected { targets, ..plain }));
        } else if !full {
            assert!(matches!(taken, Err(PushError::NoMemory(_))));
        }
    }

    fn park(&mut self, which: u8) {
        if self.held.is_empty() {
            return;
        }
        let which = usize::from(which) % self.held.len();
        let came = self.held[which].clone();
        let waits = self.yard.park(came.clone(), &self.pool);
        assert_eq!((waits.header(), waits.trusted()), (came.header(), came.trusted()));
        assert_eq!((waits.payload(), waits.extensions()), (came.payload(), came.extensions()));
        self.held[which] = waits;
    }

    fn push_value(&mut self, extensions: Extensions, admission: Admission) {
        let header = self.header(Kind::Tell, Moved::ID);
        let full = self.outbox.is_full();
        let mut message = Some(Moved(self.next));
        let packed = <ByValue as Passing<Moved>>::pack(
            &mut message,
            header,
            some(&extensions),
            &mut self.outbox,
            admission,
        );
        match packed {
            Ok(()) => {
                let expected =
                    Expected { value: Some(self.next), ..expect(header, &[], extensions, true) };
                self.expected.push_back((HEADER_LEN, expected));
            }
            Err(PushError::Full) => assert!(full && admission == Admission::Bounded),
            Err(PushError::LocalOnly) => assert_eq!(self.to, Destination::Node),
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(message.is_some(), packed.is_err());
    }

    fn receive_foreign(&mut self, payload: &[u8], chain: u8) {
        let extensions = extensions(chain);
        let payload = &payload[..payload.len().min(MAX_FOREIGN)];
        let encoded = encoded(&extensions);
        let mut header = self.header(Kind::Reply, Text::ID);
        header.payload_len = payload.len() as u32;
        header.extension_len = encoded.len() as u16;
        let mut bytes = header.to_wire().to_vec();
        bytes.extend(encoded);
        bytes.extend(payload);
        bytes.resize(header.frame_len(), 0);
        let mut reader = FrameReader::foreign(lease_of(&bytes), MAX_FOREIGN);
        let frame = reader.next_frame().expect("it is well-formed").expect("it is there");
        self.held.push(frame);
    }

    fn forward(&mut self, which: u8) {
        let Some(frame) = pick(&self.held, which) else {
            return;
        };
        if let Ok(text) = Archived::<Text>::open(frame.clone()) {
            self.push_archived(text);
        } else if let Ok(flat) = Archived::<Flat>::open(frame.clone()) {
            self.push_archived(flat);
        } else if let Ok(plain) = Archived::<Plain>::open(frame) {
            self.push_archived(plain);
        }
    }

    fn push_archived<M: Archivable>(&mut self, message: Archived<M>) {
        // The outbox knows better which message it is than the header does.
        let mut header = self.header(Kind::Ask, MessageId::from_bits(1));
        let payload = message.payload();
        let before = self.outbox.bytes();
        let taken = self.outbox.push_archived(header, message);
        if let Err(PushError::TooLarge { max }) = taken {
            assert!(payload.len() > max && max == LIMITS.max_payload);
            assert_eq!(self.outbox.bytes(), before);
            return;
        }
        assert!(payload.len() <= LIMITS.max_payload);
        let by_reference = payload.len() >= LIMITS.by_reference_from;
        let bytes = if by_reference && self.to != Destination::Node {
            HEADER_LEN + payload.len()
        } else {
            HEADER_LEN + payload.len().next_multiple_of(16)
        };
        header.message = M::ID;
        self.settle(taken, bytes, header, &payload, Extensions::default(), true);
    }

    fn relay(&mut self, which: u8, chain: u8) {
        if self.to == Destination::Node {
            return;
        }
        let Some(frame) = pick(&self.held, which) else {
            return;
        };
        let extensions = extensions(chain);
        let taken = self.outbox.push_relayed(&frame, &extensions);
        let payload = frame.payload();
        let bytes = HEADER_LEN + extensions.encoded_len() + payload.len().next_multiple_of(16);
        self.settle(taken, bytes, frame.header(), payload, extensions, frame.trusted());
    }

    fn settle(
        &mut self,
        taken: Result<(), PushError>,
        bytes: usize,
        header: Header,
        payload: &[u8],
        extensions: Extensions,
        trusted: bool,
    ) {
        match taken {
            Ok(()) => {
                let expected = expect(header, payload, extensions, trusted);
                self.expected.push_back((bytes, expected));
            }
            Err(PushError::NoMemory(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    fn pop(&mut self) -> bool {
        let parcel = match self.to {
            Destination::Here => self.outbox.pop(),
            Destination::Worker => self.outbox.pop_crossing().map(|crossing| {
                let lent = self.pool.bytes_lent();
                let mut landing = Landing::new(self.far_pool.clone());
                let landed = crossing.land(&mut landing);
                let parcel = landed.unwrap_or_else(|| crossing.open(&mut landing, 0));
                assert_eq!(self.pool.bytes_lent(), lent);
                parcel
            }),
            Destination::Node => return self.pop_bytes(),
        };
        let Some(parcel) = parcel else { return false };
        match parcel {
            Parcel::Single(envelope) => self.meet_single(envelope),
            parcel => {
                for frame in frames_of(parcel) {
                    self.meet(&frame);
                    let broadcast = frame.header().kind == Kind::Broadcast;
                    self.held.push(if broadcast { frame.into_shared() } else { frame });
                }
            }
        }
        self.held.truncate(8);
        self.held_apart.truncate(4);
        true
    }

    fn meet(&mut self, frame: &Frame) {
        let (_, expected) = self.expected.pop_front().expect("it was pushed");
        let targets: Vec<_> = frame.targets().collect();
        let extensions = match frame.header().kind {
            Kind::Broadcast => Extensions::default(),
            _ => frame.extensions().expect("we wrote them"),
        };
        let plain = expect(frame.header(), frame.payload(), extensions, frame.trusted());
        assert_eq!(Expected { targets, ..plain }, expected);
        assert!(frame.payload().as_ptr().addr().is_multiple_of(16));
        meet_as::<Text>(frame);
        meet_as::<Flat>(frame);
        meet_as::<()>(frame);
        if frame.header().kind == Kind::Broadcast {
            let shared = frame.clone().into_shared();
            assert_eq!(bytes_of(&shared), frame.payload());
            meet_as::<Text>(&shared);
            meet_as::<Flat>(&shared);
        }
    }

    /// A value, or a text that was large enough to be passed on by reference.
    fn meet_single(&mut self, envelope: Envelope) {
        let (_, expected) = self.expected.pop_front().expect("it was pushed");
        let header = envelope.header();
        assert_eq!(envelope.payload_len(), expected.payload.len());
        let found = match envelope {
            Envelope::Value(mut value) => {
                let extensions = value.extensions.as_deref().cloned().unwrap_or_default();
                let moved = value.take_message::<Moved>().expect("only these are pushed");
                Expected { value: Some(moved.0), ..expect(header, &[], extensions, true) }
            }
            envelope => {
                assert!(!header.is_foreign());
                let text = <ByArchive as Passing<Text>>::open(envelope).expect("it is a text");
                touch(&*text);
                let found = expect(header, &text.payload(), Extensions::default(), true);
                self.held_apart.push(text);
                found
            }
        };
        assert_eq!(found, expected);
    }

    fn pop_bytes(&mut self) -> bool {
        let Some(bytes) = self.outbox.pop_bytes() else {
            return false;
        };
        assert!(!bytes.is_empty());
        self.stream.extend_from_slice(&bytes);
        let prefix = scan(&self.stream, LIMITS.max_payload).expect("we wrote it");
        let complete: Vec<u8> = self.stream.drain(..prefix.complete).collect();
        let mut reader = FrameReader::foreign(lease_of(&complete), LIMITS.max_payload);
        while let Some(frame) = reader.next_frame().expect("we wrote it") {
            // Whoever receives it trusts nobody.
            self.expected.front_mut().expect("it was pushed").1.trusted = false;
            self.meet(&frame);
        }
        true
    }
}

fn meet_as<M: Archivable<Archived: std::fmt::Debug>>(frame: &Frame) {
    if let Ok(archived) = Archived::<M>::open(frame.clone()) {
        touch(&*archived);
    } else {
        let of_us = frame.trusted() && frame.header().message == M::ID;
        assert!(!of_us || !frame.header().kind.carries_message());
    }
}

/// All bytes of a frame without extensions.
fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = frame.header().to_wire().to_vec();
    bytes.extend_from_slice(frame.payload());
    bytes.resize(frame.len(), 0);
    bytes
}

fn addresses(count: usize) -> Vec<Address> {
    let node = NodeId::from_name("a");
    (0..count).map(|at| Address::new(node, 7, Slot::new(at % 3, at), !(at as u32))).collect()
}

fn pick<T: Clone>(held: &[T], which: u8) -> Option<T> {
    held.get(usize::from(which) % held.len().max(1)).cloned()
}

/// As actors do it: what there is not is not given.
fn some(extensions: &Extensions) -> Option<&Extensions> {
    (!extensions.is_empty()).then_some(extensions)
}

fn flat(number: u64) -> Flat {
    let inner = Inner { letter: 'ä', narrow: -1, pair: [1, number as u16] };
    let flags = [true, false, number.is_multiple_of(2)];
    Flat { widest: number.into(), wide: number, float: 0.5, inner, flags, small: 7 }
}

fn expect(header: Header, payload: &[u8], extensions: Extensions, trusted: bool) -> Expected {
    Expected {
        kind: header.kind,
        message: header.message,
        correlation: header.correlation,
        trusted,
        payload: payload.to_vec(),
        extensions,
        targets: Vec::new(),
        value: None,
    }
}

fn admission(bounded: bool) -> Admission {
    if bounded { Admission::Bounded } else { Admission::Always }
}

fn extensions(chain: u8) -> Extensions {
    let address = Address::new(NodeId::from_name("a"), 7, Slot::new(1, 2), 3);
    Extensions {
        remaining: (chain & 0x80 != 0).then(|| std::time::Duration::from_millis(chain.into())),
        chain: std::iter::repeat_n(address, usize::from(chain % 8)).collect(),
        origin: (chain & 0x40 != 0).then(|| (NodeId::from_name("b"), 9)),
    }
}
