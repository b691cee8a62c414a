//! A WebSocket codec (RFC 6455) without IO: frame headers, an incremental reader, masking, close payloads and
//! the handshake.
//!
//! Why not an existing library: an edge holds many idle connections, so each may keep only a few dozen bytes
//! between reads. A batch must be sent as shared bytes whose header was made once. Both require a codec that
//! owns neither the socket nor the buffers.
//!
//! - [`header`]: one frame header, parsed and written; whole frames for either side;
//! - [`mask`]: the XOR of RFC 6455 §5.3;
//! - [`reader`]: bytes in, events out, unmasked in place where possible;
//! - [`utf8`]: text validity that is decided byte by byte;
//! - [`close`]: status codes and the payload of a Close frame;
//! - [`fault`]: every error that a peer can make, and its close code;
//! - [`handshake`]: the HTTP/1.1 upgrade, both sides.
//!
//! Invariants: no bytes from a peer cause a panic; memory grows only by bytes that have arrived; neither side
//! offers or accepts an extension, so the RSV bits are always zero.
//!
//! Not here: sockets, timeouts and rates over time (the edge), the meaning of payloads (`frame`, `batch`).

pub mod close;
pub mod fault;
pub mod handshake;
pub mod header;
pub mod mask;
mod partial;
pub mod reader;
pub mod utf8;

pub use close::close_payload;
pub use fault::Fault;
pub use header::{Header, Opcode, header_len, write_frame, write_header, write_masked};
pub use mask::unmask;
pub use reader::{Event, Input, Limits, Reader, Role};
