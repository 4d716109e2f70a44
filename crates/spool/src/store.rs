//! The spool on disk. docs/spool.md has its states, files and crash points.

use crate::commit::{Committer, Item, Reply, Work, closed, run_files};
use crate::draft::DiskDraft;
use crate::fs::Disk;
use crate::ids::IdSource;
use crate::index::{Entry, NEVER};
use crate::keeper::Keeper;
use crate::progress::Progress;
use crate::quarantine::set_aside;
use crate::read::{Bad, Location, Record, read_logged, read_record, verified_reader};
use crate::record::{Header, Kind, encode_envelope, short};
use crate::recover::{Attempts, Lock, OpenReport, mark_clean, recover};
use crate::segment::Segment;
use crate::shared::{Options, Shared, file_path};
use crate::state::{self, Say};
use crate::{Commit, Lease, Outcome, Spool, SpoolError, SpoolId, Status, Waiting};
use postroad_proto::envelope::Envelope;
use postroad_proto::time::UnixTime;
use std::io::{self, Read};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Times a message that is moved while it is read is looked for again.
const PATIENCE: u32 = 8;
/// How long a message waits that the disk failed to read.
const AFTER_READ_ERROR: Duration = Duration::from_mins(1);
/// Longest envelope in octets; far above any limit on recipients.
const MAX_ENVELOPE: usize = 64 << 20;

/// The spool on a disk.
///
/// It runs three threads until it is closed or dropped. Futures of commits may outlive it.
pub struct DiskSpool {
    shared: Arc<Shared>,
    ids: IdSource,
    threads: Mutex<Threads>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Threads {
    files: Option<JoinHandle<()>>,
    committer: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<bool>>,
    lock: Option<Lock>,
}

impl DiskSpool {
    /// Opens the spool in the directory that `disk` is, making it if need be, and says what was found.
    ///
    /// [`SpoolError::Locked`] if another process has it, [`SpoolError::TooNew`] if a newer program wrote
    /// it (then nothing was touched), [`SpoolError::Io`] if the disk fails. Mail that cannot be read is
    /// no error: it is set aside and reported.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, OpenReport), SpoolError> {
        let recovered = recover(disk.as_ref())?;
        let report = recovered.report;
        let shared = Arc::new(Shared::new(disk, options, recovered.index, recovered.pool));
        shared.quarantined.store(report.quarantined.len() as u64, Ordering::Relaxed);
        shared.ask_free();
        let spool = Self {
            shared: Arc::clone(&shared),
            ids: IdSource::default(),
            threads: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        {
            let mut threads = spool.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.lock = Some(recovered.lock);
            let named = |name: &str| std::thread::Builder::new().name(format!("spool-{name}"));
            let keeper = Keeper::new(Arc::clone(&shared));
            threads.keeper = Some(named("keeper").spawn(move || keeper.run())?);
            let committer = Committer::new(Arc::clone(&shared));
            threads.committer = Some(named("committer").spawn(move || committer.run())?);
            threads.files = Some(named("files").spawn(move || run_files(&shared))?);
        }
        Ok((spool, report))
    }

    /// Stops in order: finishes what was committed, flushes all states, marks the directory as clean and
    /// gives it back. Commits after this fail. Where a lease is still out, all messages are
    /// `uncertain` at the next start.
    pub fn close(&self) -> Result<(), SpoolError> {
        self.closed.store(true, Ordering::Relaxed);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.files.close();
        let mut good = join(threads.files.take(), Some(())).is_some();
        self.shared.queue.close();
        good &= join(threads.committer.take(), Some(())).is_some();
        self.shared.close_keeper();
        good &= join(threads.keeper.take(), Some(true)) == Some(true);
        let Some(_lock) = threads.lock.take() else { return Ok(()) };
        if !good {
            return Err(SpoolError::Io(io::Error::other("the last state changes could not be made durable")));
        }
        let cut_off = self.shared.index().entries.values().any(|entry| entry.leased || entry.uncertain);
        let attempts = if cut_off { Attempts::CutOff } else { Attempts::Ended };
        mark_clean(self.shared.disk.as_ref(), attempts).map_err(Into::into)
    }

