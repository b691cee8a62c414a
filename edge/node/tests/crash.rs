//! A node without a log is killed and started again: viewers of every transport hear the room again within
//! seconds.
//!
//! Why the binary: only a process can be killed. What a room on disk keeps is in `durable`.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use grandstand_client::core::{OwnedEvent, SubscribeOptions};
use grandstand_client::net::{Client, ClientOptions, Connector, Trust};
use grandstand_harness::http;
use grandstand_harness::wait::{PATIENCE, free_port};

/// Viewers have reconnected by then: half a second of the machine's own, and twice the silence after which a
/// client asks.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// A node process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ports of a node.
struct Ports([(&'static str, SocketAddr); 4]);

impl Ports {
    fn free() -> Ports {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Ports([("ws", free_port()), ("wss", free_port()), ("quic", udp), ("admin", free_port())])
    }

    fn url(&self, n: usize) -> String {
        let (scheme, address) = self.0[n];
        format!("{scheme}://{address}{}", if scheme == "quic" { "" } else { "/v1" })
    }

    /// Start a node there; returns when it is ready.
    fn serve(&self) -> Process {
        let flags = self.0.iter().flat_map(|(name, at)| [format!("--{name}-listen"), at.to_string()]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
        command.arg("serve").args(flags).env_remove("GRANDSTAND_CONFIG").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let node = Process(child);
        let mut said = String::new();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| {
            said += &(line + "\n");
            said.contains(" ready ")
        });
        assert!(is_ready, "{said}");
        // Read to the end, or the node would find a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        node
    }
}

/// Messages to a room, ten a second, whoever serves it.
fn talk(admin: SocketAddr, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut nonce = 0;
        while !stop.load(Ordering::Relaxed) {
            nonce += 1;
            let line = format!("{{\"author\":\"Ann\",\"text\":\"line\",\"nonce\":{nonce}}}");
            // Nobody answers while no node runs; a new node has no room.
            if http::request_with(admin, "POST", "/rooms/show/messages", &line).is_err() {
                let _ = http::request_with(admin, "POST", "/rooms", "{\"name\":\"show\"}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    })
}

/// Wait for this number of messages.
async fn hear(client: &Client, mut messages: usize) {
    while messages > 0 {
        let event = tokio::time::timeout(PATIENCE, client.next_event()).await.expect("something in time");
        messages -= usize::from(matches!(event.expect("the session goes on"), OwnedEvent::Message { .. }));
    }
}

#[test]
fn viewers_of_every_transport_return_soon_after_a_node_without_a_log_was_killed() {
    let ports = Ports::free();
    let node = ports.serve();
    let stop = Arc::new(AtomicBool::new(false));
    let talk = talk(ports.0[3].1, stop.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let connector = Connector::new(&Trust::AnyoneForTests).unwrap();
    let clients: Vec<Client> = (0..3)
        .map(|n| ports.url(n).parse().unwrap())
        .map(|url| Client::connect(&connector, &url, ClientOptions::default()).unwrap())
        .collect();
    clients.iter().for_each(|c| c.subscribe("show", SubscribeOptions::default()).unwrap());
    runtime.block_on(async {
        for client in &clients {
            // Long enough that the client knows its node as one that sends often.
            hear(client, 50).await;
        }
    });
    drop(node);
    let killed = Instant::now();
    let _next = ports.serve();
    runtime.block_on(async {
        let heard = clients.iter().enumerate().map(|(n, client)| async move {
            // Those of before that were not read yet.
            while tokio::time::timeout(Duration::ZERO, client.next_event()).await.is_ok() {}
            hear(client, 1).await;
            let (url, after) = (n, killed.elapsed());
            println!("transport {url}: {after:?}");
            assert!(after < HEARD_WITHIN, "transport {n}: {after:?}");
        });
        let mut heard: Vec<_> = heard.map(Box::pin).collect();
        std::future::poll_fn(|context| {
            heard.retain_mut(|one| one.as_mut().poll(context).is_pending());
            if heard.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    });
    stop.store(true, Ordering::Relaxed);
    talk.join().unwrap();
}
