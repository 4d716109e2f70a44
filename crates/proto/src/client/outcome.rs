//! How a transfer ends for each recipient, and why.
//!
//! RFC 5321 §4.2.1 (4yz may work later, 5yz will not), §4.5.3.1.10 (552 for too many recipients),
//! §6.1 (who owns the message when). A connection lost after the final dot leaves the sender the
//! owner: better twice than never.

use super::reply::{ReplyFault, ServerReply};
use crate::number::grouped;
use crate::reply::{Class, EnhancedCode};
use alloc::string::String;
use core::fmt;

/// Where in the dialogue something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for the greeting.
    Greeting,
    /// EHLO, LHLO or HELO.
    Hello,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH.
    Login,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// The content is going out.
    Content,
    /// After the final dot or the last chunk.
    End,
    /// QUIT.
    Quit,
}

impl Phase {
    /// What is waited for, as the end of "waiting for …".
    pub const fn awaited(self) -> &'static str {
        match self {
            Self::Greeting => "the greeting",
            Self::Hello => "the reply to EHLO",
            Self::StartTls => "TLS to begin",
            Self::Login => "the reply to AUTH",
            Self::Mail => "the reply to MAIL",
            Self::Recipient => "the reply to RCPT",
            Self::Data => "the reply to DATA",
            Self::Content => "the server to take the content",
            Self::End => "the reply to the end of the content",
            Self::Quit => "the reply to QUIT",
        }
    }

    /// What was refused where a refusal comes here, as the beginning of "… is refused".
    pub const fn refused(self) -> &'static str {
        match self {
            Self::Greeting => "the connection",
            Self::Hello => "the greeting",
            Self::StartTls => "TLS",
            Self::Login => "the login",
            Self::Mail => "the sender",
            Self::Recipient => "the recipient",
            Self::Data => "the message",
            Self::Content | Self::End => "the content",
            Self::Quit => "the end of the session",
        }
    }

    /// A short name for machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Hello => "hello",
            Self::StartTls => "starttls",
            Self::Login => "auth",
            Self::Mail => "mail",
            Self::Recipient => "rcpt",
            Self::Data => "data",
            Self::Content => "content",
            Self::End => "end",
            Self::Quit => "quit",
        }
    }
}

/// How the server broke the protocol so that the session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolFault {
    /// What came is not a reply.
    Reply(ReplyFault),
    /// A reply nobody asked for, so that no later one can be matched.
    Unasked(u16),
    /// Octets in plain text after the reply to STARTTLS: somebody may have put them there.
    BeforeTls,
    /// A code that makes no sense as an answer to this command.
    UnexpectedCode(u16),
}

impl fmt::Display for ProtocolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(fault) => fault.fmt(f),
            Self::Unasked(code) => write!(f, "the server sent a {code} reply that nothing had asked for"),
            Self::BeforeTls => {
                f.write_str("the server sent more after its reply to STARTTLS, before TLS was on")
            }
            Self::UnexpectedCode(code) => write!(f, "the server answered {code}, which makes no sense here"),
        }
    }
}

/// Why this side did not send, although the server said nothing against it. Nothing was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalRefusal {
    /// The message is larger than the server takes (RFC 1870 §3).
    TooBig {
        /// Octets of the message.
        size: u64,
        /// The server's limit.
        limit: u64,
    },
    /// The content has octets above 127 and 8BITMIME is not offered (RFC 6152 §3).
    NeedsEightBitMime,
    /// An address or the header is UTF-8 and SMTPUTF8 is not offered (RFC 6531 §3.1).
    NeedsSmtputf8,
    /// The content has NUL octets; CHUNKING and BINARYMIME are not both offered (RFC 3030 §3).
    NeedsBinaryMime,
    /// TLS is required and STARTTLS is not offered.
    TlsNotOffered,
    /// A login is wanted and no AUTH mechanism we speak is offered.
    LoginNotOffered,
    /// A login is wanted, and it would go in plain text.
    LoginNeedsTls,
    /// The content could not be read to its end; what was sent of it has no end mark.
    ContentUnreadable,
}

