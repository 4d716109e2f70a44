//! What a server says: replies read from its octets, within bounds.
//!
//! RFC 5321 §4.2 (codes and text), §4.2.1 (many lines, one code), §4.5.3.1.5 (length of a line),
//! RFC 2034 §4 (enhanced codes). A bare code without text or space is a reply (§4.2.1). A line that
//! ends in LF alone is read, and the reply says so. What is no reply is a [`ReplyFault`], and the
//! reader is of no use after it, because nobody knows where the next reply begins.

use crate::reply::{Class, EnhancedCode};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Longest reply line read, in octets with its line end; RFC 5321 §4.5.3.1.5 allows servers 512.
pub const MAX_REPLY_LINE: usize = 4096;
/// Most lines read in one reply.
pub const MAX_REPLY_LINES: usize = 1000;
/// Octets of text kept of one reply; what a server says beyond it is read and dropped.
pub const MAX_REPLY_TEXT: usize = 16 * 1024;

/// Why octets of a server are not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyFault {
    /// A line over [`MAX_REPLY_LINE`].
    LineTooLong,
    /// More than [`MAX_REPLY_LINES`] lines.
    TooManyLines,
    /// No three digits from 200 to 599 at the beginning, or no space or hyphen after them.
    Malformed,
    /// The lines of one reply have different codes.
    MixedCodes,
}

impl fmt::Display for ReplyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineTooLong => "a reply line is longer than 4096 octets",
            Self::TooManyLines => "a reply has more than 1000 lines",
            Self::Malformed => "a line is not an SMTP reply (three digits, then a space or a hyphen)",
            Self::MixedCodes => "the lines of one reply have different codes",
        })
    }
}

/// A reply of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReply {
    code: u16,
    lines: Vec<String>,
    truncated: bool,
    bare_lf: bool,
}

impl ServerReply {
    /// The basic code, 200 to 599.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The class of the basic code; `None` for 3yz. Clients decide by it where they do not know the
    /// code itself (RFC 5321 §4.3.2).
    pub const fn class(&self) -> Option<Class> {
        match self.code / 100 {
            2 => Some(Class::Success),
            4 => Some(Class::Transient),
            5 => Some(Class::Permanent),
            _ => None,
        }
    }

    /// The enhanced code at the beginning of the first line's text, if there is one.
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        EnhancedCode::parse(self.lines.first()?.split(' ').next()?)
    }

    /// The texts of the lines, without codes and line ends; octets that are not UTF-8 as U+FFFD.
    /// They are a stranger's: escape them before they reach a terminal or a log.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether the server said more than [`MAX_REPLY_TEXT`] octets, and the rest was dropped.
    pub const fn truncated(&self) -> bool {
        self.truncated
    }

    /// Whether a line ended in LF alone, against RFC 5321 §2.3.8.
    pub const fn has_bare_lf(&self) -> bool {
        self.bare_lf
    }
}

/// As the server wrote it, codes on every line, lines parted by LF.
impl fmt::Display for ServerReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.lines.iter().peekable();
        while let Some(line) = lines.next() {
            let (mark, end) = if lines.peek().is_some() { ('-', "\n") } else { (' ', "") };
            if line.is_empty() && end.is_empty() {
                write!(f, "{}", self.code)?;
            } else {
                write!(f, "{}{mark}{line}{end}", self.code)?;
            }
        }
        Ok(())
    }
}

/// Reads replies out of a stream of octets cut anywhere.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    line: Vec<u8>,
    begun: Option<ServerReply>,
    count: usize,
    kept: usize,
}

impl ReplyReader {
    /// Whether part of a reply has been read.
    pub(super) fn is_partial(&self) -> bool {
        self.begun.is_some() || !self.line.is_empty()
    }

