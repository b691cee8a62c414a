//! The key bindings of the chat.
//!
//! Not here: the edited line (`editor`), its meaning (`command`).

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::{Action, Model};

/// Reactions at F1 to F4.
pub(super) const REACTIONS: [&str; 4] = ["❤", "👏", "😂", "🎉"];

impl Model {
    /// Handle a key. Returns the action that it asks for.
    pub(super) fn handle_key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.hint = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.handle_control_key(key.code);
        }
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter if alt => self.editor.insert("\n"),
            KeyCode::Enter => return self.handle_enter(),
            KeyCode::F(n @ 1..=4) => return self.handle_reaction(REACTIONS[usize::from(n) - 1]),
            KeyCode::PageUp => self.scroll(self.page()),
            KeyCode::PageDown => self.scroll(-self.page()),
            KeyCode::Esc => self.look_at_now(),
            KeyCode::Up => self.editor.up(),
            KeyCode::Down => self.editor.down(),
            KeyCode::Left if alt => self.editor.word_left(),
            KeyCode::Right if alt => self.editor.word_right(),
            KeyCode::Left => self.editor.left(),
            KeyCode::Right => self.editor.right(),
            KeyCode::Home => self.editor.home(),
            KeyCode::End => self.editor.end(),
            KeyCode::Backspace if alt => self.editor.delete_word(),
            KeyCode::Backspace => self.editor.backspace(),
            KeyCode::Delete => self.editor.delete(),
            KeyCode::Char(c) if !alt => self.editor.insert(c.encode_utf8(&mut [0; 4])),
            _ => {}
        }
        None
    }

    /// Handle a key with Ctrl, as readline does.
    fn handle_control_key(&mut self, code: KeyCode) -> Option<Action> {
        match code {
            KeyCode::Char('c') => return Some(Action::Quit),
            KeyCode::Char('d') if self.editor.text().is_empty() => return Some(Action::Quit),
            KeyCode::Char('d') => self.editor.delete(),
            KeyCode::Char('a') => self.editor.home(),
            KeyCode::Char('e') => self.editor.end(),
            KeyCode::Char('u') => self.editor.delete_to_start(),
            KeyCode::Char('k') => self.editor.delete_to_end(),
            KeyCode::Char('w') | KeyCode::Backspace => self.editor.delete_word(),
            // Some terminals send this for the backspace key.
            KeyCode::Char('h') => self.editor.backspace(),
            KeyCode::Char('p') => self.editor.up(),
            KeyCode::Char('n') => self.editor.down(),
            KeyCode::Left => self.editor.word_left(),
            KeyCode::Right => self.editor.word_right(),
            _ => {}
        }
        None
    }

    /// Insert pasted text.
    pub(super) fn handle_paste(&mut self, text: &str) {
        self.editor.insert(text);
    }

    fn handle_enter(&mut self) -> Option<Action> {
        let line = self.editor.text().to_owned();
        match self.handle_line(&line) {
            Ok(action) => {
                self.editor.take();
                self.look_at_now();
                action
            }
            // The line stays, to be put right.
            Err(hint) => {
                self.hint = Some(hint);
                None
            }
        }
    }

    fn handle_reaction(&mut self, key: &str) -> Option<Action> {
        self.handle_line(&format!("/react {key}")).unwrap_or_else(|hint| {
            self.hint = Some(hint);
            None
        })
    }

    /// Rows of a page. One row of the page before stays visible.
    fn page(&self) -> isize {
        self.view.1.saturating_sub(1).max(1) as isize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(model: &mut Model, code: KeyCode) -> Option<Action> {
        model.handle_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn type_line(model: &mut Model, line: &str) -> Option<Action> {
        for c in line.chars() {
            press(model, KeyCode::Char(c));
        }
        press(model, KeyCode::Enter)
    }

    #[test]
    fn typing_a_line_says_it_once() {
        let mut model = Model::new("show");
        let said = type_line(&mut model, "hello 日本");
        assert_eq!(said, Some(Action::Publish { text: "hello 日本".into(), reply_to: None }));
        assert_eq!(press(&mut model, KeyCode::Enter), None);
        press(&mut model, KeyCode::Up);
        assert_eq!(model.editor.text(), "hello 日本");
    }

    #[test]
    fn a_mistake_stays_on_the_line_with_a_hint_until_the_next_key() {
        let mut model = Model::new("show");
        assert_eq!(type_line(&mut model, "/dance"), None);
        assert_eq!(model.editor.text(), "/dance");
        assert!(model.hint.as_deref().unwrap().contains("/help"));
        press(&mut model, KeyCode::Backspace);
        assert_eq!((model.editor.text(), &model.hint), ("/danc", &None));
    }

    #[test]
    fn function_keys_react_and_the_line_stays() {
        let mut model = Model::new("show");
        model.link = super::super::model::Link::Up;
        press(&mut model, KeyCode::Char('x'));
        for (n, key) in REACTIONS.iter().enumerate() {
            let action = press(&mut model, KeyCode::F(n as u8 + 1));
            assert_eq!(action, Some(Action::React { key: (*key).into(), count: 1 }));
        }
        assert_eq!((press(&mut model, KeyCode::F(5)), model.editor.text()), (None, "x"));
    }

    #[test]
    fn control_c_leaves_at_once_and_control_d_only_an_empty_line() {
        let mut model = Model::new("show");
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(model.handle_key(control('d')), Some(Action::Quit));
        press(&mut model, KeyCode::Char('x'));
        assert_eq!(model.handle_key(control('d')), None);
        assert_eq!(model.handle_key(control('c')), Some(Action::Quit));
    }

    #[test]
    fn pasted_lines_are_not_sent_by_themselves() {
        let mut model = Model::new("show");
        model.handle_paste("  one\r\n\ttwo\r\n");
        assert_eq!(model.editor.text(), "  one\n\ttwo\n");
        assert!(model.pending.is_empty());
        let said = press(&mut model, KeyCode::Enter);
        assert_eq!(
            said,
            Some(Action::Publish { text: "  one\n\ttwo".into(), reply_to: None }),
            "in one message"
        );
    }

    #[test]
    fn alt_enter_begins_a_new_line() {
        let mut model = Model::new("show");
        press(&mut model, KeyCode::Char('a'));
        assert_eq!(model.handle_key(KeyEvent::new(KeyCode::Enter, KeyModifiers::ALT)), None);
        let said = type_line(&mut model, "b");
        assert_eq!(said, Some(Action::Publish { text: "a\nb".into(), reply_to: None }));
    }
}
