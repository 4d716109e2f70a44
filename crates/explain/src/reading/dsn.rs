//! Notifications: the part for machines (RFC 3464 §2.1), and which parts of a message are the
//! notification and which the mail it is about.

use crate::answer::{EnhancedCode, Evidence, Outcome};
use crate::reading::mime::{self, Field, Message};
use crate::reading::pattern::words;
use crate::reading::said::{Said, enhanced_code, lower};
use crate::reading::source::Text;
use std::ops::Range;

/// The fields about one recipient (RFC 3464 §2.3).
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipient {
    pub(crate) address: Option<String>,
    pub(crate) action: Option<Outcome>,
    pub(crate) status: Option<EnhancedCode>,
    pub(crate) status_at: Option<Evidence>,
    /// Where it differs from the address (RFC 3464 §2.3.1).
    pub(crate) original: Option<String>,
    pub(crate) remote: Option<String>,
    pub(crate) diagnostic: Option<Said>,
}

/// The part for machines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) reporting: Option<String>,
    pub(crate) queue_id: Option<String>,
    pub(crate) recipients: Vec<Recipient>,
}

/// A notification taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notification {
    pub(crate) report: Option<Report>,
    /// Its words for people.
    pub(crate) text: Text,
    /// Recipients that the header names.
    pub(crate) failed: Vec<String>,
    /// Whether the mail it is about was left out.
    pub(crate) left_out: bool,
    /// Its subject is that of an answer by a machine, as of somebody who is away.
    pub(crate) automatic: bool,
}

words!(AUTOMATIC, "automatic");

/// Takes a message apart: the outermost report speaks, the mail below it does not.
pub(crate) fn read(message: &Message) -> Notification {
    let mut found = Notification::default();
    let is_report = |kind: &str| matches!(kind, "message/delivery-status" | "message/global-delivery-status");
    let report = message.parts.iter().find(|part| is_report(&part.kind));
    let level = report.map_or(0, |part| part.level);
    if let Some(part) = report {
        found.report = Some(fields(&part.body));
    }
    let mut page = None;
    for part in &message.parts {
        if part.level > level {
            found.left_out = true;
        } else if part.level < level {
            // A person forwards the notification; what they write about it is not its text.
        } else if part.kind == "text/plain" || part.kind == "message/notification" {
            if found.text.len() > 0 {
                let end = found.text.len();
                let at = found.text.octet(end - 1).map_or(0, |(_, at)| at);
                found.text.push(b'\n', at);
                found.text.push(b'\n', at);
            }
            found.text.append(&part.body, 0..part.body.len());
        } else if part.kind == "text/html" {
            page.get_or_insert(part);
        } else if part.kind.starts_with("text/rfc822") || part.kind == "message/rfc822-headers" {
            found.left_out = true;
        }
    }
    if let (0, Some(page)) = (found.text.len(), page) {
        found.text = mime::without_tags(&page.body);
    }
    for field in &message.fields {
        let named = [field.name.as_bytes(), b": ", field.value.bytes()].concat();
        found.automatic |= AUTOMATIC.is_match(&named);
        if field.name == "x-failed-recipients" {
            let list = field.value.string(0..field.value.len());
            found
                .failed
                .extend(list.split(',').map(|one| one.trim().to_owned()).filter(|one| one.contains('@')));
        }
    }
    found
}

/// Whether a text has the subject of an answer by a machine.
pub(crate) fn is_automatic(text: &Text) -> bool {
    AUTOMATIC.is_match(text.slice(0..text.len().min(4096)))
}

/// Whether fields of the part for machines stand in a text.
pub(crate) fn has_fields(text: &Text) -> bool {
    text.lines().into_iter().any(|line| {
        let bytes = text.slice(line);
        ["final-recipient:", "original-recipient:"]
            .iter()
            .any(|name| crate::reading::source::begins(bytes, name))
    })
}

