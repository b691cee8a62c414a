//! Orders and their outcomes, as bytes.
//!
//! Invariant: an order of a kind that this release does not know is refused, and never taken for another.
//! Not here: what an order means (`crate::order`).

use bytes::Bytes;
use grandstand_engine::link::ShardId;

use super::fault::{Malformed, TooLong};
use super::message::Message;
use super::table::{self, Kind, NEEDS};
use crate::generated as fb;
use crate::id::NodeId;
use crate::order::{Order, Outcome};

/// Bytes of a reason that are shown; what is longer is of no release.
const WHY_MAX: usize = 1_024;

impl Message for Order {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        let (kind, shard, to) = match *self {
            Order::HandOver { shard, to } => (fb::OrderKind::HandOver, shard.0, to.0),
            Order::Drain => (fb::OrderKind::Drain, 0, 0),
            Order::Serve => (fb::OrderKind::Serve, 0, 0),
        };
        let args = fb::OrderArgs { version, needs: NEEDS, kind, shard, to };
        table::encode(Kind::Order, |fbb| fb::Order::create(fbb, &args))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let t = table::open::<fb::Order<'_>>(Kind::Order, bytes)?;
        table::check_version(t.version(), t.needs())?;
        match t.kind() {
            fb::OrderKind::HandOver => Ok(Order::HandOver { shard: ShardId(t.shard()), to: NodeId(t.to()) }),
            fb::OrderKind::Drain => Ok(Order::Drain),
            fb::OrderKind::Serve => Ok(Order::Serve),
            _ => Err(Malformed::Field("an order of a known kind")),
        }
    }
}

impl Message for Outcome {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        table::encode(Kind::Outcome, |fbb| {
            let why = self.refused.as_deref().map(|why| fbb.create_string(cut(why)));
            fb::Outcome::create(fbb, &fb::OutcomeArgs { version, needs: NEEDS, why })
        })
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let t = table::open::<fb::Outcome<'_>>(Kind::Outcome, bytes)?;
        table::check_version(t.version(), t.needs())?;
        Ok(Outcome { refused: t.why().map(|why| cut(why).to_owned()) })
    }
}

fn cut(why: &str) -> &str {
    &why[..why.floor_char_boundary(WHY_MAX)]
}
