//! Content after 354: the decoder against one that is too simple to be wrong, at any cut.

use postroad_proto::wire::data::Decoder;
use postroad_proto::wire::filter::{Filter, Findings, Window};

/// The first octet says how the rest is cut.
pub(super) fn content(input: &[u8]) {
    let Some((&width, octets)) = input.split_first() else { return };
    let (expected, used) = simple(octets);
    for width in [octets.len(), usize::from(width), 1] {
        let mut decoder = Decoder::default();
        let (mut got, mut taken) = (Vec::new(), 0);
        for piece in octets.chunks(width.max(1)) {
            taken += decoder.decode(piece, |run| got.extend_from_slice(run));
            if decoder.is_complete() {
                break;
            }
        }
        assert_eq!(decoder.is_complete(), used.is_some());
        if let Some(used) = used {
            assert_eq!(taken, used);
            assert_eq!(got, expected, "cut at {width}");
        }
        assert_eq!(decoder.taken(), taken as u64);
    }
    if used.is_some() {
        filtered(&expected, usize::from(width).max(1));
    }
}

/// Content up to CRLF.CRLF with its dots unstuffed, and how many octets that took.
fn simple(octets: &[u8]) -> (Vec<u8>, Option<usize>) {
    // The CRLF before the first line is that of the command (RFC 5321 §4.1.1.4).
    let framed = [b"\r\n", octets].concat();
    let Some(end) = memmem(&framed, b"\r\n.\r\n") else { return (Vec::new(), None) };
    let body = framed.get(..end + 2).unwrap_or_default();
    let mut out = Vec::new();
    for (at, &octet) in body.iter().enumerate().skip(2) {
        let stuffed = octet == b'.' && at >= 2 && body.get(at - 2..at) == Some(b"\r\n");
        if !stuffed {
            out.push(octet);
        }
    }
    (out, Some(end + 5 - 2))
}

fn memmem(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The filter is the same at any cut, leaves no bare line end, and changes nothing else.
fn filtered(octets: &[u8], width: usize) {
    let pass = |width: usize| -> (Vec<u8>, Findings) {
        let mut filter = Filter::text();
        let mut out = Vec::new();
        for piece in octets.chunks(width.max(1)) {
            filter.push(piece, &mut out);
        }
        filter.finish(&mut out);
        // What stands around a bare line end is known as far as it came in one read.
        (out, Findings { first_bare: Window::default(), ..*filter.findings() })
    };
    let (whole, findings) = pass(octets.len());
    assert_eq!((&whole, &findings), (&pass(width).0, &pass(width).1));
    assert_eq!((&whole, &findings), (&pass(1).0, &pass(1).1));
    let mut expected = Vec::new();
    let mut rest = octets;
    let mut bare = 0;
    while let Some((&first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\r\n") {
            expected.extend_from_slice(b"\r\n");
            rest = after;
            continue;
        }
        if matches!(first, b'\r' | b'\n') {
            expected.extend_from_slice(b"\r\n");
            bare += 1;
        } else {
            expected.push(first);
        }
        rest = after;
    }
    assert_eq!(whole, expected);
    assert_eq!(findings.bare_newlines, bare);
}
