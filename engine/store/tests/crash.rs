//! Kill -9 at any moment: a child pushes as fast as it may and says what it pushed and what became durable;
//! then it is killed, and whoever opens the log next finds all of it.
//!
//! The child is this test binary, run again for its one ignored test.
//!
//! Why: a shard shows what it pushed, so what was pushed must outlive the process.

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use grandstand_engine::link::PageOf;
use grandstand_engine::log::*;
use grandstand_store::{Found, StoreConfig, verify};
use support::*;

const DIR: &str = "GRANDSTAND_STORE_CHILD";
/// Set: most of what the child pushes is of one room, and large.
const LOUD: &str = "GRANDSTAND_STORE_CHILD_LOUD";
const ROOMS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// Kills whom it holds.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn config(dir: &Path) -> StoreConfig {
    let crash_log_dir = Some(dir.join("crash-log"));
    StoreConfig { crash_log_dir, queue_bytes_max: 1 << 20, ..StoreConfig::for_tests(dir.join("data")) }
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let mut rig = Rig::open(config(Path::new(&dir)));
    let mut next: HashMap<&str, (u64, u64)> = ROOMS.iter().map(|&room| (room, (7, 0))).collect();
    for stored in rig.rooms.clone() {
        let name = ROOMS.iter().find(|&&room| *room == *stored.room.room).unwrap();
        let page = rig.page(name, 0, PageOf::Shown);
        assert_eq!(said(&page), expected(name, 0..stored.next_offset), "{:?}", rig.store.opening());
        next.insert(name, (stored.room.epoch, stored.next_offset));
        say(&format!("room {name} {} {}", stored.room.epoch, stored.next_offset));
    }
    let found = match rig.store.opening().found {
        Found::New => "new",
        Found::Clean => "clean",
        Found::Crashed { .. } => "crashed",
        other => panic!("{other:?}: {:?}", rig.store.opening()),
    };
    say(&format!("open {found}"));
    let full = std::env::var_os(LOUD).map(|_| Bytes::from(vec![b'.'; 16 << 10]));
    for turn in 0u64.. {
        let is_loud = full.is_some() && !turn.is_multiple_of(50);
        let room = if is_loud { ROOMS[0] } else { ROOMS[(turn % 7) as usize] };
        while rig.log.check().is_err() {
            std::thread::yield_now();
        }
        let (epoch, offset) = next[room];
        let count = 1 + turn % 3;
        let mut entry = batch_of(room, epoch, offset, count, None);
        if let Entry::Batch(batch) = &mut entry {
            batch.full = full.clone().filter(|_| is_loud);
        }
        rig.log.push(entry);
        next.insert(room, (epoch, offset + count));
        say(&format!("push {room} {}", offset + count));
        while let Some(news) = rig.log.poll() {
            if let News::Durable(Position(position)) = news {
                say(&format!("durable {position}"));
            }
        }
    }
}

/// A whole line, at once and before anything else happens.
fn say(line: &str) {
    std::io::stdout().write_all(format!("@{line}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

/// What a child said before it died.
#[derive(Debug, Default)]
struct Heard {
    found: Option<String>,
    rooms: HashMap<String, (u64, u64)>,
    /// Room and next offset, in order.
    pushed: Vec<(String, u64)>,
    durable: usize,
}

impl Heard {
    fn shown(&self) -> HashMap<String, u64> {
        self.pushed.iter().cloned().collect()
    }

    fn acknowledged(&self) -> HashMap<String, u64> {
        self.pushed[..self.durable.min(self.pushed.len())].iter().cloned().collect()
    }
}

/// Run a child for about so long, kill it, and hear it out.
fn run_and_kill(dir: &Path, after_open: Duration) -> Heard {
    run_and_kill_of(Command::new(std::env::current_exe().unwrap()), dir, after_open)
}

fn run_and_kill_of(mut command: Command, dir: &Path, after_open: Duration) -> Heard {
    command.args(["--exact", "child", "--ignored", "--nocapture"]).env(DIR, dir);
    let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    let mut heard = Heard::default();
    let (mut line, mut killer) = (String::new(), None);
    while out.read_line(&mut line).unwrap() > 0 {
        let whole = line.ends_with('\n');
        if let Some(said) = line.trim_end().split_once('@').map(|(_, said)| said).filter(|_| whole) {
            let words: Vec<&str> = said.split(' ').collect();
            match words[..] {
                ["room", room, epoch, next] => {
                    heard.rooms.insert(room.into(), (epoch.parse().unwrap(), next.parse().unwrap()));
                }
                ["push", room, next] => heard.pushed.push((room.into(), next.parse().unwrap())),
                ["durable", position] => heard.durable = position.parse().unwrap(),
                ["open", found] => {
                    heard.found = Some(found.into());
                    let pid = child.0.id().to_string();
                    // The moment of death, not a wait for anything.
                    killer = Some(std::thread::spawn(move || {
                        std::thread::sleep(after_open);
                        let _ = Command::new("kill").args(["-9", &pid]).status();
                    }));
                }
                _ => panic!("{said}"),
            }
        }
        line.clear();
    }
    if let Some(killer) = killer {
        killer.join().unwrap();
    }
    let status = child.0.wait().unwrap();
    assert!(heard.found.is_some(), "the child died by itself: {status}");
    assert_eq!(status.code(), None, "the child ended by itself");
    heard
}

/// A number that is different each time, from 0 to below `n`.
fn random(n: u64) -> u64 {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    u64::from_le_bytes(bytes) % n
}

/// Kill children at random moments, each on what the one before left. What the last one left is whole.
fn kill_and_compare(dir: &Dir, rounds: u32, within: Duration, child: impl Fn() -> Command) -> Rig {
    let mut shown: HashMap<String, u64> = HashMap::new();
    let (mut pushed, mut recovered) = (0, 0);
    for round in 0..rounds {
        let after = Duration::from_micros(random(within.as_micros() as u64));
        let heard = run_and_kill_of(child(), dir.path(), after);
        let found = heard.found.as_deref().unwrap();
        assert_eq!(found, if round == 0 { "new" } else { "crashed" });
        for (room, &next) in &shown {
            let (epoch, there) = heard.rooms[room];
            assert!(there >= next, "round {round}: {room} comes back at {there}, and {next} was shown");
            assert_eq!(epoch, 7, "the epoch stays");
        }
        pushed += heard.pushed.len();
        recovered += heard.pushed.len() - heard.durable.min(heard.pushed.len());
        shown.extend(heard.shown());
    }
    let mut rig = Rig::open(config(dir.path()));
    assert!(matches!(rig.store.opening().found, Found::Crashed { .. }), "{:?}", rig.store.opening());
    for stored in rig.rooms.clone() {
        let room = &*stored.room.room;
        assert!(stored.next_offset >= shown[room]);
        assert_eq!(said(&rig.page(room, 0, PageOf::Shown)), expected(room, 0..stored.next_offset));
    }
    println!("{pushed} pushed, {recovered} of them not yet acknowledged at a death");
    assert!(pushed > 100);
    rig
}

#[test]
fn killed_at_random_moments_nothing_that_was_shown_is_unseen() {
    let dir = Dir::new("kill");
    let child = || Command::new(std::env::current_exe().unwrap());
    let rig = kill_and_compare(&dir, 12, Duration::from_millis(60), child);
    assert!(rig.close());
    assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());
}

#[test]
fn killed_while_a_loud_room_is_moved_in_parts() {
    let dir = Dir::new("loud");
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(LOUD, "1");
        command
    };
    let rig = kill_and_compare(&dir, 8, Duration::from_millis(600), child);
    let segments = rig.store.status().segments.load(std::sync::atomic::Ordering::Relaxed);
    println!("{segments} segments");
    assert!(segments > 60, "{segments} segments: the journal was never moved");
    assert!(rig.close());
    assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());
}

