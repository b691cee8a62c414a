//! Restarts on one host over real transports: the next process takes the sockets, and nobody is refused.
//!
//! Why real transports: what waits in a listener's queue, or comes by UDP, is the kernel's to hand over.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use common::quic::Quic;
use common::ws::{Ws, socket_from};
use common::{PATIENCE, config, frame};
use grandstand::{Addresses, Node};
use grandstand_client::core::{OwnedEvent, SubscribeOptions};
use grandstand_client::net::{Client, ClientOptions, Connector, OwnedPublication, Trust, Url};
use grandstand_harness::http;
use grandstand_harness::wait::until;
use grandstand_protocol::frame::{ClientFrame, Durability, Outcome, Publish, ServerFrame};
use grandstand_protocol::refusal::Refusal;

/// A directory that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("gs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn socket(&self) -> String {
        self.0.join("handover.sock").to_str().unwrap().to_owned()
    }

    fn key(&self) -> String {
        let path = self.0.join("shared.key");
        if !path.exists() {
            std::fs::write(&path, "5a".repeat(32)).unwrap();
        }
        path.to_str().unwrap().to_owned()
    }

    /// A node that hands over here, and takes over from who is here.
    fn node(&self, more: &[(&str, &str)]) -> Node {
        let (socket, key) = (self.socket(), self.key());
        let own = [
            ("node.handover", &*socket),
            ("auth.ticket_key_file", &key),
            ("node.workers", "2"),
            ("drain.grace_ms", "2000"),
        ];
        let own = own.iter().filter(|(key, _)| !more.iter().any(|(k, _)| k == key));
        Node::start(config(&own.chain(more).copied().collect::<Vec<_>>())).expect("the node starts")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// New clients of one transport, one after another, until told to stop. One that is not welcomed ends
/// its thread in a panic.
struct Newcomers {
    stop: Arc<AtomicBool>,
    welcomed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Newcomers {
    fn come(mut one: impl FnMut() + Send + 'static) -> Newcomers {
        let (stop, welcomed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), welcomed.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                one();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Newcomers { stop, welcomed, thread }
    }

    fn wait_for_more(&self, more: u64) {
        let (start, from) = (Instant::now(), self.welcomed.load(Ordering::Relaxed));
        while self.welcomed.load(Ordering::Relaxed) < from + more {
            assert!(!self.thread.is_finished(), "a new client was refused");
            assert!(start.elapsed() < PATIENCE, "new connections hang");
            std::thread::yield_now();
        }
    }

    fn all_were_welcomed(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every new client is welcomed");
        self.welcomed.load(Ordering::Relaxed)
    }
}

fn crowd(at: Addresses) -> Vec<Newcomers> {
    let (ws, wss, quic) = (at.ws.unwrap(), at.wss.unwrap(), at.quic.unwrap());
    vec![
        Newcomers::come(move || drop(Ws::welcomed(ws))),
        Newcomers::come(move || drop(Ws::welcomed_tls(wss))),
        Newcomers::come(move || drop(Quic::welcomed(quic))),
    ]
}

#[test]
fn restarts_by_hand_over_refuse_nobody_on_any_transport() {
    let dir = Dir::new("restarts");
    let mut node = dir.node(&[]);
    let at = node.addresses();
    let crowd = crowd(at);
    for _ in 0..4 {
        crowd.iter().for_each(|clients| clients.wait_for_more(5));
        let next = dir.node(&[]);
        assert_eq!(next.addresses(), at, "the same sockets, where any port was asked for");
        until("the one before is over", || node.is_over());
        std::mem::replace(&mut node, next).stop();
    }
    crowd.iter().for_each(|clients| clients.wait_for_more(5));
    for clients in crowd {
        assert!(clients.all_were_welcomed() > 20);
    }
}

fn ping(client_us: u64) -> Vec<u8> {
    frame(&ClientFrame::Ping { client_us })
}

fn go_away(bytes: &[u8]) -> bool {
    matches!(ServerFrame::decode(bytes).unwrap(), ServerFrame::GoAway(_))
}

#[test]
fn connections_that_stand_go_on_until_they_are_sent_over() {
    let dir = Dir::new("standing");
    // Nobody is sent over while the test looks.
    let slow = [("drain.handover_spread_ms", "600000"), ("drain.spread_ms", "600000")];
    let first = dir.node(&slow);
    let at = first.addresses();
    let mut of_first: Vec<Quic> = (0..8).map(|_| Quic::welcomed(at.quic.unwrap())).collect();
    let mut ws = Ws::welcomed(at.ws.unwrap());
    let second = dir.node(&slow);
    let mut of_second: Vec<Quic> = (0..8).map(|_| Quic::welcomed(at.quic.unwrap())).collect();
    let third = dir.node(&slow);
    let mut of_third = Quic::welcomed(at.quic.unwrap());
    assert!(go_away(&ws.next_frame()), "told where to go");
    ws.send(&ping(1));
    assert!(matches!(ServerFrame::decode(&ws.next_frame()).unwrap(), ServerFrame::Pong { .. }));
    // By the third process's sockets, over the second to the first.
    for round in 0..20 {
        for quic in of_first.iter_mut().chain(&mut of_second).chain([&mut of_third]) {
            quic.send(&ping(round));
            let pong = loop {
                let bytes = quic.next_frame();
                if !go_away(&bytes) {
                    break bytes;
                }
            };
            assert!(
                matches!(ServerFrame::decode(&pong).unwrap(), ServerFrame::Pong { client_us, .. } if client_us == round)
            );
        }
    }
    assert_eq!((first.connections(), second.connections(), third.connections()), (9, 8, 1));
    assert!(!first.is_over());
    first.stop();
    second.stop();
    // Their processes are gone: the third one's reset tells a client that asks.
    let lost = of_first.pop().unwrap();
    drop(lost);
    of_third.send(&ping(99));
    assert!(matches!(ServerFrame::decode(&of_third.next_frame()).unwrap(), ServerFrame::Pong { .. }));
}

#[test]
fn a_next_process_that_cannot_start_leaves_this_one_serving() {
    let dir = Dir::new("failing");
    let node = dir.node(&[]);
    let at = node.addresses();
    let mut viewer = Ws::welcomed(at.ws.unwrap());
    for _ in 0..2 {
        let missing = [("tls.cert", "/nowhere/cert.pem"), ("tls.key", "/nowhere/key.pem")];
        let (socket, key) = (dir.socket(), dir.key());
        let own = [("node.handover", &*socket), ("auth.ticket_key_file", &key), ("node.workers", "2")];
        let flags: Vec<_> = own.into_iter().chain(missing).collect();
        assert!(Node::start(config(&flags)).is_err());
    }
    viewer.send(&ping(7));
    assert!(matches!(ServerFrame::decode(&viewer.next_frame()).unwrap(), ServerFrame::Pong { .. }));
    assert_eq!(node.drain_status().state, "serving");
    drop((Ws::welcomed(at.ws.unwrap()), Ws::welcomed_tls(at.wss.unwrap()), Quic::welcomed(at.quic.unwrap())));
    let next = dir.node(&[]);
    assert_eq!(next.addresses(), at);
    until("clients are sent over", || node.drain_status().state == "handed_over");
}

#[test]
fn another_address_is_bound_and_a_dead_process_s_socket_is_replaced() {
    let dir = Dir::new("addresses");
    // One that serves fewer viewers' addresses gives all of them; what is new is bound.
    let node = dir.node(&[("ws.listen", "off"), ("quic.listen", "off")]);
    let at = node.addresses();
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let next = dir.node(&[
        ("ws.listen", &elsewhere.to_string()),
        ("quic.listen", "off"),
        ("admin.listen", &admin.to_string()),
    ]);
    assert_eq!(next.addresses(), Addresses { ws: Some(elsewhere), admin: Some(admin), ..at });
    drop(Ws::welcomed(elsewhere));
    node.stop();
    next.stop();
    assert!(!PathBuf::from(dir.socket()).exists(), "who stops takes its file with it");
    // What a killed process leaves.
    drop(std::os::unix::net::UnixListener::bind(dir.socket()).unwrap());
    let fresh = dir.node(&[]);
    drop(Ws::welcomed(fresh.addresses().ws.unwrap()));
}

#[test]
fn a_process_that_would_close_an_address_of_viewers_is_refused_and_the_first_goes_on() {
    let dir = Dir::new("elsewhere");
    let node = dir.node(&[]);
    let at = node.addresses();
    let mut viewer = Ws::welcomed(at.ws.unwrap());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (socket, tickets) = (dir.socket(), dir.key());
    for key in ["ws.listen", "wss.listen", "quic.listen"] {
        for address in [&*free, "off"] {
            let flags = [
                ("node.handover", &*socket),
                ("auth.ticket_key_file", &*tickets),
                ("node.workers", "2"),
                (key, address),
            ];
            let error = Node::start(config(&flags)).expect_err("it is refused");
            assert!(error.to_string().contains(key) && error.to_string().contains(address), "{error}");
            assert!(error.hint().contains("stop it first"), "{}", error.hint());
        }
    }
    viewer.send(&ping(7));
    assert!(matches!(ServerFrame::decode(&viewer.next_frame()).unwrap(), ServerFrame::Pong { .. }));
    assert_eq!(node.drain_status().state, "serving");
    drop((Ws::welcomed(at.ws.unwrap()), Ws::welcomed_tls(at.wss.unwrap()), Quic::welcomed(at.quic.unwrap())));
}

/// What one client of the Rust library went through.
#[derive(Debug, Default)]
struct Life {
    welcomes: u64,
    resumed: u64,
    waits: u64,
    texts: Vec<String>,
}

#[test]
fn clients_follow_restarts_without_a_pause_and_keep_their_sessions() {
    let dir = Dir::new("clients");
    let mut node = dir.node(&[("drain.handover_spread_ms", "300")]);
    let at = node.addresses();
    // Clients live on a thread of their own, while this one starts and stops nodes.
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runtime = own.handle().clone();
    std::thread::spawn(move || own.block_on(std::future::pending::<()>()));
    let _inside = runtime.enter();
    let connector = Connector::new(&Trust::AnyoneForTests).unwrap();
    let urls = [
        format!("ws://{}/v1", at.ws.unwrap()),
        format!("wss://{}/v1", at.wss.unwrap()),
        format!("quic://{}", at.quic.unwrap()),
    ];
    let clients: Vec<Client> = urls
        .iter()
        .map(|url| {
            Client::connect(&connector, url.parse::<Url>().unwrap(), ClientOptions::default()).unwrap()
        })
        .collect();
    let mut lives: Vec<Life> = clients.iter().map(|_| Life::default()).collect();
    clients.iter().for_each(|c| c.subscribe("show", SubscribeOptions::default()).unwrap());
    for round in 0..3 {
        runtime.block_on(async {
            for (client, life) in clients.iter().zip(&mut lives) {
                live_until(client, life, |life| life.welcomes > round).await;
            }
            // Everybody says something, and hears everybody.
            for (client, url) in clients.iter().zip(&urls) {
                client
                    .try_publish(
                        "show",
                        OwnedPublication { text: format!("{round} {url}"), ..Default::default() },
                    )
                    .unwrap();
            }
            for (client, life) in clients.iter().zip(&mut lives) {
                let is_said = |life: &Life| urls.iter().all(|u| life.texts.contains(&format!("{round} {u}")));
                live_until(client, life, is_said).await;
            }
        });
        let next = dir.node(&[("drain.handover_spread_ms", "300")]);
        runtime.block_on(async {
            for (client, life) in clients.iter().zip(&mut lives) {
                live_until(client, life, |life| life.welcomes == round + 2).await;
            }
        });
        until("all have left by themselves", || node.is_over());
        std::mem::replace(&mut node, next).stop();
    }
    for life in &lives {
        assert_eq!((life.welcomes, life.resumed, life.waits), (4, 3, 0), "{life:?}");
        let mut once = life.texts.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), life.texts.len(), "nothing comes twice");
    }
}

