//! Rules between keys: reject values that are valid alone and wrong together.
//!
//! Why: a limit that another limit makes unreachable, or a listener without its key, must be reported at
//! start.
//! Invariant: the defaults break no rule.
//! Not here: bounds of single values (`table`), whether files can be read (the code that uses them).

use super::{Config, Effective, GifService, RoomDurability, origin};
use grandstand_protocol::limits;
use grandstand_protocol::rules::check_room_name;
use grandstand_protocol::websocket::handshake::{LIVE_PATH, READY_PATH};
use std::net::{IpAddr, SocketAddr};

/// The contradictions between values; empty when there are none.
pub(super) fn faults(effective: &Effective) -> Vec<String> {
    let rules = Rules { effective, config: &effective.config };
    [
        rules.listeners(),
        rules.proxies(),
        rules.keys(),
        rules.limits(),
        rules.texts(),
        rules.log(),
        rules.cluster(),
        rules.media(),
    ]
    .into_iter()
    .flatten()
    .flatten()
    .collect()
}

/// The longest name of a host (RFC 1035) and a port: five of them fit into `Welcome`.
const NODE_BYTES_MAX: usize = 253 + 6;

/// Word lists of a node, as `grandstand_filter` takes them.
const LISTS_MAX: usize = 64;

struct Rules<'a> {
    effective: &'a Effective,
    config: &'a Config,
}

