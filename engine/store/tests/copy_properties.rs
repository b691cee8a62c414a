//! Copies over random logs: entries, terms, crashes and restarts at any place.
//!
//! Why: at a claim everything depends on the rooms of one copy. Whatever its process lived through, they must
//! be those of a copy that applied the same log in one go, and those that a single node finds after the same
//! entries.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use grandstand_engine::link::{PageOf, PreviousEpoch, ShardId, epoch_after};
use grandstand_engine::log::*;
use grandstand_queue::Doorbell;
use grandstand_store::{Store, StoreConfig, encode_entry, verify};
use proptest::prelude::*;
use support::copies::*;
use support::*;

/// Rooms by number; room `n` is of shard `n % SHARDS`.
const ROOMS: usize = 6;
const SHARDS: usize = 2;

/// Something that an owner does in a room.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Make,
    Say {
        count: u64,
        is_paced: bool,
        state: Option<(u8, bool)>,
    },
    Change {
        key: u8,
        is_set: bool,
    },
    Configure,
    /// It was kept in memory for a while, and goes on at a higher offset.
    Jump {
        by: u64,
    },
    Remove,
    /// Entries that continue nothing: of an epoch that is over, of offsets that are taken, of no room.
    Stray {
        kind: u8,
    },
}

/// The next event of a log.
#[derive(Clone, Debug)]
enum Event {
    Do(usize, Deed),
    /// The entries so far become a record.
    Cut(usize),
    Term {
        shard: usize,
        is_clean: bool,
        adopted: Vec<(usize, Deed)>,
    },
}

/// What happens to a process that applies logs.
#[derive(Clone, Copy, Debug)]
enum Life {
    Apply { shard: usize, records: u64 },
    Crash,
    Commit,
    Reopen,
    Look { room: usize },
}

