//! What the tests of delivery share: a clock that is moved by hand, an observer that remembers, a spool
//! with messages in it.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

pub(crate) mod duties;

use postroad_delivery::agent::DeliveryAgent;
use postroad_delivery::agent::maildir::{FlushBy, LineEnds, MaildirAgent, MaildirSettings};
use postroad_delivery::directory::{Directory, DirectorySettings, Unlisted};
use postroad_delivery::observer::{Event, Observer};
use postroad_delivery::route::{Override, Quota, Route, Template};
use postroad_delivery::runner::{Clock, Deliveries, RunnerSettings};
use postroad_proto::addr::{Mailbox, ReversePath};
use postroad_proto::envelope::{Body, Envelope, Recipient, Smtputf8};
use postroad_proto::time::UnixTime;
use postroad_spool::memory::MemorySpool;
use postroad_spool::{Draft, Spool, SpoolId};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) const START: UnixTime = UnixTime(1_795_327_384_123);

/// A clock that only moves when it is told to.
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(START.0)))
    }

    pub(crate) fn forward(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn set(&self, time: UnixTime) {
        self.0.store(time.0, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn unix(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// Remembers events as lines: what, to whom, and what was said.
#[derive(Default)]
pub(crate) struct Diary(Mutex<Vec<String>>);

impl Diary {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Diary {
    fn observe(&self, event: &Event<'_>) {
        let line = match event {
            Event::Delivered { recipient, .. } => format!("delivered {}", recipient.mailbox),
            Event::Deferred { recipient, refusal, .. } => {
                format!("deferred {}: {}", recipient.mailbox, refusal.reply())
            }
            Event::Failed { recipient, refusal, .. } => {
                format!("failed {}: {}", recipient.mailbox, refusal.reply())
            }
            Event::SetAside { sender, recipients, .. } => {
                let to: Vec<String> = recipients.iter().map(|one| one.mailbox.to_string()).collect();
                format!("set aside from {sender} to {}", to.join(" "))
            }
            Event::AgentBroke { ids, cause, .. } => format!("broke with {}: {cause}", ids.len()),
            Event::SpoolTrouble { cause } => format!("spool: {cause}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

pub(crate) fn recipient(address: &str) -> Recipient {
    Recipient { mailbox: Mailbox::parse(address).unwrap(), original: None }
}

pub(crate) fn envelope(to: &[&str]) -> Envelope {
    let sender = ReversePath::parse("<alice@example.net>").unwrap();
    Envelope::new(sender, to.iter().map(|address| recipient(address)).collect()).unwrap()
}

/// Puts a message into the spool.
pub(crate) fn store<S: Spool>(spool: &S, now: UnixTime, envelope: Envelope, content: &[u8]) -> SpoolId {
    let mut draft = spool.begin(now).unwrap();
    draft.append(content.to_vec()).unwrap();
    let mut commit = spool.commit(draft, envelope);
    match commit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(id) => id.unwrap(),
        Poll::Pending => panic!("the spool in memory never waits"),
    }
}

pub(crate) fn binary(envelope: Envelope) -> Envelope {
    envelope.with_content(Body::BinaryMime, Smtputf8::NotNeeded)
}

/// Settings of Maildirs in `base/mail/DOMAIN/LOCAL`, for anybody.
pub(crate) fn settings(base: &Path, quota: Quota, overrides: Vec<Override>) -> MaildirSettings {
    let directory =
        Directory::build(&DirectorySettings { domains: vec![], unlisted: Unlisted::Take }).unwrap();
    let template = Template::parse(&format!("{}/mail/{{domain}}/{{local}}", base.display())).unwrap();
    MaildirSettings {
        route: Route::new(template, quota, overrides, &directory).unwrap(),
        host: "mx.example.org".into(),
        line_ends: LineEnds::Crlf,
        flush_by: FlushBy::Batch,
        full_is_permanent_after: Duration::from_hours(24),
    }
}

/// A spool in memory, Maildirs in a directory that goes away, and a clock moved by hand.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) spool: Arc<MemorySpool>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) diary: Arc<Diary>,
    pub(crate) agent: Arc<MaildirAgent>,
    pub(crate) deliveries: Deliveries<MemorySpool>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with_quota(quota: Quota) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), quota, vec![]);
        Self::build(dir, settings)
    }

    pub(crate) fn with(change: impl FnOnce(&mut MaildirSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path(), Quota::default(), vec![]);
        change(&mut settings);
        Self::build(dir, settings)
    }

    fn build(dir: tempfile::TempDir, settings: MaildirSettings) -> Self {
        let spool = Arc::new(MemorySpool::new());
        let (clock, diary) = (HandClock::new(), Arc::new(Diary::default()));
        let agent = Arc::new(MaildirAgent::open(settings).unwrap());
        let deliveries = deliveries(&spool, agent.clone(), &clock, &diary, RunnerSettings::default());
        Self { dir, spool, clock, diary, agent, deliveries }
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.unix()
    }

    /// Puts a message into the spool now.
    pub(crate) fn store(&self, to: &[&str], content: &[u8]) -> SpoolId {
        store(&*self.spool, self.now(), envelope(to), content)
    }

    /// Does one round and says what happened.
    pub(crate) fn round(&self) -> Vec<String> {
        self.deliveries.round().unwrap();
        self.diary.take()
    }

    pub(crate) fn maildir(&self, address: &str) -> PathBuf {
        let (local, domain) = address.split_once('@').unwrap();
        self.dir.path().join("mail").join(domain).join(local)
    }

    /// The names in one directory of a Maildir, in order.
    pub(crate) fn names(&self, address: &str, part: &str) -> Vec<String> {
        names(&self.maildir(address).join(part))
    }

    /// The only message in `new`.
    pub(crate) fn only(&self, address: &str) -> Vec<u8> {
        let names = self.names(address, "new");
        assert_eq!(names.len(), 1, "{names:?}");
        std::fs::read(self.maildir(address).join("new").join(&names[0])).unwrap()
    }
}

pub(crate) fn deliveries(
    spool: &Arc<MemorySpool>,
    agent: Arc<dyn DeliveryAgent>,
    clock: &Arc<HandClock>,
    diary: &Arc<Diary>,
    settings: RunnerSettings,
) -> Deliveries<MemorySpool> {
    Deliveries::new(Arc::clone(spool), agent, Arc::clone(clock) as _, Arc::clone(diary) as _, settings)
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
