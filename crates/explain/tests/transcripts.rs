//! Dialogues as tools write them down: the faults that are named, and at which line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_explain::answer::{Fault, Reading, Source, Tri};
use postroad_explain::page::Page;
use postroad_explain::{explain_text, verdict};
use postroad_reference::Language;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn read(text: &str) -> Reading {
    let reading = explain_text(text.as_bytes());
    assert_eq!(reading.kind, Source::Transcript, "{text}");
    reading
}

fn page(text: &str) -> Page {
    verdict::page(Language::english(), &read(text))
}

/// The faults as `key@line`.
fn faults(text: &str) -> Vec<String> {
    read(text).faults.iter().map(|fault| format!("{}@{}", fault.key, fault.line)).collect()
}

/// A dialogue after a sound greeting that offers these.
fn after(offers: &[&str], rest: &str) -> Vec<String> {
    let mut text = "S: 220 mx.example.org\nC: EHLO client.example\n".to_owned();
    let all: Vec<&str> = std::iter::once("mx.example.org").chain(offers.iter().copied()).collect();
    for (index, offer) in all.iter().enumerate() {
        writeln!(text, "S: 250{}{offer}", if index + 1 < all.len() { '-' } else { ' ' }).unwrap();
    }
    faults(&(text + rest))
}

const SENT: &str = "C: MAIL FROM:<a@b.example>\nS: 250 2.1.0 ok\nC: RCPT TO:<c@d.example>\nS: 250 2.1.5 ok\nC: DATA\nS: 354 go\n";
const BYE: &str = "C: QUIT\nS: 221 2.0.0 bye\n";

#[test]
fn a_sound_dialogue_has_no_fault() {
    let body = format!("{SENT}C: Subject: x\nC: \nC: ..dot\nC: .\nS: 250 2.0.0 ok\n{BYE}");
    assert_eq!(after(&["PIPELINING", "SIZE 1000"], &body), Vec::<String>::new());
}

