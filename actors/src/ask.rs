//! Asks: a message, and exactly one outcome.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use annulus_codec::{
    address::Address,
    extension::{Extensions, MAX_CHAIN},
    frame::{Header, Kind},
    held::Small,
    message::Message,
    outbox::Admission,
    passing::Passing,
};
use annulus_transport::timer::TimerKey;

use crate::{
    ask_table::{AskKey, Outcome, Waiting, Wakeup},
    cell::ActorCell,
    contain::{discard, wake},
    core::Core,
    delivery::{Content, Peer, Section},
    error::{AskError, TellError},
    message::Msg,
    timers::TimerEvent,
    walk::Carrier,
};

impl Core {
    /// An answer has come in. One from a node that was not asked is not counted as one.
    #[inline(always)]
    pub(crate) fn resolve_ask(&self, correlation: u64, from: Option<Peer>, outcome: Outcome) {
        let key = AskKey::from_correlation(correlation);
        self.settle_ask_if(key, outcome, |ask| ask.peer == from);
    }

    pub(crate) fn settle_ask(&self, key: AskKey, outcome: Outcome) {
        self.settle_ask_if(key, outcome, |_| true);
    }

    /// A second outcome is dropped.
    #[inline(always)]
    fn settle_ask_if(&self, key: AskKey, outcome: Outcome, may: impl FnOnce(&Waiting) -> bool) {
        match self.asks.settle(key, outcome, may) {
            Ok(settled) => self.tell_asker(settled),
            Err(late) => {
                self.asks.late.set(self.asks.late.get() + 1);
                discard("a reply", late);
            }
        }
    }

    /// An answer of this worker's to one of its own asks, without a frame.
    #[inline(always)]
    pub(crate) fn answer_small(&self, correlation: u64, small: Small) {
        let key = AskKey::from_correlation(correlation);
        // Mostly it is picked up within the same poll.
        if !self.asks.settle_within(key, small) {
            self.resolve_ask(correlation, None, Ok(Content::Small(small)));
        }
    }

    fn tell_asker(&self, (wakeup, timer): (Wakeup, Option<TimerKey>)) {
        match wakeup {
            Wakeup::Run(target) => self.push_ready(target),
            Wakeup::Wake(waker) => wake(waker),
            Wakeup::Spent => {}
        }
        if let Some(timer) = timer {
            self.cancel_timer(timer);
        }
    }

    /// Ends asks whose node is lost. Those that have ended meanwhile stay as they are.
    pub(crate) fn fail_asks(&self, lost: Vec<AskKey>) {
        for key in lost {
            if self.asks.is_open(key) {
                self.settle_ask(key, Err(AskError::NodeDown));
            }
        }
    }

    /// Ends all asks, at shutdown.
    pub(crate) fn cancel_asks(&self) {
        for key in self.asks.keys_where(|_| true) {
            self.settle_ask(key, Err(AskError::Cancelled));
        }
    }

    /// Sends an ask of the kind that is made most often: it is small, and nothing is to be said besides. If the actor
    /// is idle it is handled at once, and mostly answered. Nothing has happened if this returns nothing.
    #[inline(always)]
    fn ask_at_once<M: Message>(
        self: &Rc<Self>,
        ask: &mut Ask<M>,
    ) -> Option<Result<Carrier<M::Reply>, AskKey>> {
        if ask.stage != Stage::Unsent(Way::Link) || ask.limit.is_some() || self.runs_actor() {
            return None;
        }
        let cell = self.may_hand_over(ask.to)?;
        let small = ask.message.as_ref().and_then(M::Passing::as_small)?;
        let key = self.ask_small(&cell, small, None).ok()?;
        Some(self.asks.take_small::<M::Reply>(key).ok_or(key))
    }

