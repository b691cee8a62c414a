//! Validity: from when until when a certificate is valid, read from its DER form.
//!
//! Why by ourselves: it is one path through a structure that rustls has checked already (X.509, RFC 5280,
//! 4.1), and a whole parser is many crates.
//! Invariant: bytes that do not follow the structure give `None`, never a wrong time.
//! Not here: whether a client accepts the certificate (the client).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which version 1 leaves out.
const EXPLICIT_0: u8 = 0xa0;

/// The first and the last moment at which the certificate is valid.
pub(super) fn validity(der: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (certificate, _) = field(der, SEQUENCE)?;
    let (mut rest, _) = field(certificate, SEQUENCE)?;
    if rest.first() == Some(&EXPLICIT_0) {
        rest = field(rest, EXPLICIT_0)?.1;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = field(rest, tag)?.1;
    }
    let (times, _) = field(rest, SEQUENCE)?;
    let (not_before, rest) = time(times)?;
    let (not_after, _) = time(rest)?;
    Some((not_before, not_after))
}

/// The content of the first field, which must have this tag, and what follows the field.
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // One to three bytes of length: a certificate has less than 16 MB.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A time, and what follows it.
fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (year_digits, (text, rest)) = match *bytes.first()? {
        UTC_TIME => (2, field(bytes, UTC_TIME)?),
        GENERALIZED_TIME => (4, field(bytes, GENERALIZED_TIME)?),
        _ => return None,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != year_digits + 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, digits: usize| text[from..from + digits].parse::<u64>().ok();
    let year = match number(0, year_digits)? {
        year if year_digits == 4 => year,
        // RFC 5280, 4.1.2.5.1.
        year if year < 50 => 2000 + year,
        year => 1900 + year,
    };
    let part = |at: usize| number(year_digits + 2 * at, 2);
    let (month, day, hour, minute, second) = (part(0)?, part(1)?, part(2)?, part(3)?, part(4)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some((UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?, rest))
}

/// Days since 1970 in the Gregorian calendar. The year is counted from March, so that a leap day is its last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(time: SystemTime) -> u64 {
        time.duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn the_times_are_those_that_were_put_in() {
        // UTCTime up to 2049, GeneralizedTime from 2050 on, and a leap day.
        for (from, until) in
            [(0, 1_000_000_000), (1_709_164_800, 1_709_251_199), (2_500_000_000, 4_102_444_800)]
        {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_before = (UNIX_EPOCH + Duration::from_secs(from)).into();
            params.not_after = (UNIX_EPOCH + Duration::from_secs(until)).into();
            let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let (not_before, not_after) = validity(made.der()).unwrap();
            assert_eq!((unix(not_before), unix(not_after)), (from, until));
        }
    }

    #[test]
    fn a_cut_or_changed_certificate_gives_no_time_or_another_and_never_a_panic() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let der = made.cert.der().to_vec();
        assert!(validity(&der).is_some() && validity(&[]).is_none());
        for at in 0..der.len() {
            let _ = validity(&der[..at]);
            let mut changed = der.clone();
            changed[at] ^= 0xff;
            let _ = validity(&changed);
        }
        assert!(validity(&der[..60]).is_none());
    }
}
