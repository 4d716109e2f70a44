//! Single lines of a dialogue: paths, parameters, names, replies.
//!
//! RFC 5321 §4.1.1, §4.1.2, §4.2. Looser than a server's parser: it only says what breaks a rule that
//! has a name here.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The keyword of EHLO that a parameter of MAIL or RCPT needs (RFC 5321 §4.1.1.11).
pub(crate) fn needs(parameter: &str) -> Option<&'static str> {
    Some(match parameter {
        "SIZE" => "SIZE",
        "BODY" => "8BITMIME",
        "SMTPUTF8" => "SMTPUTF8",
        "RET" | "ENVID" | "NOTIFY" | "ORCPT" => "DSN",
        "AUTH" => "AUTH",
        "REQUIRETLS" => "REQUIRETLS",
        "BY" => "DELIVERBY",
        "HOLDFOR" | "HOLDUNTIL" => "FUTURERELEASE",
        "MT-PRIORITY" => "MT-PRIORITY",
        "RRVS" => "RRVS",
        _ => return None,
    })
}

/// Whether the lines of a reply to EHLO have a keyword.
pub(crate) fn offers(lines: &[String], keyword: &str) -> bool {
    let has = |word: &str| lines.iter().any(|line| line.split([' ', '=']).next() == Some(word));
    has(keyword) || (keyword == "8BITMIME" && has("BINARYMIME"))
}

/// What stands behind the colon of MAIL or RCPT.
fn behind_colon(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    line.get(colon + 1..)
}

/// The path of MAIL or RCPT, with its brackets.
pub(crate) fn path(line: &[u8]) -> Option<&[u8]> {
    let rest = behind_colon(line)?.trim_ascii();
    rest.get(..path_end(rest)?)
}

/// Where the path ends: quotes hide brackets (RFC 5321 §4.1.2).
fn path_end(rest: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(index + 1),
            b' ' if !quoted && rest.first() != Some(&b'<') => return Some(index),
            _ => {}
        }
    }
    (rest.first() != Some(&b'<')).then_some(rest.len())
}

/// What is wrong with the path of MAIL FROM or RCPT TO.
pub(crate) fn path_fault(line: &[u8], word: &str) -> Option<&'static str> {
    let head = line.get(5..)?.trim_ascii_start();
    let named = head.get(..word.len()).is_some_and(|have| have.eq_ignore_ascii_case(word.as_bytes()))
        && head.get(word.len()) == Some(&b':');
    let Some(rest) = behind_colon(line).filter(|_| named) else { return Some("malformed-path") };
    let path = rest.trim_ascii();
    let inner = path_end(path)
        .and_then(|end| path.get(..end))
        .and_then(|path| path.strip_prefix(b"<")?.strip_suffix(b">"));
    let Some(inner) = inner else { return Some("malformed-path") };
    if rest.first().is_some_and(u8::is_ascii_whitespace) {
        return Some("space-after-colon");
    }
    let fits = if inner.is_empty() {
        word == "FROM"
    } else {
        is_mailbox(inner) || (word == "TO" && inner.eq_ignore_ascii_case(b"postmaster"))
    };
    (!fits).then_some("malformed-path")
}

fn is_mailbox(inner: &[u8]) -> bool {
    // A source route is obsolete, and still a path (RFC 5321 §4.1.2, appendix C).
    let inner = if inner.first() == Some(&b'@') {
        inner.iter().position(|byte| *byte == b':').and_then(|at| inner.get(at + 1..)).unwrap_or_default()
    } else {
        inner
    };
    let Some(at) = inner.iter().rposition(|byte| *byte == b'@') else { return false };
    let (local, domain) = (inner.get(..at).unwrap_or_default(), inner.get(at + 1..).unwrap_or_default());
    let quoted = local.len() > 1 && local.starts_with(b"\"") && local.ends_with(b"\"");
    let plain = !local.is_empty() && local.iter().all(|byte| *byte > b' ' && !b"<>()[]:;,\"@".contains(byte));
    (quoted || plain) && is_domain(domain)
}

fn is_domain(domain: &[u8]) -> bool {
    if let Some(literal) = domain.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        let Ok(text) = std::str::from_utf8(literal) else { return false };
        return match text.strip_prefix("IPv6:") {
            Some(six) => six.parse::<Ipv6Addr>().is_ok(),
            None => text.parse::<Ipv4Addr>().is_ok() || text.contains(':'),
        };
    }
    !domain.is_empty()
        && domain.len() <= 255
        && domain.split(|byte| *byte == b'.').all(|label| {
            !label.is_empty()
                && label.first() != Some(&b'-')
                && label.last() != Some(&b'-')
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte >= 0x80)
        })
}

/// The names of the parameters behind the path, in upper case.
pub(crate) fn parameters(line: &[u8]) -> Vec<String> {
    words_behind(line)
        .map(|word| word.split('=').next().unwrap_or_default().to_ascii_uppercase())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The value of a parameter.
pub(crate) fn parameter(line: &[u8], name: &str) -> Option<String> {
    words_behind(line).find_map(|word| {
        let (have, value) = word.split_once('=')?;
        have.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

fn words_behind(line: &[u8]) -> impl Iterator<Item = String> {
    let rest = behind_colon(line).map(<[u8]>::trim_ascii).unwrap_or_default();
    let behind = path_end(rest).and_then(|end| rest.get(end..)).unwrap_or_default();
    let text = String::from_utf8_lossy(behind.get(..2048).unwrap_or(behind)).into_owned();
    text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Whether EHLO or HELO names a domain or an address literal (RFC 5321 §4.1.1.1).
pub(crate) fn is_hello(line: &[u8]) -> bool {
    let argument = line.get(4..).unwrap_or_default().trim_ascii();
    let digits = argument.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    is_domain(argument) && !digits
}

/// The code of a line of a reply, whether more follow, and its words (RFC 5321 §4.2).
pub(crate) fn reply(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let digits = line.get(..3)?;
    let code: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let sound = (200..600).contains(&code) && digits.iter().all(u8::is_ascii_digit);
    let more = match line.get(3) {
        None | Some(b' ' | b'\r') => false,
        Some(b'-') => true,
        Some(_) => return None,
    };
    sound.then(|| (code, more, line.get(4..).unwrap_or_default()))
}

/// The class of an enhanced code that begins the words of a reply.
pub(crate) fn leading_enhanced(text: &[u8]) -> Option<u16> {
    let word = text.split(|byte| *byte == b' ').next()?;
    let mut parts = word.split(|byte| *byte == b'.');
    let number = |part: Option<&[u8]>, most: usize| {
        let part = part?;
        let fits = !part.is_empty() && part.len() <= most && part.iter().all(u8::is_ascii_digit);
        fits.then(|| std::str::from_utf8(part).ok()?.parse::<u16>().ok()).flatten()
    };
    let class = number(parts.next(), 1)?;
    number(parts.next(), 3)?;
    number(parts.next(), 3)?;
    (parts.next().is_none() && (2..=5).contains(&class)).then_some(class)
}
