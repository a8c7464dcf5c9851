//! The frame: a 32-byte header, optional extensions, and a payload that is one rkyv archive.
//!
//! ```text
//! offset  size  field
//!      0     4  payload length in bytes
//!      4     1  kind: 1 tell, 2 ask, 3 reply, 4 failure, 5 system
//!      5     1  flags: none are defined on the wire, all bits are zero there
//!      6     2  length of the extensions in bytes, a multiple of 16
//!      8     4  target slot: worker in the upper 8 bits, index in the lower 24
//!     12     4  target generation
//!     16     8  message id (for a failure its code, for a system frame its operation)
//!     24     8  correlation id of an ask, echoed by its reply or failure
//!     32     .  extensions, then the payload, then zeros up to a multiple of 16
//! ```
//!
//! All numbers are little-endian. Frames start at multiples of 16, so every payload is 16-aligned.

use std::fmt;

use crate::{
    address::Slot,
    archive::{AccessError, Archivable, Archived},
    chunk::{ChunkWriter, Cursor, Lease},
    extension::{ExtensionError, Extensions},
    held::Held,
    message::MessageId,
};

/// Bytes of a header.
pub const HEADER_LEN: usize = 32;

/// Frames and payloads start at multiples of this, in bytes.
pub const FRAME_ALIGN: usize = 16;

/// The largest payload that a node takes unless it is told otherwise, in bytes.
pub const DEFAULT_MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message that wants no answer.
    Tell = 1,
    /// A message that wants exactly one reply or failure, with the same correlation id.
    Ask = 2,
    /// The answer to an ask.
    Reply = 3,
    /// What an ask ends in when there is no reply; the message id holds the code.
    Failure = 4,
    /// Between the two ends of a link; the message id holds the operation. Never reaches an actor.
    System = 5,
    /// A timer of the receiving actor; the correlation id names it. Never leaves its worker.
    Timer = 6,
    /// A told message for several actors of one worker. Where other frames have extensions it has the
    /// [targets](Frame::targets), where they have a generation the number of these, and its payload is the
    /// frame that each of them gets. Never leaves its node.
    Broadcast = 7,
}

impl Kind {
    /// Whether the payload is a message. The payload of a broadcast is a frame; the others have none.
    pub fn carries_message(self) -> bool {
        !matches!(self, Kind::Failure | Kind::System | Kind::Broadcast)
    }

    fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Kind::Tell,
            2 => Kind::Ask,
            3 => Kind::Reply,
            4 => Kind::Failure,
            5 => Kind::System,
            _ => return None,
        })
    }
}

/// Set in memory, never on the wire: the payload came from another node, so it is validated before it
/// is read, on whichever worker that is.
const FLAG_FOREIGN: u8 = 0x80;

/// Set in memory, and by `push_broadcast` alone: the payload is a frame of this process.
pub(crate) const FLAG_SHARED: u8 = 0x40;

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload, without padding.
    pub payload_len: u32,
    /// What the frame is for.
    pub kind: Kind,
    pub(crate) flags: u8,
    /// Bytes of extensions, a multiple of 16.
    pub extension_len: u16,
    /// Which actor of the node, or for a reply, a failure or a system frame which worker.
    pub slot: Slot,
    /// Which holder of that slot.
    pub generation: u32,
    /// Which message.
    pub message: MessageId,
    /// Which ask.
    pub correlation: u64,
}

