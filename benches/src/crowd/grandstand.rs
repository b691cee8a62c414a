//! Grandstand's own talk: `Hello`, `Subscribe`, batches.
//!
//! Invariant: a position moves only as docs/PROTOCOL.md (A) says; what a frame skips without a notice is
//! lost, what comes below the position is a duplicate, unless it was counted as lost before: then it is late.
//! Not here: reconnecting and resuming (the client's tests, `gs load`).

use super::canon::{Parsed, hash};
use super::talk::{Place, Seat, Stage, Talk, Upgrade};
use crate::publisher::due_of;
use anyhow::{Context, Result, bail};
use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Kind, ServerFrame, Subscribe, Subscribed};
use grandstand_protocol::websocket::Opcode;
use std::collections::HashMap;

/// See the file's head.
#[derive(Default)]
pub(super) struct Grandstand {
    encoder: Encoder,
    buffer: Vec<u8>,
    /// Runs of offsets that a viewer seems to have lost: by viewer and room, from, to.
    lost: HashMap<(u32, u32), Vec<(u64, u64)>>,
}

impl Talk for Grandstand {
    fn upgrade(&self) -> Option<Upgrade> {
        Some(Upgrade { path: "/v1", subprotocol: Some("grandstand.v1") })
    }

    fn open(&mut self, seat: &mut Seat, stage: &mut Stage) -> Result<()> {
        self.say(stage, &ClientFrame::Hello(Hello { agent: "grandstand-bench", ..Hello::default() }));
        for (n, place) in seat.places.iter().enumerate() {
            let room = stage.rooms[place.room as usize].clone();
            let request = n as u32 + 1;
            let subscribe = Subscribe { request, room: &room, resume: None, replay: stage.replay };
            self.say(stage, &ClientFrame::Subscribe(subscribe));
        }
        Ok(())
    }

    fn hear(&mut self, seat: &mut Seat, _: Opcode, payload: &[u8], stage: &mut Stage) -> Result<()> {
        if payload.first() == Some(&(Kind::Batch as u8)) {
            return self.batch(seat, payload, stage);
        }
        stage.tally.other_frames += 1;
        match ServerFrame::decode(payload) {
            Ok(ServerFrame::Subscribed(subscribed)) => begin(seat, &subscribed),
            Ok(ServerFrame::Gap(gap)) => {
                let place = place_of(&mut seat.places, gap.alias).context("a gap of a room not followed")?;
                place.next = gap.to;
                stage.tally.gaps += 1;
                stage.tally.omitted += gap.count;
                Ok(())
            }
            Ok(ServerFrame::Refused(refused)) => {
                bail!("refused: {} {}", refused.reason.text(), refused.detail)
            }
            Ok(ServerFrame::Error(error)) => bail!("closed with code {}: {}", error.code, error.detail),
            Ok(ServerFrame::Unsubscribed { .. }) => bail!("the server ended the subscription"),
            Ok(_) => Ok(()),
            Err(fault) if fault.is_ignorable() => Ok(()),
            Err(fault) => bail!("{fault}"),
        }
    }

    fn keep_alive(&mut self, _: &mut Seat, stage: &mut Stage) -> Result<()> {
        self.say(stage, &ClientFrame::Ping { client_us: stage.now_ns / 1_000 });
        Ok(())
    }
}

impl Grandstand {
    fn say(&mut self, stage: &mut Stage, frame: &ClientFrame<'_>) {
        self.buffer.clear();
        self.encoder.client(frame, &mut self.buffer);
        stage.say(Opcode::Binary, &self.buffer);
    }

    #[inline]
    fn batch(&mut self, seat: &mut Seat, frame: &[u8], stage: &mut Stage) -> Result<()> {
        let alias = alias_of(&frame[1..]).context("a batch without an alias")?;
        let number = seat.number;
        let place = place_of(&mut seat.places, alias).context("a batch of a room not followed")?;
        let (now_ns, tally) = (stage.now_ns, &mut stage.tally);
        if let Some(next) = stage.canon.meet(place.room, place.next, frame, now_ns, tally) {
            place.next = next;
        } else if stage.canon.meet_side(place.room, frame) {
            tally.other_frames += 1;
        } else {
            self.new_batch(number, place, frame, stage)?;
        }
        Ok(())
    }

