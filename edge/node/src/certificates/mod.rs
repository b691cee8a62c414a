//! Certificates: loads them from files, or makes one for development, and builds the TLS configurations of
//! both transports.
//!
//! Why: WebSocket over TLS and QUIC use the same certificate, and a first start must work without files.
//! A development certificate is ECDSA P-256 and valid for less than 14 days, so that a browser accepts it by
//! its hash (WebTransport's `serverCertificateHashes`).
//! Invariants: TLS 1.3 only, by one explicit provider. No early data, since a hello must not be replayed.
//! A new certificate is shown to the next handshake; sessions inside go on, and past ones resume.
//! Not here: trust in clients (they have tokens), when the files are read again (`reload`).

mod validity;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use grandstand_edge::config;
use validity::validity;

/// 13 days: browsers accept a certificate by its hash for at most 14, and clocks differ.
const DEVELOPMENT_VALIDITY: Duration = Duration::from_secs(13 * 24 * 3_600);

/// A development certificate is valid from an hour ago, for clients whose clocks are behind.
const DEVELOPMENT_BACKDATED: Duration = Duration::from_secs(3_600);

/// Session tickets per handshake. A returning client gets a new one with each resumption, so one is enough.
/// Each costs an encryption and 200 bytes.
const TICKETS_PER_HANDSHAKE: usize = 1;

/// A development certificate is replaced when it ends within this time.
const RENEWED_BEFORE: Duration = Duration::from_secs(24 * 3_600);

/// The node's certificate, ready for both transports. A clone is a handle of the same one.
#[derive(Clone, Debug)]
pub struct Certificates {
    shown: Arc<Shown>,
    tcp: Arc<ServerConfig>,
    quic: Arc<ServerConfig>,
}

/// The certificate that new handshakes show.
struct Shown(RwLock<Loaded>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

/// A certificate with its key.
#[derive(Clone)]
struct Loaded {
    leaf: CertificateDer<'static>,
    certified: Arc<CertifiedKey>,
    /// The key of a development certificate, as DER.
    development_key: Option<Vec<u8>>,
    /// `None`: the certificate does not tell.
    ends: Option<SystemTime>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now().certified.clone())
    }
}

impl Shown {
    fn now(&self) -> RwLockReadGuard<'_, Loaded> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Certificates {
    /// From `tls.cert` and `tls.key`, or else a development certificate for `tls.dev_names` that is valid
    /// from `now`.
    ///
    /// # Errors
    /// A file that is missing, unreadable or of the wrong kind, a key of another certificate, or a name that
    /// a certificate cannot contain. The text says what to do.
    pub fn load(tls: &config::Tls, now: SystemTime) -> Result<Certificates, String> {
        Certificates::load_after(tls, now, None)
    }

