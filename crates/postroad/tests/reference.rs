//! `postroad explain`, `compare`, `codes` and `reference` run as a process: what a reader gets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_reference::language::{Kind, Language, tags};
use serde_json::Value;
use std::process::Command;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run_in(locale: &str, line: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroad"));
    command.args(line).env_remove("LC_ALL").env_remove("LC_MESSAGES").env("LANG", locale);
    let ran = command.output().unwrap();
    Ran {
        code: ran.status.code().unwrap(),
        out: String::from_utf8(ran.stdout).unwrap(),
        err: String::from_utf8(ran.stderr).unwrap(),
    }
}

fn run(line: &[&str]) -> Ran {
    run_in("C", line)
}

fn good(line: &[&str]) -> String {
    let ran = run(line);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line:?}");
    ran.out
}

#[test]
fn a_code_is_explained_whole_in_every_language() {
    for tag in tags() {
        let language = Language::find(tag).unwrap();
        let told = good(&["explain", "354", "--lang", tag]);
        let entry = language.code(354).unwrap();
        let plain = |text: &str| text.replace('`', "");
        let lists = [&entry.when, &entry.causes, &entry.sender, &entry.operator, &entry.corrections];
        let texts = [&entry.meaning, &entry.detail, &entry.session, &entry.next];
        for text in texts.into_iter().chain(lists.into_iter().flatten()) {
            assert!(told.contains(&plain(text)), "{tag} lacks: {text}");
        }
        for faq in &entry.faq {
            assert!(told.contains(&plain(&faq.q)) && told.contains(&plain(&faq.a)), "{tag} lacks: {}", faq.q);
        }
        for heading in ["page.meaning", "page.when", "page.causes", "page.sender", "page.faq", "page.example"]
        {
            assert!(told.contains(language.word(heading)), "{tag} lacks {heading}");
        }
        assert!(told.contains("S: 354 ") && told.contains("RFC 5321 §4.1.1.4"), "{tag}");
    }
}

#[test]
fn folklore_is_told_as_such_and_a_code_that_does_not_exist_by_its_class() {
    let folklore = good(&["explain", "441"]);
    let warning = &Language::english().topic(Kind::Status, "folklore").unwrap().meaning;
    assert!(folklore.contains(&warning.replace('`', "")) && folklore.contains("4.4.1"), "{folklore}");

    let unknown = good(&["explain", "299"]);
    let class = &Language::english().topic(Kind::Class, "2").unwrap().unknown;
    assert!(
        unknown.starts_with("299: no such code\n") && unknown.contains(&class.replace('`', "")),
        "{unknown}"
    );

    // The action follows the class: nobody is taken off a list for a temporary failure.
    for (code, class_is_told) in [("4.1.1", true), ("5.1.1", true), ("2.1.5", true)] {
        let data: Value = serde_json::from_str(&good(&["explain", code, "--json"])).unwrap();
        let action = data["facts"]["action"]["value"].as_str().unwrap();
        let remove = &Language::english().topic(Kind::Action, "remove-address").unwrap().name;
        assert_eq!(action == remove, code == "5.1.1", "{code}: {action}");
        assert_eq!(data["facts"]["class"].is_object(), class_is_told);
    }
    // As the list of codes has them.
    assert!(good(&["explain", "5.7.501-503"]).starts_with("5.7.501-503: "));
    assert!(good(&["explain", "5.4.317"]).contains("Microsoft"));
    assert!(good(&["explain", "6.1.1"]).starts_with("6.1.1: not an enhanced status code\n"));

    let unregistered = good(&["explain", "5.9.99"]);
    assert!(unregistered.starts_with("5.9.99: not a registered code\n"), "{unregistered}");

    // Registered, and used by a vendor for something else: both are told.
    let both = good(&["explain", "5.1.10"]);
    assert!(both.contains("null MX") && both.contains("Microsoft"), "{both}");
}

