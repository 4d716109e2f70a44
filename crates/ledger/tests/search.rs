//! Every record can be found again by all that it can be asked for, also while the writer goes on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test"
)]

use postroad_ledger::{
    Event, Happening, Ledger, Origin, Outcome, Page, Query, Reader, Reference, References, SessionLog,
    Settings, Side, State,
};
use postroad_proto::reply::{Reply, ReplyId};
use postroad_proto::time::{Tick, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const START: u64 = 1_795_327_384_000;

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    ledger: Ledger,
    references: References,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::start(&Settings::new(&path)).unwrap();
        Self { _folder: folder, path, ledger, references: References::default() }
    }

    fn session(&self, peer: &str, second: u64) -> SessionLog {
        let started = UnixTime(START + second * 1000);
        let origin = Origin::Session { peer: Some(peer.parse().unwrap()), listener: "mx".into() };
        SessionLog::new(self.references.next(started), started, Tick::default(), origin)
    }

    fn submit(&self, log: &mut SessionLog) {
        self.ledger.submit(log.take().unwrap());
    }

    fn flush(&self) -> Reader {
        assert!(self.ledger.flush(Duration::from_mins(1)), "{:?}", self.ledger.health());
        Reader::open(&self.path).unwrap()
    }

    /// A session that delivers one message to `to`, after `nobody@` at the same domain was refused.
    fn usual(&self, peer: &str, second: u64, from: &str, to: &str, id: &str) -> (Reference, Reference) {
        let mut log = self.session(peer, second);
        let now = Tick(Duration::from_millis(10));
        log.command(now, b"EHLO client.example");
        log.command(now, format!("MAIL FROM:<{from}> SIZE=100").as_bytes());
        log.reply(now, &Reply::of(ReplyId::SenderOk), None);
        let (_, domain) = to.rsplit_once('@').unwrap();
        log.command(now, format!("rcpt to:<nobody@{domain}>").as_bytes());
        let refusal = self.references.next(UnixTime(START + second * 1000));
        log.reply(now, &Reply::of(ReplyId::NoSuchMailbox), Some(refusal));
        self.submit(&mut log);
        let now = Tick(Duration::from_millis(20));
        log.command(now, format!("RCPT TO:<{to}>").as_bytes());
        log.reply(now, &Reply::of(ReplyId::RecipientOk), None);
        log.record(now, &message(id, from, &[to]));
        self.submit(&mut log);
        log.record(now, &Event::Closed { by: Side::Peer, why: "quit".into(), octets_in: 9, octets_out: 9 });
        self.submit(&mut log);
        (log.reference(), refusal)
    }
}

fn message(id: &str, from: &str, to: &[&str]) -> Event<'static> {
    Event::Message {
        queue_id: format!("Q{id}").into(),
        sender: from.to_owned().into(),
        recipients: to.iter().map(|one| (*one).to_owned().into()).collect(),
        recipient_count: u32::try_from(to.len()).unwrap(),
        message_id: Some(format!("<{id}@Client.example>").into()),
        octets: 100,
        receive_ms: 1,
        commit_ms: 2,
    }
}

fn query(set: impl FnOnce(&mut Query)) -> Query {
    let mut query = Query::default();
    set(&mut query);
    query
}

/// The lines as a person might see them.
fn lines(page: &Page) -> Vec<String> {
    page.lines
        .iter()
        .map(|line| {
            let what = match &line.what {
                Happening::Refused { code, enhanced, text, .. } => {
                    let enhanced = enhanced.map(|code| format!(" {code}")).unwrap_or_default();
                    format!("{code}{enhanced} {text}")
                }
                Happening::Accepted { queue_id, .. } => format!("accepted {queue_id}"),
                Happening::Attempted { queue_id, outcome, .. } => format!("{outcome:?} {queue_id}"),
                Happening::Closed { why, .. } => why.clone(),
                other => format!("{other:?}"),
            };
            let ms = line.at.0 - START;
            format!("{ms} {}>{}: {what}", line.sender.as_deref().unwrap_or("-"), line.recipients.join(","))
        })
        .collect()
}

