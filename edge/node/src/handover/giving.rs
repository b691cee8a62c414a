//! This process's side: a thread that waits for the next one, and gives it the sockets.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::link::{Link, accept, listen, unexpected};
use super::{Message, Sockets, VERSION};
use crate::drain::Departure;
use grandstand_edge::workers::forwarding_pair;

/// A process that starts may have a slow disk below its certificates.
const TAKE_WAIT: Duration = Duration::from_secs(120);

/// From our log closed to theirs open: where it has to be mended first, that takes its time, and our clients
/// wait for it in any case.
const SERVING_WAIT: Duration = Duration::from_secs(120);

/// What is given: this process's own descriptors of its sockets.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) ws: Option<TcpListener>,
    pub(crate) wss: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) quic: Vec<UdpSocket>,
    pub(crate) generations: Vec<u16>,
}

impl Given {
    fn sockets(&self) -> io::Result<Sockets> {
        let of = |l: &Option<TcpListener>| l.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Sockets {
            ws: of(&self.ws)?,
            wss: of(&self.wss)?,
            admin: of(&self.admin)?,
            quic: self.quic.first().map(UdpSocket::local_addr).transpose()?,
            quic_count: self.quic.len(),
            generations: self.generations.clone(),
        })
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let tcp = [&self.ws, &self.wss, &self.admin].into_iter().flatten().map(AsFd::as_fd);
        tcp.chain(self.quic.iter().map(AsFd::as_fd))
    }
}

/// The thread that waits. Dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct Giver {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Giver {
    /// Listen at `path`. `taken` is called when sockets are given away for good, before this process lets go
    /// of its rooms.
    pub(crate) fn start(
        path: &Path,
        given: Given,
        departure: Arc<Departure>,
        taken: impl FnOnce() + Send + 'static,
    ) -> io::Result<Giver> {
        let listener = listen(path)?;
        let (stop, stopped) = UnixStream::pair()?;
        let waiting = Waiting { path: path.to_owned(), listener, stopped, given, departure };
        let name = "grandstand-handover".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || waiting.run(taken))?;
        Ok(Giver { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

struct Waiting {
    path: PathBuf,
    listener: OwnedFd,
    /// Readable, by its end, when this process stops.
    stopped: UnixStream,
    given: Given,
    departure: Arc<Departure>,
}

impl Waiting {
    fn run(self, taken: impl FnOnce()) {
        loop {
            let link = match accept(&self.listener, self.stopped.as_fd()) {
                Ok(Some(link)) => link,
                // The file goes with the process, so that nobody waits for an answer.
                Ok(None) => return drop(std::fs::remove_file(&self.path)),
                Err(error) => {
                    tracing::warn!(%error, "a process that wants to take over cannot be heard");
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            match self.offer(&link) {
                Ok((quic, ours)) => {
                    taken();
                    return self.give_way(&link, if quic { ours } else { Vec::new() });
                }
                Err(error) => {
                    tracing::warn!(%error, "a process came to take over and did not: this one goes on");
                }
            }
        }
    }

    /// Everything up to the word: whether it reads the UDP sockets from now on, and our ends of the ways for
    /// datagrams.
    fn offer(&self, link: &Link) -> io::Result<(bool, Vec<UnixStream>)> {
        let stop = Some(self.stopped.as_fd());
        match link.receive(TAKE_WAIT, stop)?.0 {
            Message::Hello { version: VERSION } => {}
            Message::Hello { .. } => {
                let why = "it hands over in another way: stop it before this one is started";
                return link.send(&Message::No(why.to_owned())).and(Err(io::Error::other("another version")));
            }
            other => return Err(unexpected(&other)),
        }
        link.send(&Message::Sockets(self.given.sockets()?))?;
        let ways = self.given.quic.iter().map(|_| forwarding_pair()).collect::<io::Result<Vec<_>>>()?;
        let (theirs, ours): (Vec<_>, Vec<_>) = ways.into_iter().unzip();
        let descriptors: Vec<_> = self.given.descriptors().chain(theirs.iter().map(AsFd::as_fd)).collect();
        link.send_descriptors(&descriptors)?;
        tracing::info!("another process is starting to take over");
        match link.receive(TAKE_WAIT, stop)?.0 {
            Message::Take { quic } => Ok((quic, ours)),
            other => Err(unexpected(&other)),
        }
    }

    /// No way back from here.
    fn give_way(self, link: &Link, ways: Vec<UnixStream>) {
        tracing::info!("handing over");
        self.departure.hand_over(ways);
        let stop = Some(self.stopped.as_fd());
        let told = link.send(&Message::Released);
        match told.and_then(|()| link.receive(SERVING_WAIT, stop)) {
            Ok((Message::Serving, _)) => tracing::info!("the next process serves"),
            Ok((other, _)) => {
                tracing::warn!(error = %unexpected(&other), "the next process is not understood");
            }
            Err(error) => tracing::warn!(%error, "the next process ended while it took over"),
        }
        self.departure.send_over();
    }
}
