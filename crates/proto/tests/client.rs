//! The client's session against scripted servers, cut at every octet, and against hostile ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::naive_bytecount,
    unreachable_pub,
    reason = "test"
)]

mod hostile_server;

use hostile_server::fuzz_hostile_server;
use postroad_proto::addr::{Domain, ForwardPath, ReversePath};
use postroad_proto::client::{
    Action, Chunking, Dialogue, Failure, Grouping, LocalRefusal, Login, Outcome, Permanence, Phase,
    PlainLogin, Protocol, ProtocolFault, ReplyFault, Session, Settings, Survey, Timers, TlsPolicy, Transfer,
};
use postroad_proto::time::Tick;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

fn settings() -> Settings {
    Settings {
        hello: Domain::parse("client.example").unwrap(),
        protocol: Protocol::Smtp,
        tls: TlsPolicy::IfOffered,
        login: None,
        plain_login: PlainLogin::Refuse,
        grouping: Grouping::IfOffered,
        chunking: Chunking::IfNeeded,
        timers: Timers::default(),
    }
}

fn transfer(content: &[u8], recipients: &[&str]) -> Transfer {
    let mut survey = Survey::default();
    survey.push(content);
    Transfer {
        sender: ReversePath::parse("<me@client.example>").unwrap(),
        recipients: recipients.iter().map(|text| ForwardPath::parse(&format!("<{text}>")).unwrap()).collect(),
        content: survey.finish(),
    }
}

/// What one play left behind.
#[derive(Debug, PartialEq)]
struct Played {
    outcomes: Vec<String>,
    shown: Vec<Dialogue>,
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(reply) => format!("ok {reply}"),
        Outcome::Failed(Failure::Refused(phase, reply)) => format!("{} {reply}", phase.name()),
        Outcome::Failed(failure) => format!("{failure:?}"),
    }
}

/// Plays a script: `S:` the server says a line, `C:` the client must have said it, `TLS` the client must
/// ask for the handshake, `CLOSE` the server closes, `WAIT n` n seconds pass. The last line must leave
/// the session closed. Runs of `S:` come in pieces of `step` octets.
fn play_cut(settings: &Settings, transfer: &Transfer, content: &[u8], script: &str, step: usize) -> Played {
    let mut now = Tick(Duration::ZERO);
    let mut session = Session::new(now, settings.clone(), transfer.clone());
    let mut pieces = content.chunks(step.max(3));
    let (mut said, mut shown, mut closed, mut tls) = (Vec::new(), Vec::new(), false, false);
    let mut drain = |session: &mut Session, said: &mut Vec<u8>, tls: &mut bool, now: Tick| {
        while let Some(action) = session.poll_action() {
            assert!(!closed, "{action:?} after Close");
            match action {
                Action::Send(octets) => said.extend(octets),
                Action::StartTls => *tls = true,
                Action::NeedContent => match pieces.next() {
                    Some(piece) => session.handle_content(now, piece),
                    None => session.handle_content_end(now),
                },
                Action::Show(dialogue) => shown.push(dialogue),
                Action::Close => closed = true,
                other => panic!("{other:?}"),
            }
        }
        closed
    };
    let mut over = false;
    let mut voice: Vec<u8> = Vec::new();
    let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("S:") {
            voice.extend(text.trim_start().bytes());
            voice.extend(b"\r\n");
            if lines.peek().is_some_and(|next| next.starts_with("S:")) {
                continue;
            }
            for words in voice.chunks(step) {
                session.handle_input(now, words);
                over = drain(&mut session, &mut said, &mut tls, now);
            }
            voice.clear();
        } else if let Some(text) = line.strip_prefix("C:") {
            let expected = format!("{}\r\n", text.trim_start());
            let length = expected.len().min(said.len());
            let head: Vec<u8> = said.drain(..length).collect();
            assert_eq!(String::from_utf8_lossy(&head), expected, "then {:?}", String::from_utf8_lossy(&said));
        } else if line == "TLS" {
            assert!(std::mem::take(&mut tls), "no StartTls");
            assert!(!session.wants_input());
            session.handle_secured(now);
            over = drain(&mut session, &mut said, &mut tls, now);
        } else if line == "CLOSE" {
            session.handle_close();
            over = drain(&mut session, &mut said, &mut tls, now);
        } else if let Some(seconds) = line.strip_prefix("WAIT ") {
            now = now.after(Duration::from_secs(seconds.parse().unwrap()));
            session.handle_timeout(now);
            over = drain(&mut session, &mut said, &mut tls, now);
        } else {
            panic!("no such line: {line}");
        }
    }
    assert!(said.is_empty(), "the client also said {:?}", String::from_utf8_lossy(&said));
    assert!(over, "the session is not over");
    Played { outcomes: session.into_outcomes().iter().map(brief).collect(), shown }
}

