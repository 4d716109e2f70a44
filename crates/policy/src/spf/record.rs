//! An SPF record as text becomes terms, and macros become names.
//!
//! RFC 7208 §4.6 (the whole record is read before anything is evaluated, and an error anywhere is one of
//! the whole), §5, §6, §7 and §12. `exp` is read and not used: it explains to people what the result says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest record that is read, in octets; the DNS itself carries no more than 65,535.
const LONGEST: usize = 16 * 1024;

/// The longest name of the DNS, in octets of its text (RFC 7208 §7.3).
const NAME: usize = 253;

/// What a mechanism says when it matches (RFC 7208 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// A record that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) qualifier: Qualifier,
    pub(super) mechanism: Mechanism,
    /// As it stands in the record.
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(String),
    A { domain: Option<String>, bits: Bits },
    Mx { domain: Option<String>, bits: Bits },
    Ptr(Option<String>),
    Ip(IpAddr, u8),
    Exists(String),
}

/// How many bits of an address count (RFC 7208 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

/// Whether a text is an SPF record (RFC 7208 §4.5).
pub(super) fn is_spf(text: &str) -> bool {
    let head = text.split(' ').next().unwrap_or_default();
    head.eq_ignore_ascii_case("v=spf1")
}

/// Reads a record; the term that cannot be read is the error.
pub(super) fn parse(text: &str) -> Result<Record, String> {
    if text.len() > LONGEST {
        return Err(text.chars().take(32).collect());
    }
    let mut record = Record::default();
    let mut explained = false;
    for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
        let wrong = || term.to_owned();
        let end = term.find([':', '/', '=']);
        if let Some((name, value)) = term.split_once('=').filter(|(name, _)| end == Some(name.len())) {
            if !is_modifier(name) || expand(value, &Values::example()).is_none() {
                return Err(wrong());
            }
            if name.eq_ignore_ascii_case("redirect") {
                let value = domain_spec(value).ok_or_else(wrong)?;
                if record.redirect.replace(value).is_some() {
                    return Err(wrong());
                }
            } else if name.eq_ignore_ascii_case("exp") && std::mem::replace(&mut explained, true) {
                return Err(wrong());
            }
            continue;
        }
        record.directives.push(directive(term).ok_or_else(wrong)?);
    }
    Ok(record)
}

fn is_modifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn directive(term: &str) -> Option<Directive> {
    let (qualifier, rest) = match term.chars().next()? {
        '+' => (Qualifier::Pass, term.get(1..)?),
        '-' => (Qualifier::Fail, term.get(1..)?),
        '~' => (Qualifier::SoftFail, term.get(1..)?),
        '?' => (Qualifier::Neutral, term.get(1..)?),
        _ => (Qualifier::Pass, term),
    };
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, tail) = rest.split_at_checked(end)?;
    let value = tail.strip_prefix(':');
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if tail.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(domain_spec(value?)?),
        "exists" => Mechanism::Exists(domain_spec(value?)?),
        "ptr" if tail.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(domain_spec(value?)?)),
        "a" | "mx" => {
            let (domain, bits) = domain_and_bits(tail)?;
            if name.eq_ignore_ascii_case("a") {
                Mechanism::A { domain, bits }
            } else {
                Mechanism::Mx { domain, bits }
            }
        }
        "ip4" => {
            let (ip, bits) = network::<Ipv4Addr>(value?, 32)?;
            Mechanism::Ip(IpAddr::V4(ip), bits)
        }
        "ip6" => {
            let (ip, bits) = network::<Ipv6Addr>(value?, 128)?;
            Mechanism::Ip(IpAddr::V6(ip), bits)
        }
        _ => return None,
    };
    Some(Directive { qualifier, mechanism, text: term.to_owned() })
}

fn network<T: std::str::FromStr>(text: &str, most: u8) -> Option<(T, u8)> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip, length(bits, most)?),
        None => (text, most),
    };
    Some((ip.parse().ok()?, bits))
}

