//! Bounds: bodies, times, redirects, numbers; and what a request says of its sender.
//!
//! Why: each server is a stranger's, and may send anything at any pace.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{AUTHORIZATION, HeaderValue};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

use super::{Memory, PUBLIC, answer, head};
use crate::{FetchError, Fetcher, Policy, Request, Settings, Validators};

/// Whether an error is the one that a case must give.
type IsRight = fn(&FetchError) -> bool;

const URL: &str = "http://show.example.org/page";

fn public(memory: Memory) -> Memory {
    memory.name("show.example.org", &[&[PUBLIC]])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_body_is_bounded_after_decompression_and_a_damaged_one_is_an_error() {
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let whole = gzip(b"a page");
    let cut = whole[..whole.len() - 6].to_vec();
    let cases: Vec<(Vec<u8>, IsRight)> = vec![
        (answer(200, "content-encoding: gzip\r\n", &bomb), |e| matches!(e, FetchError::TooLarge { .. })),
        (answer(200, "", &vec![b'x'; 600_000]), |e| matches!(e, FetchError::TooLarge { .. })),
        ([b"HTTP/1.1 200 X\r\n\r\n".to_vec(), vec![b'x'; 600_000]].concat(), |e| {
            matches!(e, FetchError::TooLarge { .. })
        }),
        (answer(200, "content-encoding: gzip\r\n", &cut), |e| matches!(e, FetchError::Encoding(_))),
        (answer(200, "content-encoding: gzip\r\n", b"plain"), |e| matches!(e, FetchError::Encoding(_))),
        (answer(200, "content-encoding: br\r\n", b"x"), |e| matches!(e, FetchError::Encoding(_))),
        (answer(200, "content-encoding: gzip, gzip\r\n", b"x"), |e| matches!(e, FetchError::Encoding(_))),
        (b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nshort".to_vec(), |e| {
            matches!(e, FetchError::Protocol(_))
        }),
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), |e| matches!(e, FetchError::Protocol(_))),
        ([b"HTTP/1.1 200 X\r\nx: ".to_vec(), vec![b'x'; 200_000]].concat(), |e| {
            matches!(e, FetchError::Protocol(_))
        }),
        (Vec::new(), |e| matches!(e, FetchError::Protocol(_))),
    ];
    for (ix, (sent, is_right)) in cases.into_iter().enumerate() {
        let memory = public(Memory::answering(move |_| sent.clone()));
        let error = memory.fetcher().send(&Request::get(URL)).await.unwrap_err();
        assert!(is_right(&error), "case {ix}: {error}");
    }
    let memory = public(Memory::answering(move |_| answer(200, "content-encoding: gzip\r\n", &whole)));
    assert_eq!(memory.fetcher().send(&Request::get(URL)).await.unwrap().body, "a page");
}

