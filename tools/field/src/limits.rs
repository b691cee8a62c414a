//! Trials of the limits that hold strangers: tables that they fill, rates that they evade, answers that they
//! never read.
//!
//! Symptoms were reported of other servers: slow modes that a reconnect evades, rooms that one client fills,
//! viewers that are counted twice after a change of network.
//! Why: one stranger must not take what all viewers share.
//! Not here: silent connections (`pressure`), names and tokens (`tokens`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use grandstand_harness::{http, process};
use grandstand_protocol::frame::{ClientFrame, ServerFrame};
use grandstand_protocol::refusal::Refusal;

use crate::peer::{Identity, Peer, Said};
use crate::tokens::Issuer;
use crate::trial::{Checks, Field, Figure, Trial, figure, stranger};

pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        name: "rooms-filled",
        right: "one address cannot fill the table of rooms: others and the operator still make rooms",
        run: rooms_filled,
    },
    Trial {
        name: "open-node",
        right: "a node without a key limits a session as a configured node does; nobody is a bridge by default",
        run: open_node,
    },
    Trial {
        name: "slow-mode",
        right: "slow mode holds an anonymous person over reconnects with and without a ticket",
        run: slow_mode,
    },
    Trial {
        name: "rate-by-reconnects",
        right: "a user's rate is the user's, over reconnects and over eight sessions at once",
        run: rate_by_reconnects,
    },
    Trial {
        name: "nonce-two-tabs",
        right: "another text under a used nonce is never answered as a repetition",
        run: nonce_two_tabs,
    },
    Trial {
        name: "viewers-counted",
        right: "a session that changes its connection counts once, at once",
        run: viewers_counted,
    },
    Trial {
        name: "answers-unread",
        right: "a client that asks again and again and never reads costs at most 256 KB",
        run: answers_unread,
    },
];

