//! Text with the place of every octet in the input, so that evidence can be marked where it was given.
//!
//! Decoding, unfolding and collapsing make a new text; each of its octets remembers where it came from.
//! Memory is five octets for each octet of the input, which [`crate::explain_text`] bounds.

use std::ops::Range;

/// The longest input that is looked at, in octets.
pub const LOOK_AT: usize = 1024 * 1024;

/// Octets, and where in the input each stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    at: Vec<u32>,
}

impl Text {
    /// A part of the input as it is.
    pub(crate) fn raw(input: &[u8], range: Range<usize>) -> Self {
        let mut text = Self::default();
        for (offset, byte) in input.iter().enumerate().take(range.end).skip(range.start) {
            text.push(*byte, offset);
        }
        text
    }

    pub(crate) fn push(&mut self, byte: u8, at: usize) {
        self.bytes.push(byte);
        self.at.push(u32::try_from(at).unwrap_or(u32::MAX));
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// As a string, whatever the octets are.
    pub(crate) fn string(&self, range: Range<usize>) -> String {
        shown(self.slice(range))
    }

    /// Where a range of this text stands in the input.
    pub(crate) fn origin(&self, range: &Range<usize>) -> Range<usize> {
        let at = |index: usize| self.at.get(index).map_or(0, |at| *at as usize);
        if range.is_empty() || range.start >= self.len() {
            let here = at(range.start.min(self.len().saturating_sub(1)));
            return here..here;
        }
        let start = at(range.start);
        start..at(range.end.min(self.len()).saturating_sub(1)).max(start) + 1
    }

    /// A part of this text as a text of its own.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        Self {
            bytes: self.bytes.get(range.clone()).unwrap_or_default().to_vec(),
            at: self.at.get(range).unwrap_or_default().to_vec(),
        }
    }

    /// Adds a part of another text.
    pub(crate) fn append(&mut self, other: &Self, range: Range<usize>) {
        self.bytes.extend_from_slice(other.bytes.get(range.clone()).unwrap_or_default());
        self.at.extend_from_slice(other.at.get(range).unwrap_or_default());
    }

    /// The octet at a place, and where it stands in the input.
    pub(crate) fn octet(&self, index: usize) -> Option<(u8, usize)> {
        Some((*self.bytes.get(index)?, *self.at.get(index)? as usize))
    }

    /// The lines, without their ends.
    pub(crate) fn lines(&self) -> Vec<Range<usize>> {
        lines(&self.bytes)
    }
}

/// The lines of a text as ranges, without their ends (CRLF or LF).
pub(crate) fn lines(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' {
            found.push(start..trimmed(bytes, start, index));
            start = index + 1;
        }
    }
    if start < bytes.len() {
        found.push(start..trimmed(bytes, start, bytes.len()));
    }
    found
}

fn trimmed(bytes: &[u8], start: usize, end: usize) -> usize {
    let cr = end > start && bytes.get(end - 1) == Some(&b'\r');
    if cr { end - 1 } else { end }
}

/// Octets of a stranger as a string without control characters.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether the octets begin with this, in any case.
pub(crate) fn begins(bytes: &[u8], with: &str) -> bool {
    bytes.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()))
}

/// A range without the white space at its ends.
pub(crate) fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let (mut start, mut end) = (range.start, range.end);
    while start < end && bytes.get(start).is_some_and(u8::is_ascii_whitespace) {
        start += 1;
    }
    while end > start && bytes.get(end - 1).is_some_and(u8::is_ascii_whitespace) {
        end -= 1;
    }
    start..end
}
