//! Queries: the grid by channel and time, what is on now and next, one airing by its room.
//!
//! Why pages by channel: a grid of 1,500 channels is no answer, and a channel's row must be whole.
//! Invariants: an answer is bounded by [`CHANNELS_MAX`] channels and [`AIRINGS_MAX`] airings a channel. A
//! cursor is opaque and stays good over imports. Not here: search (`search`), HTTP.

use std::path::Path;

use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{DATABASE, GuideError, open_reader, rows};
use crate::model::{Show, flags};
use crate::report::Report;
use crate::{room, time};

/// Channels of a page.
const CHANNELS_MAX: usize = 200;
/// Airings of a channel in an answer.
const AIRINGS_MAX: usize = 500;
/// An airing is long when it is over this, and then it has an index of its own.
const LONG: i64 = 6 * 3_600;

/// A place in a schedule and its room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Airing {
    /// Name of its room.
    pub room: String,
    /// Id of its channel.
    pub channel: String,
    /// When it begins, RFC 3339 in the zone that was asked for.
    pub start: String,
    /// When it ends.
    pub stop: String,
    /// When it begins, seconds since 1970.
    pub start_s: i64,
    /// When it ends.
    pub stop_s: i64,
    /// Title.
    pub title: String,
    /// Title of the episode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_title: String,
    /// Season and episode, from 0, as XMLTV numbers them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub episode: String,
    /// What happens; only where it was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Id of the series.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub series: String,
    /// People in it; only where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<String>,
    /// Teams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
    /// Categories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Facts: `live`, `new`, `cancelled`, `disagrees`, `stop_guessed`, `overlaps`, `clump`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<&'static str>,
}

/// A channel and its airings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelRow {
    /// Id of the channel.
    pub channel: String,
    /// Names to show.
    pub names: Vec<String>,
    /// Address of a picture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub icon: String,
    /// What is on, by start.
    pub airings: Vec<Airing>,
}

/// What is on, and what comes after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NowNext {
    /// Id of the channel.
    pub channel: String,
    /// Names to show.
    pub names: Vec<String>,
    /// What is on.
    pub now: Option<Airing>,
    /// What begins next.
    pub next: Option<Airing>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// Which part of the grid.
#[derive(Clone, Debug)]
pub struct GridQuery {
    /// From this instant.
    pub from: i64,
    /// To this one, which is not in it.
    pub to: i64,
    /// These channels; empty: all.
    pub channels: Vec<String>,
    /// Channels of a page.
    pub limit: usize,
    /// `next` of the page before.
    pub after: Option<String>,
    /// With descriptions and people.
    pub full: bool,
    /// Zone of times in the answer.
    pub zone: TimeZone,
}

/// Answers queries.
pub struct Queries {
    pub(super) conn: Connection,
    path: std::path::PathBuf,
}

pub(super) const AIRING: &str = "a.start, a.stop, a.flags, a.first_start, a.mark, c.name, c.part";
pub(super) const AIRING_COLUMNS: usize = 7;

struct ChannelOf {
    id: i64,
    name: String,
    names: Vec<String>,
    icon: String,
}

