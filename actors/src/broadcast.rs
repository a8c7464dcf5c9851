//! One message for many actors.
//!
//! It is archived once. All receivers of one worker share one frame in one chunk: it waits in the mailbox of each of
//! them, and in the lane to another worker there are the message and the list of those who get it. Nodes get a copy
//! for each receiver.

use std::{cell::RefCell, fmt, rc::Rc};

use annulus_codec::{
    address::{Address, Slot},
    archive::{Archivable, Archived},
    frame::{Frame, Header, Kind},
    outbox::{Admission, MAX_TARGETS, PushError},
    passing::ByArchive,
};

use crate::{
    core::Core,
    error::TellError,
    mailbox::Parked,
    message::Msg,
    planted::{Bug, planted},
    protocol::Accepts,
    reference::ActorRef,
};

/// Tells many actors the same. The message becomes bytes once, and receivers on one worker share these bytes.
///
/// Each of them gets it as if it had been [told](ActorRef::tell) to it, in order with what else is told to it from
/// here.
///
/// # Errors
/// [`NotReached`] has the actors that are known at once not to get it. All others were told.
///
/// ```no_run
/// use annulus::{Actor, ActorRef, Context, Handler, Msg, message};
///
/// #[message]
/// struct Price {
///     cents: u64,
/// }
///
/// struct Ticker {
///     subscribers: Vec<ActorRef<(Price,)>>,
/// }
/// # impl Actor for Ticker { type Protocol = (Price,); }
///
/// impl Handler<Price> for Ticker {
///     async fn handle(&mut self, price: Msg<Price>, _: &mut Context<Self>) {
///         let price = price.decode();
///         if let Err(missed) = annulus::broadcast(&self.subscribers, &price) {
///             // Those who are gone are told no more.
///             self.subscribers.retain(|subscriber| !missed.contains(*subscriber));
///         }
///     }
/// }
/// ```
pub fn broadcast<P, M, I>(to: &[ActorRef<P>], message: &M) -> Result<(), NotReached<P>>
where
    P: Accepts<M, I>,
    M: Archivable<Passing = ByArchive>,
{
    let all = |reason| to.iter().map(|actor| (*actor, reason)).collect();
    let refused = Core::try_with(|core| match core.archive_shared(message) {
        Ok(frame) => core.broadcast::<P, M>(to, &frame),
        Err(error) => all(error.into()),
    });
    let refused = refused.unwrap_or_else(|| all(TellError::NoWorker));
    if refused.is_empty() { Ok(()) } else { Err(NotReached { refused, of: to.len() }) }
}

/// Some of the actors of a [`broadcast`] do not get the message.
pub struct NotReached<P> {
    /// Who does not, and why.
    pub refused: Vec<(ActorRef<P>, TellError)>,
    /// How many there were in all.
    pub of: usize,
}

impl<P> NotReached<P> {
    /// Whether this actor is among those who do not get the message.
    pub fn contains(&self, actor: ActorRef<P>) -> bool {
        self.refused.iter().any(|(refused, _)| *refused == actor)
    }
}

impl<P> fmt::Debug for NotReached<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotReached").field("refused", &self.refused).field("of", &self.of).finish()
    }
}

impl<P> fmt::Display for NotReached<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} actors were not told", self.refused.len(), self.of)?;
        match self.refused.first() {
            Some((actor, reason)) => write!(f, ", {actor:?} because {reason}"),
            None => Ok(()),
        }
    }
}

impl<P> std::error::Error for NotReached<P> {}

/// Those of each worker who have been gathered and have not been sent to yet.
#[derive(Default)]
pub(crate) struct Audiences(RefCell<Vec<Vec<Address>>>);

impl Core {
    /// The frame that all receivers get. It is for nobody by name.
    fn archive_shared<M: Archivable>(&self, message: &M) -> Result<Frame, PushError> {
        let header = Header::new(Kind::Tell, Slot::from_bits(0), 0, M::ID, 0);
        self.alone.borrow_mut().archive_one(header, message)
    }

    /// Sends the frame to everybody. Returns who is known not to get it.
    fn broadcast<P, M>(
        self: &Rc<Self>,
        to: &[ActorRef<P>],
        frame: &Frame,
    ) -> Vec<(ActorRef<P>, TellError)>
    where
        M: Archivable<Passing = ByArchive>,
    {
        let mut refused = Vec::new();
        let mut refuse = |target, reason| refused.push((ActorRef::new(target), reason));
        let mut audiences = self.audiences.0.borrow_mut();
        // If a broadcast has panicked, some are left.
        audiences.iter_mut().for_each(Vec::clear);
        audiences.resize_with(self.shared.entries.len(), Vec::new);
        for target in to.iter().map(|actor| actor.address()) {
            let taken = if target.shares_worker(self.home()) {
                self.enqueue_shared(target, frame)
            } else if target.shares_node(self.home()) {
                self.gather(&mut audiences, target, frame, &mut refuse)
            } else {
                self.forward_shared::<M>(target, frame)
            };
            if let Err(reason) = taken {
                refuse(target, reason);
            }
        }
        for (worker, audience) in audiences.iter_mut().enumerate() {
            self.flush_audience(worker, audience, frame, &mut refuse);
        }
        refused
    }

    /// Puts the frame into the mailbox of an actor of this worker.
    fn enqueue_shared(&self, target: Address, frame: &Frame) -> Result<(), TellError> {
        let (slot, generation) = (target.slot(), target.generation());
        let taken = self.actors.look(slot.index(), generation, |cell| {
            cell.admits(Admission::Bounded)?;
            let parked = Parked::plain(self.settle(cell, frame.clone()));
            if planted(Bug::EarlyBroadcast) {
                cell.jump(parked)
            } else {
                cell.enqueue(parked)
            }
            self.nudge(cell);
            Ok(())
        });
        taken.unwrap_or(Err(TellError::Dead))
    }

    /// Notes an actor of another worker of this node as one who gets the frame.
    fn gather(
        &self,
        audiences: &mut [Vec<Address>],
        target: Address,
        frame: &Frame,
        refuse: &mut impl FnMut(Address, TellError),
    ) -> Result<(), TellError> {
        let worker = target.slot().worker();
        let audience = audiences.get_mut(worker).ok_or(TellError::Dead)?;
        audience.push(target);
        if audience.len() == MAX_TARGETS {
            self.flush_audience(worker, audience, frame, refuse);
        }
        Ok(())
    }

    fn flush_audience(
        &self,
        worker: usize,
        audience: &mut Vec<Address>,
        frame: &Frame,
        refuse: &mut impl FnMut(Address, TellError),
    ) {
        if audience.is_empty() {
            return;
        }
        let pushed = match self.lanes.outbox(worker) {
            Some(outbox) => outbox.borrow_mut().push_broadcast(audience, frame).map_err(Into::into),
            None => Err(TellError::Dead),
        };
        if let Err(reason) = pushed {
            for target in audience.iter().copied() {
                refuse(target, reason);
            }
        }
        audience.clear();
    }

    /// Sends the frame's message to an actor of another node.
    fn forward_shared<M: Archivable<Passing = ByArchive>>(
        self: &Rc<Self>,
        to: Address,
        frame: &Frame,
    ) -> Result<(), TellError> {
        let message = Archived::<M>::open(frame.clone()).map_err(|_| TellError::Unserializable)?;
        self.forward::<M>(to, Msg::new(message))
    }
}
