//! The state machine itself; see the module above for its contract and picture.

use super::content::{Chunk, Receiving};
use super::offer::{Offer, Protocol, TlsOffer};
use super::stall;
use super::transaction::Transaction;
use super::{Action, Content, Note, Question, StallKind, Verdict};
use crate::addr::ForwardPath;
use crate::command::{self, Hello, Mail};
use crate::envelope::Smtputf8;
use crate::number::grouped;
use crate::reply::{Refusal, Reply, ReplyId};
use crate::time::Tick;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use memchr::memmem;

/// Over which the least rate is averaged.
const RATE_WINDOW: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) enum State {
    /// No transaction.
    Ready,
    /// MAIL was accepted.
    Collecting(Box<Transaction>),
    /// 354 was sent.
    Content(Box<Receiving>),
    /// BDAT was accepted; in a chunk while it has octets left, else between chunks.
    Chunks(Box<Receiving>, Chunk),
    /// A chunk went wrong: nothing but RSET begins anew (RFC 3030 §4.2).
    Failed,
    /// The octets of a refused chunk pass by, then the reply is given.
    Skipping { left: u64, reply: Reply, last_input: Tick, then: Box<State> },
    /// A question is out.
    Asking(Pending),
    /// Nothing more is taken.
    Closed,
}

#[derive(Debug)]
pub(super) enum Pending {
    Sender(Mail),
    Recipient(Box<Transaction>, ForwardPath),
    Data(Box<Transaction>),
    Chunk(Box<Transaction>, Chunk),
    Commit { replies: usize },
}

/// A command line that is too long.
#[derive(Clone, Copy, Debug)]
struct Overlong {
    /// The limit it is over.
    limit: usize,
    /// Whether it began as DATA or BDAT, so that content may follow.
    announced_content: bool,
}

/// What a line may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A command.
    Command,
    /// A command or a password: AUTH was refused, and no command was understood since.
    Password,
}

/// One session with one peer. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Session {
    pub(super) offer: Arc<Offer>,
    pub(super) state: State,
    pub(super) hello: Option<(Hello, String)>,
    /// Input not yet taken: a partial line, or what stands behind a question. Empty when idle.
    inbox: Vec<u8>,
    inbox_at: usize,
    pub(super) actions: VecDeque<Action>,
    started: Tick,
    /// When the wait for the present command began.
    pub(super) prompted: Tick,
    errors: u32,
    /// The rest of an overlong line is being dropped.
    dropping_line: Option<Overlong>,
    /// DATA or BDAT was refused just now: the next line may be content.
    pub(super) wary: bool,
    /// MAIL, or RCPT in a transaction, was refused since the last clean beginning: who pipelines may
    /// have sent content for a transaction that did not come about.
    pub(super) thwarted: bool,
    pub(super) expected: Expected,
    /// The server stops after the content phase.
    stopping: bool,
}

impl Session {
    /// Begins a session with the greeting.
    pub fn new(now: Tick, offer: Arc<Offer>) -> Self {
        let greeting = Reply::saying(
            ReplyId::Greeting,
            match offer.protocol {
                Protocol::Smtp => format!("{} {}", offer.hostname, ReplyId::Greeting.text()),
                Protocol::Lmtp => format!("{} LMTP Postroad", offer.hostname),
            },
        );
        let mut session = Self::silent(now, offer);
        session.actions.push_back(Action::Send(greeting));
        session
    }

    /// Begins anew inside TLS, where the greeting was given before it: what the peer said is forgotten
    /// (RFC 3207 §4.2); how long it has been here and how often it erred is not.
    #[must_use]
    pub fn after_starttls(&self, now: Tick, offer: Arc<Offer>) -> Self {
        Self { started: self.started, errors: self.errors, ..Self::silent(now, offer) }
    }

    /// A session that says nothing of itself.
    fn silent(now: Tick, offer: Arc<Offer>) -> Self {
        Self {
            offer,
            state: State::Ready,
            hello: None,
            inbox: Vec::new(),
            inbox_at: 0,
            actions: VecDeque::new(),
            started: now,
            prompted: now,
            errors: 0,
            dropping_line: None,
            wary: false,
            thwarted: false,
            expected: Expected::Command,
            stopping: false,
        }
    }

