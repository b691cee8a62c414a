//! Three seats of one shard over real servers: the owner is killed again and again.
//!
//! Why: the simulation plays a log that is nastier than JetStream, but it is not JetStream.
//! Invariants: what an owner was told to be kept is in the log, once and in order, whoever died since.
//! Not here: entries that the other nodes show (frames of links), so what was not kept may be lost.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use grandstand_cluster::appender::AppenderConfig;
use grandstand_cluster::id::{Incarnation, NodeId, Position, Term};
use grandstand_cluster::membership::{self, Membership, Versions};
use grandstand_cluster::record::{Body, Chain, ChainHead, Verdict};
use grandstand_cluster::seat::{Output, Seat, handle_ends};
use grandstand_cluster::stand::{FromWire, ToWire};
use grandstand_cluster::time::OwnTime;
use grandstand_engine::link::ShardId;
use grandstand_nats::{Config, Nats};
use grandstand_queue::{inbox, thread_bell};
use support::{Node, cluster, config, facts};

const SHARD: ShardId = ShardId(0);
const KILLS: usize = 20;
/// Between two entries that an owner seals.
const PUSH_EVERY_MS: u64 = 10;

#[derive(Default)]
struct World {
    next: u64,
    /// Numbers of entries that an owner was told to be kept, by term and index.
    kept: BTreeMap<(Term, u64), u64>,
    owner: Option<(NodeId, Term, Instant)>,
    /// When something was kept last.
    kept_at: Option<Instant>,
}

struct Member {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<ChainHead>,
}

fn start(config: Config, id: u8, life: u64, head: ChainHead, world: Arc<Mutex<World>>) -> Member {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || live(config, id, life, head, &world, &stopped));
    Member { stop, thread }
}

fn live(
    config: Config,
    id: u8,
    life: u64,
    head: ChainHead,
    world: &Mutex<World>,
    stopped: &AtomicBool,
) -> ChainHead {
    let of = membership::Config {
        me: NodeId(id),
        incarnation: Incarnation(life),
        nodes: (0..3).map(NodeId).collect(),
        facts: facts(1),
        versions: Versions { min: 1, max: 1 },
    };
    let origin = config.origin;
    let now = || OwnTime(origin.elapsed().as_millis() as u64);
    let mut membership = Membership::new(now(), of.clone()).expect("three nodes");
    let (bell, mut parker) = thread_bell();
    let (outlet, mut arrived) = inbox(8_192, bell);
    let nats = Nats::start(config, of, vec![outlet]).expect("it starts");
    let mut wire = nats.wire(SHARD);
    let mut seat = Seat::new(AppenderConfig::default(), SHARD, head, &membership);
    let mut reported = None;
    let mut pushed = BTreeMap::new();
    let mut next_push = now();
    while !stopped.load(Ordering::Relaxed) {
        while let Some(news) = arrived.pop() {
            let at = news.at;
            match news.message {
                FromWire::Heartbeat(heartbeat) => {
                    if membership.handle_heartbeat(at, &heartbeat).is_ok() {
                        seat.handle_heartbeat(&heartbeat, &membership);
                    }
                }
                FromWire::Ask(ask) => seat.handle_ask(at, &ask, &membership),
                FromWire::Answer(answer) => seat.handle_answer(answer),
                FromWire::Announce { position, .. } => seat.handle_announce(position),
                FromWire::Pong(node) => membership.handle_pong(node),
                FromWire::NoResponders(node) => membership.handle_no_responders(at, node),
                FromWire::Reply { attempt, reply } => seat.handle_reply(at, attempt, reply, &membership),
                FromWire::Ends { first, end, renewed } => {
                    handle_ends(&mut seat, at, (first, end), renewed, &membership);
                }
                FromWire::Read { messages, end, .. } => seat.handle_read(at, &messages, end, &membership),
                FromWire::Up(_)
                | FromWire::Down(_)
                | FromWire::HandOver { .. }
                | FromWire::Drain(_)
                | FromWire::Withdraw
                | FromWire::Agreed(_)
                | FromWire::Replicated(_) => {}
            }
        }
        let time = now();
        let mine = [seat.report(time)];
        seat.poll(time, &membership, &mine);
        if seat.acts_under(time).is_some() && time >= next_push {
            next_push = time.plus(PUSH_EVERY_MS);
            let number = {
                let mut world = world.lock().unwrap();
                world.next += 1;
                world.next
            };
            let entry = [&8_u32.to_le_bytes()[..], &number.to_le_bytes()].concat();
            if let Ok(place) = seat.push(time, Bytes::from(entry)) {
                pushed.insert(place, number);
            }
            seat.poll(time, &membership, &mine);
        }
        let report = seat.report(time);
        if reported != Some(report) {
            reported = Some(report);
            wire.send(ToWire::Report(report));
        }
        while let Some(output) = seat.next_output() {
            match output {
                Output::AskAll(ask) => wire.send(ToWire::AskAll(ask)),
                Output::Answer { to, answer } => wire.send(ToWire::Answer { to, answer }),
                Output::Read { from } => wire.send(ToWire::Read { from }),
                Output::Append(append) => wire.send(ToWire::Append(append)),
                Output::Announce { term, position } => wire.send(ToWire::Announce { term, position }),
                Output::Own { term } => {
                    world.lock().unwrap().owner = Some((NodeId(id), term, Instant::now()));
                }
                Output::Kept { term, through, .. } => {
                    let kept: Vec<_> = pushed.iter().map(|(place, number)| (*place, *number)).collect();
                    let kept = kept.into_iter().filter(|((of, index), _)| *of == term && *index <= through);
                    let mut world = world.lock().unwrap();
                    world.kept.extend(kept);
                    world.kept_at = Some(Instant::now());
                    pushed.retain(|(of, index), _| *of != term || *index > through);
                }
                _ => {}
            }
        }
        let acts = seat.acts_under(now()).is_some();
        let due = seat.due(now(), &membership);
        let due = if acts { due.min(next_push) } else { due };
        let wait = Duration::from_millis(due.since(now()).clamp(1, 50));
        parker.park_timeout(Some(wait), || !arrived.is_empty());
    }
    // The copy of a node outlives its process.
    *seat.chain().head()
}

