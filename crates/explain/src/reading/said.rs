//! One reply as a bounce, log or dialogue quotes it: its codes, who said it, its words.
//!
//! Senders join the lines of a reply (RFC 5321 §4.2.1) in many ways, so the code of each line turns up
//! inside the words; they are removed and white space is collapsed, as the patterns demand. At most
//! [`LONGEST`] octets of a reply are looked at.

use crate::answer::{EnhancedCode, Reply};
use crate::reading::find;
use crate::reading::pattern::pattern;
use crate::reading::source::Text;
use postroad_proto::reply::Class;
use std::ops::Range;

/// The longest reply that is looked at, in octets.
const LONGEST: usize = 4096;

/// Where in the dialogue a reply came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not told.
    #[default]
    Unknown,
    /// To the connection, HELO, EHLO, STARTTLS or AUTH.
    Hello,
    /// To MAIL.
    Sender,
    /// To RCPT.
    Recipient,
    /// To DATA or the content.
    Content,
}

/// A reply with what is needed to judge it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) code: Option<u16>,
    pub(crate) enhanced: Option<EnhancedCode>,
    pub(crate) host: Option<String>,
    pub(crate) command: Option<String>,
    pub(crate) stage: Stage,
    /// The notification says that the recipient stems from another address.
    pub(crate) forwarded: bool,
    /// The reply: codes first, then its words.
    pub(crate) full: Text,
}

pattern!(
    BOTH,
    r"(?:^|[^\d.a-z])([245]\d\d)[ :;-]{1,3}[(#']*([245]\.\d{1,3}\.\d{1,3})(?:$|[^\d.]|\.(?:$|[^\d]))"
);
pattern!(
    BASIC,
    r#"(?:^|said: ?|[:;] ?|[<>'"(#=\[{] ?|error |code |returned |status |reply |response )([245]\d\d)(?:[ :;'")#\]}-]|$)"#
);
pattern!(ENHANCED, r"(?:^|[^\d.a-z])([245]\.\d{1,3}\.\d{1,3})(?:$|[^\d.]|\.(?:$|[^\d]))");
pattern!(
    HOST,
    r"(?:(?:host|server|talking to|said by|relay|from|by|mta|at) |^|[ (<])([a-z0-9](?:[a-z0-9_-]*\.)+[a-z][a-z0-9-]+)\.?(?: ?\(?\[([0-9a-f.:]{3,45})\]|:| said| \()"
);
pattern!(AFTER, r" ?\(in reply to (?:the )?((?:end of )?[a-z ]{3,30}?)(?: command)?\)?\.?$");
pattern!(AFTER_INSIDE, r"\(in reply to (?:the )?((?:end of )?[a-z ]{3,30}?)(?: command)?\)");
pattern!(
    BEFORE,
    r"(?:after|in response to|reply to|response to) (?:the )?(end of data|pipelined end of data|sending data block|mail from|rcpt to|rcpt|mail|data|helo|ehlo|initial connection|starttls|auth)\b"
);

pattern!(FORWARDED, r"\((?:expanded|generated|ultimately generated|forwarded|redirected) (?:from|by)\b");

impl Said {
    /// Reads the first reply in a part of a text, as a bounce quotes it.
    pub(crate) fn read(text: &Text, range: Range<usize>) -> Self {
        let (all, breaks) = collapse(text, range);
        let head = Head::find(all.bytes());
        let from = head.as_ref().map_or(0, |head| {
            // A code behind its words: they begin with the paragraph.
            let paragraph = breaks.iter().rev().find(|at| **at < head.end).map_or(0, |at| at + 1);
            let closes = head.start > 0
                && all.octet(head.start - 1).is_some_and(|(byte, _)| byte == b'(')
                && all.slice(head.end..all.len()).iter().filter(|byte| byte.is_ascii_alphabetic()).count()
                    < 12;
            if head.start == 0 || closes { paragraph } else { head.start }
        });
        let mut said = Self::default();
        if let Some(head) = &head {
            said.code = head.code;
            said.enhanced = head.enhanced;
        }
        said.look_before(all.slice(0..from));
        // Words behind an empty line are the notification's own, unless the reply has had none yet.
        let end = breaks.iter().copied().find(|at| *at > from + 12).filter(|_| head.is_some());
        let full = all.part(from..end.unwrap_or(all.len()));
        said.finish(&full);
        said
    }

    /// Reads a reply that stands alone: its lines as a server sent them.
    pub(crate) fn line(text: &Text, range: Range<usize>) -> Self {
        let (all, _) = collapse(text, range);
        let head = Head::find(all.bytes()).filter(|head| head.start == 0);
        let mut said = Self::default();
        if let Some(head) = &head {
            said.code = head.code;
            said.enhanced = head.enhanced;
        }
        said.finish(&all);
        said
    }