/// Reads the fields: a group for the message, then one for each recipient, with empty lines between.
pub(crate) fn fields(text: &Text) -> Report {
    let mut report = Report::default();
    let all = text.lines();
    let mut at = 0;
    while at < all.len() {
        let (group, next) = mime::fields(text, &all, at);
        // A line that is no field is left out, so that the rest is still read.
        at = if next == at { at + 1 } else { next };
        if group.iter().any(|field| field.name == "final-recipient" || field.name == "original-recipient") {
            // Some leave no empty line between two recipients.
            let mut from = 0;
            for (index, field) in group.iter().enumerate() {
                let begins = field.name == "final-recipient"
                    && group
                        .get(from..index)
                        .unwrap_or_default()
                        .iter()
                        .any(|one| one.name == "final-recipient");
                if begins {
                    report.recipients.push(recipient(group.get(from..index).unwrap_or_default()));
                    from = index;
                }
            }
            report.recipients.push(recipient(group.get(from..).unwrap_or_default()));
        }
        for field in &group {
            match field.name.as_str() {
                "reporting-mta" => report.reporting = name(&field.value),
                "x-postfix-queue-id" => report.queue_id = Some(field.value.string(0..field.value.len())),
                _ => {}
            }
        }
    }
    report
}

fn recipient(fields: &[Field]) -> Recipient {
    let mut found = Recipient::default();
    let mut supplementary = None;
    for field in fields {
        let value = &field.value;
        match field.name.as_str() {
            "final-recipient" => found.address = address(value).or(found.address),
            "original-recipient" => found.original = address(value),
            "x-actual-recipient" if found.address.is_none() => found.address = address(value),
            "action" => found.action = outcome(value),
            "status" => {
                let word = value.bytes().split(|byte| byte.is_ascii_whitespace() || *byte == b'(').next();
                found.status = word.and_then(enhanced_code);
                found.status_at = found.status.map(|code| Evidence {
                    range: value.origin(&(0..code.to_string().len().min(value.len()))),
                    text: code.to_string(),
                });
            }
            "remote-mta" => found.remote = name(value),
            "diagnostic-code" => found.diagnostic = Some(Said::read(value, after_type(value))),
            "x-supplementary-info" => supplementary = Some(Said::read(value, 0..value.len())),
            _ => {}
        }
    }
    found.address = found.address.or_else(|| found.original.clone());
    if found.diagnostic.as_ref().is_none_or(|said| said.words() < 4)
        && let Some(more) = supplementary.filter(|said| said.words() >= 4)
    {
        found.diagnostic = Some(more);
    }
    found
}

fn outcome(value: &Text) -> Option<Outcome> {
    let word = lower(value.bytes(), 0..value.len());
    let word = word.split([' ', '(', ';']).next().unwrap_or_default();
    [Outcome::Failed, Outcome::Delayed, Outcome::Delivered, Outcome::Relayed, Outcome::Expanded]
        .into_iter()
        .find(|outcome| outcome.key() == word)
}

/// The value behind its type, as `rfc822;` or `dns;`.
fn after_type(value: &Text) -> Range<usize> {
    let bytes = value.bytes();
    let semicolon = bytes.iter().take(24).position(|byte| *byte == b';');
    let is_type = semicolon.filter(|at| {
        let head = value.slice(0..*at).trim_ascii();
        !head.is_empty()
            && head.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && !head.first().is_some_and(u8::is_ascii_digit)
    });
    crate::reading::source::trim(bytes, is_type.map_or(0, |at| at + 1)..value.len())
}

fn address(value: &Text) -> Option<String> {
    let range = after_type(value);
    let found = crate::reading::find::address(value.slice(range.clone()));
    let found = found.map_or(range.clone(), |inner| range.start + inner.start..range.start + inner.end);
    let text = value.string(found);
    let text = text.trim_matches(['<', '>', ' ']).to_owned();
    (!text.is_empty()).then_some(text)
}

fn name(value: &Text) -> Option<String> {
    let text = value.string(after_type(value));
    let word = text.split([' ', '(']).next().unwrap_or_default().trim_matches(['[', ']', '<', '>']);
    (!word.is_empty()).then(|| word.to_ascii_lowercase())
}
