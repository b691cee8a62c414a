//! Tests of the client over a network in memory, in virtual time.
//!
//! Why in memory: names resolve to what a test says, each connection is recorded with its address, and ten
//! seconds pass at once.

mod bounds;
mod ssrf;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::{BoxFuture, BoxStream, Fetcher, Network, Policy, Settings};

/// The address that stands for the public Internet.
const PUBLIC: &str = "93.184.216.34";

type Handler = Arc<dyn Fn(SocketAddr, DuplexStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// A network in memory.
#[derive(Clone)]
struct Memory {
    /// What each name resolves to: one answer after the other, the last one for ever.
    names: Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>,
    connected: Arc<Mutex<Vec<SocketAddr>>>,
    resolved: Arc<Mutex<Vec<String>>>,
    handler: Handler,
}

impl Memory {
    /// Each connection is served by `handler`.
    fn new<F>(handler: impl Fn(SocketAddr, DuplexStream) -> F + Send + Sync + 'static) -> Memory
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Memory {
            names: Arc::default(),
            connected: Arc::default(),
            resolved: Arc::default(),
            handler: Arc::new(move |address, stream| Box::pin(handler(address, stream))),
        }
    }

    /// Each request is answered with what `answer` makes of its head.
    fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Memory {
        let answer = Arc::new(answer);
        Memory::new(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                let head = head(&mut stream).await;
                let _ = stream.write_all(&answer(&head)).await;
            }
        })
    }

    fn name(self, name: &str, answers: &[&[&str]]) -> Memory {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        self.names.lock().unwrap().insert(name.to_owned(), answers.iter().map(parse).collect());
        self
    }

    fn fetcher(&self) -> Fetcher {
        self.fetcher_with(Policy::public())
    }

    fn fetcher_with(&self, policy: Policy) -> Fetcher {
        let roots = Some(rustls::RootCertStore::empty());
        Fetcher::over(self.clone(), Settings { roots, ..Settings::new(policy) }).unwrap()
    }

    /// The connections since the last call.
    fn connected(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.connected.lock().unwrap())
    }
}

impl Network for Memory {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.resolved.lock().unwrap().push(host.to_owned());
        let mut names = self.names.lock().unwrap();
        let answer = names
            .get_mut(host.trim_end_matches('.'))
            .map(|answers| if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() });
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        self.connected.lock().unwrap().push(address);
        let (ours, theirs) = duplex(64 * 1024);
        tokio::spawn((self.handler)(address, theirs));
        Box::pin(async move { Ok(Box::new(ours) as BoxStream) })
    }
}

/// The head of a request.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An answer of HTTP/1.1 with these headers, each with its line end.
fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}
