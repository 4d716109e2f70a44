//! One session: asks and answers for the protocol's state machine, without touching a socket.
//!
//! Between a socket and [`postroad_proto::server::Session`]: answers its questions from directory,
//! quota and spool, hands content to the draft, and gathers replies so that those of a pipelined
//! group leave in one write (RFC 2920 §3.2). A fault of this program that panics is answered 451 and
//! ends this session alone.

use crate::blame::{refusal, refuse};
use crate::listener::Stop;
use crate::record::{Opened, Record, Sealed};
use crate::shared::{Active, ListenerSettings, Shared};
use crate::shown::{Addresses, printable};
use crate::tcp::Figures;
use postroad_delivery::agent::maildir::Promise;
use postroad_delivery::directory::{final_recipients, refused_entirely};
use postroad_proto::addr::{ForwardPath, Mailbox};
use postroad_proto::envelope::Envelope;
use postroad_proto::message::trace::Received;
use postroad_proto::reply::{Refusal, Reply, ReplyId};
use postroad_proto::server::{Action, Note, Offer, Protocol, Question, Session, Verdict};
use postroad_proto::time::Tick;
use postroad_spool::{Draft, Spool, SpoolError, SpoolId};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::{debug, error, info, warn};

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("local socket"),
        }
    }
}

/// TLS version and cipher as the trace header names them.
pub(crate) type Secured = Box<(String, String)>;

/// Whether the greeting is still to be said inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// TLS from the first octet.
    Due,
    /// STARTTLS: it was said before.
    Given,
}

/// What the driver is to do now.
pub(crate) enum Next<D> {
    /// Write what is in the out buffer, then wait for input.
    Input,
    /// Make this durable, then say what came of it.
    Commit(D, Envelope),
    /// Write, then begin TLS.
    StartTls,
    /// Write, then close.
    Close,
}

/// The state of one session beyond the protocol's own.
pub(crate) struct Conversation<S: Spool> {
    pub(crate) shared: Arc<Shared<S>>,
    active: Arc<Active>,
    peer: Peer,
    session: Session,
    secured: Option<Secured>,
    /// LMTP has a reply for each recipient.
    each_is_answered: bool,
    transfer: Option<Box<Transfer<S::Draft>>>,
    out: Vec<u8>,
    charged: usize,
    polite: bool,
    /// A message was taken: its record is to be handed over once its reply is in it.
    submit_due: bool,
    /// What goes into the ledger, if there is one.
    record: Option<Box<Record>>,
}

/// What a transaction gathers here.
struct Transfer<D> {
    accepted: Vec<(ForwardPath, Vec<Mailbox>)>,
    draft: Option<D>,
    /// The store failed while content came; told after its end.
    fault: Option<Refusal>,
    /// Room in the mailboxes, kept until the message is stored.
    promise: Option<Promise>,
    /// Recipients that get nothing though others do, by their place (LMTP).
    refused: Vec<(usize, Refusal)>,
    size: u64,
    began: Tick,
    ended: Tick,
    sealed: Option<Sealed>,
}

impl<D> Default for Transfer<D> {
    fn default() -> Self {
        Self {
            accepted: Vec::new(),
            draft: None,
            fault: None,
            promise: None,
            refused: Vec::new(),
            size: 0,
            began: Tick::default(),
            ended: Tick::default(),
            sealed: None,
        }
    }
}

impl<S: Spool> Conversation<S> {
    /// A session that begins with the greeting.
    pub(crate) fn new(
        shared: Arc<Shared<S>>,
        active: Arc<Active>,
        peer: Peer,
        settings: &ListenerSettings,
    ) -> Self {
        let opened = Opened { peer: peer.0, settings };
        let record = shared.records.as_ref().map(|all| Box::new(Record::new(Arc::clone(all), &opened)));
        let each_is_answered = settings.plain.protocol == Protocol::Lmtp;
        let session = Session::new(shared.clock.tick(), Arc::clone(&settings.plain));
        Self {
            shared,
            active,
            peer,
            session,
            secured: None,
            each_is_answered,
            transfer: None,
            out: Vec::new(),
            charged: 0,
            polite: false,
            submit_due: false,
            record,
        }
    }

