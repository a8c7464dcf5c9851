//! An actor of kameo that does what a behaviour says.

use std::convert::Infallible;

use kameo::{
    Actor,
    actor::{ActorRef, Spawn},
    error::SendError,
    mailbox,
    message::{Context, Message},
};

use crate::{
    shapes::{Behaviour, Flow, Framework},
    subjects::runtimes::Places,
};

/// How much room mailboxes have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mailbox {
    /// As kameo makes them if it is not told otherwise.
    Default,
    Bounded(usize),
    Unbounded,
}

/// See the [module](self).
#[derive(Clone, Copy)]
pub(crate) struct Kameo {
    pub(crate) places: Places,
    pub(crate) mailbox: Mailbox,
}

impl Kameo {
    /// Starts an actor in the runtime that calls this.
    pub(crate) fn start<A: Actor>(self, args: A::Args) -> ActorRef<A> {
        match self.mailbox {
            Mailbox::Default => A::spawn(args),
            Mailbox::Bounded(places) => A::spawn_with_mailbox(args, mailbox::bounded(places)),
            Mailbox::Unbounded => A::spawn_with_mailbox(args, mailbox::unbounded()),
        }
    }
}

pub(crate) struct Host<B>(B);

impl<B: Behaviour<Kameo>> Actor for Host<B> {
    type Args = B;
    type Error = Infallible;

    async fn on_start(mut behaviour: B, me: ActorRef<Self>) -> Result<Self, Infallible> {
        behaviour.introduce(|| me);
        behaviour.started();
        Ok(Host(behaviour))
    }
}

impl<B: Behaviour<Kameo>> Message<B::Message> for Host<B> {
    type Reply = ();

    async fn handle(&mut self, message: B::Message, context: &mut Context<Self, ()>) {
        if self.0.handle(message).await == Flow::Stop {
            context.stop();
        }
    }
}

impl Framework for Kameo {
    type Ref<B: Behaviour<Self>> = ActorRef<Host<B>>;

    async fn spawn<B: Behaviour<Self>>(self, actor: B) -> ActorRef<Host<B>> {
        self.start::<Host<B>>(actor)
    }

    async fn spawn_on<B: Behaviour<Self>>(self, worker: usize, actor: B) -> ActorRef<Host<B>> {
        self.places.make_on(worker, async move { self.start::<Host<B>>(actor) }).await
    }

    fn end<B: Behaviour<Self>>(actor: ActorRef<Host<B>>) {
        // It ends when nobody refers to it any more.
        drop(actor);
    }

    async fn tell<B: Behaviour<Self>>(to: &ActorRef<Host<B>>, message: B::Message) {
        // Without waiting where there is room: that is faster.
        let sent = match to.tell(message).try_send() {
            Err(SendError::MailboxFull(message)) => to.tell(message).send().await,
            sent => sent,
        };
        assert!(sent.is_ok(), "the receiver is there");
    }
}
