//! Quotas as the peer meets them: refused while it still listens, not in the queue afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use support::{Client, DOMAIN, Running, eventually, plain, toml};

/// Says a message to these recipients, which RCPT takes, and returns the reply to its content.
fn content(running: &Running, to: &[&str], octets: usize) -> String {
    let mut client = running.client();
    client.until_content(to);
    client.send(format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(octets)));
    client.reply()
}

/// How MAIL with this size and RCPT for Bob end.
fn at_rcpt(running: &Running, size: &str) -> String {
    let mut client = running.client();
    client.say("EHLO client.example", "250");
    client.say(&format!("MAIL FROM:<a@client.example>{size}"), "250");
    client.send("RCPT TO:<bob@example.org>\r\n");
    client.reply()
}

#[test]
fn what_is_accepted_fits_and_the_rest_is_refused() {
    for pause in ["", "paused = true\n"] {
        let text = plain(&format!("[delivery]\nquota_bytes = 1000\n{pause}"));
        let running = Running::start(&text);
        let mut accepted = 0;
        for _ in 0..12 {
            let mut client = running.client();
            client.say("EHLO client.example", "250");
            client.say("MAIL FROM:<a@client.example>", "250");
            client.send("RCPT TO:<bob@example.org>\r\n");
            let mut reply = client.reply();
            if reply.starts_with("250") {
                client.say("DATA", "354");
                client.send(format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(150)));
                reply = client.reply();
            }
            if reply.starts_with("250") {
                accepted += 1;
            } else {
                assert!(reply.starts_with("452 4.2.2"), "{reply}");
            }
        }
        assert!((1..=3).contains(&accepted), "{accepted}");
        let dir = running.stop();
        let again = Running::start_in(dir, &plain("[delivery]\nquota_bytes = 1000\n"), |_| {})
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.mail("bob").len(), accepted);
        assert!(again.queue().is_empty(), "{:?}", again.queue());
    }
}

#[test]
fn a_declared_size_is_counted_with_its_trace_header() {
    let running = Running::start(&plain("[delivery]\nquota_bytes = 1000\n"));
    let reply = content(&running, &["bob@example.org"], 400);
    assert!(reply.starts_with("250"), "{reply}");
    let used = running.mail("bob")[0].len();
    let left = 1000 - used;
    let reply = at_rcpt(&running, &format!(" SIZE={left}"));
    assert!(reply.starts_with("452 4.2.2"), "{reply}");
    let reply = at_rcpt(&running, " SIZE=1000");
    assert!(reply.starts_with("552 5.2.3"), "{reply}");
}

#[test]
fn a_message_larger_than_the_mailbox_is_refused_after_its_content() {
    let running = Running::start(&plain("[delivery]\nquota_bytes = \"1KiB\"\n"));
    let reply = content(&running, &["bob@example.org"], 1700);
    assert!(reply.starts_with("552 5.2.3"), "{reply}");
    assert!(running.queue().is_empty() && running.mail("bob").is_empty());
    let reply = content(&running, &["bob@example.org"], 100);
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn refusals_begin_the_time_after_which_they_are_final() {
    let running = Running::start(&plain(
        "[delivery]\npaused = true\nquota_bytes = 1000\nquota_permanent_after = \"0s\"\n",
    ));
    assert!(content(&running, &["bob@example.org"], 500).starts_with("250"));
    let reply = content(&running, &["bob@example.org"], 500);
    assert!(reply.starts_with("452 4.2.2"), "{reply}");
    eventually("the refusal is final", || {
        content(&running, &["bob@example.org"], 500).starts_with("552 5.2.2")
    });
}

#[test]
fn whose_content_ends_first_has_the_room() {
    let running = Running::start(&plain("[delivery]\npaused = true\nquota_bytes = 1300\n"));
    let mut slow = running.client();
    slow.until_content(&["bob@example.org"]);
    assert!(content(&running, &["bob@example.org"], 500).starts_with("250"));
    slow.send(format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(500)));
    slow.expect("452 4.2.2");
    slow.say("QUIT", "221");
    assert!(content(&running, &["bob@example.org"], 1).starts_with("250"));
    assert_eq!(running.queue().len(), 2);
}

#[test]
fn smtp_takes_a_message_that_somebody_has_room_for() {
    let domain = format!("{DOMAIN}quota = {{ carol = 0 }}\n[delivery]\nquota_bytes = 1000\n");
    let running = Running::start(&toml(&["address = \"127.0.0.1:0\""], &domain));
    assert!(content(&running, &["bob@example.org"], 500).starts_with("250"));
    assert_eq!(running.mail("bob").len(), 1);
    assert!(content(&running, &["bob@example.org", "carol@example.org"], 500).starts_with("250"));
    eventually("it waits for Bob alone", || {
        running.queue().iter().any(|item| {
            let states: Vec<&str> = item.recipients.iter().map(|one| one.state.as_str()).collect();
            states == ["deferred", "delivered"]
        })
    });
}

#[test]
fn lmtp_tells_each_recipient() {
    let domain = format!(
        "{DOMAIN}quota = {{ carol = 0 }}\naliases = {{ both = [\"bob\", \"carol\"] }}\n[delivery]\nquota_bytes = 1000\n"
    );
    let running = Running::start(&toml(&["address = \"127.0.0.1:0\"\nkind = \"lmtp\""], &domain));
    let mut client = Client::greeted(running.address());
    client.say("LHLO client.example", "250");
    let mut send = |to: &[&str]| {
        client.say("MAIL FROM:<a@client.example>", "250");
        for to in to {
            client.say(&format!("RCPT TO:<{to}@example.org>"), "250");
        }
        client.say("DATA", "354");
        client.send(format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(1000)));
        to.iter().map(|_| client.reply().chars().take(9).collect::<String>()).collect::<Vec<_>>()
    };
    assert_eq!(send(&["bob", "carol", "postmaster"]), ["552 5.2.3", "250 2.0.0", "552 5.2.3"]);
    assert_eq!(running.mail("carol").len(), 1);
    assert!(running.queue().is_empty(), "{:?}", running.queue());
    assert_eq!(send(&["bob", "postmaster"]), ["552 5.2.3", "552 5.2.3"]);
    // Part of an alias has room: that is no refusal, and the delivery tells the rest.
    assert_eq!(send(&["both"]), ["250 2.0.0"]);
    eventually("carol has it", || {
        support::mail_in(&running.dir.path().join("data/mail/example.org/carol")).len() == 2
    });
}
