//! The table of a worker's open asks.
//!
//! An ask that is handled while its asker is polled lies in a few cells instead, and is moved into the table only if
//! something else happens to it than to be answered at once.

use std::{
    cell::{Cell, RefCell, RefMut},
    mem,
    task::Waker,
};

use annulus_codec::{held::Small, message::Message, passing::Passing};
use annulus_transport::timer::TimerKey;

use crate::{
    core::Core,
    delivery::{Content, Peer},
    error::AskError,
    planted::{Bug, planted},
    tasks::Runnable,
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

    pub(crate) fn from_correlation(correlation: u64) -> Self {
        AskKey { index: (correlation >> 32) as u32 & 0x00ff_ffff, generation: correlation as u32 }
    }
}

/// The worker that waits for the answer with this correlation id.
pub(crate) fn asking_worker(correlation: u64) -> usize {
    (correlation >> 56) as usize
}

pub(crate) type Outcome = Result<Content, AskError>;

/// An entry of the table. It is filled and emptied in place: moved as a whole it would cost more than all that is
/// done with it.
#[derive(Default)]
pub(crate) struct Waiting {
    generation: u32,
    /// Whether somebody asks.
    taken: bool,
    /// The node that was asked; only that one may answer.
    pub(crate) peer: Option<Peer>,
    pub(crate) timer: Option<TimerKey>,
    pub(crate) wakeup: Wakeup,
    pub(crate) outcome: Option<Outcome>,
}

/// How the asker learns of the outcome.
#[derive(Default)]
pub(crate) enum Wakeup {
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
    pub(crate) fn of(core: &Core, waker: &Waker) -> Self {
        match core.polled.get() {
            Some((target, own)) if std::ptr::eq(own, waker.data()) => Wakeup::Run(target),
            _ => Wakeup::Wake(waker.clone()),
        }
    }

    pub(crate) fn is_of(&self, core: &Core, waker: &Waker) -> bool {
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
    pub(crate) fn insert(&self, peer: Option<Peer>) -> Option<AskKey> {
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
    pub(crate) fn insert_within(&self, depth: u32) -> Option<AskKey> {
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

    /// All entries.
    fn table(&self) -> RefMut<'_, Vec<Waiting>> {
        let mut entries = self.entries.borrow_mut();
        (0..HANDOVERS as usize).for_each(|index| self.move_in(&mut entries, index));
        entries
    }

    /// The entries, this one among them: for whatever is not done in a moment.
    #[inline(always)]
    fn table_with(&self, key: AskKey) -> RefMut<'_, Vec<Waiting>> {
        let mut entries = self.entries.borrow_mut();
        if key.index < HANDOVERS {
            self.move_in(&mut entries, key.index as usize);
        }
        entries
    }

    /// Moves an ask that is handled within a poll into the table, if it is not there.
    #[inline(never)]
    fn move_in(&self, entries: &mut [Waiting], index: usize) {
        let within = &self.within[index];
        let outcome = match within.stage.get() {
            WithinStage::Free | WithinStage::Moved => return,
            WithinStage::Asked => None,
            WithinStage::Answered => Some(Ok(Content::Small(within.small.get()))),
        };
        let generation = within.generation.get();
        entries[index] = Waiting { generation, taken: true, outcome, ..Waiting::default() };
        within.stage.set(WithinStage::Moved);
    }

    pub(crate) fn with<T>(&self, key: AskKey, look: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        let mut entries = self.table_with(key);
        Some(look(find(&mut entries, key)?))
    }

    /// Takes out the outcome of an ask that has ended.
    pub(crate) fn take_outcome(&self, key: AskKey) -> Option<Outcome> {
        let mut entries = self.table_with(key);
        let ask = find(&mut entries, key)?;
        let outcome = ask.outcome.take()?;
        // An outcome spends the rest.
        ask.taken = false;
        self.give_back(key.index);
        Some(outcome)
    }

    /// Takes out the answer to an ask that was handled within a poll, if it came at once and is what it should be.
    #[inline(always)]
    pub(crate) fn take_small<R: Message>(&self, key: AskKey) -> Option<Carrier<R>> {
        let within = self.within.get(key.index as usize)?;
        if within.stage.get() != WithinStage::Answered {
            return None;
        }
        let opened = R::Passing::open_small(&within.small.get()).ok()?;
        within.stage.set(WithinStage::Free);
        Some(opened)
    }

    /// Takes an ask out of the table. The rest of it is dropped by the caller, when it holds no borrow.
    pub(crate) fn remove(&self, key: AskKey) -> Option<(Option<TimerKey>, impl Sized + use<>)> {
        let mut entries = self.table_with(key);
        let ask = find(&mut entries, key)?;
        let Waiting { timer, wakeup, outcome, .. } = mem::take(ask);
        self.give_back(key.index);
        Some((timer, (wakeup, outcome)))
    }

    /// Notes the outcome of an ask that has none and that `may` have this one. Gives it back if there is
    /// no such ask.
    pub(crate) fn settle(
        &self,
        key: AskKey,
        outcome: Outcome,
        may: impl FnOnce(&Waiting) -> bool,
    ) -> Result<(Wakeup, Option<TimerKey>), Outcome> {
        let mut entries = self.table_with(key);
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
    pub(crate) fn settle_within(&self, key: AskKey, small: Small) -> bool {
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

    pub(crate) fn is_open(&self, key: AskKey) -> bool {
        self.with(key, |ask| ask.outcome.is_none()).unwrap_or(false)
    }

    pub(crate) fn keys_where(&self, wanted: impl Fn(&Waiting) -> bool) -> Vec<AskKey> {
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
