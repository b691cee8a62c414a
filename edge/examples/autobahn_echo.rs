//! Autobahn echo: a WebSocket server that answers each message with itself, for the conformance suite.
//!
//! Why not the node: an echo has no use on the node's own read path. This server shares what the suite
//! judges: the codec (`grandstand_protocol::websocket`), and the upgrade rules and limits of
//! `transport::websocket`, with the values and the bounds of the node's own configuration.
//! Invariant: one thread a connection, so a case that stalls holds up no other.
//! Not here: running the suite (`cargo xtask autobahn`), TLS.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use grandstand_edge::config::{self, Config};
use grandstand_edge::transport::websocket::{self, Upgrade};
use grandstand_protocol::websocket::handshake::write_refusal;
use grandstand_protocol::websocket::{
    Event, Input, Limits, Opcode, Reader, Role, close_payload, write_frame,
};

/// Bytes read at once, as the node reads them.
const READ_BYTES: usize = 64 * 1024;

fn main() -> ExitCode {
    // The suite starts it as it starts a node.
    if let Some(argument) = std::env::args().nth(1).filter(|argument| argument != "serve") {
        eprintln!("error: got {argument}, expected `serve` or no argument");
        eprintln!(
            "help: its keys are those of `grandstand serve`, in the environment: GRANDSTAND_WS_LISTEN=127.0.0.1:9001"
        );
        return ExitCode::from(2);
    }
    match listen() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen() -> Result<(), Box<dyn Error>> {
    let config = Arc::new(config::load(None, config::environment(), std::iter::empty())?.config);
    let listener = TcpListener::bind(config.ws.listen.ok_or("ws.listen is off: there is nothing to serve")?)?;
    println!("WebSocket ws://{}{}", listener.local_addr()?, config.ws.path);
    println!("the echo is ready for connections");
    for stream in listener.incoming() {
        let (stream, config) = (stream?, config.clone());
        thread::spawn(move || {
            // A connection that breaks concerns its own case, which the suite judges.
            let _ = serve(stream, &config);
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream, config: &Config) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(mut bytes) = upgrade(&mut stream, &config.ws)? else { return close(stream) };
    let (limits, mut reader) = (websocket::limits(&config.limits), Reader::new(Role::Server));
    let mut answer = Vec::new();
    loop {
        let is_over = echo(&mut reader, &mut bytes, &limits, &mut answer);
        stream.write_all(&answer)?;
        answer.clear();
        if is_over {
            return close(stream);
        }
        if !read(&mut stream, &mut bytes)? {
            return Ok(());
        }
    }
}

/// Answer the upgrade request: the bytes that follow it, or `None` when it was refused.
fn upgrade(stream: &mut TcpStream, ws: &config::Ws) -> io::Result<Option<Vec<u8>>> {
    let (mut request, mut bytes) = (Vec::new(), Vec::new());
    let (status, reason) = loop {
        match websocket::judge_request(ws, &request) {
            Ok(Some(Upgrade::Accept { answer, request_len })) => {
                stream.write_all(&answer)?;
                return Ok(Some(request.split_off(request_len)));
            }
            Ok(Some(Upgrade::Refuse(status, reason))) => break (status, reason),
            Ok(None) if read(stream, &mut bytes)? => request.extend_from_slice(&bytes),
            Ok(None) => return Ok(None),
            Err(fault) => break (fault.status(), fault.reason()),
        }
    };
    let mut answer = Vec::new();
    write_refusal(status, reason, None, &mut answer);
    stream.write_all(&answer)?;
    Ok(None)
}

/// Read what has come into `bytes`; `false` at the end of the stream.
fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.resize(READ_BYTES, 0);
    let read = stream.read(bytes)?;
    bytes.truncate(read);
    Ok(read > 0)
}

/// Append an answer to each message; `true` when a Close ends the conversation.
fn echo(reader: &mut Reader, bytes: &mut [u8], limits: &Limits, answer: &mut Vec<u8>) -> bool {
    let mut input = Input::new(bytes);
    loop {
        match reader.poll_event(&mut input, limits) {
            Ok(None) => return false,
            Ok(Some(Event::Message { binary, payload })) => {
                write_frame(if binary { Opcode::Binary } else { Opcode::Text }, payload, answer);
            }
            Ok(Some(Event::Ping(payload))) => write_frame(Opcode::Pong, payload, answer),
            Ok(Some(Event::Pong(_))) => {}
            Ok(Some(Event::Close { code, .. })) => {
                let payload = code.map_or_else(Vec::new, |code| close_payload(code, ""));
                write_frame(Opcode::Close, &payload, answer);
                return true;
            }
            Err(fault) => {
                let payload = close_payload(fault.close_code(), &fault.to_string());
                write_frame(Opcode::Close, &payload, answer);
                return true;
            }
        }
    }
}

/// End our side, and read the peer's to its end: closing with bytes unread would reset what was just sent.
fn close(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}
