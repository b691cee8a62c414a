//! Transports: what a worker keeps of each connection, and how its bytes pass through TCP, TLS and WebSocket.
//!
//! Why apart from the worker: a transport only moves and cuts bytes. When it does so is the worker's to
//! decide, and what they mean is the audience's.
//! - `link`: one connection; `links`: all of a worker's, and the audience's way to send to them;
//! - `tcp`: reads and sends without waiting; `tls`: TLS without buffers;
//! - [`websocket`]: upgrade requests, and what a session takes from a conversation.
//!
//! Arrows point one way: links -> link -> tls -> tcp. Not here: QUIC's packets (`quic`), readiness and turns
//! (`worker`).

pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod tcp;
pub(crate) mod tls;
pub mod websocket;
