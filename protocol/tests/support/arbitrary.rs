//! Arbitrary texts, numbers and batches, for properties.
//!
//! Why here: properties of frames and of removals draw the same values.

use grandstand_protocol::batch::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Text without NUL, of any script; leaked, since frames borrow and cases are few.
pub(crate) fn text(chars_max: usize) -> impl Strategy<Value = &'static str> {
    let char = any::<char>().prop_map(|c| if c == '\0' { ' ' } else { c });
    vec(char, 0..=chars_max)
        .prop_map(|chars| &*Box::leak(chars.into_iter().collect::<String>().into_boxed_str()))
}

pub(crate) fn bytes(len_max: usize) -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..=len_max).prop_map(|bytes| &*Box::leak(bytes.into_boxed_slice()))
}

/// Numbers of every width, not just wide ones.
pub(crate) fn wide() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(n, shift)| n >> shift)
}

pub(crate) fn name(chars_max: usize) -> impl Strategy<Value = &'static str> {
    text(chars_max).prop_map(|s| {
        let kept = grandstand_protocol::text::mend_name(s).map_or("a".to_owned(), |name| name.into_owned());
        Box::leak(kept.into_boxed_str()) as &str
    })
}

/// A key of the state, and its new value.
pub(crate) type Change = (&'static str, Option<&'static [u8]>);

/// What goes into one batch.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) alias: u32,
    pub(crate) first_offset: u64,
    pub(crate) time_ms: u64,
    pub(crate) messages: Vec<MessageParts<'static>>,
    pub(crate) omitted: u64,
    pub(crate) tallies: Vec<(&'static str, u64)>,
    pub(crate) state: Option<(u64, Vec<Change>)>,
}

impl Sealed {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let (tallies, state) = (!self.tallies.is_empty(), self.state.is_some());
        let mut w =
            BatchWriter::begin(&mut body, self.alias, self.messages.len(), tallies, state, self.omitted);
        if self.has_chat() {
            w.chat(self.first_offset, self.time_ms, self.omitted);
        }
        self.messages.iter().for_each(|m| w.message(m));
        if tallies {
            w.tallies(self.tallies.len());
            self.tallies.iter().for_each(|(key, count)| w.tally(key, *count));
        }
        if let Some((version, changes)) = &self.state {
            w.state(changes.len(), *version);
            changes.iter().for_each(|(key, value)| w.change(key, *value));
        }
        w.finish();
        body
    }

    pub(crate) fn has_chat(&self) -> bool {
        !self.messages.is_empty() || self.omitted > 0
    }

    /// The items that a reader must find, and the offset of each message by adding up from the first.
    pub(crate) fn items(&self) -> (Vec<Item<'static>>, Vec<u64>) {
        let mut items = Vec::new();
        let (mut offsets, mut next) = (Vec::new(), self.first_offset);
        for &MessageParts { role, author, text, attachment, reply_back, folded, skip } in &self.messages {
            items.push(Item::Message(Message { skip, role, author, text, attachment, reply_back, folded }));
            offsets.push(next + skip);
            next += skip + 1;
        }
        items.extend((self.omitted > 0).then_some(Item::Omitted(self.omitted)));
        items.extend(self.tallies.iter().map(|&(key, count)| Item::Tally { key, count }));
        if let Some((version, changes)) = &self.state {
            items.push(Item::StateVersion(*version));
            items.extend(changes.iter().map(|&(key, value)| Item::State(StateChange { key, value })));
        }
        offsets.push(next + self.omitted);
        (items, offsets)
    }
}

pub(crate) fn message() -> impl Strategy<Value = MessageParts<'static>> {
    let numbers =
        (prop_oneof![Just(0), wide()], prop_oneof![Just(0), wide()], prop_oneof![Just(0), 0..1u64 << 40]);
    (0..6u8, text(20), text(60), prop_oneof![Just(""), text(20)], numbers).prop_map(
        |(role, author, text, attachment, (reply_back, folded, skip))| MessageParts {
            role,
            author,
            text,
            attachment,
            reply_back,
            folded,
            skip,
        },
    )
}

pub(crate) fn sealed() -> impl Strategy<Value = Sealed> {
    let state = option::of((wide(), vec((text(12), option::of(bytes(200))), 0..6)));
    let chat = (vec(message(), 0..40), prop_oneof![Just(0), 0..1u64 << 40]);
    (any::<u32>(), 0..1u64 << 48, 0..1u64 << 48, chat, vec((text(12), wide()), 0..6), state).prop_map(
        |(alias, first_offset, time_ms, (messages, omitted), tallies, state)| Sealed {
            alias,
            first_offset,
            time_ms,
            messages,
            omitted,
            tallies,
            state,
        },
    )
}
