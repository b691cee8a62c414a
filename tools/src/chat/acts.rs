//! Acts in the chat: the commands by which a person keeps order or reports, their outcomes, and what
//! moderators did.
//!
//! Invariants: nothing of a removed message stays in the model, its excerpts in answers included. Each act
//! ends in one line.
//! Not here: other commands (`command`), which messages an act covers (the client library).

use grandstand_client::core::{ActParts, RemovalRule};
use grandstand_client::net::OwnedAct;
use grandstand_client::protocol::frame::{Category, Kind, NoticeKind, permission};

use super::clean::clean;
use super::command::Command;
use super::entry::{Entry, Tone};
use super::model::Model;

/// The lines that `/help` adds for everybody.
pub(super) const HELP: [&str; 3] = [
    "/report N WHY     report message N: spam, harassment, hate, ...",
    "/ack              acknowledge a warning, to speak again",
    "/appeal TEXT      ask moderators to take back what holds you",
];

/// The lines that `/help` adds for those who may moderate.
pub(super) const HELP_MODERATORS: [&str; 8] = [
    "/remove N         remove message N",
    "/purge N [TIME]   remove what its author said, of the last TIME",
    "/clear [TIME]     remove what everybody said, of the last TIME",
    "/timeout N TIME   its author may not speak: 30s, 10m, 2h, 1d",
    "/ban N [TIME]     its author may not be here; /shadow N [TIME]",
    "/warn N TEXT      its author must acknowledge TEXT to speak",
    "/lift N           take back what holds the author of message N",
    "/approve K        publish what is held as number K; /reject K",
];

/// Words for categories of reports, in the order of their numbers.
const CATEGORIES: [&str; 9] =
    ["spam", "harassment", "hate", "violence", "sexual", "selfharm", "privacy", "deception", "spoiler"];

/// Held messages of this user whose texts are remembered.
const HELD_MAX: usize = 20;

/// Numbers of removed messages that a line names.
const NAMED_MAX: usize = 5;

/// What the chat knows of moderation.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Acts without an outcome: number, and what was typed.
    open: Vec<(u32, String)>,
    /// The number of the last warning that was not acknowledged.
    warning: Option<u64>,
    /// Messages of this user that wait for a moderator.
    held: Vec<(u64, String)>,
    /// The node's clock, and this chat's at the same time.
    clock: Option<(u64, u64)>,
}

/// Parse a command of this file; `None`: there is no such command here.
pub(super) fn parse(name: &str, rest: &str) -> Option<Result<Command, String>> {
    let act = match name {
        "remove" | "rm" => on(name, rest).map(|(n, why)| ActParts::remove(n).because(why)),
        "purge" => timed(name, rest, false).map(|(n, s, why)| ActParts::remove_author(n, s).because(why)),
        "timeout" => timed(name, rest, true).map(|(n, s, why)| ActParts::timeout(n, s).because(why)),
        "ban" => timed(name, rest, false).map(|(n, s, why)| ActParts::ban(n, s).because(why)),
        "shadow" => timed(name, rest, false).map(|(n, s, why)| ActParts::shadow(n, s).because(why)),
        "lift" => on(name, rest).map(|(n, why)| ActParts::lift(n).because(why)),
        "warn" => on(name, rest).map(|(n, text)| ActParts::warn(n, text)),
        "clear" => clear(rest),
        "approve" | "reject" => on(name, rest).map(|(n, _)| ActParts::decide(n, name == "approve")),
        "report" => report(rest),
        // The model puts the warning's number in.
        "ack" => Ok(ActParts::acknowledge(rest.parse().unwrap_or(0))),
        "appeal" => Ok(ActParts::appeal(rest)),
        _ => return None,
    };
    let line = format!("/{name} {rest}").trim_end().to_owned();
    Some(act.map(|act| Command::Act { act: act.into(), line }))
}

