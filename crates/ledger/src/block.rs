//! Blocks: runs of chunks, compressed, each with a filter of what can be found in it.
//!
//! A busy server fills them; of a quiet one, which writes one for each session, many small ones are put together.

use crate::store::{Kind, Trouble, column};
use crate::terms::{Filter, Span, Terms};
use rusqlite::{Connection, params};

/// Octets of chunks below which a block is small; how many of these there may be, and how many become one.
pub(crate) const SMALL: usize = 16 * 1024;
pub(crate) const SMALL_MAX: u64 = 128;
const MERGED: u64 = 64;
/// Octets that a block may have when it is not compressed; those written are smaller by far.
const MAX_BLOCK: usize = 4 << 20;
/// Makes blocks of chunks.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    pub(crate) terms: Terms,
    /// Where blocks are compressed; kept, for it is as large as a block.
    packed: Vec<u8>,
}

impl Packer {
    /// Writes a block whose terms were gathered just now.
    pub(crate) fn insert(
        &mut self,
        to: &Connection,
        id: Option<i64>,
        run: &[u8],
        span: Span,
    ) -> Result<(), Trouble> {
        let filter = Filter::of(self.terms.hashes());
        let room = lz4_flex::block::get_maximum_output_size(run.len());
        if self.packed.len() < room {
            self.packed.resize(room, 0);
        }
        let packed = lz4_flex::block::compress_into(run, &mut self.packed)
            .map_err(|error| Trouble::new(Kind::Other, error.to_string()))?;
        to.prepare("INSERT INTO blocks (id, first_ms, last_ms, records, size, filter, data) VALUES (?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![
                id,
                column(span.first.0),
                column(span.last.0),
                column(span.chunks),
                column(run.len() as u64),
                filter.octets(),
                self.packed.get(..packed).unwrap_or_default(),
            ])?;
        Ok(())
    }

    /// Makes one block of the oldest small ones. A quiet server writes a block for each session: together they
    /// compress, and a search has fewer to look at. The youngest stay as they are, so that one who follows along has
    /// seen what is put together; the block has the last of their ids, so that it is not seen again.
    pub(crate) fn merge(&mut self, to: &Connection) -> Result<(), Trouble> {
        let mut run = Vec::new();
        let mut last = None;
        let mut oldest = to.prepare(&format!(
            "SELECT id, size, data FROM blocks WHERE size < {SMALL} ORDER BY id LIMIT {MERGED}"
        ))?;
        let mut rows = oldest.query([])?;
        while let Some(row) = rows.next()? {
            last = Some(row.get(0)?);
            // What cannot be read now never will be.
            run.extend(
                unpack(row.get(1)?, row.get_ref(2)?.as_blob().unwrap_or_default()).unwrap_or_default(),
            );
        }
        drop(rows);
        to.prepare(&format!("DELETE FROM blocks WHERE size < {SMALL} AND id <= ?"))?
            .execute(params![last])?;
        let (_, span) = self.terms.gather(&run, usize::MAX);
        self.insert(to, last, &run, span)
    }
}

/// How many small blocks there are.
pub(crate) fn count_small(connection: &Connection) -> Result<u64, Trouble> {
    let count: i64 =
        connection
            .query_row(&format!("SELECT count(*) FROM blocks WHERE size < {SMALL}"), [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// What is in a block.
pub(crate) fn unpack(size: i64, data: &[u8]) -> Option<Vec<u8>> {
    let size = usize::try_from(size).ok().filter(|size| *size <= MAX_BLOCK)?;
    lz4_flex::block::decompress(data, size).ok()
}
