//! How full a mailbox is: the Maildir++ file `maildirsize`, a short memory of it, and a marker of how
//! long the mailbox has been over.
//!
//! `maildirsize` holds the limits on its first line, then a line `octets messages` for each change;
//! readers that delete append negative ones. It is counted anew when it is missing, torn, longer than
//! 5,120 octets, made for other limits, or when it says "full" and may be out of date. It is never
//! flushed: after a crash it is counted anew or a little wrong, and mail does not depend on it.
//! Counted are `new` and `cur` of the Maildir and its folders, but neither what a reader marked as
//! trashed nor the folder `.Trash`, as the Maildir++ text says.
//!
//! What was accepted and is not delivered yet has its room promised, so that mail is turned away while
//! its sender still listens. Promises are in memory: after a start the first messages may be taken
//! beyond the quota, and wait.

use crate::route::Quota;
use postroad_proto::time::UnixTime;
use postroad_spool::SpoolId;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// The file's size from which it is counted anew.
const MAX_FILE: u64 = 5120;
/// The age from which "full" is not believed without counting.
const STALE: Duration = Duration::from_mins(15);
/// How long what was read is believed.
const FRESH: Duration = Duration::from_secs(2);
/// The least that a file is larger than the content its sender declares, for the trace header.
pub(super) const LEAST_TRACE: u64 = 128;
/// How long a promise counts: a message that nobody delivers any more must not fill a mailbox for ever.
const PROMISED_FOR: Duration = Duration::from_hours(24);
/// Promises of one mailbox; beyond it the oldest is forgotten.
const MAX_PROMISES: usize = 10_000;
/// Holds the time, in seconds since 1970, since when mail has been turned away.
const MARKER: &str = "postroad-over-quota";

/// Octets and messages; negative in between, when a reader deletes what is not counted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) bytes: i64,
    pub(super) messages: i64,
}

impl Usage {
    pub(super) fn one(bytes: u64) -> Self {
        Self { bytes: i64::try_from(bytes).unwrap_or(i64::MAX), messages: 1 }
    }

    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            messages: self.messages.saturating_add(other.messages),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            messages: self.messages.saturating_sub(other.messages),
        }
    }

    fn fits(self, quota: Quota) -> bool {
        let below = |used: i64, limit: Option<u64>| {
            limit.is_none_or(|limit| u64::try_from(used).unwrap_or(0) <= limit)
        };
        below(self.bytes, quota.bytes) && below(self.messages, quota.messages)
    }
}

/// Why a message does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It is larger than the mailbox may ever be.
    NeverFits,
    /// There is no room now.
    Full,
    /// There has been no room for longer than is waited.
    FullForLong,
}

/// The account of one mailbox with a quota.
#[derive(Debug)]
pub(super) struct Account {
    maildir: PathBuf,
    quota: Quota,
    permanent_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the file said, and when it was read.
    known: Option<(Counted, UnixTime)>,
    /// What is being delivered and not yet in the file.
    reserved: Usage,
    /// What was accepted and is not being delivered.
    promises: BTreeMap<SpoolId, (Usage, UnixTime)>,
    /// The sum of the promises.
    promised: Usage,
    marker: Marker,
}

impl State {
    fn promise(&mut self, id: SpoolId, room: Usage, now: UnixTime) {
        let (before, _) = self.promises.remove(&id).unwrap_or_default();
        self.promises.insert(id, (before.plus(room), now));
        self.promised = self.promised.plus(room);
        if self.promises.len() > MAX_PROMISES
            && let Some((_, (oldest, _))) = self.promises.pop_first()
        {
            self.promised = self.promised.minus(oldest);
        }
    }

    fn release(&mut self, id: SpoolId) {
        if let Some((room, _)) = self.promises.remove(&id) {
            self.promised = self.promised.minus(room);
        }
    }

    /// Forgets promises that are too old, from the oldest message on.
    fn expire(&mut self, now: UnixTime) {
        while let Some((&id, (_, at))) = self.promises.first_key_value()
            && now.since(*at) > PROMISED_FOR
        {
            self.release(id);
        }
    }
}

/// What is known of the file [`MARKER`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Marker {
    #[default]
    NotRead,
    Absent,
    /// Mail has been turned away since then.
    Since(UnixTime),
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    usage: Usage,
    /// Whether "full" may be out of date.
    doubtful: bool,
}

