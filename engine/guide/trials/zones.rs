//! The trial of zones: listings in local time over both change-overs, whose every instant must come out.
//!
//! Why six: whole and half hours, both hemispheres, a shift of half an hour (Lord Howe), and a change-over at
//! midnight (Cairo). How: programmes of 30 minutes are written as the zone's clocks show them, without
//! offset, and imported with `offset_missing` of that zone. Not here: how it is decided (`time`).

use std::fmt::Write as _;

use grandstand_guide::store::{GridQuery, Guide};
use grandstand_guide::time::{self, Zones};
use grandstand_guide::{Import, Options, Report, Unused};

/// Zones, and the days before both change-overs of 2026.
pub(crate) const ZONES: [(&str, [&str; 2]); 6] = [
    ("Europe/London", ["20260328", "20261024"]),
    ("America/New_York", ["20260307", "20261031"]),
    ("America/St_Johns", ["20260307", "20261031"]),
    ("Australia/Lord_Howe", ["20260403", "20261002"]),
    ("Africa/Cairo", ["20260423", "20261029"]),
    ("Pacific/Auckland", ["20260403", "20260925"]),
];

/// Instants that came out wrong, of how many.
pub(crate) fn wrong(name: &str, day: &str) -> (usize, usize) {
    let zone = time::zone(name).unwrap();
    let from = time::parse_compact(&format!("{day}T000000Z")).unwrap();
    let local = |at: i64| time::rfc3339(at, &zone)[..19].replace(['-', ':', 'T'], "");
    let mut document = "<tv><channel id=\"c\"/>".to_owned();
    let wanted: Vec<(i64, i64)> = (0..144).map(|n| (from + n * 1_800, from + (n + 1) * 1_800)).collect();
    for (n, (start, stop)) in wanted.iter().enumerate() {
        let (start, stop) = (local(*start), local(*stop));
        let _ = write!(
            document,
            "<programme start=\"{start}\" stop=\"{stop}\" channel=\"c\"><title>S{n}</title></programme>"
        );
    }
    document.push_str("</tv>");
    let mut guide = Guide::temporary().unwrap();
    let options =
        Options { source: "z".into(), zones: Zones::parse(name, "").unwrap(), ..Options::default() };
    let mut report = Report::new("z", 0);
    let import = Import { guide: &mut guide, rooms: &Unused, now: 0, progress: None };
    import.run(document.as_bytes(), &options, &mut report).unwrap();
    let query = GridQuery {
        from: from - 86_400,
        to: from + 5 * 86_400,
        channels: vec!["c".into()],
        limit: 1,
        after: None,
        full: false,
        zone,
    };
    let page = guide.queries().unwrap().grid(&query).unwrap();
    let found: Vec<(i64, i64)> =
        page.rows[0].airings.iter().map(|airing| (airing.start_s, airing.stop_s)).collect();
    let missing = wanted.iter().filter(|times| !found.contains(times)).count();
    (missing.max(found.len().abs_diff(wanted.len())), wanted.len())
}
