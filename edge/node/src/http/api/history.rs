//! History of a room, and its state: what an application reads of what was said.
//!
//! Why by offset: an offset never changes its message, so a page that is asked for again is the same one,
//! less what was removed meanwhile. Invariants: a page holds no message that was removed. A reader that
//! follows `next` misses nothing that is kept, and sees nothing twice.
//! Not here: where pages come from (`grandstand_engine`).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use grandstand_engine::link::{AdminAnswer, AdminRequest, Batch, PageOf};
use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::Role;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rooms::percent;
use super::values::{INTEGER_MAX, RoomName, StateKey, Whole, cursor, of_query};
use super::{Api, Shared};
use crate::http::extract::{Path, Query};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

/// Messages of a page, unless the request gives a limit.
const LIMIT: usize = 100;

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(history)).routes(routes!(show_state)).routes(routes!(show_key))
}

/// Which messages to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// The offset of the first one; left out: the oldest that is kept.
    #[serde(default, deserialize_with = "of_query")]
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9007199254740991_i64)]
    from: Option<Whole<0, INTEGER_MAX>>,
    /// `next` of the page before, in place of `from`.
    #[param(value_type = Option<String>, format = "history-cursor")]
    cursor: Option<String>,
    /// Messages of a page, at most.
    #[serde(default, deserialize_with = "of_query")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000)]
    limit: Option<Whole<1, 1_000>>,
}

/// A message of a room's log.
#[derive(Debug, Serialize, ToSchema)]
struct StoredMessage {
    /// Its offset.
    offset: u64,
    /// Its time, in milliseconds since 1970.
    time_ms: u64,
    /// Who said it.
    author: String,
    /// The author's role.
    role: &'static str,
    /// What was said.
    text: String,
    /// A reference to an attachment; empty: none.
    attachment: String,
    /// The offset of the message that it answers.
    reply_to: Option<u64>,
}

/// A page of messages.
#[derive(Debug, Serialize, ToSchema)]
struct History {
    /// The room.
    room: String,
    /// The epoch of its log.
    epoch: String,
    /// In order of offset. Numbers that are missing were removed, or are acts of moderators.
    messages: Vec<StoredMessage>,
    /// The `cursor` of the next page; null: this is the end for now.
    next: Option<String>,
    /// Where the next message will be.
    next_offset: u64,
}

/// A room's state.
#[derive(Debug, Serialize, ToSchema)]
struct RoomState {
    /// Its version.
    version: u64,
    /// Keys and values; a value is text, or its bytes in Base64 where it is none.
    entries: Vec<StateEntry>,
}

/// A key of a room's state.
#[derive(Debug, Serialize, ToSchema)]
struct StateEntry {
    key: String,
    /// The value, if it is text.
    text: Option<String>,
    /// The value in Base64, if it is no text.
    base64: Option<String>,
}

/// Read messages of a room
#[utoipa::path(get, path = "/v1/rooms/{room}/messages", tag = "messages", operation_id = "messages_list",
    params(("room" = RoomName, Path, description = "The room, percent-encoded."), HistoryQuery),
    responses((status = 200, description = "A page of messages. `Link` has the next one.", body = History)))]
