//! Outcomes, in virtual time: whatever ends a session, each publication, state change and act that it
//! accepted ends in exactly one event, before `Closed`.
//!
//! Why a property over all endings: an app that was given a nonce waits for its outcome. A session can end by
//! a close at any moment, a refusal, a close code, retries that run out, a token, a limit, or a lost room.
//! Not here: the client's queues around the session (`client.rs`).

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::world::World;
use grandstand_client::core::{
    ActParts, ConnectError, Ending, Next, Options, OwnedEvent as E, Publication, Reason, SubscribeOptions,
};
use grandstand_client::protocol::close::{CloseCode, Retry};
use grandstand_client::protocol::frame::{ActKind, Category, ErrorFrame, GoAway, Kind, ServerFrame};
use grandstand_client::protocol::refusal::Refusal;
use proptest::prelude::*;

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    SetState,
    Act(ActKind),
    RefuseAct,
    Close,
    ToNode(u8),
    ToClient(u8),
    End(Ending),
    Told(CloseCode),
    RefuseNext(bool),
    RefuseRoom,
    ThrowOut,
    GoAway,
    ForgetSession,
    ForgetNonces,
    LowerLimits(u32),
    Advance(u32),
    Probe,
    Token(bool),
}

fn ending() -> impl Strategy<Value = Ending> {
    let http = |status| Ending::Http { status, retry_after_s: None };
    let refused = Ending::Broken(std::io::ErrorKind::ConnectionRefused);
    let not_tls = Ending::Connect(Box::new(ConnectError::NotTls));
    let code = (0..CloseCode::ALL.len()).prop_map(|at| Ending::Code(CloseCode::ALL[at].wire()));
    let fixed = vec![
        Ending::Eof,
        refused,
        not_tls,
        http(302),
        http(404),
        http(503),
        Ending::WebSocket(1009),
        Ending::Untrusted("a login page".into()),
        Ending::Dropped,
    ];
    prop_oneof![4 => proptest::sample::select(fixed), 1 => code]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Connect),
        2 => Just(Step::Subscribe),
        1 => Just(Step::Unsubscribe),
        8 => Just(Step::Publish),
        2 => Just(Step::SetState),
        3 => proptest::sample::select(&ActKind::ALL[1..]).prop_map(Step::Act),
        1 => Just(Step::RefuseAct),
        1 => Just(Step::Close),
        8 => (1..6u8).prop_map(Step::ToNode),
        8 => (1..6u8).prop_map(Step::ToClient),
        3 => ending().prop_map(Step::End),
        1 => (0..CloseCode::ALL.len()).prop_map(|at| Step::Told(CloseCode::ALL[at])),
        1 => any::<bool>().prop_map(Step::RefuseNext),
        1 => Just(Step::RefuseRoom),
        1 => Just(Step::ThrowOut),
        1 => Just(Step::GoAway),
        1 => Just(Step::ForgetSession),
        1 => Just(Step::ForgetNonces),
        1 => (0..200u32).prop_map(Step::LowerLimits),
        3 => (0..3_000_000u32).prop_map(Step::Advance),
        1 => Just(Step::Probe),
        1 => any::<bool>().prop_map(Step::Token),
    ]
}

/// How it ends in any case, after the steps.
#[derive(Clone, Copy, Debug)]
enum Last {
    Closed,
    RetriesRunOut,
    ToldNever,
    NoToken,
}

/// A session with its driver's part.
struct Run {
    world: World,
    is_connected: bool,
    awaits_token: bool,
    publications: BTreeSet<u64>,
    states: BTreeSet<u32>,
    acts: BTreeMap<u32, ActKind>,
}

impl Run {
    fn new() -> Run {
        let options = Options { seed: 1, retries_max: 3, unanswered_max: 12, ..Options::default() };
        let world = World::new(options);
        let (publications, states, acts) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        Run { world, is_connected: false, awaits_token: false, publications, states, acts }
    }

    fn end(&mut self, ending: Ending) {
        self.is_connected = false;
        let next = self.world.disconnect(ending);
        self.awaits_token = next == Next::Reauthenticate;
        assert_eq!(matches!(next, Next::GiveUp(_)), self.world.session.is_over());
    }

    fn settle_close(&mut self) {
        if self.is_connected && self.world.session.poll_close().is_some() {
            self.end(Ending::Eof);
        } else if !self.is_connected {
            let World { session, events, now_us, .. } = &mut self.world;
            session.poll_over(*now_us, &mut |event| events.push(event.to_owned()));
        }
    }

