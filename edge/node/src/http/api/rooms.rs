//! Rooms: list, make, show, configure, open, close and remove them.
//!
//! Invariants: pages are in order of name, so a room that comes or goes meanwhile is never the cause that
//! another one is missed. A room of the answer is the room after the change.
//! Not here: what a room does (`grandstand_engine`), its messages and its state (the other files).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use grandstand_engine::RoomSettings;
use grandstand_engine::link::{AdminRequest, RoomInfo};
use grandstand_protocol::frame::{Durability, Phase};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::values::{RoomName, RoomPrefix, Whole, cursor, of_query};
use super::{Api, Shared};
use crate::events::{Event, Kind};
use crate::http::extract::{Json, Path, Query};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

/// Rooms of a page, unless the request gives a limit.
const LIMIT: usize = 100;

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, remove))
        .routes(routes!(configure))
        .routes(routes!(open))
        .routes(routes!(close))
}

/// Where a room's log is kept.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum DurabilityLevel {
    /// In memory: lost with the process.
    Memory,
    /// On disk: acknowledged when synced.
    Disk,
    /// On the cluster's servers: acknowledged when a majority has synced it.
    Replicated,
}

/// A room.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Room {
    /// Its name.
    name: String,
    /// The epoch of its log: a text, since it may exceed the integers that JSON readers keep.
    epoch: String,
    /// `pre_show`, `open`, `closing` or `closed`.
    phase: &'static str,
    /// The offset of the next message: the number of messages that it ever accepted.
    next_offset: u64,
    /// The oldest offset that is kept.
    oldest_offset: u64,
    /// How many viewers it has, at all nodes.
    viewers: u64,
    /// The version of its state.
    state_version: u64,
    /// Where its log is kept.
    durability: DurabilityLevel,
    /// Its own settings; null: the node's configuration takes effect.
    settings: Settings,
}

/// A room's own settings. For one that is null, the node's configuration takes effect.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct Settings {
    /// The shortest time between two batches, in milliseconds.
    tick_min_ms: Option<u32>,
    /// The longest time between two batches, in milliseconds.
    tick_max_ms: Option<u32>,
    /// The most messages a second that are shown.
    pacing_per_s: Option<u32>,
    /// Where its log is kept.
    durability: Option<DurabilityLevel>,
}

/// Settings that a room is to have. For one that is left out or null, the node's configuration takes effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSettings {
    /// The shortest time between two batches, in milliseconds; not over `tick_max_ms`.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    tick_min_ms: Option<Whole<1, 10_000>>,
    /// The longest time between two batches, in milliseconds.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    tick_max_ms: Option<Whole<1, 10_000>>,
    /// The most messages a second that are shown; 0: no bound.
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 1_000_000)]
    pacing_per_s: Option<Whole<0, 1_000_000>>,
    /// Where its log is kept.
    durability: Option<DurabilityLevel>,
}

/// A page of rooms.
#[derive(Debug, Serialize, ToSchema)]
struct Rooms {
    rooms: Vec<Room>,
    /// The `cursor` of the next page; null: this was the last one.
    next: Option<String>,
}

/// Which rooms to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The beginning of their names.
    #[param(value_type = Option<RoomPrefix>)]
    prefix: Option<RoomPrefix>,
    /// `next` of the page before.
    #[param(value_type = Option<String>, format = "cursor")]
    cursor: Option<String>,
    /// Rooms of a page.
    #[serde(default, deserialize_with = "of_query")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000)]
    limit: Option<Whole<1, 1_000>>,
}

/// A room that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRoom {
    /// Its name.
    name: RoomName,
    /// Where its log is kept.
    durability: Option<DurabilityLevel>,
}

/// List rooms, in order of name
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms", operation_id = "rooms_list", params(ListQuery),
    responses((status = 200, description = "A page of rooms. `Link` has the next one.", body = Rooms)))]
