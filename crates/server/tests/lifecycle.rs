//! The stop and the reload: what was answered 250 is there afterwards, once, and sessions end well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use std::fs;
use support::{Client, DOMAIN, Running, eventually, plain, toml};

#[test]
fn a_stop_ends_sessions_between_commands_and_finishes_content() {
    let mut running = Running::start(&plain(""));
    let mut idle = running.client();
    let mut open = running.client();
    open.say("EHLO client.example", "250");
    open.say("MAIL FROM:<a@client.example>", "250");
    open.say("RCPT TO:<bob@example.org>", "250");
    let mut content = running.client();
    content.until_content(&["bob@example.org"]);
    content.send("Subject: x\r\n\r\nbegun before");
    let mut chunk = running.client();
    chunk.say("EHLO client.example", "250");
    chunk.say("MAIL FROM:<a@client.example>", "250");
    chunk.say("RCPT TO:<carol@example.org>", "250");
    chunk.send("BDAT 20 LAST\r\n0123456789");
    let address = running.address();
    // What was sent has been taken, as a reply shows that came after it.
    eventually("the content is there", || running.metric("postroad_content_in_memory_octets") >= 20);
    let stopping = running.stopping();
    idle.expect("421 4.3.2");
    idle.closed();
    open.expect("421 4.3.2");
    open.closed();
    content.send(" the stop\r\n.\r\n");
    content.expect("250 2.0.0");
    content.expect("421 4.3.2");
    content.closed();
    chunk.send("01234567\r\n");
    chunk.expect("250 2.0.0");
    chunk.expect("421 4.3.2");
    chunk.closed();
    running.wait_for(stopping);
    assert!(std::net::TcpStream::connect(address).is_err());
    // Delivered before the stop or after the next start, but once.
    let dir = std::mem::replace(&mut running.dir, tempfile::tempdir().unwrap());
    let again = Running::start_in(dir, &plain(""), |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let (bob, carol) = (again.mail("bob"), again.mail("carol"));
    assert!(bob.len() == 1 && bob[0].ends_with("begun before the stop\r\n"), "{bob:?}");
    assert!(carol.len() == 1 && carol[0].ends_with("\r\n012345678901234567\r\n"), "{carol:?}");
}

#[test]
fn a_stop_waits_for_stalled_content_only_so_long() {
    let running = Running::start(&plain("[limits]\nstop_timeout = \"1s\"\n"));
    let mut stalled = running.client();
    stalled.until_content(&["bob@example.org"]);
    stalled.send("Subject: x\r\n\r\nnever finis");
    let mut chunk = running.client();
    chunk.say("EHLO client.example", "250");
    chunk.say("MAIL FROM:<a@client.example>", "250");
    chunk.say("RCPT TO:<bob@example.org>", "250");
    chunk.send("BDAT 20\r\n0123456789");
    let dir = running.stop();
    for mut cut in [stalled, chunk] {
        cut.expect("421 4.3.2");
        cut.closed();
    }
    let again = Running::start_in(dir, &plain(""), |_| {}).unwrap_or_else(|error| panic!("{error}"));
    assert!(again.mail("bob").is_empty());
}

#[test]
fn a_peer_that_never_pauses_does_not_hold_up_the_stop() {
    let mut running = Running::start(&plain("[limits]\nstop_timeout = \"1h\"\n"));
    let client = running.client();
    let (mut sender, mut reader) = (client.stream.try_clone().unwrap(), client);
    let sending = std::thread::spawn(move || {
        let noops = b"NOOP\r\n".repeat(100);
        while std::io::Write::write_all(&mut sender, &noops).is_ok() {}
    });
    reader.expect("250 2.0.0");
    let stopping = running.stopping();
    let mut last = String::new();
    while let Some(reply) = Some(reader.reply()).filter(|reply| !reply.is_empty()) {
        last = reply;
    }
    assert!(last.starts_with("421 4.3.2") || last.starts_with("250"), "{last}");
    sending.join().unwrap();
    running.wait_for(stopping);
}

#[test]
fn what_was_accepted_before_the_stop_is_delivered_after_the_start() {
    let running = Running::start(&plain("[delivery]\npaused = true\n"));
    let mut client = running.client();
    let ids: Vec<String> =
        (0..20).map(|n| client.deliver(&["bob@example.org"], &format!("number {n}"))).collect();
    let queued: Vec<String> = running.queue().into_iter().map(|item| item.id).collect();
    assert_eq!(queued, ids);
    let dir = running.stop();
    assert!(support::mail_in(&dir.path().join("data/mail/example.org/bob")).is_empty());
    let again = Running::start_in(dir, &plain(""), |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let mail = again.mail("bob");
    assert_eq!(mail.len(), 20);
    for (at, text) in mail.iter().enumerate() {
        assert!(text.ends_with(&format!("number {at}\r\n")), "{text}");
    }
}

#[test]
fn a_reload_is_for_sessions_that_begin_after_it() {
    let listener = "address = \"127.0.0.1:0\"";
    let running = Running::start(&toml(&[listener], DOMAIN));
    let mut old = running.client();
    old.say("EHLO client.example", "250");
    old.say("MAIL FROM:<a@client.example>", "250");
    old.say("RCPT TO:<dave@example.org>", "550 5.1.1");
    let with_dave =
        DOMAIN.replace("\"carol\"", "\"carol\", \"dave\"") + "[limits]\nmessage_size = \"64KiB\"\n";
    let second = "address = \"127.0.0.2:0\"\nkind = \"lmtp\"";
    let before = running.address();
    running.reload(&toml(&[listener, second], &with_dave)).unwrap();
    // The old one keeps what it was told.
    old.say("RCPT TO:<dave@example.org>", "550 5.1.1");
    old.say("RSET", "250");
    let ehlo = old.say("EHLO client.example", "250");
    assert!(ehlo.contains("SIZE 52428800"), "{ehlo}");
    assert_eq!(running.address_at("127.0.0.1"), before);
    let mut new = running.client();
    let ehlo = new.say("EHLO client.example", "250");
    assert!(ehlo.contains("SIZE 65536"), "{ehlo}");
    new.deliver(&["dave@example.org"], "new mailbox");
    let mut lmtp = Client::greeted(running.address_at("127.0.0.2"));
    lmtp.say("LHLO client.example", "250");

    // The second goes again; who is connected stays.
    let closed = running.address_at("127.0.0.2");
    running.reload(&toml(&[listener], &with_dave)).unwrap();
    eventually("the listener is closed", || std::net::TcpStream::connect(closed).is_err());
    lmtp.say("MAIL FROM:<a@client.example>", "250");
    lmtp.say("RCPT TO:<dave@example.org>", "250");
    lmtp.say("DATA", "354");
    lmtp.say("Subject: x\r\n\r\nstill there\r\n.", "250 2.0.0");
    assert_eq!(running.mail("dave").len(), 2);
}

#[test]
fn a_reload_with_a_fault_leaves_everything() {
    let listener = "address = \"127.0.0.1:0\"";
    let running = Running::start(&toml(&[listener], DOMAIN));
    let taken = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let beside = format!("address = \"{}\"", taken.local_addr().unwrap());
    let with_dave = DOMAIN.replace("\"carol\"", "\"carol\", \"dave\"");
    for (text, why) in [
        (toml(&[listener], &format!("{with_dave}mailboxs = []\n")), "did you mean \"mailboxes\"?"),
        (toml(&[listener], &with_dave).replace("data = \"data\"", "data = \"other\""), "restart"),
        (toml(&[listener], &with_dave).replace("64MiB", "128MiB"), "restart"),
        (toml(&[listener], &format!("{with_dave}[log]\nlevel = \"debug\"\n")), "restart"),
        (toml(&[listener, &beside], &with_dave), "another program has the port"),
        (toml(&["address = \"fd:smtp\""], &with_dave), "handed over no socket"),
        (String::new(), "postroad.toml"),
    ] {
        let told = running.reload(&text).unwrap_err();
        assert!(told.contains(why), "{told}");
        let mut client = running.client();
        client.say("EHLO client.example", "250");
        client.say("MAIL FROM:<a@client.example>", "250");
        client.say("RCPT TO:<dave@example.org>", "550 5.1.1");
        client.say("RCPT TO:<bob@example.org>", "250");
    }
    running.client().deliver(&["bob@example.org"], "as before");
    assert_eq!(running.mail("bob").len(), 1);
    assert!(!running.dir.path().join("other").exists());
}

#[test]
fn reloads_under_way_lose_and_double_nothing() {
    let running = Running::start(&plain(""));
    let address = running.address();
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            std::thread::spawn(move || {
                let mut client = Client::greeted(address);
                let to = if sender % 2 == 0 { "bob@example.org" } else { "carol@example.org" };
                for n in 0..50 {
                    client.deliver(&[to, "postmaster@example.org"], &format!("{sender}-{n}"));
                }
            })
        })
        .collect();
    let mut reloads = 0;
    while senders.iter().any(|sender| !sender.is_finished()) || reloads < 3 {
        // With another agent, schedule and workers each time.
        let workers = 1 + reloads % 4;
        running.reload(&plain(&format!("[delivery]\nworkers = {workers}\n"))).unwrap();
        reloads += 1;
    }
    for sender in senders {
        sender.join().unwrap();
    }
    for (mailbox, expected) in [("bob", 100), ("carol", 100), ("postmaster", 200)] {
        let mut bodies: Vec<String> = running
            .mail(mailbox)
            .iter()
            .map(|text| text.trim_end().rsplit("\r\n").next().unwrap().to_owned())
            .collect();
        assert_eq!(bodies.len(), expected);
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), expected, "{mailbox}: doubled");
    }
    assert!(running.metric("postroad_delivered_total") == 400);
}

