//! Claims: the fields of a token, and their conversion to what a session gets.
//!
//! Why: a missing claim has a meaning, and a wrong one must refuse the token rather than pass as missing.
//! Invariant: claims that are not named here are ignored; none of them can widen what a session may do.
//! Not here: signatures (`super`).

use aws_lc_rs::digest;
use grandstand_edge_core::auth::{Denied, RoomScope};
use grandstand_engine::link::UserId;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::Role;
use grandstand_protocol::rules::is_display_name;
use serde::Deserialize;

use super::{bit, unauthorized};
use crate::config::Right;

/// The claims of a token, as they were sent.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    /// Expiry, seconds since 1970, fractions allowed (RFC 7519, 2). Required.
    exp: Option<f64>,
    /// Not valid before, seconds since 1970.
    nbf: Option<f64>,
    /// The user. Missing: an anonymous one, as without a token.
    sub: Option<String>,
    /// Display name. Missing: the name that the client asks for.
    name: Option<String>,
    /// Role. Missing: viewer.
    role: Option<String>,
    /// Permissions. Missing: those of a session without a token.
    may: Option<Vec<String>>,
    /// Names of rooms, or prefixes followed by `*`. Missing: all rooms.
    rooms: Option<Vec<String>>,
}

impl Claims {
    /// When the session ends: `exp` and the leeway, in milliseconds since 1970.
    pub(super) fn check_times(&self, now_unix_ms: u64, leeway_ms: u64) -> Result<u64, Denied> {
        let exp_s = self.exp.ok_or(unauthorized("the token has no exp: it must say when it runs out"))?;
        let ends_unix_ms = unix_ms(exp_s).saturating_add(leeway_ms);
        let begins_unix_ms = self.nbf.map_or(0, unix_ms);
        if now_unix_ms >= ends_unix_ms {
            let code = CloseCode::TokenExpired;
            return Err(Denied { code, detail: code.text() });
        }
        if now_unix_ms.saturating_add(leeway_ms) < begins_unix_ms {
            return Err(unauthorized("the token is not valid yet (nbf)"));
        }
        Ok(ends_unix_ms)
    }

    /// The first eight bytes of SHA-256 over a fixed prefix and the subject: the same on every node and after
    /// a restart.
    pub(super) fn user(&self) -> Result<Option<UserId>, Denied> {
        let Some(sub) = &self.sub else { return Ok(None) };
        if sub.is_empty() {
            return Err(unauthorized("the token's sub is empty: leave it out for an anonymous session"));
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"user:");
        hash.update(sub.as_bytes());
        let hash = hash.finish();
        let first = hash.as_ref().first_chunk::<8>().expect("SHA-256 has 32 bytes");
        Ok(Some(UserId(u64::from_be_bytes(*first))))
    }

    pub(super) fn name(&self) -> Result<Option<&str>, Denied> {
        match self.name.as_deref() {
            Some(name) if !is_display_name(name) => Err(unauthorized(
                "the token's name has over 64 bytes, control characters, or a space at an end",
            )),
            name => Ok(name),
        }
    }

    pub(super) fn role(&self) -> Result<Role, Denied> {
        Ok(match self.role.as_deref() {
            None | Some("viewer") => Role::Viewer,
            Some("subscriber") => Role::Subscriber,
            Some("moderator") => Role::Moderator,
            Some("host") => Role::Host,
            Some("bot") => Role::Bot,
            Some(_) => {
                return Err(unauthorized(
                    "the token's role is none of viewer, subscriber, moderator, host, bot",
                ));
            }
        })
    }

    /// Bits of `may`. An unknown word refuses the token, since the issuer meant something by it.
    pub(super) fn permissions(&self) -> Result<Option<u32>, Denied> {
        let Some(may) = &self.may else { return Ok(None) };
        let bits = may.iter().try_fold(0, |bits, word| Some(bits | bit(Right::from_word(word)?)));
        bits.map(Some)
            .ok_or(unauthorized("the token's may lists something besides publish, react, state, bridge"))
    }

    pub(super) fn rooms(&self) -> Result<RoomScope, Denied> {
        let Some(patterns) = &self.rooms else { return Ok(RoomScope::All) };
        RoomScope::of(patterns)
            .ok_or(unauthorized("the token's rooms holds a pattern with a * that is not its end"))
    }
}

/// Negative times become 1970, far ones the end of u64: `as` saturates.
fn unix_ms(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}
