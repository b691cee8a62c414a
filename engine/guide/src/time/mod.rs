//! Times of listings: from a stamp in one of many forms to an instant.
//!
//! Why a machine per channel: a local time that comes twice at a change-over is one of two instants, and only
//! the order of a channel's programmes tells which.
//! Rules: an offset or a known zone in the stamp takes precedence; without one it is of the source's zone
//! ([`Zones::missing`]); [`Zones::correct_by`] is added to all. Of a local time that comes twice the first
//! instant after the channel's last start is taken; one that a change-over leaves out moves past the gap.
//! Invariant: no stamp panics. Not here: missing stops (`mend`).

#[cfg(test)]
mod tests;
mod zones;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
pub use jiff::tz::TimeZone;
use jiff::tz::{AmbiguousOffset, Offset};

use crate::report::Rule;

/// First and last instant of an airing: 1970 to 2200.
pub const RANGE: std::ops::Range<i64> = 0..7_258_118_400;

/// How a source's times are read.
#[derive(Clone, Debug)]
pub struct Zones {
    /// The zone of times without offset.
    pub missing: TimeZone,
    /// Seconds that are added to each time.
    pub correct_by: i64,
}

impl Default for Zones {
    fn default() -> Zones {
        Zones { missing: TimeZone::UTC, correct_by: 0 }
    }
}

impl Zones {
    /// From the options of a source: `utc` or a zone such as `Europe/London`, and `±hh:mm`.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn parse(missing: &str, correct_by: &str) -> Result<Zones, String> {
        let missing = zone(missing)?;
        let correct_by = match correct_by {
            "" => 0,
            text => zones::offset(text).ok_or_else(|| {
                format!("correct_by: got {text:?}, expected hours and minutes such as -01:00")
            })?,
        };
        Ok(Zones { missing, correct_by })
    }
}

/// The zone of this name.
///
/// # Errors
/// There is none.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    if name.is_empty() || name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    let unknown =
        || format!("got {name:?}, expected `utc` or a zone of the IANA database such as Europe/London");
    TimeZone::get(name).map_err(|_| unknown())
}

/// A stamp as an instant, and what had to be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Seconds since 1970.
    pub at: i64,
    /// Rules that were applied.
    pub rules: Vec<Rule>,
}

/// Read a stamp: `YYYYMMDDhhmmss ZONE`, an initial part of it, or RFC 3339. Of a time that comes twice the
/// first instant after `after` is taken.
pub fn read(stamp: &str, zones: &Zones, after: Option<i64>) -> Option<Read> {
    let stamp = stamp.trim();
    if stamp.len() > 64 {
        return None;
    }
    let mut rules = Vec::new();
    let (local, zone) = split(stamp)?;
    let offset = match zone {
        "" => None,
        zone => match zones::named(zone) {
            Some(zone) => Some(zone),
            None => {
                rules.push(Rule::ZoneUnknown);
                None
            }
        },
    };
    let at = match offset {
        Some(zones::Named::Offset(seconds)) => Offset::UTC.to_timestamp(local).ok()?.as_second() - seconds,
        Some(zones::Named::Zone(zone)) => resolve(local, &zone, after, &mut rules)?,
        None => {
            if zone.is_empty() && zones.missing != TimeZone::UTC {
                rules.push(Rule::OffsetMissing);
            }
            resolve(local, &zones.missing, after, &mut rules)?
        }
    };
    let at = at.checked_add(zones.correct_by)?;
    RANGE.contains(&at).then_some(Read { at, rules })
}

/// An instant of a local time.
fn resolve(local: DateTime, zone: &TimeZone, after: Option<i64>, rules: &mut Vec<Rule>) -> Option<i64> {
    let at = |offset: Offset| offset.to_timestamp(local).ok().map(Timestamp::as_second);
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset),
        AmbiguousOffset::Gap { .. } => {
            rules.push(Rule::TimeInGap);
            ambiguous.compatible().ok().map(Timestamp::as_second)
        }
        AmbiguousOffset::Fold { before, after: later } => {
            rules.push(Rule::TimeAmbiguous);
            let (first, second) = (at(before)?, at(later)?);
            Some(if after.is_some_and(|after| first <= after) { second } else { first })
        }
    }
}

