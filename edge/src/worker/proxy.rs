//! Proxies: the client's address of a connection from a trusted proxy, and the limits of that address.
//!
//! Why in two places: the PROXY protocol tells the address before the first byte of the client, and a header
//! of HTTP within the request. Until then the connection counts towards the node's bound only.
//! Invariants: an address is taken from nobody who is not in `proxy.trusted`. Where a PROXY header is due,
//! nothing else is read. A connection is named at most once.
//! Not here: the headers' syntax (`grandstand_protocol::proxy`), the bounds (`admission::limits`).

use std::net::IpAddr;

use grandstand_edge_core::admission::limits::{Address, LimitReached};
use grandstand_engine::link::Now;
use grandstand_protocol::proxy::{
    ForwardedFault, HEADER_BYTES_MAX, Source, begins_header, client_of_forwarded, client_of_x_forwarded_for,
    parse_header,
};
use grandstand_protocol::websocket::handshake::Request;

use super::Worker;
use super::accept::{retry_after_s, transport};
use super::driver::Driver;
use super::lines::{self, NO_PLACE};
use super::refusals::refused;
use crate::stats::TurnedAway;
use crate::transport::link::{Link, Naming, UNKNOWN};

/// Why a request of a trusted proxy is refused.
#[derive(Debug)]
pub(super) enum Unnamed {
    /// Its client has reached a limit.
    Limit(LimitReached),
    /// Nobody can say whose addresses its header has.
    Malformed(ForwardedFault),
}

impl Worker {
    /// Take the PROXY header of a connection, if one is due. Returns `true` if bytes of the client are there.
    pub(super) fn take_proxy_header(&mut self, now: Now, ix: u32, is_over: bool, is_tls: bool) -> bool {
        let Some(link) = self.driver.links.get(ix) else { return false };
        if !link.awaits_proxy_header() {
            return self.refuse_strange_header(now, ix, is_tls);
        }
        // One byte more than a header has shows whether the client has sent something.
        let seen = link.peek(&mut self.driver.scratch[..=HEADER_BYTES_MAX]);
        let (seen_len, parsed) = (seen.len(), parse_header(seen));
        match parsed {
            Ok(None) if is_over => self.driver.drop_link(ix),
            // The rest comes with an event of its own.
            Ok(None) => {}
            Ok(Some(header)) => {
                link.receive(&mut self.driver.scratch[..header.len]);
                match self.driver.name_by_header(now, ix, header.source) {
                    Ok(()) if !self.driver.recount(now, ix) => {
                        let (peer, why) = (self.driver.client_of(ix), TurnedAway::HandshakesPending);
                        refused(&self.stats, peer, transport(is_tls), why);
                        self.refuse_accepted(now, ix, (503, NO_PLACE, Some(lines::RETRY_AFTER_S)), is_tls);
                    }
                    Ok(()) if seen_len > header.len => return true,
                    // No further event tells that it has ended.
                    Ok(()) if is_over => self.driver.drop_link(ix),
                    Ok(()) => {}
                    Err(limit) => self.refuse_named(now, ix, limit, is_tls),
                }
            }
            Err(fault) => {
                let peer = self.driver.client_of(ix);
                tracing::warn!(%peer, "{fault} from a trusted proxy: switch it on there, or change proxy.protocol");
                self.refuse_header(now, ix, "the PROXY protocol is due here", is_tls);
            }
        }
        false
    }

    /// Refuse a PROXY header under TLS from who may send none; without TLS the request is refused later.
    fn refuse_strange_header(&mut self, now: Now, ix: u32, is_tls: bool) -> bool {
        if !is_tls {
            return true;
        }
        let Some(link) = self.driver.links.get(ix) else { return false };
        if !begins_header(link.peek(&mut self.driver.scratch[..16])) {
            return true;
        }
        self.driver.log_strange_header(ix);
        self.refuse_header(now, ix, "", is_tls);
        false
    }

    /// Refuse a connection whose handshake has not begun, for its PROXY header. Under TLS it could be told
    /// only after a handshake.
    fn refuse_header(&mut self, now: Now, ix: u32, reason: &str, is_tls: bool) {
        refused(&self.stats, self.driver.client_of(ix), transport(is_tls), TurnedAway::ProxyHeader);
        self.refuse_accepted(now, ix, (400, reason, None), is_tls);
    }

    fn refuse_named(&mut self, now: Now, ix: u32, limit: LimitReached, is_tls: bool) {
        refused(&self.stats, self.driver.client_of(ix), transport(is_tls), limit.into());
        self.refuse_accepted(now, ix, limited(limit), is_tls);
    }

