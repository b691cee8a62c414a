//! Shared pages: one request to the owner for all readers of one page at this node.
//!
//! Why: after an owner change thousands of members catch up from the same offset, and each asks for its page.
//! The page would pass the link once for each of them.
//! Invariant: a reader waits for the answer to the first one's request, or has asked itself.
//! Not here: how long a reader waits (`Front`).

use std::collections::BTreeMap;

use grandstand_engine::link::{Alias, Input, PageOf};

use super::Key;

type Page = (Alias, u64, u64, PageOf);

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct SharedPages {
    /// The readers of each page that was asked for; the first one asked.
    readers: BTreeMap<Page, Vec<Key>>,
    pages: BTreeMap<Key, Page>,
}

impl SharedPages {
    /// A reader wants a page, under the present alias of its room. Must the owner be asked?
    pub(super) fn ask(&mut self, key: Key, input: &Input) -> bool {
        let Input::History { alias, epoch, from, of, .. } = input else { return true };
        let page = (*alias, *epoch, *from, *of);
        let readers = self.readers.entry(page).or_default();
        readers.push(key);
        self.pages.insert(key, page);
        readers.len() == 1
    }

    /// A reader's request was answered. Returns all other readers of the page.
    pub(super) fn answer(&mut self, key: Key) -> Vec<Key> {
        let Some(page) = self.pages.get(&key) else { return Vec::new() };
        let mut readers = self.readers.remove(page).unwrap_or_default();
        for reader in &readers {
            self.pages.remove(reader);
        }
        readers.retain(|reader| *reader != key);
        readers
    }

    /// A reader waits no more. Without the first one nobody waits for its answer: who comes then asks anew.
    pub(super) fn forget(&mut self, key: Key) {
        let Some(page) = self.pages.remove(&key) else { return };
        let Some(readers) = self.readers.get_mut(&page) else { return };
        if readers.first() == Some(&key) {
            self.answer_none(page);
        } else {
            readers.retain(|reader| *reader != key);
        }
    }

    fn answer_none(&mut self, page: Page) {
        for reader in self.readers.remove(&page).unwrap_or_default() {
            self.pages.remove(&reader);
        }
    }

    /// Another owner is asked for everything.
    pub(super) fn clear(&mut self) {
        self.readers.clear();
        self.pages.clear();
    }
}
