//! Whole conversations for third-party clients: what to send, by the name of a vector, and what must come
//! back.
//!
//! Not here: a client that plays them (the edge's tests, Python's).

use serde_json::{Value, json};

type Entry = Vec<(&'static str, Value)>;

fn send(vector: &str) -> Value {
    json!({ "send": vector })
}
fn expect(kind: &str) -> Value {
    json!({ "expect": kind })
}
fn refused(reason: u16) -> Value {
    json!({ "expect": "Refused", "reason": reason })
}
fn close(code: u16) -> Value {
    json!({ "close": code })
}

fn talk(name: &'static str, clause: &'static str, on: &'static str, steps: Vec<Value>) -> Entry {
    let steps = Value::Array(steps);
    vec![("name", json!(name)), ("clause", json!(clause)), ("transport", json!(on)), ("steps", steps)]
}

/// Behind `Hello` and `Welcome`.
fn greeted(name: &'static str, clause: &'static str, steps: Vec<Value>) -> Entry {
    talk(name, clause, "any", [vec![send("hello"), expect("Welcome")], steps].concat())
}

/// Behind `Subscribed`.
fn following(name: &'static str, clause: &'static str, steps: Vec<Value>) -> Entry {
    greeted(name, clause, [vec![send("subscribe"), expect("Subscribed")], steps].concat())
}

/// All of them.
pub(crate) fn all() -> Vec<Entry> {
    [good(), refusals(), faults()].concat()
}

fn good() -> Vec<Entry> {
    vec![
        greeted("hello", "H-5", vec![]),
        talk("hello_with_wishes", "H-4", "any", vec![send("hello_named"), expect("Welcome")]),
        greeted("renew_without_token", "H-9", vec![send("renew_without_token"), refused(3)]),
        talk("name_too_long", "H-4", "any", vec![send("hello_name_too_long"), expect("Welcome")]),
        talk("name_with_nul", "H-4", "any", vec![send("hello_name_with_nul"), expect("Welcome")]),
        talk(
            "name_without_letters",
            "H-4",
            "any",
            vec![send("hello_name_with_space_alone"), expect("Welcome")],
        ),
        talk("hello_versions_1_to_9", "V-1", "any", vec![send("hello_versions_1_to_9"), expect("Welcome")]),
        talk("hello_from_a_newer_peer", "F-7", "any", vec![send("hello_unknown_fields"), expect("Welcome")]),
        talk("unknown_ticket", "H-6", "any", vec![send("hello_unknown_ticket"), expect("Welcome")]),
        talk(
            "frames_right_behind_hello",
            "H-2",
            "any",
            vec![
                send("hello"),
                send("subscribe"),
                send("ping"),
                expect("Welcome"),
                expect("Subscribed"),
                expect("Pong"),
            ],
        ),
        greeted(
            "ping",
            "N-3",
            vec![send("ping"), expect("Pong"), send("ping_unknown_field"), expect("Pong")],
        ),
        greeted(
            "ignorable_kinds",
            "F-4",
            vec![
                send("ignorable_kind_20"),
                send("ignorable_kind_3f"),
                send("ignorable_kind_7f"),
                send("ignorable_kind_no_table"),
                send("ping"),
                expect("Pong"),
            ],
        ),
        following("publish", "P-1", vec![send("publish"), expect("Published"), expect("Batch")]),
        following(
            "publish_every_script",
            "P-1",
            vec![send("publish_every_script"), expect("Published"), expect("Batch")],
        ),
        following(
            "publish_twice",
            "P-3",
            vec![send("publish"), expect("Published"), send("publish"), expect("Published")],
        ),
        following(
            "publish_longest",
            "L-1",
            vec![send("publish_longest"), expect("Published"), expect("Batch")],
        ),
        following("react", "P-6", vec![send("react"), expect("Batch")]),
        following(
            "history_of_another_log",
            "O-7",
            vec![send("history"), refused(17), send("ping"), expect("Pong")],
        ),
        following("unsubscribe", "S-8", vec![send("unsubscribe"), expect("Unsubscribed")]),
        greeted(
            "resume_in_another_log",
            "S-5",
            vec![send("subscribe_resume_other_epoch"), expect("Subscribed")],
        ),
        greeted("replay", "S-4", vec![send("subscribe_replay"), expect("Subscribed")]),
        greeted("longest_room_name", "L-1", vec![send("subscribe_longest_name"), expect("Subscribed")]),
    ]
}

fn refusals() -> Vec<Entry> {
    let name = |vector| vec![send(vector), refused(12), send("ping"), expect("Pong")];
    let text = |vector, reason| vec![send(vector), refused(reason), send("ping"), expect("Pong")];
    vec![
        greeted("room_name_too_long", "S-9", name("subscribe_name_too_long")),
        greeted("room_name_empty", "S-9", name("subscribe_name_empty")),
        greeted("room_name_with_nul", "S-9", name("subscribe_name_with_nul")),
        greeted("room_name_with_spaces", "S-9", name("subscribe_name_with_spaces")),
        following("subscribed_already", "S-9", vec![send("subscribe"), refused(15)]),
        greeted("publish_unknown_alias", "R-1", text("publish_unknown_alias", 13)),
        following("publish_text_too_long", "P-8", text("publish_text_too_long", 4)),
        following("publish_attachment_too_long", "P-8", text("publish_attachment_too_long", 4)),
        following("publish_empty", "P-8", text("publish_empty", 5)),
        following("publish_spaces", "P-8", text("publish_spaces", 5)),
        following("publish_nul", "P-8", text("publish_nul", 10)),
        following("publish_escape", "P-8", text("publish_escape", 10)),
    ]
}

fn faults() -> Vec<Entry> {
    let first = |name, clause, vector, code| talk(name, clause, "any", vec![send(vector), close(code)]);
    let later = |name, clause, vector, code| greeted(name, clause, vec![send(vector), close(code)]);
    vec![
        first("subscribe_before_hello", "H-1", "subscribe", 202),
        first("ping_before_hello", "H-1", "ping", 202),
        first("server_frame_first", "F-3", "welcome_from_client", 202),
        first("malformed_first", "F-2", "subscribe_ones", 200),
        first("unknown_kind_first", "F-4", "unknown_kind_1f", 201),
        first("ignorable_kind_first", "F-4", "ignorable_kind_20", 201),
        first("versions_2_to_9", "V-1", "hello_versions_2_to_9", 203),
        first("versions_empty_range", "V-1", "hello_versions_empty_range", 203),
        first("token_too_long", "L-2", "hello_token_too_long", 200),
        later("second_hello", "H-1", "hello", 202),
        later("empty_frame", "F-2", "empty", 200),
        later("kind_alone", "F-2", "subscribe_kind_alone", 200),
        later("cut_in_half", "F-2", "subscribe_cut_in_half", 200),
        later("root_outside", "F-2", "subscribe_root_outside", 200),
        later("vtable_outside", "F-2", "subscribe_vtable_outside", 200),
        later("room_not_utf8", "F-8", "room_not_utf8", 200),
        later("react_key_too_long", "P-6", "react_key_too_long", 200),
        later("unknown_kind", "F-4", "unknown_kind_00", 201),
        later("compressed_kind", "F-5", "unknown_kind_87", 201),
        later("server_frame", "F-3", "batch_from_client", 202),
        talk(
            "text_message",
            "W-4",
            "websocket",
            vec![send("hello"), expect("Welcome"), json!({ "send_text": "hello" }), close(205)],
        ),
        talk("text_message_first", "W-4", "websocket", vec![json!({ "send_text": "{}" }), close(205)]),
        talk(
            "message_over_the_limit",
            "W-5",
            "websocket",
            vec![
                send("hello"),
                expect("Welcome"),
                json!({ "send_zeros": 16_385 }),
                json!({ "websocket_close": 1009 }),
            ],
        ),
        talk(
            "frame_over_the_limit",
            "Q-3",
            "quic",
            vec![send("hello"), expect("Welcome"), json!({ "send_raw": "827e4001" }), close(204)],
        ),
        talk("not_a_header", "Q-3", "quic", vec![json!({ "send_raw": "474554202f" }), close(207)]),
        talk(
            "masked_header",
            "Q-3",
            "quic",
            vec![send("hello"), expect("Welcome"), json!({ "send_raw": "828500000000" }), close(207)],
        ),
        talk(
            "long_form_of_length",
            "Q-3",
            "quic",
            vec![send("hello"), expect("Welcome"), json!({ "send_raw": "827e0005" }), close(207)],
        ),
    ]
}