/// Plays a script at every cut; the cut must not matter.
fn play(settings: &Settings, transfer: &Transfer, content: &[u8], script: &str) -> Played {
    let whole = play_cut(settings, transfer, content, script, usize::MAX);
    // A long script is cut small; what is cut larger than the longest run is the whole again.
    for step in 1..=120 {
        let cut = play_cut(settings, transfer, content, script, step);
        assert_eq!(cut.outcomes, whole.outcomes, "cut {step}");
    }
    whole
}

const TEXT: &[u8] = b"Subject: hi\n\n.dot\nend";

#[test]
fn one_command_at_a_time_without_pipelining() {
    let script = "
        S: 220 mx.example.org
        C: EHLO client.example
        S: 250-mx.example.org
        S: 250 SIZE 1000
        C: MAIL FROM:<me@client.example> SIZE=26
        S: 250 ok
        C: RCPT TO:<bob@example.org>
        S: 250 ok
        C: DATA
        S: 354 go
        C: Subject: hi
        C:
        C: ..dot
        C: end
        C: .
        S: 250 2.0.0 queued as 7
        C: QUIT
        S: 221 bye";
    let transfer = transfer(TEXT, &["bob@example.org"]);
    let played = play(&settings(), &transfer, TEXT, script);
    assert_eq!(played.outcomes, ["ok 250 2.0.0 queued as 7"]);
    // 26 octets, the stuffed dot, and the final dot with its CRLF.
    assert!(played.shown.contains(&Dialogue::Content(30)));
}

#[test]
fn a_group_in_one_write_and_partial_refusal() {
    let script = "
        S: 220 mx.example.org
        C: EHLO client.example
        S: 250-mx.example.org
        S: 250 PIPELINING
        C: MAIL FROM:<me@client.example>
        C: RCPT TO:<a@example.org>
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 no b here
        S: 452 4.5.3 enough
        S: 354 go
        C: Subject: hi
        C:
        C: ..dot
        C: end
        C: .
        S: 250 kept
        C: QUIT
        S: 221 bye";
    let transfer = transfer(TEXT, &["a@example.org", "b@example.org", "c@example.org"]);
    let played = play(&settings(), &transfer, TEXT, script);
    assert_eq!(played.outcomes, ["ok 250 kept", "rcpt 550 5.1.1 no b here", "rcpt 452 4.5.3 enough"]);
}

#[test]
fn a_lone_dot_where_data_was_accepted_for_nobody() {
    let script = "
        S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250 PIPELINING
        C: MAIL FROM:<me@client.example>
        C: RCPT TO:<a@example.org>
        C: DATA
        S: 250 ok
        S: 550 no
        S: 354 go
        C: .
        S: 554 no valid recipients
        C: QUIT
        S: 221 bye";
    let played = play(&settings(), &transfer(TEXT, &["a@example.org"]), TEXT, script);
    assert_eq!(played.outcomes, ["rcpt 550 no"]);
}

