//! Replies as values with a name: the catalogue of every sentence this server says.
//!
//! RFC 5321 §4.2 (reply codes), RFC 2034 and 3463 (enhanced codes), RFC 5248 (their registry).
//! A basic code and its enhanced code always agree in class, because the class is taken from the
//! basic code. 3yz replies, the greeting and the replies to EHLO, HELO and LHLO carry no enhanced
//! code (RFC 2034 §3). A text may be made more precise by [`Reply::saying`]; the codes may not.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

/// The class of an enhanced code (RFC 3463 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 3463 §2 closes the set")]
pub enum Class {
    /// 2: it worked.
    Success = 2,
    /// 4: not now; the same again later may work.
    Transient = 4,
    /// 5: not like this; the same again will fail.
    Permanent = 5,
}

/// An enhanced status code, `class.subject.detail` (RFC 3463 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnhancedCode {
    class: Class,
    subject: u16,
    detail: u16,
}

impl EnhancedCode {
    /// Reads `c.s.d` (RFC 2034 §4); `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => Class::Success,
            "4" => Class::Transient,
            "5" => Class::Permanent,
            _ => return None,
        };
        let mut number = || -> Option<u16> {
            let part = parts.next()?;
            let fits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if fits && (part == "0" || !part.starts_with('0')) { part.parse().ok() } else { None }
        };
        let (subject, detail) = (number()?, number()?);
        if parts.next().is_some() { None } else { Some(Self { class, subject, detail }) }
    }

    /// The code of these parts; `None` if subject or detail is above 999 (RFC 3463 §2).
    pub const fn new(class: Class, subject: u16, detail: u16) -> Option<Self> {
        if subject > 999 || detail > 999 { None } else { Some(Self { class, subject, detail }) }
    }

    /// The class, always that of the basic code beside it.
    pub const fn class(self) -> Class {
        self.class
    }

    /// The second number: what it is about.
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The third number: what exactly.
    pub const fn detail(self) -> u16 {
        self.detail
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class as u8, self.subject, self.detail)
    }
}

const fn class_of(code: u16) -> Option<Class> {
    match code / 100 {
        2 => Some(Class::Success),
        4 => Some(Class::Transient),
        5 => Some(Class::Permanent),
        _ => None,
    }
}

macro_rules! catalogue {
    ($($(#[$doc:meta])+ $name:ident = $code:literal $(($subject:literal . $detail:literal))? $text:literal;)+) => {
        /// Every reply this server can give, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ReplyId { $($(#[$doc])+ $name,)+ }

        impl ReplyId {
            /// The whole catalogue, in the order of its source.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name as the code spells it; dialogue files and metrics use it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The basic code (RFC 5321 §4.2.1).
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)+ }
            }

            /// The text given where nothing more precise is known.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            const fn subject_detail(self) -> Option<(u16, u16)> {
                match self { $(Self::$name => catalogue!(@enhanced $($subject $detail)?),)+ }
            }
        }
    };
    (@enhanced $subject:literal $detail:literal) => { Some(($subject, $detail)) };
    (@enhanced) => { None };
}

