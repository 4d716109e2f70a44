//! The client's session talks to the server's session, over a link that cuts both ways anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test"
)]

use postroad_proto::addr::{Domain, ForwardPath, ReversePath};
use postroad_proto::client::{self, Outcome, Survey};
use postroad_proto::reply::{Refusal, Reply, ReplyId};
use postroad_proto::server::{self, Offer, Question, Verdict};
use postroad_proto::time::Tick;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const NOW: Tick = Tick(Duration::ZERO);

/// A server that keeps what it is given and knows everybody whose name does not begin with `no`.
struct Host {
    session: server::Session,
    offer: Arc<Offer>,
    out: Vec<u8>,
    content: Vec<u8>,
    kept: Vec<(usize, Vec<u8>)>,
    closed: bool,
}

impl Host {
    fn new(offer: Offer) -> Self {
        let offer = Arc::new(offer);
        let session = server::Session::new(NOW, Arc::clone(&offer));
        let mut host =
            Self { session, offer, out: Vec::new(), content: Vec::new(), kept: Vec::new(), closed: false };
        host.drain();
        host
    }

    fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                server::Action::Send(reply) => reply.write_to(&mut self.out),
                server::Action::Ask(Question::Recipient(ForwardPath::Mailbox(mailbox)))
                    if mailbox.local().starts_with("no") =>
                {
                    let refusal = Refusal::try_from(Reply::of(ReplyId::NoSuchMailbox)).unwrap();
                    self.session.handle_verdict(NOW, Verdict::Refuse(refusal));
                }
                server::Action::Ask(Question::Commit(envelope)) => {
                    let content = std::mem::take(&mut self.content);
                    self.kept.push((envelope.recipients().len(), content));
                    self.session.handle_commit(NOW, Ok("ID7".to_owned()));
                }
                server::Action::Ask(_) => self.session.handle_verdict(NOW, Verdict::Accept),
                server::Action::Content(octets) => self.content.extend(octets),
                server::Action::Abandon => self.content.clear(),
                server::Action::StartTls => {
                    self.session = self.session.after_starttls(NOW, Arc::clone(&self.offer));
                }
                server::Action::Close => self.closed = true,
                _ => {}
            }
        }
    }
}

/// Plays one transfer; `step` octets cross the link at once.
fn play(
    offer: Offer,
    settings: client::Settings,
    recipients: &[&str],
    content: &[u8],
    step: usize,
) -> (Vec<Outcome>, Vec<(usize, Vec<u8>)>) {
    let mut survey = Survey::default();
    survey.push(content);
    let transfer = client::Transfer {
        sender: ReversePath::parse("<me@client.example>").unwrap(),
        recipients: recipients.iter().map(|r| ForwardPath::parse(&format!("<{r}>")).unwrap()).collect(),
        content: survey.finish(),
    };
    let mut host = Host::new(offer);
    let mut session = client::Session::new(NOW, settings, transfer);
    let mut pieces = content.chunks(step.max(2));
    for _round in 0..10_000 {
        let mut said = Vec::new();
        while let Some(action) = session.poll_action() {
            match action {
                client::Action::Send(octets) => said.extend(octets),
                client::Action::NeedContent => match pieces.next() {
                    Some(piece) => session.handle_content(NOW, piece),
                    None => session.handle_content_end(NOW),
                },
                client::Action::StartTls => session.handle_secured(NOW),
                client::Action::Close => {
                    assert!(host.closed, "the server heard QUIT");
                    return (session.into_outcomes(), host.kept);
                }
                _ => {}
            }
        }
        for words in said.chunks(step) {
            host.session.handle_input(NOW, words);
            host.drain();
        }
        let answer = std::mem::take(&mut host.out);
        for words in answer.chunks(step) {
            session.handle_input(NOW, words);
        }
    }
    panic!("they talk without end");
}

