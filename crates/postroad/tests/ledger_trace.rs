//! What the ledger holds, found again while mail flows; and what it must not hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use support::{Client, GOOD, PATIENCE, Serving, run};

/// A listener behind a proxy, so that clients can have any address, and one that waits for a second only.
const LISTENERS: &str = "[[listener]]\naddress = \"127.0.0.5:0\"\nproxy = \"required\"\nproxy_from = [\"127.0.0.0/8\"]\n\
    [[listener]]\naddress = \"127.0.0.2:0\"\n[listener.limits]\ncontent_timeout = \"1s\"\n[spool]";

fn start(dir: &Path) -> Serving {
    Serving::with_config(dir, &GOOD.replace("[spool]", LISTENERS))
}

/// The reference at the end of a reply.
fn reference(reply: &str) -> String {
    let (_, end) = reply.rsplit_once(" (ref ").unwrap_or_else(|| panic!("no reference: {reply}"));
    end.strip_suffix(')').unwrap().to_owned()
}

fn explain(dir: &Path, reference: &str) -> Value {
    let told = run(dir, &["explain", reference, "--config", "postroad.toml", "--lang", "en", "--json"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    serde_json::from_str(&told.out).unwrap()
}

fn events(record: &Value, kind: &str) -> Vec<Value> {
    let events = record["events"].as_array().unwrap();
    events.iter().filter(|event| event["event"] == kind).cloned().collect()
}

/// The lines that a search gives.
fn trace(dir: &Path, conditions: &[&str]) -> Vec<Value> {
    let line = [&["trace", "--config", "postroad.toml", "--json"], conditions].concat();
    let told = run(dir, &line);
    assert_eq!(told.code, if told.out.is_empty() { 69 } else { 0 }, "{conditions:?}: {}", told.err);
    told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The references, or else the kinds of events, that a search gives.
fn found(dir: &Path, conditions: &[&str]) -> Vec<String> {
    let name = |line: &Value| line["reference"].as_str().or(line["event"].as_str()).unwrap().to_owned();
    trace(dir, conditions).iter().map(name).collect()
}

/// A session of this client up to a refused recipient; its reference.
fn refused(serving: &Serving, ip: &str, from: &str, to: &str) -> String {
    let mut client = Client::connect(serving.at("127.0.0.5"));
    client.send(format!("PROXY TCP4 {ip} 198.51.100.1 4000 25\r\n"));
    client.expect("220");
    client.say("EHLO client.example", "250");
    client.say(&format!("MAIL FROM:<{from}>"), "250");
    let reference = reference(&client.say(&format!("RCPT TO:<{to}>"), "550"));
    client.say("QUIT", "221");
    reference
}

/// Runs this while another thread sends mail, of which some is refused.
fn while_mail_flows<T>(serving: &Serving, run: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            let mut client = serving.client();
            client.say("EHLO flow.example", "250");
            while !stop.load(Ordering::Relaxed) {
                client.say("MAIL FROM:<flow@flow.example>", "250");
                client.say("RCPT TO:<bob@example.org>", "250");
                client.say("RCPT TO:<carol@example.org>", "250");
                client.say("DATA", "354");
                client.say(&format!("Message-ID: <{sent}@flow.example>\r\n\r\nx\r\n."), "250 2.0.0");
                sent += 1;
            }
            sent
        });
        // A panic here must not leave the other thread running for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap();
        (sent, result)
    });
    assert!(sent.0 > 10, "only {} messages were sent beside it", sent.0);
    sent.1.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn each_condition_finds_the_right_one_while_mail_flows() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path());
    let dir = dir.path();
    while_mail_flows(&serving, || {
        let one = refused(&serving, "192.0.2.1", "one@from.example", "nobody-one@example.org");
        let two = refused(&serving, "198.51.100.2", "two@from.example", "two@elsewhere.example");
        let mut client = serving.client();
        client.until_content(&["bob@example.org"]);
        let reply = client.say("Message-ID: <the-third@client.example>\r\n\r\nx\r\n.", "250 2.0.0");
        let id = reply.rsplit(' ').next().unwrap();
        let third = reference(&client.say("MAIL FROM:<x@client.example> FROB=1", "555"));

        // Two sessions within a millisecond have no order.
        let found_both = |conditions: &[&str]| found(dir, conditions).into_iter().collect::<BTreeSet<_>>();
        let both = BTreeSet::from([one.clone(), two.clone()]);
        let (only_one, only_two) = ([one], [two]);
        assert_eq!(found(dir, &["--to", "nobody-one@example.org"]), only_one);
        assert_eq!(found(dir, &["--to", "NOBODY-ONE@EXAMPLE.ORG", "--from", "@from.example"]), only_one);
        assert_eq!(found(dir, &["--to", "@elsewhere.example"]), only_two);
        assert_eq!(found(dir, &["--from", "one@from.example"]), only_one);
        assert_eq!(found_both(&["--from", "@from.example"]), both);
        assert_eq!(found(dir, &["--ip", "192.0.2.1"]), only_one);
        assert_eq!(found(dir, &["--ip", "198.51.100.0/24"]), only_two);
        assert_eq!(found(dir, &["--code", "5.1.1"]), only_one);
        assert_eq!(found(dir, &["--code", "5.7.1"]), only_two);
        assert_eq!(found(dir, &["--code", "555"]), [third]);
        assert_eq!(found_both(&["--code", "550"]), both);
        assert_eq!(
            found(dir, &["--code", "550", "--ip", "198.51.100.2", "--to", "two@elsewhere.example"]),
            only_two
        );
        assert!(found(dir, &["--code", "550", "--from", "nobody@nowhere.example"]).is_empty());
        for message_id in ["<the-third@client.example>", "the-third@client.example"] {
            let lines = trace(dir, &["--message-id", message_id]);
            assert_eq!(lines[0]["event"], "accepted", "{lines:?}");
            assert!(lines.iter().all(|line| line["queue-id"] == id), "{lines:?}");
        }
        support::eventually("it is delivered", || {
            found(dir, &["--queue-id", id]) == ["accepted", "delivered"]
        });
        for line in trace(dir, &["--queue-id", id]) {
            assert_eq!(line["to"], serde_json::json!(["bob@example.org"]), "{line}");
        }

        let told = run(dir, &["trace", "--config", "postroad.toml", "--ip", "192.0.2.1"]);
        let wanted = format!(
            "{} 192.0.2.1 refused from=<one@from.example> to=<nobody-one@example.org> 550 5.1.1 No mailbox",
            only_one[0]
        );
        assert!(told.out.lines().count() == 1 && told.out.contains(&wanted), "{}", told.out);
    });
}

