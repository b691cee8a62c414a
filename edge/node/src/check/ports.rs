//! Ports: free, or held by the node that is to be restarted.
//!
//! Why the holder: before a restart a port is in use, by the node itself. Any other holder makes the start
//! fail.
//! Invariant: a port is taken for an instant only, and only if it is free.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use grandstand_edge::config::Config;

use super::report::Report;
use crate::NodeError;

/// `node`: the process that holds the folder of the durable log.
pub(super) fn inspect(report: &mut Report, config: &Config, node: Option<u32>) {
    let listeners = [
        ("ws.listen", config.ws.listen, Protocol::Tcp),
        ("wss.listen", config.wss.listen, Protocol::Tcp),
        ("admin.listen", config.admin.listen, Protocol::Tcp),
        ("api.listen", config.api.listen, Protocol::Tcp),
        ("quic.listen", config.quic.listen, Protocol::Udp),
    ];
    for (key, address, protocol) in listeners {
        let Some(address) = address else { continue };
        match protocol.bind(address) {
            Ok(()) => report.fine(key, format!("{address} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                told_in_use(report, key, address, protocol, node);
            }
            Err(error) => {
                let error = NodeError::bind(key, address, &error);
                report.error(key, error.to_string(), error.hint());
            }
        }
    }
}

fn told_in_use(report: &mut Report, key: &str, address: SocketAddr, protocol: Protocol, node: Option<u32>) {
    let holder = protocol.holder(address.port());
    match holder {
        Some(pid) if Some(pid) == node => {
            report.fine(key, format!("{address} is held by the running node (process {pid}), which hands it over"));
        }
        Some(pid) if name(pid) == own_name() => report.warn(
            key,
            format!("{address} is held by a running node (process {pid}) that does not hand it over"),
            "stop it before this one starts; with log.dir or node.handover set in both, the next one takes over",
        ),
        Some(pid) => report.error(
            key,
            format!("{address} is held by {} (process {pid})", name(pid).unwrap_or_else(|| "another program".into())),
            format!("stop it, or set {key} to another port"),
        ),
        None => report.error(
            key,
            format!("{address} is held by a process of another user"),
            format!("stop it, or set {key} to another port; run this as root to learn which it is"),
        ),
    }
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// Take it and give it back.
    fn bind(self, address: SocketAddr) -> io::Result<()> {
        match self {
            Protocol::Tcp => TcpListener::bind(address).map(drop),
            Protocol::Udp => UdpSocket::bind(address).map(drop),
        }
    }

    /// The process that listens at a port, as far as /proc shows it.
    fn holder(self, port: u16) -> Option<u32> {
        // proc(5): 0A is LISTEN; UDP sockets without a peer are 07.
        let (tables, state) = match self {
            Protocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], "0A"),
            Protocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], "07"),
        };
        let tables: String = tables.into_iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
        let sockets: Vec<String> = tables.lines().filter_map(|line| inode(line, port, state)).collect();
        let processes = fs::read_dir("/proc").ok()?.flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| holds_one(*pid, &sockets))
    }
}

/// The socket of a line of /proc/net/tcp, if it is at this port and in this state.
fn inode(line: &str, port: u16, state: &str) -> Option<String> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _, found) = (fields.next()?, fields.next()?, fields.next()?);
    let at = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    let inode = fields.nth(5)?;
    (at == port && found == state).then(|| format!("socket:[{inode}]"))
}

fn holds_one(pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path());
        target.is_ok_and(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    })
}

fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

fn own_name() -> Option<String> {
    name(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found_on_both_protocols_and_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let tcp = TcpListener::bind(address).unwrap();
            let udp = UdpSocket::bind(address).unwrap();
            let own = Some(std::process::id());
            assert_eq!(Protocol::Tcp.holder(tcp.local_addr().unwrap().port()), own, "{address}");
            assert_eq!(Protocol::Udp.holder(udp.local_addr().unwrap().port()), own, "{address}");
            assert!(Protocol::Tcp.bind(tcp.local_addr().unwrap()).is_err());
        }
    }
}
