//! The floor: what the kernel and the ciphers take for the same writes, in a loop that does nothing else.
//!
//! Why: nothing that fans out over sockets can cost less, so every other figure is shown as a multiple of it.
//! Method: one thread on the server's core writes one buffer to each of N sockets, which the viewers of the
//! other benches read on its own core; the thread's own CPU clock tells the cost. Rounds are spaced as ticks
//! are (sockets are cold when their turn comes again), and also run back to back. Ratios take the spaced
//! ones.
//! - `send`: one `send` for each socket; `io_uring`: 128 sends in one call;
//! - `tls`: AES-256-GCM (what rustls and the clients agree on) with a key for each connection, then `send`;
//! - `udp`: AES-128-GCM with a key for each address, then `sendto` on one socket; `udp_mmsg`: 64 datagrams in
//!   one call.
//!
//! Invariant: the sink got every byte that was counted as written (datagrams: 99 of 100, since the kernel may
//! drop them).
//! Not here: headers' protection, acknowledgements, windows: a protocol's own work is what the ratios show.

use crate::uring::Ring;
use anyhow::{Context, Result, bail, ensure};
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

/// A full QUIC packet.
const DATAGRAM_BYTES: usize = 1_200;

/// As the node sets it (`socket.send_buffer_bytes`).
const SEND_BUFFER_BYTES: usize = 131_072;

/// Datagrams of one `sendmmsg`.
const BURST: usize = 64;

/// A way to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Send,
    Uring,
    Tls,
    Udp,
    UdpBurst,
}

impl Way {
    const ALL: [Way; 5] = [Way::Send, Way::Uring, Way::Tls, Way::Udp, Way::UdpBurst];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Send => "send",
            Way::Uring => "io_uring",
            Way::Tls => "tls",
            Way::Udp => "udp",
            Way::UdpBurst => "udp_mmsg",
        }
    }

    fn is_udp(self) -> bool {
        matches!(self, Way::Udp | Way::UdpBurst)
    }
}

/// Rounds of writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    /// From one round's begin to the next one's; `None`: back to back.
    pub(crate) spacing: Option<Duration>,
}

/// CPU time of a write.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) ns_per_write: f64,
    /// Writes that the socket did not take whole: the reader was too slow. They are not counted.
    pub(crate) refused: u64,
}

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let mut rows = Rows::new();
    for viewers in plan.choose(&plan.viewers, &[5_000], &[50]) {
        for way in Way::ALL {
            let mut last = 0;
            let mut floor = match Floor::open(way, viewers, cores) {
                Err(error) if way == Way::Uring => {
                    eprintln!("io_uring is missing here: {error:#}");
                    continue;
                }
                floor => floor?,
            };
            for size in SIZES.map(|size| if way.is_udp() { size.min(DATAGRAM_BYTES) } else { size }) {
                if std::mem::replace(&mut last, size) != size {
                    rows.push(noted(row(plan, &mut floor, way, viewers, size)?));
                }
            }
        }
    }
    Ok(rows)
}

fn row(plan: &Plan, floor: &mut Floor, way: Way, viewers: usize, size: usize) -> Result<Row> {
    let count = if plan.quick { 3 } else { 30 };
    let spaced = floor.measure(size, Rounds { count, spacing: Some(Duration::from_millis(100)) })?;
    let dense = floor.measure(size, Rounds { count, spacing: None })?;
    Ok(Row::of([("way", json!(way.name())), ("sockets", json!(viewers)), ("bytes", json!(size))])
        .with("cpu_ns_per_write", rounded(spaced.ns_per_write, 0))
        .with("cpu_ns_per_write_back_to_back", rounded(dense.ns_per_write, 0))
        .with("writes_refused_back_to_back", dense.refused))
}

/// The floor beside another run: the same frame, as many sockets, rounds at the same interval.
pub(crate) fn beside(
    way: Way,
    bytes: usize,
    viewers: usize,
    interval: Duration,
    cores: Cores,
    quick: bool,
) -> Result<Cost> {
    let mut floor = Floor::open(way, viewers, cores)?;
    floor.measure(bytes, Rounds { count: if quick { 3 } else { 30 }, spacing: Some(interval) })
}

/// Open sockets and their reader.
pub(crate) struct Floor {
    way: Way,
    viewers: Viewers,
    cores: Cores,
    tcp: Vec<TcpStream>,
    udp: Option<(UdpSocket, Vec<SocketAddrAny>)>,
    keys: Vec<LessSafeKey>,
}

