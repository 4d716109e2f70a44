//! The page of one code: basic, enhanced, or a number that does not exist.

use crate::page::{Block, Link, Page, Target};
use postroad_reference::facts::{self, Basic, Class, Enhanced, Standing};
use postroad_reference::language::{Entry, Kind, Language, Topic};
use serde_json::json;

/// What somebody asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5321 §4.2 and RFC 3463 §2 close the set")]
pub enum Asked {
    /// A number of three digits.
    Basic(u16),
    /// `class.subject.detail`; no class for `X.subject.detail`.
    Enhanced(Option<u16>, u16, u16),
}

impl Asked {
    /// Reads `354`, `5.7.26`, `X.7.26`; `None` if it is not the shape of a code.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |part: &str| -> Option<u16> {
            ((1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse().ok())?
        };
        let parts: Vec<&str> = text.trim().split('.').take(4).collect();
        match parts.as_slice() {
            [code] if code.len() == 3 => digits(code).map(Self::Basic),
            ["x" | "X", subject, detail] => Some(Self::Enhanced(None, digits(subject)?, digits(detail)?)),
            [class @ ("2" | "4" | "5"), subject, detail] => {
                Some(Self::Enhanced(Some(digits(class)?), digits(subject)?, digits(detail)?))
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic(code) => write!(f, "{code:03}"),
            Self::Enhanced(None, subject, detail) => write!(f, "X.{subject}.{detail}"),
            Self::Enhanced(Some(class), subject, detail) => write!(f, "{class}.{subject}.{detail}"),
        }
    }
}

/// The page that answers it; there is one for every code, known or not.
pub fn page(language: &Language, asked: Asked) -> Page {
    match asked {
        Asked::Basic(code) => match (facts::basic_code(code), language.code(code)) {
            (Some(facts), Some(entry)) => basic(language, facts, entry),
            _ => unknown(language, code),
        },
        Asked::Enhanced(class, subject, detail) => enhanced(language, asked, class, subject, detail),
    }
}

fn basic(language: &Language, facts: &'static Basic, entry: &Entry) -> Page {
    let mut page = titled(language, &facts.code.to_string(), entry);
    data_of_basic(&mut page, facts);
    page.fact("official", language.word("fact.official"), plain_name(facts.name));
    class_and_standing(&mut page, language, facts.class, facts.standing);
    for (key, value) in properties(language, facts) {
        page.fact(key, language.word(&format!("fact.{key}")), value);
    }
    page.fact("given-by", language.word("fact.given-by"), given_by(language, facts.given_by));
    page.fact("source", language.word("fact.source"), cite(facts.rfc, facts.section));
    if facts.standing != Standing::Standard {
        let warning = topic_text(language, Kind::Status, facts.standing.key(), |topic| &topic.meaning);
        page.section("standing", language.word("fact.status"), vec![Block::Warning(warning)]);
    }
    prose(&mut page, language, entry);
    if let Some(example) = postroad_reference::example(facts.code) {
        let ours = !example.starts_with("# not ours");
        let shown = |line: &str| {
            let line = line.replace(" ~ ", " … ");
            // What our refusals end in is another each time, so dialogues leave it out.
            let refusal = line.starts_with("S: 4") || line.starts_with("S: 5");
            if ours && refusal { format!("{line} (ref K7Q2-9F4M)") } else { line }
        };
        let note = if ours { "page.example-ours" } else { "page.example-not-ours" };
        let lines = example.lines().filter(|line| is_dialogue(line)).map(shown).collect();
        let notes = ["page.example-notation", note].map(|key| Block::Text(language.word(key).to_owned()));
        let blocks = std::iter::once(Block::Literal(lines)).chain(notes).collect();
        page.section("example", language.word("page.example"), blocks);
        page.datum("ours", ours);
    }
    questions(&mut page, language, entry);
    let enhanced = enhanced_in(facts.enhanced);
    let rows = enhanced.iter().map(|code| enhanced_link(language, code)).collect();
    page.section("enhanced", language.word("page.enhanced"), vec![Block::Links(rows)]);
    let related = related(facts);
    let links = related.iter().map(|code| basic_link(language, *code)).collect();
    page.section("related", language.word("page.related"), vec![Block::Links(links)]);
    let pairs =
        crate::compare::suggested(facts.code).iter().map(|other| pair_link(facts.code, *other)).collect();
    page.section("compare", language.word("page.compare"), vec![Block::Links(pairs)]);
    page
}

