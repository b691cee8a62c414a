//! Tallies: the counts of a crowd, which can be added up over processes.
//!
//! Messages, frames and deliveries are three things: one message to a thousand viewers is a thousand
//! deliveries, in as many frames or fewer.
//! Invariant: [`Tally::faults`] has all counts that report a fault, and only those.
//! Not here: the counts of publishers (`publisher`), the presentation (`report`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checker::Checker;
use grandstand_harness::histogram::Times;

/// Most distinct reasons that are counted; the rest is "other". A run has a handful.
const REASONS_MAX: usize = 32;

/// Counts by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reasons(pub(crate) BTreeMap<String, u64>);

/// Gap notices of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gaps {
    /// Notices.
    pub(crate) notices: u64,
    /// Messages in their ranges, over all viewers.
    pub(crate) messages: u64,
}

/// Sums over viewers, and their addition.
macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counts of a crowd.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) struct Counts {
            $($(#[$doc])* pub(crate) $name: u64,)*
        }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// New subscriptions, without resumed ones.
    joins,
    /// Connections that were dropped on purpose.
    drops,
    /// Subscriptions that resumed after their last message.
    resumes,
    /// Viewers that left and joined again with a new session.
    churned,
    /// Batch frames.
    frames,
    /// Bytes of batch frames, headers included, above TLS and QUIC.
    bytes,
    /// Messages that reached viewers.
    deliveries,
    /// Deliveries of messages that another client published.
    foreign,
    /// Messages left out by pacing.
    omitted,
    /// Messages missing at viewers that dropped their connection and resumed, and so must have the complete
    /// log.
    dropped_missed,
    /// Messages that went missing without a notice.
    lost,
    /// Messages that viewers, connected until the end, had not read when the time to settle was over.
    unread,
    duplicated,
    out_of_order,
    /// Messages whose content differs from the published one.
    wrong,
    /// Viewers that were behind the room's head when the time to settle was over.
    unsettled,
    /// Viewers for which an offset was counted twice or not at all.
    unbalanced,
    /// Batches that did not continue the position.
    desyncs,
    /// Viewers that met a new log of the room without a notice of it.
    logs_lost,
    /// Viewers that met a new log of the room in a run that expects it, with a notice, and continued in it.
    logs_changed,
    /// Messages at an offset of a log at which another viewer was shown a different message.
    order_differences,
    /// Connections that the node's host refused.
    refused_connections,
    /// Reactions sent.
    reactions_sent,
    /// Reactions in the tallies that viewers received, over all viewers.
    reactions_seen,
    /// CPU time of the processes that held the viewers, while publishing.
    cpu_us,
    /// User memory of these processes.
    user_bytes,
}

/// Everything that a crowd counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// Viewers that never joined, or were refused before the end.
    pub(crate) failures: Reasons,
    /// Connections that ended without an order of the run.
    pub(crate) disconnects: Reasons,
    /// Gap notices by reason.
    pub(crate) gaps: BTreeMap<String, Gaps>,
    /// Longest silence of each viewer during publishing, if the run measures it.
    pub(crate) silence: Times,
    /// Latency from due to received, of viewers without stalls or drops.
    pub(crate) latency: Times,
    /// Latency from due to received, of viewers that were stalled or dropped on purpose.
    pub(crate) disturbed_latency: Times,
    /// Time from the begin of connecting to the answer to the subscription.
    pub(crate) join_latency: Times,
}

impl Reasons {
    pub(crate) fn count(&mut self, reason: &str, by: u64) {
        let is_full = self.0.len() >= REASONS_MAX && !self.0.contains_key(reason);
        *self.0.entry(if is_full { "other" } else { reason }.to_owned()).or_default() += by;
    }

    pub(crate) fn add(&mut self, other: &Reasons) {
        other.0.iter().for_each(|(reason, &by)| self.count(reason, by));
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// `3 slow down, 1 room closed`.
    pub(crate) fn sentence(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.join(", ")
    }

    /// The same behind a number; nothing where there are none.
    pub(crate) fn in_brackets(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!(" ({})", self.sentence()) }
    }
}

impl Tally {
    pub(crate) fn count_gap(&mut self, reason: &str, messages: u64) {
        let gaps = self.gaps.entry(reason.to_owned()).or_default();
        gaps.notices += 1;
        gaps.messages += messages;
    }

