//! Keeps accepted mail safe until it is delivered.
//!
//! [`Spool`] is the one place where receiving and delivering meet. RFC 5321 §6.1: once the reply to
//! the end of content is 250, the message is ours; so [`Spool::commit`] resolves only after message
//! and envelope are on stable storage. No clock is read and no async runtime is bound here.
//!
//! [`DiskSpool`] is the store; [`memory::MemorySpool`] behaves the same without a disk, for tests.
//! docs/spool.md has the states, the files and what a crash at each step leaves; [`sim`] has the disk
//! that forgets, on which that table is tried.

use postroad_proto::envelope::Envelope;
use postroad_proto::reply::Refusal;
use postroad_proto::time::UnixTime;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

mod commit;
mod draft;
pub mod fs;
mod id;
mod ids;
mod index;
mod keeper;
pub mod memory;
mod progress;
mod quarantine;
mod read;
mod record;
mod recover;
mod scan;
mod segment;
mod shared;
pub mod sim;
mod state;
mod store;
mod summary;
#[cfg(test)]
mod testing;

pub use draft::DiskDraft;
pub use id::SpoolId;
pub use quarantine::{Quarantined, quarantined};
pub use record::fuzz_decode;
pub use recover::OpenReport;
pub use shared::Options;
pub use store::DiskSpool;

/// The store of messages that were accepted and are not yet delivered.
pub trait Spool: Send + Sync + 'static {
    /// A message being received. Dropped means abandoned.
    type Draft: Draft;

    /// Begins a message. `now` goes into its id.
    fn begin(&self, now: UnixTime) -> Result<Self::Draft, SpoolError>;

    /// Whether a message of `bytes` octets may be taken now; [`SpoolError::Full`] if not. Asks no disk,
    /// so that it can be asked for every MAIL.
    fn room_for(&self, bytes: u64) -> Result<(), SpoolError>;

    /// Makes the draft durable under `envelope`, due for delivery at once. The message is on stable
    /// storage when the future resolves to `Ok`, and gone without a trace when it resolves to `Err`.
    /// One flush serves all that wait at the same time. Dropping the future does not undo the commit.
    fn commit(&self, draft: Self::Draft, envelope: Envelope) -> Commit;

    /// Takes up to `limit` messages that are due at `now`, oldest due first. A leased message is
    /// handed to nobody else until its lease is settled or dropped (dropped: due again at once).
    fn lease(&self, now: UnixTime, limit: usize) -> Result<Vec<Lease>, SpoolError>;

    /// Opens the content of a message for reading (the checksum is verified).
    fn open(&self, id: SpoolId) -> Result<Box<dyn io::Read + Send>, SpoolError>;

    /// Writes down what came of an attempt, one outcome for each recipient that was open in the
    /// lease, in the order of [`Lease::open_recipients`]. What was deferred is due again at `next`.
    /// When every recipient has it the message leaves the spool; when none is open but some failed it
    /// stays, due never, until [`Spool::discard`].
    fn settle(
        &self,
        lease: Lease,
        now: UnixTime,
        outcomes: &[Outcome],
        next: UnixTime,
    ) -> Result<(), SpoolError>;

    /// Takes a message out of the spool: after its bounce was accepted, or by an operator's hand. An
    /// attempt under way is not stopped; its outcome is then [`SpoolError::Gone`].
    fn discard(&self, id: SpoolId) -> Result<(), SpoolError>;

    /// When the earliest message that nobody leases falls due; `None` if there is none.
    fn next_due(&self) -> Option<UnixTime>;

    /// Calls `wake` whenever a message becomes due earlier than before (a commit, a dropped lease).
    fn on_due(&self, wake: Arc<dyn Fn() + Send + Sync>);

    /// Up to `limit` waiting messages with an id after `after`, in id order.
    fn list(&self, after: Option<SpoolId>, limit: usize) -> Result<Vec<Waiting>, SpoolError>;

    /// One waiting message.
    fn show(&self, id: SpoolId) -> Result<Option<Waiting>, SpoolError>;

    /// Octets free beyond the reserve, as they were last looked at; takes no lock.
    fn free_over_reserve(&self) -> i64;

    /// How the store is: counters for metrics and health.
    fn status(&self) -> Status;
}

/// A message being received. Content is appended; up to 64 KiB stay in memory, the rest streams to disk.
pub trait Draft: Send + 'static {
    /// The id that the message will have; the trace header names it.
    fn id(&self) -> SpoolId;

    /// Appends content. The buffer is taken over, so that it is not copied.
    fn append(&mut self, chunk: Vec<u8>) -> Result<(), SpoolError>;

    /// Moves what is in memory to disk at once (when memory for content in flight runs short).
    fn spill(&mut self) -> Result<(), SpoolError>;

    /// Octets appended so far.
    fn size(&self) -> u64;

    /// Octets of it that are still in memory.
    fn in_memory(&self) -> usize;
}

