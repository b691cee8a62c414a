//! The driver and the client over real loopback sockets, against the scripted node: all three transports.
//!
//! Why beside the tests against the real node (`edge`): this crate must not need it, and the scripted node
//! can be made to misbehave.

mod common;

#[path = "common/servers.rs"]
mod servers;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;

use grandstand_client::core::{
    ConnectError, Ending, Event, Options, OwnedEvent, Reason, Session, SubscribeOptions,
};
use grandstand_client::net::{
    Again, Client, ClientOptions, Connector, Control, Driver, Handler, OwnedPublication, TokenProvider,
    Trust, Url, now_us,
};
use grandstand_client::protocol::frame::ServerFrame;
use servers::{Server, certificate, connector, serve_quic, serve_tcp, tls, within};

/// The app's way: subscribe, say ten things, read them all, close.
async fn chat(server: Server) {
    let client = Client::connect(&connector(&server), &server.url, ClientOptions::default()).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    let (mut acks, mut texts, mut said) = (0, Vec::new(), 0);
    while texts.len() < 10 || acks < 10 {
        match within(client.next_event()).await.expect("not over yet") {
            OwnedEvent::Subscribed { .. } => {
                for n in 0..10 {
                    let text = n.to_string();
                    client.try_publish("show", OwnedPublication { text, ..Default::default() }).unwrap();
                    said += 1;
                }
            }
            OwnedEvent::Published { .. } => acks += 1,
            OwnedEvent::Message { text, .. } => texts.push(text),
            OwnedEvent::Fault { fault, .. } => panic!("{fault:?}"),
            OwnedEvent::Disconnected { reason } => panic!("{reason}"),
            _ => {}
        }
    }
    assert_eq!((said, texts.concat()), (10, "0123456789".into()));
    client.close();
    let mut last = None;
    while let Some(event) = within(client.next_event()).await {
        last = Some(event);
    }
    assert_eq!(last, Some(OwnedEvent::Closed { reason: Reason::Asked }));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

/// The session goes on under the provider's token: nobody reads events meanwhile but for the end.
#[tokio::test]
async fn a_provider_is_asked_before_the_token_runs_out() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let provider = TokenProvider::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { Some("the next".to_owned()) }
    });
    let options = ClientOptions { tokens: Some(provider), ..ClientOptions::default() };
    let client = Client::connect(&connector(&server), &server.url, options).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    loop {
        match within(client.next_event()).await.expect("not over yet") {
            OwnedEvent::Subscribed { .. } => {
                server.node.lock().unwrap().send(&ServerFrame::Expiring { in_ms: 30_000 });
                // The scripted node sends when it has read something.
                let publication = OwnedPublication { text: "a".to_owned(), ..Default::default() };
                client.try_publish("show", publication).unwrap();
            }
            OwnedEvent::Renewed { .. } => break,
            OwnedEvent::Disconnected { reason } => panic!("{reason}"),
            _ => {}
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "on the same connection");
    client.close();
}

#[tokio::test]
async fn an_app_chats_over_websocket() {
    chat(serve_tcp("ws", None, Trust::Nobody)).await;
}

#[tokio::test]
async fn an_app_chats_over_websocket_with_tls() {
    let (config, trust) = tls(b"http/1.1");
    chat(serve_tcp("wss", Some(config), trust)).await;
}

#[tokio::test]
async fn an_app_chats_over_quic() {
    chat(serve_quic()).await;
}

/// A viewer that says something, is cut off when it is acknowledged, and comes back, over and over.
struct Restless {
    said: u64,
    drops: u64,
    next: u64,
    held: bool,
}

const DROPS: u64 = 30;

impl Handler for Restless {
    fn handle_event(&mut self, _: u64, event: &Event<'_>) {
        match event {
            Event::Message { offset, .. } => {
                assert_eq!(*offset, self.next);
                self.next += 1;
            }
            Event::Fault { fault, .. } => panic!("{fault:?}"),
            _ => {}
        }
    }

    fn poll_control(&mut self, _: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let room = control.session.room_id("show").unwrap();
        if !control.session.is_live(room) {
            return None;
        }
        if self.drops < self.said {
            // The publication is on its way, or lost; its answer is.
            self.drops += 1;
            control.drop_connection();
        } else if self.next == DROPS {
            control.session.close(control.now_us);
        } else if !self.held {
            self.held = true;
            control.hold_reading_until(control.now_us + 20_000);
        } else if self.said == self.next {
            let publication = grandstand_client::core::Publication { text: "x", ..Default::default() };
            control.session.publish(control.now_us, room, &publication).unwrap();
            self.said += 1;
            return Some(control.now_us);
        }
        None
    }
}

