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
    /// What stands around the first bare CR or LF.
    pub first_bare: Window,
    /// Lines that ended in CRLF.
    pub crlf: u64,
    /// Of the bare ones, those that are LF.
    pub bare_lf: u64,
    /// Whether a NUL octet came.
    pub nul: bool,
    /// The longest line, in octets without its CRLF.
    pub longest_line: u64,
}

/// Octets around a place in content, as evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    before: ([u8; WINDOW], usize),
    after: ([u8; WINDOW], usize),
}

/// Octets of a [`Window`] to each side.
const WINDOW: usize = 16;

impl Window {
    pub(super) fn around(before: &[u8], after: &[u8]) -> Self {
        let last = before.get(before.len().saturating_sub(WINDOW)..).unwrap_or_default();
        Self { before: kept(last), after: kept(after) }
    }

    /// Octets before the place, as far as they came in the same read; at most 16.
    pub fn before(&self) -> &[u8] {
        self.before.0.get(..self.before.1).unwrap_or_default()
    }

    /// Octets from the place on, as far as they came in the same read; at most 16.
    pub fn after(&self) -> &[u8] {
        self.after.0.get(..self.after.1).unwrap_or_default()
    }
}

fn kept(octets: &[u8]) -> ([u8; WINDOW], usize) {
    let mut kept = [0; WINDOW];
    let length = octets.len().min(WINDOW);
    for (place, octet) in kept.iter_mut().zip(octets) {
        *place = *octet;
    }
    (kept, length)
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
                self.end_crlf();
                rest = after;
            } else {
                let after: Vec<u8> = b"\r".iter().chain(rest).copied().take(WINDOW).collect();
                self.bare(start.saturating_sub(1), b"", &after);
            }
        }
        // `rest[..seen]` is known to be storable as it is.
        let mut seen = 0;
        while let Some(found) = rest.get(seen..).and_then(|tail| memchr2(b'\r', b'\n', tail)) {
            let at = seen + found;
            self.line_length = self.line_length.saturating_add(found as u64);
            if let Some([b'\r', b'\n']) = rest.get(at..at + 2) {
                self.end_crlf();
                seen = at + 2;
                continue;
            }
            out.extend_from_slice(rest.get(..at).unwrap_or_default());
            if rest.get(at..) == Some(b"\r") {
                self.pending_cr = true;
                return;
            }
            out.extend_from_slice(b"\r\n");
            let (before, after) = rest.split_at_checked(at).unwrap_or_default();
            self.findings.bare_lf += u64::from(after.starts_with(b"\n"));
            self.bare(start + (run.len() - rest.len() + at) as u64, before, after);
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
            self.bare(self.findings.size.saturating_sub(1), b"", b"\r");
        }
    }

    fn end_crlf(&mut self) {
        self.findings.crlf = self.findings.crlf.saturating_add(1);
        self.end_line();
    }

    fn bare(&mut self, at: u64, before: &[u8], after: &[u8]) {
        if self.findings.bare_newlines == 0 {
            self.findings.first_bare = Window::around(before, after);
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
        assert_eq!((findings.crlf, findings.bare_lf), (2, 1));
        assert_eq!(
            (findings.first_bare.before(), findings.first_bare.after()),
            (&b"a\r\nb"[..], &b"\nc\rd\r\n"[..])
        );
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
            // Where the cut fell shows in the window alone.
            let known = |(out, findings): (Vec<u8>, Findings)| (out, Findings { first_bare: Window::default(), ..findings });
            let whole = known(whole);
            prop_assert_eq!(&whole, &known(run(&parts)));
            // What is stored has no bare CR or LF, and storing it again changes nothing.
            let again = run(&[&whole.0]);
            prop_assert_eq!(&again.0, &whole.0);
            prop_assert_eq!(again.1.bare_newlines, 0);
        }
    }
}
