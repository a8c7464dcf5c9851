//! How a message gets from its sender to its receiver: as an archive, or by value.

use std::any::Any;

use crate::{
    address::{Address, Slot},
    archive::{AccessError, Archivable, Archived},
    chunk::Lease,
    extension::Extensions,
    frame::{Frame, Frames, Header},
    held::Small,
    message::Message,
    outbox::{Admission, Outbox, PushError},
};

/// What a worker takes in: a message with its header, in one of three forms.
#[derive(Debug)]
pub enum Envelope {
    /// A frame in a chunk.
    Frame(Frame),
    /// A large message that was passed on as it is, under a new header.
    Apart(Box<Apart>),
    /// A local message, moved.
    Value(Box<Value>),
}

/// A message of this process whose header is not before its payload.
#[derive(Debug)]
pub struct Apart {
    /// The same header as of a frame, without extensions.
    pub(crate) header: Header,
    /// The archive.
    pub(crate) payload: Lease,
}

/// A message that passes by value.
#[derive(Debug)]
pub struct Value {
    /// The same header as of a frame.
    pub header: Header,
    /// What its handler inherits; `None` if that is nothing.
    pub extensions: Option<Box<Extensions>>,
    /// Whether it heeds the limits of the receiver's mailbox.
    pub admission: Admission,
    /// The message itself.
    pub message: Box<dyn Any + Send>,
}

impl Envelope {
    /// The fixed part.
    #[inline]
    pub fn header(&self) -> Header {
        match self {
            Envelope::Frame(frame) => frame.header(),
            Envelope::Apart(apart) => apart.header,
            Envelope::Value(value) => value.header,
        }
    }

    /// Whether the message heeds the limits of its receiver's mailbox.
    pub fn admission(&self) -> Admission {
        match self {
            Envelope::Value(value) => value.admission,
            Envelope::Frame(_) | Envelope::Apart(_) => Admission::Bounded,
        }
    }

    /// Bytes of memory that the envelope keeps, at most, for accounting.
    pub fn payload_len(&self) -> usize {
        self.header().payload_len as usize
    }
}

/// A way of passing messages of type `M`. There are two: [`ByArchive`] and [`ByValue`].
pub trait Passing<M: Message> {
    /// What the receiver's `Msg<M>` derefs to.
    type View: ?Sized;
    /// What the receiver's `Msg<M>` holds.
    type Carrier: 'static;
    /// Whether the message can go to another node.
    const CROSSES_NODES: bool;

    /// Puts the message into an outbox. It is taken out of the option only if it is moved; so the
    /// caller decides when to drop it.
    ///
    /// # Errors
    /// With the reason; message and outbox are as they were.
    ///
    /// # Panics
    /// If there is no message.
    fn pack(
        message: &mut Option<M>,
        header: Header,
        extensions: Option<&Extensions>,
        outbox: &mut Outbox,
        admission: Admission,
    ) -> Result<(), PushError>;

    /// Appends the message to an outbox, told to an actor of this process, if it is plain and there is room for
    /// it in the open chunk. Returns whether it did.
    fn append_told(message: &M, to: Address, outbox: &mut Outbox) -> bool;

    /// The message by itself, if it may travel without a frame.
    fn as_small(message: &M) -> Option<Small>;

    /// Opens a message that has come by itself.
    ///
    /// # Errors
    /// If it is another one.
    fn open_small(small: Small) -> Result<Self::Carrier, AccessError>;

    /// Opens an envelope as this message.
    ///
    /// # Errors
    /// If it is another message, or foreign and not valid.
    fn open(envelope: Envelope) -> Result<Self::Carrier, AccessError>;

    /// Takes the next of a process's own frames as this message, with its header.
    ///
    /// # Errors
    /// If it is another message; it has been taken all the same.
    fn take(frames: &mut Frames) -> Option<(Header, Result<Self::Carrier, AccessError>)>;

    /// As [`Frames::take_told`]; `None` if messages do not pass in frames.
    fn take_told(frames: &mut Frames, slot: Slot, generation: u32) -> Option<Self::Carrier>;

    /// Puts a received message into an outbox as it is, under a new header.
    ///
    /// # Errors
    /// If there is no room.
    fn forward(
        carrier: Self::Carrier,
        header: Header,
        outbox: &mut Outbox,
    ) -> Result<(), PushError>;

    /// Looks into a received message.
    fn view(carrier: &Self::Carrier) -> &Self::View;
}

/// A message that may answer one that passes by `P`. What can come from another node is not answered with
/// what cannot go there.
pub trait Answers<P> {}

impl<R: Message> Answers<ByArchive> for R where R::Passing: CrossesNodes<R> {}

