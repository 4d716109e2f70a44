//! The bytes of segments, records and envelopes (docs/spool.md §3).
//!
//! Decoding takes any bytes: what does not fit is `None`, never a panic, and no length is believed
//! before it was compared with what is there.

use crate::SpoolId;
use postroad_proto::addr::{Domain, Mailbox, ReversePath};
use postroad_proto::envelope::{Body, Envelope, Recipient, Smtputf8};
use postroad_proto::time::UnixTime;

/// Batches begin at multiples of this, and the first follows the segment's header.
pub(crate) const BLOCK: u64 = 4096;
/// Records begin at multiples of this.
pub(crate) const ALIGN: u64 = 64;
/// Octets of a record's header.
pub(crate) const HEADER: usize = 96;
/// Octets of a chunk reference in meta.
pub(crate) const CHUNK_REF: usize = 16;

const SEGMENT_MAGIC: &[u8; 8] = b"PRSEG001";
const RECORD_MAGIC: &[u8; 4] = b"PRr1";

/// A number as a length in memory; what does not fit is too much for any check to pass.
pub(crate) fn len(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A length as `u32`; lengths here are bounded far below.
pub(crate) fn short(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// CRC-32 that begins with a segment's nonce.
pub(crate) fn sealed_crc(nonce: u64, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&nonce.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Reads numbers off the front of some bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}

/// The head of a segment file. `epoch` 0 means free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) epoch: u64,
    pub(crate) nonce: u64,
    pub(crate) capacity: u64,
}

impl SegmentHeader {
    /// The first block: two copies, so that one bad sector does not cost a segment.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(36);
        copy.extend_from_slice(SEGMENT_MAGIC);
        copy.extend_from_slice(&self.epoch.to_le_bytes());
        copy.extend_from_slice(&self.nonce.to_le_bytes());
        copy.extend_from_slice(&self.capacity.to_le_bytes());
        let crc = crc32fast::hash(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        let half = len(BLOCK) / 2;
        let mut block = copy.clone();
        block.resize(half, 0);
        block.extend_from_slice(&copy);
        block.resize(half * 2, 0);
        block
    }

    /// Reads the first block; a file of zeros (or none at all) is free.
    pub(crate) fn decode(block: &[u8]) -> Option<Self> {
        if block.iter().all(|&byte| byte == 0) {
            return Some(Self { epoch: 0, nonce: 0, capacity: 0 });
        }
        let half = len(BLOCK) / 2;
        // The file may end behind the first copy, where the rest of its first write never came.
        let copies = [Some(block), block.get(half..)];
        // They differ only after a torn write, to or from free; then the use counts, and holds nothing
        // that is not elsewhere too or was ever answered for.
        copies.into_iter().flatten().filter_map(Self::decode_copy).max_by_key(|header| header.epoch)
    }

    fn decode_copy(copy: &[u8]) -> Option<Self> {
        let body = copy.get(..32)?;
        let mut reader = Reader(copy);
        if reader.take(8)? != SEGMENT_MAGIC {
            return None;
        }
        let header = Self { epoch: reader.u64()?, nonce: reader.u64()?, capacity: reader.u64()? };
        (reader.u32()? == crc32fast::hash(body)).then_some(header)
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message,
    Chunk,
}

/// The head of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) epoch: u64,
    pub(crate) id: SpoolId,
    pub(crate) batch: u32,
    pub(crate) meta_len: u32,
    pub(crate) inline_len: u32,
    pub(crate) head_len: u32,
    pub(crate) file_len: u64,
    pub(crate) size: u64,
    pub(crate) accepted: UnixTime,
    pub(crate) content_crc: u32,
    pub(crate) meta_crc: u32,
    pub(crate) inline_crc: u32,
    pub(crate) recipients: u32,
    pub(crate) chunks: u32,
}

impl Header {
    pub(crate) fn encode(&self, nonce: u64) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(RECORD_MAGIC);
        out.extend_from_slice(&[if self.kind == Kind::Message { 1 } else { 2 }, 0, 0, 0]);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.id.bits().to_le_bytes());
        for number in [self.batch, self.meta_len, self.inline_len, self.head_len] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.file_len, self.size, self.accepted.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let tail = [self.content_crc, self.meta_crc, self.inline_crc, self.recipients, self.chunks];
        for number in tail {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&sealed_crc(nonce, &[&out]).to_le_bytes());
        let mut header = [0; HEADER];
        for (to, from) in header.iter_mut().zip(out) {
            *to = from;
        }
        header
    }

    /// Reads a header; `None` if it is none of this segment's.
    pub(crate) fn decode(bytes: &[u8], epoch: u64, nonce: u64) -> Option<Self> {
        let sealed = bytes.get(..HEADER - 4)?;
        let mut reader = Reader(bytes);
        if reader.take(4)? != RECORD_MAGIC {
            return None;
        }
        let kind = match reader.u8()? {
            1 => Kind::Message,
            2 => Kind::Chunk,
            _ => return None,
        };
        reader.take(3)?;
        if reader.u64()? != epoch {
            return None;
        }
        let header = Self {
            kind,
            epoch,
            id: SpoolId::from_bits(reader.u128()?),
            batch: reader.u32()?,
            meta_len: reader.u32()?,
            inline_len: reader.u32()?,
            head_len: reader.u32()?,
            file_len: reader.u64()?,
            size: reader.u64()?,
            accepted: UnixTime(reader.u64()?),
            content_crc: reader.u32()?,
            meta_crc: reader.u32()?,
            inline_crc: reader.u32()?,
            recipients: reader.u32()?,
            chunks: reader.u32()?,
        };
        let honest = reader.u32()? == sealed_crc(nonce, &[sealed])
            && header.head_len <= header.inline_len
            && u64::from(header.chunks) * CHUNK_REF as u64 <= u64::from(header.meta_len);
        honest.then_some(header)
    }

    /// Octets the record takes in its segment, with what aligns the next one.
    pub(crate) fn span(&self) -> u64 {
        (HEADER as u64 + u64::from(self.meta_len) + u64::from(self.inline_len)).next_multiple_of(ALIGN)
    }
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    pub(crate) epoch: u64,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl ChunkRef {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { epoch: reader.u64()?, offset: reader.u32()?, len: reader.u32()? })
    }

    /// Octets the chunk takes in its segment.
    pub(crate) fn span(&self) -> u64 {
        (HEADER as u64 + u64::from(self.len)).next_multiple_of(ALIGN)
    }
}

