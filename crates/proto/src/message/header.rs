//! A look at the header while content streams by (RFC 5322 §3.6).
//!
//! Counts the fields that the checks need and finds the end of the header. Bounded: of a field only
//! the first octets of its name are kept, and of `Message-ID` its value. Never fails: what is no header field ends the header.

use alloc::vec::Vec;

/// What the header holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `From` fields.
    pub from: u32,
    /// `Date` fields.
    pub date: u32,
    /// `Message-ID` fields.
    pub message_id: u32,
    /// `Received` fields (RFC 5321 §6.3 counts them to find loops).
    pub received: u32,
    /// Octets of the header, its closing empty line included.
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Name,
    Rest,
    Over,
}

/// Longest field name that matters here.
const NAME: usize = 16;

/// Octets of a `Message-ID` that are kept: what fits one line after its name (RFC 5322 §2.1.1).
const MESSAGE_ID: usize = 512;

/// Takes content in runs of any size.
#[derive(Debug)]
pub struct Scan {
    at: At,
    name: [u8; NAME],
    name_length: usize,
    summary: Summary,
    message_id: Vec<u8>,
    in_message_id: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            at: At::LineStart,
            name: [0; NAME],
            name_length: 0,
            summary: Summary::default(),
            message_id: Vec::new(),
            in_message_id: false,
        }
    }
}

impl Scan {
    /// Takes a run of content, line ends settled.
    pub fn push(&mut self, run: &[u8]) {
        let mut rest = run;
        while let Some((&first, after)) = rest.split_first() {
            match self.at {
                At::Over => return,
                At::LineStart => match first {
                    b'\r' | b'\n' => {
                        self.summary.size += if first == b'\r' { 2 } else { 1 };
                        self.at = At::Over;
                        return;
                    }
                    b' ' | b'\t' => self.at = At::Rest,
                    _ => {
                        self.at = At::Name;
                        self.name_length = 0;
                        self.in_message_id = false;
                    }
                },
                At::Name => {
                    self.summary.size += 1;
                    rest = after;
                    match first {
                        b':' => {
                            self.count();
                            self.at = At::Rest;
                        }
                        // RFC 5322 §2.2: a name is printable US-ASCII; old writers put blanks before the colon.
                        b'!'..=b'~' | b' ' | b'\t' => {
                            if let Some(place) = self.name.get_mut(self.name_length) {
                                *place = first.to_ascii_lowercase();
                            }
                            self.name_length = self.name_length.saturating_add(1);
                        }
                        _ => self.at = At::Over,
                    }
                }
                At::Rest => {
                    let run = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                    let (line, left) = rest.split_at_checked(run).unwrap_or((rest, &[]));
                    self.summary.size += line.len() as u64;
                    if self.in_message_id {
                        let room = MESSAGE_ID - self.message_id.len().min(MESSAGE_ID);
                        self.message_id.extend_from_slice(line.get(..room).unwrap_or(line));
                    }
                    if line.ends_with(b"\n") {
                        self.at = At::LineStart;
                    }
                    rest = left;
                }
            }
        }
    }

    /// The value of the first `Message-ID` field, without white space around it (RFC 5322 §3.6.4).
    pub fn message_id(&self) -> Option<&[u8]> {
        Some(self.message_id.trim_ascii()).filter(|id| !id.is_empty())
    }

    /// What was seen so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn count(&mut self) {
        let name = self.name.get(..self.name_length).unwrap_or_default().trim_ascii_end();
        let counter = match name {
            b"from" => &mut self.summary.from,
            b"date" => &mut self.summary.date,
            b"message-id" => &mut self.summary.message_id,
            b"received" => &mut self.summary.received,
            _ => return,
        };
        self.in_message_id = name == b"message-id" && *counter == 0;
        *counter = counter.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(step: usize, content: &[u8]) -> Summary {
        let mut scan = Scan::default();
        for run in content.chunks(step) {
            scan.push(run);
        }
        *scan.summary()
    }

    #[test]
    fn the_first_message_id_is_kept_at_any_cut() {
        let content =
            b"Message-ID:\r\n <a@b>\r\nSubject: <no>\r\nMessage-ID: <c@d>\r\n\r\nMessage-ID: <e@f>\r\n";
        for step in 1..content.len() {
            let mut scan = Scan::default();
            content.chunks(step).for_each(|run| scan.push(run));
            assert_eq!(scan.message_id(), Some(&b"<a@b>"[..]), "{step}");
        }
        let mut scan = Scan::default();
        scan.push(b"Message-ID: ");
        (0..100).for_each(|_| scan.push(&[b'x'; 100]));
        assert_eq!(scan.message_id().map(<[u8]>::len), Some(MESSAGE_ID - 1));
    }

    #[test]
    fn fields_are_counted_at_any_cut() {
        let content =
            b"Received: a\r\n\tfrom: folded\r\nFROM: x\r\nfrom : y\r\nDate: z\r\n\r\nFrom: body\r\n";
        for step in 1..content.len() {
            let summary = scan(step, content);
            assert_eq!((summary.from, summary.date, summary.received), (2, 1, 1), "{step}");
            assert_eq!(summary.size, 58, "{step}");
        }
        assert_eq!(scan(100, b"no header here\r\nFrom: x\r\n").from, 0);
        assert_eq!(scan(100, b"").from, 0);
    }
}
