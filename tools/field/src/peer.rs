//! A raw client over WebSocket, plain or TLS: it sends exactly what a trial wants, from the address that the
//! trial wants.
//!
//! Why not the client library: attackers do what the library refuses to do, and a trial must not share its
//! mistakes.
//! Invariants: it never panics on what comes; every wait ends at its deadline.
//! Not here: QUIC (`relay`), the verdicts of trials.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use grandstand_harness::trust::client_config;
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Publish, ServerFrame, Subscribe};
use grandstand_protocol::frame::{Outcome, Subscribed};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::websocket::handshake::{parse_response, write_request};
use grandstand_protocol::websocket::header::write_masked;
use grandstand_protocol::websocket::{Event, Input, Limits, Opcode, Reader, Role};
use socket2::{Domain, Socket, Type};

/// How long a node has for an answer. A busy machine needs seconds; more is a fault.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(8);

/// A socket, plain or under TLS.
pub(crate) trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// What came from the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// A frame.
    Frame(Vec<u8>),
    /// A close frame of WebSocket: code and reason.
    Close(u16, String),
    /// The end of the stream.
    End,
}

/// An answer to a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Published {
        offset: u64,
        repeated: bool,
    },
    Refused(Refusal),
    /// The connection ended before an answer came.
    Ended,
}

/// Who the client says it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity<'a> {
    pub(crate) token: &'a str,
    pub(crate) name: &'a str,
    pub(crate) ticket: &'a [u8],
}

/// What a `Welcome` told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Welcomed {
    pub(crate) session: u64,
    pub(crate) ticket: Vec<u8>,
    pub(crate) name: String,
    pub(crate) permissions: u32,
    pub(crate) resumed: bool,
}

/// See the file's head.
pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    reader: Reader,
    queue: VecDeque<Got>,
    request: u32,
    pub(crate) welcome: Welcomed,
}

/// A TCP connection from this loopback address.
pub(crate) fn connect(from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
    socket
        .connect_timeout(&to.into(), Duration::from_secs(3))
        .with_context(|| format!("no connection to {to}"))?;
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.set_write_timeout(Some(ANSWER_MAX))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Sends bytes and reads the answer until the end of the stream, or until it stops for a second.
pub(crate) fn exchange(from: Ipv4Addr, to: SocketAddr, request: &[u8]) -> Result<String> {
    let mut stream = connect(from, to)?;
    stream.write_all(request)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned())
}

/// The same under TLS.
pub(crate) fn exchange_tls(from: Ipv4Addr, to: SocketAddr, alpn: &[&[u8]], request: &[u8]) -> Result<String> {
    let socket = connect(from, to)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut stream = under_tls(socket, alpn)?;
    stream.write_all(request)?;
    Ok(String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned())
}

fn under_tls(
    socket: TcpStream,
    alpn: &[&[u8]],
) -> Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
    let config = std::sync::Arc::new(client_config(alpn));
    let client = rustls::ClientConnection::new(config, "localhost".try_into()?)?;
    Ok(rustls::StreamOwned::new(client, socket))
}

/// What comes until the end, a fault or a time out.
fn read_to_end(stream: &mut dyn Read) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 || all.len() > 1 << 20 {
            break;
        }
        all.extend_from_slice(&buffer[..n]);
    }
    all
}

impl Peer {
    /// Connects from this address, upgrades, sends `Hello`; returns when `Welcome` is there.
    pub(crate) fn join_as(from: Ipv4Addr, to: SocketAddr, identity: Identity<'_>) -> Result<Peer> {
        let mut peer = Peer::upgrade(from, to, "")?;
        peer.hello(identity)?;
        Ok(peer)
    }

    /// As [`Peer::join_as`], anonymously, from 127.0.0.1.
    pub(crate) fn join(to: SocketAddr) -> Result<Peer> {
        Peer::join_as(Ipv4Addr::LOCALHOST, to, Identity::default())
    }

    /// Connects and upgrades, with these further header lines (each ends with CR LF).
    pub(crate) fn upgrade(from: Ipv4Addr, to: SocketAddr, headers: &str) -> Result<Peer> {
        let socket = connect(from, to)?;
        Peer::upgrade_on(Box::new(socket.try_clone()?), socket, to, headers.as_bytes(), b"")
    }

