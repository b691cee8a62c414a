//! People: who may not be in the house, and which sessions and tokens are revoked, at every node.
//!
//! Why the answer names nodes: an application must know where somebody may still be for a moment.
//! Invariants: an order is in force at this node when it is answered. Open sessions of it end.
//! Not here: what an order does (`house`), bans in one room (entries of its log).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use grandstand_edge::auth::bans::{self, BANS_MAX, Ban};
use grandstand_edge_core::auth::Subject;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::values::{Reason, User, Whole};
use super::{Api, Shared};
use crate::http::extract::{Json, OptionalJson, Path};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

/// The longest ban that has an end: ten years.
const SECONDS_MAX: u64 = 315_360_000;

/// How long a revocation lasts, if nothing is said: longer than tickets and tokens are good for.
const REVOKED_S: u64 = 7 * 24 * 3_600;

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, ban, lift)).routes(routes!(revoke))
}

/// How long a ban lasts, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBan {
    /// Seconds; left out: until it is lifted.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 315360000)]
    seconds: Option<Whole<1, SECONDS_MAX>>,
    /// Why.
    reason: Option<Reason>,
}

/// What is revoked: a session, or all sessions with a token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum NewRevocation {
    /// A session and its resume ticket.
    Session(RevokedSession),
    /// All sessions with a token.
    Token(RevokedToken),
}

/// A session that is to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevokedSession {
    /// Its number, as text, since JSON readers do not keep 64 bits.
    session: Number,
    /// For how many seconds it and its ticket are refused.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 315360000)]
    seconds: Option<Whole<1, SECONDS_MAX>>,
    /// Why.
    reason: Option<Reason>,
}

/// A token whose sessions are to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevokedToken {
    /// Its `jti`.
    token_id: User,
    /// For how many seconds it is refused.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 315360000)]
    seconds: Option<Whole<1, SECONDS_MAX>>,
    /// Why.
    reason: Option<Reason>,
}

/// The number of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9]{1,19}$")]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_digits = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_digits);
        number
            .map(Number)
            .ok_or_else(|| serde::de::Error::custom("expected the number of a session, as text"))
    }
}

/// A ban or a revocation.
#[derive(Debug, Serialize, ToSchema)]
struct Entry {
    /// `user`, `session` or `token_id`.
    kind: &'static str,
    /// Whom.
    name: String,
    /// Why.
    reason: String,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// Until when; null: until it is lifted.
    until_ms: Option<u64>,
    /// Was it lifted?
    lifted: bool,
}

/// What became of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ordered {
    entry: Entry,
    /// Nodes where it is in force.
    confirmed: Vec<u8>,
    /// Nodes that live and have not answered: they are told again.
    missing: Vec<u8>,
    /// Nodes that are not heard: they read it when they are back.
    away: Vec<u8>,
    /// Whether it outlives a restart of all nodes.
    kept: bool,
}

/// Who is banned, and what is revoked.
#[derive(Debug, Serialize, ToSchema)]
struct Entries {
    entries: Vec<Entry>,
}

/// List who is banned, and what is revoked
#[utoipa::path(get, path = "/v1/bans", tag = "people", operation_id = "bans_list",
    responses((status = 200, description = "All that is in force.", body = Entries)))]
async fn list(grant: Grant<{ needs::MOD }>, State(api): Shared) -> Result<axum::Json<Entries>, Problem> {
    grant.for_all_rooms()?;
    Ok(axum::Json(Entries { entries: api.house.in_force().iter().map(Entry::of).collect() }))
}

/// Show a user's ban
#[utoipa::path(get, path = "/v1/bans/{user}", tag = "people", operation_id = "bans_show",
    params(("user" = User, Path, description = "The user (the token's `sub`), percent-encoded.")),
    responses((status = 200, description = "The ban.", body = Entry)))]
async fn show(
    grant: Grant<{ needs::MOD }>,
    State(api): Shared,
    Path(user): Path<User>,
) -> Result<axum::Json<Entry>, Problem> {
    grant.for_all_rooms()?;
    let ban = api.house.bans().get(api.house.now_ms(), bans::user(&user.0));
    let ban = ban.filter(|ban| !ban.is_lifted).ok_or_else(no_ban)?;
    Ok(axum::Json(Entry::of(&ban)))
}

