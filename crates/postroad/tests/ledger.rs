//! Each refusal of the server over a socket, and the story that its reference leads to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use postroad_ledger::Reference;
use postroad_proto::reply::ReplyId;
use postroad_reference::Language;
use postroad_reference::language::Kind;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::{Client, GOOD, Serving, run};

/// One server with a listener for each kind of limit; ports are in use only as long as the test runs.
const STAGE: &str = "hostname = \"mx.example.org\"\ndata = \"data\"\n\
    [[listener]]\naddress = \"127.0.0.1:0\"\n\
    [[listener]]\naddress = \"127.0.0.2:0\"\n[listener.limits]\ncommand_timeout = \"1s\"\ncontent_timeout = \"1s\"\n\
    [[listener]]\naddress = \"127.0.0.3:0\"\nbare_newline = \"reject\"\ntls = \"off\"\n[listener.limits]\n\
    errors_per_session = 2\nrecipients = 100\nchunks_per_message = 2\nmessage_size = \"64KiB\"\n\
    [[listener]]\naddress = \"127.0.0.4:0\"\nkind = \"lmtp\"\n\
    [[listener]]\naddress = \"127.0.0.5:0\"\nproxy = \"required\"\nproxy_from = [\"127.0.0.0/8\"]\npregreet = \"refuse\"\n\
    [[listener]]\naddress = \"127.0.0.6:0\"\n[listener.limits]\nsession_timeout = \"1s\"\n\
    [tls]\nself_signed = true\n[limits]\nconnections_per_address = 1\n[content]\nmissing_from = \"refuse\"\n\
    [spool]\nreserve = \"1MiB\"\nring = \"64MiB\"\n[delivery]\nquota_permanent_after = \"0s\"\n\
    [domain.\"example.org\"]\nmailboxes = [\"postmaster\", \"bob\", \"tiny\", \"full\", \"long\"]\n\
    quota = { tiny = 1000, full = 1000, long = 1000 }\n";

const EHLO: &str = "EHLO client.example";
const MAIL: &str = "MAIL FROM:<alice@client.example>";
const BOB: &str = "RCPT TO:<bob@example.org>";

