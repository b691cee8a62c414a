//! Scrubs what waits for a connection: frames with messages that a room may have lost to moderators since.
//!
//! Why: a connection that takes nothing may take, much later, a page that was read before an act.
//! Invariant: a request whose page is taken back is refused instead, with a time, so it has one answer.
//! Not here: which messages an act removed (`removals`), where frames begin (`outgoing`).

use grandstand_protocol::frame::{Encoder, Kind, Refused, ServerFrame};
use grandstand_protocol::refusal::Refusal;

use super::connections::Connections;
use super::outgoing::Verdict;
use super::pages::OVERLOADED_RETRY_MS;

/// What was read of a room before now may hold what an act removed that this worker has not seen: take it
/// from what waits for a connection.
pub(super) fn scrub_room(connections: &mut Connections, ix: u32, alias: u32) {
    scrub(connections, ix, |frame| match frame {
        ServerFrame::HistoryPage(page) => page.alias == alias,
        ServerFrame::Personal(p) => p.alias == alias,
        _ => false,
    });
}

/// Take frames out of what waits for a connection. A page is refused, so that its client asks again; a
/// message for one person is left out.
pub(super) fn scrub(
    connections: &mut Connections,
    ix: u32,
    mut is_stale: impl FnMut(&ServerFrame<'_>) -> bool,
) {
    let Some(out) = connections.get_mut(ix).and_then(|c| c.out.as_mut()) else { return };
    let mut encoder = None;
    let refused = out.rewrite(|frame, new| {
        let kind = frame.first().and_then(|kind| Kind::from_wire(*kind));
        if !matches!(kind, Some(Kind::HistoryPage | Kind::Personal)) {
            return Verdict::Keep;
        }
        let Ok(frame) = ServerFrame::decode(frame) else { return Verdict::Keep };
        if !is_stale(&frame) {
            return Verdict::Keep;
        }
        if let ServerFrame::HistoryPage(page) = &frame {
            let refused = Refused {
                kind: Kind::History as u8,
                id: page.request.into(),
                reason: Refusal::Overloaded,
                retry_after_ms: Some(OVERLOADED_RETRY_MS),
                detail: "moderators removed messages of this page: ask again",
            };
            let encoder = encoder.get_or_insert_with(Encoder::new);
            encoder.server_framed_to(&ServerFrame::Refused(refused), new);
        }
        Verdict::Replace
    });
    if refused && out.is_empty() {
        connections[ix].out = None;
    }
}