    /// Takes what the peer sent, at any cut.
    pub fn handle_input(&mut self, now: Tick, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.note_progress(now, bytes.len());
        if self.inbox.is_empty() {
            let used = self.run(now, bytes);
            self.inbox.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            self.inbox.extend_from_slice(bytes);
            self.resume(now);
        }
    }

    /// Takes the answer to the last [`Action::Ask`], other than a commit.
    pub fn handle_verdict(&mut self, now: Tick, verdict: Verdict) {
        let State::Asking(pending) = mem::replace(&mut self.state, State::Ready) else { return };
        self.prompted = now;
        let refusal = match verdict {
            Verdict::Accept => {
                self.accept(now, pending);
                self.resume(now);
                return;
            }
            Verdict::Refuse(refusal) => refusal,
            Verdict::Hangup(refusal) => {
                self.say(refusal.into_reply());
                self.close();
                return;
            }
        };
        match pending {
            Pending::Sender(_) => {
                self.thwarted = true;
                self.say(refusal.into_reply());
            }
            Pending::Recipient(transaction, _) => {
                self.thwarted = true;
                self.state = State::Collecting(transaction);
                self.say(refusal.into_reply());
            }
            Pending::Data(_) => {
                self.thwarted = true;
                self.say(refusal.into_reply());
                let inbox = mem::take(&mut self.inbox);
                self.beware_of_content(inbox.get(self.inbox_at..).unwrap_or_default());
                self.inbox = inbox;
            }
            Pending::Chunk(_, chunk) => self.skip(now, chunk.size, refusal.into_reply(), State::Failed),
            Pending::Commit { replies } => self.say_all(refusal.reply(), replies),
        }
        self.resume(now);
    }

    /// Takes the answer to [`Question::Commit`]: the queue id, or why the message was not stored.
    pub fn handle_commit(&mut self, now: Tick, result: Result<String, Refusal>) {
        self.handle_commit_each(now, result, &[]);
    }

    /// As [`Self::handle_commit`], where LMTP has another answer for some recipients: each by its place
    /// in [`super::Transaction::recipients`] (RFC 2033 §4.2). SMTP has one reply, and that is `result`.
    pub fn handle_commit_each(
        &mut self,
        now: Tick,
        result: Result<String, Refusal>,
        refused: &[(usize, Refusal)],
    ) {
        let State::Asking(Pending::Commit { replies }) = self.state else { return };
        self.state = State::Ready;
        self.prompted = now;
        let answer = match result {
            Ok(id) => Reply::saying(ReplyId::Accepted, format!("Accepted and stored as {id}")),
            Err(refusal) => refusal.into_reply(),
        };
        if self.offer.protocol == Protocol::Lmtp && !refused.is_empty() {
            for at in 0..replies {
                let own = refused.iter().find(|(place, _)| *place == at);
                self.say(own.map_or(&answer, |(_, refusal)| refusal.reply()).clone());
            }
        } else {
            self.say_all(&answer, replies);
        }
        if self.stopping {
            self.handle_shutdown();
        }
        self.resume(now);
    }

