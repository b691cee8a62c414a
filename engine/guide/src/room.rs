//! Names of airings' rooms: made once, at first sight, and never again.
//!
//! Why not from the present content: a room whose name follows its show loses its people with every change.
//! Invariant: a name is valid as a room's and unique for channel, first start and mark.
//! Not here: which airing a room stays with (`align`).

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::model::Show;
use crate::time;

/// Bits of a mark: six letters of five bits.
const MARK_BITS: u32 = 30;

/// Bytes of a channel's part, so that a name has at most 128.
const CHANNEL_BYTES_MAX: usize = 80;

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The part of a room's name that stands for a channel.
pub fn channel_part(id: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    if !id.is_empty() && id.len() <= CHANNEL_BYTES_MAX && id.chars().all(is_plain) {
        return id.to_owned();
    }
    let kept: String =
        id.chars().map(|c| if is_plain(c) { c } else { '-' }).take(CHANNEL_BYTES_MAX - 7).collect();
    format!("{kept}~{}", letters(hash(&[id.as_bytes()])))
}

/// A hash of the content at first sight.
pub fn mark(channel: &str, show: &Show) -> u32 {
    hash(&[channel.as_bytes(), show.title.as_bytes(), show.sub_title.as_bytes(), show.episode.as_bytes()])
}

/// Another mark, for the second room of a channel whose show and first start are those of the first.
pub fn next_mark(mark: u32) -> u32 {
    (mark + 1) & ((1 << MARK_BITS) - 1)
}

/// `airing/<channel>/<first start>/<mark>`.
pub fn name(channel_part: &str, first_start: i64, mark: u32) -> String {
    format!("airing/{channel_part}/{}/{}", time::compact(first_start), letters(mark))
}

/// The parts of such a name.
pub fn parse(name: &str) -> Option<(&str, i64, u32)> {
    let mut parts = name.strip_prefix("airing/")?.split('/');
    let (channel, start, mark) = (parts.next()?, parts.next()?, parts.next()?);
    let mut number = 0;
    for letter in mark.bytes() {
        number = number << 5 | LETTERS.iter().position(|l| *l == letter)? as u32;
    }
    (parts.next().is_none() && mark.len() == 6).then_some((channel, time::parse_compact(start)?, number))
}

fn letters(mark: u32) -> String {
    (0..6).rev().map(|n| char::from(LETTERS[(mark >> (5 * n) & 31) as usize])).collect()
}

fn hash(parts: &[&[u8]]) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(0x6169_7269_6e67, 0x726f_6f6d);
    for part in parts {
        hasher.write(part);
        hasher.write_u8(0xff);
    }
    (hasher.finish() >> (64 - MARK_BITS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::rules::check_room_name;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_name_is_a_room_s_and_can_be_read(id in "\\PC{0,300}", start in 0_i64..7_000_000_000, title in "\\PC{0,9}") {
            let (part, mark) = (channel_part(&id), mark(&id, &Show { title, ..Show::default() }));
            let name = name(&part, start, mark);
            prop_assert!(check_room_name(&name, 128).is_ok(), "{name}");
            prop_assert_eq!(parse(&name), Some((part.as_str(), start, mark)));
        }
    }

    #[test]
    fn ids_that_differ_in_what_a_name_cannot_hold_have_different_parts() {
        assert_eq!(channel_part("bbc1.uk@HD"), "bbc1.uk@HD");
        assert_ne!(channel_part("bbc/1"), channel_part("bbc?1"));
        assert_eq!(parse("airing/a/20260101T000000Z/aaaaa"), None);
        assert_eq!(parse("airing/a/20260101T000000Z/aaaaa1"), None);
    }
}
