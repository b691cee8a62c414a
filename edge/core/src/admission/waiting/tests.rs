//! Tests of the waiting line: its shares by chosen arrivals, its bounds by random ones, and a lock-out in
//! virtual time.
//!
//! Why virtual: an attack takes a minute, and its outcome must not depend on the machine.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use grandstand_protocol::random::Random;

use super::lines::WaitingLines;
use super::*;

const KEY: Key = Key::from_seed(3);
const SECOND_US: u64 = 1_000_000;

fn ip(a: u8, b: u8, c: u8, d: u8) -> Option<Address> {
    Some(Address::of(IpAddr::V4(Ipv4Addr::new(a, b, c, d))))
}

fn line(places_max: usize) -> WaitingLine<u64> {
    WaitingLine::new(Settings::of_size(places_max, SECOND_US), KEY)
}

#[test]
fn one_address_holds_a_quarter_and_one_neighbourhood_half() {
    let mut line = line(16);
    let mut admit = |key, address| line.admit(key, address, Stage::Silent, 0);
    (0..4).for_each(|key| assert_eq!(admit(key, ip(192, 0, 2, 1)), Admission::Admitted));
    assert_eq!(admit(9, ip(192, 0, 2, 1)), Admission::Refused, "all of its own are young");
    (4..8).for_each(|key| assert_eq!(admit(key, ip(192, 0, 2, 2)), Admission::Admitted));
    // Its neighbourhood holds half: it takes the place of whoever holds most there, whatever their age.
    assert_eq!(admit(8, ip(192, 0, 2, 3)), Admission::Replaces(4));
    assert_eq!(admit(9, ip(192, 0, 3, 1)), Admission::Admitted);
    let later = line.admit(10, ip(192, 0, 2, 1), Stage::Silent, SECOND_US);
    assert_eq!(later, Admission::Replaces(0), "the oldest of its own");
    assert_eq!(line.len(), 9);
    let mut line = self::line(16);
    (0..8).for_each(|key| {
        assert_eq!(line.admit(key, ip(192, 0, 2, key as u8), Stage::Silent, 0), Admission::Admitted);
    });
    assert_eq!(
        line.admit(8, ip(192, 0, 2, 8), Stage::Silent, 0),
        Admission::Refused,
        "all there hold as much"
    );
    assert_eq!(
        line.admit(8, ip(192, 0, 2, 8), Stage::Silent, SECOND_US),
        Admission::Replaces(7),
        "one that is old"
    );
}

#[test]
fn a_full_node_takes_the_place_of_whoever_holds_more_and_of_the_old() {
    let mut line = line(100);
    (0..3)
        .for_each(|key| assert_eq!(line.admit(key, ip(192, 0, 2, 1), Stage::Silent, 0), Admission::Admitted));
    assert_eq!(line.give_way(ip(192, 0, 2, 1), 0), None, "all of its own are young");
    assert_eq!(line.give_way(ip(198, 51, 100, 1), 0), Some(0));
    assert_eq!(line.give_way(None, 0), Some(1), "an exempt address that holds none");
    assert_eq!(line.give_way(ip(198, 51, 100, 1), 0), None, "one is not clearly more than none");
    assert_eq!(line.give_way(None, SECOND_US), None, "an exempt one does not wait for the old");
    assert_eq!(line.give_way(ip(198, 51, 100, 1), SECOND_US), Some(2));
    assert!(line.is_empty() && line.give_way(ip(198, 51, 100, 1), 9 * SECOND_US).is_none());
}

#[test]
fn a_new_connection_takes_the_emptiest_place_of_whoever_holds_the_most() {
    let mut line = line(12);
    for (key, address) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (8, 7), (9, 8)] {
        assert_eq!(line.admit(key, ip(10, address, 0, 1), Stage::Silent, key), Admission::Admitted);
    }
    assert_eq!(line.admit(10, ip(10, 9, 0, 1), Stage::Silent, 10), Admission::Admitted);
    assert_eq!(line.admit(11, ip(10, 10, 0, 1), Stage::Silent, 11), Admission::Admitted);
    line.advance(0, Stage::Begun);
    let new = line.admit(12, ip(10, 11, 0, 1), Stage::Silent, 12);
    assert_eq!(new, Admission::Replaces(1), "the one that has done less, though it is younger");
    let new = line.admit(13, ip(10, 12, 0, 1), Stage::Silent, 13);
    assert_eq!(new, Admission::Replaces(2), "two are more than none");
    assert_eq!(line.admit(14, ip(10, 13, 0, 1), Stage::Silent, 14), Admission::Refused, "all hold one");
    let later = line.admit(14, ip(10, 13, 0, 1), Stage::Silent, 3 + SECOND_US);
    assert_eq!(later, Admission::Replaces(0), "the oldest has had its time");
}

