//! Tests of events: the lines that a person sees after each kind.
//!
//! Not here: drawing (`screen`).

use grandstand_client::core::{Ending, OwnedEvent, Reason, RoomId, RoomOf};
use grandstand_client::protocol::frame::Durability;

use super::*;

fn room() -> RoomOf<Box<str>> {
    // A room's number is the session's to give; a session without connection gives the first.
    let id: RoomId = grandstand_client::core::Session::new(Default::default())
        .subscribe("show", Default::default())
        .unwrap();
    RoomOf { id, name: "show".into() }
}

fn welcome() -> OwnedEvent {
    OwnedEvent::Welcome {
        session: 1,
        node: "n1".into(),
        name: "ann".into(),
        role: Role::Viewer,
        permissions: permission::PUBLISH | permission::REACT,
        heartbeat_ms: 10_000,
        text_bytes_max: 500,
        rooms_max: 5,
        server_ms: 0,
        resumed: false,
    }
}

fn subscribed(outcome: Outcome, epoch: u64, offset: u64, head: u64) -> OwnedEvent {
    OwnedEvent::Subscribed { room: room(), outcome, epoch, offset, head, phase: Phase::Open }
}

fn message(offset: u64, author: &str, text: &str) -> OwnedEvent {
    OwnedEvent::Message {
        room: room(),
        offset,
        time_ms: 0,
        author: author.into(),
        role: Role::Viewer,
        text: text.into(),
        attachment: "".into(),
        reply_to: None,
        folded: 0,
        replay: false,
    }
}

fn published(nonce: u64, epoch: u64, offset: u64) -> OwnedEvent {
    OwnedEvent::Published {
        nonce,
        epoch,
        offset,
        durability: Durability::Memory,
        repeated: false,
        rtt_us: 900,
    }
}

fn refused(kind: Kind, id: u64, reason: Refusal, retry_after_ms: Option<u32>) -> OwnedEvent {
    OwnedEvent::Refused {
        kind: kind as u8,
        id,
        room: None,
        reason,
        retry_after_ms,
        detail: reason.text().into(),
    }
}

/// A model in the room, at offset 10, without lines.
fn inside() -> Model {
    let mut model = Model::new("show");
    model.handle_event(0, &welcome());
    model.handle_event(0, &subscribed(Outcome::Live, 7, 10, 10));
    model.entries.clear();
    model
}

fn tell(model: &mut Model, events: &[OwnedEvent]) {
    events.iter().for_each(|event| model.handle_event(0, event));
}

fn lines(model: &Model) -> Vec<String> {
    model.entries.iter().map(Entry::plain).collect()
}

fn is_mine(model: &Model) -> bool {
    matches!(model.entries.back(), Some(Entry::Message(Message { mine: true, .. })))
}

#[test]
fn the_first_lines_say_where_one_is() {
    let mut model = Model::new("show");
    tell(&mut model, &[welcome(), subscribed(Outcome::Live, 7, 10, 30)]);
    assert_eq!(lines(&model), ["* you are in show as ann; 20 earlier messages first"]);
    assert_eq!((model.link.clone(), model.text_bytes_max), (Link::Up, 500));
}

#[test]
fn our_message_is_pending_until_it_is_in_the_room_whichever_comes_first() {
    let mut model = inside();
    model.handle_sent(5, "hello");
    assert!(!model.is_answered());
    tell(&mut model, &[published(5, 7, 10)]);
    assert!(
        model.is_answered()
            && !model.is_caught_up()
            && model.pending[0].offset == Some(10)
            && model.entries.is_empty()
    );
    tell(&mut model, &[message(10, "ann", "hello")]);
    assert!(model.is_caught_up() && is_mine(&model));

    model.handle_sent(6, "again");
    tell(&mut model, &[message(11, "ann", "again")]);
    assert!(!is_mine(&model) && model.pending.len() == 1);
    tell(&mut model, &[published(6, 7, 11)]);
    assert!(is_mine(&model) && model.pending.is_empty());
    assert_eq!(lines(&model), ["ann: hello", "ann: again"]);
}

