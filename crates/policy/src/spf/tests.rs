use super::*;
use crate::testing::now;
use crate::zone::Zone;
use proptest::prelude::*;

fn check(zone: &str, domain: &str, ip: &str) -> Spf {
    now(spf_of(&Zone::parse(zone).unwrap(), domain, ip.parse().unwrap()))
}

fn result(zone: &str, ip: &str) -> SpfResult {
    check(zone, "example.com", ip).result
}

/// The zone of RFC 7208 appendix A.
const STANDARD: &str = "example.com MX 10 mail-a.example.com\nexample.com MX 20 mail-b.example.com\n\
    example.com A 192.0.2.10\nexample.com A 192.0.2.11\namy.example.com A 192.0.2.65\n\
    bob.example.com A 192.0.2.66\nmail-a.example.com A 192.0.2.129\nmail-b.example.com A 192.0.2.130\n\
    example.org MX 10 mail-c.example.org\nmail-c.example.org A 192.0.2.140\n\
    10.2.0.192.in-addr.arpa PTR example.com\n65.2.0.192.in-addr.arpa PTR amy.example.com\n\
    140.2.0.192.in-addr.arpa PTR mail-c.example.org\n4.0.0.10.in-addr.arpa PTR bob.example.com\n";

#[test]
fn the_examples_of_the_standard() {
    // RFC 7208 appendix A.1: the record, the addresses that pass, ones that fail.
    for (record, pass, fail) in [
        ("v=spf1 +all", vec!["192.0.2.129", "198.51.100.1"], vec![]),
        ("v=spf1 a -all", vec!["192.0.2.10", "192.0.2.11"], vec!["192.0.2.12"]),
        ("v=spf1 a:example.org -all", vec![], vec!["192.0.2.10"]),
        ("v=spf1 mx -all", vec!["192.0.2.129", "192.0.2.130"], vec!["192.0.2.140"]),
        ("v=spf1 mx:example.org -all", vec!["192.0.2.140"], vec!["192.0.2.129"]),
        ("v=spf1 mx mx:example.org -all", vec!["192.0.2.129", "192.0.2.140"], vec!["192.0.2.1"]),
        (
            "v=spf1 mx/30 mx:example.org/30 -all",
            vec!["192.0.2.131", "192.0.2.143"],
            vec!["192.0.2.132", "2001:db8::1"],
        ),
        ("v=spf1 ptr -all", vec!["192.0.2.10", "192.0.2.65"], vec!["192.0.2.140", "10.0.0.4"]),
        ("v=spf1 ip4:192.0.2.128/28 -all", vec!["192.0.2.129", "::ffff:192.0.2.129"], vec!["192.0.2.65"]),
    ] {
        let zone = format!("{STANDARD}example.com TXT {record}");
        for ip in pass {
            assert_eq!(result(&zone, ip), SpfResult::Pass, "{record} {ip}");
        }
        for ip in fail {
            assert_eq!(result(&zone, ip), SpfResult::Fail, "{record} {ip}");
        }
    }
}

#[test]
fn the_way_through_includes_is_told() {
    let zone = "example.com TXT v=spf1 include:a.example ~all\na.example TXT v=spf1 redirect=b.example\n\
                b.example TXT v=spf1 ip6:2001:db8::/32 ?all";
    let found = check(zone, "example.com", "2001:db8::7");
    assert_eq!((found.result, found.lookups), (SpfResult::Pass, 2));
    assert_eq!(found.matched, ["include:a.example", "redirect=b.example", "ip6:2001:db8::/32"]);
    // What is neutral inside is no match outside.
    let found = check(zone, "example.com", "192.0.2.1");
    assert_eq!((found.result, found.matched), (SpfResult::SoftFail, vec!["~all".to_owned()]));
}

#[test]
fn no_record_one_and_two() {
    assert_eq!(result("example.com A 192.0.2.1", "192.0.2.1"), SpfResult::None);
    assert_eq!(result("example.com TXT v=spf10 -all", "192.0.2.1"), SpfResult::None);
    assert_eq!(result("example.com TXT v=spf1", "192.0.2.1"), SpfResult::Neutral);
    let two = check("example.com TXT v=spf1 -all\nexample.com TXT V=SPF1 +all", "example.com", "192.0.2.1");
    assert_eq!(two.result, SpfResult::PermError);
    assert_eq!(two.fault, Some(SpfFault::Several("example.com".into())));
    assert_eq!(two.records.len(), 2);
}

