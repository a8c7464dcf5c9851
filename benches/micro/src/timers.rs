//! The timer wheel.

use annulus::transport::{
    driver::Mono,
    timer::{TICK, TimerKey, TimerWheel},
};

use crate::{LAP, Work};

/// Puts timers into the wheel, due within 13 seconds.
pub struct Insert(TimerWheel<usize>);

impl Work for Insert {
    fn prepare() -> Self {
        let (mut wheel, keys) = full();
        for key in keys {
            wheel.cancel(key);
        }
        Insert(wheel)
    }

    fn lap(&mut self) {
        for number in 0..LAP {
            self.0.insert(deadline(number), number);
        }
    }
}

/// Takes timers out again.
pub struct Cancel {
    wheel: TimerWheel<usize>,
    keys: Vec<TimerKey>,
}

impl Work for Cancel {
    fn prepare() -> Self {
        let (wheel, keys) = full();
        Cancel { wheel, keys }
    }

    fn lap(&mut self) {
        for key in &self.keys {
            assert!(self.wheel.cancel(*key).is_some());
        }
    }
}

/// Lets timers expire, one after the other.
pub struct Expire {
    wheel: TimerWheel<usize>,
    expired: Vec<(TimerKey, usize)>,
}

impl Work for Expire {
    fn prepare() -> Self {
        Expire { wheel: full().0, expired: Vec::with_capacity(LAP) }
    }

    fn lap(&mut self) {
        while let Some(deadline) = self.wheel.next_deadline() {
            self.wheel.expire(deadline, &mut self.expired);
        }
        assert_eq!(self.expired.len(), LAP);
    }
}

fn full() -> (TimerWheel<usize>, Vec<TimerKey>) {
    let mut wheel = TimerWheel::new(Mono(0));
    let keys = (0..LAP).map(|number| wheel.insert(deadline(number), number)).collect();
    (wheel, keys)
}

/// Deadlines on several levels of the wheel.
fn deadline(number: usize) -> Mono {
    Mono((number as u64 + 1) * 199 * TICK)
}
