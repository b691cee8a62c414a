//! A client's conversation: from bytes of a connection to messages for its protocol.
//!
//! Why by hand: whole frames are read in place, in scratch space that all clients share. Bytes are copied
//! only if a frame arrived in parts.
//! Not here: sockets (`link`, `quic`), TLS (`tls`), the meaning of messages (protocols).

use super::framing::Framing;
use super::io::Io;
use super::protocol::{Client, Upgrade};
use anyhow::{Context as _, Result, bail};
use grandstand_protocol::websocket::handshake::{parse_response, write_request};
use grandstand_protocol::websocket::{Header, Opcode};

/// The key of every handshake; RFC 6455 wants it random, which matters to proxies between strangers only.
const KEY: [u8; 16] = *b"grandstand-bench";

/// A client above its connection. It leaves its messages in the context, and the caller sends them.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) client: Client,
    pub(super) framing: Framing,
    is_upgraded: bool,
    /// The beginning of a frame.
    rest: Vec<u8>,
    /// Fragments of a message.
    message: Option<(Opcode, Vec<u8>)>,
}

impl Conversation {
    pub(super) fn new(client: Client) -> Conversation {
        Conversation { client, ..Conversation::default() }
    }

    /// Forgets an earlier connection; the client stays who it is.
    pub(super) fn reset(&mut self, framing: Framing) {
        (self.framing, self.is_upgraded, self.rest, self.message) = (framing, false, Vec::new(), None);
        self.client.is_joined = false;
        self.client.rooms.iter_mut().for_each(|room| room.is_open = false);
    }

    /// The connection is established.
    pub(super) fn open(&mut self, io: &mut Io) -> Result<()> {
        match io.protocol.upgrade(self.client.role).filter(|_| self.framing == Framing::WebSocket) {
            Some(Upgrade { path, subprotocol }) => {
                Ok(write_request("localhost", path, None, subprotocol, &KEY, &mut io.context.said)?)
            }
            None => {
                if self.framing == Framing::WebSocket {
                    self.framing = Framing::Bytes;
                }
                self.greet(io)
            }
        }
    }

    fn greet(&mut self, io: &mut Io) -> Result<()> {
        self.is_upgraded = true;
        io.context.framing = self.framing;
        io.protocol.open(&mut self.client, &mut io.context)
    }

