//! The fetcher: one request from its URL to its answer, each hop through the guard.
//!
//! Why redirects by hand: each one names a new host, which is judged as the first one was.
//! Invariants: a hop is resolved once, and connected to an address of that one answer. Headers of the caller
//! do not go to another origin. Every wait is within the time of the request.
//! Not here: the rules (`policy`, `address`), the bytes (`connection`, `body`).

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Sleep, sleep, timeout};
use url::{Position, Url};

use crate::USER_AGENT;
use crate::body::Decoder;
use crate::connection::{self, Link};
use crate::error::FetchError;
use crate::network::{Network, System};
use crate::places::{Place, Places};
use crate::policy::{Policy, Target};
use crate::request::{Request, Validators};

/// What a [`Fetcher`] is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What may be reached.
    pub policy: Policy,
    /// Requests at a time, all hosts together.
    pub concurrent_max: usize,
    /// Requests at a time to one host.
    pub per_host_max: usize,
    /// Requests that may wait for their turn; beyond, they are refused as [`FetchError::Busy`].
    pub waiting_max: usize,
    /// How long resolving and connecting may take, TLS included.
    pub connect_within: Duration,
    /// Authorities that sign servers' certificates; `None`: those that the system trusts.
    pub roots: Option<RootCertStore>,
}

impl Settings {
    /// The bounds of link previews, with this policy.
    pub fn new(policy: Policy) -> Settings {
        Settings {
            policy,
            concurrent_max: 16,
            per_host_max: 4,
            waiting_max: 1_024,
            connect_within: Duration::from_secs(5),
            roots: None,
        }
    }
}

/// See the file's head. Clones share the bounds.
#[derive(Clone)]
pub struct Fetcher(Arc<Shared>);

struct Shared {
    policy: Policy,
    places: Places,
    connect_within: Duration,
    tls: Arc<ClientConfig>,
    network: Box<dyn Network>,
}

/// An answer in full.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// The URL that answered, after redirects.
    pub url: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
}

/// An answer whose body is still to come.
pub struct Opened {
    /// Status of HTTP.
    pub status: u16,
    /// The URL that answers, after redirects.
    pub url: String,
    /// All headers.
    pub headers: HeaderMap,
    body: Incoming,
    decoder: Decoder,
    is_ended: bool,
    deadline: Pin<Box<Sleep>>,
    _link: Link,
    _place: Place,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("policy", &self.0.policy).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A client over this machine's network. It reads the system's authorities, which takes milliseconds.
    ///
    /// # Errors
    /// The cryptography cannot be set up.
    pub fn new(settings: Settings) -> Result<Fetcher, FetchError> {
        Fetcher::over(System, settings)
    }

