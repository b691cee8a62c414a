//! Records of JSON listings: which of their fields are a channel, a programme and its show.
//!
//! Why joined at the end: a schedule of Schedules Direct names programmes by id, which may come after it.
//! Invariant: a missing or strange field is an empty one; without station, time and title a record is skipped
//! and counted. Not here: the stream (`json`).

use std::io;

use foldhash::{HashMap, HashMapExt};
use serde_json::Value;

use crate::model::{Channel, Programme, Show};
use crate::report::{Report, Rule};
use crate::text::names_an_episode;
use crate::time::{self, Zones};
use crate::xmltv::{Sink, clean, series_of};

const TITLE_MAX: usize = 400;
const DESCRIPTION_MAX: usize = 4_000;
const NAME_MAX: usize = 120;
const LIST_MAX: usize = 40;

/// Places in schedules, and programmes, that wait for each other.
const WAITING_MAX: usize = 500_000;

/// A place in a schedule of Schedules Direct.
struct Place {
    station: Box<str>,
    program: Box<str>,
    start: i64,
    stop: i64,
    is_live: bool,
    is_new: bool,
    line: u64,
}

pub(super) struct Records<'a> {
    report: &'a mut Report,
    sink: &'a mut dyn Sink,
    places: Vec<Place>,
    programs: HashMap<Box<str>, Show>,
}

