//! Listeners: every socket on which a node serves, inherited from the predecessor or bound here.
//!
//! Why first: a port in use is reported before anything else is started. Workers share the TCP listeners.
//! Each worker has its own UDP socket on one port (`SO_REUSEPORT`), which another program of the same user
//! could join unnoticed; so the port is first bound exclusively.
//! Invariants: the address of every socket is the configured one. No two processes with connections have the
//! same generation.
//! Not here: how sockets pass between processes (`handover`), the workers' use of them
//! (`grandstand_edge::workers`).

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;

use grandstand_edge::config::{Config, Socket as SocketConfig};
use grandstand_edge::workers::{Sockets, WORKERS_MAX};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::NodeError;
use crate::handover::{Inherited, Offer};

/// The addresses of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// WebSocket without TLS.
    pub ws: Option<SocketAddr>,
    /// WebSocket over TLS.
    pub wss: Option<SocketAddr>,
    /// QUIC.
    pub quic: Option<SocketAddr>,
    /// Admin API, metrics and health.
    pub admin: Option<SocketAddr>,
    /// HTTP API for applications.
    pub api: Option<SocketAddr>,
}

/// The listening sockets of a node.
pub(crate) struct Listeners {
    ws: Option<TcpListener>,
    wss: Option<TcpListener>,
    quic: Vec<UdpSocket>,
    admin: Option<TcpListener>,
    api: Option<TcpListener>,
    /// Sockets to the predecessor's workers, whose connections still get datagrams through our UDP sockets.
    forwarding: Vec<UnixStream>,
    /// The generations of earlier processes that still have connections, the newest first.
    generations: Vec<u16>,
}

impl Listeners {
    /// Open every configured listener: the inherited ones, and all others by binding.
    pub(crate) fn open(
        config: &Config,
        workers: usize,
        inherited: Inherited,
    ) -> Result<Listeners, NodeError> {
        let open = |key, address: Option<SocketAddr>, inherited: Option<TcpListener>| match inherited {
            Some(listener) => Ok(Some(listener)),
            None => address.map(|address| tcp(key, address, &config.socket)).transpose(),
        };
        let quic = match config.quic.listen {
            Some(address) if inherited.quic.is_empty() => {
                udp("quic.listen", address, workers, &config.socket)?
            }
            _ => inherited.quic,
        };
        Ok(Listeners {
            ws: open("ws.listen", config.ws.listen, inherited.ws)?,
            wss: open("wss.listen", config.wss.listen, inherited.wss)?,
            quic,
            admin: open("admin.listen", config.admin.listen, inherited.admin)?,
            api: open("api.listen", config.api.listen, inherited.api)?,
            forwarding: inherited.forwarding,
            generations: inherited.generations,
        })
    }

    /// The addresses, with real ports where 0 was configured.
    pub(crate) fn addresses(&self) -> Result<Addresses, NodeError> {
        let of = |l: &Option<TcpListener>| l.as_ref().map(TcpListener::local_addr).transpose();
        let addresses = || {
            io::Result::Ok(Addresses {
                ws: of(&self.ws)?,
                wss: of(&self.wss)?,
                quic: self.quic.first().map(UdpSocket::local_addr).transpose()?,
                admin: of(&self.admin)?,
                api: of(&self.api)?,
            })
        };
        addresses().map_err(|e| NodeError::new(e.to_string(), "try again"))
    }

    /// Does this process read the datagrams of the predecessor's connections from now on?
    pub(crate) fn inherits_quic(&self) -> bool {
        !self.forwarding.is_empty()
    }

    /// A generation for this process: a new one, which no process with connections has.
    pub(crate) fn new_generation(&self) -> Result<u16, NodeError> {
        match self.generations.first() {
            Some(newest) => Ok((1..=u16::MAX)
                .map(|step| newest.wrapping_add(step))
                .find(|generation| !self.generations.contains(generation))
                .expect("fewer processes than numbers")),
            None => {
                let mut random = [0; 2];
                getrandom::fill(&mut random)
                    .map_err(|e| NodeError::new(e.to_string(), "the system gives no random bytes"))?;
                Ok(u16::from_le_bytes(random))
            }
        }
    }

