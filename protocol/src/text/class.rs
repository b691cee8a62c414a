//! Classes of characters: what the rule of visible text needs to know of one.
//!
//! Why a table of our own: Unicode's categories do not say which characters are blank or carry hidden data.
//! Not here: which character has which class (`class_table`), what may follow what (`scan`).

/// What the rule of visible text knows of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Seen, and of no effect on what follows.
    Visible,
    /// Never in a text: a control, an override of the direction, a filler, unassigned, for private use.
    Hidden,
    /// White space, seen as a distance.
    Space,
    /// A mark on a letter, such as an accent.
    Mark,
    /// A mark of a script that puts several on one letter.
    DeepMark,
    /// An emoji or a picture, or a place that Unicode keeps for one.
    Pictograph,
    /// A letter of a script that needs joiners: Arabic, Devanagari, Mongolian and others.
    Joining,
    /// A Han ideograph.
    Han,
    /// U+200C and U+200D.
    Joiner,
    /// U+FE0E and U+FE0F: text or picture.
    EmojiSelector,
    /// A variant of an ideograph.
    HanSelector,
    /// A variant of a Mongolian letter.
    MongolianSelector,
    /// A tag: part of the flags of England, Scotland and Wales.
    Tag,
    /// U+200E, U+200F and U+061C, which people type in texts of both directions.
    DirectionMark,
}
