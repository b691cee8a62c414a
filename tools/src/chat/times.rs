//! Times of messages as people here read them, and the line that begins a new day.
//!
//! Invariant: without a known clock there are no times, rather than wrong ones.

use time::{Date, OffsetDateTime, UtcOffset};

#[derive(Debug, Default)]
pub(super) struct Times {
    /// The offset of the clock here, if it is known.
    clock: Option<UtcOffset>,
    /// The day of the last message.
    day: Option<Date>,
}

impl Times {
    /// Known only while this process has one thread.
    pub(super) fn here() -> Times {
        Times { clock: UtcOffset::current_local_offset().ok(), day: None }
    }

    pub(super) fn is_known(&self) -> bool {
        self.clock.is_some()
    }

    /// Hours and minutes of a message; before it the day, if it is another one than that of the last message.
    pub(super) fn read(&mut self, time_ms: u64) -> (Option<String>, String) {
        let at = i64::try_from(time_ms / 1000).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
        let Some((at, offset)) = at.zip(self.clock) else { return (None, String::new()) };
        let at = at.to_offset(offset);
        let is_new = self.day.replace(at.date()) != Some(at.date());
        let day = is_new.then(|| format!("{}, {} {} {}", at.weekday(), at.day(), at.month(), at.year()));
        (day, format!("{:02}:{:02}", at.hour(), at.minute()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_another_day_are_told_apart() {
        let mut times = Times::default();
        assert_eq!((times.read(1_700_000_000_000), times.is_known()), ((None, String::new()), false));
        times.clock = UtcOffset::from_hms(1, 0, 0).ok();
        for (ms, day, time) in [
            (1_700_000_000_000, Some("Tuesday, 14 November 2023"), "23:13"),
            (1_700_002_000_000, None, "23:46"),
            (1_700_003_000_000, Some("Wednesday, 15 November 2023"), "00:03"),
        ] {
            assert_eq!(times.read(ms), (day.map(str::to_owned), time.to_owned()));
        }
    }
}
