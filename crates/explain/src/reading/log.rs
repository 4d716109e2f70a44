//! Lines of logs: Postfix, Exim, Sendmail, Exchange, `OpenSMTPD`, msmtp, and our own.
//!
//! Each recipient of each message has one answer: what the last line about it says. Lines that tell of
//! no delivery are passed over. At most [`MOST`] answers are told.

use crate::answer::Outcome;
use crate::reading::find;
use crate::reading::judge::Case;
use crate::reading::pattern::{Pattern, pattern};
use crate::reading::said::{Said, Stage, collapse, enhanced_code, lower};
use crate::reading::source::Text;
use crate::reading::text::MOST;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The longest part of a line that is looked at.
const LINE: usize = 16 * 1024;

/// The most recipients of one line.
const PER_LINE: usize = 64;

pattern!(
    LOG,
    r"\bstatus=(sent|deferred|bounced|expired|undeliverable|deliverable|softbounce)\b|\bstat=|\bdsn=\d\.|NOQUEUE: |milter-reject:|(^|\s)(\*\*|==|=>|->|>>) \S+@\S+.*|\bresult=.(ok|tempfail|permfail|loop)|\bLED=|,(STOREDRIVER|SMTP|ROUTING|GATEWAY|AGENT),(DELIVER|SEND|SENDEXTERNAL|FAIL|DEFER),|\bsmtpstatus=\d|\bmta (delivery|evpid)|recipient=\S+@\S+ .*agent=|\bdelivery \d+: (success|failure|deferral): |\bstarting delivery \d+: msg "
);
pattern!(
    POSTFIX,
    r"(?:^|[\s:])([0-9A-Za-z]{5,20}): to=<([^>]*)>(?:, orig_to=<([^>]*)>)?, relay=([^,\[]+)(?:\[[^\]]*\])?[^,]*,.*?(?:dsn=([245]\.\d{1,3}\.\d{1,3}), )?status=([a-z]+)(?: \((.*)\)?$)?"
);
pattern!(FRAGMENT_STATUS, r"\bstatus=([a-z]+)(?: \((.*)\)?$)?");
pattern!(FRAGMENT_TO, r"\bto=<([^>]*)>");
pattern!(REJECT, r"([0-9A-Za-z]{5,20}): (?:milter-)?reject: (\S+) from [^:]*: (.*?)(?:; from=|$)");
pattern!(
    EXPIRED,
    r"(?:^|[\s:])([0-9A-Za-z]{5,20}): from=<[^>]*>, (status=(?:force-)?expired, returned to sender)"
);
pattern!(QMAIL, r"\bdelivery (\d+): (success|failure|deferral): (\S+)");
pattern!(QMAIL_TO, r"\bstarting delivery (\d+): msg \d+ to (?:remote|local) (\S+)");
pattern!(FOR_WHOM, r"; .*?\bto=<([^>]*)>");
pattern!(
    EXIM,
    r"(?:^|\s)([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) (\*\*|==|=>|->|>>|\*>) (\S+)(.*)$"
);
pattern!(EXIM_REPLY, r#": (.*)$|C="([^"]*)"#);
pattern!(SENDMAIL, r"(?:^|[\s:])([0-9A-Za-z]{8,24}): to=([^,]+(?:,<[^,]+)*), (.*)\bstat=(.*)$");
pattern!(REPLY, r"\breply=(.*?),? ?$");
pattern!(RELAY, r"relay=([^,\s\[]+)");
pattern!(DSN, r"\bdsn=([245]\.\d{1,3}\.\d{1,3})");
pattern!(EXCHANGE, r"LED=(.*?)(?:\};|\}\]|\}$|\]$|$)");
pattern!(
    TRACKING,
    r#",(?:STOREDRIVER|SMTP|ROUTING|DNS|GATEWAY|AGENT|BOOTLOADER|PICKUP|APPROVAL),(DELIVER|SEND|SENDEXTERNAL|FAIL|DEFER),[^,]*,(<[^,>]*>),(?:[^,@]*,)?([^,\s]+@[^,\s]+),("[^"]*"|[^,]*),"#
);
pattern!(FQDN, r"FQDN=([^\};]+)");
pattern!(
    OPENSMTPD,
    r#"(?:\bevpid=([0-9a-f]{8,20})\b.*?)?\bto=<([^>]*)>.*?\bresult="?(\w+)"?(?:.*?\bstat="(.*)"?$)?"#
);
pattern!(OPENSMTPD_RELAY, r#"relay="?[^"( ]*\(?([a-z0-9.-]+\.[a-z]{2,})\)?"#);
pattern!(MSMTP, r"\brecipients=(\S+)(.*)$");
pattern!(MSMTP_REPLY, r"smtpmsg='(.*?)'(?: errormsg=| exitcode=|$)");
pattern!(MSMTP_ERROR, r"errormsg='(.*?)'(?: exitcode=|$)");
pattern!(MSMTP_HOST, r"\bhost=(\S+)");
pattern!(
    OURS,
    r#"\b(delivered|deferred|failed)\b.*?\bid"?[=:]"?([0-9A-Za-z-]+)"?.*?\brecipient"?[=:]"?<?([^\s"<>]+)"#
);
pattern!(OURS_REPLY, r#"\breply"?[=:]"?(.*?)(?:"?[ ,]"?(?:cause|next)"?[=:]|"?[,}]|$)"#);

/// Whether a line looks like one of a log of deliveries.
pub(crate) fn is_log(line: &[u8]) -> bool {
    LOG.is_match(line.get(..LINE).unwrap_or(line))
}

/// What the lines say, in the order of their recipients' first lines, and whether there was more.
pub(crate) fn read(text: &Text) -> (Vec<Case>, bool) {
    let mut book = Book::default();
    for line in text.lines() {
        let line = line.start..line.end.min(line.start + LINE);
        if !is_log(text.slice(line.clone())) {
            continue;
        }
        let readers: [Reader; 11] =
            [exchange, tracking, postfix, expired, reject, exim, sendmail, opensmtpd, msmtp, qmail, ours];
        for reader in readers {
            if reader(text, line.clone(), &mut book).is_some() {
                break;
            }
        }
    }
    (book.cases, book.more)
}

/// Reads a line of one kind of log, if it is one.
type Reader = fn(&Text, Range<usize>, &mut Book) -> Option<()>;

/// The answers so far.
#[derive(Default)]
struct Book {
    cases: Vec<Case>,
    places: BTreeMap<(Option<String>, String), usize>,
    /// Messages that were given up, each looked for once.
    expired: BTreeSet<Option<String>>,
    /// Recipients of the deliveries that qmail numbers.
    numbered: BTreeMap<String, String>,
    more: bool,
}

impl Book {
    fn add(&mut self, message: Option<String>, recipient: &str, case: Case) {
        let recipient = recipient.trim_matches(['<', '>', ' ', '\'', '"']).to_owned();
        let key = (message.clone(), recipient.to_ascii_lowercase());
        let case = Case { message, recipient: Some(recipient).filter(|one| !one.is_empty()), ..case };
        if let Some(have) = self.places.get(&key).and_then(|place| self.cases.get_mut(*place)) {
            *have = case;
        } else if self.cases.len() < MOST {
            self.places.insert(key, self.cases.len());
            self.cases.push(case);
        } else {
            self.more = true;
        }
    }
}

/// The groups of a pattern in a line, as ranges of the text.
fn groups(pattern: &Pattern, text: &Text, line: &Range<usize>) -> Option<Vec<Option<Range<usize>>>> {
    let shift = |range: Range<usize>| line.start + range.start..line.start + range.end;
    Some(pattern.groups(text.slice(line.clone()))?.into_iter().map(|group| group.map(shift)).collect())
}

fn group(groups: &[Option<Range<usize>>], index: usize) -> Option<Range<usize>> {
    groups.get(index).cloned().flatten()
}

fn said(text: &Text, range: Option<Range<usize>>) -> Option<Said> {
    Some(Said::read(text, range?)).filter(|said| !said.is_empty())
}

/// What Postfix did, by the word behind `status=`.
fn done(status: &str) -> Outcome {
    match status {
        "sent" | "deliverable" => Outcome::Delivered,
        "deferred" => Outcome::Delayed,
        _ => Outcome::Failed,
    }
}

/// What is left of a line of Postfix without its beginning, perhaps wrapped: at least a reply or a status.
pub(crate) fn fragment(text: &Text) -> Option<Case> {
    let (flat, _) = collapse(text, 0..text.len());
    let whole = 0..flat.len();
    let found = groups(&FRAGMENT_STATUS, &flat, &whole);
    let status = found.as_ref().and_then(|found| group(found, 1)).map(|range| lower(flat.bytes(), range));
    let reply = found.as_ref().and_then(|found| group(found, 2));
    let said = said(&flat, reply.or(found.is_none().then_some(whole.clone())));
    let to = groups(&FRAGMENT_TO, &flat, &whole).and_then(|found| group(&found, 1));
    let dsn = groups(&DSN, &flat, &whole).and_then(|found| group(&found, 1));
    (status.is_some() || said.as_ref().is_some_and(|said| said.code.is_some())).then(|| Case {
        recipient: to.map(|range| flat.string(range)).filter(|to| !to.is_empty()),
        outcome: status.as_deref().map(done),
        status: dsn.and_then(|range| enhanced_code(flat.slice(range))),
        said,
        ..Case::default()
    })
}

fn postfix(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&POSTFIX, text, &line)?;
    let outcome = done(&lower(text.bytes(), group(&found, 6)?));
    let relay = group(&found, 4).map(|range| lower(text.bytes(), range)).filter(|relay| relay.contains('.'));
    let case = Case {
        outcome: Some(outcome),
        original: group(&found, 3).map(|range| text.string(range)),
        status: group(&found, 5).and_then(|range| enhanced_code(text.slice(range))),
        remote: relay,
        said: said(text, group(&found, 7).map(|range| without_parenthesis(text, range))),
        ..Case::default()
    };
    book.add(Some(text.string(group(&found, 1)?)), &text.string(group(&found, 2)?), case);
    Some(())
}

/// Postfix gives up: what was said last stands in earlier lines, if at all.
fn expired(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&EXPIRED, text, &line)?;
    let id = Some(text.string(group(&found, 1)?));
    if !book.expired.insert(id.clone()) {
        return Some(());
    }
    let of_message = (id.clone(), String::new())..;
    let places: Vec<usize> =
        book.places.range(of_message).take_while(|((of, _), _)| *of == id).map(|(_, place)| *place).collect();
    let mut open = 0;
    for place in places {
        if let Some(case) = book.cases.get_mut(place).filter(|case| case.outcome == Some(Outcome::Delayed)) {
            case.outcome = Some(Outcome::Failed);
            open += 1;
        }
    }
    if open == 0 {
        let said = said(text, group(&found, 2));
        book.add(id, "", Case { outcome: Some(Outcome::Failed), said, ..Case::default() });
    }
    Some(())
}

/// qmail-send writes white space as `_`, and the ends of lines as `/`.
fn qmail(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    if let Some(found) = groups(&QMAIL_TO, text, &line) {
        if book.numbered.len() < MOST {
            book.numbered.insert(text.string(group(&found, 1)?), text.string(group(&found, 2)?));
        }
        return Some(());
    }
    let found = groups(&QMAIL, text, &line)?;
    let outcome = match text.string(group(&found, 2)?).as_str() {
        "success" => Outcome::Delivered,
        "deferral" => Outcome::Delayed,
        _ => Outcome::Failed,
    };
    let mut plain = Text::default();
    let words = group(&found, 3)?;
    for index in words.clone() {
        let (byte, at) = text.octet(index)?;
        let ends = text.octet(index + 1).is_none_or(|(next, _)| !next.is_ascii_lowercase() && next != b'/');
        plain.push(
            match byte {
                b'_' => b' ',
                b'/' if ends => b'\n',
                _ => byte,
            },
            at,
        );
    }
    let said = said(&plain, Some(0..plain.len()));
    let to = book.numbered.remove(&text.string(group(&found, 1)?));
    let named = said.as_ref().and_then(|said| Some(said.full.string(find::address(said.full.bytes())?)));
    let to = to.or(named).unwrap_or_default();
    book.add(None, &to, Case { outcome: Some(outcome), said, ..Case::default() });
    Some(())
}

fn without_parenthesis(text: &Text, range: Range<usize>) -> Range<usize> {
    let ends = text.slice(range.clone()).ends_with(b")");
    range.start..range.end - usize::from(ends)
}

/// A refusal that the server itself gave to a client.
fn reject(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&REJECT, text, &line)?;
    let mut said = said(text, group(&found, 3))?;
    let verb = lower(text.bytes(), group(&found, 2)?);
    said.stage = match verb.as_str() {
        "rcpt" => Stage::Recipient,
        "mail" => Stage::Sender,
        "data" | "end-of-message" | "end-of-data" => Stage::Content,
        _ => Stage::Hello,
    };
    said.command = Some(verb.to_ascii_uppercase());
    let to = groups(&FOR_WHOM, text, &line).and_then(|found| group(&found, 1));
    let to = to.map(|range| text.string(range)).unwrap_or_default();
    let id = Some(text.string(group(&found, 1)?)).filter(|id| id != "NOQUEUE");
    let outcome = if said.code.is_some_and(|code| code < 500) { Outcome::Delayed } else { Outcome::Failed };
    // The writer of the log refused, whoever the recipient's own provider is.
    let reporting = Some("localhost".to_owned());
    book.add(id, &to, Case { outcome: Some(outcome), reporting, said: Some(said), ..Case::default() });
    Some(())
}