#[test]
fn each_fault_is_named_at_its_first_wrong_step() {
    let none: &[&str] = &[];
    for (offers, rest, expected) in [
        (none, format!("{SENT}C: x\nC: .hidden\nC: .also\nC: .\nS: 250 ok\n{BYE}"), "dot-not-stuffed@11"),
        (none, format!("{SENT}C: x\nC: .\nC: more\nC: .\nS: 250 ok\n{BYE}"), "dot-not-stuffed@11"),
        (
            none,
            format!(
                "C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: RCPT TO:<c@d.example>\nS: 250 ok\nC: DATA\nC: Subject: x\nC: .\nS: 354 go\nC: .\nS: 250 ok\n{BYE}"
            ),
            "content-before-354@9",
        ),
        (
            none,
            format!(
                "C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: RCPT TO:<c@d.example>\nS: 250 ok\nC: DATA\nS: 451 4.3.0 no\nC: Subject: x\nC: .\nS: 500 5.5.2 what\n{BYE}"
            ),
            "content-after-refused-data@10",
        ),
        (
            &["STARTTLS"],
            format!("C: STARTTLS\nS: 220 2.0.0 go\nC: MAIL FROM:<a@b.example>\nS: 503 5.5.1 hello\n{BYE}"),
            "no-ehlo-after-starttls@7",
        ),
        (
            &["STARTTLS"],
            format!("C: STARTTLS\nC: EHLO client.example\nS: 220 2.0.0 go\nS: 250 x\n{BYE}"),
            "pipelined-after-starttls@6",
        ),
        (&["AUTH PLAIN"], format!("C: AUTH PLAIN AGEAYg==\nS: 235 2.7.0 ok\n{BYE}"), "auth-in-clear@5"),
        (&["SIZE 10"], format!("C: AUTH CRAM-MD5\nS: 502 5.5.1 no\n{BYE}"), "auth-not-offered@5"),
        (none, SENT.replace("C: DATA\nS: 354 go\n", ""), "missing-quit@7"),
        (
            &["SIZE 1000"],
            format!("C: MAIL FROM:<a@b.example> SIZE=1001\nS: 552 5.3.4 big\n{BYE}"),
            "size-ignored@5",
        ),
        (
            &["SIZE 10"],
            format!("{SENT}C: much more than ten\nC: .\nS: 552 5.3.4 big\n{BYE}"),
            "size-ignored@12",
        ),
        (none, format!("C: RCPT TO:<c@d.example>\nS: 503 5.5.1 no\n{BYE}"), "rcpt-before-mail@4"),
        (
            none,
            format!("C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: DATA\nS: 503 5.5.1 no\n{BYE}"),
            "data-before-rcpt@6",
        ),
        (
            none,
            format!(
                "C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: MAIL FROM:<a@b.example>\nS: 503 5.5.1 no\n{BYE}"
            ),
            "nested-mail@6",
        ),
        (
            none,
            format!("C: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nS: 250 ok\nS: 250 ok\n{BYE}"),
            "pipelining-not-offered@5",
        ),
        (&["PIPELINING"], format!("C: NOOP\nC: RSET\nS: 250 ok\nS: 250 ok\n{BYE}"), "no-reply-awaited@6"),
        (none, format!("C: NOOP {}\nS: 500 5.5.2 long\n{BYE}", "x".repeat(510)), "command-line-too-long@4"),
        (none, format!("C: MIAL FROM:<a@b.example>\nS: 500 5.5.1 what\n{BYE}"), "unknown-command@4"),
        (none, format!("C: MAIL FROM:a@b.example\nS: 501 5.5.4 no\n{BYE}"), "malformed-path@4"),
        (none, format!("C: MAIL FROM:<a b@c.example>\nS: 501 5.5.4 no\n{BYE}"), "malformed-path@4"),
        (none, format!("C: MAIL FROM: <a@b.example>\nS: 250 ok\n{BYE}"), "space-after-colon@4"),
        (
            &["SIZE 10"],
            format!("C: MAIL FROM:<a@b.example> BODY=8BITMIME\nS: 555 5.5.4 no\n{BYE}"),
            "parameter-not-offered@5",
        ),
        (none, format!("{SENT}C: x\nC: y\n"), "terminator-missing@11"),
        (
            none,
            format!(
                "C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: RCPT TO:<c@d.example>\nS: 550 5.1.1 no\nC: DATA\nS: 354 go\nC: x\nC: .\nS: 554 5.5.1 no\n{BYE}"
            ),
            "data-after-all-refused@10",
        ),
        (none, "C: EHLO -\nS: 501 5.5.4 no\nC: QUIT\nS: 221 bye\n".to_owned(), "hello-not-a-name@4"),
        (none, "C: NOOP\n* timed out\n".to_owned(), "server-silent@4"),
        (none, "C: NOOP\n* connection closed by remote host\n".to_owned(), "server-closed-without-reply@4"),
        (none, format!("C: NOOP\nS: 250-a\nS: 251 b\n{BYE}"), "server-code-changes@6"),
        (none, format!("C: NOOP\nS: 250 5.0.0 b\n{BYE}"), "server-class-mismatch@5"),
        (none, format!("C: NOOP\nS: fine\nS: 250 2.0.0 ok\n{BYE}"), "server-bad-reply@5"),
        (
            none,
            format!("{}C: x\nC: .\nS: 250 ok\n{BYE}", SENT.replace("354 go", "354 2.0.0 go")),
            "server-enhanced-in-3yz@9",
        ),
    ] {
        let found = after(offers, &rest);
        assert_eq!(found, [expected], "{rest}");
    }
}

#[test]
fn mail_before_a_hello_and_a_command_before_the_greeting() {
    assert_eq!(
        faults("S: 220 x.example\nC: MAIL FROM:<a@b.example>\nS: 503 5.5.1 hello\nC: QUIT\nS: 221 bye\n"),
        ["mail-before-ehlo@2"]
    );
    assert_eq!(
        faults("C: EHLO a.example\nS: 220 x.example\nS: 250 x.example\nC: QUIT\nS: 221 bye\n"),
        ["command-before-greeting@1"]
    );
}

