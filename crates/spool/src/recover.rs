//! The start: what is in the directory becomes an index (docs/spool.md §5).
//!
//! Recovery adds void entries, copies to quarantine and removes leftovers, and changes nothing else;
//! so it can be cut off anywhere and begun again. What cannot be read never stops it.

use crate::fs::{Disk, read_around, read_exact};
use crate::index::{Entry, Index, NEVER, Place, SegmentInfo};
use crate::progress::Progress;
use crate::record::{BLOCK, ChunkRef, HEADER, Header, Kind, Reader, SegmentHeader, decode_meta, len, short};
use crate::segment::{Free, Pool, Segment, index_path, path};
use crate::state::{self, Say, StateFile, decode_all};
use crate::summary::Listed;
use crate::{SpoolError, SpoolId, quarantine, scan, summary};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// The newest format known here.
const FORMAT: u32 = 1;
const FORMAT_PREFIX: &str = "postroad-spool ";

/// What the start found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Messages waiting.
    pub messages: u64,
    /// Whether the store was closed in order the last time. If not, or if attempts were cut off before,
    /// every message is `uncertain` once.
    pub clean: bool,
    /// One note for each thing that could not be read and was set aside in `quarantine/`.
    pub quarantined: Vec<String>,
    /// Records cut off by a crash before anyone was told that they are safe.
    pub torn: u64,
    /// Second copies, from a move that a crash cut off.
    pub doubles: u64,
    /// Files that belong to no message and were removed.
    pub leftovers: u64,
    /// Segments that were read from front to back.
    pub scanned: u64,
    /// Segments whose index file spared that.
    pub indexed: u64,
}

/// The lock of the directory.
pub(crate) type Lock = Box<dyn Any + Send + Sync>;

pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) pool: Pool,
    pub(crate) report: OpenReport,
    pub(crate) lock: Lock,
}

/// Opens the directory and rebuilds the index.
pub(crate) fn recover(disk: &dyn Disk) -> Result<Recovered, SpoolError> {
    // Before anything is touched, the lock included.
    check_format(disk)?;
    disk.make_dir("")?;
    let lock = disk.lock("lock")?.ok_or(SpoolError::Locked)?;
    for dir in ["log", "big", "quarantine"] {
        disk.make_dir(dir)?;
    }
    if !check_format(disk)? {
        let file = disk.create("format.new")?;
        let text = format!("{FORMAT_PREFIX}{FORMAT}\n");
        file.write_at(&mut [IoSlice::new(text.as_bytes())], 0)?;
        file.flush()?;
        disk.rename("format.new", "format")?;
        disk.sync_dir("")?;
    }
    let mark = disk.open("clean").and_then(|file| file.size());
    let clean = mark.is_ok();
    // Octets in the mark say that an attempt was cut off before the stop.
    let uncertain = mark.map_or(true, |octets| octets > 0);
    if clean {
        disk.unlink("clean")?;
        disk.sync_dir("")?;
    }
    let mut recovery = Recovery::new(disk, clean);
    for segment in recovery.segments()? {
        recovery.load(&segment)?;
    }
    recovery.settle();
    recovery.judge();
    recovery.files()?;
    recovery.write_states()?;
    recovery.sweep();
    let Recovery { mut index, pool, mut report, .. } = recovery;
    if uncertain {
        let ids: Vec<SpoolId> = index.entries.keys().copied().collect();
        for id in ids {
            index.update(id, |entry| entry.uncertain = true);
        }
    }
    report.messages = index.entries.len() as u64;
    Ok(Recovered { index, pool, report, lock })
}

/// What the mark of a stop in order says of the attempts before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempts {
    /// Each came to an end.
    Ended,
    /// One was cut off, or given back without an outcome.
    CutOff,
}

/// Leaves the mark of a stop in order.
pub(crate) fn mark_clean(disk: &dyn Disk, attempts: Attempts) -> io::Result<()> {
    let file = disk.create("clean")?;
    if attempts == Attempts::CutOff {
        file.write_at(&mut [IoSlice::new(b"an attempt was cut off\n")], 0)?;
    }
    file.flush()?;
    disk.sync_dir("")
}

