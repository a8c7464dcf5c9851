//! How a runtime of tokio is kept from going to sleep.

use std::{future::poll_fn, task::Poll};

/// A task that is always ready.
pub(super) async fn spin() {
    poll_fn(|context| {
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
