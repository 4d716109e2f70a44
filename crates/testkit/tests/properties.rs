//! What must hold for any input, not only for the dialogues that somebody thought of.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_proto::reply::ReplyId;
use postroad_proto::server::{BareNewline, Offer, Protocol};
use postroad_testkit::dialogue::Rule;
use postroad_testkit::escape::show;
use postroad_testkit::host::{Host, Link, Stored};
use postroad_testkit::play::Cut;
use proptest::prelude::*;

const HEAD: &[u8] =
    b"EHLO client.example\r\nMAIL FROM:<alice@client.example>\r\nRCPT TO:<bob@example.org>\r\n";

/// Octets that a failing test shows so that they can be read.
#[derive(Clone)]
struct Octets(Vec<u8>);

impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&show(&self.0))
    }
}

/// All that a peer can see and a store can keep.
#[derive(Debug, PartialEq)]
struct Seen {
    replies: Vec<String>,
    stored: Vec<Stored>,
    link: Link,
    /// What the session did against its contract.
    complaint: Option<String>,
}

fn offer(bare_newline: BareNewline) -> Offer {
    let mut offer = Offer::new("mx.example.org");
    offer.content.bare_newline = bare_newline;
    offer
}

fn run(offer: &Offer, input: &[u8], cut: Cut) -> Seen {
    run_with(offer, &[], input, cut)
}

fn run_with(offer: &Offer, rules: &[Rule], input: &[u8], cut: Cut) -> Seen {
    let mut host = Host::new(offer.clone(), rules);
    for piece in cut.pieces(0, input) {
        host.feed(piece);
    }
    let mut replies = Vec::new();
    while let Some(reply) = host.next_reply() {
        replies.push(format!("{} {}", reply.id().name(), reply));
    }
    Seen {
        replies,
        stored: host.stored().to_vec(),
        link: host.link(),
        complaint: host.complaint().map(str::to_owned),
    }
}

/// Content as a client that knows RFC 5321 §4.5.2 sends it: dots stuffed after CRLF, and the end.
fn data_form(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut line_start = true;
    for (at, &octet) in content.iter().enumerate() {
        if line_start && octet == b'.' {
            out.push(b'.');
        }
        out.push(octet);
        line_start = octet == b'\n' && at > 0 && content[at - 1] == b'\r';
    }
    out.extend_from_slice(if line_start { b".\r\n" } else { b"\r\n.\r\n" });
    out
}

/// Octets in the mixtures that matter: line ends, dots, NUL, and commands that must not be run.
fn content() -> impl Strategy<Value = Octets> {
    let part = prop_oneof![
        8 => prop::sample::select(vec![&b"\r"[..], b"\n", b".", b"\r\n", b"\r\n.", b"\0", b"a", b" ", b"\xff"]),
        1 => prop::sample::select(vec![
            &b"MAIL FROM:<mallory@client.example>\r\n"[..],
            b"RCPT TO:<bob@example.org>\r\n",
            b"DATA\r\n",
            b"BDAT 3 LAST\r\n",
            b"QUIT\r\n",
            b"RSET\r\n",
        ]),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| Octets(parts.concat()))
}

fn modes() -> impl Strategy<Value = BareNewline> {
    prop::sample::select(vec![BareNewline::Normalize, BareNewline::Reject])
}

/// Verdicts of all kinds, and none.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = prop::sample::select(vec![
        "sender alice@client.example -> refuse StorageFull",
        "sender <> -> hangup RelayDenied",
        "recipient carol@example.org -> refuse NoSuchMailbox",
        "recipient carol@example.org -> hangup LocalTrouble",
        "content -> refuse MemoryFull",
        "content -> refuse BadContent",
        "content -> accept",
        "content -> hangup LocalTrouble",
        "commit -> refuse LocalTrouble",
        "commit -> refuse BadContent",
        "commit -> hangup BadContent",
    ]);
    prop::collection::vec(rule.prop_map(|text| Rule::parse(text).unwrap()), 0..3)
}

