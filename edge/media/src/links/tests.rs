//! Tests of previews: what a page says, whatever bytes it has, and that it is asked once.
//!
//! Why over a network in memory: fetches are counted at the server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grandstand_fetch::{BoxFuture, BoxStream, Fetcher, Network, Policy, Settings};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Links, NoPreview, Preview, read_page};

const URL: &str = "https://show.example.org/a";

fn read(html: &str) -> Preview {
    read_page(html.as_bytes(), "text/html; charset=utf-8", URL)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn open_graph_comes_before_the_page_s_own_and_entities_are_decoded() {
    let preview = read(
        "<!doctype html><html><head><title>Plain &amp; title</title>\
         <meta name=description content='plain words'>\
         <meta property='og:title' content='Tonight &#8211; live &lt;b&gt;'>\
         <meta property='og:title' content='second'>\
         <META NAME='twitter:description' CONTENT='from\n\n twitter\u{202e}'>\
         <meta property=og:site_name content=Show><meta property=og:image content='/i.png?a=1&amp;b=2'>",
    );
    assert_eq!(preview.title, some("Tonight \u{2013} live <b>"));
    assert_eq!(preview.description, some("from twitter"));
    assert_eq!(preview.site, some("Show"));
    assert_eq!(preview.image, some("https://show.example.org/i.png?a=1&b=2"));
    let plain = read("<title> A\n\tpage </title><svg><title>drawing</title></svg><title>second</title>");
    assert_eq!((plain.title, plain.description), (some("A page"), None));
    let script = read(
        "<script>'<title>not this</title><meta property=og:title content=no>'</script><title>this</title>",
    );
    assert_eq!(script.title, some("this"));
    let comment = read("<!-- <title>not this</title> --><title>this</title>");
    assert_eq!(comment.title, some("this"));
    let long = read(&format!("<title>{}</title>", "word ".repeat(1_000))).title.unwrap();
    assert!(long.chars().count() <= 201 && long.ends_with('\u{2026}'), "{long}");
}

#[test]
fn a_page_is_read_in_its_encoding() {
    let latin = b"<meta charset=iso-8859-1><title>Caf\xe9</title>";
    assert_eq!(read_page(latin, "text/html", URL).title, some("Caf\u{e9}"));
    assert_eq!(read_page(b"<title>Caf\xe9</title>", "text/html", URL).title, some("Caf\u{e9}"));
    let japanese = b"<title>\x83\x65\x83\x8c\x83\x72</title>";
    assert_eq!(
        read_page(japanese, "text/html; charset=Shift_JIS", URL).title,
        some("\u{30c6}\u{30ec}\u{30d3}")
    );
    let utf16: Vec<u8> =
        "\u{feff}<title>Caf\u{e9}</title>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read_page(&utf16, "text/html", URL).title, some("Caf\u{e9}"));
}

#[test]
fn a_page_of_nested_elements_or_of_one_attribute_costs_no_more_than_its_bytes() {
    for page in [
        "<div>".repeat(100_000),
        format!("<meta content='{}", "a".repeat(500_000)),
        "<!--".repeat(100_000),
        "<title>".repeat(70_000),
    ] {
        read(&page);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_texts_are_lines_without_hidden_characters(
        parts in prop::collection::vec(prop_oneof![
            Just("<title>"), Just("</title>"), Just("<meta property='og:title' content='"), Just("'>"),
            Just("<script>"), Just("</script>"), Just("<svg>"), Just("&#x202e;"), Just("&#0;"), Just("a\nb"),
            Just("<meta name=description content=\""), Just("\">"), Just("\u{200b}"), Just("<meta property=og:image content=")
        ], 0..40),
        junk in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let bytes = [parts.concat().into_bytes(), junk].concat();
        let preview = read_page(&bytes, "", URL);
        for text in [preview.title, preview.description, preview.site, preview.author].into_iter().flatten() {
            prop_assert!(!text.is_empty() && text.trim() == text);
            prop_assert!(!text.chars().any(|c| c.is_control() || "\u{202e}\u{200b}\u{feff}".contains(c)), "{text:?}");
        }
    }
}

/// A server in memory that counts its requests.
#[derive(Clone)]
struct Site {
    requests: Arc<AtomicUsize>,
    answer: Arc<dyn Fn(&str) -> String + Send + Sync>,
}

impl Network for Site {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec!["93.184.216.34".parse().unwrap()]) })
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        let (ours, mut theirs) = duplex(64 * 1024);
        let site = self.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = theirs.read_u8().await else { return };
                head.push(byte);
            }
            site.requests.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let answer = (site.answer)(&String::from_utf8_lossy(&head));
            let _ = theirs.write_all(answer.as_bytes()).await;
        });
        Box::pin(async move { Ok(Box::new(ours) as BoxStream) })
    }
}