/// Whether the directory has a format this program knows; `false` if it has none yet.
fn check_format(disk: &dyn Disk) -> Result<bool, SpoolError> {
    let file = match disk.open("format") {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut text = [0; 64];
    let count = file.read_at(&mut text, 0)?;
    let text = std::str::from_utf8(text.get(..count).unwrap_or_default()).unwrap_or_default();
    let number = text.strip_prefix(FORMAT_PREFIX).and_then(|number| number.trim_end().parse::<u32>().ok());
    match number {
        Some(found) if found > FORMAT => Err(SpoolError::TooNew { found, known: FORMAT }),
        Some(_) => Ok(true),
        None => Err(SpoolError::DamagedFormat),
    }
}

/// A copy of a message that cannot be used.
struct Unusable {
    epoch: u64,
    offset: u32,
    span: u32,
    id: SpoolId,
    file: bool,
    /// It was never acknowledged, so nobody misses it.
    torn: bool,
    why: &'static str,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    index: Index,
    pool: Pool,
    report: OpenReport,
    settled: Vec<SpoolId>,
    unusable: Vec<Unusable>,
    voids: Vec<(u64, u32)>,
    /// Progress that was written down at another copy only.
    restate: Vec<(SpoolId, Progress)>,
    /// Segments that were scanned, and the sound chunks in them.
    scanned: HashSet<u64>,
    chunks: HashSet<(u64, u32)>,
}

/// The last word on each record of a segment, by offset, with its place.
type Says = HashMap<u32, (u32, Say)>;

impl<'a> Recovery<'a> {
    fn new(disk: &'a dyn Disk, clean: bool) -> Self {
        Self {
            disk,
            index: Index::default(),
            pool: Pool::new(),
            report: OpenReport { clean, ..OpenReport::default() },
            settled: Vec::new(),
            unusable: Vec::new(),
            voids: Vec::new(),
            restate: Vec::new(),
            scanned: HashSet::new(),
            chunks: HashSet::new(),
        }
    }

    /// Finds all segments; those in use, by epoch.
    fn segments(&mut self) -> Result<Vec<Arc<Segment>>, SpoolError> {
        let mut used = BTreeMap::new();
        for name in self.disk.list("log")? {
            let number = name.strip_suffix(".seg").and_then(|number| u32::from_str_radix(number, 16).ok());
            let Some(number) = number else { continue };
            self.pool.next_number = self.pool.next_number.max(number.wrapping_add(1));
            let file = self.disk.open(&path(number))?;
            let mut block = vec![0; len(BLOCK)];
            let header = file.read_at(&mut block, 0).ok().and_then(|count| {
                block.truncate(count);
                SegmentHeader::decode(&block)
            });
            match header {
                Some(header) if header.epoch == 0 => {
                    let capacity = header.capacity;
                    if capacity > 0 && file.size()? >= capacity {
                        self.pool.free.push(Free { number, capacity, file });
                    } else {
                        // Never used, and perhaps not filled to its end.
                        self.remove(&path(number));
                    }
                }
                Some(header) => {
                    self.pool.next_epoch = self.pool.next_epoch.max(header.epoch.saturating_add(1));
                    let state = self.disk.open(&state::path(header.epoch)).ok();
                    let state = state.map(|state| state.size().map(|size| (state, size))).transpose()?;
                    let SegmentHeader { epoch, nonce, capacity } = header;
                    let state = StateFile::new(epoch, nonce, state);
                    let segment = Arc::new(Segment { number, epoch, nonce, capacity, file, state });
                    let mut info = SegmentInfo::new(Arc::clone(&segment), Place::Ring);
                    info.state_base = segment.state.size();
                    self.index.segments.insert(epoch, info);
                    used.insert(epoch, segment);
                }
                None => {
                    let to = format!("quarantine/{name}");
                    self.disk.rename(&path(number), &to)?;
                    self.disk.sync_dir("quarantine")?;
                    self.disk.sync_dir("log")?;
                    self.report.quarantined.push(format!("{to}: the segment's header cannot be read"));
                }
            }
        }
        Ok(used.into_values().collect())
    }

    fn load(&mut self, segment: &Arc<Segment>) -> Result<(), SpoolError> {
        let mut says = Says::new();
        if segment.state.size() > 0 {
            let file = self.disk.open(&state::path(segment.epoch))?;
            let mut bytes = vec![0; len(file.size()?.min(u64::from(u32::MAX)))];
            let count = read_around(file.as_ref(), &mut bytes, 0)?;
            bytes.truncate(count);
            for (place, entry) in decode_all(&bytes, segment.nonce) {
                let last = says.entry(entry.offset).or_insert((place, entry.say.clone()));
                // Settled and void are last words.
                if matches!(last.1, Say::Progress(_)) {
                    *last = (place, entry.say);
                }
            }
        }
        if let Some(listed) = self.listed(segment)? {
            self.report.indexed += 1;
            if let Some(info) = self.index.segments.get_mut(&segment.epoch) {
                info.records = None;
            }
            for listed in listed {
                self.admit(listed, &says);
            }
            return Ok(());
        }
        self.scan(segment, &says)
    }

    /// What the segment's index file says, if there is a sound one.
    fn listed(&self, segment: &Segment) -> Result<Option<Vec<Listed>>, SpoolError> {
        let Ok(file) = self.disk.open(&index_path(segment.epoch)) else { return Ok(None) };
        let bytes = read_exact(file.as_ref(), 0, file.size()?, u64::from(u32::MAX)).unwrap_or_default();
        Ok(summary::decode(&bytes, segment.epoch, segment.nonce))
    }

    fn scan(&mut self, segment: &Arc<Segment>, says: &Says) -> Result<(), SpoolError> {
        let file = segment.file.as_ref();
        let end = file.size()?.min(segment.capacity);
        let mut found = Vec::new();
        let gaps = scan::scan(&file, segment.epoch, segment.nonce, end, |record| found.push(record))?;
        // What was found may so far be in the page cache only (after a kill, not a loss of power).
        file.flush()?;
        self.report.scanned += 1;
        self.scanned.insert(segment.epoch);
        let last_batch = found.iter().map(|record| record.header.batch).max().unwrap_or(0);
        // Only the last batch may be torn, and not even that after a stop in order.
        let clean = self.report.clean;
        for gap in gaps.iter().filter(|gap| clean || gap.batch < last_batch || gap.hides_batch) {
            let note = format!(
                "segment epoch {}, octets {} to {}: no record can be read\n",
                segment.epoch, gap.from, gap.to
            );
            let copied = quarantine::put(self.disk, file, segment.epoch, gap.from, gap.to - gap.from, &note);
            self.report.quarantined.push(told(note, &copied));
        }
        let mut records = Vec::new();
        for record in found {
            let (offset, header) = (short(len(record.offset)), &record.header);
            if header.kind == Kind::Chunk {
                if record.whole {
                    self.chunks.insert((segment.epoch, offset));
                }
                continue;
            }
            let span = short(len(header.span()));
            let mut entry = Entry::new(segment.epoch, offset, span, header.size, header.accepted.0);
            entry.file = header.file_len > 0;
            let chunks = if record.whole { chunk_refs(segment, offset, header)? } else { None };
            let complete = |chunks: &Vec<_>| {
                chunks.iter().all(|chunk: &ChunkRef| {
                    self.chunks.contains(&(chunk.epoch, chunk.offset))
                        || !self.scanned.contains(&chunk.epoch)
                            && self.index.segments.contains_key(&chunk.epoch)
                })
            };
            let why = match &chunks {
                Some(chunks) if complete(chunks) => None,
                Some(_) => Some("a chunk of the content is missing or fails its checksum"),
                None => Some("the record fails its checksum"),
            };
            if let (Some(why), None | Some((_, Say::Progress(_)))) = (why, says.get(&offset)) {
                let torn = !clean && header.batch == last_batch;
                let (epoch, id, file) = (segment.epoch, header.id, entry.file);
                self.unusable.push(Unusable { epoch, offset, span, id, file, torn, why });
                continue;
            }
            records.push((header.id, offset));
            self.admit(Listed { id: header.id, entry, chunks: chunks.unwrap_or_default() }, says);
        }
        if let Some(info) = self.index.segments.get_mut(&segment.epoch) {
            info.records = Some(records);
        }
        Ok(())
    }

    /// Takes in one copy of a message under what its state file says. Copies come in order of age.
    fn admit(&mut self, listed: Listed, says: &Says) {
        let Listed { id, mut entry, chunks } = listed;
        match says.get(&entry.offset) {
            Some((_, Say::Void)) => return,
            Some((_, Say::Settled)) => {
                self.settled.push(id);
                return;
            }
            Some((place, Say::Progress(progress))) => {
                entry.attempts = progress.attempts;
                entry.due = progress.due.map_or(NEVER, |due| due.0);
                entry.state_at = *place;
            }
            None => {}
        }
        if let Some(older) = self.index.entries.get(&id).copied() {
            self.report.doubles += 1;
            self.voids.push((older.epoch, older.offset));
            let segment = self.index.segments.get(&older.epoch).map(|info| Arc::clone(&info.segment));
            let progress = segment.and_then(|segment| segment.state.progress(older.state_at));
            if let Some(progress) = progress.filter(|progress| progress.attempts > entry.attempts) {
                entry.attempts = progress.attempts;
                entry.due = progress.due.map_or(NEVER, |due| due.0);
                self.restate.push((id, progress));
            }
            self.index.remove(id);
        }
        self.index.insert(id, entry, chunks);
    }

    /// What is settled at one copy is gone at all.
    fn settle(&mut self) {
        for id in std::mem::take(&mut self.settled) {
            if let Some((entry, _)) = self.index.remove(id) {
                self.voids.push((entry.epoch, entry.offset));
            }
        }
    }

    /// Sets aside copies that cannot be used, unless nobody misses them.
    fn judge(&mut self) {
        for bad in std::mem::take(&mut self.unusable) {
            if self.index.entries.contains_key(&bad.id) {
                self.report.doubles += 1;
            } else if bad.torn {
                self.report.torn += 1;
            } else {
                self.set_aside(&bad);
                continue;
            }
            self.voids.push((bad.epoch, bad.offset));
        }
    }

    /// Copies it to quarantine. What cannot be copied now is met again at the next start.
    fn set_aside(&mut self, bad: &Unusable) {
        let Some(info) = self.index.segments.get(&bad.epoch) else { return };
        let note = quarantine::note(bad.id, bad.epoch, bad.offset, bad.why);
        let (offset, span) = (u64::from(bad.offset), u64::from(bad.span));
        let copied = quarantine::put(self.disk, info.segment.file.as_ref(), bad.epoch, offset, span, &note);
        if copied.is_ok() {
            if bad.file {
                quarantine::keep_file(self.disk, bad.id);
            }
            self.voids.push((bad.epoch, bad.offset));
        }
        self.report.quarantined.push(told(note, &copied));
    }

    /// Compares the files of large messages with the messages that want them.
    fn files(&mut self) -> Result<(), SpoolError> {
        let present: BTreeSet<String> = self.disk.list("big")?.into_iter().collect();
        let wanted: Vec<(SpoolId, Entry)> = self
            .index
            .entries
            .iter()
            .filter(|(_, entry)| entry.file)
            .map(|(&id, &entry)| (id, entry))
            .collect();
        let mut leftover = present.clone();
        for (id, entry) in wanted {
            let name = id.to_string();
            leftover.remove(&name);
            if !present.contains(&name) {
                let (Entry { epoch, offset, span, .. }, file, torn) = (entry, false, false);
                let why = "the file with its content is missing";
                self.set_aside(&Unusable { epoch, offset, span, id, file, torn, why });
                self.index.remove(id);
            }
        }
        for name in leftover {
            self.remove(&format!("big/{name}"));
        }
        Ok(())
    }

    /// Makes what was decided durable, before anything else happens in the store.
    fn write_states(&mut self) -> Result<(), SpoolError> {
        let mut touched = BTreeMap::new();
        let disk = self.disk;
        for (id, progress) in std::mem::take(&mut self.restate) {
            let Some(entry) = self.index.entries.get(&id).copied() else { continue };
            let Some(info) = self.index.segments.get(&entry.epoch) else { continue };
            let say = state::Entry { offset: entry.offset, say: Say::Progress(progress) };
            let place = info.segment.state.append(disk, &say)?;
            touched.insert(entry.epoch, Arc::clone(&info.segment));
            self.index.update(id, |entry| entry.state_at = place);
        }
        // Progress first: a copy must not be void before its progress is kept.
        for segment in touched.values() {
            segment.state.flush(disk)?;
        }
        for (epoch, offset) in std::mem::take(&mut self.voids) {
            let Some(info) = self.index.segments.get(&epoch) else { continue };
            info.segment.state.append(disk, &state::Entry { offset, say: Say::Void })?;
            touched.insert(epoch, Arc::clone(&info.segment));
        }
        for segment in touched.values() {
            segment.state.flush(disk)?;
        }
        Ok(())
    }

    /// Removes state and index files whose segment is no longer in use.
    fn sweep(&mut self) {
        for name in self.disk.list("log").unwrap_or_default() {
            let stem = name.strip_suffix(".state").or_else(|| name.strip_suffix(".index"));
            let epoch = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
            if epoch.is_some_and(|epoch| !self.index.segments.contains_key(&epoch)) {
                self.remove(&format!("log/{name}"));
            }
        }
    }

    fn remove(&mut self, path: &str) {
        // What cannot be removed is met again at the next start.
        if self.disk.unlink(path).is_ok() {
            self.report.leftovers += 1;
        }
    }
}

/// The note for the report, with the reason where nothing could be copied.
fn told(note: String, copied: &io::Result<()>) -> String {
    match copied {
        Ok(()) => note,
        Err(error) => format!("{note}could not be copied to quarantine: {error}\n"),
    }
}

/// The chunks a sound record names; `None` if its meta cannot be understood.
fn chunk_refs(segment: &Segment, offset: u32, header: &Header) -> Result<Option<Vec<ChunkRef>>, SpoolError> {
    if header.chunks == 0 {
        return Ok(Some(Vec::new()));
    }
    let at = u64::from(offset) + HEADER as u64;
    let meta = read_exact(segment.file.as_ref(), at, u64::from(header.meta_len), segment.capacity)?;
    let mut reader = Reader(&meta);
    let refs = (0..header.chunks).map(|_| ChunkRef::decode(&mut reader)).collect();
    Ok(if decode_meta(&meta, header.chunks).is_some() { refs } else { None })
}
