//! HTTP: the plumbing that all HTTP resources of the node share, and the resources.
//!
//! - [`server`]: a port, its connections and its stop; `access` and `key`: who may use it;
//!   `authority`: hosts and origins;
//! - `request` and `response`: bodies in, JSON and failures out; `shards`: requests to the engine;
//! - [`admin`]: rooms, metrics, health, drain, reload and the durable log, for operators;
//! - [`api`]: rooms, messages, sessions and keys, for applications; of it [`problem`] (failures), [`extract`]
//!   (bodies, queries and paths) and [`grant`] (scopes), which routers that it mounts use too.
//!
//! Why apart: another API can share the plumbing. Arrows point one way: a resource uses the plumbing; the
//! plumbing knows no resource.

mod access;
pub mod admin;
#[cfg(feature = "api")]
pub mod api;
mod authority;
pub mod extract;
pub mod grant;
mod key;
pub mod problem;
mod request;
mod response;
pub mod server;
mod shards;

pub use key::SharedKey;
#[cfg(feature = "guide")]
pub(crate) use shards::Shards;
