//! A programme of XMLTV while it is read: its fields, their bounds, and its times at the end.
//!
//! Why at the end: whether a programme can be used depends on attributes and on a title that comes later.
//! Invariants: every text is cleaned and bounded. Without channel, start or title there is no programme, and
//! the report says so. Not here: tags (`xmltv`), stops that are missing (`mend`).

use quick_xml::events::BytesStart;

use super::{ID_MAX, attribute};
use crate::model::Programme;
use crate::report::{Report, Rule};
use crate::time::{self, Zones};

const TITLE_MAX: usize = 400;
const DESCRIPTION_MAX: usize = 4_000;
const NAME_MAX: usize = 120;
const TITLES_MAX: usize = 8;
const LIST_MAX: usize = 40;

/// A text element that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Title(Box<str>),
    SubTitle,
    Description,
    Category,
    Team,
    Person(&'static str),
    Episode(Numbering),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    Xmltv,
    OnScreen,
    Provider,
}

/// Elements of people, within `credits`.
const PEOPLE: [&str; 10] = [
    "director",
    "actor",
    "writer",
    "adapter",
    "producer",
    "composer",
    "editor",
    "presenter",
    "commentator",
    "guest",
];

impl Field {
    pub(super) fn is_element(&self, name: &str) -> bool {
        name == match self {
            Field::Name => "display-name",
            Field::Title(_) => "title",
            Field::SubTitle => "sub-title",
            Field::Description => "desc",
            Field::Category => "category",
            Field::Team => "team",
            Field::Person(element) => element,
            Field::Episode(_) => "episode-num",
        }
    }
}

/// A programme that is being read.
pub(super) struct Building {
    channel: String,
    start: String,
    stop: String,
    clump: String,
    titles: Vec<(Box<str>, String)>,
    programme: Programme,
    on_screen: String,
    is_list_cut: bool,
}