/// See [`Spool::commit`].
pub type Commit = Pin<Box<dyn Future<Output = Result<SpoolId, SpoolError>> + Send>>;

/// A message handed out for one delivery attempt. Dropping it without settling makes it due again.
pub struct Lease {
    /// The message.
    pub id: SpoolId,
    /// Its envelope, with all recipients.
    pub envelope: Envelope,
    /// Indices into the envelope's recipients that still want delivery; never empty.
    pub open_recipients: Vec<u32>,
    /// Octets of content.
    pub size: u64,
    /// When it was accepted.
    pub accepted: UnixTime,
    /// Attempts made before this one.
    pub attempts: u32,
    /// Whether an earlier attempt may have been cut off (after a crash or a lease that was dropped), so
    /// that an agent should look for what it already delivered.
    pub uncertain: bool,
    /// Gives the message back when dropped.
    pub guard: Option<Box<dyn FnOnce() + Send>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(give_back) = self.guard.take() {
            give_back();
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("open", &self.open_recipients)
            .finish_non_exhaustive()
    }
}

/// What came of one attempt for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an attempt ends in one of three ways")]
pub enum Outcome {
    /// It is durable at its destination.
    Delivered,
    /// Not now; to be tried again.
    Deferred(Refusal),
    /// Never; the message stays in the queue as failed, for a bounce or an operator.
    Failed(Refusal),
}

/// One waiting message as `queue list` and `queue show` print it.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The message.
    pub id: SpoolId,
    /// Its envelope.
    pub envelope: Envelope,
    /// Octets of content.
    pub size: u64,
    /// When it was accepted.
    pub accepted: UnixTime,
    /// When it is due next; `None` while an attempt is under way or when all that is left has failed.
    pub due: Option<UnixTime>,
    /// Attempts made.
    pub attempts: u32,
    /// The state of each recipient, by its index in the envelope.
    pub recipients: Vec<RecipientState>,
}

/// Where one recipient of a waiting message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the states of docs/spool.md")]
pub enum RecipientState {
    /// No attempt has been made.
    New,
    /// The last attempt was deferred, with this text.
    Deferred(String),
    /// Done.
    Delivered,
    /// Given up, with this text; waits for a bounce or an operator.
    Failed(String),
}

/// The state of the store.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Messages waiting, those under way included.
    pub messages: u64,
    /// Octets of their content.
    pub bytes: u64,
    /// Commits that were flushed since the start.
    pub commits: u64,
    /// Flushes made for them.
    pub flushes: u64,
    /// Nanoseconds spent in these flushes.
    pub flush_nanos: u64,
    /// Octets free on the device, less the reserve; negative when the reserve is used.
    pub free_over_reserve: i64,
    /// Records that could not be read and were set aside.
    pub quarantined: u64,
    /// Whether the last flush or write failed.
    pub failing: bool,
}

/// Why the store could not do something. Never the peer's fault: 4yz without exception.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpoolError {
    /// The disk is full, or free space is below the reserve.
    Full,
    /// The message's record cannot be read; it was set aside.
    Corrupt(SpoolId),
    /// No such message (any more).
    Gone(SpoolId),
    /// Another process has this directory.
    Locked,
    /// The directory was written by a newer version of the program.
    TooNew {
        /// The version found.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The directory's `format` file does not say what it must; nothing in the directory was touched.
    DamagedFormat,
    /// The disk said no.
    Io(io::Error),
}

impl std::fmt::Display for SpoolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("the disk is full or below its reserve"),
            Self::Corrupt(id) => write!(f, "the record of message {id} cannot be read; it was set aside"),
            Self::Gone(id) => write!(f, "message {id} is no longer in the spool"),
            Self::Locked => f.write_str("another process is using this spool directory"),
            Self::TooNew { found, known } => write!(
                f,
                "the spool was written in format {found}, this program knows up to {known}; start the newer program"
            ),
            Self::DamagedFormat => f.write_str(
                "the spool's file `format` is damaged: it must hold the line \"postroad-spool 1\". What the spool \
                 holds is not touched; write that line into the file, or bring it back from a backup, and start again",
            ),
            Self::Io(error) => write!(f, "the disk said: {error}"),
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Full
            | Self::Corrupt(_)
            | Self::Gone(_)
            | Self::Locked
            | Self::TooNew { .. }
            | Self::DamagedFormat => None,
        }
    }
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
            Self::Full
        } else {
            Self::Io(error)
        }
    }
}
