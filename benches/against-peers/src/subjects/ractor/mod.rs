//! [ractor](https://docs.rs/ractor): actors are tokio tasks, their mailboxes have no bounds.

mod actor;
mod asks;

use crate::{meter::Meter, shapes, works::Work};

use super::{
    Config,
    runtimes::{Flavor, block_on},
};

use self::actor::Ractor;

pub(super) const CONFIGS: [Config; 2] = [
    Config { name: "default", setup: "multi_thread" },
    Config { name: "current_thread", setup: "current_thread" },
];

pub(super) fn run(work: Work, config: &str, mut meter: Meter) -> Meter {
    let flavor = if config == "default" { Flavor::Default } else { Flavor::OnePerThread };
    block_on(flavor, work, async |places| {
        let peer = Ractor { places };
        match work.asked_worker() {
            Some(worker) => asks::run(peer, worker, &mut meter).await,
            None => shapes::run(peer, work, &mut meter).await,
        }
        meter
    })
}
