//! The questions that a bounce gives rise to, and what the DNS says to each of them today.
//!
//! RFC 8601 §3 (reverse names that lead back), RFC 7208 (SPF), RFC 6376 §3.6.1 (DKIM keys), RFC 9989 §4.10
//! (the tree walk to the DMARC policy), RFC 5782 (block lists), RFC 5321 §5.1 and RFC 7505 (MX). An error
//! means that nothing is known; that the DNS has nothing is a finding. Left out: the policy `np` for
//! domains that do not exist, and the Public Suffix List of RFC 7489, which the tree walk replaces.

use crate::dns::{Budget, DnsError, Mx, Resolver, addresses, reversed};
use crate::lists::{self, Code};
use crate::spf::{Spf, spf_of};
use std::net::{IpAddr, Ipv4Addr};

/// Questions to the DNS that one check may take: SPF needs the most, ten terms with ten hosts each.
const BUDGET: u32 = 128;

/// Names of an address that are looked at (RFC 8601 §3 leaves the number to us; RFC 7208 §4.6.4 says ten).
const NAMES: usize = 10;

/// Mail exchangers whose addresses are looked up.
const HOSTS: usize = 10;

/// Questions of a tree walk (RFC 9989 §4.10).
const WALK: usize = 8;

/// Texts and answers of a list that are told.
const TOLD: usize = 4;

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Check {
    /// Does the address have a name that leads back to it?
    Ptr(IpAddr),
    /// Does the domain's SPF record name the address?
    Spf {
        /// The domain of the envelope's sender.
        domain: String,
        /// The address that sent.
        ip: IpAddr,
    },
    /// Is the key of a DKIM signature published?
    Dkim {
        /// The selector, `s=`.
        selector: String,
        /// The domain, `d=`.
        domain: String,
    },
    /// Which DMARC policy has the domain?
    Dmarc(String),
    /// Does a block list name the address or domain?
    List {
        /// What it may list.
        subject: Subject,
        /// The list.
        zone: String,
    },
    /// Where does mail for the domain go?
    Mx(String),
}

/// What a block list can name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5782 §2 and §3 close the set")]
pub enum Subject {
    /// An address.
    Ip(IpAddr),
    /// A domain.
    Domain(String),
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Of the reverse names.
    Ptr(Ptr),
    /// Of SPF.
    Spf(Spf),
    /// Of a DKIM key.
    Dkim(DkimKey),
    /// Of the DMARC policy.
    Dmarc(Dmarc),
    /// Of a block list.
    List(Listing),
    /// Of the mail exchangers.
    Mx(Exchangers),
}

/// Runs a check.
pub async fn run(resolver: &dyn Resolver, check: &Check) -> Result<Finding, DnsError> {
    let budget = Budget::new(resolver, BUDGET);
    match check {
        Check::Ptr(ip) => ptr_of(&budget, *ip).await.map(Finding::Ptr),
        Check::Spf { domain, ip } => Ok(Finding::Spf(spf_of(&budget, domain, *ip).await)),
        Check::Dkim { selector, domain } => dkim_key_of(&budget, selector, domain).await.map(Finding::Dkim),
        Check::Dmarc(domain) => dmarc_of(&budget, domain).await.map(Finding::Dmarc),
        Check::List { subject, zone } => listed(&budget, subject, zone).await.map(Finding::List),
        Check::Mx(domain) => mx_of(&budget, domain).await.map(Finding::Mx),
    }
}

/// A name that the DNS of the whole world holds: the first root server's.
const EVERYWHERE: &str = "a.root-servers.net";

/// Whether a resolver knows the public DNS, unless that cannot be told. One of a closed network answers
/// that names do not exist which do, and then nothing that it lacks is a finding.
pub async fn is_closed(resolver: &dyn Resolver) -> bool {
    resolver.a(EVERYWHERE).await.is_err_and(DnsError::is_void)
}

