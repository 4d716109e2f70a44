//! Carries out what the session says: writes, reads, the handshake, the content, the clock.
//!
//! Failure is the session's to name; this loop only tells it what happened. It ends because every
//! phase of the session has a deadline and every wait here is shorter.

use super::clock::Clock;
use super::exit::{Exit, Fault};
use super::link::{Heard, Link};
use super::message::{Message, PIECE};
use super::report::Report;
use super::stall::{self, Stall};
use super::tls::{Secured, Trust};
use super::view::View;
use postroad_proto::client::{
    Action, Dialogue, Failure, LocalRefusal, Phase, Session, Settings, TlsPolicy, Transfer,
};
use postroad_proto::time::Tick;
use std::io::Read;
use std::time::Duration;

/// After this long without a sign of life, a person is told what is known.
const NOTICE: Duration = Duration::from_secs(10);
/// The last words of a connection that broke while we wrote: so many reads are tried for them.
const LAST_WORDS: usize = 8;

/// Everything one transfer needs.
pub(super) struct Drive<'a> {
    pub(super) settings: Settings,
    pub(super) transfer: Transfer,
    pub(super) link: Link,
    pub(super) trust: Trust,
    pub(super) clock: &'a Clock,
    pub(super) message: &'a mut Message,
    pub(super) view: &'a mut View,
    pub(super) report: &'a mut Report,
}

/// The state of the loop.
struct Wheel<'a> {
    session: Session,
    /// `None` only while the handshake has it, and after one that failed.
    link: Option<Link>,
    trust: Trust,
    clock: &'a Clock,
    view: &'a mut View,
    report: &'a mut Report,
    buffer: Vec<u8>,
    /// When something last moved.
    moved: Tick,
    told: Option<Phase>,
    open: bool,
    content_due: bool,
}

/// Runs the session to its end and files the outcomes.
pub(super) fn drive(all: Drive<'_>) -> Result<(), Fault> {
    let Drive { settings, transfer, link, trust, clock, message, view, report } = all;
    let implicit = settings.tls == TlsPolicy::Implicit;
    let mut wheel = Wheel {
        session: Session::new(clock.now(), settings, transfer),
        link: Some(link),
        trust,
        clock,
        view,
        report,
        buffer: vec![0; PIECE],
        moved: clock.now(),
        told: None,
        open: true,
        content_due: false,
    };
    let mut content = message
        .reader()
        .map_err(|error| Fault::new(Exit::NoInput, format!("the message cannot be read again: {error}")))?;
    let mut piece = vec![0; PIECE];
    if implicit {
        wheel.secure();
    }
    // Ends: the session closes at the latest at its deadline, and no wait is longer than a moment.
    while wheel.carry_out() {
        if wheel.content_due {
            wheel.content_due = false;
            wheel.listen_between();
            wheel.feed(&mut content, &mut piece);
        } else {
            wheel.listen();
        }
    }
    wheel.view.stopped();
    let total = clock.now().0;
    wheel.report.finish(wheel.session.into_outcomes(), total);
    Ok(())
}