/// Ban a user at every node: open sessions end, new ones are refused
#[utoipa::path(put, path = "/v1/bans/{user}", tag = "people", operation_id = "bans_set",
    params(("user" = User, Path, description = "The user (the token's `sub`), percent-encoded.")),
    request_body = Option<NewBan>,
    responses((status = 200, description = "It is in force.", body = Ordered)))]
async fn ban(
    grant: Grant<{ needs::MOD }>,
    State(api): Shared,
    Path(user): Path<User>,
    OptionalJson(new): OptionalJson<NewBan>,
) -> Result<axum::Json<Ordered>, Problem> {
    grant.for_all_rooms()?;
    let until_ms = api.until(new.seconds.map(|seconds| seconds.0));
    let reason = new.reason.map_or_else(String::new, |reason| reason.0);
    api.order(api.house.entry(bans::user(&user.0), &user.0, until_ms, &reason)).await
}

/// Lift a user's ban, at every node
#[utoipa::path(delete, path = "/v1/bans/{user}", tag = "people", operation_id = "bans_lift",
    params(("user" = User, Path, description = "The user (the token's `sub`), percent-encoded.")),
    responses((status = 200, description = "It is lifted.", body = Ordered)))]
async fn lift(
    grant: Grant<{ needs::MOD }>,
    State(api): Shared,
    Path(user): Path<User>,
) -> Result<axum::Json<Ordered>, Problem> {
    grant.for_all_rooms()?;
    let lifting = api.house.lifting(bans::user(&user.0)).ok_or_else(no_ban)?;
    api.order(lifting).await
}

/// End a session and its ticket, or all sessions with a token, at every node
#[utoipa::path(post, path = "/v1/revocations", tag = "people", operation_id = "revocations_create",
    request_body = NewRevocation,
    responses((status = 200, description = "It is in force.", body = Ordered)))]
async fn revoke(
    grant: Grant<{ needs::MOD }>,
    State(api): Shared,
    Json(new): Json<NewRevocation>,
) -> Result<axum::Json<Ordered>, Problem> {
    grant.for_all_rooms()?;
    let (subject, name, seconds, reason) = match new {
        NewRevocation::Session(RevokedSession { session: Number(number), seconds, reason }) => {
            (Subject::Session(number), number.to_string(), seconds, reason)
        }
        NewRevocation::Token(RevokedToken { token_id, seconds, reason }) => {
            (bans::token(&token_id.0), token_id.0, seconds, reason)
        }
    };
    let until_ms = api.until(Some(seconds.map_or(REVOKED_S, |seconds| seconds.0)));
    let reason = reason.map_or_else(String::new, |reason| reason.0);
    api.order(api.house.entry(subject, &name, until_ms, &reason)).await
}

impl Api {
    fn until(&self, seconds: Option<u64>) -> u64 {
        seconds.map_or(u64::MAX, |seconds| self.house.now_ms().saturating_add(seconds.saturating_mul(1_000)))
    }

    pub(super) async fn order(&self, ban: Ban) -> Result<axum::Json<Ordered>, Problem> {
        let done = self.house.order(ban).await.map_err(|bans::Full| {
            let detail = format!("there are {BANS_MAX} bans and revocations already: lift some");
            Problem::new(StatusCode::CONFLICT, "TooManyBans", detail)
        })?;
        Ok(axum::Json(Ordered {
            entry: Entry::of(&done.ban),
            confirmed: done.confirmed,
            missing: done.missing,
            away: done.away,
            kept: done.is_kept,
        }))
    }
}

impl Entry {
    fn of(ban: &Ban) -> Entry {
        let (kind, name) = match ban.subject {
            Subject::User(_) => ("user", ban.name.to_string()),
            Subject::Session(number) => ("session", number.to_string()),
            Subject::Token(_) => ("token_id", ban.name.to_string()),
        };
        Entry {
            kind,
            name,
            reason: ban.reason.to_string(),
            since_ms: ban.stamp_us / 1_000,
            until_ms: Some(ban.until_ms).filter(|until_ms| *until_ms < u64::MAX),
            lifted: ban.is_lifted,
        }
    }
}

fn no_ban() -> Problem {
    Problem::not_found("this user is not banned: GET /v1/bans lists who is")
}
