//! What one session, or one round of deliveries, has to tell, as it goes.
//!
//! Holds no memory while there is nothing to tell. A [`Chunk`] is what was told since the last; it names its
//! session, so that it stands alone and reading puts the chunks of one session together. Secrets and
//! content do not get in: the argument of AUTH is left out, and so is, after AUTH and after DATA, every line
//! that is not clearly a command (RFC 4954 §4, RFC 5321 §4.1.1.4). A client that does not double dots sends the
//! rest of its message after its end, so that this holds after a message too, until the next command. Never fails; what is too much is counted.

use crate::event::{Event, Events, Kept, decode, encode};
use crate::reference::Reference;
use crate::wire::{Field, Text, cut, take_array};
use postroad_proto::reply::Reply;
use postroad_proto::time::{Tick, UnixTime};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

/// Octets of events a session may tell between two messages.
const BUDGET: usize = 256 * 1024;
/// Octets from which on a chunk is to be handed over.
const DUE: usize = 8 * 1024;
/// Octets of a command line that are kept (RFC 5321 §4.5.3.1.4).
const MAX_LINE: usize = 512;
/// Octets of earlier commands that go into the next chunk of a transaction.
const MAX_CARRIED: usize = 4 * 1024;
/// What a chunk takes for most messages.
const USUAL: usize = 768;
/// What the beginning of a session takes, which is all that an idle one has to tell.
const BEGINNING: usize = 256;
/// The first octet of each chunk.
const VERSION: u8 = 1;
/// Words that begin a command; other lines may be anything.
const VERBS: [&str; 16] = [
    "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP",
    "ETRN", "STARTTLS", "AUTH",
];

/// Where a record comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A session of a peer.
    Session {
        /// Its address; none on a local socket.
        peer: Option<SocketAddr>,
        /// The listener's name in the configuration.
        listener: Arc<str>,
    },
    /// Attempts to deliver.
    Delivery,
}

/// What has happened since the last chunk.
#[derive(Clone, Debug)]
pub struct SessionLog {
    reference: Reference,
    started: UnixTime,
    began: Tick,
    origin: Origin,
    /// A chunk in the making; empty when nothing is to tell.
    octets: Vec<u8>,
    /// Where the first command of the transaction at hand stands in it.
    transaction: Option<usize>,
    /// Commands of the transaction that stand in earlier chunks, as events.
    carried: Vec<u8>,
    spent: usize,
    dropped: u64,
    last_ms: u64,
    /// What comes may be a password or content, unless it is a command.
    guarded: bool,
    /// The last line was left out.
    withheld: bool,
}

impl SessionLog {
    /// A session that began at `began`, which was `started` by the wall clock. `reference` is its own name.
    pub fn new(reference: Reference, started: UnixTime, began: Tick, origin: Origin) -> Self {
        Self {
            reference,
            started,
            began,
            origin,
            octets: Vec::new(),
            transaction: None,
            carried: Vec::new(),
            spent: 0,
            dropped: 0,
            last_ms: 0,
            guarded: false,
            withheld: false,
        }
    }

    /// The session's own name.
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// Tells a line that came where a command belongs, without its end. Masks by itself what may be secret.
    pub fn command(&mut self, now: Tick, line: &[u8]) {
        let octets = line.len() as u64;
        let verb = verb(line).filter(|verb| !self.guarded || is_command(verb, line));
        self.withheld = verb.is_none() && self.guarded;
        let (line, kept) = match verb {
            Some("AUTH") => (mechanism(line), Kept::Masked),
            None if self.guarded => (&[][..], Kept::Withheld),
            Some(_) | None => match line.get(..MAX_LINE) {
                Some(start) if line.len() > MAX_LINE => (start, Kept::Cut),
                _ => (line, Kept::Whole),
            },
        };
        if let Some(verb) = verb {
            self.guarded = matches!(verb, "AUTH" | "DATA" | "BDAT");
            if matches!(verb, "MAIL" | "RSET" | "EHLO" | "HELO" | "LHLO" | "STARTTLS") {
                self.transaction = None;
                self.carried = Vec::new();
            }
        }
        let at = self.put(now, &Event::Command { line: escaped(line), kept, octets });
        if verb == Some("MAIL") {
            self.transaction = at;
        }
    }

    /// Tells that something came that may be secret, such as the answer to a challenge of AUTH.
    pub fn secret(&mut self, now: Tick, octets: usize) {
        let octets = octets as u64;
        self.record(now, &Event::Command { line: Cow::Borrowed(""), kept: Kept::Withheld, octets });
    }