    /// Ends the session if its [`Self::deadline`] has passed; else does nothing.
    pub fn handle_timeout(&mut self, now: Tick) {
        if now < self.deadline() {
            return;
        }
        let limits = &self.offer.limits;
        let session_over = now >= self.started.after(limits.session_timeout);
        let line = self.inbox.get(self.inbox_at..).unwrap_or_default();
        let waited = now.since(self.prompted);
        let content_comes =
            matches!(self.state, State::Content(_) | State::Chunks(_, Chunk { left: 1.., .. }));
        let stalled = if session_over && !content_comes {
            None
        } else {
            stall::of(&self.state, line, self.dropping_line.is_some(), now, waited)
        };
        let reply = match &mut self.state {
            State::Asking(_) | State::Closed => return,
            _ if session_over => Reply::saying(
                ReplyId::SessionTimeout,
                format!("The session lasted {} s, which is the limit", limits.session_timeout.as_secs()),
            ),
            State::Content(receiving) if now >= receiving.last_input.after(limits.content_timeout) => {
                let (taken, hint) = (receiving.decoder.taken(), receiving.decoder.tail_hint());
                let text = match taken {
                    0 => format!("Timed out: {hint}"),
                    _ => format!("Timed out: no CRLF.CRLF in {} bytes; {hint}", grouped(taken)),
                };
                Reply::saying(ReplyId::ContentTimeout, text)
            }
            State::Chunks(receiving, chunk @ Chunk { left: 1.., .. })
                if now >= receiving.last_input.after(limits.content_timeout) =>
            {
                let (left, size) = (grouped(chunk.left), grouped(chunk.size));
                let text = format!("Timed out: {left} of the chunk's {size} octets are missing");
                Reply::saying(ReplyId::ContentTimeout, text)
            }
            State::Content(receiving) | State::Chunks(receiving, Chunk { left: 1.., .. }) => {
                let (window_start, octets) = receiving.window;
                // Silence is the content timer's matter; slow is who keeps sending little.
                let silent = now.since(receiving.last_input) > RATE_WINDOW / 2;
                if silent || octets >= u64::from(limits.min_rate).saturating_mul(RATE_WINDOW.as_secs()) {
                    receiving.window = (now, 0);
                    return;
                }
                let seconds = now.since(window_start).as_secs();
                let text = format!(
                    "Content came too slowly: {} octets in {seconds} s, the least is {} a second",
                    grouped(octets),
                    grouped(limits.min_rate.into())
                );
                Reply::saying(ReplyId::TooSlow, text)
            }
            State::Skipping { .. } => {
                Reply::saying(ReplyId::ContentTimeout, "Timed out waiting for the octets of a chunk")
            }
            State::Ready | State::Collecting(_) | State::Chunks(..) | State::Failed => {
                let seconds = limits.command_timeout.as_secs();
                let line = self.inbox.get(self.inbox_at..).unwrap_or_default();
                Reply::saying(
                    ReplyId::CommandTimeout,
                    if self.dropping_line.is_some() {
                        format!("No CRLF in {seconds} s: an overlong command has no end")
                    } else if line.contains(&b'\n') {
                        format!(
                            "No CRLF in {seconds} s: a line ended with a bare LF; end each line with CRLF"
                        )
                    } else if line.is_empty() {
                        format!("No command came in {seconds} s")
                    } else {
                        format!(
                            "No CRLF in {seconds} s: a command of {} octets has no end",
                            grouped(line.len() as u64)
                        )
                    },
                )
            }
        };
        if let Some(mut stall) = stalled {
            // Octets came to the last, so that the session's time was over before theirs.
            let is_slow = session_over && stall.waited <= RATE_WINDOW / 2;
            if reply.id() == ReplyId::TooSlow || is_slow {
                stall.kind = StallKind::SlowLink;
            }
            self.actions.push_back(Action::Note(Note::Stall(Box::new(stall))));
        }
        if let Some(content) = self.content().filter(|_| self.offer.record) {
            self.actions.push_back(Action::Note(Note::Content(Box::new(content))));
        }
        self.abandon();
        self.say(reply);
        self.close();
    }

    /// The content on its way in, as far as it came; nothing where none is expected.
    pub fn content(&self) -> Option<Content> {
        match &self.state {
            State::Content(receiving) | State::Chunks(receiving, _) => Some(receiving.seen()),
            State::Ready
            | State::Collecting(_)
            | State::Failed
            | State::Skipping { .. }
            | State::Asking(_)
            | State::Closed => None,
        }
    }

    /// Ends the session because the server stops: at once between commands, after its end in a
    /// content phase.
    pub fn handle_shutdown(&mut self) {
        self.stopping = true;
        match self.state {
            State::Ready | State::Collecting(_) | State::Failed => {
                self.say(Reply::of(ReplyId::ShuttingDown));
                self.close();
            }
            State::Content(_)
            | State::Chunks(..)
            | State::Skipping { .. }
            | State::Asking(_)
            | State::Closed => {}
        }
    }

