//! Small helpers of the unit tests.

use crate::{Commit, SpoolError, SpoolId};
use postroad_proto::addr::{Mailbox, ReversePath};
use postroad_proto::envelope::{Envelope, Recipient};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a commit.
pub(crate) fn ready(commit: Commit) -> Result<SpoolId, SpoolError> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut commit = pin!(commit);
    loop {
        match commit.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// An envelope with this many recipients.
pub(crate) fn envelope(recipients: usize) -> Envelope {
    let mailbox = |at: usize| Mailbox::parse(&format!("user{at}@example.org")).unwrap();
    let recipients = (0..recipients).map(|at| Recipient { mailbox: mailbox(at), original: None }).collect();
    Envelope::new(ReversePath::parse("<sender@example.net>").unwrap(), recipients).unwrap()
}
