//! Removals over sockets: people speak, moderators remove, viewers come, resume and page, the node is killed,
//! and its log is restored from a backup. Whatever the order, nobody is given the text of a removed message.
//!
//! What counts as later: to a viewer that is there, what comes behind the act; to a new subscription, a
//! resume or a page, everything, once the act was acknowledged before it began.
//! `REMOVALS_ROUNDS` (60 unless set) is the number of interleavings; the seed is printed, and
//! `REMOVALS_SEED` takes it.
//! Not here: the same in virtual time (`edge/core`, `engine`, the simulator).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grandstand_client::core::{ActParts, OwnedEvent, SubscribeOptions};
use grandstand_client::net::{Client, ClientOptions, Connector, Trust, Url};
use grandstand_harness::random::Random;
use grandstand_harness::wait::free_port;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::PATIENCE;
use crate::machine::Folder;
use crate::process::{Running, ends, serve};

const ROOM: &str = "show";

/// What was said and removed, as the answers told it.
#[derive(Debug, Default)]
struct Truth {
    /// By offset: who said it, and the text.
    said: BTreeMap<u64, (usize, String)>,
    removed: BTreeSet<u64>,
    /// Said before a restart by somebody whose messages were all removed later: the room remembers the author
    /// of some of them.
    maybe: BTreeSet<u64>,
    /// Acknowledged acts, with their offsets.
    acts: Vec<(u64, Rule)>,
    /// Messages that were not in a page: in the end an act must have removed each.
    gone: BTreeSet<u64>,
    /// Messages below were said before the node was last started.
    since_start: u64,
    /// Messages that were given to somebody, and checked.
    given: u64,
    violations: Vec<String>,
}

/// What an act removes of what was said before it.
#[derive(Clone, Copy, Debug)]
enum Rule {
    One(u64),
    /// What this person said from an offset on.
    Author(usize, u64),
    All,
}

impl Rule {
    fn covers(self, offset: u64, who: usize) -> bool {
        match self {
            Rule::One(one) => offset == one,
            Rule::Author(author, since) => who == author && offset >= since,
            Rule::All => true,
        }
    }
}

impl Truth {
    /// A publication was acknowledged; an act that was acknowledged before may have removed it.
    fn say(&mut self, offset: u64, who: usize, text: String) {
        self.said.insert(offset, (who, text));
        if self.acts.iter().any(|(at, rule)| offset < *at && rule.covers(offset, who)) {
            self.removed.insert(offset);
        }
    }

    /// An act was acknowledged: with its offset, or without one since there was nothing left to remove.
    fn act(&mut self, at: Option<u64>, rule: Rule) {
        let covered = |offset: u64, who| at.is_none_or(|at| offset < at) && rule.covers(offset, who);
        let gone = self.said.iter().filter(|(offset, (who, _))| covered(**offset, *who));
        let gone: Vec<u64> = gone.map(|(offset, _)| *offset).collect();
        match at {
            Some(at) => {
                if let Rule::Author(author, since) = rule {
                    let older = self.said.range(..since).filter(|(_, (who, _))| *who == author);
                    self.maybe.extend(older.map(|(offset, _)| *offset));
                }
                self.acts.push((at, rule));
                self.removed.extend(gone);
            }
            // What is said meanwhile is not covered by an act that found nothing.
            None => {
                let Rule::One(one) = rule else { return };
                let was_removed = self.removed.contains(&one) || self.maybe.contains(&one);
                assert!(was_removed, "{one} was not removed before");
            }
        }
    }

    fn check(&mut self, removed: &BTreeSet<u64>, offset: u64, text: &str, how: &str) {
        self.given += 1;
        if removed.contains(&offset) {
            self.violations.push(format!("{how}: {text:?} at {offset}"));
        }
        if self.said.get(&offset).is_some_and(|(_, said)| said != text) {
            self.violations.push(format!("{how}: {text:?} at {offset}, where other words were said"));
        }
    }
}

type Shared = Arc<Mutex<Truth>>;

struct House {
    urls: [Url; 2],
    flags: Vec<String>,
    connector: Connector,
    truth: Shared,
}

impl House {
    fn new() -> House {
        let quic = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ws = free_port();
        let (ws_listen, quic_listen) = (ws.to_string(), quic.to_string());
        let flags = ["--ws-listen", &ws_listen, "--quic-listen", &quic_listen, "--rooms-tick-ms", "20"]
            .into_iter()
            .chain(["--auth-open-may", "publish,react,moderate", "--limits-people-per-address", "65535"])
            .chain(["--rooms-pacing-per-s", "0"])
            .map(str::to_owned)
            .collect();
        let url =
            |scheme: &str, at: SocketAddr, path: &str| format!("{scheme}://{at}{path}").parse().unwrap();
        House {
            urls: [url("ws", ws, "/v1"), url("quic", quic, "")],
            flags,
            connector: Connector::new(&Trust::AnyoneForTests).unwrap(),
            truth: Shared::default(),
        }
    }