    /// Ends the session because the server waits no longer, in a content phase too: what came of the
    /// content is dropped, and the peer is told so. A question that is out is waited for.
    pub fn handle_cutoff(&mut self) {
        self.handle_shutdown();
        if self.wants_input() {
            self.abandon();
            self.say(Reply::of(ReplyId::ShuttingDown));
            self.close();
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() && self.actions.capacity() > 8 {
            self.actions = VecDeque::new();
        }
        action
    }

    /// Whether the driver should read: not while a question is out, and not after the end.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Asking(_) | State::Closed)
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn deadline(&self) -> Tick {
        let limits = &self.offer.limits;
        let phase = match &self.state {
            State::Asking(_) | State::Closed => return Tick::NEVER,
            State::Ready | State::Collecting(_) | State::Failed | State::Chunks(_, Chunk { left: 0, .. }) => {
                self.prompted.after(limits.command_timeout)
            }
            State::Content(receiving) | State::Chunks(receiving, _) => {
                let silent = receiving.last_input.after(limits.content_timeout);
                if limits.min_rate == 0 { silent } else { silent.min(receiving.window.0.after(RATE_WINDOW)) }
            }
            State::Skipping { last_input, .. } => last_input.after(limits.content_timeout),
        };
        phase.min(self.started.after(limits.session_timeout))
    }

    /// The open transaction, if there is one.
    pub fn transaction(&self) -> Option<&Transaction> {
        match &self.state {
            State::Collecting(transaction)
            | State::Asking(
                Pending::Recipient(transaction, _)
                | Pending::Data(transaction)
                | Pending::Chunk(transaction, _),
            ) => Some(transaction),
            State::Content(receiving) | State::Chunks(receiving, _) => Some(&receiving.transaction),
            State::Ready
            | State::Failed
            | State::Skipping { .. }
            | State::Asking(Pending::Sender(_) | Pending::Commit { .. })
            | State::Closed => None,
        }
    }

    /// What the peer calls itself, once it has said so.
    pub fn hello(&self) -> Option<&str> {
        self.hello.as_ref().map(|(_, name)| name.as_str())
    }

    /// The protocol keyword of the trace header (RFC 3848, RFC 6531 §3.7.3).
    pub fn with_protocol(&self) -> &'static str {
        let utf8 = self.transaction().is_some_and(|t| t.smtputf8() == Smtputf8::Needed);
        let tls = self.offer.tls == TlsOffer::Active;
        match (self.hello.as_ref().map(|(kind, _)| *kind), utf8, tls) {
            (Some(Hello::Ehlo), false, false) => "ESMTP",
            (Some(Hello::Ehlo), false, true) => "ESMTPS",
            (Some(Hello::Ehlo), true, false) => "UTF8SMTP",
            (Some(Hello::Ehlo), true, true) => "UTF8SMTPS",
            (Some(Hello::Lhlo), false, false) => "LMTP",
            (Some(Hello::Lhlo), false, true) => "LMTPS",
            (Some(Hello::Lhlo), true, false) => "UTF8LMTP",
            (Some(Hello::Lhlo), true, true) => "UTF8LMTPS",
            (Some(Hello::Helo) | None, ..) => "SMTP",
        }
    }

    /// Octets of input and content that this session holds in memory.
    pub fn held(&self) -> usize {
        let content = match &self.state {
            State::Content(receiving) | State::Chunks(receiving, _) => receiving.held(),
            State::Ready
            | State::Collecting(_)
            | State::Failed
            | State::Skipping { .. }
            | State::Asking(_)
            | State::Closed => 0,
        };
        self.inbox.capacity() + content
    }

    fn note_progress(&mut self, now: Tick, octets: usize) {
        match &mut self.state {
            State::Content(receiving) | State::Chunks(receiving, Chunk { left: 1.., .. }) => {
                if now.since(receiving.last_input) > RATE_WINDOW / 2 {
                    // The rate is that of octets which come, not of the silence before them.
                    receiving.window = (now, 0);
                }
                receiving.last_input = now;
                receiving.window.1 = receiving.window.1.saturating_add(octets as u64);
            }
            State::Skipping { last_input, .. } => *last_input = now,
            State::Ready
            | State::Collecting(_)
            | State::Chunks(..)
            | State::Failed
            | State::Asking(_)
            | State::Closed => {}
        }
    }

    /// Goes on with what was left in the inbox.
    fn resume(&mut self, now: Tick) {
        let mut inbox = mem::take(&mut self.inbox);
        let used = self.run(now, inbox.get(self.inbox_at..).unwrap_or_default());
        let at = self.inbox_at + used;
        self.inbox_at = 0;
        if at < inbox.len() && !matches!(self.state, State::Closed) {
            // Moved rarely, so that a full inbox is not moved once a command.
            if at > inbox.len() / 2 {
                inbox.drain(..at);
            } else {
                self.inbox_at = at;
            }
            self.inbox = inbox;
        }
    }

