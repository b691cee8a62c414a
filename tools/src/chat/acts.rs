//! What acts and notices do to the chat: outcomes of this user's acts, removals, and what moderators tell.
//!
//! Invariants: nothing of a removed message stays in the model, its excerpts in answers included. Each act
//! ends in one line.
//! Not here: the commands (`order`), which messages an act covers (the client library).

use grandstand_client::core::RemovalRule;
use grandstand_client::protocol::frame::NoticeKind;

use super::entry::{Entry, Tone};
use super::model::Model;

/// Numbers of removed messages that a line names.
const NAMED_MAX: usize = 5;

pub(super) fn handle_acted(model: &mut Model, number: u32, count: u64) {
    let Some(line) = model.order.take_act(number) else { return };
    if line.starts_with("/ack") {
        model.order.warning = None;
    }
    let removed = match count {
        0 => String::new(),
        1 => ": 1 message removed".to_owned(),
        count => format!(": {count} messages removed"),
    };
    model.notice(Tone::Info, &format!("done, {line}{removed}"));
}

pub(super) fn handle_act_refused(model: &mut Model, number: u32, why: &str) {
    let Some(line) = model.order.take_act(number) else { return };
    model.failures += 1;
    model.notice(Tone::Warning, &format!("not done, {why}: {line}"));
}

pub(super) fn handle_act_unanswered(model: &mut Model, number: u32, sent: bool) {
    let why = if sent { "perhaps done, the answer was lost" } else { "not done, the session ended" };
    let Some(line) = model.order.take_act(number) else { return };
    model.failures += 1;
    model.notice(Tone::Warning, &format!("{why}: {line}"));
}

/// The place of a message that was removed before this chat read it.
pub(super) fn handle_removed(model: &mut Model, offset: u64) {
    let ours = model.pending.iter().position(|pending| pending.offset == Some(offset));
    if let Some(at) = ours {
        let text = model.pending.remove(at).text;
        model.notice(Tone::Warning, &format!("removed by moderators: {text}"));
    }
    model.handle_passed(offset);
    model.next_offset = offset + 1;
    model.push(Entry::Removed(offset));
}

/// Moderators removed earlier messages.
pub(super) fn handle_removal(model: &mut Model, rule: &RemovalRule, note: &str) {
    model.handle_passed(rule.at());
    model.next_offset = model.next_offset.max(rule.at() + 1);
    let (look, mut removed, mut below) = (model.look(), Vec::new(), 0);
    for entry in model.entries.iter_mut().rev() {
        let rows = if model.rows_below > 0 { entry.rows(look).len() } else { 0 };
        if let Entry::Message(message) = entry {
            if rule.covers(message.offset, &message.author) {
                removed.push(message.offset);
                *entry = Entry::Removed(message.offset);
            } else if let Some(answered) = &mut message.answers {
                let author = answered.excerpt.as_ref().and_then(|text| Some(text.split_once(": ")?.0));
                if rule.covers(answered.offset, author.unwrap_or_default()) {
                    answered.excerpt = None;
                }
            }
        }
        if below < model.rows_below {
            // The rows on the screen stay in place.
            let shrunk = rows - entry.rows(look).len();
            below += rows - shrunk;
            model.rows_below -= shrunk.min(model.rows_below);
        }
    }
    let note = if note.is_empty() { String::new() } else { format!(": {note}") };
    removed.sort_unstable();
    let named: Vec<String> = removed.iter().take(NAMED_MAX).map(u64::to_string).collect();
    let more = removed.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    if !removed.is_empty() || !note.is_empty() {
        let what = if removed.is_empty() { "earlier messages".to_owned() } else { named.join(", ") };
        model.notice(Tone::Info, &format!("moderators removed {what}{more}{note}"));
    }
}

/// What moderators did that concerns this user.
pub(super) fn handle_notice(model: &mut Model, notice: NoticeKind, id: u64, until_ms: u64, text: &str) {
    let why = if text.is_empty() { String::new() } else { format!(": {text}") };
    let until = model.order.until(model.now_ms, until_ms);
    let (tone, line) = match notice {
        NoticeKind::Warned => {
            model.order.warning = Some(id);
            (Tone::Warning, format!("moderators warn you{why}; /ack to speak again"))
        }
        NoticeKind::TimedOut => (Tone::Warning, format!("moderators stopped you{until}{why}")),
        NoticeKind::Banned => (Tone::Warning, format!("moderators banned you from this room{until}{why}")),
        NoticeKind::Lifted => {
            model.order.warning = None;
            (Tone::Info, format!("you may speak again{why}"))
        }
        NoticeKind::Approved => (Tone::Info, format!("published by moderators{}", model.order.take_held(id))),
        NoticeKind::Rejected => {
            (Tone::Warning, format!("refused by moderators{}{why}", model.order.take_held(id)))
        }
        NoticeKind::Waiting if id == 0 => return,
        NoticeKind::Waiting => (Tone::Info, format!("{id} held for a decision: /approve K, /reject K")),
        NoticeKind::Other => return,
    };
    model.notice(tone, &line);
}

/// Of the acts that wait, what became of them when the session closed.
pub(super) fn close_acts(model: &mut Model) {
    for line in model.order.take_acts() {
        model.failures += 1;
        model.notice(Tone::Warning, &format!("not done, or its answer was lost: {line}"));
    }
}
