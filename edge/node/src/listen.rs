//! Binding: every listener of the node, before anything else is started, so that a taken port is said at
//! once.
//!
//! TCP listeners are shared by the workers. Each worker has its own UDP socket on one port (`SO_REUSEPORT`),
//! which another program of the same user could join unnoticed; so the port is first bound alone.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::NodeError;
use grandstand_edge::config::Socket as SocketConfig;

/// Bind a TCP listener, non-blocking; its connections inherit the buffer sizes.
pub(crate) fn tcp(
    key: &'static str,
    address: SocketAddr,
    config: &SocketConfig,
) -> Result<TcpListener, NodeError> {
    try_tcp(address, config).map_err(|error| NodeError::bind(key, address, &error))
}

fn try_tcp(address: SocketAddr, config: &SocketConfig) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restart bind while old connections are in TIME_WAIT; a living listener still refuses.
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
pub(crate) fn udp(
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

/// Ask for large buffers: past the system's limit where we may, up to it where we may not.
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
    use grandstand_edge::config::Config;

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
