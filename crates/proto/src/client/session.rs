//! The dialogue of one transfer, as a machine that is fed octets and says what to do.
//!
//! RFC 5321 §3.1–3.3 (order), §4.1.4, §4.5.3.2 (timers), §4.3.2; RFC 2920 §3.1 (replies are counted,
//! never matched by code; a lone dot where DATA was accepted without a recipient), RFC 2033 §4.2,
//! RFC 3030 §2, RFC 3207 §4, RFC 4954 §4. Every end, wanted or not, leaves one [`Outcome`] per
//! recipient. A reply that nothing asked for ends the session: every later one would be off by one.
//!
//! ```text
//! Opening ──► Collecting ──► Sending ──► Ending ──► Leaving ──► Closed
//!  │   ▲           └────────────┴──► Draining ─────────┘  ▲        ▲
//!  ▼   │           (outcomes are known, replies are owed) │        │
//! Securing                    refused before the content ─┘        │
//!                             lost, late, or not SMTP: from anywhere
//! ```

use super::capabilities::{Capabilities, Extension, Mechanism};
use super::encode::{Encoder, Encoding};
use super::outcome::{Failure, LocalRefusal, Outcome, Phase, ProtocolFault};
use super::reply::{ReplyReader, ServerReply};
use super::{
    Action, Chunking, Dialogue, Grouping, Login, PlainLogin, Protocol, Settings, TlsPolicy, Transfer,
};
use crate::envelope::{Body, Smtputf8};
use crate::reply::Class;
use crate::time::Tick;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Octets of commands that may be unanswered: both ends can hold that much without reading, so that a
/// server that writes before it reads and a client that does the same cannot wait for each other
/// (RFC 2920 §3.1 warns of it).
const WINDOW: usize = 4096;
/// Chunks that may be unanswered.
const MAX_CHUNKS_OWED: usize = 4;
/// Longest command line with its CRLF (RFC 5321 §4.5.3.1.4); decides about AUTH's initial response.
const MAX_COMMAND: usize = 512;

/// What a reply that is owed answers, in the order in which the server has to give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Greeting,
    Hello,
    PlainHello,
    StartTls,
    Login(LoginStep),
    Mail,
    Recipient(usize),
    Data,
    Chunk,
    LoneDot,
    End,
    EndFor(usize),
    Quit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoginStep {
    /// `AUTH PLAIN` went out without its response.
    PlainAsked,
    /// `AUTH LOGIN` went out.
    UserAsked,
    /// The user went out.
    PasswordAsked,
    /// All is said.
    Said,
}

impl Owed {
    const fn phase(self) -> Phase {
        match self {
            Self::Greeting => Phase::Greeting,
            Self::Hello | Self::PlainHello => Phase::Hello,
            Self::StartTls => Phase::StartTls,
            Self::Login(_) => Phase::Login,
            Self::Mail => Phase::Mail,
            Self::Recipient(_) => Phase::Recipient,
            Self::Data | Self::LoneDot => Phase::Data,
            Self::Chunk => Phase::Content,
            Self::End | Self::EndFor(_) => Phase::End,
            Self::Quit => Phase::Quit,
        }
    }
}

/// The next command of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Mail,
    Recipient(usize),
    Data,
    Nothing,
}

#[derive(Debug)]
struct Envelope {
    next: Next,
    /// A recipient was accepted.
    wanted: bool,
    /// 354 came.
    go_ahead: bool,
}

#[derive(Debug)]
struct Content {
    encoding: Encoding,
    encoder: Encoder,
    /// Encoded, and kept back until it is known whether it is the last chunk; empty for DATA.
    held: Vec<u8>,
    sent: u64,
    asked: bool,
    ended: bool,
}

#[derive(Debug)]
enum State {
    /// Greeting, hello, TLS and login.
    Opening,
    /// The handshake runs: nothing is read here.
    Securing,
    /// MAIL, RCPT and DATA.
    Collecting(Envelope),
    /// Content goes out.
    Sending(Content),
    /// All content is out; its replies are owed.
    Ending,
    /// The outcomes are known, and replies are still owed.
    Draining,
    /// QUIT is out.
    Leaving,
    Closed,
}

