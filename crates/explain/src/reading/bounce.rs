//! From a bounce in any dress to its answers: a message, its text, one reply, lines of a log.

use crate::answer::{Note, Outcome, Reading, Source};
use crate::reading::dsn::{self, Notification, Report};
use crate::reading::judge::{Case, Judge};
use crate::reading::mime;
use crate::reading::pattern::pattern;
use crate::reading::said::Said;
use crate::reading::source::Text;
use crate::reading::text::{self, MOST, Told, Words};
use std::collections::BTreeMap;
use std::ops::Range;

// How Postfix, Exim and Sendmail name in a reply whom they refuse.
pattern!(
    RECIPIENT,
    r"<([^<>\s@]+@[^<>\s]+)>(?:: ?|\.\.\. ?| )(?:recipient address rejected|recipient |relay access denied|relaying denied|user |no such|unknown user|mailbox|invalid recipient|does not exist|undeliverable address|address unknown|unrout)"
);

/// Reads messages: the bounce itself, or a mailbox file of them.
pub(crate) fn messages(input: &[u8], ranges: Vec<Range<usize>>, reading: &mut Reading) {
    let mut judge = Judge::default();
    reading.kind = Source::Bounce;
    for range in ranges {
        let message = mime::read(input, range);
        let notification = dsn::read(&message);
        if notification.report.is_some() {
            reading.kind = Source::Dsn;
        } else {
            note(reading, Note::NoMachinePart);
        }
        notified(notification, reading, &mut judge);
    }
    rest(reading, &judge);
}

pattern!(FIRST_CODE, r"\b[45]\d\d[ -]");
pattern!(
    FORWARDED,
    r"\b(?:forwarded|redirected|re-?sent|weitergeleitet|umgeleitet|transf(?:e|\xc3\xa9)r(?:e|\xc3\xa9)|redirig(?:e|\xc3\xa9)|reenviad[oa]|reencaminhad[oa]|inoltrat[oa]|doorgestuurd) (?:for|from|by|on behalf of|f(?:\xc3\xbc|ue)r|von|pour|depuis|par|de|por|da|per|voor|door|van) \S+@\S+"
);

/// Reads the words of a bounce that somebody pasted, with or without fields for machines.
pub(crate) fn pasted(text: Text, reading: &mut Reading) {
    let mut judge = Judge::default();
    reading.kind = Source::Bounce;
    let report = dsn::has_fields(&text).then(|| dsn::fields(&text));
    if report.is_some() {
        reading.kind = Source::Dsn;
    }
    let automatic = dsn::is_automatic(&text);
    notified(Notification { report, text, automatic, ..Notification::default() }, reading, &mut judge);
    rest(reading, &judge);
}

/// Reads one reply.
pub(crate) fn reply(text: &Text, reading: &mut Reading) {
    reading.kind = Source::Reply;
    let mut judge = Judge::default();
    let said = Said::read(text, 0..text.len());
    let named = recipient_of(&said);
    answer(reading, &mut judge, Case { said: Some(said), ..Case::default() });
    name(reading, named);
    rest(reading, &judge);
}

/// Reads lines of a log.
pub(crate) fn log(text: &Text, reading: &mut Reading) {
    reading.kind = Source::Log;
    let mut judge = Judge::default();
    let (cases, more) = crate::reading::log::read(text);
    for case in cases {
        answer(reading, &mut judge, case);
    }
    if more {
        note(reading, Note::MoreRecipients);
    }
    rest(reading, &judge);
}

/// Whom a reply says that it refuses.
fn recipient_of(said: &Said) -> Option<String> {
    let groups = RECIPIENT.groups(said.full.bytes())?;
    Some(said.full.string(groups.get(1).cloned().flatten()?))
}

/// Names the recipient of the only answer, after the judgement: the reply speaks of it, but nothing says
/// that its domain has answered.
fn name(reading: &mut Reading, recipient: Option<String>) {
    if let Some(answer) = reading.recipients.first_mut() {
        answer.recipient = recipient;
    }
}

/// Reads what is left of a line of a log without its beginning: `status=deferred (host … said: …)`.
pub(crate) fn fragment(text: &Text, reading: &mut Reading) {
    reading.kind = Source::Log;
    reading.notes.retain(|note| *note != Note::NothingFound);
    let mut judge = Judge::default();
    if let Some(case) = crate::reading::log::fragment(text) {
        let named = case.recipient.clone().or_else(|| case.said.as_ref().and_then(recipient_of));
        answer(reading, &mut judge, case);
        name(reading, named);
    }
    rest(reading, &judge);
}

