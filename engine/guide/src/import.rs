//! Imports: a document is read whole, judged, and applied in one transaction or not at all.
//!
//! Why: a provider that answers with an empty or cut document once made a whole guide go away.
//! Invariants: nothing of a document that cannot be read, or that is refused, is in the guide. Whatever
//! happens there is a report. Not here: the parts (`input`, `xmltv`, `json`, `mend`, `store`).

use std::fmt;
use std::io::{self, Read};

use foldhash::{HashMap, HashMapExt};

use crate::input::{self, Bounds, Form};
use crate::json;
use crate::model::{Channel, Programme};
use crate::report::{Report, Rule};
use crate::spool::Spool;
use crate::store::{Guide, GuideError};
use crate::time::Zones;
use crate::xmltv::{self, ID_MAX, Sink};

/// Programmes of one channel: a month of five-minute programmes.
const OF_CHANNEL_MAX: u32 = 10_000;

/// How a document is read and judged.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the source.
    pub source: String,
    /// Zones of its times.
    pub zones: Zones,
    /// The language whose titles come first; empty: the document's order.
    pub language: String,
    /// Bounds of the document.
    pub bounds: Bounds,
    /// Apply what would otherwise be refused.
    pub force: bool,
    /// Apply nothing.
    pub dry_run: bool,
}

/// Whether a room is in use: open, or with messages.
pub trait RoomUse {
    /// Is it?
    fn is_used(&self, room: &str) -> bool;
}

/// No room is in use.
#[derive(Clone, Copy, Debug)]
pub struct Unused;

impl RoomUse for Unused {
    fn is_used(&self, _: &str) -> bool {
        false
    }
}

/// What became of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guide changed.
    Applied,
    /// It says what the guide says.
    Unchanged,
    /// It was only tried.
    Tried,
}

/// Why nothing was applied.
#[derive(Debug)]
pub enum ImportError {
    /// The document cannot be read: what, and near which line.
    Unreadable(String, u64),
    /// It would take too much away; `force` applies it.
    Refused(String),
    /// The guide's database failed.
    Guide(GuideError),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::Unreadable(fault, line) => {
                write!(f, "the document cannot be used: line {line}: {fault}")
            }
            ImportError::Refused(reason) => write!(f, "refused: {reason}"),
            ImportError::Guide(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ImportError {}

/// Takes the bytes that were read; whether the import goes on.
pub type Progress<'a> = &'a dyn Fn(u64) -> bool;

/// One import.
pub struct Import<'a> {
    /// The guide.
    pub guide: &'a mut Guide,
    /// Which rooms are in use.
    pub rooms: &'a dyn RoomUse,
    /// The time, seconds since 1970.
    pub now: i64,
    /// Told how many bytes were read, now and then; `false` ends the import, and nothing is applied.
    pub progress: Option<Progress<'a>>,
}

impl Import<'_> {
    /// Read `source` and apply it. The report says what came of it, whatever that is.
    ///
    /// # Errors
    /// Nothing was applied: the document cannot be read, is refused, or the database failed.
    pub fn run(
        mut self,
        source: impl Read,
        options: &Options,
        report: &mut Report,
    ) -> Result<Outcome, ImportError> {
        let result = self.read_and_apply(source, options, report);
        match &result {
            Ok(Outcome::Applied) => report.result = "applied".into(),
            Ok(Outcome::Unchanged) => report.result = "unchanged".into(),
            Ok(Outcome::Tried) => report.result = "tried".into(),
            Err(ImportError::Refused(_)) => report.result = "refused".into(),
            Err(_) => report.result = "failed".into(),
        }
        if let Err(error) = &result {
            report.reason = error.to_string();
        }
        if !options.dry_run {
            self.guide.keep_report(report).map_err(ImportError::Guide)?;
        }
        result
    }

