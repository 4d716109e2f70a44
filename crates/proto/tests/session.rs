//! The session driven by hand: what the dialogue files cannot say.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "test")]

use postroad_proto::reply::{Refusal, Reply, ReplyId};
use postroad_proto::server::{Action, Offer, Protocol, Question, Session, Verdict};
use postroad_proto::time::Tick;
use std::sync::Arc;
use std::time::Duration;

/// Answers every question with yes; returns what was said and what was stored.
fn drive(session: &mut Session, said: &mut Vec<u8>, stored: &mut Vec<Vec<u8>>) {
    let mut draft = Vec::new();
    while let Some(action) = session.poll_action() {
        match action {
            Action::Send(reply) => reply.write_to(said),
            Action::Content(piece) => draft.extend(piece),
            Action::Abandon => draft.clear(),
            Action::Ask(Question::Commit(_)) => {
                stored.push(std::mem::take(&mut draft));
                session.handle_commit(Tick::default(), Ok("ID".into()));
            }
            Action::Ask(_) => session.handle_verdict(Tick::default(), Verdict::Accept),
            Action::Close => said.extend(b"<close>"),
            Action::StartTls | Action::Note(_) => {}
            _ => panic!("an action this test does not know"),
        }
    }
}

fn play(input: &[&[u8]]) -> (String, Vec<Vec<u8>>) {
    let mut session = Session::new(Tick::default(), Arc::new(Offer::new("mx.example.org")));
    let (mut said, mut stored) = (Vec::new(), Vec::new());
    drive(&mut session, &mut said, &mut stored);
    for bytes in input {
        session.handle_input(Tick::default(), bytes);
        drive(&mut session, &mut said, &mut stored);
    }
    (String::from_utf8(said).unwrap(), stored)
}

#[test]
fn a_pipelined_session_in_one_segment_and_byte_by_byte() {
    let script = b"EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@d.example>\r\nDATA\r\nSubject: x\r\n\r\n..y\r\n.\r\n\
        MAIL FROM:<>\r\nRCPT TO:<b@d.example>\r\nBDAT 3\r\na\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n";
    let (said, stored) = play(&[script]);
    let (said_slowly, stored_slowly) = play(&script.chunks(1).collect::<Vec<_>>());
    assert_eq!(said, said_slowly);
    assert_eq!(stored, stored_slowly);
    assert_eq!(stored, [b"Subject: x\r\n\r\n.y\r\n".to_vec(), b"a\r\n\r\n".to_vec()]);
    let codes: Vec<&str> = said.lines().filter(|l| l.as_bytes()[3] != b'-').map(|l| &l[..3]).collect();
    assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "250", "250", "250", "250", "221", "<cl"]);
}

#[test]
fn an_idle_session_holds_nothing() {
    let mut session = Session::new(Tick::default(), Arc::new(Offer::new("mx.example.org")));
    drive(&mut session, &mut Vec::new(), &mut Vec::new());
    session.handle_input(Tick::default(), b"EHLO c.example\r\n");
    drive(&mut session, &mut Vec::new(), &mut Vec::new());
    assert_eq!(session.held(), 0);
    assert!(size_of::<Session>() < 512, "{}", size_of::<Session>());
}

#[test]
fn an_endless_line_is_not_kept() {
    let mut session = Session::new(Tick::default(), Arc::new(Offer::new("mx.example.org")));
    let mut said = Vec::new();
    for _ in 0..1000 {
        session.handle_input(Tick::default(), &[b'x'; 4096]);
        drive(&mut session, &mut said, &mut Vec::new());
        assert!(session.held() <= 8192);
    }
    session.handle_input(Tick::default(), b"\r\nNOOP\r\n");
    drive(&mut session, &mut said, &mut Vec::new());
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("500 5.5.2 Line too long"), "{said}");
    assert!(said.ends_with("250 2.0.0 Nothing done, as asked\r\n"), "{said}");
}

#[test]
fn a_stall_after_354_is_told_in_plain_words() {
    let mut session = Session::new(Tick::default(), Arc::new(Offer::new("mx.example.org")));
    let mut said = Vec::new();
    session.handle_input(Tick::default(), b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@d>\r\nDATA\r\nx\n.\n");
    drive(&mut session, &mut said, &mut Vec::new());
    let mut now = Tick::default();
    for _ in 0..10 {
        now = session.deadline().min(Tick(Duration::from_hours(1)));
        session.handle_timeout(now);
        drive(&mut session, &mut said, &mut Vec::new());
    }
    assert_eq!(now, Tick(Duration::from_hours(1)), "a closed session has no deadline");
    let said = String::from_utf8(said).unwrap();
    let last = said.lines().rev().nth(1).unwrap_or_default();
    let wanted = "421 4.4.2 Timed out: no CRLF.CRLF in 4 bytes; the last line was \".\" ended by a bare LF";
    assert!(said.contains(wanted), "{last}");
    assert!(said.ends_with("<close>"));
}

#[test]
fn a_trickle_is_too_slow_and_a_stream_is_not() {
    for (octets, wanted) in [(1, "421 4.4.2 Content came too slowly"), (1000, "354 ")] {
        let mut session = Session::new(Tick::default(), Arc::new(Offer::new("mx.example.org")));
        let mut said = Vec::new();
        session.handle_input(Tick::default(), b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@d>\r\nDATA\r\n");
        drive(&mut session, &mut said, &mut Vec::new());
        for second in 1..=130 {
            let now = Tick(Duration::from_secs(second));
            session.handle_timeout(now);
            session.handle_input(now, &vec![b'x'; octets]);
            drive(&mut session, &mut said, &mut Vec::new());
        }
        let said = String::from_utf8(said).unwrap();
        let last = said.lines().rfind(|line| line.starts_with(char::is_numeric)).unwrap_or_default();
        assert!(last.starts_with(wanted), "{last}");
    }
}

/// What is said after the content if the second of three recipients is refused.
fn one_of_three_refused(protocol: Protocol, hello: &str) -> String {
    let mut offer = Offer::new("mx.example.org");
    offer.protocol = protocol;
    let mut session = Session::new(Tick::default(), Arc::new(offer));
    drive(&mut session, &mut Vec::new(), &mut Vec::new());
    let commands = format!(
        "{hello} c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@d.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@d.example>\r\nDATA\r\n"
    );
    for line in commands.split_inclusive('\n') {
        session.handle_input(Tick::default(), line.as_bytes());
        drive(&mut session, &mut Vec::new(), &mut Vec::new());
    }
    session.handle_input(Tick::default(), b"Subject: x\r\n\r\nx\r\n.\r\n");
    let mut said = Vec::new();
    while let Some(action) = session.poll_action() {
        if let Action::Send(reply) = &action {
            reply.write_to(&mut said);
        } else if matches!(action, Action::Ask(Question::Commit(_))) {
            let refusal = Refusal::try_from(Reply::of(ReplyId::MailboxFull)).unwrap();
            session.handle_commit_each(Tick::default(), Ok("ID".into()), &[(1, refusal)]);
        }
    }
    assert!(session.wants_input());
    String::from_utf8(said).unwrap()
}

#[test]
fn lmtp_refuses_single_recipients_after_the_content() {
    let accepted = "250 2.0.0 Accepted and stored as ID\r\n";
    let refused = "452 4.2.2 The mailbox is full; try again later\r\n";
    assert_eq!(one_of_three_refused(Protocol::Lmtp, "LHLO"), format!("{accepted}{refused}{accepted}"));
    assert_eq!(one_of_three_refused(Protocol::Smtp, "EHLO"), accepted);
}