#[test]
fn each_key_finds_what_it_names() {
    let world = World::new();
    world.usual("192.0.2.7:1", 1, "alice@client.example", "bob@example.org", "one");
    world.usual("[2001:db8::9]:1", 2, "", "Carol@Example.NET", "two");
    world.usual("[::ffff:198.51.100.3]:1", 3, "alice@other.example", "bob@example.com", "three");
    let reader = world.flush();
    let find = |set: &dyn Fn(&mut Query)| lines(&reader.search(&query(set)).unwrap());

    let first = "1020 alice@client.example>bob@example.org: accepted Qone";
    let first_refused = "1010 alice@client.example>nobody@example.org: 550 5.1.1 No such mailbox here";
    let second = "2020 >Carol@Example.NET: accepted Qtwo";
    let second_refused = "2010 >nobody@Example.NET: 550 5.1.1 No such mailbox here";
    let third = "3020 alice@other.example>bob@example.com: accepted Qthree";
    assert_eq!(find(&|q| q.to = Some("BOB@example.ORG".parse().unwrap())), [first]);
    assert_eq!(find(&|q| q.to = Some("nobody@example.org".parse().unwrap())), [first_refused]);
    assert_eq!(find(&|q| q.to = Some("@example.net".parse().unwrap())), [second, second_refused]);
    assert_eq!(find(&|q| q.from = Some("alice@client.example".parse().unwrap())), [first, first_refused]);
    assert_eq!(find(&|q| q.from = Some("@client.example".parse().unwrap())), [first, first_refused]);
    assert_eq!(find(&|q| q.from = Some("<>".parse().unwrap())), [second, second_refused]);
    assert_eq!(find(&|q| q.message_id = Some("two@Client.example".into())), [second]);
    assert_eq!(find(&|q| q.message_id = Some("<two@Client.example>".into())), [second]);
    assert_eq!(find(&|q| q.queue_id = Some("Qthree".into())), [third]);
    assert_eq!(find(&|q| q.ip = Some("192.0.2.7".parse().unwrap())).len(), 3);
    assert_eq!(find(&|q| q.ip = Some("192.0.2.0/24".parse().unwrap())).len(), 3);
    assert_eq!(find(&|q| q.ip = Some("2001:db8::/32".parse().unwrap())).len(), 3);
    assert_eq!(find(&|q| q.ip = Some("198.51.100.3".parse().unwrap())).len(), 3);
    assert_eq!(find(&|q| q.ip = Some("192.0.2.8".parse().unwrap())).len(), 0);
    assert_eq!(find(&|q| q.code = Some("550".parse().unwrap())).len(), 3);
    assert_eq!(find(&|q| q.code = Some("5.1.1".parse().unwrap())).len(), 3);
    assert_eq!(find(&|q| q.code = Some("5.1.2".parse().unwrap())).len(), 0);
    assert_eq!(find(&|q| q.since = Some(UnixTime(START + 3015))), ["3020 ->: quit", third]);
    assert_eq!(find(&|q| q.until = Some(UnixTime(START + 1015))), [first_refused]);
    assert_eq!(
        find(&|q| {
            q.from = Some("@other.example".parse().unwrap());
            q.to = Some("bob@example.org".parse().unwrap());
        }),
        Vec::<String>::new()
    );
    assert_eq!(find(&|q| q.limit = 2), ["3020 ->: quit", third]);
}

