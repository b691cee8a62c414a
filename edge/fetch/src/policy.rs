//! Policy: which URLs and addresses a client may reach.
//!
//! Why rules for URLs beside those for addresses: a name such as `printer.local` should not even be asked of
//! a resolver, and a port such as 25 speaks another protocol, which a request line can be made to look like.
//! Invariants: every hop of a request passes both. A host that an operator named is reached at any address
//! and port; any other name may only reach what is public or in a configured network.

use std::net::IpAddr;

use grandstand_protocol::proxy::Network;
use url::{Host, Url};

use crate::address::is_public;
use crate::error::FetchError;

/// Bytes of a URL. Servers and browsers take some 2,000.
pub(crate) const URL_BYTES_MAX: usize = 2_048;

/// Last labels of names that mean something on one network only, or nothing.
const LOCAL_SUFFIXES: &[&str] = &[
    "alt",
    "arpa",
    "corp",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
    "private",
    "test",
];

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    hosts: Vec<(String, Option<u16>)>,
    networks: Vec<Network>,
}

/// A host that may be asked for, and whether an operator named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    pub(crate) is_https: bool,
    is_named: bool,
}

impl Policy {
    /// Only the public Internet, on ports 80 and 443.
    pub fn public() -> Policy {
        Policy::default()
    }

