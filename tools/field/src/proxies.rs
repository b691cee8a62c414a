//! Trials behind proxies and balancers: addresses of clients, health probes, HTTP as it is really sent,
//! origins, ALPN.
//! Why: most viewers come through a proxy, and a node that takes its address for theirs limits them as one.
//! Not here: tokens, signals.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use grandstand_harness::node::NodePlan;
use grandstand_harness::wait::{self, PATIENCE};

use crate::peer::{self, Peer, exchange, exchange_tls};
use crate::pressure::Killed;
use crate::trial::{Checks, Field, Figure, Trial, outcome, program, stranger, until};

pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        name: "probes",
        right: "probes of balancers (HTTP/1.0, no Host, HEAD, OPTIONS) are answered on the admin and public ports",
        run: probes,
    },
    Trial {
        name: "http",
        right: "usual requests of browsers and proxies fit; others get the documented status",
        run: http,
    },
    Trial {
        name: "origins",
        right: "a rule of origins matches what people expect, or the node does not start",
        run: origins,
    },
    Trial {
        name: "admin-guard",
        right: "no foreign page and no foreign host name reaches the admin port",
        run: admin_guard,
    },
    Trial {
        name: "alpn",
        right: "a wrong ALPN over TCP is refused; http/1.1 and none are served",
        run: alpn,
    },
    Trial {
        name: "forwarded-for",
        right: "X-Forwarded-For counts from a trusted proxy alone, where it is switched on",
        run: forwarded_for,
    },
    Trial {
        name: "proxy-protocol",
        right: "the PROXY protocol, versions 1 and 2, counts from a trusted proxy alone, where it is switched on",
        run: proxy_protocol,
    },
    Trial { name: "nginx", right: "viewers behind a real nginx are told apart", run: nginx },
    Trial {
        name: "haproxy",
        right: "viewers behind a real HAProxy are told apart, and its check passes",
        run: haproxy,
    },
];

/// The status of an answer, 0 without one.
fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn probes(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let mut checks = Checks::default();
    let ports = [("admin", node.address("http://")?), ("ws", node.address("ws://")?)];
    for (port, address) in ports {
        for path in ["/healthz", "/readyz"] {
            for (kind, request) in [
                ("HTTP/1.0 without Host", format!("GET {path} HTTP/1.0\r\n\r\n")),
                ("HEAD", format!("HEAD {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")),
                ("OPTIONS HTTP/1.0", format!("OPTIONS {path} HTTP/1.0\r\n\r\n")),
                (
                    "GET of a Kubernetes probe",
                    format!(
                        "GET {path} HTTP/1.1\r\nHost: 10.0.0.7:7480\r\nUser-Agent: kube-probe/1.30\r\nAccept: */*\r\nConnection: close\r\n\r\n"
                    ),
                ),
                (
                    "GET of a balancer",
                    format!(
                        "GET {path} HTTP/1.1\r\nHost: chat.example.org\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n"
                    ),
                ),
            ] {
                let answer = exchange(Ipv4Addr::LOCALHOST, address, request.as_bytes())?;
                let status = status_of(&answer);
                checks.check(
                    &format!("{port} {path} {kind}"),
                    status == 200 || (kind.starts_with("OPTIONS") && status == 204),
                    status,
                );
            }
        }
    }
    let tls = exchange_tls(
        Ipv4Addr::LOCALHOST,
        node.address("wss://")?,
        &[b"http/1.1"],
        b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )?;
    checks.check("wss /readyz", status_of(&tls) == 200, status_of(&tls));
    checks.close()
}

