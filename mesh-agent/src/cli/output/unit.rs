//! Numbers for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes in binary units, with one decimal below ten.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count}B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 {
        tenths /= 1024;
        unit += 1;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    if whole < 10 {
        format!("{whole}.{tenth}{}", UNITS[unit])
    } else {
        format!("{whole}{}", UNITS[unit])
    }
}

/// An age as kubectl writes it: the two largest units.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
    match seconds {
        _ if days >= 10 => format!("{days}d"),
        _ if days > 0 => format!("{days}d{}h", hours % 24),
        _ if hours > 0 => format!("{hours}h{}m", minutes % 60),
        _ if minutes > 0 => format!("{minutes}m{}s", seconds % 60),
        1.. => format!("{seconds}s"),
        0 => format!("{}ms", age.as_millis()),
    }
}

/// Microseconds as milliseconds.
pub fn micros(micros: u64) -> String {
    format!("{}.{:03}ms", micros / 1_000, micros % 1_000)
}

/// A share of a whole in percent, with one decimal.
pub fn percent(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1_000)
        .checked_div(u128::from(whole))
        .unwrap_or(0);
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// A moment as RFC 3339 in UTC.
pub fn moment(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The Gregorian date of a day since 1970-01-01 ("chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`, H. Hinnant), for days that are not before it.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit() {
        let shown = [0, 1023, 1024, 1536, 10 << 10, 1_048_575, 1 << 20, u64::MAX].map(bytes);
        assert_eq!(
            shown,
            [
                "0B", "1023B", "1.0KiB", "1.5KiB", "10KiB", "1023KiB", "1.0MiB", "15EiB"
            ]
        );
    }

    #[test]
    fn ages_have_two_units() {
        let shown = [0, 59, 61, 3_660, 90_000, 864_000].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0ms", "59s", "1m1s", "1h1m", "1d1h", "10d"]);
        assert_eq!(age(Duration::from_millis(15)), "15ms");
    }

    #[test]
    fn shares_and_times() {
        assert_eq!(micros(1_250), "1.250ms");
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(1, 0), "0.0%");
        let at = |seconds| moment(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_735_689_600), "2025-01-01T00:00:00Z");
    }
}
