//! Every table that strangers can fill, against the list in OPERATING: each is filled as far as strangers
//! can, and holds what the list says.
//!
//! Why by the list: a table that operators are not told of is one that nobody has bounded. A row of the list
//! without a test here, and a test without a row, fail.
//! Not here: rates (`limits`), what one connection is owed (`unread`).

use std::sync::Arc;

use grandstand_engine::ShardConfig;
use grandstand_engine::link::{AdminAnswer, AdminRequest, Output, UserId};
use grandstand_protocol::frame::{ClientFrame, Hello, History, Renew, Role, permission};

use super::super::Settings;
use super::super::expiry::STALE_MAX;
use super::super::reactions::{KINDS_MAX, KINDS_OF_ONE_MAX};
use super::harness::{EPOCH_MS, Harness, Plan, V};
use crate::admission::limits::{Address, ConnectionLimiter, ConnectionLimits};
use crate::admission::waiting::{Admission, Settings as LineSettings, Stage, WaitingLine};
use crate::auth::{Authorize, Denied, Expiry, Grant};
use crate::key::Key;
use crate::people::PeopleLimits;

/// The page with the list.
const OPERATING: &str = include_str!("../../../../../docs/OPERATING.md");

const HEADING: &str = "**What strangers can fill.**";

/// What a table holds after strangers did what they could, and the most that it may hold.
#[derive(Debug)]
struct Held {
    is: usize,
    max: usize,
}

type Fill = fn() -> Held;

/// Rows that are filled here.
const FILLED: [(&str, Fill); 16] = [
    ("connections, handshakes", connections),
    ("the last tenth of `limits.connections_max`", scarce_connections),
    ("connections before their session", waiting_connections),
    ("rooms", rooms),
    ("rooms of a session; requests to follow", rooms_of_a_session),
    ("state of a room; of all rooms", state),
    ("messages in memory; on disk", messages),
    ("publications of a tick; what waits for the disk", publications_of_a_tick),
    ("people whose limits are under use", people),
    ("places at an address", places),
    ("kinds of reactions", kinds_of_reactions),
    ("pages of history under way", pages_under_way),
    ("inputs that wait for a full shard", deferred_inputs),
    ("names of people with a role", staff),
    ("sessions that count by another connection", uncounted_sessions),
    ("tokens that will run out", expiries),
];

/// Rows that are filled by a test of their own: the file, and the function in it.
const ELSEWHERE: [(&str, &str, &str); 13] = [
    ("nonces", include_str!("../../../../../engine/src/room/nonces.rs"), "the_window_is_bounded_in_number"),
    ("people in slow mode", include_str!("../../../../../engine/src/room/slow_mode.rs"), "memory_is_bounded"),
    (
        "pages of the past for members that catch up",
        include_str!("unread.rs"),
        "who_catches_up_in_many_rooms_gets_all_of_each_and_the_rooms_take_turns",
    ),
    (
        "answers that wait for a connection",
        include_str!("unread.rs"),
        "what_a_connection_holds_is_bounded_whatever_it_asks_for_and_does_not_read",
    ),
    (
        "inputs to a shard",
        include_str!("../../../../../engine/tests/node.rs"),
        "with_queues_of_two_nothing_is_lost_either",
    ),
    (
        "who spoke lately in a paced room",
        include_str!("../../../../../engine/src/room/pacing/mentions.rs"),
        "memory_is_bounded_and_keeps_who_speaks",
    ),
    (
        "addresses without connections",
        include_str!("../../admission/limits.rs"),
        "addresses_vanish_when_they_are_quiet_and_are_capped_until_then",
    ),
    (
        "bans and revocations; from other nodes",
        include_str!("../../../../src/auth/bans.rs"),
        "the_table_is_bounded_and_a_known_subject_always_has_its_place",
    ),
    (
        "sessions that came and are not told yet",
        include_str!("../../people/tests.rs"),
        "sessions_that_came_are_bounded_until_they_are_told",
    ),
    ("sessions of a user", include_str!("../../people/tests.rs"), "a_user_has_as_many_sessions_as_it_may"),
    (
        "names of keys that tokens ask for and nobody publishes",
        include_str!("../../../../src/auth/tests/fetched.rs"),
        "names_without_end_cause_one_fetch_in_thirty_seconds",
    ),
    (
        "reports of a room; of one person",
        include_str!("../../../../../engine/src/moderation/reports.rs"),
        "a_person_reports_a_message_once_and_a_flood_is_bounded",
    ),
    (
        "paths of a QUIC connection",
        include_str!("../../../../src/quic/paths.rs"),
        "no_address_gets_more_than_three_times_what_came",
    ),
];