    /// The sockets that workers clone.
    pub(crate) fn of_workers(&self) -> Sockets<'_> {
        Sockets {
            ws: self.ws.as_ref(),
            wss: self.wss.as_ref(),
            quic: &self.quic,
            forwarding: &self.forwarding,
            generations: &self.generations,
        }
    }

    /// A clone of the admin port's listener.
    pub(crate) fn clone_admin(&self) -> Result<Option<TcpListener>, NodeError> {
        clone_of(&self.admin)
    }

    /// A clone of the listener of the API.
    #[cfg(feature = "api")]
    pub(crate) fn clone_api(&self) -> Result<Option<TcpListener>, NodeError> {
        clone_of(&self.api)
    }

    /// The sockets that this process, with that generation, offers its successor.
    pub(crate) fn into_offer(self, generation: u16) -> Offer {
        let Listeners { ws, wss, quic, admin, api, generations, forwarding: _ } = self;
        let generations = std::iter::once(generation).chain(generations).collect();
        Offer { ws, wss, admin, api, quic, generations }
    }
}

fn clone_of(listener: &Option<TcpListener>) -> Result<Option<TcpListener>, NodeError> {
    let clone = listener.as_ref().map(TcpListener::try_clone).transpose();
    clone.map_err(|e| NodeError::new(e.to_string(), "raise the limit of open files"))
}

/// QUIC has one socket per worker. If these are inherited, there are as many workers as the predecessor has.
pub(crate) fn worker_count(config: &Config, inherited: Option<&Inherited>) -> usize {
    let wanted = config.node.workers_or_cpus().min(WORKERS_MAX);
    match inherited.map(|inherited| inherited.quic.len()).filter(|&count| count > 0 && count != wanted) {
        Some(workers) => {
            tracing::info!(workers, wanted, "as many workers as the process before has QUIC sockets");
            workers
        }
        None => wanted,
    }
}

/// Bind a TCP listener, non-blocking. Its connections inherit the buffer sizes.
fn tcp(key: &'static str, address: SocketAddr, config: &SocketConfig) -> Result<TcpListener, NodeError> {
    try_tcp(address, config).map_err(|error| NodeError::bind(key, address, &error))
}

fn try_tcp(address: SocketAddr, config: &SocketConfig) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restart bind while old connections are in TIME_WAIT. A live listener still prevents it.
    socket.set_reuse_address(true)?;
    if config.send_buffer_bytes > 0 {
        socket.set_send_buffer_size(config.send_buffer_bytes)?;
    }
    if config.receive_buffer_bytes > 0 {
        socket.set_recv_buffer_size(config.receive_buffer_bytes)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(config.backlog as i32)?;
    Ok(socket.into())
}

/// Bind one UDP socket per worker, all on the same port.
fn udp(
    key: &'static str,
    address: SocketAddr,
    workers: usize,
    config: &SocketConfig,
) -> Result<Vec<UdpSocket>, NodeError> {
    let bind = || -> io::Result<Vec<UdpSocket>> {
        let mut address = address;
        if address.port() != 0 {
            drop(UdpSocket::bind(address)?);
        }
        let mut sockets = Vec::with_capacity(workers);
        for _ in 0..workers {
            let socket = one_udp(address, config)?;
            address = socket.local_addr()?;
            sockets.push(socket);
        }
        Ok(sockets)
    };
    bind().map_err(|error| NodeError::bind(key, address, &error))
}

fn one_udp(address: SocketAddr, config: &SocketConfig) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    grow_buffers(&socket, config)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// Set large buffers: above the system's limit if permitted, else up to it.
fn grow_buffers(socket: &Socket, config: &SocketConfig) -> io::Result<()> {
    use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size};
    if config.udp_receive_buffer_bytes > 0
        && set_socket_recv_buffer_size_force(socket, config.udp_receive_buffer_bytes).is_err()
    {
        socket.set_recv_buffer_size(config.udp_receive_buffer_bytes)?;
    }
    if config.udp_send_buffer_bytes > 0 {
        set_socket_send_buffer_size(socket, config.udp_send_buffer_bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let config = Config::default().socket;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = tcp("ws.listen", loopback, &config).unwrap();
        let error = tcp("ws.listen", first.local_addr().unwrap(), &config).unwrap_err();
        assert!(error.to_string().contains(&first.local_addr().unwrap().to_string()), "{error}");
        assert!(error.hint().contains("ws.listen"), "{}", error.hint());
    }

    #[test]
    fn udp_sockets_share_a_port_that_no_other_node_can_join() {
        let config = Config::default().socket;
        let sockets = udp("quic.listen", SocketAddr::from(([127, 0, 0, 1], 0)), 3, &config).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|s| s.local_addr().unwrap() == address));
        assert!(udp("quic.listen", address, 1, &config).is_err());
    }
}
