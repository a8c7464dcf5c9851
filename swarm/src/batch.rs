//! Many seeds, on all cores.
#![allow(clippy::disallowed_methods, reason = "this is the harness, not what it simulates")]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{IsTerminal, Write},
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe, catch_unwind},
    process::{self, ExitCode},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use annulus_sim::Marks;
use serde::Serialize;

use crate::{
    args::Run,
    plan::MARKS,
    run::{Outcome, Settings, run as run_seed},
};

/// Failing seeds that are named in full.
const NAMED: usize = 10;

/// What a batch came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    seeds: u64,
    violations: u64,
    failing_seeds: Vec<u64>,
    /// What the first of them has seen first.
    first_violation: Option<String>,
    simulated_s: f64,
    wall_s: f64,
    marks_missed: Vec<&'static str>,
    messages: u64,
    asks: u64,
    answers: u64,
    events: u64,
    slowest_ask_ms: f64,
}

#[derive(Debug, Default)]
struct Sum {
    report: Report,
    marks: Marks,
    /// The violations of failing seeds.
    said: BTreeMap<u64, Vec<String>>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        let report = &mut self.report;
        report.seeds += 1;
        report.simulated_s += outcome.simulated.as_secs_f64();
        report.messages += outcome.sums.told + outcome.sums.asks;
        report.asks += outcome.sums.asks;
        report.answers += outcome.sums.answers;
        report.events += outcome.events;
        let slowest = outcome.sums.slowest_ask.as_secs_f64() * 1e3;
        report.slowest_ask_ms = report.slowest_ask_ms.max(slowest);
        self.marks.add(&outcome.marks);
        if !outcome.violations.is_empty() {
            report.violations += outcome.violations.len() as u64;
            report.failing_seeds.push(seed);
            if self.said.len() < NAMED {
                self.said.insert(seed, outcome.violations.clone());
            }
        }
    }
}

thread_local! {
    /// The first panic of the run on this thread.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics instead of printing them: those that the cluster contains count too.
fn note_panics() {
    panic::set_hook(Box::new(|info| {
        PANIC.with_borrow_mut(|first| {
            first.get_or_insert_with(|| info.to_string());
        });
    }));
}

/// One seed. A panic is a violation like any other.
fn run_caught(seed: u64, settings: &Settings, aloud: bool) -> Outcome {
    PANIC.take();
    let ran = catch_unwind(AssertUnwindSafe(|| run_seed(seed, settings, aloud)));
    let mut outcome = ran.unwrap_or_default();
    outcome.violations.extend(PANIC.take());
    outcome
}

/// The seeds that have failed once: a number, and what it found.
const KEPT: &str = include_str!("../../tests/seeds/swarm.txt");

/// The seeds that have failed once, and then those that are asked for.
fn seeds(args: &Run) -> Vec<u64> {
    let number = |line: &str| line.split_whitespace().next()?.parse().ok();
    let kept = KEPT.lines().filter_map(number).filter(|_| args.from == 0);
    let kept: Vec<u64> = kept.take(args.seeds as usize).collect();
    let others = (args.from..).filter(|seed| !kept.contains(seed));
    let others: Vec<u64> = others.take(args.seeds as usize - kept.len()).collect();
    [kept, others].concat()
}

/// How long one seed may take where a fault is planted: a simulation can hang in a loop.
const HANGS: Duration = Duration::from_secs(120);

/// The seeds that are being run, and since when.
type Running = Mutex<BTreeMap<u64, Instant>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with each seed, on all cores.
fn for_each_seed(args: &Run, running: &Running, work: impl Fn(u64) -> ControlFlow<()> + Sync) {
    note_panics();
    let seeds = seeds(args);
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let in_time = || args.minutes.is_none_or(|m| begun.elapsed() < Duration::from_secs(m * 60));
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while in_time() {
                    let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    lock(running).insert(*seed, Instant::now());
                    if work(*seed).is_break() {
                        next.store(seeds.len(), Ordering::Relaxed);
                    }
                    lock(running).remove(seed);
                }
            });
        }
    });
}

