//! The parts of a message, found in one pass (RFC 2046 §5.1, RFC 2045 §6).
//!
//! Lenient, for bounces are often broken: a missing end boundary ends with the text, unknown encodings
//! are read as they are. At most [`DEPTH`] boundaries are open at once and [`PARTS`] parts are kept;
//! what is deeper belongs to the part around it.

use crate::reading::source::{Text, begins, trim};
use std::ops::Range;

/// How deep parts are followed.
const DEPTH: usize = 16;

/// The most parts that are kept.
const PARTS: usize = 256;

/// A field of a header, unfolded.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) value: Text,
}

/// A part that holds no other parts.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// In lower case, without parameters; `text/plain` where none is given.
    pub(crate) kind: String,
    /// How many messages enclose it.
    pub(crate) level: usize,
    /// Its content, decoded.
    pub(crate) body: Text,
}

/// A message: its header, and its parts in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<Field>,
    pub(crate) parts: Vec<Part>,
}

struct Open {
    boundary: Vec<u8>,
    level: usize,
}

/// What the header of a part says of it.
struct Nature {
    kind: String,
    boundary: Option<Vec<u8>>,
    encoding: String,
}

/// Reads a message.
pub(crate) fn read(input: &[u8], range: Range<usize>) -> Message {
    let text = Text::raw(input, range);
    let all = text.lines();
    let mut message = Message::default();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    let mut level = 0;
    // `at` grows with every round: each line is a header line once, a body line once.
    let mut header = true;
    while at < all.len() && message.parts.len() < PARTS {
        let mut nature = Nature { kind: "text/plain".into(), boundary: None, encoding: String::new() };
        if header {
            let (fields, next) = fields(&text, &all, at);
            nature = self::nature(&fields);
            at = next;
            if message.fields.is_empty() && message.parts.is_empty() && level == 0 && open.is_empty() {
                message.fields = fields;
            }
        }
        if let Some(boundary) = nature.boundary.take().filter(|_| open.len() < DEPTH) {
            open.push(Open { boundary, level });
            at = to_boundary(&text, &all, at, &mut open, &mut level).1;
            header = true;
            continue;
        }
        if matches!(nature.kind.as_str(), "message/rfc822" | "message/global") && level < DEPTH {
            level += 1;
            header = true;
            continue;
        }
        let start = at;
        let part_level = level;
        let (end, next) = to_boundary(&text, &all, at, &mut open, &mut level);
        at = next;
        header = true;
        let from = all.get(start).map_or(text.len(), |line| line.start);
        let to = if end > start { all.get(end - 1).map_or(text.len(), |line| line.end) } else { from };
        message.parts.push(Part {
            kind: nature.kind,
            level: part_level,
            body: decode(&text, from..to, &nature.encoding),
        });
        if open.is_empty() {
            break;
        }
    }
    message
}

/// Goes to the next boundary that opens a part: where what came before ends, and the line behind the boundary.
/// Behind a closing boundary stands nothing until the next part of an outer one.
fn to_boundary(
    text: &Text,
    all: &[Range<usize>],
    mut at: usize,
    open: &mut Vec<Open>,
    level: &mut usize,
) -> (usize, usize) {
    let mut end = None;
    while let Some(line) = all.get(at) {
        let bytes = text.slice(trim(text.bytes(), line.clone()));
        let found = bytes.strip_prefix(b"--").and_then(|rest| {
            let index = open.iter().rposition(|open| {
                rest.strip_prefix(open.boundary.as_slice())
                    .is_some_and(|tail| tail.is_empty() || tail == b"--")
            })?;
            Some((index, rest.len() > open.get(index).map_or(0, |open| open.boundary.len())))
        });
        if let Some((index, closes)) = found {
            *level = open.get(index).map_or(0, |open| open.level);
            open.truncate(if closes { index } else { index + 1 });
            let end = *end.get_or_insert(at);
            if !closes {
                return (end, at + 1);
            }
            if open.is_empty() {
                return (end, all.len());
            }
        }
        at += 1;
    }
    (end.unwrap_or(at), at)
}

/// The fields from a line on, and the line behind the empty one that ends them.
pub(crate) fn fields(text: &Text, all: &[Range<usize>], mut at: usize) -> (Vec<Field>, usize) {
    let mut found: Vec<Field> = Vec::new();
    while let Some(line) = all.get(at) {
        let bytes = text.slice(line.clone());
        if bytes.is_empty() {
            return (found, at + 1);
        }
        let folded = matches!(bytes.first(), Some(b' ' | b'\t'));
        if folded && let Some(last) = found.last_mut() {
            if let Some((_, place)) = text.octet(line.start) {
                last.value.push(b' ', place);
            }
            last.value.append(text, trim(text.bytes(), line.clone()));
        } else if let Some(colon) = name_end(bytes) {
            let value = trim(text.bytes(), line.start + colon + 1..line.end);
            let name = String::from_utf8_lossy(bytes.get(..colon).unwrap_or_default())
                .trim_end()
                .to_ascii_lowercase();
            found.push(Field { name, value: text.part(value) });
        } else if !begins(bytes, "From ") && !begins(bytes, ">From ") {
            // No header after all, or one that lost its empty line.
            return (found, at);
        }
        at += 1;
    }
    (found, at)
}