/// The first column of the list.
fn rows() -> Vec<&'static str> {
    let (_, list) = OPERATING.split_once(HEADING).expect("the list is there");
    let table =
        list.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|row| row.split('|').nth(1).expect("a column").trim()).collect()
}

#[test]
fn every_table_that_strangers_can_fill_is_listed_and_holds_its_bound() {
    let mut tested: Vec<&str> = FILLED.iter().map(|(row, _)| *row).collect();
    tested.extend(ELSEWHERE.iter().map(|(row, ..)| *row));
    let mut listed = rows();
    tested.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, tested, "the list of OPERATING, and what is tested");
    for (row, file, function) in ELSEWHERE {
        assert!(file.contains(&format!("fn {function}(")), "{row}: no {function}");
    }
    let held = FILLED.map(|(row, fill)| (row, fill()));
    let wrong: Vec<_> =
        held.iter().filter(|(_, held)| held.is > held.max || held.is * 2 <= held.max).collect();
    assert!(wrong.is_empty(), "over their bound, or not filled: {wrong:?}");
}

fn address(n: usize) -> Address {
    let [.., a, b, c] = n.to_be_bytes();
    Address::of([10, a, b, c].into())
}

fn limiter(connections_max: usize, connections_per_address_max: usize) -> ConnectionLimiter {
    let limits = ConnectionLimits {
        connections_max,
        connections_per_address_max,
        handshakes_per_address_per_s: 0,
        handshakes_per_address_burst: 0,
        loopback_exempt: false,
    };
    ConnectionLimiter::new(&limits, Key::from_seed(1))
}

/// One address cannot have more than its share, and all together no more than the node.
fn connections() -> Held {
    let limiter = limiter(1_000, 40);
    let come = |n: u8| {
        let from = std::net::IpAddr::from([n, n, n, n]);
        (0..60).filter(|_| limiter.try_acquire(from, 0).is_ok()).count()
    };
    assert_eq!(come(1), 40, "one address");
    (2..200).for_each(|n| {
        come(n);
    });
    Held { is: limiter.connections(), max: 1_000 }
}

fn scarce_connections() -> Held {
    let limiter = limiter(1_000, 0);
    for _ in 0..2_000 {
        let _ = limiter.try_acquire([10, 0, 0, 1].into(), 0).map(std::mem::forget);
    }
    Held { is: limiter.connections(), max: 900 }
}

fn waiting_connections() -> Held {
    let mut line = WaitingLine::new(LineSettings::of_size(64, 1_000_000), Key::from_seed(1));
    let mut waits = 0_usize;
    for n in 0..1_000_usize {
        waits += match line.admit(n, Some(address((n % 7) << 16 | n)), Stage::Silent, n as u64) {
            Admission::Admitted => 1,
            Admission::Replaces(_) | Admission::Refused => 0,
        };
    }
    Held { is: waits, max: 64 }
}

/// Strangers, each at an address of its own.
fn stranger(harness: &mut Harness, n: usize) -> V {
    harness.address = Some(address(n));
    harness.guest(0)
}

/// A number of the shard's.
fn counter(harness: &mut Harness, name: &str) -> usize {
    harness.turn();
    harness.administer("any", AdminRequest::Counters);
    let Some((_, Output::Admin(reply))) = harness.shards[0].poll_output() else { panic!("an answer") };
    let Ok(AdminAnswer::Counters(list)) = reply.answer else { panic!("counters") };
    list.iter().find(|(of, _)| *of == name).expect("a counter of this name").1 as usize
}

