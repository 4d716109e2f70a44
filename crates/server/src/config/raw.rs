//! The raw configuration: exactly the TOML, each value with the place where it was set.
//!
//! Reading never fails half-way: what is malformed becomes a [`Problem`]. Files are bounded in size
//! and in the depth of their tables.

use super::problem::{Origin, Problem};
use super::value::quoted;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// The largest file that is read, in octets.
pub(super) const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Our own tables go five deep.
const MAX_DEPTH: usize = 16;

/// Names and what they are set to.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and where it was set.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Origin,
    pub(super) item: Item,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(Table),
    /// What no key takes, by its name in a message.
    Other(&'static str),
}

impl Node {
    /// What it is, for a message.
    pub(super) fn named(&self) -> String {
        match &self.item {
            Item::Text(text) => shown(text),
            Item::Integer(number) => number.to_string(),
            Item::Flag(flag) => flag.to_string(),
            Item::List(_) => "a list".to_owned(),
            Item::Table(_) => "a table".to_owned(),
            Item::Other(name) => (*name).to_owned(),
        }
    }

    /// Whether it can only be a section: a table or a list of tables.
    pub(super) fn is_section(&self) -> bool {
        match &self.item {
            Item::Table(_) => true,
            Item::List(items) => items.first().is_some_and(|first| matches!(first.item, Item::Table(_))),
            Item::Text(_) | Item::Integer(_) | Item::Flag(_) | Item::Other(_) => false,
        }
    }
}

/// A string for a message: quoted, escaped, and not too long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return quoted(text);
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{}…", quoted(&start))
}

/// A name as TOML writes it: bare if it can be.
pub(super) fn bare_or_quoted(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { quoted(name) }
}

/// Reads a file's text. Whatever is malformed is reported, and then nothing of it is used.
pub(super) fn parse_file(text: &str, file: &Path, problems: &mut Vec<Problem>) -> Table {
    let file: Arc<Path> = file.into();
    let lines = Lines::of(text);
    let at = |offset: usize| Origin::File { file: Arc::clone(&file), line: lines.line(offset) };
    if let Some(offset) = too_deep(text) {
        let fault = format!("tables, lists and dotted keys go at most {MAX_DEPTH} deep");
        problems.push(Problem::new(at(offset), fault));
        return Table::new();
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return convert_table(document.into_inner(), &at, MAX_DEPTH);
    }
    let mut faults: Vec<(usize, String)> = errors
        .iter()
        .map(|error| (error.span().map_or(0, |span| span.start), one_line(error.message())))
        .collect();
    faults.sort();
    problems.extend(
        faults.into_iter().map(|(offset, fault)| Problem::new(at(offset), format!("not TOML: {fault}"))),
    );
    Table::new()
}

/// Reads the settings of the local instance.
pub(super) fn parse_local(text: &str, problems: &mut Vec<Problem>) -> Table {
    match DeTable::parse(text) {
        Ok(document) => convert_table(document.into_inner(), &|_| Origin::Local, MAX_DEPTH),
        Err(error) => {
            problems.push(Problem::new(Origin::Local, one_line(error.message())));
            Table::new()
        }
    }
}

/// Reads one value, such as a default.
pub(super) fn parse_value(text: &str, at: &Origin, problems: &mut Vec<Problem>) -> Option<Node> {
    if too_deep(text).is_some() {
        problems.push(Problem::new(at.clone(), format!("goes more than {MAX_DEPTH} deep")));
        return None;
    }
    match DeValue::parse(text) {
        Ok(value) => {
            Some(Node { at: at.clone(), item: convert(value.into_inner(), &|_| at.clone(), MAX_DEPTH) })
        }
        Err(error) => {
            problems.push(Problem::new(at.clone(), format!("not TOML: {}", one_line(error.message()))));
            None
        }
    }
}

