//! Regular expressions on strangers' octets: case-insensitive, octets rather than Unicode, linear time.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use std::ops::Range;

/// What a compiled pattern may take; the tables stay far below.
const SIZE: usize = 32 * 1024 * 1024;

/// A pattern of our own or of the tables. One that does not compile matches nothing; a test compiles all.
#[derive(Debug)]
pub(crate) struct Pattern(Option<Regex>);

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(RegexBuilder::new(pattern).case_insensitive(true).unicode(false).size_limit(SIZE).build().ok())
    }

    /// A pattern of this crate, which tests would show not to compile.
    pub(crate) fn own(pattern: &str) -> Self {
        let own = Self::new(pattern);
        debug_assert!(own.0.is_some(), "{pattern:?} does not compile");
        own
    }

    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        steps::count(text.len());
        self.0.as_ref().is_some_and(|regex| regex.is_match(text))
    }

    pub(crate) fn find(&self, text: &[u8]) -> Option<Range<usize>> {
        steps::count(text.len());
        self.0.as_ref()?.find(text).map(|found| found.range())
    }

    pub(crate) fn find_all(&self, text: &[u8], most: usize) -> Vec<Range<usize>> {
        steps::count(text.len());
        let Some(regex) = &self.0 else { return Vec::new() };
        regex.find_iter(text).take(most).map(|found| found.range()).collect()
    }

    /// The ranges of the groups of the first match, the whole first.
    pub(crate) fn groups(&self, text: &[u8]) -> Option<Vec<Option<Range<usize>>>> {
        steps::count(text.len());
        let found = self.0.as_ref()?.captures(text)?;
        Some(found.iter().map(|group| group.map(|group| group.range())).collect())
    }

    /// The same for every match.
    pub(crate) fn all_groups(&self, text: &[u8], most: usize) -> Vec<Vec<Option<Range<usize>>>> {
        steps::count(text.len());
        let Some(regex) = &self.0 else { return Vec::new() };
        regex
            .captures_iter(text)
            .take(most)
            .map(|found| found.iter().map(|group| group.map(|group| group.range())).collect())
            .collect()
    }
}

/// Many patterns, found in one pass.
#[derive(Debug)]
pub(crate) struct Patterns(Option<RegexSet>);

impl Patterns {
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            RegexSetBuilder::new(patterns)
                .case_insensitive(true)
                .unicode(false)
                .size_limit(SIZE)
                .dfa_size_limit(4 * 1024 * 1024)
                .build()
                .ok(),
        )
    }

    /// The places of those that match, ascending.
    pub(crate) fn matches(&self, text: &[u8]) -> Vec<usize> {
        steps::count(text.len());
        self.0.as_ref().map(|set| set.matches(text).into_iter().collect()).unwrap_or_default()
    }
}

/// Octets that patterns were run over, so that tests see whether work grows with its input.
pub(crate) mod steps {
    #[cfg(test)]
    thread_local! {
        static DONE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[cfg(test)]
    pub(crate) fn count(octets: usize) {
        DONE.set(DONE.get() + octets + 1);
    }

    #[cfg(not(test))]
    pub(crate) const fn count(_octets: usize) {}

    /// What was done since the last asking.
    #[cfg(test)]
    pub(crate) fn take() -> usize {
        DONE.replace(0)
    }
}

/// A pattern compiled once.
macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: std::sync::LazyLock<crate::reading::pattern::Pattern> =
            std::sync::LazyLock::new(|| crate::reading::pattern::Pattern::own($pattern));
    };
}
pub(crate) use pattern;

