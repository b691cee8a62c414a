//! TLS of one TCP connection, on rustls' unbuffered interface: no buffer exists while nothing is incomplete.
//!
//! Why unbuffered: an idle connection costs 3 KB instead of 7.
//! Invariants: `unsent` holds ciphertext that the socket had no room for, at most one run of
//! [`PLAIN_BYTES_PER_SEND`] or one frame. Nothing is encrypted while it is not empty. `incoming` holds at
//! most one incomplete record.
//! Not here: certificates and tickets (the node gives the configuration), TLS of QUIC (`quic::tls`).

use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

use super::tcp;

/// Plain bytes that are encrypted at once: one full TLS record.
const PLAIN_BYTES_PER_SEND: usize = 16 * 1024;

/// Bytes by which ciphertext may exceed a record's plaintext: header, content type, tag (RFC 8446, 5.2),
/// rounded up.
const RECORD_OVERHEAD: usize = 64;

/// The peer broke TLS, or our side of it failed; the alert is in `unsent`.
#[derive(Debug)]
pub(crate) struct TlsFault;

/// TLS of one TCP connection.
pub(crate) struct Tls {
    rustls: UnbufferedServerConnection,
    incoming: Vec<u8>,
    unsent: Vec<u8>,
    pub(crate) is_closed: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("unsent", &self.unsent.len()).finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn new(config: Arc<rustls::ServerConfig>) -> Result<Self, rustls::Error> {
        let rustls = UnbufferedServerConnection::new(config)?;
        Ok(Tls { rustls, incoming: Vec::new(), unsent: Vec::new(), is_closed: false })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.rustls.is_handshaking()
    }

    /// Did the handshake resume an earlier session?
    pub(crate) fn is_resumed(&self) -> bool {
        self.rustls.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Take ciphertext from the socket; the application's bytes in it are appended to `plain`.
    pub(crate) fn handle_bytes(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<(), TlsFault> {
        if self.incoming.is_empty() {
            let used = self.process(bytes, plain)?;
            self.incoming.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.extend_from_slice(bytes);
        let used = self.process(&mut incoming, plain)?;
        if used < incoming.len() {
            incoming.drain(..used);
            self.incoming = incoming;
        }
        Ok(())
    }

    /// Process whole records from the front. Returns the number of their bytes.
    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, TlsFault> {
        let mut used = 0;
        let mut is_failed = false;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.rustls.process_tls_records(&mut bytes[used..]);
            let mut is_over = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|_| TlsFault)?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    grow(&mut self.unsent, 512, |out| data.encode(out).map_err(|e| encode_need(&e)))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.is_closed = true;
                    is_over = true;
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => is_over = true,
                Ok(_) => return Err(TlsFault),
                // One more turn lets the alert be encoded.
                Err(_) if !is_failed => is_failed = true,
                Err(_) => return Err(TlsFault),
            }
            used += discard;
            if is_over {
                return if is_failed { Err(TlsFault) } else { Ok(used) };
            }
        }
    }

    /// Encrypt application bytes into `out`.
    fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsFault> {
        let UnbufferedStatus { state, .. } = self.rustls.process_tls_records(&mut []);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else { return Err(TlsFault) };
        let records = plain.len() / PLAIN_BYTES_PER_SEND + 1;
        grow(out, plain.len() + records * RECORD_OVERHEAD, |out| {
            traffic.encrypt(plain, out).map_err(|e| encrypt_need(&e))
        })
    }

    /// Encrypt the closing alert into `out`.
    fn close_notify(&mut self, out: &mut Vec<u8>) {
        let UnbufferedStatus { state, .. } = self.rustls.process_tls_records(&mut []);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            // A connection that cannot send the alert is closed without it.
            let _ = grow(out, RECORD_OVERHEAD, |out| {
                traffic.queue_close_notify(out).map_err(|e| encrypt_need(&e))
            });
        }
    }
}

/// Encrypt frames and send them until the socket is full. Returns the number of their bytes that were
/// encrypted, and so taken for good.
pub(crate) fn send_frames(
    socket: &TcpStream,
    tls: &mut Tls,
    frames: &[&Bytes],
    cipher: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> usize {
    let mut taken = 0;
    let mut rest = frames;
    while !rest.is_empty() && flush(socket, tls) {
        let run = run_within(rest, PLAIN_BYTES_PER_SEND);
        cipher.clear();
        let sealed = match &rest[..run] {
            [frame] => tls.encrypt(frame, cipher),
            several => {
                plain.clear();
                several.iter().for_each(|frame| plain.extend_from_slice(frame));
                tls.encrypt(plain, cipher)
            }
        };
        if let Err(TlsFault) = sealed {
            // The keys are used up, or the peer sent its closing alert: the next read ends the link.
            return taken;
        }
        taken += rest[..run].iter().map(|f| f.len()).sum::<usize>();
        let sent = tcp::send(socket, cipher);
        if sent < cipher.len() {
            tls.unsent.extend_from_slice(&cipher[sent..]);
        }
        rest = &rest[run..];
    }
    taken
}

/// Send encrypted bytes that did not fit; `true` when none are left.
pub(crate) fn flush(socket: &TcpStream, tls: &mut Tls) -> bool {
    if !tls.unsent.is_empty() {
        let sent = tcp::send(socket, &tls.unsent);
        if sent == tls.unsent.len() {
            tls.unsent = Vec::new();
        } else {
            tls.unsent.drain(..sent);
        }
    }
    tls.unsent.is_empty()
}

/// Send the closing alert, so that the peer can tell an orderly end from a broken connection.
pub(crate) fn send_close_notify(socket: &TcpStream, tls: &mut Tls) {
    let mut alert = std::mem::take(&mut tls.unsent);
    tls.close_notify(&mut alert);
    tls.unsent = alert;
    flush(socket, tls);
}

/// The number of frames in one run of at most `bytes_max`; at least one.
fn run_within(frames: &[&Bytes], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fitting = frames.iter().take_while(|frame| {
        bytes += frame.len();
        bytes <= bytes_max
    });
    fitting.count().max(1)
}

/// Let `write` append to `out`, with space for `guess` bytes or, if that is too little, for the number that
/// it requests.
fn grow(
    out: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), TlsFault> {
    let start = out.len();
    let mut room = guess;
    for _ in 0..2 {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Some(required)) => room = required,
            Err(None) => break,
        }
    }
    out.truncate(start);
    Err(TlsFault)
}

fn encode_need(e: &EncodeError) -> Option<usize> {
    match e {
        EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn encrypt_need(e: &EncryptError) -> Option<usize> {
    match e {
        EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
        EncryptError::EncryptExhausted => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_bounded_and_never_empty() {
        let (a, b) = (Bytes::from(vec![0; 60]), Bytes::from(vec![0; 50]));
        assert_eq!(run_within(&[&a, &b], 110), 2);
        assert_eq!(run_within(&[&a, &b], 109), 1);
        assert_eq!(run_within(&[&a, &b], 10), 1);
    }
}
