//! Keys: an application's administrator makes, lists and revokes keys of the API.
//!
//! Invariants: a new key is shown once, in the answer that makes it. A key makes only keys that may do no
//! more than itself.
//! Not here: what a key is (`api_keys`), keys of `api.keys_file`, which are made by `grandstand key`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::values::{Env, HolderName, RoomPrefix, Whole};
use super::{Api, Shared};
use crate::api_keys::{ApiKey, CreateError, LIVE_PER_NAME, NewKey, Scope, Scopes};
use crate::http::extract::{Json, Path};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

/// The longest life of a key that has an end: ten years.
const EXPIRES_S_MAX: u64 = 315_360_000;

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, revoke))
}

/// What a key may do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
enum KeyScope {
    #[serde(rename = "publish")]
    Publish,
    #[serde(rename = "rooms:read")]
    RoomsRead,
    #[serde(rename = "rooms:write")]
    RoomsWrite,
    #[serde(rename = "mod")]
    Mod,
    #[serde(rename = "guide:read")]
    GuideRead,
    #[serde(rename = "guide:write")]
    GuideWrite,
    #[serde(rename = "uploads")]
    Uploads,
    #[serde(rename = "admin")]
    Admin,
    #[serde(rename = "drain")]
    Drain,
    #[serde(rename = "backups")]
    Backups,
    #[serde(rename = "webhooks")]
    Webhooks,
}

/// A key that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApiKey {
    /// Whose it is. A name has at most two live keys.
    name: HolderName,
    /// The environment in its text.
    env: Env,
    /// What it may do.
    #[schema(min_items = 1)]
    scopes: Vec<KeyScope>,
    /// What the names of its rooms must begin with.
    room_prefix: Option<RoomPrefix>,
    /// When it ends by itself: so many seconds from now.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 315360000)]
    expires_s: Option<Whole<1, EXPIRES_S_MAX>>,
}

/// A key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
struct KeyInfo {
    /// What it is called by.
    id: String,
    /// Whose it is.
    name: String,
    /// What it may do.
    #[schema(value_type = Vec<KeyScope>)]
    scopes: Vec<&'static str>,
    /// What the names of its rooms begin with.
    room_prefix: String,
    /// `node`: it is in this node's database; `file`: in `api.keys_file`.
    source: &'static str,
    /// Is it in force?
    live: bool,
    /// When it was made, in milliseconds since 1970.
    created_ms: u64,
    /// When it ends by itself.
    expires_ms: Option<u64>,
    /// When it was revoked.
    revoked_ms: Option<u64>,
    /// When it was used last, within a minute.
    used_ms: Option<u64>,
}

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedKey {
    /// The key itself, which is shown only here.
    secret: String,
    key: KeyInfo,
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
struct Keys {
    keys: Vec<KeyInfo>,
}

/// List all keys
#[utoipa::path(get, path = "/v1/keys", tag = "keys", operation_id = "keys_list",
    responses((status = 200, description = "All keys, revoked ones too.", body = Keys)))]
async fn list(grant: Grant<{ needs::ADMIN }>, State(api): Shared) -> Result<axum::Json<Keys>, Problem> {
    grant.for_all_rooms()?;
    let now_ms = api.keys.now_ms();
    Ok(axum::Json(Keys { keys: api.keys.all().iter().map(|key| KeyInfo::of(key, now_ms)).collect() }))
}

/// Make a key
#[utoipa::path(post, path = "/v1/keys", tag = "keys", operation_id = "keys_create", request_body = NewApiKey,
    responses((status = 201, description = "The key, shown only now.", body = CreatedKey)))]
