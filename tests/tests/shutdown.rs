//! How nodes end: in order, with all work done and everything sent; or at once, when they are dropped.
//! Either way nothing is left behind.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use annulus::{ShutdownError, prelude::*};
use annulus_tests::{Over, PATIENCE, Pair, Shared, descriptors, ends, eventually, messages::*};

/// One test at a time: they count the descriptors of the process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("annulus-"))
        .count()
}

#[test]
fn a_graceful_shutdown_leaves_no_thread_and_no_descriptor() {
    let _turn = alone();
    // What the process opens once and keeps is open after the first round.
    for round in 0..5 {
        let before = descriptors();
        let pair = Pair::new([Over::Tcp, Over::Unix][round % 2], 2, 3);
        let worker = pair.ann.spawn(Worker::default()).unwrap();
        let asked = pair.bob.run(async move || worker.ask(Ping).await.is_ok());
        assert_eq!(asked, Ok(true));
        assert_eq!(threads(), 5);
        assert!(descriptors() > before);
        ends("the shutdown", move || pair.shut_down());
        assert_eq!(threads(), 0);
        if round > 0 {
            assert_eq!(descriptors(), before);
        }
    }
}

#[test]
fn a_node_that_is_dropped_leaves_no_thread_and_no_descriptor() {
    let _turn = alone();
    for round in 0..5 {
        let before = descriptors();
        let pair = Pair::new([Over::Tcp, Over::Unix][round % 2], 2, 3);
        let worker = pair.ann.spawn(Worker::default()).unwrap();
        let told = pair.bob.run(async move || {
            for _ in 0..1000 {
                worker.tell(Ping).unwrap();
            }
            worker.tell(Nap { millis: 60_000 }).is_ok()
        });
        assert_eq!(told, Ok(true));
        ends("the drop", move || drop(pair));
        assert_eq!(threads(), 0);
        if round > 0 {
            assert_eq!(descriptors(), before);
        }
    }
}

#[test]
fn a_shutdown_handles_what_is_queued_on_all_workers() {
    let _turn = alone();
    for at in 0..2 {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let done = Shared::default();
        let worker = node.spawn_on(at, Worker::noting(&done)).unwrap();
        node.run_on(0, async move || {
            worker.tell(Nap { millis: 30 }).unwrap();
            for number in 0..10_000 {
                worker.send(Number { number }).await.unwrap();
            }
        })
        .unwrap();
        let ended = ends("the shutdown", move || node.shutdown(PATIENCE));
        assert_eq!(ended, Ok(()));
        let done = done.all();
        assert_eq!(done.len(), 10_004, "on worker {at}");
        assert_eq!(done[10_001..], ["number 9999", "stopped", "dropped"]);
    }
}

#[test]
fn a_shutdown_sends_everything_that_was_told() {
    let _turn = alone();
    for over in [Over::Tcp, Over::Unix] {
        let pair = Pair::new(over, 1, 1);
        let taken = Shared::default();
        let sink = Sink { taken: taken.clone() };
        let sink = pair.ann.spawn(sink).unwrap();
        pair.bob
            .run(async move || {
                for number in 0..15 {
                    let filling = vec![number as u8; 1 << 20];
                    sink.tell(Parcel { sender: 0, number, filling }).unwrap();
                }
            })
            .unwrap();
        let bob = pair.bob;
        let ended = ends("the shutdown", move || bob.shutdown(PATIENCE));
        assert_eq!(ended, Ok(()));
        assert_eq!(taken.wait_for(15), (0..15).collect::<Vec<u64>>());
    }
}

/// Takes its time.
struct Sink {
    taken: Shared<u64>,
}

impl Actor for Sink {
    type Protocol = (Parcel,);
}

impl Handler<Parcel> for Sink {
    async fn handle(&mut self, parcel: Msg<Parcel>, context: &mut Context<Self>) -> Parcel {
        context.sleep(Duration::from_millis(2)).await;
        self.taken.push(parcel.number.to_native());
        Parcel { sender: 0, number: 0, filling: Vec::new() }
    }
}

#[test]
fn a_shutdown_that_takes_too_long_says_so_and_ends_all_the_same() {
    let _turn = alone();
    let node = Node::builder("ann").workers(2).start().unwrap();
    let done = Shared::default();
    let worker = node.spawn_on(1, Worker::noting(&done)).unwrap();
    let told = node.run(async move || worker.tell(Nap { millis: 60_000 }).is_ok());
    assert_eq!(told, Ok(true));
    eventually("the nap begins", || !done.is_empty());
    let within = Duration::from_millis(500);
    let begin = Instant::now();
    let ended = ends("the shutdown", move || node.shutdown(within));
    assert_eq!(ended, Err(ShutdownError::TimedOut { within }));
    // Not three times that.
    assert!(begin.elapsed() < 2 * within, "{:?}", begin.elapsed());
    assert_eq!(done.all(), ["nap begins", "dropped"]);
    assert_eq!(threads(), 0);
}