/// How a refusal is brought about.
enum Way {
    /// At the listener of this address: each line has one reply, and the last reply is the refusal.
    Lines(&'static str, &'static [&'static str]),
    /// As it takes, on the server with all listeners.
    Play(fn(&Serving) -> String),
    /// On a server of its own with this beside [`GOOD`]; it may be stopped.
    Alone(&'static str, fn(&mut Serving, &Path) -> String),
    /// In a test of its own, of this name: it takes a minute.
    Minute,
}

/// A refusal, the command line that meets it (or its beginning; none where no command came), and how.
struct Row(ReplyId, Option<&'static str>, Way);

use Way::{Alone, Lines, Minute, Play};

/// Every reply of 400 and more. All can be brought about over TCP; one that cannot would stand here with the reason.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row(ReplyId::ShuttingDown, Some(EHLO), Alone("", |serving, _| {
        let mut client = serving.client();
        client.say(EHLO, "250");
        serving.signal(Signal::TERM);
        client.reply()
    })),
    Row(ReplyId::TooManyConnections, None, Alone("[limits]\nconnections = 1\n", |serving, _| {
        let _held = serving.client();
        Client::connect(&serving.listening[0]).reply()
    })),
    Row(ReplyId::TooManyConnectionsFromYou, None, Play(|serving| {
        let come = || {
            let mut client = Client::connect(serving.at("127.0.0.5"));
            client.send("PROXY TCP4 192.0.2.1 198.51.100.1 4000 25\r\n");
            client
        };
        let mut first = come();
        first.expect("220");
        come().reply()
    })),
    Row(ReplyId::TooManyErrors, Some("FROB"), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.3"));
        client.say("FROB", "500");
        client.say("FROB", "500");
        client.reply()
    })),
    Row(ReplyId::CommandTimeout, Some(EHLO), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.2"));
        client.say(EHLO, "250");
        client.reply()
    })),
    Row(ReplyId::ContentTimeout, Some("DATA"), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.2"));
        client.until_content(&["bob@example.org"]);
        client.send("From: a@client.example\r\n");
        client.reply()
    })),
    Row(ReplyId::ContentTimeout, Some("BDAT 100"), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.2"));
        client.say(EHLO, "250");
        client.say(MAIL, "250");
        client.say(BOB, "250");
        client.send("BDAT 100\r\nFrom: a@client.example\r\n");
        client.reply()
    })),
    Row(ReplyId::SessionTimeout, Some(EHLO), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.6"));
        client.say(EHLO, "250");
        client.reply()
    })),
    Row(ReplyId::TooSlow, Some("DATA"), Minute),
    Row(ReplyId::LocalTrouble, Some("DATA"), Alone("", |serving, dir| {
        let mut client = serving.client();
        client.until_content(&["bob@example.org"]);
        // A large message gets a file of its own, and the directory for it is not there any more.
        fs::rename(dir.join("data/spool"), dir.join("data/elsewhere")).unwrap();
        client.send("0123456789abcdef\r\n".repeat(30_000));
        client.send(".\r\n");
        client.reply()
    })),
    Row(ReplyId::MailboxFull, Some("RCPT TO:<full@example.org>"), Play(|serving| {
        Client::greeted(serving.at("127.0.0.1")).deliver_from(&["full@example.org"], &"x".repeat(400));
        at_rcpt(serving, "full")
    })),
    Row(ReplyId::StorageFull, Some(MAIL), Alone("reserve", |serving, _| {
        let mut client = serving.client();
        client.say(EHLO, "250");
        client.say(MAIL, "452")
    })),
    Row(ReplyId::MemoryFull, Some(MAIL), Alone("[limits]\ncontent_memory = \"1MiB\"\n", |serving, _| {
        // Each holds a little less than what goes to disk by itself.
        let part = "0123456789abcde\r\n".repeat(3500);
        let mut senders = Vec::new();
        for _ in 0..200 {
            let mut client = serving.client();
            client.say(EHLO, "250");
            client.send(format!("{MAIL}\r\n"));
            let reply = client.reply();
            if reply.starts_with("452") {
                return reply;
            }
            client.say(BOB, "250");
            client.say("DATA", "354");
            client.send(&part);
            senders.push(client);
        }
        panic!("the budget was never used up");
    })),
    Row(ReplyId::TooManyRecipients, Some("RCPT TO:<postmaster@example.org>"), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.3"));
        client.say(EHLO, "250");
        client.say(MAIL, "250");
        for _ in 0..100 {
            client.say(BOB, "250");
        }
        client.say("RCPT TO:<postmaster@example.org>", "452")
    })),
    Row(ReplyId::UnknownCommand, Some("FROB now"), Lines("127.0.0.1", &["FROB now"])),
    Row(ReplyId::MalformedLine, Some(r"NOOP\x0aNOOP"), Lines("127.0.0.1", &["NOOP\nNOOP"])),
    Row(ReplyId::LineTooLong, Some("NOOP xxxxxxxx"), Play(|serving| {
        Client::greeted(serving.at("127.0.0.1")).say(&format!("NOOP {}", "x".repeat(10_000)), "500")
    })),
    Row(ReplyId::BadArgument, Some("RSET now"), Lines("127.0.0.1", &["RSET now"])),
    Row(ReplyId::BadHello, Some("EHLO"), Lines("127.0.0.1", &["EHLO"])),
    Row(ReplyId::BadRecipient, Some("RCPT TO:<bob>"), Lines("127.0.0.1", &[EHLO, MAIL, "RCPT TO:<bob>"])),
    Row(ReplyId::BadSender, Some("MAIL FROM:<alice>"), Lines("127.0.0.1", &[EHLO, "MAIL FROM:<alice>"])),
    Row(ReplyId::DuplicateParameter, Some("MAIL FROM:<a@client.example> SIZE=1 SIZE=1"),
        Lines("127.0.0.1", &[EHLO, "MAIL FROM:<a@client.example> SIZE=1 SIZE=1"])),
    Row(ReplyId::NotOffered, Some("STARTTLS"), Lines("127.0.0.3", &[EHLO, "STARTTLS"])),
    Row(ReplyId::NotOffered, Some(EHLO), Lines("127.0.0.4", &[EHLO])),
    Row(ReplyId::NeedHello, Some(MAIL), Lines("127.0.0.1", &[MAIL])),
    Row(ReplyId::NeedHello, Some(MAIL), Lines("127.0.0.4", &[MAIL])),
    Row(ReplyId::NeedMail, Some(BOB), Lines("127.0.0.1", &[EHLO, BOB])),
    Row(ReplyId::NeedRecipient, Some("DATA"), Lines("127.0.0.1", &[EHLO, MAIL, "DATA"])),
    Row(ReplyId::NestedMail, Some(MAIL), Lines("127.0.0.1", &[EHLO, MAIL, MAIL])),
    Row(ReplyId::AlreadyTls, Some("STARTTLS"), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.1"));
        client.say(EHLO, "250");
        let mut client = client.secured(&serving.dir().join("data/tls/self-signed.pem"));
        client.say(EHLO, "250");
        client.say("STARTTLS", "503")
    })),
    Row(ReplyId::UseBdat, Some("DATA"),
        Lines("127.0.0.1", &[EHLO, "MAIL FROM:<a@client.example> BODY=BINARYMIME", BOB, "DATA"])),
    Row(ReplyId::InChunks, Some(BOB), Lines("127.0.0.1", &[EHLO, MAIL, BOB, "BDAT 5\r\nabc", BOB])),
    Row(ReplyId::ChunkAfterFailure, Some("BDAT 2 LAST"),
        Lines("127.0.0.1", &[EHLO, MAIL, BOB, "BDAT 4\r\na\0", "BDAT 2 LAST\r\n"])),
    Row(ReplyId::NoSuchMailbox, Some("RCPT TO:<nobody@example.org>"),
        Lines("127.0.0.1", &[EHLO, MAIL, "RCPT TO:<nobody@example.org>"])),
    Row(ReplyId::NoSuchMailbox, Some("RCPT TO:<nobody@example.org>"),
        Lines("127.0.0.4", &["LHLO client.example", MAIL, "RCPT TO:<nobody@example.org>"])),
    Row(ReplyId::RelayDenied, Some("RCPT TO:<bob@elsewhere.example>"),
        Lines("127.0.0.1", &[EHLO, MAIL, "RCPT TO:<bob@elsewhere.example>"])),
    Row(ReplyId::BareNewline, Some("DATA"),
        Lines("127.0.0.3", &[EHLO, MAIL, BOB, "DATA", "From: a@client.example\r\n\r\none\ntwo\r\n."])),
    Row(ReplyId::BadContent, Some("DATA"),
        Lines("127.0.0.1", &[EHLO, MAIL, BOB, "DATA", "Subject: nobody\r\n\r\n."])),
    Row(ReplyId::MailboxFullForLong, Some("RCPT TO:<long@example.org>"), Play(|serving| {
        Client::greeted(serving.at("127.0.0.1")).deliver_from(&["long@example.org"], &"x".repeat(400));
        // The first refusal begins the time, of which there is none.
        let mut reply = String::new();
        support::eventually("it is final", || {
            reply = at_rcpt(serving, "long");
            reply.starts_with("552")
        });
        reply
    })),
    Row(ReplyId::TooBigForMailbox, Some("DATA"), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.4"));
        client.say("LHLO client.example", "250");
        client.say(MAIL, "250");
        client.say("RCPT TO:<tiny@example.org>", "250");
        client.say(BOB, "250");
        client.say("DATA", "354");
        client.send(format!("From: a@client.example\r\n\r\n{}\r\n.\r\n", "x".repeat(950)));
        let reply = client.reply();
        client.expect("250 2.0.0");
        reply
    })),
    Row(ReplyId::MessageTooBig, Some("MAIL FROM:<a@client.example> SIZE=65537"),
        Lines("127.0.0.3", &[EHLO, "MAIL FROM:<a@client.example> SIZE=65537"])),
    Row(ReplyId::NeedsSmtputf8, Some("MAIL FROM:<älice@client.example>"),
        Lines("127.0.0.1", &[EHLO, "MAIL FROM:<älice@client.example>"])),
    Row(ReplyId::NotSmtp, Some("GET / HTTP/1.1"), Lines("127.0.0.1", &["GET / HTTP/1.1"])),
    Row(ReplyId::NotSmtp, None, Lines("127.0.0.1", &["\x16\x03\x01\x02\0\x01\0\x01"])),
    Row(ReplyId::Pregreet, None, Play(|serving| {
        let mut client = Client::connect(serving.at("127.0.0.5"));
        client.send("PROXY TCP4 192.0.2.9 198.51.100.1 4000 25\r\nEHLO client.example\r\n");
        client.reply()
    })),
    Row(ReplyId::ContentAhead, Some("DATA"), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.1"));
        client.say(EHLO, "250");
        client.say(MAIL, "250");
        client.say("RCPT TO:<nobody@example.org>", "550");
        client.send("DATA\r\nSubject: sent without waiting\r\n\r\nRSET\r\n.\r\n");
        client.expect("503");
        client.reply()
    })),
    Row(ReplyId::TooManyChunks, Some("BDAT 2"),
        Lines("127.0.0.3", &[EHLO, MAIL, BOB, "BDAT 3\r\na", "BDAT 3\r\nb", "BDAT 2\r\n"])),
    Row(ReplyId::NulInContent, Some("DATA"),
        Lines("127.0.0.1", &[EHLO, MAIL, BOB, "DATA", "From: a@client.example\r\n\r\n\0\r\n."])),
    Row(ReplyId::Loop, Some("DATA"), Play(|serving| {
        let mut client = Client::greeted(serving.at("127.0.0.1"));
        client.until_content(&["bob@example.org"]);
        let round = "Received: from a.example by b.example; Sun, 22 Nov 2026 00:00:00 +0000\r\n".repeat(101);
        client.say(&format!("{round}From: a@client.example\r\n\r\n."), "554")
    })),
    Row(ReplyId::UnknownParameter, Some("MAIL FROM:<a@client.example> FROB=1"),
        Lines("127.0.0.1", &[EHLO, "MAIL FROM:<a@client.example> FROB=1"])),
];

