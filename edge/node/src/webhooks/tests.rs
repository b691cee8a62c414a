//! Tests of webhooks over sockets on loopback: a receiver that dies, refuses, redirects, or asks for time.
//!
//! Why real sockets: what is lost is lost between an answer and its record.
//! `GRANDSTAND_WEBHOOKS=10000` makes the first test as long as the acceptance asks.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use grandstand_harness::wait::until;
use serde_json::{Value, json};

use super::*;
use crate::events::Event;

/// A request as it came.
#[derive(Clone, Debug)]
struct Got {
    headers: HashMap<String, String>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What a receiver answers to the so-manieth request; `None`: it dies instead.
type Answer = Box<dyn Fn(usize, &Got) -> Option<String> + Send + Sync>;

/// A server of an application, for as long as the process runs.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    fn start(answer: Answer) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Got>>>::default());
        let (seen, answer) = (got.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, seen, answer) = (stream.unwrap(), seen.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Some(request) = read(&mut stream) else { return };
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(request.clone());
                        seen.len()
                    };
                    if let Some(answer) = answer(number, &request) {
                        let _ = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        Receiver { address, got }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

fn read(stream: &mut TcpStream) -> Option<Got> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
            let headers: HashMap<String, String> = head
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            if body.len() >= headers["content-length"].parse().unwrap() {
                return Some(Got { headers, body: body.to_owned() });
            }
        }
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
    }
}

fn status(status: &str, head: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\n{head}content-length: 0\r\n\r\n"))
}

/// A folder of a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("grandstand-webhooks-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn webhooks(dir: Option<&Path>, allowed: &[&str]) -> Arc<Webhooks> {
    let policy = Policy::allowing(allowed).unwrap();
    let settings = Settings { concurrent_max: AT_ONCE, per_host_max: AT_ONCE, ..Settings::new(policy) };
    Arc::new(Webhooks {
        store: Mutex::new(Store::open(&Database::of(dir)).unwrap()),
        fetcher: Fetcher::new(settings).unwrap(),
        clock: Clock::start(),
        changed: Notify::new(),
        numbers: WebhookNumbers::default(),
    })
}

fn add(webhooks: &Webhooks, address: SocketAddr, prefix: &str) -> (i64, Secret) {
    let secret = Secret::random().unwrap();
    let url = format!("http://{address}/hook");
    let endpoint = webhooks.store().add(webhooks.now_ms(), &url, &[], prefix, &secret).unwrap();
    webhooks.note_change();
    (endpoint.id, secret)
}

/// A sender with this schedule; dropping it kills it.
struct Sender {
    events: Events,
    _thread: WebhookThread,
}

fn sender(webhooks: &Arc<Webhooks>, waits_ms: &[u64]) -> Sender {
    let (events, told) = Events::open();
    let (stop, stopped) = oneshot::channel();
    let (webhooks, schedule) = (webhooks.clone(), Schedule::of(waits_ms));
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut sending = thread::Sending::new(webhooks, schedule, Duration::from_secs(10));
        runtime.block_on(sending.run(told, stopped, || {}));
    });
    Sender { events, _thread: WebhookThread { stop: Some(stop), thread: Some(thread) } }
}

fn event(room: &str, n: usize) -> Event {
    let room = (!room.is_empty()).then(|| room.into());
    Event { kind: Kind::RoomOpened, room, data: json!({ "n": n }) }
}

fn verify(secret: &Secret, got: &Got) -> bool {
    let mut headers = hyper::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, got.header(name).parse().unwrap());
    }
    let verifier = standardwebhooks::Webhook::new(&secret.written()).unwrap();
    verifier.verify(got.body.as_bytes(), &headers).is_ok()
}

