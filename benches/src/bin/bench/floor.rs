//! `floor`: a bench of the kernel and the ciphers alone: the same writes as a fan-out, in a loop that does
//! nothing else.
//!
//! Why: no server that fans out over sockets can cost less, so every other figure is shown as a multiple of
//! it. Method: one thread on the server's core writes one buffer to each of N sockets, which the viewers of
//! the other benches read on their own core; the thread's own CPU clock gives the cost. Rounds are spaced
//! like ticks (so sockets are cold in the cache), and also run back to back. Ratios take the spaced ones.
//! - `send`: one `send` for each socket;
//! - `tls`: AES-256-GCM (what rustls and the clients agree on) with a key for each connection, then `send`;
//! - `udp`: AES-128-GCM with a key for each address, then `sendto` on one socket.
//!
//! Invariant: the reader got every byte that was counted as written (datagrams: 99 of 100, since the kernel
//! may drop them).
//! Not here: header protection, acknowledgements and windows. The ratios show a protocol's own work.

use anyhow::{Context, Result, ensure};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use grandstand_benches::cpu::thread_ns;
use grandstand_benches::lean_clients::{ClientsPlan, Transport};
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::record::{Row, Rows, noted, rounded};
use grandstand_benches::viewers::Viewers;
use grandstand_harness::clock::{monotonic_ns, sleep_until};
use grandstand_harness::process::pin_here;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrAny, SocketFlags, SocketType, sockopt};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Frames of 1, 11 and 125 messages of 128 bytes: a quiet room, a busy one, the busiest.
const SIZES: [usize; 3] = [160, 1_500, 17_000];

/// The same over QUIC, whose packets are full at 1,200.
const SIZES_UDP: [usize; 2] = [160, 1_200];

/// As the node sets it (`socket.send_buffer_bytes`).
const SEND_BUFFER_BYTES: usize = 131_072;

/// A way to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Send,
    Tls,
    Udp,
}

impl Way {
    const ALL: [Way; 3] = [Way::Send, Way::Tls, Way::Udp];

    fn name(self) -> &'static str {
        match self {
            Way::Send => "send",
            Way::Tls => "tls",
            Way::Udp => "udp",
        }
    }
}

/// CPU time of a write.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) ns_per_write: f64,
    /// Writes that the socket did not take whole: the reader was too slow. They are not counted.
    pub(crate) refused: u64,
}

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let (cores, rounds) = (plan.cores()?, plan.size(30, 3));
    let mut rows = Rows::new();
    for viewers in plan.choose(&plan.viewers, &[5_000], &[50]) {
        for way in Way::ALL {
            let mut floor = Floor::open(way, viewers, cores)?;
            for size in if way == Way::Udp { &SIZES_UDP[..] } else { &SIZES } {
                let spaced = floor.measure(*size, rounds, Some(Duration::from_millis(100)))?;
                let dense = floor.measure(*size, rounds, None)?;
                let case = [("way", json!(way.name())), ("sockets", json!(viewers)), ("bytes", json!(size))];
                let row = Row::of(case)
                    .with("cpu_ns_per_write", rounded(spaced.ns_per_write, 0))
                    .with("cpu_ns_per_write_back_to_back", rounded(dense.ns_per_write, 0))
                    .with("writes_refused_back_to_back", dense.refused);
                rows.push(noted(row));
            }
        }
    }
    Ok(rows)
}

/// The floor beside another run: the same frame, as many sockets, rounds at the same interval.
pub(crate) fn beside(
    plan: &Plan,
    cores: Cores,
    way: Way,
    bytes: usize,
    viewers: usize,
    interval: Duration,
) -> Result<Cost> {
    Floor::open(way, viewers, cores)?.measure(bytes, plan.size(30, 3), Some(interval))
}

/// Open sockets and their reader.
struct Floor {
    viewers: Viewers,
    core: Option<usize>,
    writer: Writer,
}

