//! Frame headers, parsed and written without allocation (RFC 6455 §5.2).
//!
//! Why apart from the reader: the server frames a sealed batch once for all viewers, so it writes headers
//! without any connection's state.
//! Invariants: a parsed header is well-formed by itself (known opcode, RSV zero, shortest length form,
//! control frames whole and at most 125 bytes); a wrong header is refused as soon as its bytes show the
//! fault, before the last one arrives.
//! Not here: rules that need the connection (masking by role, order of fragments, limits): `reader`.

use super::Fault;
use super::mask::unmask;

/// The longest header: 2 bytes, a 64-bit length and a masking key.
pub const HEADER_LEN_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_LEN_MAX: usize = 125;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;
const LEN_16: u8 = 126;
const LEN_64: u8 = 127;

/// The opcode of a frame (RFC 6455 §11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message that has begun.
    Continuation = 0,
    /// The first or only fragment of a text message.
    Text = 1,
    /// The first or only fragment of a binary message.
    Binary = 2,
    /// The last frame of this direction.
    Close = 8,
    /// Asks for a Pong with the same payload.
    Ping = 9,
    /// Answers a Ping, or is unsolicited.
    Pong = 10,
}

impl Opcode {
    /// Whether this is a control frame. Control frames may come between the fragments of a message, are never
    /// fragmented, and have at most 125 bytes.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }

    const fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }
}

/// One frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the last fragment of its message.
    pub fin: bool,
    /// The frame's opcode.
    pub opcode: Opcode,
    /// The masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Payload bytes that follow the header.
    pub len: u64,
}

impl Header {
    /// The header at the start of `bytes` and how many bytes it takes, or `None` while more bytes are needed.
    ///
    /// # Errors
    /// [`Fault::ProtocolError`], as soon as the given bytes show one.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let (fin, opcode) = parse_first(first)?;
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if opcode.is_control() && second & !MASKED > CONTROL_PAYLOAD_LEN_MAX as u8 {
            return Err(Fault::ProtocolError("control frame longer than 125 bytes"));
        }
        let Some((len, rest)) = parse_len(second & !MASKED, rest)? else { return Ok(None) };
        let (mask, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            let Some((key, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            (Some(*key), rest)
        };
        Ok(Some((Header { fin, opcode, mask, len }, bytes.len() - rest.len())))
    }

    /// Appends this header, in its shortest form, to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        out.push(if self.fin { FIN } else { 0 } | self.opcode as u8);
        if self.len < u64::from(LEN_16) {
            out.push(masked | self.len as u8);
        } else if let Ok(len) = u16::try_from(self.len) {
            out.push(masked | LEN_16);
            out.extend_from_slice(&len.to_be_bytes());
        } else {
            out.push(masked | LEN_64);
            out.extend_from_slice(&self.len.to_be_bytes());
        }
        if let Some(key) = self.mask {
            out.extend_from_slice(&key);
        }
    }
}

/// The number of bytes that [`write_header`] writes for a payload of `len` bytes. A masked header has four
/// more.
#[must_use]
pub const fn header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends the header of an unfragmented, unmasked frame, as a server sends it.
pub fn write_header(opcode: Opcode, len: usize, out: &mut Vec<u8>) {
    assert!(!opcode.is_control() || len <= CONTROL_PAYLOAD_LEN_MAX, "control payload of {len} bytes");
    Header { fin: true, opcode, mask: None, len: len as u64 }.write(out);
}

/// Appends a whole unfragmented, unmasked frame, as a server sends it.
pub fn write_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(header_len(payload.len()) + payload.len());
    write_header(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a whole unfragmented, masked frame, as a client sends it. `key` must be fresh and unpredictable
/// for each frame (RFC 6455 §10.3).
pub fn write_masked(opcode: Opcode, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    let len = payload.len();
    assert!(!opcode.is_control() || len <= CONTROL_PAYLOAD_LEN_MAX, "control payload of {len} bytes");
    out.reserve(header_len(len) + key.len() + len);
    Header { fin: true, opcode, mask: Some(key), len: len as u64 }.write(out);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], key, 0);
}

fn parse_first(first: u8) -> Result<(bool, Opcode), Fault> {
    if first & RSV != 0 {
        return Err(Fault::ProtocolError("reserved bit set"));
    }
    let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
        return Err(Fault::ProtocolError("reserved opcode"));
    };
    let fin = first & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(Fault::ProtocolError("fragmented control frame"));
    }
    Ok((fin, opcode))
}