    #[inline(never)]
    fn open_ask_at_length<M: Message>(
        self: &Rc<Self>,
        ask: &mut Ask<M>,
        way: Way,
        waker: &Waker,
    ) -> Opened {
        let &mut Ask { to, limit, ref mut message, .. } = ask;
        let said = match self.said(to, limit) {
            Ok(said) => said,
            Err(error) => return Opened::Ended(Err(error)),
        };
        let limit = said.as_ref().and_then(|said| said.remaining);
        let idle = if way == Way::Link { self.may_hand_over(to) } else { None };
        let opened = match idle {
            Some(cell) => self.ask_idle(&cell, message, said),
            None => self.send_ask(to, way, message, said.as_ref()),
        };
        self.opened(opened, limit, waker)
    }

    /// What has come of an ask by the end of its first poll.
    #[inline(always)]
    fn opened(
        &self,
        opened: Result<AskKey, AskError>,
        limit: Option<Duration>,
        waker: &Waker,
    ) -> Opened {
        let key = match opened {
            Ok(key) => key,
            Err(error) => return Opened::Ended(Err(error)),
        };
        if let Some(outcome) = self.asks.take_outcome(key) {
            return Opened::Ended(outcome);
        }
        self.begin_to_wait(key, limit, waker);
        Opened::Waiting(key)
    }

    /// Sets the time limit of an ask that has no outcome yet, and notes who is to learn of it.
    #[inline(never)]
    fn begin_to_wait(&self, key: AskKey, limit: Option<Duration>, waker: &Waker) {
        // A limit that somebody has chosen counts from now; against the node's own the time since the
        // turn began is nothing.
        let deadline = match limit {
            Some(limit) => self.io.now().after(limit),
            None => self.now().after(self.limits().ask_timeout),
        };
        let timer = self.insert_timer(deadline, TimerEvent::Ask(key));
        let wakeup = Wakeup::of(self, waker);
        self.asks.with(key, |ask| {
            ask.timer = Some(timer);
            ask.wakeup = wakeup;
        });
    }

    /// Asks an idle actor of this worker, which handles the message before this returns.
    #[inline(always)]
    fn ask_small(
        self: &Rc<Self>,
        cell: &Rc<ActorCell>,
        small: Small,
        section: Option<Section>,
    ) -> Result<AskKey, AskError> {
        let depth = self.walk.depth();
        let key = self.asks.insert_within(depth).ok_or(AskError::Overloaded)?;
        self.hand_over_small(cell, small, key.correlation(self.worker()), section);
        Ok(key)
    }

    /// As [`ask_small`](Self::ask_small), for any message. What it inherits is handed over with it, and so need
    /// not be in its frame.
    fn ask_idle<M: Message>(
        self: &Rc<Self>,
        cell: &Rc<ActorCell>,
        message: &mut Option<M>,
        said: Option<Extensions>,
    ) -> Result<AskKey, AskError> {
        let section = said.and_then(|said| Section::from_extensions(said, self.now()));
        if let Some(small) = message.as_ref().and_then(M::Passing::as_small) {
            return self.ask_small(cell, small, section);
        }
        let key = self.asks.insert_within(self.walk.depth()).ok_or(AskError::Overloaded)?;
        let (slot, generation) = (cell.address.slot(), cell.address.generation());
        let correlation = key.correlation(self.worker());
        let header = Header::new(Kind::Ask, slot, generation, M::ID, correlation);
        let packed = self.pack_alone(|outbox| {
            M::Passing::pack(message, header, None, outbox, Admission::Bounded)
        });
        match packed {
            Ok(envelope) => {
                self.hand_over(cell, Self::delivery(envelope, section));
                Ok(key)
            }
            Err(error) => {
                drop(self.asks.remove(key));
                Err(TellError::from(error).into())
            }
        }
    }

