//! People whom moderators hold in a room: timeouts, bans, shadows and warnings.
//!
//! Why by number: a named user is one number. An anonymous session is held by its own and by its place at
//! its address, which a reconnect does not change; each has an entry.
//! Invariants: at most [`PEOPLE_MAX`] numbers are held; what is over is forgotten first. Times are of the
//! wall clock, so that they go on after a restart.
//! Not here: who may hold whom (`shard::acts`), what else is asked of a publication (`room::judge`).

use std::collections::BTreeMap;

use bytes::Bytes;
use grandstand_protocol::refusal::Refusal;

use crate::link::{HeldPerson, PersonId};

/// Prefix of the keys of people in the hidden state; the number follows, in 16 hexadecimal digits.
const KEY_PREFIX: &str = "gs.!p";

/// The most numbers that are held in one room: some 400 KB.
pub(crate) const PEOPLE_MAX: usize = 4096;

/// Without an end.
pub(crate) const FOR_EVER: u64 = u64::MAX;

/// How a person is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sanction {
    /// May not speak.
    Timeout,
    /// May not be in the room.
    Ban,
    /// Is shown to nobody else.
    Shadow,
    /// Must acknowledge this text first, under this number.
    Warning(u64, Box<str>),
}

/// What holds one number. Times are ends, in milliseconds since 1970; 0: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hold {
    timeout_ms: u64,
    ban_ms: u64,
    shadow_ms: u64,
    warning: Option<(u64, Box<str>)>,
}

/// What a person may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Speak.
    Free,
    /// Speak, and nobody else sees it.
    Shadowed,
    /// Not speak.
    Refused(Refusal, Option<u32>),
}

/// A change of hidden state: a key, and its value or its removal.
pub(crate) type Change = (Box<str>, Option<Bytes>);

/// See the file's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct People {
    holds: BTreeMap<PersonId, Hold>,
}

impl People {
    /// From the hidden state. What is not of people is passed over.
    pub(crate) fn restored<'a>(hidden: impl Iterator<Item = (&'a str, &'a Bytes)>) -> People {
        let one = |(key, value): (&str, &Bytes)| {
            let number = u64::from_str_radix(key.strip_prefix(KEY_PREFIX)?, 16).ok()?;
            Some((PersonId(number), Hold::read(value)?))
        };
        People { holds: hidden.filter_map(one).collect() }
    }

    /// Is nobody held?
    pub(crate) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// What the person whom these numbers name may do.
    pub(crate) fn standing(&self, numbers: [PersonId; 2], unix_ms: u64) -> Standing {
        let holds = || numbers.iter().filter_map(|number| self.holds.get(number));
        let end = |of: fn(&Hold) -> u64| holds().map(of).max().filter(|ms| *ms > unix_ms);
        if end(|hold| hold.ban_ms).is_some() {
            return Standing::Refused(Refusal::Banned, None);
        }
        if let Some(ms) = end(|hold| hold.timeout_ms) {
            let wait_ms = u32::try_from(ms - unix_ms).unwrap_or(u32::MAX);
            return Standing::Refused(Refusal::TimedOut, Some(wait_ms));
        }
        if holds().any(|hold| hold.warning.is_some()) {
            return Standing::Refused(Refusal::Unacknowledged, None);
        }
        if end(|hold| hold.shadow_ms).is_some() { Standing::Shadowed } else { Standing::Free }
    }

    /// Hold a number until a time, and return the changes of hidden state.
    ///
    /// # Errors
    /// `TooManyKeys`: as many are held as a room may hold.
    pub(crate) fn hold(
        &mut self,
        number: PersonId,
        sanction: Sanction,
        until_ms: u64,
        unix_ms: u64,
    ) -> Result<Vec<Change>, Refusal> {
        let mut changes = Vec::new();
        if self.holds.len() >= PEOPLE_MAX && !self.holds.contains_key(&number) {
            let ended = self.holds.extract_if(.., |_, hold| hold.is_over(unix_ms));
            changes.extend(ended.map(|(number, _)| (key(number), None)));
            if self.holds.len() >= PEOPLE_MAX {
                return Err(Refusal::TooManyKeys);
            }
        }
        let hold = self.holds.entry(number).or_default();
        match sanction {
            Sanction::Timeout => hold.timeout_ms = until_ms,
            Sanction::Ban => hold.ban_ms = until_ms,
            Sanction::Shadow => hold.shadow_ms = until_ms,
            Sanction::Warning(id, text) => hold.warning = Some((id, text)),
        }
        changes.push((key(number), Some(hold.write())));
        Ok(changes)
    }

    /// Take back everything that holds a number.
    pub(crate) fn lift(&mut self, number: PersonId) -> Option<Change> {
        self.holds.remove(&number).map(|_| (key(number), None))
    }

    /// The person whom these numbers name acknowledges the warning with this number. Nothing: there is none.
    pub(crate) fn acknowledge(&mut self, numbers: [PersonId; 2], id: u64, unix_ms: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for number in numbers {
            let Some(hold) = self.holds.get_mut(&number) else { continue };
            if hold.warning.as_ref().is_none_or(|(of, _)| *of != id) {
                continue;
            }
            hold.warning = None;
            let value = (!hold.is_over(unix_ms)).then(|| hold.write());
            if value.is_none() {
                self.holds.remove(&number);
            }
            changes.push((key(number), value));
        }
        changes
    }

    /// Everybody who is held now.
    pub(crate) fn list(&self, unix_ms: u64) -> Vec<HeldPerson> {
        let end = |ms: u64| (ms > unix_ms).then(|| shown(ms));
        let one = |(person, hold): (&PersonId, &Hold)| HeldPerson {
            person: *person,
            timeout_ms: end(hold.timeout_ms),
            ban_ms: end(hold.ban_ms),
            shadow_ms: end(hold.shadow_ms),
            warning: hold.warning.as_ref().map(|(_, text)| text.clone()),
        };
        self.holds.iter().filter(|(_, hold)| !hold.is_over(unix_ms)).map(one).collect()
    }

    /// Everybody who is banned now, and until when; 0: for ever.
    pub(crate) fn bans(&self, unix_ms: u64) -> impl Iterator<Item = (PersonId, u64)> {
        let banned = self.holds.iter().filter(move |(_, hold)| hold.ban_ms > unix_ms);
        banned.map(|(number, hold)| (*number, shown(hold.ban_ms)))
    }
}

