//! Whether the texts are whole: what a translation lacks, what in it is stale, what is left in English,
//! and what contradicts the facts.
//!
//! Used by the tests of this crate and by `cargo xtask translations`, which shows a table and marks a
//! translated entry as following the English of today.

use crate::facts;
use crate::language::{Entry, KINDS, Kind, Language, Pair, Topic, parse};
use std::collections::BTreeMap;

/// A text with the key under which it stands, as `code.354` or `words.heading.faq`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The table and the key.
    pub key: String,
    /// The mark of the English that it says to translate; empty in English itself.
    pub follows: String,
    /// Its strings, in a fixed order; lists are told by their length.
    pub strings: Vec<String>,
    /// How many strings each list has: a translation has as many.
    pub shape: Vec<usize>,
}

impl Part {
    /// The mark of this text: eight hexadecimal digits, which change when a string changes.
    pub fn mark(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        for string in &self.strings {
            hasher.update(string.as_bytes());
            hasher.update(&[0]);
        }
        format!("{:08x}", hasher.finalize())
    }
}

/// Every text of a language, by key.
pub fn parts(language: &Language) -> BTreeMap<String, Part> {
    let mut all = BTreeMap::new();
    let mut add = |part: Part| {
        all.insert(part.key.clone(), part);
    };
    for (key, entry) in language.own_codes() {
        add(of_entry(format!("code.{key}"), entry));
    }
    for (key, entry) in language.own_enhanced() {
        add(of_entry(format!("enhanced.{key}"), entry));
    }
    for (key, pair) in language.own_pairs() {
        add(of_pair(format!("pair.{key}"), pair));
    }
    for &kind in KINDS {
        for (key, topic) in language.own(kind) {
            add(of_topic(format!("{}.{key}", kind.key()), topic));
        }
    }
    for (key, text) in language.own_words() {
        let strings = vec![text.clone()];
        add(Part { key: format!("words.{key}"), follows: String::new(), strings, shape: Vec::new() });
    }
    all
}

/// The files of a language that do not parse, or that repeat one another; empty when all is well.
pub fn unreadable(tag: &str) -> Vec<String> {
    parse(tag).err().into_iter().collect()
}

/// What a translation lacks of the English, and what it has beyond it.
pub fn missing(language: &Language) -> Vec<String> {
    let (english, own) = (parts(Language::english()), parts(language));
    let lacks = english.iter().filter_map(|(key, want)| match own.get(key) {
        None => Some(format!("{key} is missing")),
        Some(have) if have.shape != want.shape => {
            Some(format!("{key} has lists of {:?} where English has {:?}", have.shape, want.shape))
        }
        Some(have) => {
            let gap = want.strings.iter().zip(&have.strings).find(|(w, h)| w.is_empty() != h.is_empty());
            gap.map(|(w, h)| format!("{key}: {w:?} became {h:?}"))
        }
    });
    let beyond = own.keys().filter(|key| !english.contains_key(*key));
    lacks.chain(beyond.map(|key| format!("{key} is not in English"))).collect()
}

/// What of a translation follows an English that has changed since.
pub fn stale(language: &Language) -> Vec<String> {
    let english = parts(Language::english());
    let own = parts(language);
    let all = own.values().filter(|have| !have.key.starts_with("words."));
    all.filter(|have| english.get(&have.key).is_some_and(|want| want.mark() != have.follows))
        .map(|have| format!("{} follows an older English (mark {:?})", have.key, have.follows))
        .collect()
}

/// Texts of a translation that are still English: the same words, or English small words in number.
pub fn left_in_english(language: &Language) -> Vec<String> {
    let english = Language::english();
    let source = parts(english);
    let mut found = Vec::new();
    for (key, part) in parts(language) {
        for (at, text) in part.strings.iter().enumerate() {
            let bare = without_literals(text);
            let words: Vec<String> = words_of(&bare).collect();
            let foreign = words.iter().filter(|word| english.stop_words().contains(word)).count();
            let own = words.iter().filter(|word| language.stop_words().contains(word)).count();
            let same = source.get(&key).and_then(|part| part.strings.get(at)) == Some(text);
            if (foreign >= 2 && foreign > own) || (same && words.len() >= 4 && foreign > 0) {
                found.push(format!("{key}: {text}"));
            }
        }
    }
    found
}

