//! Every limit over a socket: what is said when it is met, and that it lets go again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use postroad_server::clock::Clock;
use postroad_server::server::Server;
use std::io::Read;
use support::{Client, DOMAIN, Running, connect, eventually, plain, toml};

const PROXIED: &str = "address = \"127.0.0.1:0\"\nproxy = \"required\"\nproxy_from = [\"127.0.0.0/8\"]";

#[test]
fn connections_in_all() {
    let running = Running::start(&plain("[limits]\nconnections = 2\n"));
    let first = running.client();
    let mut second = running.client();
    let mut third = Client::connect(running.address());
    let told = third.expect("421 4.7.0");
    assert!(told.contains('2'), "{told}");
    third.closed();
    // Those inside are not disturbed, and a place that was left can be taken.
    second.say("NOOP", "250");
    drop(first);
    eventually("a place is free", || Client::connect(running.address()).reply().starts_with("220"));
    second.say("NOOP", "250");
    assert!(running.metric("postroad_connections_refused_total") >= 1);
    assert!(running.metric("postroad_replies_total{reply=\"TooManyConnections\",code=\"421\"}") >= 1);
}

#[test]
fn connections_of_one_address() {
    let running =
        Running::start(&toml(&[PROXIED], &format!("{DOMAIN}[limits]\nconnections_per_address = 2\n")));
    let from = |address: &str, family: &str| {
        let mut client = Client::connect(running.address());
        client.send(format!("PROXY {family} {address} {address} 4000 25\r\n"));
        client
    };
    let mut first = from("192.0.2.1", "TCP4");
    first.expect("220");
    from("192.0.2.1", "TCP4").expect("220");
    let mut held = from("192.0.2.1", "TCP4");
    // The second is gone when it was dropped, sooner or later.
    let mut reply = held.reply();
    eventually("the place is free", || {
        if !reply.starts_with("220") {
            held = from("192.0.2.1", "TCP4");
            reply = held.reply();
        }
        reply.starts_with("220")
    });
    let mut over = from("192.0.2.1", "TCP4");
    let told = over.expect("421 4.7.0");
    assert!(told.contains('2'), "{told}");
    over.closed();
    // An IPv4 address in IPv6's clothes is the same one.
    from("::ffff:192.0.2.1", "TCP6").expect("421 4.7.0");
    from("192.0.2.2", "TCP4").expect("220");
    from("2001:db8::1", "TCP6").expect("220");
    first.say("NOOP", "250");
}

