//! When a deferred message is tried again, and when it is given up.
//!
//! RFC 5321 §4.5.4.1: retries with growing distance, for at least 4 to 5 days. Local trouble passes
//! sooner than a remote host's, so the first steps are short.

use postroad_proto::time::UnixTime;
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The times between attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    intervals: Vec<Duration>,
    give_up_after: Duration,
}

impl Default for Schedule {
    /// After 1, 2, 5, 15 and 30 minutes, 1 and 2 hours, then every 4 hours; given up after 5 days.
    fn default() -> Self {
        let intervals = [MINUTE, MINUTE * 2, MINUTE * 5, MINUTE * 15, MINUTE * 30, HOUR, HOUR * 2, HOUR * 4];
        Self { intervals: intervals.to_vec(), give_up_after: HOUR * 24 * 5 }
    }
}

impl Schedule {
    /// A schedule of these waiting times, the last of which repeats. `None` if there is none, or one
    /// is below a second (a failing disk would be asked without a pause).
    pub fn new(intervals: Vec<Duration>, give_up_after: Duration) -> Option<Self> {
        let sound = !intervals.is_empty() && intervals.iter().all(|wait| *wait >= Duration::from_secs(1));
        sound.then_some(Self { intervals, give_up_after })
    }

    /// How long a message is kept before it is given up.
    pub fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    /// When to try again after an attempt at `now` that `attempts` others went before; `None` when the
    /// message is to be given up. The last attempt is made when the time is up, not before.
    pub fn next(&self, accepted: UnixTime, attempts: u32, now: UnixTime) -> Option<UnixTime> {
        let end = accepted.after(self.give_up_after);
        if now >= end {
            return None;
        }
        let step = usize::try_from(attempts).unwrap_or(usize::MAX);
        let wait = self.intervals.get(step).or(self.intervals.last())?;
        Some(now.after(*wait).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_the_last_attempt_is_at_the_end() {
        let schedule = Schedule::default();
        let accepted = UnixTime(1_000_000);
        let mut now = accepted;
        let mut minutes = Vec::new();
        let mut attempts = 0;
        while let Some(next) = schedule.next(accepted, attempts, now) {
            minutes.push(next.since(now).as_secs() / 60);
            now = next;
            attempts += 1;
        }
        assert_eq!(minutes[..10], [1, 2, 5, 15, 30, 60, 120, 240, 240, 240]);
        assert_eq!(now.since(accepted), Duration::from_hours(5 * 24));
        assert!(minutes.len() < 50);
    }

    #[test]
    fn a_schedule_without_pauses_is_no_schedule() {
        assert_eq!(Schedule::new(vec![], HOUR), None);
        assert_eq!(Schedule::new(vec![HOUR, Duration::from_millis(999)], HOUR), None);
        assert!(Schedule::new(vec![Duration::from_secs(1)], HOUR).is_some());
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_lose_the_schedule() {
        let schedule = Schedule::default();
        assert_eq!(schedule.next(UnixTime(9_000_000), 0, UnixTime(0)), Some(UnixTime(60_000)));
    }
}
