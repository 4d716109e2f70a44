//! What users of the store see: messages come back as they were, across restarts and moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use postroad_proto::reply::Refusal;
use postroad_proto::time::UnixTime;
use postroad_spool::fs::{Disk, RealDisk};
use postroad_spool::sim::SimDisk;
use postroad_spool::{DiskSpool, Draft, Options, Outcome, RecipientState, Spool, SpoolError, SpoolId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use support::{content, envelope, read, tiny, wait};

const NOW: UnixTime = UnixTime(1_795_327_384_000);

fn open(disk: &Arc<dyn Disk>, options: Options) -> DiskSpool {
    DiskSpool::open(Arc::clone(disk), options).unwrap().0
}

fn put(spool: &DiskSpool, key: u64, size: usize, piece: usize) -> SpoolId {
    let mut draft = spool.begin(NOW).unwrap();
    for chunk in content(key, size).chunks(piece) {
        draft.append(chunk.to_vec()).unwrap();
    }
    wait(spool.commit(draft, envelope(2))).unwrap()
}

fn is_a(path: &str, kind: &str) -> bool {
    path.rsplit('.').next() == Some(kind)
}

#[test]
fn every_size_comes_back_as_it_was_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path().join("spool")));
    let sizes = [8, 100, 10_000, 65_536, 65_537, 100_000, 262_144, 262_145, 400_000, 3_000_000];
    let mut ids = BTreeMap::new();
    let spool = open(&disk, Options { reserve_bytes: 0, ..Options::default() });
    for (key, size) in (0u64..).zip(sizes) {
        for piece in [700, 8192, 70_000] {
            ids.insert(put(&spool, key, size, piece), (key, size));
        }
    }
    for (id, (key, size)) in &ids {
        assert_eq!(read(&spool, *id).unwrap(), content(*key, *size), "{size}");
    }
    assert_eq!(spool.status().messages, 30);
    spool.close().unwrap();
    drop(spool);
    let (spool, report) = DiskSpool::open(Arc::clone(&disk), Options::default()).unwrap();
    assert!(report.clean && report.quarantined.is_empty(), "{report:?}");
    assert_eq!((report.messages, report.scanned), (30, 0), "{report:?}");
    for (id, (key, size)) in &ids {
        assert_eq!(read(&spool, *id).unwrap(), content(*key, *size), "{size}");
    }
    assert!(spool.lease(NOW, 30).unwrap().iter().all(|lease| !lease.uncertain));
}

#[test]
fn a_dropped_draft_leaves_nothing() {
    let disk = SimDisk::new();
    let arc: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = open(&arc, tiny());
    let mut draft = spool.begin(NOW).unwrap();
    draft.append(content(1, 1_000_000)).unwrap();
    draft.append(content(2, 100_000)).unwrap();
    draft.spill().unwrap();
    assert_eq!((draft.in_memory(), draft.size()), (0, 1_100_000));
    assert!(disk.paths().iter().any(|path| path.starts_with("big/")));
    drop(draft);
    assert!(!disk.paths().iter().any(|path| path.starts_with("big/")));
    spool.close().unwrap();
    assert_eq!(spool.status().messages, 0);
}

#[test]
fn outcomes_survive_a_restart_and_moves() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let spool = open(&disk, tiny());
    let id = put(&spool, 1, 5_000, 5_000);
    let lease = spool.lease(NOW, 1).unwrap().pop().unwrap();
    let later = UnixTime(NOW.0 + 60_000);
    spool.settle(lease, NOW, &[Outcome::Delivered, Outcome::Deferred(Refusal::trouble())], later).unwrap();
    // The ring comes round many times while this one stays.
    for key in 0..300 {
        put(&spool, key, 5_000, 5_000);
        let lease = spool.lease(NOW, 1).unwrap().pop().unwrap();
        spool.settle(lease, NOW, &[Outcome::Delivered, Outcome::Delivered], NOW).unwrap();
    }
    spool.close().unwrap();
    drop(spool);
    let spool = open(&disk, tiny());
    let shown = spool.show(id).unwrap().unwrap();
    assert_eq!((shown.due, shown.attempts), (Some(later), 1));
    assert_eq!(shown.recipients[0], RecipientState::Delivered);
    assert!(matches!(&shown.recipients[1], RecipientState::Deferred(text) if text.contains("4.3.0")));
    assert_eq!(spool.list(None, 10).unwrap().len(), 1);
    assert_eq!(spool.next_due(), Some(later));
    assert_eq!(read(&spool, id).unwrap(), content(1, 5_000));
    let lease = spool.lease(later, 5).unwrap().pop().unwrap();
    assert_eq!(lease.open_recipients, [1]);
    spool.settle(lease, later, &[Outcome::Failed(Refusal::trouble())], later).unwrap();
    assert_eq!((spool.next_due(), spool.status().messages), (None, 1));
    spool.discard(id).unwrap();
    assert!(matches!(spool.open(id), Err(SpoolError::Gone(_))));
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()));
    let spool = open(&disk, tiny());
    let second: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()));
    assert!(matches!(DiskSpool::open(Arc::clone(&second), tiny()), Err(SpoolError::Locked)));
    drop(spool);
    assert!(DiskSpool::open(second, tiny()).is_ok());
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_touched() {
    let disk = SimDisk::new();
    disk.replace("format", b"postroad-spool 2\n".to_vec());
    disk.replace("log/00000001.seg", vec![7; 10_000]);
    let result = DiskSpool::open(Arc::new(disk.clone()), tiny());
    assert!(matches!(result, Err(SpoolError::TooNew { found: 2, known: 1 })));
    assert_eq!((disk.calls(), disk.paths().len()), (0, 2));
}

