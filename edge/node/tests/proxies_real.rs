//! A node behind real proxies, nginx and HAProxy: viewers through each, limited by their own addresses.
//!
//! Why: whether a proxy's own form of a header is read, only that proxy shows.
//! Each proxy connects from 127.0.0.9, which the node trusts; clients come from other addresses of loopback.
//! Invariant: a proxy that is not installed is said to be skipped on standard error; `GRANDSTAND_FIELD=1`
//! makes that a failure.
//! Not here: wrong headers (`proxies`), balancers' probes of the admin port (`probes`).
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::node;
use common::ws::{Got, Ws, socket_from};
use grandstand::Node;
use grandstand_harness::wait::{free_port, until};

const PROXY: &str = "127.0.0.9";

/// A program that does not outlive its test, and its folder.
struct Running {
    child: Child,
    folder: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Not by a macro, whose output a passing test keeps to itself.
fn skip(what: &str) {
    let is_due = std::env::var("GRANDSTAND_FIELD").is_ok_and(|value| value == "1");
    assert!(!is_due, "{what}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

fn program(name: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists());
    if found.is_none() {
        skip(&format!("{name} is not installed: `apt-get install {name}`"));
    }
    found
}

/// Start a program on a configuration in a folder of its own; returns when `port` is open.
fn run(program: &Path, name: &str, config: &str, args: &[&str], port: SocketAddr) -> Running {
    let folder =
        std::env::temp_dir().join(format!("grandstand-{name}-{}-{}", std::process::id(), port.port()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("proxy.conf");
    std::fs::write(&file, config.replace("FOLDER", &folder.display().to_string())).unwrap();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = Command::new(program)
        .args(args)
        .arg(&file)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("the proxy starts");
    let mut running = Running { child, folder };
    until("the proxy listens", || {
        let ended = running.child.try_wait().unwrap();
        let said = || std::fs::read_to_string(running.folder.join("log")).unwrap_or_default();
        assert!(ended.is_none(), "{}", said());
        std::net::TcpStream::connect(port).is_ok()
    });
    running
}

/// A node on which an address may have two connections, and the proxies' is trusted.
fn limited(more: &[(&str, &str)]) -> Node {
    let keys = [
        ("limits.loopback_exempt", "false"),
        ("limits.connections_per_address_max", "2"),
        ("proxy.trusted", PROXY),
    ];
    node(&[&keys, more].concat())
}

fn open(port: SocketAddr, is_tls: bool, from: u8, headers: &str) -> Result<Ws, String> {
    Ws::over(socket_from(&format!("127.0.1.{from}"), port), is_tls, "/v1", headers)
}

/// Many viewers come through the proxy, each under its own address; one that comes three times is limited,
/// whatever it writes itself.
fn holds(node: &Node, port: SocketAddr, is_tls: bool, forged: &str) {
    let mut many: Vec<Ws> = (1..=20).map(|n| open(port, is_tls, n, "").unwrap()).collect();
    many.extend((0..2).map(|_| open(port, is_tls, 100, forged).unwrap()));
    for ws in &mut many {
        ws.send(&common::hello());
        assert!(matches!(ws.next(), Got::Frame(frame) if frame[0] == 0x41), "a welcome");
    }
    for headers in ["", forged] {
        let said = open(port, is_tls, 100, headers).err().expect("the third of one client");
        assert!(said.starts_with("HTTP/1.1 429") || said.starts_with("closed") || is_tls, "{said}");
    }
    let named: u64 = node.stats().iter().map(|stats| stats.clients_named.get()).sum();
    assert!(named >= 22, "{named} were named");
    let refused = |stats: &grandstand_edge::stats::Stats| {
        stats.turned_away.of(grandstand_edge::stats::TurnedAway::TooManyConnections).get()
    };
    assert_eq!(node.stats().iter().map(|stats| refused(stats)).sum::<u64>(), 2);
    drop(many);
    until("all have gone", || node.connections() == 0);
}

fn nginx(port: SocketAddr, body: &str) -> Option<Running> {
    let config = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log stderr; worker_processes 1;\nevents {{}}\n{body}"
    );
    Some(run(&program("nginx")?, "nginx", &config, &["-e", "stderr", "-p", ".", "-c"], port))
}

/// nginx over HTTP with this header of its own.
fn nginx_http(port: SocketAddr, node: SocketAddr, header: &str) -> Option<Running> {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path FOLDER/{kind};\n"))
        .collect();
    nginx(
        port,
        &format!(
            "http {{ access_log off;\n{temporary}server {{ listen {port}; location / {{\n\
             proxy_pass http://{node}; proxy_bind {PROXY}; proxy_http_version 1.1;\n\
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";\n\
             proxy_set_header Host $host; proxy_set_header {header};\n}} }} }}"
        ),
    )
}

#[test]
fn nginx_tells_its_clients_by_x_forwarded_for() {
    let node = limited(&[("proxy.x_forwarded_for", "true")]);
    let port = free_port();
    let header = "X-Forwarded-For $proxy_add_x_forwarded_for";
    let Some(_nginx) = nginx_http(port, node.addresses().ws.unwrap(), header) else { return };
    holds(&node, port, false, "X-Forwarded-For: 203.0.113.1\r\n");
    node.stop();
}

#[test]
fn nginx_tells_its_clients_by_forwarded() {
    let node = limited(&[("proxy.forwarded", "true")]);
    let port = free_port();
    let header = "Forwarded \"$http_forwarded, for=\\\"$remote_addr:$remote_port\\\";proto=http\"";
    let Some(_nginx) = nginx_http(port, node.addresses().ws.unwrap(), header) else { return };
    holds(&node, port, false, "Forwarded: for=203.0.113.1\r\n");
    node.stop();
}

