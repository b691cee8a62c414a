//! Rooms made through a node's admin port, many of them.
//!
//! Why a connection for each: that is how the admin port works.
//! Not here: metrics (`metrics`), rooms that begin when somebody comes (`guests`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A node that does not answer by then is stuck.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Makes rooms of these names, one by one.
///
/// # Errors
/// The admin port does not answer, or refuses one.
pub fn create_rooms(admin: SocketAddr, names: impl Iterator<Item = String>) -> Result<()> {
    for name in names {
        let body = serde_json::json!({ "name": name }).to_string();
        let answer = post(admin, "/rooms", &body)?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "making the room {name} was answered with {answer}");
    }
    Ok(())
}

fn post(admin: SocketAddr, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(admin).context("the admin port does not answer")?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let head = format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {}\r\n", body.len());
    // In one write: a second small one would wait for the first one's acknowledgement.
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the admin port did not answer")?;
    Ok(answer)
}
