//! JSON listings: both shapes, and records that lack something.
//!
//! Why small: the services' own documents are the source; nothing here was seen from a live service.

use super::*;
use crate::input::{self, Bounds};
use crate::model::{Channel, Programme};
use crate::report::Rule;

#[derive(Default)]
struct Found(Vec<Channel>, Vec<(String, Programme)>);

impl Sink for Found {
    fn channel(&mut self, channel: Channel, _: u64, _: &mut Report) -> io::Result<()> {
        self.0.push(channel);
        Ok(())
    }
    fn programme(&mut self, channel: &str, programme: Programme, _: &mut Report) -> io::Result<()> {
        self.1.push((channel.to_owned(), programme));
        Ok(())
    }
}

fn read_all(text: &str) -> (io::Result<()>, Found, Report) {
    let (mut found, mut report) = (Found::default(), Report::new("s", 0));
    let document = input::open(text.as_bytes(), &Bounds::default()).unwrap();
    let read = read(document, &mut report, &mut found);
    (read, found, report)
}

#[test]
fn stations_of_gracenote_with_their_airings() {
    let (read, found, report) = read_all(
        r#"[{"stationId":"10108","callSign":"CFTO","channel":"9","airings":[
            {"startTime":"2026-03-01T18:00Z","endTime":"2026-03-01T19:00Z","duration":60,"qualifiers":["Live","New"],
             "program":{"tmsId":"EP012345670005","title":"Hockey","episodeTitle":"Leafs at Jets","seasonNum":2,
             "episodeNum":5,"topCast":["A B"],"genres":["Sports event"],"teams":[{"name":"Leafs"},{"name":"Jets"}]}},
            {"startTime":"soon","program":{"title":"x"}}]},
           {"startTime":"2026-03-01T20:00Z","duration":30,"station":{"stationId":7},"program":{"tmsId":"SH1","title":"News"}}]"#,
    );
    read.unwrap();
    assert_eq!(
        found.0[0],
        Channel { id: "10108".into(), names: vec!["CFTO".into(), "9".into()], icon: String::new() }
    );
    let (channel, hockey) = &found.1[0];
    assert_eq!((channel.as_str(), hockey.start, hockey.stop), ("10108", 1_772_388_000, Some(1_772_391_600)));
    assert!(hockey.is_live && hockey.is_new);
    assert_eq!(hockey.show.teams, ["Leafs", "Jets"]);
    assert_eq!((hockey.show.episode.as_str(), hockey.show.series.as_str()), ("1.4.", "SH01234567"));
    assert_eq!((found.1[1].0.as_str(), found.1[1].1.stop), ("7", Some(1_772_397_000)));
    assert_eq!(found.1[1].1.show.provider, "", "a series is no episode");
    assert_eq!(report.count(Rule::RecordUnreadable), 1);
}

#[test]
fn schedules_and_programmes_of_schedules_direct_in_any_order() {
    let (read, found, report) = read_all(
        r#"{"code":0,"schedules":[{"stationID":"20454","programs":[
             {"programID":"EP005544655961","airDateTime":"2026-03-03T00:00:00Z","duration":1800,"new":true},
             {"programID":"gone","airDateTime":"2026-03-03T00:30:00Z","duration":1800}]}],
           "stations":[{"stationID":"20454","name":"KTVU","callsign":"KTVU"}],
           "programs":[{"programID":"EP005544655961","titles":[{"title120":"'Allo 'Allo!"}],"episodeTitle150":"The Poloceman",
             "descriptions":{"description100":[{"description":"A disguise."}]},"genres":["Comedy"],
             "metadata":[{"Gracenote":{"season":3,"episode":4}}],"cast":[{"name":"Gorden Kaye","role":"Actor"}]}]}"#,
    );
    read.unwrap();
    let (channel, allo) = &found.1[0];
    assert_eq!(
        (channel.as_str(), allo.start, allo.stop, allo.is_new),
        ("20454", 1_772_496_000, Some(1_772_497_800), true)
    );
    assert_eq!((allo.show.title.as_str(), allo.show.episode.as_str()), ("'Allo 'Allo!", "2.3."));
    assert_eq!(
        (allo.show.people[0].as_str(), allo.show.description.as_str()),
        ("Gorden Kaye", "A disguise.")
    );
    assert_eq!((found.1.len(), report.skipped), (1, 1));
}

#[test]
fn what_is_no_listing_is_an_error_that_says_so() {
    for text in ["[1,2", "{\"stations\":3}", "[]x", "{\"a\":", "[\"\u{1}"] {
        let fault = read_all(text).0.unwrap_err().to_string();
        assert!(fault.contains("line"), "{text}: {fault}");
    }
    assert!(read_all("[null, 7, {}, {\"airings\":[{}]}]").0.is_ok());
}
