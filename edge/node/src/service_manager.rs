//! The service manager: tells systemd, or whoever speaks its protocol, how the node is.
//!
//! Why by ourselves: it is one datagram per message, of lines `NAME=value`, to the unix socket that
//! `NOTIFY_SOCKET` names (systemd's manual, sd_notify(3)). A name that begins with `@` is abstract.
//! Invariants: without `NOTIFY_SOCKET` nothing is sent. A manager that does not read never stops the node: a
//! message that does not fit is dropped.
//! Not here: when the node is ready, drains or reloads (`run`), the shipped unit (docs/grandstand.service).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where messages go.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The time without a sign of life after which the manager ends the node, in microseconds.
const WATCHDOG: &str = "WATCHDOG_USEC";

/// The node serves.
pub(crate) fn ready() {
    send(&format!("READY=1\nMAINPID={}\nSTATUS=serving", std::process::id()));
}

/// A reload begins; [`ready`] ends it.
pub(crate) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let us = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={us}\nSTATUS=reading certificates and keys again"));
}

/// A drain begins, which ends the node.
pub(crate) fn stopping() {
    send("STOPPING=1\nSTATUS=draining");
}

/// The drain goes on, and needs at most this long.
pub(crate) fn draining(phase: &str, connections: usize, left: Duration) {
    let us = left.as_micros();
    send(&format!("STATUS=draining ({phase}), {connections} connections left\nEXTEND_TIMEOUT_USEC={us}"));
}

/// Another process has taken this one's place.
pub(crate) fn successor(pid: u32) {
    send(&format!("MAINPID={pid}\nSTATUS=handed over to process {pid}"));
}

/// The node is alive: to be said at least as often as [`watchdog_interval`] asks.
pub(crate) fn alive() {
    send("WATCHDOG=1");
}

/// How often a sign of life is due: half of the time that the manager waits. `None`: it waits for none.
///
/// `WATCHDOG_PID` is not looked at: a process that took over has its predecessor's.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    let us: u64 = std::env::var(WATCHDOG).ok()?.parse().ok()?;
    std::env::var_os(SOCKET)?;
    (us > 0).then(|| Duration::from_micros(us) / 2)
}

fn send(message: &str) {
    let Some(name) = std::env::var_os(SOCKET).filter(|name| !name.is_empty()) else { return };
    // A manager that is gone, or does not read, need not be told.
    if let Err(error) = try_send(name.as_encoded_bytes(), message) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

fn try_send(name: &[u8], message: &str) -> io::Result<()> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::str::from_utf8(name).map_err(io::Error::other)?)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_at_a_path_and_at_an_abstract_name() {
        let path = std::env::temp_dir().join(format!("grandstand-notify-{}", std::process::id()));
        let abstract_name = format!("grandstand-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (manager, name) in
            [(by_path, path.to_str().unwrap().to_owned()), (by_name, format!("@{abstract_name}"))]
        {
            try_send(name.as_bytes(), "READY=1\nSTATUS=serving").unwrap();
            let mut got = [0; 64];
            let bytes = manager.recv(&mut got).unwrap();
            assert_eq!(&got[..bytes], b"READY=1\nSTATUS=serving");
        }
        std::fs::remove_file(path).unwrap();
        assert!(try_send(b"/nowhere/notify", "READY=1").is_err());
    }
}