impl Account {
    pub(super) fn new(maildir: &Path, quota: Quota, permanent_after: Duration) -> Self {
        Self { maildir: maildir.into(), quota, permanent_after, state: Mutex::default() }
    }

    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    /// Promises room to a message that is about to be accepted, for a file of `size` octets at most.
    /// May count files and wait for a delivery.
    pub(super) fn promise(&self, id: SpoolId, size: u64, now: UnixTime) -> io::Result<Result<(), Over>> {
        let mut state = self.lock();
        if let Some(over) = self.judge(&mut state, size, now)? {
            return Ok(Err(over));
        }
        state.promise(id, Usage::one(size), now);
        Ok(Ok(()))
    }

    /// Keeps the promise for a message whose delivery failed for another reason than want of room.
    pub(super) fn keep(&self, id: SpoolId, size: u64, now: UnixTime) {
        self.lock().promise(id, Usage::one(size), now);
    }

    /// Takes a promise back.
    pub(super) fn release(&self, id: SpoolId) {
        self.lock().release(id);
    }

    /// Sets room aside for one file of `size` octets, where there was a promise in its place;
    /// [`Account::settle`] gives it back.
    pub(super) fn reserve(&self, id: SpoolId, size: u64, now: UnixTime) -> io::Result<Result<(), Over>> {
        let mut state = self.lock();
        state.release(id);
        if let Some(over) = self.judge(&mut state, size, now)? {
            return Ok(Err(over));
        }
        state.reserved = state.reserved.plus(Usage::one(size));
        Ok(Ok(()))
    }

    /// Writes down what became of the room set aside. A file that cannot be written is counted anew
    /// later, so that is no reason to fail a delivery.
    pub(super) fn settle(&self, reserved: Usage, delivered: Usage) {
        let mut state = self.lock();
        state.reserved = state.reserved.minus(reserved);
        if delivered.messages == 0 {
            return;
        }
        if let Some((counted, _)) = &mut state.known {
            counted.usage = counted.usage.plus(delivered);
        }
        let line = format!("{} {}\n", delivered.bytes, delivered.messages);
        let append = OpenOptions::new().append(true).open(self.maildir.join("maildirsize"));
        if append.and_then(|mut file| file.write_all(line.as_bytes())).is_err() {
            state.known = None;
        }
        if state.marker != Marker::Absent {
            drop(fs::remove_file(self.maildir.join(MARKER)));
            state.marker = Marker::Absent;
        }
    }

    /// Whether a message of `size` octets, its trace header not counted, would be turned away. Cheap enough for RCPT: it never counts
    /// files and never waits for a delivery; where it would have to, there is no verdict.
    pub(super) fn verdict(&self, size: u64, now: UnixTime) -> Option<Over> {
        let size = size.saturating_add(LEAST_TRACE);
        if self.never_fits(size) {
            return Some(Over::NeverFits);
        }
        let mut state = self.state.try_lock().ok()?;
        state.expire(now);
        let counted = match state.known {
            Some((counted, at)) if now.since(at) < FRESH && at <= now => counted,
            _ => {
                let counted = self.read(now).ok().flatten()?;
                state.known = Some((counted, now));
                counted
            }
        };
        if counted.doubtful || self.room(counted, &state, size) {
            return None;
        }
        self.over(&mut state, now).ok()
    }

