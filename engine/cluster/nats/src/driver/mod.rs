//! Driver: the one task of the network's thread. It moves messages between stands and subjects.
//!
//! Why one task: heartbeats, appends and frames keep the order in which stands sent them, and no lock is held
//! across a wait.
//! Invariants: nothing here waits for a server but at the stop. What the client cannot take at once is lost
//! and counted, and while no server is connected nothing is kept for later: a stale heartbeat or an old frame
//! would arrive as if it were new.
//! Not here: what messages mean; who reads the status.

mod append;
mod detour;
mod house;
mod inbound;
mod leaders;
mod orders;
mod read;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, ServerAddr, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use grandstand_cluster::link::{Announce, AnswerParts, Message as _, TooLong, encode_answer_as};
use grandstand_cluster::log_watch::LogWatch;
use grandstand_cluster::membership::{self, HEARTBEAT_MS, Membership};
use grandstand_cluster::stand::{Arrived, FromWire, ToWire};
use grandstand_cluster::time::OwnTime;
use grandstand_engine::link::ShardId;
use grandstand_queue::Sender;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::FLUSH_WITHIN;
use crate::config::{Config, Plan};
use crate::house::ToNodes;
use crate::status::Shared;
use crate::subjects::Subjects;
use crate::wire::{FromStand, weight};
pub(crate) use orders::Asked;
use read::Reading;
use upkeep::{Peer, RoundTrip};

/// Between two pings to each other node.
const PING_EVERY: Duration = Duration::from_millis(100);
/// Between two checks of streams, servers and facts.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// Messages of stands that are taken in a row, before the driver looks at the network again.
const IN_A_ROW: usize = 64;

/// See the file's head.
pub(crate) struct Driver {
    origin: Instant,
    client: Client,
    inbox: String,
    subjects: Subjects,
    membership: Membership,
    peers: Vec<Peer>,
    shards: Vec<Shard>,
    shared: Arc<Shared>,
    leaders: leaders::Leaders,
    /// Of all nodes, this node's own first.
    servers: Vec<ServerAddr>,
    detour: detour::Detour,
    facts: membership::Facts,
    plan: Plan,
    events: mpsc::UnboundedReceiver<Event>,
    for_all: Subscriber,
    for_me: Subscriber,
    answers: Subscriber,
    connected_at: Option<Instant>,
    round_trip: RoundTrip,
    /// What stands were told last: does the log keep what it acknowledges?
    told_replicated: bool,
    /// The same: does the node give its shards away?
    told_draining: bool,
    /// The same: by which version all is written.
    told_agreed: u16,
    orders: orders::Orders,
    log_watch: LogWatch,
}

/// What the driver knows of a shard.
struct Shard {
    outlet: Sender<Arrived>,
    append: append::Latest,
    reading: Reading,
    answers: AnswerParts,
    /// Servers that could lead the stream, as its leader said last, and when it said so.
    others: Vec<String>,
    leader_seen: Option<OwnTime>,
}

impl Driver {
    /// Makes the client, which connects by itself, and subscribes.
    pub(crate) async fn connect(
        config: Config,
        nodes: membership::Config,
        membership: Membership,
        options: ConnectOptions,
        outlets: Vec<Sender<Arrived>>,
        shared: Arc<Shared>,
    ) -> Result<Driver, (Arc<Shared>, String)> {
        let (told, events) = mpsc::unbounded_channel();
        let options = options.event_callback(move |event| {
            // The driver has ended.
            let _ = told.send(event);
            std::future::ready(())
        });
        let me = nodes.me;
        let subjects = Subjects::new(&config.cluster);
        let connected = async {
            let servers = config.addresses(me, &nodes.nodes).map_err(|fault| fault.to_string())?;
            let client = options.connect(servers.clone()).await.map_err(|error| error.to_string())?;
            let inbox = client.new_inbox();
            let subscribe =
                async |subject: String| client.subscribe(subject).await.map_err(|error| error.to_string());
            let answers = subscribe(format!("{inbox}.>")).await?;
            let for_me = subscribe(subjects.for_node(me)).await?;
            let for_all = subscribe(subjects.for_all()).await?;
            let leaders = leaders::Leaders::new(me, &nodes.nodes, &servers);
            Ok((leaders, servers, client, inbox, answers, for_me, for_all))
        };
        let (leaders, servers, client, inbox, answers, for_me, for_all) = match connected.await {
            Ok(connected) => connected,
            Err(why) => return Err((shared, why)),
        };
        let peers = nodes.nodes.iter().filter(|node| **node != me).map(|node| Peer::new(*node)).collect();
        let shard = |outlet| Shard {
            outlet,
            append: append::Latest::default(),
            reading: Reading::default(),
            answers: AnswerParts::default(),
            others: Vec::new(),
            leader_seen: None,
        };
        Ok(Driver {
            origin: config.origin,
            client,
            inbox,
            subjects,
            membership,
            peers,
            log_watch: LogWatch::new(outlets.len()),
            shards: outlets.into_iter().map(shard).collect(),
            shared,
            leaders,
            servers,
            detour: detour::Detour::default(),
            facts: nodes.facts,
            plan: config.plan,
            events,
            for_all,
            for_me,
            answers,
            connected_at: None,
            round_trip: RoundTrip::default(),
            told_replicated: true,
            told_draining: false,
            told_agreed: 0,
            orders: orders::Orders::default(),
        })
    }

