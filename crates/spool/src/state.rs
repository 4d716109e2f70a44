//! The file beside a segment with what became of its messages (docs/spool.md §3).
//!
//! Entries are appended without a flush: to lose one means to try again. An entry that cannot be
//! written stays in memory and goes out with the next, so a full disk does not stop the queue.

use crate::RecipientState;
use crate::fs::{Disk, DiskFile, read_exact};
use crate::progress::{MAX_TEXT, Progress};
use crate::record::{Reader, decode_text, encode_text, len, sealed_crc, short};
use postroad_proto::time::UnixTime;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MAGIC: u16 = 0x5354;
const HEADER: usize = 32;
const ALIGN: usize = 32;
/// A due time that never comes.
const NEVER: u64 = u64::MAX;
/// Octets that wait in memory while the disk takes none; what comes then is refused.
const MAX_BACKLOG: usize = 64 << 20;
/// No place in a state file.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// What an entry says about the record at `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// So far.
    Progress(Progress),
    /// Done, wherever a copy of it lies.
    Settled,
    /// This copy never counts.
    Void,
}

/// One entry of a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: u32,
    pub(crate) say: Say,
}

impl Entry {
    pub(crate) fn encode(&self, nonce: u64) -> Vec<u8> {
        let mut body = Vec::new();
        let (kind, attempts, due) = match &self.say {
            Say::Progress(progress) => {
                for state in &progress.recipients {
                    encode_recipient(state, &mut body);
                }
                (1u8, progress.attempts, progress.due.map_or(NEVER, |due| due.0))
            }
            Say::Settled => (2, 0, NEVER),
            Say::Void => (3, 0, NEVER),
        };
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[kind, 0]);
        out.extend_from_slice(&short(body.len()).to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&attempts.to_le_bytes());
        out.extend_from_slice(&due.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = sealed_crc(nonce, &[&out, &body]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&body);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        out
    }

    /// Reads the entry at the start of `bytes`, with its length.
    fn decode(bytes: &[u8], nonce: u64) -> Option<(Self, usize)> {
        let head = bytes.get(..HEADER - 4)?;
        let mut reader = Reader(bytes);
        if reader.u16()? != MAGIC {
            return None;
        }
        let kind = reader.u8()?;
        reader.u8()?;
        let length = len(u64::from(reader.u32()?));
        let offset = reader.u32()?;
        let attempts = reader.u32()?;
        let due = reader.u64()?;
        reader.u32()?;
        let crc = reader.u32()?;
        let body = reader.take(length)?;
        if crc != sealed_crc(nonce, &[head, body]) {
            return None;
        }
        let say = match kind {
            1 => {
                let mut recipients = Vec::new();
                let mut rest = Reader(body);
                while !rest.0.is_empty() {
                    recipients.push(decode_recipient(&mut rest)?);
                }
                let due = (due != NEVER).then_some(UnixTime(due));
                Say::Progress(Progress { attempts, due, recipients })
            }
            2 => Say::Settled,
            3 => Say::Void,
            _ => return None,
        };
        Some((Self { offset, say }, (HEADER + length).next_multiple_of(ALIGN)))
    }
}

fn encode_recipient(state: &RecipientState, out: &mut Vec<u8>) {
    let (tag, text) = match state {
        RecipientState::New => (0, None),
        RecipientState::Deferred(text) => (1, Some(text)),
        RecipientState::Delivered => (2, None),
        RecipientState::Failed(text) => (3, Some(text)),
    };
    out.push(tag);
    if let Some(text) = text {
        debug_assert!(text.len() <= MAX_TEXT, "progress cuts texts");
        if encode_text(text, out).is_none() {
            out.extend_from_slice(&[0, 0]);
        }
    }
}

fn decode_recipient(reader: &mut Reader<'_>) -> Option<RecipientState> {
    Some(match reader.u8()? {
        0 => RecipientState::New,
        1 => RecipientState::Deferred(decode_text(reader)?.to_owned()),
        2 => RecipientState::Delivered,
        3 => RecipientState::Failed(decode_text(reader)?.to_owned()),
        _ => return None,
    })
}

