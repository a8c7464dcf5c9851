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

    async fn started(&mut self, mailbox: &Mailbox<Self>) -> Result<(), ()> {
        self.0.started(|| mailbox.address().try_upgrade().expect("whoever starts it has one"));
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

    async fn spawn<B: Behaviour<Self>>(self, actor: B) -> Address<Host<B>> {
        xtra::spawn_tokio(Host(actor), self.mailbox())
    }

    async fn spawn_on<B: Behaviour<Self>>(self, worker: usize, actor: B) -> Address<Host<B>> {
        self.start_on(worker, Host(actor))
    }

    async fn tell<B: Behaviour<Self>>(to: &Address<Host<B>>, message: B::Message) {
        assert!(to.send(message).detach().await.is_ok(), "the receiver is there");
    }
}