/// The page of a row of the enhanced codes, by its key: also of one that stands for a range of codes.
pub fn row_page(language: &Language, key: &str) -> Page {
    let first = key.split(" / ").next().unwrap_or(key);
    let asked = first.split_once('-').map_or(first, |(low, _)| low);
    let row = facts::enhanced().iter().find(|row| row.code == key);
    match (row, Asked::parse(asked)) {
        (Some(row), Some(asked @ Asked::Enhanced(class, subject, _))) if !row.is_registered() => {
            of_rows(language, &[row], key, asked, (class, subject))
        }
        (_, Some(asked)) => page(language, asked),
        (_, None) => page(language, Asked::Basic(0)),
    }
}

/// The row that a code leads to: the registry's where it has one.
pub fn row_of(code: &str) -> Option<&'static str> {
    if let Some(row) = facts::enhanced().iter().find(|row| row.code.eq_ignore_ascii_case(code)) {
        return Some(row.code);
    }
    let Some(Asked::Enhanced(Some(class), subject, detail)) = Asked::parse(code) else { return None };
    facts::enhanced_code(class, subject, detail).first().map(|row| row.code)
}

fn enhanced(language: &Language, asked: Asked, class: Option<u16>, subject: u16, detail: u16) -> Page {
    let rows: Vec<&'static Enhanced> = match class {
        Some(class) => facts::enhanced_code(class, subject, detail),
        // Without a class, the registry's own row, which is written so.
        None => facts::enhanced().iter().filter(|row| row.code == asked.to_string()).collect(),
    };
    of_rows(language, &rows, &asked.to_string(), asked, (class, subject))
}

fn of_rows(
    language: &Language,
    rows: &[&'static Enhanced],
    shown: &str,
    asked: Asked,
    (class, subject): (Option<u16>, u16),
) -> Page {
    let mut told = rows.iter().filter_map(|row| Some((*row, language.enhanced(row.code)?)));
    let Some((first, entry)) = told.next() else { return unregistered(language, asked, class, subject) };
    let mut page = titled(language, shown, entry);
    page.datum("kind", "enhanced");
    page.datum("code", shown);
    page.datum("registered", first.is_registered());
    page.datum("rows", rows.iter().map(|row| row_data(row)).collect::<Vec<_>>());
    page.fact("official", language.word("fact.official"), plain_name(first.name));
    enhanced_facts(&mut page, language, class, subject, first);
    prose(&mut page, language, entry);
    questions(&mut page, language, entry);
    for (row, entry) in told {
        let vendor = row.source.strip_prefix("vendor:").unwrap_or(row.source);
        let title = language.say("page.vendor-use", &[("vendor", &vendor_name(vendor))]);
        let mut blocks = vec![Block::Heading(labelled(language, row.code, &entry.name))];
        blocks.extend([Block::Text(entry.meaning.clone()), Block::Text(entry.detail.clone())]);
        blocks.push(Block::Steps(entry.sender.clone()));
        page.section(format!("vendor-{}", slug(row.code)), title, blocks);
    }
    let basic_codes: Vec<u16> = numbers_in(first.basic_codes);
    let links = basic_codes.iter().filter(|code| facts::basic_code(**code).is_some());
    let links = links.map(|code| basic_link(language, *code)).collect();
    page.section("basic-codes", language.word("page.basic-codes"), vec![Block::Links(links)]);
    page
}

fn enhanced_facts(page: &mut Page, language: &Language, class: Option<u16>, subject: u16, row: &Enhanced) {
    if let Some(digit) = class {
        let name = topic_text(language, Kind::Class, &digit.to_string(), |topic| &topic.name);
        page.fact("class", language.word("fact.class"), name);
    }
    let name = topic_text(language, Kind::Subject, &subject.to_string(), |topic| &topic.name);
    page.fact("subject", language.word("fact.subject"), name);
    page.fact("classes", language.word("fact.classes"), row.classes.replace(',', ", "));
    let status = if row.is_registered() {
        "iana"
    } else if row.source == "draft" {
        "draft"
    } else {
        "vendor"
    };
    let status = topic_text(language, Kind::Status, status, |topic| &topic.name);
    page.fact("status", language.word("fact.status"), status);
    if let Some(vendor) = row.source.strip_prefix("vendor:") {
        page.fact("vendor", language.word("fact.vendor"), vendor_name(vendor));
    }
    let of = |class: u16| topic_text(language, Kind::Action, action_of(row, class), |topic| &topic.name);
    let action = class.map_or_else(
        || {
            let classes = row.classes.split(',').filter_map(|class| class.parse().ok());
            let told = classes.map(|class: u16| labelled(language, &format!("{class}yz"), &of(class)));
            told.collect::<Vec<String>>().join("; ")
        },
        of,
    );
    page.fact("action", language.word("fact.action"), action);
    page.fact("source", language.word("fact.source"), cite(row.rfc, row.section));
}

/// What the sender should do about a code of this class. The table speaks of the class a code is
/// registered for; a temporary failure never takes an address off a list, and a permanent one is not
/// waited out.
fn action_of(row: &Enhanced, class: u16) -> &'static str {
    let action = row.disposition.split(' ').next().unwrap_or_default();
    match (class, action) {
        (2, _) => "none",
        (4, "remove-address" | "by-class" | "none" | "see-text") => "retry-later",
        (5, "retry-later" | "by-class" | "none") => "see-text",
        (_, action) => action,
    }
}

