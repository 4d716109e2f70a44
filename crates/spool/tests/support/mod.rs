//! Shared by the tests of the store: envelopes, contents that can be told apart, waiting for a commit.

use postroad_proto::addr::{Mailbox, ReversePath};
use postroad_proto::envelope::{Envelope, Recipient};
use postroad_spool::{Commit, Options, Spool, SpoolError, SpoolId};
use std::io::Read;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a commit.
pub(crate) fn wait(commit: Commit) -> Result<SpoolId, SpoolError> {
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

/// Content of `size` octets that no other `key` has.
pub(crate) fn content(key: u64, size: usize) -> Vec<u8> {
    let mut state = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = key.to_le_bytes().to_vec();
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size.max(8));
    bytes
}

/// The stored content of a message.
pub(crate) fn read(spool: &impl Spool, id: SpoolId) -> Result<Vec<u8>, SpoolError> {
    let mut bytes = Vec::new();
    spool.open(id)?.read_to_end(&mut bytes).map_err(SpoolError::Io)?;
    Ok(bytes)
}

/// A ring so small that it comes round all the time.
pub(crate) fn tiny() -> Options {
    Options {
        segment_bytes: 64 << 10,
        ring_bytes_max: 256 << 10,
        reserve_bytes: 0,
        pace: Duration::from_millis(1),
    }
}
