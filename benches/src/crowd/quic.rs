//! A viewer's QUIC connection: quinn's state machine on a UDP socket of its own, driven by the crowd's one
//! loop.
//!
//! Why a socket each: real viewers have an address each, and what that costs a server counts. Why no task: a
//! task, a lock and a wake-up for each connection cost more than the protocol.
//! Invariant: a connection is driven in the same turn in which it got a datagram or its timer rang.
//! Not here: when that is (`process`), what the stream's bytes mean (`viewer`).

use super::link::{Around, Arrived};
use super::talk::Seat;
use super::viewer::{Framing, Viewer};
use super::{CrowdPlan, tls};
use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event,
    ReadError, StreamEvent, StreamId, TransportConfig, VarInt, WriteError,
};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A datagram of this size is likely to have another one behind it.
const FULL_BYTES: usize = 1_150;

/// Datagrams of one viewer taken in one turn.
const DATAGRAMS_MAX: usize = 64;

/// Unread bytes that a server may send: some ticks of the busiest room. As `grandstand-client` has it.
const WINDOW_BYTES: u32 = 128 * 1024;

/// What all QUIC links share.
#[derive(Clone)]
pub(super) struct QuicConfig {
    endpoint: Arc<EndpointConfig>,
    client: ClientConfig,
}

impl QuicConfig {
    pub(super) fn new(sessions: usize) -> Result<QuicConfig> {
        let tls = tls::config(&[b"grandstand/1"], sessions)?;
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        client.transport_config(Arc::new(transport()));
        let mut endpoint = EndpointConfig::default();
        endpoint.supported_versions(vec![1]);
        Ok(QuicConfig { endpoint: Arc::new(endpoint), client })
    }
}

/// Few streams, no probing, no timers beyond QUIC's own: as `grandstand-client` sets it.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(false)
        .mtu_discovery_config(None)
        .max_idle_timeout(None)
        .keep_alive_interval(None)
        .initial_rtt(Duration::from_millis(100));
    transport
}

/// See the file's head.
pub(super) struct QuicLink {
    socket: OwnedFd,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    quinn: Connection,
    stream: Option<StreamId>,
    pub(super) viewer: Viewer,
    /// What the stream had no room for.
    unsent: Vec<u8>,
    /// When its entry in the timers rings.
    pub(super) armed: Option<Instant>,
}

impl QuicLink {
    /// Begins to connect.
    pub(super) fn connect(
        plan: &CrowdPlan,
        config: &QuicConfig,
        seat: Seat,
        index: usize,
        around: &mut Around<'_>,
    ) -> Result<QuicLink> {
        let family = if plan.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        rustix::net::connect(&socket, &plan.address)?;
        let data = EventData::new_u64(index as u64);
        epoll::add(&around.shared.epoll, &socket, data, EventFlags::IN)?;
        let mut endpoint = Endpoint::new(config.endpoint.clone(), None, true, None);
        let name = format!("viewer-{}.localhost", seat.number);
        let (handle, quinn) = endpoint.connect(around.now, config.client.clone(), plan.address, &name)?;
        let viewer = Viewer::new(seat, Framing::Stream, around.stage.now_ns);
        let mut link = QuicLink {
            socket,
            endpoint,
            handle,
            quinn,
            stream: None,
            viewer,
            unsent: Vec::new(),
            armed: None,
        };
        link.drive(around)?;
        Ok(link)
    }

    /// Datagrams have come.
    pub(super) fn ready(&mut self, address: SocketAddr, around: &mut Around<'_>) -> Result<Arrived> {
        for _ in 0..DATAGRAMS_MAX {
            let read =
                match rustix::net::recv(&self.socket, &mut around.shared.scratch[..], RecvFlags::empty()) {
                    Ok((read, _)) => read,
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(error).context("reading failed"),
                };
            around.stage.tally.wire_bytes += read as u64;
            let datagram = BytesMut::from(&around.shared.scratch[..read]);
            self.datagram(address, datagram, around)?;
            if read < FULL_BYTES {
                break;
            }
        }
        self.drive(around)?;
        Ok(Arrived::default())
    }

