//! Acts and notices at a worker: who may act, what persons are told, and who is kept out.
//!
//! Not here: what acts remove (`property` with `removed`), what they mean (the engine).

use std::sync::Arc;

use grandstand_engine::link::{Alias, Output, PersonId, Recipient, RoomNotice};
use grandstand_protocol::frame::{ActKind, Kind, NoticeKind, permission};
use grandstand_protocol::refusal::Refusal;

use super::harness::{EPOCH_MS, Harness, Plan, V};
use super::viewer::Seen;
use crate::testing::OpenAuthority;

fn house(permissions: u32) -> Harness {
    let authority = Arc::new(OpenAuthority { permissions });
    Harness::new(&Plan { workers: 2, authority, ..Plan::default() })
}

fn person(harness: &Harness, v: V) -> PersonId {
    let connections = &harness.audiences[0].subscriptions.connections;
    PersonId(connections[harness.key(v).0].session.as_ref().expect("a session").user.0)
}

fn tell(harness: &mut Harness, alias: u32, to: Recipient, notice: NoticeKind, until_ms: u64) {
    let notice = RoomNotice { alias: Alias(alias), to, notice, id: 7, until_ms, text: "why".into() };
    harness.audiences[0].handle_output(Output::Notices(vec![notice]));
    harness.run_ms(10);
}

fn notices(harness: &Harness, v: V) -> Vec<NoticeKind> {
    let seen = harness.viewers[v.0].seen.iter();
    seen.filter_map(|s| if let Seen::Notice { notice, .. } = s { Some(*notice) } else { None }).collect()
}

/// Every kind of act, by who may do it: the refusal says which of the two was missing.
#[test]
fn acts_need_the_permission_the_room_and_what_their_kind_needs() {
    for permissions in [permission::PUBLISH, permission::PUBLISH | permission::MODERATE] {
        let mut harness = house(permissions);
        let (v, speaker) = (harness.member(0, "r"), harness.member(1, "r"));
        harness.talk(speaker, "r", 2);
        let alias = harness.alias(v, "r");
        for &act in ActKind::ALL {
            let may =
                act != ActKind::Other && (act.is_for_everybody() || permissions & permission::MODERATE != 0);
            // Nothing that its kind needs.
            let request = harness.act(v, alias, act, None, 0);
            // A room that is not followed.
            let elsewhere = harness.act(v, alias + 1, act, Some(0), 1);
            harness.run_ms(1_000);
            let reason = |of: u32| {
                let refusals = harness.viewers[v.0].refusals();
                let refused = refusals.iter().find(|r| (r.0, r.1) == (Kind::Act as u8, u64::from(of)));
                refused.map(|refused| refused.2)
            };
            let missing = if may { Refusal::NotSubscribed } else { Refusal::Forbidden };
            assert_eq!(reason(elsewhere), Some(missing), "{act:?}");
            match (may, act) {
                (false, _) => assert_eq!(reason(request), Some(Refusal::Forbidden), "{act:?}"),
                (true, ActKind::Clear) => assert_eq!(reason(request), None, "{act:?}"),
                (true, _) => assert_eq!(reason(request), Some(Refusal::Empty), "{act:?}"),
            }
        }
        harness.settle();
    }
}

#[test]
fn a_ban_takes_a_person_out_of_the_room_and_keeps_it_out_until_it_ends() {
    let mut harness = house(permission::PUBLISH);
    let (bad, other) = (harness.member(0, "r"), harness.member(0, "r"));
    harness.subscribe(bad, "elsewhere", None, 0);
    harness.run_ms(10);
    let alias = harness.alias(bad, "r");
    let who = Recipient::Person(person(&harness, bad));
    let until_ms = EPOCH_MS + harness.us / 1000 + 5_000;
    tell(&mut harness, alias, who, NoticeKind::Banned, until_ms);
    assert_eq!((notices(&harness, bad), notices(&harness, other)), (vec![NoticeKind::Banned], vec![]));
    let (request, reason) = (0, Refusal::Banned);
    assert!(harness.viewers[bad.0].seen.contains(&Seen::Unsubscribed { request, alias, reason }));
    assert_eq!(harness.viewers[bad.0].alias_of("r"), None);
    assert!(
        harness.viewers[bad.0].alias_of("elsewhere").is_some()
            && harness.viewers[other.0].alias_of("r").is_some()
    );
    let asked = harness.subscribe(bad, "r", None, 0);
    harness.run_ms(10);
    let refused = (Kind::Subscribe as u8, u64::from(asked), Refusal::Banned, None);
    assert!(harness.viewers[bad.0].refusals().contains(&refused));
    // It ends by itself, or is lifted.
    harness.run_ms(5_000);
    harness.subscribe(bad, "r", None, 0);
    harness.run_ms(10);
    assert!(harness.viewers[bad.0].alias_of("r").is_some());
    tell(&mut harness, alias, who, NoticeKind::Banned, 0);
    assert_eq!(harness.viewers[bad.0].alias_of("r"), None);
    tell(&mut harness, alias, who, NoticeKind::Lifted, 0);
    harness.subscribe(bad, "r", None, 0);
    harness.run_ms(10);
    assert!(harness.viewers[bad.0].alias_of("r").is_some());
    harness.settle();
}

#[test]
fn moderators_are_told_of_what_waits_and_nobody_else() {
    for permissions in [permission::PUBLISH, permission::MODERATE] {
        let mut harness = house(permissions);
        let v = harness.member(0, "r");
        let alias = harness.alias(v, "r");
        tell(&mut harness, alias, Recipient::Moderators, NoticeKind::Waiting, 0);
        let told = notices(&harness, v).len();
        assert_eq!(told, usize::from(permissions & permission::MODERATE != 0));
    }
}