/// The number of a message, and what follows.
fn on<'a>(name: &str, rest: &'a str) -> Result<(u64, &'a str), String> {
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match number.trim_start_matches('#').parse() {
        Ok(number) => Ok((number, rest.trim())),
        Err(_) => Err(format!("/{name} wants a number: /{name} 12")),
    }
}

/// The number of a message, a time, and what follows.
fn timed<'a>(name: &str, rest: &'a str, is_needed: bool) -> Result<(u64, u32, &'a str), String> {
    let (number, rest) = on(name, rest)?;
    let (first, behind) = rest.split_once(' ').unwrap_or((rest, ""));
    match seconds_of(first) {
        Some(seconds) => Ok((number, seconds, behind.trim())),
        None if is_needed => Err(format!("/{name} wants a number and a time: /{name} 12 10m")),
        None => Ok((number, 0, rest)),
    }
}

fn clear(rest: &str) -> Result<ActParts<'_>, String> {
    match seconds_of(rest) {
        _ if rest.is_empty() => Ok(ActParts::clear(0)),
        Some(seconds) => Ok(ActParts::clear(seconds)),
        None => Err("/clear wants a time or nothing: /clear 5m".into()),
    }
}

fn report(rest: &str) -> Result<ActParts<'_>, String> {
    let (number, rest) = on("report", rest)?;
    let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let category = CATEGORIES.iter().position(|category| *category == word.to_lowercase());
    match category {
        Some(at) => Ok(ActParts::report(number, Category::ALL[at + 1], text.trim())),
        None => Err(format!("/report wants a number and one of {}: /report 12 spam", CATEGORIES.join(", "))),
    }
}

/// Seconds of `30s`, `10m`, `2h`, `1d`.
fn seconds_of(text: &str) -> Option<u32> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u32>().ok()?.checked_mul(unit)
}

