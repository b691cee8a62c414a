//! Tests of the selection by itself, against a reader's count by hand. `mentions` has the tests of whom a
//! message means.
//!
//! Why: people notice at once if pacing is unfair, and no metric shows it.

use super::*;
use crate::link::{Alias, ConnectionToken, PersonId, ReplyTo, UserId, WorkerId};
use proptest::prelude::*;

pub(super) fn said(user: u64, role: Role, text: &str) -> Box<Publication> {
    Box::new(Publication {
        from: ReplyTo { worker: WorkerId((user % 3) as u16), connection: ConnectionToken(user) },
        alias: Alias(1),
        user: UserId(user),
        person: PersonId::of_user(UserId(user)),
        nonce: 0,
        age_ms: 0,
        author: format!("User {user}").into(),
        role,
        text: text.into(),
        attachment: "".into(),
        reply_to: None,
        exempt: false,
        is_bridged: false,
    })
}

fn viewer(user: u64, text: &str) -> Box<Publication> {
    said(user, Role::Viewer, text)
}

/// A tick of one second in a room that was quiet before. The bucket holds only that second's credit.
fn tick(per_s: u32, messages: &[Box<Publication>]) -> Option<Vec<Fate>> {
    let mut pacing = Pacing::new(per_s, 0, 7);
    Selector::default().select(&mut pacing, messages, 1_000_000, per_s).map(<[Fate]>::to_vec)
}

const SHOWN: Fate = Fate::Shown { folded: 0 };

#[test]
fn what_fits_is_shown_as_it_is() {
    let messages: Vec<_> = (0..5).map(|_| viewer(1, "same")).collect();
    assert_eq!(tick(5, &messages), None);
    assert_eq!(tick(5, &[]), None);
}

#[test]
fn a_first_message_comes_before_anothers_second_and_the_newest_first() {
    let messages: Vec<_> =
        [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (3, "e")].map(|(user, text)| viewer(user, text)).into();
    assert_eq!(tick(3, &messages).unwrap(), [SHOWN, Fate::Omitted, Fate::Omitted, SHOWN, SHOWN]);
    assert_eq!(tick(2, &messages).unwrap(), [Fate::Omitted, Fate::Omitted, Fate::Omitted, SHOWN, SHOWN]);
}

#[test]
fn who_was_shown_lately_waits_and_not_for_ever() {
    let (mut pacing, mut selector) = (Pacing::new(1, 0, 7), Selector::default());
    let mut select = |us, messages: &[Box<Publication>]| {
        selector.select(&mut pacing, messages, us, 1).map(<[Fate]>::to_vec)
    };
    assert_eq!(select(0, &[viewer(1, "a")]), None);
    let both = [viewer(2, "b"), viewer(1, "c")];
    assert_eq!(select(1_000_000, &both).unwrap(), [SHOWN, Fate::Omitted], "1 was shown before");
    assert_eq!(select(10_000_000, &both).unwrap(), [Fate::Omitted, SHOWN], "10 s are over for 1");
}

#[test]
fn hosts_and_moderators_are_shown_beyond_the_budget_and_cost_others_nothing() {
    let mut messages: Vec<_> = (0..4).map(|n| said(9, Role::Host, &n.to_string())).collect();
    messages.push(said(8, Role::Moderator, "same"));
    messages.extend([viewer(1, "same"), viewer(2, "same"), viewer(3, "x"), said(4, Role::Bot, "y")]);
    let fates = tick(2, &messages).unwrap();
    assert_eq!(fates[..5], [SHOWN; 5]);
    let shown = fates[5..].iter().filter(|f| matches!(f, Fate::Shown { .. })).count();
    assert_eq!(shown, 2, "{fates:?}");
}

#[test]
fn equal_texts_are_folded_but_not_across_answers_and_attachments() {
    let with = |user, text: &str, reply_to, attachment: &str| {
        Box::new(Publication { reply_to, attachment: attachment.into(), ..*viewer(user, text) })
    };
    let messages = [
        viewer(1, "gg"),
        viewer(2, " gg\n"),
        with(3, "gg", Some(4), ""),
        with(4, "gg", None, "img"),
        with(5, "gg", Some(4), ""),
        viewer(6, "GG"),
    ];
    let fates = tick(4, &messages).unwrap();
    assert_eq!(
        fates,
        [Fate::Folded, Fate::Shown { folded: 1 }, Fate::Folded, SHOWN, Fate::Shown { folded: 1 }, SHOWN]
    );
}

#[test]
fn credit_is_saved_for_a_second_and_no_longer() {
    let (mut pacing, mut selector) = (Pacing::new(10, 0, 7), Selector::default());
    let messages: Vec<_> = (0..50).map(|n| viewer(n, &n.to_string())).collect();
    let mut shown = |us| {
        let fates = selector.select(&mut pacing, &messages, us, 10).expect("more than the budget");
        fates.iter().filter(|f| matches!(f, Fate::Shown { .. })).count()
    };
    assert_eq!((shown(0), shown(0), shown(100_000), shown(250_000)), (10, 0, 1, 1));
    assert_eq!((shown(300_000), shown(60_000_000)), (1, 10), "half a message was kept");
}

