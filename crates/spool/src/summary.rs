//! The index file of a full segment: what was live in it, so that a start need not read it.

use crate::SpoolId;
use crate::index::{Entry, Index};
use crate::record::{ChunkRef, Reader, len, sealed_crc, short};
use crate::segment::Segment;

const MAGIC: &[u8; 8] = b"PRINDEX1";

/// A message in an index file.
pub(crate) struct Listed {
    pub(crate) id: SpoolId,
    pub(crate) entry: Entry,
    pub(crate) chunks: Vec<ChunkRef>,
}

/// What lives in `segment` now.
pub(crate) fn encode(index: &Index, segment: &Segment) -> Vec<u8> {
    let mut body = Vec::new();
    let mut count = 0u32;
    let records = index.segments.get(&segment.epoch).and_then(|info| info.records.as_deref());
    for &(id, offset) in records.unwrap_or_default() {
        let Some(entry) = index.entries.get(&id) else { continue };
        if entry.epoch != segment.epoch || entry.offset != offset {
            continue;
        }
        let chunks = index.chunks.get(&id).map(Vec::as_slice).unwrap_or_default();
        body.extend_from_slice(&id.bits().to_le_bytes());
        for number in [offset, entry.span, short(chunks.len()), u32::from(entry.file)] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&entry.size.to_le_bytes());
        for chunk in chunks {
            chunk.encode(&mut body);
        }
        count += 1;
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&segment.epoch.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&body);
    let crc = sealed_crc(segment.nonce, &[&out]);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Reads an index file; `None` unless it is whole and of this segment.
pub(crate) fn decode(bytes: &[u8], epoch: u64, nonce: u64) -> Option<Vec<Listed>> {
    let (sealed, crc) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != sealed_crc(nonce, &[sealed]) {
        return None;
    }
    let mut reader = Reader(sealed);
    if reader.take(8)? != MAGIC || reader.u64()? != epoch {
        return None;
    }
    let count = len(u64::from(reader.u32()?));
    let mut listed = Vec::with_capacity(count.min(bytes.len() / 40));
    for _ in 0..count {
        let id = SpoolId::from_bits(reader.u128()?);
        let (offset, span, chunks, file) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
        let mut entry = Entry::new(epoch, offset, span, reader.u64()?, id.time().0);
        entry.file = file != 0;
        let chunks = (0..chunks).map(|_| ChunkRef::decode(&mut reader)).collect::<Option<Vec<_>>>()?;
        listed.push(Listed { id, entry, chunks });
    }
    reader.0.is_empty().then_some(listed)
}