    /// Tells what we said; `reference` is what stood at its end. Of the answer to a line that was left out the
    /// catalogue's text stands for the true one, which may quote the line.
    pub fn reply(&mut self, now: Tick, reply: &Reply, reference: Option<Reference>) {
        let id = reply.id();
        self.record(
            now,
            &Event::Reply {
                name: Cow::Borrowed(id.name()),
                code: reply.code(),
                enhanced: reply.enhanced(),
                text: if self.withheld || reply.text() == id.text() {
                    None
                } else {
                    Some(Cow::Borrowed(reply.text()))
                },
                reference,
            },
        );
    }

    /// Tells what else happened. A message, and the end, are told even where there was too much before.
    pub fn record(&mut self, now: Tick, event: &Event<'_>) {
        self.put(now, event);
    }

    /// Writes an event, and says where it stands if it was not dropped.
    fn put(&mut self, now: Tick, event: &Event<'_>) -> Option<usize> {
        let (message, end) = (matches!(event, Event::Message { .. }), matches!(event, Event::Closed { .. }));
        if self.spent > BUDGET && !message && !end {
            self.dropped += 1;
            return None;
        }
        let ms = u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX);
        if self.octets.is_empty() {
            self.begin();
        }
        let before = self.octets.len();
        if self.dropped > 0 && (message || end) {
            encode(ms, &Event::Dropped { events: std::mem::take(&mut self.dropped) }, &mut self.octets);
        }
        let at = self.octets.len();
        encode(ms, event, &mut self.octets);
        self.last_ms = ms;
        self.spent += self.octets.len() - before;
        if message {
            self.spent = 0;
            self.transaction = None;
            self.carried = Vec::new();
        }
        Some(at)
    }

    /// Whether enough has been told to hand it over.
    pub fn is_due(&self) -> bool {
        self.octets.len() > DUE
    }

    /// What was told since the last time; nothing if nothing was. Take it after each refusal, each message,
    /// at the end, and when it [is due](Self::is_due).
    pub fn take(&mut self) -> Option<Chunk> {
        if self.octets.is_empty() {
            return None;
        }
        let mut octets = std::mem::take(&mut self.octets);
        if let Some(start) = self.transaction {
            let room = MAX_CARRIED.saturating_sub(self.carried.len());
            carry(octets.get(start..).unwrap_or_default(), room, &mut self.carried);
            self.transaction = Some(0);
        }
        if let Some(place) = octets.first_chunk_mut::<5>() {
            let last = u32::try_from(self.last_ms).unwrap_or(u32::MAX).to_le_bytes();
            let [_, places @ ..] = place;
            *places = last;
        }
        Some(Chunk(octets))
    }

    /// Begins a chunk: version, time of the last event (written by `take`), and the header.
    fn begin(&mut self) {
        let out = &mut self.octets;
        out.reserve(if self.last_ms == 0 { BEGINNING } else { USUAL });
        out.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
        self.reference.put(out);
        self.started.0.put(out);
        match &self.origin {
            Origin::Session { peer, listener } => {
                out.push(0);
                peer.put(out);
                Text::Borrowed(listener).put(out);
            }
            Origin::Delivery => out.push(1),
        }
        out.extend_from_slice(&self.carried);
        if self.transaction.is_some() {
            // What follows belongs to the transaction; what came before was carried.
            self.transaction = Some(out.len());
        }
    }
}

/// What a session told, ready for [`Ledger::submit`](crate::Ledger::submit).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk(Vec<u8>);

impl Chunk {
    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// What it tells, with the milliseconds since the session began.
    pub fn events(&self) -> Events<'_> {
        Header::parse(&self.0).map_or_else(|| decode(&[]), |(_, events)| events)
    }
}

/// The header of a chunk, and where its events are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) reference: Reference,
    pub(crate) started: UnixTime,
    /// Milliseconds from `started` to the last event.
    pub(crate) last_ms: u64,
    pub(crate) origin: Source<'a>,
}

/// As [`Origin`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    Session { peer: Option<SocketAddr>, listener: &'a str },
    Delivery,
}

impl Source<'_> {
    /// The same with nothing borrowed.
    pub(crate) fn to_owned(self) -> Origin {
        match self {
            Self::Session { peer, listener } => Origin::Session { peer, listener: listener.into() },
            Self::Delivery => Origin::Delivery,
        }
    }
}

