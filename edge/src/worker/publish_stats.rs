//! Publishing counters: the audience's and the endpoint's numbers are copied to where the metrics are read.
//!
//! Why a copy: the audience counts in plain numbers of its own thread, and a scrape reads atomic cells from
//! another.
//! Not here: the cells (`stats`), how they are rendered (the node's metrics).

use grandstand_edge_core::audience::Counts;

use crate::quic::Quic;
use crate::stats::Stats;

/// Set every cell that is counted elsewhere.
pub(super) fn publish(stats: &Stats, counts: &Counts, quic: Option<&Quic>) {
    stats.frames_in.set(counts.frames_in);
    stats.frames_out.set(counts.frames_out);
    stats.control_frames_out.set(counts.control_frames_out);
    stats.deliveries.set(counts.deliveries);
    stats.bytes_out.set(counts.bytes_out);
    stats.writes.set(counts.writes);
    stats.writes_blocked.set(counts.writes_blocked);
    stats.batch_writes.set(counts.batch_writes);
    stats.batches.set(counts.batches);
    stats.batches_compressed.set(counts.batches_compressed);
    stats.sessions.set(counts.sessions);
    stats.sessions_opened.set(counts.sessions_opened);
    stats.sessions_resumed.set(counts.sessions_resumed);
    stats.sessions_denied.set(counts.sessions_denied);
    stats.members.set(counts.members);
    stats.rooms.set(counts.rooms);
    stats.joins.set(counts.joins);
    stats.resumes.set(counts.resumes);
    stats.gaps.set_all(&counts.gaps);
    stats.gap_messages.set(counts.gap_messages);
    stats.personals.set(counts.personals);
    stats.personals_dropped.set(counts.personals_dropped);
    stats.publications.set(counts.publications);
    stats.publications_accepted.set(counts.publications_accepted);
    stats.publications_refused.set(counts.publications_refused);
    stats.reactions.set(counts.reactions);
    stats.refusals.set_all(&counts.refusals);
    stats.closes.set_all(&counts.closes);
    stats.submits_full.set(counts.submits_full);
    stats.lagging.set(counts.lagging);
    if let Some(quic) = quic {
        stats.retries_sent.set(quic.counts.retries);
    }
}
