//! Simulated clusters of real actors.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{TellError, prelude::*};
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

#[sim_test(seeds = 30)]
fn p05_references_from_before_a_partition_are_dead_after_it(sim: &mut Sim) {
    cluster(sim, 2, 2);
    let find = async || ECHO.find_on("n1", Duration::from_secs(30)).await.unwrap();
    let old = sim.run_on("n0", find).unwrap();
    for _ in 0..2 {
        sim.partition(&["n0"], &["n1"]).run_for(Duration::from_secs(20));
        sim.heal().run_for(Duration::from_secs(10));
        let seen = sim.run_on("n0", async move || {
            let told = old.tell(Number { number: 1 }).map_err(|undelivered| undelivered.reason);
            let asked = old.ask(Number { number: 2 }).await.map(|_| ());
            let found = ECHO.find_on("n1", Duration::from_secs(30)).await.unwrap();
            (told, asked, found == old, found.ask(Number { number: 3 }).await.is_ok())
        });
        assert_eq!(seen, Ok((Err(TellError::Dead), Err(AskError::Dead), false, true)));
    }
}

/// Says which actor it is, and asks whoever is brought to it.
struct Host;

#[message(reply = Guest)]
struct Visit {}

#[message(reply = Number)]
struct Guest {
    actor: ActorRef<(Number,)>,
}

impl Actor for Host {
    type Protocol = (Visit, Guest);
}

impl Handler<Visit> for Host {
    async fn handle(&mut self, _: Msg<Visit>, _: &mut Context<Self>) -> Guest {
        Guest { actor: annulus::spawn(Echo).unwrap() }
    }
}

impl Handler<Guest> for Host {
    async fn handle(&mut self, guest: Msg<Guest>, _: &mut Context<Self>) -> Number {
        let asked = guest.decode().actor.ask(Number { number: 7 }).await;
        Number { number: asked.map_or(0, |answer| answer.number.to_native()) }
    }
}

const HOST: Name<(Visit, Guest)> = Name::new("host");

/// References that come in messages are good, also from a node that was lost before, and so are those that
/// are passed on to a third node or go home.
#[sim_test(seeds = 30)]
fn p05_references_in_messages_are_of_the_session_that_stands(sim: &mut Sim) {
    for node in ["n0", "n1", "n2"] {
        sim.node(
            node,
            2,
            |node| node,
            async |_| {
                HOST.register(annulus::spawn(Host).unwrap()).await.unwrap();
            },
        );
    }
    let pass_around = async || {
        let away = HOST.find_on("n1", Duration::from_secs(30)).await?;
        let third = HOST.find_on("n2", Duration::from_secs(30)).await?;
        let guest = away.ask(Visit {}).await?.decode().actor;
        let own = annulus::spawn(Echo).unwrap();
        let mut right = guest.ask(Number { number: 7 }).await?.number == 7;
        for (host, actor) in [(away, guest), (third, guest), (away, own), (third, own)] {
            right &= host.ask(Guest { actor }).await?.number == 7;
        }
        Ok::<_, Error>(right)
    };
    for _ in 0..3 {
        assert!(sim.run_on("n0", pass_around).unwrap().unwrap());
        sim.partition(&["n0"], &["n1"]).run_for(Duration::from_secs(20));
        sim.heal().run_for(Duration::from_secs(10));
    }
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
