//! People: who asks for something, as the node knows them.
//!
//! Why a trait: tokens, keys and sessions are the node's. Here a person is a name, an address and rights.
//! Invariant: whoever the node does not know gets no further than its answer.

use axum::http::{Extensions, HeaderMap};

use crate::problem::Problem;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The same for all connections and requests of one person.
    pub id: String,
    /// The address that counts as one: of IPv6 a /64.
    pub address: String,
    /// May upload.
    pub uploads: bool,
    /// May see what is held, approve it, and remove what others uploaded.
    pub moderates: bool,
    /// Has quotas. An application uploads for many, and has none.
    pub has_quota: bool,
}

/// Says who sends a request, and which pages may read the answers.
pub trait People: Send + Sync + 'static {
    /// The person who shows these headers; the server has put what it knows into the extensions.
    ///
    /// # Errors
    /// Nobody is known by them: the answer.
    fn person(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Person, Problem>;

    /// May pages of this origin ask?
    fn allows_origin(&self, origin: &str) -> bool;
}
