//! Messages to archives and back: written in place, validated once if they come from outside, and
//! read where they lie.
//!
//! This is one of the modules of the crate that use `unsafe`: committing what was written to a chunk, passing on rkyv's
//! requests for memory, looking at the bytes of a flat archive on the stack, and reading an archive without a check. The
//! last is done only for payloads that either this process wrote as the type of their message id
//! ([`Archived::open_own`] takes no others), or that [`Archived::open`] has just validated. Of those that it wrote the
//! 64 bits of the id are all that is looked at; what this trusts in is written down in
//! [`message`](crate::message#what-is-trusted).

use std::{
    alloc, fmt,
    mem::MaybeUninit,
    num::NonZeroUsize,
    ops::Deref,
    ptr::{self, NonNull},
    slice,
};

use rkyv::{
    Archive, Portable, Serialize,
    api::{access_unchecked, access_with_context, serialize_using},
    bytecheck::CheckBytes,
    place::Place,
    rancor::{Failure, Strategy},
    ser::{
        Positional, Serializer, Writer,
        allocator::{Allocator, Arena, ArenaHandle},
    },
    validation::{Validator, archive::ArchiveValidator},
};

use crate::{
    bytes::Bytes,
    chunk::{ChunkPool, ChunkWriter, Lease, PoolExhausted},
    extension::Extensions,
    frame::{FRAME_ALIGN, Frame, HEADER_LEN, Header, padded},
    held::{Held, Small},
    message::{Layout, Message, MessageId},
};

/// How deep the pointers of a foreign archive may nest.
pub const MAX_DEPTH: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// What serialises a message: straight into a chunk, with no shared pointers.
pub type ArchiveSerializer<'a> = Strategy<Serializer<PayloadWriter<'a>, Scratch<'a>, ()>, Failure>;

/// What checks a foreign archive. `()` in the place of the shared context makes `Rc` and `Arc` in a
/// message a compile error.
pub type ArchiveChecker<'a> = Strategy<Validator<ArchiveValidator<'a>, ()>, Failure>;

/// A type with a fixed layout that can be written to a chunk, and checked when it comes from outside.
/// Implemented for everything that `#[message]` and `#[wire]` mark, except local messages.
pub trait Plain:
    Layout
    + Archive<Archived: Portable + for<'a> CheckBytes<ArchiveChecker<'a>>>
    + for<'a> Serialize<ArchiveSerializer<'a>>
{
}

impl<T> Plain for T where
    T: Layout
        + Archive<Archived: Portable + for<'a> CheckBytes<ArchiveChecker<'a>>>
        + for<'a> Serialize<ArchiveSerializer<'a>>
{
}

/// A message that can go over the wire.
pub trait Archivable: Message + Plain {}

impl<M: Message + Plain> Archivable for M {}

/// Why a message could not be written. Nothing has been written then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The chunk's free end is too short.
    NoRoom {
        /// Bytes that the frame needs at least, as far as it got.
        needed: usize,
    },
    /// The payload is longer than a frame may be.
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The message's own serialisation failed.
    Unserializable,
    /// More actors wait for one another than the extensions can say.
    ChainTooLong,
}

/// Why a payload cannot be read as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// The frame holds another message.
    WrongMessage {
        /// The message that was asked for.
        expected: MessageId,
        /// The message that is there.
        found: MessageId,
    },
    /// The bytes from the other node are not a valid archive of the message.
    Invalid(MessageId),
    /// The message passes by value, but this is a frame; or the other way round.
    WrongPassing(MessageId),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::WrongMessage { expected, found } => {
                write!(f, "expected message {expected:?}, found {found:?}")
            }
            AccessError::Invalid(id) => {
                write!(f, "the payload is no valid archive of message {id:?}")
            }
            AccessError::WrongPassing(id) => {
                write!(
                    f,
                    "message {id:?} came as a frame instead of a value, or the other way round"
                )
            }
        }
    }
}

impl std::error::Error for AccessError {}

/// The free end of a chunk, as rkyv sees it. Positions count from the start of the payload.
pub struct PayloadWriter<'a> {
    /// Bytes of the payload that are there already, if the first write is to be just these.
    filled: Option<&'a [u8]>,
    /// What follows them.
    room: &'a mut [MaybeUninit<u8>],
    at: usize,
    /// Set when a write did not fit: where it would have ended.
    needed: &'a mut usize,
}

impl Positional for PayloadWriter<'_> {
    #[inline]
    fn pos(&self) -> usize {
        self.at
    }
}

