//! Protocols of other servers over a WebSocket, so that the lean clients can measure all of them.
//!
//! Why not their own clients: five thousand of those fill the generator's core before the server's core is
//! full, and the cost of a client library is not the server's cost.
//! Invariant: every message has a number from 0 and the time at which it was due ([`numbered`]), so that the
//! same code finds missing, duplicate and late messages in every protocol.
//! Not here: the servers (`servers`), Grandstand's own protocol (the library).

mod lines;
mod nats;
mod numbered;
mod socketio;

use anyhow::{Result, ensure};
use grandstand_benches::lean_clients::protocol::{Client, Membership, Protocol, Publication, Role, Upgrade};
use grandstand_benches::lean_clients::{Context, Parsed, hash};
use grandstand_protocol::websocket::Opcode;

/// What there was in one WebSocket message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard<'a> {
    /// Chat, in order.
    pub(crate) texts: Vec<&'a [u8]>,
    /// What has to be answered.
    pub(crate) answer: Option<Vec<u8>>,
    /// The greeting is over: a viewer follows the room, a publisher may speak.
    pub(crate) is_in: bool,
}

/// What one kind of server wants to hear, and says.
pub(crate) trait PeerProtocol {
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
    /// It is not of this protocol, or refuses something.
    fn hear<'a>(&self, role: Role, payload: &'a [u8]) -> Result<Heard<'a>>;

    /// The WebSocket message that publishes a text; the text has no control characters but line feeds, no
    /// quotes, no backslash.
    fn say(&self, text: &[u8], out: &mut Vec<u8>);
}

/// The protocol of this name.
pub(crate) fn by_name(name: &str) -> Option<Box<dyn Protocol>> {
    let protocol: Box<dyn PeerProtocol> = match name {
        "lines" => Box::new(lines::Lines),
        "nats" => Box::new(nats::Nats),
        "socketio" => Box::new(socketio::SocketIo),
        _ => return None,
    };
    Some(Box::new(Peer(protocol)))
}

/// A lean client of another server.
struct Peer(Box<dyn PeerProtocol>);

impl Protocol for Peer {
    fn upgrade(&self, role: Role) -> Option<Upgrade> {
        Some(Upgrade { path: self.0.path(role), subprotocol: None })
    }

    fn open(&mut self, client: &mut Client, _: &mut Context) -> Result<()> {
        // Viewers come before anything is said, and there is one room.
        let open = |room: &mut Membership| {
            *room = Membership { room: room.room, is_open: true, ..Membership::default() };
        };
        client.rooms.iter_mut().for_each(open);
        client.is_joined = self.0.is_in_at_once();
        Ok(())
    }

    #[inline]
    fn hear(&mut self, client: &mut Client, _: Opcode, payload: &[u8], context: &mut Context) -> Result<()> {
        let room = &mut client.rooms[0];
        let (now_ns, seen) = (context.now_ns, &mut context.seen);
        if client.role == Role::Viewer
            && let Some((next, _)) = context.frames.find(room.room, room.next, payload, now_ns, seen)
        {
            room.next = next;
            return Ok(());
        }
        let heard = self.0.hear(client.role, payload)?;
        client.is_joined |= heard.is_in;
        if let Some(answer) = heard.answer {
            context.say(self.0.opcode(), &answer);
        }
        if heard.texts.is_empty() || client.role == Role::Publisher {
            context.seen.counts.other_frames += 1;
            return Ok(());
        }
        new_frame(room, payload, &heard.texts, context)
    }

    fn publish(&mut self, _: &mut Client, publication: &Publication<'_>, context: &mut Context) {
        let mut payload = Vec::with_capacity(publication.text.len() + 32);
        self.0.say(publication.text.as_bytes(), &mut payload);
        context.say(self.0.opcode(), &payload);
        // Nobody answers: what was said counts as the head.
        let last = publication.text.rsplit('\n').next().unwrap_or_default();
        if let Ok((number, _)) = numbered::read(last.as_bytes()) {
            context.heads[0] = number + 1;
        }
    }
}

