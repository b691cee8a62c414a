//! Padding that an address which has proven nothing does not get: the packet key of one connection. It
//! encrypts a padded packet without its padding when the datagram would be too large.
//!
//! Why: quinn expands every datagram with a PATH_CHALLENGE or PATH_RESPONSE to 1,200 bytes. RFC 9000 (8.2.1,
//! 8.2.2) forbids that beyond three times what came from an address. Without its padding such a datagram has
//! some 50 bytes, so a client whose address changed is still challenged at its first packet of 34 bytes.
//! Why here: a packet has its length until it is encrypted, and nobody else sees its frames.
//! Invariants: each packet number encrypts one plaintext. Only PADDING frames are left out, and a packet
//! whose frames are not understood is left as it is.
//! Not here: how much an address may get (`paths`).

use std::cell::Cell;

use bytes::BytesMut;
use quinn_proto::crypto::{CryptoError, PacketKey};

use super::varint::take_varint;

thread_local! {
    /// Bytes that the next datagram of this thread should not exceed.
    static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Bytes of the datagram that was shortened last.
    static SHORTENED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Make a datagram that is shortened if it is padded beyond `limit`. Returns its size if it was shortened.
pub(super) fn without_beyond<T>(limit: usize, make: impl FnOnce() -> T) -> (T, Option<usize>) {
    LIMIT.set(limit);
    SHORTENED.set(None);
    let made = make();
    LIMIT.set(usize::MAX);
    (made, SHORTENED.take())
}

/// The key of a connection's packets after the handshake. Those have a short header, which does not contain
/// the packet's length.
pub(super) struct ShortPacketKey(pub(super) Box<dyn rustls::quic::PacketKey>);

impl PacketKey for ShortPacketKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let mut end = buf.len();
        if end > LIMIT.get() {
            let payload = &buf[header_len..end - self.0.tag_len()];
            if let Some(bytes) = bytes_without_padding(payload) {
                end = header_len + bytes + self.0.tag_len();
                SHORTENED.set(Some(end));
            }
        }
        let (header, payload_tag) = buf[..end].split_at_mut(header_len);
        let (payload, tag_storage) = payload_tag.split_at_mut(end - header_len - self.0.tag_len());
        let tag = self.0.encrypt_in_place(packet, header, payload).expect("a packet's size is within AEAD's");
        tag_storage.copy_from_slice(tag.as_ref());
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        self.0.decrypt(packet, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit()
    }
}

/// Bytes of a packet's frames before its padding; `None` if it has no padding, or a frame that a node does
/// not send.
///
/// At least four bytes remain: header protection samples what follows them (RFC 9001, 5.4.2).
fn bytes_without_padding(payload: &[u8]) -> Option<usize> {
    let mut rest = payload;
    while rest.first().is_some_and(|&first| first != 0) {
        skip_frame(&mut rest)?;
    }
    let is_padding = !rest.is_empty() && rest.iter().all(|&byte| byte == 0);
    is_padding.then(|| (payload.len() - rest.len()).max(4).min(payload.len()))
}

/// Skip one frame (RFC 9000, 19; draft-ietf-quic-ack-frequency-07, 4 and 5).
fn skip_frame(rest: &mut &[u8]) -> Option<()> {
    match take_varint(rest)? {
        // PING, HANDSHAKE_DONE, IMMEDIATE_ACK.
        0x01 | 0x1e | 0x1f => {}
        kind @ (0x02 | 0x03) => {
            numbers(rest, 2)?;
            let ranges = take_varint(rest)?;
            numbers(rest, ranges.checked_mul(2)?.checked_add(1)?)?;
            numbers(rest, if kind == 0x03 { 3 } else { 0 })?;
        }
        // RESET_STREAM; STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED.
        0x04 => numbers(rest, 3)?,
        0x05 | 0x11 | 0x15 => numbers(rest, 2)?,
        // CRYPTO, NEW_TOKEN.
        0x06 => {
            numbers(rest, 1)?;
            sized(rest)?;
        }
        0x07 => sized(rest)?,
        // STREAM with its length; without it, the frame is all of the rest.
        kind @ (0x0a | 0x0b | 0x0e | 0x0f) => {
            numbers(rest, 1 + u64::from(kind & 0x04 != 0))?;
            sized(rest)?;
        }
        // MAX_DATA, MAX_STREAMS, DATA_BLOCKED, STREAMS_BLOCKED, RETIRE_CONNECTION_ID.
        0x10 | 0x12 | 0x13 | 0x14 | 0x16 | 0x17 | 0x19 => numbers(rest, 1)?,
        // NEW_CONNECTION_ID.
        0x18 => {
            numbers(rest, 2)?;
            let (&length, after) = rest.split_first()?;
            *rest = after;
            bytes(rest, usize::from(length) + 16)?;
        }
        // PATH_CHALLENGE, PATH_RESPONSE.
        0x1a | 0x1b => bytes(rest, 8)?,
        // ACK_FREQUENCY.
        0xaf => numbers(rest, 4)?,
        _ => return None,
    }
    Some(())
}

fn numbers(rest: &mut &[u8], count: u64) -> Option<()> {
    for _ in 0..count {
        take_varint(rest)?;
    }
    Some(())
}

fn bytes(rest: &mut &[u8], count: usize) -> Option<()> {
    *rest = rest.get(count..)?;
    Some(())
}

fn sized(rest: &mut &[u8]) -> Option<()> {
    let length = take_varint(rest)?;
    bytes(rest, usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames of every kind that a node sends, with bytes of which many are 0, as padding is.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0u8), any::<u8>()];
        let small = prop_oneof![Just(0u8), 0u8..64];
        prop_oneof![
            prop_oneof![Just(0x01u8), Just(0x1e), Just(0x1f)].prop_map(|kind| vec![kind]),
            (0u8..5, small.clone()).prop_map(|(ranges, n)| {
                [vec![0x02, n, n, ranges], vec![n; 1 + 2 * usize::from(ranges)]].concat()
            }),
            (0u8..5, small.clone()).prop_map(|(ranges, n)| {
                [vec![0x03, n, n, ranges], vec![n; 4 + 2 * usize::from(ranges)]].concat()
            }),
            small.clone().prop_map(|n| vec![0x04, n, n, n]),
            small.clone().prop_map(|n| vec![0x11, n, n]),
            small.clone().prop_map(|n| vec![0x19, n]),
            small.clone().prop_map(|n| vec![0x40, 0xaf, n, n, n, n]),
            prop::collection::vec(byte.clone(), 0..40).prop_map(|data| [
                &[0x06, 0, data.len() as u8],
                &data[..]
            ]
            .concat()),
            prop::collection::vec(byte.clone(), 0..40).prop_map(|data| [
                &[0x0e, 0, 9, data.len() as u8],
                &data[..]
            ]
            .concat()),
            prop::collection::vec(byte.clone(), 24).prop_map(|data| [&[0x18, 0, 0, 8], &data[..]].concat()),
            prop::collection::vec(byte, 8).prop_map(|data| [&[0x1a], &data[..]].concat()),
        ]
    }

    proptest! {
        #[test]
        fn only_padding_is_left_out(frames in prop::collection::vec(frame(), 1..8), padding in 0usize..200) {
            let frames = frames.concat();
            let mut packet = frames.clone();
            packet.resize(frames.len() + padding, 0);
            let expected = (padding > 0).then(|| frames.len().max(4).min(packet.len()));
            prop_assert_eq!(bytes_without_padding(&packet), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(bytes) = bytes_without_padding(&packet) {
                prop_assert!(packet[bytes..].iter().all(|&byte| byte == 0));
            }
        }
    }
}
