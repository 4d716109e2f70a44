//! Agents: each delivers in one way, tries once, and says what came of it.
//!
//! An agent takes a batch of leases, because what makes delivery durable (a flush, a connection) is
//! paid once for many messages: measured in docs/delivery.md. It never retries, never bounces and
//! never settles; the runner does. Its duties: one report for each open recipient of each lease, in
//! their order; trouble of ours defers; `Delivered` only when the message is durable at its
//! destination; nothing half-written is visible; a lease that is [`Lease::uncertain`] is looked for
//! before it is delivered again. `tests/common/duties.rs` runs an agent through them.

use postroad_proto::reply::{Refusal, Reply, ReplyId};
use postroad_proto::time::UnixTime;
use postroad_spool::{Lease, Outcome, Spool, SpoolError, SpoolId};
use std::io::Read;

pub mod maildir;

/// Delivers in one way. Runs on the runner's threads and may block.
pub trait DeliveryAgent: Send + Sync + 'static {
    /// The name for logs and metrics.
    fn name(&self) -> &'static str;

    /// Tries each message of the batch once. The result has one entry for each lease, which has one
    /// report for each of [`Lease::open_recipients`], in the same order.
    fn deliver(&self, now: UnixTime, batch: &[Lease], contents: &dyn Contents) -> Vec<Vec<Report>>;
}

/// Where an agent reads content; every [`Spool`] is one.
pub trait Contents {
    /// Opens the content of a leased message.
    fn open(&self, id: SpoolId) -> Result<Box<dyn Read + Send>, SpoolError>;
}

impl<S: Spool> Contents for S {
    fn open(&self, id: SpoolId) -> Result<Box<dyn Read + Send>, SpoolError> {
        Spool::open(self, id)
    }
}

/// What came of one attempt for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The outcome; its refusal holds only what anyone may read.
    pub outcome: Outcome,
    /// Why, for the log only: it may name paths and the system's errors.
    pub cause: Option<String>,
}

impl Report {
    /// The message is durable at its destination.
    pub const fn delivered() -> Self {
        Self { outcome: Outcome::Delivered, cause: None }
    }

    /// Not now, with this reply (anything but a 4yz becomes "trouble on our side").
    pub fn deferred(id: ReplyId, cause: impl Into<String>) -> Self {
        let refusal = Refusal::try_from(Reply::of(id)).ok().filter(Refusal::is_transient);
        let refusal = refusal.unwrap_or_else(Refusal::trouble);
        Self { outcome: Outcome::Deferred(refusal), cause: Some(cause.into()) }
    }

    /// Never, with this reply; what is no 5yz defers, so that no message is lost by a slip.
    pub fn failed(id: ReplyId, cause: impl Into<String>) -> Self {
        match Refusal::try_from(Reply::of(id)) {
            Ok(refusal) if !refusal.is_transient() => {
                Self { outcome: Outcome::Failed(refusal), cause: Some(cause.into()) }
            }
            Ok(_) | Err(_) => Self::deferred(id, cause),
        }
    }
}
