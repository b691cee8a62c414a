//! Media: previews, uploads and the GIF search of this node, on a thread of their own.
//!
//! Why a thread: requests to other servers, images and a store of objects take their time, and the API's
//! other requests must not wait for them. Why so little here: `grandstand-media` does the work, and this
//! gives it the node's configuration, people and clock.
//! Invariants: without a key that switches it on, nothing is started. What is configured wrongly fails the
//! start, with the key's name.
//! Not here: who asks (`people`), the API's listener (`http::api`).

mod description;
mod people;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use grandstand_edge::auth::Authority;
use grandstand_edge::clock::Clock;
use grandstand_edge::config::{Config, GifService, Uploads as UploadKeys};
use grandstand_engine::runtime::pulse::{Pulse, Pulses, TURN_EVERY};
use grandstand_fetch::{Fetcher, Policy, Settings};
use grandstand_media::gifs::{Gifs, Giphy, TenorLike};
use grandstand_media::http::{Media, router};
use grandstand_media::image::Limits;
use grandstand_media::index::{Index, STEPS};
use grandstand_media::links::Links;
use grandstand_media::objects::{Objects, S3};
use grandstand_media::uploads::{Rules, Uploads};
use grandstand_media::workers::Workers;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use utoipa_axum::router::OpenApiRouter;

use crate::NodeError;
use crate::database::Database;
use crate::http::problem::Problem;
use people::Everybody;

/// Pictures that may wait for a thread.
const WAITING_MAX: usize = 64;

/// Between two looks for objects that nobody owns.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// See the file's head.
pub(crate) struct MediaThread {
    media: Media,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MediaThread {
    /// Start what the configuration switches on; `None`: nothing.
    ///
    /// # Errors
    /// A value, a folder or a file that cannot be used, with its key.
    pub(crate) fn start(
        config: &Arc<Config>,
        authority: &Arc<Authority>,
        clock: Clock,
        pulses: &Pulses,
    ) -> Result<Option<MediaThread>, NodeError> {
        let has_search = config.gifs.provider != GifService::Off;
        if !config.links.previews && !config.uploads.enabled && !has_search {
            return Ok(None);
        }
        let media = Media {
            links: if config.links.previews { Some(links(config)?) } else { None },
            uploads: if config.uploads.enabled { Some(Arc::new(uploads(config, clock)?)) } else { None },
            gifs: if has_search { Some(gifs(config)?) } else { None },
            people: Arc::new(Everybody::new(config, authority.clone(), clock)),
        };
        let no_thread = |error: std::io::Error| {
            NodeError::new(format!("no thread for media: {error}"), "raise the limit of threads")
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let (stop, stopped) = oneshot::channel();
        let (handle, swept, pulse) =
            (runtime.handle().clone(), media.uploads.clone(), pulses.register("media"));
        let thread = std::thread::Builder::new().name("media".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // An error means that the node is gone.
                    _ = stopped => {}
                    () = turns(&pulse) => unreachable!("it turns for ever"),
                    () = sweeps(swept) => unreachable!("it sweeps for ever"),
                }
            });
            pulse.end();
            runtime.shutdown_background();
        });
        let thread = Some(thread.map_err(no_thread)?);
        Ok(Some(MediaThread { media, handle, stop: Some(stop), thread }))
    }

    /// The resources, each request of which is answered on the thread.
    pub(crate) fn router(&self) -> OpenApiRouter {
        let handle = self.handle.clone();
        let answer = move |request: Request, next: Next| {
            let handle = handle.clone();
            async move {
                match handle.spawn(next.run(request)).await {
                    Ok(response) => with_problem(response),
                    Err(_) => Problem::new(
                        axum::http::StatusCode::SERVICE_UNAVAILABLE,
                        "Overloaded",
                        "the request was not finished: try again",
                    )
                    .into_response(),
                }
            }
        };
        let answered = router(self.media.clone()).layer(middleware::from_fn(answer));
        OpenApiRouter::with_openapi(description::of(&self.media)).merge(OpenApiRouter::from(answered))
    }

    /// Numbers for the scrape: name, help, value.
    pub(crate) fn numbers(
        &self,
    ) -> impl Fn() -> Vec<(&'static str, &'static str, f64)> + Send + Sync + 'static {
        let Media { uploads, links, gifs, people: _ } = self.media.clone();
        move || {
            let mut numbers = Vec::new();
            let mut number = |name, help, value: u64| numbers.push((name, help, value as f64));
            if let Some(uploads) = &uploads {
                let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                let counters = &uploads.counters;
                number("grandstand_uploads_taken_total", "Uploads that were taken.", read(&counters.taken));
                number(
                    "grandstand_uploads_refused_total",
                    "Uploads refused for what they are.",
                    read(&counters.refused),
                );
                number(
                    "grandstand_uploads_limited_total",
                    "Uploads refused for a quota, or for want of room or time.",
                    read(&counters.limited),
                );
                number(
                    "grandstand_uploads_removed_total",
                    "Uploads that were removed.",
                    read(&counters.removed),
                );
                let stored = uploads.stored_bytes();
                number(
                    "grandstand_uploads_stored_bytes",
                    "Bytes of all uploads; uploads.store_mb bounds them.",
                    stored,
                );
            }
            if let Some(links) = &links {
                let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                let counters = links.counters();
                number(
                    "grandstand_previews_asked_total",
                    "Previews that were asked for.",
                    read(&counters.asked),
                );
                number(
                    "grandstand_previews_fetched_total",
                    "Pages fetched for previews.",
                    read(&counters.fetched),
                );
                number(
                    "grandstand_previews_failed_total",
                    "Fetches that gave no preview.",
                    read(&counters.failed),
                );
            }
            if let Some(gifs) = &gifs {
                number(
                    "grandstand_gif_searches_total",
                    "Questions sent to the GIF service.",
                    gifs.searches(),
                );
            }
            numbers
        }
    }
}

