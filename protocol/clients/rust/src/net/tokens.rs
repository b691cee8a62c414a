//! Tokens of a client: the one that the app gave last, and a provider that is asked for the next one.
//!
//! Why a provider: a token may run out in the middle of a show, while the app does something else.
//! Invariants: one request to the provider is under way at a time; a token that a node has accepted is not
//! offered as a new one again.
//! Not here: what a token says (it is opaque here), when one is wanted (`core`).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

type Request = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Gives a new token when the old one runs out: a function that returns a future of a token, or of `None` to
/// end the session.
#[derive(Clone)]
pub struct TokenProvider(Arc<dyn Fn() -> Request + Send + Sync>);

impl TokenProvider {
    /// A provider from a function.
    pub fn new<F, Token>(provide: F) -> TokenProvider
    where
        F: Fn() -> Token + Send + Sync + 'static,
        Token: Future<Output = Option<String>> + Send + 'static,
    {
        TokenProvider(Arc::new(move || Box::pin(provide())))
    }
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenProvider")
    }
}

/// The requests to a provider.
#[derive(Default)]
pub(super) struct TokenRequests {
    pub(super) provider: Option<TokenProvider>,
    under_way: Option<Request>,
}

impl fmt::Debug for TokenRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRequests {{ under_way: {} }}", self.under_way.is_some())
    }
}

impl TokenRequests {
    pub(super) fn new(provider: Option<TokenProvider>) -> TokenRequests {
        TokenRequests { provider, under_way: None }
    }

    /// Ask the provider, if there is one and it is not being asked.
    pub(super) fn begin(&mut self) {
        if self.under_way.is_none() {
            self.under_way = self.provider.as_ref().map(|provider| (provider.0)());
        }
    }

    /// The provider's answer, if it was asked.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        let Some(request) = &mut self.under_way else { return Poll::Pending };
        let answer = request.as_mut().poll(cx);
        if answer.is_ready() {
            self.under_way = None;
        }
        answer
    }
}

/// The token that the app gave last.
#[derive(Debug, Default)]
pub(super) struct NewToken {
    token: Option<String>,
    is_given: bool,
}

impl NewToken {
    pub(super) fn set(&mut self, token: String) {
        (self.token, self.is_given) = (Some(token), false);
    }

    /// For the session, once.
    pub(super) fn poll(&mut self) -> Option<String> {
        let token = self.token.clone().filter(|_| !self.is_given);
        self.is_given = true;
        token
    }

    /// For a session that waits for one.
    pub(super) fn take(&mut self) -> Option<String> {
        self.token.take()
    }

    /// A node has accepted the session: a token that it was given is not new any more.
    pub(super) fn handle_welcome(&mut self) {
        if self.is_given {
            self.token = None;
        }
    }
}