fn exim(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&EXIM, text, &line)?;
    let flag = text.string(group(&found, 2)?);
    let outcome = match flag.as_str() {
        "**" => Outcome::Failed,
        "==" => Outcome::Delayed,
        _ => Outcome::Delivered,
    };
    let rest = group(&found, 4)?;
    let mut to = text.string(group(&found, 3)?);
    if !to.contains('@')
        && let Some(range) = find::address(text.slice(rest.clone()))
    {
        to = text.string(rest.start + range.start..rest.start + range.end);
    }
    let to = to.trim_end_matches(':').to_owned();
    let reply = if outcome == Outcome::Delivered {
        None
    } else if text.slice(group(&found, 3)?).ends_with(b":") {
        Some(rest.clone())
    } else {
        groups(&EXIM_REPLY, text, &rest).and_then(|found| group(&found, 1).or_else(|| group(&found, 2)))
    };
    // `H=mx.example.org [192.0.2.1]` names the server that answered.
    let words = text.slice(rest.clone());
    let remote = words.split(|byte| *byte == b' ').find_map(|word| word.strip_prefix(b"H="));
    let remote = remote.map(|host| crate::reading::source::shown(host).to_ascii_lowercase());
    let case = Case { outcome: Some(outcome), remote, said: said(text, reply), ..Case::default() };
    book.add(Some(text.string(group(&found, 1)?)), &to, case);
    Some(())
}

