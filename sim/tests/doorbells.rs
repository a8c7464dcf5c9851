//! How often workers that sleep are woken for asks and answers.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::time::Duration;

use annulus::{AskError, Pinning, prelude::*};
use annulus_sim::Sim;

#[message(reply = Answer)]
struct Question(Vec<u8>);

#[message]
struct Answer(u64);

struct Server;

impl Actor for Server {
    type Protocol = (Question,);
}

impl Handler<Question> for Server {
    async fn handle(&mut self, question: Msg<Question>, _: &mut Context<Self>) -> Answer {
        Answer(question.0.len() as u64)
    }
}

const ASKS: u64 = 100;

/// A node whose second worker has a server, and sleeps like the first one.
fn node(pinning: Pinning) -> (Sim, ActorRef<(Question,)>) {
    let mut sim = Sim::new(1);
    sim.node("ann", 2, move |node| node.pin(pinning.clone()), async |_| ());
    sim.run_for(Duration::from_secs(1));
    let node = sim.handle("ann").unwrap();
    let server = sim.drive(node.spawn_on(1, Server)).unwrap();
    sim.run_for(Duration::from_secs(1));
    (sim, server)
}

/// Doorbells that each worker has rung for another.
fn rung(sim: &Sim) -> Vec<u64> {
    sim.stats("ann").iter().map(|worker| worker.doorbells_rung).collect()
}

#[test]
fn an_ask_to_a_worker_that_sleeps_costs_one_doorbell_and_its_answer_another() {
    for pinning in [Pinning::None, Pinning::Cores(vec![0, 0]), Pinning::Cores(vec![0, 1])] {
        let (mut sim, server) = node(pinning.clone());
        let before = rung(&sim);
        let heard = sim.run_on("ann", async move || {
            for len in 0..ASKS {
                let answer = server.ask(Question(vec![0; len as usize])).await?;
                assert_eq!(answer.0.to_native(), len);
            }
            Ok::<_, AskError>(())
        });
        assert_eq!(heard, Ok(Ok(())));
        let after = rung(&sim);
        assert_eq!([after[0] - before[0], after[1] - before[1]], [ASKS; 2], "{pinning:?}");
    }
}