catalogue! {
    /// The greeting of a listener that will talk (RFC 5321 §3.1). The text is preceded by the host name.
    Greeting = 220 "ESMTP Postroad";
    /// The answer to EHLO, one line an extension (RFC 5321 §4.1.1.1).
    Ehlo = 250 "";
    /// The answer to HELO.
    Helo = 250 "";
    /// MAIL accepted.
    SenderOk = 250 (1 . 0) "Sender ok";
    /// RCPT accepted.
    RecipientOk = 250 (1 . 5) "Recipient ok";
    /// RSET done.
    Reset = 250 (0 . 0) "Transaction cleared";
    /// NOOP.
    Noop = 250 (0 . 0) "Nothing done, as asked";
    /// A BDAT chunk was taken (RFC 3030 §2).
    ChunkTaken = 250 (0 . 0) "Octets taken";
    /// The message is on stable storage: from here on it is ours (RFC 5321 §6.1).
    Accepted = 250 (0 . 0) "Accepted and stored";
    /// HELP.
    Help = 214 (0 . 0) "Commands: MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT";
    /// STARTTLS may begin (RFC 3207 §4).
    StartTls = 220 (0 . 0) "Ready to start TLS";
    /// QUIT.
    Goodbye = 221 (0 . 0) "Goodbye";
    /// VRFY never tells whether a mailbox exists (RFC 5321 §3.5.3, §7.3).
    CannotVerify = 252 (0 . 0) "Cannot verify here; RCPT will tell";
    /// DATA accepted: content up to CRLF.CRLF (RFC 5321 §4.1.1.4).
    StartContent = 354 "Send the message; end with a line that holds only a dot";

    /// We are stopping.
    ShuttingDown = 421 (3 . 2) "Shutting down; try again in a minute";
    /// More connections than the listener takes in all.
    TooManyConnections = 421 (7 . 0) "Too many connections; try again later";
    /// More connections than one address may have.
    TooManyConnectionsFromYou = 421 (7 . 0) "Too many connections from your address; close some first";
    /// The session made more mistakes than allowed.
    TooManyErrors = 421 (7 . 0) "Too many errors in this session";
    /// No complete command came in time (RFC 5321 §4.5.3.2.7).
    CommandTimeout = 421 (4 . 2) "Timed out waiting for a command";
    /// No content came in time (RFC 5321 §4.5.3.2.5).
    ContentTimeout = 421 (4 . 2) "Timed out waiting for content";
    /// The session lasted longer than allowed.
    SessionTimeout = 421 (4 . 2) "The session lasted too long";
    /// Content came slower than the least rate.
    TooSlow = 421 (4 . 2) "Content came too slowly";
    /// Anything of ours that went wrong: never the peer's fault, never permanent.
    LocalTrouble = 451 (3 . 0) "Trouble on our side; try again later";
    /// A mailbox is over its quota.
    MailboxFull = 452 (2 . 2) "The mailbox is full; try again later";
    /// Free disk is below the reserve, or the disk is full.
    StorageFull = 452 (3 . 1) "Not enough disk space here; try again later";
    /// The memory for content in flight is used up.
    MemoryFull = 452 (3 . 1) "Too much mail in flight; try again later";
    /// More recipients than the limit: the accepted ones stand (RFC 5321 §4.5.3.1.10).
    TooManyRecipients = 452 (5 . 3) "Too many recipients; send the rest in another transaction";

    /// No such command (RFC 5321 §4.2.4).
    UnknownCommand = 500 (5 . 1) "Unknown command";
    /// A line that is not a command line at all: bare CR or LF, NUL, octets above 127 where none may be.
    MalformedLine = 500 (5 . 2) "Malformed line; end each line with CRLF and nothing else";
    /// A command line over the limit (RFC 5321 §4.5.3.1.4).
    LineTooLong = 500 (5 . 2) "Line too long";
    /// The argument does not fit the command.
    BadArgument = 501 (5 . 4) "Bad argument";
    /// EHLO, HELO or LHLO without a usable name. No enhanced code (RFC 2034 §3).
    BadHello = 501 "Say your host name or address literal, as in EHLO mail.example.org";
    /// The address in RCPT is malformed.
    BadRecipient = 501 (1 . 3) "Bad recipient address";
    /// The address in MAIL is malformed.
    BadSender = 501 (1 . 7) "Bad sender address";
    /// The same parameter twice.
    DuplicateParameter = 501 (5 . 4) "Parameter given twice";
    /// A command we know but do not offer here.
    NotOffered = 502 (5 . 1) "Command not offered here";
    /// A command that must come after EHLO or HELO (RFC 5321 §4.1.4).
    NeedHello = 503 (5 . 1) "Say EHLO first, as in EHLO mail.example.org";
    /// RCPT, DATA or BDAT before MAIL.
    NeedMail = 503 (5 . 1) "MAIL FROM comes first; start with MAIL FROM:<address>";
    /// DATA or BDAT before an accepted RCPT.
    NeedRecipient = 503 (5 . 1) "No recipient was accepted; give RCPT TO:<address> first";
    /// MAIL inside a transaction.
    NestedMail = 503 (5 . 1) "A transaction is open; finish it or send RSET";
    /// STARTTLS inside TLS.
    AlreadyTls = 503 (5 . 1) "TLS is already on";
    /// DATA after BDAT (RFC 3030 §2), or DATA for BINARYMIME (RFC 3030 §3).
    UseBdat = 503 (5 . 1) "This transaction goes on with BDAT, not DATA";
    /// RCPT, or another command that does not belong between chunks.
    InChunks = 503 (5 . 1) "Between chunks only BDAT, RSET, NOOP and QUIT make sense";
    /// A chunk after one that failed (RFC 3030 §4.2).
    ChunkAfterFailure = 503 (5 . 1) "An earlier chunk failed; send RSET and begin again";
    /// No mailbox of that name in a domain of ours.
    NoSuchMailbox = 550 (1 . 1) "No such mailbox here";
    /// The domain is not ours and the peer may not relay.
    RelayDenied = 550 (7 . 1) "Relay denied: that domain is not served here";
    /// Content with a bare CR or LF where these are refused.
    BareNewline = 550 (5 . 2) "The content has a bare CR or LF; end each line with CRLF";
    /// Content that lacks what the configuration asks for, or has it twice.
    BadContent = 554 (6 . 0) "The content was refused";
    /// The mailbox has been over its quota for too long.
    MailboxFullForLong = 552 (2 . 2) "The mailbox has been full for a long time";
    /// The message is larger than this mailbox could ever take.
    TooBigForMailbox = 552 (2 . 3) "The message is larger than the mailbox can take";
    /// The message is larger than the server takes (RFC 1870 §6).
    MessageTooBig = 552 (3 . 4) "The message is too big";
    /// A UTF-8 address without the SMTPUTF8 parameter (RFC 6531 §3.5).
    NeedsSmtputf8 = 553 (6 . 7) "A non-ASCII address needs the SMTPUTF8 parameter at MAIL";
    /// Not SMTP: HTTP, a TLS `ClientHello` on a plain port, SSH.
    NotSmtp = 554 (5 . 1) "This is an SMTP server";
    /// The peer talked before the greeting.
    Pregreet = 554 (5 . 1) "You spoke before the greeting (RFC 5321 4.3.1)";
    /// Content that came although DATA had been refused.
    ContentAhead = 554 (5 . 1) "Content came after a refused DATA; closing rather than guess";
    /// A cap on chunks in one message.
    TooManyChunks = 554 (5 . 0) "Too many chunks; send fewer and larger ones";
    /// NUL in content that is not BINARYMIME.
    NulInContent = 554 (6 . 0) "The content has a NUL octet; only BINARYMIME may";
    /// Too many Received lines (RFC 5321 §6.3).
    Loop = 554 (4 . 6) "The message is looping: too many Received lines";
    /// A parameter we do not offer (RFC 5321 §4.1.1.11).
    UnknownParameter = 555 (5 . 4) "Parameter not offered here";
}