/// Why bytes are not a frame. All of these end the link that the bytes came from, because nothing
/// after them can be trusted to be a frame boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The kind is none that may come over a wire.
    UnknownKind(u8),
    /// Flag bits that this version does not define are set.
    UnknownFlags(u8),
    /// The payload is longer than this node accepts.
    TooLarge {
        /// What the header says, in bytes.
        payload_len: u32,
        /// What the node accepts, in bytes.
        max: usize,
    },
    /// The length of the extensions is not a multiple of 16.
    UnalignedExtensions(u16),
    /// The extensions do not parse.
    Extensions(ExtensionError),
    /// The bytes end within a frame.
    Truncated {
        /// Bytes that the frame needs.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// Padding bytes are not zero.
    DirtyPadding,
    /// A failure or a system frame has a payload.
    UnexpectedPayload(Kind),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::UnknownKind(kind) => write!(f, "frame of unknown kind {kind}"),
            FrameError::UnknownFlags(flags) => write!(f, "frame with unknown flags {flags:#04x}"),
            FrameError::TooLarge { payload_len, max } => {
                write!(f, "frame with a payload of {payload_len} bytes; this node takes {max}")
            }
            FrameError::UnalignedExtensions(len) => {
                write!(f, "extensions of {len} bytes, not a multiple of 16")
            }
            FrameError::Extensions(error) => write!(f, "malformed extensions: {error}"),
            FrameError::Truncated { needed, found } => {
                write!(f, "frame of {needed} bytes cut off after {found}")
            }
            FrameError::UnexpectedPayload(kind) => write!(f, "{kind:?} frame with a payload"),
            FrameError::DirtyPadding => write!(f, "frame with padding that is not zero"),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<ExtensionError> for FrameError {
    fn from(error: ExtensionError) -> Self {
        FrameError::Extensions(error)
    }
}

impl Header {
    /// A header with the lengths still open; the frame writer fills them in.
    #[inline]
    pub fn new(
        kind: Kind,
        slot: Slot,
        generation: u32,
        message: MessageId,
        correlation: u64,
    ) -> Self {
        Header {
            payload_len: 0,
            kind,
            flags: 0,
            extension_len: 0,
            slot,
            generation,
            message,
            correlation,
        }
    }

    /// Bytes of the whole frame: header, extensions, payload, padding.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.payload_start() + padded(self.payload_len as usize)
    }

    /// Where the payload starts, counted from the start of the frame.
    #[inline]
    pub fn payload_start(&self) -> usize {
        HEADER_LEN + self.extension_len as usize
    }

    /// Whether the payload came from another node.
    #[inline]
    pub fn is_foreign(&self) -> bool {
        self.flags & FLAG_FOREIGN != 0
    }

    #[inline]
    pub(crate) fn set_foreign(&mut self, foreign: bool) {
        self.flags = if foreign { FLAG_FOREIGN } else { 0 };
    }

    /// The 32 bytes that go over a wire.
    pub fn to_wire(&self) -> [u8; HEADER_LEN] {
        Header { flags: 0, ..*self }.to_bytes()
    }

    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        // Whole words, as they are read again: bytes that were written one by one would have to settle
        // first.
        let words = [
            u64::from(self.payload_len)
                | (self.kind as u64) << 32
                | u64::from(self.flags) << 40
                | u64::from(self.extension_len) << 48,
            u64::from(self.slot.bits()) | u64::from(self.generation) << 32,
            self.message.bits(),
            self.correlation,
        ];
        let mut bytes = [0; HEADER_LEN];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }

    /// Reads a header that came over a wire.
    ///
    /// # Errors
    /// If it is malformed, or says more than `max_payload` bytes.
    pub fn from_wire(bytes: &[u8; HEADER_LEN], max_payload: usize) -> Result<Self, FrameError> {
        let kind = Kind::from_wire(bytes[4]).ok_or(FrameError::UnknownKind(bytes[4]))?;
        if bytes[5] != 0 {
            return Err(FrameError::UnknownFlags(bytes[5]));
        }
        let header = Self::with_kind(bytes, kind);
        if header.payload_len as usize > max_payload {
            let payload_len = header.payload_len;
            return Err(FrameError::TooLarge { payload_len, max: max_payload });
        }
        if !(header.extension_len as usize).is_multiple_of(FRAME_ALIGN) {
            return Err(FrameError::UnalignedExtensions(header.extension_len));
        }
        if !kind.carries_message() && header.payload_len > 0 {
            return Err(FrameError::UnexpectedPayload(kind));
        }
        Ok(Header { flags: FLAG_FOREIGN, ..header })
    }

    /// Reads a header that the codec of this process wrote.
    #[inline]
    fn from_own(bytes: &[u8; HEADER_LEN]) -> Self {
        /// What each number stands for; those that are not written are not read either.
        const KINDS: [Kind; 8] = [
            Kind::System,
            Kind::Tell,
            Kind::Ask,
            Kind::Reply,
            Kind::Failure,
            Kind::System,
            Kind::Timer,
            Kind::Broadcast,
        ];
        let kind = KINDS[usize::from(bytes[4] & 7)];
        Header { flags: bytes[5], ..Self::with_kind(bytes, kind) }
    }

    #[inline]
    fn with_kind(bytes: &[u8; HEADER_LEN], kind: Kind) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes.as_chunks().0[at]);
        Header {
            payload_len: word(0) as u32,
            kind,
            flags: 0,
            extension_len: (word(0) >> 48) as u16,
            slot: Slot::from_bits(word(1) as u32),
            generation: (word(1) >> 32) as u32,
            message: MessageId::from_bits(word(2)),
            correlation: word(3),
        }
    }
}

/// `len` rounded up to a multiple of 16.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(FRAME_ALIGN)
}

/// One frame in memory: a lease on all of it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Header, extensions, payload and padding. Marked if it came from another node and the header does
    /// not say so.
    bytes: Lease,
}

impl Frame {
    /// The fixed part.
    #[inline(always)]
    pub fn header(&self) -> Header {
        let head = self.bytes.first_chunk().expect("a frame has a header");
        let mut header = Header::from_own(head);
        if self.bytes.is_marked() {
            header.set_foreign(true);
        }
        header
    }