impl Writer<Failure> for PayloadWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = self.at + bytes.len();
        let before = match self.filled {
            None => 0,
            Some(filled) if self.at == 0 => {
                // These bytes lie where they belong: nothing is to be copied.
                let same = std::ptr::eq(filled, bytes);
                self.at = filled.len();
                return if same { Ok(()) } else { Err(Failure) };
            }
            Some(filled) => filled.len(),
        };
        match self.room.get_mut(self.at - before..end - before) {
            Some(room) => {
                room.write_copy_of_slice(bytes);
                self.at = end;
                Ok(())
            }
            None => {
                *self.needed = end;
                Err(Failure)
            }
        }
    }
}

/// Where rkyv keeps what it needs until a message is written. There may be no such place: a message that needs one cannot
/// be written then.
pub struct Scratch<'a>(Option<ArenaHandle<'a>>);

// SAFETY: all that it gives out comes from the arena, which keeps the contract.
unsafe impl Allocator<Failure> for Scratch<'_> {
    unsafe fn push_alloc(&mut self, layout: alloc::Layout) -> Result<NonNull<[u8]>, Failure> {
        let arena = self.0.as_mut().ok_or(Failure)?;
        // SAFETY: what the caller promises is what the arena asks for.
        unsafe { arena.push_alloc(layout) }
    }

    unsafe fn pop_alloc(&mut self, ptr: NonNull<u8>, layout: alloc::Layout) -> Result<(), Failure> {
        let arena = self.0.as_mut().ok_or(Failure)?;
        // SAFETY: what the caller promises is what the arena asks for.
        unsafe { arena.pop_alloc(ptr, layout) }
    }
}

/// Writes one whole frame at the end of a chunk. Returns its length in bytes.
///
/// # Errors
/// If it does not fit, is too large, or the message cannot be serialised; the chunk is as it was.
#[inline(always)]
pub(crate) fn write_frame<M: Archivable>(
    chunk: &mut ChunkWriter,
    arena: &mut Arena,
    mut header: Header,
    extensions: Option<&Extensions>,
    message: &M,
    max_payload: usize,
) -> Result<usize, WriteError> {
    const { assert!(align_of::<M::Archived>() <= FRAME_ALIGN, "archives are 16-aligned at most") };
    header.message = M::ID;
    header.set_foreign(false);
    let extension_len = match extensions {
        None => 0,
        Some(extensions) if extensions.is_too_long() => return Err(WriteError::ChainTooLong),
        Some(extensions) => extensions.encoded_len(),
    };
    header.extension_len = extension_len as u16;
    let payload_start = HEADER_LEN + extension_len;
    let spare = chunk.spare_mut();
    let Some(room) = spare.get_mut(payload_start..) else {
        return Err(WriteError::NoRoom { needed: payload_start });
    };
    let mut needed = 0;
    let writer = PayloadWriter { filled: None, room, at: 0, needed: &mut needed };
    let (written, payload_len) = serialize(message, writer, arena);
    if payload_len.max(needed) > max_payload {
        return Err(WriteError::TooLarge { max: max_payload });
    }
    if written.is_err() {
        return Err(match needed {
            0 => WriteError::Unserializable,
            end => WriteError::NoRoom { needed: payload_start + padded(end) },
        });
    }
    header.payload_len = payload_len as u32;
    let frame_len = header.frame_len();
    let Some(rest) = spare.get_mut(payload_start + payload_len..) else {
        return Err(WriteError::NoRoom { needed: frame_len });
    };
    // A whole block of zeros, if there is room, is one store; what lies behind the frame is not used yet.
    match rest.first_chunk_mut::<FRAME_ALIGN>() {
        Some(block) => *block = [MaybeUninit::new(0); FRAME_ALIGN],
        None => match rest.get_mut(..frame_len - payload_start - payload_len) {
            Some(padding) => padding.fill(MaybeUninit::new(0)),
            None => return Err(WriteError::NoRoom { needed: frame_len }),
        },
    }
    if let Some(extensions) = extensions {
        extensions.write(&mut spare[HEADER_LEN..payload_start]);
    }
    spare[..HEADER_LEN].write_copy_of_slice(&header.to_bytes());
    // SAFETY: header, extensions, payload and padding were all just written, as one whole frame whose
    // payload is an archive of the type that its message id names.
    unsafe { chunk.commit(frame_len) };
    Ok(frame_len)
}

