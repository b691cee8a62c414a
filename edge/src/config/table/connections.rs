//! The keys of the node, its transports and its ports.
//!
//! Why apart from the other sections: a file holds one subject. Not here: the form of a line (`table`).

use super::super::keys::config_sections;
use super::super::value::Secret;
use super::defaults::{loopback, words};
use grandstand_protocol::proxy::Network;
use std::net::SocketAddr;
use std::path::PathBuf;

config_sections! {
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

    api: Api = "HTTP API for applications" {
        listen: Option<SocketAddr> = None, [],
            "TCP address of the HTTP API; `off` closes it. Every request needs a key of the API. Beyond loopback it speaks TLS with the node's \
             certificate, unless api.plain is set.",
            "an application steers rooms by it, and a node alone needs none";
        plain: bool = false, [],
            "Serve the HTTP API without TLS beyond loopback too, behind a proxy that ends TLS.",
            "keys of the API must not cross a network unencrypted";
        keys_file: Option<PathBuf> = None, [],
            "File of API keys, one JSON object a line, as `grandstand key create --file` writes it: hashes, never the keys. The nodes of a \
             cluster share keys by it. A changed file is read again.",
            "one node keeps its keys in node.db, in log.dir";
        requests_per_s: u32 = 100, [1, 1_000_000],
            "Requests of one API key per second, on average. Beyond, a request is answered 429 with the time to wait.",
            "an application's steady rate; what it publishes in bulk is one request";
        requests_burst: u32 = 200, [1, 1_000_000],
            "Requests that one API key may send at once, before api.requests_per_s holds it.",
            "a page of an application sends some at the same time";
        connections_max: usize = 1_024, [16, 65_536],
            "Connections of the HTTP API at a time. Beyond, the one that is idle for longest gives way.",
            "servers of an application keep some open; each costs a few kilobytes";
    }

    webhooks: Webhooks = "Webhooks: events go to applications' servers" {
        enabled: bool = false, [],
            "Keep an outbox of events and send them to the endpoints that `grandstand webhook add` or the HTTP API (/v1/webhooks) adds. \
             With log.dir the outbox outlives the process.",
            "a node that no application listens to keeps nothing for it";
        private_hosts: Vec<String> = Vec::new(), [],
            "Hosts (`HOST` or `HOST:PORT`), addresses and networks that endpoints may have although they are not public. Any other endpoint \
             must have public addresses, on port 80 or 443.",
            "whoever may add an endpoint must not reach what only this machine can";
        timeout_ms: u64 = 15_000, [100, 60_000],
            "How long an endpoint may take to answer. Beyond, the message is sent again later, under the same id.",
            "the least that Standard Webhooks asks for: an application should store a message and answer";
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
}
