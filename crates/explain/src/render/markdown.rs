//! A page as Markdown (`CommonMark` with tables).

use crate::page::{Block, Page, Piece, fenced, pieces};
use crate::render::turns;
use std::fmt::Write as _;

/// The page as Markdown, ending in one line end.
pub fn markdown(page: &Page) -> String {
    let mut out = format!("# {}\n", inline(&page.title));
    if !page.lead.is_empty() {
        push(&mut out, &inline(&page.lead));
    }
    if !page.facts.is_empty() {
        out.push('\n');
    }
    for fact in &page.facts {
        _ = writeln!(out, "- **{}:** {}", inline(&fact.label), inline(&fact.value));
    }
    for section in &page.sections {
        push(&mut out, &format!("## {}", inline(&section.title)));
        for block in &section.blocks {
            push(&mut out, &self::block(block));
        }
    }
    out
}

fn push(out: &mut String, text: &str) {
    out.push('\n');
    out.push_str(text);
    out.push('\n');
}

fn block(block: &Block) -> String {
    match block {
        Block::Text(text) => inline(text),
        Block::Warning(text) => format!("> **{}**", inline(text)),
        Block::Heading(text) => format!("### {}", inline(text)),
        Block::List(items) => lines(items, |_, item| format!("- {}", inline(item))),
        Block::Steps(items) => lines(items, |at, item| format!("{}. {}", at + 1, inline(item))),
        Block::Literal(wire) => {
            // A fence longer than any run of backticks inside.
            let longest =
                wire.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
            let fence = "`".repeat(longest.max(2) + 1);
            format!("{fence}text\n{}\n{fence}", lines(wire, |_, line| harmless(line)))
        }
        Block::Questions(all) => lines(all, |at, (q, a)| {
            format!("{}**{}**\n\n{}", if at > 0 { "\n" } else { "" }, inline(q), inline(a))
        }),
        Block::Table { head, rows } => {
            let row = |cells: &[String]| {
                let cells: Vec<String> = cells.iter().map(|cell| inline(cell).replace('|', "\\|")).collect();
                format!("| {} |", cells.join(" | "))
            };
            let rule = format!("|{}", " --- |".repeat(head.len()));
            format!("{}\n{rule}\n{}", row(head), lines(rows, |_, cells| row(cells)))
        }
        Block::Links(links) => lines(links, |_, link| format!("- {}", inline(&link.text))),
    }
}

fn lines<T>(items: &[T], line: impl Fn(usize, &T) -> String) -> String {
    items.iter().enumerate().map(|(at, item)| line(at, item)).collect::<Vec<_>>().join("\n")
}

/// What Markdown would take for markup is escaped; literal text stays between its backticks.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for piece in pieces(text) {
        match piece {
            Piece::Literal(literal) => {
                out.push_str(&fenced(&harmless(literal)));
            }
            Piece::Plain(plain) => {
                for c in plain.chars() {
                    if matches!(c, '\\' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|') {
                        out.push('\\');
                    }
                    out.push(if c.is_control() { ' ' } else { shown(c) });
                }
            }
        }
    }
    out
}

fn harmless(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// What would turn the reading direction, or drive a terminal that shows the text, is replaced.
fn shown(c: char) -> char {
    if turns(c) || (c.is_control() && c != '\t') { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_the_reading_direction_is_replaced() {
        let mut page = Page::new("en", "a\u{202e}b");
        let quoted =
            vec![Block::Text("`\u{2067}c`".into()), Block::Literal(vec!["\u{200f}d\u{1b}[1m".into()])];
        page.section("s", "h", quoted);
        let told = markdown(&page);
        assert_eq!(told, "# a\u{fffd}b\n\n## h\n\n`\u{fffd}c`\n\n```text\n\u{fffd}d\u{fffd}[1m\n```\n");
    }
}
