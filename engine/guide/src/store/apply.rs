//! Applying: the differences between a document and the guide, channel by channel, in one transaction.
//!
//! Why judged at its end: only then is known how much the document would take away.
//! Invariants: only the time that a document shows of a channel is judged by it, and channels that it does
//! not have stay as they are. A room that is in use keeps its show unless the new one is the same. What is
//! equal is not written. Not here: which airing is which (`align`), what a schedule is (`mend`).

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{Guide, rows};
use crate::align::{self, BAND, Entry};
use crate::import::{Gathered, ImportError, Options, Outcome, RoomUse, Surroundings};
use crate::mend;
use crate::model::{Channel, Show, Slot, flags};
use crate::report::{Report, Rule};
use crate::room;
use crate::text::Prepared;

/// Shares of airings that a document may cancel: of the source's next day, of one channel, of all that it
/// shows.
const NEXT_DAY_MAX: f64 = 0.2;
const CHANNEL_MAX: f64 = 0.5;
const WHOLE_MAX: f64 = 0.4;
/// Fewer airings than this say nothing of a share.
const FEW: u64 = 4;
const DAY: i64 = 24 * 3_600;

/// An airing of the guide.
struct Stored {
    id: i64,
    start: i64,
    stop: i64,
    flags: u32,
    first_start: i64,
    mark: u32,
    hash: i64,
    show: Show,
}

/// A number of airings, and how many of them a document cancels.
#[derive(Clone, Copy, Default)]
struct Share {
    all: u64,
    cancelled: u64,
}

impl Share {
    fn is_over(self, most: f64) -> bool {
        self.all >= FEW && self.cancelled as f64 > most * self.all as f64
    }

    fn add(&mut self, other: Share) {
        self.all += other.all;
        self.cancelled += other.cancelled;
    }
}

/// What the document takes away.
#[derive(Default)]
struct Losses {
    next_day: Share,
    whole: Share,
    /// The channel that loses most, if it loses too much.
    channel: Option<(String, Share)>,
}

impl Losses {
    fn fault(&self, source: &str) -> Option<String> {
        let told = |share: Share, of: &str| {
            format!("it would cancel {} of {} airings {of}; --force applies it", share.cancelled, share.all)
        };
        if self.next_day.is_over(NEXT_DAY_MAX) {
            return Some(told(self.next_day, &format!("of {source} in the next 24 hours")));
        }
        if let Some((channel, share)) = &self.channel {
            return Some(told(*share, &format!("of channel {channel}")));
        }
        self.whole.is_over(WHOLE_MAX).then(|| told(self.whole, "in the time that it shows"))
    }
}

impl Guide {
    /// Apply what was read of a document.
    pub(crate) fn apply(
        &mut self,
        gathered: &Gathered,
        around: &Surroundings<'_>,
        options: &Options,
        report: &mut Report,
    ) -> Result<Outcome, ImportError> {
        let fault = self.fault();
        let failed = |error| ImportError::Guide(fault(error));
        let transaction =
            self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let before = transaction.total_changes();
        let (rooms, now) = (around.rooms, around.now);
        let mut losses = Losses::default();
        losses.next_day.all = next_day(&transaction, &options.source, now).map_err(failed)?.unsigned_abs();
        for (number, found) in gathered.channels.iter().enumerate() {
            if around.progress.is_some_and(|goes_on| !goes_on(report.bytes_in)) {
                return Err(ImportError::Unreadable("the import was stopped".into(), 0));
            }
            let unreadable = |error: std::io::Error| ImportError::Unreadable(error.to_string(), 0);
            let programmes = gathered.spool.of_channel(number as u32).map_err(unreadable)?;
            let Some((channel, part)) =
                channel_row(&transaction, &options.source, &found.channel).map_err(failed)?
            else {
                report.note(Rule::ChannelOfAnother, 0, &found.channel.id);
                report.skipped += programmes.len() as u64;
                continue;
            };
            let slots = mend::schedule(&found.channel.id, programmes, report);
            let mut work = ChannelWork {
                conn: &transaction,
                channel,
                part: &part,
                rooms,
                now,
                report,
                lost: Losses::default(),
            };
            work.merge(&found.channel.id, &slots).map_err(failed)?;
            let lost = work.lost;
            losses.next_day.cancelled += lost.next_day.cancelled;
            losses.whole.add(lost.whole);
            let is_worse =
                losses.channel.as_ref().is_none_or(|(_, share)| lost.whole.cancelled > share.cancelled);
            if lost.whole.is_over(CHANNEL_MAX) && is_worse {
                losses.channel = Some((found.channel.id.clone(), lost.whole));
            }
        }
        report.rows_written = transaction.total_changes() - before;
        if let Some(fault) = losses.fault(&options.source).filter(|_| !options.force) {
            report.rows_written = 0;
            return Err(ImportError::Refused(fault));
        }
        if options.dry_run {
            return Ok(Outcome::Tried);
        }
        transaction.commit().map_err(failed)?;
        Ok(if report.rows_written == 0 { Outcome::Unchanged } else { Outcome::Applied })
    }
}