#[test]
fn what_a_paste_does_not_show_is_not_held_against_anyone() {
    assert_eq!(
        faults("C: MAIL FROM:<a@b.example>\nS: 250 2.1.0 ok\nC: QUIT\nS: 221 2.0.0 bye\n"),
        Vec::<String>::new()
    );
    assert_eq!(
        faults("C: DATA\nS: 354 go\nS: 250 2.0.0 stored\nC: QUIT\nS: 221 2.0.0 bye\n"),
        Vec::<String>::new()
    );
}

#[test]
fn content_that_stalls_behind_354_is_explained() {
    let opened = "S: 220 mx.example.org\nC: EHLO c.example\nS: 250 mx.example.org\n";
    let curl = "* Connected to mx.example.org (192.0.2.1) port 25\n< 220 mx.example.org ESMTP\n> EHLO client.example\n< 250 mx.example.org\n> MAIL FROM:<a@b.example>\n< 250 ok\n> RCPT TO:<c@d.example>\n< 250 ok\n> DATA\n< 354 go\n* Operation timed out after 30001 milliseconds with 0 bytes received\n* Closing connection 0\n";
    let swaks = "=== Connected to mx.example.org.\n<-  220 mx.example.org ESMTP\n -> EHLO client.example\n<-  250 mx.example.org\n -> MAIL FROM:<a@b.example>\n<-  250 ok\n -> RCPT TO:<c@d.example>\n<-  250 ok\n -> DATA\n<-  354 go\n";
    let lost = "<** Timeout (30 secs) waiting for server response\n -> QUIT\n<** Timeout (30 secs) waiting for server response\n=== Connection closed with remote host.\n";
    let nothing: &[&str] = &["nothing-after-354", "no-terminator", "no-terminator-lf"];
    let unended: &[&str] = &["no-terminator", "no-terminator-lf", "nothing-after-354"];
    for (text, fault, stalls) in [
        (format!("{opened}{SENT}"), "terminator-missing@9", nothing),
        (curl.to_owned(), "terminator-missing@10", nothing),
        (format!("{swaks}{lost}"), "terminator-missing@10", nothing),
        (format!("{swaks} -> Subject: x\n -> \n -> body\n{lost}"), "terminator-missing@13", unended),
        (
            format!("{swaks} -> Subject: x\n -> \n -> body\n -> .\n{lost}"),
            "server-silent@14",
            &["no-terminator-lf", "nothing-after-354"],
        ),
        (format!("{opened}{SENT}S: 421 4.4.2 Timeout\n"), "terminator-missing@9", nothing),
        (format!("{opened}{SENT}C: x\nS: 451 4.4.2 timed out\n{BYE}"), "terminator-missing@10", unended),
    ] {
        let reading = read(&text);
        let faults: Vec<_> =
            reading.faults.iter().map(|fault| format!("{}@{}", fault.key, fault.line)).collect();
        assert_eq!(
            (faults.as_slice(), reading.stalls.as_slice()),
            ([fault.to_owned()].as_slice(), stalls),
            "{text}"
        );
        assert!(reading.fault_leads, "{text}");
    }
    let page = page(&format!("{opened}{SENT}"));
    assert_eq!(page.title, "A session: The end of content is missing");
    let keys: Vec<_> = page.sections.iter().map(|section| section.key.as_str()).collect();
    assert_eq!(keys, ["fault", "stall"]);
}

