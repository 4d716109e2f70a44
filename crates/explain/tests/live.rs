//! What findings of the DNS mean for a bounce, over zones in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_explain::live::{Blind, Results, add, plan};
use postroad_explain::render::{self, Look};
use postroad_explain::{explain_text, verdict};
use postroad_policy::live::run;
use postroad_policy::zone::Zone;
use postroad_reference::Language;
use serde_json::{Value, json};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The checks of the first recipient, and the page as text.
fn checked(zone: &str, text: &str) -> (Value, String) {
    let zone = Zone::parse(zone).unwrap();
    let reading = explain_text(text.as_bytes());
    let plans = plan(&reading);
    let mut results = Results::new();
    for check in plans.iter().flat_map(|plan| &plan.checks) {
        let Poll::Ready(found) = pin!(run(&zone, check)).poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("a zone does not wait");
        };
        results.insert(check.clone(), found);
    }
    let mut page = verdict::page(Language::english(), &reading);
    add(&mut page, Language::english(), &reading, &plans, Ok(&results));
    (page.data["recipients"][0]["checked"].clone(), render::text(&page, Look::pipe(false)))
}

/// State and meaning of the check of a kind.
fn state(zone: &str, text: &str, kind: &str) -> (String, String) {
    let (data, page) = checked(zone, text);
    let one =
        data["checks"].as_array().unwrap().iter().find(|one| one["check"] == kind).expect("such a check");
    // A key without a text would be shown as itself; a value without a place as its name.
    assert!(!page.contains("live.") && !page.contains('{'), "{page}");
    let word = |key: &str| one[key].as_str().unwrap().to_owned();
    (word("state"), word("means"))
}

fn is(state: &str, means: &str) -> (String, String) {
    (state.to_owned(), means.to_owned())
}

#[test]
fn spf_tells_what_is_wrong_with_the_record() {
    let text = "550 5.7.23 SPF validation failed for alice@example.org from 192.0.2.1";
    let of = |records: &str| state(records, text, "spf");
    assert_eq!(of("example.org TXT v=spf1 ip4:192.0.2.0/24 -all"), is("spf-pass", "gone"));
    assert_eq!(of("example.org TXT v=spf1 -all"), is("spf-fail", "still"));
    assert_eq!(of("example.org TXT v=spf1 ~all"), is("spf-softfail", "still"));
    assert_eq!(of("example.org TXT v=spf1"), is("spf-neutral", "still"));
    assert_eq!(of("example.org A 192.0.2.1"), is("spf-none", "still"));
    assert_eq!(of("example.org FAIL"), is("spf-temperror", "unsure"));
    assert_eq!(of("example.org TXT v=spf1 exists:%{l}.example.org -all"), is("spf-guessed", "unsure"));
    let two = "example.org TXT v=spf1 -all\nexample.org TXT v=spf1 a -all";
    assert_eq!(of(two), is("spf-several", "still"));
    assert_eq!(of("example.org TXT v=spf1 ipv4:192.0.2.1"), is("spf-term", "still"));
    assert_eq!(of("example.org TXT v=spf1 include:a.example"), is("spf-missing", "still"));
    assert_eq!(of("example.org TXT v=spf1 include:example.org"), is("spf-lookups", "still"));
    let voids = "example.org TXT v=spf1 a:a.example a:b.example a:c.example";
    assert_eq!(of(voids), is("spf-voids", "still"));
    let hosts: Vec<String> = (0..11).map(|at| format!("example.org MX {at} h{at}.example")).collect();
    assert_eq!(of(&format!("example.org TXT v=spf1 mx\n{}", hosts.join("\n"))), is("spf-hosts", "still"));
}

#[test]
fn the_record_to_publish_names_the_address_before_what_ends_it() {
    let text = "550 5.7.23 SPF validation failed for alice@example.org from 2001:db8::1";
    let records = |zone: &str| checked(zone, text).0["checks"][0]["records"].clone();
    assert_eq!(
        records("example.org TXT v=spf1 mx  ~ALL"),
        json!(["example.org. TXT \"v=spf1 mx ip6:2001:db8::1 ~ALL\""])
    );
    assert_eq!(
        records("example.org TXT v=spf1 redirect=a.example\na.example TXT v=spf1 -all"),
        json!(["example.org. TXT \"v=spf1 ip6:2001:db8::1 redirect=a.example\""])
    );
    assert_eq!(records("example.org TXT v=spf1"), json!(["example.org. TXT \"v=spf1 ip6:2001:db8::1\""]));
    assert_eq!(records(""), json!(["example.org. TXT \"v=spf1 ip6:2001:db8::1 ~all\""]));
}

