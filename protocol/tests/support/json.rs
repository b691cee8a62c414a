//! Frames as JSON and back: the readable half of the test vectors.
//!
//! Form: every field of the schema by its name; 64-bit numbers as decimal strings, byte vectors as hex,
//! enumerations by name, absent optional fields as null.
//! Invariant: `client_of(kind, to_json(frame)) == frame`, and the same for servers.

use grandstand_protocol::close::Retry;
use grandstand_protocol::frame::*;
use grandstand_protocol::refusal::Refusal;
use serde_json::{Value, json};

use super::{hex, long, unhex};

fn maybe(n: Option<u64>) -> Value {
    n.map_or(Value::Null, long)
}

/// The fields of a client's frame.
pub(crate) fn of_client(frame: &ClientFrame<'_>) -> Value {
    match frame {
        ClientFrame::Hello(f) => json!({
            "min_version": f.min_version, "max_version": f.max_version, "capabilities": long(f.capabilities),
            "token": f.token, "name": f.name, "ticket": hex(f.ticket), "agent": f.agent,
        }),
        ClientFrame::Subscribe(f) => json!({
            "request": f.request, "room": f.room, "resume_epoch": long(f.resume.map_or(0, |(epoch, _)| epoch)),
            "resume_offset": maybe(f.resume.map(|(_, offset)| offset)), "replay": f.replay,
        }),
        ClientFrame::Unsubscribe { request, alias } => json!({ "request": request, "alias": alias }),
        ClientFrame::Publish(f) => json!({
            "alias": f.alias, "nonce": long(f.nonce), "text": f.text, "reply_to": maybe(f.reply_to),
            "attachment": f.attachment, "author": f.author, "role": name(&f.role), "age_ms": f.age_ms,
        }),
        ClientFrame::React(f) => json!({ "alias": f.alias, "key": f.key, "count": f.count }),
        ClientFrame::SetState(f) => json!({
            "request": f.request, "alias": f.alias, "key": f.key, "value": hex(f.value.unwrap_or(&[])),
            "remove": f.value.is_none(),
        }),
        ClientFrame::Ping { client_us } => json!({ "client_us": long(*client_us) }),
        ClientFrame::History(f) => json!({
            "request": f.request, "alias": f.alias, "epoch": long(f.epoch), "from": long(f.from),
            "count_max": f.count_max,
        }),
        ClientFrame::Renew(f) => json!({ "request": f.request, "token": f.token }),
        ClientFrame::Act(f) => json!({
            "request": f.request, "alias": f.alias, "act": name(&f.act), "epoch": long(f.epoch),
            "target": maybe(f.target), "seconds": f.seconds, "category": name(&f.category), "text": f.text,
        }),
    }
}

