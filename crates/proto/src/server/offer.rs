//! What a listener offers and allows: the settings a session keeps from its first moment to its last.

use alloc::string::String;
use core::time::Duration;

/// Which of the two protocols a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are two")]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: LHLO, and one reply for each recipient after the content.
    Lmtp,
}

/// Where TLS stands in this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "not there, to be had, on")]
pub enum TlsOffer {
    /// No certificate: STARTTLS is not offered.
    Absent,
    /// STARTTLS is offered.
    Offered,
    /// TLS is on.
    Active,
}

/// What is done about something that a check finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the three ways of the specification")]
pub enum Rule {
    /// Nothing.
    Accept,
    /// It goes into the record of the session.
    Note,
    /// The message is refused.
    Refuse,
}

/// What is done about a bare CR or LF in content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "two ways")]
pub enum BareNewline {
    /// Each becomes CRLF, and the record says where the first one was.
    Normalize,
    /// The message is refused after its end.
    Reject,
}

/// Sizes, counts and times (RFC 5321 §4.5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message in octets; announced with SIZE.
    pub message_size: u64,
    /// Most recipients in a transaction; at least 100 (RFC 5321 §4.5.3.1.8).
    pub recipients: u32,
    /// Longest command line in octets with CRLF, before what extensions add (RFC 5321 §4.5.3.1.4).
    pub command_line: usize,
    /// 5yz replies after which the session is closed.
    pub errors: u32,
    /// Most BDAT chunks in one message.
    pub chunks: u32,
    /// Wait for a complete command (RFC 5321 §4.5.3.2.7: at least 5 minutes).
    pub command_timeout: Duration,
    /// Wait for any octets of content (RFC 5321 §4.5.3.2.5: at least 3 minutes).
    pub content_timeout: Duration,
    /// The whole session.
    pub session_timeout: Duration,
    /// Least octets a second of content, averaged over a minute; 0 for none.
    pub min_rate: u32,
    /// Most `Received` fields (RFC 5321 §6.3: at least 100).
    pub received: u32,
    /// Longest header in octets.
    pub header_size: u64,
    /// Longest line of content in octets without CRLF (RFC 5322 §2.1.1).
    pub line_length: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 50 << 20,
            recipients: 1000,
            command_line: 512,
            errors: 20,
            chunks: 100_000,
            command_timeout: Duration::from_mins(5),
            content_timeout: Duration::from_mins(3),
            session_timeout: Duration::from_hours(1),
            min_rate: 500,
            received: 100,
            header_size: 256 << 10,
            line_length: 998,
        }
    }
}

/// What is done about content that is not as RFC 5322 wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRules {
    /// A bare CR or LF.
    pub bare_newline: BareNewline,
    /// No `From`.
    pub missing_from: Rule,
    /// More than one `From`.
    pub repeated_from: Rule,
    /// No `Date`.
    pub missing_date: Rule,
    /// A line longer than [`Limits::line_length`].
    pub long_line: Rule,
    /// A header longer than [`Limits::header_size`].
    pub large_header: Rule,
}

impl Default for ContentRules {
    fn default() -> Self {
        Self {
            bare_newline: BareNewline::Normalize,
            missing_from: Rule::Note,
            repeated_from: Rule::Note,
            missing_date: Rule::Note,
            long_line: Rule::Note,
            large_header: Rule::Note,
        }
    }
}

/// Everything a session needs to know of its listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Our name, in the greeting and in EHLO's reply.
    pub hostname: String,
    /// The protocol.
    pub protocol: Protocol,
    /// Where TLS stands.
    pub tls: TlsOffer,
    /// The limits.
    pub limits: Limits,
    /// The rules for content.
    pub content: ContentRules,
    /// Whether each command line is noted, and what each content was like.
    pub record: bool,
}

impl Offer {
    /// SMTP without TLS, everything else as it is by default.
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            protocol: Protocol::Smtp,
            tls: TlsOffer::Absent,
            limits: Limits::default(),
            content: ContentRules::default(),
            record: false,
        }
    }
}