/// The kind: whatever dies, the receiver or the node, at whatever moment: no event is lost, a duplicate has
/// the id of the first, and a room's events come in order.
#[test]
fn no_event_is_lost_though_receiver_and_node_die_again_and_again() {
    let count: usize = std::env::var("GRANDSTAND_WEBHOOKS").map_or(400, |n| n.parse().unwrap());
    let (kills, rooms) = (20, 10);
    let every = count / kills;
    // Dead from every so-manieth request on, for the next few: it has read them, and nobody knows.
    let receiver = Receiver::start(Box::new(move |number, _| match number % every {
        0..3 => None,
        _ => status("204 No Content", ""),
    }));
    let (folder, began) = (Folder::new("kills"), std::time::Instant::now());
    let host = receiver.address.to_string();
    let mut told = 0;
    let mut ids = None;
    for life in 0..5 {
        let webhooks = webhooks(Some(&folder.0), &[&host]);
        ids.get_or_insert_with(|| add(&webhooks, receiver.address, ""));
        let sender = sender(&webhooks, &[0, 1, 2, 4, 8, 16, 32, 64, 128, 256]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let upto = count * (life + 1) / 5;
        runtime.block_on(async {
            for n in told..upto {
                assert!(sender.events.told(event(&format!("r{}", n % rooms), n)).await, "stored");
            }
        });
        told = upto;
        if life == 4 {
            let is_empty = || webhooks.store().counts().unwrap() == (0, 0);
            while !is_empty() {
                assert!(began.elapsed() < Duration::from_secs(600), "{:?}", webhooks.store().counts());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    let (_, secret) = ids.unwrap();
    let got = receiver.got();
    let mut by_event: BTreeMap<u64, String> = BTreeMap::new();
    let mut last: HashMap<String, u64> = HashMap::new();
    for one in &got {
        assert!(verify(&secret, one), "{one:?}");
        let said = one.json();
        let (n, id) = (said["data"]["n"].as_u64().unwrap(), one.header("webhook-id").to_owned());
        assert_eq!(said["type"], "room.opened");
        if let Some(first) = by_event.get(&n) {
            assert_eq!(*first, id, "a duplicate has the first one's id");
            continue;
        }
        by_event.insert(n, id);
        let before = last.insert(said["data"]["room"].as_str().unwrap().to_owned(), n);
        assert!(before.is_none_or(|before| n == before + rooms as u64), "{n} after {before:?}");
    }
    assert_eq!(by_event.len(), count, "none is lost");
    let duplicates = got.len() - count;
    assert!(duplicates >= kills, "{duplicates}");
    println!(
        "{}",
        json!({ "events": count, "kills": kills, "lost": 0, "duplicates": duplicates,
            "seconds": began.elapsed().as_secs_f64() })
    );
}

#[test]
fn an_endpoint_s_answer_decides_what_it_gets_next() {
    // A redirect, a failure and a wait are failures: the fourth time it takes the message.
    let receiver = Receiver::start(Box::new(|number, _| match number {
        1 => status("302 Found", "location: http://127.0.0.1:1/\r\n"),
        2 => status("500 Oh", ""),
        3 => status("429 Slow down", "retry-after: 1\r\n"),
        4 => status("200 OK", ""),
        _ => status("410 Gone", ""),
    }));
    let webhooks = webhooks(None, &[&receiver.address.to_string()]);
    let (id, secret) = add(&webhooks, receiver.address, "");
    let sender = sender(&webhooks, &[0, 1, 1, 1, 1]);
    sender.events.tell(event("a", 1));
    until("four attempts", || receiver.got().len() == 4);
    let got = receiver.got();
    assert!(got.iter().all(|one| one.header("webhook-id") == got[0].header("webhook-id")), "one id");
    assert!(got.iter().all(|one| verify(&secret, one)));
    let at = |n: usize| got[n].header("webhook-timestamp").parse::<u64>().unwrap();
    assert!(at(3) > at(2), "not before the second that it asked for");
    until("delivered", || webhooks.store().counts().unwrap() == (0, 0));
    // It is gone: nothing more is sent, and an operator sees why.
    sender.events.tell(event("a", 2));
    until("disabled", || webhooks.store().endpoint(id).unwrap().unwrap().disabled.is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(sender.events.told(event("a", 3))));
    assert_eq!(receiver.got().len(), 5);
    let dead = webhooks.store().dead(id, 10).unwrap();
    assert!(dead.len() == 1 && dead[0].why.contains("410") && dead[0].room == "a", "{dead:?}");
    // By hand it is sent again, under its id.
    assert_eq!(webhooks.store().replay(webhooks.now_ms(), id, Some("msg_none")).unwrap(), 0);
    assert_eq!(webhooks.store().replay(webhooks.now_ms(), id, Some(&dead[0].id)).unwrap(), 1);
    webhooks.note_change();
    until("the replay", || receiver.got().len() == 6);
    assert_eq!(receiver.got()[5].header("webhook-id"), dead[0].id);
}

#[test]
fn a_message_that_is_never_taken_is_a_dead_letter_and_holds_no_other_room() {
    let receiver = Receiver::start(Box::new(|_, got| match got.json()["data"]["room"].as_str() {
        Some("bad") => status("500 Oh", ""),
        _ => status("200 OK", ""),
    }));
    let webhooks = webhooks(None, &[&receiver.address.to_string()]);
    let (id, _) = add(&webhooks, receiver.address, "");
    let sender = sender(&webhooks, &[0, 1, 1]);
    (1..4).for_each(|n| sender.events.tell(event("bad", n)));
    sender.events.tell(event("good", 4));
    sender.events.tell(event("", 5));
    until("all ends", || webhooks.store().counts().unwrap() == (0, 3));
    let rooms: Vec<_> = receiver.got().iter().map(|one| one.json()["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(rooms.iter().filter(|n| **n < 4).count(), 3 * 3, "three attempts each: {rooms:?}");
    let in_order: Vec<_> = rooms.iter().filter(|n| **n < 4).collect();
    assert!(in_order.is_sorted(), "{in_order:?}");
    assert!(webhooks.store().dead(id, 10).unwrap().iter().all(|letter| letter.why.contains("500")));
    assert!(webhooks.store().endpoint(id).unwrap().unwrap().failures >= 1);
    assert_eq!(webhooks.numbers().dead.load(Ordering::Relaxed), 3);
}

#[test]
fn an_endpoint_gets_what_it_asked_for_and_two_secrets_are_good_at_a_time() {
    let receiver = Receiver::start(Box::new(|_, _| status("200 OK", "")));
    let webhooks = webhooks(None, &[&receiver.address.to_string()]);
    let (id, old) = add(&webhooks, receiver.address, "show/");
    let sender = sender(&webhooks, &[0, 1]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (room, n) in [("other", 1), ("", 2), ("show/1", 3)] {
        assert!(runtime.block_on(sender.events.told(event(room, n))));
    }
    until("one message", || receiver.got().len() == 1 && webhooks.store().counts().unwrap() == (0, 0));
    assert_eq!(receiver.got()[0].json()["data"], json!({ "n": 3, "room": "show/1" }));
    let new = Secret::random().unwrap();
    assert!(webhooks.store().change_secret(id, &new).unwrap());
    webhooks.store().put_test(webhooks.now_ms(), id).unwrap();
    webhooks.note_change();
    until("a test", || receiver.got().len() == 2);
    let got = receiver.got().remove(1);
    assert_eq!(got.json()["type"], "webhook.test");
    assert!(verify(&old, &got) && verify(&new, &got), "old and new");
    webhooks.store().change_secret(id, &Secret::random().unwrap()).unwrap();
    webhooks.store().put_test(webhooks.now_ms(), id).unwrap();
    webhooks.note_change();
    until("another test", || receiver.got().len() == 3);
    let got = receiver.got().remove(2);
    assert!(!verify(&old, &got) && verify(&new, &got), "two at a time");
}

/// Nothing is connected to that is not public, and the failure says so.
#[test]
fn an_address_that_is_not_public_is_never_asked() {
    let receiver = Receiver::start(Box::new(|_, _| status("200 OK", "")));
    let webhooks = webhooks(None, &[]);
    let port = receiver.address.port();
    for url in [format!("http://127.0.0.1:{port}/hook"), format!("http://[::ffff:127.0.0.1]:{port}/hook")] {
        assert!(fault(&webhooks.fetcher, &url, &[], "").is_some(), "{url} is refused when it is added");
    }
    let (id, _) = add(&webhooks, receiver.address, "");
    let sender = sender(&webhooks, &[0]);
    sender.events.tell(event("a", 1));
    until("a dead letter", || webhooks.store().counts().unwrap() == (0, 1));
    assert!(!webhooks.store().dead(id, 1).unwrap()[0].why.is_empty());
    assert!(receiver.got().is_empty());
    let unknown = fault(&webhooks.fetcher, "https://example.org/", &["room.exploded".to_owned()], "");
    assert!(unknown.unwrap().1.contains("room.opened"));
    assert_eq!(fault(&webhooks.fetcher, "https://example.org/h", &["room.opened".to_owned()], "a"), None);
}

/// Two further libraries, of other languages, verify what is signed here, and nothing that was changed.
#[test]
fn libraries_of_python_and_javascript_verify_a_message() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let secrets = [Secret::random().unwrap(), Secret::random().unwrap()];
    let unix_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let body = json!({ "type": "room.opened", "data": { "room": "ä \"quoted\" \u{1f600}" } }).to_string();
    let signature = signature::signatures(&secrets, "msg_1", unix_s, &body);
    let python = "import json,sys; from standardwebhooks import Webhook\n\
        s,b,h=json.loads(sys.argv[1])\nWebhook(s).verify(b.encode(),h)";
    let node = "const {Webhook}=require('standardwebhooks');const [s,b,h]=JSON.parse(process.argv[1]);\
        new Webhook(s).verify(b,h)";
    for (program, code, flag) in
        [(tools.join("py/bin/python"), python, "-c"), (PathBuf::from("node"), node, "-e")]
    {
        let run = |secret: &Secret, body: &str| {
            let headers = json!({ "webhook-id": "msg_1", "webhook-timestamp": unix_s.to_string(),
                "webhook-signature": signature });
            let given = json!([secret.written(), body, headers]).to_string();
            let mut command = Command::new(&program);
            command.args([flag, code, &given]).env("NODE_PATH", tools.join("js/node_modules"));
            command.output().is_ok_and(|output| output.status.success())
        };
        let probe = if flag == "-c" { "import standardwebhooks" } else { "require('standardwebhooks')" };
        let mut command = Command::new(&program);
        command.args([flag, probe]).env("NODE_PATH", tools.join("js/node_modules"));
        if !command.output().is_ok_and(|output| output.status.success()) {
            eprintln!(
                "SKIPPED: {} has no standardwebhooks: `cargo xtask clients` installs it",
                program.display()
            );
            continue;
        }
        for secret in &secrets {
            assert!(run(secret, &body), "{}", program.display());
            assert!(!run(secret, &body.replace("opened", "closed")), "{}: another body", program.display());
        }
        assert!(!run(&Secret::random().unwrap(), &body), "{}: another secret", program.display());
    }
}
