//! The smoke of the guide's trials: each with small synthetic listings, in every test run.
//!
//! Why small: `cargo xtask guide` runs them whole, with real listings and 500 MB.
//! Not here: the trials (`trials`).

#[path = "../trials/edits.rs"]
mod edits;
#[path = "../trials/listing.rs"]
mod listing;
#[path = "../trials/malformed.rs"]
mod malformed;
#[path = "../trials/zones.rs"]
mod zones;

use grandstand_guide::store::Guide;
use grandstand_guide::{Import, Options, Outcome, Report, Unused};

const FROM: i64 = 1_772_323_200;

#[test]
fn every_malformed_document_ends_with_a_report_that_names_it() {
    for malformed::Kind { name, bytes, told } in malformed::kinds() {
        let (report, is_told) = malformed::import(&bytes, told);
        assert!(
            is_told,
            "{name}: expected {told}: {} {} {:?}",
            report.result,
            report.reason,
            report.rules.keys()
        );
    }
}

#[test]
fn local_times_over_both_change_overs_are_exact() {
    for (zone, days) in zones::ZONES {
        for day in days {
            assert_eq!(zones::wrong(zone, day).0, 0, "{zone} {day}");
        }
    }
}

#[test]
fn rooms_stay_with_their_shows_over_edits() {
    let channels: Vec<_> = (0..3).map(|n| listing::channel(n, FROM, 200, n * 1_000)).collect();
    for is_foreseen in [true, false] {
        let mut score = edits::Score::default();
        for seed in 1..4 {
            score.add(edits::run(&channels, seed, is_foreseen, 5));
        }
        assert!(score.decisions > 1_500, "{score:?}");
        assert!(score.right * 100 >= score.decisions * 97, "{is_foreseen}: {score:?}");
        assert!(score.hijacked * 1_000 <= score.decisions * 4, "{is_foreseen}: {score:?}");
        assert_eq!(score.hijacked_in_use, 0, "{is_foreseen}: {score:?}");
    }
}

#[test]
fn an_unchanged_document_writes_nothing_whatever_its_compression() {
    let channels: Vec<_> = (0..4).map(|n| listing::channel(n, FROM, 300, n * 1_000)).collect();
    let mut document = Vec::new();
    listing::write(&mut document, &channels, 3).unwrap();
    let mut guide = Guide::temporary().unwrap();
    let options = Options { source: "s".into(), ..Options::default() };
    let mut import = |bytes: &[u8]| {
        let mut report = Report::new("s", FROM);
        let import = Import { guide: &mut guide, rooms: &Unused, now: FROM, progress: None };
        (import.run(bytes, &options, &mut report).unwrap(), report)
    };
    let (outcome, report) = import(&document);
    assert_eq!((outcome, report.added, report.programmes), (Outcome::Applied, 1_200, 1_200), "{report:?}");
    for bytes in [document.clone(), malformed::gzip(&document)] {
        let (outcome, report) = import(&bytes);
        assert_eq!((outcome, report.rows_written, report.unchanged), (Outcome::Unchanged, 0, 1_200));
    }
}
