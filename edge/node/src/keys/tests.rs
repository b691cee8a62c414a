//! Tests of one fetch: what an address may answer, over a socket on loopback.
//!
//! Not here: when keys are due (`grandstand_edge::auth`), a node that fetches (`tests/issuers.rs`).

use std::io::{Read, Write};
use std::net::TcpListener;

use grandstand_edge::config;

use super::*;

/// The keys of an issuer at this address.
fn keys(name: &str, url: &str) -> Arc<FetchedKeys> {
    let path = std::env::temp_dir().join(format!("grandstand-keys-{name}-{}.toml", std::process::id()));
    std::fs::write(&path, format!("[[issuer]]\niss = \"i\"\njwks_url = \"{url}\"\n")).unwrap();
    let auth = config::Auth { issuers_file: Some(path.clone()), ..config::Auth::default() };
    let authority = Authority::from_config(&auth).unwrap();
    std::fs::remove_file(path).unwrap();
    authority.fetched().remove(0)
}

/// What one fetch of an address that answers so comes to.
fn fetched(answer: &[u8]) -> Result<(Vec<u8>, Option<u64>), String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.to_vec();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let read = stream.read(&mut request).unwrap();
        // It may have hung up before it read all.
        let _ = stream.write_all(&answer);
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let keys = keys(&address.port().to_string(), &format!("http://{address}/keys?a=b"));
    let got = runtime.block_on(fetch(&keys));
    assert!(server.join().unwrap().starts_with("GET /keys?a=b HTTP/1.1\r\n"));
    got.map(|set| (set.body.to_vec(), set.max_age_s))
}

fn ok(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn an_answer_is_taken_with_its_time_and_nothing_else_is() {
    for (head, max_age_s) in [
        ("", None),
        ("cache-control: max-age=600\r\n", Some(600)),
        ("Cache-Control: public, MAX-AGE = \"7\" , must-revalidate\r\n", Some(7)),
        ("cache-control: max-age=600, no-cache\r\n", Some(0)),
        ("cache-control: max-age=x\r\n", None),
        ("cache-control: s-maxage=9\r\ncache-control: max-age=8\r\n", Some(8)),
    ] {
        assert_eq!(fetched(&ok(head, "{}")), Ok((b"{}".to_vec(), max_age_s)), "{head}");
    }
    let huge = "x".repeat(SET_BYTES_MAX + 1);
    for (answer, why) in [
        (ok("", &huge), "65536"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "redirect",
        ),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".to_vec(), "500"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(), "redirect"),
        (b"rubbish\r\n\r\n".to_vec(), ""),
        (b"".to_vec(), ""),
    ] {
        let fault = fetched(&answer).unwrap_err();
        assert!(fault.contains(why) && !fault.contains("a=b"), "{fault}");
    }
}

#[test]
fn the_host_of_an_address_is_the_one_that_may_be_private() {
    for (url, allowed) in [
        ("https://id.example.org/keys", "id.example.org"),
        ("https://id.example.org:8443?x", "id.example.org:8443"),
        ("http://127.0.0.1:80/a@b", "127.0.0.1:80"),
        ("http://[::1]:80/k", "::1"),
    ] {
        assert_eq!(host(url), allowed);
        assert!(Policy::allowing(&[allowed]).is_ok(), "{allowed}");
    }
}