/// Whether a flat message's own bytes are its archive.
const fn is_own_archive<M: Archivable>() -> bool {
    // rkyv's derive does not compare the sizes: where the machine aligns a number less than archives do,
    // only the archive has a gap at its end.
    let same_size = size_of::<M>() == size_of::<M::Archived>();
    M::COPY_OPTIMIZATION.is_enabled() && same_size
}

/// The header of a frame with a flat message in it.
#[inline(always)]
fn flat_header<M: Archivable>(mut header: Header, extension_len: u16) -> Header {
    const { assert!(align_of::<M::Archived>() <= FRAME_ALIGN, "archives are 16-aligned at most") };
    assert!(const { M::FLAT });
    header.message = M::ID;
    header.payload_len = const { size_of::<M::Archived>() as u32 };
    header.extension_len = extension_len;
    header.set_foreign(false);
    header
}

/// Writes one whole frame without extensions at the end of a chunk, for a message that is
/// [flat](crate::message::Layout::FLAT). Returns whether it did.
#[inline(always)]
pub(crate) fn write_flat<M: Archivable>(
    chunk: &mut ChunkWriter,
    header: Header,
    message: &M,
) -> bool {
    let header = flat_header::<M>(header, 0);
    let frame_len = const { HEADER_LEN + padded(size_of::<M::Archived>()) };
    // What has to be put together is not put together in vain.
    if !const { is_own_archive::<M>() } && chunk.spare() < frame_len {
        return false;
    }
    let write = |archive: &[u8]| {
        // SAFETY: header, payload and, in the last block of the body, padding are written below, as one whole
        // frame whose payload is an archive of the type that its message id names.
        let Some(room) = (unsafe { chunk.extend(frame_len) }) else {
            return false;
        };
        let (head, body) = room.split_at_mut(HEADER_LEN);
        head.write_copy_of_slice(&header.to_bytes());
        write_flat_body::<M>(body, archive);
        true
    };
    with_flat(message, write) == Some(true)
}

/// As [`write_flat`], with extensions.
pub(crate) fn write_flat_extended<M: Archivable>(
    chunk: &mut ChunkWriter,
    header: Header,
    extensions: &Extensions,
    message: &M,
) -> bool {
    assert!(!extensions.is_too_long());
    let extension_len = extensions.encoded_len();
    let header = flat_header::<M>(header, extension_len as u16);
    let frame_len = HEADER_LEN + extension_len + const { padded(size_of::<M::Archived>()) };
    let write = |archive: &[u8]| {
        let Some(room) = chunk.spare_mut().get_mut(..frame_len) else {
            return false;
        };
        let (head, rest) = room.split_at_mut(HEADER_LEN);
        let (between, body) = rest.split_at_mut(extension_len);
        head.write_copy_of_slice(&header.to_bytes());
        extensions.write(between);
        write_flat_body::<M>(body, archive);
        // SAFETY: header, extensions, payload and padding were all just written, as one whole frame whose
        // payload is an archive of the type that its message id names.
        unsafe { chunk.commit(frame_len) };
        true
    };
    with_flat(message, write) == Some(true)
}

/// Writes the archive of a flat message and the padding behind it into room of just their length.
#[inline(always)]
fn write_flat_body<M: Archivable>(body: &mut [MaybeUninit<u8>], archive: &[u8]) {
    if let Some(last) = body.last_chunk_mut::<FRAME_ALIGN>() {
        *last = [MaybeUninit::new(0); FRAME_ALIGN];
    }
    body[..size_of::<M::Archived>()].write_copy_of_slice(archive);
}

/// Shows the archive of a flat message. `None` if its `Serialize` fails, or writes something against the
/// contract of [`Layout`]: it is not quick then.
#[inline(always)]
pub(crate) fn with_flat<M: Archivable, R>(message: &M, show: impl FnOnce(&[u8]) -> R) -> Option<R> {
    assert!(const { M::FLAT });
    if const { is_own_archive::<M>() } {
        // SAFETY: that the copy optimisation is enabled says that the bytes of an `M` are all initialised. They
        // are read as a slice of their own length, while `message` is borrowed.
        let own = unsafe { slice::from_raw_parts(ptr::from_ref(message).cast(), size_of::<M>()) };
        return Some(show(own));
    }
    // The serialiser has nothing to write: that of a flat message only makes the resolver.
    let writer = PayloadWriter { filled: None, room: &mut [], at: 0, needed: &mut 0 };
    let mut serializer = Serializer::new(writer, Scratch(None), ());
    let resolver = message.serialize(Strategy::wrap(&mut serializer)).ok()?;
    let mut archive = MaybeUninit::<M::Archived>::uninit();
    // SAFETY: it is written where it lies, in its whole length. A zeroed one from elsewhere might lose the zeros in its
    // gaps on the way.
    unsafe { archive.as_mut_ptr().write_bytes(0, 1) };
    // SAFETY: it is aligned, and all of its bytes are zero.
    let place = unsafe { Place::new_unchecked(0, archive.as_mut_ptr()) };
    message.resolve(resolver, place);
    // SAFETY: all of its bytes were initialised, and a `Place` takes no others. It has not been moved since, so that
    // holds for its gaps as well.
    Some(show(unsafe { slice::from_raw_parts(archive.as_ptr().cast(), size_of::<M::Archived>()) }))
}

