//! Asks: a message, and exactly one outcome.

use std::{
    cell::{Cell, RefCell, RefMut},
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
    cell::ActorCell,
    contain::{discard, wake},
    core::Core,
    delivery::{Content, Peer, Section},
    error::{AskError, TellError},
    message::Msg,
    planted::{Bug, planted},
    tasks::Runnable,
    timers::TimerEvent,
    walk::{Carrier, HANDOVERS},
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

type Outcome = Result<Content, AskError>;

/// An entry of the table. It is filled and emptied in place: moved as a whole it would cost more than all that is
/// done with it.
#[derive(Default)]
struct Waiting {
    generation: u32,
    /// Whether somebody asks.
    taken: bool,
    /// The node that was asked; only that one may answer.
    peer: Option<Peer>,
    timer: Option<TimerKey>,
    wakeup: Wakeup,
    outcome: Option<Outcome>,
}

/// How the asker learns of the outcome.
#[derive(Default)]
enum Wakeup {
    /// The asker is an actor or a task of this worker, polled as such: it is made ready.
    Run(Runnable),
    /// Something in between polls it, a combinator of futures for example.
    Wake(Waker),
    /// It has been told, or knows without being told.
    #[default]
    Spent,
}

impl Wakeup {
    /// What wakes whoever polls with this waker.
    fn of(core: &Core, waker: &Waker) -> Self {
        match core.polled.get() {
            Some((target, own)) if std::ptr::eq(own, waker.data()) => Wakeup::Run(target),
            _ => Wakeup::Wake(waker.clone()),
        }
    }

    fn is_of(&self, core: &Core, waker: &Waker) -> bool {
        match self {
            Wakeup::Run(target) => core.polled.get() == Some((*target, waker.data())),
            Wakeup::Wake(known) => known.will_wake(waker),
            Wakeup::Spent => false,
        }
    }
}

/// A small ask of this worker that is handled while its asker is polled. Almost all end within that poll, and need no
/// more than this.
struct Within {
    generation: Cell<u32>,
    stage: Cell<WithinStage>,
    /// The answer, once there is one.
    small: Cell<Small>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WithinStage {
    Free,
    Asked,
    Answered,
    /// It is in the table.
    Moved,
}

impl Default for Within {
    fn default() -> Self {
        Within {
            generation: Cell::new(0),
            stage: Cell::new(WithinStage::Free),
            small: Cell::new(Small::NONE),
        }
    }
}

/// The asks of a worker that have not been picked up by their askers.
pub(crate) struct AskTable {
    /// Asks that are handled while their askers are polled, one for each depth of such asks within each other.
    within: [Within; HANDOVERS as usize],
    /// The first few are for those of the asks above that something else happens to than to be answered at once.
    entries: RefCell<Vec<Waiting>>,
    /// The others that are not taken.
    free: RefCell<Vec<u32>>,
    generation: Cell<u32>,
    /// Answers that came for asks that had ended already.
    pub(crate) late: Cell<u64>,
}

/// How many asks a worker may have open at the same time.
const MAX_ASKS: usize = 1 << 20;

impl Default for AskTable {
    fn default() -> Self {
        let entries = (0..HANDOVERS).map(|_| Waiting::default()).collect();
        AskTable {
            within: Default::default(),
            entries: RefCell::new(entries),
            free: RefCell::default(),
            generation: Cell::default(),
            late: Cell::default(),
        }
    }
}

impl AskTable {
    /// An ask that nobody waits for yet.
    fn insert(&self, peer: Option<Peer>) -> Option<AskKey> {
        let mut entries = self.entries.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => index,
            None if entries.len() >= MAX_ASKS => return None,
            None => {
                entries.push(Waiting::default());
                entries.len() as u32 - 1
            }
        };
        Some(self.take(&mut entries[index as usize], index, peer))
    }

    /// An ask of this worker that is handled while its asker is polled, within so many others.
    #[inline(always)]
    fn insert_within(&self, depth: u32) -> Option<AskKey> {
        match self.within.get(depth as usize) {
            Some(within) if within.stage.get() == WithinStage::Free => {
                let generation = self.next_generation();
                within.generation.set(generation);
                within.stage.set(WithinStage::Asked);
                Some(AskKey { index: depth, generation })
            }
            // An earlier one that was not answered at once still waits there.
            _ => self.insert(None),
        }
    }

    #[inline(always)]
    fn next_generation(&self) -> u32 {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        generation
    }

    fn take(&self, ask: &mut Waiting, index: u32, peer: Option<Peer>) -> AskKey {
        let generation = self.next_generation();
        ask.generation = generation;
        ask.taken = true;
        ask.peer = peer;
        AskKey { index, generation }
    }

    /// An entry is not taken any more.
    fn give_back(&self, index: u32) {
        match self.within.get(index as usize) {
            Some(within) => within.stage.set(WithinStage::Free),
            None => self.free.borrow_mut().push(index),
        }
    }

    /// All entries, for whatever is not done in a moment.
    fn table(&self) -> RefMut<'_, Vec<Waiting>> {
        let mut entries = self.entries.borrow_mut();
        for (within, ask) in self.within.iter().zip(entries.iter_mut()) {
            let outcome = match within.stage.get() {
                WithinStage::Free | WithinStage::Moved => continue,
                WithinStage::Asked => None,
                WithinStage::Answered => Some(Ok(Content::Small(within.small.get()))),
            };
            let generation = within.generation.get();
            *ask = Waiting { generation, taken: true, outcome, ..Waiting::default() };
            within.stage.set(WithinStage::Moved);
        }
        entries
    }

    fn with<T>(&self, key: AskKey, look: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        let mut entries = self.table();
        Some(look(find(&mut entries, key)?))
    }

    /// Takes out the outcome of an ask that has ended.
    fn take_outcome(&self, key: AskKey) -> Option<Outcome> {
        let mut entries = self.table();
        let ask = find(&mut entries, key)?;
        let outcome = ask.outcome.take()?;
        // An outcome spends the rest.
        ask.taken = false;
        self.give_back(key.index);
        Some(outcome)
    }

    /// Takes out the answer to an ask that was handled within a poll, if it came at once and is what it should be.
    #[inline(always)]
    fn take_small<R: Message>(&self, key: AskKey) -> Option<Carrier<R>> {
        let within = self.within.get(key.index as usize)?;
        if within.stage.get() != WithinStage::Answered {
            return None;
        }
        let opened = R::Passing::open_small(&within.small.get()).ok()?;
        within.stage.set(WithinStage::Free);
        Some(opened)
    }

    /// Takes an ask out of the table. The rest of it is dropped by the caller, when it holds no borrow.
    fn remove(&self, key: AskKey) -> Option<(Option<TimerKey>, impl Sized + use<>)> {
        let mut entries = self.table();
        let ask = find(&mut entries, key)?;
        let Waiting { timer, wakeup, outcome, .. } = mem::take(ask);
        self.give_back(key.index);
        Some((timer, (wakeup, outcome)))
    }

    /// Notes the outcome of an ask that has none and that `may` have this one. Gives it back if there is
    /// no such ask.
    fn settle(
        &self,
        key: AskKey,
        outcome: Outcome,
        may: impl FnOnce(&Waiting) -> bool,
    ) -> Result<(Wakeup, Option<TimerKey>), Outcome> {
        let mut entries = self.table();
        match find(&mut entries, key) {
            Some(ask) if ask.outcome.is_none() && may(ask) => {
                ask.outcome = Some(outcome);
                Ok((mem::take(&mut ask.wakeup), ask.timer.take()))
            }
            _ => Err(outcome),
        }
    }

    /// Notes the answer to an ask of this worker that is handled within a poll. Returns whether there is such an ask.
    #[inline(always)]
    fn settle_within(&self, key: AskKey, small: Small) -> bool {
        match self.within.get(key.index as usize) {
            Some(within)
                if within.stage.get() == WithinStage::Asked
                    && within.generation.get() == key.generation =>
            {
                within.small.set(small);
                within.stage.set(WithinStage::Answered);
                true
            }
            _ => false,
        }
    }

    /// The number of asks that nobody has picked up.
    pub(crate) fn len(&self) -> usize {
        let entries = self.table();
        let (within, others) = entries.split_at(HANDOVERS as usize);
        within.iter().filter(|ask| ask.taken).count() + others.len() - self.free.borrow().len()
    }

    /// The asks to a node that have no outcome yet.
    pub(crate) fn open_to(&self, peer: Peer) -> Vec<AskKey> {
        self.keys_where(|ask| ask.peer == Some(peer))
    }

    fn is_open(&self, key: AskKey) -> bool {
        self.with(key, |ask| ask.outcome.is_none()).unwrap_or(false)
    }

    fn keys_where(&self, wanted: impl Fn(&Waiting) -> bool) -> Vec<AskKey> {
        let entries = self.table();
        let open = |ask: &Waiting| ask.taken && ask.outcome.is_none() && wanted(ask);
        let open = entries.iter().enumerate().filter(|(_, ask)| open(ask));
        open.map(|(index, ask)| AskKey { index: index as u32, generation: ask.generation })
            .collect()
    }
}

#[inline(always)]
fn find(entries: &mut [Waiting], key: AskKey) -> Option<&mut Waiting> {
    let ask = entries.get_mut(key.index as usize)?;
    let is_it = ask.taken && (ask.generation == key.generation || planted(Bug::StaleAnswer));
    is_it.then_some(ask)
}

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
        let small = ask.message.as_ref().and_then(M::Passing::as_small)?;
        if ask.stage != Stage::Unsent(Way::Link) || ask.limit.is_some() || self.runs_actor() {
            return None;
        }
        let cell = self.may_hand_over(ask.to)?;
        let key = self.asks.insert_within(self.walk.depth())?;
        self.hand_over_small(&cell, small, key.correlation(self.worker()), None);
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
        let sent = match way {
            Way::Link => self.send(to, Kind::Ask, correlation, said, message, Admission::Bounded),
            Way::Datagram => self.send_datagram(to, Kind::Ask, correlation, said, message),
        };
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
