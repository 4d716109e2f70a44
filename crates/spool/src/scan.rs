//! Reads a segment from front to back and finds its records, whatever else is there.
//!
//! Where no record begins the scan goes on at the next place one may begin. Memory is one window,
//! whatever lengths the bytes claim.

use crate::fs::{DiskFile, read_around};
use crate::record::{ALIGN, BLOCK, HEADER, Header, len};
use std::io;

/// A record whose header is sound.
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) header: Header,
    /// Whether meta and inline content match their checksums.
    pub(crate) whole: bool,
}

/// Bytes before a record that belong to none, and are more than alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The batch of the record after it.
    pub(crate) batch: u32,
    /// Whether a whole batch is missing in it.
    pub(crate) hides_batch: bool,
}

/// Something to read at a position.
pub(crate) trait ReadAt {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
}

impl ReadAt for &dyn DiskFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        read_around(*self, buf, at)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let here = self.get(len(at)..).unwrap_or_default();
        let count = buf.len().min(here.len());
        for (to, from) in buf.iter_mut().zip(here) {
            *to = *from;
        }
        Ok(count)
    }
}

/// Calls `each` for every record of this epoch up to `end`; gives the gaps between them.
pub(crate) fn scan(
    source: &dyn ReadAt,
    epoch: u64,
    nonce: u64,
    end: u64,
    mut each: impl FnMut(Found),
) -> io::Result<Vec<Gap>> {
    let mut window = Window::new(source, end);
    let mut gaps = Vec::new();
    let mut at = BLOCK;
    let mut expected = BLOCK;
    let mut next_batch = 0;
    // Each turn goes forward by at least one alignment.
    while at + (HEADER as u64) <= end {
        let header = window.get(at, HEADER)?.and_then(|bytes| Header::decode(bytes, epoch, nonce));
        let Some(header) = header.filter(|header| at + header.span() <= end.next_multiple_of(ALIGN)) else {
            at += ALIGN;
            continue;
        };
        // A batch ends in front of a block's border; more than that is damage or a torn write.
        if at > expected && at != expected.next_multiple_of(BLOCK) {
            let hides_batch = header.batch > next_batch;
            gaps.push(Gap { from: expected, to: at, batch: header.batch, hides_batch });
        }
        let meta_at = at + HEADER as u64;
        let inline_at = meta_at + u64::from(header.meta_len);
        let whole = window.crc(meta_at, u64::from(header.meta_len))? == Some(header.meta_crc)
            && window.crc(inline_at, u64::from(header.inline_len))? == Some(header.inline_crc);
        let span = header.span();
        // What fails its checksum may hide a later record of the same torn batch: go on inside it.
        let next = at + if whole { span } else { ALIGN };
        expected = at + span;
        next_batch = header.batch.saturating_add(1);
        each(Found { offset: at, header, whole });
        at = next;
    }
    Ok(gaps)
}

struct Window<'a> {
    source: &'a dyn ReadAt,
    end: u64,
    start: u64,
    buf: Vec<u8>,
    filled: usize,
}

/// Octets read at a time.
const WINDOW: usize = 256 * 1024;

impl<'a> Window<'a> {
    fn new(source: &'a dyn ReadAt, end: u64) -> Self {
        Self { source, end, start: 0, buf: Vec::new(), filled: 0 }
    }

    /// `count` octets (at most a window) at `at`; `None` past the end.
    fn get(&mut self, at: u64, count: usize) -> io::Result<Option<&[u8]>> {
        if at < self.start || at + count as u64 > self.start + self.filled as u64 {
            self.start = at;
            self.buf.resize(WINDOW.min(len(self.end.saturating_sub(at))).max(count), 0);
            self.filled = self.source.read_at(&mut self.buf, at)?;
        }
        let from = len(at - self.start);
        Ok(self.buf.get(..self.filled).and_then(|buf| buf.get(from..from.checked_add(count)?)))
    }

    fn crc(&mut self, mut at: u64, mut count: u64) -> io::Result<Option<u32>> {
        let mut hasher = crc32fast::Hasher::new();
        while count > 0 {
            let part = len(count).min(WINDOW / 4);
            match self.get(at, part)? {
                Some(bytes) => hasher.update(bytes),
                None => return Ok(None),
            }
            at += part as u64;
            count -= part as u64;
        }
        Ok(Some(hasher.finalize()))
    }
}
