//! Issuers: who makes tokens for this node, each with keys, audience and users of its own, as
//! `auth.issuers_file` lists them.
//!
//! Why a list: two issuers may name a key, or a user, alike. So a token's `iss` chooses the issuer, whose own
//! keys alone can prove it; and a user is the issuer's prefix and the token's `sub`.
//! Invariants: a token of a listed issuer is checked with no other keys. No issuer can name a user, or a
//! token, that another one's prefix begins. An address of keys is never taken from a token.
//! Not here: the keys of the configuration itself (`keys`), claims (`claims`), when keys are fetched
//! (`fetched`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use grandstand_edge_core::auth::Denied;
use serde::Deserialize;

use super::claims::Claims;
use super::fetched::{FetchedKeys, Wake};
use super::keys::{self, KeyFile, KeySet, TRIED_MAX};
use crate::config;

/// Issuers of one node.
const ISSUERS_MAX: usize = 64;
/// What a file of issuers is called in an error.
const NAME: &str = "auth.issuers_file";

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    issuer: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    iss: String,
    jwks_url: Option<String>,
    #[serde(default)]
    plain_http: bool,
    #[serde(default)]
    key_files: Vec<String>,
    audience: Option<Vec<String>>,
    #[serde(default = "yes")]
    audience_required: bool,
    #[serde(default)]
    user_prefix: String,
    #[serde(default)]
    shares_users: bool,
}

fn yes() -> bool {
    true
}

/// One issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    iss: String,
    pub(super) audience: Vec<String>,
    pub(super) audience_required: bool,
    pub(super) user_prefix: String,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    Files(KeySet),
    Fetched(Arc<FetchedKeys>),
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Issuers(Vec<Issuer>);

impl Issuers {
    /// Read the list. Keys that were fetched for the same issuer from the same address are kept.
    ///
    /// # Errors
    /// The file, or one that it names, cannot be used. The text says what to do.
    pub(super) fn load(auth: &config::Auth, before: &Issuers, wake: &Wake) -> Result<Issuers, String> {
        let Some(path) = &auth.issuers_file else { return Ok(Issuers::default()) };
        let List { issuer: entries } = list(path)?;
        let wrong = |what: &str| keys::fault(path, NAME, what);
        if entries.is_empty() || entries.len() > ISSUERS_MAX {
            return Err(wrong(&format!("lists {} issuers, expected 1 to {ISSUERS_MAX}", entries.len())));
        }
        let mut issuers = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let of = |what: &str| wrong(&format!("has a fault at the issuer {:?}: {what}", entry.iss));
            if entry.iss.is_empty() || entries[..at].iter().any(|other| other.iss == entry.iss) {
                return Err(of("iss must be a text that no other issuer has"));
            }
            let is_own = auth.has_own_key() && entry.user_prefix.is_empty() && !entry.shares_users;
            let is_alike = |other: &Entry| {
                other.user_prefix == entry.user_prefix && !(entry.shares_users && other.shares_users)
            };
            if is_own || entries[..at].iter().any(is_alike) {
                return Err(of(
                    "another issuer, or the keys of auth.key_files, name users alike: give it a \
                     user_prefix of its own, such as \"a:\", or write shares_users = true at both if a sub is the \
                     same person at both",
                ));
            }
            issuers.push(Issuer {
                iss: entry.iss.clone(),
                audience: entry.audience.clone().unwrap_or_else(|| auth.audience.clone()),
                audience_required: entry.audience_required,
                user_prefix: entry.user_prefix.clone(),
                keys: entry.keys(path, before, wake).map_err(|what| of(&what))?,
            });
        }
        Ok(Issuers(issuers))
    }

    /// The file, and those that it names, to be watched.
    pub(super) fn files(auth: &config::Auth) -> Vec<PathBuf> {
        let Some(path) = &auth.issuers_file else { return Vec::new() };
        let entries = list(path).map_or(Vec::new(), |list| list.issuer);
        let named = entries.iter().flat_map(|entry| entry.files(path)).map(|file| file.path);
        [path.clone()].into_iter().chain(named).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token this is, by its `iss`, which is to be proven.
    pub(super) fn named(&self, iss: &str) -> Option<&Issuer> {
        self.0.iter().find(|issuer| issuer.iss == iss)
    }

    /// Those whose keys are fetched.
    pub(super) fn fetched(&self) -> impl Iterator<Item = &Arc<FetchedKeys>> {
        self.0.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Fetched(fetched) => Some(fetched),
            Keys::Files(_) => None,
        })
    }

    /// Does a name under this prefix belong to an issuer with a longer one?
    pub(super) fn is_anothers(&self, prefix: &str, name: &str) -> bool {
        let prefixes = self.0.iter().map(|issuer| &*issuer.user_prefix);
        prefixes.into_iter().any(|other| other.len() > prefix.len() && name.starts_with(other))
    }
}