#[test]
fn what_is_no_code_is_told_with_the_way_on() {
    let ran = run(&["explain", "no-such-thing"]);
    assert_eq!((ran.code, ran.out.as_str()), (64, ""));
    assert!(ran.err.contains("no-such-thing") && ran.err.contains("postroad codes"), "{}", ran.err);
    let ran = run(&["compare", "354", "5500"]);
    assert_eq!(ran.code, 64);
    assert!(ran.err.contains("5500"), "{}", ran.err);
    let ran = run(&["explain", "354", "--lang", "dee"]);
    assert_eq!((ran.code, ran.out.as_str()), (64, ""));
    assert!(ran.err.contains("did you mean de?") && ran.err.contains("en, de, es, fr, pt"), "{}", ran.err);
}

#[test]
fn the_language_is_that_of_the_environment_unless_another_is_asked_for() {
    let german = good(&["explain", "354", "--lang", "de"]);
    assert_eq!(run_in("de_AT.UTF-8", &["explain", "354"]).out, german);
    assert_eq!(run_in("de_AT.UTF-8", &["explain", "354", "--lang", "en"]).out, good(&["explain", "354"]));
    assert_eq!(run_in("xx_YY", &["explain", "354"]).out, good(&["explain", "354"]));
}

#[test]
fn a_comparison_is_one_page_whichever_order_is_asked_for() {
    for tag in tags() {
        for (a, b) in [("354", "550"), ("354", "500"), ("354", "503")] {
            let told = good(&["compare", a, b, "--lang", tag]);
            assert_eq!(told, good(&["compare", b, a, "--lang", tag]));
            let pair = Language::find(tag).unwrap().pair(&format!("{a}-{b}")).unwrap();
            for text in
                [&pair.summary, &pair.note, &pair.server, &pair.got].into_iter().chain(&pair.differences)
            {
                assert!(told.contains(&text.replace('`', "")), "{tag} {a} {b} lacks: {text}");
            }
            let data: Value =
                serde_json::from_str(&good(&["compare", a, b, "--lang", tag, "--json"])).unwrap();
            let differ =
                data["differences"].as_array().unwrap().iter().filter(|row| row["same"] == false).count();
            assert!(differ >= 5 && pair.differences.len() >= 5, "{tag} {a} {b}: {differ}");
        }
    }
    let unrelated = good(&["compare", "214", "591"]);
    assert!(unrelated.contains("have nothing to do with one another"), "{unrelated}");
    for (a, b) in [("211", "214"), ("525", "535"), ("513", "517"), ("5.1.1", "5.1.2"), ("2.1.5", "2.1.9")] {
        let data: Value = serde_json::from_str(&good(&["compare", a, b, "--json"])).unwrap();
        let differ =
            data["differences"].as_array().unwrap().iter().filter(|row| row["same"] == false).count();
        assert!(differ >= 5, "{a} {b}: {differ}");
    }
    assert_eq!(good(&["compare", "552 5.2.2", "552 5.3.4"]), good(&["compare", "5.2.2", "5.3.4"]));
    let enhanced = good(&["compare", "5.7.26", "5.7.1"]);
    assert!(enhanced.starts_with("5.7.1 compared with 5.7.26\n"), "{enhanced}");
    let same = good(&["compare", "354", "354"]);
    assert!(same.contains("the same code"), "{same}");
    let unknown = good(&["compare", "250", "299"]);
    assert!(unknown.contains("299: no such code"), "{unknown}");
}

#[test]
fn each_form_is_what_it_says() {
    let data: Value = serde_json::from_str(&good(&["explain", "550", "--json"])).unwrap();
    assert_eq!(
        (&data["code"], &data["class"], &data["severity"]),
        (&550.into(), &"5".into(), &"high".into())
    );
    assert!(data["sections"].as_array().unwrap().iter().any(|section| section["key"] == "sender"));

    let markdown = good(&["explain", "550", "--md"]);
    assert!(
        markdown.starts_with("# 550: ") && markdown.contains("\n## ") && markdown.contains("\n1. "),
        "{markdown}"
    );

    let html = good(&["explain", "550", "--html", "--lang", "fr"]);
    assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"fr\">") && html.contains("</html>"), "{html}");
    assert!(!html.contains("src=") && !html.contains("<link"), "a page that stands alone loads nothing");

    let both = run(&["explain", "550", "--html", "--json"]);
    assert_eq!(both.code, 64, "two forms cannot be meant");
}

#[test]
fn a_pipe_gets_no_colour_unless_it_is_asked_for() {
    assert!(!good(&["explain", "550"]).contains('\x1b'));
    assert!(good(&["explain", "550", "--color", "always"]).contains("\x1b[1m"));
}

