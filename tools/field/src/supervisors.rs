//! Trials of what supervisors do: signals, notifications, renewed certificates, drains, hand-overs, second
//! processes.
//! Why: a node lives under a supervisor, which speaks by signals, sockets and files.
//! Not here: disks (`disks`).

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use grandstand_harness::node::Node;
use grandstand_harness::wait::PATIENCE;
use grandstand_harness::{http, wait};
use rustix::process::{Pid, Signal, kill_process};

use crate::peer::{self, Peer, Said, is_whole};
use crate::pressure::status;
use crate::trial::{Checks, Field, Figure, Missing, Trial, figure, program, until};

pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        name: "signals",
        right: "no conventional signal ends the node but TERM, INT, QUIT, PWR and XCPU, which drain it",
        run: signals,
    },
    Trial { name: "notify", right: "systemd is told READY, WATCHDOG, RELOADING and STOPPING", run: notify },
    Trial { name: "unit", right: "systemd-analyze accepts the shipped unit", run: unit },
    Trial {
        name: "certificate-signal",
        right: "a renewed certificate is served after SIGHUP, and sessions go on",
        run: |field| certificate(field, true),
    },
    Trial {
        name: "certificate-watched",
        right: "a renewed certificate is served without a signal",
        run: |field| certificate(field, false),
    },
    Trial {
        name: "drain-routed",
        right: "who is still routed to a node that was told to stop gets an answer for a second and more",
        run: drain_routed,
    },
    Trial {
        name: "handover-memory",
        right: "a hand-over keeps rooms in memory: messages, state, slow mode, nonces, epoch",
        run: handover_memory,
    },
    Trial {
        name: "second-process",
        right: "a second process on the same log with other ports says no, and the first goes on",
        run: second_process,
    },
];

/// Sends a signal to a node.
pub(crate) fn signal(node: &Node, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(node.pid().try_into()?).context("a node has a process number")?;
    Ok(kill_process(pid, signal)?)
}

fn signals(field: &Field) -> Result<Figure> {
    let mut node = field.node(&field.plan())?;
    let mut inside = Peer::join(node.address("ws://")?)?;
    let mut checks = Checks::default();
    for (name, number) in [
        ("HUP", Signal::HUP),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("PIPE", Signal::PIPE),
        ("ALRM", Signal::ALARM),
        ("VTALRM", Signal::VTALARM),
        ("PROF", Signal::PROF),
        ("WINCH", Signal::WINCH),
        ("CHLD", Signal::CHILD),
        ("URG", Signal::URG),
        ("IO", Signal::IO),
        ("TTIN", Signal::TTIN),
        ("TTOU", Signal::TTOU),
        ("TSTP", Signal::TSTP),
    ] {
        signal(&node, number)?;
        std::thread::sleep(Duration::from_millis(60));
        let ended = node.has_ended()?;
        let pong = inside.ping();
        let holds = ended.is_none() && pong.is_ok();
        let is_stopped =
            fs::read_to_string(format!("/proc/{}/stat", node.pid())).is_ok_and(|stat| stat.contains(") T "));
        if is_stopped {
            signal(&node, Signal::CONT)?;
        }
        checks.check(name, holds, format!("ended {ended:?}, stopped {is_stopped}"));
        if !holds {
            node = field.node(&field.plan())?;
            inside = Peer::join(node.address("ws://")?)?;
        }
    }
    checks.close()
}

fn notify(field: &Field) -> Result<Figure> {
    let directory = field.directory()?;
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let plan = field.plan().under(&["env", &variable, "WATCHDOG_USEC=1000000"]);
    let node = field.node(&plan)?;
    let mut told = String::new();
    listen(&socket, Duration::from_secs(3), &mut told, "WATCHDOG=1");
    signal(&node, Signal::HUP)?;
    listen(&socket, Duration::from_secs(3), &mut told, "RELOADING=1");
    let stopper = std::thread::spawn(move || node.stop());
    listen(&socket, Duration::from_secs(8), &mut told, "STOPPING=1");
    let _ = stopper.join();
    let mut checks = Checks::default();
    for word in ["READY=1", "WATCHDOG=1", "RELOADING=1", "MONOTONIC_USEC=", "STOPPING=1"] {
        checks.check(word, told.contains(word), "not told");
    }
    checks.close()
}

