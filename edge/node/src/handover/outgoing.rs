//! The predecessor's side: a thread that waits for a successor, and gives it the sockets.
//!
//! Why a thread: it waits for as long as the node runs, and for the successor's disk.
//! Invariant: up to `Take` this process serves as before.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_edge::config::Config;
use grandstand_edge::workers::forwarding_pair;
use grandstand_engine::log::HandedRoom;
use grandstand_engine::runtime::pulse::{Pulse, Pulses};

use super::channel::{Channel, accept, listen, unexpected};
use super::{Message, Secrets, Sockets, VERSION, path, rooms};
use crate::reload::Reload;
use crate::shutdown::Shutdown;
use crate::{NodeError, service_manager};

/// The longest wait for `Take`. A starting process may have its certificates on a slow disk.
const TAKE_WAIT: Duration = Duration::from_secs(120);

/// The longest wait from closing our log to opening theirs. A log that must be recovered first takes time,
/// and our clients wait for it in any case.
const SERVING_WAIT: Duration = Duration::from_secs(120);

/// The sockets that a successor may take: this process's own descriptors of them.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) ws: Option<TcpListener>,
    pub(crate) wss: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) api: Option<TcpListener>,
    pub(crate) quic: Vec<UdpSocket>,
    pub(crate) generations: Vec<u16>,
}

impl Offer {
    fn sockets(&self, secrets: Secrets) -> io::Result<Sockets> {
        let of = |l: &Option<TcpListener>| l.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Sockets {
            ws: of(&self.ws)?,
            wss: of(&self.wss)?,
            admin: of(&self.admin)?,
            api: of(&self.api)?,
            quic: self.quic.first().map(UdpSocket::local_addr).transpose()?,
            quic_count: self.quic.len(),
            generations: self.generations.clone(),
            secrets,
        })
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let tcp = [&self.ws, &self.wss, &self.admin, &self.api].into_iter().flatten().map(AsFd::as_fd);
        tcp.chain(self.quic.iter().map(AsFd::as_fd))
    }
}

/// The thread that waits for a successor. Dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct Handover {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Handover {
    /// Listen for a successor at the configured path, if there is one. `on_taken` is called when the sockets
    /// are given away for good, before this process releases its rooms.
    pub(crate) fn start(
        config: &Config,
        offer: Offer,
        (shutdown, reload): (Arc<Shutdown>, Arc<Reload>),
        pulses: &Pulses,
        on_taken: impl FnOnce() + Send + 'static,
    ) -> Result<Option<Handover>, NodeError> {
        let Some(path) = path(config) else { return Ok(None) };
        match Handover::listen(&path, offer, (shutdown, reload), pulses, on_taken) {
            Ok(handover) => Ok(Some(handover)),
            Err(error) => Err(NodeError::new(
                format!("cannot listen for the next process at {}: {error}", path.display()),
                "see node.handover and log.dir",
            )),
        }
    }

    fn listen(
        path: &Path,
        offer: Offer,
        (shutdown, reload): (Arc<Shutdown>, Arc<Reload>),
        pulses: &Pulses,
        on_taken: impl FnOnce() + Send + 'static,
    ) -> io::Result<Handover> {
        let listener = listen(path)?;
        let (stop, stopped) = UnixStream::pair()?;
        let waiting = Waiting { path: path.to_owned(), listener, stopped, offer, shutdown, reload };
        let (name, pulse) = ("handover".to_owned(), pulses.register("handover"));
        let run = move || {
            waiting.run(&pulse, on_taken);
            pulse.end();
        };
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        Ok(Handover { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}

/// What the successor takes.
struct Taken {
    /// The version of handed rooms that it reads.
    rooms: u32,
    /// Our ends of the sockets over which it forwards datagrams, if it reads the UDP sockets from now on.
    forwarded: Vec<UnixStream>,
}

fn give_rooms(channel: &Channel, handed: &[HandedRoom], version: u32) -> io::Result<()> {
    if version != rooms::VERSION {
        return Err(io::Error::other("the next process is of a version that does not read them"));
    }
    let file = rooms::write(handed)?;
    channel.send_file(&Message::Rooms(handed.len()), file.as_fd())
}

struct Waiting {
    path: PathBuf,
    listener: OwnedFd,
    /// Becomes readable, by its end, when this process stops.
    stopped: UnixStream,
    offer: Offer,
    shutdown: Arc<Shutdown>,
    reload: Arc<Reload>,
}

impl Waiting {
    fn run(self, pulse: &Pulse, on_taken: impl FnOnce()) {
        loop {
            let channel = match accept(&self.listener, self.stopped.as_fd(), self.shutdown.clock(), pulse) {
                Ok(Some(channel)) => channel,
                // The file is removed with the process, so that no successor waits for an answer.
                Ok(None) => return drop(std::fs::remove_file(&self.path)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a process that wants to take over");
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let _other = pulse.wait_outside();
            match self.offer(&channel) {
                Ok(taken) => {
                    on_taken();
                    return self.hand_over(&channel, taken);
                }
                Err(error) => {
                    tracing::warn!(%error, "a process began to take over and did not: this one goes on");
                }
            }
        }
    }

    /// Hold the conversation up to `Take`.
    fn offer(&self, channel: &Channel) -> io::Result<Taken> {
        let stop = Some(self.stopped.as_fd());
        match channel.receive(TAKE_WAIT, stop)?.0 {
            Message::Hello { version: VERSION } => {}
            Message::Hello { .. } => {
                let why = "it speaks another version of the hand-over: stop it before this one is started";
                return channel
                    .send(&Message::No(why.to_owned()))
                    .and(Err(io::Error::other("another version")));
            }
            other => return Err(unexpected(&other)),
        }
        channel.send(&Message::Sockets(self.offer.sockets(self.reload.secrets())?))?;
        let pairs = self.offer.quic.iter().map(|_| forwarding_pair()).collect::<io::Result<Vec<_>>>()?;
        let (theirs, ours): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let descriptors: Vec<_> = self.offer.descriptors().chain(theirs.iter().map(AsFd::as_fd)).collect();
        channel.send_descriptors(&descriptors)?;
        tracing::info!("another process is starting to take over");
        match channel.receive(TAKE_WAIT, stop)?.0 {
            Message::Take { quic, rooms } => {
                Ok(Taken { rooms, forwarded: if quic { ours } else { Vec::new() } })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Hand over; there is no way back from here.
    fn hand_over(self, channel: &Channel, taken: Taken) {
        tracing::info!("handing over");
        let handed = self.shutdown.hand_over(taken.forwarded);
        if !handed.is_empty()
            && let Err(error) = give_rooms(channel, &handed, taken.rooms)
        {
            tracing::error!(rooms = handed.len(), %error, "rooms in memory are not handed over, and begin anew");
        }
        drop(handed);
        let stop = Some(self.stopped.as_fd());
        let told = channel.send(&Message::Released);
        match told.and_then(|()| channel.receive(SERVING_WAIT, stop)) {
            Ok((Message::Serving, _)) => {
                tracing::info!("the next process serves");
                if let Some(pid) = channel.peer() {
                    service_manager::successor(pid);
                }
            }
            Ok((other, _)) => {
                tracing::warn!(error = %unexpected(&other), "the next process sent what was not expected");
            }
            Err(error) => tracing::warn!(%error, "the next process ended while it took over"),
        }
        self.shutdown.send_over();
    }
}