    fn give_up(&mut self, reason: Reason) {
        self.is_connected = false;
        let World { session, events, .. } = &mut self.world;
        session.give_up(reason, &mut |event| events.push(event.to_owned()));
    }

    fn apply(&mut self, step: &Step) {
        let world = &mut self.world;
        let room = world.session.room_id("show");
        match step {
            Step::Connect if !self.is_connected && !self.awaits_token => {
                self.is_connected = true;
                world.node.handle_disconnected();
                world.connect();
            }
            Step::Connect => {}
            Step::Subscribe => drop(world.session.subscribe("show", SubscribeOptions::default())),
            Step::Unsubscribe => room.into_iter().for_each(|room| world.unsubscribe(room)),
            Step::Publish => {
                let text = format!("{:200}.", self.publications.len());
                let publication = Publication { text: &text, ..Publication::default() };
                let nonce = room.and_then(|r| world.session.publish(world.now_us, r, &publication).ok());
                assert!(nonce.is_none_or(|nonce| self.publications.insert(nonce)), "a nonce twice");
            }
            Step::SetState => {
                let request = room.and_then(|room| world.session.set_state(room, "k", Some(b"v")).ok());
                self.states.extend(request);
            }
            Step::Act(act) => {
                let whole = ActParts {
                    act: *act,
                    target: Some(1),
                    seconds: 1,
                    category: Category::Spam,
                    text: "why",
                };
                let request = room.and_then(|room| world.session.act(room, &whole).ok());
                assert!(
                    request.is_none_or(|request| self.acts.insert(request, *act).is_none()),
                    "a number twice"
                );
            }
            Step::RefuseAct => world.node.refuse_acts ^= true,
            Step::Close => world.session.close(world.now_us),
            Step::ToNode(frames) => world.deliver_to_node((*frames).into()),
            Step::ToClient(frames) => world.deliver_to_client((*frames).into()),
            Step::End(ending) if self.is_connected || !self.awaits_token => self.end(ending.clone()),
            Step::End(_) => {}
            Step::Told(code) => {
                let (code, retry) = (code.wire(), code.retry());
                let error = ErrorFrame { code, retry, retry_after_ms: 0, detail: "" };
                world.node.send(&ServerFrame::Error(error));
            }
            Step::RefuseNext(may_retry) => {
                let reason = if *may_retry { Refusal::SlowMode } else { Refusal::RoomClosed };
                world.node.refuse_publish.push_back((reason, may_retry.then_some(5)));
            }
            Step::RefuseRoom => world.node.refuse_subscribe = Some((Refusal::Forbidden, None)),
            Step::ThrowOut if world.node.has_viewer() => {
                let (request, alias) = (0, world.node.alias());
                world.node.send(&ServerFrame::Unsubscribed { request, alias, reason: Refusal::Other });
            }
            Step::ThrowOut => {}
            Step::GoAway => {
                world.node.send(&ServerFrame::GoAway(GoAway { after_ms: 1, ..GoAway::default() }));
            }
            Step::ForgetSession => world.node.forgets_sessions ^= true,
            Step::ForgetNonces => world.node.remembers_ms = Some(1),
            Step::LowerLimits(bytes) => world.node.limits = (100 + bytes, 150 + bytes, 1),
            Step::Advance(us) => world.advance((*us).into()),
            Step::Probe => world.session.probe(world.now_us),
            Step::Token(is_given) if self.awaits_token => {
                self.awaits_token = false;
                if !is_given {
                    self.give_up(Reason::NoToken);
                }
            }
            Step::Token(_) => {}
        }
        if self.is_connected {
            self.world.transmit();
        }
        self.settle_close();
    }

