//! How fast simulated time passes: a plain cluster in which nothing goes wrong, in one thread.
#![allow(clippy::disallowed_methods, reason = "this is the harness, not what it simulates")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use annulus::{now, prelude::*, spawn};
use annulus_sim::{Checks, Random, Sim, Sums};
use serde::Serialize;

use crate::{actors::Say, args::Pace, batch::print};

const ECHO: Name<(Say,)> = Name::new("echo");

/// Bytes of a text that is to be sent back.
const TEXT: usize = 64;

/// How long an ask takes at most. Bytes are under way for half a millisecond at most in each direction.
const BOUND: Duration = Duration::from_millis(50);

/// How long nodes have to find each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// How fast it was.
#[derive(Debug, Serialize)]
struct Report {
    nodes: u8,
    simulated_s: f64,
    wall_s: f64,
    /// Simulated time over real time.
    times: f64,
    /// Asks that have been answered.
    asks: u64,
    asks_per_simulated_s: f64,
    events: u64,
}

/// Runs a cluster in which everybody asks everybody else, and prints how fast it was.
pub(crate) fn pace(args: &Pace) -> ExitCode {
    let begun = Instant::now();
    let (sim, sums) = simulate(args);
    let wall_s = begun.elapsed().as_secs_f64();
    let simulated_s = sim.now().as_secs_f64();
    let report = Report {
        nodes: args.nodes,
        simulated_s,
        wall_s,
        times: simulated_s / wall_s,
        asks: sums.answers,
        asks_per_simulated_s: sums.answers as f64 / simulated_s,
        events: sim.events(),
    };
    print(&report, args.json);
    sums.violations.iter().for_each(|violation| eprintln!("{violation}"));
    let well = sums.violations.is_empty() && sums.answers > 0;
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn simulate(args: &Pace) -> (Sim, Sums) {
    let checks = Checks::default();
    let mut sim = Sim::new(args.seed);
    let names: Vec<String> = (0..args.nodes).map(|node| format!("n{node}")).collect();
    for name in &names {
        let neighbour = Neighbour {
            checks: checks.clone(),
            others: names.iter().filter(|other| *other != name).cloned().collect(),
            think: Duration::from_millis(args.think),
            random: sim.random().fork(),
        };
        sim.node(name, 1, |node| node, async move |_| neighbour.move_in().await);
    }
    sim.run_for(Duration::from_secs(args.time));
    let sums = checks.sums();
    (sim, sums)
}

/// Sends back what is said, and asks every other node's neighbour, again and again.
#[derive(Clone)]
struct Neighbour {
    checks: Checks,
    others: Vec<String>,
    /// How long it thinks between an answer and the next ask, on average.
    think: Duration,
    random: Random,
}

impl Neighbour {
    async fn move_in(self) {
        let checks = self.checks.clone();
        let registered = match spawn(self) {
            Ok(neighbour) => ECHO.register(neighbour).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = registered {
            checks.violation("start", error);
        }
    }
}

impl Actor for Neighbour {
    type Protocol = (Say,);

    async fn started(&mut self, context: &mut Context<Self>) {
        for other in std::mem::take(&mut self.others) {
            let (checks, random) = (self.checks.clone(), self.random.fork());
            let asking = ask_on(other, self.think, random, checks);
            context.task(|_| asking);
        }
    }
}

impl Respond<Say> for Neighbour {
    async fn respond(&mut self, say: Msg<Say>, _: &mut Context<Self>) -> Reply<Say> {
        say.into()
    }
}

/// Asks another node's neighbour, thinks about the answer, and asks again.
async fn ask_on(other: String, think: Duration, mut random: Random, checks: Checks) {
    let neighbour = match ECHO.find_on(&other, PATIENCE).await {
        Ok(neighbour) => neighbour,
        Err(error) => return checks.violation("start", format!("{other}: {error}")),
    };
    loop {
        sleep(Duration::from_nanos(random.time((think / 2, think * 3 / 2)))).await;
        let (number, begun) = (checks.unique(), now());
        checks.asked();
        let said = neighbour.ask(Say { number, text: vec![b'a'; TEXT] }).await;
        let outcome = said.map(|said| said.number == number);
        if outcome != Ok(true) {
            checks.violation("P8", format!("{other} answers ask {number} with {outcome:?}"));
        }
        checks.ended(outcome.map(|_| ()), now().since(begun), BOUND);
    }
}
