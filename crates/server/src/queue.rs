//! The queue as `postroad queue` shows it.

use postroad_spool::{RecipientState, Spool, SpoolError, SpoolId, Waiting};
use serde::{Deserialize, Serialize};

/// Most messages in one answer; the next page begins after the last id.
pub const PAGE: usize = 1000;

/// One waiting message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The queue id.
    pub id: String,
    /// The reverse-path; empty for the null path.
    pub sender: String,
    /// Octets.
    pub size: u64,
    /// When it was accepted, RFC 3339.
    pub accepted: String,
    /// When the next attempt is due, RFC 3339; absent while one is under way or when nothing is left to try.
    pub due: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// Each recipient and where it stands.
    pub recipients: Vec<ItemRecipient>,
}

/// One recipient of a waiting message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRecipient {
    /// The mailbox.
    pub mailbox: String,
    /// What the peer wrote at RCPT, where that was another address.
    pub original: Option<String>,
    /// `new`, `deferred`, `delivered` or `failed`.
    pub state: String,
    /// Why, where it is not simply new or done.
    pub reason: Option<String>,
}

impl From<&Waiting> for Item {
    fn from(waiting: &Waiting) -> Self {
        let recipients =
            waiting.envelope.recipients().iter().zip(&waiting.recipients).map(|(recipient, state)| {
                let (state, reason) = match state {
                    RecipientState::New => ("new", None),
                    RecipientState::Deferred(text) => ("deferred", Some(text.clone())),
                    RecipientState::Delivered => ("delivered", None),
                    RecipientState::Failed(text) => ("failed", Some(text.clone())),
                };
                ItemRecipient {
                    mailbox: recipient.mailbox.to_string(),
                    original: recipient.original.as_ref().map(ToString::to_string),
                    state: state.to_owned(),
                    reason,
                }
            });
        Self {
            id: waiting.id.to_string(),
            sender: waiting.envelope.sender().to_string(),
            size: waiting.size,
            accepted: waiting.accepted.rfc3339().to_string(),
            due: waiting.due.map(|due| due.rfc3339().to_string()),
            attempts: waiting.attempts,
            recipients: recipients.collect(),
        }
    }
}

/// A page of the queue, oldest first.
pub fn list(spool: &impl Spool, after: Option<SpoolId>) -> Result<Vec<Item>, SpoolError> {
    Ok(spool.list(after, PAGE)?.iter().map(Item::from).collect())
}

/// One message of the queue.
pub fn show(spool: &impl Spool, id: SpoolId) -> Result<Option<Item>, SpoolError> {
    Ok(spool.show(id)?.as_ref().map(Item::from))
}
