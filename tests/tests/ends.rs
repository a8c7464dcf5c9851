//! P13: how actors end. Stop is after the current handler, drain after what is queued, kill at the next
//! `.await`; `join` comes after the actor was dropped.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Exit, StopMode, TellError, prelude::*};
use annulus_tests::{PATIENCE, Shared, comes_to_rest, ends, messages::*, start_polling, total};

type Ended = Result<(), AskError>;

/// What came of an actor that naps with two numbers and an ask behind it when it is told to end.
#[derive(Debug, PartialEq)]
struct Story {
    /// What it did until `join` resolved.
    done: Vec<String>,
    exit: Result<Exit, AskError>,
    /// The ask that waited in the mailbox.
    queued: Ended,
    /// An ask that came after the order.
    later: Ended,
    dead_letters: u64,
}

/// The order comes from worker 0; the actor is there, or on worker 1.
fn ended_by(mode: StopMode, worker: usize) -> Story {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let done = Shared::default();
    let actor = node.spawn_on(worker, Worker::noting(&done)).unwrap();
    ends("the order", move || {
        let (done, exit, queued, later) = node
            .run(async move || {
                actor.tell(Nap { millis: 30 }).unwrap();
                actor.tell(Number { number: 1 }).unwrap();
                let Err(queued) = start_polling(actor.ask(Number { number: 2 })).await else {
                    panic!("it ends at once")
                };
                while done.is_empty() {
                    sleep(Duration::from_millis(1)).await;
                }
                let Err(joined) = start_polling(actor.join()).await else { panic!("it has ended") };
                actor.stop(mode).unwrap();
                let later = actor.ask(Number { number: 3 }).await.map(|_| ());
                let exit = joined.await;
                // Nothing may come after this.
                let done = done.all();
                (done, exit, queued.await.map(|_| ()), later)
            })
            .unwrap();
        comes_to_rest(&node, u64::MAX);
        let dead_letters = total(&node, |stats| stats.dead_letters);
        node.shutdown(PATIENCE).unwrap();
        Story { done, exit, queued, later, dead_letters }
    })
}

const DEAD: Ended = Err(AskError::Dead);

fn done(what: &[&str]) -> Vec<String> {
    what.iter().map(|what| what.to_string()).collect()
}

#[test]
fn p13_stop_is_after_the_current_handler() {
    for worker in 0..2 {
        let story = ended_by(StopMode::Stop, worker);
        let all = ["nap begins", "nap ends", "stopped", "dropped"];
        let expected = Story {
            done: done(&all),
            exit: Ok(Exit::Stopped),
            queued: DEAD,
            later: DEAD,
            dead_letters: story.dead_letters,
        };
        assert_eq!(story, expected);
        // The two numbers that waited, and the late one where it could not be refused at once.
        assert!((2..=3).contains(&story.dead_letters));
    }
}

#[test]
fn p13_drain_is_after_what_is_queued_and_refuses_what_is_new() {
    for worker in 0..2 {
        let story = ended_by(StopMode::Drain, worker);
        let all = ["nap begins", "nap ends", "number 1", "number 2", "stopped", "dropped"];
        let expected = Story {
            done: done(&all),
            exit: Ok(Exit::Stopped),
            queued: Ok(()),
            later: DEAD,
            dead_letters: story.dead_letters,
        };
        assert_eq!(story, expected);
        assert!(story.dead_letters <= 1);
    }
}

#[test]
fn p13_kill_is_at_the_next_await() {
    for worker in 0..2 {
        let story = ended_by(StopMode::Kill, worker);
        let expected = Story {
            done: done(&["nap begins", "dropped"]),
            exit: Ok(Exit::Killed),
            queued: DEAD,
            later: DEAD,
            dead_letters: story.dead_letters,
        };
        assert_eq!(story, expected);
        assert!((2..=3).contains(&story.dead_letters));
    }
}

#[test]
fn p13_tells_to_an_ending_actor_of_the_same_worker_come_back() {
    let node = Node::builder("ann").start().unwrap();
    let actor = node.spawn(Worker::default()).unwrap();
    let told = node.run(async move || {
        actor.tell(Nap { millis: 50 }).unwrap();
        actor.stop(StopMode::Drain).unwrap();
        loop {
            match actor.tell(Number { number: 7 }) {
                Ok(()) => sleep(Duration::from_millis(1)).await,
                Err(undelivered) => break (undelivered.message.number, undelivered.reason),
            }
        }
    });
    assert_eq!(told, Ok((7, TellError::Dead)));
}

/// Ends itself, in two ways, and sends itself something before.
struct Leaves {
    done: Shared<u64>,
}

/// Whether to drain.
#[message]
struct Leave {
    drain: bool,
}

impl Actor for Leaves {
    type Protocol = (Leave, Number);
}

impl Handler<Leave> for Leaves {
    async fn handle(&mut self, leave: Msg<Leave>, context: &mut Context<Self>) {
        if leave.drain {
            context.drain();
        } else {
            context.stop();
        }
        self.done.push(0);
    }
}

impl Handler<Number> for Leaves {
    async fn handle(&mut self, number: Msg<Number>, context: &mut Context<Self>) -> Number {
        self.done.push(number.number.to_native());
        context.sleep(Duration::from_millis(2)).await;
        number.decode()
    }
}

#[test]
fn p13_an_actor_can_stop_or_drain_itself() {
    for (drain, expected) in [(false, vec![1, 0]), (true, vec![1, 0, 2, 3])] {
        let node = Node::builder("ann").start().unwrap();
        let done = Shared::default();
        let leaves = Leaves { done: done.clone() };
        let leaves = node.spawn(leaves).unwrap();
        let exit = node.run(async move || {
            // The first makes the others wait in the mailbox.
            leaves.tell(Number { number: 1 }).unwrap();
            leaves.tell(Leave { drain }).unwrap();
            leaves.tell(Number { number: 2 }).unwrap();
            leaves.tell(Number { number: 3 }).unwrap();
            leaves.join().await
        });
        assert_eq!(exit, Ok(Ok(Exit::Stopped)));
        assert_eq!(done.all(), expected);
    }
}

#[test]
fn p13_tasks_end_with_their_actor() {
    struct Guard(Shared<&'static str>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.push("task dropped");
        }
    }
    struct Tasked(Shared<&'static str>);
    impl Drop for Tasked {
        fn drop(&mut self) {
            self.0.push("actor dropped");
        }
    }
    impl Actor for Tasked {
        type Protocol = (Ping,);
        async fn started(&mut self, context: &mut Context<Self>) {
            let guard = Guard(self.0.clone());
            context.task(move |tasked| async move {
                let _guard = guard;
                loop {
                    tasked.with(|_, _| ()).await.unwrap();
                    sleep(Duration::from_micros(100)).await;
                }
            });
        }
    }
    impl Handler<Ping> for Tasked {
        async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
    }
    for mode in [StopMode::Stop, StopMode::Drain, StopMode::Kill] {
        let node = Node::builder("ann").start().unwrap();
        let notes = Shared::default();
        let tasked = node.spawn(Tasked(notes.clone())).unwrap();
        let at_join = node.run(async move || {
            tasked.ask(Ping).await.unwrap();
            tasked.stop(mode).unwrap();
            tasked.join().await.unwrap();
            notes.all()
        });
        let mut at_join = at_join.unwrap();
        at_join.sort_unstable();
        assert_eq!(at_join, ["actor dropped", "task dropped"]);
    }
}