    /// Takes all that waits in a chunk, which is one whole frame of this process.
    #[inline(always)]
    pub(crate) fn all_of(chunk: &mut ChunkWriter) -> Self {
        Frame { bytes: chunk.take_committed() }
    }

    /// Bytes of the whole frame.
    #[expect(clippy::len_without_is_empty, reason = "a frame has a header at least")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A copy at the end of a chunk, if there is room for it.
    pub(crate) fn copied_into(&self, chunk: &mut ChunkWriter) -> Option<Frame> {
        let copy = chunk.append_leased(&self.bytes)?;
        Some(Frame { bytes: if self.bytes.is_marked() { copy.marked() } else { copy } })
    }

    /// Bytes behind the fixed part of the header.
    #[inline]
    pub fn body_len(&self) -> usize {
        self.bytes.len() - HEADER_LEN
    }

    /// The archive.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let header = self.header();
        &self.bytes[header.payload_start()..][..header.payload_len as usize]
    }

    /// The lease on just the payload's bytes.
    #[inline(always)]
    pub fn into_payload(self) -> Lease {
        let header = self.header();
        self.bytes.into_slice(header.payload_start(), header.payload_len as usize)
    }

    /// What the extensions say.
    ///
    /// # Errors
    /// If they are malformed: that cannot happen for frames that came through a [`FrameReader`].
    pub fn extensions(&self) -> Result<Extensions, ExtensionError> {
        let header = self.header();
        if header.extension_len == 0 {
            return Ok(Extensions::default());
        }
        Extensions::parse(&self.bytes[HEADER_LEN..header.payload_start()])
    }

    /// Whom a broadcast is for: places on the worker that it has come to.
    pub fn targets(&self) -> impl Iterator<Item = (Slot, u32)> {
        let header = self.header();
        let broadcast = header.kind == Kind::Broadcast;
        let count = if broadcast { header.generation as usize } else { 0 };
        let targets = self.bytes[HEADER_LEN..header.payload_start()].as_chunks().0;
        targets.iter().take(count).map(|target| {
            let place = u64::from_le_bytes(*target);
            (Slot::from_bits(place as u32), (place >> 32) as u32)
        })
    }

    /// The frame that each target of a broadcast gets.
    ///
    /// # Panics
    /// If it is no broadcast.
    pub fn into_shared(self) -> Frame {
        assert!(self.header().flags == FLAG_SHARED, "only a broadcast has a frame in it");
        Frame { bytes: self.into_payload() }
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the payload may be read without validation: this process wrote it.
    #[inline]
    pub fn trusted(&self) -> bool {
        !self.header().is_foreign()
    }

    /// Bytes of memory that the frame keeps from being used again, at most.
    pub fn bytes_held(&self) -> usize {
        self.bytes.bytes_held()
    }

    /// The archive and the zeros behind it.
    pub(crate) fn padded_payload(&self) -> &[u8] {
        &self.bytes[self.header().payload_start()..]
    }
}

/// The header of a flat message that is told an actor.
#[inline(always)]
fn flat_told<M: Archivable>(slot: Slot, generation: u32) -> Header {
    let payload_len = const { size_of::<M::Archived>() as u32 };
    Header { payload_len, ..Header::new(Kind::Tell, slot, generation, M::ID, 0) }
}

/// Whether a frame has the same as this header in one of its words: lengths, kind and flags in the first, the
/// actor in the next, then the message, then the correlation id.
#[inline(always)]
fn same_word(frame: &[u8], header: &Header, word: usize) -> bool {
    frame.as_chunks::<8>().0[word] == header.to_bytes().as_chunks().0[word]
}

/// Walks frames that an outbox of this process wrote, from front to back.
#[derive(Debug)]
pub struct Frames(Cursor);

impl Frames {
    #[inline]
    pub(crate) fn new(bytes: Lease) -> Self {
        Frames(Cursor::new(bytes))
    }

    /// The lease that was walked.
    pub fn into_bytes(self) -> Lease {
        self.0.into_lease()
    }

    /// Bytes of the frames that have not been taken.
    #[inline]
    pub fn left(&self) -> usize {
        self.0.rest().len()
    }

