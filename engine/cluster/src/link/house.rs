//! House messages as bytes.
//!
//! Not here: what they mean (`crate::house`).

use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;

use super::fault::{Malformed, TooLong};
use super::message::Message;
use super::table::{self, Kind, NEEDS};
use crate::generated as fb;
use crate::house::{Ban, HouseMessage};
use crate::id::{Incarnation, NodeId};

impl Message for HouseMessage {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        let HouseMessage { node, incarnation, asks, answers, bans, taken, moved } = self;
        table::encode(Kind::House, |fbb| {
            let bans: Vec<_> = bans.iter().map(|ban| encode_ban(fbb, ban)).collect();
            let pairs: Vec<u64> = taken
                .iter()
                .flat_map(|&(person, kind, tokens)| [person, u64::from(kind) << 32 | u64::from(tokens)])
                .collect();
            let bans = fbb.create_vector(&bans);
            let (taken, moved) = (fbb.create_vector(&pairs), fbb.create_vector(moved));
            let args = fb::HouseArgs {
                version,
                needs: NEEDS,
                node: node.0,
                incarnation: incarnation.0,
                asks: *asks,
                answers: *answers,
                bans: Some(bans),
                taken: Some(taken),
                moved: Some(moved),
            };
            fb::House::create(fbb, &args)
        })
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let t = table::open::<fb::House<'_>>(Kind::House, bytes)?;
        table::check_version(t.version(), t.needs())?;
        let pairs: Vec<u64> = t.taken().map(|all| all.iter().collect()).unwrap_or_default();
        let (pairs, rest) = pairs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Malformed::Field("pairs of a person and what it took"));
        }
        let taken = |&[person, what]: &[u64; 2]| (person, (what >> 32) as u8, what as u32);
        Ok(HouseMessage {
            node: NodeId(t.node()),
            incarnation: Incarnation(t.incarnation()),
            asks: t.asks(),
            answers: t.answers(),
            bans: t.bans().map(|all| all.iter().map(decode_ban).collect()).unwrap_or_default(),
            taken: pairs.iter().map(taken).collect(),
            moved: t.moved().map(|all| all.iter().collect()).unwrap_or_default(),
        })
    }
}

fn encode_ban<'a>(fbb: &mut FlatBufferBuilder<'a>, ban: &Ban) -> flatbuffers::WIPOffset<fb::Ban<'a>> {
    let Ban { kind, id, stamp_us, until_ms, is_lifted, name, reason } = ban;
    let (name, reason) = (fbb.create_string(name), fbb.create_string(reason));
    let args = fb::BanArgs {
        kind: *kind,
        id: *id,
        stamp_us: *stamp_us,
        until_ms: *until_ms,
        lifted: *is_lifted,
        name: Some(name),
        reason: Some(reason),
    };
    fb::Ban::create(fbb, &args)
}

fn decode_ban(t: fb::Ban<'_>) -> Ban {
    Ban {
        kind: t.kind(),
        id: t.id(),
        stamp_us: t.stamp_us(),
        until_ms: t.until_ms(),
        is_lifted: t.lifted(),
        name: t.name().unwrap_or_default().into(),
        reason: t.reason().unwrap_or_default().into(),
    }
}
