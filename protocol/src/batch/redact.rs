//! Redaction: a batch without the messages that were removed from it.
//!
//! Why tombstones: the offsets of a batch stay as they are, so positions, replies and the numbers of later
//! messages hold, and a reader can tell what was removed from what pacing left out.
//! Invariants: what is not removed is copied unchanged, state and tallies included. Redacting twice changes
//! nothing.
//! Not here: what is removed (`removal`, the engine).

use super::{BatchFault, BatchReader, BatchWriter, Item, Message, MessageParts};

/// Append the body to `out` with a tombstone in place of each message for which `is_removed` says so, given
/// its offset. `first_offset` is the first offset that the body covers. Returns how many were replaced; with
/// 0 nothing useful is in `out`, since the body is as it was.
///
/// # Errors
/// The body is not a batch.
pub fn redact(
    body: &[u8],
    first_offset: u64,
    out: &mut Vec<u8>,
    mut is_removed: impl FnMut(u64, &Message<'_>) -> bool,
) -> Result<u64, BatchFault> {
    let (mut tallies, mut omitted_after, mut state) = (0, 0, None);
    let mut survey = BatchReader::new(body)?;
    while let Some(item) = survey.next_item()? {
        match item {
            Item::Omitted(count) => omitted_after = count,
            Item::Tally { .. } => tallies += 1,
            Item::StateVersion(version) => state = Some((version, 0)),
            Item::State(_) => state = state.map(|(version, changes)| (version, changes + 1)),
            Item::Message(_) | Item::Removed(_) | Item::Act(_) => {}
        }
    }
    let mut reader = BatchReader::new(body)?;
    let count = reader.count() as usize;
    let mut writer =
        BatchWriter::begin(out, reader.alias(), count, tallies > 0, state.is_some(), omitted_after);
    if reader.has_chat() {
        writer.chat(first_offset, reader.time_delta_ms(), omitted_after);
    }
    let (mut replaced, mut offset) = (0, first_offset);
    let mut is_at_tallies = false;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Message(m) => {
                offset = offset.saturating_add(m.skip);
                if is_removed(offset, &m) {
                    replaced += 1;
                    writer.removed(m.skip);
                } else {
                    let Message { skip, role, author, text, attachment, reply_back, folded } = m;
                    writer.message(&MessageParts {
                        role,
                        author,
                        text,
                        attachment,
                        reply_back,
                        folded,
                        skip,
                    });
                }
                offset = offset.saturating_add(1);
            }
            Item::Removed(skip) => {
                writer.removed(skip);
                offset = offset.saturating_add(skip).saturating_add(1);
            }
            Item::Act(act) => {
                writer.act_again(&act);
                offset = offset.saturating_add(act.skip).saturating_add(1);
            }
            Item::Omitted(_) => {}
            Item::Tally { key, count } => {
                if !std::mem::replace(&mut is_at_tallies, true) {
                    writer.tallies(tallies);
                }
                writer.tally(key, count);
            }
            Item::StateVersion(version) => writer.state(state.map_or(0, |(_, changes)| changes), version),
            Item::State(change) => writer.change(change.key, change.value),
        }
    }
    writer.finish();
    Ok(replaced)
}
