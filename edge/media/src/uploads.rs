//! Uploads: from bytes of a request to an object with an identity, and away again.
//!
//! Why the identity is the hash of what is kept: equal pictures are one object, an address never changes its
//! content, and a picture that moderators removed is known when it comes again.
//! Invariants: bytes of all uploads that are under way have a bound. An upload that is answered is in the
//! store and in the index. A removal ends its serving at once, and reaches the store, after a crash as well.
//! Not here: HTTP (`http`), images (`image`), who may upload (`people`).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::StatusCode;
use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::image::{Cleaned, Limits, Refused};
use crate::index::{Index, NotEntered, Upload};
use crate::objects::Objects;
use crate::people::Person;
use crate::problem::Problem;
use crate::workers::Workers;

/// How long an upload waits for its share of the memory.
const WAIT: Duration = Duration::from_secs(10);

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// Locks over identities: what writes and removes the same object does it in turn.
const LOCKS: usize = 16;

/// Seconds since 1970, from the node's clock.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Bounds and rules of uploads.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Limits of one image.
    pub limits: Limits,
    /// Bytes that a person may upload in a day.
    pub user_bytes_per_day: u64,
    /// Bytes that an address may upload in a day, whoever sends them.
    pub address_bytes_per_day: u64,
    /// Bytes of all uploads in the store.
    pub store_bytes_max: u64,
    /// Bytes of uploads that are under way, all together.
    pub under_way_bytes_max: usize,
    /// A moderator must approve an upload before it is served.
    pub hold: bool,
}

/// What happened to uploads since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Uploads that were taken.
    pub taken: AtomicU64,
    /// Uploads that were refused for what they are.
    pub refused: AtomicU64,
    /// Uploads that were refused for a quota or for want of room.
    pub limited: AtomicU64,
    /// Uploads that were removed.
    pub removed: AtomicU64,
}

/// See the file's head.
pub struct Uploads {
    objects: Objects,
    index: Index,
    workers: Workers,
    rules: Rules,
    /// In KiB.
    memory: Arc<Semaphore>,
    locks: [Mutex<()>; LOCKS],
    now_s: Now,
    /// See [`Counters`].
    pub counters: Counters,
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploads").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Uploads {
    /// Uploads in these places, by these rules.
    pub fn new(objects: Objects, index: Index, workers: Workers, rules: Rules, now_s: Now) -> Uploads {
        Uploads {
            objects,
            index,
            workers,
            rules,
            memory: Arc::new(Semaphore::new(
                rules.under_way_bytes_max.max(rules.limits.bytes).div_ceil(1_024),
            )),
            locks: std::array::from_fn(|_| Mutex::default()),
            now_s,
            counters: Counters::default(),
        }
    }

