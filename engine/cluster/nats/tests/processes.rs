//! A node as a process of its own, which is killed or stopped.
//!
//! Why a process: threads of this one cannot hang, and a dropped connection is closed more politely than a
//! killed process's.
//! Invariants: the process is this test binary again, with one test: it ends when its standard input does.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use grandstand_cluster::id::NodeId;
use grandstand_cluster::stand::{FromWire, ToWire};
use grandstand_harness::nats::{PASSWORD, USER};
use grandstand_nats::{Config, Credentials, Plan};
use support::{Node, PATIENCE, cluster, config};

const SERVERS: &str = "GRANDSTAND_NATS_TEST_SERVERS";

/// The process: it says which frames it gets.
#[test]
#[ignore = "a part of the other tests, which start it as a process"]
fn process() {
    let Ok(servers) = std::env::var(SERVERS) else { return };
    let config = Config {
        cluster: "test".to_owned(),
        servers: servers.split(',').map(str::to_owned).collect(),
        credentials: Credentials::Password { user: USER.to_owned(), password: PASSWORD.to_owned() },
        tls: false,
        tls_ca: None,
        plan: Plan { replicas: 3, log_bytes: 64 << 20 },
        origin: Instant::now(),
    };
    let mut node = Node::start(config, 2, 1);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready").expect("the parent reads");
    loop {
        let frame =
            node.next(0, PATIENCE, |m| if let FromWire::Down(frame) = m { Some(frame) } else { None });
        if let Some(frame) = frame {
            let number = u64::from_le_bytes(frame[..8].try_into().expect("a number first"));
            writeln!(stdout, "frame {number}").expect("the parent reads");
        }
    }
}

struct Process {
    child: Child,
    frames: Arc<Mutex<Vec<u64>>>,
}

impl Process {
    fn start(servers: &grandstand_harness::nats::Servers) -> Process {
        let program = std::env::current_exe().expect("this test has a file");
        let mut command = Command::new(program);
        command.args(["--exact", "process", "--ignored", "--nocapture"]);
        command.env(SERVERS, servers.addresses().join(",")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("ready")), "the process is ready");
        let frames = Arc::new(Mutex::new(Vec::new()));
        let seen = frames.clone();
        std::thread::spawn(move || {
            for line in lines {
                let number = line.strip_prefix("frame ").and_then(|number| number.parse::<u64>().ok());
                seen.lock().unwrap().extend(number);
            }
        });
        Process { child, frames }
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "kill {signal}");
    }

    fn frames(&self) -> Vec<u64> {
        self.frames.lock().unwrap().clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn load_a_killed_process_is_missed_within_500_ms() {
    let Some(servers) = cluster(3, 1) else { return };
    let mut node = Node::start(config(&servers), 0, 1);
    let process = Process::start(&servers);
    let heard = node.next(0, PATIENCE, |message| match message {
        FromWire::Heartbeat(heartbeat) => (heartbeat.node == NodeId(2)).then_some(()),
        _ => None,
    });
    assert!(heard.is_some());
    // Node 1 never lived: what is said of it is not of interest.
    std::thread::sleep(Duration::from_millis(1_200));
    process.signal("-KILL");
    let began = Instant::now();
    let missed = node.next(0, PATIENCE, |message| match message {
        FromWire::NoResponders(of) => (of == NodeId(2)).then(|| began.elapsed()),
        _ => None,
    });
    eprintln!("a killed process is missed after {missed:?}");
    assert!(missed.is_some_and(|after| after < Duration::from_millis(500)), "{missed:?}");
}

#[test]
fn load_a_node_that_hangs_loses_one_run_of_frames_and_goes_on() {
    let Some(servers) = cluster(3, 1) else { return };
    let mut owner = Node::start(config(&servers), 0, 1);
    let mut bystander = Node::start(config(&servers), 1, 1);
    let process = Process::start(&servers);
    let mut number = 0_u64;
    let mut send_for = |owner: &mut Node, time: Duration| {
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        while began.elapsed() < time {
            let mut frame = number.to_le_bytes().to_vec();
            frame.resize(100 << 10, 0);
            let before = Instant::now();
            owner.send(0, ToWire::Down { to: NodeId(2), frame: Bytes::from(frame) });
            slowest = slowest.max(before.elapsed());
            number += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        (number, slowest)
    };
    send_for(&mut owner, Duration::from_secs(1));
    process.signal("-STOP");
    let (_, slowest) = send_for(&mut owner, Duration::from_secs(7));
    process.signal("-CONT");
    let (last, _) = send_for(&mut owner, Duration::from_secs(4));
    owner.until("the last frame", |_| process.frames().last().is_some_and(|seen| seen + 20 > last));
    let frames = process.frames();
    let holes = frames.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    let lost = last as usize - frames.len();
    eprintln!("{lost} of {last} frames lost in {holes} holes; a send took {slowest:?} at most");
    assert!(frames.windows(2).all(|pair| pair[0] < pair[1]), "in order, and none twice");
    assert!((1..=2).contains(&holes), "{holes} holes in {frames:?}");
    let status = owner.nats.status();
    assert_eq!((status.counters.unsent, status.connects), (0, 1), "the owner does not notice: {status:?}");
    let mut heartbeats = Vec::new();
    while let Some(arrived) = bystander.arrived[0].pop() {
        if let FromWire::Heartbeat(heartbeat) = arrived.message
            && heartbeat.node == NodeId(0)
        {
            heartbeats.push(arrived.at);
        }
    }
    let longest = heartbeats.windows(2).map(|pair| pair[1].since(pair[0])).max();
    assert!(
        longest.is_some_and(|longest| longest < 1_000),
        "others hear the owner all the time: {longest:?} ms"
    );
}
