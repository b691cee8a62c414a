//! Origins: the rules of `ws.origins`, and the origins of pages that they allow (RFC 6454).
//!
//! Forms of a rule: `*` (every page), `null` (a page without an origin of its own), `https://example.org`,
//! `https://*.example.org` (every subdomain, at any depth, and not the name itself) and `http://localhost:*`
//! (any port).
//! Why a rule is checked at start: one that no browser's `Origin` can match locks pages out silently.
//! Invariants: names are compared without regard to case, and a default port is the same as none. What is not
//! an origin matches `*` alone.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Scheme, host and port, with their wildcards if this is a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts<'a> {
    scheme: &'a str,
    host: Host<'a>,
    port: Port,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host<'a> {
    Name(&'a str),
    V6(Ipv6Addr),
    /// What follows `*.`.
    Below(&'a str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Number(u16),
    /// None is named, and the scheme has no default.
    None,
    Any,
}

/// Why this rule matches no origin that a browser sends, and what to write; `None` if it can match.
pub(super) fn fault(rule: &str) -> Option<String> {
    if rule == "*" || rule == "null" {
        return None;
    }
    parse(rule).err().map(str::to_owned)
}

/// Whether a rule allows a page of this origin.
pub(super) fn allows(rule: &str, origin: &str) -> bool {
    match rule {
        "*" => true,
        "null" => origin == "null",
        rule => match (parse(rule), parse(origin)) {
            (Ok(rule), Ok(origin)) => rule.allows(&origin),
            _ => false,
        },
    }
}

impl Parts<'_> {
    fn allows(&self, origin: &Parts<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(origin.scheme)
            && self.host.allows(&origin.host)
            && (self.port == Port::Any || self.port == origin.port)
    }
}

impl Host<'_> {
    fn allows(&self, host: &Host<'_>) -> bool {
        match (self, host) {
            (Host::Name(rule), Host::Name(name)) => rule.eq_ignore_ascii_case(name),
            (Host::V6(rule), Host::V6(address)) => rule == address,
            (Host::Below(parent), Host::Name(name)) => {
                let at = name.len().checked_sub(parent.len() + 1).filter(|&at| at > 0);
                at.and_then(|at| name.split_at_checked(at)).is_some_and(|(_, tail)| {
                    tail.strip_prefix('.').is_some_and(|tail| tail.eq_ignore_ascii_case(parent))
                })
            }
            _ => false,
        }
    }
}

fn parse(text: &str) -> Result<Parts<'_>, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme: write https://example.org")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme {
        return Err("its scheme is none: write https://example.org");
    }
    if ["ws", "wss"].iter().any(|wrong| scheme.eq_ignore_ascii_case(wrong)) {
        return Err("the origin of a page begins with https:// or http://, also if it connects by wss://");
    }
    if rest.is_empty() && scheme.eq_ignore_ascii_case("file") {
        return Ok(Parts { scheme, host: Host::Name(""), port: Port::None });
    }
    if rest.contains(['/', '?', '#', '@']) {
        return Err("an origin is scheme, host and port only: leave out the path, also a `/` at its end");
    }
    let (host, port) = split_port(rest);
    let port = match port {
        None => default_port(scheme).map_or(Port::None, Port::Number),
        Some("*") => Port::Any,
        Some(digits) => Port::Number(port_number(digits).ok_or("its port is none from 1 to 65535, or *")?),
    };
    Ok(Parts { scheme, host: parse_host(host)?, port })
}

/// `host:port`, where an IPv6 address is in brackets.
fn split_port(rest: &str) -> (&str, Option<&str>) {
    let after_host = match rest.rfind(']') {
        Some(end) => end + 1,
        None if rest.starts_with('[') => rest.len(),
        None => 0,
    };
    match rest[after_host..].find(':') {
        Some(at) => (&rest[..after_host + at], Some(&rest[after_host + at + 1..])),
        None => (rest, None),
    }
}

fn port_number(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}

fn default_port(scheme: &str) -> Option<u16> {
    [("http", 80), ("https", 443)]
        .iter()
        .find(|(name, _)| scheme.eq_ignore_ascii_case(name))
        .map(|&(_, port)| port)
}

fn parse_host(host: &str) -> Result<Host<'_>, &'static str> {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
        return address.map(Host::V6).ok_or("its host in brackets is no IPv6 address");
    }
    if host == "*" {
        return Err("a * alone stands for no host: write * for every page");
    }
    let (name, is_below) = host.strip_prefix("*.").map_or((host, false), |name| (name, true));
    if name.contains('*') {
        return Err("a * stands for a whole subdomain, at the front: write https://*.example.org");
    }
    if !name.is_ascii() {
        return Err("browsers send a name in its ASCII form: write xn--...");
    }
    if !is_host_name(name) {
        return Err("its host is no host name");
    }
    if is_numeric(name) && (is_below || name.parse::<Ipv4Addr>().is_err()) {
        return Err("its host is no IPv4 address: write four numbers");
    }
    Ok(if is_below { Host::Below(name) } else { Host::Name(name) })
}

