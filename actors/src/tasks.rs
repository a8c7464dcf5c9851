//! Futures on a worker: tasks, and what wakes them and actors.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

use annulus_codec::address::Address;
use slab::Slab;

use crate::{core::Core, entry::Entry};

/// Names a task. A key that is out of date names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskKey {
    index: u32,
    generation: u32,
}

/// What a waker makes ready: an actor or a task. One word, since every poll notes whose it is: the index in the
/// lower 31 bits, what it is in the next, and the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runnable(u64);

/// What a [`Runnable`] stands for.
pub(crate) enum Target {
    Actor { index: u32, generation: u32 },
    Task(TaskKey),
}

const TASK_BIT: u64 = 1 << 31;

impl Runnable {
    #[inline]
    pub(crate) fn actor(address: Address) -> Self {
        let (index, generation) = (address.slot().index(), address.generation());
        Runnable(u64::from(generation) << 32 | index as u64)
    }

    pub(crate) fn task(TaskKey { index, generation }: TaskKey) -> Self {
        Runnable(u64::from(generation) << 32 | u64::from(index) | TASK_BIT)
    }

    pub(crate) fn target(self) -> Target {
        let generation = (self.0 >> 32) as u32;
        let index = self.0 as u32 & !(TASK_BIT as u32);
        if self.0 & TASK_BIT != 0 {
            Target::Task(TaskKey { index, generation })
        } else {
            Target::Actor { index, generation }
        }
    }
}

/// Makes its target ready: on the worker's own thread by a push, from elsewhere through the worker's
/// entry.
pub(crate) struct RunWaker {
    target: AtomicU64,
    queued: AtomicBool,
    home: Arc<Entry>,
}

impl RunWaker {
    pub(crate) fn new(target: Runnable, home: Arc<Entry>) -> Arc<Self> {
        Arc::new(RunWaker {
            target: AtomicU64::new(target.0),
            queued: AtomicBool::new(false),
            home,
        })
    }

    /// Points a waker that nobody holds at another target.
    pub(crate) fn retarget(&self, target: Runnable) {
        self.target.store(target.0, Ordering::Relaxed);
        self.queued.store(false, Ordering::Relaxed);
    }

    /// The target is about to run: further wakes count again.
    pub(crate) fn disarm(&self) {
        self.queued.store(false, Ordering::Release);
    }

    fn wake_now(&self) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let target = Runnable(self.target.load(Ordering::Relaxed));
        let here = Core::try_with(|core| {
            let here = Arc::ptr_eq(core.entry(), &self.home);
            if here {
                core.push_ready(target);
            }
            here
        });
        if here != Some(true) {
            self.home.wake(target);
        }
    }
}

impl Wake for RunWaker {
    fn wake(self: Arc<Self>) {
        self.wake_now();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_now();
    }
}

/// The waker of one actor or task, made once, and what it does.
pub(crate) struct OwnWaker {
    /// To be [disarmed](RunWaker::disarm) before each poll, or only the first wake counts.
    pub(crate) wake: Arc<RunWaker>,
    pub(crate) waker: Waker,
}

impl OwnWaker {
    pub(crate) fn new(target: Runnable, home: &Arc<Entry>) -> Self {
        let wake = RunWaker::new(target, home.clone());
        let waker = Waker::from(wake.clone());
        OwnWaker { wake, waker }
    }
}

/// One task.
pub(crate) struct TaskCell {
    pub(crate) future: Cell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    pub(crate) own: OwnWaker,
    /// Whether it is an actor's, and ends with it.
    pub(crate) owned: bool,
}

/// The tasks of a worker.
#[derive(Default)]
pub(crate) struct TaskTable {
    tasks: RefCell<Slab<(u32, Rc<TaskCell>)>>,
    generation: Cell<u32>,
    /// Whether a task of an actor is being polled.
    pub(crate) an_owned_one_runs: Cell<bool>,
}

impl TaskTable {
    pub(crate) fn insert(
        &self,
        future: Pin<Box<dyn Future<Output = ()>>>,
        home: &Arc<Entry>,
        owned: bool,
    ) -> TaskKey {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let mut tasks = self.tasks.borrow_mut();
        let vacant = tasks.vacant_entry();
        let key = TaskKey { index: vacant.key() as u32, generation };
        let own = OwnWaker::new(Runnable::task(key), home);
        let task = TaskCell { future: Cell::new(Some(future)), own, owned };
        vacant.insert((generation, Rc::new(task)));
        key
    }

    /// Whether the task has not ended.
    pub(crate) fn contains(&self, key: TaskKey) -> bool {
        let tasks = self.tasks.borrow();
        tasks.get(key.index as usize).is_some_and(|(generation, _)| *generation == key.generation)
    }

    pub(crate) fn find(&self, key: TaskKey) -> Option<Rc<TaskCell>> {
        let tasks = self.tasks.borrow();
        let (generation, task) = tasks.get(key.index as usize)?;
        (*generation == key.generation).then(|| task.clone())
    }

    /// Takes a task out, to be dropped by the caller when it holds no borrow.
    pub(crate) fn remove(&self, key: TaskKey) -> Option<Rc<TaskCell>> {
        let mut tasks = self.tasks.borrow_mut();
        let (generation, _) = tasks.get(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        Some(tasks.remove(key.index as usize).1)
    }

    /// Takes all tasks out.
    pub(crate) fn take_all(&self) -> Vec<Rc<TaskCell>> {
        self.tasks.borrow_mut().drain().map(|(_, task)| task).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.borrow().len()
    }
}
