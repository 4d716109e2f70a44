//! Whole sessions: any octets at any cut give the same replies and the same stored messages.

use super::parsers::well_formed_reply;
use postroad_proto::addr::ForwardPath;
use postroad_proto::reply::{Refusal, Reply, ReplyId};
use postroad_proto::server::{Action, Offer, Question, Session, TlsOffer, Verdict};
use postroad_proto::time::Tick;
use std::sync::Arc;

/// Octets that a session may keep besides what it was handed last.
const HELD: usize = 16 << 10;

/// Octets from a peer, from the greeting on. The first octet says how they are cut.
pub(super) fn session(input: &[u8]) {
    let Some((&width, octets)) = input.split_first() else { return };
    at_any_cut(octets, width);
}

/// The same with a transaction open, so that chunks are reached (RFC 3030).
pub(super) fn bdat(input: &[u8]) {
    let Some((&width, octets)) = input.split_first() else { return };
    let opened = b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<bob@example.org>\r\n";
    at_any_cut(&[opened.as_slice(), b"BDAT ", octets].concat(), width);
}

fn at_any_cut(octets: &[u8], width: u8) {
    let whole = play(octets, octets.len());
    well_formed_replies(&whole.said.0);
    for width in [usize::from(width), 1] {
        let cut = play(octets, width);
        // Whether content came behind a refused DATA is the one thing that what arrives together decides.
        if !whole.met_content_ahead() && !cut.met_content_ahead() {
            assert_eq!(whole, cut, "cut at {width}");
        }
    }
}

impl Outcome {
    fn met_content_ahead(&self) -> bool {
        let text = ReplyId::ContentAhead.text().as_bytes();
        self.said.0.windows(text.len()).any(|window| window == text)
    }
}

/// What came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    said: Said,
    stored: Vec<Vec<u8>>,
    closed: bool,
}

/// What the server said; shown as text when it differs.
#[derive(Default, PartialEq, Eq)]
struct Said(Vec<u8>);

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

fn play(octets: &[u8], width: usize) -> Outcome {
    let now = Tick::default();
    let mut offer = Offer::new("mx.example.org");
    offer.tls = TlsOffer::Offered;
    let mut session = Session::new(now, Arc::new(offer));
    let mut outcome = Outcome::default();
    let mut draft = Vec::new();
    drain(&mut session, &mut outcome, &mut draft);
    for piece in octets.chunks(width.max(1)) {
        if outcome.closed {
            break;
        }
        session.handle_input(now, piece);
        drain(&mut session, &mut outcome, &mut draft);
        assert!(session.held() <= piece.len() + HELD, "{} octets held", session.held());
        assert!(outcome.closed || session.wants_input(), "the session waits for nothing");
    }
    outcome
}

fn drain(session: &mut Session, outcome: &mut Outcome, draft: &mut Vec<u8>) {
    let now = Tick::default();
    while let Some(action) = session.poll_action() {
        match action {
            Action::Send(reply) => {
                assert!(!outcome.closed, "a reply after the end");
                reply.write_to(&mut outcome.said.0);
            }
            Action::Ask(Question::Commit(_)) => {
                outcome.stored.push(std::mem::take(draft));
                session.handle_commit(now, Ok("00000000".into()));
            }
            Action::Ask(question) => session.handle_verdict(now, verdict(&question)),
            Action::Content(run) => draft.extend_from_slice(&run),
            Action::Abandon => draft.clear(),
            // After STARTTLS comes a handshake, which is not the session's.
            Action::Close | Action::StartTls => outcome.closed = true,
            // What stands in the record changes nothing on the wire.
            Action::Note(_) | _ => {}
        }
    }
}

/// Some are refused, so that every branch is reached: by the letters of their local part.
fn verdict(question: &Question) -> Verdict {
    let refusal = |id| Refusal::try_from(Reply::of(id)).map_or(Verdict::Accept, Verdict::Refuse);
    match question {
        Question::Recipient(ForwardPath::Mailbox(mailbox)) if mailbox.local().starts_with('n') => {
            refusal(ReplyId::NoSuchMailbox)
        }
        Question::Sender { .. } | Question::Recipient(_) | Question::Content | Question::Commit(_) | _ => {
            Verdict::Accept
        }
    }
}

/// Cuts what was said into replies and looks at each.
fn well_formed_replies(said: &[u8]) {
    let mut reply = Vec::new();
    for line in said.split_inclusive(|&octet| octet == b'\n') {
        reply.extend_from_slice(line);
        if line.get(3) != Some(&b'-') {
            well_formed_reply(&reply);
            reply.clear();
        }
    }
    assert!(reply.is_empty(), "an unfinished reply: {}", reply.escape_ascii());
}
