//! Frames of this process, walked in all ways that there are. Each is held against the plain way: frame by frame,
//! and each frame opened by itself. The plain way is held against the bytes, read by what the wire's table says.

use std::ptr;

use annulus_codec::{
    address::Slot,
    archive::{AccessError, Archivable, Archived, validate},
    chunk::{ChunkPool, Lease},
    frame::{Frame, FrameError, FrameReader, Frames, HEADER_LEN, Header, Kind, scan},
    message::Message,
    outbox::{Destination, Landing, Outbox, OutboxLimits, Parcel},
    passing::{ByArchive, Passing},
    yard::Yard,
};

use crate::{Flat, lease_of, touch, which::Which, with_type};

/// What the outboxes take that are walked.
pub const LIMITS: OutboxLimits =
    OutboxLimits { bytes: usize::MAX, max_payload: 4096, by_reference_from: usize::MAX };

/// A way to go on.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Take the frame.
    Next,
    /// Take it as what it should be.
    As(Which),
    /// Take it if it is told to this actor.
    Told(Whom, Which),
    /// Go on with that as long as it works, as actors do.
    Burst(Whom, Which),
}

/// Whether it is for whom the frame is for.
#[derive(Debug, Clone, Copy)]
struct Whom {
    slot: bool,
    generation: bool,
}

impl Step {
    /// Each byte is a step: four bits for the message, two for the way, two for what is wrong.
    fn from_byte(byte: u8) -> Self {
        let which = Which::ALL[usize::from(byte & 0xf) % Which::ALL.len()];
        let whom = Whom { slot: byte & 0x40 == 0, generation: byte & 0x80 == 0 };
        match byte >> 4 & 3 {
            0 => Step::Next,
            1 => Step::As(which),
            2 => Step::Told(whom, which),
            _ => Step::Burst(whom, which),
        }
    }
}

impl Whom {
    fn place(self, header: &Header) -> (Slot, u32) {
        let slot = Slot::from_bits(header.slot.bits() ^ u32::from(!self.slot));
        (slot, header.generation ^ u32::from(!self.generation))
    }
}

/// Walks what `fill` puts into an outbox, whether or not it crosses to another worker first.
pub fn walk(crosses: bool, steps: &[u8], fill: impl Fn(&mut Outbox)) {
    let pool = ChunkPool::new(1024, 4, 1 << 22);
    let mut steps = steps.iter().copied().cycle().map(Step::from_byte);
    let [walked, plain] = [(); 2].map(|()| parcels(&pool, crosses, &fill));
    assert_eq!(walked.len(), plain.len());
    for (walked, plain) in walked.into_iter().zip(plain) {
        Pair::new(walked, plain).walk(&mut steps);
    }
    assert_eq!(pool.bytes_lent(), 0);
}

/// The same each time.
fn parcels(pool: &ChunkPool, crosses: bool, fill: impl Fn(&mut Outbox)) -> Vec<Frames> {
    let to = if crosses { Destination::Worker } else { Destination::Here };
    let mut outbox = Outbox::new(to, LIMITS, pool.clone());
    fill(&mut outbox);
    let parcels = std::iter::from_fn(|| match crosses {
        false => outbox.pop(),
        true => {
            outbox.pop_crossing().map(|crossing| crossing.open(&mut Landing::new(pool.clone()), 0))
        }
    });
    parcels
        .map(|parcel| match parcel {
            Parcel::Frames(frames) => frames,
            Parcel::Single(envelope) => panic!("{envelope:?}, not frames"),
        })
        .collect()
}

/// The same frames, twice.
struct Pair {
    walked: Frames,
    plain: Frames,
    /// The next frame, which `plain` has given already.
    ahead: Option<Frame>,
    /// Those before it.
    met: Vec<Frame>,
    waiting: Waiting,
}

impl Pair {
    fn new(walked: Frames, mut plain: Frames) -> Self {
        let ahead = plain.next();
        Pair { walked, plain, ahead, met: Vec::new(), waiting: Waiting::new() }
    }

    fn walk(mut self, steps: &mut impl Iterator<Item = Step>) {
        while let Some(header) = self.header() {
            let before = self.met.len();
            match steps.next().unwrap_or(Step::Next) {
                Step::Next => self.next(),
                Step::As(which) => with_type!(which, M => self.take_as::<M>()),
                Step::Told(whom, which) => {
                    let (slot, generation) = whom.place(&header);
                    with_type!(which, M => self.take_told::<M>(slot, generation));
                }
                Step::Burst(whom, which) => {
                    let (slot, generation) = whom.place(&header);
                    with_type!(which, M => while self.take_told::<M>(slot, generation) {});
                }
            }
            if self.met.len() == before {
                self.next();
            }
        }
        self.end();
    }

