//! Reads the packed body of a batch in one pass, in place, without allocating.
//!
//! Invariant: any bytes give items or a [`BatchFault`]; no input panics, loops, or makes it allocate.

use super::removal::Removal;
use super::{control, head, varint};

/// Bytes that are not a batch, and the place of the first fault in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFault {
    /// Offset into the body.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl std::fmt::Display for BatchFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "batch body: expected {} at byte {}", self.expected, self.at)
    }
}

impl std::error::Error for BatchFault {}

/// One chat message, borrowed from the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Offsets left out just before this message.
    pub skip: u64,
    /// Role of the author, 0 to 5.
    pub role: u8,
    /// Display name.
    pub author: &'a str,
    /// Text.
    pub text: &'a str,
    /// Attachment reference; empty for none.
    pub attachment: &'a str,
    /// Distance in offsets to the message that this one answers; 0 for none.
    pub reply_back: u64,
    /// How many equal texts were folded into this one.
    pub folded: u64,
}

/// An act of moderators, which is an entry of the log with an offset of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActEntry<'a> {
    /// Offsets left out just before it.
    pub skip: u64,
    /// A word for people; mostly empty.
    pub note: &'a str,
    bytes: &'a [u8],
}

impl<'a> ActEntry<'a> {
    /// What it removes, as the entry at offset `at`. What is not understood removes nothing.
    pub fn removal(&self, at: u64) -> Removal<'a> {
        Removal::read(at, self.bytes).unwrap_or(Removal::Unknown)
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// One change of the state lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange<'a> {
    /// The key.
    pub key: &'a str,
    /// Its new value; `None` when it was removed.
    pub value: Option<&'a [u8]>,
}

