//! Addresses: mailboxes, paths, domains and address literals.
//!
//! RFC 5321 §4.1.2 and §4.1.3 for the grammar, §4.5.3.1 for the sizes, RFC 6531 §3.3 for UTF-8.
//! A source route is read and dropped (RFC 5321 Appendix C). Parsing fails with an [`AddrError`]
//! that says what was wrong; what parsed prints back as the same address.
//! Left out on purpose: comments and folding (RFC 5322 has them, SMTP does not), and any DNS.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest local part in octets (RFC 5321 §4.5.3.1.1).
pub const MAX_LOCAL: usize = 64;
/// Longest domain in octets (RFC 5321 §4.5.3.1.2).
pub const MAX_DOMAIN: usize = 255;
/// Longest path in octets, angle brackets included (RFC 5321 §4.5.3.1.3).
pub const MAX_PATH: usize = 256;

/// What is wrong with an address. Always the peer's (or the configuration's) fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddrError {
    /// A path must stand in angle brackets.
    NoBrackets,
    /// Nothing before the `@`, or an empty path where a mailbox is needed.
    Empty,
    /// No `@` and domain after the local part.
    NoDomain,
    /// A character that may not stand in a local part without quotes.
    LocalPart,
    /// A quoted local part that does not end or holds a control character.
    Quote,
    /// The domain is not letters, digits and hyphens in dot-separated labels.
    Domain,
    /// The bracketed address literal is not an IPv4 or `IPv6:` address.
    Literal,
    /// The source route before the mailbox is malformed.
    Route,
    /// Local part over 64 octets.
    LocalTooLong,
    /// Domain over 255 octets or a label over 63.
    DomainTooLong,
    /// Path over 256 octets.
    PathTooLong,
    /// Not UTF-8.
    NotUtf8,
}

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBrackets => "the address must stand in angle brackets: <user@example.org>",
            Self::Empty => "the address is empty",
            Self::NoDomain => "the address has no @domain",
            Self::LocalPart => "a character before the @ needs quotes or is not allowed",
            Self::Quote => "the quoted part before the @ is not closed or holds a control character",
            Self::Domain => "the domain must be letters, digits and hyphens in dot-separated labels",
            Self::Literal => "the address literal must be [192.0.2.1] or [IPv6:2001:db8::1]",
            Self::Route => "the source route before the mailbox is malformed",
            Self::LocalTooLong => "the part before the @ is longer than 64 octets",
            Self::DomainTooLong => "the domain is longer than 255 octets, or a label than 63",
            Self::PathTooLong => "the path is longer than 256 octets",
            Self::NotUtf8 => "the address is not UTF-8",
        })
    }
}

impl core::error::Error for AddrError {}

/// A domain name or an address literal (RFC 5321 §4.1.2, §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5321 §4.1.2 closes the set")]
pub enum Domain {
    /// A name, as it was written.
    Name(String),
    /// An address literal.
    Literal(IpAddr),
}

impl Domain {
    /// Reads a domain or a bracketed literal.
    pub fn parse(text: &str) -> Result<Self, AddrError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(AddrError::Literal)?;
            return parse_literal(inner).map(Self::Literal);
        }
        if text.is_empty() {
            return Err(AddrError::NoDomain);
        }
        if text.len() > MAX_DOMAIN {
            return Err(AddrError::DomainTooLong);
        }
        for label in text.split('.') {
            if label.len() > 63 && label.is_ascii() {
                return Err(AddrError::DomainTooLong);
            }
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_utf8_text(c);
            if label.is_empty() || label.starts_with('-') || label.ends_with('-') || !label.chars().all(fits)
            {
                return Err(AddrError::Domain);
            }
        }
        Ok(Self::Name(text.into()))
    }

    /// Whether every octet is US-ASCII.
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Name(name) => name.is_ascii(),
            Self::Literal(_) => true,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            Self::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

