//! Inputs, in virtual time: nothing that an application or a person gives to a session ends it.
//!
//! Why: a node closes a connection for good when a frame breaks a rule or a limit. So a session checks all of
//! them first, by the limits that the node told, and refuses as a value.
//! Not here: the same through the client's queues (`client.rs`).

mod common;

use common::world::World;
use grandstand_client::core::{Next, Options, OwnedEvent as E, Publication, RequestError, SubscribeOptions};
use grandstand_client::protocol::frame::{ClientFrame, Role};
use grandstand_client::protocol::limits;
use grandstand_client::protocol::refusal::Refusal;
use grandstand_client::protocol::rules::{self, Content};
use proptest::prelude::*;

/// Any input of a person: short or long, of any characters, often with something that breaks a rule.
fn text() -> impl Strategy<Value = String> {
    let odd =
        vec!["\0", "\u{1b}", "\r", "\n", " ", "\u{202e}", "\u{200b}", "\u{e0041}", "é", "日", "🎉", "@", "/"];
    let piece = prop_oneof![3 => "[a-z ]{0,8}", 2 => proptest::sample::select(odd).prop_map(str::to_owned)];
    let pieces = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    let lengths =
        proptest::sample::select(vec![0usize, 1, 39, 40, 41, 64, 65, 128, 129, 512, 513, 4096, 4097, 20_000]);
    let long = (lengths, proptest::sample::select(vec!["x", "日", " "]))
        .prop_map(|(bytes, unit)| unit.repeat(bytes / unit.len()));
    prop_oneof![3 => pieces, 2 => long, 1 => any::<String>()]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    (0..5000usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

#[derive(Clone, Debug)]
enum Call {
    Subscribe(String, SubscribeOptions),
    Unsubscribe(String),
    Publish { text: String, attachment: String, author: String, numbers: (Option<u64>, Option<u64>, u32, u8) },
    React(String, u32),
    SetState(String, Option<Vec<u8>>),
    History(u64, u64),
    SetToken(String),
    Reconnect,
}

fn call() -> impl Strategy<Value = Call> {
    let options = (any::<u32>(), any::<Option<(u64, u64)>>())
        .prop_map(|(replay, resume)| SubscribeOptions { replay, resume });
    let numbers = (any::<Option<u64>>(), prop::option::of(0..4u64), any::<u32>(), 0..8u8);
    prop_oneof![
        2 => (text(), options).prop_map(|(room, options)| Call::Subscribe(room, options)),
        1 => text().prop_map(Call::Unsubscribe),
        6 => (text(), text(), text(), numbers).prop_map(|(text, attachment, author, numbers)| {
            Call::Publish { text, attachment, author, numbers }
        }),
        4 => text().prop_map(|text| Call::Publish {
            text, attachment: String::new(), author: String::new(), numbers: (None, None, 0, 0),
        }),
        3 => (text(), any::<u32>()).prop_map(|(key, count)| Call::React(key, count)),
        3 => (text(), prop::option::of(bytes())).prop_map(|(key, value)| Call::SetState(key, value)),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(from, count)| Call::History(from, count)),
        1 => text().prop_map(Call::SetToken),
        1 => Just(Call::Reconnect),
    ]
}

fn apply(world: &mut World, call: &Call) {
    let room = world.session.room_id("show").expect("nothing ends the room");
    match call {
        Call::Subscribe(name, options) => drop(world.session.subscribe(name, *options)),
        Call::Unsubscribe(name) => {
            let other = world.session.room_id(name).filter(|id| *id != room);
            other.into_iter().for_each(|id| world.unsubscribe(id));
        }
        Call::Publish { text, attachment, author, numbers: (reply_to, nonce, age_ms, role) } => {
            let (role, nonce) = (Role::from_wire(*role), *nonce);
            let (reply_to, age_ms) = (*reply_to, *age_ms);
            let publication = Publication { text, reply_to, attachment, author, role, nonce, age_ms };
            let _ = world.session.publish(world.now_us, room, &publication);
        }
        Call::React(key, count) => drop(world.session.react(room, key, *count)),
        Call::SetState(key, value) => drop(world.session.set_state(room, key, value.as_deref())),
        Call::History(from, count) => drop(world.session.history(room, *from, *count)),
        Call::SetToken(token) => drop(world.session.set_token(token)),
        Call::Reconnect if !world.session.is_up() => {}
        Call::Reconnect => {
            let next = world.disconnect(grandstand_client::core::Ending::Eof);
            assert!(matches!(next, Next::Reconnect { .. }));
            world.connect();
        }
    }
}

/// What a node closes a connection for, or would refuse by a rule that the client knows.
fn enforce(frame: &[u8], (text_max, frame_max): (usize, usize), is_welcomed: bool) {
    let decoded = ClientFrame::decode(frame).expect("no frame that a node closes the connection for");
    if is_welcomed {
        assert!(frame.len() <= frame_max, "{} bytes of {frame_max}: {decoded:?}", frame.len());
    }
    match decoded {
        ClientFrame::Hello(hello) => {
            assert!(hello.name.is_empty() || rules::is_display_name(hello.name), "{:?}", hello.name);
        }
        ClientFrame::Subscribe(s) => {
            rules::check_room_name(s.room, limits::ROOM_NAME_BYTES_MAX).expect("a room's name");
        }
        ClientFrame::Publish(p) => {
            let content = Content { text: p.text, attachment: p.attachment, author: p.author };
            rules::check_content(&content, text_max).expect("a publication");
        }
        ClientFrame::React(r) => assert!(rules::is_reaction_key(r.key), "{:?}", r.key),
        ClientFrame::SetState(s) => {
            rules::check_state(s.key, s.value, limits::STATE_VALUE_BYTES_MAX).expect("a state change");
        }
        ClientFrame::Unsubscribe { .. } | ClientFrame::History(_) | ClientFrame::Ping { .. } => {}
        #[allow(unreachable_patterns, reason = "frames of later versions")]
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_input_to_any_call_ends_a_session(
        name in text(),
        token in text(),
        calls in prop::collection::vec(call(), 1..40),
        limits in proptest::sample::select(vec![(0, 0, 0), (2000, 16_384, 8), (1, 1024, 1), (4096, 1024, 3)]),
        connected in any::<bool>(),
    ) {
        let mut world = World::new(Options { seed: 3, name, token, ..Options::default() });
        world.node.limits = limits;
        let most = |told: u32, most: usize| if told == 0 { most } else { told as usize };
        let told = (most(limits.0, limits::TEXT_BYTES_MAX), most(limits.1, limits::CLIENT_FRAME_BYTES_MAX));
        if connected {
            world.connect();
            world.settle();
        }
        for call in calls {
            apply(&mut world, &call);
            if !connected {
                continue;
            }
            while !world.to_node.is_empty() || !world.node.to_client.is_empty() {
                let is_welcomed = world.session.is_up();
                world.to_node.iter().for_each(|frame| enforce(frame, told, is_welcomed));
                world.deliver_to_node(usize::MAX);
                world.deliver_to_client(usize::MAX);
            }
            prop_assert_eq!(world.session.poll_close(), None);
        }
        if !connected {
            world.connect();
            while !world.to_node.is_empty() || !world.node.to_client.is_empty() {
                let is_welcomed = world.session.is_up();
                world.to_node.iter().for_each(|frame| enforce(frame, told, is_welcomed));
                world.deliver_to_node(usize::MAX);
                world.deliver_to_client(usize::MAX);
            }
        }
        prop_assert_eq!(world.session.poll_close(), None);
        prop_assert!(world.session.is_up() && !world.session.is_over());
        let bad = world.events.iter().find(|event| matches!(event, E::Closed { .. } | E::Fault { .. }));
        prop_assert_eq!(bad, None);
    }
}

#[test]
fn each_call_refuses_what_a_node_would_close_or_refuse_for() {
    let mut world = World::new(Options::default());
    world.node.limits = (10, 1024, 2);
    world.connect();
    world.settle();
    let room = world.room;
    let refused = |reason| Err(RequestError::Refused(reason));
    let mut publish = |text: &str, attachment: &str| {
        let publication = Publication { text, attachment, ..Publication::default() };
        world.session.publish(0, room, &publication).map(drop)
    };
    assert_eq!(publish("12345678901", ""), refused(Refusal::TooLarge), "over the node's own limit");
    assert_eq!(publish("a\0b", ""), refused(Refusal::BadText));
    assert_eq!(publish(" ", ""), refused(Refusal::Empty));
    assert_eq!(publish("a", &"x".repeat(513)), refused(Refusal::TooLarge));
    assert_eq!(publish("a", &"x".repeat(512)), Ok(()));
    let session = &mut world.session;
    assert_eq!(
        session.set_state(room, "k", Some(&[0; 1000])).map(drop),
        refused(Refusal::TooLarge),
        "its frame"
    );
    assert_eq!(session.set_state(room, "", None).map(drop), refused(Refusal::BadText));
    assert_eq!(session.react(room, &"x".repeat(41), 1), refused(Refusal::BadText));
    assert_eq!(session.subscribe("", SubscribeOptions::default()), refused(Refusal::BadName).map(|()| room));
    assert!(session.subscribe("second", SubscribeOptions::default()).is_ok());
    let third = session.subscribe("third", SubscribeOptions::default()).map(drop);
    assert_eq!(third, refused(Refusal::TooManyRooms));
    assert_eq!(session.set_token(&"x".repeat(4097)), refused(Refusal::TooLarge));
    let bad = Options { name: "a\nb".into(), ..Options::default() };
    assert_eq!(bad.check(), refused(Refusal::BadName));
    let again = Publication { text: "x", nonce: Some(9), ..Publication::default() };
    assert_eq!(session.publish(0, room, &again), Ok(9));
    assert_eq!(session.publish(0, room, &again), Err(RequestError::Waiting));
}

/// The app asked while the limits were not known.
#[test]
fn what_is_over_a_limit_that_comes_later_is_refused_by_an_event() {
    let mut world = World::new(Options::default());
    world.node.limits = (2000, 1024, 1);
    let nonce = world.publish(&"x".repeat(3000));
    let request = world.session.set_state(world.room, "k", Some(&[0; 2000])).unwrap();
    let fits = world.publish("fits");
    world.connect();
    world.settle();
    let refused = world.events.iter().filter_map(|event| match event {
        E::Refused { id, reason: Refusal::TooLarge, .. } => Some(*id),
        _ => None,
    });
    assert_eq!(refused.collect::<Vec<_>>(), [nonce, request.into()]);
    assert!(world.events.iter().any(|e| matches!(e, E::Published { nonce, .. } if *nonce == fits)));
}

/// An offset that was never assigned: the app has another room's, or an old database.
#[test]
fn a_resume_beyond_the_head_hides_nothing_that_comes() {
    let mut world = World::new(Options::default());
    world.unsubscribe(world.room);
    let resume = Some((common::EPOCH, 1_000));
    world.room = world.session.subscribe("show", SubscribeOptions { replay: 0, resume }).unwrap();
    world.node.restarts_beyond_the_head = true;
    world.connect();
    world.settle();
    world.node.say("seen");
    world.pump();
    assert_eq!(world.texts(), [(0, "seen", false)]);
    assert_eq!(world.faults(), []);
}
