//! Checks of what actors send each other: each message that was taken arrives, once, and in its order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{checks::Checks, marks::Marks};

/// The receiver and the sender: the pairs of a receiver lie together.
type Pair = (u64, u64);

/// A message that has been sent and has not arrived.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    /// Nothing can keep it from arriving while its receiver lives.
    sure: bool,
}

#[derive(Debug, Default)]
struct Way {
    open: VecDeque<Sent>,
    /// The number of the last message that arrived.
    last: Option<u64>,
}

#[derive(Debug, Default)]
struct Accounts {
    ways: BTreeMap<Pair, Way>,
    /// Actors that have ended.
    ended: BTreeSet<u64>,
    marks: Marks,
}

/// Senders say here what they have sent whom, and receivers what has arrived; what breaks a promise becomes a
/// violation of the [`Checks`]. Each sender numbers what it sends, upwards; several receivers of one message
/// get the same number.
///
/// - P1: what one actor sends another, in whatever way, arrives in order;
/// - P3: it arrives once at most; and what nothing can keep from arriving does arrive.
///
/// Actors have numbers: see [`Checks::unique`]. Clones share everything.
///
/// ```
/// let checks = annulus_sim::Checks::default();
/// let sent = annulus_sim::SendChecks::new(checks.clone());
/// (1..=2).for_each(|number| sent.sent(7, 8, number, true));
/// sent.arrived(7, 8, 2);
/// assert_eq!(checks.sums().violations, ["P1: of 7, 2 arrived at 8 before 1, or 1 is lost"]);
/// ```
// One thread runs all actors of a world, so nobody ever waits for the lock.
#[derive(Clone, Debug, Default)]
pub struct SendChecks {
    checks: Checks,
    accounts: Arc<Mutex<Accounts>>,
}

impl SendChecks {
    /// Violations go to these checks.
    pub fn new(checks: Checks) -> Self {
        SendChecks { checks, accounts: Arc::default() }
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A message has been sent, and not refused. What is not `sure` to arrive may be lost without a word.
    pub fn sent(&self, sender: u64, receiver: u64, number: u64, sure: bool) {
        let mut accounts = self.accounts();
        if !accounts.ended.contains(&receiver) {
            let way = accounts.ways.entry((receiver, sender)).or_default();
            way.open.push_back(Sent { number, sure });
        }
    }

    /// A message has arrived.
    pub fn arrived(&self, sender: u64, receiver: u64, number: u64) {
        let mut accounts = self.accounts();
        let way = accounts.ways.entry((receiver, sender)).or_default();
        let found = way.open.iter().position(|sent| sent.number == number);
        let passed = found.and_then(|at| way.open.drain(..=at).find(|sent| sent.sure));
        let last = way.last.replace(number);
        drop(accounts);
        if let Some(Sent { number: passed, .. }) = passed.filter(|sent| sent.number != number) {
            let says = format!(
                "of {sender}, {number} arrived at {receiver} before {passed}, or {passed} is lost"
            );
            self.checks.violation("P1", says);
        }
        if found.is_some() {
            return;
        }
        match last {
            Some(last) if last > number => {
                let says = format!("of {sender}, {number} arrived at {receiver} after {last}");
                self.checks.violation("P1", says);
            }
            _ => {
                let says = format!("of {sender}, {number} arrived at {receiver} once too often");
                self.checks.violation("P3", says);
            }
        }
    }

    /// An actor has ended, or its node has: nothing arrives any more.
    pub fn ended(&self, actor: u64) {
        let mut accounts = self.accounts();
        accounts.ended.insert(actor);
        let ways = accounts.ways.range((actor, 0)..=(actor, u64::MAX));
        let ways: Vec<Pair> = ways.map(|(pair, _)| *pair).collect();
        for pair in ways {
            accounts.ways.remove(&pair);
        }
    }

    /// Whether an actor has ended.
    pub fn has_ended(&self, actor: u64) -> bool {
        self.accounts().ended.contains(&actor)
    }

    /// By now everything must have arrived that is sure to.
    pub fn insist(&self) {
        let accounts = self.accounts();
        let missing = accounts.ways.iter().filter_map(|((receiver, sender), way)| {
            let Sent { number, .. } = way.open.iter().find(|sent| sent.sure)?;
            Some(format!("of {sender}, {number} has not arrived at {receiver}"))
        });
        let missing: Vec<String> = missing.collect();
        drop(accounts);
        missing.into_iter().for_each(|missing| self.checks.violation("P3", missing));
    }

    /// Notes that something has been reached.
    pub fn hit(&self, mark: &'static str) {
        self.accounts().marks.hit(mark);
    }

    /// What has been reached.
    pub fn marks(&self) -> Marks {
        self.accounts().marks.clone()
    }
}
