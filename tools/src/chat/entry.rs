//! Entries of the scrollback: messages and notices, as plain text and as rows of a given width.
//!
//! Invariants: all text in an entry is clean (`clean`); a message has at most [`LINES_MAX`] lines on the
//! screen, so that nobody can push everybody else out of it.
//! Not here: which entries exist (`model`), their place on the screen (`screen`).

use grandstand_client::protocol::frame::Role;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::clean::width;

/// An entry of the scrollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Message(Message),
    /// The place of a message that moderators removed, by its offset.
    Removed(u64),
    Notice(Tone, String),
}

/// A message of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Offset in the room.
    pub(super) offset: u64,
    pub(super) author: String,
    pub(super) role: Role,
    pub(super) text: String,
    pub(super) answers: Option<Answered>,
    /// Number of equal texts that the room folded into this one.
    pub(super) folded: u64,
    /// Whether this user sent it.
    pub(super) mine: bool,
    /// Local time as hours and minutes; empty if unknown.
    pub(super) time: String,
}

/// The message that another one answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) offset: u64,
    /// Its first words, if it is still in the scrollback.
    pub(super) excerpt: Option<String>,
}

/// The importance of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Information.
    Info,
    /// Something was missed, or failed.
    Warning,
}

/// Columns of offsets: enough for a day of a busy room.
const NUMBER_COLUMNS: usize = 6;

/// Columns of times, such as `20:15 `.
const TIME_COLUMNS: usize = 6;

/// Columns below which times are left out.
const TIME_FROM_COLUMNS: usize = 60;

/// Lines of one message that are shown.
const LINES_MAX: usize = 20;

/// A tab is shown as this many columns.
const TAB: &str = "    ";

/// How entries are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) columns: usize,
    pub(super) coloured: bool,
    /// Whether there is a column of times.
    pub(super) times: bool,
}

impl Look {
    fn time_columns(self) -> usize {
        if self.times && self.columns >= TIME_FROM_COLUMNS { TIME_COLUMNS } else { 0 }
    }
}

/// Most columns of the first words of an answered message.
const EXCERPT_COLUMNS: usize = 40;

/// Colours of names: 256-colour entries of middling lightness, readable on light and on dark.
const NAME_COLOURS: [u8; 14] = [32, 37, 65, 70, 98, 104, 131, 136, 140, 162, 168, 172, 203, 209];

impl Entry {
    /// The entry as one line of plain text, for scripts and files.
    pub(super) fn plain(&self) -> String {
        match self {
            Entry::Notice(_, text) => format!("* {text}"),
            Entry::Removed(offset) => format!("* message {offset} was removed by moderators"),
            Entry::Message(message) => {
                let answers =
                    message.answers.as_ref().map_or(String::new(), |a| format!("(to #{}) ", a.offset));
                format!(
                    "{}{}: {answers}{}{}",
                    mark(message.role),
                    message.author,
                    // A line is a message.
                    message.text.replace(['\n', '\t'], " "),
                    message.folded_text()
                )
            }
        }
    }

    /// The entry as rows of a screen.
    pub(super) fn rows(&self, look: Look) -> Vec<Line<'static>> {
        let times = look.time_columns();
        let indent = times + NUMBER_COLUMNS + 1;
        let lines = match self {
            Entry::Notice(tone, text) => {
                let style = if *tone == Tone::Warning { Style::new().fg(Color::Yellow) } else { dim() };
                let margin = format!("{:times$}{:>NUMBER_COLUMNS$} ", "", "—");
                vec![vec![Span::styled(margin, dim()), Span::styled(text.clone(), style)]]
            }
            Entry::Removed(offset) => {
                let text = format!("{:times$}{offset:>NUMBER_COLUMNS$} removed by moderators", "");
                vec![vec![Span::styled(text, dim())]]
            }
            Entry::Message(message) => message.lines(times, indent),
        };
        let colour = |span| if look.coloured { span } else { without_colour(span) };
        let lines = lines.into_iter().map(|line| line.into_iter().map(colour).collect::<Vec<_>>());
        lines.flat_map(|line| wrap(&line, look.columns, indent)).collect()
    }
}