async fn create(
    grant: Grant<{ needs::ADMIN }>,
    State(api): Shared,
    Json(new): Json<NewApiKey>,
) -> Result<(StatusCode, axum::Json<CreatedKey>), Problem> {
    let now_ms = api.keys.now_ms();
    if new.scopes.is_empty() {
        return Err(Problem::in_body("/scopes", "expected at least one scope"));
    }
    let scopes: Scopes = new.scopes.iter().map(|scope| Scope::from(*scope)).collect();
    let room_prefix = new.room_prefix.map_or_else(String::new, |prefix| prefix.0);
    grant.for_room(&room_prefix)?;
    if !grant.key().scopes.include(scopes) {
        let detail = "a key makes only keys with scopes of its own";
        return Err(Problem::new(StatusCode::FORBIDDEN, "Forbidden", detail));
    }
    let expires_ms = new.expires_s.map(|s| now_ms + s.0 * 1_000);
    let wanted = NewKey { name: new.name.0, env: new.env.0, scopes, room_prefix, expires_ms };
    let (secret, key) = api.keys.create(&wanted).map_err(|error| match error {
        CreateError::TooMany => {
            let detail = format!("{} has {LIVE_PER_NAME} live keys: revoke one first", wanted.name);
            Problem::new(StatusCode::CONFLICT, "TooManyKeysOfName", detail)
        }
        CreateError::Failed(fault) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "StorageUnavailable", fault)
        }
    })?;
    tracing::info!(id = key.id, name = key.name, scopes = ?key.scopes, by = grant.key().id, "API key made");
    let answer = CreatedKey { secret: secret.expose().to_owned(), key: KeyInfo::of(&key, now_ms) };
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

/// Show a key, without the key itself
#[utoipa::path(get, path = "/v1/keys/{id}", tag = "keys", operation_id = "keys_show",
    params(("id" = String, Path, description = "What it is called by.")),
    responses((status = 200, description = "The key.", body = KeyInfo)))]
async fn show(
    grant: Grant<{ needs::ADMIN }>,
    State(api): Shared,
    Path(id): Path<String>,
) -> Result<axum::Json<KeyInfo>, Problem> {
    grant.for_all_rooms()?;
    // A revoked one is in the list alone.
    let found = api.keys.all().into_iter().find(|key| key.id == id && key.revoked_ms.is_none());
    let found = found.ok_or_else(unknown)?;
    Ok(axum::Json(KeyInfo::of(&found, api.keys.now_ms())))
}

/// Revoke a key: its next request is refused
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys", operation_id = "keys_revoke",
    params(("id" = String, Path, description = "What it is called by.")),
    responses((status = 204, description = "It is revoked.")))]
async fn revoke(
    grant: Grant<{ needs::ADMIN }>,
    State(api): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    grant.for_all_rooms()?;
    let key = api.keys.all().into_iter().find(|key| key.id == id).ok_or_else(unknown)?;
    if key.is_of_file {
        let detail = "this key is in api.keys_file: remove its line there";
        return Err(Problem::new(StatusCode::CONFLICT, "KeyOfFile", detail));
    }
    let failed = |fault| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "StorageUnavailable", fault);
    if api.keys.revoke(&id).map_err(failed)? {
        tracing::info!(id, name = key.name, by = grant.key().id, "API key revoked");
    }
    Ok(StatusCode::NO_CONTENT)
}

fn unknown() -> Problem {
    Problem::not_found("there is no key of this id: GET /v1/keys lists all")
}

impl KeyInfo {
    fn of(key: &ApiKey, now_ms: u64) -> KeyInfo {
        KeyInfo {
            id: key.id.clone(),
            name: key.name.clone(),
            scopes: key.scopes.words(),
            room_prefix: key.room_prefix.clone(),
            source: if key.is_of_file { "file" } else { "node" },
            live: key.is_live(now_ms),
            created_ms: key.created_ms,
            expires_ms: key.expires_ms,
            revoked_ms: key.revoked_ms,
            used_ms: key.used_ms(),
        }
    }
}

impl From<KeyScope> for Scope {
    fn from(scope: KeyScope) -> Scope {
        match scope {
            KeyScope::Publish => Scope::Publish,
            KeyScope::RoomsRead => Scope::RoomsRead,
            KeyScope::RoomsWrite => Scope::RoomsWrite,
            KeyScope::Mod => Scope::Mod,
            KeyScope::GuideRead => Scope::GuideRead,
            KeyScope::GuideWrite => Scope::GuideWrite,
            KeyScope::Uploads => Scope::Uploads,
            KeyScope::Admin => Scope::Admin,
            KeyScope::Drain => Scope::Drain,
            KeyScope::Backups => Scope::Backups,
            KeyScope::Webhooks => Scope::Webhooks,
        }
    }
}
