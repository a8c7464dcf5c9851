//! How actors tell the one who measures that they are done. It works with the wakers of any runtime.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
};

/// A place for one number, to be waited for. It is used again for each lap.
#[derive(Clone, Default)]
pub(crate) struct Finish(Arc<Mutex<Place>>);

#[derive(Default)]
struct Place {
    value: Option<u64>,
    waker: Option<Waker>,
}

impl Finish {
    /// Says the number, and wakes whoever waits for it.
    pub(crate) fn with(&self, value: u64) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.value = Some(value);
        let waker = place.waker.take();
        drop(place);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the number, and takes it.
    pub(crate) async fn wait(&self) -> u64 {
        poll_fn(|context| {
            let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match place.value.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    place.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Counts up to a number that is known before, from any thread, and finishes there.
#[derive(Clone)]
pub(crate) struct Tally(Arc<TallyState>);

struct TallyState {
    goal: u64,
    count: AtomicU64,
    finish: Finish,
}

impl Tally {
    pub(crate) fn new(goal: u64) -> Self {
        Tally(Arc::new(TallyState { goal, count: AtomicU64::new(0), finish: Finish::default() }))
    }

    /// One more. The last one starts the count anew.
    pub(crate) fn add(&self) {
        if self.0.count.fetch_add(1, Ordering::AcqRel) + 1 == self.0.goal {
            self.0.count.store(0, Ordering::Release);
            self.0.finish.with(self.0.goal);
        }
    }

    /// Waits until the goal is reached.
    pub(crate) async fn reached(&self) -> u64 {
        self.0.finish.wait().await
    }

    /// Something that is counted when it is dropped.
    pub(crate) fn at_end(&self) -> AtEnd {
        AtEnd { tally: self.clone(), counts: false }
    }
}

/// A field of an actor: counted when the actor is gone, if it did what it was to do.
pub(crate) struct AtEnd {
    tally: Tally,
    counts: bool,
}

impl AtEnd {
    /// The actor has done what it was to do.
    pub(crate) fn done(&mut self) {
        self.counts = true;
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if self.counts {
            self.tally.add();
        }
    }
}
