//! The QUIC transport: one endpoint for many connections, with one bidirectional stream each.
//!
//! Why the caller may give an endpoint: it is one UDP socket, which a load generator's thousands of
//! connections share, with large socket buffers.
//! Not here: frames on the stream (`link`), certificates (`trust`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, TokenMemoryCache, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::setup_error::SetupError;

/// Size of the socket's kernel buffer in each direction: a round of batches to 2,500 connections is 2 MB. A
/// lower limit of the kernel takes precedence.
const SOCKET_BYTES: usize = 8 * 1024 * 1024;

/// Unread bytes of the stream that a node may send: a few seconds of a busy room. A larger frame comes in
/// several windows.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// Most sent bytes without acknowledgement: a client sends little.
const SEND_WINDOW_BYTES: u64 = 64 * 1024;

/// Number of servers whose tokens are kept: the nodes of one cluster or a few.
const SERVERS_MAX: u32 = 64;

/// A UDP socket for any number of QUIC connections. Clones share it.
#[derive(Clone, Debug)]
pub struct QuicEndpoint(pub(super) Endpoint);

impl QuicEndpoint {
    /// Bind to an address; port 0 takes any. Needs a tokio runtime around it, which from then on drives the
    /// socket.
    ///
    /// # Errors
    /// [`SetupError::Socket`] when the address cannot be bound.
    pub fn bind(local: SocketAddr) -> Result<QuicEndpoint, SetupError> {
        let socket = socket(local).map_err(|e| SetupError::Socket(local, e))?;
        let mut config = EndpointConfig::default();
        config.supported_versions(vec![1]);
        let endpoint = Endpoint::new(config, None, socket, Arc::new(TokioRuntime));
        endpoint.map(QuicEndpoint).map_err(|e| SetupError::Socket(local, e))
    }

    /// Bind to any port of the unspecified address of the same family as `remote`.
    pub(super) fn bind_for(remote: IpAddr, local: Option<IpAddr>) -> Result<QuicEndpoint, SetupError> {
        let any = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        QuicEndpoint::bind(SocketAddr::new(local.unwrap_or(any), 0))
    }

    /// Wait until every connection has ended: its peer knows of the end, or the time to report it is over.
    pub async fn wait_idle(&self) {
        self.0.wait_idle().await;
    }
}

fn socket(local: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    // Best effort: the kernel caps the sizes at its own limit.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// The configuration of connections: few streams, small windows, no timers of its own. It keeps address
/// tokens for this number of sessions per server, with which a reconnecting session proves its address.
pub(super) fn client_config(
    tls: &Arc<rustls::ClientConfig>,
    tokens_max: usize,
) -> Result<ClientConfig, SetupError> {
    let crypto = QuicClientConfig::try_from(tls.clone()).map_err(|e| SetupError::Tls(e.to_string()))?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        // Segmentation offload leaves 12 KB per connection after a burst, and a client has no bursts.
        .enable_segmentation_offload(false)
        // A client's packets are small, so path MTU discovery gains nothing.
        .mtu_discovery_config(None)
        // The session pings and notices silence by itself; the node's idle limit applies in any case.
        .max_idle_timeout(None)
        .keep_alive_interval(None)
        .initial_rtt(Duration::from_millis(100));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config.token_store(Arc::new(TokenMemoryCache::new(SERVERS_MAX, tokens_max)));
    Ok(config)
}
