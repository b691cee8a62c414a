//! Bodies of batches, as test vectors: what is in them, where they leave a reader, or where they stop making
//! sense.
//!
//! Why: clients in other languages are held to the same bytes.

use grandstand_protocol::batch::*;
use serde_json::{Value, json};

use super::{hex, long};

/// Where every reader of the vectors stands before the batch.
pub(crate) const BEFORE: Position = Position { epoch: 2, offset: 1000, time_ms: 1_700_000_000_000 };

/// One body.
pub(crate) struct BatchVector {
    /// Unique.
    pub(crate) name: &'static str,
    /// Clause of docs/PROTOCOL.md.
    pub(crate) clause: &'static str,
    /// The bytes.
    pub(crate) body: Vec<u8>,
    /// Whether it is a body at all, and if our writer writes the same bytes.
    pub(crate) form: Form,
}

/// See [`BatchVector::form`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As our writer writes it.
    Canonical,
    /// Allowed, but not as our writer writes it.
    Other,
    /// Not a body.
    Fault,
    /// A body, but not the one that comes next.
    OutOfPlace,
}

/// What is in a body: its head, its items and the position after it.
type Read = (Value, Vec<Value>, Result<Position, Desync>);

/// Read a body.
pub(crate) fn read(body: &[u8]) -> Result<Read, BatchFault> {
    let mut r = BatchReader::new(body)?;
    let head = json!({ "alias": r.alias(), "count": r.count(), "check": r.check(), "time": long(r.time_delta_ms()) });
    let (mut items, mut at) = (Vec::new(), BEFORE);
    let begun = at.begin(&r);
    while let Some(item) = r.next_item()? {
        items.push(of_item(&item, &mut at));
    }
    Ok((head, items, begun.map(|()| at)))
}

fn of_item(item: &Item<'_>, at: &mut Position) -> Value {
    match item {
        Item::Message(m) => json!({ "message": {
            "offset": long(at.message(m)), "skip": long(m.skip), "role": m.role, "author": m.author, "text": m.text,
            "attachment": m.attachment, "reply_back": long(m.reply_back), "folded": long(m.folded),
        }}),
        Item::Removed(skip) => json!({ "removed": { "offset": long(at.entry(*skip)), "skip": long(*skip) } }),
        Item::Act(act) => {
            let offset = at.entry(act.skip);
            json!({ "act": {
                "offset": long(offset), "skip": long(act.skip), "note": act.note, "removes": of_removal(act.removal(offset)),
            }})
        }
        Item::Omitted(n) => {
            at.omitted(*n);
            json!({ "omitted": long(*n) })
        }
        Item::Tally { key, count } => json!({ "tally": { "key": key, "count": long(*count) } }),
        Item::StateVersion(version) => json!({ "state_version": long(*version) }),
        Item::State(c) => json!({ "state": { "key": c.key, "value": c.value.map(hex) } }),
    }
}

fn of_removal(removal: Removal<'_>) -> Value {
    let runs = |runs: Runs<'_>| runs.map(|(first, next)| [long(first), long(next)]).collect::<Vec<_>>();
    match removal {
        Removal::One { offset } => json!({ "one": long(offset) }),
        Removal::Names { from, names, but } => {
            json!({ "names": names.collect::<Vec<_>>(), "from": long(from), "but": runs(but) })
        }
        Removal::Runs(only) => json!({ "runs": runs(only) }),
        Removal::All { from } => json!({ "all_from": long(from) }),
        Removal::Unknown => Value::Null,
    }
}

