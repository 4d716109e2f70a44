//! The keeper: flushes states, retires dead segments, copies survivors forward, prepares segments.
//!
//! None of it is on the way of a message. What fails is left as it was and tried again later; the
//! order of its steps is that of docs/spool.md §4.

use crate::SpoolId;
use crate::commit::make_void;
use crate::index::{Entry, Place, SegmentInfo};
use crate::quarantine::set_aside;
use crate::read::{Bad, Location, read_logged, read_record};
use crate::record::{BLOCK, HEADER, Header, encode_envelope, len, short};
use crate::segment::{READY, Segment, index_path, is_whole, make_growing, make_prepared, mark_free};
use crate::shared::{Shared, file_path, now};
use crate::state::{self, NOWHERE, Say};
use crate::{ids, segment, summary};
use std::cmp::Reverse;
use std::io::{self, IoSlice};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Octets copied forward with one flush.
const STEP: u64 = 4 << 20;
/// Times a message that changes while it is moved is tried again before it stays where it was.
const PATIENCE: u32 = 8;
/// Messages looked at with one hold of the index's lock.
const PAGE: usize = 4096;
/// Times the committer may find no segment between two ticks before preparing more is given up.
const ENOUGH: u32 = 2;
/// Turns without starvation after which the ring may shrink.
const CALM: u32 = 60;

/// The state of the keeper thread.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    cold: Option<Cold>,
    calm: u32,
}

/// The segment survivors are copied to.
struct Cold {
    segment: Arc<Segment>,
    used: u64,
    batch: u32,
    fresh: bool,
}

/// A survivor and its copy.
struct Moved {
    id: SpoolId,
    old: Entry,
    from: Arc<Segment>,
    to: Entry,
}