    /// Opens an ask's entry in the table, and sends its message. `said` is what the ask inherits from the
    /// handler that makes it, and its own limit.
    #[inline]
    fn send_ask<M: Message>(
        self: &Rc<Self>,
        to: Address,
        way: Way,
        message: &mut Option<M>,
        said: Option<&Extensions>,
    ) -> Result<AskKey, AskError> {
        let key = self.asks.insert(self.peer_of(to)).ok_or(AskError::Overloaded)?;
        let correlation = key.correlation(self.worker());
        let worker = to.shares_node(self.home()).then(|| to.slot().worker());
        let rung = worker.is_some_and(|worker| self.ring_ahead(worker));
        let sent = match way {
            Way::Link => self.send(to, Kind::Ask, correlation, said, message, Admission::Bounded),
            Way::Datagram => self.send_datagram(to, Kind::Ask, correlation, said, message),
        };
        // If it was refused for want of room, this may make some.
        if let Some(worker) = worker {
            self.hurry(worker, rung);
        }
        if let Err(error) = sent {
            drop(self.asks.remove(key));
            return Err(error.into());
        }
        Ok(key)
    }

    /// What an ask that is made now says besides its message, if anything.
    fn said(&self, to: Address, timeout: Option<Duration>) -> Result<Option<Extensions>, AskError> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(AskError::Timeout);
        }
        match self.look_at_running(|asker| self.inherited(asker, to, timeout)) {
            Some(inherited) => inherited.map(Some),
            None if timeout.is_none() => Ok(None),
            None => Ok(Some(Extensions { remaining: timeout, ..Extensions::default() })),
        }
    }

    fn inherited(
        &self,
        cell: &ActorCell,
        to: Address,
        timeout: Option<Duration>,
    ) -> Result<Extensions, AskError> {
        if to == cell.address {
            return Err(AskError::Cycle);
        }
        let mut extensions = Extensions { remaining: timeout, ..Extensions::default() };
        if let Some(section) = cell.section() {
            let Section { deadline, chain } = &*section;
            if chain.contains(&self.unbind(to)) {
                return Err(AskError::Cycle);
            }
            if chain.len() >= MAX_CHAIN {
                return Err(AskError::ChainTooLong { max: MAX_CHAIN });
            }
            extensions.chain.extend_from_slice(chain);
            if let Some(deadline) = deadline {
                let left = deadline.since(self.now());
                if left.is_zero() {
                    return Err(AskError::Timeout);
                }
                extensions.remaining = Some(timeout.map_or(left, |timeout| timeout.min(left)));
            }
        }
        extensions.chain.push(cell.address);
        Ok(extensions)
    }
}

/// How an ask travels to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Link,
    Datagram,
}

/// What came of an ask's first poll.
enum Opened {
    Waiting(AskKey),
    Ended(Outcome),
}

/// What has become of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unsent(Way),
    Waiting(AskKey),
    Done,
}

/// An ask: a future that ends in exactly one outcome. The message is sent when it is first polled.
///
/// Dropping it cancels it: a reply that comes later is dropped.
#[must_use = "an ask does nothing until it is awaited"]
pub struct Ask<M: Message> {
    to: Address,
    /// Until it has been sent.
    message: Option<M>,
    limit: Option<Duration>,
    stage: Stage,
    /// Its entry is in the table of one worker.
    here: PhantomData<Rc<()>>,
}

impl<M: Message> Ask<M> {
    #[inline(always)]
    pub(crate) fn new(to: Address, way: Way, message: M) -> Self {
        let (message, stage) = (Some(message), Stage::Unsent(way));
        Ask { to, message, limit: None, stage, here: PhantomData }
    }

    /// Gives the ask this long to end. An ask within a handler that handles an ask itself never gets
    /// longer than what is left of that one. Without a limit of its own an ask ends after the node's
    /// `ask_timeout`.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// As `poll`; the message may have been handed over, by this key.
    #[inline(never)]
    fn poll_at_length(&mut self, handed_over: Option<AskKey>, waker: &Waker) -> Poll<Outcome> {
        match self.stage {
            Stage::Unsent(_) if let Some(key) = handed_over => {
                let opened = Core::try_with(|core| core.opened(Ok(key), None, waker));
                self.go_on(opened.unwrap_or(Opened::Ended(Err(AskError::NoWorker))))
            }
            Stage::Unsent(way) => self.start(way, waker),
            Stage::Waiting(key) => self.look(key, waker),
            Stage::Done => panic!("an ask is polled after its outcome"),
        }
    }