#[test]
fn load_an_owner_that_is_killed_is_replaced_and_nothing_kept_is_lost() {
    let Some(servers) = cluster(3, 1) else { return };
    let world = Arc::new(Mutex::new(World::default()));
    let begin = |id, life, head| start(config(&servers), id, life, head, world.clone());
    let mut members: Vec<Option<Member>> =
        (0..3).map(|id| Some(begin(id, 1, ChainHead::default()))).collect();
    let wait = |what: &str, is_so: &dyn Fn(&World) -> bool| {
        let began = Instant::now();
        while !is_so(&world.lock().unwrap()) {
            assert!(began.elapsed() < Duration::from_secs(20), "not in time: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let (mut owned_ms, mut kept_ms) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        wait("an owner whose entries are kept", &|world| {
            let since = world.owner.map(|(.., since)| since);
            since.is_some_and(|since| world.kept_at.is_some_and(|kept| kept > since))
        });
        // Long enough for the last one's next life to make promises.
        std::thread::sleep(Duration::from_millis(1_900 + (kill as u64 * 37) % 200));
        let (owner, term, _) = world.lock().unwrap().owner.expect("there is one");
        let member = members[usize::from(owner.0)].take().expect("it lives");
        let killed = Instant::now();
        member.stop.store(true, Ordering::Relaxed);
        let head = member.thread.join().expect("it does not panic");
        wait("another owner", &|world| world.owner.is_some_and(|(_, next, _)| next > term));
        let (_, _, since) = world.lock().unwrap().owner.expect("just seen");
        owned_ms.push(since.saturating_duration_since(killed).as_millis());
        wait("something kept", &|world| world.kept_at.is_some_and(|kept| kept > since));
        let kept_at = world.lock().unwrap().kept_at.expect("just seen");
        kept_ms.push(kept_at.saturating_duration_since(killed).as_millis());
        members[usize::from(owner.0)] = Some(begin(owner.0, kill as u64 + 2, head));
    }
    for member in members.into_iter().flatten() {
        member.stop.store(true, Ordering::Relaxed);
        member.thread.join().expect("it does not panic");
    }
    owned_ms.sort_unstable();
    kept_ms.sort_unstable();
    eprintln!("ms from a kill to the next owner {owned_ms:?}, to the next kept entry {kept_ms:?}");

    let mut reader = Node::start(config(&servers), 0, 1);
    let mut chain = Chain::new(SHARD);
    let mut log = Vec::new();
    for (position, bytes) in reader.read_all(0, 1) {
        let Ok(Verdict::Valid(record)) = chain.judge(position, &bytes) else { continue };
        let entries = match &record.body {
            Body::Entries(entries) => entries,
            Body::Term(body) => &body.adopted,
            Body::Unknown { .. } => panic!("nobody writes such a record"),
        };
        log.extend(entries.iter().map(|entry| u64::from_le_bytes(entry[4..].try_into().unwrap())));
    }
    let world = world.lock().unwrap();
    let kept: Vec<u64> = world.kept.values().copied().collect();
    assert!(kept.len() > KILLS * 10, "{} entries were kept", kept.len());
    let is_rising = |numbers: &[u64]| numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(is_rising(&log), "in order, and none twice");
    let missing: Vec<&u64> = kept.iter().filter(|number| log.binary_search(number).is_err()).collect();
    assert_eq!(missing, Vec::<&u64>::new(), "of {} kept", kept.len());
    assert!(chain.head().position >= Position(KILLS as u64));
    assert!(owned_ms[KILLS / 2] < 1_000, "the median: {owned_ms:?}");
    assert!(owned_ms[KILLS - 1] < 5_000, "the longest: {owned_ms:?}");
}