/// Airings of a source that begin within a day.
fn next_day(conn: &Connection, source: &str, now: i64) -> rusqlite::Result<i64> {
    let statement =
        "SELECT count(*) FROM airings WHERE channel IN (SELECT id FROM channels WHERE source = ?1)
                     AND start >= ?2 AND start < ?3 AND flags & 1 = 0";
    conn.query_row(statement, params![source, now, now + DAY], |row| row.get(0))
}

/// The row of a channel and its part of rooms' names; `None` when another source has it.
fn channel_row(
    conn: &Connection,
    source: &str,
    channel: &Channel,
) -> rusqlite::Result<Option<(i64, String)>> {
    let Channel { id, names, icon } = channel;
    let names = names.join("\n");
    let known = conn
        .prepare_cached("SELECT id, source, names, icon, part FROM channels WHERE name = ?1")?
        .query_row([id], |row| {
            Ok((
                row.get(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
                row.get(4)?,
            ))
        });
    let Some((row, owner, had_names, had_icon, part)) = known.optional()? else {
        let part = room::channel_part(id);
        let statement = "INSERT INTO channels (source, name, names, icon, part) VALUES (?1, ?2, ?3, ?4, ?5)";
        conn.prepare_cached(statement)?.execute(params![source, id, names, icon, part])?;
        return Ok(Some((conn.last_insert_rowid(), part)));
    };
    if owner != source {
        return Ok(None);
    }
    let is_told = !names.is_empty() || !icon.is_empty();
    if is_told && (had_names != names || had_icon != *icon) {
        let statement = "UPDATE channels SET names = ?2, icon = ?3 WHERE id = ?1";
        conn.prepare_cached(statement)?.execute(params![row, names, icon])?;
    }
    Ok(Some((row, part)))
}

/// The work on one channel.
struct ChannelWork<'a> {
    conn: &'a Connection,
    channel: i64,
    part: &'a str,
    rooms: &'a dyn RoomUse,
    now: i64,
    report: &'a mut Report,
    lost: Losses,
}

