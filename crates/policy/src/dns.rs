//! Questions to the DNS, as a trait: who answers them, and over which sockets, is the caller's matter.
//!
//! RFC 1035 §4.1.1 (what an answer says), RFC 2308 §2 (no such name and no data are two things),
//! RFC 5321 §5.1 (MX). A failed question is told as one of five errors; the first two are answers of the
//! DNS, the others mean that nothing is known. The real resolver is the server's; [`crate::zone::Zone`] is
//! the one for tests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

/// A future that is chosen at run time and bound to no executor.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a question to the DNS gives.
pub type Answer<'a, T> = BoxFuture<'a, Result<Vec<T>, DnsError>>;

/// Why there is no answer with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DnsError {
    /// The name does not exist (RFC 2308 §2.1), or is none that could.
    NoSuchName,
    /// The name exists, without records of this type (RFC 2308 §2.2).
    NoData,
    /// A server failed, refused, or answered what cannot be read; it may answer later.
    Trouble,
    /// Nobody answered in time.
    Timeout,
    /// More was asked than the caller allows.
    Spent,
}

impl DnsError {
    /// Whether the DNS said that there is nothing, rather than nothing being known.
    pub const fn is_void(self) -> bool {
        matches!(self, Self::NoSuchName | Self::NoData)
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "no such name",
            Self::NoData => "no records of this type",
            Self::Trouble => "the name servers could not answer",
            Self::Timeout => "no answer in time",
            Self::Spent => "too many questions",
        })
    }
}

impl std::error::Error for DnsError {}

/// A mail exchanger (RFC 5321 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "RFC 1035 §3.3.9 closes the shape")]
pub struct Mx {
    /// The lower is tried first.
    pub preference: u16,
    /// Its name without the dot at the end; empty for the null MX (RFC 7505 §3).
    pub host: String,
}

/// Asks the DNS. An `Ok` is never empty. Names come and go without the dot at the end, and a name that
/// cannot be one is answered with [`DnsError::NoSuchName`]. Aliases (CNAME) are followed. Search lists and
/// the hosts file are not consulted: a check must see what everybody sees.
pub trait Resolver: Send + Sync {
    /// The texts of a name, each joined from its strings (RFC 7208 §3.3).
    fn txt<'a>(&'a self, name: &'a str) -> Answer<'a, String>;
    /// Its IPv4 addresses.
    fn a<'a>(&'a self, name: &'a str) -> Answer<'a, Ipv4Addr>;
    /// Its IPv6 addresses.
    fn aaaa<'a>(&'a self, name: &'a str) -> Answer<'a, Ipv6Addr>;
    /// Its mail exchangers, the first to be tried first.
    fn mx<'a>(&'a self, name: &'a str) -> Answer<'a, Mx>;
    /// The names of an address.
    fn ptr(&self, ip: IpAddr) -> Answer<'_, String>;
}

/// The addresses of a name in the family of `like`.
pub async fn addresses(resolver: &dyn Resolver, name: &str, like: IpAddr) -> Result<Vec<IpAddr>, DnsError> {
    match like {
        IpAddr::V4(_) => Ok(resolver.a(name).await?.into_iter().map(IpAddr::V4).collect()),
        IpAddr::V6(_) => Ok(resolver.aaaa(name).await?.into_iter().map(IpAddr::V6).collect()),
    }
}

/// A resolver that answers so many questions and no more.
pub struct Budget<'r> {
    inner: &'r dyn Resolver,
    left: AtomicU32,
}

impl fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<'r> Budget<'r> {
    /// Allows `most` questions.
    pub const fn new(inner: &'r dyn Resolver, most: u32) -> Self {
        Self { inner, left: AtomicU32::new(most) }
    }

    fn spend<'a, T: Send + 'a>(&'a self, ask: impl FnOnce() -> Answer<'a, T>) -> Answer<'a, T> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() { ask() } else { Box::pin(std::future::ready(Err(DnsError::Spent))) }
    }
}

impl Resolver for Budget<'_> {
    fn txt<'a>(&'a self, name: &'a str) -> Answer<'a, String> {
        self.spend(|| self.inner.txt(name))
    }

    fn a<'a>(&'a self, name: &'a str) -> Answer<'a, Ipv4Addr> {
        self.spend(|| self.inner.a(name))
    }

    fn aaaa<'a>(&'a self, name: &'a str) -> Answer<'a, Ipv6Addr> {
        self.spend(|| self.inner.aaaa(name))
    }

    fn mx<'a>(&'a self, name: &'a str) -> Answer<'a, Mx> {
        self.spend(|| self.inner.mx(name))
    }

    fn ptr(&self, ip: IpAddr) -> Answer<'_, String> {
        self.spend(|| self.inner.ptr(ip))
    }
}

/// The labels of an address as they stand in a reverse name (RFC 1035 §3.5, RFC 3596 §2.5) and in a block
/// list (RFC 5782 §2.1, §2.4): octets or nibbles, the last first.
pub fn reversed(ip: IpAddr) -> String {
    let labels: Vec<String> = match ip {
        IpAddr::V4(ip) => ip.octets().iter().rev().map(u8::to_string).collect(),
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect()
        }
    };
    labels.join(".")
}

/// The name that holds the PTR records of an address.
pub fn reverse_name(ip: IpAddr) -> String {
    let below = if ip.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
    format!("{}.{below}", reversed(ip))
}

/// Whether a name is a domain or stands below it, whatever the case.
pub fn is_at_or_below(name: &str, domain: &str) -> bool {
    let name = name.trim_end_matches('.');
    let head = name.len().checked_sub(domain.len()).and_then(|at| Some((name.get(..at)?, name.get(at..)?)));
    head.is_some_and(|(before, tail)| {
        tail.eq_ignore_ascii_case(domain) && (before.is_empty() || before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;
    use crate::zone::Zone;

    #[test]
    fn a_budget_ends() {
        let zone = Zone::parse("example.org A 192.0.2.1").unwrap();
        let budget = Budget::new(&zone, 2);
        assert_eq!(now(budget.a("example.org")), Ok(vec![Ipv4Addr::new(192, 0, 2, 1)]));
        assert_eq!(now(budget.mx("example.org")), Err(DnsError::NoData));
        assert_eq!(now(budget.a("example.org")), Err(DnsError::Spent));
        assert_eq!(now(budget.ptr("192.0.2.1".parse().unwrap())), Err(DnsError::Spent));
    }

    #[test]
    fn reverse_names_are_those_of_the_standards() {
        assert_eq!(reverse_name("192.0.2.99".parse().unwrap()), "99.2.0.192.in-addr.arpa");
        assert_eq!(
            reverse_name("2001:db8:1:2:3:4:567:89ab".parse().unwrap()),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
