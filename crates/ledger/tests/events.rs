//! Whatever is told can be read again, and whatever is read is no danger.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test"
)]

use postroad_ledger::{
    Chunk, Event, Kept, Origin, Outcome, Reference, SessionLog, Side, decode, encode, survey,
};
use postroad_proto::reply::{Class, EnhancedCode, Reply, ReplyId};
use postroad_proto::time::{Tick, UnixTime};
use proptest::collection::vec;
use proptest::prelude::*;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    ".{0,40}".prop_map(Cow::Owned)
}

fn octets() -> impl Strategy<Value = Cow<'static, [u8]>> {
    vec(any::<u8>(), 0..40).prop_map(Cow::Owned)
}

fn address() -> impl Strategy<Value = Option<SocketAddr>> {
    prop_oneof![
        Just(None),
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Some((ip, port).into())),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| Some((ip, port).into())),
    ]
}

fn pairs() -> impl Strategy<Value = Vec<(Cow<'static, str>, Cow<'static, str>)>> {
    vec((text(), text()), 0..5)
}

fn enhanced() -> impl Strategy<Value = Option<EnhancedCode>> {
    let class = prop_oneof![Just(Class::Success), Just(Class::Transient), Just(Class::Permanent)];
    (class, 0..1100u16, 0..1100u16)
        .prop_map(|(class, subject, detail)| EnhancedCode::new(class, subject, detail))
}

fn reference() -> impl Strategy<Value = Option<Reference>> {
    proptest::option::of(any::<u64>().prop_map(Reference::from_bits))
}

fn event() -> impl Strategy<Value = Event<'static>> {
    let kept = prop_oneof![Just(Kept::Whole), Just(Kept::Cut), Just(Kept::Masked), Just(Kept::Withheld)];
    let outcome = prop_oneof![Just(Outcome::Delivered), Just(Outcome::Deferred), Just(Outcome::Failed)];
    let side = prop_oneof![Just(Side::Peer), Just(Side::Us)];
    let n = any::<u64>;
    prop_oneof![
        (address(), address(), text(), text()).prop_map(|(peer, local, listener, protocol)| Event::Opened {
            peer,
            local,
            listener,
            protocol
        }),
        (text(), text()).prop_map(|(version, cipher)| Event::Secured { version, cipher }),
        (text(), kept, n()).prop_map(|(line, kept, octets)| Event::Command { line, kept, octets }),
        (any::<u16>(), enhanced(), text(), proptest::option::of(text()), reference()).prop_map(
            |(code, enhanced, name, text, reference)| Event::Reply { code, enhanced, name, text, reference }
        ),
        (text(), text(), pairs()).prop_map(|(check, result, inputs)| Event::Finding {
            check,
            result,
            inputs
        }),
        (text(), text()).prop_map(|(check, why)| Event::NotRun { check, why }),
        (text(), text(), text()).prop_map(|(question, verdict, rule)| Event::Verdict {
            question,
            verdict,
            rule
        }),
        (n(), n(), n(), n(), any::<Option<u64>>(), n()).prop_map(
            |(octets, crlf, bare_lf, bare_cr, first_ms, ms)| Event::Content {
                octets,
                crlf,
                bare_lf,
                bare_cr,
                first_ms,
                ms
            }
        ),
        (text(), n(), octets(), octets(), text(), text()).prop_map(
            |(kind, offset, before, after, ours, other)| Event::Anomaly {
                kind,
                offset,
                before,
                after,
                ours,
                other
            }
        ),
        (text(), pairs()).prop_map(|(kind, evidence)| Event::Stall { kind, evidence }),
        (text(), text(), vec(text(), 0..4), any::<u32>(), proptest::option::of(text()), n(), n(), n())
            .prop_map(
                |(
                    queue_id,
                    sender,
                    recipients,
                    recipient_count,
                    message_id,
                    octets,
                    receive_ms,
                    commit_ms,
                )| {
                    Event::Message {
                        queue_id,
                        sender,
                        recipients,
                        recipient_count,
                        message_id,
                        octets,
                        receive_ms,
                        commit_ms,
                    }
                }
            ),
        (side, text(), n(), n()).prop_map(|(by, why, octets_in, octets_out)| Event::Closed {
            by,
            why,
            octets_in,
            octets_out
        }),
        (
            (text(), text(), text(), outcome, text(), n()),
            proptest::option::of(text()),
            proptest::option::of(text()),
            proptest::option::of(n())
        )
            .prop_map(|((queue_id, recipient, agent, outcome, reply, ms), sender, name, next)| {
                Event::Attempt { queue_id, recipient, agent, outcome, reply, ms, sender, name, next }
            }),
        n().prop_map(|events| Event::Dropped { events }),
        text().prop_map(|line| Event::Carried { line }),
    ]
}

