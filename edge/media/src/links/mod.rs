//! Link previews: the title, description and image that a page says of itself, fetched once for everybody.
//!
//! Why on the server: a viewer's own request would tell its address to whoever posts a link, 15,000 viewers
//! would be 15,000 requests, and pages do not allow foreign scripts to read them.
//! Invariants: a preview is text and a URL, never markup. One fetch of a URL is under way at a time, and its
//! answer or failure is kept for a time. Every URL, also that of the image and of oEmbed, passes the guard.
//! Not here: the page (`page`), the guard (`grandstand-fetch`).

mod oembed;
mod page;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use grandstand_fetch::{FetchError, Fetcher, Request};
use serde::Serialize;

use crate::cache::Cache;
use crate::problem::Problem;

pub use page::read as read_page;

/// Bytes of a page that are read. What a page says of itself is at its beginning.
const PAGE_BYTES: usize = 512 * 1024;

/// Bytes that a page may announce at most: a larger one is hardly a page.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// How long the failure of a fetch is kept.
const FAILURES_KEPT: Duration = Duration::from_secs(600);

/// What a page says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The URL that answered, after redirects.
    pub url: String,
    /// Title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// One or two sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// URL of an image, which passed the rules for URLs and was not fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Why there is no preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPreview {
    /// The URL, or an address behind it, may not be reached.
    Refused(String),
    /// The server's answer has none: another status than 200, no page, or nothing in it.
    Nothing(String),
    /// The server did not answer.
    Unreachable(String),
}

/// What previews did since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Previews that were asked for.
    pub asked: AtomicU64,
    /// Pages that were fetched for them.
    pub fetched: AtomicU64,
    /// Fetches that gave no preview.
    pub failed: AtomicU64,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Links {
    fetcher: Fetcher,
    cache: Cache<Result<Arc<Preview>, NoPreview>>,
    keep: Duration,
    counters: Arc<Counters>,
}

impl Links {
    /// Previews through this client; at most `urls` of them are kept, each for `keep`.
    pub fn new(fetcher: Fetcher, urls: usize, keep: Duration) -> Links {
        Links { fetcher, cache: Cache::new(urls), keep, counters: Arc::default() }
    }

    /// See [`Counters`].
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The preview of a URL.
    ///
    /// # Errors
    /// See [`NoPreview`].
    pub async fn preview(&self, url: &str) -> Result<Arc<Preview>, NoPreview> {
        self.counters.asked.fetch_add(1, Ordering::Relaxed);
        // In its normal form and without a fragment, so that one page has one key.
        let url = self.fetcher.check(url).map_err(|error| NoPreview::of(&error))?;
        let fetch = || {
            let (links, url) = (self.clone(), url.clone());
            async move {
                links.counters.fetched.fetch_add(1, Ordering::Relaxed);
                let preview = links.fetch(&url).await;
                if preview.is_err() {
                    links.counters.failed.fetch_add(1, Ordering::Relaxed);
                }
                let keep = if preview.is_ok() { links.keep } else { FAILURES_KEPT.min(links.keep) };
                (preview.map(Arc::new), keep)
            }
        };
        let kept = self.cache.get(&url, fetch).await;
        kept.unwrap_or_else(|| Err(NoPreview::Unreachable("the fetch ended without an answer".to_owned())))
    }

    async fn fetch(&self, url: &str) -> Result<Preview, NoPreview> {
        if let Some(endpoint) = oembed::endpoint(url)
            && let Ok(preview) = self.embedded(&endpoint, url).await
        {
            return Ok(preview);
        }
        let request =
            Request::get(url).accepting(&["text/html", "application/xhtml+xml"]).bytes_max(PAGE_BYTES_MAX);
        let fault = |error| NoPreview::of(&error);
        let mut opened = self.fetcher.open(&request).await.map_err(fault)?;
        if opened.status != 200 {
            return Err(NoPreview::of_status(opened.status));
        }
        let mut bytes = Vec::new();
        while bytes.len() < PAGE_BYTES
            && let Some(chunk) = opened.chunk().await.map_err(fault)?
        {
            bytes.extend_from_slice(&chunk);
        }
        bytes.truncate(PAGE_BYTES);
        let content_type = opened.headers.get("content-type").and_then(|value| value.to_str().ok());
        let preview = read_page(&bytes, content_type.unwrap_or_default(), &opened.url);
        self.checked(preview)
    }

    async fn embedded(&self, endpoint: &str, url: &str) -> Result<Preview, NoPreview> {
        let request =
            Request::get(endpoint).accepting(&["application/json", "text/json"]).bytes_max(64 * 1024);
        let answer = self.fetcher.send(&request).await.map_err(|error| NoPreview::of(&error))?;
        if answer.status != 200 {
            return Err(NoPreview::of_status(answer.status));
        }
        let preview = oembed::read(&answer.body, url);
        self.checked(
            preview.ok_or_else(|| NoPreview::Nothing("the answer of oEmbed is not valid".to_owned()))?,
        )
    }

    /// Drop an image that the guard does not let pass; without a title there is nothing to show.
    fn checked(&self, mut preview: Preview) -> Result<Preview, NoPreview> {
        preview.image = preview.image.and_then(|image| self.fetcher.check(&image).ok());
        if preview.title.is_none() && preview.description.is_none() {
            return Err(NoPreview::Nothing("the page has no title and no description".to_owned()));
        }
        Ok(preview)
    }
}

impl NoPreview {
    fn of(error: &FetchError) -> NoPreview {
        match error {
            error if error.is_refused() => NoPreview::Refused(error.to_string()),
            error if error.is_passing() => NoPreview::Unreachable(error.to_string()),
            error => NoPreview::Nothing(error.to_string()),
        }
    }

    fn of_status(status: u16) -> NoPreview {
        let detail = format!("the server answered {status}");
        if status >= 500 || status == 429 {
            NoPreview::Unreachable(detail)
        } else {
            NoPreview::Nothing(detail)
        }
    }
}

impl From<NoPreview> for Problem {
    fn from(none: NoPreview) -> Problem {
        match none {
            NoPreview::Refused(detail) => Problem::new(StatusCode::BAD_REQUEST, "BadUrl", detail),
            NoPreview::Nothing(detail) => Problem::new(StatusCode::NOT_FOUND, "NoPreview", detail),
            NoPreview::Unreachable(detail) => Problem::new(StatusCode::BAD_GATEWAY, "Unreachable", detail)
                .retry(FAILURES_KEPT.as_millis() as u64),
        }
    }
}
