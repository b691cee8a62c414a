//! Routes: the guide over HTTP, under `/v1/guide`.
//!
//! Why here and not in the API: an operation is described beside what it does.
//! Invariants: a query never waits for an import. A document goes to a file while it comes, so that its size
//! costs no memory.
//! Not here: keys and problems (`http`), queries (`grandstand_guide`).

use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use grandstand_guide::Options;
use grandstand_guide::store::{GridQuery, GuideError, Queries, SearchQuery};
use grandstand_guide::time::{self, Zones};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::thread::spool;
use super::{Pushed, Shelf, source};
use crate::http::extract::{Path, Query};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

/// Bytes of a document that is pushed.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;
/// How long a push waits for its import: less than a request may take.
const WAIT: Duration = Duration::from_secs(45);
/// Longest time that a grid shows, seconds.
const GRID_MAX: i64 = 7 * 86_400;

type Guide = State<Arc<Shelf>>;
type Answer = Result<Json<Value>, Problem>;

/// Which part of the grid.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GridParams {
    /// From this time, RFC 3339; now by default.
    from: Option<String>,
    /// To this time; three hours on by default, a week at most.
    to: Option<String>,
    /// Ids of channels, separated by commas; all by default.
    channels: Option<String>,
    /// Channels of a page, 200 at most.
    limit: Option<u16>,
    /// `next` of the page before.
    after: Option<String>,
    /// Zone of times in the answer, such as Europe/London; UTC by default.
    zone: Option<String>,
    /// With descriptions and people.
    full: Option<bool>,
}

/// What to look for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchParams {
    /// Words, and phrases in quotes. The last word may be unfinished.
    q: String,
    /// Airings that end after this time; now by default.
    from: Option<String>,
    /// Airings that begin before this time; four weeks on by default.
    to: Option<String>,
    /// Shows of a page, 100 at most.
    limit: Option<u16>,
    /// `next` of the page before.
    after: Option<String>,
    /// Zone of times in the answer.
    zone: Option<String>,
}

/// How a document is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DocumentParams {
    /// Name of the source.
    source: String,
    /// Zone of times without offset; `utc` by default.
    offset_missing: Option<String>,
    /// Added to all times, such as `-01:00`.
    correct_by: Option<String>,
    /// The language whose titles come first.
    language: Option<String>,
    /// Apply nothing.
    dry_run: Option<bool>,
    /// Apply what would otherwise be refused.
    force: Option<bool>,
}

/// The router of the guide, to be mounted at `/v1/guide`.
pub(crate) fn router(shelf: Arc<Shelf>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(grid))
        .routes(routes!(now))
        .routes(routes!(search))
        .routes(routes!(airing))
        .routes(routes!(reports))
        .routes(routes!(push))
        .with_state(shelf)
}

/// What is on by channel
#[utoipa::path(get, path = "/grid", tag = "guide", operation_id = "guide_grid", params(GridParams),
    responses((status = 200, description = "Channels and their airings.", body = Object)))]
async fn grid(
    _: Grant<{ needs::GUIDE_READ }>,
    State(shelf): Guide,
    Query(params): Query<GridParams>,
) -> Answer {
    let query = grid_query(&params, shelf.now_s())?;
    answer(shelf, move |queries| queries.grid(&query)).await
}

/// What is on now and next, by channel
#[utoipa::path(get, path = "/now", tag = "guide", operation_id = "guide_now", params(GridParams),
    responses((status = 200, description = "Channels with what is on and what begins next.", body = Object)))]
async fn now(
    _: Grant<{ needs::GUIDE_READ }>,
    State(shelf): Guide,
    Query(params): Query<GridParams>,
) -> Answer {
    let query = grid_query(&params, shelf.now_s())?;
    answer(shelf, move |queries| queries.now(query.from, &query)).await
}

/// Shows by words
#[utoipa::path(get, path = "/search", tag = "guide", operation_id = "guide_search", params(SearchParams),
    responses((status = 200, description = "Shows with their next airings, best first.", body = Object)))]
async fn search(
    _: Grant<{ needs::GUIDE_READ }>,
    State(shelf): Guide,
    Query(params): Query<SearchParams>,
) -> Answer {
    let from = instant("from", params.from.as_deref(), shelf.now_s())?;
    let query = SearchQuery {
        text: params.q,
        from,
        to: instant("to", params.to.as_deref(), from + 28 * 86_400)?,
        limit: params.limit.unwrap_or(20).into(),
        after: params.after,
        zone: zone(params.zone.as_deref())?,
    };
    answer(shelf, move |queries| queries.search(&query)).await
}

/// The airing of a room
#[utoipa::path(get, path = "/airings/{room}", tag = "guide", operation_id = "guide_airing",
    params(("room" = String, Path, description = "Name of the room, percent-encoded.")),
    responses((status = 200, description = "The airing.", body = Object)))]
async fn airing(_: Grant<{ needs::GUIDE_READ }>, State(shelf): Guide, Path(room): Path<String>) -> Answer {
    let Json(found) = answer(shelf, move |queries| queries.airing(&room, &time::TimeZone::UTC)).await?;
    if found.is_null() {
        Err(Problem::not_found("the guide has no airing with this room"))
    } else {
        Ok(Json(found))
    }
}

