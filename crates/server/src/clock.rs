//! The one place where a clock is read.

use postroad_proto::time::{Tick, UnixTime};
use std::time::{Duration, Instant, SystemTime};

/// Gives out both kinds of time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose ticks count from now.
    #[expect(clippy::disallowed_methods, reason = "this module is where time comes from")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Monotonic time since the clock was made.
    pub fn tick(&self) -> Tick {
        Tick(self.start.elapsed())
    }

    /// Wall-clock time; zero on a machine whose clock stands before 1970.
    #[expect(clippy::disallowed_methods, reason = "this module is where time comes from")]
    pub fn unix(&self) -> UnixTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment of a tick for the runtime's timers; a tick that never comes is a year away.
    pub fn instant(&self, tick: Tick) -> tokio::time::Instant {
        const YEAR: Duration = Duration::from_hours(365 * 24);
        tokio::time::Instant::from_std(self.start + tick.0.min(self.tick().0.saturating_add(YEAR)))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
