//! From the sessions to the file: a queue that never blocks, and the thread that empties it.
//!
//! [`Ledger::submit`] appends to a buffer under a lock that nobody holds while doing I/O; beyond its bound it drops and
//! counts. The thread sleeps while there is nothing; then it gathers for a fifth of a second, or up to a mebibyte, and
//! writes. While the file cannot be written it says why in [`Health`], tries again with growing pauses, and
//! the queue fills; sessions do not notice.

use crate::session::Chunk;
use crate::store::{Kind, Retention, Store, Trouble, set_aside};
use postroad_proto::time::UnixTime;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Octets of chunks from which on they are written at once; also the size of a block.
const BLOCK: usize = 1024 * 1024;
/// Pauses between attempts to write: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How long the end waits for the thread to write what is left.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where the ledger is and how much it keeps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The file. Its directory is made if only the last part of it is missing.
    pub path: PathBuf,
    /// How long records are kept.
    pub keep_for: Duration,
    /// Octets the file may have, short of what is written until it is next looked at.
    pub keep_octets: u64,
    /// Octets that may wait to be written.
    pub queue_octets: usize,
    /// How long records are gathered before they are written.
    pub gather: Duration,
}

impl Settings {
    /// 14 days, 1 GiB, a queue of 16 MiB, written five times a second.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            keep_for: Duration::from_hours(14 * 24),
            keep_octets: 1 << 30,
            queue_octets: 16 << 20,
            gather: Duration::from_millis(200),
        }
    }
}

/// How the ledger fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Nothing was written yet.
    #[default]
    Starting,
    /// Records are written.
    Working,
    /// Records cannot be written; it is tried again.
    Broken,
}

/// How the ledger fares, for logs, metrics and health pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether it works.
    pub state: State,
    /// What is, or was, wrong and what was done; empty if nothing ever was.
    pub message: String,
    /// Chunks that were dropped because the queue was full.
    pub dropped: u64,
    /// The time in the last record before the state changed; zero at the start.
    pub since: UnixTime,
    /// How often the state became broken.
    pub troubles: u64,
}

/// The ledger, open for writing. Shared by all sessions; dropping it writes what is left, within five seconds.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is work for the thread.
    work: Condvar,
    /// The thread did some.
    done: Condvar,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Chunks, each with its length before it.
    framed: Vec<u8>,
    stop: bool,
    ended: bool,
    /// Tickets of those who wait for a flush: the last given, the last answered, and whether the answer was good.
    asked: u64,
    answered: u64,
    written: bool,
}

impl Queue {
    /// Whether somebody waits for what is there to be written.
    fn is_pressed(&self) -> bool {
        self.stop || self.asked > self.answered
    }
}

impl Ledger {
    /// Starts the thread, which opens the file. Fails only if there can be no thread; what is wrong with the file
    /// is told by [`Ledger::health`].
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            shared: Arc::clone(&shared),
            path: settings.path.clone(),
            retention: Retention { age: settings.keep_for, octets: settings.keep_octets },
            gather: settings.gather,
            store: None,
            latest: UnixTime(0),
        };
        std::thread::Builder::new().name("ledger".into()).spawn(move || writer.run())?;
        Ok(Self { shared, limit: settings.queue_octets })
    }

    /// Hands a chunk over. Never waits for the disk; a chunk that has no room is dropped and counted.
    #[expect(clippy::needless_pass_by_value, reason = "what was submitted is not submitted again")]
    pub fn submit(&self, chunk: Chunk) {
        let octets = chunk.octets();
        let mut queue = lock(&self.shared.queue);
        let before = queue.framed.len();
        let after = before.saturating_add(octets.len()).saturating_add(4);
        let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        if after > self.limit || length == u32::MAX {
            drop(queue);
            lock(&self.shared.health).dropped += 1;
            return;
        }
        queue.framed.extend_from_slice(&length.to_le_bytes());
        queue.framed.extend_from_slice(octets);
        drop(queue);
        if before == 0 || (before < BLOCK && after >= BLOCK) {
            self.shared.work.notify_one();
        }
    }

    /// Writes what was submitted so far, and waits for it at most this long. Whether it is in the file now.
    pub fn flush(&self, at_most: Duration) -> bool {
        let mut queue = lock(&self.shared.queue);
        queue.asked += 1;
        let ticket = queue.asked;
        self.shared.work.notify_one();
        let waited = self.shared.done.wait_timeout_while(queue, at_most, |queue| queue.answered < ticket);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.answered >= ticket && queue.written
    }

    /// How the ledger fares.
    pub fn health(&self) -> Health {
        lock(&self.shared.health).clone()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.stop = true;
        self.shared.work.notify_one();
        // A disk that hangs must not hold up the end of the server: the thread is left behind then.
        drop(self.shared.done.wait_timeout_while(queue, FAREWELL, |queue| !queue.ended));
    }
}