#[test]
fn a_refused_mail_answers_for_all() {
    let refused = "
        S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250 PIPELINING
        C: MAIL FROM:<me@client.example>
        C: RCPT TO:<a@example.org>
        C: DATA
        S: 550 5.7.1 not you
        S: 503 5.5.1 no
        S: 503 5.5.1 no
        C: QUIT
        CLOSE";
    let played = play(&settings(), &transfer(TEXT, &["a@example.org"]), TEXT, refused);
    assert_eq!(played.outcomes, ["mail 550 5.7.1 not you"]);
    // Without groups nothing more is said after the refusal.
    let alone = "
        S: 220 x
        C: EHLO client.example
        S: 250 x
        C: MAIL FROM:<me@client.example>
        S: 451 later
        C: QUIT
        S: 221 bye";
    let played = play(&settings(), &transfer(TEXT, &["a@example.org"]), TEXT, alone);
    assert_eq!(played.outcomes, ["mail 451 later"]);
}

#[test]
fn helo_where_ehlo_is_unknown() {
    let script = "
        S: 220 old
        C: EHLO client.example
        S: 502 what?
        C: HELO client.example
        S: 250 hello
        C: MAIL FROM:<me@client.example>
        S: 250
        C: RCPT TO:<postmaster>
        S: 250
        C: DATA
        S: 354
        C: Subject: hi
        C:
        C: ..dot
        C: end
        C: .
        S: 250
        C: QUIT
        S: 221";
    let played = play(&settings(), &transfer(TEXT, &["postmaster"]), TEXT, script);
    assert_eq!(played.outcomes, ["ok 250"]);
}

#[test]
fn starttls_begins_anew_and_then_logs_in() {
    let script = "
        S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250-PIPELINING
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go
        TLS
        C: EHLO client.example
        S: 250-x
        S: 250-AUTH=LOGIN
        S: 250 AUTH PLAIN LOGIN
        C: AUTH PLAIN AHVzZXIAc2VjcmV0
        S: 235 2.7.0 welcome
        C: MAIL FROM:<me@client.example>
        S: 250 ok
        C: RCPT TO:<a@example.org>
        S: 421 4.3.2 closing
        CLOSE";
    let settings = Settings {
        login: Some(Login::new("user", "secret").unwrap()),
        tls: TlsPolicy::Require,
        ..settings()
    };
    let played = play(&settings, &transfer(TEXT, &["a@example.org"]), TEXT, script);
    assert_eq!(played.outcomes, ["rcpt 421 4.3.2 closing"]);
    assert!(played.shown.contains(&Dialogue::Command("AUTH PLAIN ****".into())));
    assert!(!format!("{:?}{settings:?}", played.shown).contains("c2VjcmV0"), "the secret is not shown");
}

#[test]
fn auth_login_and_long_plain() {
    let login = "
        S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: dXNlcg==
        S: 334 UGFzc3dvcmQ6
        C: c2VjcmV0
        S: 535 5.7.8 wrong
        C: QUIT
        S: 221 bye";
    let allowed = Settings {
        login: Some(Login::new("user", "secret").unwrap()),
        plain_login: PlainLogin::Allow,
        ..settings()
    };
    let to = transfer(TEXT, &["a@example.org"]);
    assert_eq!(play(&allowed, &to, TEXT, login).outcomes, ["auth 535 5.7.8 wrong"]);
    let long = "p".repeat(400);
    let coded = postroad_proto::base64::encode(format!("\0user\0{long}").as_bytes());
    let script = format!(
        "S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250 AUTH PLAIN
        C: AUTH PLAIN
        S: 334
        C: {coded}
        S: 454 4.7.0 later
        C: QUIT
        S: 221 bye"
    );
    let long = Settings { login: Some(Login::new("user", &long).unwrap()), ..allowed.clone() };
    assert_eq!(play(&long, &to, TEXT, &script).outcomes, ["auth 454 4.7.0 later"]);
    let refused = "
        S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250 AUTH PLAIN
        C: QUIT
        S: 221 bye";
    let plain = Settings { plain_login: PlainLogin::Refuse, ..allowed };
    assert_eq!(play(&plain, &to, TEXT, refused).outcomes, ["Local(LoginNeedsTls)"]);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let script = "
        S: 220 x
        C: LHLO client.example
        S: 250-x
        S: 250 PIPELINING
        C: MAIL FROM:<me@client.example>
        C: RCPT TO:<a@example.org>
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 no
        S: 250 ok
        S: 354 go
        C: Subject: hi
        C:
        C: ..dot
        C: end
        C: .
        S: 250 a has it
        S: 452 c is full
        C: QUIT
        S: 221 bye";
    let lmtp = Settings { protocol: Protocol::Lmtp, ..settings() };
    let to = transfer(TEXT, &["a@example.org", "b@example.org", "c@example.org"]);
    let played = play(&lmtp, &to, TEXT, script);
    assert_eq!(played.outcomes, ["ok 250 a has it", "rcpt 550 no", "end 452 c is full"]);
}

