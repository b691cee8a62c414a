//! Dialects: what other servers want to hear over a WebSocket, so that one crowd and one speaker do for all
//! of them.
//!
//! Why not their own clients: five thousand of those fill the generator's core before the server's is full;
//! and what a client library costs is not the server's cost.
//! Invariant: every message is numbered from 0 and says when it was due ([`numbered`]), so that whatever is
//! missing, twice or late is seen, in every dialect by the same code.
//! Not here: the servers (`benches/peers`), Grandstand's own talk (`crowd`), Media over QUIC
//! (`benches/peers/moq`).

mod lines;
mod nats;
pub(crate) mod numbered;
mod socketio;

use lines::Lines;
use nats::Nats;
use socketio::SocketIo;

use anyhow::{Result, ensure};
use grandstand_benches::crowd::talk::{Parsed, Place, Seat, Stage, Talk, Upgrade};
use grandstand_protocol::websocket::Opcode;

/// Who a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Listens to the room.
    Viewer,
    /// Says something in the room, and need not hear it.
    Speaker,
}

/// What there was in one WebSocket message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard<'a> {
    /// Chat, in order.
    pub(crate) texts: Vec<&'a [u8]>,
    /// What has to be answered.
    pub(crate) answer: Option<Vec<u8>>,
    /// The greeting is over: a viewer follows the room, a speaker may speak.
    pub(crate) is_in: bool,
}

/// What one kind of server wants to hear, and says.
pub(crate) trait Dialect: Send {
    /// Path and query of the WebSocket upgrade.
    fn path(&self, role: Role) -> &'static str;

    /// Kind of the WebSocket messages that a client sends.
    fn opcode(&self) -> Opcode;

    /// Whether the upgrade is all the greeting there is.
    fn is_in_at_once(&self) -> bool {
        false
    }

    /// One WebSocket message of the server's.
    ///
    /// # Errors
    /// It is not of this dialect, or refuses something.
    fn hear<'a>(&self, role: Role, payload: &'a [u8]) -> Result<Heard<'a>>;

    /// The WebSocket message that publishes a text; the text has no control characters but line feeds, no
    /// quotes, no backslash.
    fn say(&self, text: &[u8], out: &mut Vec<u8>);
}

/// What the viewers' process speaks, by its name.
pub(crate) fn talk_by_name(name: &str) -> Option<Box<dyn Talk>> {
    by_name(name).map(|dialect| -> Box<dyn Talk> { Box::new(Foreign(dialect)) })
}

/// The dialect of this name.
#[must_use]
pub(crate) fn by_name(name: &str) -> Option<Box<dyn Dialect>> {
    Some(match name {
        "lines" => Box::new(Lines),
        "nats" => Box::new(Nats),
        "socketio" => Box::new(SocketIo),
        _ => return None,
    })
}

/// A viewer in the crowd that speaks a dialect.
pub(crate) struct Foreign(pub(crate) Box<dyn Dialect>);

impl Talk for Foreign {
    fn upgrade(&self) -> Option<Upgrade> {
        Some(Upgrade { path: self.0.path(Role::Viewer), subprotocol: None })
    }

    fn open(&mut self, seat: &mut Seat, _: &mut Stage) -> Result<()> {
        // Viewers come before anything is said, and there is one room.
        seat.places
            .iter_mut()
            .for_each(|place| *place = Place { room: place.room, is_open: true, ..Place::default() });
        seat.is_joined = self.0.is_in_at_once();
        Ok(())
    }

    #[inline]
    fn hear(&mut self, seat: &mut Seat, _: Opcode, payload: &[u8], stage: &mut Stage) -> Result<()> {
        let place = &mut seat.places[0];
        let (now_ns, tally) = (stage.now_ns, &mut stage.tally);
        if let Some(next) = stage.canon.meet(place.room, place.next, payload, now_ns, tally) {
            place.next = next;
            return Ok(());
        }
        let heard = self.0.hear(Role::Viewer, payload)?;
        seat.is_joined |= heard.is_in;
        if let Some(answer) = heard.answer {
            stage.say(self.0.opcode(), &answer);
        }
        if heard.texts.is_empty() {
            stage.tally.other_frames += 1;
            return Ok(());
        }
        new_frame(place, payload, &heard.texts, stage)
    }

