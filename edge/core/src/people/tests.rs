//! Tests of people: whatever one person does, it is one person's allowance; many at one address do not starve
//! each other.
//!
//! Why as properties: no list of tricks (reconnects, tickets, several connections) is complete.

use grandstand_engine::link::{Now, UserId};
use proptest::prelude::*;

use super::*;

const RATE: Rate = Rate { per_s: 5, burst: 10 };

fn people(places_per_address: u32) -> People {
    People::new(PeopleLimits { places_per_address, ..PeopleLimits::for_tests() }, Key::from_seed(3))
}

fn at(ms: u64) -> Now {
    Now { us: ms * 1000, unix_ms: 0 }
}

fn ip(text: &str) -> Address {
    Address::of(text.parse().unwrap())
}

fn publish(people: &People, now: Now, person: &mut Person) -> bool {
    people.take(now, person, (Limited::Publications, RATE), 1).expect("remembered").is_ok()
}

#[test]
fn an_address_is_ipv4_or_a_slash_64() {
    let people = people(4);
    let block = |text| people.block(ip(text));
    assert_eq!(block("192.0.2.1"), block("::ffff:192.0.2.1"));
    assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:2"));
    let others = ["192.0.2.1", "192.0.2.2", "2001:db8::", "2001:db8:0:1::", "::192.0.2.1"].map(block);
    for (n, one) in others.iter().enumerate() {
        assert!(others[n + 1..].iter().all(|other| other != one), "{n}");
    }
    let elsewhere = People::new(PeopleLimits::for_tests(), Key::from_seed(4));
    assert_ne!(block("192.0.2.1"), elsewhere.block(ip("192.0.2.1")), "nobody outside can tell");
}

#[test]
fn who_reconnects_without_a_ticket_is_where_it_was() {
    let people = people(4);
    let block = people.block(ip("192.0.2.1"));
    let mut accepted = 0;
    for session in 1..=1000 {
        let mut person = people.enter(None, session, block);
        accepted += (0..10).filter(|_| publish(&people, at(1000), &mut person)).count();
        people.leave(&person);
    }
    assert_eq!(accepted, 10);
    assert!(people.places.is_empty(), "an address without sessions is not remembered");
}

#[test]
fn people_behind_one_address_have_allowances_of_their_own_up_to_a_bound() {
    let people = people(4);
    let block = people.block(ip("192.0.2.1"));
    let persons: Vec<_> = (1..=8).map(|session| people.enter(None, session, block)).collect();
    let accepted = |mut person| (0..20).filter(|_| publish(&people, at(1000), &mut person)).count();
    let each: Vec<_> = persons.iter().copied().map(accepted).collect();
    assert_eq!(each, [10, 10, 10, 10, 0, 0, 0, 0], "four places, two sessions at each");
    let other = people.enter(None, 9, people.block(ip("192.0.2.2")));
    assert_eq!(accepted(other), 10);
    let named = people.enter(Some(UserId(5)), 10, block);
    assert_eq!(accepted(named), 10, "a named user is not one of its address");
}

#[test]
fn people_behind_a_silent_proxy_have_allowances_of_their_own_without_a_bound() {
    let people = people(4);
    let block = people.block_behind(ip("192.0.2.1"));
    assert_ne!(block, people.block(ip("192.0.2.1")), "the proxy itself is another");
    let mut persons: Vec<_> = (1..=40).map(|session| people.enter(None, session, block)).collect();
    let accepted = |person: &mut _| (0..20).filter(|_| publish(&people, at(1000), person)).count();
    assert!(persons.iter_mut().all(|person| accepted(person) == 10));
    // Who reconnects is where somebody was, and nothing is owed less.
    for session in 41..=80 {
        people.leave(&persons[7]);
        persons[7] = people.enter(None, session, block);
        assert_eq!(accepted(&mut persons[7]), 0);
    }
    persons.iter().for_each(|person| people.leave(person));
    assert!(people.places.is_empty());
}

#[test]
fn more_people_than_are_remembered_have_their_connections_limits() {
    let limits = PeopleLimits { remembered_max: PARTS, ..PeopleLimits::for_tests() };
    let people = People::new(limits, Key::from_seed(1));
    let take = |user, ms| {
        let mut person = people.enter(Some(UserId(user)), user, AddressBlock::default());
        people.take(at(ms), &mut person, (Limited::Pages, RATE), 1)
    };
    let remembered = (1..=10_000).filter(|&user| take(user, 1000).is_some()).count();
    assert!(remembered <= PARTS && people.allowances.len() == remembered, "{remembered}");
    // A token is back after 200 ms, and then nobody is remembered.
    assert!((1..=10_000).filter(|&user| take(user, 3000).is_some()).count() > PARTS / 2);
    assert!(people.allowances.len() <= PARTS);
}

