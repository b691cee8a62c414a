//! Any act, notice and list of moderators, for property tests.
//!
//! Invariant: every variant is made, so that a variant that does not travel is found.
//! Not here: what they travel in (`any`).

use grandstand_engine::link::*;
use grandstand_protocol::frame::{ActKind, Category, NoticeKind};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::any::{alias, number, reply_to, text};

pub(super) fn act() -> impl Strategy<Value = ActRequest> {
    let by = (any::<u64>(), any::<u64>(), text(), any::<bool>());
    let what = (select(ActKind::ALL), any::<u64>(), of(number()), any::<u32>());
    (reply_to(), any::<u32>(), alias(), by, what, select(Category::ALL), text()).prop_map(
        |(from, request, alias, by, (act, epoch, target, seconds), category, text)| ActRequest {
            from,
            request,
            alias,
            by: Actor { user: UserId(by.0), person: PersonId(by.1), name: by.2.into(), may_moderate: by.3 },
            act,
            epoch,
            target,
            seconds,
            category,
            text: text.into(),
        },
    )
}

pub(super) fn notice() -> impl Strategy<Value = RoomNotice> {
    let to = prop_oneof![
        any::<u64>().prop_map(|person| Recipient::Person(PersonId(person))),
        Just(Recipient::Moderators)
    ];
    (alias(), to, select(NoticeKind::ALL), any::<u64>(), number(), text()).prop_map(
        |(alias, to, notice, id, until_ms, text)| RoomNotice {
            alias,
            to,
            notice,
            id,
            until_ms,
            text: text.into(),
        },
    )
}

pub(super) fn moderated() -> impl Strategy<Value = Moderated> {
    let end = || of(number());
    let held = (any::<u64>(), end(), end(), end(), of(text())).prop_map(
        |(person, timeout_ms, ban_ms, shadow_ms, warning)| HeldPerson {
            person: PersonId(person),
            timeout_ms,
            ban_ms,
            shadow_ms,
            warning: warning.map(String::into_boxed_str),
        },
    );
    let report = (select(Category::ALL), text().prop_map(String::into_boxed_str));
    let reported = (number(), vec(report, 0..3)).prop_map(|(offset, reports)| Reported { offset, reports });
    (vec(held, 0..3), vec(reported, 0..3)).prop_map(|(held, reported)| Moderated { held, reported })
}
