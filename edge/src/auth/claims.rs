//! Claims: the fields of a token, and their conversion to what a session gets.
//!
//! Why by hand: a missing claim has a meaning (`rooms`: all rooms), so a claim of another form must never
//! pass as a missing one: not `null`, not one that is there twice, not one whose name is written `Rooms`.
//! Invariants: a claim that is not understood refuses the token, and the refusal names the claim. Only the
//! display name is mended, and one that cannot be is nobody's wish. Claims that are not named here are
//! ignored; none of them can widen what a session may do.
//! Not here: signatures (`super`), the form of claims in JSON (`json`).

use grandstand_edge_core::auth::{Denied, RoomScope};
use grandstand_engine::link::UserId;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::Role;
use grandstand_protocol::text::mend_name;

use super::bans::number_of;
use super::json::{Fields, Form};
use super::{bit, unauthorized};
use crate::config::Right;

/// What the numbers of users are hashed with.
pub(super) const USER: &str = "user:";
/// What the numbers of tokens' ids are hashed with.
pub(super) const TOKEN: &str = "token:";

/// The claims of a token, as they were sent.
#[derive(Debug)]
pub(super) struct Claims(Fields);

/// A token's display name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The token has none: the client may ask for one.
    Missing,
    /// The token has one of which nothing can be shown: the node gives one.
    Unusable,
    /// What can be shown of it.
    Given(Box<str>),
}

impl Claims {
    /// From the fields of a token's body.
    ///
    /// # Errors
    /// `Unauthorized` for a claim that is there twice, or under a name that is nearly one of these, and for
    /// claims that are nested too deeply.
    pub(super) fn of(fields: Fields) -> Result<Claims, Denied> {
        match fields.fault {
            Some(fault) => Err(unauthorized(fault)),
            None => Ok(Claims(fields)),
        }
    }

    /// When the token runs out, in milliseconds since 1970 and without leeway, if it is valid now.
    pub(super) fn expires_unix_ms(&self, now_unix_ms: u64, leeway_ms: u64) -> Result<u64, Denied> {
        let time = |claim: &Option<Form>, fault| match claim {
            None => Ok(None),
            Some(Form::Number(seconds)) => Ok(Some(unix_ms(*seconds))),
            Some(_) => Err(unauthorized(fault)),
        };
        let ends = time(&self.0.exp, "the token's exp is not a number: it must be seconds since 1970")?;
        let begins = time(&self.0.nbf, "the token's nbf is not a number: it must be seconds since 1970")?;
        let issued = time(&self.0.iat, "the token's iat is not a number: it must be seconds since 1970")?;
        let ends_unix_ms = ends.ok_or(unauthorized("the token has no exp: it must say when it runs out"))?;
        if now_unix_ms >= ends_unix_ms.saturating_add(leeway_ms) {
            let code = CloseCode::TokenExpired;
            return Err(Denied { code, detail: code.text(), retry_after_ms: 0 });
        }
        let latest_unix_ms = now_unix_ms.saturating_add(leeway_ms);
        if begins.is_some_and(|begins| latest_unix_ms < begins) {
            return Err(unauthorized("the token is not valid yet (nbf)"));
        }
        if issued.is_some_and(|issued| latest_unix_ms < issued) {
            return Err(unauthorized("the token was issued in the future (iat): compare the issuer's clock"));
        }
        Ok(ends_unix_ms)
    }

    /// Whose the token says that it is.
    pub(super) fn issuer(&self) -> Option<&str> {
        match &self.0.iss {
            Some(Form::Text(iss)) => Some(iss),
            _ => None,
        }
    }

    /// Is the token for one of these names of this node, or for nobody in particular where it has none, or
    /// where nothing is required?
    pub(super) fn check_audience(&self, names: &[String], is_required: bool) -> Result<(), Denied> {
        let is_ours = match (&self.0.aud, names) {
            (None, []) => true,
            (None, _) if !is_required => true,
            (None, _) => {
                return Err(unauthorized("the token has no aud: it must name this node's auth.audience"));
            }
            (Some(Form::Text(_) | Form::Texts(_)), []) => {
                return Err(unauthorized(
                    "the token is for an audience (aud), and this node has none: list it in auth.audience",
                ));
            }
            (Some(Form::Text(name)), names) => names.contains(name),
            (Some(Form::Texts(of)), names) => of.iter().any(|name| names.contains(name)),
            (Some(_), _) => {
                return Err(unauthorized("the token's aud is neither a text nor a list of texts"));
            }
        };
        if is_ours { Ok(()) } else { Err(unauthorized("the token is for another audience (aud)")) }
    }

