//! Bounces as they arrive: what is read from each, and the five answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::too_many_lines,
    reason = "test"
)]

use postroad_explain::answer::{
    Answer, Basis, Confidence, FoundKind, Note, Outcome, Party, Reading, Source, Tri,
};
use postroad_explain::explain_text;

fn read(text: &str) -> Reading {
    explain_text(text.as_bytes())
}

fn only(text: &str) -> Answer {
    let reading = read(text);
    assert_eq!(reading.recipients.len(), 1, "{reading:#?}");
    reading.recipients[0].clone()
}

/// The words of the input that the evidence points at.
fn pointed<'a>(text: &'a str, answer: &Answer) -> Vec<&'a str> {
    answer.evidence.iter().map(|one| &text[one.range.clone()]).collect()
}

#[test]
fn single_replies_get_their_five_answers() {
    use Tri::{Ambiguous, No, Yes};
    for (text, cause, retry, remove) in [
        (
            "550 5.1.1 <b@x.org>: Recipient address rejected: User unknown in local recipient table",
            "mailbox-unknown",
            No,
            Yes,
        ),
        (
            "550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n550 5.1.1 double-checking - gsmtp",
            "mailbox-unknown",
            No,
            Yes,
        ),
        ("550 5.1.1", "mailbox-unknown", No, Yes),
        ("5.1.1", "mailbox-unknown", No, Yes),
        ("550 5.1.6 gone", "mailbox-disabled", No, Yes),
        ("556 5.1.10 Recipient address has null MX", "dns", No, Yes),
        ("551 5.7.17 Mailbox owner has changed", "mailbox-disabled", No, Yes),
        ("550 No such user here", "mailbox-unknown", No, Yes),
        ("550 5.1.1 Empfänger unbekannt", "mailbox-unknown", No, Yes),
        ("550 5.1.1 utilisateur inconnu", "mailbox-unknown", No, Yes),
        ("550 el usuario no existe", "mailbox-unknown", No, Yes),
        ("550 destinatário desconhecido", "mailbox-unknown", No, Yes),
        (
            "550 5.2.1 The email account that you tried to reach is disabled. gsmtp",
            "mailbox-disabled",
            No,
            Yes,
        ),
        // Transient: nobody is taken off, whatever the words.
        (
            "450 4.1.1 <b@x.org>: Recipient address rejected: User unknown in local recipient table",
            "mailbox-unknown",
            Yes,
            No,
        ),
        (
            "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints",
            "reputation",
            Yes,
            No,
        ),
        ("451 4.7.1 Greylisting in action, please come back later", "greylist", Yes, No),
        ("452 4.2.2 The email account that you tried to reach is over quota. gsmtp", "quota", Yes, No),
        // The codes contradict each other.
        ("550 4.1.1 user unknown", "mailbox-unknown", Ambiguous, Ambiguous),
        // Not decided by the text.
        ("550 5.7.1 Message rejected", "policy", No, Ambiguous),
        ("550 5.7.1", "policy", No, Ambiguous),
        ("550", "unknown", No, Ambiguous),
        ("550 Requested action not taken: mailbox unavailable", "mailbox-unknown", No, Ambiguous),
        (
            "550 5.4.1 Recipient address rejected: Access denied. [AM7EUR03FT003.eop-EUR03.prod.protection.outlook.com]",
            "mailbox-unknown",
            No,
            Ambiguous,
        ),
        ("552 5.2.2 Mailbox full", "quota", Ambiguous, No),
        // Words that compete.
        ("550 5.1.1 User unknown, or message refused by spam policy", "mailbox-unknown", No, Ambiguous),
        ("550 5.7.1 user unknown", "mailbox-unknown", No, Ambiguous),
        ("550 5.1.1 Access denied", "mailbox-unknown", No, Ambiguous),
        ("550 5.1.1 mailbox unavailable", "mailbox-unknown", No, Yes),
        ("550 5.1.1 Your IP is blacklisted", "blocklist", No, No),
        // The sender was refused.
        (
            "550 5.1.0 <a@us.example>: Sender address rejected: User unknown in relay recipient table",
            "policy",
            No,
            No,
        ),
        ("550 5.1.8 sender domain not found", "dns", No, No),
        ("550 Sender verify failed", "policy", No, No),
        ("550 5.1.7 unknown user <a@us.example> in return path", "policy", No, No),
        // A rule that leaves it to the text gives way to words that do not.
        (
            "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550",
            "mailbox-unknown",
            No,
            Yes,
        ),
        ("554 5.2.2 mailbox full; STOREDRV.Deliver.Exception", "quota", Ambiguous, No),
        ("501 5.1.3 Bad recipient address syntax", "mailbox-unknown", No, Ambiguous),
        ("550 5.7.133 words that nobody knows", "policy", No, Ambiguous),
        ("550 Domain x.org does not accept mail (nullMX)", "dns", No, Yes),
        ("550 5.1.2 Host unknown", "dns", No, Ambiguous),
        // Others.
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.5] blocked using zen.spamhaus.org",
            "blocklist",
            No,
            No,
        ),
        (
            "550-5.7.26 Unauthenticated email from x.example is not accepted due to domain's 550-5.7.26 DMARC policy. gsmtp",
            "auth",
            No,
            No,
        ),
        ("552 5.3.4 Message size exceeds fixed limit", "size", No, No),
        ("554 5.7.1 <b@x.org>: Relay access denied", "relay", No, No),
        ("530 5.7.0 Must issue a STARTTLS command first", "tls", No, No),
        ("535 5.7.8 Authentication failed", "login", No, No),
        ("554 5.4.6 Too many hops", "routing", No, No),
        ("571 something nobody knows", "unknown", No, Ambiguous),
        ("250 2.1.5 ok", "none", No, No),
    ] {
        let answer = only(text);
        assert_eq!(
            (answer.cause, answer.retry, answer.remove),
            (cause, retry, remove),
            "{text}: {answer:#?}"
        );
        assert_eq!(read(text).kind, Source::Reply, "{text}");
        assert_eq!(answer.action == "remove-address", remove == Yes, "{text}");
    }
}

