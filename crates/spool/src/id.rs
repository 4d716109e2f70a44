//! The id of a stored message: a ULID, so 26 characters, unique without asking anyone, in order of time.

use postroad_proto::time::UnixTime;
use std::fmt;

/// The id of a message in the spool, and its queue id in replies, traces and logs.
///
/// 48 bits of time in milliseconds, then 80 bits that the store makes unique.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolId(u128);

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl SpoolId {
    /// An id from the time and 80 unique bits (higher bits of `unique` are dropped).
    pub const fn new(now: UnixTime, unique: u128) -> Self {
        Self(((now.0 as u128) & ((1 << 48) - 1)) << 80 | (unique & ((1 << 80) - 1)))
    }

    /// The id with these bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits, for storage.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// When the message was begun.
    pub const fn time(self) -> UnixTime {
        UnixTime((self.0 >> 80) as u64)
    }

    /// Reads the 26 characters, in either case of letters.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 26 {
            return None;
        }
        let mut bits: u128 = 0;
        for c in text.bytes() {
            let digit = ALPHABET.iter().position(|&a| a == c.to_ascii_uppercase())?;
            bits = bits.checked_mul(32)? | digit as u128;
        }
        Some(Self(bits))
    }
}

impl fmt::Display for SpoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; 26];
        let mut bits = self.0;
        for place in text.iter_mut().rev() {
            *place = ALPHABET.get((bits & 31) as usize).copied().unwrap_or(b'0');
            bits >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for SpoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_read_back() {
        let id = SpoolId::new(UnixTime(1_795_327_384_123), 0x1234_5678_9abc_def0_1122);
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(SpoolId::parse(&text), Some(id));
        assert_eq!(SpoolId::parse(&text.to_lowercase()), Some(id));
        assert_eq!(id.time(), UnixTime(1_795_327_384_123));
        assert_eq!(SpoolId::parse("8ZZZZZZZZZZZZZZZZZZZZZZZZZ"), None, "over 128 bits");
        assert_eq!(SpoolId::parse(""), None);
    }
}
