//! The successor's side: finds the predecessor, takes its sockets, and waits for its log.
//!
//! Why in two steps: sockets are taken at once, but the rooms only after everything that can fail has been
//! done.
//! Invariants: a socket that is not configured is closed here, and stays open in the predecessor. Nothing is
//! taken from a predecessor that serves viewers at an address at which this process would not.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_engine::log::Handed;

use super::channel::{Channel, unexpected};
use super::{Message, PATH_BYTES_MAX, Secrets, Sockets, VERSION, path, rooms};
use crate::NodeError;

/// The longest wait for an answer. The predecessor answers from a thread of its own, within microseconds; a
/// busy machine gets more.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Pause before another look, when the predecessor ends or hands over to a third process meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

/// The sockets that were taken from the predecessor. All others are closed here, and stay open there.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) ws: Option<TcpListener>,
    pub(crate) wss: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) api: Option<TcpListener>,
    pub(crate) quic: Vec<UdpSocket>,
    /// Sockets over which datagrams of its connections are forwarded, one per UDP socket.
    pub(crate) forwarding: Vec<UnixStream>,
    /// The generations of the predecessor and of earlier processes, the newest first.
    pub(crate) generations: Vec<u16>,
    /// The predecessor's secrets that are in no file.
    pub(crate) secrets: Secrets,
}

/// The process before this one, which waits for `Take`.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: Channel,
    release_wait: Duration,
}

/// Look for a predecessor, and take those of its sockets that the configuration asks for.
///
/// # Errors
/// A process listens there and breaks the protocol of the hand-over, or serves viewers at an address at which
/// this one would not.
pub(crate) fn find_predecessor(
    config: &Config,
    clock: Clock,
) -> Result<Option<(Predecessor, Inherited)>, NodeError> {
    let Some(path) = path(config) else { return Ok(None) };
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(NodeError::new(
            format!("the path of the hand-over socket, {}, has over {PATH_BYTES_MAX} bytes", path.display()),
            "set node.handover to a shorter path, such as one under /run",
        ));
    }
    let until = clock.instant() + ANSWER_WAIT;
    loop {
        match try_find(&path, config, clock) {
            Ok(found) => return Ok(found),
            Err(error) if is_gone(&error) && clock.instant() < until => std::thread::sleep(AGAIN),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                return Err(NodeError::new(
                    format!("another process holds {} and goes on: {error}", path.display()),
                    "to take over, use its ws.listen, wss.listen and quic.listen; to use other addresses, stop it first; \
                     for a second node, set another log.dir (or node.handover)",
                ));
            }
            Err(error) => {
                return Err(NodeError::new(
                    format!("the process before this one does not hand over at {}: {error}", path.display()),
                    "stop it, or remove the file if nobody listens there",
                ));
            }
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn try_find(path: &Path, config: &Config, clock: Clock) -> io::Result<Option<(Predecessor, Inherited)>> {
    let channel = match Channel::connect(path, clock) {
        Ok(channel) => channel,
        // There was no process, or it has died. Its file is replaced when this process listens itself.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    channel.send(&Message::Hello { version: VERSION })?;
    let sockets = match channel.receive(ANSWER_WAIT, None)?.0 {
        Message::Sockets(sockets) => sockets,
        Message::No(why) => return Err(io::Error::other(why)),
        other => return Err(unexpected(&other)),
    };
    let tcp = [sockets.ws, sockets.wss, sockets.admin, sockets.api].iter().flatten().count();
    let descriptors = channel.receive_descriptors(tcp + 2 * sockets.quic_count, ANSWER_WAIT)?;
    if let Some(closed) = closed_to_viewers(&sockets, config) {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, closed));
    }
    let release_wait = Duration::from_millis(config.drain.handover_timeout_ms);
    Ok(Some((Predecessor { channel, release_wait }, sort(sockets, descriptors.into_iter(), config))))
}

