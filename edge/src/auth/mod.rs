//! Authority: decides what a session may do. Tokens are checked once in the hello; tickets carry a session
//! over a reconnect.
//!
//! Why: what a session may do is decided in one place, from one configured key and one string, before
//! anything else of the session exists.
//! Invariants: a token never causes a fetch. A token that is not accepted is never treated as a missing one.
//! Not here: the effect of a permission (`audience`), the paths of keys (`config`), rates.

mod claims;
mod quic_key;
#[cfg(test)]
mod tests;
mod ticket;
mod ticket_keys;

use std::sync::Once;

use grandstand_edge_core::auth::{Authorize, Denied, Grant, check_wished_name};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::permission;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use crate::config::{self, Config, Right};
use claims::Claims;
pub use ticket::Tickets;

/// Decides what sessions may do.
#[derive(Debug)]
pub struct Authority {
    key: Option<Key>,
    /// Accept hellos without a token.
    anonymous: bool,
    /// Permissions of a session without a token, and of a token without `may`.
    anonymous_may: u32,
    /// Permissions of every session while there is no key.
    open_may: u32,
    leeway_ms: u64,
    ignored_told: Once,
}

/// A key and the one algorithm that it is used with.
#[derive(Debug)]
struct Key {
    decoding: DecodingKey,
    validation: Validation,
}

impl Authority {
    /// Read the configured key, if there is one.
    ///
    /// # Errors
    /// A key file that cannot be read or holds no such key. The text says what to do.
    pub fn from_config(auth: &config::Auth) -> Result<Authority, String> {
        Ok(Authority {
            key: Key::from_config(auth)?,
            anonymous: auth.anonymous,
            anonymous_may: bits(&auth.anonymous_may),
            open_may: bits(&auth.open_may),
            leeway_ms: auth.leeway_s.saturating_mul(1_000),
            ignored_told: Once::new(),
        })
    }

    /// Is there no key, so that every session may do what `auth.open_may` says?
    pub fn runs_open(&self) -> bool {
        self.key.is_none()
    }

    fn open(&self, token: &str, name: &str) -> Grant {
        if !token.is_empty() {
            self.ignored_told.call_once(|| {
                tracing::warn!(
                    "a client sent a token, but no auth key is configured: tokens are ignored (told once)"
                );
            });
        }
        Grant::without_token(name, self.open_may)
    }

    fn named(&self, key: &Key, token: &str, wished_name: &str, now_unix_ms: u64) -> Result<Grant, Denied> {
        let claims = key.verify(token)?;
        let expires_unix_ms = claims.check_times(now_unix_ms, self.leeway_ms)?;
        Ok(Grant {
            user: claims.user()?,
            name: claims.name()?.unwrap_or(wished_name).into(),
            role: claims.role()?,
            permissions: claims.permissions()?.unwrap_or(self.anonymous_may),
            expires_unix_ms: Some(expires_unix_ms),
            rooms: claims.rooms()?,
        })
    }
}

impl Authorize for Authority {
    fn authorize(&self, token: &str, wished_name: &str, now_unix_ms: u64) -> Result<Grant, Denied> {
        let wished_name = check_wished_name(wished_name)?;
        match &self.key {
            None => Ok(self.open(token, wished_name)),
            Some(key) if !token.is_empty() => self.named(key, token, wished_name, now_unix_ms),
            Some(_) if self.anonymous => Ok(Grant::without_token(wished_name, self.anonymous_may)),
            Some(_) => Err(unauthorized("this node takes no session without a token")),
        }
    }
}

impl Key {
    fn from_config(auth: &config::Auth) -> Result<Option<Key>, String> {
        if let Some(path) = &auth.eddsa_public_key_file {
            return read_ed_key(path).map(|decoding| Some(Key::new(decoding, Algorithm::EdDSA)));
        }
        let config = Config { auth: auth.clone(), ..Config::default() };
        let secret = config.hs256_secret().map_err(|error| error.to_string())?;
        Ok(secret.map(|secret| Key::new(DecodingKey::from_secret(secret.expose()), Algorithm::HS256)))
    }

    /// The times are checked against the time passed in, not against the library's clock. A token for an
    /// audience (`aud`) is refused, as RFC 7519, 4.1.3 requires, since this node has no audience name.
    fn new(decoding: DecodingKey, algorithm: Algorithm) -> Key {
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Key { decoding, validation }
    }

    /// Check the signature, then parse the claims. Of the header only `alg` and `crit` are read.
    fn verify(&self, token: &str) -> Result<Claims, Denied> {
        use jsonwebtoken::errors::ErrorKind;
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        let token = decoded.map_err(|error| {
            unauthorized(match error.kind() {
                ErrorKind::InvalidSignature => "the token's signature does not fit this node's key",
                ErrorKind::InvalidAlgorithm => "the token's algorithm is not the one of this node's key",
                ErrorKind::InvalidAudience => "the token is for another audience",
                ErrorKind::Json(_) => "the token's header or claims are not of the expected form",
                _ => "the token is not a valid JWT",
            })
        })?;
        if token.header.crit.is_some() {
            return Err(unauthorized("the token's header asks for extensions that this node does not have"));
        }
        Ok(token.claims)
    }
}

/// Ed25519 public keys have 32 bytes (RFC 8032, 5.1.5).
const ED25519_KEY_BYTES: usize = 32;

/// The first bytes of a `SubjectPublicKeyInfo` of Ed25519, before the key itself (RFC 8410, 4 and 10.1).
const ED25519_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn read_ed_key(path: &std::path::Path) -> Result<DecodingKey, String> {
    let fault = |what: &str| format!("the file of auth.eddsa_public_key_file, {}, {what}", path.display());
    let pem = std::fs::read(path)
        .map_err(|e| fault(&format!("cannot be read: {e}; name a file that the node may read")))?;
    if pem.windows(11).any(|w| w == b"PRIVATE KEY") {
        return Err(fault(
            "holds a private key, which this node must not have; name the public one \
             (`openssl pkey -in private.pem -pubout -out public.pem`)",
        ));
    }
    let key = SubjectPublicKeyInfoDer::from_pem_slice(&pem).ok();
    let key = key.as_ref().and_then(|der| der.strip_prefix(ED25519_PREFIX));
    key.filter(|key| key.len() == ED25519_KEY_BYTES).map(DecodingKey::from_ed_der).ok_or_else(|| {
        fault("holds no Ed25519 public key in PEM form, `-----BEGIN PUBLIC KEY-----` (`openssl genpkey -algorithm ed25519`)")
    })
}

fn unauthorized(detail: &'static str) -> Denied {
    Denied { code: CloseCode::Unauthorized, detail }
}

fn bits(rights: &[Right]) -> u32 {
    rights.iter().fold(0, |bits, &right| bits | bit(right))
}

fn bit(right: Right) -> u32 {
    match right {
        Right::Publish => permission::PUBLISH,
        Right::React => permission::REACT,
        Right::State => permission::STATE,
        Right::Bridge => permission::BRIDGE,
    }
}
