//! Asks: a message, and exactly one outcome.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use annulus_codec::{
    address::Address,
    extension::{Extensions, MAX_CHAIN},
    frame::Kind,
    message::Message,
    outbox::Admission,
    passing::{Envelope, Passing},
};
use annulus_transport::timer::TimerKey;
use slab::Slab;

use crate::{
    contain::{discard, wake},
    core::Core,
    delivery::Peer,
    error::AskError,
    message::Msg,
    planted::{Bug, planted},
    timers::TimerEvent,
};

/// Names an ask of a worker that still waits for its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AskKey {
    index: u32,
    generation: u32,
}

impl AskKey {
    /// The correlation id: the worker in the upper 8 bits, then 24 of the index, then the generation.
    pub(crate) fn correlation(self, worker: usize) -> u64 {
        (worker as u64) << 56 | u64::from(self.index) << 32 | u64::from(self.generation)
    }

    fn from_correlation(correlation: u64) -> Self {
        AskKey { index: (correlation >> 32) as u32 & 0x00ff_ffff, generation: correlation as u32 }
    }
}

/// The worker that waits for the answer with this correlation id.
pub(crate) fn asking_worker(correlation: u64) -> usize {
    (correlation >> 56) as usize
}

type Outcome = Result<Envelope, AskError>;

struct Waiting {
    generation: u32,
    /// The node that was asked; only that one may answer.
    peer: Option<Peer>,
    timer: Option<TimerKey>,
    waker: Option<Waker>,
    outcome: Option<Outcome>,
}

/// The asks of a worker that have not been picked up by their askers.
#[derive(Default)]
pub(crate) struct AskTable {
    waiting: RefCell<Slab<Waiting>>,
    generation: Cell<u32>,
    /// Answers that came for asks that had ended already.
    pub(crate) late: Cell<u64>,
}

/// How many asks a worker may have open at the same time.
const MAX_ASKS: usize = 1 << 20;

impl AskTable {
    fn insert(&self, peer: Option<Peer>) -> Option<AskKey> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= MAX_ASKS {
            return None;
        }
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let index =
            waiting.insert(Waiting { generation, peer, timer: None, waker: None, outcome: None });
        Some(AskKey { index: index as u32, generation })
    }

    fn with<T>(&self, key: AskKey, look: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        let mut waiting = self.waiting.borrow_mut();
        let ask = waiting.get_mut(key.index as usize)?;
        let is_it = ask.generation == key.generation || planted(Bug::StaleAnswer);
        is_it.then(|| look(ask))
    }

    fn remove(&self, key: AskKey) -> Option<Waiting> {
        self.with(key, |_| ())?;
        Some(self.waiting.borrow_mut().remove(key.index as usize))
    }

    /// Settles an ask. An answer from a node that was not asked is not counted as one; a second
    /// outcome is dropped.
    fn settle(&self, key: AskKey, outcome: Outcome) -> Option<TimerKey> {
        let mut outcome = Some(outcome);
        let settled = self.with(key, |ask| {
            if ask.outcome.is_some() {
                return None;
            }
            ask.outcome = outcome.take();
            Some((ask.waker.take(), ask.timer.take()))
        });
        if let Some(late) = outcome {
            self.late.set(self.late.get() + 1);
            discard("a reply", late);
        }
        let (waker, timer) = settled.flatten()?;
        if let Some(waker) = waker {
            wake(waker);
        }
        timer
    }

    /// The number of asks that nobody has picked up.
    pub(crate) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// The asks to a node that have no outcome yet.
    pub(crate) fn open_to(&self, peer: Peer) -> Vec<AskKey> {
        self.keys_where(|ask| ask.peer == Some(peer))
    }

    fn is_open(&self, key: AskKey) -> bool {
        self.with(key, |ask| ask.outcome.is_none()).unwrap_or(false)
    }

    fn keys_where(&self, wanted: impl Fn(&Waiting) -> bool) -> Vec<AskKey> {
        let waiting = self.waiting.borrow();
        let open = waiting.iter().filter(|(_, ask)| ask.outcome.is_none() && wanted(ask));
        open.map(|(index, ask)| AskKey { index: index as u32, generation: ask.generation })
            .collect()
    }
}

impl Core {
    /// An answer has come in.
    pub(crate) fn resolve_ask(&self, correlation: u64, from: Option<Peer>, outcome: Outcome) {
        let key = AskKey::from_correlation(correlation);
        if self.asks.with(key, |ask| ask.peer) == Some(from) {
            self.settle_ask(key, outcome);
        } else {
            self.asks.late.set(self.asks.late.get() + 1);
            discard("a reply", outcome);
        }
    }

