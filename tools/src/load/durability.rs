//! The setting of the durability of a run's rooms, through the node's admin port, before any viewer joins.
//!
//! Invariant: an error answer ends the run, and the run reports that answer.
//! Not here: the meaning of durability (docs/PROTOCOL.md).

use std::net::ToSocketAddrs;

use anyhow::Context;
use grandstand_harness::http::request_with;
use serde::Serialize;

/// Where rooms are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// In the memory of the node.
    Memory,
    /// Synced to its disk before a message is acknowledged.
    Disk,
}

/// Make the rooms, with this durability, through the admin port at `admin` (`http://host:port`).
///
/// # Errors
/// When the node does not do so.
pub(crate) fn set(admin: &str, rooms: &[String], level: Level) -> anyhow::Result<()> {
    let host = admin.trim_start_matches("http://").trim_end_matches('/');
    let address = host.to_socket_addrs().ok().and_then(|mut found| found.next());
    let address = address.with_context(|| format!("--admin: no address in {admin}"))?;
    for room in rooms {
        let name = serde_json::json!({ "name": room }).to_string();
        request_with(address, "POST", "/rooms", &name)?;
        let settings = serde_json::json!({ "durability": level }).to_string();
        request_with(address, "PUT", &format!("/rooms/{}/settings", percent(room)), &settings)?;
    }
    Ok(())
}

fn percent(name: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rooms_go_into_a_path() {
        assert_eq!(percent("show/1 ä"), "show%2F1%20%C3%A4");
        assert_eq!(serde_json::to_value(Level::Disk).unwrap(), "disk");
    }
}
