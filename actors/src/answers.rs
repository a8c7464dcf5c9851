//! Answers on their way back to their askers.
//!
//! An answer to an asker on the same worker settles the ask at once. It overtakes nothing by that, since what was sent
//! before on this worker is in its mailbox already.

use std::rc::Rc;

use annulus_codec::{
    address::Slot,
    frame::{Header, Kind},
    message::{Message, MessageId},
    outbox::{Admission, Outbox, PushError},
    passing::Passing,
};

use crate::{
    ask_table::asking_worker,
    core::Core,
    delivery::{Content, Origin},
    error::Failure,
    message::Reply,
};

impl Core {
    /// Sends an answer to where the ask came from.
    pub(crate) fn send_reply<R: Message>(
        self: &Rc<Self>,
        origin: Origin,
        correlation: u64,
        reply: Reply<R>,
    ) {
        let mut value = None;
        let mut same = None;
        match reply {
            Reply::Value(reply) => value = Some(reply),
            Reply::Same(message) => same = Some(message.into_carrier()),
            Reply::Later => return,
        }
        let pack = |outbox: &mut Outbox| {
            let slot = Slot::new(asking_worker(correlation), 0);
            let header = Header::new(Kind::Reply, slot, 0, R::ID, correlation);
            match same.take() {
                Some(carrier) => R::Passing::forward(carrier, header, outbox),
                None => R::Passing::pack(&mut value, header, None, outbox, Admission::Always),
            }
        };
        let pushed = if self.asks_here(origin, correlation) {
            Some(self.answer_here(correlation, pack))
        } else {
            self.with_way_back(origin, correlation, pack)
        };
        match pushed {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(target: "annulus", reply = R::NAME, %error, "a reply cannot be sent");
                let failure = match error {
                    PushError::NoMemory(_) | PushError::Full => Failure::Overloaded,
                    _ => Failure::NoReply,
                };
                self.send_failure(origin, correlation, failure);
            }
            None => self.dead_letters.unanswerable(),
        }
    }

    /// Whether the asker is on this worker.
    #[inline]
    fn asks_here(&self, origin: Origin, correlation: u64) -> bool {
        origin == Origin::Local && asking_worker(correlation) == self.worker()
    }

    /// Settles an ask of this worker with the one message that `pack` pushes.
    #[inline(always)]
    fn answer_here(
        &self,
        correlation: u64,
        pack: impl FnOnce(&mut Outbox) -> Result<(), PushError>,
    ) -> Result<(), PushError> {
        let envelope = self.pack_alone(pack)?;
        self.resolve_ask(correlation, None, Ok(Content::Envelope(envelope)));
        Ok(())
    }

    /// Tells an asker that there will be no reply.
    pub(crate) fn send_failure(
        self: &Rc<Self>,
        origin: Origin,
        correlation: u64,
        failure: Failure,
    ) {
        if self.asks_here(origin, correlation) {
            let error = Failure::from_code(failure.code());
            return self.resolve_ask(correlation, None, Err(error));
        }
        let slot = Slot::new(asking_worker(correlation), 0);
        let code = MessageId::from_bits(failure.code());
        let header = Header::new(Kind::Failure, slot, 0, code, correlation);
        let pushed = self.with_way_back(origin, correlation, |outbox| outbox.push_header(header));
        if !matches!(pushed, Some(Ok(()))) {
            self.dead_letters.unanswerable();
        }
    }

    /// Uses the outbox that leads to where an ask came from; `None` if there is none any more.
    fn with_way_back(
        self: &Rc<Self>,
        origin: Origin,
        correlation: u64,
        push: impl FnOnce(&mut Outbox) -> Result<(), PushError>,
    ) -> Option<Result<(), PushError>> {
        match origin {
            Origin::Local => {
                let worker = asking_worker(correlation);
                let rung = self.ring_ahead(worker);
                let pushed = push(&mut self.lanes.outbox(worker)?.borrow_mut());
                self.hurry(worker, rung);
                Some(pushed)
            }
            Origin::Link(peer) => {
                let link = self.links.route(peer.node(), self.worker())?;
                if link.peer != peer || !link.sends() {
                    return None;
                }
                self.links.mark_dirty(&link);
                let pushed = push(&mut link.outbox.borrow_mut());
                Some(pushed)
            }
            Origin::Datagram(peer, to) => self.answer_by_datagram(peer, to, push),
        }
    }
}
