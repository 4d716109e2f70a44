//! What strangers paste, and what may stand in a damaged ledger.

use postroad_explain::answer::Tri;
use postroad_explain::render::{self, Look};
use postroad_explain::{explain_text, verdict};
use postroad_ledger::{Event, decode, encode, survey};
use postroad_reference::Language;

/// Bounces, logs and transcripts: whatever comes, an address is taken off the list only by a text that
/// gives evidence for it, evidence lies inside the text, and no page lets a control character through.
pub(super) fn bounce(input: &[u8]) {
    let reading = explain_text(input);
    for answer in &reading.recipients {
        assert!(answer.remove != Tri::Yes || !answer.evidence.is_empty(), "a removal without evidence");
        for one in &answer.evidence {
            assert!(
                one.range.start <= one.range.end && one.range.end <= input.len(),
                "evidence outside the text"
            );
        }
    }
    let page = verdict::page(Language::english(), &reading);
    let text = render::text(&page, Look::terminal(80, false));
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character reached the terminal");
    let html = render::document(&page);
    assert!(!html.contains("<script"), "markup of a stranger got in");
}

/// Events and chunks of the ledger: what can be read is written the same again.
pub(super) fn ledger(input: &[u8]) {
    survey(input);
    for (ms, event) in decode(input) {
        if matches!(event, Event::Unreadable { .. }) {
            continue;
        }
        let mut written = Vec::new();
        encode(ms, &event, &mut written);
        let again = decode(&written).next();
        assert_eq!(again, Some((ms, event)), "an event changed by being written");
    }
}
