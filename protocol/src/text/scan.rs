//! A scan of one text: which characters may stand where, by what stands before them.
//!
//! Why a state machine: joiners, selectors, marks and tags belong to some texts and hide something in others,
//! and only their neighbours tell which. The check and the mending of a text are the same scan.
//! Invariants: a character that is not taken leaves the state as it was; no step looks back.
//! Not here: line ends and tabs, which texts may have and names may not (`super`).

use super::class::Class;

/// How many marks one letter may carry, by weight: an accent weighs 2, a mark of a script that needs several
/// weighs 1. Four accents are more than any spelling has; a Tibetan or Hebrew letter may carry six.
const MARKS_WEIGHT_MAX: u8 = 8;

/// How many joiners one emoji may have: the longest that Unicode recommends have three.
const JOINS_MAX: u8 = 7;

/// What follows the black flag in the flags of England, Scotland and Wales.
const FLAGS: [&str; 3] = [
    "\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

/// What came before the next character.
pub(super) struct Scan {
    /// May marks of direction stand here: in a text that has a letter written from right to left.
    takes_direction_marks: bool,
    /// The last character that is not a mark, selector or joiner, and its class.
    base: char,
    before: Class,
    /// Weight of the marks on it.
    marks: u8,
    /// Something without width came after it, of which there is one.
    is_selected: bool,
    /// Joiners of the emoji so far.
    joins: u8,
    /// Tags of a flag still to come.
    tags: u8,
}

impl Scan {
    /// Before a text that may have marks of direction, or none.
    pub(super) fn new(takes_direction_marks: bool) -> Scan {
        Scan {
            takes_direction_marks,
            base: ' ',
            before: Class::Space,
            marks: 0,
            is_selected: false,
            joins: 0,
            tags: 0,
        }
    }

    /// May this character stand here, before `rest`?
    #[inline]
    pub(super) fn take(&mut self, c: char, rest: &str) -> bool {
        self.take_of(c, Class::of(c), rest)
    }

    /// As [`Self::take`], for a caller that has looked the class up.
    #[inline]
    pub(super) fn take_of(&mut self, c: char, class: Class, rest: &str) -> bool {
        match class {
            class @ (Class::Visible | Class::Space | Class::Han | Class::Joining) => {
                self.begin(c, class);
                true
            }
            Class::Hidden => false,
            class => self.take_rare(c, class, rest),
        }
    }

    /// A line end or a tab.
    pub(super) fn take_break(&mut self) {
        self.begin(' ', Class::Space);
    }

    #[inline]
    fn begin(&mut self, c: char, class: Class) {
        (self.base, self.before) = (c, class);
        (self.marks, self.is_selected, self.joins) = (0, false, 0);
    }

    fn take_rare(&mut self, c: char, class: Class, rest: &str) -> bool {
        match class {
            Class::Mark => self.take_mark(2),
            Class::DeepMark => {
                let is_taken = self.take_mark(1);
                if is_taken {
                    self.before = Class::DeepMark;
                }
                is_taken
            }
            Class::Pictograph => {
                let joins = self.joins;
                self.begin(c, class);
                // The joiner before it, if there is one, was taken because of it.
                self.joins = joins;
                self.tags = if c == '\u{1f3f4}' && FLAGS.iter().any(|f| rest.starts_with(f)) { 6 } else { 0 };
                true
            }
            Class::Tag if self.tags > 0 => {
                self.tags -= 1;
                true
            }
            Class::Joiner => self.joins(c, rest) && self.select(),
            Class::EmojiSelector => {
                let is_keycap = self.base.is_ascii_digit() || matches!(self.base, '#' | '*');
                (is_keycap || self.before == Class::Pictograph) && self.select()
            }
            Class::HanSelector => {
                let is_dotted = c == '\u{fe00}' && self.before == Class::Joining;
                (is_dotted || self.before == Class::Han) && self.select()
            }
            Class::MongolianSelector => ('\u{1800}'..='\u{18af}').contains(&self.base) && self.select(),
            Class::DirectionMark => self.takes_direction_marks && self.select(),
            _ => false,
        }
    }

    fn take_mark(&mut self, weight: u8) -> bool {
        let is_light = self.marks + weight <= MARKS_WEIGHT_MAX;
        if is_light {
            self.marks += weight;
            self.is_selected = false;
        }
        is_light
    }

    /// One thing without width may follow a character, and one more behind a mark or a picture's selector.
    fn select(&mut self) -> bool {
        !std::mem::replace(&mut self.is_selected, true)
    }

    /// May this joiner stand here?
    fn joins(&mut self, c: char, rest: &str) -> bool {
        let next = rest.chars().next().map(Class::of);
        match self.before {
            Class::Pictograph if c == '\u{200d}' && next == Some(Class::Pictograph) => {
                self.joins += 1;
                // A heart with its selector is joined as well.
                self.is_selected = false;
                self.joins <= JOINS_MAX
            }
            Class::Joining | Class::DeepMark => {
                c == '\u{200d}' || matches!(next, Some(Class::Joining | Class::DeepMark))
            }
            _ => false,
        }
    }
}

/// Is a character written from right to left: Hebrew, Arabic, Syriac, Thaana, N'Ko, Adlam and others?
pub(super) fn is_right_to_left(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{61b}' | '\u{61d}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}