async fn live_until(client: &Client, life: &mut Life, is_done: impl Fn(&Life) -> bool) {
    while !is_done(life) {
        let event =
            tokio::time::timeout(PATIENCE, client.next_event()).await.unwrap_or_else(|_| panic!("{life:?}"));
        match event.expect("the session goes on") {
            OwnedEvent::Welcome { resumed, .. } => {
                life.welcomes += 1;
                life.resumed += u64::from(resumed);
            }
            OwnedEvent::Reconnecting { .. } => life.waits += 1,
            OwnedEvent::Message { text, .. } => life.texts.push(text.into()),
            event @ (OwnedEvent::Refused { .. }
            | OwnedEvent::Fault { .. }
            | OwnedEvent::Uncertain { .. }
            | OwnedEvent::NotSent { .. }) => {
                panic!("{event:?}")
            }
            _ => {}
        }
    }
}

/// Everything that a client was told of its room and its publications.
#[derive(Debug, Default)]
struct Told {
    heard: Vec<(u64, String)>,
    epochs: Vec<u64>,
    outcomes: Vec<Outcome>,
    acknowledged: Vec<u64>,
    durability: Option<Durability>,
}

/// Take events until so; anything that a restart must not bring about is a failure.
async fn listen_until(client: &Client, told: &mut Told, is_done: impl Fn(&Told) -> bool) {
    while !is_done(told) {
        let event = tokio::time::timeout(PATIENCE, client.next_event()).await;
        match event
            .unwrap_or_else(|_| panic!("nothing comes any more: {told:?}"))
            .expect("the session goes on")
        {
            OwnedEvent::Message { offset, text, .. } => told.heard.push((offset, text.into())),
            OwnedEvent::Subscribed { epoch, outcome, .. } => {
                told.epochs.push(epoch);
                told.outcomes.push(outcome);
            }
            OwnedEvent::Published { nonce, durability, .. } => {
                assert_eq!(*told.durability.get_or_insert(durability), durability);
                told.acknowledged.push(nonce);
            }
            event @ (OwnedEvent::Refused { .. }
            | OwnedEvent::Fault { .. }
            | OwnedEvent::Gap { .. }
            | OwnedEvent::Uncertain { .. }
            | OwnedEvent::NotSent { .. }
            | OwnedEvent::Reconnecting { .. }) => panic!("{event:?}"),
            _ => {}
        }
    }
}

