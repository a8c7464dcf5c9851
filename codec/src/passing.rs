//! How a message gets from its sender to its receiver: as an archive, or by value.

use std::{any::Any, marker::PhantomData, ops::Deref};

use crate::{
    address::{Address, Slot},
    archive::{AccessError, Archivable, Archived},
    chunk::Lease,
    extension::Extensions,
    frame::{Frame, Frames, Header},
    held::Small,
    message::Message,
    outbox::{Admission, Outbox, PushError},
    queue::SmallQueue,
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
// The message is a part of it, so that it takes one allocation in all.
#[derive(Debug)]
pub struct Value<T: ?Sized = dyn Any + Send> {
    /// The same header as of a frame.
    pub header: Header,
    /// What its handler inherits; `None` if that is nothing.
    pub extensions: Option<Box<Extensions>>,
    /// Whether it heeds the limits of the receiver's mailbox.
    pub admission: Admission,
    /// The message itself, in an option from which it can be taken.
    message: T,
}

impl Value {
    /// A message with what goes along with it.
    pub fn new<M: Send + 'static>(
        header: Header,
        extensions: Option<Box<Extensions>>,
        admission: Admission,
        message: M,
    ) -> Box<Self> {
        Box::new(Value { header, extensions, admission, message: Some(message) })
    }

    /// The message, if it is one of these.
    pub fn message<M: 'static>(&self) -> Option<&M> {
        self.message.downcast_ref::<Option<M>>()?.as_ref()
    }

    /// Takes the message, if it is one of these.
    pub fn take_message<M: 'static>(&mut self) -> Option<M> {
        self.message.downcast_mut::<Option<M>>()?.take()
    }
}

/// A received message that passes by value.
#[derive(Debug)]
pub struct Moved<M> {
    value: Box<Value>,
    message: PhantomData<fn() -> M>,
}

impl<M: 'static> Moved<M> {
    fn new(value: Box<Value>) -> Result<Self, Box<Value>> {
        if value.message::<M>().is_none() {
            return Err(value);
        }
        Ok(Moved { value, message: PhantomData })
    }

    /// The message itself.
    pub fn into_message(mut self) -> M {
        self.value.take_message().expect("it is one of these: `new` has seen to it")
    }
}

impl<M: 'static> Deref for Moved<M> {
    type Target = M;

    fn deref(&self) -> &M {
        self.value.message().expect("it is one of these: `new` has seen to it")
    }
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
    /// Whether [`append_told`](Self::append_told) may do anything.
    const IS_APPENDED: bool;

    /// Whether a told message travels by itself on its worker, without a frame.
    const IS_SMALL: bool;

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

    /// Makes the message a whole, to be handed to an actor of the same worker. It is taken out of the option only if
    /// it is moved. `alone` has room for it, and nothing in it.
    ///
    /// # Errors
    /// With the reason; the message is as it was.
    ///
    /// # Panics
    /// If there is no message.
    fn pack_alone(
        message: &mut Option<M>,
        header: Header,
        alone: &mut Outbox,
        admission: Admission,
    ) -> Result<Envelope, PushError>;

    /// Appends the message to an outbox, told to an actor of this process, if it is flat and there is room for
    /// it in the open chunk. Returns whether it did.
    fn append_told(message: &M, to: Address, outbox: &mut Outbox) -> bool;

    /// The message by itself, if it may travel without a frame.
    fn as_small(message: &M) -> Option<Small>;

    /// Opens a message that has come by itself.
    ///
    /// # Errors
    /// If it is another one.
    fn open_small(small: &Small) -> Result<Self::Carrier, AccessError>;

    /// As [`SmallQueue::pop`]; `None` if messages do not travel by themselves.
    fn pop_small(queue: &SmallQueue) -> Option<Self::Carrier>;

    /// Opens a frame as this message, if it is one that this process wrote.
    ///
    /// # Errors
    /// With the frame, if [`open`](Self::open) has to look closer at it.
    fn open_own(frame: Frame) -> Result<Self::Carrier, Frame>;

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
    const IS_APPENDED: bool = M::FLAT;
    const IS_SMALL: bool = Archived::<M>::IS_SMALL;

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
    fn pack_alone(
        message: &mut Option<M>,
        header: Header,
        alone: &mut Outbox,
        _: Admission,
    ) -> Result<Envelope, PushError> {
        let message = message.as_ref().expect("the caller gives a message");
        Ok(Envelope::Frame(alone.archive_one(header, message)?))
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
    fn open_small(small: &Small) -> Result<Archived<M>, AccessError> {
        Archived::of_small(small)
    }

    #[inline(always)]
    fn pop_small(queue: &SmallQueue) -> Option<Archived<M>> {
        queue.pop()
    }

    #[inline(always)]
    fn open_own(frame: Frame) -> Result<Archived<M>, Frame> {
        Archived::open_own(frame)
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
    type Carrier = Moved<M>;
    const CROSSES_NODES: bool = false;
    const IS_APPENDED: bool = false;
    const IS_SMALL: bool = false;

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
        outbox.push_value(Value::new(header, extensions, admission, message));
        Ok(())
    }

    fn pack_alone(
        message: &mut Option<M>,
        header: Header,
        _: &mut Outbox,
        admission: Admission,
    ) -> Result<Envelope, PushError> {
        let message = message.take().expect("the caller gives a message");
        Ok(Envelope::Value(Value::new(header, None, admission, message)))
    }

    #[inline(always)]
    fn append_told(_: &M, _: Address, _: &mut Outbox) -> bool {
        false
    }

    #[inline(always)]
    fn as_small(_: &M) -> Option<Small> {
        None
    }

    fn open_small(_: &Small) -> Result<Moved<M>, AccessError> {
        Err(AccessError::WrongPassing(M::ID))
    }

    #[inline(always)]
    fn pop_small(_: &SmallQueue) -> Option<Moved<M>> {
        None
    }

    fn open_own(frame: Frame) -> Result<Moved<M>, Frame> {
        Err(frame)
    }

    fn open(envelope: Envelope) -> Result<Moved<M>, AccessError> {
        match envelope {
            Envelope::Value(value) => Moved::new(value).map_err(|value| {
                AccessError::WrongMessage { expected: M::ID, found: value.header.message }
            }),
            Envelope::Frame(_) | Envelope::Apart(_) => Err(AccessError::WrongPassing(M::ID)),
        }
    }

    fn take(frames: &mut Frames) -> Option<(Header, Result<Moved<M>, AccessError>)> {
        let frame = frames.next()?;
        Some((frame.header(), Err(AccessError::WrongPassing(M::ID))))
    }

    fn take_told(_: &mut Frames, _: Slot, _: u32) -> Option<Moved<M>> {
        None
    }

    fn forward(carrier: Moved<M>, header: Header, outbox: &mut Outbox) -> Result<(), PushError> {
        outbox.admits_value(Admission::Always)?;
        let mut value = carrier.value;
        value.header = header;
        value.extensions = None;
        value.admission = Admission::Bounded;
        outbox.push_value(value);
        Ok(())
    }

    fn view(carrier: &Moved<M>) -> &M {
        carrier
    }
}