/// A name without the parentheses that mark it as a description.
pub(crate) fn plain_name(name: &str) -> &str {
    let inner = name.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    inner.filter(|inner| !inner.contains(['(', ')'])).unwrap_or(name)
}

/// The page for something that has the look of an enhanced code and cannot be one.
pub fn malformed(language: &Language, shown: &str) -> Page {
    let mut page = Page::new(language.tag(), language.say("page.malformed-title", &[("code", shown)]));
    page.lead.push_str(language.word("page.malformed-lead"));
    page.datum("kind", "enhanced");
    page.datum("code", shown);
    page.datum("known", false);
    page
}

/// A number that no list has: its class tells what a client does (RFC 5321 §4.3.2).
fn unknown(language: &Language, code: u16) -> Page {
    let shown = format!("{code:03}");
    let mut page = Page::new(language.tag(), language.say("page.unknown-title", &[("code", &shown)]));
    page.lead = language.say("page.unknown-lead", &[("code", &shown)]);
    page.datum("kind", "basic");
    page.datum("code", code);
    page.datum("known", false);
    let class = Class::of(code);
    let key = if code / 100 == 1 { "1" } else { class.key() };
    page.datum("class", key);
    class_and_standing_of_unknown(&mut page, language, key);
    let topic = language.topic(Kind::Class, key);
    let blocks =
        topic.map(|topic| vec![Block::Text(topic.unknown.clone()), Block::Text(topic.detail.clone())]);
    page.section("class", language.word("fact.class"), blocks.unwrap_or_default());
    let second = (code / 10) % 10;
    if class != Class::Pseudo
        && let Some(topic) = language.topic(Kind::Second, &second.to_string())
    {
        let text = labelled(language, &topic.name, &topic.meaning);
        page.section("second-digit", language.word("page.second-digit"), vec![Block::Text(text)]);
    }
    let mut near: Vec<&Basic> = facts::basics().iter().filter(|row| row.class == class).collect();
    near.sort_by_key(|row| row.code.abs_diff(code));
    let links = near.iter().take(4).map(|row| basic_link(language, row.code)).collect();
    page.section("nearest", language.word("page.nearest"), vec![Block::Links(links)]);
    page
}

fn unregistered(language: &Language, asked: Asked, class: Option<u16>, subject: u16) -> Page {
    let shown = asked.to_string();
    let mut page = Page::new(language.tag(), language.say("page.unregistered-title", &[("code", &shown)]));
    page.datum("kind", "enhanced");
    page.datum("code", shown);
    page.datum("known", false);
    let topic = language.topic(Kind::Subject, &subject.to_string());
    page.lead = topic.map_or_else(
        || language.say("page.unknown-subject", &[("subject", &subject.to_string())]),
        |topic| topic.unknown.clone(),
    );
    let text = topic.map(|topic| Block::Text(labelled(language, &topic.name, &topic.meaning)));
    page.section("subject", language.word("page.subject"), text.into_iter().collect());
    if let Some(topic) = class.and_then(|class| language.topic(Kind::Class, &class.to_string())) {
        let blocks = vec![
            Block::Text(labelled(language, &topic.name, &topic.meaning)),
            Block::Text(topic.detail.clone()),
        ];
        page.section("class", language.word("fact.class"), blocks);
    }
    let near =
        facts::enhanced().iter().filter(|row| row.code.split('.').nth(1) == Some(&subject.to_string()));
    let links = near.take(8).map(|row| enhanced_row_link(language, row)).collect();
    page.section("nearest", language.word("page.nearest"), vec![Block::Links(links)]);
    page
}