    /// Take an upload of `length` bytes; `body` reads them, and is polled when there is room for them.
    ///
    /// # Errors
    /// What is wrong with it, or with the moment.
    pub async fn take(
        &self,
        person: &Person,
        length: usize,
        body: impl Future<Output = Result<Bytes, Problem>>,
    ) -> Result<Upload, Problem> {
        let taken = self.take_uncounted(person, length, body).await;
        let counter = match &taken {
            Ok(_) => &self.counters.taken,
            Err(problem) if matches!(problem.status.as_u16(), 429 | 503 | 507) => &self.counters.limited,
            Err(_) => &self.counters.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        taken
    }

    async fn take_uncounted(
        &self,
        person: &Person,
        length: usize,
        body: impl Future<Output = Result<Bytes, Problem>>,
    ) -> Result<Upload, Problem> {
        if !person.uploads {
            return Err(Problem::new(StatusCode::FORBIDDEN, "Forbidden", "you may not upload here"));
        }
        if length > self.rules.limits.bytes {
            let detail = format!("an upload has at most {} bytes", self.rules.limits.bytes);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", detail));
        }
        self.use_quota(person, length as u64)?;
        let share = length.div_ceil(1_024).max(1) as u32;
        let _memory = timeout(WAIT, self.memory.clone().acquire_many_owned(share))
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| Problem::busy("too many uploads are under way"))?;
        let bytes = timeout(BODY_WITHIN, body).await.map_err(|_| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "TooSlow", "the body did not come within 60 s")
        })??;
        let cleaned = self.workers.clean(bytes, self.rules.limits).await;
        let cleaned = cleaned.map_err(|_| Problem::busy("too many images wait to be checked"))?;
        self.keep(person, cleaned.map_err(|refused| problem(&refused))?).await
    }

    /// Count an upload towards the quotas of its person, its address and the store.
    fn use_quota(&self, person: &Person, bytes: u64) -> Result<(), Problem> {
        let stored = self.index.stored_bytes().map_err(|error| Problem::internal(&error))?;
        if stored + bytes > self.rules.store_bytes_max {
            let detail = "the store of uploads is full: an operator must make room";
            return Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "StoreFull", detail));
        }
        if !person.has_quota {
            return Ok(());
        }
        let address = format!("address {}", person.address);
        let whom = [
            (person.id.as_str(), self.rules.user_bytes_per_day),
            (address.as_str(), self.rules.address_bytes_per_day),
        ];
        let used = self.index.use_quota(&whom, bytes, (self.now_s)());
        used.map_err(|error| Problem::internal(&error))?.map_err(|which| {
            let whose = if which == 0 { "you have" } else { "your address has" };
            let detail = format!("{whose} uploaded as much as is allowed in a day ({} bytes)", whom[which].1);
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "RateLimited", detail).retry(3_600_000)
        })
    }

    /// Put what is kept of an upload into the store and the index.
    async fn keep(&self, person: &Person, cleaned: Cleaned) -> Result<Upload, Problem> {
        let upload = Upload {
            id: hex(digest(&SHA256, &cleaned.bytes).as_ref()),
            format: cleaned.format,
            thumbnail: cleaned.thumbnail.0,
            bytes: cleaned.bytes.len() as u64,
            width: cleaned.width,
            height: cleaned.height,
            frames: cleaned.frames,
            is_held: self.rules.hold && !person.moderates,
        };
        let failed = |error: rusqlite::Error| Problem::internal(&error);
        let _turn = self.lock(&upload.id).lock().await;
        if self.index.is_barred(&upload.id).map_err(failed)? {
            return Err(barred());
        }
        if self.index.get(&upload.id).map_err(failed)?.is_none() {
            self.index.expect(&upload.id).map_err(failed)?;
            let (key, thumbnail) = keys(&upload.id);
            let put = self.objects.put(&key, cleaned.bytes.into(), upload.format.media_type()).await;
            put.map_err(|error| Problem::internal(&error))?;
            let small = (cleaned.thumbnail.1.into(), upload.thumbnail.media_type());
            let put = self.objects.put(&thumbnail, small.0, small.1).await;
            put.map_err(|error| Problem::internal(&error))?;
        }
        match self.index.enter(&upload, &person.id, (self.now_s)()).map_err(failed)? {
            Ok(entered) => Ok(entered),
            Err(NotEntered::Barred) => Err(barred()),
        }
    }

    /// Bytes that all uploads have in the store; 0 while the index cannot be read.
    pub fn stored_bytes(&self) -> u64 {
        self.index.stored_bytes().unwrap_or(0)
    }

    /// What is known of an upload, if `person` may see it; nobody is a person without rights.
    pub fn find(&self, id: &str, person: Option<&Person>) -> Result<Option<Upload>, Problem> {
        if !is_id(id) {
            return Ok(None);
        }
        let found = self.index.get(id).map_err(|error| Problem::internal(&error))?;
        Ok(found.filter(|upload| !upload.is_held || person.is_some_and(|person| person.moderates)))
    }

    /// The bytes of an upload, or of its thumbnail.
    pub async fn read(&self, id: &str, is_thumbnail: bool) -> Result<Option<Bytes>, Problem> {
        let (key, thumbnail) = keys(id);
        let read = self.objects.get(if is_thumbnail { &thumbnail } else { &key }).await;
        read.map_err(|error| Problem::internal(&error))
    }

    /// Uploads that wait for a moderator.
    pub fn held(&self) -> Result<Vec<Upload>, Problem> {
        self.index.held(1_000).map_err(|error| Problem::internal(&error))
    }

    /// Serve a held upload from now on. `false`: there is none.
    pub fn approve(&self, id: &str) -> Result<bool, Problem> {
        self.index.approve(id).map_err(|error| Problem::internal(&error))
    }

    /// Remove an upload: one's own, or as a moderator for everybody and for ever. `false`: there is none that
    /// this person may remove.
    pub async fn remove(&self, id: &str, person: &Person) -> Result<bool, Problem> {
        if !is_id(id) {
            return Ok(false);
        }
        let failed = |error: rusqlite::Error| Problem::internal(&error);
        let _turn = self.lock(id).lock().await;
        let is_unowned = if person.moderates {
            if !self.index.bar(id, (self.now_s)()).map_err(failed)? {
                return Ok(false);
            }
            true
        } else {
            match self.index.disown(id, &person.id).map_err(failed)? {
                None => return Ok(false),
                Some(is_unowned) => is_unowned,
            }
        };
        self.counters.removed.fetch_add(1, Ordering::Relaxed);
        if is_unowned {
            // It is not served any more; what the store does not remove now is removed by the next sweep.
            self.remove_objects(id).await;
        }
        Ok(true)
    }

    /// Remove from the store what nobody owns: removals that it did not take, and uploads that a crash cut.
    pub async fn sweep(&self) {
        let unowned = match self.index.unowned() {
            Ok(unowned) => unowned,
            Err(error) => return tracing::error!(%error, "the index of uploads cannot be read"),
        };
        for id in unowned {
            let _turn = self.lock(&id).lock().await;
            // An upload of the same content may have come meanwhile.
            if self.index.unowned().is_ok_and(|still| still.contains(&id)) {
                self.remove_objects(&id).await;
            }
        }
    }

    async fn remove_objects(&self, id: &str) {
        let (key, thumbnail) = keys(id);
        for key in [key, thumbnail] {
            if let Err(error) = self.objects.delete(&key).await {
                tracing::warn!(%error, id, "an upload is removed and still in the store; it is tried again");
                return;
            }
        }
        if let Err(error) = self.index.forget(id) {
            tracing::error!(%error, "the index of uploads cannot be written");
        }
    }

    fn lock(&self, id: &str) -> &Mutex<()> {
        let digit = id.chars().next().and_then(|digit| digit.to_digit(16)).unwrap_or(0);
        &self.locks[digit as usize % LOCKS]
    }
}

/// The keys of an upload and of its thumbnail, two folders deep.
fn keys(id: &str) -> (String, String) {
    let key = format!("{}/{}/{id}", &id[..2], &id[2..4]);
    let thumbnail = format!("{key}.thumbnail");
    (key, thumbnail)
}

/// Is this the identity of an upload: 64 digits? Nothing else becomes a part of a key.
fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn barred() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "Barred", "moderators removed this picture: it is not taken again")
}

fn problem(refused: &Refused) -> Problem {
    let (status, code) = match refused {
        Refused::UnknownFormat => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnknownFormat"),
        Refused::TooMuch { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
        Refused::Damaged(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Damaged"),
        Refused::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Unsupported"),
    };
    Problem::new(status, code, refused.to_string())
}
