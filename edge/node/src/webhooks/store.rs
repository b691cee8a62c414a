//! The outbox: endpoints, messages, and which message each endpoint still has to get, in the node's database.
//!
//! Why a row for each endpoint and message: endpoints fail one by one, and each has its own place.
//! Invariants: a message is in the outbox before anything of it is sent, and leaves it when every endpoint
//! has it or an operator was told why not (a dead letter). A message has one id for all attempts. The
//! outbox is bounded: the oldest dead letters give way, and then new messages are refused.
//! Not here: when a message is sent (`lanes`, `schedule`), the file (`database`).

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use super::lanes::Delivery;
use super::signature::Secret;
use crate::database::Database;
use crate::events::{Event, Kind};

/// Endpoints of a node.
pub const ENDPOINTS_MAX: usize = 64;
/// Messages to endpoints that wait or are dead.
const DELIVERIES_MAX: i64 = 500_000;
/// Dead letters that give way at once.
const GIVE_WAY: i64 = 1_000;
/// How long a dead letter is kept.
const DEAD_KEPT_MS: u64 = 30 * 24 * 3_600_000;

const STEPS: &[&str] = &["
CREATE TABLE webhook_endpoints (
    id INTEGER PRIMARY KEY AUTOINCREMENT, url TEXT NOT NULL, kinds TEXT NOT NULL, room_prefix TEXT NOT NULL,
    secret TEXT NOT NULL, secret_before TEXT, created_ms INTEGER NOT NULL, disabled TEXT,
    failures INTEGER NOT NULL DEFAULT 0, last_failure TEXT, last_failure_ms INTEGER, last_success_ms INTEGER
) STRICT;
CREATE TABLE webhook_messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, room TEXT NOT NULL, kind TEXT NOT NULL,
    body TEXT NOT NULL, told_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE webhook_deliveries (
    endpoint INTEGER NOT NULL REFERENCES webhook_endpoints (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL REFERENCES webhook_messages (seq) ON DELETE CASCADE,
    attempts INTEGER NOT NULL DEFAULT 0, due_ms INTEGER NOT NULL, dead_ms INTEGER, why TEXT,
    PRIMARY KEY (endpoint, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_deliveries_by_message ON webhook_deliveries (seq);
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (dead_ms) WHERE dead_ms IS NOT NULL;
"];

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its number.
    pub id: i64,
    /// Its address.
    pub url: String,
    /// Names of events that it gets; none: all.
    pub kinds: Vec<String>,
    /// It gets events of rooms whose names begin so, and, where this is empty, those of the node.
    pub room_prefix: String,
    /// What messages are signed with, the newest first: one or two.
    pub secrets: Vec<Secret>,
    /// Why nothing is sent to it; `None`: it is in use.
    pub disabled: Option<String>,
    /// Attempts that failed since the last one that did not.
    pub failures: i64,
    /// The last failure, in words, and when that was.
    pub last_failure: Option<(String, i64)>,
    /// When it last took a message, in milliseconds since 1970.
    pub last_success_ms: Option<i64>,
}

impl Endpoint {
    fn wants(&self, event: &Event) -> bool {
        let of_room = event
            .room
            .as_deref()
            .map_or(self.room_prefix.is_empty(), |room| room.starts_with(&self.room_prefix));
        let of_kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == event.kind.name());
        self.disabled.is_none() && of_room && of_kind && event.kind != Kind::WebhookTest
    }

    /// As an operator sees it; never its secrets.
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "url": self.url,
            "events": self.kinds,
            "room_prefix": self.room_prefix,
            "disabled": self.disabled,
            "secrets": self.secrets.len(),
            "failures": self.failures,
            "last_failure": self.last_failure.as_ref().map(|(why, _)| why),
            "last_failure_ms": self.last_failure.as_ref().map(|(_, at)| at),
            "last_success_ms": self.last_success_ms,
        })
    }
}

/// A message that an endpoint did not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id.
    pub id: String,
    /// What happened.
    pub kind: String,
    /// In which room; empty: none.
    pub room: String,
    /// Why it was given up.
    pub why: String,
    /// When that was, in milliseconds since 1970.
    pub dead_ms: i64,
}