fn titled(language: &Language, code: &str, entry: &Entry) -> Page {
    let title = language.say("page.code-title", &[("code", code), ("name", &entry.name)]);
    let mut page = Page::new(language.tag(), title);
    page.lead.clone_from(&entry.meaning);
    page.datum("known", true);
    page.datum("name", entry.name.clone());
    page
}

fn class_and_standing(page: &mut Page, language: &Language, class: Class, standing: Standing) {
    let name = topic_text(language, Kind::Class, class.key(), |topic| &topic.name);
    page.fact("class", language.word("fact.class"), name);
    let name = topic_text(language, Kind::Status, standing.key(), |topic| &topic.name);
    page.fact("status", language.word("fact.status"), name);
}

fn class_and_standing_of_unknown(page: &mut Page, language: &Language, key: &str) {
    page.fact(
        "class",
        language.word("fact.class"),
        topic_text(language, Kind::Class, key, |topic| &topic.name),
    );
}

/// What a code is like, as labelled values; comparisons put those of two codes side by side.
pub(crate) fn properties(language: &Language, basic: &Basic) -> Vec<(&'static str, String)> {
    let of = |table: &str, key: &str| language.word(&format!("{table}.{key}")).to_owned();
    vec![
        ("lasting", of("lasting", basic.lasting)),
        ("severity", of("severity", basic.severity)),
        ("category", of("category", basic.category)),
        ("stage", of("stage", basic.traits.stage)),
        ("retry", of("retry", basic.traits.retry)),
        ("actor", of("actor", basic.traits.actor)),
        ("session", of("session", basic.traits.session)),
        ("delivery", of("delivery", basic.traits.delivery)),
    ]
}

fn prose(page: &mut Page, language: &Language, entry: &Entry) {
    page.section("meaning", language.word("page.meaning"), vec![Block::Text(entry.detail.clone())]);
    page.section("when", language.word("page.when"), vec![Block::List(entry.when.clone())]);
    page.section("causes", language.word("page.causes"), vec![Block::List(entry.causes.clone())]);
    for (key, steps) in [("sender", &entry.sender), ("operator", &entry.operator)] {
        let block = if steps.is_empty() {
            Block::Text(language.word("page.no-fix").to_owned())
        } else {
            Block::Steps(steps.clone())
        };
        page.section(key, language.word(&format!("page.{key}")), vec![block]);
    }
    page.section("session", language.word("page.session"), vec![Block::Text(entry.session.clone())]);
    page.section("next", language.word("page.next"), vec![Block::Text(entry.next.clone())]);
    page.section("providers", language.word("page.providers"), vec![Block::List(entry.providers.clone())]);
    page.section(
        "corrections",
        language.word("page.corrections"),
        vec![Block::List(entry.corrections.clone())],
    );
}

fn questions(page: &mut Page, language: &Language, entry: &Entry) {
    let all = entry.faq.iter().map(|faq| (faq.q.clone(), faq.a.clone())).collect();
    page.section("faq", language.word("page.faq"), vec![Block::Questions(all)]);
}

fn data_of_basic(page: &mut Page, basic: &Basic) {
    page.datum("kind", "basic");
    page.datum("code", basic.code);
    page.datum("class", basic.class.key());
    page.datum("standing", basic.standing.key());
    page.datum("lasting", basic.lasting);
    page.datum("severity", basic.severity);
    page.datum("category", basic.category);
    page.datum("retry", basic.traits.retry);
    page.datum("actor", basic.traits.actor);
    page.datum("official", basic.name);
    page.datum("source", cite(basic.rfc, basic.section));
    page.datum("related", related(basic));
    page.datum("enhanced", enhanced_in(basic.enhanced));
}

fn row_data(row: &Enhanced) -> serde_json::Value {
    json!({
        "code": row.code,
        "official": row.name,
        "classes": row.classes,
        "subject": row.subject,
        "source": row.source,
        "rfc": cite(row.rfc, row.section),
        "action": row.disposition,
    })
}

