//! Staff: what the names of people with a role in a room look like, so that nobody else is shown under them.
//!
//! Why the room's: a host on one worker is imitated by somebody on another, and both speak here.
//! Invariants: both lists are bounded; a name is kept while its owner is in the room, and for an hour after a
//! message of theirs, so that a bridge's host, who is never present, is kept as well.
//! Not here: names that an operator reserves (edge), what looks alike (`grandstand_protocol::text`).

use grandstand_protocol::text::Likeness;

use crate::link::{UserId, WorkerId};

/// Likenesses that are kept for each worker: people with a role are few. Beyond: those who came first.
const PRESENT_MAX: usize = 256;

/// Likenesses of those who spoke that are kept. Beyond: those who spoke last.
const SPOKE_MAX: usize = 32;

/// How long after a message its author's name is kept.
const SPOKE_US: u64 = 3_600_000_000;

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Staff {
    present: Vec<(WorkerId, Box<[Likeness]>)>,
    /// With their user, and when.
    spoke: Vec<(Likeness, UserId, u64)>,
}

impl Staff {
    /// These are present on a worker now.
    pub(crate) fn set_present(&mut self, worker: WorkerId, names: &[Likeness]) {
        self.present.retain(|(of, _)| *of != worker);
        if !names.is_empty() {
            self.present.push((worker, names[..names.len().min(PRESENT_MAX)].into()));
        }
    }

    /// Somebody with a role spoke under this name.
    pub(crate) fn spoke(&mut self, name: &str, user: UserId, now_us: u64) {
        for likeness in Likeness::all_of(name) {
            self.spoke.retain(|(of, _, at_us)| *of != likeness && now_us.saturating_sub(*at_us) < SPOKE_US);
            if self.spoke.len() == SPOKE_MAX {
                self.spoke.remove(0);
            }
            self.spoke.push((likeness, user, now_us));
        }
    }

    /// Is this name taken for one of theirs? `user` is who shows it: who has lost a role is no imitation of
    /// oneself. `None` for a bridge, which is one user for all its authors.
    pub(crate) fn is_imitated_by(&self, name: &str, user: Option<UserId>, now_us: u64) -> bool {
        if self.present.is_empty() && self.spoke.is_empty() {
            return false;
        }
        let spoke = |likeness: &Likeness| {
            let is_kept = |at_us: u64| now_us.saturating_sub(at_us) < SPOKE_US;
            self.spoke.iter().any(|(of, by, at_us)| of == likeness && Some(*by) != user && is_kept(*at_us))
        };
        Likeness::all_of(name)
            .any(|likeness| self.present.iter().any(|(_, of)| of.contains(&likeness)) || spoke(&likeness))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likenesses(names: &[&str]) -> Vec<Likeness> {
        names.iter().flat_map(|name| Likeness::all_of(name)).collect()
    }

    #[test]
    fn a_name_is_kept_while_its_owner_is_present_on_any_worker() {
        let mut staff = Staff::default();
        assert!(!staff.is_imitated_by("Host", None, 0));
        staff.set_present(WorkerId(0), &likenesses(&["Host"]));
        staff.set_present(WorkerId(1), &likenesses(&["Mo", "Host"]));
        assert!(staff.is_imitated_by("h0st", None, 0) && staff.is_imitated_by("M.o", None, 0));
        assert!(!staff.is_imitated_by("Ann", None, 0));
        staff.set_present(WorkerId(0), &[]);
        assert!(staff.is_imitated_by("Host", None, 0));
        staff.set_present(WorkerId(1), &likenesses(&["Mo"]));
        assert!(!staff.is_imitated_by("Host", None, 0) && staff.is_imitated_by("Mo", None, 0));
    }

    #[test]
    fn a_name_is_kept_for_an_hour_after_a_message_and_the_list_is_bounded() {
        let mut staff = Staff::default();
        staff.spoke("Host", UserId(1), 5);
        assert!(
            staff.is_imitated_by("Host", Some(UserId(2)), 5)
                && !staff.is_imitated_by("Host", Some(UserId(1)), 5)
        );
        assert!(
            staff.is_imitated_by("HOST", None, 5 + SPOKE_US - 1)
                && !staff.is_imitated_by("HOST", None, 5 + SPOKE_US)
        );
        for n in 0..1_000 {
            staff.spoke(&format!("moderator {n}"), UserId(1), 6);
        }
        assert!(staff.spoke.len() <= SPOKE_MAX && staff.is_imitated_by("moderator 999", None, 6));
        assert!(!staff.is_imitated_by("Host", None, 6));
        staff.set_present(WorkerId(0), &likenesses(&["a"]).repeat(1_000));
        assert_eq!(staff.present[0].1.len(), PRESENT_MAX);
    }
}