#[test]
fn a_refusal_leads_and_what_is_untidy_never_does() {
    let refused = "S: 220 mx.example.org\nC: EHLO localhost\nS: 250 mx.example.org\nC: MAIL FROM:<a@b.example>\nS: 250 ok\nC: RCPT TO:<c@d.example>\nS: 554 5.7.1 <c@d.example>: Relay access denied\n";
    for text in [
        refused.to_owned(),
        format!("{refused}C: DATA\nS: 503 5.5.1 no valid recipients\n{BYE}"),
        "<-- 220 mx.example.org ESMTP\n--> EHLO localhost\n<-- 250 mx.example.org\n--> MAIL FROM:<a@b.example>\n<-- 250 ok\n--> RCPT TO:<c@d.example>\n<-- 554 5.7.1 <c@d.example>: Relay access denied\n".to_owned(),
    ] {
        let page = page(&text);
        assert_eq!(page.title, "A session: Relay denied", "{text}");
        let first = page.sections.first().unwrap();
        assert_eq!(first.key, "recipient-1", "{text}");
        assert!(page.sections.iter().all(|section| section.key != "fault"), "{text}");
    }
    // A login that was refused, over TLS and without.
    for text in [
        "CONNECTED(00000003)\n---\nSSL-Session:\n---\n220 mx.example.org\nEHLO c.example.org\n250-mx.example.org\n250 AUTH PLAIN\nAUTH PLAIN AGFsaWNl\n535 5.7.8 authentication failed\n",
        "S: 220 mx.example.org\nC: EHLO c.example.org\nS: 250-mx.example.org\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGFsaWNl\nS: 535 5.7.8 authentication failed\n",
    ] {
        assert_eq!(page(text).title, "A session: Login refused", "{text}");
    }
    // The command was wrong, and that is why it was refused.
    let wrong = refused.replace("554 5.7.1", "501 5.5.4").replace("TO:<c@d.example>\n", "TO: c@d.example\n");
    assert!(read(&wrong).fault_leads, "{wrong}");
    // Nothing else is wrong: then it may be told.
    let untidy =
        refused.split_inclusive('\n').take(5).collect::<String>().replace("localhost", "c.example.org");
    assert_eq!(page(&untidy).title, "A session: The session ended without QUIT");
}

#[test]
fn a_word_of_a_time_limit_is_no_timeout_while_replies_come() {
    let text = "* Connected to mx.example.org (192.0.2.1) port 25\n< 220 mx.example.org ESMTP\n> EHLO client.example\n* the timeout is 300 seconds\n< 250 mx.example.org\n> QUIT\n< 221 bye\n";
    assert_eq!(faults(text), Vec::<String>::new());
}

#[test]
fn commands_behind_refused_recipients_are_no_content() {
    let text = "<-  220 mx.example.org ESMTP\n -> EHLO client.example\n<-  250 mx.example.org\n -> MAIL FROM:<a@b.example>\n<-  250 ok\n -> RCPT TO:<c@d.example>\n<** 550 5.1.1 no such user\n -> DATA\n<** 503 5.5.1 no valid recipients\n -> QUIT\n<-  221 bye\n";
    assert_eq!(faults(text), Vec::<String>::new());
}

#[test]
fn nothing_is_missing_where_the_reading_ends() {
    let one = "C: NOOP\nS: 250 2.0.0 fine\n";
    let text = format!(
        "S: 220 mx.example.org\nC: EHLO c.example.org\nS: 250 mx.example.org\n{}",
        one.repeat(100_000)
    );
    let reading = read(&text);
    assert!(reading.cut);
    assert_eq!(reading.faults, []);
}

#[test]
fn line_ends_are_judged_where_the_source_shows_them() {
    let text = "send: 'ehlo client.example\\r\\n'\nreply: b'250 mx.example.org\\r\\n'\nreply: retcode (250); Msg: b'mx.example.org'\n\
        send: 'data\\r\\n'\nreply: b'354 go\\r\\n'\ndata: (354, b'go')\nsend: b'Subject: x\\r\\n\\nbody\\r\\n.\\r\\n'\nreply: b'250 ok\\r\\n'\nsend: 'quit\\r\\n'\nreply: b'221 bye\\r\\n'\n";
    assert_eq!(faults(text), ["lf-line-ends@7"]);
    let text = "S: 220 mx.example.org\nC: EHLO client.example\nS: 250 mx.example.org\nc: NO\\rOP\\r\\n\nS: 500 5.5.2 no\nC: QUIT\nS: 221 bye\n";
    assert_eq!(faults(text), ["bare-cr@4", "unknown-command@4"]);
}

