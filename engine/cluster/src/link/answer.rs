//! Answers to a claim, as one message or several.
//!
//! Why several: a promise carries every entry that its node showed and does not know to be kept. These may be
//! megabytes, and a message has a bound. A claim that went on without some of them would take back what
//! viewers saw.
//! Invariants: an answer is given out once all of its parts are there. Of each node at most one answer is
//! incomplete, and it has at most [`PARTS_MAX`] parts.
//! Not here: what an answer means (`seat`). A lost part is not asked for: the claim asks again.

use std::collections::BTreeMap;

use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;

use super::fault::{Malformed, TooLong};
use super::pack::{Packer, kind};
use super::table::{self, Kind, NEEDS};
use super::unpack;
use super::{FRAME_BYTES, VERSION, down, pack};
use crate::generated as fb;
use crate::id::{NodeId, Term};
use crate::seat::{Answer, AnswerVerdict, ShownEntry};
use crate::time::PeerTime;

/// The most messages of one answer: twice what an owner may have unkept by default.
pub const PARTS_MAX: usize = 32;

/// The messages of an answer.
///
/// # Errors
/// If they would be more than [`PARTS_MAX`], or an entry does not fit into one.
pub fn encode_answer(answer: &Answer) -> Result<Vec<Bytes>, TooLong> {
    encode_answer_as(answer, VERSION)
}

/// The messages of an answer, written by a version that its receiver reads.
///
/// # Errors
/// See [`encode_answer`].
pub fn encode_answer_as(answer: &Answer, version: u16) -> Result<Vec<Bytes>, TooLong> {
    let Answer { from: _, term: _, asked: _, verdict } = answer;
    let mut parts = vec![Packer::default()];
    if let AnswerVerdict::Promised(entries) = verdict {
        for entry in entries {
            let mut packer = parts.last_mut().expect("there is a first part");
            if !packer.bytes().is_empty() && packer.bytes().len() + entry.bytes.len() > FRAME_BYTES {
                parts.push(Packer::default());
                packer = parts.last_mut().expect("just pushed");
            }
            down::pack_entry(entry, packer);
            packer.finish(kind::down::ENTRY);
        }
    }
    if parts.len() > PARTS_MAX {
        let bytes = parts.iter().map(|part| part.bytes().len()).sum();
        return Err(TooLong { what: "a promise with its entries", bytes });
    }
    let count = parts.len() as u16;
    let encode = |(part, number)| encode_part(answer, version, part, (number, count));
    parts.iter().zip(0..).map(encode).collect()
}

fn encode_part(
    answer: &Answer,
    version: u16,
    part: &pack::Packer,
    (number, parts): (u16, u16),
) -> Result<Bytes, TooLong> {
    let (verdict, hears, old_term) = match &answer.verdict {
        AnswerVerdict::Promised(_) => (fb::Verdict::Promised, 0, 0),
        AnswerVerdict::Hears(node) => (fb::Verdict::Hears, node.0, 0),
        AnswerVerdict::NotReady => (fb::Verdict::NotReady, 0, 0),
        AnswerVerdict::OldTerm(term) => (fb::Verdict::OldTerm, 0, term.0),
    };
    table::encode(Kind::Answer, |fbb: &mut FlatBufferBuilder<'_>| {
        let entries = fbb.create_vector(part.bytes());
        let args = fb::AnswerArgs {
            version,
            needs: NEEDS,
            from: answer.from.0,
            term: answer.term.0,
            asked: answer.asked.0,
            verdict,
            hears,
            old_term,
            entries: Some(entries),
            part: number,
            parts,
        };
        fb::Answer::create(fbb, &args)
    })
}

/// One message of an answer.
#[derive(Debug)]
struct Part {
    answer: Answer,
    number: u16,
    parts: u16,
}

fn decode_part(bytes: &[u8]) -> Result<Part, Malformed> {
    let t = table::open::<fb::Answer<'_>>(Kind::Answer, bytes)?;
    table::check_version(t.version(), t.needs())?;
    let verdict = match t.verdict() {
        fb::Verdict::Promised => {
            let packed = t.entries().map(|entries| entries.bytes()).unwrap_or_default();
            // An entry of a kind that this release does not know must not be dropped from a log.
            let (entries, passed_over) = unpack::items(packed, down::take_entry)?;
            if passed_over > 0 {
                return Err(Malformed::Field("entries of a known kind"));
            }
            AnswerVerdict::Promised(entries)
        }
        fb::Verdict::Hears => AnswerVerdict::Hears(NodeId(t.hears())),
        fb::Verdict::NotReady => AnswerVerdict::NotReady,
        fb::Verdict::OldTerm => AnswerVerdict::OldTerm(Term(t.old_term())),
        _ => return Err(Malformed::Field("a verdict")),
    };
    let (number, parts) = (t.part(), t.parts());
    if number >= parts || usize::from(parts) > PARTS_MAX {
        return Err(Malformed::Field("the number of a part below their count"));
    }
    let answer = Answer { from: NodeId(t.from()), term: Term(t.term()), asked: PeerTime(t.asked()), verdict };
    Ok(Part { answer, number, parts })
}

/// Puts the parts of answers together, for one shard.
#[derive(Debug, Default)]
pub struct AnswerParts {
    by_node: BTreeMap<NodeId, Incomplete>,
}

/// The parts of one answer that came so far.
#[derive(Debug)]
struct Incomplete {
    term: Term,
    asked: PeerTime,
    parts: u16,
    entries: BTreeMap<u16, Vec<ShownEntry>>,
}

impl AnswerParts {
    /// A message came. Returns the answer that is complete by it, if one is.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        let Part { mut answer, number, parts } = decode_part(bytes)?;
        let Answer { from, term, asked, verdict } = &mut answer;
        let AnswerVerdict::Promised(entries) = verdict else { return Ok(Some(answer)) };
        if parts == 1 {
            self.by_node.remove(from);
            return Ok(Some(answer));
        }
        let begin = || Incomplete { term: *term, asked: *asked, parts, entries: BTreeMap::new() };
        let known = self.by_node.entry(*from).or_insert_with(begin);
        if (known.term, known.asked, known.parts) != (*term, *asked, parts) {
            // A later question has replaced the earlier one.
            if (*term, *asked) < (known.term, known.asked) {
                return Ok(None);
            }
            *known = begin();
        }
        known.entries.insert(number, std::mem::take(entries));
        if known.entries.len() < usize::from(parts) {
            return Ok(None);
        }
        let known = self.by_node.remove(from).expect("it was there");
        *entries = known.entries.into_values().flatten().collect();
        Ok(Some(answer))
    }
}