#[test]
fn memory_is_bounded() {
    let mut pacing = Pacing::new(1_000_000, 0, 7);
    for n in 0..2 * WINDOW_MESSAGES_MAX as u64 {
        let author = pacing.author(&viewer(n, ""));
        pacing.spend(n, author);
    }
    pacing.earn(20_000, 1);
    assert_eq!((pacing.shown.len(), pacing.shown_order.len()), (WINDOW_MESSAGES_MAX, WINDOW_MESSAGES_MAX));
    pacing.earn(WINDOW_US + 20_000, 1);
    assert!(pacing.shown.is_empty() && pacing.shown_order.is_empty());
}

/// User, role and text.
type Saying = (u64, u8, u32);

/// Ticks and the time before each.
fn ticks(texts: u32) -> impl Strategy<Value = Vec<(u64, Vec<Saying>)>> {
    let message = (0u64..8, 0u8..12, 0..texts);
    prop::collection::vec((1_000u64..2_000_000, prop::collection::vec(message, 0..40)), 1..30)
}

#[expect(clippy::vec_box, reason = "as the lane of chat keeps them")]
fn messages(of: &[Saying], tick: usize, distinct: bool) -> Vec<Box<Publication>> {
    let said = |(n, &(user, role, text)): (usize, &Saying)| {
        let role = match role {
            10 => Role::Host,
            11 => Role::Moderator,
            _ => Role::Viewer,
        };
        let text = if distinct { format!("{tick}/{n}") } else { text.to_string() };
        said(user, role, &text)
    };
    of.iter().enumerate().map(said).collect()
}

proptest! {
    /// Counts are conserved, hosts and moderators are always shown, folded counts are right, and the rate is
    /// kept.
    #[test]
    fn every_message_has_one_fate_and_the_rate_holds(ticks in ticks(6), per_s in 1u32..40) {
        let (mut pacing, mut selector) = (Pacing::new(per_s, 0, 7), Selector::default());
        let (mut us, mut spent) = (0, 0u64);
        for (at, (passed_us, of)) in ticks.iter().enumerate() {
            us += passed_us;
            let messages = messages(of, at, false);
            let always = |p: &Publication| matches!(p.role, Role::Host | Role::Moderator);
            let Some(fates) = selector.select(&mut pacing, &messages, us, per_s) else {
                spent += messages.iter().filter(|p| !always(p)).count() as u64;
                continue;
            };
            prop_assert_eq!(fates.len(), messages.len());
            let (mut stood_for, mut shown) = (0, 0);
            for (fate, p) in fates.iter().zip(&messages) {
                match fate {
                    Fate::Shown { folded } if always(p) => prop_assert_eq!(*folded, 0),
                    Fate::Shown { folded } => {
                        let equal = messages.iter().zip(fates).filter(|(q, f)| !always(q) && q.text == p.text && **f == Fate::Folded);
                        prop_assert_eq!(equal.count(), *folded as usize, "its text is told once, and by all");
                        stood_for += *folded as usize;
                        shown += 1;
                    }
                    Fate::Folded | Fate::Omitted => prop_assert!(!always(p)),
                }
            }
            prop_assert_eq!(stood_for, fates.iter().filter(|f| **f == Fate::Folded).count());
            spent += shown;
            let earned = u64::from(per_s) * MESSAGE + us * u64::from(per_s);
            prop_assert!(spent * MESSAGE <= earned, "{spent} shown in {us} µs at {per_s}/s");
        }
    }

    /// No author is shown two messages more than another who has a message left.
    #[test]
    fn people_are_shown_fairly(ticks in ticks(1), per_s in 1u32..30) {
        let (mut pacing, mut selector) = (Pacing::new(per_s, 0, 7), Selector::default());
        let mut us = 0;
        // A count of shown messages by hand: the time, and the author.
        let mut shown: Vec<(u64, UserId)> = Vec::new();
        for (at, (passed_us, of)) in ticks.iter().enumerate() {
            us += passed_us;
            let messages = messages(of, at, true);
            let viewers = || messages.iter().enumerate().filter(|(_, p)| p.role == Role::Viewer);
            let fates = selector.select(&mut pacing, &messages, us, per_s).map(<[Fate]>::to_vec);
            let is_shown = |n: usize| fates.as_ref().is_none_or(|f| f[n] == SHOWN);
            let now: Vec<UserId> = viewers().filter(|(n, _)| is_shown(*n)).map(|(_, p)| p.user).collect();
            shown.extend(now.iter().map(|&user| (us, user)));
            let lately = |user: UserId| shown.iter().filter(|(at, u)| *u == user && at + WINDOW_US > us).count();
            for (_, left) in viewers().filter(|(n, _)| !is_shown(*n)) {
                for &other in &now {
                    prop_assert!(lately(other) <= lately(left.user) + 1, "{other:?} before {:?}", left.user);
                }
            }
            if fates.is_some() {
                let used = now.len() as u64;
                prop_assert!(used == viewers().count() as u64 || pacing.credit < MESSAGE, "the budget is used up");
            }
        }
    }
}
