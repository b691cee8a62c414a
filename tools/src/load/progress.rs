//! Progress lines on standard error, one a second.
//!
//! Not here: the terminal view (`demo`), the final figures (`report`).

use super::messages::Progress;
use super::report::{duration, mib};
use super::run::{Moment, Phase, Watcher};

/// One line a second.
const EVERY_US: u64 = 1_000_000;

/// Rates per second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) messages: f64,
    pub(crate) frames: f64,
    pub(crate) deliveries: f64,
    pub(crate) joins: f64,
    /// Messages that pacing left out, over all viewers.
    pub(crate) omitted: f64,
    /// Over all viewers.
    pub(crate) reactions: f64,
    /// CPUs that the server keeps busy.
    pub(crate) server_cpus: f64,
}

/// Turns totals into rates.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    at_us: u64,
    progress: Progress,
    acknowledged: u64,
    server_cpu_us: u64,
}

impl Meter {
    /// The rates since the last look, if that is at least `every_us` ago.
    pub(crate) fn look(&mut self, moment: &Moment<'_>, every_us: u64) -> Option<Rates> {
        let passed_us = moment.now_us - self.at_us;
        if passed_us < every_us {
            return None;
        }
        let (was, is) = (self.progress, moment.progress);
        let per_s = |passed_us: u64, from: u64, to: u64| {
            if passed_us == 0 { 0.0 } else { to.saturating_sub(from) as f64 * 1e6 / passed_us as f64 }
        };
        // A crowd's totals are of the time at which it counted them, not of when they arrived here.
        let of_crowd = |from, to| per_s(is.at_us.saturating_sub(was.at_us), from, to);
        let server_cpu_us = moment.server.map_or(0, |s| s.cpu_us());
        let rates = Rates {
            messages: per_s(passed_us, self.acknowledged, moment.published.acknowledged),
            frames: of_crowd(was.counts.frames, is.counts.frames),
            deliveries: of_crowd(was.counts.deliveries, is.counts.deliveries),
            joins: of_crowd(was.live, is.live),
            omitted: of_crowd(was.counts.omitted, is.counts.omitted),
            reactions: of_crowd(was.counts.reactions_seen, is.counts.reactions_seen),
            server_cpus: per_s(passed_us, self.server_cpu_us, server_cpu_us) / 1e6,
        };
        let is_first = self.at_us == 0;
        *self = Meter {
            at_us: moment.now_us,
            progress: is,
            acknowledged: moment.published.acknowledged,
            server_cpu_us,
        };
        (!is_first).then_some(rates)
    }
}

/// Progress lines.
#[derive(Debug)]
pub(crate) struct Lines {
    is_quiet: bool,
    meter: Meter,
}

impl Lines {
    pub(crate) fn new(is_quiet: bool) -> Lines {
        Lines { is_quiet, meter: Meter::default() }
    }

    pub(crate) fn say(&self, text: &str) {
        if !self.is_quiet {
            crate::say::notice(text);
        }
    }
}

impl Watcher for Lines {
    fn watch(&mut self, moment: &Moment<'_>) -> anyhow::Result<()> {
        if let Some(rates) = self.meter.look(moment, EVERY_US) {
            self.say(&line(moment, &rates));
        }
        Ok(())
    }
}

fn line(moment: &Moment<'_>, rates: &Rates) -> String {
    let p = &moment.progress;
    let bad = [
        (p.failed, "failed"),
        (p.counts.lost, "lost"),
        (p.counts.duplicated, "duplicated"),
        (p.counts.out_of_order, "out of order"),
        (p.counts.wrong, "wrong"),
        (p.gaps, "gap notices"),
        (moment.published.refused.total(), "refused"),
        (p.counts.omitted, "left out by pacing"),
    ];
    let bad: String = bad.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}")).collect();
    let server = moment.server.map_or_else(String::new, |s| {
        format!(", node {:.2} CPUs, {}", rates.server_cpus, mib(s.resident_bytes))
    });
    match moment.phase {
        Phase::Joining => {
            format!(
                "joining  {} of {} viewers, {:.0} joins/s{server}{bad}",
                p.live, moment.viewers, rates.joins
            )
        }
        Phase::Publishing | Phase::Settling if moment.viewers == 0 => {
            let (done, due) = (moment.published.acknowledged, moment.published.due);
            format!("on air   {:.1} messages/s, {done} acknowledged of {due}{bad}", rates.messages)
        }
        Phase::Publishing | Phase::Settling => {
            let name = if moment.phase == Phase::Publishing { "on air " } else { "settling" };
            format!(
                "{name}  {} viewers, {:.1} messages/s, {:.0} received/s, p50 {}, p99 {}{server}{bad}",
                p.live,
                rates.messages,
                rates.deliveries,
                duration(p.p50_us),
                duration(p.p99_us)
            )
        }
    }
}