impl<'a> Header<'a> {
    /// Takes a chunk apart; nothing if it is none.
    pub(crate) fn parse(chunk: &'a [u8]) -> Option<(Self, Events<'a>)> {
        let mut from = chunk;
        let [version, last @ ..] = take_array::<5>(&mut from)?;
        if version != VERSION {
            return None;
        }
        let reference = Reference::take(&mut from)?;
        let started = UnixTime(u64::take(&mut from)?);
        let origin = match u8::take(&mut from)? {
            0 => {
                let peer = <Option<SocketAddr> as Field>::take(&mut from)?;
                let Text::Borrowed(listener) = Text::take(&mut from)? else { return None };
                Source::Session { peer, listener }
            }
            1 => Source::Delivery,
            _ => return None,
        };
        let last_ms = u64::from(u32::from_le_bytes(last));
        Some((Self { reference, started, last_ms, origin }, decode(from)))
    }
}

/// The verb of a line, if it begins with a known one.
pub(crate) fn verb(line: &[u8]) -> Option<&'static str> {
    let line = line.trim_ascii_start();
    VERBS.into_iter().find(|verb| {
        let Some((word, rest)) = line.split_at_checked(verb.len()) else { return false };
        word.eq_ignore_ascii_case(verb.as_bytes()) && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// Whether a line that begins with this verb can only be the command: where content or a password may come, a line
/// may begin with the word all the same, as in "Help me".
fn is_command(verb: &str, line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let rest = line.get(verb.len()..).unwrap_or_default();
    match verb {
        "AUTH" => true,
        "EHLO" | "HELO" | "LHLO" => !rest.trim_ascii().contains(&b' '),
        "MAIL" | "RCPT" => [b':', b'<', b'>'].iter().all(|mark| rest.contains(mark)),
        "BDAT" => rest.trim_ascii().first().is_some_and(u8::is_ascii_digit),
        _ => rest.is_empty(),
    }
}

/// Of an AUTH command what is no secret: the verb and the mechanism.
fn mechanism(line: &[u8]) -> &[u8] {
    let is_blank = |b: &u8| b.is_ascii_whitespace();
    let start = line.len() - line.trim_ascii_start().len();
    let verb_end = line.iter().skip(start).position(is_blank).map_or(line.len(), |at| at + start);
    let name_start =
        line.iter().skip(verb_end).position(|b| !is_blank(b)).map_or(line.len(), |at| at + verb_end);
    let name_end = line.iter().skip(name_start).position(is_blank).map_or(line.len(), |at| at + name_start);
    // A mechanism's name has at most 20 letters (RFC 4422 §3.1); anything longer may be a secret in its place.
    if name_end - name_start > 20 { line.get(..verb_end) } else { line.get(..name_end) }.unwrap_or_default()
}

/// The line as text: control octets and what is not UTF-8 as `\x1b`, a backslash doubled.
fn escaped(line: &[u8]) -> Cow<'_, str> {
    let plain = |b: &u8| (b' '..=b'~').contains(b) && *b != b'\\';
    if let Ok(text) = std::str::from_utf8(line)
        && line.iter().all(plain)
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(line.len() * 2);
    for part in line.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '\\' => shown.push_str("\\\\"),
                c if c.is_control() => {
                    for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                        push_hex(&mut shown, octet);
                    }
                }
                c => shown.push(c),
            }
        }
        part.invalid().iter().for_each(|b| push_hex(&mut shown, *b));
    }
    Cow::Owned(shown)
}

fn push_hex(text: &mut String, octet: u8) {
    text.push_str("\\x");
    for half in [octet >> 4, octet & 15] {
        text.push(char::from_digit(u32::from(half), 16).unwrap_or('?'));
    }
}

/// Appends MAIL, and each RCPT that was accepted, so that they are known in the next chunk.
fn carry(events: &[u8], room: usize, out: &mut Vec<u8>) {
    let limit = out.len() + room;
    let mut recipient = None;
    for (ms, event) in decode(events) {
        if let Event::Command { line, .. } = event {
            recipient = None;
            match verb(line.as_bytes()) {
                Some("MAIL") => put_carried(ms, &line, limit, out),
                Some("RCPT") => recipient = Some(line),
                _ => {}
            }
        } else if let Event::Reply { code, .. } = event
            && let Some(line) = recipient.take()
            && code < 300
        {
            put_carried(ms, &line, limit, out);
        }
    }
}

fn put_carried(ms: u64, line: &str, limit: usize, out: &mut Vec<u8>) {
    let before = out.len();
    encode(ms, &Event::Carried { line: Cow::Borrowed(cut(line, MAX_LINE)) }, out);
    if out.len() > limit {
        out.truncate(before);
    }
}