/// Whether TLS is on, may still come, or was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Plain,
    PlainForGood,
    Tls,
}

/// One transfer over one connection.
///
/// After every `handle_*` drain [`Session::poll_action`] until `None`, carrying out each action; then
/// read, unless content was asked for or [`Session::wants_input`] says no; and when
/// [`Session::deadline`] passes, call [`Session::handle_timeout`].
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    transfer: Transfer,
    state: State,
    replies: ReplyReader,
    owed: VecDeque<(Owed, usize)>,
    in_flight: usize,
    /// Part of a reply came while none was owed.
    early: bool,
    capabilities: Capabilities,
    channel: Channel,
    login: Option<Login>,
    outcomes: Vec<Option<Outcome>>,
    actions: VecDeque<Action>,
    deadline: Tick,
}

impl Session {
    /// A session on a connection that was just made.
    pub fn new(now: Tick, settings: Settings, transfer: Transfer) -> Self {
        let deadline = now.after(settings.timers.greeting);
        let channel = if settings.tls == TlsPolicy::Implicit { Channel::Tls } else { Channel::Plain };
        Self {
            login: settings.login.clone(),
            outcomes: transfer.recipients.iter().map(|_| None).collect(),
            settings,
            transfer,
            state: State::Opening,
            replies: ReplyReader::default(),
            owed: VecDeque::from([(Owed::Greeting, 0)]),
            in_flight: 0,
            early: false,
            capabilities: Capabilities::default(),
            channel,
            actions: VecDeque::new(),
            deadline,
        }
    }

    /// Takes what the server said, cut anywhere.
    pub fn handle_input(&mut self, now: Tick, octets: &[u8]) {
        // A reply in these octets can only answer what was sent before they came.
        let mut answers = self.owed.len();
        let mut rest = octets;
        // Ends: each round takes octets off `rest` or leaves the loop.
        while !rest.is_empty() && self.wants_input() {
            match self.replies.read(&mut rest) {
                Ok(None) => break,
                Ok(Some(reply)) if answers == 0 || self.early => self.handle_unasked(reply),
                Ok(Some(reply)) => {
                    answers -= 1;
                    self.handle_reply(now, reply);
                }
                Err(fault) => self.break_off(Failure::Protocol(self.phase(), ProtocolFault::Reply(fault))),
            }
        }
        if matches!(self.state, State::Securing) && (!rest.is_empty() || self.replies.is_partial()) {
            self.break_off(Failure::Protocol(Phase::StartTls, ProtocolFault::BeforeTls));
        }
        self.early |= answers == 0 && self.replies.is_partial();
    }

    /// The TLS handshake is done; everything said before it is forgotten (RFC 3207 §4.2).
    pub fn handle_secured(&mut self, now: Tick) {
        if matches!(self.state, State::Securing) {
            self.channel = Channel::Tls;
            self.capabilities = Capabilities::default();
            self.show(Dialogue::Secured);
            self.state = State::Opening;
            self.say_hello(now);
        }
    }

    /// Takes the next piece of the content, in answer to [`Action::NeedContent`].
    pub fn handle_content(&mut self, now: Tick, piece: &[u8]) {
        let State::Sending(content) = &mut self.state else { return };
        content.asked = false;
        let mut out = Vec::with_capacity(piece.len() + piece.len() / 16 + 16);
        content.encoder.push(piece, &mut out);
        if content.encoding != Encoding::Dotted {
            out = core::mem::replace(&mut content.held, out);
        }
        self.send_content(now, out, Owed::Chunk);
        self.want_content();
    }

    /// The content is complete.
    pub fn handle_content_end(&mut self, now: Tick) {
        if let State::Sending(content) = &mut self.state {
            content.ended = true;
            self.end_content(now);
        }
    }

    /// The server closed the connection, or it broke.
    pub fn handle_close(&mut self) {
        self.break_off(Failure::Closed(self.phase()));
    }

