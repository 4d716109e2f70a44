//! Finding records again, also while the server writes.
//!
//! A block is read only if its filter says that it may hold what is sought, and its times fit. What cannot be
//! read is skipped and counted. Every answer is bounded: by the limit of the query, and by 8 MiB for one record.

use crate::block::unpack;
use crate::event::Event;
use crate::query::{Query, reference_hash};
use crate::reference::Reference;
use crate::session::{Header, Origin};
use crate::store::{SCHEMA, column};
use crate::summary::{Happening, Summary, catalogue_text, summaries};
use crate::terms::{may_hold, next_chunk};
use postroad_proto::time::UnixTime;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader waits for a writer that makes or mends the file.
const BUSY: Duration = Duration::from_secs(2);
/// Octets of one record: of its beginning, and of the rest.
const MAX_RECORD: (usize, usize) = (1 << 20, 7 << 20);
/// A clock may be set back by so much, in milliseconds, without a search missing anything.
const SLACK: u64 = 60_000;
/// Messages with the same message-id whose attempts are looked for.
const MAX_JOINED: usize = 100;
/// Most lines that a search gives.
const MAX_LIMIT: usize = 10_000;

/// Why the ledger cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no file there.
    Missing,
    /// A newer version of this program wrote it.
    Newer,
    /// Who asks may not read it.
    Denied {
        /// What may not be read: the file, or a directory above it.
        path: PathBuf,
        /// Whose that is: the user's number.
        owner: u32,
    },
    /// It is no ledger, or damaged.
    Damaged(rusqlite::Error),
    /// Anything else, such as missing rights.
    Other(rusqlite::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no ledger; the server makes it when it starts"),
            Self::Denied { path, owner } => {
                write!(f, "permission denied: {} belongs to the user with the number {owner}", path.display())
            }
            Self::Newer => f.write_str("the ledger was written by a newer version of this program"),
            Self::Damaged(error) => write!(f, "the ledger is damaged ({error})"),
            Self::Other(error) => write!(f, "the ledger cannot be read ({error})"),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
                Self::Damaged(error)
            }
            _ => Self::Other(error),
        }
    }
}

/// All that is known of one session, or of one round of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Its own name.
    pub reference: Reference,
    /// When it began.
    pub started: UnixTime,
    /// Whose it was.
    pub origin: Origin,
    /// What happened, with the milliseconds since it began. Replies have their text, also where it is the catalogue's.
    pub events: Vec<(u64, Event<'static>)>,
    /// Which event has the reference that was asked for; none if it is the session's own.
    pub asked: Option<usize>,
    /// Events are missing because the record is longer than 8 MiB, or because they cannot be read.
    pub has_gaps: bool,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The lines.
    pub lines: Vec<Summary>,
    /// Blocks that could not be read.
    pub damaged: u64,
    /// Up to where it was looked; [`Reader::follow`] goes on from there.
    pub position: Position,
}

/// A place in the ledger: everything up to here was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(i64);

