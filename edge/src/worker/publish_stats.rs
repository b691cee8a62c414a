//! Publishing counters: the audience's and the endpoint's numbers are copied to where the metrics are read.
//!
//! Why a copy: the audience counts in plain numbers of its own thread, and a scrape reads atomic cells from
//! another.
//! Not here: the cells (`stats`), how they are rendered (the node's metrics).

use grandstand_edge_core::audience::Counters;

use crate::quic::Quic;
use crate::stats::Stats;

/// Set every cell whose number is counted elsewhere.
pub(super) fn publish(stats: &Stats, counters: &Counters, quic: Option<&Quic>) {
    stats.frames_in.set(counters.frames_in);
    stats.frames_out.set(counters.frames_out);
    stats.control_frames_out.set(counters.control_frames_out);
    stats.deliveries.set(counters.deliveries);
    stats.bytes_out.set(counters.bytes_out);
    stats.writes.set(counters.writes);
    stats.writes_blocked.set(counters.writes_blocked);
    stats.batch_writes.set(counters.batch_writes);
    stats.batches.set(counters.batches);
    stats.batches_compressed.set(counters.batches_compressed);
    stats.batches_redacted.set(counters.batches_redacted);
    stats.sessions.set(counters.sessions);
    stats.sessions_opened.set(counters.sessions_opened);
    stats.sessions_resumed.set(counters.sessions_resumed);
    stats.renewals.set(counters.renewals);
    stats.sessions_denied.set(counters.sessions_denied);
    stats.members.set(counters.members);
    stats.rooms.set(counters.rooms);
    stats.joins.set(counters.joins);
    stats.resumes.set(counters.resumes);
    stats.gaps.set_all(&counters.gaps);
    stats.gap_messages.set(counters.gap_messages);
    stats.personals.set(counters.personals);
    stats.personals_dropped.set(counters.personals_dropped);
    stats.publications.set(counters.publications);
    stats.publications_accepted.set(counters.publications_accepted);
    stats.publications_refused.set(counters.publications_refused);
    stats.reactions.set(counters.reactions);
    stats.refusals.set_all(&counters.refusals);
    stats.closes.set_all(&counters.closes);
    stats.submits_full.set(counters.submits_full);
    stats.lagging.set(counters.lagging);
    if let Some(quic) = quic {
        stats.retries_sent.set(quic.counts.retries);
        stats.paths_withheld.set(quic.counts.withheld);
        stats.paths_refused.set(quic.counts.strayed);
    }
}
