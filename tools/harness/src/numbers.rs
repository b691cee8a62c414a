//! Numbers on the command line: parsers that accept a range, and whose errors name its bounds and the reason,
//! for `value_parser` of clap.
//!
//! Why at the parser: a value that makes no sense is refused before anything is opened, and with the exit
//! code of a wrong command line.
//! Invariant: a value out of its range, NaN included, is never accepted.
//! Not here: bounds that depend on the machine or on the node (`gs load`).

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// An integer from `low` to `high`.
pub fn integer<T>(
    low: T,
    high: T,
    why: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Copy + Send + Sync + 'static,
{
    move |text| within(text, low, high).ok_or(format!("expected an integer from {low} to {high}: {why}"))
}

/// A number from `low` to `high`, which may have decimals.
pub fn number(
    low: f64,
    high: f64,
    why: &'static str,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| within(text, low, high).ok_or(format!("expected a number from {low} to {high}: {why}"))
}

/// NaN is in no range.
fn within<T: FromStr + PartialOrd>(text: &str, low: T, high: T) -> Option<T> {
    text.trim().parse().ok().filter(|value| (low..=high).contains(value))
}

/// A share from 0% to 100%.
///
/// # Errors
/// It is none; the text says what is expected.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, of) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    within(number, 0.0, of)
        .map(|number| number / of)
        .ok_or_else(|| "expected a share from 0% to 100%, such as 50% or 0.5".to_owned())
}

/// A time from `low` to `high`: `10s`, `500ms`, `2m`; a bare number is seconds.
pub fn time(
    low: Duration,
    high: Duration,
    why: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        seconds(text)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|time| (low..=high).contains(time))
            .ok_or_else(|| {
                let (low, high) = (said(low), said(high));
                format!("expected a time from {low} to {high}, such as 500ms, 10s, 2m or 1h: {why}")
            })
    }
}

/// `None` when it is no time.
fn seconds(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(number.trim().parse::<f64>().ok()? * factor)
}

/// In the form that [`time`] reads.
fn said(time: Duration) -> String {
    match time.as_millis() {
        0 => "0s".into(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// An hour, for bounds of times.
pub const HOUR: Duration = Duration::from_secs(3600);

/// A millisecond, for bounds of times.
pub const MILLISECOND: Duration = Duration::from_millis(1);

/// Why a seed has a bound.
pub const SEED_WHY: &str = "a seed has 64 bits";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_times_are_read() {
        for (text, expected) in [("50%", 0.5), ("0.25", 0.25), ("100%", 1.0), ("0", 0.0)] {
            assert_eq!(share(text), Ok(expected));
        }
        assert!(["150%", "half", "-1%", "nan", "inf", ""].iter().all(|text| share(text).is_err()));
        let time = time(Duration::ZERO, 2 * HOUR, "a film");
        for (text, ms) in [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("3", 3_000), ("1.5s", 1_500)] {
            assert_eq!(time(text).unwrap().as_millis(), ms);
        }
        for text in ["10 parsecs", "-1s", "3h", "nan", "1e300h", "inf", "s", ""] {
            assert!(time(text).unwrap_err().contains("from 0s to 2h"), "{text}");
        }
    }

    #[test]
    fn a_number_out_of_its_range_is_answered_with_the_range_and_the_reason() {
        let viewers = integer(1_usize, 20, "a small hall");
        assert_eq!(viewers("20"), Ok(20));
        for text in ["0", "21", "-1", "1.5", "x", "", "99999999999999999999999999"] {
            assert_eq!(
                viewers(text).unwrap_err(),
                "expected an integer from 1 to 20: a small hall",
                "{text}"
            );
        }
        let rate = number(0.5, 8.0, "slow");
        assert_eq!(rate("2.5"), Ok(2.5));
        for text in ["0", "nan", "inf", "-inf", "1e99", "two"] {
            assert_eq!(rate(text).unwrap_err(), "expected a number from 0.5 to 8: slow", "{text}");
        }
    }
}
