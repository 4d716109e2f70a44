//! What is this text? One reply, a message, a bounce, a log, a dialogue.
//!
//! One look at the lines, in the order of how sure each sign is. The first megabyte is looked at; a
//! [`Note::Cut`] tells where there was more.

use crate::answer::{Fault, Note, Reading, Source};
use crate::reading::bounce;
use crate::reading::judge::Judge;
use crate::reading::pattern::{pattern, words};
use crate::reading::source::{LOOK_AT, Text, begins, lines, trim};
use crate::reading::transcript::{self, MASK};
use crate::reading::{faults, log};
use std::ops::Range;

/// Lines that are looked at for the signs of a message or a log.
const FIRST: usize = 400;

/// The most messages of one mailbox file.
const MESSAGES: usize = 1000;

/// A pasted reply has no more lines than this.
const REPLY_LINES: usize = 40;

/// What somebody cut out of a line of a log has no more lines than this.
const FRAGMENT_LINES: usize = 4;

pattern!(
    HEADER,
    r"^(received|return-path|delivered-to|from|to|subject|date|message-id|mime-version|content-type|x-[a-z0-9-]+|authentication-results|arc-[a-z-]+|dkim-signature|auto-submitted|reply-to|references|in-reply-to|precedence|envelope-to|delivery-date|status|sender|cc|content-transfer-encoding|content-language|thread-topic|importance): ?"
);
pattern!(REPLY, r"^[ \t]*#?([2-5]\d\d([ -]|$)|[245]\.\d{1,3}\.\d{1,3}\b)");

words!(FAILED, "failed");
pattern!(FRAGMENT, r"^[ \t(]*(host \S+ )?(said|refused to talk to me): ?[245]\d\d([ -]|$)");

/// Reads any text: the one entry for bounces, logs and transcripts.
///
/// Time is linear in what is looked at, the first [`LOOK_AT`] octets; nothing in the text can
/// make it panic. A text that is nothing of this kind gives an empty reading of [`Source::Unknown`].
pub fn explain_text(input: &[u8]) -> Reading {
    let length = u64::try_from(input.len()).ok();
    let mut reading = Reading { cut: input.len() > LOOK_AT, length, ..Reading::default() };
    if reading.cut {
        reading.notes.push(Note::Cut);
    }
    let input = looked_at(input);
    reading.looked_at = input.len();
    if !is_text(input) {
        bounce::note(&mut reading, Note::NotText);
        return reading;
    }
    let all = lines(input);
    if let Some(ranges) = messages(input, &all) {
        bounce::messages(input, ranges, &mut reading);
        return reading;
    }
    let text = Text::raw(input, 0..input.len());
    let filled: Vec<&[u8]> = all
        .iter()
        .map(|line| text.slice(trim(input, line.clone())))
        .filter(|line| !line.is_empty())
        .collect();
    if is_reply(&filled) {
        bounce::reply(&text, &mut reading);
    } else if let Some(dialogue) = transcript::read(&text) {
        dialogue_of(&dialogue, &mut reading);
    } else if is_log(&text, &all) {
        bounce::log(&text, &mut reading);
        if reading.recipients.is_empty() && filled.len() <= FRAGMENT_LINES {
            bounce::fragment(&text, &mut reading);
        }
    } else if filled.len() <= FRAGMENT_LINES && filled.first().is_some_and(|line| FRAGMENT.is_match(line)) {
        bounce::fragment(&text, &mut reading);
    } else if !filled.is_empty() {
        let failed = FAILED.is_match(text.slice(0..text.len().min(4096)));
        bounce::pasted(text, &mut reading);
        let known = failed
            || reading.recipients.iter().any(|answer| {
                answer.recipient.is_some()
                    || answer.rule.is_some()
                    || answer
                        .reply
                        .as_ref()
                        .is_some_and(|reply| reply.code.is_some() || reply.enhanced.is_some())
            });
        if !known {
            reading.kind = Source::Unknown;
            reading.recipients.clear();
            reading.replies.clear();
            bounce::note(&mut reading, Note::NothingFound);
        }
    } else {
        bounce::note(&mut reading, Note::NothingFound);
    }
    reading
}

/// What is looked at: of a longer text the whole lines at its beginning, for half a line misleads.
fn looked_at(input: &[u8]) -> &[u8] {
    let Some(head) = input.get(..LOOK_AT).filter(|head| head.len() < input.len()) else { return input };
    let end = head.iter().rposition(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1);
    head.get(..end).unwrap_or(head)
}

/// Whether the octets are text of any language and encoding but UTF-16: those hold hardly a control
/// character, while of random or packed octets every ninth is one.
fn is_text(input: &[u8]) -> bool {
    let is_odd = |byte: &&u8| {
        matches!(**byte, 0..=6 | 14..=26 | 28..=31 | 127) // Not BEL to CR, nor ESC, which terminals write.
    };
    input.iter().filter(is_odd).count() <= input.len() / 20
}

