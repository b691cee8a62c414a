//! Headers on a byte stream, as test vectors (clause Q-3).
//!
//! Why: clients in other languages are held to the same bytes.

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::stream::HeaderFault;
use serde_json::{Value, json};

use super::hex;

/// What a reader makes of the bytes so far.
pub(crate) enum Expect {
    /// A header of so many bytes, before a frame of so many.
    Header(usize, usize),
    /// More bytes are needed.
    More,
    /// The connection ends.
    Fault(HeaderFault),
}

/// The beginning of a stream.
pub(crate) struct StreamVector {
    /// Unique.
    pub(crate) name: &'static str,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// Largest frame taken.
    pub(crate) frame_bytes_max: usize,
    /// What comes of it.
    pub(crate) expect: Expect,
}

/// The close code that answers a fault.
pub(crate) fn close_code(fault: HeaderFault) -> CloseCode {
    match fault {
        HeaderFault::Mark | HeaderFault::Length => CloseCode::BadStream,
        HeaderFault::TooLarge(_) => CloseCode::FrameTooLarge,
    }
}

impl StreamVector {
    /// Its fields in the file.
    pub(crate) fn to_json(&self) -> Vec<(&'static str, Value)> {
        let mut out = vec![
            ("name", json!(self.name)),
            ("clause", json!("Q-3")),
            ("hex", json!(hex(&self.bytes))),
            ("frame_bytes_max", json!(self.frame_bytes_max)),
        ];
        match &self.expect {
            Expect::Header(header, frame) => {
                out.extend([("header_bytes", json!(header)), ("frame_bytes", json!(frame))]);
            }
            Expect::More => out.push(("more", json!(true))),
            Expect::Fault(fault) => {
                let code = close_code(*fault);
                out.extend([("close", json!(code.wire())), ("close_name", json!(format!("{code:?}")))]);
            }
        }
        out
    }
}

/// All of them.
pub(crate) fn all() -> Vec<StreamVector> {
    use Expect::*;
    let v = |name, bytes: &[u8], expect| StreamVector {
        name,
        bytes: bytes.to_vec(),
        frame_bytes_max: 16 * 1024,
        expect,
    };
    let large =
        |name, bytes: &[u8], expect| StreamVector { frame_bytes_max: 1 << 20, ..v(name, bytes, expect) };
    vec![
        v("nothing", &[], More),
        v("mark_alone", &[0x82], More),
        v("empty_frame", &[0x82, 0], Header(2, 0)),
        v("five_bytes_of_frame", &[0x82, 5, 7], Header(2, 5)),
        v("longest_short_form", &[0x82, 125], Header(2, 125)),
        v("two_byte_form", &[0x82, 126, 0, 126], Header(4, 126)),
        v("two_byte_form_cut", &[0x82, 126, 0], More),
        v("at_the_limit", &[0x82, 126, 0x40, 0], Header(4, 16_384)),
        v("over_the_limit", &[0x82, 126, 0x40, 1], Fault(HeaderFault::TooLarge(16_385))),
        large("longest_two_byte_form", &[0x82, 126, 0xff, 0xff], Header(4, 65_535)),
        large("eight_byte_form", &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], Header(10, 65_536)),
        large("eight_byte_form_cut", &[0x82, 127, 0, 0, 0, 0, 0, 1, 0], More),
        large(
            "eight_byte_form_over",
            &[0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 1],
            Fault(HeaderFault::TooLarge(1_048_577)),
        ),
        v(
            "widest_length",
            &[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255],
            Fault(HeaderFault::TooLarge(u64::MAX)),
        ),
        v("long_form_of_5", &[0x82, 126, 0, 5], Fault(HeaderFault::Length)),
        v("longest_form_of_5", &[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 5], Fault(HeaderFault::Length)),
        v("masked", &[0x82, 0x85], Fault(HeaderFault::Length)),
        v("text", &[0x81, 5], Fault(HeaderFault::Mark)),
        v("not_final", &[0x02, 5], Fault(HeaderFault::Mark)),
        v("reserved_bit", &[0xc2, 5], Fault(HeaderFault::Mark)),
        v("http", b"GET /v1 HTTP/1.1", Fault(HeaderFault::Mark)),
        v("zero", &[0], Fault(HeaderFault::Mark)),
    ]
}