/// The fields of a server's frame.
pub(crate) fn of_server(frame: &ServerFrame<'_>) -> Value {
    match frame {
        ServerFrame::Welcome(f) => json!({
            "version": f.version, "capabilities": long(f.capabilities), "session": long(f.session),
            "ticket": hex(f.ticket), "ticket_ttl_ms": f.ticket_ttl_ms, "heartbeat_ms": f.heartbeat_ms,
            "name": f.name, "role": name(&f.role), "permissions": f.permissions, "server_ms": long(f.server_ms),
            "frame_bytes_max": f.frame_bytes_max, "text_bytes_max": f.text_bytes_max, "rooms_max": f.rooms_max,
            "node": f.node, "resumed": f.resumed, "nodes": f.nodes,
        }),
        ServerFrame::Subscribed(f) => json!({
            "request": f.request, "alias": f.alias, "epoch": long(f.epoch), "offset": long(f.offset),
            "head": long(f.head), "time_ms": long(f.time_ms), "outcome": name(&f.outcome), "phase": name(&f.phase),
        }),
        ServerFrame::Unsubscribed { request, alias, reason } => {
            json!({ "request": request, "alias": alias, "reason": name(reason) })
        }
        ServerFrame::Published(f) => json!({
            "nonce": long(f.nonce), "epoch": long(f.epoch), "offset": long(f.offset), "time_ms": long(f.time_ms),
            "durability": name(&f.durability), "repeated": f.repeated,
        }),
        ServerFrame::StateSet { request, version } => {
            json!({ "request": request, "version": long(*version) })
        }
        ServerFrame::Refused(f) => json!({
            "kind": f.kind, "id": long(f.id), "reason": name(&f.reason), "retry_after_ms": f.retry_after_ms,
            "detail": f.detail,
        }),
        ServerFrame::Batch(body) => json!({ "body": hex(body) }),
        ServerFrame::Snapshot(f) => json!({
            "alias": f.alias, "epoch": long(f.epoch), "version": long(f.version),
            "entries": f.entries.iter().map(|(k, v)| json!({ "key": k, "value": hex(v) })).collect::<Vec<_>>(),
        }),
        ServerFrame::Gap(f) => json!({
            "alias": f.alias, "epoch": long(f.epoch), "from": long(f.from), "to": long(f.to), "count": long(f.count),
            "reason": name(&f.reason), "time_ms": long(f.time_ms),
        }),
        ServerFrame::RoomEvent(f) => json!({
            "alias": f.alias, "phase": name(&f.phase), "at_ms": long(f.at_ms), "detail": f.detail,
        }),
        ServerFrame::Pong { client_us, server_ms } => {
            json!({ "client_us": long(*client_us), "server_ms": long(*server_ms) })
        }
        ServerFrame::GoAway(f) => json!({
            "where": f.where_to, "after_ms": f.after_ms, "deadline_ms": f.deadline_ms, "detail": f.detail,
        }),
        ServerFrame::Error(f) => json!({
            "code": f.code, "retry": name(&f.retry), "retry_after_ms": f.retry_after_ms, "detail": f.detail,
        }),
        ServerFrame::HistoryPage(f) => json!({
            "request": f.request, "alias": f.alias, "epoch": long(f.epoch), "offset": long(f.offset),
            "time_ms": long(f.time_ms), "next": long(f.next), "head": long(f.head),
            "batches": f.batches.iter().map(|body| hex(body)).collect::<Vec<_>>(),
        }),
        ServerFrame::Personal(f) => json!({
            "alias": f.alias, "epoch": long(f.epoch), "offset": long(f.offset), "time_ms": long(f.time_ms),
            "author": f.author, "role": name(&f.role), "text": f.text, "attachment": f.attachment,
            "reply_to": maybe(f.reply_to),
        }),
        ServerFrame::Renewed(f) => json!({
            "request": f.request, "name": f.name, "role": name(&f.role), "permissions": f.permissions,
            "expires_in_ms": long(f.expires_in_ms),
        }),
        ServerFrame::Expiring { in_ms } => json!({ "in_ms": long(*in_ms) }),
        ServerFrame::Acted(f) => json!({
            "request": f.request, "epoch": long(f.epoch), "offset": maybe(f.offset), "count": long(f.count),
        }),
        ServerFrame::Notice(f) => json!({
            "alias": f.alias, "notice": name(&f.notice), "id": long(f.id), "until_ms": long(f.until_ms),
            "text": f.text,
        }),
    }
}

fn name(v: &impl std::fmt::Debug) -> String {
    format!("{v:?}")
}

/// Reads fields; a missing or mistyped one fails the test that reads it. Bytes are leaked: tests are short.
struct Fields(&'static Value);

impl Fields {
    fn of(value: &Value) -> Fields {
        Fields(Box::leak(Box::new(value.clone())))
    }
    fn get(&self, field: &str) -> &'static Value {
        self.0.get(field).unwrap_or_else(|| panic!("no field {field} in {}", self.0))
    }
    fn text(&self, field: &str) -> &'static str {
        self.get(field).as_str().unwrap_or_else(|| panic!("{field} is not a string"))
    }
    fn bytes(&self, field: &str) -> &'static [u8] {
        Box::leak(unhex(self.text(field)).into_boxed_slice())
    }
    fn long(&self, field: &str) -> u64 {
        self.text(field).parse().expect("a decimal number")
    }
    fn maybe_long(&self, field: &str) -> Option<u64> {
        (!self.get(field).is_null()).then(|| self.long(field))
    }
    fn int(&self, field: &str) -> u32 {
        self.get(field).as_u64().expect("a number").try_into().expect("32 bits")
    }
    fn flag(&self, field: &str) -> bool {
        self.get(field).as_bool().expect("true or false")
    }
    fn pick<T: Copy + std::fmt::Debug>(&self, field: &str, of: &[T]) -> T {
        let text = self.text(field);
        *of.iter().find(|v| name(v) == text).unwrap_or_else(|| panic!("no {text} for {field}"))
    }
}

