//! XMLTV: a streaming reader of its channels and programmes, which mends what real feeds get wrong.
//!
//! Why not serde or a DOM: a document has 500 MB. Why a stack of its own: tags cross in real feeds, and an
//! element that is not closed must not swallow the next programme.
//! Invariants: memory is that of one programme. Entities are never expanded beyond one character. A programme
//! begins at its tag whatever is open. Not here: bounds of the stream (`input`), stamps (`time`).

mod entities;
mod programme;
#[cfg(test)]
mod tests;

use std::io;

use foldhash::{HashMap, HashMapExt};
use quick_xml::Reader as Xml;
use quick_xml::errors::Error;
use quick_xml::events::{BytesStart, Event};

use crate::input::Document;
use crate::model::{Channel, Programme};
use crate::report::{Report, Rule};
use crate::time::Zones;
use programme::{Building, Field};
pub(crate) use programme::{clean, series_of};

/// Elements within each other; real documents have five.
const DEPTH_MAX: usize = 64;
/// Bytes of a text that is collected, before it is cut to its field's bound.
const TEXT_MAX: usize = 64 << 10;
/// Bytes of a channel's id.
pub(crate) const ID_MAX: usize = 200;
/// Faults of syntax that a reader passes over.
const FAULTS_MAX: u32 = 10_000;

/// Where channels and programmes go.
pub trait Sink {
    /// A channel was declared.
    ///
    /// # Errors
    /// It cannot be stored.
    fn channel(&mut self, channel: Channel, line: u64, report: &mut Report) -> io::Result<()>;
    /// A programme was read.
    ///
    /// # Errors
    /// It cannot be stored.
    fn programme(&mut self, channel: &str, programme: Programme, report: &mut Report) -> io::Result<()>;
}

/// An element that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Channel,
    Programme,
    Text(Field),
    /// Nothing that is read, by name.
    Other(Box<str>),
}

/// Read a document to its end.
///
/// # Errors
/// The stream fails or goes beyond a bound, or the sink fails.
pub fn read(
    document: Document<'_>,
    zones: &Zones,
    language: &str,
    report: &mut Report,
    sink: &mut dyn Sink,
) -> io::Result<()> {
    let Document { text, marks, .. } = document;
    let mut xml = Xml::from_reader(text);
    let config = xml.config_mut();
    config.allow_dangling_amp = true;
    config.allow_unmatched_ends = true;
    config.check_end_names = false;
    config.expand_empty_elements = true;
    let mut reader = Reader {
        zones,
        language,
        report,
        sink,
        open: Vec::new(),
        too_deep: 0,
        text: String::new(),
        channel: None,
        programme: None,
        last_starts: HashMap::new(),
    };
    let mut buffer = Vec::new();
    let mut faults = 0;
    let mut is_whole = false;
    loop {
        buffer.clear();
        let line = marks.line();
        match xml.read_event_into(&mut buffer) {
            Ok(Event::Eof) => break,
            Ok(Event::End(end)) if end.name().as_ref() == "tv" => is_whole = true,
            Ok(event) => reader.handle(&event, line)?,
            Err(Error::Io(fault)) => return Err(io::Error::new(fault.kind(), fault.to_string())),
            Err(Error::Syntax(_)) => break,
            Err(fault) => {
                faults += 1;
                reader.report.note(Rule::TagsCrossed, line, &fault.to_string());
                if faults > FAULTS_MAX {
                    break;
                }
            }
        }
        marks.event();
        if buffer.capacity() > 4 * TEXT_MAX {
            buffer = Vec::new();
        }
    }
    let line = marks.line();
    if !is_whole {
        reader.report.note(Rule::DocumentCut, line, "no </tv>");
        // What is open was cut with the document.
        reader.programme = None;
    }
    reader.close_programme()?;
    reader.close_channel()
}

struct Reader<'a> {
    zones: &'a Zones,
    language: &'a str,
    report: &'a mut Report,
    sink: &'a mut dyn Sink,
    open: Vec<Open>,
    too_deep: usize,
    text: String,
    channel: Option<(Channel, u64)>,
    programme: Option<Building>,
    last_starts: HashMap<Box<str>, i64>,
}

