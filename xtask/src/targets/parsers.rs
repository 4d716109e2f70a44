//! Parsers of one thing: what was read prints back as the same, and any cut gives the same.

use postroad_delivery::directory::domain_key;
use postroad_proto::addr::{Domain, ForwardPath, Mailbox, ReversePath};
use postroad_proto::command;
use postroad_proto::message::header::Scan;
use postroad_proto::reply::EnhancedCode;
use postroad_server::proxy;

/// Addresses: what parses prints as something that parses to the same.
pub(super) fn address(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(mailbox) = Mailbox::parse(text) {
        assert_eq!(Mailbox::parse(&mailbox.to_string()).as_ref(), Ok(&mailbox));
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(&domain.to_string()).as_ref(), Ok(&domain));
        let key = domain_key(&domain);
        if let Some(again) = Domain::parse(&key).ok().filter(|_| key.is_ascii()) {
            assert_eq!(domain_key(&again), key, "the key of a key is itself");
        }
    }
    if let Ok(path) = ForwardPath::parse(text) {
        assert_eq!(ForwardPath::parse(&format!("<{path}>")).as_ref(), Ok(&path));
    }
    if let Ok(path) = ReversePath::parse(text) {
        assert_eq!(ReversePath::parse(&format!("<{path}>")).as_ref(), Ok(&path));
    }
}

/// Enhanced codes of replies.
pub(super) fn reply(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(code) = EnhancedCode::parse(text) {
        assert_eq!(code.to_string(), text);
    }
}

/// Command lines: read, or refused with a reply that a client can read.
pub(super) fn command(input: &[u8]) {
    if let Err(reply) = command::parse(input) {
        let mut wire = Vec::new();
        reply.write_to(&mut wire);
        assert!(wire.starts_with(b"5"), "a bad line is the peer's fault: {}", wire.escape_ascii());
        well_formed_reply(&wire);
    }
}

/// The look at a header is the same at any cut.
pub(super) fn header(input: &[u8]) {
    let Some((&width, octets)) = input.split_first() else { return };
    let mut whole = Scan::default();
    whole.push(octets);
    let mut cut = Scan::default();
    for piece in octets.chunks(usize::from(width).max(1)) {
        cut.push(piece);
    }
    assert_eq!(whole.summary(), cut.summary());
}

/// A segment or a state file of the spool, as a disk may have left it.
pub(super) fn spool(input: &[u8]) {
    let found = postroad_spool::fuzz_decode(input);
    assert!(found <= input.len(), "{found} records in {} octets", input.len());
}

/// The PROXY header: nothing is taken that did not come, and more octets do not change a header.
pub(super) fn proxy(input: &[u8]) {
    if let Ok(Some(header)) = proxy::parse(input) {
        assert!(header.length <= input.len());
        assert_eq!(proxy::parse(input.get(..header.length).unwrap_or_default()), Ok(Some(header)));
    }
}

/// A configuration file: every fault is a sentence that can be shown.
pub(super) fn config(input: &[u8]) {
    match postroad_server::config::fuzz_parse(input) {
        Ok(_loaded) => {}
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.to_string().contains('\0'));
            }
        }
    }
}

/// Every line has a code, the same one, and ends by CRLF; none is over 512 octets (RFC 5321 §4.2.1
/// and §4.5.3.1.5), and nothing a peer sent gets out unescaped.
pub(super) fn well_formed_reply(wire: &[u8]) {
    let text = std::str::from_utf8(wire).unwrap_or_default();
    assert!(text.ends_with("\r\n"), "{}", wire.escape_ascii());
    let mut code = None;
    for line in text.trim_end_matches("\r\n").split("\r\n") {
        assert!(line.len() <= 510, "a reply line of {} octets", line.len());
        assert!(line.is_ascii() && !line.contains(|c: char| c.is_control()), "{}", wire.escape_ascii());
        let (this, rest) = line.split_at_checked(3).unwrap_or_default();
        assert!(this.len() == 3 && this.bytes().all(|b| b.is_ascii_digit()), "{line}");
        assert_eq!(*code.get_or_insert(this), this, "{line}");
        assert!(rest.is_empty() || rest.starts_with([' ', '-']), "{line}");
    }
}
