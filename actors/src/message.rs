//! What handlers receive and return.

use std::{fmt, marker::PhantomData, ops::Deref};

use annulus_codec::{
    archive::{Archivable, Archived},
    chunk::Lease,
    message::Message,
    passing::Passing,
};
use rkyv::{
    Deserialize,
    rancor::{Error, Strategy},
};

use crate::respond::ReplyTo;

/// A received message: a lease on the bytes that the sender wrote.
///
/// It derefs to the archived message (or, for a local message, to the message itself). It is `'static`
/// and can cross an `.await`, be kept, forwarded, or returned as the reply: no bytes are decoded or
/// copied for any of that. While it lives, it keeps its chunk of message memory from being used again; but a
/// [small flat](macro@crate::message#flat-messages) message is copied, and keeps nothing.
pub struct Msg<M: Message> {
    carrier: <M::Passing as Passing<M>>::Carrier,
}

impl<M: Message> Msg<M> {
    pub(crate) fn new(carrier: <M::Passing as Passing<M>>::Carrier) -> Self {
        Msg { carrier }
    }

    pub(crate) fn into_carrier(self) -> <M::Passing as Passing<M>>::Carrier {
        self.carrier
    }
}

impl<M: Message<Passing = annulus_codec::passing::ByArchive> + Archivable> Msg<M> {
    /// The message as the sender gave it: decoded, with memory of its own.
    pub fn decode(&self) -> M
    where
        M::Archived: Deserialize<M, Strategy<(), Error>>,
    {
        rkyv::api::deserialize_using::<M, _, Error>(self.archived(), &mut ())
            .expect("the archive is valid, and decoding plain data does not fail")
    }

    /// A share of the archive's bytes.
    pub fn bytes(&self) -> Lease {
        self.carrier.payload()
    }

    /// A share of just those bytes of the archive: a string or a list of bytes in it.
    ///
    /// # Panics
    /// If `part` does not lie in this message.
    pub fn lease_of(&self, part: &[u8]) -> Lease {
        let whole = self.bytes();
        let start = part.as_ptr().addr().wrapping_sub(self.carrier.bytes().as_ptr().addr());
        if part.is_empty() {
            return whole.slice(0, 0);
        }
        assert!(start < whole.len(), "the part does not lie in the message");
        whole.slice(start, part.len())
    }

    fn archived(&self) -> &M::Archived {
        let carrier: &Archived<M> = &self.carrier;
        carrier
    }
}

impl<M: Message<Passing = annulus_codec::passing::ByValue> + Send> Msg<M> {
    /// The message itself.
    pub fn into_inner(self) -> M {
        self.carrier.into_message()
    }
}

impl<M: Message> Deref for Msg<M> {
    type Target = <M::Passing as Passing<M>>::View;

    #[inline]
    fn deref(&self) -> &Self::Target {
        M::Passing::view(&self.carrier)
    }
}

impl<M: Message> fmt::Debug for Msg<M>
where
    <M::Passing as Passing<M>>::View: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// What a [`Respond`](crate::Respond) answers: a value, a message that it has received, or nothing yet.
///
/// The reply itself, a `Msg` of the reply's type, and the [`Later`] of
/// [`Context::defer`](crate::Context::defer) turn into this with `into()`.
pub enum Reply<R: Message> {
    /// This value.
    Value(R),
    /// The same bytes that came in, or came in earlier.
    Same(Msg<R>),
    /// The [`Responder`] has it.
    Later,
}

impl<R: Message> From<R> for Reply<R> {
    fn from(value: R) -> Self {
        Reply::Value(value)
    }
}

impl<R: Message> From<Msg<R>> for Reply<R> {
    fn from(message: Msg<R>) -> Self {
        Reply::Same(message)
    }
}

/// Says that the reply is left to a [`Responder`].
#[derive(Debug)]
pub struct Later(pub(crate) ());

impl<R: Message> From<Later> for Reply<R> {
    fn from(_: Later) -> Self {
        Reply::Later
    }
}

/// The right, and the duty, to answer one ask later. Dropping it answers
/// [`NoReply`](crate::AskError::NoReply) at once. If the message was told, not asked, it does nothing.
/// The answer starts from the worker that handles the ask: use the responder there.
pub struct Responder<R: Message> {
    reply_to: Option<ReplyTo>,
    reply: PhantomData<fn(R)>,
}

impl<R: Message> Responder<R> {
    pub(crate) fn new(reply_to: Option<ReplyTo>) -> Self {
        Responder { reply_to, reply: PhantomData }
    }

    /// Whether anybody waits for the answer.
    pub fn is_wanted(&self) -> bool {
        self.reply_to.is_some()
    }

    /// Answers.
    pub fn reply(self, reply: impl Into<Reply<R>>) {
        if let Some(mut reply_to) = self.reply_to {
            reply_to.answer(reply.into());
        }
    }
}

impl<R: Message> fmt::Debug for Responder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Responder({})", R::NAME)
    }
}
