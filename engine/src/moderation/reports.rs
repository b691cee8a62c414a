//! Reports of one room: which messages people told moderators of, and why.
//!
//! Invariants: a person reports a message once. One person and all together have bounds, so a flood of
//! reports is refused. Who reported is kept to count, and told to nobody.
//! Not here: who is told that there are reports (`shard::acts`).

use std::collections::BTreeMap;

use bytes::Bytes;
use grandstand_protocol::frame::Category;
use grandstand_protocol::refusal::Refusal;

use super::people::Change;
use crate::link::{PersonId, Reported};

/// Prefix of the keys of reports in the hidden state; the offset and the person follow, in 16 hexadecimal
/// digits each.
const KEY_PREFIX: &str = "gs.!n";

/// The most reports of a room: some 200 KB.
const ALL_MAX: usize = 1024;

/// The most reports of one person that are open in a room.
const PERSON_MAX: usize = 16;

/// A report: why, and a word of the person who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    category: Category,
    text: Box<str>,
}

/// See the file's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reports {
    all: BTreeMap<(u64, PersonId), Report>,
}

impl Reports {
    /// From the hidden state. What is no report is passed over.
    pub(crate) fn restored<'a>(hidden: impl Iterator<Item = (&'a str, &'a Bytes)>) -> Reports {
        let one = |(key, value): (&str, &Bytes)| {
            let (offset, person) = key.strip_prefix(KEY_PREFIX)?.split_at_checked(16)?;
            let number = |hex| u64::from_str_radix(hex, 16).ok();
            let (category, text) = value.split_first()?;
            let text = std::str::from_utf8(text).ok()?.into();
            let report = Report { category: Category::from_wire(*category), text };
            Some(((number(offset)?, PersonId(number(person)?)), report))
        };
        Reports { all: hidden.filter_map(one).collect() }
    }

    /// Is nothing reported?
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Somebody reports the message at an offset. `None`: they did before.
    ///
    /// # Errors
    /// `RateLimited`: the person has reported as much as one may. `Overloaded`: there are as many reports as
    /// a room keeps.
    pub(crate) fn report(
        &mut self,
        offset: u64,
        by: PersonId,
        category: Category,
        text: &str,
    ) -> Result<Option<Change>, Refusal> {
        if self.all.contains_key(&(offset, by)) {
            return Ok(None);
        }
        if self.all.keys().filter(|(_, person)| *person == by).count() >= PERSON_MAX {
            return Err(Refusal::RateLimited);
        }
        if self.all.len() >= ALL_MAX {
            return Err(Refusal::Overloaded);
        }
        let value = [&[category as u8], text.as_bytes()].concat();
        self.all.insert((offset, by), Report { category, text: text.into() });
        Ok(Some((key(offset, by), Some(value.into()))))
    }

    /// Forget the reports of messages for which this says so. Returns the changes of hidden state.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(u64) -> bool) -> Vec<Change> {
        let gone = self.all.extract_if(.., |(offset, _), _| is_gone(*offset));
        gone.map(|((offset, by), _)| (key(offset, by), None)).collect()
    }

    /// Every reported message, with its categories and words.
    pub(crate) fn list(&self) -> Vec<Reported> {
        let mut list: Vec<Reported> = Vec::new();
        for ((offset, _), Report { category, text }) in &self.all {
            if list.last().is_none_or(|last| last.offset != *offset) {
                list.push(Reported { offset: *offset, reports: Vec::new() });
            }
            list.last_mut().expect("just pushed").reports.push((*category, text.clone()));
        }
        list
    }
}

fn key(offset: u64, by: PersonId) -> Box<str> {
    format!("{KEY_PREFIX}{offset:016x}{:016x}", by.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reports_a_message_once_and_a_flood_is_bounded() {
        let mut reports = Reports::default();
        let mut report =
            |offset, by| reports.report(offset, PersonId(by), Category::Spam, "no").map(|r| r.is_some());
        assert_eq!((report(5, 1), report(5, 1), report(5, 2)), (Ok(true), Ok(false), Ok(true)));
        for n in 1..PERSON_MAX as u64 {
            assert_eq!(report(100 + n, 1), Ok(true));
        }
        assert_eq!(report(500, 1), Err(Refusal::RateLimited));
        for n in 0..(ALL_MAX - PERSON_MAX - 1) as u64 {
            assert_eq!(report(7, 1_000 + n), Ok(true), "{n}");
        }
        assert_eq!(report(7, 3), Err(Refusal::Overloaded));
        assert_eq!(reports.list().len(), PERSON_MAX + 1);
        assert_eq!(reports.forget(|offset| offset == 7).len(), ALL_MAX - PERSON_MAX - 1);
        assert_eq!(reports.list()[0].reports.len(), 2);
    }

    #[test]
    fn hidden_state_brings_back_the_same_reports() {
        let (mut reports, mut kept) = (Reports::default(), BTreeMap::new());
        for (n, category) in (0..).zip(Category::ALL) {
            let (key, value) = reports.report(n / 2, PersonId(n), *category, "wörd").unwrap().unwrap();
            kept.insert(key, value.unwrap());
        }
        kept.insert("gs.!nx".into(), Bytes::new());
        assert_eq!(Reports::restored(kept.iter().map(|(key, value)| (&**key, value))), reports);
    }
}
