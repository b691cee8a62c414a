//! A hostile node: it sends without end what a client might keep, and a client keeps no more for it.
//!
//! Why every kind of frame: each could feed a table, and the next table that is added must be tried as well.
//! Memory is that of the process, before and after more bytes than a client may keep.
//! Not here: malformed frames (`session`, the fuzz targets), tables that only an app fills (`inputs`).
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::ScriptedNode;
use grandstand_client::core::{
    Ending, Event, Options, OwnedEvent, RequestError, RoomId, Session, SubscribeOptions,
};
use grandstand_client::net::{Client, ClientOptions, Connector, Trust, Url};
use grandstand_client::protocol::batch::{BatchWriter, MessageParts};
use grandstand_client::protocol::close::Retry;
use grandstand_client::protocol::compress::Compressor;
use grandstand_client::protocol::frame::*;
use grandstand_client::protocol::limits::{CLIENT_FRAME_BYTES_MAX, SERVER_FRAME_BYTES_MAX};
use grandstand_client::protocol::refusal::Refusal;
use grandstand_client::protocol::stream::read_header;
use grandstand_client::protocol::version::capability;
use grandstand_client::protocol::websocket::handshake::{parse_request, write_response};
use grandstand_client::protocol::websocket::{self, Input, Limits, Opcode, Reader, Role as Side};

const ALIAS: u32 = 3;
const EPOCH: u64 = 7;

/// Frames of one kind, with 4 KB each: far more than what a client may keep.
const FRAMES: u64 = 20_000;
const KEPT_BYTES_MAX: usize = 24 << 20;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A text that comes once, 4,000 bytes long.
fn text(n: u64) -> String {
    format!("{n:04000}")
}

fn encoded(frame: &ServerFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().server(frame, &mut out);
    out
}

fn welcome<'a>(ticket: &'a [u8], name: &'a str) -> ServerFrame<'a> {
    ServerFrame::Welcome(Welcome {
        version: 1,
        ticket,
        heartbeat_ms: 60_000,
        name,
        capabilities: capability::RENEW,
        ..Welcome::default()
    })
}

fn subscribed(request: u32, alias: u32) -> ServerFrame<'static> {
    let (offset, head, time_ms, outcome, phase) = (0, 0, 0, Outcome::Live, Phase::Open);
    ServerFrame::Subscribed(Subscribed {
        request,
        alias,
        epoch: EPOCH,
        offset,
        head,
        time_ms,
        outcome,
        phase,
    })
}