impl ChannelWork<'_> {
    fn merge(&mut self, id: &str, slots: &[Slot]) -> rusqlite::Result<()> {
        let (Some(first), Some(end)) = (slots.first(), slots.iter().map(|slot| slot.stop).max()) else {
            return Ok(());
        };
        let window = first.start..end;
        let hashes: Vec<i64> = slots.iter().map(|slot| rows::hash(&slot.show)).collect();
        if self.is_unchanged(&window, slots, &hashes)? {
            self.report.unchanged += slots.len() as u64;
            return Ok(());
        }
        let stored = self.load(window.start - BAND, window.end + BAND)?;
        let (cancelled, stored): (Vec<Stored>, Vec<Stored>) =
            stored.into_iter().partition(|airing| airing.flags & flags::CANCELLED != 0);
        let entry = |start, stop, show: &Show| Entry { start, stop, show: Prepared::new(show) };
        let entries = |stored: &[Stored]| -> Vec<Entry> {
            stored.iter().map(|airing| entry(airing.start, airing.stop, &airing.show)).collect()
        };
        let new: Vec<Entry> = slots.iter().map(|slot| entry(slot.start, slot.stop, &slot.show)).collect();
        let old_entries = entries(&stored);
        let mut pairs = align::align(&old_entries, &new);
        let mut is_left = vec![true; stored.len()];
        for (at, slot) in slots.iter().enumerate() {
            let Some(pair) = pairs[at] else { continue };
            let old = &stored[pair.old];
            let is_as_before = (old.start, old.stop) == (slot.start, slot.stop) && old.show == slot.show;
            let is_other = !is_as_before && !align::is_sure(&old_entries, &new, &pair, at);
            // A room that is in use keeps its show, unless the new one is the same.
            if is_other && self.rooms.is_used(&self.room(old)) {
                pairs[at] = None;
            } else {
                is_left[pair.old] = false;
            }
        }
        let back = if cancelled.is_empty() {
            vec![None; new.len()]
        } else {
            align::equal_nearby(&entries(&cancelled), &new, &pairs)
        };
        for (n, slot) in slots.iter().enumerate() {
            let old = pairs[n].map(|pair| &stored[pair.old]).or_else(|| back[n].map(|old| &cancelled[old]));
            match old {
                Some(old) => self.change(old, slot, hashes[n])?,
                None => self.insert(id, slot, hashes[n])?,
            }
        }
        for (old, is_left) in stored.iter().zip(is_left) {
            if window.contains(&old.start) {
                self.lost.whole.all += 1;
                if is_left {
                    self.leave(old)?;
                }
            }
        }
        Ok(())
    }

    fn room(&self, airing: &Stored) -> String {
        room::name(self.part, airing.first_start, airing.mark)
    }

    /// Whether the guide has exactly these airings in this time, and no other.
    fn is_unchanged(
        &self,
        window: &std::ops::Range<i64>,
        slots: &[Slot],
        hashes: &[i64],
    ) -> rusqlite::Result<bool> {
        let statement = "SELECT a.start, a.stop, a.flags, s.hash FROM airings a JOIN shows s ON s.id = a.show
                         WHERE a.channel = ?1 AND a.start >= ?2 AND a.start < ?3 AND a.flags & 1 = 0
                         ORDER BY a.start, a.id";
        let mut statement = self.conn.prepare_cached(statement)?;
        let mut found = statement.query(params![self.channel, window.start, window.end])?;
        for (slot, hash) in slots.iter().zip(hashes) {
            let Some(row) = found.next()? else { return Ok(false) };
            let stored = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            if stored != (slot.start, slot.stop, slot.flags, *hash) {
                return Ok(false);
            }
        }
        Ok(found.next()?.is_none())
    }

    fn load(&self, from: i64, to: i64) -> rusqlite::Result<Vec<Stored>> {
        let statement = format!(
            "SELECT a.id, a.start, a.stop, a.flags, a.first_start, a.mark, s.hash, {} FROM airings a
             JOIN shows s ON s.id = a.show WHERE a.channel = ?1 AND a.start >= ?2 AND a.start < ?3
             ORDER BY a.start, a.id",
            rows::COLUMNS
        );
        let mut statement = self.conn.prepare_cached(&statement)?;
        let found = statement.query_map(params![self.channel, from, to], |row| {
            Ok(Stored {
                id: row.get(0)?,
                start: row.get(1)?,
                stop: row.get(2)?,
                flags: row.get(3)?,
                first_start: row.get(4)?,
                mark: row.get(5)?,
                hash: row.get(6)?,
                show: rows::read(row, 7)?,
            })
        })?;
        found.collect()
    }

    /// The stored airing is the new one: its room stays.
    fn change(&mut self, old: &Stored, slot: &Slot, hash: i64) -> rusqlite::Result<()> {
        if (old.start, old.stop, old.flags, old.hash) == (slot.start, slot.stop, slot.flags, hash) {
            self.report.unchanged += 1;
            return Ok(());
        }
        let show = rows::id(self.conn, &slot.show, hash)?;
        let statement = "UPDATE airings SET start = ?2, stop = ?3, flags = ?4, show = ?5 WHERE id = ?1";
        self.conn
            .prepare_cached(statement)?
            .execute(params![old.id, slot.start, slot.stop, slot.flags, show])?;
        self.report.changed += 1;
        Ok(())
    }

    fn insert(&mut self, channel: &str, slot: &Slot, hash: i64) -> rusqlite::Result<()> {
        let show = rows::id(self.conn, &slot.show, hash)?;
        let statement = "INSERT OR IGNORE INTO airings (channel, start, stop, show, flags, first_start, mark)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?2, ?6)";
        let mut statement = self.conn.prepare_cached(statement)?;
        let mut mark = room::mark(channel, &slot.show);
        // Another room has this name only if the same show began then and stays under another time.
        while statement.execute(params![self.channel, slot.start, slot.stop, show, slot.flags, mark])? == 0 {
            mark = room::next_mark(mark);
        }
        self.report.added += 1;
        Ok(())
    }

    /// The document shows this time and not this airing.
    fn leave(&mut self, old: &Stored) -> rusqlite::Result<()> {
        self.lost.whole.cancelled += 1;
        self.lost.next_day.cancelled += u64::from((self.now..self.now + DAY).contains(&old.start));
        let room = self.room(old);
        let bits = if self.rooms.is_used(&room) {
            self.report.note(Rule::RoomKeepsShow, 0, &format!("{room} {}", old.show.title));
            self.report.disagreeing += 1;
            old.flags | flags::DISAGREES
        } else {
            self.report.cancelled += 1;
            old.flags & !flags::DISAGREES | flags::CANCELLED
        };
        if bits != old.flags {
            let statement = "UPDATE airings SET flags = ?2 WHERE id = ?1";
            self.conn.prepare_cached(statement)?.execute(params![old.id, bits])?;
        }
        Ok(())
    }
}
