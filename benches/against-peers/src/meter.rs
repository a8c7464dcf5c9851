//! Times a work, and counts the processor time that it takes.

use std::{
    mem::MaybeUninit,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::alloc;

/// What a child process has measured.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// What was done, in the unit of the work.
    pub(crate) ops: u64,
    pub(crate) wall_nanos: f64,
    /// Of all threads of the process.
    pub(crate) cpu_nanos: f64,
    /// Of the thread that measures, which is the first worker's.
    pub(crate) thread_cpu_nanos: f64,
    /// Allocated for what is counted, if the work counts bytes.
    pub(crate) bytes: Option<f64>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Meter {
    target: Duration,
    quick: bool,
    measured: Option<Measured>,
}

/// How much of the time is spent on warming up, at least.
const WARM_UP: u32 = 5;

impl Meter {
    pub(crate) fn new(target: Duration, quick: bool) -> Self {
        Meter { target, quick, measured: None }
    }

    /// The size of a work that cannot be repeated in small parts.
    pub(crate) fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Runs laps of `ops` operations until the time is up. What a lap returns must be `expected`: it is
    /// what shows that the work was done.
    pub(crate) async fn time(
        &mut self,
        ops: u64,
        expected: u64,
        mut lap: impl AsyncFnMut() -> u64,
    ) {
        let mut check = async || assert_eq!(lap().await, expected, "the work was not done");
        let warm_up = Instant::now();
        while warm_up.elapsed() < self.target / WARM_UP {
            check().await;
        }
        let (cpu, thread_cpu) = (cpu_time(libc::RUSAGE_SELF), cpu_time(libc::RUSAGE_THREAD));
        let start = Instant::now();
        let mut laps = 0;
        while start.elapsed() < self.target {
            check().await;
            laps += 1;
        }
        self.measured = Some(Measured {
            wall_nanos: start.elapsed().as_nanos() as f64,
            cpu_nanos: cpu_time(libc::RUSAGE_SELF) - cpu,
            thread_cpu_nanos: cpu_time(libc::RUSAGE_THREAD) - thread_cpu,
            ops: laps * ops,
            bytes: None,
        });
    }

    /// Counts the bytes that are allocated for `things` while `make` makes them, and are still held
    /// when it has.
    pub(crate) async fn weigh(&mut self, things: u64, make: impl AsyncFnOnce()) {
        alloc::count();
        let before = alloc::bytes();
        make().await;
        let bytes = (alloc::bytes() - before) as f64;
        self.measured = Some(Measured { ops: things, bytes: Some(bytes), ..Measured::default() });
    }

    /// What was measured.
    ///
    /// # Panics
    /// If nothing was.
    pub(crate) fn into_measured(self) -> Measured {
        self.measured.expect("the work has been measured")
    }
}

/// Processor time so far, in nanoseconds: user and system.
fn cpu_time(who: libc::c_int) -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a valid place for one rusage.
    let result = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    assert_eq!(result, 0, "getrusage knows `who`");
    // SAFETY: all bits zero are a valid rusage, and the kernel has written another one over it.
    let usage = unsafe { usage.assume_init() };
    let nanos = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
    nanos(usage.ru_utime) + nanos(usage.ru_stime)
}