    /// The next frame's.
    fn header(&self) -> Option<Header> {
        let header = self.ahead.as_ref().map(Frame::header);
        assert_eq!(self.walked.peek(), header);
        assert_eq!(self.walked.is_at_end(), header.is_none());
        let left = self.ahead.as_ref().map_or(0, Frame::len) + self.plain.left();
        assert_eq!(self.walked.left(), left);
        header
    }

    /// The next frame, which counts as walked.
    fn advance(&mut self) -> Frame {
        let frame = self.ahead.take().expect("it is there");
        self.ahead = self.plain.next();
        self.met.push(frame.clone());
        frame
    }

    fn next(&mut self) {
        let walked = self.walked.next().expect("it is there");
        let plain = self.advance();
        same_frame(&walked, &plain);
        self.waiting.park(walked);
    }

    fn take_as<M: Archivable<Archived: std::fmt::Debug>>(&mut self) {
        let (header, taken) = self.walked.take_as::<M>().expect("it is there");
        let frame = self.advance();
        assert_eq!(header, frame.header());
        same(taken, &frame);
    }

    /// Returns whether it was taken.
    fn take_told<M: Archivable<Archived: std::fmt::Debug>>(
        &mut self,
        slot: Slot,
        generation: u32,
    ) -> bool {
        let told = self.walked.take_told::<M>(slot, generation);
        let plain = self.ahead.clone().filter(|frame| {
            let header = frame.header();
            (header.kind, header.message) == (Kind::Tell, M::ID)
                && (header.slot, header.generation) == (slot, generation)
                && header.extension_len == 0
                && !(M::FLAT && header.is_foreign())
        });
        let plain = plain.filter(|frame| Archived::<M>::open(frame.clone()).is_ok());
        match (told, plain) {
            (Some(told), Some(plain)) => {
                same(Ok(told), &plain);
                self.advance();
                true
            }
            (None, None) => false,
            (told, plain) => panic!("{told:?}, but {plain:?}"),
        }
    }

    fn end(mut self) {
        assert!(self.walked.take_told::<Flat>(Slot::new(1, 0), 0).is_none());
        assert!(self.walked.take_told::<()>(Slot::new(1, 0), 0).is_none());
        assert!(self.walked.take_as::<Flat>().is_none() && self.walked.next().is_none());
        assert!(self.plain.next().is_none());
        let bytes = self.plain.into_bytes();
        assert_eq!(self.walked.into_bytes()[..], bytes[..]);
        let end = self.met.iter().fold(&bytes[..], |rest, frame| behind(frame, rest));
        assert!(end.is_empty());
        from_outside(&bytes, &self.met);
        self.waiting.end();
    }
}

fn same_frame(one: &Frame, other: &Frame) {
    assert_eq!(one.header(), other.header());
    assert_eq!((one.len(), one.trusted()), (other.len(), other.trusted()));
    assert_eq!(one.payload(), other.payload());
    assert!(one.payload().as_ptr().addr().is_multiple_of(16));
    assert!(one.targets().eq(other.targets()));
    open_shortly(one);
    if one.header().kind == Kind::Broadcast {
        let (one, other) = (one.clone().into_shared(), other.clone().into_shared());
        assert!(one.trusted() && one.header().kind == Kind::Tell);
        assert!(one.header().extension_len == 0 && one.targets().next().is_none());
        same_frame(&one, &other);
        assert!(opens(&one), "whoever is told gets what was told");
    }
}

/// What is opened in the short way is what would have been opened in the other one: only what this process wrote.
fn open_shortly(frame: &Frame) {
    let header = frame.header();
    for which in Which::ALL {
        with_type!(which, M => {
            if let Ok(opened) = <ByArchive as Passing<M>>::open_own(frame.clone()) {
                assert!(!header.is_foreign() && header.message == M::ID);
                same(Ok(opened), frame);
            }
        });
    }
}

/// Whether it is the one message that its header says.
fn opens(frame: &Frame) -> bool {
    let found = Which::ALL.into_iter().filter(|which| {
        with_type!(*which, M => {
            let opened = Archived::<M>::open(frame.clone());
            let is_ok = opened.is_ok();
            assert!(!is_ok || frame.header().message == M::ID);
            same(opened, frame);
            is_ok
        })
    });
    found.count() == 1
}

