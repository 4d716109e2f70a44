//! One language: every text, read once from the files of its folder.

use crate::data::LANGUAGES;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

/// The texts of one code, basic or enhanced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Entry {
    /// The mark of the English that this translates.
    #[serde(default)]
    pub english: String,
    /// Short name.
    pub name: String,
    /// What it means, in one sentence.
    pub meaning: String,
    /// The same in a paragraph.
    pub detail: String,
    /// When you will see it.
    pub when: Vec<String>,
    /// Common causes.
    pub causes: Vec<String>,
    /// What the sender does, step by step; empty where nothing needs fixing.
    pub sender: Vec<String>,
    /// What the operator of the answering server does.
    pub operator: Vec<String>,
    /// The session afterwards.
    #[serde(default)]
    pub session: String,
    /// What comes next.
    #[serde(default)]
    pub next: String,
    /// Questions and answers.
    #[serde(default)]
    pub faq: Vec<Question>,
    /// Notes on providers.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Errors of other references, put right.
    #[serde(default)]
    pub corrections: Vec<String>,
}

/// A question that people ask, and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Question {
    /// The question.
    pub q: String,
    /// The answer.
    pub a: String,
}

/// A hand-written comparison of two codes that people confuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pair {
    /// The mark of the English that this translates.
    #[serde(default)]
    pub english: String,
    /// What each is, and why they are mixed up.
    pub summary: String,
    /// What really separates them.
    pub note: String,
    /// Differences, each naming both.
    pub differences: Vec<String>,
    /// When which, for those who write or run servers.
    pub server: String,
    /// When which, for those who got one.
    pub got: String,
}

/// A text of several parts: a class, cause, action, fault, stall, glossary term or reply of ours.
/// Which parts there are depends on what it is about; [`crate::check`] compares them with the English.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Topic {
    /// The mark of the English that this translates.
    #[serde(default)]
    pub english: String,
    /// Its name.
    #[serde(default, alias = "term")]
    pub name: String,
    /// What it means; in a reply of ours, what happened.
    #[serde(default, alias = "happened")]
    pub meaning: String,
    /// More of it; in a reply of ours, the rule behind it.
    #[serde(default, alias = "why")]
    pub detail: String,
    /// Told of a number of this kind that does not exist.
    #[serde(default)]
    pub unknown: String,
    /// What to do, step by step.
    #[serde(default, alias = "steps")]
    pub fix: Vec<String>,
    /// What the operator does.
    #[serde(default)]
    pub operator: Vec<String>,
    /// Which record or setting changes it.
    #[serde(default)]
    pub record: String,
    /// Whose problem it is.
    #[serde(default)]
    pub whose: String,
    /// What became of the message.
    #[serde(default)]
    pub harm: String,
    /// Words that texts must not use for this term.
    #[serde(default)]
    pub avoid: Vec<String>,
}

/// Headings and sentences of the pages themselves, by key; `{name}` stands for a value.
type Words = BTreeMap<String, String>;

/// The files of a language, read as one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Texts {
    #[serde(default)]
    language: About,
    #[serde(default)]
    words: Words,
    #[serde(default)]
    code: BTreeMap<String, Entry>,
    #[serde(default)]
    enhanced: BTreeMap<String, Entry>,
    #[serde(default)]
    pair: BTreeMap<String, Pair>,
    #[serde(default)]
    term: BTreeMap<String, Topic>,
    #[serde(default)]
    class: BTreeMap<String, Topic>,
    #[serde(default)]
    second: BTreeMap<String, Topic>,
    #[serde(default)]
    subject: BTreeMap<String, Topic>,
    #[serde(default)]
    status: BTreeMap<String, Topic>,
    #[serde(default)]
    reply: BTreeMap<String, Topic>,
    #[serde(default)]
    cause: BTreeMap<String, Topic>,
    #[serde(default)]
    action: BTreeMap<String, Topic>,
    #[serde(default)]
    fault: BTreeMap<String, Topic>,
    #[serde(default)]
    stall: BTreeMap<String, Topic>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    #[serde(default)]
    name: String,
    #[serde(default)]
    stop_words: Vec<String>,
}

