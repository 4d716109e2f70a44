//! Sessions over sockets: LMTP, trace lines, who gets what, peers that come and go in odd ways.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use socket2::SockRef;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use support::{Client, DOMAIN, Running, connect, plain, toml};

#[test]
fn trace_lines_say_how_it_came() {
    let running = Running::start(&plain(""));
    let mut client = running.client();
    client.deliver(&["bob@example.org"], "to one");
    client.deliver(&["bob@example.org", "carol@example.org"], "to two");
    client.say("EHLO client.example", "250");
    client.say("MAIL FROM:<jörg@client.example> SMTPUTF8", "250");
    client.say("RCPT TO:<bob@example.org>", "250");
    client.say("DATA", "354");
    client.say("Subject: ü\r\n\r\nutf8\r\n.", "250 2.0.0");
    let mut old = running.client();
    old.say("HELO old.example", "250 mx.example.org");
    old.say("MAIL FROM:<>", "250");
    old.say("RCPT TO:<BOB@EXAMPLE.ORG>", "250");
    old.say("DATA", "354");
    old.say(".", "250 2.0.0");
    let mail = running.mail("bob");
    let [one, two, utf8, null] = mail.as_slice() else { panic!("{mail:#?}") };
    assert!(one.starts_with("Return-Path: <alice@client.example>\r\nDelivered-To: bob@example.org\r\nReceived: from client.example ([127.0.0.1])"), "{one}");
    assert!(one.contains("by mx.example.org") && one.contains("with ESMTP\r\n\tid "), "{one}");
    assert!(one.contains("for <bob@example.org>"), "{one}");
    assert!(one.ends_with("Subject: test\r\n\r\nto one\r\n"), "{one}");
    assert!(!two.contains("for <"), "{two}");
    assert!(utf8.contains("with UTF8SMTP\r\n\tid "), "{utf8}");
    assert!(utf8.starts_with("Return-Path: <jörg@client.example>\r\n"), "{utf8}");
    assert!(null.starts_with("Return-Path: <>\r\n") && null.contains("with SMTP\r\n\tid "), "{null}");
    assert!(running.mail("carol")[0].contains("Delivered-To: carol@example.org\r\n"));
    // The id in the trace is the one in the reply.
    let id = client.deliver(&["bob@example.org"], "again");
    assert!(running.mail("bob")[4].contains(&format!("id {id}")), "{id}");
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let listeners =
        ["address = \"127.0.0.1:0\"\nkind = \"lmtp\"", "address = \"unix:data/lmtp.sock\"\nkind = \"lmtp\""];
    let running = Running::start(&toml(&listeners, DOMAIN));
    let mut tcp = Client::greeted(running.address());
    let mut unix = Client::unix(&running.dir.path().join("data/lmtp.sock"));
    // Another user's mail server connects to it.
    let mode = std::fs::metadata(running.dir.path().join("data/lmtp.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    unix.expect("220 mx.example.org LMTP Postroad");
    tcp.say("EHLO client.example", "502 5.5.1");
    lmtp(&mut tcp);
    lmtp(&mut unix);
    let mail = running.mail("bob");
    assert_eq!(mail.len(), 2);
    assert!(mail[0].contains("with LMTP") && mail[0].contains("([127.0.0.1])"), "{}", mail[0]);
    assert!(mail[1].contains("with LMTP") && !mail[1].contains("127.0.0.1"), "{}", mail[1]);
    assert_eq!(running.mail("carol").len(), 2);
    let socket = running.dir.path().join("data/lmtp.sock");
    let dir = running.stop();
    assert!(!socket.exists());
    drop(dir);
}

fn lmtp<S: std::io::Read + std::io::Write>(client: &mut Client<S>) {
    client.say("LHLO client.example", "250-mx.example.org");
    client.say("MAIL FROM:<alice@client.example>", "250");
    client.say("RCPT TO:<bob@example.org>", "250");
    client.say("RCPT TO:<nobody@example.org>", "550 5.1.1");
    client.say("RCPT TO:<carol@example.org>", "250");
    client.say("DATA", "354");
    client.send("Subject: x\r\n\r\nby LMTP\r\n.\r\nNOOP\r\n");
    client.expect("250 2.0.0");
    client.expect("250 2.0.0");
    client.expect("250 2.0.0 ");
    client.say("QUIT", "221");
    client.closed();
}

#[test]
fn who_gets_what() {
    let domains = "[domain.\"example.org\"]\nmailboxes = [\"bob\", \"carol\"]\n\
                   aliases = { postmaster = [\"bob\"], team = [\"bob\", \"carol\", \"sub\"], sub = [\"carol\"] }\n\
                   [domain.\"example.net\"]\nmailboxes = [\"eve\", \"postmaster\"]\ncatch_all = \"eve\"\nplus = \"\"\n";
    let text = toml(&["address = \"127.0.0.1:0\""], domains);
    let running = Running::start(&format!("postmaster = \"eve@example.net\"\n{text}"));
    let mut client = running.client();
    client.deliver(&["team@example.org"], "team");
    client.deliver(&["Bob+lists@Example.ORG"], "plus");
    client.deliver(&["postmaster@example.org"], "of example.org");
    client.deliver(&["Postmaster"], "of nowhere");
    client.deliver(&["anyone+at-all@example.net"], "catch-all");
    client.deliver(&["team@example.org", "bob@example.org", "bob+x@example.org"], "once");
    client.say("MAIL FROM:<alice@client.example>", "250");
    let unknown = client.say("RCPT TO:<nobody@example.org>", "550 5.1.1");
    assert!(unknown.contains("nobody@example.org"), "{unknown}");
    let relay = client.say("RCPT TO:<bob@elsewhere.example>", "550 5.7.1");
    assert!(relay.contains("elsewhere.example"), "{relay}");
    client.say("RCPT TO:<bob%elsewhere.example@example.org>", "550 5.1.1");
    client.say("DATA", "503");
    let bodies = |mail: Vec<String>| -> Vec<String> {
        mail.iter().map(|text| text.trim_end().rsplit("\r\n").next().unwrap().to_owned()).collect()
    };
    assert_eq!(bodies(running.mail("carol")), ["team", "once"]);
    let bob = running.mail("bob");
    assert!(bob[0].contains("X-Original-To: team@example.org\r\n"), "{}", bob[0]);
    assert_eq!(bodies(bob), ["team", "plus", "of example.org", "once"]);
    let eve = support::mail_in(&running.dir.path().join("data/mail/example.net/eve"));
    assert!(eve[1].contains("X-Original-To: anyone+at-all@example.net"), "{eve:?}");
    assert_eq!(bodies(eve), ["of nowhere", "catch-all"]);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_replies() {
    let running = Running::start(&plain(""));
    // The end of its side comes with the last octets, after QUIT or after the final dot.
    for (at, end) in ["QUIT\r\n", ""].iter().enumerate() {
        let mut client = running.client();
        client.until_content(&["bob@example.org"]);
        client.send(format!("Subject: x\r\n\r\nhalf closed\r\n.\r\n{end}"));
        client.half_close();
        client.expect("250 2.0.0");
        if !end.is_empty() {
            client.expect("221 2.0.0");
        }
        client.closed();
        assert_eq!(running.mail("bob").len(), at + 1);
    }
    // The whole session at once, and then nothing more.
    let mut client = Client::connect(running.address());
    client.send("EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n");
    client.half_close();
    client.expect("220");
    client.expect("250");
    client.expect("250 2.1.0");
    client.expect("250 2.1.5");
    client.expect("354");
    client.closed();
    // What had no end is not stored.
    assert_eq!(running.mail("bob").len(), 2);
}

#[test]
fn a_connection_that_breaks_leaves_nothing_behind() {
    let running = Running::start(&plain(""));
    for big in [10, 300_000] {
        let mut client = running.client();
        client.until_content(&["bob@example.org"]);
        client.send("x".repeat(98).repeat(big / 98 + 1));
        // A reset in place of an orderly end.
        SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    support::eventually("the sessions are gone", || running.metric("postroad_sessions") == 0);
    assert!(running.metric("postroad_content_in_memory_octets") == 0);
    assert!(running.mail("bob").is_empty() && running.metric("postroad_messages_accepted_total") == 0);
    let big = running.dir.path().join("data/spool/big");
    let left = std::fs::read_dir(big).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    // Reset right behind the final dot: stored or not, but whole.
    let mut client = running.client();
    client.until_content(&["bob@example.org"]);
    client.send("Subject: x\r\n\r\nwhole\r\n.\r\n");
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    support::eventually("the session is gone", || running.metric("postroad_sessions") == 0);
    for mail in running.mail("bob") {
        assert!(mail.ends_with("\r\n\r\nwhole\r\n"), "{mail}");
    }
}

#[test]
fn a_peer_that_never_reads_holds_up_nobody() {
    let running = Running::start(&plain("[limits]\nstop_timeout = \"1s\"\n"));
    let deaf = connect(running.address());
    deaf.set_nonblocking(true).unwrap();
    let help = b"HELP\r\n".repeat(10_000);
    // Until the socket takes no more: the server has stopped reading, because nobody reads it.
    let mut stuck = 0;
    while stuck < 20 {
        match SockRef::from(&deaf).send(&help) {
            Ok(_) => stuck = 0,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                stuck += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    let mut client = running.client();
    client.deliver(&["bob@example.org"], "beside it");
    assert_eq!(running.mail("bob").len(), 1);
    drop(client);
    // The stop does not wait for it for ever.
    drop(running.stop());
    drop(deaf);
}

#[test]
fn other_protocols_are_told_and_let_go() {
    let running = Running::start(&plain(""));
    for first in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}"]
    {
        let mut client = running.client();
        client.send(first);
        let reply = client.reply();
        assert!(reply.starts_with('5') || reply.starts_with("421"), "{first:?}: {reply}");
        client.closed();
    }
}
