//! A page: what there is to say, apart from how it is shown.
//!
//! Every answer of this crate is a [`Page`]; [`crate::render`] turns it into text for a terminal,
//! Markdown, HTML or JSON. Sections and facts carry keys that stay the same in every language.

use serde_json::{Map, Value};

/// A page in one language.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The language's tag, as `de`.
    pub language: String,
    /// Its heading.
    pub title: String,
    /// One sentence, for those who read nothing else.
    pub lead: String,
    /// Facts that belong beside the lead.
    pub facts: Vec<Fact>,
    /// The rest, in order.
    pub sections: Vec<Section>,
    /// The same as data, in no language, for programs.
    pub data: Map<String, Value>,
}

/// A labelled value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact {
    /// The key, the same in every language.
    pub key: &'static str,
    /// The label.
    pub label: String,
    /// The value.
    pub value: String,
}

/// A headed part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Section {
    /// The key, the same in every language; the anchor in HTML.
    pub key: String,
    /// The heading.
    pub title: String,
    /// What stands under it.
    pub blocks: Vec<Block>,
}

/// A piece of a section. Text holds literal wire text in backticks, and no other markup; what strangers wrote is
/// put between two marks instead that no text of theirs can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A paragraph that must be seen.
    Warning(String),
    /// Things in no order.
    List(Vec<String>),
    /// Things to do, in order.
    Steps(Vec<String>),
    /// A smaller heading.
    Heading(String),
    /// Questions and answers.
    Questions(Vec<(String, String)>),
    /// Rows under a head.
    Table {
        /// The head.
        head: Vec<String>,
        /// The rows, each as long as the head.
        rows: Vec<Vec<String>>,
    },
    /// Wire text, line by line, as it is.
    Literal(Vec<String>),
    /// Ways to other pages.
    Links(Vec<Link>),
}

/// A way to another page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The page.
    pub target: Target,
    /// What it is called.
    pub text: String,
}

/// What a page can be about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A basic code.
    Basic(u16),
    /// A row of the enhanced codes, by its key, as `X.7.26`.
    Enhanced(String),
    /// A comparison, by its key: the lower code first, as `354-550`.
    Pair(String),
}

impl Page {
    pub(crate) fn new(language: &str, title: impl Into<String>) -> Self {
        Self { language: language.to_owned(), title: title.into(), ..Self::default() }
    }

    pub(crate) fn fact(&mut self, key: &'static str, label: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.facts.push(Fact { key, label: label.into(), value });
        }
    }

    /// Adds a section, unless it would be empty.
    pub(crate) fn section(&mut self, key: impl Into<String>, title: impl Into<String>, blocks: Vec<Block>) {
        let blocks: Vec<Block> = blocks.into_iter().filter(|block| !block.is_empty()).collect();
        if !blocks.is_empty() {
            self.sections.push(Section { key: key.into(), title: title.into(), blocks });
        }
    }

    pub(crate) fn datum(&mut self, key: &str, value: impl Into<Value>) {
        self.data.insert(key.to_owned(), value.into());
    }
}

impl Block {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) | Self::Warning(text) | Self::Heading(text) => text.is_empty(),
            Self::List(items) | Self::Steps(items) | Self::Literal(items) => items.is_empty(),
            Self::Questions(all) => all.is_empty(),
            Self::Table { rows, .. } => rows.is_empty(),
            Self::Links(links) => links.is_empty(),
        }
    }
}

/// A piece of a line of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Prose.
    Plain(&'a str),
    /// Literal wire text, shown as such.
    Literal(&'a str),
}

/// Where text begins that a stranger wrote, and where it ends: control characters, so that they stand in no
/// text that is told otherwise.
const QUOTED: [char; 2] = ['\u{2}', '\u{3}'];

/// What a stranger wrote, as a literal that nothing in it can end.
pub(crate) fn quoted(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let [begin, end] = QUOTED;
    format!("{begin}{}{end}", text.replace(QUOTED, "\u{fffd}"))
}

/// Cuts a text into prose and literals.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let [begin, end] = QUOTED;
    let (mut rest, mut inside) = (text, None);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let at = match inside {
                Some(mark) => rest.find(mark),
                None => rest.find(['`', begin]),
            };
            let (part, after) = rest.split_at_checked(at.unwrap_or(rest.len())).unwrap_or((rest, ""));
            let mut marks = after.chars();
            let mark = marks.next();
            rest = marks.as_str();
            let piece = if inside.is_some() { Piece::Literal(part) } else { Piece::Plain(part) };
            inside = match (inside, mark) {
                (None, Some(mark)) if mark == begin => Some(end),
                (None, Some(mark)) => Some(mark),
                _ => None,
            };
            if !part.is_empty() {
                return Some(piece);
            }
        }
        None
    })
}

/// The text with its literals as it is, without any marks.
pub(crate) fn unmarked(text: &str) -> String {
    pieces(text)
        .map(|piece| match piece {
            Piece::Plain(part) | Piece::Literal(part) => part,
        })
        .collect()
}

/// A literal between more backticks than stand together in it (as Markdown has it).
pub(crate) fn fenced(literal: &str) -> String {
    let longest = literal.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    if longest == 0 {
        return format!("`{literal}`");
    }
    let fence = "`".repeat(longest + 1);
    format!("{fence} {literal} {fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_what_is_quoted_ends_it() {
        let text = format!("a `b` {} c", quoted("x`**y**`\u{3}z"));
        let found: Vec<_> = pieces(&text).collect();
        let wanted = [
            Piece::Plain("a "),
            Piece::Literal("b"),
            Piece::Plain(" "),
            Piece::Literal("x`**y**`\u{fffd}z"),
            Piece::Plain(" c"),
        ];
        assert_eq!(found, wanted);
        assert_eq!(pieces("``a`").collect::<Vec<_>>(), [Piece::Plain("a")]);
        assert_eq!(unmarked(&text), "a b x`**y**`\u{fffd}z c");
    }
}
