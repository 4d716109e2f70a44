//! The page of a reading: the five answers for each recipient, with their evidence, and the faults of a
//! dialogue.

use crate::answer::{Answer, Fault, Note, Outcome, Party, Reading, Reply, Source, Tri};
use crate::code::{labelled, topic_text, vendor_name};
use crate::page::{Block, Page, quoted};
use postroad_reference::facts;
use postroad_reference::language::{Kind, Language, Topic};
use postroad_reference::signs;
use serde_json::{Value, json};

/// Recipients and faults that are told at length; of more only the number.
const SHOWN: usize = 200;

/// The page of what was read. It quotes the input; whoever shows it makes that harmless, as
/// [`crate::render`] does.
pub fn page(language: &Language, reading: &Reading) -> Page {
    let mut page = Page::new(language.tag(), title(language, reading));
    page.datum("kind", "reading");
    page.datum("source", reading.kind.key());
    page.datum("cut", reading.cut);
    page.datum("octets_read", reading.looked_at);
    page.datum("octets", reading.length);
    page.datum("recipients", reading.recipients.iter().map(of_answer).collect::<Vec<_>>());
    page.datum("faults", reading.faults.iter().map(of_fault).collect::<Vec<_>>());
    page.datum("stalls", reading.stalls.clone());
    page.datum("replies", reading.replies.iter().map(of_reply).collect::<Vec<_>>());
    page.datum("notes", reading.notes.iter().map(|note| note.key()).collect::<Vec<_>>());
    page.lead = lead(language, reading);
    let faults = reading.faults.as_slice();
    let (first, others) = faults.split_at(usize::from(reading.fault_leads).min(faults.len()));
    fault_section(&mut page, language, ("fault", "fault.first"), first);
    stalls(&mut page, language, reading);
    for (at, answer) in reading.recipients.iter().take(SHOWN).enumerate() {
        about(&mut page, language, at, answer);
    }
    fault_section(&mut page, language, ("faults", "fault.others"), others);
    // Those two stand at the top.
    let notes = reading.notes.iter().filter(|note| !matches!(note, Note::Cut | Note::NotText));
    let notes = notes.map(|note| language.word(&format!("note.{}", note.key())).to_owned());
    page.section("notes", language.word("note.title"), vec![Block::List(notes.collect())]);
    page
}

