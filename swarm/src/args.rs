//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::run::Settings;

/// Runs simulated clusters under load and under faults, and looks for broken promises
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run each seed twice and compare what happened
    Twice(Run),
    /// Plant faults in annulus, one after the other, and see that each is found
    Planted(Planted),
    /// Measure how fast simulated time passes, in one thread
    Pace(Pace),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Planted {
    /// How many seeds look for each fault at most
    #[arg(long, default_value_t = 10_000)]
    pub(crate) seeds: u64,
    /// Print one JSON object at the end
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Pace {
    /// How many nodes, of one worker each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=60))]
    pub(crate) nodes: u8,
    /// How long the cluster runs, in simulated seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) time: u64,
    /// How long each asker thinks between an answer and its next ask, in milliseconds on average
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) think: u64,
    /// The seed
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    pub(crate) seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    pub(crate) from: u64,
    /// How many nodes; drawn from 3 to 9 if not given
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=60))]
    pub(crate) nodes: Option<u8>,
    /// How long each cluster runs, in simulated seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(6..=86_400))]
    pub(crate) time: u64,
    /// Begin no more seeds after this many minutes
    #[arg(long)]
    pub(crate) minutes: Option<u64>,
    /// Run this seed alone, and print what happens
    #[arg(long)]
    pub(crate) replay: Option<u64>,
    /// No faults
    #[arg(long)]
    pub(crate) calm: bool,
    /// End with the first seed that fails
    #[arg(long)]
    pub(crate) first: bool,
    /// The fault to be put to work, in a program that has them
    #[arg(long, hide = true)]
    pub(crate) plant: Option<String>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            nodes: self.nodes.map(usize::from),
            time: Duration::from_secs(self.time),
            calm: self.calm,
        }
    }
}