    fn refuse_accepted(&mut self, now: Now, ix: u32, answer: (u16, &str, Option<u32>), is_tls: bool) {
        if is_tls {
            return self.driver.drop_link(ix);
        }
        self.driver.send_refusal(now, ix, answer);
        // The rest is read and dropped; otherwise the close would reset the answer.
        self.driver.handle_link_readable(now, ix, true);
    }
}

/// The answer to a client that has reached a limit of its address.
pub(super) fn limited(limit: LimitReached) -> (u16, &'static str, Option<u32>) {
    (429, "no room for another connection of this address now", Some(retry_after_s(limit)))
}

impl Driver {
    /// The client's address of a link that is not open, as far as it is known.
    pub(super) fn client_of(&self, ix: u32) -> IpAddr {
        self.links.get(ix).map_or(UNKNOWN, Link::client)
    }

    /// A trusted proxy sent this PROXY header.
    fn name_by_header(&mut self, now: Now, ix: u32, source: Source) -> Result<(), LimitReached> {
        let proxy = &self.shared.config.proxy;
        let client = match source {
            Source::Client(address) => Some(address.ip().to_canonical()),
            Source::Proxy => None,
        };
        // A proxy before the proxy may tell more in its request.
        let may_follow = proxy.has_header() && client.is_none_or(|client| proxy.is_trusted(client));
        self.set_naming(ix, if may_follow { Naming::Request } else { Naming::Done });
        self.name_client(now, ix, client)
    }

    /// Name the client of a link by a header of its request, if a trusted proxy may do so.
    pub(super) fn name_by_request(
        &mut self,
        now: Now,
        ix: u32,
        request: &Request<'_>,
    ) -> Result<(), Unnamed> {
        let is_due = self.links.get(ix).and_then(|link| link.opening.as_ref());
        if is_due.is_none_or(|opening| opening.naming != Naming::Request) {
            return Ok(());
        }
        self.set_naming(ix, Naming::Done);
        let proxy = &self.shared.config.proxy;
        let is_trusted = |address| proxy.is_trusted(address);
        let client = if proxy.forwarded {
            client_of_forwarded(request.forwarded.iter().copied(), is_trusted).map_err(Unnamed::Malformed)?
        } else {
            client_of_x_forwarded_for(request.x_forwarded_for.iter().copied(), is_trusted)
        };
        let proxy = self.client_of(ix);
        if client.is_none() && self.shared.unnamed.is_first(proxy) {
            tracing::info!(
                %proxy,
                "a trusted proxy sent a request that names no client, so no limit of an address holds such \
                 connections: unless it is a probe, let the proxy set the header that is switched on here"
            );
        }
        self.name_client(now, ix, client).map_err(Unnamed::Limit)
    }

    /// The client that a trusted proxy told; a proxy itself is held by no limit of its address.
    fn name_client(&mut self, now: Now, ix: u32, client: Option<IpAddr>) -> Result<(), LimitReached> {
        let Some(link) = self.links.get_mut(ix) else { return Ok(()) };
        if let (Some(client), Some(opening)) = (client, link.opening.as_mut()) {
            opening.client = client;
        }
        let Some(client) = client.filter(|&client| !self.shared.config.proxy.is_trusted(client)) else {
            self.stats.clients_unnamed.inc();
            return Ok(());
        };
        let Some(permit) = link.permit.as_mut() else { return Ok(()) };
        let mut named = self.shared.limiter.name(permit, client, now.us);
        if named == Err(LimitReached::TooManyConnections)
            && self.lines.give_way_to_own(Some(Address::of(client)), now)
        {
            self.end_leaving();
            let Some(permit) = self.links.get_mut(ix).and_then(|link| link.permit.as_mut()) else {
                return Ok(());
            };
            named = self.shared.limiter.name(permit, client, now.us);
        }
        named?;
        self.stats.clients_named.inc();
        Ok(())
    }

    fn set_naming(&mut self, ix: u32, naming: Naming) {
        if let Some(opening) = self.links.get_mut(ix).and_then(|link| link.opening.as_mut()) {
            opening.naming = naming;
        }
    }

    pub(super) fn log_strange_header(&self, ix: u32) {
        let peer = self.client_of(ix);
        tracing::warn!(
            %peer,
            "a PROXY header came where none is due: add the peer to proxy.trusted and switch proxy.protocol \
             on, or switch it off at the proxy"
        );
    }
}
