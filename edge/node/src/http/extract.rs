//! Extractors of the HTTP API: names in a path, a query, and a body, with problems for what is not as it
//! must be.
//!
//! Why our own: the framework's rejections are plain text, and none says where in a body the fault is.
//! Invariants: a body of JSON says so in its `Content-Type`; what breaks a rule is named by a JSON pointer.
//! A query with a name that is not known is refused, so that no filter is dropped by a slip of the pen.
//! Not here: the rules of each value (the types), who may ask (`grant`).

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A body of JSON.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

/// A body of JSON that may be left out: then it is `T::default()`.
#[derive(Clone, Debug)]
pub struct OptionalJson<T>(pub T);

/// The body, byte by byte.
#[derive(Clone, Debug)]
pub struct Body(pub Bytes);

/// The query of the request.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

/// The names in the path, percent-decoded.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Problem> {
        check_type(request.headers(), is_json, "application/json")?;
        let Body(bytes) = Body::from_request(request, state).await?;
        parse(&bytes).map(Json)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<OptionalJson<T>, Problem> {
        let is_given = request.headers().contains_key(header::CONTENT_TYPE);
        if is_given {
            check_type(request.headers(), is_json, "application/json")?;
        }
        let Body(bytes) = Body::from_request(request, state).await?;
        match bytes.is_empty() {
            true => Ok(OptionalJson(T::default())),
            // `null` says as little as no body.
            false if is_given && bytes.trim_ascii() == b"null" => Ok(OptionalJson(T::default())),
            false if is_given => parse(&bytes).map(OptionalJson),
            false => Err(wrong_type("application/json")),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Body, Problem> {
        Bytes::from_request(request, state).await.map(Body).map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                let detail = "the body has more bytes than this operation takes: send less at a time";
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", detail)
            }
            other => Problem::bad_request(format!("the body did not come whole: {}", other.body_text())),
        })
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(inner)| Query(inner)).map_err(|rejection| {
            let detail = rejection.body_text();
            let detail = detail.strip_prefix("Failed to deserialize query string: ").unwrap_or(&detail);
            Problem::bad_request(format!("the query is not as expected: {detail}"))
        })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(inner)| Path(inner)).map_err(|rejection| {
            let detail = rejection.body_text();
            let detail = detail.strip_prefix("Invalid URL: ").unwrap_or(&detail);
            Problem::bad_request(format!("the path is not as expected: {detail}"))
        })
    }
}

/// Is the body of this media type?
///
/// # Errors
/// 415: it is of another one, or says none.
pub fn check_type(
    headers: &HeaderMap,
    is_meant: fn(&str) -> bool,
    wanted: &'static str,
) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if is_meant(&essence) { Ok(()) } else { Err(wrong_type(wanted)) }
}

fn is_json(essence: &str) -> bool {
    essence == "application/json"
}

fn wrong_type(wanted: &str) -> Problem {
    let detail = format!("this operation takes a body of {wanted}: say so in Content-Type");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", detail)
}

/// JSON of a body or of a line.
///
/// # Errors
/// 400: it is no JSON; 422: it breaks a rule, and where.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A struct is also read from a list of its fields, which no description has.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::in_body("", "expected an object"));
    }
    let reader = &mut serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut *reader).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.inner();
        match inner.classify() {
            serde_json::error::Category::Data => Problem::in_body(pointer, inner.to_string()),
            _ => Problem::bad_request(format!("the body is no JSON: {inner}")),
        }
    })?;
    let end = reader.end();
    end.map_err(|error| Problem::bad_request(format!("the body has more than one JSON value: {error}")))?;
    Ok(value)
}

/// A path within a value, as RFC 6901 writes it.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sent {
        #[expect(dead_code, reason = "it is read only by the parser")]
        a: Vec<u8>,
    }

    #[test]
    fn what_is_wrong_in_a_body_is_named_by_a_pointer() {
        let fault = |body: &str| parse::<Sent>(body.as_bytes()).unwrap_err().to_json();
        assert_eq!(fault(r#"{"a":[1,2,"x"]}"#)["errors"][0]["pointer"], "/a/2");
        assert_eq!(fault(r#"{"a":[1],"b/c":2}"#)["errors"][0]["pointer"], "/b~1c");
        assert_eq!(fault("{}")["status"], 422);
        assert_eq!(fault(r#"{"a":[1"#)["status"], 400);
        assert_eq!(fault(r#"{"a":[1]} {"a":[2]}"#)["status"], 400);
    }
}
