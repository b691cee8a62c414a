//! Lines: the protocol of our small servers on bare libraries (`ws`, uWebSockets): texts, with line feeds
//! between several.
//!
//! Why so little: the server sends each text unchanged to every viewer.

use super::{Heard, PeerProtocol, Role};
use anyhow::Result;
use grandstand_protocol::websocket::Opcode;

/// See the file's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines;

impl PeerProtocol for Lines {
    fn path(&self, role: Role) -> &'static str {
        match role {
            Role::Viewer => "/",
            Role::Publisher => "/speak",
        }
    }

    fn opcode(&self) -> Opcode {
        Opcode::Binary
    }

    fn is_in_at_once(&self) -> bool {
        true
    }

    fn hear<'a>(&self, _: Role, payload: &'a [u8]) -> Result<Heard<'a>> {
        Ok(Heard { texts: payload.split(|byte| *byte == b'\n').collect(), ..Heard::default() })
    }

    fn say(&self, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(text);
    }
}
