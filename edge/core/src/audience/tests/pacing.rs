//! A paced room as its viewers see it: what is left out is counted, can be asked for, and reaches whom it
//! means.

use grandstand_engine::ShardConfig;
use grandstand_protocol::frame::{ClientFrame, History, Publish};

use super::hall::{Hall, Plan, V};
use super::viewer::Seen;

const PER_S: u32 = 10;

fn paced() -> Plan {
    let rooms =
        ShardConfig { tick_ms: 100, pacing_per_s: PER_S, pacing_above_viewers: 2, ..Plan::default().rooms };
    Plan { workers: 2, rooms, ..Plan::default() }
}

/// Three people on two workers, in a room that is paced, with an empty bucket: each was shown.
fn room() -> (Hall, Vec<V>) {
    let mut hall = Hall::new(&paced());
    let people: Vec<V> = (0..3).map(|n| hall.member(n % 2, "r")).collect();
    hall.run_ms(2_000);
    for _ in 0..u64::from(PER_S) {
        people.iter().for_each(|&v| speak(&mut hall, v));
    }
    hall.run_ms(100);
    (hall, people)
}

fn speak(hall: &mut Hall, v: V) {
    let alias = hall.alias(v, "r");
    hall.say(v, alias);
}

fn tell(hall: &mut Hall, v: V, text: &str, reply_to: Option<u64>) {
    let (alias, nonce) = (hall.alias(v, "r"), hall.viewers[v.0].nonce + 1);
    hall.viewers[v.0].nonce = nonce;
    hall.send(v, &ClientFrame::Publish(Publish { alias, nonce, text, reply_to, ..Publish::default() }));
}

fn personals(hall: &Hall, v: V) -> Vec<(u64, String)> {
    let personal = |seen: &Seen| match seen {
        Seen::Personal { offset, text, .. } => Some((*offset, text.clone())),
        _ => None,
    };
    hall.viewers[v.0].seen.iter().filter_map(personal).collect()
}

fn name(hall: &Hall, v: V) -> String {
    let name = hall.viewers[v.0].seen.iter().find_map(|seen| match seen {
        Seen::Welcome { name, .. } => Some(name.clone()),
        _ => None,
    });
    name.expect("it was welcomed")
}

#[test]
fn what_is_left_out_is_counted_and_can_be_asked_for() {
    let (mut hall, people) = room();
    for _ in 0..40 {
        speak(&mut hall, people[0]);
    }
    hall.run_ms(1_000);
    let at = hall.viewers[people[2].0].room("r").at;
    let omitted = hall.viewers[people[2].0].room("r").omitted.len() as u64;
    assert_eq!(at.offset, 70);
    assert!(omitted >= 70 - 3 * u64::from(PER_S), "{omitted}");
    let heard = hall.viewers[people[2].0].heard("r", at.epoch).len() as u64;
    assert_eq!(heard + omitted, 70);
    let (alias, request) = (hall.alias(people[2], "r"), hall.viewers[people[2].0].next_request());
    let history = History { request, alias, epoch: at.epoch, from: 0, count_max: 0 };
    hall.send(people[2], &ClientFrame::History(history));
    hall.run_ms(50);
    let Some(Seen::Page { said, .. }) = hall.viewers[people[2].0].seen.last() else { panic!("no page") };
    assert_eq!(said.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..70).collect::<Vec<_>>());
    let delivered: u64 = hall.audiences.iter_mut().map(|a| a.counts().deliveries).sum();
    assert_eq!(delivered, 3 * heard, "a delivery is a message that is shown");
    hall.settle();
}

#[test]
fn a_mention_and_an_answer_that_are_left_out_reach_whom_they_mean() {
    let (mut hall, people) = room();
    let [ann, bob, eve] = people[..] else { panic!("three") };
    let of_bob = hall.viewers[bob.0].published()[0].offset;
    let mention = format!("hello @{}!", name(&hall, bob).to_uppercase());
    // The bucket is empty, so that all of these are left out.
    tell(&mut hall, ann, &mention, None);
    tell(&mut hall, ann, "I think so too", Some(of_bob));
    tell(&mut hall, bob, &format!("{mention} again"), Some(of_bob));
    tell(&mut hall, eve, "not for anybody", None);
    hall.run_ms(60);
    let got = personals(&hall, bob);
    let shown =
        |seen: &Seen, text: &String| matches!(seen, Seen::Batch { texts, .. } if texts.contains(text));
    let answer = "I think so too".to_owned();
    let mut missed = vec![&mention, &answer];
    missed.retain(|text| !hall.viewers[eve.0].seen.iter().any(|seen| shown(seen, text)));
    assert!(!missed.is_empty());
    assert_eq!(got.iter().map(|(_, text)| text).collect::<Vec<_>>(), missed);
    assert!(got.iter().all(|(offset, _)| hall.viewers[bob.0].room("r").omitted.contains(offset)));
    assert!(personals(&hall, ann).is_empty() && personals(&hall, eve).is_empty());
    hall.settle();
}

#[test]
fn who_left_or_takes_nothing_gets_no_personal_frame_and_is_not_closed() {
    let (mut hall, people) = room();
    let [ann, bob, eve] = people[..] else { panic!("three") };
    let (to_bob, to_eve) = (format!("@{} hi", name(&hall, bob)), format!("@{} hi", name(&hall, eve)));
    let stays = hall.member(0, "r");
    let alias = hall.alias(bob, "r");
    hall.unsubscribe(bob, alias);
    hall.set_room(eve, 0);
    hall.run_ms(20);
    for n in 0..200 {
        tell(&mut hall, ann, &format!("{to_bob} {n}"), None);
        tell(&mut hall, ann, &format!("{to_eve} {n}"), None);
        if n % 20 == 0 {
            hall.run_ms(100);
        }
    }
    hall.run_ms(100);
    assert!(hall.is_connected(eve) && hall.is_connected(stays));
    assert!(personals(&hall, bob).is_empty());
    let dropped: u64 = hall.audiences.iter_mut().map(|a| a.counts().personals_dropped).sum();
    assert!(dropped > 100, "{dropped}");
    hall.settle();
}

#[test]
fn a_replay_is_counted_in_messages_that_are_shown() {
    let (mut hall, people) = room();
    for _ in 0..20 {
        (0..30).for_each(|_| speak(&mut hall, people[0]));
        hall.run_ms(100);
    }
    let late = hall.guest(0);
    hall.subscribe(late, "r", None, 15);
    hall.run_ms(50);
    let epoch = hall.viewers[late.0].room("r").at.epoch;
    let heard = hall.viewers[late.0].heard("r", epoch).len();
    assert!((15..18).contains(&heard), "{heard}");
    hall.settle();
}
