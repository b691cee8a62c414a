//! Shared pages: one request to the owner for all readers of one page at this node.
//!
//! Why: after an owner change thousands of members catch up from the same offset, and each asks for its page.
//! The page would pass the link once for each of them.
//! Invariant: a reader waits for the answer to the first one's request, or has asked itself.
//! Not here: how long a reader waits (`Front`).

use std::collections::{BTreeMap, VecDeque};

use grandstand_engine::link::{Alias, Input, PageOf};

use super::Key;

type Page = (Alias, u64, u64, PageOf);

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct SharedPages {
    /// The readers of each page that was asked for; the first one asked.
    readers: BTreeMap<Page, VecDeque<Key>>,
    pages: BTreeMap<Key, Page>,
}

impl SharedPages {
    /// A reader wants a page, under the present alias of its room. Must the owner be asked?
    pub(super) fn ask(&mut self, key: Key, input: &Input) -> bool {
        let Input::History { alias, epoch, from, of, .. } = input else { return true };
        let page = (*alias, *epoch, *from, *of);
        let readers = self.readers.entry(page).or_default();
        readers.push_back(key);
        self.pages.insert(key, page);
        readers.len() == 1
    }

    /// A reader's request was answered. Returns all other readers of the page.
    pub(super) fn answer(&mut self, key: Key) -> VecDeque<Key> {
        let Some(page) = self.pages.get(&key) else { return VecDeque::new() };
        let mut readers = self.readers.remove(page).unwrap_or_default();
        for reader in &readers {
            self.pages.remove(reader);
        }
        readers.retain(|reader| *reader != key);
        readers
    }

    /// A reader waits no more. If it was the first one, returns who must ask in its place, and under which
    /// alias: nobody waits for the answer to the first one's request any more.
    pub(super) fn forget(&mut self, key: Key) -> Option<(Key, Alias)> {
        let page = self.pages.remove(&key)?;
        let readers = self.readers.get_mut(&page)?;
        if readers.front() == Some(&key) {
            readers.pop_front();
            let next = readers.front().map(|next| (*next, page.0));
            if next.is_none() {
                self.readers.remove(&page);
            }
            return next;
        }
        readers.retain(|reader| *reader != key);
        None
    }

    /// Another owner is asked for everything.
    pub(super) fn clear(&mut self) {
        self.readers.clear();
        self.pages.clear();
    }
}
