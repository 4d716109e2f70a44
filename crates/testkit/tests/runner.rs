//! The runner itself: a dialogue that does not go as it is written must fail, and say where.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_testkit::dialogue::Dialogue;
use postroad_testkit::play::{Cut, play};

const HELLO: &str = "S: 220 mx.example.org ESMTP Postroad\nC: HELO c.example\nS: 250 mx.example.org\n";
const MAIL: &str = "C: MAIL FROM:<a@c.example>\nC: RCPT TO:<b@example.org>\nS: 250 2.1.0 Sender ok\n\
                    S: 250 2.1.5 Recipient ok\nC: DATA\nS: 354 ~ dot\nC: x\nC: .\nS: 250 2.0.0 ~ Q1\n";

fn dialogue(body: &str) -> Dialogue {
    Dialogue::parse("x.smtp", &format!("# RFC 5321 §3.3: A test.\n{body}")).unwrap()
}

#[test]
fn what_goes_as_written_passes() {
    for body in [
        format!("{HELLO}C: QUIT\nS: 221 2.0.0 Goodbye\nX"),
        format!("{HELLO}{MAIL}M: 1 from=<a@c.example> to=<b@example.org>\nm: x\\r\\n"),
        format!("{HELLO}{MAIL}M: 1 from=<a@c.example> to=<b@example.org>"),
        format!("{HELLO}+ 5m\nS: 421 4.4.2 ~ 300 s\nX"),
    ] {
        play(&dialogue(&body), Cut::AsWritten).unwrap_or_else(|mismatch| panic!("{body}\n{mismatch}"));
    }
}

#[test]
fn what_goes_otherwise_is_told_with_its_line() {
    for (body, line, what) in [
        ("C: NOOP", 2, "the server said more: 220"),
        ("S: 220 mx.example.org", 2, "but came 220"),
        ("S: 250 ~ mx.example.org", 2, "but came 220"),
        ("S: 220 ~ elsewhere", 2, "but came 220"),
        ("S: 220-mx.example.org\nS: 220 more", 3, "but came 220"),
        ("S: 220 ~ mx\nS: 250 ok", 3, "nothing came"),
        ("S: 220 ~ mx\nX", 3, "has not closed"),
        ("S: 220 ~ mx\n+ 5m\nS: 421 ~ 300 s", 4, "has closed"),
        ("S: 220 ~ mx\nC: QUIT\nS: 221 ~ bye\nX\nC: NOOP\n", 6, "has closed"),
        ("S: 220 ~ mx\nC: NOOP", 3, "the server said more: 250 2.0.0"),
        ("S: 220 ~ mx\n= tls", 3, "nobody waits for a TLS handshake"),
        ("? option limits.weather = 1\nS: 220 ~ mx", 2, "there is no option"),
        ("? option limits.errors = many\nS: 220 ~ mx", 2, "no number"),
        ("? tls maybe\nS: 220 ~ mx", 2, "known are absent, offered"),
        ("S: 220 ~ mx\nM: 1 from=<> to=<b@example.org>", 3, "was not stored"),
    ] {
        let mismatch = play(&dialogue(body), Cut::AsWritten).unwrap_err();
        assert_eq!(mismatch.line, line, "{body}\n{mismatch}");
        assert!(mismatch.what.contains(what), "{body}\n{mismatch}");
        assert!(mismatch.to_string().starts_with(&format!("x.smtp:{line} ")), "{mismatch}");
    }
}

#[test]
fn what_is_stored_must_be_told() {
    for (message, what) in [
        ("", "no M: line tells of"),
        ("M: 1 from=<> to=<b@example.org>", "stored with from=<a@c.example>"),
        ("M: 1 from=<a@c.example> to=<b@example.org> body=8bitmime", "stored with from=<a@c.example>"),
        ("M: 1 from=<a@c.example> to=<b@example.org>\nm: x\\n", "octet 1"),
        ("M: 1 from=<a@c.example> to=<b@example.org>\nm: x\\r\\ny", "octet 3"),
    ] {
        let mismatch = play(&dialogue(&format!("{HELLO}{MAIL}{message}")), Cut::AsWritten).unwrap_err();
        assert!(mismatch.what.contains(what), "{message}\n{mismatch}");
    }
}

#[test]
fn pieces_are_the_write() {
    let write: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for cut in [
        Cut::AsWritten,
        Cut::Whole,
        Cut::EachOctet,
        Cut::Once { write: 3, at: 17 },
        Cut::Random(0),
        Cut::Random(9),
    ] {
        assert_eq!(cut.pieces(3, &write).concat(), write, "{cut:?}");
    }
    assert_eq!(Cut::Once { write: 3, at: 17 }.pieces(3, &write).len(), 2);
    assert_eq!(Cut::Once { write: 3, at: 17 }.pieces(2, &write).len(), 1);
    assert!(Cut::Random(0).pieces(0, &write).len() > 20);
    assert_ne!(Cut::Random(0).pieces(0, &write), Cut::Random(1).pieces(0, &write));
}
