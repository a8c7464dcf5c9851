//! A task that owns the receiving end of a channel.

use std::{future::Future, marker::PhantomData};

use tokio::sync::mpsc::{
    self, Receiver, Sender, UnboundedReceiver, UnboundedSender, error::TrySendError,
};

use crate::{
    shapes::{Behaviour, Flow, Framework},
    subjects::runtimes::Places,
};

/// A kind of channel.
pub(crate) trait Channel: Send + Sync + Unpin + 'static {
    type Sender<M: Send + 'static>: Clone + Send + Sync + Unpin + 'static;
    type Receiver<M: Send + 'static>: Send + 'static;

    fn make<M: Send + 'static>() -> (Self::Sender<M>, Self::Receiver<M>);

    fn send<M: Send + 'static>(to: &Self::Sender<M>, message: M)
    -> impl Future<Output = ()> + Send;

    /// Receives messages until there are no more, or the actor stops.
    fn serve<F: Framework, B: Behaviour<F>>(
        receiver: Self::Receiver<B::Message>,
        actor: B,
    ) -> impl Future<Output = ()> + Send;
}

/// A channel with this many places.
pub(crate) struct Bounded<const PLACES: usize>;

/// A channel without bounds.
pub(crate) struct Unbounded;

/// The same, from which many messages are taken at a time.
pub(crate) struct Batched;

/// Messages that are taken at a time.
const MANY: usize = 64;

/// Nobody tells an actor that has ended.
const GONE: &str = "the receiver is there";

impl<const PLACES: usize> Channel for Bounded<PLACES> {
    type Sender<M: Send + 'static> = Sender<M>;
    type Receiver<M: Send + 'static> = Receiver<M>;

    fn make<M: Send + 'static>() -> (Sender<M>, Receiver<M>) {
        mpsc::channel(PLACES)
    }

    async fn send<M: Send + 'static>(to: &Sender<M>, message: M) {
        // Without waiting where there is room: that is faster.
        let sent = match to.try_send(message) {
            Err(TrySendError::Full(message)) => to.send(message).await.is_ok(),
            sent => sent.is_ok(),
        };
        assert!(sent, "{GONE}");
    }

    async fn serve<F: Framework, B: Behaviour<F>>(
        mut receiver: Receiver<B::Message>,
        mut actor: B,
    ) {
        actor.started();
        while let Some(message) = receiver.recv().await {
            if actor.handle(message).await == Flow::Stop {
                break;
            }
        }
    }
}

impl Channel for Unbounded {
    type Sender<M: Send + 'static> = UnboundedSender<M>;
    type Receiver<M: Send + 'static> = UnboundedReceiver<M>;

    fn make<M: Send + 'static>() -> (UnboundedSender<M>, UnboundedReceiver<M>) {
        mpsc::unbounded_channel()
    }

    async fn send<M: Send + 'static>(to: &UnboundedSender<M>, message: M) {
        assert!(to.send(message).is_ok(), "{GONE}");
    }

    async fn serve<F: Framework, B: Behaviour<F>>(
        mut receiver: UnboundedReceiver<B::Message>,
        mut actor: B,
    ) {
        actor.started();
        while let Some(message) = receiver.recv().await {
            if actor.handle(message).await == Flow::Stop {
                break;
            }
        }
    }
}

impl Channel for Batched {
    type Sender<M: Send + 'static> = UnboundedSender<M>;
    type Receiver<M: Send + 'static> = UnboundedReceiver<M>;

    fn make<M: Send + 'static>() -> (UnboundedSender<M>, UnboundedReceiver<M>) {
        mpsc::unbounded_channel()
    }

    async fn send<M: Send + 'static>(to: &UnboundedSender<M>, message: M) {
        Unbounded::send(to, message).await;
    }

    async fn serve<F: Framework, B: Behaviour<F>>(
        mut receiver: UnboundedReceiver<B::Message>,
        mut actor: B,
    ) {
        actor.started();
        let mut messages = Vec::new();
        while receiver.recv_many(&mut messages, MANY).await > 0 {
            for message in messages.drain(..) {
                if actor.handle(message).await == Flow::Stop {
                    return;
                }
            }
        }
    }
}

/// See the [module](self).
pub(crate) struct Tokio<C>(Places, PhantomData<C>);

impl<C> Tokio<C> {
    pub(crate) fn new(places: Places) -> Self {
        Tokio(places, PhantomData)
    }

    pub(crate) fn places(self) -> Places {
        self.0
    }
}

impl<C> Clone for Tokio<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Tokio<C> {}

impl<C: Channel> Framework for Tokio<C> {
    type Ref<B: Behaviour<Self>> = C::Sender<B::Message>;

    async fn spawn<B: Behaviour<Self>>(self, mut actor: B) -> Self::Ref<B> {
        let (sender, receiver) = C::make();
        actor.introduce(|| sender.clone());
        tokio::spawn(C::serve::<Self, B>(receiver, actor));
        sender
    }

    async fn spawn_on<B: Behaviour<Self>>(self, worker: usize, mut actor: B) -> Self::Ref<B> {
        let (sender, receiver) = C::make();
        actor.introduce(|| sender.clone());
        self.0.of(worker).spawn(C::serve::<Self, B>(receiver, actor));
        sender
    }

    fn end<B: Behaviour<Self>>(actor: Self::Ref<B>) {
        // It ends when nobody can send to it any more.
        drop(actor);
    }

    async fn tell<B: Behaviour<Self>>(to: &Self::Ref<B>, message: B::Message) {
        C::send(to, message).await;
    }
}
