//! The client's side of SMTP and LMTP: content, replies, and the dialogue of one transfer.
//!
//! RFC 5321 §3, §4 and §4.5.3.2 (timers), RFC 2033 (LMTP), 2920 (pipelining), 1870 (SIZE), 3030 (BDAT),
//! 3207 (STARTTLS), 4954 (AUTH), 6152 and 6531 (8-bit and UTF-8). [`Session`] is the dialogue:
//! whoever owns the socket feeds it octets and carries out its [`Action`]s. It ends with one
//! [`Outcome`] per recipient, whatever the server does; a failure says in which [`Phase`] and why.
//! Left out on purpose: several transactions in one session, and DSN parameters.

mod capabilities;
mod encode;
mod login;
mod outcome;
mod reply;
mod session;

pub use capabilities::{Capabilities, Extension, Mechanism};
pub use encode::{Encoder, Encoding, Survey};
pub use login::{Login, LoginError};
pub use outcome::{Failure, LocalRefusal, Outcome, Permanence, Phase, ProtocolFault};
pub use reply::{MAX_REPLY_LINE, MAX_REPLY_LINES, MAX_REPLY_TEXT, ReplyFault, ServerReply};
pub use session::Session;

use crate::addr::{Domain, ForwardPath, ReversePath};
use crate::envelope::{Body, Smtputf8};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// What is known about content before it is sent; [`Survey`] finds it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentFacts {
    /// Octets as SIZE counts them: line ends as CRLF, without stuffed dots and the final dot
    /// (RFC 1870 §6.1).
    pub size: u64,
    /// What the octets need: NUL needs BINARYMIME, octets above 127 need 8BITMIME.
    pub body: Body,
    /// Whether the header has octets above 127, which need SMTPUTF8 (RFC 6532 §3).
    pub smtputf8: Smtputf8,
    /// The longest line in octets without its line end; RFC 5322 §2.1.1 allows 998.
    pub longest_line: u64,
    /// The number of that line, the first being 1; 0 for no content.
    pub longest_line_number: u64,
}

/// One message to hand over: its envelope and the facts about its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an envelope and its content, nothing else")]
pub struct Transfer {
    /// Where to report trouble.
    pub sender: ReversePath,
    /// Who is to get it; outcomes come in the same order.
    pub recipients: Vec<ForwardPath>,
    /// About the content.
    pub content: ContentFacts,
}

/// Which protocol the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5321 and RFC 2033")]
pub enum Protocol {
    /// EHLO, and one reply after the content.
    Smtp,
    /// LHLO, and one reply per accepted recipient after the content (RFC 2033 §4.2).
    Lmtp,
}

/// What to do about STARTTLS (RFC 3207).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "never, if it is there, always, and done already")]
pub enum TlsPolicy {
    /// Never ask for it.
    Off,
    /// Ask for it where it is offered, go on in plain text where it is not.
    IfOffered,
    /// Fail where it is not offered or refused.
    Require,
    /// The connection began with TLS (RFC 8314 §3).
    Implicit,
}

/// Whether user and password may go over a connection without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "yes or no, with a name")]
pub enum PlainLogin {
    /// Never (RFC 4954 §4); fail before anything is said.
    Refuse,
    /// Yes: the way to the server is known to be private.
    Allow,
}

/// Whether commands go out in groups where the server offers it (RFC 2920).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "yes or no, with a name")]
pub enum Grouping {
    /// Groups where PIPELINING is offered.
    IfOffered,
    /// One command at a time.
    Never,
}

/// When content goes by BDAT (RFC 3030).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "as needed or as offered")]
pub enum Chunking {
    /// Only for content that DATA cannot carry.
    IfNeeded,
    /// Wherever CHUNKING is offered.
    IfOffered,
}

/// How long each phase may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "one field a row of RFC 5321 §4.5.3.2")]
pub struct Timers {
    /// Connection to greeting (RFC 5321 §4.5.3.2.1).
    pub greeting: Duration,
    /// Replies to EHLO, STARTTLS and AUTH; no text gives a number, so that of MAIL.
    pub hello: Duration,
    /// Replies to MAIL and RCPT, each (§4.5.3.2.2, §4.5.3.2.3).
    pub envelope: Duration,
    /// Reply to DATA (§4.5.3.2.4).
    pub data: Duration,
    /// Each piece of content (§4.5.3.2.5), and the reply to each BDAT but the last.
    pub block: Duration,
    /// Reply to the final dot (§4.5.3.2.6).
    pub end: Duration,
    /// Reply to QUIT. Nothing hangs on it any more.
    pub quit: Duration,
}

impl Default for Timers {
    /// The least that RFC 5321 §4.5.3.2 asks for.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            greeting: minutes(5),
            hello: minutes(5),
            envelope: minutes(5),
            data: minutes(2),
            block: minutes(3),
            end: minutes(10),
            quit: Duration::from_secs(10),
        }
    }
}

impl Timers {
    /// The same timers, none longer than `most`.
    #[must_use]
    pub fn capped(self, most: Duration) -> Self {
        Self {
            greeting: self.greeting.min(most),
            hello: self.hello.min(most),
            envelope: self.envelope.min(most),
            data: self.data.min(most),
            block: self.block.min(most),
            end: self.end.min(most),
            quit: self.quit.min(most),
        }
    }
}

/// How a session is to speak.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by callers; a new choice must be met by each")]
pub struct Settings {
    /// The name given at EHLO (RFC 5321 §4.1.1.1).
    pub hello: Domain,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// What to do about STARTTLS.
    pub tls: TlsPolicy,
    /// Who to log in as.
    pub login: Option<Login>,
    /// Whether the password may go without TLS.
    pub plain_login: PlainLogin,
    /// Whether commands go out in groups.
    pub grouping: Grouping,
    /// When BDAT is used.
    pub chunking: Chunking,
    /// How long each phase may last.
    pub timers: Timers,
}

/// One thing to show to somebody who follows the dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialogue {
    /// A command as it is sent, without CRLF and with secrets masked.
    Command(String),
    /// A reply as it came. Escape it before it is shown.
    Reply(ServerReply),
    /// The last of the content went out; octets on the wire, dots and chunk commands included.
    Content(u64),
    /// TLS is on; the session begins anew (RFC 3207 §4.2).
    Secured,
    /// The server broke a rule that does no harm here: a line ended in LF alone (RFC 5321 §2.3.8).
    BareLf,
}

/// What the owner of the socket is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Write these octets.
    Send(Vec<u8>),
    /// Do the TLS handshake, then call [`Session::handle_secured`]; drop octets read before it.
    StartTls,
    /// Call [`Session::handle_content`] with the next piece, or [`Session::handle_content_end`].
    NeedContent,
    /// Show this, if anybody looks.
    Show(Dialogue),
    /// Close the connection; the outcomes are complete.
    Close,
}
