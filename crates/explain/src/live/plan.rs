//! Which checks fit a cause and a code, with the values that the text gives.

use crate::answer::{Answer, FoundKind, Reading};
use postroad_policy::dns::is_at_or_below;
use postroad_policy::lists::{self, Lists};
use postroad_policy::live::{Check, Subject};
use postroad_reference::signs;
use std::net::IpAddr;

/// Recipients whose cause is checked.
pub(super) const RECIPIENTS: usize = 10;

/// Checks for each.
const CHECKS: usize = 12;

/// Values of a kind that are used: a text may name many addresses.
const VALUES: usize = 2;

/// What is to be checked for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The place of its answer in [`Reading::recipients`].
    pub at: usize,
    /// The checks, the most telling first.
    pub checks: Vec<Check>,
    /// What cannot be checked, and why.
    pub gaps: Vec<Gap>,
}

/// Why something cannot be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Gap {
    /// Nothing in the DNS decides about the cause.
    Fits,
    /// The text names no public address.
    Ip,
    /// It names no domain of the sender.
    Domain,
    /// It names no selector.
    Selector,
    /// It names no recipient.
    Recipient,
}

impl Gap {
    /// Its key, among the texts of a language and in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Ip => "ip",
            Self::Domain => "domain",
            Self::Selector => "selector",
            Self::Recipient => "recipient",
        }
    }
}

/// Plans the checks for the first recipients whose mail did not go on its way.
pub fn plan(reading: &Reading) -> Vec<Plan> {
    let refused = reading.recipients.iter().enumerate().filter(|(_, answer)| !answer.outcome.is_success());
    refused.take(RECIPIENTS).map(|(at, answer)| Planner::new(at, answer).run()).collect()
}

/// The code by which the meaning of a cause is narrowed: subject and detail.
pub(super) fn code(answer: &Answer) -> (u16, u16) {
    let enhanced = answer.reply.as_ref().and_then(|reply| reply.enhanced);
    enhanced.map_or((0, 0), |code| (code.subject(), code.detail()))
}

/// The names of block lists in a text: what it calls a list, and domains of their operators.
pub(super) fn named_lists(answer: &Answer) -> Vec<&str> {
    let found = answer.found.iter().filter_map(|found| match found.kind {
        FoundKind::List => Some(found.value.as_str()),
        FoundKind::Domain => Some(found.value.as_str()).filter(|name| lists::is_operators(name)),
        FoundKind::Url => host(&found.value).filter(|name| lists::is_operators(name)),
        FoundKind::Ip | FoundKind::Selector | FoundKind::Address => None,
    });
    found.take(VALUES).collect()
}

/// The zone to ask for a list that a text names.
pub(super) fn zone(name: &str, lists: Lists) -> Option<&str> {
    match lists::known(name, lists) {
        Some(list) => Some(list.zone),
        // An operator whose lists are all of the other kind.
        None if lists::is_operators(name) && !lists::is_closed(name) => None,
        None => Some(name),
    }
}

fn host(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split(['/', ':', '?', '#']).next()
}

