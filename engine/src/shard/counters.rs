//! Counters of a shard, by metric name.
//!
//! Invariant: counters only grow. Gauges (rooms, viewers, bytes kept) are computed on request.
//! Not here: how they are exported (edge).

use grandstand_protocol::refusal::Refusal;

use crate::room::pacing::Fate;

/// Counters and gauges of a shard that are not refusals.
const NAMES: &[&str] = &[
    "rooms",
    "rooms_live",
    "viewers",
    "history_bytes",
    "state_bytes",
    "rooms_busy",
    "largest_tick_us",
    "largest_stretch_permille",
    "rooms_on_disk",
    "answers_held",
    "answers_late",
    "disk_pages",
    "disk_pages_late",
    "attaches",
    "attaches_refused",
    "publications_accepted",
    "publications_repeated",
    "publications_masked",
    "reactions",
    "reactions_refused",
    "state_changes",
    "state_refused",
    "acts",
    "acts_refused",
    "removals",
    "batches_sealed",
    "bytes_sealed",
    "messages_shown",
    "messages_folded",
    "messages_omitted",
    "personals",
    "history_pages",
    "rooms_created",
    "rooms_removed",
    "outputs_overflowed",
    "outputs_dropped",
];

/// This release's name for a counter that another process sent by name; `None` if it has no such counter.
pub fn counter_name(name: &str) -> Option<&'static str> {
    let refused = || Refusal::ALL.iter().map(|&reason| refused_name(reason)).find(|known| *known == name);
    NAMES.iter().copied().find(|known| *known == name).or_else(refused)
}

/// Counts of everything that a shard did.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) attaches: u64,
    pub(crate) attaches_refused: u64,
    pub(crate) publications_accepted: u64,
    pub(crate) publications_repeated: u64,
    pub(crate) publications_masked: u64,
    pub(crate) reactions: u64,
    pub(crate) reactions_refused: u64,
    pub(crate) state_changes: u64,
    pub(crate) state_refused: u64,
    pub(crate) acts: u64,
    pub(crate) acts_refused: u64,
    pub(crate) removals: u64,
    pub(crate) batches_sealed: u64,
    pub(crate) bytes_sealed: u64,
    pub(crate) messages_shown: u64,
    pub(crate) messages_folded: u64,
    pub(crate) messages_omitted: u64,
    pub(crate) personals: u64,
    pub(crate) history_pages: u64,
    pub(crate) rooms_created: u64,
    pub(crate) rooms_removed: u64,
    pub(crate) outputs_overflowed: u64,
    pub(crate) outputs_dropped: u64,
    // Indexed by the refusal's number on the wire.
    publications_refused: [u64; Refusal::ALL.len()],
}

impl Counters {
    /// A publication was refused.
    pub(crate) fn refuse_publication(&mut self, reason: Refusal) {
        self.publications_refused[usize::from(reason.wire())] += 1;
    }

    /// Count the outcomes of a tick's messages; `None`: all are shown.
    pub(crate) fn count_fates(&mut self, messages: usize, fates: Option<&[Fate]>) {
        let count = |fate: fn(&Fate) -> bool| {
            fates.map_or(0, |fates| fates.iter().filter(|f| fate(f)).count() as u64)
        };
        let (folded, omitted) = (count(|f| *f == Fate::Folded), count(|f| *f == Fate::Omitted));
        self.messages_folded += folded;
        self.messages_omitted += omitted;
        self.messages_shown += messages as u64 - folded - omitted;
    }

    /// All counters.
    pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
        let mut list = vec![
            ("attaches", self.attaches),
            ("attaches_refused", self.attaches_refused),
            ("publications_accepted", self.publications_accepted),
            ("publications_repeated", self.publications_repeated),
            ("publications_masked", self.publications_masked),
            ("reactions", self.reactions),
            ("reactions_refused", self.reactions_refused),
            ("state_changes", self.state_changes),
            ("state_refused", self.state_refused),
            ("acts", self.acts),
            ("acts_refused", self.acts_refused),
            ("removals", self.removals),
            ("batches_sealed", self.batches_sealed),
            ("bytes_sealed", self.bytes_sealed),
            ("messages_shown", self.messages_shown),
            ("messages_folded", self.messages_folded),
            ("messages_omitted", self.messages_omitted),
            ("personals", self.personals),
            ("history_pages", self.history_pages),
            ("rooms_created", self.rooms_created),
            ("rooms_removed", self.rooms_removed),
            ("outputs_overflowed", self.outputs_overflowed),
            ("outputs_dropped", self.outputs_dropped),
        ];
        let refused =
            |&reason: &Refusal| (refused_name(reason), self.publications_refused[usize::from(reason.wire())]);
        list.extend(Refusal::ALL.iter().map(refused));
        list
    }
}

fn refused_name(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Other => "publications_refused_other",
        Refusal::UnknownRoom => "publications_refused_unknown_room",
        Refusal::RoomClosed => "publications_refused_room_closed",
        Refusal::Forbidden => "publications_refused_forbidden",
        Refusal::TooLarge => "publications_refused_too_large",
        Refusal::Empty => "publications_refused_empty",
        Refusal::RateLimited => "publications_refused_rate_limited",
        Refusal::SlowMode => "publications_refused_slow_mode",
        Refusal::Overloaded => "publications_refused_overloaded",
        Refusal::Filtered => "publications_refused_filtered",
        Refusal::BadText => "publications_refused_bad_text",
        Refusal::TooManyRooms => "publications_refused_too_many_rooms",
        Refusal::BadName => "publications_refused_bad_name",
        Refusal::NotSubscribed => "publications_refused_not_subscribed",
        Refusal::TooManyKeys => "publications_refused_too_many_keys",
        Refusal::AlreadySubscribed => "publications_refused_already_subscribed",
        Refusal::StorageUnavailable => "publications_refused_storage_unavailable",
        Refusal::UnknownEpoch => "publications_refused_unknown_epoch",
        Refusal::TooOld => "publications_refused_too_old",
        Refusal::Forgotten => "publications_refused_forgotten",
        Refusal::NonceReused => "publications_refused_nonce_reused",
        Refusal::Held => "publications_refused_held",
        Refusal::TimedOut => "publications_refused_timed_out",
        Refusal::Banned => "publications_refused_banned",
        Refusal::Unacknowledged => "publications_refused_unacknowledged",
        Refusal::SubscribersOnly => "publications_refused_subscribers_only",
        Refusal::TooNew => "publications_refused_too_new",
        Refusal::EmotesOnly => "publications_refused_emotes_only",
        Refusal::LinksOff => "publications_refused_links_off",
        Refusal::Repeats => "publications_refused_repeats",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_counter() {
        let mut counters = Counters::default();
        for &reason in Refusal::ALL {
            counters.refuse_publication(reason);
        }
        let list = counters.list();
        let ones: Vec<_> =
            list.iter().filter(|(name, n)| name.starts_with("publications_refused") && *n == 1).collect();
        assert_eq!(ones.len(), Refusal::ALL.len());
        let mut names: Vec<_> = list.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), list.len());
    }
}