    /// Something of this side ended the session: the handshake failed, or the content cannot be read.
    /// The connection is closed without the end mark of the content, so the server keeps nothing.
    pub fn abandon(&mut self, failure: Failure) {
        self.break_off(failure);
    }

    /// Time has passed; does nothing before [`Session::deadline`].
    pub fn handle_timeout(&mut self, now: Tick) {
        if now >= self.deadline {
            self.break_off(Failure::TimedOut(self.phase()));
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether octets from the server can be taken now.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Securing | State::Closed)
    }

    /// When [`Session::handle_timeout`] is due.
    pub fn deadline(&self) -> Tick {
        self.deadline
    }

    /// What the session waits for now.
    pub fn phase(&self) -> Phase {
        if let Some((owed, _)) = self.owed.front() {
            return owed.phase();
        }
        match self.state {
            State::Opening => Phase::Hello,
            State::Securing => Phase::StartTls,
            State::Collecting(_) => Phase::Mail,
            State::Sending(_) => Phase::Content,
            State::Ending | State::Draining => Phase::End,
            State::Leaving | State::Closed => Phase::Quit,
        }
    }

    /// What the server last offered.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// One outcome per recipient, in order. Complete once [`Action::Close`] or the command QUIT came;
    /// before, what is still open counts as a connection that ended.
    pub fn into_outcomes(self) -> Vec<Outcome> {
        let phase = self.phase();
        self.outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Outcome::Failed(Failure::Closed(phase))))
            .collect()
    }

    fn handle_reply(&mut self, now: Tick, reply: ServerReply) {
        let Some((owed, length)) = self.owed.pop_front() else { return };
        self.in_flight = self.in_flight.saturating_sub(length);
        self.show_reply(&reply);
        if reply.code() == 421 && owed != Owed::Quit {
            // The server closes the connection (RFC 5321 §3.8): nothing more can be said.
            self.break_off(Failure::Refused(owed.phase(), reply));
            return;
        }
        let refusal = match reply.class() {
            Some(Class::Success) => None,
            Some(Class::Transient | Class::Permanent) => Some(Failure::Refused(owed.phase(), reply.clone())),
            None if matches!(owed, Owed::Data | Owed::Login(_)) => None,
            None => {
                let fault = ProtocolFault::UnexpectedCode(reply.code());
                self.break_off(Failure::Protocol(owed.phase(), fault));
                return;
            }
        };
        match owed {
            Owed::Greeting => match refusal {
                None => self.say_hello(now),
                Some(refusal) => self.give_up(now, &refusal),
            },
            Owed::Hello | Owed::PlainHello => self.handle_hello(now, owed, &reply, refusal),
            Owed::StartTls => match refusal {
                None => {
                    self.state = State::Securing;
                    self.actions.push_back(Action::StartTls);
                }
                Some(refusal) if self.settings.tls == TlsPolicy::Require => self.give_up(now, &refusal),
                Some(_) => {
                    self.channel = Channel::PlainForGood;
                    self.go_on(now);
                }
            },
            Owed::Login(step) => match refusal {
                None => self.handle_login(now, step, &reply),
                Some(refusal) => self.give_up(now, &refusal),
            },
            Owed::Mail | Owed::Recipient(_) | Owed::Data => {
                self.handle_envelope(now, owed, &reply, refusal);
            }
            Owed::Chunk => self.handle_chunk(now, refusal),
            Owed::End => {
                self.settle(&refusal.map_or(Outcome::Accepted(reply), Outcome::Failed));
                self.leave(now);
            }
            Owed::EndFor(index) => {
                self.settle_one(index, refusal.map_or(Outcome::Accepted(reply), Outcome::Failed));
                self.deadline = now.after(self.settings.timers.end);
                if self.owed.is_empty() {
                    self.leave(now);
                }
            }
            Owed::LoneDot => self.leave(now),
            Owed::Quit => self.close(),
        }
    }

    /// A refusal may come at any time, and says why better than anything else could; the session is
    /// over either way.
    fn handle_unasked(&mut self, reply: ServerReply) {
        self.show_reply(&reply);
        let phase = self.phase();
        self.break_off(match reply.class() {
            Some(Class::Transient | Class::Permanent) => Failure::Refused(phase, reply),
            Some(Class::Success) | None => Failure::Protocol(phase, ProtocolFault::Unasked(reply.code())),
        });
    }

    fn handle_hello(&mut self, now: Tick, owed: Owed, reply: &ServerReply, refusal: Option<Failure>) {
        match refusal {
            None => {
                if owed == Owed::Hello {
                    self.capabilities = Capabilities::of(reply);
                }
                self.go_on(now);
            }
            // RFC 5321 §3.2: a server that does not know EHLO is spoken to with HELO.
            Some(_)
                if owed == Owed::Hello
                    && self.settings.protocol == Protocol::Smtp
                    && matches!(reply.code(), 500 | 502) =>
            {
                let line = format!("HELO {}", self.settings.hello);
                self.command(line, Owed::PlainHello);
                self.deadline = now.after(self.settings.timers.hello);
            }
            Some(refusal) => self.give_up(now, &refusal),
        }
    }

    fn say_hello(&mut self, now: Tick) {
        let verb = match self.settings.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let line = format!("{verb} {}", self.settings.hello);
        self.command(line, Owed::Hello);
        self.deadline = now.after(self.settings.timers.hello);
    }

    /// After hello, a refused STARTTLS or a login: TLS, then the login, then the envelope.
    fn go_on(&mut self, now: Tick) {
        self.deadline = now.after(self.settings.timers.hello);
        let tls_wanted = match self.settings.tls {
            TlsPolicy::Off | TlsPolicy::Implicit => false,
            TlsPolicy::IfOffered | TlsPolicy::Require => self.channel == Channel::Plain,
        };
        if tls_wanted && self.capabilities.offers(Extension::StartTls) {
            self.command("STARTTLS".to_string(), Owed::StartTls);
        } else if tls_wanted && self.settings.tls == TlsPolicy::Require {
            self.give_up(now, &Failure::Local(LocalRefusal::TlsNotOffered));
        } else if let Some(login) = self.login.take() {
            self.log_in(now, login);
        } else if let Some(refusal) = self.local_refusal() {
            self.give_up(now, &Failure::Local(refusal));
        } else {
            self.state = State::Collecting(Envelope { next: Next::Mail, wanted: false, go_ahead: false });
            self.send_envelope(now);
        }
    }

    fn log_in(&mut self, now: Tick, login: Login) {
        if self.channel != Channel::Tls && self.settings.plain_login == PlainLogin::Refuse {
            self.give_up(now, &Failure::Local(LocalRefusal::LoginNeedsTls));
        } else if self.capabilities.offers_login(Mechanism::Plain) {
            let whole = format!("AUTH PLAIN {}", login.plain());
            if whole.len() + 2 <= MAX_COMMAND {
                self.secret(&whole, "AUTH PLAIN ****", Owed::Login(LoginStep::Said));
            } else {
                self.login = Some(login);
                self.command("AUTH PLAIN".to_string(), Owed::Login(LoginStep::PlainAsked));
            }
        } else if self.capabilities.offers_login(Mechanism::Login) {
            self.login = Some(login);
            self.command("AUTH LOGIN".to_string(), Owed::Login(LoginStep::UserAsked));
        } else {
            self.give_up(now, &Failure::Local(LocalRefusal::LoginNotOffered));
        }
    }

    fn handle_login(&mut self, now: Tick, step: LoginStep, reply: &ServerReply) {
        self.deadline = now.after(self.settings.timers.hello);
        let challenged = reply.code() == 334;
        match (step, self.login.take()) {
            (LoginStep::Said, _) if reply.class() == Some(Class::Success) => self.go_on(now),
            (LoginStep::PlainAsked, Some(login)) if challenged => {
                self.secret(&login.plain(), "****", Owed::Login(LoginStep::Said));
            }
            (LoginStep::UserAsked, Some(login)) if challenged => {
                self.secret(&login.user(), "****", Owed::Login(LoginStep::PasswordAsked));
                self.login = Some(login);
            }
            (LoginStep::PasswordAsked, Some(login)) if challenged => {
                self.secret(&login.password(), "****", Owed::Login(LoginStep::Said));
            }
            _ => {
                let fault = ProtocolFault::UnexpectedCode(reply.code());
                self.break_off(Failure::Protocol(Phase::Login, fault));
            }
        }
    }

    /// What the server's offer says before anything is sent.
    fn local_refusal(&self) -> Option<LocalRefusal> {
        let offers = |extension| self.capabilities.offers(extension);
        let content = &self.transfer.content;
        if let Some(limit) = self.capabilities.size_limit()
            && content.size > limit
        {
            return Some(LocalRefusal::TooBig { size: content.size, limit });
        }
        if self.needs_smtputf8() && !offers(Extension::Smtputf8) {
            return Some(LocalRefusal::NeedsSmtputf8);
        }
        match content.body {
            Body::BinaryMime if !offers(Extension::Chunking) || !offers(Extension::BinaryMime) => {
                Some(LocalRefusal::NeedsBinaryMime)
            }
            Body::EightBitMime if !offers(Extension::EightBitMime) => Some(LocalRefusal::NeedsEightBitMime),
            Body::BinaryMime | Body::EightBitMime | Body::SevenBit => None,
        }
    }

    fn needs_smtputf8(&self) -> bool {
        self.transfer.content.smtputf8 == Smtputf8::Needed
            || !self.transfer.sender.is_ascii()
            || !self.transfer.recipients.iter().all(crate::addr::ForwardPath::is_ascii)
    }

    fn encoding(&self) -> Encoding {
        if self.transfer.content.body == Body::BinaryMime {
            Encoding::Binary
        } else if self.settings.chunking == Chunking::IfOffered
            && self.capabilities.offers(Extension::Chunking)
        {
            Encoding::Chunked
        } else {
            Encoding::Dotted
        }
    }

    fn groups(&self) -> bool {
        self.settings.grouping == Grouping::IfOffered && self.capabilities.offers(Extension::Pipelining)
    }

    fn mail_line(&self) -> String {
        let mut line = format!("MAIL FROM:<{}>", self.transfer.sender);
        if self.capabilities.offers(Extension::Size) {
            line = format!("{line} SIZE={}", self.transfer.content.size);
        }
        match self.transfer.content.body {
            Body::SevenBit => {}
            Body::EightBitMime => line.push_str(" BODY=8BITMIME"),
            Body::BinaryMime => line.push_str(" BODY=BINARYMIME"),
        }
        if self.needs_smtputf8() {
            line.push_str(" SMTPUTF8");
        }
        line
    }

    /// Sends as much of the envelope as may be unanswered at once, and goes on when all is answered.
    fn send_envelope(&mut self, now: Tick) {
        let groups = self.groups();
        let dotted = self.encoding() == Encoding::Dotted;
        let mut group = Vec::new();
        // Ends: each round takes a step along MAIL, RCPT…, DATA.
        while let State::Collecting(envelope) = &mut self.state {
            if !self.owed.is_empty() && (!groups || self.in_flight >= WINDOW) {
                break;
            }
            let (line, owed) = match envelope.next {
                Next::Mail => {
                    envelope.next = Next::Recipient(0);
                    (self.mail_line(), Owed::Mail)
                }
                Next::Recipient(index) => {
                    let Some(recipient) = self.transfer.recipients.get(index) else {
                        envelope.next = if dotted { Next::Data } else { Next::Nothing };
                        continue;
                    };
                    envelope.next = Next::Recipient(index + 1);
                    (format!("RCPT TO:<{recipient}>"), Owed::Recipient(index))
                }
                Next::Data => {
                    envelope.next = Next::Nothing;
                    // Where all is answered and nobody wants it, there is nothing to ask.
                    if self.owed.is_empty() && !envelope.wanted {
                        continue;
                    }
                    ("DATA".to_string(), Owed::Data)
                }
                Next::Nothing => break,
            };
            group.extend_from_slice(line.as_bytes());
            group.extend_from_slice(b"\r\n");
            self.owed.push_back((owed, line.len() + 2));
            self.in_flight += line.len() + 2;
            self.show(Dialogue::Command(line));
        }
        if !group.is_empty() {
            self.actions.push_back(Action::Send(group));
        }
        let timers = self.settings.timers;
        self.deadline = now.after(if self.phase() == Phase::Data { timers.data } else { timers.envelope });
        if let State::Collecting(Envelope { next: Next::Nothing, wanted, go_ahead }) = self.state
            && self.owed.is_empty()
        {
            self.end_envelope(now, wanted, go_ahead);
        }
    }

    fn handle_envelope(&mut self, now: Tick, owed: Owed, reply: &ServerReply, refusal: Option<Failure>) {
        let State::Collecting(envelope) = &mut self.state else { return };
        match (owed, refusal) {
            (Owed::Recipient(index), Some(refusal)) => self.settle_one(index, Outcome::Failed(refusal)),
            (Owed::Recipient(index), None) => {
                // After a refused MAIL the server may say what it likes to RCPT.
                envelope.wanted |= self.outcomes.get(index).is_some_and(Option::is_none);
            }
            (Owed::Mail, Some(refusal)) => {
                envelope.next = Next::Nothing;
                self.settle(&Outcome::Failed(refusal));
            }
            (Owed::Data, Some(refusal)) => {
                envelope.wanted = false;
                self.settle(&Outcome::Failed(refusal));
            }
            (Owed::Data, None) if reply.class().is_some() => {
                let fault = ProtocolFault::UnexpectedCode(reply.code());
                self.break_off(Failure::Protocol(Phase::Data, fault));
                return;
            }
            (Owed::Data, None) => envelope.go_ahead = true,
            _ => {}
        }
        self.send_envelope(now);
    }

    fn end_envelope(&mut self, now: Tick, wanted: bool, go_ahead: bool) {
        let encoding = self.encoding();
        if wanted && (go_ahead || encoding != Encoding::Dotted) {
            self.state = State::Sending(Content {
                encoding,
                encoder: Encoder::new(encoding),
                held: Vec::new(),
                sent: 0,
                asked: false,
                ended: false,
            });
            self.deadline = now.after(self.settings.timers.block);
            self.want_content();
        } else if go_ahead {
            // RFC 2920 §3.1: DATA was accepted without a recipient; an empty message ends it.
            self.state = State::Draining;
            self.command(".".to_string(), Owed::LoneDot);
            self.deadline = now.after(self.settings.timers.end);
        } else {
            self.leave(now);
        }
    }

    fn want_content(&mut self) {
        let most = if self.groups() { MAX_CHUNKS_OWED } else { 1 };
        if let State::Sending(content) = &mut self.state
            && !content.asked
            && !content.ended
            && self.owed.len() < most
        {
            content.asked = true;
            self.actions.push_back(Action::NeedContent);
        }
    }

    /// Sends encoded content: as it is for DATA, as a chunk otherwise.
    fn send_content(&mut self, now: Tick, octets: Vec<u8>, owed: Owed) {
        let State::Sending(content) = &mut self.state else { return };
        self.deadline = now.after(self.settings.timers.block);
        let last = owed != Owed::Chunk;
        if octets.is_empty() && !last {
            return;
        }
        let mut length = octets.len();
        if content.encoding == Encoding::Dotted {
            self.actions.push_back(Action::Send(octets));
        } else {
            let line = format!("BDAT {}{}\r\n", octets.len(), if last { " LAST" } else { "" });
            let mut chunk = line.into_bytes();
            chunk.extend_from_slice(&octets);
            length = chunk.len();
            self.actions.push_back(Action::Send(chunk));
            if !last {
                self.owed.push_back((owed, 0));
            }
        }
        content.sent = content.sent.saturating_add(length as u64);
    }

    fn end_content(&mut self, now: Tick) {
        let lmtp = self.settings.protocol == Protocol::Lmtp;
        let State::Sending(content) = &mut self.state else { return };
        // How many replies the last chunk gets under LMTP hangs on the chunks before it.
        if lmtp && !self.owed.is_empty() {
            return;
        }
        let mut out = core::mem::take(&mut content.held);
        let encoder = core::mem::replace(&mut content.encoder, Encoder::new(content.encoding));
        encoder.finish(&mut out);
        self.send_content(now, out, Owed::End);
        if let State::Sending(content) = &self.state {
            let sent = content.sent;
            self.show(Dialogue::Content(sent));
        }
        if lmtp {
            let open = self.outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_none());
            self.owed.extend(open.map(|(index, _)| (Owed::EndFor(index), 0)));
        } else {
            self.owed.push_back((Owed::End, 0));
        }
        self.state = State::Ending;
        self.deadline = now.after(self.settings.timers.end);
    }

    fn handle_chunk(&mut self, now: Tick, refusal: Option<Failure>) {
        if let Some(refusal) = refusal {
            // RFC 3030 §2: the message is lost; chunks that are on their way are answered too.
            self.settle(&Outcome::Failed(refusal));
            self.state = State::Draining;
        }
        let timers = self.settings.timers;
        self.deadline =
            now.after(if matches!(self.state, State::Ending) { timers.end } else { timers.block });
        match &self.state {
            State::Sending(content) if content.ended => self.end_content(now),
            State::Sending(_) => self.want_content(),
            State::Draining if self.owed.is_empty() => self.leave(now),
            State::Draining
            | State::Ending
            | State::Opening
            | State::Securing
            | State::Collecting(_)
            | State::Leaving
            | State::Closed => {}
        }
    }

    /// Gives every recipient that has no outcome yet this one.
    fn settle(&mut self, outcome: &Outcome) {
        for open in self.outcomes.iter_mut().filter(|open| open.is_none()) {
            *open = Some(outcome.clone());
        }
    }

    fn settle_one(&mut self, index: usize, outcome: Outcome) {
        if let Some(open) = self.outcomes.get_mut(index).filter(|open| open.is_none()) {
            *open = Some(outcome);
        }
    }

    /// Ends politely: the server can still be spoken to.
    fn give_up(&mut self, now: Tick, failure: &Failure) {
        self.settle(&Outcome::Failed(failure.clone()));
        self.leave(now);
    }

    fn leave(&mut self, now: Tick) {
        if self.owed.is_empty() {
            self.state = State::Leaving;
            self.command("QUIT".to_string(), Owed::Quit);
            self.deadline = now.after(self.settings.timers.quit);
        } else {
            self.state = State::Draining;
        }
    }

    /// Ends at once: nothing can be said any more.
    fn break_off(&mut self, failure: Failure) {
        self.settle(&Outcome::Failed(failure));
        self.close();
    }

    fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.owed.clear();
            self.deadline = Tick::NEVER;
            self.actions.push_back(Action::Close);
        }
    }

    fn command(&mut self, line: String, owed: Owed) {
        let octets = format!("{line}\r\n").into_bytes();
        self.show(Dialogue::Command(line));
        self.owed.push_back((owed, 0));
        self.actions.push_back(Action::Send(octets));
    }

    fn secret(&mut self, line: &str, shown: &str, owed: Owed) {
        self.show(Dialogue::Command(shown.to_string()));
        self.owed.push_back((owed, 0));
        self.actions.push_back(Action::Send(format!("{line}\r\n").into_bytes()));
    }

    fn show_reply(&mut self, reply: &ServerReply) {
        if reply.has_bare_lf() {
            self.show(Dialogue::BareLf);
        }
        self.show(Dialogue::Reply(reply.clone()));
    }

    fn show(&mut self, dialogue: Dialogue) {
        self.actions.push_back(Action::Show(dialogue));
    }
}
