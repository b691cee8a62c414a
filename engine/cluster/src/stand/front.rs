//! Front: the workers of this node in one shard, between them and whoever owns it.
//!
//! Why: workers say once what they follow and how many members they have, and publish once. An owner that
//! comes later, or a link that lost a frame, must hear all of it again, and no worker knows that it must say
//! it. So the front remembers it, and every request that waits for its answer.
//! Invariants: between two answers to Attach, a worker gets the batches of a room without a gap, or none. A
//! request is answered exactly once: by an owner, or after `give_up_ms` by a refusal that says when to retry.
//! A repeated publication brings its nonce and the time since the first attempt, so it is accepted once.
//! Not here: who owns the shard (`seat`), the way there (`link`), the node's own copy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use grandstand_engine::link::{
    AdminReply, Alias, Answer, AnswerKind, HistoryPage, Input, Opener, Output, ReplyTo, WorkerId,
};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::text::Likeness;

/// Requests of one shard that wait for their answers; above this, a publication is refused with
/// `Overloaded`. Three seconds of 5,000 publications a second.
const WAITING_MAX: usize = 16_384;

/// When a request that no owner answered is worth another try.
const RETRY_MS: u32 = 1_000;

/// A worker in a room.
#[derive(Debug)]
struct Follower {
    opener: Opener,
    /// Has the present owner attached it?
    is_attached: bool,
    viewers: Option<u32>,
    staff: Option<Box<[Likeness]>>,
}

#[derive(Debug, Default)]
struct FrontRoom {
    alias: Option<Alias>,
    followers: BTreeMap<WorkerId, Follower>,
}

/// Names a request by its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Publish(WorkerId, u64, u64),
    State(WorkerId, u64, u32),
    Page(WorkerId, u64),
    Admin(WorkerId, u64),
}

