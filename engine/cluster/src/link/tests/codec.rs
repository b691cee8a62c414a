//! Tests of the codec: everything that is said arrives as it was said, and nothing else does any harm.
//!
//! Why a second encoding: whatever bytes decode, the value that came out must be a value like any other. It
//! is encoded and decoded again.

use grandstand_engine::link::ShardId;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{any, body::cluster_message as feed};
use crate::house::HouseMessage;
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::link::{Announce, AnswerParts, DownFrame, Message, Pong, UpFrame, encode_answer};
use crate::membership::Heartbeat;
use crate::order::{Order, Outcome};
use crate::seat::{Answer, Ask};

fn decode_answer(bytes: &[u8]) -> Option<Answer> {
    AnswerParts::default().decode(bytes).unwrap()
}

/// A message as bytes, of any kind.
fn any_message() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        3 => any::up_frame().prop_map(|frame| frame.encode().unwrap().to_vec()),
        5 => any::down_frame().prop_map(|frame| frame.encode().unwrap().to_vec()),
        1 => any::heartbeat().prop_map(|heartbeat| heartbeat.encode().unwrap().to_vec()),
        1 => any::house().prop_map(|house| house.encode().unwrap().to_vec()),
        1 => any::ask().prop_map(|ask| ask.encode().unwrap().to_vec()),
        1 => any::promise().prop_map(|answer| encode_answer(&answer).unwrap()[0].to_vec()),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn every_input_arrives_as_it_was_said(frame in any::up_frame()) {
        prop_assert_eq!(UpFrame::decode(&frame.encode().unwrap()), Ok(frame));
    }

    #[test]
    fn every_output_arrives_as_it_was_said(frame in any::down_frame()) {
        prop_assert_eq!(DownFrame::decode(&frame.encode().unwrap()), Ok(frame));
    }

    #[test]
    fn every_message_about_ownership_arrives_as_it_was_said(
        heartbeat in any::heartbeat(),
        ask in any::ask(),
        answer in any::promise(),
        house in any::house(),
        numbers in any::<[u64; 3]>(),
        node in any::<u8>(),
    ) {
        prop_assert_eq!(Heartbeat::decode(&heartbeat.encode().unwrap()), Ok(heartbeat));
        prop_assert_eq!(Ask::decode(&ask.encode().unwrap()), Ok(ask));
        prop_assert_eq!(decode_answer(&encode_answer(&answer).unwrap()[0]), Some(answer));
        let announce = Announce { term: Term(numbers[0]), position: Position(numbers[1]) };
        prop_assert_eq!(Announce::decode(&announce.encode().unwrap()), Ok(announce));
        prop_assert_eq!(HouseMessage::decode(&house.encode().unwrap()), Ok(house));
        let order = Order::HandOver { shard: ShardId(numbers[0] as u16), to: NodeId(node) };
        for order in [order, Order::Drain, Order::Serve] {
            prop_assert_eq!(Order::decode(&order.encode().unwrap()), Ok(order));
        }
        for outcome in [Outcome::default(), Outcome::refused(numbers[1])] {
            prop_assert_eq!(Outcome::decode(&outcome.encode().unwrap()), Ok(outcome));
        }
        let pong = Pong { node: NodeId(node), incarnation: Incarnation(numbers[2]) };
        prop_assert_eq!(Pong::decode(&pong.encode().unwrap()), Ok(pong));
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        feed(&bytes);
        for kind in 1..=8 {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            feed(&bytes);
        }
    }

    #[test]
    fn a_message_that_is_cut_or_changed_is_refused_or_valid(
        mut message in any_message(),
        at in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let at = at.index(message.len());
        feed(&message[..at]);
        message[at] = byte;
        feed(&message);
    }
}
