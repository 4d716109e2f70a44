//! `postroad explain --check` as a process, against a name server on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_policy::zone::Zone;
use postroad_reference::Language;
use postroad_testkit::name_server::NameServer;
use serde_json::{Value, json};
use std::process::{Command, Output};

const NO_PTR: &str = "550-5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record \
     setup, or the corresponding forward DNS entry does not point to the sending IP.";
const NO_SPF: &str =
    "550 5.7.23 <bob@example.net>: SPF validation failed for alice@example.org from 192.0.2.1";
const LISTED: &str = "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org";

fn explain(line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroad"));
    command.arg("explain").args(line).env_remove("LC_ALL").env_remove("LC_MESSAGES").env("LANG", "C");
    command.output().unwrap()
}

/// What is printed, in one line: the terminal's breaks say nothing.
fn told(server: &NameServer, text: &str) -> String {
    let out = explain(&["--check", "--dns", &server.address().to_string(), text]);
    assert_eq!((out.status.code(), String::from_utf8(out.stderr).unwrap()), (Some(0), String::new()));
    String::from_utf8(out.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn checked(server: &NameServer, text: &str) -> Value {
    let out = explain(&["--check", "--json", "--dns", &server.address().to_string(), text]);
    assert_eq!(out.status.code(), Some(0));
    let page: Value = serde_json::from_slice(&out.stdout).unwrap();
    page["recipients"][0]["checked"].clone()
}

/// A name server that knows the root, as every one of the public DNS does.
fn server(zone: &str) -> NameServer {
    start(&format!("a.root-servers.net A 198.41.0.4\n{zone}"))
}

fn start(zone: &str) -> NameServer {
    NameServer::start(Zone::parse(zone).unwrap()).unwrap()
}

fn says(told: &str, key: &str) -> bool {
    let word = Language::english().word(key);
    assert_ne!(word, key, "no such text");
    // A text with values is known by its end.
    let word = word.rsplit_once('}').map_or(word, |(_, end)| end);
    told.contains(word.replace('`', "").trim())
}

#[test]
fn a_reverse_name_that_is_missing_is_told_with_the_record() {
    let missing = server("example.org A 192.0.2.1");
    let page = told(&missing, NO_PTR);
    assert!(
        says(&page, "live.title") && says(&page, "live.ptr-missing") && says(&page, "live.still"),
        "{page}"
    );
    assert!(says(&page, "live.fix-ptr-missing"), "{page}");
    assert!(page.contains("1.2.0.192.in-addr.arpa. PTR mail.example.com."), "{page}");

    let mended = server("1.2.0.192.in-addr.arpa PTR mail.example.org\nmail.example.org A 192.0.2.1");
    let page = told(&mended, NO_PTR);
    assert!(
        page.contains("mail.example.org") && says(&page, "live.gone") && !says(&page, "live.still"),
        "{page}"
    );

    let astray = server("1.2.0.192.in-addr.arpa PTR mail.example.org\nmail.example.org A 192.0.2.2");
    let found = checked(&astray, NO_PTR);
    assert_eq!(
        (&found["checks"][0]["state"], &found["checks"][0]["means"]),
        (&json!("ptr-astray"), &json!("still"))
    );
    assert_eq!(found["checks"][0]["records"], json!(["mail.example.org. A 192.0.2.1"]));
}

#[test]
fn an_spf_record_that_refuses_is_told_with_the_record_that_would_not() {
    let server =
        server("example.org TXT v=spf1 include:spf.example -all\nspf.example TXT v=spf1 ip4:192.0.2.9 ?all");
    let found = checked(&server, NO_SPF);
    assert_eq!(
        found["checks"],
        json!([{
            "check": "spf", "asked": {"domain": "example.org", "ip": "192.0.2.1"}, "state": "spf-fail",
            "answers": ["v=spf1 include:spf.example -all"], "means": "still", "reasons": [],
            "records": ["example.org. TXT \"v=spf1 include:spf.example ip4:192.0.2.1 -all\""],
        }])
    );
    let page = told(&server, NO_SPF);
    assert!(says(&page, "live.still") && says(&page, "live.fix-spf-add"), "{page}");
    assert!(page.contains("by -all"), "{page}");
}

#[test]
fn a_listing_is_told_with_its_reason_and_a_refused_question_is_none() {
    let entry = "1.2.0.192.zen.spamhaus.org";
    let lists = server(&format!("{entry} A 127.0.0.2\n{entry} TXT https://check.example/192.0.2.1"));
    let page = told(&lists, LISTED);
    assert!(says(&page, "live.still") && page.contains("127.0.0.2"), "{page}");
    assert!(
        page.contains("https://check.example/192.0.2.1") && page.contains("https://check.spamhaus.org/"),
        "{page}"
    );

    let refuses = server(&format!("{entry} A 127.255.255.254"));
    let page = told(&refuses, LISTED);
    assert!(says(&page, "live.list-refused") && says(&page, "live.unsure"), "{page}");
    assert!(!says(&page, "live.still"), "{page}");

    let free = server("2.0.0.127.zen.spamhaus.org A 127.0.0.2");
    assert_eq!(checked(&free, LISTED)["checks"][0]["means"], json!("gone"));
}

#[test]
fn no_answer_is_told_as_such() {
    let mute = server("1.2.0.192.in-addr.arpa SILENT");
    let page = told(&mute, NO_PTR);
    assert!(says(&page, "live.failed-timeout") && says(&page, "live.unsure"), "{page}");
    assert!(mute.asked() > 0);
}

#[test]
fn a_name_server_of_a_closed_network_proves_nothing() {
    let closed = start("example.internal A 10.0.0.1");
    let page = told(&closed, NO_PTR);
    assert!(says(&page, "live.not-public") && !says(&page, "live.ptr-missing"), "{page}");
    assert_eq!(checked(&closed, NO_PTR), json!({"checks": [], "unchecked": ["public"]}));
}

#[test]
fn a_text_without_values_is_answered_and_says_what_is_missing() {
    let server = server("example.org A 192.0.2.1");
    let page = told(&server, "550 5.7.25 Reverse DNS required");
    assert!(says(&page, "live.not-ip"), "{page}");
    let page = told(&server, "552 5.2.2 <bob@example.org>: Mailbox full");
    assert!(says(&page, "live.not-fits"), "{page}");
    assert_eq!(server.asked(), 0);
}

#[test]
fn only_the_first_recipients_are_checked() {
    let server = server("example.org MX 0 .");
    let lines: Vec<String> = (0..12)
        .map(|at| format!("<user{at}@example.org>: host mx.example.org[192.0.2.9] said: 550 5.1.1 <user{at}@example.org>: User unknown in virtual mailbox table (in reply to RCPT TO command)"))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "This is the mail system at host mail.example.com.\n\nI'm sorry to have to inform you that your message could not\nbe delivered to one or more recipients.\n\n{}\n",
        lines.join("\n\n")
    );
    std::fs::write(file.path(), text).unwrap();
    let page = told(&server, file.path().to_str().unwrap());
    assert_eq!(page.matches("null MX, RFC 7505").count(), 10, "{page}");
    assert!(page.contains(&Language::english().say("live.only-first", &[("count", "10")])), "{page}");
    // The same question is asked once, whoever it is for; the other is for the root.
    assert_eq!(server.asked(), 2);
}

#[test]
fn a_code_or_a_reference_alone_has_nothing_to_check() {
    for what in ["550", "5.7.25", "K7Q2-9F4M"] {
        let out = explain(&["--check", what]);
        let err = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(64), "{what}");
        assert!(err.contains("nothing to check") && out.stdout.is_empty(), "{what}: {err}");
    }
    let out = explain(&["--dns", "127.0.0.1:53", "550 5.7.25 Reverse DNS required"]);
    assert_eq!(out.status.code(), Some(64), "--dns without --check");
}