const ROLES: &[Role] = &[Role::Viewer, Role::Subscriber, Role::Moderator, Role::Host, Role::Bot];
const PHASES: &[Phase] = &[Phase::Open, Phase::Closing, Phase::Closed, Phase::PreShow];
const OUTCOMES: &[Outcome] = &[Outcome::Live, Outcome::Resumed, Outcome::Gapped, Outcome::Restarted];
const DURABILITIES: &[Durability] = &[Durability::Memory, Durability::Disk, Durability::Replicated];
const REASONS: &[GapReason] = &[GapReason::Slow, GapReason::Paced, GapReason::Expired, GapReason::Restarted];
const RETRIES: &[Retry] = &[Retry::Never, Retry::Backoff, Retry::Reauthenticate];

/// A client's frame from its kind's name and fields.
pub(crate) fn client_of(kind: &str, fields: &Value) -> ClientFrame<'static> {
    let f = Fields::of(fields);
    match kind {
        "Hello" => ClientFrame::Hello(Hello {
            min_version: f.int("min_version") as u16,
            max_version: f.int("max_version") as u16,
            capabilities: f.long("capabilities"),
            token: f.text("token"),
            name: f.text("name"),
            ticket: f.bytes("ticket"),
            agent: f.text("agent"),
        }),
        "Subscribe" => ClientFrame::Subscribe(Subscribe {
            request: f.int("request"),
            room: f.text("room"),
            resume: f.maybe_long("resume_offset").map(|offset| (f.long("resume_epoch"), offset)),
            replay: f.int("replay"),
        }),
        "Unsubscribe" => ClientFrame::Unsubscribe { request: f.int("request"), alias: f.int("alias") },
        "Publish" => ClientFrame::Publish(Publish {
            alias: f.int("alias"),
            nonce: f.long("nonce"),
            text: f.text("text"),
            reply_to: f.maybe_long("reply_to"),
            attachment: f.text("attachment"),
            author: f.text("author"),
            role: f.pick("role", ROLES),
            age_ms: f.int("age_ms"),
        }),
        "React" => {
            ClientFrame::React(React { alias: f.int("alias"), key: f.text("key"), count: f.int("count") })
        }
        "SetState" => ClientFrame::SetState(SetState {
            request: f.int("request"),
            alias: f.int("alias"),
            key: f.text("key"),
            value: (!f.flag("remove")).then(|| f.bytes("value")),
        }),
        "Ping" => ClientFrame::Ping { client_us: f.long("client_us") },
        "History" => ClientFrame::History(History {
            request: f.int("request"),
            alias: f.int("alias"),
            epoch: f.long("epoch"),
            from: f.long("from"),
            count_max: f.int("count_max"),
        }),
        "Renew" => ClientFrame::Renew(Renew { request: f.int("request"), token: f.text("token") }),
        "Act" => ClientFrame::Act(Act {
            request: f.int("request"),
            alias: f.int("alias"),
            act: f.pick("act", ActKind::ALL),
            epoch: f.long("epoch"),
            target: f.maybe_long("target"),
            seconds: f.int("seconds"),
            category: f.pick("category", Category::ALL),
            text: f.text("text"),
        }),
        other => panic!("no client kind {other}"),
    }
}

