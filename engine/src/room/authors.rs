//! Authors: who said each message that a room holds in memory, so that a moderator can name a person by a
//! message.
//!
//! Why numbers beside the batches: a batch has names, and a name is nobody's own. A purge of ten thousand
//! messages walks these numbers once and reads no batch.
//! Invariants: there is one entry for each offset from the first that the memory log has, or a few before
//! it, in order and without gaps. Noting one allocates only when the queue grows. Of messages that came back
//! from a log the place at an address is not known, nor whether a bridge said them: they are of the same
//! author only if their names are equal too.
//! Not here: what a moderator does to an author (`moderation`), nonces (`nonces`).

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use crate::link::{PersonId, Publication, UserId};

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Author {
    /// The user; of a bridged author a number of its own.
    pub(crate) user: PersonId,
    /// What a reconnect does not change.
    pub(crate) person: PersonId,
    /// A keyed hash of the name; 0: unknown, or no message.
    name: u32,
    /// Did it come from a log, with less than this process would know?
    is_restored: bool,
}

impl Author {
    /// An entry of the log that nobody said.
    const NOBODY: Author =
        Author { user: PersonId::UNKNOWN, person: PersonId::UNKNOWN, name: 0, is_restored: false };

    /// Did the same person say both?
    fn is(&self, other: &Author) -> bool {
        let is_sure = !self.is_restored && !other.is_restored;
        self.user == other.user && self.user != PersonId::UNKNOWN && (is_sure || self.name == other.name)
    }
}

/// What one author said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SaidBy {
    /// `(first, next)`, the newest first, not touching each other.
    pub(crate) runs: Vec<(u64, u64)>,
    /// What others said under the same names, likewise.
    pub(crate) others: Vec<(u64, u64)>,
    /// One message for each name that the author had.
    pub(crate) names: Vec<u64>,
    /// Is the name of a message unknown, so that names say too little?
    pub(crate) is_vague: bool,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Authors {
    first: u64,
    all: VecDeque<Author>,
    /// How many there are when those that the memory log has dropped are forgotten.
    look_at: usize,
    hash: FixedState,
}

impl Authors {
    /// Nobody yet. `seed` keeps people from choosing names that are taken for others.
    pub(crate) fn new(seed: u64) -> Self {
        Authors { first: 0, all: VecDeque::new(), look_at: 64, hash: FixedState::with_seed(seed) }
    }

    /// Whom moderators would hold for this publication.
    pub(crate) fn of(&self, p: &Publication) -> Author {
        let name = self.hash_of(&p.author);
        let (user, person) = if p.is_bridged {
            let user = Self::bridged(p.user, name);
            (user, user)
        } else {
            (PersonId::of_user(p.user), p.person)
        };
        Author { user, person, name: short(name), is_restored: false }
    }

    /// The publication gets this offset.
    pub(crate) fn note(&mut self, offset: u64, p: &Publication) {
        let author = self.of(p);
        self.push(offset, author);
    }

    /// An entry that nobody said gets this offset.
    pub(crate) fn note_act(&mut self, offset: u64) {
        self.push(offset, Author::NOBODY);
    }

    fn push(&mut self, offset: u64, author: Author) {
        if self.all.is_empty() || self.first + self.all.len() as u64 != offset {
            self.all.clear();
            self.first = offset;
        }
        self.all.push_back(author);
    }

    /// The first offset whose author is known; the next one when none is.
    pub(crate) fn first_offset(&self) -> u64 {
        self.first
    }

    /// Who said the message at an offset.
    pub(crate) fn get(&self, offset: u64) -> Option<Author> {
        let index = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.all.get(index).copied().filter(|author| author.user != PersonId::UNKNOWN)
    }

    /// The numbers by which moderation knows the author of a message: of one that came back from a log also
    /// those that a bridged author would have.
    pub(crate) fn numbers(&self, author: Author, name: &str) -> Vec<PersonId> {
        let mut numbers = vec![author.user];
        if author.person != author.user {
            numbers.push(author.person);
        }
        if author.is_restored {
            numbers.push(Self::bridged(UserId(author.user.0), self.hash_of(name)));
        }
        numbers
    }

    /// Forget who said what is before an offset.
    pub(crate) fn forget_before(&mut self, offset: u64) {
        let gone = usize::try_from(offset.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let gone = gone.min(self.all.len());
        if gone > 0 {
            self.all.drain(..gone);
            self.first += gone as u64;
        }
        self.look_at = self.all.len() + self.all.len() / 8 + 64;
    }

    /// Is it time to forget? Looking for the oldest message costs more than noting one.
    pub(crate) fn has_grown(&self) -> bool {
        self.all.len() >= self.look_at
    }

    /// Begin with the users of a log: one for each offset before `next_offset`, and the names of some.
    pub(crate) fn restore<'n>(
        &mut self,
        next_offset: u64,
        users: impl DoubleEndedIterator<Item = UserId> + ExactSizeIterator,
        names: impl Iterator<Item = (u64, &'n str)>,
    ) {
        let count = users.len().min(usize::try_from(next_offset).unwrap_or(usize::MAX));
        self.first = next_offset - count as u64;
        let restored = |user: UserId| {
            let user = PersonId::of_user(user);
            Author { user, person: user, name: 0, is_restored: true }
        };
        let skip = users.len() - count;
        self.all = users.skip(skip).map(restored).collect();
        for (offset, name) in names {
            let name = short(self.hash_of(name));
            let index = offset.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            if let Some(author) = index.and_then(|index| self.all.get_mut(index)) {
                author.name = name;
            }
        }
    }

    /// Everything from `from` on that this author said.
    pub(crate) fn said_by(&self, author: Author, from: u64) -> SaidBy {
        let mut said = SaidBy::default();
        let mut names: Vec<u32> = Vec::new();
        let since = |from: u64| usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let all = || (self.first..).zip(&self.all).skip(since(from));
        for (offset, other) in all() {
            if !author.is(other) {
                continue;
            }
            grow(&mut said.runs, offset);
            if other.name == 0 {
                said.is_vague = true;
            } else if !names.contains(&other.name) {
                names.push(other.name);
                said.names.push(offset);
            }
        }
        for (offset, other) in all() {
            if !author.is(other) && names.contains(&other.name) {
                grow(&mut said.others, offset);
            }
            said.is_vague |= other.name == 0 && other.user != PersonId::UNKNOWN;
        }
        said.runs.reverse();
        said.others.reverse();
        said
    }

    fn bridged(user: UserId, name: u64) -> PersonId {
        PersonId((user.0 ^ name.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn hash_of(&self, name: &str) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write(name.as_bytes());
        hasher.finish()
    }
}

fn short(hash: u64) -> u32 {
    (hash as u32).max(1)
}

/// Add an offset above all others.
fn grow(runs: &mut Vec<(u64, u64)>, offset: u64) {
    match runs.last_mut() {
        Some((_, next)) if *next == offset => *next += 1,
        _ => runs.push((offset, offset + 1)),
    }
}
