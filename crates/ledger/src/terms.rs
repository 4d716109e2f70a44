//! What a block can be searched for, and a filter that says which blocks need not be read.
//!
//! A term is a kind and a value: an address in lower case, its domain, an IP address, a message-id, a queue
//! id, the code, enhanced code and reference of a refusal. Only its hash is kept. The hash and the filter lie on disk, so that
//! they may not change without a new schema.

use crate::event::Event;
use crate::reference::Reference;
use crate::session::{Header, Source, verb};
use crate::wire::take_octets;
use postroad_proto::reply::EnhancedCode;
use postroad_proto::time::UnixTime;
use std::borrow::Cow;
use std::net::IpAddr;

/// Bits of the filter for each term, and how many of them a term sets: one block in a hundred is read in vain.
const BITS_PER_TERM: usize = 10;
const PROBES: u32 = 5;
/// Slots of the memory for terms seen of late.
const RECENT: usize = 1024;

/// A term by which a block is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Term<'a> {
    /// Whole, as it was written.
    Address(&'a str),
    /// Of an address, without the `@`.
    Domain(&'a str),
    Ip(IpAddr),
    /// Without angle brackets.
    MessageId(&'a str),
    QueueId(&'a str),
    Code(u16),
    Enhanced(EnhancedCode),
    Reference(Reference),
}

impl Term<'_> {
    /// The hash of the term; the same for ever.
    pub(crate) fn hash(self) -> u64 {
        match self {
            Self::Address(text) => hash_folded(1, text),
            Self::Domain(text) => hash_folded(2, text),
            Self::Ip(IpAddr::V4(ip)) => hash(3, &ip.octets()),
            Self::Ip(IpAddr::V6(ip)) => hash(3, &ip.octets()),
            Self::MessageId(text) => hash(4, text.as_bytes()),
            Self::QueueId(text) => hash(5, text.as_bytes()),
            Self::Code(code) => hash(6, &code.to_le_bytes()),
            Self::Enhanced(code) => {
                let [a, b] = code.subject().to_le_bytes();
                let [c, d] = code.detail().to_le_bytes();
                hash(7, &[code.class() as u8, a, b, c, d])
            }
            Self::Reference(reference) => hash(8, &reference.bits().to_le_bytes()),
        }
    }
}

/// Addresses are one whichever case they are written in: nobody has Bob and bob, and who searches rarely knows.
fn hash_folded(kind: u64, text: &str) -> u64 {
    if text.is_ascii() {
        hash_by(kind, text.as_bytes(), |octet| octet.to_ascii_lowercase())
    } else {
        hash(kind, text.to_lowercase().as_bytes())
    }
}

fn hash(kind: u64, octets: &[u8]) -> u64 {
    hash_by(kind, octets, |octet| octet)
}

fn hash_by(kind: u64, octets: &[u8], fold: impl Fn(u8) -> u8) -> u64 {
    let mut state = stir(kind ^ (octets.len() as u64).rotate_left(32));
    let (words, rest) = octets.as_chunks::<8>();
    for word in words {
        state = stir(state ^ u64::from_le_bytes(word.map(&fold)));
    }
    let last = rest.iter().rev().fold(0, |word, octet| (word << 8) | u64::from(fold(*octet)));
    stir(state ^ last)
}

/// The two halves of a 128-bit product, folded: every bit of the input reaches every bit of the output.
fn stir(word: u64) -> u64 {
    let product = u128::from(word ^ 0x2D35_8DCC_AA6C_78A5) * 0x8BB8_4B93_962E_ACC9;
    let half = |part: u128| u64::try_from(part & u128::from(u64::MAX)).unwrap_or(0);
    half(product) ^ half(product >> 64)
}

/// A Bloom filter over hashes.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Vec<u8>);

impl Filter {
    /// The filter of these terms.
    pub(crate) fn of(hashes: &[u64]) -> Self {
        let mut octets = vec![0u8; (hashes.len() * BITS_PER_TERM).div_ceil(8).max(8)];
        for hash in hashes {
            for (at, bit) in probes(*hash, octets.len()) {
                if let Some(octet) = octets.get_mut(at) {
                    *octet |= bit;
                }
            }
        }
        Self(octets)
    }

    /// Its octets.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// Whether the term may be there; if not, it surely is not.
pub(crate) fn may_hold(filter: &[u8], hash: u64) -> bool {
    probes(hash, filter.len()).all(|(at, bit)| filter.get(at).is_some_and(|octet| octet & bit != 0))
}

/// Octet and bit of each probe.
fn probes(hash: u64, length: usize) -> impl Iterator<Item = (usize, u8)> {
    let bits = (length as u64).saturating_mul(8).min(u64::from(u32::MAX));
    let (start, step) = (hash & 0xFFFF_FFFF, (hash >> 32) | 1);
    (0..PROBES).map(move |probe| {
        let point = start.wrapping_add(step.wrapping_mul(u64::from(probe))) & 0xFFFF_FFFF;
        let bit = (point * bits) >> 32;
        (usize::try_from(bit / 8).unwrap_or(usize::MAX), 1 << (bit % 8))
    })
}

/// Gathers the terms of a block.
#[derive(Debug)]
pub(crate) struct Terms {
    hashes: Vec<u64>,
    /// Hashes seen of late, by their low bits: most repetitions end here.
    recent: Vec<u64>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { hashes: Vec::new(), recent: vec![0; RECENT] }
    }
}

/// What a run of chunks spans.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) first: UnixTime,
    pub(crate) last: UnixTime,
    pub(crate) chunks: u64,
}

impl Terms {
    /// Gathers the terms of the chunks at the front, up to `limit` octets, but of one chunk at least.
    /// Gives the octets these take, and what they span.
    pub(crate) fn gather(&mut self, framed: &[u8], limit: usize) -> (usize, Span) {
        self.hashes.clear();
        self.recent.fill(0);
        let mut span = Span { first: UnixTime(u64::MAX), ..Span::default() };
        let mut rest = framed;
        while let Some(chunk) = next_chunk(&mut rest) {
            if let Some((header, _)) = Header::parse(chunk) {
                span.first = span.first.min(header.started);
                span.last = span.last.max(UnixTime(header.started.0.saturating_add(header.last_ms)));
            }
            span.chunks += 1;
            chunk_terms(chunk, &mut |term| self.add(term.hash()));
            if framed.len() - rest.len() >= limit {
                break;
            }
        }
        span.first = span.first.min(span.last);
        (framed.len() - rest.len(), span)
    }

    /// The hashes of the terms, most of them once.
    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    fn add(&mut self, hash: u64) {
        let at = usize::try_from(hash % RECENT as u64).unwrap_or(0);
        if let Some(slot) = self.recent.get_mut(at)
            && *slot != hash
        {
            *slot = hash;
            self.hashes.push(hash);
        }
    }
}

/// Takes the next chunk off a run of chunks with their lengths before them.
pub(crate) fn next_chunk<'a>(framed: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *framed;
    let (length, after) = rest.split_first_chunk::<4>()?;
    rest = after;
    let chunk = take_octets(&mut rest, usize::try_from(u32::from_le_bytes(*length)).ok()?);
    *framed = if chunk.is_some() { rest } else { &[] };
    chunk
}

