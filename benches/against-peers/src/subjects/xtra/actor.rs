//! An actor of xtra that does what a behaviour says.

use xtra::{Actor, Address, Context, Handler, Mailbox};

use crate::{
    shapes::{Behaviour, Flow, Framework},
    subjects::runtimes::Places,
};

/// See the [module](self).
#[derive(Clone, Copy)]
pub(crate) struct Xtra {
    pub(crate) at: Places,
    /// Room of a mailbox, if it has bounds.
    pub(crate) places: Option<usize>,
}

/// A mailbox keeps no order between messages of the same priority: what is to come last needs a lower
/// one.
const ORDINARY: u32 = 1;
const LAST: u32 = 0;

impl Xtra {
    /// Starts an actor on a worker.
    pub(crate) fn start_on<A: Actor<Stop = ()>>(self, worker: usize, actor: A) -> Address<A> {
        let (address, mailbox) = self.mailbox();
        self.at.of(worker).spawn(xtra::run(mailbox, actor));
        address
    }

    fn mailbox<A>(self) -> (Address<A>, Mailbox<A>) {
        match self.places {
            Some(places) => Mailbox::bounded(places),
            None => Mailbox::unbounded(),
        }
    }
}

pub(crate) struct Host<B>(B);

impl<B: Behaviour<Xtra>> Actor for Host<B> {
    type Stop = ();

    async fn started(&mut self, _: &Mailbox<Self>) -> Result<(), ()> {
        self.0.started();
        Ok(())
    }

    async fn stopped(self) {}
}

impl<B: Behaviour<Xtra>> Handler<B::Message> for Host<B> {
    type Return = ();

    async fn handle(&mut self, message: B::Message, context: &mut Context<Self>) {
        if self.0.handle(message).await == Flow::Stop {
            context.stop_self();
        }
    }
}

impl Framework for Xtra {
    type Ref<B: Behaviour<Self>> = Address<Host<B>>;

    async fn spawn<B: Behaviour<Self>>(self, mut actor: B) -> Address<Host<B>> {
        let (address, mailbox) = self.mailbox();
        actor.introduce(|| address.clone());
        xtra::spawn_tokio(Host(actor), (address, mailbox))
    }

    async fn spawn_on<B: Behaviour<Self>>(self, worker: usize, mut actor: B) -> Address<Host<B>> {
        let (address, mailbox) = self.mailbox();
        actor.introduce(|| address.clone());
        self.at.of(worker).spawn(xtra::run(mailbox, Host(actor)));
        address
    }

    fn end<B: Behaviour<Self>>(actor: Address<Host<B>>) {
        // It ends when nobody refers to it any more.
        drop(actor);
    }

    async fn tell<B: Behaviour<Self>>(to: &Address<Host<B>>, message: B::Message) {
        let sent = to.send(message).priority(ORDINARY).detach().await;
        assert!(sent.is_ok(), "the receiver is there");
    }

    async fn tell_last<B: Behaviour<Self>>(to: &Address<Host<B>>, message: B::Message) {
        let sent = to.send(message).priority(LAST).detach().await;
        assert!(sent.is_ok(), "the receiver is there");
    }
}
