//! The world around a session that is tested: it answers questions by script, moves the clock, and
//! keeps what is stored.
//!
//! A [`Host`] is also the judge of the session's contract (see `postroad_proto::server`): content
//! without a draft, a draft left open, an action after the end, a reply out of shape
//! (RFC 5321 §4.2.1, §4.5.3.1.5) are each a [`Host::complaint`].

use crate::dialogue::{Answer, Asked, Rule};
use postroad_proto::envelope::{Body, Envelope, Smtputf8};
use postroad_proto::reply::Reply;
use postroad_proto::server::{Action, Offer, Question, Session, TlsOffer, Verdict};
use postroad_proto::time::Tick;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Longest line of a reply with CRLF (RFC 5321 §4.5.3.1.5).
const MAX_REPLY_LINE: usize = 512;
/// Most characters in a line of text that says no.
const MAX_ERROR_TEXT: usize = 200;
/// Most deadlines that may pass in one move of the clock; a session that asks for more is stuck.
const MAX_TIMEOUTS: usize = 10_000;

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a runner must know each")]
pub enum Link {
    /// Bytes pass.
    Open,
    /// The server waits for a TLS handshake.
    Handshake,
    /// The server has closed.
    Closed,
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Its envelope.
    pub envelope: Envelope,
    /// Its content, as the session handed it over.
    pub content: Vec<u8>,
}

impl Stored {
    /// The envelope as an `M:` line writes it.
    pub fn summary(&self) -> String {
        let recipients: Vec<String> =
            self.envelope.recipients().iter().map(|r| format!("<{}>", r.mailbox)).collect();
        let body = match self.envelope.body() {
            Body::SevenBit => "",
            Body::EightBitMime => " body=8bitmime",
            Body::BinaryMime => " body=binarymime",
        };
        let utf8 = match self.envelope.smtputf8() {
            Smtputf8::NotNeeded => "",
            Smtputf8::Needed => " smtputf8",
        };
        format!("from=<{}> to={}{body}{utf8}", self.envelope.sender(), recipients.join(","))
    }
}

/// A session and all that it needs.
#[derive(Debug)]
pub struct Host {
    session: Session,
    offer: Offer,
    now: Tick,
    link: Link,
    rules: Vec<(Rule, Use)>,
    said: VecDeque<Reply>,
    draft: Option<Vec<u8>>,
    stored: Vec<Stored>,
    complaint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Fresh,
    Used,
}

impl Host {
    /// A listener with this offer that answers by these rules; the session has begun.
    pub fn new(offer: Offer, rules: &[Rule]) -> Self {
        let now = Tick::default();
        let mut host = Self {
            session: Session::new(now, Arc::new(offer.clone())),
            offer,
            now,
            link: Link::Open,
            rules: rules.iter().map(|rule| (rule.clone(), Use::Fresh)).collect(),
            said: VecDeque::new(),
            draft: None,
            stored: Vec::new(),
            complaint: None,
        };
        host.drain();
        host
    }

