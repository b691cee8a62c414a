//! Previews, uploads and the GIF search of a running node, over sockets: rights, the store, a restart.
//!
//! Why over sockets: what a page can do is decided by the API's port, the token and the router together.
#![cfg(feature = "media")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use common::{config, node};
use grandstand::Node;
use grandstand_harness::wait::PATIENCE;
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// A picture of two by two pixels, with a place in a comment.
const PICTURE: &[u8] =
    b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x02\x00\x00\x00\x02\
    \x08\x02\x00\x00\x00\xfd\xd4\x9a\x73\x00\x00\x00\x18\x74\x45\x58\x74\x43\x6f\x6d\x6d\x65\x6e\x74\
    \x00\x35\x31\x2e\x35\x30\x30\x37\x4e\x20\x30\x2e\x31\x32\x34\x36\x57\x02\xc6\x87\x5a\x00\x00\x00\
    \x11\x49\x44\x41\x54\x78\x9c\x63\xf8\xcf\xc0\x00\x44\x60\xe2\x3f\x03\x00\x1d\xf0\x03\xfd\xa0\x33\
    \x09\x89\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";
const PLACE: &[u8] = b"51.5007N 0.1246W";

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let three = |chunk: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
        (0..=chunk.len()).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(three).collect()
}

/// The line of a head with the token of a user in this role.
fn token(user: &str, role: &str) -> String {
    let head = base64url(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = json!({ "sub": user, "role": role, "exp": 4_000_000_000_u64 }).to_string();
    let signed = format!("{head}.{}", base64url(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let sealed = base64url(hmac::sign(&key, signed.as_bytes()).as_ref());
    format!("authorization: Bearer {signed}.{sealed}\r\n")
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

fn ask(node: &Node, method: &str, path: &str, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(node.addresses().api.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let line = format!("{method} {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n");
    stream.write_all(format!("{line}Content-Length: {length}\r\n{head}\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..split]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[split + 4..].to_vec() }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("grandstand-media-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A site that answers every request with this, and counts them.
fn site(content_type: &'static str, body: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4_096];
            let _ = stream.read(&mut head);
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (at, count)
}

#[test]
fn a_viewer_s_token_uploads_everybody_sees_it_stripped_and_it_survives_a_restart() {
    let folder = Folder::new("uploads");
    let dir = folder.0.to_str().unwrap();
    let keys = [
        ("api.listen", "127.0.0.1:0"),
        ("auth.hs256_secret", SECRET),
        ("uploads.enabled", "true"),
        ("uploads.dir", dir),
    ];
    let first = node(&keys);
    let (ann, moderator) = (token("ann", "viewer"), token("mod", "moderator"));
    let taken = ask(&first, "POST", "/v1/uploads", &ann, PICTURE);
    assert_eq!(taken.status, 201, "{:?}", String::from_utf8_lossy(&taken.body));
    let url = taken.json()["url"].as_str().unwrap().to_owned();
    for (head, status) in
        [("", 401), ("authorization: Bearer x\r\n", 401), ("authorization: Basic x\r\n", 401)]
    {
        let refused = ask(&first, "POST", "/v1/uploads", head, PICTURE);
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (status, Some("Unauthorized")),
            "{head}"
        );
        assert!(refused.json()["instance"].is_string(), "{head}");
    }
    assert_eq!(ask(&first, "POST", "/v1/uploads", &ann, b"no picture").json()["code"], "UnknownFormat");
    first.stop();
    let second = node(&keys);
    let served = ask(&second, "GET", &url, "", b"");
    assert_eq!(served.status, 200, "{}", served.head);
    assert!(!served.body.windows(PLACE.len()).any(|window| window == PLACE));
    for header in
        ["content-security-policy: sandbox; default-src 'none'", "immutable", "nosniff", "image/png"]
    {
        assert!(served.head.contains(header), "{header}: {}", served.head);
    }
    assert_eq!(ask(&second, "DELETE", &url, &token("eve", "viewer"), b"").status, 404);
    assert_eq!(ask(&second, "DELETE", &url, &moderator, b"").status, 204);
    assert_eq!(ask(&second, "GET", &url, "", b"").status, 404);
    assert_eq!(ask(&second, "POST", "/v1/uploads", &ann, PICTURE).json()["code"], "Barred");
    let admin = second.addresses().admin.unwrap();
    let removed = grandstand_harness::http::metric(admin, "grandstand_uploads_removed_total").unwrap();
    assert_eq!(removed, Some(1.0));
    second.stop();
}

#[test]
fn a_preview_is_fetched_once_and_never_from_this_machine_unless_it_is_configured() {
    let (at, count) = site("text/html", "<title>Tonight &amp; live</title>");
    let allowed = at.to_string();
    let keys = [
        ("api.listen", "127.0.0.1:0"),
        ("auth.hs256_secret", SECRET),
        ("links.previews", "true"),
        ("links.allow", &allowed),
    ];
    let node = node(&keys);
    let ann = token("ann", "viewer");
    for n in 0..20 {
        let preview = ask(&node, "GET", &format!("/v1/previews?url=http://{at}/show%23{n}"), &ann, b"");
        assert_eq!(preview.status, 200, "{:?}", String::from_utf8_lossy(&preview.body));
        assert_eq!(preview.json()["title"], "Tonight & live");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(ask(&node, "GET", "/v1/previews?url=http://show.example.org/", "", b"").status, 401);
    let admin = node.addresses().admin.unwrap();
    for own in [
        format!("http://{admin}/metrics"),
        "http://169.254.169.254/".to_owned(),
        "http://2130706433/".to_owned(),
    ] {
        let refused = ask(&node, "GET", &format!("/v1/previews?url={own}"), &ann, b"");
        assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("BadUrl")), "{own}");
    }
    assert_eq!(ask(&node, "GET", "/v1/uploads/x", "", b"").json()["code"], "NotOffered");
    node.stop();
}

#[test]
fn the_gif_search_asks_the_configured_service_with_the_key_of_the_server() {
    let body = r#"{"results": [{"id": "1", "title": "goal", "media_formats": {
        "gif": {"url": "https://media.example.org/1.gif", "dims": [10, 20]}}}]}"#;
    let (at, count) = site("application/json", body);
    let url = format!("http://{at}/v2");
    let keys = [
        ("api.listen", "127.0.0.1:0"),
        ("auth.hs256_secret", SECRET),
        ("gifs.provider", "tenor"),
        ("gifs.key", "the service's key"),
        ("gifs.url", &url),
    ];
    let node = node(&keys);
    for _ in 0..3 {
        let found = ask(&node, "GET", "/v1/gifs?q=goal&limit=5", &token("ann", "viewer"), b"");
        assert_eq!(found.json()["gifs"][0]["url"], "https://media.example.org/1.gif");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    node.stop();
}

#[test]
fn a_value_that_cannot_be_used_fails_the_start_with_its_key() {
    let fault = |keys: &[(&str, &str)]| {
        let keys = [&[("api.listen", "127.0.0.1:0")], keys].concat();
        Node::start(config(&keys)).expect_err("a fault").to_string()
    };
    let missing = fault(&[
        ("uploads.enabled", "true"),
        ("uploads.s3_bucket", "b"),
        ("uploads.s3_endpoint", "http://127.0.0.1:1"),
        ("uploads.s3_key_file", "/nowhere/key"),
    ]);
    assert!(missing.contains("/nowhere/key"), "{missing}");
    let allow = fault(&[("links.previews", "true"), ("links.allow", "http://x")]);
    assert!(allow.contains("expected a host"), "{allow}");
}