/// What became of a message at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Delivered,
    Retry { due_ms: u64, why: String },
    Dead { why: String },
    Gone,
}

/// See the file's head.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    rows: i64,
}

impl Store {
    /// The outbox of this database.
    ///
    /// # Errors
    /// In a sentence: it cannot be used.
    pub fn open(database: &Database) -> Result<Store, String> {
        let connection = database.connect("webhooks", STEPS)?;
        let rows = connection.query_row("SELECT count(*) FROM webhook_deliveries", [], |row| row.get(0));
        Ok(Store { rows: rows.map_err(fault)?, connection })
    }

    /// A number that another one's change changes.
    pub(super) fn version(&self) -> Result<i64, String> {
        self.connection.query_row("PRAGMA data_version", [], |row| row.get(0)).map_err(fault)
    }

    /// All endpoints.
    ///
    /// # Errors
    /// The database cannot be read; as of every function here.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, String> {
        let sql = "SELECT id, url, kinds, room_prefix, secret, secret_before, disabled, failures, last_failure, \
                   last_failure_ms, last_success_ms FROM webhook_endpoints ORDER BY id";
        let mut all = self.connection.prepare(sql).map_err(fault)?;
        let rows = all.query_map([], endpoint).map_err(fault)?;
        rows.collect::<Result<_, _>>().map_err(fault)
    }

    /// A new endpoint. Returns it.
    ///
    /// # Errors
    /// There are [`ENDPOINTS_MAX`] already.
    pub fn add(
        &self,
        now_ms: u64,
        url: &str,
        kinds: &[String],
        room_prefix: &str,
        secret: &Secret,
    ) -> Result<Endpoint, String> {
        if self.endpoints()?.len() >= ENDPOINTS_MAX {
            return Err(format!("there are {ENDPOINTS_MAX} endpoints already: remove one"));
        }
        let sql = "INSERT INTO webhook_endpoints (url, kinds, room_prefix, secret, created_ms) \
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let kinds = kinds.join(",");
        let row = params![url, kinds, room_prefix, secret.written(), now_ms as i64];
        self.connection.execute(sql, row).map_err(fault)?;
        let id = self.connection.last_insert_rowid();
        self.endpoint(id)?.ok_or_else(|| "it is gone".to_owned())
    }

    /// The endpoint of this number.
    pub fn endpoint(&self, id: i64) -> Result<Option<Endpoint>, String> {
        Ok(self.endpoints()?.into_iter().find(|endpoint| endpoint.id == id))
    }

    /// Forget an endpoint and what it has not got. Whether there was one.
    pub fn remove(&mut self, id: i64) -> Result<bool, String> {
        let change = self.connection.transaction().map_err(fault)?;
        let is_there =
            change.execute("DELETE FROM webhook_endpoints WHERE id = ?1", [id]).map_err(fault)? > 0;
        change.execute(UNREFERENCED, []).map_err(fault)?;
        change.commit().map_err(fault)?;
        self.count()?;
        Ok(is_there)
    }

    /// A new secret; the one before is good beside it until the next change. Whether there is such an
    /// endpoint.
    pub fn change_secret(&self, id: i64, secret: &Secret) -> Result<bool, String> {
        let sql = "UPDATE webhook_endpoints SET secret_before = secret, secret = ?2 WHERE id = ?1";
        Ok(self.connection.execute(sql, params![id, secret.written()]).map_err(fault)? > 0)
    }

    /// Send nothing to an endpoint, for this reason; or use it again. Whether there is one.
    pub fn disable(&self, id: i64, why: Option<&str>) -> Result<bool, String> {
        let sql = "UPDATE webhook_endpoints SET disabled = ?2 WHERE id = ?1";
        Ok(self.connection.execute(sql, params![id, why]).map_err(fault)? > 0)
    }

    /// Put events into the outbox, each for every endpoint that wants it, all or none. Returns what is to be
    /// sent, in order, and how many events had no place.
    pub(super) fn put(
        &mut self,
        now_ms: u64,
        events: &[&Event],
        endpoints: &[Endpoint],
    ) -> Result<(Vec<Delivery>, u64), String> {
        let wanted =
            |event: &Event| endpoints.iter().filter(|one| one.wants(event)).map(|one| one.id).collect();
        let all: Vec<(&Event, Vec<i64>)> = events.iter().map(|event| (*event, wanted(event))).collect();
        self.put_for(now_ms, &all)
    }

    /// Put a test into the outbox of one endpoint.
    pub fn put_test(&mut self, now_ms: u64, endpoint: i64) -> Result<(), String> {
        let data = json!({ "endpoint": endpoint.to_string() });
        let event = Event { kind: Kind::WebhookTest, room: None, data };
        self.put_for(now_ms, &[(&event, vec![endpoint])]).map(drop)
    }

    fn put_for(&mut self, now_ms: u64, all: &[(&Event, Vec<i64>)]) -> Result<(Vec<Delivery>, u64), String> {
        let new: i64 = all.iter().map(|(_, endpoints)| endpoints.len() as i64).sum();
        if new == 0 {
            return Ok((Vec::new(), 0));
        }
        if self.rows + new > DELIVERIES_MAX {
            self.bury(GIVE_WAY.max(new))?;
        }
        let (mut deliveries, mut refused) = (Vec::new(), 0);
        let (mut rows, change) = (self.rows, self.connection.transaction().map_err(fault)?);
        for (event, endpoints) in all {
            if endpoints.is_empty() {
                continue;
            }
            if rows + endpoints.len() as i64 > DELIVERIES_MAX {
                refused += 1;
                continue;
            }
            let room: Arc<str> = event.room.as_deref().unwrap_or_default().into();
            let (id, body) = (new_id()?, body(event, now_ms));
            let sql =
                "INSERT INTO webhook_messages (id, room, kind, body, told_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = change.prepare(sql).map_err(fault)?;
            insert.execute(params![id, &*room, event.kind.name(), body, now_ms as i64]).map_err(fault)?;
            let seq = change.last_insert_rowid();
            let sql = "INSERT INTO webhook_deliveries (endpoint, seq, due_ms) VALUES (?1, ?2, ?3)";
            let mut insert = change.prepare(sql).map_err(fault)?;
            for &endpoint in endpoints {
                insert.execute(params![endpoint, seq, now_ms as i64]).map_err(fault)?;
                deliveries.push(Delivery { endpoint, room: room.clone(), seq, attempts: 0 });
                rows += 1;
            }
        }
        change.commit().map_err(fault)?;
        self.rows = rows;
        Ok((deliveries, refused))
    }

    /// What is to be sent, oldest first, each with its time.
    pub(super) fn waiting(&self) -> Result<Vec<(Delivery, u64)>, String> {
        let sql = "SELECT d.endpoint, m.room, d.seq, d.attempts, d.due_ms \
                   FROM webhook_deliveries d JOIN webhook_messages m USING (seq) \
                   JOIN webhook_endpoints e ON e.id = d.endpoint \
                   WHERE d.dead_ms IS NULL AND e.disabled IS NULL ORDER BY d.seq";
        let mut rooms: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let mut all = self.connection.prepare(sql).map_err(fault)?;
        let mut rows = all.query([]).map_err(fault)?;
        let mut waiting = Vec::new();
        while let Some(row) = rows.next().map_err(fault)? {
            let room: String = row.get(1).map_err(fault)?;
            let room = rooms.entry(room).or_insert_with_key(|room| room.as_str().into()).clone();
            let number = |at| row.get::<_, i64>(at).map_err(fault);
            let delivery =
                Delivery { endpoint: number(0)?, room, seq: number(2)?, attempts: number(3)? as u32 };
            waiting.push((delivery, number(4)? as u64));
        }
        Ok(waiting)
    }

    /// The id and the body of a message.
    pub(super) fn message(&self, seq: i64) -> Result<Option<(String, String)>, String> {
        let sql = "SELECT id, body FROM webhook_messages WHERE seq = ?1";
        let mut one = self.connection.prepare(sql).map_err(fault)?;
        one.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(fault)
    }

    /// What became of messages, all or none.
    pub(super) fn record(&mut self, now_ms: u64, all: &[(Delivery, Ended)]) -> Result<(), String> {
        let now_ms = now_ms as i64;
        let change = self.connection.transaction().map_err(fault)?;
        let mut removed = 0;
        for (Delivery { endpoint, seq, .. }, ended) in all {
            let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
                change.prepare(sql).and_then(|mut one| one.execute(values)).map_err(fault)
            };
            match ended {
                Ended::Delivered => {
                    removed += run(DELIVERED, params![endpoint, seq])? as i64;
                    run(LAST_REFERENCE, params![seq])?;
                    run(SUCCESS, params![endpoint, now_ms])?;
                }
                Ended::Retry { due_ms, why } => {
                    run(RETRY, params![endpoint, seq, *due_ms as i64, why])?;
                    run(FAILURE, params![endpoint, why, now_ms])?;
                }
                Ended::Dead { why } => {
                    run(DEAD, params![endpoint, seq, now_ms, why])?;
                    run(FAILURE, params![endpoint, why, now_ms])?;
                }
                Ended::Gone => {
                    let why = "the endpoint answered 410: it is gone";
                    run(FAILURE, params![endpoint, why, now_ms])?;
                    run("UPDATE webhook_endpoints SET disabled = ?2 WHERE id = ?1", params![endpoint, why])?;
                    run(ALL_DEAD, params![endpoint, now_ms, why])?;
                }
            }
        }
        change.commit().map_err(fault)?;
        self.rows -= removed;
        Ok(())
    }

    /// Messages that an endpoint did not get, the newest first.
    pub fn dead(&self, endpoint: i64, limit: usize) -> Result<Vec<DeadLetter>, String> {
        let sql = "SELECT m.id, m.kind, m.room, d.why, d.dead_ms \
                   FROM webhook_deliveries d JOIN webhook_messages m USING (seq) \
                   WHERE d.endpoint = ?1 AND d.dead_ms IS NOT NULL ORDER BY d.seq DESC LIMIT ?2";
        let mut all = self.connection.prepare(sql).map_err(fault)?;
        let letter = |row: &Row<'_>| {
            let why = row.get::<_, Option<String>>(3)?.unwrap_or_default();
            Ok(DeadLetter {
                id: row.get(0)?,
                kind: row.get(1)?,
                room: row.get(2)?,
                why,
                dead_ms: row.get(4)?,
            })
        };
        let rows = all.query_map(params![endpoint, limit as i64], letter).map_err(fault)?;
        rows.collect::<Result<_, _>>().map_err(fault)
    }

    /// Send dead letters of an endpoint again, all or the one with this id. A disabled endpoint is used
    /// again. Returns how many.
    pub fn replay(&mut self, now_ms: u64, endpoint: i64, id: Option<&str>) -> Result<usize, String> {
        let change = self.connection.transaction().map_err(fault)?;
        let sql = "UPDATE webhook_deliveries SET dead_ms = NULL, attempts = 0, due_ms = ?2 \
                   WHERE endpoint = ?1 AND dead_ms IS NOT NULL \
                   AND (?3 IS NULL OR seq = (SELECT seq FROM webhook_messages WHERE id = ?3))";
        let count = change.execute(sql, params![endpoint, now_ms as i64, id]).map_err(fault)?;
        change
            .execute("UPDATE webhook_endpoints SET disabled = NULL WHERE id = ?1", [endpoint])
            .map_err(fault)?;
        change.commit().map_err(fault)?;
        Ok(count)
    }

    /// How many messages wait, and how many are dead letters.
    pub fn counts(&self) -> Result<(i64, i64), String> {
        let sql = "SELECT count(*) - count(dead_ms), count(dead_ms) FROM webhook_deliveries";
        self.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(fault)
    }

    /// Forget dead letters that are too old.
    pub(super) fn forget_old(&mut self, now_ms: u64) -> Result<(), String> {
        let before = now_ms.saturating_sub(DEAD_KEPT_MS) as i64;
        let change = self.connection.transaction().map_err(fault)?;
        change.execute("DELETE FROM webhook_deliveries WHERE dead_ms < ?1", [before]).map_err(fault)?;
        change.execute(UNREFERENCED, []).map_err(fault)?;
        change.commit().map_err(fault)?;
        self.count()
    }

    /// Forget the oldest dead letters, for new messages.
    fn bury(&mut self, count: i64) -> Result<(), String> {
        let sql = "DELETE FROM webhook_deliveries WHERE (endpoint, seq) IN (SELECT endpoint, seq \
                   FROM webhook_deliveries WHERE dead_ms IS NOT NULL ORDER BY dead_ms LIMIT ?1)";
        let buried = self.connection.execute(sql, [count]).map_err(fault)?;
        if buried > 0 {
            self.connection.execute(UNREFERENCED, []).map_err(fault)?;
            tracing::warn!(buried, "the outbox of webhooks is full: its oldest dead letters gave way");
        }
        self.count()
    }

    fn count(&mut self) -> Result<(), String> {
        let sql = "SELECT count(*) FROM webhook_deliveries";
        self.rows = self.connection.query_row(sql, [], |row| row.get(0)).map_err(fault)?;
        Ok(())
    }
}