fn rooms() -> Held {
    let plan = Plan::default();
    let rooms =
        ShardConfig { rooms_max: 100, rooms_reserved_percent: 10, rooms_opened_max: 20, ..plan.rooms };
    let mut harness = Harness::new(&Plan { rooms, ..plan });
    for n in 0..20 {
        let v = stranger(&mut harness, n);
        for room in 0..30 {
            harness.subscribe(v, &format!("{n}/{room}"), None, 0);
        }
        harness.run_ms(20);
        assert!(n > 0 || counter(&mut harness, "rooms") == 20, "one person");
    }
    Held { is: counter(&mut harness, "rooms"), max: 90 }
}

fn rooms_of_a_session() -> Held {
    let plan = Plan::default();
    let max = plan.settings.rooms_per_session_max as usize;
    let mut harness = Harness::new(&plan);
    let v = stranger(&mut harness, 1);
    for room in 0..3 * max {
        harness.subscribe(v, &format!("room {room}"), None, 0);
        harness.run_ms(5);
    }
    let ix = harness.key(v).0;
    let session = harness.audiences[0].subscriptions.connections.session_mut(ix).expect("it stays");
    Held { is: session.memberships.len(), max }
}

fn state() -> Held {
    let plan = Plan::default();
    let rooms = ShardConfig { state_bytes_total_max: 100_000, ..plan.rooms };
    let mut harness = Harness::new(&Plan { rooms, ..plan });
    let v = stranger(&mut harness, 1);
    for room in 0..4 {
        let name = format!("room {room}");
        harness.subscribe(v, &name, None, 0);
        harness.run_ms(20);
        let alias = harness.alias(v, &name);
        for key in 0..100 {
            harness.set_state(v, alias, &format!("k{key}"), Some(&[7; 900]));
        }
        harness.run_ms(50);
    }
    // A tenth is for operators.
    Held { is: counter(&mut harness, "state_bytes"), max: 90_000 }
}

fn messages() -> Held {
    let plan = Plan::default();
    let rooms = ShardConfig { history_bytes_max: 60_000, history_bytes_total_max: 100_000, ..plan.rooms };
    let mut harness = Harness::new(&Plan { rooms, ..plan });
    let v = stranger(&mut harness, 1);
    let text = "x".repeat(1_900);
    for room in 0..3 {
        let name = format!("room {room}");
        harness.subscribe(v, &name, None, 0);
        harness.run_ms(20);
        let alias = harness.alias(v, &name);
        for nonce in 0..200 {
            harness.say_again(v, alias, room * 1_000 + nonce, &format!("{nonce} {text}"));
            harness.run_ms(20);
        }
    }
    Held { is: counter(&mut harness, "history_bytes"), max: 100_000 }
}

fn publications_of_a_tick() -> Held {
    let plan = Plan::default();
    let rooms = ShardConfig { pending_messages_max: 50, tick_ms: 1_000, leading_edge: false, ..plan.rooms };
    let mut harness = Harness::new(&Plan { rooms, ..plan });
    let v = stranger(&mut harness, 1);
    harness.subscribe(v, "r", None, 0);
    harness.run_ms(20);
    let alias = harness.alias(v, "r");
    for nonce in 0..200 {
        harness.say_again(v, alias, nonce, &format!("{nonce}"));
    }
    harness.turn();
    Held { is: harness.viewers[v.0].published().len(), max: 50 }
}

fn people() -> Held {
    let people = PeopleLimits { remembered_max: 640, ..PeopleLimits::for_tests() };
    let settings =
        Settings { publish: super::super::Rate { per_s: 1, burst: 10 }, ..Plan::default().settings };
    let mut harness = Harness::new(&Plan { people, settings, ..Plan::default() });
    for n in 0..2_000 {
        let v = stranger(&mut harness, n);
        harness.subscribe(v, "r", None, 0);
        harness.turn();
        let alias = harness.alias(v, "r");
        harness.say(v, alias);
        harness.cut(v);
    }
    Held { is: harness.audiences[0].subscriptions.people.remembered(), max: 640 }
}

