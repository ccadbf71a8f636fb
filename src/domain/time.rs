//! Instants, and the calendar day that a budget belongs to.
//!
//! Wall-clock time only: what must not jump (deadlines, leases of a running node) is measured on a
//! monotonic clock by whoever waits. A day is always read in a named time zone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC. Shown as RFC 3339.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved by so many milliseconds (negative: earlier), saturating.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This instant moved by so many seconds (negative: earlier), saturating.
    pub const fn plus_secs(self, secs: i64) -> Self {
        self.plus_millis(secs.saturating_mul(1000))
    }

    /// Reads RFC 3339 text, as a filter of a query gives it.
    pub fn parse(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(Self(at.as_millisecond()))
    }

    /// The calendar day of this instant in `zone`.
    pub fn day_in(self, zone: &jiff::tz::TimeZone) -> Day {
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        let date = at.to_zoned(zone.clone()).date();
        Day(i32::from(date.year()) * 10_000 + i32::from(date.month()) * 100 + i32::from(date.day()))
    }

    /// The hour of the week in `zone`: Monday 00:00 is 0, Sunday 23:00 is 167.
    pub fn hour_of_week(self, zone: &jiff::tz::TimeZone) -> u8 {
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        let at = at.to_zoned(zone.clone());
        let day = u8::try_from(at.weekday().to_monday_zero_offset()).unwrap_or(0);
        day * 24 + u8::try_from(at.hour()).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) if self.0.rem_euclid(1000) == 0 => write!(f, "{at:.0}"),
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// Spells an instant of a document as RFC 3339, and reads no other spelling of it.
pub mod rfc_3339 {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// For `#[serde(with)]`.
    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    /// For `#[serde(with)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        let at = Timestamp::parse(&text).filter(|at| at.to_string() == text);
        at.ok_or_else(|| D::Error::custom("not the one spelling of an instant"))
    }
}

/// A calendar day, the unit of a daily limit. Shown as `2026-11-20`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(i32);

impl Day {
    /// The day as the number `yyyymmdd`, for stores.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// From a stored `yyyymmdd`.
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }
}

/// Whether a text is a calendar day, as `2026-12-01`.
pub fn is_day(text: &str) -> bool {
    let bytes = text.as_bytes();
    let spelt = bytes.len() == 10 && bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
    spelt && text.parse::<jiff::civil::Date>().is_ok()
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:02}-{:02}",
            self.0 / 10_000,
            self.0 / 100 % 100,
            self.0 % 100
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_of_the_calendar() {
        for day in ["2026-12-01", "2024-02-29"] {
            assert!(is_day(day), "{day}");
        }
        for none in [
            "",
            "not a date",
            "2026-13-01",
            "2025-02-29",
            "20261201",
            "2026-12-1",
            "2026-12-01T00:00",
        ] {
            assert!(!is_day(none), "{none}");
        }
    }

    #[test]
    fn an_instant_reads_as_rfc_3339() {
        assert_eq!(Timestamp::from_secs(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(
            Timestamp::from_millis(1_500).to_string(),
            "1970-01-01T00:00:01.500Z"
        );
        assert_eq!(
            Timestamp::parse("1970-01-01T05:30:01+05:30"),
            Some(Timestamp::from_secs(1))
        );
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn a_week_begins_on_monday_in_its_zone() {
        let kolkata = jiff::tz::TimeZone::get("Asia/Kolkata").unwrap();
        let hour = |at: &str| Timestamp::parse(at).unwrap().hour_of_week(&kolkata);
        assert_eq!(hour("2026-11-22T18:29:59Z"), 167, "Sunday 23:59:59");
        assert_eq!(hour("2026-11-22T18:30:00Z"), 0, "Monday 00:00");
        assert_eq!(hour("2026-11-20T10:00:00Z"), 4 * 24 + 15);
    }

    #[test]
    #[rustfmt::skip]
    fn a_day_is_the_day_of_its_zone() {
        let cases = [
            ("2026-11-20T18:29:59Z",  "Asia/Kolkata",     "2026-11-20"),
            ("2026-11-20T18:30:00Z",  "Asia/Kolkata",     "2026-11-21"),
            ("2028-02-28T18:30:00Z",  "Asia/Kolkata",     "2028-02-29"), // leap day
            ("2026-12-31T18:30:00Z",  "Asia/Kolkata",     "2027-01-01"),
            ("2026-11-01T05:59:59Z",  "America/New_York", "2026-11-01"), // the night clocks go back
            ("2026-11-02T04:59:59Z",  "America/New_York", "2026-11-01"),
            ("2026-11-02T05:00:00Z",  "America/New_York", "2026-11-02"),
        ];
        for (at, zone, day) in cases {
            let tz = jiff::tz::TimeZone::get(zone).unwrap();
            let at = Timestamp::parse(at).unwrap();
            assert_eq!(at.day_in(&tz).to_string(), day, "{at} in {zone}");
        }
    }
}
