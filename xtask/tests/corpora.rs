//! Replays the fuzzing corpora, so that what was once found stays found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::collections::BTreeSet;
use xtask::targets;

#[test]
fn every_target_has_a_corpus_and_stands_it() {
    let corpus = xtask::root().join("fuzz/corpus");
    for target in targets::ALL {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(target.name)).unwrap() {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            let stood = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(stood.is_ok(), "{} broke a promise", path.display());
            inputs += 1;
        }
        assert!(inputs > 0, "fuzz/corpus/{} has no seed", target.name);
    }
}

#[test]
fn programs_corpora_and_targets_are_the_same_set() {
    let names: BTreeSet<String> = targets::ALL.iter().map(|target| target.name.to_owned()).collect();
    let in_folder = |folder: &str, end: &str| -> BTreeSet<String> {
        std::fs::read_dir(xtask::root().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(end).to_owned())
            .collect()
    };
    assert_eq!(in_folder("fuzz/corpus", ""), names);
    assert_eq!(in_folder("fuzz/targets", ".rs"), names);
}