    /// Connects, sends these bytes first (a header of the PROXY protocol), and upgrades.
    pub(crate) fn upgrade_behind(from: Ipv4Addr, to: SocketAddr, first: &[u8]) -> Result<Peer> {
        let socket = connect(from, to)?;
        Peer::upgrade_on(Box::new(socket.try_clone()?), socket, to, b"", first)
    }

    /// Connects and upgrades under TLS.
    pub(crate) fn upgrade_tls(from: Ipv4Addr, to: SocketAddr) -> Result<Peer> {
        let socket = connect(from, to)?;
        let stream = under_tls(socket.try_clone()?, &[b"http/1.1"])?;
        Peer::upgrade_on(Box::new(stream), socket, to, b"", b"")
    }

    fn upgrade_on(
        mut stream: Box<dyn Stream>,
        socket: TcpStream,
        to: SocketAddr,
        headers: &[u8],
        first: &[u8],
    ) -> Result<Peer> {
        let (mut request, key) = (Vec::new(), [7; 16]);
        write_request(&to.to_string(), "/v1", None, None, &key, &mut request)
            .map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        let end = request.len() - 2;
        request.splice(end..end, headers.iter().copied());
        stream.write_all(&[first, &request].concat())?;
        let (mut response, mut buffer) = (Vec::new(), [0; 4096]);
        let len = loop {
            let n = stream.read(&mut buffer).context("no answer to the upgrade")?;
            ensure!(n > 0, "closed during the upgrade: {}", String::from_utf8_lossy(&response));
            response.extend_from_slice(&buffer[..n]);
            match parse_response(&response, &key, None) {
                Ok(Some(answer)) => break answer.len,
                Ok(None) => {}
                Err(_) => {
                    bail!("upgrade: {}", String::from_utf8_lossy(&response).lines().next().unwrap_or(""))
                }
            }
        };
        let reader = Reader::new(Role::Client);
        let welcome = Welcomed::default();
        let mut peer = Peer { stream, socket, reader, queue: VecDeque::new(), request: 0, welcome };
        let mut rest = response.split_off(len);
        peer.take(&mut rest)?;
        Ok(peer)
    }

    /// Sends `Hello` and waits for `Welcome`.
    pub(crate) fn hello(&mut self, identity: Identity<'_>) -> Result<()> {
        let Identity { token, name, ticket } = identity;
        self.send(&ClientFrame::Hello(Hello { token, name, ticket, ..Hello::default() }))?;
        self.welcome = self.wait_for("Welcome", |frame| match frame {
            ServerFrame::Welcome(welcome) => Some(Welcomed {
                session: welcome.session,
                ticket: welcome.ticket.to_vec(),
                name: welcome.name.to_owned(),
                permissions: welcome.permissions,
                resumed: welcome.resumed,
            }),
            _ => None,
        })?;
        Ok(())
    }

    /// Subscribes from the head.
    pub(crate) fn subscribe(&mut self, room: &str) -> Result<Result<Subscribed, Refusal>> {
        self.subscribe_with(room, None, 0)
    }

    /// Subscribes to a room that must be there or come to be.
    pub(crate) fn enter(&mut self, room: &str) -> Result<u32> {
        match self.subscribe(room)? {
            Ok(subscribed) => Ok(subscribed.alias),
            Err(refusal) => bail!("room `{room}`: {}", refusal.text()),
        }
    }

    /// Subscribes after a position, or with a replay.
    pub(crate) fn subscribe_with(
        &mut self,
        room: &str,
        resume: Option<(u64, u64)>,
        replay: u32,
    ) -> Result<Result<Subscribed, Refusal>> {
        self.request += 1;
        let request = self.request;
        self.send(&ClientFrame::Subscribe(Subscribe { request, room, resume, replay }))?;
        self.wait_for("an answer to Subscribe", |frame| match frame {
            ServerFrame::Subscribed(subscribed) if subscribed.request == request => Some(Ok(*subscribed)),
            ServerFrame::Refused(refused) if refused.id == u64::from(request) => Some(Err(refused.reason)),
            _ => None,
        })
    }

    /// Publishes, and waits for the answer.
    pub(crate) fn say(&mut self, alias: u32, nonce: u64, text: &str) -> Result<Said> {
        self.publish(alias, nonce, text)?;
        self.answer(nonce)
    }

    /// Publishes without waiting.
    pub(crate) fn publish(&mut self, alias: u32, nonce: u64, text: &str) -> Result<()> {
        self.send(&ClientFrame::Publish(Publish { alias, nonce, text, ..Publish::default() }))
    }

