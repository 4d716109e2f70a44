//! The crash battery: power is lost, or an error injected, at every call to the disk.
//!
//! A run takes 100 messages on a tiny ring while another thread delivers; so segments are retired, kept
//! and compacted all the time. `POSTROAD_FULL=1` tries every call; otherwise a sample of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use postroad_proto::reply::Refusal;
use postroad_proto::time::UnixTime;
use postroad_spool::fs::Disk;
use postroad_spool::sim::{Fault, SimDisk};
use postroad_spool::{DiskSpool, Draft, OpenReport, Outcome, Spool, SpoolError, SpoolId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use support::{content, envelope, read, tiny, wait};

const NOW: UnixTime = UnixTime(1_795_327_384_000);
const FAR: UnixTime = UnixTime(1_895_327_384_000);
const MESSAGES: u64 = 100;
/// Commits that wait at the same time.
const WAVE: u64 = 6;

/// What the world outside saw.
#[derive(Default)]
struct Ledger {
    /// Key and size of everything that was begun.
    begun: BTreeMap<SpoolId, (u64, usize)>,
    accepted: BTreeSet<SpoolId>,
    refused: BTreeSet<SpoolId>,
    /// Refused after power was lost: nobody can have heard that.
    unheard: BTreeSet<SpoolId>,
    /// Delivered, so that it may be gone.
    delivered: BTreeSet<SpoolId>,
    deferred: BTreeSet<SpoolId>,
}

fn size_of(key: u64) -> usize {
    match key % 25 {
        7 => 90_000,
        16 => 300_000,
        _ => 300 + usize::try_from(key * 97 % 9_000).unwrap(),
    }
}

fn open(disk: &SimDisk) -> Result<(DiskSpool, OpenReport), SpoolError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    DiskSpool::open(disk, tiny())
}

/// One life of a server.
fn run(disk: &SimDisk) -> Ledger {
    let ledger = Mutex::new(Ledger::default());
    let Ok((spool, _)) = open(disk) else { return ledger.into_inner().unwrap() };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if !deliver(&spool, &ledger) {
                    std::thread::yield_now();
                }
            }
            while deliver(&spool, &ledger) {}
        });
        for wave in 0..MESSAGES.div_ceil(WAVE) {
            receive(disk, &spool, &ledger, wave);
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(spool);
    ledger.into_inner().unwrap()
}

fn receive(disk: &SimDisk, spool: &DiskSpool, ledger: &Mutex<Ledger>, wave: u64) {
    let mut waiting = Vec::new();
    for key in wave * WAVE..((wave + 1) * WAVE).min(MESSAGES) {
        let Ok(mut draft) = spool.begin(NOW) else { continue };
        let id = draft.id();
        let size = size_of(key);
        ledger.lock().unwrap().begun.insert(id, (key, size));
        let taken = content(key, size).chunks(9_000).all(|chunk| draft.append(chunk.to_vec()).is_ok());
        if !taken || key % 13 == 12 {
            let mut ledger = ledger.lock().unwrap();
            if disk.is_dead() {
                ledger.unheard.insert(id)
            } else {
                ledger.refused.insert(id)
            };
            continue;
        }
        waiting.push((id, spool.commit(draft, envelope(2))));
    }
    for (id, commit) in waiting {
        let result = wait(commit);
        let mut ledger = ledger.lock().unwrap();
        match result {
            Ok(_) => ledger.accepted.insert(id),
            Err(_) if disk.is_dead() => ledger.unheard.insert(id),
            Err(_) => ledger.refused.insert(id),
        };
    }
}

/// Leases a few and settles them; whether there were any.
fn deliver(spool: &DiskSpool, ledger: &Mutex<Ledger>) -> bool {
    let leases = spool.lease(NOW, 4).unwrap_or_default();
    let any = !leases.is_empty();
    for lease in leases {
        let known = ledger.lock().unwrap().begun.get(&lease.id).copied();
        let Some((key, size)) = known else { panic!("a lease for {:?}, which nobody sent", lease.id) };
        if let Ok(stored) = read(spool, lease.id) {
            assert_eq!(stored, content(key, size));
        }
        let outcomes = match key % 4 {
            0 => [Outcome::Delivered, Outcome::Deferred(Refusal::trouble())],
            _ => [Outcome::Delivered, Outcome::Delivered],
        };
        {
            let mut ledger = ledger.lock().unwrap();
            if key % 4 == 0 {
                ledger.deferred.insert(lease.id)
            } else {
                ledger.delivered.insert(lease.id)
            };
        }
        // What the settle answers does not matter here: an error means that it is tried again.
        drop(spool.settle(lease, NOW, &outcomes, FAR));
    }
    any
}

