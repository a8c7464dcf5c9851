//! [kameo](https://docs.rs/kameo): actors are tokio tasks.

mod actor;
mod asks;

use crate::{meter::Meter, shapes, works::Work};

use super::{
    Config,
    runtimes::{Flavor, block_on},
};

use self::actor::{Kameo, Mailbox};

pub(super) const CONFIGS: [Config; 3] = [
    Config { name: "default", setup: "multi_thread, mailboxes of 64" },
    Config { name: "bounded", setup: "current_thread, mailboxes of 16384" },
    Config { name: "unbounded", setup: "current_thread, unbounded mailboxes" },
];

pub(super) fn run(work: Work, config: &str, mut meter: Meter) -> Meter {
    let (flavor, mailbox) = match config {
        "default" => (Flavor::Default, Mailbox::Default),
        "bounded" => (Flavor::OnePerThread, Mailbox::Bounded(16_384)),
        _ => (Flavor::OnePerThread, Mailbox::Unbounded),
    };
    block_on(flavor, work, async |places| {
        let peer = Kameo { places, mailbox };
        match work.asked_worker() {
            Some(worker) => asks::run(peer, worker, &mut meter).await,
            None => shapes::run(peer, work, &mut meter).await,
        }
        meter
    })
}
