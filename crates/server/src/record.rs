//! What a session puts into the ledger, and the reference in each of its refusals.
//!
//! A record never decides and never waits. Chunks are handed over after each refusal, so that its
//! reference can be looked up at once, after each message, and at the end of the session.

use crate::clock::Clock;
use crate::shared::ListenerSettings;
use crate::tcp::Figures;
use postroad_ledger::{Event, Ledger, Origin, Outcome, Reference, References, SessionLog, Side};
use postroad_proto::addr::Mailbox;
use postroad_proto::addr::ReversePath;
use postroad_proto::envelope::Envelope;
use postroad_proto::reply::{Refusal, Reply};
use postroad_proto::server::{Content, Note, Stall};
use postroad_proto::time::{Tick, UnixTime};
use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The ledger of this server, with what gives references.
pub(crate) struct Records {
    pub(crate) ledger: Ledger,
    references: References,
    clock: Clock,
}

impl Records {
    pub(crate) fn new(ledger: Ledger, clock: Clock) -> Self {
        Self { ledger, references: References::default(), clock }
    }

    fn reference(&self) -> Reference {
        self.references.next(self.clock.unix())
    }

    fn log(&self, origin: Origin) -> SessionLog {
        SessionLog::new(self.reference(), self.clock.unix(), self.clock.tick(), origin)
    }

    /// Records a connection that gets one reply and no session; gives the reference for that reply.
    pub(crate) fn turned_away(&self, opened: &Opened<'_>, reply: &Reply) -> Reference {
        let mut log = self.log(opened.origin());
        let (now, reference) = (self.clock.tick(), self.reference());
        log.record(now, &opened.event());
        log.reply(now, reply, Some(reference));
        log.record(now, &closed(Side::Us, reply.id().name(), 0, 0));
        self.submit(&mut log);
        reference
    }

    /// Records an attempt to deliver.
    pub(crate) fn attempt(
        &self,
        queue_id: &str,
        (sender, recipient): (&str, &str),
        agent: &str,
        came: &Came<'_>,
    ) {
        let mut log = self.log(Origin::Delivery);
        let (outcome, reply, next, took) = match came {
            Came::Delivered(took) => (Outcome::Delivered, None, None, *took),
            Came::Deferred(reply, next) => (Outcome::Deferred, Some(*reply), Some(next.0), Duration::ZERO),
            Came::Failed(reply) => (Outcome::Failed, Some(*reply), None, Duration::ZERO),
        };
        let attempt = Event::Attempt {
            queue_id: queue_id.into(),
            recipient: recipient.into(),
            agent: agent.into(),
            outcome,
            reply: reply.map(Reply::to_string).unwrap_or_default().into(),
            ms: millis(took),
            sender: Some(sender.into()),
            name: reply.map(|reply| reply.id().name().into()),
            next,
        };
        log.record(self.clock.tick(), &attempt);
        self.submit(&mut log);
    }

    fn submit(&self, log: &mut SessionLog) {
        if let Some(chunk) = log.take() {
            self.ledger.submit(chunk);
        }
    }
}

/// What came of an attempt to deliver.
pub(crate) enum Came<'a> {
    /// The recipient has it, so long after it was accepted.
    Delivered(Duration),
    /// It is tried again at this time.
    Deferred(&'a Reply, UnixTime),
    /// The recipient does not get it.
    Failed(&'a Reply),
}

/// A sender as records have it: empty for `<>`.
pub(crate) fn sender_text(sender: &ReversePath) -> String {
    match sender {
        ReversePath::Null => String::new(),
        ReversePath::Mailbox(mailbox) => mailbox.to_string(),
    }
}

/// How a connection began.
pub(crate) struct Opened<'a> {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) settings: &'a ListenerSettings,
}

impl Opened<'_> {
    fn origin(&self) -> Origin {
        Origin::Session { peer: self.peer, listener: Arc::clone(&self.settings.name) }
    }

    fn event(&self) -> Event<'_> {
        Event::Opened {
            peer: self.peer,
            local: None,
            listener: (&*self.settings.name).into(),
            protocol: self.settings.protocol().into(),
        }
    }
}

/// The record of one session.
pub(crate) struct Record {
    records: Arc<Records>,
    log: SessionLog,
    octets: (u64, u64),
    /// Since the 354 or the first BDAT: when it was said, and when the first octet came after it.
    content: Option<(Tick, Option<Tick>)>,
    message_id: Option<Vec<u8>>,
    /// The name of the last reply, and whether we ended the session with it.
    last: (&'static str, bool),
    /// What the system knew of the connection when the session's time was over.
    packets: Figures,
}

impl Record {
    pub(crate) fn new(records: Arc<Records>, opened: &Opened<'_>) -> Self {
        let mut log = records.log(opened.origin());
        log.record(records.clock.tick(), &opened.event());
        Self {
            records,
            log,
            octets: (0, 0),
            content: None,
            message_id: None,
            last: ("", false),
            packets: Figures::new(),
        }
    }

    fn now(&self) -> Tick {
        self.records.clock.tick()
    }