/// Where a translation names other codes, sections, commands or placeholders than the English.
pub fn unlike_english(language: &Language) -> Vec<String> {
    let source = parts(Language::english());
    let mut found = Vec::new();
    for (key, part) in parts(language) {
        let Some(english) = source.get(&key) else { continue };
        for (want, have) in english.strings.iter().zip(&part.strings) {
            let (want_marks, have_marks) = (marks(want), marks(have));
            // More may be set as wire text than in English, where quotation marks do; not less.
            let (want_literals, have_literals) = (literals(want), literals(have));
            let missing = want_literals.iter().filter(|literal| !have_literals.contains(literal));
            if want_marks != have_marks || missing.clone().next().is_some() {
                let lost = want_marks.iter().filter(|mark| !have_marks.contains(mark)).chain(missing);
                let lost: Vec<_> = lost.collect();
                let new: Vec<_> = have_marks.iter().filter(|mark| !want_marks.contains(mark)).collect();
                found.push(format!("{key}: lost {lost:?}, new {new:?}, in: {have}"));
            }
        }
    }
    found
}

/// Where a language uses a word that its glossary keeps out.
pub fn against_glossary(language: &Language) -> Vec<String> {
    let avoid: Vec<(&str, &str)> = language
        .own(Kind::Term)
        .values()
        .flat_map(|term| term.avoid.iter().map(move |word| (word.as_str(), term.name.as_str())))
        .collect();
    let mut found = Vec::new();
    for (key, part) in parts(language) {
        for text in &part.strings {
            let bare = without_literals(text).to_lowercase();
            for (word, term) in &avoid {
                if holds_word(&bare, &word.to_lowercase()) {
                    found.push(format!("{key}: {word:?}, where the term is {term:?}, in: {text}"));
                }
            }
        }
    }
    found
}

/// Codes and sections that a text names though no fact row has them.
pub fn against_facts(language: &Language) -> Vec<String> {
    let mut found = Vec::new();
    for (key, part) in parts(language) {
        if key.starts_with("words.") {
            continue;
        }
        for text in &part.strings {
            found.extend(unknown_sections(text).map(|cited| format!("{key}: no {cited}, in: {text}")));
            for mark in marks(text) {
                if let Some(fault) = contradiction(&mark) {
                    found.push(format!("{key}: {fault}, in: {text}"));
                }
            }
        }
    }
    found
}

/// The cited sections of RFCs that do not exist, as far as the facts know.
fn unknown_sections(text: &str) -> impl Iterator<Item = String> {
    text.split("RFC ").skip(1).filter_map(|after| {
        let (rfc, rest) = after.split_once(' ')?;
        let section = rest.strip_prefix('§')?;
        let end = section.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(section.len());
        let section = section.get(..end)?.trim_end_matches('.');
        (!facts::has_section(rfc, section)).then(|| format!("RFC {rfc} §{section}"))
    })
}

fn contradiction(mark: &str) -> Option<String> {
    let numbers: Vec<u16> = mark.split('.').filter_map(|part| part.parse().ok()).collect();
    match *numbers.as_slice() {
        [class @ (2 | 4 | 5), subject, detail] if mark.split('.').count() == 3 => {
            facts::enhanced_code(class, subject, detail).is_empty().then(|| format!("no row has {mark}"))
        }
        _ => None,
    }
}

impl Kind {
    /// The name of the table in the files.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Term => "term",
            Self::Class => "class",
            Self::Second => "second",
            Self::Subject => "subject",
            Self::Status => "status",
            Self::Reply => "reply",
            Self::Cause => "cause",
            Self::Action => "action",
            Self::Fault => "fault",
            Self::Stall => "stall",
        }
    }
}

