//! Tests of records: encoded records are read back unchanged, and any other bytes are rejected.
//!
//! Why: records are read back from disks whose data may be damaged, so no bytes may make the reader panic.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn name() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,20}".prop_map(Arc::from)
}

fn state() -> impl Strategy<Value = StateEntry> {
    (any::<u64>(), vec(("\\PC{0,8}".prop_map(Box::from), option::of(bytes(30))), 0..4))
        .prop_map(|(version, changes)| StateEntry { version, changes })
}

fn batch() -> impl Strategy<Value = Entry> {
    let numbers = (any::<u32>(), any::<u32>(), 0..1000u64, any::<u32>(), any::<u32>());
    let nonces = vec((any::<u64>().prop_map(UserId), any::<u64>()), 0..5);
    (name(), any::<u64>(), numbers, bytes(300), option::of(bytes(300)), nonces, option::of(state())).prop_map(
        |(room, epoch, (seq, first, covered, base, delta), wire, full, nonces, state)| {
            let (first_offset, base_time_ms) = (u64::from(first), u64::from(base));
            let batch = Batch {
                seq: u64::from(seq),
                first_offset,
                next_offset: first_offset + covered,
                messages: covered as u32 / 2,
                base_time_ms,
                time_ms: base_time_ms + u64::from(delta),
                wire,
                has_acts: false,
                compressed: Compressed::default(),
                snapshot: None,
            };
            let nonces = nonces.into();
            Entry::Batch(Box::new(BatchEntry { room, epoch, batch: Arc::new(batch), full, nonces, state }))
        },
    )
}

fn setting() -> impl Strategy<Value = Option<u32>> {
    option::of(0..u32::MAX)
}

fn record() -> impl Strategy<Value = Record> {
    let settings = (setting(), setting(), setting(), option::of(0..3u8)).prop_map(|(a, b, c, d)| {
        let durability = d.map(Durability::from_wire);
        RoomSettings { tick_min_ms: a, tick_max_ms: b, pacing_per_s: c, durability }
    });
    let room =
        (name(), any::<u64>(), any::<u64>(), option::of(any::<u32>()), any::<[bool; 2]>(), 0..3u8, settings)
            .prop_map(|(room, epoch, next_offset, slot, [is_operators, is_head], phase, settings)| {
                let phase = phase_of(phase).unwrap();
                Entry::Room(RoomEntry {
                    room,
                    epoch,
                    next_offset,
                    slot,
                    is_operators,
                    is_head,
                    phase,
                    settings,
                })
            });
    let removed = (name(), any::<u64>()).prop_map(|(room, epoch)| Entry::Removed { room, epoch });
    let epoch = (name(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(room, epoch, old, next)| {
        Record::Epoch { room, epoch, previous: PreviousEpoch { epoch: old, next_offset: next } }
    });
    prop_oneof![
        4 => batch().prop_map(Record::Entry),
        1 => room.prop_map(Record::Entry),
        1 => removed.prop_map(Record::Entry),
        1 => epoch,
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(record in record(), base in any::<u64>(), behind in bytes(40)) {
        let (bytes, own) = encode(&record, base);
        let len = bytes.len();
        let all = Bytes::from([&bytes[..], &behind].concat());
        let sealed = read(&all).unwrap();
        prop_assert_eq!((sealed.base, sealed.checksum, sealed.bytes.len()), (base, own, len));
        prop_assert_eq!(sealed.record, record);
    }

    #[test]
    fn every_flipped_bit_is_noticed(record in record(), base in any::<u64>(), at in any::<prop::sample::Index>()) {
        let (bytes, _) = encode(&record, base);
        let mut rotten = bytes.to_vec();
        let bit = at.index(rotten.len() * 8);
        rotten[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(read(&Bytes::from(rotten)).is_err());
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in bytes(200), own in any::<bool>()) {
        let mut bytes = bytes.to_vec();
        // Half of them have the right length and sum, so that they reach the decoder of the body.
        if own && bytes.len() > HEAD_BYTES {
            let length = (bytes.len() - 4) as u32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            let base = u64::from_le_bytes(bytes[4..12].try_into().unwrap());
            bytes[20] %= 6;
            let own = checksum(base, &bytes[HEAD_BYTES..]);
            bytes[12..20].copy_from_slice(&own.to_le_bytes());
        }
        let _ = read(&Bytes::from(bytes));
    }
}
