//! annulus. The works are those of [`shapes`](crate::shapes), written out by hand.

mod asks;
mod fan;
mod savina;
mod spawns;
mod tells;

use annulus::{Actor, ActorRef, Node, Pinning, prelude::Duration};

use crate::{meter::Meter, pin::WORKERS_MAX, works::Work};

use super::Config;

const DEFAULT: Config = Config { name: "default", setup: "as it comes, one worker a core" };

/// The configurations in which it does a work.
pub(super) fn configs(work: Work) -> Vec<Config> {
    match work {
        Work::AskSameWorker => {
            let within = Config { name: "within", setup: "asked from within a handler" };
            vec![DEFAULT, within]
        }
        Work::AskOtherWorkerParked => vec![
            Config { name: "sleep", setup: "workers that sleep at once" },
            Config {
                name: "sleep within",
                setup: "workers that sleep at once, asked from within a handler",
            },
        ],
        Work::AskOtherWorkerSpinning => vec![
            Config { name: "spin", setup: "workers that spin" },
            Config { name: "spin within", setup: "workers that spin, asked from within a handler" },
        ],
        Work::FanOut => {
            vec![DEFAULT, Config { name: "broadcast", setup: "one message for all receivers" }]
        }
        _ => vec![DEFAULT],
    }
}

pub(super) fn run(work: Work, config: &str, meter: Meter) -> Meter {
    let node = start(work);
    let within = config.ends_with("within");
    if let Some(worker) = work.asked_worker() {
        return asks::run(&node, worker, within, meter);
    }
    match work {
        Work::TellSameWorker => tells::numbers(&node, 0, meter),
        Work::TellOtherWorker => tells::numbers(&node, 1, meter),
        Work::TellSameWorkerString => tells::texts(&node, meter),
        Work::TellSameWorker4k => tells::blocks(&node, meter),
        Work::FanIn => fan::run_in(&node, meter),
        Work::FanOut => fan::run_out(&node, config == "broadcast", meter),
        Work::Spawn => spawns::run(&node, meter),
        Work::IdleActorBytes => spawns::weigh(&node, meter),
        _ => savina::run(&node, work, meter),
    }
}

fn start(work: Work) -> Node {
    let cores = (0..WORKERS_MAX).collect();
    let node = Node::builder("bench").workers(work.workers()).pin(Pinning::Cores(cores));
    let node = match work {
        Work::AskOtherWorkerSpinning => node.spin(Duration::from_secs(1)),
        Work::AskOtherWorkerParked => node.spin(Duration::ZERO),
        _ => node,
    };
    node.start().expect("the node starts")
}

/// Starts an actor on the first worker.
fn spawn<A: Actor + Send>(node: &Node, actor: A) -> ActorRef<A::Protocol> {
    node.spawn_on(0, actor).expect("there is room")
}

/// Measures laps on the first worker.
fn time(
    node: &Node,
    mut meter: Meter,
    ops: u64,
    expected: u64,
    lap: impl AsyncFnMut() -> u64 + Send + 'static,
) -> Meter {
    let timed = node.run(async move || {
        meter.time(ops, expected, lap).await;
        meter
    });
    timed.expect("a lap does not panic")
}