    fn finish(&mut self, last: Last) {
        for _ in 0..100 {
            if self.world.session.is_over() {
                return;
            }
            match last {
                Last::Closed => {
                    self.awaits_token = false;
                    self.world.session.close(self.world.now_us);
                    self.apply(&Step::Advance(100_000));
                }
                Last::RetriesRunOut => {
                    self.awaits_token = false;
                    self.end(Ending::Broken(std::io::ErrorKind::ConnectionRefused));
                }
                Last::ToldNever => self.end(Ending::Code(CloseCode::Unauthorized.wire())),
                Last::NoToken => self.give_up(Reason::NoToken),
            }
        }
        panic!("not over after 100 turns: {last:?}");
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let (events, node) = (&self.world.events, &self.world.node);
        prop_assert!(matches!(events.last(), Some(E::Closed { .. })), "{:?}", events.last());
        let (mut outcomes, mut states) = (BTreeMap::<u64, u32>::new(), BTreeMap::<u32, u32>::new());
        let mut acts = BTreeMap::<u32, u32>::new();
        for event in events {
            match event {
                E::Published { nonce, .. } => {
                    *outcomes.entry(*nonce).or_default() += 1;
                    prop_assert!(node.nonces.contains_key(nonce));
                }
                E::Uncertain { nonce, .. } => *outcomes.entry(*nonce).or_default() += 1,
                E::NotSent { nonce, .. } => {
                    *outcomes.entry(*nonce).or_default() += 1;
                    prop_assert!(!node.nonces.contains_key(nonce), "not sent, and in the log");
                }
                E::Refused { kind, id, .. } if *kind == Kind::Publish as u8 => {
                    *outcomes.entry(*id).or_default() += 1;
                    prop_assert!(!node.nonces.contains_key(id), "refused, and in the log");
                }
                E::StateSet { request, .. } | E::StateUnanswered { request, .. } => {
                    *states.entry(*request).or_default() += 1;
                }
                E::Refused { kind, id, .. } if *kind == Kind::SetState as u8 => {
                    *states.entry(*id as u32).or_default() += 1;
                }
                E::Acted { request, .. } => {
                    *acts.entry(*request).or_default() += 1;
                    prop_assert!(node.acted.contains_key(request));
                }
                E::ActUnanswered { request, sent, .. } => {
                    *acts.entry(*request).or_default() += 1;
                    prop_assert!(*sent || !node.acted.contains_key(request), "not sent, and done");
                }
                E::Refused { kind, id, .. } if *kind == Kind::Act as u8 => {
                    *acts.entry(*id as u32).or_default() += 1;
                }
                _ => {}
            }
        }
        let once = |&nonce: &u64| (nonce, 1);
        prop_assert_eq!(outcomes, self.publications.iter().map(once).collect::<BTreeMap<_, _>>());
        let once = |&request: &u32| (request, 1);
        prop_assert_eq!(states, self.states.iter().map(once).collect::<BTreeMap<_, _>>());
        prop_assert_eq!(acts, self.acts.keys().map(once).collect::<BTreeMap<_, _>>());
        for (request, act) in &self.acts {
            let times = node.acted.get(request).copied().unwrap_or(0);
            let is_once = matches!(act, ActKind::Clear | ActKind::Warn | ActKind::Appeal);
            prop_assert!(!is_once || times <= 1, "{:?} was sent {} times", act, times);
        }
        prop_assert_eq!(events.iter().filter(|e| matches!(e, E::Closed { .. })).count(), 1);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_accepted_publication_ends_in_exactly_one_event(
        steps in prop::collection::vec(step(), 1..80),
        last in proptest::sample::select(vec![
            Last::Closed, Last::RetriesRunOut, Last::ToldNever, Last::NoToken,
        ]),
    ) {
        let mut run = Run::new();
        for step in &steps {
            if run.world.session.is_over() {
                break;
            }
            run.apply(step);
        }
        run.finish(last);
        run.check()?;
    }
}

/// The figure of the report: none of these had an outcome.
#[test]
fn a_close_before_the_welcome_says_of_each_publication_that_it_was_not_sent() {
    let mut world = World::new(Options::default());
    let nonces: Vec<u64> = (0..256).map(|n| world.publish(&n.to_string())).collect();
    world.connect();
    world.session.close(world.now_us);
    assert_eq!(world.session.poll_close(), None, "there is time for a welcome");
    world.advance(2_000_000);
    assert_eq!(world.session.poll_close(), Some(CloseCode::Normal));
    assert_eq!(world.disconnect(Ending::Eof), Next::GiveUp(Reason::Asked));
    let not_sent = world.events.iter().filter_map(|event| match event {
        E::NotSent { nonce, .. } => Some(*nonce),
        _ => None,
    });
    assert_eq!(not_sent.collect::<Vec<_>>(), nonces);
}

#[test]
fn a_close_gives_a_connection_that_fails_two_seconds_to_come_back() {
    let mut world = World::up();
    world.publish("last words");
    world.transmit();
    world.session.close(world.now_us);
    assert!(matches!(world.disconnect(Ending::Eof), Next::Reconnect { .. }));
    world.connect();
    world.settle();
    assert_eq!(world.session.poll_close(), Some(CloseCode::Normal));
    assert_eq!(world.count(|event| matches!(event, E::Published { .. })), 1);
}

#[test]
fn a_publication_on_its_way_in_a_room_that_is_left_still_gets_its_answer() {
    let mut world = World::up();
    let sent = world.publish("sent");
    world.transmit();
    world.unsubscribe(world.room);
    let room = world.room;
    let late = Publication { text: "late", ..Publication::default() };
    assert!(world.session.publish(world.now_us, room, &late).is_err(), "the room is left");
    // The room's end overtakes the answer.
    world.transmit();
    world.deliver_to_node(usize::MAX);
    let published = world.node.to_client.pop_front().unwrap();
    world.node.to_client.push_back(published);
    world.settle();
    assert!(world.events.iter().any(|e| matches!(e, E::Published { nonce, .. } if *nonce == sent)));
    assert_eq!(world.count(|e| matches!(e, E::Refused { .. })), 0);

    // Or never comes.
    let mut world = World::up();
    let sent = world.publish("sent");
    world.transmit();
    world.unsubscribe(world.room);
    world.disconnect(Ending::Eof);
    assert!(world.events.contains(&E::Uncertain { nonce: sent, text: "sent".into() }));
}

#[test]
fn what_is_between_cannot_end_a_session_that_worked() {
    let between = [
        Ending::Http { status: 200, retry_after_s: None },
        Ending::Http { status: 302, retry_after_s: None },
        Ending::Http { status: 403, retry_after_s: None },
        Ending::Http { status: 404, retry_after_s: None },
        Ending::Untrusted("a certificate of a hotel".into()),
        Ending::Connect(Box::new(ConnectError::UnknownAuthority)),
        Ending::Connect(Box::new(ConnectError::WrongFingerprint { expected: [0; 32], found: [1; 32] })),
        Ending::Connect(Box::new(ConnectError::NotANode { detail: "<html>".into() })),
        Ending::WebSocket(1008),
        Ending::WebSocket(1009),
    ];
    for ending in between {
        let mut world = World::up();
        for _ in 0..40 {
            let next = world.disconnect(ending.clone());
            assert!(matches!(next, Next::Reconnect { .. }), "{ending:?}: {next:?}");
        }
        world.connect();
        world.settle();
        assert!(world.session.is_live(world.room));
        // The node's own word ends it.
        let never = Ending::Code(CloseCode::Unauthorized.wire());
        assert!(matches!(world.disconnect(never), Next::GiveUp(_)));

        // Before it has ever worked, the tries are few, and each says why.
        let mut world = World::new(Options::default());
        let tries = (1..).find(|_| matches!(world.disconnect(ending.clone()), Next::GiveUp(_)));
        assert_eq!(tries, Some(5), "{ending:?}");
        let reason = Reason::Transport(ending);
        assert_eq!(world.count(|event| *event == E::Disconnected { reason: reason.clone() }), 5);
        assert_eq!(world.events.last(), Some(&E::Closed { reason }));
    }
}

#[test]
fn a_probe_ends_a_connection_that_does_not_answer_and_keeps_one_that_does() {
    let mut world = World::up();
    world.session.probe(world.now_us);
    world.settle();
    assert_eq!(world.count(|event| matches!(event, E::Pong { .. })), 1);
    world.advance(900_000);
    world.settle();
    assert_eq!(world.session.poll_close(), None);

    world.session.probe(world.now_us);
    world.advance(1_999_999);
    world.to_node.clear();
    assert_eq!(world.session.poll_close(), None, "two heartbeats, less a little");
    let mut long = World::new(Options::default());
    long.node.heartbeat_ms = 60_000;
    long.connect();
    long.settle();
    let began_us = long.now_us;
    long.session.probe(long.now_us);
    while long.session.poll_close().is_none() {
        long.advance(long.session.poll_timeout().unwrap() - long.now_us);
    }
    assert_eq!(long.now_us - began_us, 3_000_000);
    assert!(matches!(long.disconnect(Ending::Eof), Next::Reconnect { after_us: 0..500_000 }));
}

#[test]
fn a_told_retry_holds_for_codes_of_the_future() {
    let mut world = World::up();
    world.publish("sent");
    world.transmit();
    let error = ErrorFrame { code: 299, retry: Retry::Never, retry_after_ms: 0, detail: "" };
    world.node.send(&ServerFrame::Error(error));
    world.deliver_to_client(1);
    assert!(matches!(world.disconnect(Ending::Code(299)), Next::GiveUp(Reason::Told { code: 299, .. })));
    assert_eq!(world.count(|event| matches!(event, E::Uncertain { .. })), 1);
}