/// Serialises a value behind what the writer has. Returns where the writer ended, too.
#[inline(always)]
fn serialize<'a, T: Serialize<ArchiveSerializer<'a>>>(
    value: &T,
    writer: PayloadWriter<'a>,
    arena: &'a mut Arena,
) -> (Result<usize, Failure>, usize) {
    let mut serializer = Serializer::new(writer, Scratch(Some(arena.acquire())), ());
    let written = serialize_using(value, &mut serializer);
    (written, serializer.writer.at)
}

/// A chunk for a message of at most `len` bytes that somebody else writes, the kernel for example, and
/// whatever the message has besides. Fill it from its start, then [`finish`] it.
///
/// # Errors
/// If there is no memory for it.
pub fn chunk_to_fill(pool: &ChunkPool, len: usize) -> Result<ChunkWriter, PoolExhausted> {
    /// For the padding, and for the parts of the message besides the bytes.
    const BESIDES: usize = 512;
    pool.acquire_sized(len.saturating_add(BESIDES))
}

/// Makes a message around the bytes that a chunk has been filled with. `make` gets them as [`Bytes`]
/// and puts them where they belong in the message; they are not copied.
///
/// # Errors
/// If the bytes are not the first thing that the message archives, or the rest does not fit.
///
/// # Panics
/// If some of the chunk's bytes have been taken before.
pub fn finish<M: Archivable>(
    mut chunk: ChunkWriter,
    arena: &mut Arena,
    make: impl FnOnce(Bytes) -> M,
) -> Result<Archived<M>, WriteError> {
    const { assert!(align_of::<M::Archived>() <= FRAME_ALIGN, "archives are 16-aligned at most") };
    assert!(chunk.untaken() == chunk.len(), "the message starts where the chunk does");
    let filled = chunk.take_committed();
    let message = make(Bytes::from(filled.clone()));
    let mut needed = 0;
    let writer = PayloadWriter {
        filled: (!filled.is_empty()).then_some(&*filled),
        room: chunk.spare_mut(),
        at: 0,
        needed: &mut needed,
    };
    let (written, payload_len) = serialize(&message, writer, arena);
    let fits = !M::FLAT || payload_len == size_of::<M::Archived>();
    if written.is_err() || payload_len < filled.len() || !fits {
        return Err(match needed {
            0 => WriteError::Unserializable,
            needed => WriteError::NoRoom { needed },
        });
    }
    let besides = payload_len - filled.len();
    let padding = padded(payload_len) - payload_len;
    let Some(room) = chunk.spare_mut().get_mut(besides..besides + padding) else {
        return Err(WriteError::NoRoom { needed: padded(payload_len) });
    };
    room.fill(MaybeUninit::new(0));
    // SAFETY: the serialiser wrote `besides` bytes behind the filled ones, and the padding was just
    // zeroed.
    unsafe { chunk.commit(besides + padding) };
    Ok(Archived(Held::new(chunk.whole().into_slice(0, payload_len))))
}

/// A message as an archive that is known to be valid: where it lies, or a copy if it is small.
pub struct Archived<M: Archivable>(Held<M>);

impl<M: Archivable> Archived<M> {
    /// Opens a frame as the message that its id names. Foreign payloads are validated here, once.
    ///
    /// # Errors
    /// If the frame holds another message, or the bytes are not valid.
    #[inline(always)]
    pub fn open(frame: Frame) -> Result<Self, AccessError> {
        let header = frame.header();
        Self::from_parts(&header, frame.into_payload())
    }

    /// Opens a frame as the message that its id names, if this process wrote that. Gives back any other one.
    ///
    /// # Errors
    /// With the frame, if [`open`](Self::open) has to look closer at it.
    #[inline(always)]
    pub fn open_own(frame: Frame) -> Result<Self, Frame> {
        let header = frame.header();
        let is_it = header.message == M::ID && header.kind.carries_message();
        let fits = !const { M::FLAT } || header.payload_len as usize == size_of::<M::Archived>();
        if !is_it || !fits || header.is_foreign() || cfg!(debug_assertions) {
            return Err(frame);
        }
        Ok(Archived(Held::new(frame.into_payload())))
    }

