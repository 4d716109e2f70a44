//! How often the answers about two labelled sets of bounces are right; tests/bounces/README.md and
//! tests/bounces-second/README.md say how the sets were made and labelled, apart from the rules.
//!
//! `cargo test -p postroad-explain --test score -- --nocapture` shows the score and each miss.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::too_many_lines,
    reason = "test"
)]
#![allow(clippy::print_stderr, reason = "the score is shown")]

use postroad_explain::answer::{Answer, Party, Tri};
use postroad_explain::explain_text;
use std::collections::BTreeMap;
use std::path::Path;

struct Label {
    file: String,
    recipient: Option<String>,
    causes: Vec<String>,
    retry: String,
    slow: String,
    remove: String,
    whose: Vec<String>,
}

fn labels(folder: &Path) -> Vec<Label> {
    let text = std::fs::read_to_string(folder.join("labels.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let several = |cell: &str| cell.split('|').map(str::to_owned).collect();
    rows.map(|row| Label {
        file: row[0].clone(),
        recipient: (row[1] != "-").then(|| row[1].to_lowercase()),
        causes: several(&row[2]),
        retry: row[3].clone(),
        slow: row[4].clone(),
        remove: row[5].clone(),
        whose: several(&row[6]),
    })
    .collect()
}

/// The answer about the label's recipient; the only one where the text or the label names nobody.
fn about<'a>(label: &Label, answers: &'a [Answer]) -> Option<&'a Answer> {
    let same = |answer: &&Answer| {
        answer.recipient.as_deref().map(str::to_lowercase).as_deref() == label.recipient.as_deref()
    };
    answers.iter().find(same).or(if answers.len() == 1 { answers.first() } else { None })
}

#[test]
fn the_labelled_bounces_are_answered_well() {
    measure("bounces");
}

#[test]
fn the_second_labelled_bounces_are_answered_well() {
    measure("bounces-second");
}

/// The set that nobody has tuned on: its first and only measure is in its README.
#[test]
fn the_third_labelled_bounces_are_answered_well() {
    measure("bounces-third");
}

/// Answers every case of a set and compares with its labels; fails where all that must hold does not.
fn measure(set: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(set);
    let labels = labels(&folder);
    assert!(labels.len() >= 100, "the set is too small to tell anything: {}", labels.len());
    let mut right: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut answered, mut false_removals, mut missed_removals) = (0, Vec::new(), Vec::new());
    for label in &labels {
        let text = std::fs::read(folder.join(&label.file)).unwrap();
        let reading = explain_text(&text);
        let Some(answer) = about(label, &reading.recipients) else {
            eprintln!("{}: no answer about {:?}", label.file, label.recipient);
            continue;
        };
        answered += 1;
        let whose: Vec<&str> = answer.whose.iter().copied().map(Party::key).collect();
        let checks = [
            (
                "cause",
                label.causes.iter().any(|cause| cause == answer.cause),
                label.causes.join("|"),
                answer.cause,
            ),
            (
                "retry",
                // Where the label leaves it open, either answer is right (README.md).
                label.retry == "ambiguous" || label.retry == answer.retry.key(),
                label.retry.clone(),
                answer.retry.key(),
            ),
            (
                "slow",
                (label.slow == "yes") == answer.slow,
                label.slow.clone(),
                if answer.slow { "yes" } else { "no" },
            ),
            ("remove", label.remove == answer.remove.key(), label.remove.clone(), answer.remove.key()),
            (
                "whose",
                label
                    .whose
                    .iter()
                    .any(|one| whose.contains(&one.as_str()) || (one == "-" && whose.is_empty())),
                label.whose.join("|"),
                whose.first().copied().unwrap_or("-"),
            ),
        ];
        for (name, good, wanted, got) in checks {
            *right.entry(name).or_default() += usize::from(good);
            if !good {
                eprintln!(
                    "{}: {name} is {got}, labelled {wanted} (rule {:?}, basis {:?})",
                    label.file, answer.rule, answer.basis
                );
            }
        }
        if answer.remove == Tri::Yes && label.remove != "yes" {
            false_removals.push(label.file.clone());
        }
        if answer.remove != Tri::Yes && label.remove == "yes" {
            missed_removals.push(label.file.clone());
        }
    }
    let total = labels.len();
    let per_cent = |count: usize| count as f64 * 100.0 / total as f64;
    eprintln!("{set}: {total} labelled recipients, {answered} answered ({:.1} %)", per_cent(answered));
    for (name, count) in &right {
        eprintln!("{name}: {count} right ({:.1} %)", per_cent(*count));
    }
    eprintln!(
        "take off the list: {} said wrongly ({:.2} %), {} not said where due",
        false_removals.len(),
        per_cent(false_removals.len()),
        missed_removals.len()
    );
    assert!(per_cent(false_removals.len()) < 0.5, "said of addresses that must stay: {false_removals:?}");
    assert!(per_cent(answered) >= 99.0 && per_cent(right["cause"]) >= 92.0, "the score fell");
}
