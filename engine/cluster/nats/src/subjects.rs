//! Subjects and streams: their names, and what a received subject says.
//!
//! Why few: an interest that is made at an owner change would cost time, so each node subscribes once, to
//! what is for it and to what is for all. Terms inside the messages say what is out of date.
//! Invariants: no name of a room is ever part of a subject.
//! Not here: what the messages hold.

use grandstand_cluster::flight::Attempt;
use grandstand_cluster::id::{Incarnation, NodeId};
use grandstand_engine::link::ShardId;

/// The names of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Subjects {
    prefix: String,
    streams: String,
}

/// What a subject for this node, or for all, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Heartbeat,
    House,
    Ping,
    Order,
    Ask(ShardId),
    Answer(ShardId),
    Announce(ShardId),
    Up(ShardId),
    Down(ShardId),
}

/// What a subject of this client's inbox says: to which of its requests the message is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// An append.
    Append(ShardId, Attempt),
    /// The end of a shard's stream.
    Info(ShardId, u64),
    /// The same, to look after the stream's leader.
    Leader(ShardId),
    /// A batch of messages, by any replica.
    Batch(ShardId, u64),
    /// A message by its number, by the stream's leader.
    Message(ShardId, u64, u64),
    /// A ping to a node.
    Ping(NodeId),
    /// An order to a node.
    Order(u64),
    /// The question to the server that nobody can answer.
    RoundTrip(u64),
}

impl Subjects {
    pub(crate) fn new(cluster: &str) -> Self {
        Subjects { prefix: format!("gs.{cluster}"), streams: format!("GS_{cluster}") }
    }

    pub(crate) fn for_all(&self) -> String {
        format!("{}.all.>", self.prefix)
    }

    pub(crate) fn for_node(&self, node: NodeId) -> String {
        format!("{}.n.{}.>", self.prefix, node.0)
    }

    pub(crate) fn heartbeat(&self) -> String {
        format!("{}.all.hb", self.prefix)
    }

    pub(crate) fn house(&self) -> String {
        format!("{}.all.house", self.prefix)
    }

    pub(crate) fn house_of(&self, node: NodeId) -> String {
        format!("{}.n.{}.house", self.prefix, node.0)
    }

    /// The key of a ban in the bucket.
    pub(crate) fn ban(&self, kind: u8, id: u64) -> String {
        format!("$KV.{}.ban.{kind}.{id:016x}", self.streams)
    }

    /// All of them.
    pub(crate) fn bans(&self) -> String {
        format!("$KV.{}.ban.>", self.streams)
    }

    pub(crate) fn ask(&self, shard: ShardId) -> String {
        format!("{}.all.ask.{}", self.prefix, shard.0)
    }

    pub(crate) fn announce(&self, shard: ShardId) -> String {
        format!("{}.all.announce.{}", self.prefix, shard.0)
    }

    pub(crate) fn ping(&self, node: NodeId) -> String {
        format!("{}.n.{}.ping", self.prefix, node.0)
    }

    pub(crate) fn order(&self, node: NodeId) -> String {
        format!("{}.n.{}.order", self.prefix, node.0)
    }

    pub(crate) fn answer(&self, node: NodeId, shard: ShardId) -> String {
        format!("{}.n.{}.answer.{}", self.prefix, node.0, shard.0)
    }

    pub(crate) fn up(&self, node: NodeId, shard: ShardId) -> String {
        format!("{}.n.{}.up.{}", self.prefix, node.0, shard.0)
    }

    pub(crate) fn down(&self, node: NodeId, shard: ShardId) -> String {
        format!("{}.n.{}.down.{}", self.prefix, node.0, shard.0)
    }

    /// Questions about a node's copies.
    pub(crate) fn copies(&self, node: NodeId) -> String {
        format!("{}.copies.{}", self.prefix, node.0)
    }

    /// Where nobody ever listens: the client's server says so at once, which measures the way to it.
    pub(crate) fn nobody(&self) -> String {
        format!("{}.nobody", self.prefix)
    }

    pub(crate) fn log(&self, shard: ShardId) -> String {
        format!("{}.log.{}", self.prefix, shard.0)
    }

    pub(crate) fn stream(&self, shard: ShardId) -> String {
        format!("{}_{}", self.streams, shard.0)
    }

    /// The bucket of facts, as `nats kv` names it.
    pub(crate) fn bucket_name(&self) -> &str {
        &self.streams
    }

    /// The stream of that bucket.
    pub(crate) fn bucket(&self) -> String {
        format!("KV_{}", self.streams)
    }

    /// The subjects of its keys.
    pub(crate) fn facts_of_bucket(&self) -> String {
        format!("$KV.{}.>", self.streams)
    }

    /// The key of the facts.
    pub(crate) fn facts(&self) -> String {
        format!("$KV.{}.facts", self.streams)
    }

    /// The key of what nodes agreed on later.
    pub(crate) fn agreed(&self) -> String {
        format!("$KV.{}.agreed", self.streams)
    }

    pub(crate) fn info(&self, shard: ShardId) -> String {
        format!("$JS.API.STREAM.INFO.{}", self.stream(shard))
    }

    pub(crate) fn step_down(&self, shard: ShardId) -> String {
        format!("$JS.API.STREAM.LEADER.STEPDOWN.{}", self.stream(shard))
    }

    pub(crate) fn batch(&self, shard: ShardId) -> String {
        format!("$JS.API.DIRECT.GET.{}", self.stream(shard))
    }

    pub(crate) fn message(&self, shard: ShardId) -> String {
        format!("$JS.API.STREAM.MSG.GET.{}", self.stream(shard))
    }