/// Splits meta into chunk references and envelope.
pub(crate) fn decode_meta(meta: &[u8], chunks: u32) -> Option<(Vec<ChunkRef>, Envelope)> {
    let mut reader = Reader(meta);
    let mut refs = Vec::with_capacity(len(u64::from(chunks)).min(meta.len() / CHUNK_REF));
    for _ in 0..chunks {
        refs.push(ChunkRef::decode(&mut reader)?);
    }
    let envelope = decode_envelope(&mut reader)?;
    reader.0.is_empty().then_some((refs, envelope))
}

/// Appends the envelope's bytes; `None` if a part of it is longer than any address may be.
pub(crate) fn encode_envelope(envelope: &Envelope, out: &mut Vec<u8>) -> Option<()> {
    out.push(match envelope.body() {
        Body::SevenBit => 0,
        Body::EightBitMime => 1,
        Body::BinaryMime => 2,
    });
    out.push(u8::from(envelope.smtputf8() == Smtputf8::Needed));
    match envelope.sender() {
        ReversePath::Null => out.push(0),
        ReversePath::Mailbox(mailbox) => {
            out.push(1);
            encode_mailbox(mailbox, out)?;
        }
    }
    out.extend_from_slice(&u32::try_from(envelope.recipients().len()).ok()?.to_le_bytes());
    for recipient in envelope.recipients() {
        encode_mailbox(&recipient.mailbox, out)?;
        out.push(u8::from(recipient.original.is_some()));
        if let Some(original) = &recipient.original {
            encode_mailbox(original, out)?;
        }
    }
    Some(())
}

fn encode_mailbox(mailbox: &Mailbox, out: &mut Vec<u8>) -> Option<()> {
    encode_text(mailbox.local(), out)?;
    match mailbox.domain() {
        Domain::Name(name) => encode_text(name, out),
        literal @ Domain::Literal(_) => encode_text(&literal.to_string(), out),
    }
}

/// Appends a text with its length.
pub(crate) fn encode_text(text: &str, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&u16::try_from(text.len()).ok()?.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Some(())
}

/// Reads a text with its length.
pub(crate) fn decode_text<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = reader.u16()?;
    std::str::from_utf8(reader.take(usize::from(length))?).ok()
}

fn decode_envelope(reader: &mut Reader<'_>) -> Option<Envelope> {
    let body = match reader.u8()? {
        0 => Body::SevenBit,
        1 => Body::EightBitMime,
        2 => Body::BinaryMime,
        _ => return None,
    };
    let smtputf8 = if reader.u8()? == 0 { Smtputf8::NotNeeded } else { Smtputf8::Needed };
    let sender = match reader.u8()? {
        0 => ReversePath::Null,
        _ => ReversePath::Mailbox(decode_mailbox(reader)?),
    };
    let count = len(u64::from(reader.u32()?));
    // A recipient takes at least five octets, so the count is no licence to allocate.
    let mut recipients = Vec::with_capacity(count.min(reader.0.len() / 5));
    for _ in 0..count {
        let mailbox = decode_mailbox(reader)?;
        let original = if reader.u8()? == 0 { None } else { Some(decode_mailbox(reader)?) };
        recipients.push(Recipient { mailbox, original });
    }
    Envelope::new(sender, recipients).map(|envelope| envelope.with_content(body, smtputf8))
}

fn decode_mailbox(reader: &mut Reader<'_>) -> Option<Mailbox> {
    let local = decode_text(reader)?;
    let domain = decode_text(reader)?;
    Mailbox::new(local, Domain::parse(domain).ok()?).ok()
}