    /// Sends the message, and sees whether that is answered at once.
    fn start(&mut self, way: Way, waker: &Waker) -> Poll<Outcome> {
        let opened = Core::try_with(|core| core.open_ask_at_length(self, way, waker));
        self.message = None;
        self.go_on(opened.unwrap_or(Opened::Ended(Err(AskError::NoWorker))))
    }

    fn go_on(&mut self, opened: Opened) -> Poll<Outcome> {
        match opened {
            Opened::Waiting(key) => {
                self.stage = Stage::Waiting(key);
                Poll::Pending
            }
            Opened::Ended(outcome) => {
                self.stage = Stage::Done;
                Poll::Ready(outcome)
            }
        }
    }

    /// Looks whether the ask has ended, and waits if it has not.
    #[inline(never)]
    fn look(&mut self, key: AskKey, waker: &Waker) -> Poll<Outcome> {
        let outcome = Core::try_with(|core| core.poll_ask(key, waker));
        match outcome.unwrap_or(Poll::Ready(Err(AskError::NoWorker))) {
            Poll::Ready(outcome) => {
                self.stage = Stage::Done;
                Poll::Ready(outcome)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

// The message is not pinned: it is only moved out.
impl<M: Message> Unpin for Ask<M> {}

impl<M: Message> Future for Ask<M> {
    type Output = Result<Msg<M::Reply>, AskError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let at_once = Core::try_with(|core| core.ask_at_once(this)).flatten();
        if let Some(Ok(answer)) = at_once {
            this.stage = Stage::Done;
            return Poll::Ready(Ok(Msg::new(answer)));
        }
        let key = at_once.and_then(Result::err);
        this.poll_at_length(key, context.waker()).map(|outcome| outcome.and_then(open_reply::<M>))
    }
}

#[inline]
fn open_reply<M: Message>(answer: Content) -> Result<Msg<M::Reply>, AskError> {
    use annulus_codec::archive::AccessError;
    match answer.open::<M::Reply>() {
        Ok(carrier) => Ok(Msg::new(carrier)),
        Err(AccessError::WrongMessage { expected, found }) if expected.same_name(found) => {
            Err(AskError::Incompatible)
        }
        Err(_) => Err(AskError::Invalid),
    }
}

impl Core {
    /// Nobody waits for the outcome any more.
    #[cold]
    #[inline(never)]
    fn give_up_ask(&self, key: AskKey) {
        if let Some((timer, rest)) = self.asks.remove(key) {
            timer.into_iter().for_each(|timer| self.cancel_timer(timer));
            discard("a waker", rest);
        }
    }

    fn poll_ask(&self, key: AskKey, waker: &Waker) -> Poll<Outcome> {
        if let Some(outcome) = self.asks.take_outcome(key) {
            return Poll::Ready(outcome);
        }
        let Some(known) = self.asks.with(key, |ask| ask.wakeup.is_of(self, waker)) else {
            // The table was cleared under it: the node has shut down.
            return Poll::Ready(Err(AskError::Cancelled));
        };
        if !known {
            // Cloning and dropping a waker may run a user's code: the table is not borrowed meanwhile.
            let fresh = Wakeup::of(self, waker);
            let old = self.asks.with(key, |ask| mem::replace(&mut ask.wakeup, fresh));
            discard("a waker", old);
        }
        Poll::Pending
    }
}

impl<M: Message> Drop for Ask<M> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage {
            Core::with(|core| core.give_up_ask(key));
        }
    }
}

impl<M: Message> fmt::Debug for Ask<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({})", M::NAME)
    }
}
