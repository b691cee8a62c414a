//! Transports: a worker's records of connections, and the passage of their bytes through TCP, TLS and
//! WebSocket.
//!
//! Why apart from the worker: a transport only moves and cuts bytes. The worker decides when, and the
//! audience what they mean.
//! - `link`: one connection; `links`: all of a worker's, and the audience's interface to send to them;
//! - `tcp`: reads and sends without waiting; `tls`: TLS without buffers;
//! - [`websocket`]: upgrade requests, and the frames that a session takes from a conversation.
//!
//! Arrows point one way: links -> link -> tls -> tcp. Not here: QUIC's packets (`quic`), readiness and turns
//! (`worker`).

pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod tcp;
pub(crate) mod tls;
pub mod websocket;