/// The commands as they are, and what is not a command in the language's words.
fn given_by(language: &Language, given_by: &str) -> String {
    let all = given_by.split([',', ';']).map(str::trim).filter(|token| !token.is_empty() && *token != "-");
    let shown = all.map(|token| {
        let key = format!("given.{}", slug(token));
        let word = language.word(&key);
        if word == key { format!("`{token}`") } else { word.to_owned() }
    });
    let mut shown: Vec<String> = shown.collect();
    shown.dedup();
    if shown.is_empty() { language.word("fact.none").to_owned() } else { shown.join(", ") }
}

/// `RFC 5321 §4.1.1.4, §4.2.3; RFC 3030 §2` from the two columns of the tables.
pub(crate) fn cite(rfc: &str, section: &str) -> String {
    let name = |rfc: &str| {
        if rfc.starts_with(|c: char| c.is_ascii_digit()) { format!("RFC {rfc}") } else { rfc.to_owned() }
    };
    let rfcs: Vec<&str> =
        rfc.split(';').map(str::trim).filter(|rfc| !rfc.is_empty() && *rfc != "-").collect();
    let mut cited: Vec<(String, Vec<String>)> = Vec::new();
    for part in section.split([';', ',']).map(str::trim).filter(|part| !part.is_empty() && *part != "-") {
        let (owner, number) = match part.split_once(' ') {
            Some((first, rest)) if first.len() == 4 && first.bytes().all(|b| b.is_ascii_digit()) => {
                (Some(first), rest)
            }
            Some((number, _table)) => (None, number),
            None => (None, part),
        };
        let number = number.split(' ').next().unwrap_or(number);
        if let Some(owner) = owner {
            cited.push((name(owner), vec![format!("§{number}")]));
        } else if let Some((_, sections)) = cited.last_mut() {
            sections.push(format!("§{number}"));
        } else if let Some(first) = rfcs.first() {
            cited.push((name(first), vec![format!("§{number}")]));
        }
    }
    let mut out: Vec<String> =
        cited.into_iter().map(|(rfc, sections)| format!("{rfc} {}", sections.join(", "))).collect();
    for rfc in rfcs {
        let rfc = name(rfc);
        let plain = rfc.split(" (").next().unwrap_or(&rfc).to_owned();
        if !out.iter().any(|have| have.starts_with(&plain)) {
            out.push(rfc);
        }
    }
    out.join("; ")
}

/// The codes that the facts call related.
pub(crate) fn related(basic: &Basic) -> Vec<u16> {
    let all = basic.related.split(',').filter_map(|code| code.trim().parse().ok());
    all.filter(|code| facts::basic_code(*code).is_some()).collect()
}

/// The enhanced codes in a column, without the remarks around them.
pub(crate) fn enhanced_in(column: &str) -> Vec<String> {
    let words = column.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-');
    let mut codes: Vec<String> = words.flat_map(spelt_out).collect();
    codes.dedup();
    codes
}

