//! Checks of what watchers see: that who is down is told once, in its place, and for good.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use annulus::{Down, DownReason, Watch};

use crate::{checks::Checks, marks::Marks};

/// A watch, and the number of the actor that has it.
type Key = (u64, Watch);

/// What one actor tells another through one reference.
#[derive(Clone, Copy, Debug)]
struct Line {
    speaker: u64,
    /// Known when something has come.
    listener: Option<u64>,
    /// The number of the last message that was sent.
    said: u64,
    /// The number of the last message that came.
    heard: u64,
    /// What the listener has been told of the speaker.
    down: Option<DownReason>,
}

#[derive(Debug, Default)]
struct Book {
    lines: BTreeMap<u64, Line>,
    /// The watches that are open, and the line that each is about.
    open: BTreeMap<Key, u64>,
    /// Speakers that have ended.
    ended: BTreeSet<u64>,
    marks: Marks,
}

/// Watches whose `Down` was still to come at some time. See [`WatchChecks::owed`].
#[derive(Clone, Debug)]
pub struct Owed(BTreeSet<Key>);

/// Speakers tell listeners numbered messages, from 1, and listeners watch them. All of them say here what
/// they do and see, and what breaks a promise becomes a violation of the [`Checks`]:
///
/// - P4: nothing is missing from a line, that is, from what one speaker tells one listener through
///   one reference;
/// - P5: after a `Down` nothing more comes over the line, and no other line of the same speaker begins before
///   it;
/// - P6: each watch that is not called off has one `Down`, which comes behind everything that was said.
///
/// Actors and lines have numbers: see [`Checks::unique`]. Clones share everything.
// One thread runs all actors of a world, so nobody ever waits for the lock.
#[derive(Clone, Debug, Default)]
pub struct WatchChecks {
    checks: Checks,
    book: Arc<Mutex<Book>>,
}

impl WatchChecks {
    /// Violations go to these checks.
    pub fn new(checks: Checks) -> Self {
        WatchChecks { checks, book: Arc::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A speaker begins to talk to a listener.
    pub fn begins(&self, line: u64, speaker: u64) {
        let fresh = Line { speaker, listener: None, said: 0, heard: 0, down: None };
        self.book().lines.insert(line, fresh);
    }

    /// A speaker has said something, and it was not refused.
    pub fn said(&self, line: u64, number: u64) {
        if let Some(line) = self.book().lines.get_mut(&line) {
            line.said = number;
        }
    }

    /// A speaker has ended, or its node has.
    pub fn ended(&self, speaker: u64) {
        self.book().ended.insert(speaker);
    }

    /// A listener has heard something.
    pub fn heard(&self, listener: u64, line: u64, number: u64) {
        let mut book = self.book();
        let Some(at) = book.lines.get_mut(&line) else { return };
        let before = std::mem::replace(&mut at.heard, number);
        at.listener = Some(listener);
        let at = *at;
        let is_other = |other: &&u64| {
            let other_line = book.lines.get(other);
            **other != line && other_line.is_some_and(|other| other.is_between_those_of(&at))
        };
        let unannounced = book.open.values().find(is_other).copied();
        drop(book);
        match at.down {
            Some(DownReason::NodeLost) => {
                self.violation(
                    "P5",
                    format!("{number} of line {line} came after its node was lost"),
                );
            }
            Some(why) => {
                self.violation("P6", format!("{number} of line {line} came after {why:?}"))
            }
            None if number != before + 1 => {
                self.violation("P4", format!("{number} of line {line} came after {before}"));
            }
            None => {}
        }
        if let Some(other) = unannounced {
            let says = format!("line {line} begins while line {other} of the same two is open");
            self.violation("P5", says);
        }
    }

    /// A listener watches the speaker of a line.
    pub fn watched(&self, listener: u64, watch: Watch, line: u64) {
        let again = self.book().open.insert((listener, watch), line);
        if again.is_some() {
            self.violation("P6", format!("two watches of {listener} are {watch:?}"));
        }
    }

    /// A listener has called a watch off, and has been told whether its `Down` was still to come.
    pub fn unwatched(&self, listener: u64, watch: Watch, was_open: bool) {
        let known = self.book().open.remove(&(listener, watch)).is_some();
        if known != was_open {
            let says = format!("{watch:?} of {listener}: open is {known}, unwatch says {was_open}");
            self.violation("P6", says);
        }
    }

    /// A listener has had a `Down`.
    pub fn down(&self, listener: u64, down: &Down) {
        let mut book = self.book();
        let Some(line) = book.open.remove(&(listener, down.watch)) else {
            drop(book);
            let says = format!("a second {down:?} for {listener}, or one after it was called off");
            return self.violation("P6", says);
        };
        book.marks.hit(match down.why {
            DownReason::Ended(_) => "watched actor ended",
            DownReason::Gone => "watched actor was gone",
            DownReason::NodeLost => "watched actor was lost",
            _ => "watch was refused",
        });
        let Some(at) = book.lines.get_mut(&line) else { return };
        at.down = Some(down.why);
        let at = *at;
        let has_ended = book.ended.contains(&at.speaker);
        drop(book);
        if matches!(down.why, DownReason::Ended(_) | DownReason::Gone) {
            if !has_ended {
                self.violation("P6", format!("{down:?}, and {} lives", at.speaker));
            }
            if at.heard != at.said {
                let says = format!("{down:?} came after {} of {} messages", at.heard, at.said);
                self.violation("P6", says);
            }
        }
    }

    /// A listener has ended, or its node has: it is owed nothing.
    pub fn left(&self, listener: u64) {
        self.book().open.retain(|(of, _), _| *of != listener);
    }

    /// The watches of actors that have ended whose `Down` is still to come.
    pub fn owed(&self) -> Owed {
        let book = self.book();
        let ended =
            |line| book.lines.get(line).is_some_and(|line| book.ended.contains(&line.speaker));
        Owed(book.open.iter().filter(|(_, line)| ended(line)).map(|(key, _)| *key).collect())
    }

    /// By now what was owed must have come.
    pub fn insist(&self, owed: &Owed) {
        let still: Vec<_> = self.owed().0.intersection(&owed.0).copied().collect();
        if !still.is_empty() {
            self.violation("P6", format!("these have had no `Down`: {still:?}"));
        }
    }

    /// How many watches are open.
    pub fn open(&self) -> usize {
        self.book().open.len()
    }

    /// How often watches have ended, by how.
    pub fn marks(&self) -> Marks {
        self.book().marks.clone()
    }

    fn violation(&self, promise: &str, what: String) {
        self.checks.violation(promise, what);
    }
}

impl Line {
    fn is_between_those_of(&self, other: &Line) -> bool {
        (self.speaker, self.listener) == (other.speaker, other.listener)
    }
}
