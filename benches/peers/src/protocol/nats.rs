//! NATS: its client protocol in binary WebSocket messages; one subject, `r`.
//!
//! The server joins the waiting lines of a client into one message, and never splits a protocol line: it
//! writes whole lines to a client's buffer under that client's lock, and frames the contents of the buffer.
//! A text of several lines is an application's own batch.
//! Not here: starting the server (`servers`).

use super::{Heard, PeerProtocol, Role};
use anyhow::{Context, Result, bail};
use grandstand_protocol::websocket::Opcode;
use std::io::Write as _;

/// No answer to each publication; no echo matters, since the publisher does not subscribe.
const CONNECT: &str =
    r#"CONNECT {"verbose":false,"pedantic":false,"lang":"grandstand-bench","version":"0","protocol":1}"#;

/// See the file's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nats;

impl PeerProtocol for Nats {
    fn path(&self, _: Role) -> &'static str {
        "/"
    }

    fn opcode(&self) -> Opcode {
        Opcode::Binary
    }

    fn hear<'a>(&self, role: Role, payload: &'a [u8]) -> Result<Heard<'a>> {
        let mut heard = Heard::default();
        let mut rest = payload;
        while !rest.is_empty() {
            let end = rest.windows(2).position(|two| two == b"\r\n").context("a line of NATS was cut")?;
            let (line, behind) = (&rest[..end], &rest[end + 2..]);
            rest = behind;
            match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
                b"MSG" => rest = message(line, behind, &mut heard)?,
                b"INFO" => heard.answer = Some(greeting(role)),
                b"PONG" => heard.is_in = true,
                b"PING" => heard.answer = Some(b"PONG\r\n".to_vec()),
                b"+OK" => {}
                _ => bail!("NATS says {}", String::from_utf8_lossy(line)),
            }
        }
        Ok(heard)
    }

    fn say(&self, text: &[u8], out: &mut Vec<u8>) {
        write!(out, "PUB r {}\r\n", text.len()).expect("a vector takes everything");
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
}

/// The pong that comes back says that everything before the ping was done.
fn greeting(role: Role) -> Vec<u8> {
    let subscribe = if role == Role::Viewer { "SUB r 1\r\n" } else { "" };
    format!("{CONNECT}\r\n{subscribe}PING\r\n").into_bytes()
}

/// The texts behind `MSG r 1 BYTES`; returns what stands behind them.
fn message<'a>(line: &[u8], behind: &'a [u8], heard: &mut Heard<'a>) -> Result<&'a [u8]> {
    let bytes = line.rsplit(|byte| *byte == b' ').next().and_then(|word| std::str::from_utf8(word).ok());
    let bytes: usize = bytes.and_then(|word| word.parse().ok()).context("MSG without a length")?;
    let text = behind.get(..bytes).context("a message of NATS was cut")?;
    heard.texts.extend(text.split(|byte| *byte == b'\n'));
    behind.get(bytes + 2..).context("a message of NATS was cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_subscribes_and_is_in_at_the_pong() {
        let info = Nats.hear(Role::Viewer, b"INFO {}\r\n").unwrap();
        assert!(info.answer.unwrap().ends_with(b"\r\nSUB r 1\r\nPING\r\n") && !info.is_in);
        assert!(
            !Nats
                .hear(Role::Publisher, b"INFO {}\r\n")
                .unwrap()
                .answer
                .unwrap()
                .windows(3)
                .any(|word| word == b"SUB")
        );
        assert!(Nats.hear(Role::Viewer, b"PONG\r\n").unwrap().is_in);
    }

    #[test]
    fn several_lines_in_one_frame_and_one_that_is_cut() {
        let heard = Nats.hear(Role::Viewer, b"MSG r 1 3\r\nabc\r\nPING\r\nMSG r 1 3\r\na\nb\r\n").unwrap();
        assert_eq!(heard.texts, [&b"abc"[..], b"a", b"b"]);
        assert_eq!(heard.answer.as_deref(), Some(&b"PONG\r\n"[..]));
        for cut in [&b"MSG r 1 3\r\nab"[..], b"MSG r 1 3", b"-ERR 'Slow Consumer'\r\n"] {
            assert!(Nats.hear(Role::Viewer, cut).is_err());
        }
    }
}