/// Messages: a header begins the text, or a mailbox file's `From ` line.
fn messages(input: &[u8], all: &[Range<usize>]) -> Option<Vec<Range<usize>>> {
    let first = all.iter().position(|line| !trim(input, line.clone()).is_empty())?;
    let slice = |line: &Range<usize>| input.get(line.clone()).unwrap_or_default();
    let mbox = begins(slice(all.get(first)?), "From ");
    let header = all.get(first + usize::from(mbox)..)?;
    let fields = header
        .iter()
        .take(FIRST)
        .take_while(|line| !line.is_empty())
        .filter(|line| HEADER.is_match(slice(line).get(..80).unwrap_or(slice(line))))
        .count();
    let whole = header.iter().take(FIRST).take_while(|line| !line.is_empty()).any(|line| {
        ["received:", "mime-version:", "message-id:", "return-path:", "subject:", "content-type:"]
            .iter()
            .any(|name| begins(slice(line), name))
    });
    let leads = header.first().is_some_and(|line| crate::reading::mime::name_end(slice(line)).is_some());
    if fields < 2 || !whole || !leads {
        return None;
    }
    let start = all.get(first)?.start;
    if !mbox {
        return Some(std::iter::once(start..input.len()).collect());
    }
    let mut ranges = Vec::new();
    let (mut from, mut empty) = (start, true);
    for line in all.iter().skip(first + 1) {
        // In a mailbox file `From ` behind an empty line begins a message; inside one it is `>From `.
        if empty && begins(slice(line), "From ") && ranges.len() + 1 < MESSAGES {
            ranges.push(from..line.start);
            from = line.start;
        }
        empty = line.is_empty();
    }
    ranges.push(from..input.len());
    Some(ranges)
}

/// One reply: every line has the same code, or there is one line that begins with a code.
fn is_reply(filled: &[&[u8]]) -> bool {
    let Some(first) = filled.first().filter(|line| REPLY.is_match(line.get(..32).unwrap_or(line))) else {
        return false;
    };
    let code = first.get(..3);
    let more = filled.get(1..).unwrap_or_default();
    filled.len() <= REPLY_LINES
        && (more.iter().all(|line| line.get(..3) == code)
            // A reply whose lines the terminal wrapped.
            || !more.iter().any(|line| REPLY.is_match(line.get(..32).unwrap_or(line)) || line.contains(&b'@')) && filled.len() <= 4)
}

fn is_log(text: &Text, all: &[Range<usize>]) -> bool {
    let mut looked = 0;
    all.iter().any(|line| {
        looked += 1;
        looked <= FIRST * 50 && log::is_log(text.slice(line.clone()))
    })
}

fn dialogue_of(dialogue: &transcript::Dialogue, reading: &mut Reading) {
    reading.kind = Source::Transcript;
    let walked = faults::walk(dialogue, reading.cut);
    let mut judge = Judge::default();
    for case in walked.refused {
        bounce::answer(reading, &mut judge, case);
    }
    reading.stalls = walked.stalls;
    reading.faults = walked.faults;
    // The first wrong step is told first; what is only untidy broke nothing.
    reading.faults.sort_by_key(|fault| (fault.facts.severity == "note", fault.line));
    reading.fault_leads = reading.faults.first().is_some_and(|first| leads(first, walked.refused_at));
    mask(reading, &walked.secrets);
}

/// Whether a fault, and not the first refusal, is what went wrong: it stands before, and could be why.
fn leads(fault: &Fault, refused_at: Option<usize>) -> bool {
    let Some(refused) = refused_at else { return true };
    // A password in clear gets an answer of its own (530, 538); other refusals are not about it.
    let may_be_why =
        fault.facts.severity == "error" && fault.facts.side == "client" && fault.key != "auth-in-clear";
    may_be_why && fault.line <= refused
}

/// Servers repeat what they did not understand: a password among it must not come back.
fn mask(reading: &mut Reading, secrets: &[String]) {
    let mut texts: Vec<&mut String> = Vec::new();
    for reply in &mut reading.replies {
        texts.push(&mut reply.text);
        texts.extend(reply.command.as_mut());
    }
    for fault in &mut reading.faults {
        texts.push(&mut fault.text);
    }
    for answer in &mut reading.recipients {
        if let Some(reply) = &mut answer.reply {
            texts.push(&mut reply.text);
            texts.extend(reply.command.as_mut());
        }
        texts.extend(answer.evidence.iter_mut().map(|evidence| &mut evidence.text));
        texts.extend(answer.found.iter_mut().map(|found| &mut found.value));
        if let Some(concerns) = answer.record.as_mut().and_then(|record| record.concerns.as_mut()) {
            texts.push(&mut concerns.value);
        }
    }
    for text in texts {
        for secret in secrets {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), MASK);
            }
        }
    }
}
