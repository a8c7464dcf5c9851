//! How actors tell the one who measures that they are done. It works with the wakers of any runtime.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
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
