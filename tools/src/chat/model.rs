//! The model of the chat: the state of one room as a person sees it.
//!
//! Why apart from drawing and IO: this file decides what a person sees after a refusal, a gap or a reconnect.
//! Tests pass events in and read the result.
//! Invariants: at most [`ENTRIES_MAX`] entries are kept; all kept text is clean; each message of this user is
//! pending, is in the room, or has a notice that gives its fate.
//! Not here: events of the session (`events`), keys (`keys`), drawing (`screen`), sockets (`chat`).

use std::collections::{BTreeMap, VecDeque};

use grandstand_client::net::OwnedAct;
use grandstand_client::protocol::frame::permission;
use grandstand_client::protocol::limits::{REACTION_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, TEXT_BYTES_MAX};
use grandstand_client::protocol::refusal::Refusal;
use grandstand_client::protocol::rules::{self, Content};

use super::clean::clean;
use super::command::{self, Command, HELP};
use super::editor::Editor;
use super::entry::{Entry, Look, Tone};
use super::order::{self, Order};
use super::tally::Tally;
use super::times::Times;

/// Most entries that are kept: an evening of a lively room, some megabytes.
pub(super) const ENTRIES_MAX: usize = 5000;

/// A request to the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Publish { text: String, reply_to: Option<u64> },
    React { key: String, count: u32 },
    State { key: String, value: Option<String> },
    Act { act: OwnedAct, line: String },
    Quit,
}

/// A message of this user that is not shown in the room yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) nonce: u64,
    pub(super) text: String,
    /// Offset, once the room has accepted it.
    pub(super) offset: Option<u64>,
}

/// The state of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Connecting,
    Up,
    Waiting { until_ms: u64, attempt: u32 },
    Over { why: String, asked: bool },
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) room: String,
    /// The room's name, safe for a terminal.
    pub(super) title: String,
    /// The name that the node gave this user; empty before that.
    pub(super) me: String,
    pub(super) link: Link,
    pub(super) now_ms: u64,
    pub(super) entries: VecDeque<Entry>,
    /// Number of entries so far, including those that are not kept any more.
    pub(super) pushed: u64,
    pub(super) pending: Vec<Pending>,
    pub(super) states: BTreeMap<String, String>,
    pub(super) tally: Tally,
    pub(super) editor: Editor,
    pub(super) order: Order,
    /// A hint about the last key; the next key removes it.
    pub(super) hint: Option<String>,
    pub(super) coloured: bool,
    pub(super) times: Times,
    /// Columns and rows of the scrollback on the screen.
    pub(super) view: (usize, usize),
    /// Number of rows between the last row on the screen and the newest one.
    pub(super) rows_below: usize,
    /// Number of entries that arrived while the person looks back.
    pub(super) unseen: u64,
    /// Number of requests that were refused or may be lost.
    pub(super) failures: u64,
    pub(super) permissions: u32,
    pub(super) text_bytes_max: usize,
    /// The first offset that is not shown yet.
    pub(super) next_offset: u64,
    /// The end of the room's log when the subscription began.
    pub(super) head: u64,
    pub(super) epoch: Option<u64>,
    /// Number of messages that pacing left out since `omitted_ms`, without a notice yet.
    pub(super) omitted: u64,
    pub(super) omitted_ms: u64,
    /// Number of state changes without an answer.
    pub(super) states_unanswered: u64,
    /// The reason why the room does not admit this user.
    pub(super) barred: Option<String>,
    /// The last notice about the connection, so that it is not repeated with every try.
    pub(super) trouble: Option<String>,
}

impl Model {
    pub(super) fn new(room: &str) -> Model {
        Model {
            room: room.to_owned(),
            title: clean(room),
            me: String::new(),
            link: Link::Connecting,
            now_ms: 0,
            entries: VecDeque::new(),
            pushed: 0,
            pending: Vec::new(),
            states: BTreeMap::new(),
            tally: Tally::default(),
            editor: Editor::default(),
            order: Order::default(),
            hint: None,
            coloured: true,
            times: Times::default(),
            view: (80, 20),
            rows_below: 0,
            unseen: 0,
            failures: 0,
            permissions: u32::MAX,
            text_bytes_max: TEXT_BYTES_MAX,
            next_offset: 0,
            head: 0,
            epoch: None,
            omitted: 0,
            omitted_ms: 0,
            states_unanswered: 0,
            barred: None,
            trouble: None,
        }
    }