/// The sockets, and what goes to each.
struct Writer {
    way: Way,
    tcp: Vec<TcpStream>,
    udp: UdpSocket,
    addresses: Vec<SocketAddrAny>,
    keys: Vec<LessSafeKey>,
    sequence: u64,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    wire_bytes: u64,
}

impl Floor {
    fn open(way: Way, viewers: usize, cores: Cores) -> Result<Floor> {
        let is_udp = way == Way::Udp;
        let keys =
            (0..if way == Way::Send { 0 } else { viewers }).map(|n| key(way, n)).collect::<Result<_>>()?;
        let (listener, address) = listener()?;
        let plan = ClientsPlan::new(Transport::Ws, address, vec!["floor".into()]);
        let plan = ClientsPlan { protocol: "bytes".into(), datagrams: is_udp, ..plan };
        let mut generator = Viewers::start(&plan, cores.generator)?;
        let accepted = std::thread::spawn(move || accept(&listener, if is_udp { 0 } else { viewers }));
        let ports = generator.come(viewers)?.ports;
        let address = |&port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // The kernel takes what it allows.
        let _ = sockopt::set_socket_send_buffer_size(&udp, 4 << 20);
        let writer = Writer {
            way,
            tcp: accepted.join().expect("accepting does not panic")?,
            udp,
            addresses: ports.iter().map(address).collect(),
            keys,
            sequence: 0,
            plain: Vec::new(),
            sealed: Vec::new(),
            wire_bytes: 0,
        };
        Ok(Floor { viewers: generator, core: cores.server, writer })
    }

    /// Runs rounds in a thread on the server's core: CPU time of that thread for each write. `spacing` is
    /// from one round's begin to the next one's; without it they are back to back.
    fn measure(&mut self, bytes: usize, rounds: usize, spacing: Option<Duration>) -> Result<Cost> {
        self.viewers.mark()?;
        let (core, writer) = (self.core, &mut self.writer);
        (writer.plain, writer.wire_bytes) = (vec![0x5a; bytes], 0);
        let write = || -> Result<(u64, u64, u64)> {
            core.map_or(Ok(()), pin_here)?;
            writer.rounds(rounds, spacing)
        };
        let written = std::thread::scope(|scope| scope.spawn(write).join().expect("writing does not panic"));
        let (cpu_ns, whole, refused) = written?;
        ensure!(whole > 0, "nothing could be written");
        self.check()?;
        Ok(Cost { ns_per_write: cpu_ns as f64 / whole as f64, refused })
    }