fn batch(write: impl FnOnce(&mut BatchWriter<'_>), count: usize, lanes: (bool, bool)) -> Vec<u8> {
    let mut body = Vec::new();
    let mut writer = BatchWriter::begin(&mut body, ALIAS, count, lanes.0, lanes.1, 0);
    write(&mut writer);
    writer.finish();
    body
}

/// Frames of one kind, what they are, and the n-th of them.
type Flood = (Kind, &'static str, fn(u64) -> Vec<u8>);

/// Which frames a node sends without end.
fn floods() -> Vec<Flood> {
    vec![
        (Kind::Batch, "messages", |n| {
            let text = text(n);
            let write = |w: &mut BatchWriter<'_>| {
                w.chat(n, 1, 0);
                w.message(&MessageParts { author: "ann", text: &text, ..MessageParts::default() });
            };
            encoded(&ServerFrame::Batch(&batch(write, 1, (false, false))))
        }),
        (Kind::Batch, "state keys", |n| {
            let (key, value) = (format!("key {n}"), text(n));
            let write = |w: &mut BatchWriter<'_>| {
                w.state(1, n + 1);
                w.change(&key, Some(value.as_bytes()));
            };
            encoded(&ServerFrame::Batch(&batch(write, 0, (false, true))))
        }),
        (Kind::Batch, "reactions", |n| {
            let key = text(n);
            let write = |w: &mut BatchWriter<'_>| {
                w.tallies(1);
                w.tally(&key, n);
            };
            encoded(&ServerFrame::Batch(&batch(write, 0, (true, false))))
        }),
        (Kind::Snapshot, "snapshots of new keys", |n| {
            let (key, value) = (format!("key {n}"), text(n));
            let entries = vec![(&*key, value.as_bytes())];
            encoded(&ServerFrame::Snapshot(Snapshot { alias: ALIAS, epoch: EPOCH, version: n + 1, entries }))
        }),
        (Kind::Gap, "gaps, each in a new log", |n| {
            let (from, to, count, reason) = (0, 1 << 40, 1, GapReason::Restarted);
            encoded(&ServerFrame::Gap(Gap {
                alias: ALIAS,
                epoch: 100 + n,
                from,
                to,
                count,
                reason,
                time_ms: n,
            }))
        }),
        (Kind::RoomEvent, "room events", |n| {
            let (phase, at_ms) = (Phase::Open, n);
            encoded(&ServerFrame::RoomEvent(RoomEvent { alias: ALIAS, phase, at_ms, detail: &text(n) }))
        }),
        (Kind::Personal, "personal messages", |n| {
            encoded(&ServerFrame::Personal(Personal {
                alias: ALIAS,
                epoch: EPOCH,
                offset: n,
                time_ms: n,
                author: "ann",
                role: Role::Viewer,
                text: &text(n),
                attachment: "",
                reply_to: None,
            }))
        }),
        (Kind::GoAway, "go-aways", |n| {
            let (after_ms, deadline_ms) = (3_600_000, 7_200_000);
            encoded(&ServerFrame::GoAway(GoAway { where_to: &text(n), after_ms, deadline_ms, detail: "" }))
        }),
        (Kind::Refused, "refusals of nothing", |n| {
            let kinds =
                [Kind::Publish, Kind::SetState, Kind::Subscribe, Kind::History, Kind::Renew, Kind::React];
            let (kind, reason) = (kinds[n as usize % kinds.len()] as u8, Refusal::Overloaded);
            let refused = Refused { kind, id: n, reason, retry_after_ms: Some(1), detail: &text(n) };
            encoded(&ServerFrame::Refused(refused))
        }),
        (Kind::Published, "answers to nothing", |n| {
            let (time_ms, durability, repeated) = (0, Durability::Memory, false);
            encoded(&ServerFrame::Published(Published {
                nonce: n,
                epoch: n,
                offset: n,
                time_ms,
                durability,
                repeated,
            }))
        }),
        (Kind::StateSet, "states that nobody set", |n| {
            encoded(&ServerFrame::StateSet { request: n as u32, version: n })
        }),
        (Kind::Subscribed, "rooms that nobody asked for", |n| {
            encoded(&subscribed(1_000 + n as u32, 1_000 + n as u32))
        }),
        (Kind::Unsubscribed, "ends of rooms that nobody follows", |n| {
            let (request, alias) = (1_000 + n as u32, 1_000 + n as u32);
            encoded(&ServerFrame::Unsubscribed { request, alias, reason: Refusal::Other })
        }),
        (Kind::Pong, "pongs", |n| encoded(&ServerFrame::Pong { client_us: n, server_ms: n })),
        (Kind::HistoryPage, "pages of a log without end", |n| {
            let text = text(n);
            let write = |w: &mut BatchWriter<'_>| {
                w.chat(n, 1, 0);
                w.message(&MessageParts { author: "ann", text: &text, ..MessageParts::default() });
            };
            let body = batch(write, 1, (false, false));
            encoded(&ServerFrame::HistoryPage(HistoryPage {
                request: HISTORY,
                alias: ALIAS,
                epoch: EPOCH,
                offset: n,
                time_ms: n,
                next: n + 1,
                head: u64::MAX,
                batches: vec![&body],
            }))
        }),
        (Kind::Renewed, "renewals", |n| {
            let renewed = Renewed { request: n as u32, name: &text(n), ..Renewed::default() };
            encoded(&ServerFrame::Renewed(renewed))
        }),
        (Kind::Acted, "acts that nobody asked for", |n| {
            encoded(&ServerFrame::Acted(Acted { request: n as u32, count: n, ..Acted::default() }))
        }),
        (Kind::Notice, "notices", |n| {
            let notice = Notice { id: n, text: &text(n), ..Notice::default() };
            encoded(&ServerFrame::Notice(notice))
        }),
        (Kind::Expiring, "tokens that run out", |n| encoded(&ServerFrame::Expiring { in_ms: n })),
    ]
}

/// The number of the session's request for earlier messages: its second, after the subscription.
const HISTORY: u32 = 2;

/// A session in a room, with a request for earlier messages under way.
fn session() -> (Session, RoomId) {
    let mut session = Session::new(Options { seed: 5, ..Options::default() });
    let room = session.subscribe("show", SubscribeOptions::default()).unwrap();
    up(&mut session, 0, b"ticket");
    assert_eq!(session.history(room, 0, u64::MAX), Ok(HISTORY));
    transmit(&mut session, 0);
    (session, room)
}