fn sendmail(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&SENDMAIL, text, &line)?;
    let stat = group(&found, 4)?;
    let words = lower(text.bytes(), stat.clone());
    let outcome = if words.starts_with("sent") {
        Outcome::Delivered
    } else if words.starts_with("deferred") || words.starts_with("queued") {
        Outcome::Delayed
    } else {
        Outcome::Failed
    };
    let middle = group(&found, 3)?;
    let remote = groups(&RELAY, text, &middle).and_then(|found| group(&found, 1));
    let status = groups(&DSN, text, &middle).and_then(|found| group(&found, 1));
    // Its own word is one of a few ("User unknown" for any 550); the reply that it quotes says more.
    let reply = groups(&REPLY, text, &middle).and_then(|found| group(&found, 1));
    let quoted = said(text, reply).filter(|said| outcome != Outcome::Delivered && said.code.is_some());
    // Its status is its own too, where the reply has none.
    let status = status.filter(|_| quoted.is_none());
    let said = quoted.or_else(|| said(text, Some(stat)));
    let case = Case {
        outcome: Some(outcome),
        status: status.and_then(|range| enhanced_code(text.slice(range))),
        remote: remote.map(|range| lower(text.bytes(), range).trim_end_matches('.').to_owned()),
        said,
        ..Case::default()
    };
    let id = text.string(group(&found, 1)?);
    for to in text.string(group(&found, 2)?).split(',').take(PER_LINE) {
        book.add(Some(id.clone()), to, case.clone());
    }
    Some(())
}