/// A script of lines, good, bad and mad.
fn script() -> impl Strategy<Value = Octets> {
    let line = prop_oneof![
        12 => prop::sample::select(vec![
            &b"EHLO client.example\r\n"[..],
            b"HELO client.example\r\n",
            b"LHLO client.example\r\n",
            b"MAIL FROM:<alice@client.example>\r\n",
            b"MAIL FROM:<alice@client.example> BODY=BINARYMIME SIZE=5\r\n",
            b"MAIL FROM:<> SIZE=500\r\n",
            b"RCPT TO:<bob@example.org>\r\n",
            b"RCPT TO:<carol@example.org>\r\n",
            b"DATA\r\n",
            b".\r\n",
            b"Received: x\r\n",
            b"Subject: x\r\n\r\nText.\r\n.\r\n",
            b"BDAT 6\r\nQUIT\r\n",
            b"BDAT 3 LAST\r\na\0b",
            b"BDAT 2 LAST\r\n\n.",
            b"BDAT 0 LAST\r\n",
            b"BDAT 90\r\n",
            b"BDAT 900\r\n",
            b"BDAT x\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"VRFY bob\r\n",
            b"AUTH PLAIN\r\n",
        ]),
        2 => prop::sample::select(vec![
            &b"QUIT\r\n"[..],
            b"STARTTLS\r\n",
            b"\r\n",
            b"\n.\r\n",
            b"\r.\r\n",
            b"FROB\n\r\n",
            b"GET / HTTP/1.1\r\n",
        ]),
        1 => (1usize..900).prop_map(|n| &[b'a'; 900][..n]),
    ];
    prop::collection::vec(line, 0..30).prop_map(|lines| Octets(lines.concat()))
}

fn noise() -> impl Strategy<Value = Octets> {
    let octet = prop_oneof![3 => any::<u8>(), 1 => prop::sample::select(b"\r\n \x16".to_vec())];
    prop::collection::vec(octet, 0..2000).prop_map(Octets)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn data_and_bdat_store_the_same(Octets(content) in content(), mode in modes()) {
        let by_data = [HEAD, b"DATA\r\n", &data_form(&content)].concat();
        // DATA cannot send content without CRLF at its end; so the chunk gets what was sent.
        let sent = if content.is_empty() || content.ends_with(b"\r\n") { content } else { [&content[..], b"\r\n"].concat() };
        // An empty content and the bare end are one.
        let sent = if sent == b"\r\n" && !by_data.ends_with(b"\r\n\r\n.\r\n") { Vec::new() } else { sent };
        let chunk = format!("BDAT {} LAST\r\n", sent.len());
        let by_bdat = [HEAD, chunk.as_bytes(), &sent].concat();
        let offer = offer(mode);
        let (data, bdat) = (run(&offer, &by_data, Cut::Whole), run(&offer, &by_bdat, Cut::Whole));
        prop_assert_eq!(&data.stored, &bdat.stored);
        prop_assert_eq!(data.replies.last(), bdat.replies.last());
    }

    #[test]
    fn content_is_one_message_and_no_command(Octets(content) in content(), mode in modes(), seed: u64) {
        let input = [HEAD, b"DATA\r\n", &data_form(&content), b"NOOP\r\n"].concat();
        let seen = run(&offer(mode), &input, Cut::Random(seed));
        prop_assert!(seen.stored.len() <= 1);
        // Greeting, EHLO, MAIL, RCPT, 354, the verdict on the content, NOOP.
        prop_assert_eq!(seen.replies.len(), 7, "{:?}", seen.replies);
        prop_assert!(seen.replies[6].starts_with("Noop"), "{:?}", seen.replies);
        prop_assert_eq!(seen.link, Link::Open);
        prop_assert_eq!(seen.complaint, None);
    }

    #[test]
    fn stored_text_has_no_bare_newline_and_no_nul(Octets(content) in content(), mode in modes()) {
        let input = [HEAD, b"DATA\r\n", &data_form(&content)].concat();
        for stored in run(&offer(mode), &input, Cut::Whole).stored {
            let rest = String::from_utf8_lossy(&stored.content).replace("\r\n", "");
            prop_assert!(!rest.contains(['\r', '\n', '\0']), "{}", show(&stored.content));
        }
    }

    #[test]
    fn any_cut_of_any_script_gives_the_same(
        Octets(script) in script(),
        rules in rules(),
        mode in modes(),
        protocol in prop::sample::select(vec![Protocol::Smtp, Protocol::Lmtp]),
        errors in 1u32..25,
        seed: u64,
    ) {
        let mut offer = offer(mode);
        offer.protocol = protocol;
        offer.limits.errors = errors;
        // Small limits, so that they are met.
        offer.limits.message_size = 100;
        offer.limits.recipients = 3;
        offer.limits.received = 2;
        offer.limits.chunks = 4;
        let whole = run_with(&offer, &rules, &script, Cut::Whole);
        prop_assert_eq!(&whole.complaint, &None);
        for cut in [Cut::Random(seed), Cut::Random(seed ^ 1), Cut::EachOctet] {
            let got = run_with(&offer, &rules, &script, cut);
            if met_content_ahead(&whole) || met_content_ahead(&got) {
                continue;
            }
            prop_assert_eq!(&whole, &got, "{:?}: {}", cut, show(&script));
        }
    }

    #[test]
    fn noise_is_survived(Octets(noise) in noise(), seed: u64) {
        let offer = Offer::new("mx.example.org");
        let whole = run(&offer, &noise, Cut::Whole);
        prop_assert_eq!(&whole.complaint, &None);
        prop_assert_eq!(whole, run(&offer, &noise, Cut::Random(seed)));
    }
}