    fn locate(&self, id: SpoolId) -> Result<(Entry, Location), SpoolError> {
        let index = self.shared.index();
        let entry = index.entries.get(&id).copied().ok_or(SpoolError::Gone(id))?;
        let info = index.segments.get(&entry.epoch).ok_or(SpoolError::Gone(id))?;
        let segment = Arc::clone(&info.segment);
        Ok((entry, Location { segment, offset: entry.offset, span: entry.span, id }))
    }

    /// Reads something of a message; what is damaged where it still lies is set aside.
    fn read<T>(
        &self,
        id: SpoolId,
        read: impl Fn(&Entry, &Location) -> Result<T, Bad>,
    ) -> Result<(Entry, T), SpoolError> {
        for _ in 0..PATIENCE {
            let (entry, at) = self.locate(id)?;
            match read(&entry, &at) {
                Ok(value) => return Ok((entry, value)),
                Err(Bad::Io(error)) => return Err(SpoolError::Io(error)),
                Err(Bad::Damaged(why)) => {
                    let (now, _) = self.locate(id)?;
                    if now.is_at(&entry) {
                        set_aside(&self.shared, id, why);
                        return Err(SpoolError::Corrupt(id));
                    }
                }
            }
        }
        Err(SpoolError::Io(io::Error::other("the message moved while it was read")))
    }

    fn read_content(&self, entry: &Entry, at: &Location) -> Result<Box<dyn Read + Send>, Bad> {
        let record = read_record(at)?;
        let (logged, before) = read_logged(at, &record, |epoch| self.segment(epoch))?;
        let file = if entry.file { Some(self.shared.disk.open(&file_path(at.id))?) } else { None };
        verified_reader(&record, logged, before, file)
    }

    fn segment(&self, epoch: u64) -> Option<Arc<Segment>> {
        self.shared.index().segments.get(&epoch).map(|info| Arc::clone(&info.segment))
    }

    fn waiting(&self, id: SpoolId) -> Result<Waiting, SpoolError> {
        let (entry, (record, progress)) = self.read(id, read_with_progress)?;
        let due = (entry.due != NEVER && !entry.leased).then_some(UnixTime(entry.due));
        Ok(Waiting {
            id,
            envelope: record.envelope,
            size: entry.size,
            accepted: record.header.accepted,
            due,
            attempts: entry.attempts,
            recipients: progress.recipients,
        })
    }

    fn lease_one(&self, id: SpoolId) -> Result<Lease, SpoolError> {
        let (entry, (record, progress)) = self.read(id, read_with_progress)?;
        let shared = Arc::clone(&self.shared);
        let give_back = move || {
            shared.index().update(id, |entry| {
                entry.leased = false;
                entry.uncertain = true;
            });
            shared.wake();
        };
        Ok(Lease {
            id,
            envelope: record.envelope,
            open_recipients: progress.open(),
            size: entry.size,
            accepted: record.header.accepted,
            attempts: entry.attempts,
            uncertain: entry.uncertain,
            guard: Some(Box::new(give_back)),
        })
    }