/// Write a body anew from what a reader finds in it.
pub(crate) fn rewrite(body: &[u8]) -> Vec<u8> {
    let (mut items, mut r) = (Vec::new(), BatchReader::new(body).expect("a head"));
    let (alias, check, time) = (r.alias(), r.check(), r.time_delta_ms());
    let has_chat = r.has_chat();
    while let Some(item) = r.next_item().expect("an item") {
        items.push(item);
    }
    let count = |of: fn(&Item<'_>) -> bool| items.iter().filter(|i| of(i)).count();
    let messages = count(|i| matches!(i, Item::Message(_) | Item::Removed(_) | Item::Act(_)));
    let tallies = count(|i| matches!(i, Item::Tally { .. }));
    let changes = count(|i| matches!(i, Item::State(_)));
    let state = items.iter().any(|i| matches!(i, Item::StateVersion(_)));
    let omitted =
        items.iter().find_map(|i| if let Item::Omitted(n) = i { Some(*n) } else { None }).unwrap_or(0);

    let mut out = Vec::new();
    let mut w = BatchWriter::begin(&mut out, alias, messages, tallies > 0, state, omitted);
    if has_chat {
        w.chat(u64::from(check), time, omitted);
    }
    let mut tallies_begun = false;
    for item in &items {
        match *item {
            Item::Message(Message { skip, role, author, text, attachment, reply_back, folded }) => {
                w.message(&MessageParts { role, author, text, attachment, reply_back, folded, skip });
            }
            Item::Removed(skip) => w.removed(skip),
            Item::Act(act) => w.act_again(&act),
            Item::Omitted(_) => {}
            Item::Tally { key, count } => {
                if !std::mem::replace(&mut tallies_begun, true) {
                    w.tallies(tallies);
                }
                w.tally(key, count);
            }
            Item::StateVersion(version) => w.state(changes, version),
            Item::State(StateChange { key, value }) => w.change(key, value),
        }
    }
    w.finish();
    out
}

impl BatchVector {
    /// Its fields in the file.
    pub(crate) fn to_json(&self) -> Vec<(&'static str, Value)> {
        let mut out =
            vec![("name", json!(self.name)), ("clause", json!(self.clause)), ("hex", json!(hex(&self.body)))];
        match read(&self.body) {
            Ok((head, items, after)) => {
                out.extend([("head", head), ("before", position(&BEFORE)), ("items", json!(items))]);
                out.push(("after", after.map_or_else(|d| json!({ "desync": d.check }), |at| position(&at))));
                if self.form == Form::Other {
                    out.push(("canonical", json!(false)));
                }
            }
            Err(fault) => out.push(("fault", json!({ "at": fault.at, "expected": fault.expected }))),
        }
        out
    }
}

fn position(at: &Position) -> Value {
    json!({ "epoch": long(at.epoch), "offset": long(at.offset), "time_ms": long(at.time_ms) })
}

fn m(author: &'static str, text: &'static str) -> MessageParts<'static> {
    MessageParts { author, text, ..MessageParts::default() }
}

/// Low byte of the offset at which the vectors begin.
const CHECK: u8 = BEFORE.offset as u8;

fn chat(alias: u32, time_ms: u64, messages: &[MessageParts<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = BatchWriter::begin(&mut out, alias, messages.len(), false, false, 0);
    w.chat(BEFORE.offset, time_ms, 0);
    messages.iter().for_each(|m| w.message(m));
    w.finish();
    out
}

/// Every feature at once.
fn full() -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = BatchWriter::begin(&mut out, 300, 3, true, true, 70_000);
    w.chat(BEFORE.offset, 250, 70_000);
    w.message(&MessageParts { role: 2, skip: 3, ..m("Viewer 1", "goal! ⚽") });
    w.message(&MessageParts { attachment: "image:7", reply_back: 1, folded: 9, ..m("Viewer 2", "") });
    w.message(&MessageParts {
        role: 5,
        skip: 1 << 40,
        reply_back: u64::MAX,
        folded: 200,
        ..m("", "line one\n\tline two")
    });
    w.tallies(2);
    w.tally("❤", 1000);
    w.tally(":goal:", 1);
    w.state(3, 17);
    w.change("score", Some(b"1:0"));
    w.change("poll", None);
    w.change("clock", Some(b""));
    w.finish();
    out
}

fn lanes(tallies: bool, state: bool, omitted: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = BatchWriter::begin(&mut out, 7, 0, tallies, state, omitted);
    if omitted > 0 {
        w.chat(BEFORE.offset, 250, omitted);
    }
    if tallies {
        w.tallies(1);
        w.tally("❤", 12);
    }
    if state {
        w.state(1, 18);
        w.change("viewers", Some(b"2000"));
    }
    w.finish();
    out
}

/// All of them.
pub(crate) fn all() -> Vec<BatchVector> {
    let mut out = valid();
    out.extend(other_forms());
    out.extend(faults());
    out
}

