//! Ids nobody else gives: the time, 40 random bits for this run, and a counter.

use crate::SpoolId;
use postroad_proto::time::UnixTime;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives ids in ascending order within one millisecond.
pub(crate) struct IdSource {
    run: u64,
    count: AtomicU64,
}

impl Default for IdSource {
    fn default() -> Self {
        Self { run: random(), count: AtomicU64::new(0) }
    }
}

impl IdSource {
    pub(crate) fn next(&self, now: UnixTime) -> SpoolId {
        let count = self.count.fetch_add(1, Ordering::Relaxed) & ((1 << 40) - 1);
        let run = u128::from(self.run & ((1 << 40) - 1));
        // The counter above the random bits keeps messages of one millisecond in order.
        SpoolId::new(now, u128::from(count) << 40 | run)
    }
}

/// 64 bits that a stranger cannot guess: the keys the standard library draws for its hash maps.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