impl Rules<'_> {
    fn listeners(&self) -> Vec<Option<String>> {
        let Config { ws, wss, quic, admin, api, .. } = self.config;
        let nobody = ws.listen.is_none() && wss.listen.is_none() && quic.listen.is_none();
        let exposed = admin.listen.is_some_and(|address| !address.ip().is_loopback()) && !admin.has_key();
        vec![
            fault(nobody, || {
                "ws.listen, wss.listen and quic.listen are all off: open at least one".to_owned()
            }),
            fault(exposed, || {
                let at = self.say("admin.listen");
                format!(
                    "{at} is reachable from elsewhere: set admin.key_file (or admin.key), or listen on 127.0.0.1"
                )
            }),
            self.clash("ws.listen", ws.listen, "wss.listen", wss.listen),
            self.clash("ws.listen", ws.listen, "admin.listen", admin.listen),
            self.clash("wss.listen", wss.listen, "admin.listen", admin.listen),
            self.clash("ws.listen", ws.listen, "api.listen", api.listen),
            self.clash("wss.listen", wss.listen, "api.listen", api.listen),
            self.clash("admin.listen", admin.listen, "api.listen", api.listen),
        ]
    }

    fn clash(&self, a: &str, at: Option<SocketAddr>, b: &str, bt: Option<SocketAddr>) -> Option<String> {
        let same = at == bt && at.is_some_and(|address| address.port() != 0);
        fault(same, || format!("{} and {} are the same TCP address: change one", self.say(a), self.say(b)))
    }

    fn proxies(&self) -> Vec<Option<String>> {
        let Config { proxy, ws, wss, .. } = self.config;
        let is_alone = proxy.trusted.is_empty();
        let needs = |name, is_on: bool| {
            fault(is_on && is_alone, || {
                format!("{} needs proxy.trusted, the addresses of the proxies", self.say(name))
            })
        };
        vec![
            needs("proxy.x_forwarded_for", proxy.x_forwarded_for),
            needs("proxy.forwarded", proxy.forwarded),
            needs("proxy.protocol", proxy.protocol),
            fault(!is_alone && !proxy.has_header() && !proxy.protocol, || {
                let trusted = self.say("proxy.trusted");
                format!(
                    "{trusted} has no effect alone: switch on how they tell addresses, by proxy.x_forwarded_for, \
                     proxy.forwarded or proxy.protocol"
                )
            }),
            fault(proxy.x_forwarded_for && proxy.forwarded, || {
                let (one, other) = (self.say("proxy.x_forwarded_for"), self.say("proxy.forwarded"));
                format!(
                    "{one} and {other}: switch on the one that your proxies set, since the other may be a client's"
                )
            }),
            fault(proxy.protocol && ws.listen.is_none() && wss.listen.is_none(), || {
                format!("{} is for ws.listen and wss.listen, and both are off", self.say("proxy.protocol"))
            }),
        ]
    }

    fn keys(&self) -> Vec<Option<String>> {
        let Config { tls, admin, auth, .. } = self.config;
        let auth_keys = [
            auth.hs256_secret.is_some(),
            auth.hs256_secret_file.is_some(),
            auth.eddsa_public_key_file.is_some(),
        ];
        vec![
            fault(tls.cert.is_some() && tls.key.is_none(), || {
                format!("{} needs tls.key, the file of its private key", self.say("tls.cert"))
            }),
            fault(tls.key.is_some() && tls.cert.is_none(), || {
                format!("{} needs tls.cert, the file of its certificate chain", self.say("tls.key"))
            }),
            fault(admin.key.is_some() && admin.key_file.is_some(), || {
                format!("{} and {}: give one of them", self.say("admin.key"), self.say("admin.key_file"))
            }),
            fault(auth_keys.into_iter().filter(|&set| set).count() > 1, || {
                "auth.hs256_secret, auth.hs256_secret_file and auth.eddsa_public_key_file: give one of them"
                    .to_owned()
            }),
            fault(!auth.anonymous && !auth.has_key(), || {
                format!(
                    "{} without any auth key would let nobody in: set auth.hs256_secret_file, \
                         auth.eddsa_public_key_file or auth.key_files",
                    self.say("auth.anonymous")
                )
            }),
        ]
    }

    fn limits(&self) -> Vec<Option<String>> {
        let Config { limits, rooms, quic, .. } = self.config;
        vec![
            self.below(
                "limits.text_bytes_max",
                limits.text_bytes_max,
                "limits.frame_bytes_max",
                limits.frame_bytes_max,
            ),
            self.below(
                "rooms.state_value_bytes_max",
                rooms.state_value_bytes_max,
                "limits.frame_bytes_max",
                limits.frame_bytes_max,
            ),
            self.below(
                "quic.keep_alive_ms",
                quic.keep_alive_ms,
                "quic.idle_timeout_ms",
                quic.idle_timeout_ms,
            ),
            self.within("rooms.tick_min_ms", rooms.tick_min_ms, "rooms.tick_max_ms", rooms.tick_max_ms),
            self.within("rooms.tally_top", rooms.tally_top, "rooms.tally_keys_max", rooms.tally_keys_max),
            self.within(
                "rooms.history_bytes_max",
                rooms.history_bytes_max,
                "rooms.history_bytes_total_max",
                rooms.history_bytes_total_max,
            ),
        ]
    }

    fn below<N: Ord + Copy>(&self, low: &str, a: N, high: &str, b: N) -> Option<String> {
        fault(a >= b, || format!("{} must be below {}", self.say(low), self.say(high)))
    }

    fn within<N: Ord + Copy>(&self, low: &str, a: N, high: &str, b: N) -> Option<String> {
        fault(a > b, || format!("{} must not exceed {}", self.say(low), self.say(high)))
    }

    fn texts(&self) -> Vec<Option<String>> {
        let Config { ws, rooms, tls, admin, moderation, .. } = self.config;
        let pattern = |name: &String| !name.trim_end_matches('*').contains('*') && !name.ends_with("**");
        vec![
            fault(!is_path(&ws.path), || {
                format!("{} must begin with / and be as a URL has it, without a query", self.say("ws.path"))
            }),
            fault(is_health(&ws.path), || format!("{} is the path of health probes", self.say("ws.path"))),
            fault(!rooms.on_first_use.iter().all(pattern), || {
                format!("{}: a pattern may have one *, at its end", self.say("rooms.on_first_use"))
            }),
            self.each("rooms.on_first_use", &rooms.on_first_use, |rule| {
                let is_name = can_begin_a_room(rule.trim_end_matches('*'));
                fault(!is_name, || "no room can have such a name".to_owned())
            }),
            self.each("moderation.lists", &moderation.lists, |entry| {
                let (rooms, path) = entry.split_once('=').unwrap_or(("*", entry));
                let is_right =
                    !path.is_empty() && !rooms.trim_end_matches('*').contains('*') && !rooms.is_empty();
                fault(!is_right, || {
                    "expected a path, or `ROOMS=PATH` with a name, `prefix*` or `*` as ROOMS".to_owned()
                })
            }),
            fault(moderation.lists.len() > LISTS_MAX, || {
                format!("{} names more than {LISTS_MAX} lists", self.say("moderation.lists"))
            }),
            self.each("ws.origins", &ws.origins, origin::fault),
            self.each("admin.hosts", &admin.hosts, |host| {
                let is_host = host.parse::<IpAddr>().is_ok() || origin::is_host_name(host);
                fault(!is_host, || "a host is a name or an address, without scheme, port and path".to_owned())
            }),
            fault(tls.cert.is_none() && tls.dev_names.is_empty(), || {
                format!("{} needs a name, or set tls.cert and tls.key", self.say("tls.dev_names"))
            }),
        ]
    }

    fn log(&self) -> Vec<Option<String>> {
        let Config { log, rooms, .. } = self.config;
        let without = log.dir.is_none();
        let needs = |name: &str, given: bool| {
            fault(without && given, || {
                format!(
                    "{} needs log.dir, the folder of the durable log: set it, or leave this out",
                    self.say(name)
                )
            })
        };
        vec![
            needs("rooms.durability", rooms.durability == RoomDurability::Disk),
            needs("log.recorder_dir", log.recorder_dir.is_some()),
            needs("log.backup_every_hours", log.backup_every_hours > 0),
            needs("log.backup_dir", log.backup_dir.is_some()),
        ]
    }

    fn cluster(&self) -> Vec<Option<String>> {
        let Config { cluster, rooms, log, auth, .. } = self.config;
        if !self.config.is_clustered() {
            let is_alone = |name: &str, given: bool| {
                fault(given, || format!("{} needs cluster.name: set it, or leave this out", self.say(name)))
            };
            return vec![
                is_alone("cluster.nodes", !cluster.nodes.is_empty()),
                is_alone("cluster.servers", !cluster.servers.is_empty()),
                is_alone("rooms.durability", rooms.durability == RoomDurability::Replicated),
            ];
        }
        let needs = |missing: bool, name: &str, what: &str| {
            fault(missing, || format!("{} needs {name}, {what}", self.say("cluster.name")))
        };
        let nodes = cluster.nodes.len();
        vec![
            fault(!is_word(&cluster.name), || {
                format!("{}: letters, digits, - and _ only", self.say("cluster.name"))
            }),
            fault(nodes != 3 && nodes != 5, || {
                format!("cluster.nodes lists {nodes} nodes, expected 3 or 5: an even number has no use")
            }),
            fault(
                cluster.nodes.iter().any(|node| {
                    node.is_empty() || node.len() > NODE_BYTES_MAX || node.contains([',', ' ', '/'])
                }),
                || {
                    format!(
                        "cluster.nodes: each is a host and a port, such as a.example.org:7443, of at most {NODE_BYTES_MAX} bytes"
                    )
                },
            ),
            fault(cluster.node as usize >= nodes, || {
                format!("{} is no place in cluster.nodes, which lists {nodes}", self.say("cluster.node"))
            }),
            fault(cluster.servers.len() != nodes, || {
                format!(
                    "cluster.servers lists {} servers, expected {nodes}: one for each of cluster.nodes",
                    cluster.servers.len()
                )
            }),
            needs(log.dir.is_none(), "log.dir", "the folder of this node's copy of the log"),
            needs(auth.ticket_key_file.is_none(), "auth.ticket_key_file", "the same file on every node"),
            fault(rooms.durability == RoomDurability::Disk, || {
                format!(
                    "{} is for a node that stands alone: use replicated or memory",
                    self.say("rooms.durability")
                )
            }),
            fault(!cluster.user.is_empty() && cluster.password_file.is_none(), || {
                format!("{} needs cluster.password_file", self.say("cluster.user"))
            }),
            fault(cluster.credentials_file.is_some() && !cluster.user.is_empty(), || {
                let (one, other) = (self.say("cluster.credentials_file"), self.say("cluster.user"));
                format!("{one} and {other}: give one of them")
            }),
        ]
    }

    /// The first rule of a list that can match nothing, and why.
    fn media(&self) -> Vec<Option<String>> {
        let Config { api, links, uploads, gifs, log, .. } = self.config;
        let is_offered = |name: &str, is_on: bool| {
            fault(is_on && api.listen.is_none(), || {
                format!("{} is offered at the HTTP API, which is off: set api.listen", self.say(name))
            })
        };
        let has_search = gifs.provider != GifService::Off;
        let is_s3 = !uploads.s3_bucket.is_empty();
        let is_url = |url: &str| url.starts_with("https://") || url.starts_with("http://");
        vec![
            is_offered("links.previews", links.previews),
            is_offered("uploads.enabled", uploads.enabled),
            is_offered("gifs.provider", has_search),
            fault(uploads.enabled && !is_s3 && uploads.dir.is_none() && log.dir.is_none(), || {
                format!(
                    "{} needs a place: set uploads.dir, log.dir or uploads.s3_bucket",
                    self.say("uploads.enabled")
                )
            }),
            fault(is_s3 && (!is_url(&uploads.s3_endpoint) || uploads.s3_key_file.is_none()), || {
                format!(
                    "{} needs uploads.s3_endpoint, an address that begins with https:// or http://, and \
                     uploads.s3_key_file",
                    self.say("uploads.s3_bucket")
                )
            }),
            fault(uploads.image_kb > uploads.under_way_mb * 1_024, || {
                format!(
                    "{} is larger than {}: raise the latter",
                    self.say("uploads.image_kb"),
                    self.say("uploads.under_way_mb")
                )
            }),
            fault(gifs.key.is_some() && gifs.key_file.is_some(), || {
                format!("{} and {}: give one of them", self.say("gifs.key"), self.say("gifs.key_file"))
            }),
            fault(has_search && gifs.key.is_none() && gifs.key_file.is_none(), || {
                format!(
                    "{} needs gifs.key_file or gifs.key, the key at that service",
                    self.say("gifs.provider")
                )
            }),
            fault(gifs.provider == GifService::Tenor && !is_url(&gifs.url), || {
                format!(
                    "{} needs gifs.url, the base address of the service, with https://",
                    self.say("gifs.provider")
                )
            }),
        ]
    }

    fn each(&self, name: &str, rules: &[String], fault: impl Fn(&str) -> Option<String>) -> Option<String> {
        let (rule, why) = rules.iter().find_map(|rule| Some((rule, fault(rule)?)))?;
        Some(format!("{}: `{}` can match nothing: {why}", self.say(name), rule.escape_debug()))
    }

    /// `name = value (source)`.
    fn say(&self, name: &str) -> String {
        let key = super::keys::named(name).expect("rules name keys of the table");
        format!("{name} = {} ({})", key.value(self.config), self.effective.source(name))
    }
}

fn fault(wrong: bool, what: impl FnOnce() -> String) -> Option<String> {
    wrong.then(what)
}

/// Part of a subject of NATS.
fn is_word(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_health(path: &str) -> bool {
    path == LIVE_PATH || path == READY_PATH
}

/// A request can name this path as it is.
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte))
}

/// A room's name can begin so.
fn can_begin_a_room(prefix: &str) -> bool {
    prefix.is_empty() || check_room_name(prefix, limits::ROOM_NAME_BYTES_MAX).is_ok()
}