#[test]
fn quotas_are_told_at_rcpt() {
    let text =
        plain("quota = { carol = 0 }\n[delivery]\nquota_bytes = \"2000\"\nquota_permanent_after = \"1h\"\n");
    let running = Running::start(&text);
    let mut client = running.client();
    client.say("EHLO client.example", "250");
    client.say("MAIL FROM:<a@client.example> SIZE=5000", "250");
    client.say("RCPT TO:<bob@example.org>", "552 5.2.3");
    client.say("RCPT TO:<carol@example.org>", "250");
    client.say("RSET", "250");
    client.deliver(&["bob@example.org"], &"fills the mailbox\r\n".repeat(85));
    assert_eq!(running.mail("bob").len(), 1);
    is_refused(&running, "452 4.2.2");
    client.say("MAIL FROM:<a@client.example> SIZE=900", "250");
    client.say("RCPT TO:<carol@example.org>", "250");
    // Full since the day before yesterday.
    let marker = running.dir.path().join("data/mail/example.org/bob/postroad-over-quota");
    let since: u64 = fs::read_to_string(&marker).unwrap().trim().parse().unwrap();
    fs::write(&marker, format!("{}\n", since - 2 * 86_400)).unwrap();
    let dir = running.stop();
    let running = Running::start_in(dir, &text, |_| {}).unwrap_or_else(|error| panic!("{error}"));
    is_refused(&running, "552 5.2.2");
    // What makes room makes it welcome again. Readers that know of quotas keep `maildirsize`.
    let bob = running.dir.path().join("data/mail/example.org/bob");
    for entry in fs::read_dir(bob.join("new")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::remove_file(bob.join("maildirsize")).unwrap();
    eventually("there is room", || {
        let mut client = running.client();
        client.send(
            "EHLO client.example\r\nMAIL FROM:<a@client.example> SIZE=900\r\nRCPT TO:<bob@example.org>\r\n",
        );
        client.expect("250");
        client.expect("250");
        client.reply().starts_with("250")
    });
}

/// What bob has no room for is refused like this, at RCPT or after its content.
fn is_refused(running: &Running, beginning: &str) {
    let mut client = running.client();
    client.say("EHLO client.example", "250");
    client.say("MAIL FROM:<a@client.example> SIZE=900", "250");
    client.send("RCPT TO:<bob@example.org>\r\n");
    let mut reply = client.reply();
    if reply.starts_with("250") {
        client.say("DATA", "354");
        client.send(format!("{}.\r\n", "0123456789abcdef\r\n".repeat(50)));
        reply = client.reply();
    }
    assert!(reply.starts_with(beginning), "{reply}");
    assert_eq!(support::mail_in(&running.dir.path().join("data/mail/example.org/bob")).len(), 1);
}

#[test]
fn one_mailbox_that_cannot_be_made_is_retried_alone() {
    let text = plain("[delivery]\nretry = [\"1s\"]\n");
    let running = Running::start(&text);
    let home = running.dir.path().join("data/mail/example.org");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("bob"), "a file where a directory should be").unwrap();
    let id = running.client().deliver(&["bob@example.org", "carol@example.org"], "both");
    eventually("it is deferred", || {
        running.queue().iter().any(|item| item.attempts > 0 && item.due.is_some())
    });
    let item = running.queue().remove(0);
    assert_eq!(item.id, id);
    let states: Vec<(&str, &str)> =
        item.recipients.iter().map(|one| (one.mailbox.as_str(), one.state.as_str())).collect();
    assert_eq!(states, [("bob@example.org", "deferred"), ("carol@example.org", "delivered")]);
    assert!(
        item.recipients[0].reason.as_ref().is_some_and(|reason| reason.contains("4.3.0")
            && reason.contains("/bob")
            && reason.contains("directory")),
        "{item:?}"
    );
    assert_eq!(support::mail_in(&home.join("carol")).len(), 1);
    fs::remove_file(home.join("bob")).unwrap();
    assert_eq!(running.mail("bob").len(), 1);
    assert_eq!(running.mail("carol").len(), 1);
    assert!(running.metric("postroad_deferred_total") >= 1);
}