#[test]
fn vendors_meanings_come_before_the_registry() {
    let gmail = |code: &str| only(&format!("550-{code} x 550 {code} words that nobody knows - gsmtp"));
    assert_eq!(
        (gmail("5.7.27").cause, gmail("5.7.29").cause, gmail("5.7.30").cause),
        ("auth", "tls", "auth")
    );
    let registry = |code: &str| only(&format!("550 {code} words that nobody knows"));
    assert_eq!(
        (registry("5.7.27").cause, registry("5.7.29").cause, registry("5.7.30").cause),
        ("dns", "auth", "tls")
    );
    assert_eq!((gmail("5.7.27").basis, registry("5.7.27").basis), (Basis::Provider, Basis::Registry));
    let exchange = only("550 5.1.10 something [X.prod.outlook.com]");
    assert_eq!((exchange.cause, exchange.remove), ("mailbox-unknown", Tri::Ambiguous));
}

#[test]
fn unknown_texts_say_how_far_they_fell() {
    for (text, basis) in [
        ("550 5.1.3 gobbledygook", Basis::Registry),
        ("452 gobbledygook", Basis::BasicCode),
        ("577 gobbledygook", Basis::Class),
    ] {
        let answer = only(text);
        assert_eq!(answer.basis, basis, "{text}");
        assert!(answer.rule.is_none() && answer.confidence < Confidence::Sure);
    }
}

#[test]
fn a_persons_address_is_no_evidence() {
    for address in ["user-unknown@x.org", "no.such.user@x.org", "spamhaus@x.org", "virus@rbl.example"] {
        let answer = only(&format!("550 <{address}> gobbledygook"));
        assert!(answer.rule.is_none(), "{answer:#?}");
    }
}

