//! The answer to an ask: sent exactly once, whatever becomes of the handler.

use annulus_codec::{
    frame::{Header, Kind},
    message::Message,
};

use crate::{core::Core, delivery::Origin, error::Failure, message::Reply};

/// Where one answer goes. Dropping it unanswered tells the asker so.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    origin: Origin,
    correlation: u64,
    open: bool,
}

impl ReplyTo {
    pub(crate) fn new(origin: Origin, correlation: u64) -> Self {
        ReplyTo { origin, correlation, open: true }
    }

    /// Where the answer to a message of this node goes, if it wants one.
    #[inline]
    pub(crate) fn of_plain(header: &Header) -> Option<Self> {
        (header.kind == Kind::Ask).then(|| ReplyTo::new(Origin::Local, header.correlation))
    }

    /// Sends the reply; [`Reply::Later`] sends nothing, and is a fault of the handler if nobody holds
    /// the responder: then the asker hears `NoReply`.
    pub(crate) fn answer<R: Message>(mut self, reply: Reply<R>) {
        if matches!(reply, Reply::Later) {
            return;
        }
        self.open = false;
        Core::with(|core| core.send_reply(self.origin, self.correlation, reply));
    }

    pub(crate) fn fail(mut self, failure: Failure) {
        self.open = false;
        Core::with(|core| core.send_failure(self.origin, self.correlation, failure));
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if self.open {
            Core::with(|core| {
                // An actor that ends takes with it what it owes.
                let ended = std::thread::panicking() || core.burying.get();
                let failure = if ended { Failure::Dead } else { Failure::NoReply };
                core.send_failure(self.origin, self.correlation, failure);
            });
        }
    }
}
