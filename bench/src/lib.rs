//! What the measuring tools share: the test message, latencies, and how results are printed.
//!
//! Every tool prints one JSON object on a line of its own; `bench/run` reads it. The tools connect
//! to and listen on loopback addresses only.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A message as it goes over the wire after 354, the final dot included.
#[derive(Clone, Debug)]
pub struct TestMessage {
    octets: Vec<u8>,
    serial_at: usize,
}

const SERIAL_WIDTH: usize = 16;

impl TestMessage {
    /// A message of about `size` octets (header and content; at least the header's own size).
    pub fn new(size: usize) -> Self {
        let mut octets = b"From: <load@sender.example>\r\nTo: <bench@example.test>\r\n\
            Subject: a message to measure with\r\nDate: Sun, 22 Nov 2026 00:00:00 +0000\r\nMessage-ID: <"
            .to_vec();
        let serial_at = octets.len();
        octets.extend_from_slice(b"0000000000000000@load.sender.example>\r\nMIME-Version: 1.0\r\n\r\n");
        // Text that does not compress to nothing, in lines of 76 octets with their CRLF.
        let mut letters = (b'a'..=b'z').cycle().step_by(7);
        while octets.len() < size {
            let width = (size - octets.len()).saturating_sub(2).clamp(1, 74);
            octets.extend(letters.by_ref().take(width));
            octets.extend_from_slice(b"\r\n");
        }
        octets.extend_from_slice(b".\r\n");
        Self { octets, serial_at }
    }

    /// The octets to send, with `serial` in the Message-ID, so that no two messages are equal.
    pub fn with_serial(&mut self, serial: u64) -> &[u8] {
        let digits = format!("{serial:0SERIAL_WIDTH$x}");
        if let Some(place) = self.octets.get_mut(self.serial_at..self.serial_at + SERIAL_WIDTH) {
            place.copy_from_slice(digits.as_bytes());
        }
        &self.octets
    }

    /// Octets on the wire, the final dot and its CRLF included.
    pub fn wire_len(&self) -> usize {
        self.octets.len()
    }
}

/// Times that were measured, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    /// Takes one down.
    pub fn add(&mut self, time: Duration) {
        self.micros.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// A JSON object: how many, p50, p99 and the longest; `null` when nothing was measured.
    pub fn to_json(&self) -> String {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let quantile =
            |per_mille: usize| sorted.get((sorted.len().saturating_sub(1) * per_mille + 500) / 1000).copied();
        match (quantile(500), quantile(990), sorted.last()) {
            (Some(p50), Some(p99), Some(max)) => {
                format!("{{\"n\":{},\"p50\":{p50},\"p99\":{p99},\"max\":{max}}}", sorted.len())
            }
            (_, _, _) => "null".into(),
        }
    }
}

/// Quotes a text for JSON.
pub fn json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                if write!(out, "\\u{:04x}", u32::from(c)).is_err() {
                    out.push('?');
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Refuses every address but loopback ones: these tools must not be turned on anybody.
pub fn loopback(addr: SocketAddr) -> io::Result<SocketAddr> {
    if addr.ip().is_loopback() {
        Ok(addr)
    } else {
        Err(io::Error::other(format!("{addr} is not a loopback address; this tool uses nothing else")))
    }
}

/// The length of the first complete reply in `buffer`, its last line end included, and its code
/// (RFC 5321 §4.2.1); `None` while it is incomplete. A line without a number has code 0.
pub fn complete_reply(buffer: &[u8]) -> Option<(usize, u16)> {
    let mut from = 0;
    loop {
        let line_end = from + memchr::memchr(b'\n', buffer.get(from..)?)? + 1;
        let line = buffer.get(from..line_end)?;
        if line.get(3) != Some(&b'-') {
            let code = line.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            return Some((line_end, code.unwrap_or(0)));
        }
        from = line_end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_size_asked_for_and_its_serial() {
        let mut message = TestMessage::new(10_240);
        assert_eq!(message.wire_len(), 10_240 + 3);
        let text = String::from_utf8(message.with_serial(0xabc).to_vec()).unwrap();
        assert!(text.contains("<0000000000000abc@load.sender.example>"));
        assert!(text.ends_with("\r\n.\r\n"));
        assert!(text.lines().all(|line| line.len() <= 76 && !line.starts_with("..")));
    }

    #[test]
    fn replies_are_cut_at_their_last_line() {
        assert_eq!(complete_reply(b"250-a\r\n250 b\r\n354 "), Some((14, 250)));
        assert_eq!(complete_reply(b"250-a\r\n250 b"), None);
        assert_eq!(complete_reply(b"what\r\n"), Some((6, 0)));
        assert_eq!(complete_reply(b""), None);
    }

    #[test]
    fn quantiles() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.to_json(), "null");
        for millis in 1..=101 {
            latencies.add(Duration::from_millis(millis));
        }
        assert_eq!(latencies.to_json(), "{\"n\":101,\"p50\":51000,\"p99\":100000,\"max\":101000}");
    }
}