#[test]
fn a_reference_tells_the_whole_story() {
    let world = World::new();
    let (own, refusal) = world.usual("192.0.2.7:1", 1, "alice@client.example", "bob@example.org", "one");
    // The rest of the day, and a clock that was set back before all that.
    for second in 1..300 {
        world.usual("192.0.2.8:1", second * 200, "eve@client.example", "bob@example.org", "other");
        if second % 50 == 0 {
            world.flush();
        }
    }
    let reader = world.flush();
    let record = reader.find(refusal).unwrap().unwrap();
    assert_eq!((record.reference, record.started, record.has_gaps), (own, UnixTime(START + 1000), false));
    assert_eq!(
        record.origin,
        Origin::Session { peer: Some("192.0.2.7:1".parse().unwrap()), listener: "mx".into() }
    );
    let kinds: Vec<_> = record
        .events
        .iter()
        .map(|(_, event)| match event {
            Event::Command { line, .. } => line.to_string(),
            Event::Reply { code, text, .. } => format!("{code} {}", text.as_deref().unwrap()),
            Event::Message { queue_id, .. } => queue_id.to_string(),
            Event::Closed { why, .. } => why.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "EHLO client.example",
            "MAIL FROM:<alice@client.example> SIZE=100",
            "250 Sender ok",
            "rcpt to:<nobody@example.org>",
            "550 No such mailbox here",
            "RCPT TO:<bob@example.org>",
            "250 Recipient ok",
            "Qone",
            "quit",
        ]
    );
    assert_eq!(record.asked, Some(4));
    let by_itself = reader.find(own).unwrap().unwrap();
    assert_eq!((by_itself.asked, &by_itself.events), (None, &record.events));
    assert_eq!(reader.find(Reference::from_bits(12345)).unwrap(), None);
}

#[test]
fn a_session_that_began_long_before_its_refusal_is_found() {
    let world = World::new();
    let mut log = world.session("192.0.2.7:1", 0);
    log.command(Tick::default(), b"EHLO client.example");
    world.submit(&mut log);
    world.flush();
    world.usual("192.0.2.8:1", 40_000, "eve@client.example", "bob@example.org", "other");
    world.flush();
    let hours = 12 * 3600;
    let refusal = world.references.next(UnixTime(START + hours * 1000));
    log.reply(Tick(Duration::from_secs(hours)), &Reply::of(ReplyId::CommandTimeout), Some(refusal));
    world.submit(&mut log);
    let record = world.flush().find(refusal).unwrap().unwrap();
    assert_eq!((record.events.len(), record.asked), (2, Some(1)));
}

#[test]
fn a_record_longer_than_can_be_told_keeps_its_beginning_and_what_was_asked_for() {
    let world = World::new();
    let mut log = world.session("192.0.2.7:1", 0);
    log.command(Tick::default(), b"EHLO first.example");
    let filler = "x".repeat(2000);
    let mut refusal = None;
    for number in 0..9000 {
        let now = Tick(Duration::from_millis(number));
        if number == 6000 {
            refusal = Some(world.references.next(UnixTime(START)));
            log.reply(now, &Reply::of(ReplyId::NeedMail), refusal);
        }
        log.record(now, &Event::NotRun { check: "spf".into(), why: filler.as_str().into() });
        if number % 50 == 0 {
            log.record(now, &message("many", "a@b.example", &["c@d.example"]));
        }
        if log.is_due() {
            world.submit(&mut log);
        }
        if number % 1000 == 0 {
            world.flush();
        }
    }
    let record = world.flush().find(refusal.unwrap()).unwrap().unwrap();
    assert!(record.has_gaps);
    assert!(matches!(&record.events[0].1, Event::Command { line, .. } if line == "EHLO first.example"));
    let (ms, _) = &record.events[record.asked.unwrap()];
    assert_eq!(*ms, 6000);
    assert!(record.events.len() < 5000, "{}", record.events.len());
}