#[test]
fn a_search_from_a_time_on_leaves_out_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path());
    let dir = dir.path();
    while_mail_flows(&serving, || {
        let early = refused(&serving, "192.0.2.1", "a@from.example", "nobody@example.org");
        // Times are told in whole seconds.
        std::thread::sleep(Duration::from_millis(2100));
        let late = refused(&serving, "192.0.2.1", "b@from.example", "nobody@example.org");
        let lines = trace(dir, &["--code", "550"]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        let at = lines[1]["at"].as_str().unwrap();
        assert_eq!(found(dir, &["--code", "550", "--since", at]), [late]);
        assert_eq!(
            found(dir, &["--code", "550", "--until", lines[0]["at"].as_str().unwrap(), "--since", "1h"]),
            [early]
        );
    });
}

/// `postroad trace` that goes on; ended when dropped.
struct Following(Child, mpsc::Receiver<Value>);

impl Following {
    fn start(dir: &Path, conditions: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postroad"))
            .args(["trace", "--config", "postroad.toml", "--follow", "--json"])
            .args(conditions)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Nobody listens any more once the test has what it wants.
                let Ok(()) = tell.send(serde_json::from_str(&line).unwrap()) else { return };
            }
        });
        Self(child, told)
    }

    fn next(&self) -> Value {
        self.1.recv_timeout(PATIENCE).expect("nothing more came")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn following_shows_what_happens_after_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path());
    while_mail_flows(&serving, || {
        let before = refused(&serving, "192.0.2.1", "a@from.example", "nobody@example.org");
        let following = Following::start(dir.path(), &["--from", "@from.example"]);
        assert_eq!(following.next()["reference"], *before);
        // From here on it follows.
        for to in ["later@example.org", "still@elsewhere.example"] {
            let reference = refused(&serving, "2.2.2.2", "b@from.example", to);
            let line = following.next();
            assert_eq!(
                (&line["reference"], &line["event"]),
                (&reference.into(), &"refused".into()),
                "{line}"
            );
            assert_eq!((&line["to"][0], &line["from"]), (&to.into(), &"b@from.example".into()), "{line}");
        }
    });
}

