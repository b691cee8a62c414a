//! `Idempotency-Key`: what makes a repeated publication the same one.
//!
//! The header is that of the draft draft-ietf-httpapi-idempotency-key-header-07, which may change: a quoted
//! text, or here also a bare one. Why no table of answers: the key becomes the nonce of the publication, and
//! the room's memory of nonces (`rooms.nonce_window_ms`) is in its log, so it is one at all nodes and after a
//! restart. Invariants: one request of a key is under way at a time. The nonce of a key follows from the
//! key's holder and the header alone, so any node gives it the same.
//! Not here: what is done with a nonce (`grandstand_engine`).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use axum::http::{HeaderMap, StatusCode};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::http::problem::Problem;

/// The header.
const HEADER: &str = "idempotency-key";

/// Bytes of a key.
const BYTES_MAX: usize = 255;

/// A key of a request, within its holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

/// Keys whose requests are under way at this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Idempotency(Arc<Mutex<HashSet<Key>>>);

/// The request of a key is under way, until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Idempotency, Key);

/// The header, in the description.
pub(super) struct Text;

impl PartialSchema for Text {
    fn schema() -> RefOr<Schema> {
        let text =
            ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(BYTES_MAX));
        text.pattern(Some("^[A-Za-z0-9_:.-]+$")).build().into()
    }
}

impl ToSchema for Text {}

/// The key of a request, if it has one.
///
/// # Errors
/// 400: the header is not one text of 1 to 255 letters, digits and `_ : . -`.
pub(super) fn idempotency_key(headers: &HeaderMap, holder: &str) -> Result<Option<Key>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_key = (1..=BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte))
        && values.next().is_none();
    if !is_key {
        let detail =
            format!("Idempotency-Key: expected one text of 1 to {BYTES_MAX} letters, digits and _ : . -");
        return Err(Problem::bad_request(detail));
    }
    Ok(Some(Key::of(&[holder.as_bytes(), b"\0", text.as_bytes()])))
}

impl Key {
    fn of(parts: &[&[u8]]) -> Key {
        let mut hash = digest::Context::new(&digest::SHA256);
        parts.iter().for_each(|part| hash.update(part));
        Key(hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The key of one line of a request.
    pub(super) fn of_line(self, line: usize) -> Key {
        Key::of(&[&self.0, &line.to_le_bytes()])
    }

    /// The nonce that it becomes.
    pub(super) fn nonce(self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk::<8>().expect("a hash has 32 bytes"))
    }
}

impl Idempotency {
    /// A request with this key begins.
    ///
    /// # Errors
    /// 409: another one is under way.
    pub(super) fn begin(&self, key: Key) -> Result<UnderWay, Problem> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            return Ok(UnderWay(self.clone(), key));
        }
        let detail =
            "a request with this Idempotency-Key is under way: repeat this one when that is answered";
        let problem = Problem::new(StatusCode::CONFLICT, "IdempotencyKeyInUse", detail);
        Err(problem.with_retry(Some(1_000)))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_text_and_its_nonce_is_its_holder_s_own() {
        let key = |text: &str, name| {
            let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), text.parse().unwrap())]);
            idempotency_key(&headers, name).map(|key| key.unwrap())
        };
        let one = key("a-1", "app").unwrap();
        assert_eq!(one, key("\"a-1\"", "app").unwrap(), "quoted, as the draft has it");
        for other in [key("a-2", "app"), key("a-1", "other"), Ok(one.of_line(1)), Ok(one.of_line(2))] {
            assert_ne!(one.nonce(), other.unwrap().nonce());
        }
        for bad in ["", "\"\"", "a b", "a;b", &"x".repeat(256)] {
            assert_eq!(key(bad, "app").unwrap_err().status(), 400, "{bad}");
        }
        let idempotency = Idempotency::default();
        let under_way = idempotency.begin(one).unwrap();
        assert_eq!(idempotency.begin(one).unwrap_err().status(), 409);
        assert!(idempotency.begin(one.of_line(1)).is_ok());
        drop(under_way);
        assert!(idempotency.begin(one).is_ok());
    }
}
