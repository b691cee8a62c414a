//! Times: every form of a stamp, zones by name, and change-overs.
//!
//! Why a property: no text of a stranger may panic here.

use super::*;
use proptest::prelude::*;

fn utc(stamp: &str) -> Option<String> {
    read(stamp, &Zones::default(), None).map(|read| compact(read.at))
}

#[test]
fn stamps_and_their_initial_parts() {
    for (stamp, wanted) in [
        ("20260301180512 +0000", "20260301T180512Z"),
        ("20260301180512 +0130", "20260301T163512Z"),
        ("20260301180512 -0330", "20260301T213512Z"),
        ("20260301180512+01:00", "20260301T170512Z"),
        ("20260301180512", "20260301T180512Z"),
        ("202603011805", "20260301T180500Z"),
        ("2026030118 BST", "20260301T170000Z"),
        ("20260301", "20260301T000000Z"),
        ("202603", "20260301T000000Z"),
        ("2026", "20260101T000000Z"),
        ("20260301240000", "20260302T000000Z"),
        ("20260301235960", "20260301T235959Z"),
        ("20260301180512.123 Z", "20260301T180512Z"),
        ("20260701180000 Europe/London", "20260701T170000Z"),
        ("20260301180000 CEST", "20260301T160000Z"),
        ("2026-03-01T18:00Z", "20260301T180000Z"),
        ("2026-03-01T18:00:12.5-05:00", "20260301T230012Z"),
        ("2026-03-01 18:00", "20260301T180000Z"),
        ("2026-03-01", "20260301T000000Z"),
    ] {
        assert_eq!(utc(stamp).as_deref(), Some(wanted), "{stamp}");
    }
    for stamp in [
        "",
        "now",
        "20261301",
        "20260230",
        "20260301250000",
        "202603011",
        "1",
        "19691231",
        "22000101",
        "２０２６",
    ] {
        assert_eq!(utc(stamp), None, "{stamp}");
    }
}

#[test]
fn a_zone_of_the_source_and_a_correction_apply() {
    let london = Zones::parse("Europe/London", "").unwrap();
    let at = |stamp, after| compact(read(stamp, &london, after).unwrap().at);
    // The change-overs of 2026.
    assert_eq!(at("202610250030", None), "20261024T233000Z");
    let first = read("202610250130", &london, None).unwrap();
    assert_eq!(
        (compact(first.at).as_str(), &first.rules[..]),
        ("20261025T003000Z", &[Rule::OffsetMissing, Rule::TimeAmbiguous][..])
    );
    assert_eq!(at("202610250130", Some(first.at)), "20261025T013000Z");
    assert_eq!(read("202603290130", &london, None).unwrap().rules, [Rule::OffsetMissing, Rule::TimeInGap]);
    assert_eq!(at("202603290130", None), "20260329T013000Z");
    assert_eq!(at("202607011200 +0000", None), "20260701T120000Z", "an offset takes precedence");
    let corrected = Zones::parse("utc", "-01:00").unwrap();
    assert_eq!(compact(read("202607011200 +0000", &corrected, None).unwrap().at), "20260701T110000Z");
    assert!(Zones::parse("Europe/Atlantis", "").is_err() && Zones::parse("utc", "one hour").is_err());
}

#[test]
fn instants_are_shown_in_their_zone() {
    let zone = zone("Australia/Lord_Howe").unwrap();
    assert_eq!(rfc3339(1_772_388_000, &zone), "2026-03-02T05:00:00+11:00");
    assert_eq!(
        rfc3339(1_772_388_000, &super::zone("America/St_Johns").unwrap()),
        "2026-03-01T14:30:00-03:30"
    );
    assert_eq!(rfc3339(1_772_388_000, &TimeZone::UTC), "2026-03-01T18:00:00Z");
}

proptest! {
    #[test]
    fn no_text_panics(stamp in "\\PC{0,40}", after in any::<Option<i64>>()) {
        let _ = read(&stamp, &Zones::parse("America/New_York", "+14:00").unwrap(), after);
    }

    #[test]
    fn what_looks_like_a_stamp_does_not_panic(stamp in "[0-9]{0,16}[-+ :.TZ]{0,3}[0-9A-Z]{0,6}") {
        if let Some(read) = read(&stamp, &Zones::default(), None) {
            prop_assert!(RANGE.contains(&read.at));
            prop_assert_eq!(parse_compact(&compact(read.at)), Some(read.at));
        }
    }
}