    /// A client over another network, for tests.
    ///
    /// # Errors
    /// The cryptography cannot be set up.
    pub fn over(network: impl Network, settings: Settings) -> Result<Fetcher, FetchError> {
        let roots = settings.roots.unwrap_or_else(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| FetchError::Setup(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Fetcher(Arc::new(Shared {
            policy: settings.policy,
            places: Places::new(settings.concurrent_max, settings.per_host_max, settings.waiting_max),
            connect_within: settings.connect_within,
            tls: Arc::new(tls),
            network: Box::new(network),
        })))
    }

    /// Judge a URL by the rules that need no resolver, and write it in its normal form.
    ///
    /// # Errors
    /// [`FetchError::Url`].
    pub fn check(&self, url: &str) -> Result<String, FetchError> {
        let mut url = self.0.policy.parse(url)?;
        url.set_fragment(None);
        Ok(url.into())
    }

    /// Send a request and read the whole answer.
    ///
    /// # Errors
    /// See [`FetchError`]. A status such as 404 is an answer, and no error.
    pub async fn send(&self, request: &Request) -> Result<Answer, FetchError> {
        let mut opened = self.open(request).await?;
        let mut body = BytesMut::new();
        while let Some(bytes) = opened.chunk().await? {
            body.extend_from_slice(&bytes);
        }
        let Opened { status, url, headers, .. } = opened;
        Ok(Answer { status, url, headers, body: body.freeze() })
    }

    /// Send a request and read the head of its answer; the body is read by [`Opened::chunk`].
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn open(&self, request: &Request) -> Result<Opened, FetchError> {
        let mut deadline = Box::pin(sleep(request.within));
        let (response, url, link, place) = tokio::select! {
            biased;
            answered = self.follow(request) => answered?,
            () = &mut deadline => return Err(FetchError::TooSlow),
        };
        let (head, body) = response.into_parts();
        let value = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if head.status.is_success() {
            let content_type = value(header::CONTENT_TYPE).unwrap_or_default();
            if !request.takes(content_type) {
                return Err(FetchError::Type(content_type.chars().take(80).collect()));
            }
        }
        let max = request.bytes_max;
        let length = value(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        // The answer to HEAD has the length of a body that does not come.
        if request.method != Method::HEAD && length.is_some_and(|length| length > max as u64) {
            return Err(FetchError::TooLarge { max });
        }
        let decoder = Decoder::new(value(header::CONTENT_ENCODING).unwrap_or_default(), max)?;
        Ok(Opened {
            status: head.status.as_u16(),
            url: url.into(),
            headers: head.headers,
            body,
            decoder,
            is_ended: false,
            deadline,
            _link: link,
            _place: place,
        })
    }

    /// Follow redirects to the last answer.
    async fn follow(&self, request: &Request) -> Result<(Response<Incoming>, Url, Link, Place), FetchError> {
        let mut url = self.0.policy.parse(&request.url)?;
        let origin = url.origin();
        for hop in 0.. {
            let target = self.0.policy.target(&url)?;
            let place = self.0.places.take(&target.host.to_string()).await?;
            let addresses = self.addresses(&target).await?;
            let connecting = connection::connect(&*self.0.network, &self.0.tls, &target, &addresses);
            let stream = timeout(self.0.connect_within, connecting).await.map_err(|_| {
                FetchError::Connect { host: target.host.to_string(), error: "no answer in time".to_owned() }
            })??;
            let message = message(request, &url, url.origin() == origin)?;
            let (response, link) = connection::send(stream, message).await?;
            if request.redirects_max == 0 || !is_redirect(response.status()) {
                return Ok((response, url, link, place));
            }
            if hop == request.redirects_max {
                return Err(FetchError::TooManyRedirects);
            }
            let location = response.headers().get(header::LOCATION).ok_or(FetchError::BadRedirect)?;
            let location = location.to_str().map_err(|_| FetchError::BadRedirect)?;
            url = self.0.policy.join(&url, location)?;
        }
        unreachable!("a hop returns or goes on")
    }

    /// The addresses of a target, all of them permitted.
    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, FetchError> {
        let host = || target.host.to_string();
        let addresses = match (target.literal(), target.question()) {
            (Some(literal), _) => vec![literal],
            (None, question) => {
                let question = question.unwrap_or_default();
                let resolving = timeout(self.0.connect_within, self.0.network.resolve(&question));
                let fault = |error: String| FetchError::Resolve { host: host(), error };
                let resolved = resolving.await.map_err(|_| fault("no answer in time".to_owned()))?;
                resolved.map_err(|error| fault(error.to_string()))?
            }
        };
        if addresses.is_empty() {
            return Err(FetchError::Resolve { host: host(), error: "the resolver names none".to_owned() });
        }
        self.0.policy.permit(target, &addresses)?;
        Ok(addresses)
    }
}

impl Opened {
    /// The next bytes of the body, decompressed; `None` at its end.
    ///
    /// # Errors
    /// It is too large, too slow, damaged, or ends early.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        while !self.is_ended {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = &mut self.deadline => return Err(FetchError::TooSlow),
            };
            let decoded = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.decoder.take(bytes)?,
                    // Trailers.
                    Err(_) => continue,
                },
                Some(Err(error)) => return Err(FetchError::Protocol(error.to_string())),
                None => {
                    self.is_ended = true;
                    self.decoder.finish()?
                }
            };
            if !decoded.is_empty() {
                return Ok(Some(decoded));
            }
        }
        Ok(None)
    }

    /// What identifies this answer, for a conditional request.
    pub fn validators(&self) -> Validators {
        validators(&self.headers)
    }
}

impl Answer {
    /// What identifies this answer, for a conditional request.
    pub fn validators(&self) -> Validators {
        validators(&self.headers)
    }

    /// The value of `Content-Type`; empty when there is none.
    pub fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The time that `Retry-After` asks for, where it is a number of seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        Some(Duration::from_secs(value.trim().parse().ok()?))
    }
}

fn validators(headers: &HeaderMap) -> Validators {
    let value = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    Validators { etag: value(header::ETAG), last_modified: value(header::LAST_MODIFIED) }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The message of one hop.
fn message(
    request: &Request,
    url: &Url,
    is_same_origin: bool,
) -> Result<hyper::Request<Full<Bytes>>, FetchError> {
    let mut message = hyper::Request::builder()
        .method(request.method.clone())
        .uri(&url[Position::BeforePath..Position::AfterQuery])
        .body(Full::new(request.body.clone()))
        .map_err(|_| FetchError::Url("its path is no path of HTTP"))?;
    let headers = message.headers_mut();
    if is_same_origin {
        headers.clone_from(&request.headers);
    }
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
    headers.insert(header::HOST, host.map_err(|_| FetchError::Url("its host is no host of HTTP"))?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if !request.accepted.is_empty() {
        let accepted = HeaderValue::from_str(&request.accepted.join(", "));
        headers.insert(header::ACCEPT, accepted.map_err(|_| FetchError::Url("a type cannot be sent"))?);
    }
    Ok(message)
}
