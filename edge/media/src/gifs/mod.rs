//! GIF search: one question to a provider, whose key stays on the server.
//!
//! Why a trait: in 2026 the service that everybody used was shut, and its successors answer differently.
//! Invariants: a viewer never talks to the provider, so neither its address nor the key is told. Only URLs
//! that pass the guard's rules for URLs are answered. Equal questions are asked once.
//! Not here: which provider is configured (the node).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use grandstand_fetch::{FetchError, Fetcher, Request};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::cache::Cache;
use crate::problem::Problem;

/// How long an answer is kept, and a failure.
const KEEP: Duration = Duration::from_secs(600);
const FAILURES_KEPT: Duration = Duration::from_secs(15);

/// Questions that are kept.
const QUESTIONS_MAX: usize = 2_000;

/// Characters of a question, and results of an answer.
const QUESTION_MAX: usize = 50;
const RESULTS_MAX: usize = 50;

/// A found GIF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gif {
    /// The provider's name for it.
    pub id: String,
    /// What it shows, in words.
    pub title: String,
    /// URL of the GIF.
    pub url: String,
    /// URL of a small form, for the list.
    pub preview: String,
    /// Width in pixels; 0: unknown.
    pub width: u32,
    /// Height in pixels; 0: unknown.
    pub height: u32,
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Which provider must be named beside the results: its terms ask for it.
    pub attribution: &'static str,
    /// The results, in the provider's order.
    pub gifs: Vec<Gif>,
}

/// A service that finds GIFs.
pub trait GifProvider: std::fmt::Debug + Send + Sync + 'static {
    /// Words that must stand beside the results.
    fn attribution(&self) -> &'static str;

    /// The URL of a question, key included.
    fn question(&self, words: &str, limit: usize) -> Option<Url>;

    /// The results in an answer.
    fn read(&self, answer: &Value) -> Vec<Gif>;
}

/// A service that answers as Tenor's second version did: KLIPY, and others at a configured address.
#[derive(Debug)]
pub struct TenorLike {
    base: Url,
    key: Key,
    attribution: &'static str,
}

/// GIPHY.
#[derive(Debug)]
pub struct Giphy {
    base: Url,
    key: Key,
}

/// A key, which is not shown.
struct Key(String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl TenorLike {
    /// KLIPY.
    pub fn klipy(key: &str) -> TenorLike {
        let base = Url::parse("https://api.klipy.com/v2/").expect("a constant");
        TenorLike { base, key: Key(key.to_owned()), attribution: "Powered by KLIPY" }
    }

    /// The service at this base URL, to which `search` is added.
    ///
    /// # Errors
    /// The address is no URL that can have a path.
    pub fn at(base: &str, key: &str) -> Result<TenorLike, String> {
        Ok(TenorLike { base: base_url(base)?, key: Key(key.to_owned()), attribution: "" })
    }
}

impl Giphy {
    /// GIPHY at its own address, or at another one.
    ///
    /// # Errors
    /// The address is no URL that can have a path.
    pub fn at(base: Option<&str>, key: &str) -> Result<Giphy, String> {
        Ok(Giphy {
            base: base_url(base.unwrap_or("https://api.giphy.com/v1/gifs/"))?,
            key: Key(key.to_owned()),
        })
    }
}

fn base_url(base: &str) -> Result<Url, String> {
    let base = format!("{}/", base.trim_end_matches('/'));
    Url::parse(&base).map_err(|error| format!("got {base:?}, expected a URL: {error}"))
}

impl GifProvider for TenorLike {
    fn attribution(&self) -> &'static str {
        self.attribution
    }

    fn question(&self, words: &str, limit: usize) -> Option<Url> {
        let mut url = self.base.join("search").ok()?;
        url.query_pairs_mut()
            .append_pair("key", &self.key.0)
            .append_pair("q", words)
            .append_pair("limit", &limit.to_string())
            .append_pair("media_filter", "gif,tinygif")
            .append_pair("contentfilter", "high");
        Some(url)
    }

    fn read(&self, answer: &Value) -> Vec<Gif> {
        let gif = |one: &Value| {
            let media = &one["media_formats"];
            let url = media["gif"]["url"].as_str()?;
            let side = |ix: usize| media["gif"]["dims"][ix].as_u64().unwrap_or(0) as u32;
            Some(Gif {
                id: text(&one["id"]),
                title: text(if one["content_description"].is_string() {
                    &one["content_description"]
                } else {
                    &one["title"]
                }),
                url: url.to_owned(),
                preview: media["tinygif"]["url"].as_str().unwrap_or(url).to_owned(),
                width: side(0),
                height: side(1),
            })
        };
        answer["results"].as_array().map(|all| all.iter().filter_map(gif).collect()).unwrap_or_default()
    }
}