/// Words of `bounce-words.tsv`, compiled once.
macro_rules! words {
    ($name:ident, $key:literal) => {
        static $name: std::sync::LazyLock<crate::reading::pattern::Pattern> =
            std::sync::LazyLock::new(|| {
                crate::reading::pattern::Pattern::own(
                    postroad_reference::signs::words($key).map_or("", |words| words.pattern),
                )
            });
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain_text;
    use postroad_reference::{facts, signs};

    /// A pattern that does not compile would silently match nothing.
    #[test]
    fn every_pattern_of_the_tables_compiles() {
        let rules = facts::rules().iter().map(|rule| (rule.id, rule.pattern));
        let texts =
            signs::signs().iter().filter(|sign| sign.kind == "text").map(|sign| (sign.provider, sign.value));
        let words = [
            "sender",
            "compete",
            "doubt",
            "passing",
            "delayed",
            "original",
            "quoted",
            "failed",
            "automatic",
            "refuse",
        ]
        .map(|key| (key, signs::words(key).unwrap().pattern));
        for (name, pattern) in rules.chain(texts).chain(words) {
            assert!(Pattern::new(pattern).0.is_some(), "{name}: {pattern}");
            assert!(!Pattern::new(pattern).is_match(b""), "{name} matches nothing at all: {pattern}");
        }
    }

    #[test]
    fn the_tables_speak_of_the_same_things() {
        let cause = |key: &str| signs::causes().iter().any(|row| row.key == key);
        let action = |key: &str| signs::actions().iter().any(|row| row.key == key);
        for rule in facts::rules() {
            assert!(cause(rule.cause) && action(rule.action), "{}: {} {}", rule.id, rule.cause, rule.action);
        }
        for row in signs::code_causes() {
            assert!(cause(row.cause) && action(row.action), "{}", row.code);
            assert!(row.readings == "-" || row.readings.split(',').all(cause), "{}", row.code);
            assert!(
                row.vendor == "-" || signs::signs().iter().any(|sign| sign.vendor == row.vendor),
                "{}",
                row.code
            );
        }
        for sign in signs::signs() {
            assert!(facts::rules().iter().any(|rule| rule.provider == sign.provider), "{}", sign.provider);
        }
        for row in facts::enhanced().iter().filter(|row| row.is_registered() && row.classes != "2") {
            let known = signs::code_causes().iter().any(|have| have.vendor == "-" && have.code == row.code);
            assert!(known || matches!(row.code, "X.0.0" | "X.3.6" | "X.6.10"), "{} has no cause", row.code);
        }
    }

    type Maker = fn(usize) -> String;

    /// The lines of many numbers.
    fn lines(count: usize, line: fn(usize) -> String) -> String {
        (0..count).map(line).collect::<Vec<_>>().concat()
    }

    /// Twice the input is at most twice the work, with room for rounding.
    #[test]
    fn work_grows_with_the_input() {
        let makers: [(&str, Maker); 12] = [
            ("one line", |n| "a".repeat(n)),
            ("replies", |n| "550 5.1.1 no\n".repeat(n / 13)),
            ("recipients", |n| lines(n / 40, |i| format!("<a{i}@x.org>: 550 5.1.1 user {i} unknown\n"))),
            ("recipients without a word", |n| "<a@b.org>\n".repeat(n / 10)),
            ("commands", |n| "C: MAIL FROM:<a@b>\n".repeat(n / 19)),
            ("dialogue", |n| "S: 220 x\n".to_owned() + &"C: EHLO x\nS: 250 x\n".repeat(n / 19)),
            ("log", |n| {
                lines(n / 80, |i| {
                    format!(
                        "m postfix/smtp[1]: Q{i:06}: to=<a{i}@x.org>, relay=m[1.1.1.1]:25, dsn=5.1.1, status=bounced (host m said: 550 no {i})\n"
                    )
                })
            }),
            ("qmail's log", |n| {
                lines(n / 70, |i| {
                    format!(
                        "starting delivery {i}: msg 1 to remote a{i}@x.org\ndelivery {i}: deferral: a_b/\n"
                    )
                })
            }),
            ("given up", |n| {
                lines(n / 60, |i| {
                    format!("m p: Q{:06}: from=<a@b>, status=expired, returned to sender\n", i / 2)
                })
            }),
            ("quoted dialogue", |n| {
                lines(n / 90, |i| format!("<a{i}@x.org>\n    (reason: 550 no)\n"))
                    + &lines(n / 90, |i| format!(">>> RCPT To:<a{i}@x.org>\n<<< 550 no such {i}\n"))
            }),
            ("parts", |n| {
                "Subject: x\nMIME-Version: 1.0\n".to_owned()
                    + &lines(n / 60, |i| {
                        format!("Content-Type: multipart/mixed; boundary=\"b{i}\"\n\n--b{i}\n")
                    })
            }),
            ("marks", |n| "--- ".repeat(n / 4)),
        ];
        for (name, make) in makers {
            let work = |n: usize| {
                steps::take();
                explain_text(make(n).as_bytes());
                steps::take()
            };
            let (once, twice) = (work(100_000), work(200_000));
            assert!(twice <= once * 5 / 2 + 200_000, "{name}: {once} octets of work, then {twice}");
        }
    }
}