/// What must be known before anything else: that it is no text, or how much of it was read.
fn lead(language: &Language, reading: &Reading) -> String {
    let unread = reading.cut.then(|| {
        let kib = |octets: u64| octets.div_ceil(1024).to_string();
        let read = kib(u64::try_from(reading.looked_at).unwrap_or(u64::MAX));
        match reading.length {
            Some(whole) => language.say("note.cut", &[("read", &read), ("whole", &kib(whole))]),
            None => language.say("note.cut-unknown", &[("read", &read)]),
        }
    });
    let unknown = (reading.kind == Source::Unknown).then(|| {
        let not_text = reading.notes.contains(&Note::NotText);
        language.word(if not_text { "bounce.not-text-lead" } else { "bounce.unknown-lead" }).to_owned()
    });
    [unknown, unread].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn title(language: &Language, reading: &Reading) -> String {
    if reading.notes.contains(&Note::NotText) {
        return language.word("bounce.title-not-text").to_owned();
    }
    let key = format!("bounce.title-{}", reading.kind.key());
    let count = |key: &str, count: usize| language.say(key, &[("count", &count.to_string())]);
    let name = match (reading.recipients.as_slice(), reading.faults.as_slice()) {
        (_, [first, ..]) if reading.fault_leads => {
            topic_text(language, Kind::Fault, first.key, |topic| &topic.name)
        }
        // In a dialogue what was refused later mostly follows from what was refused first.
        ([one, ..], _) if reading.kind == Source::Transcript => cause_name(language, one),
        ([one], _) => cause_name(language, one),
        ([], _) => language.word("bounce.no-faults").to_owned(),
        (several, _) => count("bounce.several", several.len()),
    };
    language.say(&key, &[("name", &name)])
}

/// What arrived has no cause.
fn cause_name(language: &Language, answer: &Answer) -> String {
    let name = topic_text(language, Kind::Cause, answer.cause, |topic| &topic.name);
    if name.is_empty() {
        language.word(&format!("outcome.{}", answer.outcome.key())).to_owned()
    } else {
        name
    }
}

fn about(page: &mut Page, language: &Language, at: usize, answer: &Answer) {
    let who = match (&answer.recipient, &answer.message) {
        (Some(recipient), Some(message)) => {
            language.say("bounce.recipient-of", &[("recipient", recipient), ("message", message)])
        }
        (Some(recipient), None) => language.say("bounce.recipient", &[("recipient", recipient)]),
        (None, _) => language.word("bounce.no-recipient").to_owned(),
    };
    let mut blocks =
        vec![Block::Text(topic_text(language, Kind::Cause, answer.cause, |topic| &topic.meaning))];
    if let Some(reply) = &answer.reply {
        blocks.push(Block::Heading(language.word("bounce.reply").to_owned()));
        blocks.push(Block::Literal(vec![shown(reply)]));
    }
    blocks.push(Block::Table {
        head: vec![language.word("bounce.question").to_owned(), language.word("bounce.answer").to_owned()],
        rows: answers(language, answer),
    });
    if !answer.readings.is_empty() {
        blocks.push(Block::Text(language.word("bounce.readings").to_owned()));
        let readings = answer.readings.iter().map(|cause| {
            let of = |pick: fn(&Topic) -> &String| topic_text(language, Kind::Cause, cause, pick);
            language.say("bounce.reading", &[("name", &of(|t| &t.name)), ("meaning", &of(|t| &t.meaning))])
        });
        blocks.push(Block::List(readings.collect()));
    }
    if let Some(topic) = steps(language, answer) {
        blocks.push(Block::Heading(labelled(language, language.word("bounce.do"), &topic.name)));
        blocks.push(Block::Steps(topic.fix.clone()));
    }
    let more = codes(language, answer);
    if !more.is_empty() {
        blocks.push(Block::Heading(language.word("bounce.more").to_owned()));
        blocks.push(Block::List(more));
    }
    page.section(format!("recipient-{}", at + 1), who, blocks);
}

/// What to do. What no server holds any more it does not send again by itself.
fn steps<'a>(language: &'a Language, answer: &Answer) -> Option<&'a Topic> {
    let key = match (answer.action, answer.outcome) {
        ("retry-later", Outcome::Failed) => "resend-later",
        ("slow-down", Outcome::Failed) => "resend-slowly",
        (key, _) => key,
    };
    language.topic(Kind::Action, key).filter(|topic| !topic.fix.is_empty())
}

/// Whose problem it is; of a text that does not decide, in every sense that it may have.
fn parties(answer: &Answer) -> Vec<Party> {
    let mut all = answer.whose.clone();
    for reading in &answer.readings {
        let row = signs::causes().iter().find(|row| row.key == *reading);
        for party in row.into_iter().flat_map(|row| row.whose.split(',')).filter_map(Party::read) {
            if !all.contains(&party) {
                all.push(party);
            }
        }
    }
    all
}