fn parse_literal(inner: &str) -> Result<IpAddr, AddrError> {
    let tagged = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).and(inner.get(5..));
    match tagged {
        Some(rest) => rest.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_bad| AddrError::Literal),
        None => inner.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_bad| AddrError::Literal),
    }
}

/// Non-ASCII text that RFC 6531 §3.3 lets stand in local parts and domains; no controls.
fn is_utf8_text(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

/// `atext` of RFC 5322 §3.2.3, widened by RFC 6531 §3.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_text(c)
}

/// A mailbox: local part and domain (RFC 5321 §4.1.2).
///
/// The local part is held without its quotes; printing puts them back where they are needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    local: String,
    domain: Domain,
}

impl Mailbox {
    /// Reads `local@domain`, without angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddrError> {
        let (local, rest) = split_local(text)?;
        let domain = rest.strip_prefix('@').ok_or(AddrError::NoDomain)?;
        if local.is_empty() {
            return Err(AddrError::Empty);
        }
        if local.len() > MAX_LOCAL {
            return Err(AddrError::LocalTooLong);
        }
        Ok(Self { local, domain: Domain::parse(domain)? })
    }

    /// A mailbox from its parts; the local part is given without quotes.
    pub fn new(local: &str, domain: Domain) -> Result<Self, AddrError> {
        if local.is_empty() {
            return Err(AddrError::Empty);
        }
        if local.len() > MAX_LOCAL {
            return Err(AddrError::LocalTooLong);
        }
        if local.chars().any(char::is_control) {
            return Err(AddrError::LocalPart);
        }
        Ok(Self { local: local.into(), domain })
    }

    /// The local part without quotes. Case is kept (RFC 5321 §2.4).
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether the whole address is US-ASCII, so that it needs no SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.is_ascii()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            write!(f, "{}@{}", self.local, self.domain)
        } else {
            f.write_str("\"")?;
            for c in self.local.chars() {
                if c == '"' || c == '\\' {
                    f.write_str("\\")?;
                }
                fmt::Write::write_char(f, c)?;
            }
            write!(f, "\"@{}", self.domain)
        }
    }
}

fn is_dot_string(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// Takes the local part off the front; returns it unquoted, and the rest (which begins at the `@`).
fn split_local(text: &str) -> Result<(String, &str), AddrError> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut local = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Ok((local, quoted.get(at + 1..).unwrap_or_default())),
                '\\' => match chars.next() {
                    Some((_, c)) if c == ' ' || c.is_ascii_graphic() => local.push(c),
                    _ => return Err(AddrError::Quote),
                },
                c if c == ' ' || c.is_ascii_graphic() || is_utf8_text(c) => local.push(c),
                _ => return Err(AddrError::Quote),
            }
        }
        return Err(AddrError::Quote);
    }
    let at = text.find('@').unwrap_or(text.len());
    let (local, rest) = text.split_at_checked(at).ok_or(AddrError::LocalPart)?;
    if local.is_empty() {
        return Err(AddrError::Empty);
    }
    if !is_dot_string(local) {
        return Err(AddrError::LocalPart);
    }
    Ok((local.into(), rest))
}

/// Takes `<…>` apart and drops a source route (`@a,@b:`), which RFC 5321 Appendix C says to ignore.
fn path_inner(text: &str) -> Result<&str, AddrError> {
    let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).ok_or(AddrError::NoBrackets)?;
    if text.len() > MAX_PATH {
        return Err(AddrError::PathTooLong);
    }
    if !inner.starts_with('@') {
        return Ok(inner);
    }
    let (route, mailbox) = inner.split_once(':').ok_or(AddrError::Route)?;
    for hop in route.split(',') {
        let domain = hop.strip_prefix('@').ok_or(AddrError::Route)?;
        Domain::parse(domain).map_err(|_bad| AddrError::Route)?;
    }
    if mailbox.is_empty() { Err(AddrError::Route) } else { Ok(mailbox) }
}