/// A server's frame from its kind's name and fields.
pub(crate) fn server_of(kind: &str, fields: &Value) -> ServerFrame<'static> {
    let f = Fields::of(fields);
    match kind {
        "Welcome" => ServerFrame::Welcome(Welcome {
            version: f.int("version") as u16,
            capabilities: f.long("capabilities"),
            session: f.long("session"),
            ticket: f.bytes("ticket"),
            ticket_ttl_ms: f.int("ticket_ttl_ms"),
            heartbeat_ms: f.int("heartbeat_ms"),
            name: f.text("name"),
            role: f.pick("role", ROLES),
            permissions: f.int("permissions"),
            server_ms: f.long("server_ms"),
            frame_bytes_max: f.int("frame_bytes_max"),
            text_bytes_max: f.int("text_bytes_max"),
            rooms_max: f.int("rooms_max"),
            node: f.text("node"),
            resumed: f.flag("resumed"),
            nodes: f.text("nodes"),
        }),
        "Subscribed" => ServerFrame::Subscribed(Subscribed {
            request: f.int("request"),
            alias: f.int("alias"),
            epoch: f.long("epoch"),
            offset: f.long("offset"),
            head: f.long("head"),
            time_ms: f.long("time_ms"),
            outcome: f.pick("outcome", OUTCOMES),
            phase: f.pick("phase", PHASES),
        }),
        "Unsubscribed" => ServerFrame::Unsubscribed {
            request: f.int("request"),
            alias: f.int("alias"),
            reason: f.pick("reason", Refusal::ALL),
        },
        "Published" => ServerFrame::Published(Published {
            nonce: f.long("nonce"),
            epoch: f.long("epoch"),
            offset: f.long("offset"),
            time_ms: f.long("time_ms"),
            durability: f.pick("durability", DURABILITIES),
            repeated: f.flag("repeated"),
        }),
        "StateSet" => ServerFrame::StateSet { request: f.int("request"), version: f.long("version") },
        "Refused" => ServerFrame::Refused(Refused {
            kind: f.int("kind") as u8,
            id: f.long("id"),
            reason: f.pick("reason", Refusal::ALL),
            retry_after_ms: (!f.get("retry_after_ms").is_null()).then(|| f.int("retry_after_ms")),
            detail: f.text("detail"),
        }),
        "Batch" => ServerFrame::Batch(f.bytes("body")),
        "Snapshot" => ServerFrame::Snapshot(Snapshot {
            alias: f.int("alias"),
            epoch: f.long("epoch"),
            version: f.long("version"),
            entries: entries(f.get("entries")),
        }),
        "Gap" => ServerFrame::Gap(Gap {
            alias: f.int("alias"),
            epoch: f.long("epoch"),
            from: f.long("from"),
            to: f.long("to"),
            count: f.long("count"),
            reason: f.pick("reason", REASONS),
            time_ms: f.long("time_ms"),
        }),
        "RoomEvent" => ServerFrame::RoomEvent(RoomEvent {
            alias: f.int("alias"),
            phase: f.pick("phase", PHASES),
            at_ms: f.long("at_ms"),
            detail: f.text("detail"),
        }),
        "Pong" => ServerFrame::Pong { client_us: f.long("client_us"), server_ms: f.long("server_ms") },
        "GoAway" => ServerFrame::GoAway(GoAway {
            where_to: f.text("where"),
            after_ms: f.int("after_ms"),
            deadline_ms: f.int("deadline_ms"),
            detail: f.text("detail"),
        }),
        "Error" => ServerFrame::Error(ErrorFrame {
            code: f.int("code") as u16,
            retry: f.pick("retry", RETRIES),
            retry_after_ms: f.int("retry_after_ms"),
            detail: f.text("detail"),
        }),
        "HistoryPage" => ServerFrame::HistoryPage(HistoryPage {
            request: f.int("request"),
            alias: f.int("alias"),
            epoch: f.long("epoch"),
            offset: f.long("offset"),
            time_ms: f.long("time_ms"),
            next: f.long("next"),
            head: f.long("head"),
            batches: bodies(f.get("batches")),
        }),
        "Personal" => ServerFrame::Personal(Personal {
            alias: f.int("alias"),
            epoch: f.long("epoch"),
            offset: f.long("offset"),
            time_ms: f.long("time_ms"),
            author: f.text("author"),
            role: f.pick("role", ROLES),
            text: f.text("text"),
            attachment: f.text("attachment"),
            reply_to: f.maybe_long("reply_to"),
        }),
        "Renewed" => ServerFrame::Renewed(Renewed {
            request: f.int("request"),
            name: f.text("name"),
            role: f.pick("role", ROLES),
            permissions: f.int("permissions"),
            expires_in_ms: f.long("expires_in_ms"),
        }),
        "Acted" => ServerFrame::Acted(Acted {
            request: f.int("request"),
            epoch: f.long("epoch"),
            offset: f.maybe_long("offset"),
            count: f.long("count"),
        }),
        "Notice" => ServerFrame::Notice(Notice {
            alias: f.int("alias"),
            notice: f.pick("notice", NoticeKind::ALL),
            id: f.long("id"),
            until_ms: f.long("until_ms"),
            text: f.text("text"),
        }),
        "Expiring" => ServerFrame::Expiring { in_ms: f.long("in_ms") },
        other => panic!("no server kind {other}"),
    }
}

fn entries(list: &'static Value) -> Vec<(&'static str, &'static [u8])> {
    let list = list.as_array().expect("a list of entries");
    list.iter().map(Fields::of).map(|e| (e.text("key"), e.bytes("value"))).collect()
}

fn bodies(list: &'static Value) -> Vec<&'static [u8]> {
    let list = list.as_array().expect("a list of bodies");
    list.iter().map(|body| &*Box::leak(unhex(body.as_str().expect("hex")).into_boxed_slice())).collect()
}
