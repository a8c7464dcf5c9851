//! Futures that never wait.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// The outcome of a future that does not wait.
///
/// # Panics
/// If it does.
#[inline]
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("nothing in it waits"),
    }
}