/// What happened to a message while it was copied.
enum Change {
    /// Its state is another.
    Progress,
    /// It lies in another place already.
    Moved,
    /// It is done or was discarded.
    Gone,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, cold: None, calm: 0 }
    }

    /// Works until the store closes; then flushes all states. Whether that went well.
    pub(crate) fn run(mut self) -> bool {
        let mut last = now();
        self.prepare();
        while self.shared.wait_for_call(self.shared.options.pace) {
            if last.elapsed() >= self.shared.options.pace {
                self.tick();
                last = now();
            }
            self.retire_dead();
            self.turn_ring();
            self.prepare();
        }
        self.end_cold();
        let flushed = self.flush_states();
        self.retire_dead();
        flushed && self.write_summaries(0)
    }

    fn tick(&mut self) {
        self.flush_states();
        self.shared.ask_free();
        self.shared.pool().starved = 0;
        self.write_summaries(2);
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            self.shrink();
        }
    }

    /// Flushes every state file, then removes files of messages that are durably gone.
    fn flush_states(&self) -> bool {
        let (segments, unlinks) = {
            let mut index = self.shared.index();
            let segments: Vec<Arc<Segment>> =
                index.segments.values().map(|info| Arc::clone(&info.segment)).collect();
            (segments, std::mem::take(&mut index.unlinks))
        };
        let disk = self.shared.disk.as_ref();
        let mut good = true;
        for segment in segments {
            good &= segment.state.flush(disk).is_ok();
        }
        if good {
            // What cannot be removed now is removed at the next start.
            for id in unlinks {
                drop(disk.unlink(&file_path(id)));
            }
        } else {
            self.shared.failing.store(true, Ordering::Relaxed);
            self.shared.index().unlinks.extend(unlinks);
        }
        good
    }

    /// Writes index files of segments that are full for `age` turns.
    fn write_summaries(&self, age: u32) -> bool {
        let mut ready = Vec::new();
        for info in self.shared.index().segments.values_mut() {
            info.age = info.age.saturating_add(u32::from(info.place != Place::Active));
            if info.age > age && info.records.is_some() && !info.is_dead() {
                ready.push(Arc::clone(&info.segment));
            }
        }
        if ready.is_empty() {
            return true;
        }
        let disk = self.shared.disk.as_ref();
        let write = |segment: &Arc<Segment>| {
            let bytes = summary::encode(&self.shared.index(), segment);
            let file = disk.create(&index_path(segment.epoch))?;
            file.write_at(&mut [IoSlice::new(&bytes)], 0)?;
            file.flush()
        };
        // Durable, because after a stop in order whatever is not in one of them counts as damage.
        if ready.iter().try_for_each(write).and_then(|()| disk.sync_dir("log")).is_err() {
            return false;
        }
        let mut index = self.shared.index();
        for segment in ready {
            if let Some(info) = index.segments.get_mut(&segment.epoch) {
                info.records = None;
            }
        }
        true
    }

    fn retire_dead(&mut self) {
        let dead: Vec<Arc<Segment>> = {
            let index = self.shared.index();
            let dead = index.segments.values().filter(|info| info.is_dead());
            dead.map(|info| Arc::clone(&info.segment)).collect()
        };
        // What other segments say of records and chunks in these must be durable before these go.
        if dead.is_empty() || !self.flush_states() {
            return;
        }
        for segment in dead {
            if self.retire(&segment).is_err() {
                self.shared.failing.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Makes a segment free, durably, and only then forgets it and what lies beside it.
    fn retire(&mut self, segment: &Arc<Segment>) -> io::Result<()> {
        let disk = self.shared.disk.as_ref();
        // The committer never asks for other sizes; and a full disk must not keep a segment from going.
        let usual = segment.capacity == self.shared.options.segment_bytes;
        let whole = usual && is_whole(segment).unwrap_or(false);
        mark_free(segment.file.as_ref(), segment.capacity)?;
        self.shared.index().segments.remove(&segment.epoch);
        drop(disk.unlink(&state::path(segment.epoch)));
        drop(disk.unlink(&index_path(segment.epoch)));
        let mut pool = self.shared.pool();
        if whole && pool.free.len() < pool.target {
            let (number, capacity) = (segment.number, segment.capacity);
            pool.free.push(segment::Free { number, capacity, file: Arc::clone(&segment.file) });
        } else {
            drop(pool);
            drop(disk.unlink(&segment::path(segment.number)));
        }
        Ok(())
    }

    /// How many segments the ring has, and how many it may have now.
    fn ring_size(&self) -> (usize, usize) {
        let in_ring = {
            let index = self.shared.index();
            index.segments.values().filter(|info| info.place != Place::Kept).count()
        };
        let pool = self.shared.pool();
        (in_ring + pool.free.len(), (pool.target * 2 + 2).min(self.shared.most_ready()))
    }

    /// Keeps or copies forward the oldest of a ring that is full, and whatever was kept and grew sparse.
    fn turn_ring(&mut self) {
        // Every turn takes one segment out of the ring or away, or is the last.
        loop {
            let (size, most) = self.ring_size();
            let next = {
                let mut index = self.shared.index();
                let oldest = if size > most { oldest_in_ring(&index.segments) } else { None };
                let next = oldest.or_else(|| sparse_kept(&index.segments));
                match next.and_then(|epoch| index.segments.get_mut(&epoch)) {
                    Some(info) if info.is_sparse() => Some(info.segment.epoch),
                    Some(info) => {
                        info.place = Place::Kept;
                        continue;
                    }
                    None => None,
                }
            };
            let Some(epoch) = next else { return };
            let result = self.compact(epoch);
            self.retire_dead();
            if result.is_err() {
                self.shared.failing.store(true, Ordering::Relaxed);
                return;
            }
            if self.shared.index().segments.contains_key(&epoch) {
                // Something in it changes faster than it can be moved; later, then.
                return;
            }
        }
    }

    /// Copies what lives in a segment forward.
    fn compact(&mut self, epoch: u64) -> io::Result<()> {
        let mut survivors = self.survivors(epoch).into_iter().peekable();
        while survivors.peek().is_some() {
            let mut step = 0;
            let mut group = Vec::new();
            while let Some(&(id, octets)) = survivors.peek().filter(|_| step < STEP) {
                survivors.next();
                step += octets;
                group.push(id);
            }
            self.copy_forward(&group)?;
        }
        Ok(())
    }

    /// Messages with their record or a chunk in a segment, each once, and octets they take.
    fn survivors(&self, epoch: u64) -> Vec<(SpoolId, u64)> {
        let mut found = self.with_chunk_or_record(epoch);
        // In the order of acceptance, and a message with both only once.
        found.sort_unstable_by_key(|&(id, octets)| (id, Reverse(octets)));
        found.dedup_by_key(|&mut (id, _)| id);
        found
    }

    fn with_chunk_or_record(&self, epoch: u64) -> Vec<(SpoolId, u64)> {
        let mut found = Vec::new();
        let listed = {
            let index = self.shared.index();
            for (&id, chunks) in &index.chunks {
                if chunks.iter().any(|chunk| chunk.epoch == epoch) {
                    found.push((id, chunks.iter().map(|chunk| u64::from(chunk.len)).sum()));
                }
            }
            index.segments.get(&epoch).and_then(|info| info.records.clone())
        };
        if let Some(listed) = listed {
            let index = self.shared.index();
            let lives = |&(id, offset): &(SpoolId, u32)| {
                let entry = index.entries.get(&id)?;
                (entry.epoch == epoch && entry.offset == offset).then_some((id, u64::from(entry.span)))
            };
            found.extend(listed.iter().filter_map(lives));
            return found;
        }
        let mut after = Bound::Unbounded;
        loop {
            let index = self.shared.index();
            let mut last = None;
            for (&id, entry) in index.entries.range((after, Bound::Unbounded)).take(PAGE) {
                last = Some(id);
                if entry.epoch == epoch {
                    found.push((id, u64::from(entry.span)));
                }
            }
            match last {
                Some(id) => after = Bound::Excluded(id),
                None => return found,
            }
        }
    }

    fn copy_forward(&mut self, ids: &[SpoolId]) -> io::Result<()> {
        let mut moved: Vec<Moved> = Vec::new();
        let mut bytes = Vec::new();
        for &id in ids {
            let found = {
                let index = self.shared.index();
                let entry = index.entries.get(&id).copied();
                entry.and_then(|entry| Some((entry, Arc::clone(&index.segments.get(&entry.epoch)?.segment))))
            };
            let Some((old, from)) = found else { continue };
            let at = Location { segment: Arc::clone(&from), offset: old.offset, span: old.span, id };
            let (header, body) = match self.load(&at) {
                Ok(loaded) => loaded,
                Err(Bad::Damaged(why)) => {
                    set_aside(&self.shared, id, why);
                    continue;
                }
                Err(Bad::Io(error)) => return Err(error),
            };
            let pending = bytes.len() as u64;
            if self
                .cold
                .as_ref()
                .is_some_and(|cold| cold.used + pending + header.span() > cold.segment.capacity)
            {
                self.write_cold(std::mem::take(&mut bytes), std::mem::take(&mut moved))?;
                self.end_cold();
            }
            let cold = self.cold(header.span())?;
            let offset = cold.used + bytes.len() as u64;
            let header = Header { epoch: cold.segment.epoch, batch: cold.batch, ..header };
            bytes.extend_from_slice(&header.encode(cold.segment.nonce));
            bytes.extend_from_slice(&body);
            bytes.resize(bytes.len() + len(header.span()) - HEADER - body.len(), 0);
            let mut to = old;
            to.epoch = header.epoch;
            to.offset = short(len(offset));
            to.span = short(len(header.span()));
            to.state_at = NOWHERE;
            moved.push(Moved { id, old, from, to });
        }
        self.write_cold(bytes, moved)
    }

    /// A message as one record without chunks.
    fn load(&self, at: &Location) -> Result<(Header, Vec<u8>), Bad> {
        let record = read_record(at)?;
        let find = |epoch| self.shared.index().segments.get(&epoch).map(|info| Arc::clone(&info.segment));
        let (content, before) = read_logged(at, &record, find)?;
        let mut body = Vec::with_capacity(content.len() + 256);
        encode_envelope(&record.envelope, &mut body).ok_or(Bad::Damaged("the envelope cannot be written"))?;
        let header = Header {
            meta_len: short(body.len()),
            meta_crc: crc32fast::hash(&body),
            chunks: 0,
            inline_len: short(content.len()),
            head_len: short(before),
            inline_crc: crc32fast::hash(&content),
            ..record.header
        };
        body.extend_from_slice(&content);
        Ok((header, body))
    }

    /// The cold segment; a new one with room for `span` if there is none.
    fn cold(&mut self, span: u64) -> io::Result<&mut Cold> {
        if self.cold.is_none() {
            let shared = &self.shared;
            let number = shared.pool().number();
            let capacity = shared.options.segment_bytes.max((span + BLOCK).next_multiple_of(BLOCK));
            let free = make_growing(shared.disk.as_ref(), number, capacity)?;
            let epoch = shared.pool().epoch();
            let segment = Arc::new(free.take(epoch, ids::random()));
            let info = SegmentInfo::new(Arc::clone(&segment), Place::Active);
            shared.index().segments.insert(epoch, info);
            self.cold = Some(Cold { segment, used: BLOCK, batch: 0, fresh: true });
        }
        self.cold.as_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }

    fn end_cold(&mut self) {
        let Some(cold) = self.cold.take() else { return };
        if let Some(info) = self.shared.index().segments.get_mut(&cold.segment.epoch) {
            info.place = Place::Kept;
            info.state_base = cold.segment.state.size();
        }
    }

    /// Writes and flushes copies and their states, then lets the index point to them.
    fn write_cold(&mut self, mut bytes: Vec<u8>, mut moved: Vec<Moved>) -> io::Result<()> {
        let Some(cold) = self.cold.as_mut().filter(|_| !moved.is_empty()) else { return Ok(()) };
        let segment = Arc::clone(&cold.segment);
        bytes.resize(bytes.len().next_multiple_of(len(BLOCK)), 0);
        let header = if cold.fresh { segment.header().encode() } else { Vec::new() };
        let at = cold.used - header.len() as u64;
        let result = segment
            .file
            .write_at(&mut [IoSlice::new(&header), IoSlice::new(&bytes)], at)
            .and_then(|()| segment.file.flush())
            .and_then(|()| self.write_states(&segment, &mut moved));
        if let Err(error) = result {
            let offsets: Vec<u32> = moved.iter().map(|copy| copy.to.offset).collect();
            make_void(&self.shared, &segment, &offsets);
            self.end_cold();
            return Err(error);
        }
        if let Some(cold) = &mut self.cold {
            cold.fresh = false;
            cold.used += bytes.len() as u64;
            cold.batch += 1;
        }
        self.switch(&segment, moved)
    }

    /// Writes down how far each copied message is.
    fn write_states(&self, cold: &Segment, moved: &mut [Moved]) -> io::Result<()> {
        let disk = self.shared.disk.as_ref();
        for copy in &mut *moved {
            copy.to.state_at = match copy.from.state.progress(copy.old.state_at) {
                Some(progress) => append(&self.shared, cold, copy.to.offset, Say::Progress(progress))?,
                None => NOWHERE,
            };
        }
        cold.state.flush(disk)
    }

    /// Points the index to the copies. What changed meanwhile gets its new state first.
    fn switch(&self, cold: &Arc<Segment>, mut moved: Vec<Moved>) -> io::Result<()> {
        for _ in 0..PATIENCE {
            let mut changed = Vec::new();
            let mut switched = Vec::new();
            {
                let mut index = self.shared.index();
                for mut copy in moved {
                    match index.entries.get(&copy.id).copied() {
                        Some(entry) if !entry.is_at(&copy.old) => changed.push((copy, Change::Moved)),
                        Some(entry) if entry.state_at == copy.old.state_at => {
                            let info = index.segments.get_mut(&copy.to.epoch);
                            if let Some(records) = info.and_then(|info| info.records.as_mut()) {
                                records.push((copy.id, copy.to.offset));
                            }
                            index.relocate(copy.id, copy.to);
                            switched.push(copy);
                        }
                        Some(entry) => {
                            copy.old = entry;
                            changed.push((copy, Change::Progress));
                        }
                        None => changed.push((copy, Change::Gone)),
                    }
                }
            }
            for copy in switched {
                // Flushed before the new copy can go, so that the old one does not come back then.
                if append(&self.shared, &copy.from, copy.old.offset, Say::Void).is_err() {
                    self.pin(copy.to.epoch);
                }
            }
            if changed.is_empty() {
                return Ok(());
            }
            let sources: Vec<u64> = changed.iter().map(|(copy, _)| copy.old.epoch).collect();
            match self.write_changes(cold, changed) {
                Ok(rest) => moved = rest,
                Err(error) => {
                    // The old segment holds the truth: it must not go before the next start.
                    for epoch in sources {
                        self.pin(epoch);
                    }
                    return Err(error);
                }
            }
        }
        let offsets: Vec<u32> = moved.iter().map(|copy| copy.to.offset).collect();
        make_void(&self.shared, cold, &offsets);
        Ok(())
    }

    /// Writes down what became of messages since they were copied; gives those that still wait.
    fn write_changes(&self, cold: &Segment, changed: Vec<(Moved, Change)>) -> io::Result<Vec<Moved>> {
        let mut rest = Vec::new();
        for (mut copy, change) in changed {
            match change {
                Change::Progress => {
                    copy.to.state_at = match copy.from.state.progress(copy.old.state_at) {
                        Some(progress) => {
                            append(&self.shared, cold, copy.to.offset, Say::Progress(progress))?
                        }
                        None => NOWHERE,
                    };
                    rest.push(copy);
                }
                // The message lives elsewhere: only this copy of it must never count.
                Change::Moved => {
                    append(&self.shared, cold, copy.to.offset, Say::Void)?;
                }
                Change::Gone => {
                    append(&self.shared, cold, copy.to.offset, Say::Settled)?;
                }
            }
        }
        cold.state.flush(self.shared.disk.as_ref())?;
        Ok(rest)
    }

    /// Keeps a segment until the next start.
    fn pin(&self, epoch: u64) {
        if let Some(info) = self.shared.index().segments.get_mut(&epoch) {
            info.pins += 1;
        }
    }

    /// Prepares a few segments. Where inflow outruns that, the disk is better used for mail: segments
    /// that grew come back into the ring with all their blocks written.
    fn prepare(&mut self) {
        loop {
            let (size, _) = self.ring_size();
            let number = {
                let mut pool = self.shared.pool();
                let room = self.shared.room_for(self.shared.options.segment_bytes).is_ok();
                let outrun = pool.starved > ENOUGH;
                if outrun || pool.free.len() >= READY || size >= self.shared.most_ready() || !room {
                    return;
                }
                pool.number()
            };
            self.calm = 0;
            let disk = self.shared.disk.as_ref();
            match make_prepared(disk, number, self.shared.options.segment_bytes) {
                Ok(free) => self.shared.pool().free.push(free),
                Err(_failed) => {
                    // Mail goes on without prepared segments; the next turn tries again.
                    drop(disk.unlink(&segment::path(number)));
                    return;
                }
            }
        }
    }

    /// Gives back what a quiet time does not need.
    fn shrink(&self) {
        let surplus = {
            let mut pool = self.shared.pool();
            pool.target = (pool.target / 2).max(READY);
            let keep = pool.target.min(pool.free.len());
            pool.free.split_off(keep)
        };
        for free in surplus {
            drop(self.shared.disk.unlink(&segment::path(free.number)));
        }
    }
}

fn append(shared: &Shared, segment: &Segment, offset: u32, say: Say) -> io::Result<u32> {
    segment.state.append(shared.disk.as_ref(), &state::Entry { offset, say })
}

fn oldest_in_ring(segments: &std::collections::BTreeMap<u64, SegmentInfo>) -> Option<u64> {
    let mut movable = segments.iter().filter(|(_, info)| info.place == Place::Ring && info.pins == 0);
    movable.next().map(|(&epoch, _)| epoch)
}

fn sparse_kept(segments: &std::collections::BTreeMap<u64, SegmentInfo>) -> Option<u64> {
    let mut kept = segments.iter().filter(|(_, info)| info.place == Place::Kept && info.pins == 0);
    kept.find(|(_, info)| info.is_sparse()).map(|(&epoch, _)| epoch)
}
