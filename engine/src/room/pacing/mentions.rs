//! Mentions: the recent speakers of a paced room, so that a message that pacing omits still reaches the
//! person whom it mentions or answers.
//!
//! A message means the author of the message that it answers, and everyone whose name follows an `@` in its
//! text. Names match in either case; the longest name that ends at the end of a word matches.
//! Invariants: at most [`SPEAKERS_MAX`] people are remembered, those who spoke lately, and the authors of the
//! last [`SAID_MAX`] messages that were shown to anybody. No message means its own author, and none means a
//! person twice.
//! Not here: whether the person's connection still exists (edge), which messages are omitted (`pacing`).

use std::collections::{HashMap, VecDeque};

use foldhash::quality::FixedState;
use grandstand_protocol::limits;

use super::AuthorKey;
use crate::link::{Publication, ReplyTo, UserId};

/// Speakers remembered in a room: some 0.5 MB. Above this, a speaker who was silent since the last round is
/// forgotten.
pub(super) const SPEAKERS_MAX: usize = 4096;

/// Messages whose authors are remembered: minutes of what is shown, in 128 KB. An answer to an older message
/// means nobody.
const SAID_MAX: usize = 8192;

/// The most names that one message may mention: a longer list is not a conversation.
const MENTIONS_MAX: usize = 8;

/// The recent speakers of a paced room.
#[derive(Debug)]
pub(crate) struct Mentions {
    speakers: Vec<Speaker>,
    by_author: HashMap<AuthorKey, u32, FixedState>,
    by_name: HashMap<Box<str>, u32, FixedState>,
    // Where the search for a speaker to forget goes on.
    hand: usize,
    // Offsets that were shown, ascending, and their authors.
    said: VecDeque<(u64, AuthorKey)>,
    lower: String,
    ends: Vec<usize>,
    meant: Vec<ReplyTo>,
}

#[derive(Debug)]
struct Speaker {
    author: AuthorKey,
    user: UserId,
    // In lower case.
    name: Box<str>,
    address: ReplyTo,
    spoke: bool,
}

impl Mentions {
    pub(super) fn new(hash: FixedState) -> Self {
        Mentions {
            speakers: Vec::new(),
            by_author: HashMap::with_hasher(hash.clone()),
            by_name: HashMap::with_hasher(hash),
            hand: 0,
            said: VecDeque::new(),
            lower: String::new(),
            ends: Vec::new(),
            meant: Vec::new(),
        }
    }

    /// Remember the author of a message, and the connection that sent it.
    pub(crate) fn note_speaker(&mut self, author: AuthorKey, p: &Publication) {
        let address = p.from;
        if let Some(&slot) = self.by_author.get(&author) {
            let speaker = &mut self.speakers[slot as usize];
            (speaker.address, speaker.spoke) = (address, true);
            if let Some(of_name) = self.by_name.get_mut(&speaker.name) {
                *of_name = slot;
            }
            return;
        }
        // Letter by letter, as names in texts are compared.
        let name: Box<str> = p.author.chars().flat_map(char::to_lowercase).collect::<String>().into();
        let speaker = Speaker { author, user: p.user, name: name.clone(), address, spoke: true };
        let slot = self.take_slot(speaker);
        self.by_author.insert(author, slot);
        if !name.is_empty() {
            self.by_name.insert(name, slot);
        }
    }

    /// Remember the author of a message that was shown, so that answers to it reach the author. Offsets
    /// ascend.
    pub(crate) fn note_said(&mut self, offset: u64, author: AuthorKey) {
        self.said.push_back((offset, author));
        if self.said.len() > SAID_MAX {
            self.said.pop_front();
        }
    }

    /// The connections of the people whom a message means.
    pub(crate) fn meant_by(&mut self, p: &Publication) -> &[ReplyTo] {
        self.meant.clear();
        if let Some(author) = p.reply_to.and_then(|offset| self.author_of(offset)) {
            let slot = self.by_author.get(&author).copied();
            self.add(p, slot);
        }
        let mut mentions = 0;
        let mut from = 0;
        while let Some(at) = p.text[from..].find('@').map(|at| from + at).filter(|_| mentions < MENTIONS_MAX)
        {
            from = at + 1;
            if !p.text[..at].chars().next_back().is_some_and(is_word) {
                mentions += 1;
                let slot = self.named_at(&p.text[from..]);
                self.add(p, slot);
            }
        }
        &self.meant
    }

    fn author_of(&self, offset: u64) -> Option<AuthorKey> {
        let at = self.said.binary_search_by_key(&offset, |&(offset, _)| offset).ok()?;
        Some(self.said[at].1)
    }

    fn add(&mut self, p: &Publication, slot: Option<u32>) {
        let Some(speaker) = slot.map(|slot| &self.speakers[slot as usize]) else { return };
        let sender = p.from;
        if speaker.user != p.user && speaker.address != sender && !self.meant.contains(&speaker.address) {
            self.meant.push(speaker.address);
        }
    }

