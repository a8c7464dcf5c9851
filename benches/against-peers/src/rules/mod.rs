//! The works: their sizes, and what in them has nothing to do with messages. All subjects use these.
//!
//! The shapes of the Savina works are those of S. Imam and V. Sarkar, "Savina: an actor benchmark suite", AGERE 2014, and
//! of its programs for Akka (<https://github.com/shamsimam/savina>). The sizes are those of one lap,
//! which is repeated until the time is up; where they are smaller than in Savina, its size is given.
//! Actors are named by numbers in messages where Savina sends references, since in some peers a
//! reference costs more than the message.

pub(crate) mod buffer;
pub(crate) mod chameneos;
pub(crate) mod fan;
pub(crate) mod graph;

use std::hint::black_box;

/// Spawn: actors of a lap.
pub(crate) const SPAWNED: u64 = 1000;

/// Idle actors whose bytes are counted.
pub(crate) const IDLE: u64 = 100_000;

/// Ping-pong: round trips.
pub(crate) const PING_PONGS: u64 = 40_000;

/// Counting: increments before the count is asked for. Savina: 1,000,000.
pub(crate) const INCREMENTS: u64 = 10_000;

/// Thread ring: actors.
pub(crate) const RING: usize = 100;

/// Thread ring: how often the token is passed on.
pub(crate) const HOPS: u64 = 100_000;

/// Fork-join throughput: actors.
pub(crate) const FORKS: usize = 60;

/// Fork-join throughput: messages for each of them. Savina: 10,000.
pub(crate) const EACH_FORK: u64 = 160;

/// Fork-join create: actors. Savina: 40,000.
pub(crate) const CREATED: u64 = 10_000;

/// Big: actors.
pub(crate) const BIG: usize = 120;

/// Big: pings that each of them sends. Savina: 20,000.
pub(crate) const EACH_PINGS: u64 = 500;

/// Philosophers, and forks.
pub(crate) const PHILOSOPHERS: usize = 20;

/// Philosophers: what each of them eats. Savina: 10,000.
pub(crate) const MEALS: u64 = 500;

/// Skynet (<https://github.com/atemerev/skynet>, not in Savina): children of each actor that is not a
/// leaf.
pub(crate) const CHILDREN: u64 = 10;

/// Skynet: leaves.
pub(crate) const LEAVES: usize = 1_000_000;

/// Skynet: leaves in a quick run.
pub(crate) const LEAVES_QUICK: usize = 100_000;

/// Skynet: actors, with so many leaves.
pub(crate) fn skynet_actors(leaves: u64) -> u64 {
    (leaves * CHILDREN - 1) / (CHILDREN - 1)
}

/// Thread ring: the numbers of all actors that have had the token, added up.
pub(crate) fn ring_sum() -> u64 {
    (0..=HOPS).map(|hop| hop % RING as u64).sum()
}

/// What the actors of fork-join compute with each message.
#[inline]
pub(crate) fn compute() {
    let sine = black_box(37.2_f64).sin();
    assert!(sine * sine > 0.0);
}

/// Big: whom to ping next. A linear congruential generator (Knuth's MMIX), the same for all subjects.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: usize) -> Self {
        Dice(seed as u64)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * end as u64) >> 32) as usize
    }
}

/// Philosophers: the forks on the table.
#[derive(Debug, Default)]
pub(crate) struct Forks([bool; PHILOSOPHERS]);

impl Forks {
    /// Takes both forks beside a philosopher, if they are there.
    pub(crate) fn take(&mut self, philosopher: usize) -> bool {
        let (left, right) = Self::beside(philosopher);
        let free = !self.0[left] && !self.0[right];
        if free {
            (self.0[left], self.0[right]) = (true, true);
        }
        free
    }

    /// Puts both forks back.
    pub(crate) fn put_back(&mut self, philosopher: usize) {
        let (left, right) = Self::beside(philosopher);
        (self.0[left], self.0[right]) = (false, false);
    }

    fn beside(philosopher: usize) -> (usize, usize) {
        (philosopher, (philosopher + 1) % PHILOSOPHERS)
    }
}
