//! Keys of tokens: where they come from, and which of them a token is checked with.
//!
//! Why several: a new key must be accepted before the last token of the old one has run out. Why a key has
//! one algorithm: a public key that was used as a shared secret would open the node to everybody.
//! Invariants: nothing is fetched or followed because of a token. A token that names a key is checked with
//! the keys of that name, else with those that have none; without a name all are tried, which are few.
//! Not here: what the claims mean (`claims`), when files are read again (`super::Authority::reload`).

use std::fs;
use std::path::{Path, PathBuf};

use grandstand_edge_core::auth::Denied;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::claims::Claims;
use super::json::Fields;
use super::unauthorized;
use crate::config::{self, Config};

/// Keys that one node checks tokens with. Each is tried on a token without `kid`.
const KEYS_MAX: usize = 16;

/// Where keys come from. Sets of keys that are fetched will be another variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySource {
    /// `auth.hs256_secret`, or the file of it.
    Secret,
    /// `auth.eddsa_public_key_file`.
    PublicKey(PathBuf),
    /// An entry of `auth.key_files`: the name by which tokens ask for the key, if it has one, and the file.
    File { kid: Option<String>, path: PathBuf },
}

impl KeySource {
    /// The sources that a configuration names.
    pub(super) fn all(auth: &config::Auth) -> Vec<KeySource> {
        let secret = auth.hs256_secret.is_some() || auth.hs256_secret_file.is_some();
        let secret = secret.then_some(KeySource::Secret);
        let public = auth.eddsa_public_key_file.clone().map(KeySource::PublicKey);
        let files = auth.key_files.iter().map(|entry| match entry.split_once('=') {
            Some((kid, path)) => KeySource::File { kid: Some(kid.to_owned()), path: path.into() },
            None => KeySource::File { kid: None, path: entry.into() },
        });
        secret.into_iter().chain(public).chain(files).collect()
    }

    /// The file that is read.
    pub(super) fn path(&self, auth: &config::Auth) -> Option<PathBuf> {
        match self {
            KeySource::Secret => auth.hs256_secret_file.clone(),
            KeySource::PublicKey(path) | KeySource::File { path, .. } => Some(path.clone()),
        }
    }

    fn load(&self, auth: &config::Auth) -> Result<Key, String> {
        match self {
            KeySource::Secret => {
                let config = Config { auth: auth.clone(), ..Config::default() };
                let secret = config.hs256_secret().map_err(|error| error.to_string())?;
                let secret = secret.ok_or("auth.hs256_secret is empty")?;
                Ok(Key::hs256(None, secret.expose()))
            }
            KeySource::PublicKey(path) => {
                let pem = read(path, "auth.eddsa_public_key_file")?;
                let key = ed_key(&pem).map_err(|what| fault(path, "auth.eddsa_public_key_file", what))?;
                Ok(Key::new(None, key, Algorithm::EdDSA))
            }
            KeySource::File { kid, path } => {
                let text = read(path, "auth.key_files")?;
                let in_file = |what| fault(path, "auth.key_files", what);
                // A file that is meant as PEM is never a secret: its content is public.
                if text.windows(5).any(|w| w == b"-----") {
                    let key = ed_key(&text).map_err(in_file)?;
                    return Ok(Key::new(kid.clone(), key, Algorithm::EdDSA));
                }
                let secret = text.trim_ascii_end();
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(in_file(
                        "holds a secret of fewer than 32 bytes; make one with `openssl rand -hex 32`",
                    ));
                }
                Ok(Key::hs256(kid.clone(), secret))
            }
        }
    }
}

/// Shortest shared secret (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// The keys of one node.
#[derive(Debug)]
pub(super) struct KeySet(Vec<Key>);

