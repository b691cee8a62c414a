//! Tables that fit 80 columns: a column takes what it needs, the last one what is left.
//!
//! Why: people read a guide in a terminal, and a title must not break a line.
//! Invariant: no line is wider than [`WIDTH`] characters, none has control characters. Not here: what is
//! shown (`show`).

/// Characters of a line.
const WIDTH: usize = 80;

/// Lines of a table; every row has as many cells as the widths.
pub(crate) fn lines(widths: &[usize], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (n, cell) in row.iter().enumerate() {
            let is_last = n + 1 == row.len();
            let used = line.chars().count();
            let width =
                if is_last { WIDTH.saturating_sub(used) } else { widths.get(n).copied().unwrap_or(10) };
            let cell = cut(cell, width);
            line += &cell;
            if !is_last {
                line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// At most `width` characters, the last one of a longer text an ellipsis.
fn cut(text: &str, width: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= width {
        return text.chars().map(plain).collect();
    }
    let mut cut: String = text.chars().map(plain).take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let rows = vec![
            vec!["a".repeat(50), "b\x1b".to_owned(), "c".repeat(200)],
            vec!["é".into(), "x".into(), "y".into()],
        ];
        let text = lines(&[12, 5], &rows);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH && !line.contains('\x1b')), "{text}");
        assert_eq!(text.lines().last(), Some("é             x      y"));
    }
}
