//! Whether the SPF record of a domain names an address (RFC 7208).
//!
//! Limits of RFC 7208 §4.6.4: ten terms that ask the DNS, through all includes and redirects; two of them
//! may find nothing; ten addresses of an MX or PTR. An evaluator of our own, because what a person needs is
//! which term decided, through which includes, and how near the limits it came; a library's result is one
//! word. The sender's local part and the HELO name are not known to who reads a bounce: a record that asks
//! for them is told as such ([`Spf::guessed`]).

mod record;

use crate::dns::{BoxFuture, DnsError, Resolver, addresses, is_at_or_below};
use record::{Bits, Mechanism, Qualifier, Values};
use std::net::IpAddr;

/// Terms that may ask the DNS (RFC 7208 §4.6.4).
const LOOKUPS: u8 = 10;

/// Of these, terms that may find nothing.
const VOIDS: u8 = 2;

/// Mail exchangers, or names of an address, that a term may have.
const HOSTS: usize = 10;

/// What SPF says (RFC 7208 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 7208 §2.6 closes the set")]
pub enum SpfResult {
    /// There is no record.
    None,
    /// The domain says nothing of the address.
    Neutral,
    /// The address may send.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// The DNS could not be asked.
    TempError,
    /// The records are wrong.
    PermError,
}

