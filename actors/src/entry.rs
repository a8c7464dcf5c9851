//! A worker's entry: how threads that are not workers, or are another node's, reach it.

use std::{
    fmt,
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use annulus_transport::{call::Call, driver::Doorbell, park::Parker};

use crate::{core::Core, tasks::Runnable};

/// Something to be done on the worker.
type Job = Box<dyn FnOnce(&Rc<Core>) + Send>;

/// What comes in through an entry.
pub(crate) enum Command {
    /// Make this ready.
    Wake(Runnable),
    /// Run this on the worker.
    Run(Job),
}

/// Flags between the worker and others, which are looked at all the time and seldom written to.
// Apart from what is written to often.
#[repr(align(128))]
struct Attention {
    /// Whether the worker does nothing but look for what others send it. It is only a hint.
    looking: AtomicBool,
    /// Whether there may be commands: to look into their queue would cost a lock each time.
    call: Call,
}

/// See the [module](self).
pub(crate) struct Entry {
    commands: flume::Sender<Command>,
    pub(crate) parker: Parker,
    attention: Attention,
    /// Doorbells that should have rung and have not.
    pub(crate) wakeups_lost: AtomicU64,
    /// Set by the worker's thread when its driver stands.
    doorbell: OnceLock<Arc<dyn Doorbell>>,
}

impl Entry {
    pub(crate) fn new() -> (Arc<Self>, flume::Receiver<Command>) {
        let (commands, receiver) = flume::unbounded();
        let entry = Entry {
            commands,
            parker: Parker::new(),
            attention: Attention { looking: AtomicBool::new(false), call: Call::new() },
            wakeups_lost: AtomicU64::new(0),
            doorbell: OnceLock::new(),
        };
        (Arc::new(entry), receiver)
    }

    pub(crate) fn set_doorbell(&self, doorbell: Arc<dyn Doorbell>) {
        // A worker has one driver in its life, so this is set once.
        let _ = self.doorbell.set(doorbell);
    }

    /// The worker begins to look for what others send it, or ends that.
    pub(crate) fn set_looking(&self, looking: bool) {
        self.attention.looking.store(looking, Ordering::Relaxed);
    }

    /// Whether the worker has nothing to do: it sleeps, or looks for what others send it.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        self.parker.is_parked() || self.attention.looking.load(Ordering::Relaxed)
    }

    /// Makes something ready. Wakers call this, so their number bounds the queue: each is queued once.
    pub(crate) fn wake(&self, target: Runnable) {
        self.push(Command::Wake(target));
    }

    /// Runs something on the worker. Returns `false` if the worker has ended.
    pub(crate) fn run(&self, job: impl FnOnce(&Rc<Core>) + Send + 'static) -> bool {
        self.push(Command::Run(Box::new(job)))
    }

    fn push(&self, command: Command) -> bool {
        let taken = self.commands.send(command).is_ok();
        self.call();
        if self.parker.claim() {
            self.ring();
        }
        taken
    }

    /// There are commands.
    pub(crate) fn call(&self) {
        self.attention.call.call();
    }

    /// Whether there may be commands.
    #[inline]
    pub(crate) fn is_called(&self) -> bool {
        self.attention.call.is_called()
    }

    /// Whether there may be commands. The worker is about to take them: only what is sent from now on calls it again.
    #[inline]
    pub(crate) fn hear_call(&self) -> bool {
        self.attention.call.hear()
    }

    /// Wakes the worker at once, with a system call. Whoever has claimed its park does.
    pub(crate) fn ring(&self) {
        if let Some(doorbell) = self.doorbell.get() {
            doorbell.ring();
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} waiting)", self.commands.len())
    }
}