/// Keep the sockets that are configured.
fn sort(sockets: Sockets, mut descriptors: impl Iterator<Item = OwnedFd>, config: &Config) -> Inherited {
    let mut tcp = |has: Option<SocketAddr>, wants: Option<SocketAddr>| {
        let listener = has.map(|_| descriptors.next().expect("counted before"));
        listener.filter(|_| is_meant(has, wants)).map(TcpListener::from)
    };
    let ws = tcp(sockets.ws, config.ws.listen);
    let wss = tcp(sockets.wss, config.wss.listen);
    let admin = tcp(sockets.admin, config.admin.listen);
    let api = tcp(sockets.api, config.api.listen);
    let (quic, forwarding): (Vec<_>, Vec<_>) = if is_meant(sockets.quic, config.quic.listen) {
        let quic: Vec<_> = descriptors.by_ref().take(sockets.quic_count).map(UdpSocket::from).collect();
        (quic, descriptors.map(UnixStream::from).collect())
    } else {
        (Vec::new(), Vec::new())
    };
    let Sockets { generations, secrets, .. } = sockets;
    Inherited { ws, wss, admin, api, quic, forwarding, generations, secrets }
}

/// An address at which the predecessor serves viewers and this process would not: its clients would be sent
/// to a closed port.
fn closed_to_viewers(sockets: &Sockets, config: &Config) -> Option<String> {
    let all = [
        ("ws.listen", sockets.ws, config.ws.listen),
        ("wss.listen", sockets.wss, config.wss.listen),
        ("quic.listen", sockets.quic, config.quic.listen),
    ];
    all.into_iter().find_map(|(key, has, wants)| {
        let has = has.filter(|_| !is_meant(has, wants))?;
        let wants = wants.map_or("off".to_owned(), |address| address.to_string());
        Some(format!("it serves viewers at {has}, and this one would not ({key} = {wants})"))
    })
}

/// Port 0 stands for any port, so the existing one is right.
fn is_meant(has: Option<SocketAddr>, wants: Option<SocketAddr>) -> bool {
    has.zip(wants).is_some_and(|(has, wants)| {
        has.ip() == wants.ip() && (wants.port() == 0 || has.port() == wants.port())
    })
}

impl Predecessor {
    /// Take the predecessor's place, after everything that could fail has been done. Returns the rooms that
    /// are in no log, when the predecessor has released its log.
    ///
    /// # Errors
    /// The predecessor does not release its log in time.
    pub(crate) fn take(&self, quic: bool) -> Result<Handed, NodeError> {
        // If it is gone, the first look at the channel says so.
        let _ = self.channel.send(&Message::Take { quic, rooms: rooms::VERSION });
        let mut handed = Handed::default();
        loop {
            let (message, files) = match self.channel.receive(self.release_wait, None) {
                Ok(received) => received,
                Err(error) if is_gone(&error) => {
                    tracing::warn!(
                        "the process before ended while it handed over: this one goes on without it"
                    );
                    return Ok(handed);
                }
                Err(error) => return Err(slow(&error)),
            };
            match message {
                Message::Released => return Ok(handed),
                Message::Rooms(count) => handed = read_rooms(count, files),
                other => return Err(slow(&unexpected(&other))),
            }
        }
    }

    /// Tell the predecessor that this process serves, so that it may send its clients over.
    pub(crate) fn serving(&self) {
        // A predecessor that is gone need not be told.
        let _ = self.channel.send(&Message::Serving);
    }
}

/// The rooms of the predecessor. Without them this process begins new ones.
fn read_rooms(count: usize, files: Vec<OwnedFd>) -> Handed {
    let file = files.into_iter().next().ok_or_else(|| io::Error::other("no file came with them"));
    match file.and_then(rooms::read) {
        Ok(handed) => {
            tracing::info!(rooms = handed.rooms.len(), "rooms in memory are taken over");
            handed
        }
        Err(error) => {
            tracing::error!(rooms = count, %error, "rooms in memory are not taken over, and begin anew");
            Handed::default()
        }
    }
}

fn slow(error: &io::Error) -> NodeError {
    NodeError::new(
        format!("the process before this one does not let go of its rooms: {error}"),
        "look at its log and its disk; drain.handover_timeout_ms says how long this one waits",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_address_is_taken_and_port_0_takes_any() {
        let at = |text: &str| Some(text.parse().unwrap());
        assert!(is_meant(at("127.0.0.1:7400"), at("127.0.0.1:7400")));
        assert!(is_meant(at("127.0.0.1:7400"), at("127.0.0.1:0")));
        assert!(!is_meant(at("127.0.0.1:7400"), at("127.0.0.1:7401")));
        assert!(!is_meant(at("127.0.0.1:7400"), at("0.0.0.0:7400")));
        assert!(!is_meant(at("127.0.0.1:7400"), None));
        assert!(!is_meant(None, at("127.0.0.1:0")));
    }
}
