//! The short word at the end of a refusal by which its story is found, as in `K7Q2-9F4M`.
//!
//! 40 bits in Crockford's base 32: no I, L, O or U, and whoever reads them aloud or copies them by hand
//! is understood (`o` is 0, `i` and `l` are 1, the hyphen may be missing). Behind it stands a counter
//! that leaps to the second at hand, so that none comes twice within 194 days, also across a restart, with
//! nothing kept on disk; the time can be read back, which narrows a search. A fixed bijection makes
//! neighbours look different. It is a name and no secret: whoever may read the ledger is decided elsewhere.

use postroad_proto::time::UnixTime;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

const BITS: u32 = 40;
const MASK: u64 = (1 << BITS) - 1;
/// References a second has before the counter runs ahead of the clock: 2^16.
const WITHIN_SECOND: u32 = 16;
/// Seconds after which the same references come again: 2^24, 194 days.
const ROUND: u64 = 1 << (BITS - WITHIN_SECOND);
/// Odd, so that multiplying by it modulo 2^40 can be undone by multiplying by [`UNSPREAD`].
const SPREAD: u64 = 0x9E_3779_B97F & MASK;
const UNSPREAD: u64 = inverse(SPREAD);
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The name of a refusal or of a session; 40 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(u64);

impl Reference {
    /// The reference of these 40 bits; the bits above are dropped.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & MASK)
    }

    /// The 40 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    const fn of_sequence(sequence: u64) -> Self {
        let spread = (sequence & MASK).wrapping_mul(SPREAD) & MASK;
        // The low bits of a product depend on low bits only; the high half stirs them.
        let stirred = spread ^ (spread >> (BITS / 2));
        Self(stirred.wrapping_mul(SPREAD) & MASK)
    }

    const fn sequence(self) -> u64 {
        let stirred = self.0.wrapping_mul(UNSPREAD) & MASK;
        let spread = stirred ^ (stirred >> (BITS / 2));
        spread.wrapping_mul(UNSPREAD) & MASK
    }

    /// When it was given, to the second, for one who reads it at `now`: the last moment not later than a
    /// minute after `now` at which it can have been given. Ahead of the truth where more than 65,536 were
    /// given in a second, or the clock was set back.
    pub const fn given(self, now: UnixTime) -> UnixTime {
        let second = self.sequence() >> WITHIN_SECOND;
        let latest = now.secs().saturating_add(60);
        let back = latest.wrapping_sub(second) % ROUND;
        UnixTime(latest.saturating_sub(back).saturating_mul(1000))
    }
}

/// The inverse of an odd number modulo 2^40, by Newton's iteration: each step doubles the right bits.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse & MASK
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = [b'-'; 9];
        let places = [0, 1, 2, 3, 5, 6, 7, 8];
        for (at, place) in places.into_iter().enumerate() {
            let digit = usize::try_from((self.0 >> (35 - 5 * at)) & 31).unwrap_or(0);
            if let (Some(place), Some(digit)) = (shown.get_mut(place), ALPHABET.get(digit)) {
                *place = *digit;
            }
        }
        f.pad(std::str::from_utf8(&shown).unwrap_or_default())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAReference;

impl fmt::Display for NotAReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a reference: eight letters and digits as in K7Q2-9F4M")
    }
}

impl std::error::Error for NotAReference {}

impl FromStr for Reference {
    type Err = NotAReference;

    /// Reads a reference as a person writes it: in lower case, without the hyphen, with O for 0 and I or L for 1.
    fn from_str(text: &str) -> Result<Self, NotAReference> {
        let mut bits = 0;
        let mut digits = 0;
        for (at, b) in text.bytes().enumerate() {
            if b == b'-' && at == 4 {
                continue;
            }
            bits = (bits << 5) | u64::from(digit(b).ok_or(NotAReference)?);
            digits += 1;
            if digits > 8 {
                return Err(NotAReference);
            }
        }
        if digits == 8 { Ok(Self(bits)) } else { Err(NotAReference) }
    }
}

fn digit(letter: u8) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    let at = ALPHABET.iter().position(|known| *known == letter)?;
    u8::try_from(at).ok()
}

/// Gives out references; one for the whole server.
#[derive(Debug, Default)]
pub struct References {
    /// The last sequence given. More than 40 bits, so that the counter goes on rising when the round is over.
    last: AtomicU64,
}

impl References {
    /// The next one; none is given twice.
    pub fn next(&self, now: UnixTime) -> Reference {
        self.last.fetch_max(now.secs() << WITHIN_SECOND, Ordering::Relaxed);
        Reference::of_sequence(self.last.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reference_is_read_as_people_write_it() {
        let reference: Reference = "K1Q0-9F4M".parse().unwrap();
        for written in ["k1q0-9f4m", "K1Q09F4M", "KLQO-9F4M", "kiqo9f4m"] {
            assert_eq!(written.parse(), Ok(reference), "{written}");
        }
        assert_eq!(reference.to_string(), "K1Q0-9F4M");
        for wrong in
            ["", "K1Q0", "K1Q0-9F4", "K1Q0-9F4MM", "K1Q-09F4M", "K1Q0--9F4M", "K1Q0-9F4U", "550", "K1Q0 9F4M"]
        {
            assert_eq!(wrong.parse::<Reference>(), Err(NotAReference), "{wrong}");
        }
    }

    #[test]
    fn none_comes_twice_and_neighbours_look_different() {
        let references = References::default();
        let mut given: Vec<_> = (0..200_000u64).map(|n| references.next(UnixTime(n / 3))).collect();
        let alike = given.windows(2).filter(|pair| pair[0].bits() >> 20 == pair[1].bits() >> 20).count();
        assert!(alike < 10, "{alike} neighbours begin alike");
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 200_000);
    }

    #[test]
    fn a_clock_set_back_and_the_end_of_the_round_repeat_nothing() {
        let references = References::default();
        let end = UnixTime((3 * ROUND - 1) * 1000);
        let given = [end, UnixTime(0), end, UnixTime(3 * ROUND * 1000)].map(|now| references.next(now));
        for (at, one) in given.iter().enumerate() {
            assert!(!given[at + 1..].contains(one));
        }
        assert_eq!(given[3].given(UnixTime(3 * ROUND * 1000)), UnixTime(3 * ROUND * 1000));
    }

    proptest! {
        #[test]
        fn bits_text_and_time_come_back(bits in 0..=MASK, secs in 1_700_000_000u64..5_000_000_000, age in 0..ROUND - 61) {
            let reference = Reference::from_bits(bits);
            prop_assert_eq!(reference.to_string().parse(), Ok(reference));
            prop_assert_eq!(Reference::of_sequence(reference.sequence()), reference);
            let given = References::default().next(UnixTime(secs * 1000));
            prop_assert_eq!(given.given(UnixTime((secs + age) * 1000)), UnixTime(secs * 1000));
        }
    }
}
