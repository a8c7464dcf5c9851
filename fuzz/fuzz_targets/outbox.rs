//! An outbox against a model of it: order, bytes that wait, trust, and no memory left behind.
#![no_main]

use std::collections::VecDeque;

use annulus_codec::{
    address::{Address, NodeId, Slot},
    archive::Archived,
    chunk::ChunkPool,
    extension::Extensions,
    frame::{Frame, FrameReader, HEADER_LEN, Header, Kind, scan},
    message::{Message, MessageId},
    outbox::{Admission, Destination, Outbox, OutboxLimits, Parcel, PushError, archive_alone},
    passing::{ByValue, Envelope, Passing, Value},
};
use annulus_fuzz::*;
use annulus_macros::message;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

const CHUNK: usize = 512;
const LIMITS: OutboxLimits =
    OutboxLimits { bytes: 8 << 10, max_payload: 3000, by_reference_from: 200 };

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
    Value {
        bounded: bool,
    },
    Foreign {
        payload: Vec<u8>,
        chain: u8,
    },
    OwnAlone {
        len: u8,
    },
    /// Passes on what was received before.
    Forward {
        which: u8,
        readdress: bool,
    },
    Relay {
        which: u8,
        chain: u8,
    },
    Header(u64),
    Pop,
    Rewind,
    Forget(u8),
    Clear,
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
            Operation::Value { bounded } => self.push_value(admission(bounded)),
            Operation::Foreign { payload, chain } => self.receive_foreign(&payload, chain),
            Operation::OwnAlone { len } => {
                let header = self.header(Kind::Tell, Text::ID);
                let text = Text("o".repeat(usize::from(len)));
                let frame = archive_alone(header, &text, 300).expect("it is short");
                self.held.push(frame);
            }
            Operation::Forward { which, readdress } => self.forward(which, readdress),
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
        }
    }

    fn push<M>(&mut self, message: &M, extensions: &Extensions, admission: Admission)
    where
        M: annulus_codec::archive::Archivable,
    {
        let header = self.header(Kind::Ask, MessageId::from_bits(0));
        let full = self.outbox.is_full();
        let before = self.outbox.bytes();
        let taken = self.outbox.push_message(header, extensions, message, admission);
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

    fn push_value(&mut self, admission: Admission) {
        let header = self.header(Kind::Tell, Moved::ID);
        let full = self.outbox.is_full();
        let mut message = Some(Moved(self.next));
        let nothing = Extensions::default();
        let packed = <ByValue as Passing<Moved>>::pack(
            &mut message,
            header,
            &nothing,
            &mut self.outbox,
            admission,
        );
        match packed {
            Ok(()) => {
                let expected =
                    Expected { value: Some(self.next), ..expect(header, &[], nothing, true) };
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
        let payload = &payload[..payload.len().min(2000)];
        let mut encoded = Vec::new();
        extensions.encode(&mut encoded);
        let mut header = self.header(Kind::Reply, Text::ID);
        header.payload_len = payload.len() as u32;
        header.extension_len = encoded.len() as u16;
        let mut bytes = header.to_wire().to_vec();
        bytes.extend(encoded);
        bytes.extend(payload);
        bytes.resize(header.frame_len(), 0);
        let mut reader = FrameReader::foreign(lease_of(&bytes), LIMITS.max_payload);
        let frame = reader.next_frame().expect("it is well-formed").expect("it is there");
        self.held.push(frame);
    }

    fn forward(&mut self, which: u8, readdress: bool) {
        let Some(frame) = self.pick(which) else {
            return;
        };
        let frame = if readdress {
            let header = self.header(Kind::Ask, MessageId::from_bits(1));
            frame.readdressed(header)
        } else {
            frame
        };
        let header = *frame.header();
        let payload = frame.payload().to_vec();
        let extensions = frame.extensions().expect("they came through a reader");
        let by_reference = payload.len() >= LIMITS.by_reference_from;
        let bytes = if by_reference && self.to != Destination::Node {
            HEADER_LEN + payload.len()
        } else {
            header.frame_len()
        };
        let trusted = frame.trusted();
        let taken = self.outbox.push_frame(frame);
        self.settle(taken, bytes, header, &payload, extensions, trusted);
    }

    fn relay(&mut self, which: u8, chain: u8) {
        if self.to == Destination::Node {
            return;
        }
        let Some(frame) = self.pick(which) else {
            return;
        };
        let extensions = extensions(chain);
        let taken = self.outbox.push_relayed(&frame, &extensions);
        let payload = frame.payload();
        let bytes = HEADER_LEN + extensions.encoded_len() + payload.len().next_multiple_of(16);
        self.settle(taken, bytes, *frame.header(), payload, extensions, frame.trusted());
    }

    fn pick(&self, which: u8) -> Option<Frame> {
        let count = self.held.len().max(1);
        self.held.get(usize::from(which) % count).cloned()
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
                let parcel = crossing.open(&self.far_pool);
                assert_eq!(self.pool.bytes_lent(), lent);
                parcel
            }),
            Destination::Node => return self.pop_bytes(),
        };
        let Some(parcel) = parcel else { return false };
        match parcel {
            Parcel::Single(Envelope::Value(Value { header, message: value, .. })) => {
                let (_, expected) = self.expected.pop_front().expect("it was pushed");
                let nothing = Extensions::default();
                let value = value.downcast::<Moved>().expect("only these are pushed");
                let found = Expected { value: Some(value.0), ..expect(header, &[], nothing, true) };
                assert_eq!(found, expected);
            }
            parcel => {
                for frame in frames_of(parcel) {
                    self.meet(&frame);
                    self.held.push(frame);
                }
            }
        }
        self.held.truncate(8);
        true
    }

    fn meet(&mut self, frame: &Frame) {
        let (_, expected) = self.expected.pop_front().expect("it was pushed");
        let extensions = frame.extensions().expect("we wrote them");
        let found = expect(*frame.header(), frame.payload(), extensions, frame.trusted());
        assert_eq!(found, expected);
        assert!(frame.payload().as_ptr().addr().is_multiple_of(16));
        if let Ok(text) = Archived::<Text>::open(frame.clone()) {
            touch(&*text);
        } else {
            let of_us = frame.trusted() && frame.header().message == Text::ID;
            assert!(!of_us || !frame.header().kind.carries_message());
        }
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

fn expect(header: Header, payload: &[u8], extensions: Extensions, trusted: bool) -> Expected {
    Expected {
        kind: header.kind,
        message: header.message,
        correlation: header.correlation,
        trusted,
        payload: payload.to_vec(),
        extensions,
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
        chain: vec![address; usize::from(chain % 8)],
        origin: (chain & 0x40 != 0).then(|| (NodeId::from_name("b"), 9)),
    }
}
