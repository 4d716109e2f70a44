//! A page as text: wrapped to a width and coloured on a terminal, plain in a pipe.

use crate::page::{Block, Page, Piece, pieces};
use crate::render::turns;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How text is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Look {
    /// Columns to wrap at; `None` leaves every paragraph on one line, for pipes.
    pub width: Option<usize>,
    /// Whether to colour with ANSI escapes.
    pub colour: bool,
}

impl Look {
    /// For a pipe: unwrapped.
    pub const fn pipe(colour: bool) -> Self {
        Self { width: None, colour }
    }

    /// For a terminal of this many columns; between 40 and 100 are used.
    pub fn terminal(columns: usize, colour: bool) -> Self {
        Self { width: Some(columns.clamp(40, 100)), colour }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const BOLD: &str = "1";
const HEADING: &str = "1;36";
const WARNING: &str = "1;33";
const LITERAL: &str = "32";
const DIM: &str = "2";

/// The page as text, ending in one line end. Control characters of what was quoted are made harmless.
pub fn text(page: &Page, look: Look) -> String {
    let mut out = String::new();
    paragraph(&mut out, look, BOLD, "", "", &page.title);
    if !page.lead.is_empty() {
        out.push('\n');
        paragraph(&mut out, look, "", "", "", &page.lead);
    }
    if !page.facts.is_empty() {
        out.push('\n');
        let column = page.facts.iter().map(|fact| fact.label.width()).max().unwrap_or(0).min(28);
        for fact in &page.facts {
            let gap = " ".repeat(column.saturating_sub(fact.label.width()) + 2);
            let label = format!("  {}{gap}", look.paint(DIM, &fact.label));
            let hang = " ".repeat(column + 4);
            wrap(&mut out, look, "", (&label, fact.label.width().max(column) + 4), &hang, &fact.value);
        }
    }
    for section in &page.sections {
        out.push('\n');
        paragraph(&mut out, look, HEADING, "", "", &section.title);
        for block in &section.blocks {
            self::block(&mut out, look, block);
        }
    }
    out
}

fn block(out: &mut String, look: Look, block: &Block) {
    match block {
        Block::Text(text) => paragraph(out, look, "", "  ", "  ", text),
        Block::Warning(text) => paragraph(out, look, WARNING, "  ", "  ", text),
        Block::Heading(text) => paragraph(out, look, BOLD, "  ", "  ", text),
        Block::List(items) => {
            for item in items {
                paragraph(out, look, "", "  - ", "    ", item);
            }
        }
        Block::Steps(items) => {
            for (at, item) in items.iter().enumerate() {
                let number = format!("  {}. ", at + 1);
                paragraph(out, look, "", &number, &" ".repeat(number.len()), item);
            }
        }
        Block::Questions(all) => {
            for (question, answer) in all {
                paragraph(out, look, BOLD, "  ", "  ", question);
                paragraph(out, look, "", "    ", "    ", answer);
            }
        }
        Block::Literal(lines) => {
            for line in lines {
                out.push_str("    ");
                out.push_str(&look.paint(LITERAL, &harmless(line)));
                out.push('\n');
            }
        }
        Block::Table { head, rows } => table(out, look, head, rows),
        Block::Links(links) => {
            for link in links {
                paragraph(out, look, "", "  - ", "    ", &link.text);
            }
        }
    }
}

/// A table as columns where it fits, else each row as a small list.
fn table(out: &mut String, look: Look, head: &[String], rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..head.len())
        .map(|at| {
            rows.iter()
                .chain([&head.to_vec()])
                .filter_map(|row| row.get(at))
                .map(|cell| plain(cell).width())
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let whole = widths.iter().sum::<usize>() + 2 * widths.len();
    if look.width.is_some_and(|width| whole + 2 > width) {
        for row in rows {
            let mut cells = row.iter();
            paragraph(out, look, BOLD, "  ", "  ", cells.next().map_or("", String::as_str));
            for (label, cell) in head.iter().skip(1).zip(cells) {
                paragraph(out, look, "", "    ", "      ", &format!("{label}: {cell}"));
            }
        }
        return;
    }
    let mut line = |cells: &[String], code: &str| {
        out.push_str("  ");
        let last = cells.len().saturating_sub(1);
        for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let shown = plain(cell);
            let gap = if at == last { 0 } else { (width + 2).saturating_sub(shown.width()) };
            out.push_str(&look.paint(code, &shown));
            out.push_str(&" ".repeat(gap));
        }
        out.push('\n');
    };
    line(head, DIM);
    for row in rows {
        line(row, "");
    }
}

fn paragraph(out: &mut String, look: Look, code: &str, first: &str, hang: &str, text: &str) {
    wrap(out, look, code, (first, first.width()), hang, text);
}

/// Writes words, each with its colour, and breaks lines at the width.
fn wrap(out: &mut String, look: Look, code: &str, first: (&str, usize), hang: &str, text: &str) {
    out.push_str(first.0);
    let mut column = first.1;
    let mut at_start = true;
    let mut space_due = false;
    for piece in pieces(text) {
        let (piece, paint) = match piece {
            Piece::Plain(plain) => (plain, code),
            Piece::Literal(literal) => (literal, if code.is_empty() { LITERAL } else { code }),
        };
        for (at, word) in piece.split(' ').enumerate() {
            space_due |= at > 0;
            if word.is_empty() {
                continue;
            }
            let word = harmless(word);
            let width = word.width();
            let over = look.width.is_some_and(|limit| column + usize::from(space_due) + width > limit);
            if space_due && !at_start {
                if over {
                    out.push('\n');
                    out.push_str(hang);
                    column = hang.width();
                } else {
                    out.push(' ');
                    column += 1;
                }
            }
            out.push_str(&look.paint(paint, &word));
            column += width;
            (at_start, space_due) = (false, false);
        }
    }
    out.push('\n');
}

fn plain(text: &str) -> String {
    pieces(text)
        .map(|piece| match piece {
            Piece::Plain(text) | Piece::Literal(text) => harmless(text),
        })
        .collect()
}

/// A stranger's escape sequences must not reach a terminal; nor may what turns the reading direction.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || turns(c) || c.width().is_none() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_the_width_and_never_glued() {
        let mut page = Page::new("en", "354: Start");
        page.section(
            "s",
            "Heading",
            vec![Block::Text("one `two three` four, five six seven eight nine ten".into())],
        );
        let told = text(&page, Look::terminal(40, false));
        assert_eq!(told, "354: Start\n\nHeading\n  one two three four, five six seven\n  eight nine ten\n");
        let plain = text(&page, Look::pipe(false));
        assert!(plain.ends_with("  one two three four, five six seven eight nine ten\n"), "{plain}");
    }

    #[test]
    fn escape_sequences_of_strangers_do_not_reach_the_terminal() {
        let mut page = Page::new("en", "t");
        page.section("s", "h", vec![Block::Literal(vec!["\x1b]0;x\x07\u{202e}".into()])]);
        assert!(!text(&page, Look::pipe(false)).contains(['\x1b', '\x07', '\u{202e}']));
    }
}
