//! The layouts that were tried, each as a function from a batch to the payloads of its WebSocket messages.
//!
//! The FlatBuffers ones are built slot by slot, as generated code would: fields with default values take no
//! bytes, equal vtables are shared.
//! Not here: the choice of batches, the evaluation of the sizes (`main`).

use std::cell::RefCell;

use flatbuffers::{FlatBufferBuilder, WIPOffset};
use grandstand_protocol::batch::{BatchWriter, MessageParts};
use grandstand_protocol::compress::Compressor;
use grandstand_protocol::frame::{Encoder, Role, ServerFrame};
use grandstand_protocol::stream::{header_len, read_header};
use serde_json::json;

use super::logs::Batch;
use grandstand_harness::chat_log::Message;

/// A way to put a batch on the wire.
pub(crate) struct Layout {
    /// As it stands in the table.
    pub(crate) name: &'static str,
    payloads: fn(&Batch<'_>) -> Vec<Vec<u8>>,
}

impl Layout {
    /// Bytes of a batch, headers of WebSocket messages included.
    pub(crate) fn wire_bytes(&self, batch: &Batch<'_>) -> usize {
        (self.payloads)(batch).iter().map(|payload| header_len(payload.len()) + payload.len()).sum()
    }
}

/// The layout of the protocol.
pub(crate) const PLAIN: &str = "**the packed body alone**";
/// The same as it goes to clients that open compressed batches.
pub(crate) const COMPRESSED: &str = "**the same, compressed** (F-5)";

/// All of them, in the order of the table.
pub(crate) const LAYOUTS: &[Layout] = &[
    Layout { name: "JSON, an envelope per message", payloads: json_envelopes },
    Layout { name: "JSON array of name and text", payloads: json_array },
    Layout { name: "FlatBuffers, a table per message", payloads: |b| vec![table_per_message(b)] },
    Layout { name: "FlatBuffers, parallel vectors", payloads: |b| vec![parallel_vectors(b)] },
    Layout { name: "FlatBuffers, vector of structs and a blob", payloads: |b| vec![structs_and_blob(b)] },
    Layout { name: "FlatBuffers table around a packed body", payloads: |b| vec![packed_in_table(b)] },
    Layout { name: PLAIN, payloads: |b| vec![packed_frame(b)] },
    Layout { name: COMPRESSED, payloads: |b| vec![compressed_frame(b)] },
    Layout {
        name: "the same, control byte only where needed",
        payloads: |b| vec![behind_kind(&packed_tighter(b))],
    },
];

/// The room's alias: two bytes as a varint, as on a node with some hundred rooms.
const ALIAS: u32 = 300;

/// One message each, in the form of a publication of Centrifugo's JSON protocol.
fn json_envelopes(batch: &Batch<'_>) -> Vec<Vec<u8>> {
    let envelope = |(i, row): (usize, &Message)| {
        let data = json!({ "u": &*row.author, "m": &*row.text });
        let push =
            json!({ "channel": "show/1", "pub": { "data": data, "offset": batch.first_offset + i as u64 } });
        json!({ "push": push }).to_string().into_bytes()
    };
    batch.rows.iter().enumerate().map(envelope).collect()
}

/// Names and texts and nothing else: less than a protocol needs, and so the measure.
fn json_array(batch: &Batch<'_>) -> Vec<Vec<u8>> {
    let messages: Vec<_> =
        batch.rows.iter().map(|row| json!({ "u": &*row.author, "m": &*row.text })).collect();
    vec![json!(messages).to_string().into_bytes()]
}

fn behind_kind(body: &[u8]) -> Vec<u8> {
    [&[0x47], body].concat()
}

/// Slot of the field with this number.
fn slot(number: u16) -> u16 {
    4 + 2 * number
}

/// Fields of the batch that all FlatBuffers layouts have, before their own from number 3 on.
fn push_head(fbb: &mut FlatBufferBuilder<'_>, batch: &Batch<'_>) {
    fbb.push_slot::<u32>(slot(0), ALIAS, 0);
    fbb.push_slot::<u32>(slot(1), batch.time_delta_ms as u32, 0);
    fbb.push_slot::<u8>(slot(2), batch.first_offset as u8, 0);
}

fn finish<T>(mut fbb: FlatBufferBuilder<'_>, root: WIPOffset<T>) -> Vec<u8> {
    fbb.finish_minimal(root);
    behind_kind(fbb.finished_data())
}

/// `Batch { alias, time, check, messages: [Message { author, text, role }] }`.
fn table_per_message(batch: &Batch<'_>) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let mut messages = Vec::new();
    for row in batch.rows {
        let (author, text) = (fbb.create_string(&row.author), fbb.create_string(&row.text));
        let start = fbb.start_table();
        fbb.push_slot_always(slot(0), author);
        fbb.push_slot_always(slot(1), text);
        fbb.push_slot::<u8>(slot(2), row.role as u8, 0);
        messages.push(fbb.end_table(start));
    }
    let messages = fbb.create_vector(&messages);
    let start = fbb.start_table();
    push_head(&mut fbb, batch);
    fbb.push_slot_always(slot(3), messages);
    let root = fbb.end_table(start);
    finish(fbb, root)
}

/// `Batch { alias, time, check, authors: [string], texts: [string], roles: [ubyte] }`; no roles if all are
/// viewers.
fn parallel_vectors(batch: &Batch<'_>) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let authors: Vec<_> = batch.rows.iter().map(|row| fbb.create_string(&row.author)).collect();
    let texts: Vec<_> = batch.rows.iter().map(|row| fbb.create_string(&row.text)).collect();
    let (authors, texts) = (fbb.create_vector(&authors), fbb.create_vector(&texts));
    let roles = roles(batch).map(|roles| fbb.create_vector(&roles));
    let start = fbb.start_table();
    push_head(&mut fbb, batch);
    fbb.push_slot_always(slot(3), authors);
    fbb.push_slot_always(slot(4), texts);
    if let Some(roles) = roles {
        fbb.push_slot_always(slot(5), roles);
    }
    let root = fbb.end_table(start);
    finish(fbb, root)
}

fn roles(batch: &Batch<'_>) -> Option<Vec<u8>> {
    let roles: Vec<u8> = batch.rows.iter().map(|row| row.role as u8).collect();
    roles.iter().any(|&role| role != 0).then_some(roles)
}

/// `Batch { alias, time, check, messages: [struct { author_len: u8, role: u8, text_len: u16 }], blob: [ubyte]
/// }`. The struct's four bytes are written as one number, which has the same size and alignment.
fn structs_and_blob(batch: &Batch<'_>) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let of =
        |row: &Message| (row.author.len() as u32) << 24 | (row.role as u32) << 16 | row.text.len() as u32;
    let structs: Vec<u32> = batch.rows.iter().map(of).collect();
    let blob: Vec<u8> =
        batch.rows.iter().flat_map(|row| [row.author.as_bytes(), row.text.as_bytes()].concat()).collect();
    let (structs, blob) = (fbb.create_vector(&structs), fbb.create_vector(&blob));
    let start = fbb.start_table();
    push_head(&mut fbb, batch);
    fbb.push_slot_always(slot(3), structs);
    fbb.push_slot_always(slot(4), blob);
    let root = fbb.end_table(start);
    finish(fbb, root)
}

/// `Batch { body: [ubyte] }`.
fn packed_in_table(batch: &Batch<'_>) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let body = fbb.create_vector(&packed(batch));
    let start = fbb.start_table();
    fbb.push_slot_always(slot(0), body);
    let root = fbb.end_table(start);
    finish(fbb, root)
}

/// What goes over the wire.
fn packed_frame(batch: &Batch<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().server(&ServerFrame::Batch(&packed(batch)), &mut out);
    out
}

/// What goes over the wire to whom opens it: compressed where that takes less.
fn compressed_frame(batch: &Batch<'_>) -> Vec<u8> {
    thread_local! {
        static COMPRESSOR: RefCell<Compressor> = RefCell::default();
    }
    let body = packed(batch);
    match COMPRESSOR.with_borrow_mut(|compressor| compressor.batch_framed(&body)) {
        Some(wire) => {
            let (header, _) = read_header(&wire, usize::MAX).ok().flatten().expect("a header of our own");
            wire[header..].to_vec()
        }
        None => packed_frame(batch),
    }
}

fn packed(batch: &Batch<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut w = BatchWriter::begin(&mut body, ALIAS, batch.rows.len(), false, false, 0);
    w.chat(batch.first_offset, batch.time_delta_ms, 0);
    for row in batch.rows {
        let Message { author, text, role, .. } = row;
        w.message(&MessageParts { role: *role as u8, author, text, ..MessageParts::default() });
    }
    w.finish();
    body
}

/// An idea: the author's length, whose lowest bit says whether a control byte follows, in place of the
/// control byte and the author's end. One byte less for each message of a viewer.
fn packed_tighter(batch: &Batch<'_>) -> Vec<u8> {
    let plain = batch.rows.iter().filter(|row| row.role == Role::Viewer && row.author.len() < 64).count();
    let mut body = packed(batch);
    body.truncate(body.len() - plain);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::compress::{COMPRESSED_BATCH, Decompressor};

    fn rows() -> Vec<Message> {
        let row = |author: &str, text: &str, role| Message {
            t_ms: 0,
            author: author.into(),
            text: text.into(),
            role,
        };
        vec![
            row("ann", "hello there", Role::Viewer),
            row("bob", "two words", Role::Host),
            row("ann", "yes", Role::Viewer),
        ]
    }

    #[test]
    fn every_layout_carries_every_name_and_text() {
        let rows = rows();
        let batch = Batch { first_offset: 7, time_delta_ms: 250, rows: &rows };
        for layout in LAYOUTS
            .iter()
            .filter(|layout| !layout.name.contains("only where needed") && layout.name != COMPRESSED)
        {
            let bytes = (layout.payloads)(&batch).concat();
            for part in rows.iter().flat_map(|row| [&row.author, &row.text]) {
                assert!(
                    bytes.windows(part.len()).any(|w| w == part.as_bytes()),
                    "{}: no {part}",
                    layout.name
                );
            }
        }
    }

    #[test]
    fn the_compressed_form_opens_to_the_plain_one() {
        let rows = rows();
        let batch = Batch { first_offset: 7, time_delta_ms: 250, rows: &rows };
        let frame = compressed_frame(&batch);
        assert!(frame.len() < packed_frame(&batch).len());
        assert_eq!(frame[0], COMPRESSED_BATCH);
        assert_eq!(Decompressor::default().open(&frame[1..]), Ok(&packed(&batch)[..]));
    }

    #[test]
    fn sizes_are_what_the_layout_says() {
        let rows = rows();
        let batch = Batch { first_offset: 7, time_delta_ms: 250, rows: &rows[..1] };
        let packed_bytes = |name: &str| {
            let layout = LAYOUTS.iter().find(|layout| layout.name.contains(name)).expect("a layout");
            layout.wire_bytes(&batch)
        };
        // WebSocket header, kind; alias 2, head, check, time 2; control, two ends.
        assert_eq!(packed_bytes("body alone"), 2 + 1 + 6 + 3 + 14);
        assert_eq!(packed_bytes("only where needed"), 2 + 1 + 6 + 2 + 14);
    }
}
