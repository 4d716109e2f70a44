//! What is told of a session in one line: a refusal, a message, an attempt, an end.
//!
//! A chunk is read from its first event to its last, with the transaction at hand kept in mind, so that a refusal is
//! found by the sender and the recipient it was about.

use crate::event::{Event, Events, Outcome, Side};
use crate::query::{CodePattern, Query};
use crate::reference::Reference;
use crate::session::{Header, Origin, Source, verb};
use crate::terms::{bare_id, path};
use postroad_proto::reply::{EnhancedCode, ReplyId};
use postroad_proto::time::UnixTime;
use std::borrow::Cow;

/// One line of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// When it happened.
    pub at: UnixTime,
    /// The name of the session it happened in, or of the round of deliveries; [`Reader::find`](crate::Reader::find) has
    /// all of it.
    pub record: Reference,
    /// Whose session it was.
    pub origin: Origin,
    /// The sender, where one was named; empty for `<>`.
    pub sender: Option<String>,
    /// The recipient it was about, or all that were named.
    pub recipients: Vec<String>,
    /// What happened.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// We said no.
    Refused {
        /// What stood at the end of the reply.
        reference: Option<Reference>,
        /// The reply's name in the catalogue.
        name: String,
        /// The basic code.
        code: u16,
        /// The enhanced code.
        enhanced: Option<EnhancedCode>,
        /// What was said.
        text: String,
    },
    /// We took a message.
    Accepted {
        /// Its name in the queue.
        queue_id: String,
        /// Its `Message-ID` field.
        message_id: Option<String>,
        /// Octets of content.
        octets: u64,
    },
    /// We tried to deliver.
    Attempted {
        /// The message's name in the queue.
        queue_id: String,
        /// By which agent.
        agent: String,
        /// What came of it.
        outcome: Outcome,
        /// What the other side said, or what stood in the way.
        reply: String,
    },
    /// The stream can be read in two ways, or breaks a rule.
    Anomaly {
        /// Which.
        kind: String,
    },
    /// A transfer stood still.
    Stall {
        /// Which of the known ways.
        kind: String,
    },
    /// The session ended.
    Closed {
        /// Who ended it.
        by: Side,
        /// Why.
        why: String,
    },
}

/// What is known while a chunk is read.
#[derive(Default)]
struct Known<'a> {
    sender: Option<Cow<'a, str>>,
    recipients: Vec<Cow<'a, str>>,
    /// The last command named the last recipient, and was not answered yet.
    asked: bool,
}

/// Gives what of a chunk fits the query, in the order in which it happened.
pub(crate) fn summaries(
    header: &Header<'_>,
    events: Events<'_>,
    query: &Query,
    found: &mut dyn FnMut(Summary),
) {
    let peer = match header.origin {
        Source::Session { peer, .. } => peer,
        Source::Delivery => None,
    };
    if query.ip.is_some_and(|network| !peer.is_some_and(|peer| network.contains(peer.ip()))) {
        return;
    }
    let mut known = Known::default();
    for (ms, event) in events {
        let at = UnixTime(header.started.0.saturating_add(ms));
        let in_time =
            query.since.is_none_or(|since| at >= since) && query.until.is_none_or(|until| at <= until);
        let what = known.read(event);
        if let Some((what, sender, recipients)) = what
            && in_time
            && (query.ends || !matches!(what, Happening::Closed { .. }))
            && fits(query, &what, sender.as_deref(), &recipients)
        {
            found(Summary {
                at,
                record: header.reference,
                origin: header.origin.to_owned(),
                sender: sender.map(Cow::into_owned),
                recipients: recipients.into_iter().map(Cow::into_owned).collect(),
                what,
            });
        }
    }
}

/// What happened, to whose mail.
type Line<'a> = (Happening, Option<Cow<'a, str>>, Vec<Cow<'a, str>>);