/// Makes as many rooms as the node allows, from one address, with new sessions.
fn fill_rooms(address: SocketAddr, from: Ipv4Addr, most: u32) -> u32 {
    let (mut made, mut in_vain) = (0, 0);
    while made < most && in_vain < 20 {
        let Ok(mut peer) = Peer::join_as(from, address, Identity::default()) else {
            in_vain += 1;
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let before = made;
        for _ in 0..32 {
            match peer.subscribe(&format!("filled-{from}-{made}")) {
                Ok(Ok(_)) => made += 1,
                _ => break,
            }
        }
        in_vain = if made > before { 0 } else { in_vain + 1 };
    }
    made
}

fn rooms_filled(field: &Field) -> Result<Figure> {
    let rooms = field.either(1_000, 5_000);
    let plan = field.plan().key("limits.loopback_exempt", false).key("rooms.max", rooms);
    let node = field.node(&plan)?;
    let (address, admin) = (node.address("ws://")?, node.address("http://")?);
    let made = fill_rooms(address, stranger(1), rooms * 2);
    let operator = http::request_with(admin, "POST", "/rooms", r#"{"name":"operators"}"#);
    let mut other = Peer::join_as(stranger(70_000), address, Identity::default())?;
    let others = other.subscribe("of-another")?;
    figure(
        operator.is_ok() && others.is_ok(),
        format!(
            "{made} rooms made by one address of {rooms}; operator {}, another address {}",
            operator.is_ok(),
            others.is_ok()
        ),
    )
}

fn open_node(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let mut peer = Peer::join(node.address("ws://")?)?;
    let alias = peer.enter("here")?;
    let accepted = flood(&mut peer, alias, 0, 60)?;
    let is_bridge = peer.welcome.permissions & 8 != 0;
    figure(!is_bridge && accepted <= 30, format!("bridge {is_bridge}, {accepted} of 60 at once accepted"))
}

/// Publishes that many without waiting; how many were accepted.
fn flood(peer: &mut Peer, alias: u32, first: u64, count: u64) -> Result<u64> {
    for nonce in first..first + count {
        if peer.publish(alias, nonce + 1, &format!("line {nonce}")).is_err() {
            return Ok(0);
        }
    }
    // Refusals overtake acceptances.
    let (mut accepted, mut answered) = (0, 0);
    let is_ours = |nonce: u64| (first + 1..=first + count).contains(&nonce);
    peer.wait_for("all answers", |frame| {
        match frame {
            ServerFrame::Published(published) if is_ours(published.nonce) => accepted += 1,
            ServerFrame::Refused(refused) if is_ours(refused.id) => {}
            _ => return None,
        }
        answered += 1;
        (answered == count).then_some(())
    })?;
    Ok(accepted)
}

fn slow_mode(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan().key("limits.loopback_exempt", false))?;
    let (address, admin) = (node.address("ws://")?, node.address("http://")?);
    http::request_with(admin, "POST", "/rooms", r#"{"name":"slow"}"#)?;
    http::request_with(admin, "PUT", "/rooms/slow/state/gs.slow_ms", "600000")?;
    let mut checks = Checks::default();
    // The change takes effect with the room's next batch.
    std::thread::sleep(Duration::from_millis(300));
    let mut first = Peer::join_as(stranger(1), address, Identity::default())?;
    let alias = first.enter("slow")?;
    let five: Vec<Said> = (1..=5).map(|nonce| first.say(alias, nonce, "again")).collect::<Result<_>>()?;
    let taken = five.iter().filter(|said| matches!(said, Said::Published { .. })).count();
    checks.check("five lines at once", taken == 1, format!("{taken} accepted"));
    let ticket = first.welcome.ticket.clone();
    drop(first);
    for (name, ticket) in [("without a ticket", Vec::new()), ("with a ticket", ticket)] {
        // While the node has not seen the end of the one before, both are at one address: two people.
        let begin = Instant::now();
        while http::metric(admin, "grandstand_connections")?.unwrap_or_default() > 0.0 {
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(5), "the node keeps a closed connection");
            std::thread::sleep(Duration::from_millis(5));
        }
        let identity = Identity { ticket: &ticket, ..Identity::default() };
        let mut again = Peer::join_as(stranger(1), address, identity)?;
        let alias = again.enter("slow")?;
        let said = again.say(alias, 100, name)?;
        checks.check(
            &format!("reconnected {name}"),
            said == Said::Refused(Refusal::SlowMode),
            format!("{said:?}"),
        );
    }
    let mut other = Peer::join_as(stranger(70_000), address, Identity::default())?;
    let alias = other.enter("slow")?;
    let said = other.say(alias, 1, "another person")?;
    checks.check("another person", matches!(said, Said::Published { .. }), format!("{said:?}"));
    checks.close()
}

fn rate_by_reconnects(field: &Field) -> Result<Figure> {
    let directory = field.directory()?;
    let issuer = Issuer::new(&directory)?;
    let plan = issuer.plan(field).key("limits.publish_per_s", 5).key("limits.publish_burst", 10);
    let node = field.node(&plan)?;
    let address = node.address("ws://")?;
    let token = issuer.token(r#""sub":"u-1","name":"Ada""#);
    let identity = Identity { token: &token, ..Identity::default() };
    let begin = Instant::now();
    let (mut accepted, mut nonce, mut sessions) = (0, 0, 0);
    let time = Duration::from_secs(field.either(3, 10));
    while begin.elapsed() < time {
        let mut peers =
            (0..8).map(|n| Peer::join_as(stranger(n), address, identity)).collect::<Result<Vec<_>>>()?;
        sessions += peers.len();
        for peer in &mut peers {
            // Requests have a rate of their own.
            let Ok(subscribed) = peer.subscribe("here")? else { continue };
            accepted += flood(peer, subscribed.alias, nonce, 10)?;
            nonce += 10;
        }
    }
    let allowed = 10.0 + 5.0 * begin.elapsed().as_secs_f64();
    figure(
        accepted as f64 <= allowed + 5.0 && accepted > 0,
        format!("{accepted} accepted over {sessions} sessions of one user, allowed {allowed:.0}"),
    )
}

fn nonce_two_tabs(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let address = node.address("ws://")?;
    let mut first = Peer::join(address)?;
    let ticket = first.welcome.ticket.clone();
    let mut second =
        Peer::join_as(Ipv4Addr::LOCALHOST, address, Identity { ticket: &ticket, ..Identity::default() });
    let one = first.enter("here").and_then(|alias| first.say(alias, 1, "the first tab's"));
    let two = match &mut second {
        Ok(second) => {
            let alias = second.enter("here")?;
            let same = second.say(alias, 1, "the first tab's")?;
            let other = second.say(alias, 1, "the second tab's")?;
            format!("same text {same:?}, other text {other:?}")
        }
        Err(error) => format!("the second tab does not come in: {error:#}"),
    };
    let is_lost = two.contains("other text Published")
        && two.contains("repeated: true }")
        && two.ends_with("repeated: true }");
    figure(!is_lost && one.is_ok(), two)
}

fn viewers_counted(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan().key("node.workers", 2))?;
    let (address, admin) = (node.address("ws://")?, node.address("http://")?);
    let mut kept = Vec::new();
    let mut ticket = Vec::new();
    let mut most = 0;
    for _ in 0..5 {
        let mut peer =
            Peer::join_as(Ipv4Addr::LOCALHOST, address, Identity { ticket: &ticket, ..Identity::default() })?;
        peer.enter("here")?;
        ticket.clone_from(&peer.welcome.ticket);
        // Half open: the phone left this network, and the node is not told.
        kept.push(peer);
        std::thread::sleep(Duration::from_millis(400));
        most = most.max(viewers(admin, "here")?);
    }
    figure(most == 1, format!("five connections of one session one after the other count {most}"))
}

fn viewers(admin: SocketAddr, room: &str) -> Result<u64> {
    let room: serde_json::Value =
        serde_json::from_str(&http::request(admin, "GET", &format!("/rooms/{room}"))?)?;
    room["viewers"].as_u64().context("a room says how many viewers it has")
}

fn answers_unread(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan().key("limits.loopback_exempt", false).key("node.workers", 1))?;
    let (address, admin) = (node.address("ws://")?, node.address("http://")?);
    http::request_with(admin, "POST", "/rooms", r#"{"name":"full"}"#)?;
    for key in 0..40 {
        http::request_with(admin, "PUT", &format!("/rooms/full/state/k{key}"), &"v".repeat(900))?;
    }
    // The first ones make the node touch memory that it keeps: queues to the shard, blocks of the allocator.
    let (first, count) = (20, field.either(60, 120));
    let (mut before, mut held) = (0, Vec::new());
    for n in 0..first + count {
        if n == first {
            before = process::sample(node.pid())?.anonymous_bytes;
        }
        let mut peer = Peer::join_as(stranger(n * 300), address, Identity::default())?;
        let alias = peer.enter("full")?;
        // Never reads from here on.
        for request in 0..2_000 {
            let off = peer.send(&ClientFrame::Unsubscribe { request, alias });
            let on = peer.send(&ClientFrame::Subscribe(grandstand_protocol::frame::Subscribe {
                request,
                room: "full",
                ..Default::default()
            }));
            if off.is_err() || on.is_err() {
                break;
            }
        }
        held.push(peer);
    }
    std::thread::sleep(Duration::from_millis(500));
    let after = process::sample(node.pid())?.anonymous_bytes;
    let each = after.saturating_sub(before) / u64::from(count) / 1024;
    figure(each <= 256, format!("{each} KB a connection, {count} connections, 2000 rounds each"))
}
