//! Kinds of values: how each is read, what a message says it takes, and how it is shown.

use super::problem::{Origin, Problem};
use super::raw::{Item, Node, shown};
use super::types::{ListenAddress, MaildirTemplate, Network};
use super::value::Value;
use super::words::Words;
use postroad_proto::addr::Domain;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Elements of a list or table in the file. More belong into a file of their own.
const MAX_ELEMENTS: usize = 100_000;

/// The key that is being read, and where faults are reported.
pub(super) struct Asked<'a> {
    pub(super) key: &'a str,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Asked<'_> {
    /// Reports that what was found is not what is taken. The value is lost, hence always `None`.
    fn wrong<T>(&mut self, at: &Origin, found: impl AsRef<str>, right: impl AsRef<str>) -> Option<T> {
        self.problems.push(Problem::new(
            at.clone(),
            format!("{} {}; it takes {}", self.key, found.as_ref(), right.as_ref()),
        ));
        None
    }

    fn mismatch<T, K: Kind>(&mut self, node: &Node) -> Option<T> {
        self.wrong(&node.at, format!("is {}", node.named()), K::takes())
    }

    fn text<'n, K: Kind>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.item {
            Item::Text(text) => Some(text),
            Item::Integer(_) | Item::Flag(_) | Item::List(_) | Item::Table(_) | Item::Other(_) => {
                self.mismatch::<_, K>(node)
            }
        }
    }

    fn list<'n, K: Kind>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.item {
            Item::List(items) if items.len() <= MAX_ELEMENTS => Some(items),
            Item::List(items) => self.wrong(
                &node.at,
                format!("has {} elements", items.len()),
                format!("at most {MAX_ELEMENTS}"),
            ),
            Item::Text(_) | Item::Integer(_) | Item::Flag(_) | Item::Table(_) | Item::Other(_) => {
                self.mismatch::<_, K>(node)
            }
        }
    }

    fn table<'n, K: Kind>(&mut self, node: &'n Node) -> Option<&'n BTreeMap<String, Node>> {
        match &node.item {
            Item::Table(fields) if fields.len() <= MAX_ELEMENTS => Some(fields),
            Item::Table(fields) => self.wrong(
                &node.at,
                format!("has {} elements", fields.len()),
                format!("at most {MAX_ELEMENTS}"),
            ),
            Item::Text(_) | Item::Integer(_) | Item::Flag(_) | Item::List(_) | Item::Other(_) => {
                self.mismatch::<_, K>(node)
            }
        }
    }
}

/// A kind of value.
pub(super) trait Kind {
    /// What it is in the checked configuration.
    type Out;
    /// What it takes, as the end of "it takes …".
    fn takes() -> String;
    /// Reads it; reports what is wrong.
    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Self::Out>;
    /// Shows it in its plainest form; that reads back as the same value.
    fn write(value: &Self::Out) -> Value;
}

/// `true` or `false`.
pub(super) struct Flag;

impl Kind for Flag {
    type Out = bool;

    fn takes() -> String {
        "true or false".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<bool> {
        match &node.item {
            Item::Flag(flag) => Some(*flag),
            Item::Text(_) | Item::Integer(_) | Item::List(_) | Item::Table(_) | Item::Other(_) => {
                asked.mismatch::<_, Self>(node)
            }
        }
    }

    fn write(value: &bool) -> Value {
        Value::Flag(*value)
    }
}

/// A whole number.
pub(super) struct Number<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Kind for Number<MIN, MAX> {
    type Out = u64;

    fn takes() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<u64> {
        let number = match &node.item {
            Item::Integer(number) => u64::try_from(*number).ok(),
            Item::Text(_) | Item::Flag(_) | Item::List(_) | Item::Table(_) | Item::Other(_) => None,
        };
        match number {
            Some(number) if (MIN..=MAX).contains(&number) => Some(number),
            _ => asked.mismatch::<_, Self>(node),
        }
    }

    fn write(value: &u64) -> Value {
        Value::Integer(*value)
    }
}

/// A whole number of things that are held in memory.
pub(super) struct Count<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Kind for Count<MIN, MAX> {
    type Out = usize;