    /// Waits for the answer to a publication.
    pub(crate) fn answer(&mut self, nonce: u64) -> Result<Said> {
        let answer = self.wait_for("an answer to Publish", |frame| match frame {
            ServerFrame::Published(published) if published.nonce == nonce => {
                Some(Said::Published { offset: published.offset, repeated: published.repeated })
            }
            ServerFrame::Refused(refused) if refused.id == nonce => Some(Said::Refused(refused.reason)),
            _ => None,
        });
        match answer {
            Err(error) if error.is::<Ended>() => Ok(Said::Ended),
            answer => answer,
        }
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, frame: &ClientFrame<'_>) -> Result<()> {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        Encoder::new().client(frame, &mut body);
        write_masked(Opcode::Binary, &body, [1, 2, 3, 4], &mut out);
        self.stream.write_all(&out).context(Ended)
    }

    /// Reads frames until one gives a value. What came before it is passed over.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        mut is_it: impl FnMut(&ServerFrame<'_>) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + ANSWER_MAX;
        let mut error = String::new();
        while Instant::now() < deadline {
            match self.next()? {
                Got::Frame(frame) => {
                    let Ok(frame) = ServerFrame::decode(&frame) else { continue };
                    if let Some(found) = is_it(&frame) {
                        return Ok(found);
                    }
                    if let ServerFrame::Error(told) = frame {
                        error = format!("{} ({})", told.code, told.detail);
                    }
                }
                Got::Close(code, reason) => {
                    let why = format!("closed with {code} {reason} before {what}; error {error}");
                    return Err(anyhow::Error::new(Ended).context(why));
                }
                Got::End => {
                    let why = format!("the connection ended before {what}; error {error}");
                    return Err(anyhow::Error::new(Ended).context(why));
                }
            }
        }
        bail!("{what} did not come within {} s", ANSWER_MAX.as_secs())
    }

    /// What comes next.
    pub(crate) fn next(&mut self) -> Result<Got> {
        loop {
            if let Some(got) = self.queue.pop_front() {
                return Ok(got);
            }
            let mut buffer = vec![0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Got::End),
                Ok(n) => self.take(&mut buffer[..n])?,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    bail!("nothing came for {} s", ANSWER_MAX.as_secs())
                }
                Err(_) => return Ok(Got::End),
            }
        }
    }

    /// Whether it is still open and answers a `Ping` now; the time that the answer took.
    pub(crate) fn ping(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.send(&ClientFrame::Ping { client_us: 77 })?;
        self.wait_for("Pong", |frame| {
            matches!(frame, ServerFrame::Pong { client_us: 77, .. }).then_some(())
        })?;
        Ok(begin.elapsed())
    }

    /// The code with which the connection ends, of its close frame or 0 without one.
    pub(crate) fn close_code(&mut self, within: Duration) -> Result<Option<u16>> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            self.socket.set_read_timeout(Some(
                deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
            ))?;
            match self.next() {
                Ok(Got::Close(code, _)) => return Ok(Some(code)),
                Ok(Got::End) => return Ok(Some(0)),
                Ok(Got::Frame(_)) => {}
                Err(_) => break,
            }
        }
        Ok(None)
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<()> {
        let limits =
            Limits { message_bytes_max: 1 << 26, fragments_max: 1 << 20, control_frames_max: 1 << 20 };
        let mut input = Input::new(bytes);
        loop {
            let event = self.reader.poll_event(&mut input, &limits);
            let Some(event) =
                event.map_err(|fault| anyhow::anyhow!("the node breaks RFC 6455: {fault:?}"))?
            else {
                return Ok(());
            };
            match event {
                Event::Message { payload, .. } => self.queue.push_back(Got::Frame(payload.to_vec())),
                Event::Close { code, reason } => {
                    self.queue.push_back(Got::Close(code.unwrap_or(1005), reason.to_owned()));
                }
                Event::Ping(_) | Event::Pong(_) => {}
            }
        }
    }
}

/// The connection ended before an answer came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection ended")
    }
}

impl std::error::Error for Ended {}

/// Whether a subscription went on without a loss.
pub(crate) fn is_whole(subscribed: &Subscribed) -> bool {
    matches!(subscribed.outcome, Outcome::Resumed)
}