fn of_entry(key: String, entry: &Entry) -> Part {
    let mut strings = vec![entry.name.clone(), entry.meaning.clone(), entry.detail.clone()];
    strings.extend([entry.session.clone(), entry.next.clone()]);
    let lists =
        [&entry.when, &entry.causes, &entry.sender, &entry.operator, &entry.providers, &entry.corrections];
    let mut shape: Vec<usize> = lists.iter().map(|list| list.len()).collect();
    shape.push(entry.faq.len());
    strings.extend(lists.into_iter().flatten().cloned());
    strings.extend(entry.faq.iter().flat_map(|faq| [faq.q.clone(), faq.a.clone()]));
    Part { key, follows: entry.english.clone(), strings, shape }
}

fn of_pair(key: String, pair: &Pair) -> Part {
    let mut strings = vec![pair.summary.clone(), pair.note.clone(), pair.server.clone(), pair.got.clone()];
    strings.extend(pair.differences.iter().cloned());
    Part { key, follows: pair.english.clone(), strings, shape: vec![pair.differences.len()] }
}

/// The words to avoid are a language's own, and not part of what is translated.
fn of_topic(key: String, topic: &Topic) -> Part {
    let mut strings = vec![topic.name.clone(), topic.meaning.clone(), topic.detail.clone()];
    strings.extend([topic.unknown.clone(), topic.record.clone(), topic.whose.clone(), topic.harm.clone()]);
    strings.extend(topic.fix.iter().chain(&topic.operator).cloned());
    Part { key, follows: topic.english.clone(), strings, shape: vec![topic.fix.len(), topic.operator.len()] }
}

/// The text without what stands in backticks or braces: wire text and placeholders are no language.
fn without_literals(text: &str) -> String {
    let outside = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    outside.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, after)| after)).collect()
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

fn holds_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|tail| tail.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// What every translation of a text has in common: codes, enhanced codes, sections, placeholders.
fn marks(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .split(|c: char| c.is_whitespace() || "`,;:()\"“”„«»‹›/?!–—".contains(c))
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '§' && c != '{' && c != '}'))
        .filter(|word| is_mark(word))
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Wire text, which is the same in every language.
fn literals(text: &str) -> Vec<String> {
    let mut found: Vec<String> =
        text.split('`').skip(1).step_by(2).map(|literal| format!("`{literal}`")).collect();
    found.sort();
    found.dedup();
    found
}

fn is_mark(word: &str) -> bool {
    let code = word.len() == 3 && word.starts_with(['2', '3', '4', '5']) && all_digits(word);
    let parts: Vec<&str> = word.split('.').collect();
    let enhanced = matches!(parts.as_slice(), ["2" | "4" | "5" | "X", subject, detail]
        if all_digits(subject) && detail.split('-').all(all_digits));
    let section = word.strip_prefix('§').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let placeholder = word.starts_with('{') && word.ends_with('}');
    code || enhanced || section || placeholder
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_what_no_translation_may_change() {
        let text = "See 550 5.7.1 (RFC 5321 §4.5.2), 5.7.501-503; `{code}`, 1000 or 20 min.";
        assert_eq!(marks(text), ["5.7.1", "5.7.501-503", "550", "{code}", "§4.5.2"]);
    }

    #[test]
    fn words_are_found_whole() {
        assert!(holds_word("a blacklist is", "blacklist"));
        assert!(!holds_word("blacklisted", "blacklist"));
        assert_eq!(
            without_literals("say `a the of` to {name} now").split_whitespace().collect::<Vec<_>>(),
            ["say", "to", "now"]
        );
    }

    #[test]
    fn codes_without_a_row_are_found() {
        assert_eq!(contradiction("5.9.99").as_deref(), Some("no row has 5.9.99"));
        assert_eq!(contradiction("5.7.26"), None);
        let told: Vec<String> =
            unknown_sections("RFC 5321 §4.5.2. RFC 5321 §99, RFC 9 §1; RFC 5321").collect();
        assert_eq!(told, ["RFC 5321 §99", "RFC 9 §1"]);
    }
}
