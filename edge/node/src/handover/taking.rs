//! The next process's side: find the one before, take its sockets, wait for its log.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::link::{Link, unexpected};
use super::{Message, PATH_BYTES_MAX, Sockets, VERSION};
use crate::NodeError;
use grandstand_edge::config::Config;

/// The process before answers from a thread of its own, within microseconds; a busy machine gets more.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// When the process before ends or hands over to a third one meanwhile, look again after this.
const AGAIN: Duration = Duration::from_millis(50);

/// What the process before has for us. What we do not take is closed here, and stays open there.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) ws: Option<TcpListener>,
    pub(crate) wss: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) quic: Vec<UdpSocket>,
    /// The ways for datagrams of its connections, one per socket.
    pub(crate) passing: Vec<UnixStream>,
    /// Of it and those before it.
    pub(crate) generations: Vec<u16>,
}

/// The process before, which waits for our word.
#[derive(Debug)]
pub(crate) struct Predecessor {
    link: Link,
    release_wait: Duration,
}

/// Look for a process before this one, and take those of its sockets that the configuration asks for.
///
/// # Errors
/// Somebody listens there and does not keep to the conversation.
pub(crate) fn find(path: &Path, config: &Config) -> Result<Option<(Predecessor, Found)>, NodeError> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(NodeError::new(
            format!("the path of the hand-over socket, {}, has over {PATH_BYTES_MAX} bytes", path.display()),
            "set node.handover to a shorter path, such as one under /run",
        ));
    }
    let until = Instant::now() + ANSWER_WAIT;
    loop {
        match try_find(path, config) {
            Ok(found) => return Ok(found),
            Err(error) if is_gone(&error) && Instant::now() < until => std::thread::sleep(AGAIN),
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

fn try_find(path: &Path, config: &Config) -> io::Result<Option<(Predecessor, Found)>> {
    let link = match Link::connect(path) {
        Ok(link) => link,
        // Nobody has been here, or who was has died: its file is replaced when we listen ourselves.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    link.send(&Message::Hello { version: VERSION })?;
    let sockets = match link.receive(ANSWER_WAIT, None)?.0 {
        Message::Sockets(sockets) => sockets,
        Message::No(why) => return Err(io::Error::other(why)),
        other => return Err(unexpected(&other)),
    };
    let tcp = [sockets.ws, sockets.wss, sockets.admin].iter().flatten().count();
    let descriptors = link.receive_descriptors(tcp + 2 * sockets.quic_count, ANSWER_WAIT)?;
    let release_wait = Duration::from_millis(config.drain.handover_timeout_ms);
    Ok(Some((Predecessor { link, release_wait }, sort(sockets, descriptors.into_iter(), config))))
}

/// Keep what is configured.
fn sort(
    sockets: Sockets,
    mut descriptors: impl Iterator<Item = std::os::fd::OwnedFd>,
    config: &Config,
) -> Found {
    let mut tcp = |has: Option<SocketAddr>, wants: Option<SocketAddr>| {
        let listener = has.map(|_| descriptors.next().expect("counted before"));
        listener.filter(|_| is_meant(has, wants)).map(TcpListener::from)
    };
    let ws = tcp(sockets.ws, config.ws.listen);
    let wss = tcp(sockets.wss, config.wss.listen);
    let admin = tcp(sockets.admin, config.admin.listen);
    let (quic, passing): (Vec<_>, Vec<_>) = if is_meant(sockets.quic, config.quic.listen) {
        let quic: Vec<_> = descriptors.by_ref().take(sockets.quic_count).map(UdpSocket::from).collect();
        (quic, descriptors.map(UnixStream::from).collect())
    } else {
        (Vec::new(), Vec::new())
    };
    Found { ws, wss, admin, quic, passing, generations: sockets.generations }
}

/// Port 0 asks for any: the one that is there will do.
fn is_meant(has: Option<SocketAddr>, wants: Option<SocketAddr>) -> bool {
    has.zip(wants).is_some_and(|(has, wants)| {
        has.ip() == wants.ip() && (wants.port() == 0 || has.port() == wants.port())
    })
}

impl Predecessor {
    /// Everything that could fail has been done: the place is ours. Returns when the process before has let
    /// go of its log.
    ///
    /// # Errors
    /// It does not let go in time.
    pub(crate) fn take(&self, quic: bool) -> Result<(), NodeError> {
        let told = self.link.send(&Message::Take { quic });
        match told.and_then(|()| self.link.receive(self.release_wait, None)) {
            Ok((Message::Released, _)) => Ok(()),
            Err(error) if is_gone(&error) => {
                tracing::warn!("the process before ended while it handed over: this one goes on without it");
                Ok(())
            }
            Ok((other, _)) => Err(slow(&unexpected(&other))),
            Err(error) => Err(slow(&error)),
        }
    }

    /// We serve: it may send its clients over.
    pub(crate) fn serving(&self) {
        // Where it is gone, nobody has to be told.
        let _ = self.link.send(&Message::Serving);
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