    /// The person whose name begins a text.
    fn named_at(&mut self, text: &str) -> Option<u32> {
        self.lower.clear();
        self.ends.clear();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            self.lower.extend(c.to_lowercase());
            if self.lower.len() > 2 * limits::NAME_BYTES_MAX {
                break;
            }
            if !(is_word(c) && chars.peek().copied().is_some_and(is_word)) {
                self.ends.push(self.lower.len());
            }
        }
        self.ends.iter().rev().find_map(|&end| self.by_name.get(&self.lower[..end]).copied())
    }

    /// A slot for a new speaker: a free one, or that of a speaker who was silent since the last round (the
    /// clock algorithm of Corbató, 1968).
    fn take_slot(&mut self, speaker: Speaker) -> u32 {
        if self.speakers.len() < SPEAKERS_MAX {
            self.speakers.push(speaker);
            return self.speakers.len() as u32 - 1;
        }
        loop {
            let slot = self.hand;
            self.hand = (self.hand + 1) % SPEAKERS_MAX;
            if std::mem::take(&mut self.speakers[slot].spoke) {
                continue;
            }
            let gone = std::mem::replace(&mut self.speakers[slot], speaker);
            self.by_author.remove(&gone.author);
            if self.by_name.get(&gone.name) == Some(&(slot as u32)) {
                self.by_name.remove(&gone.name);
            }
            return slot as u32;
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::pacing::Pacing;
    use crate::room::pacing::tests::said;
    use grandstand_protocol::frame::Role;
    use proptest::prelude::*;

    /// A room with these speakers, user 1 first, at offsets 0, 1 and so on.
    fn room(names: &[&str]) -> Pacing {
        let mut pacing = Pacing::new(1, 0, 7);
        for (offset, name) in (0..).zip(names) {
            speak(&mut pacing, offset, offset + 1, name);
        }
        pacing
    }

    fn by(user: u64, name: &str, text: &str) -> Box<Publication> {
        Box::new(Publication { author: name.into(), ..*said(user, Role::Viewer, text) })
    }

    fn speak(pacing: &mut Pacing, offset: u64, user: u64, name: &str) {
        let p = by(user, name, "hello");
        let author = pacing.author(&p);
        pacing.mentions.note_speaker(author, &p);
        pacing.mentions.note_said(offset, author);
    }

    fn meant(pacing: &mut Pacing, text: &str, reply_to: Option<u64>) -> Vec<u64> {
        let p = Publication { reply_to, ..*by(99, "me", text) };
        pacing.mentions.meant_by(&p).iter().map(|address| address.connection.0).collect()
    }

    #[test]
    fn names_are_found_behind_an_at() {
        let mut room = room(&["Ann", "Ann Lee", "bob_1", "Зоя", "太郎"]);
        let cases: [(&str, &[u64]); 14] = [
            ("@ann", &[1]),
            ("hi @ANN!", &[1]),
            ("@ann lee: hi", &[2]),
            ("@ann leeds", &[1]),
            ("@annie", &[]),
            ("mail@ann", &[]),
            ("@bob_1?", &[3]),
            ("@bob", &[]),
            ("@зоя и @Ann", &[4, 1]),
            ("@太郎 さん", &[5]),
            ("@ann @ann", &[1]),
            ("ann", &[]),
            ("@", &[]),
            ("@@ann", &[1]),
        ];
        for (text, users) in cases {
            assert_eq!(meant(&mut room, text, None), users, "{text}");
        }
    }

    #[test]
    fn an_answer_means_the_author_once() {
        let mut room = room(&["ann", "bob"]);
        assert_eq!(meant(&mut room, "yes", Some(1)), [2]);
        assert_eq!(meant(&mut room, "@bob yes", Some(1)), [2]);
        assert_eq!(meant(&mut room, "@ann yes", Some(1)), [2, 1]);
        assert_eq!(meant(&mut room, "yes", Some(7)), [0; 0]);
    }

    #[test]
    fn nobody_is_meant_by_their_own_message() {
        let mut room = room(&["ann", "me"]);
        speak(&mut room, 2, 99, "me");
        assert_eq!(meant(&mut room, "@me and @ann", Some(2)), [1]);
        // A bridge's people share its connection, and the bridge knows what it sent.
        let mut bridged = by(5, "carol", "");
        bridged.from = said(99, Role::Viewer, "").from;
        let author = room.author(&bridged);
        room.mentions.note_speaker(author, &bridged);
        assert_eq!(meant(&mut room, "@carol", None), [0; 0]);
    }

    #[test]
    fn of_equal_names_the_one_who_spoke_last_is_meant() {
        let mut room = room(&["ann", "ann"]);
        assert_eq!(meant(&mut room, "@ann", None), [2]);
        speak(&mut room, 9, 1, "ann");
        assert_eq!(meant(&mut room, "@ann", None), [1]);
    }

    #[test]
    fn memory_is_bounded_and_keeps_who_speaks() {
        let mut pacing = Pacing::new(1, 0, 7);
        for n in 0..3 * SAID_MAX as u64 {
            speak(&mut pacing, n, 1000 + n, &format!("user {n}"));
            if n % 1000 == 0 {
                speak(&mut pacing, n, 1, "ann");
            }
        }
        let people = &mut pacing.mentions;
        assert_eq!((people.speakers.len(), people.by_author.len()), (SPEAKERS_MAX, SPEAKERS_MAX));
        assert_eq!((people.by_name.len(), people.said.len()), (SPEAKERS_MAX, SAID_MAX));
        assert_eq!(meant(&mut pacing, "@ann", None), [1]);
        assert_eq!(meant(&mut pacing, "@user_0 @user 5", None), [0; 0]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[@a-c _éΣßİ\\u{0}-\\u{fff}]{0,200}", reply_to in prop::option::of(0u64..4)) {
            let mut room = room(&["a", "É", "b c", "İß"]);
            prop_assert!(meant(&mut room, &text, reply_to).len() <= MENTIONS_MAX + 1);
        }
    }
}
