//! QUIC's parameters, and why each has its value.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::{EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use crate::config;

/// What every connection of this node starts with.
pub(crate) fn server_config(
    tls: Arc<rustls::ServerConfig>,
    quic: &config::Quic,
) -> Result<ServerConfig, NoInitialCipherSuite> {
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    server.transport_config(Arc::new(transport(quic)));
    server.migration(true);
    Ok(server)
}

fn transport(quic: &config::Quic) -> TransportConfig {
    let receive = VarInt::from_u64(quic.receive_window_bytes).unwrap_or(VarInt::MAX);
    let idle = IdleTimeout::try_from(Duration::from_millis(quic.idle_timeout_ms)).ok();
    let mut transport = TransportConfig::default();
    transport
        // The session's frames, and nothing else.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(receive)
        .stream_receive_window(receive)
        .send_window(quic.send_window_bytes)
        .max_idle_timeout(idle)
        .keep_alive_interval((quic.keep_alive_ms > 0).then(|| Duration::from_millis(quic.keep_alive_ms)))
        // One datagram per send: see the module's head.
        .enable_segmentation_offload(false);
    transport
}

/// What the worker's endpoint starts with.
pub(crate) fn endpoint_config(worker: u8) -> EndpointConfig {
    let mut endpoint = EndpointConfig::default();
    endpoint
        .cid_generator(move || Box::new(super::identity::WorkerIds { worker }))
        // Version 1 (RFC 9000) only: drafts and greased versions are answered by version negotiation.
        .supported_versions(vec![1]);
    endpoint
}
