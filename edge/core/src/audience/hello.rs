//! The first frame of a connection, `Hello`: version, ticket, token, and the answer.
//!
//! Why apart: until `Hello` is answered a connection has no session, and may do nothing else.
//! Not here: what a token contains (`auth`), whether a storm lets it in (`admission`).

use grandstand_engine::link::{Now, UserId};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ErrorFrame, Hello, ServerFrame, Welcome};
use grandstand_protocol::version::{self, capability};
use smallvec::SmallVec;

use super::Audience;
use super::session::Session;
use super::token_bucket::TokenBucket;
use crate::admission::overload::Overload;
use crate::auth::{Grant, RoomScope, TicketBody};

impl Audience {
    /// The handshake queue is full for new connections, or no longer.
    pub fn handle_overload(&mut self, overload: Option<Overload>) {
        self.throttle.handle_overload(overload);
    }

    pub(super) fn handle_hello(&mut self, now: Now, ix: u32, hello: &Hello<'_>) {
        if let Some(detail) = self.turned_down() {
            return self.close(ix, CloseCode::GoingAway, &detail);
        }
        let Some(version) = version::negotiate(hello.min_version, hello.max_version) else {
            let detail = format!("this node speaks version {}", version::VERSION);
            return self.close(ix, CloseCode::UnsupportedVersion, &detail);
        };
        match self.authority.authorize(hello.token, hello.name, now.unix_ms) {
            Ok(grant) => self.welcome(now, ix, hello, version, grant),
            Err(denied) => {
                self.counters.sessions_denied += 1;
                self.close(ix, denied.code, denied.detail);
            }
        }
    }

    fn welcome(&mut self, now: Now, ix: u32, hello: &Hello<'_>, version: u16, grant: Grant) {
        let ticket = self.tickets.read(hello.ticket, now.unix_ms).filter(|t| match grant.user {
            Some(user) => t.user == user,
            // A named user's ticket without its token continues nobody's session.
            None => t.user.0 == t.session,
        });
        let resumed = ticket.is_some();
        if let Some(retry_after_ms) = self.throttle.handle_hello(now.us, resumed) {
            return self.refuse_for_overload(ix, retry_after_ms);
        }
        let body = ticket.unwrap_or_else(|| {
            let session = self.next_session();
            TicketBody { session, user: grant.user.unwrap_or(UserId(session)) }
        });
        let name = if grant.name.is_empty() { guest_name(body.session) } else { grant.name };
        let ticket = self.tickets.issue(&body, now.unix_ms);
        let node = self.settings.node.clone();
        let capabilities = hello.capabilities & self.capabilities();
        self.connections[ix as usize].takes_compressed = capabilities & capability::DEFLATE_1 != 0;
        let welcome = Welcome {
            version,
            capabilities,
            session: body.session,
            ticket: &ticket,
            ticket_ttl_ms: self.settings.ticket_ttl_ms,
            heartbeat_ms: self.settings.heartbeat_ms,
            name: &name,
            role: grant.role,
            permissions: grant.permissions,
            server_ms: now.unix_ms,
            frame_bytes_max: self.settings.frame_bytes_max,
            text_bytes_max: self.settings.text_bytes_max,
            rooms_max: self.settings.rooms_per_session_max,
            node: &node,
            resumed,
        };
        self.send_control(ix, &ServerFrame::Welcome(welcome));
        self.counters.sessions += 1;
        self.counters.sessions_opened += 1;
        self.counters.sessions_resumed += u64::from(resumed);
        self.connections[ix as usize].session = Some(Box::new(Session {
            user: body.user,
            name,
            role: grant.role,
            permissions: grant.permissions,
            expires_unix_ms: grant.expires_unix_ms.unwrap_or(0),
            scope: if matches!(grant.rooms, RoomScope::All) { None } else { Some(Box::new(grant.rooms)) },
            publish: TokenBucket::default(),
            reactions: TokenBucket::default(),
            frames: TokenBucket::default(),
            memberships: SmallVec::new(),
        }));
        self.tell_to_go(now, ix);
    }

    fn refuse_for_overload(&mut self, ix: u32, retry_after_ms: u32) {
        let code = CloseCode::Overloaded;
        if self.end(ix, code, code.text()) {
            let (code, retry, detail) = (code.wire(), code.retry(), code.text());
            self.write_control(ix, &ServerFrame::Error(ErrorFrame { code, retry, retry_after_ms, detail }));
        }
    }

    /// The next session number. Without the key it tells nothing of any other.
    fn next_session(&mut self) -> u64 {
        self.sessions_numbered += 1;
        self.key.number(self.sessions_numbered).max(1)
    }
}

fn guest_name(session: u64) -> Box<str> {
    format!("guest-{:04x}", session as u16).into()
}
