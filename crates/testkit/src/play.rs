//! Plays a dialogue against a session in memory, at any cut of the input.
//!
//! RFC 2920 §3.2 and RFC 5321 §4.1.1.4: how the bytes are cut must change neither the replies nor
//! what is stored. Fails with a [`Mismatch`] that names file, line and cut.

use crate::dialogue::{Act, Dialogue, Expected, Step};
use crate::escape::show;
use crate::host::{Host, Link};
use crate::options;
use core::fmt;
use postroad_proto::reply::{Reply, ReplyId};

/// How the client's writes reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// Each write at once.
    AsWritten,
    /// The write of this index (from 0) in two pieces, cut at this octet.
    Once {
        /// Which write.
        write: usize,
        /// Where.
        at: usize,
    },
    /// Octet by octet.
    EachOctet,
    /// In pieces of random length; the number is the seed.
    Random(u64),
    /// All writes of the dialogue in one.
    Whole,
}

impl Cut {
    /// The pieces of a write.
    pub fn pieces(self, write: usize, bytes: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Once { write: this, at } if this == write => {
                bytes.split_at_checked(at).map_or(vec![bytes], |(a, b)| vec![a, b])
            }
            Self::AsWritten | Self::Whole | Self::Once { .. } => vec![bytes],
            Self::EachOctet => bytes.chunks(1).collect(),
            Self::Random(seed) => {
                let mut dice = Dice(seed ^ (write as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
                let mut pieces = Vec::new();
                let mut rest = bytes;
                while !rest.is_empty() {
                    // Short pieces mostly, so that line ends are cut often.
                    let longest = if dice.roll(4) == 0 { 600 } else { 12 };
                    let length = 1 + dice.roll(longest).min(rest.len() - 1);
                    let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    pieces.push(piece);
                    rest = after;
                }
                pieces
            }
        }
    }
}

/// `SplitMix64`: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (sides.max(1) as u64)).unwrap_or(0)
    }
}

/// A dialogue did not go as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatch {
    /// The dialogue's file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// How the input was cut.
    pub cut: Cut,
    /// What was expected, and what came.
    pub what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({:?}): {}", self.file, self.line, self.cut, self.what)
    }
}

impl core::error::Error for Mismatch {}

/// Plays the dialogue; gives the names of the replies that were said and expected.
pub fn play(dialogue: &Dialogue, cut: Cut) -> Result<Vec<ReplyId>, Mismatch> {
    let wrong = |line, what| Mismatch { file: dialogue.file.clone(), line, cut, what };
    let offer = options::offer(dialogue).map_err(|fault| wrong(fault.line, fault.what))?;
    let mut player = Player { host: Host::new(offer, &dialogue.rules), cut, writes: 0, heard: Vec::new() };
    if cut == Cut::Whole {
        if !dialogue.is_only_bytes() {
            return Err(wrong(1, "more than bytes pass, so it cannot be played in one write".into()));
        }
        let all: Vec<u8> = dialogue.writes().flatten().copied().collect();
        player.host.feed(&all);
    }
    for step in &dialogue.steps {
        player.step(step).map_err(|what| wrong(step.line, what))?;
    }
    let last = dialogue.steps.last().map_or(1, |step| step.line);
    let closes = dialogue.steps.iter().any(|step| step.act == Act::Closed);
    player.nothing_more().map_err(|what| wrong(last, what))?;
    if !closes && player.host.link() == Link::Closed {
        return Err(wrong(last, "the server has closed the connection".into()));
    }
    compare_stored(dialogue, &player.host).map_err(|(line, what)| wrong(line, what))?;
    Ok(player.heard)
}

struct Player {
    host: Host,
    cut: Cut,
    writes: usize,
    heard: Vec<ReplyId>,
}

