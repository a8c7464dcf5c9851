//! Where actors are started, and what becomes of references when their place is taken by another one.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Limits, SpawnError, StopMode, TellError, prelude::*};
use annulus_tests::messages::*;

#[test]
fn spawn_takes_the_worker_with_the_fewest_actors() {
    let node = Node::builder("ann").workers(4).start().unwrap();
    for _ in 0..1000 {
        node.spawn(Worker::default()).unwrap();
    }
    let loads: Vec<usize> = node.stats().unwrap().iter().map(|stats| stats.actors).collect();
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    assert!(most - least <= 1, "{loads:?}");
    assert!(loads.iter().sum::<usize>() >= 1000);
}

/// Says where it is, and starts another one at its side.
struct Where;

#[message(reply = Place)]
struct Ask;

#[message]
struct Place {
    worker: u64,
    node: String,
    child: ActorRef<(Number, Ping, Nap, Fail)>,
}

impl Actor for Where {
    type Protocol = (Ask,);
}

impl Handler<Ask> for Where {
    async fn handle(&mut self, _: Msg<Ask>, context: &mut Context<Self>) -> Place {
        Place {
            worker: context.worker() as u64,
            node: context.node_name().into(),
            child: context.spawn(Worker::default()).unwrap(),
        }
    }
}

#[test]
fn spawn_on_takes_the_worker_that_it_is_told() {
    let node = Node::builder("ann").workers(3).start().unwrap();
    for worker in [2, 0, 1, 1] {
        let at = node.spawn_on(worker, Where).unwrap();
        let place = node.run(async move || at.ask(Ask).await.unwrap().decode()).unwrap();
        assert_eq!((place.worker, place.node.as_str()), (worker as u64, "ann"));
        assert_eq!(place.child.address().slot().worker(), worker);
        let asked = node.run(async move || place.child.ask(Ping).await.is_ok());
        assert_eq!(asked, Ok(true));
    }
}

#[test]
fn spawn_errors_say_what_is_wrong() {
    let limits = Limits { actors: 10, ..Limits::default() };
    let node = Node::builder("ann").workers(2).limits(limits).start().unwrap();
    let error = node.spawn_on(2, Worker::default()).unwrap_err();
    assert_eq!(error, SpawnError::NoSuchWorker { worker: 2, workers: 2 });
    assert!(error.to_string().contains("no worker 2"));
    let mut actors = Vec::new();
    let error = loop {
        match node.spawn_on(1, Worker::default()) {
            Ok(actor) => actors.push(actor),
            Err(error) => break error,
        }
    };
    assert_eq!(error, SpawnError::TooManyActors { max: 10 });
    assert_eq!(actors.len(), 9, "one belongs to the node");
    let last = actors[0];
    node.run(async move || {
        last.stop(StopMode::Kill).unwrap();
        let _ = last.join().await;
    })
    .unwrap();
    assert!(node.spawn_on(1, Worker::default()).is_ok(), "there is room again");
}

#[test]
fn a_reference_to_an_actor_that_has_ended_never_reaches_the_next_one_in_its_place() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    for at in 0..2 {
        let mut old: Vec<ActorRef<Work>> = Vec::new();
        for _ in 0..100 {
            let actor = node.spawn_on(at, Worker::default()).unwrap();
            if let Some(before) = old.last() {
                assert_eq!(before.address().slot(), actor.address().slot());
            }
            node.run(async move || {
                actor.ask(Ping).await.unwrap();
                actor.stop(StopMode::Stop).unwrap();
                let _ = actor.join().await;
            })
            .unwrap();
            old.push(actor);
        }
        let current = node.spawn_on(at, Worker::default()).unwrap();
        node.run(async move || {
            for old in old {
                assert_eq!(old.ask(Ping).await.map(|_| ()), Err(AskError::Dead));
                if at == 0 {
                    let told = old.tell(Ping).map_err(|undelivered| undelivered.reason);
                    assert_eq!(told, Err(TellError::Dead));
                }
            }
            current.ask(Ping).await.unwrap();
        })
        .unwrap();
    }
}
