//! Limits: what the figures of a kind of fault must be, and the sentence that says so.
//!
//! Invariant: lost, twice, out of order, unnamed, stale frames and stale acknowledgements, missing outcomes
//! and absent viewers are always 0, whatever the fault.
//! Not here: how figures are taken (`trial`, `checker`).

use crate::trial::Figures;

/// Limits beside those that always hold; `None`: there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Half of the trials pause at most so long at nodes without the fault.
    pub(crate) pause_p50_ms: Option<u64>,
    /// So do 99 of 100, counted for each shard.
    pub(crate) pause_p99_ms: Option<u64>,
    /// No trial pauses longer.
    pub(crate) pause_max_ms: Option<u64>,
    /// The limit of the pause holds only where the log's leader was on another machine than its owner.
    pub(crate) unless_leader_beside: bool,
    pub(crate) ack_max_ms: Option<u64>,
    /// Terms that begin in a trial.
    pub(crate) owner_changes: Option<u64>,
    /// Connections of viewers at other nodes do not end.
    pub(crate) keeps_viewers: bool,
    /// No publication is refused, not even for a time.
    pub(crate) refuses_nothing: bool,
    /// Publications are refused meanwhile, each with a time.
    pub(crate) must_put_off: bool,
}

impl Limits {
    /// Only what always holds, and answers within 10 s.
    pub(crate) const NONE: Limits = Limits {
        pause_p50_ms: None,
        pause_p99_ms: None,
        pause_max_ms: None,
        unless_leader_beside: false,
        ack_max_ms: None,
        owner_changes: None,
        keeps_viewers: true,
        refuses_nothing: false,
        must_put_off: false,
    };

    /// The same with times that are so many times as long, for builds without optimisation on busy machines.
    /// There a node misses heartbeats that came late, and claims a shard, which costs a pause; and one trial
    /// has no percentiles.
    pub(crate) fn slower(self, factor: u64) -> Limits {
        let longer = |limit: Option<u64>| limit.map(|limit| limit * factor);
        Limits {
            pause_p50_ms: None,
            pause_p99_ms: None,
            pause_max_ms: longer(self.pause_max_ms.or(Some(3_000))),
            ack_max_ms: longer(self.ack_max_ms),
            owner_changes: None,
            ..self
        }
    }

    /// One trial's figures that fall short.
    pub(crate) fn judge(&self, figures: &Figures) -> Vec<String> {
        let mut short = Vec::new();
        let mut at_most = |what: &str, got: u64, limit: Option<u64>| {
            if let Some(limit) = limit.filter(|&limit| got > limit) {
                short.push(format!("{what} {got}, at most {limit}"));
            }
        };
        for (what, got) in zeros(figures) {
            at_most(what, got, Some(0));
        }
        let is_free = self.unless_leader_beside && figures.had_leader_beside_owner;
        at_most("pause ms", figures.pauses.worst_us / 1_000, self.pause_max_ms.filter(|_| !is_free));
        at_most("answer ms", figures.acks.max_us / 1_000, self.ack_max_ms);
        at_most("owner changes", figures.owner_changes, self.owner_changes);
        at_most("reconnects elsewhere", figures.pauses.reconnects, self.keeps_viewers.then_some(0));
        at_most(
            "refusals",
            figures.put_off + figures.put_off_without_time,
            self.refuses_nothing.then_some(0),
        );
        if figures.acknowledged == 0 {
            short.push("nothing was acknowledged".to_owned());
        }
        if self.must_put_off && figures.put_off == 0 {
            short.push("nothing was refused with a time".to_owned());
        }
        if self.must_put_off && figures.put_off_without_time > 0 {
            short.push(format!("refusals without a time {}", figures.put_off_without_time));
        }
        short
    }

    /// In words.
    pub(crate) fn sentence(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |limit: Option<u64>, what: &str| {
            parts.extend(limit.map(|limit| what.replace('#', &limit.to_string())));
        };
        part(self.pause_p50_ms, "pause p50 ≤ # ms");
        part(self.pause_p99_ms, "pause of a shard p99 ≤ # ms");
        part(self.pause_max_ms, "pause ≤ # ms");
        part(self.unless_leader_beside.then_some(95), "in # % the log's leader was elsewhere");
        part(self.ack_max_ms, "answers ≤ # ms");
        part(self.owner_changes, "owner changes ≤ #");
        part(self.keeps_viewers.then_some(0), "reconnects elsewhere #");
        part(self.refuses_nothing.then_some(0), "refused #");
        part(self.must_put_off.then_some(0), "acknowledged meanwhile #, refused with a time");
        // What every trial must hold (`zeros`), where nothing else is asked.
        if parts.is_empty() { "nothing acknowledged is lost".to_owned() } else { parts.join(", ") }
    }
}

/// The figures that are 0 in every good trial.
pub(crate) fn zeros(figures: &Figures) -> [(&'static str, u64); 13] {
    let wrongs = &figures.wrongs;
    [
        ("lost", wrongs.lost),
        ("twice", wrongs.twice),
        ("out of order", wrongs.out_of_order),
        ("unnamed", wrongs.unnamed),
        ("stale frames", wrongs.stale_frames),
        ("stale answers", wrongs.stale_acks),
        ("outcomes missing or double", wrongs.outcomes),
        ("refused and shown", wrongs.refused_and_shown),
        ("breaches of the protocol", wrongs.breaches),
        ("absent viewers", wrongs.absent),
        ("begun anew", wrongs.begun_anew),
        ("missing with a notice", wrongs.named),
        ("answers of a minority", figures.minority_acks),
    ]
}
