//! Pages: what the head of an HTML document says of it, read token by token.
//!
//! Why no tree: two million nested elements are nothing to a tokenizer, and what is asked for are attributes
//! of single elements.
//! Invariants: any bytes are read, in time linear in their number; what comes out is text (`text`) and one
//! absolute URL. The first of equal properties counts, Open Graph before Twitter's before HTML's own.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use html5gum::{DefaultEmitter, Token, Tokenizer};
use url::Url;

use super::{Preview, text};

/// Bytes in which a page names its encoding (HTML, 13.2.3.2).
const CHARSET_WITHIN: usize = 1_024;

/// The properties that are read, in the order in which they are preferred.
const TITLES: &[&str] = &["og:title", "twitter:title"];
const DESCRIPTIONS: &[&str] = &["og:description", "twitter:description", "description"];
const SITES: &[&str] = &["og:site_name", "application-name"];
const IMAGES: &[&str] =
    &["og:image:secure_url", "og:image", "og:image:url", "twitter:image", "twitter:image:src"];
const AUTHORS: &[&str] = &["author", "article:author", "twitter:creator"];
const ALL: &[&[&str]] = &[TITLES, DESCRIPTIONS, SITES, IMAGES, AUTHORS];

/// Values of properties, the first of each.
#[derive(Default)]
struct Found {
    values: Vec<(&'static str, String)>,
    title: Option<String>,
}

impl Found {
    fn any(&self, names: &[&str]) -> Option<&str> {
        let value = |name: &&str| self.values.iter().find(|(found, _)| found == name);
        names.iter().find_map(value).map(|(_, value)| value.as_str())
    }
}

/// What a page says of itself. `url` is where it came from.
pub fn read(bytes: &[u8], content_type: &str, url: &str) -> Preview {
    let (html, _, _) = encoding(bytes, content_type).decode(bytes);
    let found = properties(&html);
    let line = |value: Option<&str>, max| value.and_then(|value| text::line(value, max));
    let base = Url::parse(url).ok();
    let absolute = |image: &str| Some(base.as_ref()?.join(image.trim()).ok()?.into());
    Preview {
        url: url.to_owned(),
        title: line(found.any(TITLES).or(found.title.as_deref()), 200),
        description: line(found.any(DESCRIPTIONS), 400),
        site: line(found.any(SITES), 80),
        author: line(found.any(AUTHORS).filter(|author| !author.starts_with("http")), 80),
        image: found.any(IMAGES).and_then(absolute),
    }
}

fn properties(html: &str) -> Found {
    let mut found = Found::default();
    let mut emitter = DefaultEmitter::default();
    // Text in scripts and styles is no markup.
    emitter.naively_switch_states(true);
    let mut is_in_title = false;
    let mut depth_of_svg = 0_u32;
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let name: &[u8] = &tag.name;
                // A drawing has titles of its own.
                if name == b"svg" && !tag.self_closing {
                    depth_of_svg += 1;
                }
                is_in_title = name == b"title" && depth_of_svg == 0 && found.title.is_none();
                if name == b"meta" {
                    let attribute = |name: &[u8]| {
                        let mut all = tag.attributes.iter();
                        let (_, value) = all.find(|(key, _)| key.0 == name)?;
                        Some(String::from_utf8_lossy(&value.value.0).into_owned())
                    };
                    let named = attribute(b"property").or_else(|| attribute(b"name"));
                    if let (Some(named), Some(value)) = (named, attribute(b"content")) {
                        found.take(&named, value);
                    }
                }
            }
            Token::EndTag(tag) => {
                if tag.name.0 == b"svg" {
                    depth_of_svg = depth_of_svg.saturating_sub(1);
                }
                if tag.name.0 == b"title" {
                    is_in_title = false;
                }
            }
            Token::String(text) if is_in_title => {
                found.title.get_or_insert_default().push_str(&String::from_utf8_lossy(&text.value.0));
            }
            Token::String(_) | Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    found
}

impl Found {
    fn take(&mut self, named: &str, value: String) {
        let named = named.trim().to_ascii_lowercase();
        let Some(&name) = ALL.iter().copied().flatten().find(|&&name| name == named) else { return };
        if !value.trim().is_empty() && !self.values.iter().any(|&(found, _)| found == name) {
            self.values.push((name, value));
        }
    }
}

/// The encoding: of the header, of a mark at the beginning, or of the page's own declaration.
fn encoding(bytes: &[u8], content_type: &str) -> &'static Encoding {
    if let Some((marked, _)) = Encoding::for_bom(bytes) {
        return marked;
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(CHARSET_WITHIN)]).to_ascii_lowercase();
    let declared = label(&content_type.to_ascii_lowercase()).or_else(|| label(&head));
    declared.unwrap_or_else(|| {
        // A page that was cut may end within a character.
        let is_utf8 = match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none(),
        };
        if is_utf8 { UTF_8 } else { WINDOWS_1252 }
    })
}

fn label(text: &str) -> Option<&'static Encoding> {
    let (_, after) = text.split_once("charset=")?;
    let after = after.trim_start_matches(['"', '\'', ' ']);
    let label: String =
        after.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_:".contains(*c)).collect();
    Encoding::for_label(label.as_bytes())
}
