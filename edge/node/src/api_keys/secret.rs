//! The text of an API key: `gsk_<env>_<22 letters and digits>_<checksum>`.
//!
//! Why such a form: scanners of source code find a leaked key by its prefix, and the checksum tells a key
//! from a text that looks like one, without asking a node. Twenty-two letters and digits are 131 random
//! bits. Invariant: only its SHA-256 is stored; a plain hash is enough, since nobody can guess 131 bits.
//! Not here: what a key may do (`api_keys`).

use std::fmt;

use aws_lc_rs::digest;

const PREFIX: &str = "gsk_";
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random letters.
const RANDOM: usize = 22;
/// Letters of the checksum: 62^6 is more than 2^32.
const CHECKSUM: usize = 6;
/// Bytes of the name of an environment.
pub(super) const ENV_BYTES_MAX: usize = 16;

/// The SHA-256 of a key.
pub(super) type Hash = [u8; 32];

/// A new key, which is shown once.
pub struct NewSecret(String);

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a key)")
    }
}

impl NewSecret {
    /// A random key for this environment (`is_env`).
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn random(env: &str) -> Result<NewSecret, getrandom::Error> {
        let mut text = format!("{PREFIX}{env}_");
        let end = text.len() + RANDOM;
        while text.len() < end {
            let mut bytes = [0; RANDOM];
            getrandom::fill(&mut bytes)?;
            // Of 256 values, the last 8 would make some letters more likely.
            let letters = bytes.iter().filter(|byte| **byte < 248).map(|byte| letter(u32::from(*byte)));
            text.extend(letters.take(end - text.len()));
        }
        let checksum = checksum(&text);
        text.push('_');
        text.push_str(&checksum);
        Ok(NewSecret(text))
    }

    /// The key itself, for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> Hash {
        hash(&self.0)
    }
}

/// Can this be the name of an environment: 1 to 16 small letters and digits?
pub fn is_env(env: &str) -> bool {
    (1..=ENV_BYTES_MAX).contains(&env.len())
        && env.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Has this text the form of a key, with the right checksum?
pub(super) fn is_well_formed(text: &str) -> bool {
    let Some((rest, checked)) = text.rsplit_once('_') else { return false };
    let Some((env, random)) = rest.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    is_env(env)
        && random.len() == RANDOM
        && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && checked == checksum(rest)
}

/// The SHA-256 of a key.
pub(super) fn hash(text: &str) -> Hash {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn letter(number: u32) -> char {
    LETTERS[number as usize % LETTERS.len()].into()
}

/// The CRC-32 of a text, as six letters and digits, the highest first.
fn checksum(text: &str) -> String {
    let crc = crc32(text.as_bytes());
    (0..CHECKSUM as u32).rev().map(|place| letter(crc / 62_u32.pow(place) % 62)).collect()
}

/// CRC-32 (ISO-HDLC), bit by bit: a key is short, and this is done once a request.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_the_form_and_any_change_of_it_is_noticed() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of CRC-32/ISO-HDLC");
        let key = NewSecret::random("live").unwrap();
        let text = key.expose();
        assert!(is_well_formed(text), "{text}");
        assert_eq!(text.len(), "gsk_live_".len() + RANDOM + 1 + CHECKSUM);
        assert_ne!(text, NewSecret::random("live").unwrap().expose());
        for at in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            let other = String::from_utf8(other).unwrap();
            assert!(!is_well_formed(&other), "{other}: one letter differs");
            assert!(!is_well_formed(&text[..at]), "it is cut");
        }
        for bad in ["", "gsk_", "gsk__", "gsk_Live_0000000000000000000000_000000", "Bearer x"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert_eq!(format!("{key:?}"), "(a key)");
    }

    #[test]
    fn the_letters_of_keys_are_equally_likely() {
        let mut counts = [0_u32; 128];
        for _ in 0..2_000 {
            let key = NewSecret::random("t").unwrap();
            for byte in key.expose()["gsk_t_".len()..][..RANDOM].bytes() {
                counts[usize::from(byte)] += 1;
            }
        }
        // 44,000 letters, 710 of each: six standard deviations are 158.
        assert!(LETTERS.iter().all(|&byte| counts[usize::from(byte)].abs_diff(710) < 170), "{counts:?}");
    }
}