    /// Opens a payload of this process whose header is somewhere else.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    #[inline(always)]
    pub(crate) fn from_parts(header: &Header, payload: Lease) -> Result<Self, AccessError> {
        let found = header.message;
        if found != M::ID || !header.kind.carries_message() {
            return Err(AccessError::WrongMessage { expected: M::ID, found });
        }
        if const { M::FLAT } && payload.len() != size_of::<M::Archived>() {
            return Err(AccessError::Invalid(M::ID));
        }
        if header.is_foreign() || cfg!(debug_assertions) {
            // Out of place, parts of it may still be aligned, and not be where it is copied to.
            if !payload.as_ptr().addr().is_multiple_of(FRAME_ALIGN) {
                return Err(AccessError::Invalid(M::ID));
            }
            validate::<M>(&payload)?;
        }
        Ok(Archived(Held::new(payload)))
    }

    /// Opens a payload of this process that is no more than this message, if such messages are copied.
    ///
    /// # Panics
    /// If they are not, or the payload has another length.
    #[inline(always)]
    pub(crate) fn copy_of(payload: &[u8]) -> Result<Self, AccessError> {
        if cfg!(debug_assertions) {
            validate::<M>(payload)?;
        }
        Ok(Archived(Held::copy_of(payload)))
    }

    /// Whether such messages may travel by themselves, without a frame.
    pub(crate) const IS_SMALL: bool = Held::<M>::COPIED;

    /// Opens a message that has come by itself.
    ///
    /// # Errors
    /// If it is another one.
    #[inline(always)]
    pub fn of_small(small: &Small) -> Result<Self, AccessError> {
        let wrong = AccessError::WrongMessage { expected: M::ID, found: small.message() };
        let opened = Archived::<M>(Held::of_small(small).ok_or(wrong)?);
        if cfg!(debug_assertions) {
            validate::<M>(opened.bytes())?;
        }
        Ok(opened)
    }

    /// The payload.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// A share of the payload's bytes, or of a copy of them if they are few.
    pub fn payload(&self) -> Lease {
        self.0.share()
    }
}

/// Checks that `payload` is an archive of `M`, to a bounded depth and with no shared pointers.
///
/// # Errors
/// If it is not.
pub fn validate<M: Archivable>(payload: &[u8]) -> Result<&M::Archived, AccessError> {
    let validator = ArchiveValidator::with_max_depth(payload, Some(MAX_DEPTH));
    access_with_context::<M::Archived, _, Failure>(payload, &mut Validator::new(validator, ()))
        .map_err(|Failure| AccessError::Invalid(M::ID))
}

impl<M: Archivable> Deref for Archived<M> {
    type Target = M::Archived;

    #[inline]
    fn deref(&self) -> &M::Archived {
        // SAFETY: there are five constructors. `finish` has just archived an `M`; `of_small` has the archive
        // of a flat `M`. `from_parts` and `open_own` found the message id to be that of `M`, and either
        // validated the payload or knows that this process wrote it with `write_frame`, `write_flat` or
        // `finish`, which bind the id to the type (the contracts of `Message` and `Layout`, with the trust in
        // hashes that the module `message` describes); so do those who call `copy_of`. Frames are not
        // foreign only if they come out of an outbox, which writes messages (`push_message`), passes on what is
        // an `Archived` of the type that it names (`push_archived`), keeps the mark of what is foreign
        // (`push_relayed`), or puts a whole frame of this process into one that says so by a flag which
        // nobody else sets (`push_broadcast`, `into_shared`). Payloads start at multiples of 16, of which
        // `from_parts` makes sure if they are foreign, so an archive stays aligned when it is copied, into a
        // frame or into the words of a `Held`, which takes none that need more than words do. They never
        // change. What is flat is all of its payload: `from_parts`, `open_own`, `finish` and `Held` make sure.
        unsafe {
            if const { M::FLAT } {
                &*self.bytes().as_ptr().cast()
            } else {
                access_unchecked::<M::Archived>(self.bytes())
            }
        }
    }
}

impl<M: Archivable> Clone for Archived<M> {
    fn clone(&self) -> Self {
        Archived(self.0.clone())
    }
}

impl<M: Archivable> fmt::Debug for Archived<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archived({:?})", self.0)
    }
}
