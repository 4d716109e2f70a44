//! A dialogue of client and server, from whatever wrote it down.
//!
//! Read are `C:`/`S:` lines, swaks, curl, msmtp, Python's smtplib, `PHPMailer`, Postfix's verbose log, and
//! plain pastes of telnet, nc or openssl, where replies are known by their three digits. What is no
//! line of either side is kept as a note, for it may tell that the connection was closed or encrypted.

use crate::reading::mime::quoted_printable;
use crate::reading::pattern::pattern;
use crate::reading::source::{Text, begins, shown, trim};
use std::ops::Range;

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
    Note,
}

/// How a line ended on the wire, where the source shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Crlf,
    Lf,
    Unknown,
}

/// One line of one side.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) side: Side,
    /// The line of the input, from 1.
    pub(crate) line: usize,
    /// The line's octets and their places.
    pub(crate) text: Text,
    pub(crate) end: End,
}

/// Who wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `C: EHLO …`, `S: 250 …`, and `c:` with escapes for raw octets.
    Marked,
    Swaks,
    Curl,
    Msmtp,
    Smtplib,
    PhpMailer,
    Postfix,
    /// A paste without marks.
    Plain,
}

const SCHEMES: [Scheme; 7] = [
    Scheme::Marked,
    Scheme::Swaks,
    Scheme::Curl,
    Scheme::Msmtp,
    Scheme::Smtplib,
    Scheme::PhpMailer,
    Scheme::Postfix,
];

/// A dialogue.
#[derive(Clone, Debug)]
pub(crate) struct Dialogue {
    pub(crate) turns: Vec<Turn>,
}

pattern!(
    MARKED,
    r"^[ \t]*(?:\[[^\]]{1,40}\] ?|[0-9][0-9:.,TZ -]{4,30} )?(c|s|client|server)[ \t]?[:>](?: |$)"
);
pattern!(SWAKS, r"^( [-~]>|<[-~]( |$)|<\*\*|<~\*|===|\*\*\*)");
pattern!(PHP, r"(client -> server|server -> client): ?");
pattern!(POSTFIX, r"postfix[^ ]*/(smtpd?|lmtp|submission[^\[]*)\[\d+\]: ([<>]) [^ ]+: ?");
pattern!(
    VERB,
    r"^(ehlo|helo|lhlo|mail from ?:|rcpt to ?:|data|rset|noop|quit|vrfy|expn|help|auth|starttls|bdat|etrn)(?:$|[ \t<\r:])|^(mail from|rcpt to) ?:"
);
pattern!(REPLY, r"^[2-5]\d\d([ -]|$)");
pattern!(SMTPLIB, r"^(send|reply|data|connect): (.*)$");

/// Reads a dialogue, if the text is one.
pub(crate) fn read(text: &Text) -> Option<Dialogue> {
    let lines = text.lines();
    let scheme = scheme(text, &lines)?;
    let mut turns = Vec::new();
    if scheme == Scheme::Plain {
        plain(text, &lines, &mut turns);
        return Some(Dialogue { turns });
    }
    let raw = scheme == Scheme::Marked && has_raw(text, &lines);
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        let Some((side, from)) = side(scheme, text.slice(line.clone())) else {
            turns.push(Turn {
                side: Side::Note,
                line: number,
                text: text.part(line.clone()),
                end: End::Unknown,
            });
            continue;
        };
        let body = line.start + from..line.end;
        let escaped = scheme == Scheme::Smtplib
            || (raw && begins(text.slice(line.clone()), "c:") && text.slice(line.clone()).starts_with(b"c"));
        if escaped && side != Side::Note {
            unescape(text, body, side, number, &mut turns);
        } else {
            turns.push(Turn { side, line: number, text: text.part(body), end: End::Unknown });
        }
    }
    Some(Dialogue { turns })
}

/// The scheme that most lines are written in.
fn scheme(text: &Text, lines: &[Range<usize>]) -> Option<Scheme> {
    let mut best = None;
    for scheme in SCHEMES {
        let (mut client, mut server, mut verbs) = (0_usize, 0_usize, 0_usize);
        for line in lines {
            let bytes = text.slice(line.clone());
            let Some((who, from)) = side(scheme, bytes) else { continue };
            let rest = bytes.get(from..).unwrap_or_default();
            match who {
                Side::Client => {
                    client += 1;
                    verbs += usize::from(is_verb(quoted(scheme, rest)));
                }
                Side::Server => server += usize::from(is_reply(quoted(scheme, rest))),
                Side::Note => {}
            }
        }
        let fits = (verbs > 0 && server > 0)
            || verbs > 1
            || (server > 0 && client == 0 && scheme != Scheme::Curl && server > 1);
        let lines = client + server;
        if fits && best.is_none_or(|(_, most)| lines > most) {
            best = Some((scheme, lines));
        }
    }
    if let Some((scheme, _)) = best {
        return Some(scheme);
    }
    let verbs = lines.iter().filter(|line| is_verb(text.slice(trim(text.bytes(), (*line).clone())))).count();
    let replies = lines.iter().filter(|line| is_reply(text.slice((*line).clone()))).count();
    (verbs > 0 && replies > 0 && verbs + replies > 2).then_some(Scheme::Plain)
}

