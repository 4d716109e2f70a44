//! Command lines: what RFC 5321 §4.1.1 and the extensions let a client say.
//!
//! A line without its CRLF goes in, a [`Command`] or a [`Reply`] that says what was wrong and what
//! would be right comes out. Order, limits and offers are the session's matter, not the parser's.

use crate::addr::{AddrError, Domain, ForwardPath, ReversePath};
use crate::envelope::Body;
use crate::reply::{Reply, ReplyId};
use alloc::format;
use alloc::string::String;

/// How a session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5321 §4.1.1.1 and RFC 2033 §4.1 close the set")]
pub enum Hello {
    /// HELO: no extensions.
    Helo,
    /// EHLO.
    Ehlo,
    /// LHLO, only for LMTP.
    Lhlo,
}

/// MAIL with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path.
    pub sender: ReversePath,
    /// `SIZE=` in octets (RFC 1870 §3); a value beyond 64 bits counts as the largest.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Option<Body>,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
}

/// A well-formed command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// EHLO, HELO or LHLO with the name the peer gives itself.
    Hello(Hello, String),
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO.
    Rcpt(ForwardPath),
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2).
    Bdat {
        /// Octets that follow.
        size: u64,
        /// Whether it is the last chunk.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// HELP.
    Help,
    /// VRFY.
    Vrfy,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// QUIT.
    Quit,
}

/// A word that begins a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Hello(Hello),
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Help,
    Vrfy,
    StartTls,
    Quit,
    /// Known, and not offered by this server on any listener.
    Elsewhere,
}

/// Every verb that is known, what it is, and what it grows by beyond the 512 octets of a command
/// line (RFC 5321 §4.5.3.1.4) with all extensions that are offered: SIZE 26, BODY 16, SMTPUTF8 10.
const VERBS: &[(&str, Verb, usize)] = &[
    ("EHLO", Verb::Hello(Hello::Ehlo), 0),
    ("HELO", Verb::Hello(Hello::Helo), 0),
    ("LHLO", Verb::Hello(Hello::Lhlo), 0),
    ("MAIL", Verb::Mail, 26 + 16 + 10),
    ("RCPT", Verb::Rcpt, 0),
    ("DATA", Verb::Data, 0),
    ("BDAT", Verb::Bdat, 0),
    ("RSET", Verb::Rset, 0),
    ("NOOP", Verb::Noop, 0),
    ("HELP", Verb::Help, 0),
    ("VRFY", Verb::Vrfy, 10),
    ("STARTTLS", Verb::StartTls, 0),
    ("QUIT", Verb::Quit, 0),
    ("EXPN", Verb::Elsewhere, 0),
    ("AUTH", Verb::Elsewhere, 0),
    ("ETRN", Verb::Elsewhere, 0),
    ("ATRN", Verb::Elsewhere, 0),
    ("TURN", Verb::Elsewhere, 0),
    ("BURL", Verb::Elsewhere, 0),
    ("SEND", Verb::Elsewhere, 0),
    ("SOML", Verb::Elsewhere, 0),
    ("SAML", Verb::Elsewhere, 0),
    ("XCLIENT", Verb::Elsewhere, 0),
    ("XFORWARD", Verb::Elsewhere, 0),
];

/// The most that any verb adds to the command line limit.
pub(crate) const MOST_ALLOWANCE: usize = 52;

/// What this line may be longer than the command line limit, from the extensions of its verb.
pub(crate) fn allowance(line: &[u8]) -> usize {
    let (word, _) = split_word(line);
    VERBS
        .iter()
        .find(|(name, ..)| name.as_bytes().eq_ignore_ascii_case(word))
        .map_or(0, |(_, _, grows)| *grows)
}

fn split_word(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match line.iter().position(|&b| b == b' ') {
        Some(at) => (line.get(..at).unwrap_or(line), line.get(at + 1..)),
        None => (line, None),
    }
}

/// Whether the line was meant to announce content, well-formed or not.
pub(crate) fn announces_content(line: &[u8]) -> bool {
    begins(line, b"DATA") || begins(line, b"BDAT")
}

/// Whether the line was meant to be MAIL, well-formed or not.
pub(crate) fn is_mail(line: &[u8]) -> bool {
    begins(line, b"MAIL")
}