fn http(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let address = node.address("ws://")?;
    let mut checks = Checks::default();
    let upgrade = |headers: &str| Peer::upgrade(Ipv4Addr::LOCALHOST, address, headers).map(drop);
    let many: String = (0..95).fold(String::new(), |mut all, n| {
        let _ = write!(all, "X-Header-{n}: value\r\n");
        all
    });
    let cookie = format!("Cookie: session={}\r\n", "c".repeat(7_000));
    let chrome = "Cache-Control: no-cache\r\nPragma: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nOrigin: https://chat.example.org\r\n";
    for (name, headers) in
        [("95 headers", many.as_str()), ("a cookie of 7 KB", &cookie), ("a browser's headers", chrome)]
    {
        let upgraded = upgrade(headers);
        checks.check(name, upgraded.is_ok(), outcome(&upgraded));
    }
    let statuses: &[(&str, &str, &[u16])] = &[
        ("plain GET of the path", "GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n", &[426]),
        ("another path", "GET /other HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        ("POST", "POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &[405]),
        ("no Host", "GET /v1 HTTP/1.1\r\n\r\n", &[400]),
        ("two Hosts", "GET /v1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        ("HTTP/1.0", "GET /v1 HTTP/1.0\r\nHost: a\r\n\r\n", &[426, 505]),
        ("preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]),
        ("nonsense", "\u{1}\u{2}\u{3}\r\n\r\n", &[400]),
        ("pipelined GETs", "GET /v1 HTTP/1.1\r\nHost: a\r\n\r\nGET /v1 HTTP/1.1\r\nHost: a\r\n\r\n", &[426]),
    ];
    for (name, request, right) in statuses {
        let status = status_of(&exchange(Ipv4Addr::LOCALHOST, address, request.as_bytes())?);
        checks.check(name, right.contains(&status), status);
    }
    let large = format!("GET /v1 HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let status =
        exchange(Ipv4Addr::LOCALHOST, address, large.as_bytes()).map_or(0, |answer| status_of(&answer));
    checks.check("200 KB of headers", status == 431 || status == 0, status);
    checks.close()
}

/// Whether a plan is refused at start.
fn is_refused(plan: &NodePlan) -> bool {
    grandstand_harness::node::Node::start(plan).is_err()
}

fn origins(field: &Field) -> Result<Figure> {
    let mut checks = Checks::default();
    let cases: &[(&str, &str, bool)] = &[
        ("https://*.example.org", "https://chat.example.org", true),
        ("https://*.example.org", "https://a.b.example.org", true),
        ("https://*.example.org", "https://example.org.evil.net", false),
        ("https://*.example.org", "https://evilexample.org", false),
        ("https://*.example.org", "http://chat.example.org", false),
        ("https://Chat.Example.org:443", "https://chat.example.org", true),
        ("https://chat.example.org", "https://chat.example.org:8443", false),
        ("https://chat.example.org", "null", false),
    ];
    for (rule, origin, is_right) in cases {
        let plan = field.plan().key("ws.origins", rule);
        match field.node(&plan) {
            Ok(node) => {
                let header = format!("Origin: {origin}\r\n");
                let enters = Peer::upgrade(Ipv4Addr::LOCALHOST, node.address("ws://")?, &header).is_ok();
                checks.check(
                    &format!("{rule} for {origin}"),
                    enters == *is_right,
                    if enters { "enters" } else { "is refused" },
                );
            }
            Err(_) => checks.check(rule, !is_right, "the node does not start"),
        }
    }
    for rule in [
        "chat.example.org",
        "https://chat.example.org/path",
        "https://ex*ample.org",
        "https://*",
        "ftp:chat",
        "https://",
    ] {
        checks.check(
            &format!("start with {rule}"),
            is_refused(&field.plan().key("ws.origins", rule)),
            "accepted, and matches nothing",
        );
    }
    checks.close()
}

fn admin_guard(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let admin = node.address("http://")?;
    let mut checks = Checks::default();
    for (name, headers, is_right) in [
        ("a plain request", format!("Host: {admin}\r\n"), true),
        ("localhost", format!("Host: localhost:{}\r\n", admin.port()), true),
        (
            "an origin with a name before @",
            format!("Host: {admin}\r\nOrigin: http://127.0.0.1:1@evil.example\r\n"),
            false,
        ),
        (
            "a page of another local port",
            format!("Host: {admin}\r\nOrigin: http://127.0.0.1:3000\r\n"),
            false,
        ),
        (
            "a page of localhost on another port",
            format!("Host: {admin}\r\nOrigin: http://localhost:3000\r\n"),
            false,
        ),
        ("the origin null", format!("Host: {admin}\r\nOrigin: null\r\n"), false),
        ("Host 127.0.0.2", format!("Host: 127.0.0.2:{}\r\n", admin.port()), false),
        ("a rebound name", format!("Host: evil.example:{}\r\n", admin.port()), false),
        ("Host with a name before @", format!("Host: {admin}@evil.example\r\n"), false),
        ("Host localhost.evil.example", "Host: localhost.evil.example\r\n".to_owned(), false),
    ] {
        let request = format!("GET /rooms HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let status = status_of(&exchange(Ipv4Addr::LOCALHOST, admin, request.as_bytes())?);
        checks.check(name, (status == 200) == is_right, status);
    }
    let large = format!(
        "GET /rooms HTTP/1.1\r\nHost: {admin}\r\nX: {}\r\nConnection: close\r\n\r\n",
        "x".repeat(100_000)
    );
    let status =
        exchange(Ipv4Addr::LOCALHOST, admin, large.as_bytes()).map_or(0, |answer| status_of(&answer));
    checks.check("100 KB of headers", status != 200, status);
    checks.close()
}

fn alpn(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let address = node.address("wss://")?;
    let mut checks = Checks::default();
    let request = b"GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n";
    for (name, alpn, is_right) in [
        ("http/1.1", vec![&b"http/1.1"[..]], true),
        ("h2 and http/1.1", vec![&b"h2"[..], b"http/1.1"], true),
        ("none", vec![], true),
        ("h2 alone", vec![&b"h2"[..]], false),
        ("grandstand/1", vec![&b"grandstand/1"[..]], false),
    ] {
        let answered = exchange_tls(Ipv4Addr::LOCALHOST, address, &alpn, request)
            .is_ok_and(|answer| status_of(&answer) == 426);
        checks.check(name, answered == is_right, if answered { "served" } else { "refused" });
    }
    checks.close()
}

/// A node where one address may hold three connections, and strangers come through proxies at 127.0.0.9.
fn behind(field: &Field, mechanism: &str, is_trusted: bool) -> NodePlan {
    let trusted = if is_trusted { "127.0.0.9/32" } else { "127.0.0.8/32" };
    let plan = field.plan().key("limits.loopback_exempt", false).key("limits.connections_per_address_max", 3);
    plan.key("proxy.trusted", trusted).key(mechanism_key(mechanism), true)
}

/// The key that switches a mechanism on.
fn mechanism_key(mechanism: &str) -> &'static str {
    match mechanism {
        "x_forwarded_for" => "proxy.x_forwarded_for",
        "forwarded" => "proxy.forwarded",
        _ => "proxy.protocol",
    }
}

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// How many of ten connections get in when each is made like this.
fn admitted(mut open: impl FnMut(u32) -> Result<Peer>) -> (usize, Vec<Peer>) {
    let inside: Vec<Peer> = (0..10).filter_map(|n| open(n).ok()).collect();
    (inside.len(), inside)
}

fn forwarded_for(field: &Field) -> Result<Figure> {
    let mut checks = Checks::default();
    for (mechanism, header) in [
        (
            "x_forwarded_for",
            (|n| format!("X-Forwarded-For: 203.0.113.99, 198.51.100.{n}\r\n")) as fn(u32) -> String,
        ),
        ("forwarded", |n| {
            format!("Forwarded: for=203.0.113.99, for=\"198.51.100.{n}:4711\";proto=https\r\n")
        }),
    ] {
        let node = field.node(&behind(field, mechanism, true))?;
        let address = node.address("ws://")?;
        let (different, held) = admitted(|n| Peer::upgrade(PROXY, address, &header(n)));
        drop(held);
        let (same, held) = admitted(|_| Peer::upgrade(PROXY, address, &header(200)));
        drop(held);
        let (spoofed, held) = admitted(|n| Peer::upgrade(stranger(5), address, &header(n)));
        drop(held);
        checks.check(&format!("{mechanism}: ten clients behind the proxy"), different == 10, different);
        checks.check(&format!("{mechanism}: one client behind the proxy"), same == 3, same);
        checks.check(&format!("{mechanism}: spoofed from elsewhere"), spoofed == 3, spoofed);
        let node = field.node(&behind(field, mechanism, false))?;
        let (untrusted, _held) = admitted(|n| Peer::upgrade(PROXY, node.address("ws://")?, &header(n)));
        checks.check(&format!("{mechanism}: a proxy that is not trusted"), untrusted == 3, untrusted);
    }
    checks.close()
}

/// A header of version 1 or 2.
fn proxy_header(version: u8, client: Ipv4Addr) -> Vec<u8> {
    if version == 1 {
        return format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n").into_bytes();
    }
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend(client.octets());
    header.extend([127, 0, 0, 1, 0x12, 0x67, 0, 80]);
    header
}

fn proxy_protocol(field: &Field) -> Result<Figure> {
    let mut checks = Checks::default();
    for version in [1, 2] {
        let node = field.node(&behind(field, "protocol", true))?;
        let address = node.address("ws://")?;
        let client = |n: u32| Ipv4Addr::new(198, 51, 100, n as u8);
        let (different, held) =
            admitted(|n| Peer::upgrade_behind(PROXY, address, &proxy_header(version, client(n))));
        drop(held);
        let (same, held) =
            admitted(|_| Peer::upgrade_behind(PROXY, address, &proxy_header(version, client(200))));
        drop(held);
        let (spoofed, held) =
            admitted(|n| Peer::upgrade_behind(stranger(5), address, &proxy_header(version, client(n))));
        drop(held);
        checks.check(&format!("version {version}: ten clients behind the proxy"), different == 10, different);
        checks.check(&format!("version {version}: one client behind the proxy"), same == 3, same);
        checks.check(&format!("version {version}: spoofed from elsewhere"), spoofed <= 3, spoofed);
        for (name, bytes) in [
            ("cut", proxy_header(version, client(1))[..10].to_vec()),
            ("nonsense", b"PROXY TCP9 a b c d\r\n".to_vec()),
            ("endless", [b"PROXY TCP4 ".as_slice(), &[b'1'; 4096]].concat()),
        ] {
            let answer = exchange(PROXY, address, &bytes)?;
            checks.check(&format!("version {version}: {name}"), !answer.contains(" 101 "), &answer);
        }
        let healthy = Peer::upgrade_behind(PROXY, address, &proxy_header(version, client(77)));
        checks.check(
            &format!("version {version}: served afterwards"),
            healthy.is_ok(),
            outcome(&healthy.map(drop)),
        );
    }
    checks.close()
}

/// Ten viewers of ten addresses, and ten of one, through a proxy at this address.
fn through(checks: &mut Checks, name: &str, address: SocketAddr) {
    let (different, held) =
        admitted(|n| Peer::join_as(stranger(5_000 + n * 300), address, peer::Identity::default()));
    drop(held);
    let (same, held) = admitted(|_| Peer::join_as(stranger(90_000), address, peer::Identity::default()));
    drop(held);
    checks.check(&format!("{name}: ten addresses"), different == 10, different);
    checks.check(&format!("{name}: one address"), same == 3, same);
}

fn nginx(field: &Field) -> Result<Figure> {
    let program = program("nginx")?.get_program().to_owned();
    let directory = field.directory()?;
    let node = field.node(&behind(field, "x_forwarded_for", true))?;
    let front = wait::free_port();
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\nevents {{ worker_connections 200; }}\nhttp {{ access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;\nserver {{ listen {front}; location / {{ proxy_pass http://{1}; proxy_bind {PROXY}; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\"; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n",
        directory.0.display(),
        node.address("ws://")?
    );
    fs::write(directory.join("nginx.conf"), config)?;
    let mut nginx = Command::new(program);
    nginx
        .arg("-c")
        .arg(directory.join("nginx.conf"))
        .arg("-p")
        .arg(&directory.0)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _nginx = Killed(nginx.spawn()?);
    ensure!(
        until(PATIENCE, || Ok(std::net::TcpStream::connect(front).is_ok()))?,
        "not in time: nginx listens"
    );
    let mut checks = Checks::default();
    through(&mut checks, "nginx", front);
    checks.close()
}

fn haproxy(field: &Field) -> Result<Figure> {
    let program = program("haproxy")?.get_program().to_owned();
    let mut checks = Checks::default();
    for (name, mechanism, server, mode) in [
        ("send-proxy", "protocol", "send-proxy", "tcp"),
        ("send-proxy-v2", "protocol", "send-proxy-v2", "tcp"),
        ("forwardfor", "x_forwarded_for", "", "http"),
    ] {
        let directory = field.directory()?;
        let node = field.node(&behind(field, mechanism, true))?;
        let (front, admin) = (wait::free_port(), node.address("http://")?);
        let forward = if mode == "http" { "option forwardfor" } else { "" };
        let config = format!(
            "global\n  maxconn 200\ndefaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nfrontend f\n  bind {front}\n  default_backend b\nbackend b\n  {forward}\n  option httpchk GET /readyz\n  source {PROXY}\n  server s {0} {server} check addr {1} port {2} inter 200ms fall 1 rise 1 {3}\n",
            node.address("ws://")?,
            admin.ip(),
            admin.port(),
            if mode == "tcp" { "no-check-send-proxy" } else { "" },
        );
        fs::write(directory.join("haproxy.cfg"), config)?;
        let mut haproxy = Command::new(&program);
        haproxy.arg("-f").arg(directory.join("haproxy.cfg")).args(["-db"]);
        let log = fs::File::create(directory.join("log"))?;
        haproxy.stdout(Stdio::null()).stderr(log);
        let _haproxy = Killed(haproxy.spawn().context("haproxy")?);
        ensure!(
            until(PATIENCE, || Ok(std::net::TcpStream::connect(front).is_ok()))?,
            "not in time: haproxy listens"
        );
        std::thread::sleep(Duration::from_millis(900));
        let said = fs::read_to_string(directory.join("log"))?;
        checks.check(&format!("{name}: check of /readyz"), !said.contains(" is DOWN"), &said);
        through(&mut checks, name, front);
    }
    checks.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_proxy_protocol_have_their_published_length() {
        assert_eq!(proxy_header(2, Ipv4Addr::LOCALHOST).len(), 16 + 12);
        assert!(proxy_header(1, Ipv4Addr::LOCALHOST).ends_with(b"\r\n"));
        assert_eq!(status_of("HTTP/1.1 503 Service Unavailable"), 503);
    }
}
