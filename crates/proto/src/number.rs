//! Numbers as people read them, for texts only: what a machine reads (SIZE, BDAT) is never grouped.

use alloc::string::{String, ToString};

/// The number with a comma between groups of three digits: `1,842`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;
    use alloc::format;

    #[test]
    fn groups_have_three_digits() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1842, "1,842"), (100_000, "100,000"), (52_428_800, "52,428,800")]
        {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(u64::MAX).replace(',', ""), format!("{}", u64::MAX));
    }
}