/// Whether the line was meant to be RCPT, well-formed or not.
pub(crate) fn is_rcpt(line: &[u8]) -> bool {
    begins(line, b"RCPT")
}

/// Whether the line was meant to be AUTH, which is not offered.
pub(crate) fn is_auth(line: &[u8]) -> bool {
    begins(line, b"AUTH")
}

fn begins(line: &[u8], verb: &[u8]) -> bool {
    line.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(verb))
}

/// Whether the line is a header field, which is content and no command: a name and a colon.
pub(crate) fn is_header_field(line: &[u8]) -> bool {
    let name = line.iter().position(|b| !(b'!'..=b'9').contains(b) && !(b';'..=b'~').contains(b));
    name.is_some_and(|end| end > 0 && line.get(end) == Some(&b':'))
}

/// Whether nothing in these octets would do anything: whole or beginning RSET, NOOP and QUIT alone.
pub(crate) fn is_harmless(octets: &[u8]) -> bool {
    const HARMLESS: [&[u8]; 3] = [b"RSET", b"NOOP", b"QUIT"];
    let mut rest = octets;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        if !HARMLESS.iter().any(|verb| verb.eq_ignore_ascii_case(line)) {
            return false;
        }
        rest = after.get(2..).unwrap_or_default();
    }
    let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    HARMLESS.iter().any(|verb| verb.get(..rest.len()).is_some_and(|part| part.eq_ignore_ascii_case(rest)))
}

/// Reads a command line, given without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command, Reply> {
    if let Some(fault) = line_fault(line) {
        return Err(Reply::saying(ReplyId::MalformedLine, fault));
    }
    let (word, argument) = split_word(line);
    let verb = VERBS.iter().find(|(name, ..)| name.as_bytes().eq_ignore_ascii_case(word));
    let Some(&(name, verb, _)) = verb else {
        return Err(unknown(word));
    };
    // Blanks before the line end are allowed (RFC 5321 §4.1.1, last paragraph).
    let argument = argument.map(<[u8]>::trim_ascii_end).filter(|a| !a.is_empty());
    let text = match argument.map(core::str::from_utf8).transpose() {
        Ok(text) => text,
        Err(_not_utf8) => {
            return Err(if verb == Verb::Mail {
                bad_sender(AddrError::NotUtf8)
            } else if verb == Verb::Rcpt {
                bad_recipient(AddrError::NotUtf8)
            } else {
                Reply::saying(ReplyId::MalformedLine, "The line is not UTF-8")
            });
        }
    };
    let ascii_only = || match text {
        Some(text) if !text.is_ascii() => {
            Err(Reply::saying(ReplyId::MalformedLine, "Only US-ASCII may stand in this command"))
        }
        _ => Ok(()),
    };
    let alone = |command: Command| match text {
        None => Ok(command),
        Some(_) => Err(Reply::saying(ReplyId::BadArgument, format!("{name} takes no argument"))),
    };
    match verb {
        Verb::Hello(kind) => hello(kind, text),
        Verb::Mail => mail(text),
        Verb::Rcpt => rcpt(text),
        Verb::Bdat => bdat(text),
        Verb::Data => alone(Command::Data),
        Verb::Rset => alone(Command::Rset),
        Verb::StartTls => alone(Command::StartTls),
        Verb::Quit => alone(Command::Quit),
        Verb::Noop => ascii_only().map(|()| Command::Noop),
        Verb::Help => ascii_only().map(|()| Command::Help),
        Verb::Vrfy if text.is_none() => {
            Err(Reply::saying(ReplyId::BadArgument, "VRFY needs a name, as in VRFY postmaster"))
        }
        Verb::Vrfy => Ok(Command::Vrfy),
        Verb::Elsewhere => Err(not_offered(name)),
    }
}

/// The answer to a command that is known but not offered here.
pub(crate) fn not_offered(name: &str) -> Reply {
    Reply::saying(ReplyId::NotOffered, format!("{name} is not offered here"))
}

