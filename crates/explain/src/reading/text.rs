//! A bounce as people see it: who did not get the mail, and what was said about each.
//!
//! Servers word their notifications freely. What they share: a recipient begins a line, and the reply
//! follows before the next recipient. The mail that is quoted behind a mark is left out, so that its
//! subject and body are never taken as evidence.

use crate::reading::find;
use crate::reading::pattern::{pattern, words};
use crate::reading::said::Said;
use crate::reading::source::{Text, trim};
use std::collections::BTreeMap;
use std::ops::Range;

/// The most recipients that are told of one text.
pub(crate) const MOST: usize = 10_000;

/// The longest part of a line that marks are looked for in.
const LINE: usize = 512;

/// Octets of replies that are taken from the dialogue below their list.
const COMPLETED: usize = 512 * 1024;

/// What a text says about one recipient, or about nobody in particular.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) recipient: Option<String>,
    pub(crate) said: Option<Said>,
}

/// A text taken apart.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that the text says")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    pub(crate) told: Vec<Told>,
    /// It says that the server still tries.
    pub(crate) delayed: bool,
    /// It says that the mail arrived.
    pub(crate) delivered: bool,
    /// Quoted mail was left out.
    pub(crate) left_out: bool,
    pub(crate) more: bool,
}

words!(DELAYED, "delayed");
words!(ORIGINAL, "original");
words!(QUOTED, "quoted");
pattern!(
    DELIVERED,
    r"(was|has been|been) successfully (delivered|relayed)|successful mail delivery report|your message was (successfully )?delivered|delivery notification: delivered"
);
pattern!(
    STARTS,
    r#"^[ \t]*(?:(?:[*-]|·|•)+ +)?(?:(?:failed |final[- ]|original[- ])?(?:recipients?(?: address(?:es)?)?|to|address|e-?mail|empf(?:ä|ae)nger|destinataire|destinatario|destinat(?:á|a)rio) ?: *)?['"]?(?:<([^<>\s@]+@[^<>\s]+)>|([^\s<>:;,'"()\[\]@]+@[a-z0-9\x80-\xff._-]+[a-z0-9\x80-\xff]))['"]?(?:$|[ \t]*$|:|\.\.\.|,|#|<mailto| ?\(| \.\.\. | on (?:\d|[a-z]{2,3},? )| (?:-|–) | +#?[245]\d\d)"#
);
pattern!(
    INLINE,
    r#"(?:delivered to|deliver(?:ing|y)?(?: of)? (?:(?:your|this|the) )?(?:message|e?-?mail)? ?(?:to|for)|(?:message|nachricht|mensaje|mensagem|e-?mail|mail) (?:sent )?(?:to|for|an|(?:à|a)|para)|recipient(?:s|\(s\))?|following (?:address|recipient)(?:es|s)?|reach|zugestellt(?: werden)? an|empf(?:ä|ae)nger|remis(?:e)? (?:à|a)|destinataire|entregad[oa] an?|entregue a[oa]?|destinatario|destinat(?:á|a)rio)[ :]*['"*]*<?([^\s<>:;,'"()\[\]@*]+@[a-z0-9\x80-\xff._-]+[a-z0-9\x80-\xff])"#
);

/// Reads the words of a bounce.
pub(crate) fn read(all: &Text) -> Words {
    let text = &without_quoted(all);
    let mut found = Words::default();
    let all = text.lines();
    let mut starts: Vec<(String, usize, usize)> = Vec::new();
    let mut inline: Option<(String, usize, usize)> = None;
    let mut end = text.len();
    // A reply that began on the line of its recipient goes on, indented, until an empty line: an address
    // that begins such a line is a part of the reply.
    let mut within = false;
    for line in &all {
        let head = text.slice(line.start..line.end.min(line.start + LINE));
        if line.start > 0 && ORIGINAL.is_match(head) {
            end = line.start;
            found.left_out = true;
            break;
        }
        let indented = head.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if head.trim_ascii().is_empty() {
            within = false;
        }
        if within && indented {
            continue;
        }
        if let Some((address, behind)) = start(head) {
            within = !indented
                && head.get(behind..).is_some_and(|rest| rest.iter().any(u8::is_ascii_alphanumeric));
            if starts.len() >= MOST {
                found.more = true;
                end = line.start;
                break;
            }
            starts.push((address, line.start, line.start + behind));
        } else if inline.is_none()
            && let Some(range) = INLINE.groups(head).and_then(|groups| groups.get(1).cloned().flatten())
        {
            inline = Some((
                crate::reading::source::shown(head.get(range.clone()).unwrap_or_default()),
                line.start,
                line.start + range.end,
            ));
        }
    }
    found.delayed = DELAYED.is_match(text.slice(0..end.min(16 * 1024)));
    found.delivered = DELIVERED.is_match(text.slice(0..end.min(16 * 1024)));
    let alone = starts.is_empty();
    if alone {
        starts.extend(inline);
    }
    found.told = blocks(text, &starts, end);
    if let ([(_, _, behind)], [told]) = (starts.as_slice(), found.told.as_mut_slice())
        && alone
        && *behind > 0
        && told.said.as_ref().is_none_or(|said| said.code.is_none() && said.enhanced.is_none())
    {
        // A sentence that names the recipient says something before the name too.
        told.said = Some(Said::read(text, 0..end)).filter(|said| !said.is_empty());
    }
    found
}

