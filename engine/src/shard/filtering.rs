//! Filtering: what a shard does with a publication that its room's word lists caught.
//!
//! Why behind all other checks: a text that slow mode refuses is not searched, and a retry of an accepted
//! message is never refused (`room::judge`).
//! Invariants: the text is judged as it was written; what a mask makes of it is a text by the same rules, and
//! never longer. The answer to the author names no word.
//! Not here: what lists say of a text (`grandstand_filter`).

use grandstand_filter::{Action, Author, Filter, Scratch};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::text::{guest_name, mend_text};

use crate::link::Publication;

/// What becomes of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filtered {
    /// It goes on as it is.
    Through,
    /// It goes on with `*` in its text.
    Masked,
    /// It is refused.
    Refused(Refusal),
}

/// Judge the text of a publication, and the name that it is shown under.
pub(super) fn filter(filter: &Filter, room: &str, p: &mut Publication, scratch: &mut Scratch) -> Filtered {
    let selection = filter.select(room);
    if selection.is_empty() {
        return Filtered::Through;
    }
    let author = Author { is_moderator: p.role.keeps_its_name() };
    let named = filter.judge(selection, &p.author, author, scratch);
    if named.action > Action::Allow {
        filter.count(&named);
        p.author = guest_name(p.user.0);
    }
    let verdict = filter.judge(selection, &p.text, author, scratch);
    filter.count(&verdict);
    match verdict.action {
        Action::Allow => Filtered::Through,
        Action::Mask => {
            p.text = mend_text(&scratch.masked(&p.text)).into();
            Filtered::Masked
        }
        Action::Hold | Action::Shadow | Action::Refuse | Action::Timeout(_) => {
            Filtered::Refused(Refusal::Filtered)
        }
    }
}
