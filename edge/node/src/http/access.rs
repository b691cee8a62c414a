//! Access: decides who may use an HTTP port, and logs a line for each request.
//!
//! Why more than a key: on loopback there is no key by default, but every web page that is open on this
//! machine can send requests here. A page that points its own name at 127.0.0.1 (DNS rebinding) sends that
//! name as `Host`; a page that just posts sends its `Origin`. So a request must name this port by a name of
//! an exact list, and a page must be of the same origin as the port. Beyond loopback the configuration
//! requires a key, which no foreign page has.
//! Invariants: probes of health are answered to everybody, and nothing
//! else is. Paths are escaped in the log, since clients choose them.
//! Not here: the syntax of authorities and origins (`authority`).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::authority::{Authority, Name, origin};
use super::key::SharedKey;
use super::response::Failure;
use crate::logging::Escaped;

/// What the rules of access are made of.
#[derive(Clone, Debug)]
pub(super) struct Guard<'a> {
    /// The address of the port.
    pub(super) listen: SocketAddr,
    /// The key that requests must show, if there is one.
    pub(super) key: &'a SharedKey,
    /// Names besides the port's own under which it may be asked.
    pub(super) hosts: &'a [String],
    /// Bytes of a request's head.
    pub(super) header_bytes_max: usize,
    /// Paths that need no key and no `Host`: probes have neither.
    pub(super) health: &'static [&'static str],
}

/// The rules of access to a port.
pub(super) struct Access {
    /// The key that requests must show, if there is one.
    key: SharedKey,
    /// Names under which the port may be asked; `None`: any.
    hosts: Option<Vec<Name>>,
    header_bytes_max: usize,
    health: &'static [&'static str],
}

/// Passes permitted requests to `router`, and answers the others.
pub(super) fn guarded(router: Router, access: Access) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::new(access), check))
}