async fn list(
    grant: Grant<{ needs::ROOMS_READ }>,
    State(api): Shared,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let own = &grant.key().room_prefix;
    let asked = query.prefix.map_or_else(String::new, |prefix| prefix.0);
    // Of a key for some rooms, all are those.
    let prefix = if own.starts_with(&asked) { own.clone() } else { asked.clone() };
    grant.for_room(&prefix)?;
    let after = query.cursor.as_deref().map(cursor::decode).transpose()?.unwrap_or_default();
    let limit = query.limit.map_or(LIMIT, |limit| limit.0 as usize);
    let (rooms, more) = api.shards.list(prefix, after, limit).await?;
    let next = rooms.last().filter(|_| more).map(|last| cursor::encode(&last.name));
    let link = next.as_ref().map(|next| {
        let prefix = if asked.is_empty() { String::new() } else { format!("prefix={}&", percent(&asked)) };
        format!("</v1/rooms?{prefix}limit={limit}&cursor={next}>; rel=\"next\"")
    });
    let page = Rooms { rooms: rooms.iter().map(Room::of).collect(), next };
    Ok((link.map(|link| [(header::LINK, link)]), axum::Json(page)).into_response())
}

/// Make a room, or find it
#[utoipa::path(post, path = "/v1/rooms", tag = "rooms", operation_id = "rooms_create", request_body = NewRoom,
    responses((status = 200, description = "The room, made or found.", body = Room)))]
async fn create(
    grant: Grant<{ needs::ROOMS_WRITE }>,
    State(api): Shared,
    Json(new): Json<NewRoom>,
) -> Result<axum::Json<Room>, Problem> {
    grant.for_room(&new.name.0)?;
    let durability = new.durability.map(Durability::from);
    api.check_durability(durability)?;
    let settings = RoomSettings { durability, ..RoomSettings::default() };
    api.change(&new.name.0, |room| AdminRequest::Create { room, settings }).await
}

/// Show a room
#[utoipa::path(get, path = "/v1/rooms/{room}", tag = "rooms", operation_id = "rooms_show",
    params(("room" = RoomName, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "The room.", body = Room)))]
async fn show(
    grant: Grant<{ needs::ROOMS_READ }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
) -> Result<axum::Json<Room>, Problem> {
    grant.for_room(&room.0)?;
    Ok(axum::Json(Room::of(&api.shards.find(&room.0).await?)))
}

/// Give a room settings of its own
///
/// They replace all its earlier ones.
#[utoipa::path(put, path = "/v1/rooms/{room}/settings", tag = "rooms", operation_id = "rooms_configure",
    params(("room" = RoomName, Path, description = "Its name, percent-encoded.")), request_body = NewSettings,
    responses((status = 200, description = "The room.", body = Room)))]
async fn configure(
    grant: Grant<{ needs::ROOMS_WRITE }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
    Json(wanted): Json<NewSettings>,
) -> Result<axum::Json<Room>, Problem> {
    grant.for_room(&room.0)?;
    let settings = RoomSettings {
        tick_min_ms: wanted.tick_min_ms.map(Whole::as_u32),
        tick_max_ms: wanted.tick_max_ms.map(Whole::as_u32),
        pacing_per_s: wanted.pacing_per_s.map(Whole::as_u32),
        durability: wanted.durability.map(Durability::from),
    };
    let contradiction = |fault| Problem::new(StatusCode::CONFLICT, "Contradiction", fault);
    settings.check().map_err(contradiction)?;
    api.check_durability(settings.durability)?;
    api.change(&room.0, |room| AdminRequest::Configure { room, settings }).await
}

/// Open a room: it takes messages (again)
#[utoipa::path(post, path = "/v1/rooms/{room}/open", tag = "rooms", operation_id = "rooms_open",
    params(("room" = RoomName, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "The room.", body = Room)))]
async fn open(
    grant: Grant<{ needs::ROOMS_WRITE }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
) -> Result<axum::Json<Room>, Problem> {
    grant.for_room(&room.0)?;
    api.change_and_tell(Kind::RoomOpened, &room.0, |room| AdminRequest::Open { room }).await
}

