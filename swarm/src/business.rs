//! Whether there is still something to do.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Those who make work look whether there still is business, and end when there is none. What is left
/// then is what leaks. Clones share it.
// One thread runs a whole world: no order is needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Business(Arc<AtomicBool>);

impl Business {
    pub(crate) fn is_open(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
