//! The effect of each session event on the model.
//!
//! Invariants: every missed range is shown, with the number of messages and the reason; an event that means
//! nothing to a person adds no line.
//! Not here: the model itself (`model`).

use grandstand_client::core::{Fault, OwnedEvent, Reason};
use grandstand_client::protocol::frame::{GapReason, Kind, Outcome, Phase, Role, permission};
use grandstand_client::protocol::refusal::Refusal;

use super::acts;
use super::clean::{clean, clean_lines};
use super::entry::{Answered, Entry, Message, Tone};
use super::model::{Link, Model};

/// Time between two notices about messages that pacing left out: a paced room leaves some out of every batch.
const OMITTED_EVERY_MS: u64 = 10_000;

impl Model {
    /// Apply an event of the session.
    pub(super) fn handle_event(&mut self, now_ms: u64, event: &OwnedEvent) {
        self.handle_time(now_ms);
        match event {
            OwnedEvent::Welcome { name, permissions, text_bytes_max, server_ms, .. } => {
                self.order.clock = Some((*server_ms, self.now_ms));
                self.handle_welcome(name, *permissions, *text_bytes_max);
            }
            OwnedEvent::Subscribed { outcome, epoch, offset, head, phase, .. } => {
                self.handle_subscribed(*outcome, *epoch, *offset, *head, *phase);
            }
            OwnedEvent::Unsubscribed { asked: false, .. } if self.barred.is_none() => {
                let why = "the node took us out of the room";
                self.notice(Tone::Warning, why);
                self.barred = Some(why.to_owned());
            }
            OwnedEvent::Message {
                offset, time_ms, author, role, text, attachment, reply_to, folded, ..
            } => {
                let message =
                    self.message(*offset, *time_ms, author, *role, &with_attachment(text, attachment));
                self.handle_message(message, *reply_to, *folded);
            }
            OwnedEvent::Personal { offset, time_ms, author, role, text, attachment, reply_to, .. } => {
                let message =
                    self.message(*offset, *time_ms, author, *role, &with_attachment(text, attachment));
                self.handle_personal(message, *reply_to);
            }
            OwnedEvent::Omitted { from, to, .. } => {
                if self.omitted == 0 {
                    self.omitted_ms = self.now_ms;
                }
                self.omitted += to.saturating_sub(*from);
                self.handle_passed(*to);
            }
            OwnedEvent::Tally { key, count, .. } => self.tally.add(self.now_ms, key, *count),
            OwnedEvent::Snapshot { .. } => self.states.clear(),
            OwnedEvent::State { key, value, .. } => self.handle_state(key, value.as_deref()),
            OwnedEvent::Gap { epoch, to, count, reason: GapReason::Restarted, .. } => {
                handle_restarted(self, *epoch, *to, *count);
            }
            OwnedEvent::Gap { to, count, reason, .. } => {
                self.notice(Tone::Warning, &gap_text(*count, *reason));
                self.handle_passed(*to);
            }
            OwnedEvent::Phase { phase, detail, .. } => self.tell_phase(*phase, detail),
            OwnedEvent::Published { nonce, epoch, offset, .. } => {
                self.handle_published(*nonce, *epoch, *offset);
            }
            OwnedEvent::Uncertain { nonce, text } => self.handle_uncertain(*nonce, text),
            OwnedEvent::NotSent { nonce, .. } => {
                self.handle_refused(
                    Kind::Publish as u8,
                    *nonce,
                    "the session ended before it was sent",
                    false,
                    false,
                );
            }
            OwnedEvent::StateUnanswered { key, .. } => {
                self.states_unanswered = self.states_unanswered.saturating_sub(1);
                self.failures += 1;
                self.notice(Tone::Warning, &format!("the session ended before {} was answered", clean(key)));
            }
            OwnedEvent::Refused { kind, id, reason, retry_after_ms, detail, .. } => {
                let why = refusal_text(*reason, *retry_after_ms, detail);
                if *kind == Kind::Act as u8 {
                    return acts::handle_act_refused(self, *id as u32, &why);
                }
                self.handle_refused(*kind, *id, &why, reason.may_retry(), *reason == Refusal::Held);
            }
            OwnedEvent::GoAway { after_ms, detail, .. } => {
                let why = in_brackets(detail);
                self.notice(
                    Tone::Info,
                    &format!("the node asks us to move{why}, in {}", seconds(u64::from(*after_ms))),
                );
            }
            OwnedEvent::Fault { fault, .. } => self.notice(Tone::Warning, &fault_text(*fault)),
            OwnedEvent::Disconnected { reason } => self.handle_disconnected(reason),
            OwnedEvent::Reconnecting { after_us, attempt } => {
                let until_ms = self.now_ms + after_us / 1000;
                self.link = Link::Waiting { until_ms, attempt: *attempt };
            }
            OwnedEvent::Closed { reason } => self.handle_closed(reason),
            OwnedEvent::StateSet { .. } => {
                self.states_unanswered = self.states_unanswered.saturating_sub(1);
            }
            OwnedEvent::Removed { offset, .. } => acts::handle_removed(self, *offset),
            OwnedEvent::Removal { rule, note, .. } => acts::handle_removal(self, rule, note),
            OwnedEvent::Acted { request, count, .. } => acts::handle_acted(self, *request, *count),
            OwnedEvent::ActUnanswered { request, sent, .. } => {
                acts::handle_act_unanswered(self, *request, *sent);
            }
            OwnedEvent::Notice { notice, id, until_ms, text, .. } => {
                acts::handle_notice(self, *notice, *id, *until_ms, text);
            }
            OwnedEvent::Unsubscribed { .. }
            | OwnedEvent::BatchEnd { .. }
            | OwnedEvent::Pong { .. }
            | OwnedEvent::History { .. }
            | OwnedEvent::HistoryEnd { .. }
            | OwnedEvent::TokenExpires { .. }
            | OwnedEvent::Renewed { .. }
            | OwnedEvent::TokenWanted => {}
        }
    }