impl GifProvider for Giphy {
    fn attribution(&self) -> &'static str {
        "Powered by GIPHY"
    }

    fn question(&self, words: &str, limit: usize) -> Option<Url> {
        let mut url = self.base.join("search").ok()?;
        url.query_pairs_mut()
            .append_pair("api_key", &self.key.0)
            .append_pair("q", words)
            .append_pair("limit", &limit.to_string())
            .append_pair("rating", "g");
        Some(url)
    }

    fn read(&self, answer: &Value) -> Vec<Gif> {
        let gif = |one: &Value| {
            let original = &one["images"]["original"];
            let url = original["url"].as_str()?;
            // Numbers are texts here.
            let side = |name: &str| original[name].as_str().and_then(|side| side.parse().ok()).unwrap_or(0);
            Some(Gif {
                id: text(&one["id"]),
                title: text(&one["title"]),
                url: url.to_owned(),
                preview: one["images"]["fixed_width_small"]["url"].as_str().unwrap_or(url).to_owned(),
                width: side("width"),
                height: side("height"),
            })
        };
        answer["data"].as_array().map(|all| all.iter().filter_map(gif).collect()).unwrap_or_default()
    }
}

fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A search with its provider and its cache.
#[derive(Clone, Debug)]
pub struct Gifs {
    provider: Arc<dyn GifProvider>,
    fetcher: Fetcher,
    cache: Cache<Result<Arc<Found>, Problem>>,
    searches: Arc<AtomicU64>,
}

impl Gifs {
    /// A search through this client.
    pub fn new(provider: impl GifProvider, fetcher: Fetcher) -> Gifs {
        let cache = Cache::new(QUESTIONS_MAX);
        Gifs { provider: Arc::new(provider), fetcher, cache, searches: Arc::default() }
    }

    /// Questions that were sent to the provider since the start.
    pub fn searches(&self) -> u64 {
        self.searches.load(Ordering::Relaxed)
    }

    /// Find GIFs for these words.
    ///
    /// # Errors
    /// The words cannot be asked for, or the provider does not answer.
    pub async fn search(&self, words: &str, limit: usize) -> Result<Arc<Found>, Problem> {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let limit = limit.clamp(1, RESULTS_MAX);
        let length = words.chars().count();
        if length == 0 || length > QUESTION_MAX || words.chars().any(char::is_control) {
            let detail = format!(
                "got {length} characters in `q`, expected 1 to {QUESTION_MAX} without control characters"
            );
            return Err(Problem::new(StatusCode::BAD_REQUEST, "BadRequest", detail));
        }
        let fetch = || {
            let (this, words) = (self.clone(), words.clone());
            async move {
                let found = this.ask(&words, limit).await.map(Arc::new);
                let keep = if found.is_ok() { KEEP } else { FAILURES_KEPT };
                (found, keep)
            }
        };
        let kept = self.cache.get(&format!("{limit} {words}"), fetch).await;
        kept.unwrap_or_else(|| Err(unreachable_provider("the search ended without an answer")))
    }

    async fn ask(&self, words: &str, limit: usize) -> Result<Found, Problem> {
        self.searches.fetch_add(1, Ordering::Relaxed);
        let bad_base = || unreachable_provider("gifs.url is no base of a URL");
        let url = self.provider.question(words, limit).ok_or_else(bad_base)?;
        let request = Request::get(url.as_str()).accepting(&["application/json"]).bytes_max(1 << 20);
        // Errors name a host and no URL, since the URL has the key.
        let answer = self.fetcher.send(&request).await.map_err(|error: FetchError| {
            tracing::warn!(%error, "the provider of GIFs does not answer");
            unreachable_provider("the provider does not answer")
        })?;
        if answer.status != 200 {
            tracing::warn!(status = answer.status, "the provider of GIFs refuses: is gifs.key right?");
            return Err(unreachable_provider("the provider refuses"));
        }
        let value = serde_json::from_slice(&answer.body);
        let value: Value = value.map_err(|_| unreachable_provider("the provider's answer is not JSON"))?;
        let passes = |gif: &Gif| {
            [&gif.url, &gif.preview]
                .into_iter()
                .all(|url| url.starts_with("https://") && self.fetcher.check(url).is_ok())
        };
        let gifs = self.provider.read(&value).into_iter().filter(passes).take(limit).collect();
        Ok(Found { attribution: self.provider.attribution(), gifs })
    }
}

fn unreachable_provider(detail: &str) -> Problem {
    let retry = FAILURES_KEPT.as_millis() as u64;
    Problem::new(StatusCode::BAD_GATEWAY, "ProviderUnavailable", detail).retry(retry)
}

#[cfg(test)]
mod tests;