impl KeySet {
    /// Read every source of a configuration.
    ///
    /// # Errors
    /// The first source that cannot be read, or too many. The text says what to do.
    pub(super) fn load(auth: &config::Auth) -> Result<KeySet, String> {
        let sources = KeySource::all(auth);
        if sources.len() > KEYS_MAX {
            return Err(format!(
                "auth.key_files names {} keys; at most {KEYS_MAX}: drop those whose tokens have run out",
                sources.len()
            ));
        }
        sources.iter().map(|source| source.load(auth)).collect::<Result<_, _>>().map(KeySet)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Check a token's signature, then read its claims. Of the header only `alg`, `kid` and `crit` are used.
    ///
    /// # Errors
    /// `Unauthorized`, with what was wrong with the token.
    pub(super) fn verify(&self, token: &str) -> Result<Claims, Denied> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| unauthorized(why(&error)))?;
        if header.crit.is_some() {
            return Err(unauthorized(
                "the token's header asks for extensions that this node does not have (crit)",
            ));
        }
        let kid = header.kid.as_deref();
        let is_named = kid.is_some_and(|kid| self.0.iter().any(|key| key.kid.as_deref() == Some(kid)));
        let mut candidates = self.0.iter().filter(|key| match &key.kid {
            Some(of) => kid.is_none_or(|kid| kid == of),
            None => !is_named,
        });
        let Some(first) = candidates.next() else {
            return Err(unauthorized("the token names a key (kid) that this node does not have"));
        };
        let mut checked = first.check(token, header.alg);
        for key in candidates {
            if checked.is_ok() {
                break;
            }
            // A key of the right algorithm says more than one of another.
            checked = key
                .check(token, header.alg)
                .or_else(|last| if last == WRONG_ALGORITHM { checked } else { Err(last) });
        }
        checked.map_err(unauthorized)?;
        // The signature is good, so these are the issuer's words; `Fields` reads them more strictly than the
        // library would.
        let fields: Fields = insecure_decode_claims(token).map_err(|error| unauthorized(why(&error)))?;
        Claims::of(fields)
    }
}

/// A key and the one algorithm that it is used with.
#[derive(Debug)]
struct Key {
    kid: Option<String>,
    decoding: DecodingKey,
    algorithm: Algorithm,
}

impl Key {
    fn hs256(kid: Option<String>, secret: &[u8]) -> Key {
        Key::new(kid, DecodingKey::from_secret(secret), Algorithm::HS256)
    }

    fn new(kid: Option<String>, decoding: DecodingKey, algorithm: Algorithm) -> Key {
        Key { kid, decoding, algorithm }
    }

    /// Does the token's signature fit this key, by the key's own algorithm?
    fn check(&self, token: &str, algorithm: Algorithm) -> Result<(), &'static str> {
        if algorithm != self.algorithm {
            return Err(WRONG_ALGORITHM);
        }
        let (message, signature) = token.rsplit_once('.').ok_or("the token is not a valid JWT")?;
        match crypto::verify(signature, message.as_bytes(), &self.decoding, self.algorithm) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the token's signature does not fit this node's keys"),
            Err(error) => Err(why(&error)),
        }
    }
}

const WRONG_ALGORITHM: &str = "the token's algorithm (alg) is not one of this node's keys";

fn why(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidAlgorithm => WRONG_ALGORITHM,
        ErrorKind::Json(_) => "the token's header or claims are not of the expected form",
        _ => "the token is not a valid JWT",
    }
}

/// Ed25519 public keys have 32 bytes (RFC 8032, 5.1.5).
const ED25519_KEY_BYTES: usize = 32;

/// The first bytes of a `SubjectPublicKeyInfo` of Ed25519, before the key itself (RFC 8410, 4 and 10.1).
const ED25519_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn read(path: &Path, name: &str) -> Result<Vec<u8>, String> {
    fs::read(path)
        .map_err(|e| fault(path, name, &format!("cannot be read: {e}; name a file that the node may read")))
}

fn fault(path: &Path, name: &str, what: &str) -> String {
    format!("the file of {name}, {}, {what}", path.display())
}

fn ed_key(pem: &[u8]) -> Result<DecodingKey, &'static str> {
    if pem.windows(11).any(|w| w == b"PRIVATE KEY") {
        return Err("holds a private key, which this node must not have; name the public one \
             (`openssl pkey -in private.pem -pubout -out public.pem`)");
    }
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok();
    let key = key.as_ref().and_then(|der| der.strip_prefix(ED25519_PREFIX));
    key.filter(|key| key.len() == ED25519_KEY_BYTES).map(DecodingKey::from_ed_der).ok_or(
        "holds no Ed25519 public key in PEM form, `-----BEGIN PUBLIC KEY-----` (`openssl genpkey -algorithm ed25519`)",
    )
}