    fn handle_welcome(&mut self, name: &str, permissions: u32, text_bytes_max: u32) {
        if self.trouble.take().is_some() {
            self.notice(Tone::Info, "connected again");
        }
        if permissions & permission::PUBLISH == 0 && self.permissions & permission::PUBLISH != 0 {
            self.notice(Tone::Info, "you may read here, but not write");
        }
        (self.me, self.permissions) = (clean(name), permissions);
        self.text_bytes_max = text_bytes_max as usize;
        self.link = Link::Up;
    }

    fn handle_subscribed(&mut self, outcome: Outcome, epoch: u64, offset: u64, head: u64, phase: Phase) {
        let replayed = head.saturating_sub(offset);
        if self.epoch.is_none() {
            let earlier =
                if replayed > 0 { format!("; {replayed} earlier messages first") } else { String::new() };
            let text = format!("you are in {} as {}{earlier}", self.room, self.me);
            self.notice(Tone::Info, &text);
        }
        if outcome == Outcome::Restarted || self.epoch.is_some_and(|known| known != epoch) {
            self.notice(Tone::Warning, "the room began anew: numbers start again");
            self.handle_passed(u64::MAX);
            self.next_offset = offset;
            // A room without state sends no snapshot.
            self.states.clear();
        }
        self.barred = None;
        (self.epoch, self.head) = (Some(epoch), head);
        self.handle_passed(offset);
        if phase != Phase::Open {
            self.tell_phase(phase, "");
        }
    }

    /// Convert a message for the scrollback. A new day gets a notice before it.
    fn message(&mut self, offset: u64, time_ms: u64, author: &str, role: Role, text: &str) -> Message {
        let (day, time) = self.times.read(time_ms);
        if let Some(day) = day {
            self.notice(Tone::Info, &day);
        }
        let (author, text) = (clean(author), clean_lines(text));
        Message { offset, author, role, text, answers: None, folded: 0, mine: false, time }
    }

    fn handle_message(&mut self, message: Message, reply_to: Option<u64>, folded: u64) {
        let offset = message.offset;
        let answers = self.answered(reply_to);
        let before = self.pending.len();
        self.pending.retain(|pending| pending.offset != Some(offset));
        let mine = self.pending.len() < before;
        self.handle_passed(offset);
        self.next_offset = offset + 1;
        self.push(Entry::Message(Message { answers, folded, mine, ..message }));
    }