/// A prefix length: digits without a zero in front (RFC 7208 §12).
fn length(text: &str, most: u8) -> Option<u8> {
    let plain = text.chars().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|bits| plain && *bits <= most)
}

/// `[":" domain-spec] ["/" length] ["//" length]`
fn domain_and_bits(tail: &str) -> Option<(Option<String>, Bits)> {
    // A slash may stand in a macro, so the lengths are taken from the end.
    let (rest, v6) = match tail.rsplit_once("//") {
        Some((rest, bits)) if bits.chars().all(|c| c.is_ascii_digit()) => (rest, length(bits, 128)?),
        _ => (tail, 128),
    };
    let (rest, v4) = match rest.rsplit_once('/') {
        Some((rest, bits)) if bits.chars().all(|c| c.is_ascii_digit()) => (rest, length(bits, 32)?),
        _ => (rest, 32),
    };
    let domain = match rest.strip_prefix(':') {
        Some(domain) => Some(domain_spec(domain)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((domain, Bits { v4, v6 }))
}

/// A name that may hold macros and ends in a macro or in a label that is no number (RFC 7208 §7.1).
fn domain_spec(text: &str) -> Option<String> {
    expand(text, &Values::example())?;
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let top = last.contains(|c: char| c.is_ascii_alphabetic() || c == '-');
    let named = text.contains('.') && top;
    (named || text.ends_with('}')).then(|| text.to_owned())
}

/// What macros stand for (RFC 7208 §7.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    /// The domain of the sender.
    pub(super) sender: &'a str,
    /// The domain whose record is read.
    pub(super) domain: &'a str,
    pub(super) ip: IpAddr,
}

impl Values<'_> {
    const fn example() -> Self {
        Self { sender: "example.org", domain: "example.org", ip: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }
}

/// A text with its macros replaced, and whether it holds one whose value is not known here: the sender's
/// local part and HELO name stand for `postmaster` (RFC 7208 §4.3) and the domain. `None` where a macro
/// is malformed.
pub(super) fn expand(text: &str, values: &Values<'_>) -> Option<(String, bool)> {
    let mut out = String::with_capacity(text.len());
    let mut guessed = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = match after.chars().next()? {
            '%' => {
                out.push('%');
                after.get(1..)?
            }
            '_' => {
                out.push(' ');
                after.get(1..)?
            }
            '-' => {
                out.push_str("%20");
                after.get(1..)?
            }
            '{' => {
                let (body, tail) = after.get(1..)?.split_once('}')?;
                guessed |= one(body, values, &mut out)?;
                tail
            }
            _ => return None,
        };
    }
    out.push_str(rest);
    let visible = out.bytes().all(|byte| (0x21..=0x7e).contains(&byte) || byte == b' ');
    visible.then_some((out, guessed))
}

/// A name with its macros replaced, without labels on its left beyond the longest that can be asked.
pub(super) fn expand_name(text: &str, values: &Values<'_>) -> Option<(String, bool)> {
    let (name, guessed) = expand(text, values)?;
    let mut name = name.trim_end_matches('.');
    while name.len() > NAME {
        name = name.split_once('.')?.1;
    }
    Some((name.to_owned(), guessed))
}