async fn drop_and_resume(server: Server) {
    let mut session = Session::new(Options { seed: 9, ..Options::default() });
    session.subscribe("show", SubscribeOptions::default()).unwrap();
    let handler = Restless { said: 0, drops: 0, next: 0, held: false };
    let run = Driver::new(&connector(&server), &server.url, session, handler).run();
    let finished = within(run).await;
    assert_eq!(finished.reason, Reason::Asked);
    assert_eq!(finished.stats.connects, DROPS + 1);
    assert_eq!((finished.handler.next, finished.session.unanswered()), (DROPS, 0));
    assert_eq!(server.node.lock().unwrap().log.len() as u64, DROPS);
    assert!(finished.stats.frames_in > DROPS && finished.stats.bytes_in > finished.stats.frames_in);
}

#[tokio::test]
async fn a_viewer_that_drops_its_websocket_misses_nothing() {
    drop_and_resume(serve_tcp("ws", None, Trust::Nobody)).await;
}

#[tokio::test]
async fn a_viewer_that_drops_its_tls_misses_nothing() {
    let (config, trust) = tls(b"http/1.1");
    drop_and_resume(serve_tcp("wss", Some(config), trust)).await;
}

#[tokio::test]
async fn a_viewer_that_drops_its_quic_connection_misses_nothing() {
    drop_and_resume(serve_quic()).await;
}

#[tokio::test]
async fn what_is_said_again_under_its_nonce_stands_once() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    let client = Client::connect(&connector(&server), &server.url, ClientOptions::default()).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    let first = OwnedPublication { text: "once".into(), ..Default::default() };
    let nonce = client.try_publish("show", first.clone()).unwrap();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        if let OwnedEvent::Published { nonce, offset, repeated, .. } =
            within(client.next_event()).await.expect("not over yet")
        {
            answers.push((nonce, offset, repeated));
            let again = Some(Again { nonce, age: Duration::from_secs(2) });
            client.try_publish("show", OwnedPublication { again, ..first.clone() }).unwrap();
        }
    }
    assert_eq!(answers, [(nonce, 0, false), (nonce, 0, true)]);
    let node = server.node.lock().unwrap();
    assert_eq!((node.log.len(), node.ages_ms[0]), (1, 0));
    assert!(node.ages_ms[1] >= 2_000);
}

async fn reason_of(url: &Url, trust: &Trust) -> Reason {
    let session = Session::new(Options { retries_max: 0, ..Options::default() });
    let connector = Connector::new(trust).unwrap();
    within(Driver::new(&connector, url, session, |_: u64, _: &Event<'_>| {}).run()).await.reason
}

#[tokio::test]
async fn strangers_are_not_believed() {
    let (config, trust) = tls(b"http/1.1");
    let wss = serve_tcp("wss", Some(config), trust);
    let quic = serve_quic();
    let (_, _, other) = certificate();
    for trust in [Trust::Fingerprint([0; 32]), Trust::Pem(other.into_bytes()), Trust::Nobody] {
        for url in [&wss.url, &quic.url] {
            let reason = reason_of(url, &trust).await;
            let Reason::Transport(Ending::Connect(error)) = &reason else { panic!("{url}: {reason:?}") };
            let is_pinned = matches!(trust, Trust::Fingerprint(_));
            assert_eq!(matches!(**error, ConnectError::WrongFingerprint { .. }), is_pinned, "{url}: {error}");
            assert_eq!(**error == ConnectError::UnknownAuthority, !is_pinned, "{url}: {error}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}/v1").parse().unwrap();
    drop(listener);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let refused = Reason::Transport(Ending::Connect(Box::new(ConnectError::NobodyThere { address })));
    assert_eq!(reason_of(&url, &Trust::Nobody).await, refused);
}

#[test]
fn a_viewer_is_small() {
    let session = Session::new(Options::default());
    let connector = Connector::new(&Trust::Nobody).unwrap();
    let url: Url = "ws://127.0.0.1:1/v1".parse().unwrap();
    let run = Driver::new(&connector, &url, session, |_: u64, _: &Event<'_>| {}).run();
    let bytes = size_of_val(&run);
    // With heap, socket and task: `memory.rs`.
    assert!(bytes <= 1500, "the future has {bytes} bytes");
    assert!(now_us() < 1_000_000_000);
}
