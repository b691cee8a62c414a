//! A request: what is asked for, and the bounds of its answer.
//!
//! Why bounds in the request: a page, an image and a listing differ by a factor of a thousand.
//! Invariant: a request that says nothing else takes 512 KB, 10 s and three redirects.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) url: String,
    pub(crate) method: Method,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) accepted: Vec<String>,
    pub(crate) bytes_max: usize,
    pub(crate) redirects_max: usize,
    pub(crate) within: Duration,
}

/// What a server said that identifies its answer, for a conditional request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// Value of `ETag`.
    pub etag: Option<String>,
    /// Value of `Last-Modified`.
    pub last_modified: Option<String>,
}

impl Request {
    /// Get what is at `url`.
    pub fn get(url: &str) -> Request {
        Request {
            url: url.to_owned(),
            method: Method::GET,
            body: Bytes::new(),
            headers: HeaderMap::new(),
            accepted: Vec::new(),
            bytes_max: 512 * 1024,
            redirects_max: 3,
            within: Duration::from_secs(10),
        }
    }

    /// Send `body` to `url`. A redirect is an answer and is not followed: the next server was not meant.
    pub fn post(url: &str, body: impl Into<Bytes>) -> Request {
        Request::with_method(Method::POST, url, body)
    }

    /// Send `body` to `url` by any method. A redirect is an answer and is not followed.
    pub fn with_method(method: Method, url: &str, body: impl Into<Bytes>) -> Request {
        Request { method, body: body.into(), redirects_max: 0, ..Request::get(url) }
    }

    /// Send this header too. It does not go to another origin that a redirect leads to.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.append(name, value);
        self
    }

    /// Take only bodies of these types (`text/html`, or `image/*`).
    #[must_use]
    pub fn accepting(mut self, types: &[&str]) -> Request {
        self.accepted = types.iter().map(|&one| one.to_owned()).collect();
        self
    }

    /// Take at most so many bytes of body, after decompression.
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Request {
        self.bytes_max = bytes;
        self
    }

    /// End the request, body included, within this time.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Request {
        self.within = time;
        self
    }

    /// Follow so many redirects. With 0 a redirect is the answer.
    #[must_use]
    pub fn redirects_max(mut self, redirects: usize) -> Request {
        self.redirects_max = redirects;
        self
    }

    /// Ask only for what differs from an earlier answer: if it is the same, the status is 304.
    #[must_use]
    pub fn unless(mut self, known: &Validators) -> Request {
        for (name, value) in [
            (hyper::header::IF_NONE_MATCH, &known.etag),
            (hyper::header::IF_MODIFIED_SINCE, &known.last_modified),
        ] {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                self.headers.insert(name, value);
            }
        }
        self
    }

    /// Does it take a body of this `Content-Type`?
    pub(crate) fn takes(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        self.accepted.is_empty()
            || self.accepted.iter().any(|accepted| match accepted.strip_suffix('*') {
                Some(start) => essence.starts_with(start),
                None => *accepted == essence,
            })
    }
}