/// The reverse names of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ptr {
    /// The names, ten at most.
    pub names: Vec<String>,
    /// The first of them that leads back to the address.
    pub confirmed: Option<String>,
}

/// Looks for the names of an address, and for one that leads back to it (RFC 8601 §3).
pub async fn ptr_of(resolver: &dyn Resolver, ip: IpAddr) -> Result<Ptr, DnsError> {
    let mut names = or_nothing(resolver.ptr(ip).await)?;
    names.truncate(NAMES);
    let mut trouble = None;
    for name in &names {
        match addresses(resolver, name, ip).await {
            Ok(back) if back.contains(&ip) => {
                let confirmed = Some(name.clone());
                return Ok(Ptr { names, confirmed });
            }
            Ok(_) => {}
            Err(error) if error.is_void() => {}
            Err(error) => trouble = Some(error),
        }
    }
    trouble.map_or(Ok(Ptr { names, confirmed: None }), Err)
}

/// A DKIM key (RFC 6376 §3.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DkimKey {
    /// The name that was asked.
    pub name: String,
    /// The record, if there is one.
    pub record: Option<String>,
    /// What it is worth.
    pub state: KeyState,
    /// `k=`, `rsa` where it is not said.
    pub kind: String,
    /// Whether it says `t=y`: the domain is only testing.
    pub testing: bool,
}

/// What a DKIM record is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// There is a key.
    There,
    /// There is no record.
    Missing,
    /// The key was revoked: `p=` is empty.
    Revoked,
    /// The record is no key.
    Broken,
    /// There is more than one record, and verifiers may take any.
    Several,
}

/// Looks for a DKIM key.
pub async fn dkim_key_of(resolver: &dyn Resolver, selector: &str, domain: &str) -> Result<DkimKey, DnsError> {
    let name = format!("{selector}._domainkey.{domain}");
    let texts = or_nothing(resolver.txt(&name).await)?;
    let mut key =
        DkimKey { name, record: None, state: KeyState::Missing, kind: "rsa".into(), testing: false };
    let Some(text) = texts.first() else { return Ok(key) };
    key.record = Some(text.clone());
    key.kind = tag(text, "k").unwrap_or("rsa").to_ascii_lowercase();
    key.testing = tag(text, "t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y"));
    let version = tag(text, "v").is_none_or(|version| version == "DKIM1");
    key.state = match tag(text, "p") {
        _ if texts.len() > 1 => KeyState::Several,
        Some("") if version => KeyState::Revoked,
        Some(value) if version && is_base64(value) => KeyState::There,
        _ => KeyState::Broken,
    };
    Ok(key)
}

fn is_base64(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/= \t".contains(&byte))
}

/// A DMARC policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dmarc {
    /// The record that applies.
    pub record: Option<String>,
    /// The name at which it stands, as `_dmarc.example.org`.
    pub name: Option<String>,
    /// What it asks of receivers for this domain.
    pub policy: Policy,
    /// Whether it says `t=y`: receivers shall step the policy down.
    pub testing: bool,
    /// Whether the domain itself has more than one record, which counts as none.
    pub several: bool,
}

/// What a domain asks receivers to do with mail that fails (RFC 9989 §4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// Nothing.
    #[default]
    None,
    /// To be wary of it.
    Quarantine,
    /// To refuse it.
    Reject,
}

