//! Keys of tokens: where they come from, and which of them a token is checked with.
//!
//! Why several: a new key must be accepted before the last token of the old one has run out.
//! Invariants: nothing is fetched or followed because of a token. A token that names a key is checked with
//! the keys of that name, else with those that have none; without a name all are tried, which are few.
//! Not here: what a key is (`key`), sets of keys (`jwks`), what the claims mean (`claims`), when files are
//! read again (`super::Authority::reload`).

use std::fs;
use std::path::{Path, PathBuf};

use grandstand_edge_core::auth::Denied;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, Header};

use super::claims::Claims;
use super::json::Fields;
use super::jwks::{self, Origin};
use super::key::{Key, WRONG_ALGORITHM, why};
use super::unauthorized;
use crate::config::{self, Config};

/// Keys that are tried on a token without `kid`.
pub(super) const TRIED_MAX: usize = 16;

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySource {
    /// `auth.hs256_secret`, or the file of it.
    Secret,
    /// `auth.eddsa_public_key_file`.
    PublicKey(PathBuf),
    /// An entry of `auth.key_files`, or of an issuer's.
    File(KeyFile),
}

/// A file of keys: the name by which tokens ask for the key, if it has one, and the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyFile {
    pub(super) kid: Option<String>,
    pub(super) path: PathBuf,
}

impl KeyFile {
    /// `PATH` or `KID=PATH`.
    pub(super) fn of_entry(entry: &str) -> KeyFile {
        match entry.split_once('=') {
            Some((kid, path)) => KeyFile { kid: Some(kid.to_owned()), path: path.into() },
            None => KeyFile { kid: None, path: entry.into() },
        }
    }

    /// A set of keys (JSON), a public key (PEM), or else a shared secret.
    pub(super) fn load(&self, name: &str) -> Result<Vec<Key>, String> {
        let text = read(&self.path, name)?;
        let in_file = |what: &str| fault(&self.path, name, what);
        // A file that is meant as PEM or JSON is never a secret: its content is public.
        if text.trim_ascii_start().starts_with(b"{") {
            let mut keys = jwks::read(&text, Origin::File).map_err(|what| in_file(&what))?;
            return match (&self.kid, &mut *keys) {
                (None, _) => Ok(keys),
                (Some(kid), [key]) => {
                    key.kid = Some(kid.clone());
                    Ok(keys)
                }
                (Some(_), _) => {
                    Err(in_file("holds several keys, which have names of their own: leave KID= out"))
                }
            };
        }
        let key = if text.windows(5).any(|w| w == b"-----") {
            Key::of_pem(self.kid.clone(), &text)
        } else {
            Key::of_secret(self.kid.clone(), text.trim_ascii_end())
        };
        key.map(|key| vec![key]).map_err(in_file)
    }
}

impl KeySource {
    /// The sources that a configuration names.
    pub(super) fn all(auth: &config::Auth) -> Vec<KeySource> {
        let secret = auth.hs256_secret.is_some() || auth.hs256_secret_file.is_some();
        let secret = secret.then_some(KeySource::Secret);
        let public = auth.eddsa_public_key_file.clone().map(KeySource::PublicKey);
        let files = auth.key_files.iter().map(|entry| KeySource::File(KeyFile::of_entry(entry)));
        secret.into_iter().chain(public).chain(files).collect()
    }

    /// The file that is read.
    pub(super) fn path(&self, auth: &config::Auth) -> Option<PathBuf> {
        match self {
            KeySource::Secret => auth.hs256_secret_file.clone(),
            KeySource::PublicKey(path) | KeySource::File(KeyFile { path, .. }) => Some(path.clone()),
        }
    }

    fn load(&self, auth: &config::Auth) -> Result<Vec<Key>, String> {
        match self {
            KeySource::Secret => {
                let config = Config { auth: auth.clone(), ..Config::default() };
                let secret = config.hs256_secret().map_err(|error| error.to_string())?;
                let secret = secret.ok_or("auth.hs256_secret is empty")?;
                let key = Key::of_secret(None, secret.expose());
                key.map(|key| vec![key]).map_err(|what| format!("auth.hs256_secret {what}"))
            }
            KeySource::PublicKey(path) => {
                let (pem, name) = (read(path, "auth.eddsa_public_key_file")?, "auth.eddsa_public_key_file");
                let key = Key::of_pem(None, &pem).map_err(|what| fault(path, name, what))?;
                if key.algorithm != Algorithm::EdDSA {
                    let what = "holds no Ed25519 public key; name a key of another kind in auth.key_files";
                    return Err(fault(path, name, what));
                }
                Ok(vec![key])
            }
            KeySource::File(file) => file.load("auth.key_files"),
        }
    }
}

/// Keys of one issuer, or of the node's own configuration.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

impl KeySet {
    /// Read every source of a configuration.
    ///
    /// # Errors
    /// The first source that cannot be read, or too many. The text says what to do.
    pub(super) fn load(auth: &config::Auth) -> Result<KeySet, String> {
        let sources = KeySource::all(auth);
        if sources.len() > TRIED_MAX {
            return Err(format!(
                "auth.key_files names {} keys; at most {TRIED_MAX}: drop those whose tokens have run out",
                sources.len()
            ));
        }
        let keys: Vec<Vec<Key>> = sources.iter().map(|source| source.load(auth)).collect::<Result<_, _>>()?;
        Ok(KeySet(keys.into_iter().flatten().collect()))
    }

    pub(super) fn of(keys: Vec<Key>) -> KeySet {
        KeySet(keys)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Would a token with this name of a key be checked with any of these?
    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        self.candidates(kid).next().is_some()
    }

    fn candidates<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let is_named = kid.is_some_and(|kid| self.0.iter().any(|key| key.kid.as_deref() == Some(kid)));
        self.0.iter().filter(move |key| match &key.kid {
            Some(of) => kid.is_none_or(|kid| kid == of),
            None => !is_named,
        })
    }

    /// Check a token's signature, then read its claims. Of the header only `alg`, `kid` and `crit` are used.
    ///
    /// # Errors
    /// `Unauthorized`, with what was wrong with the token.
    pub(super) fn verify(&self, token: &str, header: &Header) -> Result<Claims, Denied> {
        let kid = header.kid.as_deref();
        if kid.is_none() && self.0.iter().filter(|key| key.algorithm == header.alg).count() > TRIED_MAX {
            return Err(unauthorized(
                "the token must name its key (kid): its issuer has too many to try all",
            ));
        }
        let mut candidates = self.candidates(kid);
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
        Claims::of(fields(token)?)
    }
}

/// The header of a token.
///
/// # Errors
/// It is none, or asks for what this node does not have.
pub(super) fn header(token: &str) -> Result<Header, Denied> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| unauthorized(why(&error)))?;
    if header.crit.is_some() {
        return Err(unauthorized(
            "the token's header asks for extensions that this node does not have (crit)",
        ));
    }
    Ok(header)
}

/// The claims of a token, whoever wrote them.
///
/// # Errors
/// They are of another form.
pub(super) fn fields(token: &str) -> Result<Fields, Denied> {
    insecure_decode_claims(token).map_err(|error| unauthorized(why(&error)))
}

pub(super) fn read(path: &Path, name: &str) -> Result<Vec<u8>, String> {
    fs::read(path)
        .map_err(|e| fault(path, name, &format!("cannot be read: {e}; name a file that the node may read")))
}

pub(super) fn fault(path: &Path, name: &str, what: &str) -> String {
    format!("the file of {name}, {}, {what}", path.display())
}