#[test]
fn chunks_count_their_octets_and_binary_stays_as_it_is() {
    let text = "
        S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250 CHUNKING
        C: MAIL FROM:<me@client.example>
        S: 250 ok
        C: RCPT TO:<a@example.org>
        S: 250 ok
        C: BDAT 26 LAST
        C: Subject: hi
        C:
        C: .dot
        C: end
        S: 250 done
        C: QUIT
        S: 221 bye";
    let chunked = Settings { chunking: Chunking::IfOffered, ..settings() };
    let to = transfer(TEXT, &["a@example.org"]);
    assert_eq!(play_cut(&chunked, &to, TEXT, text, usize::MAX).outcomes, ["ok 250 done"]);
    let binary = b"A: b\r\n\r\n\0x\r\n";
    let to = transfer(binary, &["a@example.org"]);
    let head = "
        S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250-BINARYMIME
        S: 250 CHUNKING
        C: MAIL FROM:<me@client.example> BODY=BINARYMIME
        S: 250 ok
        C: RCPT TO:<a@example.org>
        S: 250 ok";
    let whole = format!("{head}\nC: BDAT 12 LAST\nC: A: b\nC:\nC: \0x\nS: 250 done\nC: QUIT\nS: 221 bye");
    assert_eq!(play_cut(&settings(), &to, binary, &whole, usize::MAX).outcomes, ["ok 250 done"]);
    // Eight octets a piece: the second chunk waits for the answer to the first.
    let parts = format!("{head}\nC: BDAT 8\nC: A: b\nC:\nS: 552 5.3.4 too big\nC: QUIT\nS: 221 bye");
    assert_eq!(play_cut(&settings(), &to, binary, &parts, 8).outcomes, ["content 552 5.3.4 too big"]);
}

#[test]
fn what_the_server_does_not_offer_is_not_sent() {
    let script = |offer: &str| {
        format!("S: 220 x\nC: EHLO client.example\nS: 250-x\nS: 250 {offer}\nC: QUIT\nS: 221 bye")
    };
    let to = |content: &[u8], recipient: &str| transfer(content, &[recipient]);
    for (content, recipient, offer, refusal) in [
        (TEXT, "a@x.org", "SIZE 25", LocalRefusal::TooBig { size: 26, limit: 25 }),
        ("A: b\n\né".as_bytes(), "a@x.org", "SMTPUTF8", LocalRefusal::NeedsEightBitMime),
        ("A: é\n\n".as_bytes(), "a@x.org", "8BITMIME", LocalRefusal::NeedsSmtputf8),
        (TEXT, "é@x.org", "8BITMIME", LocalRefusal::NeedsSmtputf8),
        (b"A: b\n\n\0".as_slice(), "a@x.org", "CHUNKING", LocalRefusal::NeedsBinaryMime),
    ] {
        let played = play(&settings(), &to(content, recipient), content, &script(offer));
        assert_eq!(played.outcomes, [format!("Local({refusal:?})")]);
    }
    let tls = Settings { tls: TlsPolicy::Require, ..settings() };
    let played = play(&tls, &to(TEXT, "a@x.org"), TEXT, &script("SIZE"));
    assert_eq!(played.outcomes, ["Local(TlsNotOffered)"]);
}

#[test]
fn utf8_and_eight_bit_say_so_at_mail() {
    let script = "
        S: 220 x
        C: EHLO client.example
        S: 250-x
        S: 250-SIZE 0
        S: 250-8BITMIME
        S: 250 SMTPUTF8
        C: MAIL FROM:<me@client.example> SIZE=14 BODY=8BITMIME SMTPUTF8
        S: 250 ok
        C: RCPT TO:<用户@例子.广告>
        S: 553 no
        C: QUIT
        S: 221 bye";
    let content = "A: b\n\né\n\n".as_bytes();
    let played = play(&settings(), &transfer(content, &["用户@例子.广告"]), content, script);
    assert_eq!(played.outcomes, ["rcpt 553 no"]);
}

