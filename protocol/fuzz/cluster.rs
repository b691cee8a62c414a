//! What the fuzz target of the cluster does with its input: it feeds every reader of messages between nodes.
//!
//! Why apart from `bodies.rs`: the protocol does not know the cluster. `fuzz_targets` runs this under
//! libFuzzer, `engine/cluster` in every test run.
//! Not here: where inputs come from.

use grandstand_cluster::house::HouseMessage;
use grandstand_cluster::link::{
    Announce, AnswerParts, DownFrame, Message, PARTS_MAX, Pong, UpFrame, encode_answer,
};
use grandstand_cluster::membership::Heartbeat;
use grandstand_cluster::order::{Order, Outcome};
use grandstand_cluster::seat::{Answer, AnswerVerdict, Ask};

/// Any message of another node. What decodes is a value like any other: it is encoded and decoded again.
pub(crate) fn cluster_message(data: &[u8]) {
    if let Some(frame) = again::<UpFrame>(data) {
        assert!(frame.items.len() + frame.passed_over as usize <= data.len() / 2, "more items than bytes");
    }
    if let Some(frame) = again::<DownFrame>(data) {
        assert!(frame.items.len() + frame.passed_over as usize <= data.len() / 2, "more items than bytes");
    }
    again::<Heartbeat>(data);
    again::<Ask>(data);
    again::<Announce>(data);
    again::<Pong>(data);
    again::<HouseMessage>(data);
    again::<Order>(data);
    again::<Outcome>(data);
    if let Ok(Some(answer)) = AnswerParts::default().decode(data) {
        if let AnswerVerdict::Promised(entries) = &answer.verdict {
            assert!(entries.len() <= data.len(), "more entries than bytes");
        }
        let parts = encode_answer(&answer).expect("it came in one message");
        assert!(parts.len() <= PARTS_MAX);
        assert_eq!(assemble(&parts), Some(answer));
    }
}

fn again<M: Message + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<M> {
    let message = M::decode(data).ok()?;
    // A batch that the sender wrote once is written once again, and padding may differ.
    let encoded = message.encode().expect("it came in one message");
    let same = M::decode(&encoded).expect("it was just encoded");
    // A frame says how many items were passed over, and these are gone the second time.
    assert_eq!(same.encode().as_ref(), Ok(&encoded));
    Some(message)
}

fn assemble(parts: &[impl AsRef<[u8]>]) -> Option<Answer> {
    let mut assembled = AnswerParts::default();
    let decode = |part: &_| assembled.decode(AsRef::as_ref(part)).expect("it was just encoded");
    parts.iter().filter_map(decode).last()
}
