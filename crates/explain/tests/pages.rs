//! The page of a reading: nothing on it contradicts the rest of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_explain::page::Page;
use postroad_explain::render::{Look, text};
use postroad_explain::{explain_text, verdict};
use postroad_reference::Language;

fn page(input: &[u8]) -> Page {
    verdict::page(Language::english(), &explain_text(input))
}

/// The page as a pipe gets it.
fn told(input: &str) -> String {
    text(&page(input.as_bytes()), Look::pipe(false))
}

/// The answer beside a question.
fn answer(told: &str, question: &str) -> String {
    let line = told.lines().find(|line| line.trim_start().starts_with(question)).unwrap();
    line.trim_start().strip_prefix(question).unwrap().trim().to_owned()
}

/// A final report with this reply.
fn failed(status: &str, reply: &str) -> String {
    format!(
        "From: MAILER-DAEMON@example.com\nSubject: Undelivered\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\
         Content-Type: message/delivery-status\n\nReporting-MTA: dns; mail.example.com\n\n\
         Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: {status}\n\
         Diagnostic-Code: smtp; {reply}\n\n--b--\n"
    )
}

#[test]
fn what_was_given_up_somebody_has_to_send_again() {
    for (status, reply) in [
        ("4.2.0", "450 4.2.0 try again"),
        ("4.2.2", "452 4.2.2 Mailbox full"),
        ("5.2.2", "552 5.2.2 Mailbox full"),
        ("4.0.0", "421 RP-001 Unfortunately, some messages from 192.0.2.1 weren't sent."),
    ] {
        let told = told(&failed(status, reply));
        assert_eq!(answer(&told, "What became of it"), "it was given up");
        assert!(!told.contains("by itself"), "{told}");
        assert!(!told.contains("in the queue:") && !told.contains("keep it in the queue"), "{told}");
        assert!(
            told.contains("no longer has it in its queue") || told.contains("is no longer in the queue"),
            "{told}"
        );
        if !reply.starts_with('5') {
            assert!(
                answer(&told, "Send this message again?").contains("somebody has to send it again"),
                "{told}"
            );
        }
    }
    let late = told(&failed("4.2.2", "452 4.2.2 Mailbox full").replace("Action: failed", "Action: delayed"));
    assert!(answer(&late, "Send this message again?").contains("by itself"), "{late}");
    assert!(late.contains("Leave the message in the queue"), "{late}");
}

#[test]
fn a_vendors_meaning_of_a_code_comes_before_the_registrys() {
    let exchange =
        told("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup");
    let (own, registry) = (
        exchange.find("5.1.10, as Microsoft uses it: Exchange knows no recipient with this address."),
        exchange.find("In the registry 5.1.10 means something else: The recipient's domain declares"),
    );
    assert!(own.is_some() && own < registry, "{exchange}");
    let other = told("556 5.1.10 Recipient address has null MX");
    assert!(other.contains("  - 5.1.10: The recipient's domain declares"), "{other}");
    assert!(!other.contains("Microsoft"), "{other}");
    // A code that the registry does not have.
    let own = told(
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list visit https://sender.office.com/",
    );
    assert!(own.contains("5.7.606, as Microsoft uses it:") && !own.contains("In the registry"), "{own}");
}

#[test]
fn whose_problem_it_is_depends_on_the_reading() {
    let open = told("550 5.7.1 Rejected");
    let whose = answer(&open, "Whose problem is it?");
    assert!(whose.starts_with("That depends on what the text means: "), "{whose}");
    for party in ["the operator of the receiving server", "the sending side"] {
        assert!(whose.contains(party), "{whose}");
    }
    let data = page(b"550 5.7.1 Rejected").data;
    assert!(data["recipients"][0]["whose"].as_array().unwrap().contains(&"sender".into()));
    let plain = told("550 5.1.1 User unknown");
    assert_eq!(answer(&plain, "Whose problem is it?"), "the address itself is wrong");
}

#[test]
fn how_much_was_read_stands_at_the_top() {
    let line = "Jan 1 10:00:00 h postfix/smtp[9]: ABCDEF12: to=<a@b.example>, relay=x.example[192.0.2.1]:25, delay=1, dsn=5.1.1, status=bounced (host x.example said: 550 5.1.1 no)\n";
    let mut reading = explain_text(line.repeat(20_000).as_bytes());
    let lead = |reading: &_| verdict::page(Language::english(), reading).lead;
    let whole = (line.len() * 20_000).div_ceil(1024);
    assert_eq!(
        lead(&reading),
        format!(
            "Only the first 1024 KiB of {whole} KiB were read; what comes after them is not in this answer."
        )
    );
    reading.length = None;
    assert!(lead(&reading).starts_with("Only the first 1024 KiB were read, and there is more"));
    assert_eq!(lead(&explain_text(line.as_bytes())), "");
    // The line at the end of what is read is not read by half.
    assert_eq!(reading.looked_at % line.len(), 0);
}

#[test]
fn octets_that_are_no_text_are_said_to_be_none() {
    let mut state = 1_u32;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(20_000)
    .collect();
    let utf16: Vec<u8> = "550 5.1.1 user unknown\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for input in [random.as_slice(), &utf16] {
        let page = page(input);
        assert_eq!(page.title, "This is no text");
        assert!(page.lead.contains("UTF-16") && page.sections.is_empty(), "{page:?}");
    }
    for input in [
        "550 5.1.1 \u{43d}\u{435}\u{442} \u{442}\u{430}\u{43a}\u{43e}\u{433}\u{43e}".as_bytes(),
        b"550 5.1.1 Empf\xe4nger unbekannt",
        b"\x1b[31m550 5.1.1 user unknown\x1b[0m",
    ] {
        assert_ne!(page(input).title, "This is no text");
    }
}