async fn history(
    grant: Grant<{ needs::ROOMS_READ }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Problem> {
    grant.for_room(&room.0)?;
    let info = api.shards.find(&room.0).await?;
    let epoch = info.epoch.to_string();
    let from = match query.cursor.as_deref().map(cursor::decode).transpose()? {
        None => query.from.map_or(0, |from| from.0),
        Some(cursor) => match cursor.split_once(':') {
            Some((of, offset)) if of == epoch => offset.parse().map_err(|_| unknown_cursor())?,
            Some((of, _)) if of.parse::<u64>().is_ok() => return Err(Problem::from(Refusal::UnknownEpoch)),
            _ => return Err(unknown_cursor()),
        },
    };
    let limit = query.limit.map_or(LIMIT, |limit| limit.0 as usize);
    let mut messages = Vec::new();
    let mut at = from.max(info.oldest_offset);
    while messages.len() < limit && at < info.next_offset {
        let of = PageOf::Full { messages_max: (limit - messages.len()) as u32 };
        let page = api.shards.history((info.alias, info.epoch), at, of).await?;
        if !page.same_epoch {
            return Err(Problem::from(Refusal::UnknownEpoch));
        }
        if let Some(ms) = page.retry_after_ms {
            return Err(Problem::from(Refusal::StorageUnavailable).with_retry(Some(ms)));
        }
        let before = at;
        for batch in &page.batches {
            at = read(batch, at, limit, &mut messages)?;
            if messages.len() >= limit {
                break;
            }
        }
        if at == before {
            break;
        }
    }
    let next =
        (at < info.next_offset && messages.len() >= limit).then(|| cursor::encode(&format!("{epoch}:{at}")));
    let link = next.as_ref().map(|next| {
        let path = format!("/v1/rooms/{}/messages?limit={limit}&cursor={next}", percent(&room.0));
        [(header::LINK, format!("<{path}>; rel=\"next\""))]
    });
    let page = History { room: room.0, epoch, messages, next, next_offset: info.next_offset };
    Ok((link, axum::Json(page)).into_response())
}

fn unknown_cursor() -> Problem {
    Problem::bad_request("the cursor is not one of a page: take `next` as it is")
}

/// The messages of a batch from an offset on, until there are enough. Returns where to go on.
fn read(batch: &Batch, from: u64, limit: usize, messages: &mut Vec<StoredMessage>) -> Result<u64, Problem> {
    let fault =
        || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Failed", "a batch of the log can't be read");
    let (head, _) = stream::read_header(&batch.wire, usize::MAX).ok().flatten().ok_or_else(fault)?;
    let mut reader = BatchReader::new(batch.wire.get(head + 1..).ok_or_else(fault)?).map_err(|_| fault())?;
    let mut position =
        Position { offset: batch.first_offset, time_ms: batch.base_time_ms, ..Position::default() };
    position.begin(&reader).map_err(|_| fault())?;
    while let Some(item) = reader.next_item().map_err(|_| fault())? {
        match item {
            Item::Message(message) => {
                let offset = position.message(&message);
                if offset < from {
                    continue;
                }
                if messages.len() >= limit {
                    return Ok(offset);
                }
                messages.push(StoredMessage {
                    offset,
                    time_ms: position.time_ms,
                    author: message.author.to_owned(),
                    role: role(Role::from_wire(message.role)),
                    text: message.text.to_owned(),
                    attachment: message.attachment.to_owned(),
                    reply_to: offset.checked_sub(message.reply_back).filter(|_| message.reply_back > 0),
                });
            }
            Item::Removed(skip) => drop(position.entry(skip)),
            Item::Act(act) => drop(position.entry(act.skip)),
            Item::Omitted(count) => position.omitted(count),
            _ => {}
        }
    }
    Ok(batch.next_offset)
}

pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Subscriber => "subscriber",
        Role::Moderator => "moderator",
        Role::Host => "host",
        Role::Bot => "bot",
        _ => "viewer",
    }
}

/// Read a room's state
#[utoipa::path(get, path = "/v1/rooms/{room}/state", tag = "state", operation_id = "state_list",
    params(("room" = RoomName, Path, description = "The room, percent-encoded.")),
    responses((status = 200, description = "All keys, in order.", body = RoomState)))]
async fn show_state(
    grant: Grant<{ needs::ROOMS_READ }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
) -> Result<axum::Json<RoomState>, Problem> {
    grant.for_room(&room.0)?;
    let (version, entries) = api.state(&room.0).await?;
    let entries = entries.into_iter().map(|(key, value)| StateEntry::new(key, value)).collect();
    Ok(axum::Json(RoomState { version, entries }))
}

/// Read a key of a room's state
#[utoipa::path(get, path = "/v1/rooms/{room}/state/{key}", tag = "state", operation_id = "state_show",
    params(("room" = RoomName, Path, description = "The room, percent-encoded."),
        ("key" = StateKey, Path, description = "The key, percent-encoded.")),
    responses((status = 200, description = "The key and its value.", body = StateEntry)))]
async fn show_key(
    grant: Grant<{ needs::ROOMS_READ }>,
    State(api): Shared,
    Path((room, key)): Path<(RoomName, StateKey)>,
) -> Result<axum::Json<StateEntry>, Problem> {
    grant.for_room(&room.0)?;
    let (_, entries) = api.state(&room.0).await?;
    let found = entries.into_iter().find(|(name, _)| *name == key.0);
    let none = || Problem::not_found("the room's state has no such key");
    found.map(|(key, value)| axum::Json(StateEntry::new(key, value))).ok_or_else(none)
}

impl Api {
    async fn state(&self, room: &str) -> Result<(u64, Vec<(String, Vec<u8>)>), Problem> {
        match self.shards.ask(room, AdminRequest::State { room: room.to_owned() }).await? {
            AdminAnswer::State { version, entries } => Ok((version, entries)),
            other => unreachable!("a state is asked for, not {other:?}"),
        }
    }
}

impl StateEntry {
    fn new(key: String, value: Vec<u8>) -> StateEntry {
        use base64::Engine;
        match String::from_utf8(value) {
            Ok(text) => StateEntry { key, text: Some(text), base64: None },
            Err(error) => {
                let base64 = base64::engine::general_purpose::STANDARD.encode(error.as_bytes());
                StateEntry { key, text: None, base64: Some(base64) }
            }
        }
    }
}
