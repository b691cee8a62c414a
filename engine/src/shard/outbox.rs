//! The outbox: a shard's outputs in order, and answers gathered per worker.
//!
//! Invariants: outputs leave in the order in which they were pushed. Answers leave after every output pushed
//! before them, so a batch reaches a worker before the acknowledgements of its messages. Personal frames
//! leave between the two.
//! Not here: queues to the workers (`runtime`).

use std::collections::VecDeque;

use grandstand_protocol::refusal::Refusal;

use crate::link::{
    AdminAnswer, AdminReply, Answer, AnswerKind, Output, PerWorker, Personal, ReplyTo, WorkerId,
};

/// A shard's outputs.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    outputs: VecDeque<(WorkerId, Output)>,
    answers: Gathered<Answer>,
    personals: Gathered<Personal>,
}

/// Answers and frames, gathered per worker until each list leaves as one output.
#[derive(Debug)]
struct Gathered<T> {
    by_worker: PerWorker<Vec<T>>,
    // Workers for which something is gathered.
    waiting: VecDeque<WorkerId>,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Gathered { by_worker: PerWorker::default(), waiting: VecDeque::new() }
    }
}

impl<T> Gathered<T> {
    fn push(&mut self, worker: WorkerId, one: T) {
        let gathered = self.by_worker.entry(worker, Vec::new);
        if gathered.is_empty() {
            self.waiting.push_back(worker);
        }
        gathered.push(one);
    }

    fn pop(&mut self) -> Option<(WorkerId, Vec<T>)> {
        let worker = self.waiting.pop_front()?;
        Some((worker, std::mem::take(self.by_worker.entry(worker, Vec::new))))
    }
}

impl Outbox {
    /// Send an output.
    pub(crate) fn push(&mut self, worker: WorkerId, output: Output) {
        self.outputs.push_back((worker, output));
    }

    /// Send an answer.
    pub(crate) fn answer(&mut self, to: ReplyTo, kind: AnswerKind) {
        self.answers.push(to.worker, Answer { connection: to.connection, kind });
    }

    /// Send an operator's answer.
    pub(crate) fn reply(&mut self, to: ReplyTo, answer: Result<AdminAnswer, Refusal>) {
        self.push(to.worker, Output::Admin(Box::new(AdminReply { connection: to.connection, answer })));
    }

    /// Send a personal frame.
    pub(crate) fn address(&mut self, worker: WorkerId, personal: Personal) {
        self.personals.push(worker, personal);
    }

    /// Whether no output waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.personals.waiting.is_empty() && self.answers.waiting.is_empty()
    }

    /// The next output to leave.
    pub(crate) fn pop(&mut self) -> Option<(WorkerId, Output)> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some((worker, personals)) = self.personals.pop() {
            return Some((worker, Output::Personals(personals)));
        }
        let (worker, answers) = self.answers.pop()?;
        Some((worker, Output::Answers(answers)))
    }
}