/// What RCPT for this mailbox is told where 600 octets are declared; none while what it holds is on its way there.
fn at_rcpt(serving: &Serving, mailbox: &str) -> String {
    let mut reply = String::new();
    support::eventually("it is refused", || {
        let mut client = Client::greeted(serving.at("127.0.0.1"));
        client.say(EHLO, "250");
        client.say("MAIL FROM:<alice@client.example> SIZE=600", "250");
        reply = client.say(&format!("RCPT TO:<{mailbox}@example.org>"), "");
        !reply.starts_with("250")
    });
    reply
}

#[test]
fn no_refusal_is_without_a_row() {
    for &id in ReplyId::ALL.iter().filter(|id| id.code() >= 400) {
        assert!(ROWS.iter().any(|row| row.0 == id), "{} is not provoked here", id.name());
    }
}

#[test]
fn each_refusal_ends_in_a_reference_that_tells_its_story() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), STAGE);
    for Row(id, met, way) in ROWS {
        let reply = match way {
            Lines(at, lines) => {
                let mut client = Client::greeted(serving.at(at));
                lines.iter().map(|line| client.say(line, "")).last().unwrap()
            }
            Play(play) => play(&serving),
            Alone(..) | Minute => continue,
        };
        check(dir.path(), *id, *met, &reply);
    }
}