#[test]
fn a_listener_can_be_closed_and_opened_again_at_once() {
    let first = "address = \"127.0.0.1:0\"";
    let running = Running::start(&toml(&[first], DOMAIN));
    // A port that is free, to be asked for by number.
    let free = std::net::TcpListener::bind("127.0.0.4:0").unwrap().local_addr().unwrap();
    let beside = format!("address = \"{free}\"");
    let socket = "address = \"unix:lmtp.sock\"\nkind = \"lmtp\"";
    for _ in 0..20 {
        running.reload(&toml(&[first, &beside, socket], DOMAIN)).unwrap();
        Client::greeted(free).say("NOOP", "250");
        Client::unix(&running.dir.path().join("lmtp.sock")).expect("220");
        running.reload(&toml(&[first], DOMAIN)).unwrap();
        assert!(std::net::TcpStream::connect(free).is_err());
        assert!(!running.dir.path().join("lmtp.sock").exists());
    }
}

#[test]
fn a_stop_does_not_wait_for_who_has_no_session_yet() {
    let proxied = "address = \"127.0.0.1:0\"\nproxy = \"required\"\nproxy_from = [\"127.0.0.0/8\"]";
    let implicit = "address = \"127.0.0.2:0\"\ntls = \"implicit\"";
    let starttls = "address = \"127.0.0.3:0\"";
    let rest = format!("{DOMAIN}[tls]\nself_signed = true\n[limits]\nstop_timeout = \"1h\"\n");
    let mut running = Running::start(&toml(&[proxied, implicit, starttls], &rest));
    let mut half_header = Client::connect(running.address_at("127.0.0.1"));
    half_header.send("PROXY TC");
    let mut half_hello = Client::connect(running.address_at("127.0.0.2"));
    half_hello.send(b"\x16\x03\x01");
    let mut between = Client::greeted(running.address_at("127.0.0.3"));
    between.say("EHLO client.example", "250");
    between.say("STARTTLS", "220");
    eventually("all are there", || running.metric("postroad_connections_total") == 3);
    let stopping = running.stopping();
    running.wait_for(stopping);
    half_header.closed();
    half_hello.closed();
    between.closed();
}

#[test]
fn a_reload_holds_the_mail_and_lets_it_go() {
    let running = Running::start(&plain(""));
    running.client().deliver(&["bob@example.org"], "before");
    assert_eq!(running.mail("bob").len(), 1);
    running.reload(&plain("[delivery]\npaused = true\n")).unwrap();
    let mut client = running.client();
    let id = client.deliver(&["bob@example.org"], "held");
    // What another thread would have delivered by now is still there, untried.
    for _ in 0..5 {
        client.deliver(&["carol@example.org"], "held as well");
        running.reload(&plain("[delivery]\npaused = true\nworkers = 2\n")).unwrap();
    }
    let queue = running.queue();
    assert_eq!((queue.len(), queue[0].id.as_str(), queue[0].attempts), (6, id.as_str(), 0));
    running.reload(&plain("")).unwrap();
    assert_eq!((running.mail("bob").len(), running.mail("carol").len()), (2, 5));
}