/// Adds an answer, and its reply to the list of replies.
pub(crate) fn answer(reading: &mut Reading, judge: &mut Judge, case: Case) {
    if reading.recipients.len() >= MOST {
        note(reading, Note::MoreRecipients);
        return;
    }
    let answer = judge.answer(case);
    reading.replies.extend(answer.reply.clone());
    reading.recipients.push(answer);
}

pub(crate) fn note(reading: &mut Reading, note: Note) {
    if !reading.notes.contains(&note) {
        reading.notes.push(note);
    }
}

pub(crate) fn rest(reading: &mut Reading, judge: &Judge) {
    if judge.tired {
        note(reading, Note::MoreReplies);
    }
    if reading.recipients.is_empty() {
        note(reading, Note::NothingFound);
    }
}

fn notified(found: Notification, reading: &mut Reading, judge: &mut Judge) {
    let mut words = text::read(&found.text);
    // A sentence before the replies says that somebody forwarded the mail: the dead address is not the
    // one that it was sent to.
    let head = found.text.slice(0..found.text.len().min(4096));
    let first = FIRST_CODE.find(head).map_or(head.len(), |range| range.start);
    if FORWARDED.is_match(head.get(..first).unwrap_or_default()) {
        for said in words.told.iter_mut().filter_map(|told| told.said.as_mut()) {
            said.forwarded = true;
        }
    }
    if found.left_out || words.left_out {
        note(reading, Note::OriginalLeftOut);
    }
    if words.more {
        note(reading, Note::MoreRecipients);
    }
    match found.report {
        Some(report) if !report.recipients.is_empty() => reported(report, &words, reading, judge),
        _ => told(words, found.failed, found.automatic, reading, judge),
    }
}

/// The fields for machines decide; where they have no words, those for people lend theirs.
fn reported(report: Report, words: &Words, reading: &mut Reading, judge: &mut Judge) {
    let by_address: BTreeMap<String, &Told> = words
        .told
        .iter()
        .filter_map(|told| Some((told.recipient.as_deref()?.to_ascii_lowercase(), told)))
        .collect();
    let only = words.told.first().filter(|_| words.told.len() == 1 && report.recipients.len() == 1);
    for recipient in report.recipients {
        let key = recipient.address.as_deref().unwrap_or_default().to_ascii_lowercase();
        let told = by_address.get(&key).copied().or(only).and_then(|told| told.said.as_ref());
        let said = match (recipient.diagnostic, told) {
            (Some(said), Some(told)) if said.words() < 4 && told.words() >= 4 => Some(told.clone()),
            (Some(said), _) => Some(said),
            (None, told) => told.cloned(),
        };
        let case = Case {
            recipient: recipient.address,
            message: report.queue_id.clone(),
            outcome: recipient.action,
            status: recipient.status,
            status_at: recipient.status_at,
            original: recipient.original,
            remote: recipient.remote,
            reporting: report.reporting.clone(),
            said,
        };
        answer(reading, judge, case);
    }
}

fn told(words: Words, failed: Vec<String>, automatic: bool, reading: &mut Reading, judge: &mut Judge) {
    let coded = |said: &Said| said.code.is_some() || said.enhanced.is_some();
    // Whoever is away has got the mail.
    let away = automatic && !words.told.iter().any(|told| told.said.as_ref().is_some_and(coded));
    let outcome = if (words.delivered || away) && !words.delayed {
        Some(Outcome::Delivered)
    } else if words.delayed {
        Some(Outcome::Delayed)
    } else {
        None
    };
    let nobody = words.told.iter().all(|told| told.recipient.is_none());
    let mut all = words.told;
    if nobody && !failed.is_empty() {
        let said = all.into_iter().find_map(|told| told.said);
        all = failed
            .into_iter()
            .take(MOST)
            .map(|address| Told { recipient: Some(address), said: said.clone() })
            .collect();
    }
    for told in all {
        if told.recipient.is_none() && told.said.is_none() {
            continue;
        }
        // A notification that has given up says so, whatever the last reply was.
        let success = told.said.as_ref().is_some_and(|said| said.code.is_some_and(|code| code < 300));
        let outcome = outcome.or((!success).then_some(Outcome::Failed));
        answer(
            reading,
            judge,
            Case { recipient: told.recipient, outcome, said: told.said, ..Case::default() },
        );
    }
}
