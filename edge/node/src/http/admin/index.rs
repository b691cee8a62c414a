//! The index: the endpoints of the admin port, each with an example command.
//!
//! Invariant: every listed endpoint exists (a test requests each).

use axum::Json;
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

/// Method, path, effect, and an example command.
pub(super) const ENDPOINTS: &[(&str, &str, &str, &str)] = &[
    (
        "GET",
        "/healthz",
        "200 while the process works: `ok`, or `degraded` with what is at fault; no key needed",
        "curl {at}/healthz",
    ),
    (
        "GET",
        "/readyz",
        "200 while new sessions are taken, 503 while starting and draining; no key needed",
        "curl {at}/readyz",
    ),
    ("GET", "/drain", "how far a drain is: state and connections", "curl {at}/drain"),
    (
        "POST",
        "/drain",
        "announce the end, send clients away, spread over a time, and end the process; asked again, it only says how far it is",
        "curl -X POST {at}/drain -d '{\"where_to\":\"b.example.org:7443\",\"spread_ms\":30000,\"deadline_ms\":35000}'",
    ),
    (
        "POST",
        "/reload",
        "read certificates, keys, secrets and the configuration again; answers what is in use now, and 422 with the faults",
        "curl -X POST {at}/reload",
    ),
    (
        "GET",
        "/cluster",
        "this node's view of its cluster: shards, owners, peers; 404 where the node stands alone",
        "curl {at}/cluster",
    ),
    (
        "POST",
        "/cluster/shards/{shard}/move",
        "hand a shard over to a node, whoever owns it; answered when it is done, with the milliseconds it took",
        "curl {at}/cluster/shards/3/move -d '{\"to\":1}'",
    ),
    ("GET", "/bans", "who is banned, and what is revoked", "curl {at}/bans"),
    ("GET", "/bans/{user}", "one user's ban; 404 where there is none", "curl {at}/bans/ann"),
    (
        "PUT",
        "/bans/{user}",
        "ban a user (the token's `sub`) in the whole house: open sessions end, new ones are refused; answers at which nodes it is in force",
        "curl -X PUT {at}/bans/ann -d '{\"seconds\":3600,\"reason\":\"spam\"}'",
    ),
    ("DELETE", "/bans/{user}", "lift a user's ban, everywhere", "curl -X DELETE {at}/bans/ann"),
    (
        "POST",
        "/revocations",
        "end a session and its ticket, or all sessions with a token (its `jti`), everywhere",
        "curl {at}/revocations -d '{\"token_id\":\"b3f1\",\"seconds\":86400}'",
    ),
    (
        "POST",
        "/cluster/nodes/{node}/drain",
        "drain a node without ending it: its shards, its server's leaders, then its clients go; `{\"undo\":true}` ends that",
        "curl -X POST {at}/cluster/nodes/1/drain -d '{}'",
    ),
    (
        "POST",
        "/cluster/finish-upgrade",
        "write by the highest version of this release from now on; 409 with the nodes that cannot",
        "curl -X POST {at}/cluster/finish-upgrade",
    ),
    ("GET", "/metrics", "numbers for Prometheus", "curl {at}/metrics"),
    (
        "GET",
        "/rooms?prefix=&after=&limit=",
        "rooms by name, at most 1000 at a time; `next` is the `after` of the next page",
        "curl '{at}/rooms?prefix=show-'",
    ),
    ("POST", "/rooms", "make a room, or find it", "curl {at}/rooms -d '{\"name\":\"show-1\"}'"),
    ("GET", "/rooms/{name}", "one room; names are percent-encoded", "curl {at}/rooms/show%2F1"),
    ("POST", "/rooms/{name}/open", "take messages (again)", "curl -X POST {at}/rooms/show-1/open"),
    (
        "POST",
        "/rooms/{name}/close",
        "take no more messages; viewers stay",
        "curl -X POST {at}/rooms/show-1/close",
    ),
    (
        "DELETE",
        "/rooms/{name}",
        "forget the room and send its viewers away",
        "curl -X DELETE {at}/rooms/show-1",
    ),
    (
        "POST",
        "/rooms/{name}/messages",
        "publish a message as this author and role; answered when it is in the log, under the rules of everybody's messages",
        "curl {at}/rooms/show-1/messages -d '{\"author\":\"Ann\",\"role\":\"host\",\"text\":\"Welcome!\",\"nonce\":7}'",
    ),
    (
        "POST",
        "/rooms/{name}/acts",
        "keep order: remove, remove_author, clear, timeout, ban, shadow, lift or warn, by the offset of a message",
        "curl {at}/rooms/show-1/acts -d '{\"act\":\"timeout\",\"target\":41,\"seconds\":600,\"by\":\"Ann\"}'",
    ),
    (
        "GET",
        "/rooms/{name}/moderation",
        "who is held in the room, and what people reported",
        "curl {at}/rooms/show-1/moderation",
    ),
    (
        "DELETE",
        "/rooms/{name}/moderation/{person}",
        "take back what holds a person in the room",
        "curl -X DELETE {at}/rooms/show-1/moderation/00f1e2d3c4b5a697",
    ),
    (
        "PUT",
        "/rooms/{name}/settings",
        "give the room bounds of its own in place of the node's; what is left out is the node's again",
        "curl -X PUT {at}/rooms/show-1/settings -d '{\"tick_min_ms\":50,\"tick_max_ms\":500}'",
    ),
    (
        "PUT",
        "/rooms/{name}/state/{key}",
        "set a key of the room's state to the body, byte by byte",
        "curl -X PUT {at}/rooms/show-1/state/pinned -d 'Welcome!'",
    ),
    (
        "DELETE",
        "/rooms/{name}/state/{key}",
        "remove a key of the room's state",
        "curl -X DELETE {at}/rooms/show-1/state/pinned",
    ),
    (
        "POST",
        "/clock/accept",
        "believe the machine's clock as it is now, after a step that the node doubts",
        "curl -X POST {at}/clock/accept",
    ),
    ("GET", "/log", "the durable log: what was found at start, how it does, its sizes", "curl {at}/log"),
    (
        "POST",
        "/log/backup",
        "back the durable log up into log.backup_dir while the node serves; answers when it is done",
        "curl -X POST {at}/log/backup",
    ),
];

pub(super) async fn show(headers: HeaderMap) -> Json<Value> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let at = format!("http://{host}");
    let endpoint = |&(method, path, about, example): &(&str, &str, &str, &str)| json!({ "method": method, "path": path, "about": about, "example": example.replace("{at}", &at) });
    Json(json!({
        "grandstand": env!("CARGO_PKG_VERSION"),
        "key": "where admin.key is set, add: -H 'Authorization: Bearer KEY'",
        "endpoints": ENDPOINTS.iter().map(endpoint).collect::<Vec<_>>(),
    }))
}
