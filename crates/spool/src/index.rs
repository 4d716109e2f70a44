//! What scheduling needs of every waiting message, in memory (docs/spool.md §7).

use crate::SpoolId;
use crate::record::ChunkRef;
use crate::segment::Segment;
use crate::state::NOWHERE;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Due never.
pub(crate) const NEVER: u64 = u64::MAX;

/// One waiting message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) epoch: u64,
    pub(crate) size: u64,
    pub(crate) due: u64,
    pub(crate) offset: u32,
    pub(crate) span: u32,
    pub(crate) attempts: u32,
    /// Where its last progress lies in the state file; [`NOWHERE`] if there is none.
    pub(crate) state_at: u32,
    pub(crate) leased: bool,
    pub(crate) uncertain: bool,
    pub(crate) file: bool,
}

impl Entry {
    /// A message just accepted.
    pub(crate) fn new(epoch: u64, offset: u32, span: u32, size: u64, due: u64) -> Self {
        let (leased, uncertain, file) = (false, false, false);
        Self { epoch, size, due, offset, span, attempts: 0, state_at: NOWHERE, leased, uncertain, file }
    }

    /// Whether both are the same copy.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.offset == other.offset
    }
}

/// What a segment is to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Being written.
    Active,
    /// Full, and its turn to be used again has not come.
    Ring,
    /// Kept or cold: outside the ring for as long as more than half of it is live.
    Kept,
}

/// A segment and what is live in it.
pub(crate) struct SegmentInfo {
    pub(crate) segment: Arc<Segment>,
    pub(crate) live: u64,
    /// Chunks of drafts, which cannot be moved.
    pub(crate) pins: u32,
    pub(crate) place: Place,
    /// The records in it until its index file is written, then `None`.
    pub(crate) records: Option<Vec<(SpoolId, u32)>>,
    /// Octets of its state file that were no more than one entry a message.
    pub(crate) state_base: u64,
    /// Turns of the keeper since it was full.
    pub(crate) age: u32,
}

impl SegmentInfo {
    pub(crate) fn new(segment: Arc<Segment>, place: Place) -> Self {
        Self { segment, live: 0, pins: 0, place, records: Some(Vec::new()), state_base: 0, age: 0 }
    }

    /// Whether its survivors are few enough to be moved.
    pub(crate) fn is_sparse(&self) -> bool {
        let states = self.segment.state.size();
        self.live * 2 < self.segment.capacity || states > self.segment.capacity + self.state_base * 2
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.live == 0 && self.pins == 0 && self.place != Place::Active
    }
}

/// All waiting messages and segments.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) entries: BTreeMap<SpoolId, Entry>,
    due: BTreeSet<(u64, SpoolId)>,
    pub(crate) segments: BTreeMap<u64, SegmentInfo>,
    /// Chunks of the messages that have some.
    pub(crate) chunks: BTreeMap<SpoolId, Vec<ChunkRef>>,
    pub(crate) bytes: u64,
    /// Files of messages that are gone, to be removed once that is durable.
    pub(crate) unlinks: Vec<SpoolId>,
}

impl Index {
    /// Adds a message; its segment and those of its chunks are charged with it.
    pub(crate) fn insert(&mut self, id: SpoolId, entry: Entry, chunks: Vec<ChunkRef>) {
        self.bytes += entry.size;
        self.charge(entry.epoch, u64::from(entry.span));
        for chunk in &chunks {
            self.charge(chunk.epoch, chunk.span());
        }
        if !chunks.is_empty() {
            self.chunks.insert(id, chunks);
        }
        if entry.due != NEVER && !entry.leased {
            self.due.insert((entry.due, id));
        }
        self.entries.insert(id, entry);
    }

    /// Takes a message out; gives it, and whether a segment died with it.
    pub(crate) fn remove(&mut self, id: SpoolId) -> Option<(Entry, bool)> {
        let entry = self.entries.remove(&id)?;
        self.due.remove(&(entry.due, id));
        self.bytes -= entry.size;
        let mut dead = self.discharge(entry.epoch, u64::from(entry.span));
        for chunk in self.chunks.remove(&id).unwrap_or_default() {
            dead |= self.discharge(chunk.epoch, chunk.span());
        }
        Some((entry, dead))
    }

    /// Changes a message in place; due times stay in order.
    pub(crate) fn update(&mut self, id: SpoolId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = (!entry.leased).then_some(entry.due);
        change(entry);
        let after = (!entry.leased).then_some(entry.due);
        if before != after {
            if let Some(due) = before {
                self.due.remove(&(due, id));
            }
            if let Some(due) = after.filter(|&due| due != NEVER) {
                self.due.insert((due, id));
            }
        }
    }

    /// Points a message to its new copy, which holds all its chunks. The new segment is charged.
    pub(crate) fn relocate(&mut self, id: SpoolId, to: Entry) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let old = *entry;
        entry.epoch = to.epoch;
        entry.offset = to.offset;
        entry.span = to.span;
        entry.state_at = to.state_at;
        self.charge(to.epoch, u64::from(to.span));
        self.discharge(old.epoch, u64::from(old.span));
        for chunk in self.chunks.remove(&id).unwrap_or_default() {
            self.discharge(chunk.epoch, chunk.span());
        }
    }

    /// The next message due at `now`.
    pub(crate) fn next_due(&self) -> Option<(u64, SpoolId)> {
        self.due.first().copied()
    }

    pub(crate) fn charge(&mut self, epoch: u64, octets: u64) {
        if let Some(info) = self.segments.get_mut(&epoch) {
            info.live += octets;
        }
    }

    /// Gives octets back; whether the segment is dead now.
    pub(crate) fn discharge(&mut self, epoch: u64, octets: u64) -> bool {
        self.segments.get_mut(&epoch).is_some_and(|info| {
            info.live = info.live.saturating_sub(octets);
            info.is_dead()
        })
    }
}