#[test]
fn a_key_that_is_there_proves_nothing_and_one_that_is_not_does() {
    let text = "550 5.7.20 DKIM signature did not verify: d=example.org s=s1 example.org";
    let of = |record: &str| state(&format!("s1._domainkey.example.org {record}"), text, "dkim");
    assert_eq!(of("TXT v=DKIM1; p=AAAA"), is("dkim-there", "unsure"));
    assert_eq!(of("A 192.0.2.1"), is("dkim-missing", "still"));
    assert_eq!(of("TXT v=DKIM1; p="), is("dkim-revoked", "still"));
    assert_eq!(of("TXT hello"), is("dkim-broken", "still"));
    assert_eq!(of("TXT p=AAAA\ns1._domainkey.example.org TXT p=BBBB"), is("dkim-several", "still"));
}

#[test]
fn a_dmarc_record_decides_only_where_the_refusal_is_about_the_record() {
    let lacks =
        "550-5.7.40 The sending domain example.org does not have a DMARC record. 550 5.7.40 x - gsmtp";
    let fails = "550 5.7.1 <bob@example.net>: Email rejected per DMARC policy for example.org";
    let record = "_dmarc.example.org TXT v=DMARC1; p=reject";
    assert_eq!(state(record, lacks, "dmarc"), is("dmarc-there", "gone"));
    assert_eq!(state("example.org A 192.0.2.1", lacks, "dmarc"), is("dmarc-none", "still"));
    assert_eq!(state(record, fails, "dmarc"), is("dmarc-there", "unsure"));
    let two = format!("{record}\n{record}");
    assert_eq!(state(&two, lacks, "dmarc"), is("dmarc-several", "still"));
}

#[test]
fn a_list_that_was_not_named_proves_nothing_by_its_silence() {
    let unnamed = "554 5.7.1 Your IP 192.0.2.1 is on a block list";
    let healthy = "2.0.0.127.zen.spamhaus.org A 127.0.0.2";
    let (data, _) = checked(healthy, unnamed);
    let of = |zone: &str| {
        let all = data["checks"].as_array().unwrap();
        all.iter().find(|one| one["asked"]["zone"] == zone).expect("such a list").clone()
    };
    assert_eq!(of("zen.spamhaus.org")["state"], "list-free");
    assert_eq!(of("zen.spamhaus.org")["means"], "unsure");
    assert_eq!(of("bl.spamcop.net")["state"], "list-broken");
    let closed = "554 5.7.1 Client host [192.0.2.1] blocked using dnsbl.sorbs.net";
    assert_eq!(state("", closed, "list"), is("list-closed", "unsure"));
}

#[test]
fn a_domain_that_takes_mail_does_not_prove_a_mailbox() {
    let unknown = "<bob@example.org>: host mx.example.org[192.0.2.9] said: 550 5.1.1 <bob@example.org>: Recipient \
                   address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command)";
    let of = |zone: &str| state(zone, unknown, "mx");
    assert_eq!(of("example.org MX 5 mx.example.org\nmx.example.org A 192.0.2.9"), is("mx-there", "unsure"));
    assert_eq!(of("example.org A 192.0.2.9"), is("mx-implicit", "unsure"));
    assert_eq!(of("example.org MX 0 ."), is("mx-null", "still"));
    assert_eq!(of("example.org MX 5 mx.example.org"), is("mx-unreachable", "still"));
    assert_eq!(of("example.org TXT x"), is("mx-nothing", "still"));
    assert_eq!(of("example.net A 192.0.2.1"), is("mx-no-such-domain", "still"));
    assert_eq!(of("example.org SILENT"), is("failed-timeout", "unsure"));
    assert_eq!(of("example.org FAIL"), is("failed-trouble", "unsure"));
}

#[test]
fn what_a_stranger_publishes_cannot_forge_the_page() {
    let text = "550-5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup";
    let zone = "1.2.0.192.in-addr.arpa PTR a\u{1b}[2Jb`c\u{7}.example";
    let (data, page) = checked(zone, text);
    assert_eq!(data["checks"][0]["state"], "ptr-astray");
    assert!(!page.contains('\u{1b}') && !page.contains('\u{7}') && page.contains("b'c"), "{page:?}");
}

#[test]
fn without_a_name_server_the_page_says_so() {
    let reading = explain_text(b"550 5.7.23 SPF validation failed for alice@example.org from 192.0.2.1");
    for (blind, word) in [(Blind::NoNameServer, "resolver"), (Blind::Closed, "public")] {
        let mut page = verdict::page(Language::english(), &reading);
        add(&mut page, Language::english(), &reading, &plan(&reading), Err(blind));
        assert_eq!(page.data["recipients"][0]["checked"], json!({"checks": [], "unchecked": [word]}));
        let text = render::text(&page, Look::pipe(false));
        let told = Language::english().word(&format!("live.not-{word}")).replace('`', "");
        assert!(text.contains(&told), "{text}");
    }
}
