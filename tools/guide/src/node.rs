//! Requests to a node's API, without TLS: beside the node, or through a tunnel.
//!
//! Why by hand: one request over one connection, with a file as its body.
//! Invariant: the key comes from a file or the environment, and is never printed. Not here: what is asked.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

/// Where a node is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Address of a node's API, such as http://127.0.0.1:7481, instead of a folder.
    #[arg(long, value_name = "URL", id = "node")]
    node: Option<String>,
    /// File of the API key; without it, the environment's GRANDSTAND_API_KEY.
    #[arg(long, value_name = "FILE", requires = "node")]
    key_file: Option<PathBuf>,
}

pub(crate) struct Node<'a> {
    url: &'a str,
    key_file: Option<&'a PathBuf>,
}

impl NodeArgs {
    pub(crate) fn node(&self) -> Option<Node<'_>> {
        self.node.as_deref().map(|url| Node { url, key_file: self.key_file.as_ref() })
    }
}

impl Node<'_> {
    /// Send a request; its status and the answer's body.
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<File>) -> anyhow::Result<(u16, String)> {
        let Some(host) = self.url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
            bail!(
                "{}: expected http://HOST:PORT; for TLS use a tunnel, or curl --data-binary @FILE",
                self.url
            );
        };
        let key = match self.key_file {
            Some(path) => {
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            None => std::env::var("GRANDSTAND_API_KEY").unwrap_or_default(),
        };
        let mut stream = TcpStream::connect(host).with_context(|| format!("cannot connect to {host}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(70)))?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        if !key.trim().is_empty() {
            head += &format!("authorization: Bearer {}\r\n", key.trim());
        }
        if let Some(file) = &body {
            let length = file.metadata()?.len();
            head += &format!("content-type: application/octet-stream\r\ncontent-length: {length}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes())?;
        if let Some(mut file) = body {
            // A node that refuses early closes: its answer says why.
            let _ = std::io::copy(&mut file, &mut stream);
        }
        let mut answer = BufReader::new(stream);
        let mut line = String::new();
        answer.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("{host} gave no answer of HTTP"))?;
        let mut length = None;
        loop {
            line.clear();
            answer.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let mut text = String::new();
        answer.take(length.unwrap_or(64 << 20)).read_to_string(&mut text)?;
        Ok((status, text))
    }
}

/// A value of a query, percent-encoded.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all += &format!("%{byte:02X}");
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded() {
        assert_eq!(encode("Europe/London"), "Europe%2FLondon");
        assert_eq!(encode("+01:00 é"), "%2B01%3A00%20%C3%A9");
    }
}