fn line_fault(line: &[u8]) -> Option<&'static str> {
    if line.trim_ascii().is_empty() {
        return Some("Empty line where a command was expected");
    }
    line.iter().find_map(|&b| match b {
        b'\n' => Some("Bare LF in a command line; end each line with CRLF"),
        b'\r' => Some("Bare CR in a command line; end each line with CRLF"),
        0 => Some("NUL in a command line"),
        b'\t' => None,
        1..0x20 | 0x7f => Some("Control character in a command line"),
        _ => None,
    })
}

fn unknown(word: &[u8]) -> Reply {
    let Some(word) = core::str::from_utf8(word).ok().filter(|w| w.is_ascii()) else {
        return Reply::saying(ReplyId::MalformedLine, "The command word is not US-ASCII");
    };
    if word.is_empty() {
        return Reply::saying(
            ReplyId::MalformedLine,
            "A command line begins with its verb, not with a blank",
        );
    }
    let upper: String = word.chars().take(24).map(|c| c.to_ascii_uppercase()).collect();
    let near = VERBS.iter().find(|(name, verb, _)| *verb != Verb::Elsewhere && is_near(name, &upper));
    match near {
        Some((name, ..)) => {
            Reply::saying(ReplyId::UnknownCommand, format!("Unknown command {upper}; did you mean {name}?"))
        }
        None => Reply::saying(
            ReplyId::UnknownCommand,
            format!("Unknown command {upper}; HELP lists what is known"),
        ),
    }
}

/// Whether two words differ by one letter too many, too few, wrong, or by two neighbours swapped.
fn is_near(name: &str, word: &str) -> bool {
    let (a, b) = (name.as_bytes(), word.as_bytes());
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = |of: &[u8], from: usize| of.get(from..).map(<[u8]>::to_vec).unwrap_or_default();
    tail(a, same + 1) == tail(b, same + 1)
        || tail(a, same + 1) == tail(b, same)
        || tail(a, same) == tail(b, same + 1)
        || (a.get(same) == b.get(same + 1)
            && a.get(same + 1) == b.get(same)
            && tail(a, same + 2) == tail(b, same + 2))
}

fn hello(kind: Hello, text: Option<&str>) -> Result<Command, Reply> {
    let bad = || {
        let name = match kind {
            Hello::Helo => "HELO",
            Hello::Ehlo => "EHLO",
            Hello::Lhlo => "LHLO",
        };
        Reply::saying(
            ReplyId::BadHello,
            format!("{name} needs your host name or address literal, as in {name} mail.example.org"),
        )
    };
    let text = text.map(str::trim_ascii).filter(|t| t.is_ascii()).ok_or_else(bad)?;
    // RFC 5321 §4.1.4 forbids to refuse a name that is merely wrong, so only what cannot be a name is refused.
    let literal = text.len() <= 255 && text.starts_with('[') && text.ends_with(']') && !text.contains(' ');
    if literal || Domain::parse(text.strip_suffix('.').unwrap_or(text)).is_ok() {
        Ok(Command::Hello(kind, text.into()))
    } else {
        Err(bad())
    }
}

fn bad_sender(error: AddrError) -> Reply {
    Reply::saying(ReplyId::BadSender, format!("Bad sender: {error}"))
}

fn bad_recipient(error: AddrError) -> Reply {
    Reply::saying(ReplyId::BadRecipient, format!("Bad recipient: {error}"))
}

/// Takes `FROM:` or `TO:` off, and cuts the path from the parameters.
fn path_and_parameters<'a>(
    text: Option<&'a str>,
    word: &str,
    verb: &str,
) -> Result<(&'a str, &'a str), Reply> {
    let bad = |what: &str| {
        Reply::saying(ReplyId::BadArgument, format!("{what}; say {verb} {word}:<user@example.org>"))
    };
    let text = text.ok_or_else(|| bad("The address is missing"))?;
    let found = text.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word));
    let rest = text.get(word.len()..).filter(|_| found).ok_or_else(|| bad("The address is missing"))?;
    let rest = rest.strip_prefix(':').ok_or_else(|| bad("The colon is missing"))?;
    if rest.starts_with([' ', '\t']) {
        return Err(bad("No blank may stand after the colon"));
    }
    if rest.is_empty() {
        return Err(bad("The address is missing"));
    }
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                return rest.split_at_checked(at).ok_or_else(|| bad("The address is malformed"));
            }
            _ => {}
        }
    }
    Ok((rest, ""))
}

