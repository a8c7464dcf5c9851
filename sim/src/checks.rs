//! Checks of promises: actors of a test say what they have seen, and what breaks a promise is noted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use annulus::AskError;

/// Violations that are kept; the first ones say most.
const KEPT: usize = 20;

/// One sender's stream of numbered messages to one receiver.
type Stream = (u64, u64);

#[derive(Debug, Default)]
struct Entries {
    violations: Vec<String>,
    /// The last number that came in, for each stream.
    last: BTreeMap<Stream, u64>,
    /// The numbers that came in as datagrams, for each stream.
    noted: BTreeMap<Stream, BTreeSet<u64>>,
    told: u64,
    arrived: u64,
    asks: u64,
    answers: u64,
    failures: BTreeMap<&'static str, u64>,
    slowest_ask: Duration,
    next: u64,
}

/// What the actors of a run have seen, and which promises that breaks. Clones share it: give one to each
/// actor that has something to say.
///
/// ```
/// let checks = annulus_sim::Checks::default();
/// checks.arrived(1, 2, 7);
/// checks.arrived(1, 2, 7);
/// assert_eq!(checks.sums().violations, ["P3: message 7 of 1 arrived twice"]);
/// ```
// One thread runs all actors of a world, so nobody ever waits for the lock.
#[derive(Clone, Debug, Default)]
pub struct Checks(Arc<Mutex<Entries>>);

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Promises that have been broken; the first twenty.
    pub violations: Vec<String>,
    /// Numbered messages that have been sent.
    pub told: u64,
    /// Those that have arrived.
    pub arrived: u64,
    /// Asks that have been made.
    pub asks: u64,
    /// Those that have been answered.
    pub answers: u64,
    /// Those that have ended otherwise, by how.
    pub failures: BTreeMap<&'static str, u64>,
    /// The longest time that an ask took to end.
    pub slowest_ask: Duration,
}

impl Checks {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A number that nobody else in the run has.
    pub fn unique(&self) -> u64 {
        let mut entries = self.lock();
        entries.next += 1;
        entries.next
    }

    /// A promise has been broken.
    pub fn violation(&self, promise: &str, what: String) {
        let mut entries = self.lock();
        if entries.violations.len() < KEPT {
            entries.violations.push(format!("{promise}: {what}"));
        }
    }

    /// A numbered message has been sent.
    pub fn told(&self) {
        self.lock().told += 1;
    }

    /// A numbered message of a sender has come to a receiver. P1 and P3: what one actor sends another
    /// arrives in order, and once at most.
    pub fn arrived(&self, sender: u64, receiver: u64, number: u64) {
        let mut entries = self.lock();
        entries.arrived += 1;
        let before = entries.last.insert((sender, receiver), number);
        drop(entries);
        match before {
            Some(before) if before == number => {
                self.violation("P3", format!("message {number} of {sender} arrived twice"));
            }
            Some(before) if before > number => {
                self.violation("P1", format!("of {sender}, {number} arrived after {before}"));
            }
            _ => {}
        }
    }

    /// The same as a datagram. P17: it arrives once at most, in any order.
    pub fn noted(&self, sender: u64, receiver: u64, number: u64) {
        let fresh = self.lock().noted.entry((sender, receiver)).or_default().insert(number);
        if !fresh {
            self.violation("P17", format!("datagram {number} of {sender} arrived twice"));
        }
    }

    /// An ask has been made.
    pub fn asked(&self) {
        self.lock().asks += 1;
    }

    /// An ask has ended, after so long. P8: every ask ends once, and in time.
    pub fn ended(&self, outcome: Result<(), AskError>, took: Duration, bound: Duration) {
        let mut entries = self.lock();
        entries.slowest_ask = entries.slowest_ask.max(took);
        match outcome {
            Ok(()) => entries.answers += 1,
            Err(error) => *entries.failures.entry(name_of(error)).or_default() += 1,
        }
        drop(entries);
        if took > bound {
            self.violation("P8", format!("an ask ended after {took:?} in {outcome:?}"));
        }
    }

    /// What has been seen so far.
    pub fn sums(&self) -> Sums {
        let entries = self.lock();
        Sums {
            violations: entries.violations.clone(),
            told: entries.told,
            arrived: entries.arrived,
            asks: entries.asks,
            answers: entries.answers,
            failures: entries.failures.clone(),
            slowest_ask: entries.slowest_ask,
        }
    }
}

fn name_of(error: AskError) -> &'static str {
    match error {
        AskError::Timeout => "ask timed out",
        AskError::Dead => "ask met a dead actor",
        AskError::NodeDown => "ask lost its node",
        AskError::Unreachable => "ask found no link",
        AskError::Overloaded => "ask met a full queue",
        AskError::Cancelled => "ask was cancelled",
        AskError::NoReply => "ask was dropped",
        _ => "ask failed otherwise",
    }
}
