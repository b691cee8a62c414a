//! Tests of the resources: uploads from body to store and away, previews and the search behind their rights.
//!
//! Why through the router: headers, statuses and rights are what others rely on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use tower_service::Service;

use super::*;
use crate::image::Limits;
use crate::image::tests::samples::{ALL, PLACE, sample};
use crate::index::Index;
use crate::objects::Objects;
use crate::uploads::Rules;
use crate::workers::Workers;

/// Whoever shows a name is that person; "mod" moderates, "mute" may not upload.
struct ByName;

impl People for ByName {
    fn person(&self, headers: &HeaderMap, _: &Extensions) -> Result<Person, Problem> {
        let name = headers.get(header::AUTHORIZATION).and_then(|name| name.to_str().ok());
        let name =
            name.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", "who are you?"))?;
        Ok(Person {
            id: name.to_owned(),
            address: "192.0.2.1".to_owned(),
            uploads: name != "mute",
            moderates: name == "mod",
            has_quota: true,
        })
    }

    fn allows_origin(&self, origin: &str) -> bool {
        origin == "https://show.example.org"
    }
}

struct Place {
    router: Mutex<Router>,
    folder: std::path::PathBuf,
    now_s: Arc<AtomicI64>,
    uploads: Arc<Uploads>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn place(name: &str, change: impl FnOnce(&mut Rules)) -> Place {
    let folder = std::env::temp_dir().join(format!("grandstand-uploads-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let mut rules = Rules {
        limits: Limits::default(),
        user_bytes_per_day: 1 << 20,
        address_bytes_per_day: 4 << 20,
        store_bytes_max: 1 << 30,
        under_way_bytes_max: 16 << 20,
        hold: false,
    };
    change(&mut rules);
    let now_s = Arc::new(AtomicI64::new(1_800_000_000));
    let clock = now_s.clone();
    let uploads = Arc::new(Uploads::new(
        Objects::folder(&folder).unwrap(),
        Index::in_memory().unwrap(),
        Workers::start(1, 8).unwrap(),
        rules,
        Arc::new(move || clock.load(Ordering::SeqCst)),
    ));
    let media = Media { uploads: Some(uploads.clone()), links: None, gifs: None, people: Arc::new(ByName) };
    Place { router: Mutex::new(router(media)), folder, now_s, uploads }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Place {
    async fn ask(&self, method: &str, path: &str, name: &str, body: &[u8]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !name.is_empty() {
            request = request.header(header::AUTHORIZATION, name);
        }
        let request = request.header(header::CONTENT_LENGTH, body.len());
        let mut router = self.router.lock().unwrap().clone();
        let response = router.call(request.body(Body::from(body.to_vec())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn upload(&self, name: &str, format: Format) -> Value {
        let answer = self.ask("POST", "/uploads", name, &sample(format, 1)).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        answer.json()
    }

    /// Files in the store.
    fn files(&self) -> usize {
        fn count(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        count(&self.folder)
    }
}

fn url(upload: &Value) -> String {
    upload["url"].as_str().unwrap().strip_prefix("/v1").unwrap().to_owned()
}

#[tokio::test]
async fn an_upload_is_served_stripped_with_headers_that_let_a_browser_do_nothing_else() {
    let place = place("served", |_| {});
    for format in ALL {
        let upload = place.upload("ann", format).await;
        assert_eq!(upload["type"], format.media_type());
        let attachment = upload["attachment"].as_str().unwrap();
        assert!(attachment.starts_with("upload:") && attachment.len() == 71, "{attachment}");
        for path in [url(&upload), format!("{}/thumbnail", url(&upload))] {
            let served = place.ask("GET", &path, "", b"").await;
            assert_eq!(served.status, 200, "{path}");
            assert!(!served.body.windows(PLACE.len()).any(|window| window == PLACE));
            assert_eq!(served.headers["content-security-policy"], "sandbox; default-src 'none'");
            assert_eq!(served.headers["x-content-type-options"], "nosniff");
            assert_eq!(served.headers["cache-control"], "public, max-age=31536000, immutable");
            assert_eq!(served.headers["cross-origin-resource-policy"], "cross-origin");
        }
        assert_eq!(place.upload("bob", format).await["id"], upload["id"], "equal content, equal identity");
    }
    assert_eq!(place.files(), 8);
    let bad_ids =
        ["incoming", "../../etc/passwd", "..%2f..%2fx", &"a".repeat(63), &"A".repeat(64), &"g".repeat(64)];
    for bad in bad_ids {
        for path in [format!("/uploads/{bad}"), format!("/uploads/{bad}/thumbnail")] {
            assert_eq!(place.ask("GET", &path, "mod", b"").await.status, 404, "{path}");
        }
        assert_eq!(place.ask("DELETE", &format!("/uploads/{bad}"), "mod", b"").await.status, 404, "{bad}");
    }
}

#[tokio::test]
async fn a_removal_ends_the_serving_and_reaches_the_store_and_what_moderators_removed_does_not_return() {
    let place = place("removed", |_| {});
    let upload = place.upload("ann", Format::Png).await;
    place.upload("bob", Format::Png).await;
    let path = url(&upload);
    assert_eq!(place.ask("DELETE", &path, "eve", b"").await.status, 404, "it is not hers");
    assert_eq!(place.ask("DELETE", &path, "ann", b"").await.status, 204);
    assert_eq!(place.ask("GET", &path, "", b"").await.status, 200, "it is Bob's still");
    assert_eq!(place.ask("DELETE", &path, "bob", b"").await.status, 204);
    assert_eq!((place.ask("GET", &path, "", b"").await.status, place.files()), (404, 0));
    place.upload("ann", Format::Png).await;
    place.upload("bob", Format::Png).await;
    assert_eq!(place.ask("DELETE", &path, "mod", b"").await.status, 204);
    assert_eq!((place.ask("GET", &path, "", b"").await.status, place.files()), (404, 0));
    let again = place.ask("POST", "/uploads", "eve", &sample(Format::Png, 1)).await;
    assert_eq!((again.status, again.json()["code"].as_str()), (403, Some("Barred")));
    assert_eq!(place.files(), 0);
}

#[tokio::test]
async fn a_store_that_does_not_remove_is_swept_later_and_meanwhile_nothing_is_served() {
    let place = place("swept", |_| {});
    let path = url(&place.upload("ann", Format::Gif).await);
    // A folder in the place of the object cannot be removed as a file.
    let id = path.rsplit('/').next().unwrap();
    let object = place.folder.join(&id[..2]).join(&id[2..4]).join(id);
    let aside = place.folder.join("aside");
    std::fs::rename(&object, &aside).unwrap();
    std::fs::create_dir(&object).unwrap();
    std::fs::write(object.join("x"), b"x").unwrap();
    assert_eq!(place.ask("DELETE", &path, "ann", b"").await.status, 204);
    assert_eq!(place.ask("GET", &path, "", b"").await.status, 404);
    std::fs::remove_dir_all(&object).unwrap();
    std::fs::rename(&aside, &object).unwrap();
    place.uploads.sweep().await;
    assert_eq!(place.files(), 0);
}

#[tokio::test]
async fn a_held_upload_is_for_moderators_until_one_approves_it() {
    let place = place("held", |rules| rules.hold = true);
    let upload = place.upload("ann", Format::Jpeg).await;
    assert_eq!(upload["held"], true);
    let path = url(&upload);
    let statuses = |name: &'static str| {
        let (place, path) = (&place, &path);
        async move {
            [
                place.ask("GET", path, name, b"").await.status,
                place.ask("GET", &format!("{path}/thumbnail"), name, b"").await.status,
                place.ask("GET", "/uploads", name, b"").await.status,
                place.ask("POST", &format!("{path}/approve"), name, b"").await.status,
            ]
        }
    };
    assert_eq!(statuses("").await, [404, 404, 401, 401]);
    assert_eq!(statuses("ann").await, [404, 404, 403, 403]);
    let held = place.ask("GET", "/uploads", "mod", b"").await.json();
    assert_eq!(held["held"][0]["id"], upload["id"]);
    let for_mod = place.ask("GET", &path, "mod", b"").await;
    assert_eq!((for_mod.status, &for_mod.headers["cache-control"]), (200, &"no-store".parse().unwrap()));
    assert_eq!(statuses("mod").await, [200, 200, 200, 204]);
    assert_eq!(place.ask("GET", &path, "", b"").await.status, 200);
    assert_eq!(place.ask("GET", "/uploads", "mod", b"").await.json()["held"], json!([]));
    // The same content again keeps what was decided.
    assert_eq!(place.upload("bob", Format::Jpeg).await["held"], false);
}

#[tokio::test]
async fn quotas_hold_a_person_an_address_and_the_store_and_say_when_they_end() {
    let size = sample(Format::Jpeg, 1).len() as u64;
    let place = place("quota", |rules| {
        rules.user_bytes_per_day = 2 * size;
        rules.address_bytes_per_day = 3 * size;
    });
    let send = |name: &'static str| {
        let place = &place;
        async move { place.ask("POST", "/uploads", name, &sample(Format::Jpeg, 1)).await }
    };
    let statuses = [send("ann").await, send("ann").await, send("ann").await];
    assert_eq!(statuses.map(|answer| answer.status), [201, 201, 429]);
    assert_eq!(send("bob").await.status, 201);
    let refused = send("bob").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("RateLimited")));
    assert!(refused.headers.contains_key("retry-after"));
    place.now_s.fetch_add(86_401, Ordering::SeqCst);
    assert_eq!(send("ann").await.status, 201);
    let full = self::place("full", |rules| rules.store_bytes_max = 100);
    assert_eq!(full.ask("POST", "/uploads", "ann", &sample(Format::Png, 1)).await.status, 507);
}

#[tokio::test]
async fn what_is_no_upload_is_refused_with_a_code() {
    let place = place("refused", |rules| rules.limits.bytes = 20_000);
    let long = vec![0; 20_001];
    let big = sample(Format::Png, 1);
    for (name, body, status, code) in [
        ("", &big[..], 401, "Unauthorized"),
        ("mute", &big, 403, "Forbidden"),
        ("ann", b"<html>", 415, "UnknownFormat"),
        ("ann", b"", 415, "UnknownFormat"),
        ("ann", &big[..40], 422, "Damaged"),
        ("ann", &long, 413, "TooLarge"),
    ] {
        let answer = place.ask("POST", "/uploads", name, body).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)));
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    for (method, path, key) in
        [("GET", "/previews?url=x", "links.previews"), ("GET", "/gifs?q=x", "gifs.provider")]
    {
        let answer = place.ask(method, path, "ann", b"").await;
        assert_eq!(answer.status, 404);
        assert!(answer.json()["detail"].as_str().unwrap().contains(key), "{path}");
    }
    assert_eq!(place.files(), 0);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_and_others_may_not_read() {
    let place = place("pages", |_| {});
    for (origin, is_allowed) in [("https://show.example.org", true), ("https://evil.example.org", false)] {
        for method in ["OPTIONS", "GET"] {
            let request = Request::builder().method(method).uri("/uploads").header(header::ORIGIN, origin);
            let mut router = place.router.lock().unwrap().clone();
            let response = router.call(request.body(Body::empty()).unwrap()).await.unwrap();
            let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(
                allowed.map(|origin| origin.to_str().unwrap()),
                is_allowed.then_some(origin),
                "{method}"
            );
            assert_eq!(response.headers()[header::VARY], "origin");
        }
    }
}
