//! QUIC: one endpoint for many connections, one bidirectional stream each.
//!
//! Why an endpoint of one's own: it is one UDP socket, so a load generator's thousands of connections share
//! it, with socket buffers to match.
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

use super::SetupError;

/// Bytes that the kernel may hold for the socket in each direction: a round of batches to 2,500 connections
/// is 2 MB. The kernel's own limit may be lower; then it is that.
const SOCKET_BYTES: usize = 8 * 1024 * 1024;

/// Unread bytes of the stream that a node may send: a few seconds of a busy room. A larger frame comes in
/// several windows.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// Bytes sent and not acknowledged: a client says little.
const SEND_WINDOW_BYTES: u64 = 64 * 1024;

/// Servers whose tokens are kept: the nodes of one cluster, or a few.
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

    /// Wait until the other side of every connection knows that it ended, or gave up knowing.
    pub async fn wait_idle(&self) {
        self.0.wait_idle().await;
    }
}

fn socket(local: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    // Best effort: the kernel takes what it allows.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// The configuration of connections: few streams, small windows, no timers of its own. For so many sessions
/// with a server tokens are kept that prove their address to it when they come back.
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
        // Segmentation offload leaves 12 KB with a connection after a burst, and a client has no bursts.
        .enable_segmentation_offload(false)
        // A client's packets are small: nothing to gain by finding out how large they may be.
        .mtu_discovery_config(None)
        // The session pings and notices silence by itself; the node's limit stands in any case.
        .max_idle_timeout(None)
        .keep_alive_interval(None)
        .initial_rtt(Duration::from_millis(100));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config.token_store(Arc::new(TokenMemoryCache::new(SERVERS_MAX, tokens_max)));
    Ok(config)
}
