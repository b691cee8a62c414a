//! The turn of a stand: what arrived, and everything that follows from it, in one order.
//!
//! Not here: what each part decides.

use bytes::Bytes;
use grandstand_engine::link::{Now, Output, WorkerId};
use grandstand_engine::log::{Entry, News, Unavailable};
use grandstand_engine::shard::Shard;
use grandstand_engine::take_rooms;

use super::follow::Followed;
use super::handed::Handed;
use super::log::OwnerLog;
use super::owner::Owner;
use super::wire::{Arrived, FromWire, ToWire};
use super::{ClusterStand, Notice, StandStatus, own};
use crate::appender::PushRefusal;
use crate::id::{NodeId, Term};
use crate::link::{DownFrame, DownItem, Message, UpFrame, UpItem};
use crate::membership::Heartbeat;
use crate::planted::{self, Fault};
use crate::record::{Body, Cause, ChainHead, Record};
use crate::seat::{
    EntryVerdict, Output as SeatOutput, Refused, ShownEntry, Trouble, handle_ends, resume, trouble,
};
use crate::time::OwnTime;

/// How often a stand looks although nothing came: silence is seen by looking.
const LOOK_EVERY_MS: u64 = 50;

/// How long a new owner waits for what all nodes say of their viewers, before it publishes a count.
const COUNTS_AFTER_US: u64 = 250_000;

/// When to try again while the log does not keep what it acknowledges: an operator must mend it, and it is
/// checked once a minute.
const UNSAFE_RETRY_MS: u32 = 60_000;

/// Frames of a term that this node has not read of yet.
const EARLY_MAX: usize = 64;

/// An owner whose copy was not sound for so long gives the shard to a node whose copy is.
pub(super) const UNSOUND_MS: u64 = 1_000;

/// When to try again after the log refused without a time.
const RETRY_MS: u64 = 1_000;

impl ClusterStand {
    pub(super) fn handle_arrived(&mut self, now: Now, arrived: Arrived) {
        let at = arrived.at;
        match arrived.message {
            FromWire::Heartbeat(heartbeat) => self.handle_heartbeat(at, &heartbeat),
            FromWire::Ask(ask) => self.seat.handle_ask(at, &ask, &self.membership),
            FromWire::Answer(answer) => self.seat.handle_answer(answer),
            FromWire::Announce { position, .. } => self.seat.handle_announce(position),
            FromWire::Pong(node) => self.membership.handle_pong(node),
            FromWire::NoResponders(node) => self.membership.handle_no_responders(at, node),
            FromWire::Reply { attempt, reply } => {
                self.seat.handle_reply(at, attempt, reply, &self.membership);
            }
            FromWire::Ends { first, end, renewed } => {
                handle_ends(&mut self.seat, at, (first, end), renewed, &self.membership);
            }
            // What a full disk does not take waits in the log.
            FromWire::Read { .. } if !self.copy.accepts() && self.owner.is_none() => {}
            FromWire::Read { messages, end, .. } => {
                self.seat.handle_read(at, &messages, end, &self.membership);
            }
            FromWire::HandOver { to, order } => self.handle_order(now, to, order),
            FromWire::Replicated(is_replicated) => self.is_replicated = is_replicated,
            FromWire::Drain(is_draining) => self.is_draining = is_draining,
            FromWire::Withdraw => self.withdraw(at),
            FromWire::Agreed(version) => self.membership.agree(version),
            FromWire::Up(frame) => match UpFrame::decode(&frame) {
                Ok(frame) => self.handle_up(now, frame),
                Err(_) => self.counts.malformed += 1,
            },
            FromWire::Down(frame) => match DownFrame::decode(&frame) {
                Ok(frame) => self.handle_down(now, frame),
                Err(_) => self.counts.malformed += 1,
            },
        }
        // What this changed must be known before the next message is judged.
        self.obey_seat(now);
    }

    fn handle_heartbeat(&mut self, at: OwnTime, heartbeat: &Heartbeat) {
        if self.membership.handle_heartbeat(at, heartbeat).is_ok() {
            self.seat.handle_heartbeat(heartbeat, &self.membership);
        }
    }

