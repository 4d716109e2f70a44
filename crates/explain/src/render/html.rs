//! A page as HTML: the content alone, without head and navigation.

use crate::page::{Block, Link, Page, Piece, Target, pieces, unmarked};
use crate::render::turns;
use std::fmt::Write as _;

/// Escapes a text for HTML content and for attributes in double quotes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if turns(c) || (c.is_control() && c != '\n' && c != '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// How pages look: light and dark, from the width of a phone on.
pub(crate) const STYLE: &str = include_str!("style.css");

/// The page as a whole document that stands by itself: no other file, nothing from elsewhere.
pub fn document(page: &Page) -> String {
    let (language, title) = (escape(&page.language), escape(&unmarked(&page.title)));
    format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        fragment(page, &|_| None)
    )
}

/// The page as one `<article>`. `href` gives the address of another page, `None` where there is none.
pub fn fragment(page: &Page, href: &dyn Fn(&Target) -> Option<String>) -> String {
    let mut out =
        format!("<article lang=\"{}\">\n<h1>{}</h1>\n", escape(&page.language), inline(&page.title));
    if !page.lead.is_empty() {
        _ = writeln!(out, "<p class=\"lead\">{}</p>", inline(&page.lead));
    }
    if !page.facts.is_empty() {
        out.push_str("<dl class=\"facts\">\n");
        for fact in &page.facts {
            let (label, value) = (inline(&fact.label), inline(&fact.value));
            _ = writeln!(
                out,
                "<div class=\"fact-{}\"><dt>{label}</dt><dd>{value}</dd></div>",
                escape(fact.key)
            );
        }
        out.push_str("</dl>\n");
    }
    for section in &page.sections {
        let key = escape(&section.key);
        _ = writeln!(out, "<section id=\"{key}\">\n<h2>{}</h2>", inline(&section.title));
        for block in &section.blocks {
            self::block(&mut out, block, href);
        }
        out.push_str("</section>\n");
    }
    out.push_str("</article>\n");
    out
}

fn block(out: &mut String, block: &Block, href: &dyn Fn(&Target) -> Option<String>) {
    match block {
        Block::Text(text) => _ = writeln!(out, "<p>{}</p>", inline(text)),
        Block::Warning(text) => _ = writeln!(out, "<p class=\"warning\">{}</p>", inline(text)),
        Block::Heading(text) => _ = writeln!(out, "<h3>{}</h3>", inline(text)),
        Block::List(items) => list(out, "ul", items),
        Block::Steps(items) => list(out, "ol", items),
        Block::Literal(lines) => _ = writeln!(out, "<pre><code>{}</code></pre>", escape(&lines.join("\n"))),
        Block::Questions(all) => {
            for (question, answer) in all {
                _ = writeln!(
                    out,
                    "<details><summary>{}</summary><p>{}</p></details>",
                    inline(question),
                    inline(answer)
                );
            }
        }
        Block::Table { head, rows } => {
            out.push_str("<div class=\"wide\"><table>\n<thead><tr>");
            for cell in head {
                _ = write!(out, "<th scope=\"col\">{}</th>", inline(cell));
            }
            out.push_str("</tr></thead>\n<tbody>\n");
            for row in rows {
                out.push_str("<tr>");
                for (at, cell) in row.iter().enumerate() {
                    let (open, close) =
                        if at == 0 { ("<th scope=\"row\">", "</th>") } else { ("<td>", "</td>") };
                    _ = write!(out, "{open}{}{close}", inline(cell));
                }
                out.push_str("</tr>\n");
            }
            out.push_str("</tbody>\n</table></div>\n");
        }
        Block::Links(links) => {
            out.push_str("<ul class=\"links\">\n");
            for link in links {
                _ = writeln!(out, "<li>{}</li>", anchor(link, href));
            }
            out.push_str("</ul>\n");
        }
    }
}

fn anchor(link: &Link, href: &dyn Fn(&Target) -> Option<String>) -> String {
    match href(&link.target) {
        // A name that cites an RFC must not become a link inside the link.
        Some(address) => {
            format!("<a href=\"{}\">{}</a>", escape(&address), escape(&link.text.replace('`', "")))
        }
        None => inline(&link.text),
    }
}

fn list(out: &mut String, tag: &str, items: &[String]) {
    _ = writeln!(out, "<{tag}>");
    for item in items {
        _ = writeln!(out, "<li>{}</li>", inline(item));
    }
    _ = writeln!(out, "</{tag}>");
}

/// Literal text becomes `<code>`, and a cited section of an RFC a link to it.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for piece in pieces(text) {
        match piece {
            Piece::Literal(literal) => _ = write!(out, "<code translate=\"no\">{}</code>", escape(literal)),
            Piece::Plain(plain) => cited(&mut out, plain),
        }
    }
    out
}

fn cited(out: &mut String, plain: &str) {
    let mut rest = plain;
    while let Some(at) = rest.find("RFC ") {
        let (before, from) = rest.split_at(at);
        out.push_str(&escape(before));
        let tail = from.get(4..).unwrap_or_default();
        let number: String = tail.chars().take_while(char::is_ascii_digit).take(5).collect();
        let after = tail.get(number.len()..).unwrap_or_default();
        let section: String = after.strip_prefix(" §").map(section_number).unwrap_or_default();
        let length = 4 + number.len() + if section.is_empty() { 0 } else { " §".len() + section.len() };
        let shown = from.get(..length).unwrap_or(from);
        if number.is_empty() {
            out.push_str(&escape(shown));
        } else {
            let anchor = if section.is_empty() { String::new() } else { format!("#section-{section}") };
            _ = write!(
                out,
                "<a rel=\"external\" href=\"https://www.rfc-editor.org/rfc/rfc{number}{anchor}\">{}</a>",
                escape(shown)
            );
        }
        rest = from.get(length..).unwrap_or_default();
    }
    out.push_str(&escape(rest));
}

/// The digits and dots of a section; a full stop behind it is not its own.
fn section_number(text: &str) -> String {
    let all: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').take(20).collect();
    all.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_becomes_markup() {
        assert_eq!(
            inline("a<b> `c<d>` & \"e\""),
            "a&lt;b&gt; <code translate=\"no\">c&lt;d&gt;</code> &amp; &quot;e&quot;"
        );
        assert_eq!(inline("\u{1b}[31m"), "\u{fffd}[31m");
        assert_eq!(inline("\u{202e}a `\u{2066}b`"), "\u{fffd}a <code translate=\"no\">\u{fffd}b</code>");
    }

    #[test]
    fn sections_become_links() {
        let told = inline("see RFC 5321 §4.5.2. And RFC 1870, RFC");
        assert!(
            told.contains(
                "href=\"https://www.rfc-editor.org/rfc/rfc5321#section-4.5.2\">RFC 5321 §4.5.2</a>. And"
            ),
            "{told}"
        );
        assert!(told.contains(">RFC 1870</a>, RFC"), "{told}");
    }
}