fn unknown_parameter(keyword: &str, verb: &str) -> Reply {
    let keyword: String = keyword.chars().take(40).collect();
    Reply::saying(ReplyId::UnknownParameter, format!("{verb} has no parameter {keyword} here"))
}

fn mail(text: Option<&str>) -> Result<Command, Reply> {
    let (path, parameters) = path_and_parameters(text, "FROM", "MAIL")?;
    let mut mail = Mail {
        sender: ReversePath::parse(path).map_err(bad_sender)?,
        size: None,
        body: None,
        smtputf8: false,
    };
    let twice =
        |keyword: &str| Reply::saying(ReplyId::DuplicateParameter, format!("{keyword} is given twice"));
    for parameter in parameters.split_ascii_whitespace() {
        let (keyword, value) = match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        };
        if keyword.is_empty() {
            return Err(Reply::saying(
                ReplyId::BadArgument,
                "A parameter has no name; say it as in SIZE=4096",
            ));
        }
        if keyword.eq_ignore_ascii_case("SIZE") {
            let digits =
                value.filter(|v| (1..=20).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_digit()));
            let digits = digits.ok_or_else(|| {
                Reply::saying(ReplyId::BadArgument, "SIZE needs a number of octets, as in SIZE=4096")
            })?;
            if mail.size.replace(digits.parse().unwrap_or(u64::MAX)).is_some() {
                return Err(twice("SIZE"));
            }
        } else if keyword.eq_ignore_ascii_case("BODY") {
            let value = value.unwrap_or_default();
            let body = if value.eq_ignore_ascii_case("7BIT") {
                Body::SevenBit
            } else if value.eq_ignore_ascii_case("8BITMIME") {
                Body::EightBitMime
            } else if value.eq_ignore_ascii_case("BINARYMIME") {
                Body::BinaryMime
            } else {
                return Err(Reply::saying(ReplyId::BadArgument, "BODY is 7BIT, 8BITMIME or BINARYMIME"));
            };
            if mail.body.replace(body).is_some() {
                return Err(twice("BODY"));
            }
        } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
            if value.is_some() {
                return Err(Reply::saying(ReplyId::BadArgument, "SMTPUTF8 takes no value"));
            }
            if mail.smtputf8 {
                return Err(twice("SMTPUTF8"));
            }
            mail.smtputf8 = true;
        } else {
            return Err(unknown_parameter(keyword, "MAIL"));
        }
    }
    Ok(Command::Mail(mail))
}

fn rcpt(text: Option<&str>) -> Result<Command, Reply> {
    let (path, parameters) = path_and_parameters(text, "TO", "RCPT")?;
    let recipient = ForwardPath::parse(path).map_err(bad_recipient)?;
    match parameters.split_ascii_whitespace().next() {
        None => Ok(Command::Rcpt(recipient)),
        Some(parameter) => Err(unknown_parameter(
            parameter.split_once('=').map_or(parameter, |(keyword, _)| keyword),
            "RCPT",
        )),
    }
}