/// The five questions, then what they rest on.
fn answers(language: &Language, answer: &Answer) -> Vec<Vec<String>> {
    let word = |key: &str| language.word(key).to_owned();
    let told = |question: &str, tri: Tri| match tri {
        Tri::Ambiguous => word("answer.ambiguous"),
        Tri::Yes if question == "retry" && answer.outcome == Outcome::Failed => word("answer.retry-again"),
        Tri::Yes | Tri::No => word(&format!("answer.{question}-{}", tri.key())),
    };
    let mut rows = vec![
        vec![word("bounce.cause"), cause_name(language, answer)],
        vec![word("bounce.outcome"), word(&format!("outcome.{}", answer.outcome.key()))],
    ];
    let succeeded = answer.outcome.is_success();
    if !succeeded {
        rows.push(vec![word("bounce.retry"), told("retry", answer.retry)]);
        let slow = if answer.slow { Tri::Yes } else { Tri::No };
        rows.push(vec![word("bounce.slow"), told("slow", slow)]);
        rows.push(vec![word("bounce.remove"), told("remove", answer.remove)]);
    }
    let whose: Vec<String> =
        parties(answer).iter().map(|party| word(&format!("party.{}", party.key()))).collect();
    let parties = whose.join("; ");
    let whose = match whose.len() {
        0 if succeeded => word("party.nobody"),
        0 => word("party.unknown"),
        2.. if !answer.readings.is_empty() => language.say("bounce.depends", &[("parties", &parties)]),
        _ => parties,
    };
    rows.push(vec![word("bounce.whose"), whose]);
    if !succeeded {
        rows.push(vec![word("bounce.record"), record(language, answer)]);
    }
    if let Some(provider) = answer.provider {
        rows.push(vec![word("bounce.provider"), provider.to_owned()]);
    }
    if let Some(reply) = &answer.reply {
        rows.extend(reply.host.iter().map(|host| vec![word("bounce.host"), quoted(host)]));
        rows.extend(reply.command.iter().map(|command| vec![word("bounce.command"), quoted(command)]));
    }
    let evidence: Vec<String> = answer.evidence.iter().map(|one| quoted(&one.text)).collect();
    if !evidence.is_empty() {
        rows.push(vec![word("bounce.evidence"), evidence.join(", ")]);
    }
    let found: Vec<String> = answer
        .found
        .iter()
        .map(|one| format!("{} {}", language.word(&format!("found.{}", one.kind.key())), quoted(&one.value)))
        .collect();
    if !found.is_empty() {
        rows.push(vec![word("bounce.found"), found.join(", ")]);
    }
    let confidence = word(&format!("confidence.{}", answer.confidence.key()));
    let basis = word(&format!("basis.{}", answer.basis.key()));
    let values = [("confidence", confidence.as_str()), ("basis", basis.as_str())];
    rows.push(vec![word("bounce.confidence"), language.say("confidence.told", &values)]);
    rows
}

fn record(language: &Language, answer: &Answer) -> String {
    let Some(record) = &answer.record else { return language.word("bounce.no-record").to_owned() };
    let text = topic_text(language, Kind::Action, record.action, |topic| &topic.record);
    match &record.concerns {
        _ if text.is_empty() => language.word("bounce.no-record").to_owned(),
        Some(found) => {
            let value = quoted(&found.value);
            language.say("bounce.concerns", &[("record", &text), ("value", &value)])
        }
        None => text,
    }
}

/// What the codes of the reply mean by themselves.
fn codes(language: &Language, answer: &Answer) -> Vec<String> {
    let Some(reply) = &answer.reply else { return Vec::new() };
    let mut told = Vec::new();
    if let Some((code, entry)) = reply.code.and_then(|code| Some((code, language.code(code)?))) {
        told.push(format!("{code}: {}", entry.meaning));
    }
    if let Some(code) = reply.enhanced {
        let rows = facts::enhanced_code(code.class() as u16, code.subject(), code.detail());
        let sign = answer.provider.and_then(|name| signs::signs().iter().find(|sign| sign.provider == name));
        let own = sign.and_then(|sign| {
            let row = rows.iter().find(|row| row.source.strip_prefix("vendor:") == Some(sign.vendor))?;
            Some((vendor_name(sign.vendor), language.enhanced(row.code)?))
        });
        let shown = code.to_string();
        let registered = rows.iter().find(|row| row.is_registered());
        let row = registered.or_else(|| rows.first().filter(|_| own.is_none()));
        let entry = row.and_then(|row| language.enhanced(row.code));
        if let Some((vendor, own)) = &own {
            let values = [("code", shown.as_str()), ("vendor", vendor), ("meaning", &own.meaning)];
            told.push(language.say("bounce.vendor-code", &values));
        }
        told.extend(entry.map(|entry| match own {
            Some(_) => language.say("bounce.registry-code", &[("code", &shown), ("meaning", &entry.meaning)]),
            None => format!("{shown}: {}", entry.meaning),
        }));
    }
    told
}