fn exchange(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&EXCHANGE, text, &line)?;
    let said = said(text, group(&found, 1));
    let remote = groups(&FQDN, text, &line).and_then(|found| group(&found, 1));
    let whole = lower(text.bytes(), line.clone());
    let outcome = if whole.contains(",fail,")
        || said.as_ref().is_some_and(|said| said.code.is_some_and(|code| code >= 500))
    {
        Outcome::Failed
    } else {
        Outcome::Delayed
    };
    // The message id is in angle brackets and stands before the recipient.
    let bytes = text.slice(line.clone());
    let before = group(&found, 0)?.start - line.start;
    let mut id = None;
    let mut to = None;
    for range in find::addresses(bytes.get(..before).unwrap_or_default()) {
        let bracketed = range.start.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'<');
        let text = crate::reading::source::shown(bytes.get(range).unwrap_or_default());
        if bracketed {
            id.get_or_insert(text);
        } else {
            to.get_or_insert(text);
        }
    }
    let case = Case {
        outcome: Some(outcome),
        remote: remote.map(|range| lower(text.bytes(), range)),
        said,
        ..Case::default()
    };
    book.add(id, &to.unwrap_or_default(), case);
    Some(())
}

/// A line of Exchange's message tracking without a last error; the recipients of a line are parted by `;`,
/// and so is what is said of them.
fn tracking(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&TRACKING, text, &line)?;
    let outcome = match lower(text.bytes(), group(&found, 1)?).as_str() {
        "fail" => Outcome::Failed,
        "defer" => Outcome::Delayed,
        _ => Outcome::Delivered,
    };
    let said = said(text, group(&found, 4)).filter(|_| outcome != Outcome::Delivered);
    let id = text.string(group(&found, 2)?).trim_matches(['<', '>']).to_owned();
    let case = Case { outcome: Some(outcome), said, ..Case::default() };
    for to in text.string(group(&found, 3)?).split(';').take(PER_LINE) {
        book.add(Some(id.clone()), to, case.clone());
    }
    Some(())
}

