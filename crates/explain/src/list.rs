//! All codes, or those that speak of a word.

use crate::code::{basic_link, enhanced_row_link, topic_text};
use crate::page::{Block, Link, Page, Target};
use postroad_reference::facts::{self, Basic, Class, Standing};
use postroad_reference::language::{Entry, Kind, Language};
use serde_json::{Value, json};

/// The codes whose number, names or texts hold every word of `search`; all codes if there is none.
pub fn page(language: &Language, search: Option<&str>) -> Page {
    let title = match search {
        Some(word) => language.say("list.found", &[("word", word)]),
        None => language.word("list.title").to_owned(),
    };
    let mut page = Page::new(language.tag(), title);
    let words: Vec<String> = search.unwrap_or_default().split_whitespace().map(folded).collect();
    let mut data = Vec::new();
    let (mut basic, mut enhanced) = (Vec::new(), Vec::new());
    for row in facts::basics() {
        let code = row.code.to_string();
        let facts = [row.name, row.given_by, row.category, row.rfc, row.standing.key()];
        if let Some(entry) = language.code(row.code).filter(|entry| speaks(&words, &code, &facts, entry)) {
            data.push(datum(
                &code,
                "basic",
                entry,
                json!({"class": row.class.key(), "standing": row.standing.key()}),
            ));
            basic.push(vec![code, entry.name.clone(), entry.meaning.clone()]);
        }
    }
    for row in facts::enhanced() {
        let facts = [row.name, row.source, row.subject, row.rfc];
        if let Some(entry) =
            language.enhanced(row.code).filter(|entry| speaks(&words, row.code, &facts, entry))
        {
            data.push(datum(
                row.code,
                "enhanced",
                entry,
                json!({"classes": row.classes, "source": row.source}),
            ));
            enhanced.push(vec![row.code.to_owned(), entry.name.clone(), entry.meaning.clone()]);
        }
    }
    if data.is_empty() {
        page.lead = language.say("list.none", &[("word", search.unwrap_or_default())]);
    }
    page.datum("codes", data);
    let head: Vec<String> =
        ["list.code", "list.name", "list.meaning"].map(|key| language.word(key).to_owned()).into();
    for (key, rows) in [("basic", basic), ("enhanced", enhanced)] {
        let title = language.word(&format!("list.{key}")).to_owned();
        page.section(key, title, vec![Block::Table { head: head.clone(), rows }]);
    }
    page
}

/// The page that leads to all others: every code, the pairs that people confuse, and the terms that all
/// texts of the language keep to.
pub fn contents(language: &Language) -> Page {
    let mut page = Page::new(language.tag(), language.word("list.title"));
    for class in [Class::Completion, Class::Intermediate, Class::Transient, Class::Permanent] {
        let key = class.key();
        let name = topic_text(language, Kind::Class, key, |topic| &topic.name);
        let title = language.say("list.class", &[("class", &format!("{key}yz")), ("name", &name)]);
        let of_class = |row: &&Basic| row.class == class && row.standing == Standing::Standard;
        page.section(format!("class-{key}"), title, vec![Block::Links(links(language, of_class))]);
    }
    let others = links(language, |row| row.standing != Standing::Standard);
    page.section("other", language.word("list.other"), vec![Block::Links(others)]);
    let enhanced = facts::enhanced().iter().map(|row| enhanced_row_link(language, row)).collect();
    page.section("enhanced", language.word("list.enhanced"), vec![Block::Links(enhanced)]);
    let pairs = Language::pairs().filter_map(|key| {
        let (low, high) = key.split_once('-')?;
        let text = language.say("compare.heading", &[("a", low), ("b", high)]);
        Some(Link { target: Target::Pair(key.to_owned()), text })
    });
    page.section("pairs", language.word("list.pairs"), vec![Block::Links(pairs.collect())]);
    let terms = Language::topics(Kind::Term).filter_map(|key| language.topic(Kind::Term, key));
    let mut rows: Vec<Vec<String>> =
        terms.map(|term| vec![term.name.clone(), term.meaning.clone()]).collect();
    rows.sort_by_cached_key(|row| row.first().map(|term| folded(term)));
    let head = ["list.name", "list.meaning"].map(|key| language.word(key).to_owned()).into();
    page.section("glossary", language.word("page.glossary"), vec![Block::Table { head, rows }]);
    page
}

fn links(language: &Language, wanted: impl Fn(&&Basic) -> bool) -> Vec<Link> {
    facts::basics().iter().filter(wanted).map(|row| basic_link(language, row.code)).collect()
}

fn datum(code: &str, kind: &str, entry: &Entry, more: Value) -> Value {
    let mut datum = json!({"code": code, "kind": kind, "name": entry.name, "meaning": entry.meaning});
    if let (Value::Object(into), Value::Object(from)) = (&mut datum, more) {
        into.extend(from);
    }
    datum
}

fn speaks(words: &[String], code: &str, facts: &[&str], entry: &Entry) -> bool {
    if words.is_empty() {
        return true;
    }
    let mut text = format!("{code} {} {} {} {}", facts.join(" "), entry.name, entry.meaning, entry.detail);
    for part in entry.when.iter().chain(&entry.causes) {
        text.push(' ');
        text.push_str(part);
    }
    let text = folded(&text);
    words.iter().all(|word| text.contains(word.as_str()))
}

/// Lower case and without accents, so that a search finds what was meant.
fn folded(text: &str) -> String {
    let plain = |c: char| match c {
        'á' | 'à' | 'â' | 'ä' | 'ã' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'î' | 'ï' => 'i',
        'ó' | 'ô' | 'ö' | 'õ' => 'o',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'ç' => 'c',
        'ñ' => 'n',
        other => other,
    };
    text.to_lowercase().chars().map(plain).collect()
}
