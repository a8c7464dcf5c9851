//! An actor of ractor that does what a behaviour says. The behaviour is its state.

use std::marker::PhantomData;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    shapes::{Behaviour, Flow, Framework},
    subjects::runtimes::Places,
};

/// See the [module](self).
#[derive(Clone, Copy)]
pub(crate) struct Ractor {
    pub(crate) places: Places,
}

struct Host<B>(PhantomData<fn(B)>);

impl<B: Behaviour<Ractor>> Actor for Host<B> {
    type Msg = B::Message;
    type State = B;
    type Arguments = B;

    async fn pre_start(
        &self,
        me: ActorRef<B::Message>,
        mut behaviour: B,
    ) -> Result<B, ActorProcessingErr> {
        behaviour.introduce(|| me);
        behaviour.started();
        Ok(behaviour)
    }

    async fn handle(
        &self,
        me: ActorRef<B::Message>,
        message: B::Message,
        behaviour: &mut B,
    ) -> Result<(), ActorProcessingErr> {
        if behaviour.handle(message).await == Flow::Stop {
            me.stop(None);
        }
        Ok(())
    }
}

/// Starts an actor in the runtime that calls this.
pub(crate) async fn start<A: Actor>(actor: A, arguments: A::Arguments) -> ActorRef<A::Msg> {
    let (actor, _) = Actor::spawn(None, actor, arguments).await.expect("the actor starts");
    actor
}

impl Framework for Ractor {
    type Ref<B: Behaviour<Self>> = ActorRef<B::Message>;

    async fn spawn<B: Behaviour<Self>>(self, actor: B) -> ActorRef<B::Message> {
        start(Host::<B>(PhantomData), actor).await
    }

    async fn spawn_on<B: Behaviour<Self>>(self, worker: usize, actor: B) -> ActorRef<B::Message> {
        self.places.make_on(worker, start(Host::<B>(PhantomData), actor)).await
    }

    fn end<B: Behaviour<Self>>(actor: ActorRef<B::Message>) {
        actor.stop(None);
    }

    async fn tell<B: Behaviour<Self>>(to: &ActorRef<B::Message>, message: B::Message) {
        assert!(to.cast(message).is_ok(), "the receiver is there");
    }
}