#[test]
fn a_client_that_ends_lines_with_lf_and_stalls_is_told_exactly_that() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path());
    let mut client = Client::greeted(serving.at("127.0.0.2"));
    client.until_content(&["bob@example.org"]);
    client.send("Subject: x\n\nhello\n.\n");
    let reply = client.expect("421 4.4.2 ");
    let said =
        "421 4.4.2 Timed out: no CRLF.CRLF in 20 bytes; the last line was \".\" ended by a bare LF (ref ";
    assert!(reply.starts_with(said), "{reply}");
    let reference = reference(&reply);

    let record = explain(dir.path(), &reference);
    let [stall] = &events(&record, "stall")[..] else { panic!("{record}") };
    let evidence = &stall["evidence"];
    assert_eq!(stall["kind"], "no-terminator-lf");
    assert_eq!((&evidence["octets"], &evidence["waited-s"]), (&"20".into(), &"1".into()), "{stall}");
    assert_eq!((&evidence["crlf"], &evidence["bare-cr"]), (&"0".into(), &"0".into()), "{stall}");
    assert_eq!(evidence["bare-lf"], "4", "{stall}");
    assert_eq!(evidence["last-octets"], "68 65 6c 6c 6f 0a 2e 0a", "{stall}");
    if cfg!(target_os = "linux") {
        let mss: u32 = evidence["tcp-mss-out"].as_str().expect("no TCP figures").parse().unwrap();
        assert!(mss >= 500, "{stall}");
        assert!(evidence["tcp-path-mtu"].is_string() && evidence["tcp-out-of-order"] == "0", "{stall}");
    }
    let [anomaly, end] = &events(&record, "anomaly")[..] else { panic!("{record}") };
    assert_eq!((&end["kind"], &end["offset"]), (&"false-end".into(), &18.into()), "{end}");
    assert_eq!((&anomaly["kind"], &anomaly["offset"]), (&"bare-lf".into(), &10.into()), "{anomaly}");
    assert_eq!(
        anomaly["window"], "53 75 62 6a 65 63 74 3a 20 78 [0a] 0a 68 65 6c 6c 6f 0a 2e 0a",
        "{anomaly}"
    );

    let told = run(dir.path(), &["explain", &reference, "--config", "postroad.toml", "--lang", "en"]).out;
    for part in [
        "Why the transfer stood still",
        "The content ended with LF instead of CRLF",
        "Make the program send \\r\\n at each line end, and \\r\\n.\\r\\n at the end.",
        "lines that ended in a bare LF: 4",
        "largest TCP segment this server sends, in octets: ",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    assert!(!told.contains("evidence."), "a figure without a name: {told}");
    let stalled = run(dir.path(), &["trace", "--config", "postroad.toml", "--ip", "127.0.0.1"]).out;
    assert!(stalled.contains("stalled from=<alice@client.example>"), "{stalled}");
    assert!(stalled.contains("no-terminator-lf"), "{stalled}");
}