impl Message {
    /// The spans of each line of its text.
    fn lines(&self, time_columns: usize, indent: usize) -> Vec<Vec<Span<'static>>> {
        let mut name = name_style(&self.author);
        if self.mine {
            name = name.add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        }
        let time = if time_columns > 0 { self.time.as_str() } else { "" };
        let mut first = vec![
            Span::styled(format!("{time:time_columns$}{:>NUMBER_COLUMNS$} ", self.offset), dim()),
            Span::styled(
                mark(self.role),
                Style::new().add_modifier(Modifier::BOLD).fg(role_colour(self.role)),
            ),
            Span::styled(self.author.clone(), name),
            Span::raw(": "),
        ];
        first.extend(self.answers.as_ref().map(|answered| Span::styled(answered.text(), dim())));
        let mut lines = vec![first];
        let mut texts = self.text.split('\n').map(|text| text.replace('\t', TAB));
        for (n, text) in texts.by_ref().take(LINES_MAX).enumerate() {
            if n > 0 {
                lines.push(vec![Span::raw(" ".repeat(indent))]);
            }
            lines.last_mut().expect("there is a first").push(Span::raw(text));
        }
        let hidden = texts.count();
        let more = if hidden > 0 { format!(" (and {hidden} more lines)") } else { String::new() };
        let last = lines.last_mut().expect("there is a first");
        last.push(Span::styled(more + &self.folded_text(), dim()));
        lines
    }

    fn folded_text(&self) -> String {
        if self.folded == 0 { String::new() } else { format!(" (and {} more said so)", self.folded) }
    }

    /// Its author and first words, for an answer to it.
    pub(super) fn excerpt(&self) -> String {
        let whole = format!("{}: {}", self.author, self.text.replace(['\n', '\t'], " "));
        let mut short = String::new();
        for c in whole.chars() {
            if width(&short) >= EXCERPT_COLUMNS {
                short.push('…');
                break;
            }
            short.push(c);
        }
        short
    }
}

impl Answered {
    fn text(&self) -> String {
        match &self.excerpt {
            Some(excerpt) => format!("↪ {} {excerpt} ⏎ ", self.offset),
            None => format!("↪ {} ", self.offset),
        }
    }
}

/// The mark of a role, before the name.
fn mark(role: Role) -> &'static str {
    match role {
        Role::Viewer => "",
        Role::Subscriber => "+",
        Role::Moderator => "@",
        Role::Host => "~",
        Role::Bot => "[bot] ",
    }
}

fn role_colour(role: Role) -> Color {
    match role {
        Role::Host => Color::Red,
        Role::Moderator => Color::Green,
        _ => Color::Cyan,
    }
}

/// The colour of a name, by its FNV-1a hash: the same on every machine.
fn name_style(name: &str) -> Style {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    Style::new().fg(Color::Indexed(NAME_COLOURS[(hash % NAME_COLOURS.len() as u64) as usize]))
}

pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn without_colour(mut span: Span<'static>) -> Span<'static> {
    span.style.fg = None;
    span
}

/// Break spans into rows at spaces, or within a word that is longer than a row. Rows after the first are
/// indented.
fn wrap(spans: &[Span<'static>], columns: usize, indent: usize) -> Vec<Line<'static>> {
    // On a screen as narrow as this nothing reads well; a row must hold something nevertheless.
    let indent = if columns < indent * 2 { 0 } else { indent };
    let columns = columns.max(2);
    let mut rows = Vec::new();
    let mut row: Vec<(String, Style, usize)> = Vec::new();
    let mut used = 0;
    for grapheme in spans.iter().flat_map(|span| span.styled_graphemes(Style::new())) {
        let wide = width(grapheme.symbol);
        if used + wide > columns {
            let rest = split_row(&mut row, indent, grapheme.symbol == " ");
            rows.push(line(&row));
            row = rest;
            row.insert(0, (" ".repeat(indent), Style::new(), indent));
            used = row.iter().map(|(_, _, wide)| wide).sum();
            if grapheme.symbol == " " {
                continue;
            }
        }
        used += wide;
        row.push((grapheme.symbol.to_owned(), grapheme.style, wide));
    }
    rows.push(line(&row));
    rows
}

/// Split a row at its last space: `row` keeps the part before it, and the part after it is returned. Without
/// a space the row keeps everything.
fn split_row(
    row: &mut Vec<(String, Style, usize)>,
    indent: usize,
    at_space: bool,
) -> Vec<(String, Style, usize)> {
    if at_space {
        return Vec::new();
    }
    match row.iter().rposition(|(symbol, _, _)| symbol == " ") {
        Some(at) if row[..at].iter().map(|(_, _, wide)| wide).sum::<usize>() > indent => {
            let rest = row.split_off(at + 1);
            row.pop();
            rest
        }
        _ => Vec::new(),
    }
}

fn line(row: &[(String, Style, usize)]) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    for (symbol, style, _) in row {
        match spans.last_mut() {
            Some(last) if last.style == *style => last.content.to_mut().push_str(symbol),
            _ => spans.push(Span::styled(symbol.clone(), *style)),
        }
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        let author = "ann".to_owned();
        Message {
            offset: 12,
            author,
            role: Role::Moderator,
            text: text.into(),
            answers: None,
            folded: 0,
            mine: false,
            time: "20:15".into(),
        }
    }

    const PLAIN: Look = Look { columns: 80, coloured: true, times: false };

    fn rows(text: &str, columns: usize) -> Vec<String> {
        shown(text, Look { columns, ..PLAIN })
    }

    fn shown(text: &str, look: Look) -> Vec<String> {
        Entry::Message(message(text)).rows(look).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn times_have_a_column_where_there_is_room() {
        let look = Look { times: true, ..PLAIN };
        let long = "word ".repeat(20);
        let rows = shown(&long, look);
        assert!(
            rows[0].starts_with("20:15     12 @ann: word") && rows[1].starts_with("             word"),
            "{rows:?}"
        );
        assert!(rows.iter().all(|row| width(row) <= 80));
        let notice = Entry::Notice(Tone::Info, "hello".into()).rows(look);
        assert_eq!(notice[0].to_string(), "           — hello");
        assert_eq!(shown("one", Look { columns: 59, ..look }), ["    12 @ann: one"]);
    }

    #[test]
    fn line_breaks_and_indents_are_shown_and_bounded() {
        assert_eq!(rows("if a:\n\treturn b", 40), ["    12 @ann: if a:", "           return b"]);
        let many = rows(&"x\n".repeat(500), 40);
        assert!(many.len() == LINES_MAX && many[LINES_MAX - 1].ends_with("(and 481 more lines)"), "{many:?}");
        assert_eq!(Entry::Message(message("a\nb")).plain(), "@ann: a b", "for scripts a line is a message");
    }

    #[test]
    fn words_stay_whole_and_rows_are_indented() {
        assert_eq!(rows("one two three four", 24), ["    12 @ann: one two", "       three four"]);
        assert_eq!(rows("one", 80), ["    12 @ann: one"]);
    }

    #[test]
    fn long_words_and_wide_characters_are_broken_within_the_width() {
        for columns in [2, 5, 13, 14, 20, 31] {
            for text in
                ["x".repeat(100), "日本語".repeat(20), "👩‍👩‍👧‍👦 ".repeat(9), String::new(), "a b ".repeat(30)]
            {
                let rows = rows(&text, columns);
                assert!(rows.iter().all(|row| width(row) <= columns), "{columns}: {rows:?}");
                let squeezed = |s: String| s.replace(' ', "");
                assert_eq!(squeezed(rows.concat()), squeezed(format!("12@ann:{text}")), "nothing is lost");
            }
        }
    }

    #[test]
    fn names_keep_their_colour_and_roles_their_marks() {
        let style = |name: &str| name_style(name).fg;
        assert_eq!(style("ann"), style("ann"));
        let colours: std::collections::HashSet<_> = (0..100).map(|n| style(&format!("name{n}"))).collect();
        assert!(colours.len() > NAME_COLOURS.len() / 2);
        let plain = |role| Entry::Message(Message { role, ..message("hi") }).plain();
        assert_eq!((plain(Role::Host), plain(Role::Subscriber)), ("~ann: hi".into(), "+ann: hi".into()));
        assert_eq!((plain(Role::Viewer), plain(Role::Bot)), ("ann: hi".into(), "[bot] ann: hi".into()));
    }

    #[test]
    fn without_colour_there_is_none() {
        let look = Look { coloured: false, ..PLAIN };
        let mut rows = Entry::Message(message("hi")).rows(look);
        rows.extend(Entry::Notice(Tone::Warning, "careful".into()).rows(look));
        assert!(rows.iter().flat_map(|row| &row.spans).all(|span| span.style.fg.is_none()));
    }

    #[test]
    fn answers_say_what_they_answer() {
        let answered = Answered { offset: 3, excerpt: Some(message(&"long ".repeat(30)).excerpt()) };
        let answer = Message { answers: Some(answered), ..message("yes") };
        let row = Entry::Message(answer.clone()).rows(Look { columns: 200, ..PLAIN })[0].to_string();
        assert!(row.contains("↪ 3 ann: long") && row.contains("… ⏎ yes"), "{row}");
        assert_eq!(Entry::Message(answer).plain(), "@ann: (to #3) yes");
    }
}