impl<'a> Known<'a> {
    fn read(&mut self, event: Event<'a>) -> Option<Line<'a>> {
        match event {
            Event::Command { line, .. } | Event::Carried { line } => {
                self.command(&line);
                None
            }
            Event::Reply { name, code, enhanced, text, reference } => {
                let about = if std::mem::take(&mut self.asked) {
                    // Refused alone: it is no recipient of what follows.
                    if code >= 400 { self.recipients.pop().into_iter().collect() } else { Vec::new() }
                } else if code >= 400 {
                    self.recipients.clone()
                } else {
                    Vec::new()
                };
                (code >= 400).then(|| {
                    let text =
                        text.as_deref().or_else(|| catalogue_text(&name)).unwrap_or_default().to_owned();
                    let name = name.into_owned();
                    (Happening::Refused { reference, name, code, enhanced, text }, self.sender.clone(), about)
                })
            }
            Event::Message { queue_id, sender, recipients, message_id, octets, .. } => {
                *self = Self::default();
                let (queue_id, message_id) = (queue_id.into_owned(), message_id.map(Cow::into_owned));
                Some((Happening::Accepted { queue_id, message_id, octets }, Some(sender), recipients))
            }
            Event::Attempt { queue_id, recipient, agent, outcome, reply, sender, .. } => {
                let (queue_id, agent, reply) =
                    (queue_id.into_owned(), agent.into_owned(), reply.into_owned());
                Some((Happening::Attempted { queue_id, agent, outcome, reply }, sender, vec![recipient]))
            }
            Event::Anomaly { kind, .. } => Some(self.line(Happening::Anomaly { kind: kind.into_owned() })),
            Event::Stall { kind, .. } => Some(self.line(Happening::Stall { kind: kind.into_owned() })),
            Event::Closed { by, why, .. } => Some(self.line(Happening::Closed { by, why: why.into_owned() })),
            Event::Opened { .. }
            | Event::Secured { .. }
            | Event::Finding { .. }
            | Event::NotRun { .. }
            | Event::Verdict { .. }
            | Event::Content { .. }
            | Event::Dropped { .. }
            | Event::Unreadable { .. } => None,
        }
    }

    fn line(&self, what: Happening) -> Line<'a> {
        (what, self.sender.clone(), self.recipients.clone())
    }

    fn command(&mut self, line: &str) {
        self.asked = false;
        match path(line) {
            Some(("MAIL", address)) => {
                *self = Self { sender: Some(Cow::Owned(address.into_owned())), ..Self::default() };
            }
            Some((_, address)) => {
                self.recipients.push(Cow::Owned(address.into_owned()));
                self.asked = true;
            }
            None => {
                if matches!(verb(line.as_bytes()), Some("RSET" | "EHLO" | "HELO" | "LHLO" | "STARTTLS")) {
                    *self = Self::default();
                }
            }
        }
    }
}

fn fits(query: &Query, what: &Happening, sender: Option<&str>, recipients: &[Cow<'_, str>]) -> bool {
    let (queue, message, codes) = match what {
        Happening::Accepted { queue_id, message_id, .. } => (Some(queue_id), message_id.as_ref(), None),
        Happening::Attempted { queue_id, .. } => (Some(queue_id), None, None),
        Happening::Refused { code, enhanced, .. } => (None, None, Some((*code, *enhanced))),
        Happening::Anomaly { .. } | Happening::Stall { .. } | Happening::Closed { .. } => (None, None, None),
    };
    query.from.as_ref().is_none_or(|from| sender.is_some_and(|sender| from.matches(sender)))
        && query.to.as_ref().is_none_or(|to| recipients.iter().any(|recipient| to.matches(recipient)))
        && query.queue_id.as_ref().is_none_or(|id| queue == Some(id))
        && query.message_id.as_ref().is_none_or(|id| message.is_some_and(|own| bare_id(own) == bare_id(id)))
        && query.code.is_none_or(|wanted| match (wanted, codes) {
            (CodePattern::Basic(wanted), Some((code, _))) => wanted == code,
            (CodePattern::Enhanced(wanted), Some((_, enhanced))) => enhanced == Some(wanted),
            (_, None) => false,
        })
}

/// The text that the catalogue has for a reply of this name.
pub(crate) fn catalogue_text(name: &str) -> Option<&'static str> {
    ReplyId::ALL.iter().find(|id| id.name() == name).map(|id| id.text())
}
