//! Socket.IO 4: Engine.IO protocol 4 with its WebSocket from the start, events in the main namespace.
//!
//! Events of our server (`benches/peers/node/server.mjs`): `join` and the answer `in`, `say`, and `m` with
//! one or more texts. Texts are plain letters and digits, so that JSON needs no escapes and no parser here.

use super::{Heard, PeerProtocol, Role};
use anyhow::{Result, bail};
use grandstand_protocol::websocket::Opcode;

/// See the file's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketIo;

impl PeerProtocol for SocketIo {
    fn path(&self, _: Role) -> &'static str {
        "/socket.io/?EIO=4&transport=websocket"
    }

    fn opcode(&self) -> Opcode {
        Opcode::Text
    }

    fn hear<'a>(&self, role: Role, payload: &'a [u8]) -> Result<Heard<'a>> {
        let answer = |text: &[u8]| Heard { answer: Some(text.to_vec()), ..Heard::default() };
        let is_in = Heard { is_in: true, ..Heard::default() };
        if let Some(texts) = payload.strip_prefix(br#"42["m",""#).and_then(|rest| rest.strip_suffix(br#""]"#))
        {
            return Ok(Heard { texts: split(texts), ..Heard::default() });
        }
        Ok(match payload {
            [b'0', ..] => answer(b"40"),
            [b'4', b'0', ..] if role == Role::Viewer => answer(br#"42["join"]"#),
            [b'4', b'0', ..] | br#"42["in"]"# => is_in,
            b"2" => answer(b"3"),
            _ => bail!("Socket.IO says {}", String::from_utf8_lossy(payload)),
        })
    }

    fn say(&self, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(br#"42["say",""#);
        out.extend_from_slice(text);
        out.extend_from_slice(br#""]"#);
    }
}

/// The strings between `","`.
fn split(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        texts.push(&rest[..at]);
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    texts.push(rest);
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_goes_step_by_step() {
        let step = |role, payload: &str| {
            let heard = SocketIo.hear(role, payload.as_bytes()).unwrap();
            (heard.answer.map(|answer| String::from_utf8(answer).unwrap()).unwrap_or_default(), heard.is_in)
        };
        assert_eq!(step(Role::Viewer, r#"0{"sid":"a"}"#), ("40".into(), false));
        assert_eq!(step(Role::Viewer, r#"40{"sid":"b"}"#), (r#"42["join"]"#.into(), false));
        assert_eq!(step(Role::Viewer, r#"42["in"]"#), (String::new(), true));
        assert_eq!(step(Role::Publisher, r#"40{"sid":"b"}"#), (String::new(), true));
        assert_eq!(step(Role::Publisher, "2"), ("3".into(), false));
        assert!(SocketIo.hear(Role::Viewer, br#"44{"message":"no"}"#).is_err());
    }
}
