//! What looks like the end of content and is none: a dot alone between line ends of which one is bare.
//!
//! Only CRLF.CRLF ends content (RFC 5321 §4.1.1.4). Who reads LF.LF, LF.CRLF or CR.CR as its end takes what stands
//! behind it as commands; that difference is what smuggling lives on. Nothing is decided here, and nothing fails:
//! the first such place is kept as evidence. The octets are those of the wire, stuffed dots included.

use super::filter::Window;
use memchr::memmem;

/// The first place in content that another server may take for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FalseEnd {
    /// Octet of the dot, from 0.
    pub at: u64,
    /// What stands around it.
    pub window: Window,
}

/// Octets that are carried to the next read: two before the dot, the dot, and a CR that waits for its LF.
const CARRIED: usize = 4;

/// Looks for it in content that comes at any cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    carried: [u8; CARRIED],
    taken: u64,
    found: Option<FalseEnd>,
}

impl Default for Search {
    /// The first line begins after the CRLF of the line before the content.
    fn default() -> Self {
        Self { carried: *b"\0\0\r\n", taken: 0, found: None }
    }
}

impl Search {
    /// What was found.
    pub(crate) fn found(&self) -> Option<FalseEnd> {
        self.found
    }

    /// Takes content up to its end, as it came.
    pub(crate) fn push(&mut self, input: &[u8]) {
        if self.found.is_some() {
            return;
        }
        // What stands across the cut: what is carried, and as much of the input as can belong to it.
        let mut joint = [0; 2 * CARRIED];
        let head = input.len().min(CARRIED);
        for (place, octet) in joint.iter_mut().zip(self.carried.iter().chain(input.iter().take(head))) {
            *place = *octet;
        }
        let joint = joint.get(..CARRIED + head).unwrap_or_default();
        let found = dot(joint).map(|at| (self.taken.saturating_add(at as u64).saturating_sub(4), joint, at));
        let found = found.or_else(|| dot(input).map(|at| (self.taken.saturating_add(at as u64), input, at)));
        if let Some((offset, octets, at)) = found {
            let (before, after) = octets.split_at_checked(at).unwrap_or_default();
            self.found = Some(FalseEnd { at: offset, window: Window::around(before, after) });
        }
        self.taken = self.taken.saturating_add(input.len() as u64);
        let last = joint.get(joint.len() - CARRIED..).unwrap_or_default();
        let last = input.get(input.len().wrapping_sub(CARRIED)..).unwrap_or(last);
        if let Ok(last) = last.try_into() {
            self.carried = last;
        }
    }
}

/// Where a dot stands alone between two line ends that are all there and not both CRLF.
fn dot(octets: &[u8]) -> Option<usize> {
    let by_lf = memmem::find_iter(octets, b"\n.");
    let by_cr = memmem::find_iter(octets, b"\r.");
    let lone = |at: &usize| {
        // With only one octet before the dot it cannot be told whether that is half of a CRLF.
        let before = octets.get(..=*at).filter(|before| before.len() >= 2)?;
        let opens_bare = !before.ends_with(b"\r\n");
        let closes_bare = match octets.get(at + 2..)? {
            [b'\r', b'\n', ..] => false,
            [b'\n', ..] | [b'\r', _, ..] => true,
            _ => return None,
        };
        (opens_bare || closes_bare).then_some(at + 1)
    };
    let first = |mut places: memmem::FindIter<'_, '_>| places.find_map(|at| lone(&at));
    match (first(by_lf), first(by_cr)) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn search(parts: &[&[u8]]) -> Option<u64> {
        let mut search = Search::default();
        for part in parts {
            search.push(part);
        }
        search.found().map(|found| found.at)
    }

    #[test]
    fn a_dot_between_line_ends_that_are_not_both_crlf_is_found_at_any_cut() {
        for (content, at) in [
            (&b"a\n.\nMAIL"[..], Some(2)),
            (b"a\n.\r\nMAIL", Some(2)),
            (b"a\r\n.\nMAIL", Some(3)),
            (b"a\r.\rMAIL", Some(2)),
            (b"a\r\n.\rMAIL", Some(3)),
            (b".\nMAIL", Some(0)),
            (b"a\r\n.\r\n", None),
            (b"a\r\n..\r\nb\n.c\n", None),
            (b"a.\n.b\r\n", None),
            (b".\r\n", None),
            (b"long line before\r\nand then\r\n..\n.\r\nb\n.\n", Some(31)),
        ] {
            assert_eq!(search(&[content]), at, "{content:?}");
            let single: Vec<&[u8]> = content.chunks(1).collect();
            assert_eq!(search(&single), at, "octet by octet: {content:?}");
            for cut in 0..content.len() {
                let (one, other) = content.split_at(cut);
                assert_eq!(search(&[one, other]), at, "cut at {cut}: {content:?}");
            }
        }
    }

    #[test]
    fn the_octets_around_it_are_evidence() {
        let mut search = Search::default();
        search.push(b"Subject: x\r\n\r\nhello\n.\nMAIL FROM:<evil@x.example>\r\n");
        let found = search.found().unwrap();
        assert_eq!(found.at, 20);
        assert_eq!(found.window.before(), b"ect: x\r\n\r\nhello\n");
        assert_eq!(found.window.after(), b".\nMAIL FROM:<evi");
    }
}
