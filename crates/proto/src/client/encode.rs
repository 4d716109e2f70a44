//! Content on its way out: line ends made CRLF, dots stuffed, the end marked; and what it will need.
//!
//! RFC 5321 §2.3.8 (only CRLF ends a line, and a bare CR or LF is never sent), §4.1.1.4 and §4.5.2
//! (transparency), RFC 3030 §3 (binary content stays as it is), RFC 1870 §6.1 (what SIZE counts).
//! Nothing here can fail: any octets are content. The output is the same at any cut of the input.

use super::ContentFacts;
use crate::envelope::{Body, Smtputf8};
use alloc::vec::Vec;

/// How content is put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "DATA, BDAT and BDAT with BINARYMIME are all there are")]
pub enum Encoding {
    /// For DATA: every line end becomes CRLF, dots are stuffed, `.` on its own line ends it.
    Dotted,
    /// For BDAT with text: every line end becomes CRLF, and the last line gets one if it has none.
    Chunked,
    /// For BDAT with `BODY=BINARYMIME`: every octet as it is.
    Binary,
}

/// Turns content into the octets of the wire, piece by piece.
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    /// A CR came last, and its CRLF is written: an LF now is the second half of it.
    after_cr: bool,
    line_start: bool,
}

impl Encoder {
    /// An encoder at the beginning of content.
    pub const fn new(encoding: Encoding) -> Self {
        Self { encoding, after_cr: false, line_start: true }
    }

    /// Appends the encoded form of the next piece.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if self.encoding == Encoding::Binary {
            out.extend_from_slice(piece);
            return;
        }
        let mut rest = piece;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        // Ends: each round takes at least one octet off `rest`.
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let (text, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            if let Some(&first) = text.first() {
                if first == b'.' && self.line_start && self.encoding == Encoding::Dotted {
                    out.push(b'.');
                }
                out.extend_from_slice(text);
                self.line_start = false;
            }
            let Some((&ending, after)) = tail.split_first() else { return };
            out.extend_from_slice(b"\r\n");
            self.line_start = true;
            rest = after;
            if ending == b'\r' {
                self.after_cr = rest.is_empty();
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
        }
    }

    /// Appends what ends the content: the CRLF its last line lacks and, for DATA, the final dot.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Binary => return,
            Encoding::Chunked | Encoding::Dotted => {}
        }
        if !self.line_start {
            out.extend_from_slice(b"\r\n");
        }
        if self.encoding == Encoding::Dotted {
            out.extend_from_slice(b".\r\n");
        }
    }
}

/// Looks through content before it is sent and says what the server must offer for it.
#[derive(Debug)]
pub struct Survey {
    encoder: Encoder,
    normal: Vec<u8>,
    raw_size: u64,
    size: u64,
    line: u64,
    longest_line: u64,
    longest_line_number: u64,
    lines: u64,
    in_header: bool,
    body: Body,
    smtputf8: Smtputf8,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            encoder: Encoder::new(Encoding::Chunked),
            normal: Vec::new(),
            raw_size: 0,
            size: 0,
            line: 0,
            longest_line: 0,
            longest_line_number: 0,
            lines: 0,
            in_header: true,
            body: Body::SevenBit,
            smtputf8: Smtputf8::NotNeeded,
        }
    }
}