    /// The configuration that this session began with.
    pub(crate) fn active(&self) -> &Active {
        &self.active
    }

    /// Begins anew inside TLS: nothing from before is kept (RFC 3207 §4.2).
    pub(crate) fn secure(&mut self, offer: Arc<Offer>, secured: Secured, greeting: Greeting) {
        let now = self.shared.clock.tick();
        self.session = match greeting {
            Greeting::Due => Session::new(now, offer),
            Greeting::Given => self.session.after_starttls(now, offer),
        };
        if let Some(record) = &mut self.record {
            record.secured(&secured.0, &secured.1);
        }
        self.secured = Some(secured);
        self.transfer = None;
        self.out = Vec::new();
        self.recount();
    }

    /// Takes what the peer sent.
    pub(crate) fn input(&mut self, bytes: &[u8]) {
        let now = self.shared.clock.tick();
        if let Some(record) = &mut self.record {
            record.heard(bytes.len());
        }
        self.guarded(|this| this.session.handle_input(now, bytes));
    }

    /// Tells the session that its deadline passed; `packets` tells what the system knows of the connection.
    pub(crate) fn timeout(&mut self, packets: impl FnOnce() -> Figures) {
        if let Some(record) = &mut self.record {
            record.seen(packets());
        }
        self.session.handle_timeout(self.shared.clock.tick());
    }

    /// Tells the session that the server stops.
    pub(crate) fn stop(&mut self, stop: Stop) {
        match stop {
            Stop::No => {}
            Stop::Finish => self.session.handle_shutdown(),
            Stop::CutOff => self.session.handle_cutoff(),
        }
    }

    /// Until when to wait for input.
    pub(crate) fn deadline(&self) -> tokio::time::Instant {
        self.shared.clock.instant(self.session.deadline())
    }

