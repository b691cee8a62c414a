//! Rules: which room names, texts, attachments, authors, reaction keys and state keys are valid.
//!
//! Why one place: three sides check the same input. A client checks before it sends, so that an application
//! learns of a fault at once. An edge checks early and cheaply. A shard trusts no edge, since a NUL in a text
//! would break a batch for every viewer. All three call these functions, so their verdicts are equal.
//! Why these rules: names and texts end with NUL in a batch, reach terminals and logs, and are compared. So
//! they are visible text (`text`), and only texts may have the line feed and the tab that people type.
//!
//! The order of the checks is part of the protocol (clause P-8), so that one input always has one
//! refusal:
//!
//! 1. size (`TooLarge`): it costs one comparison, and it bounds the work of the later checks;
//! 2. presence (`Empty`);
//! 3. form (`BadText`).
//!
//! A room name has one refusal for all three: `BadName`.
//!
//! Invariants: a verdict depends on the arguments alone. A lower limit never accepts more.
//! Not here: what is visible (`text`), the numbers (`limits`), permissions, rates, slow mode and nonces
//! (edge, engine).

use crate::frame::{Act, ActKind, Category};
use crate::limits;
use crate::refusal::Refusal;
pub use crate::text::{is_name, is_text};

/// The parts of one publication that people wrote. Attachment and author are empty when absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content<'a> {
    /// The chat text.
    pub text: &'a str,
    /// A reference to an attachment: a name, or empty.
    pub attachment: &'a str,
    /// The display name of the author: a name, or empty for the session's own.
    pub author: &'a str,
}

/// Check the parts of one publication that people wrote. A server may allow only shorter texts than the
/// protocol; a `text_bytes_max` above the protocol's limit has no effect.
///
/// # Errors
/// `TooLarge`, `Empty` or `BadText`, in this order.
pub fn check_content(content: &Content<'_>, text_bytes_max: usize) -> Result<(), Refusal> {
    let Content { text, attachment, author } = *content;
    if text.len() > text_bytes_max.min(limits::TEXT_BYTES_MAX)
        || attachment.len() > limits::ATTACHMENT_BYTES_MAX
        || author.len() > limits::NAME_BYTES_MAX
    {
        return Err(Refusal::TooLarge);
    }
    if attachment.is_empty() && text.trim().is_empty() {
        return Err(Refusal::Empty);
    }
    let is_name_or_empty = |s: &str| s.is_empty() || is_name(s);
    if is_text(text) && is_name_or_empty(attachment) && is_name_or_empty(author) {
        Ok(())
    } else {
        Err(Refusal::BadText)
    }
}

/// Check the name of a room. A `bytes_max` above the protocol's limit has no effect.
///
/// # Errors
/// `BadName`.
pub fn check_room_name(name: &str, bytes_max: usize) -> Result<(), Refusal> {
    if name.len() <= bytes_max.min(limits::ROOM_NAME_BYTES_MAX) && is_name(name) {
        Ok(())
    } else {
        Err(Refusal::BadName)
    }
}

/// Check a key of a room's state and its value; `None` removes the key. A `value_bytes_max` above the
/// protocol's limit has no effect.
///
/// # Errors
/// `TooLarge` or `BadText`, in this order.
pub fn check_state(key: &str, value: Option<&[u8]>, value_bytes_max: usize) -> Result<(), Refusal> {
    let value_bytes_max = value_bytes_max.min(limits::STATE_VALUE_BYTES_MAX);
    if key.len() > limits::STATE_KEY_BYTES_MAX || value.is_some_and(|v| v.len() > value_bytes_max) {
        return Err(Refusal::TooLarge);
    }
    if is_name(key) { Ok(()) } else { Err(Refusal::BadText) }
}

/// Check an act: whether it has what its kind needs (M-9). Whether its sender may do it is another question.
///
/// # Errors
/// `TooLarge`, `Empty` or `BadText`, in this order.
pub fn check_act(act: &Act<'_>) -> Result<(), Refusal> {
    use ActKind as K;
    let is_timeout = act.act == K::Timeout;
    if act.text.len() > limits::ACT_TEXT_BYTES_MAX || is_timeout && act.seconds > limits::TIMEOUT_SECONDS_MAX
    {
        return Err(Refusal::TooLarge);
    }
    let lacks_target = act.target.is_none() && !matches!(act.act, K::Clear | K::Appeal);
    let lacks_text = matches!(act.act, K::Warn | K::Appeal) && act.text.trim().is_empty();
    let lacks_category = act.act == K::Report && act.category == Category::Other;
    if lacks_target || lacks_text || lacks_category || is_timeout && act.seconds == 0 {
        return Err(Refusal::Empty);
    }
    if is_text(act.text) { Ok(()) } else { Err(Refusal::BadText) }
}

/// Whether this is a valid display name: a name within its limit.
pub fn is_display_name(name: &str) -> bool {
    name.len() <= limits::NAME_BYTES_MAX && is_name(name)
}

