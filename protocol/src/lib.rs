//! Grandstand's wire protocol, version 1: everything that client and server must agree on.
//!
//! Why a crate of its own: the engine seals batches, the edge parses and fans out, clients read; all three
//! follow the one layout here, and none of them depends on another for it. docs/PROTOCOL.md is normative.
//!
//! - [`frame`]: the frames, one kind byte and one FlatBuffers table each (a batch: its body), decoded into
//!   borrowed structs;
//! - [`batch`]: the packed body of a batch, the one frame that is sent to everyone;
//! - [`compress`]: compressed batches, for clients that can decompress them;
//! - [`stream`]: the header before every frame on a byte stream, the same bytes as a WebSocket header;
//! - [`websocket`]: RFC 6455 without IO, for both sides;
//! - [`limits`], [`close`], [`refusal`], [`version`]: every bound, close code, refusal and version, in one
//!   place each;
//! - [`rules`]: which names, texts and keys are valid, with one verdict for clients, edges and shards;
//! - [`proxy`]: headers in which proxies tell the address of their client;
//! - [`text`]: which characters are visible, the mending of names, and which names look alike;
//! - [`random`]: random numbers from a seed, not for secrets.
//!
//! Not here: sockets, clocks, rooms, sessions.
#![deny(unsafe_code)] // not `forbid`: the generated accessors use it, behind the verifier

pub mod batch;
pub mod close;
pub mod compress;
pub mod frame;
pub mod limits;
pub mod proxy;
pub mod random;
pub mod refusal;
pub mod rules;
pub mod stream;
pub mod text;
pub mod version;
pub mod websocket;

// `cargo xtask schema --check` compares this file with the compiled schema, byte by byte, so nothing may
// reformat it.
#[rustfmt::skip]
#[allow(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs, unreachable_pub, dead_code, deprecated, unused_imports, mismatched_lifetime_syntaxes, clippy::all, clippy::undocumented_unsafe_blocks)]
#[path = "generated/grandstand.rs"]
mod generated_code;
use generated_code::grandstand::v_1 as generated;
