//! Admission: what may come in at all. Pure checks, shared with the edge, and the order in which a shard
//! asks.
//!
//! Why twice: the edge refuses early and cheaply; the shard trusts no edge, since a NUL in a text would break
//! a batch for everybody.
//! Invariant: a publication that was seen before is recognised before anything else is asked, so that a
//! repetition never hears a refusal of what was accepted; and one that may have been accepted, and can't be
//! recognised any more, is not again.
//! Not here: rates of a session (edge), the memory of nonces (`nonces`) and of users (`slow_mode`).

use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, text};

use crate::config::ShardConfig;
use crate::link::{Now, Publication};
use crate::room::Live;
use crate::room::nonces::Seen;

/// May this be said? Text and attachment are within their limits, well-formed, and not both empty.
///
/// # Errors
/// `Empty`, `TooLarge` or `BadText`.
pub fn check_text(said: &str, attachment: &str, text_bytes_max: usize) -> Result<(), Refusal> {
    if said.trim().is_empty() && attachment.is_empty() {
        return Err(Refusal::Empty);
    }
    if said.len() > text_bytes_max || attachment.len() > limits::ATTACHMENT_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    if !text::is_text(said) || !(attachment.is_empty() || text::is_name(attachment)) {
        return Err(Refusal::BadText);
    }
    Ok(())
}

/// May this be a room's name?
///
/// # Errors
/// `BadName`.
pub fn check_room_name(name: &str) -> Result<(), Refusal> {
    if name.len() > limits::ROOM_NAME_BYTES_MAX || !text::is_name(name) {
        return Err(Refusal::BadName);
    }
    Ok(())
}

/// May this be an author's display name? Empty stands for nobody in particular.
///
/// # Errors
/// `TooLarge` or `BadText`.
pub(crate) fn check_author(author: &str) -> Result<(), Refusal> {
    if author.len() > limits::NAME_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    if !author.is_empty() && !text::is_name(author) {
        return Err(Refusal::BadText);
    }
    Ok(())
}

/// May this be a key and a value of a room's state?
///
/// # Errors
/// `TooLarge` or `BadText`.
pub(crate) fn check_state(key: &str, value: Option<&[u8]>, value_bytes_max: usize) -> Result<(), Refusal> {
    if key.len() > limits::STATE_KEY_BYTES_MAX || value.is_some_and(|v| v.len() > value_bytes_max) {
        return Err(Refusal::TooLarge);
    }
    if !text::is_name(key) {
        return Err(Refusal::BadText);
    }
    Ok(())
}

/// May this be a reaction's key?
pub(crate) fn is_reaction(key: &str) -> bool {
    key.len() <= limits::REACTION_KEY_BYTES_MAX && text::is_name(key)
}

/// Does one of the patterns (exact names, or beginnings followed by `*`) allow this name on first use?
pub(crate) fn is_allowed_on_first_use(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    })
}

/// What becomes of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It will stand at the next free offset.
    Accepted,
    /// It stands already.
    Repeated { offset: u64, time_ms: u64 },
    /// It waits already, for this offset.
    Waits { offset: u64 },
    /// It may not, or not now.
    Refused { reason: Refusal, retry_after_ms: Option<u32> },
}

/// Judge a publication. Changes nothing but forgetting what is too old to be remembered. A repetition that is
/// answered `at_once` takes no place among those that wait.
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
    match live.nonces.look(p.user, p.nonce, live.next_offset) {
        Seen::Sealed { offset, time_ms } => return Verdict::Repeated { offset, time_ms },
        Seen::Pending { .. } if wait_is_full && !at_once => return later,
        Seen::Pending { offset } => return Verdict::Waits { offset },
        Seen::Never if p.age_ms > 0 && !live.nonces.reach_back(now.us, p.age_ms) => {
            return Verdict::Refused { reason: Refusal::Forgotten, retry_after_ms: None };
        }
        Seen::Never => {}
    }
    let checked = if phase == Phase::Closed { Err(Refusal::RoomClosed) } else { Ok(()) }
        .and_then(|()| check_text(&p.text, &p.attachment, config.text_bytes_max))
        .and_then(|()| check_author(&p.author));
    if let Err(reason) = checked {
        return Verdict::Refused { reason, retry_after_ms: None };
    }
    if wait_is_full {
        return later;
    }
    match live.slow_mode.wait_ms(p.user, now.us) {
        Some(ms) if !p.exempt => Verdict::Refused { reason: Refusal::SlowMode, retry_after_ms: Some(ms) },
        _ => Verdict::Accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_judged_by_size_form_and_presence() {
        assert_eq!(check_text("hello", "", 5), Ok(()));
        assert_eq!(check_text("", "img:7", 5), Ok(()));
        assert_eq!(check_text(" \n", "", 5), Err(Refusal::Empty));
        assert_eq!(check_text("hello!", "", 5), Err(Refusal::TooLarge));
        assert_eq!(check_text("a", &"x".repeat(513), 5), Err(Refusal::TooLarge));
        assert_eq!(check_text("a\0b", "", 5), Err(Refusal::BadText));
        assert_eq!(check_text("a", "x\ny", 5), Err(Refusal::BadText));
    }

    #[test]
    fn names_and_keys_are_judged() {
        assert_eq!(check_room_name("BBC One/EastEnders"), Ok(()));
        assert_eq!(check_room_name(""), Err(Refusal::BadName));
        assert_eq!(check_room_name(&"x".repeat(129)), Err(Refusal::BadName));
        assert_eq!(check_author(""), Ok(()));
        assert_eq!(check_author("a\tb"), Err(Refusal::BadText));
        assert_eq!(check_state("score", Some(b"1:0"), 3), Ok(()));
        assert_eq!(check_state("score", Some(b"10:0"), 3), Err(Refusal::TooLarge));
        assert_eq!(check_state("", None, 3), Err(Refusal::BadText));
        assert!(is_reaction("❤") && !is_reaction("") && !is_reaction(&"x".repeat(41)));
    }

    #[test]
    fn patterns_are_exact_or_beginnings() {
        let patterns = ["lobby".to_owned(), "show/*".to_owned()];
        assert!(is_allowed_on_first_use(&patterns, "lobby"));
        assert!(is_allowed_on_first_use(&patterns, "show/1"));
        assert!(!is_allowed_on_first_use(&patterns, "lobby2"));
        assert!(!is_allowed_on_first_use(&patterns, "sho"));
        assert!(!is_allowed_on_first_use(&[], "lobby"));
    }
}
