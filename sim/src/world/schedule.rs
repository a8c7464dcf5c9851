//! What is to happen, and what the parts of a world share while it does.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    faults::Faults,
    marks::Marks,
    net::{HostId, NetEvent},
    random::Random,
    trace::Trace,
};

use super::{Operation, WorkerId};

/// What happens at a certain time.
#[derive(Debug)]
pub(crate) enum Event {
    /// An operation is tried.
    Try(Operation),
    /// An operation's deadline has come.
    Deadline(Operation),
    /// A doorbell rings.
    Bell(WorkerId),
    /// Something happens in the network.
    Net(NetEvent),
    /// Something that the test wants to happen.
    Action(usize),
}

// Most events go through the heap: those with much to say keep it in a box.
const _: () = assert!(size_of::<Scheduled>() <= 40);

/// Its place in the order of all that happens: by time, then by chance, then by when it was scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) at: u64,
    /// Chance in the upper half, and a number below.
    tie: u64,
}

impl Place {
    /// After all others.
    pub(super) const NEVER: Self = Place { at: u64::MAX, tie: u64::MAX };

    pub(super) fn new(at: u64, chance: u32, number: u32) -> Self {
        Place { at, tie: u64::from(chance) << 32 | u64::from(number) }
    }
}

#[derive(Debug)]
struct Scheduled {
    place: Place,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place.cmp(&other.place)
    }
}

/// What the parts of a world share: time, chance, and the list of what is to happen.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) now: u64,
    heap: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u32,
    pub(super) descriptors: u64,
    pub(super) faults: Faults,
    order: Random,
    pub(super) marks: Marks,
    pub(super) trace: Trace,
}

/// What a part of the world sees of the rest while something happens in it.
pub(crate) struct Scope<'a> {
    pub(super) common: &'a mut Common,
    pub(super) random: &'a mut Random,
}

impl Scope<'_> {
    pub(crate) fn now(&self) -> u64 {
        self.common.now
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.common.faults
    }

    pub(crate) fn mark(&mut self, mark: &'static str) {
        self.common.marks.hit(mark);
    }

    pub(crate) fn schedule(&mut self, delay: u64, event: Event) {
        self.common.schedule(delay, event);
    }

    pub(crate) fn next_descriptor(&mut self) -> u64 {
        self.common.descriptors += 1;
        self.common.descriptors
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.random.between(least, most)
    }

    /// Whether a fault happens, which is marked then.
    pub(crate) fn chance(&mut self, rate: impl FnOnce(&Faults) -> f64, mark: &'static str) -> bool {
        let happens = self.random.happens(rate(&self.common.faults));
        if happens {
            self.common.marks.hit(mark);
        }
        happens
    }

    /// `most`, or less.
    pub(crate) fn shorten(&mut self, most: usize, mark: &'static str) -> usize {
        if most > 1 && self.chance(|faults| faults.short, mark) {
            self.random.between(1, most as u64) as usize
        } else {
            most
        }
    }

    /// How long something is under way from one host to another.
    pub(crate) fn delay(&mut self, from: HostId, to: HostId) -> u64 {
        if from == to {
            return self.random.between(2_000, 30_000);
        }
        self.random.time(self.common.faults.latency)
    }

    /// What these operations wait for may have come.
    pub(crate) fn ready(&mut self, waiting: &mut Vec<Operation>) {
        waiting.drain(..).for_each(|operation| self.try_soon(operation));
    }

    /// What one of these operations waits for has come: one takes it, and for the others nothing changes.
    pub(crate) fn ready_one(&mut self, waiting: &mut Vec<Operation>) {
        if !waiting.is_empty() {
            let chosen = self.random.index(waiting.len());
            self.try_soon(waiting.swap_remove(chosen));
        }
    }

    fn try_soon(&mut self, operation: Operation) {
        let delay = self.random.time(self.common.faults.operation);
        self.common.schedule(delay, Event::Try(operation));
    }
}

impl Common {
    pub(super) fn new(order: Random, faults: Faults, aloud: bool) -> Self {
        Common {
            now: 0,
            heap: BinaryHeap::new(),
            scheduled: 0,
            descriptors: 0,
            faults,
            order,
            marks: Marks::default(),
            trace: Trace::new(aloud),
        }
    }

    /// The place of the next event.
    pub(super) fn next(&self) -> Place {
        self.heap.peek().map_or(Place::NEVER, |Reverse(next)| next.place)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse(next)| next.event)
    }

    pub(super) fn schedule(&mut self, delay: u64, event: Event) {
        let place = self.place_at(self.now.saturating_add(delay));
        self.heap.push(Reverse(Scheduled { place, event }));
    }

    /// A place of its own at this time.
    pub(super) fn place_at(&mut self, at: u64) -> Place {
        self.scheduled = self.scheduled.wrapping_add(1);
        let chance = self.order.between(0, u64::from(u32::MAX)) as u32;
        Place::new(at, chance, self.scheduled)
    }
}
