//! Grandstand's own protocol: `Hello`, `Subscribe`, batches, publications and their answers.
//!
//! Invariant: a position moves only as docs/PROTOCOL.md (A) says, also over a resumed session. Messages that
//! a frame skips without a notice are lost. A message below the position is a duplicate, or late if it was
//! counted as lost before.
//! Not here: when clients connect again (the parent).

use super::context::Context;
use super::frame_cache::{Parsed, hash};
use super::protocol::{Client, Membership, Protocol, Publication, Role, Upgrade};
use crate::stamp::due_of;
use anyhow::{Context as _, Result, bail};
use grandstand_protocol::batch::{ActEntry, BatchReader, Item, Position};
use grandstand_protocol::frame::{
    ClientFrame, Encoder, Hello, Kind, Outcome, Publish, React, Refused, ServerFrame, Subscribe, Subscribed,
};
use grandstand_protocol::websocket::Opcode;
use std::collections::HashMap;

/// See the file's head.
#[derive(Default)]
pub(super) struct Grandstand {
    encoder: Encoder,
    buffer: Vec<u8>,
    /// Runs of offsets that a client seems to have lost: by client and room, from, to.
    lost: HashMap<(u32, u32), Vec<(u64, u64)>>,
}

impl Protocol for Grandstand {
    fn upgrade(&self, _: Role) -> Option<Upgrade> {
        Some(Upgrade { path: "/v1", subprotocol: Some("grandstand.v1") })
    }

    fn open(&mut self, client: &mut Client, context: &mut Context) -> Result<()> {
        let hello = Hello { agent: "grandstand-bench", ticket: &client.ticket, ..Hello::default() };
        self.say(context, &ClientFrame::Hello(hello));
        for (request, place) in (1..).zip(&client.rooms) {
            let room = context.rooms[place.room as usize].clone();
            let resume = (context.resumes && place.epoch > 0).then_some((place.epoch, place.next));
            let subscribe = Subscribe { request, room: &room, resume, ..Subscribe::default() };
            self.say(context, &ClientFrame::Subscribe(subscribe));
        }
        Ok(())
    }

    fn hear(&mut self, client: &mut Client, _: Opcode, payload: &[u8], context: &mut Context) -> Result<()> {
        if payload.first() == Some(&(Kind::Batch as u8)) {
            // A client that only publishes leaves the checks to viewers.
            return if client.role == Role::Publisher {
                Ok(())
            } else {
                self.batch(client, payload, context)
            };
        }
        let counts = &mut context.seen.counts;
        counts.other_frames += 1;
        match ServerFrame::decode(payload) {
            Ok(ServerFrame::Welcome(welcome)) if context.resumes => {
                (client.ticket, client.is_continued) = (welcome.ticket.into(), welcome.resumed);
                Ok(())
            }
            Ok(ServerFrame::Subscribed(subscribed)) => begin(client, &subscribed, context),
            Ok(ServerFrame::Gap(gap)) => {
                room_of(&mut client.rooms, gap.alias).context("a gap of a room not followed")?.next = gap.to;
                counts.gaps += 1;
                counts.omitted += gap.count;
                look_whether_joined(client);
                Ok(())
            }
            Ok(ServerFrame::Published(published)) => {
                let due_ns = answered(client, published.nonce);
                let accepted = (client.rooms[due_ns.map_or(0, |(_, room)| room)].room, published.offset);
                context.answered(due_ns.map(|(due_ns, _)| due_ns), Some(accepted));
                Ok(())
            }
            Ok(ServerFrame::Refused(refused)) => refuse(client, &refused, context),
            Ok(ServerFrame::Error(error)) => bail!("closed with code {}: {}", error.code, error.detail),
            Ok(ServerFrame::Unsubscribed { .. }) => bail!("the server ended the subscription"),
            Ok(ServerFrame::Pong { .. }) => {
                counts.pongs += 1;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(fault) if fault.is_ignorable() => Ok(()),
            Err(fault) => bail!("{fault}"),
        }
    }

    fn publish(&mut self, client: &mut Client, publication: &Publication<'_>, context: &mut Context) {
        let &Publication { room, text, author, role, due_ns } = publication;
        client.nonce += 1;
        client.unanswered.push_back((client.nonce, due_ns, room));
        let (alias, nonce) = (client.rooms[room].alias, client.nonce);
        let publish = Publish { alias, nonce, text, author, role, ..Publish::default() };
        self.say(context, &ClientFrame::Publish(publish));
    }

    fn react(&mut self, client: &mut Client, key: &str, count: u32, context: &mut Context) {
        self.say(context, &ClientFrame::React(React { alias: client.rooms[0].alias, key, count }));
    }

    fn keep_alive(&mut self, _: &mut Client, context: &mut Context) {
        let client_us = context.now_ns / 1_000;
        self.say(context, &ClientFrame::Ping { client_us });
    }
}

impl Grandstand {
    fn say(&mut self, context: &mut Context, frame: &ClientFrame<'_>) {
        self.buffer.clear();
        self.encoder.client(frame, &mut self.buffer);
        context.say(Opcode::Binary, &self.buffer);
    }