/// The newest report of each source
#[utoipa::path(get, path = "/reports", tag = "guide", operation_id = "guide_reports",
    responses((status = 200, description = "Reports of imports.", body = Object)))]
async fn reports(_: Grant<{ needs::GUIDE_READ }>, State(shelf): Guide) -> Answer {
    answer(shelf, Queries::reports).await
}

/// Import a document
///
/// XMLTV or JSON, plain, gzip or xz. It is applied whole or not at all. 202: it is still being imported, and
/// its report will be among the reports.
#[utoipa::path(post, path = "/documents", tag = "guide", operation_id = "guide_push", params(DocumentParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "The report.", body = Object),
              (status = 202, description = "It is still being imported.", body = Object)))]
async fn push(
    grant: Grant<{ needs::GUIDE_WRITE }>,
    State(shelf): Guide,
    Query(params): Query<DocumentParams>,
    body: Body,
) -> Result<Response, Problem> {
    grant.for_all_rooms()?;
    if !source::is_name(&params.source) {
        return Err(Problem::bad_request("source: expected up to 64 letters, digits, `-`, `_` and `.`"));
    }
    let zones = Zones::parse(
        params.offset_missing.as_deref().unwrap_or_default(),
        params.correct_by.as_deref().unwrap_or_default(),
    );
    let options = Options {
        source: params.source,
        zones: zones.map_err(Problem::bad_request)?,
        language: params.language.unwrap_or_default(),
        force: params.force.unwrap_or(false),
        dry_run: params.dry_run.unwrap_or(false),
        ..Options::default()
    };
    let file = received(&shelf, body).await?;
    let (reply, answer) = oneshot::channel();
    let stopping = || {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Stopping", "the node is stopping: send it again later")
    };
    let pushes = shelf.pushes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    pushes.and_then(|pushes| pushes.send(Pushed { file, options, reply }).ok()).ok_or_else(stopping)?;
    match tokio::time::timeout(WAIT, answer).await {
        Ok(Ok((report, None))) => Ok(Json(report).into_response()),
        Ok(Ok((report, Some(fault)))) => {
            let (status, code) = match report.result.as_str() {
                "refused" => (StatusCode::CONFLICT, "GuideRefused"),
                _ => (StatusCode::UNPROCESSABLE_ENTITY, "DocumentUnusable"),
            };
            Err(Problem::new(status, code, fault))
        }
        Ok(Err(_)) => Err(stopping()),
        Err(_) => {
            Ok((StatusCode::ACCEPTED, Json(serde_json::json!({ "result": "importing" }))).into_response())
        }
    }
}

/// The body as a file.
async fn received(shelf: &Shelf, mut body: Body) -> Result<std::fs::File, Problem> {
    let failed = |error: std::io::Error| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "StorageUnavailable",
            format!("the document cannot be stored: {error}"),
        )
    };
    let mut file = spool(&shelf.dir).map_err(failed)?;
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Problem::bad_request(format!("the body did not come whole: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes > DOCUMENT_BYTES_MAX {
            let detail = format!("a document has at most {DOCUMENT_BYTES_MAX} bytes as it is sent");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", detail));
        }
        file.write_all(&data).map_err(failed)?;
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}

async fn answer<T: serde::Serialize + Send + 'static>(
    shelf: Arc<Shelf>,
    query: impl FnOnce(&Queries) -> Result<T, GuideError> + Send + 'static,
) -> Answer {
    let asked = tokio::task::spawn_blocking(move || {
        let queries = shelf.queries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        query(&queries).map(|found| serde_json::to_value(found).unwrap_or_default())
    });
    match asked.await {
        Ok(Ok(found)) => Ok(Json(found)),
        Ok(Err(error)) => {
            tracing::error!(%error, "the guide cannot be read");
            Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "StorageUnavailable",
                "the guide cannot be read: the node's log has the cause",
            ))
        }
        Err(_) => {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Failed", "the node's log has the cause"))
        }
    }
}

fn grid_query(params: &GridParams, now: i64) -> Result<GridQuery, Problem> {
    let from = instant("from", params.from.as_deref(), now)?;
    let to = instant("to", params.to.as_deref(), from + 3 * 3_600)?;
    if !(from..=from + GRID_MAX).contains(&to) {
        return Err(Problem::bad_request("to: expected a time after from, and at most a week later"));
    }
    let channels = params.channels.as_deref().unwrap_or_default();
    Ok(GridQuery {
        from,
        to,
        channels: channels.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
        limit: params.limit.unwrap_or(50).into(),
        after: params.after.clone(),
        full: params.full.unwrap_or(false),
        zone: zone(params.zone.as_deref())?,
    })
}

fn instant(name: &str, text: Option<&str>, default: i64) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(default) };
    let read = time::read(text, &Zones::default(), None);
    read.map(|read| read.at).ok_or_else(|| {
        Problem::bad_request(format!("{name}: got {text:?}, expected a time such as 2026-03-01T20:00:00Z"))
    })
}

fn zone(name: Option<&str>) -> Result<time::TimeZone, Problem> {
    time::zone(name.unwrap_or("utc")).map_err(|fault| Problem::bad_request(format!("zone: {fault}")))
}
