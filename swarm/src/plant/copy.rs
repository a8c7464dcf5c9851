//! The program without faults makes a copy of itself that has them.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode},
};

use crate::args::Planted;

/// Plants all faults, one after the other, in a copy of this program.
pub(crate) fn plant_all(args: &Planted) -> ExitCode {
    let copy = match build() {
        Ok(copy) => copy,
        Err(error) => {
            eprintln!("the program cannot be built with faults in it: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = Command::new(copy)
        .args(["planted", "--seeds", &args.seeds.to_string()])
        .args(args.json.then_some("--json"))
        .status();
    if ended.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// Puts a fault to work in this process.
///
/// # Errors
/// Always: there are none in it.
pub(crate) fn plant(name: &str) -> Result<(), String> {
    Err(format!("`{name}` is not compiled in: use `swarm planted`"))
}
