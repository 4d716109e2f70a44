//! RFC 5321 §4.5.4.1: when a message is tried again, when it is given up, and what a broken agent does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use common::{Diary, HandClock, Scene, deliveries, envelope, settings, store};
use postroad_delivery::agent::maildir::MaildirAgent;
use postroad_delivery::agent::{Contents, DeliveryAgent, Report};
use postroad_delivery::route::Quota;
use postroad_delivery::runner::{Clock, Deliveries, Runner, RunnerSettings, Stopped};
use postroad_delivery::schedule::Schedule;
use postroad_proto::reply::ReplyId;
use postroad_proto::time::UnixTime;
use postroad_spool::fs::RealDisk;
use postroad_spool::memory::MemorySpool;
use postroad_spool::{DiskSpool, Draft, Lease, Options, RecipientState, Spool, SpoolId, quarantined};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// An agent that does what a closure says for each lease.
struct Scripted<F>(F);

impl<F: Fn(&Lease) -> Vec<Report> + Send + Sync + 'static> DeliveryAgent for Scripted<F> {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn deliver(&self, _now: UnixTime, batch: &[Lease], _contents: &dyn Contents) -> Vec<Vec<Report>> {
        batch.iter().map(&self.0).collect()
    }
}

struct Stage {
    spool: Arc<MemorySpool>,
    clock: Arc<HandClock>,
    diary: Arc<Diary>,
    deliveries: Deliveries<MemorySpool>,
}

impl Stage {
    fn new(script: impl Fn(&Lease) -> Vec<Report> + Send + Sync + 'static) -> Self {
        Self::with(RunnerSettings::default(), script)
    }

    fn with(
        settings: RunnerSettings,
        script: impl Fn(&Lease) -> Vec<Report> + Send + Sync + 'static,
    ) -> Self {
        let spool = Arc::new(MemorySpool::new());
        let (clock, diary) = (HandClock::new(), Arc::new(Diary::default()));
        let deliveries = deliveries(&spool, Arc::new(Scripted(script)), &clock, &diary, settings);
        Self { spool, clock, diary, deliveries }
    }

    fn store(&self, to: &[&str]) -> SpoolId {
        store(&*self.spool, self.clock.unix(), envelope(to), b"x")
    }

    fn round(&self) -> Vec<String> {
        self.deliveries.round().unwrap();
        self.diary.take()
    }
}

fn later() -> Report {
    Report::deferred(ReplyId::LocalTrouble, "a test")
}

#[test]
fn attempts_follow_the_schedule_and_end_in_failure() {
    let stage = Stage::new(|_| vec![later()]);
    let id = stage.store(&["a@example.org"]);
    let mut waits = Vec::new();
    let end = loop {
        let said = stage.round();
        assert_eq!(said.len(), 1, "{said:?}");
        let Some(due) = stage.spool.next_due() else { break said };
        // nothing happens a moment too early
        stage.clock.set(UnixTime(due.0 - 1));
        assert_eq!(stage.round(), [""; 0]);
        waits.push(due.0.div_ceil(1000));
        stage.clock.set(due);
        assert!(waits.len() < 100);
    };
    assert_eq!(
        end,
        ["failed a@example.org: 451 4.3.0 Given up after 120 hours; the last reason was: \
          Trouble on our side; try again later"]
    );
    let minutes: Vec<u64> = waits.windows(2).map(|pair| (pair[1] - pair[0]) / 60).take(7).collect();
    assert_eq!(minutes, [2, 5, 15, 30, 60, 120, 240]);
    let waiting = stage.spool.show(id).unwrap().unwrap();
    assert!(matches!(waiting.recipients[0], RecipientState::Failed(_)), "it stays for a bounce");
    assert_eq!(stage.round(), [""; 0]);
}

#[test]
fn a_batch_is_bounded_and_the_oldest_goes_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let settings = RunnerSettings { batch: 2, ..RunnerSettings::default() };
    let stage = Stage::with(settings, move |lease| {
        seen.lock().unwrap().push(lease.id);
        vec![Report::delivered()]
    });
    let ids: Vec<SpoolId> = (0..5)
        .map(|_| {
            stage.clock.forward(Duration::from_millis(1));
            stage.store(&["a@example.org"])
        })
        .collect();
    assert_eq!((0..4).map(|_| stage.deliveries.round().unwrap()).collect::<Vec<_>>(), [2, 2, 1, 0]);
    assert_eq!(*order.lock().unwrap(), ids);
}

