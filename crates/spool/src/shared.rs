//! What the threads of the store share.

use crate::commit::Queue;
use crate::fs::Disk;
use crate::index::Index;
use crate::record::len;
use crate::segment::Pool;
use crate::{SpoolError, SpoolId};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much room the store may take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Octets of one segment file; at least 64 KiB. A record that is larger gets a segment of its size.
    pub segment_bytes: u64,
    /// Octets the ring may grow to under inflow. What waits long is kept outside it.
    pub ring_bytes_max: u64,
    /// Octets that have to stay free on the device: below, mail is refused with [`SpoolError::Full`].
    pub reserve_bytes: u64,
    /// How often state changes are flushed and free space is asked for.
    pub pace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            ring_bytes_max: 1 << 30,
            reserve_bytes: 256 << 20,
            pace: Duration::from_secs(1),
        }
    }
}

type Wake = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    index: Mutex<Index>,
    pool: Mutex<Pool>,
    /// Commits and chunks for the committer.
    pub(crate) queue: Queue,
    /// Commits whose file has to be flushed first.
    pub(crate) files: Queue,
    wake: Mutex<Option<Wake>>,
    keeper: Mutex<Signal>,
    keeper_called: Condvar,
    pub(crate) commits: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_nanos: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    pub(crate) failing: AtomicBool,
    pub(crate) free: AtomicI64,
}

#[derive(Default)]
struct Signal {
    called: bool,
    closing: bool,
}

impl Shared {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: Options, index: Index, pool: Pool) -> Self {
        Self {
            disk,
            options,
            index: Mutex::new(index),
            pool: Mutex::new(pool),
            queue: Queue::default(),
            files: Queue::default(),
            wake: Mutex::default(),
            keeper: Mutex::default(),
            keeper_called: Condvar::new(),
            commits: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            flush_nanos: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            free: AtomicI64::new(i64::MAX),
        }
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who asked that something is due earlier.
    pub(crate) fn wake(&self) {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(wake) = wake {
            wake();
        }
    }

    pub(crate) fn on_due(&self, wake: Wake) {
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }

    fn signal(&self) -> MutexGuard<'_, Signal> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the keeper to look.
    pub(crate) fn call_keeper(&self) {
        let mut signal = self.signal();
        if !signal.called {
            signal.called = true;
            self.keeper_called.notify_one();
        }
    }

    pub(crate) fn close_keeper(&self) {
        self.signal().closing = true;
        self.keeper_called.notify_one();
    }

    /// Waits for a call or for `span`; `false` when the store closes.
    pub(crate) fn wait_for_call(&self, span: Duration) -> bool {
        let waiting = |signal: &mut Signal| !signal.called && !signal.closing;
        let waited = self.keeper_called.wait_timeout_while(self.signal(), span, waiting);
        let (mut signal, _) = waited.unwrap_or_else(PoisonError::into_inner);
        signal.called = false;
        !signal.closing
    }

    /// Asks the disk how much is free.
    pub(crate) fn ask_free(&self) {
        if let Ok(free) = self.disk.free_bytes() {
            let signed = |octets: u64| i64::try_from(octets).unwrap_or(i64::MAX);
            let over = signed(free).saturating_sub(signed(self.options.reserve_bytes));
            self.free.store(over, Ordering::Relaxed);
        }
    }

    /// Most segments the ring may hold.
    pub(crate) fn most_ready(&self) -> usize {
        let segments = self.options.ring_bytes_max / self.options.segment_bytes.max(1);
        len(segments).max(4)
    }

    pub(crate) fn room_for(&self, octets: u64) -> Result<(), SpoolError> {
        let octets = i64::try_from(octets).unwrap_or(i64::MAX);
        if self.free.load(Ordering::Relaxed) >= octets { Ok(()) } else { Err(SpoolError::Full) }
    }

    /// Runs a flush of commits and counts it.
    pub(crate) fn count_flush(&self, flush: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let start = now();
        let result = flush();
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.flush_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.flushes.fetch_add(1, Ordering::Relaxed);
        result
    }
}

/// The monotonic clock, for measuring flushes and pacing the keeper; no decision about mail hangs on it.
#[expect(clippy::disallowed_methods, reason = "measures and paces; mail's times are arguments")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The path of a large message's file.
pub(crate) fn file_path(id: SpoolId) -> String {
    format!("big/{id}")
}