fn quoted(scheme: Scheme, rest: &[u8]) -> &[u8] {
    if scheme != Scheme::Smtplib {
        return rest;
    }
    let rest = rest.strip_prefix(b"b").unwrap_or(rest);
    rest.strip_prefix(b"'").or_else(|| rest.strip_prefix(b"\"")).unwrap_or(rest)
}

/// Whether a line begins with a command that every server knows.
pub(crate) fn is_verb(line: &[u8]) -> bool {
    VERB.is_match(line.get(..64).unwrap_or(line))
}

fn is_reply(line: &[u8]) -> bool {
    REPLY.is_match(line)
}

/// Whose line it is in a scheme, and where its words begin.
fn side(scheme: Scheme, line: &[u8]) -> Option<(Side, usize)> {
    let after = |mark: &str, side| begins(line, mark).then_some((side, mark.len()));
    match scheme {
        Scheme::Marked => {
            let groups = MARKED.groups(line.get(..80).unwrap_or(line))?;
            let all = groups.first().cloned().flatten()?;
            let who = line.get(groups.get(1).cloned().flatten()?)?;
            let side = if who.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'c')) {
                Side::Client
            } else {
                Side::Server
            };
            Some((side, all.end))
        }
        Scheme::Swaks => {
            if !SWAKS.is_match(line.get(..8).unwrap_or(line)) {
                return None;
            }
            after(" -> ", Side::Client)
                .or_else(|| after(" ~> ", Side::Client))
                .or_else(|| after(" ->", Side::Client))
                .or_else(|| after(" ~>", Side::Client))
                .or_else(|| after("<-  ", Side::Server))
                // What it marks as an error is the server's line, or its own word, as of a timeout.
                .or_else(|| {
                    let starred = begins(line, "<** ") || begins(line, "<~* ");
                    (starred && !is_reply(line.get(4..).unwrap_or_default())).then_some((Side::Note, 0))
                })
                .or_else(|| after("<** ", Side::Server))
                .or_else(|| after("<~  ", Side::Server))
                .or_else(|| after("<~* ", Side::Server))
                .or_else(|| after("<- ", Side::Server))
                .or_else(|| after("<~ ", Side::Server))
                .or(Some((Side::Note, 0)))
        }
        Scheme::Curl => after("> ", Side::Client)
            .or_else(|| after("< ", Side::Server))
            .or_else(|| (line == b">").then_some((Side::Client, 1)))
            .or_else(|| after("* ", Side::Note)),
        Scheme::Msmtp => after("--> ", Side::Client)
            .or_else(|| after("<-- ", Side::Server))
            .or_else(|| (line == b"-->").then_some((Side::Client, 3))),
        Scheme::Smtplib => {
            let groups = SMTPLIB.groups(line)?;
            let word = line.get(groups.get(1).cloned().flatten()?)?;
            let rest = groups.get(2).cloned().flatten()?;
            let value = line.get(rest.clone())?;
            let repeats = begins(value, "retcode") || value.starts_with(b"(");
            let side = match word {
                b"send" => Side::Client,
                b"reply" if !repeats => Side::Server,
                _ => Side::Note,
            };
            Some((side, rest.start))
        }
        Scheme::PhpMailer => {
            let groups = PHP.groups(line.get(..120).unwrap_or(line))?;
            let all = groups.first().cloned().flatten()?;
            let who = line.get(groups.get(1).cloned().flatten()?)?;
            let side = if begins(who, "client") { Side::Client } else { Side::Server };
            Some((side, all.end))
        }
        Scheme::Postfix => {
            let groups = POSTFIX.groups(line.get(..400).unwrap_or(line))?;
            let all = groups.first().cloned().flatten()?;
            let program = line.get(groups.get(1).cloned().flatten()?)?;
            let receives = line.get(groups.get(2).cloned().flatten()?)? == b"<";
            // smtp is the client and reads the server's lines; smtpd is the server.
            let is_client = matches!(program, b"smtp" | b"lmtp");
            let side = if receives == is_client { Side::Server } else { Side::Client };
            Some((side, all.end))
        }
        Scheme::Plain => None,
    }
}

/// Whether `c:` marks raw octets here, with their line ends written out.
fn has_raw(text: &Text, lines: &[Range<usize>]) -> bool {
    lines.iter().any(|line| {
        let bytes = text.slice(line.clone());
        bytes.starts_with(b"c: ") && bytes.windows(2).any(|two| two == b"\\n" || two == b"\\r")
    })
}

