//! The first frame of a connection, `Hello`: version, ticket, token, and the answer.
//!
//! Why apart: until `Hello` is answered a connection has no session, and may do nothing else.
//! Not here: what a token contains (`auth`), whether a storm lets it in (`admission`).

use grandstand_engine::link::{Now, UserId};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Hello, ServerFrame, Welcome, permission};
use grandstand_protocol::text::mend_name;
use grandstand_protocol::version::{self, capability};

use super::Audience;
use super::session::Session;
use crate::admission::overload::Overload;
use crate::auth::{Grant, TicketBody};
use crate::key::Key;

/// When a user with too many sessions may come back: a heartbeat ends those whose connections are dead.
const TOO_MANY_SESSIONS_MS: u32 = 15_000;

impl Audience {
    /// The handshake queue is full for new connections, or no longer.
    pub fn handle_overload(&mut self, overload: Option<Overload>) {
        self.throttle.handle_overload(overload);
    }

    pub(super) fn handle_hello(&mut self, now: Now, ix: u32, hello: &Hello<'_>) {
        if let Some(detail) = self.drain_progress.as_ref().and_then(|drain| drain.turned_down()) {
            return self.subscriptions.close(ix, CloseCode::GoingAway, &detail);
        }
        let Some(version) = version::negotiate(hello.min_version, hello.max_version) else {
            let detail = format!("this node speaks version {}", version::VERSION);
            return self.subscriptions.close(ix, CloseCode::UnsupportedVersion, &detail);
        };
        let wish = mend_name(hello.name).unwrap_or_default();
        match self.authority.authorize(hello.token, &wish, now.unix_ms) {
            Ok(grant) => self.welcome(now, ix, hello, version, grant),
            Err(denied) => {
                self.subscriptions.connections.counters.sessions_denied += 1;
                self.refuse(ix, denied.code, denied.retry_after_ms, denied.detail);
            }
        }
    }

    fn welcome(&mut self, now: Now, ix: u32, hello: &Hello<'_>, version: u16, mut grant: Grant) {
        let ticket = self.tickets.read(hello.ticket, now.unix_ms).filter(|t| match grant.user {
            Some(user) => t.user == user,
            // A named user's ticket without its token continues nobody's session.
            None => t.user.0 == t.session,
        });
        let resumed = ticket.is_some();
        if let Some(retry_after_ms) = self.throttle.handle_hello(now.us, resumed) {
            return self.refuse(ix, CloseCode::Overloaded, retry_after_ms, CloseCode::Overloaded.text());
        }
        let body = ticket.unwrap_or_else(|| {
            let session = self.session_numbers.next();
            TicketBody { session, user: grant.user.unwrap_or(UserId(session)) }
        });
        let is_bridge = grant.permissions & permission::BRIDGE != 0;
        let begins = |user| self.subscriptions.people.begin_session(user, body.session, is_bridge);
        if !grant.user.is_none_or(begins) {
            self.subscriptions.connections.counters.sessions_denied += 1;
            let (code, spread_ms) = (CloseCode::TooManySessions, (body.session % 5_000) as u32);
            return self.refuse(ix, code, TOO_MANY_SESSIONS_MS + spread_ms, code.text());
        }
        let name =
            self.subscriptions.settings.shown_name(std::mem::take(&mut grant.name), grant.role, body.session);
        let ticket = self.tickets.issue(&body, now.unix_ms);
        let settings = &self.subscriptions.settings;
        let (node, nodes) = (settings.node.clone(), settings.nodes.clone());
        let capabilities = hello.capabilities & settings.capabilities();
        self.subscriptions.connections[ix].takes_compressed = capabilities & capability::DEFLATE_1 != 0;
        let welcome = Welcome {
            version,
            capabilities,
            session: body.session,
            ticket: &ticket,
            ticket_ttl_ms: settings.ticket_ttl_ms,
            heartbeat_ms: settings.heartbeat_ms,
            name: &name,
            role: grant.role,
            permissions: grant.permissions,
            server_ms: now.unix_ms,
            frame_bytes_max: settings.frame_bytes_max,
            text_bytes_max: settings.text_bytes_max,
            rooms_max: settings.rooms_per_session_max,
            node: &node,
            resumed,
            nodes: &nodes,
        };
        self.subscriptions.send_control(ix, &ServerFrame::Welcome(welcome));
        let connections = &mut self.subscriptions.connections;
        connections.counters.sessions += 1;
        connections.counters.sessions_opened += 1;
        connections.counters.sessions_resumed += u64::from(resumed);
        if resumed {
            self.subscriptions.people.note_returned(body.session);
        }
        let person = self.subscriptions.people.enter(grant.user, body.session, connections[ix].block);
        let person = person.as_bridge(is_bridge);
        let expiry = grant.expiry;
        connections[ix].session = Some(Box::new(Session::new(now, body, person, name, grant)));
        if let Some(expiry) = expiry {
            self.expire(now, ix, expiry);
        }
        self.tell_to_go(now, ix);
    }

    /// End a connection that gets no session, with a time to come back if there is one.
    fn refuse(&mut self, ix: u32, code: CloseCode, retry_after_ms: u32, detail: &str) {
        if self.subscriptions.end(ix, code, detail) {
            self.subscriptions.connections.write_error(ix, code, retry_after_ms, detail);
        }
    }
}

/// Numbers for new sessions. Without the key one tells nothing of any other.
#[derive(Debug)]
pub(super) struct SessionNumbers {
    key: Key,
    given: u64,
}

impl SessionNumbers {
    pub(super) fn new(key: Key) -> Self {
        SessionNumbers { key, given: 0 }
    }

    fn next(&mut self) -> u64 {
        self.given += 1;
        self.key.number(self.given).max(1)
    }
}
