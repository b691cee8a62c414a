//! WebSocket (RFC 6455) without IO: frame headers, an incremental reader, masking, close payloads and the
//! handshake.
//!
//! Why our own: an edge holds a great many idle connections, so what one of them keeps between reads has to
//! be a few dozen bytes, and a batch has to go out as shared bytes with a header made once. Both need the
//! codec to own neither the socket nor the buffers.
//!
//! - [`header`]: one frame header, parsed and written; whole frames for either side;
//! - [`mask`]: the XOR of RFC 6455 §5.3;
//! - [`reader`]: bytes in, events out, in place where it can;
//! - [`utf8`]: text validity that is decided byte by byte;
//! - [`close`]: status codes and the payload of a Close frame;
//! - [`fault`]: everything that a peer can do wrong, and the code that answers it;
//! - [`handshake`]: the HTTP/1.1 upgrade, both sides.
//!
//! Invariants: nothing here panics on what a peer sends; memory grows only by bytes that have arrived; no
//! extension is offered or accepted, so the RSV bits are always zero.
//!
//! Not here: sockets, timeouts and rates over time (the edge), what the payloads mean (`frame`, `batch`).

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
