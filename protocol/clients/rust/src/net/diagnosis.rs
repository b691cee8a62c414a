//! Diagnosis: what an error of a socket, of TLS or of QUIC means to a person who wants to connect.
//!
//! Why by text for certificates: QUIC passes on only the text of a TLS error. So one function reads that text
//! for both transports, and tests over real sockets hold it to every case.
//! Not here: the texts for people (`core::ConnectError`).

use std::io;
use std::net::SocketAddr;

use crate::core::{ConnectError, Ending};

/// What stands before the two hashes in the text of [`wrong_fingerprint`].
const FINGERPRINT: &str = "fingerprint";

/// The text of a verifier that found another certificate; [`of_tls`] reads it.
pub(super) fn wrong_fingerprint(expected: &[u8; 32], found: &[u8; 32]) -> String {
    let hex = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{FINGERPRINT} {} {}", hex(expected), hex(found))
}

pub(super) fn connect(error: ConnectError) -> Ending {
    Ending::Connect(Box::new(error))
}

/// A TCP connection could not be made.
pub(super) fn of_tcp(error: &io::Error, address: SocketAddr) -> Ending {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => connect(ConnectError::NobodyThere { address }),
        io::ErrorKind::TimedOut => connect(ConnectError::NoAnswer { address: Some(address), udp: false }),
        kind => Ending::Broken(kind),
    }
}

/// A TLS handshake over TCP failed.
pub(super) fn of_tls_error(error: &io::Error, host: &str) -> Ending {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (inner, error.kind()) {
        (Some(rustls::Error::InvalidMessage(_)), _) => connect(ConnectError::NotTls),
        (Some(inner), _) => of_tls(&inner.to_string(), host),
        (None, io::ErrorKind::InvalidInput) => {
            let detail = format!("{host} is no name that a certificate can have: check the address");
            connect(ConnectError::Local { detail: detail.into() })
        }
        (None, kind) => Ending::Broken(kind),
    }
}

/// A TLS handshake failed with this text of rustls, over any transport.
pub(super) fn of_tls(text: &str, host: &str) -> Ending {
    let has = |part: &str| text.contains(part);
    if let Some((expected, found)) = fingerprints(text) {
        return connect(ConnectError::WrongFingerprint { expected, found });
    }
    if has("no_application_protocol") || has("NoApplicationProtocol") || has("no known protocol") {
        return connect(ConnectError::NoCommonVersion);
    }
    if !has("invalid peer certificate") {
        return Ending::Untrusted(text.into());
    }
    connect(if has("expired: ") || has("Expired") {
        ConnectError::Expired
    } else if has("not valid yet") || has("NotValidYet") {
        ConnectError::NotYetValid
    } else if has("not valid for name") || has("NotValidForName") {
        ConnectError::WrongName { host: host.into() }
    } else if ["UnknownIssuer", "CaUsedAsEndEntity", "BadSignature"].iter().any(|part| has(part)) {
        ConnectError::UnknownAuthority
    } else {
        ConnectError::BadCertificate { detail: text.into() }
    })
}

fn fingerprints(text: &str) -> Option<([u8; 32], [u8; 32])> {
    let (_, rest) = text.split_once(FINGERPRINT)?;
    let mut hashes = rest.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64);
    let hash = |word: &str| {
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&word[at..at + 2], 16).ok()?;
        }
        Some(hash)
    };
    Some((hash(hashes.next()?)?, hash(hashes.next()?)?))
}

/// How much the failure of one way says about what is wrong: where several failed, the highest is told.
pub(super) fn telling(ending: &Ending) -> u8 {
    match ending {
        Ending::Connect(error) => match **error {
            ConnectError::UnknownHost { .. } => 1,
            ConnectError::NoAnswer { udp: true, .. } => 2,
            ConnectError::NoAnswer { udp: false, .. } => 3,
            ConnectError::NobodyThere { .. } => 4,
            ConnectError::Local { .. } => 0,
            _ => 8,
        },
        Ending::Broken(_) | Ending::Eof | Ending::Dropped => 3,
        Ending::Http { .. } | Ending::Untrusted(_) | Ending::Code(_) | Ending::WebSocket(_) => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hashes_survive_as_text() {
        let (expected, found) = ([0xab; 32], [0x01; 32]);
        let text = format!("the cryptographic handshake failed: {}", wrong_fingerprint(&expected, &found));
        assert_eq!(of_tls(&text, "h"), connect(ConnectError::WrongFingerprint { expected, found }));
        let told = of_tls(&text, "h").to_string();
        assert!(told.contains(&"ab".repeat(32)) && told.contains(&"01".repeat(32)), "{told}");
    }
}
