//! The outbox: what one worker has for one destination and has not handed over yet.
//!
//! A destination is the worker itself, another worker of the node, or a link to another node. All
//! three are fed by the same code: messages are archived one behind the other at the end of the open
//! chunk. They differ in what happens to a frame that is passed on as it is, and to local values.

mod crossing;

use std::{collections::VecDeque, fmt};

use rkyv::ser::allocator::Arena;

use crate::{
    address::{Address, Slot},
    archive::{Archivable, Archived, WriteError, write_flat, write_flat_extended, write_frame},
    chunk::{ChunkPool, ChunkWriter, Lease, MAX_CHUNK, PoolExhausted},
    extension::Extensions,
    frame::{FLAG_SHARED, FRAME_ALIGN, Frame, Frames, HEADER_LEN, Header, Kind, padded},
    passing::{Apart, Envelope, Value},
};
pub use crossing::{Crossing, Landing};
use crossing::{Load, Small};

/// How many actors one broadcast frame is for, at most.
pub const MAX_TARGETS: usize = 1024;

/// Where an outbox leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The worker that owns the outbox.
    Here,
    /// Another worker of the node: chunks change their owner.
    Worker,
    /// Another node: bytes go into a socket.
    Node,
}

/// The bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Bytes that may wait in it; beyond that messages are refused.
    pub bytes: usize,
    /// The largest payload, in bytes.
    pub max_payload: usize,
    /// Payloads of at least this many bytes are passed on by reference instead of being copied.
    pub by_reference_from: usize,
}

/// Why a message did not get into an outbox. The outbox is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// As many bytes wait as may. Try again when some have left.
    Full,
    /// The payload is larger than this many bytes.
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The worker's message memory is used up. Try again when leases have been dropped.
    NoMemory(PoolExhausted),
    /// The message's own serialisation failed.
    Unserializable,
    /// The message passes by value and cannot go to another node.
    LocalOnly,
    /// More actors wait for one another than a frame can say.
    ChainTooLong,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PushError::Full => write!(f, "the queue to the receiver is full"),
            PushError::TooLarge { max } => write!(f, "the message is larger than {max} bytes"),
            PushError::NoMemory(error) => error.fmt(f),
            PushError::Unserializable => write!(f, "the message cannot be serialised"),
            PushError::ChainTooLong => write!(f, "too many actors wait for one another"),
            PushError::LocalOnly => write!(f, "a local message cannot go to another node"),
        }
    }
}

impl std::error::Error for PushError {}

impl From<PoolExhausted> for PushError {
    fn from(error: PoolExhausted) -> Self {
        PushError::NoMemory(error)
    }
}

/// Whether a message heeds an outbox's limit of waiting bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is refused beyond the limit.
    Bounded,
    /// It is taken beyond the limit: answers are, since the asks that they answer bound their number.
    Always,
}

/// What comes out of an outbox, in order, for its own worker.
#[derive(Debug)]
pub enum Parcel {
    /// Frames, back to back.
    Frames(Frames),
    /// One frame or value.
    Single(Envelope),
}

/// What waits before the open chunk.
#[derive(Debug)]
enum Waiting {
    Bytes(Lease),
    Apart(Box<Apart>),
    Value(Box<Value>),
}

impl Waiting {
    fn bytes(&self) -> usize {
        match self {
            Waiting::Bytes(bytes) => bytes.len(),
            Waiting::Apart(apart) => HEADER_LEN + apart.payload.len(),
            Waiting::Value(_) => HEADER_LEN,
        }
    }
}

/// See the [module](self).
pub struct Outbox {
    destination: Destination,
    limits: OutboxLimits,
    pool: ChunkPool,
    arena: Arena,
    /// Before `open` in order.
    queue: VecDeque<Waiting>,
    queued_bytes: usize,
    open: Option<ChunkWriter>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new(destination: Destination, limits: OutboxLimits, pool: ChunkPool) -> Self {
        let max_payload = limits.max_payload.min(MAX_CHUNK / 2);
        Outbox {
            destination,
            limits: OutboxLimits { max_payload, ..limits },
            pool,
            arena: Arena::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            open: None,
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.open.as_ref().is_none_or(|open| open.untaken() == 0)
    }

    /// Bytes that wait.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.queued_bytes + self.open.as_ref().map_or(0, ChunkWriter::untaken)
    }

