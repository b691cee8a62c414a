//! A bench of the WebSocket layer per frame read: header, unmasking, lending.
//!
//! Not here: the cost of the frame's payload (`frames`).

use std::hint::black_box;

use grandstand_protocol::frame::{ClientFrame, Publish};
use grandstand_protocol::websocket::{Event, Input, Limits, Opcode, Reader, Role, unmask, write_masked};

use crate::Bench;
use crate::fixture::{ALIAS, TEXT, frame};
use crate::meter::repeat;

pub(crate) const BENCHES: &[Bench] = &[
    ("websocket/one", one),
    ("websocket/burst", burst),
    ("websocket/cut", cut),
    ("unmask/4096", unmask_4096),
];

const LIMITS: Limits = Limits { message_bytes_max: 16 * 1024, fragments_max: 64, control_frames_max: 16 };

/// Frames read at once.
const BURST: u64 = 20;

/// A publication of 128 bytes of text, masked: what a chatter sends.
fn masked() -> Vec<u8> {
    let publish = Publish { alias: ALIAS.0, nonce: 7, text: TEXT, ..Publish::default() };
    let mut out = Vec::new();
    write_masked(Opcode::Binary, &frame(&ClientFrame::Publish(publish)), [1, 2, 3, 4], &mut out);
    out
}

/// Messages that `reader` finds in `bytes`.
fn read(reader: &mut Reader, bytes: &mut [u8]) -> u64 {
    let mut input = Input::new(bytes);
    let mut found = 0;
    while let Some(event) = reader.poll_event(&mut input, &LIMITS).expect("a good frame") {
        black_box(&event);
        found += u64::from(matches!(event, Event::Message { .. }));
    }
    found
}

/// One frame by itself in a read.
fn one() -> u64 {
    let (fresh, mut reader) = (masked(), Reader::new(Role::Server));
    repeat(|meter| {
        let mut reads: Vec<_> = std::iter::repeat_n(fresh.clone(), BURST as usize).collect();
        let mut found = 0;
        meter.count(BURST, || found = reads.iter_mut().map(|bytes| read(&mut reader, bytes)).sum());
        assert_eq!(found, BURST);
    })
}

/// Many frames in one read.
fn burst() -> u64 {
    let (fresh, mut reader) = (masked().repeat(BURST as usize), Reader::new(Role::Server));
    repeat(|meter| {
        let mut bytes = fresh.clone();
        let mut found = 0;
        meter.count(BURST, || found = read(&mut reader, &mut bytes));
        assert_eq!(found, BURST);
    })
}

/// A frame of which one read brings the first half and the next the rest.
fn cut() -> u64 {
    let (fresh, mut reader) = (masked(), Reader::new(Role::Server));
    repeat(|meter| {
        let mut bytes = fresh.clone();
        let (first, rest) = bytes.split_at_mut(fresh.len() / 2);
        let mut found = 0;
        meter.count(1, || found = read(&mut reader, first) + read(&mut reader, rest));
        assert_eq!(found, 1);
    })
}

fn unmask_4096() -> u64 {
    let mut bytes = vec![0x55; 4096];
    repeat(|meter| meter.count(1, || unmask(black_box(&mut bytes), [1, 2, 3, 4], 0)))
}