#[test]
fn a_full_disk_refuses_mail_and_lets_the_queue_drain() {
    let disk = SimDisk::new();
    let arc: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = Options { reserve_bytes: 1 << 20, ..tiny() };
    let spool = open(&arc, options);
    put(&spool, 1, 100, 100);
    let draft = spool.begin(NOW).unwrap();
    disk.set_free(1 << 19);
    // The keeper asks again within its pace.
    for _ in 0..5_000 {
        if spool.room_for(0).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(spool.begin(NOW).err(), Some(SpoolError::Full)));
    assert!(matches!(wait(spool.commit(draft, envelope(1))), Err(SpoolError::Full)));
    assert!(spool.status().free_over_reserve < 0);
    let lease = spool.lease(NOW, 1).unwrap().pop().unwrap();
    spool.settle(lease, NOW, &[Outcome::Delivered, Outcome::Delivered], NOW).unwrap();
    assert_eq!(spool.status().messages, 0);
}

#[test]
fn a_bad_sector_costs_one_message_and_not_the_start() {
    let disk = SimDisk::new();
    let arc: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = open(&arc, tiny());
    let ids: Vec<SpoolId> = (0..3).map(|key| put(&spool, key, 1_000, 1_000)).collect();
    spool.close().unwrap();
    drop(spool);
    let disk = disk.crash(1);
    let arc: Arc<dyn Disk> = Arc::new(disk.clone());
    for path in disk.paths() {
        if is_a(&path, "seg") && disk.content(&path).unwrap()[4096..].iter().any(|&byte| byte != 0) {
            disk.make_unreadable(&path, 8192..8704);
        }
        if is_a(&path, "index") {
            disk.replace(&path, Vec::new());
        }
    }
    let (spool, report) = DiskSpool::open(arc, tiny()).unwrap();
    assert_eq!(report.quarantined.len(), 1, "{report:?}");
    assert!(spool.open(ids[1]).is_err());
    assert_eq!(read(&spool, ids[0]).unwrap(), content(0, 1_000));
    assert_eq!(read(&spool, ids[2]).unwrap(), content(2, 1_000));
}

/// Flips one bit in every place of the segment that holds three messages, one run for each place.
#[test]
fn damage_is_set_aside_and_harms_nothing_else() {
    let disk = SimDisk::new();
    let arc: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = open(&arc, tiny());
    let ids: Vec<SpoolId> = (0..3).map(|key| put(&spool, key, 1_000, 1_000)).collect();
    spool.close().unwrap();
    drop(spool);
    let holds =
        |path: &String| is_a(path, "seg") && disk.content(path).unwrap()[4096..].iter().any(|&b| b != 0);
    let path = disk.paths().into_iter().find(holds).unwrap();
    let whole = disk.content(&path).unwrap();
    for with_index in [true, false] {
        for at in (4096..4096 + 3 * 4096).step_by(61) {
            if whole[at] == 0 && whole[at..].iter().take(64).all(|&byte| byte == 0) {
                continue;
            }
            let copy = disk.crash(1);
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            copy.replace(&path, bytes);
            if !with_index {
                for index in copy.paths().iter().filter(|path| is_a(path, "index")) {
                    copy.replace(index, Vec::new());
                }
            }
            let (spool, report) = DiskSpool::open(Arc::new(copy.clone()), tiny()).unwrap();
            let sound: Vec<u64> = (0u64..3)
                .filter(|&key| {
                    read(&spool, ids[usize::try_from(key).unwrap()]).is_ok_and(|c| c == content(key, 1_000))
                })
                .collect();
            assert!(sound.len() >= 2, "at {at}: {sound:?}");
            // After the last record there is nothing that its absence could be told by.
            let last_batch = at >= 4096 * 3;
            if sound.len() == 2 && (with_index || !last_batch) {
                assert!(spool.status().quarantined > 0, "at {at}: {report:?}");
                assert!(copy.paths().iter().any(|path| path.starts_with("quarantine/")), "at {at}");
            }
        }
    }
}

