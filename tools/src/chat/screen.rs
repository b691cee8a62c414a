//! The screen: draws the model.
//!
//! ```text
//! show · 1,234 viewers · score 3:1                     ann · connected     header
//! pinned: doors open at eight                                              if there is one
//! 20:15     12 @bob: hello                                                 scrollback, newest below
//!            — missed 12 messages: you were too slow
//!        … on its way                                                      ours, not in the room yet
//! ❤ ▁▃█▂ 120   👏 ▂▁  9 ───────────────────── F1 ❤  F2 👏  F3 😂  F4 🎉    reactions of the last seconds
//! > typing█
//! ```
//! Invariant: drawing changes only the view size in the model.
//! Not here: the shown state (`model`), breaking an entry into rows (`entry`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::clean::width;
use super::command::PINNED;
use super::entry::dim;
use super::events::seconds;
use super::keys::REACTIONS;
use super::model::{Link, Model};
use super::tally::Reaction;

/// The state key of the viewer count.
const VIEWERS: &str = "gs.viewers";
/// Most rows of messages that are not in the room yet; the rest is counted.
const PENDING_ROWS: usize = 3;
/// Most reactions in the bar.
const BARS: usize = 5;
const BAR_LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const PROMPT: &str = "> ";
/// The text of an empty input row.
const PLACEHOLDER: &str = "write a message; /help lists commands and keys, Ctrl-C leaves";

/// Draw the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let pinned = model.states.get(PINNED).cloned();
    let pending = pending_rows(model);
    let [header, pin, scrollback, sending, bar, input] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(u16::from(pinned.is_some())),
        Constraint::Min(0),
        Constraint::Length(pending.len() as u16),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    model.view = (usize::from(scrollback.width), usize::from(scrollback.height));
    draw_header(frame, header, model);
    if let Some(text) = pinned {
        let style = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(format!("pinned: {text}"), style), pin);
    }
    draw_scrollback(frame, scrollback, model);
    frame.render_widget(Paragraph::new(pending), sending);
    draw_bar(frame, bar, model);
    draw_input(frame, input, model);
}

fn draw_header(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let style = Style::new().add_modifier(Modifier::REVERSED);
    let right = format!(
        "{}{} ",
        if model.me.is_empty() { String::new() } else { format!("{} · ", model.me) },
        status(model)
    );
    let mut left = format!(" {}", model.title);
    if let Some(viewers) = model.states.get(VIEWERS) {
        let noun = if viewers == "1" { "viewer" } else { "viewers" };
        left.push_str(&format!(" · {} {noun}", thousands(viewers)));
    }
    for (key, value) in model.states.iter().filter(|(key, _)| !key.starts_with("gs.") && *key != PINNED) {
        left.push_str(&format!(" · {key} {value}"));
    }
    frame.render_widget(Line::styled(" ".repeat(usize::from(area.width)), style), area);
    let [left_area, right_area] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(width(&right) as u16)]).areas(area);
    frame.render_widget(Line::styled(left, style), left_area);
    frame.render_widget(Line::styled(right, style), right_area);
}

fn status(model: &Model) -> String {
    match &model.link {
        Link::Connecting => "connecting …".into(),
        Link::Up if model.barred.is_some() => "not in the room".into(),
        Link::Up if model.epoch.is_none() => "entering …".into(),
        Link::Up => "connected".into(),
        Link::Waiting { until_ms, attempt } => {
            format!("not connected, try {attempt} in {}", seconds(until_ms.saturating_sub(model.now_ms)))
        }
        Link::Over { .. } => "over".into(),
    }
}