/// The text without the lines that repeat what was sent: a subject must never be taken as evidence.
fn without_quoted(text: &Text) -> Text {
    let mut kept = Text::default();
    let mut from = 0;
    for line in text.lines() {
        if QUOTED.is_match(text.slice(line.start..line.end.min(line.start + LINE))) {
            kept.append(text, from..line.start);
            from = line.end;
        }
    }
    kept.append(text, from..text.len());
    kept
}

/// The address that a line begins with, and where what is said of it starts.
fn start(line: &[u8]) -> Option<(String, usize)> {
    let groups = STARTS.groups(line)?;
    let range = groups.get(1).cloned().flatten().or_else(|| groups.get(2).cloned().flatten())?;
    let address = crate::reading::source::shown(line.get(range.clone())?);
    let behind = line.get(range.end) == Some(&b'>');
    Some((address, range.end + usize::from(behind)))
}

fn blocks(text: &Text, starts: &[(String, usize, usize)], end: usize) -> Vec<Told> {
    if starts.is_empty() {
        let said = Said::read(text, 0..end);
        return vec![Told { recipient: None, said: Some(said).filter(|said| !said.is_empty()) }];
    }
    let mut told: Vec<Told> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    // Recipients in a row share what is said behind the last of them.
    let mut waiting: Vec<usize> = Vec::new();
    for (index, (address, _, behind)) in starts.iter().enumerate() {
        let to = starts.get(index + 1).map_or(end, |(_, start, _)| *start);
        let place = *places.entry(address.to_ascii_lowercase()).or_insert_with(|| {
            told.push(Told { recipient: Some(address.clone()), said: None });
            told.len() - 1
        });
        let said = block(text, *behind..to);
        let Some(said) = said else {
            waiting.push(place);
            continue;
        };
        for one in waiting.drain(..).chain(Some(place)) {
            if let Some(told) = told.get_mut(one) {
                let better = told.said.as_ref().is_none_or(|have| {
                    have.code.is_none()
                        && (said.code.is_some() || (have.enhanced.is_none() && said.enhanced.is_some()))
                });
                if better {
                    told.said = Some(said.clone());
                }
            }
        }
    }
    lend(text, starts, end, &mut told);
    complete(text, end, &mut told);
    told
}

