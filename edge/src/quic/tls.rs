//! TLS of one QUIC connection, behind quinn's interface for it.
//!
//! Why not quinn's own: that keeps the whole TLS state for the life of the connection. After the handshake
//! and its tickets TLS sends nothing more, and key updates need two secrets only. This version also changes
//! the acknowledgement parameters that quinn reads from the client: see [`AckDelay`].
//! Invariant: after the last byte of the handshake only [`Secrets`] and the protocol are kept.
//! Not here: certificates (the node has them), the parameters of connections (`settings`).

use std::any::Any;
use std::io::Cursor;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::HandshakeKind;
use rustls::quic::{KeyChange, Secrets, ServerConnection, Version};

use super::padding::ShortPacketKey;
use super::protocol::Protocol;
use super::varint::{put_varint, take_varint};

/// The acknowledgement delay that the node requests from clients with the acknowledgement-frequency
/// extension.
///
/// quinn bounds its request above by the round trip (at least 25 ms), and below by the shortest delay that
/// the client supports. A viewer gets a frame every 100 ms or more. So under the first bound the client would
/// acknowledge each frame in a datagram of its own, which costs the node as much as the frame. So the second
/// bound is raised to the delay. The client's longest delay is raised with it, so that loss probes wait as
/// long.
#[derive(Clone, Copy, Debug)]
pub(super) struct AckDelay {
    pub(super) ms: u32,
}

/// Makes the sessions of one node.
pub(super) struct Crypto {
    /// Keys of the first packets and of Retry, which do not depend on a session.
    stateless: Arc<QuicServerConfig>,
    tls: Arc<rustls::ServerConfig>,
    ack_delay: Option<AckDelay>,
}

impl Crypto {
    pub(super) fn new(
        tls: Arc<rustls::ServerConfig>,
        ack_delay: Option<AckDelay>,
    ) -> Result<Self, NoInitialCipherSuite> {
        let stateless = Arc::new(QuicServerConfig::try_from(tls.clone())?);
        Ok(Crypto { stateless, tls, ack_delay })
    }
}

impl ServerConfig for Crypto {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.stateless.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.stateless.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        assert_eq!(version, 1, "the endpoint speaks version 1 only");
        let mut encoded = Vec::new();
        params.write(&mut encoded);
        let tls = ServerConnection::new(self.tls.clone(), Version::V1, encoded)
            .expect("a TLS 1.3 configuration with a QUIC suite makes sessions");
        Box::new(TlsSession { crypto: self, state: TlsState::Handshake(Box::new(tls)), secrets: None })
    }
}

struct TlsSession {
    crypto: Arc<Crypto>,
    state: TlsState,
    /// The secrets of the keys after the next update.
    secrets: Option<Box<Secrets>>,
}

enum TlsState {
    Handshake(Box<ServerConnection>),
    Done { agreed: Option<Agreed> },
}

/// What the handshake came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    pub(super) protocol: Protocol,
    /// It resumed an earlier session.
    pub(super) is_resumed: bool,
}

/// What TLS negotiated, if the handshake has reached it.
fn agreed(tls: &ServerConnection) -> Option<Agreed> {
    let protocol = tls.alpn_protocol().and_then(Protocol::of_alpn)?;
    Some(Agreed { protocol, is_resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed) })
}