#[test]
fn swaks_telnet_curl_msmtp_openssl_phpmailer_and_postfix_are_read() {
    for text in [
        "=== Trying mx.example.org:25...\n=== Connected to mx.example.org.\n<-  220 mx.example.org ESMTP\n -> EHLO client.example\n<-  250 mx.example.org\n -> MAIL FROM: <a@b.example>\n<** 501 5.5.4 no\n -> QUIT\n<-  221 bye\n=== Connection closed with remote host.\n",
        "$ telnet mx.example.org 25\nTrying 192.0.2.1...\nConnected to mx.example.org.\nEscape character is '^]'.\n220 mx.example.org ESMTP\nEHLO client.example\n250 mx.example.org\nMAIL FROM: <a@b.example>\n501 5.5.4 no\nQUIT\n221 bye\nConnection closed by foreign host.\n",
        "* Connected to mx.example.org (192.0.2.1) port 25\n< 220 mx.example.org ESMTP\n> EHLO client.example\n< 250 mx.example.org\n> MAIL FROM: <a@b.example>\n< 501 5.5.4 no\n> QUIT\n< 221 bye\n* Closing connection 0\n",
        "<-- 220 mx.example.org ESMTP\n--> EHLO client.example\n<-- 250 mx.example.org\n--> MAIL FROM: <a@b.example>\n<-- 501 5.5.4 no\n--> QUIT\n<-- 221 bye\n",
        "CONNECTED(00000003)\ndepth=1 C = US\nverify return:1\n---\nSSL-Session:\n---\n220 mx.example.org ESMTP\nEHLO client.example\n250 mx.example.org\nMAIL FROM: <a@b.example>\n501 5.5.4 no\nQUIT\n221 bye\nclosed\n",
        "2026-01-01 10:00:00 SERVER -> CLIENT: 220 mx.example.org ESMTP\n2026-01-01 10:00:00 CLIENT -> SERVER: EHLO client.example\n2026-01-01 10:00:00 SERVER -> CLIENT: 250 mx.example.org\n2026-01-01 10:00:00 CLIENT -> SERVER: MAIL FROM: <a@b.example>\n2026-01-01 10:00:00 SERVER -> CLIENT: 501 5.5.4 no\n2026-01-01 10:00:00 CLIENT -> SERVER: QUIT\n2026-01-01 10:00:00 SERVER -> CLIENT: 221 bye\n",
        "Jan 1 10:00:00 h postfix/smtp[9]: < mx.example.org[192.0.2.1]:25: 220 mx.example.org ESMTP\nJan 1 10:00:00 h postfix/smtp[9]: > mx.example.org[192.0.2.1]:25: EHLO client.example\nJan 1 10:00:00 h postfix/smtp[9]: < mx.example.org[192.0.2.1]:25: 250 mx.example.org\nJan 1 10:00:00 h postfix/smtp[9]: > mx.example.org[192.0.2.1]:25: MAIL FROM: <a@b.example>\nJan 1 10:00:00 h postfix/smtp[9]: < mx.example.org[192.0.2.1]:25: 501 5.5.4 no\nJan 1 10:00:00 h postfix/smtp[9]: > mx.example.org[192.0.2.1]:25: QUIT\nJan 1 10:00:00 h postfix/smtp[9]: < mx.example.org[192.0.2.1]:25: 221 bye\n",
        "Jan 1 10:00:00 h postfix/smtpd[9]: > c.example[192.0.2.1]: 220 mx.example.org ESMTP\nJan 1 10:00:00 h postfix/smtpd[9]: < c.example[192.0.2.1]: EHLO client.example\nJan 1 10:00:00 h postfix/smtpd[9]: > c.example[192.0.2.1]: 250 mx.example.org\nJan 1 10:00:00 h postfix/smtpd[9]: < c.example[192.0.2.1]: MAIL FROM: <a@b.example>\nJan 1 10:00:00 h postfix/smtpd[9]: > c.example[192.0.2.1]: 501 5.5.4 no\nJan 1 10:00:00 h postfix/smtpd[9]: < c.example[192.0.2.1]: QUIT\nJan 1 10:00:00 h postfix/smtpd[9]: > c.example[192.0.2.1]: 221 bye\n",
    ] {
        let reading = read(text);
        let keys: Vec<_> = reading.faults.iter().map(|fault| fault.key).collect();
        assert_eq!(keys, ["space-after-colon"], "{text}");
        let fault = &reading.faults[0];
        let line = text.lines().nth(fault.line - 1).unwrap();
        assert!(line.contains("MAIL FROM: <a@b.example>"), "{line}");
        assert_eq!((fault.facts.rfc, fault.facts.section), ("5321", "3.3"));
        assert_eq!(reading.recipients.len(), 1);
        let reply = reading.recipients[0].reply.as_ref().unwrap();
        assert_eq!((reply.code, reply.command.as_deref()), (Some(501), Some("MAIL FROM: <a@b.example>")));
        assert_eq!(reading.recipients[0].remove, Tri::No);
    }
}

