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

/// A piece of a section. Text holds literal wire text in backticks, and no other markup.
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

/// Cuts a text at its backticks.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let parts = text.split('`').enumerate();
    parts
        .filter(|(_, part)| !part.is_empty())
        .map(|(at, part)| if at % 2 == 1 { Piece::Literal(part) } else { Piece::Plain(part) })
}
