//! Grants: the API key behind a request, and proof that it has the scope that an operation needs.
//!
//! Why an extractor: an operation that names its scope in its signature cannot forget to ask for it. The
//! scope is judged before the body is read.
//! Invariant: a request without a valid key reaches no operation (`api::requests` looks the key up).
//! Not here: which keys there are (`api_keys`).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use grandstand_protocol::refusal::Refusal;

use super::problem::Problem;
use crate::api_keys::{ApiKey, Scope};

/// The key of a request has this scope (`Scope as u8`).
#[derive(Clone, Debug)]
pub struct Grant<const SCOPE: u8>(Arc<ApiKey>);

/// Scopes, for [`Grant`].
pub mod needs {
    use crate::api_keys::Scope;

    /// See [`Scope::Publish`].
    pub const PUBLISH: u8 = Scope::Publish as u8;
    /// See [`Scope::RoomsRead`].
    pub const ROOMS_READ: u8 = Scope::RoomsRead as u8;
    /// See [`Scope::RoomsWrite`].
    pub const ROOMS_WRITE: u8 = Scope::RoomsWrite as u8;
    /// See [`Scope::Mod`].
    pub const MOD: u8 = Scope::Mod as u8;
    /// See [`Scope::GuideRead`].
    pub const GUIDE_READ: u8 = Scope::GuideRead as u8;
    /// See [`Scope::GuideWrite`].
    pub const GUIDE_WRITE: u8 = Scope::GuideWrite as u8;
    /// See [`Scope::Uploads`].
    pub const UPLOADS: u8 = Scope::Uploads as u8;
    /// See [`Scope::Admin`].
    pub const ADMIN: u8 = Scope::Admin as u8;
    /// See [`Scope::Drain`].
    pub const DRAIN: u8 = Scope::Drain as u8;
    /// See [`Scope::Backups`].
    pub const BACKUPS: u8 = Scope::Backups as u8;
    /// See [`Scope::Webhooks`].
    pub const WEBHOOKS: u8 = Scope::Webhooks as u8;
}

impl<const SCOPE: u8> Grant<SCOPE> {
    /// The key.
    pub fn key(&self) -> &ApiKey {
        &self.0
    }

    /// The key must be one for rooms of this name.
    ///
    /// # Errors
    /// 403: the name does not begin as the key's rooms do.
    pub fn for_room(&self, room: &str) -> Result<(), Problem> {
        if self.0.covers(room) {
            return Ok(());
        }
        let detail = format!("this key is for rooms whose names begin with {:?}", self.0.room_prefix);
        Err(Problem::refused(Refusal::Forbidden, detail))
    }

    /// The key must be one for all rooms.
    ///
    /// # Errors
    /// 403: it is for some rooms only.
    pub fn for_all_rooms(&self) -> Result<(), Problem> {
        self.for_room("")
    }
}

impl<const SCOPE: u8, S: Send + Sync> FromRequestParts<S> for Grant<SCOPE> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let key = parts.extensions.get::<Arc<ApiKey>>().cloned().ok_or_else(no_key)?;
        let scope = Scope::ALL.iter().copied().find(|scope| *scope as u8 == SCOPE);
        match scope {
            Some(scope) if key.scopes.has(scope) => Ok(Grant(key)),
            scope => {
                let word = scope.map_or("none", Scope::word);
                let detail = format!("this operation needs the scope {word}, which the key {} lacks", key.id);
                Err(Problem::refused(Refusal::Forbidden, detail))
            }
        }
    }
}

/// A request shows no key.
pub fn no_key() -> Problem {
    let detail = "this operation needs a key: send it as `Authorization: Bearer gsk_...`";
    Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail)
}