/// Decodes hostile bytes as a segment file, then as a state file: for a fuzz target. Gives the records
/// and entries that were found. Never panics; memory stays within a few times the input.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    let Some(header) = SegmentHeader::decode(bytes.get(..len(BLOCK)).unwrap_or(bytes)) else { return 0 };
    let mut found = 0;
    let end = header.capacity.min(bytes.len() as u64);
    let counted = crate::scan::scan(&bytes, header.epoch, header.nonce, end, |record| {
        let from = len(record.offset) + HEADER;
        let meta = bytes.get(from..from.saturating_add(len(u64::from(record.header.meta_len))));
        if meta.and_then(|meta| decode_meta(meta, record.header.chunks)).is_some() {
            found += 1;
        }
    });
    let entries = crate::state::decode_all(bytes, header.nonce).count();
    found + entries + counted.map_or(0, |gaps| gaps.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = Header> {
        let numbers = (any::<[u32; 8]>(), any::<[u64; 3]>(), any::<u128>(), any::<bool>());
        numbers.prop_map(|(small, large, id, message)| Header {
            kind: if message { Kind::Message } else { Kind::Chunk },
            epoch: large[0],
            id: SpoolId::from_bits(id),
            batch: small[0],
            meta_len: small[1],
            inline_len: small[2],
            head_len: small[3] % small[2].max(1),
            file_len: large[1],
            size: large[2],
            accepted: UnixTime(large[1] ^ large[2]),
            content_crc: small[4],
            meta_crc: small[5],
            inline_crc: small[6],
            recipients: small[7],
            chunks: small[1] / 16,
        })
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let mailbox = || {
            let domain =
                "([a-z0-9]{1,9}(\\.[a-z]{2,5}){1,2}|\\[192\\.0\\.2\\.[1-9]\\]|\\[IPv6:2001:db8::1\\])";
            ("[a-zA-Z0-9 \"\\\\.é]{1,20}", domain)
                .prop_map(|(local, domain)| Mailbox::new(&local, Domain::parse(&domain).unwrap()).unwrap())
        };
        let recipient = (mailbox(), proptest::option::of(mailbox()));
        let recipients = proptest::collection::vec(recipient, 1..9);
        (proptest::option::of(mailbox()), recipients, 0..3usize, any::<bool>()).prop_map(
            |(sender, recipients, body, utf8)| {
                let sender = sender.map_or(ReversePath::Null, ReversePath::Mailbox);
                let recipients = recipients.into_iter();
                let recipients = recipients.map(|(mailbox, original)| Recipient { mailbox, original });
                let body = [Body::SevenBit, Body::EightBitMime, Body::BinaryMime][body];
                let utf8 = if utf8 { Smtputf8::Needed } else { Smtputf8::NotNeeded };
                Envelope::new(sender, recipients.collect()).unwrap().with_content(body, utf8)
            },
        )
    }

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(header in header(), nonce in any::<u64>(), bit in 0..768usize) {
            let mut bytes = header.encode(nonce);
            prop_assert_eq!(Header::decode(&bytes, header.epoch, nonce), Some(header.clone()));
            prop_assert_eq!(Header::decode(&bytes, header.epoch, nonce ^ 1), None);
            // Octets 5 to 7 are zero by the format and under the checksum too.
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::decode(&bytes, header.epoch, nonce), None);
        }

        #[test]
        fn envelopes_come_back_as_they_were(envelope in envelope(), cut in any::<proptest::sample::Index>()) {
            let mut bytes = Vec::new();
            let chunk = ChunkRef { epoch: 7, offset: 64, len: 65_536 };
            chunk.encode(&mut bytes);
            encode_envelope(&envelope, &mut bytes).unwrap();
            prop_assert_eq!(decode_meta(&bytes, 1), Some((vec![chunk], envelope)));
            prop_assert_eq!(decode_meta(&bytes[..cut.index(bytes.len())], 1), None);
        }

        #[test]
        fn hostile_bytes_are_only_bytes(
            mut bytes in proptest::collection::vec(any::<u8>(), 4096..9000), header in header(), at in 64..130usize,
        ) {
            let segment = SegmentHeader { epoch: header.epoch.max(1), nonce: 5, capacity: u64::MAX };
            bytes[..4096].copy_from_slice(&segment.encode());
            let header = Header { epoch: segment.epoch, ..header };
            let at = (at * 64).min(bytes.len() - 96);
            bytes[at..at + 96].copy_from_slice(&header.encode(5));
            fuzz_decode(&bytes);
        }
    }

    #[test]
    fn a_segment_header_survives_one_bad_sector() {
        let header = SegmentHeader { epoch: 3, nonce: 9, capacity: 1 << 20 };
        for bad in 0..8 {
            let mut block = header.encode();
            block[bad * 512..][..512].fill(0xaa);
            assert_eq!(SegmentHeader::decode(&block), Some(header));
        }
        assert_eq!(SegmentHeader::decode(&header.encode()[..512]), Some(header), "a file cut short");
        let mut block = header.encode();
        block[0] ^= 1;
        block[2048] ^= 1;
        assert_eq!(SegmentHeader::decode(&block), None);
    }
}
