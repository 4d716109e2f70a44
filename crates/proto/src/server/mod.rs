//! The server's side of a session, as a state machine without I/O.
//!
//! RFC 5321 §3, §4.1.4 and §4.5.3.2; RFC 2033 (LMTP), RFC 2920 (pipelining), RFC 3030 (chunks),
//! RFC 3207 (STARTTLS). Bytes and time go in, [`Action`]s come out:
//!
//! ```text
//!            MAIL ok            DATA ok, 354            CRLF.CRLF         commit ok or not
//!   Ready ───────────► Collecting ──────────► Content ──────────► Asking ─────────────────► Ready
//!     ▲                  │  ▲ RCPT     BDAT ok ► Chunks ─ LAST ──►
//!     └── RSET, EHLO ────┘  └─┘                  Failed (a chunk went wrong: until RSET)
//! ```
//!
//! The contract: after every `handle_*` drain [`Session::poll_action`] until `None`, answering each
//! question with `handle_verdict` or `handle_commit`; then write what was to be sent, in one go; then
//! wait for input while [`Session::wants_input`], and for [`Session::deadline`]. A session that waits
//! for an answer takes no input. After [`Action::StartTls`] a new session begins with nothing kept
//! (RFC 3207 §4.2). What the peer does wrong is answered; nothing it does can make this fail.

mod commands;
mod content;
mod offer;
mod session;
mod transaction;
mod transfer;

pub use offer::{BareNewline, ContentRules, Limits, Offer, Protocol, Rule, TlsOffer};
pub use session::Session;
pub use transaction::Transaction;

use crate::addr::{ForwardPath, ReversePath};
use crate::envelope::Envelope;
use crate::reply::{Refusal, Reply};
use alloc::vec::Vec;

/// Something the session cannot know by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question {
    /// May this sender begin a transaction, for a message of this size if it was declared?
    Sender {
        /// The reverse-path.
        path: ReversePath,
        /// `SIZE=` of RFC 1870.
        size: Option<u64>,
    },
    /// May this recipient get the message?
    Recipient(ForwardPath),
    /// May content begin? A draft is made for the [`Session::transaction`].
    Content,
    /// All content was handed over: make it durable. Answer with [`Session::handle_commit`].
    Commit(Envelope),
}

/// The answer to a question other than [`Question::Commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "yes, no, no and goodbye")]
pub enum Verdict {
    /// Yes.
    Accept,
    /// No, with the reply to give.
    Refuse(Refusal),
    /// No, and the session ends after the reply.
    Hangup(Refusal),
}

/// What the driver is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Say this. Replies that come in a row belong in one write (RFC 2920 §3.2).
    Send(Reply),
    /// Find out, and answer.
    Ask(Question),
    /// Append this to the draft.
    Content(Vec<u8>),
    /// Drop the draft.
    Abandon,
    /// Write what was to be sent, then begin TLS, then a new session.
    StartTls,
    /// Write what was to be sent, then close.
    Close,
    /// Put this into the record.
    Note(Note),
}

/// Something about the peer that is no reason to refuse, but to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Bare CR or LF were made CRLF.
    BareNewlines {
        /// How many.
        count: u64,
        /// Octet of the content (from 0) of the first.
        first_at: u64,
    },
    /// Content came before the 354 (RFC 2920 §3.1 forbids it); taken as content.
    ContentAhead,
    /// Octets that stood behind STARTTLS in the clear; dropped (RFC 3207 §4.2).
    Injected(u64),
    /// No `From` field.
    MissingFrom,
    /// This many `From` fields.
    RepeatedFrom(u32),
    /// No `Date` field.
    MissingDate,
    /// A line of this many octets.
    LongLine(u64),
    /// A header of this many octets.
    LargeHeader(u64),
}
