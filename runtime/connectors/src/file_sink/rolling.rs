//! When a file is complete.

use std::time::Duration;

use flink_record::Timestamp;

/// When a file is complete and another is begun, if not at the end of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RollingPolicy {
    max_size: Option<u64>,
    max_age: Option<Duration>,
    max_inactivity: Option<Duration>,
}

impl RollingPolicy {
    /// At the end of the input.
    pub fn new() -> Self {
        Self::default()
    }

    /// When it has about so many bytes, or more.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// When it was begun so long ago. That is looked at four times in this time, not with every record.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// When nothing was written to it for so long. That is looked at four times in this time, not with every record.
    #[must_use]
    pub fn max_inactivity(mut self, time: Duration) -> Self {
        self.max_inactivity = Some(time);
        self
    }

    /// Whether a file of this size is complete.
    #[inline]
    pub(super) fn is_full(&self, bytes: u64) -> bool {
        self.max_size.is_some_and(|max| bytes >= max)
    }

    /// Whether a file is complete because of the time.
    pub(super) fn is_over(&self, activity: &Activity, now: Timestamp) -> bool {
        let longer = |since: Timestamp, max: Option<Duration>| {
            max.is_some_and(|max| u128::try_from(now.saturating_sub(since)).is_ok_and(|ms| ms >= max.as_millis()))
        };
        longer(activity.begun, self.max_age) || longer(activity.last_seen, self.max_inactivity)
    }

    /// How often the time is to be looked at, ms; `None` when it does not matter.
    pub(super) fn check_interval(&self) -> Option<Timestamp> {
        let shortest = self.max_age.into_iter().chain(self.max_inactivity).min()?;
        let quarter = Timestamp::try_from(shortest.as_millis() / 4).unwrap_or(Timestamp::MAX);
        Some(quarter.clamp(1, 60_000))
    }
}

/// When a file was begun and last written to. No clock is read for a record: that something was written is seen at the next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Activity {
    begun: Timestamp,
    /// When something was seen to have been written.
    last_seen: Timestamp,
    /// Something was written since the last look.
    written: bool,
}

impl Activity {
    pub(super) fn begin(now: Timestamp) -> Self {
        Self {
            begun: now,
            last_seen: now,
            written: false,
        }
    }

    #[inline]
    pub(super) fn write(&mut self) {
        self.written = true;
    }

    pub(super) fn look(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.written) {
            self.last_seen = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn size_age_and_inactivity_count() {
        let policy = RollingPolicy::new().max_size(10);
        assert!(policy.is_full(10) && !policy.is_full(9));
        assert_eq!(policy.check_interval(), None);
        let policy = policy.max_age(60 * SECOND).max_inactivity(SECOND);
        assert_eq!(policy.check_interval(), Some(250));
        let mut activity = Activity::begin(1_000);
        for now in (1_250..61_000).step_by(250) {
            activity.write();
            activity.look(now);
            assert!(!policy.is_over(&activity, now), "{now}");
        }
        assert!(policy.is_over(&activity, 61_000), "too old");
        let mut activity = Activity::begin(0);
        activity.write();
        activity.look(250);
        activity.look(1_000);
        assert!(!policy.is_over(&activity, 1_249));
        assert!(policy.is_over(&activity, 1_250));
        assert!(!RollingPolicy::new().is_over(&activity, Timestamp::MAX));
    }
}
