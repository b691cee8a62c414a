//! The header before every frame on a byte stream (QUIC).
//!
//! It is byte for byte the header of an unmasked, final, binary WebSocket frame (RFC 6455, 5.2): `0x82`, then
//! the length in 1, 3 or 9 bytes. Why: a batch then has the same bytes on every transport, so the server
//! encodes and stores it once.
//! Invariant: the length takes its shortest form.
//! Not here: masks, fragments and control frames, which only WebSocket has (`websocket`).

/// First byte of every header.
pub const MARK: u8 = 0x82;

/// Longest header: the mark, the byte 127 and eight bytes of length.
pub const HEADER_BYTES_MAX: usize = 10;

/// Bytes that the header of a frame of `len` bytes takes: 2, 4 or 10.
pub fn header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Append the header of a frame of `len` bytes.
pub fn write_header(len: usize, out: &mut Vec<u8>) {
    out.push(MARK);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Bytes that are not a valid header. The receiver closes the connection with `BadStream` or `FrameTooLarge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// The first byte is not the mark.
    Mark,
    /// The mask bit is set, or the length is not in its shortest form.
    Length,
    /// The frame is over the given limit; the announced length.
    TooLarge(u64),
}

/// Read a header from the start of `bytes`: `(header bytes, frame bytes)`, or `None` if more bytes are
/// needed.
pub fn read_header(bytes: &[u8], frame_bytes_max: usize) -> Result<Option<(usize, usize)>, HeaderFault> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if first != MARK {
        return Err(HeaderFault::Mark);
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    let (header, len) = match second {
        0..=125 => (2, u64::from(second)),
        126 => match bytes.get(2..4) {
            Some(b) => (4, u64::from(u16::from_be_bytes([b[0], b[1]]))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10) {
            Some(b) => (10, u64::from_be_bytes(b.try_into().expect("eight bytes"))),
            None => return Ok(None),
        },
        _ => return Err(HeaderFault::Length),
    };
    if len > frame_bytes_max as u64 {
        return Err(HeaderFault::TooLarge(len));
    }
    if header_len(len as usize) != header {
        return Err(HeaderFault::Length);
    }
    Ok(Some((header, len as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_class_survives() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000] {
            let mut out = Vec::new();
            write_header(len, &mut out);
            assert_eq!(out.len(), header_len(len));
            assert_eq!(read_header(&out, 1 << 20), Ok(Some((out.len(), len))));
            for cut in 0..out.len() {
                assert_eq!(read_header(&out[..cut], 1 << 20), Ok(None), "cut at {cut}");
            }
        }
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(read_header(&[0x81, 1], 9), Err(HeaderFault::Mark));
        assert_eq!(read_header(&[MARK, 0x81], 9), Err(HeaderFault::Length));
        assert_eq!(read_header(&[MARK, 126, 0, 9], 99), Err(HeaderFault::Length));
        assert_eq!(read_header(&[MARK, 100], 99), Err(HeaderFault::TooLarge(100)));
    }
}