    /// Checks that the reader got the written bytes.
    fn check(&mut self) -> Result<()> {
        let written = self.writer.wire_bytes;
        let enough = if self.writer.way == Way::Udp { written * 99 / 100 } else { written };
        let until_ns = monotonic_ns() + 10_000_000_000;
        loop {
            let reading = self.viewers.read()?;
            let read = reading.wire_bytes;
            ensure!(reading.ended == 0 && read <= written, "of {written} bytes the reader got {reading:?}");
            if read >= enough {
                return Ok(());
            }
            ensure!(monotonic_ns() < until_ns, "of {written} bytes the reader got {read}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Writer {
    /// CPU time, writes that were whole and writes that were refused. Warm-up rounds count as bytes only.
    fn rounds(&mut self, count: usize, spacing: Option<Duration>) -> Result<(u64, u64, u64)> {
        // The first rounds find cold code and unsized buffers.
        let warm_up = count / 10 + 1;
        let (mut cpu_ns, mut wholes, mut next_ns) = (0, 0, monotonic_ns());
        for round in 0..warm_up + count {
            if let Some(spacing) = spacing {
                sleep_until(next_ns);
                next_ns = (next_ns + spacing.as_nanos() as u64).max(monotonic_ns());
            }
            let begin_ns = thread_ns();
            let whole = self.round()?;
            if round >= warm_up {
                cpu_ns += thread_ns() - begin_ns;
                wholes += whole as u64;
            }
        }
        let all = count * self.tcp.len().max(self.addresses.len());
        Ok((cpu_ns, wholes, all as u64 - wholes))
    }

    /// One write to everyone: how many were whole.
    fn round(&mut self) -> Result<usize> {
        self.sequence += 1;
        let mut whole = 0;
        match self.way {
            Way::Send | Way::Tls => {
                for n in 0..self.tcp.len() {
                    self.sealed.clear();
                    if self.way == Way::Tls {
                        self.seal_records(n)?;
                    }
                    let bytes = if self.way == Way::Tls { &self.sealed } else { &self.plain };
                    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                    let sent = taken(rustix::net::send(&self.tcp[n], bytes, flags))?;
                    self.wire_bytes += sent as u64;
                    whole += usize::from(sent == bytes.len());
                }
            }
            Way::Udp => {
                for (address, key) in self.addresses.iter().zip(&self.keys) {
                    self.sealed.clear();
                    self.sealed.extend_from_slice(&self.plain);
                    seal(key, self.sequence, &mut self.sealed, 0, 0)?;
                    let flags = SendFlags::DONTWAIT;
                    let sent = taken(rustix::net::sendto(&self.udp, &self.sealed, flags, address))?;
                    self.wire_bytes += sent as u64;
                    whole += usize::from(sent > 0);
                }
            }
        }
        Ok(whole)
    }

    /// Records as RFC 8446, 5.2: header, sealed content with its type, tag. A record holds at most 16 KB; a
    /// longer frame takes two.
    fn seal_records(&mut self, n: usize) -> Result<()> {
        for plain in self.plain.chunks(16_384) {
            let length = (plain.len() + 1 + 16) as u16;
            let begin = self.sealed.len();
            self.sealed.extend_from_slice(&[23, 3, 3]);
            self.sealed.extend_from_slice(&length.to_be_bytes());
            self.sealed.extend_from_slice(plain);
            self.sealed.push(23);
            seal(&self.keys[n], self.sequence, &mut self.sealed, begin, 5)?;
        }
        Ok(())
    }
}

/// The bytes that a socket took; 0 where it had no room.
fn taken(sent: Result<usize, Errno>) -> Result<usize> {
    match sent {
        Err(Errno::AGAIN) => Ok(0),
        sent => sent.context("sending failed"),
    }
}

/// Seals what stands in `buffer` from `begin` on, of which the first `clear` bytes stay clear; the tag goes
/// behind it.
fn seal(key: &LessSafeKey, sequence: u64, buffer: &mut Vec<u8>, begin: usize, clear: usize) -> Result<()> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(sequence ^ ((begin as u64) << 32)).to_be_bytes());
    let mut header = [0; 8];
    header[..clear].copy_from_slice(&buffer[begin..begin + clear]);
    let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(&header[..clear]));
    let tag = key.seal_in_place_separate_tag(nonce, aad, &mut buffer[begin + clear..]);
    buffer.extend_from_slice(tag.map_err(|_| anyhow::anyhow!("sealing failed"))?.as_ref());
    Ok(())
}

fn key(way: Way, number: usize) -> Result<LessSafeKey> {
    let mut bytes = [0x0b; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let key = if way == Way::Udp {
        UnboundKey::new(&AES_128_GCM, &bytes[..16])
    } else {
        UnboundKey::new(&AES_256_GCM, &bytes)
    };
    Ok(LessSafeKey::new(key.map_err(|_| anyhow::anyhow!("no key"))?))
}

fn listener() -> Result<(TcpListener, SocketAddr)> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    rustix::net::listen(&socket, 4_096)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn accept(listener: &TcpListener, count: usize) -> Result<Vec<TcpStream>> {
    let mut sockets = Vec::with_capacity(count);
    while sockets.len() < count {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
        sockets.push(socket);
    }
    Ok(sockets)
}
