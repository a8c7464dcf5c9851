//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use crate::{subjects::Subject, works::Work};

/// The same work on annulus and on its peers, side by side.
///
/// Prints how far it is to stderr, and a table to stdout.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// Only this work; may be given several times.
    #[arg(long, value_name = "WORK")]
    only: Vec<Work>,
    /// Only this subject; may be given several times.
    #[arg(long, value_name = "SUBJECT")]
    subject: Vec<Subject>,
    /// How often each subject does each work; five times as often where workers sleep.
    #[arg(long, default_value_t = 5, value_name = "N", conflicts_with = "quick")]
    rounds: usize,
    /// In which order a round measures; by chance without it.
    #[arg(long, value_name = "SEED")]
    pub(crate) seed: Option<u64>,
    /// Print one JSON object a line instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw a chart of the medians into this file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// One short round, to see that all works.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print the names of the works and the subjects, and do nothing.
    #[arg(long)]
    pub(crate) list: bool,
}

impl Args {
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    pub(crate) fn works(&self) -> impl Iterator<Item = Work> {
        Work::ALL.into_iter().filter(|work| self.only.is_empty() || self.only.contains(work))
    }

    pub(crate) fn wants(&self, subject: Subject) -> bool {
        self.subject.is_empty() || self.subject.contains(&subject)
    }

    /// How long a measurement takes.
    pub(crate) fn target(&self) -> Duration {
        Duration::from_millis(if self.quick { 30 } else { 250 })
    }
}

/// What else the program does.
#[derive(Subcommand, Debug)]
pub(crate) enum Role {
    /// Measures once, in this process, and prints what it has measured.
    #[command(hide = true)]
    Child(Child),
}

/// One measurement.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Child {
    #[arg(long)]
    pub(crate) work: Work,
    #[arg(long)]
    pub(crate) subject: Subject,
    /// Which configuration of the subject, counted from zero.
    #[arg(long)]
    pub(crate) config: usize,
    #[arg(long)]
    pub(crate) millis: u64,
    #[arg(long)]
    pub(crate) quick: bool,
}
