//! Statistics: the table of a worker's numbers, each declared once with its name, help and kind.
//!
//! Why: a field that is written cannot be missing from the scrape, and none can lack a help text.
//! A line has the form `kind field: type = "name", "help";`. Kinds: a `counter` only grows, a `gauge` is a
//! level; a `counter_us` holds microseconds and is shown in seconds.
//! Invariant: names begin with `grandstand_`, counters end with `_total`, and units come before that; a test
//! checks it.
//! Not here: the format of the scrape, numbers of the process and of shards (the node's `metrics`).

mod cell;
mod handshake_kind;

use grandstand_edge_core::admission::queue::HandshakeKind;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::GapReason;
use grandstand_protocol::refusal::Refusal;

pub use cell::{Cell, HandshakeFailure, Label, Labelled, Series, Transport, TurnedAway, WaitedFor};

/// The behaviour of a number, and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// A level.
    Gauge,
    /// Grows, microseconds shown as seconds.
    CounterUs,
    /// A level, thousandths shown as a ratio.
    GaugePermille,
    /// A level, nanoseconds shown as seconds.
    GaugeNs,
}

/// One line of the table.
#[derive(Debug)]
pub struct Declared {
    /// Its behaviour and unit.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Its cells.
    pub series: fn(&Stats) -> &dyn Series,
}

macro_rules! stats {
    ($( $kind:ident $field:ident: $ty:ty = $name:literal, $help:literal; )*) => {
        /// The numbers of one worker. Only that worker writes them, and the scrape reads them. They have
        /// cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Stats { $( #[doc = $help] pub $field: $ty, )* }

        /// Every line, in order.
        pub const DECLARED: &[Declared] = &[
            $( Declared { kind: kind!($kind), name: $name, help: $help, series: |stats| &stats.$field }, )*
        ];
    };
}

macro_rules! kind {
    (counter) => {
        Kind::Counter
    };
    (gauge) => {
        Kind::Gauge
    };
    (counter_us) => {
        Kind::CounterUs
    };
    (gauge_permille) => {
        Kind::GaugePermille
    };
    (gauge_ns) => {
        Kind::GaugeNs
    };
}