fn log() -> SessionLog {
    let origin = Origin::Session { peer: Some("192.0.2.1:4711".parse().unwrap()), listener: "mx".into() };
    SessionLog::new(Reference::from_bits(7), UnixTime(1_795_327_384_000), Tick::default(), origin)
}

proptest! {
    #[test]
    fn what_is_told_can_be_read(events in vec((any::<u64>(), event()), 0..20)) {
        let mut octets = Vec::new();
        for (ms, event) in &events {
            encode(*ms, event, &mut octets);
        }
        prop_assert_eq!(decode(&octets).collect::<Vec<_>>(), events);
    }

    #[test]
    fn any_octets_can_be_read(octets in vec(any::<u8>(), 0..400)) {
        let _count = decode(&octets).count();
        survey(&octets);
    }

    #[test]
    fn a_damaged_chunk_can_be_read(
        events in vec(event(), 1..8),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut log = log();
        for event in &events {
            log.record(Tick::default(), event);
        }
        let chunk = log.take().unwrap();
        prop_assert_eq!(survey(chunk.octets()), events.len());
        let mut octets = chunk.octets().to_vec();
        for (at, octet) in &damage {
            let at = at.index(octets.len());
            octets[at] = *octet;
        }
        octets.truncate(end.index(octets.len()));
        survey(&octets);
    }

    #[test]
    fn any_line_can_be_told_and_shows_no_control(line in vec(any::<u8>(), 0..900)) {
        let mut log = log();
        log.command(Tick::default(), &line);
        let chunk = log.take().unwrap();
        let shown = commands(&chunk);
        prop_assert!(!shown[0].0.chars().any(char::is_control), "{:?}", shown[0].0);
        prop_assert_eq!(shown[0].2, line.len() as u64);
    }
}

/// The commands in a chunk: the line, how much was kept, the octets it had.
fn commands(chunk: &Chunk) -> Vec<(String, Kept, u64)> {
    chunk
        .events()
        .filter_map(|(_, event)| match event {
            Event::Command { line, kept, octets } => Some((line.into_owned(), kept, octets)),
            _ => None,
        })
        .collect()
}

#[test]
fn an_event_of_a_newer_server_is_passed_over() {
    let mut octets = Vec::new();
    encode(5, &Event::Dropped { events: 3 }, &mut octets);
    octets[0] = 200;
    encode(6, &Event::Dropped { events: 4 }, &mut octets);
    // A field more at the end of one that is known.
    let last = octets.len();
    encode(7, &Event::Dropped { events: 5 }, &mut octets);
    octets.push(9);
    octets[last + 1] += 1;
    encode(8, &Event::Dropped { events: 6 }, &mut octets);
    let read: Vec<_> = decode(&octets).collect();
    assert_eq!(
        read,
        [
            (5, Event::Unreadable { tag: 200 }),
            (6, Event::Dropped { events: 4 }),
            (7, Event::Dropped { events: 5 }),
            (8, Event::Dropped { events: 6 }),
        ]
    );
}

#[test]
fn an_attempt_of_an_older_server_is_read_without_what_it_did_not_know() {
    let attempt = Event::Attempt {
        queue_id: "Qone".into(),
        recipient: "bob@example.org".into(),
        agent: "maildir".into(),
        outcome: Outcome::Deferred,
        reply: "452 4.2.2 The mailbox is full".into(),
        ms: 3,
        sender: None,
        name: None,
        next: None,
    };
    let mut octets = Vec::new();
    encode(5, &attempt, &mut octets);
    // The three fields that it did not write.
    octets.truncate(octets.len() - 3);
    octets[1] -= 3;
    encode(6, &Event::Dropped { events: 4 }, &mut octets);
    assert_eq!(decode(&octets).collect::<Vec<_>>(), [(5, attempt), (6, Event::Dropped { events: 4 })]);
}

#[test]
fn too_long_texts_and_lists_are_cut() {
    let recipient = format!("{}@example.org", "ü".repeat(2000));
    let mut octets = Vec::new();
    let recipients = vec![Cow::Borrowed(recipient.as_str()); 1000];
    let message = Event::Message {
        queue_id: "Q".into(),
        sender: "a@b".into(),
        recipients,
        recipient_count: 1000,
        message_id: None,
        octets: 1,
        receive_ms: 2,
        commit_ms: 3,
    };
    encode(0, &message, &mut octets);
    let (_, Event::Message { recipients, recipient_count, commit_ms, .. }) = decode(&octets).next().unwrap()
    else {
        panic!("no message");
    };
    assert_eq!((recipients[0].len(), recipients.len(), recipient_count, commit_ms), (2048, 15, 1000, 3));
}

