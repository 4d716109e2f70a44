//! The stories behind references, as a person reads them: deliveries, evidence, pasted replies, addresses that try to
//! be markup.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use support::{Client, GOOD, Ran, Serving, eventually, run};

/// The reference at the end of a reply.
fn reference(reply: &str) -> String {
    let (_, end) = reply.rsplit_once(" (ref ").unwrap_or_else(|| panic!("no reference: {reply}"));
    end.strip_suffix(')').unwrap().to_owned()
}

fn postroad(dir: &Path, line: &[&str], more: &[&str]) -> Ran {
    run(dir, &[line, &["--config", "postroad.toml"], more].concat())
}

fn explain(dir: &Path, what: &str, form: &[&str]) -> String {
    let told = postroad(dir, &["explain", what, "--lang", "en"], form);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{what}");
    told.out
}

fn data(dir: &Path, what: &str) -> Value {
    serde_json::from_str(&explain(dir, what, &["--json"])).unwrap()
}

fn events(record: &Value, kind: &str) -> Vec<Value> {
    record["events"].as_array().unwrap().iter().filter(|event| event["event"] == kind).cloned().collect()
}

fn trace(dir: &Path, conditions: &[&str]) -> Vec<Value> {
    let told = postroad(dir, &["trace", "--json"], conditions);
    told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn after_hello(serving: &Serving) -> Client {
    let mut client = serving.client();
    client.say("EHLO client.example", "250");
    client
}

#[test]
fn a_deferred_delivery_is_found_by_its_message_and_tells_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), GOOD);
    let maildir = dir.path().join("data/mail/example.org");
    fs::create_dir_all(&maildir).unwrap();
    // No directory, so that none can be made in it.
    fs::write(maildir.join("bob"), "x").unwrap();
    let mut client = after_hello(&serving);
    client.say("MAIL FROM:<alice@client.example>", "250");
    client.say("RCPT TO:<bob@example.org>", "250");
    client.say("DATA", "354");
    let reply = client.say("Message-ID: <one@client.example>\r\n\r\nx\r\n.", "250");
    let id = reply.rsplit(' ').next().unwrap();
    let attempts = |conditions: &[&str]| {
        let lines = trace(dir.path(), conditions);
        lines.into_iter().filter(|line| line["event"] == "deferred").collect::<Vec<_>>()
    };
    eventually("it is deferred", || !attempts(&["--queue-id", id]).is_empty());
    let attempt = &attempts(&["--message-id", "<one@client.example>"])[0];
    assert_eq!((&attempt["from"], &attempt["queue-id"]), (&"alice@client.example".into(), &id.into()));
    assert!(!attempts(&["--from", "alice@client.example", "--limit", "5"]).is_empty());
    assert!(attempts(&["--message-id", "<two@client.example>"]).is_empty());
    // To the millisecond, as others write times.
    let at = attempt["at"].as_str().unwrap();
    assert!(at.len() == "2026-11-22T08:00:00.042Z".len() && at.contains('.'), "{at}");

    let told = explain(dir.path(), attempt["session"].as_str().unwrap(), &[]);
    for part in [
        "could not be delivered to this recipient yet",
        "<alice@client.example>",
        "<bob@example.org>",
        "The message is tried again at 2",
        "postroad explain 451",
        &format!("postroad trace --queue-id {id}"),
    ] {
        assert!(told.contains(part), "lacks {part}: {told}");
    }
}

#[test]
fn a_limit_counts_what_is_shown_and_a_session_is_told_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), GOOD);
    for _ in 0..3 {
        let mut client = serving.client();
        client.send("MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nFROB\r\nEHLO\r\n");
        let replies: Vec<String> = (0..4).map(|_| client.reply().chars().take(3).collect()).collect();
        assert_eq!(replies, ["503", "503", "500", "501"]);
        client.say("QUIT", "221");
    }
    eventually("all is written", || {
        trace(dir.path(), &["--all"]).iter().filter(|line| line["event"] == "closed").count() == 3
    });
    let codes = |conditions: &[&str]| {
        let lines = trace(dir.path(), conditions);
        lines.iter().map(|line| line["code"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&["--limit", "1"]), [501]);
    assert_eq!(codes(&["--limit", "6"]), [500, 501, 503, 503, 500, 501]);
}