/// Where the name of a field ends (RFC 5322 §2.2).
pub(crate) fn name_end(line: &[u8]) -> Option<usize> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    let fits = !name.is_empty() && name.len() < 64 && name.iter().all(|byte| (33..=126).contains(byte));
    fits.then_some(colon)
}

fn nature(fields: &[Field]) -> Nature {
    let get = |name: &str| fields.iter().find(|field| field.name == name).map(|field| field.value.bytes());
    let content = get("content-type").unwrap_or(b"text/plain");
    let kind = content.split(|byte| *byte == b';').next().unwrap_or_default();
    let kind = String::from_utf8_lossy(kind).trim().to_ascii_lowercase();
    let boundary = if kind.starts_with("multipart/") { parameter(content, "boundary") } else { None };
    let encoding = get("content-transfer-encoding").unwrap_or_default();
    Nature { kind, boundary, encoding: String::from_utf8_lossy(encoding).trim().to_ascii_lowercase() }
}

fn parameter(value: &[u8], name: &str) -> Option<Vec<u8>> {
    let lower = value.to_ascii_lowercase();
    let key = format!("{name}=");
    let at = lower.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let rest = value.get(at..)?;
    let found = if let Some(quoted) = rest.strip_prefix(b"\"") {
        quoted.split(|byte| *byte == b'"').next()?
    } else {
        rest.split(|byte| *byte == b';' || byte.is_ascii_whitespace()).next()?
    };
    (!found.is_empty() && found.len() <= 200).then(|| found.to_vec())
}

fn decode(text: &Text, range: Range<usize>, encoding: &str) -> Text {
    match encoding {
        "base64" => base64(text, range),
        "quoted-printable" => quoted_printable(text, range),
        _ => text.part(range),
    }
}

fn base64(text: &Text, range: Range<usize>) -> Text {
    let mut out = Text::default();
    let (mut bits, mut have) = (0_u32, 0_u32);
    for index in range {
        let Some((byte, at)) = text.octet(index) else { break };
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push(u8::try_from((bits >> have) & 0xFF).unwrap_or(b'?'), at);
            bits &= (1 << have) - 1;
        }
    }
    out
}

pub(crate) fn quoted_printable(text: &Text, range: Range<usize>) -> Text {
    let mut out = Text::default();
    let mut index = range.start;
    while index < range.end {
        let Some((byte, at)) = text.octet(index) else { break };
        index += 1;
        if byte != b'=' {
            out.push(byte, at);
            continue;
        }
        let next = |more: usize| text.octet(index + more).map(|(byte, _)| byte);
        match (next(0), next(1)) {
            (Some(b'\r'), Some(b'\n')) => index += 2,
            (Some(b'\n'), _) => index += 1,
            (Some(high), Some(low)) => {
                if let (Some(high), Some(low)) = (hex(high), hex(low)) {
                    out.push(high * 16 + low, at);
                    index += 2;
                } else {
                    out.push(byte, at);
                }
            }
            _ => out.push(byte, at),
        }
    }
    out
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Takes the tags out of a page, so that its words are left.
pub(crate) fn without_tags(page: &Text) -> Text {
    let mut out = Text::default();
    let mut index = 0;
    let mut inside = false;
    let mut tag = Vec::new();
    while let Some((byte, at)) = page.octet(index) {
        index += 1;
        match byte {
            b'<' if !inside
                && page
                    .octet(index)
                    .is_some_and(|(next, _)| next.is_ascii_alphabetic() || matches!(next, b'/' | b'!')) =>
            {
                // `<name@host>` is an address, not a tag.
                let mail = page.slice(index..page.len().min(index + 80));
                let end = mail.iter().position(|byte| *byte == b'>').unwrap_or(mail.len());
                let head = mail.get(..end).unwrap_or_default();
                if head.contains(&b'@') && !head.contains(&b' ') && !head.contains(&b'=') {
                    out.push(byte, at);
                } else {
                    inside = true;
                    tag.clear();
                }
            }
            b'>' if inside => {
                inside = false;
                let breaks = ["br", "p", "/p", "div", "/div", "tr", "/tr", "li", "td", "h1", "h2"];
                let name = tag.split(|byte: &u8| byte.is_ascii_whitespace()).next().unwrap_or_default();
                let name = String::from_utf8_lossy(name).trim_end_matches('/').to_ascii_lowercase();
                let ends = breaks.contains(&name.as_str());
                out.push(if ends { b'\n' } else { b' ' }, at);
            }
            _ if inside => {
                if tag.len() < 16 {
                    tag.push(byte);
                }
            }
            b'&' => {
                let rest = page.slice(index..page.len().min(index + 6));
                let known = [
                    ("lt;", b'<'),
                    ("gt;", b'>'),
                    ("amp;", b'&'),
                    ("quot;", b'"'),
                    ("nbsp;", b' '),
                    ("#39;", b'\''),
                ];
                if let Some((name, plain)) = known.iter().find(|(name, _)| begins(rest, name)) {
                    out.push(*plain, at);
                    index += name.len();
                } else {
                    out.push(byte, at);
                }
            }
            _ => out.push(byte, at),
        }
    }
    out
}