impl Queries {
    /// Open the guide in this folder, which exists.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(dir: &Path) -> Result<Queries, GuideError> {
        Ok(Queries { conn: open_reader(dir)?, path: dir.join(DATABASE) })
    }

    pub(super) fn fault(&self) -> impl Fn(rusqlite::Error) -> GuideError + use<> {
        GuideError::at(&self.path)
    }

    /// The grid: what is on at some moment between two instants.
    ///
    /// # Errors
    /// The database failed.
    pub fn grid(&self, query: &GridQuery) -> Result<Page<ChannelRow>, GuideError> {
        let answer = || -> rusqlite::Result<Page<ChannelRow>> {
            let (channels, next) = self.channels(&query.channels, query.limit, query.after.as_deref())?;
            let mut rows = Vec::with_capacity(channels.len());
            for ChannelOf { id, name, names, icon } in channels {
                let airings = self.on_between(id, query.from, query.to, query.full, &query.zone)?;
                rows.push(ChannelRow { channel: name, names, icon, airings });
            }
            Ok(Page { rows, next })
        };
        answer().map_err(self.fault())
    }

    /// What is on at `now` and what begins next, by channel.
    ///
    /// # Errors
    /// The database failed.
    pub fn now(&self, now: i64, query: &GridQuery) -> Result<Page<NowNext>, GuideError> {
        let answer = || -> rusqlite::Result<Page<NowNext>> {
            let (channels, next) = self.channels(&query.channels, query.limit, query.after.as_deref())?;
            let statement =
                select("a.channel = ?1 AND a.start > ?2 AND a.flags & 1 = 0 ORDER BY a.start, a.id LIMIT 1");
            let mut rows = Vec::with_capacity(channels.len());
            for ChannelOf { id, name, names, .. } in channels {
                let on = self.on_between(id, now, now + 1, query.full, &query.zone)?.pop();
                let mut following = self.conn.prepare_cached(&statement)?;
                let following =
                    following.query_row(params![id, now], |row| airing(row, query.full, &query.zone));
                rows.push(NowNext { channel: name, names, now: on, next: following.optional()? });
            }
            Ok(Page { rows, next })
        };
        answer().map_err(self.fault())
    }

    /// The airing of this room.
    ///
    /// # Errors
    /// The database failed.
    pub fn airing(&self, room: &str, zone: &TimeZone) -> Result<Option<Airing>, GuideError> {
        let Some((part, first_start, mark)) = room::parse(room) else { return Ok(None) };
        let statement = select("c.part = ?1 AND a.first_start = ?2 AND a.mark = ?3");
        let found =
            self.conn.query_row(&statement, params![part, first_start, mark], |row| airing(row, true, zone));
        found.optional().map_err(self.fault())
    }

    /// Airings that begin between two instants, in all channels, by start: for who opens their rooms.
    ///
    /// # Errors
    /// The database failed.
    pub fn starting(&self, from: i64, to: i64) -> Result<Vec<Airing>, GuideError> {
        let answer = || -> rusqlite::Result<Vec<Airing>> {
            let statement = select(
                "a.channel IN (SELECT id FROM channels) AND a.start >= ?1 AND a.start < ?2 AND a.flags & 1 = 0
                 ORDER BY a.start, a.id",
            );
            let mut statement = self.conn.prepare_cached(&statement)?;
            let found = statement.query_map(params![from, to], |row| airing(row, false, &TimeZone::UTC))?;
            found.collect()
        };
        answer().map_err(self.fault())
    }

    /// Room, start and stop of each airing that begins between two instants and is not cancelled.
    ///
    /// # Errors
    /// The database failed.
    pub fn times(&self, from: i64, to: i64, mut take: impl FnMut(&str, i64, i64)) -> Result<(), GuideError> {
        let mut answer = || -> rusqlite::Result<()> {
            let statement = "SELECT c.part, a.first_start, a.mark, a.start, a.stop FROM channels c
                             JOIN airings a ON a.channel = c.id
                             WHERE a.start >= ?1 AND a.start < ?2 AND a.flags & 1 = 0";
            let mut statement = self.conn.prepare_cached(statement)?;
            let mut found = statement.query(params![from, to])?;
            while let Some(row) = found.next()? {
                let room = room::name(row.get_ref(0)?.as_str()?, row.get(1)?, row.get(2)?);
                take(&room, row.get(3)?, row.get(4)?);
            }
            Ok(())
        };
        answer().map_err(self.fault())
    }

    /// The newest report of each source.
    ///
    /// # Errors
    /// The database failed.
    pub fn reports(&self) -> Result<Vec<Report>, GuideError> {
        let answer = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.conn.prepare_cached("SELECT report FROM reports ORDER BY source")?;
            let texts = statement.query_map([], |row| row.get(0))?;
            texts.collect()
        };
        let texts = answer().map_err(self.fault())?;
        Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// Numbers of channels, airings that are not cancelled, and shows.
    ///
    /// # Errors
    /// The database failed.
    pub fn counts(&self) -> Result<(u64, u64, u64), GuideError> {
        let statement =
            "SELECT (SELECT count(*) FROM channels), (SELECT count(*) FROM airings WHERE flags & 1 = 0),
                                (SELECT count(*) FROM shows)";
        let counts = self.conn.query_row(statement, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        counts.map_err(self.fault())
    }

    /// Rows and rooms of airings that ended before this instant.
    pub(super) fn ended(&self, before: i64) -> Result<Vec<(i64, String)>, GuideError> {
        let answer = || -> rusqlite::Result<Vec<(i64, String)>> {
            let statement = "SELECT a.id, c.part, a.first_start, a.mark FROM airings a JOIN channels c ON c.id = a.channel
                             WHERE a.channel IN (SELECT id FROM channels) AND a.start < ?1 AND a.stop < ?1";
            let mut statement = self.conn.prepare_cached(statement)?;
            let found = statement.query_map([before], |row| {
                let part: String = row.get(1)?;
                Ok((row.get(0)?, room::name(&part, row.get(2)?, row.get(3)?)))
            })?;
            found.collect()
        };
        answer().map_err(self.fault())
    }

    fn channels(
        &self,
        wanted: &[String],
        limit: usize,
        after: Option<&str>,
    ) -> rusqlite::Result<(Vec<ChannelOf>, Option<String>)> {
        let limit = limit.clamp(1, CHANNELS_MAX);
        let after: i64 = after.and_then(|after| after.strip_prefix('c')?.parse().ok()).unwrap_or(0);
        let read = |row: &Row<'_>| {
            let names: String = row.get(2)?;
            let names = names.split('\n').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Ok(ChannelOf { id: row.get(0)?, name: row.get(1)?, names, icon: row.get(3)? })
        };
        if !wanted.is_empty() {
            let mut statement =
                self.conn.prepare_cached("SELECT id, name, names, icon FROM channels WHERE name = ?1")?;
            let mut found = Vec::new();
            for name in wanted.iter().take(CHANNELS_MAX) {
                found.extend(statement.query_row([name], read).optional()?);
            }
            return Ok((found, None));
        }
        let statement = "SELECT id, name, names, icon FROM channels WHERE id > ?1 ORDER BY id LIMIT ?2";
        let mut statement = self.conn.prepare_cached(statement)?;
        let found = statement.query_map(params![after, limit + 1], read)?;
        let mut found: Vec<ChannelOf> = found.collect::<Result<_, _>>()?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|last| format!("c{}", last.id));
        Ok((found, next))
    }

    fn on_between(
        &self,
        channel: i64,
        from: i64,
        to: i64,
        full: bool,
        zone: &TimeZone,
    ) -> rusqlite::Result<Vec<Airing>> {
        let statement = format!(
            "{} UNION ALL {} ORDER BY 1, 2 LIMIT {AIRINGS_MAX}",
            select(
                "a.channel = ?1 AND a.start >= ?2 - 21600 AND a.start < ?3 AND a.stop > ?2 AND a.flags & 1 = 0"
            ),
            select(
                "a.channel = ?1 AND a.stop - a.start > 21600 AND a.start < ?2 - 21600 AND a.stop > ?2
                 AND a.flags & 1 = 0"
            ),
        );
        const { assert!(LONG == 21_600, "the index of long airings") }
        let mut statement = self.conn.prepare_cached(&statement)?;
        let found = statement.query_map(params![channel, from, to], |row| airing(row, full, zone))?;
        found.collect()
    }
}