fn up(session: &mut Session, now_us: u64, ticket: &[u8]) {
    session.handle_connected(now_us);
    transmit(session, now_us);
    session.handle_frame(now_us, &encoded(&welcome(ticket, "ann")), &mut |_| {});
    transmit(session, now_us);
    session.handle_frame(now_us, &encoded(&subscribed(1, ALIAS)), &mut |_| {});
}

fn transmit(session: &mut Session, now_us: u64) {
    let mut frame = Vec::new();
    while session.poll_transmit(now_us, &mut frame) {
        assert!(frame.len() <= CLIENT_FRAME_BYTES_MAX, "a node closes the connection for it");
        frame.clear();
    }
}

#[test]
fn no_kind_of_frame_fills_a_session() {
    let floods = floods();
    let tried: BTreeSet<u8> = floods.iter().map(|(kind, ..)| *kind as u8).collect();
    for &kind in Kind::ALL.iter().filter(|kind| **kind as u8 >= 0x40) {
        // The two that end or begin a connection have a test of their own.
        let is_elsewhere = matches!(kind, Kind::Welcome | Kind::Error);
        assert!(is_elsewhere || tried.contains(&(kind as u8)), "{kind:?} is not tried");
    }
    for (kind, what, frame) in floods {
        let (mut session, _) = session();
        let before = resident_bytes();
        let mut events = 0u64;
        for n in 0..FRAMES {
            session.handle_frame(n, &frame(n), &mut |_| events += 1);
            transmit(&mut session, n);
            if session.poll_close().is_some() {
                // It breaks the protocol: the connection ends, and the memory with the session.
                assert!(matches!(what, "state keys"), "{kind:?}: {what}");
                break;
            }
        }
        let kept = resident_bytes().saturating_sub(before);
        assert!(kept < KEPT_BYTES_MAX, "{what}: {kept} bytes are kept");
    }
}

#[test]
fn no_end_of_a_connection_leaves_more_behind_than_the_one_before() {
    let (mut session, _) = session();
    let before = resident_bytes();
    let (mut name, mut now_us) = (text(1), 0);
    for n in 0..FRAMES / 4 {
        now_us += 1_000_000;
        name.replace_range(..1, "x");
        let error = ErrorFrame { code: 1, retry: Retry::Backoff, retry_after_ms: 1, detail: &text(n) };
        session.handle_frame(now_us, &encoded(&ServerFrame::Error(error)), &mut |_| {});
        let next = session.handle_disconnected(now_us, Ending::Code(1), &mut |_| {});
        assert!(matches!(next, grandstand_client::core::Next::Reconnect { .. }), "{next:?}");
        // Larger than any ticket may be: the next `Hello` must not have it.
        up(&mut session, now_us, &vec![b't'; SERVER_FRAME_BYTES_MAX / 16]);
    }
    let kept = resident_bytes().saturating_sub(before);
    assert!(kept < KEPT_BYTES_MAX, "{kept} bytes are kept");
}

#[test]
fn rooms_that_are_left_and_never_answered_are_bounded() {
    let (mut session, _) = session();
    let (mut request, mut left) = (HISTORY, 0u32);
    let refused = loop {
        let room = match session.subscribe(&format!("room {left}"), SubscribeOptions::default()) {
            Ok(room) => room,
            Err(error) => break error,
        };
        transmit(&mut session, 1);
        request += 1;
        session.handle_frame(1, &encoded(&subscribed(request, 100 + left)), &mut |_| {});
        assert!(session.is_live(room));
        session.unsubscribe(room, &mut |_| {});
        transmit(&mut session, 1);
        request += 1;
        left += 1;
        assert!(left < 10_000, "rooms without end");
    };
    assert_eq!(refused, RequestError::Full);
    let reason = Refusal::Other;
    let end = ServerFrame::Unsubscribed { request, alias: 100 + left - 1, reason };
    session.handle_frame(2, &encoded(&end), &mut |_| {});
    session.subscribe("another", SubscribeOptions::default()).expect("an answer makes space");
}

/// A node that welcomes and then does its part, and a client of it in the room `show`.
fn client(
    part: impl FnOnce(&mut TcpStream, &mut ScriptedNode) + Send + 'static,
    events_max: usize,
) -> (Client, tokio::sync::oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("ws://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    let (done, is_done) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut node = ScriptedNode::new();
        greet(&mut tcp, &mut node);
        // A client that reads no more shows by this.
        tcp.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        part(&mut tcp, &mut node);
        let _ = done.send(());
        // The connection stays until the client has gone.
        let _ = tcp.set_read_timeout(Some(Duration::from_secs(20)));
        while tcp.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
    });
    let connector = Connector::new(&Trust::Nobody).unwrap();
    let options = ClientOptions { events_max, ..ClientOptions::default() };
    let client = Client::connect(&connector, &url, options).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    (client, is_done)
}