struct Planner<'a> {
    answer: &'a Answer,
    ips: Vec<IpAddr>,
    domain: Option<String>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(at: usize, answer: &'a Answer) -> Self {
        let ips = answer.found.iter().filter(|found| found.kind == FoundKind::Ip);
        let ips = ips.filter_map(|found| found.value.parse().ok()).filter(|ip| is_public(*ip));
        Self {
            answer,
            ips: ips.take(VALUES).collect(),
            domain: sender_domain(answer),
            plan: Plan { at, checks: Vec::new(), gaps: Vec::new() },
        }
    }

    fn run(mut self) -> Plan {
        let causes = std::iter::once(&self.answer.cause).chain(&self.answer.readings);
        for cause in causes {
            match *cause {
                "dns" => self.dns(),
                "auth" => self.auth(),
                "blocklist" => self.lists(),
                "mailbox-unknown" | "mailbox-disabled" | "relay" | "routing" | "network" | "expired" => {
                    self.recipient();
                }
                _ => {}
            }
        }
        // Such a code says what was checked, whatever the words beside it were taken for (RFC 7372 §3).
        match code(self.answer) {
            (7, 25) => self.ptr(),
            (7, 20..=24 | 26 | 515) if self.answer.cause != "dns" => self.auth(),
            _ => {}
        }
        if self.plan.checks.is_empty() && self.plan.gaps.is_empty() {
            self.plan.gaps.push(Gap::Fits);
        }
        self.plan.checks.truncate(CHECKS);
        self.plan
    }

    fn dns(&mut self) {
        match code(self.answer) {
            // RFC 7372 §3.3; Gmail says the same with 23.
            (7, 23 | 25) => self.ptr(),
            // The sender's domain cannot be replied to (RFC 3463 §3.2, RFC 7505 §4.2).
            (1, 7 | 8) | (7, 27) => match self.domain.clone() {
                Some(domain) => self.add(Check::Mx(domain)),
                None => self.miss(Gap::Domain),
            },
            (1 | 4, _) => self.recipient(),
            _ if !self.ips.is_empty() => self.ptr(),
            _ => self.recipient(),
        }
    }

    fn ptr(&mut self) {
        if self.ips.is_empty() {
            self.miss(Gap::Ip);
        }
        for ip in self.ips.clone() {
            self.add(Check::Ptr(ip));
        }
    }

    fn auth(&mut self) {
        let google = is_google(self.answer);
        // RFC 7372 §3; Gmail's own 27, 30, 31, 32 and 40.
        let (spf, dkim, dmarc) = match code(self.answer) {
            (7, 23 | 24) => (true, false, false),
            (7, 27) if google => (true, false, false),
            (7, 20..=22) => (false, true, false),
            (7, 30) if google => (false, true, false),
            (7, 31 | 40) if google => (false, false, true),
            _ => (true, true, true),
        };
        let Some(domain) = self.domain.clone() else { return self.miss(Gap::Domain) };
        if spf && self.ips.is_empty() {
            self.miss(Gap::Ip);
        }
        for ip in self.ips.clone().into_iter().filter(|_| spf) {
            self.add(Check::Spf { domain: domain.clone(), ip });
        }
        let mut selectors = self.answer.found.iter().filter(|found| found.kind == FoundKind::Selector);
        match selectors.next().filter(|_| dkim) {
            Some(found) => self.add(Check::Dkim { selector: found.value.clone(), domain: domain.clone() }),
            None if dkim => self.miss(Gap::Selector),
            None => {}
        }
        if dmarc {
            self.add(Check::Dmarc(domain));
        }
    }

    fn lists(&mut self) {
        if self.ips.is_empty() {
            self.miss(Gap::Ip);
        }
        let ips = self.ips.iter().map(|ip| (Lists::Ips, Subject::Ip(*ip)));
        let domain = self.domain.clone().map(|domain| (Lists::Domains, Subject::Domain(domain)));
        let subjects: Vec<(Lists, Subject)> = ips.chain(domain).collect();
        let named = named_lists(self.answer);
        for (lists, subject) in subjects {
            let common = || lists::LISTS.iter().filter(|list| list.lists == lists && list.common);
            let zones: Vec<&str> = if named.is_empty() {
                common().map(|list| list.zone).collect()
            } else {
                // A list that is not known is one of addresses, as nearly all are.
                let known = |name: &str| lists == Lists::Ips || lists::is_operators(name);
                named.iter().filter(|name| known(name)).filter_map(|name| zone(name, lists)).collect()
            };
            for zone in zones {
                self.add(Check::List { subject: subject.clone(), zone: zone.to_ascii_lowercase() });
            }
        }
    }

    fn recipient(&mut self) {
        let recipient = self.answer.recipient.as_deref();
        match recipient.and_then(|address| address.rsplit_once('@')).map(|(_, domain)| domain) {
            Some(domain) if !domain.starts_with('[') => self.add(Check::Mx(plain(domain))),
            _ => self.miss(Gap::Recipient),
        }
    }

    fn add(&mut self, check: Check) {
        if !self.plan.checks.contains(&check) {
            self.plan.checks.push(check);
        }
    }

    fn miss(&mut self, gap: Gap) {
        if !self.plan.gaps.contains(&gap) {
            self.plan.gaps.push(gap);
        }
    }
}

/// Whether Gmail answered, which gives codes of subject 7 a meaning of its own.
pub(super) fn is_google(answer: &Answer) -> bool {
    signs::signs().iter().any(|sign| Some(sign.provider) == answer.provider && sign.vendor == "google")
}

fn plain(domain: &str) -> String {
    domain.trim_end_matches(['.', '>']).to_ascii_lowercase()
}

