//! Time as an argument: nothing in this crate reads a clock.
//!
//! A [`Tick`] is a point on a monotonic clock that the caller owns (for timers); a [`UnixTime`] is
//! wall-clock time (for trace headers and due times). Neither can fail: sums saturate.

use core::fmt;
use core::time::Duration;

/// A point on the caller's monotonic clock, counted from a start the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub Duration);

impl Tick {
    /// The last point there is; a deadline that never comes.
    pub const NEVER: Self = Self(Duration::MAX);

    /// This point moved forward by `span`, at most to [`Tick::NEVER`].
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Wall-clock time in whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// This time moved forward by `span`, saturating.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        let millis = span.as_secs().saturating_mul(1000).saturating_add(span.subsec_millis() as u64);
        Self(self.0.saturating_add(millis))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// The date and time of day in UTC as the trace and `Date` headers write it
    /// (RFC 5322 §3.3), for example `Sun, 22 Nov 2026 06:00:00 +0000`.
    pub fn rfc5322(self) -> Rfc5322 {
        Rfc5322(self)
    }

    /// The same moment as RFC 3339 writes it, for example `2026-11-22T06:00:00Z`.
    pub fn rfc3339(self) -> Rfc3339 {
        Rfc3339(self)
    }

    /// RFC 3339 with milliseconds, as in `2026-11-22T08:00:00.042Z`.
    pub fn rfc3339_ms(self) -> Rfc3339Ms {
        Rfc3339Ms(self)
    }

    /// Reads what [`Self::rfc3339`] and [`Self::rfc3339_ms`] write, or a date alone, which is its beginning; years
    /// 1970 to 9999.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        const LENGTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (date, time) =
            text.split_once('T').map_or((text, "00:00:00"), |(d, t)| (d, t.strip_suffix('Z').unwrap_or("")));
        let [year, month, day] = three(date, '-', [4, 2, 2])?;
        let (time, ms) = match time.split_once('.') {
            Some((time, ms)) if ms.len() == 3 && ms.bytes().all(|digit| digit.is_ascii_digit()) => {
                (time, ms.parse().ok()?)
            }
            Some(_) => return None,
            None => (time, 0),
        };
        let [hour, minute, second] = three(time, ':', [2, 2, 2])?;
        let leap =
            |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = |year, month: u64| {
            let days = usize::try_from(month).ok().and_then(|at| LENGTHS.get(at.wrapping_sub(1)))?;
            Some(days + u64::from(month == 2 && leap(year)))
        };
        if year < 1970 || day == 0 || day > length(year, month)? || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let years: u64 = (1970..year).map(|year| 365 + u64::from(leap(year))).sum();
        let months: u64 = (1..month).filter_map(|month| length(year, month)).sum();
        let days = years + months + day - 1;
        Some(Self(1000 * (86_400 * days + 3600 * hour + 60 * minute + second) + ms))
    }

    fn civil(self) -> Civil {
        // Days to civil date after Howard Hinnant's public-domain algorithm; exact for all of u64's range we use.
        let secs = self.secs();
        let days = secs / 86_400;
        let z = days + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        Civil {
            year: yoe + era * 400 + u64::from(month <= 2),
            month,
            day: doy - (153 * mp + 2) / 5 + 1,
            weekday: (days + 4) % 7,
            second_of_day: secs % 86_400,
        }
    }
}

/// Three numbers of so many digits.
fn three(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut next = |digits: usize| {
        let part = parts.next()?;
        let fits = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        if fits { part.parse().ok() } else { None }
    };
    let [a, b, c] = digits;
    let numbers = [next(a)?, next(b)?, next(c)?];
    if parts.next().is_some() { None } else { Some(numbers) }
}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
    weekday: u64,
    second_of_day: u64,
}

/// See [`UnixTime::rfc5322`].
#[derive(Clone, Copy, Debug)]
pub struct Rfc5322(UnixTime);

/// See [`UnixTime::rfc3339`].
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(UnixTime);

/// See [`UnixTime::rfc3339_ms`].
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339Ms(UnixTime);

impl fmt::Display for Rfc3339Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.0.civil();
        let (hour, minute) = (c.second_of_day / 3600, c.second_of_day / 60 % 60);
        let (second, ms) = (c.second_of_day % 60, self.0.0 % 1000);
        write!(f, "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", c.year, c.month, c.day)
    }
}

impl fmt::Display for Rfc5322 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let c = self.0.civil();
        let pick = |names: &[&'static str], at: u64| -> &'static str {
            usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or("???")
        };
        write!(
            f,
            "{}, {} {} {:04} {:02}:{:02}:{:02} +0000",
            pick(&DAYS, c.weekday),
            c.day,
            pick(&MONTHS, c.month - 1),
            c.year,
            c.second_of_day / 3600,
            c.second_of_day / 60 % 60,
            c.second_of_day % 60
        )
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.0.civil();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            c.year,
            c.month,
            c.day,
            c.second_of_day / 3600,
            c.second_of_day / 60 % 60,
            c.second_of_day % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn dates_are_written_as_rfc_5322_and_3339_want() {
        for (secs, mail, iso) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000", "2000-02-28T23:59:59Z"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000", "2000-02-29T00:00:00Z"),
            (1_795_327_384, "Sun, 22 Nov 2026 06:03:04 +0000", "2026-11-22T06:03:04Z"),
        ] {
            let time = UnixTime(secs * 1000);
            assert_eq!(time.rfc5322().to_string(), mail);
            assert_eq!(time.rfc3339().to_string(), iso);
            assert_eq!(UnixTime::parse_rfc3339(iso), Some(time));
            let exact = UnixTime(time.0 / 1000 * 1000 + 42);
            assert_eq!(exact.rfc3339_ms().to_string(), iso.replace('Z', ".042Z"));
            assert_eq!(UnixTime::parse_rfc3339(&exact.rfc3339_ms().to_string()), Some(exact));
        }
        assert_eq!(UnixTime::parse_rfc3339("2000-02-29"), Some(UnixTime(951_782_400_000)));
        for bad in [
            "",
            "2001-02-29",
            "2000-01-01T00:00:00.1Z",
            "2000-01-01T00:00:00.+12Z",
            "1969-12-31",
            "2000-13-01",
            "2000-00-01",
            "2000-01-01T24:00:00Z",
            "2000-1-1",
            "2000-01-01T00:00:00",
            "2000-01-01T00:00:00Z2",
        ] {
            assert_eq!(UnixTime::parse_rfc3339(bad), None, "{bad}");
        }
    }
}
