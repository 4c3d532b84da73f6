//! Times and quantities in words.

use std::time::{Duration, SystemTime};

/// A point in time as ISO 8601 in UTC with milliseconds: the form of all JSON.
pub(crate) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// How long ago something was, for tables: one unit, rounded down (`38s`, `5m`, `3h`, `12d`).
pub(crate) fn age(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long something took, in two units at most (`85ms`, `1.2s`, `42s`, `3m 07s`, `2h 05m`).
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{millis}ms"),
        1..10 => format!("{}.{}s", seconds, (millis % 1000) / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A rate of records (`0/s`, `950/s`, `12.3k/s`, `1.2M/s`).
pub(crate) fn rate(per_second: f64) -> String {
    format!("{}/s", scaled(per_second, 1000.0, &["", "k", "M", "G", "T"]))
}

/// A number of bytes in binary units (`17B`, `4.0KiB`, `1.2GiB`).
pub(crate) fn bytes(bytes: u64) -> String {
    // Beyond 2^53 the last digits are lost, which the one decimal place does not show.
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal place")]
    let value = bytes as f64;
    scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = if value.is_finite() { value.max(0.0) } else { 0.0 };
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let mut whole = true;
    for next in units {
        // Compared as it will be shown, lest 999.96 become "1000.0".
        if value < base - if whole { 0.5 } else { 0.05 } {
            break;
        }
        value /= base;
        unit = next;
        whole = false;
    }
    if whole {
        format!("{value:.0}{unit}")
    } else {
        format!("{value:.1}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000);
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (7200, "2h"),
            (86_400 * 12 + 5, "12d"),
        ] {
            assert_eq!(age(now - Duration::from_secs(seconds), now), expected);
        }
        assert_eq!(age(now + Duration::from_secs(5), now), "0s", "a clock that runs ahead");
    }

    #[test]
    fn durations() {
        let cases = [
            (0, "0ms"),
            (85, "85ms"),
            (1234, "1.2s"),
            (9999, "9.9s"),
            (42_000, "42s"),
            (187_000, "3m 07s"),
            (7_500_000, "2h 05m"),
        ];
        for (millis, expected) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn rates() {
        let cases = [
            (0.0, "0/s"),
            (950.4, "950/s"),
            (999.7, "1.0k/s"),
            (12_340.0, "12.3k/s"),
            (999_960.0, "1.0M/s"),
            (1.2e6, "1.2M/s"),
            (f64::NAN, "0/s"),
            (-5.0, "0/s"),
        ];
        for (value, expected) in cases {
            assert_eq!(rate(value), expected);
        }
    }

    #[test]
    fn sizes() {
        for (value, expected) in [
            (17, "17B"),
            (1023, "1023B"),
            (1_048_570, "1.0MiB"),
            (4096, "4.0KiB"),
            (1_288_490_189, "1.2GiB"),
        ] {
            assert_eq!(bytes(value), expected);
        }
    }

    #[test]
    fn timestamps() {
        assert_eq!(
            timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500)),
            "1970-01-01T00:00:01.500Z"
        );
    }
}
