//! The client over real loopback sockets: outcomes whatever ends it, tasks that wait, state, errors as
//! values.
//!
//! Not here: the session alone (`outcomes.rs`, `inputs.rs`), ways to a node (`reaching.rs`).

mod common;

#[path = "common/servers.rs"]
mod servers;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use grandstand_client::core::{Options, OwnedEvent as E, Reason, RequestError, SubscribeOptions};
use grandstand_client::net::{
    Client, ClientOptions, Connector, Events, PublishError, Receipt, Status, Trust, Url,
};
use grandstand_client::protocol::refusal::Refusal;
use servers::{Server, connector, serve_quic, serve_tcp, tls, within};

fn begin(server: &Server) -> Client {
    let client = Client::connect(&connector(server), &server.url, ClientOptions::default()).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    client
}

/// A port on which connections are made and nothing is answered.
fn silent_port() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://127.0.0.1:{}/v1", listener.local_addr().unwrap().port());
    (listener, url.parse().unwrap())
}

async fn drain(client: &Client) -> Vec<E> {
    let mut events = Vec::new();
    while let Some(event) = within(client.next_event()).await {
        events.push(event);
    }
    events
}

/// One outcome each, and `Closed` last.
fn check(events: &[E], accepted: &[u64]) -> (usize, usize) {
    let (mut outcomes, mut uncertain) = (BTreeMap::<u64, u32>::new(), 0);
    for event in events {
        match event {
            E::Published { nonce, .. } | E::NotSent { nonce, .. } => {
                *outcomes.entry(*nonce).or_default() += 1;
            }
            E::Uncertain { nonce, .. } => {
                uncertain += 1;
                *outcomes.entry(*nonce).or_default() += 1;
            }
            E::Refused { id, .. } => *outcomes.entry(*id).or_default() += 1,
            _ => {}
        }
    }
    assert_eq!(outcomes, accepted.iter().map(|&nonce| (nonce, 1)).collect::<BTreeMap<_, _>>());
    assert!(matches!(events.last(), Some(E::Closed { .. })), "{:?}", events.last());
    (outcomes.len(), uncertain)
}

fn fill(client: &Client) -> Vec<u64> {
    let mut nonces = Vec::new();
    loop {
        match client.try_publish("show", "words") {
            Ok(nonce) => nonces.push(nonce),
            Err(error) => {
                assert_eq!(error, RequestError::Full);
                assert!(error.may_retry());
                return nonces;
            }
        }
    }
}

/// The figure of the report: 1,280 accepted, and none had an outcome.
#[tokio::test]
async fn a_close_before_the_welcome_leaves_no_publication_without_an_outcome() {
    let (_listener, url) = silent_port();
    let client = Client::connect(&Connector::new(&Trust::Nobody).unwrap(), &url, ClientOptions::default());
    let client = client.unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    let mut nonces = fill(&client);
    // The session takes some, and the queue has room again.
    while nonces.len() < 1_279 {
        tokio::task::yield_now().await;
        nonces.extend(fill(&client));
    }
    let asked = Instant::now();
    client.close();
    assert_eq!(client.try_publish("show", "late"), Err(RequestError::Over));
    assert_eq!(check(&drain(&client).await, &nonces), (nonces.len(), 0));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn retries_that_run_out_leave_no_publication_without_an_outcome() {
    let (listener, url) = silent_port();
    drop(listener);
    let session = Options { retries_max: 2, backoff_ms: 20, ..Options::default() };
    let options = ClientOptions { session, ..ClientOptions::default() };
    let client = Client::connect(&Connector::new(&Trust::Nobody).unwrap(), &url, options).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    let nonces: Vec<u64> = (0..300).map(|_| client.try_publish("show", "words").unwrap()).collect();
    check(&drain(&client).await, &nonces);
    assert_eq!(client.status(), Status::Over);
    assert_eq!(client.try_publish("show", "late"), Err(RequestError::Over));
    assert_eq!(client.publish("show", "late").await, Err(PublishError::Request(RequestError::Over)));
}

#[test]
fn a_runtime_that_stops_leaves_no_publication_without_an_outcome() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (stopped, other) = (runtime(), runtime());
    let server = serve_tcp("ws", None, Trust::Nobody);
    let guard = stopped.enter();
    let client = begin(&server);
    drop(guard);
    other.block_on(async {
        while !matches!(within(client.next_event()).await, Some(E::Subscribed { .. })) {}
        // The node keeps its answers to itself.
        server.node.lock().unwrap().is_mute = true;
        let nonces: Vec<u64> = (0..20).map(|_| client.try_publish("show", "words").unwrap()).collect();
        let waiting = client.publish("show", "awaited");
        let stop = async {
            stopped.shutdown_background();
        };
        let (answer, ()) = tokio::join!(within(waiting), stop);
        assert!(matches!(answer, Err(PublishError::Uncertain | PublishError::NotSent)), "{answer:?}");
        let events = drain(&client).await;
        assert!(matches!(events.last(), Some(E::Closed { reason: Reason::Stopped })));
        let outcomes = |e: &&E| matches!(e, E::NotSent { .. } | E::Uncertain { .. });
        assert_eq!(events.iter().filter(outcomes).count(), nonces.len() + 1);
    });
}