    /// Parse a typed line and check it. Returns the action that it asks for.
    ///
    /// # Errors
    /// The line cannot be sent; the text says why.
    pub(super) fn handle_line(&mut self, line: &str) -> Result<Option<Action>, String> {
        let Some(command) = command::parse(line)? else { return Ok(None) };
        let action = match command {
            Command::Say { text, reply_to } => {
                self.check_text(&text)?;
                Action::Publish { text, reply_to }
            }
            Command::React { key, count } => {
                check_reaction(&key)?;
                Action::React { key, count }
            }
            Command::State { key, value } => {
                check_state(&key, value.as_deref())?;
                Action::State { key, value }
            }
            Command::Act { mut act, line } => {
                self.order.check(self.permissions, &mut act)?;
                Action::Act { act, line }
            }
            Command::Quit => Action::Quit,
            Command::Help => {
                HELP.iter().chain(&order::HELP).for_each(|line| self.notice(Tone::Info, line));
                if self.permissions & permission::MODERATE != 0 {
                    order::HELP_MODERATORS.iter().for_each(|line| self.notice(Tone::Info, line));
                }
                return Ok(None);
            }
        };
        match &self.link {
            Link::Connecting | Link::Waiting { .. } if matches!(action, Action::React { .. }) => {
                Err("not connected: a reaction does not wait".into())
            }
            Link::Over { why, .. } if action != Action::Quit => {
                Err(format!("the session is over: {why}; /quit leaves"))
            }
            _ => Ok(Some(action)),
        }
    }

    /// Check a text by the rules of the protocol and the limit of this node.
    fn check_text(&self, text: &str) -> Result<(), String> {
        rules::check_content(&Content { text, ..Content::default() }, self.text_bytes_max).map_err(
            |refusal| match refusal {
                Refusal::TooLarge => format!("too long: {} of {} bytes", text.len(), self.text_bytes_max),
                Refusal::Empty => "nothing of it can be seen: write something".to_owned(),
                _ => "rooms take no control characters or invisible ones: leave them out".to_owned(),
            },
        )
    }

    /// The session took a message.
    pub(super) fn handle_sent(&mut self, nonce: u64, text: &str) {
        self.pending.push(Pending { nonce, text: clean(text), offset: None });
        self.look_at_now();
    }

    /// The session did not take a message, a reaction or a change, for this reason.
    pub(super) fn handle_unsent(&mut self, text: &str, why: &str) {
        self.failures += 1;
        self.notice(Tone::Warning, &format!("not sent, {why}: {text}"));
    }

    /// Advance the time.
    pub(super) fn handle_time(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.tally.handle_time(self.now_ms);
        self.tell_omitted();
    }

    pub(super) fn notice(&mut self, tone: Tone, text: &str) {
        self.push(Entry::Notice(tone, clean(text)));
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if self.rows_below > 0 {
            // The rows on the screen stay in place.
            self.rows_below += entry.rows(self.look()).len();
            self.unseen += 1;
        }
        self.entries.push_back(entry);
        self.pushed += 1;
        if self.entries.len() > ENTRIES_MAX {
            self.entries.pop_front();
        }
    }

    /// How entries are shown.
    pub(super) fn look(&self) -> Look {
        Look { columns: self.view.0, coloured: self.coloured, times: self.times.is_known() }
    }

    /// The entries that were added after the first `pushed`.
    pub(super) fn entries_since(&self, pushed: u64) -> impl Iterator<Item = &Entry> {
        let missing = (self.pushed - pushed).min(self.entries.len() as u64) as usize;
        self.entries.range(self.entries.len() - missing..)
    }

    /// Scroll back (positive) or forward by this number of rows.
    pub(super) fn scroll(&mut self, rows: isize) {
        let total: usize = self.entries.iter().map(|entry| entry.rows(self.look()).len()).sum();
        let most = total.saturating_sub(self.view.1);
        self.rows_below = self.rows_below.saturating_add_signed(rows).min(most);
        if self.rows_below == 0 {
            self.unseen = 0;
        }
    }

    pub(super) fn look_at_now(&mut self) {
        (self.rows_below, self.unseen) = (0, 0);
    }

    /// Is this user in the room?
    pub(super) fn is_inside(&self) -> bool {
        self.link == Link::Up && self.epoch.is_some() && self.barred.is_none()
    }

