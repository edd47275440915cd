//! The moment something happened, handed in by whoever has a clock.

use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serializer};

/// One reading of both clocks, taken once per turn by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: every interval and deadline is measured on this.
    pub mono: Instant,
    /// Unix time in milliseconds: only for what people and databases see.
    pub wall_ms: u64,
}

impl Now {
    /// The same moment, `duration` later on both clocks.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self {
            mono: self.mono + duration,
            wall_ms: self.wall_ms.saturating_add(millis(duration)),
        }
    }

    /// The monotonic moment at which the wall clock will read `wall_ms`; now, when that has passed.
    #[must_use]
    pub fn mono_at(self, wall_ms: u64) -> Instant {
        // A century is as good as never and keeps `Instant` far from overflow.
        const FAR_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
        self.mono + Duration::from_millis(wall_ms.saturating_sub(self.wall_ms).min(FAR_MS))
    }
}

/// Whole milliseconds of a duration, as they go over the wire.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Unix milliseconds as RFC 3339 in UTC with milliseconds: `2026-11-24T12:00:00.000Z`.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    // Past the year 9999 the format has no more digits.
    let unix_ms = unix_ms.min(253_402_300_799_999);
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Days since 1970-01-01 to a date of the Gregorian calendar: years are counted from 1 March, so that the leap day is
/// the last of its year, in eras of 400 years.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Serialises unix milliseconds as RFC 3339. A type, so that it can have a schema.
#[expect(
    non_camel_case_types,
    reason = "it stands where serde expects a module"
)]
pub(crate) enum wire {}

impl wire {
    pub(crate) fn serialize<S: Serializer>(unix_ms: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&rfc3339(*unix_ms))
    }

    /// Reads what `serialize` writes; only tests and simulated clients read server messages.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        let text = String::deserialize(d)?;
        parse_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom("expected 2026-11-24T12:00:00.000Z"))
    }
}

/// The same for a moment that may be missing.
#[expect(
    non_camel_case_types,
    reason = "it stands where serde expects a module"
)]
pub(crate) enum wire_option {}

impl wire_option {
    pub(crate) fn serialize<S: Serializer>(unix_ms: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match unix_ms {
            Some(unix_ms) => s.serialize_str(&rfc3339(*unix_ms)),
            None => s.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else {
            return Ok(None);
        };
        parse_rfc3339(&text)
            .map(Some)
            .ok_or_else(|| serde::de::Error::custom("expected 2026-11-24T12:00:00.000Z"))
    }
}

/// The inverse of [`rfc3339`], for exactly that form.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 24 || !text.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let separators = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
    ];
    if separators.iter().any(|&(at, byte)| bytes[at] != byte) || bytes[23] != b'Z' {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    let seconds = days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1000 + number(20, 23)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_521_600_123), "2026-11-24T12:00:00.123Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
        for ms in [0, 951_782_400_000, 1_795_521_600_123, 4_102_444_799_999] {
            assert_eq!(parse_rfc3339(&rfc3339(ms)), Some(ms));
        }
    }
}
