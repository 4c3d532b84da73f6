//! Which directory a record goes to.

use std::path::{Component, Path};

use flink_record::{NO_TIMESTAMP, Timestamp};
use flink_worker::ProcessingTimeService;

use super::FileSinkError;
use crate::{BoxError, sink::WriteContext};

/// Says which directory below the sink's a record goes to. Closures `Fn(&T, &BucketContext<'_>) -> String` do.
pub trait BucketAssigner<T>: Clone + Send + 'static {
    /// Whether there are buckets at all.
    #[doc(hidden)]
    const HAS_BUCKETS: bool = true;

    /// The bucket of a record: a relative path. Empty for the sink's own directory.
    ///
    /// # Errors
    /// When the record has none: that fails the job.
    fn bucket(&mut self, record: &T, context: &BucketContext<'_>) -> Result<String, BoxError>;
}

/// What is known of a record beside the record.
pub struct BucketContext<'a> {
    /// Its timestamp, or [`NO_TIMESTAMP`].
    pub timestamp: Timestamp,
    /// The watermark, `Timestamp::MIN` before the first.
    pub watermark: Timestamp,
    clock: &'a ProcessingTimeService,
}

impl<'a> BucketContext<'a> {
    pub(super) fn new(context: WriteContext, clock: &'a ProcessingTimeService) -> Self {
        Self {
            timestamp: context.timestamp,
            watermark: context.watermark,
            clock,
        }
    }

    /// The time of day, milliseconds since 1970. The clock is read for it.
    pub fn processing_time(&self) -> Timestamp {
        self.clock.now()
    }
}

/// All records go to the sink's own directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBuckets;

impl<T> BucketAssigner<T> for NoBuckets {
    const HAS_BUCKETS: bool = false;

    fn bucket(&mut self, _: &T, _: &BucketContext<'_>) -> Result<String, BoxError> {
        Ok(String::new())
    }
}

impl<T, F: FnMut(&T, &BucketContext<'_>) -> String + Clone + Send + 'static> BucketAssigner<T> for F {
    fn bucket(&mut self, record: &T, context: &BucketContext<'_>) -> Result<String, BoxError> {
        Ok(self(record, context))
    }
}

/// Directories by time, in UTC: one per hour, named `yyyy-MM-dd--HH`, or per day or minute.
///
/// ```
/// use flink_connectors::DateTimeBuckets;
///
/// let hourly = DateTimeBuckets::event_time(); // 2026-11-27--09
/// let daily = DateTimeBuckets::processing_time().daily(); // 2026-11-27
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DateTimeBuckets {
    event_time: bool,
    unit: Unit,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Day,
    Hour,
    Minute,
}

impl DateTimeBuckets {
    /// By the timestamps of records; one without fails the job.
    pub fn event_time() -> Self {
        Self {
            event_time: true,
            unit: Unit::Hour,
        }
    }

    /// By the clock of the subtask's host, when it writes the record.
    pub fn processing_time() -> Self {
        Self {
            event_time: false,
            unit: Unit::Hour,
        }
    }

    /// One per day, named `yyyy-MM-dd`.
    #[must_use]
    pub fn daily(mut self) -> Self {
        self.unit = Unit::Day;
        self
    }

    /// One per minute, named `yyyy-MM-dd--HHmm`.
    #[must_use]
    pub fn every_minute(mut self) -> Self {
        self.unit = Unit::Minute;
        self
    }
}

impl<T> BucketAssigner<T> for DateTimeBuckets {
    fn bucket(&mut self, _: &T, context: &BucketContext<'_>) -> Result<String, BoxError> {
        let time = match self.event_time {
            true if context.timestamp == NO_TIMESTAMP => {
                return Err("a record without a timestamp has no bucket by event time".into());
            }
            true => context.timestamp,
            false => context.processing_time(),
        };
        Ok(name(time, self.unit))
    }
}

fn name(time: Timestamp, unit: Unit) -> String {
    const DAY_MS: Timestamp = 24 * 3600 * 1000;
    let (year, month, day) = civil(time.div_euclid(DAY_MS));
    let minutes = time.rem_euclid(DAY_MS) / 60_000;
    let (hour, minute) = (minutes / 60, minutes % 60);
    match unit {
        Unit::Day => format!("{year:04}-{month:02}-{day:02}"),
        Unit::Hour => format!("{year:04}-{month:02}-{day:02}--{hour:02}"),
        Unit::Minute => format!("{year:04}-{month:02}-{day:02}--{hour:02}{minute:02}"),
    }
}

/// Year, month and day of a day, counted from 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the day that leap years have is their last. 719468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Refuses buckets outside of the sink's directory, and hidden ones.
pub(super) fn check(bucket: &str) -> Result<(), FileSinkError> {
    let mut parts = Path::new(bucket).components();
    let fine = parts.all(|part| match part {
        Component::Normal(name) => !matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_')),
        _ => false,
    });
    if fine && !bucket.contains('\0') {
        Ok(())
    } else {
        Err(FileSinkError::Bucket(bucket.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_names() {
        let hour = |time| name(time, Unit::Hour);
        assert_eq!(hour(0), "1970-01-01--00");
        assert_eq!(hour(-1), "1969-12-31--23");
        assert_eq!(hour(951_782_399_999), "2000-02-28--23");
        assert_eq!(hour(951_782_400_000), "2000-02-29--00");
        assert_eq!(hour(4_107_542_400_000), "2100-03-01--00");
        assert_eq!(name(1_795_770_615_000, Unit::Minute), "2026-11-27--0910");
        assert_eq!(name(1_795_770_615_000, Unit::Day), "2026-11-27");
        // Every day of 800 years is the day after the one before.
        let mut before = civil(-146_098);
        for day in -146_097..146_097 {
            let date = civil(day);
            let next_day = (before.0, before.1, before.2 + 1);
            let next_month = (before.0 + before.1 / 12, before.1 % 12 + 1, 1);
            assert!(date == next_day || date == next_month, "{before:?} {date:?}");
            before = date;
        }
    }

    #[test]
    fn buckets_stay_inside() {
        for fine in ["", "a", "a/b", "shop=1", "2026-11-27--08"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for bad in ["/a", "..", "a/../b", ".hidden", "a/_b", "a\0"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
