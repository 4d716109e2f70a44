//! A setting's value as it is shown: plain data, printed as TOML.

use super::raw::bare_or_quoted;
use std::collections::BTreeMap;
use std::fmt;

/// A value as `effective`, `why` and their JSON forms show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what of TOML the keys use")]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(u64),
    /// True or false.
    Flag(bool),
    /// A list.
    List(Vec<Value>),
    /// Names and what they stand for.
    Table(BTreeMap<String, Value>),
}

impl Value {
    pub(super) fn text(text: impl fmt::Display) -> Self {
        Self::Text(text.to_string())
    }
}

/// As TOML on one line.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Integer(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Table(fields) if fields.is_empty() => f.write_str("{}"),
            Self::Table(fields) => {
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{} = {value}", if at == 0 { "{ " } else { ", " }, bare_or_quoted(name))?;
                }
                f.write_str(" }")
            }
        }
    }
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let escaped = format!("\\u{:04X}", u32::from(c));
                out.push_str(&escaped);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
