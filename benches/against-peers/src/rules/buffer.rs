//! The bounded buffer between producers and consumers.

use std::collections::VecDeque;

/// Items that the buffer takes.
pub(crate) const BUFFER: usize = 50;

pub(crate) const PRODUCERS: usize = 40;
pub(crate) const CONSUMERS: usize = 40;

/// Items that each producer makes. Savina: 1000.
pub(crate) const EACH_MAKES: u64 = 100;

/// Items of a lap.
pub(crate) const ITEMS: u64 = PRODUCERS as u64 * EACH_MAKES;

/// What making or using an item takes: one logarithm. In Savina it is 2,500 of them, which would leave
/// little to see of the messages.
#[inline]
pub(crate) fn work_on(item: f64) -> f64 {
    item + (item.abs() + 0.01).ln()
}

/// What the manager of the buffer knows, with producers and consumers by their numbers.
#[derive(Debug)]
pub(crate) struct Buffer {
    items: VecDeque<f64>,
    waiting_producers: VecDeque<usize>,
    waiting_consumers: VecDeque<usize>,
    producers_left: usize,
}

/// What the manager is to do.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Give this item to this consumer.
    pub(crate) give: Option<(usize, f64)>,
    /// Have this producer make one more.
    pub(crate) make: Option<usize>,
}

impl Buffer {
    /// All consumers wait.
    pub(crate) fn new() -> Self {
        Buffer {
            items: VecDeque::new(),
            waiting_producers: VecDeque::new(),
            waiting_consumers: (0..CONSUMERS).collect(),
            producers_left: 0,
        }
    }

    /// All producers start.
    pub(crate) fn start(&mut self) {
        assert_eq!(self.waiting_consumers.len(), CONSUMERS);
        self.producers_left = PRODUCERS;
    }

    /// A producer has made an item.
    pub(crate) fn made(&mut self, item: f64, producer: usize) -> Orders {
        let mut orders = Orders::default();
        match self.waiting_consumers.pop_front() {
            Some(consumer) => orders.give = Some((consumer, item)),
            None => self.items.push_back(item),
        }
        if self.items.len() >= BUFFER - PRODUCERS {
            self.waiting_producers.push_back(producer);
        } else {
            orders.make = Some(producer);
        }
        orders
    }

    /// A consumer has used an item.
    pub(crate) fn used(&mut self, consumer: usize) -> Orders {
        match self.items.pop_front() {
            Some(item) => {
                Orders { give: Some((consumer, item)), make: self.waiting_producers.pop_front() }
            }
            None => {
                self.waiting_consumers.push_back(consumer);
                Orders::default()
            }
        }
    }

    /// A producer has made all its items.
    pub(crate) fn producer_done(&mut self) {
        self.producers_left -= 1;
    }

    /// Whether all items have been made and used.
    pub(crate) fn is_done(&self) -> bool {
        self.producers_left == 0 && self.waiting_consumers.len() == CONSUMERS
    }
}
