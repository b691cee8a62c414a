//! A blocking WebSocket client that can send anything.
//!
//! Why raw: a conforming client cannot break the protocol.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use grandstand_harness::trust::client_config;
use grandstand_protocol::websocket::handshake::{parse_response, write_request};
use grandstand_protocol::websocket::header::write_masked;
use grandstand_protocol::websocket::{Event, Input, Limits, Opcode, Reader, Role};

use super::PATIENCE;

/// What came from the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// A binary message.
    Frame(Vec<u8>),
    /// A text message (the echo).
    Text(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame.
    Close(u16, String),
    /// End of the stream without (or after) a close frame.
    End,
}

/// A socket, plain or under TLS.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

const KEY: [u8; 16] = [7; 16];

/// See the file's head.
pub struct Ws {
    pub stream: Box<dyn Stream>,
    /// The same socket below TLS.
    pub socket: TcpStream,
    reader: Reader,
    queue: std::collections::VecDeque<Got>,
}

impl Ws {
    /// Connect and upgrade.
    pub fn open(address: SocketAddr, path: &str) -> Ws {
        let socket = socket(address);
        Self::upgrade(Box::new(socket.try_clone().unwrap()), socket, address, path)
    }

    /// Connect and upgrade under TLS.
    pub fn open_tls(address: SocketAddr, path: &str) -> Ws {
        let socket = socket(address);
        let tls = std::sync::Arc::new(client_config(&[b"http/1.1"]));
        let client = rustls::ClientConnection::new(tls, "localhost".try_into().unwrap()).unwrap();
        let stream = rustls::StreamOwned::new(client, socket.try_clone().unwrap());
        Self::upgrade(Box::new(stream), socket, address, path)
    }

    fn upgrade(stream: Box<dyn Stream>, socket: TcpStream, address: SocketAddr, path: &str) -> Ws {
        let mut request = Vec::new();
        write_request(&address.to_string(), path, None, None, &KEY, &mut request).unwrap();
        Self::request(stream, socket, &request).expect("101")
    }

    /// Upgrade a connection that stands, under TLS or not, with these header lines more.
    ///
    /// # Errors
    /// What the node answers, or that it closed.
    pub fn over(socket: TcpStream, is_tls: bool, path: &str, headers: &str) -> Result<Ws, String> {
        let mut request = Vec::new();
        write_request("localhost", path, None, None, &KEY, &mut request).unwrap();
        request.truncate(request.len() - 2);
        request.extend_from_slice(headers.as_bytes());
        request.extend_from_slice(b"\r\n");
        let own = socket.try_clone().unwrap();
        let stream: Box<dyn Stream> = if is_tls {
            let tls = std::sync::Arc::new(client_config(&[b"http/1.1"]));
            let client = rustls::ClientConnection::new(tls, "localhost".try_into().unwrap()).unwrap();
            Box::new(rustls::StreamOwned::new(client, own))
        } else {
            Box::new(own)
        };
        Self::request(stream, socket, &request)
    }

    fn request(mut stream: Box<dyn Stream>, socket: TcpStream, request: &[u8]) -> Result<Ws, String> {
        stream.write_all(request).map_err(|error| error.to_string())?;
        let (mut response, mut buffer) = (Vec::new(), [0; 4096]);
        let len = loop {
            let n = stream.read(&mut buffer).map_err(|error| error.to_string())?;
            response.extend_from_slice(&buffer[..n]);
            let text = || String::from_utf8_lossy(&response).into_owned();
            if n == 0 {
                return Err(format!("closed during the upgrade: {}", text()));
            }
            match parse_response(&response, &KEY, None) {
                Ok(Some(answer)) => break answer.len,
                Ok(None) => {}
                Err(_) => return Err(text()),
            }
        };
        let mut ws = Ws { stream, socket, reader: Reader::new(Role::Client), queue: Default::default() };
        let mut rest = response.split_off(len);
        ws.take(&mut rest);
        Ok(ws)
    }

    /// Connect, upgrade, say hello; the welcome is read.
    pub fn welcomed(address: SocketAddr) -> Ws {
        let mut ws = Ws::open(address, "/v1");
        ws.send(&super::hello());
        assert!(matches!(ws.next(), Got::Frame(f) if f[0] == 0x41), "a welcome");
        ws
    }

    /// The same under TLS.
    pub fn welcomed_tls(address: SocketAddr) -> Ws {
        let mut ws = Ws::open_tls(address, "/v1");
        ws.send(&super::hello());
        assert!(matches!(ws.next(), Got::Frame(f) if f[0] == 0x41), "a welcome");
        ws
    }

    /// Send a binary message.
    pub fn send(&mut self, frame: &[u8]) {
        self.send_as(Opcode::Binary, frame);
    }

    /// Send a message or control frame.
    pub fn send_as(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut out = Vec::new();
        write_masked(opcode, payload, [1, 2, 3, 4], &mut out);
        self.send_raw(&out);
    }

    /// Send bytes as they are. A node that has closed already is not an error here.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// What comes next.
    pub fn next(&mut self) -> Got {
        loop {
            if let Some(got) = self.queue.pop_front() {
                return got;
            }
            let mut buffer = vec![0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Got::End,
                Ok(n) => self.take(&mut buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                    return Got::End;
                }
                Err(e) => panic!("nothing came: {e}"),
            }
        }
    }

    /// The next message, which must be a frame.
    pub fn next_frame(&mut self) -> Vec<u8> {
        match self.next() {
            Got::Frame(frame) => frame,
            other => panic!("a frame was due, but {other:?} came"),
        }
    }

    /// Read up to the close frame, or the end.
    pub fn until_close(&mut self) -> Got {
        loop {
            if let got @ (Got::Close(..) | Got::End) = self.next() {
                return got;
            }
        }
    }

    fn take(&mut self, bytes: &mut [u8]) {
        let limits =
            Limits { message_bytes_max: 1 << 26, fragments_max: 1 << 20, control_frames_max: 1 << 20 };
        let mut input = Input::new(bytes);
        while let Some(event) =
            self.reader.poll_event(&mut input, &limits).expect("the node keeps to RFC 6455")
        {
            self.queue.push_back(match event {
                Event::Message { binary: true, payload } => Got::Frame(payload.to_vec()),
                Event::Message { binary: false, payload } => Got::Text(payload.to_vec()),
                Event::Ping(payload) | Event::Pong(payload) => Got::Pong(payload.to_vec()),
                Event::Close { code, reason } => Got::Close(code.unwrap_or(1005), reason.to_owned()),
            });
        }
    }
}

/// Connect from this address of loopback.
pub fn socket_from(from: &str, to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    let from: std::net::IpAddr = from.parse().unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).expect("the node listens");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the node listens");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}