#[test]
fn a_message_that_breaks_the_agent_waits_alone() {
    let stage = Stage::new(|lease| {
        assert!(lease.size != 6, "poisoned");
        vec![Report::delivered()]
    });
    stage.store(&["a@example.org"]);
    store(&*stage.spool, stage.clock.unix(), envelope(&["bad@example.org"]), b"poison");
    stage.store(&["c@example.org"]);
    let said = stage.round();
    assert_eq!(said[..2], ["broke with 3: panicked: poisoned", "broke with 1: panicked: poisoned"]);
    assert_eq!(
        said[2..],
        [
            "delivered a@example.org",
            "deferred bad@example.org: 451 4.3.0 Trouble on our side; try again later",
            "delivered c@example.org",
        ]
    );
    assert_eq!(stage.spool.status().messages, 1);
}

#[test]
fn what_is_tried_again_after_a_panic_is_marked_uncertain() {
    let stage = Stage::new(|lease| {
        assert!(lease.uncertain, "as if it had crashed in the middle");
        vec![Report::delivered()]
    });
    stage.store(&["a@example.org"]);
    stage.store(&["b@example.org"]);
    let said = stage.round();
    assert!(said[0].starts_with("broke with 2"), "{said:?}");
    assert_eq!(said[1..], ["delivered a@example.org", "delivered b@example.org"]);
}

#[test]
fn an_agent_with_too_few_reports_loses_nothing() {
    let stage = Stage::new(|_| vec![Report::delivered()]);
    stage.store(&["a@example.org", "b@example.org"]);
    assert_eq!(
        stage.round(),
        [
            "broke with 1: gave the wrong number of reports",
            "deferred a@example.org: 451 4.3.0 Trouble on our side; try again later",
            "deferred b@example.org: 451 4.3.0 Trouble on our side; try again later",
        ]
    );
    assert_eq!(stage.spool.status().messages, 1);
}

#[test]
fn a_permanent_fault_is_never_made_of_a_temporary_reply() {
    let stage = Stage::new(|_| vec![Report::failed(ReplyId::MailboxFull, "a slip")]);
    stage.store(&["a@example.org"]);
    assert!(stage.round()[0].starts_with("deferred a@example.org: 452 4.2.2"));
}

#[test]
fn a_schedule_of_ones_own_is_followed() {
    let schedule = Schedule::new(vec![Duration::from_secs(10)], Duration::from_secs(25)).unwrap();
    let settings = RunnerSettings { schedule, ..RunnerSettings::default() };
    let stage = Stage::with(settings, |_| vec![later()]);
    stage.store(&["a@example.org"]);
    let mut said = Vec::new();
    for _ in 0..4 {
        said.extend(stage.round());
        stage.clock.forward(Duration::from_secs(10));
    }
    let kinds: Vec<_> = said.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["deferred", "deferred", "deferred", "failed"]);
}

/// An agent that says when it was called and waits until it may go on.
fn gated() -> (impl Fn(&Lease) -> Vec<Report> + Send + Sync, Receiver<SpoolId>, Sender<()>) {
    let (called, calls) = channel();
    let (go, gate) = channel();
    let gate = Mutex::new(gate);
    let script = move |lease: &Lease| {
        called.send(lease.id).unwrap();
        gate.lock().unwrap().recv().unwrap();
        vec![Report::delivered()]
    };
    (script, calls, go)
}

/// Long enough for any machine; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_commit_wakes_the_runner_and_a_pause_holds_it() {
    let (script, calls, go) = gated();
    let stage = Stage::new(script);
    let spool = Arc::clone(&stage.spool);
    let runner = Runner::start(stage.deliveries).unwrap();
    let commit = || store(&*spool, common::START, envelope(&["a@example.org"]), b"x");
    let first = commit();
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(first));
    runner.pause();
    go.send(()).unwrap();
    let second = commit();
    runner.resume();
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(second));
    go.send(()).unwrap();
    assert_eq!(runner.stop(PATIENCE), Stopped::Clean);
    assert_eq!(spool.status().messages, 0, "what was under way was settled");
}

#[test]
fn a_paused_runner_begins_nothing() {
    let (script, calls, go) = gated();
    let stage = Stage::with(RunnerSettings { workers: 2, batch: 1, ..RunnerSettings::default() }, script);
    let spool = Arc::clone(&stage.spool);
    let runner = Runner::start(stage.deliveries).unwrap();
    let commit = || store(&*spool, common::START, envelope(&["a@example.org"]), b"x");
    commit();
    commit();
    for _ in 0..2 {
        calls.recv_timeout(PATIENCE).unwrap();
    }
    // both threads are in a round now, so they see the pause before they begin another
    runner.pause();
    commit();
    for _ in 0..3 {
        go.send(()).unwrap();
    }
    assert_eq!(runner.stop(PATIENCE), Stopped::Clean);
    assert_eq!((calls.try_iter().count(), spool.status().messages), (0, 1));
}

