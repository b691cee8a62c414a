//! The reader of batches: it adds up offsets and times, drops messages that came before, and reports gaps.
//!
//! Invariants: offsets given to the application rise strictly. The application gets no tallies of replayed
//! batches. A fault in the middle of a batch leaves the floor just after the last message given, so resuming
//! is exact.
//! Not here: the layout (`grandstand_protocol::batch`), the handling of a fault (`session`).

use grandstand_protocol::batch::{ActEntry, BatchFault, BatchReader, Desync, Item, Message};
use grandstand_protocol::frame::Role;

use super::removal::RemovalRule;
use super::room::RoomState;
use super::{Event, Fault, Faults, Room};

/// Why a batch was not read to its end.
#[derive(Debug)]
pub(super) enum BatchError {
    /// A desync, which the application was told of.
    Desync,
    Malformed(BatchFault),
    /// The room's state is larger than a `Snapshot` can be.
    StateTooLarge,
}

impl From<BatchFault> for BatchError {
    fn from(fault: BatchFault) -> BatchError {
        BatchError::Malformed(fault)
    }
}

impl RoomState {
    pub(super) fn handle_batch(
        &mut self,
        mut batch: BatchReader<'_>,
        wire_bytes: u32,
        faults: &mut Faults,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Result<(), BatchError> {
        let replay = self.position.offset < self.head;
        if let Err(Desync { expected, check }) = self.position.begin(&batch) {
            faults.desyncs += 1;
            emit(Event::Fault { room: self.room(), fault: Fault::Desync { expected, check } });
            return Err(BatchError::Desync);
        }
        if batch.has_chat() {
            self.desyncs = 0;
            self.note_skipped(faults, emit);
        }
        let mut messages = 0;
        let (mut version, mut fits) = (None, true);
        while let Some(item) = batch.next_item()? {
            match item {
                Item::Message(m) => messages += u32::from(self.handle_message(&m, faults, emit)),
                Item::Removed(skip) => {
                    if let Some(offset) = self.take_place(skip, faults, emit) {
                        let replay = offset < self.head;
                        emit(Event::Removed { room: self.room(), offset, replay });
                    }
                }
                Item::Act(act) => self.handle_act(&act, faults, emit),
                Item::Omitted(count) => {
                    let from = self.position.offset;
                    self.position.omitted(count);
                    self.handle_omitted(from, self.position.offset, emit);
                }
                Item::Tally { key, count } if !replay => emit(Event::Tally { room: self.room(), key, count }),
                Item::Tally { .. } => {}
                Item::StateVersion(v) => {
                    version = (v > self.lane.version).then_some(v);
                    self.lane.version = self.lane.version.max(v);
                }
                Item::State(change) => {
                    if let Some(version) = version {
                        fits &= self.lane.apply(change.key, change.value);
                        emit(Event::State {
                            room: self.room(),
                            version,
                            key: change.key,
                            value: change.value,
                        });
                    }
                }
            }
        }
        emit(Event::BatchEnd { room: self.room(), messages, wire_bytes, replay });
        if fits { Ok(()) } else { Err(BatchError::StateTooLarge) }
    }

    /// Whether the message was new.
    fn handle_message(
        &mut self,
        m: &Message<'_>,
        faults: &mut Faults,
        emit: &mut impl FnMut(Event<'_>),
    ) -> bool {
        let Some(offset) = self.take_place(m.skip, faults, emit) else { return false };
        let room = Room { id: self.id, name: &self.name };
        emit(Event::Message {
            room,
            offset,
            time_ms: self.position.time_ms,
            author: m.author,
            role: Role::from_wire(m.role),
            text: m.text,
            attachment: m.attachment,
            reply_to: if m.reply_back > 0 { offset.checked_sub(m.reply_back) } else { None },
            folded: m.folded,
            replay: offset < self.head,
        });
        true
    }

    fn handle_act(&mut self, act: &ActEntry<'_>, faults: &mut Faults, emit: &mut impl FnMut(Event<'_>)) {
        let Some(offset) = self.take_place(act.skip, faults, emit) else { return };
        let removal = act.removal(offset);
        if removal.from().is_some() {
            let rule = Box::new(RemovalRule::new(offset, &removal));
            emit(Event::Removal { room: self.room(), rule, note: act.note });
        }
    }

    /// The offset of the next entry, after `skip` that were left out; `None` if the application has had it.
    fn take_place(
        &mut self,
        skip: u64,
        faults: &mut Faults,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Option<u64> {
        let before = self.position.offset;
        let offset = self.position.entry(skip);
        if skip > 0 {
            self.handle_omitted(before, offset, emit);
        }
        let room = Room { id: self.id, name: &self.name };
        if offset < self.floor {
            faults.duplicates += 1;
            emit(Event::Fault { room, fault: Fault::Duplicate { offset } });
            return None;
        }
        self.floor = offset.saturating_add(1);
        Some(offset)
    }

    fn handle_omitted(&mut self, from: u64, to: u64, emit: &mut impl FnMut(Event<'_>)) {
        let from = from.max(self.floor);
        if from < to {
            self.floor = to;
            emit(Event::Omitted { room: self.room(), from, to });
        }
    }

    /// The chat continues beyond the floor without a gap notice.
    fn note_skipped(&mut self, faults: &mut Faults, emit: &mut impl FnMut(Event<'_>)) {
        let (from, to) = (self.floor, self.position.offset);
        if from < to {
            faults.skipped += to - from;
            self.floor = to;
            emit(Event::Fault { room: self.room(), fault: Fault::Skipped { from, to } });
        }
    }
}