/// The local time, and the text of the zone.
fn split(stamp: &str) -> Option<(DateTime, &str)> {
    let digits = stamp.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 4 && stamp.as_bytes().get(4) == Some(&b'-') {
        return split_rfc3339(stamp);
    }
    // An initial part of YYYYMMDDhhmmss, in whole fields; fractions of a second are cut.
    let (local, zone) = stamp.split_at(digits.min(14));
    if !matches!(local.len(), 4 | 6 | 8 | 10 | 12 | 14) {
        return None;
    }
    let zone = zone.trim_start_matches(|c: char| c.is_ascii_digit());
    let zone =
        zone.strip_prefix('.').map_or(zone, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let field = |from: usize, to: usize, missing: i16| match local.get(from..to) {
        Some(text) => text.parse().ok(),
        None => Some(missing),
    };
    let date = Date::new(field(0, 4, 0)?, field(4, 6, 1)? as i8, field(6, 8, 1)? as i8).ok()?;
    local_time(date, field(8, 10, 0)?, field(10, 12, 0)?, field(12, 14, 0)?).map(|local| (local, zone.trim()))
}

/// `YYYY-MM-DDThh:mm`, with seconds, fractions and an offset or not.
fn split_rfc3339(stamp: &str) -> Option<(DateTime, &str)> {
    let number = |from: usize, to: usize| stamp.get(from..to)?.parse::<i16>().ok();
    let date = Date::new(number(0, 4)?, number(5, 7)? as i8, number(8, 10)? as i8).ok()?;
    let Some(rest) = stamp.get(10..).filter(|rest| !rest.is_empty()) else {
        return Some((date.to_datetime(Time::midnight()), ""));
    };
    if !rest.starts_with(['T', 't', ' ']) {
        return None;
    }
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    let (second, zone) = match stamp.get(16..) {
        Some(rest) if rest.starts_with(':') => (number(17, 19)?, stamp.get(19..)?),
        rest => (0, rest.unwrap_or("")),
    };
    let zone =
        zone.strip_prefix('.').map_or(zone, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    local_time(date, hour, minute, second).map(|local| (local, zone.trim()))
}

/// 24:00 is midnight of the next day, and a leap second the second before it.
fn local_time(date: Date, hour: i16, minute: i16, second: i16) -> Option<DateTime> {
    if (hour, minute, second) == (24, 0, 0) {
        return Some(date.tomorrow().ok()?.to_datetime(Time::midnight()));
    }
    let narrow = |n: i16| i8::try_from(n).ok();
    let time = Time::new(narrow(hour)?, narrow(minute)?, narrow(second.min(59))?, 0).ok()?;
    Some(date.to_datetime(time))
}

/// `20260101T180000Z`.
pub fn compact(at: i64) -> String {
    let Ok(at) = Timestamp::from_second(at) else { return at.to_string() };
    let utc = Offset::UTC.to_datetime(at);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        utc.year(),
        utc.month(),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    )
}

/// The instant of such a text.
pub fn parse_compact(text: &str) -> Option<i64> {
    let digits: String = text.strip_suffix('Z')?.replacen('T', "", 1);
    let read = (digits.len() == 14 && text.len() == 16).then(|| read(&digits, &Zones::default(), None))??;
    Some(read.at)
}

/// RFC 3339 in this zone, with its offset: `2026-10-25T01:30:00+01:00`.
pub fn rfc3339(at: i64, zone: &TimeZone) -> String {
    let Ok(at) = Timestamp::from_second(at) else { return at.to_string() };
    let offset = zone.to_offset(at);
    let local = offset.to_datetime(at);
    if *zone == TimeZone::UTC {
        return format!("{local}Z");
    }
    let minutes = offset.seconds() / 60;
    format!(
        "{local}{}{:02}:{:02}",
        if minutes < 0 { '-' } else { '+' },
        minutes.abs() / 60,
        minutes.abs() % 60
    )
}
