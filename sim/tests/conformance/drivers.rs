//! Runs a script on either driver, and compares.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use annulus::transport::{
    driver::Wait,
    io::Io,
    ring::{RingConfig, RingDriver},
};
use annulus_sim::{Faults, Leftovers, bare::BareWorld};

pub(crate) use crate::join::join;

use crate::bench::Bench;

/// Worlds that a script runs in.
const SEEDS: u64 = 40;

/// No script takes longer, in the time of its driver.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the workers of a kernel wait at most while both of them have something to do.
const PAUSE: Duration = Duration::from_millis(1);

/// A script in the making.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs a script on both drivers, and compares what it notes.
#[track_caller]
pub(crate) fn compare(script: impl Fn(&Bench) -> Running<'_>) {
    let real = on_kernel(&RingConfig::default(), &script);
    assert!(!real.is_empty(), "a script that notes nothing shows nothing");
    // How large the queues are, and how doorbells ring, changes nothing.
    let tiny =
        RingConfig { entries: 4, cq_entries: 4, force_eventfd: true, ..RingConfig::default() };
    assert_eq!(on_kernel(&tiny, &script), real, "left is what a tiny ring does");
    for seed in 0..SEEDS {
        let simulated = in_world(seed, &script);
        let both = (0..real.len().max(simulated.len())).map(|at| (real.get(at), simulated.get(at)));
        let differences: Vec<_> = both.filter(|(real, simulated)| real != simulated).collect();
        assert!(
            differences.is_empty(),
            "seed {seed}: the kernel, and the simulator:\n{differences:#?}\nall of it: {real:#?}"
        );
    }
}

fn on_kernel(config: &RingConfig, script: &impl Fn(&Bench) -> Running<'_>) -> Vec<String> {
    let dir = Dir::new();
    let mut drivers = [(); 2].map(|()| RingDriver::new(config).unwrap());
    let bells = drivers.each_ref().map(RingDriver::ring_bell);
    drivers[0].set_peers(vec![None, Some(bells[1].clone())]);
    drivers[1].set_peers(vec![Some(bells[0].clone()), None]);
    let [io, other] = drivers.map(Io::new);
    let bench = Bench::new(io.clone(), other.clone(), dir.0.clone(), false);
    let end = io.now().after(PATIENCE);
    let enter = |io: &Io, wait| {
        let mut woken = Vec::new();
        io.enter(wait, &mut woken).unwrap();
        woken.into_iter().for_each(Waker::wake);
    };
    drive(script(&bench), |busy| {
        assert!(io.now() < end, "the kernel's side hangs after {:?}", bench.notes());
        // A worker that waits does not hear what comes for the other one.
        let alone = other.in_flight() == 0 && !bench.uses_other();
        if !alone {
            enter(&other, Wait::No);
        }
        let until = if alone { end } else { io.now().after(PAUSE) };
        enter(&io, if busy { Wait::No } else { Wait::Until(Some(until)) });
    });
    for io in [&io, &other] {
        io.quiesce(PATIENCE).unwrap();
        assert_eq!(io.in_flight(), 0);
    }
    bench.notes()
}

fn in_world(seed: u64, script: &impl Fn(&Bench) -> Running<'_>) -> Vec<String> {
    // Every other world is one where bytes come in small pieces.
    let mut faults = Faults::default();
    if seed % 2 == 1 {
        faults = Faults { short: 0.5, window: 4096, late_bell: 0.5, ..faults };
    }
    let mut world = BareWorld::new(seed, faults);
    let [io, other] = world.host(2).try_into().unwrap();
    let bench = Bench::new(io.clone(), other.clone(), "/data".into(), true);
    drive(script(&bench), |_| {
        let happened = world.step(PATIENCE);
        assert!(happened, "seed {seed}: the simulator's side hangs after {:?}", bench.notes());
    });
    for io in [&io, &other] {
        io.quiesce(PATIENCE).unwrap();
        assert_eq!(io.in_flight(), 0);
    }
    let notes = bench.notes();
    drop(bench);
    // What is under way comes to its end.
    let end = world.now() + Duration::from_secs(1);
    while world.step(end) {}
    assert_eq!(world.leftovers(), Leftovers::default(), "seed {seed}");
    notes
}

/// Polls a script when it was woken, and lets the driver work in between. `turn` is told whether the
/// script has more to do at once.
fn drive(mut script: Running<'_>, mut turn: impl FnMut(bool)) {
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(flag.clone());
    loop {
        if flag.0.swap(false, Ordering::Relaxed)
            && let Poll::Ready(()) = script.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return;
        }
        turn(flag.0.load(Ordering::Relaxed));
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A directory that is removed in the end. Its path is short, as those of sockets have to be.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("annulus-conformance-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Polls a future once, so that its operation starts.
pub(crate) fn begin<F: Future>(future: Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}
