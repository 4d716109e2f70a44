//! A server whose every word is the caller's: fuzz targets and tests drive a client session with it.

use postroad_proto::addr::{Domain, ForwardPath, ReversePath};
use postroad_proto::client::{
    Action, Chunking, Grouping, Login, Outcome, PlainLogin, Protocol, Session, Settings, Survey, Timers,
    TlsPolicy, Transfer,
};
use postroad_proto::time::Tick;
use std::time::Duration;

/// Plays `bytes` as the server's voice and panics where the session breaks a promise.
///
/// The first octet chooses the settings, the second how many octets come at once; the rest is said,
/// and then the connection ends. Returns how many octets the client sent.
pub fn fuzz_hostile_server(bytes: &[u8]) -> usize {
    let [choice, step, voice @ ..] = bytes else { return 0 };
    let pick = |bit: u8| choice >> bit & 1 == 1;
    let settings = Settings {
        hello: Domain::parse("client.example").unwrap(),
        protocol: if pick(0) { Protocol::Lmtp } else { Protocol::Smtp },
        tls: if pick(1) { TlsPolicy::IfOffered } else { TlsPolicy::Off },
        login: pick(2).then(|| Login::new("user", "secret").unwrap()),
        plain_login: PlainLogin::Allow,
        grouping: if pick(3) { Grouping::Never } else { Grouping::IfOffered },
        chunking: if pick(4) { Chunking::IfOffered } else { Chunking::IfNeeded },
        timers: Timers::default(),
    };
    let content = b"Subject: x\n\n.hello\n".repeat(20);
    let mut survey = Survey::default();
    survey.push(&content);
    let recipients = ["<a@x.example>", "<b@x.example>", "<postmaster>"];
    let transfer = Transfer {
        sender: ReversePath::parse("<me@client.example>").unwrap(),
        recipients: recipients.iter().map(|text| ForwardPath::parse(text).unwrap()).collect(),
        content: survey.finish(),
    };
    let mut session = Session::new(Tick(Duration::ZERO), settings, transfer);
    let mut pieces = content.chunks(64);
    let mut sent = 0;
    let mut closed = false;
    let mut drain = |session: &mut Session, now: Tick| {
        let mut shown = 0;
        while let Some(action) = session.poll_action() {
            assert!(!closed, "an action after Close: {action:?}");
            shown += 1;
            assert!(shown < 10_000, "actions without end");
            match action {
                Action::Send(octets) => sent += octets.len(),
                Action::StartTls => session.handle_secured(now),
                Action::NeedContent => match pieces.next() {
                    Some(piece) => session.handle_content(now, piece),
                    None => session.handle_content_end(now),
                },
                Action::Close => closed = true,
                _ => {}
            }
        }
        closed
    };
    let mut over = drain(&mut session, Tick(Duration::ZERO));
    for (at, words) in voice.chunks(usize::from(*step).max(1)).enumerate() {
        if over {
            break;
        }
        let now = Tick(Duration::from_millis(at as u64));
        session.handle_input(now, words);
        over = drain(&mut session, now);
        assert_eq!(over, session.deadline() == Tick::NEVER);
    }
    if !over {
        session.handle_close();
        assert!(drain(&mut session, Tick::NEVER));
    }
    let outcomes = session.into_outcomes();
    assert_eq!(outcomes.len(), recipients.len());
    for outcome in &outcomes {
        if let Outcome::Accepted(reply) = outcome {
            assert_eq!(reply.code() / 100, 2, "only 2yz accepts");
        }
    }
    assert!(sent < 64 * 1024, "the client said more than it had to say");
    sent
}
