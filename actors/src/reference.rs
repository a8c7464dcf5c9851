//! References to actors.

use std::{
    cmp::Ordering,
    fmt,
    future::Future,
    hash::{Hash, Hasher},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

use annulus_codec::{
    address::{Address, AddressResolver, ArchivedAddress},
    frame::Kind,
    message::Message,
    outbox::Admission,
    passing::Passing,
};
use rkyv::{Archive, Deserialize, Place, Serialize, rancor::Fallible};

use crate::{
    actor::{Exit, StopMode},
    actors::Ended,
    ask::{Ask, Way},
    core::Core,
    datagram::DatagramRef,
    error::{AskError, TellError, Undelivered},
    message::Msg,
    protocol::Accepts,
    steward::{self, JOIN_ROUND, Join, Order},
};

/// A reference to an actor that takes the messages of the protocol `P`, wherever it lives.
///
/// It is a 16-byte `Copy` value that can be a field of a message. It keeps nothing alive: when the
/// actor has stopped, or its node was started anew or lost for a while, what is sent through it fails.
///
/// References work on the threads of a node's workers: in handlers, in tasks, and in
/// [`Node::run`](crate::Node::run).
pub struct ActorRef<P> {
    address: Address,
    protocol: PhantomData<fn() -> P>,
}

impl<P> ActorRef<P> {
    pub(crate) fn new(address: Address) -> Self {
        ActorRef { address, protocol: PhantomData }
    }

    /// Where the actor lives, as this node knows it. To tell another node, send the reference itself.
    pub fn address(self) -> Address {
        self.address
    }

    /// Takes an address for that of an actor with this protocol. Nothing bad happens if it is not: it
    /// refuses what it does not know.
    pub fn from_address(address: Address) -> Self {
        Self::new(Core::try_with(|core| core.bind(address)).unwrap_or(address))
    }

    /// Sends a message and does not wait. What is sent from one actor to another arrives in order, at
    /// most once.
    ///
    /// # Errors
    /// The message comes back, with the reason, if it is known at once that it cannot be delivered.
    /// `Ok` does not mean that it has been handled: for that, ask.
    #[inline]
    pub fn tell<M: Message, I>(self, message: M) -> Result<(), Undelivered<M>>
    where
        P: Accepts<M, I>,
    {
        let short = |core: &Rc<Core>| match M::Passing::as_small(&message) {
            Some(small) => core.tell_small(self.address, &message, small),
            None => core.tell_flat_across(self.address, &message),
        };
        if M::Passing::IS_APPENDED && Core::try_with(short) == Some(true) {
            return Ok(());
        }
        self.tell_at_length(message)
    }

    /// As [`tell`](Self::tell), for any message to anywhere.
    #[inline(never)]
    fn tell_at_length<M: Message, I>(self, message: M) -> Result<(), Undelivered<M>>
    where
        P: Accepts<M, I>,
    {
        tell_with(message, |core, message| {
            core.send(self.address, Kind::Tell, 0, None, message, Admission::Bounded)
        })
    }

    /// Sends a message, and waits while the queue to the actor is full.
    ///
    /// # Errors
    /// As for [`tell`](Self::tell), except that the reason is never `Full`.
    pub fn send<M: Message, I>(self, message: M) -> Sending<P, M, I>
    where
        P: Accepts<M, I>,
    {
        Sending { to: self, message: Some(message), position: PhantomData }
    }

    /// Passes a message that came in on to this actor, as it is: nothing is decoded, and large messages
    /// are not copied. It arrives as a `tell`; to answer an ask from elsewhere, keep its
    /// [`Responder`](crate::Responder).
    ///
    /// # Errors
    /// With the reason, if it is known at once that the message cannot be delivered.
    pub fn forward<M: Message, I>(self, message: Msg<M>) -> Result<(), TellError>
    where
        P: Accepts<M, I>,
    {
        Core::try_with(|core| core.forward(self.address, message))
            .unwrap_or(Err(TellError::NoWorker))
    }

    /// Sends a message and waits for its answer. See [`Ask`].
    pub fn ask<M: Message, I>(self, message: M) -> Ask<M>
    where
        P: Accepts<M, I>,
    {
        Ask::new(self.address, Way::Link, message)
    }

    /// The same actor, by datagrams: another class of delivery.
    pub fn by_datagram(self) -> DatagramRef<P> {
        DatagramRef::new(self)
    }

    /// Ends the actor. This works for actors of the same node.
    ///
    /// # Errors
    /// [`TellError::LocalOnly`] if the actor lives on another node; [`TellError::Dead`] if it is known
    /// to have ended.
    pub fn stop(self, mode: StopMode) -> Result<(), TellError> {
        // Nothing new is taken from now on. The other orders come behind what has been sent before.
        if mode == StopMode::Drain {
            let is_there = Core::try_with(|core| {
                let here = self.address.shares_worker(core.home());
                here.then(|| core.order_actor(self.address, mode))
            });
            if let Some(is_there) = is_there.flatten() {
                return if is_there { Ok(()) } else { Err(TellError::Dead) };
            }
        }
        let order = Order { target: self.address, mode };
        let steward = steward::of(self.address);
        steward.tell(order).map_err(|undelivered| undelivered.reason)
    }

    /// Waits until the actor has ended and has been dropped. This works for actors of the same node.
    ///
    /// # Errors
    /// [`AskError::Dead`] if it had ended before.
    pub async fn join(self) -> Result<Exit, AskError> {
        let here = Core::current().and_then(|core| {
            let address = self.address;
            let local = core.is_here(address.node()) && address.slot().worker() == core.worker();
            let alive = address.incarnation() == core.shared.incarnation_tag;
            let find = || core.actors.find(address.slot().index(), address.generation());
            local.then(|| find().filter(|_| alive))
        });
        match here {
            Some(Some(cell)) => Ok(Ended(cell).await),
            Some(None) => Err(AskError::Dead),
            None => loop {
                let join = steward::of(self.address).ask(Join { target: self.address });
                match join.within(JOIN_ROUND * 2).await.map(|joined| joined.into_inner().0) {
                    Ok(Ok(None)) | Err(AskError::Timeout) => {}
                    Ok(Ok(Some(exit))) => break Ok(exit),
                    Ok(Err(error)) | Err(error) => break Err(error),
                }
            },
        }
    }
}

/// Sends a message from the current worker, and hands it back if it is not taken.
#[inline]
pub(crate) fn tell_with<M: Message>(
    message: M,
    send: impl FnOnce(&Rc<Core>, &mut Option<M>) -> Result<(), TellError>,
) -> Result<(), Undelivered<M>> {
    let mut message = Some(message);
    let sent = Core::try_with(|core| send(core, &mut message));
    match (sent.unwrap_or(Err(TellError::NoWorker)), message) {
        (Err(reason), Some(message)) => Err(Undelivered { message, reason }),
        _ => Ok(()),
    }
}

/// A message that waits for room. See [`ActorRef::send`].
#[must_use = "it is sent only when it is awaited"]
pub struct Sending<P, M, I> {
    to: ActorRef<P>,
    message: Option<M>,
    /// Not `Send`: it waits on the worker that it was made on.
    position: PhantomData<*const I>,
}

// The message is not pinned: it is only moved out.
impl<P, M, I> Unpin for Sending<P, M, I> {}

impl<P: Accepts<M, I>, M: Message, I> Future for Sending<P, M, I> {
    type Output = Result<(), Undelivered<M>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let message = self.message.take().expect("a send is polled after its end");
        match self.to.tell(message) {
            Err(Undelivered { message, reason: TellError::Full }) => {
                self.message = Some(message);
                Core::with(|core| core.wait_for_room(context.waker()));
                Poll::Pending
            }
            sent => Poll::Ready(sent),
        }
    }
}

