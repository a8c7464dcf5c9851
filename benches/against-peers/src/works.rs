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
    FanIn,
    FanOut,
    Spawn,
    IdleActorBytes,
    SavinaPingPong,
    SavinaCounting,
    SavinaThreadRing,
    SavinaForkJoinThroughput,
    SavinaForkJoinCreate,
    SavinaBig,
    SavinaChameneos,
    SavinaBoundedBuffer,
    SavinaPhilosophers,
    SavinaAllPairs,
    SavinaSkynet,
}

/// What is said of a work.
struct About {
    name: &'static str,
    /// One of what is counted.
    unit: &'static str,
    workers: usize,
}

impl Work {
    pub(crate) const ALL: [Work; 23] = [
        Work::TellSameWorker,
        Work::TellSameWorkerString,
        Work::TellSameWorker4k,
        Work::TellOtherWorker,
        Work::AskSameWorker,
        Work::AskOtherWorkerSpinning,
        Work::AskOtherWorkerParked,
        Work::MsgRingParkedFloor,
        Work::FanIn,
        Work::FanOut,
        Work::Spawn,
        Work::IdleActorBytes,
        Work::SavinaPingPong,
        Work::SavinaCounting,
        Work::SavinaThreadRing,
        Work::SavinaForkJoinThroughput,
        Work::SavinaForkJoinCreate,
        Work::SavinaBig,
        Work::SavinaChameneos,
        Work::SavinaBoundedBuffer,
        Work::SavinaPhilosophers,
        Work::SavinaAllPairs,
        Work::SavinaSkynet,
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
            Work::FanIn => ("fan_in", "message", 1),
            Work::FanOut => ("fan_out", "message", 1),
            Work::Spawn => ("spawn", "actor", 1),
            Work::IdleActorBytes => ("idle_actor_bytes", "actor", 1),
            Work::SavinaPingPong => ("savina_ping_pong", "round trip", 1),
            Work::SavinaCounting => ("savina_counting", "message", 1),
            Work::SavinaThreadRing => ("savina_thread_ring", "hop", 1),
            Work::SavinaForkJoinThroughput => ("savina_fork_join_throughput", "message", 1),
            Work::SavinaForkJoinCreate => ("savina_fork_join_create", "actor", 1),
            Work::SavinaBig => ("savina_big", "round trip", 1),
            Work::SavinaChameneos => ("savina_chameneos", "meeting", 1),
            Work::SavinaBoundedBuffer => ("savina_bounded_buffer", "item", 1),
            Work::SavinaPhilosophers => ("savina_philosophers", "meal", 1),
            Work::SavinaAllPairs => ("savina_all_pairs", "message", 2),
            Work::SavinaSkynet => ("savina_skynet", "actor", 1),
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

    /// Whether it counts bytes instead of time.
    pub(crate) fn counts_bytes(self) -> bool {
        self == Work::IdleActorBytes
    }

    /// Whether it is about actors that are on two different workers, so that a scheduler that puts both
    /// on one would do another work.
    pub(crate) fn needs_two_places(self) -> bool {
        matches!(
            self,
            Work::TellOtherWorker | Work::AskOtherWorkerSpinning | Work::AskOtherWorkerParked
        )
    }

    /// For works that are about asks: the worker of the actor that is asked.
    pub(crate) fn asked_worker(self) -> Option<usize> {
        match self {
            Work::AskSameWorker => Some(0),
            Work::AskOtherWorkerSpinning | Work::AskOtherWorkerParked => Some(1),
            _ => None,
        }
    }

    /// Whether it is about workers that sleep. Nearly all of it is the kernel's wake-up then, which differs from time to
    /// time by more than the subjects do.
    pub(crate) fn sleeps(self) -> bool {
        matches!(self, Work::AskOtherWorkerParked | Work::MsgRingParkedFloor)
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