/// A frame that nobody has had at this room.
fn new_frame(room: &mut Membership, payload: &[u8], texts: &[&[u8]], context: &mut Context) -> Result<()> {
    let mut parsed = Parsed::default();
    for text in texts {
        let (number, due_ns) = numbered::read(text)?;
        let is_next = parsed.messages.is_empty() || number == parsed.next;
        ensure!(is_next, "message {number} stands where {} was expected in one frame", parsed.next);
        parsed.messages.push((number, Some(due_ns), hash(text)));
        parsed.next = number + 1;
    }
    let (begins, count) = (parsed.messages[0].0, parsed.messages.len() as u64);
    if begins < room.next {
        context.seen.counts.duplicated += count;
        context.seen.counts.fault(|| format!("message {begins} came when {} was expected", room.next));
        return Ok(());
    }
    if begins > room.next {
        context.seen.counts.lost += begins - room.next;
        context.seen.counts.fault(|| format!("messages {} to {begins} did not come", room.next));
        room.next = begins;
    }
    let next = parsed.next;
    let (now_ns, seen) = (context.now_ns, &mut context.seen);
    context.frames.insert(room.room, room.next, payload, &parsed, now_ns, seen);
    room.next = next;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_benches::stamp::stamp;
    use smallvec::smallvec;

    fn text(number: u64) -> Vec<u8> {
        let mut text = String::new();
        stamp(1_000, number, 128, &mut text);
        text.into_bytes()
    }

    /// What two viewers make of frames of one text each, and where they stand then.
    fn watch(numbers: &[(usize, u64)]) -> (Vec<u64>, Context) {
        let (mut protocol, mut context) = (Peer(Box::new(lines::Lines)), Context::default());
        let client = |number| Client { number, rooms: smallvec![Membership::default()], ..Client::default() };
        let mut clients: Vec<Client> = (0..2).map(client).collect();
        clients.iter_mut().for_each(|client| protocol.open(client, &mut context).unwrap());
        for &(viewer, number) in numbers {
            protocol.hear(&mut clients[viewer], Opcode::Binary, &text(number), &mut context).unwrap();
        }
        (clients.iter().map(|client| client.rooms[0].next).collect(), context)
    }

    #[test]
    fn complete_viewers_have_no_faults() {
        let (next, context) = watch(&[(0, 0), (1, 0), (0, 1), (1, 1)]);
        let t = &context.seen.counts;
        assert_eq!((next, t.frames, t.deliveries, t.faults()), (vec![2, 2], 4, 4, 0));
    }

    #[test]
    fn what_is_left_out_is_lost_for_each_viewer_and_what_comes_again_is_a_duplicate() {
        let (next, context) = watch(&[(0, 0), (0, 3), (1, 0), (1, 3), (1, 0)]);
        let t = &context.seen.counts;
        assert_eq!((next, t.lost, t.duplicated), (vec![4, 4], 4, 1));
        assert!(t.first_fault.as_ref().unwrap().contains("1 to 3"));
    }

    #[test]
    fn every_protocol_reads_what_its_server_makes_of_what_it_says() {
        let (a, b) = (text(0), text(1));
        let both = [&a[..], &b[..]].join(&b'\n');
        let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let all: [(&dyn PeerProtocol, String, String); 3] = [
            (&lines::Lines, utf8(&both), utf8(&both)),
            (
                &nats::Nats,
                format!("PUB r 257\r\n{}\r\n", utf8(&both)),
                format!("MSG r 1 257\r\n{}\r\n", utf8(&both)),
            ),
            (
                &socketio::SocketIo,
                format!(r#"42["say","{}"]"#, utf8(&a)),
                format!(r#"42["m","{}","{}"]"#, utf8(&a), utf8(&b)),
            ),
        ];
        for (protocol, said, served) in all {
            let mut out = Vec::new();
            let is_json = protocol.opcode() == Opcode::Text;
            protocol.say(if is_json { &a } else { &both }, &mut out);
            assert_eq!(utf8(&out), said);
            let heard = protocol.hear(Role::Viewer, served.as_bytes()).unwrap();
            assert_eq!(
                (heard.texts, heard.answer, heard.is_in),
                (vec![&a[..], &b[..]], None, false),
                "{said}"
            );
        }
    }
}