impl ReplyId {
    /// The enhanced code, if this reply carries one; its class is that of the basic code.
    pub const fn enhanced(self) -> Option<EnhancedCode> {
        match (self.subject_detail(), class_of(self.code())) {
            (Some((subject, detail)), Some(class)) => Some(EnhancedCode { class, subject, detail }),
            _ => None,
        }
    }
}

/// Longest text on one line of a reply, in octets: 512 less code, separator and CRLF
/// (RFC 5321 §4.5.3.1.5), less room for the enhanced code.
const MAX_TEXT_LINE: usize = 480;

/// A reply: its name, and the text where it says more than the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    id: ReplyId,
    text: Cow<'static, str>,
}

impl Reply {
    /// The reply as the catalogue has it.
    pub const fn of(id: ReplyId) -> Self {
        Self { id, text: Cow::Borrowed(id.text()) }
    }

    /// The reply with a more precise text; a `\n` in it begins a further line.
    /// Control characters and non-ASCII of the text leave as `?`, so that nothing a peer sent can
    /// forge a reply line.
    pub fn saying(id: ReplyId, text: impl Into<Cow<'static, str>>) -> Self {
        Self { id, text: text.into() }
    }

    /// The name.
    pub const fn id(&self) -> ReplyId {
        self.id
    }

    /// The basic code.
    pub const fn code(&self) -> u16 {
        self.id.code()
    }

    /// The enhanced code, if it carries one.
    pub const fn enhanced(&self) -> Option<EnhancedCode> {
        self.id.enhanced()
    }

