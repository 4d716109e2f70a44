//! What keeps an address on a list although words of an unknown mailbox stand in the text, and what
//! takes it off.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test"
)]

use postroad_explain::answer::{Answer, Outcome, Tri};
use postroad_explain::explain_text;

fn only(text: &str) -> Answer {
    let reading = explain_text(text.as_bytes());
    assert_eq!(reading.recipients.len(), 1, "{text}: {reading:#?}");
    reading.recipients[0].clone()
}

fn report(fields: &str) -> String {
    format!(
        "From: MAILER-DAEMON@x.org\nSubject: Undelivered\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x.org\n\n{fields}\n--b--\n"
    )
}

#[test]
fn a_domain_that_is_not_there_takes_its_addresses_off() {
    let log = |to: &str, name: &str, rest: &str| {
        format!(
            "m postfix/smtp[1]: 4T1gqk2xkLz3wN: to=<{to}>, relay=none, dsn=5.4.4, status=bounced (Host or domain name not found. Name service error for name={name} type=A: Host not found{rest})"
        )
    };
    let answer = only(&log("a@gone.example", "gone.example", ""));
    assert_eq!((answer.cause, answer.remove), ("dns", Tri::Yes), "{answer:#?}");
    // The domain is there; its MX is not.
    let answer = only(&log("a@there.example", "mx.there.example", ""));
    assert_eq!((answer.cause, answer.remove), ("dns", Tri::Ambiguous), "{answer:#?}");
    // A name server that did not answer.
    let answer = only(&log("a@gone.example", "gone.example", ", try again").replace("5.4.4", "4.4.3"));
    assert_ne!(answer.remove, Tri::Yes, "{answer:#?}");
}

#[test]
fn words_of_doubt_keep_an_address() {
    for text in [
        "550 5.1.1 user lookup failed: user unknown",
        "550 5.1.1 user unknown (forwarded from a@x.org)",
        "550 The address may contain a non-existent user",
        "550 5.1.1 Zugriff verweigert",
        "550 5.1.1 message refused by a filter",
        "550 user suspended",
        "550 this recipient no longer accepts mail from you",
        "550 unknown user agent",
        "550 5.1.1 sender user unknown",
        "550 5.1.1 inactive mailbox",
        "<a@b.org> (expanded from <list@c.org>): host mx.b.org[192.0.2.1] said: 550 5.1.1 <a@b.org>: User unknown (in reply to RCPT TO command)",
        "550 5.7.1 spam score 12 (user unknown list)",
        "Delivery to the following recipient failed: 550 5.1.1 see https://x.org/user-unknown - not a user unknown error",
    ] {
        let answer = only(text);
        assert_ne!(answer.remove, Tri::Yes, "{text}: {answer:#?}");
    }
}

#[test]
fn what_was_refused_stands_first() {
    for (text, cause) in [
        ("550 5.7.1 spam score 12 (user unknown list)", "content"),
        ("550 5.1.7 <a@us.example>: Sender address rejected: undeliverable address: user unknown", "policy"),
        ("554 5.7.1 your account has been disabled", "submission-policy"),
        ("525 5.7.13 user account disabled", "login"),
        ("550 5.1.1 <a@x.org>: user lookup failed: LDAP server unavailable", "receiver-misconfigured"),
    ] {
        let answer = only(text);
        assert_eq!((answer.cause, answer.remove == Tri::Yes), (cause, false), "{text}: {answer:#?}");
    }
}

#[test]
fn another_address_than_the_recipients_is_not_taken_off() {
    let fields = "Original-Recipient: rfc822; list@x.org\nFinal-Recipient: rfc822; bob@y.org\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 <bob@y.org>: User unknown\n";
    assert_eq!(only(&report(fields)).remove, Tri::Ambiguous);
    let fields = fields.replace("list@x.org", "bob@y.org");
    assert_eq!(only(&report(&fields)).remove, Tri::Yes);
    let fields = fields.replace("<bob@y.org>: User", "<carol@z.org>: User");
    assert_eq!(only(&report(&fields)).remove, Tri::Ambiguous);
    let fields = "Final-Recipient: rfc822; IMCEAEX-_O=X_cn=bob@x.org\nAction: failed\nStatus: 5.1.1\n";
    assert_eq!(only(&report(fields)).remove, Tri::Ambiguous);
}

#[test]
fn a_removal_shows_the_status_that_says_it() {
    let text = report("Final-Recipient: rfc822; bob@y.org\nAction: failed\nStatus: 5.1.1 (bad address)\n");
    let answer = only(&text);
    assert_eq!(answer.remove, Tri::Yes, "{answer:#?}");
    assert_eq!(answer.evidence.iter().map(|one| &text[one.range.clone()]).collect::<Vec<_>>(), ["5.1.1"]);
}

#[test]
fn who_is_away_has_got_the_mail() {
    let answer = only("Subject: Out of office: your letter\nFrom: bob@x.org\n\nI am away until Monday.\n");
    assert_eq!((answer.outcome, answer.remove), (Outcome::Delivered, Tri::No), "{answer:#?}");
}

#[test]
fn the_whole_reply_is_read_where_its_list_is_cut() {
    let text = "   ----- The following addresses had delivery problems -----\n<bob@x.org>\n    (reason: 550-5.7.1 Our system has detected that this message is)\n\n   ----- Transcript of session follows -----\n... while talking to mx.x.org.:\n>>> DATA\n<<< 550-5.7.1 Our system has detected that this message is\n<<< 550 5.7.1 spam, sorry\n";
    assert_eq!(only(text).cause, "content");
}

#[test]
fn qmails_and_postfixs_last_lines_are_read() {
    let text = "@4000 starting delivery 7: msg 12 to remote bob@x.org\n@4000 delivery 7: failure: 192.0.2.1_does_not_like_recipient./Remote_host_said:_550_5.1.1_no_such_user/Giving_up./\n";
    let answer = only(text);
    assert_eq!((answer.recipient.as_deref(), answer.remove), (Some("bob@x.org"), Tri::Yes), "{answer:#?}");
    let text = "m postfix/smtp[1]: 4T1gqk2xkLz3wN: to=<bob@x.org>, relay=none, dsn=4.4.1, status=deferred (connect to mx.x.org[192.0.2.1]:25: Connection timed out)\nm postfix/qmgr[1]: 4T1gqk2xkLz3wN: from=<a@y.org>, status=expired, returned to sender\n";
    let answer = only(text);
    assert_eq!((answer.cause, answer.outcome), ("network", Outcome::Failed), "{answer:#?}");
}