#[test]
fn one_connection_of_a_session_counts_in_a_room() {
    let people = people(4);
    assert!(people.watch(1, 7) && !people.watch(1, 7) && people.watch(1, 8) && people.watch(2, 7));
    assert!(!people.claim(1, 7), "the first counts");
    people.unwatch(1, 7, true);
    assert!(people.claim(1, 7) && !people.claim(1, 7));
    people.unwatch(1, 7, true);
    assert!(!people.claim(1, 7), "nobody is left");
    people.unwatch(1, 8, true);
    people.unwatch(2, 7, true);
    assert!(people.watching.is_empty());
}

/// What one person does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A new connection, with the ticket of an earlier session or without one.
    Connect {
        ticket: Option<usize>,
    },
    /// A connection ends.
    Leave(usize),
    /// Publications over a connection.
    Publish(usize, u8),
    Wait {
        ms: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::option::of(0usize..20).prop_map(|ticket| Step::Connect { ticket }),
        2 => (0usize..20).prop_map(Step::Leave),
        4 => (0usize..20, 1u8..30).prop_map(|(which, count)| Step::Publish(which, count)),
        2 => (1u16..3000).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// Most publications that are accepted within any time, beside what a burst and the rate allow.
fn check(steps: &[Step], user: Option<UserId>, places: u32) -> Result<(), TestCaseError> {
    let people = people(places);
    let block = people.block(ip("192.0.2.1"));
    let (mut ms, mut newest) = (1000, 0);
    let (mut open, mut sessions) = (Vec::new(), Vec::new());
    let mut accepted: Vec<u64> = Vec::new();
    let mut most_open = 1;
    for step in steps {
        match *step {
            Step::Connect { ticket } => {
                let session = ticket.and_then(|at| sessions.get(at).copied()).unwrap_or_else(|| {
                    newest += 1;
                    sessions.push(newest);
                    newest
                });
                open.push(people.enter(user, session, block));
            }
            Step::Leave(at) if at < open.len() => people.leave(&open.swap_remove(at)),
            Step::Publish(at, count) if at < open.len() => {
                let taken = (0..count).filter(|_| publish(&people, at_ms(ms), &mut open[at])).count();
                accepted.extend(std::iter::repeat_n(ms, taken));
            }
            Step::Wait { ms: passed } => ms += u64::from(passed),
            Step::Leave(_) | Step::Publish(..) => {}
        }
        most_open = most_open.max(open.len());
    }
    let persons = if user.is_some() { 1 } else { most_open.min(places as usize) as u64 };
    for (first, from) in accepted.iter().enumerate() {
        for (last, to) in accepted.iter().enumerate().skip(first) {
            let count = (last - first + 1) as u64;
            let allowed = u64::from(RATE.burst) * 1000 + u64::from(RATE.per_s) * (to - from);
            prop_assert!(count * 1000 <= persons * allowed, "{count} from {from} to {to}, {persons} places");
        }
    }
    Ok(())
}

fn at_ms(ms: u64) -> Now {
    at(ms)
}

proptest! {
    #[test]
    fn a_named_user_has_one_allowance_whatever_it_does(steps in prop::collection::vec(step(), 1..80)) {
        check(&steps, Some(UserId(9)), 4)?;
    }

    #[test]
    fn an_address_has_as_many_allowances_as_people_at_once(
        steps in prop::collection::vec(step(), 1..80), places in 1u32..6,
    ) {
        check(&steps, None, places)?;
    }
}

/// Nodes of a cluster, which tell each other five times a second.
fn tell(nodes: &[People], now: Now) {
    for (n, from) in nodes.iter().enumerate() {
        let taken = from.take_taken();
        let others = nodes.iter().enumerate().filter(|(other, _)| *other != n);
        others.for_each(|(_, to)| to.owe(now, &taken, &[RATE; KINDS]));
    }
}

proptest! {
    /// Over three nodes, whatever a person does: by all at once, from one to the next, with tickets or not.
    #[test]
    fn over_nodes_a_person_gets_a_burst_for_each_and_then_the_rate(
        is_named: bool,
        moves in prop::collection::vec((0..3_usize, 1..40_u64, 1..30_u32, any::<bool>()), 200..400),
    ) {
        let nodes = [people(1), people(1), people(1)];
        let user = is_named.then_some(UserId(9));
        let block = nodes[0].block(ip("192.0.2.1"));
        let mut persons: Vec<Person> = nodes.iter().map(|node| node.enter(user, 5, block)).collect();
        let (mut ms, mut told_ms, mut accepted, mut session) = (0, 0, 0_u64, 5);
        for (node, step_ms, tries, is_new) in moves {
            ms += step_ms;
            while told_ms + 200 <= ms {
                told_ms += 200;
                tell(&nodes, at(told_ms));
            }
            if is_new {
                nodes[node].leave(&persons[node]);
                session += 1;
                persons[node] = nodes[node].enter(user, session, block);
            }
            accepted += (0..tries).filter(|_| publish(&nodes[node], at(ms), &mut persons[node])).count() as u64;
        }
        let (burst, rate) = (u64::from(RATE.burst), u64::from(RATE.per_s));
        // A burst for each node, the rate, and what nodes give between two messages.
        let most = 3 * burst + rate * ms / 1_000 + 3 * rate / 5 + 3;
        prop_assert!(accepted <= most, "{accepted} of {most} in {ms} ms");
    }
}

#[test]
fn whoever_is_at_one_node_loses_nothing_by_the_others() {
    let nodes = [people(64), people(64), people(64)];
    let mut person = nodes[0].enter(Some(UserId(9)), 1, nodes[0].block(ip("192.0.2.1")));
    let mut other = nodes[1].enter(Some(UserId(8)), 2, nodes[1].block(ip("192.0.2.1")));
    let (mut accepted, mut of_other) = (0, 0);
    for ms in 0..20_000 {
        if ms % 200 == 0 {
            tell(&nodes, at(ms));
        }
        accepted += u32::from(publish(&nodes[0], at(ms), &mut person));
        of_other += u32::from(ms % 250 == 0 && publish(&nodes[1], at(ms), &mut other));
    }
    assert_eq!((accepted, of_other), (10 + 5 * 20 - 1, 80));
    // Who has left one node owes at the next what it took.
    let mut moved = nodes[2].enter(Some(UserId(9)), 3, nodes[2].block(ip("192.0.2.7")));
    tell(&nodes, at(20_000));
    assert!(!publish(&nodes[2], at(20_000), &mut moved));
    assert!(publish(&nodes[2], at(22_500), &mut moved));
}

#[test]
fn what_nodes_tell_of_is_bounded_and_nothing_is_told_twice() {
    let node = people(64);
    node.take_returned();
    for n in 0..3 * SHARED_MAX as u64 {
        let mut person = node.enter(Some(UserId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))), n, AddressBlock(0));
        assert!(publish(&node, at(1), &mut person));
        node.note_returned(n);
    }
    let (mut taken, mut returned) = (0, Vec::new());
    for _ in 0..3 {
        let (some, sessions) = (node.take_taken(), node.take_returned());
        assert_eq!((some.len(), sessions.len()), (SHARED_MAX, SHARED_MAX));
        taken += some.iter().map(|one| usize::from(one.tokens)).sum::<usize>();
        returned.extend(sessions);
    }
    returned.sort_unstable();
    assert_eq!((taken, returned), (3 * SHARED_MAX, (0..3 * SHARED_MAX as u64).collect::<Vec<_>>()));
    assert!(node.take_taken().is_empty() && node.take_returned().is_empty());
    let bridge = node.enter(Some(UserId(1)), 1, AddressBlock(0));
    assert!(publish(&node, at(9_000), &mut bridge.as_bridge(true)));
    assert!(node.take_taken().is_empty(), "a bridge's rate is another");
}

