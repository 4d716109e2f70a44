//! What the ledger knows of a session or a delivery, told to a person.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each part of a page tells of some events; an event that it does not know it leaves out"
)]

use crate::code::{Asked, labelled, topic_text};
use crate::page::{Block, Page, quoted, unmarked};
use postroad_ledger::{Event, Kept, Origin, Outcome, Record, Reference, Side, path};
use postroad_proto::reply::ReplyId;
use postroad_proto::time::UnixTime;
use postroad_reference::language::{Kind, Language, Topic};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

/// Lines of a dialogue that are shown; of a longer one its beginning and what surrounds the reply.
const SHOWN: usize = 400;

/// The page of a record.
pub fn page(language: &Language, record: &Record) -> Page {
    let mut page = begin(language, record);
    let about = record.asked.unwrap_or_else(|| last_refusal(record));
    let reply = record.events.get(about).map(|(_, event)| event).filter(|event| is_refusal(event));
    circumstances(&mut page, language, record, about);
    delivery(&mut page, language, record);
    if let Some(Event::Reply { name, code, enhanced, .. }) = reply {
        let topic = language.topic(Kind::Reply, name);
        if let Some(topic) = topic {
            remedies(&mut page, language, topic);
        }
        closed_after(&mut page, language, record, about);
        page.datum("reply", json!({"name": name, "code": code, "enhanced": enhanced.map(|e| e.to_string())}));
    }
    stalls(&mut page, language, record);
    anomalies(&mut page, language, record);
    checks(&mut page, language, record, about);
    dialogue(&mut page, language, record, about);
    if let Some(Event::Reply { code, enhanced, .. }) = reply {
        more(&mut page, language, *code, enhanced.map(|enhanced| enhanced.to_string()));
    }
    page
}

/// The page for a reference that no record has.
pub fn missing(language: &Language, reference: Reference) -> Page {
    let shown = reference.to_string();
    let mut page = Page::new(language.tag(), language.say("story.not-found", &[("reference", &shown)]));
    page.lead.push_str(language.word("story.not-found-why"));
    page.datum("kind", "record");
    page.datum("reference", shown);
    page.datum("found", false);
    page
}

/// Adds to the page of a text what leads on from the references in it: those that the ledger here knows, and those
/// that it does not.
pub fn add_references(page: &mut Page, language: &Language, here: &[Reference], elsewhere: &[Reference]) {
    let mut blocks = Vec::new();
    for (key, references) in [("story.named-here", here), ("story.named-elsewhere", elsewhere)] {
        if !references.is_empty() {
            blocks.push(Block::Text(language.word(key).to_owned()));
            let commands = references.iter().map(|reference| format!("postroad explain {reference}"));
            blocks.push(Block::Literal(commands.collect()));
        }
    }
    if !blocks.is_empty() {
        let all: Vec<String> = here.iter().chain(elsewhere).map(ToString::to_string).collect();
        page.datum("references", all);
        page.section("reference", language.word("story.named"), blocks);
        page.sections.rotate_right(1);
    }
}

fn begin(language: &Language, record: &Record) -> Page {
    let own = record.reference.to_string();
    let asked = record.asked.and_then(|at| record.events.get(at)).map(|(_, event)| event);
    let mut page = match (asked, &record.origin) {
        (Some(Event::Reply { name, code, reference, .. }), _) => {
            let reference = reference.map_or(own.clone(), |reference| reference.to_string());
            let topic = language.topic(Kind::Reply, name);
            let code = code.to_string();
            let entry = code.parse().ok().and_then(|code| language.code(code));
            let name = entry.map(|entry| entry.name.as_str()).unwrap_or_default();
            let title = language
                .say("story.refusal-title", &[("reference", &reference), ("code", &code), ("name", name)]);
            let mut page = Page::new(language.tag(), title);
            page.lead = topic.map(|topic| topic.meaning.clone()).unwrap_or_default();
            page.datum("reference", reference);
            page
        }
        (_, Origin::Session { peer, .. }) => {
            let peer =
                peer.map_or_else(|| language.word("story.local-peer").to_owned(), |peer| peer.to_string());
            let title = language.say("story.session-title", &[("reference", &own), ("peer", &peer)]);
            let mut page = Page::new(language.tag(), title);
            page.lead.push_str(language.word("story.session-lead"));
            page.datum("reference", own.clone());
            page
        }
        (_, _) => {
            let title = language.say("story.delivery-title", &[("reference", &own)]);
            let mut page = Page::new(language.tag(), title);
            let outcome = record.events.iter().rev().find_map(|(_, event)| match event {
                Event::Attempt { outcome, .. } => Some(format!("story.delivery-{}", outcome_key(*outcome))),
                _ => None,
            });
            page.lead.push_str(language.word(outcome.as_deref().unwrap_or("story.delivery-lead")));
            page.datum("reference", own.clone());
            page
        }
    };
    page.datum("kind", "record");
    page.datum("found", true);
    page.datum("session", own);
    page.datum("started", record.started.rfc3339_ms().to_string());
    page.datum("events", record.events.iter().map(|(ms, event)| of_event(*ms, event)).collect::<Vec<_>>());
    page
}

