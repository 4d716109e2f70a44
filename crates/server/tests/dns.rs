//! The resolver against a name server on loopback: what each kind of answer becomes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_policy::dns::{DnsError, Mx, Resolver};
use postroad_policy::zone::Zone;
use postroad_server::dns::Dns;
use postroad_testkit::name_server::NameServer;

fn server(zone: &str) -> NameServer {
    NameServer::start(Zone::parse(zone).unwrap()).unwrap()
}

#[tokio::test]
async fn every_kind_of_record_is_read() {
    let server = server(
        "example.org A 192.0.2.1\nexample.org AAAA 2001:db8::1\nexample.org MX 20 B.example.org\n\
         example.org MX 10 a.example.org\nnull.example MX 0 .\n1.2.0.192.in-addr.arpa PTR mail.example.org",
    );
    let dns = Dns::at(server.address()).unwrap();
    assert_eq!(dns.a("example.org").await, Ok(vec!["192.0.2.1".parse().unwrap()]));
    assert_eq!(dns.aaaa("Example.ORG.").await, Ok(vec!["2001:db8::1".parse().unwrap()]));
    let mx = |preference, host: &str| Mx { preference, host: host.into() };
    assert_eq!(dns.mx("example.org").await, Ok(vec![mx(10, "a.example.org"), mx(20, "b.example.org")]));
    assert_eq!(dns.mx("null.example").await, Ok(vec![mx(0, "")]));
    assert_eq!(dns.ptr("192.0.2.1".parse().unwrap()).await, Ok(vec!["mail.example.org".to_owned()]));
}

#[tokio::test]
async fn a_long_text_is_joined_and_comes_over_tcp() {
    let long = format!("v=spf1 {} -all", "ip4:192.0.2.1 ".repeat(60));
    let server = server(&format!("short.example TXT {}\nlong.example TXT {long}", "x".repeat(300)));
    let dns = Dns::at(server.address()).unwrap();
    assert_eq!(dns.txt("short.example").await, Ok(vec!["x".repeat(300)]));
    assert_eq!(server.asked_by_tcp(), 0);
    assert_eq!(dns.txt("long.example").await, Ok(vec![long]));
    assert_eq!(server.asked_by_tcp(), 1);
}

#[tokio::test]
async fn nothing_trouble_and_silence_are_told_apart() {
    let server = server("example.org TXT here\nbroken.example FAIL\nmute.example SILENT");
    let dns = Dns::at(server.address()).unwrap();
    assert_eq!(dns.a("example.org").await, Err(DnsError::NoData));
    assert_eq!(dns.a("nowhere.example.org").await, Err(DnsError::NoSuchName));
    assert_eq!(dns.a("broken.example").await, Err(DnsError::Trouble));
    assert_eq!(dns.a("mute.example").await, Err(DnsError::Timeout));
    assert_eq!(dns.a(&"too.long.".repeat(40)).await, Err(DnsError::NoSuchName));
}