    /// Bytes from the server.
    #[inline]
    pub(super) fn hear(&mut self, bytes: &[u8], io: &mut Io) -> Result<()> {
        io.context.framing = self.framing;
        if self.framing == Framing::Bytes {
            return io.protocol.hear(&mut self.client, Opcode::Binary, bytes, &mut io.context);
        }
        if self.rest.is_empty() && self.is_upgraded {
            let used = self.frames(bytes, io)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(bytes);
        let mut used = 0;
        if !self.is_upgraded && self.framing == Framing::WebSocket {
            let upgrade = io.protocol.upgrade(self.client.role);
            let subprotocol = upgrade.and_then(|upgrade| upgrade.subprotocol);
            if let Some(response) = parse_response(&whole, &KEY, subprotocol)? {
                used = response.len;
                self.greet(io)?;
            }
        }
        if self.is_upgraded {
            used += self.frames(&whole[used..], io)?;
        }
        whole.drain(..used);
        if !whole.is_empty() {
            self.rest = whole;
        }
        Ok(())
    }

    /// Reads whole frames; returns how many bytes they take.
    #[inline]
    fn frames(&mut self, bytes: &[u8], io: &mut Io) -> Result<usize> {
        let mut used = 0;
        while let Some((header, size)) =
            Header::parse(&bytes[used..]).map_err(|fault| anyhow::anyhow!("{fault}"))?
        {
            let end = used + size + header.len as usize;
            let Some(payload) = bytes.get(used + size..end) else { break };
            self.frame(header, payload, io)?;
            used = end;
        }
        Ok(used)
    }

    #[inline]
    fn frame(&mut self, header: Header, payload: &[u8], io: &mut Io) -> Result<()> {
        match header.opcode {
            Opcode::Ping => io.context.say(Opcode::Pong, payload),
            Opcode::Pong => {}
            Opcode::Close => bail!("the server closed: {}", close_text(payload)),
            opcode if header.fin && opcode != Opcode::Continuation => {
                io.protocol.hear(&mut self.client, opcode, payload, &mut io.context)?;
            }
            opcode => self.fragment(opcode, header.fin, payload, io)?,
        }
        Ok(())
    }

    fn fragment(&mut self, opcode: Opcode, is_last: bool, payload: &[u8], io: &mut Io) -> Result<()> {
        if opcode != Opcode::Continuation {
            self.message = Some((opcode, Vec::new()));
        }
        let (_, message) = self.message.as_mut().context("a fragment of no message")?;
        message.extend_from_slice(payload);
        if is_last && let Some((opcode, message)) = self.message.take() {
            io.protocol.hear(&mut self.client, opcode, &message, &mut io.context)?;
        }
        Ok(())
    }
}

fn close_text(payload: &[u8]) -> String {
    match payload {
        [high, low, text @ ..] => {
            format!("{} {}", u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(text))
        }
        _ => "without a code".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::Context;
    use super::super::protocol::{Protocol, Publication, Role};
    use super::*;
    use grandstand_protocol::websocket::write_frame;
    use std::cell::RefCell;
    use std::rc::Rc;

    type Messages = Rc<RefCell<Vec<(Opcode, Vec<u8>)>>>;

    /// Counts messages and says one for each.
    #[derive(Default)]
    struct Echo(Messages);

    impl Protocol for Echo {
        fn upgrade(&self, _: Role) -> Option<Upgrade> {
            None
        }
        fn open(&mut self, client: &mut Client, _: &mut Context) -> Result<()> {
            client.is_joined = true;
            Ok(())
        }
        fn hear(
            &mut self,
            _: &mut Client,
            opcode: Opcode,
            bytes: &[u8],
            context: &mut Context,
        ) -> Result<()> {
            self.0.borrow_mut().push((opcode, bytes.to_vec()));
            context.say(Opcode::Binary, b"thanks");
            Ok(())
        }
        fn publish(&mut self, _: &mut Client, _: &Publication<'_>, _: &mut Context) {}
    }

    #[test]
    fn messages_come_out_the_same_however_they_are_cut() {
        let mut wire = Vec::new();
        write_frame(Opcode::Binary, &[7; 300], &mut wire);
        write_frame(Opcode::Ping, b"?", &mut wire);
        Header { fin: false, opcode: Opcode::Text, mask: None, len: 2 }.write(&mut wire);
        wire.extend_from_slice(b"ab");
        Header { fin: true, opcode: Opcode::Continuation, mask: None, len: 1 }.write(&mut wire);
        wire.extend_from_slice(b"c");
        for size in [1, 2, 7, 299, 1000] {
            let messages = Messages::default();
            let mut io = Io::for_tests(Box::new(Echo(messages.clone())));
            let mut conversation = Conversation { is_upgraded: true, ..Conversation::default() };
            wire.chunks(size).for_each(|piece| conversation.hear(piece, &mut io).unwrap());
            let wanted = [(Opcode::Binary, vec![7; 300]), (Opcode::Text, b"abc".to_vec())];
            assert_eq!(*messages.borrow(), wanted, "{size}");
            // Two thanks of 6 bytes and a pong of 1, each behind a masked header of 6.
            assert_eq!((io.context.said.len(), conversation.rest.len()), (12 + 7 + 12, 0));
        }
    }

    #[test]
    fn a_close_is_named() {
        let mut io = Io::for_tests(Box::new(Echo::default()));
        let mut conversation = Conversation { is_upgraded: true, ..Conversation::default() };
        let fault = conversation.hear(&[0x88, 4, 0x10, 0x04, b'n', b'o'], &mut io);
        assert_eq!(fault.unwrap_err().to_string(), "the server closed: 4100 no");
    }
}