#[test]
fn what_pacing_kept_from_us_is_told_of_ours_at_once_of_the_rest_in_sum() {
    let mut model = inside();
    model.handle_sent(5, "hello");
    model.handle_event(20_000, &published(5, 7, 12));
    model.handle_event(20_000, &OwnedEvent::Omitted { room: room(), from: 10, to: 14 });
    model.handle_event(20_100, &OwnedEvent::Omitted { room: room(), from: 14, to: 16 });
    model.handle_time(40_000);
    let said = "* in the room, though not among what we were shown: hello";
    let sum = |n| format!("* missed {n} messages: more was said than anybody can read");
    assert_eq!(lines(&model), [said.to_owned(), sum(6)]);
    assert!(model.pending.is_empty());
}

#[test]
fn refusals_give_the_reason_the_wait_and_the_text_back() {
    let mut model = inside();
    model.handle_sent(5, "hello");
    tell(&mut model, &[refused(Kind::Publish, 5, Refusal::SlowMode, Some(3500))]);
    assert_eq!(lines(&model), ["* not sent, slow mode, try again in 3.5 s: hello"]);
    assert!(model.pending.is_empty() && model.failures == 1);
    tell(&mut model, &[refused(Kind::Subscribe, 1, Refusal::UnknownRoom, None)]);
    assert_eq!(lines(&model)[1], "* cannot follow show: unknown room");
    tell(&mut model, &[refused(Kind::React, 1, Refusal::RateLimited, Some(200))]);
    assert_eq!(model.entries.len(), 2, "reactions come as fast as keys repeat");
    assert!(model.hint.as_deref().unwrap().contains("rate limited, try again in a moment"));
}

#[test]
fn gaps_are_told_with_number_and_reason() {
    let mut model = inside();
    let gap =
        |count, reason| OwnedEvent::Gap { room: room(), epoch: 1, from: 10, to: 10 + count, count, reason };
    tell(&mut model, &[gap(12, GapReason::Slow), gap(1, GapReason::Expired)]);
    let expected = [
        "* missed 12 messages: you were too slow",
        "* missed 1 message: they are older than what the room keeps",
    ];
    assert_eq!(lines(&model), expected);
}

#[test]
fn another_log_is_told_by_what_it_has_of_ours() {
    // Ten messages were read.
    let cases = [
        (10, 0, "* the room goes on in another log, and nothing is missing"),
        (9, 0, "* the last message is no longer in the room"),
        (4, 0, "* the last 6 messages are no longer in the room"),
        (0, 0, "* the room began anew: numbers start again"),
        (3, 3, "* missed 3 messages: the room began anew"),
    ];
    for (to, count, expected) in cases {
        let mut model = inside();
        let (from, reason) = (to - count, GapReason::Restarted);
        tell(&mut model, &[OwnedEvent::Gap { room: room(), epoch: 8, from, to, count, reason }]);
        assert_eq!(lines(&model), [expected]);
        // What is said now is of the log that the room has now.
        model.handle_sent(5, "hello");
        tell(&mut model, &[published(5, 8, to), message(to, "ann", "hello")]);
        assert!(is_mine(&model) && model.pending.is_empty(), "{expected}");
    }
}

#[test]
fn a_lost_connection_is_told_once_and_so_is_the_new_one() {
    let mut model = inside();
    let lost = |kind| OwnedEvent::Disconnected { reason: Reason::Transport(Ending::Broken(kind)) };
    tell(&mut model, &[lost(std::io::ErrorKind::ConnectionReset)]);
    for attempt in 1..5 {
        tell(&mut model, &[OwnedEvent::Reconnecting { after_us: 2_000_000, attempt }]);
        assert_eq!(model.link, Link::Waiting { until_ms: 2000, attempt });
        tell(&mut model, &[lost(std::io::ErrorKind::ConnectionRefused)]);
    }
    tell(&mut model, &[welcome(), subscribed(Outcome::Resumed, 7, 10, 10)]);
    let expected = [
        "* connection lost: connection failed: connection reset",
        "* cannot connect: connection failed: connection refused",
        "* connected again",
    ];
    assert_eq!(lines(&model), expected);
}