impl Floor {
    pub(crate) fn open(way: Way, viewers: usize, cores: Cores) -> Result<Floor> {
        let mut keys = Vec::new();
        if way == Way::Tls || way.is_udp() {
            keys = (0..viewers).map(|n| key(way, n)).collect::<Result<_>>()?;
        }
        if way == Way::Uring {
            Ring::new()?;
        }
        let (listener, address) = listener()?;
        let plan = ClientsPlan::new(Transport::Ws, address, vec!["floor".into()]);
        let plan = ClientsPlan { protocol: "bytes".into(), datagrams: way.is_udp(), ..plan };
        let generator = Viewers::start(&plan, cores.generator)?;
        let mut floor = Floor { way, cores, tcp: Vec::new(), udp: None, keys, viewers: generator };
        if way.is_udp() {
            let ports = floor.viewers.come(viewers)?.ports;
            let address = |&port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into();
            let addresses = ports.iter().map(address).collect();
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            // The kernel takes what it allows.
            let _ = sockopt::set_socket_send_buffer_size(&socket, 4 << 20);
            floor.udp = Some((socket, addresses));
        } else {
            let accept = std::thread::spawn(move || accept(&listener, viewers));
            floor.viewers.come(viewers)?;
            floor.tcp = accept.join().expect("accepting does not panic")?;
        }
        Ok(floor)
    }

    /// Runs rounds in a thread on the server's core: CPU time of that thread for each write.
    pub(crate) fn measure(&mut self, bytes: usize, rounds: Rounds) -> Result<Cost> {
        self.viewers.mark()?;
        let core = self.cores.server;
        let (way, tcp, udp, keys) = (self.way, &self.tcp, &self.udp, &self.keys);
        let writer = move || -> Result<Written> {
            if let Some(core) = core {
                pin_here(core)?;
            }
            let mut writer = Writer::new(way, tcp, udp.as_ref(), keys, bytes)?;
            writer.rounds(rounds)
        };
        let written =
            std::thread::scope(|scope| scope.spawn(writer).join().expect("writing does not panic"))?;
        ensure!(written.whole > 0, "nothing could be written");
        self.check(&written)?;
        Ok(Cost { ns_per_write: written.cpu_ns as f64 / written.whole as f64, refused: written.refused })
    }

