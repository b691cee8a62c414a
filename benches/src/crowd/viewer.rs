//! A viewer's WebSocket: from bytes of a socket to messages for a talk, and back.
//!
//! Why by hand: what has come whole is read in place, in scratch space that all viewers share; nothing is
//! copied or kept unless a frame came in parts.
//! Not here: sockets (`process`), TLS (`tls`), what messages mean (talks).

use super::stage::Stage;
use super::talk::{Seat, Talk, Upgrade};
use anyhow::{Context, Result, bail};
use grandstand_protocol::stream;
use grandstand_protocol::websocket::handshake::{parse_response, write_request};
use grandstand_protocol::websocket::{Header, Opcode, write_masked};

/// The key of every handshake; RFC 6455 wants it random, which matters to proxies between strangers only.
const KEY: [u8; 16] = *b"grandstand-bench";

/// The mask of every frame; it must be unpredictable where scripts of strangers choose what is sent, which is
/// not here.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x0f];

/// What stands between a talk and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// WebSocket, a client's: frames are masked.
    WebSocket,
    /// A stream of frames (docs/PROTOCOL.md, Q-3).
    Stream,
    /// Bare bytes, heard as they come and said as they are.
    Bytes,
}

/// A viewer above its socket.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) seat: Seat,
    pub(super) began_ns: u64,
    framing: Framing,
    is_upgraded: bool,
    /// The beginning of a frame.
    rest: Vec<u8>,
    /// Fragments of a message.
    message: Option<(Opcode, Vec<u8>)>,
}

impl Viewer {
    pub(super) fn new(seat: Seat, framing: Framing, began_ns: u64) -> Viewer {
        Viewer { seat, began_ns, framing, is_upgraded: false, rest: Vec::new(), message: None }
    }

    /// The connection stands: what is to be sent goes to `out`.
    pub(super) fn open(
        &mut self,
        talk: &mut dyn Talk,
        path: &str,
        stage: &mut Stage,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match talk.upgrade().filter(|_| self.framing == Framing::WebSocket) {
            Some(Upgrade { path: own, subprotocol }) => {
                let path = if path.is_empty() { own } else { path };
                Ok(write_request("localhost", path, None, subprotocol, &KEY, out)?)
            }
            None => {
                if self.framing == Framing::WebSocket {
                    self.framing = Framing::Bytes;
                }
                self.greet(talk, stage, out)
            }
        }
    }

    fn greet(&mut self, talk: &mut dyn Talk, stage: &mut Stage, out: &mut Vec<u8>) -> Result<()> {
        self.is_upgraded = true;
        talk.open(&mut self.seat, stage)?;
        self.take_said(stage, out);
        Ok(())
    }

