//! Random operations on the store and on a simple model of it; and random damage to its files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use postroad_proto::reply::Refusal;
use postroad_proto::time::UnixTime;
use postroad_spool::fs::Disk;
use postroad_spool::memory::MemorySpool;
use postroad_spool::sim::SimDisk;
use postroad_spool::{DiskSpool, Draft, Lease, Outcome, Spool, SpoolId, Waiting};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{content, envelope, read, tiny, wait};

#[derive(Clone, Debug)]
enum Op {
    Put { size: usize, piece: usize, spill: bool, abandon: bool },
    Lease(usize),
    Drop,
    Settle(Vec<u8>, u64),
    Discard(prop::sample::Index),
    Pass(u64),
    Reopen,
    StopAndLosePower(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![6 => 1..6_000usize, 1 => 60_000..140_000usize, 1 => 250_000..600_000usize];
    prop_oneof![
        10 => (size, 500..80_000usize, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(size, piece, spill, abandon)| Op::Put { size, piece, spill, abandon }),
        5 => (1..5usize).prop_map(Op::Lease),
        1 => Just(Op::Drop),
        6 => (prop::collection::vec(0..3u8, 3), 1..1_000u64).prop_map(|(outcomes, next)| Op::Settle(outcomes, next)),
        1 => any::<prop::sample::Index>().prop_map(Op::Discard),
        3 => (1..800u64).prop_map(Op::Pass),
        1 => Just(Op::Reopen),
        1 => any::<u64>().prop_map(Op::StopAndLosePower),
    ]
}

fn outcome(kind: u8) -> Outcome {
    match kind {
        0 => Outcome::Delivered,
        1 => Outcome::Deferred(Refusal::trouble()),
        _ => Outcome::Failed(Refusal::trouble()),
    }
}

fn begin<S: Spool>(spool: &S, now: UnixTime, bytes: &[u8], piece: usize, spill: bool) -> S::Draft {
    let mut draft = spool.begin(now).unwrap();
    for chunk in bytes.chunks(piece) {
        draft.append(chunk.to_vec()).unwrap();
        if spill {
            draft.spill().unwrap();
        }
    }
    assert_eq!(draft.size(), bytes.len() as u64);
    draft
}

/// The store under test, the model, and which message is which.
struct Pair {
    disk: SimDisk,
    real: Option<DiskSpool>,
    model: MemorySpool,
    /// Model's id, and content, by the store's id.
    twins: BTreeMap<SpoolId, (SpoolId, Vec<u8>)>,
    leased: Vec<(Lease, Lease)>,
    now: UnixTime,
}

impl Pair {
    fn new() -> Self {
        let disk = SimDisk::new();
        let real = Some(open(&disk));
        let model = MemorySpool::new();
        Self {
            disk,
            real,
            model,
            twins: BTreeMap::new(),
            leased: Vec::new(),
            now: UnixTime(1_795_327_384_000),
        }
    }

    fn real(&self) -> &DiskSpool {
        self.real.as_ref().unwrap()
    }

    fn apply(&mut self, key: u64, op: Op) {
        match op {
            Op::Put { size, piece, spill, abandon } => {
                // Each message has a time of its own, so that both order them the same way.
                self.now.0 += 1;
                let bytes = content(key, size);
                let real = begin(self.real(), self.now, &bytes, piece, spill);
                if abandon {
                    return;
                }
                let model = begin(&self.model, self.now, &bytes, piece, spill);
                let id = wait(self.real().commit(real, envelope(3))).unwrap();
                let twin = wait(self.model.commit(model, envelope(3))).unwrap();
                self.twins.insert(id, (twin, bytes));
            }
            Op::Lease(limit) => {
                let real = self.real().lease(self.now, limit).unwrap();
                let model = self.model.lease(self.now, limit).unwrap();
                assert_eq!(real.len(), model.len());
                for (real, model) in real.into_iter().zip(model) {
                    assert_eq!(self.twins[&real.id].0, model.id);
                    assert_eq!(real.open_recipients, model.open_recipients);
                    assert_eq!(real.attempts, model.attempts);
                    assert_eq!(real.envelope, model.envelope);
                    assert!(real.uncertain || !model.uncertain);
                    self.leased.push((real, model));
                }
            }
            Op::Drop => drop(self.leased.pop()),
            Op::Settle(kinds, next) => {
                let Some((real, model)) = self.leased.pop() else { return };
                let outcomes: Vec<Outcome> =
                    kinds.iter().take(real.open_recipients.len()).map(|&kind| outcome(kind)).collect();
                let next = UnixTime(self.now.0 + next);
                let theirs = self.model.settle(model, self.now, &outcomes, next);
                assert_eq!(self.real().settle(real, self.now, &outcomes, next).is_ok(), theirs.is_ok());
            }
            Op::Discard(which) => {
                if self.twins.is_empty() {
                    return;
                }
                let (&id, (twin, _)) = self.twins.iter().nth(which.index(self.twins.len())).unwrap();
                assert_eq!(self.real().discard(id).is_ok(), self.model.discard(*twin).is_ok());
            }
            Op::Pass(millis) => self.now.0 += millis,
            Op::Reopen => {
                self.leased.clear();
                self.real().close().unwrap();
                self.real = None;
                self.real = Some(open(&self.disk));
            }
            Op::StopAndLosePower(seed) => {
                self.leased.clear();
                self.real().close().unwrap();
                self.real = None;
                self.disk = self.disk.crash(seed);
                self.real = Some(open(&self.disk));
            }
        }
    }

