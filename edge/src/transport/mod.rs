//! Transports: what a worker keeps of each connection, and how its bytes pass through TCP and TLS.
//!
//! Why apart from the worker: a link only moves bytes. When it does so, and what the bytes mean, is decided by
//! the worker and the audience.
//! - [`link`]: one connection; [`links`]: all of a worker's, and the audience's way to send to them;
//! - [`tls`]: TLS without buffers.
//!
//! Not here: QUIC's packets (`quic`), readiness and turns (`worker`).

pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod tls;