    /// Bytes from the server; what is to be sent goes to `out`.
    #[inline]
    pub(super) fn hear(
        &mut self,
        bytes: &[u8],
        talk: &mut dyn Talk,
        stage: &mut Stage,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if self.framing == Framing::Bytes {
            talk.hear(&mut self.seat, Opcode::Binary, bytes, stage)?;
            self.take_said(stage, out);
            return Ok(());
        }
        if self.rest.is_empty() && self.is_upgraded {
            let used = self.frames(bytes, talk, stage, out)?;
            if used < bytes.len() {
                self.rest.extend_from_slice(&bytes[used..]);
            }
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(bytes);
        let mut used = 0;
        if !self.is_upgraded {
            let subprotocol = talk.upgrade().and_then(|upgrade| upgrade.subprotocol);
            if let Some(response) = parse_response(&whole, &KEY, subprotocol)? {
                used = response.len;
                self.greet(talk, stage, out)?;
            }
        }
        if self.is_upgraded {
            used += self.frames(&whole[used..], talk, stage, out)?;
        }
        whole.drain(..used);
        if !whole.is_empty() {
            self.rest = whole;
        }
        Ok(())
    }

    /// Says something that keeps the connection.
    pub(super) fn keep_alive(
        &mut self,
        talk: &mut dyn Talk,
        stage: &mut Stage,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        talk.keep_alive(&mut self.seat, stage)?;
        self.take_said(stage, out);
        Ok(())
    }

    /// Reads whole frames; returns how many bytes they take.
    #[inline]
    fn frames(
        &mut self,
        bytes: &[u8],
        talk: &mut dyn Talk,
        stage: &mut Stage,
        out: &mut Vec<u8>,
    ) -> Result<usize> {
        let mut used = 0;
        while let Some((header, size)) =
            Header::parse(&bytes[used..]).map_err(|fault| anyhow::anyhow!("{fault}"))?
        {
            let end = used + size + header.len as usize;
            let Some(payload) = bytes.get(used + size..end) else { break };
            self.frame(header, payload, talk, stage, out)?;
            used = end;
        }
        Ok(used)
    }

    #[inline]
    fn frame(
        &mut self,
        header: Header,
        payload: &[u8],
        talk: &mut dyn Talk,
        stage: &mut Stage,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match header.opcode {
            Opcode::Ping => self.write(Opcode::Pong, payload, out),
            Opcode::Pong => {}
            Opcode::Close => bail!("the server closed: {}", close_text(payload)),
            opcode if header.fin && opcode != Opcode::Continuation => {
                talk.hear(&mut self.seat, opcode, payload, stage)?;
            }
            opcode => self.fragment(opcode, header.fin, payload, talk, stage)?,
        }
        if stage.has_said() {
            self.take_said(stage, out);
        }
        Ok(())
    }

    fn fragment(
        &mut self,
        opcode: Opcode,
        is_last: bool,
        payload: &[u8],
        talk: &mut dyn Talk,
        stage: &mut Stage,
    ) -> Result<()> {
        if opcode != Opcode::Continuation {
            self.message = Some((opcode, Vec::new()));
        }
        let (_, message) = self.message.as_mut().context("a fragment of no message")?;
        message.extend_from_slice(payload);
        if is_last && let Some((opcode, message)) = self.message.take() {
            talk.hear(&mut self.seat, opcode, &message, stage)?;
        }
        Ok(())
    }

    fn take_said(&self, stage: &mut Stage, out: &mut Vec<u8>) {
        stage.take_said(|opcode, payload| self.write(opcode, payload, out));
    }

    fn write(&self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        match self.framing {
            Framing::WebSocket => write_masked(opcode, payload, MASK, out),
            Framing::Stream => {
                stream::write_header(payload.len(), out);
                out.extend_from_slice(payload);
            }
            Framing::Bytes => out.extend_from_slice(payload),
        }
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

/// A client's message as it goes over a WebSocket, for publishers.
pub fn masked(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    write_masked(opcode, payload, MASK, out);
}

/// The request and the check of its answer, for publishers.
///
/// # Errors
/// A header cannot hold these words.
pub fn request(path: &str, subprotocol: Option<&str>, out: &mut Vec<u8>) -> Result<()> {
    Ok(write_request("localhost", path, None, subprotocol, &KEY, out)?)
}

/// Length of the answer to [`request`], once it is whole.
///
/// # Errors
/// The server refuses.
pub fn response(bytes: &[u8], subprotocol: Option<&str>) -> Result<Option<usize>> {
    Ok(parse_response(bytes, &KEY, subprotocol)?.map(|response| response.len))
}

#[cfg(test)]
mod tests {
    use super::super::talk;
    use super::*;
    use grandstand_protocol::websocket::write_frame;

    /// Counts messages and says one for each.
    #[derive(Default)]
    struct Echo(Vec<(Opcode, Vec<u8>)>);

    impl Talk for Echo {
        fn upgrade(&self) -> Option<Upgrade> {
            None
        }
        fn open(&mut self, seat: &mut Seat, _: &mut Stage) -> Result<()> {
            seat.is_joined = true;
            Ok(())
        }
        fn hear(&mut self, _: &mut Seat, opcode: Opcode, payload: &[u8], stage: &mut Stage) -> Result<()> {
            self.0.push((opcode, payload.to_vec()));
            stage.say(Opcode::Binary, b"thanks");
            Ok(())
        }
        fn keep_alive(&mut self, _: &mut Seat, _: &mut Stage) -> Result<()> {
            Ok(())
        }
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
            let (mut talk, mut stage, mut out) = (Echo::default(), Stage::default(), Vec::new());
            let mut viewer = Viewer::new(Seat::default(), Framing::WebSocket, 0);
            viewer.is_upgraded = true;
            for piece in wire.chunks(size) {
                viewer.hear(piece, &mut talk, &mut stage, &mut out).unwrap();
            }
            assert_eq!(talk.0, [(Opcode::Binary, vec![7; 300]), (Opcode::Text, b"abc".to_vec())], "{size}");
            // Two thanks of 6 bytes and a pong of 1, each behind a masked header of 6.
            assert_eq!((out.len(), viewer.rest.len()), (12 + 7 + 12, 0));
        }
    }

    #[test]
    fn a_close_is_named() {
        let (mut talk, mut stage) = (talk::by_name("raw").unwrap(), Stage::default());
        let mut viewer = Viewer::new(Seat::default(), Framing::WebSocket, 0);
        viewer.is_upgraded = true;
        let fault =
            viewer.hear(&[0x88, 4, 0x10, 0x04, b'n', b'o'], talk.as_mut(), &mut stage, &mut Vec::new());
        assert_eq!(fault.unwrap_err().to_string(), "the server closed: 4100 no");
    }
}
