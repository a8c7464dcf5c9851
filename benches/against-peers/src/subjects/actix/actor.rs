//! An actor of actix that does what a behaviour says.
//!
//! Handlers of actix are plain functions, and `do_send` never waits: so behaviours never wait here, and
//! are run to their end in the handler, as if they were plain functions themselves.

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use actix_rt::ArbiterHandle;

use crate::{
    at_once::at_once,
    shapes::{Behaviour, Flow, Framework},
};

/// See the [module](self).
#[derive(Clone, Copy)]
pub(crate) struct Actix {
    pub(crate) arbiters: &'static [ArbiterHandle],
    /// Room of a mailbox, if it is not the default.
    pub(crate) capacity: Option<usize>,
}

pub(crate) struct Host<B> {
    behaviour: B,
    capacity: Option<usize>,
}

impl<B: Behaviour<Actix>> Actor for Host<B> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if let Some(capacity) = self.capacity {
            context.set_mailbox_capacity(capacity);
        }
        self.behaviour.introduce(|| context.address());
        self.behaviour.started();
    }
}

/// Makes a message of anything.
pub(crate) struct Letter<M>(M);

impl<M: 'static> Message for Letter<M> {
    type Result = ();
}

impl<B: Behaviour<Actix>> Handler<Letter<B::Message>> for Host<B> {
    type Result = ();

    #[inline]
    fn handle(&mut self, message: Letter<B::Message>, context: &mut Context<Self>) {
        if at_once(self.behaviour.handle(message.0)) == Flow::Stop {
            context.stop();
        }
    }
}

impl Framework for Actix {
    type Ref<B: Behaviour<Self>> = Addr<Host<B>>;

    async fn spawn<B: Behaviour<Self>>(self, behaviour: B) -> Addr<Host<B>> {
        Host { behaviour, capacity: self.capacity }.start()
    }

    async fn spawn_on<B: Behaviour<Self>>(self, worker: usize, behaviour: B) -> Addr<Host<B>> {
        let host = Host { behaviour, capacity: self.capacity };
        Host::start_in_arbiter(&self.arbiters[worker], |_| host)
    }

    fn end<B: Behaviour<Self>>(actor: Addr<Host<B>>) {
        // It ends when nobody refers to it any more.
        drop(actor);
    }

    async fn tell<B: Behaviour<Self>>(to: &Addr<Host<B>>, message: B::Message) {
        to.do_send(Letter(message));
    }
}
