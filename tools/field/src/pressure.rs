//! Trials of a node under pressure: no files left, nobody reads its log, silent connections, hung threads.
//!
//! Symptoms were reported of other servers: accept loops that spin at the file limit, logs that stop the
//! program, health checks that wait for strangers.
//! Why: a node that fails under pressure must fail for strangers first, and say so.
//! Not here: tables and rates (`limits`).

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use grandstand_harness::node::{self, Node};
use grandstand_harness::wait::PATIENCE;
use grandstand_harness::{http, process, wait};

use crate::peer::{self, Identity, Peer, Said};
use crate::trial::{Field, Figure, Trial, figure, needs_root, stranger, until};

pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        name: "file-limit",
        right: "at the file limit the node uses no CPU, logs little, serves who is inside, and tells new connections",
        run: file_limit,
    },
    Trial {
        name: "unread-log",
        right: "a log that nobody reads stops nothing: sessions and health are answered",
        run: unread_log,
    },
    Trial {
        name: "admin-idle",
        right: "silent connections to the admin port delay no health check",
        run: admin_idle,
    },
    Trial {
        name: "lock-out-silent",
        right: "silent connections of five addresses keep out less than 20 % of new clients from others",
        run: |field| lock_out(field, &[]),
    },
    Trial {
        name: "lock-out-half-upgrade",
        right: "half requests of five addresses keep out less than 20 % of new clients from others",
        run: |field| lock_out(field, b"GET /v1 HTTP/1.1\r\nHost: a\r\n"),
    },
    Trial {
        name: "hung-thread",
        right: "a worker or shard that does not turn fails the liveness check within seconds, and is named",
        run: hung_thread,
    },
];

/// CPU time of a process over a time, as a share of one core.
fn cpu_share(pid: u32, over: Duration) -> Result<f64> {
    let before = process::sample(pid)?.cpu_us();
    std::thread::sleep(over);
    Ok((process::sample(pid)?.cpu_us() - before) as f64 / over.as_micros() as f64)
}

fn file_limit(field: &Field) -> Result<Figure> {
    let node = field.node(
        &field
            .plan()
            .key("limits.connections_max", 1000)
            .key("node.workers", 1)
            .under(&["prlimit", "--nofile=64:64"]),
    )?;
    let address = node.address("ws://")?;
    let mut inside = Peer::join(address)?;
    let alias = inside.enter("here")?;
    let idle: Vec<TcpStream> = (0..70).filter_map(|n| peer::connect(stranger(n), address).ok()).collect();
    std::thread::sleep(Duration::from_millis(300));
    let cpu = cpu_share(node.pid(), Duration::from_millis(field.either(1500, 10_000)))?;
    let log = node.log()?.len();
    let inside_holds = matches!(inside.say(alias, 1, "still here")?, Said::Published { .. });
    // A new one is told, and not left hanging.
    let mut told = 0;
    for n in 0..5 {
        let mut late = peer::connect(stranger(100 + n), address)?;
        late.set_read_timeout(Some(Duration::from_secs(2)))?;
        let _ = late.write_all(b"GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut answer = [0; 512];
        match late.read(&mut answer) {
            Ok(n) if n > 0 && String::from_utf8_lossy(&answer[..n]).contains(" 503 ") => told += 1,
            _ => {}
        }
    }
    drop(idle);
    ensure!(
        until(PATIENCE, || Ok(Peer::join(address).is_ok()))?,
        "not in time: new clients get in after the idle ones left"
    );
    figure(
        cpu < 0.2 && log < 30_000 && inside_holds && told == 5,
        format!(
            "{:.0} % of a core, log {log} bytes, inside {inside_holds}, {told} of 5 new connections told",
            cpu * 100.0
        ),
    )
}

/// A node whose standard error is a full pipe that nobody reads.
fn unread_log(field: &Field) -> Result<Figure> {
    let (ws, admin) = (wait::free_port(), wait::free_port());
    let mut command = node::command(&field.binary);
    command.args(["serve", "--log-level", "debug", "--wss-listen", "off", "--quic-listen", "off"]);
    command.args(["--ws-listen", &ws.to_string(), "--admin-listen", &admin.to_string()]);
    let mut node = Killed(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?);
    // Kept open and never read.
    let _pipe = node.0.stderr.take().context("stderr is a pipe")?;
    ensure!(until(PATIENCE, || Ok(TcpStream::connect(ws).is_ok()))?, "not in time: the node listens");
    let mut inside = Peer::join(ws)?;
    let alias = inside.enter("here")?;
    // More lines than a pipe of 64 KiB holds.
    let begin = Instant::now();
    let (mut number, mut answered) = (0, 0);
    while begin.elapsed() < Duration::from_secs(field.either(4, 15)) && number < 3000 {
        let request = "GET /nowhere HTTP/1.1\r\nHost: a\r\nOrigin: http://a.example\r\n\r\n";
        let _ =
            peer::connect(stranger(number % 200), ws).and_then(|mut s| Ok(s.write_all(request.as_bytes())?));
        let _ = http::request(admin, "GET", "/none");
        number += 1;
        if number % 50 == 0 {
            answered += usize::from(
                inside.say(alias, number.into(), "still here").is_ok_and(|said| said != Said::Ended),
            );
        }
    }
    let said = inside.say(alias, 1_000_000, "at the end");
    let health = http::request(admin, "GET", "/healthz");
    figure(
        matches!(said, Ok(Said::Published { .. } | Said::Refused(_))) && health.is_ok(),
        format!(
            "{number} requests that log, {answered} answers inside meanwhile, at the end {}, health {}",
            said.is_ok(),
            health.is_ok()
        ),
    )
}

fn admin_idle(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let admin = node.address("http://")?;
    let idle: Vec<TcpStream> =
        (0..field.either(420, 800)).filter_map(|_| peer::connect(Ipv4Addr::LOCALHOST, admin).ok()).collect();
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    for _ in 0..20 {
        let begin = Instant::now();
        answered += u32::from(probe(admin, "/healthz", Duration::from_secs(1)));
        slowest = slowest.max(begin.elapsed());
    }
    figure(
        answered == 20,
        format!("{} idle, {answered} of 20 probes answered, slowest {} ms", idle.len(), slowest.as_millis()),
    )
}

/// Whether a health check is answered with 200 in time.
fn probe(admin: SocketAddr, path: &str, within: Duration) -> bool {
    status(admin, path, within) == Some(200)
}

/// The status of a GET, if it comes in time.
pub(crate) fn status(admin: SocketAddr, path: &str, within: Duration) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&admin, within).ok()?;
    stream.set_read_timeout(Some(within)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = [0; 64];
    let n = stream.read(&mut answer).ok()?;
    std::str::from_utf8(answer.get(9..12.min(n))?).ok()?.parse().ok()
}

