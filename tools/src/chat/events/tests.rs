//! Tests of events: the lines that a person sees after each kind.
//!
//! Not here: drawing (`screen`).

use grandstand_client::core::{Ending, OwnedEvent, Reason, RoomId, RoomOf};
use grandstand_client::protocol::frame::{ActKind, Durability, NoticeKind};

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

/// A rule is made by a session from the batch of a node: here, by a client core that reads one.
fn removal(at: u64, back: u64, note: &str) -> OwnedEvent {
    use grandstand_client::core::{Options, Session, SubscribeOptions};
    use grandstand_client::protocol::batch::{BatchWriter, RemovalParts};
    use grandstand_client::protocol::frame::{Encoder, ServerFrame, Subscribed, Welcome};
    let mut session = Session::new(Options::default());
    session.subscribe("show", SubscribeOptions::default()).unwrap();
    session.handle_connected(0);
    while session.poll_transmit(0, &mut Vec::new()) {}
    let (mut encoder, mut events) = (Encoder::new(), Vec::new());
    let mut give = |session: &mut Session, frame: &ServerFrame<'_>| {
        let mut bytes = Vec::new();
        encoder.server(frame, &mut bytes);
        session.handle_frame(0, &bytes, &mut |event| events.push(event.to_owned()));
        while session.poll_transmit(0, &mut Vec::new()) {}
    };
    give(&mut session, &ServerFrame::Welcome(Welcome::default()));
    for request in 0..4 {
        let (epoch, offset, head) = (7, at, at);
        let subscribed = Subscribed { request, alias: 1, epoch, offset, head, ..Subscribed::default() };
        give(&mut session, &ServerFrame::Subscribed(subscribed));
    }
    let mut body = Vec::new();
    let mut writer = BatchWriter::begin(&mut body, 1, 1, false, false, 0);
    writer.chat(at, 0, 0);
    writer.act(0, note, at, &RemovalParts::All { from: at - back });
    writer.finish();
    give(&mut session, &ServerFrame::Batch(&body));
    let is_removal = |event: &OwnedEvent| matches!(event, OwnedEvent::Removal { .. });
    events.into_iter().find(is_removal).expect("a removal")
}

#[test]
fn what_moderators_remove_is_gone_from_lines_answers_and_what_is_pending() {
    let mut model = inside();
    let mut answer = message(13, "dan", "no");
    let OwnedEvent::Message { reply_to, .. } = &mut answer else { panic!() };
    *reply_to = Some(12);
    let said = [message(10, "bob", "fine"), message(11, "eve", "SECRET"), message(12, "eve", "SECRET too")];
    tell(&mut model, &said);
    tell(&mut model, &[answer, removal(14, 3, "be kind")]);
    assert_eq!(
        lines(&model),
        [
            "bob: fine",
            "* message 11 was removed by moderators",
            "* message 12 was removed by moderators",
            "* message 13 was removed by moderators",
            "* moderators removed 11, 12, 13: be kind",
        ]
    );
    assert_eq!(model.next_offset, 15);
    // What was removed before it was read has its place; our own is told of.
    model.handle_sent(5, "ours");
    tell(&mut model, &[published(5, 7, 15)]);
    let (offset, replay) = (15, false);
    tell(&mut model, &[OwnedEvent::Removed { room: room(), offset, replay }]);
    assert_eq!(
        lines(&model)[5..],
        ["* removed by moderators: ours", "* message 15 was removed by moderators"]
    );
    assert!(model.pending.is_empty() && model.is_caught_up());
    assert!(!format!("{:?}", model.entries).contains("SECRET"));
}

#[test]
fn an_answer_keeps_no_words_of_what_it_answers() {
    let mut model = inside();
    let mut answer = message(15, "dan", "no");
    let OwnedEvent::Message { reply_to, .. } = &mut answer else { panic!() };
    *reply_to = Some(10);
    tell(&mut model, &[message(10, "eve", "SECRET"), answer, removal(14, 4, "")]);
    assert!(!format!("{:?}", model.entries).contains("SECRET"), "{:?}", model.entries);
}

#[test]
fn every_act_ends_in_one_line_and_what_failed_in_the_exit_code() {
    let mut model = inside();
    for (number, line) in [(1, "/purge 12"), (2, "/ban 12"), (3, "/clear"), (4, "/ack")] {
        model.order.note_acting(number, line);
    }
    assert!(!model.is_answered());
    let (epoch, offset) = (7, Some(20));
    tell(
        &mut model,
        &[
            OwnedEvent::Acted { request: 1, epoch, offset, count: 3 },
            refused(Kind::Act, 2, Refusal::Forbidden, None),
            OwnedEvent::ActUnanswered { request: 3, act: ActKind::Clear, sent: true },
            OwnedEvent::Acted { request: 4, epoch, offset: None, count: 0 },
        ],
    );
    assert_eq!(
        lines(&model),
        [
            "* done, /purge 12: 3 messages removed",
            "* not done, forbidden: /ban 12",
            "* perhaps done, the answer was lost: /clear",
            "* done, /ack",
        ]
    );
    assert!(model.is_answered() && model.failures == 2);
}

#[test]
fn notices_say_what_moderators_did_and_what_to_do() {
    let mut model = inside();
    let notice = |notice, id, until_ms, text: &str| {
        let text = text.into();
        OwnedEvent::Notice { room: Some(room()), notice, id, until_ms, text }
    };
    model.handle_sent(5, "hm");
    tell(
        &mut model,
        &[
            refused(Kind::Publish, 5, Refusal::Held, None),
            notice(NoticeKind::Rejected, 5, 0, "no"),
            notice(NoticeKind::Warned, 9, 0, "be kind"),
            notice(NoticeKind::TimedOut, 0, 600_000, ""),
            notice(NoticeKind::Banned, 0, 0, "again"),
            notice(NoticeKind::Waiting, 3, 0, ""),
            notice(NoticeKind::Other, 3, 0, ""),
        ],
    );
    assert_eq!(
        lines(&model),
        [
            "* waits for a moderator: hm",
            "* refused by moderators: hm: no",
            "* moderators warn you: be kind; /ack to speak again",
            "* moderators stopped you for 10 min",
            "* moderators banned you from this room: again",
            "* 3 held for a decision: /approve K, /reject K",
        ]
    );
}