const LIMITS: Limits = Limits { message_bytes_max: 16_384, fragments_max: 1, control_frames_max: 64 };

fn greet(tcp: &mut TcpStream, node: &mut ScriptedNode) {
    let (mut have, mut out, mut scratch) = (0, Vec::new(), vec![0; 4096]);
    while !scratch[..have].ends_with(b"\r\n\r\n") {
        have += tcp.read(&mut scratch[have..]).unwrap();
    }
    write_response(parse_request(&scratch[..have], 4096).unwrap().unwrap().key, None, &mut out);
    tcp.write_all(&out).unwrap();
    let mut reader = Reader::new(Side::Server);
    while node.subscribes.is_empty() {
        receive(tcp, &mut reader, |frame| node.handle_frame(frame));
        send(tcp, node.to_client.drain(..));
    }
}

/// Read once, and give every frame.
fn receive(tcp: &mut TcpStream, reader: &mut Reader, mut on: impl FnMut(&[u8])) {
    let mut scratch = vec![0; 4096];
    let read = tcp.read(&mut scratch).unwrap();
    let mut input = Input::new(&mut scratch[..read]);
    while let Some(event) = reader.poll_event(&mut input, &LIMITS).unwrap() {
        if let websocket::Event::Message { payload, .. } = event {
            on(payload);
        }
    }
}

/// Whether the client took it.
fn send(tcp: &mut TcpStream, frames: impl IntoIterator<Item = Vec<u8>>) -> bool {
    let mut out = Vec::new();
    frames.into_iter().for_each(|frame| websocket::write_frame(Opcode::Binary, &frame, &mut out));
    tcp.write_all(&out).is_ok()
}

/// A compressed batch that opens to a hundred times its size.
fn dense(n: u64) -> Vec<u8> {
    const MESSAGES: usize = 3_000;
    let write = |w: &mut BatchWriter<'_>| {
        w.chat(n * MESSAGES as u64, 1, 0);
        (0..MESSAGES)
            .for_each(|_| w.message(&MessageParts { author: "a", text: "b", ..MessageParts::default() }));
    };
    let wire = Compressor::default().batch_framed(&batch(write, MESSAGES, (false, false))).unwrap();
    let (header, _) = read_header(&wire, wire.len()).unwrap().unwrap();
    wire[header..].to_vec()
}

#[tokio::test]
async fn a_client_whose_app_takes_no_events_keeps_those_of_one_frame() {
    let mut wire = Vec::new();
    for n in 0..500 {
        websocket::write_frame(Opcode::Binary, &dense(n), &mut wire);
    }
    let (client, is_done) = client(move |tcp, _| while tcp.write_all(&wire).is_ok() {}, 64);
    let before = resident_bytes();
    is_done.await.unwrap();
    let kept = resident_bytes().saturating_sub(before);
    assert!(kept < KEPT_BYTES_MAX, "{kept} bytes are kept");
    // What was kept back comes when it is wanted, in order.
    let mut due = 0;
    while due < 10_000 {
        if let OwnedEvent::Message { offset, .. } = client.next_event().await.unwrap() {
            assert_eq!(offset, due);
            due += 1;
        }
    }
}

#[tokio::test]
async fn a_client_whose_node_pings_and_never_reads_keeps_few_answers() {
    let (client, is_done) = client(
        |tcp, _| {
            let mut out = Vec::new();
            for _ in 0..32 {
                websocket::write_frame(Opcode::Ping, &[7; 125], &mut out);
            }
            // A frame of a kind that is ignored, so that the pings are not too many in a row.
            websocket::write_frame(Opcode::Binary, &[0x7f, 0], &mut out);
            let out = out.repeat(16);
            (0..1_000).all(|_| tcp.write_all(&out).is_ok());
        },
        64,
    );
    let before = resident_bytes();
    is_done.await.unwrap();
    let kept = resident_bytes().saturating_sub(before);
    assert!(kept < KEPT_BYTES_MAX, "{kept} bytes are kept");
    drop(client);
}