impl<'a> Records<'a> {
    pub(super) fn new(report: &'a mut Report, sink: &'a mut dyn Sink) -> Records<'a> {
        Records { report, sink, places: Vec::new(), programs: HashMap::new() }
    }

    /// A record of an array whose kind is not told.
    pub(super) fn any(&mut self, record: &Value, line: u64) -> io::Result<()> {
        if record["airings"].is_array() {
            self.station(record, line)?;
            let station = id(record);
            for airing in record["airings"].as_array().into_iter().flatten() {
                self.airing(&station, airing, line)?;
            }
            return Ok(());
        }
        if record["programs"].is_array() {
            return self.schedule(record, line);
        }
        if record["titles"].is_array() {
            self.program(record, line);
            return Ok(());
        }
        if record["startTime"].is_string() {
            let station = match id(record) {
                own if own.is_empty() => id(&record["station"]),
                own => own,
            };
            return self.airing(&station, record, line);
        }
        self.station(record, line)
    }

    pub(super) fn station(&mut self, record: &Value, line: u64) -> io::Result<()> {
        let id = id(record);
        if id.is_empty() {
            self.report.note(Rule::RecordUnreadable, line, "a station without an id");
            return Ok(());
        }
        let mut names = Vec::new();
        for field in ["name", "callSign", "callsign", "channel"] {
            if let Some(name) = self.text(&record[field], NAME_MAX, line)
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        let icon = [&record["preferredImage"]["uri"], &record["logo"]["URL"]].iter().find_map(|v| v.as_str());
        let icon = icon.unwrap_or_default().chars().take(500).collect();
        self.sink.channel(Channel { id, names, icon }, line, self.report)
    }

    /// An airing of Gracenote.
    fn airing(&mut self, station: &str, record: &Value, line: u64) -> io::Result<()> {
        self.report.programmes += 1;
        let show = self.gracenote(&record["program"], line);
        let at =
            |field: &str| time::read(record[field].as_str()?, &Zones::default(), None).map(|read| read.at);
        let minutes = record["duration"].as_i64().filter(|minutes| (1..=10_080).contains(minutes));
        let start = at("startTime");
        let stop = at("endTime").or_else(|| Some(start? + minutes? * 60));
        let (Some(start), false, false) = (start, station.is_empty(), show.title.is_empty()) else {
            return self.skip(line, &format!("{station} {}", show.title));
        };
        let has = |word: &str| {
            record["qualifiers"]
                .as_array()
                .is_some_and(|words| words.iter().any(|found| found.as_str() == Some(word)))
        };
        let programme =
            Programme { start, stop, clump: None, is_live: has("Live"), is_new: has("New"), show, line };
        self.sink.programme(station, programme, self.report)
    }

    fn gracenote(&mut self, program: &Value, line: u64) -> Show {
        let season = program["seasonNum"].as_u64().filter(|n| *n > 0);
        let episode = program["episodeNum"].as_u64().filter(|n| *n > 0);
        let description = self.text(&program["longDescription"], DESCRIPTION_MAX, line);
        let provider = self.text(&program["tmsId"], NAME_MAX, line).unwrap_or_default();
        let mut people = self.list(&program["topCast"], "", line);
        people.extend(self.list(&program["directors"], "", line));
        Show {
            title: self.text(&program["title"], TITLE_MAX, line).unwrap_or_default(),
            sub_title: self.text(&program["episodeTitle"], TITLE_MAX, line).unwrap_or_default(),
            description: description
                .or_else(|| self.text(&program["shortDescription"], DESCRIPTION_MAX, line))
                .unwrap_or_default(),
            episode: numbered(season, episode),
            series: self.text(&program["seriesId"], NAME_MAX, line).unwrap_or_else(|| series_of(&provider)),
            people,
            teams: self.list(&program["teams"], "name", line),
            categories: self.list(&program["genres"], "", line),
            other_titles: Vec::new(),
            provider: if names_an_episode(&provider) { provider } else { String::new() },
        }
    }

    /// A schedule of Schedules Direct: a station's programmes by id.
    pub(super) fn schedule(&mut self, record: &Value, line: u64) -> io::Result<()> {
        let station = id(record);
        for place in record["programs"].as_array().into_iter().flatten() {
            self.report.programmes += 1;
            let program = place["programID"].as_str().unwrap_or_default();
            let start = place["airDateTime"].as_str().and_then(|at| time::read(at, &Zones::default(), None));
            let seconds = place["duration"].as_i64().filter(|seconds| (1..=604_800).contains(seconds));
            let (Some(start), Some(seconds), false) =
                (start, seconds, program.is_empty() || station.is_empty())
            else {
                self.skip(line, &format!("{station} {program}"))?;
                continue;
            };
            if self.places.len() >= WAITING_MAX {
                return Err(io::Error::other(format!("more than {WAITING_MAX} places in schedules")));
            }
            self.places.push(Place {
                station: station.as_str().into(),
                program: program.into(),
                start: start.at,
                stop: start.at + seconds,
                is_live: place["liveTapeDelay"].as_str() == Some("Live"),
                is_new: place["new"].as_bool() == Some(true),
                line,
            });
        }
        Ok(())
    }

    /// A programme of Schedules Direct.
    pub(super) fn program(&mut self, record: &Value, line: u64) {
        let provider =
            record["programID"].as_str().unwrap_or_default().chars().take(NAME_MAX).collect::<String>();
        let first = |list: &Value, field: &str| list.get(0).map_or(Value::Null, |entry| entry[field].clone());
        let title = self.text(&first(&record["titles"], "title120"), TITLE_MAX, line);
        let (Some(title), false) = (title, provider.is_empty() || self.programs.len() >= WAITING_MAX) else {
            self.report.note(Rule::RecordUnreadable, line, &format!("programme {provider}"));
            return;
        };
        let descriptions = &record["descriptions"];
        let texts = [&descriptions["description1000"], &descriptions["description100"]];
        let description = texts.iter().map(|list| first(list, "description")).find(Value::is_string);
        let numbers =
            record["metadata"].as_array().into_iter().flatten().find_map(|entry| entry.get("Gracenote"));
        let number = |field: &str| numbers.and_then(|numbers| numbers[field].as_u64()).filter(|n| *n > 0);
        let mut people = self.list(&record["cast"], "name", line);
        people.extend(self.list(&record["crew"], "name", line));
        people.truncate(LIST_MAX);
        let show = Show {
            title,
            sub_title: self.text(&record["episodeTitle150"], TITLE_MAX, line).unwrap_or_default(),
            description: self
                .text(&description.unwrap_or_default(), DESCRIPTION_MAX, line)
                .unwrap_or_default(),
            episode: numbered(number("season"), number("episode")),
            series: series_of(&provider),
            people,
            teams: self.list(&record["eventDetails"]["teams"], "name", line),
            categories: self.list(&record["genres"], "", line),
            other_titles: Vec::new(),
            provider: if names_an_episode(&provider) { provider.clone() } else { String::new() },
        };
        self.programs.insert(provider.into(), show);
    }

    /// Places and programmes are joined.
    pub(super) fn finish(mut self) -> io::Result<()> {
        for place in std::mem::take(&mut self.places) {
            let Place { station, program, start, stop, is_live, is_new, line } = place;
            let Some(show) = self.programs.get(&program).cloned() else {
                self.skip(line, &format!("{station}: there is no programme {program}"))?;
                continue;
            };
            let programme = Programme { start, stop: Some(stop), clump: None, is_live, is_new, show, line };
            self.sink.programme(&station, programme, self.report)?;
        }
        Ok(())
    }

    fn skip(&mut self, line: u64, about: &str) -> io::Result<()> {
        self.report.note(Rule::RecordUnreadable, line, about);
        self.report.skipped += 1;
        Ok(())
    }

    fn text(&mut self, value: &Value, most: usize, line: u64) -> Option<String> {
        match value {
            Value::String(text) => clean(text, most, line, self.report),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Texts of an array, or of a field of its objects.
    fn list(&mut self, value: &Value, field: &str, line: u64) -> Vec<String> {
        let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let texts =
            entries.iter().take(LIST_MAX).map(|entry| if field.is_empty() { entry } else { &entry[field] });
        texts.filter_map(|text| self.text(text, NAME_MAX, line)).collect()
    }
}

/// The id of a station, which is a text or a number.
fn id(record: &Value) -> String {
    let found = ["stationId", "stationID"].iter().map(|field| &record[*field]).find(|value| !value.is_null());
    match found {
        Some(Value::String(id)) => id.chars().take(crate::xmltv::ID_MAX / 4).collect(),
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    }
}

/// Season and episode, from 1, as XMLTV numbers them.
fn numbered(season: Option<u64>, episode: Option<u64>) -> String {
    let part = |n: Option<u64>| n.map_or_else(String::new, |n| (n - 1).to_string());
    if season.is_none() && episode.is_none() {
        String::new()
    } else {
        format!("{}.{}.", part(season), part(episode))
    }
}