    /// A batch that no viewer has had at this place.
    fn new_batch(&mut self, viewer: u32, place: &mut Place, frame: &[u8], stage: &mut Stage) -> Result<()> {
        let reader = BatchReader::new(&frame[1..])?;
        if !reader.has_chat() {
            whole(reader)?;
            stage.canon.learn_side(place.room, frame);
            stage.tally.other_frames += 1;
            return Ok(());
        }
        if reader.check() != place.next as u8 {
            let begins = stage.canon.place_of(place.room, frame);
            let begins = begins.unwrap_or_else(|| nearest(place.next, reader.check()));
            if begins < place.next {
                self.late(viewer, place, begins, reader.count(), stage);
                return Ok(());
            }
            self.skipped(viewer, place, begins, stage);
        }
        let parsed = parse(place, reader, stage)?;
        let next = parsed.next;
        let (now_ns, tally) = (stage.now_ns, &mut stage.tally);
        stage.canon.learn(place.room, place.next, frame, &parsed, now_ns, tally);
        place.next = next;
        Ok(())
    }

    fn skipped(&mut self, viewer: u32, place: &mut Place, begins: u64, stage: &mut Stage) {
        stage.tally.lost += begins - place.next;
        stage.tally.fault(|| format!("offsets {} to {begins} did not come", place.next));
        self.lost.entry((viewer, place.room)).or_default().push((place.next, begins));
        place.next = begins;
    }

    fn late(&mut self, viewer: u32, place: &Place, begins: u64, count: u64, stage: &mut Stage) {
        let runs = self.lost.entry((viewer, place.room)).or_default();
        if let Some(at) = runs.iter().position(|&(from, to)| from <= begins && begins + count <= to) {
            let (from, to) = runs.swap_remove(at);
            runs.extend([(from, begins), (begins + count, to)].into_iter().filter(|(from, to)| from < to));
            stage.tally.lost = stage.tally.lost.saturating_sub(count);
            stage.tally.out_of_order += count;
        } else {
            stage.tally.duplicated += count;
        }
        stage.tally.fault(|| format!("offset {begins} came when {} was expected", place.next));
    }
}

fn begin(seat: &mut Seat, subscribed: &Subscribed) -> Result<()> {
    let index = (subscribed.request as usize).checked_sub(1).context("an answer that nobody asked for")?;
    let place = seat.places.get_mut(index).context("an answer that nobody asked for")?;
    (place.alias, place.next, place.is_open) = (subscribed.alias, subscribed.offset, true);
    seat.is_joined = seat.places.iter().all(|place| place.is_open);
    Ok(())
}

#[inline]
fn place_of(places: &mut [Place], alias: u32) -> Option<&mut Place> {
    places.iter_mut().find(|place| place.alias == alias && place.is_open)
}

/// The unsigned LEB128 at the start of a body.
#[inline]
fn alias_of(body: &[u8]) -> Option<u32> {
    let mut alias = 0u64;
    for (n, byte) in body.iter().take(5).enumerate() {
        alias |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return u32::try_from(alias).ok();
        }
    }
    None
}

/// The offset with this low byte that is nearest to the one expected.
fn nearest(expected: u64, check: u8) -> u64 {
    expected.saturating_add_signed(i64::from(check.wrapping_sub(expected as u8) as i8))
}

/// Reads to the end, so that a fault anywhere is found.
fn whole(mut reader: BatchReader<'_>) -> Result<()> {
    while reader.next_item()?.is_some() {}
    Ok(())
}