stats! {
    gauge connections: Labelled<Transport> = "grandstand_connections",
        "Connections that are established or in their handshake, by transport.";
    counter accepts: Labelled<Transport> = "grandstand_connections_accepted_total",
        "Connections accepted, by transport.";
    counter accept_errors: Cell = "grandstand_accept_errors_total",
        "Connections that could not be accepted, such as for want of file descriptors.";
    counter turned_away: Labelled<TurnedAway> = "grandstand_connections_refused_total",
        "Connections refused before their handshake, by reason.";
    gauge waiting: Labelled<WaitedFor> = "grandstand_connections_waiting",
        "Connections that are not a session yet, by what their clients are waited for.";
    counter displaced: Labelled<WaitedFor> = "grandstand_connections_displaced_total",
        "Connections that gave way to another before they were a session, by what their clients were waited for.";
    counter clients_named: Cell = "grandstand_clients_named_total",
        "Connections from trusted proxies that told the client's address.";
    counter clients_unnamed: Cell = "grandstand_clients_unnamed_total",
        "Connections from trusted proxies that told no client's address, so that no limit per address holds them.";
    counter probes: Cell = "grandstand_probes_total",
        "Health probes answered on the WebSocket ports.";
    gauge handshakes_pending: Cell = "grandstand_handshakes_pending",
        "Connections whose handshake (TLS, HTTP upgrade, QUIC) has begun and is not finished.";
    counter handshakes: Labelled<Transport> = "grandstand_handshakes_total",
        "Handshakes finished, by transport.";
    counter handshakes_failed: Labelled<HandshakeFailure> = "grandstand_handshakes_failed_total",
        "Handshakes that were begun and not finished, by reason.";
    counter admissions: Labelled<HandshakeKind> = "grandstand_admissions_total",
        "New connections whose handshake began, by kind.";
    gauge admissions_waiting: Labelled<HandshakeKind> = "grandstand_admissions_waiting",
        "New connections whose handshake has not begun, by kind.";
    gauge_ns admission_cost_ns: Labelled<HandshakeKind> = "grandstand_admission_cost_seconds",
        "Measured time that the first step of a handshake takes, by kind.";
    gauge_ns admission_wait_ns: Cell = "grandstand_admission_wait_seconds",
        "How long a new connection would wait for its handshake if it does not prove an earlier visit.";
    counter_us admission_us: Cell = "grandstand_admission_seconds_total",
        "Time that the worker spent on handshakes and on accepting and refusing connections.";
    counter handshakes_resumed: Labelled<Transport> = "grandstand_handshakes_resumed_total",
        "Handshakes finished that resumed an earlier TLS session, by transport.";
    counter retries_sent: Cell = "grandstand_quic_retries_total",
        "QUIC clients asked to prove their address first (stateless Retry).";
    counter paths_withheld: Cell = "grandstand_quic_withheld_total",
        "QUIC datagrams that were not sent: their address has proven nothing, and would get more than three times what came.";
    counter paths_refused: Cell = "grandstand_quic_paths_refused_total",
        "QUIC datagrams that were dropped: their connection had too many new addresses.";

    gauge sessions: Cell = "grandstand_sessions",
        "Sessions that are open.";
    counter sessions_opened: Cell = "grandstand_sessions_opened_total",
        "Sessions welcomed.";
    counter sessions_resumed: Cell = "grandstand_sessions_resumed_total",
        "Sessions welcomed that continued an earlier one by ticket.";
    counter sessions_denied: Cell = "grandstand_sessions_denied_total",
        "Hellos that were refused for their token, name or version.";
    counter renewals: Cell = "grandstand_tokens_renewed_total",
        "Tokens that sessions renewed; grandstand_refusals_total has the refused ones.";
    counter closes: Labelled<CloseCode> = "grandstand_closes_total",
        "Connections that the node closed, by close code.";
    counter closes_websocket: Cell = "grandstand_closes_websocket_total",
        "Connections that the node closed for a fault of the WebSocket layer (RFC 6455 codes).";
    counter closes_by_peer: Cell = "grandstand_closes_by_peer_total",
        "Connections that the client ended, with or without a close frame.";

    gauge members: Cell = "grandstand_members",
        "Memberships of sessions in rooms: a session that follows two rooms has two.";
    gauge rooms: Cell = "grandstand_rooms_followed",
        "Rooms that a session on this worker follows.";
    counter joins: Cell = "grandstand_joins_total",
        "Subscriptions to rooms.";
    counter resumes: Cell = "grandstand_resumes_total",
        "Subscriptions that continued exactly where they had ended.";
    counter gaps: Labelled<GapReason> = "grandstand_gaps_total",
        "Gap notices to viewers, by reason.";
    counter gap_messages: Cell = "grandstand_gap_messages_total",
        "Messages that viewers were told they did not get.";
    counter personals: Cell = "grandstand_personal_frames_total",
        "Messages omitted by pacing that were sent to a person whom they mention.";
    counter personals_dropped: Cell = "grandstand_personal_frames_dropped_total",
        "Personal frames dropped because the connection had not taken earlier ones.";

    counter frames_in: Cell = "grandstand_frames_in_total",
        "Frames from clients.";
    counter bytes_in: Cell = "grandstand_received_bytes_total",
        "Bytes read from clients, above TLS and QUIC.";
    counter publications: Cell = "grandstand_publications_total",
        "Chat messages handed to shards.";
    counter publications_accepted: Cell = "grandstand_publications_accepted_total",
        "Chat messages that shards accepted.";
    counter publications_refused: Cell = "grandstand_publications_refused_total",
        "Chat messages that were refused, by the worker or by a shard; grandstand_refusals_total has the reasons.";
    counter reactions: Cell = "grandstand_reactions_total",
        "Reactions taken from clients.";
    counter refusals: Labelled<Refusal> = "grandstand_refusals_total",
        "Requests refused while the connection goes on, by reason.";

    counter batches: Cell = "grandstand_batches_total",
        "Sealed batches received from shards.";
    counter batches_compressed: Cell = "grandstand_batches_compressed_total",
        "Sealed batches compressed, once for the whole node.";
    counter batches_redacted: Cell = "grandstand_batches_redacted_total",
        "Batches of rings replaced, since moderators removed messages of them.";
    counter frames_out: Cell = "grandstand_frames_out_total",
        "Batch frames written to connections.";
    counter control_frames_out: Cell = "grandstand_control_frames_out_total",
        "Other frames written to connections: answers, notices, snapshots.";
    counter deliveries: Cell = "grandstand_deliveries_total",
        "Messages that reached a connection: one message to a thousand viewers is a thousand deliveries.";
    counter bytes_out: Cell = "grandstand_sent_bytes_total",
        "Bytes of batch frames written to connections, above TLS and QUIC.";
    counter writes: Cell = "grandstand_writes_total",
        "Writes offered to connections.";
    counter writes_blocked: Cell = "grandstand_writes_blocked_total",
        "Writes that a connection did not take whole, so that its viewer began to lag.";
    counter batch_writes: Cell = "grandstand_batch_writes_total",
        "Writes of batches offered to connections.";
    gauge lagging: Cell = "grandstand_lagging_connections",
        "Connections that wait to become writable.";
    counter_us busy_us: Cell = "grandstand_worker_busy_seconds_total",
        "Time that the worker was busy.";
    counter_us fanout_us: Cell = "grandstand_fanout_seconds_total",
        "Time that the worker spent writing batches to connections.";
    gauge_permille fanout_share: Cell = "grandstand_fanout_share_ratio",
        "Share of the worker's time spent writing batches, over the last 100 ms or more; ticks keep it at fanout.share_percent.";
    gauge_ns write_cost_ns: Cell = "grandstand_batch_write_seconds",
        "Average time of one write of batches to a connection, over the last 100 ms or more.";
    counter turns: Cell = "grandstand_worker_turns_total",
        "Turns of the worker's loop.";
    counter submits_full: Cell = "grandstand_submits_full_total",
        "Inputs that a full shard inbox gave back.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Whether a name has its unit before `_total`, or at its end.
    fn unit_is_said(declared: &Declared) -> bool {
        let stem = declared.name.strip_suffix("_total").unwrap_or(declared.name);
        let in_seconds = matches!(declared.kind, Kind::CounterUs | Kind::GaugeNs);
        let is_ratio = declared.kind == Kind::GaugePermille;
        is_ratio == stem.ends_with("_ratio")
            && in_seconds == stem.ends_with("_seconds")
            && (!stem.contains("bytes") || stem.ends_with("_bytes"))
    }

    #[test]
    fn names_follow_the_rules() {
        let mut seen = HashSet::new();
        for declared in DECLARED {
            let Declared { name, help, kind, .. } = declared;
            let counts = matches!(kind, Kind::Counter | Kind::CounterUs);
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("grandstand_"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !name.contains("__"),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), counts, "{name}");
            assert!(unit_is_said(declared), "{name}");
            assert!(
                help.len() > 15 && help.ends_with('.') && help.starts_with(|c: char| c.is_uppercase()),
                "{name}: {help}"
            );
        }
    }

    #[test]
    fn a_line_reads_its_own_field() {
        let stats = Stats::default();
        for declared in DECLARED {
            assert!((declared.series)(&stats).numbers().iter().all(|(_, n)| *n == 0), "{}", declared.name);
        }
        stats.deliveries.add(7);
        stats.connections.of(Transport::Quic).inc();
        let seen: Vec<_> =
            DECLARED.iter().filter(|d| (d.series)(&stats).numbers().iter().any(|(_, n)| *n > 0)).collect();
        assert_eq!(
            seen.iter().map(|d| d.name).collect::<Vec<_>>(),
            ["grandstand_connections", "grandstand_deliveries_total"]
        );
    }
}