impl Player {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.act {
            Act::Expect(expected) => {
                let reply =
                    self.host.next_reply().ok_or_else(|| format!("expected {expected}\nbut nothing came"))?;
                self.heard.push(reply.id());
                matches(expected, &wire(&reply), self.host.stored().len())?;
            }
            // All was written before the first step.
            Act::Write(_) if self.cut == Cut::Whole => {}
            Act::Write(bytes) => {
                self.nothing_more()?;
                if self.host.link() != Link::Open {
                    return Err("the server has closed the connection, or waits for TLS".into());
                }
                for piece in self.cut.pieces(self.writes, bytes) {
                    self.host.feed(piece);
                }
                self.writes += 1;
            }
            Act::Wait(span) => {
                self.nothing_more()?;
                self.host.wait(*span);
            }
            Act::TlsDone => {
                self.nothing_more()?;
                self.host.finish_handshake();
            }
            Act::Shutdown => {
                self.nothing_more()?;
                self.host.shut_down();
            }
            Act::Closed => {
                self.nothing_more()?;
                if self.host.link() != Link::Closed {
                    return Err("the server has not closed the connection".into());
                }
            }
        }
        self.host.complaint().map_or(Ok(()), |complaint| Err(complaint.into()))
    }

    fn nothing_more(&mut self) -> Result<(), String> {
        match self.host.next_reply() {
            Some(reply) => Err(format!("the server said more: {}", wire(&reply).join("\n   "))),
            None => Ok(()),
        }
    }
}

/// The lines of a reply as they go over the wire, without CRLF.
fn wire(reply: &Reply) -> Vec<String> {
    let mut bytes = Vec::new();
    reply.write_to(&mut bytes);
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// Compares a reply with what was expected.
pub(crate) fn compare(expected: &Expected, lines: &[String]) -> Result<(), String> {
    let matches = match expected {
        Expected::Exactly(wanted) => {
            wanted.len() == lines.len() && wanted.iter().zip(lines).all(|(want, line)| is_line(want, line))
        }
        Expected::Containing(codes, part) => {
            let begins = |line: &str| {
                // The separator after the code may be a hyphen; the codes are compared without it.
                let mut line = line.to_owned();
                if line.as_bytes().get(3) == Some(&b'-') {
                    line.replace_range(3..4, " ");
                }
                line == *codes || line.starts_with(&format!("{codes} "))
            };
            lines.iter().all(|line| begins(line)) && lines.join("\n").contains(part.as_str())
        }
    };
    if matches { Ok(()) } else { Err(format!("expected {expected}\n but came {}", lines.join("\n   "))) }
}

/// Compares in memory, where the queue id is known: the last message stored.
fn matches(expected: &Expected, lines: &[String], stored: usize) -> Result<(), String> {
    compare(expected, lines)?;
    let names_id = matches!(expected, Expected::Exactly(wanted) if wanted.iter().any(|w| w.contains("{id}")));
    // All replies of a pipelined group may be read after the last message of it was stored.
    let known =
        (1..=stored).any(|n| lines.iter().any(|line| line.split(' ').any(|word| word == format!("Q{n}"))));
    if names_id && !known { Err(format!("no queue id is named: {}", lines.join("\n   "))) } else { Ok(()) }
}

/// Compares a line; `{id}` stands for one word.
fn is_line(want: &str, line: &str) -> bool {
    match want.split_once("{id}") {
        None => want == line,
        Some((before, after)) => {
            let word = line.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            word.is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()))
        }
    }
}

fn compare_stored(dialogue: &Dialogue, host: &Host) -> Result<(), (usize, String)> {
    for (at, stored) in host.stored().iter().enumerate() {
        let Some(message) = dialogue.stored.get(at) else {
            return Err((1, format!("a message was stored that no M: line tells of: {}", stored.summary())));
        };
        if message.envelope != stored.summary() {
            return Err((message.line, format!("stored with {}", stored.summary())));
        }
        if message.content.as_ref().is_some_and(|content| *content != stored.content) {
            let wanted = message.content.as_deref().unwrap_or_default();
            return Err((message.line, difference(wanted, &stored.content)));
        }
    }
    match dialogue.stored.get(host.stored().len()) {
        Some(message) => Err((message.line, "this message was not stored".into())),
        None => Ok(()),
    }
}

/// Where two contents part, and what stands around it in each.
fn difference(wanted: &[u8], stored: &[u8]) -> String {
    let same = wanted.iter().zip(stored).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let from = same.saturating_sub(20);
        show(bytes.get(from..bytes.len().min(same + 40)).unwrap_or_default())
    };
    format!(
        "the stored content of {} octets differs from the {} expected at octet {same}:\nexpected {}\n  stored {}",
        stored.len(),
        wanted.len(),
        around(wanted),
        around(stored)
    )
}
