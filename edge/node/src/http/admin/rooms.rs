//! Rooms: the admin endpoints of rooms.
//!
//! Invariant: names and keys come percent-encoded and may be any UTF-8; the engine decides whether they are
//! valid.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use grandstand_engine::link::{AdminRequest, RoomInfo};
use grandstand_engine::{RoomSettings, check_reserved};
use grandstand_protocol::frame::{Durability, Phase};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Port, Shared};
use crate::events::{Event, Kind};
use crate::http::request::{bytes, json as body_json, path};
use crate::http::response::Failure;

/// Rooms of a page, unless the request gives a limit.
const LIMIT: usize = 100;
/// The most rooms of a page: some 300 KB of JSON.
const LIMIT_MAX: usize = 1_000;

const RESERVED_HINT: &str = "PUT state/gs.slow_ms with the milliseconds of slow mode, such as 5000; DELETE it to return to rooms.slow_mode_ms; modes take 1 or 0";

type Answer = Result<Json<Value>, Failure>;
type Name = Result<Path<String>, PathRejection>;

/// Which rooms to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

/// The body of `POST /rooms`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRoom {
    name: String,
    durability: Option<NewDurability>,
}

/// The body of `PUT /rooms/{name}/settings`. For a field that is left out or null, the node's configuration
/// takes effect.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewSettings {
    tick_min_ms: Option<u32>,
    tick_max_ms: Option<u32>,
    pacing_per_s: Option<u32>,
    durability: Option<NewDurability>,
}

/// Where a room's log is kept.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NewDurability {
    Memory,
    Disk,
    Replicated,
}

impl From<NewDurability> for Durability {
    fn from(wanted: NewDurability) -> Durability {
        match wanted {
            NewDurability::Memory => Durability::Memory,
            NewDurability::Disk => Durability::Disk,
            NewDurability::Replicated => Durability::Replicated,
        }
    }
}