#[test]
fn values_are_taken_out_with_their_places() {
    let text = "550 5.7.1 Client host [192.0.2.5] listed in bl.example.net, see https://bl.example.net/q?ip=192.0.2.5 for sel._domainkey.x.example <b@y.example>";
    let answer = only(text);
    let found: Vec<_> = answer.found.iter().map(|one| (one.kind, &text[one.range.clone()])).collect();
    for expected in [
        (FoundKind::Ip, "192.0.2.5"),
        (FoundKind::List, "bl.example.net"),
        (FoundKind::Url, "https://bl.example.net/q?ip=192.0.2.5"),
        (FoundKind::Selector, "sel"),
        (FoundKind::Address, "b@y.example"),
    ] {
        assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
    }
    let record = answer.record.unwrap();
    assert_eq!((record.action, record.concerns.unwrap().value), ("delist", "192.0.2.5".to_owned()));
    assert_eq!(answer.whose, [Party::Sender]);
}

const POSTFIX: &str = "From MAILER-DAEMON Thu Jan  1 10:00:00 2026
Return-Path: <>
From: MAILER-DAEMON@mail.example.com (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: alice@example.com
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary=\"4Z1.1/mail.example.com\"

This is a MIME-encapsulated message.

--4Z1.1/mail.example.com
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mail.example.com.

<bob@gmail.com>: host gmail-smtp-in.l.google.com[192.0.2.27] said: 550-5.1.1
    The email account that you tried to reach does not exist.

--4Z1.1/mail.example.com
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example.com
X-Postfix-Queue-ID: 4Z1abc
X-Postfix-Sender: rfc822; alice@example.com

Final-Recipient: rfc822; bob@gmail.com
Original-Recipient: rfc822;bob@gmail.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; gmail-smtp-in.l.google.com
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does
    not exist. Please try 550-5.1.1 double-checking the recipient's email 550
    5.1.1 address - gsmtp

Final-Recipient: rfc822; eve@example.net
Action: delayed
Status: 4.4.1
Diagnostic-Code: X-Postfix; connect to mx.example.net[192.0.2.4]:25: Connection
    timed out

Final-Recipient: rfc822; dan@example.net
Action: relayed
Status: 2.0.0

--4Z1.1/mail.example.com
Content-Type: message/rfc822

From: alice@example.com
Subject: 550 5.1.1 user unknown blacklisted spam <nobody@example.org>

<nobody@example.org>: 550 5.1.1 user unknown
--4Z1.1/mail.example.com--
";

#[test]
fn a_notification_is_read_by_its_fields() {
    for text in [
        POSTFIX.to_owned(),
        POSTFIX.replace('\n', "\r\n"),
        POSTFIX.replace("From MAILER-DAEMON Thu Jan  1 10:00:00 2026\n", ""),
    ] {
        let reading = read(&text);
        assert_eq!(reading.kind, Source::Dsn);
        assert!(reading.notes.contains(&Note::OriginalLeftOut));
        let [bob, eve, dan] = reading.recipients.as_slice() else { panic!("{reading:#?}") };
        assert_eq!(
            (bob.recipient.as_deref(), bob.message.as_deref()),
            (Some("bob@gmail.com"), Some("4Z1abc"))
        );
        assert_eq!((bob.rule, bob.remove, bob.confidence), (Some("goog-26"), Tri::Yes, Confidence::Sure));
        assert_eq!(
            bob.reply.as_ref().unwrap().text,
            "The email account that you tried to reach does not exist. Please try double-checking the recipient's email address - gsmtp"
        );
        assert_eq!(pointed(&text, bob)[0], "550-5.1.1");
        assert!(
            pointed(&text, bob)[1].starts_with("email account that you tried"),
            "{:?}",
            pointed(&text, bob)
        );
        assert_eq!(
            (eve.outcome, eve.cause, eve.retry, eve.remove),
            (Outcome::Delayed, "network", Tri::Yes, Tri::No)
        );
        assert_eq!((dan.outcome, dan.cause, dan.remove), (Outcome::Relayed, "none", Tri::No));
    }
}

#[test]
fn delayed_never_removes_even_with_permanent_words() {
    let text = POSTFIX.replace("Action: failed", "Action: delayed");
    assert_eq!(read(&text).recipients[0].remove, Tri::No);
}

#[test]
fn encoded_and_forwarded_notifications_are_read() {
    // "bob@gmail.com" stands in a part in base64; the fields in quoted-printable.
    let text = "Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n\
        PGJvYkB4Lm9yZz46IDU1MCA1LjEuMSBObyBzdWNoIHVzZXIK\n--b\nContent-Type: message/delivery-status\nContent-Transfer-Encoding: quoted-printable\n\n\
        Final-Recipient: rfc822;bob=40x.org\nAction: failed\nStatus: 5.1.1\n--b--\n";
    let answer = only(text);
    assert_eq!(
        (answer.recipient.as_deref(), answer.cause, answer.remove),
        (Some("bob@x.org"), "mailbox-unknown", Tri::Yes)
    );
    assert_eq!(answer.reply.unwrap().text, "No such user");
    let forwarded = format!(
        "From: alice@example.com\nSubject: what is this? spam?\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=f\n\n--f\n\nvirus?\n--f\nContent-Type: message/rfc822\n\n{text}\n--f--\n"
    );
    let answer = only(&forwarded);
    assert_eq!((answer.recipient.as_deref(), answer.cause), (Some("bob@x.org"), "mailbox-unknown"));
}

#[test]
fn fields_that_somebody_pasted_are_enough() {
    let answer = only(
        "Final-Recipient: rfc822;bob@x.org\nAction: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp;552 5.2.2 over quota\n",
    );
    assert_eq!(
        (answer.recipient.as_deref(), answer.cause, answer.remove),
        (Some("bob@x.org"), "quota", Tri::No)
    );
}

#[test]
fn every_servers_own_words_are_read() {
    for (text, expected) in [
        (
            "Hi. This is the qmail-send program at mail.example.com.\nI'm afraid I wasn't able to deliver your message to the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<bob@x.org>:\n192.0.2.8 does not like recipient.\nRemote host said: 550 sorry, no mailbox here by that name (#5.1.1)\nGiving up on 192.0.2.8.\n\n--- Below this line is a copy of the message.\n\nSubject: spam <dave@x.org>\n",
            vec![("bob@x.org", "mailbox-unknown", Tri::Yes)],
        ),
        (
            "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n  bob@x.org\n    host mx.x.org [192.0.2.9]\n    SMTP error from remote mail server after RCPT TO:<bob@x.org>:\n    550 5.7.1 Spam message rejected\n  carol@y.org\n    Unrouteable address\n\n------ This is a copy of the message, including all the headers. ------\n\nSubject: user unknown\n",
            vec![("bob@x.org", "content", Tri::No), ("carol@y.org", "routing", Tri::Ambiguous)],
        ),
        (
            "The original message was received at Thu, 1 Jan 2026 10:00:00 GMT\nfrom localhost [127.0.0.1]\n\n   ----- The following addresses had permanent fatal errors -----\n<bob@x.org>\n    (reason: 550 5.1.1 <bob@x.org>... User unknown)\n\n   ----- Transcript of session follows -----\n... while talking to mx.x.org.:\n>>> DATA\n<<< 550 5.1.1 <bob@x.org>... User unknown\n550 5.1.1 <bob@x.org>... User unknown\n<<< 503 5.0.0 Need RCPT (recipient)\n",
            vec![("bob@x.org", "mailbox-unknown", Tri::Yes)],
        ),
        (
            "Delivery has failed to these recipients or groups:\n\nBob (bob@x.org)\nThe email address you entered couldn't be found.\n\nDiagnostic information for administrators:\n\nGenerating server: DB7PR01.prod.exchangelabs.com\n\nbob@x.org\nRemote Server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup'\n\nOriginal message headers:\n\nReceived: from x by y\nSubject: spam\n",
            vec![("bob@x.org", "mailbox-unknown", Tri::Yes)],
        ),
        (
            "Your message wasn't delivered to bob@x.org because the address couldn't be found, or is unable to receive mail.\n\nThe response from the remote server was:\n\n550 5.1.1 User unknown\n",
            vec![("bob@x.org", "mailbox-unknown", Tri::Yes)],
        ),
        (
            "This is the mail system at host mail.example.com.\n\n# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n\nYour message could not be delivered for more than 4 hour(s).\nIt will be retried until it is 5 day(s) old.\n\n<bob@x.org>: connect to mx.x.org[192.0.2.1]:25: Connection timed out\n",
            vec![("bob@x.org", "network", Tri::No)],
        ),
        (
            "    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this email.\n\n    An error has occurred while attempting to deliver a message for\n    the following list of recipients:\n\nbob@x.org: 550 5.1.1 Invalid recipient\n\n    Below is a copy of the original message:\n\nSubject: spam\n",
            vec![("bob@x.org", "mailbox-unknown", Tri::Yes)],
        ),
    ] {
        let reading = read(text);
        assert_eq!(reading.kind, Source::Bounce, "{text}");
        let found: Vec<_> = reading
            .recipients
            .iter()
            .map(|one| (one.recipient.as_deref().unwrap_or("-"), one.cause, one.remove))
            .collect();
        assert_eq!(found, expected, "{text}\n{reading:#?}");
    }
}

#[test]
fn a_subject_is_never_evidence() {
    let text = "Your message\n\n  To:      bob@x.org\n  Subject: Our 550 spam blocklist offer\n  Sent:    Thu, 1 Jan 2026 10:00:00 +0100\n\ndid not reach the following recipient(s):\n\nbob@x.org on Thu, 1 Jan 2026 10:00:01 +0100\n    The e-mail account does not exist at the organization this message was sent to.\n    <mail.x.org #5.1.1>\n";
    let answer = only(text);
    assert_eq!(
        (answer.recipient.as_deref(), answer.cause, answer.remove),
        (Some("bob@x.org"), "mailbox-unknown", Tri::Yes)
    );
    assert_eq!(pointed(text, &answer), ["account does not exist"]);
}

#[test]
fn a_page_instead_of_a_text_is_read() {
    let text = "From: postmaster@x.org\nSubject: spam\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<html><p>Ihre Nachricht an <a href=3D\"mailto:bob@x.org\">bob@x.org</a> konnte nicht zugestellt werden.</p><p>Der Server meldete:<br>550 5.1.1 Empf=C3=A4nger unbekannt</p></html>\n";
    let answer = only(text);
    assert_eq!((answer.recipient.as_deref(), answer.remove), (Some("bob@x.org"), Tri::Yes));
    assert_eq!(pointed(text, &answer), ["550 5.1.1", "Empf=C3=A4nger unbekannt"]);
    assert_eq!(answer.evidence[1].text, "Empfänger unbekannt");
}

#[test]
fn logs_have_one_answer_for_each_recipient_of_each_message() {
    let text = r#"Jan  1 10:00:00 mail postfix/qmgr[1]: 4Z1abc: from=<alice@example.com>, size=1, nrcpt=1 (queue active)
Jan  1 10:00:00 mail postfix/smtp[1]: 4Z1abc: to=<bob@x.org>, relay=mx.x.org[192.0.2.1]:25, delay=1.2, dsn=5.1.1, status=bounced (host mx.x.org[192.0.2.1] said: 550 5.1.1 <bob@x.org>: Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command))
Jan  1 10:00:00 mail postfix/smtp[1]: 4Z1abd: to=<bob@x.org>, relay=none, delay=1.2, dsn=4.4.1, status=deferred (connect to mx.x.org[192.0.2.1]:25: Connection timed out)
Jan  1 11:00:00 mail postfix/smtp[1]: 4Z1abd: to=<bob@x.org>, relay=mx.x.org[192.0.2.1]:25, delay=1.2, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 12)
2026-01-01 10:00:00 1abcDE-000001-AB ** carol@y.org R=dnslookup T=remote_smtp H=mx.y.org [192.0.2.2]: SMTP error from remote mail server after RCPT TO:<carol@y.org>: 550 5.1.1 No such user here
2026-01-01 10:00:00 1abcDE-000002-AB == dave@y.org R=dnslookup T=remote_smtp defer (110): Connection timed out
2026-01-01 10:00:00 1abcDE-000003-AB => eve@y.org R=dnslookup T=remote_smtp H=mx.y.org [192.0.2.2] C="250 OK id=1"
Jan  1 10:00:00 mail sendmail[77]: 601A0abc012345: to=<fred@z.org>, delay=00:00:01, mailer=esmtp, pri=30000, relay=mx.z.org. [192.0.2.3], dsn=5.1.1, stat=User unknown
Jan  1 10:00:00 mail smtpd[77]: 1234567890abcdef mta delivery evpid=0123456789abcdef from=<a@b> to=<gina@z.org> rcpt=<-> source="192.0.2.1" relay="192.0.2.9 (mx.z.org)" delay=1s result="PermFail" stat="550 5.1.1 Invalid recipient"
Jan 01 10:00:00 host=smtp.example.com tls=on auth=on user=alice from=alice@example.com recipients=hans@z.org smtpstatus=550 smtpmsg='550 5.7.1 Relaying denied' errormsg='not accepted' exitcode=EX_DATAERR
2026-01-01T10:00:00.000Z,,,,SRV,,,SMTP,FAIL,123,<m1@example.com>,aaa,ida@z.org,[{LED=550 5.1.1 User unknown};{MSG=};{FQDN=mx.z.org};{IP=192.0.2.7};{LRT=x}],1000,1
2026-01-01T10:00:00Z  WARN deferred id=K7Q2 recipient=jan@z.org agent="maildir" reply=452 4.2.2 Mailbox full cause="quota" next=2026-01-01T11:00:00Z
"#;
    let reading = read(text);
    assert_eq!(reading.kind, Source::Log);
    let found: Vec<_> = reading
        .recipients
        .iter()
        .map(|one| {
            (
                one.recipient.as_deref().unwrap_or("-"),
                one.message.as_deref().unwrap_or("-"),
                one.outcome.key(),
                one.cause,
                one.remove.key(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("bob@x.org", "4Z1abc", "failed", "mailbox-unknown", "yes"),
            ("bob@x.org", "4Z1abd", "delivered", "none", "no"),
            ("carol@y.org", "1abcDE-000001-AB", "failed", "mailbox-unknown", "yes"),
            ("dave@y.org", "1abcDE-000002-AB", "delayed", "network", "no"),
            ("eve@y.org", "1abcDE-000003-AB", "delivered", "none", "no"),
            ("fred@z.org", "601A0abc012345", "failed", "mailbox-unknown", "yes"),
            ("gina@z.org", "0123456789abcdef", "failed", "mailbox-unknown", "yes"),
            ("hans@z.org", "-", "failed", "relay", "no"),
            ("ida@z.org", "m1@example.com", "failed", "mailbox-unknown", "yes"),
            ("jan@z.org", "K7Q2", "delayed", "quota", "no"),
        ]
    );
    let bob = reading.recipients[0].reply.as_ref().unwrap();
    assert_eq!((bob.host.as_deref(), bob.command.as_deref()), (Some("mx.x.org"), Some("RCPT TO")));
}

#[test]
fn several_messages_in_a_mailbox_file_are_all_read() {
    let one = "From x\nSubject: a\nMIME-Version: 1.0\n\n<bob@x.org>: 550 5.1.1 user unknown\n\n";
    let reading = read(&(one.to_owned() + &one.replace("bob", "eve")));
    let who: Vec<_> = reading.recipients.iter().map(|one| one.recipient.as_deref().unwrap()).collect();
    assert_eq!(who, ["bob@x.org", "eve@x.org"]);
    assert!(reading.notes.contains(&Note::NoMachinePart));
}

#[test]
fn what_is_nothing_of_this_kind_says_so() {
    for text in ["", "\n\n", "hello there", "The quick brown fox jumps over the lazy dog."] {
        let reading = read(text);
        assert_eq!((reading.kind, reading.recipients.len()), (Source::Unknown, 0), "{text}");
        assert!(reading.notes.contains(&Note::NothingFound));
    }
}

#[test]
fn a_line_of_a_log_without_its_beginning_is_read() {
    for (text, outcome, cause, recipient, host) in [
        (
            "status=deferred (host mx.example.net[192.0.2.1] said: 450 4.7.1 <bob@example.org>: Recipient address rejected: Greylisted (in reply to RCPT TO command))",
            Outcome::Delayed,
            "greylist",
            Some("bob@example.org"),
            Some("mx.example.net"),
        ),
        (
            "to=<eve@example.org>, relay=mx.example.net[192.0.2.1]:25, dsn=5.1.1, status=bounced (host\n mx.example.net[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO command))\n",
            Outcome::Failed,
            "mailbox-unknown",
            Some("eve@example.org"),
            Some("mx.example.net"),
        ),
        ("said: 550 5.1.1 No such user", Outcome::Failed, "mailbox-unknown", None, None),
        (
            "(host mx.example.net[192.0.2.1] said: 450 4.2.2 Mailbox full)",
            Outcome::Delayed,
            "quota",
            None,
            Some("mx.example.net"),
        ),
        (
            "status=bounced (connect to mx.example.net[192.0.2.1]:25: Connection timed out)",
            Outcome::Failed,
            "network",
            None,
            None,
        ),
    ] {
        let reading = read(text);
        assert_eq!((reading.kind, reading.notes.as_slice()), (Source::Log, [].as_slice()), "{text}");
        let answer = only(text);
        assert_eq!(
            (answer.outcome, answer.cause, answer.recipient.as_deref()),
            (outcome, cause, recipient),
            "{text}"
        );
        if host.is_some() {
            assert_eq!(answer.reply.unwrap().host.as_deref(), host, "{text}");
        }
    }
}

#[test]
fn a_bare_reply_names_its_recipient_and_only_that() {
    for (text, recipient) in [
        ("550 5.1.1 <bob@example.org>: Recipient address rejected: User unknown", Some("bob@example.org")),
        ("554 5.7.1 <bob@example.org>: Relay access denied", Some("bob@example.org")),
        ("550 5.1.1 <bob@example.org>... User unknown", Some("bob@example.org")),
        ("550 5.1.8 <eve@example.org>: Sender address rejected: Domain not found", None),
        ("550 5.7.1 <c.example.org[192.0.2.1]>: Client host rejected: Access denied", None),
        ("550 5.1.1 User unknown", None),
    ] {
        assert_eq!(only(text).recipient.as_deref(), recipient, "{text}");
    }
}

#[test]
fn the_name_of_an_error_is_no_domain() {
    let domains = |text: &str| -> Vec<String> {
        let found = only(text).found.into_iter().filter(|one| one.kind == FoundKind::Domain);
        found.map(|one| one.value).collect()
    };
    for symbol in ["RESOLVER.ADR.RecipientNotFound", "RESOLVER.FWD.Loop", "SMTPSEND.DNS.NonExistentDomain"] {
        assert_eq!(domains(&format!("550 5.1.10 {symbol}; seen by mx.example.org")), ["mx.example.org"]);
    }
    assert_eq!(domains("550 5.7.1 EXAMPLE.ORG and Mail.Example.Com"), ["EXAMPLE.ORG", "Mail.Example.Com"]);
}

/// Texts that say that nobody is there, and something beside that leaves it open.
#[test]
fn a_living_address_is_not_taken_off() {
    let sendmail = |reply: &str| {
        format!(
            "Nov 16 06:41:11 gate sm-mta[31007]: 7AG6f8ho031002: to=<gun@x.org>, delay=00:00:03, mailer=esmtp, \
             relay=mx.x.org. [203.0.113.121], dsn=5.1.1, reply={reply}, stat=User unknown"
        )
    };
    let open = [
        // What the sending server makes of a reply that says something else.
        sendmail("550 We do not want your mail"),
        sendmail("550 5.7.1 Message refused, ourshop.example has no DKIM signature"),
        // Another address than the one the mail was sent to.
        "This message was forwarded for info@y.org and could not be delivered:\n\n  <gille@x.org>: 550 5.1.1 No such mailbox".to_owned(),
        "<a@x.org>: host mx.x.org[203.0.113.1] said: 550 5.1.1 user unknown: <c@y.org> (in reply to RCPT TO command)".to_owned(),
        // States that an owner may come back from.
        "550 5.1.1 <a@x.org> account archived".to_owned(),
        "550 5.2.1 The account a@x.org is dormant and takes no mail".to_owned(),
        // Lists that an administrator keeps.
        "550 5.7.1 <a@x.org>: Recipient address rejected: User email address is marked as invalid.".to_owned(),
        "550 Address rejected by administrator: invalid recipient list".to_owned(),
        // Two reasons in one reply.
        "550 User unknown or mailbox full".to_owned(),
        "550 5.1.1 Unknown user; spam trap".to_owned(),
        "550 5.1.1 unknown user in Reply-To address".to_owned(),
        "550 Callout verification failed: user unknown".to_owned(),
        // The code alone beside words that nobody knows.
        "550 5.1.1 The mail server for this person is still being built".to_owned(),
        // The domain is there, its servers are not.
        "<a@x.org>: all relevant MX records point to non-existent hosts".to_owned(),
    ];
    for text in open {
        assert_ne!(only(&text).remove, Tri::Yes, "{text}");
    }
    let gone = sendmail("550 5.1.1 <gun@x.org>: Recipient address rejected: User unknown");
    assert_eq!(only(&gone).remove, Tri::Yes);
    assert_eq!(only("550 5.1.1 Callout verification of <a@x.org> failed: no such user").remove, Tri::Yes);
    assert_eq!(only("550 5.1.1 No such user <a@x.org>. Write to postmaster@x.org.").remove, Tri::Yes);
}

#[test]
fn lines_of_message_tracking_are_read() {
    let line = "2026-11-16T06:41:11.118Z,10.20.0.5,EX02,,EX02,08DE2201C5A7F1B3;2026-11-16T06:41:10.902Z;0,Outbound,STOREDRIVER,DELIVER,88120,<m@x.org>,e77b0c1a-0001,moa@x.org;bo@x.org,,4410,2,,,Your order,a@y.org,a@y.org,";
    let answers = read(line).recipients;
    assert_eq!(answers.len(), 2);
    assert!(
        answers
            .iter()
            .all(|one| one.outcome == Outcome::Delivered && one.message.as_deref() == Some("m@x.org"))
    );
    let failed = "2026-11-10T08:14:29.551Z,,,,EX01,,,SMTP,FAIL,47111,<m@x.org>,inga@x.org,550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup,8123,1,,,News,a@y.org,a@y.org";
    let answer = only(failed);
    assert_eq!((answer.cause, answer.remove), ("mailbox-unknown", Tri::Yes));
}
