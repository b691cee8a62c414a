//! People of media requests: holders of API keys, of tokens, and strangers.
//!
//! Why tokens too: a viewer's page uploads a picture with the token of its session, and has no API key.
//! Invariants: a token is judged as a hello's is, bans included. Whoever shows something that is not valid is
//! refused, and is no stranger.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use grandstand_edge::auth::Authority;
use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_edge_core::admission::address::Address;
use grandstand_edge_core::auth::Authorize;
use grandstand_media::people::{People, Person};
use grandstand_media::problem::Problem;
use grandstand_protocol::frame::{Role, permission};
use grandstand_protocol::proxy::{client_of_forwarded, client_of_x_forwarded_for};

use crate::api_keys::{ApiKey, Scope};

/// Everybody whom the node knows.
pub(super) struct Everybody {
    config: Arc<Config>,
    authority: Arc<Authority>,
    clock: Clock,
}

impl Everybody {
    pub(super) fn new(config: &Arc<Config>, authority: Arc<Authority>, clock: Clock) -> Everybody {
        Everybody { config: config.clone(), authority, clock }
    }
}

impl People for Everybody {
    fn person(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Person, Problem> {
        let peer =
            extensions.get::<ConnectInfo<SocketAddr>>().map(|&ConnectInfo(peer)| peer.ip().to_canonical());
        let peer = peer.map(|peer| self.client(peer, headers));
        let address = peer.map_or_else(String::new, |ip: IpAddr| Address::of(ip).to_string());
        if let Some(key) = extensions.get::<Arc<ApiKey>>() {
            return Ok(Person {
                id: format!("key {}", key.id),
                address,
                uploads: key.scopes.has(Scope::Uploads),
                moderates: key.scopes.has(Scope::Mod),
                has_quota: false,
            });
        }
        let Some(shown) = headers.get(header::AUTHORIZATION) else { return self.stranger(address) };
        let token = shown.to_str().ok().and_then(|shown| shown.split_once(' '));
        let token =
            token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let token = token
            .ok_or_else(|| unauthorized("send the token of your session as `Authorization: Bearer TOKEN`"))?;
        let now_ms = self.clock.unix().as_millis() as u64;
        let grant =
            self.authority.authorize(token, "", now_ms).map_err(|denied| unauthorized(denied.detail))?;
        let user = grant.user.ok_or_else(|| unauthorized("the token names nobody"))?;
        Ok(Person {
            id: format!("user {:016x}", user.0),
            address,
            uploads: grant.permissions & permission::PUBLISH != 0,
            moderates: grant.permissions & permission::MODERATE != 0
                || matches!(grant.role, Role::Moderator | Role::Host),
            has_quota: true,
        })
    }

    fn allows_origin(&self, origin: &str) -> bool {
        self.config.ws.allows_origin(Some(origin))
    }
}

impl Everybody {
    /// The client's address: what a trusted proxy says, or the peer's own.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let proxy = &self.config.proxy;
        if !proxy.is_trusted(peer) || !proxy.has_header() {
            return peer;
        }
        let is_trusted = |address: IpAddr| proxy.is_trusted(address);
        let lines = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let named = if proxy.x_forwarded_for {
            client_of_x_forwarded_for(lines("x-forwarded-for"), is_trusted)
        } else {
            client_of_forwarded(lines("forwarded"), is_trusted).ok().flatten()
        };
        named.unwrap_or(peer)
    }

    fn stranger(&self, address: String) -> Result<Person, Problem> {
        if !self.config.uploads.anonymous {
            return Err(unauthorized(
                "send the token of your session, or an API key, as `Authorization: Bearer TOKEN`",
            ));
        }
        Ok(Person {
            id: format!("stranger {address}"),
            address,
            uploads: true,
            moderates: false,
            has_quota: true,
        })
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail)
}
