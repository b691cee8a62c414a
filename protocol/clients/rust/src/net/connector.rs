//! A connector: it makes connections, and holds the TLS and QUIC state that the connections of a process
//! share.
//!
//! Why shared: TLS configurations hold resumption tickets, and a QUIC endpoint is a socket.
//! Not here: when to connect (`driver`), which certificates to trust (`trust`).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use grandstand_protocol::version::ALPN;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::link::{Link, QuicStream, Stream, connection_ending, ending_of};
use super::tls::TlsStream;
use super::{QuicEndpoint, Scheme, Trust, Url, quic, websocket};
use crate::core::Ending;

/// A fault of the local setup, before any connection.
#[derive(Debug)]
pub enum SetupError {
    /// The certificates to trust cannot be read.
    Pem(String),
    /// TLS cannot be set up.
    Tls(String),
    /// A socket cannot be bound.
    Socket(SocketAddr, io::Error),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Pem(why) => write!(f, "certificates to trust: {why}"),
            SetupError::Tls(why) => write!(f, "TLS: {why}"),
            SetupError::Socket(address, why) => write!(f, "cannot bind to {address}: {why}"),
        }
    }
}

impl std::error::Error for SetupError {}

/// TLS tickets kept per server: an application has one session or a few, and each gets a new ticket at every
/// reconnect.
const TICKETS_MAX: usize = 8;

/// The state that connections share. Clones are cheap and share it too.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wss: Arc<rustls::ClientConfig>,
    quic: quinn::ClientConfig,
    /// QUIC endpoints, given or bound when first needed: one for IPv4, one for IPv6.
    endpoints: Mutex<[Option<QuicEndpoint>; 2]>,
    local: Option<IpAddr>,
}

pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Link, Ending>> + Send>>;

impl Connector {
    /// A connector that accepts the certificates of `trust`.
    ///
    /// # Errors
    /// [`SetupError::Pem`] when the certificates to trust cannot be read, [`SetupError::Tls`] from TLS
    /// itself.
    pub fn new(trust: &Trust) -> Result<Connector, SetupError> {
        Connector::with(trust, None, None)
    }

    /// A connector whose QUIC connections use this endpoint, and whose TCP connections come from this
    /// address.
    ///
    /// # Errors
    /// As [`Connector::new`].
    pub fn with(
        trust: &Trust,
        endpoint: Option<QuicEndpoint>,
        local: Option<IpAddr>,
    ) -> Result<Connector, SetupError> {
        Connector::for_many(trust, endpoint, local, TICKETS_MAX)
    }

    /// As [`Connector::with`], for this number of sessions with one node: each finds a ticket when it
    /// reconnects. With it TLS resumes, and QUIC proves its address. 0: every handshake is a full one.
    ///
    /// # Errors
    /// As [`Connector::new`].
    pub fn for_many(
        trust: &Trust,
        endpoint: Option<QuicEndpoint>,
        local: Option<IpAddr>,
        sessions: usize,
    ) -> Result<Connector, SetupError> {
        let quic = quic::client_config(&trust.config(ALPN, sessions)?, sessions)?;
        let endpoints = Mutex::new([endpoint.clone(), endpoint]);
        let wss = trust.config(b"http/1.1", sessions)?;
        Ok(Connector(Arc::new(Shared { wss, quic, endpoints, local })))
    }

    /// Begin a connection, with all handshakes below `Hello`. The future is boxed, since it is large and
    /// short-lived.
    pub(super) fn connect(&self, url: &Url) -> Connecting {
        let (connector, url) = (self.clone(), url.clone());
        Box::pin(async move {
            let mut last = Ending::Broken(io::ErrorKind::AddrNotAvailable);
            for address in resolve(&url).await.map_err(|error| ending_of(&error))? {
                match connector.connect_to(&url, address).await {
                    Err(ending @ Ending::Broken(_)) => last = ending,
                    other => return other,
                }
            }
            Err(last)
        })
    }

    async fn connect_to(&self, url: &Url, address: SocketAddr) -> Result<Link, Ending> {
        let mut stream = match url.scheme() {
            Scheme::Quic => return self.connect_quic(url, address).await,
            Scheme::Ws => Stream::Tcp(self.connect_tcp(address).await.map_err(|error| ending_of(&error))?),
            Scheme::Wss => {
                let tcp = self.connect_tcp(address).await.map_err(|error| ending_of(&error))?;
                let tls = TlsStream::connect(tcp, self.0.wss.clone(), url.host())
                    .await
                    .map_err(|error| tls_ending(&error))?;
                Stream::Tls(Box::new(tls))
            }
        };
        let early = websocket::upgrade(&mut stream, url).await?;
        Ok(Link::websocket(stream, early))
    }

    async fn connect_tcp(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(local) = self.0.local {
            socket.bind(SocketAddr::new(local, 0))?;
        }
        let stream = socket.connect(address).await?;
        // A message is one small write, and people wait for it, so Nagle's algorithm is off.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn connect_quic(&self, url: &Url, address: SocketAddr) -> Result<Link, Ending> {
        let endpoint =
            self.endpoint(address.ip()).map_err(|_| Ending::Broken(io::ErrorKind::AddrNotAvailable))?;
        let connecting = endpoint
            .0
            .connect_with(self.0.quic.clone(), address, url.host())
            .map_err(|error| Ending::Untrusted(error.to_string().into()))?;
        let connection = connecting.await.map_err(|error| connection_ending(&error))?;
        let (send, recv) = connection.open_bi().await.map_err(|error| connection_ending(&error))?;
        Ok(Link::quic(QuicStream { connection, send, recv }))
    }

    fn endpoint(&self, remote: IpAddr) -> Result<QuicEndpoint, SetupError> {
        let mut endpoints = self.0.endpoints.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let slot = &mut endpoints[usize::from(remote.is_ipv6())];
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = QuicEndpoint::bind_for(remote, self.0.local)?;
        Ok(slot.insert(endpoint).clone())
    }
}

/// A literal address needs no resolver, and no thread for it.
async fn resolve(url: &Url) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = url.host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, url.port())]);
    }
    Ok(lookup_host((url.host(), url.port())).await?.collect())
}

fn tls_ending(error: &io::Error) -> Ending {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Ending::Untrusted(error.to_string().into())
        }
        kind => Ending::Broken(kind),
    }
}
