//! The table: every key of the node's configuration, once.
//!
//! Why: a key that is declared in one place cannot have a flag without a help text, or a default that the
//! sample file contradicts. The macro makes the typed field, the TOML key, the environment name, the flag and
//! the texts from each line. A line has the form `field: type = default, [lowest, highest], "what it does;
//! what happens at the bound", "why this default";`. Bounds of a number limit its value, those of a text or
//! secret its length in bytes; `[]` sets no bounds.
//! Invariant: every default passes its own bounds and the rules between keys (`check`); tests/config.rs
//! checks this.
//! Not here: the macro that reads the table (`keys`), parsing of values (`value`).

use super::keys::config_table;
use super::value::{LogFormat, LogLevel, Right, RoomDurability, Secret};
use grandstand_protocol::limits;
use grandstand_protocol::proxy::Network;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

config_table! {
    node: Node = "The node: threads and name" {
        name: String = "grandstand".to_owned(), [1, 64],
            "Name of this node in logs, metrics and the admin answers.",
            "one node needs no name of its own; each node of a cluster does";
        workers: usize = 0, [0, 256],
            "Worker threads that hold connections; 0 starts one per CPU. A connection stays on its worker for life.",
            "fan-out is bound by CPU, and one thread per CPU uses all of it without switching";
        shards: usize = 1, [1, 256],
            "Shard threads that own rooms. A room belongs to exactly one shard; its messages are ordered there.",
            "sealing a batch is cheap beside its fan-out: one shard feeds many workers";
        pin: bool = false, [],
            "Pin each worker to one CPU. Where the kernel refuses, the node logs it and runs unpinned.",
            "pinning hurts when other programs share the CPUs; switch it on where the node is alone";
        hung_after_ms: u64 = 5_000, [2_000, 600_000],
            "How long a thread of the node may stand still. Beyond, it counts as hung: /healthz answers 503 and names it, and the log \
             and the metrics say so. A thread that waits for a disk degrades the node instead.",
            "an idle thread turns once a second, and no work of one turn takes a second";
        handover: Option<PathBuf> = None, [],
            "Unix socket at which this node gives its listening sockets to the next process on this host, and looks for the \
             previous one, so that a restart refuses no connection. Empty: `handover.sock` in log.dir; without log.dir, none. At most 100 bytes. A process that may connect to it may take the node's place: only the node's user may.",
            "a node that keeps nothing on disk has no place of its own for it";
        watch_files_ms: u64 = 2_000, [0, 3_600_000],
            "Time between two looks at the files of certificates, keys and secrets. A file that changed is read again, and \
             used if it is good. 0: they are read again on SIGHUP and POST /reload only.",
            "a certificate is renewed weeks before its end; two seconds are soon, and a look costs one system call a file";
    }

    ws: Ws = "WebSocket" {
        listen: Option<SocketAddr> = loopback(7400), [],
            "TCP address of WebSocket without TLS; `off` closes it.",
            "loopback: nothing unencrypted leaves the machine unless somebody decides so";
        path: String = "/v1".to_owned(), [1, 256],
            "HTTP path of the WebSocket upgrade, plain and over TLS. Any other path is answered 404, but /healthz and /readyz, which \
             are for probes.",
            "the major version of the protocol";
        origins: Vec<String> = vec!["*".to_owned()], [],
            "Origins whose pages may connect, such as `https://example.org`, `https://*.example.org` (every subdomain), \
             `http://localhost:*` (any port) or `null`; `*` allows any, an empty list no browser at all. Others are answered 403. A rule \
             that can match nothing is an error. A request without Origin (not a browser) is never refused by this list.",
            "the credential is a token in the hello, never a cookie, so a foreign page has nothing to ride on";
        header_bytes_max: usize = 32_768, [512, 65_536],
            "Bytes of one HTTP request, request line and headers together, on the WebSocket ports and the admin port. Beyond, or with \
             over 128 headers, it is answered 431 and closed.",
            "browsers send under 2 KB, cookies of a shared domain add 8 KB, and proxies pass on as much as this";
    }

    wss: Wss = "WebSocket over TLS" {
        listen: Option<SocketAddr> = loopback(7443), [],
            "TCP address of WebSocket over TLS; `off` closes it. TLS 1.3 only.",
            "loopback until real certificates are configured; the same port number as QUIC, which is UDP";
    }

    proxy: Proxy = "Proxies before the node, which tell it their clients' addresses" {
        trusted: Vec<Network> = Vec::new(), [],
            "Addresses of the proxies that may tell a client's address, as addresses or networks (CIDR). They are not limited as \
             clients are; whoever is in the list can claim any address. Name the proxies, not the network of the clients.",
            "who is not named here is a client, whatever it sends";
        x_forwarded_for: bool = false, [],
            "Trusted proxies append the client's address to X-Forwarded-For in the upgrade request. The rightmost address that is not in \
             proxy.trusted is the client's. From any other peer the header is ignored.",
            "a proxy that does not set the header passes on what a client wrote: only the operator knows which one it sets";
        forwarded: bool = false, [],
            "Trusted proxies append the client's address to Forwarded (RFC 7239) in the upgrade request, as with x_forwarded_for. Only \
             one of the two headers can be switched on.",
            "a proxy that does not set the header passes on what a client wrote: only the operator knows which one it sets";
        protocol: bool = false, [],
            "Trusted proxies send the PROXY protocol, version 1 or 2, before all else, to ws.listen and wss.listen. Without it a trusted \
             proxy is refused, and so is everybody else with it. Peers that are not trusted connect directly.",
            "a proxy sends the header only where it is told to (send-proxy, send-proxy-v2, proxy_protocol)";
    }

    quic: Quic = "QUIC" {
        listen: Option<SocketAddr> = loopback(7443), [],
            "UDP address of QUIC; `off` closes it.",
            "loopback until real certificates are configured; the same port number as TLS, which is TCP";
        retry_above: usize = 128, [0, 1_000_000],
            "Unfinished QUIC handshakes per worker above which a new client must first prove its address (stateless Retry). Real \
             clients connect one round trip later; a flood of Initials costs nothing. 0: always.",
            "an ordinary rush stays below it, and 128 unfinished handshakes hold only some 3 MB";
        idle_timeout_ms: u64 = 70_000, [1_000, 600_000],
            "How long a QUIC connection may be silent before it is dropped. Nothing is sent to the client then.",
            "just above 2.5 heartbeats, so that the session speaks first, with a close code";
        key_file: Option<PathBuf> = None, [],
            "File of the key of QUIC's own tokens, made if it is missing: with it the process after a killed one tells QUIC \
             clients at once that their connections are gone. Empty: the newest ticket key; without auth.ticket_key_file and \
             log.dir, a file in memory (/dev/shm) of this user and address, which a reboot or a new container does not have.",
            "viewers return after a crash within seconds, without a file to take care of";
        keep_alive_ms: u64 = 20_000, [0, 600_000],
            "How long a QUIC connection may be silent before the node sends a keep-alive; 0 sends none. Must be below \
             quic.idle_timeout_ms.",
            "home routers commonly forget a UDP flow after 30 s";
        ack_delay_ms: u32 = 300, [0, 10_000],
            "How long a QUIC client that knows the acknowledgement-frequency extension may wait before it acknowledges, \
             unless four packets have come or one is missing; 0 leaves it to the client, which then mostly acknowledges \
             each frame by itself. Every acknowledgement costs the node about as much CPU as a frame. On a link that \
             loses packets, a lost frame that no other follows is sent again so much later; one that another follows is \
             not.",
            "three or four frames of a tick of 100 ms share an acknowledgement; the last message before a pause, if it is lost, is \
             a third of a second late, which people hardly see";
        send_window_bytes: u64 = 65_536, [4_096, 16_777_216],
            "Bytes sent and not yet acknowledged per QUIC connection. At the bound the viewer becomes a lagging cursor: \
             nothing more is queued for it until it acknowledges.",
            "a viewer's own memory is bounded by it, and 64 KB fills 5 Mbit/s at 100 ms round trip";
        receive_window_bytes: u64 = 65_536, [4_096, 16_777_216],
            "Bytes that a QUIC client may have sent ahead of what the node has read. At the bound the client must wait.",
            "four client frames of the largest size; clients send little";
    }

    admin: Admin = "Admin port: rooms, metrics, health" {
        listen: Option<SocketAddr> = loopback(7480), [],
            "TCP address of the admin port; `off` closes it. It serves the admin API, /metrics, /healthz and /readyz. Beyond loopback the node \
             refuses to start without admin.key or admin.key_file.",
            "whoever reaches this port can open and close rooms";
        key: Option<Secret> = None, [16, 4_096],
            "Key of the admin port. Requests must send it as `Authorization: Bearer KEY`. A flag is visible to every user of the \
             machine: prefer admin.key_file or the environment.",
            "no key is needed on loopback";
        key_file: Option<PathBuf> = None, [],
            "File of the admin key. One line; the line end is not part of it. Instead of admin.key.",
            "no key is needed on loopback";
        hosts: Vec<String> = Vec::new(), [],
            "Names and addresses under which the admin port may be asked, besides localhost, 127.0.0.1, ::1 and admin.listen: the Host of a \
             request, without port. Any other is answered 421, except for /healthz and /readyz. Beyond loopback an empty list allows any.",
            "a web page that points its own name at this machine must not reach the port";
    }

    tls: Tls = "Certificates, for WebSocket over TLS and QUIC" {
        cert: Option<PathBuf> = None, [],
            "PEM file of the certificate chain. Leaf first. Give both tls.cert and tls.key, or neither: without them the node \
             makes a development certificate at each start and prints its hash.",
            "a first start must work without files";
        key: Option<PathBuf> = None, [],
            "PEM file of the private key of tls.cert.",
            "a first start must work without files";
        dev_names: Vec<String> = words(&["localhost", "127.0.0.1", "::1"]), [],
            "Host names and addresses in the development certificate. Unused when tls.cert is set.",
            "the names under which the node's own machine reaches it";
    }

    auth: Auth = "Permissions. Without any key the node runs open, and says so at start" {
        hs256_secret: Option<Secret> = None, [32, 4_096],
            "Shared secret of HS256 tokens. A flag is visible to every user of the machine: prefer hs256_secret_file or \
             the environment. Only one of these three keys can be set; key_files adds more.",
            "no key is shipped: a well-known secret would be worse than none. At least 32 bytes by RFC 7518, 3.2";
        hs256_secret_file: Option<PathBuf> = None, [],
            "File of the shared secret of HS256 tokens. A line end at its end is not part of it.",
            "no key is shipped";
        eddsa_public_key_file: Option<PathBuf> = None, [],
            "PEM file of the Ed25519 key of EdDSA tokens. It is the public key.",
            "no key is shipped";
        key_files: Vec<String> = Vec::new(), [],
            "Files of more keys, each as `PATH` or `KID=PATH`: an Ed25519 public key in PEM (EdDSA tokens) or a shared secret \
             of at least 32 bytes (HS256 tokens). A token whose `kid` is one of these names is checked with that key alone; \
             any other token with all keys. At most 16 keys, the three above included.",
            "one key is enough until it is changed: then the old one and the new one are valid together";
        audience: Vec<String> = Vec::new(), [],
            "Names of this node in a token's `aud`, of which the token must have one, as a text or in a list. Empty: a token \
             without `aud` is accepted, and one with `aud` is refused, as RFC 7519 asks.",
            "a token that another service was meant to get should not open this one";
        issuer: Vec<String> = Vec::new(), [],
            "Values of a token's `iss` that are accepted. Empty: all, also none.",
            "whoever has the key is the issuer";
        expiring_notice_s: u64 = 60, [0, 86_400],
            "How long before its token runs out a session is told, so that its client can renew the token; 0: not told. The \
             moment is spread over the first half of this time, and is at most half of the token's time before its end.",
            "a minute is enough to ask an identity provider, also when many ask at once";
        reserved_names: Vec<String> = words(&["admin", "administrator", "moderator", "mod", "host", "system", "staff", "bot"]), [],
            "Display names that only people with a role may show: moderator, host or bot. Whoever else asks for one of them, or \
             for a name that looks like one, is shown under a guest's name.",
            "viewers take such names for the show's own people";
        anonymous: bool = true, [],
            "Admit sessions without a token. Off, a hello without one is refused; this needs a configured key.",
            "an audience mostly watches, and watching needs no name";
        anonymous_may: Vec<Right> = vec![Right::Publish, Right::React], [],
            "What a session without a token may do when a key is configured. What is not listed is refused with a reason.",
            "an audience may talk and cheer; steering a room takes a token";
        open_may: Vec<Right> = vec![Right::Publish, Right::React], [],
            "What every session may do when no key is configured. What is not listed is refused with a reason. For a node on \
             which you try things out, `publish,react,state,bridge` gives everybody everything: then no limit of a person holds.",
            "an open node behaves as one with a key does to people without a token: limits and slow mode hold";
        leeway_s: u64 = 30, [0, 600],
            "Seconds by which a token's times may miss the node's clock. Beyond, the token is refused as expired or not \
             yet valid. Sessions whose tokens run out end spread over this time behind it; with 0, over a tenth of the \
             token's time before it, at most 5 s.",
            "clocks that are kept by NTP differ far less; a wider gap only lengthens stolen tokens' lives";
        ticket_key_file: Option<PathBuf> = None, [],
            "File of the keys that seal resume tickets: one of 32 bytes in hex per line, the newest first. The newest seals, the \
             others still open. Share it among nodes that take over each other's sessions. Empty: `tickets.key` in log.dir, made at \
             the first start; without log.dir the key ends with the process.",
            "a node that keeps nothing on disk has no sessions to continue after a restart";
        ticket_lifetime_ms: u64 = 600_000, [1_000, 604_800_000],
            "Time after its last renewal for which a resume ticket continues a session. Beyond, the client begins a new \
             session and is told what it missed.",
            "a phone that was in a tunnel or a pocket for ten minutes";
    }

    limits: Limits = "Limits on clients" {
        connections_max: usize = 18_000, [1, 10_000_000],
            "Connections of this node, all transports together. Beyond, a new connection takes the place of a silent one whose \
             address holds more, or is answered 503 with Retry-After (TLS: closed; QUIC: refused); while silent ones \
             leave, there may be 64 more. The last tenth is for \
             addresses that hold less than a hundredth, of an IPv4 /24 or IPv6 /48 that holds less than half. Each WebSocket needs one file descriptor: at start it is fitted to the limit of open files.",
            "fits a limit of 20,000 open files with room for the rest of the node";
        connections_per_address_max: usize = 2_000, [0, 10_000_000],
            "Connections from one IPv4 address or one IPv6 /64; 0 sets no bound. Beyond, one of its own that is no session gives way once \
             it has had a tenth of handshake_timeout_ms, or the new connection is answered 429 with Retry-After (TLS: closed; QUIC: refused).",
            "a university or a mobile carrier shares one address among thousands; one attacker should not fill the node";
        handshakes_pending_max: usize = 4_096, [16, 1_000_000],
            "Connections of this node that have not finished their handshake (TLS, HTTP upgrade, QUIC); as many again may \
             be silent after it, and a quarter more of each that show a ticket. One address has a quarter of the places, one \
             IPv4 /24 or IPv6 /48 half. Beyond, a new connection takes the place of one whose address holds more, which is \
             answered 503 with Retry-After (TLS: closed; after the handshake: a close code), or else is refused so itself.",
            "two seconds of a rush of 2,000 joins/s";
        handshakes_waiting_max: usize = 16_384, [16, 1_000_000],
            "New connections per worker whose handshake has not begun. Beyond, they are refused as after \
             handshake_patience_ms.",
            "one costs its socket and 200 bytes, over QUIC 3 KB; handshake_patience_ms is usually reached first";
        handshake_share_percent: u32 = 25, [1, 100],
            "Percent of a worker's time that handshakes may take while it writes a round of batches. Beyond, they wait for the \
             round's end. Between rounds they may take all that is left.",
            "a round of ten thousand viewers becomes a third longer, which is well within a tick";
        handshake_patience_ms: u64 = 3_000, [100, 60_000],
            "Longest expected wait for a handshake. A new connection that would wait longer is refused at once: HTTP 503 with \
             Retry-After (TLS: closed; QUIC: refused), each with a time of its own to return. Returning clients go first.",
            "people wait three seconds for a page, and clients give up after ten";
        handshakes_per_address_per_s: u32 = 200, [0, 1_000_000],
            "New connections per second from one IPv4 address or IPv6 /64; 0 sets no bound. Beyond, they are answered \
             429 with Retry-After (TLS: closed; QUIC: refused), before any cryptography.",
            "a large audience behind one address reconnects within seconds, while a flood is cut to a tenth of a CPU";
        handshakes_per_address_burst: u32 = 1_000, [1, 1_000_000],
            "New connections that one address may open at once before handshakes_per_address_per_s applies.",
            "five seconds of the rate: the rush when a show begins";
        loopback_exempt: bool = true, [],
            "Leave loopback out of the bounds per address.",
            "load tools, tests and a proxy on the same machine all come from one address";
        handshake_timeout_ms: u64 = 10_000, [100, 600_000],
            "How long a handshake may take, from accept to its end. Beyond, the connection is closed. After a tenth of it \
             a silent connection may give way to another one of its own address.",
            "three lost packets on a slow mobile link still make it";
        first_frame_timeout_ms: u64 = 10_000, [100, 600_000],
            "How long a client may take from the end of its handshake to a complete hello. Beyond, the connection is closed with a code.",
            "a client sends its hello at once; only a broken or hostile one waits";
        heartbeat_ms: u64 = 25_000, [1_000, 300_000],
            "Interval within which a client must send a frame (a ping, when it has nothing else). After 2.5 intervals of silence \
             its connection is closed with a code that says to reconnect.",
            "proxies commonly close silent connections after 30 to 60 s";
        frame_bytes_max: usize = limits::CLIENT_FRAME_BYTES_MAX, [1_024, 67_108_864],
            "Bytes of one message from a client, after reassembly. Beyond, the connection is closed with a code.",
            "the largest honest frame is a state change of 4 KB; the bound is memory that a stranger can pin";
        fragments_max: usize = 64, [1, 1_048_576],
            "Fragments of one WebSocket message. Beyond, the connection is closed with a code.",
            "clients send one; a byte limit alone lets thousands of empty fragments through";
        control_frames_max: usize = 32, [1, 4_096],
            "WebSocket control frames (ping, pong) between two data frames. Beyond, the connection is closed with a code.",
            "an honest peer sends one per heartbeat; each costs an answer";
        people_per_address: usize = 64, [1, 65_535],
            "People without a token that one address (an IPv4 address or an IPv6 /64) is taken for. A new session gets the lowest \
             place there that is free, and what is owed there; beyond, sessions share places. So everybody without a token at \
             one address together has at most so many times the limits of one person. People with a token are not counted.",
            "a household or an office fits; behind a carrier or a proxy that hides addresses, raise it or give people tokens";
        people_remembered_max: usize = 65_536, [64, 16_777_216],
            "People whose limits are under use that the node remembers. Beyond, the limits of another person are those of each of \
             its connections, until someone's are whole again.",
            "some 6 MB, and a person is remembered for seconds";
        frames_per_s: u32 = 100, [1, 1_000_000],
            "Frames per second from one connection, of any kind, and from one person over all connections. Beyond twice that in \
             one second, a connection that sent half of it is closed with a code; frames of the person's other connections are refused \
             with a time to retry after. A page of history counts 20 of a rate of its own. Bridges have their own.",
            "twenty times what a fast typist who also sends reactions with both thumbs produces";
        rooms_per_session_max: usize = 32, [1, 65_535],
            "Rooms that one session follows at a time. Beyond, a subscription is refused with a reason.",
            "a screen shows a handful; each costs one member record";
        text_bytes_max: usize = 2_000, [1, limits::TEXT_BYTES_MAX as u64],
            "Bytes of UTF-8 in one chat message. Beyond, it is refused with a reason.",
            "500 characters in the widest script, the length that large chats allow";
        publish_per_s: u32 = 5, [1, 1_000_000],
            "Publications per second from one person, over all connections and sessions. Beyond, they are refused with a time to retry after.",
            "faster than anyone types, and slow enough that pasting is noticed";
        publish_burst: u32 = 10, [1, 1_000_000],
            "Publications that one person may send at once before publish_per_s applies.",
            "what a client sends after it was offline for a moment";
        bridge_publish_per_s: u32 = 20_000, [1, 10_000_000],
            "Publications per second, and frames, from one person that may `bridge`, over all its connections. Beyond, they are refused with a time to retry after.",
            "a bridge carries a whole chat, replayed at many times its speed";
        reactions_per_s: u32 = 20, [1, 1_000_000],
            "Reactions per second from one person, over all connections and sessions. Beyond, they are not counted, and the client is told.",
            "a thumb makes ten taps per second";
        reactions_burst: u32 = 50, [1, 1_000_000],
            "Reactions that one person may send at once before reactions_per_s applies.",
            "clients gather taps for a second or two before they send them";
        control_queue_bytes_max: usize = 65_536, [4_096, 16_777_216],
            "Bytes of frames (acknowledgements, pongs, errors) that wait for one connection. Nothing is dropped: a client that does \
             not read them is closed with a code.",
            "covers a publishing burst with its answers; more means that the client does not read";
    }

    rooms: Rooms = "Rooms" {
        durability: RoomDurability = RoomDurability::Auto, [],
            "Where rooms without a setting of their own are kept. `memory` acknowledges a message when the room accepts it, and loses it with the process; `disk` acknowledges it when it is synced to log.dir; `replicated` when a majority of the cluster's \
             servers has synced it; `auto` is replicated in a cluster, disk where log.dir is set, else memory. A room can have its own by the admin port.",
            "an operator who names a folder for the log wants messages to be kept";
        on_first_use: Vec<String> = words(&["*"]), [],
            "Names of rooms that the first subscription makes; `show-*` matches by prefix, `*` everything. Subscriptions to other \
             rooms that do not exist are refused with a reason. Empty: rooms are made only through the admin port.",
            "a first room should just work; list your own names before strangers can connect";
        max: usize = 100_000, [1, 10_000_000],
            "Rooms of this node. Beyond, a room that holds nothing (nobody in it, nothing ever said) is removed for the new one; without such a room the new one is refused with a reason, on first use and through the admin port.",
            "a room that nobody is in and nothing was said in costs at most 200 bytes, so 20 MB; 1 KB while somebody is or was there";
        reserved_percent: u32 = 10, [0, 90],
            "Percent of rooms.max that subscriptions do not fill: they are for the admin port and for sessions that may `bridge`.",
            "whatever strangers open, the operator can open a room";
        opened_per_person_max: usize = 1_000, [1, 10_000_000],
            "Rooms that one person may have opened by subscriptions, at most a tenth of the strangers' part and at least 32; without \
             a token, everybody at one address together. Beyond, a new one is refused with a reason until some of them are removed.",
            "no app opens so many for one person, and a hundred addresses are needed to fill the node";
        name_bytes_max: usize = limits::ROOM_NAME_BYTES_MAX, [1, limits::ROOM_NAME_BYTES_MAX as u64],
            "Bytes of UTF-8 in a room's name. Beyond, it is refused with a reason.",
            "the protocol's own bound; it can only be narrowed";
        tick_ms: u64 = 0, [0, 10_000],
            "Interval at which a busy room seals its batch; 0 adapts it to the cost of fan-out, between rooms.tick_min_ms and rooms.tick_max_ms. A room can have bounds of its own through the admin port.",
            "a small room need not wait for what a large one costs";
        tick_min_ms: u64 = 10, [1, 10_000],
            "Shortest tick of rooms whose tick adapts.",
            "nobody sees a hundredth of a second, and at most 100 batches/s leave a room";
        tick_max_ms: u64 = 1_000, [1, 10_000],
            "Longest tick of rooms whose tick adapts. A room that would need a longer one to keep to fanout.share_percent takes more than its share.",
            "a second is late for an answer in a chat of thousands, and not too late";
        leading_edge: bool = true, [],
            "Seal at once when a room has been quiet for a tick, rather than wait for the next one.",
            "small rooms feel instant and pay nothing for it";
        pending_messages_max: usize = 16_384, [1, 1_000_000],
            "Publications that a room takes in one tick. Beyond, they are refused with a time to retry after.",
            "16,000 messages/s at the longest tick: far beyond reading, still bounded";
        ring_batches_max: usize = 4_096, [8, 1_048_576],
            "Batches per room and worker from which viewers are served. A viewer that lags further skips to the newest and is told exactly what it missed, or reads on from the history.",
            "40 s of the busiest room at the shortest tick, minutes of others: a tunnel, a lift, a handover";
        ring_bytes_max: usize = 1_048_576, [65_536, 1_073_741_824],
            "Bytes of the batches in one ring, with space for their compressed forms. Beyond, the oldest leave it, with the same effect as ring_batches_max.",
            "bounds what stalled viewers can cost: nothing per viewer, this much per room and worker";
        history_batches_max: usize = 65_536, [0, 16_777_216],
            "Batches of a room's in-memory history, for resuming and replay. Beyond, the oldest are forgotten; a client that resumes before them is told what it missed.",
            "ten minutes of the busiest room at the shortest tick";
        history_bytes_max: usize = 8_388_608, [0, 68_719_476_736],
            "Bytes of one room's history, with space for compressed forms. Beyond, its oldest batches are forgotten, as with history_batches_max.",
            "some 100,000 chat messages";
        history_bytes_total_max: usize = 268_435_456, [0, 1_099_511_627_776],
            "Bytes of all rooms' histories together. Beyond, the room that keeps the most forgets its oldest batches.",
            "a quarter of a gigabyte on the smallest server of 1 GB";
        replay_max: usize = 200, [0, 100_000],
            "Messages from before its subscription that a client may ask for. A larger number is reduced to this.",
            "a few screens; older messages scroll away unread";
        nonces_max: usize = 16_384, [0, 1_048_576],
            "Publications per room whose nonce is remembered, so that a retry is acknowledged and not repeated. Beyond, the oldest are forgotten: a retry of one that may have been among them is refused.",
            "over a minute of the busiest room, in a megabyte";
        nonce_window_ms: u64 = 300_000, [1_000, 86_400_000],
            "How long a nonce is remembered. A later retry is refused, since the message could be in the log already.",
            "a client that was away for five minutes asks its user before it sends again";
        tally_keys_max: usize = 64, [1, 4_096],
            "Different reactions counted in a room per tick. Beyond, the least counted join the others, which are counted under the empty key.",
            "a show offers a handful; more are keys that somebody invents";
        tally_top: usize = 16, [1, 4_096],
            "Reactions that a batch carries, most frequent first. The rest is counted under the empty key.",
            "more do not fit a screen";
        state_keys_max: usize = 64, [1, 65_535],
            "State keys of a room. Beyond, a new key is refused with a reason; present ones still change.",
            "pinned message, score, slow mode and what an application adds";
        state_value_bytes_max: usize = limits::STATE_VALUE_BYTES_MAX, [1, limits::STATE_VALUE_BYTES_MAX as u64],
            "Bytes of one state value. Beyond, it is refused with a reason.",
            "the longest that a frame takes with room for everything else";
        state_bytes_max: usize = 131_072, [1_024, 524_288],
            "Bytes of the keys and values of one room's state together. Beyond, a change that adds to them is refused with a reason.",
            "every new subscriber receives all of them, and a connection that does not read pins as much";
        state_bytes_total_max: usize = 67_108_864, [65_536, 1_099_511_627_776],
            "Bytes of the states of all rooms together. Beyond nine tenths, changes by clients that add to them are refused with a reason; the rest is for the admin port.",
            "500 rooms with the largest state, or 60,000 with a pinned message; beside the histories it is little";
        pacing_per_s: u32 = 20, [0, 1_000_000],
            "Chat messages per second that a room's batches show people, in rooms above pacing_above_viewers; 0 shows all. Beyond, \
             equal texts are folded, people take turns, and the rest is counted as omitted; hosts and moderators are always shown. A room's own setting (admin port) takes precedence, and holds for any audience.",
            "nobody reads more than 20 short messages in a second; more cost every viewer bytes and the node CPU";
        pacing_above_viewers: u64 = 1_000, [0, 10_000_000],
            "Viewers of a room above which pacing_per_s applies. Up to it, everything is shown.",
            "smaller audiences rarely write faster than people read, and want to see everything";
        tally_flush_ms: u64 = 50, [1, 1_000],
            "Interval at which a worker hands the reactions that it has added up to the shard.",
            "nobody sees that reactions wait 50 ms longer for their batch, and a shard hears of them 20 times a second";
        slow_mode_ms: u64 = 0, [0, 86_400_000],
            "How long one person must wait between two messages in a room; 0 sets no wait. A message that comes sooner is refused \
             with a time to retry after. Another connection or session does not end the wait (limits.people_per_address). Bridges and moderators are exempt.",
            "a room begins free; the host tightens it";
        viewers_every_ms: u64 = 2_000, [100, 600_000],
            "Shortest interval between two published viewer counts of a room. Changes in between wait.",
            "a number that changes more often cannot be read";
        recount_ms: u64 = 500, [10, 60_000],
            "Interval at which a worker hands its viewer counts to the shard.",
            "a quarter of viewers_every_ms keeps the published counts fresh";
        idle_ms: u64 = 600_000, [0, 604_800_000],
            "Time without viewers and publications after which a room that came into being on first use is removed; a room on disk leaves memory then and keeps its history. 0: never.",
            "people who lose their connection together find the room as they left it";
        batch_bytes_max: usize = 131_072, [1_024, 524_288],
            "Bytes of chat in one batch. What is over goes into a further batch of the same tick.",
            "a connection pins the batch that it has partly written: 128 KiB is half a usual socket buffer";
    }

    fanout: Fanout = "Fan-out: the work of one turn" {
        share_percent: u32 = 30, [1, 100],
            "Percent of a worker's time that fan-out may take. Above it the ticks of its rooms grow, up to rooms.tick_max_ms; so messages come later and in larger batches, which cost less each.",
            "the rest is for reads, joins and answers, so that a busy node answers quickly";
        writes_per_turn: usize = 512, [1, 1_000_000],
            "Writes to connections before a worker turns to reads, accepts and timers. It continues the round after them.",
            "a few milliseconds of work, so that a new connection does not wait for a round over ten thousand viewers";
        batches_per_write_max: usize = 64, [1, 1_024],
            "Batches joined in one write to a viewer that lags. The rest follows in its next turn.",
            "one system call takes at most 1,024 pieces, and 64 already make the call cheap per batch";
        compression: bool = true, [],
            "Send compressed batches (deflate with a preset dictionary) to clients that can open them. A batch is compressed once for the whole node, and is sent plain where that would not make it smaller.",
            "a fifth to a quarter of the bytes of a busy room, for one compression per batch";
        compress_from_members: usize = 32, [1, 1_000_000],
            "Viewers of a room on one worker that can open compressed batches, from which on the worker compresses them. Below, batches are sent plain, unless another worker has compressed them already.",
            "compressing a batch costs the CPU of some ten writes: a third more for a room of 32, nothing for a large one";
    }

    socket: Socket = "Sockets" {
        backlog: u32 = 4_096, [1, 65_535],
            "TCP connections that wait to be accepted. Beyond, the kernel drops new ones and clients try again.",
            "a second of a rush over TLS; the kernel caps it at net.core.somaxconn, which is 4,096 by default";
        send_buffer_bytes: usize = 131_072, [0, 67_108_864],
            "Kernel send buffer of one TCP connection; 0 leaves it to the kernel. When it is full the viewer becomes a lagging cursor.",
            "bridges a second of a bad link at 1 Mbit/s, and bounds kernel memory per stalled viewer";
        receive_buffer_bytes: usize = 0, [0, 67_108_864],
            "Kernel receive buffer of one TCP connection; 0 leaves it to the kernel. When it is full the client must wait.",
            "the kernel grows it only where somebody sends much";
        udp_send_buffer_bytes: usize = 4_194_304, [0, 268_435_456],
            "Kernel send buffer of a QUIC socket; 0 leaves it to the kernel. When it is full, packets wait in their connections.",
            "one socket carries thousands of viewers; capped by net.core.wmem_max";
        udp_receive_buffer_bytes: usize = 4_194_304, [0, 268_435_456],
            "Kernel receive buffer of a QUIC socket; 0 leaves it to the kernel. When it is full the kernel drops packets and QUIC sends them again.",
            "acknowledgements of thousands of viewers come in bursts; capped by net.core.rmem_max";
    }

    queues: Queues = "Queues between threads" {
        shard_inbox: usize = 65_536, [64, 16_777_216],
            "Inputs that wait for one shard. When it is full a publication is refused with a time to retry after.",
            "one second of three bridges at full rate";
        worker_outbox: usize = 1_024, [64, 16_777_216],
            "Sealed batches and answers of one shard that wait for one worker in a ring. When it is full they wait in a list at the shard, which grows as far as it is needed (queues.outbox_overflow_max).",
            "the burst between two wake-ups of a worker; the ring is allocated whole";
        outbox_overflow_max: usize = 16_384, [1, 16_777_216],
            "Batches and answers that wait at a shard for one worker whose outbox is full. Above it the shard takes no more inputs until the worker has caught up: publishers are refused with a time to retry; nothing is dropped.",
            "a worker that is 16,384 batches behind has fallen off its rings anyway";
    }

    drain: Drain = "Drain: on SIGTERM, on POST /drain, and when another process takes over" {
        announce_ms: u64 = 5_000, [0, 3_600_000],
            "First phase of a drain: time for which /readyz answers 503 while the node still accepts and serves everybody, so that load balancers stop sending new connections. 0 leaves it out, and so does Ctrl-C at a terminal.",
            "balancers look every one to three seconds, and a cluster needs a second or two to pass the news on";
        refuse_ms: u64 = 1_000, [0, 3_600_000],
            "Least time after the announcement for which new connections are refused with an answer (503, when to return, where \
             to go) before the process ends, even when no client is left. 0 leaves it out, and so does Ctrl-C at a terminal.",
            "a client that is on its way gets an answer, not a closed port";
        spread_ms: u64 = 30_000, [0, 3_600_000],
            "Time over which a drain spreads its clients. Each client is told in go-away after how many milliseconds to reconnect, \
             spread evenly between 0 and this, after the announcement. 0 sends all at once. A node without clients does not wait.",
            "10,000 viewers leave at some 330/s, which another node takes in without noticing; orchestrators wait 30 s by default: give them all phases together";
        grace_ms: u64 = 5_000, [0, 3_600_000],
            "How long a client may stay after its own time to leave. Then its connection is closed with a code that says to reconnect. When all are gone, or spread and grace are over, the node exits 0.",
            "a handshake over a bad link takes seconds";
        go_to: String = String::new(), [0, 256],
            "Address, host and port, that a drain sends clients to, such as `b.example.org:7443`; empty: the one they connected to.",
            "a load balancer knows better";
        handover_spread_ms: u64 = 0, [0, 3_600_000],
            "Time over which clients are spread when another process on this host has taken over the sockets; 0: as long as 2,000 clients/s take. At most drain.spread_ms.",
            "the successor serves already; 2,000 new connections/s are what one CPU takes in";
        handover_timeout_ms: u64 = 60_000, [100, 3_600_000],
            "How long a starting process waits for the previous one to flush and close its log. Beyond, it does not start, and says so.",
            "a disk that syncs slowly makes a restart late; the log must not have two owners";
        flush_ms: u64 = 2_000, [0, 600_000],
            "How long a stop waits for the disk to sync, and for workers to take, what is left. Beyond, publications that still wait are refused.",
            "a disk that works syncs within a second";
    }

    cluster: Cluster = "Cluster: several nodes as one, over NATS" {
        name: String = String::new(), [0, 32],
            "Name of the cluster, in letters, digits, `-` and `_`. Empty: the node stands alone, and no other key of this section may be set.",
            "one node needs nothing else";
        node: u64 = 0, [0, 4],
            "Number of this node: its place in cluster.nodes, from 0.",
            "each node has its own";
        nodes: Vec<String> = Vec::new(), [],
            "Public address of each node, host and port, such as `a.example.org:7443`: three or five, the same list in the same order on every node. A node that drains sends its clients to the others.",
            "who belongs to the cluster is decided by an operator and not by who answers";
        servers: Vec<String> = Vec::new(), [],
            "URL of the NATS server of each node, such as `nats://10.0.0.1:4222`, in the order of cluster.nodes. A node prefers its own, and keeps the leaders of its shards' streams away from it.",
            "a node and its server stop together, and then the log must have its leader elsewhere";
        user: String = String::new(), [0, 256],
            "User at the NATS servers; empty: none is needed.",
            "servers on a private network may be open";
        password_file: Option<PathBuf> = None, [],
            "File of the password of cluster.user. One line; the line end is not part of it.",
            "a flag or a variable is visible to others";
        credentials_file: Option<PathBuf> = None, [],
            "File of NATS credentials (a JWT and its seed), instead of cluster.user and cluster.password_file.",
            "small clusters use a user and a password";
        ca_file: Option<PathBuf> = None, [],
            "Certificates (PEM) of whoever signed those of the NATS servers. Servers with `tls://` in cluster.servers are verified by them; empty: by the system's roots.",
            "a private cluster has its own authority";
        log_mb: u64 = 1_024, [16, 1_048_576],
            "Megabytes (MiB) of each shard's stream on each server; beyond, its oldest records go, which nodes have in their copies. `grandstand cluster init` sets it.",
            "a node that was away for a day reads what it missed";
        rebalance: bool = true, [],
            "Whether a node hands shards over to one that owns fewer, such as one that came back: one at a time, 1 s apart, when nodes were the same for 15 s.",
            "a node that owns nothing is no use; switch it off while you move shards by hand";
        append_every_ms: u64 = 40, [1, 1_000],
            "Least time between two records of a busy shard in the log. The first message of a quiet shard goes at once.",
            "the log costs by the record and not by the byte: 25 records/s carry any number of messages";
        unkept_bytes_max: usize = 8_388_608, [65_536, 1_073_741_824],
            "Bytes of one shard that viewers may have and the log has not. Beyond, publications are refused with a time to retry after.",
            "ten seconds without a leader of the log, at 3,000 messages/s of 250 bytes";
        answer_within_ms: u64 = 10_000, [1_000, 600_000],
            "How long a publication to a replicated room may wait for its answer. A retry with the same nonce is never doubled.",
            "the log elects a new leader in 4 to 9 s";
    }

    log: Log = "Logs: log lines, and the durable log of rooms" {
        format: LogFormat = LogFormat::Text, [],
            "Form of log lines: `text` for people, `json` (one object per line) for collectors. Chat text is escaped in both.",
            "the first reader is a person";
        level: LogLevel = LogLevel::Info, [],
            "Least important level that is logged.",
            "start, stop, warnings and errors";
        file: Option<PathBuf> = None, [],
            "File that logs are appended to; empty: standard error. When the disk is full, lines are lost and counted, and the node runs on.",
            "containers and systemd collect standard error";
        dir: Option<PathBuf> = None, [],
            "Folder of the durable log, a database of the messages of rooms with durability `disk`. One node at a time uses it; it is made when missing. Empty: nothing is kept on disk, and no room can be `disk`.",
            "a first start must leave nothing behind; on a server, name a folder on a disk of its own";
        recorder_dir: Option<PathBuf> = None, [],
            "Folder of the crash log, which holds batches that viewers have and the disk has not synced yet, so that a killed node \
             continues exactly there. It belongs in memory (tmpfs). Empty: /dev/shm where that is a tmpfs, else log.dir.",
            "memory outlives a process and costs no write to the disk; a container may need a larger /dev/shm";
        queue_mb: u64 = 64, [1, 65_536],
            "Megabytes (MiB) that may wait for the disk, all rooms together, and as much again in the crash log. Beyond, publications to `disk` rooms are refused with a time to retry after, until the disk has caught up.",
            "a minute of 5,000 messages/s of 200 bytes: longer than a disk stalls, little memory beside the histories";
        keep_hours: u64 = 168, [0, 876_000],
            "Hours for which the durable log keeps messages; 0 keeps them for ever. Older ones are removed a little at a time; a client that asks for them is told that they are gone.",
            "a week: the show, and viewers who return to it";
        room_mb: u64 = 1_024, [0, 1_048_576],
            "Megabytes (MiB) that one room may keep in the durable log; 0 sets no bound. Beyond, its oldest messages are removed.",
            "some ten million chat messages: one room should not fill the disk";
        node_mb: u64 = 10_240, [0, 134_217_728],
            "Megabytes (MiB) that all rooms together may keep in the durable log; 0 sets no bound. Beyond, the oldest messages of the node are removed. Leave the disk a tenth more, and room for backups.",
            "fits the smallest servers' disks; raise it where history is what you sell";
        answer_within_ms: u64 = 5_000, [100, 600_000],
            "How long a publication to a `disk` room may wait for its answer. When the disk has not synced it by then, it is \
             refused as StorageUnavailable with a time to retry after: a retry with the same nonce is acknowledged and never doubled.",
            "clients give up waiting after some ten seconds";
        answers_max: usize = 262_144, [1, 16_777_216],
            "Acknowledgements of one shard that wait for the disk. Beyond, publications to `disk` rooms are refused with a time to retry after.",
            "five seconds of 50,000 publications a second";
        lock_wait_ms: u64 = 10_000, [0, 600_000],
            "How long a starting node waits for another process to release log.dir. Then it gives up and says which process has it.",
            "a node that hands over flushes and syncs within a second or two";
        backup_every_hours: u64 = 0, [0, 8_760],
            "Hours between two scheduled backups of the durable log, made while the node serves; 0 schedules none. Backups before a schema change, by `grandstand backup` and by POST /log/backup are made in any case.",
            "a copy on the same disk helps against mistakes, not against the disk: say where and how many";
        backup_keep: u64 = 3, [1, 1_000],
            "Scheduled backups that are kept. The oldest beyond them is removed after a new one has been verified.",
            "yesterday's, and two to compare it with";
        backup_dir: Option<PathBuf> = None, [],
            "Folder of scheduled backups, and of those made before a schema change. Empty: `backups` in log.dir. Better on another disk.",
            "a first backup must work without a second disk";
    }
}

/// A listener's address on this machine only, with this port.
fn loopback(port: u16) -> Option<SocketAddr> {
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}