    /// The peer sends; what comes after the end or in front of a handshake is dropped.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.link == Link::Open {
            self.session.handle_input(self.now, bytes);
            self.drain();
        }
    }

    /// The clock moves on, past every deadline on its way.
    pub fn wait(&mut self, span: Duration) {
        let until = self.now.after(span);
        for _ in 0..MAX_TIMEOUTS {
            let deadline = self.session.deadline();
            if self.link != Link::Open || deadline > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(deadline);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.complain("the deadline does not move although it has passed");
    }

    /// The TLS handshake is done: a new session begins with nothing kept (RFC 3207 §4.2).
    pub fn finish_handshake(&mut self) {
        if self.link != Link::Handshake {
            return self.complain("nobody waits for a TLS handshake");
        }
        self.offer.tls = TlsOffer::Active;
        self.session = self.session.after_starttls(self.now, Arc::new(self.offer.clone()));
        self.link = Link::Open;
        self.drain();
    }

    /// The server is asked to stop.
    pub fn shut_down(&mut self) {
        self.session.handle_shutdown();
        self.drain();
    }

    /// The next reply that was not yet read.
    pub fn next_reply(&mut self) -> Option<Reply> {
        self.said.pop_front()
    }

    /// Where the connection stands.
    pub fn link(&self) -> Link {
        self.link
    }

    /// What was stored, in order.
    pub fn stored(&self) -> &[Stored] {
        &self.stored
    }

    /// What the session did against its contract, if anything: the first such thing.
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// Octets that the session holds in memory.
    pub fn held(&self) -> usize {
        self.session.held()
    }

    fn complain(&mut self, what: impl Into<String>) {
        self.complaint.get_or_insert_with(|| what.into());
    }

    fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            if self.link != Link::Open && !matches!(action, Action::Note(_)) {
                return self.complain(format!("an action after the end: {action:?}"));
            }
            match action {
                Action::Send(reply) => self.say(reply),
                Action::Ask(question) => self.answer(question),
                Action::Content(bytes) => match &mut self.draft {
                    Some(draft) => draft.extend_from_slice(&bytes),
                    None => self.complain("content without a draft"),
                },
                Action::Abandon => {
                    if self.draft.take().is_none() {
                        self.complain("a draft was abandoned that nobody began");
                    }
                }
                Action::StartTls => self.link = Link::Handshake,
                Action::Close => self.link = Link::Closed,
                Action::Note(_) => {}
                _ => self.complain("an action that this host does not know"),
            }
        }
        if self.link != Link::Open {
            if self.draft.is_some() {
                self.complain("the session ended with its draft open");
            }
            if self.session.wants_input() {
                self.complain("the session ended and still wants input");
            }
        }
    }

    fn say(&mut self, reply: Reply) {
        let mut wire = Vec::new();
        reply.write_to(&mut wire);
        let wire = String::from_utf8_lossy(&wire).into_owned();
        let long_line = wire.split_inclusive("\r\n").any(|line| line.len() > MAX_REPLY_LINE);
        let long_text = reply.code() >= 400 && reply.text().lines().any(|line| line.len() > MAX_ERROR_TEXT);
        if long_line || long_text {
            self.complain(format!("a reply with a line too long: {wire}"));
        }
        self.said.push_back(reply);
    }

    fn answer(&mut self, question: Question) {
        if self.session.wants_input() {
            self.complain("the session asks and still wants input");
        }
        match question {
            Question::Sender { path, .. } => {
                self.verdict(&Asked::Sender(path.to_string()));
            }
            Question::Recipient(path) => {
                self.verdict(&Asked::Recipient(path.to_string()));
            }
            Question::Content => {
                if self.draft.is_some() {
                    self.complain("content begins while a draft is open");
                }
                if self.verdict(&Asked::Content) == Answer::Accept {
                    self.draft = Some(Vec::new());
                }
            }
            Question::Commit(envelope) => self.commit(envelope),
            _ => self.complain("a question that this host does not know"),
        }
    }

    fn verdict(&mut self, asked: &Asked) -> Answer {
        let answer = self.rule_for(asked);
        let verdict = match answer.clone() {
            Answer::Accept => Verdict::Accept,
            Answer::Refuse(refusal) => Verdict::Refuse(refusal),
            Answer::Hangup(refusal) => Verdict::Hangup(refusal),
        };
        self.session.handle_verdict(self.now, verdict);
        answer
    }

    fn commit(&mut self, envelope: Envelope) {
        let Some(content) = self.draft.take() else { return self.complain("a commit without a draft") };
        match self.rule_for(&Asked::Commit) {
            Answer::Accept => {
                self.stored.push(Stored { envelope, content });
                let id = format!("Q{}", self.stored.len());
                self.session.handle_commit(self.now, Ok(id));
            }
            Answer::Refuse(refusal) => self.session.handle_commit(self.now, Err(refusal)),
            Answer::Hangup(refusal) => self.session.handle_verdict(self.now, Verdict::Hangup(refusal)),
        }
    }

    /// Several rules for one question answer its askings in order; the last holds from then on.
    fn rule_for(&mut self, asked: &Asked) -> Answer {
        let mut last = Answer::Accept;
        for (rule, used) in self.rules.iter_mut().filter(|(rule, _)| rule.asked == *asked) {
            last = rule.answer.clone();
            if *used == Use::Fresh {
                *used = Use::Used;
                return last;
            }
        }
        last
    }
}