/// Runs a batch, shows how far it is, and prints what came of it.
pub(crate) fn run(args: &Run) -> ExitCode {
    let settings = args.settings();
    let begun = Instant::now();
    let (sum, running) = (Arc::<Mutex<Sum>>::default(), Arc::<Running>::default());
    if args.plant.is_some() {
        let (args, sum, running) = (args.clone(), sum.clone(), running.clone());
        thread::spawn(move || end_if_one_hangs(&args, begun, &sum, &running));
    }
    for_each_seed(args, &running, |seed| {
        let outcome = run_caught(seed, &settings, false);
        let mut sum = lock(&sum);
        sum.add(seed, &outcome);
        show_progress(&sum.report, args.seeds, begun);
        let enough = args.first && !outcome.violations.is_empty();
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let sum = std::mem::take(&mut *lock(&sum));
    if conclude(args, begun, sum) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends the program when a seed hangs: a thread cannot be ended.
fn end_if_one_hangs(args: &Run, begun: Instant, sum: &Mutex<Sum>, running: &Running) {
    loop {
        thread::sleep(Duration::from_secs(1));
        let hangs =
            lock(running).iter().find(|(_, since)| since.elapsed() > HANGS).map(|(s, _)| *s);
        if let Some(seed) = hangs {
            let mut sum = std::mem::take(&mut *lock(sum));
            let violations = vec![format!("hangs: it has not ended after {HANGS:?}")];
            sum.add(seed, &Outcome { violations, ..Outcome::default() });
            conclude(args, begun, sum);
            process::exit(1);
        }
    }
}

/// Prints what came of a batch. Returns whether all went well.
fn conclude(args: &Run, begun: Instant, sum: Sum) -> bool {
    let Sum { mut report, marks, said } = sum;
    report.failing_seeds.sort_unstable();
    report.first_violation = said.values().flatten().next().cloned();
    report.wall_s = begun.elapsed().as_secs_f64();
    if !args.calm {
        report.marks_missed = marks.missed(MARKS);
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    for (seed, violations) in &said {
        eprintln!("seed {seed}: {}", violations.join("\n  "));
    }
    if let Some(seed) = report.failing_seeds.first() {
        eprintln!(
            "to see it again: cargo run --release -p swarm -- --replay {seed} --time {}",
            args.time
        );
    }
    print(&report, args.json);
    report.violations == 0 && (report.marks_missed.is_empty() || report.seeds < 100)
}

fn show_progress(report: &Report, seeds: u64, begun: Instant) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let (wall, failing) = (begun.elapsed().as_secs_f64(), report.failing_seeds.len());
    let speed = report.simulated_s / wall;
    let (done, messages) = (report.seeds, report.messages);
    eprint!(
        "\r{done}/{seeds} seeds, {failing} failing, {messages} messages, {speed:.0} times real time "
    );
    // Progress that cannot be shown is no fault.
    let _ = std::io::stderr().flush();
}

pub(crate) fn print(report: &impl Serialize, json: bool) {
    let text =
        if json { serde_json::to_string(report) } else { serde_json::to_string_pretty(report) };
    println!("{}", text.unwrap_or_default());
}

/// Runs one seed aloud.
pub(crate) fn replay(seed: u64, args: &Run) -> ExitCode {
    note_panics();
    let outcome = run_caught(seed, &args.settings(), true);
    for violation in &outcome.violations {
        println!("{violation}");
    }
    for (mark, count) in outcome.marks.iter() {
        println!("{count:>8} {mark}");
    }
    let Outcome { simulated, events, trace, sums, .. } = &outcome;
    println!("{simulated:?}, {events} events, trace {trace:016x}, {sums:?}");
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether chance comes from the seed alone.
#[derive(Debug, Default, Serialize)]
struct Twice {
    seeds: u64,
    differing: Vec<u64>,
}

/// Runs each seed twice and compares what happened.
pub(crate) fn twice(args: &Run) -> ExitCode {
    let settings = args.settings();
    let report = Mutex::new(Twice::default());
    for_each_seed(args, &Running::default(), |seed| {
        let [first, second] = [0, 1].map(|_| {
            let outcome = run_caught(seed, &settings, false);
            (outcome.trace, outcome.events, outcome.simulated, outcome.violations)
        });
        let mut report = lock(&report);
        report.seeds += 1;
        if first != second {
            report.differing.push(seed);
        }
        ControlFlow::Continue(())
    });
    let report = lock(&report);
    print(&*report, args.json);
    if report.differing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