#[test]
fn refusals_of_a_server_in_need_tell_their_story() {
    for Row(id, met, way) in ROWS {
        let Alone(more, play) = way else { continue };
        let dir = tempfile::tempdir().unwrap();
        let text = match *more {
            "reserve" => GOOD.replace("reserve = \"1MiB\"", "reserve = \"900TiB\""),
            more => format!("{GOOD}{more}"),
        };
        let mut serving = Serving::with_config(dir.path(), &text);
        let reply = play(&mut serving, dir.path());
        check(dir.path(), *id, *met, &reply);
    }
}

#[test]
fn content_that_only_trickles_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::with_config(dir.path(), GOOD);
    let mut client = serving.client();
    client.until_content(&["bob@example.org"]);
    // The rate is that of a minute, and silence of half of it is another matter.
    for _ in 0..4 {
        client.send("x");
        std::thread::sleep(Duration::from_secs(12));
    }
    let reply = client.reply();
    check(dir.path(), ReplyId::TooSlow, Some("DATA"), &reply);
    let record = explain(dir.path(), &reply, &["--json"]);
    let record: Value = serde_json::from_str(&record).unwrap();
    let stall = record["events"].as_array().unwrap().iter().find(|event| event["event"] == "stall").unwrap();
    assert_eq!((&stall["kind"], &stall["evidence"]["octets"]), (&"slow-link".into(), &"4".into()), "{stall}");
}

