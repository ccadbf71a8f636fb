//! When a rule holds: a first and a last instant, and days and hours of the week in a time zone.
//!
//! Hours are wall-clock hours. Where clocks go forward, the hour that is left out is left out of
//! the rule as well; where they go back, the hour that comes twice counts both times.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::domain::time::Timestamp;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// The days as they are written, from Monday.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// When a rule holds. What is left out does not limit it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct When {
    /// From here on.
    pub from: Option<Timestamp>,
    /// Until just before this.
    pub until: Option<Timestamp>,
    /// At these times of the week.
    pub weekly: Option<Weekly>,
}

impl When {
    fn begun(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at)
    }

    fn over(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= at)
    }
}

/// Times of the week.
#[derive(Clone, PartialEq, Debug)]
pub struct Weekly {
    /// The days on which `hours` begin.
    pub days: Days,
    /// The hours of those days; `None` is all of the day.
    pub hours: Option<Hours>,
    /// Whose clocks and days they are.
    pub zone: Zone,
}

/// Days of the week, one bit each, Monday the lowest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);

    /// The days of these words, or the first word that is none.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, usize> {
        let mut days = 0;
        for (index, word) in words.into_iter().enumerate() {
            let day = DAYS.iter().position(|day| *day == word).ok_or(index)?;
            days |= 1 << day;
        }
        Ok(Self(days))
    }

    /// The words of these days, from Monday.
    pub fn words(self) -> Vec<&'static str> {
        let named = DAYS.iter().enumerate();
        let on = named.filter(|(day, _)| self.0 & (1 << day) != 0);
        on.map(|(_, word)| *word).collect()
    }

    /// Whether one of the days is so many days after Monday.
    fn has(self, day: u8) -> bool {
        self.0 & (1 << (day % 7)) != 0
    }
}

/// Hours of a day, in minutes from midnight; over midnight where the end is not after the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hours {
    from: u16,
    to: u16,
}

impl Hours {
    /// Reads `09:00-17:00`. The end does not belong to it and may be `24:00`; an end before the
    /// start is on the next day. Equal ends are nobody's guess, so they are refused.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from, to) = (minute(from)?, minute(to)?);
        (from < DAY && from != to).then_some(Self { from, to })
    }

    /// Whether this minute of this day belongs to the hours that begin on `days`.
    fn cover(self, days: Days, day: u8, minute: u16) -> bool {
        if self.from < self.to {
            return days.has(day) && (self.from..self.to).contains(&minute);
        }
        let yesterday = day + 6;
        days.has(day) && minute >= self.from || days.has(yesterday) && minute < self.to
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        let (from, to) = ((from / 60, from % 60), (to / 60, to % 60));
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.0, from.1, to.0, to.1)
    }
}

/// Reads `HH:MM` up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let all = hour * 60 + minute;
    (minute < 60 && all <= DAY).then_some(all)
}

/// A time zone by its IANA name.
#[derive(Clone)]
pub struct Zone {
    /// A hash of its name, which no other zone has; a thousand rules compare their zones.
    mark: u64,
    zone: TimeZone,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.mark == other.mark
    }
}

