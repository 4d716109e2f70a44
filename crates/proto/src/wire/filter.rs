//! What content may hold: line ends, NUL, line length, size; for DATA and BDAT alike.
//!
//! RFC 5321 §2.3.8 (CRLF only), RFC 5322 §2.1.1 (998 octets a line), RFC 3030 §3 (binary content
//! passes unchanged). Bare CR and LF become CRLF on the way; whether that is refused instead is the
//! session's decision from [`Filter::findings`].

use alloc::vec::Vec;
use memchr::{memchr, memchr2};

/// What was seen in content. Offsets and lines count from the first octet after dots were unstuffed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Octets of content as received, less stuffed dots.
    pub size: u64,
    /// Bare CR or LF, each made a CRLF.
    pub bare_newlines: u64,
    /// Octet (from 0) of the first bare CR or LF.
    pub first_bare_at: u64,
    /// Line (from 1) of the first bare CR or LF.
    pub first_bare_line: u64,
    /// Whether a NUL octet came.
    pub nul: bool,
    /// The longest line, in octets without its CRLF.
    pub longest_line: u64,
}

/// Takes content in runs of any size and appends what is to be stored.
#[derive(Debug, Default)]
pub struct Filter {
    binary: bool,
    pending_cr: bool,
    line: u64,
    line_length: u64,
    findings: Findings,
}

impl Filter {
    /// For text: line ends are settled, NUL is looked for.
    pub fn text() -> Self {
        Self { line: 1, ..Self::default() }
    }

    /// For `BODY=BINARYMIME`: everything passes as it is.
    pub fn binary() -> Self {
        Self { binary: true, ..Self::default() }
    }

    /// What was seen so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Takes a run of content.
    pub fn push(&mut self, run: &[u8], out: &mut Vec<u8>) {
        if self.binary {
            self.findings.size = self.findings.size.saturating_add(run.len() as u64);
            out.extend_from_slice(run);
            return;
        }
        let start = self.findings.size;
        self.findings.size = start.saturating_add(run.len() as u64);
        self.findings.nul = self.findings.nul || memchr(0, run).is_some();
        let mut rest = run;
        if self.pending_cr && !rest.is_empty() {
            self.pending_cr = false;
            out.extend_from_slice(b"\r\n");
            if let Some(after) = rest.strip_prefix(b"\n") {
                self.end_line();
                rest = after;
            } else {
                self.bare(start.saturating_sub(1));
            }
        }
        // `rest[..seen]` is known to be storable as it is.
        let mut seen = 0;
        while let Some(found) = rest.get(seen..).and_then(|tail| memchr2(b'\r', b'\n', tail)) {
            let at = seen + found;
            self.line_length = self.line_length.saturating_add(found as u64);
            if let Some([b'\r', b'\n']) = rest.get(at..at + 2) {
                self.end_line();
                seen = at + 2;
                continue;
            }
            out.extend_from_slice(rest.get(..at).unwrap_or_default());
            if rest.get(at..) == Some(b"\r") {
                self.pending_cr = true;
                return;
            }
            out.extend_from_slice(b"\r\n");
            self.bare(start + (run.len() - rest.len() + at) as u64);
            rest = rest.get(at + 1..).unwrap_or_default();
            seen = 0;
        }
        self.line_length = self.line_length.saturating_add((rest.len() - seen) as u64);
        self.findings.longest_line = self.findings.longest_line.max(self.line_length);
        out.extend_from_slice(rest);
    }

    /// Ends the content: a CR that waited for its LF was a bare one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.pending_cr {
            self.pending_cr = false;
            out.extend_from_slice(b"\r\n");
            self.bare(self.findings.size.saturating_sub(1));
        }
    }

    fn bare(&mut self, at: u64) {
        if self.findings.bare_newlines == 0 {
            self.findings.first_bare_at = at;
            self.findings.first_bare_line = self.line;
        }
        self.findings.bare_newlines = self.findings.bare_newlines.saturating_add(1);
        self.end_line();
    }

    fn end_line(&mut self) {
        self.findings.longest_line = self.findings.longest_line.max(self.line_length);
        self.line_length = 0;
        self.line = self.line.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(parts: &[&[u8]]) -> (Vec<u8>, Findings) {
        let mut filter = Filter::text();
        let mut out = Vec::new();
        for part in parts {
            filter.push(part, &mut out);
        }
        filter.finish(&mut out);
        (out, *filter.findings())
    }

    #[test]
    fn bare_newlines_become_crlf_and_are_located() {
        let (out, findings) = run(&[b"a\r\nb\nc\rd\r\n"]);
        assert_eq!(out, b"a\r\nb\r\nc\r\nd\r\n");
        assert_eq!((findings.bare_newlines, findings.first_bare_at, findings.first_bare_line), (2, 4, 2));
        assert_eq!(findings.size, 10);
        assert_eq!(run(&[b"abc\r\nde"]).1.longest_line, 3);
        assert!(run(&[b"a\0b"]).1.nul);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            input in prop::collection::vec(prop::sample::select(&b"\r\nab\0"[..]), 0..40),
            cuts in prop::collection::vec(0usize..40, 0..5),
        ) {
            let whole = run(&[&input]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|w| &input[w[0]..w[1]]).collect();
            prop_assert_eq!(&whole, &run(&parts));
            // What is stored has no bare CR or LF, and storing it again changes nothing.
            let again = run(&[&whole.0]);
            prop_assert_eq!(&again.0, &whole.0);
            prop_assert_eq!(again.1.bare_newlines, 0);
        }
    }
}
