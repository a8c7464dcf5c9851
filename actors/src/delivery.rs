//! One message on its way to one actor, and where its answer goes.

use std::net::SocketAddr;

use annulus_codec::{
    address::{Address, NodeId},
    extension::Extensions,
    passing::Envelope,
};
use annulus_transport::driver::Mono;

use crate::{respond::ReplyTo, timers::AlarmKey, watch::Watch};

/// Where a frame came from, and so where its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A worker of this node.
    Local,
    /// A link to another node.
    Link(Peer),
    /// A datagram from another node, from this address.
    Datagram(Peer, SocketAddr),
}

impl Origin {
    /// The node, if it is another one.
    pub(crate) fn peer(self) -> Option<Peer> {
        match self {
            Origin::Local => None,
            Origin::Link(peer) | Origin::Datagram(peer, _) => Some(peer),
        }
    }
}

/// One life of another node, for the time of one [session](crate::session).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    /// What stands for the incarnation in addresses that are bound to the session.
    pub(crate) tag: u32,
}

/// A message for an actor.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) envelope: Envelope,
    /// Where the answer goes, if one is wanted.
    pub(crate) reply_to: Option<ReplyTo>,
    /// What the handler inherits. Most messages bring nothing.
    pub(crate) section: Option<Box<Section>>,
    /// What it comes from, if that is the worker itself.
    pub(crate) source: Option<Source>,
}

/// What a message of the worker's own comes from. It may be called off while the message waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Alarm(AlarmKey),
    Watch(Watch),
}

impl Delivery {
    pub(crate) fn new(envelope: Envelope, reply_to: Option<ReplyTo>) -> Self {
        Delivery { envelope, reply_to, section: None, source: None }
    }
}

/// What a handler inherits from the ask that it handles: it bounds the asks that it makes in turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    /// When the first asker gives up.
    pub(crate) deadline: Option<Mono>,
    /// The actors that wait for this handler, the first asker first.
    pub(crate) chain: Vec<Address>,
}

impl Section {
    /// What the extensions of an ask say, as of `now`. `None` if they say nothing of the kind.
    pub(crate) fn from_extensions(extensions: Extensions, now: Mono) -> Option<Self> {
        let Extensions { remaining, chain, .. } = extensions;
        if remaining.is_none() && chain.is_empty() {
            return None;
        }
        Some(Section { deadline: remaining.map(|remaining| now.after(remaining)), chain })
    }
}