/// Many sessions at one address have the publications of as many people as there are places.
fn places() -> Held {
    let people = PeopleLimits { places_per_address: 4, ..PeopleLimits::for_tests() };
    let settings =
        Settings { publish: super::super::Rate { per_s: 1, burst: 10 }, ..Plan::default().settings };
    let mut harness = Harness::new(&Plan { people, settings, ..Plan::default() });
    let all: Vec<V> = (0..20).map(|_| stranger(&mut harness, 1)).collect();
    let mut published = 0;
    for v in all {
        harness.subscribe(v, "r", None, 0);
        harness.turn();
        let alias = harness.alias(v, "r");
        (0..20).for_each(|_| {
            harness.say(v, alias);
        });
        harness.turn();
        published += harness.viewers[v.0].published().len();
    }
    Held { is: published, max: 4 * 10 }
}

fn kinds_of_reactions() -> Held {
    let mut harness = Harness::new(&Plan::default());
    let all: Vec<V> = (0..20).map(|n| stranger(&mut harness, n)).collect();
    for v in &all {
        harness.subscribe(*v, "r", None, 0);
    }
    harness.run_ms(50);
    let alias = harness.alias(all[0], "r");
    let kinds = |harness: &Harness| -> usize {
        let rooms = &harness.audiences[0].subscriptions.rooms;
        rooms.slab.iter().map(|(_, room)| room.reactions.kinds()).sum()
    };
    // Reconnects and further connections of one address bring no more.
    for again in 0..4 {
        let v = if again == 0 { all[0] } else { stranger(&mut harness, 0) };
        harness.subscribe(v, "r", None, 0);
        harness.turn();
        (0..100).for_each(|n| harness.react(v, alias, &format!("{again}/{n}"), 1));
    }
    assert!(kinds(&harness) <= KINDS_OF_ONE_MAX, "one address brought {}", kinds(&harness));
    for v in &all[1..] {
        (0..100).for_each(|n| harness.react(*v, alias, &format!("{}/{n}", v.0), 1));
    }
    Held { is: kinds(&harness), max: KINDS_MAX }
}

fn pages_under_way() -> Held {
    let mut harness = Harness::new(&Plan::default());
    let talker = stranger(&mut harness, 0);
    harness.subscribe(talker, "r", None, 0);
    harness.run_ms(20);
    harness.talk(talker, "r", 5);
    let epoch = harness.viewers[talker.0].room("r").at.epoch;
    let alias = harness.alias(talker, "r");
    let all: Vec<V> = (1..300).map(|n| stranger(&mut harness, n)).collect();
    for v in &all {
        harness.subscribe(*v, "r", None, 0);
    }
    harness.run_ms(50);
    harness.hold_outputs = true;
    for v in all {
        for _ in 0..4 {
            let request = harness.viewers[v.0].next_request();
            harness.send(v, &ClientFrame::History(History { request, alias, epoch, from: 0, count_max: 1 }));
        }
    }
    harness.turn();
    Held { is: harness.audiences[0].subscriptions.pages.asked(), max: 256 }
}

/// Strangers who come, open a room and leave, while no shard takes an input.
fn deferred_inputs() -> Held {
    let mut harness = Harness::new(&Plan::default());
    harness.set_full(true);
    for n in 0..3_000 {
        let v = stranger(&mut harness, n);
        harness.subscribe(v, &format!("new {n}"), None, 0);
        harness.turn();
        harness.cut(v);
    }
    Held { is: harness.audiences[0].subscriptions.shards.deferred(), max: 1_024 }
}

/// Everybody is a host, under the name that it wishes and a token that runs out.
#[derive(Debug)]
struct Hosts;

