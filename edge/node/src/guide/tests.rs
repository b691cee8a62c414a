//! The guide of a node: entries of sources, and the times of airings' rooms.
//!
//! Why only these here: a whole node with a guide is tested in tests/guide.rs.

use std::time::Duration;

use grandstand_edge::config;
use grandstand_engine::{Schedule, ShowTimes};
use grandstand_guide::store::Guide;
use grandstand_guide::{Import, Options, Report, Unused};

use super::calendar::AiringTimes;
use super::source::{Place, parse_all};

fn parse(entry: &str) -> Result<super::source::Source, String> {
    parse_all(&[entry.to_owned()]).map(|mut sources| sources.remove(0))
}

#[test]
fn entries_of_sources() {
    let source = parse("uk https://l.example.org/uk.xml.gz every=30m offset_missing=Europe/London correct_by=-01:00 language=en").unwrap();
    assert_eq!((source.name.as_str(), source.every), ("uk", Duration::from_secs(1_800)));
    assert_eq!(source.place, Place::Url("https://l.example.org/uk.xml.gz".into()));
    assert_eq!((source.options.zones.correct_by, source.options.language.as_str()), (-3_600, "en"));
    assert_eq!(parse("a /tv/a.xml").unwrap().place, Place::File("/tv/a.xml".into()));
    for (wrong, told) in [
        ("", "NAME FILE-OR-URL"),
        ("uk", "NAME FILE-OR-URL"),
        ("u/k a.xml", "letters, digits"),
        ("uk a.xml every=1s", "1m to 30d"),
        ("uk a.xml every=é", "1m to 30d"),
        ("uk a.xml every=99999999999999999d", "1m to 30d"),
        ("uk a.xml offset_missing=Atlantis/X", "IANA"),
        ("uk a.xml correct_by=1", "hours and minutes"),
        ("uk a.xml often", "every="),
    ] {
        let fault = parse(wrong).map(|_| ()).unwrap_err();
        assert!(fault.contains(told), "{wrong}: {fault}");
    }
    assert!(parse_all(&["a x".into(), "a y".into()]).unwrap_err().contains("two sources"));
}

#[test]
fn an_airing_s_room_has_its_times_and_no_other_room_has() {
    let mut guide = Guide::temporary().unwrap();
    let now = 1_772_388_000;
    let document = "<tv><programme channel='a' start='20260301180000' stop='20260301190000'><title>Show</title></programme></tv>";
    let options = Options { source: "s".into(), ..Options::default() };
    let import = Import { guide: &mut guide, rooms: &Unused, now, progress: None };
    import.run(document.as_bytes(), &options, &mut Report::new("s", now)).unwrap();
    let queries = guide.queries().unwrap();
    let room = queries.starting(now, now + 1).unwrap().remove(0).room;
    let times = AiringTimes::new(&config::Guide::default());
    assert_eq!(times.times(&room), None, "nothing was read yet");
    assert_eq!(times.read(&queries, now).unwrap(), 1);
    let minute = 60_000;
    let begins_ms = now.unsigned_abs() * 1_000;
    let ends_ms = begins_ms + 60 * minute;
    let closes_ms = ends_ms + 15 * minute;
    let wanted = ShowTimes {
        opens_ms: begins_ms - 15 * minute,
        begins_ms,
        ends_ms,
        closes_ms,
        gone_ms: closes_ms + 168 * 60 * minute,
    };
    assert_eq!(times.times(&room), Some(wanted));
    for other in ["show", "", "airing/a/20260301T180000Z/aaaaaa", &room[1..]] {
        assert_eq!(times.times(other), None, "{other}");
    }
    // A week later it is past.
    assert_eq!(times.read(&queries, now + 9 * 86_400).unwrap(), 0);
}
