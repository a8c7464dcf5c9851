//! Joins a cluster and asks its nodes' echo actors for a while.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    args::{Drive, Transport},
    load::Load,
    node,
    report::Summary,
    table::Table,
};

/// How long the other nodes may take to be there.
const NODE_PATIENCE: Duration = Duration::from_secs(20);

const DRAW_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(options: &Drive) -> Result<ExitCode, Failure> {
    let interrupted = node::interrupts()?;
    let name = format!("drive-{}", std::process::id());
    let node = node::describe(&name, &options.membership)?.start()?;
    for target in &options.targets {
        node.wait_for(target, NODE_PATIENCE)
            .map_err(|error| format!("node `{target}` is not there: {error}"))?;
    }
    let traffic = &options.traffic;
    let load = Load::new(&node, &options.targets, traffic, Transport::Tcp)?;
    let start = Instant::now();
    load.go(&node, traffic.seconds)?;
    let end = start + Duration::from_secs_f64(traffic.seconds);
    let mut table = Table::new(traffic.json);
    let mut drawn = start;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    {
        if interrupted.recv_timeout(left.min(DRAW_EVERY)).is_ok() {
            load.enough(&node)?;
            break;
        }
        table.draw(&load.progress(&node)?, drawn.elapsed().as_secs_f64());
        drawn = Instant::now();
    }
    let (pairs, _) = load.finish(&node)?;
    let elapsed_s = start.elapsed().as_secs_f64();
    table.finish(&pairs, elapsed_s, traffic.json);
    for pair in &pairs {
        if let Some(why) = &pair.first_loss {
            eprintln!("clustered-echo: {} -> {}: first loss: {why}", pair.from, pair.to);
        }
    }
    let summary = Summary::new("link", &pairs, elapsed_s);
    summary.print(traffic.json)?;
    node::end(node)?;
    Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
