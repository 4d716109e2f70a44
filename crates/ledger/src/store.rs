//! The ledger's file: blocks of records in `SQLite`, each with a filter of what can be found in it.
//!
//! One writer, any number of readers. Written ahead (WAL) and not flushed at each block: a crash of this
//! program loses nothing that was written, one of the machine perhaps the last blocks, and neither the file.
//! Every trouble comes as a [`Trouble`], which says in plain words what is wrong and what to do with the file.

use crate::block::{Packer, SMALL, SMALL_MAX, count_small};
use postroad_proto::time::UnixTime;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of the tables and of what is in them.
pub(crate) const SCHEMA: i64 = 1;
/// How long the writer waits for another that holds the file.
const BUSY: Duration = Duration::from_secs(1);
/// Files set aside as broken that are kept.
const BROKEN_KEPT: u32 = 3;
/// Blocks that are removed in one go.
const REMOVED_AT_ONCE: u32 = 256;
/// Free pages that are given back in one go, at most.
const GIVEN_BACK_AT_ONCE: u64 = 256;
/// Larger than most file systems' blocks: records are read and written in long runs.
const PAGE: u64 = 16384;
/// The most octets that the file of what is written ahead may have, and the part of all that it may have.
const WAL: (u64, u64) = (16 << 20, 8);
/// The first octets of every `SQLite` file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Why the ledger cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The file is no ledger, or damaged: set it aside.
    Corrupt,
    /// Its schema is newer: leave it alone.
    Newer,
    /// It, or its directory, was removed or replaced: open it again.
    Gone,
    /// Anything else: try again later.
    Other,
}

/// What is wrong, for a person.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

impl Trouble {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let (kind, what) = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                (Kind::Corrupt, "the file is damaged")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                (Kind::Other, "another process holds the file; stop it")
            }
            Some(ErrorCode::DiskFull) => (Kind::Other, "the disk is full; make room"),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                (Kind::Other, "the file or its directory may not be written; correct its owner and mode")
            }
            Some(ErrorCode::CannotOpen) => (Kind::Other, "the file cannot be opened"),
            Some(ErrorCode::SystemIoFailure) => (Kind::Other, "the disk fails"),
            // A table that is missing or otherwise than we made it.
            Some(ErrorCode::Unknown) => (Kind::Corrupt, "the file is not a ledger"),
            _ => (Kind::Other, "the file cannot be used"),
        };
        Self::new(kind, format!("{what} ({error})"))
    }
}

/// How long and how much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) age: Duration,
    pub(crate) octets: u64,
}

impl Retention {
    /// Octets that the file of what is written ahead may have, short of one transaction.
    fn ahead(self) -> u64 {
        (self.octets / WAL.1).min(WAL.0)
    }

    /// Octets that the file itself may have: what is written ahead, and one transaction more, fit beside it.
    fn settled(self) -> u64 {
        self.octets.saturating_sub(self.ahead().saturating_mul(2))
    }
}

/// The file, open for writing.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    /// The same file, to look at what `SQLite` does not. Closed after the connection and never before: closing any
    /// handle of a file gives up this process's locks on it.
    file: fs::File,
    path: PathBuf,
    /// Device and inode of the file that is open.
    identity: (u64, u64),
    retention: Retention,
    packer: Packer,
    /// Small blocks in the file.
    small: u64,
}

