//! The one place of this command that reads the clock; everything else is told the time.

use postroad_proto::time::{Tick, UnixTime};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock that begins when the command does.
pub(super) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the command's own clock")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Tick {
        Tick(self.0.elapsed())
    }

    /// The date of the message.
    #[expect(clippy::disallowed_methods, reason = "the command's own clock")]
    pub(super) fn date() -> UnixTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