impl Reader<'_> {
    fn handle(&mut self, event: &Event<'_>, line: u64) -> io::Result<()> {
        match event {
            Event::Start(tag) => self.start(tag, line)?,
            Event::End(tag) => self.end(tag.name().as_ref(), line)?,
            Event::Text(text) => self.append(text),
            Event::CData(text) => self.append(text),
            Event::GeneralRef(entity) if self.is_in_text() => {
                let mut text = std::mem::take(&mut self.text);
                entities::resolve(entity, &mut text, line, self.report);
                self.text = text;
            }
            _ => {}
        }
        Ok(())
    }

    fn is_in_text(&self) -> bool {
        self.too_deep == 0 && matches!(self.open.last(), Some(Open::Text(_))) && self.text.len() < TEXT_MAX
    }

    fn append(&mut self, text: &str) {
        if self.is_in_text() {
            self.text.push_str(text);
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>, line: u64) -> io::Result<()> {
        let name = tag.name();
        let name = name.as_ref();
        match name {
            "programme" => {
                self.close_all(line)?;
                self.programme = Some(Building::new(tag, line, self.report));
                self.open.push(Open::Programme);
                return Ok(());
            }
            "channel" => {
                self.close_all(line)?;
                self.channel = Some((
                    Channel { id: attribute(tag, "id", line, self.report), ..Channel::default() },
                    line,
                ));
                self.open.push(Open::Channel);
                return Ok(());
            }
            "tv" => return Ok(()),
            _ => {}
        }
        if self.open.len() >= DEPTH_MAX {
            if self.too_deep == 0 {
                self.report.note(Rule::TooDeep, line, name);
            }
            self.too_deep += 1;
            return Ok(());
        }
        let field = match (&mut self.programme, &mut self.channel) {
            (Some(programme), _) => programme.field(name, tag, line, self.report),
            (None, Some((channel, _))) => match name {
                "display-name" => Some(Field::Name),
                "icon" if channel.icon.is_empty() => {
                    channel.icon = attribute(tag, "src", line, self.report);
                    None
                }
                _ => None,
            },
            (None, None) => return Ok(()),
        };
        match field {
            Some(field) => {
                // A field within a field: the outer one was not closed.
                if let Some(at) = self.open.iter().position(|open| matches!(open, Open::Text(_))) {
                    self.report.note(Rule::TagsCrossed, line, name);
                    while self.open.len() > at {
                        self.close_top();
                    }
                }
                self.text.clear();
                self.open.push(Open::Text(field));
            }
            None => self.open.push(Open::Other(name.into())),
        }
        Ok(())
    }

    fn end(&mut self, name: &str, line: u64) -> io::Result<()> {
        if self.too_deep > 0 && !matches!(name, "programme" | "channel") {
            self.too_deep -= 1;
            return Ok(());
        }
        let is_it = |open: &Open| match open {
            Open::Channel => name == "channel",
            Open::Programme => name == "programme",
            Open::Text(field) => field.is_element(name),
            Open::Other(other) => **other == *name,
        };
        let Some(at) = self.open.iter().rposition(is_it) else {
            if !self.open.is_empty() || self.programme.is_some() {
                self.report.note(Rule::TagsCrossed, line, name);
            }
            return Ok(());
        };
        if at + 1 < self.open.len() {
            self.report.note(Rule::TagsCrossed, line, name);
        }
        while self.open.len() > at + 1 {
            self.close_top();
        }
        match self.open.last() {
            Some(Open::Programme) => self.close_programme(),
            Some(Open::Channel) => self.close_channel(),
            _ => {
                self.close_top();
                Ok(())
            }
        }
    }

    /// Before a programme or channel begins: what is open ends.
    fn close_all(&mut self, line: u64) -> io::Result<()> {
        if self.programme.is_some() || self.channel.is_some() {
            self.report.note(Rule::TagsCrossed, line, "an element begins before the last one ended");
        }
        while matches!(self.open.last(), Some(Open::Text(_) | Open::Other(_))) {
            self.close_top();
        }
        self.close_programme()?;
        self.close_channel()
    }

    fn close_top(&mut self) {
        let Some(Open::Text(field)) = self.open.pop() else { return };
        let text = std::mem::take(&mut self.text);
        match (&mut self.programme, &mut self.channel) {
            (Some(programme), _) => programme.fill(field, &text, self.report),
            (None, Some((channel, line))) => {
                if let Some(name) = programme::clean(&text, 100, *line, self.report)
                    && channel.names.len() < 8
                {
                    channel.names.push(name);
                }
            }
            (None, None) => {}
        }
    }

    fn close_programme(&mut self) -> io::Result<()> {
        self.open.clear();
        self.too_deep = 0;
        let Some(building) = self.programme.take() else { return Ok(()) };
        self.report.programmes += 1;
        let last = self.last_starts.get(building.channel()).copied();
        let Some((channel, programme)) = building.finish(self.zones, self.language, last, self.report) else {
            self.report.skipped += 1;
            return Ok(());
        };
        match self.last_starts.get_mut(channel.as_str()) {
            Some(last) => *last = programme.start,
            None => drop(self.last_starts.insert(channel.as_str().into(), programme.start)),
        }
        self.sink.programme(&channel, programme, self.report)
    }

    fn close_channel(&mut self) -> io::Result<()> {
        self.open.clear();
        let Some((channel, line)) = self.channel.take() else { return Ok(()) };
        if channel.id.is_empty() || channel.id.len() > ID_MAX {
            self.report.note(Rule::ChannelWithoutId, line, &channel.id);
            return Ok(());
        }
        self.sink.channel(channel, line, self.report)
    }
}

/// The value of an attribute, with its entities; empty when it is missing.
fn attribute(tag: &BytesStart<'_>, name: &str, line: u64, report: &mut Report) -> String {
    let mut attributes = tag.html_attributes();
    let found = attributes.with_checks(false).flatten().find(|attribute| attribute.key.as_ref() == name);
    found.map_or_else(String::new, |attribute| {
        entities::unescape(&attribute.value, line, report).trim().to_owned()
    })
}