fn fault_section(page: &mut Page, language: &Language, (key, title): (&str, &str), faults: &[Fault]) {
    let tell = |fault: &Fault| {
        let name = topic_text(language, Kind::Fault, fault.key, |topic| &topic.name);
        let side = format!("fault.side-{}", fault.facts.side);
        let rfc = format!("RFC {} §{}", fault.facts.rfc, fault.facts.section);
        let steps = language.topic(Kind::Fault, fault.key).map(|topic| topic.fix.clone()).unwrap_or_default();
        let title = language.say("fault.title", &[("line", &fault.line.to_string()), ("name", &name)]);
        vec![
            Block::Heading(title),
            Block::Literal(vec![fault.text.clone()]),
            Block::Text(topic_text(language, Kind::Fault, fault.key, |topic| &topic.meaning)),
            Block::Text(language.say("fault.source", &[("rfc", &rfc), ("side", language.word(&side))])),
            Block::Steps(steps),
        ]
    };
    let blocks: Vec<Block> = faults.iter().take(SHOWN).flat_map(tell).collect();
    page.section(key, language.word(title), blocks);
}

/// Why the content may have stalled: a dialogue written down at one end cannot tell it for sure.
fn stalls(page: &mut Page, language: &Language, reading: &Reading) {
    let topics = reading.stalls.iter().filter_map(|key| language.topic(Kind::Stall, key));
    let blocks = topics.flat_map(|topic| {
        let meaning = Block::Text(topic.meaning.clone());
        [Block::Heading(topic.name.clone()), meaning, Block::Steps(topic.fix.clone())]
    });
    page.section("stall", language.word("fault.stalls"), blocks.collect());
}

fn shown(reply: &Reply) -> String {
    let code = reply.code.map(|code| code.to_string());
    let enhanced = reply.enhanced.map(|enhanced| enhanced.to_string());
    [code, enhanced, Some(reply.text.clone())].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn of_reply(reply: &Reply) -> Value {
    json!({
        "code": reply.code, "enhanced": reply.enhanced.map(|enhanced| enhanced.to_string()),
        "host": reply.host, "text": reply.text, "command": reply.command,
        "from": reply.range.start, "to": reply.range.end,
    })
}

fn of_answer(answer: &Answer) -> Value {
    let evidence: Vec<Value> = answer
        .evidence
        .iter()
        .map(|one| json!({"text": one.text, "from": one.range.start, "to": one.range.end}))
        .collect();
    let found: Vec<Value> =
        answer.found.iter().map(|one| json!({"kind": one.kind.key(), "value": one.value})).collect();
    json!({
        "recipient": answer.recipient, "message": answer.message, "outcome": answer.outcome.key(),
        "reply": answer.reply.as_ref().map(of_reply), "cause": answer.cause, "action": answer.action,
        "provider": answer.provider, "retry": answer.retry.key(), "slow": answer.slow,
        "remove": answer.remove.key(), "whose": parties(answer).iter().map(|party| party.key()).collect::<Vec<_>>(),
        "record": answer.record.as_ref().map(|record| json!({
            "action": record.action, "concerns": record.concerns.as_ref().map(|found| found.value.clone()),
        })),
        "found": found, "evidence": evidence, "confidence": answer.confidence.key(),
        "basis": answer.basis.key(), "rule": answer.rule, "readings": answer.readings,
    })
}

fn of_fault(fault: &Fault) -> Value {
    json!({
        "fault": fault.key, "line": fault.line, "text": fault.text, "side": fault.facts.side,
        "rfc": fault.facts.rfc, "section": fault.facts.section, "severity": fault.facts.severity,
    })
}