    /// The same after a process whose development certificate, and its key, were these. It is used again
    /// where no files are configured, so that clients that pinned it come back.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_after(
        tls: &config::Tls,
        now: SystemTime,
        before: Option<&(Vec<u8>, Vec<u8>)>,
    ) -> Result<Certificates, String> {
        let provider = Arc::new(aes_128_first());
        let again = before.filter(|_| tls.cert.is_none() && tls.key.is_none());
        let again = again.and_then(|pair| Loaded::again(pair, &provider));
        let loaded = match again.filter(|loaded| !loaded.ends_soon(now)) {
            Some(loaded) => loaded,
            None => Loaded::load(tls, &provider, now)?,
        };
        loaded.warn_if_over(now);
        let shown = Arc::new(Shown(RwLock::new(loaded)));
        let config = |alpn: &[&[u8]]| {
            server_config(&provider, shown.clone(), alpn)
                .map_err(|error| format!("TLS cannot be set up: {error}; the build lacks what it needs"))
        };
        // The endpoint of QUIC adds its own protocols.
        let (tcp, quic) = (Arc::new(config(&[b"http/1.1"])?), Arc::new(config(&[])?));
        Ok(Certificates { shown, tcp, quic })
    }

    /// The same, whose sessions are sealed by this.
    #[must_use]
    pub fn with_tickets(self, tickets: &Arc<dyn ProducesTickets>) -> Certificates {
        let sealed_by = |config: &ServerConfig| {
            let mut config = config.clone();
            config.ticketer = tickets.clone();
            Arc::new(config)
        };
        Certificates { tcp: sealed_by(&self.tcp), quic: sealed_by(&self.quic), ..self }
    }

    /// Load the files again, for all handshakes from now on. A development certificate is made anew only when
    /// it ends soon, or when files took its place before. Returns whether another certificate is shown now.
    ///
    /// # Errors
    /// Those of [`Self::load`], and a certificate that has ended in place of one that has not. The
    /// certificate stays as it is then.
    pub fn reload(&self, tls: &config::Tls, now: SystemTime) -> Result<bool, String> {
        let before = self.shown.now().clone();
        if tls.cert.is_none() && tls.key.is_none() && before.is_development() && !before.ends_soon(now) {
            return Ok(false);
        }
        let loaded = Loaded::load(tls, &Arc::new(aes_128_first()), now)?;
        if loaded.is_over(now) && !before.is_over(now) {
            let file = tls.cert.as_ref().map_or(String::new(), |path| format!(" in {}", path.display()));
            return Err(format!(
                "the certificate{file} has expired; renew it, or correct the machine's clock"
            ));
        }
        loaded.warn_if_over(now);
        let is_new = loaded.leaf != before.leaf;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(is_new)
    }

    /// Is it a development certificate that must be replaced now?
    pub fn must_be_renewed(&self, now: SystemTime) -> bool {
        let shown = self.shown.now();
        shown.is_development() && shown.ends_soon(now)
    }

    /// The development certificate and its key, as DER, for the next process.
    pub fn development_pair(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let shown = self.shown.now();
        shown.development_key.as_ref().map(|key| (shown.leaf.to_vec(), key.clone()))
    }

    /// SHA-256 of the leaf, in lower-case hex: what a browser or a client pins.
    pub fn fingerprint_sha256_hex(&self) -> String {
        digest::digest(&digest::SHA256, &self.leaf())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Is it a development certificate, made at start?
    pub fn is_development(&self) -> bool {
        self.shown.now().is_development()
    }

    /// The certificate that the node shows first.
    pub fn leaf(&self) -> CertificateDer<'static> {
        self.shown.now().leaf.clone()
    }

    /// The last moment at which the certificate is valid; `None` when it does not tell.
    pub fn ends(&self) -> Option<SystemTime> {
        self.shown.now().ends
    }

    /// The configuration for WebSocket: ALPN `http/1.1`, sessions resume by ticket. All workers share it, so
    /// a session resumes on any of them.
    pub fn tcp_config(&self) -> Arc<ServerConfig> {
        self.tcp.clone()
    }

    /// The configuration for QUIC, without ALPN, which the endpoint adds: sessions resume by ticket, no early
    /// data.
    pub fn quic_config(&self) -> Arc<ServerConfig> {
        self.quic.clone()
    }
}

impl Loaded {
    fn load(tls: &config::Tls, provider: &CryptoProvider, now: SystemTime) -> Result<Loaded, String> {
        match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => Loaded::build(read_chain(cert)?, read_key(key)?, None, provider)
                .map_err(|fault| fault.told(&cert.display().to_string(), &key.display().to_string())),
            (None, None) => Loaded::development(&tls.dev_names, provider, now),
            (Some(_), None) => Err("tls.cert needs tls.key, the file of its private key".to_owned()),
            (None, Some(_)) => Err("tls.key needs tls.cert, the file of its certificate chain".to_owned()),
        }
    }

    fn development(names: &[String], provider: &CryptoProvider, now: SystemTime) -> Result<Loaded, String> {
        let fault = |error: rcgen::Error| {
            format!(
                "no development certificate can be made for tls.dev_names = {names:?}: {error}; give host names in \
                 ASCII and IP addresses, or set tls.cert and tls.key"
            )
        };
        let key = KeyPair::generate().map_err(fault)?; // ECDSA P-256, rcgen's default
        let mut params = CertificateParams::new(names).map_err(fault)?;
        params.distinguished_name.push(DnType::CommonName, "Grandstand development certificate");
        params.not_before = (now - DEVELOPMENT_BACKDATED).into();
        params.not_after = (now + DEVELOPMENT_VALIDITY).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let chain = vec![params.self_signed(&key).map_err(fault)?.der().clone()];
        let der = key.serialize_der();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.clone()));
        Loaded::build(chain, key, Some(der), provider)
            .map_err(|fault| fault.told("the development certificate", "its key"))
    }

    fn build(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        development_key: Option<Vec<u8>>,
        provider: &CryptoProvider,
    ) -> Result<Loaded, Fault> {
        let leaf = chain[0].clone();
        let ends = validity(&leaf).map(|(_, not_after)| not_after);
        let certified = Arc::new(CertifiedKey::from_der(chain, key, provider).map_err(Fault::from)?);
        Ok(Loaded { leaf, certified, development_key, ends })
    }

    /// The development certificate of the process before.
    fn again((leaf, key): &(Vec<u8>, Vec<u8>), provider: &CryptoProvider) -> Option<Loaded> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
        Loaded::build(vec![leaf.clone().into()], der, Some(key.clone()), provider).ok()
    }

    fn is_development(&self) -> bool {
        self.development_key.is_some()
    }

    fn ends_soon(&self, now: SystemTime) -> bool {
        self.ends.is_some_and(|ends| ends <= now + RENEWED_BEFORE)
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.ends.is_some_and(|ends| ends < now)
    }

    fn warn_if_over(&self, now: SystemTime) {
        if self.is_over(now) {
            tracing::warn!(
                "the certificate of tls.cert has expired: clients refuse it; renew it, it is read again by itself"
            );
        }
    }
}

