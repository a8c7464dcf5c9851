//! The answer to an ask: sent exactly once, whatever becomes of the handler.

use std::{mem, net::SocketAddr};

use annulus_codec::{
    frame::{Header, Kind},
    message::Message,
};

use crate::{
    ask_table::asking_worker,
    core::Core,
    delivery::{Origin, Peer},
    error::Failure,
    message::Reply,
};

/// Where one answer goes. Dropping it unanswered tells the asker so.
// Few whole words: it goes along with every message.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    way: Way,
    correlation: u64,
}

/// The way that an ask has come.
#[derive(Debug)]
enum Way {
    Here,
    Link(Peer),
    Datagram(Box<(Peer, SocketAddr)>),
    /// It has been answered.
    Done,
}

impl ReplyTo {
    #[inline]
    pub(crate) fn new(origin: Origin, correlation: u64) -> Self {
        let way = match origin {
            Origin::Local => Way::Here,
            Origin::Link(peer) => Way::Link(peer),
            Origin::Datagram(peer, from) => Way::Datagram(Box::new((peer, from))),
        };
        ReplyTo { way, correlation }
    }

    /// Where the answer goes; nobody answers again.
    #[inline]
    fn close(&mut self) -> Option<Origin> {
        match mem::replace(&mut self.way, Way::Done) {
            Way::Here => Some(Origin::Local),
            Way::Link(peer) => Some(Origin::Link(peer)),
            Way::Datagram(from) => Some(Origin::Datagram(from.0, from.1)),
            Way::Done => None,
        }
    }

    /// The correlation id of an ask of this worker; nobody answers again. `None` if it came from elsewhere.
    #[inline]
    pub(crate) fn close_here(&mut self, worker: usize) -> Option<u64> {
        let here = matches!(self.way, Way::Here) && asking_worker(self.correlation) == worker;
        here.then(|| {
            self.way = Way::Done;
            self.correlation
        })
    }

    /// Where the answer to a message of this node goes, if it wants one.
    #[inline]
    pub(crate) fn of_plain(header: &Header) -> Option<Self> {
        (header.kind == Kind::Ask).then(|| ReplyTo::new(Origin::Local, header.correlation))
    }

    /// Sends the reply; [`Reply::Later`] sends nothing, and is a fault of the handler if nobody holds
    /// the responder: then the asker hears `NoReply`.
    #[inline]
    pub(crate) fn answer<R: Message>(&mut self, reply: Reply<R>) {
        if matches!(reply, Reply::Later) {
            return self.fail_once(Failure::NoReply);
        }
        if let Some(origin) = self.close() {
            Core::with(|core| core.send_reply(origin, self.correlation, reply));
        }
    }

    fn fail_once(&mut self, failure: Failure) {
        if let Some(origin) = self.close() {
            Core::with(|core| core.send_failure(origin, self.correlation, failure));
        }
    }

    pub(crate) fn fail(mut self, failure: Failure) {
        self.fail_once(failure);
    }

    #[cold]
    #[inline(never)]
    fn drop_unanswered(&mut self) {
        // An actor that ends takes with it what it owes.
        let ended =
            std::thread::panicking() || Core::try_with(|core| core.burying.get()).unwrap_or(false);
        self.fail_once(if ended { Failure::Dead } else { Failure::NoReply });
    }
}

impl Drop for ReplyTo {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.way, Way::Done) {
            self.drop_unanswered();
        }
    }
}
