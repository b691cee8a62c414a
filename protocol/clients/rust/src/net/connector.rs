//! A connector: it makes connections, and holds the TLS and QUIC state that the connections of a process
//! share.
//!
//! Why shared: TLS configurations hold resumption tickets, and a QUIC endpoint is a socket.
//! Not here: when to connect (`driver`), which certificates to trust (`trust`), racing (`race`).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "quic")]
use std::sync::Mutex;
use std::time::Duration;

#[cfg(feature = "quic")]
use grandstand_protocol::version::ALPN;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::addresses::interleave;
use super::diagnosis::{self, connect, telling};
use super::link::{Link, Stream};
#[cfg(feature = "quic")]
use super::quic_stream::{QuicStream, connect_ending};
use super::race::{self, Progress, Race, Way};
use super::setup_error::SetupError;
use super::tls::TlsStream;
#[cfg(feature = "quic")]
use super::{QuicEndpoint, quic};
use super::{Scheme, Trust, Url, websocket};
use crate::core::{ConnectError, Ending};

/// TLS tickets kept per server: an application has one session or a few, and each gets a new ticket at every
/// reconnect.
const TICKETS_MAX: usize = 8;

/// How long an address may be silent before the next one is tried beside it (RFC 8305, 5).
const ADDRESS_STAGGER: Duration = Duration::from_millis(250);

/// The same for URLs. Two round trips of a slow network are shorter, and nobody minds waiting so long where
/// UDP is blocked.
const URL_STAGGER: Duration = Duration::from_millis(600);

/// How long to wait for a TCP connection, or for the first answer over QUIC. Less than the driver's own
/// limit, so that the error names the address.
const ANSWER_WAIT: Duration = Duration::from_millis(9_500);

/// The state that connections share. Clones are cheap and share it too.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wss: Arc<rustls::ClientConfig>,
    #[cfg(feature = "quic")]
    quic: quinn::ClientConfig,
    /// QUIC endpoints, given or bound when first needed: one for IPv4, one for IPv6.
    #[cfg(feature = "quic")]
    endpoints: Mutex<[Option<QuicEndpoint>; 2]>,
    local: Option<IpAddr>,
    hosts: HashMap<String, Vec<IpAddr>>,
}

/// Settings of a [`Connector`]; see [`Connector::builder`].
#[derive(Clone, Debug)]
pub struct ConnectorBuilder {
    trust: Trust,
    #[cfg(feature = "quic")]
    endpoint: Option<QuicEndpoint>,
    local: Option<IpAddr>,
    sessions: usize,
    hosts: HashMap<String, Vec<IpAddr>>,
}

impl ConnectorBuilder {
    /// Accept these certificates, instead of those of the system's authorities.
    pub fn trust(mut self, trust: Trust) -> ConnectorBuilder {
        self.trust = trust;
        self
    }

    /// Use this endpoint for QUIC connections.
    #[cfg(feature = "quic")]
    pub fn endpoint(mut self, endpoint: QuicEndpoint) -> ConnectorBuilder {
        self.endpoint = Some(endpoint);
        self
    }

    /// Connect from this address.
    pub fn local_address(mut self, local: IpAddr) -> ConnectorBuilder {
        self.local = Some(local);
        self
    }

    /// Serve this number of sessions with one node: each finds a ticket when it reconnects. With it TLS
    /// resumes, and QUIC proves its address. 0: every handshake is a full one.
    pub fn sessions(mut self, sessions: usize) -> ConnectorBuilder {
        self.sessions = sessions;
        self
    }

    /// Take these addresses for this name, in this order, and do not ask the system.
    pub fn resolve(mut self, host: &str, addresses: &[IpAddr]) -> ConnectorBuilder {
        self.hosts.insert(host.into(), addresses.into());
        self
    }

    /// The connector.
    ///
    /// # Errors
    /// [`SetupError`] when the certificates to trust cannot be read, or TLS cannot be set up.
    pub fn build(self) -> Result<Connector, SetupError> {
        let wss = self.trust.config(b"http/1.1", self.sessions)?;
        Ok(Connector(Arc::new(Shared {
            wss,
            #[cfg(feature = "quic")]
            quic: quic::client_config(&self.trust.config(ALPN, self.sessions)?, self.sessions)?,
            #[cfg(feature = "quic")]
            endpoints: Mutex::new([self.endpoint.clone(), self.endpoint]),
            local: self.local,
            hosts: self.hosts,
        })))
    }
}

/// A connection that is being made, with the URL that won.
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<(Link, Url), Ending>> + Send>>;

impl Connector {
    /// Settings of a connector, to change and to build. Without a change it accepts the certificates of the
    /// system's authorities.
    pub fn builder() -> ConnectorBuilder {
        ConnectorBuilder {
            trust: Trust::default(),
            #[cfg(feature = "quic")]
            endpoint: None,
            local: None,
            sessions: TICKETS_MAX,
            hosts: HashMap::new(),
        }
    }

    /// A connector that accepts the certificates of `trust`.
    ///
    /// # Errors
    /// As [`ConnectorBuilder::build`].
    pub fn new(trust: &Trust) -> Result<Connector, SetupError> {
        Connector::builder().trust(trust.clone()).build()
    }

