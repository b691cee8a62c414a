//! One connection for one request: TCP to a permitted address, TLS by the host's name, HTTP/1.1.
//!
//! Why no pool: previews go to a different server each, and a connection that is kept is one that the guard
//! judged some time ago.
//! Invariants: the address comes from the guard. The name in TLS and in `Host` is the URL's. The connection
//! ends with its [`Link`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use url::Host;

use crate::error::FetchError;
use crate::network::{BoxStream, Network};
use crate::policy::Target;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Addresses of a host that are tried.
const TRIES_MAX: usize = 3;

/// The task that drives a connection; it ends with this.
#[derive(Debug)]
pub(crate) struct Link(JoinHandle<()>);

impl Drop for Link {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection to the first of `addresses` that answers, with TLS if the URL asks for it.
pub(crate) async fn connect(
    network: &dyn Network,
    tls: &Arc<ClientConfig>,
    target: &Target,
    addresses: &[IpAddr],
) -> Result<BoxStream, FetchError> {
    let host = || target.host.to_string();
    let mut last = "it has no address".to_owned();
    for &address in addresses.iter().take(TRIES_MAX) {
        // A mapped address is connected to as what it was judged as.
        match network.connect(SocketAddr::new(address.to_canonical(), target.port)).await {
            Ok(stream) if target.is_https => return secured(stream, tls, target).await,
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err(FetchError::Connect { host: host(), error: last })
}

async fn secured(
    stream: BoxStream,
    tls: &Arc<ClientConfig>,
    target: &Target,
) -> Result<BoxStream, FetchError> {
    let fault = |error: String| FetchError::Tls { host: target.host.to_string(), error };
    let name = match &target.host {
        Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|error| fault(error.to_string()))?,
        Host::Ipv4(v4) => ServerName::from(IpAddr::V4(*v4)),
        Host::Ipv6(v6) => ServerName::from(IpAddr::V6(*v6)),
    };
    let connected = TlsConnector::from(tls.clone()).connect(name, stream).await;
    Ok(Box::new(connected.map_err(|error| fault(error.to_string()))?))
}

/// Send a request, and wait for the head of its answer.
pub(crate) async fn send(
    stream: BoxStream,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Link), FetchError> {
    let fault = |error: hyper::Error| FetchError::Protocol(error.to_string());
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(fault)?;
    let link = Link(tokio::spawn(async move {
        // The request's own error says more.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(fault)?;
    Ok((response, link))
}
