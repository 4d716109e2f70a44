//! The whole reference as a static web site: files with their paths, to be written wherever one likes.
//!
//! A page for each code and for each pair, in every language, with links between the languages, and a
//! search that needs no server. Nothing is loaded from elsewhere; pages work without scripts, but for
//! the search.

use crate::code::{self, Asked};
use crate::compare;
use crate::list;
use crate::page::{Page, Target};
use crate::render::{escape, fragment};
use postroad_reference::facts;
use postroad_reference::language::{Language, tags};
use serde_json::json;
use std::fmt::Write as _;

const SCRIPT: &str = include_str!("search.js");
const STYLE: &str = include_str!("site.css");

/// What each page says it was made by; a folder whose first page says otherwise is not ours to write over.
pub const GENERATOR: &str = "Postroad";

/// A file of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// Where it lies, with `/` between folders, such as `en/compare/354-550.html`.
    pub path: String,
    /// What is in it.
    pub content: String,
}

/// How many files there are, for a progress bar.
pub fn count() -> usize {
    let pages = 1 + facts::basics().len() + facts::enhanced().len() + compare::pairs().len();
    tags().count() * (pages + 1) + 3
}

/// Every file, made one after the other.
pub fn files() -> impl Iterator<Item = File> {
    let languages = tags().filter_map(|tag| Language::find(tag).ok());
    common().into_iter().chain(languages.flat_map(of_language))
}

fn of_language(language: &'static Language) -> impl Iterator<Item = File> {
    let codes = facts::basics().iter().map(|basic| Target::Basic(basic.code));
    let rows = facts::enhanced().iter().map(|row| Target::Enhanced(row.code.to_owned()));
    let pairs = compare::pairs();
    let codes = codes.chain(rows).map(move |target| {
        let page = match &target {
            Target::Basic(code) => code::page(language, Asked::Basic(*code)),
            Target::Enhanced(key) | Target::Pair(key) => code::row_page(language, key),
        };
        file(language, &page, &target)
    });
    let pairs = pairs.into_iter().map(move |(one, other)| {
        file(language, &compare::page(language, one, other), &compare::target(one, other))
    });
    [home(language), search(language)].into_iter().chain(codes).chain(pairs)
}

/// What belongs to no language.
fn common() -> Vec<File> {
    let mut links = String::new();
    for language in tags().filter_map(|tag| Language::find(tag).ok()) {
        let (tag, name, title) = (language.tag(), language.name(), language.word("site.title"));
        _ = writeln!(
            links,
            "<li><a href=\"{tag}/index.html\" lang=\"{tag}\" hreflang=\"{tag}\">{}</a>: <span lang=\"{tag}\">{}</span></li>",
            escape(name),
            escape(title)
        );
    }
    let english = Language::english();
    let main = format!(
        "<h1>{}</h1>\n<p>{}</p>\n<ul class=\"links\">\n{links}</ul>\n",
        escape(english.word("site.title")),
        escape(english.word("site.choose"))
    );
    let bare = |main: &str| {
        format!(
            "{}<body>\n<main id=\"content\">\n{main}</main>\n</body>\n</html>\n",
            head("en", english.word("site.title"), english.word("site.intro"), "style.css", "")
        )
    };
    vec![
        File { path: "index.html".into(), content: bare(&main) },
        File { path: "style.css".into(), content: format!("{}{STYLE}", crate::render::STYLE) },
        File { path: "search.js".into(), content: SCRIPT.to_owned() },
    ]
}

fn home(language: &'static Language) -> File {
    let mut page = list::contents(language);
    page.lead.push_str(language.word("site.intro"));
    let place = Place { language, path: "index.html".into(), up: "" };
    let article = fragment(&page, &|target| place.to(target));
    // The heading stays first; then the way to any comparison; then the lists.
    let (top, lists) = article.split_once("<section").unwrap_or((&article, ""));
    let lists = if lists.is_empty() { String::new() } else { format!("<section{lists}") };
    let content = place.document(&page, &format!("{top}{}{lists}", chooser(language)));
    File { path: place.full_path(), content }
}

/// Two lists to choose from; the script leads to the page of the pair.
fn chooser(language: &Language) -> String {
    let mut options = String::new();
    for basic in facts::basics() {
        let name = language.code(basic.code).map(|entry| entry.name.as_str()).unwrap_or_default();
        _ = writeln!(options, "<option value=\"{0}\">{0}: {1}</option>", basic.code, escape(name));
    }
    let label = |key: &str| escape(language.word(key));
    format!(
        "<form id=\"compare\" class=\"compare\" action=\"index.html\">\n<fieldset>\n<legend>{}</legend>\n\
         <label>{} <select name=\"a\">\n{options}</select></label>\n\
         <label>{} <select name=\"b\">\n{options}</select></label>\n\
         <button>{}</button>\n</fieldset>\n</form>\n",
        label("site.compare"),
        label("site.compare-first"),
        label("site.compare-second"),
        label("site.compare-go"),
    )
}