#[test]
fn sessions_that_came_are_bounded_until_they_are_told() {
    let node = people(64);
    node.take_returned();
    (0..33 * SHARED_MAX as u64).for_each(|n| node.note_returned(n));
    let told = std::iter::from_fn(|| Some(node.take_returned().len()).filter(|count| *count > 0));
    assert_eq!(told.sum::<usize>(), 32 * SHARED_MAX);
}

/// Whatever sessions begin and end, on however many connections, a user has at most as many as it may; a
/// session that is inside is never kept out, and nobody is remembered who is gone.
#[test]
fn a_user_has_as_many_sessions_as_it_may() {
    let limits = PeopleLimits { sessions_per_user: 3, ..PeopleLimits::for_tests() };
    let people = People::new(limits, Key::from_seed(3));
    let mut random = grandstand_protocol::random::Random::new(5);
    let mut model: Vec<(u64, u64)> = Vec::new();
    for _ in 0..20_000 {
        let (user, session) = (random.below(4), random.below(7));
        if random.below(2) == 0 {
            let mut others: Vec<u64> = model.iter().filter(|one| one.0 == user).map(|one| one.1).collect();
            others.sort_unstable();
            others.dedup();
            let is_exempt = random.below(20) == 0;
            let may = others.contains(&session) || others.len() < 3 || is_exempt;
            assert_eq!(people.begin_session(UserId(user), session, is_exempt), may, "{others:?}");
            model.extend(may.then_some((user, session)));
        } else if !model.is_empty() {
            let (user, session) = model.swap_remove(random.below(model.len() as u64) as usize);
            people.end_session(UserId(user), session);
        }
    }
    model.drain(..).for_each(|(user, session)| people.end_session(UserId(user), session));
    assert!(people.sessions.is_empty());
}