    /// A frame of a node that follows this one.
    fn handle_up(&mut self, now: Now, frame: UpFrame) {
        let (at, me) = (own(now), (self.membership.me(), self.membership.incarnation()));
        let (node, term) = (frame.node, frame.term);
        let is_its_life = self.membership.incarnation_of(node) == Some(frame.incarnation);
        if !is_its_life || node == me.0 {
            return;
        }
        if term > self.seat.chain().head().term && self.early.len() < EARLY_MAX {
            // It read of this node's term before this node did.
            self.early.push(frame);
            return;
        }
        let acts = self.acts(at);
        let Some(owner) = self.owner.as_mut().filter(|owner| owner.term == term) else { return };
        let Some(items) = owner.accept(now, me, frame) else { return };
        for item in items {
            match item {
                UpItem::Restate { .. } => {
                    let first = self.seat.appender().map_or(1, |appender| appender.kept() + 1);
                    let items = restated(owner.term, first, self.seat.unkept());
                    owner.restate(node, items);
                }
                // The node says it again to whoever owns the shard next, or when it is asked.
                UpItem::Input(_) if !acts => owner.note_dropped(node),
                UpItem::Input(input) => owner.handle_input(now, node, input),
            }
        }
    }

    /// A frame of the owner that this node follows.
    fn handle_down(&mut self, now: Now, frame: DownFrame) {
        let at = own(now);
        let is_planted = planted::is(Fault::LinkWithoutTerm);
        if frame.term < self.seat.floor() && !is_planted {
            return;
        }
        if !self.follow.accept(at, &frame) {
            return;
        }
        for item in frame.items {
            match item {
                DownItem::Entry(entry) => {
                    if self.seat.handle_entry(entry) == EntryVerdict::Hole {
                        return self.say_again(now);
                    }
                }
                DownItem::Restated { term, first } => self.seat.handle_restated(term, first),
                DownItem::Kept { position, .. } => self.seat.handle_announce(position),
                DownItem::Output { workers, output } => self.show(at, &workers, output),
                DownItem::Restate => return self.say_again(now),
                DownItem::Handed(room) => self.handed.push(now.us, *room),
            }
        }
    }

    fn show(&mut self, at: OwnTime, workers: &[WorkerId], output: Output) {
        let mine = self.membership.me();
        let (last, others) = match workers.split_last() {
            Some(parts) => parts,
            None => return,
        };
        for worker in others.iter().filter(|worker| worker.node() == mine.0) {
            self.front.handle_output(at.0, *worker, output.clone());
        }
        if last.node() == mine.0 {
            self.front.handle_output(at.0, *last, output);
        }
    }

    /// Restate everything to the owner that is followed.
    fn say_again(&mut self, now: Now) {
        self.counts.restatements += 1;
        self.follow.begin_run((self.seat.chain().head().term, 0));
        self.front.restate(own(now).0);
    }

    /// Everything that is due, in one order.
    pub(super) fn turn(&mut self, now: Now) {
        let at = own(now);
        self.look_at_copy(at);
        self.front.handle_timeout(at.0);
        self.poll_seat(now);
        self.move_shards(now);
        self.note_failed_handing(now);
        self.note_missed(now);
        if self.follow.poll_restate(at) {
            self.say_again(now);
        }
        if let Some(owner) = &mut self.owner {
            owner.ask_for_missing(at);
        }
        self.relay(now);
        self.run_shard(now);
        self.poll_seat(now);
        self.run_shard(now);
        self.send_frames(at);
        self.report(at);
        self.is_acting = self.acts(at);
        let of_links = [self.follow.due(), self.owner.as_ref().and_then(Owner::due)];
        let due = of_links.into_iter().flatten().fold(self.seat.due(at, &self.membership), OwnTime::min);
        self.next_turn = due.max(at.plus(1)).min(at.plus(LOOK_EVERY_MS));
    }

    /// What the copy says: a snapshot took its place, or its disk fails.
    fn look_at_copy(&mut self, at: OwnTime) {
        let head = self.copy.take_replaced().and_then(|bytes| ChainHead::decode(&bytes).ok());
        if let Some(head) = head {
            resume(&mut self.seat, at, head);
        }
        let is_sound = self.copy.is_sound();
        self.unsound_since = if is_sound { None } else { self.unsound_since.or(Some(at)) };
        self.seat.set_able(is_sound);
        if matches!(trouble(&self.seat, at, &self.membership), Some(Trouble::Forgotten { .. })) {
            // No owner will answer before an operator has repaired the log.
            self.front.give_up();
        }
    }

    fn poll_seat(&mut self, now: Now) {
        let mut reports = self.board.reports();
        let mine = self.seat.report(own(now));
        reports.retain(|report| report.shard != mine.shard);
        reports.push(mine);
        self.seat.poll(own(now), &self.membership, &reports);
        self.obey_seat(now);
    }