#[test]
fn every_phase_has_its_timer() {
    let head = "S: 220 x\nC: EHLO client.example\nS: 250 x\nC: MAIL FROM:<me@client.example>\n";
    let rcpt = format!("{head}S: 250 ok\nC: RCPT TO:<a@x.org>\n");
    let data = format!("{rcpt}S: 250 ok\nC: DATA\n");
    let end = format!("{data}S: 354 go\nC: Subject: hi\nC:\nC: ..dot\nC: end\nC: .\n");
    let to = transfer(TEXT, &["a@x.org"]);
    for (script, seconds, phase) in [
        ("", 300, "Greeting"),
        (head, 300, "Mail"),
        (&rcpt, 300, "Recipient"),
        (&data, 120, "Data"),
        (&end, 600, "End"),
    ] {
        let early = format!("{script}WAIT {}\nWAIT 1", seconds - 1);
        let played = play_cut(&settings(), &to, TEXT, &early, usize::MAX);
        assert_eq!(played.outcomes, [format!("TimedOut({phase})")]);
        let closed = play_cut(&settings(), &to, TEXT, &format!("{script}CLOSE"), usize::MAX);
        assert_eq!(closed.outcomes, [format!("Closed({phase})")]);
    }
}

fn failure_of(voice: &[u8], settings: Settings) -> Failure {
    let now = Tick(Duration::ZERO);
    let mut session = Session::new(now, settings, transfer(TEXT, &["a@x.org"]));
    session.handle_input(now, voice);
    let mut last = None;
    while let Some(action) = session.poll_action() {
        last = Some(action);
    }
    assert_eq!(last, Some(Action::Close));
    match session.into_outcomes().remove(0) {
        Outcome::Failed(failure) => failure,
        Outcome::Accepted(reply) => panic!("accepted: {reply}"),
    }
}

#[test]
fn a_reply_before_its_command_ends_the_session() {
    let unasked = Failure::Protocol(Phase::Hello, ProtocolFault::Unasked(250));
    assert_eq!(failure_of(b"220 x\r\n250 x\r\n", settings()), unasked);
    let Failure::Refused(Phase::Hello, reply) = failure_of(b"220 x\r\n421 closing\r\n", settings()) else {
        panic!("a refusal is heard at any time");
    };
    assert_eq!(reply.code(), 421);
}

#[test]
fn octets_after_the_reply_to_starttls_are_an_attack() {
    for late in ["220 go\r\n250 x\r\n", "220 go\r\n2"] {
        let now = Tick(Duration::ZERO);
        let mut session = Session::new(now, settings(), transfer(TEXT, &["a@x.org"]));
        session.handle_input(now, b"220 x\r\n");
        session.handle_input(now, b"250-x\r\n250 STARTTLS\r\n");
        session.handle_input(now, late.as_bytes());
        let outcomes = session.into_outcomes();
        let expected = Failure::Protocol(Phase::StartTls, ProtocolFault::BeforeTls);
        assert_eq!(outcomes, [Outcome::Failed(expected)]);
    }
}

#[test]
fn endless_replies_end() {
    let voice = b"220-x\r\n".repeat(1_000_000);
    let fault = |fault| Failure::Protocol(Phase::Greeting, ProtocolFault::Reply(fault));
    assert_eq!(failure_of(&voice, settings()), fault(ReplyFault::TooManyLines));
    assert_eq!(failure_of(&vec![b'2'; 100_000], settings()), fault(ReplyFault::LineTooLong));
    assert_eq!(failure_of(b"HTTP/1.1 400 Bad Request\r\n", settings()), fault(ReplyFault::Malformed));
    assert_eq!(
        failure_of(b"354 go on\r\n", settings()),
        Failure::Protocol(Phase::Greeting, ProtocolFault::UnexpectedCode(354))
    );
}

