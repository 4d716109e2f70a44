//! What the runner tells about its work, for logs and metrics.
//!
//! Texts in an [`Event`] that come from outside (addresses) are as the parser let them through: free
//! of control characters, but whoever writes them to a log escapes them all the same.

use postroad_proto::addr::ReversePath;
use postroad_proto::envelope::Recipient;
use postroad_proto::reply::Refusal;
use postroad_proto::time::UnixTime;
use postroad_spool::SpoolId;
use std::time::Duration;

/// Hears of every attempt. Called on the runner's threads, so it must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A message is durable at one recipient's.
    Delivered {
        /// The message.
        id: SpoolId,
        /// Who sent it.
        sender: &'a ReversePath,
        /// Who has it.
        recipient: &'a Recipient,
        /// The agent's name.
        agent: &'static str,
        /// From acceptance to now.
        waited: Duration,
    },
    /// One recipient has to wait.
    Deferred {
        /// The message.
        id: SpoolId,
        /// Who sent it.
        sender: &'a ReversePath,
        /// Who waits.
        recipient: &'a Recipient,
        /// The agent's name.
        agent: &'static str,
        /// What may be said in public.
        refusal: &'a Refusal,
        /// What only the log may say, with paths and the system's errors.
        cause: Option<&'a str>,
        /// When it is tried again.
        next: UnixTime,
    },
    /// One recipient does not get the message.
    Failed {
        /// The message.
        id: SpoolId,
        /// Who sent it.
        sender: &'a ReversePath,
        /// Who does not get it.
        recipient: &'a Recipient,
        /// The agent's name.
        agent: &'static str,
        /// What may be said in public.
        refusal: &'a Refusal,
        /// What only the log may say.
        cause: Option<&'a str>,
    },
    /// The content of a message could not be read back and the spool set it aside: there is no further
    /// attempt.
    SetAside {
        /// The message.
        id: SpoolId,
        /// Who sent it.
        sender: &'a ReversePath,
        /// Who does not get it.
        recipients: &'a [&'a Recipient],
        /// When it was accepted.
        accepted: UnixTime,
    },
    /// An agent broke its contract: it panicked or gave the wrong number of reports. A bug of ours.
    AgentBroke {
        /// The messages of the batch; each is tried alone, then deferred.
        ids: &'a [SpoolId],
        /// The agent's name.
        agent: &'static str,
        /// What it said.
        cause: &'a str,
    },
    /// The spool could not lease or settle; the runner waits a little and goes on.
    SpoolTrouble {
        /// What it said.
        cause: &'a str,
    },
}