    /// Do what the seat says.
    fn obey_seat(&mut self, now: Now) {
        let at = own(now);
        // A promise must be in the heartbeats before anybody hears of it.
        self.report(at);
        while let Some(output) = self.seat.next_output() {
            match output {
                SeatOutput::AskAll(ask) => self.wire.send(ToWire::AskAll(ask)),
                SeatOutput::Answer { to, answer } => self.wire.send(ToWire::Answer { to, answer }),
                SeatOutput::Announce { term, position } => {
                    self.wire.send(ToWire::Announce { term, position });
                }
                SeatOutput::Append(append) => self.wire.send(ToWire::Append(append)),
                // What the copy does not take now is asked for when it does.
                SeatOutput::Read { .. } if !self.copy.accepts() && self.owner.is_none() => {}
                SeatOutput::Read { from } => self.wire.send(ToWire::Read { from }),
                SeatOutput::Apply(record, head) => self.apply(&record, head),
                SeatOutput::Own { term } => self.begin_owner(now, term),
                SeatOutput::Stop { term, .. } => self.end_owner(term),
                SeatOutput::Kept { term, through, .. } => {
                    if let Some(owner) = self.owner.as_ref().filter(|owner| owner.term == term) {
                        owner.log.handle_kept(through);
                    }
                }
                // The chain counts what is void; a frozen owner is asked each time whether it may act; a
                // publisher that waits too long is answered by its own node.
                SeatOutput::NotUnderstood { position } => {
                    self.counts.not_understood = Some(position);
                    self.board.note(Notice::NotUnderstood { shard: self.config.shard, position });
                }
                SeatOutput::Void { .. }
                | SeatOutput::Freeze
                | SeatOutput::Thaw
                | SeatOutput::Overdue { .. } => {}
            }
        }
        self.follow_owner(now);
    }

    fn apply(&mut self, record: &Record, head: crate::record::ChainHead) {
        let (position, head) = (record.place.position.0, head.encode());
        match &record.body {
            Body::Entries(entries) => {
                let entries: Vec<Bytes> = entries.iter().collect();
                self.copy.apply(position, head, &entries);
            }
            Body::Term(body) => {
                let adopted: Vec<Bytes> = body.adopted.iter().collect();
                let is_clean = body.cause == Cause::Clean || planted::is(Fault::EpochUnchanged);
                self.cause = Some(body.cause);
                match body.cause {
                    Cause::Clean => self.counts.handed_over += 1,
                    Cause::Claim => self.counts.claimed += 1,
                    Cause::First => {}
                }
                let (shard, by, term) = (self.config.shard, body.owner, record.place.term);
                self.board.note(Notice::Owned { shard, by, term, is_clean });
                self.copy.begin_term(position, head, term.0, is_clean, &adopted);
            }
            Body::Unknown { .. } => {}
        }
    }

    /// Whom this node follows has changed: it says everything to the new owner, which may be itself.
    fn follow_owner(&mut self, now: Now) {
        let head = self.seat.chain().head();
        let owner = head.owner.map(|(node, incarnation)| Followed { node, incarnation, term: head.term });
        if owner != self.follow.owner {
            self.early.retain(|frame| frame.term > head.term);
            self.handed = Handed::default();
            self.follow.begin(own(now), owner);
            self.say_again(now);
        }
    }

    fn begin_owner(&mut self, now: Now, term: Term) {
        let log = OwnerLog::new();
        let config = &self.config;
        let shard = Shard::new(config.rooms.clone(), config.shard, config.shards, config.seed);
        let (is_clean, counts_from_us) = (self.cause == Some(Cause::Clean), now.us + COUNTS_AFTER_US);
        let mut shard = shard.with_durable_log(log.for_shard()).under_term(term.0, is_clean, counts_from_us);
        let mut rooms = self.copy.rooms();
        if planted::is(Fault::NoncesNotRestored) {
            rooms.iter_mut().for_each(|room| room.nonces.clear());
        }
        shard.restore(now, rooms);
        let (elapsed_us, rooms) = self.handed.take(now.us, config);
        take_rooms(&mut shard, now, elapsed_us, rooms);
        self.reads.clear();
        self.owner = Some(Owner::new(term, Box::new(shard), log));
        for frame in std::mem::take(&mut self.early) {
            self.handle_up(now, frame);
        }
    }