    /// The public Internet, and what `entries` name: a host, `HOST:PORT`, an address or a network (CIDR).
    ///
    /// # Errors
    /// The first entry that is none of these, with what was expected.
    pub fn allowing<S: AsRef<str>>(entries: &[S]) -> Result<Policy, String> {
        let mut policy = Policy::public();
        for entry in entries {
            let entry = entry.as_ref().trim();
            if let Ok(network) = entry.parse::<Network>() {
                policy.networks.push(network);
                continue;
            }
            let (host, port) = match entry.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, port.parse::<u16>().ok().map(Some)),
                Some(_) => (entry, None),
                None => (entry, Some(None)),
            };
            match (Host::parse(host), port) {
                (Ok(Host::Domain(name)), Some(port)) => policy.hosts.push((bare(&name).to_owned(), port)),
                (Ok(Host::Ipv4(v4)), Some(port)) => policy.hosts.push((v4.to_string(), port)),
                _ => {
                    return Err(format!(
                        "got {entry:?}, expected a host, HOST:PORT, an address or a network such as 10.0.0.0/8"
                    ));
                }
            }
        }
        Ok(policy)
    }

    /// Parse a URL and apply the rules that need no resolver.
    pub(crate) fn parse(&self, url: &str) -> Result<Url, FetchError> {
        if url.len() > URL_BYTES_MAX {
            return Err(FetchError::Url("it has more than 2048 bytes"));
        }
        let url = Url::parse(url).map_err(|_| FetchError::Url("it is not a valid absolute URL"))?;
        self.target(&url)?;
        Ok(url)
    }

    /// The place to which `location` leads from `base`, under the same rules.
    pub(crate) fn join(&self, base: &Url, location: &str) -> Result<Url, FetchError> {
        if location.len() > URL_BYTES_MAX {
            return Err(FetchError::BadRedirect);
        }
        let url = base.join(location).map_err(|_| FetchError::BadRedirect)?;
        self.target(&url)?;
        Ok(url)
    }

    /// What a URL asks to connect to.
    pub(crate) fn target(&self, url: &Url) -> Result<Target, FetchError> {
        let is_https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(FetchError::Url("its scheme is not http or https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Url("it names a user or a password"));
        }
        let host = url.host().ok_or(FetchError::Url("it has no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or(FetchError::Url("it has no port"))?;
        let name = match &host {
            Host::Domain(name) => bare(name).to_owned(),
            Host::Ipv4(v4) => v4.to_string(),
            Host::Ipv6(v6) => v6.to_string(),
        };
        let is_named = self.hosts.iter().any(|(host, at)| *host == name && at.is_none_or(|at| at == port));
        if !is_named {
            // A network may have services at any port; whether the host is in it, its addresses will show.
            if !matches!(port, 80 | 443) && self.networks.is_empty() {
                return Err(FetchError::Url("its port is not 80 or 443"));
            }
            if let Host::Domain(_) = &host {
                check_name(&name)?;
            }
        }
        Ok(Target { host, port, is_https, is_named })
    }

    /// Judge all addresses of a target. One that is not permitted refuses them all: an attacker's name may
    /// have a public address and a private one, and which is used would be chance.
    pub(crate) fn permit(&self, target: &Target, addresses: &[IpAddr]) -> Result<(), FetchError> {
        if target.is_named {
            return Ok(());
        }
        let is_configured = |address: IpAddr| self.networks.iter().any(|network| network.contains(address));
        for &address in addresses {
            let is_known_port = matches!(target.port, 80 | 443);
            if is_configured(address.to_canonical()) {
                continue;
            }
            if !is_public(address) {
                return Err(FetchError::NotPublic { host: target.host.to_string(), address });
            }
            if !is_known_port {
                return Err(FetchError::Url("its port is not 80 or 443"));
            }
        }
        Ok(())
    }
}

impl Target {
    /// The name to ask of the resolver. One that no operator named is absolute, so that no search domain of
    /// this machine is tried.
    pub(crate) fn question(&self) -> Option<String> {
        match &self.host {
            Host::Domain(name) if self.is_named => Some(bare(name).to_owned()),
            Host::Domain(name) => Some(format!("{}.", bare(name))),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    /// The address that the URL names itself.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
            Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
        }
    }
}

/// A name without the dot at its end.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn check_name(name: &str) -> Result<(), FetchError> {
    let (rest, last) = name.rsplit_once('.').ok_or(FetchError::Url("its host has a single label"))?;
    if LOCAL_SUFFIXES.contains(&last) {
        return Err(FetchError::Url("its host is of a local network"));
    }
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63;
    if name.len() > 253 || !rest.split('.').chain([last]).all(is_label) {
        return Err(FetchError::Url("its host is no name of the Internet"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_no_page_of_the_internet_has_are_refused() {
        let policy = Policy::public();
        for bad in [
            "",
            "show.example.org",
            "//show.example.org/",
            "file:///etc/passwd",
            "ftp://show.example.org/",
            "gopher://show.example.org/",
            "data:text/html,x",
            "javascript:alert(1)",
            "http:///",
            "http://",
            "http://user@show.example.org/",
            "http://user:pw@show.example.org/",
            "http://:pw@show.example.org/",
            "http://show.example.org:25/",
            "http://show.example.org:8080/",
            "https://show.example.org:6379/",
            "http://localhost/",
            "http://intranet/",
            "http://printer.local/",
            "http://printer.local./",
            "http://metadata.google.internal/",
            "http://a.localhost/",
            "http://xyz.onion/",
            "http://nas.lan/",
            "http://1.0.0.127.in-addr.arpa/",
            "http://a..example.org/",
            "http://show.example.org:99999/",
            "http://[::1",
            "http://[fe80::1%25eth0]/",
            "http://\u{0}/",
        ] {
            assert!(matches!(policy.parse(bad), Err(FetchError::Url(_))), "{bad}: {:?}", policy.parse(bad));
        }
        let long = format!("http://show.example.org/{}", "a".repeat(URL_BYTES_MAX));
        assert!(policy.parse(&long).is_err());
        for good in
            ["http://show.example.org", "https://show.example.org:443/a?b#c", "HTTP://SHOW.example.ORG:80/"]
        {
            assert!(policy.parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_an_operator_named_is_reached_and_nothing_beside_it() {
        let policy =
            Policy::allowing(&["hooks.internal", "db:9000", "10.1.0.0/16", "127.0.0.1:7000"]).unwrap();
        let judge = |url: &str, address: &str| {
            let target = policy.target(&policy.parse(url)?)?;
            policy.permit(&target, &[target.literal().unwrap_or(address.parse().unwrap())])
        };
        for good in [
            "http://hooks.internal:81/",
            "http://hooks.internal./",
            "https://db:9000/",
            "http://10.1.2.3:8080/",
            "http://127.0.0.1:7000/",
            "http://2130706433:7000/",
        ] {
            assert_eq!(judge(good, "127.0.0.1"), Ok(()), "{good}");
        }
        assert_eq!(judge("http://show.example.org:9000/", "10.1.2.3"), Ok(()), "a name in a network");
        for bad in [
            "http://db:9001/",
            "http://db/",
            "http://10.2.0.1/",
            "http://127.0.0.1:7001/",
            "http://a.hooks.internal/",
        ] {
            assert!(judge(bad, "127.0.0.1").is_err(), "{bad}");
        }
        assert!(judge("http://show.example.org:25/", "1.1.1.1").is_err(), "a public server's other port");
        for bad in ["", "a b", "http://x", "10.0.0.0/33", "[::1]:80x", "x:99999"] {
            assert!(Policy::allowing(&[bad]).is_err(), "{bad}");
        }
    }
}
