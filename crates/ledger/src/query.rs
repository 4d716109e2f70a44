//! What a person asks the ledger for.
//!
//! Each part of a [`Query`] narrows it; an empty one finds all. The parts are read from what is typed.

use crate::reference::Reference;
use crate::terms::{Term, bare_id, domain};
use postroad_proto::reply::EnhancedCode;
use postroad_proto::time::UnixTime;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// How many are found unless more are asked for.
const LIMIT: usize = 100;

/// What to search for; all that is given must hold for one happening.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// One of the recipients.
    pub to: Option<AddressPattern>,
    /// The sender.
    pub from: Option<AddressPattern>,
    /// The peer's address.
    pub ip: Option<Network>,
    /// The `Message-ID` field; angle brackets do not matter.
    pub message_id: Option<String>,
    /// The name in the queue.
    pub queue_id: Option<String>,
    /// Not before.
    pub since: Option<UnixTime>,
    /// Not after.
    pub until: Option<UnixTime>,
    /// The code of a refusal.
    pub code: Option<CodePattern>,
    /// Also the ends of sessions.
    pub ends: bool,
    /// How many at most.
    pub limit: usize,
}

impl Default for Query {
    /// All, at most a hundred.
    fn default() -> Self {
        Self {
            to: None,
            from: None,
            ip: None,
            message_id: None,
            queue_id: None,
            since: None,
            until: None,
            code: None,
            ends: true,
            limit: LIMIT,
        }
    }
}

impl Query {
    /// Hashes that a block must have for anything in it to be found.
    pub(crate) fn hashes(&self) -> Vec<u64> {
        let mut hashes = Vec::new();
        hashes.extend(self.to.iter().chain(&self.from).filter_map(AddressPattern::hash));
        hashes.extend(self.ip.and_then(Network::single).map(|ip| Term::Ip(ip).hash()));
        hashes.extend(self.message_id.iter().map(|id| Term::MessageId(bare_id(id)).hash()));
        hashes.extend(self.queue_id.iter().map(|id| Term::QueueId(id).hash()));
        hashes.extend(self.code.map(|code| match code {
            CodePattern::Basic(code) => Term::Code(code).hash(),
            CodePattern::Enhanced(code) => Term::Enhanced(code).hash(),
        }));
        hashes
    }
}

/// What was typed is not what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadPattern {
    /// What would do.
    wanted: &'static str,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "give {}", self.wanted)
    }
}

impl std::error::Error for BadPattern {}

/// An address, or all of a domain. Upper and lower case are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPattern(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `<>`
    Null,
    /// In lower case.
    Whole(String),
    /// In lower case, without the `@`.
    Domain(String),
}

impl FromStr for AddressPattern {
    type Err = BadPattern;

    /// Reads `bob@example.org`, `<bob@example.org>`, `@example.org`, or `<>` for the null sender; an address may also
    /// have no domain, as `postmaster` may.
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let text = text.trim();
        let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
        let folded = inner.to_lowercase();
        match folded.strip_prefix('@') {
            Some("") => Err(BadPattern { wanted: "an address, @domain, or <>" }),
            Some(domain) => Ok(Self(Pattern::Domain(domain.to_owned()))),
            None if inner.is_empty() && text.is_empty() => {
                Err(BadPattern { wanted: "an address, @domain, or <>" })
            }
            None if inner.is_empty() => Ok(Self(Pattern::Null)),
            None => Ok(Self(Pattern::Whole(folded))),
        }
    }
}

impl AddressPattern {
    /// Whether this address is meant.
    pub fn matches(&self, address: &str) -> bool {
        let same =
            |pattern: &str, text: &str| pattern.eq_ignore_ascii_case(text) || *pattern == text.to_lowercase();
        match &self.0 {
            Pattern::Null => address.is_empty(),
            Pattern::Whole(whole) => same(whole, address),
            Pattern::Domain(wanted) => domain(address).is_some_and(|domain| same(wanted, domain)),
        }
    }

    fn hash(&self) -> Option<u64> {
        match &self.0 {
            Pattern::Null => None,
            Pattern::Whole(whole) => Some(Term::Address(whole).hash()),
            Pattern::Domain(domain) => Some(Term::Domain(domain).hash()),
        }
    }
}

/// An IP address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    ip: IpAddr,
    bits: u8,
}

impl FromStr for Network {
    type Err = BadPattern;

    /// Reads `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`.
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern { wanted: "an IP address or a prefix, as in 192.0.2.0/24" };
        let (ip, bits) = match text.trim().split_once('/') {
            Some((ip, bits)) => (ip, Some(bits.parse::<u8>().map_err(|_bad| bad())?)),
            None => (text.trim(), None),
        };
        let ip: IpAddr = ip.parse().map_err(|_bad| bad())?;
        let whole = width(ip);
        let bits = bits.unwrap_or(whole);
        if bits > whole {
            return Err(bad());
        }
        // ::ffff:192.0.2.1 is 192.0.2.1; a prefix of such addresses stays one of IPv6.
        let ip = if bits == whole { ip.to_canonical() } else { ip };
        Ok(Self { ip, bits: if bits == whole { width(ip) } else { bits } })
    }
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let shift = u32::from(width(ip).saturating_sub(self.bits));
        width(ip) == width(self.ip)
            && number(ip).checked_shr(shift).unwrap_or(0) == number(self.ip).checked_shr(shift).unwrap_or(0)
    }

    fn single(self) -> Option<IpAddr> {
        (self.bits == width(self.ip)).then_some(self.ip)
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// A basic code such as 550, or an enhanced one such as 5.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a reply has these two codes")]
pub enum CodePattern {
    /// RFC 5321 §4.2.
    Basic(u16),
    /// RFC 3463 §2.
    Enhanced(EnhancedCode),
}

impl FromStr for CodePattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let text = text.trim();
        match text.parse::<u16>() {
            Ok(code @ 400..=599) => Ok(Self::Basic(code)),
            _ => EnhancedCode::parse(text)
                .map(Self::Enhanced)
                .ok_or(BadPattern { wanted: "the code of a refusal, as in 550 or 5.1.1" }),
        }
    }
}

/// A hash that a block must have for the reference to be in it.
pub(crate) fn reference_hash(reference: Reference) -> u64 {
    Term::Reference(reference).hash()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_begins_alike() {
        for (network, ip, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.77/24", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.contains(ip.parse().unwrap()), inside, "{network} {ip}");
        }
        for wrong in ["", "192.0.2", "192.0.2.0/33", "::/129", "192.0.2.0/", "example.org"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_searched_for_is_told() {
        let told = |text: &str| text.parse::<AddressPattern>().unwrap_err().to_string();
        assert_eq!(told(" "), "give an address, @domain, or <>");
        assert_eq!(told("@"), "give an address, @domain, or <>");
        for wrong in ["250", "600", "5.1", "3.1.1", "abc"] {
            let error = wrong.parse::<CodePattern>().unwrap_err();
            assert_eq!(error.to_string(), "give the code of a refusal, as in 550 or 5.1.1", "{wrong}");
        }
    }
}