/// What the search looks through, as a script, so that it also works from a folder on disk.
fn search(language: &Language) -> File {
    let mut entries = Vec::new();
    let basics = facts::basics()
        .iter()
        .map(|row| (row.code.to_string(), Target::Basic(row.code), language.code(row.code)));
    let rows = facts::enhanced().iter();
    let enhanced = rows
        .map(|row| (row.code.to_owned(), Target::Enhanced(row.code.to_owned()), language.enhanced(row.code)));
    for (code, target, entry) in basics.chain(enhanced) {
        let Some(entry) = entry else { continue };
        let more = [entry.detail.clone(), entry.when.join(" "), entry.causes.join(" ")].join(" ");
        entries.push(json!([code, entry.name, entry.meaning, path(&target), more]));
    }
    let pairs: Vec<&str> = Language::pairs().filter(|key| key.contains('.')).collect();
    let (entries, pairs) = (serde_json::Value::from(entries), json!(pairs));
    let content = format!("window.postroadIndex = {entries};\nwindow.postroadPairs = {pairs};\n");
    File { path: format!("{}/index.js", language.tag()), content }
}

fn file(language: &'static Language, page: &Page, target: &Target) -> File {
    let path = path(target);
    let up = if matches!(target, Target::Pair(_)) { "../" } else { "" };
    let place = Place { language, path, up };
    let mut article = fragment(page, &|target| place.to(target));
    if let Target::Basic(code) = target {
        article.push_str(&comparisons(&place, *code));
    }
    File { path: place.full_path(), content: place.document(page, &article) }
}

/// The way to every comparison of a code, folded away.
fn comparisons(place: &Place, code: u16) -> String {
    let title = place.language.say("site.compare-more", &[("code", &code.to_string())]);
    let mut out = format!("<details class=\"more\">\n<summary>{}</summary>\n<p>\n", escape(&title));
    for other in facts::basics().iter().map(|row| row.code).filter(|other| *other != code) {
        let target = compare::target(Asked::Basic(code), Asked::Basic(other));
        _ = writeln!(
            out,
            "<a href=\"{}\">{code} / {other}</a>",
            escape(&place.to(&target).unwrap_or_default())
        );
    }
    out.push_str("</p>\n</details>\n");
    out
}

/// Where a page lies inside its language's folder.
fn path(target: &Target) -> String {
    match target {
        Target::Basic(code) => format!("{code}.html"),
        Target::Enhanced(key) => format!("{}.html", key.replace(" / ", "-").to_ascii_lowercase()),
        Target::Pair(key) => format!("compare/{key}.html"),
    }
}

/// A page's place: what links on it are relative to.
struct Place {
    language: &'static Language,
    path: String,
    /// From its folder to that of the language.
    up: &'static str,
}

impl Place {
    /// The address of a page; of a code that no row speaks of there is none.
    fn to(&self, target: &Target) -> Option<String> {
        let target = match target {
            // An enhanced code that a text names leads to the row that speaks of it.
            Target::Enhanced(key) => Target::Enhanced(code::row_of(key)?.to_owned()),
            Target::Basic(_) | Target::Pair(_) => target.clone(),
        };
        Some(format!("{}{}", self.up, path(&target)))
    }

    fn full_path(&self) -> String {
        format!("{}/{}", self.language.tag(), self.path)
    }

    fn document(&self, page: &Page, article: &str) -> String {
        let (language, up) = (self.language, self.up);
        let word = |key: &str| escape(language.word(key));
        let mut others = String::new();
        let mut alternates = String::new();
        for other in tags().filter_map(|tag| Language::find(tag).ok()) {
            let (tag, name, path) = (other.tag(), escape(other.name()), &self.path);
            let current = if tag == language.tag() { " aria-current=\"true\"" } else { "" };
            _ = writeln!(
                others,
                "<a href=\"{up}../{tag}/{path}\" lang=\"{tag}\" hreflang=\"{tag}\"{current}>{name}</a>"
            );
            _ = writeln!(
                alternates,
                "<link rel=\"alternate\" hreflang=\"{tag}\" href=\"{up}../{tag}/{path}\">"
            );
        }
        let scripts = format!(
            "{alternates}<script src=\"{up}index.js\" defer></script>\n<script src=\"{up}../search.js\" defer></script>\n"
        );
        let title = format!("{} | {}", page.title.replace('`', ""), language.word("site.title"));
        let style = format!("{up}../style.css");
        format!(
            "{}<body>\n<a class=\"skip\" href=\"#content\">{}</a>\n<header>\n<a class=\"home\" href=\"{up}index.html\">{}</a>\n\
             <form id=\"search\" role=\"search\" action=\"{up}index.html\" data-up=\"{up}\" data-none=\"{}\">\n\
             <label for=\"q\">{}</label>\n<input id=\"q\" name=\"q\" type=\"search\" autocomplete=\"off\" placeholder=\"{}\">\n\
             <button>{}</button>\n</form>\n<nav aria-label=\"{}\">\n{others}</nav>\n</header>\n\
             <section id=\"results\" hidden aria-live=\"polite\">\n<h2>{}</h2>\n</section>\n\
             <main id=\"content\">\n{article}</main>\n<footer>\n<p>{}</p>\n</footer>\n</body>\n</html>\n",
            head(language.tag(), &title, &page.lead, &style, &scripts),
            word("site.skip"),
            word("site.title"),
            word("site.no-results"),
            word("site.search"),
            word("site.search-hint"),
            word("site.search"),
            word("site.languages"),
            word("site.results"),
            word("site.footer"),
        )
    }
}

fn head(tag: &str, title: &str, description: &str, style: &str, more: &str) -> String {
    let (title, description) = (escape(title), escape(&description.replace('`', "")));
    format!(
        "<!DOCTYPE html>\n<html lang=\"{tag}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<meta name=\"generator\" content=\"{GENERATOR}\">\n<meta name=\"description\" content=\"{description}\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"{style}\">\n{more}</head>\n"
    )
}
