//! Raw tokio tasks with a channel each: what actor frameworks on tokio are made of.

mod actor;
mod asks;

use crate::{meter::Meter, shapes, works::Work};

use super::{
    Config,
    runtimes::{Flavor, Places, block_on},
};

use self::actor::{Batched, Bounded, Channel, Tokio, Unbounded};

pub(super) const CONFIGS: [Config; 4] = [
    Config { name: "default", setup: "multi_thread, channels of 100 as in the documentation" },
    Config { name: "bounded", setup: "current_thread, channels of 16384" },
    Config { name: "unbounded", setup: "current_thread, unbounded channels" },
    Config { name: "batched", setup: "current_thread, unbounded channels, recv_many" },
];

pub(super) fn run(work: Work, config: &str, meter: Meter) -> Meter {
    match config {
        "default" => on::<Bounded<100>>(Flavor::Default, work, meter),
        "bounded" => on::<Bounded<16_384>>(Flavor::OnePerThread, work, meter),
        "unbounded" => on::<Unbounded>(Flavor::OnePerThread, work, meter),
        _ => on::<Batched>(Flavor::OnePerThread, work, meter),
    }
}

fn on<C: Channel>(flavor: Flavor, work: Work, mut meter: Meter) -> Meter {
    block_on(flavor, work, async |places: Places| {
        let peer = Tokio::<C>::new(places);
        match work.asked_worker() {
            Some(worker) => asks::run(peer, worker, &mut meter).await,
            None => shapes::run(peer, work, &mut meter).await,
        }
        meter
    })
}
