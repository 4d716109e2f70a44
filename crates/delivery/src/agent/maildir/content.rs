//! What a delivered file holds: the trace lines of final delivery, then the stored content.
//!
//! RFC 5321 §4.4: the system that makes final delivery puts `Return-Path` in front. `Delivered-To`
//! names the mailbox, `X-Original-To` the address the peer wrote where it was another.

use postroad_proto::addr::ReversePath;
use postroad_proto::envelope::Recipient;
use std::io::{self, Read, Write};

/// How lines end in the delivered file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one of the two")]
pub enum LineEnds {
    /// CRLF, as received: the content is byte for byte what was accepted, so that signatures and
    /// checksums over it stay true. Dovecot, mutt and Python's `mailbox` read this as well as LF.
    #[default]
    Crlf,
    /// LF, as Postfix and Dovecot write it, for readers and scripts that expect text files. Content
    /// that came as BINARYMIME is never converted.
    Lf,
}

impl LineEnds {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Crlf => "\r\n",
            Self::Lf => "\n",
        }
    }
}

/// The lines in front of the content.
pub(super) fn trace(sender: &ReversePath, recipient: &Recipient, ends: LineEnds) -> String {
    let end = ends.as_str();
    let mut lines = format!("Return-Path: <{sender}>{end}Delivered-To: {}{end}", recipient.mailbox);
    if let Some(original) = &recipient.original {
        lines.push_str("X-Original-To: ");
        lines.push_str(&original.to_string());
        lines.push_str(end);
    }
    lines
}

/// Content on its way to one or more files.
pub(super) enum Content {
    /// Small enough to be held, with its line ends as they will be written.
    Held(Vec<u8>),
    /// To be read anew for each file.
    Streamed,
}

/// Content up to this size is held while a message goes to its mailboxes.
pub(super) const HELD: u64 = 1024 * 1024;

const BUFFER: usize = 64 * 1024;

/// Reads all content, which has to be `size` octets, with the line ends asked for.
pub(super) fn hold(reader: &mut dyn Read, size: u64, ends: LineEnds) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(HELD)).unwrap_or(0));
    let read = reader.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    check_size(read as u64, size)?;
    if ends == LineEnds::Lf {
        let mut converted = Vec::with_capacity(bytes.len());
        let mut pending = false;
        convert(&bytes, &mut pending, &mut converted);
        finish(pending, &mut converted);
        return Ok(converted);
    }
    Ok(bytes)
}

/// Copies content of `size` octets, with the line ends asked for; returns what was written.
pub(super) fn stream(
    reader: &mut dyn Read,
    size: u64,
    ends: LineEnds,
    file: &mut dyn Write,
) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut converted = Vec::with_capacity(BUFFER);
    let (mut taken, mut written, mut pending) = (0_u64, 0_u64, false);
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        taken = taken.saturating_add(count as u64);
        if count == 0 || taken > size {
            break;
        }
        let chunk = buffer.get(..count).unwrap_or_default();
        let out = match ends {
            LineEnds::Crlf => chunk,
            LineEnds::Lf => {
                converted.clear();
                convert(chunk, &mut pending, &mut converted);
                &converted
            }
        };
        file.write_all(out)?;
        written = written.saturating_add(out.len() as u64);
    }
    check_size(taken, size)?;
    converted.clear();
    finish(pending, &mut converted);
    file.write_all(&converted)?;
    Ok(written.saturating_add(converted.len() as u64))
}

fn check_size(read: u64, size: u64) -> io::Result<()> {
    if read == size {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("read {read} octets of a message of {size}")))
}

/// Each CRLF becomes LF; a CR alone stays. `pending` is a CR at the end of a chunk.
fn convert(chunk: &[u8], pending: &mut bool, out: &mut Vec<u8>) {
    for &byte in chunk {
        if *pending && byte != b'\n' {
            out.push(b'\r');
        }
        *pending = byte == b'\r';
        if !*pending {
            out.push(byte);
        }
    }
}

fn finish(pending: bool, out: &mut Vec<u8>) {
    if pending {
        out.push(b'\r');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of one length.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, rest) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = rest;
            Ok(count)
        }
    }

    #[test]
    fn line_ends_are_kept_or_converted_at_any_cut() {
        let content = b"a\r\nb\r\r\n\r\nc\rd\ne\r";
        for piece in 1..=content.len() {
            for (ends, expected) in [(LineEnds::Crlf, &content[..]), (LineEnds::Lf, b"a\nb\r\n\nc\rd\ne\r")] {
                let size = content.len() as u64;
                let mut out = Vec::new();
                let written = stream(&mut Pieces(content, piece), size, ends, &mut out).unwrap();
                assert_eq!(out, expected);
                assert_eq!(written, expected.len() as u64);
                assert_eq!(hold(&mut Pieces(content, piece), size, ends).unwrap(), expected);
            }
        }
    }

    #[test]
    fn content_of_another_size_is_an_error() {
        for size in [3, 5] {
            assert!(hold(&mut Pieces(b"abcd", 2), size, LineEnds::Crlf).is_err());
            assert!(stream(&mut Pieces(b"abcd", 2), size, LineEnds::Crlf, &mut Vec::new()).is_err());
        }
    }
}
