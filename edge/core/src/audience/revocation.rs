//! Revocation: sessions that an operator ends, of a user, by a ticket or by a token.
//!
//! Why by a list: a node that was away learns of many at once, and then each session is looked at once.
//! Invariant: whoever says `Hello` after the node knew of it is refused there (`Authorize`), so that nobody
//! slips between the two.
//! Not here: who is banned, and how the nodes of a cluster tell each other (the node).

use grandstand_engine::link::Now;

use super::Audience;
use crate::auth::{Ended, Subject};

impl Audience {
    /// Close the connections of all that was ended. `ended` is sorted by subject. Returns how many were
    /// closed.
    pub fn handle_ended(&mut self, _now: Now, ended: &[Ended]) -> usize {
        let find = |subject| ended.binary_search_by_key(&subject, |ended| ended.subject).ok();
        let mut closed = 0;
        for ix in self.subscriptions.connections.slots() {
            let Some(session) = self.subscriptions.connections[ix].session.as_deref() else { continue };
            let of_user = (!session.is_anonymous).then_some(Subject::User(session.user.0));
            let of_token = (session.token != 0).then_some(Subject::Token(session.token));
            let subjects = [of_user, of_token, Some(Subject::Session(session.number))];
            if let Some(at) = subjects.into_iter().flatten().find_map(find) {
                self.subscriptions.close(ix, ended[at].code, &ended[at].detail);
                closed += 1;
            }
        }
        closed
    }
}