/// What was opened in some way is what is in the frame, or as wrong.
fn same<M: Archivable<Archived: std::fmt::Debug>>(
    opened: Result<Archived<M>, AccessError>,
    frame: &Frame,
) {
    match (opened, Archived::<M>::open(frame.clone())) {
        (Ok(one), Ok(other)) => {
            assert_eq!((one.bytes(), other.bytes()), (frame.payload(), frame.payload()));
            assert_eq!(one.clone().payload()[..], *one.bytes());
            assert!(one.payload().as_ptr().addr().is_multiple_of(16));
            assert_eq!(validate::<M>(one.bytes()).map(ptr::from_ref), Ok(ptr::from_ref(&*one)));
            touch(&*one);
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?}, but {other:?}"),
    }
}

/// What lies behind the frame, which is the first of these bytes.
fn behind<'a>(frame: &Frame, bytes: &'a [u8]) -> &'a [u8] {
    let word = |at: usize| u64::from_le_bytes(bytes[at..][..8].try_into().expect("eight bytes"));
    let (payload_len, extension_len) = (word(0) as u32 as usize, (word(0) >> 48) as usize);
    let payload_start = HEADER_LEN + extension_len;
    let (bytes, later) = bytes.split_at(payload_start + payload_len.next_multiple_of(16));
    let (payload, padding) = bytes[payload_start..].split_at(payload_len);
    let header = frame.header();
    assert_eq!((frame.len(), header.kind as u8), (bytes.len(), bytes[4]));
    let shared = if header.kind == Kind::Broadcast { 0x40 } else { 0 };
    assert_eq!(bytes[5], if frame.trusted() { shared } else { 0x80 });
    assert_eq!(place(word(8)), (header.slot, header.generation));
    assert_eq!((header.message.bits(), header.correlation), (word(16), word(24)));
    assert!(ptr::eq(frame.payload(), payload) && padding.iter().all(|byte| *byte == 0));
    if header.kind == Kind::Broadcast {
        let targets = (0..header.generation as usize).map(|at| place(word(HEADER_LEN + 8 * at)));
        assert!(frame.targets().eq(targets));
        assert!(behind(&frame.clone().into_shared(), payload).is_empty());
    } else {
        assert!(frame.targets().next().is_none() && frame.extensions().is_ok());
    }
    later
}

/// Slot and generation.
fn place(word: u64) -> (Slot, u32) {
    (Slot::from_bits(word as u32), (word >> 32) as u32)
}

/// If another node had sent these bytes, what is never sent would be refused, and nothing would be trusted.
fn from_outside(bytes: &Lease, frames: &[Frame]) {
    let mut reader = FrameReader::foreign(lease_of(bytes), usize::MAX);
    for frame in frames {
        let refusal = match frame.header().kind {
            kind @ (Kind::Timer | Kind::Broadcast) => Some(FrameError::UnknownKind(kind as u8)),
            _ if !frame.trusted() => Some(FrameError::UnknownFlags(0x80)),
            _ => None,
        };
        let read = reader.next_frame();
        if let Some(refusal) = refusal {
            assert_eq!(read.unwrap_err(), refusal);
            assert_eq!(scan(bytes, usize::MAX), Err(refusal));
            return;
        }
        let read = read.expect("it is one that is sent").expect("it is there");
        assert!(!read.trusted());
        assert_eq!(read.payload(), frame.payload());
        assert_eq!(read.extensions(), frame.extensions());
    }
    assert_eq!(reader.remaining(), 0);
}

/// Frames that wait, and what was parked.
struct Waiting {
    pool: ChunkPool,
    yard: Yard,
    frames: Vec<(Frame, Frame)>,
}

impl Waiting {
    fn new() -> Self {
        let pool = ChunkPool::new(4096, 0, 1 << 16);
        Waiting { pool, yard: Yard::default(), frames: Vec::new() }
    }

    fn park(&mut self, frame: Frame) {
        let waits = self.yard.park(frame.clone(), &self.pool);
        self.frames.push((waits, frame));
    }

    fn end(self) {
        for (waits, came) in &self.frames {
            same_frame(waits, came);
        }
        drop((self.yard, self.frames));
        assert_eq!(self.pool.bytes_lent(), 0);
    }
}