fn copy_database(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["grandstand.db", "grandstand.db-wal", "log.id"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[test]
fn after_a_power_cut_all_that_was_acknowledged_is_there_under_a_new_epoch() {
    let dir = Dir::new("power");
    let heard = run_and_kill(dir.path(), Duration::from_millis(40 + random(60)));
    let acknowledged = heard.acknowledged();
    assert!(!acknowledged.is_empty());
    let copy = Dir::new("power-copy");
    copy_database(&dir.data(), &copy.data());
    let mut rig = Rig::open(copy.config());
    assert_eq!(rig.store.opening().found, Found::PowerCut);
    for stored in rig.rooms.clone() {
        let room = &*stored.room.room;
        assert!(stored.next_offset >= acknowledged.get(room).copied().unwrap_or(0));
        let previous = stored.previous.epochs()[0];
        assert_eq!((previous.epoch, previous.next_offset), (7, stored.next_offset));
        assert_ne!(stored.room.epoch, 7);
        assert_eq!(said(&rig.page(room, 0, PageOf::Shown)), expected(room, 0..stored.next_offset));
        // It goes on.
        let last = rig.log.push(batch(room, stored.room.epoch, stored.next_offset));
        rig.wait_durable(last);
        assert_eq!(said(&rig.page(room, 0, PageOf::Shown)), expected(room, 0..stored.next_offset + 1));
    }
    let epochs: Vec<_> = rig.rooms.iter().map(|stored| (stored.room.epoch, stored.next_offset)).collect();
    assert!(rig.close());
    let rig = Rig::open(copy.config());
    let again: Vec<_> = rig.rooms.iter().map(|stored| (stored.room.epoch, stored.next_offset - 1)).collect();
    assert_eq!((rig.store.opening().found, again), (Found::Clean, epochs));
    assert!(rig.close());
    assert_eq!(verify::run(&copy.data()).unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_torn_write_ahead_log_leaves_a_sound_beginning() {
    let dir = Dir::new("torn");
    let heard = run_and_kill(dir.path(), Duration::from_millis(40));
    let wal = std::fs::read(dir.data().join("grandstand.db-wal")).unwrap();
    for _ in 0..20 {
        let copy = Dir::new("torn-copy");
        copy_database(&dir.data(), &copy.data());
        let at = random(wal.len() as u64) as usize;
        std::fs::write(copy.data().join("grandstand.db-wal"), &wal[..at]).unwrap();
        let store = match grandstand_store::Store::open(copy.config()) {
            Ok(store) => store,
            // Not even the tables had been written.
            Err(error) => {
                assert!(at < 100_000, "{error}");
                continue;
            }
        };
        let mut rig = Rig::of(store);
        assert!(rig.store.opening().found != Found::Clean);
        for stored in rig.rooms.clone() {
            let room = &*stored.room.room;
            assert!(stored.next_offset <= heard.shown()[room]);
            assert_eq!(said(&rig.page(room, 0, PageOf::Shown)), expected(room, 0..stored.next_offset));
        }
        assert!(rig.close());
    }
}
