//! Front: the workers of this node in one shard, between them and whoever owns it.
//!
//! Why: workers say once what they follow and how many members they have, and publish once. An owner that
//! comes later, or a link that lost a frame, must hear all of it again, and no worker knows that it must say
//! it. So the front remembers it, and every request that waits for its answer.
//! Invariants: between two answers to Attach, a worker gets the batches of a room without a gap, or none. A
//! request is answered exactly once: by an owner, or after `give_up_ms` by a refusal that says when to retry.
//! A repeated publication brings its nonce and the time since the first attempt, so it is accepted once.
//! Not here: who owns the shard (`seat`), the way there (`link`), the node's own copy.

mod pages;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{
    AdminReply, AdminRequest, Alias, Answer, AnswerKind, HistoryPage, Input, Opener, Output, Publication,
    ReplyTo, WorkerId,
};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::text::Likeness;

use pages::SharedPages;

/// Requests of one shard that wait for their answers; above this, a publication is refused with
/// `Overloaded`. Three seconds of 5,000 publications a second.
const WAITING_MAX: usize = 16_384;

/// Bytes of text in requests of one shard that wait; above this, too. A cluster without a majority waits with
/// all its publishers.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Inputs that wait for an owner that takes none; above this, all are restated instead when it does.
const RELAY_MAX: usize = 65_536;

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
    /// Every alias under which workers may name it.
    aliases: Vec<Alias>,
    followers: BTreeMap<WorkerId, Follower>,
    /// Requests that the owner hears of when it has attached the room.
    unsaid: Vec<Key>,
}

