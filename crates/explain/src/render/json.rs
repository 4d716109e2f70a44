//! A page as JSON: the data in no language, then every section under its key.

use crate::page::{Block, Page, Piece, Target, fenced, pieces};
use crate::render::turns;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The page as one JSON object.
pub fn json(page: &Page) -> Value {
    let mut out = page.data.clone();
    out.insert("language".into(), json!(page.language));
    out.insert("title".into(), json!(marked(&page.title)));
    out.insert("summary".into(), json!(marked(&page.lead)));
    let facts: Map<String, Value> = page
        .facts
        .iter()
        .map(|fact| (fact.key.to_owned(), json!({"label": fact.label, "value": value(&fact.value)})))
        .collect();
    out.insert("facts".into(), Value::Object(facts));
    let sections = page.sections.iter().map(|section| {
        let blocks: Vec<Value> = section.blocks.iter().map(block).collect();
        json!({"key": section.key, "title": section.title, "content": blocks})
    });
    out.insert("sections".into(), sections.collect());
    Value::Object(out)
}

/// The page as JSON in text, indented. What would turn the reading direction, and control characters
/// beyond ASCII, are escaped: the value stays what it is, and the text shows what it says.
pub fn json_text(page: &Page) -> String {
    let mut out = String::new();
    for c in format!("{:#}\n", json(page)).chars() {
        // Such a character stands in a string only, and is one unit of UTF-16 (RFC 8259 §7).
        if turns(c) || (c.is_control() && c != '\n') {
            _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn block(block: &Block) -> Value {
    match block {
        Block::Text(text) => json!({"text": marked(text)}),
        Block::Warning(text) => json!({"warning": marked(text)}),
        Block::Heading(text) => json!({"heading": marked(text)}),
        Block::List(items) => json!({"list": all_marked(items)}),
        Block::Steps(items) => json!({"steps": all_marked(items)}),
        Block::Literal(lines) => json!({"literal": lines}),
        Block::Questions(all) => {
            let all: Vec<Value> =
                all.iter().map(|(q, a)| json!({"question": marked(q), "answer": marked(a)})).collect();
            json!({"questions": all})
        }
        Block::Table { head, rows } => {
            let rows: Vec<_> = rows.iter().map(|row| all_marked(row)).collect();
            json!({"table": {"head": head, "rows": rows}})
        }
        Block::Links(links) => {
            let links: Vec<Value> =
                links.iter().map(|link| json!({"code": name(&link.target), "text": link.text})).collect();
            json!({"links": links})
        }
    }
}

fn all_marked(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| marked(text)).collect()
}

/// A value that is one literal stands by itself: it is for programs.
fn value(text: &str) -> String {
    let mut all = pieces(text);
    match (all.next(), all.next()) {
        (Some(Piece::Literal(only)), None) => only.to_owned(),
        _ => marked(text),
    }
}

/// The text with its literals between backticks.
fn marked(text: &str) -> String {
    pieces(text)
        .map(|piece| match piece {
            Piece::Plain(plain) => plain.to_owned(),
            Piece::Literal(literal) => fenced(literal),
        })
        .collect()
}

fn name(target: &Target) -> String {
    match target {
        Target::Basic(code) => code.to_string(),
        Target::Enhanced(key) | Target::Pair(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_the_reading_direction_is_escaped() {
        let page = Page::new("en", "a\u{202e}b\u{85}");
        let told = json_text(&page);
        assert!(told.contains(r#""title": "a\u202eb\u0085""#), "{told}");
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), json(&page));
    }
}
