//! The durability of a run's rooms, set through the node's admin port before anybody comes.
//!
//! Why a request by hand: one or two of them, to loopback or a trusted network, are not worth an HTTP client.
//! Invariant: an answer other than success ends the run, with the node's own words.
//! Not here: what durability means (docs/PROTOCOL.md).

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// For one request.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Of an answer, more than any that is asked for here.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Where rooms are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// In the memory of the node.
    Memory,
    /// Synced to its disk before a message is acknowledged.
    Disk,
}

/// Make the rooms, with this durability, through the admin port at `admin` (`http://host:port`).
///
/// # Errors
/// When the node does not do so.
pub(crate) async fn set(admin: &str, rooms: &[String], level: Level) -> anyhow::Result<()> {
    for room in rooms {
        let name = serde_json::json!({ "name": room }).to_string();
        ask(admin, "POST", "/rooms", &name).await?;
        let settings = serde_json::json!({ "durability": level }).to_string();
        ask(admin, "PUT", &format!("/rooms/{}/settings", percent(room)), &settings).await?;
    }
    Ok(())
}

async fn ask(admin: &str, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
    let host = admin.trim_start_matches("http://").trim_end_matches('/');
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer =
        tokio::time::timeout(ANSWER_WAIT, exchange).await.context("the admin port does not answer")?;
    let answer = answer.with_context(|| format!("asking the admin port at {admin}"))?;
    let status = answer.split_whitespace().nth(1).context("the admin port does not speak HTTP")?;
    ensure!(!answer.is_empty(), "the admin port says nothing");
    if !status.starts_with('2') {
        let said = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        bail!("{method} {path}: {status} {}", said.trim());
    }
    Ok(())
}

fn percent(name: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rooms_go_into_a_path() {
        assert_eq!(percent("show/1 ä"), "show%2F1%20%C3%A4");
        assert_eq!(serde_json::to_value(Level::Disk).unwrap(), "disk");
    }
}