#[test]
fn a_refusal_amid_the_content_is_heard() {
    let now = Tick(Duration::ZERO);
    let mut session = Session::new(now, settings(), transfer(TEXT, &["a@x.org"]));
    for voice in ["220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
        session.handle_input(now, voice.as_bytes());
    }
    session.handle_content(now, b"Subject: x\n");
    session.handle_input(now, b"552 5.3.4 too much\r\n");
    session.handle_content_end(now);
    let sent: Vec<_> = std::iter::from_fn(|| session.poll_action()).collect();
    assert!(!sent.contains(&Action::Send(b".\r\n".to_vec())), "content that was given up has no end mark");
    let outcome = session.into_outcomes().remove(0);
    assert_eq!(brief(&outcome), "content 552 5.3.4 too much");
}

#[test]
fn too_many_recipients_is_never_permanent() {
    let permanence = |text: &str| {
        let script = format!(
            "S: 220 x\nC: EHLO client.example\nS: 250 x\nC: MAIL FROM:<me@client.example>\nS: 250 ok\nC: RCPT TO:<a@x.org>\nS: {text}\nC: QUIT\nS: 221 x"
        );
        let to = transfer(TEXT, &["a@x.org"]);
        let played = play_cut(&settings(), &to, TEXT, &script, 7);
        assert_eq!(played.outcomes, [format!("rcpt {text}")]);
        played.shown.into_iter().find_map(|shown| match shown {
            Dialogue::Reply(reply) if reply.code() / 100 == 5 => {
                Some(Failure::Refused(Phase::Recipient, reply).permanence())
            }
            _ => None,
        })
    };
    assert_eq!(permanence("552 5.5.3 too many"), Some(Permanence::Transient));
    assert_eq!(permanence("552 5.2.2 full"), Some(Permanence::Permanent));
}

#[test]
fn a_thousand_recipients_stay_inside_the_window() {
    let now = Tick(Duration::ZERO);
    let names: Vec<String> = (0..1000).map(|n| format!("user{n}@example.org")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut session = Session::new(now, settings(), transfer(TEXT, &names));
    session.handle_input(now, b"220 x\r\n");
    session.handle_input(now, b"250-x\r\n250 PIPELINING\r\n");
    let (mut commands, mut answered, mut pending) = (0, 0, VecDeque::new());
    // EHLO is answered already; MAIL and 1,000 RCPT lie before DATA.
    while answered <= 1001 {
        while let Some(action) = session.poll_action() {
            if let Action::Send(octets) = action {
                let lines = octets.split_inclusive(|&b| b == b'\n').map(<[u8]>::len);
                pending.extend(lines.filter(|_| commands > 0));
                commands += octets.iter().filter(|&&b| b == b'\n').count();
            }
        }
        assert!(pending.iter().sum::<usize>() <= 4096 + 512, "{pending:?}");
        if answered <= 1000 {
            session.handle_input(now, b"250 ok\r\n");
            pending.pop_front();
        }
        answered += 1;
    }
    assert_eq!(pending.len(), 1, "DATA is not answered");
    assert_eq!(commands, 1 + 1 + 1000 + 1);
}

proptest! {
    #[test]
    fn any_octets_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_hostile_server(&bytes);
    }

    #[test]
    fn any_replies_are_survived(
        choice in any::<u8>(),
        step in any::<u8>(),
        replies in proptest::collection::vec(
            (prop_oneof![Just(220u16), Just(221), Just(235), Just(250), Just(334), Just(354), Just(421), Just(450), Just(500), Just(502), Just(550)],
             prop_oneof![Just(" ok"), Just(""), Just("-PIPELINING"), Just("-CHUNKING"), Just("-STARTTLS"), Just(" STARTTLS"), Just("-AUTH PLAIN LOGIN"), Just("-SIZE 10")]), 0..60),
    ) {
        let mut bytes = vec![choice, step];
        for (code, text) in replies {
            bytes.extend(format!("{code}{text}\r\n").bytes());
        }
        fuzz_hostile_server(&bytes);
    }
}
