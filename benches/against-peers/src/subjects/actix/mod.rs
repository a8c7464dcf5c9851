//! [actix](https://docs.rs/actix): actors live on arbiters, which are threads with a tokio runtime.

mod actor;
mod asks;
mod system;

use crate::{meter::Meter, shapes, works::Work};

use super::Config;

use self::{actor::Actix, system::Setup};

pub(super) const CONFIGS: [Config; 2] = [
    Config { name: "default", setup: "one arbiter for each worker, mailboxes of 16" },
    Config { name: "tuned", setup: "arbiters without a driver for I/O, mailboxes of 16384" },
];

pub(super) fn run(work: Work, config: &str, mut meter: Meter) -> Meter {
    let setup = Setup { tuned: config == "tuned", spins: work.spins() };
    system::block_on(setup, work.workers(), async |arbiters| {
        let capacity = setup.tuned.then_some(16_384);
        let peer = Actix { arbiters, capacity };
        match work.asked_worker() {
            Some(worker) => asks::run(peer, worker, &mut meter).await,
            None => shapes::run(peer, work, &mut meter).await,
        }
        meter
    })
}
