//! The works, written once for all peers.
//!
//! What the peers have in common is [`Framework`]: starting an actor and telling it something. Each of
//! them brings it in the form in which it is fastest there (`subjects/*/actor.rs`), and the compiler
//! puts the two together: a [`Behaviour`] is a type parameter of the peer's own actor, calls are direct,
//! nothing is boxed that the peer does not box. So all peers do the same work, line by line.
//!
//! annulus has its works written out by hand (`subjects/annulus`), to the same shapes and with the
//! same parameters, since its messages are types of their own. So have the asks of all subjects.

mod fan;
mod savina;
mod spawns;
mod tells;

use std::future::Future;

use crate::{meter::Meter, works::Work};

/// What an actor does after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It waits for the next one.
    On,
    /// It ends.
    Stop,
}

/// What an actor does, whatever framework it runs on.
pub(crate) trait Behaviour<F: Framework>: Send + Sync + Unpin + Sized + 'static {
    type Message: Send + 'static;

    /// The actor learns who it is, before it is started. `me` makes a reference to it.
    fn introduce(&mut self, me: impl FnOnce() -> F::Ref<Self>) {
        let _ = me;
    }

    /// The actor has been started: this is called where it runs.
    fn started(&mut self) {}

    /// Handles a message.
    fn handle(&mut self, message: Self::Message) -> impl Future<Output = Flow> + Send;
}

/// What a peer is to the works.
pub(crate) trait Framework: Copy + Send + Sync + Unpin + 'static {
    /// A reference to an actor.
    type Ref<B: Behaviour<Self>>: Clone + Send + Sync + Unpin + 'static;

    /// Starts an actor on the worker that calls this.
    fn spawn<B: Behaviour<Self>>(self, actor: B) -> impl Future<Output = Self::Ref<B>> + Send;

    /// Starts an actor on a given worker.
    fn spawn_on<B: Behaviour<Self>>(
        self,
        worker: usize,
        actor: B,
    ) -> impl Future<Output = Self::Ref<B>> + Send;

    /// Ends an actor that waits for messages, from outside.
    fn end<B: Behaviour<Self>>(actor: Self::Ref<B>);

    /// Sends a message. Waits for room where the mailbox is bounded.
    fn tell<B: Behaviour<Self>>(
        to: &Self::Ref<B>,
        message: B::Message,
    ) -> impl Future<Output = ()> + Send;

    /// Sends a message that is to be handled after those that were sent before. Where mailboxes keep
    /// the order, all messages are.
    fn tell_last<B: Behaviour<Self>>(
        to: &Self::Ref<B>,
        message: B::Message,
    ) -> impl Future<Output = ()> + Send {
        Self::tell(to, message)
    }
}

/// Does a work and measures it. Called on the first worker.
pub(crate) async fn run<F: Framework>(peer: F, work: Work, meter: &mut Meter) {
    match work {
        Work::TellSameWorker => tells::run::<F, u64>(peer, 0, meter).await,
        Work::TellSameWorkerString => tells::run::<F, String>(peer, 0, meter).await,
        Work::TellSameWorker4k => tells::run::<F, Box<[u8]>>(peer, 0, meter).await,
        Work::TellOtherWorker => tells::run::<F, u64>(peer, 1, meter).await,
        Work::FanIn => fan::run_in(peer, meter).await,
        Work::FanOut => fan::run_out(peer, meter).await,
        Work::Spawn => spawns::run(peer, meter).await,
        Work::IdleActorBytes => spawns::weigh(peer, meter).await,
        _ => savina::run(peer, work, meter).await,
    }
}
