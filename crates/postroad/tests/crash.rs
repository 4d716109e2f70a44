//! The short form of `cargo xtask crash`: what was answered 250 survives kills (RFC 5321 §6.1).
#![allow(clippy::unwrap_used, reason = "test")]

use xtask::crash::{Plan, Progress, run};

#[test]
fn kills_under_load_lose_nothing() {
    let summary = run(&Plan {
        binary: env!("CARGO_BIN_EXE_postroad").into(),
        kills: 10,
        check_every: 10,
        sessions: 8,
        seed: 1,
        progress: Progress::Silent,
    })
    .unwrap();
    assert_eq!(summary.kills, 10);
    assert!(summary.acknowledged > 0, "nothing was sent: {summary}");
    assert!(summary.is_kept(), "{summary}");
}