/// AES-128 comes first: every TLS 1.3 client has it (RFC 8446, 9.1), server CPUs have instructions for it,
/// and it has shorter keys and fewer rounds than AES-256.
fn aes_128_first() -> CryptoProvider {
    let mut provider = provider::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// A TLS 1.3 configuration that keeps no past sessions: a ticket contains all that resumes one.
fn server_config(
    provider: &Arc<CryptoProvider>,
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // The node encrypts for thousands of clients, a client decrypts for one, so the node chooses.
    config.ignore_client_order = true;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = provider::Ticketer::new()?;
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    Ok(config)
}

/// Convert an error of rustls about a certificate and its key.
#[derive(Debug)]
struct Fault(rustls::Error);

impl From<rustls::Error> for Fault {
    fn from(error: rustls::Error) -> Fault {
        Fault(error)
    }
}

impl Fault {
    fn told(&self, cert: &str, key: &str) -> String {
        match &self.0 {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                "the private key in {key} is not the one of the certificate in {cert}: \
                 set tls.cert and tls.key to a pair that was issued together"
            ),
            rustls::Error::InvalidCertificate(error) => format!(
                "the certificate in {cert} is not usable: {error:?}; it must be X.509 version 3 in PEM form, leaf first"
            ),
            error => format!(
                "the certificate in {cert} with the key in {key} is not usable: {error}; \
                 ECDSA (P-256, P-384), Ed25519 and RSA from 2048 bits work"
            ),
        }
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read("tls.cert", path)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(not_pem("tls.cert", path, "holds no certificate", "-----BEGIN CERTIFICATE-----")),
        Err(error) => {
            Err(not_pem("tls.cert", path, &format!("is broken ({error})"), "-----BEGIN CERTIFICATE-----"))
        }
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read("tls.key", path)?;
    if text.windows(21).any(|w| w == b"ENCRYPTED PRIVATE KEY") {
        return Err(format!(
            "the file of tls.key, {}, is encrypted, and the node has nobody to ask for its passphrase: \
             decrypt it (`openssl pkey -in KEY -out PLAIN`) and keep it readable for the node alone",
            path.display()
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            not_pem("tls.key", path, "holds no private key", "-----BEGIN PRIVATE KEY-----")
        }
        error => not_pem("tls.key", path, &format!("is broken ({error})"), "-----BEGIN PRIVATE KEY-----"),
    })
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| {
        let advice = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "check the path, or leave out both tls.cert and tls.key for a development \
                                             certificate"
            }
            std::io::ErrorKind::PermissionDenied => "let the user that runs the node read it",
            _ => "it must be a readable PEM file",
        };
        format!("cannot read the file of {name}, {}: {error}; {advice}", path.display())
    })
}

fn not_pem(name: &str, path: &Path, what: &str, begin: &str) -> String {
    format!("the file of {name}, {}, {what}; it must be PEM text with `{begin}`", path.display())
}

#[cfg(test)]
mod tests;
