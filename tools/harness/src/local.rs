//! A node in the process of its test, on loopback.
//!
//! Why in this process: a test reads the node's counters and stops it without signals.

use grandstand::Node;
use grandstand_edge::config::{Config, load};

/// A node on free ports; `keys` are keys and values of its configuration.
///
/// # Panics
/// It does not start.
#[must_use]
pub fn node(keys: &[(&str, &str)]) -> Node {
    Node::start(config(keys)).expect("the node starts")
}

/// The configuration of [`node`].
///
/// # Panics
/// A key or a value is wrong.
#[must_use]
pub fn config(keys: &[(&str, &str)]) -> Config {
    let ports = ["ws.listen", "wss.listen", "quic.listen", "admin.listen"].map(|key| (key, "127.0.0.1:0"));
    // No load balancer is to be told of a drain.
    let at_once = ["drain.announce_ms", "drain.refuse_ms"].map(|key| (key, "0"));
    let is_given = |key: &str| keys.iter().any(|(k, _)| *k == key);
    let keys = ports.iter().chain(&at_once).filter(|(key, _)| !is_given(key)).chain(keys);
    let keys = keys.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    load(None, std::iter::empty(), keys).expect("a good configuration").config
}
