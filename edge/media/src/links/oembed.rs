//! oEmbed: an answer in JSON of sites whose pages say little of themselves.
//!
//! Why a list, and no discovery: an address of oEmbed in a page would be one more that a stranger names, and
//! its answer may hold markup. Of the answer only texts and one URL are read.
//! Invariant: an endpoint comes from the list and never from a page.

use serde::Deserialize;
use url::Url;

use super::{Preview, text};

/// Hosts (and their subdomains), and where they answer.
const PROVIDERS: &[(&str, &str)] = &[
    ("youtube.com", "https://www.youtube.com/oembed?format=json&url="),
    ("youtu.be", "https://www.youtube.com/oembed?format=json&url="),
    ("vimeo.com", "https://vimeo.com/api/oembed.json?url="),
    ("soundcloud.com", "https://soundcloud.com/oembed?format=json&url="),
    ("open.spotify.com", "https://open.spotify.com/oembed?url="),
    ("dailymotion.com", "https://www.dailymotion.com/services/oembed?format=json&url="),
    ("tiktok.com", "https://www.tiktok.com/oembed?url="),
];

#[derive(Deserialize)]
struct Answer {
    title: Option<String>,
    author_name: Option<String>,
    provider_name: Option<String>,
    thumbnail_url: Option<String>,
}

/// Where to ask for this URL, if its site is in the list.
pub(super) fn endpoint(url: &str) -> Option<String> {
    let parsed = Url::parse(url).ok()?;
    let host = parsed.host_str()?;
    let is_of =
        |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let (_, endpoint) = PROVIDERS.iter().find(|(name, _)| is_of(name))?;
    let encoded: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    Some(format!("{endpoint}{encoded}"))
}

/// The preview that an answer makes.
pub(super) fn read(body: &[u8], url: &str) -> Option<Preview> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let line = |text: Option<String>, max| text.and_then(|text| text::line(&text, max));
    Some(Preview {
        url: url.to_owned(),
        title: line(answer.title, 200),
        description: None,
        site: line(answer.provider_name, 80),
        author: line(answer.author_name, 80),
        image: answer.thumbnail_url,
    })
}
