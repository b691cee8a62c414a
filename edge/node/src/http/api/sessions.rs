//! Sessions: who is here, in which rooms, and an end to one of them.
//!
//! Invariants: a page looks at the sessions of all workers of the node that answers; `complete` says whether
//! that is everybody. Ending a session works from any node.
//! Not here: the end itself (`house`), what a worker knows (`grandstand_edge_core::audience`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use grandstand_edge::auth::bans;
use grandstand_edge_core::audience::{PresenceQuery, Present};
use grandstand_edge_core::auth::Subject;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::history::role;
use super::people::{Number, Ordered};
use super::rooms::percent;
use super::values::{RoomName, User, Whole, cursor, of_query};
use super::{Api, Shared};
use crate::http::extract::{Path, Query};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

/// How long workers may take: a turn, each.
const WAIT: Duration = Duration::from_secs(2);

/// Sessions of a page, unless the request gives a limit.
const LIMIT: usize = 100;

/// Viewers of a room up to which their names are told.
const NAMED_MAX: u64 = 1_000;

/// How long a session that was ended, and its ticket, are refused.
const ENDED_MS: u64 = 7 * 24 * 3_600_000;

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, end)).routes(routes!(viewers))
}

/// Which sessions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SessionsQuery {
    /// Only those in this room.
    #[param(value_type = Option<RoomName>)]
    room: Option<RoomName>,
    /// Only those of this user (the token's `sub`).
    #[param(value_type = Option<User>)]
    user: Option<User>,
    /// `next` of the page before.
    #[param(value_type = Option<String>, format = "number-cursor")]
    cursor: Option<String>,
    /// Sessions of a page.
    #[serde(default, deserialize_with = "of_query")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000)]
    limit: Option<Whole<1, 1_000>>,
}

/// A session with an open connection.
#[derive(Debug, Serialize, ToSchema)]
struct SessionInfo {
    /// Its number, as text.
    session: String,
    /// Its display name.
    name: String,
    /// Its role.
    role: &'static str,
    /// Has it no user of its own?
    anonymous: bool,
    /// How long this connection of it has been open.
    age_ms: u64,
    /// The rooms that it follows.
    rooms: Vec<String>,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
struct Sessions {
    sessions: Vec<SessionInfo>,
    /// The `cursor` of the next page; null: this was the last one.
    next: Option<String>,
    /// Are sessions at other nodes included? In a cluster a node lists its own.
    complete: bool,
}

/// Who is in a room.
#[derive(Debug, Serialize, ToSchema)]
struct Viewers {
    /// How many, at all nodes.
    count: u64,
    /// The sessions at the node that answers; null where there are more than 1000 viewers.
    sessions: Option<Vec<SessionInfo>>,
    /// Are sessions at other nodes included? In a cluster a node lists its own.
    complete: bool,
}

/// List sessions with open connections
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", operation_id = "sessions_list", params(SessionsQuery),
    responses((status = 200, description = "A page of sessions. `Link` has the next one.", body = Sessions)))]
async fn list(
    grant: Grant<{ needs::MOD }>,
    State(api): Shared,
    Query(query): Query<SessionsQuery>,
) -> Result<Response, Problem> {
    match &query.room {
        Some(room) => grant.for_room(&room.0)?,
        None => grant.for_all_rooms()?,
    }
    let after = query.cursor.as_deref().map(cursor::decode).transpose()?;
    let after = after
        .map_or(Ok(0), |after| after.parse())
        .map_err(|_| Problem::bad_request("the cursor is not one of a page: take `next` as it is"))?;
    let limit = query.limit.map_or(LIMIT, |limit| limit.0 as usize);
    let user = query.user.as_ref().and_then(|user| match bans::user(&user.0) {
        Subject::User(id) => Some(id),
        _ => None,
    });
    let room = query.room.as_ref().map(|room| room.0.as_str().into());
    let mut found = api.presence(PresenceQuery { after, limit: limit + 1, room, user }).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| cursor::encode(&last.number.to_string()));
    let link = next.as_ref().map(|next| {
        let named = |name: &str, value: Option<&str>| {
            value.map_or_else(String::new, |value| format!("{name}={}&", percent(value)))
        };
        let room = named("room", query.room.as_ref().map(|room| room.0.as_str()));
        let user = named("user", query.user.as_ref().map(|user| user.0.as_str()));
        [(header::LINK, format!("</v1/sessions?{room}{user}limit={limit}&cursor={next}>; rel=\"next\""))]
    });
    let sessions = found.iter().map(SessionInfo::of).collect();
    Ok((link, axum::Json(Sessions { sessions, next, complete: api.cluster.is_none() })).into_response())
}

