//! QUIC's parameters, and why each has its value.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hkdf, hmac};
use grandstand_edge_core::key::Key;
use grandstand_engine::runtime::wall;
use quinn_proto::crypto::rustls::NoInitialCipherSuite;
use quinn_proto::{
    AckFrequencyConfig, Dir, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TimeSource,
    TransportConfig, ValidationTokenConfig, VarInt,
};

use super::protocol::{Protocol, alpn_protocols};
use super::tls::{AckDelay, Crypto};
use super::tokens::ShownTokens;
use crate::config;

/// Packets that may go unacknowledged before an acknowledgement is due at once: every fourth is acknowledged.
/// quinn's first window is ten packets of full size. Reduced twice by loss (to 0.7), it still allows four
/// packets, so the node and a client never wait for each other.
const UNACKNOWLEDGED_PACKETS: u32 = 3;

/// An acknowledgement is sent at once when a packet is missing before it (RFC 9000, 13.2.1). So loss is found
/// as fast as without the extension.
const REORDERING_THRESHOLD: u32 = 1;

/// Path MTU discovery ends when the answer is this close: two probes find 1,389 of Ethernet's 1,452 bytes,
/// four find 1,437.
const MTU_NEAR_ENOUGH: u16 = 64;

/// Pause between two stateless resets of a worker. After a kill every viewer needs one, and they ask within
/// seconds. quinn's default, 20 ms, would keep 10,000 viewers waiting for minutes. A reset is smaller than
/// the datagram that it answers, and costs one hash.
const RESET_EVERY: Duration = Duration::from_micros(100);

/// Bytes of a connection that waits for its handshake to begin: a ClientHello in several datagrams, and its
/// repetitions. The rest is dropped, and sent again.
const WAITING_BYTES_MAX: u64 = 16 * 1_024;

/// Bytes of all connections that wait at a worker.
const ALL_WAITING_BYTES_MAX: u64 = 16 << 20;

/// How long a token of an earlier visit is accepted: a show and its next day. If the ticket keys outlive the
/// process, so does the tokens' key, and a restart does not end them.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// The settings of every connection of this node. Everything of `tls` is used except its protocols.
pub(crate) fn server_config(
    tls: &rustls::ServerConfig,
    token_key: hkdf::Prk,
    quic: &config::Quic,
) -> Result<ServerConfig, NoInitialCipherSuite> {
    let table = table_key(&token_key);
    let delay = (quic.ack_delay_ms > 0).then_some(AckDelay { ms: quic.ack_delay_ms });
    // The next process opens what this one sealed: a client that this process asked to prove its address may
    // prove it there.
    let mut tls = tls.clone();
    tls.alpn_protocols = alpn_protocols();
    let mut server = ServerConfig::new(Arc::new(Crypto::new(Arc::new(tls), delay)?), Arc::new(token_key));
    server.transport_config(Arc::new(transport(quic)));
    server.migration(true).time_source(Arc::new(Believed));
    server.incoming_buffer_size(WAITING_BYTES_MAX).incoming_buffer_size_total(ALL_WAITING_BYTES_MAX);
    let mut tokens = ValidationTokenConfig::default();
    tokens.lifetime(TOKEN_LIFETIME).log(Arc::new(ShownTokens::new(table))).sent(1);
    server.validation_token_config(tokens);
    Ok(server)
}

/// A key that nobody knows, for a table of strangers' input.
/// The time of address tokens: the wall clock as it is believed.
struct Believed;

impl TimeSource for Believed {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(wall::unix_us())
    }
}

fn table_key(token_key: &hkdf::Prk) -> Key {
    let mut bytes = [0; 32];
    let expanded = token_key.expand(&[b"grandstand quic tables"], hkdf::HKDF_SHA256);
    let filled = expanded.and_then(|expanded| expanded.fill(&mut bytes));
    filled.expect("the length is the hash's");
    Key::new(*bytes.first_chunk().expect("longer than a key"))
}

fn transport(quic: &config::Quic) -> TransportConfig {
    let receive = VarInt::from_u64(quic.receive_window_bytes).unwrap_or(VarInt::MAX);
    let idle = IdleTimeout::try_from(Duration::from_millis(quic.idle_timeout_ms)).ok();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.minimum_change(MTU_NEAR_ENOUGH);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(streams_max(Dir::Bi))
        .max_concurrent_uni_streams(streams_max(Dir::Uni))
        .datagram_receive_buffer_size(None)
        .receive_window(receive)
        .stream_receive_window(receive)
        .send_window(quic.send_window_bytes)
        .max_idle_timeout(idle)
        .keep_alive_interval((quic.keep_alive_ms > 0).then(|| Duration::from_millis(quic.keep_alive_ms)))
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config((quic.ack_delay_ms > 0).then(|| ack_frequency(quic.ack_delay_ms)))
        // One datagram per send: see the head of `quic`.
        .enable_segmentation_offload(false);
    transport
}

/// The limits of a connection are set before its protocol is known, so it may open as many streams as any
/// protocol allows.
fn streams_max(dir: Dir) -> VarInt {
    let max = Protocol::ALL.iter().map(|protocol| protocol.streams_max(dir)).min();
    VarInt::from_u32(max.expect("there is a protocol"))
}

/// The request to a client that knows the extension. Other clients acknowledge as they like.
fn ack_frequency(delay_ms: u32) -> AckFrequencyConfig {
    let mut frequency = AckFrequencyConfig::default();
    frequency
        .ack_eliciting_threshold(VarInt::from_u32(UNACKNOWLEDGED_PACKETS))
        .reordering_threshold(VarInt::from_u32(REORDERING_THRESHOLD))
        .max_ack_delay(Some(Duration::from_millis(u64::from(delay_ms))));
    frequency
}

/// The settings of the worker's endpoint. `reset_key` seals the tokens of stateless resets (RFC 9000, 10.3).
/// If it outlives the process, the next process tells a client at once that its connection died.
pub(crate) fn endpoint_config(worker: u8, generation: u16, reset_key: hmac::Key) -> EndpointConfig {
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    endpoint
        .cid_generator(move || Box::new(super::connection_id::WorkerIds { worker, generation }))
        .min_reset_interval(RESET_EVERY)
        // Version 1 (RFC 9000) only: drafts and greased versions are answered by version negotiation.
        .supported_versions(vec![1]);
    endpoint
}
