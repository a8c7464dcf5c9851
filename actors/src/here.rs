//! Sending to actors of the same worker: a message goes right into the mailbox of its receiver.
//!
//! So what is sent first waits first, whoever has sent it, and nobody who is sent something can find that
//! something which was sent to it before is still on its way.

use std::{cell::RefCell, rc::Rc};

use annulus_codec::{
    address::Address,
    directory::Pushed,
    extension::Extensions,
    frame::{Header, Kind},
    held::Small,
    message::Message,
    outbox::{Admission, Outbox, PushError},
    passing::{Envelope, Passing},
};

use crate::{
    cell::ActorCell,
    core::Core,
    delivery::{Delivery, Section},
    error::TellError,
    mailbox::Parked,
    message::Msg,
    planted::{Bug, planted},
    respond::ReplyTo,
};

impl Core {
    /// Tells an actor of this node something small, if that takes no more than to put it into a mailbox or to
    /// append it to what waits for another worker. Returns whether it did; if not, nothing has happened, and the
    /// long way finds out why.
    #[inline(always)]
    pub(crate) fn tell_small<M: Message>(&self, to: Address, message: &M, small: Small) -> bool {
        if to.shares_node(self.home()) && !planted(Bug::OvertakeItself) {
            // Twice at most: what is opened is open.
            loop {
                match self.actors.push(to, small) {
                    Pushed::Yes => return true,
                    Pushed::Closed if self.open_mailbox(to, small.places()) => {}
                    Pushed::Closed => return false,
                    Pushed::Nobody => break,
                }
            }
        }
        self.tell_flat_across(to, message)
    }

    /// Lets small messages be put into the mailbox of an actor, and makes it look for them if it waits: the mailbox of
    /// one that waits is shut. Returns whether one of so many places may be put in.
    #[inline(never)]
    fn open_mailbox(&self, to: Address, places: u32) -> bool {
        let Some(cell) = self.actors.find_at(to) else { return false };
        let opens = cell.mailbox.open(places);
        if opens {
            self.nudge(&cell);
        }
        opens
    }

    /// Tells an actor of another worker of this node something flat. Returns whether it did; if not, nothing has
    /// happened.
    #[inline(never)]
    pub(crate) fn tell_flat_across<M: Message>(&self, to: Address, message: &M) -> bool {
        if !to.shares_node(self.home()) || to.shares_worker(self.home()) {
            return false;
        }
        let append =
            |outbox: &RefCell<_>| M::Passing::append_told(message, to, &mut outbox.borrow_mut());
        self.lanes.outbox(to.slot().worker()).is_some_and(append)
    }

    /// Sends a message to an actor of this worker. It stays in the option unless it is moved to the receiver.
    #[inline(always)]
    pub(crate) fn send_here<M: Message>(
        &self,
        to: Address,
        kind: Kind,
        correlation: u64,
        extensions: Option<&Extensions>,
        message: &mut Option<M>,
        admission: Admission,
    ) -> Result<(), TellError> {
        let cell = self.admit(to, admission)?;
        let section = extensions.and_then(|e| Section::from_extensions(e.clone(), self.now()));
        if kind == Kind::Tell
            && section.is_none()
            && let Some(small) = message.as_ref().and_then(M::Passing::as_small)
        {
            self.put_here(&cell, Parked::Told(small));
        } else {
            let header = Header::new(kind, to.slot(), to.generation(), M::ID, correlation);
            let mut alone = self.alone.borrow_mut();
            let envelope = M::Passing::pack_alone(message, header, &mut alone, admission)?;
            drop(alone);
            match envelope {
                Envelope::Frame(frame) if section.is_none() && !planted(Bug::OvertakeItself) => {
                    cell.enqueue_plain(self.settle(&cell, frame));
                }
                envelope => self.put_here(&cell, self.parked(&cell, envelope, section)),
            }
        }
        self.nudge(&cell);
        Ok(())
    }

    fn put_here(&self, cell: &ActorCell, parked: Parked) {
        if planted(Bug::OvertakeItself) && self.runs_now(cell.address) {
            cell.jump(parked);
        } else {
            cell.enqueue(parked);
        }
    }

    /// Passes a message that came in on to an actor of this worker.
    pub(crate) fn forward_here<M: Message>(
        &self,
        to: Address,
        message: Msg<M>,
    ) -> Result<(), TellError> {
        let cell = self.admit(to, Admission::Bounded)?;
        let header = Header::new(Kind::Tell, to.slot(), to.generation(), M::ID, 0);
        let mut message = Some(message);
        let envelope = self.pack_alone(|outbox| {
            let message = message.take().expect("it is packed once");
            M::Passing::forward(message.into_carrier(), header, outbox)
        })?;
        cell.enqueue(self.parked(&cell, envelope, None));
        self.nudge(&cell);
        Ok(())
    }

    /// The actor of this worker with this address, if its mailbox takes a message.
    #[inline]
    fn admit(&self, to: Address, admission: Admission) -> Result<Rc<ActorCell>, TellError> {
        let cell = self.actors.find(to.slot().index(), to.generation()).ok_or(TellError::Dead)?;
        cell.admits(admission)?;
        Ok(cell)
    }

    /// A message of this worker's as it waits in a mailbox, with what its handler inherits.
    #[inline]
    fn parked(&self, cell: &ActorCell, envelope: Envelope, section: Option<Section>) -> Parked {
        match (self.settle_envelope(cell, envelope), section) {
            (Envelope::Frame(frame), None) => Parked::plain(frame),
            (envelope, section) => Parked::other(Self::delivery(envelope, section)),
        }
    }

    /// A message of this worker's, with what its handler inherits.
    #[inline]
    pub(crate) fn delivery(envelope: Envelope, section: Option<Section>) -> Delivery {
        let reply_to = ReplyTo::of_plain(&envelope.header());
        Delivery { section, ..Delivery::new(envelope, reply_to) }
    }

    /// The one message that `pack` pushes, by itself.
    #[inline(always)]
    pub(crate) fn pack_alone(
        &self,
        pack: impl FnOnce(&mut Outbox) -> Result<(), PushError>,
    ) -> Result<Envelope, PushError> {
        let mut alone = self.alone.borrow_mut();
        alone.rewind();
        pack(&mut alone)?;
        Ok(alone.pop_one().expect("a message was just pushed"))
    }
}