    /// Takes octets off the front of `input`, up to the end of one reply; `None` when all are taken and
    /// the reply is not complete.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<ServerReply>, ReplyFault> {
        // Ends: each round takes a line end off `input`.
        while !input.is_empty() {
            let end = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
            let (part, tail) = input.split_at_checked(end).unwrap_or((input, &[]));
            if self.line.len() + part.len() > MAX_REPLY_LINE {
                return Err(ReplyFault::LineTooLong);
            }
            self.line.extend_from_slice(part);
            *input = tail;
            if !self.line.ends_with(b"\n") {
                return Ok(None);
            }
            let line = core::mem::take(&mut self.line);
            if let Some(reply) = self.take_line(&line)? {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<ServerReply>, ReplyFault> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (line, bare_lf) = line.strip_suffix(b"\r").map_or((line, true), |line| (line, false));
        let (digits, after) = line.split_at_checked(3).ok_or(ReplyFault::Malformed)?;
        let code = digits.iter().try_fold(0u16, |code, digit| {
            digit.is_ascii_digit().then(|| code * 10 + u16::from(digit - b'0'))
        });
        let code = code.filter(|code| (200..600).contains(code)).ok_or(ReplyFault::Malformed)?;
        let (more, text) = match after.split_first() {
            None => (false, after),
            Some((b' ', text)) => (false, text),
            Some((b'-', text)) => (true, text),
            Some(_) => return Err(ReplyFault::Malformed),
        };
        let mut reply = match self.begun.take() {
            Some(begun) if begun.code == code => begun,
            Some(_) => return Err(ReplyFault::MixedCodes),
            None => {
                self.count = 0;
                self.kept = 0;
                ServerReply { code, lines: Vec::new(), truncated: false, bare_lf: false }
            }
        };
        self.count += 1;
        if self.count > MAX_REPLY_LINES {
            return Err(ReplyFault::TooManyLines);
        }
        reply.bare_lf |= bare_lf;
        if self.kept + text.len() <= MAX_REPLY_TEXT {
            self.kept += text.len();
            reply.lines.push(String::from_utf8_lossy(text).into_owned());
        } else {
            reply.truncated = true;
        }
        if more {
            self.begun = Some(reply);
            return Ok(None);
        }
        Ok(Some(reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn read_cut(octets: &[u8], step: usize) -> Result<Vec<ServerReply>, ReplyFault> {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for piece in octets.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                replies.extend(reader.read(&mut rest)?);
            }
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_read_at_any_cut() {
        let octets = b"220 hi\r\n250-mx.example.org\r\n250-SIZE 10\r\n250 \r\n250\r\n550-5.7.1 no\r\n550 5.7.1 never\r\n";
        for step in 1..=octets.len() {
            let replies = read_cut(octets, step).unwrap();
            let texts: Vec<_> = replies.iter().map(ToString::to_string).collect();
            assert_eq!(
                texts,
                ["220 hi", "250-mx.example.org\n250-SIZE 10\n250", "250", "550-5.7.1 no\n550 5.7.1 never"]
            );
            assert_eq!(replies[3].enhanced(), EnhancedCode::parse("5.7.1"));
            assert_eq!(replies[3].class(), Some(Class::Permanent));
        }
    }

    #[test]
    fn a_bare_lf_is_read_and_said() {
        let replies = read_cut(b"250 ok\n250 ok\r\n", 100).unwrap();
        assert_eq!((replies[0].has_bare_lf(), replies[1].has_bare_lf()), (true, false));
        assert_eq!(replies[0].lines(), ["ok"]);
    }

    #[test]
    fn what_is_no_reply_is_told_apart() {
        for (octets, fault) in [
            (&b"hello\r\n"[..], ReplyFault::Malformed),
            (b"25\r\n", ReplyFault::Malformed),
            (b"199 x\r\n", ReplyFault::Malformed),
            (b"600 x\r\n", ReplyFault::Malformed),
            (b"250_x\r\n", ReplyFault::Malformed),
            (b"\r\n", ReplyFault::Malformed),
            (b"250-a\r\n251 b\r\n", ReplyFault::MixedCodes),
        ] {
            assert_eq!(read_cut(octets, 3), Err(fault));
        }
        assert_eq!(read_cut(&[b'2'; 5000], 7), Err(ReplyFault::LineTooLong));
        assert_eq!(read_cut(&b"250-x\r\n".repeat(1_000_000), 4096), Err(ReplyFault::TooManyLines));
    }

    #[test]
    fn long_text_is_cut_not_kept() {
        let mut octets = Vec::new();
        for _ in 0..900 {
            octets.extend_from_slice(b"250-");
            octets.extend_from_slice(&[b'x'; 1000]);
            octets.extend_from_slice(b"\r\n");
        }
        octets.extend_from_slice(b"250 end\r\n");
        let replies = read_cut(&octets, 999).unwrap();
        assert!(replies[0].truncated());
        assert!(replies[0].lines().iter().map(String::len).sum::<usize>() <= MAX_REPLY_TEXT);
    }
}
