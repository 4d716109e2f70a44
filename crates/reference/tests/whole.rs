//! The reference is whole: every code in every language, nothing stale, nothing left in English,
//! nothing that the facts do not say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_proto::reply::ReplyId;
use postroad_reference::language::{Kind, tags};
use postroad_reference::{Language, Standing, check, facts};
use std::collections::BTreeSet;

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{} {what}:\n{}", found.len(), found.join("\n"));
}

fn languages() -> impl Iterator<Item = &'static Language> {
    tags().map(|tag| Language::find(tag).unwrap())
}

#[test]
fn every_file_is_read() {
    for tag in tags() {
        none("unreadable", &check::unreadable(tag));
    }
    assert_eq!(tags().collect::<Vec<_>>(), ["en", "de", "es", "fr", "pt"]);
}

#[test]
fn every_code_has_an_entry() {
    let english = Language::english();
    let mut gaps = Vec::new();
    for basic in facts::basics() {
        match english.code(basic.code) {
            None => gaps.push(format!("{} has no entry", basic.code)),
            Some(entry) => {
                let texts = [&entry.name, &entry.meaning, &entry.detail, &entry.session, &entry.next];
                if texts.iter().any(|text| text.is_empty())
                    || entry.when.is_empty()
                    || entry.causes.is_empty()
                {
                    gaps.push(format!("{} has gaps", basic.code));
                }
                if entry.faq.len() < 3 {
                    gaps.push(format!("{} has {} questions, not three", basic.code, entry.faq.len()));
                }
            }
        }
        let traits = basic.traits;
        if [traits.stage, traits.retry, traits.actor, traits.session, traits.delivery]
            .iter()
            .any(|t| t.is_empty())
        {
            gaps.push(format!("{} has no row in reply-traits.tsv", basic.code));
        }
    }
    for row in facts::enhanced() {
        if english.enhanced(row.code).is_none_or(|entry| entry.detail.is_empty() || entry.causes.is_empty()) {
            gaps.push(format!("{} has no entry, or one with gaps", row.code));
        }
    }
    for kind in [Kind::Cause, Kind::Action] {
        for rule in facts::rules() {
            let key = if kind == Kind::Cause { rule.cause } else { rule.action };
            if english.topic(kind, key).is_none() {
                gaps.push(format!("{}: no text for {key}", rule.id));
            }
        }
    }
    none("codes without an entry", &gaps);
}

#[test]
fn every_known_refusal_has_an_id_of_its_own() {
    let mut seen = BTreeSet::new();
    let twice: Vec<String> =
        facts::rules().iter().filter(|rule| !seen.insert(rule.id)).map(|rule| rule.id.to_owned()).collect();
    none("ids that stand twice", &twice);
}

#[test]
fn every_refusal_of_ours_is_explained_as_its_facts_say() {
    let english = Language::english();
    let mut gaps = Vec::new();
    for id in ReplyId::ALL {
        let Some(basic) = facts::basic_code(id.code()) else {
            gaps.push(format!("{}: {} has no facts", id.name(), id.code()));
            continue;
        };
        if basic.standing != Standing::Standard {
            gaps.push(format!("{}: {} is no standard code", id.name(), id.code()));
        }
        if let Some(enhanced) = id.enhanced() {
            let numbers: Vec<u16> =
                enhanced.to_string().split('.').map(|part| part.parse().unwrap()).collect();
            let rows = facts::enhanced_code(numbers[0], numbers[1], numbers[2]);
            let class = numbers[0].to_string();
            let fits = rows
                .iter()
                .any(|row| row.is_registered() && row.classes.split(',').any(|have| have == class));
            // The field gives these in a class that RFC 3463 does not name; the facts tell so.
            let told = rows.iter().any(|row| {
                row.note.contains("is the form everyone sends") || row.note.contains("is the usual form")
            });
            if !fits && !told && !basic.enhanced.contains(&enhanced.to_string()) {
                gaps.push(format!("{}: {enhanced} is not registered for its class", id.name()));
            }
        }
        if id.code() >= 400 && english.topic(Kind::Reply, id.name()).is_none_or(|topic| topic.fix.is_empty())
        {
            gaps.push(format!("{}: no text tells cause and fix", id.name()));
        }
    }
    for name in Language::topics(Kind::Reply) {
        if !ReplyId::ALL.iter().any(|id| id.name() == name && id.code() >= 400) {
            gaps.push(format!("{name} is no refusal of the catalogue"));
        }
    }
    none("replies that catalogue and reference tell differently", &gaps);
}

#[test]
fn every_code_has_an_example_and_ours_are_marked() {
    let ours: BTreeSet<u16> = ReplyId::ALL.iter().map(|id| id.code()).collect();
    let mut gaps = Vec::new();
    for basic in facts::basics() {
        match postroad_reference::example(basic.code) {
            None => gaps.push(format!("{} has no example", basic.code)),
            Some(text) => {
                if text.starts_with("# not ours") == ours.contains(&basic.code) {
                    gaps.push(format!("{}: wrongly marked as ours or not", basic.code));
                }
                if basic.class != facts::Class::Pseudo && !text.contains(&format!("{}", basic.code)) {
                    gaps.push(format!("{}: its example does not show it", basic.code));
                }
            }
        }
    }
    for (name, _) in postroad_reference::examples() {
        if name.parse().ok().and_then(facts::basic_code).is_none() {
            gaps.push(format!("{name}: an example of no code"));
        }
    }
    none("gaps in the examples", &gaps);
}

#[test]
fn no_translation_lacks_anything() {
    for language in languages() {
        none(&format!("texts missing in {}", language.tag()), &check::missing(language));
    }
}

#[test]
fn no_translation_is_stale() {
    for language in languages().filter(|language| language.tag() != "en") {
        none(
            &format!("texts stale in {}; cargo xtask translations tells more", language.tag()),
            &check::stale(language),
        );
    }
}

#[test]
fn no_english_is_left() {
    for language in languages().filter(|language| language.tag() != "en") {
        none(&format!("texts of {} in English", language.tag()), &check::left_in_english(language));
    }
}

#[test]
fn translations_name_the_same_codes_and_sections() {
    for language in languages().filter(|language| language.tag() != "en") {
        none(
            &format!("texts of {} that name others than the English", language.tag()),
            &check::unlike_english(language),
        );
    }
}

#[test]
fn terms_are_the_glossarys() {
    for language in languages() {
        none(
            &format!("words in {} that the glossary keeps out", language.tag()),
            &check::against_glossary(language),
        );
    }
}

#[test]
fn texts_name_only_codes_that_exist() {
    for language in languages() {
        none(&format!("codes in {} that no fact row has", language.tag()), &check::against_facts(language));
    }
}