#[test]
fn rooms_on_disk_go_on_over_restarts_as_if_nothing_had_been() {
    let dir = Dir::new("durable");
    let log = dir.0.join("log").to_str().unwrap().to_owned();
    let recorder = dir.0.join("recorder").to_str().unwrap().to_owned();
    go_on_over_restarts(&[("log.dir", &log), ("log.recorder_dir", &recorder)], Durability::Disk);
}

/// Without any file: rooms, positions, nonces and sessions pass from process to process.
#[test]
fn rooms_in_memory_go_on_over_restarts_as_if_nothing_had_been() {
    let dir = Dir::new("memory");
    go_on_over_restarts(&[("node.handover", &dir.socket())], Durability::Memory);
}

fn go_on_over_restarts(own: &[(&str, &str)], durability: Durability) {
    const RESTARTS: u32 = 3;
    let common = [
        ("node.workers", "2"),
        ("drain.handover_spread_ms", "200"),
        ("limits.publish_per_s", "100000"),
        ("limits.publish_burst", "100000"),
        ("limits.frames_per_s", "100000"),
    ];
    let flags = [own, &common].concat();
    let start = || Node::start(config(&flags)).expect("the node starts");
    let mut node = start();
    let at = node.addresses();
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runtime = own.handle().clone();
    std::thread::spawn(move || own.block_on(std::future::pending::<()>()));
    let _inside = runtime.enter();
    let connector = Connector::new(&Trust::AnyoneForTests).unwrap();
    let urls = [
        format!("ws://{}/v1", at.ws.unwrap()),
        format!("wss://{}/v1", at.wss.unwrap()),
        format!("quic://{}", at.quic.unwrap()),
    ];
    let clients: Vec<Client> = urls
        .iter()
        .map(|url| {
            Client::connect(&connector, url.parse::<Url>().unwrap(), ClientOptions::default()).unwrap()
        })
        .collect();
    let mut told: Vec<Told> = clients.iter().map(|_| Told::default()).collect();
    clients.iter().for_each(|c| c.subscribe("show", SubscribeOptions::default()).unwrap());
    runtime.block_on(async {
        for (client, told) in clients.iter().zip(&mut told) {
            listen_until(client, told, |told| !told.epochs.is_empty()).await;
        }
    });
    let (restarted, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut said = Vec::new();
    std::thread::scope(|scope| {
        let (restarted, acknowledged) = (&restarted, &acknowledged);
        scope.spawn(move || {
            for _ in 0..RESTARTS {
                let before = acknowledged.load(Ordering::Acquire);
                until("the room is busy", || acknowledged.load(Ordering::Acquire) >= before + 10);
                let next = start();
                until("all have left by themselves", || node.is_over());
                std::mem::replace(&mut node, next).stop();
                restarted.fetch_add(1, Ordering::Release);
            }
            restarted.fetch_add(1, Ordering::Release);
            // The last one stands until the test has looked.
            until("the test has looked", || restarted.load(Ordering::Acquire) > u64::from(RESTARTS) + 1);
            node.stop();
        });
        runtime.block_on(async {
            // One after another, each by another client, all the time.
            while restarted.load(Ordering::Acquire) <= u64::from(RESTARTS) {
                let by = said.len() % clients.len();
                let text = said.len().to_string();
                let nonce = clients[by]
                    .try_publish("show", OwnedPublication { text: text.clone(), ..Default::default() })
                    .unwrap();
                said.push(text);
                listen_until(&clients[by], &mut told[by], |told| told.acknowledged.contains(&nonce)).await;
                acknowledged.fetch_add(1, Ordering::Release);
            }
            for (client, told) in clients.iter().zip(&mut told) {
                listen_until(client, told, |told| told.heard.len() >= said.len()).await;
            }
        });
        restarted.fetch_add(1, Ordering::Release);
    });
    let all: Vec<_> = (0..).zip(said).collect();
    assert!(all.len() > 20, "there was something to lose: {}", all.len());
    for told in told {
        assert_eq!(told.heard, all, "everything once and in order");
        assert_eq!(told.durability, Some(durability));
        assert!(told.epochs.iter().all(|epoch| *epoch == told.epochs[0]), "one log");
        assert_eq!(told.outcomes.len(), 1 + RESTARTS as usize);
        assert!(told.outcomes[1..].iter().all(|outcome| *outcome == Outcome::Resumed), "{:?}", told.outcomes);
    }
}

/// What the node says to a publication in `slow`, from this address and without a ticket.
fn say_slowly(at: Addresses, from: &str) -> Option<Refusal> {
    let mut ws = Ws::over(socket_from(from, at.ws.unwrap()), false, "/v1", "").expect("upgraded");
    ws.send(&common::hello());
    ws.next_frame();
    ws.send(&common::subscribe(1, "slow"));
    let alias = loop {
        if let Ok(ServerFrame::Subscribed(s)) = ServerFrame::decode(&ws.next_frame()) {
            break s.alias;
        }
    };
    ws.send(&frame(&ClientFrame::Publish(Publish { alias, nonce: 1, text: "a", ..Publish::default() })));
    loop {
        match ServerFrame::decode(&ws.next_frame()) {
            Ok(ServerFrame::Published(_)) => return None,
            Ok(ServerFrame::Refused(refused)) => return Some(refused.reason),
            _ => {}
        }
    }
}

/// An anonymous person brings nothing but an address, which the next process must know again.
#[test]
fn slow_mode_holds_anonymous_people_over_a_hand_over() {
    let dir = Dir::new("slow");
    let own = [("drain.handover_spread_ms", "100")];
    let mut node = dir.node(&own);
    let at = node.addresses();
    let admin = at.admin.unwrap();
    http::request_with(admin, "POST", "/rooms", r#"{"name":"slow"}"#).unwrap();
    http::request_with(admin, "PUT", "/rooms/slow/state/gs.slow_ms", "3600000").unwrap();
    assert_eq!(say_slowly(at, "127.0.0.1"), None);
    for speaker in 1..4u32 {
        let next = dir.node(&own);
        until("the first is over", || node.is_over());
        std::mem::replace(&mut node, next).stop();
        let at = node.addresses();
        assert_eq!(say_slowly(at, "127.0.0.1"), Some(Refusal::SlowMode), "after hand-over {speaker}");
        assert_eq!(say_slowly(at, &format!("127.0.1.{speaker}")), None, "somebody else");
    }
    node.stop();
}