/// Draw the scrollback from the newest entry upwards, and only the visible rows.
fn draw_scrollback(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let height = model.view.1;
    let mut rows: Vec<Line<'static>> = Vec::new();
    for entry in model.entries.iter().rev() {
        if rows.len() >= model.rows_below + height {
            break;
        }
        rows.extend(entry.rows(model.look()).into_iter().rev());
    }
    let from = model.rows_below.min(rows.len().saturating_sub(height));
    let shown: Vec<Line<'static>> = rows.into_iter().skip(from).take(height).rev().collect();
    let top = area.height - shown.len() as u16;
    let area = Rect { y: area.y + top, height: shown.len() as u16, ..area };
    frame.render_widget(Paragraph::new(shown), area);
}

fn pending_rows(model: &Model) -> Vec<Line<'static>> {
    let hidden = model.pending.len().saturating_sub(PENDING_ROWS);
    let more = (hidden > 0).then(|| Line::styled(format!("{:>8} {hidden} more", "…"), dim()));
    let shown = model.pending[hidden..].iter().map(|pending| {
        let mark = if pending.offset.is_some() { "✓" } else { "…" };
        Line::styled(format!("{mark:>8} {}", pending.text), dim())
    });
    more.into_iter().chain(shown).collect()
}

fn draw_bar(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let right = if model.rows_below > 0 {
        format!(" looking back, {} new below (Esc) ", model.unseen)
    } else {
        let keys = REACTIONS.iter().zip(1..).map(|(key, n)| format!(" F{n} {key} "));
        keys.collect()
    };
    let mut left = Vec::new();
    match &model.hint {
        Some(hint) => left.push(Span::styled(hint.clone(), coloured(model, Color::Yellow))),
        None => {
            left.extend(model.tally.top().into_iter().take(BARS).map(|reaction| Span::raw(bar(reaction))));
        }
    }
    let rule = Span::styled("─".repeat(usize::from(area.width)), dim());
    frame.render_widget(Line::from(rule), area);
    let left_width = left.iter().map(Span::width).sum::<usize>().min(usize::from(area.width));
    if left_width + width(&right) <= usize::from(area.width) {
        let at = area.right() - width(&right) as u16;
        frame.render_widget(Line::styled(right, dim()), Rect { x: at, width: area.right() - at, ..area });
    }
    frame.render_widget(Line::from(left), Rect { width: left_width as u16, ..area });
}

fn bar(reaction: &Reaction) -> String {
    let most = reaction.seconds.iter().copied().max().unwrap_or(0).max(1);
    let level = |count: u64| BAR_LEVELS[(count * (BAR_LEVELS.len() as u64 - 1)).div_ceil(most) as usize];
    let bars: String = reaction.seconds.iter().map(|&count| level(count)).collect();
    format!("{} {bars} {}  ", reaction.key, reaction.total())
}

fn draw_input(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let prompt = width(PROMPT);
    let columns = usize::from(area.width).saturating_sub(prompt);
    let (text, cursor) = model.editor.window(columns);
    let text = if text.is_empty() { Span::styled(PLACEHOLDER, dim()) } else { Span::raw(text) };
    frame.render_widget(Line::from(vec![Span::styled(PROMPT, dim()), text]), area);
    let column = (prompt + cursor).min(usize::from(area.width).saturating_sub(1));
    frame.set_cursor_position((area.x + column as u16, area.y));
}

fn coloured(model: &Model, colour: Color) -> Style {
    if model.coloured { Style::new().fg(colour) } else { Style::new() }
}

