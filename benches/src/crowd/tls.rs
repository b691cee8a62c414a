//! TLS of one viewer: rustls without buffers of its own, over scratch space that all viewers share.
//!
//! Why unbuffered: a buffered connection copies every byte twice and keeps kilobytes per viewer; the crowd
//! must cost less than what it measures.
//! Invariant: between two calls a viewer keeps only ciphertext of a record that has not come whole.
//! Not here: sockets (`viewer`), trust: every certificate is taken, since the server is our own child.

use anyhow::{Context, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{AppDataRecord, ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};
use std::sync::Arc;

/// What TLS adds to the longest piece that is said at once: header, type, tag, with room to spare.
const RECORD_EXTRA: usize = 64;

/// See the file's head.
pub(super) struct Tls {
    connection: UnbufferedClientConnection,
    /// The beginning of a record.
    rest: Vec<u8>,
    /// What the viewer said before it could.
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

    pub(super) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
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

    /// Encrypts what the viewer says.
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

/// TLS 1.3, any certificate; sessions are kept for so many names, or not at all.
pub(super) fn config(alpn: &[&[u8]], sessions: usize) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Anyone(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3")?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption =
        if sessions == 0 { Resumption::disabled() } else { Resumption::in_memory_sessions(sessions) };
    Ok(config)
}

/// Takes every certificate, and still asks for the proof that the server holds its key, which costs what it
/// costs anyone.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