/// Lines whose octets are written as a literal, with `\r\n` where the wire had them.
fn unescape(text: &Text, range: Range<usize>, side: Side, line: usize, turns: &mut Vec<Turn>) {
    let mut range = trim(text.bytes(), range);
    if text.slice(range.clone()).starts_with(b"b'") || text.slice(range.clone()).starts_with(b"b\"") {
        range.start += 1;
    }
    let quote = text.octet(range.start).map(|(byte, _)| byte).filter(|byte| matches!(byte, b'\'' | b'"'));
    if quote.is_some() && range.len() > 1 {
        range = range.start + 1..range.end - 1;
    }
    let mut now = Text::default();
    let mut index = range.start;
    while index < range.end {
        let Some((byte, at)) = text.octet(index) else { break };
        index += 1;
        if byte != b'\\' {
            now.push(byte, at);
            continue;
        }
        let escape = text.octet(index).filter(|_| index < range.end).map(|(byte, _)| byte);
        index += usize::from(escape.is_some());
        match escape {
            Some(b'n') => {
                let crlf = now.bytes().ends_with(b"\r");
                let body = now.part(0..now.len() - usize::from(crlf));
                turns.push(Turn { side, line, text: body, end: if crlf { End::Crlf } else { End::Lf } });
                now = Text::default();
            }
            Some(b'r') => now.push(b'\r', at),
            Some(b't') => now.push(b'\t', at),
            Some(b'0') => now.push(0, at),
            Some(b'x') => {
                // Two hexadecimal digits, as in quoted-printable.
                let mut coded = Text::default();
                coded.push(b'=', at);
                coded.append(text, index..(index + 2).min(range.end));
                let octet = quoted_printable(&coded, 0..coded.len());
                now.append(&octet, 0..octet.len());
                index += 2;
            }
            Some(other) => now.push(other, at),
            None => now.push(byte, at),
        }
    }
    if now.len() > 0 {
        turns.push(Turn { side, line, text: now, end: End::Unknown });
    }
}

pattern!(
    TOOL,
    r"^(trying |connected to |connected\(|escape character|connection (closed|to|from)|telnet|nc |ncat|---$|ssl-session|certificate|verify|depth=|server certificate|subject=|issuer=|read r block|-----|debug|new, tls|closed|[*$#%] )"
);

/// A paste without marks: replies by their digits, the rest is the client's once it has begun.
fn plain(text: &Text, lines: &[Range<usize>], turns: &mut Vec<Turn>) {
    // Everything up to the first reply or command belongs to the tool.
    let first = lines
        .iter()
        .position(|line| is_reply(text.slice(line.clone())) || is_verb(text.slice(line.clone())))
        .unwrap_or(lines.len());
    let (mut content, mut asked) = (false, false);
    for (index, line) in lines.iter().enumerate() {
        let bytes = text.slice(line.clone());
        let reply = is_reply(bytes);
        let side = if index < first {
            Side::Note
        } else if content {
            if bytes == b"." {
                content = false;
            }
            Side::Client
        } else if reply {
            // 354 answers DATA: what follows is content until the lone dot.
            content = asked && bytes.starts_with(b"354");
            Side::Server
        } else if TOOL.is_match(bytes.get(..40).unwrap_or(bytes))
            || (trim(bytes, 0..bytes.len()).is_empty() && !asked)
        {
            Side::Note
        } else {
            Side::Client
        };
        if side == Side::Client && !content {
            asked = asked || begins(bytes, "DATA");
        }
        if side == Side::Server && !content {
            asked = asked && bytes.get(3) == Some(&b'-');
        }
        let body = if side == Side::Client && !content { trim_end(text, line) } else { line.clone() };
        turns.push(Turn { side, line: index + 1, text: text.part(body), end: End::Unknown });
    }
    ends(turns);
}

/// Content that a closed connection cut off: the tool's last words and a last reply are not its lines.
fn ends(turns: &mut [Turn]) {
    for turn in turns.iter_mut().rev().take(4) {
        let bytes = turn.text.bytes();
        let closing = TOOL.is_match(bytes.get(..40).unwrap_or(bytes));
        let late = begins(bytes, "421 ") || begins(bytes, "451 ");
        if turn.side == Side::Client && (closing || late) {
            turn.side = if closing { Side::Note } else { Side::Server };
        } else if !bytes.is_empty() {
            break;
        }
    }
}

fn trim_end(text: &Text, line: &Range<usize>) -> Range<usize> {
    line.start..trim(text.bytes(), line.clone()).end.max(line.start)
}

/// What of a client's line may be shown: what follows the mechanism of AUTH is secret (RFC 4954 §4).
pub(crate) fn without_secret(line: &[u8]) -> String {
    let words: Vec<&[u8]> = line.splitn(3, |byte| *byte == b' ').collect();
    match words.as_slice() {
        [verb, mechanism, _] if begins(verb, "AUTH") && verb.len() == 4 => {
            format!("AUTH {} {MASK}", shown(mechanism))
        }
        _ => shown(line.get(..200).unwrap_or(line)),
    }
}

/// Stands for a secret.
pub(crate) const MASK: &str = "********";