#[test]
fn a_login_is_never_given_back() {
    for text in [
        "S: 220 mx.example.org\nC: EHLO c.example\nS: 250-mx.example.org\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 535 5.7.8 not AGFsaWNlAHNlY3JldA== here\nC: QUIT\nS: 221 bye\n",
        "220 mx.example.org\nEHLO c.example\n250-mx.example.org\n250 AUTH LOGIN\nAUTH LOGIN\n334 VXNlcm5hbWU6\nAGFsaWNlAHNlY3JldA==\n535 5.7.8 not AGFsaWNlAHNlY3JldA==\nQUIT\n221 bye\n",
        "C: EHLO c.example\nC: AUTH LOGIN\nC: AGFsaWNlAHNlY3JldA==\nC: QUIT\n",
    ] {
        let reading = read(text);
        assert!(!format!("{reading:?}").contains("AGFsaWNlAHNlY3JldA"), "{reading:#?}");
    }
}

#[test]
fn a_refused_recipient_is_answered_with_its_command() {
    let reading = read(
        "S: 220 mx.example.org\nC: HELO c.example\nS: 250 mx.example.org\nC: MAIL FROM:<a@b.example>\nS: 250 ok\nC: RCPT TO:<bob@d.example>\nS: 550-5.1.1 No such\nS: 550 5.1.1 user here\nC: QUIT\nS: 221 bye\n",
    );
    let answer = &reading.recipients[0];
    assert_eq!(
        (answer.recipient.as_deref(), answer.cause, answer.remove),
        (Some("bob@d.example"), "mailbox-unknown", Tri::Yes)
    );
    let reply = answer.reply.as_ref().unwrap();
    assert_eq!(
        (reply.text.as_str(), reply.command.as_deref()),
        ("No such user here", Some("RCPT TO:<bob@d.example>"))
    );
}

/// Our own dialogues in which the server never refuses are correct clients by design.
#[test]
fn our_own_sound_dialogues_have_no_errors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dialogues");
    let mut seen = 0;
    for folder in ["chunking", "greeting", "lmtp", "order", "pipelining", "tls", "limits", "size"] {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let refused = text.lines().any(|line| line.starts_with("S: 4") || line.starts_with("S: 5"));
            // Counts, repetitions and unfinished lines are read by the runner of the dialogues only.
            let plain = !text
                .lines()
                .any(|line| line.starts_with("S*") || line.starts_with("c: ") || line.contains("}*"));
            // After HELO nothing is offered, and yet our runner writes what follows at once.
            if refused || !plain || text.contains("C: HELO") || !text.contains("\nS: 2") {
                continue;
            }
            let reading = explain_text(text.as_bytes());
            assert_eq!(reading.kind, Source::Transcript, "{}", file.display());
            let client = |fault: &&Fault| fault.facts.side == "client" && fault.facts.severity == "error";
            let errors: Vec<_> = reading.faults.iter().filter(client).map(|fault| fault.key).collect();
            let name = file.file_stem().unwrap().to_str().unwrap();
            // In these the client is wrong on purpose, or leaves.
            let expected: &[&str] = match name {
                "quit-ends-all" | "whole-session" => &["no-reply-awaited"],
                "client-leaves-in-content" => &["terminator-missing"],
                "content-ahead" => &["content-before-354"],
                _ => &[],
            };
            assert_eq!(errors, expected, "{}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} dialogues were sound");
}
