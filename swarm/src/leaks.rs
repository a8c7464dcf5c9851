//! What workers hold that have nothing to do: if it is more than they need, something leaks.

use std::time::Duration;

use annulus::WorkerStats;
use annulus_sim::{Checks, Sim};

/// How long a cluster without business takes until it is at rest: what is under way arrives, and who
/// makes work sees that there is no more business.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Chunks that a worker without links holds: those that datagrams are received in, the one that they are
/// written in, the ones that messages and answers to the worker itself are written in, the one for what actors
/// tell themselves, and the one that small messages of other workers come in.
const CHUNKS: usize = 16 + 1 + 1 + 1 + 1 + 1;

/// Names of actors of a worker at most.
const NAMES: usize = 3;

/// Chunks for each link: one to receive in, and one to write in.
const CHUNKS_OF_LINK: usize = 2;

/// A healed cluster whose business is closed comes to rest.
pub(crate) fn at_rest(sim: &mut Sim, checks: &Checks) {
    sim.run_for(RESTS.0);
    if !sim.run_until(RESTS.1, |sim| leaks(sim).is_empty()) {
        leaks(sim).into_iter().for_each(|leak| checks.violation("leak", leak));
    }
}

fn leaks(sim: &Sim) -> Vec<String> {
    let nodes = sim.names().into_iter();
    let of_node = |node: String| {
        let workers = sim.stats(&node);
        let others = workers.len().saturating_sub(1);
        let worker = |(number, stats)| {
            // An ask for each name of an actor of another worker waits for that one's end.
            let asks = if number == 0 { NAMES * others } else { 0 };
            let excess = excess(stats, asks, others)?;
            Some(format!("at rest, worker {number} of {node} has {excess}"))
        };
        workers.iter().enumerate().filter_map(worker).collect::<Vec<_>>()
    };
    nodes.flat_map(of_node).collect()
}

/// Of a node that has shut down in order nothing is left.
pub(crate) fn after_shutdown(sim: &Sim, node: &str, checks: &Checks) {
    let workers = sim.stats(node);
    for (number, stats) in workers.iter().enumerate() {
        if let Some(excess) = excess(stats, 0, workers.len() - 1) {
            checks.violation("leak", format!("shut down, worker {number} of {node} has {excess}"));
        }
    }
}

/// What a worker holds beyond what it needs to be idle, with so many asks open and so many other workers.
fn excess(stats: &WorkerStats, asks: usize, others: usize) -> Option<String> {
    let WorkerStats { asks_open, mailbox_messages, mailbox_bytes, links, chunks, .. } = *stats;
    if asks_open > asks {
        return Some(format!("{asks_open} open asks instead of {asks}"));
    }
    if mailbox_messages > 0 || mailbox_bytes > 0 {
        return Some(format!(
            "{mailbox_messages} messages with {mailbox_bytes} bytes in mailboxes"
        ));
    }
    if (stats.watches, stats.watchers) != (0, 0) {
        return Some(format!("{} watches and {} watchers", stats.watches, stats.watchers));
    }
    // For each of the others there is one that messages to it are written in.
    let needed = CHUNKS + others + CHUNKS_OF_LINK * links;
    (chunks > needed).then(|| format!("{chunks} chunks instead of {needed}, with {links} links"))
}