impl<P> Copy for ActorRef<P> {}

impl<P> Clone for ActorRef<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> PartialEq for ActorRef<P> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl<P> Eq for ActorRef<P> {}

impl<P> PartialOrd for ActorRef<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for ActorRef<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.address.cmp(&other.address)
    }
}

impl<P> Hash for ActorRef<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

impl<P> fmt::Debug for ActorRef<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

// In a message a reference is its address: what protocol it has is said by the message's own type.
// The promise holds: `serialize` below is that of the address, and so is `resolve`, of the address as all nodes know it.
annulus_codec::layout_of!(unsafe impl<P> for ActorRef<P> as Address);

impl<P> Archive for ActorRef<P> {
    type Archived = ArchivedAddress;
    type Resolver = AddressResolver;

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        let unbound = Core::try_with(|core| core.unbind(self.address));
        unbound.unwrap_or(self.address).resolve(resolver, out);
    }
}

impl<P, S: Fallible + ?Sized> Serialize<S> for ActorRef<P>
where
    Address: Serialize<S>,
{
    fn serialize(&self, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        self.address.serialize(serializer)
    }
}

impl<P, D: Fallible + ?Sized> Deserialize<ActorRef<P>, D> for ArchivedAddress {
    fn deserialize(&self, _: &mut D) -> Result<ActorRef<P>, D::Error> {
        Ok(ActorRef::from(self))
    }
}

impl<P> From<&ArchivedAddress> for ActorRef<P> {
    fn from(archived: &ArchivedAddress) -> Self {
        ActorRef::from_address(archived.to_address())
    }
}
