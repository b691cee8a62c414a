//! HTTP: uploads, previews and the GIF search as resources.
//!
//! Why a router and no server: the node's API listener has the connections, and nests this under `/v1`.
//! Invariants: what strangers uploaded is served so that a browser takes it for a picture and for nothing
//! else. A resource that is not configured answers 404 and says which key switches it on.
//! Not here: who may do what (`people`), what is done (`uploads`, `links`, `gifs`).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gifs::Gifs;
use crate::image::Format;
use crate::index::Upload;
use crate::links::Links;
use crate::people::{People, Person};
use crate::problem::Problem;
use crate::uploads::Uploads;

/// What is offered, and who may use it.
#[derive(Clone)]
pub struct Media {
    /// Uploads, if they are switched on.
    pub uploads: Option<Arc<Uploads>>,
    /// Previews of links, if they are switched on.
    pub links: Option<Links>,
    /// The GIF search, if it is switched on.
    pub gifs: Option<Gifs>,
    /// Who asks.
    pub people: Arc<dyn People>,
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Media { uploads, links, gifs, people: _ } = self;
        f.debug_struct("Media").field("uploads", uploads).field("links", links).field("gifs", gifs).finish()
    }
}

/// `/uploads`, `/previews` and `/gifs`.
pub fn router(media: Media) -> Router {
    Router::new()
        .route("/uploads", post(upload).get(held))
        .route("/uploads/{id}", get(serve).delete(remove))
        .route("/uploads/{id}/thumbnail", get(thumbnail))
        .route("/uploads/{id}/approve", post(approve))
        .route("/previews", get(preview))
        .route("/gifs", get(search))
        .layer(middleware::from_fn_with_state(media.clone(), for_pages))
        .with_state(media)
}

impl Media {
    fn uploads(&self) -> Result<&Arc<Uploads>, Problem> {
        self.uploads.as_ref().ok_or_else(|| off("uploads.enabled"))
    }

    fn person(&self, request: &Sender) -> Result<Person, Problem> {
        self.people.person(&request.headers, &request.extensions)
    }

    fn moderator(&self, request: &Sender) -> Result<Person, Problem> {
        let person = self.person(request)?;
        let refused = || Problem::new(StatusCode::FORBIDDEN, "Forbidden", "only moderators may do this");
        person.moderates.then_some(person).ok_or_else(refused)
    }
}

/// What of a request names its sender.
struct Sender {
    headers: HeaderMap,
    extensions: Extensions,
}

impl Sender {
    fn of(request: &Request) -> Sender {
        Sender { headers: request.headers().clone(), extensions: request.extensions().clone() }
    }
}

