//! The fixture of the micro benches: a shard and an audience in one thread, under a simulated clock.
//!
//! Why both: the real shard seals every batch that a bench walks or reads, so no bench builds batches of its
//! own.
//! Invariant: the fixture acts only when called, and the same calls execute the same instructions.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grandstand_edge_core::admission::limits::Address;
use grandstand_edge_core::audience::{Audience, ConnectionKey, FrameSink, LinkKey, Rate, Settings};
use grandstand_edge_core::key::Key;
use grandstand_edge_core::people::{People, PeopleLimits};
use grandstand_edge_core::testing::{OpenAuthority, OpenTickets};
use grandstand_engine::link::Backbone;
use grandstand_engine::link::{
    Alias, ConnectionToken, Input, Now, Output, PersonId, Publication, ReplyTo, ShardId, UserId, WorkerId,
};
use grandstand_engine::{Shard, ShardConfig};
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Role, Subscribe, permission};

/// The one room.
pub(crate) const ROOM: &str = "show";

/// Its alias: the first that the one shard gives.
pub(crate) const ALIAS: Alias = Alias(0);

/// Text of every message: 128 bytes, as in the benches that take time.
pub(crate) const TEXT: &str = "What a goal! Nobody in the stands is sitting any more, not even the referee's own mother. \
                               Play it again from the other side now!";

/// Longer than any tick: whatever waits is due.
const LONG_US: u64 = 1_500_000;

/// Inputs on their way to the shard.
#[derive(Debug, Default)]
struct Inbox(Mutex<Vec<Input>>);

impl Backbone for Inbox {
    fn shards(&self) -> u16 {
        1
    }

    fn shard_of(&self, _room: &str) -> ShardId {
        ShardId(0)
    }

    fn shard_of_alias(&self, _alias: Alias) -> ShardId {
        ShardId(0)
    }

    fn submit(&self, _shard: ShardId, input: Input) -> Result<(), Input> {
        self.0.lock().expect("one thread").push(input);
        Ok(())
    }
}

/// Takes every byte, and keeps those of one wire.
#[derive(Debug)]
pub(crate) struct Taker {
    pub(crate) sends: u64,
    pub(crate) kept: Vec<u8>,
    keeps: LinkKey,
}

impl FrameSink for Taker {
    fn send(&mut self, wire: LinkKey, frames: &[&Bytes]) -> usize {
        self.sends += 1;
        if wire == self.keeps {
            frames.iter().for_each(|frame| self.kept.extend_from_slice(frame));
        }
        frames.iter().map(|frame| frame.len()).sum()
    }
}

/// See the file's head.
pub(crate) struct Fixture {
    pub(crate) shard: Shard,
    pub(crate) audience: Audience,
    pub(crate) taker: Taker,
    pub(crate) now: Now,
    inbox: Arc<Inbox>,
    next_nonce: u64,
}

impl Fixture {
    /// A room that nobody is in.
    pub(crate) fn new() -> Fixture {
        let rate = Rate { per_s: 1_000_000, burst: 1_000_000 };
        let settings = Settings {
            publish: rate,
            reactions: rate,
            frames: rate,
            // Full after the warm-up.
            ring_batches_max: 16,
            ..Settings::for_tests()
        };
        let rooms = ShardConfig {
            // Of the same size for both, and nothing but chat in the batches.
            ring_batches_max: 16,
            history_batches_max: 16,
            nonces_max: 1024,
            viewers_every_ms: 0,
            ..ShardConfig::for_tests()
        };
        let authority =
            OpenAuthority { permissions: permission::PUBLISH | permission::REACT | permission::STATE };
        let tickets = OpenTickets { ttl_ms: 1_000 };
        let inbox = Arc::new(Inbox::default());
        let people = Arc::new(People::new(PeopleLimits::for_tests(), Key::from_seed(1)));
        let audience = Audience::new(
            settings,
            Arc::new(authority),
            Arc::new(tickets),
            inbox.clone(),
            people,
            Key::from_seed(1),
        );
        Fixture {
            shard: Shard::new(rooms, ShardId(0), 1, 7),
            audience,
            taker: Taker { sends: 0, kept: Vec::new(), keeps: LinkKey(u32::MAX) },
            now: Now { us: 1_000_000, unix_ms: 1_700_000_000_000 },
            inbox,
            next_nonce: 0,
        }
    }

    /// A room with this number of members, and no work left.
    pub(crate) fn with_members(count: u32) -> Fixture {
        let mut fixture = Fixture::new();
        for wire in 0..count {
            fixture.enter(wire);
        }
        fixture
    }

