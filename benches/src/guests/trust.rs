//! Whom guests believe (anyone: the node is one that the bench started, on loopback), and the TLS tickets
//! that they share.
//!
//! Why one pool: which guest's ticket resumes which connection is all the same to the node, and a
//! configuration per guest would cost more than the guest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption, Tls13ClientSessionValue,
};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Session tickets of all guests.
#[derive(Debug, Default)]
pub struct Tickets {
    tcp: Arc<Pool>,
    quic: Arc<Pool>,
}

impl Tickets {
    /// How many are kept, of TLS over TCP and of QUIC.
    pub fn kept(&self) -> (usize, usize) {
        (self.tcp.len(), self.quic.len())
    }

    /// Whether guests show them from now on; if not, every handshake is a full one. They do until told
    /// otherwise.
    pub fn show(&self, shown: bool) {
        self.tcp.is_hidden.store(!shown, Ordering::Relaxed);
        self.quic.is_hidden.store(!shown, Ordering::Relaxed);
    }
}

impl Tickets {
    /// Certificates checked for QUIC connections: one per full handshake, none per resumed one.
    pub(super) fn quic_verified(&self) -> u64 {
        self.quic.verified.load(Ordering::Relaxed)
    }
}

/// For TLS over TCP, or for QUIC by its ALPN.
pub(super) fn config(alpn: &[u8], tickets: &Tickets) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let pool = if alpn == b"http/1.1" { tickets.tcp.clone() } else { tickets.quic.clone() };
    let anyone = Anyone { algorithms, pool: pool.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anyone))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::store(pool).tls12_resumption(Tls12Resumption::Disabled);
    Ok(Arc::new(config))
}

#[derive(Debug, Default)]
struct Pool {
    values: Mutex<Vec<Tls13ClientSessionValue>>,
    verified: AtomicU64,
    is_hidden: AtomicBool,
}

impl Pool {
    fn len(&self) -> usize {
        self.values.lock().expect("nothing panics here").len()
    }
}

impl ClientSessionStore for Pool {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.values.lock().expect("nothing panics here").push(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.is_hidden.load(Ordering::Relaxed) {
            return None;
        }
        self.values.lock().expect("nothing panics here").pop()
    }
}

/// Believes any certificate; its signature is checked all the same, as a client does.
#[derive(Debug)]
struct Anyone {
    algorithms: WebPkiSupportedAlgorithms,
    pool: Arc<Pool>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.pool.verified.fetch_add(1, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