    /// Appends to the state file what became of a message, and enters it into the index with `apply`
    /// (`true`: it is gone). Begins again where the message was moved meanwhile.
    fn write_down(&self, id: SpoolId, say: impl Fn(&Entry, &Location) -> Say) -> Result<(), SpoolError> {
        for _ in 0..PATIENCE {
            let (before, at) = self.locate(id)?;
            let say = say(&before, &at);
            let (due, attempts, gone) = match &say {
                Say::Progress(progress) => {
                    (progress.due.map_or(NEVER, |due| due.0), progress.attempts, false)
                }
                Say::Settled | Say::Void => (NEVER, 0, true),
            };
            let place = at
                .segment
                .state
                .append(self.shared.disk.as_ref(), &state::Entry { offset: at.offset, say })?;
            let mut index = self.shared.index();
            match index.entries.get(&id) {
                None => return Err(SpoolError::Gone(id)),
                Some(entry) if !entry.is_at(&before) => continue,
                Some(_) => {}
            }
            if !gone {
                index.update(id, |entry| {
                    entry.leased = false;
                    entry.uncertain = false;
                    entry.due = due;
                    entry.attempts = attempts;
                    entry.state_at = place;
                });
                drop(index);
                self.shared.wake();
            } else if let Some((entry, dead)) = index.remove(id) {
                if entry.file {
                    index.unlinks.push(id);
                }
                drop(index);
                if dead {
                    self.shared.call_keeper();
                }
            }
            return Ok(());
        }
        Err(SpoolError::Io(io::Error::other("the message moved while it was settled")))
    }
}

fn join<T>(thread: Option<JoinHandle<T>>, none: Option<T>) -> Option<T> {
    thread.map_or(none, |thread| thread.join().ok())
}

fn read_with_progress(entry: &Entry, at: &Location) -> Result<(Record, Progress), Bad> {
    let record = read_record(at)?;
    let progress = progress_of(entry, at, record.envelope.recipients().len());
    Ok((record, progress))
}

/// How far a message is; what was not written down, or is lost, is done again.
fn progress_of(entry: &Entry, at: &Location, recipients: usize) -> Progress {
    let progress = at.segment.state.progress(entry.state_at);
    let progress = progress.filter(|progress| progress.recipients.len() == recipients);
    progress.unwrap_or_else(|| Progress {
        attempts: entry.attempts,
        ..Progress::new(recipients, UnixTime(entry.due))
    })
}

impl Drop for DiskSpool {
    fn drop(&mut self) {
        // A failure to stop in order is found at the next start.
        drop(self.close());
    }
}

impl Spool for DiskSpool {
    type Draft = DiskDraft;

    fn begin(&self, now: UnixTime) -> Result<DiskDraft, SpoolError> {
        self.room_for(0)?;
        Ok(DiskDraft::new(Arc::clone(&self.shared), self.ids.next(now)))
    }

    fn room_for(&self, bytes: u64) -> Result<(), SpoolError> {
        self.shared.room_for(bytes)
    }

    fn commit(&self, mut draft: DiskDraft, envelope: Envelope) -> Commit {
        let ready = |error| -> Commit { Box::pin(std::future::ready(Err(error))) };
        if self.closed.load(Ordering::Relaxed) {
            return ready(closed());
        }
        if let Err(error) = self.room_for(draft.size) {
            return ready(error);
        }
        if draft.broken {
            return ready(SpoolError::Io(io::Error::other("a part of the content could not be written")));
        }
        let mut bytes = Vec::with_capacity(128);
        if encode_envelope(&envelope, &mut bytes).is_none() || bytes.len() > MAX_ENVELOPE {
            return ready(SpoolError::Io(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the envelope is too large",
            )));
        }
        let header = Header {
            kind: Kind::Message,
            epoch: 0,
            id: draft.id,
            batch: 0,
            meta_len: short(bytes.len()),
            inline_len: short(draft.bufs.iter().map(Vec::len).sum()),
            head_len: 0,
            file_len: draft.file.as_ref().map_or(0, |file| file.len),
            size: draft.size,
            accepted: draft.id.time(),
            content_crc: draft.content_crc(),
            meta_crc: crc32fast::hash(&bytes),
            inline_crc: draft.part.clone().finalize(),
            recipients: short(envelope.recipients().len()),
            chunks: 0,
        };
        let (reply, future) = Reply::new();
        let has_file = draft.file.is_some();
        let work = Work {
            header,
            envelope: bytes,
            bufs: std::mem::take(&mut draft.bufs),
            slots: std::mem::take(&mut draft.slots),
            reply,
            file: draft.file.take(),
        };
        let queue = if has_file { &self.shared.files } else { &self.shared.queue };
        queue.push(Item::Commit(Box::new(work)));
        Box::pin(future)
    }

