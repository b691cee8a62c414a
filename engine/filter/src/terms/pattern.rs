//! Patterns of terms: a word or several, as runs of letters with their counts.
//!
//! Why runs: a reader takes "fuuuun" for "fun". Why counts: "rapping" is no "raping", so two letters are not
//! one, unless no word of the language has these two.
//! Invariants: a pattern has at least one letter, and a term with a `*` at an end at least two; a run's
//! neighbours are other letters.
//! Not here: where a pattern may begin and end in a text (`super`).

use crate::fold::{Unit, fold, is_letter, is_unspaced};
use crate::letters::merged;

/// Letters of a term, at most.
const LETTERS_MAX: usize = 120;

/// Equal letters of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PatternRun {
    pub(crate) c: char,
    pub(crate) count: u16,
    /// The term says that more of them are the same word.
    pub(crate) is_elastic: bool,
}

/// See the file's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) runs: Box<[PatternRun]>,
    /// Letters in all.
    pub(crate) letters: u32,
    /// How many cuts the term itself has: "two words" has one.
    pub(crate) cuts: u32,
    /// It may begin inside of a word.
    pub(crate) is_open_left: bool,
    /// It may end inside of a word.
    pub(crate) is_open_right: bool,
}

impl Pattern {
    /// Read a term: `*` at an end opens that end, and behind a letter it lets the letter be repeated.
    pub(crate) fn parse(term: &str) -> Result<Pattern, String> {
        let term = term.trim();
        let (is_open_left, rest) = term.strip_prefix('*').map_or((false, term), |rest| (true, rest));
        let (is_open_right, rest) = rest.strip_suffix('*').map_or((false, rest), |rest| (true, rest));
        let (mut units, mut turned): (Vec<Unit>, _) = (Vec::new(), Vec::new());
        fold(rest, &mut units, &mut turned);
        let mut runs: Vec<PatternRun> = Vec::new();
        let (mut letters, mut cuts, mut is_cut) = (0, 0, false);
        for unit in &units {
            if is_letter(unit.c) {
                letters += 1;
                cuts += u32::from(is_cut && letters > 1);
                is_cut = false;
                match runs.last_mut() {
                    Some(run) if run.c == unit.c => run.count += 1,
                    _ => runs.push(PatternRun { c: unit.c, count: 1, is_elastic: false }),
                }
            } else if unit.c == '*' {
                runs.last_mut().into_iter().for_each(|run| run.is_elastic = true);
            } else {
                is_cut = true;
            }
        }
        let first = runs.first().ok_or_else(|| format!("`{term}` has no letter or digit"))?;
        if letters < 2 && !is_unspaced(first.c) {
            return Err(format!("`{term}` has one letter, expected at least 2"));
        }
        if letters as usize > LETTERS_MAX {
            return Err(format!("a term of {letters} letters, expected at most {LETTERS_MAX}"));
        }
        Ok(Pattern { runs: runs.into(), letters, cuts, is_open_left, is_open_right })
    }

    /// One letter a run: what the automaton searches for.
    pub(crate) fn key(&self) -> String {
        self.runs.iter().map(|run| run.c).collect()
    }

    /// The same term with one letter for `i` and `l`.
    pub(crate) fn merged(&self) -> Pattern {
        let mut runs: Vec<PatternRun> = Vec::new();
        for run in &self.runs {
            match runs.last_mut() {
                Some(last) if last.c == merged(run.c) => {
                    (last.count, last.is_elastic) =
                        (last.count + run.count, last.is_elastic | run.is_elastic);
                }
                _ => runs.push(PatternRun { c: merged(run.c), ..*run }),
            }
        }
        Pattern { runs: runs.into(), ..self.clone() }
    }

    /// Its letters, each as often as it stands there.
    pub(crate) fn expanded(&self) -> impl Iterator<Item = char> + '_ {
        self.runs.iter().flat_map(|run| std::iter::repeat_n(run.c, usize::from(run.count)))
    }

    /// May so many equal letters stand for run `at`?
    pub(crate) fn fits(&self, at: usize, count: u32) -> bool {
        let run = &self.runs[at];
        let wanted = u32::from(run.count);
        if count <= wanted {
            return count == wanted;
        }
        // Numbers, and terms so short that their repetition is another word, are exact.
        if self.letters < 3 || run.c.is_numeric() {
            return run.is_elastic;
        }
        let is_first = at == 0 && count == 2;
        run.is_elastic || count > 2 || is_never_doubled(run.c) || is_first && is_single_at_first(run.c)
    }
}

/// Letters that English words do not double.
fn is_never_doubled(c: char) -> bool {
    matches!(c, 'a' | 'h' | 'i' | 'j' | 'q' | 'u' | 'v' | 'w' | 'x' | 'y')
}

/// Letters that no English word has twice at its beginning.
fn is_single_at_first(c: char) -> bool {
    c.is_ascii_lowercase() && !matches!(c, 'a' | 'e' | 'i' | 'l' | 'o' | 'u')
}
