//! The timer wheel: keeps deadlines and says which have passed.
//!
//! It has no clock. The worker asks its driver for the time once a turn and passes it in; the same calls
//! give the same answers, always.
//!
//! # How it works
//!
//! Time is cut into ticks of [`TICK`]. A deadline is rounded up to a tick, so a timer is never early and
//! late by less than one tick. Level 0 of the wheel has a slot for each of 64 ticks, level 1 for each of
//! 64 spans of 64 ticks, and so on; nine levels reach beyond the end of the clock:
//!
//! | level      | 0     | 1      | 2      | 3    | 4      | 5    | 6       | 7        |
//! |------------|-------|--------|--------|------|--------|------|---------|----------|
//! | a slot is  | 66 µs | 4.2 ms | 268 ms | 17 s | 18 min | 20 h | 52 days | 9 years  |
//!
//! A timer goes to the lowest level on which its slot is not the current one: level 0 if it is due in the
//! current span of 64 ticks, level 1 if in the current span of 64 times 64, and so on. Hence everything on
//! a level is due before everything on the level above, and in a level by order of slots. When time enters
//! or passes a slot, what is in it either is due or moves to a lower level. A jump of years costs no more
//! than a look at each level, and nothing for the time in between.
//!
//! The slots are linked lists through one vector, so inserting and cancelling take a few instructions and,
//! once the vector has grown to the most timers at a time, no memory.
//!
//! # Sleeping until a deadline
//!
//! [`TimerWheel::next_deadline`] is exact, to the tick, for what is on level 0. For a timer further away it
//! is the start of the timer's slot: a worker that sleeps until then wakes up early, calls
//! [`TimerWheel::expire`], which moves the timer to a lower level, and sleeps on. So each wake-up for
//! nothing brings the timer down by a level at least, and there are never more than seven. Mostly there
//! are fewer, since a timer starts on the level of its distance, or, if a slot of a higher level begins in
//! between, comes down to it when that begins: at most one for a timer of up to 4 milliseconds, two up to
//! 268, four for one of 30 seconds, five for one of an hour. All timers in a slot come down together, and
//! slots whose timers have been cancelled wake nobody.

use std::mem;

use crate::driver::Mono;

/// The resolution of the wheel, in nanoseconds: about 66 µs.
pub const TICK: u64 = 1 << 16;

/// Bits of a tick's number that make up the slot's number on one level.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// The clock has 2^48 ticks, which is eight levels. Rounding up the last deadlines gives one tick more.
const LEVELS: usize = 9;
/// The end of a list.
const NONE: u32 = u32::MAX;

/// Names a timer of one [`TimerWheel`]. Stays harmless after the timer is gone: no other timer will ever
/// have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey {
    index: u32,
    /// Says which of the timers that have been at `index` is meant.
    generation: u64,
}

/// Deadlines with values, in a hierarchical timing wheel (Varghese and Lauck, 1987).
///
/// The owner calls [`expire`](Self::expire) each turn, and when it has nothing to do sleeps until
/// [`next_deadline`](Self::next_deadline).
#[derive(Debug)]
pub struct TimerWheel<T> {
    /// The last tick that has been reached.
    tick: u64,
    /// For each level a bit for each of its slots that is not empty. Side by side: a look at all takes two cache lines.
    occupied: [u64; LEVELS],
    /// The first entry of each slot of each level.
    first: [[u32; SLOTS]; LEVELS],
    /// Timers and vacant places.
    entries: Vec<Entry<T>>,
    /// The first of the vacant places, which are linked by `next`.
    vacant: u32,
    len: usize,
    /// How many timers there have been.
    inserted: u64,
    /// What is about to expire; empty between calls. Kept for its memory.
    due: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    deadline: Mono,
    /// The number of the timer among all that have been inserted. It never comes again.
    generation: u64,
    /// The neighbours in the slot's list.
    previous: u32,
    next: u32,
    level: u8,
    slot: u8,
    /// `None` in a vacant place.
    value: Option<T>,
}