    /// A connector whose QUIC connections use this endpoint, and whose TCP connections come from this
    /// address.
    ///
    /// # Errors
    /// As [`ConnectorBuilder::build`].
    #[cfg(feature = "quic")]
    pub fn with(
        trust: &Trust,
        endpoint: Option<QuicEndpoint>,
        local: Option<IpAddr>,
    ) -> Result<Connector, SetupError> {
        Connector::for_many(trust, endpoint, local, TICKETS_MAX)
    }

    /// As [`Connector::with`], for this number of sessions: see [`ConnectorBuilder::sessions`].
    ///
    /// # Errors
    /// As [`ConnectorBuilder::build`].
    #[cfg(feature = "quic")]
    pub fn for_many(
        trust: &Trust,
        endpoint: Option<QuicEndpoint>,
        local: Option<IpAddr>,
        sessions: usize,
    ) -> Result<Connector, SetupError> {
        let trust = trust.clone();
        ConnectorBuilder { trust, endpoint, local, sessions, hosts: HashMap::new() }.build()
    }

    /// Begin a connection to the first of these URLs that works, with all handshakes below `Hello`. There is
    /// at least one URL. The future is boxed, since it is large and short-lived.
    pub(super) fn connect(&self, mut urls: Vec<Url>) -> Connecting {
        let connector = self.clone();
        Box::pin(async move {
            if urls.len() == 1 {
                let url = urls.remove(0);
                return connector.connect_url(&url, Progress::default()).await.map(|link| (link, url));
            }
            let race = Race::new(urls.len(), URL_STAGGER);
            let start = |way: usize, progress| -> Way<Link, Ending> {
                let (connector, url) = (connector.clone(), urls[way].clone());
                Box::pin(async move { connector.connect_url(&url, progress).await })
            };
            let (way, link) = race::run(race, None, start, telling).await?;
            Ok((link, urls.swap_remove(way)))
        })
    }

    async fn connect_url(&self, url: &Url, progress: Progress) -> Result<Link, Ending> {
        let addresses = interleave(self.resolve(url).await?);
        if let [address] = addresses[..] {
            return self.connect_to(url, address, &progress).await;
        }
        if addresses.is_empty() {
            return Err(connect(ConnectError::UnknownHost { host: url.host().into() }));
        }
        let start = |way: usize, progress: Progress| -> Way<Link, Ending> {
            let (connector, url, address) = (self.clone(), url.clone(), addresses[way]);
            Box::pin(async move { connector.connect_to(&url, address, &progress).await })
        };
        let race = Race::new(addresses.len(), ADDRESS_STAGGER);
        Ok(race::run(race, Some(progress), start, telling).await?.1)
    }

    /// A literal address needs no resolver, and no thread for it.
    async fn resolve(&self, url: &Url) -> Result<Vec<SocketAddr>, Ending> {
        let (host, port) = (url.host(), url.port());
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if let Some(known) = self.0.hosts.get(host) {
            return Ok(known.iter().map(|address| SocketAddr::new(*address, port)).collect());
        }
        match tokio::time::timeout(ANSWER_WAIT, lookup_host((host, port))).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(_)) => Err(connect(ConnectError::UnknownHost { host: host.into() })),
            Err(_) => Err(connect(ConnectError::NoAnswer { address: None, udp: false })),
        }
    }

    async fn connect_to(&self, url: &Url, address: SocketAddr, progress: &Progress) -> Result<Link, Ending> {
        if url.scheme() == Scheme::Quic {
            return self.connect_quic(url, address).await;
        }
        let tcp = tokio::time::timeout(ANSWER_WAIT, self.connect_tcp(address)).await;
        let tcp = tcp.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let tcp = tcp.map_err(|error| diagnosis::of_tcp(&error, address))?;
        progress.made();
        let mut stream = if url.scheme() == Scheme::Wss {
            let tls = TlsStream::connect(tcp, self.0.wss.clone(), url.host()).await;
            Stream::Tls(Box::new(tls.map_err(|error| diagnosis::of_tls_error(&error, url.host()))?))
        } else {
            Stream::Tcp(tcp)
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

    #[cfg(not(feature = "quic"))]
    #[allow(clippy::unused_async, reason = "as with the feature")]
    async fn connect_quic(&self, url: &Url, _: SocketAddr) -> Result<Link, Ending> {
        let detail = format!("{url}: this program was built without QUIC: use wss://");
        Err(connect(ConnectError::Local { detail: detail.into() }))
    }

    #[cfg(feature = "quic")]
    async fn connect_quic(&self, url: &Url, address: SocketAddr) -> Result<Link, Ending> {
        let local = |detail: String| connect(ConnectError::Local { detail: detail.into() });
        let no_socket = |_| Ending::Broken(io::ErrorKind::AddrNotAvailable);
        let endpoint = self.endpoint(address.ip()).map_err(no_socket)?;
        let connecting = endpoint
            .0
            .connect_with(self.0.quic.clone(), address, url.host())
            .map_err(|error| local(format!("{url}: {error}")))?;
        let no_answer = || connect(ConnectError::NoAnswer { address: Some(address), udp: true });
        let connection = tokio::time::timeout(ANSWER_WAIT, connecting).await.map_err(|_| no_answer())?;
        let connection = connection.map_err(|error| connect_ending(&error, address, url.host()))?;
        Ok(Link::quic(QuicStream::open(connection).await?))
    }

    #[cfg(feature = "quic")]
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