#[test]
fn nginx_streams_tell_their_clients_by_the_proxy_protocol() {
    let module = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules"]
        .iter()
        .map(|folder| Path::new(folder).join("ngx_stream_module.so"))
        .find(|path| path.exists());
    let Some(module) = module else {
        return skip("nginx has no stream module: `apt-get install libnginx-mod-stream`");
    };
    for is_tls in [false, true] {
        let node = limited(&[("proxy.protocol", "true")]);
        let (port, addresses) = (free_port(), node.addresses());
        let to = if is_tls { addresses.wss } else { addresses.ws }.unwrap();
        let config = format!(
            "stream {{ server {{ listen {port}; proxy_pass {to}; proxy_bind {PROXY}; proxy_protocol on; }} }}"
        );
        let load = format!("load_module {};\n", module.display());
        let config = format!(
            "{load}daemon off; master_process off; pid FOLDER/pid; error_log stderr; worker_processes 1;\nevents {{}}\n{config}"
        );
        let Some(nginx) = program("nginx") else { return };
        let _nginx = run(&nginx, "nginx", &config, &["-e", "stderr", "-p", ".", "-c"], port);
        holds(&node, port, is_tls, "");
        node.stop();
    }
}

fn haproxy(port: SocketAddr, mode: &str, backend: &str) -> Option<Running> {
    let config = format!(
        "defaults\n mode {mode}\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n timeout tunnel 60s\n\
         frontend f\n bind {port}\n default_backend b\n\
         backend b\n{backend}\n"
    );
    Some(run(&program("haproxy")?, "haproxy", &config, &["-db", "-f"], port))
}

#[test]
fn haproxy_tells_its_clients_by_x_forwarded_for() {
    let node = limited(&[("proxy.x_forwarded_for", "true")]);
    let (port, to) = (free_port(), node.addresses().ws.unwrap());
    let backend = format!(" option forwardfor\n server s {to} source {PROXY}");
    let Some(_haproxy) = haproxy(port, "http", &backend) else { return };
    holds(&node, port, false, "X-Forwarded-For: 203.0.113.1\r\n");
    node.stop();
}

/// The backend's server is up by HAProxy's own word, for each way in which it checks.
#[test]
fn checks_of_haproxy_pass_and_fail_when_the_node_drains() {
    let node = limited(&[("proxy.protocol", "true"), ("drain.spread_ms", "60000")]);
    let addresses = node.addresses();
    let (ws, wss, admin) = (addresses.ws.unwrap(), addresses.wss.unwrap(), addresses.admin.unwrap());
    let mut servers = String::new();
    for (n, check) in
        ["", "GET /readyz", "HEAD /readyz", "OPTIONS /healthz", "GET /healthz HTTP/1.1\\r\\nHost:\\ a"]
            .iter()
            .enumerate()
    {
        let common = format!("check inter 100ms fall 1 rise 1 source {PROXY}");
        for (kind, server) in [
            ("ws", format!("{ws} send-proxy {common}")),
            ("v2", format!("{ws} send-proxy-v2 {common}")),
            ("wss", format!("{wss} send-proxy {common} check-ssl verify none ssl")),
            ("admin", format!("{admin} {common}")),
        ] {
            servers += &format!("backend {kind}{n}\n option httpchk {check}\n server s {server}\n");
        }
    }
    let (port, socket) = (free_port(), "FOLDER/stats");
    let Some(haproxy) = program("haproxy") else { return };
    let config = format!(
        "global\n stats socket {socket} level admin\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         frontend f\n bind {port}\n default_backend ws0\n{servers}"
    );
    let running = run(&haproxy, "haproxy", &config, &["-db", "-f"], port);
    // Of `show servers state`: the backend's name, and whether its operational state is 2, running.
    let states = || -> Vec<(String, bool)> {
        let Ok(mut stats) = std::os::unix::net::UnixStream::connect(running.folder.join("stats")) else {
            return Vec::new();
        };
        stats.write_all(b"show servers state\n").unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stats, &mut said).unwrap();
        said.lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|words| words.len() > 15 && words[3] == "s")
            .map(|words| (words[1].to_owned(), words[5] == "2"))
            .collect()
    };
    until("every check has passed", || {
        let states = states();
        states.len() == 20 && states.iter().all(|(_, is_up)| *is_up) && probed(&node) >= 15
    });
    node.drain();
    until("the checks of readiness fail", || states().iter().any(|(name, is_up)| name == "admin1" && !is_up));
    node.stop();
}

fn probed(node: &Node) -> u64 {
    node.stats().iter().map(|stats| stats.probes.get()).sum()
}

#[test]
fn haproxy_tells_its_clients_by_either_version_of_the_proxy_protocol() {
    for (send, is_tls) in
        [("send-proxy", false), ("send-proxy", true), ("send-proxy-v2", false), ("send-proxy-v2", true)]
    {
        let node = limited(&[("proxy.protocol", "true")]);
        let (port, addresses) = (free_port(), node.addresses());
        let to = if is_tls { addresses.wss } else { addresses.ws }.unwrap();
        let Some(_haproxy) = haproxy(port, "tcp", &format!(" server s {to} source {PROXY} {send}")) else {
            return;
        };
        holds(&node, port, is_tls, "");
        node.stop();
    }
}
