//! Proxies that named no client: each is told of in the log once.
//!
//! Why once: a proxy that is set up wrong sends every connection so, and its operator needs its address and
//! not a line for each.
//! Invariant: at most [`PROXIES_MAX`] are remembered; those beyond are not told of, and are counted all the
//! same.
//! Not here: the count (`stats`), who is a proxy (the configuration).

use std::net::IpAddr;
use std::sync::Mutex;

/// Proxies that are told of; `proxy.trusted` may name whole networks.
const PROXIES_MAX: usize = 64;

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct UnnamedProxies(Mutex<Vec<IpAddr>>);

impl UnnamedProxies {
    /// Is this one to be told of now?
    pub(crate) fn is_first(&self, proxy: IpAddr) -> bool {
        let mut told = self.0.lock().expect("nothing panics under this lock");
        let is_first = told.len() < PROXIES_MAX && !told.contains(&proxy);
        if is_first {
            told.push(proxy);
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_proxy_is_told_of_once_and_a_network_of_them_is_bounded() {
        let proxies = UnnamedProxies::default();
        let proxy = |n: u8| IpAddr::from([10, 0, 0, n]);
        let told: Vec<u8> = (0..=255).chain(0..=255).filter(|n| proxies.is_first(proxy(*n))).collect();
        assert_eq!(told, (0..PROXIES_MAX as u8).collect::<Vec<_>>());
    }
}