    fn keep_alive(&mut self, _: &mut Seat, _: &mut Stage) -> Result<()> {
        // All of these servers ask by themselves whether somebody is there.
        Ok(())
    }
}

/// A frame that nobody has had at this place.
fn new_frame(place: &mut Place, payload: &[u8], texts: &[&[u8]], stage: &mut Stage) -> Result<()> {
    let mut parsed = Parsed::default();
    for text in texts {
        let (number, due_ns) = numbered::read(text)?;
        let is_next = parsed.messages.is_empty() || number == parsed.next;
        ensure!(is_next, "message {number} stands where {} was expected in one frame", parsed.next);
        parsed.messages.push((number, Some(due_ns), grandstand_benches::crowd::talk::hash(text)));
        parsed.next = number + 1;
    }
    let (begins, count) = (parsed.messages[0].0, parsed.messages.len() as u64);
    if begins < place.next {
        stage.tally.duplicated += count;
        stage.tally.fault(|| format!("message {begins} came when {} was expected", place.next));
        return Ok(());
    }
    if begins > place.next {
        stage.tally.lost += begins - place.next;
        stage.tally.fault(|| format!("messages {} to {begins} did not come", place.next));
        place.next = begins;
    }
    let next = parsed.next;
    let (now_ns, tally) = (stage.now_ns, &mut stage.tally);
    stage.canon.learn(place.room, place.next, payload, &parsed, now_ns, tally);
    place.next = next;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    fn text(number: u64) -> Vec<u8> {
        let mut text = String::new();
        numbered::write(number, 1_000, 128, &mut text);
        text.into_bytes()
    }

    /// What two viewers make of frames of one text each, and where they stand then.
    fn watch(numbers: &[(usize, u64)]) -> (Vec<u64>, Stage) {
        let (mut talk, mut stage) = (Foreign(Box::new(Lines)), Stage::default());
        let mut seats: Vec<Seat> = (0..2)
            .map(|number| Seat { number, places: smallvec![Place::default()], ..Seat::default() })
            .collect();
        seats.iter_mut().for_each(|seat| talk.open(seat, &mut stage).unwrap());
        for &(viewer, number) in numbers {
            talk.hear(&mut seats[viewer], Opcode::Binary, &text(number), &mut stage).unwrap();
        }
        (seats.iter().map(|seat| seat.places[0].next).collect(), stage)
    }

    #[test]
    fn complete_viewers_have_no_faults() {
        let (next, stage) = watch(&[(0, 0), (1, 0), (0, 1), (1, 1)]);
        assert_eq!((next, stage.tally.frames, stage.tally.deliveries), (vec![2, 2], 4, 4));
        assert_eq!((stage.tally.lost, stage.tally.duplicated, stage.tally.wrong), (0, 0, 0));
    }

    #[test]
    fn what_is_left_out_is_lost_for_each_viewer_and_what_comes_again_is_a_duplicate() {
        let (next, stage) = watch(&[(0, 0), (0, 3), (1, 0), (1, 3), (1, 0)]);
        assert_eq!((next, stage.tally.lost, stage.tally.duplicated), (vec![4, 4], 4, 1));
        assert!(stage.tally.first_fault.unwrap().contains("1 to 3"));
    }

    #[test]
    fn every_dialect_reads_what_its_server_makes_of_what_it_says() {
        let (a, b) = (text(0), text(1));
        let both = [&a[..], &b[..]].join(&b'\n');
        let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        for (name, said, served) in [
            ("lines", utf8(&both), utf8(&both)),
            (
                "nats",
                format!("PUB r 257\r\n{}\r\n", utf8(&both)),
                format!("MSG r 1 257\r\n{}\r\n", utf8(&both)),
            ),
            (
                "socketio",
                format!(r#"42["say","{}"]"#, utf8(&a)),
                format!(r#"42["m","{}","{}"]"#, utf8(&a), utf8(&b)),
            ),
        ] {
            let (dialect, mut out) = (by_name(name).unwrap(), Vec::new());
            dialect.say(if name == "socketio" { &a } else { &both }, &mut out);
            assert_eq!(utf8(&out), said);
            let heard = dialect.hear(Role::Viewer, served.as_bytes()).unwrap();
            assert_eq!(
                (heard.texts, heard.answer, heard.is_in),
                (vec![&a[..], &b[..]], None, false),
                "{name}"
            );
        }
    }
}