    fn serve(&self, log: &str, recorder: &Folder) -> Running {
        serve(log, recorder, &self.flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn client(&self, transport: usize, name: &str, options: SubscribeOptions) -> Client {
        let mut settings = ClientOptions { events_max: 100_000, ..ClientOptions::default() };
        settings.session.name = name.to_owned();
        (settings.session.backoff_ms, settings.session.backoff_max_ms) = (20, 200);
        let client = Client::connect(&self.connector, &self.urls[transport % 2], settings).unwrap();
        client.subscribe(ROOM, options).unwrap();
        client
    }
}

/// Reads on for ever, and holds that nothing comes behind the act that removed it.
async fn watch(client: Client, truth: Shared) {
    let mut rules = Vec::new();
    while let Some(event) = client.next_event().await {
        match event {
            OwnedEvent::Removal { rule, .. } => rules.push(rule),
            OwnedEvent::Message { offset, author, text, .. }
            | OwnedEvent::Personal { offset, author, text, .. } => {
                let mut truth = truth.lock().unwrap();
                let removed: BTreeSet<u64> =
                    rules.iter().filter(|rule| rule.covers(offset, &author)).map(|_| offset).collect();
                truth.check(&removed, offset, &text, "live, behind the act");
            }
            _ => {}
        }
    }
}

/// Comes with a replay or a resume, reads to the head, and asks for all that is kept.
async fn visit(house: &House, transport: usize, options: SubscribeOptions, how: &'static str) -> (u64, u64) {
    let removed = house.truth.lock().unwrap().removed.clone();
    let client = house.client(transport, "visitor", options);
    let (mut head, mut epoch, mut next) = (u64::MAX, 0, 0);
    while next < head {
        let event = timeout(PATIENCE, client.next_event()).await.expect("something in time");
        match event.expect("the session goes on") {
            OwnedEvent::Subscribed { epoch: of, offset, head: at, .. } => {
                (epoch, head) = (of, at);
                next = next.max(offset);
            }
            OwnedEvent::Message { offset, text, .. } => {
                house.truth.lock().unwrap().check(&removed, offset, &text, how);
                next = offset + 1;
            }
            OwnedEvent::Removed { offset, .. } => next = offset + 1,
            OwnedEvent::Removal { rule, .. } => next = next.max(rule.at() + 1),
            OwnedEvent::Gap { to, .. } | OwnedEvent::Omitted { to, .. } => next = next.max(to),
            _ => {}
        }
    }
    let past = timeout(PATIENCE, client.history(ROOM, 0, 1_000_000)).await.expect("in time").expect("a past");
    let mut truth = house.truth.lock().unwrap();
    for message in &past.messages {
        truth.check(&removed, message.offset, &message.text, "history");
    }
    // Nothing else is missing.
    let there: BTreeSet<u64> = past.messages.iter().map(|message| message.offset).collect();
    let lost: Vec<u64> = (truth.said.keys().copied())
        .filter(|offset| *offset < head && !truth.removed.contains(offset) && !there.contains(offset))
        .collect();
    // An act that is not acknowledged yet may be in effect already.
    truth.gone.extend(lost);
    client.close();
    (epoch, head)
}

/// One interleaving: some speak, one moderates, others come in between.
async fn round(
    house: &Arc<House>,
    people: &[Client],
    moderator: &Client,
    random: &mut Random,
    seen: (u64, u64),
) {
    let mut tasks = JoinSet::new();
    for (who, person) in people.iter().enumerate() {
        for _ in 0..random.below(4) {
            let (client, truth, number) = (person.clone(), house.truth.clone(), random.next_u64());
            let wait = Duration::from_micros(random.below(40_000) as u64);
            tasks.spawn(async move {
                tokio::time::sleep(wait).await;
                let text = format!("words {number:x}");
                if let Ok(receipt) = client.publish(ROOM, &*text).await {
                    truth.lock().unwrap().say(receipt.offset, who, text);
                }
            });
        }
    }
    for _ in 0..random.below(3) {
        let (house, transport) = (house.clone(), random.below(2));
        let back = random.below(60) as u64;
        let resume = (random.below(2) == 0).then(|| (seen.0, seen.1.saturating_sub(back)));
        let options = SubscribeOptions { replay: 50, resume };
        let wait = Duration::from_micros(random.below(40_000) as u64);
        tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            visit(&house, transport, options, "a visitor in between").await;
        });
    }
    let known: Vec<(u64, usize)> = {
        let truth = house.truth.lock().unwrap();
        truth.said.iter().rev().take(40).map(|(offset, (who, _))| (*offset, *who)).collect()
    };
    if let Some(&(target, author)) = known.get(random.below(known.len())) {
        let since_start = house.truth.lock().unwrap().since_start;
        let (act, rule) = match random.below(40) {
            0 => (ActParts::clear(0), Rule::All),
            // Who said what before a restart is known of the latest messages alone.
            1..=8 if target >= since_start => {
                (ActParts::remove_author(target, 0), Rule::Author(author, since_start))
            }
            _ => (ActParts::remove(target), Rule::One(target)),
        };
        tokio::time::sleep(Duration::from_micros(random.below(30_000) as u64)).await;
        let receipt = timeout(PATIENCE, moderator.act(ROOM, act)).await.expect("an answer in time");
        match receipt {
            Ok(receipt) => house.truth.lock().unwrap().act(receipt.offset, rule),
            Err(error) => panic!("{error}"),
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a task that panicked");
    }
}

#[test]
fn nobody_is_given_what_moderators_removed_over_kills_and_a_restored_backup() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("REMOVALS_ROUNDS").unwrap_or(60);
    let seed = number("REMOVALS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("REMOVALS_SEED={seed} REMOVALS_ROUNDS={rounds}");
    let mut random = Random::new(seed);
    let house = Arc::new(House::new());
    let (log, recorder, out) =
        (Folder::new("removals"), Folder::in_memory("removals"), Folder::new("removals-out"));
    let mut node = house.serve(log.path(), &recorder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inside = runtime.enter();
    let all = SubscribeOptions::default();
    let viewers: Vec<Client> = (0..4).map(|n| house.client(n, "viewer", all)).collect();
    for viewer in &viewers {
        tokio::spawn(watch(viewer.clone(), house.truth.clone()));
    }
    let people: Vec<Client> = (0..3).map(|n| house.client(n, &format!("speaker {n}"), all)).collect();
    let moderator = house.client(0, "keeper", all);
    for client in people.iter().chain([&moderator]) {
        let client = client.clone();
        tokio::spawn(async move { while client.next_event().await.is_some() {} });
    }
    drop(inside);
    let (mut kills, mut seen) = (0, (0, 0));
    for at in 1..=rounds {
        runtime.block_on(round(&house, &people, &moderator, &mut random, seen));
        if at % 20 == 0 {
            node.kill();
            kills += 1;
            node = house.serve(log.path(), &recorder);
        }
        if at % 10 == 0 {
            let options = SubscribeOptions { replay: 0, resume: None };
            seen = runtime.block_on(visit(&house, at as usize / 10, options, "replay"));
            let resume = Some((seen.0, 0));
            runtime.block_on(visit(
                &house,
                at as usize / 10 + 1,
                SubscribeOptions { replay: 0, resume },
                "resume",
            ));
            if at % 20 == 0 {
                house.truth.lock().unwrap().since_start = seen.1;
            }
        }
    }
    let file = out.0.join("tonight.db");
    let file = file.to_str().unwrap();
    let made = ends(&["backup", "--dir", log.path(), "--to", file]);
    assert_eq!(made.0, 0, "{made:?}");
    node.kill();
    let made = ends(&["restore", "--from", file, "--dir", log.path(), "--force"]);
    assert_eq!(made.0, 0, "{made:?}");
    let recorder = Folder::in_memory("removals-restored");
    let restored = house.serve(log.path(), &recorder);
    for transport in 0..2 {
        let resume = Some((seen.0, 0));
        runtime.block_on(visit(&house, transport, SubscribeOptions { replay: 0, resume }, "restored"));
    }
    drop(restored);
    drop(runtime);
    let mut truth = house.truth.lock().unwrap();
    let lost: Vec<u64> = truth.gone.difference(&truth.removed).copied().collect();
    let lost: Vec<u64> = lost.into_iter().filter(|offset| !truth.maybe.contains(offset)).collect();
    if !lost.is_empty() {
        truth.violations.push(format!("history: {lost:?} were not removed, and are gone"));
    }
    println!(
        "{{\"interleavings\": {rounds}, \"kills\": {kills}, \"said\": {}, \"removed\": {}, \"given\": {}, \"violations\": {}}}",
        truth.said.len(),
        truth.removed.len(),
        truth.given,
        truth.violations.len()
    );
    assert!(
        truth.violations.is_empty(),
        "seed {seed}: {:#?}",
        &truth.violations[..truth.violations.len().min(10)]
    );
    assert!(truth.removed.len() as u64 > rounds / 2 && truth.given > 20 * rounds, "it proves something");
}
