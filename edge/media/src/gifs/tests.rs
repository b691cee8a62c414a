//! Tests of the GIF search, with answers of our own making in the forms of the three services.
//!
//! Why our own: the services' answers are not ours to copy, and what is read of them is a handful of fields.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use grandstand_fetch::{BoxFuture, BoxStream, Network, Policy, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

const TENOR: &str = r#"{"results": [
  {"id": "11", "content_description": "a cat\u0007 claps", "media_formats": {
    "gif": {"url": "https://media.example.org/11.gif", "dims": [320, 240]},
    "tinygif": {"url": "https://media.example.org/11s.gif", "dims": [160, 120]}}},
  {"id": 12, "title": "no small form", "media_formats": {"gif": {"url": "https://media.example.org/12.gif"}}},
  {"id": "13", "media_formats": {"gif": {"url": "http://127.0.0.1/13.gif"}}},
  {"id": "14", "media_formats": {"gif": {"url": "javascript:alert(1)"}}},
  {"id": "15", "media_formats": {}}, 7, null]}"#;

const GIPHY: &str = r#"{"data": [
  {"id": "a", "title": "A goal", "images": {
    "original": {"url": "https://media.example.org/a.gif", "width": "480", "height": "270"},
    "fixed_width_small": {"url": "https://media.example.org/as.gif"}}},
  {"id": "b", "images": {}}], "meta": {"status": 200}}"#;

/// A service that answers every question with the same, and notes what it was asked.
#[derive(Clone)]
struct Service {
    answer: Arc<String>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Network for Service {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec!["10.0.0.5".parse().unwrap()]) })
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        let (ours, mut theirs) = duplex(64 * 1024);
        let this = self.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = theirs.read_u8().await else { return };
                head.push(byte);
            }
            this.heads.lock().unwrap().push(String::from_utf8(head).unwrap());
            let _ = theirs.write_all(this.answer.as_bytes()).await;
        });
        Box::pin(async move { Ok(Box::new(ours) as BoxStream) })
    }
}

fn search(provider: impl GifProvider, status: u16, body: &str) -> (Gifs, Arc<Mutex<Vec<String>>>) {
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\r\n{body}");
    let service = Service { answer: Arc::new(answer), heads: Arc::default() };
    let heads = service.heads.clone();
    let policy = Policy::allowing(&["gifs.internal"]).unwrap();
    (Gifs::new(provider, Fetcher::over(service, Settings::new(policy)).unwrap()), heads)
}

fn tenor() -> TenorLike {
    TenorLike::at("http://gifs.internal/v2/", "the key").unwrap()
}

#[tokio::test]
async fn each_service_is_asked_in_its_form_and_only_what_may_be_shown_is_answered() {
    let (gifs, heads) = search(tenor(), 200, TENOR);
    let found = gifs.search("  Standing \n ovation & more ", 20).await.unwrap();
    let shown = |gif: &Gif| (gif.id.clone(), gif.title.clone(), gif.preview.clone(), gif.width);
    let all: Vec<_> = found.gifs.iter().map(shown).collect();
    let expected = [
        ("11", "a cat claps", "https://media.example.org/11s.gif", 320),
        ("12", "no small form", "https://media.example.org/12.gif", 0),
    ];
    assert_eq!(
        all,
        expected.map(|(id, title, url, width)| (id.to_owned(), title.to_owned(), url.to_owned(), width))
    );
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /v2/search?key=the+key&q=standing+ovation+%26+more&limit=20&"), "{head}");

    let giphy = Giphy::at(Some("http://gifs.internal/v1/gifs"), "k").unwrap();
    let (gifs, heads) = search(giphy, 200, GIPHY);
    let found = gifs.search("goal", 5).await.unwrap();
    assert_eq!((found.attribution, found.gifs.len()), ("Powered by GIPHY", 1));
    assert_eq!((found.gifs[0].width, found.gifs[0].height), (480, 270));
    assert!(heads.lock().unwrap()[0].starts_with("GET /v1/gifs/search?api_key=k&q=goal&limit=5&"));
    let klipy = TenorLike::klipy("k");
    assert!(
        klipy
            .question("goal", 5)
            .unwrap()
            .as_str()
            .starts_with("https://api.klipy.com/v2/search?key=k&q=goal")
    );
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_a_failure_tells_neither_key_nor_address() {
    let (gifs, heads) = search(tenor(), 200, TENOR);
    for words in ["goal", " GOAL ", "goal"] {
        gifs.search(words, 20).await.unwrap();
    }
    assert_eq!((heads.lock().unwrap().len(), gifs.searches()), (1, 1));
    for words in ["", " ", &"x".repeat(51), "a\u{7}b"] {
        assert_eq!(gifs.search(words, 20).await.unwrap_err().status, StatusCode::BAD_REQUEST, "{words:?}");
    }
    for (status, body) in [(403, "{}"), (200, "<html>"), (200, "")] {
        let (gifs, _) = search(tenor(), status, body);
        let problem = gifs.search("goal", 20).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (StatusCode::BAD_GATEWAY, "ProviderUnavailable"));
        assert!(problem.retry_after_ms.is_some());
        assert!(!problem.detail.contains("the key") && !problem.detail.contains("gifs.internal"));
        assert!(!format!("{gifs:?}").contains("the key"));
    }
}