impl Issuer {
    /// Check a token with this issuer's keys.
    pub(super) fn verify(&self, token: &str, now_unix_ms: u64) -> Result<Claims, Denied> {
        let header = keys::header(token)?;
        match &self.keys {
            Keys::Files(keys) => keys.verify(token, &header),
            Keys::Fetched(keys) => keys.verify(token, &header, now_unix_ms),
        }
    }
}

impl Entry {
    /// Its files: relative paths are relative to the list's.
    fn files(&self, list: &Path) -> impl Iterator<Item = KeyFile> {
        let folder = list.parent().unwrap_or(Path::new("")).to_owned();
        self.key_files.iter().map(move |entry| {
            let file = KeyFile::of_entry(entry);
            KeyFile { path: folder.join(&file.path), ..file }
        })
    }

    fn keys(&self, list: &Path, before: &Issuers, wake: &Wake) -> Result<Keys, String> {
        match &self.jwks_url {
            Some(_) if !self.key_files.is_empty() => {
                Err("give jwks_url or key_files, one of them".to_owned())
            }
            Some(url) => {
                check_url(url, self.plain_http)?;
                let kept = before.fetched().find(|keys| keys.issuer() == self.iss && keys.url() == url);
                let new = || Arc::new(FetchedKeys::new(&self.iss, url, wake.clone()));
                Ok(Keys::Fetched(kept.cloned().unwrap_or_else(new)))
            }
            None if self.key_files.is_empty() || self.key_files.len() > TRIED_MAX => {
                Err(format!("it needs jwks_url, or key_files with 1 to {TRIED_MAX} files"))
            }
            None => {
                let keys =
                    self.files(list).map(|file| file.load("key_files")).collect::<Result<Vec<_>, _>>()?;
                Ok(Keys::Files(KeySet::of(keys.into_iter().flatten().collect())))
            }
        }
    }
}

fn list(path: &Path) -> Result<List, String> {
    let text = keys::read(path, NAME)?;
    let text = String::from_utf8(text).map_err(|_| keys::fault(path, NAME, "is no text in UTF-8"))?;
    toml::from_str(&text).map_err(|error| {
        let what = error.to_string();
        keys::fault(path, NAME, &format!("is no list of issuers: {}", what.trim_end().replace('\n', " ")))
    })
}

/// Keys over plain HTTP are anybody's who is on the way, so only this machine may be asked so.
fn check_url(url: &str, plain_http: bool) -> Result<(), String> {
    let host = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
        (!authority.is_empty() && !authority.contains('@')).then_some(authority)
    };
    let is_local = |host: &str| {
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        ["localhost", "127.0.0.1", "[::1]"].contains(&name.map_or(host, |(name, _)| name))
    };
    let is_good = match url.split_once("://") {
        Some(("https", rest)) => host(rest).is_some(),
        Some(("http", rest)) => host(rest).is_some_and(|host| plain_http || is_local(&host)),
        _ => false,
    };
    if is_good {
        return Ok(());
    }
    Err(format!(
        "jwks_url is {url:?}, expected https://HOST/PATH; http:// needs plain_http = true, except on this machine"
    ))
}