#[tokio::test(start_paused = true)]
async fn whatever_a_server_delays_the_request_ends_in_its_time() {
    // Nothing; a head without an end; a byte a second; a body without an end; interim answers for ever.
    for way in 0..5 {
        let memory = public(Memory::new(move |_, mut stream| async move {
            head(&mut stream).await;
            let (first, again): (&[u8], &[u8]) = match way {
                0 => (b"", b""),
                1 => (b"HTTP/1.1 200 X\r\n", b"x: y\r\n"),
                2 => (b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n", b"x"),
                3 => (b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
                _ => (b"", b"HTTP/1.1 103 Early\r\n\r\n"),
            };
            let _ = stream.write_all(first).await;
            for _ in 0..3_600 {
                sleep(Duration::from_secs(1)).await;
                if stream.write_all(again).await.is_err() {
                    return;
                }
            }
        }));
        let began = Instant::now();
        let error = memory.fetcher().send(&Request::get(URL)).await.unwrap_err();
        assert_eq!(error, FetchError::TooSlow, "way {way}");
        assert!(began.elapsed() <= Duration::from_millis(10_001), "way {way}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn three_redirects_are_followed_and_a_caller_s_headers_stay_with_their_origin() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heads = seen.clone();
    let memory = Memory::answering(move |head| {
        heads.lock().unwrap().push(head.to_owned());
        let path = head.split(' ').nth(1).unwrap();
        let n: usize = path[1..].parse().unwrap_or(0);
        match n {
            0 => answer(200, "", b"end"),
            1 => answer(302, "location: http://other.example.org/0\r\n", b""),
            n => answer(301, &format!("location: /{}\r\n", n - 1), b""),
        }
    });
    let memory = public(memory).name("other.example.org", &[&["1.1.1.1"]]);
    let get = |n: usize| Request::get(&format!("http://show.example.org/{n}"));
    let secret = HeaderValue::from_static("Bearer secret");
    let answer = memory.fetcher().send(&get(3).header(AUTHORIZATION, secret)).await.unwrap();
    assert_eq!((&*answer.body, &*answer.url), (&b"end"[..], "http://other.example.org/0"));
    let with_secret: Vec<bool> = seen.lock().unwrap().iter().map(|head| head.contains("secret")).collect();
    assert_eq!(with_secret, [true, true, true, false]);
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .all(|head| head.contains("user-agent: Grandstand/") && !head.contains("cookie"))
    );
    let error = memory.fetcher().send(&get(4)).await.unwrap_err();
    assert_eq!(error, FetchError::TooManyRedirects);
    assert_eq!(memory.fetcher().send(&get(1).redirects_max(0)).await.unwrap().status, 302);
    for location in ["", "location: \u{e9}http://[\r\n", "location: file:///etc/passwd\r\n"] {
        let memory = public(Memory::answering(move |_| super::answer(302, location, b"")));
        assert!(memory.fetcher().send(&get(1)).await.is_err(), "{location:?}");
        assert_eq!(memory.connected().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_sent_once_with_its_body_and_a_conditional_request_says_what_is_known() {
    let memory = public(Memory::answering(|head| {
        let body = head.replace("\r\n", "\n");
        if head.starts_with("POST") {
            return answer(307, "location: /again\r\nretry-after: 7\r\n", b"");
        }
        if head.contains("if-none-match: \"a\"") {
            return answer(304, "", b"");
        }
        answer(
            200,
            "etag: \"a\"\r\nlast-modified: then\r\ncontent-type: text/html; charset=x\r\n",
            body.as_bytes(),
        )
    }));
    let fetcher = memory.fetcher();
    let posted = fetcher.send(&Request::post(URL, "event")).await.unwrap();
    assert_eq!((posted.status, posted.retry_after()), (307, Some(Duration::from_secs(7))));
    assert_eq!(memory.connected().len(), 1);
    let got = fetcher.send(&Request::get(URL)).await.unwrap();
    let known = Validators { etag: Some("\"a\"".to_owned()), last_modified: Some("then".to_owned()) };
    assert_eq!((got.status, got.validators()), (200, known.clone()));
    assert_eq!(fetcher.send(&Request::get(URL).unless(&known)).await.unwrap().status, 304);
    assert!(fetcher.send(&Request::get(URL).accepting(&["text/html"])).await.is_ok());
    let error = fetcher.send(&Request::get(URL).accepting(&["image/*"])).await.unwrap_err();
    assert_eq!(error, FetchError::Type("text/html; charset=x".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_host_has_few_connections_at_a_time_and_all_hosts_together_a_bounded_number() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (now.clone(), most.clone());
    let memory = Memory::new(move |_, mut stream| {
        let (now, most) = counters.clone();
        async move {
            head(&mut stream).await;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.write_all(&answer(200, "", b"x")).await;
        }
    });
    let names: Vec<String> = (0..8).map(|n| format!("{n}.example.org")).collect();
    let memory = names.iter().fold(memory, |memory, name| memory.name(name, &[&[PUBLIC]]));
    let fetcher = memory.fetcher();
    let run = |hosts: usize| {
        let (fetcher, names) = (fetcher.clone(), names.clone());
        async move {
            let all: Vec<_> = (0..64)
                .map(|n| {
                    let (fetcher, url) = (fetcher.clone(), format!("http://{}/", names[n % hosts]));
                    tokio::spawn(async move { fetcher.send(&Request::get(&url)).await })
                })
                .collect();
            for one in all {
                assert!(one.await.unwrap().is_ok());
            }
        }
    };
    run(1).await;
    assert_eq!(most.swap(0, Ordering::SeqCst), 4);
    run(8).await;
    assert_eq!(most.load(Ordering::SeqCst), 16);
    let few = Settings { waiting_max: 0, ..Settings::new(Policy::public()) };
    let error = Fetcher::over(memory, few).unwrap().send(&Request::get(URL)).await.unwrap_err();
    assert_eq!(error, FetchError::Busy);
}

#[tokio::test]
async fn tls_is_by_the_name_of_the_url_and_not_by_what_the_resolver_says() {
    let certified = rcgen::generate_simple_self_signed(["show.example.org".to_owned()]).unwrap();
    let chain = vec![certified.cert.der().clone()];
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.clone(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let memory = public(Memory::new(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            head(&mut stream).await;
            let _ = stream.write_all(&answer(200, "", b"sealed")).await;
            let _ = stream.shutdown().await;
        }
    }))
    .name("other.example.org", &[&[PUBLIC]]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let settings = Settings { roots: Some(roots), ..Settings::new(Policy::public()) };
    let fetcher = Fetcher::over(memory.clone(), settings).unwrap();
    assert_eq!(fetcher.send(&Request::get("https://show.example.org/")).await.unwrap().body, "sealed");
    let error = fetcher.send(&Request::get("https://other.example.org/")).await.unwrap_err();
    assert!(matches!(error, FetchError::Tls { .. }), "{error}");
    assert!(memory.connected().iter().all(|to| to.port() == 443));
}