/// What must be so after any crash.
fn check(disk: &SimDisk, ledger: &Ledger, what: &str) {
    let (spool, report) = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.quarantined.is_empty(), "{what}: {:?}", report.quarantined);
    let list = spool.list(None, 10_000).unwrap();
    let present: BTreeSet<SpoolId> = list.iter().map(|waiting| waiting.id).collect();
    assert_eq!(present.len(), list.len(), "{what}: doubled");
    for waiting in &list {
        let id = waiting.id;
        let Some((key, size)) = ledger.begun.get(&id).copied() else { panic!("{what}: unknown {id}") };
        let stored = read(&spool, id).unwrap_or_else(|error| panic!("{what}: {id} ({key}): {error}"));
        assert!(stored == content(key, size), "{what}: {id} ({key}) is not what was sent");
        assert_eq!(waiting.envelope, envelope(2), "{what}");
        assert!(!ledger.refused.contains(&id), "{what}: {id} ({key}) was refused and is there");
        assert!(waiting.attempts == 0 || ledger.deferred.contains(&id), "{what}: {id} ({key})");
    }
    for id in ledger.accepted.difference(&ledger.delivered) {
        let (key, _) = ledger.begun[id];
        assert!(present.contains(id), "{what}: {id} ({key}) was accepted and is lost; {report:?}");
    }
    // Everything can be finished, and then nothing stays.
    let leases = spool.lease(FAR, 10_000).unwrap();
    assert_eq!(leases.len(), present.len(), "{what}");
    for lease in leases {
        assert!(lease.uncertain || report.clean, "{what}");
        let outcomes = vec![Outcome::Delivered; lease.open_recipients.len()];
        spool.settle(lease, FAR, &outcomes, FAR).unwrap();
    }
    spool.close().unwrap();
    assert!(!disk.paths().iter().any(|path| path.starts_with("big/")), "{what}: {:?}", disk.paths());
    drop(spool);
    let (spool, _) = open(disk).unwrap();
    assert_eq!(spool.status().messages, 0, "{what}: came back");
}

fn is_full() -> bool {
    std::env::var_os("POSTROAD_FULL").is_some()
}

/// The calls to try: all, or about `sample` of them.
fn calls(sample: u64) -> impl Iterator<Item = u64> {
    let disk = SimDisk::new();
    let ledger = run(&disk);
    assert!(ledger.refused.len() < 20 && ledger.accepted.len() > 80, "a run without faults");
    check(&disk.crash(3), &ledger, "no fault");
    let total = disk.calls();
    let step = if is_full() { 1 } else { (total / sample).max(1) };
    (1..=total).step_by(usize::try_from(step).unwrap())
}

#[test]
fn power_lost_at_every_call() {
    for call in calls(100) {
        for seed in 0..if is_full() { 4 } else { 1 } {
            let disk = SimDisk::new();
            disk.fail_at(call, Fault::PowerLoss);
            let ledger = run(&disk);
            let seed = call * 7 + seed;
            check(&disk.crash(seed), &ledger, &format!("power lost at call {call}, seed {seed}"));
        }
    }
}

#[test]
fn power_lost_again_during_the_start() {
    for call in calls(12) {
        let disk = SimDisk::new();
        disk.fail_at(call, Fault::PowerLoss);
        let ledger = run(&disk);
        let step = if is_full() { 1 } else { 4 };
        for again in (1..40).step_by(step) {
            let second = disk.crash(call);
            second.fail_at(again, Fault::PowerLoss);
            drop(open(&second));
            let what = format!("power lost at call {call}, then at call {again} of the start");
            check(&second.crash(again + call), &ledger, &what);
        }
    }
}

#[test]
fn an_error_at_every_call_costs_only_the_messages_of_that_flush() {
    let mut hits = 0;
    for (turn, call) in (0u64..).zip(calls(100)) {
        for fault in [Fault::Io, Fault::NoSpace] {
            if !is_full() && (turn % 2 == 0) != (fault == Fault::Io) {
                continue;
            }
            let disk = SimDisk::new();
            disk.fail_at(call, fault);
            let ledger = run(&disk);
            let what = format!("{fault:?} at call {call}");
            let dropped = (0..MESSAGES).filter(|key| key % 13 == 12).count();
            if !ledger.begun.is_empty() {
                let lost = ledger.refused.len() - dropped;
                assert!(lost <= usize::try_from(WAVE).unwrap(), "{what}: {lost} refused");
                hits += usize::from(lost > 0);
            }
            check(&disk.crash(call), &ledger, &what);
        }
    }
    assert!(hits > 3, "the faults hit commits");
}

#[test]
fn power_lost_soon_after_an_error() {
    for call in calls(60) {
        for after in if is_full() { 1..16 } else { 1 + call % 12..2 + call % 12 } {
            let disk = SimDisk::new();
            disk.fail_at(call, Fault::Io);
            disk.fail_at(call + after, Fault::PowerLoss);
            let ledger = run(&disk);
            // Whoever was told 451 before tries again: the message must not be there too. The seeds keep
            // all that was written, or a part.
            for seed in [call * 4 + 1, call] {
                let what = format!("error at call {call}, power lost {after} later, seed {seed}");
                check(&disk.crash(seed), &ledger, &what);
            }
        }
    }
}