/// The sound entries of a state file with their places, in order.
pub(crate) fn decode_all(bytes: &[u8], nonce: u64) -> impl Iterator<Item = (u32, Entry)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        // Each turn goes forward by at least one alignment.
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER) {
            let place = short(at);
            match Entry::decode(rest, nonce) {
                Some((entry, length)) => {
                    at += length;
                    return Some((place, entry));
                }
                None => at += ALIGN,
            }
        }
        None
    })
}

/// The open state file of one segment.
pub(crate) struct StateFile {
    path: String,
    nonce: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    file: Option<Arc<dyn DiskFile>>,
    /// Octets that were written.
    written: u32,
    backlog: Vec<u8>,
    dirty: bool,
    /// A flush failed: what it covered is readable but not durable, and no later flush would write it.
    suspect: bool,
    /// Whether the file's name still has to be made durable.
    unnamed: bool,
}

impl StateFile {
    /// A state file that is made when it is needed; `existing` is an open one and its size.
    pub(crate) fn new(epoch: u64, nonce: u64, existing: Option<(Arc<dyn DiskFile>, u64)>) -> Self {
        let mut inner = Inner::default();
        if let Some((file, size)) = existing {
            inner.file = Some(file);
            inner.written = short(len(size.next_multiple_of(ALIGN as u64)));
            inner.unnamed = true;
        }
        Self { path: path(epoch), nonce, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an entry, unflushed; gives its place.
    pub(crate) fn append(&self, disk: &dyn Disk, entry: &Entry) -> io::Result<u32> {
        let bytes = entry.encode(self.nonce);
        let mut inner = self.inner();
        let place = inner.written.saturating_add(short(inner.backlog.len()));
        let end = u64::from(place) + bytes.len() as u64;
        if inner.backlog.len() + bytes.len() > MAX_BACKLOG || end >= u64::from(NOWHERE) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.backlog.extend_from_slice(&bytes);
        inner.dirty = true;
        // A failure is told by the flush; until then the entry counts from memory.
        drop(inner.write_out(disk, &self.path));
        Ok(place)
    }

    /// Makes all entries durable.
    pub(crate) fn flush(&self, disk: &dyn Disk) -> io::Result<()> {
        let (file, unnamed) = {
            let mut inner = self.inner();
            if !inner.dirty {
                return Ok(());
            }
            inner.write_out(disk, &self.path)?;
            inner.write_again()?;
            inner.dirty = false;
            (inner.file.clone(), std::mem::take(&mut inner.unnamed))
        };
        let Some(file) = file else { return Ok(()) };
        let result = file.flush().and_then(|()| if unnamed { disk.sync_dir("log") } else { Ok(()) });
        if result.is_err() {
            let mut inner = self.inner();
            inner.dirty = true;
            inner.suspect = true;
            inner.unnamed |= unnamed;
        }
        result
    }

    /// The progress written at `place`.
    pub(crate) fn progress(&self, place: u32) -> Option<Progress> {
        if place == NOWHERE {
            return None;
        }
        let inner = self.inner();
        let (say, _) = if let Some(within) = place.checked_sub(inner.written) {
            Entry::decode(inner.backlog.get(len(u64::from(within))..)?, self.nonce)?
        } else {
            let file = inner.file.clone()?;
            let room = u64::from(inner.written - place);
            drop(inner);
            let mut head = [0; HEADER];
            if file.read_at(&mut head, u64::from(place)).ok()? < HEADER {
                return None;
            }
            let mut reader = Reader(&head);
            reader.take(4)?;
            let length = HEADER as u64 + u64::from(reader.u32()?);
            let bytes = read_exact(file.as_ref(), u64::from(place), length, room).ok()?;
            Entry::decode(&bytes, self.nonce)?
        };
        match say.say {
            Say::Progress(progress) => Some(progress),
            Say::Settled | Say::Void => None,
        }
    }

    /// Octets in it.
    pub(crate) fn size(&self) -> u64 {
        let inner = self.inner();
        u64::from(inner.written) + inner.backlog.len() as u64
    }
}

impl Inner {
    /// After a failed flush: makes the whole file need writing once more.
    fn write_again(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| self.suspect) else { return Ok(()) };
        let all = read_exact(file.as_ref(), 0, u64::from(self.written), u64::from(NOWHERE))?;
        file.write_at(&mut [IoSlice::new(&all)], 0)?;
        self.suspect = false;
        Ok(())
    }

    fn write_out(&mut self, disk: &dyn Disk, path: &str) -> io::Result<()> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        let file = if let Some(file) = &self.file {
            Arc::clone(file)
        } else {
            let file = disk.create(path)?;
            self.unnamed = true;
            self.file = Some(Arc::clone(&file));
            file
        };
        file.write_at(&mut [IoSlice::new(&self.backlog)], u64::from(self.written))?;
        self.written = self.written.saturating_add(short(self.backlog.len()));
        self.backlog.clear();
        Ok(())
    }
}

