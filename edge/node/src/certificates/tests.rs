//! Tests of certificates: handshakes in memory with rustls' own client, and every fault of the files.
//!
//! Why rustls' own client: it reports what was negotiated, and needs no socket.

use super::*;
use grandstand_harness::trust::AnyCertificate;
use grandstand_protocol::version::ALPN;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};
use std::fs;
use std::path::PathBuf;

/// A directory of this test's own, removed when the test ends.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let path = std::env::temp_dir().join(format!("grandstand-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Files(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A self-signed pair, as PEM files `NAME.crt` and `NAME.key`.
    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = self.write(&format!("{name}.key"), &made.signing_key.serialize_pem());
        (self.write(&format!("{name}.crt"), &made.cert.pem()), key)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tls(cert: &Path, key: &Path) -> config::Tls {
    config::Tls { cert: Some(cert.to_owned()), key: Some(key.to_owned()), ..config::Tls::default() }
}

fn fault(cert: &Path, key: &Path) -> String {
    Certificates::load(&tls(cert, key), SystemTime::now()).expect_err("it is not to load")
}

fn development() -> Certificates {
    Certificates::load(&config::Tls::default(), SystemTime::now()).unwrap()
}

/// A client that trusts exactly this certificate, by the platform's usual rules.
fn client(trusted: &Certificates, alpn: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.leaf()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

/// Run a handshake in memory until both sides are done.
fn shake(
    client: &Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<HandshakeKind, rustls::Error> {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(name.to_owned()).unwrap())?;
    let mut server = ServerConnection::new(server)?;
    for _ in 0..4 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    Ok(server.handshake_kind().unwrap())
}

/// As the endpoint of QUIC uses the configuration.
fn with_protocols_of_quic(made: &Certificates) -> Arc<rustls::ServerConfig> {
    let mut config = rustls::ServerConfig::clone(&made.quic_config());
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

#[test]
fn a_development_certificate_serves_its_names_over_both() {
    let made = development();
    assert!(made.is_development());
    for name in ["localhost", "127.0.0.1", "::1"] {
        shake(&client(&made, b"http/1.1"), made.tcp_config(), name).unwrap();
        shake(&client(&made, ALPN), with_protocols_of_quic(&made), name).unwrap();
    }
    assert!(shake(&client(&made, b"http/1.1"), made.tcp_config(), "example.org").is_err());
    assert_ne!(
        made.fingerprint_sha256_hex(),
        development().fingerprint_sha256_hex(),
        "a new one at each start"
    );
}

#[test]
fn a_client_without_the_protocol_is_turned_away() {
    let made = development();
    assert!(shake(&client(&made, b"h3"), with_protocols_of_quic(&made), "localhost").is_err());
    assert!(made.quic_config().alpn_protocols.is_empty(), "the endpoint alone has them");
    assert!(shake(&client(&made, b"h2"), made.tcp_config(), "localhost").is_err());
}

#[test]
fn a_session_over_tcp_resumes_on_every_worker() {
    let made = development();
    let client = client(&made, b"http/1.1");
    assert_eq!(shake(&client, made.tcp_config(), "localhost"), Ok(HandshakeKind::Full));
    assert_eq!(shake(&client, made.tcp_config(), "localhost"), Ok(HandshakeKind::Resumed));
    assert_eq!(shake(&client, made.clone().tcp_config(), "localhost"), Ok(HandshakeKind::Resumed));
}

#[test]
fn a_session_over_quic_resumes_and_not_over_tcp() {
    let made = development();
    let client = client(&made, b"grandstand/1");
    assert_eq!(shake(&client, made.quic_config(), "localhost"), Ok(HandshakeKind::Full));
    assert_eq!(shake(&client, made.clone().quic_config(), "localhost"), Ok(HandshakeKind::Resumed));
    assert!(shake(&client, made.tcp_config(), "localhost").is_err());
}

#[test]
fn tls_1_2_is_not_spoken_and_nothing_comes_early() {
    let made = development();
    let old = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::default()))
        .with_no_client_auth();
    assert!(shake(&Arc::new(old), made.tcp_config(), "localhost").is_err());
    assert_eq!([made.tcp_config().max_early_data_size, made.quic_config().max_early_data_size], [0, 0]);
}

#[test]
fn quic_takes_the_configuration() {
    quinn_proto::crypto::rustls::QuicServerConfig::try_from(development().quic_config()).unwrap();
}

/// The requirements of browsers on a certificate that they accept by its hash: at most 14 days in all, and
/// P-256.
#[test]
fn a_development_certificate_is_short_lived() {
    let (made, now) = (development(), SystemTime::now());
    let verify = |after: Duration| {
        let at = (now + after).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        verifier(&made).verify_server_cert(
            &made.leaf(),
            &[],
            &ServerName::try_from("localhost").unwrap(),
            &[],
            UnixTime::since_unix_epoch(at),
        )
    };
    let day = Duration::from_secs(24 * 3_600);
    assert!(verify(Duration::ZERO).is_ok() && verify(day * 13 - day / 24).is_ok());
    assert!(verify(day * 13 + day / 24).is_err());
    assert!(DEVELOPMENT_VALIDITY + DEVELOPMENT_BACKDATED < day * 14);
    let p256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]; // 1.2.840.10045.3.1.7
    assert!(made.leaf().windows(p256.len()).any(|w| w == p256));
}

fn verifier(made: &Certificates) -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(made.leaf()).unwrap();
    let provider = Arc::new(provider::default_provider());
    rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