fn opensmtpd(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&OPENSMTPD, text, &line)?;
    let outcome = match lower(text.bytes(), group(&found, 3)?).as_str() {
        "ok" => Outcome::Delivered,
        "tempfail" => Outcome::Delayed,
        _ => Outcome::Failed,
    };
    let remote = groups(&OPENSMTPD_RELAY, text, &line).and_then(|found| group(&found, 1));
    let stat = group(&found, 4).map(|range| {
        let ends = text.slice(range.clone()).ends_with(b"\"");
        range.start..range.end - usize::from(ends)
    });
    let case = Case {
        outcome: Some(outcome),
        remote: remote.map(|range| lower(text.bytes(), range)),
        said: said(text, stat),
        ..Case::default()
    };
    let id = group(&found, 1).map(|range| text.string(range));
    book.add(id, &text.string(group(&found, 2)?), case);
    Some(())
}

fn msmtp(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&MSMTP, text, &line)?;
    let rest = group(&found, 2)?;
    let first = |pattern: &Pattern| groups(pattern, text, &line).and_then(|found| group(&found, 1));
    let reply = first(&MSMTP_REPLY).or_else(|| first(&MSMTP_ERROR));
    let said = said(text, reply);
    let outcome = if lower(text.bytes(), rest).contains("exitcode=ex_ok") {
        Outcome::Delivered
    } else if said.as_ref().is_some_and(|said| said.code.is_some_and(|code| code < 500)) {
        Outcome::Delayed
    } else {
        Outcome::Failed
    };
    let remote = first(&MSMTP_HOST).map(|range| lower(text.bytes(), range));
    let case = Case { outcome: Some(outcome), remote, said, ..Case::default() };
    for to in text.string(group(&found, 1)?).split(',').take(PER_LINE) {
        book.add(None, to, case.clone());
    }
    Some(())
}

fn ours(text: &Text, line: Range<usize>, book: &mut Book) -> Option<()> {
    let found = groups(&OURS, text, &line)?;
    let outcome = match text.string(group(&found, 1)?).as_str() {
        "delivered" => Outcome::Delivered,
        "deferred" => Outcome::Delayed,
        _ => Outcome::Failed,
    };
    let reply = groups(&OURS_REPLY, text, &line).and_then(|found| group(&found, 1));
    let case = Case { outcome: Some(outcome), said: said(text, reply), ..Case::default() };
    book.add(Some(text.string(group(&found, 2)?)), &text.string(group(&found, 3)?), case);
    Some(())
}