impl Session for TlsSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, _: Side) -> Keys {
        let keys = self.crypto.stateless.initial_keys(1, dst_cid);
        keys.unwrap_or_else(|UnsupportedVersion| unreachable!("version 1 is spoken"))
    }

    /// Returns an [`Agreed`].
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let agreed = match &self.state {
            TlsState::Handshake(tls) => agreed(tls),
            TlsState::Done { agreed } => *agreed,
        };
        agreed.map(|agreed| Box::new(agreed) as Box<dyn Any>)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        match &self.state {
            TlsState::Handshake(tls) => tls.is_handshaking(),
            TlsState::Done { .. } => false,
        }
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let TlsState::Handshake(tls) = &mut self.state else {
            let reason = "TLS says nothing after the handshake".to_owned();
            return Err(TransportError { code: TransportErrorCode::PROTOCOL_VIOLATION, frame: None, reason });
        };
        tls.read_hs(bytes).map_err(|error| TransportError {
            code: tls.alert().map_or(TransportErrorCode::PROTOCOL_VIOLATION, |alert| {
                TransportErrorCode::crypto(alert.into())
            }),
            frame: None,
            reason: error.to_string(),
        })?;
        // The handshake data is only read when the connection is established, so nothing is reported here.
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let TlsState::Handshake(tls) = &self.state else { return Ok(None) };
        let Some(bytes) = tls.quic_transport_parameters() else { return Ok(None) };
        let params = TransportParameters::read(Side::Server, &mut Cursor::new(bytes))?;
        let Some(delay) = self.crypto.ack_delay else { return Ok(Some(params)) };
        match with_ack_delay(bytes, delay) {
            Some(bytes) => Ok(Some(TransportParameters::read(Side::Server, &mut Cursor::new(bytes))?)),
            None => Ok(Some(params)),
        }
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        let TlsState::Handshake(tls) = &mut self.state else { return None };
        let before = out.len();
        let (keys, is_short) = match tls.write_hs(out) {
            Some(KeyChange::Handshake { keys }) => (keys, false),
            Some(KeyChange::OneRtt { keys, next }) => {
                self.secrets = Some(Box::new(next));
                (keys, true)
            }
            None => {
                if out.len() == before && self.secrets.is_some() && !tls.is_handshaking() {
                    self.state = TlsState::Done { agreed: agreed(tls) };
                }
                return None;
            }
        };
        let (local, remote) = (keys.local, keys.remote);
        let packet_key: Box<dyn PacketKey> =
            if is_short { Box::new(ShortPacketKey(local.packet)) } else { Box::new(local.packet) };
        Some(Keys {
            header: KeyPair { local: Box::new(local.header), remote: Box::new(remote.header) },
            packet: KeyPair { local: packet_key, remote: Box::new(remote.packet) },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.secrets.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(ShortPacketKey(keys.local)), remote: Box::new(keys.remote) })
    }

    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        unreachable!("only clients get Retry")
    }

    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

/// Transport parameter `max_ack_delay`, milliseconds (RFC 9000, 18.2).
const MAX_ACK_DELAY: u64 = 0x0b;

/// Transport parameter `min_ack_delay`, microseconds (draft-ietf-quic-ack-frequency-07).
const MIN_ACK_DELAY: u64 = 0xff04_de1b;

/// A client's parameters with both bounds of its acknowledgement delay raised to `delay`. `None` when the
/// client does not know the extension, or is slower than that by itself.
fn with_ack_delay(params: &[u8], delay: AckDelay) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(params.len() + 16);
    let (mut knows, mut max_ms) = (false, 25);
    let mut rest = params;
    while !rest.is_empty() {
        let begin = rest;
        let (id, len) = (take_varint(&mut rest)?, take_varint(&mut rest)?);
        let (mut value, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        rest = after;
        match id {
            MIN_ACK_DELAY => knows = true,
            MAX_ACK_DELAY => max_ms = take_varint(&mut value)?,
            _ => out.extend_from_slice(&begin[..begin.len() - rest.len()]),
        }
    }
    if !knows || max_ms >= u64::from(delay.ms) {
        return None;
    }
    put_parameter(&mut out, MAX_ACK_DELAY, delay.ms);
    put_parameter(&mut out, MIN_ACK_DELAY, delay.ms * 1_000);
    Some(out)
}

fn put_parameter(out: &mut Vec<u8>, id: u64, value: u32) {
    let mut number = Vec::new();
    put_varint(&mut number, u64::from(value));
    put_varint(out, id);
    put_varint(out, number.len() as u64);
    out.append(&mut number);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(list: &[(u64, u32)]) -> Vec<u8> {
        let mut out = Vec::new();
        list.iter().for_each(|&(id, value)| put_parameter(&mut out, id, value));
        out
    }

    #[test]
    fn both_bounds_of_the_delay_are_raised_and_the_rest_stays() {
        let from = params(&[(0x01, 30_000), (MIN_ACK_DELAY, 1_000), (0x04, 70_000), (MAX_ACK_DELAY, 25)]);
        let to = with_ack_delay(&from, AckDelay { ms: 300 }).unwrap();
        let expected =
            params(&[(0x01, 30_000), (0x04, 70_000), (MAX_ACK_DELAY, 300), (MIN_ACK_DELAY, 300_000)]);
        assert_eq!(to, expected);
        // quinn accepts them.
        TransportParameters::read(Side::Server, &mut Cursor::new(to)).unwrap();
    }

    #[test]
    fn a_client_that_does_not_know_the_extension_or_is_slow_is_left_alone() {
        let delay = AckDelay { ms: 300 };
        assert_eq!(with_ack_delay(&params(&[(MAX_ACK_DELAY, 25)]), delay), None);
        assert_eq!(with_ack_delay(&params(&[(MAX_ACK_DELAY, 400), (MIN_ACK_DELAY, 1_000)]), delay), None);
        assert_eq!(with_ack_delay(&[0xc0], delay), None);
        assert_eq!(with_ack_delay(&[0x01, 0x05, 0x00], delay), None);
    }
}
