//! A message being received: in memory at first, then in the log, then in a file of its own.

use crate::commit::{Item, chunk_header};
use crate::fs::DiskFile;
use crate::index::Index;
use crate::record::ChunkRef;
use crate::shared::{Shared, file_path};
use crate::{Draft, SpoolError, SpoolId};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Octets of content that stay in memory.
const IN_MEMORY: usize = 64 << 10;
/// Octets of content that go to the log; what follows goes to a file.
const IN_LOG: u64 = 256 << 10;
/// A chunk shorter than this is copied to the end of the one before: cheaper than a buffer of its own.
const SMALL: usize = 1024;

/// A message being received into a [`crate::DiskSpool`].
pub struct DiskDraft {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: SpoolId,
    pub(crate) bufs: Vec<Vec<u8>>,
    in_memory: usize,
    pub(crate) size: u64,
    in_log: u64,
    /// Checksum of what is in memory.
    pub(crate) part: crc32fast::Hasher,
    /// Checksum of what came before.
    before: crc32fast::Hasher,
    pub(crate) slots: Vec<Arc<ChunkSlot>>,
    pub(crate) file: Option<BigFile>,
    /// A write failed; the content has a hole.
    pub(crate) broken: bool,
}

impl DiskDraft {
    pub(crate) fn new(shared: Arc<Shared>, id: SpoolId) -> Self {
        Self {
            shared,
            id,
            bufs: Vec::new(),
            in_memory: 0,
            size: 0,
            in_log: 0,
            part: crc32fast::Hasher::new(),
            before: crc32fast::Hasher::new(),
            slots: Vec::new(),
            file: None,
            broken: false,
        }
    }

    /// Checksum of the whole content.
    pub(crate) fn content_crc(&self) -> u32 {
        let mut all = self.before.clone();
        all.combine(&self.part);
        all.finalize()
    }

    fn spill_to_file(&mut self) -> Result<(), SpoolError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BigFile::create(&self.shared, self.id)?),
        };
        let mut bufs: Vec<IoSlice<'_>> = self.bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        file.file.write_at(&mut bufs, file.len)?;
        file.len += self.in_memory as u64;
        Ok(())
    }
}

impl Draft for DiskDraft {
    fn id(&self) -> SpoolId {
        self.id
    }

    fn append(&mut self, chunk: Vec<u8>) -> Result<(), SpoolError> {
        self.part.update(&chunk);
        self.size += chunk.len() as u64;
        self.in_memory += chunk.len();
        match self.bufs.last_mut() {
            Some(last) if chunk.len() < SMALL && last.len() < IN_MEMORY => last.extend_from_slice(&chunk),
            _ => self.bufs.push(chunk),
        }
        if self.in_memory > IN_MEMORY { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), SpoolError> {
        if self.broken {
            return Err(SpoolError::Io(io::Error::other(
                "an earlier part of the content could not be written",
            )));
        }
        if self.in_memory == 0 {
            return Ok(());
        }
        if self.file.is_some() || self.in_log + self.in_memory as u64 > IN_LOG {
            if let Err(error) = self.spill_to_file() {
                self.broken = true;
                return Err(error);
            }
            self.bufs.clear();
        } else {
            self.shared.queue.wait_for_room();
            let slot = Arc::new(ChunkSlot::new(&self.shared));
            let header = chunk_header(self.id, self.in_memory, self.part.clone().finalize());
            self.in_log += self.in_memory as u64;
            self.slots.push(Arc::clone(&slot));
            self.shared.queue.push(Item::Chunk { slot, header, bufs: std::mem::take(&mut self.bufs) });
        }
        self.in_memory = 0;
        self.before.combine(&std::mem::take(&mut self.part));
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn in_memory(&self) -> usize {
        self.in_memory
    }
}

/// The place of a draft's chunk in the log. While it lives the chunk's segment is not used again.
pub(crate) struct ChunkSlot {
    shared: Weak<Shared>,
    state: Mutex<SlotState>,
}

#[derive(Clone, Copy)]
enum SlotState {
    Queued,
    /// In the batch being written.
    Placed(ChunkRef),
    /// Written; counted in its segment.
    Pinned(ChunkRef),
    /// It belongs to a message now.
    Kept,
    Failed,
}

impl ChunkSlot {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared), state: Mutex::new(SlotState::Queued) }
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_place(&self, chunk: ChunkRef) {
        *self.state() = SlotState::Placed(chunk);
    }

    pub(crate) fn place(&self) -> Option<ChunkRef> {
        match *self.state() {
            SlotState::Placed(chunk) | SlotState::Pinned(chunk) => Some(chunk),
            SlotState::Queued | SlotState::Kept | SlotState::Failed => None,
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(*self.state(), SlotState::Failed)
    }

    /// The chunk was written.
    pub(crate) fn pin(&self, index: &mut Index) {
        let mut state = self.state();
        if let SlotState::Placed(chunk) = *state {
            *state = SlotState::Pinned(chunk);
            if let Some(info) = index.segments.get_mut(&chunk.epoch) {
                info.pins += 1;
                info.live += chunk.span();
            }
        }
    }

    /// Hands the chunk over to its message, which is charged for it.
    pub(crate) fn keep(&self, index: &mut Index) -> Option<ChunkRef> {
        let mut state = self.state();
        let SlotState::Pinned(chunk) = *state else { return None };
        *state = SlotState::Kept;
        unpin(index, chunk);
        Some(chunk)
    }

    /// The chunk could not be written, or not be flushed.
    pub(crate) fn fail(&self, shared: &Shared) {
        let before = std::mem::replace(&mut *self.state(), SlotState::Failed);
        if let SlotState::Pinned(chunk) = before {
            unpin(&mut shared.index(), chunk);
        }
    }
}

fn unpin(index: &mut Index, chunk: ChunkRef) {
    if let Some(info) = index.segments.get_mut(&chunk.epoch) {
        info.pins = info.pins.saturating_sub(1);
    }
    index.discharge(chunk.epoch, chunk.span());
}

impl Drop for ChunkSlot {
    fn drop(&mut self) {
        let state = *self.state();
        if let (SlotState::Pinned(chunk), Some(shared)) = (state, self.shared.upgrade()) {
            unpin(&mut shared.index(), chunk);
        }
    }
}

/// The file of a large message; removed when dropped before the message is durable.
pub(crate) struct BigFile {
    shared: Arc<Shared>,
    id: SpoolId,
    file: Arc<dyn DiskFile>,
    pub(crate) len: u64,
    kept: bool,
}

impl BigFile {
    fn create(shared: &Arc<Shared>, id: SpoolId) -> io::Result<Self> {
        let file = shared.disk.create(&file_path(id))?;
        Ok(Self { shared: Arc::clone(shared), id, file, len: 0, kept: false })
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }

    /// The file belongs to a durable message.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for BigFile {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed at the next start.
            drop(self.shared.disk.unlink(&file_path(self.id)));
        }
    }
}