    /// What was written has been read.
    fn check(&mut self, written: &Written) -> Result<()> {
        let until_ns = monotonic_ns() + 10_000_000_000;
        loop {
            let reading = self.viewers.read()?;
            ensure!(reading.ended == 0, "the sink ended: {reading:?}");
            let enough = if self.way.is_udp() { written.wire_bytes * 99 / 100 } else { written.wire_bytes };
            if reading.wire_bytes >= enough {
                ensure!(reading.wire_bytes <= written.wire_bytes, "more was read than written");
                return Ok(());
            }
            if monotonic_ns() > until_ns {
                bail!("of {} bytes the sink got {}", written.wire_bytes, reading.wire_bytes);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What a run of rounds did. Warm-up rounds count as bytes only.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    cpu_ns: u64,
    whole: u64,
    refused: u64,
    wire_bytes: u64,
}

struct Writer<'a> {
    way: Way,
    tcp: &'a [TcpStream],
    udp: Option<&'a (UdpSocket, Vec<SocketAddrAny>)>,
    keys: &'a [LessSafeKey],
    plain: Vec<u8>,
    sealed: Vec<u8>,
    ring: Option<Ring>,
    sequence: u64,
    wire_bytes: u64,
}

impl<'a> Writer<'a> {
    fn new(
        way: Way,
        tcp: &'a [TcpStream],
        udp: Option<&'a (UdpSocket, Vec<SocketAddrAny>)>,
        keys: &'a [LessSafeKey],
        bytes: usize,
    ) -> Result<Writer<'a>> {
        let ring = if way == Way::Uring { Some(Ring::new()?) } else { None };
        let (plain, sealed) = (vec![0x5a; bytes], Vec::new());
        Ok(Writer { way, tcp, udp, keys, plain, sealed, ring, sequence: 0, wire_bytes: 0 })
    }

    fn rounds(&mut self, rounds: Rounds) -> Result<Written> {
        // The first rounds find cold code and unsized buffers.
        let warm_up = rounds.count / 10 + 1;
        let (mut written, mut next_ns) = (Written::default(), monotonic_ns());
        for round in 0..warm_up + rounds.count {
            if let Some(spacing) = rounds.spacing {
                sleep_until(next_ns);
                next_ns = (next_ns + spacing.as_nanos() as u64).max(monotonic_ns());
            }
            let begin_ns = thread_ns();
            let (whole, refused) = self.round()?;
            if round >= warm_up {
                written.cpu_ns += thread_ns() - begin_ns;
                written.whole += whole as u64;
                written.refused += refused as u64;
            }
        }
        Ok(Written { wire_bytes: self.wire_bytes, ..written })
    }

    /// One write to everyone: how many were whole, how many were refused.
    fn round(&mut self) -> Result<(usize, usize)> {
        self.sequence += 1;
        let whole = match self.way {
            Way::Send => self.send()?,
            Way::Uring => {
                let ring = self.ring.as_mut().expect("made for this way");
                let whole = ring.send_all(self.tcp, &self.plain)?;
                self.wire_bytes += (whole * self.plain.len()) as u64;
                whole
            }
            Way::Tls => self.tls()?,
            Way::Udp => self.datagrams()?,
            Way::UdpBurst => self.bursts()?,
        };
        let all = self.tcp.len() + self.udp.map_or(0, |(_, addresses)| addresses.len());
        Ok((whole, all - whole))
    }

    fn send(&mut self) -> Result<usize> {
        let mut whole = 0;
        for socket in self.tcp {
            whole += usize::from(send_whole(socket, &self.plain, &mut self.wire_bytes)?);
        }
        Ok(whole)
    }

    /// A record as RFC 8446, 5.2: header, sealed content with its type, tag.
    fn tls(&mut self) -> Result<usize> {
        let mut whole = 0;
        for (socket, key) in self.tcp.iter().zip(self.keys) {
            self.sealed.clear();
            // A record holds at most 16 KB; a longer frame takes two.
            for plain in self.plain.chunks(16_384) {
                let length = (plain.len() + 1 + 16) as u16;
                let begin = self.sealed.len();
                self.sealed.extend_from_slice(&[23, 3, 3]);
                self.sealed.extend_from_slice(&length.to_be_bytes());
                self.sealed.extend_from_slice(plain);
                self.sealed.push(23);
                seal(key, self.sequence, &mut self.sealed, begin, 5)?;
            }
            whole += usize::from(send_whole(socket, &self.sealed, &mut self.wire_bytes)?);
        }
        Ok(whole)
    }

    fn datagrams(&mut self) -> Result<usize> {
        let (socket, addresses) = self.udp.expect("open for this way");
        let mut whole = 0;
        for (address, key) in addresses.iter().zip(self.keys) {
            self.sealed.clear();
            self.sealed.extend_from_slice(&self.plain);
            seal(key, self.sequence, &mut self.sealed, 0, 0)?;
            match rustix::net::sendto(socket, &self.sealed, SendFlags::DONTWAIT, address) {
                Ok(sent) => {
                    self.wire_bytes += sent as u64;
                    whole += 1;
                }
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error).context("sendto failed"),
            }
        }
        Ok(whole)
    }

    fn bursts(&mut self) -> Result<usize> {
        let (socket, addresses) = self.udp.expect("open for this way");
        let mut whole = 0;
        let size = self.plain.len() + 16;
        for (addresses, keys) in addresses.chunks(BURST).zip(self.keys.chunks(BURST)) {
            self.sealed.clear();
            for key in keys {
                let begin = self.sealed.len();
                self.sealed.extend_from_slice(&self.plain);
                seal(key, self.sequence, &mut self.sealed, begin, 0)?;
            }
            let sent = send_burst(socket, addresses, &self.sealed, size)?;
            self.wire_bytes += (sent * size) as u64;
            whole += sent;
        }
        Ok(whole)
    }
}

fn send_burst(socket: &UdpSocket, addresses: &[SocketAddrAny], sealed: &[u8], size: usize) -> Result<usize> {
    use rustix::net::{MMsgHdr, SendAncillaryBuffer, sendmmsg};
    let slices: Vec<[std::io::IoSlice<'_>; 1]> =
        sealed.chunks(size).map(|piece| [std::io::IoSlice::new(piece)]).collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        addresses.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<MMsgHdr<'_>> = addresses
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((address, slice), control)| MMsgHdr::new_with_addr(address, slice, control))
        .collect();
    match sendmmsg(socket, &mut messages, SendFlags::DONTWAIT) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error).context("sendmmsg failed"),
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

/// One write; `false` if the socket did not take all of it. What it took is counted.
fn send_whole(socket: &TcpStream, bytes: &[u8], wire_bytes: &mut u64) -> Result<bool> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(sent) => {
            *wire_bytes += sent as u64;
            Ok(sent == bytes.len())
        }
        Err(Errno::AGAIN) => Ok(false),
        Err(error) => Err(error).context("send failed"),
    }
}

fn key(way: Way, number: usize) -> Result<LessSafeKey> {
    let mut bytes = [0x0b; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let key = if way.is_udp() {
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
