//! A speaker: one WebSocket connection that says numbered messages at an even rate, in any [`Dialect`].
//!
//! Invariants: messages are due by the clock, whatever the server does; numbers go on from one run to the
//! next.
//! Not here: who says things to Grandstand (`publisher`), who listens (`crowd`).

use crate::protocol::{Dialect, Role, numbered};
use anyhow::{Context, Result, bail};
use grandstand_benches::clock::{now_ns, sleep_until};
use grandstand_benches::crowd::viewer::{masked, request, response};
use grandstand_protocol::websocket::{Header, Opcode};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The greeting, and each write, on a server that is full to the brim.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause between two looks for a ping.
const PAUSE_NS: u64 = 20_000_000;

/// What is said in one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speech {
    /// Messages per second.
    pub(crate) per_s: f64,
    /// How long, in seconds.
    pub(crate) seconds: f64,
    /// Bytes of a message.
    pub(crate) bytes: usize,
    /// Joins what is due within so many milliseconds in one publication, as an application would; 0 for one
    /// each.
    pub(crate) batch_ms: u64,
}

/// See the file's head.
pub(crate) struct Speaker {
    socket: TcpStream,
    dialect: Box<dyn Dialect>,
    heard: Vec<u8>,
    /// The number of the next message.
    next: u64,
}

impl Speaker {
    /// Connects and greets.
    ///
    /// # Errors
    /// The server does not let it in.
    pub(crate) fn connect(address: SocketAddr, dialect: Box<dyn Dialect>) -> Result<Speaker> {
        let mut socket = TcpStream::connect(address).context("the server does not answer")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut out = Vec::new();
        request(dialect.path(Role::Speaker), None, &mut out)?;
        socket.write_all(&out)?;
        let mut speaker = Speaker { socket, dialect, heard: Vec::new(), next: 0 };
        speaker.greet().context("the speaker's greeting")?;
        speaker.socket.set_nonblocking(true)?;
        Ok(speaker)
    }

    fn greet(&mut self) -> Result<()> {
        let head = loop {
            self.read()?;
            if let Some(head) = response(&self.heard, None)? {
                break head;
            }
        };
        self.heard.drain(..head);
        let mut is_in = self.dialect.is_in_at_once();
        loop {
            is_in |= self.answer()?;
            if is_in {
                return Ok(());
            }
            self.read()?;
        }
    }

    /// The number of the next message: how many were said.
    #[must_use]
    pub(crate) fn said(&self) -> u64 {
        self.next
    }

    /// Says everything that is due from `begin_ns` on; returns how many messages there were.
    ///
    /// # Errors
    /// The server ended the connection, or does not read.
    pub(crate) fn run(&mut self, speech: Speech, begin_ns: u64) -> Result<u64> {
        let count = (speech.per_s * speech.seconds).round() as u64;
        let due_ns = |n: u64| begin_ns + (n as f64 * 1e9 / speech.per_s) as u64;
        let (mut n, first) = (0, self.next);
        let (mut text, mut texts, mut out) = (String::new(), Vec::new(), Vec::new());
        while n < count {
            self.wait_until(moment_ns(due_ns(n), begin_ns, speech.batch_ms))?;
            texts.clear();
            out.clear();
            let now = now_ns();
            while n < count && due_ns(n) <= now {
                numbered::write(first + n, due_ns(n), speech.bytes, &mut text);
                n += 1;
                if speech.batch_ms == 0 {
                    self.say(text.as_bytes(), &mut out);
                } else {
                    texts.push(std::mem::take(&mut text));
                }
            }
            if !texts.is_empty() {
                self.say(texts.join("\n").as_bytes(), &mut out);
            }
            self.next = first + n;
            self.write(&out)?;
        }
        Ok(count)
    }

    fn say(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(text.len() + 32);
        self.dialect.say(text, &mut payload);
        masked(self.dialect.opcode(), &payload, out);
    }

    /// Sleeps, and answers pings meanwhile.
    fn wait_until(&mut self, at_ns: u64) -> Result<()> {
        loop {
            match self.read() {
                Ok(()) => drop(self.answer()?),
                Err(error) if is_nothing_there(&error) => {}
                Err(error) => return Err(error),
            }
            let now = now_ns();
            if now >= at_ns {
                return Ok(());
            }
            sleep_until(at_ns.min(now + PAUSE_NS));
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let until_ns = now_ns() + PATIENCE.as_nanos() as u64;
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock && now_ns() < until_ns => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error).context("the server does not take what is said"),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer)? {
            0 => bail!("the server ended the speaker's connection"),
            read => self.heard.extend_from_slice(&buffer[..read]),
        }
        Ok(())
    }

    /// Answers all whole frames that were heard; whether the greeting is over.
    fn answer(&mut self) -> Result<bool> {
        let (mut used, mut out, mut is_in) = (0, Vec::new(), false);
        while let Some((header, size)) =
            Header::parse(&self.heard[used..]).map_err(|fault| anyhow::anyhow!("{fault}"))?
        {
            let end = used + size + header.len as usize;
            let Some(payload) = self.heard.get(used + size..end) else { break };
            match header.opcode {
                Opcode::Ping => masked(Opcode::Pong, payload, &mut out),
                Opcode::Close => bail!("the server closed the speaker's connection"),
                Opcode::Text | Opcode::Binary => {
                    let heard = self.dialect.hear(Role::Speaker, payload)?;
                    is_in |= heard.is_in;
                    heard.answer.iter().for_each(|answer| masked(self.dialect.opcode(), answer, &mut out));
                }
                _ => {}
            }
            used = end;
        }
        self.heard.drain(..used);
        self.write(&out)?;
        Ok(is_in)
    }
}

/// When a message goes out: when it is due, or at the end of its batch.
fn moment_ns(due_ns: u64, begin_ns: u64, batch_ms: u64) -> u64 {
    let batch_ns = batch_ms * 1_000_000;
    let batches = (due_ns - begin_ns).checked_div(batch_ns);
    batches.map_or(due_ns, |batches| begin_ns + (batches + 1) * batch_ns)
}

fn is_nothing_there(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_goes_out_at_its_end() {
        let at = |due_ms: u64, batch_ms| moment_ns(5 + due_ms * 1_000_000, 5, batch_ms) - 5;
        assert_eq!([at(0, 0), at(99, 0)], [0, 99_000_000]);
        assert_eq!([at(0, 100), at(99, 100), at(100, 100)], [100_000_000, 100_000_000, 200_000_000]);
    }
}