#[test]
fn the_proxy_header_names_the_peer() {
    let elsewhere = "address = \"127.0.0.2:0\"\nproxy = \"required\"\nproxy_from = [\"10.0.0.0/8\"]";
    let running = Running::start(&toml(&[PROXIED, elsewhere], DOMAIN));
    let address = running.address_at("127.0.0.1");
    let mut v1 = Client::connect(address);
    v1.send("PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n");
    v1.expect("220");
    v1.deliver(&["bob@example.org"], "version 1");
    let mut v2 = Client::connect(address);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    header.extend("2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
    header.extend([0; 16]);
    header.extend([0x10, 0, 0, 25]);
    for octet in header {
        v2.send([octet]);
    }
    v2.expect("220");
    v2.deliver(&["bob@example.org"], "version 2");
    // The proxy looks whether we are there.
    let mut local = Client::connect(address);
    local.send(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    local.expect("220");
    local.deliver(&["bob@example.org"], "local");
    let mail = running.mail("bob");
    assert!(mail[0].contains("([192.0.2.7])"), "{}", mail[0]);
    assert!(mail[1].contains("([IPv6:2001:db8::9])"), "{}", mail[1]);
    assert!(mail[2].contains("([127.0.0.1])"), "{}", mail[2]);
    // The header and the session's first octets in one segment: nothing of them is lost.
    let mut whole = Client::connect(address);
    whole.send("PROXY TCP4 192.0.2.8 198.51.100.1 1 25\r\nEHLO client.example\r\nNOOP\r\n");
    whole.expect("220");
    whole.expect("250-mx.example.org");
    whole.expect("250 2.0.0");

    for wrong in [
        "EHLO client.example\r\n",
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 99999 25\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x02xx",
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\x7f\x7f",
    ] {
        let mut client = Client::connect(address);
        client.send(wrong);
        client.closed();
    }
    let mut endless = Client::connect(address);
    endless.send("PROXY ".to_owned() + &"x".repeat(200));
    endless.closed();
    // From where no proxy is.
    let mut stranger = Client::connect(running.address_at("127.0.0.2"));
    drop(std::io::Write::write_all(&mut stranger.stream, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 25\r\n"));
    stranger.closed();
    // One that says nothing does not hold up the next.
    let _silent = connect(address);
    let mut next = Client::connect(address);
    next.send("PROXY UNKNOWN\r\n");
    next.expect("220");
}

#[test]
fn a_proxy_that_says_nothing_is_let_go() {
    let running = Running::start(&toml(&[PROXIED], DOMAIN));
    let mut silent = Client::connect(running.address());
    let mut slow = Client::connect(running.address());
    slow.send("PROXY TCP4 192.0.2.7");
    silent.closed();
    slow.closed();
}

/// What a peer is told that has spoken before the server even looked: one thread runs both sides, so
/// that the server cannot look too early.
fn spoke_first(listener: &str, first: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("postroad.toml");
    std::fs::write(&file, toml(&[listener], &format!("{DOMAIN}[tls]\nself_signed = true\n"))).unwrap();
    let config = support::load(&file).unwrap().config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reload = Box::new(move || support::load(&file));
    let server = runtime.block_on(Server::start(config, Clock::new(), reload)).unwrap();
    let address: std::net::SocketAddr = server.addresses()[0].parse().unwrap();
    let mut client = Client::connect(address);
    client.send(first);
    let reader = std::thread::spawn(move || client.reply());
    runtime.block_on(async {
        while !reader.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        server.stop().await;
    });
    reader.join().unwrap()
}

#[test]
fn talk_before_the_greeting() {
    let refuse = "address = \"127.0.0.1:0\"\npregreet = \"refuse\"";
    let told = spoke_first(refuse, b"EHLO client.example\r\n");
    assert!(told.starts_with("554 "), "{told}");
    let told = spoke_first("address = \"127.0.0.1:0\"", b"EHLO client.example\r\n");
    assert!(told.starts_with("220 "), "{told}");
    // A proxy speaks first, and so must it; its client must not.
    let proxied = format!("{PROXIED}\npregreet = \"refuse\"");
    let told = spoke_first(&proxied, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 25\r\n");
    assert!(told.starts_with("220 "), "{told}");
    let told = spoke_first(&proxied, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 25\r\nEHLO client.example\r\n");
    assert!(told.starts_with("554 "), "{told}");
}

#[test]
fn who_waits_for_the_greeting_is_not_refused() {
    let running = Running::start(&toml(&["address = \"127.0.0.1:0\"\npregreet = \"refuse\""], DOMAIN));
    running.client().deliver(&["bob@example.org"], "patient");
}

#[test]
fn errors_recipients_and_sizes() {
    let text = plain("[limits]\nerrors_per_session = 3\nrecipients = 100\nmessage_size = \"64KiB\"\n");
    let running = Running::start(&text);
    let mut client = running.client();
    client.say("FROB", "500 5.5.1");
    client.say("FROB", "500 5.5.1");
    client.send("FROB\r\n");
    client.expect("500 5.5.1");
    let told = client.expect("421 4.7.0");
    assert!(told.contains('3'), "{told}");
    client.closed();

    let mut client = running.client();
    let ehlo = client.say("EHLO client.example", "250");
    assert!(ehlo.contains("SIZE 65536"), "{ehlo}");
    let told = client.say("MAIL FROM:<a@client.example> SIZE=65537", "552 5.3.4");
    assert!(told.contains("65,537") && told.contains("65,536"), "{told}");
    client.say("MAIL FROM:<a@client.example>", "250");
    for _ in 0..100 {
        client.say("RCPT TO:<bob@example.org>", "250");
    }
    client.say("RCPT TO:<carol@example.org>", "452 4.5.3");
    client.say("DATA", "354");
    client.say("Subject: x\r\n\r\nthe first hundred\r\n.", "250");
    client.say("MAIL FROM:<a@client.example>", "250");
    client.say("RCPT TO:<bob@example.org>", "250");
    client.say("DATA", "354");
    client.send("0123456789abcdef\r\n".repeat(4000));
    let told = client.say(".", "552 5.3.4");
    assert!(told.contains("72,000") && told.contains("65,536"), "{told}");
    // In sync, and nothing of it stays.
    client.deliver(&["carol@example.org"], "small");
    assert_eq!((running.mail("bob").len(), running.mail("carol").len()), (1, 1));
    assert!(running.metric("postroad_content_in_memory_octets") == 0);
}

#[test]
fn memory_for_content() {
    let running = Running::start(&plain("[limits]\ncontent_memory = \"1MiB\"\n"));
    // Each holds a little less than what goes to disk by itself.
    let part = "0123456789abcde\r\n".repeat(3500);
    let mut senders = Vec::new();
    let mut full = None;
    for _ in 0..40 {
        let mut client = running.client();
        client.say("EHLO client.example", "250");
        client.send("MAIL FROM:<a@client.example>\r\n");
        let reply = client.reply();
        if reply.starts_with("452 4.3.1") {
            full = Some(client);
            break;
        }
        client.say("RCPT TO:<bob@example.org>", "250");
        client.say("DATA", "354");
        client.send(&part);
        let before = i64::try_from(senders.len() * part.len()).unwrap();
        senders.push(client);
        eventually("it is counted", || running.metric("postroad_content_in_memory_octets") > before);
    }
    let mut refused = full.expect("the budget was never used up");
    assert!(senders.len() >= 10, "{}", senders.len());
    // Those that have begun go on, over the budget, by way of the disk.
    for client in &mut senders {
        client.send(part.repeat(3));
        client.say("the end\r\n.", "250 2.0.0");
    }
    eventually("memory is free", || running.metric("postroad_content_in_memory_octets") == 0);
    refused.deliver(&["bob@example.org"], "now");
    let mail = running.mail("bob");
    assert_eq!(mail.len(), senders.len() + 1);
    for text in &mail[..senders.len()] {
        let (_, content) = text.split_once("for <bob@example.org>").unwrap();
        let (_, content) = content.split_once("\r\n").unwrap();
        assert_eq!(content.len(), part.len() * 4 + "the end\r\n".len());
        assert!(content.ends_with("the end\r\n") && content.starts_with(&part));
    }
}

#[test]
fn a_reserve_that_is_used_refuses_mail_and_says_so() {
    let text = plain("").replace("reserve = \"1MiB\"", "reserve = \"900TiB\"");
    let running = Running::start(&text);
    let mut client = running.client();
    client.say("EHLO client.example", "250");
    client.say("MAIL FROM:<a@client.example>", "452 4.3.1");
    let (code, why) = running.http("/health/ready");
    assert!(code == 503 && why.contains("spool.reserve"), "{code} {why}");
    assert_eq!(running.http("/health/live").0, 200);
}

#[test]
fn timers_end_a_session() {
    let text = plain("[limits]\ncommand_timeout = \"1s\"\ncontent_timeout = \"1s\"\n");
    let running = Running::start(&text);
    let told = running.client().expect("421 4.4.2");
    assert!(told.contains("1 s"), "{told}");
    let mut client = running.client();
    client.until_content(&["bob@example.org"]);
    client.send("no end\n.\n");
    let told = client.expect("421 4.4.2");
    assert!(told.contains("bare LF"), "{told}");
    client.closed();
    let mut rest = Vec::new();
    assert!(matches!(client.stream.read_to_end(&mut rest), Ok(0)));
}
