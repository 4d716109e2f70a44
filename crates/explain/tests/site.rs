//! The static site: whole, valid, and with no link that leads nowhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "test"
)]

use html5ever::ParseOpts;
use html5ever::tendril::TendrilSink;
use html5ever::tree_builder::TreeBuilderOpts;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use postroad_explain::site::{self, File};
use postroad_reference::facts;
use postroad_reference::language::{Language, tags};
use std::collections::{BTreeSet, HashSet};

fn none(what: &str, found: &[String]) {
    let shown: Vec<&str> = found.iter().take(30).map(String::as_str).collect();
    assert!(found.is_empty(), "{} {what}:\n{}", found.len(), shown.join("\n"));
}

/// The file that a link on a page means.
fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop().expect("a link leaves the site")),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn every_link_leads_to_a_page_and_every_page_is_led_to() {
    let files: Vec<File> = site::files().collect();
    assert_eq!(files.len(), site::count());
    let paths: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths.len(), files.len(), "two files have one path");
    let (mut dead, mut led_to) = (Vec::new(), HashSet::from(["index.html".to_owned()]));
    for file in files.iter().filter(|file| file.path.ends_with(".html")) {
        for kind in ["href=\"", "src=\""] {
            for piece in file.content.split(kind).skip(1) {
                let link = piece.split('"').next().unwrap();
                if link.starts_with("https://www.rfc-editor.org/rfc/rfc") {
                    assert_eq!(kind, "href=\"", "{} loads {link}", file.path);
                    continue;
                }
                if link == "data:," {
                    continue;
                }
                let (link, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = match link.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None if link.is_empty() => file.path.clone(),
                    None => resolve(&file.path, link),
                };
                if !paths.contains(target.as_str()) {
                    dead.push(format!("{}: {link}", file.path));
                }
                if !anchor.is_empty() && !file.content.contains(&format!("id=\"{anchor}\"")) {
                    dead.push(format!("{}: #{anchor}", file.path));
                }
                led_to.insert(target);
            }
        }
    }
    none("dead links", &dead);
    let orphans: Vec<String> =
        files.iter().filter(|file| !led_to.contains(&file.path)).map(|file| file.path.clone()).collect();
    none("pages without a way to them", &orphans);
}

#[test]
fn there_is_a_page_for_each_code_and_pair_in_each_language() {
    let paths: HashSet<String> = site::files().map(|file| file.path).collect();
    let codes: Vec<u16> = facts::basics().iter().map(|row| row.code).collect();
    let mut missing = Vec::new();
    for tag in tags() {
        let mut wanted: Vec<String> = codes.iter().map(|code| format!("{tag}/{code}.html")).collect();
        for (at, low) in codes.iter().enumerate() {
            wanted.extend(codes[at + 1..].iter().map(|high| format!("{tag}/compare/{low}-{high}.html")));
        }
        wanted.extend(Language::pairs().map(|pair| format!("{tag}/compare/{pair}.html")));
        let enhanced = facts::enhanced().iter().map(|row| row.code.to_lowercase().replace(" / ", "-"));
        wanted.extend(enhanced.map(|code| format!("{tag}/{code}.html")));
        missing.extend(wanted.into_iter().filter(|path| !paths.contains(path)));
    }
    none("pages missing", &missing);
}

#[test]
fn pages_are_valid_html() {
    let mut faults = Vec::new();
    // All codes; of the pairs, which are made alike, those of one code and those with a text of their own.
    let written: BTreeSet<&str> = Language::pairs().collect();
    for file in site::files().filter(|file| file.path.ends_with(".html")) {
        let pair = file.path.split("/compare/").nth(1).and_then(|name| name.strip_suffix(".html"));
        if pair.is_some_and(|pair| !written.contains(pair) && !pair.ends_with("-591")) {
            continue;
        }
        let tree_builder = TreeBuilderOpts { exact_errors: true, ..TreeBuilderOpts::default() };
        let options = ParseOpts { tree_builder, ..ParseOpts::default() };
        let dom = html5ever::parse_document(RcDom::default(), options).one(file.content.as_str());
        faults.extend(dom.errors.borrow().iter().map(|error| format!("{}: {error}", file.path)));
        let mut seen = Seen::default();
        walk(&dom.document, &mut seen);
        let Seen { ids, headings, wrong } = seen;
        faults.extend(wrong.iter().map(|wrong| format!("{}: {wrong}", file.path)));
        assert_eq!(headings, 1, "{} has {headings} main headings", file.path);
        assert!(ids.contains("content"), "{}", file.path);
        faults.extend(
            ["{", "`"]
                .iter()
                .filter(|left| file.content.contains(**left))
                .map(|left| format!("{}: {left} was left", file.path)),
        );
    }
    none("faults", &faults);
}

#[derive(Default)]
struct Seen {
    ids: BTreeSet<String>,
    headings: usize,
    wrong: Vec<String>,
}

fn walk(node: &Handle, seen: &mut Seen) {
    if let NodeData::Element { name, attrs, .. } = &node.data {
        let tag = name.local.to_string();
        seen.headings += usize::from(tag == "h1");
        let speaks =
            ["h1", "h2", "h3", "p", "li", "dd", "dt", "th", "a", "summary", "option", "title", "label"];
        if speaks.contains(&tag.as_str()) && node.children.borrow().is_empty() {
            seen.wrong.push(format!("an empty {tag}"));
        }
        for attribute in attrs.borrow().iter() {
            let (key, value) = (attribute.name.local.to_string(), attribute.value.to_string());
            if key == "id" && !seen.ids.insert(value.clone()) {
                seen.wrong.push(format!("id {value} stands twice"));
            }
            if ["style", "onclick", "align", "bgcolor"].contains(&key.as_str()) {
                seen.wrong.push(format!("{tag} has {key}"));
            }
            if ["href", "src", "action", "lang"].contains(&key.as_str()) && value.is_empty() {
                seen.wrong.push(format!("{tag} has an empty {key}"));
            }
        }
    }
    for child in node.children.borrow().iter() {
        walk(child, seen);
    }
}