/// The argument of `MAIL FROM:` (RFC 5321 §4.1.2): where to report trouble.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5321 §4.1.2 closes the set")]
pub enum ReversePath {
    /// `<>`: a message that must not be answered by another (RFC 5321 §4.5.5).
    Null,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Reads `<>` or `<mailbox>`, with its angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddrError> {
        match path_inner(text)? {
            "" => Ok(Self::Null),
            inner => Mailbox::parse(inner).map(Self::Mailbox),
        }
    }

    /// Whether the path is US-ASCII, so that it needs no SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

/// Prints without angle brackets: empty for the null path, as `Return-Path` lines need it inside `<>`.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// The argument of `RCPT TO:` (RFC 5321 §4.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5321 §4.1.2 closes the set")]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain, in any case of letters: must always work (RFC 5321 §4.5.1).
    Postmaster,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// Reads `<mailbox>` or `<Postmaster>`, with its angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddrError> {
        match path_inner(text)? {
            "" => Err(AddrError::Empty),
            inner if inner.eq_ignore_ascii_case("postmaster") => Ok(Self::Postmaster),
            inner => Mailbox::parse(inner).map(Self::Mailbox),
        }
    }

    /// Whether the path is US-ASCII, so that it needs no SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Postmaster => true,
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

/// Prints without angle brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("postmaster"),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn addresses_print_back_as_they_were() {
        for text in [
            "bob@example.org",
            "a.b+c@sub.example.org",
            "\"a b\"@example.org",
            "\"a\\\"b\"@example.org",
            "\"..\"@example.org",
            "x@[192.0.2.1]",
            "x@[IPv6:2001:db8::1]",
            "用户@例子.广告",
        ] {
            assert_eq!(Mailbox::parse(text).unwrap().to_string(), text);
            let path = format!("<{text}>");
            assert_eq!(ForwardPath::parse(&path).unwrap().to_string(), text);
            assert_eq!(ReversePath::parse(&path).unwrap().to_string(), text);
        }
        assert_eq!(Mailbox::parse("\"bob\"@example.org").unwrap().to_string(), "bob@example.org");
    }

    #[test]
    fn special_paths() {
        assert_eq!(ReversePath::parse("<>"), Ok(ReversePath::Null));
        assert_eq!(ForwardPath::parse("<>"), Err(AddrError::Empty));
        assert_eq!(ForwardPath::parse("<PostMaster>"), Ok(ForwardPath::Postmaster));
        assert_eq!(
            ForwardPath::parse("<@a.example,@b.example:bob@c.example>").unwrap().to_string(),
            "bob@c.example"
        );
    }

    #[test]
    fn faults_are_told_apart() {
        for (text, fault) in [
            ("bob@example.org", AddrError::NoBrackets),
            ("<bob>", AddrError::NoDomain),
            ("<@example.org>", AddrError::Route),
            ("<b b@example.org>", AddrError::LocalPart),
            ("<.b@example.org>", AddrError::LocalPart),
            ("<b..b@example.org>", AddrError::LocalPart),
            ("<\"b@example.org>", AddrError::Quote),
            ("<b@-x.org>", AddrError::Domain),
            ("<b@x..org>", AddrError::Domain),
            ("<b@x org>", AddrError::Domain),
            ("<b@[1.2.3]>", AddrError::Literal),
            ("<b@[IPv6:zz]>", AddrError::Literal),
            ("<@x:>", AddrError::Route),
        ] {
            assert_eq!(ForwardPath::parse(text).unwrap_err(), fault, "{text}");
        }
        let long = "x".repeat(65);
        assert_eq!(ForwardPath::parse(&format!("<{long}@x.org>")), Err(AddrError::LocalTooLong));
        assert!(ForwardPath::parse(&format!("<{}@x.org>", "x".repeat(64))).is_ok());
        let label = "y".repeat(60);
        let domain = format!("{label}.{label}.{label}.{label}");
        assert_eq!(ForwardPath::parse(&format!("<{long}@{domain}>")), Err(AddrError::PathTooLong));
    }
}