#[test]
fn addresses_are_shown_as_they_came_and_never_become_markup() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), GOOD);
    let mut client = after_hello(&serving);
    let (sender, recipient) = ("\"`|**x**\"@example.org", "\"<img/src=x/onerror=alert(1)>\"@example.org");
    client.say(&format!("MAIL FROM:<{sender}>"), "250");
    let reference = reference(&client.say(&format!("RCPT TO:<{recipient}>"), "550"));
    let facts = &data(dir.path(), &reference)["facts"];
    assert_eq!(facts["sender"]["value"], format!("<{sender}>"));
    assert_eq!(facts["recipient"]["value"], format!("<{recipient}>"));
    let text = explain(dir.path(), &reference, &[]);
    assert!(
        text.contains(&format!("  <{sender}>\n")) && text.contains(&format!("  <{recipient}>\n")),
        "{text}"
    );
    let markdown = explain(dir.path(), &reference, &["--md"]);
    assert!(markdown.contains(&format!("`` <{sender}> ``\n")), "{markdown}");
    let html = explain(dir.path(), &reference, &["--html"]);
    let quoted = "<code translate=\"no\">&lt;&quot;`|**x**&quot;@example.org&gt;</code>";
    assert!(html.contains(quoted) && !html.contains("<img"), "{html}");
}

#[test]
fn a_pasted_reply_leads_to_its_story() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), GOOD);
    let reply = serving.client().say("MAIL FROM:<alice@client.example>", "503");
    let reference = reference(&reply);
    let story = explain(dir.path(), &reference, &[]);
    assert_eq!(explain(dir.path(), &reply, &[]), story);
    assert_eq!(explain(dir.path(), &format!("ref {reference}"), &[]), story);
    fs::write(dir.path().join("reply.txt"), format!("they said:\n{reply}\n")).unwrap();
    let page = data(dir.path(), "reply.txt");
    assert_eq!(page["sections"][0]["key"], "reference", "{page}");
    let told = explain(dir.path(), "reply.txt", &[]);
    assert!(told.contains("The ledger of this server knows it"), "{told}");
    assert!(told.contains(&format!("postroad explain {reference}\n")), "{told}");
    // Somebody else's.
    let told = explain(dir.path(), "550 5.1.1 No mailbox (ref ZZZZ-ZZZZ)", &[]);
    assert!(told.contains("On the server that gave the reply") && told.contains("5.1.1"), "{told}");
}

#[test]
fn what_looks_like_an_end_of_content_is_kept_as_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), GOOD);
    let mut client = serving.client();
    client.until_content(&["bob@example.org"]);
    let content = "Subject: x\r\n\r\na\nhello\n.\nMAIL FROM:<evil@x.example>\r\n.\r\nFROB\r\n";
    client.send(content);
    client.reply();
    let record = data(dir.path(), &reference(&client.reply()));
    let anomalies = events(&record, "anomaly");
    let kinds: Vec<_> = anomalies.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["bare-lf", "false-end"]);
    assert_eq!(anomalies[1]["offset"], 22);
    assert!(anomalies[1]["window"].as_str().unwrap().contains("0a [2e] 0a 4d 41 49 4c"), "{anomalies:?}");
}

#[test]
fn a_session_that_ends_in_the_middle_of_slow_content_tells_why_it_was_slow() {
    let dir = tempfile::tempdir().unwrap();
    let listener =
        "[[listener]]\naddress = \"127.0.0.6:0\"\n[listener.limits]\nsession_timeout = \"2s\"\n[spool]";
    let serving = Serving::with_config(dir.path(), &GOOD.replace("[spool]", listener));
    let mut client = Client::greeted(serving.at("127.0.0.6"));
    client.until_content(&["bob@example.org"]);
    client.send("Subject: slow\r\n\r\nx");
    let record = data(dir.path(), &reference(&client.expect("421")));
    let stalls = events(&record, "stall");
    assert_eq!((stalls.len(), &stalls[0]["kind"]), (1, &"slow-link".into()));
    assert_eq!(stalls[0]["evidence"]["octets"], "18");
}

#[test]
fn a_reply_that_came_before_the_end_of_the_content_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let limits = "[listener.limits]\nmessage_size = \"64KiB\"\n[spool]";
    let serving = Serving::with_config(dir.path(), &GOOD.replace("[spool]", limits));
    let mut client = serving.client();
    client.until_content(&["bob@example.org"]);
    // It stops reading somewhere behind twice the limit.
    client.send("x".repeat(998).as_str());
    client.send(format!("\r\n{}\r\n", "y".repeat(998)).repeat(131));
    let reference = reference(&client.expect("552"));
    eventually("its end is told", || {
        explain(dir.path(), &reference, &[]).contains("This reply came while the content was still coming")
    });
    assert_eq!(data(dir.path(), &reference)["sections"][0]["key"], "end");
}

