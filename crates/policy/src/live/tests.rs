use super::*;
use crate::testing::now;
use crate::zone::Zone;

const IP: &str = "192.0.2.1";

fn zone(text: &str) -> Zone {
    Zone::parse(text).unwrap()
}

fn ptr(text: &str, ip: &str) -> Result<Ptr, DnsError> {
    now(ptr_of(&zone(text), ip.parse().unwrap()))
}

#[test]
fn a_reverse_name_must_lead_back() {
    let good = "1.2.0.192.in-addr.arpa PTR other.example.org\n1.2.0.192.in-addr.arpa PTR mail.example.org\n\
                mail.example.org A 192.0.2.1\nother.example.org A 192.0.2.9";
    let found = ptr(good, IP).unwrap();
    assert_eq!(found.confirmed.as_deref(), Some("mail.example.org"));
    assert_eq!(found.names.len(), 2);
    let astray = ptr(&good.replace("A 192.0.2.1", "A 192.0.2.2"), IP).unwrap();
    assert_eq!((astray.names.len(), astray.confirmed), (2, None));
    assert_eq!(ptr("example.org A 192.0.2.1", IP), Ok(Ptr::default()));
    assert_eq!(ptr("1.2.0.192.in-addr.arpa SILENT", IP), Err(DnsError::Timeout));
    // Where the way back cannot be asked, nothing is known.
    let unsure = "1.2.0.192.in-addr.arpa PTR mail.example.org\nmail.example.org FAIL";
    assert_eq!(ptr(unsure, IP), Err(DnsError::Trouble));
    let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.org\n\
               six.example.org AAAA 2001:db8::1";
    assert_eq!(ptr(six, "2001:db8::1").unwrap().confirmed.as_deref(), Some("six.example.org"));
}

#[test]
fn a_dkim_key_is_there_missing_revoked_or_broken() {
    let state = |record: &str| {
        let text = format!("s1._domainkey.example.org {record}");
        let key = now(dkim_key_of(&zone(&text), "s1", "example.org")).unwrap();
        (key.state, key.kind, key.testing)
    };
    assert_eq!(state("TXT v=DKIM1; p=MIGf+/A=="), (KeyState::There, "rsa".into(), false));
    assert_eq!(state("TXT k=ed25519; t=s:y; p=11qYAYKx"), (KeyState::There, "ed25519".into(), true));
    assert_eq!(state("TXT v=DKIM1; k=rsa; p="), (KeyState::Revoked, "rsa".into(), false));
    assert_eq!(state("TXT v=DKIM1; k=rsa").0, KeyState::Broken);
    assert_eq!(state("TXT v=DKIM1; p=\"quoted\"").0, KeyState::Broken);
    assert_eq!(state("TXT p=AAAA\ns1._domainkey.example.org TXT p=BBBB").0, KeyState::Several);
    assert_eq!(state("A 192.0.2.1").0, KeyState::Missing);
    let alias = "s1._domainkey.example.org CNAME s1.provider.example\ns1.provider.example TXT p=AAAA";
    assert_eq!(now(dkim_key_of(&zone(alias), "s1", "example.org")).unwrap().state, KeyState::There);
}

fn dmarc(text: &str, domain: &str) -> (Option<String>, Policy) {
    let found = now(dmarc_of(&zone(text), domain)).unwrap();
    (found.name, found.policy)
}

#[test]
fn the_dmarc_policy_is_the_domains_own_or_that_of_its_organisation() {
    let own = "_dmarc.example.org TXT v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@example.org";
    assert_eq!(dmarc(own, "example.org"), (Some("_dmarc.example.org".into()), Policy::Reject));
    assert_eq!(dmarc(own, "a.b.Example.org."), (Some("_dmarc.example.org".into()), Policy::Quarantine));
    assert_eq!(dmarc(own, "example.net"), (None, Policy::None));
    assert_eq!(dmarc("_dmarc.example.org TXT v=DMARC1", "example.org").1, Policy::None);
    // The highest record of the walk is the organisation's, unless it is a public suffix.
    let suffix = "_dmarc.b.example.co TXT v=DMARC1; p=none\n_dmarc.example.co TXT v=DMARC1; p=reject\n\
                  _dmarc.co TXT v=DMARC1; psd=y; p=none";
    assert_eq!(dmarc(suffix, "a.b.example.co"), (Some("_dmarc.example.co".into()), Policy::Reject));
    let ends =
        suffix.replace("_dmarc.b.example.co TXT v=DMARC1;", "_dmarc.b.example.co TXT v=DMARC1; psd=n;");
    assert_eq!(dmarc(&ends, "a.b.example.co").0, Some("_dmarc.b.example.co".into()));
    assert_eq!(dmarc("_dmarc.co TXT v=DMARC1; psd=y; p=reject", "example.co").1, Policy::Reject);
}

