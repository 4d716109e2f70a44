//! Two codes side by side: each by itself, how they differ, and which one when.
//!
//! What differs is worked out from the facts; pairs that people confuse carry a hand-written note.
//! Whichever order was asked for, there is one page for a pair, the lower code first.

use crate::code::{
    Asked, basic_link, enhanced_in, enhanced_row_link, labelled, numbers_in, plain_name, properties, related,
    topic_text,
};
use crate::page::{Block, Link, Page, Target};
use postroad_reference::facts::{self, Basic};
use postroad_reference::language::{Entry, Kind, Language, Pair};
use serde_json::json;

/// The key of a pair: the lower code first.
pub(crate) fn key(one: &str, other: &str) -> String {
    let (low, high) = if order(one) <= order(other) { (one, other) } else { (other, one) };
    format!("{low}-{high}")
}

fn order(code: &str) -> Vec<u16> {
    code.split('.').map(|part| part.parse().unwrap_or(u16::MAX)).collect()
}

/// One of the two, with what is known of it.
struct Side<'a> {
    code: String,
    facts: Option<&'static Basic>,
    entry: Option<&'a Entry>,
    link: Option<Link>,
    /// Codes of the other kind that come with it.
    beside: Vec<String>,
    /// What it is about: the category, or the subject.
    matter: Option<&'static str>,
    /// Its name in the standard.
    official: &'static str,
}

/// The comparison of two codes, in the order of its key.
pub fn page(language: &Language, one: Asked, other: Asked) -> Page {
    let (one, other) =
        if order(&one.to_string()) <= order(&other.to_string()) { (one, other) } else { (other, one) };
    let (a, b) = (side(language, one), side(language, other));
    let names = [("a", a.code.as_str()), ("b", b.code.as_str())];
    let mut page = Page::new(language.tag(), language.say("compare.heading", &names));
    page.datum("kind", "comparison");
    page.datum("codes", vec![a.code.clone(), b.code.clone()]);
    if a.code == b.code {
        page.lead = language.say("compare.same", &names);
        return page;
    }
    let written = language.pair(&key(&a.code, &b.code));
    let related = are_related(&a, &b);
    page.datum("confused", written.is_some());
    page.datum("related", related || written.is_some());
    page.lead = match written {
        Some(pair) => pair.summary.clone(),
        None => language.say(if related { "compare.related" } else { "compare.unrelated" }, &names),
    };
    each(&mut page, language, [&a, &b]);
    differences(&mut page, language, &a, &b, written);
    if let Some(pair) = written {
        page.section("note", language.word("compare.in-words"), vec![Block::Text(pair.note.clone())]);
    }
    fixes(&mut page, language, [&a, &b]);
    which(&mut page, language, &a, &b, written);
    let links = [a.link, b.link].into_iter().flatten().collect();
    page.section("links", language.word("page.related"), vec![Block::Links(links)]);
    page
}

fn side(language: &Language, asked: Asked) -> Side<'_> {
    let code = asked.to_string();
    match asked {
        Asked::Basic(number) => {
            let facts = facts::basic_code(number);
            let link = facts.map(|_| basic_link(language, number));
            let beside = facts.map(|facts| enhanced_in(facts.enhanced)).unwrap_or_default();
            let matter = facts
                .map(|facts| facts.category)
                .filter(|matter| !matches!(*matter, "unspecified" | "ambiguous"));
            Side {
                code,
                facts,
                entry: facts.and(language.code(number)),
                link,
                beside,
                matter,
                official: facts.map_or("", |facts| plain_name(facts.name)),
            }
        }
        Asked::Enhanced(class, subject, detail) => {
            let rows = class.map(|class| facts::enhanced_code(class, subject, detail)).unwrap_or_default();
            let row = rows.first().copied().or_else(|| facts::enhanced().iter().find(|row| row.code == code));
            let entry = row.and_then(|row| language.enhanced(row.code));
            // A code of three parts behaves as the basic code of its class that carries it most.
            let facts = class.and_then(|class| beside(row?.basic_codes, class));
            let beside = row.map(|row| numbers_in(row.basic_codes).iter().map(u16::to_string).collect());
            let (beside, matter) = (beside.unwrap_or_default(), row.map(|row| row.subject));
            Side {
                code,
                facts,
                entry,
                link: row.map(|row| enhanced_row_link(language, row)),
                beside,
                matter,
                official: row.map_or("", |row| plain_name(row.name)),
            }
        }
    }
}