/// Takes a dotted key apart: `domain."example.org".plus`.
pub(super) fn parse_key(text: &str) -> Result<Vec<String>, String> {
    let line = format!("{text} = 0");
    if text.contains(['\n', '=', '#', '[', '{']) || too_deep(text).is_some() {
        return Err(format!("{} is not a key such as limits.recipients", shown(text)));
    }
    let document = DeTable::parse(&line)
        .map_err(|_bad| format!("{} is not a key such as limits.recipients", shown(text)))?;
    let mut table = convert_table(document.into_inner(), &|_| Origin::Default, MAX_DEPTH);
    let mut parts = Vec::new();
    while let Some((name, node)) = table.pop_first() {
        parts.push(name);
        match node.item {
            Item::Table(inner) => table = inner,
            Item::Text(_) | Item::Integer(_) | Item::Flag(_) | Item::List(_) | Item::Other(_) => break,
        }
    }
    Ok(parts)
}

/// Sets one key of the tree, making the tables on its way; a number names an element of a list.
pub(super) fn set(tree: &mut Table, path: &[String], value: Node) -> Result<(), String> {
    let (last, way) = path.split_last().ok_or("the key is empty")?;
    let mut table = tree;
    let mut way = way.iter();
    while let Some(name) = way.next() {
        let node = table
            .entry(name.clone())
            .or_insert_with(|| Node { at: value.at.clone(), item: Item::Table(Table::new()) });
        table = match &mut node.item {
            Item::Table(inner) => inner,
            Item::List(items) => {
                let number = way.next().or(Some(last)).and_then(|text| text.parse::<usize>().ok());
                let count = items.len();
                match number.and_then(|at| items.get_mut(at)).map(|node| &mut node.item) {
                    Some(Item::Table(inner)) => inner,
                    _ => return Err(format!("{name} is a list of {count}; say which by its number, from 0")),
                }
            }
            Item::Text(_) | Item::Integer(_) | Item::Flag(_) | Item::Other(_) => {
                return Err(format!("{name} is a value, not a section"));
            }
        };
    }
    table.insert(last.clone(), value);
    Ok(())
}

type At<'a> = &'a dyn Fn(usize) -> Origin;

fn convert_table(table: DeTable<'_>, at: At<'_>, depth: usize) -> Table {
    table
        .into_iter()
        .map(|(name, value)| {
            let origin = at(name.span().start);
            let item = convert(value.into_inner(), at, depth.saturating_sub(1));
            (name.into_inner().into_owned(), Node { at: origin, item })
        })
        .collect()
}

fn convert(value: DeValue<'_>, at: At<'_>, depth: usize) -> Item {
    match value {
        DeValue::String(text) => Item::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Item::Integer(number),
            Err(_) => Item::Other("a number that is too large"),
        },
        DeValue::Float(_) => Item::Other("a number with a fraction"),
        DeValue::Boolean(flag) => Item::Flag(flag),
        DeValue::Datetime(_) => Item::Other("a date"),
        DeValue::Array(_) | DeValue::Table(_) if depth == 0 => Item::Other("a table or list nested too deep"),
        DeValue::Array(items) => Item::List(
            items
                .into_iter()
                .map(|item: Spanned<DeValue<'_>>| {
                    let origin = at(item.span().start);
                    Node { at: origin, item: convert(item.into_inner(), at, depth - 1) }
                })
                .collect(),
        ),
        DeValue::Table(table) => Item::Table(convert_table(table, at, depth)),
    }
}

/// Where a text goes deeper than any of ours could. The parser bounds the depth of brackets and of each
/// dotted key but not of both together, and dropping a deep tree takes as much stack.
fn too_deep(text: &str) -> Option<usize> {
    let (mut open, mut dots) = (0_usize, 0_usize);
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftCurlyBracket | TokenKind::LeftSquareBracket => {
                open += 1;
                dots = 0;
            }
            TokenKind::RightCurlyBracket | TokenKind::RightSquareBracket => open = open.saturating_sub(1),
            TokenKind::Dot => dots += 1,
            TokenKind::Equals | TokenKind::Comma | TokenKind::Newline => dots = 0,
            TokenKind::Whitespace
            | TokenKind::Comment
            | TokenKind::LiteralString
            | TokenKind::BasicString
            | TokenKind::MlLiteralString
            | TokenKind::MlBasicString
            | TokenKind::Atom
            | TokenKind::Eof => {}
        }
        if open > MAX_DEPTH || dots > MAX_DEPTH {
            return Some(token.span().start());
        }
    }
    None
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The line of an offset.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        Self { starts: std::iter::once(0).chain(line_starts(text)).collect() }
    }

    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }
}

fn line_starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1)
}
