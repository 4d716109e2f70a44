//! Segment files: where they are, and those that wait to be used.

use crate::fs::{Disk, DiskFile};
use crate::record::{BLOCK, SegmentHeader, len};
use crate::state::StateFile;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// A segment in use, under one epoch.
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) epoch: u64,
    pub(crate) nonce: u64,
    pub(crate) capacity: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) state: StateFile,
}

impl Segment {
    pub(crate) fn header(&self) -> SegmentHeader {
        SegmentHeader { epoch: self.epoch, nonce: self.nonce, capacity: self.capacity }
    }
}

/// A segment that holds nothing.
pub(crate) struct Free {
    pub(crate) number: u32,
    pub(crate) capacity: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl Free {
    /// Puts it into use. Nothing is written: the header goes out with the first batch.
    pub(crate) fn take(self, epoch: u64, nonce: u64) -> Segment {
        let Self { number, capacity, file } = self;
        Segment { number, epoch, nonce, capacity, file, state: StateFile::new(epoch, nonce, None) }
    }
}

/// How many segments are prepared ahead of the inflow.
pub(crate) const READY: usize = 2;

/// Segments that are ready, and how many there should be.
pub(crate) struct Pool {
    pub(crate) free: Vec<Free>,
    /// How many are kept when they come back; grows when the committer found none.
    pub(crate) target: usize,
    /// How often the committer found none since the keeper's last tick.
    pub(crate) starved: u32,
    pub(crate) next_number: u32,
    pub(crate) next_epoch: u64,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self { free: Vec::new(), target: READY, starved: 0, next_number: 1, next_epoch: 1 }
    }

    pub(crate) fn epoch(&mut self) -> u64 {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        epoch
    }

    pub(crate) fn number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        number
    }
}

/// The path of a segment file.
pub(crate) fn path(number: u32) -> String {
    format!("log/{number:08x}.seg")
}

/// The path of the index file of an epoch.
pub(crate) fn index_path(epoch: u64) -> String {
    format!("log/{epoch:016x}.index")
}

/// Makes a segment file that grows as it is written; its name is durable when this returns.
pub(crate) fn make_growing(disk: &dyn Disk, number: u32, capacity: u64) -> io::Result<Free> {
    let file = disk.create(&path(number))?;
    disk.sync_dir("log")?;
    Ok(Free { number, capacity, file })
}

/// Octets of zeros written at a time.
const STEP: usize = 256 * 1024;
/// Octets that may be missing at the end of a segment that grew, for it to be filled up and used again.
const NEARLY: u64 = 1 << 20;

/// Makes a segment file whose blocks were all written once, so that a later flush changes no metadata.
pub(crate) fn make_prepared(disk: &dyn Disk, number: u32, capacity: u64) -> io::Result<Free> {
    let file = disk.create(&path(number))?;
    fill(file.as_ref(), BLOCK, capacity)?;
    file.flush()?;
    let free = Free { number, capacity, file };
    mark_free(free.file.as_ref(), capacity)?;
    disk.sync_dir("log")?;
    Ok(free)
}

/// Writes zeros up to the capacity.
fn fill(file: &dyn DiskFile, mut at: u64, capacity: u64) -> io::Result<()> {
    let zeros = vec![0; STEP];
    while at < capacity {
        let part = zeros.get(..len(capacity - at).min(STEP)).unwrap_or(&zeros);
        file.write_at(&mut [IoSlice::new(part)], at)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Whether all blocks of a segment were written, once its end is filled up; then it is as good as prepared.
pub(crate) fn is_whole(segment: &Segment) -> io::Result<bool> {
    let size = segment.file.size()?;
    if size + NEARLY < segment.capacity || size <= segment.capacity / 2 {
        return Ok(false);
    }
    fill(segment.file.as_ref(), size, segment.capacity)?;
    Ok(true)
}

/// Makes a segment file hold nothing, durably.
pub(crate) fn mark_free(file: &dyn DiskFile, capacity: u64) -> io::Result<()> {
    let header = SegmentHeader { epoch: 0, nonce: 0, capacity }.encode();
    file.write_at(&mut [IoSlice::new(&header)], 0)?;
    file.flush()
}