#[test]
fn a_later_refusal_is_found_by_the_sender_and_recipients_named_before() {
    let world = World::new();
    let mut log = world.session("192.0.2.7:1", 1);
    let now = Tick::default();
    let say = |log: &mut SessionLog, line: &str, id: ReplyId| {
        log.command(now, line.as_bytes());
        log.reply(now, &Reply::of(id), None);
        if id.code() >= 400 {
            world.submit(log);
        }
    };
    say(&mut log, "MAIL FROM:<alice@client.example>", ReplyId::SenderOk);
    say(&mut log, "RCPT TO:<@relay.example:bob@example.org>", ReplyId::RecipientOk);
    say(&mut log, "RCPT TO:<nobody@example.org>", ReplyId::NoSuchMailbox);
    say(&mut log, "RCPT TO:<\"a > b\"@example.org>", ReplyId::RelayDenied);
    say(&mut log, "DATA", ReplyId::StorageFull);
    say(&mut log, "RSET", ReplyId::Reset);
    say(&mut log, "DATA", ReplyId::NeedMail);
    let reader = world.flush();
    assert_eq!(
        lines(&reader.search(&query(|q| q.from = Some("@client.example".parse().unwrap()))).unwrap()),
        [
            "1000 alice@client.example>bob@example.org: 452 4.3.1 Not enough disk space here; try again later",
            "1000 alice@client.example>\"a > b\"@example.org: 550 5.7.1 Relay denied: that domain is not served here",
            "1000 alice@client.example>nobody@example.org: 550 5.1.1 No such mailbox here",
        ]
    );
    let bob = query(|q| q.to = Some("bob@example.org".parse().unwrap()));
    assert_eq!(reader.search(&bob).unwrap().lines.len(), 1);
    // What was carried along is not told twice.
    let record = reader.find(log.reference()).unwrap().unwrap();
    assert_eq!(record.events.len(), 14);
}

#[test]
fn deliveries_are_found_by_queue_id_and_recipient() {
    let world = World::new();
    let started = UnixTime(START);
    let mut log = SessionLog::new(world.references.next(started), started, Tick::default(), Origin::Delivery);
    let attempt = |recipient: &'static str, outcome| Event::Attempt {
        queue_id: "Qone".into(),
        recipient: recipient.into(),
        agent: "maildir".into(),
        outcome,
        reply: "452 4.2.2 The mailbox is full".into(),
        ms: 3,
        sender: Some("alice@client.example".into()),
        name: Some("MailboxFull".into()),
        next: Some(START + 60_000),
    };
    log.record(Tick::default(), &attempt("bob@example.org", Outcome::Deferred));
    log.record(Tick::default(), &attempt("carol@example.org", Outcome::Delivered));
    world.submit(&mut log);
    let reader = world.flush();
    let carol = query(|q| q.to = Some("carol@example.org".parse().unwrap()));
    assert_eq!(
        lines(&reader.search(&carol).unwrap()),
        ["0 alice@client.example>carol@example.org: Delivered Qone"]
    );
    let both = query(|q| q.queue_id = Some("Qone".into()));
    assert_eq!(reader.search(&both).unwrap().lines.len(), 2);
    assert_eq!(reader.find(log.reference()).unwrap().unwrap().origin, Origin::Delivery);
}

#[test]
fn the_attempts_of_a_message_are_found_by_its_sender_and_message_id() {
    let world = World::new();
    world.usual("192.0.2.7:1", 0, "alice@client.example", "bob@example.org", "one");
    world.usual("192.0.2.7:1", 1, "else@client.example", "bob@example.org", "two");
    for (id, sender) in [("Qone", "alice@client.example"), ("Qtwo", "else@client.example")] {
        let started = UnixTime(START + 3000);
        let mut log =
            SessionLog::new(world.references.next(started), started, Tick::default(), Origin::Delivery);
        let attempt = Event::Attempt {
            queue_id: id.into(),
            recipient: "bob@example.org".into(),
            agent: "maildir".into(),
            outcome: Outcome::Failed,
            reply: "552 5.2.2 The mailbox is full".into(),
            ms: 3,
            sender: Some(sender.into()),
            name: Some("MailboxFullForLong".into()),
            next: None,
        };
        log.record(Tick::default(), &attempt);
        world.submit(&mut log);
    }
    let reader = world.flush();
    let failed = "3000 alice@client.example>bob@example.org: Failed Qone";
    let accepted = "20 alice@client.example>bob@example.org: accepted Qone";
    let by_id = query(|q| q.message_id = Some("<one@Client.example>".into()));
    assert_eq!(lines(&reader.search(&by_id).unwrap()), [failed, accepted]);
    assert_eq!(
        lines(&reader.follow(&by_id, postroad_ledger::Position::default()).unwrap()),
        [accepted, failed]
    );
    assert!(reader.follow(&by_id, reader.position().unwrap()).unwrap().lines.is_empty());
    let mut late = by_id.clone();
    late.since = Some(UnixTime(START + 2000));
    assert_eq!(lines(&reader.search(&late).unwrap()), [failed]);
    let mut newest = by_id;
    newest.limit = 1;
    assert_eq!(lines(&reader.search(&newest).unwrap()), [failed]);
    let by_sender = query(|q| {
        q.from = Some("alice@client.example".parse().unwrap());
        q.ends = false;
        q.limit = 2;
    });
    assert_eq!(lines(&reader.search(&by_sender).unwrap()), [failed, accepted]);
}

