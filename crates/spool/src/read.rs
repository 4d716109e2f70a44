//! Reads messages back, believing nothing that its checksum does not bear out.

use crate::SpoolId;
use crate::fs::{DiskFile, read_exact};
use crate::record::{ALIGN, ChunkRef, HEADER, Header, Kind, decode_meta, len};
use crate::segment::Segment;
use postroad_proto::envelope::Envelope;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

/// Why a message could not be read.
#[derive(Debug)]
pub(crate) enum Bad {
    /// The disk failed.
    Io(io::Error),
    /// What was read is not what was written.
    Damaged(&'static str),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData {
            Self::Damaged("the file ends before the record does")
        } else if error.kind() == io::ErrorKind::NotFound {
            Self::Damaged("a file of the message is missing")
        } else {
            Self::Io(error)
        }
    }
}

/// Where a record lies.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u32,
    pub(crate) span: u32,
    pub(crate) id: SpoolId,
}

/// Header and meta of a message's record.
pub(crate) struct Record {
    pub(crate) header: Header,
    pub(crate) chunks: Vec<ChunkRef>,
    pub(crate) envelope: Envelope,
}

/// Octets read first: header and meta of most messages.
const FIRST: u64 = 1024;

/// Reads header and meta.
pub(crate) fn read_record(at: &Location) -> Result<Record, Bad> {
    let segment = &at.segment;
    let file = segment.file.as_ref();
    let span = u64::from(at.span);
    let mut bytes = read_exact(file, u64::from(at.offset), FIRST.min(span), span)?;
    let header = Header::decode(&bytes, segment.epoch, segment.nonce)
        .filter(|header| header.kind == Kind::Message && header.id == at.id && header.span() <= span)
        .ok_or(Bad::Damaged("the record's header fails its checksum"))?;
    let end = HEADER as u64 + u64::from(header.meta_len);
    if end > bytes.len() as u64 {
        bytes = read_exact(file, u64::from(at.offset), end, span)?;
    }
    let meta = bytes.get(HEADER..len(end)).unwrap_or_default();
    if crc32fast::hash(meta) != header.meta_crc {
        return Err(Bad::Damaged("the envelope fails its checksum"));
    }
    let (chunks, envelope) =
        decode_meta(meta, header.chunks).ok_or(Bad::Damaged("the envelope cannot be understood"))?;
    Ok(Record { header, chunks, envelope })
}

/// The parts of a message's content that are in the log: chunks and inline octets, in order, and how
/// many of them come before the file. `find` gives the segment of an epoch.
pub(crate) fn read_logged(
    at: &Location,
    record: &Record,
    find: impl Fn(u64) -> Option<Arc<Segment>>,
) -> Result<(Vec<u8>, usize), Bad> {
    let mut content =
        Vec::with_capacity(len(record.header.size.saturating_sub(record.header.file_len)).min(1 << 20));
    for chunk in &record.chunks {
        let segment = find(chunk.epoch).ok_or(Bad::Damaged("a chunk of the content is missing"))?;
        content.extend_from_slice(&read_chunk(&segment, *chunk, at.id)?);
    }
    let header = &record.header;
    let before = content.len() + len(u64::from(header.head_len));
    let from = u64::from(at.offset) + HEADER as u64 + u64::from(header.meta_len);
    let inline = read_exact(
        at.segment.file.as_ref(),
        from,
        u64::from(header.inline_len),
        u64::from(at.span).next_multiple_of(ALIGN),
    )?;
    if crc32fast::hash(&inline) != header.inline_crc {
        return Err(Bad::Damaged("the content fails its checksum"));
    }
    if content.is_empty() {
        content = inline;
    } else {
        content.extend_from_slice(&inline);
    }
    if content.len() as u64 + header.file_len != header.size {
        return Err(Bad::Damaged("the parts of the content do not add up"));
    }
    Ok((content, before))
}

fn read_chunk(segment: &Segment, chunk: ChunkRef, id: SpoolId) -> Result<Vec<u8>, Bad> {
    let octets = HEADER as u64 + u64::from(chunk.len);
    let mut bytes = read_exact(segment.file.as_ref(), u64::from(chunk.offset), octets, segment.capacity)?;
    let content = bytes.split_off(HEADER);
    let header = Header::decode(&bytes, segment.epoch, segment.nonce);
    let header = header.filter(|header| header.kind == Kind::Chunk && header.id == id);
    if header.is_some_and(|header| header.inline_crc == crc32fast::hash(&content)) {
        Ok(content)
    } else {
        Err(Bad::Damaged("a chunk of the content fails its checksum"))
    }
}

/// The content as a stream: what is logged, with the file in between. The whole is verified first.
pub(crate) fn verified_reader(
    record: &Record,
    logged: Vec<u8>,
    before: usize,
    file: Option<Arc<dyn DiskFile>>,
) -> Result<Box<dyn Read + Send>, Bad> {
    let head = logged.get(..before).unwrap_or_default();
    let tail = logged.get(before..).unwrap_or_default();
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    let end = record.header.file_len;
    let stream = |file: &Arc<dyn DiskFile>| FileReader { file: Arc::clone(file), at: 0, end };
    if let Some(file) = &file {
        let mut stream = stream(file);
        let mut buf = vec![0; 64 << 10];
        // Bounded by the file's length.
        loop {
            let count = stream.read(&mut buf)?;
            if count == 0 {
                break;
            }
            crc.update(buf.get(..count).unwrap_or_default());
        }
        if stream.at != end {
            return Err(Bad::Damaged("the content's file is too short"));
        }
    }
    crc.update(tail);
    if crc.finalize() != record.header.content_crc {
        return Err(Bad::Damaged("the content fails its checksum"));
    }
    match file {
        None => Ok(Box::new(Cursor::new(logged))),
        Some(file) => {
            let tail = tail.to_vec();
            let head = head.to_vec();
            Ok(Box::new(Cursor::new(head).chain(stream(&file)).chain(Cursor::new(tail))))
        }
    }
}

struct FileReader {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = len(self.end - self.at).min(buf.len());
        let count = self.file.read_at(buf.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