    /// Is every message, state change and act of this user answered?
    pub(super) fn is_answered(&self) -> bool {
        self.states_unanswered == 0
            && !self.order.is_acting()
            && self.pending.iter().all(|pending| pending.offset.is_some())
    }

    /// Is everything shown that was in the room before, and everything that this user sent?
    pub(super) fn is_caught_up(&self) -> bool {
        self.is_inside()
            && self.next_offset >= self.head
            && self.pending.is_empty()
            && self.states_unanswered == 0
            && !self.order.is_acting()
    }
}

fn check_reaction(key: &str) -> Result<(), String> {
    match rules::is_reaction_key(key) {
        true => Ok(()),
        false => Err(format!(
            "a reaction is a word or an emoji of at most {REACTION_KEY_BYTES_MAX} bytes: /react ❤"
        )),
    }
}

fn check_state(key: &str, value: Option<&str>) -> Result<(), String> {
    rules::check_state(key, value.map(str::as_bytes), STATE_VALUE_BYTES_MAX).map_err(
        |refusal| match refusal {
            Refusal::TooLarge => {
                format!("too long: a key has at most 64 bytes, a value {STATE_VALUE_BYTES_MAX}")
            }
            _ => "a key has no invisible characters: leave them out".to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrollback_is_bounded_and_can_be_read_on_from_anywhere() {
        let mut model = Model::new("show");
        for n in 0..ENTRIES_MAX + 10 {
            model.notice(Tone::Info, &n.to_string());
        }
        assert_eq!(model.entries.len(), ENTRIES_MAX);
        assert_eq!(model.entries_since(0).count(), ENTRIES_MAX);
        let last: Vec<String> = model.entries_since(model.pushed - 2).map(Entry::plain).collect();
        assert_eq!(last, ["* 5008", "* 5009"]);
    }

    #[test]
    fn looking_back_stays_where_it_is_while_more_comes() {
        let mut model = Model::new("show");
        (0..50).for_each(|n| model.notice(Tone::Info, &n.to_string()));
        model.scroll(10);
        assert_eq!(model.rows_below, 10);
        model.notice(Tone::Info, &"long ".repeat(30));
        assert_eq!((model.rows_below, model.unseen), (13, 1));
        model.scroll(1000);
        assert_eq!(model.rows_below, 53 - 20);
        model.scroll(-1000);
        assert_eq!((model.rows_below, model.unseen), (0, 0));
    }

    #[test]
    fn too_long_is_said_before_it_is_sent() {
        let mut model = Model::new("show");
        model.text_bytes_max = 5;
        assert_eq!(model.handle_line("日本"), Err("too long: 6 of 5 bytes".into()));
        assert!(matches!(model.handle_line("hello"), Ok(Some(Action::Publish { .. }))));
    }

    #[test]
    fn what_a_room_would_refuse_is_not_sent() {
        let mut model = Model::new("show");
        model.link = Link::Up;
        for (line, word) in [
            ("a\u{7}b", "control characters"),
            (&*format!("/react {}", "x".repeat(41)), "at most 40 bytes"),
            (&*format!("/state {} 1", "k".repeat(65)), "too long"),
            (&*format!("/state k {}", "v".repeat(4097)), "too long"),
            (&*"x".repeat(4097), "too long: 4097 of 4096 bytes"),
        ] {
            let why = model.handle_line(line).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        assert_eq!(model.failures, 0);
    }

    #[test]
    fn reactions_do_not_wait_for_a_connection() {
        let mut model = Model::new("show");
        assert!(model.handle_line("/react ❤").unwrap_err().contains("not connected"));
        model.link = Link::Up;
        assert!(matches!(model.handle_line("/react ❤"), Ok(Some(Action::React { .. }))));
    }

    #[test]
    fn after_the_end_only_leaving_is_possible() {
        let mut model = Model::new("show");
        model.link = Link::Over { why: "full".into(), asked: false };
        assert!(model.handle_line("hello").unwrap_err().contains("full"));
        assert_eq!(model.handle_line("/quit"), Ok(Some(Action::Quit)));
        assert_eq!(model.handle_line("/help"), Ok(None));
        assert_eq!(model.entries.len(), HELP.len() + order::HELP.len() + order::HELP_MODERATORS.len());
    }
}
