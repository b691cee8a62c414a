//! A TLS client that accepts any certificate, since a node under test makes its own.
//!
//! Invariants: TLS 1.3 only; the server always proves that it holds its certificate's key, so a handshake
//! costs the same as for any client.
//! Not here: the client library's own trust (`grandstand_client::net::Trust`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// A client configuration with these ALPN names.
#[must_use]
pub fn client_config(alpn: &[&[u8]]) -> ClientConfig {
    client_config_with(alpn, Arc::new(AnyCertificate::default()))
}

/// As [`client_config`], with a verifier whose count is of interest.
///
/// # Panics
/// Never: the provider has TLS 1.3.
#[must_use]
pub fn client_config_with(alpn: &[&[u8]], verifier: Arc<AnyCertificate>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// Accepts any certificate, and checks its signature.
#[derive(Debug)]
pub struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
    accepted: AtomicU64,
}

impl Default for AnyCertificate {
    fn default() -> AnyCertificate {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        AnyCertificate { algorithms, accepted: AtomicU64::new(0) }
    }
}

impl AnyCertificate {
    /// Certificates accepted: one per full handshake, none per resumed one.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
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