fn deed() -> impl Strategy<Value = Deed> {
    let state = prop::option::of((0u8..3, any::<bool>()));
    prop_oneof![
        3 => Just(Deed::Make),
        8 => (1u64..5, any::<bool>(), state)
            .prop_map(|(count, is_paced, state)| Deed::Say { count, is_paced, state }),
        2 => (0u8..3, any::<bool>()).prop_map(|(key, is_set)| Deed::Change { key, is_set }),
        1 => Just(Deed::Configure),
        1 => (1u64..9).prop_map(|by| Deed::Jump { by }),
        1 => Just(Deed::Remove),
        1 => (0u8..4).prop_map(|kind| Deed::Stray { kind }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let adopted = prop::collection::vec((0..ROOMS, deed()), 0..4);
    prop_oneof![
        12 => (0..ROOMS, deed()).prop_map(|(room, deed)| Event::Do(room, deed)),
        4 => (0..SHARDS).prop_map(Event::Cut),
        1 => (0..SHARDS, any::<bool>(), adopted)
            .prop_map(|(shard, is_clean, adopted)| Event::Term { shard, is_clean, adopted }),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        6 => (0..SHARDS, 1u64..8).prop_map(|(shard, records)| Life::Apply { shard, records }),
        1 => Just(Life::Crash),
        1 => Just(Life::Commit),
        1 => Just(Life::Reopen),
        2 => (0..ROOMS).prop_map(|room| Life::Look { room }),
    ]
}

/// A room as its owner knows it.
#[derive(Clone, Debug)]
struct Owned {
    epoch: u64,
    /// The epoch that it would have without terms.
    first_epoch: u64,
    lineage: Vec<PreviousEpoch>,
    next_offset: u64,
    version: u64,
    /// Where the offsets begin that end with the next one without a jump.
    run: u64,
}

/// The owners of all shards, and the logs that they write.
#[derive(Debug, Default)]
struct Owners {
    rooms: BTreeMap<usize, Owned>,
    logs: [Vec<LogRecord>; SHARDS],
    waiting: [Vec<Entry>; SHARDS],
    /// The rooms of each shard after each record, the first one before all.
    after: [Vec<BTreeMap<usize, Owned>>; SHARDS],
    /// What a single node would have pushed.
    single: Vec<Entry>,
    next_epoch: u64,
    term: u64,
    strays: u64,
}

fn name(room: usize) -> String {
    format!("room {room}")
}

fn described(name: &str, epoch: u64, next_offset: u64, tick_min_ms: u32) -> Entry {
    let Entry::Room(mut entry) = room(name, epoch) else { unreachable!() };
    (entry.next_offset, entry.settings.tick_min_ms) = (next_offset, Some(tick_min_ms));
    entry.slot = Some(tick_min_ms);
    Entry::Room(entry)
}

/// The same entry of another epoch.
fn under(entry: &Entry, of: u64) -> Entry {
    let mut entry = entry.clone();
    match &mut entry {
        Entry::Batch(batch) => batch.epoch = of,
        Entry::Room(room) => room.epoch = of,
        Entry::Removed { epoch, .. } => *epoch = of,
    }
    entry
}

impl Owners {
    fn new() -> Owners {
        let mut owners = Owners { next_epoch: 100, ..Owners::default() };
        owners.after.iter_mut().for_each(|after| after.push(BTreeMap::new()));
        owners
    }

    /// The entries that a deed comes to; none where it makes no sense.
    fn entry(&mut self, at: usize, deed: Deed) -> Option<Entry> {
        let name = name(at);
        if let (Deed::Make, false) = (deed, self.rooms.contains_key(&at)) {
            self.next_epoch += 1;
            let epoch = self.next_epoch;
            let (lineage, run) = (Vec::new(), 0);
            let owned = Owned { epoch, first_epoch: epoch, lineage, next_offset: 0, version: 0, run };
            self.rooms.insert(at, owned);
            return Some(described(&name, epoch, 0, 20));
        }
        let owned = self.rooms.get_mut(&at)?;
        let (epoch, offset) = (owned.epoch, owned.next_offset);
        let mut changed = |(key, is_set): (u8, bool)| {
            owned.version += 1 + u64::from(key);
            let value = format!("value {}", owned.version);
            state(owned.version, &format!("key {key}"), is_set.then_some(&value))
        };
        match deed {
            Deed::Make => None,
            Deed::Say { count, is_paced, state } => {
                let mut entry = batch_of(&name, epoch, offset, count, state.map(&mut changed));
                if let Entry::Batch(batch) = &mut entry {
                    batch.full = is_paced.then(|| Bytes::from(vec![b'.'; 30]));
                }
                owned.next_offset += count;
                Some(entry)
            }
            Deed::Change { key, is_set } => {
                let state = changed((key, is_set));
                Some(batch_of(&name, epoch, offset, 0, Some(state)))
            }
            Deed::Configure => Some(described(&name, epoch, offset, 20 + offset as u32)),
            Deed::Jump { by } => {
                (owned.next_offset, owned.run) = (offset + by, offset + by);
                Some(described(&name, epoch, offset + by, 20))
            }
            Deed::Remove => {
                self.rooms.remove(&at);
                Some(Entry::Removed { room: name.as_str().into(), epoch })
            }
            Deed::Stray { .. } => None,
        }
    }

    fn stray(&self, at: usize, kind: u8) -> Option<Entry> {
        let name = name(at);
        let Some(owned) = self.rooms.get(&at) else {
            return Some(if kind.is_multiple_of(2) {
                batch(&name, 1, 0)
            } else {
                Entry::Removed { room: name.as_str().into(), epoch: 1 }
            });
        };
        let before = owned.lineage.first().map_or(3, |previous| previous.epoch);
        match kind {
            0 => Some(batch(&name, before, owned.next_offset)),
            1 => Some(described(&name, before, owned.next_offset, 99)),
            2 => Some(Entry::Removed { room: name.as_str().into(), epoch: before }),
            _ if owned.next_offset > 0 => Some(batch(&name, owned.epoch, owned.next_offset - 1)),
            _ => None,
        }
    }

    fn take(&mut self, at: usize, deed: Deed) -> Option<Entry> {
        if let Deed::Stray { kind } = deed {
            let stray = self.stray(at, kind);
            self.strays += u64::from(stray.is_some());
            return stray;
        }
        let first = self.rooms.get(&at).map(|owned| owned.first_epoch);
        let entry = self.entry(at, deed)?;
        let first = first.unwrap_or(self.next_epoch);
        self.single.push(under(&entry, first));
        Some(entry)
    }

    fn cut(&mut self, shard: usize) {
        let entries = std::mem::take(&mut self.waiting[shard]);
        self.end(shard, LogRecord::of(&entries));
    }

    fn end(&mut self, shard: usize, record: LogRecord) {
        self.logs[shard].push(record);
        let rooms = self.rooms.iter().filter(|&(at, _)| at % SHARDS == shard);
        self.after[shard].push(rooms.map(|(&at, owned)| (at, owned.clone())).collect());
    }

    fn write(&mut self, event: Event) {
        match event {
            Event::Do(at, deed) => {
                let entry = self.take(at, deed);
                self.waiting[at % SHARDS].extend(entry);
            }
            Event::Cut(shard) => self.cut(shard),
            Event::Term { shard, is_clean, adopted } => {
                self.cut(shard);
                let deeds = adopted.into_iter().map(|(at, deed)| (at - at % SHARDS + shard, deed));
                let adopted: Vec<Entry> = deeds.filter_map(|(at, deed)| self.take(at, deed)).collect();
                self.term += 1;
                let rooms = self.rooms.iter_mut().filter(|(at, _)| *at % SHARDS == shard && !is_clean);
                for (_, owned) in rooms {
                    let previous = PreviousEpoch { epoch: owned.epoch, next_offset: owned.next_offset };
                    owned.lineage.insert(0, previous);
                    owned.lineage.truncate(4);
                    owned.epoch = epoch_after(owned.epoch, self.term);
                }
                self.end(shard, LogRecord::term(self.term, is_clean, &adopted));
            }
        }
    }
}

/// Small bounds, so that short logs reach them.
fn bounded(config: StoreConfig) -> StoreConfig {
    let (nonces_max, nonce_window_ms, newest_batches_max, newest_bytes_max) = (11, 120, 5, 300);
    StoreConfig { nonces_max, nonce_window_ms, newest_batches_max, newest_bytes_max, ..config }
}

fn node() -> Node {
    let dir = Dir::in_memory("properties");
    let config = bounded(dir.config());
    Node::of(dir, config, SHARDS as u16)
}

/// The rooms of a copy are those that the owner had, as far as the owner can say.
fn judge(found: &[StoredRoom], expected: &BTreeMap<usize, Owned>) {
    let facts: Vec<_> = found
        .iter()
        .map(|stored| {
            let epochs = stored.previous.epochs().to_vec();
            (
                stored.room.room.to_string(),
                stored.room.epoch,
                stored.next_offset,
                stored.state_version,
                epochs,
            )
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(&at, owned)| (name(at), owned.epoch, owned.next_offset, owned.version, owned.lineage.clone()))
        .collect();
    assert_eq!(facts, expected);
    for stored in found {
        let ends = stored.newest.last().is_none_or(|(batch, _)| batch.next_offset == stored.next_offset);
        assert!(ends, "{stored:?}");
    }
}

/// Everything of a room that no term changes.
fn without_epochs(rooms: &[StoredRoom]) -> Vec<StoredRoom> {
    let mut rooms = rooms.to_vec();
    rooms.sort_by(|a, b| a.room.room.cmp(&b.room.room));
    for stored in &mut rooms {
        (stored.room.epoch, stored.previous) = (0, Default::default());
    }
    rooms
}

/// What a single node finds after these entries.
fn of_single_node(entries: &[Entry]) -> Vec<StoredRoom> {
    let dir = Dir::in_memory("single");
    let open = || {
        let mut store = Store::open(bounded(dir.config())).unwrap();
        let (log, rooms) = LogSource::open(&mut store, ShardId(0), &|_| true, Doorbell::new(|| {}));
        (store, log, rooms)
    };
    let (store, mut log, _) = open();
    for entry in entries {
        log.push(entry.clone());
    }
    drop(log);
    assert!(store.close());
    open().2
}

fn live(node: &mut Node, life: Life, owners: &Owners, is_crashed: &mut bool) {
    match life {
        Life::Apply { shard, records } => {
            let upto = (position(&node.copies[shard]) + records).min(owners.logs[shard].len() as u64);
            apply(&mut node.copies[shard], &owners.logs[shard], upto);
        }
        Life::Commit => node.wait_committed(),
        Life::Look { room } => {
            let shard = room % SHARDS;
            let at = position(&node.copies[shard]) as usize;
            let Some(owned) = owners.after[shard][at].get(&room) else { return };
            let said = node.page(shard, &name(room), owned.run);
            assert_eq!(said, expected(&name(room), owned.run..owned.next_offset));
        }
        Life::Crash | Life::Reopen => *is_crashed |= matches!(life, Life::Crash),
    }
}

fn follow(node: Node, lives: &[Life], owners: &Owners) -> Node {
    let mut node = node;
    for &life in lives {
        let mut is_crashed = false;
        live(&mut node, life, owners, &mut is_crashed);
        let before: Vec<u64> = node.copies.iter().map(position).collect();
        match life {
            Life::Crash => node = node.crash(),
            Life::Reopen => node = node.reopen(),
            _ => {}
        }
        assert_eq!(node.store.opening().rotten, Vec::<String>::new());
        for (shard, before) in before.into_iter().enumerate() {
            let at = position(&node.copies[shard]);
            assert!(if is_crashed { at <= before } else { at == before }, "{life:?}: {at} after {before}");
            // The head is that of the data, neither ahead of it nor behind.
            judge(&rooms(&mut node.copies[shard]), &owners.after[shard][at as usize]);
        }
    }
    node
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_process_lived_through_its_rooms_are_those_of_the_log(
        events in prop::collection::vec(event(), 1..160),
        lives in prop::collection::vec(life(), 0..24),
    ) {
        let mut owners = Owners::new();
        events.into_iter().for_each(|event| owners.write(event));
        (0..SHARDS).for_each(|shard| owners.cut(shard));
        let mut all_at_once = node();
        let mut chopped = follow(node(), &lives, &owners);
        let mut everything = Vec::new();
        for (shard, log) in owners.logs.iter().enumerate() {
            apply(&mut all_at_once.copies[shard], log, log.len() as u64);
            apply(&mut chopped.copies[shard], log, log.len() as u64);
            let expected = rooms(&mut all_at_once.copies[shard]);
            judge(&expected, owners.after[shard].last().unwrap());
            prop_assert_eq!(&rooms(&mut chopped.copies[shard]), &expected);
            everything.extend(expected);
        }
        let left_out = all_at_once.store.status().left_out.load(std::sync::atomic::Ordering::Relaxed);
        prop_assert_eq!(left_out, owners.strays);
        let found = of_single_node(&owners.single);
        prop_assert_eq!(without_epochs(&everything), without_epochs(&found));
        // And once more from segments, and from a journal.
        for mut node in [all_at_once.reopen(), { chopped.wait_committed(); chopped.crash() }] {
            let mut again = Vec::new();
            (0..SHARDS).for_each(|shard| again.extend(rooms(&mut node.copies[shard])));
            prop_assert_eq!(&again, &everything);
            prop_assert!(node.copies.iter().all(|copy| copy.is_sound()));
            drop(node.copies);
            prop_assert!(node.store.close());
            prop_assert_eq!(verify::run(&node.dir.data()).unwrap().faults, Vec::<String>::new());
        }
    }

    #[test]
    fn any_bytes_are_an_entry_or_refused_and_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        at in any::<prop::sample::Index>(),
    ) {
        let _ = grandstand_store::decode_entry(&Bytes::from(bytes.clone()));
        let sound = encode_entry(&batch_of("a", 5, 3, 2, Some(state(1, "key", Some("value")))));
        let mut changed = sound.to_vec();
        let at = at.index(sound.len());
        for (old, new) in changed[at..].iter_mut().zip(&bytes) {
            *old = *new;
        }
        if changed != sound {
            prop_assert!(grandstand_store::decode_entry(&changed.into()).is_err());
        }
    }
}

#[test]
fn pages_of_the_two_forms_come_from_a_copy() {
    let mut node = node();
    let mut entry = batch_of("room 0", 5, 0, 2, None);
    if let Entry::Batch(batch) = &mut entry {
        batch.full = Some(batch.batch.wire.clone());
    }
    apply(&mut node.copies[0], &[LogRecord::of(&[room("room 0", 5), entry])], 1);
    let request = ReadRequest {
        request: 1 << 60,
        room: "room 0".into(),
        alias: grandstand_engine::link::Alias(9),
        from: 0,
        of: PageOf::Full { messages_max: 9 },
        batches_max: 9,
        bytes_max: 1 << 20,
    };
    node.copies[0].read(request);
    let page = loop {
        if let Some(news) = node.copies[0].poll() {
            break news;
        }
        std::thread::yield_now();
    };
    // A copy's requests are its holder's: any number is returned as it was.
    let News::Page { request, batches } = page else { panic!("{page:?}") };
    assert_eq!((request, said(&batches)), (1 << 60, expected("room 0", 0..2)));
}
