//! An editor of the input line, with a history of earlier lines.
//!
//! Why one row: the line that is written is under the scrollback. Line breaks and tabs, which can be pasted,
//! are shown as signs.
//! Invariants: the cursor is between graphemes; the text has no control characters but line feeds and tabs;
//! history keeps [`HISTORY_MAX`] entries.
//! Not here: key bindings (`keys`), the meaning of a line (`command`).

use ratatui::style::Style;
use ratatui::text::Span;

use super::clean::{clean_lines, clean_typed, width};

/// Most entries of the history: people scroll back through fewer.
const HISTORY_MAX: usize = 100;

/// Characters between words.
const BLANKS: [char; 3] = [' ', '\n', '\t'];

#[derive(Debug, Default)]
pub(super) struct Editor {
    text: String,
    /// Position as an offset in bytes.
    cursor: usize,
    history: Vec<String>,
    /// Index of the history entry that is shown, and the draft that it replaced.
    recalled: Option<(usize, String)>,
}

impl Editor {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Take the text, add it to the history, and clear the editor.
    pub(super) fn take(&mut self) -> String {
        let line = clean_lines(&std::mem::take(&mut self.text));
        self.clear();
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            self.history.push(line.clone());
        }
        if self.history.len() > HISTORY_MAX {
            self.history.remove(0);
        }
        line
    }

    pub(super) fn clear(&mut self) {
        (self.text, self.cursor, self.recalled) = (String::new(), 0, None);
    }

    /// Insert typed or pasted text at the cursor.
    pub(super) fn insert(&mut self, text: &str) {
        let text = clean_typed(text);
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
        self.settle();
    }

    pub(super) fn backspace(&mut self) {
        self.remove_back_to(self.before());
    }

    pub(super) fn delete(&mut self) {
        let after = self.after();
        self.text.replace_range(self.cursor..after, "");
        self.settle();
    }

    pub(super) fn delete_word(&mut self) {
        self.remove_back_to(self.word_before());
    }

    pub(super) fn delete_to_start(&mut self) {
        self.remove_back_to(0);
    }

    pub(super) fn delete_to_end(&mut self) {
        self.text.truncate(self.cursor);
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.before();
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.after();
    }

    pub(super) fn word_left(&mut self) {
        self.cursor = self.word_before();
    }

    pub(super) fn word_right(&mut self) {
        let rest = &self.text[self.cursor..];
        let skipped = rest.len() - rest.trim_start().len();
        self.cursor += rest[skipped..].find(BLANKS).map_or(rest.len(), |at| skipped + at);
    }

    pub(super) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Show the previous entry of the history.
    pub(super) fn up(&mut self) {
        let at = self.recalled.as_ref().map_or(self.history.len(), |(at, _)| *at);
        if at == 0 {
            return;
        }
        let draft = self.recalled.take().map_or_else(|| std::mem::take(&mut self.text), |(_, draft)| draft);
        self.show(self.history[at - 1].clone());
        self.recalled = Some((at - 1, draft));
    }

    /// Show the next entry of the history; after the last one, the draft.
    pub(super) fn down(&mut self) {
        let Some((at, draft)) = self.recalled.take() else { return };
        match self.history.get(at + 1).cloned() {
            Some(line) => {
                self.show(line);
                self.recalled = Some((at + 1, draft));
            }
            None => self.show(draft),
        }
    }

    /// Returns the part around the cursor that fits into `columns`, and the column of the cursor.
    pub(super) fn window(&self, columns: usize) -> (String, usize) {
        let graphemes = self.graphemes();
        let mut at = 0;
        let before = graphemes
            .iter()
            .take_while(|(length, _)| {
                at += length;
                at <= self.cursor
            })
            .count();
        let mut cursor: usize = graphemes[..before].iter().map(|(_, wide)| wide).sum();
        let mut first = 0;
        // The cursor itself takes a column.
        while first < before && cursor >= columns {
            cursor -= graphemes[first].1;
            first += 1;
        }
        let mut used = 0;
        let fits = graphemes[first..]
            .iter()
            .take_while(|(_, wide)| {
                used += wide;
                used <= columns
            })
            .count();
        let bytes = |graphemes: &[(usize, usize)]| graphemes.iter().map(|(length, _)| length).sum::<usize>();
        let from = bytes(&graphemes[..first]);
        let shown = &self.text[from..from + bytes(&graphemes[first..first + fits])];
        (shown.replace('\n', "⏎").replace('\t', "→"), cursor)
    }

    fn show(&mut self, text: String) {
        (self.cursor, self.text) = (text.len(), text);
    }

    fn remove_back_to(&mut self, from: usize) {
        self.text.replace_range(from..self.cursor, "");
        self.cursor = from;
        self.settle();
    }

    /// Move the cursor to the end of its grapheme: an edit may have joined two, such as a mark and its base.
    fn settle(&mut self) {
        self.cursor = self.boundaries().find(|at| *at >= self.cursor).unwrap_or(self.text.len());
    }

    /// Bytes and columns of each grapheme. A line break and a tab take one column each.
    fn graphemes(&self) -> Vec<(usize, usize)> {
        let mut graphemes = Vec::new();
        for part in self.text.split_inclusive(['\n', '\t']) {
            let words = part.trim_end_matches(['\n', '\t']);
            let of_words = Span::raw(words);
            let of_words = of_words.styled_graphemes(Style::new());
            graphemes.extend(of_words.map(|grapheme| (grapheme.symbol.len(), width(grapheme.symbol))));
            graphemes.extend((words.len()..part.len()).map(|_| (1, 1)));
        }
        graphemes
    }

    fn boundaries(&self) -> impl Iterator<Item = usize> + use<> {
        let mut at = 0;
        std::iter::once(0).chain(self.graphemes().into_iter().map(move |(length, _)| {
            at += length;
            at
        }))
    }

    fn before(&self) -> usize {
        self.boundaries().take_while(|at| *at < self.cursor).last().unwrap_or(0)
    }

    fn after(&self) -> usize {
        self.grapheme_end(self.cursor)
    }

    fn grapheme_end(&self, start: usize) -> usize {
        self.boundaries().find(|at| *at > start).unwrap_or(self.text.len())
    }

    fn word_before(&self) -> usize {
        self.text[..self.cursor].trim_end().rfind(BLANKS).map_or(0, |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn editor(text: &str) -> Editor {
        let mut editor = Editor::default();
        editor.insert(text);
        editor
    }

    #[test]
    fn graphemes_are_moved_over_and_removed_whole() {
        let mut line = editor("a👩‍👩‍👧‍👦é日");
        for rest in ["a👩‍👩‍👧‍👦é", "a👩‍👩‍👧‍👦", "a", "", ""] {
            line.backspace();
            assert_eq!(line.text(), rest);
        }
        let mut line = editor("x🇩🇪y");
        line.left();
        line.left();
        line.delete();
        assert_eq!((line.text(), line.cursor), ("xy", 1));
    }

    #[test]
    fn a_mark_that_joins_its_base_takes_the_cursor_along() {
        let mut line = editor("e");
        line.insert("\u{301}");
        line.backspace();
        assert_eq!(line.text(), "");
    }

    #[test]
    fn words_starts_and_ends() {
        let mut line = editor("one two  three");
        line.delete_word();
        assert_eq!(line.text(), "one two  ");
        line.delete_word();
        assert_eq!(line.text(), "one ");
        line.insert("more");
        line.word_left();
        line.delete_to_end();
        assert_eq!(line.text(), "one ");
        line.home();
        line.word_right();
        assert_eq!(line.cursor, 3);
        line.delete_to_start();
        assert_eq!((line.text(), line.cursor), (" ", 0));
    }

    #[test]
    fn history_comes_and_the_draft_comes_back() {
        let mut line = editor("first");
        line.take();
        line.insert("second");
        line.take();
        line.insert("draft");
        line.up();
        line.up();
        line.up();
        assert_eq!(line.text(), "first");
        line.down();
        assert_eq!(line.text(), "second");
        line.down();
        assert_eq!(line.text(), "draft");
        line.down();
        assert_eq!(line.text(), "draft");
    }

    #[test]
    fn pasted_lines_keep_their_breaks_and_lose_their_escapes() {
        // Terminals paste a carriage return for the end of a line.
        let mut line = editor("  one\r\ttwo\r\n\u{1b}[A");
        assert_eq!(line.text(), "  one\n\ttwo\n[A");
        assert_eq!(line.window(80), ("  one⏎→two⏎[A".into(), 13));
        (0..6).for_each(|_| line.backspace());
        assert_eq!(line.text(), "  one\n\t");
        line.backspace();
        line.left();
        line.delete();
        assert_eq!((line.text(), line.cursor), ("  one", 5));
    }

    #[test]
    fn the_window_keeps_the_cursor_and_never_splits_wide_characters() {
        let mut line = editor("日本語の長い文");
        assert_eq!(line.window(20), ("日本語の長い文".into(), 14));
        assert_eq!(line.window(9), ("の長い文".into(), 8));
        line.home();
        assert_eq!(line.window(5), ("日本".into(), 0));
        line.right();
        assert_eq!(line.window(2), ("本".into(), 0));
    }
}
