//! Properties of the rules, over generated input: what they accept survives a batch, the first check that
//! fails decides, and a lower limit never accepts more.
//!
//! Not here: that client, edge and shard give the same verdicts (the edge's tests: `verdicts`).

use grandstand_protocol::batch::*;
use grandstand_protocol::limits::*;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::{self, Content};
use proptest::prelude::*;

/// Strings about which the rules disagree: control characters, white space of several scripts, emoji, and
/// lengths around each limit.
fn string() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        6 => proptest::char::range('a', 'z'),
        2 => proptest::sample::select(vec!['\n', '\t', ' ', '\u{3000}', '\u{a0}', 'é', '字', '🎉']),
        1 => proptest::sample::select(vec!['\0', '\r', '\u{1b}', '\u{7f}', '\u{85}']),
    ];
    let short = proptest::collection::vec(char, 0..12).prop_map(String::from_iter);
    let limits = vec![
        REACTION_KEY_BYTES_MAX,
        NAME_BYTES_MAX,
        ROOM_NAME_BYTES_MAX,
        ATTACHMENT_BYTES_MAX,
        TEXT_BYTES_MAX,
    ];
    let long = (proptest::sample::select(limits), 0..3usize, proptest::sample::select(vec!["x", " ", "\0"]))
        .prop_map(|(limit, over, with)| with.repeat(limit - 1 + over));
    prop_oneof![8 => short, 1 => long, 2 => Just(String::new())]
}

fn is_control(c: char) -> bool {
    c.is_control()
}

/// The rule of names, in another way than the rules say it: by characters, and by what trimming leaves.
fn is_name(s: &str) -> bool {
    !s.is_empty() && !s.chars().any(is_control) && s.trim() == s
}

/// The verdict, in another way: all that is wrong with it, of which the first in the order of clause P-8.
fn verdict(c: &Content<'_>, text_bytes_max: usize) -> Result<(), Refusal> {
    let is_large =
        [(c.text, text_bytes_max), (c.attachment, ATTACHMENT_BYTES_MAX), (c.author, NAME_BYTES_MAX)]
            .iter()
            .any(|(s, max)| s.len() > *max);
    let is_blank = c.text.chars().all(char::is_whitespace) && c.attachment.is_empty();
    let is_bad = c.text.chars().any(|c| is_control(c) && c != '\n' && c != '\t')
        || [c.attachment, c.author].iter().any(|s| !s.is_empty() && !is_name(s));
    let wrong = [(is_large, Refusal::TooLarge), (is_blank, Refusal::Empty), (is_bad, Refusal::BadText)];
    wrong.iter().find(|(holds, _)| *holds).map_or(Ok(()), |(_, reason)| Err(*reason))
}

proptest! {
    /// Clause P-8.
    #[test]
    fn the_first_rule_that_is_broken_decides(
        (text, attachment, author) in (string(), string(), string()),
        bytes_max in prop_oneof![Just(TEXT_BYTES_MAX), 0..20usize],
    ) {
        let content = Content { text: &text, attachment: &attachment, author: &author };
        prop_assert_eq!(rules::check_content(&content, bytes_max), verdict(&content, bytes_max));
    }

    /// Clause L-3.
    #[test]
    fn names_are_within_their_limits_and_well_formed(s in string(), bytes_max in 0..200usize) {
        let room = rules::check_room_name(&s, bytes_max).is_ok();
        prop_assert_eq!(room, is_name(&s) && s.len() <= bytes_max.min(ROOM_NAME_BYTES_MAX));
        prop_assert_eq!(rules::is_display_name(&s), is_name(&s) && s.len() <= NAME_BYTES_MAX);
        prop_assert_eq!(rules::is_reaction_key(&s), is_name(&s) && s.len() <= REACTION_KEY_BYTES_MAX);
        let state = rules::check_state(&s, None, 0).is_ok();
        prop_assert_eq!(state, is_name(&s) && s.len() <= STATE_KEY_BYTES_MAX);
    }

    #[test]
    fn a_lower_limit_never_accepts_more(s in string(), value in proptest::collection::vec(any::<u8>(), 0..20), low in 0..20usize) {
        let content = Content { text: &s, ..Content::default() };
        if rules::check_content(&content, low).is_ok() {
            prop_assert_eq!(rules::check_content(&content, usize::MAX), Ok(()));
        }
        if rules::check_state(&s, Some(&value), low).is_ok() {
            prop_assert_eq!(rules::check_state(&s, Some(&value), usize::MAX), Ok(()));
        }
        if rules::check_room_name(&s, low).is_ok() {
            prop_assert_eq!(rules::check_room_name(&s, usize::MAX), Ok(()));
        }
    }

    /// Clause B-4: what a batch holds ends with NUL, so nothing that is accepted may hold one.
    #[test]
    fn what_is_accepted_survives_a_batch((text, attachment, author) in (string(), string(), string())) {
        let content = Content { text: &text, attachment: &attachment, author: &author };
        if rules::check_content(&content, TEXT_BYTES_MAX).is_err() {
            return Ok(());
        }
        let parts = MessageParts { text: &text, attachment: &attachment, author: &author, ..MessageParts::default() };
        let mut body = Vec::new();
        let mut writer = BatchWriter::begin(&mut body, 1, 1, false, false, 0);
        writer.chat(0, 0, 0);
        writer.message(&parts);
        writer.finish();
        let mut reader = BatchReader::new(&body).expect("a batch");
        let Ok(Some(Item::Message(m))) = reader.next_item() else { panic!("no message") };
        prop_assert_eq!((m.text, m.attachment, m.author), (&*text, &*attachment, &*author));
    }
}