impl Zone {
    /// The zone of this name, `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok()?;
        zone.iana_name().is_some().then(|| Self::of(zone))
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self::of(TimeZone::UTC)
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    fn of(zone: TimeZone) -> Self {
        let mut hasher = DefaultHasher::new();
        zone.iana_name().hash(&mut hasher);
        let mark = hasher.finish();
        Self { mark, zone }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One instant, read on the clocks of the zones that rules name. A zone is asked once.
pub struct Clock<'z> {
    at: Timestamp,
    read: Vec<(&'z Zone, (u8, u16))>,
}

impl<'z> Clock<'z> {
    /// This instant.
    pub fn at(at: Timestamp) -> Self {
        let read = Vec::new();
        Self { at, read }
    }

    /// Whether the instant is one of those that a rule holds at.
    pub fn within(&mut self, when: &'z When) -> bool {
        if !when.begun(self.at) || when.over(self.at) {
            return false;
        }
        let Some(weekly) = &when.weekly else {
            return true;
        };
        let (day, minute) = self.local(&weekly.zone);
        match weekly.hours {
            None => weekly.days.has(day),
            Some(hours) => hours.cover(weekly.days, day, minute),
        }
    }

    /// Days after Monday, and minutes after midnight.
    fn local(&mut self, zone: &'z Zone) -> (u8, u16) {
        let known = self.read.iter().find(|(read, _)| *read == zone);
        if let Some((_, local)) = known {
            return *local;
        }
        let local = local(self.at, zone);
        self.read.push((zone, local));
        local
    }
}

fn local(at: Timestamp, zone: &Zone) -> (u8, u16) {
    let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default();
    let at = zone.zone.to_datetime(at);
    let day = Weekday::to_monday_zero_offset(at.weekday());
    let minute = i16::from(at.hour()) * 60 + i16::from(at.minute());
    let day = u8::try_from(day).unwrap_or_default();
    (day, u16::try_from(minute).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn weekly(days: &[&str], hours: Option<&str>, zone: &str) -> When {
        When {
            weekly: Some(Weekly {
                days: Days::parse(days.iter().copied()).unwrap(),
                hours: hours.map(|text| Hours::parse(text).unwrap()),
                zone: Zone::named(zone).unwrap(),
            }),
            ..When::default()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn hours_belong_to_the_day_on_which_they_begin() {
        const ALL: &[&str] = &DAYS;
        // 20 November 2026 is a Friday.
        type Case<'a> = (&'a [&'a str], Option<&'a str>, &'a str, &'a str, bool);
        let cases: &[Case<'_>] = &[
            (&["fri"],        None,                "UTC",          "2026-11-20T00:00:00Z", true),
            (&["fri"],        None,                "UTC",          "2026-11-20T23:59:59Z", true),
            (&["fri"],        None,                "UTC",          "2026-11-21T00:00:00Z", false),
            (&["fri"],        None,                "Asia/Kolkata", "2026-11-19T18:30:00Z", true),
            (ALL,             Some("09:00-17:00"), "UTC",          "2026-11-20T08:59:59Z", false),
            (ALL,             Some("09:00-17:00"), "UTC",          "2026-11-20T09:00:00Z", true),
            (ALL,             Some("09:00-17:00"), "UTC",          "2026-11-20T16:59:59Z", true),
            (ALL,             Some("09:00-17:00"), "UTC",          "2026-11-20T17:00:00Z", false),
            (ALL,             Some("09:00-17:00"), "Asia/Tehran",  "2026-11-20T05:30:00Z", true),
            (&["fri"],        Some("22:00-06:00"), "UTC",          "2026-11-20T21:59:59Z", false),
            (&["fri"],        Some("22:00-06:00"), "UTC",          "2026-11-20T22:00:00Z", true),
            (&["fri"],        Some("22:00-06:00"), "UTC",          "2026-11-21T05:59:59Z", true),
            (&["fri"],        Some("22:00-06:00"), "UTC",          "2026-11-21T06:00:00Z", false),
            (&["fri"],        Some("22:00-06:00"), "UTC",          "2026-11-20T05:00:00Z", false),
            (&["sun"],        Some("22:00-06:00"), "UTC",          "2026-11-23T01:00:00Z", true),
            (&["fri"],        Some("22:00-24:00"), "UTC",          "2026-11-20T23:59:59Z", true),
            (&["fri"],        Some("22:00-24:00"), "UTC",          "2026-11-21T00:00:00Z", false),
            (&["fri"],        Some("22:00-00:00"), "UTC",          "2026-11-20T23:59:59Z", true),
            (&["fri"],        Some("22:00-00:00"), "UTC",          "2026-11-21T00:00:00Z", false),
            // Clocks go forward from 02:00 to 03:00, and back from 03:00 to 02:00.
            (&["sun"],        Some("02:00-03:00"), "Europe/Berlin", "2026-03-29T00:59:59Z", false),
            (&["sun"],        Some("02:00-03:00"), "Europe/Berlin", "2026-03-29T01:00:00Z", false),
            (&["sun"],        Some("02:00-03:00"), "Europe/Berlin", "2026-10-25T00:30:00Z", true),
            (&["sun"],        Some("02:00-03:00"), "Europe/Berlin", "2026-10-25T01:30:00Z", true),
        ];
        for (days, hours, zone, at, within) in cases {
            let when = weekly(days, *hours, zone);
            let at = Timestamp::parse(at).unwrap();
            assert_eq!(Clock::at(at).within(&when), *within, "{days:?} {hours:?} {zone} {at}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn hours_have_one_spelling() {
        for good in ["09:00-17:00", "00:00-24:00", "22:00-06:00", "23:59-00:00", "00:00-00:01"] {
            assert_eq!(Hours::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "", "-", "9:00-17:00", "09:00", "09:00-17:00-18:00", "09:00 - 17:00", "09:60-17:00",
            "25:00-26:00", "24:00-06:00", "09:00-24:01", "09:00-09:00", "+9:00-17:00", "09-17",
            "٠٩:٠٠-١٧:٠٠",
        ] {
            assert_eq!(Hours::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_instant_is_from_inclusive_until_exclusive() {
        let when = When {
            from: Some(Timestamp::from_secs(10)),
            until: Some(Timestamp::from_secs(20)),
            weekly: None,
        };
        for (secs, within) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(Clock::at(Timestamp::from_secs(secs)).within(&when), within);
        }
    }

    #[test]
    fn a_zone_goes_by_its_one_name() {
        assert_eq!(
            Zone::named("asia/tehran").map(|zone| zone.name().to_owned()),
            Some("Asia/Tehran".to_owned())
        );
        for bad in ["", "Mars/Olympus", "+03:30", "../etc/passwd"] {
            assert_eq!(Zone::named(bad), None, "{bad}");
        }
        assert_eq!(Zone::named("UTC"), Some(Zone::utc()));
    }

    #[test]
    fn no_two_zones_have_the_same_mark() {
        let names: Vec<_> = jiff::tz::db().available().collect();
        let zones = names.iter().filter_map(|name| Zone::named(name.as_str()));
        let by_mark: BTreeMap<u64, String> = zones
            .map(|zone| (zone.mark, zone.name().to_owned()))
            .collect();
        let by_name: BTreeSet<&String> = by_mark.values().collect();
        assert!(by_mark.len() > 400 && by_name.len() == by_mark.len());
        assert!(
            names.len() == by_mark.len(),
            "{} {}",
            names.len(),
            by_mark.len()
        );
    }
}