#[test]
fn the_limits_are_those_of_the_standard() {
    let includes = |count: usize| {
        let terms: Vec<String> = (0..count).map(|at| format!("include:n{at}.example")).collect();
        let own = format!("example.com TXT v=spf1 {} -all", terms.join(" "));
        let others = (0..count).map(|at| format!("n{at}.example TXT v=spf1 ?all"));
        let zone: Vec<String> = std::iter::once(own).chain(others).collect();
        check(&zone.join("\n"), "example.com", "192.0.2.1")
    };
    assert_eq!(includes(10).result, SpfResult::Fail);
    assert_eq!((includes(11).result, includes(11).fault), (SpfResult::PermError, Some(SpfFault::Lookups)));

    let voids = "example.com TXT v=spf1 a:x.example.com a:y.example.com -all";
    assert_eq!(result(voids, "192.0.2.1"), SpfResult::Fail);
    let voids = check(&voids.replace("-all", "mx:z.example.com -all"), "example.com", "192.0.2.1");
    assert_eq!((voids.result, voids.fault), (SpfResult::PermError, Some(SpfFault::Voids)));

    let hosts: Vec<String> = (0..11).map(|at| format!("example.com MX {at} mx{at}.example.com")).collect();
    let many = format!("example.com TXT v=spf1 mx -all\n{}", hosts.join("\n"));
    assert_eq!(check(&many, "example.com", "192.0.2.1").fault, Some(SpfFault::Hosts("example.com".into())));

    // A record that includes itself ends at the limit.
    let loops = check("example.com TXT v=spf1 include:example.com -all", "example.com", "192.0.2.1");
    assert_eq!(
        (loops.result, loops.fault, loops.lookups),
        (SpfResult::PermError, Some(SpfFault::Lookups), 11)
    );
}

#[test]
fn trouble_is_not_a_refusal() {
    let broken = check("example.com SILENT", "example.com", "192.0.2.1");
    assert_eq!((broken.result, broken.trouble), (SpfResult::TempError, Some(DnsError::Timeout)));
    let inside = "example.com TXT v=spf1 include:a.example -all\na.example FAIL";
    assert_eq!(result(inside, "192.0.2.1"), SpfResult::TempError);
    let missing = check("example.com TXT v=spf1 include:a.example -all", "example.com", "192.0.2.1");
    assert_eq!(missing.fault, Some(SpfFault::Missing("a.example".into())));
}

#[test]
fn what_hangs_on_the_sender_is_told() {
    let zone = "example.com TXT v=spf1 exists:%{ir}.%{l}._spf.%{d} -all\n\
                1.2.0.192.postmaster._spf.example.com A 127.0.0.2";
    let found = check(zone, "example.com", "192.0.2.1");
    assert_eq!((found.result, found.guessed), (SpfResult::Pass, true));
    assert!(!check("example.com TXT v=spf1 exists:%{i}.x.example -all", "example.com", "192.0.2.1").guessed);
}

/// Pieces of which records that are nearly right are made.
fn records() -> impl Strategy<Value = String> {
    let term = "[-+~?]?(a|mx|ptr|ip4|ip6|all|include|exists|redirect=|exp=|x=)[:/=]{0,2}\\PC{0,12}(%\\{[a-zA-Z]{0,2}[0-9]{0,4}r?[.+-]?\\})?(\\.example)?(/{0,2}[0-9]{0,3})";
    prop::collection::vec(term, 0..16).prop_map(|terms| format!("example.com TXT v=spf1 {}", terms.join(" ")))
}

proptest! {
    #[test]
    fn whatever_is_published_ends_within_the_limits(record in records(), ip: IpAddr) {
        let lines: Vec<&str> = record.lines().take(1).collect();
        let found = now(spf_of(&Zone::parse(&lines.join("")).unwrap(), "example.com", ip));
        prop_assert!(found.lookups <= LOOKUPS + 1);
        prop_assert_eq!(found.result == SpfResult::PermError, found.fault.is_some());
    }
}