    /// Until it is stopped.
    pub(crate) async fn run(
        mut self,
        mut from_stands: mpsc::Receiver<FromStand>,
        (mut to_nodes, mut asked): (mpsc::Receiver<ToNodes>, mpsc::Receiver<Asked>),
        mut stopped: oneshot::Receiver<()>,
    ) {
        let every = |period| {
            let mut interval = interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        let mut heartbeats = every(Duration::from_millis(HEARTBEAT_MS));
        let mut pings = every(PING_EVERY);
        let mut seconds = every(Duration::from_secs(1));
        let mut minutes = every(CHECK_EVERY);
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(event) = self.events.recv() => self.handle_event(&event),
                _ = heartbeats.tick() => {
                    self.send_heartbeat();
                    detour::go(&mut self);
                }
                _ = pings.tick() => self.send_pings(),
                _ = seconds.tick() => self.look_after(),
                _ = minutes.tick() => self.check(),
                Some(first) = from_stands.recv() => {
                    self.handle_stand(first);
                    for _ in 1..IN_A_ROW {
                        let Ok(next) = from_stands.try_recv() else { break };
                        self.handle_stand(next);
                    }
                }
                Some(order) = to_nodes.recv() => house::obey(&self, order),
                Some(asked) = asked.recv() => orders::ask(&mut self, asked),
                Some(message) = self.answers.next() => self.handle_answer(message),
                Some(message) = self.for_me.next() => self.handle_inbound(&message),
                Some(message) = self.for_all.next() => self.handle_inbound(&message),
            }
        }
        while let Ok(next) = from_stands.try_recv() {
            self.handle_stand(next);
        }
        if self.is_connected() {
            // What could not be sent in this time is lost, as with a cut connection.
            let _ = tokio::time::timeout(FLUSH_WITHIN, self.client.flush()).await;
        }
    }

    fn now(&self) -> OwnTime {
        OwnTime(self.origin.elapsed().as_millis() as u64)
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn handle_stand(&mut self, from: FromStand) {
        let FromStand { shard, message } = from;
        let bytes = weight(&message);
        let is_sent = match message {
            // Went another way (`wire`).
            ToWire::Report(_) => true,
            ToWire::AskAll(ask) => {
                self.publish_encoded(self.subjects.ask(shard), ask.encode_as(self.membership.version()))
            }
            ToWire::Outcome { order, outcome } => {
                orders::settle(self, order, &outcome);
                true
            }
            ToWire::Answer { to, answer } => {
                // With it go the reports that it follows from.
                self.send_heartbeat();
                let subject = self.subjects.answer(to, shard);
                encode_answer_as(&answer, self.membership.version_to(to))
                    .is_ok_and(|parts| parts.into_iter().all(|part| self.publish(subject.clone(), part)))
            }
            ToWire::Announce { term, position } => {
                let announce = Announce { term, position }.encode_as(self.membership.version());
                self.publish_encoded(self.subjects.announce(shard), announce)
            }
            ToWire::Append(append) => self.append(shard, append),
            ToWire::Read { from } => {
                self.read(shard, from);
                true
            }
            ToWire::Up { to, frame } => self.publish(self.subjects.up(to, shard), frame),
            ToWire::Down { to, frame } => self.publish(self.subjects.down(to, shard), frame),
        };
        self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if !is_sent {
            self.shared.counters.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn publish(&self, subject: String, payload: Bytes) -> bool {
        self.is_connected() && now_or_never(self.client.publish(subject, payload))
    }

    fn publish_encoded(&self, subject: String, payload: Result<Bytes, TooLong>) -> bool {
        payload.is_ok_and(|payload| self.publish(subject, payload))
    }

    fn request(&self, subject: String, reply: String, payload: impl Into<Bytes>) -> bool {
        self.is_connected() && now_or_never(self.client.publish_with_reply(subject, reply, payload.into()))
    }

    fn request_with_headers(
        &self,
        subject: String,
        reply: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> bool {
        let request = self.client.publish_with_reply_and_headers(subject, reply, headers, payload);
        self.is_connected() && now_or_never(request)
    }

    fn deliver(&self, shard: ShardId, message: FromWire) -> bool {
        let Some(known) = self.shards.get(usize::from(shard.0)) else {
            self.shared.counters.malformed.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let is_delivered = known.outlet.try_send(Arrived { at: self.now(), message }).is_ok();
        if !is_delivered {
            self.shared.counters.undelivered.fetch_add(1, Ordering::Relaxed);
        }
        is_delivered
    }

    /// To all stands; whether all of them took it.
    fn deliver_to_all(&self, message: &FromWire) -> bool {
        let mut took = 0;
        for shard in 0..self.shards.len() {
            took += usize::from(self.deliver(ShardId(shard as u16), message.clone()));
        }
        took == self.shards.len()
    }
}

/// Whether the client took it at once. It does unless its queue is full, which is when a server has not taken
/// anything for long.
fn now_or_never<T, E>(publishing: impl Future<Output = Result<T, E>>) -> bool {
    // Without the runtime's budget, which could say "later" though there is room.
    matches!(tokio::task::unconstrained(publishing).now_or_never(), Some(Ok(_)))
}
