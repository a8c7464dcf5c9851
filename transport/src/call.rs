//! How others say that a worker's queue may have something in it, where to look into the queue costs too much.
//!
//! ```text
//!   worker                                     sender
//!   hear: lower the flag (an exchange)         put something into the queue
//!   take what is in the queue                  call: raise the flag (an exchange)
//! ```
//!
//! The worker lowers the flag first: what it does not find any more raises it again. Each side makes an exchange, so
//! whoever hears one call hears all that came before, and finds what they were about: one exchange continues what the
//! one before has released. A store would not.
//!
//! A call wakes nobody up. For that its sender [claims](crate::park::Parker::claim) the worker's park after it, and the
//! worker looks at the flag once more before it sleeps.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

// That no call is lost is shown by the models in `tests/loom_park.rs`.
/// See the [module](self). The worker and all who send to it share one.
#[derive(Debug)]
pub struct Call {
    called: AtomicBool,
}

impl Call {
    /// The flag of an empty queue.
    pub fn new() -> Self {
        Call { called: AtomicBool::new(false) }
    }

    /// There is something in the queue.
    pub fn call(&self) {
        // Release: whoever hears it finds that, and what all have put there who have called before.
        self.called.swap(true, Ordering::Release);
    }

    /// Whether there may be something in the queue.
    #[inline]
    pub fn is_called(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }

    /// Whether there may be something in the queue. The worker is about to take it: only what comes from now on calls
    /// again.
    #[inline]
    pub fn hear(&self) -> bool {
        self.is_called() && self.called.swap(false, Ordering::Acquire)
    }
}

impl Default for Call {
    fn default() -> Self {
        Call::new()
    }
}