/// A length of time, for people.
fn length(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Model {
    /// May this user do what was typed? Puts the warning's number into an acknowledgement.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check_act(&self, act: &mut OwnedAct) -> Result<(), String> {
        use grandstand_client::protocol::frame::ActKind;
        if !act.act.is_for_everybody() && self.permissions & permission::MODERATE == 0 {
            return Err("you may not moderate here: that takes a token with the right `moderate`".into());
        }
        if act.act == ActKind::Acknowledge && act.target == Some(0) {
            act.target = Some(self.order.warning.ok_or("there is no warning to acknowledge")?);
        }
        act.borrowed().check().map_err(|refusal| match act.act {
            ActKind::Warn => "/warn wants a text of at most 500 bytes: /warn 12 please stop".to_owned(),
            ActKind::Appeal => "/appeal wants a text of at most 500 bytes".to_owned(),
            ActKind::Timeout => "a timeout lasts 1 second to 14 days: /ban is for longer".to_owned(),
            _ => refusal.text().to_owned(),
        })
    }

    /// The session took an act.
    pub(super) fn handle_acting(&mut self, number: u32, line: &str) {
        self.order.open.push((number, clean(line)));
    }

    /// Does an act wait for its outcome?
    pub(super) fn is_acting(&self) -> bool {
        !self.order.open.is_empty()
    }

    pub(super) fn note_clock(&mut self, server_ms: u64) {
        self.order.clock = Some((server_ms, self.now_ms));
    }

    fn take_act(&mut self, number: u32) -> Option<String> {
        let at = self.order.open.iter().position(|(open, _)| *open == number)?;
        Some(self.order.open.remove(at).1)
    }

    pub(super) fn handle_acted(&mut self, number: u32, count: u64) {
        let Some(line) = self.take_act(number) else { return };
        if line.starts_with("/ack") {
            self.order.warning = None;
        }
        let removed = match count {
            0 => String::new(),
            1 => ": 1 message removed".to_owned(),
            count => format!(": {count} messages removed"),
        };
        self.notice(Tone::Info, &format!("done, {line}{removed}"));
    }

    pub(super) fn handle_act_refused(&mut self, number: u32, why: &str) {
        let Some(line) = self.take_act(number) else { return };
        self.failures += 1;
        self.notice(Tone::Warning, &format!("not done, {why}: {line}"));
    }

    pub(super) fn handle_act_unanswered(&mut self, number: u32, sent: bool) {
        let why = if sent { "perhaps done, the answer was lost" } else { "not done, the session ended" };
        let Some(line) = self.take_act(number) else { return };
        self.failures += 1;
        self.notice(Tone::Warning, &format!("{why}: {line}"));
    }

    /// The place of a message that was removed before this chat read it.
    pub(super) fn handle_removed(&mut self, offset: u64) {
        let ours = self.pending.iter().position(|pending| pending.offset == Some(offset));
        if let Some(at) = ours {
            let text = self.pending.remove(at).text;
            self.notice(Tone::Warning, &format!("removed by moderators: {text}"));
        }
        self.handle_passed(offset);
        self.next_offset = offset + 1;
        self.push(Entry::Removed(offset));
    }

    /// Moderators removed earlier messages.
    pub(super) fn handle_removal(&mut self, rule: &RemovalRule, note: &str) {
        self.handle_passed(rule.at());
        self.next_offset = self.next_offset.max(rule.at() + 1);
        let (look, mut removed, mut below) = (self.look(), Vec::new(), 0);
        for entry in self.entries.iter_mut().rev() {
            let rows = if self.rows_below > 0 { entry.rows(look).len() } else { 0 };
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
            if below < self.rows_below {
                // The rows on the screen stay in place.
                let shrunk = rows - entry.rows(look).len();
                below += rows - shrunk;
                self.rows_below -= shrunk.min(self.rows_below);
            }
        }
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        removed.sort_unstable();
        let named: Vec<String> = removed.iter().take(NAMED_MAX).map(u64::to_string).collect();
        let more = removed.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if !removed.is_empty() || !note.is_empty() {
            let what = if removed.is_empty() { "earlier messages".to_owned() } else { named.join(", ") };
            self.notice(Tone::Info, &format!("moderators removed {what}{more}{note}"));
        }
    }

    /// A message of this user waits for a moderator.
    pub(super) fn handle_held(&mut self, nonce: u64, text: &str) {
        if self.order.held.len() >= HELD_MAX {
            self.order.held.remove(0);
        }
        self.order.held.push((nonce, text.to_owned()));
    }

    fn take_held(&mut self, nonce: u64) -> String {
        let at = self.order.held.iter().position(|(held, _)| *held == nonce);
        at.map(|at| format!(": {}", self.order.held.remove(at).1)).unwrap_or_default()
    }

    /// For how long something holds, from now on.
    fn until(&self, until_ms: u64) -> String {
        let now_ms = self.order.clock.map(|(server_ms, at_ms)| server_ms + self.now_ms.saturating_sub(at_ms));
        match now_ms {
            _ if until_ms == 0 => String::new(),
            Some(now_ms) => format!(" for {}", length(until_ms.saturating_sub(now_ms).div_ceil(1000))),
            None => " for a while".to_owned(),
        }
    }

    /// What moderators did that concerns this user.
    pub(super) fn handle_notice(&mut self, notice: NoticeKind, id: u64, until_ms: u64, text: &str) {
        let why = if text.is_empty() { String::new() } else { format!(": {text}") };
        let until = self.until(until_ms);
        let (tone, line) = match notice {
            NoticeKind::Warned => {
                self.order.warning = Some(id);
                (Tone::Warning, format!("moderators warn you{why}; /ack to speak again"))
            }
            NoticeKind::TimedOut => (Tone::Warning, format!("moderators stopped you{until}{why}")),
            NoticeKind::Banned => {
                (Tone::Warning, format!("moderators banned you from this room{until}{why}"))
            }
            NoticeKind::Lifted => {
                self.order.warning = None;
                (Tone::Info, format!("you may speak again{why}"))
            }
            NoticeKind::Approved => (Tone::Info, format!("published by moderators{}", self.take_held(id))),
            NoticeKind::Rejected => {
                (Tone::Warning, format!("refused by moderators{}{why}", self.take_held(id)))
            }
            NoticeKind::Waiting if id == 0 => return,
            NoticeKind::Waiting => (Tone::Info, format!("{id} held for a decision: gs mod held, /approve K")),
            NoticeKind::Other => return,
        };
        self.notice(tone, &line);
    }

    /// Of the acts that wait, what became of them when the session closed.
    pub(super) fn close_acts(&mut self) {
        for (_, line) in std::mem::take(&mut self.order.open) {
            self.failures += 1;
            self.notice(Tone::Warning, &format!("not done, or its answer was lost: {line}"));
        }
    }
}

