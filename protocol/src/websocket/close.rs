//! Close frames: the valid status codes, and the payload, read and written (RFC 6455 §5.5.1, §7.4).
//!
//! Not here: when to close and what Grandstand's own codes mean (`crate::close`).

use super::Fault;
use super::header::CONTROL_PAYLOAD_LEN_MAX;

/// The longest reason: a control frame less the two bytes of the code.
pub const REASON_LEN_MAX: usize = CONTROL_PAYLOAD_LEN_MAX - 2;

/// Whether `code` is valid in a Close frame: the registered codes that are not reserved for local use (1004,
/// 1005, 1006, 1015), and those for libraries (3000 to 3999) and applications (4000 to 4999).
#[must_use]
pub const fn is_valid_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The payload of a Close frame. A reason longer than [`REASON_LEN_MAX`] bytes is cut at a character
/// boundary.
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    assert!(is_valid_code(code), "close code {code} is not for the wire");
    let reason = &reason[..reason.floor_char_boundary(REASON_LEN_MAX)];
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The code and the reason in the payload of a Close frame.
///
/// # Errors
/// A payload of one byte, a code that may not be sent, or a reason that is not UTF-8.
pub fn parse_close(payload: &[u8]) -> Result<(Option<u16>, &str), Fault> {
    if payload.is_empty() {
        return Ok((None, ""));
    }
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return Err(Fault::ProtocolError("close payload of one byte"));
    };
    let code = u16::from_be_bytes(*code);
    if !is_valid_code(code) {
        return Err(Fault::ProtocolError("close code that may not be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Fault::InvalidUtf8)?;
    Ok((Some(code), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_be_sent() {
        // §7.4.1, §7.4.2 and the IANA registry (1012 to 1014).
        for code in
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
        {
            assert_eq!(parse_close(&close_payload(code, "x")), Ok((Some(code), "x")));
        }
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            let payload = u16::to_be_bytes(code);
            assert_eq!(
                parse_close(&payload),
                Err(Fault::ProtocolError("close code that may not be sent")),
                "{code}"
            );
        }
    }

    #[test]
    fn payloads() {
        // §5.5.1: empty, or a 2-byte code and a UTF-8 reason.
        assert_eq!(parse_close(b""), Ok((None, "")));
        assert_eq!(parse_close(b"\x03"), Err(Fault::ProtocolError("close payload of one byte")));
        assert_eq!(parse_close(b"\x03\xe8"), Ok((Some(1000), "")));
        assert_eq!(parse_close(b"\x03\xe8\xff"), Err(Fault::InvalidUtf8));
        assert_eq!(parse_close(b"\x03\xe8\xc3"), Err(Fault::InvalidUtf8));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let payload = close_payload(1000, &"€".repeat(100));
        assert_eq!(payload.len(), 2 + 123);
        assert_eq!(parse_close(&payload).unwrap().1, "€".repeat(41));
        let payload = close_payload(1000, &format!("xx{}", "€".repeat(100)));
        assert_eq!(payload.len(), 2 + 2 + 120);
    }
}