/// Let pages of allowed origins ask and read (CORS). No cookie is ever sent or read.
async fn for_pages(State(media): State<Media>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_allowed =
        |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| media.people.allows_origin(origin));
    let origin = origin.filter(is_allowed);
    let is_question = request.method() == Method::OPTIONS;
    let mut response =
        if is_question { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if is_question {
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
                (header::ACCESS_CONTROL_MAX_AGE, "7200"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
    }
    response
}

fn off(key: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NotOffered", format!("this node does not offer it ({key})"))
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NotFound", "there is no such upload")
}

async fn upload(State(media): State<Media>, request: Request) -> Result<Response, Problem> {
    let uploads = media.uploads()?;
    let person = media.person(&Sender::of(&request))?;
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let length: usize = length.ok_or_else(|| {
        Problem::new(StatusCode::LENGTH_REQUIRED, "LengthRequired", "send the image with its Content-Length")
    })?;
    let body = async move {
        let read = Limited::new(request.into_body(), length).collect().await;
        let read = read.map_err(|error| {
            let is_long = error.downcast_ref::<LengthLimitError>().is_some();
            let detail = if is_long {
                "the body is longer than its Content-Length"
            } else {
                "the body did not come in full"
            };
            Problem::new(StatusCode::BAD_REQUEST, "BadRequest", detail)
        })?;
        Ok(read.to_bytes())
    };
    let upload = uploads.take(&person, length, body).await?;
    Ok((StatusCode::CREATED, axum::Json(described(&upload))).into_response())
}

/// The answer to an upload. `attachment` is what a message carries.
fn described(upload: &Upload) -> Value {
    let Upload { id, format, thumbnail, bytes, width, height, frames, is_held } = upload;
    json!({
        "attachment": format!("upload:{id}"),
        "id": id,
        "url": format!("/v1/uploads/{id}"),
        "type": format.media_type(),
        "bytes": bytes,
        "width": width,
        "height": height,
        "frames": frames,
        "thumbnail": { "url": format!("/v1/uploads/{id}/thumbnail"), "type": thumbnail.media_type() },
        "held": is_held,
    })
}

async fn held(State(media): State<Media>, request: Request) -> Result<Response, Problem> {
    let uploads = media.uploads()?;
    media.moderator(&Sender::of(&request))?;
    let held: Vec<Value> = uploads.held()?.iter().map(described).collect();
    Ok(axum::Json(json!({ "held": held })).into_response())
}

async fn serve(state: State<Media>, id: Path<String>, request: Request) -> Result<Response, Problem> {
    served(state, id, request, false).await
}

async fn thumbnail(state: State<Media>, id: Path<String>, request: Request) -> Result<Response, Problem> {
    served(state, id, request, true).await
}

async fn served(
    State(media): State<Media>,
    Path(id): Path<String>,
    request: Request,
    is_thumbnail: bool,
) -> Result<Response, Problem> {
    let uploads = media.uploads()?;
    // Pictures are asked for by pages without a key; one is looked at only if it is shown.
    let sender = Sender::of(&request);
    let has_key = sender.headers.contains_key(header::AUTHORIZATION);
    let person = if has_key { Some(media.person(&sender)?) } else { None };
    let upload = uploads.find(&id, person.as_ref())?.ok_or_else(unknown)?;
    let format = if is_thumbnail { upload.thumbnail } else { upload.format };
    let etag = format!("\"{id}{}\"", if is_thumbnail { "-t" } else { "" });
    let is_known =
        sender.headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let bytes = uploads.read(&id, is_thumbnail).await?.ok_or_else(unknown)?;
        picture(bytes, format)
    };
    Ok(with_headers(response, &etag, upload.is_held))
}

fn picture(bytes: Bytes, format: Format) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    response
}

/// A browser takes the answer for a picture: it guesses no other type, runs nothing, and may show it on
/// pages of other origins. An address never changes its content, but a held one may yet be removed.
fn with_headers(mut response: Response, etag: &str, is_held: bool) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "inline"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (header::CACHE_CONTROL, if is_held { "no-store" } else { "public, max-age=31536000, immutable" }),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

async fn remove(
    State(media): State<Media>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let uploads = media.uploads()?;
    let person = media.person(&Sender::of(&request))?;
    if uploads.remove(&id, &person).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(unknown())
    }
}

async fn approve(
    State(media): State<Media>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let uploads = media.uploads()?;
    media.moderator(&Sender::of(&request))?;
    if uploads.approve(&id)? { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown()) }
}

#[derive(Deserialize)]
struct PreviewQuery {
    url: Option<String>,
}

async fn preview(
    State(media): State<Media>,
    Query(query): Query<PreviewQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let links = media.links.as_ref().ok_or_else(|| off("links.previews"))?;
    media.person(&Sender::of(&request))?;
    let missing =
        || Problem::new(StatusCode::BAD_REQUEST, "BadRequest", "name the page: /v1/previews?url=URL");
    let preview = links.preview(&query.url.ok_or_else(missing)?).await?;
    Ok(axum::Json(&*preview).into_response())
}

#[derive(Deserialize)]
struct SearchQuery {
    q: Option<String>,
    limit: Option<String>,
}

async fn search(
    State(media): State<Media>,
    Query(query): Query<SearchQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let gifs = media.gifs.as_ref().ok_or_else(|| off("gifs.provider"))?;
    media.person(&Sender::of(&request))?;
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "BadRequest", detail);
    let limit = query.limit.as_deref().unwrap_or("20").parse::<usize>();
    let limit = limit.ok().filter(|limit| (1..=50).contains(limit));
    let limit = limit.ok_or_else(|| bad("`limit` is an integer from 1 to 50"))?;
    let words = query.q.ok_or_else(|| bad("name the words: /v1/gifs?q=WORDS"))?;
    let found = gifs.search(&words, limit).await?;
    Ok(axum::Json(&*found).into_response())
}

#[cfg(test)]
mod tests;