    /// What a message to this node or to all is. `None` is none of this release.
    pub(crate) fn inbound(&self, subject: &str) -> Option<Inbound> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        let mut words = rest.split('.');
        let is_for_all = match words.next()? {
            "all" => true,
            "n" => {
                words.next()?;
                false
            }
            _ => return None,
        };
        let kind = words.next()?;
        let shard = words.next().map(|word| word.parse().map(ShardId));
        match (is_for_all, kind, shard) {
            (true, "hb", None) => Some(Inbound::Heartbeat),
            (_, "house", None) => Some(Inbound::House),
            (false, "ping", None) => Some(Inbound::Ping),
            (false, "order", None) => Some(Inbound::Order),
            (true, "ask", Some(Ok(shard))) => Some(Inbound::Ask(shard)),
            (true, "announce", Some(Ok(shard))) => Some(Inbound::Announce(shard)),
            (false, "answer", Some(Ok(shard))) => Some(Inbound::Answer(shard)),
            (false, "up", Some(Ok(shard))) => Some(Inbound::Up(shard)),
            (false, "down", Some(Ok(shard))) => Some(Inbound::Down(shard)),
            _ => None,
        }
    }
}

/// Answers come back to `inbox`, followed by this.
impl Answered {
    pub(crate) fn subject(&self, inbox: &str) -> String {
        match self {
            Answered::Append(shard, attempt) => {
                format!("{inbox}.a.{}.{:x}.{}", shard.0, attempt.life.0, attempt.number)
            }
            Answered::Info(shard, token) => format!("{inbox}.i.{}.{token}", shard.0),
            Answered::Leader(shard) => format!("{inbox}.l.{}", shard.0),
            Answered::Batch(shard, token) => format!("{inbox}.b.{}.{token}", shard.0),
            Answered::Message(shard, token, sequence) => {
                format!("{inbox}.m.{}.{token}.{sequence}", shard.0)
            }
            Answered::Ping(node) => format!("{inbox}.p.{}", node.0),
            Answered::Order(number) => format!("{inbox}.o.{number}"),
            Answered::RoundTrip(number) => format!("{inbox}.t.{number}"),
        }
    }

    pub(crate) fn parse(inbox: &str, subject: &str) -> Option<Answered> {
        let mut words = subject.strip_prefix(inbox)?.strip_prefix('.')?.split('.');
        let kind = words.next()?;
        let first = words.next()?;
        let shard = || first.parse().ok().map(ShardId);
        let mut number = || words.next()?.parse().ok();
        match kind {
            "a" => {
                let life = u64::from_str_radix(words.next()?, 16).ok().map(Incarnation)?;
                let number = words.next()?.parse().ok()?;
                Some(Answered::Append(shard()?, Attempt { life, number }))
            }
            "i" => Some(Answered::Info(shard()?, number()?)),
            "l" => Some(Answered::Leader(shard()?)),
            "b" => Some(Answered::Batch(shard()?, number()?)),
            "m" => Some(Answered::Message(shard()?, number()?, number()?)),
            "o" => Some(Answered::Order(first.parse().ok()?)),
            "p" => Some(Answered::Ping(NodeId(first.parse().ok()?))),
            "t" => Some(Answered::RoundTrip(first.parse().ok()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_request() {
        let attempt = Attempt { life: Incarnation(u64::MAX - 7), number: 812 };
        for answered in [
            Answered::Append(ShardId(5), attempt),
            Answered::Info(ShardId(0), 9),
            Answered::Leader(ShardId(7)),
            Answered::Batch(ShardId(11), u64::MAX),
            Answered::Message(ShardId(3), 4, 77),
            Answered::Ping(NodeId(2)),
            Answered::Order(41),
            Answered::RoundTrip(1),
        ] {
            let subject = answered.subject("_INBOX.abc");
            assert_eq!(Answered::parse("_INBOX.abc", &subject), Some(answered), "{subject}");
            assert_eq!(Answered::parse("_INBOX.abd", &subject), None, "another client's");
        }
        for subject in ["_INBOX.abc", "_INBOX.abc.", "_INBOX.abc.a.1", "_INBOX.abc.m.1.2", "_INBOX.abc.z.1"] {
            assert_eq!(Answered::parse("_INBOX.abc", subject), None, "{subject}");
        }
    }

    #[test]
    fn a_subject_says_what_it_holds_and_for_whom() {
        let subjects = Subjects::new("live");
        let (shard, node) = (ShardId(4), NodeId(1));
        for (subject, inbound) in [
            (subjects.heartbeat(), Inbound::Heartbeat),
            (subjects.ping(node), Inbound::Ping),
            (subjects.house(), Inbound::House),
            (subjects.house_of(node), Inbound::House),
            (subjects.order(node), Inbound::Order),
            (subjects.ask(shard), Inbound::Ask(shard)),
            (subjects.announce(shard), Inbound::Announce(shard)),
            (subjects.answer(node, shard), Inbound::Answer(shard)),
            (subjects.up(node, shard), Inbound::Up(shard)),
            (subjects.down(node, shard), Inbound::Down(shard)),
        ] {
            assert_eq!(subjects.inbound(&subject), Some(inbound), "{subject}");
            let is_mine = |pattern: &str| subject.starts_with(pattern.trim_end_matches('>'));
            assert!(is_mine(&subjects.for_all()) || is_mine(&subjects.for_node(node)), "{subject}");
        }
        let others =
            ["gs.live.all", "gs.live.n.1.hb", "gs.live.all.up.1", "gs.other.all.hb", "gs.live.all.ask.x"];
        for subject in others {
            assert_eq!(subjects.inbound(subject), None, "{subject}");
        }
    }
}
