//! One of the nodes of a run: serves the others, asks them when it is told to, and reports.

use std::{
    io::{BufRead, Write, stdin, stdout},
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use annulus::Node;

use crate::{
    Failure,
    args::Member,
    load::Load,
    node,
    report::{Event, PairReport},
};

/// How long the other nodes may take to come up.
const NODE_PATIENCE: Duration = Duration::from_secs(20);

/// How often progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(options: &Member) -> Result<ExitCode, Failure> {
    // An interrupt reaches every process of the terminal; the one that started this one decides.
    let _interrupts = node::interrupts()?;
    let commands = commands();
    let node = node::describe(&options.name, &options.membership)?.start()?;
    node::serve(&node, options.journal.as_deref())?;
    let endpoint = node.endpoints().first().cloned().unwrap_or_default();
    report(&Event::Listening { endpoint })?;
    expect(&commands, "meet")?;
    for target in &options.targets {
        node.wait_for(target, NODE_PATIENCE).map_err(|error| format!("node {target}: {error}"))?;
    }
    let load = Load::new(&node, &options.targets, &options.traffic, options.transport)?;
    report(&Event::Ready)?;
    expect(&commands, "go")?;
    let start = Instant::now();
    load.go(&node, options.traffic.seconds)?;
    watch(&node, &load, &commands, start + Duration::from_secs_f64(options.traffic.seconds))?;
    let (pairs, asked) = load.finish(&node)?;
    report(&Event::Finished { pairs, elapsed_s: start.elapsed().as_secs_f64(), asked })?;
    // The others may still be asking.
    expect(&commands, "end")?;
    node::end(node)?;
    Ok(ExitCode::SUCCESS)
}

/// Reports progress until the time is over or somebody wants an early end.
fn watch(
    node: &Node,
    load: &Load,
    commands: &mpsc::Receiver<String>,
    end: Instant,
) -> Result<(), Failure> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        match commands.recv_timeout(left.min(PROGRESS_EVERY)) {
            Err(RecvTimeoutError::Timeout) => {
                let pairs: Vec<PairReport> = load.progress(node)?;
                report(&Event::Progress { pairs })?;
            }
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return load.enough(node),
        }
    }
}

/// The lines of standard input. It ends when the starting process does.
fn commands() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn expect(commands: &mpsc::Receiver<String>, wanted: &str) -> Result<(), Failure> {
    loop {
        let command = commands.recv().map_err(|_| "the run was given up")?;
        if command == wanted {
            return Ok(());
        }
        if command == "end" {
            return Err("the run was given up".into());
        }
    }
}

fn report(event: &Event) -> Result<(), Failure> {
    let mut out = stdout().lock();
    serde_json::to_writer(&mut out, event)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}