/// An end as a notice tells it.
pub(crate) fn shown(until_ms: u64) -> u64 {
    if until_ms == FOR_EVER { 0 } else { until_ms }
}

impl Hold {
    fn is_over(&self, unix_ms: u64) -> bool {
        self.warning.is_none() && self.timeout_ms.max(self.ban_ms).max(self.shadow_ms) <= unix_ms
    }

    fn write(&self) -> Bytes {
        let (id, text) = self.warning.as_ref().map_or((0, ""), |(id, text)| (*id, text));
        let mut bytes = Vec::with_capacity(32 + text.len());
        for n in [self.timeout_ms, self.ban_ms, self.shadow_ms, id] {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes.into()
    }

    fn read(bytes: &[u8]) -> Option<Hold> {
        let (numbers, text) = bytes.split_at_checked(32)?;
        let at = |n: usize| u64::from_le_bytes(numbers[8 * n..][..8].try_into().expect("eight bytes"));
        let text = std::str::from_utf8(text).ok()?;
        let warning = (at(3) != 0).then(|| (at(3), text.into()));
        Some(Hold { timeout_ms: at(0), ban_ms: at(1), shadow_ms: at(2), warning })
    }
}

fn key(number: PersonId) -> Box<str> {
    format!("{KEY_PREFIX}{:016x}", number.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: [PersonId; 2] = [PersonId(1), PersonId(7)];

    #[test]
    fn what_a_reconnect_keeps_holds_a_person_until_the_end() {
        let mut people = People::default();
        people.hold(PersonId(7), Sanction::Timeout, 500, 0).unwrap();
        assert_eq!(people.standing(ANN, 100), Standing::Refused(Refusal::TimedOut, Some(400)));
        let returned = [PersonId(2), PersonId(7)];
        assert_eq!(people.standing(returned, 499), Standing::Refused(Refusal::TimedOut, Some(1)));
        assert_eq!(people.standing([PersonId(1), PersonId(8)], 100), Standing::Free);
        assert_eq!(people.standing(ANN, 500), Standing::Free);
    }

    #[test]
    fn the_strictest_holds_and_lifting_ends_all() {
        let mut people = People::default();
        people.hold(PersonId(1), Sanction::Shadow, FOR_EVER, 0).unwrap();
        assert_eq!(people.standing(ANN, 9), Standing::Shadowed);
        people.hold(PersonId(1), Sanction::Warning(3, "be kind".into()), 0, 0).unwrap();
        assert_eq!(people.standing(ANN, 9), Standing::Refused(Refusal::Unacknowledged, None));
        people.hold(PersonId(7), Sanction::Ban, FOR_EVER, 0).unwrap();
        assert_eq!(people.standing(ANN, 9), Standing::Refused(Refusal::Banned, None));
        assert_eq!(people.bans(9).collect::<Vec<_>>(), [(PersonId(7), 0)]);
        assert!(people.acknowledge(ANN, 4, 9).is_empty());
        assert_eq!(people.acknowledge(ANN, 3, 9).len(), 1);
        assert!(people.lift(PersonId(7)).is_some());
        assert_eq!(people.standing(ANN, 9), Standing::Shadowed);
        assert!(people.lift(PersonId(1)).is_some() && people.lift(PersonId(1)).is_none());
        assert!(people.is_empty());
    }

    #[test]
    fn hidden_state_brings_back_the_same_people() {
        let (mut people, mut kept) = (People::default(), BTreeMap::new());
        let sanctions =
            [Sanction::Timeout, Sanction::Ban, Sanction::Shadow, Sanction::Warning(9, "wörd".into())];
        for (n, sanction) in (1..).zip(sanctions) {
            for (key, value) in people.hold(PersonId(n % 3), sanction, 100 * n, 0).unwrap() {
                kept.insert(key, value.unwrap());
            }
        }
        kept.insert("gs.!pnumber".into(), Bytes::from_static(b"rubbish"));
        kept.insert("gs.!p0000000000000009".into(), Bytes::from_static(b"short"));
        let restored = People::restored(kept.iter().map(|(key, value)| (&**key, value)));
        assert_eq!(restored, people);
    }

    #[test]
    fn the_table_is_bounded_and_what_is_over_goes_first() {
        let mut people = People::default();
        for n in 0..PEOPLE_MAX as u64 {
            people.hold(PersonId(n), Sanction::Timeout, 100 + n, 0).unwrap();
        }
        let more = |people: &mut People, now| people.hold(PersonId(1 << 40), Sanction::Ban, FOR_EVER, now);
        assert_eq!(more(&mut people, 50), Err(Refusal::TooManyKeys));
        assert_eq!(more(&mut people, 101).map(|changes| changes.len()), Ok(3), "two ended, one came");
    }
}