#[derive(Debug)]
struct Waiting {
    input: Input,
    since_ms: u64,
    /// The order in which requests came.
    number: u64,
    is_said: bool,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Front {
    give_up_ms: u64,
    rooms: BTreeMap<Arc<str>, FrontRoom>,
    /// The room that an alias named last.
    aliases: BTreeMap<Alias, Arc<str>>,
    waiting: BTreeMap<Key, Waiting>,
    /// Waiting requests by age.
    order: BTreeMap<u64, Key>,
    numbers: u64,
    relay: VecDeque<Input>,
    outputs: VecDeque<(WorkerId, Output)>,
}

impl Front {
    pub(super) fn new(give_up_ms: u64) -> Self {
        Front {
            give_up_ms,
            rooms: BTreeMap::new(),
            aliases: BTreeMap::new(),
            waiting: BTreeMap::new(),
            order: BTreeMap::new(),
            numbers: 0,
            relay: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The next input for the owner.
    pub(super) fn next_relay(&mut self) -> Option<Input> {
        self.relay.pop_front()
    }

    /// The next output for a worker of this node.
    pub(super) fn next_output(&mut self) -> Option<(WorkerId, Output)> {
        self.outputs.pop_front()
    }

    /// Does nothing wait for an answer?
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An input of a worker, or of the node itself.
    pub(super) fn handle_input(&mut self, now_ms: u64, input: Input) {
        match input {
            Input::Attach { worker, room, opener } => {
                let follower = Follower { opener, is_attached: false, viewers: None, staff: None };
                self.rooms.entry(room.clone()).or_default().followers.insert(worker, follower);
                self.relay.push_back(Input::Attach { worker, room, opener });
            }
            Input::Detach { worker, alias } => {
                let Some(room) = self.aliases.get(&alias).cloned() else { return };
                let now_named = self.forget(&room, worker).unwrap_or(alias);
                self.relay.push_back(Input::Detach { worker, alias: now_named });
            }
            Input::Viewers { worker, alias, count } => {
                let said = self.note(worker, alias, |follower| follower.viewers = Some(count));
                self.relay.extend(said.map(|alias| Input::Viewers { worker, alias, count }));
            }
            Input::Staff { worker, alias, names } => {
                let said = self.note(worker, alias, |follower| follower.staff = Some(names.clone()));
                self.relay.extend(said.map(|alias| Input::Staff { worker, alias, names }));
            }
            Input::React { alias, tallies } => {
                self.relay.extend(self.named(alias).map(|alias| Input::React { alias, tallies }));
            }
            Input::Load { .. } => self.relay.push_back(input),
            Input::Publish(_) | Input::SetState(_) | Input::History { .. } | Input::Admin { .. } => {
                self.enter(now_ms, input);
            }
        }
    }

    /// An output of the owner for a worker of this node.
    pub(super) fn handle_output(&mut self, now_ms: u64, worker: WorkerId, output: Output) {
        let is_for_it = match &output {
            Output::Attached { room, result } => match result {
                Ok(attachment) => {
                    let alias = attachment.alias;
                    self.attached(now_ms, worker, &room.clone(), alias)
                }
                Err(_) => {
                    self.forget(&room.clone(), worker);
                    true
                }
            },
            Output::Batch { alias, .. } | Output::Phase { alias, .. } => self.is_attached(worker, *alias),
            Output::Removed { alias } => {
                let is_attached = self.is_attached(worker, *alias);
                if let Some(room) = self.aliases.get(alias).cloned().filter(|_| is_attached) {
                    self.forget(&room, worker);
                }
                is_attached
            }
            Output::Answers(answers) => {
                for answer in answers {
                    self.take(key_of_answer(worker, answer));
                }
                true
            }
            Output::History { request, .. } => self.take(Key::Page(worker, *request)).is_some(),
            Output::Admin(reply) => self.take(Key::Admin(worker, reply.connection.0)).is_some(),
            Output::Personals(_) => true,
        };
        if is_for_it {
            self.outputs.push_back((worker, output));
        }
    }

    /// Another owner, or a link that lost something: everything is restated, in an order in which each
    /// message makes sense to an owner that knows nothing.
    pub(super) fn restate(&mut self, now_ms: u64) {
        self.relay.clear();
        for (name, room) in &mut self.rooms {
            for (worker, follower) in &mut room.followers {
                follower.is_attached = false;
                let attach = Input::Attach { worker: *worker, room: name.clone(), opener: follower.opener };
                self.relay.push_back(attach);
            }
        }
        let keys: Vec<Key> = self.order.values().copied().collect();
        for key in keys {
            if let Some(waiting) = self.waiting.get_mut(&key) {
                waiting.is_said = false;
            }
            self.say(now_ms, key);
        }
    }

    /// A worker has ended.
    pub(super) fn handle_worker_gone(&mut self, worker: WorkerId) {
        let rooms = self.rooms.iter().filter(|(_, room)| room.followers.contains_key(&worker));
        let rooms: Vec<Arc<str>> = rooms.map(|(name, _)| name.clone()).collect();
        for room in rooms {
            if let Some(alias) = self.forget(&room, worker) {
                self.relay.push_back(Input::Detach { worker, alias });
            }
        }
    }

    /// Answer what no owner answered in time.
    pub(super) fn handle_timeout(&mut self, now_ms: u64) {
        while let Some((_, key)) = self.order.first_key_value() {
            let key = *key;
            let is_late = |waiting: &Waiting| now_ms >= waiting.since_ms + self.give_up_ms;
            if !self.waiting.get(&key).is_some_and(is_late) {
                return;
            }
            self.refuse(key, Refusal::StorageUnavailable);
        }
    }

    /// Answer everything that waits: the node ends.
    pub(super) fn give_up(&mut self) {
        let keys: Vec<Key> = self.order.values().copied().collect();
        keys.into_iter().for_each(|key| self.refuse(key, Refusal::StorageUnavailable));
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let (_, key) = self.order.first_key_value()?;
        Some(self.waiting.get(key)?.since_ms + self.give_up_ms)
    }

    /// What a worker says of a room. Returns the room's present alias, if the owner has attached the worker.
    fn note(&mut self, worker: WorkerId, alias: Alias, set: impl FnOnce(&mut Follower)) -> Option<Alias> {
        let room = self.rooms.get_mut(self.aliases.get(&alias)?)?;
        let follower = room.followers.get_mut(&worker)?;
        set(follower);
        room.alias.filter(|_| follower.is_attached)
    }

    /// The present alias of the room that this alias named.
    fn named(&self, alias: Alias) -> Option<Alias> {
        match self.aliases.get(&alias).and_then(|name| self.rooms.get(name)) {
            Some(room) => room.alias.filter(|_| room.is_attached()),
            None => Some(alias),
        }
    }

    fn is_attached(&self, worker: WorkerId, alias: Alias) -> bool {
        let room = self.aliases.get(&alias).and_then(|name| self.rooms.get(name));
        room.and_then(|room| room.followers.get(&worker)).is_some_and(|follower| follower.is_attached)
    }

    fn attached(&mut self, now_ms: u64, worker: WorkerId, name: &Arc<str>, alias: Alias) -> bool {
        let Some(room) = self.rooms.get_mut(name) else { return false };
        let Some(follower) = room.followers.get_mut(&worker) else { return false };
        follower.is_attached = true;
        room.alias = Some(alias);
        self.relay.extend(follower.viewers.map(|count| Input::Viewers { worker, alias, count }));
        let staff = follower.staff.clone();
        self.relay.extend(staff.map(|names| Input::Staff { worker, alias, names }));
        self.aliases.insert(alias, name.clone());
        self.say_of_room(now_ms, name);
        true
    }

    /// A worker follows a room no more. Returns the room's present alias.
    fn forget(&mut self, name: &Arc<str>, worker: WorkerId) -> Option<Alias> {
        let room = self.rooms.get_mut(name)?;
        room.followers.remove(&worker)?;
        let alias = room.alias;
        if room.followers.is_empty() {
            self.rooms.remove(name);
            self.aliases.retain(|_, of| of != name);
        }
        alias
    }

    /// A request begins to wait for its answer.
    fn enter(&mut self, now_ms: u64, input: Input) {
        let Some(key) = key_of(&input) else { return };
        if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&key) {
            self.outputs.extend(refusal(key, &input, Refusal::Overloaded));
            return;
        }
        self.numbers += 1;
        let waiting = Waiting { input, since_ms: now_ms, number: self.numbers, is_said: false };
        if let Some(before) = self.waiting.insert(key, waiting) {
            self.order.remove(&before.number);
        }
        self.order.insert(self.numbers, key);
        self.say(now_ms, key);
    }

    /// Say a request to the owner, if its room is attached or is none of this node's rooms.
    fn say(&mut self, now_ms: u64, key: Key) {
        let Some(waiting) = self.waiting.get(&key) else { return };
        let mut input = waiting.input.clone();
        match &mut input {
            Input::Publish(publication) => {
                let Some(alias) = self.named(publication.alias) else { return };
                publication.alias = alias;
                let waited = u32::try_from(now_ms.saturating_sub(waiting.since_ms)).unwrap_or(u32::MAX);
                publication.age_ms = publication.age_ms.saturating_add(waited);
            }
            Input::SetState(change) => {
                let Some(alias) = self.named(change.alias) else { return };
                change.alias = alias;
            }
            Input::History { alias, .. } => {
                let Some(named) = self.named(*alias) else { return };
                *alias = named;
            }
            _ => {}
        }
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.is_said = true;
        }
        self.relay.push_back(input);
    }