impl Policy {
    /// Its word in the record.
    pub const fn key(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    /// RFC 9989 §4.7: what is unknown or missing asks for nothing.
    fn read(text: Option<&str>) -> Self {
        match text.unwrap_or_default().to_ascii_lowercase().as_str() {
            "reject" => Self::Reject,
            "quarantine" => Self::Quarantine,
            _ => Self::None,
        }
    }
}

/// Looks for the DMARC policy of a domain: its own, else that of its organisational domain, which the tree
/// walk of RFC 9989 §4.10 finds.
pub async fn dmarc_of(resolver: &dyn Resolver, domain: &str) -> Result<Dmarc, DnsError> {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let (own, several) = dmarc_record(resolver, &domain).await?;
    let told = |at: &str, record: String| {
        let below = at != domain;
        let policy = tag(&record, "sp").filter(|_| below).or_else(|| tag(&record, "p"));
        Dmarc {
            policy: Policy::read(policy),
            testing: tag(&record, "t").is_some_and(|flag| flag.eq_ignore_ascii_case("y")),
            name: Some(format!("_dmarc.{at}")),
            record: Some(record),
            several,
        }
    };
    if let Some(record) = own {
        return Ok(told(&domain, record));
    }
    let labels: Vec<&str> = domain.split('.').collect();
    // Of a long name the walk goes on with its last seven labels (RFC 9989 §4.10).
    let first = if labels.len() > WALK { labels.len() - (WALK - 1) } else { 1 };
    let mut best = None;
    for from in first..labels.len() {
        let parent = labels.get(from..).unwrap_or_default().join(".");
        let (Some(record), _) = dmarc_record(resolver, &parent).await? else { continue };
        let psd = tag(&record, "psd").map(str::to_ascii_lowercase);
        match psd.as_deref() {
            // A public suffix: the organisation's domain stands below it, and had its say already.
            Some("y") => {
                best = best.or(Some((parent, record)));
                break;
            }
            Some("n") => {
                best = Some((parent, record));
                break;
            }
            _ => best = Some((parent, record)),
        }
    }
    Ok(best.map_or(Dmarc { several, ..Dmarc::default() }, |(parent, record)| told(&parent, record)))
}

/// The one record of a name, and whether there are several, which count as none.
async fn dmarc_record(resolver: &dyn Resolver, domain: &str) -> Result<(Option<String>, bool), DnsError> {
    let texts = or_nothing(resolver.txt(&format!("_dmarc.{domain}")).await)?;
    let mut records: Vec<String> = texts
        .into_iter()
        .filter(|text| tag(text, "v") == Some("DMARC1") && starts_with_version(text))
        .collect();
    let several = records.len() > 1;
    Ok((records.pop().filter(|_| !several), several))
}

fn starts_with_version(text: &str) -> bool {
    text.trim_start().starts_with('v')
}

/// What a block list says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// Whether it lists.
    pub state: ListState,
    /// Its answers, at most four.
    pub codes: Vec<Ipv4Addr>,
    /// The reasons it gives, at most four.
    pub reasons: Vec<String>,
}

/// Whether a list lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListState {
    /// It does.
    Listed,
    /// It does not.
    Free,
    /// It does not answer who asks: a public resolver, too many questions.
    Refused,
    /// It answers as no working list does (RFC 5782 §5).
    Broken,
    /// It was closed, and was not asked.
    Closed,
}