    /// What is in use, as far as that is known at once, and what may be.
    pub(super) fn known(&self) -> (Quota, Quota) {
        let used = self.state.try_lock().ok().and_then(|state| {
            let (counted, _) = state.known?;
            Some(counted.usage.plus(state.reserved).plus(state.promised))
        });
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let used = Quota {
            bytes: used.map(|used| number(used.bytes)),
            messages: used.map(|used| number(used.messages)),
        };
        (used, self.quota)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn never_fits(&self, size: u64) -> bool {
        !Usage::one(size).fits(self.quota)
    }

    fn room(&self, counted: Counted, state: &State, size: u64) -> bool {
        counted.usage.plus(state.reserved).plus(state.promised).plus(Usage::one(size)).fits(self.quota)
    }

    fn judge(&self, state: &mut State, size: u64, now: UnixTime) -> io::Result<Option<Over>> {
        if self.never_fits(size) {
            return Ok(Some(Over::NeverFits));
        }
        state.expire(now);
        if let Some((counted, at)) = state.known
            && now.since(at) < FRESH
            && at <= now
            && self.room(counted, state, size)
        {
            return Ok(None);
        }
        let mut counted = match self.read(now)? {
            Some(counted) => counted,
            None => self.count()?,
        };
        if counted.doubtful && !self.room(counted, state, size) {
            counted = self.count()?;
        }
        // The first delivery makes the Maildir, and then the file that RCPT reads.
        state.known = self.maildir.exists().then_some((counted, now));
        if self.room(counted, state, size) { Ok(None) } else { self.over(state, now).map(Some) }
    }

    /// The mailbox is full: since when?
    fn over(&self, state: &mut State, now: UnixTime) -> io::Result<Over> {
        let path = self.maildir.join(MARKER);
        let written = || fs::read_to_string(&path).ok()?.trim().parse().ok();
        let known = match state.marker {
            Marker::Since(since) => Some(since),
            Marker::Absent => None,
            Marker::NotRead => written().map(|secs: u64| UnixTime(secs.saturating_mul(1000))),
        };
        let since = if let Some(since) = known {
            since
        } else {
            match fs::write(&path, format!("{}\n", now.secs())) {
                // nothing was delivered yet, and what was promised fills it
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                written => written?,
            }
            now
        };
        state.marker = Marker::Since(since);
        Ok(if now.since(since) > self.permanent_after { Over::FullForLong } else { Over::Full })
    }

    fn definition(&self) -> String {
        let bytes = self.quota.bytes.map(|bytes| format!("{bytes}S"));
        let messages = self.quota.messages.map(|messages| format!("{messages}C"));
        [bytes, messages].into_iter().flatten().collect::<Vec<_>>().join(",")
    }

    /// What `maildirsize` says; `None` if it has to be counted.
    fn read(&self, now: UnixTime) -> io::Result<Option<Counted>> {
        let mut text = String::new();
        let file = match fs::File::open(self.maildir.join("maildirsize")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let modified = file.metadata()?.modified()?;
        if file.take(MAX_FILE + 1).read_to_string(&mut text).is_err() || text.len() as u64 > MAX_FILE {
            return Ok(None);
        }
        let mut lines = text.split_inclusive('\n');
        if lines.next().map(str::trim_end) != Some(self.definition().as_str()) {
            return Ok(None);
        }
        let (mut usage, mut changes) = (Usage::default(), 0_usize);
        for line in lines {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<i64>);
            let (Some(Ok(bytes)), Some(Ok(messages)), None, true) =
                (numbers.next(), numbers.next(), numbers.next(), line.ends_with('\n'))
            else {
                return Ok(None);
            };
            usage = usage.plus(Usage { bytes, messages });
            changes += 1;
        }
        if changes == 0 || usage.bytes < 0 || usage.messages < 0 {
            return Ok(None);
        }
        let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = Duration::from_millis(now.0).saturating_sub(modified);
        Ok(Some(Counted { usage, doubtful: changes > 1 || age > STALE }))
    }

    /// Counts the files and writes `maildirsize` anew.
    fn count(&self) -> io::Result<Counted> {
        let entries = match fs::read_dir(&self.maildir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Counted { usage: Usage::default(), doubtful: false });
            }
            Err(error) => return Err(error),
        };
        let mut usage = count_folder(&self.maildir)?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let folder = name.as_encoded_bytes().first() == Some(&b'.') && name != ".Trash";
            if folder && entry.file_type()?.is_dir() {
                usage = usage.plus(count_folder(&entry.path())?);
            }
        }
        let text = format!("{}\n{} {}\n", self.definition(), usage.bytes, usage.messages);
        let tmp = self.maildir.join("tmp/postroad.maildirsize");
        let written = fs::write(&tmp, text).and_then(|()| fs::rename(&tmp, self.maildir.join("maildirsize")));
        // without the file the next message counts again, which is slow but right
        drop(written);
        Ok(Counted { usage, doubtful: false })
    }
}

fn count_folder(folder: &Path) -> io::Result<Usage> {
    let mut usage = Usage::default();
    for part in ["new", "cur"] {
        let entries = match fs::read_dir(folder.join(part)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let trashed = name.rsplit_once(":2,").is_some_and(|(_, flags)| flags.contains('T'));
            if name.starts_with('.') || trashed {
                continue;
            }
            let size = match size_in_name(&name) {
                Some(size) => size,
                None => match entry.metadata() {
                    Ok(file) => file.len(),
                    // a reader has just moved it
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                },
            };
            usage = usage.plus(Usage::one(size));
        }
    }
    Ok(usage)
}

/// The `,S=` of a file name, so that the file need not be looked at.
fn size_in_name(name: &str) -> Option<u64> {
    let base = name.split(':').next()?;
    base.split(',').find_map(|field| field.strip_prefix("S="))?.parse().ok()
}
