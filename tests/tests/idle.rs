//! A node that has nothing to do does nothing: it sleeps in the kernel, and wakes for signs of life.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    process::Command,
    sync::{Mutex, MutexGuard},
    thread,
    time::Instant,
};

use annulus::prelude::*;
use annulus_tests::{
    PATIENCE,
    children::{Process, processor_time},
    messages::{Number, Work, Worker},
};

/// One test at a time: they measure.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A node in a process of its own, and where it listens.
fn start(arguments: &[&str]) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
    let command = command.args(["workers", "2", "listen", "tcp://127.0.0.1:0"]).args(arguments);
    let child = Process::start(command);
    let line = child.line();
    let endpoint = line.strip_prefix("ready ").expect(&line).to_string();
    (child, endpoint)
}

#[test]
fn an_idle_node_uses_next_to_no_processor_time() {
    let _turn = alone();
    let (child, endpoint) = start(&[]);
    let node = Node::builder("ann").workers(2).join(endpoint).start().unwrap();
    node.wait_for("child", PATIENCE).unwrap();
    let before = child.processor_time();
    // This is the one wait of a fixed length: it is what is measured.
    thread::sleep(Duration::from_secs(2));
    let used = child.processor_time() - before;
    // A tick is 10 ms: 2% of one core in 2 s are 4 of them.
    assert!(used <= 4, "{used} ticks in two seconds");
    node.wait_for("child", PATIENCE).unwrap();
}

#[test]
fn r62_an_idle_cluster_of_three_processes_uses_less_than_a_hundredth_of_a_core() {
    let _turn = alone();
    let (ann, at) = start(&["name", "ann", "meets", "bob", "meets", "cid"]);
    let (bob, _) = start(&["name", "bob", "join", &at, "meets", "ann", "meets", "cid"]);
    // It hears of the second from the first.
    let (cid, _) = start(&["name", "cid", "join", &at, "meets", "ann", "meets", "bob"]);
    let nodes = [ann, bob, cid];
    for node in &nodes {
        assert!(node.line().starts_with("met ") && node.line().starts_with("met "));
    }
    let ticks = || nodes.iter().map(Process::processor_time).sum::<u64>();
    let (before, begin) = (ticks(), Instant::now());
    // What is measured takes its time: no condition ends it early.
    thread::sleep(Duration::from_secs(10));
    let (used, elapsed) = (ticks() - before, begin.elapsed());
    println!("{used} ticks of 10 ms in {elapsed:?}");
    // A hundredth of a core is one tick a second.
    assert!(used < elapsed.as_secs(), "{used} ticks in {elapsed:?}");
}

/// Workers that have slept for long, and nothing else of theirs is awake either.
#[test]
fn r62_workers_that_were_idle_for_long_answer_a_thread_and_another_worker() {
    const EACH: usize = 8;
    const IDLE: Duration = Duration::from_secs(10);
    let _turn = alone();
    let node = Node::builder("ann").workers(1 + 2 * EACH).start().unwrap();
    let spawn = |worker| node.spawn_on(worker, Worker::default()).unwrap();
    let actors: Vec<_> = (1..=2 * EACH).map(spawn).collect();
    let ticks = || processor_time(std::process::id());
    let before = ticks();
    // What is measured takes its time: no condition ends it early.
    thread::sleep(IDLE);
    let used = ticks() - before;
    // Each is asked once, when it has slept all that time: half of them by this thread.
    let (by_thread, by_worker) = actors.split_at(EACH);
    let ask = |(at, actor): (usize, &ActorRef<_>)| {
        let (actor, begin) = (*actor, Instant::now());
        let asked = node.run_on(1 + at, async move || asks(actor, at as u64).await);
        (asked.unwrap(), begin.elapsed())
    };
    let mut from_thread: Vec<_> = by_thread.iter().enumerate().map(ask).collect();
    let by_worker = by_worker.to_vec();
    let asked = node.run_on(0, async move || {
        let mut answers = Vec::new();
        for actor in by_worker {
            let begin = Instant::now();
            answers.push((asks(actor, answers.len() as u64).await, begin.elapsed()));
        }
        answers
    });
    let mut from_worker = asked.unwrap();
    println!("{used} ticks of 10 ms in {IDLE:?}");
    for (who, answers) in [("thread", &mut from_thread), ("worker", &mut from_worker)] {
        answers.sort_by_key(|(_, took)| *took);
        let (median, worst) = (answers[EACH / 2].1, answers[EACH - 1].1);
        println!("asked by a {who}: median {median:?}, worst {worst:?}, of {EACH}");
        assert!(answers.iter().all(|(answered, _)| *answered));
    }
    // A hundredth of a core is one tick a second.
    assert!(used < IDLE.as_secs(), "{used} ticks in {IDLE:?}");
    node.shutdown(PATIENCE).unwrap();
}

/// Whether an actor answers a number with itself.
async fn asks(actor: ActorRef<Work>, number: u64) -> bool {
    actor.ask(Number { number }).await.is_ok_and(|answer| answer.number == number)
}
