//! Requests of the API: what is done before and after every operation.
//!
//! A request gets a number, its key is looked up, the key's rate is judged, and its answer gets the headers
//! that all answers have. Whatever failed on the way, in the framework too, is answered with a problem.
//! Invariants: without a valid key there is no answer but 401 (`/openapi.json` is for everybody). Every
//! answer has `X-Request-Id`, and every problem names it.
//! Not here: what an operation needs (`grant`), what it does (the other files).

use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::rates::Answer as Rate;
use crate::api_keys::{ApiKey, Refused};
use crate::http::grant::no_key;
use crate::http::problem::{MEDIA_TYPE, Problem};
use crate::logging::Escaped;

/// The header with the number of a request. A client's own number is kept.
const REQUEST_ID: &str = "x-request-id";

/// Bytes of a client's number.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Paths that need no key.
const OPEN: &[&str] = &["/openapi.json"];

/// Resources whose own rules say who may use them, also without an API key: pages show pictures, and viewers
/// have tokens (`media::people`).
const OWN_RULES: &[&str] = &["/v1/uploads", "/v1/previews", "/v1/gifs"];

/// The pages of the documentation, where the build has them.
const OPEN_BELOW: &str = "/docs";

/// The part around every operation.
pub(super) async fn handle(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers()).unwrap_or_else(|| api.next_request_id());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut rate = None;
    let response = match admit(&api, &request, &mut rate) {
        Ok(key) => {
            if let Some(key) = key {
                request.extensions_mut().insert(key);
            }
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    let mut response = as_problem(response, &method, &path, &id);
    tracing::debug!(%method, path = %Escaped(&path), status = response.status().as_u16(), id, "API request");
    let headers = response.headers_mut();
    if let Some(rate) = rate {
        rate.into_headers(headers);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The key of the request, if it is valid and within its rate. `None`: the path needs no key.
fn admit(api: &Api, request: &Request, rate: &mut Option<Rate>) -> Result<Option<Arc<ApiKey>>, Problem> {
    let path = request.uri().path();
    if OPEN.contains(&path) || path == OPEN_BELOW || path.starts_with("/docs/") {
        return Ok(None);
    }
    if has_own_rules(path) && !shows_api_key(request.headers()) {
        return Ok(None);
    }
    let shown = bearer(request.headers())?;
    let key = api.keys.find(shown).map_err(|refused| {
        let detail = match refused {
            Refused::Malformed => "this is no key of the API: it begins with gsk_ and ends with a checksum",
            Refused::Unknown => "this key is not known here",
            Refused::Revoked => "this key was revoked: use the next one",
            Refused::Expired => "the time of this key is over: use the next one",
        };
        Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail)
    })?;
    let answer = api.rates.take(&key.id, api.clock.uptime());
    let wait_ms = answer.wait_ms;
    *rate = Some(answer);
    match wait_ms {
        None => Ok(Some(key)),
        Some(ms) => {
            let detail = format!("this key has used up its rate: wait {ms} ms");
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "RateLimited", detail);
            Err(problem.with_retry(Some(ms)))
        }
    }
}

/// Is this below a resource with rules of its own?
fn has_own_rules(path: &str) -> bool {
    let is_below =
        |&own: &&str| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    OWN_RULES.iter().any(is_below)
}

fn shows_api_key(headers: &HeaderMap) -> bool {
    bearer(headers).is_ok_and(|shown| shown.starts_with("gsk_"))
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(no_key)?;
    let (scheme, key) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(no_key)?;
    let is_one = values.next().is_none() && scheme.eq_ignore_ascii_case("bearer");
    if is_one { Ok(key.trim()) } else { Err(no_key()) }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_fine = (1..=REQUEST_ID_BYTES_MAX).contains(&given.len())
        && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_fine.then(|| given.to_owned())
}

/// A failure, of an operation or of the framework, as a problem with the request's number.
fn as_problem(mut response: Response, method: &Method, path: &str, id: &str) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let known = response.extensions_mut().remove::<Problem>();
    let problem = known.or_else(|| {
        // A router that others mount may have bodies of its own.
        let is_text = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_none_or(|kind| kind == "text/plain; charset=utf-8");
        (is_text || response.body().is_end_stream()).then(|| of_framework(status, method, path))
    });
    let Some(problem) = problem else { return response };
    let mut rendered = problem.with_instance(id).into_response();
    rendered.extensions_mut().remove::<Problem>();
    // What the failure said in headers (Allow, RateLimit) stays.
    for (name, value) in response.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name)
            && !rendered.headers().contains_key(name)
        {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    debug_assert_eq!(rendered.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    rendered
}

fn of_framework(status: StatusCode, method: &Method, path: &str) -> Problem {
    match status {
        StatusCode::NOT_FOUND => {
            Problem::not_found(format!("there is nothing at {path}: /openapi.json lists all operations"))
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            let detail = format!("{method} is not for {path}: Allow lists the methods that are");
            Problem::new(status, "MethodNotAllowed", detail)
        }
        status => Problem::new(status, "Failed", status.canonical_reason().unwrap_or("the request failed")),
    }
}