    fn compare(&self) {
        let real = self.real().list(None, 10_000).unwrap();
        let model = self.model.list(None, 10_000).unwrap();
        let told = |waiting: &Waiting| {
            format!(
                "{:?} {} {} {:?} {:?}",
                waiting.due, waiting.attempts, waiting.size, waiting.recipients, waiting.envelope
            )
        };
        assert_eq!(real.len(), model.len());
        for (real, model) in real.iter().zip(&model) {
            let (twin, bytes) = &self.twins[&real.id];
            assert_eq!(*twin, model.id);
            assert_eq!(told(real), told(model));
            assert_eq!(&read(self.real(), real.id).unwrap(), bytes);
        }
        assert_eq!(self.real().next_due(), self.model.next_due());
        let (real, model) = (self.real().status(), self.model.status());
        assert_eq!((real.messages, real.bytes), (model.messages, model.bytes));
        assert!(!real.failing);
    }
}

fn open(disk: &SimDisk) -> DiskSpool {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (spool, report) = DiskSpool::open(disk, tiny()).unwrap();
    assert!(report.quarantined.is_empty(), "{report:?}");
    spool
}

fn config() -> ProptestConfig {
    let cases = if std::env::var_os("POSTROAD_FULL").is_some() { 1_500 } else { 48 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_store_does_what_the_model_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut pair = Pair::new();
        for (key, op) in (0u64..).zip(ops) {
            pair.apply(key, op);
        }
        pair.compare();
        pair.apply(0, Op::Reopen);
        pair.compare();
    }

    /// Whatever a disk does to the bytes: the start succeeds or is refused for the format, and what is
    /// given out is what was put in.
    #[test]
    fn damaged_files_never_stop_the_start_nor_change_a_message(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..3_000usize, any::<u8>()), 1..6),
        clean in any::<bool>(),
    ) {
        let mut pair = Pair::new();
        for key in 0..40 {
            let size = [900, 4_000, 70_000, 300_000][usize::try_from(key % 4).unwrap()];
            pair.apply(key, Op::Put { size, piece: 9_000, spill: false, abandon: false });
            if key % 3 == 0 {
                pair.apply(key, Op::Lease(1));
                pair.apply(key, Op::Settle(vec![0, 1, 0], 50));
            }
        }
        if clean {
            pair.real().close().unwrap();
        }
        let disk = pair.disk.crash(1);
        for (which, at, count, with) in hits {
            let paths: Vec<String> = disk.paths().into_iter().filter(|path| path != "format").collect();
            let path = which.get(&paths);
            let mut bytes = disk.content(path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let at = at.index(bytes.len());
            let end = (at + count).min(bytes.len());
            bytes[at..end].fill(with);
            disk.replace(path, bytes);
        }
        for _ in 0..2 {
            let disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let (spool, _) = DiskSpool::open(disk, tiny()).unwrap();
            for (id, (_, bytes)) in &pair.twins {
                if let Ok(stored) = read(&spool, *id) {
                    prop_assert_eq!(&stored, bytes);
                }
            }
            for waiting in spool.list(None, 1_000).unwrap() {
                prop_assert_eq!(waiting.envelope, envelope(3));
                prop_assert!(pair.twins.contains_key(&waiting.id));
            }
        }
    }
}