/// The kinds of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A term of the glossary.
    Term,
    /// The first digit: `1` to `5`, `pseudo`.
    Class,
    /// The second digit: `0` to `5`.
    Second,
    /// The subject of an enhanced code: `0` to `7`.
    Subject,
    /// How far a standard backs a code: a key of [`crate::Standing`].
    Status,
    /// A refusal of this server, by the name of its `ReplyId`.
    Reply,
    /// The cause of a bounce.
    Cause,
    /// What a sender does about it.
    Action,
    /// A protocol fault in a transcript.
    Fault,
    /// Why a session stalled.
    Stall,
}

/// Every kind of topic.
pub const KINDS: &[Kind] = &[
    Kind::Term,
    Kind::Class,
    Kind::Second,
    Kind::Subject,
    Kind::Status,
    Kind::Reply,
    Kind::Cause,
    Kind::Action,
    Kind::Fault,
    Kind::Stall,
];

/// A language of the reference. What it lacks is told in English.
#[derive(Debug)]
pub struct Language {
    tag: &'static str,
    texts: Texts,
}

/// No such language.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownLanguage {
    /// What was asked for.
    pub asked: String,
    /// The nearest tag there is, if one is near.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for UnknownLanguage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no language {:?}", self.asked)?;
        if let Some(nearest) = self.nearest {
            write!(f, "; did you mean {nearest}?")?;
        }
        write!(f, " There are: {}", tags().collect::<Vec<_>>().join(", "))
    }
}

impl std::error::Error for UnknownLanguage {}

/// The tags of all languages, English first.
pub fn tags() -> impl Iterator<Item = &'static str> {
    let others = LANGUAGES.iter().map(|(tag, _)| *tag).filter(|tag| *tag != "en");
    std::iter::once("en").chain(others)
}

impl Language {
    /// English, which every other language translates.
    pub fn english() -> &'static Self {
        static ENGLISH: OnceLock<Language> = OnceLock::new();
        ENGLISH.get_or_init(|| Self::read("en"))
    }

    /// The language of a tag or locale: `de`, `de-AT`, `de_AT.UTF-8`; `C` and `POSIX` are English.
    pub fn find(asked: &str) -> Result<&'static Self, UnknownLanguage> {
        static ALL: OnceLock<Vec<OnceLock<Language>>> = OnceLock::new();
        let primary = asked.split(['-', '_', '.', '@']).next().unwrap_or_default().to_ascii_lowercase();
        if matches!(primary.as_str(), "en" | "c" | "posix") {
            return Ok(Self::english());
        }
        let all = ALL.get_or_init(|| LANGUAGES.iter().map(|_| OnceLock::new()).collect());
        let place = LANGUAGES.iter().position(|(tag, _)| *tag == primary);
        match place.and_then(|at| Some((LANGUAGES.get(at)?.0, all.get(at)?))) {
            Some((tag, cell)) => Ok(cell.get_or_init(|| Self::read(tag))),
            None => Err(UnknownLanguage { asked: asked.to_owned(), nearest: nearest(&primary) }),
        }
    }

    /// Reads the files of a language. That they parse is what the tests of this crate show; here a file
    /// that does not is as good as missing, and English stands in.
    fn read(tag: &'static str) -> Self {
        Self { tag, texts: parse(tag).unwrap_or_default() }
    }

    /// The tag, as `en`.
    pub fn tag(&self) -> &'static str {
        self.tag
    }

    /// Its own name, as `Deutsch`.
    pub fn name(&self) -> &str {
        &self.texts.language.name
    }

    /// Its most frequent small words, by which a text in it is known.
    pub fn stop_words(&self) -> &[String] {
        &self.texts.language.stop_words
    }

    /// The texts of a basic code.
    pub fn code(&self, code: u16) -> Option<&Entry> {
        let key = code.to_string();
        self.texts.code.get(&key).or_else(|| Self::english().texts.code.get(&key))
    }

    /// The texts of a row of the enhanced codes, by its key.
    pub fn enhanced(&self, key: &str) -> Option<&Entry> {
        self.texts.enhanced.get(key).or_else(|| Self::english().texts.enhanced.get(key))
    }

    /// The hand-written comparison of a pair, by its key: `354-550`, the lower first.
    pub fn pair(&self, key: &str) -> Option<&Pair> {
        self.texts.pair.get(key).or_else(|| Self::english().texts.pair.get(key))
    }

    /// The keys of all hand-written comparisons.
    pub fn pairs() -> impl Iterator<Item = &'static str> {
        Self::english().texts.pair.keys().map(String::as_str)
    }

    /// A topic.
    pub fn topic(&self, kind: Kind, key: &str) -> Option<&Topic> {
        self.own(kind).get(key).or_else(|| Self::english().own(kind).get(key))
    }

    /// The topics of a kind, by key.
    pub fn topics(kind: Kind) -> impl Iterator<Item = &'static str> {
        Self::english().own(kind).keys().map(String::as_str)
    }

    /// A heading or sentence of the pages. A key that nobody wrote is shown as itself, and fails the tests.
    pub fn word<'a>(&'a self, key: &'a str) -> &'a str {
        let own = self.texts.words.get(key).or_else(|| Self::english().texts.words.get(key));
        own.map_or(key, String::as_str)
    }

    /// The same with values in place of `{name}`.
    pub fn say(&self, key: &str, values: &[(&str, &str)]) -> String {
        fill(self.word(key), values)
    }

    pub(crate) fn own(&self, kind: Kind) -> &BTreeMap<String, Topic> {
        let texts = &self.texts;
        match kind {
            Kind::Term => &texts.term,
            Kind::Class => &texts.class,
            Kind::Second => &texts.second,
            Kind::Subject => &texts.subject,
            Kind::Status => &texts.status,
            Kind::Reply => &texts.reply,
            Kind::Cause => &texts.cause,
            Kind::Action => &texts.action,
            Kind::Fault => &texts.fault,
            Kind::Stall => &texts.stall,
        }
    }

    pub(crate) fn own_words(&self) -> &Words {
        &self.texts.words
    }

    pub(crate) fn own_codes(&self) -> &BTreeMap<String, Entry> {
        &self.texts.code
    }

    pub(crate) fn own_enhanced(&self) -> &BTreeMap<String, Entry> {
        &self.texts.enhanced
    }

    pub(crate) fn own_pairs(&self) -> &BTreeMap<String, Pair> {
        &self.texts.pair
    }
}