    fn lease(&self, now: UnixTime, limit: usize) -> Result<Vec<Lease>, SpoolError> {
        let mut due = Vec::new();
        {
            let mut index = self.shared.index();
            while due.len() < limit {
                let Some((_, id)) = index.next_due().filter(|&(due, _)| due <= now.0) else { break };
                index.update(id, |entry| entry.leased = true);
                due.push(id);
            }
        }
        let mut leases = Vec::with_capacity(due.len());
        let mut failed = None;
        for id in due {
            match self.lease_one(id) {
                Ok(lease) => leases.push(lease),
                Err(SpoolError::Corrupt(_) | SpoolError::Gone(_)) => {}
                Err(error) => {
                    self.shared.index().update(id, |entry| {
                        entry.leased = false;
                        entry.due = now.after(AFTER_READ_ERROR).0;
                    });
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if leases.is_empty() => Err(error),
            _ => Ok(leases),
        }
    }

    fn open(&self, id: SpoolId) -> Result<Box<dyn Read + Send>, SpoolError> {
        self.read(id, |entry, at| self.read_content(entry, at)).map(|(_, reader)| reader)
    }

    fn settle(
        &self,
        mut lease: Lease,
        _now: UnixTime,
        outcomes: &[Outcome],
        next: UnixTime,
    ) -> Result<(), SpoolError> {
        let recipients = lease.envelope.recipients().len();
        let written = self.write_down(lease.id, |entry, at| {
            let mut progress = progress_of(entry, at, recipients);
            progress.settle(&lease.open_recipients, outcomes, next);
            if progress.is_done() { Say::Settled } else { Say::Progress(progress) }
        });
        if written.is_ok() {
            lease.guard = None;
        }
        written
    }

    fn discard(&self, id: SpoolId) -> Result<(), SpoolError> {
        self.write_down(id, |_, _| Say::Settled)
    }

    fn next_due(&self) -> Option<UnixTime> {
        self.shared.index().next_due().map(|(due, _)| UnixTime(due))
    }

    fn on_due(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.shared.on_due(wake);
    }

    fn list(&self, after: Option<SpoolId>, limit: usize) -> Result<Vec<Waiting>, SpoolError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids: Vec<SpoolId> = self
            .shared
            .index()
            .entries
            .range((from, Bound::Unbounded))
            .take(limit)
            .map(|(&id, _)| id)
            .collect();
        let mut list = Vec::with_capacity(ids.len());
        for id in ids {
            match self.waiting(id) {
                Ok(waiting) => list.push(waiting),
                Err(SpoolError::Gone(_) | SpoolError::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    fn show(&self, id: SpoolId) -> Result<Option<Waiting>, SpoolError> {
        match self.waiting(id) {
            Ok(waiting) => Ok(Some(waiting)),
            Err(SpoolError::Gone(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn free_over_reserve(&self) -> i64 {
        self.shared.free.load(Ordering::Relaxed)
    }

    fn status(&self) -> Status {
        let (messages, bytes) = {
            let index = self.shared.index();
            (index.entries.len() as u64, index.bytes)
        };
        let shared = &self.shared;
        Status {
            messages,
            bytes,
            commits: shared.commits.load(Ordering::Relaxed),
            flushes: shared.flushes.load(Ordering::Relaxed),
            flush_nanos: shared.flush_nanos.load(Ordering::Relaxed),
            free_over_reserve: shared.free.load(Ordering::Relaxed),
            quarantined: shared.quarantined.load(Ordering::Relaxed),
            failing: shared.failing.load(Ordering::Relaxed),
        }
    }
}
