//! The demo's terminal view: the figures, updated four times a second, and the chat as viewers see it.
//!
//! Invariants: the view shows only messages that a viewer received; the commands to join are readable at 80
//! columns.
//! Not here: taking and giving back the terminal (`terminal`), measuring (`load::run`), the figures at the
//! end (`report`).

use std::collections::VecDeque;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};
use tokio::sync::watch;

use super::invitation::Invitation;
use super::title::Title;
use crate::load::expected::Announcements;
use crate::load::progress::{Meter, Rates};
use crate::load::report::{duration, mib};
use crate::load::run::{Moment, Phase, Watcher};
use crate::terminal::{Screen, is_gone, suspend, suspend_on_signal};

/// The view shows rates of the last second.
const RATES_EVERY_US: u64 = 1_000_000;

/// Time between two drawings.
const DRAW_EVERY_US: u64 = 250_000;

/// Seconds of rates that are kept: as many as the widest terminal shows.
const HISTORY_MAX: usize = 400;

/// Colours of names, by name.
const NAME_COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::LightBlue, Color::LightRed];

/// The fixed facts of a show.
#[derive(Clone, Debug)]
struct Show {
    title: String,
    commands: Vec<String>,
    viewers: usize,
}

/// The demo's view on the terminal.
pub(super) struct View {
    screen: Screen,
    show: Show,
    announcements: Announcements,
    stop: watch::Sender<bool>,
    meter: Meter,
    rates: Rates,
    history: VecDeque<Rates>,
    began_us: u64,
    drawn_us: u64,
}

impl View {
    pub(super) fn open(
        title: &Title,
        invitation: &Invitation,
        viewers: usize,
        announcements: Announcements,
        stop: watch::Sender<bool>,
    ) -> anyhow::Result<View> {
        suspend_on_signal()?;
        let show = Show { title: title.text.clone(), commands: invitation.commands().to_vec(), viewers };
        Ok(View {
            screen: Screen::enter()?,
            show,
            announcements,
            stop,
            meter: Meter::default(),
            rates: Rates::default(),
            history: VecDeque::new(),
            began_us: 0,
            drawn_us: 0,
        })
    }

    /// q, Escape and Ctrl-C end the show.
    fn take_keys(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(!is_gone(), "the terminal is gone");
        while event::poll(Duration::ZERO)? {
            let Event::Key(key) = event::read()? else { continue };
            if key.code == KeyCode::Char('z') && key.modifiers == KeyModifiers::CONTROL {
                suspend()?;
                continue;
            }
            let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            let is_end = is_ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
            if key.kind == KeyEventKind::Press && is_end {
                // The run holds the other end until it ends.
                let _ = self.stop.send(true);
            }
        }
        Ok(())
    }
}

impl Watcher for View {
    fn watch(&mut self, moment: &Moment<'_>) -> anyhow::Result<()> {
        self.take_keys()?;
        if moment.phase == Phase::Publishing && self.began_us == 0 {
            self.began_us = moment.now_us;
        }
        if let Some(rates) = self.meter.look(moment, RATES_EVERY_US) {
            self.rates = rates;
            self.history.push_back(rates);
            let excess = self.history.len().saturating_sub(HISTORY_MAX);
            self.history.drain(..excess);
        }
        if moment.now_us < self.drawn_us + DRAW_EVERY_US {
            return Ok(());
        }
        self.drawn_us = moment.now_us;
        let on_air_us = if self.began_us == 0 { 0 } else { moment.now_us.saturating_sub(self.began_us) };
        let picture = Picture {
            show: &self.show,
            moment,
            rates: &self.rates,
            history: &self.history,
            chat: self.announcements.arrived(),
            on_air_us,
        };
        self.screen.draw(|frame| picture.draw(frame))
    }
}

/// The contents of one drawing.
struct Picture<'a> {
    show: &'a Show,
    moment: &'a Moment<'a>,
    rates: &'a Rates,
    history: &'a VecDeque<Rates>,
    chat: Vec<(Box<str>, Box<str>)>,
    on_air_us: u64,
}