/// `1234567` as `1,234,567`; other texts are unchanged.
fn thousands(digits: &str) -> String {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return digits.to_owned();
    }
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::entry::{Entry, Message, Tone};
    use crate::chat::model::Pending;
    use grandstand_client::protocol::frame::Role;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(model: &mut Model, columns: u16, rows: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| {
            let mut skip = 0;
            let mut text = String::new();
            for x in 0..columns {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let symbol = buffer[(x, y)].symbol();
                skip = width(symbol).saturating_sub(1);
                text.push_str(symbol);
            }
            text.trim_end().to_owned()
        };
        (0..rows).map(row).collect()
    }

    fn message(offset: u64, text: &str) -> Entry {
        let (author, text) = ("bob".to_owned(), text.to_owned());
        Entry::Message(Message {
            offset,
            author,
            role: Role::Moderator,
            text,
            answers: None,
            folded: 0,
            mine: false,
            time: String::new(),
        })
    }

    fn model() -> Model {
        let mut model = Model::new("show");
        (model.me, model.link, model.epoch) = ("ann".into(), Link::Up, Some(1));
        model.states.insert(VIEWERS.into(), "12345".into());
        model.states.insert("score".into(), "3:1".into());
        model.states.insert(PINNED.into(), "doors at eight".into());
        model.push(message(12, "hello"));
        model.notice(Tone::Warning, "missed 12 messages: you were too slow");
        model
    }

    #[test]
    fn everything_has_its_place() {
        let mut model = model();
        model.pending.push(Pending { nonce: 1, text: "on its way".into(), offset: None });
        model.pending.push(Pending { nonce: 2, text: "taken".into(), offset: Some(13) });
        model.tally.add(0, "❤", 7);
        model.editor.insert("typing 日本");
        let rows = screen(&mut model, 64, 10);
        assert_eq!(rows[0], " show · 12,345 viewers · score 3:1              ann · connected");
        assert_eq!(rows[1], "pinned: doors at eight");
        assert_eq!(rows[4], "    12 @bob: hello");
        assert_eq!(rows[5], "     — missed 12 messages: you were too slow");
        assert_eq!(rows[6..8], ["       … on its way", "       ✓ taken"]);
        assert!(
            rows[8].starts_with("❤ ▁▁▁▁▁▁▁█ 7  ──") && rows[8].ends_with("F1 ❤  F2 👏  F3 😂  F4 🎉"),
            "{}",
            rows[8]
        );
        assert_eq!(rows[9], "> typing 日本");
    }

    #[test]
    fn the_newest_stands_below_and_pages_lead_back() {
        let mut model = Model::new("show");
        (0..40).for_each(|n| model.push(message(n, &format!("text {n}"))));
        let rows = screen(&mut model, 40, 13);
        assert!(rows[1].ends_with("text 30") && rows[10].ends_with("text 39"), "{rows:#?}");
        model.scroll(9);
        model.push(message(40, "text 40"));
        let rows = screen(&mut model, 40, 13);
        assert!(rows[1].ends_with("text 21") && rows[10].ends_with("text 30"), "{rows:#?}");
        assert!(rows[11].ends_with("looking back, 1 new below (Esc)"), "{}", rows[11]);
        model.scroll(isize::MAX);
        let rows = screen(&mut model, 40, 13);
        assert!(rows[1].ends_with("text 0"), "{rows:#?}");
    }

    #[test]
    fn an_empty_line_says_how_to_get_help_within_80_columns() {
        let rows = screen(&mut Model::new("show"), 80, 24);
        assert!(rows[23].contains("/help") && rows[23].ends_with("leaves"), "{}", rows[23]);
    }

    #[test]
    fn hints_take_the_bar() {
        let mut model = model();
        model.hint = Some("too long: 6 of 5 bytes".into());
        assert!(screen(&mut model, 60, 8)[6].starts_with("too long: 6 of 5 bytes──"));
    }

    #[test]
    fn no_window_is_too_small() {
        let mut model = model();
        model.pending.push(Pending { nonce: 1, text: "on its way".into(), offset: None });
        model.tally.add(0, "❤", 7);
        model.editor.insert(&"long 日本 ".repeat(30));
        for columns in 1..40 {
            for rows in 1..10 {
                screen(&mut model, columns, rows);
                model.scroll(3);
            }
        }
    }

    #[test]
    fn numbers_of_viewers_read_well() {
        assert_eq!(["7", "1234", "1234567", "~1.2M"].map(thousands), ["7", "1,234", "1,234,567", "~1.2M"]);
    }
}
