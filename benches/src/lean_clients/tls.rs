//! TLS of one client: rustls without buffers of its own, over scratch space that all clients share.
//!
//! Why unbuffered: a buffered connection copies every byte twice and keeps kilobytes per client; the
//! generator must cost less than what it measures.
//! Invariant: between two calls a client keeps only ciphertext of a record that has not come whole.
//! Not here: sockets (`link`). Every certificate is accepted, since the server is the bench's own child
//! process.

use anyhow::{Result, bail};
use grandstand_harness::trust::{AnyCertificate, client_config_with};
use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{AppDataRecord, ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use std::sync::Arc;

/// What TLS adds to the longest piece that is said at once: header, type, tag, with room to spare.
const RECORD_EXTRA: usize = 64;

/// TLS sessions kept: every client's.
const SESSIONS_MAX: usize = 65_536;

/// See the file's head.
pub(super) struct Tls {
    connection: UnbufferedClientConnection,
    /// The beginning of a record.
    rest: Vec<u8>,
    /// Bytes that wait for the end of the handshake.
    unsaid: Vec<u8>,
    is_open: bool,
}

impl Tls {
    pub(super) fn new(config: &Arc<ClientConfig>, name: String) -> Result<Tls> {
        let connection = UnbufferedClientConnection::new(config.clone(), ServerName::try_from(name)?)?;
        Ok(Tls { connection, rest: Vec::new(), unsaid: Vec::new(), is_open: false })
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Bytes from the socket; what they hold goes to `plain`, what is to be sent to `out`.
    pub(super) fn hear(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
        if self.rest.is_empty() {
            let used = self.records(bytes, plain, out)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(bytes);
            let used = self.records(&mut whole, plain, out)?;
            whole.drain(..used);
            self.rest = whole;
        }
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(())
    }

    /// Encrypts what the client says.
    pub(super) fn say(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.unsaid.extend_from_slice(plain);
        self.records(&mut [], &mut Vec::new(), out).map(drop)
    }

    /// Runs the connection until it wants more; returns how many of the bytes it is done with.
    fn records(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut bytes[used..]);
            let mut is_done = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let AppDataRecord { discard: more, payload, .. } = record?;
                        discard += more;
                        plain.extend_from_slice(payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    grown(out, |room| match data.encode(room) {
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        other => Ok(Ok(other?)),
                    })?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    self.is_open = true;
                    let unsaid = std::mem::take(&mut self.unsaid);
                    if !unsaid.is_empty() {
                        grown(out, |room| match traffic.encrypt(&unsaid, room) {
                            Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                            other => Ok(Ok(other?)),
                        })?;
                    }
                    is_done = true;
                }
                ConnectionState::BlockedHandshake => is_done = true,
                ConnectionState::PeerClosed | ConnectionState::Closed => bail!("the server closed TLS"),
                _ => bail!("TLS is in a state that a client does not know"),
            }
            used += discard;
            if is_done {
                return Ok(used);
            }
        }
    }
}

/// Appends what `write` puts into room that is made large enough: it says how much it wrote, or needs.
fn grown(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, usize>>) -> Result<()> {
    let begin = out.len();
    let mut room = RECORD_EXTRA;
    loop {
        out.resize(begin + room, 0);
        match write(&mut out[begin..])? {
            Ok(written) => {
                out.truncate(begin + written);
                return Ok(());
            }
            Err(needed) => room = needed,
        }
    }
}

/// TLS 1.3, any certificate; sessions are kept for every name, or not at all.
pub(super) fn config(alpn: &[u8], resumes: bool, verifier: &Arc<AnyCertificate>) -> ClientConfig {
    let mut config = client_config_with(&[alpn], verifier.clone());
    let kept = Resumption::in_memory_sessions(SESSIONS_MAX);
    config.resumption = if resumes { kept } else { Resumption::disabled() };
    config
}