/// Show a session with an open connection at the node that answers
#[utoipa::path(get, path = "/v1/sessions/{session}", tag = "sessions", operation_id = "sessions_show",
    params(("session" = Number, Path, description = "Its number.")),
    responses((status = 200, description = "The session.", body = SessionInfo)))]
async fn show(
    grant: Grant<{ needs::MOD }>,
    State(api): Shared,
    Path(Number(session)): Path<Number>,
) -> Result<axum::Json<SessionInfo>, Problem> {
    grant.for_all_rooms()?;
    let (after, limit) = (session.saturating_sub(1), 1);
    let found = api.presence(PresenceQuery { after, limit, ..PresenceQuery::default() }).await?;
    let found = found.into_iter().find(|present| present.number == session);
    let none = || Problem::not_found("no session of this number has a connection at this node");
    found.map(|present| axum::Json(SessionInfo::of(&present))).ok_or_else(none)
}

/// End a session at every node, and its resume ticket
#[utoipa::path(delete, path = "/v1/sessions/{session}", tag = "sessions", operation_id = "sessions_end",
    params(("session" = Number, Path, description = "Its number.")),
    responses((status = 200, description = "It is ended.", body = Ordered)))]
async fn end(
    grant: Grant<{ needs::MOD }>,
    State(api): Shared,
    Path(Number(session)): Path<Number>,
) -> Result<axum::Json<Ordered>, Problem> {
    grant.for_all_rooms()?;
    let until_ms = api.house.now_ms() + ENDED_MS;
    api.order(api.house.entry(Subject::Session(session), &session.to_string(), until_ms, "")).await
}

/// Show who is in a room
///
/// The count is of all viewers; who they are is told for rooms of up to 1000.
#[utoipa::path(get, path = "/v1/rooms/{room}/viewers", tag = "sessions", operation_id = "rooms_viewers",
    params(("room" = RoomName, Path, description = "The room, percent-encoded.")),
    responses((status = 200, description = "Who is there.", body = Viewers)))]
async fn viewers(
    grant: Grant<{ needs::ROOMS_READ }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
) -> Result<axum::Json<Viewers>, Problem> {
    grant.for_room(&room.0)?;
    let count = api.shards.find(&room.0).await?.viewers;
    let sessions = if count > NAMED_MAX {
        None
    } else {
        let room = Some(room.0.into());
        let query = PresenceQuery { limit: NAMED_MAX as usize, room, ..PresenceQuery::default() };
        Some(api.presence(query).await?.iter().map(SessionInfo::of).collect())
    };
    Ok(axum::Json(Viewers { count, sessions, complete: api.cluster.is_none() }))
}

impl Api {
    /// A page of the sessions of all workers, in order of their numbers.
    async fn presence(&self, query: PresenceQuery) -> Result<Vec<Present>, Problem> {
        let limit = query.limit;
        let (told, mut answers) = mpsc::unbounded_channel();
        // Who asked may have stopped waiting; then the answer is not needed.
        self.workers.presence(query, move |page| drop(told.send(page)));
        let gather = async {
            let mut all = Vec::new();
            while let Some(page) = answers.recv().await {
                all.extend(page);
            }
            all
        };
        let late = |_| {
            let detail = "a worker did not answer in time: repeat the request; the node's log tells what keeps it busy";
            Problem::new(axum::http::StatusCode::GATEWAY_TIMEOUT, "NoAnswer", detail)
        };
        let mut all = tokio::time::timeout(WAIT, gather).await.map_err(late)?;
        all.sort_unstable_by_key(|present| present.number);
        all.dedup_by_key(|present| present.number);
        all.truncate(limit);
        Ok(all)
    }
}

impl SessionInfo {
    fn of(present: &Present) -> SessionInfo {
        SessionInfo {
            session: present.number.to_string(),
            name: present.name.to_string(),
            role: role(present.role),
            anonymous: present.is_anonymous,
            age_ms: present.age_us / 1_000,
            rooms: present.rooms.iter().map(|room| room.to_string()).collect(),
        }
    }
}
