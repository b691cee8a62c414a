//! JSON listings: the shapes of Gracenote's On Connect and of Schedules Direct, record by record.
//!
//! **Unverified against the live services**: the shapes are those of their public documents.
//! - Gracenote: an array of stations with `airings`, or of airings with a `station`; each has its `program`.
//! - Schedules Direct: an object of `stations`, `schedules` and `programs`, which are three of its answers.
//!
//! Why record by record: an answer has hundreds of megabytes, a record a few kilobytes.
//! Invariants: one record is in memory, and of Schedules Direct the programmes that schedules refer to. A
//! record that lacks what an airing needs is skipped with its line. Not here: the records' fields
//! (`records`).

mod records;
#[cfg(test)]
mod tests;

use std::io;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::input::{Document, Marks};
use crate::report::Report;
use crate::xmltv::Sink;
use records::Records;

/// Read a document to its end.
///
/// # Errors
/// The stream fails, is no such JSON, or goes beyond a bound; or the sink fails.
pub fn read(document: Document<'_>, report: &mut Report, sink: &mut dyn Sink) -> io::Result<()> {
    let Document { text, marks, .. } = document;
    let mut records = Records::new(report, sink);
    let mut json = serde_json::Deserializer::from_reader(text);
    let top = Top { records: &mut records, marks: &marks };
    let invalid = |fault: serde_json::Error| match fault.io_error_kind() {
        Some(kind) => io::Error::new(kind, fault.to_string()),
        None => io::Error::new(io::ErrorKind::InvalidData, format!("it is no listing: {fault}")),
    };
    top.deserialize(&mut json).and_then(|()| json.end()).map_err(invalid)?;
    records.finish()
}

/// What the records of an array are.
#[derive(Clone, Copy)]
enum Kind {
    /// Told by its fields.
    Any,
    Station,
    Schedule,
    Program,
}

struct Top<'a, 'r> {
    records: &'a mut Records<'r>,
    marks: &'a Marks,
}

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of stations or airings, or an object of stations, schedules and programs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        Array { kind: Kind::Any, records: self.records, marks: self.marks }.visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let kind = match key.as_str() {
                "stations" => Kind::Station,
                "schedules" => Kind::Schedule,
                "programs" => Kind::Program,
                "airings" | "data" => Kind::Any,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.next_value_seed(Array { kind, records: self.records, marks: self.marks })?;
        }
        Ok(())
    }
}

struct Array<'a, 'r> {
    kind: Kind,
    records: &'a mut Records<'r>,
    marks: &'a Marks,
}

impl<'de> DeserializeSeed<'de> for Array<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let line = self.marks.line();
            let Some(record) = seq.next_element::<Value>()? else { return Ok(()) };
            self.marks.event();
            let taken = match self.kind {
                Kind::Station => self.records.station(&record, line),
                Kind::Schedule => self.records.schedule(&record, line),
                Kind::Program => {
                    self.records.program(&record, line);
                    Ok(())
                }
                Kind::Any => self.records.any(&record, line),
            };
            taken.map_err(A::Error::custom)?;
        }
    }
}