fn parse(place: &Place, mut reader: BatchReader<'_>, stage: &Stage) -> Result<Parsed> {
    let mut at = Position { epoch: 0, offset: place.next, time_ms: 0 };
    let mut parsed = Parsed::default();
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Message(message) => {
                let offset = at.message(&message);
                let due_ns = due_of(message.text).or_else(|| stage.due_ns(place.room, offset));
                parsed.omitted += message.skip;
                parsed.messages.push((offset, due_ns, hash((message.author, message.text, message.role))));
            }
            Item::Omitted(count) => {
                at.omitted(count);
                parsed.omitted += count;
            }
            _ => {}
        }
    }
    parsed.next = at.offset;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::batch::{BatchWriter, MessageParts};
    use smallvec::smallvec;

    fn frame(first: u64, texts: &[&str], omitted: u64) -> Vec<u8> {
        let mut out = vec![Kind::Batch as u8];
        let mut writer = BatchWriter::begin(&mut out, 300, texts.len(), false, false, omitted);
        writer.chat(first, 0, omitted);
        for text in texts {
            writer.message(&MessageParts { author: "a", text, ..MessageParts::default() });
        }
        writer.finish();
        out
    }

    /// What viewers make of frames, each of which is given to one of them.
    fn hear(frames: &[(usize, Vec<u8>)]) -> (Vec<u64>, Stage) {
        let (mut talk, mut stage) = (Grandstand::default(), Stage::default());
        let place = Place { room: 0, alias: 300, next: 250, is_open: true };
        let mut seats: Vec<Seat> =
            (0..3).map(|number| Seat { number, places: smallvec![place], ..Seat::default() }).collect();
        for (seat, bytes) in frames {
            talk.hear(&mut seats[*seat], Opcode::Binary, bytes, &mut stage).unwrap();
        }
        stage.canon.flush(&mut stage.tally);
        (seats.iter().map(|seat| seat.places[0].next).collect(), stage)
    }

    #[test]
    fn viewers_with_equal_frames_are_at_the_same_place() {
        let (a, b) = (frame(250, &["x", "y"], 0), frame(252, &["z"], 4));
        let (next, stage) =
            hear(&[(0, a.clone()), (1, a), (0, b.clone()), (1, b), (2, frame(250, &["x"], 0))]);
        assert_eq!(next, [257, 257, 251]);
        let t = &stage.tally;
        assert_eq!((t.frames, t.deliveries, t.omitted), (5, 7, 8));
        assert_eq!((t.lost, t.duplicated, t.out_of_order, t.wrong), (0, 0, 0, 0));
    }

    #[test]
    fn a_frame_left_out_is_lost_and_late_when_it_comes_and_a_duplicate_when_it_comes_again() {
        let (a, b) = (frame(250, &["x", "y"], 0), frame(252, &["z"], 0));
        let (_, stage) = hear(&[(0, b.clone())]);
        assert_eq!((stage.tally.lost, stage.tally.deliveries), (2, 1));
        let (next, stage) = hear(&[(0, b), (0, a.clone()), (0, a)]);
        let t = &stage.tally;
        assert_eq!((t.lost, t.out_of_order, t.duplicated, next[0]), (0, 2, 2, 253));
    }

    #[test]
    fn another_text_at_the_same_offset_is_wrong() {
        let (_, stage) = hear(&[(0, frame(250, &["x"], 0)), (1, frame(250, &["y"], 0))]);
        assert_eq!(stage.tally.wrong, 1);
    }

    #[test]
    fn tallies_move_nobody_and_are_parsed_once() {
        let mut tallies = vec![Kind::Batch as u8];
        let mut writer = BatchWriter::begin(&mut tallies, 300, 0, true, false, 0);
        writer.tallies(1);
        writer.tally("x", 9);
        writer.finish();
        let (next, stage) = hear(&[(0, tallies.clone()), (1, tallies)]);
        assert_eq!((next[0], stage.tally.other_frames, stage.tally.frames), (250, 2, 0));
    }

    #[test]
    fn offsets_nearest_to_the_expected_one() {
        assert_eq!((nearest(250, 4), nearest(260, 250), nearest(3, 255)), (260, 250, 0));
        assert_eq!((alias_of(&[0xac, 0x02, 9]), alias_of(&[0x80]), alias_of(&[])), (Some(300), None, None));
    }
}