    /// Whether there is nothing to judge by.
    pub(crate) fn is_empty(&self) -> bool {
        self.code.is_none() && self.enhanced.is_none() && self.words() == 0
    }

    /// Letters of the reply, apart from its codes.
    pub(crate) fn words(&self) -> usize {
        self.full.bytes().iter().filter(|byte| byte.is_ascii_alphabetic() || **byte >= 0x80).count()
    }

    /// Letters of the reply, apart from its codes and the addresses that it names.
    pub(crate) fn words_alone(&self) -> usize {
        let is_letter = |byte: &&u8| byte.is_ascii_alphabetic() || **byte >= 0x80;
        let addresses = find::addresses(self.full.bytes()).into_iter();
        let of_addresses = addresses.map(|range| self.full.slice(range).iter().filter(is_letter).count());
        self.words().saturating_sub(of_addresses.sum())
    }

    /// As those who ask see it.
    pub(crate) fn reply(&self) -> Reply {
        let bytes = self.full.bytes();
        let leads = bytes.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'#');
        let skip = Head::find(bytes).filter(|head| head.start <= 1 && leads).map_or(0, |head| head.end);
        Reply {
            code: self.code,
            enhanced: self.enhanced,
            host: self.host.clone(),
            text: self.full.string(skip..self.full.len()).trim_start_matches([' ', '-', ':', ')']).to_owned(),
            command: self.command.clone(),
            range: self.full.origin(&(0..self.full.len())),
        }
    }

    fn look_before(&mut self, before: &[u8]) {
        self.forwarded = FORWARDED.is_match(before);
        if let Some(last) = HOST.all_groups(before, 16).pop() {
            self.host = last.get(1).cloned().flatten().map(|range| lower(before, range));
        }
        if let Some(groups) = BEFORE.groups(before)
            && let Some(Some(range)) = groups.get(1)
        {
            self.met(&lower(before, range.clone()));
        }
    }

    fn met(&mut self, command: &str) {
        let words = command.trim();
        self.stage = if words.contains("rcpt") {
            Stage::Recipient
        } else if words.starts_with("mail") {
            Stage::Sender
        } else if words.contains("data") || words.contains("body") || words.contains("bdat") {
            Stage::Content
        } else {
            Stage::Hello
        };
        self.command = Some(words.to_ascii_uppercase());
    }

    /// Strips what is not the reply, and the codes of its further lines.
    fn finish(&mut self, full: &Text) {
        let mut end = full.len();
        for pattern in [&AFTER, &AFTER_INSIDE] {
            if let Some(groups) = pattern.groups(full.slice(0..end))
                && let (Some(Some(all)), Some(Some(command))) = (groups.first(), groups.get(1))
            {
                let command = lower(full.bytes(), command.clone());
                self.met(&command);
                end = all.start;
                break;
            }
        }
        // The quote or bracket that a notification put around the reply is not the reply's.
        while let Some((byte, _)) = end.checked_sub(1).and_then(|last| full.octet(last)) {
            let opened = full.slice(0..end).contains(&b'(');
            if !(matches!(byte, b'\'' | b'"' | b' ') || (byte == b')' && !opened)) {
                break;
            }
            end -= 1;
        }
        let mut kept = Text::default();
        let mut first = true;
        let mut after_code = false;
        for word in words(full.slice(0..end)) {
            let mut from = word.start;
            let bytes = full.slice(word.clone());
            let repeats = !first && self.repeats_code(bytes);
            if repeats {
                from += 3;
                if full.octet(from).is_some_and(|(byte, _)| byte == b'-') && from < word.end {
                    from += 1;
                }
            }
            let enhanced = full.slice(from..word.end);
            let again = (repeats || after_code) && !first && self.repeats_enhanced(enhanced);
            after_code = repeats && from >= word.end;
            if from < word.end && !again {
                if kept.len() > 0 {
                    let at = full.octet(word.start.saturating_sub(1)).map_or(0, |(_, at)| at);
                    kept.push(b' ', at);
                }
                kept.append(full, from..word.end);
            }
            first = false;
        }
        if self.enhanced.is_none() {
            self.enhanced = ENHANCED
                .groups(kept.bytes())
                .and_then(|groups| groups.get(1).cloned().flatten())
                .and_then(|range| enhanced_code(kept.slice(range)));
        }
        self.full = kept;
    }

    fn repeats_code(&self, word: &[u8]) -> bool {
        let Some(code) = self.code else { return false };
        let digits = code.to_string();
        word.strip_prefix(digits.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'-'))
    }

    fn repeats_enhanced(&self, word: &[u8]) -> bool {
        self.enhanced.is_some_and(|code| word == code.to_string().as_bytes())
    }
}