impl fmt::Display for LocalRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooBig { size, limit } => {
                let (size, limit) = (grouped(*size), grouped(*limit));
                return write!(f, "the message has {size} octets and the server takes at most {limit}");
            }
            Self::NeedsEightBitMime => {
                "the message has octets above 127 and the server does not offer 8BITMIME; encode it as 7-bit MIME"
            }
            Self::NeedsSmtputf8 => {
                "an address or the header has UTF-8 characters and the server does not offer SMTPUTF8"
            }
            Self::NeedsBinaryMime => {
                "the message has NUL octets and the server does not offer CHUNKING with BINARYMIME"
            }
            Self::TlsNotOffered => "TLS is required and the server does not offer STARTTLS",
            Self::LoginNotOffered => "the server does not offer AUTH PLAIN or AUTH LOGIN on this connection",
            Self::LoginNeedsTls => "the password would go in plain text: TLS is not on",
            Self::ContentUnreadable => "the message could not be read to its end",
        })
    }
}

/// Whether the same transfer may work later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5321 §4.2.1: 4yz or 5yz")]
pub enum Permanence {
    /// It may: try again later.
    Transient,
    /// It will not: something must change first.
    Permanent,
}

/// Why a recipient does not get the message by this transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The server refused with 4yz or 5yz.
    Refused(Phase, ServerReply),
    /// This side did not send.
    Local(LocalRefusal),
    /// The connection ended.
    Closed(Phase),
    /// A timer ran out.
    TimedOut(Phase),
    /// The server broke the protocol.
    Protocol(Phase, ProtocolFault),
    /// The TLS handshake failed; the reason as the TLS library words it.
    Tls(String),
}

impl Failure {
    /// Whether the server may have the message all the same: all of it was sent and nothing was answered
    /// that can be understood (RFC 5321 §6.1).
    pub const fn is_uncertain(&self) -> bool {
        matches!(self, Self::Closed(Phase::End) | Self::TimedOut(Phase::End) | Self::Protocol(Phase::End, _))
    }

    /// Whether it makes sense to try again.
    pub fn permanence(&self) -> Permanence {
        match self {
            Self::Refused(phase, reply) => {
                // RFC 5321 §4.5.3.1.10: 552 for too many recipients comes from RFC 821 and means 452.
                let too_many = *phase == Phase::Recipient
                    && reply.code() == 552
                    && reply.enhanced() == EnhancedCode::parse("5.5.3");
                if reply.class() == Some(Class::Permanent) && !too_many {
                    Permanence::Permanent
                } else {
                    Permanence::Transient
                }
            }
            Self::Local(_) => Permanence::Permanent,
            Self::Closed(_) | Self::TimedOut(_) | Self::Protocol(..) | Self::Tls(_) => Permanence::Transient,
        }
    }
}

/// One sentence without the reply's own text, which the caller has to escape.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(phase, reply) => write!(f, "{} is refused with {}", phase.refused(), reply.code()),
            Self::Local(refusal) => refusal.fmt(f),
            Self::Closed(Phase::End) => f.write_str(
                "it is unknown whether the message was accepted: all of it was sent, and the connection ended before the server answered",
            ),
            Self::Closed(phase) => {
                write!(f, "the server closed the connection while this side waited for {}", phase.awaited())
            }
            Self::TimedOut(Phase::End) => f.write_str(
                "it is unknown whether the message was accepted: all of it was sent, and the server did not answer in time",
            ),
            Self::TimedOut(phase) => write!(f, "timed out waiting for {}", phase.awaited()),
            Self::Protocol(Phase::End, fault) => write!(
                f,
                "it is unknown whether the message was accepted: all of it was sent, and the answer breaks the protocol: {fault}"
            ),
            Self::Protocol(phase, fault) => {
                write!(f, "the server broke the protocol while this side waited for {}: {fault}", phase.awaited())
            }
            Self::Tls(reason) => write!(f, "the TLS handshake failed: {reason}"),
        }
    }
}

/// How the transfer ended for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "yes or no, each with its evidence")]
pub enum Outcome {
    /// The server took the message for this recipient, with this reply.
    Accepted(ServerReply),
    /// It did not.
    Failed(Failure),
}