#[test]
fn what_was_checked_is_told_in_words_with_what_it_was_decided_from() {
    let dir = tempfile::tempdir().unwrap();
    let quota = "mailboxes = [\"postmaster\", \"bob\", \"carol\"]\nquota = { carol = 1000 }\n";
    let text = GOOD.replace("mailboxes = [\"postmaster\", \"bob\", \"carol\"]\n", quota);
    let serving = Serving::with_config(dir.path(), &text);
    let mut client = after_hello(&serving);
    client.say("MAIL FROM:<alice@client.example> SIZE=5000", "250");
    let nobody = reference(&client.say("RCPT TO:<nobody@example.org>", "550"));
    let full = reference(&client.say("RCPT TO:<carol@example.org>", "552"));
    let told = explain(dir.path(), &nobody, &[]);
    for part in [
        "550 5.1.1: ",
        "free disk space: enough room (declared size in octets: 5000, octets free beyond the reserve: ",
    ] {
        assert!(told.contains(part), "lacks {part}: {told}");
    }
    assert!(!told.contains("NoSuchMailbox"), "{told}");
    let told = explain(dir.path(), &full, &[]);
    assert!(
        told.contains("declared size in octets: 5000") && told.contains("limit in octets: 1000"),
        "{told}"
    );
}

#[test]
fn a_ledger_that_may_not_be_read_or_is_switched_off_is_told_as_that() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), GOOD);
    let reference = reference(&serving.client().say("MAIL FROM:<>", "503"));
    assert!(explain(dir.path(), &reference, &[]).contains("503"));
    serving.stop();

    let off = format!("{GOOD}[ledger]\nenabled = false\n");
    fs::write(dir.path().join("postroad.toml"), &off).unwrap();
    let told = postroad(dir.path(), &["trace"], &[]);
    assert!(told.code == 0 && told.out.contains(&reference), "{} {}", told.out, told.err);
    assert!(told.err.contains("switched off") && told.err.contains("from before"), "{}", told.err);

    let ledger = dir.path().join("data/ledger");
    // Root may read everything, so that it becomes somebody who may not.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (what, mode) in [(ledger.join("ledger.db"), 0o600), (ledger.clone(), 0o700)] {
        fs::set_permissions(&what, fs::Permissions::from_mode(0o000)).unwrap();
        let mut trace = Command::new(env!("CARGO_BIN_EXE_postroad"));
        trace.args(["trace", "--config", "postroad.toml"]).current_dir(dir.path());
        if rustix::process::geteuid().is_root() {
            trace.uid(65534);
        }
        let told = trace.output().unwrap();
        fs::set_permissions(&what, fs::Permissions::from_mode(mode)).unwrap();
        let err = String::from_utf8(told.stderr).unwrap();
        assert_eq!(told.status.code(), Some(77), "{err}");
        assert!(err.contains("permission denied") && err.contains("belongs to"), "{err}");
        assert!(!err.contains("makes it"), "{err}");
    }
    fs::remove_dir_all(&ledger).unwrap();
    let told = postroad(dir.path(), &["trace"], &[]);
    assert!(told.code == 66 && told.err.contains("switched off"), "{}", told.err);
    assert!(!told.err.contains("makes it"), "{}", told.err);
}

#[test]
fn octets_behind_starttls_are_evidence_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), &format!("{GOOD}[tls]\nself_signed = true\n"));
    let mut client = serving.client();
    let reference = reference(&client.say("FROB", "500"));
    let before = "EHLO client.example\r\nSTARTTLS\r\n";
    client.send(format!("{before}AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"));
    client.expect("250");
    client.expect("220");
    drop(client);
    let mut anomalies = Vec::new();
    eventually("it is told", || {
        anomalies = events(&data(dir.path(), &reference), "anomaly");
        !anomalies.is_empty()
    });
    assert_eq!(anomalies[0]["kind"], "injected-before-tls");
    assert_eq!(anomalies[0]["offset"], "FROB\r\n".len() + before.len());
    // The beginning only: what follows may be a password.
    assert_eq!(anomalies[0]["window"], "[41] 55 54 48 20 50 4c 41 49 4e 20 41 48 56 7a 5a");
    assert!(explain(dir.path(), &reference, &[]).contains("At octet 37 of what the client sent"));
}

#[test]
fn a_reference_that_is_not_there_is_told_with_all_that_may_be_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let _serving = Serving::with_config(dir.path(), GOOD);
    let told = postroad(dir.path(), &["explain", "ZZZZ-ZZZZ", "--lang", "en"], &[]);
    assert_eq!(told.code, 69, "{}", told.err);
    assert!(told.out.contains("ended by force within a second after the reply"), "{}", told.out);
}