    /// Show a personal message, which pacing left out for everybody else. It may arrive before or after its
    /// batch, so the position in the log does not change.
    fn handle_personal(&mut self, message: Message, reply_to: Option<u64>) {
        let answers = self.answered(reply_to);
        self.push(Entry::Message(Message { answers, ..message }));
    }

    fn answered(&self, reply_to: Option<u64>) -> Option<Answered> {
        reply_to.map(|offset| Answered { offset, excerpt: self.find(offset).map(Message::excerpt) })
    }

    /// No more messages before this offset will be shown. Give a notice for each accepted message of this
    /// user that was not among them.
    pub(super) fn handle_passed(&mut self, to: u64) {
        self.next_offset = self.next_offset.max(to);
        let (passed, pending) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition::<Vec<_>, _>(|pending| pending.offset.is_some_and(|offset| offset < to));
        self.pending = pending;
        for pending in passed {
            self.tell_unseen(&pending.text);
        }
    }

    fn tell_unseen(&mut self, text: &str) {
        self.notice(Tone::Info, &format!("in the room, though not among what we were shown: {text}"));
    }

    fn handle_published(&mut self, nonce: u64, epoch: u64, offset: u64) {
        let Some(at) = self.pending.iter().position(|pending| pending.nonce == nonce) else { return };
        let is_here = self.epoch == Some(epoch);
        if is_here && offset >= self.next_offset {
            self.pending[at].offset = Some(offset);
            return;
        }
        let pending = self.pending.remove(at);
        let is_removed = self.entries.contains(&Entry::Removed(offset));
        match self.find_mut(offset).filter(|_| is_here) {
            Some(message) => message.mine = true,
            None if is_here && is_removed => {
                self.notice(Tone::Warning, &format!("removed by moderators: {}", pending.text));
            }
            None => self.tell_unseen(&pending.text),
        }
    }

    fn handle_uncertain(&mut self, nonce: u64, text: &str) {
        self.pending.retain(|pending| pending.nonce != nonce);
        self.failures += 1;
        self.notice(Tone::Warning, &format!("perhaps sent, the answer was lost: {text}"));
    }

    fn handle_refused(&mut self, kind: u8, id: u64, why: &str, may_retry: bool, is_held: bool) {
        if kind == Kind::React as u8 {
            // As many as keys repeat: a hint, not a line each.
            self.hint = Some(format!("reaction refused: {why}"));
            return;
        }
        let text = if kind == Kind::Publish as u8 {
            self.failures += 1;
            let at = self.pending.iter().position(|pending| pending.nonce == id);
            let text = at.map(|at| self.pending.remove(at).text).unwrap_or_default();
            if is_held {
                self.order.note_held(id, &text);
                format!("waits for a moderator: {text}")
            } else {
                format!("not sent, {why}: {text}")
            }
        } else if kind == Kind::Subscribe as u8 {
            // What passes, the session asks again by itself.
            if !may_retry {
                self.failures += 1;
                self.barred = Some(why.to_owned());
            }
            format!("cannot follow {}: {why}", self.room)
        } else if kind == Kind::SetState as u8 {
            self.failures += 1;
            self.states_unanswered = self.states_unanswered.saturating_sub(1);
            format!("state not changed: {why}")
        } else {
            format!("refused: {why}")
        };
        self.notice(Tone::Warning, &text);
    }

    fn handle_state(&mut self, key: &str, value: Option<&[u8]>) {
        let key = clean(key);
        match value {
            Some(value) => self.states.insert(key, clean(&String::from_utf8_lossy(value))),
            None => self.states.remove(&key),
        };
    }

    fn handle_disconnected(&mut self, reason: &Reason) {
        if matches!(reason, Reason::Asked) {
            return;
        }
        let text = match self.link {
            Link::Up => format!("connection lost: {reason}"),
            _ => format!("cannot connect: {reason}"),
        };
        // The same with every try: once is enough, the status line counts.
        if self.trouble.as_ref() != Some(&text) {
            self.notice(Tone::Warning, &text);
        }
        self.trouble = Some(text);
        self.link = Link::Connecting;
    }

