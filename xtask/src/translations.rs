//! How whole the translations are, and the marks by which a stale one is known.
//!
//! Each translated entry keeps the mark of the English that it follows. After a translation was brought
//! up to date, `cargo xtask translations --mark LANG` writes the marks of today's English into it.

use crate::{root, trouble};
use postroad_reference::check::{self, Part};
use postroad_reference::language::{Language, tags};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;

/// A table of kinds of entries and languages: how many per cent of the entries are there and up to date.
pub fn coverage() -> String {
    let english = check::parts(Language::english());
    let mut kinds: Vec<&str> = english.keys().map(|key| kind(key)).collect();
    kinds.dedup();
    let languages: Vec<&Language> = tags().filter_map(|tag| Language::find(tag).ok()).collect();
    let mut out = format!("{:<12}{:>8}", "entries", "number");
    for language in &languages {
        _ = write!(out, "{:>8}", language.tag());
    }
    out.push('\n');
    let states: Vec<BTreeSet<String>> = languages.iter().map(|language| current(language)).collect();
    for kind in kinds {
        let wanted: Vec<&String> = english.keys().filter(|key| self::kind(key) == kind).collect();
        _ = write!(out, "{kind:<12}{:>8}", wanted.len());
        for state in &states {
            let there = wanted.iter().filter(|key| state.contains(**key)).count();
            _ = write!(out, "{:>7}%", there * 100 / wanted.len().max(1));
        }
        out.push('\n');
    }
    out
}

/// What is wrong with the translations, as sentences.
pub fn faults() -> Vec<String> {
    let mut found = Vec::new();
    for language in tags().filter_map(|tag| Language::find(tag).ok()) {
        let tag = language.tag();
        let mut tell =
            |faults: Vec<String>| found.extend(faults.into_iter().map(|fault| format!("{tag}: {fault}")));
        tell(check::unreadable(tag));
        tell(check::missing(language));
        tell(check::against_glossary(language));
        tell(check::against_facts(language));
        if tag != "en" {
            tell(check::stale(language));
            tell(check::left_in_english(language));
            tell(check::unlike_english(language));
        }
    }
    found
}

/// Writes the marks of today's English into a translation; gives how many entries changed.
pub fn mark(tag: &str) -> io::Result<usize> {
    let english = check::parts(Language::english());
    let folder = root().join("crates/reference/data").join(tag);
    if tag == "en" || !folder.join("language.toml").is_file() {
        return trouble(format!(
            "{tag} is not a translation; there are: {}",
            tags().collect::<Vec<_>>().join(", ")
        ));
    }
    let mut changed = 0;
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let before = fs::read_to_string(&path)?;
        let after = marked(&before, &english, &mut changed);
        if after != before {
            fs::write(&path, after)?;
        }
    }
    Ok(changed)
}

/// The text with `english = "…"` as the first line of each table that translates one.
fn marked(text: &str, english: &BTreeMap<String, Part>, changed: &mut usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut due: Option<String> = None;
    for line in text.lines() {
        if let Some(mark) = due.take() {
            let wanted = format!("english = \"{mark}\"");
            *changed += usize::from(line != wanted);
            out.push_str(&wanted);
            out.push('\n');
            if line.starts_with("english = ") {
                continue;
            }
        }
        out.push_str(line);
        out.push('\n');
        let header = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        due = header.and_then(|header| english.get(&header.replace('"', ""))).map(Part::mark);
    }
    out
}

/// The entries that are there, of the right shape and not stale.
fn current(language: &Language) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = check::parts(language).into_keys().collect();
    let mut faults = check::missing(language);
    if language.tag() != "en" {
        faults.extend(check::stale(language));
    }
    for fault in faults {
        if let Some(key) = fault.split([' ', ':']).next() {
            all.remove(key);
        }
    }
    all
}

fn kind(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_written_once_and_only_into_translated_tables() {
        let english = check::parts(Language::english());
        let mark = english.get("code.354").map(Part::mark).unwrap_or_default();
        let text = "# head\n[code.354]\nname = \"x\"\n\n[words]\n\"a.b\" = \"c\"\n";
        let mut changed = 0;
        let once = marked(text, &english, &mut changed);
        assert_eq!(
            once,
            format!("# head\n[code.354]\nenglish = \"{mark}\"\nname = \"x\"\n\n[words]\n\"a.b\" = \"c\"\n")
        );
        assert_eq!((marked(&once, &english, &mut changed), changed), (once.clone(), 1));
    }
}
