//! Compressed frames, as test vectors (clauses F-5, F-9).
//!
//! Why: clients in other languages are held to the same bytes.

use flate2::{Compress, Compression, FlushCompress};
use grandstand_protocol::batch::{BatchWriter, MessageParts};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::compress::{COMPRESSED_BATCH, DICTIONARY_1};
use grandstand_protocol::frame::Kind;
use grandstand_protocol::limits::SERVER_FRAME_BYTES_MAX;
use serde_json::{Value, json};

use super::hex;

/// What comes of a compressed frame.
pub(crate) enum Expect {
    /// This body.
    Body(Vec<u8>),
    /// The client closes.
    Close(CloseCode),
}

/// A compressed frame and what it opens to.
pub(crate) struct CompressedVector {
    /// Unique.
    pub(crate) name: &'static str,
    /// Clause of docs/PROTOCOL.md.
    pub(crate) clause: &'static str,
    /// The frame, from its kind on.
    pub(crate) frame: Vec<u8>,
    /// What comes of it.
    pub(crate) expect: Expect,
}

impl CompressedVector {
    /// Its fields in the file.
    pub(crate) fn to_json(&self) -> Vec<(&'static str, Value)> {
        let mut out = vec![
            ("name", json!(self.name)),
            ("clause", json!(self.clause)),
            ("hex", json!(hex(&self.frame))),
        ];
        match &self.expect {
            // A megabyte of zeros is not written out.
            Expect::Body(body) if body.len() > 65_536 && body.iter().all(|&byte| byte == 0) => {
                out.extend([("opens_to", json!(hex(&[Kind::Batch as u8]))), ("zeros", json!(body.len()))]);
            }
            Expect::Body(body) => {
                out.push(("opens_to", json!(hex(&[&[Kind::Batch as u8], &body[..]].concat()))));
            }
            Expect::Close(code) => {
                out.extend([("close", json!(code.wire())), ("close_name", json!(format!("{code:?}")))]);
            }
        }
        out
    }
}

/// Raw deflate of these bytes at a level, against a dictionary.
fn deflated(bytes: &[u8], level: u32, dictionary: &[u8]) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::new(level), false);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).expect("before any input");
    }
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 64);
    deflate.compress_vec(bytes, &mut out, FlushCompress::Finish).expect("room enough");
    out
}

fn said(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut writer = BatchWriter::begin(&mut body, 7, messages.len(), false, false, 0);
    writer.chat(0, 250, 0);
    for (author, text) in messages {
        writer.message(&MessageParts { author, text, ..MessageParts::default() });
    }
    writer.finish();
    body
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&[COMPRESSED_BATCH], payload].concat()
}

/// All of them.
pub(crate) fn all() -> Vec<CompressedVector> {
    let mut out = opening();
    out.extend(closing());
    out
}

fn opening() -> Vec<CompressedVector> {
    let chat = said(&[("ann", "that was so good, see you all next week"), ("bob", "haha"), ("ann", "haha")]);
    let ja = said(&[("ann", "すごい、最高だった"), ("bob", "88888888"), ("eve", "鳥肌")]);
    let emotes = said(&[("ann", "🎉🎉🎉 😂"), ("bob", "❤ ❤ ❤")]);
    let long = said(&[("ann", &"on and on and on, ".repeat(200))]);
    let stored = [&[1, chat.len() as u8, 0, !chat.len() as u8, 0xff], &chat[..]].concat();
    let mut two_blocks = vec![0, 3, 0, !3, 0xff];
    two_blocks.extend_from_slice(&chat[..3]);
    two_blocks.extend(deflated(&chat[3..], 9, &[]));
    let (first, last) = (&DICTIONARY_1[..60], &DICTIONARY_1[DICTIONARY_1.len() - 60..]);
    let dictionary = |bytes: &[u8]| deflated(bytes, 9, DICTIONARY_1);
    let opens = |name, payload: Vec<u8>, body: Vec<u8>| CompressedVector {
        name,
        clause: "F-5",
        frame: frame(&payload),
        expect: Expect::Body(body),
    };
    vec![
        opens("chat", dictionary(&chat), chat.clone()),
        opens("chat_level_1", deflated(&chat, 1, DICTIONARY_1), chat.clone()),
        opens("chat_without_reference_to_the_dictionary", deflated(&chat, 9, &[]), chat.clone()),
        opens("chat_stored", stored, chat.clone()),
        opens("chat_in_two_blocks", two_blocks, chat),
        opens("japanese", dictionary(&ja), ja),
        opens("emotes", dictionary(&emotes), emotes),
        opens("long", dictionary(&long), long),
        // Not bodies of batches: what opening alone says.
        opens("first_of_the_dictionary", dictionary(first), first.to_vec()),
        opens("last_of_the_dictionary", dictionary(last), last.to_vec()),
        opens("nothing", dictionary(b""), Vec::new()),
        opens(
            "largest",
            dictionary(&vec![0; SERVER_FRAME_BYTES_MAX - 1]),
            vec![0; SERVER_FRAME_BYTES_MAX - 1],
        ),
    ]
}

fn closing() -> Vec<CompressedVector> {
    let good = deflated(&said(&[("ann", "that was so good")]), 9, DICTIONARY_1);
    let foreign: Vec<u8> = (0..4000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let elsewhere = deflated(&foreign[..300], 9, &[&foreign[..8000], DICTIONARY_1].concat());
    let closes = |name, payload: Vec<u8>, code| CompressedVector {
        name,
        clause: "F-9",
        frame: frame(&payload),
        expect: Expect::Close(code),
    };
    let flipped = good.iter().enumerate().map(|(at, byte)| if at == 0 { byte | 6 } else { *byte }).collect();
    vec![
        closes("no_stream", Vec::new(), CloseCode::Malformed),
        closes("cut", good[..good.len() - 1].to_vec(), CloseCode::Malformed),
        closes("cut_early", good[..2].to_vec(), CloseCode::Malformed),
        closes("byte_behind_the_end", [&good[..], &[0]].concat(), CloseCode::Malformed),
        closes("stream_behind_the_end", [&good[..], &good[..]].concat(), CloseCode::Malformed),
        closes("reserved_block", flipped, CloseCode::Malformed),
        closes("stored_length_that_differs", vec![1, 3, 0, 0, 0, 1, 2, 3], CloseCode::Malformed),
        closes("reference_before_the_dictionary", elsewhere, CloseCode::Malformed),
        closes(
            "one_byte_too_large",
            deflated(&vec![0; SERVER_FRAME_BYTES_MAX], 9, DICTIONARY_1),
            CloseCode::FrameTooLarge,
        ),
    ]
}