/// Is a refusal that of an act?
pub(super) fn is_of_act(kind: u8) -> bool {
    kind == Kind::Act as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::command;
    use crate::chat::model::{Action, Link};
    use grandstand_client::protocol::frame::ActKind;

    fn act(line: &str) -> OwnedAct {
        match command::parse(line) {
            Ok(Some(Command::Act { act, .. })) => act,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn acts_mean_what_they_say() {
        let of = |line: &str| {
            let OwnedAct { act, target, seconds, text, .. } = act(line);
            (act, target, seconds, text)
        };
        assert_eq!(of("/remove #12 off topic"), (ActKind::Remove, Some(12), 0, "off topic".into()));
        assert_eq!(of("/purge 12 10m"), (ActKind::RemoveAuthor, Some(12), 600, String::new()));
        assert_eq!(of("/purge 12 all of it"), (ActKind::RemoveAuthor, Some(12), 0, "all of it".into()));
        assert_eq!(of("/timeout 12 2h calm"), (ActKind::Timeout, Some(12), 7_200, "calm".into()));
        assert_eq!(of("/ban 12"), (ActKind::Ban, Some(12), 0, String::new()));
        assert_eq!(of("/clear"), (ActKind::Clear, None, 0, String::new()));
        assert_eq!(of("/reject 3"), (ActKind::Reject, Some(3), 0, String::new()));
        assert_eq!(act("/report 12 Spam again").category, Category::Spam);
        assert_eq!(act("/report 12 spoiler").category, Category::Spoiler);
        for (line, word) in [
            ("/remove", "/remove 12"),
            ("/timeout 12", "10m"),
            ("/timeout 12 x", "10m"),
            ("/clear x", "/clear 5m"),
            ("/report 12", "harassment"),
            ("/report 12 fun", "harassment"),
        ] {
            assert!(command::parse(line).unwrap_err().contains(word), "{line}");
        }
    }

    #[test]
    fn the_help_fits_80_columns() {
        let lines = HELP.iter().chain(&HELP_MODERATORS);
        assert!(lines.into_iter().all(|line| crate::chat::clean::width(line) <= 80 - 13));
    }

    #[test]
    fn who_may_not_moderate_is_told_before_anything_is_sent() {
        let mut model = Model::new("show");
        (model.link, model.permissions) = (Link::Up, permission::PUBLISH);
        assert!(model.handle_line("/remove 1").unwrap_err().contains("`moderate`"));
        assert!(model.handle_line("/ack").unwrap_err().contains("no warning"));
        assert!(matches!(model.handle_line("/report 1 spam"), Ok(Some(Action::Act { .. }))));
        model.handle_notice(NoticeKind::Warned, 7, 0, "be kind");
        let Ok(Some(Action::Act { act, .. })) = model.handle_line("/ack") else { panic!() };
        assert_eq!(act.target, Some(7));
        model.permissions = permission::MODERATE;
        assert!(model.handle_line("/timeout 1 15d").unwrap_err().contains("14 days"));
        assert!(model.handle_line("/warn 1").unwrap_err().contains("/warn 12"));
    }
}
