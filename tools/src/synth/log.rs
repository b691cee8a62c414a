//! A chat log's rows: messages, and bans where they are asked for.
//!
//! Invariants: rows are in order of time; a banned author writes nothing until the ban is over.
//! Not here: reading logs (`grandstand_harness::chat_log`).

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use grandstand_protocol::frame::Role;
use serde::Serialize;

use grandstand_harness::chat_log::Message;
use grandstand_harness::random::Random;

/// A usual time-out.
const BAN_S: u64 = 600;

/// The written log's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    messages: u64,
    bans: u64,
    last_ms: u64,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { messages, bans, last_ms } = self;
        write!(f, "{messages} messages over {} s", last_ms / 1000)?;
        if *bans > 0 { write!(f, ", {bans} bans") } else { Ok(()) }
    }
}

#[derive(Serialize)]
struct MessageRow<'a> {
    t: u64,
    u: &'a str,
    m: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<&'a str>,
}

#[derive(Serialize)]
struct BanRow<'a> {
    t: u64,
    k: &'a str,
    u: &'a str,
    d: u64,
}

/// Write every line that nobody's ban forbids.
pub(super) fn write(
    out: &mut impl Write,
    lines: impl Iterator<Item = Message>,
    mut bans: Bans,
) -> io::Result<Written> {
    let mut written = Written::default();
    for line in lines {
        if bans.is_banned(&line) {
            continue;
        }
        let message = MessageRow { t: line.t_ms, u: &line.author, m: &line.text, r: mark(line.role) };
        row(out, &message)?;
        written.messages += 1;
        written.last_ms = line.t_ms;
        if bans.take(&line) {
            row(out, &BanRow { t: line.t_ms, k: "ban", u: &line.author, d: BAN_S })?;
            written.bans += 1;
        }
    }
    Ok(written)
}

fn row(out: &mut impl Write, row: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, row)?;
    out.write_all(b"\n")
}

fn mark(role: Role) -> Option<&'static str> {
    match role {
        Role::Host => Some("~"),
        Role::Moderator => Some("@"),
        Role::Subscriber => Some("+"),
        Role::Viewer | Role::Bot => None,
    }
}

/// The banned authors, and the time of the next ban.
#[derive(Debug)]
pub(super) struct Bans {
    random: Random,
    per_s: f64,
    next_ms: u64,
    until_ms: HashMap<Arc<str>, u64>,
}

impl Bans {
    pub(super) fn new(seed: u64, per_minute: f64) -> Bans {
        let mut bans = Bans {
            random: Random::new(seed ^ 0x62616e73),
            per_s: per_minute / 60.0,
            next_ms: 0,
            until_ms: HashMap::new(),
        };
        bans.draw_next();
        bans
    }

    fn draw_next(&mut self) {
        // At 0 a minute the pause is infinite, and as an integer the last millisecond there is.
        let pause_ms = (self.random.arrival_s(self.per_s) * 1000.0) as u64;
        self.next_ms = self.next_ms.saturating_add(pause_ms.max(1));
    }

    fn is_banned(&self, line: &Message) -> bool {
        self.until_ms.get(&line.author).is_some_and(|until_ms| line.t_ms < *until_ms)
    }

    /// Is this the line that gets its author banned?
    fn take(&mut self, line: &Message) -> bool {
        if line.t_ms < self.next_ms || line.role != Role::Viewer {
            return false;
        }
        self.until_ms.retain(|_, until_ms| *until_ms > line.t_ms);
        self.until_ms.insert(line.author.clone(), line.t_ms + BAN_S * 1000);
        self.draw_next();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::generator::{Chat, Settings};
    use serde_json::Value;

    fn rows(minutes: u64, bans_per_minute: f64) -> Vec<Value> {
        let settings = Settings { viewers: 50_000, ..Settings::default() };
        let lines = Chat::new(&settings).take_while(|line| line.t_ms < minutes * 60_000);
        let mut out = Vec::new();
        write(&mut out, lines, Bans::new(1, bans_per_minute)).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn bans_come_at_their_rate_and_silence_their_people() {
        let rows = rows(60, 18.0);
        let mut until_ms: HashMap<&str, u64> = HashMap::new();
        let mut bans = 0;
        for row in &rows {
            let (t, user) = (row["t"].as_u64().unwrap(), row["u"].as_str().unwrap());
            assert!(until_ms.get(user).is_none_or(|until_ms| t >= *until_ms), "{user} speaks while banned");
            if row["k"] == "ban" {
                bans += 1;
                until_ms.insert(user, t + row["d"].as_u64().unwrap() * 1000);
            }
        }
        assert!((900..1200).contains(&bans), "{bans} bans in an hour at 18 a minute");
    }

    #[test]
    fn without_bans_there_are_none_and_roles_are_marked() {
        let rows = rows(30, 0.0);
        assert!(rows.iter().all(|row| row["k"].is_null()));
        assert!(rows.is_sorted_by_key(|row| row["t"].as_u64().unwrap()));
        for mark in ["~", "@", "+"] {
            assert!(rows.iter().any(|row| row["r"] == mark), "{mark}");
        }
    }
}