fn one(body: &str, values: &Values<'_>, out: &mut String) -> Option<bool> {
    let mut chars = body.chars();
    let letter = chars.next()?;
    let rest = chars.as_str();
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (count, rest) = rest.split_at_checked(digits)?;
    let keep: usize = if count.is_empty() { 128 } else { count.parse().ok().filter(|keep| *keep > 0)? };
    let (reverse, delimiters) = match rest.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if !delimiters.chars().all(|c| matches!(c, '.' | '-' | '+' | ',' | '/' | '_' | '=')) {
        return None;
    }
    let (value, guessed) = match letter.to_ascii_lowercase() {
        's' => (format!("postmaster@{}", values.sender), true),
        'l' => ("postmaster".to_owned(), true),
        'o' => (values.sender.to_owned(), false),
        'd' => (values.domain.to_owned(), false),
        'i' => (dotted(values.ip), false),
        // RFC 7208 §7.3 asks not to use it; what cannot be validated is "unknown".
        'p' => ("unknown".to_owned(), true),
        'v' => ((if values.ip.is_ipv4() { "in-addr" } else { "ip6" }).to_owned(), false),
        'h' => (values.sender.to_owned(), true),
        _ => return None,
    };
    let splits = |c: char| if delimiters.is_empty() { c == '.' } else { delimiters.contains(c) };
    let mut parts: Vec<&str> = value.split(splits).collect();
    if reverse {
        parts.reverse();
    }
    let parts = parts.get(parts.len().saturating_sub(keep)..).unwrap_or_default().join(".");
    if letter.is_ascii_uppercase() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        out.extend(
            parts
                .bytes()
                .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }),
        );
    } else {
        out.push_str(&parts);
    }
    Some(guessed)
}

/// An address as macros show it: IPv6 as nibbles with dots between.
fn dotted(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect::<Vec<_>>().join(".")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_are_those_of_the_standard() {
        // The examples of RFC 7208 §7.4, with the local part that is assumed here.
        let values = Values {
            sender: "email.example.com",
            domain: "email.example.com",
            ip: "192.0.2.3".parse().unwrap(),
        };
        for (text, expected) in [
            ("%{s}", "postmaster@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{S}", "postmaster%40email.example.com"),
            ("a%%b%_c%-d", "a%b c%20d"),
        ] {
            assert_eq!(expand(text, &values).unwrap().0, expected, "{text}");
        }
        for text in ["%", "%a", "%{x}", "%{d0}", "%{d", "%{d!}"] {
            assert_eq!(expand(text, &values), None, "{text}");
        }
        let v6 = Values { ip: "2001:db8::cb01".parse().unwrap(), ..values };
        assert_eq!(
            expand_name("%{ir}.%{v}._spf.%{d2}", &v6).unwrap().0,
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn a_term_that_cannot_be_read_is_named() {
        for (record, wrong) in [
            ("v=spf1 ip4:192.0.2.0/33 -all", "ip4:192.0.2.0/33"),
            ("v=spf1 ip4:192.0.2 -all", "ip4:192.0.2"),
            ("v=spf1 ipv4:192.0.2.1 -all", "ipv4:192.0.2.1"),
            ("v=spf1 include -all", "include"),
            ("v=spf1 include:localhost -all", "include:localhost"),
            ("v=spf1 a:%{x}.example.org", "a:%{x}.example.org"),
            ("v=spf1 all:example.org", "all:example.org"),
            ("v=spf1 redirect=a.example redirect=b.example", "redirect=b.example"),
            ("v=spf1 a/08", "a/08"),
            ("v=spf1 -all, ip4:192.0.2.1", "-all,"),
        ] {
            assert_eq!(parse(record).unwrap_err(), wrong);
        }
    }

    #[test]
    fn lengths_and_names_are_read() {
        let record =
            parse("v=spf1  A/24//64 mx:example.org//96 ?ptr ip6:2001:db8::/32 unknown=%{d} ~ALL").unwrap();
        let mechanisms: Vec<_> =
            record.directives.into_iter().map(|one| (one.qualifier, one.mechanism)).collect();
        assert_eq!(
            mechanisms,
            [
                (Qualifier::Pass, Mechanism::A { domain: None, bits: Bits { v4: 24, v6: 64 } }),
                (
                    Qualifier::Pass,
                    Mechanism::Mx { domain: Some("example.org".into()), bits: Bits { v4: 32, v6: 96 } }
                ),
                (Qualifier::Neutral, Mechanism::Ptr(None)),
                (Qualifier::Pass, Mechanism::Ip("2001:db8::".parse().unwrap(), 32)),
                (Qualifier::SoftFail, Mechanism::All),
            ]
        );
    }
}