#[test]
fn of_its_own_an_address_gives_up_the_emptiest_that_has_had_its_time() {
    let mut lines = WaitingLines::new(64, SECOND_US, KEY);
    let own = ip(198, 51, 100, 1).unwrap();
    for (key, is_returning) in [(0, true), (1, false), (2, false)] {
        assert_eq!(lines.admit(key, Some(own), Stage::Silent, is_returning, key), Admission::Admitted);
    }
    lines.admit(9, ip(10, 0, 0, 1), Stage::Silent, false, 0);
    assert_eq!(lines.give_way_to_own(own, 0), None, "they are young");
    let later = SECOND_US + 3;
    assert_eq!(lines.give_way_to_own(own, later), Some(1));
    assert_eq!(lines.give_way_to_own(own, later), Some(2));
    assert_eq!(lines.give_way_to_own(own, later), Some(0), "who comes back goes last");
    assert_eq!(lines.give_way_to_own(own, later), None, "nobody else's");
    assert_eq!(lines.len(), 1);
}

#[test]
fn returning_clients_have_places_of_their_own_and_keep_them() {
    let mut lines = WaitingLines::new(8, SECOND_US, KEY);
    let young = |lines: &mut WaitingLines<u64>, key: u64, is_returning, now_us| {
        lines.admit(key, ip(10, key as u8, 0, 1), Stage::Begun, is_returning, now_us)
    };
    (0..8).for_each(|key| assert_eq!(young(&mut lines, key, false, 0), Admission::Admitted));
    for key in 20..22 {
        assert!(lines.has_room(true, 0) && !lines.has_room(false, 0));
        assert!(lines.would_admit(ip(10, key as u8, 0, 1), true, 0));
        assert_eq!(young(&mut lines, key, true, 0), Admission::Admitted);
    }
    assert_eq!(young(&mut lines, 22, true, 0), Admission::Refused, "all are young");
    assert!(!lines.would_admit(ip(10, 22, 0, 1), true, 0));
    // In their own line the oldest gives way to them, and in the other to everybody.
    assert_eq!(young(&mut lines, 22, true, SECOND_US), Admission::Replaces(20));
    assert_eq!(young(&mut lines, 30, false, SECOND_US), Admission::Replaces(0));
    assert_eq!(lines.len(), 10);
    assert!((21..23).all(|key| lines.leave(key) == Some(true)), "no stranger replaced a returning one");
    assert_eq!((lines.leave(30), lines.leave(30)), (Some(false), None));
}

#[test]
fn exempt_addresses_have_no_share_but_give_way_when_they_are_old() {
    let mut line = line(4);
    (0..4).for_each(|key| assert_eq!(line.admit(key, None, Stage::Silent, 0), Admission::Admitted));
    assert!(!line.has_room(100) && line.has_room(SECOND_US));
    assert_eq!(line.admit(4, None, Stage::Silent, 100), Admission::Refused);
    assert_eq!(line.admit(4, None, Stage::Silent, SECOND_US), Admission::Replaces(0));
}

/// Against a model that counts by looking: random arrivals, ends and steps.
#[test]
fn counts_and_bounds_hold_whatever_comes() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let settings = Settings::of_size(1 + (seed as usize % 24), SECOND_US);
        let mut line = WaitingLine::new(settings, KEY);
        let mut model: Vec<(u64, Option<Address>, Stage)> = Vec::new();
        for key in 0..400 {
            let address = (!random.next_u64().is_multiple_of(8))
                .then(|| ip(10, 0, (random.next_u64() % 3) as u8, (random.next_u64() % 3) as u8))
                .flatten();
            let stage = [Stage::Silent, Stage::Begun][(random.next_u64() % 2) as usize];
            let held = |model: &[(u64, Option<Address>, Stage)], address| {
                model.iter().filter(|(_, other, _)| *other == address).count()
            };
            let of_net = |model: &[(u64, Option<Address>, Stage)], address| {
                model.iter().filter(|(_, other, _)| net(*other) == net(address)).count()
            };
            let judged = line.judge(address, key * 100_000);
            let admission = line.admit(key, address, stage, key * 100_000);
            assert_eq!(judged, admission, "what was judged happens");
            match admission {
                Admission::Admitted => {}
                Admission::Replaces(gone) => {
                    let at = model.iter().position(|(key, ..)| *key == gone).expect("it waited");
                    let (other_key, other, _) = model[at];
                    let is_heavier = held(&model, other) > held(&model, address) + 1
                        || of_net(&model, other) > of_net(&model, address) + 1;
                    assert!(is_heavier || other_key * 100_000 + SECOND_US <= key * 100_000);
                    model.swap_remove(at);
                }
                Admission::Refused => continue,
            }
            model.push((key, address, stage));
            if random.next_u64().is_multiple_of(4) {
                let at = (random.next_u64() % model.len() as u64) as usize;
                assert!(line.leave(model.swap_remove(at).0));
            } else if random.next_u64().is_multiple_of(4) {
                let at = (random.next_u64() % model.len() as u64) as usize;
                model[at].2 = model[at].2.max(Stage::Begun);
                line.advance(model[at].0, Stage::Begun);
            }
            assert_eq!(line.len(), model.len());
            assert!(model.len() <= settings.places_max);
            assert!(model.iter().all(|(_, a, _)| a.is_none() || of_net(&model, *a) <= settings.net_max));
            assert!(model.iter().all(|(_, a, _)| a.is_none() || held(&model, *a) <= settings.address_max));
        }
        model.iter().for_each(|(key, ..)| assert!(line.leave(*key)));
        assert!(line.is_empty() && line.nets.is_empty() && line.addresses.is_empty());
        assert!(line.heaviest.is_empty() && line.by_age.is_empty() && line.net_counts.is_empty());
    }
}

