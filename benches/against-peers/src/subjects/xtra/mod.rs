//! [xtra](https://docs.rs/xtra): actors are tasks of any runtime; here of tokio.

mod actor;
mod asks;

use crate::{meter::Meter, shapes, works::Work};

use super::{
    Config,
    runtimes::{Flavor, block_on},
};

use self::actor::Xtra;

pub(super) const CONFIGS: [Config; 3] = [
    Config { name: "default", setup: "multi_thread, unbounded mailboxes as in its examples" },
    Config { name: "bounded", setup: "current_thread, mailboxes of 16384" },
    Config { name: "unbounded", setup: "current_thread, unbounded mailboxes" },
];

pub(super) fn run(work: Work, config: &str, mut meter: Meter) -> Meter {
    let (flavor, places) = match config {
        "default" => (Flavor::Default, None),
        "bounded" => (Flavor::OnePerThread, Some(16_384)),
        _ => (Flavor::OnePerThread, None),
    };
    block_on(flavor, work, async |at| {
        let peer = Xtra { at, places };
        match work.asked_worker() {
            Some(worker) => asks::run(peer, worker, &mut meter).await,
            None => shapes::run(peer, work, &mut meter).await,
        }
        meter
    })
}
