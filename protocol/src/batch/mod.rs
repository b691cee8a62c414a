//! The packed body of a batch: everything that one room sealed in one tick, in as few bytes as possible.
//!
//! Why packed: bytes per delivered message are a headline figure, and a table per message costs three times
//! its content (docs/PROTOCOL.md has the measured table). The body carries no absolute position: a reader
//! starts from the position in `Subscribed` or `Gap` and adds the differences in each batch. One check byte
//! per batch shows whether both sides still have the same position.
//!
//! ```text
//! body    = alias:varint  head:varint  [extension]  [chat]  [tallies]  [state]
//! head    = count << 4 | bit 0 omitted | bit 1 tallies | bit 2 state | bit 3 extension
//! chat    = check:u8  time:varint  [omitted:varint]  count * message          (if count > 0 or omitted)
//! message = control:u8 [skip:varint] [reply:varint] [folded:varint] author NUL text NUL [attachment NUL] [extension]
//! control = role (bits 0-2) | reply (3) | attachment (4) | folded (5) | skip (6) | extension (7)
//!           role 6: the message was removed; role 7: an act, whose removal is the extension
//! tallies = n:varint  n * (key NUL  count:varint)
//! state   = n:varint  version:varint  n * (removed:u8  key NUL  [length:varint value])
//! extension = length:varint bytes                                             (passed over)
//! ```
//!
//! `check` is the low byte of the first offset that the batch covers, `time` the milliseconds since the
//! room's previous batch with chat, `skip` the offsets left out just before this message, `omitted` those
//! left out after the last one, `reply` the distance in offsets to the message that this one answers.
//!
//! Invariant: [`BatchReader`] reads back exactly what [`BatchWriter`] wrote. Any other bytes give a
//! [`BatchFault`], never a panic.
//! Not here: which messages go into a batch (the engine), the frame around the body (`frame`).

mod alias;
mod position;
mod reader;
mod redact;
mod removal;
pub mod varint;
mod writer;

pub use alias::{alias_of, with_alias};
pub use position::{Desync, Position};
pub use reader::{ActEntry, BatchFault, BatchReader, Item, Message, StateChange};
pub use redact::redact;
pub use removal::{Names, Removal, RemovalParts, Runs};
pub use writer::{BatchWriter, MessageParts};

/// Bits of the head varint below the message count.
mod head {
    pub(super) const OMITTED: u64 = 1;
    pub(super) const TALLIES: u64 = 2;
    pub(super) const STATE: u64 = 4;
    pub(super) const EXTENSION: u64 = 8;
    pub(super) const COUNT_SHIFT: u32 = 4;
}

/// Bits of a message's control byte above the role.
mod control {
    pub(super) const ROLE: u8 = 7;
    /// In place of a role: nothing is left of the message but its place.
    pub(super) const REMOVED: u8 = 6;
    /// In place of a role: an act of moderators, which is an entry of the log.
    pub(super) const ACT: u8 = 7;
    pub(super) const REPLY: u8 = 8;
    pub(super) const ATTACHMENT: u8 = 16;
    pub(super) const FOLDED: u8 = 32;
    pub(super) const SKIP: u8 = 64;
    pub(super) const EXTENSION: u8 = 128;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_survives() {
        let mut body = Vec::new();
        let mut w = BatchWriter::begin(&mut body, 300, 2, true, true, 4);
        w.chat(255, 250, 4);
        let first =
            MessageParts { role: 2, author: "ann", text: "goal!", skip: 3, ..MessageParts::default() };
        let second = MessageParts {
            author: "bob",
            text: "",
            attachment: "img:7",
            reply_back: 1,
            folded: 9,
            ..MessageParts::default()
        };
        w.message(&first);
        w.message(&second);
        w.tallies(1);
        w.tally("❤", 1000);
        w.state(2, 17);
        w.change("score", Some(b"1:0"));
        w.change("poll", None);
        w.finish();

        let mut r = BatchReader::new(&body).unwrap();
        let mut at = Position { epoch: 1, offset: 255, time_ms: 1000 };
        at.begin(&r).unwrap();
        assert_eq!((r.alias(), r.count(), at.time_ms), (300, 2, 1250));
        let Some(Item::Message(m)) = r.next_item().unwrap() else { panic!() };
        assert_eq!((m.author, m.text, m.role, at.message(&m)), ("ann", "goal!", 2, 258));
        let Some(Item::Message(m)) = r.next_item().unwrap() else { panic!() };
        assert_eq!((m.attachment, m.reply_back, m.folded, at.message(&m)), ("img:7", 1, 9, 259));
        assert_eq!(r.next_item(), Ok(Some(Item::Omitted(4))));
        at.omitted(4);
        assert_eq!(r.next_item(), Ok(Some(Item::Tally { key: "❤", count: 1000 })));
        assert_eq!(r.next_item(), Ok(Some(Item::StateVersion(17))));
        assert_eq!(r.next_item(), Ok(Some(Item::State(StateChange { key: "score", value: Some(b"1:0") }))));
        assert_eq!(r.next_item(), Ok(Some(Item::State(StateChange { key: "poll", value: None }))));
        assert_eq!(r.next_item(), Ok(None));
        assert_eq!(at.offset, 264);
    }

    #[test]
    fn a_batch_out_of_place_is_noticed() {
        let mut body = Vec::new();
        let mut w = BatchWriter::begin(&mut body, 1, 1, false, false, 0);
        w.chat(7, 0, 0);
        w.message(&MessageParts { author: "a", text: "b", ..MessageParts::default() });
        w.finish();
        let r = BatchReader::new(&body).unwrap();
        let mut at = Position { epoch: 1, offset: 6, time_ms: 0 };
        assert_eq!(at.begin(&r), Err(Desync { expected: 6, check: 7 }));
    }

    #[test]
    fn one_short_message_costs_eight_bytes_around_its_content() {
        let mut body = Vec::new();
        let mut w = BatchWriter::begin(&mut body, 3, 1, false, false, 0);
        w.chat(7, 250, 0);
        w.message(&MessageParts { author: "a_viewer", text: "hello there", ..MessageParts::default() });
        w.finish();
        assert_eq!(body.len(), 19 + 8);
    }
}