    /// Takes as much of `input` as it can; returns the octets used.
    fn run(&mut self, now: Tick, input: &[u8]) -> usize {
        let mut rest = input;
        loop {
            // Each round takes octets or changes the state towards one that does.
            match mem::replace(&mut self.state, State::Closed) {
                State::Closed => return input.len(),
                State::Asking(pending) => {
                    self.state = State::Asking(pending);
                    return input.len() - rest.len();
                }
                State::Content(mut receiving) => {
                    if rest.is_empty() {
                        self.state = State::Content(receiving);
                        return input.len();
                    }
                    let used = receiving.take_data(rest, &self.offer.limits, &mut self.actions);
                    rest = rest.get(used..).unwrap_or_default();
                    self.after_content(now, receiving);
                }
                State::Chunks(mut receiving, mut chunk) if chunk.left > 0 => {
                    if rest.is_empty() {
                        self.state = State::Chunks(receiving, chunk);
                        return input.len();
                    }
                    let take = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(rest.len());
                    let (run, after) = rest.split_at_checked(take).unwrap_or((rest, &[]));
                    receiving.take_run(run, &self.offer.limits, &mut self.actions);
                    chunk.left -= run.len() as u64;
                    rest = after;
                    self.after_chunk_octets(now, receiving, chunk);
                }
                State::Skipping { left, reply, last_input, then } => {
                    if rest.is_empty() {
                        self.state = State::Skipping { left, reply, last_input, then };
                        return input.len();
                    }
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    rest = rest.get(take..).unwrap_or_default();
                    let left = left - take as u64;
                    if left > 0 {
                        self.state = State::Skipping { left, reply, last_input, then };
                    } else {
                        self.prompted = now;
                        self.state = *then;
                        self.say(reply);
                        self.stop_if_asked();
                    }
                }
                state @ (State::Ready | State::Collecting(_) | State::Chunks(..) | State::Failed) => {
                    self.state = state;
                    match self.take_line(now, rest) {
                        Some(used) => rest = rest.get(used..).unwrap_or_default(),
                        None => return input.len() - rest.len(),
                    }
                    if self.dropping_line.is_some() && rest.len() <= 1 {
                        return input.len() - rest.len();
                    }
                }
            }
        }
    }

    /// Takes one command line; `None` if there is no whole one yet.
    fn take_line(&mut self, now: Tick, rest: &[u8]) -> Option<usize> {
        if *rest.first()? == 0x16 && self.dropping_line.is_none() {
            // The first octet of a TLS handshake record; no command begins with it.
            self.say(Reply::saying(
                ReplyId::NotSmtp,
                "This port speaks SMTP in clear first, not TLS; use STARTTLS or the implicit TLS port",
            ));
            self.close();
            return Some(rest.len());
        }
        let longest = self.offer.limits.command_line + command::MOST_ALLOWANCE;
        let end = memmem::find(rest, b"\r\n");
        if let Some(overlong) = self.dropping_line {
            // A CR at the very end may be half of the line end.
            let Some(end) = end else { return Some(rest.len() - usize::from(rest.ends_with(b"\r"))) };
            self.dropping_line = None;
            self.prompted = now;
            self.say_too_long(overlong, rest.get(end + 2..).unwrap_or_default());
            return Some(end + 2);
        }
        let command_line = self.offer.limits.command_line;
        let allowed = |line: &[u8]| Overlong {
            limit: command_line + command::allowance(line),
            announced_content: command::announces_content(line),
        };
        let Some(end) = end else {
            if rest.len() <= longest {
                return None;
            }
            self.note_line(rest);
            self.dropping_line = Some(allowed(rest));
            return Some(rest.len() - usize::from(rest.ends_with(b"\r")));
        };
        let line = rest.get(..end).unwrap_or_default();
        let behind = rest.get(end + 2..).unwrap_or_default();
        self.note_line(line);
        self.prompted = now;
        let allowed = allowed(line);
        if line.len() + 2 > allowed.limit {
            self.say_too_long(allowed, behind);
            return Some(end + 2);
        }
        Some(self.take_command(now, line, behind) + end + 2)
    }

