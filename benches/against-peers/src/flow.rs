//! The window of a sender: how much it sends before it waits for the receiver. It is the same for all
//! subjects.

use std::ops::Range;

/// Messages that a receiver takes before it says so.
pub(crate) const BATCH: u64 = 1000;

/// Messages in flight between two actors of one worker, at most.
pub(crate) const WINDOW_HERE: u64 = BATCH;

/// Messages in flight between two workers, at most: enough that neither waits for the other.
pub(crate) const WINDOW_ACROSS: u64 = 10 * BATCH;

/// A sender's side of the window.
#[derive(Debug)]
pub(crate) struct Sending {
    window: u64,
    in_flight: u64,
    next: u64,
    end: u64,
    sum: u64,
}

impl Sending {
    pub(crate) fn new(window: u64) -> Self {
        Sending { window, in_flight: 0, next: 0, end: 0, sum: 0 }
    }

    /// Starts a lap of that many messages, a multiple of [`BATCH`].
    pub(crate) fn start(&mut self, messages: u64) {
        assert!(messages.is_multiple_of(BATCH) && self.in_flight == 0);
        (self.next, self.end, self.sum) = (0, messages, 0);
    }

    /// The numbers of the messages to be sent now, if there is room for a batch.
    pub(crate) fn batch(&mut self) -> Option<Range<u64>> {
        if self.next == self.end || self.in_flight + BATCH > self.window {
            return None;
        }
        let start = self.next;
        self.next += BATCH;
        self.in_flight += BATCH;
        Some(start..self.next)
    }

    /// The receiver has taken a batch; `sum` is what it came to. Returns the sum of the lap if that was
    /// its last batch.
    pub(crate) fn taken(&mut self, sum: u64) -> Option<u64> {
        self.in_flight -= BATCH;
        self.sum = self.sum.wrapping_add(sum);
        (self.next == self.end && self.in_flight == 0).then_some(self.sum)
    }
}

/// A receiver's side of the window.
#[derive(Debug, Default)]
pub(crate) struct Receiving {
    count: u64,
    sum: u64,
}

impl Receiving {
    /// A message has come. Returns the sum of the batch if it was its last one.
    #[inline]
    pub(crate) fn take(&mut self, weight: u64) -> Option<u64> {
        self.count += 1;
        self.sum = self.sum.wrapping_add(weight);
        if self.count < BATCH {
            return None;
        }
        self.count = 0;
        Some(std::mem::take(&mut self.sum))
    }
}

/// What the numbers below `count` come to.
pub(crate) fn sum_below(count: u64) -> u64 {
    count * (count - 1) / 2
}
