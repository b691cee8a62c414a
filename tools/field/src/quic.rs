//! Trials of QUIC: migration that reflects, honest migration, a node that was killed and came back.
//!
//! A relay stands between a QUIC client and the node. It sends the client's packets from addresses of its own
//! choice, as an attacker with forged addresses does, and counts what the node sends to each.
//! Why a relay: one machine cannot forge addresses on the internet, but it owns all of 127.0.0.0/8.
//! Not here: WebSocket (`peer`).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use grandstand_harness::trust::client_config;
use grandstand_harness::wait;
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello};
use grandstand_protocol::{stream, version};
use quinn::crypto::rustls::QuicClientConfig;
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::supervisors::signal;
use crate::trial::{Field, Figure, Trial, figure, stranger, until};

pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        name: "quic-reflection",
        right: "a connection that moves to foreign addresses makes the node send at most three times what it got, to each",
        run: reflection,
    },
    Trial {
        name: "quic-migration",
        right: "a client that really changes its address goes on",
        run: honest_migration,
    },
    Trial {
        name: "quic-after-kill",
        right: "a QUIC client learns within seconds that the node was killed and came back",
        run: after_kill,
    },
];

/// A raw QUIC client.
struct Quic {
    runtime: Runtime,
    connection: quinn::Connection,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    _endpoint: quinn::Endpoint,
}

impl Quic {
    /// Connects, sends `Hello`, and reads the beginning of the answer.
    fn join(to: SocketAddr) -> Result<Quic> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (endpoint, connection, send, receive) = runtime.block_on(async {
            let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
            let tls = QuicClientConfig::try_from(client_config(&[version::ALPN]))?;
            endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
            let connecting = endpoint.connect(to, "localhost")?;
            let connection = tokio::time::timeout(Duration::from_secs(8), connecting).await??;
            let (send, receive) = connection.open_bi().await?;
            Ok::<_, anyhow::Error>((endpoint, connection, send, receive))
        })?;
        let mut quic = Quic { runtime, connection, send, receive, _endpoint: endpoint };
        quic.send(&ClientFrame::Hello(Hello::default()))?;
        quic.read(Duration::from_secs(8)).context("no Welcome over QUIC")?;
        Ok(quic)
    }

    fn send(&mut self, frame: &ClientFrame<'_>) -> Result<()> {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        Encoder::new().client(frame, &mut body);
        stream::write_header(body.len(), &mut out);
        out.extend_from_slice(&body);
        let send = &mut self.send;
        // The task of the endpoint needs turns to send it.
        self.runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(1), send.write_all(&out)).await??;
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        })
    }

    /// Whatever comes next, in time.
    fn read(&mut self, within: Duration) -> Result<usize> {
        let receive = &mut self.receive;
        let mut buffer = [0; 4096];
        let read = self
            .runtime
            .block_on(async { tokio::time::timeout(within, receive.read(&mut buffer)).await })??;
        read.context("the stream ended")
    }

    /// A `Ping` and its answer.
    fn ping(&mut self, within: Duration) -> Result<Duration> {
        let begin = Instant::now();
        self.send(&ClientFrame::Ping { client_us: 1 })?;
        self.read(within)?;
        Ok(begin.elapsed())
    }
}

/// What the node sent to an address of the relay, and what it got from there.
#[derive(Default)]
struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

/// See the file's head.
struct Relay {
    front: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    node: SocketAddr,
    /// Packets of the client leave from a new address each, while this is set.
    scatters: AtomicBool,
    /// Number of the present honest address.
    place: AtomicU32,
    ends: AtomicBool,
    upstream: Mutex<Vec<(Arc<UdpSocket>, Arc<Traffic>)>>,
    client: Mutex<Option<SocketAddr>>,
}

impl Relay {
    fn new(node: SocketAddr) -> Result<Relay> {
        let front = UdpSocket::bind("127.0.0.1:0")?;
        front.set_read_timeout(Some(Duration::from_millis(20)))?;
        let front = Arc::new(front);
        let shared = Arc::new(Shared {
            node,
            scatters: AtomicBool::new(false),
            place: AtomicU32::new(0),
            ends: AtomicBool::new(false),
            upstream: Mutex::default(),
            client: Mutex::default(),
        });
        let address = front.local_addr()?;
        let (there, back) = (Arc::clone(&shared), Arc::clone(&shared));
        let (from_client, to_client) = (Arc::clone(&front), front);
        let threads = vec![
            std::thread::spawn(move || there.forward(&from_client)),
            std::thread::spawn(move || back.answer(&to_client)),
        ];
        Ok(Relay { front: address, shared, threads })
    }