/// How a stranger attacks.
#[derive(Clone, Copy, Debug)]
struct Attack {
    addresses: u32,
    /// In one /24, or each in its own.
    is_one_net: bool,
    /// It sends enough that its handshakes begin.
    stage: Stage,
    /// It shows tickets of earlier visits.
    is_returning: bool,
    /// The viewers are in the neighbourhood of the attackers.
    is_near: bool,
}

/// In virtual time: attackers open 200 connections a second from each address (the limit per address) and
/// hold them; a dropped one is opened anew. Viewers come from addresses of their own and need a second of
/// round trips. Returns how many of the new and of the returning ones got in.
fn lock_out(attack: Attack) -> (f64, f64) {
    const STEP_US: u64 = 5_000;
    let mut lines = WaitingLines::new(2_048, SECOND_US, KEY);
    let mut viewers: VecDeque<(u64, u64, bool)> = VecDeque::new();
    let (mut key, mut came, mut inside) = (0, [0.0; 2], [0.0; 2]);
    for step in 0..2_000 {
        let now_us = step * STEP_US;
        for address in 0..attack.addresses {
            key += 1;
            let [_, b, c, d] = address.to_be_bytes();
            let from = if attack.is_one_net { ip(198, 51, 100, d) } else { ip(198, c, d, b) };
            let admission = lines.admit(key, from, attack.stage, attack.is_returning, now_us);
            if let Admission::Replaces(gone) = admission {
                viewers.retain(|(viewer, ..)| *viewer != gone);
            }
        }
        // The attack fills the line, and then viewers come, twenty a second.
        if step > 750 && step % 10 == 0 {
            key += 1;
            let is_returning = step % 20 == 0;
            came[usize::from(is_returning)] += 1.0;
            let n = (key % 40) as u8;
            let from = if attack.is_near { ip(198, 51, 100, 200 + n) } else { ip(203, n, n, 7) };
            match lines.admit(key, from, Stage::Silent, is_returning, now_us) {
                Admission::Admitted => viewers.push_back((key, now_us, is_returning)),
                Admission::Replaces(gone) => {
                    viewers.retain(|(viewer, ..)| *viewer != gone);
                    viewers.push_back((key, now_us, is_returning));
                }
                Admission::Refused => {}
            }
        }
        while viewers.front().is_some_and(|(_, since_us, _)| now_us >= since_us + SECOND_US) {
            let (viewer, _, is_returning) = viewers.pop_front().expect("looked at");
            inside[usize::from(is_returning)] += f64::from(u8::from(lines.leave(viewer).is_some()));
        }
    }
    // Those that came within the last second are still under way.
    (inside[0] / (came[0] - 10.0), inside[1] / (came[1] - 10.0))
}

#[test]
fn strangers_that_hold_their_places_keep_nobody_out() {
    for (addresses, is_one_net) in [(1, true), (5, false), (5, true), (50, true), (200, false)] {
        for stage in [Stage::Silent, Stage::Begun] {
            for (is_returning, is_near) in [(false, false), (true, false), (false, true), (true, true)] {
                if addresses == 200 && (is_returning || is_near) {
                    // It takes long, and says no more.
                    continue;
                }
                let attack = Attack { addresses, is_one_net, stage, is_returning, is_near };
                let (new, returning) = lock_out(attack);
                assert!(new >= 0.95 && returning >= 0.95, "{attack:?}: {new} of the new, {returning}");
            }
        }
    }
}