/// Where a reply begins.
#[derive(Debug)]
struct Head {
    start: usize,
    /// Behind the codes.
    end: usize,
    code: Option<u16>,
    enhanced: Option<EnhancedCode>,
}

impl Head {
    fn find(bytes: &[u8]) -> Option<Self> {
        let both = BOTH.groups(bytes).and_then(|groups| {
            let (code, enhanced) = (groups.get(1).cloned().flatten()?, groups.get(2).cloned().flatten()?);
            Some(Self {
                start: code.start,
                end: enhanced.end,
                code: number(bytes.get(code)?),
                enhanced: enhanced_code(bytes.get(enhanced)?),
            })
        });
        let basic = BASIC.groups(bytes).and_then(|groups| {
            let code = groups.get(1).cloned().flatten()?;
            Some(Self { start: code.start, end: code.end, code: number(bytes.get(code)?), enhanced: None })
        });
        match (both, basic) {
            (Some(both), Some(basic)) if basic.start < both.start => Some(basic),
            (Some(both), _) => Some(both),
            (None, Some(basic)) => Some(basic),
            (None, None) => {
                let range = ENHANCED.groups(bytes)?.get(1).cloned().flatten()?;
                let enhanced = enhanced_code(bytes.get(range.clone())?);
                // A code behind the words, as qmail puts it, does not begin the reply.
                let start = if bytes.get(..range.start)?.iter().any(u8::is_ascii_alphabetic) {
                    0
                } else {
                    range.start
                };
                Some(Self { start, end: range.end, code: None, enhanced })
            }
        }
    }
}

/// An enhanced code, as `5.1.1`.
pub(crate) fn enhanced_code(bytes: &[u8]) -> Option<EnhancedCode> {
    let mut parts = bytes.split(|byte| *byte == b'.').map(number);
    let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
    let class = match class {
        2 => Class::Success,
        4 => Class::Transient,
        5 => Class::Permanent,
        _ => return None,
    };
    // More lenient than `EnhancedCode::parse`: servers are seen to write leading zeros.
    EnhancedCode::new(class, subject, detail).filter(|_| parts.next().is_none())
}

fn number(bytes: &[u8]) -> Option<u16> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

pub(crate) fn lower(bytes: &[u8], range: Range<usize>) -> String {
    String::from_utf8_lossy(bytes.get(range).unwrap_or_default()).to_ascii_lowercase()
}

/// The words of a text whose white space is collapsed.
fn words(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for (index, byte) in bytes.iter().enumerate() {
        if *byte == b' ' {
            if let Some(from) = start.take() {
                found.push(from..index);
            }
        } else if start.is_none() {
            start = Some(index);
        }
    }
    if let Some(from) = start {
        found.push(from..bytes.len());
    }
    found
}

/// Collapses white space, makes typographic quotes plain, and tells where empty lines stood.
pub(crate) fn collapse(text: &Text, range: Range<usize>) -> (Text, Vec<usize>) {
    let mut out = Text::default();
    let mut breaks = Vec::new();
    let (mut gap, mut newlines, mut index) = (None, 0, range.start);
    while index < range.end && out.len() < LONGEST {
        let Some((byte, at)) = text.octet(index) else { break };
        let (plain, width) = plain(text, index, byte);
        index += width;
        let Some(byte) = plain else { continue };
        if byte.is_ascii_whitespace() || byte.is_ascii_control() {
            gap.get_or_insert(at);
            newlines += usize::from(byte == b'\n');
            continue;
        }
        if let Some(at) = gap.take().filter(|_| out.len() > 0) {
            if newlines > 1 {
                breaks.push(out.len());
            }
            out.push(b' ', at);
        }
        newlines = 0;
        out.push(byte, at);
    }
    (out, breaks)
}

/// The octet to read here, and how many octets it stands for.
fn plain(text: &Text, index: usize, byte: u8) -> (Option<u8>, usize) {
    match byte {
        // Logs of Exim write the ends of lines as `\n`.
        b'\\' => match (text.octet(index + 1), text.octet(index + 2)) {
            (Some((b'n' | b'r', _)), Some((b'2'..=b'5' | b' ' | b'\\', _))) => (Some(b'\n'), 2),
            _ => (Some(byte), 1),
        },
        0xC2 if text.octet(index + 1).is_some_and(|(next, _)| next == 0xA0) => (Some(b' '), 2),
        0xE2 if text.octet(index + 1).is_some_and(|(next, _)| next == 0x80) => {
            match text.octet(index + 2).map(|(next, _)| next) {
                Some(0x98 | 0x99) => (Some(b'\''), 3),
                Some(0x9C | 0x9D) => (Some(b'"'), 3),
                Some(0x93 | 0x94) => (Some(b'-'), 3),
                Some(0x8B..=0x8F) => (None, 3),
                _ => (Some(byte), 1),
            }
        }
        _ => (Some(byte), 1),
    }
}