impl Wheel<'_> {
    /// Carries out all actions; false once the session is closed.
    fn carry_out(&mut self) -> bool {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send(octets) => self.send(&octets),
                Action::StartTls => self.secure_session(),
                Action::NeedContent => self.content_due = true,
                Action::Show(dialogue) => {
                    if matches!(dialogue, Dialogue::Content(_)) {
                        self.view.stopped();
                    }
                    self.view.dialogue(&dialogue);
                }
                Action::Close => self.open = false,
                _ => {}
            }
        }
        self.open
    }

    fn secure_session(&mut self) {
        if self.secure() {
            self.session.handle_secured(self.clock.now());
        }
    }

    fn secure(&mut self) -> bool {
        let Some(link) = self.link.take() else { return false };
        let (clock, deadline, begun) = (self.clock, self.session.deadline(), self.clock.now());
        let done = self.trust.secure(link, || clock.now() < deadline);
        self.report.spent(Phase::StartTls, clock.now().since(begun));
        match done {
            Ok((link, secured)) => {
                self.describe(&secured);
                self.link = Some(link);
                self.report.tls = Some(secured);
                true
            }
            Err(reason) => {
                self.session.abandon(Failure::Tls(reason));
                false
            }
        }
    }

    fn describe(&mut self, secured: &Secured) {
        self.view.detail(&format!("{} with {}", secured.version, secured.cipher));
        if let Some(doubt) = &secured.doubt {
            self.view.note(&format!("the server's certificate is not verified: {doubt}"));
        }
    }

    /// Writes all of it, or tells the session why not.
    fn send(&mut self, octets: &[u8]) {
        let mut rest = octets;
        self.moved = self.clock.now();
        let phase = self.session.phase();
        // Ends: each round writes some, waits a moment, or finds the deadline passed.
        while self.open {
            let Some(link) = &mut self.link else { return };
            let before = self.clock.now();
            let done = if rest.is_empty() {
                link.flush()
            } else {
                link.write_some(rest).map(|count| {
                    rest = rest.get(count..).unwrap_or_default();
                    self.report.sent = self.report.sent.saturating_add(count as u64);
                    if count > 0 {
                        self.moved = self.clock.now();
                    }
                    false
                })
            };
            let now = self.clock.now();
            self.report.spent(phase, now.since(before));
            match done {
                Ok(true) => return,
                Ok(false) if now < self.session.deadline() => self.look_for_stall(now),
                Ok(false) => {
                    self.session.handle_timeout(now);
                    return;
                }
                Err(_) => {
                    self.last_words();
                    return;
                }
            }
        }
    }

    /// The connection broke while we wrote; the server may have said why before it closed.
    fn last_words(&mut self) {
        for _ in 0..LAST_WORDS {
            let Some(link) = &mut self.link else { break };
            match link.peek(&mut self.buffer) {
                Heard::Octets(count) => {
                    let octets = self.buffer.get(..count).unwrap_or_default();
                    self.session.handle_input(self.clock.now(), octets);
                }
                Heard::Nothing | Heard::End => break,
            }
        }
        self.session.handle_close();
    }

    /// Waits a moment for the server.
    fn listen(&mut self) {
        let Some(link) = &mut self.link else {
            self.session.handle_close();
            return;
        };
        let (phase, before) = (self.session.phase(), self.clock.now());
        let heard = link.read(&mut self.buffer);
        let now = self.clock.now();
        self.report.spent(phase, now.since(before));
        self.hear(&heard, now);
        if heard == Heard::Nothing {
            self.look_for_stall(now);
        }
        // Also for a server that keeps talking and never comes to the end of a reply.
        self.session.handle_timeout(now);
    }

    /// A server may refuse amid the content; nobody should send the rest of 25 MiB to it.
    fn listen_between(&mut self) {
        if let Some(link) = &mut self.link {
            let heard = link.peek(&mut self.buffer);
            self.hear(&heard, self.clock.now());
        }
    }

    fn hear(&mut self, heard: &Heard, now: Tick) {
        match heard {
            Heard::Octets(count) => {
                self.moved = now;
                let octets = self.buffer.get(..*count).unwrap_or_default();
                self.session.handle_input(now, octets);
            }
            Heard::End => self.session.handle_close(),
            Heard::Nothing => {}
        }
    }

    fn feed(&mut self, content: &mut impl Read, piece: &mut [u8]) {
        let now = self.clock.now();
        match content.read(piece) {
            Ok(0) => self.session.handle_content_end(now),
            Ok(count) => {
                self.session.handle_content(now, piece.get(..count).unwrap_or_default());
                self.view.moved(count);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.content_due = true,
            Err(error) => {
                self.view.note(&format!("the message cannot be read to its end: {error}"));
                self.session.abandon(Failure::Local(LocalRefusal::ContentUnreadable));
            }
        }
    }

    /// Says once a phase what is known, when nothing moves while content is out.
    fn look_for_stall(&mut self, now: Tick) {
        let phase = self.session.phase();
        if !matches!(phase, Phase::Content | Phase::End) {
            return;
        }
        let quiet = now.since(self.moved);
        let timer = self.session.deadline().since(self.moved);
        if quiet < NOTICE.min(timer / 2) {
            return;
        }
        let Some(link) = &self.link else { return };
        let unacknowledged = stall::unacknowledged(link.socket());
        let stall = Stall { phase, quiet, sent: self.report.sent, unacknowledged, timer };
        if self.told != Some(phase) {
            self.told = Some(phase);
            self.view.note(&stall.sentence());
        }
        self.report.stall = Some(stall);
    }
}
