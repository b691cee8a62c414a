//! The judge: decides whether a shard accepts a publication.
//!
//! Why the shard checks the text although the edge did: a shard trusts no edge, since a NUL in a text would
//! break a batch for every reader. Both call the same rules (`grandstand_protocol::rules`).
//! Invariants: a publication that the room remembers is recognised before any other check, so the retry of an
//! accepted message is never refused. A retry that is older than the room's memory is refused as `Forgotten`,
//! since the room may have accepted it before. A nonce that was taken for another content is refused as
//! `NonceReused`, so that nobody is told that a text is in the log which is not.
//! Moderation is asked first, then the modes of the room, then its rate.
//! Not here: rates of a session (edge), the memory of nonces (`nonces`) and of users (`slow_mode`).

use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::{self, Content};

use crate::config::ShardConfig;
use crate::link::{Now, PersonId, Publication};
use crate::moderation::people::Standing;
use crate::room::Live;
use crate::room::nonces::Seen;

/// The verdict on a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It gets the next free offset.
    Accepted,
    /// The same, and nobody but its author is shown it.
    Shadowed,
    /// It is in the log already.
    Repeated { offset: u64, time_ms: u64 },
    /// It waits for the next seal, which gives it this offset.
    Waits { offset: u64 },
    /// It is refused, for good or for now.
    Refused { reason: Refusal, retry_after_ms: Option<u32> },
}

/// Judge a publication. Changes nothing, except that the room forgets nonces older than its memory. A retry
/// that is answered `at_once` is not added to the waiting ones.
pub(crate) fn judge(
    live: &mut Live,
    phase: Phase,
    p: &Publication,
    now: Now,
    at_once: bool,
    config: &ShardConfig,
) -> Verdict {
    let safe_offset = if at_once { live.next_offset } else { live.disk.synced_offset };
    live.nonces.forget(safe_offset, now.us);
    let wait_is_full = live.chat.waiting() >= config.pending_messages_max;
    let retry_after_ms = Some(live.tick_us.div_ceil(1000) as u32);
    let later = Verdict::Refused { reason: Refusal::Overloaded, retry_after_ms };
    match live.nonces.look((p.user, p.nonce), live.next_offset, |nonces| nonces.content_of(p)) {
        Seen::Other => return Verdict::Refused { reason: Refusal::NonceReused, retry_after_ms: None },
        Seen::Sealed { offset, time_ms } => return Verdict::Repeated { offset, time_ms },
        Seen::Pending { .. } if wait_is_full && !at_once => return later,
        Seen::Pending { offset } => return Verdict::Waits { offset },
        Seen::Never if p.age_ms > 0 && !live.nonces.reach_back(now.us, p.age_ms) => {
            return Verdict::Refused { reason: Refusal::Forgotten, retry_after_ms: None };
        }
        Seen::Never => {}
    }
    let content = Content { text: &p.text, attachment: &p.attachment, author: &p.author };
    let checked = if phase == Phase::Closed { Err(Refusal::RoomClosed) } else { Ok(()) }
        .and_then(|()| rules::check_content(&content, config.text_bytes_max));
    if let Err(reason) = checked {
        return Verdict::Refused { reason, retry_after_ms: None };
    }
    let standing = match &live.moderation {
        Some(moderation) if !moderation.people.is_empty() => {
            let author = live.authors.of(p);
            moderation.people.standing([author.user, author.person], now.unix_ms)
        }
        _ => Standing::Free,
    };
    if let Standing::Refused(reason, retry_after_ms) = standing {
        return Verdict::Refused { reason, retry_after_ms };
    }
    if let Some(reason) = live.modes.as_mut().and_then(|modes| modes.refuse(p, now.us)) {
        return Verdict::Refused { reason, retry_after_ms: None };
    }
    if wait_is_full {
        return later;
    }
    match live.slow_mode.wait_ms(names(p), now.us) {
        Some(ms) if !p.exempt => Verdict::Refused { reason: Refusal::SlowMode, retry_after_ms: Some(ms) },
        _ if standing == Standing::Shadowed => Verdict::Shadowed,
        _ => Verdict::Accepted,
    }
}

/// The numbers by which slow mode knows who speaks.
pub(crate) fn names(p: &Publication) -> [PersonId; 2] {
    [PersonId::of_user(p.user), p.person]
}