/// Whether this is a valid key of a reaction: a name within its limit.
pub fn is_reaction_key(key: &str) -> bool {
    key.len() <= limits::REACTION_KEY_BYTES_MAX && is_name(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_refused() {
        assert!(is_text("two\nlines\tand a tab 🎉"));
        assert!(!is_text("a\0b") && !is_text("\x1b[2J") && !is_text("\r") && !is_text("\x7f"));
        assert!(is_name("BBC One/EastEnders"));
        assert!(!is_name("") && !is_name(" a") && !is_name("a\n"));
        assert!(!is_name("a\u{3000}") && !is_name("\u{a0}a") && is_name("a\u{3000}b"));
    }

    #[test]
    fn content_is_judged_by_size_presence_and_form() {
        let check =
            |text: &str, attachment: &str| check_content(&Content { text, attachment, author: "" }, 5);
        assert_eq!(check("hello", ""), Ok(()));
        assert_eq!(check("", "img:7"), Ok(()));
        assert_eq!(check(" \n", ""), Err(Refusal::Empty));
        assert_eq!(check("hello!", ""), Err(Refusal::TooLarge));
        assert_eq!(check("a", &"x".repeat(513)), Err(Refusal::TooLarge));
        assert_eq!(check("a\0b", ""), Err(Refusal::BadText));
        assert_eq!(check("a", "x\ny"), Err(Refusal::BadText));
        let by = |author: &str| check_content(&Content { text: "a", attachment: "", author }, 5);
        assert_eq!(by("Ann"), Ok(()));
        assert_eq!(by("a\tb"), Err(Refusal::BadText));
        assert_eq!(by(&"x".repeat(65)), Err(Refusal::TooLarge));
    }

    #[test]
    fn the_first_check_that_fails_decides() {
        let all_wrong = Content { text: "\0\0\0\0\0\0", attachment: "", author: "\0" };
        assert_eq!(check_content(&all_wrong, 5), Err(Refusal::TooLarge), "size before form");
        let blank = Content { text: "      ", ..Content::default() };
        assert_eq!(check_content(&blank, 5), Err(Refusal::TooLarge), "size before presence");
        let nobody = Content { text: " ", attachment: "", author: "\0" };
        assert_eq!(check_content(&nobody, 5), Err(Refusal::Empty), "presence before form");
        assert_eq!(check_state("\0", Some(b"1234"), 3), Err(Refusal::TooLarge));
    }

    #[test]
    fn an_act_has_what_its_kind_needs() {
        let whole = |act| Act {
            act,
            target: Some(1),
            seconds: 1,
            category: Category::Spam,
            text: "a",
            ..Act::default()
        };
        for &act in ActKind::ALL {
            assert_eq!(check_act(&whole(act)), Ok(()), "{act:?}");
            let needs_target = !matches!(act, ActKind::Clear | ActKind::Appeal);
            let lacks = Act { target: None, ..whole(act) };
            assert_eq!(check_act(&lacks).is_err(), needs_target, "{act:?}");
            let needs_text = matches!(act, ActKind::Warn | ActKind::Appeal);
            assert_eq!(check_act(&Act { text: " ", ..whole(act) }).is_err(), needs_text, "{act:?}");
            let of_nothing = Act { category: Category::Other, ..whole(act) };
            assert_eq!(check_act(&of_nothing).is_err(), act == ActKind::Report, "{act:?}");
            let is_timeout = act == ActKind::Timeout;
            assert_eq!(check_act(&Act { seconds: 0, ..whole(act) }).is_err(), is_timeout, "{act:?}");
            let too_long = Act { seconds: 1_209_601, ..whole(act) };
            assert_eq!(check_act(&too_long).is_err(), is_timeout, "{act:?}");
        }
        let long = "\0".repeat(501);
        let warn = |text| check_act(&Act { text, ..whole(ActKind::Warn) });
        assert_eq!(warn(&long), Err(Refusal::TooLarge));
        assert_eq!((warn("a\0"), warn("two\nlines")), (Err(Refusal::BadText), Ok(())));
    }

    #[test]
    fn names_and_keys_are_judged() {
        assert_eq!(check_room_name("BBC One/EastEnders", 128), Ok(()));
        assert_eq!(check_room_name("", 128), Err(Refusal::BadName));
        assert_eq!(check_room_name(&"x".repeat(129), usize::MAX), Err(Refusal::BadName));
        assert_eq!(check_room_name("four", 3), Err(Refusal::BadName));
        assert_eq!(check_state("score", Some(b"1:0"), 3), Ok(()));
        assert_eq!(check_state("score", Some(b"10:0"), 3), Err(Refusal::TooLarge));
        assert_eq!(check_state("", None, 3), Err(Refusal::BadText));
        assert!(is_reaction_key("❤") && !is_reaction_key("") && !is_reaction_key(&"x".repeat(41)));
        assert!(is_display_name("Ann") && !is_display_name("") && !is_display_name(&"x".repeat(65)));
    }
}