/// Space is at most about twice what lives plus the ring, whatever stays behind.
#[test]
fn what_stays_holds_no_more_than_its_share_of_space() {
    let disk = SimDisk::new();
    let arc: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = open(&arc, tiny());
    let mut stay = Vec::new();
    for key in 0..3_000 {
        let size = 500 + usize::try_from(key % 7).unwrap() * 400;
        let id = put(&spool, key, size, 9_000);
        let lease = spool.lease(NOW, 1).unwrap().pop().unwrap();
        assert_eq!(lease.id, id);
        if key % 20 == 0 {
            stay.push((id, key, size));
            let later = UnixTime(NOW.0 + 1_000);
            spool
                .settle(lease, NOW, &[Outcome::Delivered, Outcome::Deferred(Refusal::trouble())], later)
                .unwrap();
        } else {
            spool.settle(lease, NOW, &[Outcome::Delivered, Outcome::Delivered], NOW).unwrap();
        }
        if key % 8 == 0 {
            // Inflow that leaves the keeper no time only moves the moment of moving.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    for (id, key, size) in &stay {
        assert_eq!(read(&spool, *id).unwrap(), content(*key, *size));
        assert_eq!(spool.show(*id).unwrap().unwrap().attempts, 1);
    }
    let segments = |disk: &SimDisk| -> usize {
        let segments = disk.paths().into_iter().filter(|path| is_a(path, "seg"));
        segments.map(|path| disk.content(&path).unwrap().len()).sum()
    };
    let live: usize = stay.iter().map(|(_, _, size)| size + 4096).sum();
    let ring = usize::try_from(tiny().ring_bytes_max).unwrap() + 4 * 65_536;
    assert!(segments(&disk) <= 2 * live + ring, "{} for {live}", segments(&disk));
    let all = spool.lease(UnixTime(NOW.0 + 1_000), 1_000).unwrap();
    assert_eq!(all.len(), stay.len());
    for lease in all {
        spool.settle(lease, NOW, &[Outcome::Delivered], NOW).unwrap();
    }
    spool.close().unwrap();
    assert!(segments(&disk) <= ring, "{} for nothing", segments(&disk));
}

/// Mail that stays while mail around it comes and goes, and the machine dies in between.
#[test]
fn large_messages_outlive_the_small_ones_around_them() {
    let mut disk = SimDisk::new();
    let mut expected = BTreeSet::new();
    for generation in 1..=8 {
        // A small ring, so that it comes round, and its survivors are copied forward.
        let options = Options {
            segment_bytes: 1 << 20,
            ring_bytes_max: 4 << 20,
            reserve_bytes: 0,
            pace: Duration::from_millis(20),
        };
        let (spool, report) = DiskSpool::open(Arc::new(disk.clone()), options).unwrap();
        let found: BTreeSet<_> =
            spool.list(None, 10_000).unwrap().into_iter().map(|waiting| waiting.id).collect();
        // What was settled may come back, for that is flushed lazily; what was not must be there.
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(missing.is_empty(), "generation {generation}: {missing:?} are gone; {report:?}");
        for &id in &expected {
            assert_eq!(read(&spool, id).unwrap(), vec![b'x'; 100_000], "generation {generation}: {id}");
        }
        for number in 0..30 {
            let mut draft = spool.begin(UnixTime(1000 + generation)).unwrap();
            let size = if number % 3 == 0 { 100_000 } else { 1000 };
            for _ in 0..size / 1000 {
                draft.append(vec![b'x'; 1000]).unwrap();
            }
            let id = wait(spool.commit(draft, envelope(1))).unwrap();
            expected.insert(id);
        }
        let leases = spool.lease(UnixTime(1_000_000), 1000).unwrap();
        let mut kept = Vec::new();
        for lease in leases {
            if lease.size < 10_000 {
                expected.remove(&lease.id);
                spool.settle(lease, UnixTime(1_000_000), &[Outcome::Delivered], UnixTime(0)).unwrap();
            } else {
                kept.push(lease);
            }
        }
        std::thread::sleep(Duration::from_millis(60 * (generation % 3)));
        disk = disk.crash(generation);
        drop(kept);
    }
}