#[test]
fn two_dmarc_records_count_as_none_and_long_names_are_cut() {
    let two = "_dmarc.example.org TXT v=DMARC1; p=reject\n_dmarc.example.org TXT v=DMARC1; p=none";
    let found = now(dmarc_of(&zone(two), "example.org")).unwrap();
    assert!(found.several && found.record.is_none());
    assert_eq!(dmarc("_dmarc.example.org TXT p=reject; v=DMARC1", "example.org").0, None);
    let long = "_dmarc.c.d.e.f.g.example.org TXT v=DMARC1; p=reject; psd=n\n\
                _dmarc.b.c.d.e.f.g.example.org TXT v=DMARC1; p=none; psd=n";
    assert_eq!(dmarc(long, "x.y.a.b.c.d.e.f.g.example.org").0, Some("_dmarc.c.d.e.f.g.example.org".into()));
}

fn list(text: &str, subject: &Subject, zone_name: &str) -> Listing {
    now(listed(&zone(text), subject, zone_name)).unwrap()
}

#[test]
fn a_list_lists_or_not_and_is_tested_first() {
    let ip = Subject::Ip(IP.parse().unwrap());
    let bl = "1.2.0.192.bl.example A 127.0.0.2\n1.2.0.192.bl.example TXT see https://bl.example/192.0.2.1\n\
              2.0.0.127.bl.example A 127.0.0.2";
    let found = list(bl, &ip, "bl.example");
    assert_eq!((found.state, found.codes.len()), (ListState::Listed, 1));
    assert_eq!(found.reasons, ["see https://bl.example/192.0.2.1"]);
    assert_eq!(list(bl, &Subject::Ip("192.0.2.7".parse().unwrap()), "bl.example").state, ListState::Free);
    // A name that is no list, one that lists everything, one that answers with a web server.
    assert_eq!(list("example.org A 192.0.2.1", &ip, "example.org").state, ListState::Broken);
    assert_eq!(
        list(&format!("{bl}\n1.0.0.127.bl.example A 127.0.0.2"), &ip, "bl.example").state,
        ListState::Broken
    );
    assert_eq!(list("1.2.0.192.bl.example A 192.0.2.80", &ip, "bl.example").state, ListState::Broken);
    // "You may not ask" is no listing, wherever it is said.
    let refused = "1.2.0.192.zen.spamhaus.org A 127.255.255.254";
    assert_eq!(list(refused, &ip, "zen.spamhaus.org").state, ListState::Refused);
    assert_eq!(list("2.0.0.127.bl.example A 127.255.255.255", &ip, "bl.example").state, ListState::Refused);
    assert_eq!(list("", &ip, "dnsbl.sorbs.net").state, ListState::Closed);
    let domain = Subject::Domain("spam.example".into());
    let dbl = "spam.example.dbl.example A 127.0.1.2\ntest.dbl.example A 127.0.1.2";
    assert_eq!(list(dbl, &domain, "dbl.example").state, ListState::Listed);
    assert_eq!(list(dbl, &Subject::Domain("good.example".into()), "dbl.example").state, ListState::Free);
}

#[test]
fn an_ipv6_address_is_asked_by_its_nibbles() {
    let six = Subject::Ip("2001:db8::1".parse().unwrap());
    let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example A 127.0.0.2";
    assert_eq!(list(name, &six, "bl.example").state, ListState::Listed);
    let health = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example A 127.0.0.2";
    assert_eq!(list(health, &six, "bl.example").state, ListState::Free);
}

#[test]
fn mail_goes_to_an_exchanger_to_the_domain_itself_or_nowhere() {
    let state = |text: &str| now(mx_of(&zone(text), "example.org")).map(|found| found.state);
    assert_eq!(
        state("example.org MX 10 mx.example.org\nmx.example.org AAAA 2001:db8::1"),
        Ok(MxState::There)
    );
    assert_eq!(state("example.org MX 10 mx.example.org"), Ok(MxState::Unreachable));
    assert_eq!(state("example.org MX 0 ."), Ok(MxState::Null));
    assert_eq!(state("example.org A 192.0.2.1"), Ok(MxState::Implicit));
    assert_eq!(state("example.org TXT here"), Ok(MxState::Nothing));
    assert_eq!(state("example.net A 192.0.2.1"), Ok(MxState::NoSuchDomain));
    assert_eq!(state("example.org MX 10 mx.example.org\nmx.example.org SILENT"), Err(DnsError::Timeout));
}

#[test]
fn a_check_is_run_by_its_kind() {
    let all = zone("example.org TXT v=spf1 -all\n_dmarc.example.org TXT v=DMARC1; p=none");
    let spf = now(run(&all, &Check::Spf { domain: "example.org".into(), ip: IP.parse().unwrap() })).unwrap();
    assert!(matches!(spf, Finding::Spf(spf) if spf.result == crate::spf::SpfResult::Fail));
    let dmarc = now(run(&all, &Check::Dmarc("example.org".into()))).unwrap();
    assert!(matches!(dmarc, Finding::Dmarc(dmarc) if dmarc.record.is_some()));
    let mx = now(run(&all, &Check::Mx("example.org".into()))).unwrap();
    assert!(matches!(mx, Finding::Mx(mx) if mx.state == MxState::Nothing));
}

#[test]
fn a_resolver_without_the_public_dns_is_known() {
    assert!(now(is_closed(&zone("example.org A 192.0.2.1"))));
    assert!(!now(is_closed(&zone("a.root-servers.net A 198.41.0.4"))));
    assert!(!now(is_closed(&zone("a.root-servers.net SILENT"))));
}