#[tokio::test]
async fn a_client_that_closes_keeps_outcomes_and_no_flood() {
    const EVENTS_MAX: usize = 64;
    let (client, is_done) = client(
        |tcp, _| {
            let mut n = 0;
            while send(tcp, [dense(n)]) {
                n += 1;
            }
        },
        EVENTS_MAX,
    );
    // The node never answers it, so the close waits.
    let nonce = client.try_publish("show", "hello").unwrap();
    client.close();
    let before = resident_bytes();
    is_done.await.unwrap();
    let kept = resident_bytes().saturating_sub(before);
    assert!(kept < KEPT_BYTES_MAX, "{kept} bytes are kept");
    let (mut events, mut outcomes) = (0, 0);
    while let Some(event) = client.next_event().await {
        events += 1;
        outcomes += usize::from(matches!(event, OwnedEvent::Uncertain { nonce: n, .. } if n == nonce));
    }
    assert!(events < 4_000, "{events} events");
    assert_eq!(outcomes, 1);
}

#[tokio::test]
async fn a_client_keeps_as_much_state_as_fits_into_a_snapshot() {
    const KEYS: u64 = 8_000;
    let (client, _is_done) = client(
        |tcp, _| {
            let keys = floods().into_iter().find(|(_, what, _)| *what == "state keys").unwrap().2;
            (0..KEYS).all(|n| send(tcp, [keys(n)]));
        },
        64,
    );
    let mut seen = 0;
    let begun = std::time::Instant::now();
    while seen < KEYS {
        seen += u64::from(matches!(client.next_event().await.unwrap(), OwnedEvent::State { .. }));
    }
    // Many times the queue was full and read on; a heartbeat would take half a second for each.
    let times = KEYS / 64;
    assert!(begun.elapsed() < Duration::from_millis(250 * times), "{:?} for {times}", begun.elapsed());
    let kept: usize = client.states("show").iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(kept > SERVER_FRAME_BYTES_MAX / 2 && kept <= SERVER_FRAME_BYTES_MAX, "{kept}");
}

#[tokio::test]
async fn an_answer_of_earlier_messages_is_bounded_and_its_request_stops() {
    let (client, _is_done) = client(
        |tcp, node| {
            let mut reader = Reader::new(Side::Server);
            let mut is_over = false;
            while !is_over {
                let mut out = Vec::new();
                receive(tcp, &mut reader, |frame| match ClientFrame::decode(frame).unwrap() {
                    ClientFrame::History(history) => out.push(page(&history)),
                    ClientFrame::Publish(_) => {
                        is_over = true;
                        node.handle_frame(frame);
                    }
                    _ => node.handle_frame(frame),
                });
                send(tcp, out);
                send(tcp, node.to_client.drain(..));
            }
            // Nothing more is asked for once the answer was enough.
            tcp.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut rest = Vec::new();
            let _ = tcp.read_to_end(&mut rest);
            assert!(rest.is_empty(), "{} bytes more", rest.len());
        },
        64,
    );
    let answer = client.history("show", 0, u64::MAX).await.unwrap();
    let bytes: usize = answer.messages.iter().map(|m| m.text.len()).sum();
    assert!(bytes > 8 << 20 && bytes < 17 << 20, "{bytes}");
    assert_eq!(answer.next, answer.messages.len() as u64);
    assert!(answer.head > answer.next, "there is more");
    client.publish("show", "enough").await.unwrap();
}

fn page(history: &History) -> Vec<u8> {
    const MESSAGES: u64 = 100;
    let texts: Vec<String> = (0..MESSAGES).map(|n| text(history.from + n)).collect();
    let write = |w: &mut BatchWriter<'_>| {
        w.chat(history.from, 1, 0);
        texts.iter().for_each(|text| {
            w.message(&MessageParts { author: "ann", text, ..MessageParts::default() });
        });
    };
    let body = batch(write, MESSAGES as usize, (false, false));
    let (request, alias, epoch, offset) = (history.request, history.alias, history.epoch, history.from);
    let (time_ms, next, head) = (0, offset + MESSAGES, u64::MAX);
    encoded(&ServerFrame::HistoryPage(HistoryPage {
        request,
        alias,
        epoch,
        offset,
        time_ms,
        next,
        head,
        batches: vec![&body],
    }))
}

#[test]
fn what_a_node_sends_reaches_the_app_as_before() {
    // The floods above are valid frames: a session takes each, and says so.
    for (kind, what, frame) in floods() {
        let (mut session, _) = session();
        let mut events = Vec::new();
        session.handle_frame(1, &frame(0), &mut |event: Event<'_>| events.push(event.to_owned()));
        assert!(session.poll_close().is_none(), "{kind:?}: {what}");
        let is_silent = matches!(
            what,
            "answers to nothing"
                | "states that nobody set"
                | "acts that nobody asked for"
                | "rooms that nobody asked for"
                | "ends of rooms that nobody follows"
        );
        assert_eq!(events.is_empty(), is_silent, "{what}: {events:?}");
    }
}