/// Five addresses hold as many silent connections as they can, and open new ones for those that are dropped.
fn lock_out(field: &Field, first: &[u8]) -> Result<Figure> {
    let node = field.node(&field.plan().key("limits.loopback_exempt", false))?;
    let address = node.address("ws://")?;
    let mut inside = Peer::join(address)?;
    let each = 836;
    let mut held: Vec<TcpStream> = Vec::new();
    for n in 0..each * 5 {
        if let Ok(mut stream) = peer::connect(stranger(n % 5), address) {
            let _ = stream.write_all(first);
            stream.set_nonblocking(true)?;
            held.push(stream);
        }
    }
    let tries = field.either(40, 80);
    let (mut fresh, mut returning) = (0, 0);
    for n in 0..tries {
        // The attackers replace what was dropped.
        for slot in 0..40 {
            let index = ((n * 40 + slot) as usize) % held.len().max(1);
            let mut byte = [0; 1];
            let is_open = held.get(index).is_some_and(
                |s| matches!((&*s).read(&mut byte), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock),
            );
            if !is_open && let Ok(mut stream) = peer::connect(stranger(slot % 5), address) {
                let _ = stream.write_all(first);
                stream.set_nonblocking(true)?;
                if let Some(place) = held.get_mut(index) {
                    *place = stream;
                }
            }
        }
        if let Ok(peer) = Peer::join_as(stranger(1000 + n), address, Identity::default()) {
            fresh += 1;
            let ticket = peer.welcome.ticket.clone();
            drop(peer);
            let again = Identity { ticket: &ticket, ..Identity::default() };
            returning += u32::from(Peer::join_as(stranger(1000 + n), address, again).is_ok());
        }
    }
    let pong = inside.ping()?;
    figure(
        f64::from(fresh) >= 0.8 * f64::from(tries) && f64::from(returning) >= 0.95 * f64::from(fresh),
        format!(
            "{} silent, new {fresh} of {tries}, returning {returning} of {fresh}, ping inside {} ms",
            held.len(),
            pong.as_millis()
        ),
    )
}

/// A thread is stopped by the freezer of cgroups v1, which can hold a single thread.
fn hung_thread(field: &Field) -> Result<Figure> {
    needs_root()?;
    let freezer = std::path::Path::new("/sys/fs/cgroup/freezer");
    if !freezer.join("tasks").exists() {
        anyhow::bail!(crate::trial::Missing("the freezer of cgroups v1 at /sys/fs/cgroup/freezer"));
    }
    let node = field.node(&field.plan().key("node.workers", 2))?;
    let admin = node.address("http://")?;
    let group = freezer.join(format!("grandstand-field-{}", std::process::id()));
    std::fs::create_dir_all(&group)?;
    let (mut text, mut holds) = (String::new(), true);
    for thread in threads(&node)? {
        let (tid, name) = thread;
        std::fs::write(group.join("tasks"), tid.to_string())?;
        std::fs::write(group.join("freezer.state"), "FROZEN")?;
        let begin = Instant::now();
        let mut seen = None;
        while begin.elapsed() < Duration::from_secs(10) && seen.is_none() {
            if status(admin, "/healthz", Duration::from_secs(1)) != Some(200) {
                seen = Some(begin.elapsed());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        std::fs::write(group.join("freezer.state"), "THAWED")?;
        std::fs::write(freezer.join("tasks"), tid.to_string())?;
        let words = seen.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        text.push_str(&format!("{name} {words}, "));
        holds &= seen.is_some_and(|time| time < Duration::from_secs(10));
        ensure!(
            until(PATIENCE, || Ok(probe(admin, "/healthz", Duration::from_secs(1))))?,
            "not in time: the thread turns again"
        );
    }
    let _ = std::fs::remove_dir(&group);
    figure(holds, text.trim_end_matches(", "))
}

/// One thread of each kind that serves: number and name.
fn threads(node: &Node) -> Result<Vec<(u32, String)>> {
    let mut found: Vec<(u32, String)> = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{}/task", node.pid()))? {
        let entry = entry?;
        let tid: u32 = entry.file_name().to_string_lossy().parse()?;
        let mut name = String::new();
        File::open(entry.path().join("comm"))?.read_to_string(&mut name)?;
        let kind = name.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        if ["worker", "shard"].iter().any(|known| kind.contains(known))
            && !found.iter().any(|(_, k)| *k == kind)
        {
            found.push((tid, kind));
        }
    }
    Ok(found)
}

/// A process that ends with its value.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