impl Authorize for Hosts {
    fn authorize(&self, token: &str, wished_name: &str, _now_unix_ms: u64) -> Result<Grant, Denied> {
        let grant = Grant::without_token(wished_name, permission::PUBLISH);
        let left_ms: Option<u64> = token.parse().ok();
        let expiry = left_ms.map(|ms| Expiry { expires_unix_ms: EPOCH_MS + ms, leeway_ms: 0 });
        Ok(Grant { role: Role::Host, user: Some(UserId(7)), expiry, ..grant })
    }
}

fn host(harness: &mut Harness, token: &str, name: &str) -> V {
    let v = harness.enter(0);
    harness.send(v, &ClientFrame::Hello(Hello { token, name, ..Hello::default() }));
    harness.turn();
    v
}

fn staff() -> Held {
    let mut harness = Harness::new(&Plan { authority: Arc::new(Hosts), ..Plan::default() });
    for n in 0..200 {
        // A name with signs is taken for several others.
        let v = host(&mut harness, "", &format!("h0st {n}!"));
        harness.subscribe(v, "r", None, 0);
        harness.turn();
    }
    let rooms = &harness.audiences[0].subscriptions.rooms;
    Held { is: rooms.slab.iter().map(|(_, room)| room.staff.len()).sum(), max: 256 }
}

/// One ticket on many connections, which come and go.
fn uncounted_sessions() -> Held {
    let mut harness = Harness::new(&Plan::default());
    let first = stranger(&mut harness, 1);
    harness.subscribe(first, "r", None, 0);
    harness.run_ms(20);
    let ticket = harness.viewers[first.0].ticket.clone();
    let mut open = Vec::new();
    for _ in 0..200 {
        let v = harness.enter(0);
        harness.viewers[v.0].ticket = ticket.clone();
        harness.hello(v);
        harness.subscribe(v, "r", None, 0);
        harness.run_ms(5);
        open.push(v);
        if open.len() > 20 {
            harness.cut(open.remove(0));
        }
    }
    harness.run_ms(3_000);
    let subscriptions = &harness.audiences[0].subscriptions;
    Held {
        is: subscriptions.uncounted.len(),
        max: subscriptions.rooms.slab.iter().map(|(_, r)| r.members.len()).sum(),
    }
}

/// Sessions of tokens that run out in a year, which come and go, and renew them for a shorter one each time.
fn expiries() -> Held {
    const YEAR_MS: u64 = 31_536_000_000;
    let mut harness = Harness::new(&Plan { authority: Arc::new(Hosts), ..Plan::default() });
    let stays = host(&mut harness, &YEAR_MS.to_string(), "stays");
    let mut most = 0;
    for n in 0..2 * STALE_MAX as u64 {
        let v = host(&mut harness, &YEAR_MS.to_string(), "goes");
        harness.cut(v);
        let token = (YEAR_MS - 1_000 * n).to_string();
        harness.send(stays, &ClientFrame::Renew(Renew { request: n as u32, token: &token }));
        harness.turn();
        most = most.max(harness.audiences[0].endings.len());
    }
    // Nobody is forgotten: the one who stays is told and ended.
    assert!(harness.audiences[0].poll_timeout() < u64::MAX && harness.is_connected(stays));
    harness.us += (YEAR_MS + 60_000) * 1_000;
    let now = harness.now();
    harness.audiences[0].end_expired(now);
    assert_eq!(harness.audiences[0].endings.len(), 0);
    Held { is: most, max: STALE_MAX + 4 }
}

#[test]
fn an_operator_has_rooms_where_strangers_have_filled_theirs() {
    let plan = Plan::default();
    let rooms = ShardConfig { rooms_max: 20, rooms_reserved_percent: 10, ..plan.rooms };
    let mut harness = Harness::new(&Plan { rooms, ..plan });
    for n in 0..40 {
        let v = stranger(&mut harness, n);
        harness.subscribe(v, &format!("room {n}"), None, 0);
        harness.turn();
    }
    assert_eq!(counter(&mut harness, "rooms"), 18);
    let settings = grandstand_engine::RoomSettings::default();
    harness.administer("operator's", AdminRequest::Create { room: "operator's".into(), settings });
    assert_eq!(counter(&mut harness, "rooms"), 19);
}
