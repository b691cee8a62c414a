//! A room's state as a client keeps it: the latest value of each key, within a bound.
//!
//! Why a bound: a node names the keys, and a node that never ends naming new ones would fill the memory of
//! its clients. A room's state fits into one `Snapshot`, so nothing that a node may send is over the bound.
//! Not here: versions (`room`), which events an app has taken (`net::view`).

use std::collections::BTreeMap;

use grandstand_protocol::limits::SERVER_FRAME_BYTES_MAX;

/// Bytes that a key and its value take in a `Snapshot` beside their own; in memory they take some more.
const ENTRY_BYTES: usize = 32;

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct StateTable {
    values: BTreeMap<Box<str>, Box<[u8]>>,
    bytes: usize,
}

impl StateTable {
    /// Set a key, or remove it. `false`: the table is full, and the key keeps no value.
    pub(crate) fn apply(&mut self, key: &str, value: Option<&[u8]>) -> bool {
        if let Some(before) = self.values.remove(key) {
            self.bytes -= ENTRY_BYTES + key.len() + before.len();
        }
        let Some(value) = value else { return true };
        let bytes = self.bytes + ENTRY_BYTES + key.len() + value.len();
        let fits = bytes <= SERVER_FRAME_BYTES_MAX;
        if fits {
            self.bytes = bytes;
            self.values.insert(key.into(), value.into());
        }
        fits
    }

    pub(crate) fn clear(&mut self) {
        *self = StateTable::default();
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(|value| &**value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.values.iter().map(|(key, value)| (&**key, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_what_a_snapshot_holds_and_a_removed_key_makes_space() {
        let (value, mut table) = (vec![b'v'; 4096], StateTable::default());
        let each = ENTRY_BYTES + 4 + value.len();
        let most = SERVER_FRAME_BYTES_MAX / each;
        for n in 0..most {
            assert!(table.apply(&format!("{n:04}"), Some(&value)));
        }
        assert!(!table.apply("more", Some(&value)) && table.get("more").is_none());
        assert!(table.apply("0001", Some(&value)), "a present key still changes");
        assert!(table.apply("0001", None) && table.apply("more", Some(&value)));
        assert!(!table.apply("0002", Some(&vec![b'v'; 2 * each])) && table.get("0002").is_none());
        assert_eq!(table.iter().count(), most - 1);
        table.clear();
        assert!(table.bytes == 0 && table.apply("0001", Some(&value)));
    }
}
