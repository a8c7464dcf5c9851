//! One message on its way to one actor, and where its answer goes.

use std::{net::SocketAddr, ops::RangeInclusive};

use annulus_codec::{
    address::NodeId,
    archive::AccessError,
    extension::{Chain, Extensions},
    frame::{Header, Kind},
    held::Small,
    message::Message,
    passing::{Envelope, Passing},
};
use annulus_transport::driver::Mono;

use crate::{respond::ReplyTo, timers::AlarmKey, walk::Carrier, watch::Watch};

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
// One word, since it is passed on and compared with every message.
pub(crate) struct Peer(u64);

impl Peer {
    #[inline]
    pub(crate) fn new(node: NodeId, tag: u32) -> Self {
        Peer(u64::from(node.bits()) << 32 | u64::from(tag))
    }

    /// The peers of all sessions with a node.
    pub(crate) fn all_of(node: NodeId) -> RangeInclusive<Self> {
        Peer::new(node, 0)..=Peer::new(node, u32::MAX)
    }

    #[inline]
    pub(crate) fn node(self) -> NodeId {
        NodeId::from_bits((self.0 >> 32) as u32)
    }

    /// What stands for the incarnation in addresses that are bound to the session.
    #[inline]
    pub(crate) fn tag(self) -> u32 {
        self.0 as u32
    }
}

/// A message for an actor.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) envelope: Envelope,
    /// Where the answer goes, if one is wanted.
    pub(crate) reply_to: Option<ReplyTo>,
    /// What the handler inherits. Most messages bring nothing.
    pub(crate) section: Option<Section>,
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

/// A message as it comes to its handler, or an answer as it comes to its asker.
#[derive(Debug)]
pub(crate) enum Content {
    Envelope(Envelope),
    /// From this worker, without a frame.
    Small(Small),
}

impl Content {
    /// Opens it as this message.
    #[inline(always)]
    pub(crate) fn open<M: Message>(self) -> Result<Carrier<M>, AccessError> {
        match self {
            Content::Small(small) => M::Passing::open_small(&small),
            Content::Envelope(envelope) => M::Passing::open(envelope),
        }
    }
}

/// Whether a frame of this node's is a message that says no more than its header.
#[inline]
pub(crate) fn is_plain(header: &Header) -> bool {
    header.extension_len == 0 && matches!(header.kind, Kind::Tell | Kind::Ask)
}

/// What a handler inherits from the ask that it handles: it bounds the asks that it makes in turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    /// When the first asker gives up.
    pub(crate) deadline: Option<Mono>,
    /// The actors that wait for this handler, the first asker first.
    pub(crate) chain: Chain,
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
