//! Every dialogue of the repository, played against the session at every kind of cut.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_proto::reply::ReplyId;
use postroad_testkit::dialogue::Dialogue;
use postroad_testkit::play::{Cut, play};
use std::collections::BTreeSet;

/// Dialogues that send more than this are cut at their writes' ends and here and there only: to cut
/// a quarter of a megabyte at each of its octets would take hours and show nothing new.
const SMALL: usize = 4096;

/// Replies that no dialogue can show, because the session does not say them: each with the test that does.
const ELSEWHERE: &[(ReplyId, &str)] = &[
    (ReplyId::TooManyConnections, "the server's tests of its limits: connections in all"),
    (ReplyId::TooManyConnectionsFromYou, "the server's tests of its limits: connections of one address"),
    (ReplyId::Pregreet, "the server's tests of its listener: talk before the greeting"),
];

fn corpus() -> Vec<Dialogue> {
    postroad_testkit::corpus().unwrap_or_else(|fault| panic!("{fault}"))
}

/// Plays all with the cuts given for each, and tells of every dialogue that fails, once.
fn play_all(cuts: impl Fn(&Dialogue) -> Vec<Cut>) {
    let mut failures = Vec::new();
    for dialogue in corpus() {
        let first = cuts(&dialogue)
            .into_iter()
            .filter(|cut| dialogue.allows(*cut))
            .find_map(|cut| play(&dialogue, cut).err());
        failures.extend(first.map(|mismatch| mismatch.to_string()));
    }
    assert!(failures.is_empty(), "{} dialogues fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn as_written() {
    play_all(|_| vec![Cut::AsWritten]);
}

#[test]
fn octet_by_octet() {
    play_all(|_| vec![Cut::EachOctet]);
}

#[test]
fn all_in_one_write() {
    play_all(|_| vec![Cut::Whole]);
}

#[test]
fn cut_at_random() {
    play_all(|dialogue| {
        let runs = if dialogue.writes().map(<[u8]>::len).sum::<usize>() > SMALL { 3 } else { 40 };
        (0..runs).map(Cut::Random).collect()
    });
}

#[test]
fn cut_once_at_every_octet() {
    play_all(|dialogue| {
        let mut cuts = Vec::new();
        for (write, bytes) in dialogue.writes().enumerate() {
            let places = if bytes.len() <= SMALL {
                (1..bytes.len()).collect()
            } else {
                let spread = (1..50).map(|n| bytes.len() * n / 50);
                (1..80).chain(spread).chain(bytes.len() - 20..bytes.len()).collect::<BTreeSet<_>>()
            };
            cuts.extend(places.into_iter().map(|at| Cut::Once { write, at }));
        }
        cuts
    });
}

#[test]
fn every_reply_occurs() {
    let mut said: BTreeSet<ReplyId> = BTreeSet::new();
    for dialogue in corpus() {
        // A dialogue that fails is told of by the tests above.
        said.extend(play(&dialogue, Cut::AsWritten).unwrap_or_default());
    }
    let elsewhere: BTreeSet<ReplyId> = ELSEWHERE.iter().map(|(id, _)| *id).collect();
    let missing: Vec<&str> = ReplyId::ALL
        .iter()
        .filter(|id| !said.contains(id) && !elsewhere.contains(id))
        .map(|id| id.name())
        .collect();
    assert!(missing.is_empty(), "no dialogue shows {missing:?}");
    let both: Vec<&str> = elsewhere.intersection(&said).map(|id| id.name()).collect();
    assert!(both.is_empty(), "these occur in a dialogue and need no exception: {both:?}");
}

#[test]
fn the_corpus_is_whole() {
    let corpus = corpus();
    for folder in [
        "greeting",
        "order",
        "syntax",
        "pipelining",
        "content",
        "chunking",
        "size",
        "resources",
        "limits",
        "timers",
        "tls",
        "lmtp",
        "smtputf8",
        "hostile",
    ] {
        let prefix = format!("dialogues/{folder}/");
        assert!(corpus.iter().any(|dialogue| dialogue.file.starts_with(&prefix)), "{folder} has no dialogue");
    }
    for dialogue in &corpus {
        assert!(!dialogue.steps.is_empty(), "{} is empty", dialogue.file);
    }
}
