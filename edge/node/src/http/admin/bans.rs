//! Bans and revocations: who may not be in the house, at any node of it.
//!
//! Why the answer names nodes: an operator must know where somebody may still be for a moment.
//! Invariants: an order is in force at this node when it is answered, whatever other nodes do. Each entry
//! ends at some time, or says that it does not.
//! Not here: what an order does (`house`), bans in one room (they are entries of its log).

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use grandstand_edge::auth::bans::{self, BANS_MAX, Ban, TEXT_BYTES_MAX};
use grandstand_edge_core::auth::Subject;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use crate::house::House;
use crate::http::request::{bytes, json as body_json, path};
use crate::http::response::Failure;

const BAN_HINT: &str =
    r#"all optional: {"seconds":3600,"reason":"spam"}; without seconds it lasts until it is lifted"#;
const REVOKE_HINT: &str =
    r#"send {"session":"1234"} or {"token_id":"b3f1"}; seconds and reason may be left out"#;

/// How long a revocation lasts, if nothing is said: longer than tickets and tokens are good for.
const REVOKED_S: u64 = 7 * 24 * 3_600;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBan {
    seconds: Option<u64>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRevocation {
    /// As text, since JSON has no 64 bits.
    session: Option<String>,
    token_id: Option<String>,
    seconds: Option<u64>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn list(State(port): Shared) -> Json<Value> {
    let (users, others): (Vec<Ban>, Vec<Ban>) =
        port.house.in_force().into_iter().partition(|ban| matches!(ban.subject, Subject::User(_)));
    let all = |bans: &[Ban]| bans.iter().map(shown).collect::<Vec<_>>();
    Json(json!({ "bans": all(&users), "revocations": all(&others) }))
}

pub(super) async fn show(
    State(port): Shared,
    user: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let user = path(user)?;
    let ban = port.house.bans().get(port.house.now_ms(), bans::user(&user));
    ban.map(|ban| Json(shown(&ban))).ok_or_else(no_ban)
}

pub(super) async fn ban(
    State(port): Shared,
    user: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let user = path(user)?;
    let body = bytes(body)?;
    let NewBan { seconds, reason } =
        if body.is_empty() { NewBan::default() } else { body_json(Ok(body), BAN_HINT)? };
    check(&[("the user", &user), ("the reason", &reason)], BAN_HINT)?;
    let until_ms = until(&port.house, seconds);
    order(&port.house, port.house.entry(bans::user(&user), &user, until_ms, &reason)).await
}

pub(super) async fn lift(
    State(port): Shared,
    user: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let lifting = port.house.lifting(bans::user(&path(user)?)).ok_or_else(no_ban)?;
    order(&port.house, lifting).await
}

pub(super) async fn revoke(
    State(port): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let NewRevocation { session, token_id, seconds, reason } = body_json(body, REVOKE_HINT)?;
    let (subject, name) = match (session, token_id) {
        (Some(session), None) => {
            let number = session.parse().map_err(|_| {
                Failure::bad_request(format!("session: {session:?} is no number of a session"), REVOKE_HINT)
            })?;
            (Subject::Session(number), session)
        }
        (None, Some(id)) if !id.is_empty() => (bans::token(&id), id),
        _ => {
            return Err(Failure::bad_request(
                "expected a session or a token_id, and one of them",
                REVOKE_HINT,
            ));
        }
    };
    check(&[("the token_id", &name), ("the reason", &reason)], REVOKE_HINT)?;
    let until_ms = until(&port.house, Some(seconds.unwrap_or(REVOKED_S)));
    order(&port.house, port.house.entry(subject, &name, until_ms, &reason)).await
}

async fn order(house: &std::sync::Arc<House>, ban: Ban) -> Result<Json<Value>, Failure> {
    let done = house.order(ban).await.map_err(|bans::Full| {
        let hint = "lift some, or give them an end: GET /bans lists them";
        Failure::new(StatusCode::CONFLICT, format!("there are {BANS_MAX} bans and revocations already"), hint)
    })?;
    let mut answer = shown(&done.ban);
    answer["nodes"] = json!({ "confirmed": done.confirmed, "missing": done.missing, "away": done.away });
    answer["kept"] = json!(done.is_kept);
    Ok(Json(answer))
}

fn shown(ban: &Ban) -> Value {
    let (kind, name) = match ban.subject {
        Subject::User(_) => ("user", ban.name.to_string()),
        Subject::Session(number) => ("session", number.to_string()),
        Subject::Token(_) => ("token_id", ban.name.to_string()),
    };
    json!({
        kind: name,
        "reason": ban.reason,
        "since_ms": ban.stamp_us / 1_000,
        "until_ms": Some(ban.until_ms).filter(|until_ms| *until_ms < u64::MAX),
        "lifted": ban.is_lifted,
    })
}

fn until(house: &House, seconds: Option<u64>) -> u64 {
    seconds.map_or(u64::MAX, |seconds| house.now_ms().saturating_add(seconds.saturating_mul(1_000)))
}

fn check(texts: &[(&str, &str)], hint: &str) -> Result<(), Failure> {
    match texts.iter().find(|(_, text)| text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control)) {
        None => Ok(()),
        Some((what, _)) => {
            let fault = format!("{what} has at most {TEXT_BYTES_MAX} bytes, and no control characters");
            Err(Failure::bad_request(fault, hint))
        }
    }
}

fn no_ban() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "this user is not banned", "GET /bans lists who is")
}
