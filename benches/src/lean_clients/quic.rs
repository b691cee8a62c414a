//! A client's QUIC connection: quinn's state machine on a UDP socket of its own, driven by the generator's
//! loop.
//!
//! Why a socket each: real viewers have an address each, and its cost to a server must be measured. Why no
//! task: a task, a lock and a wake-up for each connection cost more than the protocol.
//! Invariant: a connection is driven in the same turn in which it received a datagram or its timer fired.
//! Not here: the event loop (`super`), the meaning of the stream's bytes (`conversation`).

use super::conversation::Conversation;
use super::io::Io;
use super::link::{DATAGRAMS_MAX, open, receive};
use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event,
    ReadError, StreamEvent, StreamId, TransportConfig, VarInt, WriteError,
};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A datagram of this size is likely to have another one behind it.
const FULL_BYTES: usize = 1_150;

/// Unread bytes that a server may send: some ticks of the busiest room. As `grandstand-client` has it.
const WINDOW_BYTES: u32 = 128 * 1024;

/// Configuration that all QUIC links share.
#[derive(Clone)]
pub(super) struct QuicConfig {
    endpoint: Arc<EndpointConfig>,
    client: ClientConfig,
}

impl QuicConfig {
    pub(super) fn new(tls: rustls::ClientConfig) -> Result<QuicConfig> {
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
    /// Bytes that the stream had no room for.
    unsent: Vec<u8>,
}

impl QuicLink {
    /// Begins to connect.
    pub(super) fn connect(
        config: &QuicConfig,
        index: usize,
        conversation: &mut Conversation,
        io: &mut Io,
    ) -> Result<QuicLink> {
        let socket = open(io.address, SocketType::DGRAM)?;
        rustix::net::connect(&socket, &io.address)?;
        epoll::add(&io.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        let mut endpoint = Endpoint::new(config.endpoint.clone(), None, true, None);
        let name = format!("viewer-{index}.localhost");
        let (handle, quinn) = endpoint.connect(io.now, config.client.clone(), io.address, &name)?;
        let mut link = QuicLink { socket, endpoint, handle, quinn, stream: None, unsent: Vec::new() };
        link.drive(conversation, io)?;
        Ok(link)
    }

    /// Datagrams have come.
    pub(super) fn ready(&mut self, conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        for _ in 0..DATAGRAMS_MAX {
            let Some(read) = receive(&self.socket, &mut io.scratch)? else { break };
            io.context.seen.counts.wire_bytes += read as u64;
            let datagram = BytesMut::from(&io.scratch[..read]);
            match self.endpoint.handle(io.now, io.address, None, None, datagram, &mut io.out) {
                Some(DatagramEvent::ConnectionEvent(_, event)) => self.quinn.handle_event(event),
                Some(DatagramEvent::Response(transmit)) => send(&self.socket, &io.out[..transmit.size])?,
                Some(DatagramEvent::NewConnection(_)) | None => {}
            }
            io.out.clear();
            if read < FULL_BYTES {
                break;
            }
        }
        self.drive(conversation, io)
    }

    /// The timer rang: does the connection's own?
    pub(super) fn ring(&mut self, conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        if self.quinn.poll_timeout().is_some_and(|at| at <= io.now) {
            self.quinn.handle_timeout(io.now);
            self.drive(conversation, io)?;
        }
        Ok(())
    }

    /// When the connection wants to be looked at.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.quinn.poll_timeout()
    }

    /// Says goodbye, as far as one packet does.
    pub(super) fn close(&mut self, io: &mut Io) {
        self.quinn.close(io.now, VarInt::from_u32(0), Bytes::new());
        // A goodbye that is lost is replaced by the server's own timeout.
        let _ = self.transmit(io);
    }

    /// Does everything that the connection has to do now.
    fn drive(&mut self, conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        loop {
            while let Some(event) = self.quinn.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                    self.quinn.handle_event(event);
                }
            }
            match self.quinn.poll() {
                Some(event) => self.event(event, conversation, io)?,
                None => break,
            }
        }
        self.transmit(io)
    }

    fn transmit(&mut self, io: &mut Io) -> Result<()> {
        io.out.clear();
        while let Some(transmit) = self.quinn.poll_transmit(io.now, 1, &mut io.out) {
            send(&self.socket, &io.out[..transmit.size])?;
            io.out.clear();
        }
        Ok(())
    }

    fn event(&mut self, event: Event, conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        match event {
            Event::Connected => {
                let stream = self.quinn.streams().open(Dir::Bi).context("the server allows no stream")?;
                self.stream = Some(stream);
                conversation.open(io)?;
                self.say(io)
            }
            Event::Stream(StreamEvent::Readable { id }) => self.read(id, conversation, io),
            Event::Stream(StreamEvent::Writable { .. }) => {
                io.context.said = std::mem::take(&mut self.unsent);
                self.say(io)
            }
            Event::Stream(StreamEvent::Stopped { .. }) => bail!("the server stopped reading"),
            Event::ConnectionLost { reason } => bail!("the server closed: {reason}"),
            _ => Ok(()),
        }
    }

    fn read(&mut self, id: StreamId, conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        let mut stream = self.quinn.recv_stream(id);
        let mut chunks = stream.read(true).map_err(|_| anyhow::anyhow!("the stream cannot be read"))?;
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => conversation.hear(&chunk.bytes, io)?,
                Ok(None) | Err(ReadError::Reset(_)) => bail!("the server ended the stream"),
                Err(ReadError::Blocked) => break,
            }
        }
        // The new window for the server goes out with this turn's packets.
        let _ = chunks.finalize();
        self.say(io)
    }

    /// Sends what this client says.
    pub(super) fn flush(&mut self, conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        self.say(io)?;
        self.drive(conversation, io)
    }

    fn say(&mut self, io: &mut Io) -> Result<()> {
        if io.context.said.is_empty() {
            return Ok(());
        }
        let id = self.stream.context("there is no stream yet")?;
        let mut rest = Bytes::copy_from_slice(&io.context.said);
        io.context.said.clear();
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