/// Asks a block list, and tests it by an entry that every list has, or that none may have (RFC 5782 §5).
pub async fn listed(resolver: &dyn Resolver, subject: &Subject, zone: &str) -> Result<Listing, DnsError> {
    let mut listing = Listing { state: ListState::Closed, codes: Vec::new(), reasons: Vec::new() };
    if lists::is_closed(zone) {
        return Ok(listing);
    }
    let (entry, always, never) = match subject {
        Subject::Ip(ip @ IpAddr::V4(_)) => (reversed(*ip), "2.0.0.127".into(), "1.0.0.127".into()),
        Subject::Ip(ip @ IpAddr::V6(_)) => {
            let mapped = |ip: Ipv4Addr| reversed(IpAddr::V6(ip.to_ipv6_mapped()));
            (reversed(*ip), mapped(Ipv4Addr::new(127, 0, 0, 2)), mapped(Ipv4Addr::LOCALHOST))
        }
        Subject::Domain(domain) => (domain.clone(), "TEST".to_owned(), "INVALID".to_owned()),
    };
    let name = format!("{entry}.{zone}");
    listing.codes = or_nothing(resolver.a(&name).await)?;
    listing.codes.truncate(TOLD);
    let codes: Vec<Code> = listing.codes.iter().map(|answer| lists::code(zone, *answer)).collect();
    listing.state = if codes.contains(&Code::Refused) {
        ListState::Refused
    } else if codes.contains(&Code::Broken) {
        ListState::Broken
    } else if codes.contains(&Code::Listed) {
        // A list that names the address that none may name lists the whole world.
        let everything = !or_nothing(resolver.a(&format!("{never}.{zone}")).await)?.is_empty();
        if everything { ListState::Broken } else { ListState::Listed }
    } else if codes.contains(&Code::Other) {
        ListState::Free
    } else {
        let test = or_nothing(resolver.a(&format!("{always}.{zone}")).await)?;
        if test.iter().any(|answer| lists::code(zone, *answer) == Code::Refused) {
            ListState::Refused
        } else if test.is_empty() {
            ListState::Broken
        } else {
            ListState::Free
        }
    };
    if matches!(listing.state, ListState::Listed | ListState::Refused) {
        // The reason is a courtesy of the list; without it the answer stands.
        listing.reasons = resolver.txt(&name).await.unwrap_or_default();
        listing.reasons.truncate(TOLD);
    }
    Ok(listing)
}

/// Where mail for a domain goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchangers {
    /// How it stands.
    pub state: MxState,
    /// The mail exchangers, the first to be tried first; ten at most.
    pub hosts: Vec<Mx>,
}

/// How a domain takes mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MxState {
    /// At least one mail exchanger has an address.
    There,
    /// It has no MX, and an address of its own that stands for one (RFC 5321 §5.1).
    Implicit,
    /// It says that it takes no mail (RFC 7505).
    Null,
    /// None of its mail exchangers has an address.
    Unreachable,
    /// It has neither MX nor address.
    Nothing,
    /// The domain does not exist.
    NoSuchDomain,
}

/// Looks for the mail exchangers of a domain, and whether one of them has an address.
pub async fn mx_of(resolver: &dyn Resolver, domain: &str) -> Result<Exchangers, DnsError> {
    let told = |state, hosts| Ok(Exchangers { state, hosts });
    let mut hosts = match resolver.mx(domain).await {
        Ok(hosts) => hosts,
        Err(DnsError::NoSuchName) => return told(MxState::NoSuchDomain, Vec::new()),
        Err(DnsError::NoData) => {
            let has = has_address(resolver, domain).await?;
            return told(if has { MxState::Implicit } else { MxState::Nothing }, Vec::new());
        }
        Err(error) => return Err(error),
    };
    if hosts.iter().all(|mx| mx.host.is_empty()) {
        return told(MxState::Null, hosts);
    }
    hosts.truncate(HOSTS);
    let mut trouble = None;
    for mx in &hosts {
        match has_address(resolver, &mx.host).await {
            Ok(true) => return told(MxState::There, hosts),
            Ok(false) => {}
            Err(error) => trouble = Some(error),
        }
    }
    trouble.map_or_else(|| told(MxState::Unreachable, hosts), Err)
}

async fn has_address(resolver: &dyn Resolver, name: &str) -> Result<bool, DnsError> {
    if !or_nothing(resolver.a(name).await)?.is_empty() {
        return Ok(true);
    }
    Ok(!or_nothing(resolver.aaaa(name).await)?.is_empty())
}

/// Nothing where the DNS says that there is nothing.
fn or_nothing<T>(found: Result<Vec<T>, DnsError>) -> Result<Vec<T>, DnsError> {
    match found {
        Err(error) if error.is_void() => Ok(Vec::new()),
        other => other,
    }
}

/// The value of a tag in a list of them (RFC 6376 §3.2).
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(have, value)| (have.trim(), value.trim()))
        .find(|(have, _)| *have == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