impl Store {
    /// Opens the file, or makes it and its directory, readable by the owner alone.
    pub(crate) fn open(path: &Path, retention: Retention) -> Result<Self, Trouble> {
        let file = prepare(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA {
            let message = "the file was written by a newer version of this program; \
                           run that one, or move the file away";
            return Err(Trouble::new(Kind::Newer, message));
        }
        connection.pragma_update(None, "page_size", column(PAGE))?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // A reader that takes long lets the file beside grow; afterwards it shrinks again.
        let ahead = retention.ahead();
        connection.pragma_update_and_check(None, "journal_size_limit", column(ahead), |_| Ok(()))?;
        let pages = column((ahead / PAGE / 2).max(1));
        connection.pragma_update_and_check(None, "wal_autocheckpoint", pages, |_| Ok(()))?;
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS blocks (
                 id INTEGER PRIMARY KEY AUTOINCREMENT,
                 first_ms INTEGER NOT NULL, -- of the chunks in it: when the earliest was begun, when the last was told
                 last_ms INTEGER NOT NULL,
                 records INTEGER NOT NULL,  -- chunks
                 size INTEGER NOT NULL,     -- octets of data before they were compressed
                 filter BLOB NOT NULL,
                 data BLOB NOT NULL);
             CREATE INDEX IF NOT EXISTS blocks_by_time ON blocks (last_ms);
             CREATE INDEX IF NOT EXISTS small_blocks ON blocks (id) WHERE size < {SMALL};
             PRAGMA user_version = {SCHEMA};
             COMMIT;"
        ))?;
        connection.prepare("SELECT id, first_ms, last_ms, records, size, filter, data FROM blocks")?;
        let small = count_small(&connection)?;
        let identity = identity(path)?;
        Ok(Self {
            connection,
            file,
            path: path.to_owned(),
            identity,
            retention,
            packer: Packer::default(),
            small,
        })
    }

    /// Writes chunks, each with its length before it, as blocks of about `block` octets; then puts small blocks
    /// together, and removes what is too old or too much. Gives the time of the last.
    pub(crate) fn write(&mut self, framed: &[u8], block: usize) -> Result<UnixTime, Trouble> {
        self.check_file()?;
        let mut latest = UnixTime(0);
        let mut small = self.small;
        let transaction = self.connection.transaction()?;
        let mut rest = framed;
        while !rest.is_empty() {
            let (taken, span) = self.packer.terms.gather(rest, block);
            let Some((run, after)) = rest.split_at_checked(taken).filter(|_| taken > 0) else { break };
            rest = after;
            self.packer.insert(&transaction, None, run, span)?;
            small += u64::from(run.len() < SMALL);
            latest = latest.max(span.last);
        }
        // In the same transaction: what is written must not be told as a failure and written again.
        if small >= SMALL_MAX {
            self.packer.merge(&transaction)?;
            small = count_small(&transaction)?;
        }
        retain(&transaction, self.retention, latest)?;
        transaction.commit()?;
        self.settle()?;
        self.small = small;
        Ok(latest)
    }

    /// Empties the file of what is written ahead, where that has grown too large. A reader that is in the way is not
    /// waited for: it is tried again with the next write.
    fn settle(&self) -> Result<(), Trouble> {
        let ahead = fs::metadata(beside(&self.path, "-wal")).map_or(0, |data| data.len());
        if ahead <= self.retention.ahead() {
            return Ok(());
        }
        self.connection.busy_timeout(Duration::ZERO)?;
        // The batch is in the file all the same; what is wrong, if it stays so, shows with the next one.
        drop(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        Ok(self.connection.busy_timeout(BUSY)?)
    }

    /// `SQLite` goes on writing into a file that was removed, and overwrites one that was overwritten, without a
    /// word. Both are seen here.
    fn check_file(&self) -> Result<(), Trouble> {
        if identity(&self.path)? != self.identity {
            return Err(gone());
        }
        let mut start = [0; 16];
        if self.file.read_exact_at(&mut start, 0).is_err() || start != *MAGIC {
            return Err(Trouble::new(Kind::Corrupt, "the file was overwritten"));
        }
        Ok(())
    }
}