const DELIVERED: &str = "DELETE FROM webhook_deliveries WHERE endpoint = ?1 AND seq = ?2";
const LAST_REFERENCE: &str = "DELETE FROM webhook_messages WHERE seq = ?1 \
    AND NOT EXISTS (SELECT 1 FROM webhook_deliveries WHERE seq = ?1)";
const UNREFERENCED: &str =
    "DELETE FROM webhook_messages WHERE seq NOT IN (SELECT seq FROM webhook_deliveries)";
const SUCCESS: &str = "UPDATE webhook_endpoints SET failures = 0, last_success_ms = ?2 WHERE id = ?1";
const FAILURE: &str = "UPDATE webhook_endpoints SET failures = failures + 1, last_failure = ?2, \
    last_failure_ms = ?3 WHERE id = ?1";
const RETRY: &str = "UPDATE webhook_deliveries SET attempts = attempts + 1, due_ms = ?3, why = ?4 \
    WHERE endpoint = ?1 AND seq = ?2 AND dead_ms IS NULL";
const DEAD: &str = "UPDATE webhook_deliveries SET attempts = attempts + 1, dead_ms = ?3, why = ?4 \
    WHERE endpoint = ?1 AND seq = ?2";
const ALL_DEAD: &str = "UPDATE webhook_deliveries SET dead_ms = ?2, why = ?3 \
    WHERE endpoint = ?1 AND dead_ms IS NULL";