    fn handle_closed(&mut self, reason: &Reason) {
        let asked = matches!(reason, Reason::Asked);
        self.link = Link::Over { why: clean(&reason.to_string()), asked };
        let states = std::mem::take(&mut self.states_unanswered);
        if states > 0 {
            self.failures += states;
            self.notice(Tone::Warning, "the last change of the state was not made, or its answer was lost");
        }
        acts::close_acts(self);
        for pending in std::mem::take(&mut self.pending) {
            if pending.offset.is_none() {
                self.failures += 1;
                self.notice(Tone::Warning, &format!("not sent, or its answer was lost: {}", pending.text));
            }
        }
        if !asked {
            self.notice(Tone::Warning, &format!("the session is over: {reason}"));
        }
    }

    fn tell_phase(&mut self, phase: Phase, detail: &str) {
        let text = match phase {
            Phase::Open => "the room is open",
            Phase::PreShow => "the show has not begun yet",
            Phase::Closing => "the room closes soon",
            Phase::Closed => "the room is closed: nobody can write",
        };
        self.notice(Tone::Info, &format!("{text}{}", in_brackets(detail)));
    }

    pub(super) fn tell_omitted(&mut self) {
        if self.omitted > 0 && self.now_ms >= self.omitted_ms + OMITTED_EVERY_MS {
            let count = std::mem::take(&mut self.omitted);
            self.notice(Tone::Warning, &gap_text(count, GapReason::Paced));
        }
    }

    fn find(&self, offset: u64) -> Option<&Message> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Message(message) if message.offset == offset => Some(message),
            _ => None,
        })
    }

    fn find_mut(&mut self, offset: u64) -> Option<&mut Message> {
        self.entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Message(message) if message.offset == offset => Some(message),
            _ => None,
        })
    }
}

/// The room has another log: one that goes on where ours was read, one that holds less, or a new one.
fn handle_restarted(model: &mut Model, epoch: u64, to: u64, count: u64) {
    let shown = model.next_offset;
    model.epoch = Some(epoch);
    if count == 0 && to >= shown {
        model.notice(Tone::Info, "the room goes on in another log, and nothing is missing");
        return model.handle_passed(to);
    }
    let text = match shown - to.min(shown) {
        1 if count == 0 && to > 0 => "the last message is no longer in the room".to_owned(),
        lost if count == 0 && to > 0 => format!("the last {lost} messages are no longer in the room"),
        _ if count == 0 => "the room began anew: numbers start again".to_owned(),
        _ => gap_text(count, GapReason::Restarted),
    };
    model.notice(Tone::Warning, &text);
    model.handle_passed(u64::MAX);
    model.next_offset = to;
}

fn with_attachment(text: &str, attachment: &str) -> String {
    match (text, attachment) {
        (text, "") => text.to_owned(),
        ("", attachment) => format!("[{attachment}]"),
        (text, attachment) => format!("{text} [{attachment}]"),
    }
}

fn gap_text(count: u64, reason: GapReason) -> String {
    let messages = if count == 1 { "message" } else { "messages" };
    let why = match reason {
        GapReason::Slow => "you were too slow",
        GapReason::Paced => "more was said than anybody can read",
        GapReason::Expired => "they are older than what the room keeps",
        GapReason::Restarted => "the room began anew",
    };
    format!("missed {count} {messages}: {why}")
}

fn refusal_text(reason: Refusal, retry_after_ms: Option<u32>, detail: &str) -> String {
    let when =
        retry_after_ms.map_or(String::new(), |ms| format!(", try again in {}", seconds(u64::from(ms))));
    // Many a detail is the reason once more.
    let detail = if detail == reason.text() { "" } else { detail };
    format!("{}{}{when}", reason.text(), in_brackets(detail))
}

fn fault_text(fault: Fault) -> String {
    match fault {
        Fault::Duplicate { offset } => format!("the node sent message {offset} twice; shown once"),
        Fault::Skipped { from, to } => {
            format!("the node left out {} messages without a word", to.saturating_sub(from))
        }
        Fault::Desync { .. } => {
            "the node's stream did not fit; the room is read again from where we were".into()
        }
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// A wait, for people.
pub(super) fn seconds(ms: u64) -> String {
    match ms {
        0..=999 => "a moment".into(),
        1000..=9999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} s", ms / 1000),
    }
}

#[cfg(test)]
mod tests;
