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
mod stall;
mod transaction;
mod transfer;

pub use offer::{BareNewline, ContentRules, Limits, Offer, Protocol, Rule, TlsOffer};
pub use session::Session;
pub use transaction::Transaction;

use crate::addr::{ForwardPath, ReversePath};
use crate::envelope::Envelope;
use crate::reply::{Refusal, Reply};
use crate::wire::false_end::FalseEnd;
use crate::wire::filter::Findings;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

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

/// What content was like, up to now or to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Content {
    /// Octets taken from the wire, dots and end included; of chunks, their octets.
    pub taken: u64,
    /// What was in it.
    pub findings: Findings,
    /// The first place that another server may take for its end; of DATA alone.
    pub false_end: Option<FalseEnd>,
    /// The value of its first `Message-ID` field.
    pub message_id: Option<Vec<u8>>,
}

/// How a transfer stood still. What is here is evidence, not a guess.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// Which of the ways.
    pub kind: StallKind,
    /// What came of the content; of a command line, its octets alone.
    pub content: Content,
    /// The last octets that came, up to 16.
    pub tail: Vec<u8>,
    /// For how long nothing, or too little, came.
    pub waited: Duration,
}

/// The ways in which a transfer stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StallKind {
    /// Not one octet came after the 354.
    NothingAfter354,
    /// Content came with LF as line end, so that CRLF.CRLF never did.
    NoTerminatorLf,
    /// Content came, but no line with only a dot.
    NoTerminator,
    /// Octets of a chunk are missing (RFC 3030 §2).
    ChunkIncomplete,
    /// Octets came, too slowly.
    SlowLink,
    /// A command came without CRLF at its end.
    CommandWithoutCrlf,
    /// Every command is answered, and the peer says nothing more.
    ClientWaits,
}

impl StallKind {
    /// Its name in records and texts.
    pub const fn key(self) -> &'static str {
        match self {
            Self::NothingAfter354 => "nothing-after-354",
            Self::NoTerminatorLf => "no-terminator-lf",
            Self::NoTerminator => "no-terminator",
            Self::ChunkIncomplete => "chunk-incomplete",
            Self::SlowLink => "slow-link",
            Self::CommandWithoutCrlf => "command-without-crlf",
            Self::ClientWaits => "client-waits",
        }
    }
}

/// Something about the peer that is no reason to refuse, but to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A line came where a command belongs, without its CRLF; only if [`Offer::record`]. What is in it may
    /// be secret, or content of a transaction that failed.
    Line(Vec<u8>),
    /// Content came to its end, well or not; only if [`Offer::record`].
    Content(Box<Content>),
    /// The peer let the time pass. Comes before the reply that ends the session.
    Stall(Box<Stall>),
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
    Injected {
        /// How many.
        octets: u64,
        /// The first of them, at most 16: more may hold a password.
        first: Vec<u8>,
    },
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