/// What led to the event: who, when, and the envelope so far.
fn circumstances(page: &mut Page, language: &Language, record: &Record, about: usize) {
    let at = record.events.get(about).map_or(0, |(ms, _)| *ms);
    let when = UnixTime(record.started.0.saturating_add(at));
    page.fact("when", language.word("story.when"), when.rfc3339().to_string());
    if let Origin::Session { peer, listener } = &record.origin {
        let peer = peer.map_or_else(|| language.word("story.local-peer").to_owned(), |peer| peer.to_string());
        page.fact("peer", language.word("story.peer"), peer);
        page.fact("listener", language.word("story.listener"), listener.to_string());
    }
    let (mut hello, mut tls, mut sender, mut recipient) = (None, None, None, None);
    for (_, event) in record.events.iter().take(about.saturating_add(1)) {
        match event {
            Event::Secured { version, cipher } => tls = Some(quoted(&format!("{version}, {cipher}"))),
            Event::Command { line, .. } => {
                let (verb, rest) = line.split_once([' ', ':']).unwrap_or((line, ""));
                match verb.to_ascii_uppercase().as_str() {
                    "EHLO" | "HELO" | "LHLO" => hello = Some(quoted(rest)),
                    "MAIL" => (sender, recipient) = (Some(path_of(line, rest)), None),
                    "RCPT" => recipient = Some(path_of(line, rest)),
                    "RSET" => (sender, recipient) = (None, None),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if matches!(record.origin, Origin::Session { .. }) {
        page.fact("hello", language.word("story.hello"), hello.unwrap_or_default());
        page.fact(
            "tls",
            language.word("story.tls"),
            tls.unwrap_or_else(|| language.word("story.no-tls").to_owned()),
        );
        let sender = sender.map(|sender| {
            if sender == "<>" { language.word("story.null-sender").to_owned() } else { quoted(&sender) }
        });
        page.fact("sender", language.word("story.sender"), sender.unwrap_or_default());
        page.fact(
            "recipient",
            language.word("story.recipient"),
            recipient.map(|path| quoted(&path)).unwrap_or_default(),
        );
    }
    if let Some((_, event @ Event::Reply { .. })) = record.events.get(about) {
        page.fact("reply", language.word("story.reply"), quoted(&said(event)));
    }
}

fn remedies(page: &mut Page, language: &Language, topic: &Topic) {
    page.section("why", language.word("story.why"), vec![Block::Text(topic.detail.clone())]);
    page.section("fix", language.word("story.fix"), vec![Block::Steps(topic.fix.clone())]);
    page.section("operator", language.word("story.operator"), vec![Block::Steps(topic.operator.clone())]);
    page.section("harm", language.word("story.harm"), vec![Block::Text(topic.harm.clone())]);
}

/// Whether this server closed the connection after the reply, and whether it did so while content came.
fn closed_after(page: &mut Page, language: &Language, record: &Record, about: usize) {
    let mut after = record.events.iter().skip(about.saturating_add(1)).map(|(_, event)| event);
    let closed = after.next().is_some_and(|event| matches!(event, Event::Closed { by: Side::Us, .. }));
    let too_big = ReplyId::MessageTooBig.name();
    let is_early =
        matches!(record.events.get(about), Some((_, Event::Reply { name, .. })) if name == too_big);
    if closed {
        let key = if is_early { "story.closed-early" } else { "story.closed-after" };
        page.section("end", language.word("story.after"), vec![Block::Text(language.word(key).to_owned())]);
        if is_early {
            // Before the rule, which tells of content that came to its end.
            page.sections.rotate_right(1);
        }
        page.datum("closed", true);
    }
}

/// What an attempt to deliver was about, what it was told, and what comes next.
fn delivery(page: &mut Page, language: &Language, record: &Record) {
    let attempt = record.events.iter().rev().find_map(|(_, event)| match event {
        Event::Attempt { queue_id, sender, recipient, agent, outcome, reply, name, next, .. } => {
            Some((queue_id, sender, recipient, agent, *outcome, reply, name, *next))
        }
        _ => None,
    });
    let Some((id, sender, recipient, agent, outcome, reply, name, next)) = attempt else { return };
    let next = next.map(|next| UnixTime(next).rfc3339().to_string());
    let sender = sender.as_ref().map(|sender| match sender.as_ref() {
        "" => language.word("story.null-sender").to_owned(),
        sender => quoted(&format!("<{sender}>")),
    });
    page.fact("sender", language.word("story.sender"), sender.unwrap_or_default());
    page.fact("recipient", language.word("story.recipient"), quoted(&format!("<{recipient}>")));
    page.fact("queue-id", language.word("story.queue-id"), quoted(id));
    page.fact("agent", language.word("story.agent"), quoted(agent));
    page.fact("reply", language.word("story.answer"), quoted(reply));
    page.fact("next", language.word("story.next"), next.clone().unwrap_or_default());
    let name = name.as_deref().unwrap_or_default();
    if let Some(topic) = language.topic(Kind::Reply, name) {
        let why = vec![Block::Text(topic.meaning.clone()), Block::Text(topic.detail.clone())];
        page.section("why", language.word("story.why"), why);
        page.section("operator", language.word("story.operator"), vec![Block::Steps(topic.operator.clone())]);
    }
    let after = match (outcome, next) {
        (Outcome::Deferred, Some(time)) => {
            vec![Block::Text(language.say("story.after-deferred", &[("time", &time)]))]
        }
        (Outcome::Failed, _) => vec![
            Block::Text(language.word("story.after-failed").to_owned()),
            Block::Literal(vec![format!("postroad queue show {id}")]),
        ],
        _ => Vec::new(),
    };
    page.section("after", language.word("story.after"), after);
    let command = format!("postroad trace --queue-id {id}");
    page.section("way", language.word("story.way"), vec![Block::Literal(vec![command])]);
    let mut words = reply.split(' ');
    if outcome != Outcome::Delivered
        && let Some(code) = words.next().and_then(|word| word.parse().ok())
    {
        let enhanced = words.next().filter(|word| word.split('.').count() == 3);
        more(page, language, code, enhanced.map(str::to_owned));
    }
}

fn stalls(page: &mut Page, language: &Language, record: &Record) {
    for (_, event) in &record.events {
        let Event::Stall { kind, evidence } = event else { continue };
        let Some(topic) = language.topic(Kind::Stall, kind) else { continue };
        let rows = evidence.iter().map(|(name, value)| {
            labelled(language, language.word(&format!("evidence.{name}")), &quoted(value))
        });
        let blocks = vec![
            Block::Heading(topic.name.clone()),
            Block::Text(topic.meaning.clone()),
            Block::Heading(language.word("story.evidence").to_owned()),
            Block::List(rows.collect()),
            Block::Steps(topic.fix.clone()),
        ];
        page.section("stall", language.word("story.stall"), blocks);
    }
}

fn anomalies(page: &mut Page, language: &Language, record: &Record) {
    let mut blocks = Vec::new();
    for (_, event) in &record.events {
        let Event::Anomaly { kind, offset, before, after, ours, other } = event else { continue };
        blocks.push(Block::Heading(language.word(&format!("anomaly.{kind}")).to_owned()));
        let (ours, other) =
            (language.word(&format!("reading.{ours}")).to_owned(), format!("reading.{other}"));
        let mut told = Vec::new();
        if !after.is_empty() {
            let key = if kind == "injected-before-tls" { "story.offset-stream" } else { "story.offset" };
            told.push(language.say(key, &[("offset", &offset.to_string())]));
            told.push(language.say("story.window", &[("window", &quoted(&window(before, after)))]));
        }
        told.push(language.say("story.reading", &[("ours", &ours), ("other", language.word(&other))]));
        blocks.push(Block::List(told));
        if blocks.len() > 40 {
            break;
        }
    }
    page.section("anomaly", language.word("story.anomaly"), blocks);
}

/// The findings since the last command: what this reply was decided from.
fn checks(page: &mut Page, language: &Language, record: &Record, about: usize) {
    let before = record.events.get(..about).unwrap_or_default();
    let asked = before.iter().rposition(|(_, event)| matches!(event, Event::Command { .. }));
    let mut told = Vec::new();
    for (_, event) in before.iter().skip(asked.unwrap_or(0)) {
        told.extend(check(language, event));
    }
    page.section("checks", language.word("story.checks"), vec![Block::List(told)]);
}

fn check(language: &Language, event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Finding { check, result, inputs } => {
            let key = format!("result.{result}");
            let known = language.word(&key);
            let result = if known == key {
                language.say("result.refused", &[("name", &reply_name(language, result))])
            } else {
                known.to_owned()
            };
            let inputs: Vec<String> =
                inputs.iter().map(|(name, value)| input(language, name, value)).collect();
            let check = language.word(&format!("check.{check}")).to_owned();
            let values = [("check", check.as_str()), ("result", &result), ("inputs", &inputs.join(", "))];
            language.say(if inputs.is_empty() { "story.found" } else { "story.found-in" }, &values)
        }
        Event::NotRun { check, why } => {
            let (check, why) = (format!("check.{check}"), format!("notrun.{why}"));
            language.say("story.not-run", &[("check", language.word(&check)), ("why", language.word(&why))])
        }
        Event::Verdict { question, rule, .. } => {
            let question = format!("question.{question}");
            let rule = reply_name(language, rule);
            language.say("story.verdict", &[("question", language.word(&question)), ("rule", &rule)])
        }
        _ => return None,
    })
}

fn dialogue(page: &mut Page, language: &Language, record: &Record, about: usize) {
    let events = &record.events;
    let gap = format!("           -- {}", language.word("story.gaps"));
    let mut lines = Vec::new();
    let mut next = 0;
    for part in shown(events.len(), about) {
        if part.start > next {
            lines.push(gap.clone());
        }
        next = part.end;
        for (ms, event) in events.get(part).unwrap_or_default() {
            if let Some(told) = line(language, event) {
                let seconds = Duration::from_millis(*ms).as_secs_f64();
                lines.push(format!("{seconds:>9.3}  {told}"));
            }
        }
    }
    if record.has_gaps || next < events.len() {
        lines.push(gap);
    }
    let blocks = vec![Block::Literal(lines), Block::Text(language.word("story.times").to_owned())];
    page.section("dialogue", language.word("story.dialogue"), blocks);
}

/// Which events of so many are shown: all, or the beginning and what surrounds the one it is about.
fn shown(count: usize, about: usize) -> [Range<usize>; 2] {
    if count <= SHOWN {
        return [0..count, count..count];
    }
    // What led to it matters more than what came after it.
    let end = about.saturating_add(SHOWN / 8).clamp(SHOWN, count);
    [0..SHOWN / 2, end - SHOWN / 2..end]
}

fn line(language: &Language, event: &Event<'_>) -> Option<String> {
    let note = |text: String| format!("-- {text}");
    Some(match event {
        Event::Opened { .. } => note(language.word("story.opened").to_owned()),
        Event::Secured { version, cipher } => {
            note(language.say("story.secured", &[("version", version), ("cipher", cipher)]))
        }
        Event::Command { kept: Kept::Withheld, octets, .. } => {
            note(language.say("story.withheld", &[("octets", &octets.to_string())]))
        }
        Event::Command { line, kept, .. } => {
            let more = match kept {
                Kept::Cut => "…",
                Kept::Masked => " ***",
                _ => "",
            };
            format!("C: {line}{more}")
        }
        Event::Reply { .. } => format!("S: {}", said(event)),
        Event::Finding { .. } | Event::NotRun { .. } | Event::Verdict { .. } => {
            note(unmarked(&check(language, event)?))
        }
        Event::Content { octets, crlf, bare_lf, bare_cr, ms, .. } => {
            let values = [octets, crlf, bare_lf, bare_cr, ms].map(ToString::to_string);
            let names = ["octets", "crlf", "lf", "cr", "ms"];
            let values: Vec<(&str, &str)> =
                names.into_iter().zip(values.iter().map(String::as_str)).collect();
            note(language.say("story.content", &values))
        }
        Event::Anomaly { kind, .. } => note(language.word(&format!("anomaly.{kind}")).to_owned()),
        Event::Stall { kind, .. } => note(topic_text(language, Kind::Stall, kind, |topic| &topic.name)),
        Event::Message { queue_id, octets, commit_ms, .. } => {
            let values =
                [("id", queue_id.as_ref()), ("octets", &octets.to_string()), ("ms", &commit_ms.to_string())];
            note(language.say("story.message", &values))
        }
        Event::Closed { by, why, octets_in, octets_out } => {
            let key = match (by, why.as_ref()) {
                (Side::Us, _) => "story.closed-us",
                (_, "in-content") => "story.closed-in-content",
                _ => "story.closed-peer",
            };
            let octets = language
                .say("story.octets", &[("in", &octets_in.to_string()), ("out", &octets_out.to_string())]);
            note(format!("{}; {octets}", language.word(key)))
        }
        Event::Attempt { queue_id, recipient, agent, outcome, reply, .. } => {
            let key = match outcome {
                Outcome::Delivered => "story.attempt-delivered",
                Outcome::Failed => "story.attempt-failed",
                _ => "story.attempt-deferred",
            };
            let values =
                [("agent", agent.as_ref()), ("id", queue_id), ("recipient", recipient), ("reply", reply)];
            note(language.say(key, &values))
        }
        Event::Dropped { events } => note(language.say("story.dropped", &[("count", &events.to_string())])),
        Event::Unreadable { .. } => note(language.word("story.unreadable").to_owned()),
        _ => return None,
    })
}

fn more(page: &mut Page, language: &Language, code: u16, enhanced: Option<String>) {
    let mut blocks = Vec::new();
    if let Some(entry) = language.code(code) {
        blocks.push(Block::Text(format!("{code}: {}", entry.meaning)));
    }
    if let Some(Asked::Enhanced(Some(class), subject, detail)) = enhanced.as_deref().and_then(Asked::parse) {
        let rows = postroad_reference::facts::enhanced_code(class, subject, detail);
        let entry = rows.first().and_then(|row| language.enhanced(row.code));
        if let (Some(entry), Some(enhanced)) = (entry, &enhanced) {
            blocks.push(Block::Text(format!("{enhanced}: {}", entry.meaning)));
        }
    }
    let commands =
        std::iter::once(code.to_string()).chain(enhanced).map(|code| format!("postroad explain {code}"));
    blocks.push(Block::Literal(commands.collect()));
    page.section("code", language.word("story.code"), blocks);
}

/// A reply as it went over the wire.
fn said(event: &Event<'_>) -> String {
    let Event::Reply { code, enhanced, text, reference, .. } = event else { return String::new() };
    let mut told = code.to_string();
    if let Some(enhanced) = enhanced {
        _ = write!(told, " {enhanced}");
    }
    if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
        _ = write!(told, " {}", text.replace('\n', " / "));
    }
    if let Some(reference) = reference {
        _ = write!(told, " (ref {reference})");
    }
    told
}

fn is_refusal(event: &Event<'_>) -> bool {
    matches!(event, Event::Reply { code: 400.., .. })
}

fn last_refusal(record: &Record) -> usize {
    record.events.iter().rposition(|(_, event)| is_refusal(event)).unwrap_or(record.events.len())
}

/// The path of MAIL or RCPT, in angle brackets; where it has none, the word that stands in its place.
fn path_of(line: &str, rest: &str) -> String {
    if let Some((_, address)) = path(line) {
        return format!("<{address}>");
    }
    let path = rest.split_once(':').map_or(rest, |(_, path)| path).trim();
    path.split(' ').next().unwrap_or_default().to_owned()
}

/// What a person calls a reply of the catalogue: its codes, and what they mean.
fn reply_name(language: &Language, name: &str) -> String {
    let Some(id) = ReplyId::ALL.iter().find(|id| id.name() == name) else { return quoted(name) };
    let basic = language.code(id.code()).map(|entry| entry.name.as_str());
    let enhanced = id.enhanced().and_then(|code| {
        let rows =
            postroad_reference::facts::enhanced_code(code.class() as u16, code.subject(), code.detail());
        rows.first().and_then(|row| language.enhanced(row.code)).map(|entry| (code, entry.name.as_str()))
    });
    match enhanced {
        Some((code, meaning)) => labelled(language, &format!("{} {code}", id.code()), meaning),
        None => labelled(language, &id.code().to_string(), basic.unwrap_or_default()),
    }
}

/// From what a check found something: its label, where the value does not speak for itself.
fn input(language: &Language, name: &str, value: &str) -> String {
    let key = format!("input.{name}");
    let label = language.word(&key);
    if label == key { quoted(value) } else { labelled(language, label, &quoted(value)) }
}

fn window(before: &[u8], after: &[u8]) -> String {
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(" ");
    match after.split_first() {
        Some((first, rest)) => format!("{} [{first:02x}] {}", hex(before), hex(rest)).trim().to_owned(),
        None => hex(before),
    }
}

/// An event as data.
fn of_event(ms: u64, event: &Event<'_>) -> Value {
    let mut value = match event {
        Event::Opened { peer, listener, protocol, .. } => {
            json!({"event": "opened", "peer": peer.map(|peer| peer.to_string()), "listener": listener, "protocol": protocol})
        }
        Event::Secured { version, cipher } => {
            json!({"event": "secured", "version": version, "cipher": cipher})
        }
        Event::Command { line, kept, octets } => {
            json!({"event": "command", "line": line, "whole": *kept == Kept::Whole, "octets": octets})
        }
        Event::Reply { name, code, enhanced, text, reference } => json!({
            "event": "reply", "name": name, "code": code, "enhanced": enhanced.map(|e| e.to_string()),
            "text": text, "reference": reference.map(|reference| reference.to_string()),
        }),
        Event::Finding { check, result, inputs } => {
            json!({"event": "finding", "check": check, "result": result, "inputs": pairs(inputs)})
        }
        Event::NotRun { check, why } => json!({"event": "not-run", "check": check, "why": why}),
        Event::Verdict { question, verdict, rule } => {
            json!({"event": "verdict", "question": question, "verdict": verdict, "rule": rule})
        }
        Event::Content { octets, crlf, bare_lf, bare_cr, first_ms, ms } => json!({
            "event": "content", "octets": octets, "crlf": crlf, "bare-lf": bare_lf, "bare-cr": bare_cr,
            "first-ms": first_ms, "took-ms": ms,
        }),
        Event::Anomaly { kind, offset, before, after, ours, other } => json!({
            "event": "anomaly", "kind": kind, "offset": offset, "window": window(before, after),
            "ours": ours, "other": other,
        }),
        Event::Stall { kind, evidence } => {
            json!({"event": "stall", "kind": kind, "evidence": pairs(evidence)})
        }
        Event::Message {
            queue_id, sender, recipients, message_id, octets, receive_ms, commit_ms, ..
        } => json!({
            "event": "message", "queue-id": queue_id, "sender": sender, "recipients": recipients,
            "message-id": message_id, "octets": octets, "receive-ms": receive_ms, "commit-ms": commit_ms,
        }),
        Event::Closed { by, why, octets_in, octets_out } => json!({
            "event": "closed", "by": if *by == Side::Us { "server" } else { "client" }, "why": why,
            "octets-in": octets_in, "octets-out": octets_out,
        }),
        Event::Attempt { queue_id, recipient, agent, outcome, reply, sender, name, next, .. } => json!({
            "event": "attempt", "queue-id": queue_id, "recipient": recipient, "agent": agent,
            "outcome": outcome_key(*outcome), "reply": reply, "name": name, "from": sender,
            "next": next.map(|next| UnixTime(next).rfc3339_ms().to_string()),
        }),
        Event::Dropped { events } => json!({"event": "dropped", "count": events}),
        _ => json!({"event": "unreadable"}),
    };
    if let Value::Object(fields) = &mut value {
        fields.insert("ms".to_owned(), json!(ms));
    }
    value
}

/// The name of an outcome in data.
pub fn outcome_key(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Failed => "failed",
        _ => "deferred",
    }
}

fn pairs<T: AsRef<str>>(pairs: &[(T, T)]) -> Value {
    pairs.iter().map(|(name, value)| (name.as_ref().to_owned(), json!(value.as_ref()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_it_is_about_is_shown_however_long_the_session_was() {
        assert_eq!(shown(SHOWN, 7), [0..400, 400..400]);
        assert_eq!(shown(1000, 7), [0..200, 200..400]);
        assert_eq!(shown(1000, 600), [0..200, 450..650]);
        assert_eq!(shown(1000, 999), [0..200, 800..1000]);
        assert_eq!(shown(1000, 1000), [0..200, 800..1000], "about none of them");
        for (count, about) in
            (401..1200).flat_map(|count| [0, 199, 200, 390, count - 1].map(|about| (count, about)))
        {
            assert!(shown(count, about).iter().any(|part| part.contains(&about)), "{about} of {count}");
        }
    }
}