    fn end_owner(&mut self, term: Term) {
        if self.owner.as_ref().is_some_and(|owner| owner.term <= term) {
            self.owner = None;
            self.reads.clear();
        }
    }

    /// Does this node own the shard, and may it act?
    pub(super) fn acts(&self, at: OwnTime) -> bool {
        self.owner.as_ref().is_some_and(|owner| self.seat.acts_under(at) == Some(owner.term))
            && self.owner.as_ref().is_some_and(|owner| !owner.is_handing)
    }

    /// Hand the shard over. The shard seals what waits, and takes no more.
    pub(super) fn hand_over(&mut self, now: Now, to: NodeId) {
        let at = own(now);
        if !self.acts(at) {
            return;
        }
        if let Some(owner) = &mut self.owner {
            owner.shard.handle_handing(now);
        }
        if self.take_entries(at) {
            self.take_outputs(at);
        }
        if let Some(owner) = &mut self.owner {
            owner.is_handing = true;
        }
        if !self.seat.hand_over(at, to, &self.membership) {
            // The shard takes nothing any more: another node, or this one, begins a term.
            self.seat.abdicate(at);
        } else if let Some(owner) = &mut self.owner {
            owner.hand_rooms(now, to);
            // Before the term, so that they are there when it is read.
            self.send_frames(at);
        }
        self.obey_seat(now);
    }

    /// The node that was to have the shard is gone before it had it. The shard takes nothing any more, so
    /// another node, or this one, begins a term.
    fn note_failed_handing(&mut self, now: Now) {
        if self.owner.as_ref().is_some_and(|owner| owner.is_handing) && self.seat.handing_to().is_none() {
            self.seat.abdicate(own(now));
            self.obey_seat(now);
        }
    }

    /// Nodes that are not heard have no viewers; whoever is heard again says everything again.
    fn note_missed(&mut self, now: Now) {
        let at = own(now);
        let Some(owner) = self.owner.as_mut().filter(|owner| !owner.is_handing) else { return };
        let nodes: Vec<NodeId> = owner.peers.keys().copied().collect();
        for node in nodes {
            let life = self.membership.incarnation_of(node);
            let is_missed = life.is_none_or(|life| self.membership.misses(at, node, life));
            owner.note_missed(now, node, is_missed);
        }
    }

    /// What the front says goes to the shard here, or to the owner elsewhere.
    fn relay(&mut self, now: Now) {
        let at = own(now);
        let is_mine = self.follow.owner.is_some_and(|owner| owner.node == self.membership.me());
        if is_mine {
            if !self.acts(at) {
                return;
            }
            self.set_available(at);
            let Some(owner) = &mut self.owner else { return };
            owner.ask_for_dropped();
            while let Some(input) = self.front.next_relay(at.0) {
                owner.shard.handle_input(now, input);
            }
        } else if self.follow.owner.is_some() {
            while let Some(input) = self.front.next_relay(at.0) {
                self.follow.push(&UpItem::Input(input));
            }
        }
    }

    fn set_available(&self, at: OwnTime) {
        let Some(owner) = &self.owner else { return };
        let retry = |refused| match refused {
            Refused::Frozen { retry_after_ms }
            | Refused::Log(PushRefusal::Full { retry_after_ms } | PushRefusal::Stalled { retry_after_ms }) => {
                retry_after_ms
            }
            Refused::Log(PushRefusal::Malformed) | Refused::NotOwner | Refused::Handing => RETRY_MS,
        };
        let unavailable = |refused| Unavailable { retry_after_ms: retry(refused) as u32 };
        let may_push = self.seat.may_push(at).map_err(unavailable);
        let unsafe_log = Unavailable { retry_after_ms: UNSAFE_RETRY_MS };
        // An owner whose copy takes nothing would keep in memory what it accepts.
        let is_kept = self.is_replicated && self.copy.accepts();
        owner.log.set_available(if is_kept { may_push } else { Err(unsafe_log) });
    }

    /// The shard's own turn: news of the log, what is due, and what comes of it.
    fn run_shard(&mut self, now: Now) {
        let at = own(now);
        if self.acts(at) {
            self.set_available(at);
            if let Some(owner) = &mut self.owner {
                owner.shard.handle_news(now);
                owner.shard.handle_timeout(now);
            }
            // What is not on its way to the log is shown to nobody.
            if self.take_entries(at) {
                self.take_outputs(at);
            }
        } else if let Some(owner) = self.owner.as_mut().filter(|owner| owner.is_handing) {
            // Its last publishers hear that they are kept.
            owner.shard.handle_news(now);
            self.take_outputs(at);
        }
    }

