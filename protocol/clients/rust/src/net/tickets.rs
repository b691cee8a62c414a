//! A store of TLS session tickets. A ticket makes a reconnect cheaper for both sides, and marks it as a
//! returning client.
//!
//! Why not the store of `rustls`: it keeps eight tickets per server. That is plenty for an application, but
//! too few for the thousands of sessions of a load generator or a bridge. The server accepts any of its
//! tickets on any connection.
//! Invariants: each ticket is used once (RFC 8446, C.4); the newest `tickets_max` are kept per server; at
//! most [`SERVERS_MAX`] servers are remembered.
//! Not here: Grandstand's own resume tickets (`core`), tokens of QUIC's addresses (quinn keeps them).

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// A client connects to the nodes of one cluster or a few.
const SERVERS_MAX: usize = 64;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Tickets {
    tickets_max: usize,
    servers: Mutex<HashMap<ServerName<'static>, Server>>,
}

#[derive(Debug, Default)]
struct Server {
    group: Option<NamedGroup>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Tickets {
    pub(super) fn new(tickets_max: usize) -> Tickets {
        Tickets { tickets_max, servers: Mutex::default() }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<ServerName<'static>, Server>> {
        // A panic cannot leave a change half done: every change is one step.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: ServerName<'static>, change: impl FnOnce(&mut Server)) {
        let mut servers = self.servers();
        if servers.len() >= SERVERS_MAX && !servers.contains_key(&name) {
            servers.clear();
        }
        change(servers.entry(name).or_default());
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.change(name, |server| server.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.servers().get(name)?.group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.change(name, |server| {
            if server.tickets.len() >= self.tickets_max {
                server.tickets.pop_front();
            }
            if self.tickets_max > 0 {
                server.tickets.push_back(ticket);
            }
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.servers().get_mut(name)?.tickets.pop_back()
    }
}