#[test]
fn codes_are_listed_and_searched() {
    let all: Value = serde_json::from_str(&good(&["codes", "--json"])).unwrap();
    let codes = all["codes"].as_array().unwrap();
    assert_eq!(
        codes.len(),
        postroad_reference::facts::basics().len() + postroad_reference::facts::enhanced().len()
    );

    let found: Value = serde_json::from_str(&good(&["codes", "--search", "GREYLISTING", "--json"])).unwrap();
    let found: Vec<&str> =
        found["codes"].as_array().unwrap().iter().map(|code| code["code"].as_str().unwrap()).collect();
    assert!(found.contains(&"450") && found.contains(&"451") && !found.contains(&"220"), "{found:?}");

    let none = good(&["codes", "--search", "zzzzzz"]);
    assert!(none.contains("No code speaks of zzzzzz."), "{none}");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let line = format!("{} codes | head -n 1", env!("CARGO_BIN_EXE_postroad"));
    let ran = Command::new("bash").args(["-o", "pipefail", "-c", &line]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_site_is_written_and_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("a/site");
    std::fs::create_dir_all(&site).unwrap();
    std::fs::write(site.join("own.txt"), "stays").unwrap();
    std::fs::write(site.join("index.html"), "another site").unwrap();
    let ran = run(&["reference", "--site", site.to_str().unwrap()]);
    assert_eq!((ran.code, std::fs::read_dir(&site).unwrap().count()), (73, 2), "{}", ran.err);
    std::fs::write(
        site.join("index.html"),
        "<meta name=\"generator\" content=\"Postroad\"> of an earlier run",
    )
    .unwrap();
    let told = good(&["reference", "--site", site.to_str().unwrap()]);
    assert!(told.contains("index.html"), "{told}");
    for path in
        ["index.html", "style.css", "search.js", "de/354.html", "fr/compare/354-550.html", "pt/x.7.26.html"]
    {
        let text = std::fs::read_to_string(site.join(path)).unwrap();
        assert!(!text.is_empty() && !text.contains("of an earlier run"), "{path}");
    }
    assert!(site.join("own.txt").is_file());

    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let ran = run(&["reference", "--site", blocked.to_str().unwrap()]);
    assert_eq!(ran.code, 73);
    assert!(ran.err.contains("file"), "{}", ran.err);
}

#[test]
fn a_text_that_is_nothing_known_is_an_error_after_its_page() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (path, title) in [
        (file("empty", b""), "Nothing in this text is known here"),
        (file("prose", b"hello there"), "Nothing in this text is known here"),
        (file("octets", &[0, 1, 2, 3, 200, 7].repeat(100)), "This is no text"),
    ] {
        let ran = run(&["explain", &path]);
        assert_eq!((ran.code, ran.out.lines().next()), (65, Some(title)), "{path}");
    }
    let bounce = file("bounce", b"550 5.1.1 User unknown");
    assert_eq!(run(&["explain", &bounce]).code, 0);
}

#[test]
fn a_long_file_is_told_with_its_whole_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, "550 5.1.1 <bob@example.org>: User unknown\n".repeat(200_000)).unwrap();
    let told = good(&["explain", path.to_str().unwrap()]);
    assert!(
        told.lines().nth(2).unwrap().starts_with("Only the first 1024 KiB of 8204 KiB were read;"),
        "{told}"
    );
}

#[test]
fn no_form_of_an_answer_lets_a_stranger_turn_its_reading_direction() {
    let reply = "550 5.1.1 user \u{202e}nwonknu\u{2066} \u{200f}here";
    for form in ["--text", "--json", "--md", "--html"] {
        let line = ["explain", reply, form];
        let told = good(if form == "--text" { &line[..2] } else { &line });
        assert!(!told.contains(['\u{202e}', '\u{2066}', '\u{200f}']), "{form}: {told}");
        assert!(told.contains("nwonknu"), "{form}: {told}");
    }
    let told = good(&["explain", reply, "--json"]);
    let json: Value = serde_json::from_str(&told).unwrap();
    assert!(json["replies"][0]["text"].as_str().unwrap().contains("\u{202e}nwonknu"), "{json}");
}
