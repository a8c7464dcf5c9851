//! The works: what every subject does, described once.

use std::{fmt, str::FromStr};

/// One work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    TellSameWorker,
    TellSameWorkerString,
    TellSameWorker4k,
    TellOtherWorker,
    AskSameWorker,
    AskOtherWorkerSpinning,
    AskOtherWorkerParked,
    MsgRingParkedFloor,
}

/// What is said of a work.
struct About {
    name: &'static str,
    /// One of what is counted.
    unit: &'static str,
    workers: usize,
}

impl Work {
    pub(crate) const ALL: [Work; 8] = [
        Work::TellSameWorker,
        Work::TellSameWorkerString,
        Work::TellSameWorker4k,
        Work::TellOtherWorker,
        Work::AskSameWorker,
        Work::AskOtherWorkerSpinning,
        Work::AskOtherWorkerParked,
        Work::MsgRingParkedFloor,
    ];

    fn about(self) -> About {
        let (name, unit, workers) = match self {
            Work::TellSameWorker => ("tell_same_worker", "message", 1),
            Work::TellSameWorkerString => ("tell_same_worker_string", "message", 1),
            Work::TellSameWorker4k => ("tell_same_worker_4k", "message", 1),
            Work::TellOtherWorker => ("tell_other_worker", "message", 2),
            Work::AskSameWorker => ("ask_same_worker", "ask", 1),
            Work::AskOtherWorkerSpinning => ("ask_other_worker_spinning", "ask", 2),
            Work::AskOtherWorkerParked => ("ask_other_worker_parked", "ask", 2),
            Work::MsgRingParkedFloor => ("msg_ring_parked_floor", "round trip", 2),
        };
        About { name, unit, workers }
    }

    pub(crate) fn name(self) -> &'static str {
        self.about().name
    }

    /// One of what is counted.
    pub(crate) fn unit(self) -> &'static str {
        self.about().unit
    }

    /// How many threads the work has, each on a core of its own.
    pub(crate) fn workers(self) -> usize {
        self.about().workers
    }

    /// Whether it is about actors that are on two different workers, so that a scheduler that puts both
    /// on one would do another work.
    pub(crate) fn needs_two_places(self) -> bool {
        matches!(
            self,
            Work::TellOtherWorker | Work::AskOtherWorkerSpinning | Work::AskOtherWorkerParked
        )
    }

    /// Whether workers are to look for messages again and again instead of going to sleep.
    pub(crate) fn spins(self) -> bool {
        self == Work::AskOtherWorkerSpinning
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Work::ALL.into_iter().find(|work| work.name() == name);
        found.ok_or_else(|| "there is none of this name; see `--list`".to_owned())
    }
}
