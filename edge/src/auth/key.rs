//! A key: what signatures of tokens are checked with, and the one algorithm that it is used with.
//!
//! Why a key has one algorithm: a public key that was used as a shared secret would open the node to
//! everybody. It follows from the kind of the key, and never from a token.
//! Invariants: a key that this makes is sound: long enough, of a curve or size that is checked. A private
//! key is refused wherever a public one belongs.
//! Not here: files (`keys`), sets of keys as JSON (`jwks`), which key a token is checked with (`keys`).

use aws_lc_rs::signature::{self, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Shortest shared secret (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Sizes of an RSA modulus, in bytes: 2,048 to 8,192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;
/// Longest name of a key.
const KID_BYTES_MAX: usize = 256;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    decoding: DecodingKey,
    pub(super) algorithm: Algorithm,
}

/// A key of a set, with the members of RFC 7517 and 7518 that are used.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    /// The private part.
    d: Option<IgnoredAny>,
}

impl Key {
    /// A shared secret.
    pub(super) fn of_secret(kid: Option<String>, secret: &[u8]) -> Result<Key, &'static str> {
        let too_short = "holds a secret of fewer than 32 bytes; make one with `openssl rand -hex 32`";
        if secret.len() < SECRET_BYTES_MIN {
            return Err(too_short);
        }
        let decoding = DecodingKey::from_secret(secret).map_err(|_| too_short)?;
        Ok(Key { kid, decoding, algorithm: Algorithm::HS256 })
    }

    /// A public key in PEM.
    pub(super) fn of_pem(kid: Option<String>, pem: &[u8]) -> Result<Key, &'static str> {
        if pem.windows(11).any(|w| w == b"PRIVATE KEY") {
            return Err(PRIVATE);
        }
        let none = "holds no Ed25519, RSA (2,048 bits or more) or P-256 public key in PEM form, \
             `-----BEGIN PUBLIC KEY-----` (`openssl genpkey -algorithm ed25519`)";
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| none)?;
        let (decoding, algorithm) = if let Some(key) = of_prefix(&der, ED25519_PREFIX, ED25519_KEY_BYTES) {
            (DecodingKey::from_ed_der(key), Algorithm::EdDSA)
        } else if let Some(point) = of_prefix(&der, P256_PREFIX, P256_POINT_BYTES) {
            ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).map_err(|_| none)?;
            (DecodingKey::from_ec_der(point), Algorithm::ES256)
        } else {
            ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &*der).map_err(|_| none)?;
            (DecodingKey::from_rsa_der(&der), Algorithm::RS256)
        };
        Ok(Key { kid, decoding, algorithm })
    }

    /// A key of a set, if it is one for signatures that this node can check.
    pub(super) fn of_jwk(jwk: Jwk) -> Result<Key, &'static str> {
        if jwk.d.is_some() {
            return Err(PRIVATE);
        }
        let is_for_signatures = jwk.r#use.as_deref().is_none_or(|r#use| r#use == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !is_for_signatures {
            return Err("holds a key that is not for signatures (use, key_ops)");
        }
        if jwk.kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > KID_BYTES_MAX) {
            return Err("holds a key whose kid is empty or has over 256 bytes");
        }
        let unsound = "holds a key that is not whole, or too short";
        let bytes = |part: &Option<String>| {
            let part = part.as_ref().ok_or(unsound)?;
            URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).map_err(|_| unsound)
        };
        let of_length = |part: &Option<String>, length: usize| {
            bytes(part).and_then(|bytes| if bytes.len() == length { Ok(bytes) } else { Err(unsound) })
        };
        let (decoding, algorithm) = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", None) => {
                let (n, e) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
                let n = n.strip_prefix(&[0]).unwrap_or(&n);
                let is_odd = e.last().is_some_and(|last| last & 1 == 1);
                if !RSA_BYTES.contains(&n.len()) || !is_odd || e == [1] || e.len() > 8 {
                    return Err(unsound);
                }
                (DecodingKey::from_rsa_raw_components(n, &e), Algorithm::RS256)
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (of_length(&jwk.x, 32)?, of_length(&jwk.y, 32)?);
                let point = [&[4][..], &x, &y].concat();
                ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &point).map_err(|_| unsound)?;
                (DecodingKey::from_ec_der(&point), Algorithm::ES256)
            }
            ("OKP", Some("Ed25519")) => {
                let x = of_length(&jwk.x, ED25519_KEY_BYTES)?;
                (DecodingKey::from_ed_der(&x), Algorithm::EdDSA)
            }
            ("oct", None) => {
                let key = Key::of_secret(None, &bytes(&jwk.k)?)?;
                (key.decoding, key.algorithm)
            }
            _ => return Err("holds a key of a kind that is none of RSA, P-256, Ed25519, oct"),
        };
        let is_its_own = |alg: &str| match algorithm {
            Algorithm::HS256 => alg == "HS256",
            Algorithm::RS256 => alg == "RS256",
            Algorithm::ES256 => alg == "ES256",
            _ => alg == "EdDSA" || alg == "Ed25519",
        };
        if !jwk.alg.as_deref().is_none_or(is_its_own) {
            return Err("holds a key for an algorithm (alg) other than RS256, ES256, EdDSA, HS256");
        }
        Ok(Key { kid: jwk.kid, decoding, algorithm })
    }

    /// Is it a secret that issuer and node share?
    pub(super) fn is_secret(&self) -> bool {
        self.algorithm == Algorithm::HS256
    }

    /// Does the token's signature fit this key, by the key's own algorithm?
    pub(super) fn check(&self, token: &str, algorithm: Algorithm) -> Result<(), &'static str> {
        if algorithm != self.algorithm {
            return Err(WRONG_ALGORITHM);
        }
        let (message, signature) = token.rsplit_once('.').ok_or("the token is not a valid JWT")?;
        match crypto::verify(signature, message.as_bytes(), &self.decoding, self.algorithm) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the token's signature does not fit this node's keys"),
            Err(error) => Err(why(&error)),
        }
    }
}

const PRIVATE: &str = "holds a private key, which this node must not have; name the public one \
     (`openssl pkey -in private.pem -pubout -out public.pem`)";

pub(super) const WRONG_ALGORITHM: &str = "the token's algorithm (alg) is not one of this node's keys";

/// What an error of the library means to whoever made the token.
pub(super) fn why(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidAlgorithm => WRONG_ALGORITHM,
        ErrorKind::Json(_) => "the token's header or claims are not of the expected form",
        _ => "the token is not a valid JWT",
    }
}

/// Ed25519 public keys have 32 bytes (RFC 8032, 5.1.5).
const ED25519_KEY_BYTES: usize = 32;
/// The first bytes of a `SubjectPublicKeyInfo` of Ed25519, before the key itself (RFC 8410, 4 and 10.1).
const ED25519_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// An uncompressed point of P-256: 4, x, y.
const P256_POINT_BYTES: usize = 65;
/// The first bytes of a `SubjectPublicKeyInfo` of P-256, before the point (RFC 5480, 2.1.1).
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn of_prefix<'a>(der: &'a [u8], prefix: &[u8], length: usize) -> Option<&'a [u8]> {
    der.strip_prefix(prefix).filter(|key| key.len() == length)
}