/// Where the state file of an epoch is.
pub(crate) fn path(epoch: u64) -> String {
    format!("log/{epoch:016x}.state")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Fault, SimDisk};
    use proptest::prelude::*;

    fn say() -> impl Strategy<Value = Say> {
        let recipient = prop_oneof![
            Just(RecipientState::New),
            Just(RecipientState::Delivered),
            "\\PC{0,80}".prop_map(RecipientState::Deferred),
            "\\PC{0,80}".prop_map(RecipientState::Failed),
        ];
        let recipients = proptest::collection::vec(recipient, 1..9);
        let due = proptest::option::of((0..u64::MAX).prop_map(UnixTime));
        let progress = (any::<u32>(), due, recipients);
        prop_oneof![
            Just(Say::Settled),
            Just(Say::Void),
            progress.prop_map(|(attempts, due, recipients)| {
                Say::Progress(Progress { attempts, due, recipients })
            }),
        ]
    }

    proptest! {
        #[test]
        fn entries_are_found_again_around_a_damaged_one(
            says in proptest::collection::vec(say(), 1..20), nonce in any::<u64>(), hit in any::<proptest::sample::Index>(),
        ) {
            let entries = (0u32..).zip(says).map(|(n, say)| Entry { offset: n * 64, say });
            let entries: Vec<Entry> = entries.collect();
            let mut bytes = Vec::new();
            let places: Vec<usize> = entries.iter().map(|entry| {
                let place = bytes.len();
                bytes.extend(entry.encode(nonce));
                place
            }).collect();
            let all: Vec<Entry> = decode_all(&bytes, nonce).map(|(_, entry)| entry).collect();
            prop_assert_eq!(&all, &entries);
            let hit = hit.index(entries.len());
            bytes[places[hit] + 9] ^= 1;
            let mut rest = entries;
            rest.remove(hit);
            let found: Vec<Entry> = decode_all(&bytes, nonce).map(|(_, entry)| entry).collect();
            prop_assert_eq!(found, rest);
        }
    }

    #[test]
    fn an_entry_that_could_not_be_written_goes_out_with_the_next_flush() {
        let disk = SimDisk::new();
        let state = StateFile::new(1, 2, None);
        disk.fail_at(2, Fault::NoSpace);
        let progress = Progress::new(3, UnixTime(9));
        let entry = Entry { offset: 64, say: Say::Progress(progress.clone()) };
        let place = state.append(&disk, &entry).unwrap();
        assert_eq!(state.progress(place), Some(progress.clone()), "counts from memory");
        state.flush(&disk).unwrap();
        assert_eq!(state.progress(place), Some(progress));
        assert_eq!(disk.crash(4).content(&path(1)), disk.content(&path(1)));
    }
}