    #[inline]
    fn batch(&mut self, client: &mut Client, frame: &[u8], context: &mut Context) -> Result<()> {
        let alias = alias_of(&frame[1..]).context("a batch without an alias")?;
        let room = room_of(&mut client.rooms, alias).context("a batch of a room not followed")?;
        let (now_ns, seen) = (context.now_ns, &mut context.seen);
        if let Some((next, reactions)) = context.frames.find(room.room, room.next, frame, now_ns, seen) {
            room.next = next;
            client.reactions += reactions;
        } else if let Some(reactions) = context.frames.find_side(room.room, frame) {
            seen.counts.other_frames += 1;
            client.reactions += reactions;
        } else {
            client.reactions += self.new_batch(client.number, room, frame, context)?;
        }
        if !client.is_joined {
            look_whether_joined(client);
        }
        Ok(())
    }

    /// A batch that no client has had at this place: the reactions in it.
    fn new_batch(
        &mut self,
        client: u32,
        room: &mut Membership,
        frame: &[u8],
        context: &mut Context,
    ) -> Result<u64> {
        let reader = BatchReader::new(&frame[1..])?;
        if !reader.has_chat() {
            let reactions = parse(room, reader, context)?.reactions;
            context.frames.insert_side(room.room, frame, reactions);
            context.seen.counts.other_frames += 1;
            return Ok(reactions);
        }
        if reader.check() != room.next as u8 {
            let begins = context.frames.place_of(room.room, frame);
            let begins = begins.unwrap_or_else(|| nearest(room.next, reader.check()));
            if begins < room.next {
                self.late(client, room, begins, reader.count(), context);
                return Ok(0);
            }
            let counts = &mut context.seen.counts;
            counts.lost += begins - room.next;
            counts.fault(|| format!("offsets {} to {begins} did not come", room.next));
            self.lost.entry((client, room.room)).or_default().push((room.next, begins));
            room.next = begins;
        }
        let parsed = parse(room, reader, context)?;
        let (now_ns, seen) = (context.now_ns, &mut context.seen);
        context.frames.insert(room.room, room.next, frame, &parsed, now_ns, seen);
        room.next = parsed.next;
        Ok(parsed.reactions)
    }

