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
        self.0.as_ref().is_some_and(|regex| regex.is_match(text))
    }

    pub(crate) fn find(&self, text: &[u8]) -> Option<Range<usize>> {
        self.0.as_ref()?.find(text).map(|found| found.range())
    }

    pub(crate) fn find_all(&self, text: &[u8], most: usize) -> Vec<Range<usize>> {
        let Some(regex) = &self.0 else { return Vec::new() };
        regex.find_iter(text).take(most).map(|found| found.range()).collect()
    }

    /// The ranges of the groups of the first match, the whole first.
    pub(crate) fn groups(&self, text: &[u8]) -> Option<Vec<Option<Range<usize>>>> {
        let found = self.0.as_ref()?.captures(text)?;
        Some(found.iter().map(|group| group.map(|group| group.range())).collect())
    }

    /// The same for every match.
    pub(crate) fn all_groups(&self, text: &[u8], most: usize) -> Vec<Vec<Option<Range<usize>>>> {
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
        self.0.as_ref().map(|set| set.matches(text).into_iter().collect()).unwrap_or_default()
    }
}

/// A pattern compiled once.
macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: std::sync::LazyLock<crate::pattern::Pattern> =
            std::sync::LazyLock::new(|| crate::pattern::Pattern::own($pattern));
    };
}
pub(crate) use pattern;

/// Words of `bounce-words.tsv`, compiled once.
macro_rules! words {
    ($name:ident, $key:literal) => {
        static $name: std::sync::LazyLock<crate::pattern::Pattern> = std::sync::LazyLock::new(|| {
            crate::pattern::Pattern::own(postroad_reference::signs::words($key).map_or("", |words| words.pattern))
        });
    };
}
pub(crate) use words;