/// Collects notifications until this one.
fn listen(socket: &UnixDatagram, within: Duration, told: &mut String, word: &str) {
    let (deadline, mut buffer) = (Instant::now() + within, [0; 2048]);
    while Instant::now() < deadline && !told.contains(word) {
        if let Ok(n) = socket.recv(&mut buffer) {
            told.push_str(&String::from_utf8_lossy(&buffer[..n]));
            told.push('\n');
        }
    }
}

/// The workspace's root, found from this program's place in its target directory or from the current one.
fn root() -> Option<std::path::PathBuf> {
    let current = std::env::current_dir().ok()?;
    current.ancestors().find(|path| path.join("docs/PROTOCOL.md").is_file()).map(Path::to_path_buf)
}

fn unit(field: &Field) -> Result<Figure> {
    let mut verify = program("systemd-analyze")?;
    let unit = root().ok_or(Missing("the checkout with docs/ and its unit"))?.join("docs/grandstand.service");
    let text = fs::read_to_string(&unit).context("no unit is shipped")?;
    // The binary need not be installed here: a copy of the unit names a program that is.
    let text: String = text
        .lines()
        .map(|line| match line.split_once('=') {
            Some((key @ ("ExecStart" | "ExecStartPre" | "ExecReload" | "ExecStop"), _)) => {
                format!("{key}=/bin/true\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let directory = field.directory()?;
    let copy = directory.join("grandstand.service");
    fs::write(&copy, text)?;
    let output = verify.args(["verify", "--man=no"]).arg(&copy).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let holds = output.status.success() && said.trim().is_empty();
    figure(holds, format!("docs/grandstand.service: {} {}", output.status, said.trim()))
}

/// A self-signed certificate, made by openssl: `NAME.pem` and `NAME.key`.
pub(crate) fn certificate_files(directory: &Path, name: &str) -> Result<()> {
    let mut openssl = program("openssl")?;
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "9",
    ]);
    openssl.args(["-subj", &format!("/CN={name}.example.org"), "-addext", "subjectAltName=DNS:localhost"]);
    openssl.arg("-keyout").arg(directory.join(format!("{name}.key")));
    openssl.arg("-out").arg(directory.join(format!("{name}.pem")));
    let output = openssl.output()?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The subject that a TLS port shows, by openssl.
fn shown_subject(address: &str) -> Result<String> {
    let mut openssl = program("openssl")?;
    openssl.args(["s_client", "-connect", address, "-alpn", "http/1.1"]).stdin(std::process::Stdio::null());
    let output = openssl.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().find(|line| line.starts_with("subject=")).unwrap_or("none").to_owned())
}

fn certificate(field: &Field, by_signal: bool) -> Result<Figure> {
    let directory = field.directory()?;
    for name in ["old", "new"] {
        certificate_files(&directory.0, name)?;
    }
    let (cert, key) = (directory.join("live.pem"), directory.join("live.key"));
    let renew = |name: &str| -> Result<()> {
        for (end, live) in [("key", &key), ("pem", &cert)] {
            let next = directory.join(&format!("next.{end}"));
            fs::copy(directory.join(&format!("{name}.{end}")), &next)?;
            fs::rename(next, live)?;
        }
        Ok(())
    };
    renew("old")?;
    let plan = field.plan().key("tls.cert", cert.to_str().context("a path of text")?);
    let node = field.node(&plan.key("tls.key", key.to_str().context("a path of text")?))?;
    let address = node.address("wss://")?;
    let before = shown_subject(&address.to_string())?;
    let mut inside = Peer::upgrade_tls(Ipv4Addr::LOCALHOST, address)?;
    inside.hello(peer::Identity::default())?;
    renew("new")?;
    let begin = Instant::now();
    if by_signal {
        signal(&node, Signal::HUP)?;
    }
    let mut after = String::new();
    while begin.elapsed() < Duration::from_secs(if by_signal { 5 } else { 40 }) {
        after = shown_subject(&address.to_string())?;
        if after.contains("new.example.org") {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let took = begin.elapsed();
    let stays = inside.ping().is_ok();
    figure(
        before.contains("old.example.org") && after.contains("new.example.org") && stays,
        format!("{before}, then {after} after {:.1} s; session inside stays {stays}", took.as_secs_f64()),
    )
}

fn drain_routed(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let (address, admin) = (node.address("ws://")?, node.address("http://")?);
    signal(&node, Signal::TERM)?;
    let begin = Instant::now();
    let (mut answered, mut refused, mut unready) = (0, 0, 0);
    while begin.elapsed() < Duration::from_millis(1000) {
        match Peer::join(address) {
            Ok(_) => answered += 1,
            Err(error) if format!("{error:#}").contains(" 503") => answered += 1,
            Err(_) => refused += 1,
        }
        unready += u32::from(status(admin, "/readyz", Duration::from_millis(200)) == Some(503));
        std::thread::sleep(Duration::from_millis(50));
    }
    figure(
        refused == 0 && unready > 0,
        format!(
            "{answered} answered and {refused} refused in the first second; readyz said no {unready} times"
        ),
    )
}

fn handover_memory(field: &Field) -> Result<Figure> {
    let directory = field.directory()?;
    let (ws, admin) = (wait::free_port().to_string(), wait::free_port().to_string());
    let socket = directory.join("handover.sock").display().to_string();
    let plan = field
        .plan()
        .key("ws.listen", ws.as_str())
        .key("admin.listen", admin.as_str())
        .key("wss.listen", "off")
        .key("quic.listen", "off")
        .key("node.handover", socket.as_str());
    let old = field.node(&plan)?;
    let (address, admin) = (old.address("ws://")?, old.address("http://")?);
    http::request_with(admin, "POST", "/rooms", r#"{"name":"kept"}"#)?;
    http::request_with(admin, "PUT", "/rooms/kept/state/pinned", "Welcome!")?;
    let mut first = Peer::join(address)?;
    let subscribed = first.subscribe("kept")?.map_err(|refusal| anyhow::anyhow!("{}", refusal.text()))?;
    for nonce in 1..=8 {
        ensure!(
            matches!(first.say(subscribed.alias, nonce, "before")?, Said::Published { .. }),
            "the first node refuses"
        );
    }
    let ticket = first.welcome.ticket.clone();
    let new = field.node(&plan)?;
    ensure!(
        until(
            PATIENCE,
            || Ok(fs::metadata(format!("/proc/{}", old.pid())).is_err() || is_zombie(old.pid()))
        )?,
        "not in time: the first process ended"
    );
    let identity = peer::Identity { ticket: &ticket, ..peer::Identity::default() };
    let mut again = Peer::join_as(Ipv4Addr::LOCALHOST, address, identity)?;
    let resumed = again.subscribe_with("kept", Some((subscribed.epoch, subscribed.offset + 4)), 0)?;
    let mut checks = Checks::default();
    checks.check("resume", resumed.as_ref().is_ok_and(is_whole), format!("{resumed:?}"));
    checks.check("same epoch", resumed.as_ref().is_ok_and(|r| r.epoch == subscribed.epoch), "another");
    if let Ok(resumed) = &resumed {
        let said = again.say(resumed.alias, 3, "before")?;
        checks.check(
            "retry of a nonce",
            matches!(said, Said::Published { repeated: true, .. }),
            format!("{said:?}"),
        );
    }
    let room = http::request(new.address("http://")?, "GET", "/rooms/kept")?;
    checks.check("next offset", room.contains("\"next_offset\":8"), &room);
    checks.check("session", again.welcome.resumed, "a new one");
    checks.close()
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn second_process(field: &Field) -> Result<Figure> {
    let directory = field.directory()?;
    let log = directory.join("log").display().to_string();
    let plan = field.plan().key("log.dir", log.as_str()).key("log.lock_wait_ms", 500);
    let mut first = field.node(&plan)?;
    let address = first.address("ws://")?;
    let mut inside = Peer::join(address)?;
    let listeners = ["ws.listen", "wss.listen", "quic.listen", "admin.listen"];
    let elsewhere = listeners.iter().fold(plan, |plan, listener| plan.key(listener, wait::free_port()));
    let mut second = Node::spawn(&elsewhere)?;
    let mut status = None;
    until(Duration::from_secs(10), || {
        status = second.has_ended()?;
        Ok(status.is_some())
    })?;
    let goes_on =
        first.has_ended()?.is_none() && inside.ping().is_ok() && TcpStream::connect(address).is_ok();
    let text = status.map_or("nothing".to_owned(), |status| status.to_string());
    figure(
        goes_on && status.is_some_and(|status| !status.success()),
        format!("the second ended with {text}; the first goes on: {goes_on}"),
    )
}