    /// The text without codes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends the reply as it goes over the wire, with the codes on every line and CRLF
    /// (RFC 5321 §4.2.1, RFC 2034 §4).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_with("", out);
    }

    /// As [`Self::write_to`], with `suffix` at the end of the last line, where there is always room for it.
    pub fn write_with(&self, suffix: &str, out: &mut Vec<u8>) {
        let enhanced = self.enhanced();
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            push_number(out, self.code());
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some(enhanced) = enhanced {
                push_number(out, enhanced.class as u16);
                out.push(b'.');
                push_number(out, enhanced.subject);
                out.push(b'.');
                push_number(out, enhanced.detail);
                out.push(b' ');
            }
            let clean = |b: u8| if (0x20..0x7f).contains(&b) { b } else { b'?' };
            let suffix = if lines.peek().is_none() { suffix } else { "" };
            let room = MAX_TEXT_LINE.saturating_sub(suffix.len());
            out.extend(line.bytes().take(room).chain(suffix.bytes()).map(clean));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends a number below 1000, as all parts of codes are.
fn push_number(out: &mut Vec<u8>, number: u16) {
    let digit = |n: u16| b'0' + u8::try_from(n % 10).unwrap_or(0);
    if number >= 100 {
        out.push(digit(number / 100));
    }
    if number >= 10 {
        out.push(digit(number / 10));
    }
    out.push(digit(number));
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.enhanced() {
            Some(enhanced) => write!(f, "{} {enhanced} {}", self.code(), self.text),
            None => write!(f, "{} {}", self.code(), self.text),
        }
    }
}

/// A reply that says no: 4yz or 5yz, by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Reply);

impl Refusal {
    /// The reply.
    pub fn reply(&self) -> &Reply {
        &self.0
    }

    /// Takes the reply out.
    pub fn into_reply(self) -> Reply {
        self.0
    }

    /// Whether the same may work later (4yz).
    pub fn is_transient(&self) -> bool {
        class_of(self.0.code()) == Some(Class::Transient)
    }

    /// Anything that went wrong on our side. There is no other way from an internal trouble to the
    /// wire, and it is 4yz: the peer still has the message and tries again.
    pub const fn trouble() -> Self {
        Self(Reply::of(ReplyId::LocalTrouble))
    }
}

impl TryFrom<Reply> for Refusal {
    type Error = Reply;

    /// Gives the reply back if it is not a refusal.
    fn try_from(reply: Reply) -> Result<Self, Reply> {
        match class_of(reply.code()) {
            Some(Class::Transient | Class::Permanent) => Ok(Self(reply)),
            Some(Class::Success) | None => Err(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn classes_agree_and_rfc_2034_exceptions_hold() {
        for &id in ReplyId::ALL {
            let bare = matches!(
                id,
                ReplyId::Greeting | ReplyId::Ehlo | ReplyId::Helo | ReplyId::BadHello | ReplyId::StartContent
            );
            assert_eq!(id.enhanced().is_none(), bare, "{}", id.name());
            if let Some(enhanced) = id.enhanced() {
                assert_eq!(enhanced.class() as u16, id.code() / 100, "{}", id.name());
                assert_eq!(EnhancedCode::parse(&format!("{enhanced}")), Some(enhanced));
            }
            assert!(id.text().len() <= 200, "{} is too long", id.name());
            assert!(id.text().is_ascii(), "{} must be ASCII", id.name());
        }
    }

    #[test]
    fn a_peer_cannot_forge_a_line() {
        let mut out = Vec::new();
        Reply::saying(ReplyId::UnknownCommand, "a\rb\nc\0").write_to(&mut out);
        assert_eq!(out, b"500-5.5.1 a?b\r\n500 5.5.1 c?\r\n");
    }

    #[test]
    fn a_suffix_stands_at_the_end_of_the_last_line_however_long_it_is() {
        let mut out = Vec::new();
        Reply::saying(ReplyId::UnknownCommand, "a\nb").write_with(" (ref X)", &mut out);
        assert_eq!(out, b"500-5.5.1 a\r\n500 5.5.1 b (ref X)\r\n");
        out.clear();
        Reply::saying(ReplyId::UnknownCommand, "x".repeat(600)).write_with(" (ref X)", &mut out);
        assert!(out.ends_with(b"x (ref X)\r\n") && out.len() <= 512);
    }

    #[test]
    fn only_refusals_become_refusals() {
        for &id in ReplyId::ALL {
            assert_eq!(Refusal::try_from(Reply::of(id)).is_ok(), id.code() >= 400);
        }
        assert!(Refusal::trouble().is_transient());
    }

    #[test]
    fn enhanced_codes_are_read_strictly() {
        for bad in ["", "5", "5.1", "3.1.1", "5.01.1", "5.1.1.1", "5.1000.1", "5.a.1", "5.1.", "50.1.1"] {
            assert_eq!(EnhancedCode::parse(bad), None, "{bad}");
        }
        assert_eq!(format!("{}", EnhancedCode::parse("5.7.26").unwrap()), "5.7.26");
    }
}