/// The ledger, open for reading.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens the file; it is not changed.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(denied(path)),
            Err(_absent) => return Err(ReadError::Missing),
            Ok(_) => {}
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // `SQLite` says only that it cannot open it. The file is opened by hand no sooner than that has failed:
        // closing it gives up the locks that this process holds on it.
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| match File::open(path) {
                Err(why) if why.kind() == io::ErrorKind::PermissionDenied => denied(path),
                _ => error.into(),
            })?;
        connection.busy_timeout(BUSY)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => Err(ReadError::Missing),
            SCHEMA => Ok(Self { connection }),
            _ => Err(ReadError::Newer),
        }
    }

    /// The record in which the reference was given, or whose own it is.
    pub fn find(&self, reference: Reference) -> Result<Option<Record>, ReadError> {
        let newest: Option<i64> =
            self.connection.query_row("SELECT max(last_ms) FROM blocks", [], |row| row.get(0))?;
        let Some(newest) = newest else { return Ok(None) };
        let given = reference.given(UnixTime(u64::try_from(newest).unwrap_or(0)));
        let from = column(given.0.saturating_sub(SLACK));
        let mut home = None;
        for range in ["last_ms >= ? ORDER BY last_ms, id", "last_ms < ? ORDER BY last_ms DESC, id DESC"] {
            self.visit(range, from, &[reference_hash(reference)], &mut |_, block| {
                let Some(mut framed) = block else { return ControlFlow::Continue(()) };
                while let Some(chunk) = next_chunk(&mut framed) {
                    let Some((header, mut events)) = Header::parse(chunk) else { continue };
                    let is_it = |event: Event<'_>| {
                        matches!(event, Event::Reply { reference: Some(own), .. } if own == reference)
                    };
                    if header.reference == reference || events.any(|(_, event)| is_it(event)) {
                        home = Some((header.reference, header.started, header.origin.to_owned()));
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            })?;
            if home.is_some() {
                break;
            }
        }
        match home {
            Some((own, started, origin)) => self.load(own, started, origin, reference).map(Some),
            None => Ok(None),
        }
    }

    /// What fits the query, newest first.
    pub fn search(&self, query: &Query) -> Result<Page, ReadError> {
        let limit = query.limit.min(MAX_LIMIT);
        // Both look at the same state of the file, so that following goes on exactly where this ends.
        let snapshot = self.connection.unchecked_transaction()?;
        let mut page = Page { position: self.position()?, ..Page::default() };
        let since = column(query.since.map_or(0, |since| since.0));
        self.visit(
            "last_ms >= ? ORDER BY last_ms DESC, id DESC",
            since,
            &query.hashes(),
            &mut |_, block| {
                let before = page.lines.len();
                page.take(block, query);
                // What happened within one millisecond is newest first, too.
                page.lines.get_mut(before..).unwrap_or_default().reverse();
                if page.lines.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )?;
        let attempts =
            self.attempts(query, "last_ms >= ? ORDER BY last_ms DESC, id DESC", since, page.position)?;
        page.lines.extend(attempts);
        drop(snapshot);
        page.lines.sort_by_key(|line| std::cmp::Reverse(line.at));
        page.lines.truncate(limit);
        Ok(page)
    }

    /// The newest place.
    pub fn position(&self) -> Result<Position, ReadError> {
        let id: Option<i64> =
            self.connection.query_row("SELECT max(id) FROM blocks", [], |row| row.get(0))?;
        Ok(Position(id.unwrap_or(0)))
    }

    /// What fits the query and was written since, oldest first; the limit holds for each call, to a block.
    pub fn follow(&self, query: &Query, after: Position) -> Result<Page, ReadError> {
        let limit = query.limit.min(MAX_LIMIT);
        let snapshot = self.connection.unchecked_transaction()?;
        let mut page = Page { position: self.position()?.max(after), ..Page::default() };
        self.visit("id > ? ORDER BY id", after.0, &query.hashes(), &mut |id, block| {
            page.take(block, query);
            if page.lines.len() < limit {
                return ControlFlow::Continue(());
            }
            page.position = Position(id);
            ControlFlow::Break(())
        })?;
        let attempts = self.attempts(query, "id > ? ORDER BY id", after.0, page.position)?;
        page.lines.extend(attempts);
        drop(snapshot);
        page.lines.sort_by_key(|line| line.at);
        Ok(page)
    }

    /// The attempts to deliver messages that have the message-id which is sought: an attempt knows its message by
    /// the queue id alone. What is behind `last` is left out.
    fn attempts(
        &self,
        query: &Query,
        range: &str,
        bound: i64,
        last: Position,
    ) -> Result<Vec<Summary>, ReadError> {
        if query.message_id.is_none() || query.ip.is_some() || query.code.is_some() {
            return Ok(Vec::new());
        }
        let message = Query { message_id: query.message_id.clone(), ..Query::default() };
        let mut ids = BTreeSet::new();
        self.visit("id > ? ORDER BY id DESC", 0, &message.hashes(), &mut |_, block| {
            let mut page = Page::default();
            page.take(block, &message);
            for line in page.lines {
                if let Happening::Accepted { queue_id, .. } = line.what {
                    ids.insert(queue_id);
                }
            }
            if ids.len() < MAX_JOINED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        ids.retain(|id| query.queue_id.as_ref().is_none_or(|wanted| wanted == id));
        let limit = query.limit.min(MAX_LIMIT);
        let mut found = Vec::new();
        for id in ids.into_iter().take(MAX_JOINED) {
            let attempts = Query { queue_id: Some(id), message_id: None, ..query.clone() };
            let mut page = Page::default();
            self.visit(range, bound, &attempts.hashes(), &mut |id, block| {
                if Position(id) > last {
                    return ControlFlow::Continue(());
                }
                let before = page.lines.len();
                page.take(block, &attempts);
                page.lines.get_mut(before..).unwrap_or_default().reverse();
                if page.lines.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            found.extend(
                page.lines.into_iter().filter(|line| matches!(line.what, Happening::Attempted { .. })),
            );
        }
        Ok(found)
    }

    /// Visits blocks that may hold all the hashes, with what is in them; with nothing if that cannot be read.
    fn visit(&self, range: &str, bound: i64, hashes: &[u64], visit: Visit<'_>) -> Result<(), ReadError> {
        let mut headers = self.connection.prepare(&format!("SELECT id, filter FROM blocks WHERE {range}"))?;
        let mut data = self.connection.prepare("SELECT size, data FROM blocks WHERE id = ?")?;
        let mut rows = headers.query(params![bound])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let filter = row.get_ref(1)?.as_blob().unwrap_or_default();
            if !hashes.iter().all(|hash| may_hold(filter, *hash)) {
                continue;
            }
            let unpacked = data
                .query_row(params![id], |row| {
                    Ok(unpack(row.get(0)?, row.get_ref(1)?.as_blob().unwrap_or_default()))
                })
                .optional()?
                .flatten();
            if visit(id, unpacked.as_deref()).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Puts the chunks of one session together: its beginning, and as much as fits around what was asked for.
    fn load(
        &self,
        own: Reference,
        started: UnixTime,
        origin: Origin,
        asked: Reference,
    ) -> Result<Record, ReadError> {
        let mut record =
            Record { reference: own, started, origin, events: Vec::new(), asked: None, has_gaps: false };
        let mut parts = Parts { seen: own == asked, ..Parts::default() };
        let from = column(started.0);
        self.visit("last_ms >= ? ORDER BY id", from, &[reference_hash(own)], &mut |_, block| {
            let Some(mut framed) = block else {
                record.has_gaps = true;
                return ControlFlow::Continue(());
            };
            while let Some(chunk) = next_chunk(&mut framed) {
                let Some((header, events)) = Header::parse(chunk) else { continue };
                if header.reference == own && header.started == started {
                    let told = events.filter(|(_, event)| !matches!(event, Event::Carried { .. }));
                    let told: Vec<_> = told.map(|(ms, event)| (ms, with_text(event).into_owned())).collect();
                    let is_last = told.iter().any(|(_, event)| matches!(event, Event::Closed { .. }));
                    if parts.add(chunk.len(), told, asked).is_break() || is_last {
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        record.has_gaps |= parts.has_gaps;
        record.events = parts.head;
        record.events.extend(parts.tail.into_iter().flat_map(|(_, events)| events));
        record.asked = record.events.iter().position(|(_, event)| is_about(event, asked));
        Ok(record)
    }
}

/// The file, or the first directory above it that can be seen, may not be read.
fn denied(path: &Path) -> ReadError {
    let seen = path.ancestors().find_map(|path| fs::metadata(path).ok().map(|data| (path, data.uid())));
    let (path, owner) = seen.unwrap_or((path, 0));
    ReadError::Denied { path: path.to_owned(), owner }
}

/// Sees a block: its id, and what is in it; nothing if that cannot be read.
type Visit<'a> = &'a mut dyn FnMut(i64, Option<&[u8]>) -> ControlFlow<()>;

/// A record being put together.
#[derive(Default)]
struct Parts {
    head: Vec<(u64, Event<'static>)>,
    head_octets: usize,
    tail: VecDeque<(usize, Vec<(u64, Event<'static>)>)>,
    tail_octets: usize,
    /// What was asked for is in it.
    seen: bool,
    has_gaps: bool,
}

impl Parts {
    fn add(
        &mut self,
        octets: usize,
        events: Vec<(u64, Event<'static>)>,
        asked: Reference,
    ) -> ControlFlow<()> {
        self.seen |= events.iter().any(|(_, event)| is_about(event, asked));
        self.has_gaps |= events.iter().any(|(_, event)| matches!(event, Event::Unreadable { .. }));
        if self.head_octets + octets <= MAX_RECORD.0 && self.tail.is_empty() {
            self.head_octets += octets;
            self.head.extend(events);
            return ControlFlow::Continue(());
        }
        self.tail_octets += octets;
        self.tail.push_back((octets, events));
        while self.tail_octets > MAX_RECORD.1 {
            self.has_gaps = true;
            if self.seen {
                return ControlFlow::Break(());
            }
            self.tail_octets -= self.tail.pop_front().map_or(self.tail_octets, |(octets, _)| octets);
        }
        ControlFlow::Continue(())
    }
}

impl Page {
    fn take(&mut self, block: Option<&[u8]>, query: &Query) {
        let Some(mut framed) = block else {
            self.damaged += 1;
            return;
        };
        while let Some(chunk) = next_chunk(&mut framed) {
            match Header::parse(chunk) {
                Some((header, events)) => {
                    summaries(&header, events, query, &mut |line| {
                        self.lines.push(line);
                    });
                }
                None => self.damaged += 1,
            }
        }
    }
}

/// Reads a chunk as a search does, and tells how many events it has. For whoever tests the reading of damaged files.
pub fn survey(chunk: &[u8]) -> usize {
    let Some((header, events)) = Header::parse(chunk) else { return 0 };
    crate::terms::chunk_terms(chunk, &mut |term| {
        std::hint::black_box(term.hash());
    });
    summaries(&header, events.clone(), &Query::default(), &mut drop);
    events.fold(0, |count, (_, event)| {
        std::hint::black_box(with_text(event).into_owned());
        count + 1
    })
}

fn is_about(event: &Event<'_>, asked: Reference) -> bool {
    matches!(event, Event::Reply { reference: Some(own), .. } if *own == asked)
}

fn with_text(mut event: Event<'_>) -> Event<'_> {
    if let Event::Reply { name, text: text @ None, .. } = &mut event {
        *text = catalogue_text(name).map(Cow::Borrowed);
    }
    event
}