    fn datagram(&mut self, address: SocketAddr, datagram: BytesMut, around: &mut Around<'_>) -> Result<()> {
        let buffer = &mut around.shared.out;
        buffer.clear();
        match self.endpoint.handle(around.now, address, None, None, datagram, buffer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => self.quinn.handle_event(event),
            Some(DatagramEvent::Response(transmit)) => send(&self.socket, &buffer[..transmit.size])?,
            Some(DatagramEvent::NewConnection(_)) | None => {}
        }
        buffer.clear();
        Ok(())
    }

    /// The timer rang: does the connection's own?
    pub(super) fn ring(&mut self, around: &mut Around<'_>) -> Result<()> {
        if self.quinn.poll_timeout().is_some_and(|at| at <= around.now) {
            self.quinn.handle_timeout(around.now);
            self.drive(around)?;
        }
        Ok(())
    }

    /// When the connection wants to be looked at.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.quinn.poll_timeout()
    }

    pub(super) fn keep_alive(&mut self, around: &mut Around<'_>) -> Result<()> {
        let mut said = Vec::new();
        self.viewer.keep_alive(around.talk, around.stage, &mut said)?;
        self.say(&said)?;
        self.drive(around)
    }

    /// Does everything that the connection has to do now.
    fn drive(&mut self, around: &mut Around<'_>) -> Result<()> {
        loop {
            while let Some(event) = self.quinn.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                    self.quinn.handle_event(event);
                }
            }
            match self.quinn.poll() {
                Some(event) => self.event(event, around)?,
                None => break,
            }
        }
        loop {
            let buffer = &mut around.shared.out;
            buffer.clear();
            let Some(transmit) = self.quinn.poll_transmit(around.now, 1, buffer) else { break };
            send(&self.socket, &buffer[..transmit.size])?;
        }
        around.shared.out.clear();
        Ok(())
    }

    fn event(&mut self, event: Event, around: &mut Around<'_>) -> Result<()> {
        match event {
            Event::Connected => {
                self.stream =
                    Some(self.quinn.streams().open(Dir::Bi).context("the server allows no stream")?);
                let mut said = Vec::new();
                self.viewer.open(around.talk, "", around.stage, &mut said)?;
                self.say(&said)
            }
            Event::Stream(StreamEvent::Readable { id }) => self.read(id, around),
            Event::Stream(StreamEvent::Writable { .. }) => {
                let unsent = std::mem::take(&mut self.unsent);
                self.say(&unsent)
            }
            Event::Stream(StreamEvent::Stopped { .. }) => bail!("the server stopped reading"),
            Event::ConnectionLost { reason } => bail!("the server closed: {reason}"),
            _ => Ok(()),
        }
    }

    fn read(&mut self, id: StreamId, around: &mut Around<'_>) -> Result<()> {
        let mut said = Vec::new();
        let mut stream = self.quinn.recv_stream(id);
        let mut chunks = stream.read(true).map_err(|_| anyhow::anyhow!("the stream cannot be read"))?;
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => self.viewer.hear(&chunk.bytes, around.talk, around.stage, &mut said)?,
                Ok(None) | Err(ReadError::Reset(_)) => bail!("the server ended the stream"),
                Err(ReadError::Blocked) => break,
            }
        }
        // What it allows the server to send goes out with the turn's packets.
        let _ = chunks.finalize();
        self.say(&said)
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let id = self.stream.context("there is no stream yet")?;
        let mut rest = Bytes::copy_from_slice(bytes);
        while self.unsent.is_empty() && !rest.is_empty() {
            match self.quinn.send_stream(id).write(&rest) {
                Ok(taken) => drop(rest.split_to(taken)),
                Err(WriteError::Blocked) => break,
                Err(error) => return Err(error).context("writing failed"),
            }
        }
        self.unsent.extend_from_slice(&rest);
        Ok(())
    }
}

/// Sends one datagram. One for which there is no room is lost, as datagrams may be; QUIC repairs it.
fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<()> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNREFUSED) => Ok(()),
        Err(error) => Err(error).context("sending failed"),
    }
}
