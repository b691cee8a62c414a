//! Tallies: what a crowd counted, made to add up over processes.
//!
//! Messages, frames and deliveries are three things: one message to a thousand viewers is a thousand
//! deliveries, in as many frames or fewer.
//! Invariant: a number that says something is wrong is in [`Tally::faults`], and only those.
//! Not here: what publishers count (`publisher`), how it is shown (`report`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checker::Checker;
use grandstand_harness::histogram::Times;

/// Different reasons that are told apart; the rest is "other". A run has a handful.
const REASONS_MAX: usize = 32;

/// How often something happened, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reasons(pub(crate) BTreeMap<String, u64>);

/// Gap notices of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gaps {
    /// Notices.
    pub(crate) notices: u64,
    /// Messages that they named, over all viewers.
    pub(crate) messages: u64,
}

/// What a crowd counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Subscriptions that began: newcomers, not resumes.
    pub(crate) joins: u64,
    /// Viewers that never got in, or were sent away before the end.
    pub(crate) failures: Reasons,
    /// Connections that ended although nobody here wanted it.
    pub(crate) disconnects: Reasons,
    /// Connections that were dropped on purpose.
    pub(crate) drops: u64,
    /// Subscriptions that went on where they had ended.
    pub(crate) resumes: u64,
    /// Viewers that left and came back as newcomers.
    pub(crate) churned: u64,
    /// Batch frames.
    pub(crate) frames: u64,
    /// Bytes of batch frames, headers included, above TLS and QUIC.
    pub(crate) bytes: u64,
    /// Messages that reached viewers.
    pub(crate) deliveries: u64,
    /// Of them: not this run's.
    pub(crate) foreign: u64,
    /// Messages left out by pacing.
    pub(crate) omitted: u64,
    pub(crate) gaps: BTreeMap<String, Gaps>,
    /// Messages missing at viewers that were dropped and resumed, and so have to end with the complete log.
    pub(crate) dropped_missed: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    /// Messages whose content was not what was published.
    pub(crate) wrong: u64,
    /// Viewers that were behind the room's head when the time to settle was over.
    pub(crate) unsettled: u64,
    /// Viewers for which some offset had no account, or two.
    pub(crate) unbalanced: u64,
    /// Batches that did not continue the position.
    pub(crate) desyncs: u64,
    /// Viewers that found the room's log begun anew.
    pub(crate) restarts: u64,
    /// The same, where the run expects it: the node said so, and the audience went on in the new log.
    pub(crate) logs_changed: u64,
    /// Messages at an offset of a log at which somebody else was shown another one.
    pub(crate) order_differences: u64,
    /// Connections that the node's host refused.
    pub(crate) refused_connections: u64,
    /// Longest silence of each viewer while publishing went on, where that is watched.
    pub(crate) silence: Times,
    /// Reactions given.
    pub(crate) reactions_sent: u64,
    /// Reactions that viewers were told of, over all viewers.
    pub(crate) reactions_seen: u64,
    /// From due to received, of viewers that only watch.
    pub(crate) latency: Times,
    /// The same, of viewers that were stalled or dropped on purpose.
    pub(crate) disturbed_latency: Times,
    /// From the begin of connecting to the answer to the subscription.
    pub(crate) join_latency: Times,
    /// CPU time of the processes that held the viewers, while publishing.
    pub(crate) cpu_us: u64,
    /// User memory that they took for it.
    pub(crate) user_bytes: u64,
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
}

impl Tally {
    pub(crate) fn count_gap(&mut self, reason: &str, messages: u64) {
        let gaps = self.gaps.entry(reason.to_owned()).or_default();
        gaps.notices += 1;
        gaps.messages += messages;
    }

    /// A viewer ended; its accounts are final.
    pub(crate) fn take_accounts(&mut self, checker: &Checker) {
        self.lost += checker.lost;
        self.duplicated += u64::from(checker.duplicated);
        self.out_of_order += u64::from(checker.out_of_order);
        self.omitted += checker.omitted;
        self.unbalanced += u64::from(!checker.is_balanced());
    }

    pub(crate) fn gap_notices(&self) -> u64 {
        self.gaps.values().map(|g| g.notices).sum()
    }

    pub(crate) fn gap_messages(&self) -> u64 {
        self.gaps.values().map(|g| g.messages).sum()
    }

    pub(crate) fn add(&mut self, other: &Tally) {
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
        for (sum, part) in self.numbers_mut().into_iter().zip(other.clone().numbers_mut()) {
            *sum += *part;
        }
    }

    fn numbers_mut(&mut self) -> [&mut u64; 25] {
        [
            &mut self.joins,
            &mut self.drops,
            &mut self.resumes,
            &mut self.churned,
            &mut self.frames,
            &mut self.bytes,
            &mut self.deliveries,
            &mut self.foreign,
            &mut self.omitted,
            &mut self.dropped_missed,
            &mut self.lost,
            &mut self.duplicated,
            &mut self.out_of_order,
            &mut self.wrong,
            &mut self.unbalanced,
            &mut self.desyncs,
            &mut self.restarts,
            &mut self.reactions_sent,
            &mut self.reactions_seen,
            &mut self.cpu_us,
            &mut self.user_bytes,
            &mut self.unsettled,
            &mut self.logs_changed,
            &mut self.order_differences,
            &mut self.refused_connections,
        ]
    }

    /// What must not have happened, in words; empty in a good run.
    pub(crate) fn faults(&self) -> Vec<String> {
        let counted = [
            (self.lost, "messages lost"),
            (self.duplicated, "messages duplicated"),
            (self.out_of_order, "messages out of order"),
            (self.wrong, "messages with wrong content"),
            (self.unbalanced, "viewers whose accounts do not add up"),
            (self.dropped_missed, "messages missing at viewers that resumed after every drop"),
            (self.desyncs, "batches that did not continue the position"),
            (self.order_differences, "messages of which viewers saw different orders"),
            (self.restarts, "viewers that found the room's log begun anew"),
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
        let mut one = Tally::default();
        for (n, number) in one.numbers_mut().into_iter().enumerate() {
            *number = n as u64 + 1;
        }
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
        checker.finish(Some(3));
        tally.take_accounts(&checker);
        assert_eq!(tally.faults(), ["2 messages lost", "1 messages duplicated"]);
    }
}