impl<T> TimerWheel<T> {
    /// An empty wheel, at the time `now`.
    pub fn new(now: Mono) -> Self {
        TimerWheel {
            tick: now.0 / TICK,
            occupied: [0; LEVELS],
            first: [[NONE; SLOTS]; LEVELS],
            entries: Vec::new(),
            vacant: NONE,
            len: 0,
            inserted: 0,
            due: Vec::new(),
        }
    }

    /// How many timers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no timers.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps `value` until `deadline`. O(1); allocates only if there have never been so many timers at
    /// the same time.
    ///
    /// A deadline in the past expires with the next [`expire`](Self::expire). One in the last tick before
    /// the end of the clock, `Mono(u64::MAX)` for example, never expires.
    ///
    /// # Panics
    /// If there are 2^32 - 1 timers already.
    pub fn insert(&mut self, deadline: Mono, value: T) -> TimerKey {
        let generation = self.inserted;
        self.inserted += 1;
        let index = self.occupy(Entry {
            deadline,
            generation,
            previous: NONE,
            next: NONE,
            level: 0,
            slot: 0,
            value: Some(value),
        });
        self.len += 1;
        self.link(index);
        TimerKey { index, generation }
    }

    /// Takes a timer back. O(1). `None` if it has expired or has been cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.value.is_none() || entry.generation != key.generation {
            return None;
        }
        self.unlink(key.index);
        Some(self.vacate(key.index).1)
    }

    /// When to call [`expire`](Self::expire) next. `None` if there are no timers.
    ///
    /// It is at most one tick after the earliest deadline. Before that deadline it may be as well, a few
    /// times in a timer's life: the module's text says how often. It is after the last `now`, unless a
    /// timer is due already.
    pub fn next_deadline(&self) -> Option<Mono> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = u64::from(self.occupied[level].trailing_zeros());
        let span = self.tick >> shift(level + 1) << shift(level + 1);
        let tick = span | slot << shift(level);
        // Saturating: the tick after the end of the clock.
        Some(Mono(tick.saturating_mul(TICK)))
    }

    /// Moves all timers whose deadline has passed to `out`, by order of deadlines; those with the same
    /// deadline by order of insertion.
    ///
    /// A timer whose deadline is after `now` stays. One whose deadline is one tick or more before `now`
    /// does not. A clock must not go back: a `now` before the last one's tick expires nothing.
    pub fn expire(&mut self, now: Mono, out: &mut Vec<(TimerKey, T)>) {
        let tick = now.0 / TICK;
        if tick < self.tick {
            return;
        }
        self.advance(tick);

        let mut due = mem::take(&mut self.due);
        due.sort_unstable_by_key(|index| {
            let entry = &self.entries[*index as usize];
            (entry.deadline, entry.generation)
        });
        out.extend(due.drain(..).map(|index| self.vacate(index)));
        self.due = due;
    }

    /// Goes on to `tick`, and empties all slots that have been entered or passed on the way.
    fn advance(&mut self, tick: u64) {
        let before = mem::replace(&mut self.tick, tick);
        for level in 0..LEVELS {
            let same_span = before >> shift(level + 1) == tick >> shift(level + 1);
            // On a level there is nothing before the slot that time was in, so we need not look where we
            // come from. Outside of the current span there is nothing on this level at all.
            let passed = match same_span {
                true => u64::MAX >> (SLOTS - 1 - slot_of(tick, level)),
                false => u64::MAX,
            };
            let mut slots = self.occupied[level] & passed;
            self.occupied[level] &= !passed;
            while slots != 0 {
                self.empty(level, slots.trailing_zeros() as usize);
                slots &= slots - 1;
            }
            // The slots of the levels above have not changed. Level 0 gets its look in any case: what was
            // inserted too late waits in the current slot.
            if same_span {
                return;
            }
        }
    }

    /// Sorts the entries of a slot into those that are due and those that go to a lower level.
    fn empty(&mut self, level: usize, slot: usize) {
        let mut index = mem::replace(&mut self.first[level][slot], NONE);
        while index != NONE {
            let entry = &self.entries[index as usize];
            let next = entry.next;
            if tick_of(entry.deadline) <= self.tick {
                self.due.push(index);
            } else {
                self.link(index);
            }
            index = next;
        }
    }

    /// Puts an entry at the front of the slot where it belongs now.
    fn link(&mut self, index: u32) {
        // What is due already waits in the current slot.
        let tick = tick_of(self.entries[index as usize].deadline).max(self.tick);
        let level = level_of(tick, self.tick);
        let slot = slot_of(tick, level);

        self.occupied[level] |= 1 << slot;
        let next = mem::replace(&mut self.first[level][slot], index);
        if next != NONE {
            self.entries[next as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        (entry.previous, entry.next) = (NONE, next);
        (entry.level, entry.slot) = (level as u8, slot as u8);
    }

    /// Takes an entry out of its slot.
    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (previous, next) = (entry.previous, entry.next);
        let (level, slot) = (entry.level as usize, entry.slot as usize);
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
            return;
        }
        self.first[level][slot] = next;
        if next == NONE {
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// Finds a place for an entry that is in no slot yet.
    fn occupy(&mut self, entry: Entry<T>) -> u32 {
        let index = self.vacant;
        if let Some(place) = self.entries.get_mut(index as usize) {
            self.vacant = place.next;
            *place = entry;
            return index;
        }
        let index = self.entries.len();
        assert!(index < NONE as usize, "too many timers at the same time");
        self.entries.push(entry);
        index as u32
    }

    /// Makes the place of an entry that is in no slot any more vacant.
    fn vacate(&mut self, index: u32) -> (TimerKey, T) {
        let entry = &mut self.entries[index as usize];
        let value = entry.value.take().expect("the place of a timer");
        let generation = entry.generation;
        entry.next = mem::replace(&mut self.vacant, index);
        self.len -= 1;
        (TimerKey { index, generation }, value)
    }
}

/// The first tick that is not before `deadline`.
fn tick_of(deadline: Mono) -> u64 {
    deadline.0.div_ceil(TICK)
}

/// Where the slot's number on a level starts in a tick's number. Also says how many ticks such a slot has.
fn shift(level: usize) -> u32 {
    level as u32 * SLOT_BITS
}

/// The slot of a level that `tick` is in.
fn slot_of(tick: u64, level: usize) -> usize {
    (tick >> shift(level)) as usize % SLOTS
}

/// The lowest level on which `tick` is in the same span of slots as `now`: that of the highest bit in
/// which they differ.
fn level_of(tick: u64, now: u64) -> usize {
    ((tick ^ now).checked_ilog2().unwrap_or(0) / SLOT_BITS) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Steps go no further: in the clock's last tick nobody can sleep until the end of the clock.
    const LAST: u64 = u64::MAX - TICK;

    fn expired<T>(wheel: &mut TimerWheel<T>, now: u64) -> Vec<T> {
        let mut out = Vec::new();
        wheel.expire(Mono(now), &mut out);
        out.into_iter().map(|(_, value)| value).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Insert, so long after now.
        Insert(u64),
        /// Insert, so long before now.
        InsertLate(u64),
        /// Cancel one of the keys there have been, old ones too.
        Cancel(prop::sample::Index),
        /// Let so much time pass, then expire.
        Pass(u64),
        /// Sleep until the next deadline, then expire.
        Sleep,
    }

    /// Nanoseconds to centuries, each magnitude as likely as any other.
    fn span() -> impl Strategy<Value = u64> {
        (0..64u32, any::<u64>()).prop_map(|(magnitude, bits)| bits >> magnitude)
    }

    fn step() -> impl Strategy<Value = Step> {
        // Years would be over soon, so most spans are shorter.
        let short = || span().prop_map(|span| span >> 16);
        prop_oneof![
            4 => short().prop_map(Step::Insert),
            1 => span().prop_map(Step::Insert),
            1 => span().prop_map(Step::InsertLate),
            2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
            3 => short().prop_map(Step::Pass),
            1 => span().prop_map(|span| Step::Pass(span >> 4)),
            2 => Just(Step::Sleep),
        ]
    }

    /// A wheel, and a map that does the same the simple way.
    struct Pair {
        now: u64,
        wheel: TimerWheel<u64>,
        /// By deadline and number; the number is the value.
        map: BTreeMap<(u64, u64), TimerKey>,
        /// All there have been, by number, with their deadlines.
        keys: Vec<(u64, TimerKey)>,
    }

    impl Pair {
        fn new(now: u64) -> Self {
            Pair { now, wheel: TimerWheel::new(Mono(now)), map: BTreeMap::new(), keys: Vec::new() }
        }

        fn run(&mut self, step: Step) {
            match step {
                Step::Insert(span) => self.insert(self.now.saturating_add(span)),
                Step::InsertLate(span) => self.insert(self.now.saturating_sub(span)),
                Step::Cancel(which) if !self.keys.is_empty() => {
                    self.cancel(which.index(self.keys.len()));
                }
                Step::Cancel(_) => {}
                Step::Pass(span) => self.pass_to(self.now.saturating_add(span).min(LAST)),
                Step::Sleep => {
                    let next = self.wheel.next_deadline();
                    self.pass_to(next.map_or(self.now, |next| next.0.clamp(self.now, LAST)));
                }
            }
            assert_eq!(self.wheel.len(), self.map.len());
            assert_eq!(self.wheel.is_empty(), self.map.is_empty());
            self.check_next_deadline();
        }

        fn insert(&mut self, deadline: u64) {
            let number = self.keys.len() as u64;
            let key = self.wheel.insert(Mono(deadline), number);
            self.map.insert((deadline, number), key);
            self.keys.push((deadline, key));
        }

        fn cancel(&mut self, number: usize) {
            let (deadline, key) = self.keys[number];
            let number = number as u64;
            let expected = self.map.remove(&(deadline, number)).map(|_| number);
            assert_eq!(self.wheel.cancel(key), expected);
        }

        fn pass_to(&mut self, now: u64) {
            self.now = now;
            let mut out = Vec::new();
            self.wheel.expire(Mono(now), &mut out);
            // In order: what comes out is always the first of what is left.
            for (key, number) in out {
                let ((deadline, first), first_key) = self.map.pop_first().unwrap();
                assert_eq!((number, key), (first, first_key));
                assert!(deadline <= now, "early by {} ns", deadline - now);
            }
            if let Some((&(deadline, _), _)) = self.map.first_key_value() {
                assert!(deadline > now || now - deadline < TICK, "too late");
            }
        }

        fn check_next_deadline(&self) {
            let next = self.wheel.next_deadline().map(|next| next.0);
            let first = self.map.first_key_value().map(|(&(deadline, _), _)| deadline);
            assert_eq!(next.is_some(), first.is_some());
            let (Some(next), Some(first)) = (next, first) else {
                return;
            };
            let sleepless = first <= self.now / TICK * TICK;
            assert_eq!(next <= self.now, sleepless, "sleeps if and only if it can");
            assert!(sleepless || next.saturating_sub(first) < TICK, "sleeps too long");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn p14_timers_are_never_early_nor_late_by_a_tick(
            now in span(),
            steps in vec(step(), 1..100),
        ) {
            let mut pair = Pair::new(now.min(LAST));
            for step in steps {
                pair.run(step);
            }
            pair.pass_to(u64::MAX);
        }

        #[test]
        fn p14_an_idle_worker_wakes_up_at_most_once_a_level(now in span(), wait in span()) {
            let deadline = now.saturating_add(wait).min(LAST);
            let mut wheel = TimerWheel::new(Mono(now));
            wheel.insert(Mono(deadline), ());
            let level = level_of(tick_of(Mono(deadline)).max(now / TICK), now / TICK);

            let (mut now, mut early) = (now, 0);
            loop {
                now = wheel.next_deadline().unwrap().0.max(now);
                if !expired(&mut wheel, now).is_empty() {
                    break;
                }
                early += 1;
                prop_assert!(early <= level, "wakes up for nothing once more");
            }
        }
    }

    #[test]
    fn p14_timers_are_never_early() {
        for deadline in [1, TICK - 1, TICK, TICK + 1, SECOND, 3600 * SECOND] {
            let mut wheel = TimerWheel::new(Mono(0));
            wheel.insert(Mono(deadline), ());
            assert!(expired(&mut wheel, deadline - 1).is_empty());
            assert_eq!(expired(&mut wheel, deadline + TICK - 1), [()]);
        }
    }

    #[test]
    fn p14_timers_expire_by_deadline_then_by_insertion() {
        let mut wheel = TimerWheel::new(Mono(0));
        wheel.insert(Mono(SECOND + 1), "fourth");
        wheel.insert(Mono(SECOND), "first");
        // Time passes, so that the next one goes to another level than those before it.
        assert!(expired(&mut wheel, SECOND - 10 * TICK).is_empty());
        wheel.insert(Mono(SECOND), "second");
        wheel.insert(Mono(SECOND), "third");
        wheel.insert(Mono(0), "overdue");
        let all = ["overdue", "first", "second", "third", "fourth"];
        assert_eq!(expired(&mut wheel, SECOND + TICK), all);
    }

    #[test]
    fn a_stale_key_cancels_nothing() {
        let mut wheel = TimerWheel::new(Mono(0));
        let cancelled = wheel.insert(Mono(1), "cancelled");
        assert_eq!(wheel.cancel(cancelled), Some("cancelled"));
        assert_eq!(wheel.cancel(cancelled), None);

        let old = wheel.insert(Mono(1), "old");
        assert_eq!(expired(&mut wheel, TICK), ["old"]);
        let new = wheel.insert(Mono(TICK), "new");
        assert_eq!(new.index, old.index);
        assert_eq!((wheel.cancel(cancelled), wheel.cancel(old)), (None, None));
        assert_eq!(wheel.cancel(new), Some("new"));
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut wheel = TimerWheel::new(Mono(SECOND));
        wheel.insert(Mono(1), "overdue");
        assert!(expired(&mut wheel, 2).is_empty());
        assert_eq!(expired(&mut wheel, SECOND), ["overdue"]);
    }

    #[test]
    fn the_end_of_time_never_comes() {
        let mut wheel = TimerWheel::new(Mono(0));
        wheel.insert(Mono(u64::MAX), "never");
        wheel.insert(Mono(u64::MAX - TICK), "late");
        assert_eq!(expired(&mut wheel, u64::MAX), ["late"]);
        assert_eq!(wheel.next_deadline(), Some(Mono(u64::MAX)));
        assert!(expired(&mut wheel, u64::MAX).is_empty());
    }

    #[test]
    fn a_wheel_in_steady_state_allocates_nothing() {
        let mut wheel = TimerWheel::new(Mono(0));
        let mut out = Vec::new();
        let mut grown = (0, 0);
        for turn in 0..10_000 {
            let now = turn * 10 * TICK;
            for timer in 0..10 {
                let key = wheel.insert(Mono(now + timer * SECOND / 100), timer);
                if timer % 3 == 0 {
                    wheel.cancel(key);
                }
            }
            out.clear();
            wheel.expire(Mono(now), &mut out);
            let capacity = (wheel.entries.capacity(), wheel.due.capacity());
            if turn < 1_000 {
                grown = capacity;
            }
            assert_eq!(capacity, grown);
        }
    }
}