/// What a batch holds, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A chat message.
    Message(Message<'a>),
    /// The place of a message that was removed, after that many offsets that were left out.
    Removed(u64),
    /// An act of moderators.
    Act(ActEntry<'a>),
    /// Offsets left out after the last message.
    Omitted(u64),
    /// A reaction and its count in this tick.
    Tally {
        /// The reaction.
        key: &'a str,
        /// Its count.
        count: u64,
    },
    /// The state's version after this batch; its changes follow.
    StateVersion(u64),
    /// One change of state.
    State(StateChange<'a>),
}

/// The shortest message: a control byte and the ends of an empty author and text.
const MESSAGE_BYTES_MIN: usize = 3;

/// Reads one body.
#[derive(Clone, Debug)]
pub struct BatchReader<'a> {
    body: &'a [u8],
    pos: usize,
    alias: u32,
    has: u64,
    count: u64,
    check: u8,
    time_delta_ms: u64,
    omitted_after: u64,
    messages_left: u64,
    entries_left: u64,
    section: Section,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Messages,
    Tallies,
    State,
    End,
}

impl<'a> BatchReader<'a> {
    /// Read the head of a body.
    pub fn new(body: &'a [u8]) -> Result<Self, BatchFault> {
        let mut r = BatchReader {
            body,
            pos: 0,
            alias: 0,
            has: 0,
            count: 0,
            check: 0,
            time_delta_ms: 0,
            omitted_after: 0,
            messages_left: 0,
            entries_left: 0,
            section: Section::Messages,
        };
        r.alias = u32::try_from(r.varint("an alias")?).map_err(|_| r.fault("an alias of 32 bits"))?;
        r.has = r.varint("a head")?;
        r.count = r.has >> head::COUNT_SHIFT;
        r.messages_left = r.count;
        if r.has & head::EXTENSION != 0 {
            r.pass_extension()?;
        }
        if r.has_chat() {
            r.check = r.byte("a check byte")?;
            r.time_delta_ms = r.varint("a time")?;
        }
        if r.has & head::OMITTED != 0 {
            r.omitted_after = r.varint("a count of omitted")?;
        }
        if r.count > ((body.len() - r.pos) / MESSAGE_BYTES_MIN) as u64 {
            return Err(r.fault("as many messages as announced"));
        }
        Ok(r)
    }

    /// The room's alias.
    pub fn alias(&self) -> u32 {
        self.alias
    }

    /// Messages in the batch; never more than its bytes can hold.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the batch covers any offsets.
    pub fn has_chat(&self) -> bool {
        self.count > 0 || self.has & head::OMITTED != 0
    }

    /// Low byte of the first offset covered; 0 without chat.
    pub fn check(&self) -> u8 {
        self.check
    }

    /// Milliseconds since the room's previous batch with chat.
    pub fn time_delta_ms(&self) -> u64 {
        self.time_delta_ms
    }

    /// The next item; `None` at the end of a valid batch.
    pub fn next_item(&mut self) -> Result<Option<Item<'a>>, BatchFault> {
        loop {
            match self.section {
                Section::Messages if self.messages_left > 0 => {
                    self.messages_left -= 1;
                    return self.message().map(Some);
                }
                Section::Messages => {
                    self.begin_tallies()?;
                    if self.omitted_after > 0 {
                        return Ok(Some(Item::Omitted(self.omitted_after)));
                    }
                }
                Section::Tallies if self.entries_left > 0 => {
                    self.entries_left -= 1;
                    let key = self.text("a tally's key")?;
                    return Ok(Some(Item::Tally { key, count: self.varint("a tally's count")? }));
                }
                Section::Tallies => {
                    self.section = Section::State;
                    if self.has & head::STATE != 0 {
                        self.entries_left = self.varint("a count of changes")?;
                        return Ok(Some(Item::StateVersion(self.varint("a state version")?)));
                    }
                }
                Section::State if self.entries_left > 0 => {
                    self.entries_left -= 1;
                    return self.change().map(|c| Some(Item::State(c)));
                }
                Section::State | Section::End => {
                    self.section = Section::End;
                    return if self.pos == self.body.len() { Ok(None) } else { Err(self.fault("the end")) };
                }
            }
        }
    }

    fn begin_tallies(&mut self) -> Result<(), BatchFault> {
        self.section = Section::Tallies;
        if self.has & head::TALLIES != 0 {
            self.entries_left = self.varint("a count of tallies")?;
        }
        Ok(())
    }

    fn message(&mut self) -> Result<Item<'a>, BatchFault> {
        let bits = self.byte("a control byte")?;
        let skip = self.varint_if(bits & control::SKIP, "a skip")?;
        let reply_back = self.varint_if(bits & control::REPLY, "a reply distance")?;
        let folded = self.varint_if(bits & control::FOLDED, "a count of folded")?;
        let author = self.text("an author")?;
        let text = self.text("a text")?;
        let attachment = if bits & control::ATTACHMENT != 0 { self.text("an attachment")? } else { "" };
        let extension =
            if bits & control::EXTENSION != 0 { self.sized("an extension")? } else { Default::default() };
        Ok(match bits & control::ROLE {
            control::REMOVED => Item::Removed(skip),
            control::ACT => Item::Act(ActEntry { skip, note: text, bytes: extension }),
            role => Item::Message(Message { skip, role, author, text, attachment, reply_back, folded }),
        })
    }

    fn change(&mut self) -> Result<StateChange<'a>, BatchFault> {
        let removed = match self.byte("a removal flag")? {
            0 => false,
            1 => true,
            _ => return Err(self.fault("a removal flag of 0 or 1")),
        };
        let key = self.text("a state key")?;
        let value = if removed { None } else { Some(self.sized("a state value")?) };
        Ok(StateChange { key, value })
    }

    fn pass_extension(&mut self) -> Result<(), BatchFault> {
        self.sized("an extension").map(|_| ())
    }

    fn sized(&mut self, what: &'static str) -> Result<&'a [u8], BatchFault> {
        let len = self.varint(what)?;
        let rest = &self.body[self.pos..];
        let len = usize::try_from(len).ok().filter(|&n| n <= rest.len()).ok_or_else(|| self.fault(what))?;
        self.pos += len;
        Ok(&rest[..len])
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, BatchFault> {
        let rest = &self.body[self.pos..];
        let end = rest.iter().position(|&b| b == 0).ok_or_else(|| self.fault(what))?;
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| self.fault("UTF-8"))?;
        self.pos += end + 1;
        Ok(text)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, BatchFault> {
        let byte = *self.body.get(self.pos).ok_or_else(|| self.fault(what))?;
        self.pos += 1;
        Ok(byte)
    }

    fn varint_if(&mut self, on: u8, what: &'static str) -> Result<u64, BatchFault> {
        if on == 0 { Ok(0) } else { self.varint(what) }
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, BatchFault> {
        let at = self.pos;
        varint::read(self.body, &mut self.pos).ok_or(BatchFault { at, expected: what })
    }

    fn fault(&self, expected: &'static str) -> BatchFault {
        BatchFault { at: self.pos, expected }
    }
}