    /// Notes a command line, or the beginning of one that is too long.
    fn note_line(&mut self, line: &[u8]) {
        if self.offer.record {
            let longest = self.offer.limits.command_line.min(line.len());
            let line = line.get(..longest).unwrap_or(line).to_vec();
            self.actions.push_back(Action::Note(Note::Line(line)));
        }
    }

    pub(super) fn note_content(&mut self, receiving: &Receiving) {
        if self.offer.record {
            self.actions.push_back(Action::Note(Note::Content(Box::new(receiving.seen()))));
        }
    }

    fn say_too_long(&mut self, overlong: Overlong, behind: &[u8]) {
        let text = format!("Line too long: a command may have {} octets", grouped(overlong.limit as u64));
        self.say(Reply::saying(ReplyId::LineTooLong, text));
        if overlong.announced_content {
            self.beware_of_content(behind);
        }
    }

    pub(super) fn ask(&mut self, question: Question, pending: Pending) {
        self.state = State::Asking(pending);
        self.actions.push_back(Action::Ask(question));
    }

    pub(super) fn need_hello(&self) -> Reply {
        match self.offer.protocol {
            Protocol::Smtp => Reply::of(ReplyId::NeedHello),
            Protocol::Lmtp => {
                Reply::saying(ReplyId::NeedHello, "Say LHLO first, as in LHLO mail.example.org")
            }
        }
    }

    pub(super) fn out_of_order(&self, between_chunks: ReplyId) -> Reply {
        if matches!(self.state, State::Collecting(_)) {
            Reply::of(ReplyId::NeedRecipient)
        } else if matches!(self.state, State::Chunks(..) | State::Failed) {
            Reply::of(between_chunks)
        } else if self.hello.is_none() {
            self.need_hello()
        } else {
            Reply::of(ReplyId::NeedMail)
        }
    }

    pub(super) fn say_out_of_order(&mut self, between_chunks: ReplyId) {
        let reply = self.out_of_order(between_chunks);
        self.say(reply);
    }

    pub(super) fn say_all(&mut self, reply: &Reply, times: usize) {
        // One message is one mistake, however many recipients are told of it.
        for _ in 1..times {
            self.actions.push_back(Action::Send(reply.clone()));
        }
        self.say(reply.clone());
    }

    /// Gives a reply, and ends the session where that reply was one too many.
    pub(super) fn say(&mut self, reply: Reply) {
        if reply.code() < 500 {
            self.actions.push_back(Action::Send(reply));
            return;
        }
        self.actions.push_back(Action::Send(reply));
        self.errors = self.errors.saturating_add(1);
        if self.errors >= self.offer.limits.errors {
            let text = format!("Too many errors: {} in this session", self.errors);
            self.actions.push_back(Action::Send(Reply::saying(ReplyId::TooManyErrors, text)));
            self.close();
        }
    }

    /// After DATA or BDAT was refused. Where a transaction is under way or has just failed, what stands
    /// behind already was sent without waiting for the answer (RFC 2920 §3.1 forbids it): it is its
    /// content, and must never be run as commands. Elsewhere DATA is out of order as any command may be.
    pub(super) fn beware_of_content(&mut self, behind: &[u8]) {
        if matches!(self.state, State::Closed) {
            return;
        }
        let expected = self.thwarted || self.transaction().is_some_and(|open| !open.recipients().is_empty());
        if expected && !command::is_harmless(behind) {
            self.say_content_ahead();
        } else {
            self.wary = true;
        }
    }

    pub(super) fn say_content_ahead(&mut self) {
        self.actions.push_back(Action::Send(Reply::of(ReplyId::ContentAhead)));
        self.close();
    }

    pub(super) fn stop_if_asked(&mut self) {
        if self.stopping {
            self.handle_shutdown();
        }
    }

    /// Drops the transaction (RFC 5321 §4.1.1.5).
    pub(super) fn reset(&mut self) {
        self.abandon();
        self.thwarted = false;
        self.state = State::Ready;
    }

    pub(super) fn abandon(&mut self) {
        if matches!(self.state, State::Content(_) | State::Chunks(..)) {
            self.state = State::Ready;
            self.actions.push_back(Action::Abandon);
        }
    }

    pub(super) fn close(&mut self) {
        if matches!(self.actions.back(), Some(Action::Close)) {
            return;
        }
        self.abandon();
        self.state = State::Closed;
        self.actions.push_back(Action::Close);
    }
}
