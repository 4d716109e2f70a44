//! A hostile server against the client: any octets as replies.

use postroad_proto::addr::{Domain, ForwardPath, ReversePath};
use postroad_proto::client::{
    Action, Chunking, Grouping, PlainLogin, Protocol, Session, Settings, Survey, Timers, TlsPolicy, Transfer,
};
use postroad_proto::time::Tick;

/// What the client has to send.
const CONTENT: &[u8] = b"Subject: x\r\n\r\n.a dot\r\ntext\r\n";
/// Recipients, so that groups have several answers.
const RECIPIENTS: [&str; 3] = ["<a@example.org>", "<b@example.org>", "<c@example.org>"];

/// The first octet says how the client speaks, the second how the rest is cut. The client ends with an
/// outcome for each recipient, whatever it is told.
pub(super) fn client(input: &[u8]) {
    let &[how, width, ref octets @ ..] = input else { return };
    let now = Tick::default();
    let Some(mut session) = start(now, how) else { return };
    let mut closed = drain(now, &mut session);
    for piece in octets.chunks(usize::from(width).max(1)) {
        if closed {
            break;
        }
        session.handle_input(now, piece);
        closed = drain(now, &mut session);
    }
    if !closed {
        session.handle_close();
        drain(now, &mut session);
    }
    assert_eq!(session.into_outcomes().len(), RECIPIENTS.len());
}

fn start(now: Tick, how: u8) -> Option<Session> {
    let bit = |nth: u8| how >> nth & 1 == 1;
    let mut survey = Survey::default();
    survey.push(CONTENT);
    let transfer = Transfer {
        sender: ReversePath::Null,
        recipients: RECIPIENTS.iter().filter_map(|path| ForwardPath::parse(path).ok()).collect(),
        content: survey.finish(),
    };
    let settings = Settings {
        hello: Domain::parse("client.example").ok()?,
        protocol: if bit(0) { Protocol::Lmtp } else { Protocol::Smtp },
        tls: if bit(1) { TlsPolicy::IfOffered } else { TlsPolicy::Off },
        login: None,
        plain_login: PlainLogin::Refuse,
        grouping: if bit(2) { Grouping::Never } else { Grouping::IfOffered },
        chunking: if bit(3) { Chunking::IfOffered } else { Chunking::IfNeeded },
        timers: Timers::default(),
    };
    Some(Session::new(now, settings, transfer))
}

/// Does what the client wants; whether it closed.
fn drain(now: Tick, session: &mut Session) -> bool {
    let mut rest = Some(CONTENT);
    while let Some(action) = session.poll_action() {
        match action {
            Action::NeedContent => match rest.take() {
                Some(piece) => session.handle_content(now, piece),
                None => session.handle_content_end(now),
            },
            Action::StartTls => session.handle_secured(now),
            Action::Close => return true,
            Action::Send(_) | Action::Show(_) | _ => {}
        }
    }
    false
}