#[test]
fn stopping_does_not_wait_for_ever() {
    let (script, calls, go) = gated();
    let stage = Stage::new(script);
    let spool = Arc::clone(&stage.spool);
    let runner = Runner::start(stage.deliveries).unwrap();
    store(&*spool, common::START, envelope(&["a@example.org"]), b"x");
    calls.recv_timeout(PATIENCE).unwrap();
    assert_eq!(runner.stop(Duration::from_millis(10)), Stopped::Late);
    assert_eq!(spool.status().messages, 1, "it is not called delivered before it is");
    go.send(()).unwrap();
}

#[test]
fn a_deferred_message_goes_when_its_time_has_come() {
    let (called, calls) = channel();
    let stage = Stage::new(move |lease: &Lease| {
        called.send(lease.attempts).unwrap();
        if lease.attempts == 0 { vec![later()] } else { vec![Report::delivered()] }
    });
    let (spool, clock) = (Arc::clone(&stage.spool), Arc::clone(&stage.clock));
    let runner = Runner::start(stage.deliveries).unwrap();
    store(&*spool, common::START, envelope(&["a@example.org"]), b"x");
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(0));
    let due = (0..60_000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(1));
        spool.next_due()
    });
    assert_eq!(due, Some(common::START.after(Duration::from_mins(1))));
    clock.set(due.unwrap());
    runner.wake();
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(runner.stop(PATIENCE), Stopped::Clean);
}

#[test]
fn threads_deliver_everything_once_into_maildirs() {
    let scene = Scene::new();
    let runner = Runner::start(scene.deliveries).unwrap();
    let addresses = ["a@example.org", "b@example.org", "c@example.org"];
    for number in 0..300 {
        store(&*scene.spool, scene.clock.unix(), envelope(&[addresses[number % 3]]), b"x");
    }
    // bounded: each step waits for the runner's own progress
    let mut delivered = 0;
    for _ in 0..60_000 {
        delivered += scene.diary.take().len();
        if delivered == 300 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(runner.stop(PATIENCE), Stopped::Clean);
    assert_eq!(scene.spool.status().messages, 0);
    let counts = addresses.map(|address| {
        let (local, domain) = address.split_once('@').unwrap();
        common::names(&scene.dir.path().join("mail").join(domain).join(local).join("new")).len()
    });
    assert_eq!(counts, [100; 3]);
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Puts a message into a spool on disk, which answers after its flush.
fn put(spool: &DiskSpool, now: UnixTime, to: &[&str], content: &[u8]) -> SpoolId {
    let mut draft = spool.begin(now).unwrap();
    draft.append(content.to_vec()).unwrap();
    let mut commit = spool.commit(draft, envelope(to));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match commit.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(id) => return id.unwrap(),
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn content_that_is_damaged_is_told_once_and_promises_no_other_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    let open = || {
        let options = Options { reserve_bytes: 0, ..Options::default() };
        DiskSpool::open(Arc::new(RealDisk::new(&path)), options).unwrap().0
    };
    let clock = HandClock::new();
    let spool = open();
    let damaged =
        put(&spool, clock.unix(), &["bob@example.org", "eve@example.org"], b"this is the damaged one");
    put(&spool, clock.unix(), &["carol@example.org"], b"sound");
    spool.close().unwrap();
    drop(spool);
    let mut flipped = 0;
    for entry in std::fs::read_dir(path.join("log")).unwrap() {
        let file = entry.unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        if let Some(at) = bytes.windows(11).position(|window| window == b"the damaged") {
            bytes[at] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let (spool, diary) = (Arc::new(open()), Arc::new(Diary::default()));
    let agent = MaildirAgent::open(settings(dir.path(), Quota::default(), vec![])).unwrap();
    let deliveries = Deliveries::new(
        Arc::clone(&spool),
        Arc::new(agent),
        Arc::clone(&clock) as _,
        Arc::clone(&diary) as _,
        RunnerSettings::default(),
    );
    deliveries.round().unwrap();
    assert_eq!(
        diary.take(),
        [
            "set aside from alice@example.net to bob@example.org eve@example.org",
            "delivered carol@example.org"
        ]
    );
    clock.forward(Duration::from_hours(1));
    assert_eq!(deliveries.round().unwrap(), 0);
    assert!(diary.take().is_empty());
    let found = quarantined(&path).unwrap();
    assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), [Some(damaged)]);
    assert!(found[0].file.exists() && found[0].note.contains("record at octet"), "{found:?}");
}
