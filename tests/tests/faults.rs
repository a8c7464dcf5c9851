//! A panic is contained: it ends its actor or its task, is reported by name, and nothing else notices.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use annulus::{Exit, SpawnError, prelude::*};
use annulus_tests::{PATIENCE, Shared, comes_to_rest, ends, log::Mark, messages::*};

fn lives(node: &Node) -> bool {
    let workers = 0..node.workers();
    workers.into_iter().all(|at| {
        let worker = node.spawn_on(at, Worker::default());
        worker
            .is_ok_and(|worker| node.run(async move || worker.ask(Ping).await.is_ok()) == Ok(true))
    })
}

#[test]
fn a_panic_in_a_handler_ends_its_actor_only_and_is_reported_by_name() {
    let mark = Mark::now();
    let node = Node::builder("ann").workers(2).start().unwrap();
    for at in 0..2 {
        let (done, others) = (Shared::default(), Shared::default());
        let failing = node.spawn_on(at, Worker::noting(&done)).unwrap();
        let other = node.spawn_on(at, Worker::noting(&others)).unwrap();
        let exit = node.run(async move || {
            other.ask(Number { number: 1 }).await.unwrap();
            failing.tell(Fail).unwrap();
            let exit = failing.join().await;
            other.ask(Number { number: 2 }).await.unwrap();
            exit
        });
        // `join` may come after the end.
        let exit = exit.unwrap();
        assert!(matches!(exit, Ok(Exit::Panicked) | Err(AskError::Dead)), "{exit:?}");
        assert_eq!(done.all(), ["fails", "dropped"]);
        assert_eq!(others.all(), ["number 1", "number 2"]);
    }
    mark.wait_for(&["ERROR", "annulus_tests::messages::Worker", "as it was told to"]);
    assert!(lives(&node));
    comes_to_rest(&node, u64::MAX);
    node.shutdown(PATIENCE).unwrap();
}

/// Panics wherever it is told to.
struct Fragile {
    place: &'static str,
    /// Whether its task has begun.
    begun: Arc<AtomicBool>,
}

impl Actor for Fragile {
    type Protocol = (Ping, Number);

    async fn started(&mut self, context: &mut Context<Self>) {
        let (place, begun) = (self.place, self.begun.clone());
        let begins = move || begun.store(true, Ordering::Relaxed);
        match place {
            "started" => panic!("in {place}"),
            "task" => context.task(async move |_| {
                begins();
                panic!("in {place}")
            }),
            "section" => context.task(async move |fragile| {
                begins();
                let ran = fragile.with(move |_, _| panic!("in {place}"));
                let _: Result<(), _> = ran.await;
            }),
            _ => {}
        }
    }

    async fn stopped(&mut self, _: &mut Context<Self>) {
        assert!(self.place != "stopped", "in stopped");
    }
}

impl Handler<Ping> for Fragile {
    async fn handle(&mut self, _: Msg<Ping>, context: &mut Context<Self>) {
        context.stop();
    }
}

impl Handler<Number> for Fragile {
    async fn handle(&mut self, number: Msg<Number>, context: &mut Context<Self>) -> Number {
        // An actor may be stopped before its task has begun.
        while matches!(self.place, "task" | "section") && !self.begun.load(Ordering::Relaxed) {
            context.sleep(Duration::from_millis(1)).await;
        }
        if self.place == "after a nap" {
            context.sleep(Duration::from_millis(1)).await;
            panic!("in after a nap");
        }
        number.decode()
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(self.place != "drop", "in drop");
    }
}

#[test]
fn a_panic_anywhere_in_an_actor_is_contained() {
    let node = Node::builder("ann").start().unwrap();
    for place in ["started", "section", "task", "stopped", "drop", "after a nap"] {
        let mark = Mark::now();
        let fragile = node.spawn(Fragile { place, begun: Arc::default() }).unwrap();
        ends(place, {
            let ended = node.run(async move || {
                let number = fragile.ask(Number { number: 1 }).await.is_ok();
                // It is stopped, if it still lives.
                let _ = fragile.ask(Ping).await;
                let _ = fragile.join().await;
                number
            });
            move || ended.unwrap()
        });
        mark.wait_for(&["ERROR", "annulus"]);
        assert!(lives(&node), "after a panic in {place}");
    }
    node.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_panic_in_a_future_given_to_a_node_is_its_own() {
    let node = Node::builder("ann").start().unwrap();
    let ran = node.run(async || {
        if Duration::ZERO.is_zero() {
            panic!("in a future");
        }
    });
    assert_eq!(ran, Err(annulus::RunError::Ended));
    assert!(lives(&node));
}

#[test]
fn a_panic_while_an_actor_is_made_is_contained() {
    let node = Node::builder("ann").start().unwrap();
    let spawned = node.spawn_with(0, || -> Worker { panic!("while it is made") });
    assert_eq!(spawned.err(), Some(SpawnError::Panicked));
    let node = ends("the node goes on", move || {
        assert!(lives(&node));
        node
    });
    node.shutdown(PATIENCE).unwrap();
}
