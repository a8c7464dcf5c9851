//! The steward: the first actor of every worker. Other workers, and threads without one, ask it for
//! what only the worker itself can do.

use std::{rc::Rc, time::Duration};

use annulus_codec::{
    address::{Address, Slot},
    message::Message,
};
use annulus_macros::message;
use annulus_transport::driver::Detached;

use crate::{
    actor::{Actor, Exit, Handler, MailboxLimits, Respond, StopMode},
    actors::Ended,
    cluster,
    context::Context,
    core::Core,
    delivery::Peer,
    error::AskError,
    link::LinkSetup,
    message::{Later, Msg, Reply},
    protocol::Accepts,
    reference::ActorRef,
    session::Emptied,
    timers::timeout,
    watch::Notice,
};

/// The steward's index and generation on every worker: it is the first actor there.
const INDEX: usize = 0;
const GENERATION: u32 = 1;

pub(crate) type Protocol = (Order, Join, Lives, Attach, ReadLinks, DropPeer, Emptied, Notice);

/// The steward of the worker that an address is on.
pub(crate) fn of(address: Address) -> ActorRef<Protocol> {
    let slot = Slot::new(address.slot().worker(), INDEX);
    let steward = Address::new(address.node(), address.incarnation(), slot, GENERATION);
    ActorRef::new(steward)
}

/// The steward of a worker of this node.
pub(crate) fn of_worker(core: &Core, worker: usize) -> ActorRef<Protocol> {
    ActorRef::new(core.address(Slot::new(worker, INDEX), GENERATION))
}

/// Tells the stewards of all workers of this node. `what` is the line in the log if one cannot be told.
pub(crate) fn tell_all<M: Message, I>(core: &Rc<Core>, message: impl Fn() -> M, what: &str)
where
    Protocol: Accepts<M, I>,
{
    for worker in 0..core.shared.entries.len() {
        if let Err(error) = core.tell_system(of_worker(core, worker), message()) {
            tracing::error!(target: "annulus", %error, "{what}");
        }
    }
}

/// End an actor.
#[message(local, crate = crate)]
pub(crate) struct Order {
    pub(crate) target: Address,
    pub(crate) mode: StopMode,
}

/// Wait for an actor's end.
#[message(local, reply = Joined, crate = crate)]
pub(crate) struct Join {
    pub(crate) target: Address,
}

/// How it ended; `None` if it has not yet.
#[message(local, crate = crate)]
pub(crate) struct Joined(pub(crate) Result<Option<Exit>, AskError>);

/// How long another worker waits for an actor's end before it is asked anew: an asker that gives up
/// leaves nothing here for longer.
pub(crate) const JOIN_ROUND: Duration = Duration::from_secs(10);

/// Does this actor live?
#[message(local, reply = Living, crate = crate)]
pub(crate) struct Lives {
    pub(crate) target: Address,
}

/// Whether it does.
#[message(local, crate = crate)]
pub(crate) struct Living(pub(crate) bool);

/// Take over a connection to another node.
#[message(local, crate = crate)]
pub(crate) struct Attach {
    pub(crate) stream: Detached,
    pub(crate) setup: LinkSetup,
}

/// Read from all links of a session.
#[message(local, crate = crate)]
pub(crate) struct ReadLinks {
    pub(crate) peer: Peer,
}

/// Close all links of a session.
#[message(local, crate = crate)]
pub(crate) struct DropPeer {
    pub(crate) peer: Peer,
    pub(crate) session: u64,
}

pub(crate) struct Steward;

impl Actor for Steward {
    type Protocol = Protocol;

    /// Nothing that it is told may be lost. All of it is local, and bounded by what it is about: actors, links,
    /// and watches.
    const MAILBOX: MailboxLimits = MailboxLimits { messages: usize::MAX, bytes: usize::MAX };
}

impl Handler<Order> for Steward {
    async fn handle(&mut self, order: Msg<Order>, context: &mut Context<Self>) {
        let Order { target, mode } = order.into_inner();
        context.core().order_actor(target, mode);
    }
}

impl Respond<Join> for Steward {
    async fn respond(&mut self, join: Msg<Join>, context: &mut Context<Self>) -> Reply<Joined> {
        let target = join.target;
        let core: Rc<Core> = context.core().clone();
        let Some(cell) = core.actors.find(target.slot().index(), target.generation()) else {
            return Joined(Err(AskError::Dead)).into();
        };
        let (later, responder): (Later, _) = context.defer(&join);
        context.task(|_| async move {
            responder.reply(Joined(Ok(timeout(JOIN_ROUND, Ended(cell)).await.ok())));
        });
        later.into()
    }
}

impl Handler<Lives> for Steward {
    async fn handle(&mut self, lives: Msg<Lives>, context: &mut Context<Self>) -> Living {
        let (core, target) = (context.core(), lives.target);
        let found = core.actors.find(target.slot().index(), target.generation());
        Living(found.is_some_and(|cell| cell.address == target))
    }
}

impl Handler<Attach> for Steward {
    async fn handle(&mut self, attach: Msg<Attach>, context: &mut Context<Self>) {
        let Attach { stream, setup } = attach.into_inner();
        let session = setup.session;
        context.core().attach_link(stream, setup);
        cluster::report_attached(context.core(), session);
    }
}

impl Handler<ReadLinks> for Steward {
    async fn handle(&mut self, order: Msg<ReadLinks>, context: &mut Context<Self>) {
        context.core().read_links(order.peer);
    }
}

impl Handler<DropPeer> for Steward {
    async fn handle(&mut self, order: Msg<DropPeer>, context: &mut Context<Self>) {
        let DropPeer { peer, session } = order.into_inner();
        context.core().drop_peer(peer, session);
    }
}

impl Handler<Emptied> for Steward {
    async fn handle(&mut self, emptied: Msg<Emptied>, context: &mut Context<Self>) {
        context.core().session_emptied(emptied.peer, emptied.session);
    }
}

impl Handler<Notice> for Steward {
    async fn handle(&mut self, notice: Msg<Notice>, context: &mut Context<Self>) {
        context.core().take_notice(&notice);
    }
}
