//! Runs a simulated cluster under load over many seeds, and looks for broken promises.

mod actors;
mod args;
mod batch;
mod business;
mod clerk;
mod crowd;
mod leaks;
mod pace;
mod plan;
mod plant;
mod run;
mod traffic;
mod watchers;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Err(error)) = args.run.plant.as_deref().map(plant::plant) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match args.command {
        None => match args.run.replay {
            Some(seed) => batch::replay(seed, &args.run),
            None => batch::run(&args.run),
        },
        Some(Command::Twice(twice)) => batch::twice(&twice),
        Some(Command::Planted(planted)) => plant::plant_all(&planted),
        Some(Command::Pace(pace)) => pace::pace(&pace),
    }
}
