//! Tests of kinds of keys: each key has one algorithm, whatever a token says, in PEM and in JSON.
//!
//! Not here: which of several keys a token is checked with (`claims`, `issuers`).

use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::*;

/// A key as issuers have it: what it signs with, and how it is published.
pub(super) struct Pair {
    pub(super) algorithm: Algorithm,
    sign: EncodingKey,
    pub(super) pem: String,
    /// Without `kid`.
    pub(super) jwk: Value,
}

impl Pair {
    pub(super) fn ed25519() -> Pair {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let x = BASE64URL.encode(pair.public_key_raw());
        Pair {
            algorithm: Algorithm::EdDSA,
            sign: EncodingKey::from_ed_der(pair.serialized_der()),
            pem: pair.public_key_pem(),
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA", "use": "sig" }),
        }
    }

    pub(super) fn p256() -> Pair {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let signing = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let raw = EcdsaKeyPair::from_pkcs8(signing, pair.serialized_der()).unwrap();
        let point = raw.public_key().as_ref().to_vec();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64URL.encode(half));
        Pair {
            algorithm: Algorithm::ES256,
            sign: EncodingKey::from_ec_der(pair.serialized_der()),
            pem: pair.public_key_pem(),
            jwk: json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "use": "sig" }),
        }
    }

    pub(super) fn rsa() -> Pair {
        let pair =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let raw = RsaKeyPair::from_pkcs8(pair.serialized_der()).unwrap();
        let modulus = raw.public_key().modulus().big_endian_without_leading_zero().to_vec();
        let exponent = raw.public_key().exponent().big_endian_without_leading_zero().to_vec();
        let [n, e] = [modulus, exponent].map(|part| BASE64URL.encode(part));
        Pair {
            algorithm: Algorithm::RS256,
            // The library wants PKCS #1, which follows the head of PKCS #8.
            sign: EncodingKey::from_rsa_der(&pair.serialized_der()[26..]),
            pem: pair.public_key_pem(),
            jwk: json!({ "kty": "RSA", "n": n, "e": e, "alg": "RS256", "use": "sig" }),
        }
    }

    pub(super) fn named(&self, kid: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = json!(kid);
        jwk
    }

    pub(super) fn token(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        token_of(&header, claims, &self.sign)
    }
}

fn key_file(files: &Files, name: &str, text: &str) -> config::Auth {
    let path = files.0.join(name);
    std::fs::write(&path, text).unwrap();
    config::Auth { key_files: vec![path.display().to_string()], ..config::Auth::default() }
}

/// The kind: every kind of public key, in every form of file, opens for its own tokens, and for none of
/// another algorithm: also not where its public bytes are taken for a shared secret.
#[test]
fn every_key_opens_by_its_own_algorithm_alone() {
    let files = Files::new("algorithms");
    let pairs = [Pair::ed25519(), Pair::p256(), Pair::rsa()];
    for (at, pair) in pairs.iter().enumerate() {
        let set = json!({ "keys": [pair.named("k")] }).to_string();
        for (form, text) in [("pem", &*pair.pem), ("jwk", &pair.jwk.to_string()), ("jwks", &set)] {
            let authority = Authority::from_config(&key_file(&files, &format!("{at}.{form}"), text)).unwrap();
            let is_ok = |token: &str| authority.authorize(token, "", NOW_MS).is_ok();
            assert!(is_ok(&pair.token(None, &json!({}))), "{form} of {:?}", pair.algorithm);
            assert!(is_ok(&pair.token(Some("k"), &json!({}))), "{form} of {:?}", pair.algorithm);
            for other in pairs.iter().filter(|other| other.algorithm != pair.algorithm) {
                assert!(!is_ok(&other.token(None, &json!({}))), "{form}: a token of {:?}", other.algorithm);
            }
            // The right key under another algorithm's name, and its public bytes as a secret.
            let good = pair.token(None, &json!({}));
            let (_, rest) = good.split_once('.').unwrap();
            for alg in ["none", "HS256", "RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"] {
                let header = BASE64URL.encode(json!({ "alg": alg }).to_string());
                assert!(!is_ok(&format!("{header}.{rest}")), "{form} of {:?} as {alg}", pair.algorithm);
            }
            for secret in [text.as_bytes(), text.trim().as_bytes(), pair.pem.as_bytes()] {
                let confused = token_of(
                    &Header::new(Algorithm::HS256),
                    &json!({}),
                    &EncodingKey::from_secret(secret).unwrap(),
                );
                assert!(!is_ok(&confused), "{form} of {:?} as a secret", pair.algorithm);
            }
        }
    }
}

/// Keys that are none, or not for this: each is refused with words.
#[test]
fn keys_that_are_unsound_are_refused_and_say_why() {
    let files = Files::new("unsound");
    let change = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk.to_string()
    };
    let (ed, ec, rsa) = (Pair::ed25519().jwk, Pair::p256().jwk, Pair::rsa().jwk);
    let short = BASE64URL.encode([0xff; 128]);
    for (text, why) in [
        (change(&ed, "d", json!("AAAA")), "private"),
        (change(&rsa, "d", json!("AAAA")), "private"),
        (change(&ed, "use", json!("enc")), "not for signatures"),
        (change(&ed, "key_ops", json!(["sign"])), "not for signatures"),
        (change(&ed, "alg", json!("HS256")), "alg"),
        (change(&rsa, "alg", json!("RS512")), "alg"),
        (change(&ec, "crv", json!("P-384")), "none of RSA"),
        (change(&ec, "x", json!(BASE64URL.encode([1; 32]))), "not whole"),
        (change(&ec, "y", json!("AAAA")), "not whole"),
        (change(&rsa, "n", json!(short)), "too short"),
        (change(&rsa, "e", json!("AQ")), "not whole"),
        (change(&rsa, "e", json!("Ag")), "not whole"),
        (change(&ed, "x", json!(7)), "none"),
        (change(&ed, "kid", json!("")), "kid"),
        (json!({ "kty": "oct", "k": BASE64URL.encode(b"short") }).to_string(), "32 bytes"),
        (json!({ "keys": [] }).to_string(), "no key"),
        (json!({ "keys": 7 }).to_string(), "list of keys"),
        (json!({ "keys": vec![ed.clone(); 51] }).to_string(), "51 keys"),
        ("{".to_owned(), "no JSON"),
        (format!("{{\"x\":\"{}\"}}", "x".repeat(70_000)), "at most 65536"),
    ] {
        let fault = Authority::from_config(&key_file(&files, "jwk", &text)).unwrap_err();
        assert!(fault.contains(why), "{text}: {fault}");
    }
    let text = json!({ "keys": [change(&ed, "use", json!("enc")), 7, ed, { "kty": "new" }] });
    let authority = Authority::from_config(&key_file(&files, "jwk", &text.to_string()));
    assert!(authority.is_ok(), "what cannot be used is passed by: {authority:?}");
    let named = config::Auth {
        key_files: vec![format!("k={}", files.0.join("jwk").display())],
        ..config::Auth::default()
    };
    std::fs::write(files.0.join("jwk"), json!({ "keys": [ed, ec] }).to_string()).unwrap();
    assert!(Authority::from_config(&named).unwrap_err().contains("leave KID= out"));
}