/// Sendmail cuts the replies that it lists, and quotes them whole in the dialogue below (`<<<`).
fn complete(text: &Text, end: usize, told: &mut [Told]) {
    let mut of: BTreeMap<String, Said> = BTreeMap::new();
    // To MAIL or the content: for everybody.
    let mut of_all: Vec<Said> = Vec::new();
    let (mut recipient, mut reply): (Option<String>, Option<Text>) = (None, None);
    let stop = end..end;
    for line in text.lines().into_iter().filter(|line| line.end <= end).chain(Some(stop)) {
        let bytes = text.slice(line.clone());
        if bytes.starts_with(b"<<< ") {
            let reply = reply.get_or_insert_with(Text::default);
            let at = text.octet(line.start).map_or(0, |(_, at)| at);
            reply.push(b'\n', at);
            reply.append(text, line.start + 4..line.end);
            continue;
        }
        if let Some(reply) = reply.take() {
            let said = Said::line(&reply, 0..reply.len());
            match recipient.take() {
                Some(recipient) => _ = of.insert(recipient, said),
                None if of_all.len() < 16 => of_all.push(said),
                None => {}
            }
        }
        // What it found itself stands among them without a mark.
        if bytes.first().is_some_and(|byte| matches!(byte, b'4' | b'5'))
            && let Some(range) = find::address(bytes)
        {
            let said = Said::line(text, line.clone());
            if said.code.is_some() {
                of.entry(String::from_utf8_lossy(bytes.get(range).unwrap_or_default()).to_ascii_lowercase())
                    .or_insert(said);
            }
        }
        if bytes.starts_with(b">>> ") {
            let to = crate::reading::source::begins(bytes, ">>> RCPT");
            recipient = find::address(bytes).filter(|_| to).map(|range| {
                String::from_utf8_lossy(bytes.get(range).unwrap_or_default()).to_ascii_lowercase()
            });
        }
    }
    let of_all: Vec<(usize, Said)> = of_all.into_iter().map(|said| (said.words(), said)).collect();
    let mut left = COMPLETED;
    for one in told {
        let (Some(address), Some(said)) = (&one.recipient, &one.said) else { continue };
        let have = said.words();
        let own = of.get(&address.to_ascii_lowercase()).map(|whole| (whole.words(), whole));
        let all = of_all.iter().map(|(words, whole)| (*words, whole));
        let whole = own.into_iter().chain(all).find(|(words, whole)| {
            *words > have
                && whole.code == said.code
                && said.enhanced.is_none_or(|code| whole.enhanced == Some(code))
        });
        let Some((_, whole)) = whole else { continue };
        let Some(rest) = left.checked_sub(whole.full.len()) else { return };
        left = rest;
        one.said = Some(Said { host: said.host.clone().or_else(|| whole.host.clone()), ..whole.clone() });
    }
}

fn block(text: &Text, range: Range<usize>) -> Option<Said> {
    let bytes = text.bytes();
    let mut range = trim(bytes, range);
    while bytes
        .get(range.start)
        .is_some_and(|byte| matches!(byte, b':' | b'>' | b'.' | b'\'' | b'"' | b',' | b'-'))
    {
        range.start += 1;
    }
    let range = trim(bytes, range);
    let mut said = Said::read(text, range.clone());
    if said.code.is_none() && said.enhanced.is_none() {
        // Words without a code: only the first paragraph is about this recipient.
        said = Said::read(text, paragraph(bytes, range));
    }
    (said.code.is_some() || said.enhanced.is_some() || said.words() >= 6).then_some(said)
}

fn paragraph(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let mut empty = true;
    for index in range.clone() {
        match bytes.get(index) {
            Some(b'\n') if empty => return range.start..index,
            Some(b'\n') => empty = true,
            Some(b'\r' | b' ' | b'\t') => {}
            _ => empty = false,
        }
    }
    range
}

/// Where a recipient has no reply, one that names it elsewhere, or else the only one there is.
fn lend(text: &Text, starts: &[(String, usize, usize)], end: usize, told: &mut [Told]) {
    if told
        .iter()
        .all(|one| one.said.as_ref().is_some_and(|said| said.code.is_some() || said.enhanced.is_some()))
    {
        return;
    }
    let first = starts.first().map_or(0, |(_, start, _)| *start);
    let before = Some(Said::read(text, 0..first)).filter(|said| said.code.is_some());
    let known: Vec<(String, Said)> = told
        .iter()
        .filter_map(|one| one.said.clone().filter(|said| said.code.is_some()))
        .filter_map(|said| {
            Some((said.full.string(find::address(said.full.bytes())?).to_ascii_lowercase(), said))
        })
        .take(64)
        .collect();
    let any = told.iter().any(|one| one.said.as_ref().is_some_and(|said| said.code.is_some()));
    let whole = if !any && before.is_none() {
        Some(Said::read(text, 0..end)).filter(|said| said.code.is_some() || said.enhanced.is_some())
    } else {
        None
    };
    for one in told
        .iter_mut()
        .filter(|one| one.said.as_ref().is_none_or(|said| said.words() < 6 && said.code.is_none()))
    {
        let Some(address) = one.recipient.as_deref() else { continue };
        let naming =
            known.iter().find(|(named, _)| named.eq_ignore_ascii_case(address)).map(|(_, said)| said);
        one.said = naming.or(before.as_ref()).or(whole.as_ref()).cloned().or(one.said.take());
    }
}
