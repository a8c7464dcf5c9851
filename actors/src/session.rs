//! Sessions with other nodes, as one worker sees them: when one is over, and which references belong to it.
//!
//! # When a session is over
//!
//! What comes in over a link is handled by the link's worker, or goes on through the lane to another
//! one. So a worker cannot tell by its own links that it has had everything. When the cluster actor
//! ends a session, each worker closes its links, handles what had come in over them, and then says
//! [`Emptied`] to every worker, through the lanes that the frames have taken. A worker that has heard
//! it from all has handled whatever of the session arrives at all. Then, and not before, its actors
//! learn that those they watch are lost; and only when all workers have got there does the cluster
//! actor let the next session with that node begin. No worker can see anything of the two in the wrong
//! order.
//!
//! # Which references belong to it
//!
//! A reference must not outlive the session that it was got in: what its actor is told after a loss
//! would follow a gap that nobody has heard of. On the wire an address has the incarnation of its node.
//! In the memory of another node it has a tag in its place, which names the session as well. References
//! are [bound](Core::bind) when they are read from a message, and [unbound](Core::unbind) when they are
//! written into one. With the tag of a session that is over they lead nowhere, and nobody binds them anew.
//! One that is read while its node is not connected stays unbound: it is good for the first
//! session with that life of the node, if that is still to come.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use annulus_codec::address::{Address, NodeId};
use annulus_macros::message;

use crate::{
    cluster::{self, SessionOver},
    core::Core,
    delivery::Peer,
    planted::{Bug, planted},
    steward,
};

/// A session, and how references are bound to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) peer: Peer,
    /// The incarnation of the peer as it stands in addresses on the wire.
    pub(crate) life: u32,
    /// Whether it is the first session with that life of the peer.
    pub(crate) first: bool,
}

impl Binding {
    /// Whether an address of the peer's node is good for the session: it is bound to it, or has never been
    /// bound and there has been no other session.
    pub(crate) fn takes(&self, address: Address) -> bool {
        let tag = address.incarnation();
        tag == self.peer.tag() || (self.first && tag == self.life)
    }
}

/// The sender has handled all that it has received in a session.
#[message(local, crate = crate)]
pub(crate) struct Emptied {
    pub(crate) peer: Peer,
    pub(crate) session: u64,
}

/// What a worker knows of a session that is not over.
#[derive(Default)]
struct Progress {
    /// Known as soon as it has a link on this worker.
    binding: Option<Binding>,
    /// Its links on this worker that have not ended.
    links: usize,
    /// Whether it is to end.
    dropped: bool,
    /// Workers that have handled all that they have received.
    emptied: usize,
}

/// The sessions that are not over on this worker.
#[derive(Default)]
pub(crate) struct LiveSessions(RefCell<BTreeMap<Peer, Progress>>);

impl LiveSessions {
    /// Whether something of this session may still come.
    pub(crate) fn contains(&self, peer: Peer) -> bool {
        self.0.borrow().contains_key(&peer)
    }

    /// How references are bound to the session with a node.
    pub(crate) fn with(&self, node: NodeId) -> Option<Binding> {
        let sessions = self.0.borrow();
        sessions.range(Peer::all_of(node)).find_map(|(_, session)| session.binding)
    }

    /// Notes something of a session. Returns whether its links have all ended, as they are to.
    fn note(&self, peer: Peer, note: impl FnOnce(&mut Progress)) -> bool {
        let mut sessions = self.0.borrow_mut();
        let session = sessions.entry(peer).or_default();
        note(session);
        session.dropped && session.links == 0
    }
}

impl Core {
    pub(crate) fn link_begins(&self, binding: Binding) {
        self.sessions.note(binding.peer, |session| {
            session.binding = Some(binding);
            session.links += 1;
        });
    }

    /// A link has ended, and what had come in over it has been handled.
    pub(crate) fn link_ends(self: &Rc<Self>, peer: Peer, session: u64) {
        if self.sessions.note(peer, |progress| progress.links -= 1) {
            self.say_emptied(peer, session);
        }
    }

    /// A session is to end. Its links on this worker have been told to.
    pub(crate) fn session_ends(self: &Rc<Self>, peer: Peer, session: u64) {
        if self.sessions.note(peer, |progress| progress.dropped = true) {
            self.say_emptied(peer, session);
        }
        if planted(Bug::EarlyLoss) {
            self.lose_watched(peer);
        }
    }

    fn say_emptied(self: &Rc<Self>, peer: Peer, session: u64) {
        let emptied = || Emptied { peer, session };
        steward::tell_all(self, emptied, "the end of a session cannot be told");
    }

    /// A worker has handled all that it has received in a session.
    pub(crate) fn session_emptied(self: &Rc<Self>, peer: Peer, session: u64) {
        let mut emptied = 0;
        self.sessions.note(peer, |progress| {
            progress.emptied += 1;
            emptied = progress.emptied;
        });
        if emptied < self.shared.entries.len() {
            return;
        }
        self.sessions.0.borrow_mut().remove(&peer);
        self.forget_watchers(peer);
        self.lose_watched(peer);
        if let Err(error) = self.tell_system(cluster::here(self), SessionOver { session }) {
            tracing::error!(target: "annulus", %error, "the end of a session cannot be told");
        }
    }

    /// An address from a message, bound to the session that stands with its node, if there is one.
    pub(crate) fn bind(&self, address: Address) -> Address {
        self.exchange_tag(address, |life, tag| (life, tag))
    }

    /// An address as all nodes know it. One that is bound to a session that is over stays so, and is good
    /// for nobody.
    pub(crate) fn unbind(&self, address: Address) -> Address {
        self.exchange_tag(address, |life, tag| (tag, life))
    }

    fn exchange_tag(
        &self,
        address: Address,
        order: impl FnOnce(u32, u32) -> (u32, u32),
    ) -> Address {
        if self.is_here(address.node()) {
            return address;
        }
        let Some(binding) = self.sessions.with(address.node()) else { return address };
        let (from, to) = order(binding.life, binding.peer.tag());
        if address.incarnation() != from {
            return address;
        }
        Address::new(address.node(), to, address.slot(), address.generation())
    }
}
