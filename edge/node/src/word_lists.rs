//! Word lists of the node: read from their files, built, and handed to the shards.
//!
//! Why here: the filter knows no files, and a shard reads none.
//! Invariants: lists are built before they are handed over, on the thread that reads them. At a reload a list
//! with a fault changes nothing: all lists stay as they were, and the fault is told with its line.
//! Not here: the form of a list, what it says of a text (`grandstand_filter`), when files are read again
//! (`reload`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use grandstand_edge::config::Moderation;
use grandstand_engine::filter::SharedFilter;
use grandstand_filter::{Counts, Filter, LIST_BYTES_MAX, List, Rooms};

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct WordLists {
    shared: SharedFilter,
    /// By the list's name: they outlive its content.
    counts: Mutex<HashMap<String, Arc<Counts>>>,
}

impl WordLists {
    /// The lists that the configuration names.
    ///
    /// # Errors
    /// A list that cannot be used, with its faults.
    pub(crate) fn open(config: &Moderation) -> Result<WordLists, String> {
        let lists = WordLists::default();
        lists.reload(config)?;
        Ok(lists)
    }

    /// Read all lists again; returns how many rules they have.
    ///
    /// # Errors
    /// A list that cannot be used, with its faults. Then all stay as they were.
    pub(crate) fn reload(&self, config: &Moderation) -> Result<usize, String> {
        let mut lists = Vec::new();
        for (rooms, path) in config.word_lists() {
            let list = read(path)?;
            let counts = self.counts_of(list.name());
            lists.push((Rooms::parse(rooms), Arc::new(list.with_counts(counts))));
        }
        let rules = lists.iter().map(|(_, list)| list.rules().len()).sum();
        self.shared.replace((!lists.is_empty()).then(|| Arc::new(Filter::new(lists))));
        Ok(rules)
    }

    /// What the shards ask.
    pub(crate) fn shared(&self) -> SharedFilter {
        self.shared.clone()
    }

    /// The files of the lists.
    pub(crate) fn files(config: &Moderation) -> impl Iterator<Item = PathBuf> + '_ {
        config.word_lists().map(|(_, path)| path.to_owned())
    }

    /// How many texts each list decided on: list, action, count.
    pub(crate) fn numbers(&self) -> Vec<(String, &'static str, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_list = |(name, counts): (&String, &Arc<Counts>)| {
            counts.read().map(|(action, count)| (name.clone(), action.word(), count)).collect::<Vec<_>>()
        };
        counts.iter().flat_map(of_list).collect()
    }

    fn counts_of(&self, name: &str) -> Arc<Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.entry(name.to_owned()).or_default().clone()
    }
}

/// Read one list. Its name is that of its file, without the ending.
///
/// # Errors
/// Its faults.
pub(crate) fn read(path: &Path) -> Result<List, String> {
    let at = path.display();
    let bytes =
        std::fs::metadata(path).map_err(|error| format!("the word list {at} cannot be read: {error}"))?.len();
    if bytes > LIST_BYTES_MAX as u64 {
        return Err(format!("the word list {at} has {bytes} bytes, at most {LIST_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the word list {at} cannot be read: {error}"))?;
    let name = path.file_stem().map_or_else(|| "list".into(), |name| name.to_string_lossy());
    List::parse(&name, &text).map_err(|faults| {
        let says: Vec<String> = faults.iter().map(ToString::to_string).collect();
        format!("the word list {at}: {}", says.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_filter::{Action, Author, Scratch};

    fn config(lists: &[String]) -> Moderation {
        Moderation { lists: lists.to_vec() }
    }

    fn action(lists: &WordLists, room: &str, text: &str) -> Action {
        let Some(filter) = lists.shared().current() else { return Action::Allow };
        let verdict = filter.judge(filter.select(room), text, Author::default(), &mut Scratch::new());
        filter.count(&verdict);
        verdict.action
    }

    #[test]
    fn a_list_with_a_fault_changes_nothing_and_counts_go_on() {
        let dir = std::env::temp_dir().join(format!("grandstand-lists-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (house, kids) = (dir.join("house.txt"), dir.join("kids.txt"));
        std::fs::write(&house, "nitwit\n").unwrap();
        std::fs::write(&kids, "@ mask\ndolt\n").unwrap();
        let config = config(&[house.display().to_string(), format!("kids/*={}", kids.display())]);
        let lists = WordLists::open(&config).unwrap();
        assert_eq!(action(&lists, "a", "nitwit dolt"), Action::Refuse);
        assert_eq!(
            (action(&lists, "a", "dolt"), action(&lists, "kids/a", "dolt")),
            (Action::Allow, Action::Mask)
        );
        assert_eq!(WordLists::files(&config).collect::<Vec<_>>(), [house.clone(), kids.clone()]);

        std::fs::write(&house, "ninny\n").unwrap();
        std::fs::write(&kids, "dunce\n/(/\n").unwrap();
        let fault = lists.reload(&config).unwrap_err();
        assert!(fault.contains("kids.txt: line 2: not a regular expression"), "{fault}");
        assert_eq!(
            (action(&lists, "a", "nitwit"), action(&lists, "a", "ninny")),
            (Action::Refuse, Action::Allow)
        );

        std::fs::write(&kids, "dunce\n").unwrap();
        assert_eq!(lists.reload(&config), Ok(2));
        assert_eq!(
            (action(&lists, "a", "nitwit"), action(&lists, "a", "ninny")),
            (Action::Allow, Action::Refuse)
        );
        let refused = |name: &str| {
            let of = lists.numbers().into_iter().find(|n| n.0 == name && n.1 == "refuse");
            of.map(|number| number.2)
        };
        assert_eq!(refused("house"), Some(3));
        assert_eq!(lists.reload(&self::config(&[])), Ok(0));
        assert_eq!(action(&lists, "a", "ninny"), Action::Allow);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(WordLists::open(&config).unwrap_err().contains("cannot be read"));
    }
}
