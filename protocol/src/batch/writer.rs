//! Writes the packed body of a batch, in one pass over what the room sealed.
//!
//! Invariant: the caller begins sections in the order of the layout. `finish` panics when the announced
//! counts and the written items differ, because that is a bug of the caller.

use super::reader::ActEntry;
use super::removal::RemovalParts;
use super::{control, head, varint};

/// One chat message to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageParts<'a> {
    /// Role of the author, 0 to 5.
    pub role: u8,
    /// Display name, without NUL.
    pub author: &'a str,
    /// Text, without NUL.
    pub text: &'a str,
    /// Attachment reference, without NUL; empty for none.
    pub attachment: &'a str,
    /// Distance in offsets to the message that this one answers; 0 for none.
    pub reply_back: u64,
    /// How many equal texts were folded into this one, itself not counted.
    pub folded: u64,
    /// Offsets left out just before this message.
    pub skip: u64,
}

/// Writes one body into a caller's buffer.
#[derive(Debug)]
pub struct BatchWriter<'b> {
    out: &'b mut Vec<u8>,
    messages_due: usize,
    tallies_due: usize,
    changes_due: usize,
    section: Section,
    has: u64,
}

#[derive(Debug, PartialEq, PartialOrd)]
enum Section {
    Chat,
    Tallies,
    State,
}

impl<'b> BatchWriter<'b> {
    /// Begin a body of `count` messages; tallies and state are announced here and written later.
    pub fn begin(
        out: &'b mut Vec<u8>,
        alias: u32,
        count: usize,
        tallies: bool,
        state: bool,
        omitted_after: u64,
    ) -> Self {
        varint::write(u64::from(alias), out);
        let has = if omitted_after > 0 { head::OMITTED } else { 0 }
            | if tallies { head::TALLIES } else { 0 }
            | if state { head::STATE } else { 0 };
        varint::write((count as u64) << head::COUNT_SHIFT | has, out);
        BatchWriter { out, messages_due: count, tallies_due: 0, changes_due: 0, section: Section::Chat, has }
    }

    /// Write the chat section's head. Required when the batch has messages or omissions.
    pub fn chat(&mut self, first_offset: u64, time_delta_ms: u64, omitted_after: u64) {
        self.out.push(first_offset as u8);
        varint::write(time_delta_ms, self.out);
        if self.has & head::OMITTED != 0 {
            varint::write(omitted_after, self.out);
        }
    }

    /// Write one message.
    pub fn message(&mut self, m: &MessageParts<'_>) {
        assert!(self.section == Section::Chat && self.messages_due > 0, "a message out of place");
        debug_assert!(!m.author.contains('\0') && !m.text.contains('\0') && !m.attachment.contains('\0'));
        self.messages_due -= 1;
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        debug_assert!(m.role < control::REMOVED, "a role");
        self.out.push(
            (m.role & control::ROLE)
                | bit(m.reply_back > 0, control::REPLY)
                | bit(!m.attachment.is_empty(), control::ATTACHMENT)
                | bit(m.folded > 0, control::FOLDED)
                | bit(m.skip > 0, control::SKIP),
        );
        for n in [m.skip, m.reply_back, m.folded] {
            if n > 0 {
                varint::write(n, self.out);
            }
        }
        self.text(m.author);
        self.text(m.text);
        if !m.attachment.is_empty() {
            self.text(m.attachment);
        }
    }

    /// Write the place of a message that was removed.
    pub fn removed(&mut self, skip: u64) {
        self.place(control::REMOVED, skip, "");
    }

    /// Write an act: the entry at offset `at` that removes earlier messages.
    pub fn act(&mut self, skip: u64, note: &str, at: u64, removal: &RemovalParts<'_>) {
        let mut bytes = Vec::new();
        removal.write(at, &mut bytes);
        self.act_bytes(skip, note, &bytes);
    }

    /// Write an act that was read, at the offset that it had.
    pub fn act_again(&mut self, act: &ActEntry<'_>) {
        self.act_bytes(act.skip, act.note, act.bytes());
    }

    fn act_bytes(&mut self, skip: u64, note: &str, bytes: &[u8]) {
        self.place(control::ACT | control::EXTENSION, skip, note);
        varint::write(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    /// Something other than a message that has an offset.
    fn place(&mut self, bits: u8, skip: u64, note: &str) {
        assert!(self.section == Section::Chat && self.messages_due > 0, "an entry out of place");
        self.messages_due -= 1;
        self.out.push(bits | if skip > 0 { control::SKIP } else { 0 });
        if skip > 0 {
            varint::write(skip, self.out);
        }
        self.text("");
        self.text(note);
    }

    /// Begin the tallies: `n` entries follow.
    pub fn tallies(&mut self, n: usize) {
        assert!(self.section == Section::Chat && self.messages_due == 0 && self.has & head::TALLIES != 0);
        self.section = Section::Tallies;
        self.tallies_due = n;
        varint::write(n as u64, self.out);
    }

    /// Write one tally.
    pub fn tally(&mut self, key: &str, count: u64) {
        assert!(self.section == Section::Tallies && self.tallies_due > 0, "a tally out of place");
        self.tallies_due -= 1;
        self.text(key);
        varint::write(count, self.out);
    }

    /// Begin the state changes: `n` entries, after which the room's state is at `version`.
    pub fn state(&mut self, n: usize, version: u64) {
        assert!(self.section < Section::State && self.messages_due == 0 && self.tallies_due == 0);
        assert!(self.has & head::STATE != 0);
        self.section = Section::State;
        self.changes_due = n;
        varint::write(n as u64, self.out);
        varint::write(version, self.out);
    }

    /// Write one changed key; `None` removes it.
    pub fn change(&mut self, key: &str, value: Option<&[u8]>) {
        assert!(self.section == Section::State && self.changes_due > 0, "a state change out of place");
        self.changes_due -= 1;
        self.out.push(u8::from(value.is_none()));
        self.text(key);
        if let Some(value) = value {
            varint::write(value.len() as u64, self.out);
            self.out.extend_from_slice(value);
        }
    }

    /// End the body.
    pub fn finish(self) {
        assert!(
            self.messages_due == 0 && self.tallies_due == 0 && self.changes_due == 0,
            "an unfinished batch"
        );
    }

    fn text(&mut self, s: &str) {
        self.out.extend_from_slice(s.as_bytes());
        self.out.push(0);
    }
}