/// Close a room: it takes no more messages, and viewers stay
#[utoipa::path(post, path = "/v1/rooms/{room}/close", tag = "rooms", operation_id = "rooms_close",
    params(("room" = RoomName, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "The room.", body = Room)))]
async fn close(
    grant: Grant<{ needs::ROOMS_WRITE }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
) -> Result<axum::Json<Room>, Problem> {
    grant.for_room(&room.0)?;
    api.change_and_tell(Kind::RoomClosed, &room.0, |room| AdminRequest::Close { room }).await
}

/// Remove a room: its log is forgotten, and its viewers leave
#[utoipa::path(delete, path = "/v1/rooms/{room}", tag = "rooms", operation_id = "rooms_remove",
    params(("room" = RoomName, Path, description = "Its name, percent-encoded.")),
    responses((status = 204, description = "It is gone.")))]
async fn remove(
    grant: Grant<{ needs::ROOMS_WRITE }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
) -> Result<StatusCode, Problem> {
    grant.for_room(&room.0)?;
    api.shards.change(&room.0, |room| AdminRequest::Remove { room }).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    pub(super) async fn change(
        &self,
        name: &str,
        request: impl FnOnce(String) -> AdminRequest,
    ) -> Result<axum::Json<Room>, Problem> {
        Ok(axum::Json(Room::of(&self.shards.change(name, request).await?)))
    }

    /// The same, and tell applications of it before it is answered.
    async fn change_and_tell(
        &self,
        kind: Kind,
        name: &str,
        request: impl FnOnce(String) -> AdminRequest,
    ) -> Result<axum::Json<Room>, Problem> {
        let room = self.change(name, request).await?;
        let data = serde_json::json!({ "phase": room.0.phase });
        // A fault of the outbox is in the log and in the numbers; the room has changed all the same.
        let _ = self.events.told(Event { kind, room: Some(name.into()), data }).await;
        Ok(room)
    }

    /// A node without a log can keep no room on disk, and only a cluster can replicate one.
    fn check_durability(&self, wanted: Option<Durability>) -> Result<(), Problem> {
        let detail = match (wanted, self.cluster.is_some()) {
            (Some(Durability::Disk), true) => "rooms of a cluster are memory or replicated",
            (Some(Durability::Disk), false) if self.store.is_none() => {
                "this node keeps nothing on disk: set log.dir and restart it, or leave the durability out"
            }
            (Some(Durability::Replicated), false) => {
                "this node stands alone and replicates nothing: say disk"
            }
            _ => return Ok(()),
        };
        Err(Problem::new(StatusCode::CONFLICT, "DurabilityUnavailable", detail))
    }
}

impl Room {
    fn of(info: &RoomInfo) -> Room {
        let settings = &info.settings;
        Room {
            name: info.name.clone(),
            epoch: info.epoch.to_string(),
            phase: match info.phase {
                Phase::PreShow => "pre_show",
                Phase::Open => "open",
                Phase::Closing => "closing",
                Phase::Closed => "closed",
            },
            next_offset: info.next_offset,
            oldest_offset: info.oldest_offset,
            viewers: info.viewers,
            state_version: info.state_version,
            durability: info.durability.into(),
            settings: Settings {
                tick_min_ms: settings.tick_min_ms,
                tick_max_ms: settings.tick_max_ms,
                pacing_per_s: settings.pacing_per_s,
                durability: settings.durability.map(Into::into),
            },
        }
    }
}

impl From<DurabilityLevel> for Durability {
    fn from(level: DurabilityLevel) -> Durability {
        match level {
            DurabilityLevel::Memory => Durability::Memory,
            DurabilityLevel::Disk => Durability::Disk,
            DurabilityLevel::Replicated => Durability::Replicated,
        }
    }
}

impl From<Durability> for DurabilityLevel {
    fn from(level: Durability) -> DurabilityLevel {
        match level {
            Durability::Memory => DurabilityLevel::Memory,
            Durability::Disk => DurabilityLevel::Disk,
            Durability::Replicated => DurabilityLevel::Replicated,
        }
    }
}

/// A text as a query has it.
pub(super) fn percent(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}