/// The payload length and what follows it.
fn parse_len(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Fault> {
    let (len, len_min, rest) = match short {
        LEN_16 => {
            let Some((len, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*len)), u64::from(LEN_16), rest)
        }
        LEN_64 => {
            let Some((len, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*len), 0x1_0000, rest)
        }
        short => (u64::from(short), 0, rest),
    };
    if len < len_min {
        return Err(Fault::ProtocolError("length not in its shortest form"));
    }
    if len > i64::MAX as u64 {
        return Err(Fault::ProtocolError("length with its highest bit set"));
    }
    Ok(Some((len, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        Header::parse(bytes)
    }

    fn rule(bytes: &[u8]) -> &'static str {
        match parse(bytes) {
            Err(Fault::ProtocolError(rule)) => rule,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_rfc_examples() {
        // §5.7: unmasked text of 5, masked text of 5, first fragment of 3, binary of 256, binary of 65,536.
        let text = Header { fin: true, opcode: Opcode::Text, mask: None, len: 5 };
        assert_eq!(parse(&[0x81, 0x05, 0x48]), Ok(Some((text, 2))));
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let masked = Header { mask: Some(key), ..text };
        assert_eq!(parse(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f]), Ok(Some((masked, 6))));
        let fragment = Header { fin: false, len: 3, ..text };
        assert_eq!(parse(&[0x01, 0x03]), Ok(Some((fragment, 2))));
        let binary = Header { opcode: Opcode::Binary, len: 256, ..text };
        assert_eq!(parse(&[0x82, 0x7e, 0x01, 0x00]), Ok(Some((binary, 4))));
        let long = Header { len: 65_536, ..binary };
        assert_eq!(parse(&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]), Ok(Some((long, 10))));
    }

    #[test]
    fn reserved_bits_are_refused_at_the_first_byte() {
        // §5.2: RSV MUST be 0 unless an extension is negotiated.
        for bit in [0x40, 0x20, 0x10] {
            assert_eq!(rule(&[0x82 | bit]), "reserved bit set");
        }
    }

    #[test]
    fn reserved_opcodes_are_refused_at_the_first_byte() {
        // §5.2: opcodes 3-7 and B-F are reserved.
        for opcode in (3..=7).chain(11..=15) {
            assert_eq!(rule(&[0x80 | opcode]), "reserved opcode");
        }
    }

    #[test]
    fn control_frames_are_whole_and_short() {
        // §5.5: at most 125 bytes and MUST NOT be fragmented.
        for opcode in [8, 9, 10] {
            assert_eq!(rule(&[opcode]), "fragmented control frame");
            assert!(parse(&[0x80 | opcode, 125]).unwrap().is_some());
            assert_eq!(rule(&[0x80 | opcode, 126]), "control frame longer than 125 bytes");
            assert_eq!(rule(&[0x80 | opcode, 0xff]), "control frame longer than 125 bytes");
        }
    }

    #[test]
    fn lengths_are_in_their_shortest_form() {
        // §5.2: "the minimal number of bytes MUST be used to encode the length".
        assert_eq!(rule(&[0x82, 126, 0, 125]), "length not in its shortest form");
        assert_eq!(rule(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), "length not in its shortest form");
        assert_eq!(parse(&[0x82, 126, 0, 126]).unwrap().unwrap().0.len, 126);
        assert_eq!(parse(&[0x82, 126, 0xff, 0xff]).unwrap().unwrap().0.len, 65_535);
    }

    #[test]
    fn the_highest_bit_of_a_64_bit_length_is_zero() {
        // §5.2: "the most significant bit MUST be 0".
        assert_eq!(rule(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), "length with its highest bit set");
        let len = parse(&[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255]).unwrap().unwrap().0.len;
        assert_eq!(len, i64::MAX as u64);
    }

    #[test]
    fn whole_frames() {
        let mut out = Vec::new();
        write_frame(Opcode::Text, b"Hello", &mut out);
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        out.clear();
        write_masked(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut out);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    fn any_header() -> impl Strategy<Value = Header> {
        use Opcode::*;
        let len = prop_oneof![0u64..200, 65_400u64..65_700, 0..=i64::MAX as u64];
        let opcode = prop::sample::select(vec![Continuation, Text, Binary, Close, Ping, Pong]);
        (any::<bool>(), opcode, any::<Option<[u8; 4]>>(), len).prop_map(|(fin, opcode, mask, len)| Header {
            fin: fin || opcode.is_control(),
            opcode,
            mask,
            len: if opcode.is_control() { len % 126 } else { len },
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_parsed(header in any_header(), tail: [u8; 3]) {
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            let header_len_written = bytes.len();
            prop_assert!(header_len_written <= HEADER_LEN_MAX);
            let expected = header_len(header.len as usize) + if header.mask.is_some() { 4 } else { 0 };
            prop_assert_eq!(header_len_written, expected);
            for cut in 0..header_len_written {
                prop_assert_eq!(Header::parse(&bytes[..cut]), Ok(None));
            }
            bytes.extend(tail);
            prop_assert_eq!(Header::parse(&bytes), Ok(Some((header, header_len_written))));
        }

        #[test]
        fn what_parses_is_written_back_the_same(bytes: [u8; HEADER_LEN_MAX]) {
            if let Ok(Some((header, len))) = Header::parse(&bytes) {
                let mut out = Vec::new();
                header.write(&mut out);
                prop_assert_eq!(&out[..], &bytes[..len]);
            }
        }
    }
}