    fn read_and_apply(
        &mut self,
        source: impl Read,
        options: &Options,
        report: &mut Report,
    ) -> Result<Outcome, ImportError> {
        let unreadable = |line: u64| move |fault: io::Error| ImportError::Unreadable(fault.to_string(), line);
        let watched = Watched { inner: source, bytes: 0, told: 0, progress: self.progress };
        let document = input::open(watched, &options.bounds).map_err(unreadable(1))?;
        let (marks, form) = (document.marks.clone(), document.form);
        if let Some(label) = &document.unknown_encoding {
            report.note(Rule::EncodingUnknown, 1, label);
        }
        let mut gathered = Gathered::new(self.guide.spool_dir(), options.bounds).map_err(unreadable(0))?;
        let read = match form {
            Form::Xml => xmltv::read(document, &options.zones, &options.language, report, &mut gathered),
            Form::Json => json::read(document, report, &mut gathered),
            Form::Empty => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
            Form::Unknown => Err(io::Error::new(io::ErrorKind::InvalidData, "it is neither XML nor JSON")),
        };
        (report.bytes_in, report.bytes_out) = marks.bytes();
        report.channels = gathered.channels.len() as u64;
        if marks.replaced() > 0 {
            report.note(Rule::BytesReplaced, 0, "in the whole document");
        }
        read.map_err(unreadable(marks.line()))?;
        if gathered.spool.len() == 0 && !options.force {
            return Err(ImportError::Refused("the document has no programme that can be used".into()));
        }
        gathered.spool.close().map_err(unreadable(0))?;
        self.guide.apply(
            &gathered,
            &Surroundings { rooms: self.rooms, now: self.now, progress: self.progress },
            options,
            report,
        )
    }
}

/// What an import knows besides its document.
pub(crate) struct Surroundings<'a> {
    pub(crate) rooms: &'a dyn RoomUse,
    pub(crate) now: i64,
    pub(crate) progress: Option<Progress<'a>>,
}

/// A channel of the document, in the order in which it came.
pub(crate) struct Found {
    pub(crate) channel: Channel,
    programmes: u32,
}

/// What was read.
pub(crate) struct Gathered {
    pub(crate) channels: Vec<Found>,
    by_id: HashMap<Box<str>, u32>,
    pub(crate) spool: Spool,
    bounds: Bounds,
}

impl Gathered {
    fn new(dir: &std::path::Path, bounds: Bounds) -> io::Result<Gathered> {
        Ok(Gathered { channels: Vec::new(), by_id: HashMap::new(), spool: Spool::new(dir)?, bounds })
    }

    fn add(&mut self, channel: Channel, line: u64, report: &mut Report) -> Option<u32> {
        if self.channels.len() >= self.bounds.channels_max {
            report.note(Rule::TooManyChannels, line, &channel.id);
            return None;
        }
        let number = self.channels.len() as u32;
        self.by_id.insert(channel.id.as_str().into(), number);
        self.channels.push(Found { channel, programmes: 0 });
        Some(number)
    }
}

impl Sink for Gathered {
    fn channel(&mut self, channel: Channel, line: u64, report: &mut Report) -> io::Result<()> {
        let Some(number) = self.by_id.get(channel.id.as_str()) else {
            self.add(channel, line, report);
            return Ok(());
        };
        let first = &mut self.channels[*number as usize];
        // Declared after its first programme, it comes once.
        if !first.channel.names.is_empty() || !first.channel.icon.is_empty() {
            report.note(Rule::ChannelTwice, line, &channel.id);
        }
        for name in channel.names {
            if !first.channel.names.contains(&name) && first.channel.names.len() < 8 {
                first.channel.names.push(name);
            }
        }
        if first.channel.icon.is_empty() {
            first.channel.icon = channel.icon;
        }
        Ok(())
    }

    fn programme(&mut self, channel: &str, programme: Programme, report: &mut Report) -> io::Result<()> {
        let number = match self.by_id.get(channel) {
            Some(number) => *number,
            None => {
                report.note(Rule::ChannelUndeclared, programme.line, channel);
                let id: String = channel.chars().take(ID_MAX).collect();
                let Some(number) = self.add(Channel { id, ..Channel::default() }, programme.line, report)
                else {
                    report.skipped += 1;
                    return Ok(());
                };
                number
            }
        };
        if self.spool.len() >= self.bounds.programmes_max {
            let fault = format!("more than {} programmes", self.bounds.programmes_max);
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
        let found = &mut self.channels[number as usize];
        if found.programmes >= OF_CHANNEL_MAX {
            report.note(Rule::TooManyOfChannel, programme.line, channel);
            report.skipped += 1;
            return Ok(());
        }
        found.programmes += 1;
        self.spool.push(number, &programme)
    }
}

/// Tells how many bytes were read.
struct Watched<'a, R> {
    inner: R,
    bytes: u64,
    told: u64,
    progress: Option<Progress<'a>>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.bytes += n as u64;
        if let Some(progress) = self.progress
            && (self.bytes - self.told > 1 << 18 || n == 0)
        {
            self.told = self.bytes;
            if !progress(self.bytes) {
                return Err(io::Error::other("the import was stopped"));
            }
        }
        Ok(n)
    }
}