impl Picture<'_> {
    fn draw(&self, frame: &mut Frame<'_>) {
        let foot_rows = 1 + self.show.commands.len() as u16;
        let curve_rows = match frame.area().height {
            0..20 => 0,
            20..30 => 4,
            _ => 6,
        };
        let [head, figures, curves, chat, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(7),
            Constraint::Length(curve_rows),
            Constraint::Min(3),
            Constraint::Length(foot_rows),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        self.draw_figures(frame, figures);
        self.draw_curves(frame, curves);
        self.draw_chat(frame, chat);
        let hint = "q ends the show and prints the figures; join from another terminal:";
        let commands = self.show.commands.iter().map(|line| Line::from(line.as_str().bold()));
        let foot_lines: Vec<Line<'_>> = std::iter::once(Line::from(hint.dim())).chain(commands).collect();
        frame.render_widget(Paragraph::new(foot_lines), foot);
    }

    fn head(&self) -> Line<'_> {
        let seconds = self.on_air_us / 1_000_000;
        let (word, colour) = match self.moment.phase {
            Phase::Joining => (" DOORS OPEN ".to_owned(), Color::Yellow),
            Phase::Publishing => (format!(" ON AIR {:02}:{:02} ", seconds / 60, seconds % 60), Color::Red),
            Phase::Settling => (" THE END ".to_owned(), Color::Blue),
        };
        Line::from(vec![
            Span::styled(word, Style::new().bg(colour).fg(Color::White).add_modifier(Modifier::BOLD)),
            format!("  {}", self.show.title).bold(),
        ])
    }

    fn draw_figures(&self, frame: &mut Frame<'_>, area: Rect) {
        let columns = Layout::horizontal([Constraint::Ratio(1, 3); 3]).split(area);
        let tables =
            [("audience", self.audience()), ("per second", self.per_second()), ("node", self.node())];
        for ((title, rows), column) in tables.into_iter().zip(columns.iter()) {
            let width = 1 + rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            let lines: Vec<Line<'_>> = rows
                .into_iter()
                .map(|(name, value)| Line::from(vec![format!("{name:<width$}").dim(), value.bold()]))
                .collect();
            frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), *column);
        }
    }

    fn audience(&self) -> Vec<(&'static str, String)> {
        let p = &self.moment.progress;
        let c = &p.counts;
        let bad = c.lost + c.duplicated + c.out_of_order + c.wrong;
        vec![
            ("viewers", format!("{} of {}", p.live, self.show.viewers)),
            ("latency p50", duration(p.p50_us)),
            ("latency p99", duration(p.p99_us)),
            ("faults", (bad + p.failed).to_string()),
            ("gaps", p.gaps.to_string()),
        ]
    }

    fn per_second(&self) -> Vec<(&'static str, String)> {
        let r = self.rates;
        let viewers = self.moment.progress.live.max(1) as f64;
        vec![
            ("messages", format!("{:.1}", r.messages)),
            ("frames sent", grouped(r.frames)),
            ("received", grouped(r.deliveries)),
            ("reactions", format!("{:.0}", r.reactions / viewers)),
            match self.moment.phase {
                Phase::Joining => ("joins", format!("{:.0}", r.joins)),
                // Messages that pacing left out for each viewer, since nobody reads that fast.
                _ => ("left out", format!("{:.1}", r.omitted / viewers)),
            },
        ]
    }

    fn node(&self) -> Vec<(&'static str, String)> {
        let c = &self.moment.progress.counts;
        let per_delivery = if c.deliveries > 0 { c.bytes as f64 / c.deliveries as f64 } else { 0.0 };
        vec![
            ("CPU", format!("{:.0} %", self.rates.server_cpus * 100.0)),
            ("memory", self.moment.server.map_or_else(String::new, |s| mib(s.resident_bytes))),
            ("bytes/message", format!("{per_delivery:.1}")),
            ("acknowledged", self.moment.published.acknowledged.to_string()),
            ("refused", self.moment.published.refused.total().to_string()),
        ]
    }

    fn draw_curves(&self, frame: &mut Frame<'_>, area: Rect) {
        let columns = Layout::horizontal([Constraint::Ratio(1, 2); 2]).split(area);
        self.draw_curve(frame, columns[0], "messages received/s", Color::Cyan, |r| r.deliveries);
        self.draw_curve(frame, columns[1], "reactions received/s", Color::Magenta, |r| r.reactions);
    }

    fn draw_curve(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        title: &str,
        colour: Color,
        value: fn(&Rates) -> f64,
    ) {
        let width = usize::from(area.width.saturating_sub(2));
        let newest = self.history.iter().skip(self.history.len().saturating_sub(width));
        let data: Vec<u64> = newest.map(|rates| value(rates) as u64).collect();
        let max = data.iter().max().copied().unwrap_or(0);
        let title = format!("{title}, peak {}", grouped(max as f64));
        let sparkline = Sparkline::default().data(&data).style(Style::new().fg(colour));
        frame.render_widget(sparkline.block(Block::bordered().title(title)), area);
    }

    fn draw_chat(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = usize::from(area.height.saturating_sub(2));
        let newest = self.chat.iter().skip(self.chat.len().saturating_sub(rows));
        let omitted = self.moment.progress.counts.omitted / self.moment.progress.live.max(1);
        let title = match omitted {
            0 => "chat".to_owned(),
            n => format!("chat, as a viewer sees it: {n} messages left out by pacing so far"),
        };
        let lines: Vec<Line<'_>> = newest
            .map(|(author, text)| {
                let colour =
                    NAME_COLOURS[author.bytes().map(usize::from).sum::<usize>() % NAME_COLOURS.len()];
                let name =
                    Span::styled(author.as_ref(), Style::new().fg(colour).add_modifier(Modifier::BOLD));
                Line::from(vec![name, Span::raw(format!("  {}", text.replace(['\n', '\t'], " ")))])
            })
            .collect();
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), area);
    }
}

/// `12,345`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0.0, "0"), (999.4, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