/// Whether browsers can name a host so. A dot may end it.
pub(super) fn is_host_name(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= HOST_BYTES_MAX && labels.split('.').all(is_label)
}

/// Whether browsers read this name as a number, and so as an IPv4 address (URL Standard, "ends in a number").
fn is_numeric(name: &str) -> bool {
    let last = name.strip_suffix('.').unwrap_or(name).rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_that_people_expect_work() {
        let cases: [(&str, &[&str], &[&str]); 11] = [
            ("*", &["https://a.example", "null", "file://", "nonsense"], &[]),
            ("null", &["null"], &["https://null", "", "nul"]),
            (
                "https://example.org",
                &["https://example.org", "HTTPS://Example.ORG", "https://example.org:443"],
                &[
                    "http://example.org",
                    "https://example.org:8443",
                    "https://www.example.org",
                    "https://example.org.",
                    "null",
                ],
            ),
            ("https://EXAMPLE.org:443", &["https://example.org"], &["https://example.org:444"]),
            ("http://example.org:80", &["http://example.org"], &["https://example.org"]),
            (
                "https://*.example.org",
                &["https://a.example.org", "https://a.b.Example.org", "https://a.example.org:443"],
                &[
                    "https://example.org",
                    "https://.example.org",
                    "https://evilexample.org",
                    "https://a.example.org.evil.test",
                    "https://a.example.org@evil.test",
                    "https://evil.test/a.example.org",
                    "http://a.example.org",
                    "https://a.example.org:8443",
                ],
            ),
            ("https://*.example.org:*", &["https://a.example.org:8443"], &["https://example.org:8443"]),
            (
                "http://localhost:*",
                &["http://localhost", "http://localhost:3000"],
                &["http://localhost.evil.test"],
            ),
            ("http://[::1]:3000", &["http://[0:0:0:0:0:0:0:1]:3000"], &["http://[::1]", "http://[::2]:3000"]),
            ("http://127.0.0.1", &["http://127.0.0.1:80"], &["http://127.0.0.1:3000", "http://127.0.0.2"]),
            (
                "capacitor://localhost",
                &["capacitor://localhost"],
                &["capacitor://localhost:1", "http://localhost"],
            ),
        ];
        for (rule, good, bad) in cases {
            assert_eq!(fault(rule), None, "{rule}");
            good.iter().for_each(|origin| assert!(allows(rule, origin), "{rule} allows {origin}"));
            bad.iter().for_each(|origin| assert!(!allows(rule, origin), "{rule} does not allow {origin}"));
        }
        assert!(allows("file://", "file://") && fault("file://").is_none());
    }

    #[test]
    fn a_rule_that_cannot_match_is_a_fault_with_words() {
        for (rule, words) in [
            ("", "scheme"),
            ("example.org", "scheme"),
            ("*.example.org", "scheme"),
            ("://example.org", "scheme"),
            ("https//example.org", "scheme"),
            ("wss://example.org", "https://"),
            ("https://", "host name"),
            ("https://*", "every page"),
            ("https://*:443", "every page"),
            ("https://example.org/", "path"),
            ("https://example.org/chat", "path"),
            ("https://user@example.org", "path"),
            ("https://example.org:", "port"),
            ("https://example.org:0", "port"),
            ("https://example.org:65536", "port"),
            ("https://example.org:443:443", "port"),
            ("https://*example.org", "subdomain"),
            ("https://a.*.org", "subdomain"),
            ("https://**.example.org", "subdomain"),
            ("https://*.*.example.org", "subdomain"),
            ("https://*.", "host name"),
            ("https://.example.org", "host name"),
            ("https://a..b", "host name"),
            ("https://exa mple.org", "host name"),
            ("https://bücher.example", "xn--"),
            ("https://::1", "port"),
            ("https://[::1", "IPv6"),
            ("https://[127.0.0.1]", "IPv6"),
            ("https://127.1", "IPv4"),
            ("https://1.2.3.4.5", "IPv4"),
            ("https://*.0.0.1", "IPv4"),
            ("https://0x7f.1", "IPv4"),
            ("Null", "scheme"),
        ] {
            let said = fault(rule).unwrap_or_default();
            assert!(said.contains(words), "{rule:?}: {said}");
        }
    }

    proptest! {
        /// A rule without a wildcard that is no fault allows the origin that it is.
        #[test]
        fn what_is_no_fault_matches_itself(rule in "(https?|app)://[a-z0-9.*:\\[\\]/-]{0,20}") {
            if fault(&rule).is_none() {
                let origin = rule.replace("*.", "sub.").replace(":*", ":81");
                prop_assert!(allows(&rule, &origin), "{} by {}", origin, rule);
            }
        }

        #[test]
        fn noise_is_never_a_panic(rule in ".{0,40}", origin in ".{0,40}") {
            let _ = (fault(&rule), allows(&rule, &origin), allows(&format!("https://*.{rule}"), &origin));
        }
    }
}
