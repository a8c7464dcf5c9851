//! P9: one exclusive section of an actor at a time.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Access, prelude::*};
use annulus_tests::{PATIENCE, Shared, ends, messages::*};

#[test]
fn p09_a_handler_can_be_suspended_many_times() {
    let node = Node::builder("ann").start().unwrap();
    let done = Shared::default();
    let worker = node.spawn(Worker::noting(&done)).unwrap();
    ends("five naps in a row", move || {
        node.run(async move || {
            for _ in 0..5 {
                worker.ask(Nap { millis: 1 }).await.unwrap();
            }
        })
        .unwrap();
        node.shutdown(PATIENCE).unwrap();
    });
    assert_eq!(done.all().iter().filter(|what| *what == "nap ends").count(), 5);
}

/// Notes when it begins and ends something, with an `.await` in between.
struct Careful {
    notes: Shared<String>,
    inside: bool,
}

/// Starts a task that enters the actor's state many times.
#[message]
struct Begin {
    task: u64,
    rounds: u64,
}

impl Actor for Careful {
    type Protocol = (Nap, Begin, Ping);
}

impl Careful {
    fn enter(&mut self, what: &str) {
        assert!(!self.inside, "two sections at once");
        self.inside = true;
        self.notes.push(format!("{what} in"));
    }

    fn leave(&mut self, what: &str) {
        self.inside = false;
        self.notes.push(format!("{what} out"));
    }
}

impl Handler<Nap> for Careful {
    async fn handle(&mut self, nap: Msg<Nap>, context: &mut Context<Self>) {
        self.enter("nap");
        for _ in 0..3 {
            context.sleep(Duration::from_millis(nap.millis.to_native())).await;
        }
        self.leave("nap");
    }
}

impl Handler<Ping> for Careful {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        self.enter("ping");
        self.leave("ping");
    }
}

impl Handler<Begin> for Careful {
    async fn handle(&mut self, begin: Msg<Begin>, context: &mut Context<Self>) {
        let (task, rounds) = (begin.task.to_native(), begin.rounds.to_native());
        context.task(move |careful: Access<Self>| async move {
            for _ in 0..rounds {
                let section = careful.with(move |careful, _| {
                    careful.enter(&format!("task {task}"));
                    careful.leave(&format!("task {task}"));
                });
                section.await.unwrap();
                sleep(Duration::from_micros(200)).await;
            }
            let notes = careful.with(|careful, _| careful.notes.clone()).await;
            notes.unwrap().push(format!("task {task} done"));
        });
    }
}

#[test]
fn p09_handlers_and_sections_of_tasks_never_overlap() {
    let node = Node::builder("ann").start().unwrap();
    let notes = Shared::default();
    let careful = Careful { notes: notes.clone(), inside: false };
    let careful = node.spawn(careful).unwrap();
    let other = node.spawn(Worker::default()).unwrap();
    let others = ends("naps, pings and tasks", move || {
        let others = node.run(async move || {
            for task in 0..3 {
                careful.ask(Begin { task, rounds: 20 }).await.unwrap();
            }
            let mut others = 0;
            for _ in 0..10 {
                careful.tell(Nap { millis: 1 }).unwrap();
                careful.tell(Ping).unwrap();
                // Another actor of the worker answers while this one sleeps.
                other.ask(Ping).await.unwrap();
                others += 1;
                careful.ask(Ping).await.unwrap();
            }
            others
        });
        node.run(async move || {
            // The tasks end too.
            while careful.ask(Ping).await.is_ok() {
                if others_done(&notes) {
                    return notes.all();
                }
                sleep(Duration::from_millis(1)).await;
            }
            panic!("the actor has ended")
        })
        .map(|notes| (others, notes))
    });
    let (others, notes) = others.unwrap();
    assert_eq!(others, Ok(10));
    let sections: Vec<&String> = notes.iter().filter(|note| !note.ends_with("done")).collect();
    for pair in sections.chunks_exact(2) {
        assert_eq!(pair[0].replace(" in", " out"), *pair[1]);
    }
    // Tasks take turns: they did not run one after the other.
    let first_done = notes.iter().position(|note| note == "task 0 done").unwrap();
    assert!(notes[..first_done].contains(&"task 1 in".into()));
}

fn others_done(notes: &Shared<String>) -> bool {
    let notes = notes.all();
    (0..3).all(|task| notes.contains(&format!("task {task} done")))
}

#[test]
fn p09_other_actors_run_while_one_is_suspended() {
    let node = Node::builder("ann").start().unwrap();
    let (slow, quick) = (Shared::default(), Shared::default());
    let sleeper = node.spawn(Worker::noting(&slow)).unwrap();
    let other = node.spawn(Worker::noting(&quick)).unwrap();
    let slow_then = slow.clone();
    let seen = node.run(async move || {
        sleeper.tell(Nap { millis: 60_000 }).unwrap();
        sleeper.tell(Ping).unwrap();
        while slow_then.is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        for number in 0..100 {
            other.ask(Number { number }).await.unwrap();
        }
        slow_then.all()
    });
    // The sleeper has handled nothing since, while the other has handled a hundred messages.
    assert_eq!(seen.unwrap(), ["nap begins"]);
    assert_eq!(quick.len(), 100);
}

#[test]
fn p09_a_section_asked_for_during_a_nap_runs_after_it() {
    let node = Node::builder("ann").start().unwrap();
    let notes = Shared::default();
    let careful = Careful { notes: notes.clone(), inside: false };
    let careful = node.spawn(careful).unwrap();
    let notes = ends("a nap with a section behind it", move || {
        node.run(async move || {
            careful.tell(Nap { millis: 5 }).unwrap();
            careful.tell(Begin { task: 0, rounds: 1 }).unwrap();
            careful.ask(Ping).await.unwrap();
        })
        .unwrap();
        notes.wait_for(7)
    });
    assert_eq!(notes[..2], ["nap in", "nap out"]);
    assert_eq!(notes[6], "task 0 done");
}