impl Building {
    pub(super) fn new(tag: &BytesStart<'_>, line: u64, report: &mut Report) -> Building {
        let mut get = |name| attribute(tag, name, line, report);
        Building {
            channel: get("channel"),
            start: get("start"),
            stop: get("stop"),
            clump: get("clumpidx"),
            titles: Vec::new(),
            programme: Programme { line, ..Programme::default() },
            on_screen: String::new(),
            is_list_cut: false,
        }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// The field that an element is; facts without text are noted.
    pub(super) fn field(
        &mut self,
        name: &str,
        tag: &BytesStart<'_>,
        line: u64,
        report: &mut Report,
    ) -> Option<Field> {
        let field = match name {
            "title" => Field::Title(attribute(tag, "lang", line, report).into()),
            "sub-title" => Field::SubTitle,
            "desc" => Field::Description,
            "category" | "keyword" => return (name == "category").then_some(Field::Category),
            "team" => Field::Team,
            "episode-num" => Field::Episode(match attribute(tag, "system", line, report).as_str() {
                "xmltv_ns" => Numbering::Xmltv,
                "dd_progid" => Numbering::Provider,
                "onscreen" | "common" | "" => Numbering::OnScreen,
                _ => return None,
            }),
            "live" => {
                self.programme.is_live = true;
                return None;
            }
            "new" | "premiere" => {
                self.programme.is_new = true;
                return None;
            }
            other => Field::Person(PEOPLE.iter().find(|element| **element == other)?),
        };
        Some(field)
    }

    pub(super) fn fill(&mut self, field: Field, text: &str, report: &mut Report) {
        let line = self.programme.line;
        let bound = match field {
            Field::Title(_) | Field::SubTitle => TITLE_MAX,
            Field::Description => DESCRIPTION_MAX,
            _ => NAME_MAX,
        };
        let Some(text) = clean(text, bound, line, report) else { return };
        let show = &mut self.programme.show;
        let (list, most) = match field {
            Field::Title(language) => {
                if self.titles.len() < TITLES_MAX {
                    self.titles.push((language, text));
                }
                return;
            }
            Field::SubTitle if show.sub_title.is_empty() => {
                show.sub_title = text;
                return;
            }
            Field::Description if show.description.is_empty() => {
                show.description = text;
                return;
            }
            Field::Episode(Numbering::Xmltv) => {
                show.episode = xmltv_ns(&text);
                return;
            }
            Field::Episode(Numbering::OnScreen) => {
                self.on_screen = text;
                return;
            }
            Field::Episode(Numbering::Provider) => {
                show.series = series_of(&text);
                show.provider = text;
                return;
            }
            Field::Name | Field::SubTitle | Field::Description => return,
            Field::Category => (&mut show.categories, LIST_MAX),
            Field::Team => (&mut show.teams, LIST_MAX),
            Field::Person(_) => (&mut show.people, LIST_MAX),
        };
        if list.len() < most {
            if !list.contains(&text) {
                list.push(text);
            }
        } else if !std::mem::replace(&mut self.is_list_cut, true) {
            report.note(Rule::ListCut, line, &text);
        }
    }

    /// The programme and its channel, unless it lacks what it needs.
    pub(super) fn finish(
        mut self,
        zones: &Zones,
        language: &str,
        last_start: Option<i64>,
        report: &mut Report,
    ) -> Option<(String, Programme)> {
        let line = self.programme.line;
        let mut skip = |rule, about: &str| {
            report.note(rule, line, about);
            None
        };
        if self.channel.is_empty() || self.channel.len() > ID_MAX {
            return skip(Rule::ChannelIdInvalid, &self.channel);
        }
        let is_wanted = |(lang, _): &(Box<str>, String)| !language.is_empty() && **lang == *language;
        if let Some(at) = self.titles.iter().position(is_wanted) {
            self.titles[..=at].rotate_right(1);
        }
        let mut titles = self.titles.into_iter().map(|(_, title)| title);
        let Some(title) = titles.next() else {
            return skip(Rule::TitleMissing, &format!("{} {}", self.channel, self.start));
        };
        let show = &mut self.programme.show;
        show.other_titles = titles.filter(|other| *other != title).collect();
        show.title = title;
        if show.episode.is_empty() {
            show.episode = on_screen(&self.on_screen);
        }
        let about = format!("{} {} {}", self.channel, self.start, show.title);
        let Some(start) = time::read(&self.start, zones, last_start) else {
            return skip(Rule::StartUnreadable, &about);
        };
        self.programme.start = start.at;
        start.rules.iter().for_each(|rule| report.note(*rule, line, &about));
        if !self.stop.is_empty() {
            match time::read(&self.stop, zones, Some(start.at)) {
                Some(stop) => self.programme.stop = Some(stop.at),
                None => report.note(Rule::StopUnreadable, line, &format!("{about}: {}", self.stop)),
            }
        }
        self.programme.clump = clump(&self.clump);
        Some((self.channel, self.programme))
    }
}

/// A text without line ends and control characters, cut to `most` bytes; `None` when nothing is left.
pub(crate) fn clean(text: &str, most: usize, line: u64, report: &mut Report) -> Option<String> {
    let mut out = String::with_capacity(text.len().min(most));
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    for word in words {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > most {
            out.truncate(out.floor_char_boundary(most));
            report.note(Rule::TextCut, line, &out);
            break;
        }
    }
    (!out.is_empty()).then_some(out)
}

/// `18 . 50/30 . 0/1` as `18.50.0`: totals and spaces change between documents.
fn xmltv_ns(text: &str) -> String {
    let parts: Vec<&str> =
        text.split('.').take(3).map(|part| part.split('/').next().unwrap_or("").trim()).collect();
    let joined = parts.join(".");
    if joined.bytes().any(|b| b.is_ascii_digit()) { joined } else { String::new() }
}

/// `S19 E51` as XMLTV's own form, which counts from 0; anything else says nothing sure.
fn on_screen(text: &str) -> String {
    let (mut season, mut episode) = (None, None);
    let mut rest = text;
    while !rest.is_empty() {
        let letters = rest.chars().take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
        let (word, after) = rest.split_at(letters);
        let after = after.trim_start_matches([' ', '.', '#']);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let number = after[..digits].parse::<u32>().ok().filter(|n| *n > 0 && digits < 6);
        match word.to_ascii_uppercase().as_str() {
            "S" | "SEASON" | "SERIES" => season = season.or(number),
            "E" | "EP" | "EPISODE" => episode = episode.or(number),
            _ => {}
        }
        let next = &after[digits..];
        let is_stuck = next.len() == rest.len();
        rest = if is_stuck { &next[next.chars().next().map_or(0, char::len_utf8)..] } else { next };
    }
    match (season, episode) {
        (Some(season), Some(episode)) => format!("{}.{}.", season - 1, episode - 1),
        _ => String::new(),
    }
}

/// The series of `EP01234567.0005`.
pub(crate) fn series_of(provider: &str) -> String {
    match provider.get(2..10) {
        Some(digits) if provider.starts_with("EP") || provider.starts_with("SH") => format!("SH{digits}"),
        _ => String::new(),
    }
}

/// `0/2`: the first of two.
fn clump(text: &str) -> Option<(u32, u32)> {
    let (part, parts) = text.split_once('/')?;
    let (part, parts) = (part.trim().parse().ok()?, parts.trim().parse().ok()?);
    (parts > 1 && part < parts).then_some((part, parts))
}