/// The octets of the ledger's files.
fn raw(dir: &Path) -> Vec<u8> {
    let files = fs::read_dir(dir.join("data/ledger")).unwrap();
    files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn neither_content_nor_secrets_are_in_the_ledger_and_all_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = start(dir.path());
    let mut client = serving.client();
    client.until_content(&["bob@example.org"]);
    // A bare LF has the octets around it kept, and only these.
    client.send(format!("Subject: x\n\r\n{}\r\nMarker-Of-Content\r\n", "x".repeat(100)));
    client.say(".", "250 2.0.0");
    // A client that does not double its dots: what it means as content is not kept either.
    client.say("QuietMarker of content", "500");
    client.say("Help MarkerAfterHelp", "214");
    client.say("NOOP", "250");
    client.say("AUTH PLAIN AFNlY3JldE1hcmtlcg==", "502");
    client.say("AUTH LOGIN", "502");
    client.say("U2VjcmV0TWFya2Vy", "500");
    client.say("MAIL FROM:<alice@client.example>", "250");
    let last = client.say("RCPT TO:<visible-marker@example.org>", "550");
    client.say("FROB Visible-Argument", "500");
    client.say("QUIT", "221");

    let record = explain(dir.path(), &reference(&last));
    assert_eq!(serving.stop(), 0);
    for secret in ["AFNlY3JldE", "U2VjcmV0TW"] {
        let log = serving.log().to_ascii_lowercase();
        assert!(!log.contains(&secret.to_ascii_lowercase()), "{secret} is in the log: {log}");
    }
    let text =
        run(dir.path(), &["explain", &reference(&last), "--config", "postroad.toml", "--lang", "en"]).out;
    let found = run(dir.path(), &["trace", "--config", "postroad.toml", "--all", "--json"]).out;
    let raw = String::from_utf8_lossy(&raw(dir.path())).into_owned();
    for secret in [
        "Marker-Of",
        "QuietMarker",
        "MarkerAfter",
        "AFNlY3JldE",
        "U2VjcmV0TW",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ] {
        let secret = secret.to_ascii_lowercase();
        for (place, told) in [
            ("the file", &raw),
            ("the record", &record.to_string()),
            ("the story", &text),
            ("the search", &found),
        ] {
            assert!(!told.to_ascii_lowercase().contains(&secret), "{secret} is in {place}");
        }
    }
    // That which is searched does hold what may be there.
    assert!(raw.contains("visible-marker") && found.contains("visible-marker@example.org"));
    let lines: Vec<String> =
        events(&record, "command").iter().map(|event| event["line"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "EHLO client.example",
            "MAIL FROM:<alice@client.example>",
            "RCPT TO:<bob@example.org>",
            "DATA",
            "",
            "",
            "NOOP",
            "AUTH PLAIN",
            "AUTH LOGIN",
            "",
            "MAIL FROM:<alice@client.example>",
            "RCPT TO:<visible-marker@example.org>",
            "FROB Visible-Argument",
            "QUIT",
        ]
    );
    assert!(
        text.contains("a line of 16 octets that is not kept, because it may be secret or content"),
        "{text}"
    );
    let [anomaly] = &events(&record, "anomaly")[..] else { panic!("{record}") };
    assert!(
        anomaly["window"].as_str().unwrap().starts_with("53 75 62 6a 65 63 74 3a 20 78 [0a] "),
        "{anomaly}"
    );
}

#[test]
fn a_tls_handshake_that_fails_is_in_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), &format!("{GOOD}[tls]\nself_signed = true\n"));
    let mut client = serving.client();
    let reference = reference(&client.say("FROB", "500"));
    client.say("EHLO client.example", "250");
    client.say("STARTTLS", "220");
    client.send("EHLO client.example\r\n");
    let mut failed = Vec::new();
    support::eventually("it is told", || {
        failed = events(&explain(dir.path(), &reference), "finding");
        !failed.is_empty()
    });
    assert_eq!((&failed[0]["check"], &failed[0]["result"]), (&"tls".into(), &"failed".into()), "{failed:?}");
    assert!(failed[0]["inputs"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{failed:?}");
}

#[test]
fn send_shows_the_reference_and_where_it_leads() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path());
    let send = |verbose: &[&str]| {
        let line = ["send", "--server", &serving.listening[0], "--from", "me@client.example"];
        let more = ["--helo", "client.example", "--to", "nobody@example.org", "--body", "x", "--tls", "off"];
        run(dir.path(), &[&line[..], &more, verbose].concat())
    };
    let quiet = send(&[]);
    assert_eq!(quiet.code, 69);
    let (_, said) = quiet.out.split_once("550 5.1.1 No mailbox <nobody@example.org> here").unwrap();
    assert!(!quiet.err.contains("explain"), "{}", quiet.err);
    reference(said.trim_end());

    let told = send(&["-v"]);
    assert_eq!(told.code, 69);
    let mut lines = told.err.lines().skip_while(|line| !line.starts_with("S: 550 5.1.1 "));
    let reference = reference(lines.next().unwrap());
    let story =
        format!("-- the server keeps a record: `postroad explain {reference}` on it tells the whole story");
    assert_eq!(lines.next(), Some(story.as_str()), "{}", told.err);
    assert_eq!(explain(dir.path(), &reference)["reply"]["name"], "NoSuchMailbox");
    // DATA went along with RCPT and was refused too.
    assert_eq!(told.err.matches("(ref ").count(), told.err.matches("tells the whole story").count());
}