/// The codes of a word: one, or each of a range such as `5.7.20-5.7.30`; none if it is no code.
fn spelt_out(word: &str) -> Vec<String> {
    let (low, high) = word.split_once('-').unwrap_or((word, word));
    match (Asked::parse(low), Asked::parse(high)) {
        (Some(Asked::Enhanced(class, subject, from)), Some(Asked::Enhanced(_, _, to))) => {
            (from..=to).take(100).map(|detail| Asked::Enhanced(class, subject, detail).to_string()).collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn numbers_in(column: &str) -> Vec<u16> {
    let mut all = Vec::new();
    for part in column.split([',', ' ']) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(low), Ok(high)) = (low.parse::<u16>(), high.parse::<u16>())
            && low <= high
            && high < 600
        {
            all.extend(low..=high);
        }
    }
    all
}

pub(crate) fn basic_link(language: &Language, code: u16) -> Link {
    let name = language.code(code).map(|entry| entry.name.as_str()).unwrap_or_default();
    let text = language.say("page.code-title", &[("code", &code.to_string()), ("name", name)]);
    Link { target: Target::Basic(code), text }
}

pub(crate) fn enhanced_row_link(language: &Language, row: &Enhanced) -> Link {
    let name = language.enhanced(row.code).map(|entry| entry.name.as_str()).unwrap_or_default();
    let text = language.say("page.code-title", &[("code", row.code), ("name", name)]);
    Link { target: Target::Enhanced(row.code.to_owned()), text }
}

fn enhanced_link(language: &Language, code: &str) -> Link {
    let rows = match Asked::parse(code) {
        Some(Asked::Enhanced(Some(class), subject, detail)) => facts::enhanced_code(class, subject, detail),
        _ => facts::enhanced().iter().filter(|row| row.code == code).collect(),
    };
    let Some(row) = rows.first() else {
        return Link { target: Target::Enhanced(code.to_owned()), text: code.to_owned() };
    };
    let link = enhanced_row_link(language, row);
    let name = language.enhanced(row.code).map(|entry| entry.name.as_str()).unwrap_or_default();
    Link { text: language.say("page.code-title", &[("code", code), ("name", name)]), ..link }
}

fn pair_link(one: u16, other: u16) -> Link {
    let key = crate::compare::key(&one.to_string(), &other.to_string());
    Link { target: Target::Pair(key), text: other.to_string() }
}

/// A label and its value, with the colon as the language sets it.
pub(crate) fn labelled(language: &Language, label: &str, value: &str) -> String {
    language.say("page.label", &[("label", label), ("value", value)])
}

pub(crate) fn topic_text(
    language: &Language,
    kind: Kind,
    key: &str,
    of: impl Fn(&Topic) -> &String,
) -> String {
    language.topic(kind, key).map(|topic| of(topic).clone()).unwrap_or_default()
}

pub(crate) fn vendor_name(key: &str) -> String {
    match key {
        "google" => "Google".to_owned(),
        "microsoft" => "Microsoft".to_owned(),
        other => other.to_owned(),
    }
}

/// Lower case, and a hyphen for everything that is neither letter nor digit.
pub(crate) fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

fn is_dialogue(line: &str) -> bool {
    line.starts_with("C:")
        || line.starts_with("c:")
        || line.starts_with('S')
        || line == "X"
        || line.starts_with('+')
        || line.starts_with("L:")
        || line.starts_with("= ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_cited_one_way() {
        assert_eq!(cite("5321", "4.1.1.4; 4.2.3"), "RFC 5321 §4.1.1.4, §4.2.3");
        assert_eq!(cite("5321; 3207", "5321 3.1, 4.2.3; 3207 4"), "RFC 5321 §3.1, §4.2.3; RFC 3207 §4");
        assert_eq!(cite("5248", "2.4 table"), "RFC 5248 §2.4");
        assert_eq!(cite("4954 (and 2554)", "6"), "RFC 4954 (and 2554) §6");
        assert_eq!(cite("draft-hall-prdr", "-"), "draft-hall-prdr");
        assert_eq!(cite("-", "-"), "");
    }

    #[test]
    fn a_temporary_code_takes_no_address_off_a_list_and_a_permanent_one_is_not_waited_out() {
        for row in facts::enhanced() {
            assert_eq!(action_of(row, 2), "none", "{}", row.code);
            assert_ne!(action_of(row, 4), "remove-address", "{}", row.code);
            assert!(!matches!(action_of(row, 5), "retry-later" | "none"), "{}", row.code);
        }
    }

    #[test]
    fn names_lose_only_parentheses_around_the_whole() {
        assert_eq!(plain_name("(connection dropped)"), "connection dropped");
        assert_eq!(plain_name("(Exchange Online) banned sending IP"), "(Exchange Online) banned sending IP");
    }

    #[test]
    fn ranges_of_codes_are_spelt_out() {
        let told = enhanced_in("5.1.1; 5.1.10 (Exchange); 5.7.20-5.7.22");
        assert_eq!(told, ["5.1.1", "5.1.10", "5.7.20", "5.7.21", "5.7.22"]);
    }

    #[test]
    fn only_codes_are_taken_for_codes() {
        assert_eq!(Asked::parse("354"), Some(Asked::Basic(354)));
        assert_eq!(Asked::parse("x.7.26"), Some(Asked::Enhanced(None, 7, 26)));
        for bad in ["", "35", "3544", "3.1.1", "5.7", "5.7.26.1", "a.b.c", "5.7.", "+54"] {
            assert_eq!(Asked::parse(bad), None, "{bad}");
        }
    }
}
