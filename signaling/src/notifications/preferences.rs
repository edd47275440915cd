//! What a user wants to hear: checked when it is set, asked before something is pushed.

use crate::error::Error;
use crate::store::notifications::{Preferences, QuietHours};

use super::kind;

const MINUTES_OF_DAY: i64 = 24 * 60;

/// Checks preferences and brings them into one form: each kind once, in order.
///
/// # Errors
/// `invalid_field`, naming the field and what was expected.
pub(super) fn checked(
    mut preferences: Preferences,
    muted_kinds_max: usize,
) -> Result<Preferences, Error> {
    let kinds = &mut preferences.muted_kinds;
    if kinds.len() > muted_kinds_max {
        let expected = format!("expected at most {muted_kinds_max} kinds");
        return Err(Error::invalid_field("muted_kinds", expected));
    }
    for muted in kinds.iter() {
        kind::check("muted_kinds", muted)?;
    }
    kinds.sort_unstable();
    kinds.dedup();
    if let Some(hours) = &preferences.quiet_hours {
        check_hours(hours)?;
    }
    Ok(preferences)
}

fn check_hours(hours: &QuietHours) -> Result<(), Error> {
    let in_day = |minute: u16| i64::from(minute) < MINUTES_OF_DAY;
    if !in_day(hours.from_minute) || !in_day(hours.to_minute) {
        let expected = "expected minutes of the day, 0 to 1439";
        return Err(Error::invalid_field("quiet_hours", expected));
    }
    if hours.from_minute == hours.to_minute {
        let expected = "expected an end that differs from the beginning";
        return Err(Error::invalid_field("quiet_hours.to_minute", expected));
    }
    if !(-720..=840).contains(&hours.utc_offset_minutes) {
        let expected = "expected minutes east of UTC, -720 to 840";
        return Err(Error::invalid_field(
            "quiet_hours.utc_offset_minutes",
            expected,
        ));
    }
    Ok(())
}

/// Whether nothing is to be pushed at this moment.
pub(super) fn is_quiet(preferences: &Preferences, wall_ms: u64) -> bool {
    let Some(hours) = &preferences.quiet_hours else {
        return false;
    };
    let utc_minute = i64::try_from(wall_ms / 60_000 % 1440).unwrap_or(0);
    let minute = (utc_minute + i64::from(hours.utc_offset_minutes)).rem_euclid(MINUTES_OF_DAY);
    let (from, to) = (i64::from(hours.from_minute), i64::from(hours.to_minute));
    if from < to {
        (from..to).contains(&minute)
    } else {
        minute >= from || minute < to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(from_minute: u16, to_minute: u16, utc_offset_minutes: i16) -> Preferences {
        Preferences {
            muted_kinds: Vec::new(),
            quiet_hours: Some(QuietHours {
                from_minute,
                to_minute,
                utc_offset_minutes,
            }),
        }
    }

    #[test]
    fn quiet_hours_are_those_of_the_users_day() {
        let at = |hour: u64, minute: u64| (hour * 60 + minute) * 60_000 + 20_000 * 86_400_000;
        let night = quiet(22 * 60, 7 * 60, 0);
        for (hour, minute, expected) in [
            (21, 59, false),
            (22, 0, true),
            (0, 0, true),
            (6, 59, true),
            (7, 0, false),
        ] {
            assert_eq!(is_quiet(&night, at(hour, minute)), expected, "{hour}");
        }
        let tokyo = quiet(22 * 60, 7 * 60, 540);
        assert!(is_quiet(&tokyo, at(13, 0)), "22:00 in Tokyo");
        assert!(!is_quiet(&tokyo, at(22, 0)), "07:00 in Tokyo");
        let new_york = quiet(60, 120, -300);
        assert!(is_quiet(&new_york, at(6, 30)), "01:30 in New York");
        assert!(!is_quiet(&new_york, at(1, 30)));
        assert!(!is_quiet(&Preferences::default(), at(3, 0)));
    }

    #[test]
    fn preferences_that_make_no_sense_are_refused() {
        for bad in [quiet(1440, 1, 0), quiet(5, 5, 0), quiet(0, 1, 841)] {
            assert!(checked(bad.clone(), 3).is_err(), "{bad:?}");
        }
        let muted = |kinds: &[&str]| Preferences {
            muted_kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            quiet_hours: None,
        };
        assert!(checked(muted(&["a", "b", "c", "d"]), 3).is_err());
        assert!(checked(muted(&["Like"]), 3).is_err());
        let once = checked(muted(&["like", "follow", "like"]), 3);
        assert_eq!(once, Ok(muted(&["follow", "like"])));
    }
}
