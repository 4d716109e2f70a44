//! House rules about files and words.
//!
//! Every file that ARCHITECTURE.md names exists and every crate is in it; RFCs are cited one way,
//! `RFC 5321 §4.5.2`; no source file of the product is longer than `LONGEST` lines.

use crate::root;
use std::io;
use std::path::{Path, PathBuf};

/// Lines beyond which a file is surely two ideas.
const LONGEST: usize = 1000;

/// Folders below which nothing is ours to tidy.
const SKIPPED: &[&str] = &["target", ".git", "corpus", "artifacts", "node_modules"];

/// Every offence, as sentences; empty when all is tidy.
pub fn offences() -> io::Result<Vec<String>> {
    let root = root();
    let mut found = Vec::new();
    architecture(&root, &mut found)?;
    let mut files = Vec::new();
    collect(&root, &mut files, 0)?;
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        // This file shows what is wrong, in its tests.
        if !name.ends_with("xtask/src/tidy.rs") {
            for (index, line) in text.lines().enumerate() {
                if let Some(wrong) = malformed_citation(prose(&name, line)) {
                    found.push(format!("{name}:{}: write `{wrong}` as `RFC 5321 §4.5.2`", index + 1));
                }
            }
        }
        let lines = text.lines().count();
        let product = name.starts_with("crates/") && name.contains("/src/") && is_rust(&file);
        if product && lines > LONGEST {
            found.push(format!("{name}: {lines} lines; a file is one idea, at most {LONGEST} lines"));
        }
    }
    Ok(found)
}

fn architecture(root: &Path, found: &mut Vec<String>) -> io::Result<()> {
    let Ok(text) = std::fs::read_to_string(root.join("ARCHITECTURE.md")) else {
        found.push("ARCHITECTURE.md is missing".into());
        return Ok(());
    };
    for path in named_paths(&text) {
        if !root.join(&path).exists() {
            found.push(format!("ARCHITECTURE.md names {path}, which does not exist"));
        }
    }
    for entry in std::fs::read_dir(root.join("crates"))? {
        let name = entry?.file_name();
        let path = format!("crates/{}", name.to_string_lossy());
        if !text.contains(&path) {
            found.push(format!("ARCHITECTURE.md does not name {path}"));
        }
    }
    Ok(())
}

/// What a text names as paths of the repository: in backticks or as the target of a link, and either
/// below a folder of ours or a file with a known ending.
fn named_paths(text: &str) -> Vec<String> {
    let in_backticks = text.split('`').skip(1).step_by(2);
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let ours = ["crates/", "docs/", "bench/", "fuzz/", "xtask/", "dialogues/", "tests/", ".ci/"];
    let mut paths: Vec<String> = in_backticks
        .chain(linked)
        .map(|word| word.split(['#', ':']).next().unwrap_or_default())
        .filter(|word| {
            let a_path = !word.contains(char::is_whitespace) && !word.contains(['*', '{', '<', '…']);
            let ends_as_file =
                [".md", ".rs", ".toml"].iter().any(|end| word.ends_with(end)) && word.contains('/');
            a_path && (ours.iter().any(|folder| word.starts_with(folder)) || ends_as_file)
        })
        .filter(|word| !word.starts_with("http"))
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>, depth: u32) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if depth < 12 && !SKIPPED.contains(&name.as_str()) {
                collect(&path, files, depth + 1)?;
            }
        } else if path
            .extension()
            .is_some_and(|end| ["rs", "md", "smtp", "toml"].iter().any(|known| end == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "rs")
}

/// What of a line is for people: comments in code (replies are US-ASCII and have no section sign), all of it elsewhere.
fn prose<'a>(file: &str, line: &'a str) -> &'a str {
    let mark = match Path::new(file).extension().and_then(|end| end.to_str()) {
        Some("rs") => "//",
        Some("smtp" | "toml") => "#",
        _ => "",
    };
    line.find(mark).and_then(|at| line.get(at..)).unwrap_or_default()
}

/// The first citation of an RFC in the line that is not written as the others are.
fn malformed_citation(line: &str) -> Option<&str> {
    for (at, _) in line.match_indices("RFC") {
        // Only the word itself: RFCs and names in capitals are none.
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let cited = line.get(at..).unwrap_or_default();
        let shown = cited.get(..24.min(cited.len())).unwrap_or(cited);
        let after = cited.get(3..).unwrap_or_default();
        if after.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return Some(shown);
        }
        let Some(number) =
            after.strip_prefix(' ').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        else {
            continue;
        };
        let rest = number.trim_start_matches(|c: char| c.is_ascii_digit());
        let words = rest.trim_start_matches([' ', ',']);
        let bare_section = rest.starts_with(' ') && looks_like_section(words);
        let spelt_out = ["section", "Section", "sec.", "Sec."].iter().any(|word| words.starts_with(word));
        let section = words.strip_prefix('§');
        let misplaced = section.is_some() && !rest.starts_with(" §");
        let unnumbered = section.is_some_and(|s| !s.starts_with(|c: char| c.is_ascii_alphanumeric()));
        if bare_section || spelt_out || misplaced || unnumbered {
            return Some(shown);
        }
    }
    None
}

/// `4.5.2` or such at the start of the text.
fn looks_like_section(text: &str) -> bool {
    let mut parts = text.splitn(2, '.');
    let is_number =
        |part: Option<&str>| part.is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    let first = parts.next();
    first.is_some_and(|part| !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit()))
        && is_number(parts.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_tidy() {
        assert_eq!(offences().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn citations() {
        for good in [
            "RFC 5321 §4.5.2",
            "RFC 5321 (SMTP), 2033 (LMTP)",
            "see RFC 5321 §4.1.2, §4.1.3 and RFC 2920.",
            "RFC 5321 Appendix C",
            "RFC 3463 §2 closes the set",
            "every RFC has a status",
            "RFC 2034 and 3463",
        ] {
            assert_eq!(malformed_citation(good), None, "{good}");
        }
        for bad in [
            "RFC5321",
            "RFC-5321 §4",
            "RFC 5321 4.5.2",
            "RFC 5321 section 4.5.2",
            "RFC 5321, §4.5.2",
            "RFC 5321 § 4.5.2",
            "RFC 5321§4",
        ] {
            assert!(malformed_citation(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn paths_are_found_in_prose() {
        let text =
            "The map: `crates/proto` and [the spool](docs/spool.md#states), `cargo test`, `crates/*/src`.";
        assert_eq!(named_paths(text), ["crates/proto", "docs/spool.md"]);
    }
}