/// A panic while the lock was held leaves counters and whole chunks, both usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    retention: Retention,
    gather: Duration,
    store: Option<Store>,
    latest: UnixTime,
}

impl Writer {
    fn run(mut self) {
        let mut pause = PAUSE.0;
        let mut batch = Vec::new();
        loop {
            let (covered, stop) = self.next_batch(&mut batch);
            let result = self.write(&batch);
            let written = result.is_ok();
            match result {
                Ok(()) => {
                    batch.clear();
                    pause = PAUSE.0;
                }
                Err(trouble) => self.tell(State::Broken, trouble.message),
            }
            let mut queue = lock(&self.shared.queue);
            let ends = stop && (queue.framed.is_empty() || !written);
            if ends {
                // Closing the file is a part of the end: whoever waits for that may then do with it what they want.
                drop(queue);
                self.store = None;
                queue = lock(&self.shared.queue);
                queue.ended = true;
            }
            queue.answered = if written { covered } else { queue.asked };
            queue.written = written;
            self.shared.done.notify_all();
            if ends {
                return;
            }
            if !written {
                // Who asks for a flush asks for another attempt.
                let waits = |queue: &mut Queue| !queue.stop && !queue.is_pressed();
                drop(self.shared.work.wait_timeout_while(queue, pause, waits));
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }

    /// Waits for work, then a little for more of it, and takes it; what could not be written comes first. Gives
    /// the last ticket for which writing this is enough, and whether this is the end.
    fn next_batch(&self, batch: &mut Vec<u8>) -> (u64, bool) {
        let mut queue = lock(&self.shared.queue);
        if batch.is_empty() && self.store.is_some() {
            let idle = |queue: &mut Queue| queue.framed.is_empty() && !queue.is_pressed();
            queue = self.shared.work.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            let gathering = |queue: &mut Queue| queue.framed.len() < BLOCK && !queue.is_pressed();
            let gathered = self.shared.work.wait_timeout_while(queue, self.gather, gathering);
            queue = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut covered = queue.answered;
        if batch.is_empty() {
            covered = queue.asked;
            // The two buffers take turns, so that they need not grow again; a large one was for a bad time.
            if batch.capacity() > 4 * BLOCK {
                *batch = Vec::new();
            }
            std::mem::swap(&mut queue.framed, batch);
        }
        (covered, queue.stop)
    }

    /// Writes the batch; opens the file where it is not open, and replaces it where it is damaged or gone.
    fn write(&mut self, batch: &[u8]) -> Result<(), Trouble> {
        let mut mended = String::new();
        for _ in 0..2 {
            let result = self.try_write(batch);
            match result {
                Ok(()) => {
                    self.tell(State::Working, mended);
                    return Ok(());
                }
                Err(trouble) if trouble.kind == Kind::Corrupt => {
                    let aside = set_aside(&self.path)?;
                    mended = format!(
                        "{}; it is now {}, and a new one was begun",
                        trouble.message,
                        aside.display()
                    );
                }
                Err(trouble) if trouble.kind == Kind::Gone => {
                    mended = format!("{}; a new one was begun", trouble.message);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        self.try_write(batch)
    }

    /// Leaves the file open only if all went well: whatever is wrong may be better with a fresh look at it.
    fn try_write(&mut self, batch: &[u8]) -> Result<(), Trouble> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::open(&self.path, self.retention)?,
        };
        self.latest = self.latest.max(store.write(batch, BLOCK)?);
        self.store = Some(store);
        Ok(())
    }

    fn tell(&self, state: State, message: String) {
        let mut health = lock(&self.shared.health);
        if health.state != state {
            health.troubles += u64::from(state == State::Broken);
            health.state = state;
            health.since = self.latest;
        }
        if !message.is_empty() {
            health.message = message;
        }
    }
}