/// Removes what is too old and, where the file is too large, the oldest; gives free pages back.
fn retain(connection: &Connection, retention: Retention, now: UnixTime) -> Result<(), Trouble> {
    let age = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
    connection
            .prepare("DELETE FROM blocks WHERE id IN (SELECT id FROM blocks WHERE last_ms < ? ORDER BY last_ms LIMIT ?)")?
            .execute(params![column(now.0.saturating_sub(age)), REMOVED_AT_ONCE])?;
    let limit = retention.settled() / PAGE;
    let free = pages(connection, "freelist_count")?;
    let used = pages(connection, "page_count")?.saturating_sub(free);
    if used > limit {
        // Compressed data are nearly all there is in the file, so their lengths tell how much goes.
        let excess = column((used - limit).saturating_mul(PAGE));
        connection
                .prepare(
                    "DELETE FROM blocks WHERE id IN (SELECT id FROM (SELECT id,
                         sum(length(data) + length(filter)) OVER (ORDER BY id) - length(data) - length(filter) AS before
                         FROM (SELECT id, data, filter FROM blocks ORDER BY id LIMIT ?)) WHERE before < ?)",
                )?
                .execute(params![REMOVED_AT_ONCE, excess])?;
    }
    if free > 0 && free.saturating_add(used) > limit || free > used.max(GIVEN_BACK_AT_ONCE) {
        // Each page that moves is written ahead.
        let count = (retention.ahead() / PAGE / 2).clamp(1, GIVEN_BACK_AT_ONCE);
        let mut give_back = connection.prepare(&format!("PRAGMA incremental_vacuum({count})"))?;
        let mut rows = give_back.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

fn pages(connection: &Connection, pragma: &str) -> Result<u64, Trouble> {
    let count: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// A number as `SQLite` keeps it.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Makes the directory and an empty file where there are none. `SQLite` gives its other files the same mode.
fn prepare(path: &Path) -> Result<fs::File, Trouble> {
    let denied = |what: &Path, error: std::io::Error| {
        Trouble::new(Kind::Other, format!("{} cannot be made or opened ({error})", what.display()))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        fs::DirBuilder::new().mode(0o700).create(folder).map_err(|error| denied(folder, error))?;
    }
    let opened = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    opened.map_err(|error| denied(path, error))
}

fn identity(path: &Path) -> Result<(u64, u64), Trouble> {
    fs::metadata(path).map(|data| (data.dev(), data.ino())).map_err(|_gone| gone())
}

fn gone() -> Trouble {
    Trouble::new(Kind::Gone, "the file was removed or replaced while it was open")
}

/// The name of a file with something at its end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Moves a file that cannot be read, and what `SQLite` keeps beside it, out of the way; says where it is now.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, Trouble> {
    let beside = |end: &str| beside(path, end);
    // 1 is the youngest.
    for number in (1..=BROKEN_KEPT).rev() {
        let (from, to) = (beside(&format!(".broken-{number}")), beside(&format!(".broken-{}", number + 1)));
        if number < BROKEN_KEPT && from.exists() {
            move_file(&from, &to)?;
        }
    }
    let aside = beside(".broken-1");
    move_file(path, &aside)?;
    // What was not yet in the file is useless without it, and the new file must not find it.
    for end in ["-wal", "-shm"] {
        let leftover = beside(end);
        if leftover.exists() {
            fs::remove_file(&leftover).map_err(|error| stuck(&leftover, &error))?;
        }
    }
    Ok(aside)
}

fn move_file(from: &Path, to: &Path) -> Result<(), Trouble> {
    fs::rename(from, to).map_err(|error| stuck(from, &error))
}

fn stuck(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::new(Kind::Other, format!("{} cannot be moved out of the way ({error})", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;
    use crate::search::Reader;
    use crate::session::{Origin, SessionLog};
    use crate::{Event, Query};
    use postroad_proto::reply::{Reply, ReplyId};
    use postroad_proto::time::Tick;

    const START: u64 = 1_795_327_384_000;
    const DAY: u64 = 24 * 3600;

    /// Chunks of about 60 KiB that do not compress, told at this second.
    fn framed(second: u64) -> Vec<u8> {
        let started = UnixTime(START + second * 1000);
        let mut log =
            SessionLog::new(Reference::from_bits(second), started, Tick::default(), Origin::Delivery);
        let mut noise = second;
        for _ in 0..30 {
            let text: String = (0..2000)
                .map(|_| {
                    noise =
                        noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    char::from(b' ' + u8::try_from((noise >> 33) % 95).unwrap())
                })
                .collect();
            log.record(Tick::default(), &Event::NotRun { check: "noise".into(), why: text.into() });
        }
        let chunk = log.take().unwrap();
        let mut framed = u32::try_from(chunk.octets().len()).unwrap().to_le_bytes().to_vec();
        framed.extend_from_slice(chunk.octets());
        framed
    }

    fn store(path: &Path, age: Duration, octets: u64) -> Store {
        Store::open(path, Retention { age, octets }).unwrap()
    }

    fn seconds(store: &Store) -> Vec<u64> {
        let mut all = store.connection.prepare("SELECT first_ms FROM blocks ORDER BY id").unwrap();
        let times = all.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        times.map(|ms| (u64::try_from(ms.unwrap()).unwrap() - START) / 1000).collect()
    }

    #[test]
    fn what_is_too_old_goes_and_its_room_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut store = store(&path, Duration::from_secs(14 * DAY), 1 << 30);
        for number in 0..200 {
            store.write(&framed(number), 1).unwrap();
        }
        let full = pages(&store.connection, "page_count").unwrap();
        store.write(&framed(14 * DAY + 150), 1).unwrap();
        let kept: Vec<_> = (150..200).chain([14 * DAY + 150]).collect();
        assert_eq!(seconds(&store), kept);
        for later in 1..4 {
            store.write(&framed(29 * DAY + later), 1).unwrap();
        }
        assert_eq!(seconds(&store), [29 * DAY + 1, 29 * DAY + 2, 29 * DAY + 3]);
        let left = pages(&store.connection, "page_count").unwrap();
        assert!(left * 2 < full, "{left} pages of {full}");
    }

    #[test]
    fn the_oldest_goes_when_the_file_is_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let limit = 2 << 20;
        let mut store = store(&path, Duration::from_secs(14 * DAY), limit);
        for number in 0..200 {
            store.write(&framed(number), 1).unwrap();
            let octets = pages(&store.connection, "page_count").unwrap() * PAGE;
            assert!(octets < limit + 300_000, "{octets} octets");
        }
        let kept = seconds(&store);
        assert_eq!(kept.last(), Some(&199));
        assert!((20..35).contains(&kept.len()), "{kept:?}");
        assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{kept:?}");
        let found = Reader::open(&path).unwrap().find(Reference::from_bits(199)).unwrap();
        assert_eq!(found.map(|record| record.events.len()), Some(30));
    }

    #[test]
    fn a_limit_below_one_block_keeps_nothing_and_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder.path().join("ledger.db"), Duration::from_secs(DAY), 0);
        for number in 0..5 {
            store.write(&framed(number), 1).unwrap();
        }
        assert!(seconds(&store).len() <= 1);
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_is_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut store = store(&path, Duration::from_secs(14 * DAY), 1 << 30);
        store.write(&framed(0), 1).unwrap();
        let now = pages(&store.connection, "page_count").unwrap();
        // To SQLite, no further page is the same as a full disk.
        let limit = |store: &Store, pages: u64| {
            store
                .connection
                .pragma_update_and_check(None, "max_page_count", column(pages), |_| Ok(()))
                .unwrap();
        };
        limit(&store, now + 5);
        let two = [framed(1), framed(2)].concat();
        let trouble = store.write(&two, 1).unwrap_err();
        assert_eq!(trouble.kind, Kind::Other);
        assert!(trouble.message.starts_with("the disk is full; make room ("), "{}", trouble.message);
        assert_eq!(seconds(&store), [0]);
        limit(&store, 1_000_000);
        store.write(&two, 1).unwrap();
        assert_eq!(seconds(&store), [0, 1, 2]);
    }

    #[test]
    fn small_blocks_become_large_ones_and_all_is_still_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut store = store(&path, Duration::from_secs(14 * DAY), 1 << 30);
        let one = |second: u64| {
            let started = UnixTime(START + second * 1000);
            let mut log =
                SessionLog::new(Reference::from_bits(second), started, Tick::default(), Origin::Delivery);
            log.command(Tick::default(), format!("RCPT TO:<user{second}@example.org>").as_bytes());
            log.reply(Tick::default(), &Reply::of(ReplyId::NoSuchMailbox), None);
            let chunk = log.take().unwrap();
            let mut framed = u32::try_from(chunk.octets().len()).unwrap().to_le_bytes().to_vec();
            framed.extend_from_slice(chunk.octets());
            framed
        };
        let reader = {
            store.write(&one(0), 1).unwrap();
            Reader::open(&path).unwrap()
        };
        let all = Query::default();
        let mut position = crate::Position::default();
        let mut seen = 0;
        for second in 1..1000 {
            store.write(&one(second), 1).unwrap();
            if second % 10 == 0 {
                let page = reader.follow(&all, position).unwrap();
                (position, seen) = (page.position, seen + page.lines.len());
            }
        }
        seen += reader.follow(&all, position).unwrap().lines.len();
        assert_eq!(seen, 1000);
        assert!(seconds(&store).len() < 150, "{}", seconds(&store).len());
        for second in 0..1000 {
            let to = Some(format!("user{second}@example.org").parse().unwrap());
            let query = Query { to, ..Query::default() };
            let lines = reader.search(&query).unwrap().lines;
            assert_eq!(lines.len(), 1);
            assert_eq!(lines[0].at, UnixTime(START + second * 1000));
        }
    }

    #[test]
    fn the_file_and_what_is_written_ahead_keep_to_the_limit_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let limit = 16 << 20;
        let mut store = store(&path, Duration::from_secs(14 * DAY), limit);
        let length = |end: &str| fs::metadata(beside(&path, end)).unwrap().len();
        let mut largest = 0;
        for second in 0..60 {
            let batch: Vec<u8> = (0..12).flat_map(|part| framed(second * 12 + part)).collect();
            store.write(&batch, 1 << 20).unwrap();
            let whole = length("") + length("-wal");
            largest = largest.max(whole);
            assert!(whole <= limit, "{} and {} octets after {second}", length(""), length("-wal"));
        }
        assert!(largest > limit / 2, "{largest}");
    }

    #[test]
    fn a_block_that_cannot_be_read_is_skipped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut store = store(&path, Duration::from_secs(14 * DAY), 1 << 30);
        for number in 0..4 {
            store.write(&framed(number), 1).unwrap();
        }
        let damage = "UPDATE blocks SET data = zeroblob(9) WHERE id = 2; UPDATE blocks SET size = 1 << 40 WHERE id = 3";
        store.connection.execute_batch(damage).unwrap();
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.search(&Query::default()).unwrap().damaged, 2);
        let found = |bits| reader.find(Reference::from_bits(bits)).unwrap().map(|record| record.events.len());
        assert_eq!((found(0), found(1), found(2), found(3)), (Some(30), None, None, Some(30)));
    }
}
