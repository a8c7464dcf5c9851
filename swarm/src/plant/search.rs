//! The program with faults in it looks for each of them.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use annulus::planted::{BUGS, Bug, plant as put_to_work};
use serde::{Deserialize, Serialize};

use crate::{args::Planted, batch::print};

/// How long one fault is looked for, in minutes.
const MINUTES: u64 = 15;

/// What planting all faults came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    bugs: Vec<Found>,
    planted: usize,
    found: usize,
}

/// What became of one fault.
#[derive(Debug, Serialize)]
struct Found {
    bug: String,
    found: bool,
    /// The seed that found it.
    seed: Option<u64>,
    /// How many seeds had run by then.
    seeds: u64,
    /// What that seed has seen.
    violation: Option<String>,
}

/// The part of a batch's report that counts here.
#[derive(Debug, Default, Deserialize)]
struct Batch {
    seeds: u64,
    failing_seeds: Vec<u64>,
    first_violation: Option<String>,
}

/// Plants all faults, one after the other.
pub(crate) fn plant_all(args: &Planted) -> ExitCode {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("this program cannot be found: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report { planted: BUGS.len(), ..Report::default() };
    for bug in BUGS {
        let found = look_for(&program, *bug, args.seeds);
        let Found { seeds, .. } = found;
        match (found.seed, &found.violation) {
            (Some(seed), Some(violation)) => eprintln!("{bug:?}: seed {seed}, {violation}"),
            (_, Some(violation)) => eprintln!("{bug:?}: {violation}"),
            _ => eprintln!("{bug:?}: not found by {seeds} seeds"),
        }
        report.found += usize::from(found.found);
        report.bugs.push(found);
    }
    print(&report, args.json);
    if report.found == report.planted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look_for(program: &Path, bug: Bug, seeds: u64) -> Found {
    let output = Command::new(program)
        .args(["--json", "--first", "--minutes", &MINUTES.to_string()])
        .args(["--seeds", &seeds.to_string(), "--plant", &format!("{bug:?}")])
        .stderr(Stdio::null())
        .output();
    let batch = output.ok().and_then(|output| serde_json::from_slice::<Batch>(&output.stdout).ok());
    let batch = batch.unwrap_or_else(|| Batch {
        // That is found, too, but nobody says by which seed.
        first_violation: Some("the whole process has ended".into()),
        ..Batch::default()
    });
    Found {
        bug: format!("{bug:?}"),
        found: batch.first_violation.is_some(),
        seed: batch.failing_seeds.first().copied(),
        seeds: batch.seeds,
        violation: batch.first_violation,
    }
}

/// Puts a fault to work in this process.
///
/// # Errors
/// If there is no such fault.
pub(crate) fn plant(name: &str) -> Result<(), String> {
    let known = BUGS.iter().find(|bug| format!("{bug:?}") == name);
    put_to_work(*known.ok_or_else(|| format!("there is no fault `{name}`: {BUGS:?}"))?);
    Ok(())
}