pub(super) async fn list(State(port): Shared, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer {
    let Query(wanted) = wanted.map_err(|error| {
        Failure::bad_request(
            error.body_text(),
            "the query takes prefix, after and limit (a number up to 1000)",
        )
    })?;
    let limit = wanted.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let (rooms, more) = port.shards.list(wanted.prefix, wanted.after, limit).await?;
    let next = rooms.last().filter(|_| more).map(|last| last.name.clone());
    Ok(Json(json!({ "rooms": rooms.iter().map(room).collect::<Vec<_>>(), "next": next })))
}

pub(super) async fn create(State(port): Shared, body: Result<Bytes, BytesRejection>) -> Answer {
    let wanted: NewRoom = body_json(
        body,
        r#"send {"name":"show-1"}, with "durability":"memory", "disk" or "replicated" if you like"#,
    )?;
    let durability = wanted.durability.map(Durability::from);
    check_durability(&port, durability)?;
    let settings = RoomSettings { durability, ..RoomSettings::default() };
    port.change_and_tell(Kind::RoomOpened, &wanted.name, |room| AdminRequest::Create { room, settings }).await
}

/// A node without a log can keep no room on disk, and only a cluster can replicate one.
fn check_durability(port: &Port, wanted: Option<Durability>) -> Result<(), Failure> {
    let (error, hint) = match (wanted, port.cluster.is_some()) {
        (Some(Durability::Disk), true) => (
            "rooms of a cluster are memory or replicated",
            "say \"replicated\": the log of a cluster is on its servers' disks; or leave the durability out",
        ),
        (Some(Durability::Disk), false) if port.store.is_none() => (
            "this node keeps nothing on disk",
            "give it a folder for its log (log.dir) and restart it, or leave the durability out",
        ),
        (Some(Durability::Replicated), false) => (
            "this node stands alone and replicates nothing",
            "say \"disk\", or make a cluster: see cluster.name",
        ),
        _ => return Ok(()),
    };
    Err(Failure::new(StatusCode::CONFLICT, error, hint))
}

/// Replace all settings of a room.
pub(super) async fn configure(
    State(port): Shared,
    name: Name,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let hint = r#"send {"tick_min_ms":50,"tick_max_ms":500}; equal ones are a fixed tick, {} returns to the node's settings"#;
    let wanted: NewSettings = body_json(body, hint)?;
    let settings = RoomSettings {
        tick_min_ms: wanted.tick_min_ms,
        tick_max_ms: wanted.tick_max_ms,
        pacing_per_s: wanted.pacing_per_s,
        durability: wanted.durability.map(Durability::from),
    };
    settings.check().map_err(|fault| Failure::bad_request(fault, hint))?;
    check_durability(&port, settings.durability)?;
    port.change(&path(name)?, |room| AdminRequest::Configure { room, settings }).await
}

pub(super) async fn show(State(port): Shared, name: Name) -> Answer {
    let found = port.shards.find(&path(name)?).await?;
    Ok(Json(room(&found)))
}

pub(super) async fn open(State(port): Shared, name: Name) -> Answer {
    port.change_and_tell(Kind::RoomOpened, &path(name)?, |room| AdminRequest::Open { room }).await
}

pub(super) async fn close(State(port): Shared, name: Name) -> Answer {
    port.change_and_tell(Kind::RoomClosed, &path(name)?, |room| AdminRequest::Close { room }).await
}

pub(super) async fn remove(State(port): Shared, name: Name) -> Answer {
    port.change_and_tell(Kind::RoomClosed, &path(name)?, |room| AdminRequest::Remove { room }).await
}

pub(super) async fn set_state(
    State(port): Shared,
    at: Result<Path<(String, String)>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let (name, key) = path(at)?;
    let value = Some(bytes(body)?.to_vec());
    check_reserved(&key, value.as_deref()).map_err(|fault| Failure::bad_request(fault, RESERVED_HINT))?;
    port.change(&name, |room| AdminRequest::SetState { room, key, value }).await
}

pub(super) async fn remove_state(
    State(port): Shared,
    at: Result<Path<(String, String)>, PathRejection>,
) -> Answer {
    let (name, key) = path(at)?;
    check_reserved(&key, None).map_err(|fault| Failure::bad_request(fault, RESERVED_HINT))?;
    port.change(&name, |room| AdminRequest::SetState { room, key, value: None }).await
}

impl Port {
    /// Change a room, and answer with its state afterwards.
    async fn change(&self, name: &str, request: impl FnOnce(String) -> AdminRequest) -> Answer {
        Ok(Json(room(&self.shards.change(name, request).await?)))
    }
}

impl Port {
    /// The same, and tell applications of it before it is answered.
    async fn change_and_tell(
        &self,
        kind: Kind,
        name: &str,
        request: impl FnOnce(String) -> AdminRequest,
    ) -> Answer {
        let answer = self.change(name, request).await?;
        let data = json!({ "phase": answer.0["phase"] });
        // A fault of the outbox is in the log and in the numbers; the room has changed all the same.
        let _ = self.events.told(Event { kind, room: Some(name.into()), data }).await;
        Ok(answer)
    }
}

/// A room as JSON. The epoch is a string, since it may exceed the integers that JSON readers keep exactly.
fn room(info: &RoomInfo) -> Value {
    json!({
        "name": info.name,
        "alias": info.alias.0,
        "epoch": info.epoch.to_string(),
        "phase": phase(info.phase),
        "next_offset": info.next_offset,
        "oldest_offset": info.oldest_offset,
        "viewers": info.viewers,
        "history_bytes": info.history_bytes,
        "state_version": info.state_version,
        "tick_ms": info.tick_ms,
        "durability": durability(info.durability),
        "settings": settings(&info.settings),
    })
}

/// A setting that is not set is `null`: the node's configuration takes effect.
fn settings(settings: &RoomSettings) -> Value {
    json!({
        "tick_min_ms": settings.tick_min_ms,
        "tick_max_ms": settings.tick_max_ms,
        "pacing_per_s": settings.pacing_per_s,
        "durability": settings.durability.map(durability),
    })
}

pub(super) fn durability(level: Durability) -> &'static str {
    match level {
        Durability::Memory => "memory",
        Durability::Disk => "disk",
        Durability::Replicated => "replicated",
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Closing => "closing",
        Phase::Closed => "closed",
        Phase::PreShow => "pre_show",
    }
}
