//! Tests of a paced room as its viewers see it: omitted messages are counted, can be asked for, and reach the
//! persons whom they mean.
//!
//! Why: an omitted message that nobody counts would be a lost one.

use grandstand_engine::ShardConfig;
use grandstand_protocol::frame::{ClientFrame, History, Publish};

use super::harness::{Harness, Plan, V};
use super::viewer::Seen;

const PER_S: u32 = 10;

fn paced() -> Plan {
    let rooms =
        ShardConfig { tick_ms: 100, pacing_per_s: PER_S, pacing_above_viewers: 2, ..Plan::default().rooms };
    Plan { workers: 2, rooms, ..Plan::default() }
}

/// Three people on two workers, in a room that is paced, with an empty bucket: each was shown.
fn room() -> (Harness, Vec<V>) {
    let mut harness = Harness::new(&paced());
    let people: Vec<V> = (0..3).map(|n| harness.member(n % 2, "r")).collect();
    harness.run_ms(2_000);
    for _ in 0..u64::from(PER_S) {
        people.iter().for_each(|&v| speak(&mut harness, v));
    }
    harness.run_ms(100);
    (harness, people)
}

fn speak(harness: &mut Harness, v: V) {
    let alias = harness.alias(v, "r");
    harness.say(v, alias);
}

fn tell(harness: &mut Harness, v: V, text: &str, reply_to: Option<u64>) {
    let (alias, nonce) = (harness.alias(v, "r"), harness.viewers[v.0].nonce + 1);
    harness.viewers[v.0].nonce = nonce;
    harness.send(v, &ClientFrame::Publish(Publish { alias, nonce, text, reply_to, ..Publish::default() }));
}

fn personals(harness: &Harness, v: V) -> Vec<(u64, String)> {
    let personal = |seen: &Seen| match seen {
        Seen::Personal { offset, text, .. } => Some((*offset, text.clone())),
        _ => None,
    };
    harness.viewers[v.0].seen.iter().filter_map(personal).collect()
}

fn name(harness: &Harness, v: V) -> String {
    let name = harness.viewers[v.0].seen.iter().find_map(|seen| match seen {
        Seen::Welcome { name, .. } => Some(name.clone()),
        _ => None,
    });
    name.expect("it was welcomed")
}

#[test]
fn what_is_left_out_is_counted_and_can_be_asked_for() {
    let (mut harness, people) = room();
    for _ in 0..40 {
        speak(&mut harness, people[0]);
    }
    harness.run_ms(1_000);
    let at = harness.viewers[people[2].0].room("r").at;
    let omitted = harness.viewers[people[2].0].room("r").omitted.len() as u64;
    assert_eq!(at.offset, 70);
    assert!(omitted >= 70 - 3 * u64::from(PER_S), "{omitted}");
    let heard = harness.viewers[people[2].0].heard("r", at.epoch).len() as u64;
    assert_eq!(heard + omitted, 70);
    let (alias, request) = (harness.alias(people[2], "r"), harness.viewers[people[2].0].next_request());
    let history = History { request, alias, epoch: at.epoch, from: 0, count_max: 0 };
    harness.send(people[2], &ClientFrame::History(history));
    harness.run_ms(50);
    let Some(Seen::Page { said, .. }) = harness.viewers[people[2].0].seen.last() else { panic!("no page") };
    assert_eq!(said.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..70).collect::<Vec<_>>());
    let delivered: u64 = harness.audiences.iter_mut().map(|a| a.counters().deliveries).sum();
    assert_eq!(delivered, 3 * heard, "a delivery is a message that is shown");
    harness.settle();
}

#[test]
fn a_mention_and_an_answer_that_are_left_out_reach_whom_they_mean() {
    let (mut harness, people) = room();
    let [ann, bob, eve] = people[..] else { panic!("three") };
    let of_bob = harness.viewers[bob.0].published()[0].offset;
    let mention = format!("hello @{}!", name(&harness, bob).to_uppercase());
    // The bucket is empty, so that all of these are left out.
    tell(&mut harness, ann, &mention, None);
    tell(&mut harness, ann, "I think so too", Some(of_bob));
    tell(&mut harness, bob, &format!("{mention} again"), Some(of_bob));
    tell(&mut harness, eve, "not for anybody", None);
    harness.run_ms(60);
    let got = personals(&harness, bob);
    let shown =
        |seen: &Seen, text: &String| matches!(seen, Seen::Batch { texts, .. } if texts.contains(text));
    let answer = "I think so too".to_owned();
    let mut missed = vec![&mention, &answer];
    missed.retain(|text| !harness.viewers[eve.0].seen.iter().any(|seen| shown(seen, text)));
    assert!(!missed.is_empty());
    assert_eq!(got.iter().map(|(_, text)| text).collect::<Vec<_>>(), missed);
    assert!(got.iter().all(|(offset, _)| harness.viewers[bob.0].room("r").omitted.contains(offset)));
    assert!(personals(&harness, ann).is_empty() && personals(&harness, eve).is_empty());
    harness.settle();
}

#[test]
fn who_left_or_takes_nothing_gets_no_personal_frame_and_is_not_closed() {
    let (mut harness, people) = room();
    let [ann, bob, eve] = people[..] else { panic!("three") };
    let (to_bob, to_eve) = (format!("@{} hi", name(&harness, bob)), format!("@{} hi", name(&harness, eve)));
    let stays = harness.member(0, "r");
    let alias = harness.alias(bob, "r");
    harness.unsubscribe(bob, alias);
    harness.set_room(eve, 0);
    harness.run_ms(20);
    for n in 0..200 {
        tell(&mut harness, ann, &format!("{to_bob} {n}"), None);
        tell(&mut harness, ann, &format!("{to_eve} {n}"), None);
        if n % 20 == 0 {
            harness.run_ms(100);
        }
    }
    harness.run_ms(100);
    assert!(harness.is_connected(eve) && harness.is_connected(stays));
    assert!(personals(&harness, bob).is_empty());
    let dropped: u64 = harness.audiences.iter_mut().map(|a| a.counters().personals_dropped).sum();
    assert!(dropped > 100, "{dropped}");
    harness.settle();
}

#[test]
fn a_replay_is_counted_in_messages_that_are_shown() {
    let (mut harness, people) = room();
    for _ in 0..20 {
        (0..30).for_each(|_| speak(&mut harness, people[0]));
        harness.run_ms(100);
    }
    let late = harness.guest(0);
    harness.subscribe(late, "r", None, 15);
    harness.run_ms(50);
    let epoch = harness.viewers[late.0].room("r").at.epoch;
    let heard = harness.viewers[late.0].heard("r", epoch).len();
    assert!((15..18).contains(&heard), "{heard}");
    harness.settle();
}