#[test]
fn the_fingerprint_is_of_the_der() {
    let made = development();
    let expected: String =
        digest::digest(&digest::SHA256, &made.leaf()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(made.fingerprint_sha256_hex(), expected);
    assert_eq!(expected.len(), 64);
}

#[test]
fn files_are_served() {
    let files = Files::new("good");
    let (cert, key) = files.pair("node");
    let loaded = Certificates::load(&tls(&cert, &key), SystemTime::now()).unwrap();
    assert!(!loaded.is_development());
    shake(&client(&loaded, b"http/1.1"), loaded.tcp_config(), "localhost").unwrap();
}

#[test]
fn every_fault_names_its_file_and_what_to_do() {
    let files = Files::new("faults");
    let (cert, key) = files.pair("node");
    let (_, other) = files.pair("other");
    let none = files.0.join("none.pem");
    let cases = [
        (fault(&none, &key), "none.pem", "check the path"),
        (fault(&cert, &none), "none.pem", "check the path"),
        (fault(&files.0, &key), "tls.cert", "must be a readable PEM file"),
        (fault(&cert, &other), "other.key", "issued together"),
        (fault(&key, &key), "node.key", "holds no certificate"),
        (fault(&cert, &cert), "node.crt", "holds no private key"),
        (fault(&files.write("cut.crt", &text(&cert)[..200]), &key), "cut.crt", "is broken"),
        (
            fault(&cert, &files.write("enc.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n")),
            "enc.key",
            "decrypt it",
        ),
        (fault(&files.write("empty.crt", ""), &key), "empty.crt", "holds no certificate"),
        (fault(&files.write("junk.crt", JUNK), &key), "junk.crt", "not usable"),
    ];
    for (fault, file, advice) in cases {
        assert!(fault.contains(file) && fault.contains(advice), "{fault}");
    }
}

/// PEM around something that is no certificate.
const JUNK: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_name_that_cannot_stand_in_a_certificate_is_told() {
    let tls = config::Tls { dev_names: vec!["höst".to_owned()], ..config::Tls::default() };
    let fault = Certificates::load(&tls, SystemTime::now()).unwrap_err();
    assert!(fault.contains("tls.dev_names") && fault.contains("höst"), "{fault}");
}

#[test]
fn a_renewed_certificate_is_shown_to_the_next_handshake_and_past_sessions_resume() {
    let files = Files::new("renewed");
    let (cert, key) = files.pair("one");
    let (tls, now) = (tls(&cert, &key), SystemTime::now());
    let shown = Certificates::load(&tls, now).unwrap();
    let old_client = client(&shown, b"http/1.1");
    shake(&old_client, shown.tcp_config(), "localhost").unwrap();
    assert_eq!(shown.reload(&tls, now), Ok(false), "nothing changed");

    // The pair is replaced one file after the other: in between it does not fit.
    let (new_cert, new_key) = files.pair("two");
    fs::copy(&new_cert, &cert).unwrap();
    assert!(shown.reload(&tls, now).unwrap_err().contains("not the one of the certificate"));
    shake(&client(&shown, b"http/1.1"), shown.tcp_config(), "localhost").unwrap();
    fs::copy(&new_key, &key).unwrap();
    assert_eq!(shown.reload(&tls, now), Ok(true));
    for (alpn, config) in [(&b"http/1.1"[..], shown.tcp_config()), (b"grandstand/1", shown.quic_config())] {
        shake(&client(&shown, alpn), config, "localhost").unwrap();
    }
    assert_eq!(shake(&old_client, shown.tcp_config(), "localhost"), Ok(HandshakeKind::Resumed));
}

#[test]
fn a_bad_file_keeps_the_certificate_that_is_shown() {
    let files = Files::new("bad");
    let (cert, key) = files.pair("good");
    let (tls, now) = (tls(&cert, &key), SystemTime::now());
    let shown = Certificates::load(&tls, now).unwrap();
    let leaf = shown.leaf();
    let good = fs::read_to_string(&cert).unwrap();
    let expired = {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = (now - Duration::from_secs(60)).into();
        let key = KeyPair::from_pem(&fs::read_to_string(&key).unwrap()).unwrap();
        params.self_signed(&key).unwrap().pem()
    };
    for bad in ["", "no PEM", &good[..good.len() / 2], &expired] {
        fs::write(&cert, bad).unwrap();
        assert!(shown.reload(&tls, now).unwrap_err().contains("good.crt"), "{bad}");
    }
    fs::remove_file(&cert).unwrap();
    assert!(shown.reload(&tls, now).is_err());
    assert_eq!(shown.leaf(), leaf);
    shake(&client(&shown, b"http/1.1"), shown.tcp_config(), "localhost").unwrap();
}

#[test]
fn a_development_certificate_is_renewed_a_day_before_its_end_and_not_earlier() {
    let now = SystemTime::now();
    let (tls, shown) = (config::Tls::default(), development());
    let leaf = shown.leaf();
    assert_eq!(shown.reload(&tls, now + Duration::from_secs(11 * 24 * 3_600)), Ok(false));
    let last_day = now + DEVELOPMENT_VALIDITY - Duration::from_secs(3_600);
    assert!(!shown.must_be_renewed(now) && shown.must_be_renewed(last_day));
    assert_eq!(shown.reload(&tls, last_day), Ok(true));
    assert!(shown.leaf() != leaf && !shown.must_be_renewed(last_day));
    assert!(shown.ends().unwrap() > last_day + Duration::from_secs(12 * 24 * 3_600));
}
