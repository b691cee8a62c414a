//! Access: decides who may use an HTTP port, and logs a line for each request.
//!
//! Why more than a key: on loopback there is no key by default, but every web page that is open on this
//! machine can send requests here. A page that points its own name at 127.0.0.1 (DNS rebinding) sends that
//! name as `Host`; a page that just posts sends its `Origin`. Beyond loopback the configuration requires a
//! key, which no foreign page has.
//! Invariants: the key is compared in constant time. Paths without a key are answered to every client that
//! passes the other checks. Paths are escaped in the log, since clients choose them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::response::Failure;
use crate::logging::Escaped;
use grandstand_edge::config::Secret;

/// The rules of access to a port.
pub(super) struct Access {
    /// SHA-256 of the key: its length is the same, whatever the client sent.
    key: Option<digest::Digest>,
    /// Set if the port is on loopback: then host names are checked.
    loopback: Option<IpAddr>,
    /// Paths that need no key: probes have none.
    without_key: &'static [&'static str],
}

/// Passes permitted requests to `router`, and answers the others.
pub(super) fn guarded(router: Router, access: Access) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::new(access), check))
}

/// One request per connection: no connection is idle, so slots become free by themselves.
async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match access.judge(&path, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    tracing::debug!(%method, path = %Escaped(&path), status = response.status().as_u16(), "HTTP request");
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Access {
    pub(super) fn new(
        listen: SocketAddr,
        key: Option<&Secret>,
        without_key: &'static [&'static str],
    ) -> Access {
        Access {
            key: key.map(|key| digest::digest(&digest::SHA256, key.expose())),
            loopback: Some(listen.ip()).filter(|ip| ip.to_canonical().is_loopback()),
            without_key,
        }
    }

    fn judge(&self, path: &str, headers: &HeaderMap) -> Result<(), Failure> {
        self.check_host(headers)?;
        self.check_origin(headers)?;
        if self.without_key.contains(&path) { Ok(()) } else { self.check_key(headers) }
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(listen) = self.loopback else { return Ok(()) };
        let fits = only(headers, header::HOST).is_some_and(|authority| is_here(host(authority), listen));
        if fits {
            return Ok(());
        }
        Err(Failure::new(
            StatusCode::MISDIRECTED_REQUEST,
            "the Host of the request is not this port's",
            "ask for localhost, 127.0.0.1 or [::1]; a port beyond loopback (admin.listen, with admin.key_file) takes any name",
        ))
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(listen) = self.loopback else { return Ok(()) };
        if !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        let authority =
            only(headers, header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
        if authority.is_some_and(|authority| is_here(host(authority), listen)) {
            return Ok(());
        }
        let hint = "the admin port takes no requests from foreign web pages";
        Err(Failure::new(StatusCode::FORBIDDEN, "the request comes from a page of another origin", hint))
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(key) = &self.key else { return Ok(()) };
        let shown = only(headers, header::AUTHORIZATION).and_then(bearer);
        let fits = shown.is_some_and(|shown| {
            let shown = digest::digest(&digest::SHA256, shown.as_bytes());
            constant_time::verify_slices_are_equal(key.as_ref(), shown.as_ref()).is_ok()
        });
        if fits {
            return Ok(());
        }
        let error = if shown.is_some() { "the key is not this node's" } else { "this node asks for a key" };
        let hint = "send the key of admin.key or admin.key_file as `Authorization: Bearer KEY`";
        Err(Failure::new(StatusCode::UNAUTHORIZED, error, hint))
    }
}

/// The value of a header that must appear once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(v6, _)| v6);
    }
    authority.split_once(':').map_or(authority, |(host, _)| host)
}

/// Is this a name of this machine that nobody else can point elsewhere?
fn is_here(host: &str, listen: IpAddr) -> bool {
    let is_address = || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == listen);
    host.eq_ignore_ascii_case("localhost") || is_address()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBES: &[&str] = &["/healthz", "/readyz"];

    fn judge(access: &Access, path: &str, given: &[(&str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        match access.judge(path, &headers) {
            Ok(()) => 200,
            Err(failure) => failure.into_response().status().as_u16(),
        }
    }

    fn loopback() -> Access {
        Access::new("127.0.0.1:7480".parse().unwrap(), None, PROBES)
    }

    #[test]
    fn a_rebound_name_is_turned_away_on_loopback() {
        for good in ["localhost:7480", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "[::1]:7480"] {
            assert_eq!(judge(&loopback(), "/", &[("host", good)]), 200, "{good}");
        }
        for bad in
            ["evil.example:7480", "localhost.evil.example", "192.0.2.1", "[2001:db8::1]", "[", "", "::1"]
        {
            assert_eq!(judge(&loopback(), "/healthz", &[("host", bad)]), 421, "{bad}");
        }
        assert_eq!(judge(&loopback(), "/", &[]), 421, "no Host at all");
        assert_eq!(
            judge(&loopback(), "/", &[("host", "localhost"), ("host", "evil.example")]),
            421,
            "two of them"
        );
    }

    #[test]
    fn a_foreign_page_is_turned_away_on_loopback() {
        let with = |origin| judge(&loopback(), "/rooms", &[("host", "localhost"), ("origin", origin)]);
        assert_eq!(with("http://localhost:3000"), 200);
        assert_eq!(
            [with("https://evil.example"), with("null"), with("http://localhost.evil.example")],
            [403; 3]
        );
    }

    #[test]
    fn the_key_is_asked_for_everywhere_but_at_health() {
        let key = Secret::new("0123456789abcdef");
        let access = Access::new("0.0.0.0:7480".parse().unwrap(), Some(&key), PROBES);
        let with = |path, key| judge(&access, path, &[("host", "node.example"), ("authorization", key)]);
        assert_eq!(with("/rooms", "Bearer 0123456789abcdef"), 200);
        assert_eq!(with("/rooms", "bearer  0123456789abcdef"), 200);
        for bad in
            ["Bearer 0123456789abcdee", "Bearer 0123456789abcde", "Bearer ", "Basic 0123456789abcdef", "x"]
        {
            assert_eq!(with("/metrics", bad), 401, "{bad}");
        }
        assert_eq!(judge(&access, "/", &[]), 401);
        assert_eq!([judge(&access, "/healthz", &[]), judge(&access, "/readyz", &[])], [200; 2]);
        assert_eq!([judge(&access, "/healthz/", &[]), judge(&access, "//readyz", &[])], [401; 2]);
    }
}
