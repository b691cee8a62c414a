//! FlatBuffers tables built field by field, for frames that our own encoder never writes.
//!
//! Not here: which frames (`invalid`, `frames`).

use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, WIPOffset};

/// One field of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    /// One byte; also bool and enumerations.
    Byte(u8),
    /// 16 bits.
    Short(u16),
    /// 32 bits.
    Int(u32),
    /// 64 bits.
    Long(u64),
    /// A string, or bytes that should have been one.
    Text(&'a [u8]),
    /// A byte vector.
    Bytes(&'a [u8]),
    /// A vector of so many empty tables.
    Tables(usize),
}

/// A frame of this kind with these fields, each by its number in the schema (0 is the first), defaults
/// written out.
pub(crate) fn frame(kind: u8, fields: &[(u16, Field<'_>)]) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    fbb.force_defaults(true);
    let mut offsets = Vec::new();
    for (_, field) in fields {
        offsets.push(match field {
            Field::Text(s) => fbb.create_byte_string(s).value(),
            Field::Bytes(s) => fbb.create_vector(s).value(),
            Field::Tables(n) => tables(&mut fbb, *n),
            _ => 0,
        });
    }
    let start = fbb.start_table();
    for ((number, field), offset) in fields.iter().zip(offsets) {
        let slot = 4 + 2 * number;
        match field {
            Field::Byte(n) => fbb.push_slot_always(slot, *n),
            Field::Short(n) => fbb.push_slot_always(slot, *n),
            Field::Int(n) => fbb.push_slot_always(slot, *n),
            Field::Long(n) => fbb.push_slot_always(slot, *n),
            _ => fbb.push_slot_always(slot, WIPOffset::<TableFinishedWIPOffset>::new(offset)),
        }
    }
    let root = fbb.end_table(start);
    fbb.finish_minimal(root);
    [&[kind], fbb.finished_data()].concat()
}

fn tables(fbb: &mut FlatBufferBuilder<'_>, n: usize) -> u32 {
    let start = fbb.start_table();
    let empty = fbb.end_table(start);
    let entries = vec![WIPOffset::<TableFinishedWIPOffset>::new(empty.value()); n];
    fbb.create_vector(&entries).value()
}
