//! A million actors on one worker: each answers, little memory is needed for each, and the places of those that
//! have ended are used again, by others who are never taken for them.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Limits, StopMode, TellError, prelude::*, spawn};
use annulus_tests::{eventually, messages::Number, total, yield_now};

const COUNT: u64 = 1_000_000;

/// Adds up what it is told.
struct Sum {
    sum: u64,
}

impl Actor for Sum {
    type Protocol = (Number,);
}

impl Handler<Number> for Sum {
    async fn handle(&mut self, added: Msg<Number>, _: &mut Context<Self>) -> Number {
        self.sum += added.number.to_native();
        Number { number: self.sum }
    }
}

/// Bytes of memory of this process.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Each of them has been told its number, and says so.
async fn answers(actors: &[ActorRef<(Number,)>], step: usize) {
    for (number, actor) in actors.iter().enumerate().step_by(step) {
        let sum = actor.ask(Number { number: 1 }).await.unwrap();
        assert_eq!(sum.number.to_native(), number as u64 + 1);
    }
}

async fn start_many() -> Vec<ActorRef<(Number,)>> {
    let mut actors = Vec::with_capacity(COUNT as usize);
    for number in 0..COUNT {
        let actor = spawn(Sum { sum: 0 }).unwrap();
        actor.send(Number { number }).await.unwrap();
        actors.push(actor);
    }
    actors
}

#[test]
fn a_million_actors_live_on_one_worker_and_their_places_are_used_again() {
    let limits = Limits { actors: COUNT as usize + 100, ..Limits::default() };
    let node = Node::builder("ann").workers(1).limits(limits).start().unwrap();
    let living = |node: &Node| total(node, |stats| stats.actors as u64);
    let own = living(&node);
    let before = resident();
    let first = node.run(async || {
        let first = start_many().await;
        answers(&first, 1).await;
        first
    });
    let first = first.unwrap();
    assert_eq!(living(&node), own + COUNT);
    let each = (resident() - before) / COUNT;
    println!("{each} bytes of memory for each actor");
    assert!(each < 1024, "{each} bytes for each actor");

    let ended = first.clone();
    node.run(async move || {
        for actor in &ended {
            while let Err(refused) = actor.stop(StopMode::Stop) {
                assert_eq!(refused, TellError::Full);
                yield_now().await;
            }
        }
    })
    .unwrap();
    eventually("all have ended", || living(&node) == own);

    let second = node.run(async move || {
        let second = start_many().await;
        let slot = |actor: &ActorRef<(Number,)>| actor.address().slot().index();
        let highest = |actors: &[_]| actors.iter().map(slot).max();
        assert!(highest(&second) <= highest(&first), "no new places are needed");
        for actor in first.iter().step_by(101) {
            let refused = actor.tell(Number { number: 1 }).unwrap_err();
            assert_eq!(refused.reason, TellError::Dead);
        }
        answers(&second, 101).await;
    });
    second.unwrap();
}