    /// Is the token by one of these issuers, or by anybody where none is listed?
    pub(super) fn check_issuer(&self, issuers: &[String]) -> Result<(), Denied> {
        match (&self.0.iss, issuers) {
            (None | Some(Form::Text(_)), []) => Ok(()),
            (None, _) => Err(unauthorized("the token has no iss: it must be one of this node's auth.issuer")),
            (Some(Form::Text(issuer)), issuers) if issuers.contains(issuer) => Ok(()),
            (Some(Form::Text(_)), _) => Err(unauthorized("the token is by another issuer (iss)")),
            (Some(_), _) => Err(unauthorized("the token's iss is not a text")),
        }
    }

    /// The first eight bytes of SHA-256 over a fixed prefix and the subject: the same on every node and after
    /// a restart.
    pub(super) fn user(
        &self,
        prefix: &str,
        is_anothers: impl Fn(&str) -> bool,
    ) -> Result<Option<UserId>, Denied> {
        let sub = match &self.0.sub {
            None => return Ok(None),
            Some(Form::Text(sub)) if !sub.is_empty() => format!("{prefix}{sub}"),
            Some(Form::Text(_)) => {
                return Err(unauthorized("the token's sub is empty: leave it out for an anonymous session"));
            }
            Some(_) => return Err(unauthorized("the token's sub is not a text")),
        };
        if is_anothers(&sub) {
            return Err(unauthorized(
                "the token's sub begins as the users of another issuer do (user_prefix)",
            ));
        }
        Ok(Some(UserId(number_of(USER, &sub))))
    }

    /// By which it can be revoked; 0: it has no id.
    pub(super) fn token(&self, prefix: &str, is_anothers: impl Fn(&str) -> bool) -> Result<u64, Denied> {
        match &self.0.jti {
            None => Ok(0),
            Some(Form::Text(id)) if !id.is_empty() => {
                let id = format!("{prefix}{id}");
                if is_anothers(&id) {
                    return Err(unauthorized(
                        "the token's jti begins as those of another issuer do (user_prefix)",
                    ));
                }
                Ok(number_of(TOKEN, &id))
            }
            Some(_) => Err(unauthorized("the token's jti is not a text, or an empty one: leave it out")),
        }
    }

    /// A name is a cosmetic claim: it is mended, and never refuses a person.
    pub(super) fn name(&self) -> Name {
        match &self.0.name {
            None => Name::Missing,
            Some(Form::Text(name)) => {
                mend_name(name).map_or(Name::Unusable, |name| Name::Given(name.into_owned().into()))
            }
            Some(_) => Name::Unusable,
        }
    }

    pub(super) fn role(&self) -> Result<Role, Denied> {
        let unknown = "the token's role is none of viewer, subscriber, moderator, host, bot";
        let word = match &self.0.role {
            None => return Ok(Role::Viewer),
            Some(Form::Text(word)) => &**word,
            Some(_) => return Err(unauthorized(unknown)),
        };
        Ok(match word {
            "viewer" => Role::Viewer,
            "subscriber" => Role::Subscriber,
            "moderator" => Role::Moderator,
            "host" => Role::Host,
            "bot" => Role::Bot,
            _ => return Err(unauthorized(unknown)),
        })
    }

    /// Bits of `may`. An unknown word refuses the token, since the issuer meant something by it.
    pub(super) fn permissions(&self) -> Result<Option<u32>, Denied> {
        let unknown = "the token's may lists something besides publish, react, state, bridge, moderate";
        match &self.0.may {
            None => Ok(None),
            Some(Form::Texts(may)) => {
                let bits = may.iter().try_fold(0, |bits, word| Some(bits | bit(Right::from_word(word)?)));
                bits.map(Some).ok_or(unauthorized(unknown))
            }
            Some(_) => Err(unauthorized("the token's may is not a list of texts")),
        }
    }

    pub(super) fn rooms(&self) -> Result<RoomScope, Denied> {
        match &self.0.rooms {
            None => Ok(RoomScope::All),
            Some(Form::Texts(patterns)) => RoomScope::of(patterns)
                .ok_or(unauthorized("the token's rooms holds a pattern with a * that is not its end")),
            Some(_) => Err(unauthorized("the token's rooms is not a list of texts")),
        }
    }
}

/// Negative times become 1970, far ones the end of u64: `as` saturates.
fn unix_ms(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}