    fn late(&mut self, client: u32, room: &Membership, begins: u64, count: u64, context: &mut Context) {
        let (runs, counts) = (self.lost.entry((client, room.room)).or_default(), &mut context.seen.counts);
        if let Some(at) = runs.iter().position(|&(from, to)| from <= begins && begins + count <= to) {
            let (from, to) = runs.swap_remove(at);
            runs.extend([(from, begins), (begins + count, to)].into_iter().filter(|(from, to)| from < to));
            counts.lost = counts.lost.saturating_sub(count);
            counts.out_of_order += count;
        } else {
            counts.duplicated += count;
        }
        counts.fault(|| format!("offset {begins} came when {} was expected", room.next));
    }
}

fn begin(client: &mut Client, subscribed: &Subscribed, context: &mut Context) -> Result<()> {
    let index = (subscribed.request as usize).checked_sub(1).context("an answer that nobody asked for")?;
    let room = client.rooms.get_mut(index).context("an answer that nobody asked for")?;
    let Subscribed { alias, epoch, offset, head, outcome, .. } = *subscribed;
    let counts = &mut context.seen.counts;
    if context.resumes && room.epoch > 0 {
        // A gap is told of next, and moves the place.
        let continues = outcome == Outcome::Gapped || (outcome == Outcome::Resumed && offset == room.next);
        counts.resumed += u64::from(continues && client.is_continued);
        room.head = head;
        if !continues {
            counts.lost += 1;
            counts.fault(|| format!("{outcome:?} at {offset}, expected {}", room.next));
            room.next = offset;
        }
    } else {
        room.next = offset;
    }
    (room.alias, room.epoch, room.is_open) = (alias, epoch, true);
    let known = &mut context.heads[room.room as usize];
    *known = (*known).max(head);
    look_whether_joined(client);
    Ok(())
}

/// A client that comes for the first time has joined with its subscriptions; one that returns, once it has
/// everything up to the heads of that time.
fn look_whether_joined(client: &mut Client) {
    client.is_joined = client.rooms.iter().all(|room| room.is_open && room.next >= room.head);
}

/// When the publication of this nonce was due, and in which of the client's rooms it is.
fn answered(client: &mut Client, nonce: u64) -> Option<(u64, usize)> {
    let at = client.unanswered.iter().position(|(known, ..)| *known == nonce)?;
    client.unanswered.remove(at).map(|(_, due_ns, room)| (due_ns, room))
}

fn refuse(client: &mut Client, refused: &Refused<'_>, context: &mut Context) -> Result<()> {
    let text = format!("{} {}", refused.reason.text(), refused.detail);
    if refused.kind == Kind::Publish as u8 {
        answered(client, refused.id);
    } else if refused.kind != Kind::React as u8 {
        bail!("refused: {text}");
    }
    context.seen.counts.refused += 1;
    context.seen.counts.first_refusal.get_or_insert(text);
    Ok(())
}

#[inline]
fn room_of(rooms: &mut [Membership], alias: u32) -> Option<&mut Membership> {
    rooms.iter_mut().find(|room| room.alias == alias && room.is_open)
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
fn parse(room: &Membership, mut reader: BatchReader<'_>, context: &Context) -> Result<Parsed> {
    let mut at = Position { epoch: 0, offset: room.next, time_ms: 0 };
    let mut parsed = Parsed::default();
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Message(message) => {
                let offset = at.message(&message);
                let due_ns = due_of(message.text).or_else(|| context.due_ns(room.room, offset));
                parsed.omitted += message.skip;
                parsed.messages.push((offset, due_ns, hash((message.author, message.text, message.role))));
            }
            Item::Omitted(count) => {
                at.omitted(count);
                parsed.omitted += count;
            }
            Item::Removed(skip) | Item::Act(ActEntry { skip, .. }) => {
                at.entry(skip);
                parsed.omitted += skip;
            }
            Item::Tally { count, .. } => parsed.reactions += count,
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

    /// What clients make of frames, each of which is given to one of them.
    fn hear(frames: &[(usize, Vec<u8>)]) -> (Vec<Client>, Context) {
        let (mut protocol, mut context) = (Grandstand::default(), Context::default());
        let room = Membership { alias: 300, next: 250, is_open: true, ..Membership::default() };
        let client = |number| Client { number, rooms: smallvec![room], ..Client::default() };
        let mut clients: Vec<Client> = (0..3).map(client).collect();
        for (n, bytes) in frames {
            protocol.hear(&mut clients[*n], Opcode::Binary, bytes, &mut context).unwrap();
        }
        context.frames.flush(&mut context.seen);
        (clients, context)
    }

    #[test]
    fn viewers_with_equal_frames_are_at_the_same_place() {
        let (a, b) = (frame(250, &["x", "y"], 0), frame(252, &["z"], 4));
        let (clients, context) =
            hear(&[(0, a.clone()), (1, a), (0, b.clone()), (1, b), (2, frame(250, &["x"], 0))]);
        assert_eq!(clients.iter().map(|client| client.rooms[0].next).collect::<Vec<_>>(), [257, 257, 251]);
        let t = &context.seen.counts;
        assert_eq!((t.frames, t.deliveries, t.omitted), (5, 7, 8));
        assert_eq!((t.lost, t.duplicated, t.out_of_order, t.wrong), (0, 0, 0, 0));
    }

    #[test]
    fn a_frame_left_out_is_lost_and_late_when_it_comes_and_a_duplicate_when_it_comes_again() {
        let (a, b) = (frame(250, &["x", "y"], 0), frame(252, &["z"], 0));
        let (_, context) = hear(&[(0, b.clone())]);
        assert_eq!((context.seen.counts.lost, context.seen.counts.deliveries), (2, 1));
        let (clients, context) = hear(&[(0, b), (0, a.clone()), (0, a)]);
        let t = &context.seen.counts;
        assert_eq!((t.lost, t.out_of_order, t.duplicated, clients[0].rooms[0].next), (0, 2, 2, 253));
    }

    #[test]
    fn another_text_at_the_same_offset_is_wrong() {
        let (_, context) = hear(&[(0, frame(250, &["x"], 0)), (1, frame(250, &["y"], 0))]);
        assert_eq!(context.seen.counts.wrong, 1);
    }

    #[test]
    fn tallies_move_nobody_and_reach_everybody() {
        let mut tallies = vec![Kind::Batch as u8];
        let mut writer = BatchWriter::begin(&mut tallies, 300, 0, true, false, 0);
        writer.tallies(1);
        writer.tally("x", 9);
        writer.finish();
        let (clients, context) = hear(&[(0, tallies.clone()), (1, tallies)]);
        let counts = &context.seen.counts;
        assert_eq!((clients[0].rooms[0].next, counts.other_frames, counts.frames), (250, 2, 0));
        assert_eq!([0, 1, 2].map(|n| clients[n].reactions), [9, 9, 0]);
    }

    #[test]
    fn a_client_has_returned_with_everything_up_to_the_head_of_its_return() {
        let (mut protocol, mut context) = (Grandstand::default(), Context::default());
        (context.resumes, context.heads) = (true, vec![0]);
        let room = Membership { alias: 1, next: 250, epoch: 7, ..Membership::default() };
        let mut client = Client { rooms: smallvec![room], is_continued: true, ..Client::default() };
        let answer = |outcome, offset, client: &mut Client, context: &mut Context| {
            let subscribed = Subscribed {
                request: 1,
                alias: 300,
                epoch: 7,
                offset,
                head: 252,
                outcome,
                ..Subscribed::default()
            };
            begin(client, &subscribed, context).unwrap();
        };
        answer(Outcome::Resumed, 250, &mut client, &mut context);
        assert_eq!((client.is_joined, context.seen.counts.resumed), (false, 1));
        protocol.hear(&mut client, Opcode::Binary, &frame(250, &["x"], 0), &mut context).unwrap();
        assert!(!client.is_joined, "one is missing");
        protocol.hear(&mut client, Opcode::Binary, &frame(251, &["y"], 0), &mut context).unwrap();
        assert!(client.is_joined);
        assert_eq!(context.seen.counts.faults(), 0);
        answer(Outcome::Live, 252, &mut client, &mut context);
        assert_eq!((context.seen.counts.resumed, context.seen.counts.lost), (1, 1), "begun anew");
    }

    #[test]
    fn offsets_nearest_to_the_expected_one() {
        assert_eq!((nearest(250, 4), nearest(260, 250), nearest(3, 255)), (260, 250, 0));
        assert_eq!((alias_of(&[0xac, 0x02, 9]), alias_of(&[0x80]), alias_of(&[])), (Some(300), None, None));
    }
}