fn site(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> (Links, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let site = Site { requests: requests.clone(), answer: Arc::new(answer) };
    let fetcher = Fetcher::over(site, Settings::new(Policy::public())).unwrap();
    (Links::new(fetcher, 100, Duration::from_secs(3_600)), requests)
}

fn html(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n{body}")
}

#[tokio::test(start_paused = true)]
async fn a_thousand_posts_of_a_link_fetch_it_once_also_when_the_first_who_asked_has_gone() {
    let (links, requests) =
        site(|_| html("<title>T</title><meta property=og:image content=http://127.0.0.1/i>"));
    let url = "http://show.example.org/page";
    // The first one leaves before the answer.
    let first = tokio::time::timeout(Duration::from_millis(10), links.preview(url)).await;
    assert!(first.is_err());
    let all: Vec<_> = (0..1_000)
        .map(|n| {
            let (links, url) = (links.clone(), format!("{url}#part{n}"));
            tokio::spawn(async move { links.preview(&url).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap().unwrap().title, some("T"));
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    assert_eq!(
        links.preview("HTTP://SHOW.example.org:80/page").await.unwrap().url,
        url,
        "the same in normal form"
    );
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    tokio::time::advance(Duration::from_secs(3_601)).await;
    assert!(links.preview(url).await.is_ok());
    assert_eq!(requests.load(Ordering::SeqCst), 2, "after its time it is fetched again");
    let other = links.preview("http://show.example.org/other").await.unwrap();
    assert_eq!(other.image.as_deref(), Some("http://127.0.0.1/i"), "an address is judged when it is fetched");
}

#[tokio::test(start_paused = true)]
async fn failures_are_kept_for_a_shorter_time_and_say_what_was_wrong() {
    let (links, requests) = site(|head| match head {
        head if head.contains("/gone") => "HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n".to_owned(),
        head if head.contains("/busy") => "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_owned(),
        head if head.contains("/file") => {
            "HTTP/1.1 200 X\r\ncontent-type: application/zip\r\n\r\nPK".to_owned()
        }
        head if head.contains("/empty") => html("<p>nothing"),
        _ => html(&format!("<title>T</title>{}", "x".repeat(3_000_000))),
    });
    let ask = |path: &str| {
        let (links, url) = (links.clone(), format!("http://show.example.org{path}"));
        async move { links.preview(&url).await }
    };
    for path in ["/gone", "/file", "/empty"] {
        assert!(matches!(ask(path).await, Err(NoPreview::Nothing(_))), "{path}");
        assert!(ask(path).await.is_err());
    }
    assert!(matches!(ask("/busy").await, Err(NoPreview::Unreachable(_))));
    assert_eq!(requests.load(Ordering::SeqCst), 4);
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(ask("/gone").await.is_err());
    assert_eq!(requests.load(Ordering::SeqCst), 5);
    assert_eq!(ask("/long").await.unwrap().title, some("T"), "a long page is read as far as its head");
    for refused in ["http://127.0.0.1/", "http://[::1]/", "file:///x", "http://show.example.org:22/", "x"] {
        assert!(matches!(links.preview(refused).await, Err(NoPreview::Refused(_))), "{refused}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 6, "what is refused is not sent");
}

#[tokio::test(start_paused = true)]
async fn many_urls_are_kept_up_to_the_bound_and_the_oldest_leaves() {
    let (links, requests) = site(|_| html("<title>T</title>"));
    for n in 0..150 {
        links.preview(&format!("http://show.example.org/{n}")).await.unwrap();
    }
    links.preview("http://show.example.org/149").await.unwrap();
    assert_eq!(requests.load(Ordering::SeqCst), 150);
    links.preview("http://show.example.org/0").await.unwrap();
    assert_eq!(requests.load(Ordering::SeqCst), 151);
}

#[tokio::test(start_paused = true)]
async fn a_listed_site_is_asked_by_oembed_and_its_page_if_that_fails() {
    // The endpoints speak TLS, which the server in memory does not: then the page is asked.
    let (links, _) = site(|_| html("<title>T</title>"));
    assert_eq!(links.preview("http://youtu.be/x").await.unwrap().title, some("T"));
    let endpoint = super::oembed::endpoint("https://www.youtube.com/watch?v=1&t=2").unwrap();
    assert_eq!(
        endpoint,
        "https://www.youtube.com/oembed?format=json&url=https%3A%2F%2Fwww.youtube.com%2Fwatch%3Fv%3D1%26t%3D2"
    );
    for other in
        ["https://notyoutube.com/", "https://youtube.com.example.org/", "https://example.org/youtube.com"]
    {
        assert_eq!(super::oembed::endpoint(other), None, "{other}");
    }
    let answer =
        br#"{"title":"A <b>\u202eclip","author_name":"Someone","provider_name":"Tube","html":"<script>"}"#;
    let preview = super::oembed::read(answer, "u").unwrap();
    assert_eq!((preview.title, preview.author), (some("A <b>clip"), some("Someone")));
}
