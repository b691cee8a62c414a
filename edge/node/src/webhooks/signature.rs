//! Signatures of webhooks, as Standard Webhooks has them: HMAC-SHA256 over id, time and body.
//!
//! Why two secrets: an application changes its secret without a moment in which a message fits none.
//! Invariant: a secret is never shown in a log or an error.
//! Not here: which secrets an endpoint has (`store`).

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// What a secret begins with in writing.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What messages to one endpoint are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

impl Secret {
    /// A new one, of 32 random bytes.
    ///
    /// # Errors
    /// The kernel gives none.
    pub fn random() -> Result<Secret, String> {
        let mut bytes = vec![0; 32];
        getrandom::fill(&mut bytes).map_err(|error| format!("the kernel gives no random bytes: {error}"))?;
        Ok(Secret(bytes))
    }

    /// From its written form.
    ///
    /// # Errors
    /// It is none; the text says what one is.
    pub fn read(text: &str) -> Result<Secret, String> {
        let bytes = text.strip_prefix(PREFIX).and_then(|text| BASE64.decode(text).ok());
        bytes.filter(|bytes| BYTES.contains(&bytes.len())).map(Secret).ok_or_else(|| {
            format!("expected a secret: {PREFIX} and {} to {} bytes in base64", BYTES.start(), BYTES.end())
        })
    }

    /// Its written form, for the application.
    pub fn written(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.0))
    }
}

/// The value of `webhook-signature`: one signature for each secret, the newest first.
pub(super) fn signatures(secrets: &[Secret], id: &str, unix_s: u64, body: &str) -> String {
    let signed = format!("{id}.{unix_s}.{body}");
    let one = |secret: &Secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
        format!("v1,{}", BASE64.encode(hmac::sign(&key, signed.as_bytes())))
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests read clocks")]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(std::slice::from_ref(&secret), id, 1_614_265_330, body), signature);
        let other = Secret::random().unwrap();
        let both = signatures(&[other.clone(), secret], id, 1_614_265_330, body);
        assert!(both.ends_with(&format!(" {signature}")) && both.matches("v1,").count() == 2);
        assert_eq!(Secret::read(&other.written()), Ok(other));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_none_is_shown() {
        for text in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_!"] {
            assert!(Secret::read(text).unwrap_err().contains("24 to 64"), "{text}");
        }
        let long = format!("whsec_{}", BASE64.encode([7; 65]));
        assert!(Secret::read(&long).is_err());
        assert_eq!(format!("{:?}", Secret::random().unwrap()), "(set)");
    }

    /// An independent implementation accepts what is signed with either secret, and nothing that was changed.
    #[test]
    fn the_reference_library_verifies_either_secret_and_nothing_that_was_changed() {
        let secrets = [Secret::random().unwrap(), Secret::random().unwrap()];
        let unix_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let (id, body) = ("msg_1", r#"{"type":"room.opened","data":{"room":"ä"}}"#);
        let headers = |id: &str, unix_s: u64, signed: &str| {
            let mut headers = hyper::HeaderMap::new();
            headers.insert("webhook-id", id.parse().unwrap());
            headers.insert("webhook-timestamp", unix_s.to_string().parse().unwrap());
            headers
                .insert("webhook-signature", signatures(&secrets, "msg_1", unix_s, signed).parse().unwrap());
            headers
        };
        for secret in &secrets {
            let verifier = standardwebhooks::Webhook::new(&secret.written()).unwrap();
            assert!(verifier.verify(body.as_bytes(), &headers(id, unix_s, body)).is_ok());
            assert!(verifier.verify(b"{}", &headers(id, unix_s, body)).is_err(), "another body");
            assert!(verifier.verify(body.as_bytes(), &headers("msg_2", unix_s, body)).is_err(), "another id");
            assert!(
                verifier.verify(body.as_bytes(), &headers(id, unix_s - 3_600, body)).is_err(),
                "an old one"
            );
        }
        let stranger = standardwebhooks::Webhook::new(&Secret::random().unwrap().written()).unwrap();
        assert!(stranger.verify(body.as_bytes(), &headers(id, unix_s, body)).is_err());
    }
}
