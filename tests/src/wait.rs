//! Waiting for what gives no signal, and the wall clock that job reports count in.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longer than anything takes that is not expected to take its time, on a loaded machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `probe` has something.
///
/// # Panics
/// When it still has nothing after `limit`.
pub fn wait_until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "still not after {limit:?}: {what}");
        pause();
    }
}

/// Between two looks at something that gives no signal.
pub(crate) fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where conditions are polled, with a deadline around it"
    )]
    std::thread::sleep(PAUSE);
}

/// Milliseconds since the epoch.
#[must_use]
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the epoch of a time in a report, `2026-11-21T06:27:26.398Z`.
///
/// # Panics
/// When it is no such time.
#[must_use]
pub fn iso_ms(text: &str) -> u64 {
    let parsed = parse_iso(text);
    parsed.unwrap_or_else(|| panic!("`{text}` is no time"))
}

fn parse_iso(text: &str) -> Option<u64> {
    let numbers: Vec<u64> = text
        .strip_suffix('Z')?
        .split(['-', 'T', ':', '.'])
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [year, month, day, hour, minute, second, ms] = numbers[..] else {
        return None;
    };
    // Days since 1970-03-01, in years that begin with March: the leap day is their last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_reports() {
        assert_eq!(iso_ms("1970-01-01T00:00:00.000Z"), 0);
        assert_eq!(iso_ms("2024-02-29T12:00:00.001Z"), 1_709_208_000_001);
        assert_eq!(iso_ms("2026-11-21T06:27:26.398Z"), 1_795_242_446_398);
    }
}