    fn takes() -> String {
        Number::<MIN, MAX>::takes()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<usize> {
        let number = Number::<MIN, MAX>::read(node, asked)?;
        usize::try_from(number).ok().or_else(|| asked.mismatch::<_, Self>(node))
    }

    fn write(value: &usize) -> Value {
        Value::Integer(*value as u64)
    }
}

/// A unit and how many of the smallest make one of it, the smallest first.
type Units = [(&'static str, u64)];

const SIZES: &Units = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
const TIMES: &Units = &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// A number with a unit, or a plain number of the smallest unit.
fn measured(item: &Item, units: &Units) -> Result<u64, &'static str> {
    let text = match item {
        Item::Integer(number) => return u64::try_from(*number).map_err(|_negative| "is negative"),
        Item::Text(text) => text,
        Item::Flag(_) | Item::List(_) | Item::Table(_) | Item::Other(_) => return Err(""),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let number: u64 = number.parse().map_err(|_not| if digits == 0 { "" } else { "is too large" })?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or("has an unknown unit")?;
    number.checked_mul(*factor).ok_or("is too large")
}

/// The same number in the largest unit that leaves it whole.
fn in_units(number: u64, units: &Units) -> String {
    let fits = |(_, factor): &&(&str, u64)| number != 0 && number.is_multiple_of(*factor);
    let (unit, factor) = units.iter().rev().find(fits).copied().unwrap_or(("", 1));
    format!("{}{unit}", number / factor)
}

fn names(units: &Units) -> String {
    units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn read_measured<K: Kind>(
    node: &Node,
    units: &Units,
    range: (u64, u64),
    asked: &mut Asked<'_>,
) -> Option<u64> {
    match measured(&node.item, units) {
        Ok(number) if (range.0..=range.1).contains(&number) => Some(number),
        Ok(_) | Err("") => asked.mismatch::<_, K>(node),
        Err(fault) => asked.wrong(&node.at, format!("is {}, which {fault}", node.named()), K::takes()),
    }
}

/// Octets.
pub(super) struct Bytes<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Kind for Bytes<MIN, MAX> {
    type Out = u64;

    fn takes() -> String {
        format!(
            "a size such as \"50MiB\", from {} to {} (units {}; a plain number is octets)",
            in_units(MIN, SIZES),
            in_units(MAX, SIZES),
            names(SIZES)
        )
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<u64> {
        read_measured::<Self>(node, SIZES, (MIN, MAX), asked)
    }

    fn write(value: &u64) -> Value {
        if *value == 0 { Value::Integer(0) } else { Value::Text(in_units(*value, SIZES)) }
    }
}

/// A span of time in whole seconds.
pub(super) struct Span<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Kind for Span<MIN, MAX> {
    type Out = Duration;

    fn takes() -> String {
        format!(
            "a time such as \"5m\", from {} to {} (units {}; a plain number is seconds)",
            in_units(MIN, TIMES),
            in_units(MAX, TIMES),
            names(TIMES)
        )
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Duration> {
        read_measured::<Self>(node, TIMES, (MIN, MAX), asked).map(Duration::from_secs)
    }

    fn write(value: &Duration) -> Value {
        let seconds = value.as_secs();
        if seconds == 0 { Value::Integer(0) } else { Value::Text(in_units(seconds, TIMES)) }
    }
}

/// Spans of time, at least one.
pub(super) struct Spans<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Kind for Spans<MIN, MAX> {
    type Out = Vec<Duration>;

    fn takes() -> String {
        format!("a list of 1 to 100 elements, each {}", Span::<MIN, MAX>::takes())
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Vec<Duration>> {
        let items = asked.list::<Self>(node)?;
        if items.is_empty() || items.len() > 100 {
            return asked.wrong(&node.at, format!("has {} elements", items.len()), Self::takes());
        }
        all(items, |item| Span::<MIN, MAX>::read(item, asked))
    }

    fn write(value: &Vec<Duration>) -> Value {
        Value::List(value.iter().map(Span::<MIN, MAX>::write).collect())
    }
}

/// Reads all elements, so that each fault is reported, and then says whether all were right.
fn all<T>(items: &[Node], read: impl FnMut(&Node) -> Option<T>) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = items.iter().map(read).collect();
    read.into_iter().collect()
}

/// Any string; what it has to be is checked where other keys are known.
pub(super) struct Text;

impl Kind for Text {
    type Out = String;

    fn takes() -> String {
        "a string".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<String> {
        asked.text::<Self>(node).map(str::to_owned)
    }

    fn write(value: &String) -> Value {
        Value::text(value)
    }
}

/// One word of a few.
pub(super) struct Choice<T>(PhantomData<T>);

impl<T: Words> Kind for Choice<T> {
    type Out = T;

    fn takes() -> String {
        let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<T> {
        let text = asked.text::<Self>(node)?;
        match T::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Some(*value),
            None => asked.mismatch::<_, Self>(node),
        }
    }

    fn write(value: &T) -> Value {
        Value::text(T::WORDS.iter().find(|(_, known)| known == value).map_or("", |(word, _)| *word))
    }
}

/// A host's name.
pub(super) struct HostName;

impl Kind for HostName {
    type Out = Domain;

    fn takes() -> String {
        "a host name such as \"mx.example.org\"".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Domain> {
        let text = asked.text::<Self>(node)?;
        let machine;
        let name = if text.is_empty() {
            machine = rustix::system::uname();
            &machine.nodename().to_string_lossy()
        } else {
            text
        };
        match Domain::parse(name) {
            // the greeting is ASCII (RFC 5321 §4.2)
            Ok(domain) if domain.is_ascii() => Some(domain),
            Ok(_) => asked.wrong(&node.at, format!("is {}", shown(name)), "its ASCII form (xn--…)"),
            Err(fault) => asked.wrong(&node.at, format!("is {}: {fault}", shown(name)), Self::takes()),
        }
    }

    fn write(value: &Domain) -> Value {
        Value::text(value)
    }
}

/// A path. One in a file is relative to the file's directory, any other to the working directory.
pub(super) struct Paths;

impl Kind for Paths {
    type Out = PathBuf;

    fn takes() -> String {
        "a path".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<PathBuf> {
        let text = asked.text::<Self>(node)?;
        if text.is_empty() { Some(PathBuf::new()) } else { absolute(text, node, asked) }
    }

    fn write(value: &PathBuf) -> Value {
        Value::text(value.display())
    }
}

fn absolute(text: &str, node: &Node, asked: &mut Asked<'_>) -> Option<PathBuf> {
    let base = match &node.at {
        Origin::File { file, .. } => file.parent().map(PathBuf::from).unwrap_or_default(),
        Origin::Default | Origin::Local | Origin::Option(_) => PathBuf::new(),
    };
    // where a path goes through the system as a C string, a NUL would end it early
    let path = base.join(text);
    match std::path::absolute(&path) {
        Ok(path) if !text.contains('\0') && path.to_str().is_some() => Some(path),
        _ => asked.wrong(&node.at, format!("is {}", shown(text)), "a path in UTF-8 without NUL"),
    }
}

/// Where to listen.
pub(super) struct ListenText;

impl Kind for ListenText {
    type Out = ListenAddress;

    fn takes() -> String {
        "an address such as \"0.0.0.0:25\", \"[::]:25\", \"unix:/run/postroad/lmtp.sock\" or \"fd:NAME\""
            .to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<ListenAddress> {
        let text = asked.text::<Self>(node)?;
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return absolute(path, node, asked).map(ListenAddress::Unix);
        }
        if let Some(name) = text.strip_prefix("fd:").filter(|name| !name.is_empty()) {
            return Some(ListenAddress::Inherited(name.to_owned()));
        }
        match text.parse() {
            Ok(address) => Some(ListenAddress::Tcp(address)),
            Err(_) => asked.mismatch::<_, Self>(node),
        }
    }

    fn write(value: &ListenAddress) -> Value {
        Value::text(value)
    }
}

/// An IP address with a port, or empty.
pub(super) struct HttpAddress;

impl Kind for HttpAddress {
    type Out = Option<SocketAddr>;

    fn takes() -> String {
        "an address such as \"127.0.0.1:9025\", or \"\" for none".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Option<SocketAddr>> {
        let text = asked.text::<Self>(node)?;
        if text.is_empty() {
            return Some(None);
        }
        text.parse().ok().map(Some).or_else(|| asked.mismatch::<_, Self>(node))
    }

    fn write(value: &Option<SocketAddr>) -> Value {
        value.map_or_else(|| Value::text(""), Value::text)
    }
}

/// Networks.
pub(super) struct Networks;

impl Kind for Networks {
    type Out = Vec<Network>;

    fn takes() -> String {
        "a list of networks such as [\"10.0.0.0/8\", \"2001:db8::1\"]".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Vec<Network>> {
        all(asked.list::<Self>(node)?, |item| {
            let text = asked.text::<Self>(item)?;
            match Network::parse(text) {
                Ok(network) => Some(network),
                Err(fault) => {
                    asked.wrong(&item.at, format!("has {}, which {fault}", shown(text)), Self::takes())
                }
            }
        })
    }

    fn write(value: &Vec<Network>) -> Value {
        Value::List(value.iter().map(Value::text).collect())
    }
}

/// Strings; what they have to be is checked where the domain is known.
pub(super) struct LocalParts;

impl Kind for LocalParts {
    type Out = Vec<String>;

    fn takes() -> String {
        "a list of strings such as [\"alice\", \"bob\"]".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Vec<String>> {
        all(asked.list::<Self>(node)?, |item| asked.text::<Self>(item).map(str::to_owned))
    }

    fn write(value: &Vec<String>) -> Value {
        Value::List(value.iter().map(Value::text).collect())
    }
}

/// Names and whom each stands for.
pub(super) struct AliasTable;

impl Kind for AliasTable {
    type Out = BTreeMap<String, Vec<String>>;

    fn takes() -> String {
        "a table such as { sales = [\"alice\", \"bob\"] }".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Self::Out> {
        let fields = asked.table::<Self>(node)?;
        let read: Vec<Option<(String, Vec<String>)>> = fields
            .iter()
            .map(|(name, item)| {
                let targets = match &item.item {
                    Item::Text(one) => Some(vec![one.clone()]),
                    Item::List(_) | Item::Integer(_) | Item::Flag(_) | Item::Table(_) | Item::Other(_) => {
                        all(asked.list::<Self>(item)?, |target| asked.text::<Self>(target).map(str::to_owned))
                    }
                };
                Some((name.clone(), targets?))
            })
            .collect();
        read.into_iter().collect()
    }

    fn write(value: &Self::Out) -> Value {
        Value::Table(value.iter().map(|(name, targets)| (name.clone(), LocalParts::write(targets))).collect())
    }
}

/// Quotas by mailbox.
pub(super) struct QuotaTable;

impl Kind for QuotaTable {
    type Out = BTreeMap<String, u64>;

    fn takes() -> String {
        "a table such as { bob = \"1GiB\" }".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Self::Out> {
        let fields = asked.table::<Self>(node)?;
        let read: Vec<Option<(String, u64)>> = fields
            .iter()
            .map(|(name, item)| Some((name.clone(), Bytes::<0, { 1 << 50 }>::read(item, asked)?)))
            .collect();
        read.into_iter().collect()
    }

    fn write(value: &Self::Out) -> Value {
        Value::Table(value.iter().map(|(name, size)| (name.clone(), Bytes::<0, 0>::write(size))).collect())
    }
}

/// One character that may stand in a local part, or none.
pub(super) struct Separator;

impl Kind for Separator {
    type Out = Option<char>;

    fn takes() -> String {
        "one character such as \"+\" or \"-\", or \"\" for none".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Option<char>> {
        let text = asked.text::<Self>(node)?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (None, _) => Some(None),
            (Some(c), None) if "!#$%&'*+-/=?^_`{|}~.".contains(c) => Some(Some(c)),
            _ => asked.mismatch::<_, Self>(node),
        }
    }

    fn write(value: &Option<char>) -> Value {
        value.map_or_else(|| Value::text(""), Value::text)
    }
}

impl Kind for MaildirTemplate {
    type Out = Self;

    fn takes() -> String {
        "a path that begins with {data} or / and may have {domain} and {local}".to_owned()
    }

    fn read(node: &Node, asked: &mut Asked<'_>) -> Option<Self> {
        let text = asked.text::<Self>(node)?;
        match Self::parse(text) {
            Ok(template) => Some(template),
            Err(fault) => asked.wrong(&node.at, fault, Self::takes()),
        }
    }

    fn write(value: &Self) -> Value {
        Value::text(value)
    }
}
