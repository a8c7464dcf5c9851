//! Simulated clusters of real actors.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::prelude::*;
use annulus_sim::{Faults, Leftovers, Random, Sim, sim_test};

#[message(reply = Number)]
#[derive(Debug)]
struct Number {
    number: u64,
}

struct Echo;

impl Actor for Echo {
    type Protocol = (Number,);
}

impl Handler<Number> for Echo {
    async fn handle(&mut self, number: Msg<Number>, _: &mut Context<Self>) -> Number {
        number.decode()
    }
}

const ECHO: Name<(Number,)> = Name::new("echo");

async fn set_up(_: annulus::NodeHandle) {
    let echo = annulus::spawn(Echo).unwrap();
    ECHO.register(echo).await.unwrap();
}

fn cluster(sim: &mut Sim, nodes: usize, workers: usize) -> Vec<String> {
    for index in 0..nodes {
        sim.node(&format!("n{index}"), workers, |node| node, set_up);
    }
    sim.names()
}

/// Asks from the first node; the number of right answers.
fn asks(sim: &mut Sim, to: &str, count: u64) -> u64 {
    let to = to.to_owned();
    let answered = sim.run_on("n0", async move || {
        let Ok(echo) = ECHO.find_on(&to, Duration::from_secs(30)).await else { return 0 };
        let mut right = 0;
        for number in 0..count {
            if let Ok(answer) = echo.ask(Number { number }).await {
                assert_eq!(answer.decode().number, number);
                right += 1;
            }
        }
        right
    });
    answered.unwrap_or(0)
}

#[sim_test(seeds = 30)]
fn nodes_find_each_other_and_answer(sim: &mut Sim) {
    cluster(sim, 3, 2);
    assert_eq!(asks(sim, "n1", 50), 50);
    assert_eq!(asks(sim, "n2", 50), 50);
    assert_eq!(sim.end(), Leftovers::default());
}

#[sim_test(seeds = 30)]
fn a_killed_node_is_used_again(sim: &mut Sim) {
    cluster(sim, 3, 2);
    assert_eq!(asks(sim, "n2", 5), 5);
    sim.kill("n2").run_for(Duration::from_secs(2));
    sim.restart("n2");
    assert_eq!(asks(sim, "n2", 5), 5);
    sim.cut_power("n2").run_for(Duration::from_secs(2));
    sim.restart("n2").run_for(Duration::from_secs(10));
    assert_eq!(asks(sim, "n2", 5), 5);
    assert_eq!(sim.end(), Leftovers::default());
}

#[sim_test(seeds = 30)]
fn a_partition_heals(sim: &mut Sim) {
    cluster(sim, 3, 1);
    assert_eq!(asks(sim, "n2", 5), 5);
    sim.partition(&["n0"], &["n1", "n2"]).run_for(Duration::from_secs(20));
    sim.heal().run_for(Duration::from_secs(10));
    assert_eq!(asks(sim, "n2", 5), 5);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut sim = Sim::with(seed, Faults::swarm(&mut Random::new(seed)), false);
        cluster(&mut sim, 3, 2);
        asks(&mut sim, "n1", 20);
        sim.run_for(Duration::from_secs(5));
        (sim.trace_hash(), sim.events())
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}