    /// TLS is on.
    pub(crate) fn secured(&mut self, version: &str, cipher: &str) {
        let now = self.now();
        self.log.record(now, &Event::Secured { version: version.into(), cipher: cipher.into() });
    }

    /// Octets came; `content` tells whether they are content.
    pub(crate) fn heard(&mut self, octets: usize) {
        self.octets.0 += octets as u64;
        if let Some((_, first @ None)) = &mut self.content {
            *first = Some(self.records.clock.tick());
        }
    }

    /// Content begins.
    pub(crate) fn content_begins(&mut self) {
        let now = self.now();
        self.content.get_or_insert((now, None));
    }

    /// We say this; a refusal gets a reference.
    pub(crate) fn said(&mut self, reply: &Reply) -> Option<Reference> {
        let reference = (reply.code() >= 400).then(|| self.records.reference());
        let now = self.now();
        self.log.reply(now, reply, reference);
        self.last.0 = reply.id().name();
        if reference.is_some() || self.log.is_due() {
            self.records.submit(&mut self.log);
        }
        reference
    }

    /// Octets were written.
    pub(crate) fn wrote(&mut self, octets: usize) {
        self.octets.1 += octets as u64;
    }

    /// A check found something.
    pub(crate) fn finding(
        &mut self,
        check: &'static str,
        result: &'static str,
        inputs: &[(&'static str, &str)],
    ) {
        let now = self.now();
        let inputs = inputs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.log.record(now, &Event::Finding { check: check.into(), result: result.into(), inputs });
    }

    /// Whether the disk has room for a message of the declared size, with so many octets free beyond the reserve.
    pub(crate) fn room(&mut self, size: Option<u64>, free: i64, enough: bool) {
        if enough && size.is_none() {
            // The way of most messages: what is free matters where it is not enough.
            return self.finding("disk", "room", &[]);
        }
        let mut numbers: Vec<_> = size.map(|size| ("size", size.to_string())).into_iter().collect();
        numbers.push(("free", free.to_string()));
        let inputs: Vec<_> = numbers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.finding("disk", if enough { "room" } else { "no-room" }, &inputs);
    }

    /// Something of ours failed, or TLS did; this is what was said of it.
    pub(crate) fn failed(&mut self, what: &'static str, error: &dyn Display) {
        self.finding(what, "failed", &[("error", &error.to_string())]);
    }

    /// A check did not run.
    pub(crate) fn not_run(&mut self, check: &'static str, why: &'static str) {
        let now = self.now();
        self.log.record(now, &Event::NotRun { check: check.into(), why: why.into() });
    }

    /// An address means these mailboxes; whether one was asked for room, and what it said.
    pub(crate) fn resolved(
        &mut self,
        mailboxes: &[Mailbox],
        limited: bool,
        full: Option<&Refusal>,
        (size, quota): (Option<u64>, &[(&'static str, u64)]),
    ) {
        let size = size.map(|size| ("size", size));
        let numbers: Vec<_> =
            size.iter().chain(quota).map(|(name, value)| (*name, value.to_string())).collect();
        let quota: Vec<_> = numbers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let count = mailboxes.len().to_string();
        match mailboxes {
            [only] => self.finding("directory", "mailbox", &[("mailbox", &only.to_string())]),
            _ => self.finding("directory", "mailboxes", &[("count", &count)]),
        }
        match (full, mailboxes) {
            (Some(refusal), _) => self.finding("quota", refusal.reply().id().name(), &quota),
            (None, _) if !limited => self.not_run("quota", "no-quotas"),
            (None, [_]) => self.finding("quota", "room", &quota),
            (None, _) => self.not_run("quota", "several-mailboxes"),
        }
    }

    /// A question was answered no, by this rule.
    pub(crate) fn refused(&mut self, question: &'static str, rule: &'static str) {
        let now = self.now();
        let verdict =
            Event::Verdict { question: question.into(), verdict: "refuse".into(), rule: rule.into() };
        self.log.record(now, &verdict);
    }

    /// The session's time is over; this is what the system knows of the connection.
    pub(crate) fn seen(&mut self, packets: Figures) {
        self.packets = packets;
    }

    /// The session noted something about its peer.
    pub(crate) fn noted(&mut self, note: Note) {
        let now = self.now();
        match note {
            Note::Line(line) => self.log.command(now, &line),
            Note::Content(content) => self.content(now, *content),
            Note::Stall(stall) => {
                let stalled = stalled(&stall, std::mem::take(&mut self.packets));
                self.log.record(now, &stalled);
            }
            Note::ContentAhead => self.log.record(
                now,
                &Event::Anomaly {
                    kind: "content-ahead".into(),
                    offset: 0,
                    before: Cow::Borrowed(&[]),
                    after: Cow::Borrowed(&[]),
                    ours: "content".into(),
                    other: "commands".into(),
                },
            ),
            Note::Injected { octets, first } => self.log.record(
                now,
                &Event::Anomaly {
                    kind: "injected-before-tls".into(),
                    // They are the last that came.
                    offset: self.octets.0.saturating_sub(octets),
                    before: Cow::Borrowed(&[]),
                    after: first.into(),
                    ours: "dropped".into(),
                    other: "commands".into(),
                },
            ),
            Note::MissingFrom => self.finding("from-field", "missing", &[]),
            Note::RepeatedFrom(count) => {
                self.finding("from-field", "repeated", &[("count", &count.to_string())]);
            }
            Note::MissingDate => self.finding("date-field", "missing", &[]),
            Note::LongLine(octets) => self.finding("line-length", "over", &[("octets", &octets.to_string())]),
            Note::LargeHeader(octets) => {
                self.finding("header-size", "over", &[("octets", &octets.to_string())]);
            }
            // Told with the content, with the octets around it; and what this driver does not know.
            Note::BareNewlines { .. } | _ => {}
        }
    }

    fn content(&mut self, now: Tick, content: Content) {
        let findings = content.findings;
        let (began, first) = self.content.take().unwrap_or((now, None));
        self.log.record(
            now,
            &Event::Content {
                octets: findings.size,
                crlf: findings.crlf,
                bare_lf: findings.bare_lf,
                bare_cr: findings.bare_newlines.saturating_sub(findings.bare_lf),
                first_ms: first.map(|first| millis(first.since(began))),
                ms: millis(now.since(began)),
            },
        );
        if findings.bare_newlines > 0 {
            let is_lf = findings.first_bare.after().starts_with(b"\n");
            self.log.record(
                now,
                &Event::Anomaly {
                    kind: if is_lf { "bare-lf" } else { "bare-cr" }.into(),
                    offset: findings.first_bare_at,
                    before: findings.first_bare.before().into(),
                    after: findings.first_bare.after().into(),
                    ours: "content-octet".into(),
                    other: "line-end".into(),
                },
            );
        }
        if let Some(end) = content.false_end {
            self.log.record(
                now,
                &Event::Anomaly {
                    kind: "false-end".into(),
                    offset: end.at,
                    before: end.window.before().into(),
                    after: end.window.after().into(),
                    ours: "content-octet".into(),
                    other: "message-end".into(),
                },
            );
        }
        self.message_id = content.message_id;
    }

    /// A message is ours.
    pub(crate) fn accepted(&mut self, queue_id: &str, envelope: &Sealed, took: (Duration, Duration)) {
        let now = self.now();
        let message_id = self.message_id.take();
        self.log.record(
            now,
            &Event::Message {
                queue_id: queue_id.into(),
                sender: envelope.sender.as_str().into(),
                recipients: envelope.recipients.iter().map(|one| one.as_str().into()).collect(),
                recipient_count: envelope.count,
                message_id: message_id.as_deref().map(String::from_utf8_lossy),
                octets: envelope.octets,
                receive_ms: millis(took.0),
                commit_ms: millis(took.1),
            },
        );
    }

    /// Hands over what there is.
    pub(crate) fn submit(&mut self) {
        self.records.submit(&mut self.log);
    }

    /// The session ends with the last reply, and not because the peer went away.
    pub(crate) fn ended(&mut self) {
        self.last.1 = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (side, why) = match (self.last, self.content) {
            ((why, true), _) => (Side::Us, why),
            (_, Some(_)) => (Side::Peer, "in-content"),
            (_, None) => (Side::Peer, "connection"),
        };
        let now = self.now();
        self.log.record(now, &closed(side, why, self.octets.0, self.octets.1));
        self.submit();
    }
}

/// What an envelope is, for the record: addresses as text, at most a hundred of them.
pub(crate) struct Sealed {
    sender: String,
    recipients: Vec<String>,
    count: u32,
    octets: u64,
}

impl Sealed {
    /// Recipients that are named one by one; of more only the number is told.
    const NAMED: usize = 100;

    pub(crate) fn of(envelope: &Envelope, octets: u64) -> Self {
        let sender = sender_text(envelope.sender());
        let recipients: Vec<String> =
            envelope.recipients().iter().take(Self::NAMED).map(|one| one.mailbox.to_string()).collect();
        let count = u32::try_from(envelope.recipients().len()).unwrap_or(u32::MAX);
        Self { sender, recipients, count, octets }
    }
}

fn stalled(stall: &Stall, packets: Figures) -> Event<'static> {
    let findings = stall.content.findings;
    let hex: Vec<String> = stall.tail.iter().map(|octet| format!("{octet:02x}")).collect();
    let evidence = [
        ("waited-s", stall.waited.as_secs().to_string()),
        ("octets", stall.content.taken.to_string()),
        ("crlf", findings.crlf.to_string()),
        ("bare-lf", findings.bare_lf.to_string()),
        ("bare-cr", findings.bare_newlines.saturating_sub(findings.bare_lf).to_string()),
        ("last-octets", hex.join(" ")),
    ];
    let packets = packets.into_iter().map(|(name, value)| (name, value.to_string()));
    let evidence = evidence.into_iter().chain(packets);
    let evidence = evidence.map(|(name, value)| (name.into(), value.into())).collect();
    Event::Stall { kind: stall.kind.key().into(), evidence }
}

fn closed(by: Side, why: &'static str, octets_in: u64, octets_out: u64) -> Event<'static> {
    Event::Closed { by, why: why.into(), octets_in, octets_out }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