fn beside(basic_codes: &str, class: u16) -> Option<&'static Basic> {
    let mut of_class = basic_codes
        .split([',', ' '])
        .filter_map(|code| code.parse().ok())
        .filter(|code: &u16| code / 100 == class);
    of_class.next_back().and_then(facts::basic_code).or_else(|| facts::basic_code(class * 100 + 50))
}

fn each(page: &mut Page, language: &Language, sides: [&Side<'_>; 2]) {
    let mut blocks = Vec::new();
    for side in sides {
        let Some(entry) = side.entry else {
            let class = side.code.chars().next().map(String::from).unwrap_or_default();
            blocks.push(Block::Heading(language.say("page.unknown-title", &[("code", &side.code)])));
            blocks.push(Block::Text(topic_text(language, Kind::Class, &class, |topic| &topic.unknown)));
            continue;
        };
        let names = [("code", side.code.as_str()), ("name", entry.name.as_str())];
        blocks.push(Block::Heading(language.say("compare.side", &names)));
        blocks.extend([Block::Text(entry.meaning.clone()), Block::Text(entry.detail.clone())]);
    }
    page.section("each", language.word("compare.each"), blocks);
    for side in sides {
        if let Some(entry) = side.entry {
            let title = language.say("compare.when", &[("code", &side.code)]);
            page.section(
                format!("when-{}", crate::code::slug(&side.code)),
                title,
                vec![Block::List(entry.when.clone())],
            );
        }
    }
}

/// Fewest differences that a comparison tells, where two different codes have as many.
const FEWEST: usize = 5;

fn differences(page: &mut Page, language: &Language, a: &Side<'_>, b: &Side<'_>, written: Option<&Pair>) {
    let (mut rows, mut alike, mut data) = (Vec::new(), Vec::new(), Vec::new());
    let mut take = |key: &str, of_a: String, of_b: String| {
        let label = match key {
            "next" => "page.next".to_owned(),
            "name" => "list.name".to_owned(),
            key => format!("fact.{key}"),
        };
        let label = language.word(&label).to_owned();
        let same = of_a == of_b;
        data.push(json!({"property": key, "label": label, "a": of_a, "b": of_b, "same": same}));
        if same {
            alike.push(labelled(language, &label, &of_a));
        } else {
            rows.push(vec![label, of_a, of_b]);
        }
        usize::from(!same)
    };
    let mut told = 0;
    for (key, of_a, of_b) in facts_of_both(language, a, b) {
        told += take(key, of_a, of_b);
    }
    // Codes that are alike in all this still differ in what they mean, when they come and what is to be done.
    if let (Some(one), Some(other)) = (a.entry, b.entry) {
        let official = [a, b].map(|side| ("official", side.official.to_owned()));
        let [of_a, of_b] = [one, other].map(|entry| texts(language, entry)).map(Vec::into_iter);
        let [name_of_a, name_of_b] = official;
        let both = of_a.zip(of_b).chain([(name_of_a, name_of_b)]);
        for ((key, of_a), (_, of_b)) in both {
            if told < FEWEST && !of_a.is_empty() && !of_b.is_empty() && of_a != of_b {
                told += take(key, of_a, of_b);
            }
        }
    }
    page.datum("differences", data);
    let head = vec![language.word("compare.property").to_owned(), a.code.clone(), b.code.clone()];
    let mut blocks = vec![Block::Table { head, rows }];
    blocks.extend(written.map(|pair| Block::List(pair.differences.clone())));
    page.section("differences", language.word("compare.differences"), blocks);
    page.section("alike", language.word("compare.alike"), vec![Block::List(alike)]);
}

/// What the tables know of both; of a number that does not exist, its class.
fn facts_of_both(language: &Language, a: &Side<'_>, b: &Side<'_>) -> Vec<(&'static str, String, String)> {
    let class = |side: &Side<'_>| {
        let digit = side.code.get(..1).unwrap_or_default();
        topic_text(language, Kind::Class, digit, |topic| &topic.name)
    };
    let mut all = vec![("class", class(a), class(b))];
    if let (Some(of_a), Some(of_b)) = (a.facts, b.facts) {
        let pairs = properties(language, of_a).into_iter().zip(properties(language, of_b));
        all.extend(pairs.map(|((key, of_a), (_, of_b))| (key, of_a, of_b)));
    }
    all.retain(|(_, of_a, of_b)| !of_a.is_empty() || !of_b.is_empty());
    all
}

/// What an entry says in short, for codes whose facts are alike.
fn texts(language: &Language, entry: &Entry) -> Vec<(&'static str, String)> {
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    let step =
        |list: &[String]| list.first().cloned().unwrap_or_else(|| language.word("page.no-fix").to_owned());
    vec![
        ("meaning", entry.meaning.clone()),
        ("when", first(&entry.when)),
        ("cause", first(&entry.causes)),
        ("step", step(&entry.sender)),
        ("step-operator", step(&entry.operator)),
        ("session", entry.session.clone()),
        ("next", entry.next.clone()),
        ("name", entry.name.clone()),
    ]
}