    /// What the shard sealed goes to the log and to the nodes that follow. Whether all of it does: otherwise
    /// this node owns the shard no longer.
    fn take_entries(&mut self, at: OwnTime) -> bool {
        let Some(owner) = &mut self.owner else { return false };
        while let Some(entry) = owner.log.take_pushed() {
            let bytes = self.copy.encode(&entry);
            match self.seat.push_accepted(at, bytes.clone()) {
                Ok((term, index)) => {
                    let batch = match &entry {
                        Entry::Batch(entry) => Some(&entry.batch),
                        Entry::Room(_) | Entry::Removed { .. } => None,
                    };
                    owner.push_entry(&ShownEntry { term, index, bytes }, batch);
                    if planted::is(Fault::AckAtPublish) {
                        owner.log.handle_kept(index);
                    }
                }
                Err(_) => {
                    self.seat.abdicate(at);
                    return false;
                }
            }
        }
        while let Some(mut request) = owner.log.take_read() {
            self.read_number += 1;
            self.reads.insert(self.read_number, request.request);
            request.request = self.read_number;
            self.copy.read(request);
        }
        true
    }

    fn take_outputs(&mut self, at: OwnTime) {
        let mine = self.membership.me();
        let Some(owner) = &mut self.owner else { return };
        while let Some((worker, output)) = owner.shard.poll_output() {
            if worker.node() == mine.0 {
                self.front.handle_output(at.0, worker, output);
            } else {
                owner.push_output(worker, output);
            }
        }
    }

    pub(super) fn next_news(&mut self) -> Option<News> {
        self.news.pop_front().or_else(|| self.copy.poll())
    }

    pub(super) fn handle_copy_news(&mut self, news: News) {
        let Some(owner) = &self.owner else { return };
        match news {
            News::Page { request, batches } => {
                if let Some(request) = self.reads.remove(&request) {
                    owner.log.handle_news(News::Page { request, batches });
                }
            }
            News::Trimmed { .. } | News::Durable(_) => owner.log.handle_news(news),
        }
    }

    fn send_frames(&mut self, at: OwnTime) {
        if let Some(owner) = &mut self.owner {
            owner.set_versions(|node| self.membership.version_to(node));
            while let Some((to, frame)) = owner.next_frame(at) {
                self.wire.send(ToWire::Down { to, frame });
            }
        }
        self.follow.set_version(|node| self.membership.version_to(node));
        while let Some((to, frame)) = self.follow.next_frame(at) {
            self.wire.send(ToWire::Up { to, frame });
        }
    }

    /// What the heartbeats, and whoever watches, must know.
    fn report(&mut self, at: OwnTime) {
        // An owner that no majority supports delivers nothing, and hears nobody who does.
        if self.acts(at) {
            self.follow.heard = at;
        }
        let report = self.seat.report(at);
        let chain = self.seat.chain();
        let unkept_bytes = self.seat.appender().map_or(0, |appender| appender.unkept_bytes() as u64);
        let status = StandStatus {
            shard: self.config.shard,
            phase: self.seat.phase(),
            term: chain.head().term,
            owner: chain.head().owner.map(|(node, _)| node),
            position: chain.head().position,
            can_own: report.can_own,
            sum: chain.head().sum,
            next: chain.next(),
            trouble: trouble(&self.seat, at, &self.membership),
            heard: self.follow.heard,
            unkept_bytes,
            voids: *chain.voids(),
            handed_over: self.counts.handed_over,
            claimed: self.counts.claimed,
            moved: self.counts.moved,
            withdrawn: self.counts.withdrawn,
            not_understood: self.counts.not_understood,
            malformed: self.counts.malformed,
            restatements: self.counts.restatements,
        };
        self.board.set(report, status);
        if self.reported != Some(report) {
            self.reported = Some(report);
            self.wire.send(ToWire::Report(report));
        }
    }
}

/// The answer to a node that missed frames: the entries that the log has not kept.
fn restated(term: Term, first: u64, unkept: Vec<ShownEntry>) -> Vec<DownItem> {
    let entries = unkept.into_iter().map(DownItem::Entry);
    [DownItem::Restated { term, first }].into_iter().chain(entries).collect()
}