impl Survey {
    /// Looks at the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.raw_size = self.raw_size.saturating_add(piece.len() as u64);
        let mut normal = core::mem::take(&mut self.normal);
        normal.clear();
        self.encoder.push(piece, &mut normal);
        self.look(&normal);
        self.normal = normal;
    }

    /// The facts about the whole.
    pub fn finish(mut self) -> ContentFacts {
        let mut normal = Vec::new();
        let encoder = core::mem::replace(&mut self.encoder, Encoder::new(Encoding::Chunked));
        encoder.finish(&mut normal);
        self.look(&normal);
        ContentFacts {
            size: if self.body == Body::BinaryMime { self.raw_size } else { self.size },
            body: self.body,
            smtputf8: self.smtputf8,
            longest_line: self.longest_line,
            longest_line_number: self.longest_line_number,
        }
    }

    fn look(&mut self, normal: &[u8]) {
        self.size = self.size.saturating_add(normal.len() as u64);
        if memchr::memchr(0, normal).is_some() {
            self.body = Body::BinaryMime;
        } else if self.body == Body::SevenBit && !normal.is_ascii() {
            self.body = Body::EightBitMime;
        }
        for part in normal.split_inclusive(|&b| b == b'\n') {
            if self.in_header && !part.is_ascii() {
                self.smtputf8 = Smtputf8::Needed;
            }
            self.line = self.line.saturating_add(part.len() as u64);
            if part.ends_with(b"\n") {
                // 2: the CRLF, which the limit of RFC 5322 §2.1.1 leaves out.
                let length = self.line.saturating_sub(2);
                self.lines = self.lines.saturating_add(1);
                if self.lines == 1 || length > self.longest_line {
                    (self.longest_line, self.longest_line_number) = (length, self.lines);
                }
                self.in_header &= length > 0;
                self.line = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn encode_cut(encoding: Encoding, content: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut encoder = Encoder::new(encoding);
        let mut out = Vec::new();
        let mut rest = content;
        for &cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            encoder.push(piece, &mut out);
            rest = tail;
        }
        encoder.push(rest, &mut out);
        encoder.finish(&mut out);
        out
    }

    /// A receiver after RFC 5321 §4.5.2 that believes in CRLF only; `None` if no end came, or octets after it.
    fn decode(wire: &[u8]) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let mut rest = wire;
        loop {
            let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
            let (line, tail) = rest.split_at(end + 2);
            if line == b".\r\n" {
                return tail.is_empty().then_some(content);
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            rest = tail;
        }
    }

    /// The same normalisation, said another way.
    fn normalize(content: &[u8]) -> Vec<u8> {
        let text: Vec<char> = content.iter().map(|&b| char::from(b)).collect();
        let text: alloc::string::String = text.into_iter().collect();
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut out: Vec<u8> = Vec::new();
        for line in lines.split_inclusive('\n') {
            out.extend(line.trim_end_matches('\n').chars().map(|c| c as u8));
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a'), any::<u8>()];
        proptest::collection::vec(octet, 0..200)
    }

    proptest! {
        #[test]
        fn what_a_receiver_reads_is_the_content_with_crlf(content in text(), cuts in proptest::collection::vec(0usize..9, 0..40)) {
            let whole = encode_cut(Encoding::Dotted, &content, &[]);
            prop_assert_eq!(&encode_cut(Encoding::Dotted, &content, &cuts), &whole);
            prop_assert_eq!(decode(&whole), Some(normalize(&content)));
            prop_assert_eq!(encode_cut(Encoding::Chunked, &content, &cuts), normalize(&content));
            prop_assert_eq!(encode_cut(Encoding::Binary, &content, &cuts), content);
        }

        #[test]
        fn the_survey_counts_what_is_sent(content in text(), cut in 0usize..200) {
            let mut survey = Survey::default();
            let (head, tail) = content.split_at(cut.min(content.len()));
            survey.push(head);
            survey.push(tail);
            let facts = survey.finish();
            let binary = content.contains(&0);
            let sent = if binary { content.len() } else { normalize(&content).len() };
            prop_assert_eq!(facts.size, sent as u64);
            prop_assert_eq!(facts.body == Body::SevenBit, content.is_ascii() && !binary);
        }
    }

    #[test]
    fn known_shapes() {
        for (content, wire) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.b\r\n", "a\r\n..b\r\n.\r\n"),
            ("\r\r\n\n", "\r\n\r\n\r\n.\r\n"),
        ] {
            assert_eq!(
                encode_cut(Encoding::Dotted, content.as_bytes(), &vec![1; content.len()]),
                wire.as_bytes()
            );
        }
    }

    #[test]
    fn the_survey_tells_header_from_body() {
        for (content, utf8, longest) in [
            ("Subject: é\n\nx", Smtputf8::Needed, (11, 1)),
            ("Subject: e\n\né", Smtputf8::NotNeeded, (10, 1)),
            ("A: é\n\nlonger\nlonger\nlo", Smtputf8::Needed, (6, 3)),
        ] {
            let mut survey = Survey::default();
            survey.push(content.as_bytes());
            let facts = survey.finish();
            assert_eq!(facts.smtputf8, utf8);
            assert_eq!((facts.longest_line, facts.longest_line_number), longest);
            assert_eq!(facts.body, Body::EightBitMime);
        }
    }
}
