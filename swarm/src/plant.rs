//! Planted faults: the proof that the simulation can fail.
//!
//! This program is built a second time, with faults compiled in, and run once for each of them, with
//! that one at work, until a seed finds it.
#![allow(clippy::disallowed_methods, reason = "this is the harness, not what it simulates")]

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use annulus::planted::{BUGS, Bug};
use serde::{Deserialize, Serialize};

use crate::{args::Planted, batch::print};

/// What planting all faults came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    planted: usize,
    found: usize,
    bugs: Vec<Found>,
}

/// What became of one fault.
#[derive(Debug, Serialize)]
struct Found {
    bug: String,
    /// The seed that found it.
    seed: Option<u64>,
    /// How many seeds had run by then.
    seeds: u64,
}

/// The part of a batch's report that counts here.
#[derive(Debug, Deserialize)]
struct Batch {
    seeds: u64,
    failing_seeds: Vec<u64>,
}

/// Plants all faults, one after the other.
pub(crate) fn plant_all(args: &Planted) -> ExitCode {
    let program = match build() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("the program cannot be built with faults in it: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report { planted: BUGS.len(), ..Report::default() };
    for bug in BUGS {
        let found = look_for(&program, *bug, args.seeds);
        match found.seed {
            Some(seed) => eprintln!("{bug:?}: found by seed {seed}, after {} seeds", found.seeds),
            None => eprintln!("{bug:?}: not found in {} seeds", found.seeds),
        }
        report.found += usize::from(found.seed.is_some());
        report.bugs.push(found);
    }
    print(&report, args.json);
    if report.found == report.planted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds this program with faults in it, beside the other things that are built.
fn build() -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let target = env::current_exe().map_err(|error| error.to_string())?;
    let target = target.ancestors().nth(2).map(|target| target.join("planted"));
    let target = target.ok_or("this program does not lie in a target folder")?;
    let built = Command::new(cargo)
        .args(["build", "--release", "--manifest-path", manifest, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "--cfg planted")
        .status();
    match built {
        Ok(status) if status.success() => Ok(target.join("release").join("swarm")),
        Ok(status) => Err(format!("cargo ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

fn look_for(program: &PathBuf, bug: Bug, seeds: u64) -> Found {
    let output = Command::new(program)
        .args(["--json", "--first", "--seeds", &seeds.to_string(), "--plant"])
        .arg(format!("{bug:?}"))
        .stderr(Stdio::null())
        .output();
    let batch = output.ok().and_then(|output| serde_json::from_slice::<Batch>(&output.stdout).ok());
    let (seed, seeds) = match batch {
        Some(batch) => (batch.failing_seeds.first().copied(), batch.seeds),
        // A fault that ends the whole process is found, too; but then nobody says by which seed.
        None => (None, 0),
    };
    Found { bug: format!("{bug:?}"), seed, seeds }
}

/// Puts a fault to work in this process, if faults are compiled in.
///
/// # Errors
/// If there is no such fault, or they are not compiled in.
pub(crate) fn plant(name: &str) -> Result<(), String> {
    let known = BUGS.iter().find(|bug| format!("{bug:?}") == name);
    let bug = *known.ok_or_else(|| format!("there is no fault `{name}`: {BUGS:?}"))?;
    put_to_work(bug)
}

#[cfg(planted)]
fn put_to_work(bug: Bug) -> Result<(), String> {
    annulus::planted::plant(bug);
    Ok(())
}

#[cfg(not(planted))]
fn put_to_work(bug: Bug) -> Result<(), String> {
    Err(format!("{bug:?} is not compiled in: use `swarm planted`"))
}