/// A batch of so many entries at [`BEFORE`].
fn entries(count: usize, write: impl FnOnce(&mut BatchWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = BatchWriter::begin(&mut out, 7, count, false, false, 0);
    w.chat(BEFORE.offset, 250, 0);
    write(&mut w);
    w.finish();
    out
}

fn removal(note: &str, removal: &RemovalParts<'_>) -> Vec<u8> {
    entries(1, |w| w.act(0, note, BEFORE.offset, removal))
}

fn valid() -> Vec<BatchVector> {
    let v = |name, clause, body| BatchVector { name, clause, body, form: Form::Canonical };
    let late = {
        let mut b = chat(7, 250, &[m("a", "b")]);
        b[2] = CHECK.wrapping_add(1);
        b
    };
    vec![
        v("one_message", "A-3", chat(7, 250, &[m("Viewer 1", "hello")])),
        v(
            "three_messages",
            "A-3",
            chat(7, 0, &[m("Viewer 1", "hello"), m("Viewer 2", "試合"), m("Viewer 1", "")]),
        ),
        v("every_feature", "B-5", full()),
        v("skips_and_omitted", "B-5", {
            let mut out = Vec::new();
            let mut w = BatchWriter::begin(&mut out, 7, 1, false, false, 4);
            w.chat(BEFORE.offset, 1, 4);
            w.message(&MessageParts { skip: 250, ..m("a", "b") });
            w.finish();
            out
        }),
        v(
            "removed_messages",
            "M-3",
            entries(3, |w| {
                w.removed(0);
                w.message(&m("a", "b"));
                w.removed(250);
            }),
        ),
        v("removal_of_one", "M-4", removal("", &RemovalParts::One { offset: 997 })),
        v("removal_with_a_note", "M-4", removal("spoilers", &RemovalParts::One { offset: 900 })),
        v("removal_of_names", "M-4", {
            let (names, but) = (&["Viewer 1", "視聴者"][..], &[(990, 992), (750, 751)][..]);
            removal("", &RemovalParts::Names { from: 500, names, but })
        }),
        v("removal_of_runs", "M-4", removal("", &RemovalParts::Runs(&[(999, 1000), (400, 640)]))),
        v("act_of_an_unknown_kind", "M-4", vec![7, 0x10, CHECK, 0, 0x87, 0, 0, 2, 99, 1]),
        v("act_that_removes_itself", "M-4", vec![7, 0x10, CHECK, 0, 0x87, 0, 0, 2, 1, 0]),
        v("act_that_is_cut_off", "M-4", vec![7, 0x10, CHECK, 0, 0x87, 0, 0, 1, 1]),
        v("removal_of_all", "M-4", removal("", &RemovalParts::All { from: 0 })),
        v("omitted_alone", "B-5", lanes(false, false, 128)),
        v("tallies_alone", "A-1", lanes(true, false, 0)),
        v("tallies_with_others", "B-7", {
            let mut out = Vec::new();
            let mut w = BatchWriter::begin(&mut out, 7, 0, true, false, 0);
            w.tallies(3);
            [("❤", 300), (":goal:", 12), ("", 40)].iter().for_each(|(key, count)| w.tally(key, *count));
            w.finish();
            out
        }),
        v("state_alone", "B-8", lanes(false, true, 0)),
        v("tallies_and_state", "B-8", lanes(true, true, 0)),
        v("nothing", "A-1", lanes(false, false, 0)),
        v("alias_of_32_bits", "B-1", chat(u32::MAX, 250, &[m("a", "b")])),
        v("sixteen_messages", "B-1", chat(7, 250, &[m("a", "b"); 16])),
        v("time_saturates", "A-4", chat(7, u64::MAX, &[m("a", "b")])),
        v(
            "skip_saturates",
            "A-4",
            chat(7, 0, &[MessageParts { skip: u64::MAX, ..m("a", "b") }, m("c", "d")]),
        ),
        BatchVector { name: "out_of_place", clause: "A-5", body: late, form: Form::OutOfPlace },
    ]
}

/// Allowed, but nothing that our writer writes.
fn other_forms() -> Vec<BatchVector> {
    let v = |name, clause, body: &[u8]| BatchVector { name, clause, body: body.to_vec(), form: Form::Other };
    vec![
        v("act_without_fields", "M-4", &[7, 0x10, CHECK, 0, 7, 0, 0]),
        v("removed_message_with_a_rest", "M-3", &[7, 0x10, CHECK, 0, 6, b'a', 0, b'b', 0]),
        v("extension_of_batch", "B-3", &[7, 0x18, 3, b'x', b'y', b'z', CHECK, 0, 0, b'a', 0, b'b', 0]),
        v("extension_of_batch_empty", "B-3", &[7, 8, 0]),
        v("extension_of_message", "B-3", &[7, 0x10, CHECK, 0, 0x80, b'a', 0, b'b', 0, 2, 0xff, 0]),
        v("omitted_of_zero", "B-6", &[7, 1, CHECK, 5, 0]),
        v("skip_of_zero", "B-6", &[7, 0x10, CHECK, 0, 0x40, 0, b'a', 0, b'b', 0]),
        v("attachment_empty", "B-6", &[7, 0x10, CHECK, 0, 0x10, b'a', 0, b'b', 0, 0]),
        v("tallies_of_none", "B-6", &[7, 2, 0]),
    ]
}

fn faults() -> Vec<BatchVector> {
    let f = |name, clause, body: &[u8]| BatchVector { name, clause, body: body.to_vec(), form: Form::Fault };
    let one = chat(7, 250, &[m("Viewer 1", "hello")]);
    let full = full();
    vec![
        f("no_bytes", "B-4", &[]),
        f("alias_alone", "B-4", &[7]),
        f("table_around_body", "F-1", &super::raw::frame(0, &[(0, super::raw::Field::Bytes(&one))])[1..]),
        f("alias_cut", "B-1", &[0x87]),
        f("alias_long_form", "B-1", &[0x87, 0, 0]),
        f("alias_of_33_bits", "B-1", &[0x80, 0x80, 0x80, 0x80, 0x10, 0]),
        f("head_of_65_bits", "B-1", &[7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        f("head_of_11_bytes", "B-1", &[7, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
        f(
            "more_messages_than_bytes",
            "B-4",
            &[7, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, CHECK, 0],
        ),
        f("check_missing", "B-4", &[7, 0x10]),
        f("time_missing", "B-4", &[7, 0x10, CHECK]),
        f("time_long_form", "B-1", &[7, 0x10, CHECK, 0x80, 0, 0, b'a', 0, b'b', 0]),
        f("omitted_missing", "B-4", &[7, 1, CHECK, 0]),
        f("message_missing", "B-4", &[7, 0x10, CHECK, 0]),
        f("author_without_end", "B-2", &[7, 0x10, CHECK, 0, 0, b'a', b'b', b'c']),
        f("text_without_end", "B-2", &one[..one.len() - 1]),
        f("author_not_utf8", "B-2", &[7, 0x10, CHECK, 0, 0, 0xff, 0, b'b', 0]),
        f("text_not_utf8", "B-2", &[7, 0x10, CHECK, 0, 0, b'a', 0, 0xe2, 0x82, 0]),
        f("text_overlong_utf8", "B-2", &[7, 0x10, CHECK, 0, 0, b'a', 0, 0xc0, 0xaf, 0]),
        f("text_surrogate", "B-2", &[7, 0x10, CHECK, 0, 0, b'a', 0, 0xed, 0xa0, 0x80, 0]),
        f("attachment_missing", "B-2", &[7, 0x10, CHECK, 0, 0x10, b'a', 0, b'b', 0]),
        f("skip_long_form", "B-1", &[7, 0x10, CHECK, 0, 0x40, 0x81, 0, b'a', 0, b'b', 0]),
        f("message_extension_too_long", "B-3", &[7, 0x10, CHECK, 0, 0x80, b'a', 0, b'b', 0, 1]),
        f("batch_extension_too_long", "B-3", &[7, 8, 5, 1, 2, 3, 4]),
        f(
            "batch_extension_of_64_bits",
            "B-3",
            &[7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ),
        f("tally_count_missing", "B-4", &[7, 2, 1, b'a', 0]),
        f("tallies_cut", "B-4", &[7, 2, 2, b'a', 0, 1]),
        f("tally_key_not_utf8", "B-2", &[7, 2, 1, 0x80, 0, 1]),
        f("state_version_missing", "B-4", &[7, 4, 0]),
        f("state_removed_flag_of_two", "B-2", &[7, 4, 1, 9, 2, b'a', 0]),
        f("state_value_too_long", "B-4", &[7, 4, 1, 9, 0, b'a', 0, 4, 1, 2, 3]),
        f("trailing_byte", "B-3", &[&one[..], &[0]].concat()),
        f("trailing_bytes_after_nothing", "B-3", &[7, 0, 1, 2, 3]),
        f("every_feature_cut_by_one", "B-4", &full[..full.len() - 1]),
        f("every_feature_cut_in_half", "B-4", &full[..full.len() / 2]),
    ]
}
