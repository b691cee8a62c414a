//! Trust: which server certificates a client accepts, and the TLS configurations for that.
//!
//! Invariants: TLS 1.3 only; a server always proves that it holds its certificate's key, even when any
//! certificate is accepted.
//! Not here: a list of public authorities, which would need constant updates; the system has one.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::diagnosis::wrong_fingerprint;
use super::setup_error::SetupError;
use super::tickets::Tickets;

/// Which server certificates to accept.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Certificates that the authorities of this system signed for the host's name.
    #[cfg_attr(feature = "system-roots", default)]
    #[cfg(feature = "system-roots")]
    System,
    /// No certificate: for `ws://` only.
    #[cfg_attr(not(feature = "system-roots"), default)]
    Nobody,
    /// Certificates that these authorities (in PEM) signed for the host's name.
    Pem(Vec<u8>),
    /// The one certificate with this SHA-256 hash (of its DER), whatever its name and dates. A node prints
    /// the hash of its development certificate when it starts.
    Fingerprint([u8; 32]),
    /// Any certificate, for tests. The server is not authenticated: anybody with access to the network can
    /// pose as it.
    AnyoneForTests,
}

impl Trust {
    /// From the hexadecimal digits of a hash, as a node prints them; colons and spaces between them are
    /// ignored.
    pub fn fingerprint(hex: &str) -> Option<Trust> {
        let digits: Vec<u8> = hex.bytes().filter(|b| !b": ".contains(b)).collect();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Trust::Fingerprint(hash))
    }

    /// The configuration for one ALPN. All its users share its resumption tickets, of which it keeps the
    /// given number per server.
    pub(super) fn config(&self, alpn: &[u8], tickets_max: usize) -> Result<Arc<ClientConfig>, SetupError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| SetupError::Tls(e.to_string()))?;
        let mut config = match self {
            #[cfg(feature = "system-roots")]
            Trust::System => builder.with_root_certificates(system_roots()?),
            Trust::Pem(pem) => builder.with_root_certificates(roots(pem)?),
            Trust::Nobody => builder.with_root_certificates(RootCertStore::empty()),
            Trust::Fingerprint(hash) => pinned(builder, Some(*hash), &provider),
            Trust::AnyoneForTests => pinned(builder, None, &provider),
        }
        .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::store(Arc::new(Tickets::new(tickets_max)))
            .tls12_resumption(Tls12Resumption::Disabled);
        Ok(Arc::new(config))
    }
}

type Builder<State> = rustls::ConfigBuilder<ClientConfig, State>;

fn pinned(
    builder: Builder<rustls::WantsVerifier>,
    hash: Option<[u8; 32]>,
    provider: &CryptoProvider,
) -> Builder<rustls::client::WantsClientCert> {
    let verifier = Pinned { hash, algorithms: provider.signature_verification_algorithms };
    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
}

/// Those that can be read: systems have some that rustls does not take.
#[cfg(feature = "system-roots")]
fn system_roots() -> Result<RootCertStore, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why = found.errors.first().map_or("none found".into(), ToString::to_string);
    Err(SetupError::SystemRoots(why))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| SetupError::Pem(e.to_string()))?;
        roots.add(certificate).map_err(|e| SetupError::Pem(e.to_string()))?;
    }
    if roots.is_empty() { Err(SetupError::Pem("no certificate in it".into())) } else { Ok(roots) }
}

/// A verifier that accepts one certificate by its hash, or any if there is no hash. It checks signatures in
/// either case.
#[derive(Debug)]
struct Pinned {
    hash: Option<[u8; 32]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = aws_lc_rs_digest(end_entity);
        if self.hash.is_none_or(|hash| hash == found) {
            Ok(ServerCertVerified::assertion())
        } else {
            let text = wrong_fingerprint(&self.hash.unwrap_or_default(), &found);
            Err(CertificateError::Other(OtherError(Arc::new(io::Error::other(text)))).into())
        }
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

fn aws_lc_rs_digest(bytes: &[u8]) -> [u8; 32] {
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_with_and_without_colons() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        for text in [plain, colons] {
            assert!(matches!(Trust::fingerprint(&text), Some(Trust::Fingerprint(hash)) if hash == [15; 32]));
        }
        assert!(Trust::fingerprint("0f").is_none());
        assert!(Trust::fingerprint(&"xy".repeat(32)).is_none());
    }

    #[test]
    fn bad_certificates_are_named() {
        assert!(matches!(Trust::Pem(b"nonsense".to_vec()).config(b"x", 8), Err(SetupError::Pem(_))));
    }
}
