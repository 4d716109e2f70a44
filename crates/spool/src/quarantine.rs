//! Sets aside what cannot be read: a copy and a note in `quarantine/`, and nothing of it in the queue.

use crate::SpoolId;
use crate::fs::{Disk, DiskFile, read_around};
use crate::record::len;
use crate::shared::{Shared, file_path};
use crate::state;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Octets copied at a time.
const STEP: u64 = 256 * 1024;

/// Octets of a note that are read.
const MAX_NOTE: u64 = 4096;

/// Something that could not be read and lies in `quarantine/`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// The copy.
    pub file: PathBuf,
    /// The message it was, if that could be told.
    pub id: Option<SpoolId>,
    /// What the note beside it says; empty if there is none.
    pub note: String,
}

/// What lies in the quarantine of the spool in this directory, also from earlier runs; the spool need
/// not be open.
pub fn quarantined(spool: &Path) -> io::Result<Vec<Quarantined>> {
    let entries = match fs::read_dir(spool.join("quarantine")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|kind| kind == "txt" || kind == "content") {
            continue;
        }
        let mut note = String::new();
        // A copy counts without its note as well.
        drop(
            File::open(file.with_extension("txt"))
                .and_then(|text| text.take(MAX_NOTE).read_to_string(&mut note)),
        );
        let id = note.lines().next().and_then(|line| SpoolId::parse(line.strip_prefix("message ")?));
        found.push(Quarantined { file, id, note });
    }
    found.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(found)
}

/// Copies `span` octets at `offset` of a segment, with a note; durable when it returns.
pub(crate) fn put(
    disk: &dyn Disk,
    from: &dyn DiskFile,
    epoch: u64,
    offset: u64,
    span: u64,
    note: &str,
) -> io::Result<()> {
    let name = format!("quarantine/{epoch:016x}-{offset:08x}");
    let copy = disk.create(&format!("{name}.bin"))?;
    let mut buf = vec![0; len(span.min(STEP))];
    let mut done = 0;
    while done < span {
        let part = buf.get_mut(..len((span - done).min(STEP))).unwrap_or_default();
        let count = read_around(from, part, offset + done)?;
        if count == 0 {
            break;
        }
        copy.write_at(&mut [IoSlice::new(part.get(..count).unwrap_or_default())], done)?;
        done += count as u64;
    }
    copy.flush()?;
    let text = disk.create(&format!("{name}.txt"))?;
    text.write_at(&mut [IoSlice::new(note.as_bytes())], 0)?;
    text.flush()?;
    disk.sync_dir("quarantine")
}

/// What the note says.
pub(crate) fn note(id: SpoolId, epoch: u64, offset: u32, why: &str) -> String {
    format!("message {id}\nsegment epoch {epoch}, record at octet {offset}\n{why}\n")
}

/// Takes a waiting message out of the queue and sets it aside.
pub(crate) fn set_aside(shared: &Shared, id: SpoolId, why: &str) {
    let found = {
        let index = shared.index();
        let entry = index.entries.get(&id).copied();
        entry.and_then(|entry| Some((entry, index.segments.get(&entry.epoch)?.segment.clone())))
    };
    let Some((entry, segment)) = found else { return };
    let disk = shared.disk.as_ref();
    let text = note(id, entry.epoch, entry.offset, why);
    let (offset, span) = (u64::from(entry.offset), u64::from(entry.span));
    let copied = put(disk, segment.file.as_ref(), entry.epoch, offset, span, &text).and_then(|()| {
        let say = state::Entry { offset: entry.offset, say: state::Say::Settled };
        segment.state.append(disk, &say).map(|_| ())
    });
    shared.quarantined.fetch_add(1, Ordering::Relaxed);
    let mut index = shared.index();
    if copied.is_err() {
        // It cannot be set aside now: it stays where it is and is not tried again before the next start.
        index.update(id, |entry| {
            entry.leased = false;
            entry.due = crate::index::NEVER;
        });
        return;
    }
    index.remove(id);
    drop(index);
    if entry.file {
        keep_file(disk, id);
    }
    shared.call_keeper();
}

/// Moves the file of a message that was set aside out of the way of the next start's cleaning.
pub(crate) fn keep_file(disk: &dyn Disk, id: SpoolId) {
    // Without it the copy of the record still tells what was there.
    drop(disk.rename(&file_path(id), &format!("quarantine/{id}.content")));
}