    /// Whether all frames have been taken.
    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.0.rest().is_empty()
    }

    /// The fixed part of the next frame; `None` at the end.
    #[inline]
    pub fn peek(&self) -> Option<Header> {
        self.0.rest().first_chunk().map(Header::from_own)
    }

    /// Takes the next frame if it is this message, told to this actor of this process, and no more than
    /// its header says about it. What cannot be read as this message is not taken.
    #[inline]
    pub fn take_told<M: Archivable>(&mut self, slot: Slot, generation: u32) -> Option<Archived<M>> {
        if const { M::FLAT } {
            return self.take_told_flat(slot, generation);
        }
        let header = self.peek()?;
        let told = header.slot == slot
            && header.generation == generation
            && header.message == M::ID
            && header.kind == Kind::Tell
            && header.extension_len == 0;
        if !told {
            return None;
        }
        let archived = self.open_next(&header).ok()?;
        self.0.skip(header.frame_len());
        Some(archived)
    }

    /// As [`take_told`](Self::take_told), for a message whose frames are all of one length. One from another
    /// node is not taken.
    #[inline(always)]
    fn take_told_flat<M: Archivable>(
        &mut self,
        slot: Slot,
        generation: u32,
    ) -> Option<Archived<M>> {
        let header = flat_told::<M>(slot, generation);
        let frame = self.0.rest().get(..header.frame_len())?;
        if !(0..3).all(|word| same_word(frame, &header, word)) {
            return None;
        }
        let archived = self.open_next(&header).ok()?;
        self.0.skip(header.frame_len());
        Some(archived)
    }

    /// Opens the next frame, which has this header, as a message that it is known to be.
    #[inline(always)]
    fn open_next<M: Archivable>(&self, header: &Header) -> Result<Archived<M>, AccessError> {
        let (start, len) = (header.payload_start(), header.payload_len as usize);
        let small = const { Held::<M>::COPIED } && len == size_of::<M::Archived>();
        let known = header.message == M::ID && header.kind.carries_message();
        if small && known && !header.is_foreign() {
            return Archived::copy_of(&self.0.rest()[start..][..len]);
        }
        Archived::from_parts(header, self.0.lease(start, len))
    }

    /// Takes the next frame as a message that it is known to be. Returns its header as well.
    ///
    /// # Errors
    /// If it is another one; it has been taken all the same.
    #[inline]
    pub fn take_as<M: Archivable>(&mut self) -> Option<(Header, Result<Archived<M>, AccessError>)> {
        let header = self.peek()?;
        let opened = self.open_next(&header);
        self.0.skip(header.frame_len());
        Some((header, opened))
    }
}

impl Iterator for Frames {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        let frame_len = self.peek()?.frame_len();
        let bytes = self.0.lease(0, frame_len);
        self.0.skip(frame_len);
        Some(Frame { bytes })
    }
}

/// Walks the frames of bytes from another node from front to back.
#[derive(Debug)]
pub struct FrameReader {
    bytes: Lease,
    at: usize,
    max_payload: usize,
}

impl FrameReader {
    /// A reader of bytes from outside, which start at a multiple of 16 in memory. Frames with more
    /// than `max_payload` bytes of payload are refused.
    pub fn foreign(bytes: Lease, max_payload: usize) -> Self {
        FrameReader { bytes, at: 0, max_payload }
    }

    /// Bytes that have not been read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next frame, or `None` at the end of the bytes.
    ///
    /// # Errors
    /// If what follows is not a whole, well-formed frame. The reader does not move then.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let truncated = |needed| FrameError::Truncated { needed, found: rest.len() };
        let head = rest.first_chunk::<HEADER_LEN>().ok_or(truncated(HEADER_LEN))?;
        let header = Header::from_wire(head, self.max_payload)?;
        let frame_len = header.frame_len();
        let frame = rest.get(..frame_len).ok_or(truncated(frame_len))?;
        let payload_end = header.payload_start() + header.payload_len as usize;
        if frame[payload_end..].iter().any(|byte| *byte != 0) {
            return Err(FrameError::DirtyPadding);
        }
        if header.extension_len > 0 {
            Extensions::parse(&frame[HEADER_LEN..header.payload_start()])?;
        }
        let bytes = self.bytes.slice(self.at, frame_len).marked();
        self.at += frame_len;
        Ok(Some(Frame { bytes }))
    }
}

/// What stands at the front of a stream of frames that arrives piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Bytes at the front that are whole frames.
    pub complete: usize,
    /// Bytes that the frame behind them takes in all, as far as it is known: at least a header.
    pub next_frame: usize,
}

/// Finds out how much of `bytes` is whole frames, by their headers alone.
///
/// # Errors
/// If a header is malformed.
pub fn scan(bytes: &[u8], max_payload: usize) -> Result<Prefix, FrameError> {
    let mut complete = 0;
    loop {
        let rest = &bytes[complete..];
        let Some(head) = rest.first_chunk::<HEADER_LEN>() else {
            return Ok(Prefix { complete, next_frame: HEADER_LEN });
        };
        let frame_len = Header::from_wire(head, max_payload)?.frame_len();
        if rest.len() < frame_len {
            return Ok(Prefix { complete, next_frame: frame_len });
        }
        complete += frame_len;
    }
}
