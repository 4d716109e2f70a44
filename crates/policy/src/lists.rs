//! The block lists that are known here: what they list, what their answers mean, where to be taken off.
//!
//! RFC 5782. A list that is not in the table is asked as any other once a bounce names it. Lists that were
//! closed are never asked: some of them answered for every address (RFC 6471 §3.4 forbids it).

use crate::dns::is_at_or_below;
use std::net::Ipv4Addr;

/// What a list lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5782 §2 and §3 close the set")]
pub enum Lists {
    /// Addresses.
    Ips,
    /// Domains.
    Domains,
}

/// A block list.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct List {
    /// Whoever runs it: a name at or below this means the list.
    pub operator: &'static str,
    /// What is asked.
    pub zone: &'static str,
    /// What it lists.
    pub lists: Lists,
    /// Whether it is asked where a bounce speaks of lists and names none: many receivers use it, and it
    /// answers the public.
    pub common: bool,
    /// Which last octets of an answer mean that something is listed.
    pub codes: (u8, u8),
    /// The page that tells more and takes entries off.
    pub page: &'static str,
}

const fn list(
    operator: &'static str,
    zone: &'static str,
    lists: Lists,
    common: bool,
    page: &'static str,
) -> List {
    List { operator, zone, lists, common, codes: (2, 254), page }
}

/// The lists that are known.
pub const LISTS: &[List] = &[
    list("spamhaus.org", "zen.spamhaus.org", Lists::Ips, true, "https://check.spamhaus.org/"),
    list("spamhaus.org", "dbl.spamhaus.org", Lists::Domains, true, "https://check.spamhaus.org/"),
    list("spamcop.net", "bl.spamcop.net", Lists::Ips, true, "https://www.spamcop.net/bl.shtml"),
    list("surriel.com", "psbl.surriel.com", Lists::Ips, true, "https://psbl.org/remove"),
    // Answers from .13 on are neutral or praise.
    List {
        codes: (10, 12),
        ..list("mailspike.net", "rep.mailspike.net", Lists::Ips, true, "https://mailspike.org/")
    },
    list("surbl.org", "multi.surbl.org", Lists::Domains, true, "https://surbl.org/surbl-analysis"),
    list("uribl.com", "multi.uribl.com", Lists::Domains, false, "https://lookup.uribl.com/"),
    list(
        "barracudacentral.org",
        "b.barracudacentral.org",
        Lists::Ips,
        false,
        "https://www.barracudacentral.org/lookups",
    ),
    list(
        "uceprotect.net",
        "dnsbl-1.uceprotect.net",
        Lists::Ips,
        false,
        "https://www.uceprotect.net/en/rblcheck.php",
    ),
    list(
        "spameatingmonkey.net",
        "bl.spameatingmonkey.net",
        Lists::Ips,
        false,
        "https://spameatingmonkey.com/lookup",
    ),
    list("blocklist.de", "bl.blocklist.de", Lists::Ips, false, "https://www.blocklist.de/en/search.html"),
];

/// Operators and zones that were closed.
const CLOSED: &[&str] = &[
    "sorbs.net",
    "ix.dnsbl.manitu.net",
    "dnsbl.inps.de",
    "ahbl.org",
    "njabl.org",
    "rfc-ignorant.org",
    "ordb.org",
    "dsbl.org",
    "unsubscore.com",
];

/// Whether a list was closed.
pub fn is_closed(name: &str) -> bool {
    CLOSED.iter().any(|closed| is_at_or_below(name, closed))
}

/// The lists of a kind that a name means: the zone itself, else all of its operator.
pub fn known(name: &str, lists: Lists) -> Option<&'static List> {
    let own = LISTS.iter().find(|list| list.zone.eq_ignore_ascii_case(name));
    own.filter(|list| list.lists == lists).or_else(|| {
        LISTS.iter().find(|list| list.lists == lists && own.is_none() && is_at_or_below(name, list.operator))
    })
}

/// Whether a name belongs to the operator of a list.
pub fn is_operators(name: &str) -> bool {
    is_closed(name) || LISTS.iter().any(|list| is_at_or_below(name, list.operator))
}

/// What one answer of a list means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Listed.
    Listed,
    /// The entry says something else, such as a good reputation.
    Other,
    /// The list does not answer who asks.
    Refused,
    /// No list answers so.
    Broken,
}

/// Reads an answer (RFC 5782 §2.1).
pub(crate) fn code(zone: &str, answer: Ipv4Addr) -> Code {
    let [first, second, third, fourth] = answer.octets();
    let known = LISTS.iter().find(|list| list.zone.eq_ignore_ascii_case(zone));
    match (first, second, third, fourth) {
        // Spamhaus and others: a public resolver, too many questions, a misspelt zone. SURBL and URIBL: the
        // question was blocked, and no list may use that answer for an entry. Lists of domains asked for an
        // address, and allow lists asked too much.
        (127, 255, 255, _) | (127, 0, 0, 1) | (127, 0, 0 | 1, 255) => Code::Refused,
        (127, ..) => match known {
            Some(list) if fourth < list.codes.0 || fourth > list.codes.1 => Code::Other,
            _ => Code::Listed,
        },
        _ => Code::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_list() {
        let zone = |name, lists| known(name, lists).map(|list| list.zone);
        assert_eq!(zone("sbl.spamhaus.org", Lists::Ips), Some("zen.spamhaus.org"));
        assert_eq!(zone("www.spamhaus.org", Lists::Domains), Some("dbl.spamhaus.org"));
        assert_eq!(zone("dbl.spamhaus.org", Lists::Ips), None);
        assert_eq!(zone("notspamhaus.org", Lists::Ips), None);
        assert!(is_closed("dnsbl.sorbs.net") && is_operators("spamcop.net") && !is_operators("example.org"));
    }

    #[test]
    fn answers_that_are_no_listings() {
        let of = |zone, answer: &str| code(zone, answer.parse().unwrap());
        assert_eq!(of("zen.spamhaus.org", "127.0.0.4"), Code::Listed);
        assert_eq!(of("zen.spamhaus.org", "127.255.255.254"), Code::Refused);
        assert_eq!(of("multi.uribl.com", "127.0.0.1"), Code::Refused);
        assert_eq!(of("dbl.spamhaus.org", "127.0.1.255"), Code::Refused);
        assert_eq!(of("rep.mailspike.net", "127.0.0.11"), Code::Listed);
        assert_eq!(of("rep.mailspike.net", "127.0.0.18"), Code::Other);
        assert_eq!(of("rbl.example.org", "192.0.2.1"), Code::Broken);
    }
}