/// The domain that sent, as well as a reply tells it: what the record to change is about, the domain of an
/// address that is not the recipient's, a domain that belongs neither to the recipient, nor to who
/// answered, nor to a block list.
fn sender_domain(answer: &Answer) -> Option<String> {
    let own = answer.recipient.as_deref().and_then(|address| address.rsplit_once('@')).map(|(_, own)| own);
    let host = answer.reply.as_ref().and_then(|reply| reply.host.as_deref());
    let of_provider = |name: &str| {
        signs::signs().iter().any(|sign| {
            sign.kind == "host" && Some(sign.provider) == answer.provider && is_at_or_below(name, sign.value)
        })
    };
    let foreign = |name: &str| {
        let theirs = own.into_iter().chain(host);
        let related = |their: &str| is_at_or_below(name, their) || is_at_or_below(their, name);
        theirs.into_iter().any(related) || of_provider(name) || lists::is_operators(name)
    };
    let of_kind = |kind| answer.found.iter().filter(move |found| found.kind == kind);
    let addresses = of_kind(FoundKind::Address)
        .map(|found| found.value.as_str())
        .filter(|address| answer.recipient.as_deref().is_none_or(|own| !own.eq_ignore_ascii_case(address)));
    // One that begins the reply is mostly the recipient's, echoed, so anything else counts more.
    let text = answer.reply.as_ref().map_or("", |reply| reply.text.trim_start_matches('<'));
    let (echoed, others): (Vec<&str>, Vec<&str>) =
        addresses.partition(|address| answer.recipient.is_none() && text.starts_with(address));
    let domain_of = |address: &'_ str| address.rsplit_once('@').map(|(_, domain)| plain(domain));
    let named = of_kind(FoundKind::Domain).map(|found| found.value.as_str()).find(|name| !foreign(name));
    let of_others = others.first().and_then(|address| domain_of(address));
    of_others.or_else(|| named.map(plain)).or_else(|| echoed.first().and_then(|address| domain_of(address)))
}

/// Whether everybody can ask about an address; of a private one the DNS of others says nothing.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = matches!(ip.octets(), [100, 64..=127, ..]);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain_text;

    fn first(text: &str) -> Plan {
        plan(&explain_text(text.as_bytes())).remove(0)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_missing_reverse_name_is_looked_up() {
        let text = "550-5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record \
                    setup, or the corresponding forward DNS entry does not point to the sending IP.";
        assert_eq!(first(text).checks, [Check::Ptr(ip("192.0.2.1"))]);
        let private = first(&text.replace("192.0.2.1", "192.168.2.1"));
        assert_eq!((private.checks, private.gaps), (vec![], vec![Gap::Ip]));
    }

    #[test]
    fn an_unauthenticated_sender_is_checked_by_all_three() {
        let text = "550-5.7.26 This mail has been blocked because the sender is unauthenticated. \
                    550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM. \
                    550-5.7.26 Authentication results: DKIM = did not pass \
                    550-5.7.26 SPF [example.org] with ip: [192.0.2.1] = did not pass";
        let found = first(text);
        let domain = "example.org".to_owned();
        assert_eq!(
            found.checks,
            [Check::Spf { domain: domain.clone(), ip: ip("192.0.2.1") }, Check::Dmarc(domain)]
        );
        assert_eq!(found.gaps, [Gap::Selector]);
        // The code counts where the words were taken for something else.
        let short = first(
            "550 5.7.26 Mail was blocked because the sender is unauthenticated: \
             SPF [example.org] with ip: [192.0.2.1] = did not pass",
        );
        assert_eq!(short.checks, found.checks);
        let narrowed = first("550 5.7.23 SPF validation failed for bob@example.org from 192.0.2.1");
        assert_eq!(narrowed.checks, [Check::Spf { domain: "example.org".into(), ip: ip("192.0.2.1") }]);
    }

    #[test]
    fn a_list_is_asked_if_named_else_the_common_ones() {
        let named = first(
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using \
                           zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1",
        );
        let zen = Check::List { subject: Subject::Ip(ip("192.0.2.1")), zone: "zen.spamhaus.org".into() };
        assert_eq!(named.checks, std::slice::from_ref(&zen));
        let unnamed = first("554 5.7.1 Your IP 192.0.2.1 is on a block list");
        assert!(unnamed.checks.contains(&zen) && unnamed.checks.len() > 2, "{unnamed:?}");
        let other = first("550 5.7.1 [192.0.2.1] is listed at rbl.example.net");
        assert_eq!(
            other.checks,
            [Check::List { subject: Subject::Ip(ip("192.0.2.1")), zone: "rbl.example.net".into() }]
        );
    }

    #[test]
    fn an_unknown_mailbox_leads_to_the_recipients_domain() {
        let text = "<bob@example.org>: host mx.example.org[192.0.2.9] said: 550 5.1.1 <bob@example.org>: \
                    Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command)";
        assert_eq!(first(text).checks, [Check::Mx("example.org".into())]);
    }

    #[test]
    fn what_the_dns_does_not_decide_is_not_asked() {
        let full = first("552 5.2.2 <bob@example.org>: Mailbox full");
        assert_eq!((full.checks, full.gaps), (vec![], vec![Gap::Fits]));
        assert!(plan(&explain_text(b"250 2.0.0 Ok: queued as 12345")).is_empty());
    }
}
