//! Lengths of time that programs give to windows.

use std::time::Duration;

use flink_record::Timestamp;

/// A length of time, in milliseconds; or a duration that is no number of whole milliseconds, which is told when the job is
/// declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Millis(Result<Timestamp, Duration>);

impl Millis {
    pub(super) fn of(duration: Duration) -> Self {
        let whole = duration.subsec_nanos().is_multiple_of(1_000_000);
        let millis = Timestamp::try_from(duration.as_millis()).ok().filter(|_| whole);
        Self(millis.ok_or(duration))
    }

    pub(super) fn of_millis(millis: Timestamp) -> Self {
        Self(Ok(millis))
    }

    /// The number; 1 for what is no valid length, so that nobody divides by zero.
    #[inline]
    pub(super) fn length(self) -> Timestamp {
        self.0.map_or(1, |millis| millis.max(1))
    }

    /// The number, of either sign; 0 for what is no whole number.
    #[inline]
    pub(super) fn offset(self) -> Timestamp {
        self.0.unwrap_or(0)
    }

    /// Checks a length, of which `what` is the name.
    pub(super) fn check_length(self, what: &str) -> Result<(), String> {
        match self.0 {
            Ok(1..) => Ok(()),
            Ok(_) => Err(format!("{what} must be at least 1 ms")),
            Err(duration) => Err(format!("{what} must be whole milliseconds, not {duration:?}")),
        }
    }

    /// Checks an offset, which must be shorter than what it moves.
    pub(super) fn check_offset(self, what: &str, limit: Self) -> Result<(), String> {
        let limit = limit.length();
        match self.0 {
            Ok(offset) if offset.unsigned_abs() < limit.unsigned_abs() => Ok(()),
            Ok(offset) => Err(format!(
                "an offset of {offset} ms is not shorter than {what}, which is {limit} ms"
            )),
            Err(duration) => Err(format!("the offset must be whole milliseconds, not {duration:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_told() {
        let second = Millis::of(Duration::from_secs(1));
        assert_eq!((second.length(), second.check_length("the size")), (1000, Ok(())));
        let (zero, half) = (Millis::of(Duration::ZERO), Millis::of(Duration::from_micros(1500)));
        assert_eq!(
            zero.check_length("the size").unwrap_err(),
            "the size must be at least 1 ms"
        );
        assert_eq!(
            half.check_length("the gap").unwrap_err(),
            "the gap must be whole milliseconds, not 1.5ms"
        );
        assert!(Millis::of(Duration::MAX).check_length("the size").is_err());
        assert_eq!((zero.length(), half.length(), half.offset()), (1, 1, 0));
        for (offset, valid) in [
            (0, true),
            (999, true),
            (-999, true),
            (1000, false),
            (-1000, false),
            (i64::MIN, false),
        ] {
            let checked = Millis::of_millis(offset).check_offset("the size", second);
            assert_eq!(checked.is_ok(), valid, "{offset}");
        }
        assert_eq!(
            Millis::of_millis(1000).check_offset("the size", second).unwrap_err(),
            "an offset of 1000 ms is not shorter than the size, which is 1000 ms"
        );
    }
}