pub(super) fn select(condition: &str) -> String {
    format!(
        "SELECT {AIRING}, {} FROM airings a JOIN channels c ON c.id = a.channel JOIN shows s ON s.id = a.show
         WHERE {condition}",
        rows::COLUMNS
    )
}

/// An airing from the columns of [`select`].
pub(super) fn airing(row: &Row<'_>, full: bool, zone: &TimeZone) -> rusqlite::Result<Airing> {
    let (start_s, stop_s, bits): (i64, i64, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let part: String = row.get(6)?;
    let Show { title, sub_title, description, episode, series, people, teams, categories, .. } =
        rows::read(row, AIRING_COLUMNS)?;
    Ok(Airing {
        room: room::name(&part, row.get(3)?, row.get(4)?),
        channel: row.get(5)?,
        start: time::rfc3339(start_s, zone),
        stop: time::rfc3339(stop_s, zone),
        start_s,
        stop_s,
        title,
        sub_title,
        episode,
        description: if full { description } else { String::new() },
        series,
        people: if full { people } else { Vec::new() },
        teams,
        categories,
        facts: facts(bits),
    })
}

fn facts(bits: u32) -> Vec<&'static str> {
    let words = [
        (flags::LIVE, "live"),
        (flags::NEW, "new"),
        (flags::CANCELLED, "cancelled"),
        (flags::DISAGREES, "disagrees"),
        (flags::STOP_GUESSED, "stop_guessed"),
        (flags::OVERLAPS, "overlaps"),
        (flags::CLUMP, "clump"),
    ];
    words.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect()
}