/// Whether content came behind a refused DATA: that, and that alone, depends on what arrives together.
fn met_content_ahead(run: &impl std::fmt::Debug) -> bool {
    format!("{run:?}").contains(ReplyId::ContentAhead.text())
}

/// Everything that somebody somewhere has taken for an end of data: line end, dot, line end, each
/// made of up to two of CR, LF and NUL, or of CRLF and a third.
#[test]
fn nothing_but_crlf_dot_crlf_ends_content() {
    let mut ends: Vec<Vec<u8>> =
        vec![b"".to_vec(), b"\r\n\0".to_vec(), b"\0\r\n".to_vec(), b"\r\0\n".to_vec()];
    for a in b"\r\n\0 " {
        ends.push(vec![*a]);
        for b in b"\r\n\0 " {
            ends.push(vec![*a, *b]);
        }
    }
    let smuggled = b"MAIL FROM:<mallory@client.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nx\r\n.\r\n";
    let mut tried = 0;
    for before in &ends {
        for after in &ends {
            let false_end = [before, &b"."[..], after].concat();
            if memmem(&[&b"a"[..], &false_end, b"M"].concat(), b"\r\n.\r\n") {
                continue;
            }
            tried += 1;
            let input = [HEAD, b"DATA\r\nSubject: bait\r\n\r\na", &false_end, smuggled].concat();
            for mode in [BareNewline::Normalize, BareNewline::Reject] {
                for cut in [Cut::Whole, Cut::EachOctet, Cut::Random(1)] {
                    let seen = run(&offer(mode), &input, cut);
                    let what = format!("{} {mode:?} {cut:?}: {:?}", show(&false_end), seen.replies);
                    assert_eq!(seen.complaint, None, "{what}");
                    assert_eq!(seen.replies.len(), 6, "{what}");
                    assert!(seen.stored.len() <= 1, "{what}");
                    let bare = has_bare_newline(&[&b"a"[..], &false_end, b"M"].concat());
                    let verdict = if false_end.contains(&0) {
                        ReplyId::NulInContent
                    } else if bare && mode == BareNewline::Reject {
                        ReplyId::BareNewline
                    } else {
                        ReplyId::Accepted
                    };
                    assert!(seen.replies[5].starts_with(verdict.name()), "{what}");
                }
            }
        }
    }
    assert!(tried > 500, "only {tried} false ends");
}

/// RFC 5321 §4.5.3.1: whatever floods in, a session holds little of it.
#[test]
fn a_flood_takes_no_memory() {
    let mut small = offer(BareNewline::Normalize);
    small.limits.message_size = 10_000;
    for (start, flood) in [
        (&b""[..], &b"a"[..]),
        (b"NOOP ", b"\r"),
        (b"", b"\n"),
        (b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", b"a"),
        (b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", b"\n"),
        (b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBDAT 20000\r\n", b"\0"),
        (b"BDAT 20000\r\n", b"a"),
    ] {
        for offer in [&small, &offer(BareNewline::Normalize)] {
            let mut host = Host::new(offer.clone(), &[]);
            host.feed(start);
            for _ in 0..500 {
                host.feed(&flood.repeat(4096));
                let held = host.held();
                assert!(held <= 128 << 10, "{held} octets held of a flood of {}", show(flood));
            }
            assert_eq!(host.complaint(), None);
        }
    }
}

fn memmem(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn has_bare_newline(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(at, octet)| match octet {
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        _ => false,
    })
}
