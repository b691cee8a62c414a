//! What a shard has to send: outputs in order, and answers gathered per worker.
//!
//! Invariants: outputs leave in the order in which they came; answers leave after every output that came
//! before them, so that a batch reaches a worker before the acknowledgements that came of its seal. Personal
//! frames leave between the two.
//! Not here: queues to the workers (`runtime`).

use std::collections::VecDeque;

use crate::link::{Answer, Output, Personal, WorkerId};

/// A shard's outputs.
#[derive(Debug)]
pub(crate) struct Outbox {
    outputs: VecDeque<(WorkerId, Output)>,
    // By worker.
    answers: Vec<Vec<Answer>>,
    // Workers with answers.
    answered: VecDeque<WorkerId>,
    // By worker.
    personals: Vec<Vec<Personal>>,
    // Workers with personal frames.
    addressed: VecDeque<WorkerId>,
}

impl Outbox {
    /// For workers 0 to `workers - 1`.
    pub(crate) fn new(workers: u16) -> Self {
        let answers = (0..workers).map(|_| Vec::new()).collect();
        let personals = (0..workers).map(|_| Vec::new()).collect();
        let (outputs, answered, addressed) = Default::default();
        Outbox { outputs, answers, answered, personals, addressed }
    }

    /// Send an output.
    pub(crate) fn push(&mut self, worker: WorkerId, output: Output) {
        self.outputs.push_back((worker, output));
    }

    /// Send an answer.
    pub(crate) fn answer(&mut self, worker: WorkerId, answer: Answer) {
        let answers = &mut self.answers[usize::from(worker.0)];
        if answers.is_empty() {
            self.answered.push_back(worker);
        }
        answers.push(answer);
    }

    /// Send a personal frame.
    pub(crate) fn address(&mut self, worker: WorkerId, personal: Personal) {
        let personals = &mut self.personals[usize::from(worker.0)];
        if personals.is_empty() {
            self.addressed.push_back(worker);
        }
        personals.push(personal);
    }

    /// The next to go.
    pub(crate) fn pop(&mut self) -> Option<(WorkerId, Output)> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some(worker) = self.addressed.pop_front() {
            let personals = std::mem::take(&mut self.personals[usize::from(worker.0)]);
            return Some((worker, Output::Personals(personals)));
        }
        let worker = self.answered.pop_front()?;
        Some((worker, Output::Answers(std::mem::take(&mut self.answers[usize::from(worker.0)]))))
    }
}