    /// Whether messages are refused until something has left.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.limits.bytes
    }

    /// Archives a told message at the end, if it is [flat](crate::message::Layout::FLAT) and there is room for it in the open
    /// chunk. Returns whether it did.
    #[inline(always)]
    pub(crate) fn append_told<M: Archivable>(&mut self, to: Address, message: &M) -> bool {
        let header = Header::new(Kind::Tell, to.slot(), to.generation(), M::ID, 0);
        if const { M::FLAT } { self.append_flat(header, message, true) } else { false }
    }

    /// Appends a flat message without extensions to the open chunk, if there is room for it.
    #[inline(always)]
    fn append_flat<M: Archivable>(&mut self, header: Header, message: &M, bounded: bool) -> bool {
        let Some(open) = &mut self.open else { return false };
        // As `is_full` has it, with the open chunk at hand: each message comes by here.
        let full = bounded && self.queued_bytes + open.untaken() >= self.limits.bytes;
        !full
            && size_of::<M::Archived>() <= self.limits.max_payload
            && write_flat(open, header, message)
    }

    /// As [`append_flat`](Self::append_flat), with extensions.
    #[inline(never)]
    fn append_flat_extended<M: Archivable>(
        &mut self,
        header: Header,
        extensions: &Extensions,
        message: &M,
        bounded: bool,
    ) -> bool {
        let full = bounded && self.is_full();
        let Some(open) = &mut self.open else { return false };
        !full
            && !extensions.is_too_long()
            && size_of::<M::Archived>() <= self.limits.max_payload
            && write_flat_extended(open, header, extensions, message)
    }

    /// Archives a message at the end.
    ///
    /// # Errors
    /// If it is not taken; see [`PushError`].
    #[inline(always)]
    pub fn push_message<M: Archivable>(
        &mut self,
        header: Header,
        extensions: Option<&Extensions>,
        message: &M,
        admission: Admission,
    ) -> Result<(), PushError> {
        let bounded = admission == Admission::Bounded;
        if const { M::FLAT } {
            let appended = match extensions {
                None => self.append_flat(header, message, bounded),
                Some(extensions) => self.append_flat_extended(header, extensions, message, bounded),
            };
            if appended {
                return Ok(());
            }
        }
        if bounded && self.is_full() {
            return Err(PushError::Full);
        }
        // A header of its own, so that the one above stays in registers.
        let Header { kind, slot, generation, correlation, .. } = header;
        let header = Header::new(kind, slot, generation, M::ID, correlation);
        self.push_archive(header, extensions, message)
    }

    /// Archives a message in a frame of its own, which does not wait in the outbox.
    ///
    /// # Errors
    /// As for [`push_message`](Self::push_message).
    ///
    /// # Panics
    /// If anything waits in the outbox.
    #[inline(always)]
    pub fn archive_one<M: Archivable>(
        &mut self,
        header: Header,
        message: &M,
    ) -> Result<Frame, PushError> {
        assert!(self.is_empty(), "one message is archived where nothing waits");
        self.rewind();
        if !(const { M::FLAT } && self.append_flat(header, message, false)) {
            self.push_archive(header, None, message)?;
        }
        let open = self.open.as_mut().expect("it was just written to");
        // Nothing waited in it, so that is one whole frame.
        Ok(Frame::all_of(open))
    }

    #[inline]
    fn push_archive<M: Archivable>(
        &mut self,
        header: Header,
        extensions: Option<&Extensions>,
        message: &M,
    ) -> Result<(), PushError> {
        let max_payload = self.limits.max_payload;
        let mut needed = HEADER_LEN;
        if let Some(open) = &mut self.open {
            match write_frame(open, &mut self.arena, header, extensions, message, max_payload) {
                Ok(_) => return Ok(()),
                Err(WriteError::NoRoom { needed: more }) => needed = more,
                Err(error) => return Err(final_error(error)),
            }
        }
        self.push_into_fresh(header, extensions, message, needed)
    }

    /// Archives a message of about `needed` bytes in a new chunk.
    #[cold]
    #[inline(never)]
    fn push_into_fresh<M: Archivable>(
        &mut self,
        header: Header,
        extensions: Option<&Extensions>,
        message: &M,
        mut needed: usize,
    ) -> Result<(), PushError> {
        let max_payload = self.limits.max_payload;
        // A size that keeps growing ends at `max_payload`, where the writer says `TooLarge`.
        let mut wanted = needed;
        loop {
            let mut fresh = self.pool.acquire_between(needed, wanted)?;
            match write_frame(&mut fresh, &mut self.arena, header, extensions, message, max_payload)
            {
                Ok(_) => {
                    self.retire_open();
                    self.open = Some(fresh);
                    return Ok(());
                }
                Err(WriteError::NoRoom { needed: more }) => {
                    needed = more;
                    // Twice as much each time, so that a message of many small parts costs few tries;
                    // a little above the largest frame, the writer says `TooLarge`.
                    wanted = more
                        .max(fresh.capacity().saturating_mul(2))
                        .min(max_payload.saturating_mul(2) + 4096)
                        .max(more);
                }
                Err(error) => return Err(final_error(error)),
            }
        }
    }

    /// Passes a message on that came in: by reference if it is large, copied behind the others if it is
    /// small. It is not refused for want of room, since most of these are answers.
    ///
    /// # Errors
    /// If it is too large for the destination, or there is no memory for it.
    pub fn push_archived<M: Archivable>(
        &mut self,
        header: Header,
        message: Archived<M>,
    ) -> Result<(), PushError> {
        let payload = message.bytes();
        if payload.len() > self.limits.max_payload {
            return Err(PushError::TooLarge { max: self.limits.max_payload });
        }
        let payload_len = payload.len() as u32;
        let mut header = Header { payload_len, message: M::ID, extension_len: 0, ..header };
        header.set_foreign(false);
        let padding = &[0; FRAME_ALIGN][..padded(payload.len()) - payload.len()];
        if payload.len() < self.limits.by_reference_from {
            return self.append(&[&header.to_bytes(), payload, padding]);
        }
        let payload = message.payload();
        if self.destination == Destination::Node {
            // Once the header is out the rest of the frame must not fail.
            self.reserve(HEADER_LEN + FRAME_ALIGN)?;
            self.append(&[&header.to_bytes()])?;
            self.take_open();
            self.push_bytes(payload);
            return self.append(&[padding]);
        }
        self.push_single(Waiting::Apart(Box::new(Apart { header, payload })));
        Ok(())
    }

    /// Whether a message that passes by value is taken.
    ///
    /// # Errors
    /// If the destination is another node, or as many bytes wait as may.
    pub fn admits_value(&self, admission: Admission) -> Result<(), PushError> {
        if self.destination == Destination::Node {
            return Err(PushError::LocalOnly);
        }
        if admission == Admission::Bounded && self.is_full() {
            return Err(PushError::Full);
        }
        Ok(())
    }

    /// Queues a message that passes by value, if [`admits_value`](Self::admits_value) says so.
    pub(crate) fn push_value(&mut self, value: Box<Value>) {
        self.push_single(Waiting::Value(value));
    }

    /// Queues a frame that consists of a header alone: a failure, or a system frame.
    ///
    /// # Errors
    /// If there is no memory for it.
    ///
    /// # Panics
    /// If it is the header of a message.
    pub fn push_header(&mut self, header: Header) -> Result<(), PushError> {
        assert!(!header.kind.carries_message(), "a message has a payload");
        let mut header = Header { payload_len: 0, extension_len: 0, ..header };
        header.set_foreign(false);
        self.append(&[&header.to_bytes()])
    }

    /// Puts bytes that are no frame into the stream to another node: what precedes the frame in a
    /// datagram. A multiple of 16 of them, so that the frame behind stays aligned.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn push_prefix(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        assert!(self.destination == Destination::Node && bytes.len().is_multiple_of(FRAME_ALIGN));
        self.append(&[bytes])
    }

    /// Passes a frame on to another worker with extensions that say where it came from.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn push_relayed(
        &mut self,
        frame: &Frame,
        extensions: &Extensions,
    ) -> Result<(), PushError> {
        assert!(self.destination != Destination::Node, "frames are relayed within a node");
        if extensions.is_too_long() {
            return Err(PushError::ChainTooLong);
        }
        let mut header = frame.header();
        header.set_foreign(!frame.trusted());
        header.extension_len = extensions.encoded_len() as u16;
        let encoded = extensions.encode();
        let padding = frame.padded_payload();
        self.append(&[&header.to_bytes(), &encoded, padding])
    }

    /// Passes a told message to several actors of the worker that the outbox leads to, in one frame. The message
    /// is a frame of this process that nobody else has been given.
    ///
    /// # Errors
    /// If as many bytes wait as may, or there is no memory for it.
    ///
    /// # Panics
    /// If there are more than [`MAX_TARGETS`] of them, or the message is more than a told message.
    pub fn push_broadcast(
        &mut self,
        targets: &[Address],
        message: &Frame,
    ) -> Result<(), PushError> {
        let plain = message.header();
        assert!(self.destination != Destination::Node && targets.len() <= MAX_TARGETS);
        assert!(plain.kind == Kind::Tell && plain.extension_len == 0 && !plain.is_foreign());
        if self.is_full() {
            return Err(PushError::Full);
        }
        let (payload_len, count) = (message.len() as u32, targets.len() as u32);
        let extension_len = padded(targets.len() * size_of::<u64>()) as u16;
        let header = Header::new(Kind::Broadcast, Slot::from_bits(0), count, plain.message, 0);
        let header = Header { payload_len, extension_len, flags: FLAG_SHARED, ..header };
        let open = self.reserve(header.frame_len())?;
        let mut fits = open.append(&header.to_bytes());
        for target in targets {
            fits &= open.append(&target.place_bytes());
        }
        fits &= open.append(&[0; FRAME_ALIGN][..usize::from(extension_len) - 8 * targets.len()]);
        fits &= open.append(message.bytes());
        debug_assert!(fits, "room has been made for all of it");
        Ok(())
    }

    /// The oldest parcel, for the worker itself. The open chunk goes on being written behind what is
    /// taken out of it.
    #[inline]
    pub fn pop(&mut self) -> Option<Parcel> {
        assert!(self.destination == Destination::Here, "these frames are for somebody else");
        Some(match self.pop_waiting()? {
            Waiting::Bytes(bytes) => Parcel::Frames(Frames::new(bytes)),
            Waiting::Apart(apart) => Parcel::Single(Envelope::Apart(apart)),
            Waiting::Value(value) => Parcel::Single(Envelope::Value(value)),
        })
    }

    /// The one message that waits, for the worker itself.
    ///
    /// # Panics
    /// If more than one waits.
    #[inline]
    pub fn pop_one(&mut self) -> Option<Envelope> {
        let one = match self.pop()? {
            Parcel::Frames(mut frames) => {
                let one = frames.next()?;
                assert!(frames.is_at_end(), "one message is taken where one waits");
                Envelope::Frame(one)
            }
            Parcel::Single(envelope) => envelope,
        };
        assert!(self.is_empty(), "one message is taken where one waits");
        Some(one)
    }

    /// The next bytes of the stream to another node.
    pub fn pop_bytes(&mut self) -> Option<Lease> {
        assert!(self.destination == Destination::Node, "these frames stay on this node");
        match self.pop_waiting()? {
            Waiting::Bytes(bytes) => Some(bytes),
            Waiting::Apart(_) | Waiting::Value(_) => {
                unreachable!("an outbox to a node queues bytes only")
            }
        }
    }

    #[inline]
    fn pop_waiting(&mut self) -> Option<Waiting> {
        if let Some(waiting) = self.queue.pop_front() {
            self.queued_bytes -= waiting.bytes();
            return Some(waiting);
        }
        let open = self.open.as_mut()?;
        if open.untaken() == 0 {
            return None;
        }
        Some(Waiting::Bytes(open.take_committed()))
    }

    /// Lets the open chunk start over at its first byte, if everything in it has been read.
    #[inline]
    pub fn rewind(&mut self) {
        if let Some(open) = &mut self.open {
            open.rewind();
        }
    }

    /// Whether all that waits is so little that its bytes cross to another worker by themselves.
    #[inline]
    pub fn crosses_without_chunk(&self) -> bool {
        self.queue.is_empty() && self.bytes() <= crossing::SMALL
    }

    /// The oldest parcel, in the form that may cross to another worker. The open chunk goes with it, unless so
    /// little is in it that its bytes cross by themselves.
    pub fn pop_crossing(&mut self) -> Option<Crossing> {
        assert!(self.destination == Destination::Worker, "these frames are not for a worker");
        if self.queue.is_empty() {
            // An empty chunk stays, to be written.
            if self.is_empty() {
                return None;
            }
            if let Some(small) = self.pop_small() {
                return Some(Crossing(Load::Small(small)));
            }
            self.retire_open();
        }
        let waiting = self.queue.pop_front()?;
        self.queued_bytes -= waiting.bytes();
        Some(Crossing(match waiting {
            Waiting::Bytes(lease) => Load::frames(lease),
            Waiting::Apart(apart) => Load::apart(*apart),
            Waiting::Value(value) => Load::Value(value),
        }))
    }

    /// All of the open chunk, if it is little.
    fn pop_small(&mut self) -> Option<Small> {
        let open = self.open.as_mut()?;
        let small = Small::new(open.peek())?;
        open.skip();
        Some(small)
    }

    /// Empties the outbox. What was in it is dropped with what this returns: local messages among it
    /// may do anything then, so let it go when the outbox is not borrowed any more.
    #[must_use = "drop it when nothing is borrowed"]
    pub fn take_all(&mut self) -> impl Sized + use<> {
        self.queued_bytes = 0;
        (std::mem::take(&mut self.queue), self.open.take())
    }

    fn push_single(&mut self, waiting: Waiting) {
        self.take_open();
        self.queued_bytes += waiting.bytes();
        self.queue.push_back(waiting);
    }

    fn push_bytes(&mut self, bytes: Lease) {
        self.queued_bytes += bytes.len();
        self.queue.push_back(Waiting::Bytes(bytes));
    }

    /// Queues what the open chunk holds. For a worker the chunk is closed, since it has to leave
    /// whole; for the others it stays open.
    fn take_open(&mut self) {
        if self.destination == Destination::Worker {
            self.retire_open();
        } else if let Some(open) = &mut self.open
            && open.untaken() > 0
        {
            let bytes = open.take_committed();
            self.push_bytes(bytes);
        }
    }

    fn retire_open(&mut self) {
        if let Some(mut open) = self.open.take()
            && open.untaken() > 0
        {
            let bytes = open.take_committed();
            drop(open);
            self.push_bytes(bytes);
        }
    }

    /// Appends the pieces of one frame.
    fn append(&mut self, pieces: &[&[u8]]) -> Result<(), PushError> {
        let open = self.reserve(pieces.iter().map(|piece| piece.len()).sum())?;
        for piece in pieces {
            let fits = open.append(piece);
            debug_assert!(fits);
        }
        Ok(())
    }

    /// The open chunk, with room for so many bytes.
    fn reserve(&mut self, needed: usize) -> Result<&mut ChunkWriter, PushError> {
        if self.open.as_ref().is_none_or(|open| open.spare() < needed) {
            let fresh = self.pool.acquire_sized(needed)?;
            self.retire_open();
            self.open = Some(fresh);
        }
        Ok(self.open.as_mut().expect("there is an open chunk: it was just made sure of"))
    }
}

/// A message in a frame of its own, outside of any stream: for timers, which send it more than once.
///
/// # Errors
/// As for [`Outbox::push_message`].
pub fn archive_alone<M: Archivable>(
    header: Header,
    message: &M,
    max_payload: usize,
) -> Result<Frame, PushError> {
    let limits = OutboxLimits { bytes: usize::MAX, max_payload, by_reference_from: usize::MAX };
    // A pool of its own with small chunks: the message may live long, and is not to hold a whole
    // chunk of the worker's.
    let pool = ChunkPool::new(256, 0, usize::MAX);
    let mut alone = Outbox::new(Destination::Here, limits, pool);
    alone.push_message(header, None, message, Admission::Always)?;
    match alone.pop() {
        Some(Parcel::Frames(mut frames)) => Ok(frames.next().expect("it was just written")),
        _ => unreachable!("a message was just pushed"),
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({:?}, {} bytes)", self.destination, self.bytes())
    }
}

fn final_error(error: WriteError) -> PushError {
    match error {
        WriteError::TooLarge { max } => PushError::TooLarge { max },
        WriteError::ChainTooLong => PushError::ChainTooLong,
        WriteError::Unserializable | WriteError::NoRoom { .. } => PushError::Unserializable,
    }
}
