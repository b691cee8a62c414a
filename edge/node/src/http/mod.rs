//! HTTP: what every resource that the node serves over HTTP shares, and the resources.
//!
//! - [`server`]: a port, its connections and its stop; `access`: who may ask;
//! - `request` and `response`: bodies in, JSON and failures out; `shards`: questions to the engine;
//! - [`admin`]: rooms, metrics, health, drain and the durable log, for operators.
//!
//! Why apart: an API will share the plumbing. Arrows point one way: a resource uses the plumbing; the
//! plumbing knows no resource.

mod access;
pub mod admin;
mod request;
mod response;
pub mod server;
mod shards;