impl SpfResult {
    /// Its word in RFC 7208 §2.6.
    pub const fn key(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// What is wrong with the records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpfFault {
    /// A domain has more than one record (RFC 7208 §4.5).
    Several(String),
    /// A term cannot be read.
    Term(String),
    /// More than ten terms ask the DNS.
    Lookups,
    /// More than two of them find nothing.
    Voids,
    /// A domain that is included or redirected to has no record.
    Missing(String),
    /// A term has more than ten mail exchangers.
    Hosts(String),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spf {
    /// The records of the domain itself; there should be one.
    pub records: Vec<String>,
    /// The result.
    pub result: SpfResult,
    /// The terms that decided, from the domain's own inwards: `include:a.example`, `ip4:192.0.2.0/24`.
    /// Empty where none matched.
    pub matched: Vec<String>,
    /// Terms that asked the DNS; at most eleven.
    pub lookups: u8,
    /// What is wrong, for [`SpfResult::PermError`].
    pub fault: Option<SpfFault>,
    /// Whether the result hangs on the sender's local part or the HELO name, which are not known.
    pub guessed: bool,
    /// Why the DNS could not be asked, for [`SpfResult::TempError`].
    pub trouble: Option<DnsError>,
}

/// Evaluates the record of a domain for an address.
pub async fn spf_of(resolver: &dyn Resolver, domain: &str, ip: IpAddr) -> Spf {
    // A mapped address is the IPv4 address (RFC 7208 §5).
    let ip = ip.to_canonical();
    let found = Spf {
        records: Vec::new(),
        result: SpfResult::None,
        matched: Vec::new(),
        lookups: 0,
        fault: None,
        guessed: false,
        trouble: None,
    };
    let mut run = Run { resolver, ip, sender: domain, voids: 0, found };
    let (result, matched) = match run.domain(domain.to_owned(), true).await {
        Ok(said) => said,
        Err(Stop::Permanent(fault)) => {
            run.found.fault = Some(fault);
            (SpfResult::PermError, Vec::new())
        }
        Err(Stop::Temporary(trouble)) => {
            run.found.trouble = Some(trouble);
            (SpfResult::TempError, Vec::new())
        }
    };
    Spf { result, matched, ..run.found }
}

/// What ends the evaluation at once.
enum Stop {
    Permanent(SpfFault),
    Temporary(DnsError),
}

/// A result, and the terms that decided.
type Said = (SpfResult, Vec<String>);

struct Run<'a> {
    resolver: &'a dyn Resolver,
    ip: IpAddr,
    sender: &'a str,
    voids: u8,
    found: Spf,
}

impl Run<'_> {
    /// Evaluates one domain. Includes and redirects nest no deeper than [`LOOKUPS`] allows.
    fn domain(&mut self, domain: String, first: bool) -> BoxFuture<'_, Result<Said, Stop>> {
        Box::pin(async move {
            let texts = match self.resolver.txt(&domain).await {
                Ok(texts) => texts,
                Err(error) if error.is_void() => Vec::new(),
                Err(error) => return Err(Stop::Temporary(error)),
            };
            let mut records: Vec<String> = texts.into_iter().filter(|text| record::is_spf(text)).collect();
            if first {
                self.found.records.clone_from(&records);
            }
            let text = match (records.pop(), records.is_empty()) {
                (None, _) => return Ok((SpfResult::None, Vec::new())),
                (Some(text), true) => text,
                (Some(_), false) => return Err(Stop::Permanent(SpfFault::Several(domain))),
            };
            let record = record::parse(&text).map_err(|term| Stop::Permanent(SpfFault::Term(term)))?;
            for directive in record.directives {
                if let Some(mut inner) = self.matches(&domain, &directive.mechanism).await? {
                    inner.insert(0, directive.text);
                    return Ok((result(directive.qualifier), inner));
                }
            }
            let Some(target) = record.redirect else { return Ok((SpfResult::Neutral, Vec::new())) };
            self.count()?;
            let target = self.name(&domain, &target)?;
            let (result, mut inner) = self.domain(target.clone(), false).await?;
            if result == SpfResult::None {
                return Err(Stop::Permanent(SpfFault::Missing(target)));
            }
            inner.insert(0, format!("redirect={target}"));
            Ok((result, inner))
        })
    }

    /// Whether a mechanism matches; if so, the terms below it that decided.
    async fn matches(&mut self, domain: &str, mechanism: &Mechanism) -> Result<Option<Vec<String>>, Stop> {
        let matched = match mechanism {
            Mechanism::All => true,
            Mechanism::Ip(network, bits) => covers(*network, *bits, self.ip),
            Mechanism::Include(target) => {
                self.count()?;
                let target = self.name(domain, target)?;
                let (result, inner) = self.domain(target.clone(), false).await?;
                return match result {
                    SpfResult::Pass => Ok(Some(inner)),
                    SpfResult::None => Err(Stop::Permanent(SpfFault::Missing(target))),
                    SpfResult::Neutral | SpfResult::Fail | SpfResult::SoftFail => Ok(None),
                    SpfResult::TempError => Err(Stop::Temporary(DnsError::Trouble)),
                    SpfResult::PermError => Err(Stop::Permanent(SpfFault::Term(target))),
                };
            }
            Mechanism::A { domain: named, bits } => {
                self.count()?;
                let name = self.name(domain, named.as_deref().unwrap_or("%{d}"))?;
                let found = addresses(self.resolver, &name, self.ip).await;
                let all = self.or_void(found)?;
                self.any_covers(&all, *bits)
            }
            Mechanism::Mx { domain: named, bits } => {
                self.count()?;
                let name = self.name(domain, named.as_deref().unwrap_or("%{d}"))?;
                let found = self.resolver.mx(&name).await;
                let hosts = self.or_void(found)?;
                if hosts.len() > HOSTS {
                    return Err(Stop::Permanent(SpfFault::Hosts(name)));
                }
                self.mx_covers(hosts.into_iter().map(|mx| mx.host).collect(), *bits).await?
            }
            Mechanism::Ptr(named) => {
                self.count()?;
                let name = self.name(domain, named.as_deref().unwrap_or("%{d}"))?;
                self.ptr_matches(&name).await?
            }
            Mechanism::Exists(target) => {
                self.count()?;
                let name = self.name(domain, target)?;
                // An A record, whatever the family of the address (RFC 7208 §5.7).
                let found = self.resolver.a(&name).await;
                !self.or_void(found)?.is_empty()
            }
        };
        Ok(matched.then(Vec::new))
    }

    async fn mx_covers(&mut self, hosts: Vec<String>, bits: Bits) -> Result<bool, Stop> {
        for host in hosts.into_iter().filter(|host| !host.is_empty()) {
            match addresses(self.resolver, &host, self.ip).await {
                Ok(all) if self.any_covers(&all, bits) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.is_void() => {}
                Err(error) => return Err(Stop::Temporary(error)),
            }
        }
        Ok(false)
    }

    /// A name of the address that is at or below the domain and leads back (RFC 7208 §5.5); trouble with
    /// the DNS means no match.
    async fn ptr_matches(&mut self, domain: &str) -> Result<bool, Stop> {
        let found = self.resolver.ptr(self.ip).await;
        let names = match found {
            Ok(names) => names,
            Err(error) if error.is_void() => self.or_void(Err(error))?,
            Err(_) => return Ok(false),
        };
        for name in names.iter().take(HOSTS).filter(|name| is_at_or_below(name, domain)) {
            let back = addresses(self.resolver, name, self.ip).await;
            if back.is_ok_and(|all| all.contains(&self.ip)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn any_covers(&self, all: &[IpAddr], bits: Bits) -> bool {
        all.iter().any(|have| covers(*have, if have.is_ipv4() { bits.v4 } else { bits.v6 }, self.ip))
    }

    fn name(&mut self, domain: &str, text: &str) -> Result<String, Stop> {
        let values = Values { sender: self.sender, domain, ip: self.ip };
        let (name, guessed) = record::expand_name(text, &values)
            .ok_or_else(|| Stop::Permanent(SpfFault::Term(text.to_owned())))?;
        self.found.guessed |= guessed;
        Ok(name)
    }

    fn count(&mut self) -> Result<(), Stop> {
        self.found.lookups += 1;
        if self.found.lookups > LOOKUPS { Err(Stop::Permanent(SpfFault::Lookups)) } else { Ok(()) }
    }

    /// What was found, nothing counted as such.
    fn or_void<T>(&mut self, found: Result<Vec<T>, DnsError>) -> Result<Vec<T>, Stop> {
        match found {
            Ok(all) => Ok(all),
            Err(error) if error.is_void() => {
                self.voids += 1;
                if self.voids > VOIDS { Err(Stop::Permanent(SpfFault::Voids)) } else { Ok(Vec::new()) }
            }
            Err(error) => Err(Stop::Temporary(error)),
        }
    }
}

const fn result(qualifier: Qualifier) -> SpfResult {
    match qualifier {
        Qualifier::Pass => SpfResult::Pass,
        Qualifier::Fail => SpfResult::Fail,
        Qualifier::SoftFail => SpfResult::SoftFail,
        Qualifier::Neutral => SpfResult::Neutral,
    }
}

fn covers(network: IpAddr, bits: u8, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            network.to_bits() & mask == ip.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            network.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
