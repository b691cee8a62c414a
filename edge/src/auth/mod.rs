//! Authority: decides what a session may do. Tokens are checked once in the hello; tickets carry a session
//! over a reconnect.
//!
//! Why: what a session may do is decided in one place, from configured keys and one string, before anything
//! else of the session exists, and again when the session renews its token.
//! Invariants: a token never causes a fetch. A token that is not accepted is never treated as a missing one.
//! A reload that fails changes nothing.
//! Not here: the effect of a permission (`audience`), the paths of keys (`config`), rates.

pub mod bans;
mod claims;
mod fetched;
mod issuers;
mod json;
mod jwks;
mod key;
mod keys;
mod quic_key;
#[cfg(test)]
mod tests;
mod ticket;
mod ticket_keys;
mod tls_key;
mod tls_tickets;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, PoisonError, RwLock};

use grandstand_edge_core::auth::{Authorize, Denied, Expiry, Grant, Subject};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Role, permission};
use grandstand_protocol::limits;

use crate::config::{self, Right};
use bans::Bans;
use claims::{Claims, Name};
pub use fetched::{FetchNumbers, FetchedKeys};
use issuers::Issuers;
pub use jwks::SET_BYTES_MAX;
use keys::{KeySet, KeySource};
pub use ticket::Tickets;
pub use tls_tickets::TlsTickets;

/// Decides what sessions may do, by keys and rules that can be replaced while sessions run.
#[derive(Debug)]
pub struct Authority {
    /// Read once per hello.
    rules: RwLock<Arc<Rules>>,
    ignored_told: Once,
    refusals: RefusalLog,
    bans: Arc<Bans>,
    /// Called when a token names a key that is to be fetched.
    wake: fetched::Wake,
}

/// What a configuration says about tokens.
#[derive(Debug)]
struct Rules {
    keys: KeySet,
    issuers: Issuers,
    /// Accept hellos without a token.
    anonymous: bool,
    /// Permissions of a session without a token, and of a token without `may`.
    anonymous_may: u32,
    /// Permissions of every session while there is no key.
    open_may: u32,
    leeway_ms: u64,
    /// Names of this node in `aud`.
    audience: Vec<String>,
    /// Values of `iss` that are accepted of tokens that the node's own keys prove; none: all.
    issuers_accepted: Vec<String>,
}

impl Authority {
    /// Read the configured keys, if there are any.
    ///
    /// # Errors
    /// A key file that cannot be read or holds no such key. The text says what to do.
    pub fn from_config(auth: &config::Auth) -> Result<Authority, String> {
        let wake = fetched::Wake::default();
        Ok(Authority {
            rules: RwLock::new(Arc::new(Rules::load(auth, &Issuers::default(), &wake)?)),
            ignored_told: Once::new(),
            refusals: RefusalLog::default(),
            bans: Arc::default(),
            wake,
        })
    }

    /// The same, which refuses users and tokens that these name.
    #[must_use]
    pub fn with_bans(self, bans: Arc<Bans>) -> Authority {
        Authority { bans, ..self }
    }

