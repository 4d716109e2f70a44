//! The end of DATA content and the stuffed dots (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! Content ends at CRLF.CRLF, or at .CRLF right after the 354, and at nothing else. A dot that
//! begins a line and is not alone on it is taken away. Only CRLF begins a new line: after a bare LF
//! or CR a dot is content. Any cut of the input gives the same result.

use memchr::memmem;

/// Where the decoder stands between two octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At the beginning of a line.
    LineStart,
    /// After the dot that began a line.
    Dot,
    /// After a dot that began a line and a CR.
    DotCr,
    /// Inside a line, after an octet that is not CR.
    Inside,
    /// Inside a line, after a CR.
    Cr,
    /// After the end.
    End,
}

/// Takes the octets that come after a 354.
#[derive(Debug)]
pub struct Decoder {
    at: At,
    taken: u64,
    tail: [u8; 8],
}

impl Default for Decoder {
    fn default() -> Self {
        Self { at: At::LineStart, taken: 0, tail: *b"\0\0\0\0\0\0\r\n" }
    }
}

impl Decoder {
    /// Takes octets up to the end of content, hands runs of content to `sink`, and returns how many
    /// octets were taken. All of them were, unless [`Self::is_complete`].
    pub fn decode(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> usize {
        let mut rest = input;
        while let Some((&first, after)) = rest.split_first() {
            match self.at {
                At::End => break,
                At::LineStart if first == b'.' => {
                    self.at = At::Dot;
                    rest = after;
                }
                At::Dot if first == b'\r' => {
                    self.at = At::DotCr;
                    rest = after;
                }
                At::DotCr if first == b'\n' => {
                    self.at = At::End;
                    rest = after;
                }
                At::DotCr => {
                    // The dot was a stuffed one, and the CR after it content.
                    sink(b"\r");
                    self.at = At::Cr;
                }
                At::Cr if first == b'\n' => {
                    sink(b"\n");
                    self.at = At::LineStart;
                    rest = after;
                }
                At::LineStart | At::Dot | At::Inside | At::Cr => {
                    // To the next dot that begins a line, at once.
                    let run = memmem::find(rest, b"\r\n.").map_or(rest.len(), |found| found + 2);
                    let (content, left) = rest.split_at_checked(run).unwrap_or((rest, &[]));
                    sink(content);
                    self.at = if content.ends_with(b"\r\n") {
                        At::LineStart
                    } else if content.ends_with(b"\r") {
                        At::Cr
                    } else {
                        At::Inside
                    };
                    rest = left;
                }
            }
        }
        let used = input.len() - rest.len();
        self.remember(input.get(..used).unwrap_or(input));
        used
    }

    /// Whether CRLF.CRLF has been seen.
    pub fn is_complete(&self) -> bool {
        self.at == At::End
    }

    /// Octets taken since the 354, dots and end included.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The last octets taken, up to eight.
    pub fn tail(&self) -> &[u8] {
        let known = usize::try_from(self.taken).unwrap_or(usize::MAX).min(self.tail.len());
        self.tail.get(self.tail.len() - known..).unwrap_or_default()
    }

    /// What the last octets look like, for the peer that waits for a reply which cannot come.
    pub fn tail_hint(&self) -> &'static str {
        if self.taken == 0 {
            "nothing arrived after the 354"
        } else if self.tail.ends_with(b"\n.\n") {
            "the last line was \".\" ended by a bare LF"
        } else if self.tail.ends_with(b"\r.\r") {
            "the last line was \".\" ended by a bare CR"
        } else if self.tail.ends_with(b"\r\n.\r") {
            "the last line was \".\" and CR; its LF is missing"
        } else if self.tail.ends_with(b"\n.") {
            "the last line was \".\" without CRLF after it"
        } else if self.tail.ends_with(b"\r\n") {
            "the last line ended with CRLF, but no line with only a dot came"
        } else if self.tail.ends_with(b"\n") {
            "lines end with a bare LF; SMTP needs CRLF"
        } else {
            "the last line has no end"
        }
    }

    fn remember(&mut self, taken: &[u8]) {
        self.taken = self.taken.saturating_add(taken.len() as u64);
        let new = taken.len().min(self.tail.len());
        self.tail.rotate_left(new);
        let keep = self.tail.len() - new;
        if let (Some(place), Some(last)) = (self.tail.get_mut(keep..), taken.get(taken.len() - new..)) {
            place.copy_from_slice(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn decode(parts: &[&[u8]]) -> (Vec<u8>, bool, usize) {
        let mut decoder = Decoder::default();
        let (mut out, mut used) = (Vec::new(), 0);
        for part in parts {
            used += decoder.decode(part, |run| out.extend_from_slice(run));
        }
        (out, decoder.is_complete(), used)
    }

    #[test]
    fn only_crlf_dot_crlf_ends_content() {
        for (input, content, rest) in [
            (&b".\r\n"[..], &b""[..], 0),
            (b"a\r\n.\r\nMAIL", b"a\r\n", 4),
            (b"..a\r\n.\r\n", b".a\r\n", 0),
            (b"...\r\n.\r\n", b"..\r\n", 0),
            (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n", 0),
            (b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\r\n", 0),
        ] {
            assert_eq!(decode(&[input]), (content.to_vec(), true, input.len() - rest));
        }
        for open in [
            &b"a\n.\n"[..],
            b"a\n.\r\n",
            b"a\r\n.\n",
            b"a\r.\r",
            b"a\r\n.\r",
            b"a\r.\r\n",
            b"a\r\n.\0\r\n",
            b"a\r\n\0.\r\n",
            b"a\n\n.\r\nQUIT\r\n",
            b"a\r\n. \r\n",
            b".\n",
        ] {
            assert!(!decode(&[open]).1, "{open:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            input in prop::collection::vec(prop::sample::select(&b"\r\n.ab\0"[..]), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let whole = decode(&[&input]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|w| &input[w[0]..w[1]]).collect();
            let got = decode(&parts);
            prop_assert_eq!(&whole.0, &got.0);
            prop_assert_eq!(whole.1, got.1);
            prop_assert_eq!(whole.2, got.2);
        }
    }
}