    /// From now on packets leave from another address, as of a phone that changes its network.
    fn move_once(&self) {
        self.shared.place.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes to and from the addresses behind the first: their number, sent, received, and the worst ratio.
    fn foreign(&self) -> (usize, u64, u64, f64) {
        let upstream = self.shared.upstream.lock().expect("no thread of the relay panics");
        let foreign = upstream.iter().skip(1).map(|(_, traffic)| {
            (traffic.sent.load(Ordering::Relaxed), traffic.received.load(Ordering::Relaxed))
        });
        foreign.fold((0, 0, 0, 0.0), |(count, sent, received, worst), (s, r)| {
            (count + 1, sent + s, received + r, f64::max(worst, r as f64 / s.max(1) as f64))
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn forward(&self, front: &UdpSocket) {
        let mut buffer = [0; 2048];
        let mut place = None;
        while !self.ends.load(Ordering::Relaxed) {
            let Ok((n, from)) = front.recv_from(&mut buffer) else { continue };
            *self.client.lock().expect("no thread of the relay panics") = Some(from);
            let wanted = self.place.load(Ordering::Relaxed);
            let mut upstream = self.upstream.lock().expect("no thread of the relay panics");
            if place != Some(wanted) || self.scatters.load(Ordering::Relaxed) {
                let number = 40_000 + upstream.len() as u32;
                let Ok(socket) = UdpSocket::bind((stranger(number), 0)) else { continue };
                let _ = socket.set_nonblocking(true);
                upstream.push((Arc::new(socket), Arc::default()));
                place = Some(wanted);
            }
            if let Some((socket, traffic)) = upstream.last()
                && socket.send_to(&buffer[..n], self.node).is_ok()
            {
                traffic.sent.fetch_add(n as u64, Ordering::Relaxed);
            }
        }
    }

    fn answer(&self, front: &UdpSocket) {
        let mut buffer = [0; 2048];
        while !self.ends.load(Ordering::Relaxed) {
            let mut came = false;
            let sockets: Vec<_> = self.upstream.lock().expect("no thread of the relay panics").clone();
            for (index, (socket, traffic)) in sockets.iter().enumerate() {
                while let Ok(n) = socket.recv(&mut buffer) {
                    came = true;
                    traffic.received.fetch_add(n as u64, Ordering::Relaxed);
                    // What went to a forged address never comes back.
                    let is_forged = self.scatters.load(Ordering::Relaxed) && index > 0;
                    let client = *self.client.lock().expect("no thread of the relay panics");
                    if let (false, Some(client)) = (is_forged, client) {
                        let _ = front.send_to(&buffer[..n], client);
                    }
                }
            }
            if !came {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

fn reflection(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan().key("limits.loopback_exempt", false))?;
    let relay = Relay::new(node.address("quic://")?)?;
    let mut quic = Quic::join(relay.front)?;
    for _ in 0..20 {
        quic.ping(Duration::from_secs(2))?;
    }
    relay.shared.scatters.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(field.either(3, 8)) {
        if quic.send(&ClientFrame::Ping { client_us: 2 }).is_err() {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(700));
    let (addresses, sent, received, worst) = relay.foreign();
    let ratio = received as f64 / sent.max(1) as f64;
    figure(
        addresses > 20 && ratio <= 3.0 && worst <= 3.0,
        format!(
            "{sent} bytes from {addresses} addresses, {received} bytes to them: {ratio:.1} times; the worst address {worst:.1} times"
        ),
    )
}

fn honest_migration(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let relay = Relay::new(node.address("quic://")?)?;
    let mut quic = Quic::join(relay.front)?;
    quic.ping(Duration::from_secs(2))?;
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        relay.move_once();
        let begin = Instant::now();
        let moved = until(Duration::from_secs(8), || Ok(quic.ping(Duration::from_secs(1)).is_ok()))?;
        if !moved {
            return figure(false, "silent for 8 s after a move");
        }
        slowest = slowest.max(begin.elapsed());
        std::thread::sleep(Duration::from_millis(1200));
    }
    figure(
        slowest < Duration::from_secs(3),
        format!("three moves, slowest answer after {} ms", slowest.as_millis()),
    )
}

fn after_kill(field: &Field) -> Result<Figure> {
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, wait::free_port().port())).to_string();
    let plan = field.plan().key("quic.listen", port.as_str());
    let node = field.node(&plan)?;
    let mut quic = Quic::join(node.address("quic://")?)?;
    quic.ping(Duration::from_secs(2))?;
    signal(&node, Signal::KILL)?;
    drop(node);
    let _node = field.node(&plan)?;
    let begin = Instant::now();
    let mut why = None;
    while begin.elapsed() < Duration::from_secs(12) && why.is_none() {
        let _ = quic.send(&ClientFrame::Ping { client_us: 3 });
        why = quic.connection.close_reason();
    }
    let took = begin.elapsed();
    let text = why.as_ref().map_or("nothing".to_owned(), |why| why.to_string());
    figure(
        why.is_some() && took < Duration::from_secs(3),
        format!("told `{text}` after {:.1} s", took.as_secs_f64()),
    )
}