fn bdat(text: Option<&str>) -> Result<Command, Reply> {
    let bad = || {
        Reply::saying(ReplyId::BadArgument, "BDAT needs a number of octets, as in BDAT 4096 or BDAT 0 LAST")
    };
    let mut words = text.ok_or_else(bad)?.split_ascii_whitespace();
    let digits = words.next().filter(|word| word.bytes().all(|b| b.is_ascii_digit()));
    // RFC 3030 §2 sets no bound on the digits; what no counter holds is as good as endless.
    let size = digits.ok_or_else(bad)?.parse().unwrap_or(u64::MAX);
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(bad()),
    };
    if words.next().is_some() { Err(bad()) } else { Ok(Command::Bdat { size, last }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_allowance_is_the_largest() {
        assert_eq!(VERBS.iter().map(|(_, _, grows)| *grows).max(), Some(MOST_ALLOWANCE));
        assert_eq!(allowance(b"mail FROM:<>"), MOST_ALLOWANCE);
        assert_eq!(allowance(b"NOOP x"), 0);
    }

    #[test]
    fn mail_with_parameters() {
        let Command::Mail(mail) = parse(b"mail from:<a@b> size=100 BODY=8bitmime SMTPUTF8 ").unwrap() else {
            panic!()
        };
        assert_eq!((mail.size, mail.body, mail.smtputf8), (Some(100), Some(Body::EightBitMime), true));
        let Command::Mail(mail) = parse(b"MAIL FROM:<\"a b> \\\" \"@b> SIZE=99999999999999999999").unwrap()
        else {
            panic!()
        };
        assert_eq!(mail.sender.to_string(), "\"a b> \\\" \"@b");
        assert_eq!(mail.size, Some(u64::MAX));
    }

    #[test]
    fn faults_have_their_codes() {
        for (line, code) in [
            (&b""[..], "500 5.5.2"),
            (b"   ", "500 5.5.2"),
            (b" NOOP", "500 5.5.2"),
            (b"NOOP\nRSET", "500 5.5.2"),
            (b"NOOP\r", "500 5.5.2"),
            (b"NO\0OP", "500 5.5.2"),
            (b"N\xc3\x96\xc3\x96P", "500 5.5.2"),
            (b"NOOP \xff", "500 5.5.2"),
            (b"FOO", "500 5.5.1"),
            (b"EXPN list", "502 5.5.1"),
            (b"AUTH PLAIN", "502 5.5.1"),
            (b"MAIL", "501 5.5.4"),
            (b"MAIL <a@b>", "501 5.5.4"),
            (b"MAIL FROM <a@b>", "501 5.5.4"),
            (b"MAIL FROM: <a@b>", "501 5.5.4"),
            (b"MAIL FROM:", "501 5.5.4"),
            (b"MAIL FROM:a@b", "501 5.1.7"),
            (b"MAIL FROM:<\xff@b>", "501 5.1.7"),
            (b"MAIL FROM:<a@b>SIZE=1", "501 5.1.7"),
            (b"MAIL FROM:<a@b> SIZE", "501 5.5.4"),
            (b"MAIL FROM:<a@b> SIZE=1 SIZE=1", "501 5.5.4"),
            (b"MAIL FROM:<a@b> SMTPUTF8 SMTPUTF8", "501 5.5.4"),
            (b"MAIL FROM:<a@b> BODY=9BIT", "501 5.5.4"),
            (b"MAIL FROM:<a@b> AUTH=<>", "555 5.5.4"),
            (b"RCPT TO:<a>", "501 5.1.3"),
            (b"RCPT TO:<>", "501 5.1.3"),
            (b"RCPT TO:<a@b> NOTIFY=NEVER", "555 5.5.4"),
            (b"BDAT", "501 5.5.4"),
            (b"BDAT x", "501 5.5.4"),
            (b"BDAT 1 FIRST", "501 5.5.4"),
            (b"BDAT -1", "501 5.5.4"),
            (b"DATA now", "501 5.5.4"),
            (b"VRFY", "501 5.5.4"),
            (b"EHLO", "501 EHLO"),
            (b"EHLO a b", "501 EHLO"),
            (b"HELO ..", "501 HELO"),
        ] {
            let reply = parse(line).unwrap_err().to_string();
            assert!(reply.starts_with(code), "{line:?}: {reply}");
        }
    }

    #[test]
    fn the_nearest_verb_is_named() {
        for (word, near) in
            [("MIAL", "MAIL"), ("DAT", "DATA"), ("RCPTT", "RCPT"), ("QIUT", "QUIT"), ("ehl", "EHLO")]
        {
            let reply = parse(word.as_bytes()).unwrap_err();
            assert!(reply.text().ends_with(&format!("did you mean {near}?")), "{}", reply.text());
        }
        assert!(parse(b"XYZZY").unwrap_err().text().contains("HELP"));
    }

    #[test]
    fn names_at_hello() {
        for name in
            ["client.example", "localhost", "a_b.example", "[192.0.2.1]", "[IPv6:::1]", "example.org."]
        {
            assert!(parse(format!("EHLO {name}").as_bytes()).is_ok(), "{name}");
        }
    }
}
