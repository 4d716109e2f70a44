//! Runs a future whose resolver answers at once.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What a future gives that never waits; a [`crate::zone::Zone`] never does.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a zone in memory does not wait"),
    }
}
