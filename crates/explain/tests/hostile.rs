//! Whatever the octets are: no panic, bounded answers, evidence inside the input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_explain::answer::{Note, Reading, Tri};
use postroad_explain::explain_text;
use proptest::prelude::*;
use std::fmt::Write as _;

/// What must hold of any reading.
fn sound(input: &[u8], reading: &Reading) {
    assert!(reading.recipients.len() <= 10_000);
    for answer in &reading.recipients {
        for evidence in &answer.evidence {
            assert!(input.get(evidence.range.clone()).is_some(), "{evidence:?} is outside");
        }
        for found in &answer.found {
            assert!(input.get(found.range.clone()).is_some(), "{found:?} is outside");
        }
        if answer.remove == Tri::Yes {
            assert_eq!(answer.outcome.key(), "failed");
            assert!(answer.reply.as_ref().is_none_or(|reply| reply.code.is_none_or(|code| code >= 500)));
            assert_eq!(answer.action, "remove-address");
        }
        if answer.action == "remove-address" {
            assert_eq!(answer.remove, Tri::Yes, "the step says what the answer does not");
        }
        if answer.remove == Tri::Ambiguous {
            assert!(answer.readings.len() > 1, "ambiguous without readings: {answer:?}");
        }
    }
    let lines = input.split(|byte| *byte == b'\n').count();
    for fault in &reading.faults {
        assert!((1..=lines).contains(&fault.line), "{fault:?}");
    }
}

/// Pieces that texts of this kind are made of, so that chance goes deep.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "From MAILER-DAEMON x\n",
        "Subject: x\n",
        "Content-Type: multipart/report; boundary=b\n",
        "\n",
        "\r\n",
        "--b\n",
        "--b--\n",
        "Content-Type: message/delivery-status\n",
        "Content-Type: message/rfc822\n",
        "Content-Transfer-Encoding: base64\n",
        "Content-Transfer-Encoding: quoted-printable\n",
        "Final-Recipient: rfc822; a@b.org\n",
        "Action: failed\n",
        "Status: 5.1.1\n",
        "Diagnostic-Code: smtp; 550 5.1.1 user unknown\n",
        "<a@b.org>: host mx.b.org[192.0.2.1] said: 550-5.1.1 no such user 550 5.1.1 here\n",
        "S: 220 x\n",
        "C: EHLO x\n",
        "S: 250-x\n",
        "S: 250 SIZE 10\n",
        "C: DATA\n",
        "C: .\n",
        "c: .\\n\\r\\x41\\\n",
        "C: AUTH LOGIN\n",
        "S: 334 x\n",
        " -> EHLO x\n",
        "<-  250 x\n",
        "send: b'a\\r\\n'\n",
        "reply: b'250 x\\r\\n'\n",
        "550 5.7.1 \u{2019}spam\u{201d}\n",
        "=41=\n",
        "AAAA\n",
        "\\n5",
        "@",
        "<",
        ">",
        "5.1.1",
        "=E",
        "m postfix/smtp[1]: QQQQQ: to=<a@b>, relay=none, dsn=4.4.1, status=deferred (x)\n",
        "1abcDE-000001-AB ** a@b.org: 550 x\n",
        "LED=550 x};\n",
    ]);
    prop_oneof![
        8 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_end(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        sound(&input, &explain_text(&input));
    }

    #[test]
    fn any_pieces_end(pieces in prop::collection::vec(piece(), 0..60)) {
        let input = pieces.concat();
        sound(&input, &explain_text(&input));
    }
}

#[test]
fn more_than_a_megabyte_is_told_as_cut() {
    let input = "550 5.1.1 User unknown\n".repeat(60_000);
    let reading = explain_text(input.as_bytes());
    assert!(reading.cut && reading.notes.contains(&Note::Cut));
    sound(input.as_bytes(), &reading);
}

#[test]
fn a_hundred_thousand_recipients_are_bounded_and_told() {
    let mut input = String::from("This is the mail system\n\n");
    for number in 0..100_000 {
        writeln!(input, "<{number}@x.org>").unwrap();
    }
    let reading = explain_text(input.as_bytes());
    assert_eq!(reading.recipients.len(), 10_000);
    assert!(reading.notes.contains(&Note::MoreRecipients));
    sound(input.as_bytes(), &reading);
}

#[test]
fn parts_in_parts_in_parts_end() {
    let mut input = String::from("Subject: x\nMIME-Version: 1.0\n");
    for number in 0..20_000 {
        writeln!(input, "Content-Type: multipart/mixed; boundary=\"b{number}\"\n\n--b{number}").unwrap();
    }
    sound(input.as_bytes(), &explain_text(input.as_bytes()));
    let input = "Received: x\nSubject: y\nContent-Type: message/rfc822\n\n".to_owned()
        + &"Content-Type: message/rfc822\n\n".repeat(30_000);
    sound(input.as_bytes(), &explain_text(input.as_bytes()));
}

#[test]
fn one_long_line_of_anything_ends() {
    for unit in
        ["a", "@", "550 ", "550 a.", "5.1.1 ", "<a@b.org> ", "--- ", "C: ", "'", "\\n", "listed at ", "s="]
    {
        let input = unit.repeat(1024 * 1024 / unit.len());
        sound(input.as_bytes(), &explain_text(input.as_bytes()));
    }
}