/// Puts values in place of `{name}`; what has no value stays as it is.
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let known = after.split_once('}').and_then(|(name, tail)| {
            values.iter().find(|(have, _)| *have == name).map(|(_, value)| (*value, tail))
        });
        rest = if let Some((value, tail)) = known {
            out.push_str(value);
            tail
        } else {
            out.push('{');
            after
        };
    }
    out.push_str(rest);
    out
}

fn nearest(asked: &str) -> Option<&'static str> {
    tags()
        .map(|tag| (strsim::damerau_levenshtein(tag, asked), tag))
        .filter(|(far, _)| *far <= 1)
        .min()
        .map(|(_, tag)| tag)
}

/// Reads the files of a language as one table; a file that does not parse is named in the error.
pub(crate) fn parse(tag: &str) -> Result<Texts, String> {
    let mut all = Texts::default();
    let files = LANGUAGES.iter().find(|(have, _)| *have == tag).map(|(_, files)| *files).unwrap_or_default();
    for (name, text) in files {
        let part: Texts = toml::from_str(text).map_err(|error| format!("data/{tag}/{name}.toml: {error}"))?;
        if !part.language.name.is_empty() {
            all.language = part.language;
        }
        let place = |key: &str| format!("data/{tag}/{name}.toml: {key} stands in another file too");
        merge(&mut all.words, part.words).map_err(|key| place(&key))?;
        merge(&mut all.code, part.code).map_err(|key| place(&key))?;
        merge(&mut all.enhanced, part.enhanced).map_err(|key| place(&key))?;
        merge(&mut all.pair, part.pair).map_err(|key| place(&key))?;
        for (into, from) in [
            (&mut all.term, part.term),
            (&mut all.class, part.class),
            (&mut all.second, part.second),
            (&mut all.subject, part.subject),
            (&mut all.status, part.status),
            (&mut all.reply, part.reply),
            (&mut all.cause, part.cause),
            (&mut all.action, part.action),
            (&mut all.fault, part.fault),
            (&mut all.stall, part.stall),
        ] {
            merge(into, from).map_err(|key| place(&key))?;
        }
    }
    Ok(all)
}

fn merge<V>(into: &mut BTreeMap<String, V>, from: BTreeMap<String, V>) -> Result<(), String> {
    for (key, value) in from {
        if into.insert(key.clone(), value).is_some() {
            return Err(key);
        }
    }
    Ok(())
}