    /// Read the keys and rules again, for every hello and renewal from now on. Sessions that a removed key
    /// let in go on until their token runs out.
    ///
    /// # Errors
    /// Those of [`Self::from_config`]; what was in force stays.
    pub fn reload(&self, auth: &config::Auth) -> Result<(), String> {
        let rules = Arc::new(Rules::load(auth, &self.rules().issuers, &self.wake)?);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    /// The files that [`Self::reload`] reads, to be watched.
    pub fn files(auth: &config::Auth) -> Vec<PathBuf> {
        let own = KeySource::all(auth).into_iter().filter_map(|source| source.path(auth));
        own.chain(Issuers::files(auth)).collect()
    }

    /// Keys that are fetched, of this moment: a reload may add some.
    pub fn fetched(&self) -> Vec<Arc<FetchedKeys>> {
        self.rules().issuers.fetched().cloned().collect()
    }

    /// From now on this is called when a token names a key that is to be fetched. The first call counts.
    pub fn on_keys_wanted(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wake.set(Box::new(wake));
    }

    /// Is there no key, so that every session may do what `auth.open_may` says?
    pub fn runs_open(&self) -> bool {
        self.rules().is_open()
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Rules {
    fn load(auth: &config::Auth, before: &Issuers, wake: &fetched::Wake) -> Result<Rules, String> {
        Ok(Rules {
            keys: KeySet::load(auth)?,
            issuers: Issuers::load(auth, before, wake)?,
            anonymous: auth.anonymous,
            anonymous_may: bits(&auth.anonymous_may),
            open_may: bits(&auth.open_may),
            leeway_ms: auth.leeway_s.saturating_mul(1_000),
            audience: auth.audience.clone(),
            issuers_accepted: auth.issuer.clone(),
        })
    }

    fn is_open(&self) -> bool {
        self.keys.is_empty() && self.issuers.is_empty()
    }

    fn named(&self, token: &str, wished_name: &str, now_unix_ms: u64) -> Result<Grant, Denied> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(unauthorized("the token has over 4096 bytes"));
        }
        let (claims, prefix) = self.prove(token, now_unix_ms)?;
        let expires_unix_ms = claims.expires_unix_ms(now_unix_ms, self.leeway_ms)?;
        let is_anothers = |name: &str| self.issuers.is_anothers(prefix, name);
        Ok(Grant {
            user: claims.user(prefix, is_anothers)?,
            name: match claims.name() {
                Name::Missing => wished_name.into(),
                Name::Unusable => "".into(),
                Name::Given(name) => name,
            },
            role: claims.role()?,
            permissions: claims.permissions()?.unwrap_or(self.anonymous_may | by_role(claims.role()?)),
            expiry: Some(Expiry { expires_unix_ms, leeway_ms: self.leeway_ms }),
            rooms: claims.rooms()?,
            token: claims.token(prefix, is_anothers)?,
        })
    }

    /// The claims of a token, proven by the keys of its issuer, for which and for whose audience it is; and
    /// what its users' names begin with.
    fn prove(&self, token: &str, now_unix_ms: u64) -> Result<(Claims, &str), Denied> {
        // What is no token, or has claims of another form, is refused below with a reason.
        let iss = match self.issuers.is_empty() {
            true => None,
            false => keys::fields(token).ok().and_then(|fields| Claims::of(fields).ok()),
        };
        let Some(issuer) = iss.as_ref().and_then(Claims::issuer).and_then(|iss| self.issuers.named(iss))
        else {
            if self.keys.is_empty() {
                keys::header(token)?;
                return Err(unauthorized("the token is by no issuer (iss) of auth.issuers_file"));
            }
            let claims = self.keys.verify(token, &keys::header(token)?)?;
            claims.check_audience(&self.audience, true)?;
            claims.check_issuer(&self.issuers_accepted)?;
            return Ok((claims, ""));
        };
        let claims = issuer.verify(token, now_unix_ms)?;
        claims.check_audience(&issuer.audience, issuer.audience_required)?;
        Ok((claims, &issuer.user_prefix))
    }
}

impl Authorize for Authority {
    fn authorize(&self, token: &str, wished_name: &str, now_unix_ms: u64) -> Result<Grant, Denied> {
        let rules = self.rules();
        if rules.is_open() {
            if !token.is_empty() {
                self.ignored_told.call_once(|| {
                    tracing::warn!(
                        "a client sent a token, but no auth key is configured: tokens are ignored (told once)"
                    );
                });
            }
            return Ok(Grant::without_token(wished_name, rules.open_may));
        }
        let decided = match token {
            "" if rules.anonymous => Ok(Grant::without_token(wished_name, rules.anonymous_may)),
            "" => Err(unauthorized("this node takes no session without a token")),
            token => rules.named(token, wished_name, now_unix_ms),
        };
        let decided = decided.and_then(|grant| {
            let user = grant.user.map(|user| Subject::User(user.0));
            let token = (grant.token != 0).then_some(Subject::Token(grant.token));
            let denied =
                [user, token].into_iter().flatten().find_map(|subject| self.bans.deny(now_unix_ms, subject));
            denied.map_or(Ok(grant), Err)
        });
        decided.inspect_err(|denied| self.refusals.tell(denied, now_unix_ms))
    }
}

/// Says in the log which claim refused a token, and nothing of the token. At most one line a second:
/// strangers choose how many there are.
#[derive(Debug, Default)]
struct RefusalLog {
    told_s: AtomicU64,
    untold: AtomicU64,
}

impl RefusalLog {
    fn tell(&self, denied: &Denied, now_unix_ms: u64) {
        let now_s = now_unix_ms / 1_000;
        if self.told_s.swap(now_s, Ordering::Relaxed) == now_s {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let untold = self.untold.swap(0, Ordering::Relaxed);
        tracing::info!(untold, "a session was refused: {}", denied.detail);
    }
}

fn unauthorized(detail: &'static str) -> Denied {
    Denied { code: CloseCode::Unauthorized, detail, retry_after_ms: 0 }
}

fn bits(rights: &[Right]) -> u32 {
    rights.iter().fold(0, |bits, &right| bits | bit(right))
}

/// What a role may do that nobody else may by default: who is shown as a moderator is one.
fn by_role(role: Role) -> u32 {
    if matches!(role, Role::Moderator | Role::Host) { permission::MODERATE } else { 0 }
}

fn bit(right: Right) -> u32 {
    match right {
        Right::Publish => permission::PUBLISH,
        Right::React => permission::REACT,
        Right::State => permission::STATE,
        Right::Bridge => permission::BRIDGE,
        Right::Moderate => permission::MODERATE,
    }
}
