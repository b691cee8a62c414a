//! The keys of what clients may do: permissions and limits.
//!
//! Why apart from the other sections: a file holds one subject. Not here: the form of a line (`table`).

use super::super::keys::config_sections;
use super::super::value::{Right, Secret};
use super::defaults::words;
use grandstand_protocol::limits;
use std::path::PathBuf;

config_sections! {
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
            "Files of more keys, each as `PATH` or `KID=PATH`: a public key in PEM or JSON (JWK, JWKS), of Ed25519 (EdDSA tokens), \
             P-256 (ES256) or RSA (RS256), or a shared secret of at least 32 bytes (HS256). A token whose `kid` is one of these names \
             is checked with that key alone; any other token with all keys. At most 16 files, the three above included.",
            "one key is enough until it is changed: then the old one and the new one are valid together";
        audience: Vec<String> = Vec::new(), [],
            "Names of this node in a token's `aud`, of which the token must have one, as a text or in a list. Empty: a token \
             without `aud` is accepted, and one with `aud` is refused, as RFC 7519 asks.",
            "a token that another service was meant to get should not open this one";
        issuer: Vec<String> = Vec::new(), [],
            "Values of a token's `iss` that are accepted. Empty: all, also none.",
            "whoever has the key is the issuer";
        issuers_file: Option<PathBuf> = None, [],
            "TOML file of issuers of tokens, each with keys (files, or an address of a JWKS), audience and users of its own: \
             docs/OPERATING.md, Issuers. A token whose `iss` is listed there is checked with that issuer's keys alone.",
            "one key needs no list; an identity provider that changes its keys by itself does";
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
             which you try things out, `publish,react,state,bridge,moderate` gives everybody everything: then no limit of a person holds.",
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
        sessions_per_user_max: u32 = 100, [0, 1_000_000],
            "Sessions of one user (a token's `sub`) at this node; 0 sets no bound. Beyond, a new one is closed with a code and a time \
             to come back; one that a ticket continues is none. Users that may `bridge` are exempt.",
            "a person has a few devices and tabs, while a token that was shared or stolen opens no thousands";
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
}
