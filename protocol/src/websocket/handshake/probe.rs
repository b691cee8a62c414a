//! Health probes on a WebSocket port: the requests of load balancers and supervisors, and their answers.
//!
//! Why lenient where an upgrade is strict: probes come as HTTP/1.0 or 1.1, by GET, HEAD or OPTIONS, with a
//! `Host` or without. An answer tells only whether the node takes sessions.
//! Invariant: a request that is no probe by its first line is judged as an upgrade.
//! Not here: the health itself (the edge).

use super::HEADERS_MAX;
use super::request::HandshakeFault;

/// The path that tells whether the process works.
pub const LIVE_PATH: &str = "/healthz";

/// The path that tells whether the node takes new sessions.
pub const READY_PATH: &str = "/readyz";

/// A whole request of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// It asks for readiness, and not only whether the process works.
    pub asks_ready: bool,
    /// Its answer has no body.
    pub is_head: bool,
}

/// The probe at the start of `bytes`. `Ok(None)`: it is no probe, by its first line. `Some(None)`: more bytes
/// are needed.
///
/// # Errors
/// It is no HTTP, or has too many bytes or headers.
pub fn parse_probe(bytes: &[u8], header_bytes_max: usize) -> Result<Option<Option<Probe>>, HandshakeFault> {
    let Some(probe) = of_first_line(bytes) else { return Ok(None) };
    let bytes = &bytes[..bytes.len().min(header_bytes_max)];
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::Request::new(&mut headers).parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Ok(Some(Some(probe))),
        Ok(httparse::Status::Partial) if bytes.len() == header_bytes_max => Err(HandshakeFault::TooLarge),
        Ok(httparse::Status::Partial) => Ok(Some(None)),
        Err(httparse::Error::TooManyHeaders) => Err(HandshakeFault::TooLarge),
        Err(_) => Err(HandshakeFault::BadRequest("not an HTTP request")),
    }
}

/// `OPTIONS /` is what HAProxy asks by default.
fn of_first_line(bytes: &[u8]) -> Option<Probe> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let mut words = std::str::from_utf8(&bytes[..end]).ok()?.trim_end().split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_http = words.next().is_none() && (version == "HTTP/1.0" || version == "HTTP/1.1");
    let path = target.split('?').next().unwrap_or(target);
    let asks_ready = match (method, path) {
        ("GET" | "HEAD" | "OPTIONS", READY_PATH) | ("OPTIONS", "/" | "*") => true,
        ("GET" | "HEAD" | "OPTIONS", LIVE_PATH) => false,
        _ => return None,
    };
    is_http.then_some(Probe { asks_ready, is_head: method == "HEAD" })
}

impl Probe {
    /// Appends the answer. The caller must close the connection after it.
    pub fn write_answer(&self, is_ready: bool, out: &mut Vec<u8>) {
        let (status, body) = match (self.asks_ready, is_ready) {
            (false, _) => ("200 OK", r#"{"status":"ok"}"#),
            (true, true) => ("200 OK", r#"{"status":"ready"}"#),
            (true, false) => ("503 Service Unavailable", r#"{"status":"not ready"}"#),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nAllow: GET, HEAD, OPTIONS\r\nConnection: close\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        if !self.is_head {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4096;

    #[test]
    fn probes_of_balancers_are_known_by_their_first_line() {
        for (request, asks_ready, is_head) in [
            ("OPTIONS / HTTP/1.0\r\n\r\n", true, false),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", true, false),
            ("GET /readyz HTTP/1.0\r\n\r\n", true, false),
            (
                "GET /readyz?x=1 HTTP/1.1\r\nHost: 10.0.0.1:7400\r\nUser-Agent: kube-probe/1.30\r\n\r\n",
                true,
                false,
            ),
            ("HEAD /readyz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", true, true),
            ("GET /healthz HTTP/1.1\r\nHost: a\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n", false, false),
            ("OPTIONS /healthz HTTP/1.1\n\n", false, false),
        ] {
            let bytes = request.as_bytes();
            assert_eq!(parse_probe(bytes, MAX), Ok(Some(Some(Probe { asks_ready, is_head }))), "{request:?}");
            for cut in 0..bytes.len() {
                let whole = parse_probe(&bytes[..cut], MAX);
                assert!(matches!(whole, Ok(None | Some(None))), "cut at {cut} of {request:?}");
            }
        }
        for request in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET /v1 HTTP/1.1\r\n\r\n",
            "POST /readyz HTTP/1.1\r\n\r\n",
            "OPTIONS /v1 HTTP/1.1\r\n\r\n",
            "GET /readyz/ HTTP/1.1\r\n\r\n",
            "GET //readyz HTTP/1.1\r\n\r\n",
            "GET /readyz HTTP/2.0\r\n\r\n",
            "GET /readyz\r\n\r\n",
            "get /readyz HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(parse_probe(request.as_bytes(), MAX), Ok(None), "{request:?}");
        }
    }

    #[test]
    fn a_probe_has_the_bounds_of_an_upgrade() {
        let with =
            |headers: &str| parse_probe(format!("GET /readyz HTTP/1.1\r\n{headers}\r\n").as_bytes(), MAX);
        assert!(matches!(with(&"a: b\r\n".repeat(HEADERS_MAX)), Ok(Some(Some(_)))));
        assert_eq!(with(&"a: b\r\n".repeat(HEADERS_MAX + 1)), Err(HandshakeFault::TooLarge));
        assert_eq!(with(&format!("a: {}\r\n", "b".repeat(MAX))), Err(HandshakeFault::TooLarge));
        assert!(matches!(with("\0\r\n"), Err(HandshakeFault::BadRequest(_))));
    }

    #[test]
    fn answers_say_ready_and_a_head_has_no_body() {
        let answer = |asks_ready, is_head, is_ready| {
            let mut out = Vec::new();
            Probe { asks_ready, is_head }.write_answer(is_ready, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert!(
            answer(true, false, true).starts_with("HTTP/1.1 200") && answer(true, false, true).ends_with("}")
        );
        assert!(answer(true, false, false).starts_with("HTTP/1.1 503"));
        assert!(answer(false, false, false).starts_with("HTTP/1.1 200"));
        let head = answer(true, true, true);
        assert!(head.contains("Content-Length: 18\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