#[test]
fn an_answer_that_quotes_what_was_left_out_does_not_get_in() {
    let mut log = log();
    let now = Tick::default();
    let quoting = Reply::saying(ReplyId::UnknownCommand, "Unknown command C2VJCMV0");
    for (line, kept) in [("FROB", true), ("AUTH LOGIN", true), ("c2VjcmV0", false), ("RSET", true)] {
        log.command(now, line.as_bytes());
        log.reply(now, &quoting, None);
        let chunk = log.take().unwrap();
        let text = chunk.events().find_map(|(_, event)| match event {
            Event::Reply { text, .. } => Some(text.map(Cow::into_owned)),
            _ => None,
        });
        assert_eq!(text.unwrap().is_some(), kept, "{line}");
    }
}

#[test]
fn passwords_and_content_do_not_get_in() {
    let mut log = log();
    let now = Tick::default();
    for line in [
        "EHLO client.example",
        "AUTH PLAIN AGFsaWNlAHNlY3JldA==",
        " auth\tlogin YWxpY2U=",
        "YWxpY2U=",
        "c2VjcmV0",
        "AUTH c2VjcmV0c2VjcmV0c2VjcmV0",
        "AUTH",
        "MAIL FROM:<alice@client.example> AUTH=<>",
        "FOO bar",
        "DATA",
        "Dear Bob,",
        "the code of the safe is 1234",
        "Help me with 1234",
        "RSET 1234",
        "QUIT",
    ] {
        log.command(now, line.as_bytes());
    }
    log.secret(now, 12);
    let chunk = log.take().unwrap();
    let told = commands(&chunk);
    let lines: Vec<_> = told.iter().map(|(line, kept, _)| (line.as_str(), *kept)).collect();
    assert_eq!(
        lines,
        [
            ("EHLO client.example", Kept::Whole),
            ("AUTH PLAIN", Kept::Masked),
            (" auth\\x09login", Kept::Masked),
            ("", Kept::Withheld),
            ("", Kept::Withheld),
            ("AUTH", Kept::Masked),
            ("AUTH", Kept::Masked),
            ("MAIL FROM:<alice@client.example> AUTH=<>", Kept::Whole),
            ("FOO bar", Kept::Whole),
            ("DATA", Kept::Whole),
            ("", Kept::Withheld),
            ("", Kept::Withheld),
            ("", Kept::Withheld),
            ("", Kept::Withheld),
            ("QUIT", Kept::Whole),
            ("", Kept::Withheld),
        ]
    );
    assert_eq!((told[10].2, told[15].2), (9, 12));
    for secret in ["AGFs", "YWxp", "c2Vj", "Dear", "1234"] {
        let octets = secret.as_bytes();
        assert!(!chunk.octets().windows(octets.len()).any(|window| window == octets), "{secret}");
    }
}

#[test]
fn lines_are_shown_as_sent() {
    let mut log = log();
    let now = Tick::default();
    log.command(now, b"NOOP \x1b[31m\\ \xff \xc3\xa9 \xc2\x85");
    log.command(now, &[b'x'; 600]);
    let told = commands(&log.take().unwrap());
    assert_eq!(told[0].0, "NOOP \\x1b[31m\\\\ \\xff é \\xc2\\x85");
    assert_eq!((told[1].0.len(), told[1].1, told[1].2), (512, Kept::Cut, 600));
}

#[test]
fn a_quiet_session_has_nothing_to_tell_and_a_loud_one_is_bounded() {
    let mut log = log();
    assert_eq!(log.take(), None);
    let mut told = 0;
    let mut sizes = Vec::new();
    for second in 0..20_000 {
        let now = Tick(Duration::from_secs(second));
        log.command(now, b"NOOP and on and on");
        log.reply(now, &Reply::of(ReplyId::Noop), None);
        if log.is_due()
            && let Some(chunk) = log.take()
        {
            sizes.push(chunk.octets().len());
            told += survey(chunk.octets());
        }
    }
    assert!(sizes.iter().all(|size| *size < 9000), "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() < 300_000);
    log.record(
        Tick::default(),
        &Event::Closed { by: Side::Peer, why: "gone".into(), octets_in: 1, octets_out: 1 },
    );
    let end = log.take().unwrap();
    let events: Vec<_> = end.events().map(|(_, event)| event).collect();
    let dropped = events
        .iter()
        .find_map(|event| if let Event::Dropped { events } = event { Some(*events) } else { None })
        .unwrap();
    // Two were told for the end itself: what was dropped, and that it ended.
    assert_eq!(dropped + (told + survey(end.octets())) as u64 - 2, 40_000);
    assert!(matches!(events.last(), Some(Event::Closed { .. })));
}
