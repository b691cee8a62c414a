//! An HTTP client behind a guard: link previews, webhooks, keys of issuers and listings are fetched by it.
//!
//! Why of our own: a resolver that refuses private names is no guard, since an address in a URL is never
//! resolved (`http://2130706433` is loopback). So the guard is at the connect: a host is resolved once, every
//! address must be permitted, and the socket is connected to one of those addresses and to no other.
//! Invariants: no connection is made to an address that the [`Policy`] does not permit, in any form of URL,
//! behind any redirect, whatever a name resolves to the next time. There is no proxy, no cookie and no
//! connection that outlives its request. A body is bounded after decompression. Each request ends within its
//! time.
//! Not here: which answers are kept (the callers), the texts of pages (`grandstand-media`).
//!
//! ```no_run
//! use grandstand_fetch::{Fetcher, Policy, Request, Settings};
//! # async fn example() -> Result<(), grandstand_fetch::FetchError> {
//! let fetcher = Fetcher::new(Settings::new(Policy::public()))?;
//! let page = fetcher.send(&Request::get("https://show.example.org/").accepting(&["text/html"])).await?;
//! assert!(page.body.len() <= 512 * 1024);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod address;
mod body;
mod connection;
mod error;
mod fetcher;
mod network;
mod places;
mod policy;
mod request;

pub use error::FetchError;
pub use fetcher::{Answer, Fetcher, Opened, Settings};
pub use network::{BoxFuture, BoxStream, Network, Stream, System};
pub use policy::Policy;
pub use request::{Request, Validators};

/// What each request says of who asks.
pub const USER_AGENT: &str =
    concat!("Grandstand/", env!("CARGO_PKG_VERSION"), " (chat server; link fetcher)");

#[cfg(test)]
mod tests;