impl<R: Message> Answers<ByValue> for R {}

/// The ways of passing a message `M` that reach other nodes. There is one: [`ByArchive`].
#[diagnostic::on_unimplemented(
    message = "`{M}` is local, and cannot answer a message that may come from another node",
    label = "this reply never leaves its process",
    note = "mark the message that asks for it `#[message(local, reply = ..)]`, or remove `local` from the reply"
)]
pub trait CrossesNodes<M> {}

impl<M: Message> CrossesNodes<M> for ByArchive {}

/// The message becomes bytes once, when it is sent, and is read where they lie.
pub enum ByArchive {}

impl<M: Archivable> Passing<M> for ByArchive {
    type View = M::Archived;
    type Carrier = Archived<M>;
    const CROSSES_NODES: bool = true;

    #[inline(always)]
    fn pack(
        message: &mut Option<M>,
        header: Header,
        extensions: Option<&Extensions>,
        outbox: &mut Outbox,
        admission: Admission,
    ) -> Result<(), PushError> {
        let message = message.as_ref().expect("the caller gives a message");
        outbox.push_message(header, extensions, message, admission)
    }

    #[inline(always)]
    fn append_told(message: &M, to: Address, outbox: &mut Outbox) -> bool {
        outbox.append_told(to, message)
    }

    #[inline(always)]
    fn as_small(message: &M) -> Option<Small> {
        Small::of(message)
    }

    #[inline(always)]
    fn open_small(small: Small) -> Result<Archived<M>, AccessError> {
        Archived::of_small(small)
    }

    #[inline]
    fn open(envelope: Envelope) -> Result<Archived<M>, AccessError> {
        match envelope {
            Envelope::Frame(frame) => Archived::open(frame),
            Envelope::Apart(apart) => Archived::from_parts(&apart.header, apart.payload),
            Envelope::Value(_) => Err(AccessError::WrongPassing(M::ID)),
        }
    }

    #[inline]
    fn take(frames: &mut Frames) -> Option<(Header, Result<Archived<M>, AccessError>)> {
        frames.take_as()
    }

    #[inline]
    fn take_told(frames: &mut Frames, slot: Slot, generation: u32) -> Option<Archived<M>> {
        frames.take_told(slot, generation)
    }

    fn forward(carrier: Archived<M>, header: Header, outbox: &mut Outbox) -> Result<(), PushError> {
        outbox.push_archived(header, carrier)
    }

    #[inline]
    fn view(carrier: &Archived<M>) -> &M::Archived {
        carrier
    }
}

/// The message is moved, and never leaves the process.
pub enum ByValue {}

impl<M: Message + Send> Passing<M> for ByValue {
    type View = M;
    type Carrier = Box<M>;
    const CROSSES_NODES: bool = false;

    fn pack(
        message: &mut Option<M>,
        header: Header,
        extensions: Option<&Extensions>,
        outbox: &mut Outbox,
        admission: Admission,
    ) -> Result<(), PushError> {
        outbox.admits_value(admission)?;
        let message = message.take().expect("the caller gives a message");
        let extensions = extensions.map(|extensions| Box::new(extensions.clone()));
        outbox.push_value(Value { header, extensions, admission, message: Box::new(message) });
        Ok(())
    }

    #[inline(always)]
    fn append_told(_: &M, _: Address, _: &mut Outbox) -> bool {
        false
    }

    #[inline(always)]
    fn as_small(_: &M) -> Option<Small> {
        None
    }

    fn open_small(_: Small) -> Result<Box<M>, AccessError> {
        Err(AccessError::WrongPassing(M::ID))
    }

    fn open(envelope: Envelope) -> Result<Box<M>, AccessError> {
        match envelope {
            Envelope::Value(value) => value.message.downcast().map_err(|_| {
                AccessError::WrongMessage { expected: M::ID, found: value.header.message }
            }),
            Envelope::Frame(_) | Envelope::Apart(_) => Err(AccessError::WrongPassing(M::ID)),
        }
    }

    fn take(frames: &mut Frames) -> Option<(Header, Result<Box<M>, AccessError>)> {
        let frame = frames.next()?;
        Some((frame.header(), Err(AccessError::WrongPassing(M::ID))))
    }

    fn take_told(_: &mut Frames, _: Slot, _: u32) -> Option<Box<M>> {
        None
    }

    fn forward(carrier: Box<M>, header: Header, outbox: &mut Outbox) -> Result<(), PushError> {
        outbox.admits_value(Admission::Always)?;
        let admission = Admission::Bounded;
        outbox.push_value(Value { header, extensions: None, admission, message: carrier });
        Ok(())
    }

    fn view(carrier: &Box<M>) -> &M {
        carrier
    }
}