/// One request per connection: no connection is idle, so slots become free by themselves.
async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match access.judge(&method, request.uri(), request.headers()) {
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
    pub(super) fn new(guard: &Guard<'_>) -> Access {
        let ip = guard.listen.ip().to_canonical();
        let own = ["localhost", "127.0.0.1", "::1"].into_iter().filter_map(Name::parse);
        let own = own.chain((!ip.is_unspecified()).then_some(Name::Address(ip)));
        let is_guarded = ip.is_loopback() || !guard.hosts.is_empty();
        let given = guard.hosts.iter().filter_map(|host| Name::parse(host));
        Access {
            key: guard.key.clone(),
            hosts: is_guarded.then(|| own.chain(given).collect()),
            header_bytes_max: guard.header_bytes_max,
            health: guard.health,
        }
    }

    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        self.check_size(method, uri, headers)?;
        if self.is_probe(method, uri.path()) {
            return Ok(());
        }
        let authority = self.check_host(uri, headers)?;
        self.check_origin(authority, headers)?;
        self.check_key(headers)
    }

    /// Health is told to everybody who does no more than ask; `OPTIONS /` is what HAProxy asks by default.
    fn is_probe(&self, method: &Method, path: &str) -> bool {
        let is_options = method == Method::OPTIONS;
        (is_options && (path == "/" || path == "*"))
            || (self.health.contains(&path)
                && (is_options || method == Method::GET || method == Method::HEAD))
    }

    /// The head as it is sent, without blanks that nobody needs: the ports of WebSocket count the same.
    fn check_size(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let first = method.as_str().len() + " ".len() + uri.to_string().len() + " HTTP/1.1\r\n".len();
        let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
        let bytes: usize = first + lines.sum::<usize>() + "\r\n".len();
        if bytes <= self.header_bytes_max {
            return Ok(());
        }
        let error = format!("the head of the request has {bytes} bytes");
        let hint = format!("at most {} are taken (ws.header_bytes_max)", self.header_bytes_max);
        Err(Failure::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, error, hint))
    }

    /// The authority under which the port was asked, if that must be known. A whole URI in the request line
    /// takes precedence over `Host` (RFC 9112, 3.2.2), so both must be names of this port.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Failure> {
        let Some(hosts) = &self.hosts else { return Ok(None) };
        let listed = |text: &str| Authority::parse(text).filter(|authority| hosts.contains(&authority.name));
        let host = only(headers, header::HOST).and_then(listed);
        let target = uri.authority().map(|authority| listed(authority.as_str()));
        match (host, target) {
            (Some(host), None) => Ok(Some(host)),
            (Some(_), Some(Some(target))) => Ok(Some(target)),
            _ => Err(Failure::new(
                StatusCode::MISDIRECTED_REQUEST,
                "the Host of the request is not this port's",
                "ask for localhost, 127.0.0.1 or [::1], or add the name to admin.hosts",
            )),
        }
    }

    /// A page must be of the origin that it asks.
    fn check_origin(&self, asked: Option<Authority>, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(asked) = asked.filter(|_| headers.contains_key(header::ORIGIN)) else { return Ok(()) };
        let page = only(headers, header::ORIGIN).and_then(origin);
        if page
            .is_some_and(|(page, port)| page.name == asked.name && page.port_or(port) == asked.port_or(port))
        {
            return Ok(());
        }
        let hint =
            "the admin port takes no requests from foreign web pages, also not from those of other ports";
        Err(Failure::new(StatusCode::FORBIDDEN, "the request comes from a page of another origin", hint))
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let shown = only(headers, header::AUTHORIZATION).and_then(bearer);
        if self.key.allows(shown) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_edge::config::Secret;

    const PROBES: &[&str] = &["/healthz", "/readyz"];

    fn access(listen: &str, key: Option<&Secret>, hosts: &[&str]) -> Access {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let listen = listen.parse().unwrap();
        let key = SharedKey::new(key);
        Access::new(&Guard { listen, key: &key, hosts: &hosts, header_bytes_max: 16_384, health: PROBES })
    }

    fn judge_by(access: &Access, method: &str, target: &str, given: &[(&str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match access.judge(&method, &target.parse().unwrap(), &headers) {
            Ok(()) => 200,
            Err(failure) => failure.into_response().status().as_u16(),
        }
    }

    fn judge(access: &Access, target: &str, given: &[(&str, &str)]) -> u16 {
        judge_by(access, "GET", target, given)
    }

    fn loopback() -> Access {
        access("127.0.0.1:7480", None, &[])
    }

    #[test]
    fn a_rebound_name_is_turned_away_on_loopback() {
        for good in ["localhost:7480", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "[::1]:7480", "[0:0::1]"] {
            assert_eq!(judge(&loopback(), "/", &[("host", good)]), 200, "{good}");
        }
        for bad in [
            "evil.example:7480",
            "localhost.evil.example",
            "localhost.",
            "192.0.2.1",
            "127.0.0.2",
            "127.1",
            "2130706433",
            "[2001:db8::1]",
            "[::ffff:127.0.0.1",
            "127.0.0.1:7480@evil.example",
            "evil.example@127.0.0.1:7480",
            "localhost:7480:1",
            "localhost:",
            "localhost:+1",
            "localhost:99999",
            "[",
            "",
            "::1",
        ] {
            assert_eq!(judge(&loopback(), "/rooms", &[("host", bad)]), 421, "{bad}");
        }
        assert_eq!(judge(&loopback(), "/", &[]), 421, "no Host at all");
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(judge(&loopback(), "/", &two), 421, "two of them");
        let absolute = |target| judge(&loopback(), target, &[("host", "localhost:7480")]);
        assert_eq!(absolute("http://evil.example/rooms"), 421, "the request line takes precedence");
        assert_eq!(absolute("http://localhost:7480/rooms"), 200);
    }

    #[test]
    fn a_foreign_page_is_turned_away_on_loopback() {
        let with = |host, origin| judge(&loopback(), "/rooms", &[("host", host), ("origin", origin)]);
        for (host, origin) in [
            ("localhost:7480", "http://localhost:7480"),
            ("127.0.0.1:7480", "HTTP://127.0.0.1:7480"),
            ("[::1]:7480", "http://[::1]:7480"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
            ("localhost", "https://localhost:443"),
            // The port as it is forwarded (ssh -L).
            ("localhost:8080", "http://localhost:8080"),
        ] {
            assert_eq!(with(host, origin), 200, "{origin} at {host}");
        }
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://localhost.evil.example:7480",
            "http://localhost:3000",
            "http://localhost",
            "http://127.0.0.1:7480",
            "http://127.0.0.1:1@evil.example",
            "http://evil.example@localhost:7480",
            "http://localhost:7480/",
            "http://localhost:7480#",
            "localhost:7480",
            "ftp://localhost:7480",
        ] {
            assert_eq!(with("localhost:7480", origin), 403, "{origin}");
        }
        let two = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")];
        assert_eq!(judge(&loopback(), "/rooms", &two), 403, "two of them");
    }

    #[test]
    fn configured_names_are_the_port_s_own_and_guard_it_beyond_loopback_too() {
        let page = [("host", "admin.example.org"), ("origin", "https://admin.example.org")];
        let foreign = [("host", "admin.example.org"), ("origin", "https://other.example.org")];
        for listen in ["127.0.0.1:7480", "0.0.0.0:7480", "192.0.2.1:7480"] {
            let access = access(listen, None, &["Admin.example.org", "192.0.2.9"]);
            assert_eq!(judge(&access, "/rooms", &page), 200);
            assert_eq!(judge(&access, "/rooms", &foreign), 403);
            assert_eq!(judge(&access, "/rooms", &[("host", "192.0.2.9:7480")]), 200);
            assert_eq!(judge(&access, "/rooms", &[("host", "localhost:7480")]), 200);
            assert_eq!(judge(&access, "/rooms", &[("host", "evil.example")]), 421);
        }
        let own = access("192.0.2.1:7480", None, &["admin.example.org"]);
        assert_eq!(judge(&own, "/rooms", &[("host", "192.0.2.1:7480")]), 200);
        assert_eq!(judge(&access("127.0.0.2:7480", None, &[]), "/", &[("host", "127.0.0.2:7480")]), 200);
    }

    #[test]
    fn probes_are_answered_to_everybody_and_open_nothing_else() {
        let key = Secret::new("0123456789abcdef");
        for access in [loopback(), access("0.0.0.0:7480", Some(&key), &["admin.example.org"])] {
            for host in [&[][..], &[("host", "10.0.0.7:7480")], &[("host", "a"), ("host", "b")]] {
                for method in ["GET", "HEAD", "OPTIONS"] {
                    for path in PROBES {
                        assert_eq!(judge_by(&access, method, path, host), 200, "{method} {path}");
                    }
                }
                assert_eq!(
                    [judge_by(&access, "OPTIONS", "/", host), judge_by(&access, "OPTIONS", "*", host)],
                    [200; 2]
                );
                for (method, path) in [
                    ("GET", "/"),
                    ("HEAD", "/"),
                    ("GET", "/metrics"),
                    ("POST", "/healthz"),
                    ("PUT", "/readyz"),
                    ("OPTIONS", "/rooms"),
                    ("GET", "/healthz/"),
                    ("GET", "//readyz"),
                    ("GET", "/rooms?/healthz"),
                ] {
                    assert_eq!(judge_by(&access, method, path, host), 421, "{method} {path}");
                }
            }
        }
    }

    #[test]
    fn a_head_over_the_bound_is_refused_and_a_browser_s_fits() {
        let with = |bytes: usize, target: &str| {
            judge(&loopback(), target, &[("host", "localhost"), ("cookie", &"c".repeat(bytes))])
        };
        assert_eq!([with(8_192, "/"), with(16_000, "/rooms")], [200; 2]);
        assert_eq!([with(16_384, "/"), with(100_000, "/healthz")], [431; 2]);
        assert_eq!(with(1, &format!("/rooms?prefix={}", "x".repeat(16_384))), 431);
    }

    #[test]
    fn the_key_is_asked_for_everywhere_but_at_health() {
        let key = Secret::new("0123456789abcdef");
        let access = access("0.0.0.0:7480", Some(&key), &[]);
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
