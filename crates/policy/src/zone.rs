//! A resolver over a text in memory, so that tests need no network.
//!
//! A line is `NAME TYPE VALUE`; the types are A, AAAA, MX (`10 host`, `0 .`), TXT (the rest of the line),
//! PTR (of the reverse name) and CNAME; `NAME FAIL` and `NAME SILENT` stand for servers that cannot answer
//! and for ones that do not. What follows a `;` at the beginning of a line is a comment. A name exists if
//! a line names it or a name below it (RFC 8020 §2).

use crate::dns::{Answer, DnsError, Mx, Resolver, reverse_name};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Aliases that are followed one behind another.
const ALIASES: usize = 8;

/// Names and what they hold.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: BTreeMap<String, Vec<Record>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx(Mx),
    Txt(String),
    Ptr(String),
    Cname(String),
    Fails(DnsError),
}

impl Zone {
    /// Reads a zone; the line that cannot be read is the error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut zone = Self::default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';'));
        for line in lines {
            let mut words = line.splitn(3, char::is_whitespace);
            let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let value = words.next().unwrap_or_default().trim();
            let record = record(kind, value).ok_or_else(|| line.to_owned())?;
            zone.names.entry(plain(name)).or_default().push(record);
        }
        Ok(zone)
    }

    fn find<'a, T: Send + 'a>(&'a self, name: &str, pick: impl Fn(&Record) -> Option<T>) -> Answer<'a, T> {
        Box::pin(std::future::ready(self.look_up(name, pick)))
    }

    fn look_up<T>(&self, name: &str, pick: impl Fn(&Record) -> Option<T>) -> Result<Vec<T>, DnsError> {
        let mut name = plain(name);
        for _ in 0..ALIASES {
            let Some(records) = self.names.get(&name) else {
                let below = format!(".{name}");
                let exists = self.names.keys().any(|have| have.ends_with(&below));
                return Err(if exists { DnsError::NoData } else { DnsError::NoSuchName });
            };
            let mut alias = None;
            for record in records {
                match record {
                    Record::Fails(error) => return Err(*error),
                    Record::Cname(target) => alias = Some(target.clone()),
                    Record::A(_) | Record::Aaaa(_) | Record::Mx(_) | Record::Txt(_) | Record::Ptr(_) => {}
                }
            }
            if let Some(target) = alias {
                name = target;
                continue;
            }
            let found: Vec<T> = records.iter().filter_map(pick).collect();
            return if found.is_empty() { Err(DnsError::NoData) } else { Ok(found) };
        }
        Err(DnsError::Trouble)
    }
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn record(kind: &str, value: &str) -> Option<Record> {
    Some(match kind {
        "A" => Record::A(value.parse().ok()?),
        "AAAA" => Record::Aaaa(value.parse().ok()?),
        "MX" => {
            let (preference, host) = value.split_once(' ')?;
            Record::Mx(Mx { preference: preference.parse().ok()?, host: plain(host) })
        }
        "TXT" => Record::Txt(value.to_owned()),
        "PTR" => Record::Ptr(plain(value)),
        "CNAME" => Record::Cname(plain(value)),
        "FAIL" => Record::Fails(DnsError::Trouble),
        "SILENT" => Record::Fails(DnsError::Timeout),
        _ => return None,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "each question picks its own type and leaves the rest")]
impl Resolver for Zone {
    fn txt<'a>(&'a self, name: &'a str) -> Answer<'a, String> {
        self.find(name, |record| match record {
            Record::Txt(text) => Some(text.clone()),
            _ => None,
        })
    }

    fn a<'a>(&'a self, name: &'a str) -> Answer<'a, Ipv4Addr> {
        self.find(name, |record| match record {
            Record::A(ip) => Some(*ip),
            _ => None,
        })
    }

    fn aaaa<'a>(&'a self, name: &'a str) -> Answer<'a, Ipv6Addr> {
        self.find(name, |record| match record {
            Record::Aaaa(ip) => Some(*ip),
            _ => None,
        })
    }

    fn mx<'a>(&'a self, name: &'a str) -> Answer<'a, Mx> {
        let found = self.look_up(name, |record| match record {
            Record::Mx(mx) => Some(mx.clone()),
            _ => None,
        });
        Box::pin(std::future::ready(found.map(|mut all| {
            all.sort();
            all
        })))
    }

    fn ptr(&self, ip: IpAddr) -> Answer<'_, String> {
        self.find(&reverse_name(ip), |record| match record {
            Record::Ptr(name) => Some(name.clone()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    #[test]
    fn a_zone_answers_as_the_dns_does() {
        let zone = Zone::parse(
            "; a comment\nwww.example.org CNAME host.example.org.\nhost.example.org A 192.0.2.7\n\
             example.org MX 20 b.example.org\nexample.org MX 10 a.example.org\nexample.org TXT one two\n\
             deep.below.example.org AAAA 2001:db8::1\nbroken.example.org FAIL\nmute.example.org SILENT\n\
             loop.example.org CNAME loop.example.org\n7.2.0.192.in-addr.arpa PTR host.example.org.",
        )
        .unwrap();
        assert_eq!(now(zone.a("WWW.example.org.")), Ok(vec![Ipv4Addr::new(192, 0, 2, 7)]));
        let hosts: Vec<String> = now(zone.mx("example.org")).unwrap().into_iter().map(|mx| mx.host).collect();
        assert_eq!(hosts, ["a.example.org", "b.example.org"]);
        assert_eq!(now(zone.txt("example.org")), Ok(vec!["one two".to_owned()]));
        assert_eq!(now(zone.ptr("192.0.2.7".parse().unwrap())), Ok(vec!["host.example.org".to_owned()]));
        assert_eq!(now(zone.a("below.example.org")), Err(DnsError::NoData));
        assert_eq!(now(zone.a("nowhere.example.org")), Err(DnsError::NoSuchName));
        assert_eq!(now(zone.a("broken.example.org")), Err(DnsError::Trouble));
        assert_eq!(now(zone.a("mute.example.org")), Err(DnsError::Timeout));
        assert_eq!(now(zone.a("loop.example.org")), Err(DnsError::Trouble));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        assert_eq!(Zone::parse("example.org A 192.0.2").unwrap_err(), "example.org A 192.0.2");
    }
}