    /// One more connection, before its first frame.
    pub(crate) fn open(&mut self, wire: u32) -> ConnectionKey {
        // From an address, as every viewer of a node.
        self.audience.handle_open(self.now, LinkKey(wire), Some(Address::of([192, 0, 2, 1].into())))
    }

    /// One more member, by a wire of this number.
    pub(crate) fn enter(&mut self, wire: u32) -> ConnectionKey {
        let key = self.open(wire);
        let hello = ClientFrame::Hello(Hello { name: "a_viewer_of_16b", ..Hello::default() });
        self.audience.handle_frame(self.now, key, &frame(&hello));
        let subscribe = ClientFrame::Subscribe(Subscribe { request: 1, room: ROOM, ..Subscribe::default() });
        self.audience.handle_frame(self.now, key, &frame(&subscribe));
        self.settle();
        key
    }

    /// Keep what goes to this wire from now on.
    pub(crate) fn keep(&mut self, wire: u32) {
        self.taker.keeps = LinkKey(wire);
        self.taker.kept.clear();
    }

    /// Inputs that wait for the shard, taken away.
    pub(crate) fn take_inputs(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.inbox.0.lock().expect("one thread"))
    }

    /// Publications as the shard gets them, of a hundred people, none of them connected.
    pub(crate) fn publications(&mut self, count: usize) -> Vec<Input> {
        std::iter::repeat_with(|| self.publication()).take(count).collect()
    }

    fn publication(&mut self) -> Input {
        self.next_nonce += 1;
        Input::Publish(Box::new(Publication {
            from: ReplyTo { worker: WorkerId(0), connection: ConnectionToken(u64::MAX) },
            alias: ALIAS,
            user: UserId(self.next_nonce % 100),
            person: PersonId::of_user(UserId(self.next_nonce % 100)),
            nonce: self.next_nonce,
            age_ms: 0,
            author: "a_viewer_of_16b".into(),
            role: Role::Viewer,
            text: TEXT.into(),
            attachment: "".into(),
            reply_to: None,
            exempt: true,
            is_bridged: false,
        }))
    }

    /// Inputs for the shard, at this moment.
    pub(crate) fn hand_in(&mut self, inputs: Vec<Input>) {
        inputs.into_iter().for_each(|input| self.shard.handle_input(self.now, input));
    }

    /// To the time at which the shard has something to do, and no further.
    pub(crate) fn pass_until_due(&mut self) {
        if let Some(us) = self.shard.poll_timeout() {
            self.pass_us(us.saturating_sub(self.now.us));
        }
    }

    /// Longer than a tick.
    pub(crate) fn pass_tick(&mut self) {
        self.pass_us(LONG_US);
    }

    fn pass_us(&mut self, us: u64) {
        self.now.us += us;
        self.now.unix_ms = 1_700_000_000_000 + self.now.us / 1000;
    }

    /// The shard's outputs.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.shard.poll_output()).map(|(_, output)| output).collect()
    }

    /// Publishes messages at one moment: the shard seals them at its next timeout, which is now.
    pub(crate) fn say(&mut self, count: usize) {
        self.pass_tick();
        let inputs = self.publications(count);
        self.hand_in(inputs);
        self.pass_until_due();
    }

    /// One batch of so many messages, sealed and handed to the audience, which has not looked at it yet.
    pub(crate) fn bring_batch(&mut self, count: usize) {
        self.say(count);
        self.shard.handle_timeout(self.now);
        let outputs = self.outputs();
        assert_eq!(outputs.iter().map(messages).max(), Some(count as u64), "one batch");
        outputs.into_iter().for_each(|output| self.audience.handle_output(output));
    }

    /// Everything that the audience can write.
    pub(crate) fn write(&mut self) {
        while self.audience.poll_writes(&mut self.taker, 100_000) {}
    }

    /// Inputs to the shard, outputs to the audience, bytes to the wires, until nothing is left.
    pub(crate) fn settle(&mut self) {
        loop {
            let inputs = self.take_inputs();
            self.hand_in(inputs);
            let outputs = self.outputs();
            let is_quiet = outputs.is_empty();
            outputs.into_iter().for_each(|output| self.audience.handle_output(output));
            self.write();
            if is_quiet && !self.audience.has_work() {
                return;
            }
        }
    }
}

/// Messages that an output brings.
pub(crate) fn messages(output: &Output) -> u64 {
    match output {
        Output::Batch { batch, .. } => u64::from(batch.messages),
        _ => 0,
    }
}

/// A client's frame, without header.
pub(crate) fn frame(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().client(frame, &mut out);
    out
}