/// The reference at the end of a reply.
#[track_caller]
fn reference(reply: &str) -> String {
    let (_, end) = reply.rsplit_once(" (ref ").unwrap_or_else(|| panic!("no reference: {reply}"));
    let shown = end.strip_suffix(')').unwrap();
    assert_eq!(shown.parse::<Reference>().unwrap().to_string(), shown, "{reply}");
    shown.to_owned()
}

/// What `postroad explain` says to the reference of a reply.
#[track_caller]
fn explain(dir: &Path, reply: &str, form: &[&str]) -> String {
    let reference = reference(reply);
    let line = [&["explain", &reference, "--config", "postroad.toml", "--lang", "en"], form].concat();
    let told = run(dir, &line);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{reply}");
    told.out
}

/// A text as a terminal shows it: without the marks of wire text, and with its lines put together.
fn shown(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a reply is this one, and its reference leads to what it means, why, and what to do.
#[track_caller]
fn check(dir: &Path, id: ReplyId, met: Option<&str>, reply: &str) {
    let name = id.name();
    let codes = id.enhanced().map_or(id.code().to_string(), |enhanced| format!("{} {enhanced}", id.code()));
    let text = reply.strip_prefix(&format!("{codes} ")).unwrap_or_else(|| panic!("{name}: {reply}"));
    let reference = reference(reply);
    let text = text.strip_suffix(&format!(" (ref {reference})")).unwrap();
    let topic = Language::english().topic(Kind::Reply, name).unwrap();

    let record: Value = serde_json::from_str(&explain(dir, reply, &["--json"])).unwrap();
    assert_eq!(record["found"], true);
    assert_eq!(record["reference"], *reference, "{name}");
    assert_eq!(record["reply"]["name"], name, "{record}");
    assert_eq!(record["reply"]["code"], id.code());
    assert_eq!(record["reply"]["enhanced"].as_str(), id.enhanced().map(|code| code.to_string()).as_deref());
    assert_eq!(record["summary"], *topic.meaning, "{name}");
    let section = |key: &str| {
        let sections = record["sections"].as_array().unwrap();
        let found = sections.iter().find(|section| section["key"] == key);
        found.unwrap_or_else(|| panic!("{name} has no {key}"))["content"][0].clone()
    };
    assert_eq!(section("why")["text"], *topic.detail, "{name}");
    assert_eq!(section("fix")["steps"], serde_json::json!(topic.fix), "{name}");
    assert_eq!(section("operator")["steps"], serde_json::json!(topic.operator), "{name}");
    assert_eq!(section("harm")["text"], *topic.harm, "{name}");
    let events = record["events"].as_array().unwrap();
    let at = events.iter().position(|event| event["reference"] == *reference).unwrap();
    assert_eq!(events[at]["text"], text, "{name}");
    let command = events[..at].iter().rfind(|event| event["event"] == "command");
    let command = command.map(|command| command["line"].as_str().unwrap());
    match (command, met) {
        (Some(command), Some(met)) => assert!(command.starts_with(met), "{name}: {command}"),
        (command, met) => assert_eq!(command, met, "{name}"),
    }

    let page = explain(dir, reply, &[]);
    assert!(page.starts_with(&format!("{reference}: {} ", id.code())), "{name}: {page}");
    let page = shown(&page);
    let steps = topic.fix.iter().chain(&topic.operator);
    for part in [&topic.meaning, &topic.detail, &topic.harm].into_iter().chain(steps) {
        assert!(page.contains(&shown(part)), "{name} does not say {part:?}: {page}");
    }
    if id == ReplyId::LocalTrouble {
        assert!(
            page.contains("this server's store: it failed (the disk said: No such file or directory"),
            "{page}"
        );
    }
    assert!(page.contains(&shown(&format!("S: {reply}"))), "{name}: {page}");
    assert!(met.is_none_or(|met| page.contains(&shown(&format!("C: {met}")))), "{name}: {page}");
}