impl Drop for MediaThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has panicked if this fails; the log says so.
            let _ = thread.join();
        }
    }
}

async fn turns(pulse: &Pulse) {
    loop {
        pulse.turn();
        tokio::time::sleep(TURN_EVERY / 2).await;
    }
}

async fn sweeps(uploads: Option<Arc<Uploads>>) {
    loop {
        if let Some(uploads) = &uploads {
            uploads.sweep().await;
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

/// Leave a failure to the port, which writes it with the number of the request.
fn with_problem(mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<grandstand_media::problem::Problem>() {
        let retry = problem.retry_after_ms.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX));
        let problem = Problem::new(problem.status, problem.code, problem.detail).with_retry(retry);
        let mut written = problem.into_response();
        for (name, value) in response.headers() {
            written.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        return written;
    }
    response
}

fn fetcher(key: &str, allowed: &[String]) -> Result<Fetcher, NodeError> {
    let policy = Policy::allowing(allowed).map_err(|error| NodeError::new(error, format!("see {key}")))?;
    Fetcher::new(Settings::new(policy))
        .map_err(|error| NodeError::new(error.to_string(), format!("see {key}")))
}

fn links(config: &Config) -> Result<Links, NodeError> {
    let keys = &config.links;
    Ok(Links::new(fetcher("links.allow", &keys.allow)?, keys.kept_max, Duration::from_secs(keys.keep_s)))
}

fn gifs(config: &Config) -> Result<Gifs, NodeError> {
    let fault = |error: String| NodeError::new(error, "see gifs.provider, gifs.url and gifs.key_file");
    let key = config.gifs_key().map_err(|error| fault(error.to_string()))?;
    let key = key.map(|key| String::from_utf8_lossy(key.expose()).into_owned()).unwrap_or_default();
    let url = Some(config.gifs.url.as_str()).filter(|url| !url.is_empty());
    // The operator named the service: it may be on a private network.
    let host =
        url.and_then(|url| url.split_once("://")).map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    let fetcher = fetcher("gifs.url", &host.map(str::to_owned).into_iter().collect::<Vec<_>>())?;
    Ok(match (config.gifs.provider, url) {
        (GifService::Giphy, url) => Gifs::new(Giphy::at(url, &key).map_err(fault)?, fetcher),
        (GifService::Klipy, None) => Gifs::new(TenorLike::klipy(&key), fetcher),
        (GifService::Klipy | GifService::Tenor | GifService::Off, url) => {
            Gifs::new(TenorLike::at(url.unwrap_or_default(), &key).map_err(fault)?, fetcher)
        }
    })
}

fn uploads(config: &Config, clock: Clock) -> Result<Uploads, NodeError> {
    let keys = &config.uploads;
    let fault = |key: &'static str| move |error: String| NodeError::new(error, format!("see {key}"));
    let folder = folder(config);
    let objects = match &folder {
        Some(folder) => Objects::folder(folder).map_err(|error| fault("uploads.dir")(error.to_string()))?,
        None => Objects::s3(&s3(keys)?).map_err(|error| fault("uploads.s3_endpoint")(error.to_string()))?,
    };
    let database = Database::of(config.log.dir.as_deref().or(folder.as_deref()));
    if config.log.dir.is_none() && folder.is_none() {
        tracing::warn!(
            "uploads are forgotten with this process, since log.dir is not set; their objects stay"
        );
    }
    let index = Index::over(database.connect("uploads", STEPS).map_err(fault("log.dir"))?);
    let workers = Workers::start(keys.threads, WAITING_MAX);
    let workers = workers.map_err(|error| fault("uploads.threads")(error.to_string()))?;
    let mib = |megabytes: u64| megabytes << 20;
    let rules = Rules {
        limits: Limits {
            bytes: (keys.image_kb * 1_024) as usize,
            pixels: keys.pixels_max,
            frames: keys.frames_max,
            // Decoding may hold what the pixels of one frame take, whatever their form.
            memory: (keys.pixels_max * 9 / 2).max(mib(8)),
            ..Limits::default()
        },
        user_bytes_per_day: mib(keys.user_mb_per_day),
        address_bytes_per_day: mib(keys.address_mb_per_day),
        store_bytes_max: mib(keys.store_mb),
        under_way_bytes_max: mib(keys.under_way_mb) as usize,
        hold: keys.hold,
    };
    let now_s = Arc::new(move || clock.unix().as_secs() as i64);
    Ok(Uploads::new(objects, index, workers, rules, now_s))
}

/// The folder of uploads; `None`: they are in a bucket.
fn folder(config: &Config) -> Option<PathBuf> {
    let keys = &config.uploads;
    if !keys.s3_bucket.is_empty() {
        return None;
    }
    keys.dir.clone().or_else(|| Some(config.log.dir.as_ref()?.join("uploads")))
}

fn s3(keys: &UploadKeys) -> Result<S3, NodeError> {
    let fault = |error: String| NodeError::new(error, "see uploads.s3_key_file");
    let path = keys.s3_key_file.as_deref().ok_or_else(|| fault("there is no key".to_owned()))?;
    let text =
        std::fs::read_to_string(path).map_err(|error| fault(format!("{}: {error}", path.display())))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (Some(id), Some(key), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err(fault(format!("{}: expected two lines, the identity and the key", path.display())));
    };
    Ok(S3 {
        endpoint: keys.s3_endpoint.clone(),
        region: keys.s3_region.clone(),
        bucket: keys.s3_bucket.clone(),
        access_key_id: id.to_owned(),
        secret_access_key: key.to_owned(),
    })
}