async fn next(events: &mut Events) -> Option<E> {
    std::future::poll_fn(|cx| futures_core::Stream::poll_next(std::pin::Pin::new(&mut *events), cx)).await
}

/// The last handle is dropped at once after the publications: they are in the log.
#[tokio::test]
async fn the_last_words_before_the_handle_is_dropped_are_published() {
    for server in [serve_tcp("ws", None, Trust::Nobody), serve_quic()] {
        let client = begin(&server);
        let mut events = client.events();
        for n in 0..5 {
            client.try_publish("show", n.to_string()).unwrap();
        }
        drop(client);
        let mut published = 0;
        while let Some(event) = within(next(&mut events)).await {
            published += usize::from(matches!(event, E::Published { .. }));
        }
        assert_eq!((published, server.node.lock().unwrap().log.len()), (5, 5));
    }
}

#[tokio::test]
async fn a_publication_can_be_awaited_over_each_transport() {
    let (config, trust) = tls(b"http/1.1");
    let servers = [serve_tcp("ws", None, Trust::Nobody), serve_tcp("wss", Some(config), trust), serve_quic()];
    for server in servers {
        let client = begin(&server);
        let answer: Receipt = within(client.publish("show", "hello")).await.unwrap();
        assert_eq!((answer.epoch, answer.offset, answer.repeated), (common::EPOCH, 0, false));
        let elsewhere = within(client.publish("elsewhere", "hello")).await;
        let Err(PublishError::Refused { reason: Refusal::NotSubscribed, .. }) = elsewhere else {
            panic!("{elsewhere:?}");
        };
        server.node.lock().unwrap().refuse_publish.push_back((Refusal::SlowMode, Some(7)));
        let refused = within(client.publish("show", "too fast")).await;
        let (reason, retry_after) = (Refusal::SlowMode, Some(Duration::from_millis(7)));
        assert_eq!(refused, Err(PublishError::Refused { reason, retry_after, detail: "".into() }));
        // A caller that gives up changes nothing.
        let mut dropped = Box::pin(client.publish("show", "dropped"));
        let polled = std::future::poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_pending())).await;
        drop(dropped);
        assert!(polled);
        assert_eq!(within(client.publish("show", "after")).await.unwrap().offset, 2);
        assert_eq!(client.url(), Some(server.url));
    }
}

#[tokio::test]
async fn tasks_that_wait_share_the_events_and_all_learn_of_the_end() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    let client = begin(&server);
    let waits = |client: Client| async move {
        let mut seen = 0;
        while client.next_event().await.is_some_and(|event| {
            seen += usize::from(matches!(event, E::Published { .. }));
            true
        }) {}
        seen
    };
    let tasks: Vec<_> = (0..3).map(|_| tokio::spawn(waits(client.clone()))).collect();
    for n in 0..50 {
        within(client.publish("show", n.to_string())).await.unwrap();
    }
    // One that waited and went: its wake-up must not be lost for the others.
    for _ in 0..5 {
        let mut gone = Box::pin(client.next_event());
        let _ = std::future::poll_fn(|cx| Poll::Ready(gone.as_mut().poll(cx).is_pending())).await;
    }
    client.close();
    let mut seen = 0;
    for task in tasks {
        seen += within(task).await.unwrap();
    }
    assert!((45..=50).contains(&seen), "{seen}: five may have gone to those that went");
    assert_eq!(within(client.next_event()).await, None);
}

