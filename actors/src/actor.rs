//! What an actor is.

use std::{fmt, future::Future};

use annulus_codec::message::Message;

use crate::{
    context::Context,
    message::{Msg, Reply},
    protocol::Serve,
};

/// A thing with state that handles one message at a time.
///
/// An actor lives on one worker from its start to its end; nothing of it has to be `Send` once it is
/// there. Which messages it takes is its [`Protocol`](Self::Protocol), a tuple of message types; it
/// implements [`Handler`] for each of them.
pub trait Actor: Sized + 'static {
    /// The messages that the actor takes, as a tuple: `(Say, Stats)`. Only these can reach it, from
    /// this node or another.
    type Protocol: Serve<Self>;

    /// Bounds of the mailbox: what waits while a handler is suspended.
    const MAILBOX: MailboxLimits = MailboxLimits::DEFAULT;

    /// Runs before the first message.
    fn started(&mut self, context: &mut Context<Self>) -> impl Future<Output = ()> {
        let _ = context;
        async {}
    }

    /// Runs after the last message, unless the actor was killed or has panicked.
    fn stopped(&mut self, context: &mut Context<Self>) -> impl Future<Output = ()> {
        let _ = context;
        async {}
    }
}

/// How an actor handles one kind of message.
///
/// Implement [`Respond`] instead to answer with a message that came in, or later.
pub trait Handler<M: Message>: Actor {
    /// Handles the message and returns the answer; the answer to a `tell` is dropped.
    ///
    /// While this is suspended at an `.await`, other actors of the worker run, and this actor's
    /// further messages wait.
    fn handle(
        &mut self,
        message: Msg<M>,
        context: &mut Context<Self>,
    ) -> impl Future<Output = M::Reply>;
}

/// How an actor handles one kind of message when the answer is not just a new value: the same message
/// that came in, as it is; or one that is given later, through a
/// [`Responder`](crate::Responder).
///
/// Every [`Handler`] is one of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{M}`, which is in its protocol",
    note = "implement `Handler<{M}>` for `{Self}`"
)]
pub trait Respond<M: Message>: Actor {
    /// Handles the message and says what to answer. See [`Handler::handle`].
    fn respond(
        &mut self,
        message: Msg<M>,
        context: &mut Context<Self>,
    ) -> impl Future<Output = Reply<M::Reply>>;

    /// Takes the message that the context has, handles it, and answers; and more of the kind if they follow.
    //
    // It is a method, and each handler has its own, so that the message moves just once: from where it
    // waits into the handler's future.
    #[doc(hidden)]
    #[inline]
    fn serve(&mut self, context: &mut Context<Self>) -> impl Future<Output = ()> {
        async {
            // Not `while let`: what that looks at is kept while the handler runs.
            loop {
                let Some(message) = context.next_message::<M>() else { return };
                let reply = self.respond(message, context).await;
                context.answer(reply);
            }
        }
    }
}

impl<A: Handler<M>, M: Message> Respond<M> for A {
    async fn respond(&mut self, message: Msg<M>, context: &mut Context<Self>) -> Reply<M::Reply> {
        Reply::Value(self.handle(message, context).await)
    }

    #[inline]
    async fn serve(&mut self, context: &mut Context<Self>) {
        loop {
            let Some(message) = context.next_message::<M>() else { return };
            let reply = self.handle(message, context).await;
            context.answer(Reply::Value(reply));
        }
    }
}

/// How much may wait in a mailbox. What comes beyond that is refused: a teller on the same worker gets
/// the message back, an asker gets [`Overloaded`](crate::AskError::Overloaded), and what came from
/// elsewhere becomes a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Messages at most.
    pub messages: usize,
    /// Bytes of payload at most; a message counts as 16 bytes at least.
    pub bytes: usize,
}

impl MailboxLimits {
    /// 65,536 messages, 64 MiB.
    pub const DEFAULT: Self = MailboxLimits { messages: 65_536, bytes: 64 << 20 };
}

/// How an actor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It stopped itself, or was stopped or drained.
    Stopped,
    /// It was dropped at an `.await`.
    Killed,
    /// A handler panicked.
    Panicked,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exit::Stopped => "stopped",
            Exit::Killed => "killed",
            Exit::Panicked => "panicked",
        })
    }
}

/// How to end an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// After the handler that runs now; what waits in the mailbox becomes dead letters.
    Stop,
    /// After everything that waits in the mailbox now; new messages are refused at once.
    Drain,
    /// At the next `.await` of the handler that runs now, or at once if none does.
    Kill,
}
