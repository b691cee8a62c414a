//! Tests of drains in virtual time: how clients are spread, when they are closed, and what a released
//! audience still does.
//!
//! Why: clients that all leave at one moment are the next node's storm.

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::ClientFrame;

use super::super::{Drain, Heir};
use super::harness::{Harness, Plan, V};
use super::viewer::Seen;

fn go_away(harness: &Harness, v: V) -> (u32, u32) {
    let told = harness.viewers[v.0].seen.iter().filter_map(|seen| match seen {
        Seen::GoAway { after_ms, deadline_ms, .. } => Some((*after_ms, *deadline_ms)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "each is told once");
    told[0]
}

fn drain(spread_ms: u32, grace_ms: u32) -> Drain {
    Drain { spread_ms, grace_ms, ..Drain::default() }
}

#[test]
fn clients_leave_at_a_flat_rate_whoever_and_how_many_they_are() {
    for (count, workers) in [(2, 1usize), (10, 1), (100, 2), (997, 3)] {
        let mut harness = Harness::new(&Plan { workers: workers as u16, ..Plan::default() });
        let crowd: Vec<V> = (0..count).map(|i| harness.guest(i % workers)).collect();
        harness.drain(&drain(10_000, 5_000));
        harness.drain(&drain(7, 7));
        harness.turn();
        let mut told: Vec<u32> = crowd.iter().map(|v| go_away(&harness, *v).0).collect();
        assert!(crowd.iter().all(|v| go_away(&harness, *v).1 == go_away(&harness, *v).0 + 5_000));
        // Whoever sits together leaves apart.
        assert!(told.chunks(workers * 4).all(|some| {
            some.len() < workers * 4 || some.iter().max().unwrap() - some.iter().min().unwrap() > 4_000
        }));
        told.sort_unstable();
        assert!(*told.last().unwrap() < 10_000);
        // In every tenth of the time a tenth of them, but for a few per worker.
        for tenth in 0..10 {
            let there = told.iter().filter(|&&ms| ms / 1_000 == tenth).count() as i64;
            assert!((there - count as i64 / 10).abs() <= 2 * workers as i64, "{there} of {count} in {tenth}");
        }
    }
}

#[test]
fn heirs_get_their_parts_at_every_time_of_the_spread() {
    let heir = |where_to: &str, weight| Heir { where_to: where_to.into(), weight };
    for (weights, workers) in [([300, 100], 1usize), ([1, 1], 3), ([5, 0], 2), ([0, 0], 1)] {
        let mut harness = Harness::new(&Plan { workers: workers as u16, ..Plan::default() });
        let crowd: Vec<V> = (0..800).map(|i| harness.guest(i % workers)).collect();
        let heirs = vec![heir("b:1", weights[0]), heir("c:1", weights[1])];
        harness.drain(&Drain { where_to: "nobody:1".into(), heirs, ..drain(8_000, 5_000) });
        harness.turn();
        let told = |v: &V| {
            harness.viewers[v.0].seen.iter().find_map(|seen| match seen {
                Seen::GoAway { where_to, after_ms, .. } => Some((where_to.clone(), *after_ms)),
                _ => None,
            })
        };
        let told: Vec<(String, u32)> = crowd.iter().map(|v| told(v).unwrap()).collect();
        assert!(told.iter().all(|(to, _)| to == "b:1" || to == "c:1"), "{told:?}");
        let part = f64::from(weights[0]) / f64::from((weights[0] + weights[1]).max(1));
        let part = if weights == [0, 0] { 1.0 } else { part };
        for second in 0..8 {
            let then: Vec<_> = told.iter().filter(|(_, ms)| ms / 1_000 == second).collect();
            let first = then.iter().filter(|(to, _)| to == "b:1").count() as f64;
            let wanted = part * then.len() as f64;
            assert!((first - wanted).abs() <= 5.0 * workers as f64, "{second}: {first} of {wanted}");
        }
    }
}

#[test]
fn each_is_closed_at_its_own_deadline_and_not_before() {
    let mut harness = Harness::new(&Plan::default());
    let crowd: Vec<V> = (0..20).map(|_| harness.guest(0)).collect();
    harness.drain(&drain(4_000, 1_000));
    harness.turn();
    let began_us = harness.now().us;
    while harness.now().us < began_us + 5_200_000 {
        harness.run_ms(100);
        let ms = (harness.now().us - began_us) / 1_000;
        for v in &crowd {
            let due_ms = u64::from(go_away(&harness, *v).1);
            if ms < due_ms {
                assert!(harness.is_connected(*v), "closed {ms} ms in, due at {due_ms}");
            } else if ms > due_ms + 100 {
                assert_eq!(harness.ended[v.0].as_ref().map(|e| e.code), Some(CloseCode::GoingAway));
            }
        }
    }
    assert!(crowd.iter().all(|v| !harness.is_connected(*v)));
}

#[test]
fn who_says_hello_after_a_hand_over_is_welcomed_and_sent_on() {
    let mut harness = Harness::new(&Plan::default());
    let stranger = harness.enter(0);
    harness.drain(&Drain { is_handed_over: true, ..drain(2_000, 1_000) });
    harness.run_ms(1_000);
    harness.hello(stranger);
    harness.turn();
    assert!(matches!(harness.viewers[stranger.0].seen[..], [Seen::Welcome { .. }, Seen::GoAway { .. }]));
    assert!(go_away(&harness, stranger).0 < 1_000, "within what is left of the time");
}

#[test]
fn after_a_release_what_was_answered_goes_out_and_what_comes_is_left_for_the_next_connection() {
    let mut harness = Harness::new(&Plan::default());
    let (v, w) = (harness.member(0, "r"), harness.member(0, "r"));
    let alias = harness.alias(v, "r");
    harness.say(v, alias);
    let refusals = |harness: &Harness| harness.viewers[w.0].refusals().len();
    // What was submitted before is answered and shown; what comes now is not.
    harness.audiences[0].handle_released();
    harness.say(w, alias);
    harness.subscribe(w, "other", None, 0);
    harness.send(w, &ClientFrame::Ping { client_us: 5 });
    harness.run_ms(100);
    assert_eq!(harness.viewers[v.0].published().len(), 1);
    assert_eq!(harness.viewers[w.0].room("r").at.offset, 1, "only what was said before");
    assert_eq!(
        (harness.viewers[w.0].published().len(), refusals(&harness)),
        (0, 0),
        "no answer is no refusal"
    );
    assert!(harness.viewers[w.0].seen.iter().any(|s| matches!(s, Seen::Pong { .. })), "it is heard");
}