#[test]
fn ends_of_sessions_take_no_place_of_a_limit_that_leaves_them_out() {
    let world = World::new();
    for second in 0..3 {
        world.usual("192.0.2.7:1", second, "alice@client.example", "bob@example.org", "one");
    }
    let reader = world.flush();
    let limited = |limit, ends| {
        let lines = lines(&reader.search(&query(|q| (q.limit, q.ends) = (limit, ends))).unwrap());
        lines.iter().filter(|line| line.ends_with("quit")).count() * 100 + lines.len()
    };
    assert_eq!((limited(3, false), limited(100, false)), (3, 6));
    assert_eq!((limited(3, true), limited(100, true)), (103, 309));
}

#[test]
fn following_shows_each_line_once() {
    let world = World::new();
    world.usual("192.0.2.7:1", 0, "alice@client.example", "bob@example.org", "before");
    let mut position = world.flush().position().unwrap();
    let reader = Reader::open(&world.path).unwrap();
    let all = query(|q| q.to = Some("bob@example.org".parse().unwrap()));
    let mut seen = Vec::new();
    for number in 1..20 {
        let id = number.to_string();
        world.usual("192.0.2.7:1", number, "alice@client.example", "bob@example.org", &id);
        if number % 3 == 0 {
            world.flush();
            let page = reader.follow(&all, position).unwrap();
            position = page.position;
            seen.extend(lines(&page));
            assert_eq!(reader.follow(&all, position).unwrap().lines, []);
        }
    }
    world.flush();
    // With a limit, too, nothing is left out: the rest comes with the next call.
    let few = query(|q| {
        q.to = all.to.clone();
        q.limit = 1;
    });
    seen.extend(lines(&reader.follow(&few, position).unwrap()));
    let wanted: Vec<_> = (1..20)
        .map(|n| format!("{} alice@client.example>bob@example.org: accepted Q{n}", n * 1000 + 20))
        .collect();
    assert_eq!(seen, wanted);
}

#[test]
fn searches_go_on_while_records_are_written() {
    let world = World::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20_000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                world.usual(
                    "192.0.2.7:1",
                    number,
                    "alice@client.example",
                    "bob@example.org",
                    &number.to_string(),
                );
            }
        });
        for number in 0..20 {
            let id = format!("X{number}");
            let (own, refusal) =
                world.usual("192.0.2.99:1", number, "eve@client.example", "dan@example.org", &id);
            let reader = world.flush();
            let record = reader.find(refusal).unwrap().unwrap();
            assert_eq!((record.reference, record.events.len()), (own, 9));
            let by_queue = query(|q| q.queue_id = Some(format!("QX{number}")));
            assert_eq!(reader.search(&by_queue).unwrap().lines.len(), 1);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(world.ledger.health().state, State::Working);
}

#[test]
fn what_is_left_is_written_at_the_end() {
    let world = World::new();
    let (own, _) = world.usual("192.0.2.7:1", 0, "alice@client.example", "bob@example.org", "last");
    let World { _folder: folder, path, ledger, .. } = world;
    drop(ledger);
    assert!(Reader::open(&path).unwrap().find(own).unwrap().is_some());
    drop(folder);
}

#[test]
fn what_is_no_ledger_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Reader::open(path).unwrap_err().to_string();
    let path = folder.path().join("ledger.db");
    assert_eq!(open(&path), "there is no ledger; the server makes it when it starts");
    std::fs::write(&path, "not a database, but long enough to look like one").unwrap();
    assert!(open(&path).starts_with("the ledger is damaged ("));
}
