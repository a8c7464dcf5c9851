//! The subjects: annulus, its peers, and what lies below.

mod actix;
mod annulus;
mod io_uring;
mod kameo;
mod ractor;
mod runtimes;
mod spin;
mod tokio_mpsc;
mod xtra;

use std::{fmt, str::FromStr};

use crate::{meter::Meter, works::Work};

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Annulus,
    Actix,
    Kameo,
    Ractor,
    Xtra,
    TokioMpsc,
    IoUring,
}

/// A way to set a subject up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) name: &'static str,
    /// How the subject is set up.
    pub(crate) setup: &'static str,
}

impl Subject {
    pub(crate) const ALL: [Subject; 7] = [
        Subject::Annulus,
        Subject::Actix,
        Subject::Kameo,
        Subject::Ractor,
        Subject::Xtra,
        Subject::TokioMpsc,
        Subject::IoUring,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Annulus => "annulus",
            Subject::Actix => "actix",
            Subject::Kameo => "kameo",
            Subject::Ractor => "ractor",
            Subject::Xtra => "xtra",
            Subject::TokioMpsc => "tokio_mpsc",
            Subject::IoUring => "io_uring",
        }
    }

    /// Whether it is an actor framework other than annulus.
    pub(crate) fn is_peer_framework(self) -> bool {
        matches!(self, Subject::Actix | Subject::Kameo | Subject::Ractor | Subject::Xtra)
    }

    /// The configurations in which it does a work. None if the work is not for it.
    pub(crate) fn configs(self, work: Work) -> Vec<Config> {
        let floor = work == Work::MsgRingParkedFloor;
        match self {
            Subject::IoUring if floor => io_uring::CONFIGS.to_vec(),
            Subject::IoUring => Vec::new(),
            _ if floor => Vec::new(),
            Subject::Annulus => annulus::configs(work),
            Subject::Actix => actix::CONFIGS.to_vec(),
            Subject::Kameo => kameo::CONFIGS.to_vec(),
            Subject::Ractor => ractor::CONFIGS.to_vec(),
            Subject::Xtra => xtra::CONFIGS.to_vec(),
            Subject::TokioMpsc => tokio_mpsc::CONFIGS.to_vec(),
        }
    }

    /// Does a work and measures it, in this process.
    pub(crate) fn run(self, work: Work, config: &str, meter: Meter) -> Meter {
        match self {
            Subject::Annulus => annulus::run(work, config, meter),
            Subject::Actix => actix::run(work, config, meter),
            Subject::Kameo => kameo::run(work, config, meter),
            Subject::Ractor => ractor::run(work, config, meter),
            Subject::Xtra => xtra::run(work, config, meter),
            Subject::TokioMpsc => tokio_mpsc::run(work, config, meter),
            Subject::IoUring => io_uring::run(meter),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Subject::ALL.into_iter().find(|subject| subject.name() == name);
        found.ok_or_else(|| "there is none of this name; see `--list`".to_owned())
    }
}
