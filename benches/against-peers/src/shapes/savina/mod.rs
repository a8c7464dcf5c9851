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

use crate::{meter::Meter, shapes::Framework, works::Work};

/// Does one of them.
pub(crate) async fn run<F: Framework>(peer: F, work: Work, meter: &mut Meter) {
    match work {
        Work::SavinaPingPong => ping_pong::run(peer, meter).await,
        Work::SavinaCounting => counting::run(peer, meter).await,
        Work::SavinaThreadRing => thread_ring::run(peer, meter).await,
        Work::SavinaForkJoinThroughput => fork_join::throughput(peer, meter).await,
        Work::SavinaForkJoinCreate => fork_join::create(peer, meter).await,
        Work::SavinaBig => big::run(peer, meter).await,
        Work::SavinaChameneos => chameneos::run(peer, meter).await,
        Work::SavinaBoundedBuffer => bounded_buffer::run(peer, meter).await,
        Work::SavinaPhilosophers => philosophers::run(peer, meter).await,
        Work::SavinaAllPairs => all_pairs::run(peer, meter).await,
        Work::SavinaSkynet => skynet::run(peer, meter).await,
        other => unreachable!("{other} is not a work of this kind"),
    }
}