    /// Whether content is what comes next.
    pub(crate) fn takes_content(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.draft.is_some())
    }

    /// What is to be written.
    pub(crate) fn take_out(&mut self) -> Vec<u8> {
        if let Some(record) = &mut self.record {
            record.wrote(self.out.len());
        }
        std::mem::take(&mut self.out)
    }

    /// Whether the last thing said was the answer to QUIT.
    pub(crate) fn is_polite_end(&self) -> bool {
        self.polite
    }

    /// Works off what the session wants until it has to wait for something.
    pub(crate) fn step(&mut self) -> Next<S::Draft> {
        let mut next = None;
        self.guarded(|this| next = Some(this.drain()));
        if std::mem::take(&mut self.submit_due)
            && let Some(record) = &mut self.record
        {
            record.submit();
        }
        self.recount();
        next.unwrap_or(Next::Close)
    }

    /// Says what came of a commit.
    pub(crate) fn committed(&mut self, result: Result<SpoolId, SpoolError>) {
        let now = self.shared.clock.tick();
        let transfer = self.transfer.take().unwrap_or_default();
        let answer = match result {
            Ok(id) => {
                let metrics = &self.shared.metrics;
                metrics.messages_accepted.inc();
                metrics.octets_accepted.inc_by(transfer.size);
                metrics.commit_seconds.observe(now.since(transfer.ended).as_secs_f64());
                info!(peer = %self.peer, %id, octets = transfer.size, "accepted");
                let id = id.to_string();
                if let (Some(record), Some(sealed)) = (&mut self.record, &transfer.sealed) {
                    let took = (transfer.ended.since(transfer.began), now.since(transfer.ended));
                    record.accepted(&id, sealed, took);
                }
                Ok(id)
            }
            Err(error) => {
                error!(peer = %self.peer, %error, "the message could not be stored; answered 4yz, the peer keeps it");
                if let Some(promise) = transfer.promise {
                    promise.withdraw();
                }
                self.failed("store", &error);
                Err(refusal(&error))
            }
        };
        let is_ours = answer.is_ok();
        self.guarded(|this| this.session.handle_commit_each(now, answer, &transfer.refused));
        if is_ours {
            self.submit_due = true;
        }
    }

    /// Asks the mailboxes for room, now that the size is known. Nothing comes back if nobody gets the
    /// message; its sender has been answered then. In SMTP, which has one reply for all, a message that
    /// somebody gets is taken, and waits for who has no room; in LMTP these are told (RFC 2033 §4.2).
    pub(crate) async fn find_room(
        &mut self,
        draft: S::Draft,
        envelope: Envelope,
    ) -> Option<(S::Draft, Envelope)> {
        if !self.active.room.is_limited() {
            return Some((draft, envelope));
        }
        let (room, id, size) = (Arc::clone(&self.active.room), draft.id(), draft.size());
        let asked = tokio::task::spawn_blocking(move || {
            let (promise, refused) = room.promise(id, &envelope, size);
            (envelope, promise, refused)
        });
        let Ok((envelope, promise, refused)) = asked.await else {
            self.answer_commit(Refusal::trouble(), &[]);
            return None;
        };
        let transfer = self.transfer.get_or_insert_default();
        let mut accepted = std::mem::take(&mut transfer.accepted);
        let empty_handed = refused_entirely(&accepted, &refused);
        if empty_handed.len() == accepted.len() {
            promise.withdraw();
            let worst = empty_handed.iter().find(|(_, refusal)| refusal.is_transient());
            let refusal =
                worst.or(empty_handed.first()).map_or_else(Refusal::trouble, |(_, own)| own.clone());
            self.answer_commit(refusal, &empty_handed);
            return None;
        }
        if !self.each_is_answered || empty_handed.is_empty() {
            transfer.promise = Some(promise);
            return Some((draft, envelope));
        }
        let mut at = 0..accepted.len();
        accepted.retain(|_| at.next().is_some_and(|at| empty_handed.iter().all(|(place, _)| *place != at)));
        let Some(rest) = Envelope::new(envelope.sender().clone(), final_recipients(accepted)) else {
            promise.withdraw();
            self.answer_commit(Refusal::trouble(), &empty_handed);
            return None;
        };
        (transfer.promise, transfer.refused) = (Some(promise), empty_handed);
        Some((draft, rest.with_content(envelope.body(), envelope.smtputf8())))
    }

    /// The message is not stored.
    fn answer_commit(&mut self, refusal: Refusal, refused: &[(usize, Refusal)]) {
        let now = self.shared.clock.tick();
        self.transfer = None;
        self.guarded(|this| this.session.handle_commit_each(now, Err(refusal), refused));
    }

    /// Tells the record what failed.
    pub(crate) fn failed(&mut self, what: &'static str, error: &dyn std::fmt::Display) {
        if let Some(record) = &mut self.record {
            record.failed(what, error);
        }
    }

    /// Runs a piece of the session so that a fault of ours ends this session alone, and as 4yz.
    fn guarded(&mut self, run: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_err() {
            self.shared.metrics.panics.inc();
            error!(peer = %self.peer, "a fault of this program ended the session; please report it");
            self.transfer = None;
            self.out.clear();
            self.write(Refusal::trouble().reply());
            self.write(&Reply::of(ReplyId::ShuttingDown));
            self.session = Session::new(self.shared.clock.tick(), Arc::new(Offer::new("localhost")));
            self.session.handle_shutdown();
            // The reply is written already; what the fresh session would say is not wanted.
            while self.session.poll_action().is_some() {}
        }
    }

    fn drain(&mut self) -> Next<S::Draft> {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send(reply) => self.say(&reply),
                Action::Content(piece) => self.append(piece),
                Action::Ask(Question::Commit(envelope)) => match self.seal(&envelope) {
                    Ok((draft, envelope)) => return Next::Commit(draft, envelope),
                    Err(refusal) => {
                        self.transfer = None;
                        self.session.handle_commit(self.shared.clock.tick(), Err(refusal));
                    }
                },
                Action::Ask(question) => {
                    let verdict = self.answer(&question);
                    self.session.handle_verdict(self.shared.clock.tick(), verdict);
                }
                Action::Abandon => self.transfer = None,
                Action::StartTls => return Next::StartTls,
                Action::Close => {
                    if let Some(record) = &mut self.record {
                        record.ended();
                    }
                    return Next::Close;
                }
                Action::Note(note) => self.note(note),
                unknown => warn!(?unknown, "an action this driver does not know"),
            }
        }
        if self.session.wants_input() { Next::Input } else { Next::Close }
    }

    fn say(&mut self, reply: &Reply) {
        self.shared.metrics.count(reply);
        if reply.code() >= 400 {
            let shown = Addresses::of(&self.active.config.log).reply(reply);
            let hello = printable(self.session.hello().unwrap_or_default());
            info!(peer = %self.peer, hello = %hello, reply = %shown, "refused");
        }
        self.polite = reply.id() == ReplyId::Goodbye;
        self.write(reply);
    }

    /// Writes a reply; a refusal ends in the reference under which the ledger tells why.
    fn write(&mut self, reply: &Reply) {
        let reference = self.record.as_mut().and_then(|record| record.said(reply));
        match reference {
            Some(reference) => reply.write_with(&format!(" (ref {reference})"), &mut self.out),
            None => reply.write_to(&mut self.out),
        }
    }

    fn note(&mut self, note: Note) {
        if !matches!(note, Note::Line(_) | Note::Content(_)) {
            debug!(peer = %self.peer, ?note, "noted");
        }
        if let Some(record) = &mut self.record {
            record.noted(note);
        }
    }

    fn answer(&mut self, question: &Question) -> Verdict {
        let answer = match question {
            Question::Sender { size, .. } => self.may_send(*size),
            Question::Recipient(path) => self.may_receive(path),
            Question::Content => self.begin_content(),
            Question::Commit(_) => Err(Refusal::trouble()),
            unknown => {
                warn!(?unknown, "a question this driver does not know");
                Err(Refusal::trouble())
            }
        };
        match answer {
            Ok(()) => Verdict::Accept,
            Err(refusal) => {
                if let Some(record) = &mut self.record {
                    record.refused(name_of(question), refusal.reply().id().name());
                }
                Verdict::Refuse(refusal)
            }
        }
    }

    fn may_send(&mut self, size: Option<u64>) -> Result<(), Refusal> {
        self.transfer = None;
        let room = self.shared.spool.room_for(size.unwrap_or(0)).map_err(|error| refusal(&error));
        let over = self.over_budget();
        if let Some(record) = &mut self.record {
            let free = self.shared.spool.free_over_reserve();
            let used = self.shared.in_flight.load(Ordering::Relaxed);
            record.room(size, free, room.is_ok());
            if over {
                let (used, limit) = (used.to_string(), self.active.config.limits.content_memory.to_string());
                record.finding("memory", "no-room", &[("used", &used), ("limit", &limit)]);
            } else {
                record.finding("memory", "room", &[]);
            }
        }
        room?;
        if over { Err(refuse(ReplyId::MemoryFull)) } else { Ok(()) }
    }

    fn may_receive(&mut self, path: &ForwardPath) -> Result<(), Refusal> {
        let postmaster;
        let meant = if *path == ForwardPath::Postmaster {
            postmaster = ForwardPath::Mailbox(self.active.config.postmaster.clone());
            &postmaster
        } else {
            path
        };
        let mailboxes = match self.active.directory.resolve(meant).mailboxes() {
            Ok(mailboxes) => mailboxes,
            Err(refusal) => {
                if let Some(record) = &mut self.record {
                    record.finding(
                        "directory",
                        refusal.reply().id().name(),
                        &[("address", &path.to_string())],
                    );
                    record.not_run("quota", "no-mailbox");
                }
                return Err(named(&refusal, path));
            }
        };
        let size = self.session.transaction().and_then(postroad_proto::server::Transaction::declared_size);
        let full = match mailboxes.as_slice() {
            [mailbox] => self.active.room.refusal(mailbox, size),
            _ => None,
        };
        if let Some(record) = &mut self.record {
            let quota = match mailboxes.as_slice() {
                [mailbox] => self.active.room.told(mailbox),
                _ => Vec::new(),
            };
            record.resolved(&mailboxes, self.active.room.is_limited(), full.as_ref(), (size, &quota));
        }
        if let Some(refusal) = full {
            return Err(refusal);
        }
        self.transfer.get_or_insert_default().accepted.push((path.clone(), mailboxes));
        Ok(())
    }

    fn begin_content(&mut self) -> Result<(), Refusal> {
        let unix = self.shared.clock.unix();
        let mut draft = self.shared.spool.begin(unix).map_err(|error| {
            warn!(%error, "no content is taken");
            if let Some(record) = &mut self.record {
                record.failed("store", &error);
            }
            refusal(&error)
        })?;
        let recipients = self
            .session
            .transaction()
            .map(postroad_proto::server::Transaction::recipients)
            .unwrap_or_default();
        let recipient = if let [only] = recipients { Some(only.to_string()) } else { None };
        let id = draft.id().to_string();
        let trace = Received {
            hello: self.session.hello().unwrap_or_default(),
            peer: self.peer.0.map(|address| address.ip().to_canonical()),
            by: &self.active.config.hostname.to_string(),
            with: self.session.with_protocol(),
            tls: self.secured.as_deref().map(|(version, cipher)| (version.as_str(), cipher.as_str())),
            id: &id,
            recipient: recipient.as_deref(),
            at: unix,
        };
        draft.append(trace.to_field().into_bytes()).map_err(|error| refusal(&error))?;
        if let Some(record) = &mut self.record {
            record.content_begins();
        }
        let began = self.shared.clock.tick();
        let transfer = self.transfer.get_or_insert_default();
        (transfer.draft, transfer.began) = (Some(draft), began);
        Ok(())
    }

    fn append(&mut self, piece: Vec<u8>) {
        let over = self.over_budget();
        let Some(transfer) = self.transfer.as_deref_mut() else { return };
        transfer.size += piece.len() as u64;
        let Some(draft) = &mut transfer.draft else { return };
        let appended = draft.append(piece).and_then(|()| if over { draft.spill() } else { Ok(()) });
        if let Err(error) = appended {
            error!(peer = %self.peer, %error, "content could not be stored; it will be answered 4yz");
            transfer.draft = None;
            transfer.fault = Some(refusal(&error));
            self.failed("store", &error);
        }
    }

    fn seal(&mut self, envelope: &Envelope) -> Result<(S::Draft, Envelope), Refusal> {
        let transfer = self.transfer.as_deref_mut().ok_or_else(Refusal::trouble)?;
        transfer.ended = self.shared.clock.tick();
        if let Some(fault) = transfer.fault.take() {
            return Err(fault);
        }
        let draft = transfer.draft.take().ok_or_else(Refusal::trouble)?;
        let recipients = final_recipients(transfer.accepted.iter().cloned());
        let (body, smtputf8) = (envelope.body(), envelope.smtputf8());
        let sealed = Envelope::new(envelope.sender().clone(), recipients).ok_or_else(Refusal::trouble)?;
        transfer.sealed = self.record.as_ref().map(|_| Sealed::of(&sealed, transfer.size));
        Ok((draft, sealed.with_content(body, smtputf8)))
    }

    fn over_budget(&self) -> bool {
        let budget = usize::try_from(self.active.config.limits.content_memory).unwrap_or(usize::MAX);
        self.shared.in_flight.load(Ordering::Relaxed) >= budget
    }

    fn recount(&mut self) {
        let draft = self.transfer.as_ref().and_then(|transfer| transfer.draft.as_ref());
        let held = self.session.held() + draft.map_or(0, Draft::in_memory);
        if held != self.charged {
            self.shared.recount(self.charged, held);
            self.charged = held;
        }
    }
}

impl<S: Spool> Drop for Conversation<S> {
    fn drop(&mut self) {
        self.shared.recount(self.charged, 0);
    }
}

/// What a question is called in records.
fn name_of(question: &Question) -> &'static str {
    match question {
        Question::Sender { .. } => "sender",
        Question::Recipient(_) => "recipient",
        Question::Content => "content",
        Question::Commit(_) => "commit",
        _ => "other",
    }
}

/// The refusal of an address with the address in it, as far as it can stand in a reply.
fn named(refusal: &Refusal, path: &ForwardPath) -> Refusal {
    let reply = refusal.reply();
    let address: String = path.to_string().chars().take(120).collect();
    let text = if reply.id() == ReplyId::NoSuchMailbox {
        format!("No mailbox <{address}> here")
    } else if reply.id() == ReplyId::RelayDenied {
        format!("Relay denied: <{address}> is not in a domain served here")
    } else {
        return refusal.clone();
    };
    Refusal::try_from(Reply::saying(reply.id(), text)).unwrap_or_else(|_not_a_refusal| refusal.clone())
}