fn settings() -> client::Settings {
    client::Settings {
        hello: Domain::parse("client.example").unwrap(),
        protocol: client::Protocol::Smtp,
        tls: client::TlsPolicy::IfOffered,
        login: None,
        plain_login: client::PlainLogin::Refuse,
        grouping: client::Grouping::IfOffered,
        chunking: client::Chunking::IfNeeded,
        timers: client::Timers::default(),
    }
}

fn brief(outcomes: &[Outcome]) -> Vec<String> {
    let brief = |outcome: &Outcome| match outcome {
        Outcome::Accepted(reply) => format!("ok {}", reply.code()),
        Outcome::Failed(failure) => failure.to_string(),
    };
    outcomes.iter().map(brief).collect()
}

const HEAD: &str = "From: me@client.example\r\nDate: Sun, 22 Nov 2026 06:00:00 +0000\r\n\r\n";

#[test]
fn every_way_to_send_brings_the_same_octets() {
    let content = format!("{HEAD}.one\n..\nschön\r\n.\r\nlast");
    let kept = format!("{HEAD}.one\r\n..\r\nschön\r\n.\r\nlast\r\n");
    for (protocol, lmtp) in
        [(client::Protocol::Smtp, server::Protocol::Smtp), (client::Protocol::Lmtp, server::Protocol::Lmtp)]
    {
        for grouping in [client::Grouping::IfOffered, client::Grouping::Never] {
            for chunking in [client::Chunking::IfNeeded, client::Chunking::IfOffered] {
                for tls in [server::TlsOffer::Absent, server::TlsOffer::Offered] {
                    let mut offer = Offer::new("mx.example.org");
                    offer.protocol = lmtp;
                    offer.tls = tls;
                    let settings = client::Settings { protocol, grouping, chunking, ..settings() };
                    for step in [1, 7, 4096] {
                        let to = ["a@example.org", "nobody@example.org", "postmaster"];
                        let (outcomes, stored) =
                            play(offer.clone(), settings.clone(), &to, content.as_bytes(), step);
                        assert_eq!(
                            brief(&outcomes),
                            ["ok 250", "the recipient is refused with 550", "ok 250"]
                        );
                        assert_eq!(stored, [(2, kept.clone().into_bytes())]);
                    }
                }
            }
        }
    }
}

#[test]
fn nobody_wants_it() {
    let (outcomes, stored) =
        play(Offer::new("mx.example.org"), settings(), &["nobody@example.org"], HEAD.as_bytes(), 3);
    assert_eq!(brief(&outcomes), ["the recipient is refused with 550"]);
    assert!(stored.is_empty());
}

#[test]
fn a_message_over_the_limit_is_not_begun() {
    let mut offer = Offer::new("mx.example.org");
    offer.limits.message_size = 10;
    let (outcomes, stored) = play(offer, settings(), &["a@example.org"], HEAD.as_bytes(), 9);
    assert_eq!(
        brief(&outcomes),
        [format!("the message has {} octets and the server takes at most 10", HEAD.len())]
    );
    assert!(stored.is_empty());
}

proptest! {
    #[test]
    fn dots_and_line_ends_survive(
        body in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), 1u8..=255], 0..300),
        step in 1usize..40,
        chunked in any::<bool>(),
    ) {
        let content = [HEAD.as_bytes(), &body].concat();
        let mut expected = Vec::new();
        let mut encoder = client::Encoder::new(client::Encoding::Chunked);
        encoder.push(&content, &mut expected);
        encoder.finish(&mut expected);
        let chunking = if chunked { client::Chunking::IfOffered } else { client::Chunking::IfNeeded };
        let settings = client::Settings { chunking, ..settings() };
        let (outcomes, stored) =
            play(Offer::new("mx.example.org"), settings, &["a@example.org"], &content, step);
        prop_assert_eq!(brief(&outcomes), ["ok 250"]);
        prop_assert_eq!(stored, [(1, expected)]);
    }
}