    pub(crate) fn settle_ask(&self, key: AskKey, outcome: Outcome) {
        if let Some(timer) = self.asks.settle(key, outcome) {
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

    /// Sends an ask and opens its entry in the table.
    fn open_ask<M: Message>(
        self: &Rc<Self>,
        to: Address,
        way: Way,
        message: &mut Option<M>,
        timeout: Option<Duration>,
    ) -> Result<AskKey, AskError> {
        let extensions = self.ask_extensions(to, timeout)?;
        let peer = self.peer_of(to);
        let key = self.asks.insert(peer).ok_or(AskError::Overloaded)?;
        let correlation = key.correlation(self.worker());
        let said = (!extensions.is_empty()).then_some(&extensions);
        let sent = match way {
            Way::Link => self.send(to, Kind::Ask, correlation, said, message, Admission::Bounded),
            Way::Datagram => self.send_datagram(to, Kind::Ask, correlation, said, message),
        };
        if let Err(error) = sent {
            self.asks.remove(key);
            return Err(error.into());
        }
        let patience = extensions.remaining.unwrap_or(self.limits().ask_timeout);
        let deadline = self.io.now().after(patience);
        let timer = self.insert_timer(deadline, TimerEvent::Ask(key));
        self.asks.with(key, |ask| ask.timer = Some(timer));
        Ok(key)
    }

    /// What the ask inherits from the handler that makes it.
    fn ask_extensions(
        &self,
        to: Address,
        timeout: Option<Duration>,
    ) -> Result<Extensions, AskError> {
        let mut extensions = Extensions { remaining: timeout, ..Extensions::default() };
        let Some(cell) = self.running_actor() else {
            return Ok(extensions);
        };
        let section = cell.section.borrow();
        if to == cell.address || section.chain.contains(&to) {
            return Err(AskError::Cycle);
        }
        if section.chain.len() >= MAX_CHAIN {
            return Err(AskError::ChainTooLong { max: MAX_CHAIN });
        }
        extensions.chain.reserve_exact(section.chain.len() + 1);
        extensions.chain.extend_from_slice(&section.chain);
        extensions.chain.push(cell.address);
        if let Some(deadline) = section.deadline {
            let left = deadline.since(self.now());
            if left.is_zero() {
                return Err(AskError::Timeout);
            }
            extensions.remaining = Some(timeout.map_or(left, |timeout| timeout.min(left)));
        }
        Ok(extensions)
    }
}

/// How an ask travels to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Link,
    Datagram,
}

enum State<M> {
    Unsent { to: Address, way: Way, message: Option<M>, timeout: Option<Duration> },
    Waiting(AskKey),
    Done,
}

/// An ask: a future that ends in exactly one outcome. The message is sent when it is first polled.
///
/// Dropping it cancels it: a reply that comes later is dropped.
#[must_use = "an ask does nothing until it is awaited"]
pub struct Ask<M: Message> {
    state: State<M>,
    /// Its entry is in the table of one worker.
    here: PhantomData<Rc<()>>,
}

impl<M: Message> Ask<M> {
    pub(crate) fn new(to: Address, way: Way, message: M) -> Self {
        let state = State::Unsent { to, way, message: Some(message), timeout: None };
        Ask { state, here: PhantomData }
    }

    /// Gives the ask this long to end. An ask within a handler that handles an ask itself never gets
    /// longer than what is left of that one. Without a limit of its own an ask ends after the node's
    /// `ask_timeout`.
    pub fn within(mut self, limit: Duration) -> Self {
        if let State::Unsent { timeout, .. } = &mut self.state {
            *timeout = Some(limit);
        }
        self
    }
}

// The message is not pinned: it is only moved out.
impl<M: Message> Unpin for Ask<M> {}

impl<M: Message> Future for Ask<M> {
    type Output = Result<Msg<M::Reply>, AskError>;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let State::Unsent { to, way, message, timeout } = &mut this.state {
            let (to, way, timeout) = (*to, *way, *timeout);
            let opened = Core::try_with(|core| core.open_ask(to, way, message, timeout))
                .unwrap_or(Err(AskError::NoWorker));
            this.state = State::Done;
            match opened {
                Ok(key) => this.state = State::Waiting(key),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let State::Waiting(key) = this.state else { panic!("an ask is polled after its outcome") };
        let outcome = Core::try_with(|core| core.poll_ask(key, context.waker()));
        let Some(outcome) = outcome else {
            return Poll::Ready(Err(AskError::NoWorker));
        };
        let Poll::Ready(outcome) = outcome else {
            return Poll::Pending;
        };
        this.state = State::Done;
        Poll::Ready(outcome.and_then(open_reply::<M>))
    }
}

fn open_reply<M: Message>(envelope: Envelope) -> Result<Msg<M::Reply>, AskError> {
    use annulus_codec::archive::AccessError;
    match <M::Reply as Message>::Passing::open(envelope) {
        Ok(carrier) => Ok(Msg::new(carrier)),
        Err(AccessError::WrongMessage { expected, found }) if expected.same_name(found) => {
            Err(AskError::Incompatible)
        }
        Err(_) => Err(AskError::Invalid),
    }
}

impl Core {
    fn poll_ask(&self, key: AskKey, waker: &Waker) -> Poll<Outcome> {
        let is_new = |old: &Option<Waker>| !old.as_ref().is_some_and(|old| old.will_wake(waker));
        let wanted = self.asks.with(key, |ask| ask.outcome.is_none() && is_new(&ask.waker));
        // Cloning and dropping a waker may run a user's code: the table is not borrowed meanwhile.
        let fresh = wanted.unwrap_or(false).then(|| waker.clone());
        let (settled, old) = self
            .asks
            .with(key, |ask| {
                let old = fresh.and_then(|fresh| ask.waker.replace(fresh));
                (Some(ask.outcome.is_some()), old)
            })
            .unwrap_or((None, None));
        discard("a waker", old);
        match settled {
            Some(false) => Poll::Pending,
            Some(true) => {
                let ask = self.asks.remove(key);
                Poll::Ready(ask.and_then(|ask| ask.outcome).unwrap_or(Err(AskError::Cancelled)))
            }
            // The table was cleared under it: the node has shut down.
            None => Poll::Ready(Err(AskError::Cancelled)),
        }
    }
}

impl<M: Message> Drop for Ask<M> {
    fn drop(&mut self) {
        if let State::Waiting(key) = self.state {
            Core::with(|core| {
                if let Some(timer) = core.asks.remove(key).and_then(|ask| ask.timer) {
                    core.cancel_timer(timer);
                }
            });
        }
    }
}

impl<M: Message> fmt::Debug for Ask<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({})", M::NAME)
    }
}
