//! How long a worker that has nothing to do looks for news before it sleeps.
//!
//! To be woken by another worker costs some ten thousand nanoseconds on either side, and to look at a lane a hundred. So
//! a worker whose last waits were short looks on for about as long as a wake-up takes. If nothing has come by then the
//! wait was long, and it sleeps at once the next times. Others may need the core: if they do, what a worker waits for
//! does not come while it looks.

use std::time::Duration;

use annulus_transport::driver::Mono;

/// A wait is short if it takes no longer than this, whether the worker sleeps meanwhile or not.
const SHORT: Duration = Duration::from_micros(50);

/// Short waits in a row before a worker looks on.
const WAITS: u32 = 4;

/// See the [module](self).
pub(crate) struct Spin {
    /// How long it looks on each time, if that has been set.
    fixed: Option<Duration>,
    /// When there was last something to do.
    busy_at: Mono,
    /// Whether there has been nothing to do since.
    idle: bool,
    /// How many waits in a row have been short, and were ended by another worker.
    short_waits: u32,
}

impl Spin {
    pub(crate) fn new(fixed: Option<Duration>, now: Mono) -> Self {
        Spin { fixed, busy_at: now, idle: false, short_waits: 0 }
    }

    /// There was something to do, until now. `begun` is when it was found, and `called` whether another worker had
    /// sent it.
    pub(crate) fn was_busy(&mut self, begun: Mono, now: Mono, called: bool) {
        if self.idle {
            let short = called && begun.since(self.busy_at) <= SHORT;
            self.short_waits = if short { (self.short_waits + 1).min(WAITS) } else { 0 };
            self.idle = false;
        }
        self.busy_at = now;
    }

    /// There is nothing to do now. Returns whether to look on.
    pub(crate) fn looks_on(&mut self, now: Mono) -> bool {
        self.idle = true;
        let adaptive = if self.short_waits < WAITS { Duration::ZERO } else { SHORT };
        now.since(self.busy_at) < self.fixed.unwrap_or(adaptive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that waits and works by turns.
    struct Turns {
        spin: Spin,
        now: Mono,
    }

    impl Turns {
        fn new(fixed: Option<Duration>) -> Self {
            let now = Mono::default();
            Turns { spin: Spin::new(fixed, now), now }
        }

        /// Waits for so many microseconds until there is something to do. Returns whether it looks on at first.
        fn wait(&mut self, micros: u64, called: bool) -> bool {
            let looks_on = self.spin.looks_on(self.now);
            self.now = self.now.after(Duration::from_micros(micros));
            self.spin.was_busy(self.now, self.now.after(Duration::from_nanos(500)), called);
            self.now = self.now.after(Duration::from_nanos(500));
            looks_on
        }
    }

    #[test]
    fn who_waits_briefly_for_other_workers_looks_on() {
        let mut turns = Turns::new(None);
        let looks: Vec<bool> = (0..6).map(|_| turns.wait(30, true)).collect();
        assert_eq!(looks, [false, false, false, false, true, true]);
    }

    #[test]
    fn a_long_wait_ends_it() {
        let mut turns = Turns::new(None);
        (0..6).for_each(|_| _ = turns.wait(30, true));
        assert!(turns.wait(1000, true));
        assert!(!turns.wait(30, true));
    }

    #[test]
    fn nobody_looks_on_for_longer_than_a_short_wait() {
        let mut turns = Turns::new(None);
        (0..6).for_each(|_| _ = turns.wait(30, true));
        assert!(turns.spin.looks_on(turns.now));
        assert!(!turns.spin.looks_on(turns.now.after(SHORT)));
    }

    #[test]
    fn who_waits_for_anything_else_sleeps_at_once() {
        let mut turns = Turns::new(None);
        assert!((0..20).all(|_| !turns.wait(30, false)));
    }

    #[test]
    fn a_time_that_has_been_set_holds_always() {
        let mut turns = Turns::new(Some(Duration::ZERO));
        assert!((0..20).all(|_| !turns.wait(30, true)));
        let mut turns = Turns::new(Some(Duration::from_millis(5)));
        assert!((0..20).all(|_| turns.wait(1000, false)));
    }
}
