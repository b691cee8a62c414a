//! Sets of keys as JSON: a JWK, or a JWKS (RFC 7517), of a file or of an issuer's address.
//!
//! Invariants: a set is bounded before it is read. A key that is not for signatures, or of a kind that this
//! node cannot check, is passed by; a set of which nothing is left is a fault, never a set without keys.
//! What an issuer publishes is public, so a shared secret there is none.
//! Not here: what a key must be (`key`), when a set is fetched (`fetched`).

use serde::Deserialize;
use serde_json::Value;

use super::key::{Jwk, Key};

/// Longest set, in bytes.
pub const SET_BYTES_MAX: usize = 65_536;
/// Keys of a set.
const SET_KEYS_MAX: usize = 50;

/// Where a set is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file of the operator's.
    File,
    /// An address that anybody may read.
    Address,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The keys of a set, or of a single JWK.
///
/// # Errors
/// It is too long, no such JSON, or holds no key that tokens can be checked with. The text begins with
/// "holds".
pub(super) fn read(text: &[u8], origin: Origin) -> Result<Vec<Key>, String> {
    if text.len() > SET_BYTES_MAX {
        return Err(format!("holds {} bytes, expected at most {SET_BYTES_MAX}", text.len()));
    }
    let document: Value =
        serde_json::from_slice(text).map_err(|_| "holds no JSON of a key or a set of keys")?;
    let documents = match document.get("keys") {
        Some(_) => {
            serde_json::from_value::<Set>(document).map_err(|_| "holds no list of keys (`keys`)")?.keys
        }
        None => vec![document],
    };
    if documents.len() > SET_KEYS_MAX {
        return Err(format!("holds {} keys, expected at most {SET_KEYS_MAX}", documents.len()));
    }
    let mut passed_by = None;
    let mut keys = Vec::new();
    for document in documents {
        let key = serde_json::from_value::<Jwk>(document).map_err(|_| "holds a key that is none");
        match key.and_then(Key::of_jwk) {
            Ok(key) if key.is_secret() && origin == Origin::Address => {
                passed_by.get_or_insert("holds a shared secret (oct), which everybody can read");
            }
            Ok(key) => keys.push(key),
            Err(why) => drop(passed_by.get_or_insert(why)),
        }
    }
    match (keys.is_empty(), passed_by) {
        (false, _) => Ok(keys),
        (true, Some(why)) => Err(why.to_owned()),
        (true, None) => Err("holds no key".to_owned()),
    }
}
