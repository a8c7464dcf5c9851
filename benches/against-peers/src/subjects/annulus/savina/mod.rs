//! The Savina works. [`rules`](crate::rules) has their sizes.

mod all_pairs;
mod big;
mod bounded_buffer;
mod chameneos;
mod counting;
mod fork_join;
mod philosophers;
mod ping_pong;
mod skynet;
mod thread_ring;

use annulus::Node;

use crate::{meter::Meter, works::Work};

/// Does one of them.
pub(super) fn run(node: &Node, work: Work, meter: Meter) -> Meter {
    match work {
        Work::SavinaPingPong => ping_pong::run(node, meter),
        Work::SavinaCounting => counting::run(node, meter),
        Work::SavinaThreadRing => thread_ring::run(node, meter),
        Work::SavinaForkJoinThroughput => fork_join::throughput(node, meter),
        Work::SavinaForkJoinCreate => fork_join::create(node, meter),
        Work::SavinaBig => big::run(node, meter),
        Work::SavinaChameneos => chameneos::run(node, meter),
        Work::SavinaBoundedBuffer => bounded_buffer::run(node, meter),
        Work::SavinaPhilosophers => philosophers::run(node, meter),
        Work::SavinaAllPairs => all_pairs::run(node, meter),
        Work::SavinaSkynet => skynet::run(node, meter),
        other => unreachable!("{other} is not a work of this kind"),
    }
}
