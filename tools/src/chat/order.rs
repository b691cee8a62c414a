//! Acts as a person types them, and what the chat knows of moderation: acts that wait, a warning, what is
//! held.
//!
//! Invariant: an act that is passed on has what its kind needs.
//! Not here: what acts and notices do to the scrollback (`acts`), other commands (`command`).

use grandstand_client::core::ActParts;
use grandstand_client::net::OwnedAct;
use grandstand_client::protocol::frame::{ActKind, Category, permission};

use super::clean::clean;

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

/// What the chat knows of moderation.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Acts without an outcome: number, and what was typed.
    open: Vec<(u32, String)>,
    /// The number of the last warning that was not acknowledged.
    pub(super) warning: Option<u64>,
    /// Messages of this user that wait for a moderator.
    held: Vec<(u64, String)>,
    /// The node's clock, and this chat's at the same time.
    pub(super) clock: Option<(u64, u64)>,
}

/// Parse a command of this file; `None`: there is no such command here.
pub(super) fn parse(name: &str, rest: &str) -> Option<Result<(OwnedAct, String), String>> {
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
        // The check puts the warning's number in.
        "ack" => Ok(ActParts::acknowledge(rest.parse().unwrap_or(0))),
        "appeal" => Ok(ActParts::appeal(rest)),
        _ => return None,
    };
    let line = format!("/{name} {rest}").trim_end().to_owned();
    Some(act.map(|act| (act.into(), line)))
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

impl Order {
    /// May somebody with these permissions do what was typed? Puts the warning's number into an
    /// acknowledgement.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, permissions: u32, act: &mut OwnedAct) -> Result<(), String> {
        if !act.act.is_for_everybody() && permissions & permission::MODERATE == 0 {
            return Err("you may not moderate here: that takes a token with the right `moderate`".into());
        }
        if act.act == ActKind::Acknowledge && act.target == Some(0) {
            act.target = Some(self.warning.ok_or("there is no warning to acknowledge")?);
        }
        act.borrowed().check().map_err(|refusal| match act.act {
            ActKind::Warn => "/warn wants a text of at most 500 bytes: /warn 12 please stop".to_owned(),
            ActKind::Appeal => "/appeal wants a text of at most 500 bytes".to_owned(),
            ActKind::Timeout => "a timeout lasts 1 second to 14 days: /ban is for longer".to_owned(),
            _ => refusal.text().to_owned(),
        })
    }

    /// Does an act wait for its outcome?
    pub(super) fn is_acting(&self) -> bool {
        !self.open.is_empty()
    }

    /// The session took an act.
    pub(super) fn note_acting(&mut self, number: u32, line: &str) {
        self.open.push((number, clean(line)));
    }

    pub(super) fn take_act(&mut self, number: u32) -> Option<String> {
        let at = self.open.iter().position(|(open, _)| *open == number)?;
        Some(self.open.remove(at).1)
    }

    /// The acts that wait: nothing will come of them any more.
    pub(super) fn take_acts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.open).into_iter().map(|(_, line)| line).collect()
    }

    /// A message of this user waits for a moderator.
    pub(super) fn note_held(&mut self, nonce: u64, text: &str) {
        if self.held.len() >= HELD_MAX {
            self.held.remove(0);
        }
        self.held.push((nonce, text.to_owned()));
    }

    /// Its text, behind a colon.
    pub(super) fn take_held(&mut self, nonce: u64) -> String {
        let at = self.held.iter().position(|(held, _)| *held == nonce);
        at.map(|at| format!(": {}", self.held.remove(at).1)).unwrap_or_default()
    }

    /// For how long something holds, from now on.
    pub(super) fn until(&self, here_ms: u64, until_ms: u64) -> String {
        let now_ms = self.clock.map(|(server_ms, at_ms)| server_ms + here_ms.saturating_sub(at_ms));
        match now_ms {
            _ if until_ms == 0 => String::new(),
            Some(now_ms) => format!(" for {}", length(until_ms.saturating_sub(now_ms).div_ceil(1000))),
            None => " for a while".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(line: &str) -> OwnedAct {
        let (name, rest) = line[1..].split_once(' ').unwrap_or((&line[1..], ""));
        parse(name, rest).expect("a command").expect(line).0
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
            let (name, rest) = line[1..].split_once(' ').unwrap_or((&line[1..], ""));
            assert!(parse(name, rest).unwrap().unwrap_err().contains(word), "{line}");
        }
    }

    #[test]
    fn the_help_fits_80_columns() {
        let lines = HELP.iter().chain(&HELP_MODERATORS);
        assert!(lines.into_iter().all(|line| crate::chat::clean::width(line) <= 80 - 13));
    }

    #[test]
    fn who_may_not_moderate_is_told_before_anything_is_sent() {
        let mut order = Order::default();
        let check = |order: &Order, line: &str, permissions| {
            let mut act = act(line);
            order.check(permissions, &mut act).map(|()| act)
        };
        let speaks = permission::PUBLISH;
        assert!(check(&order, "/remove 1", speaks).unwrap_err().contains("`moderate`"));
        assert!(check(&order, "/ack", speaks).unwrap_err().contains("no warning"));
        assert!(check(&order, "/report 1 spam", speaks).is_ok());
        order.warning = Some(7);
        assert_eq!(check(&order, "/ack", speaks).unwrap().target, Some(7));
        let moderates = permission::MODERATE;
        assert!(check(&order, "/timeout 1 15d", moderates).unwrap_err().contains("14 days"));
        assert!(check(&order, "/warn 1", moderates).unwrap_err().contains("/warn 12"));
        assert!(check(&order, "/remove 1", moderates).is_ok());
    }
}