/// Names a request by its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Publish(WorkerId, u64, u64),
    State(WorkerId, u64, u32),
    Act(WorkerId, u64, u32),
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
    /// How many equal requests wait for this answer: a client may repeat one.
    times: u32,
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
    waiting_bytes: usize,
    pages: SharedPages,
    numbers: u64,
    relay: VecDeque<Input>,
    /// More waited for the owner than [`RELAY_MAX`].
    is_overrun: bool,
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
            waiting_bytes: 0,
            pages: SharedPages::default(),
            numbers: 0,
            relay: VecDeque::new(),
            is_overrun: false,
            outputs: VecDeque::new(),
        }
    }

    /// The next input for the owner, which takes it now.
    pub(super) fn next_relay(&mut self, now_ms: u64) -> Option<Input> {
        if self.is_overrun {
            self.restate(now_ms);
        }
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
            Input::Attach { worker, room, opener } | Input::Reattach { worker, room, opener, .. } => {
                let follower = Follower { opener, is_attached: false, viewers: None, staff: None };
                let known = self.rooms.entry(room.clone()).or_default();
                known.followers.insert(worker, follower);
                self.relay.push_back(attach(worker, room, opener, known.alias));
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
            Input::Publish(_)
            | Input::SetState(_)
            | Input::Act(_)
            | Input::History { .. }
            | Input::Admin { .. } => {
                self.enter(now_ms, input);
            }
        }
        if self.relay.len() > RELAY_MAX {
            self.relay = VecDeque::new();
            self.is_overrun = true;
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
                // Members stay, and their worker asks again: the room shall have its alias then.
                Err(reason) if reason.may_retry() && self.detached(room, worker) => true,
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
            Output::Answers(answers) => return self.answer(worker, answers),
            Output::History { request, page } => {
                let key = Key::Page(worker, *request);
                for reader in self.pages.answer(key) {
                    let Key::Page(worker, request) = reader else { continue };
                    if self.take(reader).is_some() {
                        let page = page.clone();
                        self.outputs.push_back((worker, Output::History { request, page }));
                    }
                }
                self.take(key).is_some()
            }
            Output::Admin(reply) => self.take(Key::Admin(worker, reply.connection.0)).is_some(),
            Output::Personals(_) | Output::Notices(_) => true,
        };
        if is_for_it {
            self.outputs.push_back((worker, output));
        }
    }

    /// An owner that was told a request twice answers it twice, and another one may have answered it before:
    /// only the first answer counts.
    fn answer(&mut self, worker: WorkerId, answers: &[Answer]) {
        let mut told = Vec::with_capacity(answers.len());
        for answer in answers {
            if let Some(waiting) = self.take(key_of_answer(worker, answer)) {
                told.extend(std::iter::repeat_n(*answer, waiting.times as usize));
            }
        }
        if !told.is_empty() {
            self.outputs.push_back((worker, Output::Answers(told)));
        }
    }

    /// Another owner, or a link that lost something: everything is restated, in an order in which each
    /// message makes sense to an owner that knows nothing.
    pub(super) fn restate(&mut self, now_ms: u64) {
        self.relay.clear();
        self.pages.clear();
        self.is_overrun = false;
        for (name, room) in &mut self.rooms {
            room.unsaid.clear();
            for (worker, follower) in &mut room.followers {
                follower.is_attached = false;
                self.relay.push_back(attach(*worker, name.clone(), follower.opener, room.alias));
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
        if !room.aliases.contains(&alias) {
            room.aliases.push(alias);
        }
        let unsaid = std::mem::take(&mut room.unsaid);
        self.aliases.insert(alias, name.clone());
        self.say_all(now_ms, unsaid);
        true
    }

    /// The owner refused for now to attach a worker. Was the room attached under an owner before?
    fn detached(&mut self, name: &Arc<str>, worker: WorkerId) -> bool {
        let Some(room) = self.rooms.get_mut(name).filter(|room| room.alias.is_some()) else { return false };
        if let Some(follower) = room.followers.get_mut(&worker) {
            follower.is_attached = false;
        }
        true
    }

    /// A worker follows a room no more. Returns the room's present alias.
    fn forget(&mut self, name: &Arc<str>, worker: WorkerId) -> Option<Alias> {
        let room = self.rooms.get_mut(name)?;
        room.followers.remove(&worker)?;
        let alias = room.alias;
        if room.followers.is_empty()
            && let Some(room) = self.rooms.remove(name)
        {
            for alias in room.aliases {
                if self.aliases.get(&alias).is_some_and(|of| of == name) {
                    self.aliases.remove(&alias);
                }
            }
        }
        alias
    }

    /// A request begins to wait for its answer.
    fn enter(&mut self, now_ms: u64, input: Input) {
        let Some(key) = key_of(&input) else { return };
        let bytes = text_bytes(&input);
        let is_full = self.waiting.len() >= WAITING_MAX || self.waiting_bytes + bytes > WAITING_BYTES_MAX;
        if is_full && !self.waiting.contains_key(&key) {
            self.outputs.extend(refusal(key, &input, Refusal::Overloaded));
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&key) {
            if is_same(&waiting.input, &input) {
                waiting.times += 1;
                return;
            }
            if let Input::Publish(_) = &input {
                // The nonce stands for what waits, as it would at the owner.
                self.outputs.extend(refusal(key, &input, Refusal::NonceReused));
                return;
            }
        }
        // Another request under the same number takes the place of the first.
        let times = self.take(key).map_or(1, |before| before.times + 1);
        self.numbers += 1;
        self.waiting_bytes += bytes;
        self.order.insert(self.numbers, key);
        let waiting = Waiting { input, since_ms: now_ms, number: self.numbers, is_said: false, times };
        self.waiting.insert(key, waiting);
        self.say(now_ms, key);
    }

    /// Say a request to the owner, if its room is attached or is none of this node's rooms.
    fn say(&mut self, now_ms: u64, key: Key) {
        let Some(waiting) = self.waiting.get_mut(&key) else { return };
        let mut input = waiting.input.clone();
        if let Some(alias) = alias_of(&mut input)
            && let Some(room) = self.aliases.get(alias).and_then(|name| self.rooms.get_mut(name))
        {
            let Some(named) = room.alias.filter(|_| room.is_attached()) else {
                room.unsaid.push(key);
                return;
            };
            *alias = named;
        }
        if let Input::Publish(publication) = &mut input {
            let waited = u32::try_from(now_ms.saturating_sub(waiting.since_ms)).unwrap_or(u32::MAX);
            publication.age_ms = publication.age_ms.saturating_add(waited);
        }
        waiting.is_said = true;
        if self.pages.ask(key, &input) {
            self.relay.push_back(input);
        }
    }

    /// A room was attached: its requests that waited for that.
    fn say_all(&mut self, now_ms: u64, keys: Vec<Key>) {
        for key in keys {
            if self.waiting.get(&key).is_some_and(|waiting| !waiting.is_said) {
                self.say(now_ms, key);
            }
        }
    }

    fn take(&mut self, key: Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(&key)?;
        self.order.remove(&waiting.number);
        self.waiting_bytes -= text_bytes(&waiting.input);
        if let Some((next, alias)) = self.pages.forget(key)
            && let Some(mut input) = self.waiting.get(&next).map(|next| next.input.clone())
        {
            alias_of(&mut input).into_iter().for_each(|of| *of = alias);
            self.relay.push_back(input);
        }
        Some(waiting)
    }

    fn refuse(&mut self, key: Key, reason: Refusal) {
        if let Some(waiting) = self.take(key) {
            for _ in 0..waiting.times {
                self.outputs.extend(refusal(key, &waiting.input, reason));
            }
        }
    }
}

impl FrontRoom {
    fn is_attached(&self) -> bool {
        self.followers.values().any(|follower| follower.is_attached)
    }
}

fn attach(worker: WorkerId, room: Arc<str>, opener: Opener, before: Option<Alias>) -> Input {
    match before {
        Some(alias) => Input::Reattach { worker, room, opener, alias },
        None => Input::Attach { worker, room, opener },
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
        Input::Act(act) => {
            let (worker, connection) = of(&act.from);
            Some(Key::Act(worker, connection, act.request))
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
        AnswerKind::Acted { request, .. } | AnswerKind::ActRefused { request, .. } => {
            Key::Act(worker, connection, request)
        }
    }
}

/// Does a request say the same as another one, whatever its age?
fn is_same(a: &Input, b: &Input) -> bool {
    match (a, b) {
        (Input::Publish(a), Input::Publish(b)) => {
            let by = |p: &Publication| (p.is_bridged, p.is_bridged.then(|| (p.author.clone(), p.role)));
            (&a.text, &a.attachment, a.reply_to) == (&b.text, &b.attachment, b.reply_to) && by(a) == by(b)
        }
        (a, b) => a == b,
    }
}

/// The room that a request names.
fn alias_of(input: &mut Input) -> Option<&mut Alias> {
    match input {
        Input::Publish(publication) => Some(&mut publication.alias),
        Input::SetState(change) => Some(&mut change.alias),
        Input::Act(act) => Some(&mut act.alias),
        Input::History { alias, .. } => Some(alias),
        _ => None,
    }
}

/// What people wrote in a request.
fn text_bytes(input: &Input) -> usize {
    match input {
        Input::Publish(publication) => {
            publication.text.len() + publication.attachment.len() + publication.author.len()
        }
        Input::Act(act) => act.text.len() + act.by.name.len(),
        Input::SetState(change) => change.key.len() + change.value.as_ref().map_or(0, Bytes::len),
        Input::Admin { request, .. } => match &**request {
            AdminRequest::SetState { value, .. } => value.as_ref().map_or(0, Vec::len),
            _ => 0,
        },
        _ => 0,
    }
}

/// The answer to a request that no owner answers.
fn refusal(key: Key, input: &Input, reason: Refusal) -> Option<(WorkerId, Output)> {
    let retry_after_ms = reason.may_retry().then_some(RETRY_MS);
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
        (Key::Act(worker, ..), Input::Act(act)) => {
            let kind = AnswerKind::ActRefused { request: act.request, reason, retry_after_ms };
            (worker, answer(act.from.connection, kind))
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
mod tests;