#[tokio::test]
async fn what_a_node_would_close_for_is_an_error_of_the_call() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    server.node.lock().unwrap().limits = (100, 1024, 2);
    let client = begin(&server);
    within(client.publish("show", "first")).await.unwrap();
    let refused = |reason| Err(RequestError::Refused(reason));
    assert_eq!(client.try_publish("show", "x".repeat(101)).map(drop), refused(Refusal::TooLarge));
    assert_eq!(client.try_publish("show", "a\0b").map(drop), refused(Refusal::BadText));
    assert_eq!(client.try_publish("show", "").map(drop), refused(Refusal::Empty));
    assert_eq!(client.react("show", "a\nb", 1), refused(Refusal::BadText));
    assert_eq!(client.set_state("show", "", None), refused(Refusal::BadText));
    assert_eq!(client.set_state("show", "k", Some(&[0; 4097])), refused(Refusal::TooLarge));
    assert_eq!(client.subscribe("a\u{1}b", SubscribeOptions::default()), refused(Refusal::BadName));
    assert_eq!(client.subscribe("second", SubscribeOptions::default()), Ok(()));
    assert_eq!(client.subscribe("third", SubscribeOptions::default()), refused(Refusal::TooManyRooms));
    assert_eq!(client.set_token(&"x".repeat(4097)), refused(Refusal::TooLarge));
    let session = Options { name: "\u{7}".into(), ..Options::default() };
    let options = ClientOptions { session, ..ClientOptions::default() };
    let bad = Client::connect(&connector(&server), &server.url, options);
    assert_eq!(bad.map(drop), refused(Refusal::BadName));
    // Only the session knows that this frame would be too large.
    client.set_state("show", "k", Some(&[0; 1000])).unwrap();
    within(client.publish("show", "still here")).await.unwrap();
    client.close();
    let events = drain(&client).await;
    assert!(events.iter().any(|e| matches!(e, E::Refused { reason: Refusal::TooLarge, .. })));
    assert_eq!(events.last(), Some(&E::Closed { reason: Reason::Asked }));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn rooms_positions_and_state_are_those_of_the_events_that_were_taken() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    server.node.lock().unwrap().set_state("score", b"1:0");
    let client = begin(&server);
    assert_eq!((client.status(), client.position("show"), client.url()), (Status::Connecting, None, None));
    for n in 0..3 {
        within(client.publish("show", n.to_string())).await.unwrap();
    }
    assert_eq!(client.position("show"), None, "no event was taken yet");
    let mut messages = 0;
    while messages < 3 {
        if let E::Message { offset, .. } = within(client.next_event()).await.unwrap() {
            messages += 1;
            assert_eq!(client.position("show"), Some((common::EPOCH, offset + 1)));
        }
    }
    assert_eq!(client.state("show", "score").as_deref(), Some(&b"1:0"[..]));
    assert_eq!(client.states("show").len(), 1);
    let rooms = client.rooms();
    assert!(rooms.len() == 1 && rooms[0].is_live && &*rooms[0].name == "show");
    assert_eq!(client.status(), Status::Connected);
    client.unsubscribe("show").unwrap();
    assert_eq!((client.rooms(), client.position("show")), (Vec::new(), None));
}

/// Everything stops in both directions, as when a phone leaves its Wi-Fi; nothing is closed.
async fn leave_the_network(server: &Server, proxy: &Proxy) {
    let url: Url = format!("ws://127.0.0.1:{}/v1", proxy.address.port()).parse().unwrap();
    let session = Options { backoff_ms: 50, ..Options::default() };
    let options = ClientOptions { session, ..ClientOptions::default() };
    let client = Client::connect(&connector(server), &url, options).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    within(client.publish("show", "before")).await.unwrap();
    // A call on a network that works keeps the connection.
    client.network_changed();
    within(client.publish("show", "still")).await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    proxy.stop.store(true, Ordering::SeqCst);
    let began = Instant::now();
    client.network_changed();
    let receipt = within(client.publish("show", "after")).await.unwrap();
    assert_eq!((receipt.offset, receipt.repeated), (2, false));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

/// A proxy whose first connection can be stopped.
struct Proxy {
    address: SocketAddr,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

async fn proxy(to: u16) -> Proxy {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
    let flag = stop.clone();
    tokio::spawn(async move {
        let mut is_first = true;
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
                (near.into_split(), far.into_split());
            let stops = std::mem::take(&mut is_first).then(|| flag.clone());
            let is_stopped = move || stops.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst));
            let other = is_stopped.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = near_in.read(&mut bytes).await {
                    if !is_stopped() && far_out.write_all(&bytes[..read]).await.is_err() {
                        break;
                    }
                }
            });
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = far_in.read(&mut bytes).await {
                    if !other() && near_out.write_all(&bytes[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Proxy { address, stop }
}

#[tokio::test]
async fn a_call_after_the_network_changed_leaves_a_dead_connection() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    server.node.lock().unwrap().heartbeat_ms = 600_000;
    let proxy = proxy(server.url.port()).await;
    leave_the_network(&server, &proxy).await;
}

#[tokio::test]
async fn a_call_after_the_network_changed_ends_a_wait() {
    let (listener, url) = silent_port();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let session = Options { backoff_ms: 600_000, backoff_max_ms: 600_000, seed: 8, ..Options::default() };
    let options = ClientOptions { session, ..ClientOptions::default() };
    let client = Client::connect(&Connector::new(&Trust::Nobody).unwrap(), &url, options).unwrap();
    loop {
        if let E::Reconnecting { after_us, .. } = within(client.next_event()).await.unwrap() {
            assert!(after_us > 60_000_000, "the seed gives a long wait: {after_us}");
            break;
        }
    }
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    client.network_changed();
    within(listener.accept()).await.unwrap();
}
