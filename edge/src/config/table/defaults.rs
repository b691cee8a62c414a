//! Defaults: the forms in which several keys have theirs.
//!
//! Why apart: every file of the table uses them. Not here: the defaults themselves (the lines).

use std::net::{Ipv4Addr, SocketAddr};

/// An address of this machine alone.
pub(super) fn loopback(port: u16) -> Option<SocketAddr> {
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// A list of texts.
pub(super) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}