#[test]
fn a_room_that_began_anew_settles_what_was_taken_before() {
    let mut model = inside();
    model.handle_sent(5, "hello");
    tell(
        &mut model,
        &[published(5, 7, 10), subscribed(Outcome::Restarted, 8, 0, 0), message(0, "bob", "first")],
    );
    assert!(model.pending.is_empty() && model.states.is_empty());
    assert!(lines(&model).iter().any(|line| line.contains("not among what we were shown: hello")));
    assert_eq!(lines(&model).last().unwrap(), "bob: first");
    model.handle_sent(6, "late");
    tell(&mut model, &[published(6, 7, 0)]);
    assert!(!is_mine(&model) && model.pending.is_empty(), "an offset of the old log is none of the new");
}

#[test]
fn the_end_tells_what_became_of_the_unanswered() {
    let mut model = inside();
    model.handle_sent(5, "hello");
    tell(&mut model, &[OwnedEvent::Closed { reason: Reason::NoToken }]);
    assert_eq!(lines(&model)[0], "* not sent, or its answer was lost: hello");
    assert!(matches!(&model.link, Link::Over { asked: false, .. }) && model.failures == 1);
    let mut model = inside();
    tell(&mut model, &[OwnedEvent::Uncertain { nonce: 5, text: "hello".into() }]);
    assert_eq!(
        (lines(&model)[0].as_str(), model.failures),
        ("* perhaps sent, the answer was lost: hello", 1)
    );
}

#[test]
fn state_is_kept_by_key_and_a_snapshot_replaces_it() {
    let mut model = inside();
    let state = |key: &str, value: Option<&str>| OwnedEvent::State {
        room: room(),
        version: 1,
        key: key.into(),
        value: value.map(|v| v.as_bytes().into()),
    };
    tell(
        &mut model,
        &[
            state("score", Some("1:0")),
            state("x", Some("y")),
            state("score", Some("2\u{1b}:0")),
            state("x", None),
        ],
    );
    assert_eq!(model.states.iter().collect::<Vec<_>>(), [(&"score".to_owned(), &"2:0".to_owned())]);
    tell(
        &mut model,
        &[OwnedEvent::Snapshot { room: room(), version: 2, entries: 1 }, state("pinned", Some("hi"))],
    );
    assert_eq!(model.states.keys().collect::<Vec<_>>(), ["pinned"]);
}

#[test]
fn strangers_escapes_reach_no_line() {
    let mut model = inside();
    let evil = "\u{1b}[2J\u{202e}\u{9b}x";
    let attached = |mut event: OwnedEvent| {
        if let OwnedEvent::Message { attachment, .. } = &mut event {
            *attachment = evil.into();
        }
        event
    };
    tell(
        &mut model,
        &[
            attached(message(10, evil, evil)),
            OwnedEvent::Phase { room: room(), phase: Phase::Closing, at_ms: 0, detail: evil.into() },
            OwnedEvent::GoAway { where_to: "".into(), after_ms: 3000, detail: evil.into() },
            OwnedEvent::Tally { room: room(), key: evil.into(), count: 1 },
            OwnedEvent::State {
                room: room(),
                version: 1,
                key: evil.into(),
                value: Some(evil.as_bytes().into()),
            },
            OwnedEvent::Closed { reason: Reason::Told { code: 1, detail: evil.into() } },
        ],
    );
    let mut all = lines(&model).concat();
    all.extend(model.states.iter().flat_map(|(key, value)| [key.as_str(), value]));
    all.extend(model.tally.top().iter().map(|reaction| &*reaction.key));
    let Link::Over { why, .. } = &model.link else { panic!("over") };
    all.push_str(why);
    assert!(!all.contains(|c: char| c.is_control() || c == '\u{202e}'), "{all:?}");
}

#[test]
fn answers_find_what_they_answer() {
    let mut model = inside();
    let mut answer = message(11, "bob", "indeed");
    if let OwnedEvent::Message { reply_to, .. } = &mut answer {
        *reply_to = Some(10);
    }
    tell(&mut model, &[message(10, "ann", "a fine show"), answer]);
    let Some(Entry::Message(Message { answers: Some(answered), .. })) = model.entries.back() else {
        panic!("an answer")
    };
    assert_eq!(answered.excerpt.as_deref(), Some("ann: a fine show"));
}