    /// A room was attached: its requests that wait for that.
    fn say_of_room(&mut self, now_ms: u64, name: &Arc<str>) {
        let of_room = |key: &&Key| {
            let waiting = self.waiting.get(key).filter(|waiting| !waiting.is_said);
            let alias = waiting.and_then(|waiting| alias_of(&waiting.input));
            alias.and_then(|alias| self.aliases.get(&alias)).is_some_and(|of| of == name)
        };
        let keys: Vec<Key> = self.order.values().filter(of_room).copied().collect();
        keys.into_iter().for_each(|key| self.say(now_ms, key));
    }

    fn take(&mut self, key: Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(&key)?;
        self.order.remove(&waiting.number);
        Some(waiting)
    }

    fn refuse(&mut self, key: Key, reason: Refusal) {
        if let Some(waiting) = self.take(key) {
            self.outputs.extend(refusal(key, &waiting.input, reason));
        }
    }
}

impl FrontRoom {
    fn is_attached(&self) -> bool {
        self.followers.values().any(|follower| follower.is_attached)
    }
}

fn key_of(input: &Input) -> Option<Key> {
    let of = |from: &ReplyTo| (from.worker, from.connection.0);
    match input {
        Input::Publish(publication) => {
            let (worker, connection) = of(&publication.from);
            Some(Key::Publish(worker, connection, publication.nonce))
        }
        Input::SetState(change) => {
            let (worker, connection) = of(&change.from);
            Some(Key::State(worker, connection, change.request))
        }
        Input::History { worker, request, .. } => Some(Key::Page(*worker, *request)),
        Input::Admin { from, .. } => Some(Key::Admin(from.worker, from.connection.0)),
        _ => None,
    }
}

fn key_of_answer(worker: WorkerId, answer: &Answer) -> Key {
    let connection = answer.connection.0;
    match answer.kind {
        AnswerKind::Published { nonce, .. } | AnswerKind::PublishRefused { nonce, .. } => {
            Key::Publish(worker, connection, nonce)
        }
        AnswerKind::StateSet { request, .. } | AnswerKind::StateRefused { request, .. } => {
            Key::State(worker, connection, request)
        }
    }
}

fn alias_of(input: &Input) -> Option<Alias> {
    match input {
        Input::Publish(publication) => Some(publication.alias),
        Input::SetState(change) => Some(change.alias),
        Input::History { alias, .. } => Some(*alias),
        _ => None,
    }
}

/// The answer to a request that no owner answers.
fn refusal(key: Key, input: &Input, reason: Refusal) -> Option<(WorkerId, Output)> {
    let retry_after_ms = Some(RETRY_MS);
    let answer = |connection, kind| Output::Answers(vec![Answer { connection, kind }]);
    Some(match (key, input) {
        (Key::Publish(worker, ..), Input::Publish(publication)) => {
            let kind = AnswerKind::PublishRefused { nonce: publication.nonce, reason, retry_after_ms };
            (worker, answer(publication.from.connection, kind))
        }
        (Key::State(worker, ..), Input::SetState(change)) => {
            let kind = AnswerKind::StateRefused { request: change.request, reason, retry_after_ms };
            (worker, answer(change.from.connection, kind))
        }
        (Key::Page(worker, request), Input::History { .. }) => {
            let page = HistoryPage { batches: Vec::new(), same_epoch: true, retry_after_ms };
            (worker, Output::History { request, page: Box::new(page) })
        }
        (Key::Admin(worker, _), Input::Admin { from, .. }) => {
            let reply = AdminReply { connection: from.connection, answer: Err(reason) };
            (worker, Output::Admin(Box::new(reply)))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_engine::link::{
        AdminRequest, ConnectionToken, PageOf, PersonId, Publication, StateChange, UserId,
    };
    use grandstand_protocol::frame::Role;

    const GIVE_UP_MS: u64 = 10_000;
    const WORKER: WorkerId = WorkerId::new(1, 0);

    fn from() -> ReplyTo {
        ReplyTo { worker: WORKER, connection: ConnectionToken(7) }
    }

    fn publication(nonce: u64) -> Input {
        Input::Publish(Box::new(Publication {
            from: from(),
            alias: Alias(1),
            user: UserId(1),
            person: PersonId(1),
            nonce,
            age_ms: 5,
            author: "a".into(),
            role: Role::default(),
            text: "b".into(),
            attachment: "".into(),
            reply_to: None,
            exempt: false,
            is_bridged: false,
        }))
    }

    /// One of each kind of request.
    fn requests() -> [Input; 4] {
        let change = StateChange { from: from(), request: 3, alias: Alias(1), key: "k".into(), value: None };
        let (worker, request, alias) = (WORKER, 4, Alias(1));
        [
            publication(2),
            Input::SetState(Box::new(change)),
            Input::History { worker, request, alias, epoch: 1, from: 0, of: PageOf::Shown },
            Input::Admin { from: from(), request: Box::new(AdminRequest::Counters) },
        ]
    }

    fn relayed(front: &mut Front) -> Vec<Input> {
        std::iter::from_fn(|| front.next_relay()).collect()
    }

    fn outputs(front: &mut Front) -> Vec<Output> {
        std::iter::from_fn(|| front.next_output()).map(|(_, output)| output).collect()
    }

    #[test]
    fn a_request_that_no_owner_answers_is_refused_once_and_says_when_to_retry() {
        for request in requests() {
            let mut front = Front::new(GIVE_UP_MS);
            front.handle_input(100, request);
            front.handle_timeout(100 + GIVE_UP_MS - 1);
            assert_eq!(outputs(&mut front), [], "it still waits");
            assert_eq!(front.due_ms(), Some(100 + GIVE_UP_MS));
            front.handle_timeout(100 + GIVE_UP_MS);
            let told = outputs(&mut front);
            assert!(front.is_idle() && told.len() == 1, "{told:?}");
            let refusal = |output: &Output| match output {
                Output::Answers(answers) => match answers[0].kind {
                    AnswerKind::PublishRefused { reason, retry_after_ms, .. }
                    | AnswerKind::StateRefused { reason, retry_after_ms, .. } => {
                        assert_eq!(retry_after_ms, Some(RETRY_MS));
                        reason
                    }
                    other => panic!("{other:?}"),
                },
                Output::History { page, .. } => {
                    assert_eq!(page.retry_after_ms, Some(RETRY_MS));
                    Refusal::StorageUnavailable
                }
                Output::Admin(reply) => *reply.answer.as_ref().unwrap_err(),
                other => panic!("{other:?}"),
            };
            assert_eq!(refusal(&told[0]), Refusal::StorageUnavailable);
            front.handle_timeout(u64::MAX);
            assert_eq!(outputs(&mut front), [], "once");
        }
    }

    #[test]
    fn what_waits_is_bounded_and_the_next_publication_is_refused_at_once() {
        let mut front = Front::new(GIVE_UP_MS);
        (0..WAITING_MAX as u64).for_each(|nonce| front.handle_input(0, publication(nonce)));
        assert_eq!(outputs(&mut front), []);
        front.handle_input(0, publication(WAITING_MAX as u64));
        let told = outputs(&mut front);
        let [Output::Answers(answers)] = &told[..] else { panic!("{told:?}") };
        let kind = AnswerKind::PublishRefused {
            nonce: WAITING_MAX as u64,
            reason: Refusal::Overloaded,
            retry_after_ms: Some(RETRY_MS),
        };
        assert_eq!(answers[..], [Answer { connection: ConnectionToken(7), kind }]);
        // One that waits already may be repeated.
        front.handle_input(0, publication(0));
        assert_eq!(outputs(&mut front), []);
        assert_eq!(front.waiting.len(), WAITING_MAX);
    }

    #[test]
    fn a_restated_publication_says_how_long_ago_its_first_attempt_was() {
        let mut front = Front::new(GIVE_UP_MS);
        front.handle_input(100, publication(1));
        relayed(&mut front);
        front.restate(350);
        let again = relayed(&mut front);
        let [Input::Publish(publication)] = &again[..] else { panic!("{again:?}") };
        assert_eq!((publication.nonce, publication.age_ms), (1, 5 + 250));
    }
}