    /// Add the final counts of a viewer that ended.
    pub(crate) fn take_accounts(&mut self, checker: &Checker) {
        let counts = &mut self.counts;
        counts.lost += checker.lost;
        counts.unread += checker.unread;
        counts.duplicated += u64::from(checker.duplicated);
        counts.out_of_order += u64::from(checker.out_of_order);
        counts.omitted += checker.omitted;
        counts.unbalanced += u64::from(!checker.is_balanced());
    }

    pub(crate) fn gap_notices(&self) -> u64 {
        self.gaps.values().map(|g| g.notices).sum()
    }

    pub(crate) fn gap_messages(&self) -> u64 {
        self.gaps.values().map(|g| g.messages).sum()
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.counts.add(&other.counts);
        self.failures.add(&other.failures);
        self.disconnects.add(&other.disconnects);
        for (reason, gaps) in &other.gaps {
            let sum = self.gaps.entry(reason.clone()).or_default();
            sum.notices += gaps.notices;
            sum.messages += gaps.messages;
        }
        self.latency.add(&other.latency);
        self.disturbed_latency.add(&other.disturbed_latency);
        self.join_latency.add(&other.join_latency);
        self.silence.add(&other.silence);
    }

    /// A text of all faults; empty in a good run.
    pub(crate) fn faults(&self) -> Vec<String> {
        let counts = &self.counts;
        let counted = [
            (counts.lost, "messages lost"),
            (counts.unread, "messages not read yet when the time to settle was over"),
            (counts.duplicated, "messages duplicated"),
            (counts.out_of_order, "messages out of order"),
            (counts.wrong, "messages with wrong content"),
            (counts.unbalanced, "viewers whose accounts do not add up"),
            (counts.dropped_missed, "messages missing at viewers that resumed after every drop"),
            (counts.desyncs, "batches that did not continue the position"),
            (counts.order_differences, "messages of which viewers saw different orders"),
            (counts.logs_lost, "viewers that found the room's log begun anew"),
        ];
        let mut faults: Vec<String> = counted
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if self.failures.total() > 0 {
            faults.push(format!("{} viewers failed: {}", self.failures.total(), self.failures.sentence()));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_adds_up() {
        let counts = serde_json::to_value(Counts::default()).unwrap();
        let names = counts.as_object().unwrap().keys().cloned();
        let counts = names.zip(1..).map(|(name, n)| (name, n.into())).collect();
        let counts = serde_json::from_value(serde_json::Value::Object(counts)).unwrap();
        let mut one = Tally { counts, ..Tally::default() };
        one.count_gap("slow", 40);
        one.failures.count("refused", 2);
        one.latency.record(1000);
        let mut sum = Tally::default();
        let json = serde_json::to_value(&one).unwrap();
        sum.add(&one);
        sum.add(&serde_json::from_value(json.clone()).unwrap());
        let sum = serde_json::to_value(&sum).unwrap();
        for (name, value) in json.as_object().unwrap() {
            match value.as_u64() {
                Some(n) => assert_eq!(sum[name], 2 * n, "{name}"),
                None => assert!(value.is_object() || value.is_array(), "{name}"),
            }
        }
        assert_eq!(sum["gaps"]["slow"]["messages"], 80);
        assert_eq!(sum["failures"]["refused"], 4);
        assert_eq!(sum["latency"][0][1], 2);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut reasons = Reasons::default();
        (0..1000).for_each(|n| reasons.count(&format!("reason {n}"), 1));
        assert_eq!((reasons.0.len(), reasons.total()), (REASONS_MAX + 1, 1000));
    }

    #[test]
    fn faults_are_named_and_a_good_run_has_none() {
        let mut tally = Tally::default();
        tally.count_gap("slow", 3);
        assert_eq!(tally.faults(), Vec::<String>::new());
        let mut checker = Checker::default();
        checker.handle_subscribed(1, 0);
        checker.handle_message(0);
        checker.handle_message(0);
        checker.finish(Some(3), false);
        tally.take_accounts(&checker);
        assert_eq!(tally.faults(), ["2 messages lost", "1 messages duplicated"]);
        let mut behind = Checker::default();
        behind.handle_subscribed(1, 0);
        behind.finish(Some(7), true);
        let mut tally = Tally::default();
        tally.take_accounts(&behind);
        assert_eq!(tally.faults(), ["7 messages not read yet when the time to settle was over"]);
    }
}
