//! Flags that all tools share: the address of the node, and which certificates to trust.
//!
//! Not here: the tools' work on that node (each tool's module).

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use grandstand_client::net::{Connector, Scheme, Trust, Url};
use serde::{Deserialize, Serialize};

/// Where a node listens for WebSocket by default.
pub(crate) const DEFAULT_WS: &str = "ws://127.0.0.1:7400/v1";
/// Where a node listens for QUIC by default.
pub(crate) const DEFAULT_QUIC: &str = "quic://127.0.0.1:7443";

/// Which certificates to trust.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TrustArgs {
    /// Trust the certificate with this SHA-256, which the node prints when it starts.
    #[arg(long, value_name = "HEX")]
    pub(crate) fingerprint: Option<String>,
    /// Trust certificates signed by these authorities (PEM).
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust any certificate. This is the default on loopback.
    #[arg(long, conflicts_with_all = ["fingerprint", "ca"])]
    pub(crate) insecure: bool,
}

/// Trust, in a form that can be sent to other processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TrustBy {
    #[default]
    Nobody,
    Fingerprint(String),
    Pem(PathBuf),
    Anyone,
}

impl TrustArgs {
    /// Decide from these flags which certificates to accept at these addresses.
    pub(crate) fn decide(&self, urls: &[Url]) -> anyhow::Result<TrustBy> {
        if let Some(hex) = &self.fingerprint {
            return Ok(TrustBy::Fingerprint(hex.clone()));
        }
        if let Some(path) = &self.ca {
            return Ok(TrustBy::Pem(path.clone()));
        }
        let strict = |url: &&Url| url.scheme() != Scheme::Ws && !is_loopback(url);
        match urls.iter().find(strict) {
            Some(url) if !self.insecure => bail!(
                "{url}: no trust given: use --fingerprint HEX (the node prints it when it starts), --ca FILE or --insecure"
            ),
            _ if urls.iter().all(|url| url.scheme() == Scheme::Ws) => Ok(TrustBy::Nobody),
            // A server on loopback runs on this machine.
            _ => Ok(TrustBy::Anyone),
        }
    }
}

impl TrustBy {
    fn trust(&self) -> anyhow::Result<Trust> {
        Ok(match self {
            TrustBy::Nobody => Trust::Nobody,
            TrustBy::Anyone => Trust::AnyoneForTests,
            TrustBy::Fingerprint(hex) => {
                Trust::fingerprint(hex).context("--fingerprint: a SHA-256 has 64 hexadecimal digits")?
            }
            TrustBy::Pem(path) => Trust::Pem(
                std::fs::read(path).with_context(|| format!("--ca: cannot read {}", path.display()))?,
            ),
        })
    }

    /// The connector that the connections of a process share. TCP connections come from `local`, if given.
    pub(crate) fn connector(&self, local: Option<IpAddr>) -> anyhow::Result<Connector> {
        Ok(Connector::with(&self.trust()?, None, local)?)
    }
}

/// Does it stay on this machine?
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host() == "localhost" || url.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The signed token in a file, or none.
pub(crate) fn token(path: Option<&Path>) -> anyhow::Result<String> {
    let Some(path) = path else { return Ok(String::new()) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("--token: cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(args: &TrustArgs, urls: &[&str]) -> anyhow::Result<TrustBy> {
        let urls: Vec<Url> = urls.iter().map(|url| url.parse().unwrap()).collect();
        args.decide(&urls)
    }

    #[test]
    fn strangers_are_not_believed_without_a_word() {
        let none = TrustArgs { fingerprint: None, ca: None, insecure: false };
        assert_eq!(decide(&none, &["ws://example.org/v1"]).unwrap(), TrustBy::Nobody);
        assert_eq!(decide(&none, &[DEFAULT_QUIC, DEFAULT_WS]).unwrap(), TrustBy::Anyone);
        let error = decide(&none, &[DEFAULT_QUIC, "wss://example.org/v1"]).unwrap_err();
        assert!(error.to_string().contains("--fingerprint"), "{error}");
        let insecure = TrustArgs { insecure: true, ..none.clone() };
        assert_eq!(decide(&insecure, &["wss://example.org/v1"]).unwrap(), TrustBy::Anyone);
        let pinned = TrustArgs { fingerprint: Some("00".into()), ..none };
        assert!(decide(&pinned, &["wss://example.org/v1"]).unwrap().connector(None).is_err());
    }
}