fn endpoint(row: &Row<'_>) -> rusqlite::Result<Endpoint> {
    let kinds: String = row.get(2)?;
    let kinds = kinds.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
    let written = [Some(row.get::<_, String>(4)?), row.get(5)?];
    // What this program wrote, it reads; a message without a signature would be refused everywhere.
    let secrets = written.into_iter().flatten().filter_map(|text| Secret::read(&text).ok()).collect();
    let last_failure: Option<String> = row.get(8)?;
    let last_failure_ms: Option<i64> = row.get(9)?;
    Ok(Endpoint {
        id: row.get(0)?,
        url: row.get(1)?,
        kinds,
        room_prefix: row.get(3)?,
        secrets,
        disabled: row.get(6)?,
        failures: row.get(7)?,
        last_failure: last_failure.zip(last_failure_ms),
        last_success_ms: row.get(10)?,
    })
}

/// What an application gets: `type`, `timestamp` and `data`.
fn body(event: &Event, now_ms: u64) -> String {
    let mut data = event.data.clone();
    if let (Some(room), Some(data)) = (&event.room, data.as_object_mut()) {
        data.insert("room".to_owned(), Value::from(&**room));
    }
    json!({ "type": event.kind.name(), "timestamp": written_time(now_ms), "data": data }).to_string()
}

/// RFC 3339, in UTC.
fn written_time(unix_ms: u64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp_nanos(nanos) else { return String::new() };
    let (date, hour, minute, second, ms) = (at.date(), at.hour(), at.minute(), at.second(), at.millisecond());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn new_id() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("the kernel gives no random bytes: {error}"))?;
    Ok(format!("msg_{:032x}", u128::from_le_bytes(bytes)))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn fault(error: rusqlite::Error) -> String {
    format!("the outbox of webhooks: {error}")
}
