//! Messages about ownership, as bytes: heartbeats, asks, announcements and pongs.
//!
//! Why a table each: they are few and small, and get new fields with almost every release.
//! Not here: when each is sent (`membership`, `seat`), answers (`answer`), frames (`up`, `down`).

use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;
use grandstand_engine::link::ShardId;

use super::VERSION;
use super::fault::{Malformed, TooLong};
use super::table::{self, Kind, NEEDS};
use crate::generated as fb;
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::membership::{About, Echo, Facts, Heartbeat, ShardReport, Versions};
use crate::seat::Ask;
use crate::time::PeerTime;

/// A message between nodes that is one message of the network.
pub trait Message: Sized {
    /// The bytes, written by this version: one that the receivers read.
    ///
    /// # Errors
    /// If they would exceed [`MESSAGE_BYTES_MAX`](super::MESSAGE_BYTES_MAX).
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong>;

    /// The bytes, written by the highest version of this release.
    ///
    /// # Errors
    /// See [`Message::encode_as`].
    fn encode(&self) -> Result<Bytes, TooLong> {
        self.encode_as(VERSION)
    }

    /// The message that these bytes are.
    ///
    /// # Errors
    /// See [`Malformed`].
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;
}

/// A node tells all others that a shard's log has a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Which.
    pub term: Term,
    /// Where.
    pub position: Position,
}

/// The answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Who answers.
    pub node: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
}

impl Message for Heartbeat {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        let Heartbeat { node, incarnation, sent, echoes, facts, versions, reports, load, house, about } =
            self;
        let About { is_draining: draining, unix_ms, nodes, leaders, written } = *about;
        let Facts { seed, shards, ticket_key_print } = *facts;
        table::encode(Kind::Heartbeat, |fbb| {
            let echoes: Vec<_> = echoes.iter().map(|echo| encode_echo(fbb, *echo)).collect();
            let reports: Vec<_> = reports.iter().map(|report| encode_report(fbb, *report)).collect();
            let (echoes, reports) = (fbb.create_vector(&echoes), fbb.create_vector(&reports));
            let args = fb::HeartbeatArgs {
                version,
                needs: NEEDS,
                node: node.0,
                incarnation: incarnation.0,
                sent: sent.0,
                echoes: Some(echoes),
                seed,
                shards,
                ticket_key_print,
                version_min: versions.min,
                version_max: versions.max,
                reports: Some(reports),
                load: *load,
                house: *house,
                draining,
                unix_ms,
                nodes,
                leaders,
                written,
            };
            fb::Heartbeat::create(fbb, &args)
        })
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let t = table::open::<fb::Heartbeat<'_>>(Kind::Heartbeat, bytes)?;
        table::check_version(t.version(), t.needs())?;
        Ok(Heartbeat {
            node: NodeId(t.node()),
            incarnation: Incarnation(t.incarnation()),
            sent: PeerTime(t.sent()),
            echoes: t.echoes().map(|all| all.iter().map(decode_echo).collect()).unwrap_or_default(),
            facts: Facts { seed: t.seed(), shards: t.shards(), ticket_key_print: t.ticket_key_print() },
            versions: Versions { min: t.version_min(), max: t.version_max() },
            reports: t.reports().map(|all| all.iter().map(decode_report).collect()).unwrap_or_default(),
            load: t.load(),
            house: t.house(),
            about: About {
                is_draining: t.draining(),
                unix_ms: t.unix_ms(),
                nodes: t.nodes(),
                leaders: t.leaders(),
                written: t.written(),
            },
        })
    }
}

impl Message for Ask {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        let Ask { candidate, incarnation, term, sent } = *self;
        let args = fb::AskArgs {
            version,
            needs: NEEDS,
            candidate: candidate.0,
            incarnation: incarnation.0,
            term: term.0,
            sent: sent.0,
        };
        table::encode(Kind::Ask, |fbb| fb::Ask::create(fbb, &args))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let t = table::open::<fb::Ask<'_>>(Kind::Ask, bytes)?;
        table::check_version(t.version(), t.needs())?;
        Ok(Ask {
            candidate: NodeId(t.candidate()),
            incarnation: Incarnation(t.incarnation()),
            term: Term(t.term()),
            sent: PeerTime(t.sent()),
        })
    }
}

impl Message for Announce {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        let args = fb::AnnounceArgs { version, needs: NEEDS, term: self.term.0, position: self.position.0 };
        table::encode(Kind::Announce, |fbb| fb::Announce::create(fbb, &args))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let t = table::open::<fb::Announce<'_>>(Kind::Announce, bytes)?;
        table::check_version(t.version(), t.needs())?;
        Ok(Announce { term: Term(t.term()), position: Position(t.position()) })
    }
}

impl Message for Pong {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        let args = fb::PongArgs { version, needs: NEEDS, node: self.node.0, incarnation: self.incarnation.0 };
        table::encode(Kind::Pong, |fbb| fb::Pong::create(fbb, &args))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let t = table::open::<fb::Pong<'_>>(Kind::Pong, bytes)?;
        table::check_version(t.version(), t.needs())?;
        Ok(Pong { node: NodeId(t.node()), incarnation: Incarnation(t.incarnation()) })
    }
}

fn encode_echo<'a>(fbb: &mut FlatBufferBuilder<'a>, echo: Echo) -> flatbuffers::WIPOffset<fb::Echo<'a>> {
    let Echo { node, incarnation, sent } = echo;
    fb::Echo::create(fbb, &fb::EchoArgs { node: node.0, incarnation: incarnation.0, sent: sent.0 })
}

fn decode_echo(t: fb::Echo<'_>) -> Echo {
    Echo { node: NodeId(t.node()), incarnation: Incarnation(t.incarnation()), sent: PeerTime(t.sent()) }
}

fn encode_report<'a>(
    fbb: &mut FlatBufferBuilder<'a>,
    report: ShardReport,
) -> flatbuffers::WIPOffset<fb::Report<'a>> {
    let ShardReport { shard, term, owns, claims, position, can_own } = report;
    let args = fb::ReportArgs { shard: shard.0, term: term.0, owns, claims, position: position.0, can_own };
    fb::Report::create(fbb, &args)
}

fn decode_report(t: fb::Report<'_>) -> ShardReport {
    ShardReport {
        shard: ShardId(t.shard()),
        term: Term(t.term()),
        owns: t.owns(),
        claims: t.claims(),
        position: Position(t.position()),
        can_own: t.can_own(),
    }
}