fn fixes(page: &mut Page, language: &Language, sides: [&Side<'_>; 2]) {
    for side in sides {
        let Some(entry) = side.entry else { continue };
        for (key, steps) in [("sender", &entry.sender), ("operator", &entry.operator)] {
            let title = language.say(&format!("compare.fix-{key}"), &[("code", &side.code)]);
            let block = if steps.is_empty() {
                Block::Text(language.word("page.no-fix").to_owned())
            } else {
                Block::Steps(steps.clone())
            };
            page.section(format!("{key}-{}", crate::code::slug(&side.code)), title, vec![block]);
        }
    }
}

fn which(page: &mut Page, language: &Language, a: &Side<'_>, b: &Side<'_>, written: Option<&Pair>) {
    let (server, got) = if let Some(pair) = written {
        (pair.server.clone(), pair.got.clone())
    } else {
        let meaning = |side: &Side<'_>| side.entry.map(|entry| entry.meaning.clone()).unwrap_or_default();
        let word = |table: &str, key: Option<&str>| {
            key.map(|key| language.word(&format!("{table}.{key}")).to_owned()).unwrap_or_default()
        };
        let retry = |side: &Side<'_>| word("retry", side.facts.map(|facts| facts.traits.retry));
        let actor = |side: &Side<'_>| word("actor", side.facts.map(|facts| facts.traits.actor));
        let meanings = [("a_meaning", meaning(a)), ("b_meaning", meaning(b))];
        let rest =
            [("a_retry", retry(a)), ("b_retry", retry(b)), ("a_actor", actor(a)), ("b_actor", actor(b))];
        let codes = [("a", a.code.clone()), ("b", b.code.clone())];
        let values: Vec<(&str, &str)> =
            codes.iter().chain(&meanings).chain(&rest).map(|(name, value)| (*name, value.as_str())).collect();
        if a.facts.is_none() || b.facts.is_none() {
            return;
        }
        (language.say("compare.server-computed", &values), language.say("compare.got-computed", &values))
    };
    let blocks = vec![
        Block::Heading(language.word("compare.which-server").to_owned()),
        Block::Text(server),
        Block::Heading(language.word("compare.which-got").to_owned()),
        Block::Text(got),
    ];
    page.section("which", language.word("compare.which"), blocks);
}

/// Whether two codes have to do with one another: one names the other, they come together, or they speak of
/// the same matter.
fn are_related(a: &Side<'_>, b: &Side<'_>) -> bool {
    let names = |one: &Side<'_>, other: &Side<'_>| {
        one.facts.zip(other.facts).is_some_and(|(one, other)| related(one).contains(&other.code))
    };
    let carries = |one: &Side<'_>, other: &Side<'_>| one.beside.contains(&other.code);
    let same_matter = a.matter.is_some() && a.matter == b.matter;
    names(a, b) || names(b, a) || carries(a, b) || carries(b, a) || same_matter
}

/// The codes that a reader of this one may want to compare it with: hand-written pairs, then related ones.
pub(crate) fn suggested(code: u16) -> Vec<u16> {
    let written = Language::pairs().filter_map(|key| {
        let (low, high) = key.split_once('-')?;
        let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
        if low == code { Some(high) } else { (high == code).then_some(low) }
    });
    let own = facts::basic_code(code).map(related).unwrap_or_default();
    let mut all: Vec<u16> = written.chain(own).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Every pair that has a page of its own, by key: all pairs of basic codes, and the enhanced pairs
/// that have a hand-written note.
pub fn pairs() -> Vec<(Asked, Asked)> {
    let codes: Vec<u16> = facts::basics().iter().map(|basic| basic.code).collect();
    let basic = codes.iter().enumerate().flat_map(|(at, low)| {
        codes.iter().skip(at + 1).map(|high| (Asked::Basic(*low), Asked::Basic(*high)))
    });
    let written = Language::pairs().filter_map(|key| key.split_once('-'));
    let enhanced = written.filter(|(low, _)| low.contains('.'));
    let enhanced = enhanced.filter_map(|(low, high)| Some((Asked::parse(low)?, Asked::parse(high)?)));
    basic.chain(enhanced).collect()
}

/// The page of a pair that has one.
pub fn target(one: Asked, other: Asked) -> Target {
    Target::Pair(key(&one.to_string(), &other.to_string()))
}
