//! annulus.

mod asks;
mod tells;

use annulus::{Node, Pinning, prelude::Duration};

use crate::{meter::Meter, pin::WORKERS_MAX, works::Work};

use super::Config;

const DEFAULT: Config = Config { name: "default", setup: "as it comes, one worker a core" };

/// The configurations in which it does a work.
pub(crate) fn configs(work: Work) -> Vec<Config> {
    match work {
        Work::AskSameWorker | Work::AskOtherWorkerParked => {
            let within = Config { name: "within", setup: "asked from within a handler" };
            vec![DEFAULT, within]
        }
        Work::AskOtherWorkerSpinning => vec![
            Config { name: "spin", setup: "workers that spin" },
            Config { name: "spin within", setup: "workers that spin, asked from within a handler" },
        ],
        _ => vec![DEFAULT],
    }
}

pub(crate) fn run(work: Work, config: &str, meter: Meter) -> Meter {
    let node = start(work);
    let within = config.ends_with("within");
    match work {
        Work::AskSameWorker => asks::run(&node, 0, within, meter),
        Work::AskOtherWorkerSpinning | Work::AskOtherWorkerParked => {
            asks::run(&node, 1, within, meter)
        }
        Work::TellSameWorker => tells::numbers(&node, 0, meter),
        Work::TellOtherWorker => tells::numbers(&node, 1, meter),
        Work::TellSameWorkerString => tells::texts(&node, meter),
        Work::TellSameWorker4k => tells::blocks(&node, meter),
        other => unreachable!("{other} is not a work of this kind"),
    }
}

fn start(work: Work) -> Node {
    let cores = (0..WORKERS_MAX).collect();
    let node = Node::builder("bench").workers(work.workers()).pin(Pinning::Cores(cores));
    let node = if work.spins() { node.spin(Duration::from_secs(1)) } else { node };
    node.start().expect("the node starts")
}
