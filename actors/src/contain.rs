//! Where code of users runs that is no handler.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

/// Runs code of users: a destructor, for example. A panic in it ends here, with a line in the log.
pub(crate) fn contain(what: &'static str, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        let panic = panic_text(&panic);
        tracing::error!(target: "annulus", what, panic, "a panic outside of a handler");
    }
}

/// Does something when it is dropped: however a block of code ends.
pub(crate) struct OnDrop<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// Wakes somebody. The waker may be of a user's own making.
pub(crate) fn wake(waker: Waker) {
    contain("a waker", || waker.wake());
}

/// Drops something of a user's.
pub(crate) fn discard<T>(what: &'static str, value: T) {
    contain(what, || drop(value));
}

/// What a panic said.
pub(crate) fn panic_text(panic: &Box<dyn Any + Send>) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}