/// All by which a chunk is to be found.
pub(crate) fn chunk_terms(chunk: &[u8], found: &mut dyn FnMut(Term<'_>)) {
    let Some((header, mut events)) = Header::parse(chunk) else { return };
    found(Term::Reference(header.reference));
    if let Source::Session { peer: Some(peer), .. } = header.origin {
        found(Term::Ip(peer.ip().to_canonical()));
    }
    while let Some(event) = events.next_of_interest() {
        match event {
            Event::Command { line, .. } | Event::Carried { line } => {
                if let Some((_, address)) = path(&line) {
                    found_address(&address, found);
                }
            }
            Event::Reply { code, enhanced, reference, .. } => {
                found(Term::Code(code));
                if let Some(code) = enhanced {
                    found(Term::Enhanced(code));
                }
                if let Some(reference) = reference {
                    found(Term::Reference(reference));
                }
            }
            Event::Message { queue_id, sender, recipients, message_id, .. } => {
                found(Term::QueueId(&queue_id));
                found_address(&sender, found);
                for recipient in &recipients {
                    found_address(recipient, found);
                }
                if let Some(id) = message_id {
                    found(Term::MessageId(bare_id(&id)));
                }
            }
            Event::Attempt { queue_id, recipient, sender, .. } => {
                found(Term::QueueId(&queue_id));
                found_address(&recipient, found);
                if let Some(sender) = sender {
                    found_address(&sender, found);
                }
            }
            Event::Opened { .. }
            | Event::Secured { .. }
            | Event::Finding { .. }
            | Event::NotRun { .. }
            | Event::Verdict { .. }
            | Event::Content { .. }
            | Event::Anomaly { .. }
            | Event::Stall { .. }
            | Event::Closed { .. }
            | Event::Dropped { .. }
            | Event::Unreadable { .. } => {}
        }
    }
}

fn found_address(address: &str, found: &mut dyn FnMut(Term<'_>)) {
    found(Term::Address(address));
    if let Some(domain) = domain(address) {
        found(Term::Domain(domain));
    }
}

/// The domain of an address.
pub(crate) fn domain(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

/// A message-id without its angle brackets.
pub(crate) fn bare_id(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(id)
}

/// `MAIL` or `RCPT`, and the address in the path, without a source route (RFC 5321 Appendix C). The line is as
/// [`Event::Command`] has it: a backslash stands there twice.
pub fn path(line: &str) -> Option<(&'static str, Cow<'_, str>)> {
    let verb = verb(line.as_bytes()).filter(|verb| matches!(*verb, "MAIL" | "RCPT"))?;
    let (_, rest) = line.split_once('<')?;
    let (mut quoted, mut escaped) = (false, false);
    let mut octets = rest.bytes().enumerate().peekable();
    let mut end = None;
    while let Some((at, octet)) = octets.next() {
        if octet == b'\\' && octets.next_if(|(_, next)| *next == b'\\').is_some() {
            // One backslash of the path: in a quoted string it takes the next octet with it (RFC 5321 §4.1.2).
            escaped = quoted && !escaped;
            continue;
        }
        match octet {
            b'"' if !escaped => quoted = !quoted,
            b'>' if !quoted => {
                end = Some(at);
                break;
            }
            _ => {}
        }
        escaped = false;
    }
    let inner = rest.get(..end?)?;
    let address = match inner.split_once(':') {
        Some((route, address)) if route.starts_with('@') => address,
        _ => inner,
    };
    Some((verb, if address.contains("\\\\") { address.replace("\\\\", "\\").into() } else { address.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_holds_all_that_went_in_and_little_else() {
        let name = |n: u32| format!("user{n}@example.org");
        let hashes: Vec<_> = (0..5000).map(|n| Term::Address(&name(n)).hash()).collect();
        let filter = Filter::of(&hashes);
        assert!(hashes.iter().all(|hash| may_hold(filter.octets(), *hash)));
        let wrong =
            (5000..15_000).filter(|n| may_hold(filter.octets(), Term::Address(&name(*n)).hash())).count();
        assert!(wrong < 200, "{wrong} of 10000");
        assert!(!may_hold(&[], hashes[0]));
    }

    #[test]
    fn a_hash_is_the_same_for_ever() {
        assert_eq!(Term::Address("Bob@Example.ORG").hash(), Term::Address("bob@example.org").hash());
        assert_eq!(Term::Address("J\u{dc}rgen@x").hash(), Term::Address("j\u{fc}rgen@x").hash());
        assert_ne!(Term::MessageId("a").hash(), Term::QueueId("a").hash());
        // These are on disk.
        assert_eq!(Term::Address("bob@example.org").hash(), 12_736_034_827_088_959_028);
        assert_eq!(Term::Code(550).hash(), 388_954_173_680_805_483);
    }

    #[test]
    fn paths_are_found_in_commands() {
        for (line, wanted) in [
            ("MAIL FROM:<a@b.example> SIZE=3", Some(("MAIL", "a@b.example"))),
            ("mail from: <>", Some(("MAIL", ""))),
            ("RCPT TO:<@x,@y:a@b.example>", Some(("RCPT", "a@b.example"))),
            ("RCPT TO:<\"x>y\"@b.example> NOTIFY=NEVER", Some(("RCPT", "\"x>y\"@b.example"))),
            ("RCPT TO:<Postmaster>", Some(("RCPT", "Postmaster"))),
            (r#"RCPT TO:<"a\\">b"@c.example>"#, Some(("RCPT", r#""a\">b"@c.example"#))),
            (r#"RCPT TO:<"a\\\\"@c.example> x"#, Some(("RCPT", r#""a\\"@c.example"#))),
            ("RCPT TO:<\"<img/src=x>\"@b.example>", Some(("RCPT", "\"<img/src=x>\"@b.example"))),
            ("RCPT TO:a@b.example", None),
            ("RCPT TO:<a@b.example", None),
            ("VRFY <a@b.example>", None),
        ] {
            let found = path(line);
            assert_eq!(found.as_ref().map(|(verb, path)| (*verb, path.as_ref())), wanted, "{line}");
        }
    }
}
